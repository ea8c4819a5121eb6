//! The breaker: a wave of suspensions stops itself and asks a person.
//!
//! A resolver that answers everything with "listed", a rule that matches every footer, a next hop that calls all mail spam: each looks like
//! hundreds of stolen accounts at once. More than a set share of all accounts within five minutes, and a set number
//! at least, opens it; while it is open, senders are throttled and nobody is suspended.

use super::Settings;
use crate::types::Timestamp;
use std::{collections::VecDeque, time::Duration};

/// Counts suspensions and opens when they are too many.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Breaker {
    recent: VecDeque<Timestamp>,
    open_since: Option<Timestamp>,
}

impl Breaker {
    /// True if somebody may be suspended.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.open_since.is_none()
    }

    /// Since when nobody is suspended.
    #[must_use]
    pub const fn open_since(&self) -> Option<Timestamp> {
        self.open_since
    }

    /// Counts a suspension among so many accounts; true if that opened the breaker.
    pub fn count(&mut self, accounts: usize, now: Timestamp, settings: &Settings) -> bool {
        while self.recent.front().is_some_and(|&first| now.since(first) >= WITHIN) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let share = accounts * settings.breaker_permille as usize / 1_000;
        let allowed = share.clamp(settings.breaker_min as usize, COUNTED_MAX);
        let opens = self.is_closed() && self.recent.len() > allowed;
        if opens {
            self.open_since = Some(now);
        }
        while self.recent.len() > COUNTED_MAX {
            self.recent.pop_front();
        }
        opens
    }

    /// A person says that suspensions are in order.
    pub fn close(&mut self) {
        *self = Self::default();
    }
}

const WITHIN: Duration = Duration::from_secs(300);
/// More within five minutes are always a wave.
const COUNTED_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    /// Suspensions at these seconds among so many accounts, and at which of them the breaker opens.
    fn opens(seconds: impl IntoIterator<Item = i64>, accounts: usize) -> Option<i64> {
        let settings = Settings { breaker_min: 3, breaker_permille: 10, ..Settings::default() };
        let mut breaker = Breaker::default();
        seconds.into_iter().find(|&second| breaker.count(accounts, at(second), &settings))
    }

    #[test]
    fn a_wave_opens_the_breaker_and_a_trickle_does_not() {
        assert_eq!(opens([0, 1, 2, 3, 4], 10), Some(3));
        assert_eq!(opens([0, 1, 2, 300, 301, 302, 600], 10), None);
        // A hundredth of a thousand accounts.
        assert_eq!(opens(0..20, 1_000), Some(10));
        // Ten a second, among so many accounts that their share is beyond what is counted.
        let rush = (0..2_000).map(|n| n / 10);
        assert_eq!(opens(rush, 10_000_000), Some(100));
    }

    #[test]
    fn it_stays_open_until_a_person_closes_it() {
        let settings = Settings { breaker_min: 0, ..Settings::default() };
        let mut breaker = Breaker::default();
        assert!(breaker.count(10, at(0), &settings));
        assert!(!breaker.count(10, at(9_000), &settings), "it opens once");
        assert_eq!(breaker.open_since(), Some(at(0)));
        breaker.close();
        assert!(breaker.is_closed());
    }
}
