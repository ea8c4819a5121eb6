//! Moments and lengths of time, in milliseconds.

use super::ParseError;
use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    time::Duration,
};

/// A moment: milliseconds since 1970-01-01T00:00:00Z on the ledger's clock (`clock.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch, earlier than anything that the program records.
    pub const EPOCH: Self = Self(0);

    /// Makes a moment from milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `2026-11-22T09:14:07Z`, rounded up to the next whole second, so that "try again at" is never early.
    #[must_use]
    pub fn to_second_ceiling(self) -> String {
        format_seconds(self.0.div_euclid(1000) + i64::from(self.0.rem_euclid(1000) != 0))
    }

    /// The date in the form of RFC 5322 §3.3: `Sun, 22 Nov 2026 09:14:07 +0000`.
    #[must_use]
    pub fn to_rfc5322(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).map_or_else(
            |_| String::from("Thu, 01 Jan 1970 00:00:00 +0000"),
            |t| t.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        )
    }
}

fn format_seconds(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("@{seconds}"), |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// RFC 3339 with milliseconds: `2026-11-22T09:14:07.042Z`; `@253402300800000ms` for what has no year of four digits.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) if self.0 >= YEAR_0_MILLIS => {
                write!(f, "{}", t.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
            }
            _ => write!(f, "@{}ms", self.0),
        }
    }
}

/// Reads RFC 3339 with any offset, and whatever is printed: what was written once can be read for ever.
impl FromStr for Timestamp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let written = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        written
            .or_else(|| parse_far(text))
            .map(Self)
            .ok_or_else(|| ParseError::new(text, "a time such as 2026-11-22T09:14:07Z"))
    }
}

/// The milliseconds of `@253402300800000ms`.
fn parse_far(text: &str) -> Option<i64> {
    let number = text.strip_prefix('@')?.strip_suffix("ms")?;
    if number.starts_with('+') { None } else { number.parse().ok() }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(millis(length)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(millis(length)))
    }
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// A length of time as an administrator writes it: `90s`, `15m`, `1h`, `1 d`, `500ms`, and as replies print it: `1 h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

impl Span {
    /// Wraps a duration.
    #[must_use]
    pub const fn new(length: Duration) -> Self {
        Self(length)
    }

    /// Makes a span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The length.
    #[must_use]
    pub const fn length(self) -> Duration {
        self.0
    }
}

/// `1 h`, `24 h`, `15 min`, `5 s`, `250 ms`: the largest unit that divides it, days only from two days on.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (unit, name) = match millis {
            m if m >= 2 * DAY && m.is_multiple_of(DAY) => (DAY, "d"),
            m if m >= HOUR && m.is_multiple_of(HOUR) => (HOUR, "h"),
            m if m >= MINUTE && m.is_multiple_of(MINUTE) => (MINUTE, "min"),
            m if m >= SECOND && m.is_multiple_of(SECOND) => (SECOND, "s"),
            _ => (1, "ms"),
        };
        write!(f, "{} {name}", millis / unit)
    }
}

impl FromStr for Span {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "a length of time such as 90s, 15m, 1h or 2d");
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = trimmed.split_at(digits);
        let factor = match unit.trim() {
            "ms" => 1,
            "s" => SECOND,
            "m" | "min" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = u64::try_from(u128::from(number) * factor).map_err(|_| wrong())?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// 0000-01-01T00:00:00Z. Years before have another form (ISO 8601-1 §5.2.2.3).
const YEAR_0_MILLIS: i64 = -62_167_219_200_000;
const SECOND: u128 = 1000;
const MINUTE: u128 = 60 * SECOND;
const HOUR: u128 = 60 * MINUTE;
const DAY: u128 = 24 * HOUR;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_and_printed() {
        for (text, printed) in [
            ("1h", "1 h"),
            ("24h", "24 h"),
            ("1d", "24 h"),
            ("7d", "7 d"),
            ("90s", "90 s"),
            ("15 min", "15 min"),
            ("250ms", "250 ms"),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), printed, "{text}");
        }
        for wrong in ["", "h", "1", "-1h", "1w", "99999999999999999999d", "1.5h"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_printed_in_each_form() {
        let t: Timestamp = "2026-11-22T09:14:07.042Z".parse().unwrap();
        assert_eq!(t.to_string(), "2026-11-22T09:14:07.042Z");
        assert_eq!(t.to_second_ceiling(), "2026-11-22T09:14:08Z");
        assert_eq!(t.to_rfc5322(), "Sun, 22 Nov 2026 09:14:07 +0000");
        assert_eq!("2026-11-22T16:14:07.042+07:00".parse::<Timestamp>().unwrap(), t);
    }

    #[test]
    fn whatever_is_printed_is_read_again() {
        let edges = [
            ("1970-01-01T00:00:00.000Z", 0),
            ("9999-12-30T22:00:00.000Z", 253_402_207_200_000),
            ("@253402207200001ms", 253_402_207_200_001),
            ("@9223372036854775807ms", i64::MAX),
            ("@-9223372036854775808ms", i64::MIN),
            ("0000-01-01T00:00:00.000Z", -62_167_219_200_000),
            ("@-62167219200001ms", -62_167_219_200_001),
        ];
        for (text, millis) in edges {
            let moment = Timestamp::from_millis(millis);
            assert_eq!(moment.to_string(), text);
            assert_eq!(text.parse::<Timestamp>().ok(), Some(moment), "{text}");
        }
        for wrong in ["@", "@ms", "@5", "5ms", "@9223372036854775808ms", "@1.5ms", "@+5ms"] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }
}
