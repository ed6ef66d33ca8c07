//! A rule for the time of every year, as POSIX has it for `TZ` and the files have it at their end.

use super::MAX_OFFSET;

const DAY: i64 = 86_400;

/// Moments further from 1970 than this, in seconds, are taken as this: some million years.
const FAR: i64 = 1 << 45;

/// The rule where none is written beside the name of the summer time: that of the United States.
const USUAL: &[u8] = b",M3.2.0,M11.1.0";

/// The time of every year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// Seconds east of UTC.
    standard: i32,
    summer: Option<Summer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Summer {
    /// Seconds east of UTC.
    offset: i32,
    /// When it begins, by standard time, and ends, by its own.
    begins: When,
    ends: When,
}

/// A moment of every year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct When {
    day: YearDay,
    /// Seconds after the beginning of that day; may be negative, or more than a day.
    second: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum YearDay {
    /// The n-th day, from 1, where 29 February is never counted.
    WithoutLeap(u16),
    /// Days after 1 January.
    Since(u16),
    /// A day of the week (0 is Sunday) in a month: its n-th, 5 being the last.
    Weekday { month: u8, nth: u8, weekday: u8 },
}

impl Rule {
    /// From its text, all of it.
    pub(super) fn read(text: &[u8]) -> Option<Rule> {
        let mut text = Text(text);
        text.name()?;
        let standard = -text.hours(24)?;
        if text.0.is_empty() {
            return Some(Rule { standard, summer: None });
        }
        text.name()?;
        let offset = match text.0.first() {
            None | Some(b',') => standard + 3600,
            Some(_) => -text.hours(24)?,
        };
        if text.0.is_empty() {
            text = Text(USUAL);
        }
        let (begins, ends) = (text.when()?, text.when()?);
        let summer = Some(Summer { offset, begins, ends });
        let sane = standard.abs().max(offset.abs()) <= MAX_OFFSET;
        (text.0.is_empty() && sane).then_some(Rule { standard, summer })
    }

    /// Seconds east of UTC at a moment.
    pub(super) fn offset(&self, moment: i64) -> i32 {
        let Some(Summer { offset, begins, ends }) = self.summer else { return self.standard };
        let moment = moment.clamp(-FAR, FAR);
        let standard = i64::from(self.standard);
        let (year, first) = year_of((moment + standard).div_euclid(DAY));
        let at = |when: When, from: i32| {
            let day = first + when.day.in_year(year, first);
            day * DAY + i64::from(when.second) - i64::from(from)
        };
        let (begins, ends) = (at(begins, self.standard), at(ends, offset));
        // South of the equator it begins late in the year and ends early.
        let summer = match begins < ends {
            true => begins <= moment && moment < ends,
            false => !(ends <= moment && moment < begins),
        };
        if summer { offset } else { self.standard }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The first day of a year, in days since 1970.
fn first_day(year: i64) -> i64 {
    let before = year - 1;
    before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
}

/// The year of a day since 1970, and its first day.
fn year_of(day: i64) -> (i64, i64) {
    // By the mean length of a year, which is wrong by one at most.
    let mut year = 1970 + (day * 400).div_euclid(146_097);
    while day < first_day(year) {
        year -= 1;
    }
    while day >= first_day(year + 1) {
        year += 1;
    }
    (year, first_day(year))
}

impl YearDay {
    /// Days after 1 January of a year, which is so many days after 1970.
    fn in_year(self, year: i64, first: i64) -> i64 {
        let leap = is_leap(year);
        match self {
            YearDay::Since(day) => day.into(),
            YearDay::WithoutLeap(day) => i64::from(day) - 1 + i64::from(leap && day >= 60),
            YearDay::Weekday { month, nth, weekday } => {
                let february = 28 + i64::from(leap);
                let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
                let month = usize::from(month) - 1;
                let begin: i64 = lengths[..month].iter().sum();
                // 1970 began on a Thursday.
                let begins_on = (first + begin + 4).rem_euclid(7);
                let first_one = (i64::from(weekday) - begins_on).rem_euclid(7);
                let mut day = first_one + 7 * (i64::from(nth) - 1);
                while day >= lengths[month] {
                    day -= 7;
                }
                begin + day
            }
        }
    }
}

/// What is left to be read.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn takes(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        rest.inspect(|rest| self.0 = rest).is_some()
    }

    /// A name such as `CET` or `<+03>`.
    fn name(&mut self) -> Option<()> {
        let quoted = self.takes(b'<');
        let fits = |b: &u8| match quoted {
            true => b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-'),
            false => b.is_ascii_alphabetic(),
        };
        let length = self.0.iter().take_while(|b| fits(b)).count();
        self.0 = &self.0[length..];
        (length >= 3 && (!quoted || self.takes(b'>'))).then_some(())
    }

    fn number(&mut self, max: u16) -> Option<u16> {
        let length = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok().filter(|n| *n <= max)
    }

    /// `[+-]hh[:mm[:ss]]`, in seconds.
    fn hours(&mut self, max: u16) -> Option<i32> {
        let negative = self.takes(b'-');
        if !negative {
            self.takes(b'+');
        }
        let mut seconds = i32::from(self.number(max)?) * 3600;
        for unit in [60, 1] {
            if !self.takes(b':') {
                break;
            }
            seconds += i32::from(self.number(59)?) * unit;
        }
        Some(if negative { -seconds } else { seconds })
    }

    /// `,DAY[/TIME]`, at two o'clock if nothing else is said.
    fn when(&mut self) -> Option<When> {
        if !self.takes(b',') {
            return None;
        }
        let day = if self.takes(b'J') {
            YearDay::WithoutLeap(self.number(365).filter(|n| *n > 0)?)
        } else if self.takes(b'M') {
            self.weekday()?
        } else {
            YearDay::Since(self.number(365)?)
        };
        // The files go beyond a day, for rules such as "the Saturday before the last Sunday".
        let second = if self.takes(b'/') { self.hours(167)? } else { 2 * 3600 };
        Some(When { day, second })
    }

    /// `m.n.d` of `Mm.n.d`.
    fn weekday(&mut self) -> Option<YearDay> {
        let month = self.within(1, 12)?;
        let nth = self.takes(b'.').then(|| self.within(1, 5))??;
        let weekday = self.takes(b'.').then(|| self.within(0, 6))??;
        Some(YearDay::Weekday { month, nth, weekday })
    }

    fn within(&mut self, least: u8, most: u8) -> Option<u8> {
        let number = u8::try_from(self.number(most.into())?).ok()?;
        (number >= least).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets in minutes by a rule at moments given as seconds since 1970.
    fn minutes(rule: &str, moments: &[i64]) -> Vec<i32> {
        let rule = Rule::read(rule.as_bytes()).unwrap_or_else(|| panic!("{rule}"));
        moments.iter().map(|at| rule.offset(*at) / 60).collect()
    }

    #[test]
    fn summer_begins_and_ends_at_its_second() {
        // 30 March 2025 01:00 UTC and 26 October 2025 01:00 UTC.
        let moments = [1_743_296_399, 1_743_296_400, 1_761_440_399, 1_761_440_400];
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        assert_eq!(minutes(berlin, &moments), [60, 120, 120, 60]);
        // The same moments, told as Ireland does: what begins in October is one hour less.
        assert_eq!(minutes("IST-1GMT0,M10.5.0,M3.5.0/1", &moments), [0, 60, 60, 0]);
        // 5 April 2025 16:00 UTC and 4 October 2025 16:00 UTC.
        let moments = [1_743_868_799, 1_743_868_800, 1_759_593_599, 1_759_593_600];
        assert_eq!(minutes("AEST-10AEDT,M10.1.0,M4.1.0/3", &moments), [660, 600, 600, 660]);
    }

    #[test]
    fn days_are_counted_with_and_without_the_leap_day() {
        // 1 March 2024 and 29 February 2024, 00:00 UTC; 1 March 2025.
        let moments = [1_709_251_199, 1_709_251_200, 1_740_787_199, 1_740_787_200];
        assert_eq!(minutes("AAA0BBB,J60/0,J300/0", &moments), [0, 60, 0, 60]);
        assert_eq!(minutes("AAA0BBB,60/0,300/0", &moments), [0, 60, 0, 0], "a day later in 2025");
    }

    #[test]
    fn offsets_have_minutes_and_names_quotes() {
        assert_eq!(minutes("<+0545>-5:45", &[0]), [345]);
        assert_eq!(minutes("NST3:30NDT", &[1_750_000_000, 1_765_000_000]), [-150, -210]);
        assert_eq!(minutes("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", &[1_750_000_000]), [-60]);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "CE-1",
            "CET",
            "CET-25",
            "CET-1CEST,",
            "CET-1CEST,M3.5.0",
            "CET-1 ",
            "<CET-1",
            "CET-1CEST,M13.1.0,M1.1.0",
            "CET-1CEST,M1.0.0,M1.1.0",
            "CET-1CEST,J0,J1",
            "CET-1CEST,M1.1.0/168,J1",
            "CET-1CEST,M3.5.0,M10.5.0/3x",
            "CET-99999999999",
        ] {
            assert_eq!(Rule::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_day_is_in_its_year() {
        for year in -4000..6000 {
            let first = first_day(year);
            assert_eq!(year_of(first), (year, first));
            assert_eq!(year_of(first - 1).0, year - 1);
        }
        for extreme in [-FAR, FAR] {
            let day = extreme.div_euclid(DAY);
            let (year, first) = year_of(day);
            assert!(first <= day && day < first_day(year + 1));
        }
    }
}
