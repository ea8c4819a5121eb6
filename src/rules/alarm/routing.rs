//! Who wants to hear of an alert, and when not.

use super::{Alert, Severity};
use crate::types::{ParseError, TenantId, Timestamp};
use std::{fmt, str::FromStr, time::Duration};

/// What a receiver wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    /// Nothing that matters less.
    pub severity: Severity,
    /// Only matters of these tenants; none named: everything.
    pub tenants: Vec<TenantId>,
}

impl Audience {
    /// True if it wants to hear of this alert, which is a matter of this tenant.
    #[must_use]
    pub fn wants(&self, alert: &Alert, tenant: Option<&TenantId>) -> bool {
        let is_meant = || tenant.is_some_and(|tenant| self.tenants.contains(tenant));
        alert.severity >= self.severity && (self.tenants.is_empty() || is_meant())
    }
}

/// A stretch of each day in which only what is critical is told: `22:00-07:00 +07:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// Minutes after midnight.
    from: i64,
    /// Minutes after midnight; before `from` if it is on the next day.
    to: i64,
    /// Minutes that the local time is ahead of UTC.
    ahead: i64,
}

impl QuietHours {
    /// The earliest moment at which something that matters so much may be told.
    #[must_use]
    pub fn earliest(self, severity: Severity, now: Timestamp) -> Timestamp {
        let minute = (now.as_millis().div_euclid(MINUTE_MILLIS) + self.ahead).rem_euclid(DAY);
        let into = (minute - self.from).rem_euclid(DAY);
        let length = (self.to - self.from).rem_euclid(DAY);
        if severity == Severity::Critical || into >= length {
            return now;
        }
        let whole = now.as_millis() - now.as_millis().rem_euclid(MINUTE_MILLIS);
        let left = u64::try_from(length - into).unwrap_or(0);
        Timestamp::from_millis(whole) + Duration::from_secs(60 * left)
    }
}

impl FromStr for QuietHours {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parsed = || {
            let (span, offset) = text.trim().split_once(' ').unwrap_or((text.trim(), "+00:00"));
            let (from, to) = span.split_once('-')?;
            let (sign, offset) = match offset.trim().split_at_checked(1)? {
                ("+", rest) => (1, rest),
                ("-", rest) => (-1, rest),
                _ => return None,
            };
            let (from, to) = (minutes(from)?, minutes(to)?);
            let ahead = sign * minutes(offset).filter(|offset| *offset <= OFFSET_MAX)?;
            (from != to).then_some(Self { from, to, ahead })
        };
        let wanted = "hours with the offset from UTC, such as 22:00-07:00 +07:00";
        parsed().ok_or_else(|| ParseError::new(text, wanted))
    }
}

fn minutes(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, max: i64| -> Option<i64> {
        let is_two_digits = text.len() == 2 && text.bytes().all(|octet| octet.is_ascii_digit());
        is_two_digits.then(|| text.parse().ok()).flatten().filter(|number| *number <= max)
    };
    Some(number(hours, 23)? * 60 + number(minutes, 59)?)
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.ahead < 0 { '-' } else { '+' };
        let (from, to, ahead) = (self.from, self.to, self.ahead.abs());
        write!(f, "{:02}:{:02}-{:02}:{:02} ", from / 60, from % 60, to / 60, to % 60)?;
        write!(f, "{sign}{:02}:{:02}", ahead / 60, ahead % 60)
    }
}

const MINUTE_MILLIS: i64 = 60_000;
const DAY: i64 = 24 * 60;
/// No place on earth is further from UTC.
const OFFSET_MAX: i64 = 14 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_hold_back_all_but_what_is_critical() {
        let night: QuietHours = "22:00-07:00 +07:00".parse().unwrap();
        for (now, earliest) in [
            ("2026-11-27T14:59:59Z", "2026-11-27T14:59:59Z"),
            ("2026-11-27T15:00:00Z", "2026-11-28T00:00:00Z"),
            ("2026-11-27T23:59:30Z", "2026-11-28T00:00:00Z"),
            ("2026-11-28T00:00:00Z", "2026-11-28T00:00:00Z"),
        ] {
            let now: Timestamp = now.parse().unwrap();
            let found = night.earliest(Severity::Warning, now);
            assert_eq!(found.to_second_ceiling(), earliest, "{now}");
            assert_eq!(night.earliest(Severity::Critical, now), now);
        }
    }

    #[test]
    fn quiet_hours_are_written_with_their_offset() {
        for (text, printed) in [
            ("22:00-07:00 +07:00", "22:00-07:00 +07:00"),
            ("12:30-13:00", "12:30-13:00 +00:00"),
            ("00:00-06:00 -03:30", "00:00-06:00 -03:30"),
        ] {
            assert_eq!(text.parse::<QuietHours>().unwrap().to_string(), printed);
        }
        for wrong in [
            "",
            "22-7",
            "22:00-22:00",
            "24:00-01:00",
            "22:00-07:00 7",
            "22:00-7:00",
            "1:000-02:00",
            "22:00-07:00 +15:00",
        ] {
            assert!(wrong.parse::<QuietHours>().is_err(), "{wrong}");
        }
    }
}
