//! The tracker: the gate's requests to the registry and its answers back, on one thread, which
//! alone owns all of it. Other threads write the log and the state file and make pages; they are
//! reached by messages, and none of them can hold up an announce.

pub(in crate::app) mod desk;
pub(in crate::app) mod door;
mod lists;
mod log;
mod multi;
mod nat;
mod notice;
pub(in crate::app) mod page;
mod settings;
mod state;
mod stats;
pub(in crate::app) mod udp;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use crate::io::gate::Settings as Door;
pub use crate::logic::registry::access::Ranges;
pub use crate::logic::registry::{Aggregator, Scraping, Settings as Rules, Trackers};
pub use desk::{InfoPage, icon};
pub use lists::Sources;
pub use log::Target;
pub use multi::Dealings;
pub use notice::{Notice, TrackerError};
pub use settings::Settings;

use crate::app::clock;
use crate::app::service::Manager;
use crate::io::fetch;
use crate::io::gate::{Answer, Gate, Request, Visitor};
use crate::io::mailbox::{Mailbox, mailbox};
use crate::io::pages::Pages;
use crate::io::reactor::{Event, Reactor};
use crate::io::save::SaveError;
use crate::io::signals::{self, Signal};
use crate::io::sys;
use crate::logic::registry::limit::Limit;
use crate::logic::registry::{Copying, Registry};
use crate::proto::ids::PeerId;
use desk::{Desk, Reply};
use lists::{News, Reader, Watcher};
use log::Log;
use multi::Multi;
use nat::Checks;
use state::Saver;
use udp::Udp;

/// Messages that may wait for the reactor.
const MESSAGES: usize = 64;

/// How often troubles of which there may be many are told.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// What other threads tell the tracker.
#[derive(Debug)]
pub(crate) enum Message {
    /// A signal has come.
    Signal(Signal),
    /// A state file was written, or not.
    Saved(Result<(), SaveError>),
    /// What is wrong with the log.
    LogTrouble(String),
    /// The lists have changed, or something is wrong with them.
    Lists(News),
    /// Another tracker, or the aggregator, has answered, or not.
    Fetched(fetch::Done),
}

impl From<fetch::Done> for Message {
    fn from(done: fetch::Done) -> Message {
        Message::Fetched(done)
    }
}

/// Who asked for a page.
struct Asker {
    visitor: Visitor,
    request: Box<Request>,
    /// For the header `Content-Disposition`.
    disposition: Option<String>,
}

/// A tracker that listens.
pub struct Tracker {
    reactor: Reactor,
    gate: Gate,
    udp: Udp,
    manager: Manager,
    pages: Pages<Asker>,
    desk: Desk,
    watcher: Option<Watcher>,
    parse_interval: Duration,
    next_parse: Instant,
    log: Log,
    checks: Checks,
    multi: Multi,
    log_nat_checks: bool,
    saver: Saver,
    mailbox: Mailbox<Message>,
    dfile: PathBuf,
    save_interval: Duration,
    next_save: Instant,
    /// The copy that is being made to be saved.
    copying: Option<Copying>,
    next_told: Instant,
    /// Those who had made room for others when that was last told.
    evicted: u64,
    ended: bool,
}

impl Tracker {
    /// Reads the state file and writes it, opens log and door, and begins to hear signals. Nothing
    /// that could fail later for a reason known now is left for later.
    ///
    /// # Errors
    /// Whatever of that the system refuses.
    pub fn start(
        settings: Settings,
        tell: &mut dyn FnMut(Notice),
    ) -> Result<Tracker, TrackerError> {
        let now = Instant::now();
        let mut reactor = Reactor::new().map_err(TrackerError::Machine)?;
        // First the port, which tells whether another tracker runs on these files.
        let mut udp = Udp::new([random(), random()], now);
        let (gate, listening) = door::open(&settings, &mut reactor, &mut udp, now)?;
        let mut desk = Desk::new(Registry::new(settings.registry, now, random()), random(), now);
        desk.limit = Limit::new(settings.announce_rate, now);
        let reader = read_lists(settings.sources, &mut desk, tell)?;
        let registry = &mut desk.registry;
        state::load(&settings.dfile, tell, &mut |saved| registry.restore(saved))
            .map_err(|e| TrackerError::Read(settings.dfile.clone(), e))?;
        state::write(&settings.dfile, desk.registry.copy()).map_err(TrackerError::Save)?;
        let (post, mailbox) = mailbox(MESSAGES, reactor.waker());
        let zone = clock::zone(settings.zone.as_deref());
        let log_path = match &settings.log {
            Target::File(path) => path.clone(),
            Target::Out(_) => PathBuf::from("-"),
        };
        let log = Log::start(settings.log, zone, settings.flush_interval, post.clone(), now)
            .map_err(|e| TrackerError::Log(log_path, e))?;
        let saver =
            Saver::start(settings.dfile.clone(), post.clone()).map_err(TrackerError::Machine)?;
        let watcher = match reader {
            Some(reader) => {
                Some(Watcher::start(reader, post.clone()).map_err(TrackerError::Machine)?)
            }
            None => None,
        };
        desk.registry.tracker_id = tracker_id();
        let mut multi = Multi::new(settings.dealings, desk.registry.tracker_id, &post);
        multi.on_lists(&desk.registry, now, &mut desk.rng);
        desk.forwards = multi.forwards();
        let heard = [Signal::Interrupt, Signal::Terminate, Signal::HangUp, Signal::User1];
        signals::watch(&heard, move |signal| _ = post.send(Message::Signal(signal)))
            .map_err(TrackerError::Machine)?;
        desk.allow_get = settings.allow_get;
        desk.info_page = settings.info_page;
        desk.favicon = settings.favicon.map(Into::into);
        desk.trust_forwarded = settings.trust_forwarded;
        desk.trusted_proxies = settings.trusted_proxies;
        desk.stats = settings.stats;
        listening.into_iter().for_each(tell);
        Ok(Tracker {
            reactor,
            gate,
            udp,
            manager: Manager::new(settings.notify.as_deref(), settings.watchdog, now),
            pages: Pages::new(settings.temporary),
            desk,
            watcher,
            parse_interval: settings.parse_interval,
            next_parse: now + settings.parse_interval,
            log,
            checks: Checks::new(),
            multi,
            log_nat_checks: settings.log_nat_checks,
            saver,
            mailbox,
            dfile: settings.dfile,
            save_interval: settings.save_interval,
            next_save: now + settings.save_interval,
            copying: None,
            next_told: now,
            evicted: 0,
            ended: false,
        })
    }

    /// Serves until SIGINT or SIGTERM, then writes the state file a last time.
    ///
    /// # Errors
    /// The last writing of the state file, or the wait for events, fails.
    pub fn run(mut self, tell: &mut dyn FnMut(Notice)) -> Result<(), TrackerError> {
        let mut events = Vec::new();
        self.manager.ready();
        let mut now = Instant::now();
        let mut deadline = now;
        while !self.ended {
            // From the beginning of the last turn: nothing here is due to the millisecond, and a
            // look at the clock is a hundredth of an announce.
            let turn = self.reactor.turn_until(deadline, now, &mut events);
            turn.map_err(TrackerError::Machine)?;
            now = Instant::now();
            let mut is_busy = deadline <= now;
            while let Some(message) = self.mailbox.try_recv() {
                self.on_message(message, now, tell);
                is_busy = true;
            }
            is_busy |= self.on_events(&events, now);
            // Packets change nothing of what is due, and most turns bring one and nothing else.
            if is_busy {
                self.on_time(now, tell);
                deadline = self.next_deadline(now);
            }
        }
        self.manager.stopping();
        self.end()
    }

    /// How it goes, in one line.
    fn status(&self, now: Instant) -> String {
        let (totals, counters) = (self.desk.registry.totals(), &self.desk.counters);
        let uptime = self.desk.figures(now)[4].3;
        format!(
            "{} torrents, {} peers ({} seeds), {} connections, {} announces in {uptime} s",
            totals.torrents,
            totals.peers,
            totals.seeds,
            self.gate.connections(),
            counters.announces,
        )
    }

    /// Tells the service manager that the tracker lives, and how.
    fn say_alive(&mut self, now: Instant) {
        if self.manager.wants(now) {
            let status = self.status(now);
            self.manager.alive(&status, now);
        }
    }

    fn next_deadline(&self, now: Instant) -> Instant {
        if self.copying.is_some() {
            return now;
        }
        let deadlines = [
            self.gate.next_deadline(),
            self.pages.next_deadline(),
            self.checks.next_deadline(),
            self.multi.next_deadline(),
            self.manager.next_deadline(),
            self.log.next_deadline(),
            Some(self.desk.registry.next_expiry()),
        ];
        let regular = self.next_save.min(self.next_parse);
        deadlines.into_iter().flatten().fold(regular, Instant::min)
    }

    fn on_message(&mut self, message: Message, now: Instant, tell: &mut dyn FnMut(Notice)) {
        match message {
            Message::Signal(Signal::HangUp) => {
                self.log.reopen(now);
                self.next_parse = now;
            }
            Message::Signal(Signal::User1) => tell(Notice::Status(self.status(now))),
            Message::Signal(_) => self.ended = true,
            Message::LogTrouble(what) => tell(Notice::LogTrouble(what)),
            Message::Lists(news) => {
                take_news(news, &mut self.desk, tell);
                self.multi.on_lists(&self.desk.registry, now, &mut self.desk.rng);
            }
            Message::Fetched(done) => {
                self.multi.on_fetched(done, &mut self.desk.registry, now);
            }
            Message::Saved(result) => {
                self.saver.on_saved();
                if let Err(error) = result {
                    tell(Notice::NotSaved(error));
                    self.desk.registry.mark_changed();
                }
            }
        }
    }

    /// Whether there is more to do now than to wait for the next ones.
    fn on_events(&mut self, events: &[Event], now: Instant) -> bool {
        self.desk.connections = self.gate.connections();
        let mut others = false;
        for event in events {
            if self.udp.on_event(&mut self.desk, event, now) {
                continue;
            }
            others = true;
            let known = self.gate.on_event(&mut self.reactor, event, now)
                || self.pages.on_event(&mut self.reactor, event);
            if !known {
                let registry = &mut self.desk.registry;
                let ended = self.checks.on_event(&mut self.reactor, registry, event);
                if let (Some(Some((check, outcome))), true) = (ended, self.log_nat_checks) {
                    self.log.nat_check(&check, outcome, now);
                }
            }
        }
        if others {
            self.serve(now);
        }
        others || self.desk.registry.wants_checks()
    }

    /// Answers all that was asked. An answer may let the next request of its connection through.
    fn serve(&mut self, now: Instant) {
        loop {
            if let Some((visitor, request)) = self.gate.next_request() {
                match self.desk.reply(&request, now) {
                    Reply::Now(answer) => self.answer(visitor, &request, answer, now),
                    Reply::Noted(answer) => {
                        self.multi.forward(request.query());
                        self.answer(visitor, &request, answer, now);
                    }
                    Reply::Page(render, disposition) => {
                        let gzip = request.accepts_gzip();
                        let asker = Asker { visitor, request, disposition };
                        self.pages.ask(&mut self.reactor, asker, gzip, render);
                    }
                }
            } else if let Some((asker, mut answer)) = self.pages.next_answer() {
                if let (200, Some(value)) = (answer.status, asker.disposition) {
                    answer = answer.header("Content-Disposition", value);
                }
                self.answer(asker.visitor, &asker.request, answer, now);
            } else {
                return;
            }
        }
    }

    fn answer(&mut self, visitor: Visitor, request: &Request, answer: Answer, now: Instant) {
        let status = answer.status;
        if let Some(sent) = self.gate.answer(&mut self.reactor, visitor, answer, now) {
            self.log.access(request, status, sent, now);
        }
    }

    fn on_time(&mut self, now: Instant, tell: &mut dyn FnMut(Notice)) {
        self.gate.on_time(&mut self.reactor, now);
        self.pages.on_time(&mut self.reactor, now);
        self.serve(now);
        self.check_peers(now);
        self.multi.on_time(now);
        self.say_alive(now);
        self.log.on_time(now);
        self.desk.registry.expire(now);
        if self.next_parse <= now {
            self.next_parse = now + self.parse_interval;
            self.watcher.iter().for_each(Watcher::read);
        }
        self.save_on_time(now);
        if self.next_told <= now {
            let evicted = self.desk.registry.totals().evicted;
            let before = std::mem::replace(&mut self.evicted, evicted);
            let counts = [
                (Notice::LinesLost as fn(u64) -> Notice, self.log.lost()),
                (Notice::Evicted, evicted - before),
            ];
            let counted = counts.into_iter().filter(|(_, n)| *n > 0).map(|(told, n)| told(n));
            for notice in counted.chain(self.pages.trouble().map(Notice::NoPages)) {
                tell(notice);
                self.next_told = now + TELL_INTERVAL;
            }
        }
    }

    /// Connects to peers that wait for it, and gives up those that take too long.
    fn check_peers(&mut self, now: Instant) {
        let Tracker { checks, reactor, desk, log, log_nat_checks, .. } = self;
        let mut done = |check: &_, outcome| {
            if *log_nat_checks {
                log.nat_check(check, outcome, now);
            }
        };
        checks.on_time(reactor, &mut desk.registry, now, &mut done);
        checks.go_on(reactor, &mut desk.registry, now, &mut done);
    }

    /// Begins to copy what is to be saved, if it is time, or copies a further part: between two
    /// parts others are served.
    fn save_on_time(&mut self, now: Instant) {
        let registry = &mut self.desk.registry;
        if self.next_save <= now {
            self.next_save = now + self.save_interval;
            let free = self.saver.is_free() && self.copying.is_none();
            if free && registry.has_changed() {
                self.copying = Some(registry.begin_copy());
            }
        }
        if let Some(copying) = self.copying.take() {
            match registry.copy_part(copying) {
                Ok(copy) => self.saver.save(copy),
                Err(unfinished) => self.copying = Some(unfinished),
            }
        }
    }

    fn end(mut self) -> Result<(), TrackerError> {
        self.gate.stop_listening(&mut self.reactor);
        self.udp.close(&mut self.reactor);
        // Nobody may wait for room in it any more.
        drop(self.mailbox);
        let unsaved =
            self.desk.registry.has_changed() || self.copying.is_some() || !self.saver.is_free();
        self.saver.end();
        let mut result = Ok(());
        if unsaved {
            result = state::write(&self.dfile, self.desk.registry.copy());
        }
        let result = result.map_err(TrackerError::Save);
        self.log.end(Instant::now());
        result
    }
}

fn random() -> u64 {
    u64::from_le_bytes(sys::random())
}

/// A name among trackers, in the original's style.
fn tracker_id() -> PeerId {
    let mut id = PeerId::generate(sys::random());
    id.0[5..8].copy_from_slice(b"-T-");
    id
}

/// Reads the lists for the first time.
fn read_lists(
    sources: Sources,
    desk: &mut Desk,
    tell: &mut dyn FnMut(Notice),
) -> Result<Option<Reader>, TrackerError> {
    if sources.is_empty() {
        return Ok(None);
    }
    let (reader, news) = Reader::new(sources).map_err(|(p, e)| TrackerError::Read(p, e))?;
    take_news(news, desk, tell);
    Ok(Some(reader))
}

fn take_news(news: News, desk: &mut Desk, tell: &mut dyn FnMut(Notice)) {
    news.troubles.into_iter().for_each(|what| tell(Notice::ListTrouble(what)));
    if let Some(lists) = news.lists {
        desk.take(lists);
    }
}
