//! Calendar months, as people are told of them: `2026-11`.

use super::ParseError;
use jiff::{
    ToSpan as _,
    civil::{Date, date},
};
use std::{fmt, str::FromStr};

/// A month of the calendar, of the years 1970 to 9998.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(Date);

impl Month {
    /// The month of a day.
    #[must_use]
    pub fn of(day: Date) -> Self {
        Self(day.first_of_month().clamp(FIRST, LAST))
    }

    /// Its first day.
    #[must_use]
    pub const fn first(self) -> Date {
        self.0
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
/// The calendar's last year is left out, so that every month has a next one.
const LAST: Date = date(9998, 12, 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn month(text: &str) -> Month {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_lies_in_its_month() {
        assert_eq!(Month::of(date(2028, 2, 29)), month("2028-02"));
        assert_eq!(month("2028-02").first(), date(2028, 2, 1));
        assert_eq!(month("2026-12").next(), month("2027-01"));
        assert_eq!(month("2027-01").previous(), month("2026-12"));
        assert_eq!(Month::of(Date::MAX), month("9998-12"));
        for edge in ["1970-01", "9998-12"] {
            assert!(month(edge).previous() <= month(edge) && month(edge).next() >= month(edge));
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
