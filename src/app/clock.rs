//! The date as logs and pages show it, in UTC or as the clocks on the walls have it.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::proto::zone::{MAX_ZONE, Zone};

/// Where the time zone of this machine is.
const HERE: &str = "/etc/localtime";

/// Where those of other places are.
const PLACES: &str = "/usr/share/zoneinfo";

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

const DAY: u64 = 86_400;

/// A moment of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    year: u64,
    /// 1 to 12.
    month: u64,
    day: u64,
    /// Days since Sunday.
    weekday: u64,
    /// Seconds of the day.
    second: u64,
}

impl From<SystemTime> for Civil {
    /// Moments before 1970 come out as its beginning.
    fn from(moment: SystemTime) -> Civil {
        let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let (mut day, mut year) = (seconds / DAY, 1970);
        // The first was a Thursday.
        let weekday = (day + 4) % 7;
        // 400 years always have the same number of days; so the loop below is short.
        year += day / 146_097 * 400;
        day %= 146_097;
        let leap = |y: u64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
        while day >= 365 + u64::from(leap(year)) {
            day -= 365 + u64::from(leap(year));
            year += 1;
        }
        let mut month = 1;
        loop {
            let length = match month {
                2 => 28 + u64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            if day < length {
                let second = seconds % DAY;
                return Civil { year, month, day: day + 1, weekday, second };
            }
            day -= length;
            month += 1;
        }
    }
}

impl Civil {
    /// The moment as clocks of a time zone show it.
    pub fn local(moment: SystemTime, zone: &Zone) -> Civil {
        let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let offset = zone.offset(i64::try_from(seconds).unwrap_or(i64::MAX));
        let shown = seconds.saturating_add_signed(offset.into());
        Civil::from(UNIX_EPOCH + Duration::from_secs(shown))
    }

    /// `02/Jan/2026:03:04:05`.
    pub fn log_date(self) -> impl fmt::Display {
        let Civil { year, month, day, second, .. } = self;
        let name = MONTHS[(month - 1) as usize];
        let (hour, minute) = (second / 3600, second / 60 % 60);
        format!("{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{:02}", second % 60)
    }

    /// `Fri Jan 02 03:04:05 2026`.
    pub fn ctime(self) -> impl fmt::Display {
        let Civil { year, month, day, weekday, second } = self;
        let (name, weekday) = (MONTHS[(month - 1) as usize], WEEKDAYS[weekday as usize]);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        format!("{weekday} {name} {day:02} {hour:02}:{minute:02}:{:02} {year:04}", second % 60)
    }

    /// `03:04:05`.
    pub fn time(self) -> impl fmt::Display {
        let (hour, minute) = (self.second / 3600, self.second / 60 % 60);
        format!("{hour:02}:{minute:02}:{:02}", self.second % 60)
    }

    /// `Fri, 02 Jan 2026 03:04:05 GMT`, as HTTP has it.
    pub fn http_date(self) -> impl fmt::Display {
        let Civil { year, month, day, weekday, second } = self;
        let (name, weekday) = (MONTHS[(month - 1) as usize], WEEKDAYS[weekday as usize]);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        format!("{weekday}, {day:02} {name} {year:04} {hour:02}:{minute:02}:{:02} GMT", second % 60)
    }

    /// `2026-01-02 03:04`.
    pub fn minute(self) -> impl fmt::Display {
        let Civil { year, month, day, second, .. } = self;
        let (hour, minute) = (second / 3600, second / 60 % 60);
        format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
    }
}

/// The time zone that the variable `TZ` has this value for: a place (`Europe/Berlin`), a path or
/// a rule; without the variable that of this machine. What cannot be read is UTC, as everywhere.
pub fn zone(variable: Option<&OsStr>) -> Zone {
    let Some(value) = variable.map(OsStr::as_bytes) else { return from_file(Path::new(HERE)) };
    let name = value.strip_prefix(b":").unwrap_or(value);
    if name.is_empty() {
        return Zone::utc();
    }
    let path = PathBuf::from(PLACES).join(OsStr::from_bytes(name));
    match Zone::from_rule(name) {
        // A few places have names that could be rules, such as EST5EDT.
        Ok(zone) if !path.is_file() => zone,
        _ => from_file(&path),
    }
}

fn from_file(path: &Path) -> Zone {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(MAX_ZONE as u64 + 1).read_to_end(&mut bytes));
    read.ok().and_then(|_| Zone::decode(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_follows_its_zone() {
        let zone = zone(Some(OsStr::new("CET-1CEST,M3.5.0,M10.5.0/3")));
        let at = |s| Civil::local(UNIX_EPOCH + Duration::from_secs(s), &zone);
        assert_eq!(at(1_743_296_399).log_date().to_string(), "30/Mar/2025:01:59:59");
        assert_eq!(at(1_743_296_400).log_date().to_string(), "30/Mar/2025:03:00:00");
        assert_eq!(at(1_767_222_000).log_date().to_string(), "01/Jan/2026:00:00:00");
        for nowhere in ["", ":", "/nonexistent", "No/Where", "../../../etc/passwd"] {
            assert_eq!(super::zone(Some(OsStr::new(nowhere))), Zone::utc(), "{nowhere}");
        }
        let place = "/usr/share/zoneinfo/Asia/Tokyo";
        if Path::new(place).is_file() {
            for name in ["Asia/Tokyo", ":Asia/Tokyo", place] {
                assert_eq!(super::zone(Some(OsStr::new(name))).offset(0), 9 * 3600, "{name}");
            }
        }
    }

    #[test]
    fn knows_the_calendar() {
        let at = |s| Civil::from(UNIX_EPOCH + Duration::from_secs(s));
        assert_eq!(at(0).log_date().to_string(), "01/Jan/1970:00:00:00");
        assert_eq!(at(951_782_399).log_date().to_string(), "28/Feb/2000:23:59:59");
        assert_eq!(at(951_782_400).minute().to_string(), "2000-02-29 00:00");
        assert_eq!(at(1_709_251_199).log_date().to_string(), "29/Feb/2024:23:59:59");
        assert_eq!(at(4_107_542_400).minute().to_string(), "2100-03-01 00:00");
        assert_eq!(at(1_798_761_599).log_date().to_string(), "31/Dec/2026:23:59:59");
        assert_eq!(at(0).ctime().to_string(), "Thu Jan 01 00:00:00 1970");
        assert_eq!(at(1_798_761_599).ctime().to_string(), "Thu Dec 31 23:59:59 2026");
        assert_eq!(at(13_000_000_000).minute().to_string(), "2381-12-14 23:06");
    }
}
