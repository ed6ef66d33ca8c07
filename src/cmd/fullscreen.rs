//! What the commands share that have the terminal to themselves: taking it, the loop between keys
//! and reports, and giving it back.
//!
//! The rooms: `view` (what is known and looked at, and what keys change of it), `draw` (the picture
//! of that), `panels` (the lists in it), `graphs`, `help`, `words` (numbers in it).

mod draw;
mod graphs;
mod help;
mod panels;
mod view;
mod words;

pub use view::{File, Tab, View};

use super::Exit;
use super::env::Env;
use crate::app::client::{Client, Haste, JoinReport, Joined, Joining, Look, Report, Stopper};
use crate::app::clock::{self, Civil};
use crate::io::courier::Courier;
use crate::io::screen::frame::Ways;
use crate::io::screen::full::{self, Full, Input};
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use view::Order;

/// What happens waits in a queue of this length.
const MAX_WAITING: usize = 64;

/// How often what no report tells is asked for and drawn.
const TICK: Duration = Duration::from_secs(1);

/// While nobody looks at the pieces, they are asked for every so many ticks.
const RARELY: u32 = 5;

/// After this time an end that was asked for comes at once: something hangs.
const PATIENCE: Duration = Duration::from_millis(2700);

/// The forwarding threads call nothing deep.
const STACK: usize = 128 * 1024;

/// What the loop hears of.
enum Happening {
    Input(Input),
    Report(Report),
    Join(JoinReport),
}

/// A terminal that was taken, and what happens.
pub struct Stage {
    full: Full,
    inbox: Receiver<Happening>,
    sender: SyncSender<Happening>,
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

/// Ends the process, whatever hangs in it; for signals too.
pub fn end_at_once(called: &str, haste: Haste) {
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
            let (sender, inbox) = sync_channel(MAX_WAITING);
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
            while let Some(report) = theirs.next_report() {
                let ended = matches!(report, JoinReport::Ended(_));
                if sender.send(Happening::Join(report)).is_err() || ended {
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
            while let Some(report) = theirs.next_report() {
                let ended = matches!(report, Report::Ended(_));
                if sender.send(Happening::Report(report)).is_err() || ended {
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

    fn forward(&self, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let thread = thread::Builder::new().name("reports".into()).stack_size(STACK).spawn(work);
        thread.map(drop).map_err(|e| format!("cannot start a thread: {}", super::env::reason(&e)))
    }

    /// Draws if there is something new, and waits for what happens next.
    fn turn(&mut self, view: &mut View, turns: &mut Turns) -> Option<Step> {
        let now = Instant::now();
        if turns.quitting.is_some_and(|since| now > since + PATIENCE) {
            end_at_once(&self.called, Haste::Late);
        }
        if turns.tick <= now {
            turns.tick = now + TICK;
            turns.ticks = (turns.ticks + 1) % RARELY;
            turns.drawn = false;
            view.tick();
            return Some(Step::Look(view.looks(turns.ticks == 1)));
        }
        let happening = match self.inbox.try_recv() {
            Ok(happening) => happening,
            Err(_) => {
                // All that had happened has been looked at.
                if !std::mem::replace(&mut turns.drawn, true) {
                    self.full.show(draw::draw(view, self.full.size()));
                }
                match self.inbox.recv_timeout(turns.tick - now) {
                    Ok(happening) => happening,
                    Err(RecvTimeoutError::Timeout) => return None,
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        };
        turns.drawn = false;
        match happening {
            Happening::Input(input) => {
                let before = view.tab;
                let order = self.on_input(input, view, turns).map(Step::Order);
                order.or((view.tab != before).then(|| Step::Look(view.looks(true))))
            }
            other => Some(Step::Happened(other)),
        }
    }

    fn on_input(&self, input: Input, view: &mut View, turns: &mut Turns) -> Option<Order> {
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
        match view.on_key(key, draw::page(view, self.full.size()))? {
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
    stopper: Stopper,
    quitting: Option<Instant>,
    tick: Instant,
    ticks: u32,
    /// What is shown is what is known.
    drawn: bool,
}

impl Turns {
    fn new(stopper: Stopper) -> Turns {
        Turns { stopper, quitting: None, tick: Instant::now(), ticks: 0, drawn: false }
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

fn obey(client: &Client, order: Order) {
    match order {
        Order::Pause(paused) => client.pause(paused),
        Order::Recheck => client.recheck(),
        Order::Limits(upload, download) => client.set_limits(upload, download),
        Order::Priorities(files) => client.set_priorities(files),
        // The loop has seen to them.
        Order::Quit | Order::Redraw | Order::Suspend => {}
    }
}
