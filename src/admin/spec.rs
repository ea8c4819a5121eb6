//! How an operator writes a limit: `account recipients 1h=200`, and until when: `7d` or a date.

use super::AdminError;
use crate::{
    rules::limits::check_window,
    types::{ParseError, Scope, Span, Timestamp, Unit},
};
use std::{fmt, str::FromStr, time::Duration};

/// Which limit: `account recipients 1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitTarget {
    /// Who is counted.
    pub scope: Scope,
    /// What is counted.
    pub unit: Unit,
    /// The window.
    pub window: Span,
}

/// Which limit and its new maximum: `account recipients 1h=200`, or `…=none` for no limit at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSpec {
    /// Which limit.
    pub target: LimitTarget,
    /// The new maximum; none lifts it.
    pub max: Option<u32>,
}

/// Until when a change holds: a moment, or a length of time from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At this moment it ends.
    At(Timestamp),
    /// After this time it ends.
    In(Span),
}

impl Until {
    /// The moment.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] if it is not in the future, or not within ten years.
    pub fn resolve(self, now: Timestamp) -> Result<Timestamp, AdminError> {
        let moment = match self {
            Self::At(moment) => moment,
            Self::In(span) => now + span.length(),
        };
        if moment > now {
            check_near(moment, now)
        } else {
            Err(AdminError::Invalid(format!("until {moment} is not in the future; it is {now}")))
        }
    }
}

/// From when on something is shown: a moment, or a length of time before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// From this moment on.
    At(Timestamp),
    /// What happened in this time.
    Ago(Span),
}

impl Since {
    /// The moment.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] if it is not within ten years of now.
    pub fn resolve(self, now: Timestamp) -> Result<Timestamp, AdminError> {
        let moment = match self {
            Self::At(moment) => moment,
            Self::Ago(span) => now - span.length(),
        };
        check_near(moment, now)
    }
}

/// Beyond what is kept of the past, and planned of the future, a moment is a slip of the pen.
fn check_near(moment: Timestamp, now: Timestamp) -> Result<Timestamp, AdminError> {
    if moment.since(now) <= DISTANCE_MAX && now.since(moment) <= DISTANCE_MAX {
        return Ok(moment);
    }
    Err(AdminError::Invalid(format!("{moment} is more than ten years from now; it is {now}")))
}

impl FromStr for LimitTarget {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, TARGET_WANTED);
        let mut words = text.split_whitespace();
        let scope = words.next().and_then(parse_scope).ok_or_else(wrong)?;
        let unit = words.next().and_then(parse_unit).ok_or_else(wrong)?;
        let window: Span = words.collect::<Vec<_>>().join(" ").parse().map_err(|_| wrong())?;
        check_window(window).map_err(|_| wrong())?;
        Ok(Self { scope, unit, window })
    }
}

impl FromStr for LimitSpec {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, SPEC_WANTED);
        let (target, max) = text.split_once('=').ok_or_else(wrong)?;
        let max = match max.trim() {
            "none" => None,
            number => Some(number.parse().map_err(|_| wrong())?),
        };
        Ok(Self { target: target.parse()?, max })
    }
}

impl FromStr for Until {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let span = text.parse().map(Self::In);
        span.or_else(|_| text.parse().map(Self::At)).map_err(|_| {
            ParseError::new(text, "a time such as 2026-12-01T00:00:00Z, or a length such as 7d")
        })
    }
}

impl FromStr for Since {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let span = text.parse().map(Self::Ago);
        span.or_else(|_| text.parse().map(Self::At)).map_err(|_| {
            ParseError::new(text, "a time such as 2026-11-22T09:14:07Z, or a length such as 7d")
        })
    }
}

/// Prints the form that is read: `account recipients 1h`.
impl fmt::Display for LimitTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.scope, unit_word(self.unit), self.window)
    }
}

impl fmt::Display for LimitSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.max {
            Some(max) => write!(f, "{}={max}", self.target),
            None => write!(f, "{}=none", self.target),
        }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(moment) => fmt::Display::fmt(moment, f),
            Self::In(span) => fmt::Display::fmt(span, f),
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(moment) => fmt::Display::fmt(moment, f),
            Self::Ago(span) => fmt::Display::fmt(span, f),
        }
    }
}

/// Reads and writes a type as its text.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(LimitTarget, LimitSpec, Until, Since);

/// How the texts stand in the API's document.
macro_rules! text_schema {
    ($($name:ident: $description:literal, $example:literal;)*) => {$(
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::Type::String)
                    .description(Some($description))
                    .examples([$example])
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    )*};
}

text_schema! {
    LimitTarget: "A limit: who is counted, what, and in what time.", "account recipients 1h";
    LimitSpec: "A limit and its new maximum, or none.", "account recipients 1h=200";
    Until: "A moment, or a length of time from now.", "7d";
    Since: "A moment, or a length of time before now.", "7d";
}

/// A peer's limits stand in the trust table, so no override reaches them.
fn parse_scope(word: &str) -> Option<Scope> {
    [Scope::Tenant, Scope::Account, Scope::ClientIp].into_iter().find(|scope| scope.name() == word)
}

fn parse_unit(word: &str) -> Option<Unit> {
    [Unit::Recipients, Unit::Messages, Unit::NullSender]
        .into_iter()
        .find(|&unit| unit_word(unit) == word)
}

/// The unit in one word, as the configuration writes it.
pub(super) const fn unit_word(unit: Unit) -> &'static str {
    match unit {
        Unit::Recipients => "recipients",
        Unit::Messages => "messages",
        Unit::NullSender => "null-sender",
        Unit::NewAccounts => "new-accounts",
    }
}

/// Ten years, with the leap days that they have at most.
const DISTANCE_MAX: Duration = Duration::from_secs(3_653 * 86_400);
const TARGET_WANTED: &str = "a limit such as 'account recipients 1h' \
     (account, tenant or client-ip; recipients, messages or null-sender; 1s to 31d)";
const SPEC_WANTED: &str =
    "a limit such as 'account recipients 1h=200' or 'tenant messages 1d=none'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_and_printed() {
        for (text, printed) in [
            ("account recipients 1h=200", "account recipients 1 h=200"),
            ("tenant messages 24 h = none", "tenant messages 24 h=none"),
            ("client-ip null-sender 15min=0", "client-ip null-sender 15 min=0"),
        ] {
            let spec: LimitSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), printed, "{text}");
            assert_eq!(printed.parse::<LimitSpec>().unwrap(), spec);
        }
        for wrong in [
            "",
            "account recipients 1h",
            "account recipients=5",
            "peer recipients 1h=5",
            "account new-accounts 1h=5",
            "account recipients 1h=-5",
            "account recipients 32d=5",
            "account recipients 500ms=5",
            "account recipients 1h 2h=5",
        ] {
            assert!(wrong.parse::<LimitSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn until_is_a_moment_or_a_length_and_never_past() {
        let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        for (text, moment) in [
            ("2h", "2026-11-22T11:00:00.000Z"),
            ("2026-12-01T00:00:00+01:00", "2026-11-30T23:00:00.000Z"),
        ] {
            let until: Until = text.parse().unwrap();
            assert_eq!(until.resolve(now).unwrap().to_string(), moment, "{text}");
        }
        for wrong in ["0s", "2026-11-22T09:00:00Z"] {
            assert!(wrong.parse::<Until>().unwrap().resolve(now).is_err(), "{wrong}");
        }
        assert!("soon".parse::<Until>().is_err());
    }
    #[test]
    fn a_moment_is_within_ten_years_of_now() {
        let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        for (text, fits) in [
            ("3653d", true),
            ("2036-11-22T09:00:00Z", true),
            ("3654d", false),
            ("9999-12-01T00:00:00Z", false),
            ("18446744073709551615ms", false),
        ] {
            let until = text.parse::<Until>().unwrap().resolve(now);
            match until {
                Err(AdminError::Invalid(said)) if !fits => {
                    assert!(said.contains("ten years"), "{said}");
                }
                other => assert!(fits && other.is_ok(), "{text}: {other:?}"),
            }
        }
    }
}
