//! The time that a report is about: whole local days.

use super::calendar::{Day, Month};
use crate::types::ParseError;
use jiff::civil::{Date, ISOWeekDate, Weekday};
use std::fmt;

/// Days from the first to the last, both included; at most [`DAYS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    first: Day,
    last: Day,
}

impl Period {
    /// Makes a period.
    ///
    /// # Errors
    /// If it ends before it begins, or is longer than [`DAYS_MAX`].
    pub fn new(first: Day, last: Day) -> Result<Self, ParseError> {
        let fits = first <= last && last.number() - first.number() < DAYS_MAX;
        let wrong = || ParseError::new(&format!("{first}..{last}"), "a period of 1 to 1,100 days");
        fits.then_some(Self { first, last }).ok_or_else(wrong)
    }

    /// Reads `2026-10`, `2026-W40`, `2026-10-05`, `2026`, `2026-10-01..2026-10-31`, `today`, `yesterday`, `this-week`,
    /// `last-week`, `this-month`, `last-month`, or `last-30-days`, where today is the last.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str, today: Day) -> Result<Self, ParseError> {
        let wrong = || {
            ParseError::new(
                text,
                "a period such as 2026-10, 2026-W40, 2026-10-01..2026-10-31, last-month or last-30-days",
            )
        };
        if let Some((first, last)) = text.split_once("..") {
            let day = |text: &str| parse_date(text).map(Day::of).ok_or_else(wrong);
            return Self::new(day(first)?, day(last)?);
        }
        let period = named(text, today).or_else(|| dated(text)).ok_or_else(wrong)?;
        Self::new(period.0, period.1)
    }

    /// The first day.
    #[must_use]
    pub const fn first(&self) -> Day {
        self.first
    }

    /// The last day.
    #[must_use]
    pub const fn last(&self) -> Day {
        self.last
    }

    /// The days.
    pub fn days(self) -> impl Iterator<Item = Day> {
        (self.first.number()..=self.last.number()).map(Day::new)
    }

    /// The same time as whole months and the days that are left over before and after them.
    #[must_use]
    pub fn pieces(&self) -> Pieces {
        let month = self.first.month();
        let begin = if month.first() == self.first { month } else { month.plus(1) };
        let end = self.last.plus(1).month();
        if begin >= end {
            return Pieces { months: None, days: vec![(self.first, self.last)] };
        }
        let before = (self.first, begin.first().plus(-1));
        let after = (end.first(), self.last);
        let days = [before, after].into_iter().filter(|(first, last)| first <= last);
        Pieces { months: Some((begin, end.plus(-1))), days: days.collect() }
    }
}

/// `2026-10-01..2026-10-31`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.last)
    }
}

/// A period in pieces that are stored as such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    /// The first and the last whole month.
    pub months: Option<(Month, Month)>,
    /// Stretches of days, by their first and last.
    pub days: Vec<(Day, Day)>,
}

fn named(text: &str, today: Day) -> Option<(Day, Day)> {
    let monday = today.plus(-i32::from(today.date().weekday().to_monday_zero_offset()));
    let month = today.month();
    Some(match text {
        "today" => (today, today),
        "yesterday" => (today.plus(-1), today.plus(-1)),
        "this-week" => (monday, monday.plus(6)),
        "last-week" => (monday.plus(-7), monday.plus(-1)),
        "this-month" => (month.first(), month.plus(1).first().plus(-1)),
        "last-month" => (month.plus(-1).first(), month.first().plus(-1)),
        _ => {
            let count = text.strip_prefix("last-")?.strip_suffix("-days")?;
            let count: i32 = count.parse().ok().filter(|count| (1..=DAYS_MAX).contains(count))?;
            (today.plus(1 - count), today)
        }
    })
}

fn dated(text: &str) -> Option<(Day, Day)> {
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        [year] => {
            let (first, last) =
                (Date::new(year_of(year)?, 1, 1), Date::new(year_of(year)?, 12, 31));
            Some((Day::of(first.ok()?), Day::of(last.ok()?)))
        }
        [year, week] if week.starts_with('W') => {
            let week = two_digits(week.get(1..)?)?;
            let monday = ISOWeekDate::new(year_of(year)?, week, Weekday::Monday).ok()?;
            let monday = Day::of(monday.date());
            Some((monday, monday.plus(6)))
        }
        [year, month] => {
            let month = Month::of(Date::new(year_of(year)?, two_digits(month)?, 1).ok()?);
            Some((month.first(), month.plus(1).first().plus(-1)))
        }
        _ => parse_date(text).map(|date| (Day::of(date), Day::of(date))),
    }
}

fn parse_date(text: &str) -> Option<Date> {
    let parts: Vec<&str> = text.trim().split('-').collect();
    let [year, month, day] = parts.as_slice() else { return None };
    Date::new(year_of(year)?, two_digits(month)?, two_digits(day)?).ok()
}

/// Years from 1970 on, with four digits.
fn year_of(text: &str) -> Option<i16> {
    let is_year = text.len() == 4 && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|year| is_year && *year >= 1970)
}

fn two_digits(text: &str) -> Option<i8> {
    let is_number = text.len() == 2 && text.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Three years and a little.
pub const DAYS_MAX: i32 = 1_100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_as_people_write_them() {
        let today = Day::of("2026-11-27".parse().unwrap());
        for (text, read) in [
            ("2026-10", "2026-10-01..2026-10-31"),
            ("2024-02", "2024-02-01..2024-02-29"),
            ("2026", "2026-01-01..2026-12-31"),
            ("2026-W40", "2026-09-28..2026-10-04"),
            ("2026-W01", "2025-12-29..2026-01-04"),
            ("2026-W53", "2026-12-28..2027-01-03"),
            ("2026-10-05", "2026-10-05..2026-10-05"),
            ("2026-10-01..2026-10-31", "2026-10-01..2026-10-31"),
            ("today", "2026-11-27..2026-11-27"),
            ("yesterday", "2026-11-26..2026-11-26"),
            ("this-week", "2026-11-23..2026-11-29"),
            ("last-week", "2026-11-16..2026-11-22"),
            ("this-month", "2026-11-01..2026-11-30"),
            ("last-month", "2026-10-01..2026-10-31"),
            ("last-30-days", "2026-10-29..2026-11-27"),
        ] {
            assert_eq!(Period::parse(text, today).unwrap().to_string(), read, "{text}");
        }
        for wrong in [
            "",
            "2026-13",
            "2026-W54",
            "2025-W53",
            "2026-02-30",
            "26-10",
            "2026-1",
            "2026-10-02..2026-10-01",
            "last-0-days",
            "last-9999-days",
            "2020-01-01..2026-01-01",
            "last-year",
            "2026-10-01..",
            "1969",
            "+2026-10",
            "2026-W4é",
            "-1",
        ] {
            assert!(Period::parse(wrong, today).is_err(), "{wrong}");
        }
    }

    /// The pieces hold every day of the period once.
    fn check_pieces(text: &str, months: usize, days: usize) {
        let today = Day::of("2026-11-27".parse().unwrap());
        let period = Period::parse(text, today).unwrap();
        let pieces = period.pieces();
        let of_months = pieces.months.into_iter().flat_map(|(first, last)| {
            (first.first().number()..last.plus(1).first().number()).map(Day::new)
        });
        let of_days = pieces
            .days
            .iter()
            .flat_map(|(first, last)| (first.number()..=last.number()).map(Day::new));
        let mut all: Vec<Day> = of_months.chain(of_days).collect();
        all.sort();
        assert_eq!(all, period.days().collect::<Vec<_>>(), "{text}");
        let count = pieces.months.map_or(0, |(a, b)| b.number() - a.number() + 1);
        let left: i32 = pieces.days.iter().map(|(a, b)| b.number() - a.number() + 1).sum();
        assert_eq!(
            (usize::try_from(count).unwrap(), usize::try_from(left).unwrap()),
            (months, days),
            "{text}"
        );
    }

    #[test]
    fn a_period_is_whole_months_and_what_is_left() {
        check_pieces("2026-10", 1, 0);
        check_pieces("2026", 12, 0);
        check_pieces("2026-W40", 0, 7);
        check_pieces("2026-10-02..2026-10-30", 0, 29);
        check_pieces("2026-09-30..2026-11-01", 1, 2);
        check_pieces("2025-10-24..2026-11-27", 12, 8 + 27);
        check_pieces("2026-10-01..2026-11-27", 1, 27);
    }
}
