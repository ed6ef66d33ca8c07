//! Numbers and times as the screens show them.

use crate::app::client::{Figures, Phase, Status};

/// What the original shows for a rate of nothing.
const IDLE: &str = "---";

/// `28.61 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if size < 9.995 => format!("{size:.2} {}", UNITS[unit]),
        _ if size < 99.95 => format!("{size:.1} {}", UNITS[unit]),
        _ => format!("{size:.0} {}", UNITS[unit]),
    }
}

/// `807.3 KB/s`, of 1024 bytes each, as in the original; larger ones in MB.
pub fn rate(rate: f64) -> String {
    let kilobytes = rate / 1024.0;
    match kilobytes {
        _ if rate < 1.0 => IDLE.into(),
        _ if kilobytes < 9999.95 => format!("{kilobytes:.1} KB/s"),
        _ => format!("{:.1} MB/s", kilobytes / 1024.0),
    }
}

/// As [`rate`], for narrow places: `807K`.
pub fn short_rate(rate: f64) -> String {
    let kilobytes = rate / 1024.0;
    match kilobytes {
        _ if rate < 1.0 => "-".into(),
        _ if kilobytes < 9.95 => format!("{kilobytes:.1}K"),
        _ if kilobytes < 9999.5 => format!("{kilobytes:.0}K"),
        _ => format!("{:.1}M", kilobytes / 1024.0),
    }
}

/// A limit as the options say it: `300 kB/s` of 1000 bytes each.
pub fn limit(limit: Option<u64>) -> String {
    match limit {
        Some(bytes) => format!("limit {} kB/s", bytes / 1000),
        None => String::new(),
    }
}

/// `0:00:27`; `<unknown>` beyond sixty days.
pub fn span(seconds: f64) -> String {
    let all = seconds.ceil() as u64;
    match all {
        0..5_184_000 => format!("{}:{:02}:{:02}", all / 3600, all / 60 % 60, all % 60),
        _ => "<unknown>".into(),
    }
}

/// A part of the whole in percent, cut and not rounded: 100.0 is for what is complete.
pub fn percent(part: f64) -> String {
    format!("{:.1}%", (part * 1000.0).floor() / 10.0)
}

/// The longest of these that there is room for, or the last.
fn fitting<const N: usize>(texts: [String; N], room: usize) -> String {
    let fits = texts.iter().position(|text| text.len() <= room).unwrap_or(N - 1);
    texts.into_iter().nth(fits).unwrap_or_default()
}

/// `0.462  (3.1 MB up / 6.8 MB down)`.
pub fn sharing(status: &Status, room: usize) -> String {
    let mib = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1_048_576.0);
    let ratio = ratio(status.uploaded, status.downloaded);
    let (up, down) = (mib(status.uploaded), mib(status.downloaded));
    fitting([format!("{ratio}  ({up} up / {down} down)"), format!("{ratio} ({up}/{down})")], room)
}

/// `1 seen now, plus 0.236 distributed copies`.
pub fn seeds(status: &Status, room: usize) -> String {
    let (seeds, copies) = (status.seeds, status.distributed_copies);
    let short = format!("{seeds} now, {copies:.3} copies");
    let usual = format!("{seeds} seen now, plus {copies:.3} distributed copies");
    match status.swarm {
        Some(swarm) => fitting([format!("{usual}, {} in all", swarm.complete), usual, short], room),
        None => fitting([usual, short], room),
    }
}

/// `1 seen now, 23.1% done at 823.2 kB/s`.
pub fn peers(status: &Status, room: usize) -> String {
    let (peers, done) = (status.peers, percent(status.peers_progress));
    let short = format!("{peers} now, {done} done");
    let usual = format!("{peers} seen now, {done} done at {:.1} kB/s", status.peers_rate / 1024.0);
    match status.swarm {
        Some(swarm) => {
            fitting([format!("{usual}, {} in all", swarm.incomplete), usual, short], room)
        }
        None => fitting([usual, short], room),
    }
}

/// How much was given for what was taken; `oo` where that has no number worth telling.
pub fn ratio(up: u64, down: u64) -> String {
    match up as f64 / down as f64 {
        _ if up == 0 => "0.000".into(),
        ratio if ratio <= 100.0 => format!("{ratio:.3}"),
        _ => "oo".into(),
    }
}

/// How far the present activity is, 0 to 1.
pub fn done(figures: &Figures) -> f64 {
    match figures.phase {
        Phase::Checking(done) | Phase::Allocating(done) => done,
        _ if figures.total == 0 => 1.0,
        _ => 1.0 - figures.left as f64 / figures.total as f64,
    }
}

/// What a download is doing: `finishing in 0:00:27 (23.6%)`.
pub fn activity(figures: &Figures) -> String {
    let part = percent(done(figures));
    match is_timed(figures) {
        true => format!("finishing in {} ({part})", short_activity(figures)),
        false => format!("{} ({part})", short_activity(figures)),
    }
}

/// Whether what can be said of it is when it will be done.
pub fn is_timed(figures: &Figures) -> bool {
    figures.phase == Phase::Downloading && rate_of(figures) >= 1.0
}

fn rate_of(figures: &Figures) -> f64 {
    figures.status.as_ref().map_or(0.0, |status| status.download_rate)
}

/// The same for narrow places: the time left alone, if there is one.
pub fn short_activity(figures: &Figures) -> String {
    let rate = rate_of(figures);
    match figures.phase {
        Phase::Checking(_) => "checking existing data".into(),
        Phase::Allocating(_) => "allocating disk space".into(),
        Phase::Waiting => "waiting for the disk".into(),
        Phase::Paused => "paused".into(),
        Phase::Queued => "waiting for hash check".into(),
        Phase::Stopping => "shutting down".into(),
        Phase::Seeding => "download succeeded!".into(),
        Phase::Downloading if rate < 1.0 => "connecting to peers".into(),
        Phase::Downloading => span(figures.left as f64 / rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_say_what_they_count() {
        let sizes = [0, 999, 1000, 30_000_000, 104_857_600, 5_000_000_000, u64::MAX];
        let told = sizes.map(bytes);
        let expected = ["0 B", "999 B", "0.98 KiB", "28.6 MiB", "100 MiB", "4.66 GiB", "16384 PiB"];
        assert_eq!(told, expected);
        let rates = [0.0, 500.0, 826_675.0, 10_240_000.0, 1e9];
        assert_eq!(rates.map(rate), ["---", "0.5 KB/s", "807.3 KB/s", "9.8 MB/s", "953.7 MB/s"]);
        assert_eq!(rates.map(short_rate), ["-", "0.5K", "807K", "9.8M", "953.7M"]);
        assert_eq!([0.2, 3599.9, 6e6].map(span), ["0:00:01", "1:00:00", "<unknown>"]);
        assert_eq!(percent(0.99999), "99.9%");
        let ratios = [ratio(0, 0), ratio(1, 0), ratio(1, 2), ratio(201, 2)];
        assert_eq!(ratios, ["0.000", "oo", "0.500", "oo"]);
    }
}
