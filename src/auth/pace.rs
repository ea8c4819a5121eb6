//! How fast logins may fail.
//!
//! A failure takes one of N tokens, which come back one by one over a minute; who has none left is put off. `governor` has the
//! same arithmetic (GCRA) but no way to look without taking, and a login that succeeds must not take: a busy mail server
//! logs in a hundred times a minute. The table is bounded; when it is full, trails that have faded go first and then an
//! arbitrary one.

use crate::types::Timestamp;
use parking_lot::Mutex;
use std::{collections::HashMap, hash::Hash, time::Duration};

/// Failures of each key: a client network, a login.
pub(super) struct Pace<K> {
    /// In this time one token comes back.
    interval: Duration,
    /// All tokens.
    burst: Duration,
    /// When each key will have all its tokens again.
    trails: Mutex<HashMap<K, Timestamp>>,
    trails_max: usize,
}

impl<K: Hash + Eq + Clone> Pace<K> {
    /// Allows so many failures a minute, at least one.
    pub(super) fn new(per_minute: u32, trails_max: usize) -> Self {
        let per_minute = per_minute.clamp(1, PER_MINUTE_MAX);
        let interval = Duration::from_secs(60) / per_minute;
        Self { interval, burst: interval * per_minute, trails: Mutex::default(), trails_max }
    }

    /// True if no token is left.
    pub(super) fn is_exhausted(&self, key: &K, now: Timestamp) -> bool {
        self.owed(key, now) + self.interval > self.burst
    }

    /// True if a token is missing: something failed within the last minute.
    pub(super) fn has_failed(&self, key: &K, now: Timestamp) -> bool {
        !self.owed(key, now).is_zero()
    }

    /// Takes a token. A key never owes more than all of them, so that it is not put off for longer than a minute.
    pub(super) fn note(&self, key: &K, now: Timestamp) {
        let mut trails = self.trails.lock();
        if trails.len() >= self.trails_max && !trails.contains_key(key) {
            make_room(&mut trails, self.trails_max, now);
        }
        let whole = trails.entry(key.clone()).or_insert(now);
        *whole = ((*whole).max(now) + self.interval).min(now + self.burst);
    }

    /// How long it takes until all tokens are back.
    fn owed(&self, key: &K, now: Timestamp) -> Duration {
        self.trails.lock().get(key).map_or(Duration::ZERO, |whole| whole.since(now))
    }
}

fn make_room<K: Hash + Eq + Clone>(
    trails: &mut HashMap<K, Timestamp>,
    trails_max: usize,
    now: Timestamp,
) {
    trails.retain(|_, whole| *whole > now);
    if trails.len() < trails_max {
        return;
    }
    // Which key comes first differs from process to process, so that nobody can choose whom to push out.
    if let Some(someone) = trails.keys().next().cloned() {
        trails.remove(&someone);
    }
}

/// Moments are whole milliseconds; a faster pace could not be told apart.
const PER_MINUTE_MAX: u32 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    #[test]
    fn tokens_are_taken_by_failures_and_come_back_one_by_one() {
        let pace = Pace::new(6, 10);
        assert!(!pace.is_exhausted(&1, at(0)) && !pace.has_failed(&1, at(0)));
        for failure in 0..6 {
            assert!(!pace.is_exhausted(&1, at(0)), "after {failure}");
            pace.note(&1, at(0));
        }
        for (seconds, exhausted) in [(0, true), (9, true), (10, false), (60, false)] {
            assert_eq!(pace.is_exhausted(&1, at(seconds)), exhausted, "{seconds} s");
        }
        assert!(!pace.is_exhausted(&2, at(0)), "another key");
        pace.note(&1, at(10));
        assert!(pace.is_exhausted(&1, at(19)) && !pace.is_exhausted(&1, at(20)));
        assert!(pace.has_failed(&1, at(69)) && !pace.has_failed(&1, at(70)));
    }

    #[test]
    fn a_minute_is_the_longest_wait() {
        let pace = Pace::new(1, 10);
        for _ in 0..100 {
            pace.note(&1, at(0));
        }
        assert!(pace.is_exhausted(&1, at(59)) && !pace.is_exhausted(&1, at(60)));
    }

    #[test]
    fn the_table_is_bounded() {
        let pace = Pace::new(2, 10);
        for key in 0..100 {
            pace.note(&key, at(0));
            assert!(pace.has_failed(&key, at(0)), "the newest is always kept");
        }
        assert_eq!(pace.trails.lock().len(), 10);
        pace.note(&100, at(60));
        assert_eq!(pace.trails.lock().len(), 1, "faded trails go first");
    }
}
