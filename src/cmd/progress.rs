//! How far a command has come: for the makers and the check, on standard error.

use std::io::Write;
use std::time::{Duration, Instant};

/// One line on a terminal, rewritten in place; nothing elsewhere.
pub struct Progress {
    terminal: bool,
    started: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    const WIDTH: usize = 40;

    /// A line that is drawn only on a terminal. The rate counts from now.
    pub fn new(terminal: bool) -> Progress {
        Progress { terminal, started: Instant::now(), drawn: None }
    }

    /// Draws that `done` of `total` bytes are done, unless it has just been drawn.
    pub fn draw(&mut self, err: &mut impl Write, done: u64, total: u64) {
        const PAUSE: Duration = Duration::from_millis(100);
        if !self.terminal || self.drawn.is_some_and(|drawn| drawn.elapsed() < PAUSE) {
            return;
        }
        self.drawn = Some(Instant::now());
        let percent = done as f64 * 100.0 / total as f64;
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = done as f64 / seconds.max(0.001) / f64::from(1 << 20);
        let line = format!("{percent:.1}% complete, {rate:.0} MiB/s");
        // A terminal that fails is no reason to stop the work.
        let _ = write!(err, "\r{line:<width$}", width = Self::WIDTH);
        let _ = err.flush();
    }

    /// Wipes the line, so that other text can take its place.
    pub fn clear(&self, err: &mut impl Write) {
        if self.drawn.is_some() {
            let _ = write!(err, "\r{:width$}\r", "", width = Self::WIDTH);
            let _ = err.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_line_that_is_wiped_and_on_terminals_alone() {
        let text = |terminal| {
            let (mut err, mut progress) = (Vec::new(), Progress::new(terminal));
            progress.draw(&mut err, 1, 4);
            progress.clear(&mut err);
            String::from_utf8(err).unwrap()
        };
        let drawn = text(true);
        assert!(drawn.starts_with("\r25.0% complete, "), "{drawn:?}");
        assert!(drawn.ends_with(&format!("\r{}\r", " ".repeat(Progress::WIDTH))), "{drawn:?}");
        assert!(!drawn.contains('\n'));
        assert_eq!(text(false), "");
    }
}
