//! Hours, days and months by number, in the time zone of the reports.
//!
//! Hours are those of UTC. A day is a local one and holds the hours that begin in it, so in a zone that is half an hour off, half
//! an hour of a day's edge counts to its neighbour.

use crate::types::{ParseError, Timestamp};
use jiff::{civil::Date, tz::TimeZone};
use std::{fmt, str::FromStr};

/// An hour of UTC: hours since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Hour {
    /// The hour by its number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The hour that holds a moment.
    #[must_use]
    pub const fn of(moment: Timestamp) -> Self {
        Self(moment.as_millis().div_euclid(HOUR_MILLIS))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// When it begins.
    #[must_use]
    pub const fn begin(self) -> Timestamp {
        Timestamp::from_millis(self.0 * HOUR_MILLIS)
    }
}

/// A local day: days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// The day by its number.
    #[must_use]
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The day of a date.
    #[must_use]
    pub fn of(date: Date) -> Self {
        Self(
            Date::constant(1970, 1, 1)
                .duration_until(date)
                .as_hours()
                .try_into()
                .map_or(0, |hours: i32| hours / 24),
        )
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Its date.
    #[must_use]
    pub fn date(self) -> Date {
        let span = jiff::SignedDuration::from_hours(i64::from(self.0) * 24);
        Date::constant(1970, 1, 1).saturating_add(span)
    }

    /// The day so many days later.
    #[must_use]
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// The month that it belongs to.
    #[must_use]
    pub fn month(self) -> Month {
        Month::of(self.date())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

/// A local month: months since year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

impl Month {
    /// The month of a date.
    #[must_use]
    pub fn of(date: Date) -> Self {
        Self(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Its first day.
    #[must_use]
    pub fn first(self) -> Day {
        let year = i16::try_from(self.0.div_euclid(12)).unwrap_or(i16::MAX);
        let month = i8::try_from(self.0.rem_euclid(12) + 1).unwrap_or(1);
        Day::of(Date::new(year, month, 1).unwrap_or(Date::MAX))
    }

    /// The month so many months later.
    #[must_use]
    pub const fn plus(self, months: i32) -> Self {
        Self(self.0.saturating_add(months))
    }
}

/// The time zone of the reports, by its name in the IANA database: `Asia/Jakarta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// UTC.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The local day of a moment.
    #[must_use]
    pub fn day_of(&self, moment: Timestamp) -> Day {
        let moment = jiff::Timestamp::from_millisecond(moment.as_millis());
        moment.map_or(Day(0), |moment| Day::of(self.0.to_datetime(moment).date()))
    }

    /// When a local day begins.
    #[must_use]
    pub fn begin_of(&self, day: Day) -> Timestamp {
        let begin =
            self.0.to_ambiguous_zoned(day.date().to_datetime(jiff::civil::Time::midnight()));
        begin.compatible().map_or(Timestamp::EPOCH, |zoned| {
            Timestamp::from_millis(zoned.timestamp().as_millisecond())
        })
    }

    /// The hours that begin on the days from `first` to `last`: the first of them and the first after them.
    #[must_use]
    pub fn hours_of(&self, first: Day, last: Day) -> (Hour, Hour) {
        let ceiling = |day| {
            let begin: Timestamp = self.begin_of(day);
            Hour((begin.as_millis() + HOUR_MILLIS - 1).div_euclid(HOUR_MILLIS))
        };
        (ceiling(first), ceiling(last.plus(1)))
    }

    /// A moment as local wall-clock time, by a pattern of strftime.
    #[must_use]
    pub fn show(&self, moment: Timestamp, pattern: &str) -> String {
        jiff::Timestamp::from_millisecond(moment.as_millis()).map_or_else(
            |_| moment.to_string(),
            |moment| moment.to_zoned(self.0.clone()).strftime(pattern).to_string(),
        )
    }
}

impl FromStr for Zone {
    type Err = ParseError;

    fn from_str(name: &str) -> Result<Self, ParseError> {
        let wrong = |_| ParseError::new(name, "a time zone such as Asia/Jakarta");
        TimeZone::get(name).map(Self).map_err(wrong)
    }
}

const HOUR_MILLIS: i64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn days_are_those_of_the_zone() {
        for (zone, moment, day) in [
            ("UTC", "2026-10-31T23:59:59Z", "2026-10-31"),
            ("Asia/Jakarta", "2026-10-31T16:59:59Z", "2026-10-31"),
            ("Asia/Jakarta", "2026-10-31T17:00:00Z", "2026-11-01"),
            ("America/New_York", "2026-11-01T03:59:59Z", "2026-10-31"),
            ("UTC", "1969-12-31T23:00:00Z", "1969-12-31"),
        ] {
            assert_eq!(
                zone.parse::<Zone>().unwrap().day_of(at(moment)).to_string(),
                day,
                "{zone} {moment}"
            );
        }
        assert!("Nowhere/City".parse::<Zone>().is_err());
    }

    #[test]
    fn a_day_has_its_hours_even_when_clocks_change() {
        for (zone, day, hours) in [
            ("UTC", "2026-10-25", 24),
            ("Europe/Berlin", "2026-10-25", 25),
            ("Europe/Berlin", "2026-03-29", 23),
            ("Asia/Kolkata", "2026-10-25", 24),
        ] {
            let day = Day::of(day.parse().unwrap());
            let zone = zone.parse::<Zone>().unwrap();
            let (first, end) = zone.hours_of(day, day);
            assert_eq!(end.number() - first.number(), hours, "{day}");
            assert_eq!((zone.day_of(first.begin()), zone.day_of(end.begin())), (day, day.plus(1)));
        }
    }

    #[test]
    fn months_have_first_days() {
        let day = Day::of("2026-12-31".parse().unwrap());
        assert_eq!(day.month().first().to_string(), "2026-12-01");
        assert_eq!(day.month().plus(1).first().to_string(), "2027-01-01");
        assert_eq!(day.month().plus(-12).first().to_string(), "2025-12-01");
    }
}
