//! How far a command has come: for the makers and the check, on standard error.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::cmd::env::Env;

/// A line that is rewritten in place on a terminal, and elsewhere a new one now and then. Without
/// any colour, so NO_COLOR has nothing to change.
pub struct Progress {
    way: Way,
    /// What lines begin with.
    name: String,
    started: Instant,
    told: Option<Instant>,
    /// What was done when it was last told: less means that something else has begun.
    done: u64,
}

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Never,
    Redrawn,
    Lines,
}

impl Way {
    /// For how long nothing new is shown.
    fn pause(self) -> Duration {
        match self {
            Way::Redrawn => Duration::from_millis(100),
            _ => Duration::from_secs(10),
        }
    }
}

impl Progress {
    /// The longest line that is drawn; one that is too long for its terminal could not be
    /// redrawn.
    const WIDTH: usize = 72;
    /// Columns of the bar.
    const BAR: usize = 24;

    /// Progress that counts from now, shown as the standard error of `env` takes it; not at all if
    /// `quiet`.
    pub fn new(env: &Env, quiet: bool) -> Progress {
        // Such a terminal cannot go back to the start of a line.
        let dumb = env.var("TERM").is_some_and(|terminal| terminal == "dumb");
        let way = match env.err_is_terminal && !dumb {
            _ if quiet => Way::Never,
            true => Way::Redrawn,
            false => Way::Lines,
        };
        let (name, started) = (env.name.clone(), Instant::now());
        Progress { way, name, started, told: None, done: 0 }
    }

    /// Shows that `done` bytes are done, of `total` if that is known, unless something has just
    /// been shown.
    pub fn draw(&mut self, err: &mut impl Write, done: u64, total: Option<u64>) {
        if self.way == Way::Never {
            return;
        }
        let now = Instant::now();
        if done < self.done {
            self.started = now;
        }
        self.done = done;
        // Lines are for what takes long; a short run has none.
        let last = match self.way {
            Way::Lines => Some(self.told.unwrap_or(self.started)),
            _ => self.told,
        };
        if last.is_some_and(|last| now - last < self.way.pause()) {
            return;
        }
        self.told = Some(now);
        let state = State { done, total, time: now - self.started };
        // A terminal that fails is no reason to stop the work.
        let _ = match self.way {
            Way::Redrawn => write!(err, "\r{:<width$}", state.bar(), width = Self::WIDTH),
            _ => writeln!(err, "{}: {}", self.name, state.words()),
        };
        let _ = err.flush();
    }

    /// Wipes the line, so that other text can take its place.
    pub fn clear(&self, err: &mut impl Write) {
        if self.way == Way::Redrawn && self.told.is_some() {
            let _ = write!(err, "\r{:width$}\r", "", width = Self::WIDTH);
            let _ = err.flush();
        }
    }
}

/// What there is to be shown.
struct State {
    /// Bytes.
    done: u64,
    total: Option<u64>,
    /// How long that took.
    time: Duration,
}

impl State {
    fn bar(&self) -> String {
        let Some(share) = self.share() else { return self.words() };
        // Never more than the bar has.
        let full = (share * Progress::BAR as f64) as usize;
        let (full, rest) = ("#".repeat(full), "-".repeat(Progress::BAR - full));
        format!("[{full}{rest}] {}", self.words())
    }

    fn words(&self) -> String {
        let rate = self.done as f64 / self.time.as_secs_f64().max(0.001);
        let speed = format!("{:.0} MiB/s", rate / f64::from(1 << 20));
        match (self.share(), self.total) {
            (Some(share), Some(total)) => {
                let left = total.saturating_sub(self.done) as f64 / rate.max(1.0);
                format!("{:.1}% complete, {speed}, {} left", share * 100.0, span(left))
            }
            _ => format!("{} MiB, {speed}", self.done >> 20),
        }
    }

    /// From 0 to 1.
    fn share(&self) -> Option<f64> {
        let total = self.total.filter(|total| *total > 0)?;
        Some((self.done as f64 / total as f64).min(1.0))
    }
}

/// So many seconds as people read them.
fn span(seconds: f64) -> String {
    // A cast that is too large ends at the greatest number.
    let seconds = seconds.ceil() as u64;
    let (minutes, rest) = (seconds / 60, seconds % 60);
    match minutes {
        0..60 => format!("{minutes}:{rest:02}"),
        60..6000 => format!("{}:{:02}:{rest:02}", minutes / 60, minutes % 60),
        _ => "days".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(terminal: bool, quiet: bool, dumb: bool) -> Progress {
        let (mut env, _) = Env::captured("btx", [""; 0], "/");
        env.err_is_terminal = terminal;
        env.vars = Box::new(move |name| (dumb && name == "TERM").then(|| "dumb".into()));
        Progress::new(&env, quiet)
    }

    #[test]
    fn on_a_terminal_it_is_one_line_that_is_wiped() {
        let (mut err, mut progress) = (Vec::new(), progress(true, false, false));
        progress.draw(&mut err, 1, Some(4));
        progress.draw(&mut err, 2, Some(4));
        progress.clear(&mut err);
        let drawn = String::from_utf8(err).unwrap();
        assert!(drawn.starts_with("\r[######------------------] 25.0% complete, "), "{drawn:?}");
        assert!(drawn.ends_with(&format!("\r{}\r", " ".repeat(Progress::WIDTH))), "{drawn:?}");
        assert!(!drawn.contains(['\n', '\x1b']) && !drawn.contains("50.0"), "{drawn:?}");
    }

    #[test]
    fn elsewhere_a_line_comes_now_and_then_and_never_if_it_shall_be_quiet() {
        let text = |mut progress: Progress, ago: u64| {
            let mut err = Vec::new();
            progress.started -= Duration::from_secs(ago);
            progress.draw(&mut err, 5 << 20, Some(20 << 20));
            progress.draw(&mut err, 6 << 20, Some(20 << 20));
            progress.clear(&mut err);
            String::from_utf8(err).unwrap()
        };
        let line = "btx: 25.0% complete, 0 MiB/s, 0:31 left\n";
        assert_eq!(text(progress(false, false, false), 10), line);
        assert_eq!(text(progress(true, false, true), 10), line);
        assert_eq!(text(progress(false, false, false), 9), "");
        assert_eq!(text(progress(false, true, false), 99), "");
        assert_eq!(text(progress(true, true, false), 99), "");
    }

    #[test]
    fn rate_and_time_left_are_told_in_words() {
        let words = |done: u64, total, seconds| {
            let time = Duration::from_secs(seconds);
            State { done: done << 20, total, time }.words()
        };
        let gib = Some(1024 << 20);
        assert_eq!(words(512, gib, 2), "50.0% complete, 256 MiB/s, 0:02 left");
        assert_eq!(words(1, gib, 10), "0.1% complete, 0 MiB/s, 2:50:30 left");
        assert_eq!(words(0, gib, 1), "0.0% complete, 0 MiB/s, days left");
        assert_eq!(words(700, None, 7), "700 MiB, 100 MiB/s");
        let widest = State { done: 1 << 50, total: Some(1 << 60), time: Duration::from_secs(1) };
        assert!(widest.bar().len() <= Progress::WIDTH, "{}", widest.bar());
    }

    #[test]
    fn what_begins_anew_counts_anew() {
        let mut progress = progress(false, false, false);
        progress.started -= Duration::from_secs(100);
        progress.draw(&mut Vec::new(), 9, Some(10));
        progress.draw(&mut Vec::new(), 1, Some(10));
        assert!(progress.started.elapsed() < Duration::from_secs(100));
    }
}
