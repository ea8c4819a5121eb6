//! Calendar months, as people are told of them: `2026-11`, in a time zone.

use super::{ParseError, Timestamp, Zone};
use jiff::{
    ToSpan as _,
    civil::{Date, Time, date},
};
use std::{fmt, ops::Range, str::FromStr};

/// A month of the calendar, of the years 1970 to 9998.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(Date);

impl Month {
    /// The month that a moment lies in, where this time zone is kept.
    #[must_use]
    pub fn of(moment: Timestamp, zone: &Zone) -> Self {
        let moment = jiff::Timestamp::from_millisecond(moment.as_millis());
        let day = zone.rules().to_datetime(moment.unwrap_or_default()).date();
        Self(day.first_of_month().clamp(FIRST, LAST))
    }

    /// The month after this one; the last one that there is comes after itself.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1.month()).min(LAST))
    }

    /// The month before this one; the first one that there is comes before itself.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1.month()).max(FIRST))
    }

    /// From its first moment to that of the next one, where this time zone is kept. A midnight that a clock skips is the moment
    /// after the skip.
    #[must_use]
    pub fn range(self, zone: &Zone) -> Range<Timestamp> {
        let begin = |day: Date| {
            let moment = zone.rules().to_ambiguous_timestamp(day.to_datetime(Time::midnight()));
            let moment = moment.compatible().unwrap_or_default();
            Timestamp::from_millis(moment.as_millisecond())
        };
        begin(self.0)..begin(self.0.saturating_add(1.month()))
    }
}

/// `2026-11`.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

/// Reads `2026-11`.
impl FromStr for Month {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "a month such as 2026-11");
        let is_plain = text.len() == 7 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let (year, month) = text.split_once('-').filter(|_| is_plain).ok_or_else(wrong)?;
        let (year, month) = (year.parse().ok(), month.parse().ok());
        let day = year.zip(month).and_then(|(year, month)| Date::new(year, month, 1).ok());
        day.filter(|day| (FIRST..=LAST).contains(day)).map(Self).ok_or_else(wrong)
    }
}

impl serde::Serialize for Month {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Month {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

const FIRST: Date = date(1970, 1, 1);
/// The calendar's last year is left out, so that every month has an end.
const LAST: Date = date(9998, 12, 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn month(text: &str) -> Month {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> Zone {
        name.parse().unwrap()
    }

    #[test]
    fn a_month_has_its_length_in_every_zone() {
        for (text, name, begins, hours) in [
            ("2026-11", "UTC", "2026-11-01T00:00:00Z", 30 * 24),
            ("2026-12", "Asia/Jakarta", "2026-11-30T17:00:00Z", 31 * 24),
            ("2026-02", "UTC", "2026-02-01T00:00:00Z", 28 * 24),
            ("2028-02", "America/Lima", "2028-02-01T05:00:00Z", 29 * 24),
            ("2026-03", "Europe/Berlin", "2026-02-28T23:00:00Z", 31 * 24 - 1),
            ("2026-10", "Europe/Berlin", "2026-09-30T22:00:00Z", 31 * 24 + 1),
        ] {
            let range = month(text).range(&zone(name));
            assert_eq!(range.start, begins.parse().unwrap(), "{text}");
            assert_eq!(range.end.since(range.start).as_secs(), hours * 3600, "{text}");
        }
    }

    #[test]
    fn a_moment_lies_in_the_month_of_its_zone() {
        let moment = "2026-11-30T20:00:00Z".parse().unwrap();
        assert_eq!(Month::of(moment, &Zone::UTC), month("2026-11"));
        assert_eq!(Month::of(moment, &zone("Asia/Jakarta")), month("2026-12"));
        assert_eq!(month("2026-12").next(), month("2027-01"));
        assert_eq!(month("2027-01").previous(), month("2026-12"));
        for edge in ["1970-01", "9998-12"] {
            let (previous, next) = (month(edge).previous(), month(edge).next());
            assert!(previous <= month(edge) && next >= month(edge));
            let range = month(edge).range(&Zone::UTC);
            assert!(range.start < range.end);
        }
    }

    #[test]
    fn a_month_is_read_and_printed() {
        assert_eq!(month("2026-01").to_string(), "2026-01");
        let wrong =
            ["", "2026", "2026-13", "2026-00", "2026-1", "26-11", "+026-11", "9999-01", "1969-12"];
        for text in wrong {
            assert!(text.parse::<Month>().is_err(), "{text}");
        }
    }
}
