//! Bars and graphs of rates, out of characters.

use super::words;
use crate::io::screen::frame::{Area, Colour, Frame, Style};
use std::collections::VecDeque;

/// A bar that is full to this part.
pub fn bar(frame: &mut Frame, area: Area, part: f64, style: Style) {
    let colour = match style.colour {
        Colour::Plain => Colour::Green,
        other => other,
    };
    let eighths = (part.clamp(0.0, 1.0) * (area.width * 8) as f64) as usize;
    let mut text = "█".repeat(eighths / 8);
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    text.push_str(PARTS[eighths % 8]);
    let rest = frame.text(area, &text, Style::of(colour));
    frame.fill(rest, '░', Style::PLAIN.dim());
}

/// From low to high.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The newest rates at the right, each a column; the highest of them fills the row.
pub fn sparkline(
    frame: &mut Frame,
    area: Area,
    rates: &VecDeque<(f64, f64)>,
    pick: fn(&(f64, f64)) -> f64,
    colour: Colour,
) {
    let shown = rates.len().min(area.width);
    let newest: Vec<f64> = rates.iter().skip(rates.len() - shown).map(pick).collect();
    let top = newest.iter().copied().fold(1.0, f64::max);
    let level = |rate: &f64| match (rate / top * 8.0) as usize {
        0 if *rate < 1.0 => ' ',
        level => LEVELS[level.min(7)],
    };
    let text: String = newest.iter().map(level).collect();
    frame.text(area.last(shown), &text, Style::of(colour));
}

/// Two graphs, one above the other.
pub fn graphs(frame: &mut Frame, area: Area, rates: &VecDeque<(f64, f64)>) {
    let half = area.height / 2;
    let (down, up) = (area.above(half), area.below(half).above(half));
    graph(frame, down, ("download", Colour::Green), rates, |(down, _)| *down);
    graph(frame, up, ("upload", Colour::Blue), rates, |(_, up)| *up);
}

fn graph(
    frame: &mut Frame,
    area: Area,
    (title, colour): (&str, Colour),
    rates: &VecDeque<(f64, f64)>,
    pick: fn(&(f64, f64)) -> f64,
) {
    let plot = area.below(1);
    let shown = rates.len().min(plot.width);
    let newest: Vec<f64> = rates.iter().skip(rates.len() - shown).map(pick).collect();
    let top = newest.iter().copied().fold(0.0, f64::max);
    let rest = frame.text(area.row(0), title, Style::of(Colour::Cyan));
    let what = format!("  at most {} in {}", words::rate(top), words::span(shown as f64));
    frame.text(rest, if top < 1.0 { "" } else { &what }, Style::PLAIN.dim());
    for row in 0..plot.height {
        let floor = (plot.height - 1 - row) * 8;
        let glyph = |rate: &f64| {
            let height = (rate / top.max(1.0) * (plot.height * 8) as f64).ceil() as usize;
            match height.saturating_sub(floor) {
                0 => ' ',
                level => LEVELS[level.min(8) - 1],
            }
        };
        let text: String = newest.iter().map(glyph).collect();
        frame.text(plot.row(row).last(shown), &text, Style::of(colour));
    }
}
