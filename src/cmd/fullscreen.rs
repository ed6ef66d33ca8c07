//! What the commands share that have the terminal to themselves: taking it, the loop between keys
//! and reports, and giving it back.
//!
//! The rooms: `view` (what is known and looked at, and what keys change of it), `draw` (the picture
//! of that), `panels` (the lists in it), `graphs`, `help`, `words` (numbers in it).

mod draw;
mod graphs;
mod help;
mod list;
mod panels;
mod view;
mod words;

pub use list::List;
pub use view::{File, Tab, View};

use super::Exit;
use super::env::Env;
use crate::app::client::{
    Client, Haste, JoinReport, Joined, Joining, Look, Report, Stop, StopSignals, TorrentId,
};
use crate::app::clock::{self, Civil};
use crate::app::many::{Event, Many};
use crate::io::courier::Courier;
use crate::io::mailbox::{JobReceiver, JobSender, jobs};
use crate::io::screen::frame::{Frame, Ways};
use crate::io::screen::full::{self, Full, Input};
use crate::io::screen::keys::Key;
use crate::io::screen::{Size, printable};
use crate::proto::metainfo::Info;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use view::{Notice, Order};

/// What happens waits in a queue of this length.
const MAX_WAITING: usize = 64;

/// How often what no report tells is asked for and drawn.
const TICK: Duration = Duration::from_secs(1);

/// While nobody looks at the pieces, they are asked for every so many ticks.
const RARELY: u32 = 5;

/// A thread that panics ends so.
const NO_WORD: &str = "it has ended without a word";

/// The forwarding threads call nothing deep.
const STACK: usize = 128 * 1024;

/// What the loop hears of.
enum Happening {
    Input(Input),
    Report(Report),
    Join(JoinReport),
    Event(Event),
}

/// What is shown, and what keys change of it.
pub trait Face {
    /// The picture for a terminal of this size.
    fn draw(&self, size: Size) -> Frame;

    /// A key was pressed. What it orders, if that is more than another look.
    fn on_key(&mut self, key: Key, size: Size) -> Option<Order>;

    /// To be called once a second.
    fn tick(&mut self);

    /// What is to be asked for beside the figures; `all` too of what nobody looks at closely.
    fn looks(&self, all: bool) -> Vec<Look>;

    /// Which torrent is looked at, and in which way; something else is asked for anew at once.
    fn looked_at(&self) -> (Option<TorrentId>, Tab);
}

impl Face for View {
    fn draw(&self, size: Size) -> Frame {
        draw::draw(self, size)
    }

    fn on_key(&mut self, key: Key, size: Size) -> Option<Order> {
        let page = draw::page(self, size);
        self.press(key, page)
    }

    fn tick(&mut self) {
        self.note_rates();
    }

    fn looks(&self, all: bool) -> Vec<Look> {
        self.wanted_looks(all)
    }

    fn looked_at(&self) -> (Option<TorrentId>, Tab) {
        (None, self.tab)
    }
}

/// A terminal that was taken, and what happens.
pub struct Stage {
    full: Full,
    inbox: JobReceiver<Happening>,
    sender: JobSender<Happening>,
    called: String,
    zone: crate::proto::zone::Zone,
}

/// Whether there is a terminal to be had.
///
/// # Errors
/// There is none, which has been said.
pub fn check(env: &mut Env) -> Result<(), Exit> {
    let term = env.var("TERM");
    let why = match &term {
        _ if !env.out_is_terminal => "standard output is no terminal",
        _ if !std::io::stdin().is_terminal() => "standard input is no terminal",
        None => "TERM does not say what terminal this is",
        Some(term) if term == "dumb" => "this terminal has no screen to draw on (TERM is 'dumb')",
        Some(_) => return Ok(()),
    };
    let plain = match env.name.contains("many") {
        true => "btlaunchmany",
        false => "btdownloadheadless",
    };
    Err(env.failed(format_args!("{why}; {plain} does the same in plain text")))
}

/// What the terminal can show, as the environment tells.
fn ways(env: &Env) -> Ways {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| env.var(name));
    let locale = locale.unwrap_or_default().to_string_lossy().to_lowercase();
    Ways {
        colours: env.var("NO_COLOR").is_none(),
        unicode: locale.contains("utf-8") || locale.contains("utf8"),
    }
}

/// From now on signals stop what is started then.
///
/// # Errors
/// The system has no thread or descriptor for us, which has been said.
pub fn signals(env: &mut Env) -> Result<StopSignals, Exit> {
    env.never_wait();
    let called = env.name.clone();
    let at_once = move |haste| end_at_once(&called, haste);
    StopSignals::listen(at_once).map_err(|e| env.failed(e))
}

/// The files of a torrent, as they are shown.
pub fn files(info: &Info) -> Vec<File> {
    let path = |path: &[String]| match path {
        [] => info.name.clone(),
        _ => path.join("/"),
    };
    info.files.iter().map(|file| File { path: path(&file.path), pad: file.pad }).collect()
}

/// Tells what would else be lost with the screen, as the original does.
pub fn tell_trouble<'n>(env: &mut Env, trouble: impl Iterator<Item = &'n Notice>) {
    for (n, notice) in trouble.enumerate() {
        if n == 0 {
            env.say("These errors occurred during execution:");
        }
        env.say(format_args!("[{}] {}", notice.time, printable(&notice.text)));
    }
}

/// Ends the process, whatever hangs in it; for signals too.
fn end_at_once(called: &str, haste: Haste) {
    full::restore();
    let why = match haste {
        Haste::Asked => "without telling the trackers",
        Haste::Late => "since something hangs, perhaps a disk",
    };
    let mut err = Courier::new(Box::new(std::io::stderr()));
    let _ = err.write_all(format!("{called}: stopped at once, {why}\n").as_bytes());
    drop(err);
    std::process::exit(Exit::Failed.code().into());
}

impl Stage {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It cannot be had, which has been said.
    pub fn open(env: &mut Env) -> Result<Stage, Exit> {
        let copy = |stream: &dyn AsFd| stream.as_fd().try_clone_to_owned();
        let opened = (|| {
            let (input, keys): (OwnedFd, OwnedFd) =
                (copy(&std::io::stdin())?, copy(&std::io::stdin())?);
            let (sender, inbox) = jobs(MAX_WAITING);
            let full = Full::open(input, copy(&std::io::stdout())?, ways(env))?;
            let tell = sender.clone();
            full::listen(keys, move |input| _ = tell.send(Happening::Input(input)))?;
            Ok((full, inbox, sender))
        })();
        let (full, inbox, sender) = opened.map_err(|e: std::io::Error| {
            env.failed(format_args!("cannot take the terminal: {}", super::env::reason(&e)))
        })?;
        let zone = clock::zone(env.var("TZ").as_deref());
        Ok(Stage { full, inbox, sender, called: env.name.clone(), zone })
    }

    /// The time of the day, `HH:MM:SS`.
    fn time(&self) -> String {
        Civil::local(SystemTime::now(), &self.zone).time().to_string()
    }

    /// Shows how the metadata of a magnet link is fetched, until that ends.
    ///
    /// # Errors
    /// Why there is none.
    pub fn join(&mut self, joining: Joining, view: &mut View) -> Result<Box<Joined>, String> {
        let joining = Arc::new(joining);
        let (theirs, sender) = (Arc::clone(&joining), self.sender.clone());
        self.forward(move || {
            loop {
                let report = theirs.next_report();
                let report = report.unwrap_or_else(|| JoinReport::Ended(Err(NO_WORD.into())));
                let ended = matches!(report, JoinReport::Ended(_));
                if !sender.send(Happening::Join(report)) || ended {
                    break;
                }
            }
        })?;
        let mut turns = Turns::new(joining.stopper());
        loop {
            match self.turn(view, &mut turns) {
                Some(Step::Happened(Happening::Join(JoinReport::Ended(end)))) => {
                    let joined = end?;
                    return joined.ok_or("stopped before the metadata had come".into());
                }
                Some(Step::Happened(Happening::Join(report))) => {
                    view.take_join(&report, &self.time());
                }
                _ => {}
            }
        }
    }

    /// Shows a download until it ends.
    ///
    /// # Errors
    /// Why it has failed.
    pub fn follow(&mut self, client: Client, view: &mut View) -> Result<(), String> {
        let client = Arc::new(client);
        let (theirs, sender) = (Arc::clone(&client), self.sender.clone());
        self.forward(move || {
            loop {
                let report = theirs.next_report();
                let report = report.unwrap_or_else(|| Report::Ended(Err(NO_WORD.into())));
                let ended = matches!(report, Report::Ended(_));
                if !sender.send(Happening::Report(report)) || ended {
                    break;
                }
            }
        })?;
        let mut turns = Turns::new(client.stopper());
        loop {
            match self.turn(view, &mut turns) {
                Some(Step::Happened(Happening::Report(Report::Ended(outcome)))) => return outcome,
                Some(Step::Happened(Happening::Report(report))) => {
                    view.take(&report, &self.time());
                }
                Some(Step::Order(order)) => obey(&client, order),
                Some(Step::Look(looks)) => looks.iter().for_each(|look| client.look(*look)),
                _ => {}
            }
        }
    }

    /// Shows many torrents until they have ended. `names` tells of a .torrent the names of its files.
    ///
    /// # Errors
    /// Why that was.
    pub fn follow_many(
        &mut self,
        many: Many,
        list: &mut List,
        names: impl Fn(&Path) -> Vec<File>,
    ) -> Result<(), String> {
        let (own, doorbell) = (many.stopper(true), many.stopper(true));
        let (orders, theirs) = jobs(MAX_WAITING);
        let sender = self.sender.clone();
        self.forward(move || serve(many, &theirs, &sender))?;
        let mut turns = Turns::new(own);
        // Whoever is behind with its orders gets the next ones.
        let order = |order| {
            let _ = orders.try_send(order);
            doorbell.show();
        };
        loop {
            match self.turn(list, &mut turns) {
                Some(Step::Happened(Happening::Event(Event::Ended(outcome)))) => return outcome,
                Some(Step::Happened(Happening::Event(event))) => list.take(event, &self.moment()),
                Some(Step::Order(Order::Scan)) => _ = doorbell.hang_up(),
                Some(Step::Order(what)) => {
                    if let Some(id) = list.chosen() {
                        order(Wish::Order(id, what));
                    }
                }
                Some(Step::Look(looks)) => {
                    if let Some((id, path)) = list.nameless() {
                        list.name(id, names(&path));
                    }
                    if let Some(id) = list.open {
                        looks.into_iter().for_each(|look| order(Wish::Look(id, look)));
                    }
                }
                _ => {}
            }
        }
    }

    /// The minute, `2026-01-02 03:04`.
    fn moment(&self) -> String {
        Civil::local(SystemTime::now(), &self.zone).minute().to_string()
    }

    fn forward(&self, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let thread = thread::Builder::new().name("reports".into()).stack_size(STACK).spawn(work);
        thread.map(drop).map_err(|e| format!("cannot start a thread: {}", super::env::reason(&e)))
    }

    /// Draws if there is something new, and waits for what happens next.
    fn turn(&mut self, face: &mut dyn Face, turns: &mut Turns) -> Option<Step> {
        let now = Instant::now();
        if turns.quitting.is_some_and(|since| now > since + turns.stopper.patience()) {
            end_at_once(&self.called, Haste::Late);
        }
        if turns.tick <= now {
            turns.tick = now + TICK;
            turns.ticks = (turns.ticks + 1) % RARELY;
            turns.drawn = false;
            face.tick();
            return Some(Step::Look(face.looks(turns.ticks == 1)));
        }
        let happening = self.inbox.try_recv().or_else(|| {
            // All that had happened has been looked at.
            if !std::mem::replace(&mut turns.drawn, true) {
                self.full.show(face.draw(self.full.size()));
            }
            self.inbox.recv_within(turns.tick - now)
        })?;
        turns.drawn = false;
        match happening {
            Happening::Input(input) => {
                let before = face.looked_at();
                let order = self.on_input(input, face, turns).map(Step::Order);
                order.or((face.looked_at() != before).then(|| Step::Look(face.looks(true))))
            }
            other => Some(Step::Happened(other)),
        }
    }

    fn on_input(&self, input: Input, face: &mut dyn Face, turns: &mut Turns) -> Option<Order> {
        let key = match input {
            Input::Key(key) => key,
            Input::Resized => return None,
            Input::Suspend => {
                self.full.suspend();
                return None;
            }
            Input::Resumed => {
                self.full.resumed();
                return None;
            }
            Input::Closed => {
                turns.quit(&self.called, false);
                return None;
            }
        };
        match face.on_key(key, self.full.size())? {
            Order::Quit => turns.quit(&self.called, true),
            Order::Redraw => self.full.spoilt(),
            Order::Suspend => full::suspend_job(),
            order => return Some(order),
        }
        None
    }
}

/// What a turn of the loop has come to.
enum Step {
    Happened(Happening),
    Order(Order),
    Look(Vec<Look>),
}

/// Where the loop stands.
struct Turns {
    stopper: Box<dyn Stop>,
    quitting: Option<Instant>,
    tick: Instant,
    ticks: u32,
    /// What is shown is what is known.
    drawn: bool,
}

impl Turns {
    fn new(stopper: impl Stop + 'static) -> Turns {
        Turns {
            stopper: Box::new(stopper),
            quitting: None,
            tick: Instant::now(),
            ticks: 0,
            drawn: false,
        }
    }

    /// The user wants to leave, or the terminal is gone.
    fn quit(&mut self, called: &str, asked: bool) {
        if self.quitting.is_some() && asked {
            end_at_once(called, Haste::Asked);
        }
        self.quitting.get_or_insert(Instant::now());
        self.stopper.stop();
    }
}

/// What is asked of many torrents.
enum Wish {
    Order(TorrentId, Order),
    Look(TorrentId, Look),
}

/// Has many torrents go on, tells what happens, and does what is wished: which is looked for when
/// somebody has rung.
fn serve(mut many: Many, wishes: &JobReceiver<Wish>, sender: &JobSender<Happening>) {
    loop {
        let Some(event) = many.next(None) else { continue };
        if matches!(event, Event::Show) {
            while let Some(wish) = wishes.try_recv() {
                grant(&many, wish);
            }
            continue;
        }
        let ended = matches!(event, Event::Ended(_));
        if !sender.send(Happening::Event(event)) || ended {
            return;
        }
    }
}

fn grant(many: &Many, wish: Wish) {
    let session = many.session();
    match wish {
        Wish::Look(id, look) => session.look(id, look),
        Wish::Order(id, Order::Pause(paused)) => session.pause(id, paused),
        Wish::Order(id, Order::Recheck) => session.recheck(id),
        Wish::Order(id, Order::Priorities(files)) => session.set_priorities(id, files),
        Wish::Order(..) => {}
    }
}

fn obey(client: &Client, order: Order) {
    match order {
        Order::Pause(paused) => client.pause(paused),
        Order::Recheck => client.recheck(),
        Order::Limits(upload, download) => client.set_limits(upload, download),
        Order::Priorities(files) => client.set_priorities(files),
        // The loop has seen to them; the others are for many torrents.
        Order::Quit | Order::Redraw | Order::Suspend | Order::Scan => {}
    }
}
