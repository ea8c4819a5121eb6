//! How fast logins may fail.
//!
//! A failure takes one of N tokens, which come back one by one over a minute; who has none left is put off. Who runs out of them
//! again and again is put off for twice as long each time, up to a maximum, and has one token then; and the answer to each
//! failure after the first is held back, for a second, two, four …. Both are forgotten after a calm while.
//!
//! `governor` has the same arithmetic (GCRA) but no way to look without taking, and a login that succeeds must not take: a busy
//! mail server logs in a hundred times a minute. The table is bounded; when it is full, trails that have faded go first and
//! then an arbitrary one.

use crate::types::Timestamp;
use parking_lot::Mutex;
use std::{collections::HashMap, hash::Hash, time::Duration};

/// Failures of each key: a client network, a login.
pub(super) struct Pace<K> {
    rules: Rules,
    /// In this time one token comes back.
    interval: Duration,
    /// All tokens.
    burst: Duration,
    trails: Mutex<HashMap<K, Trail>>,
    trails_max: usize,
}

/// How failures are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Failures in a minute; at least one.
    pub per_minute: u32,
    /// The longest that somebody is put off, and how long failures are remembered beyond that.
    pub put_off_max: Duration,
    /// The longest that an answer is held back.
    pub delay_max: Duration,
}

/// What a key's failures left.
#[derive(Clone, Copy)]
struct Trail {
    /// When it will have all its tokens again.
    whole: Timestamp,
    /// Until when it is put off, however many tokens have come back.
    put_off_until: Timestamp,
    /// How often it ran out of tokens.
    strikes: u32,
    /// Its failures.
    failures: u32,
    /// When all this is forgotten.
    fades: Timestamp,
}

impl Trail {
    const fn fresh(now: Timestamp) -> Self {
        Self { whole: now, put_off_until: now, strikes: 0, failures: 0, fades: now }
    }
}

impl<K: Hash + Eq + Clone> Pace<K> {
    pub(super) fn new(rules: Rules, trails_max: usize) -> Self {
        let per_minute = rules.per_minute.clamp(1, PER_MINUTE_MAX);
        let interval = Duration::from_secs(60) / per_minute;
        let burst = interval * per_minute;
        Self { rules, interval, burst, trails: Mutex::default(), trails_max }
    }

    /// True if it is put off.
    pub(super) fn is_exhausted(&self, key: &K, now: Timestamp) -> bool {
        let put_off = |trail: Trail| trail.put_off_until > now || self.is_empty(&trail, now);
        self.look(key, now).is_some_and(put_off)
    }

    /// True if a token is missing: something failed within the last minute, or before it was put off.
    pub(super) fn has_failed(&self, key: &K, now: Timestamp) -> bool {
        self.look(key, now).is_some_and(|trail| trail.whole > now)
    }

    /// How long the answer to a failure that comes now is held back: not at all for the first, then for a second, two,
    /// four ….
    pub(super) fn delay(&self, key: &K, now: Timestamp) -> Duration {
        match self.failures(key, now).checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => doubled(FIRST_DELAY, doublings).min(self.rules.delay_max),
        }
    }

    /// How often it failed since it was calm last.
    pub(super) fn failures(&self, key: &K, now: Timestamp) -> u32 {
        self.look(key, now).map_or(0, |trail| trail.failures)
    }

    /// Takes a token.
    pub(super) fn note(&self, key: &K, now: Timestamp) {
        let mut trails = self.trails.lock();
        if trails.len() >= self.trails_max && !trails.contains_key(key) {
            make_room(&mut trails, self.trails_max, now);
        }
        let trail = trails.entry(key.clone()).or_insert_with(|| Trail::fresh(now));
        if trail.fades <= now {
            *trail = Trail::fresh(now);
        }
        trail.failures = trail.failures.saturating_add(1);
        trail.whole = trail.whole.max(now) + self.interval;
        // What comes in at the same moment, or while it is put off, makes it no worse.
        if trail.put_off_until <= now && self.is_empty(trail, now) {
            let longest = self.rules.put_off_max.max(self.interval);
            trail.put_off_until = now + doubled(self.interval, trail.strikes).min(longest);
            trail.strikes = trail.strikes.saturating_add(1);
        }
        if trail.put_off_until > now {
            // It has one token then, and never owes more.
            trail.whole = trail.put_off_until + (self.burst - self.interval);
        }
        trail.fades = trail.whole.max(trail.put_off_until) + self.rules.put_off_max;
    }

    fn is_empty(&self, trail: &Trail, now: Timestamp) -> bool {
        trail.whole.since(now) + self.interval > self.burst
    }

    fn look(&self, key: &K, now: Timestamp) -> Option<Trail> {
        self.trails.lock().get(key).copied().filter(|trail| trail.fades > now)
    }
}

fn doubled(wait: Duration, times: u32) -> Duration {
    wait.saturating_mul(1_u32.checked_shl(times).filter(|_| times < 31).unwrap_or(u32::MAX))
}

fn make_room<K: Hash + Eq + Clone>(
    trails: &mut HashMap<K, Trail>,
    trails_max: usize,
    now: Timestamp,
) {
    trails.retain(|_, trail| trail.fades > now);
    if trails.len() < trails_max {
        return;
    }
    // Which key comes first differs from process to process, so that nobody can choose whom to push out.
    if let Some(someone) = trails.keys().next().cloned() {
        trails.remove(&someone);
    }
}

/// How long the answer to a second failure is held back.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Moments are whole milliseconds; a faster pace could not be told apart.
const PER_MINUTE_MAX: u32 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    fn pace(per_minute: u32, put_off_max: u64) -> Pace<i32> {
        let (put_off_max, delay_max) = (Duration::from_secs(put_off_max), Duration::from_secs(15));
        Pace::new(Rules { per_minute, put_off_max, delay_max }, 10)
    }

    #[test]
    fn tokens_are_taken_by_failures_and_come_back_one_by_one() {
        let pace = pace(6, 60);
        assert!(!pace.is_exhausted(&1, at(0)) && !pace.has_failed(&1, at(0)));
        for failure in 0..6 {
            assert!(!pace.is_exhausted(&1, at(0)), "after {failure}");
            pace.note(&1, at(0));
        }
        for (seconds, exhausted) in [(0, true), (9, true), (10, false), (60, false)] {
            assert_eq!(pace.is_exhausted(&1, at(seconds)), exhausted, "{seconds} s");
        }
        assert!(!pace.is_exhausted(&2, at(0)), "another key");
        assert!(pace.has_failed(&1, at(59)) && !pace.has_failed(&1, at(60)));
    }

    #[test]
    fn who_runs_out_again_is_put_off_for_twice_as_long() {
        let pace = pace(6, 300);
        let mut now = 0;
        for _ in 0..6 {
            pace.note(&1, at(now));
        }
        for wait in [10, 20, 40, 80, 160, 300, 300] {
            // Whatever fails meanwhile changes nothing.
            pace.note(&1, at(now));
            assert!(pace.is_exhausted(&1, at(now + wait - 1)), "{wait} s");
            now += wait;
            assert!(!pace.is_exhausted(&1, at(now)), "{wait} s");
            pace.note(&1, at(now));
        }
        // Whoever was calm for as long as the longest wait begins anew.
        let calm = now + 300 + 50 + 300;
        pace.note(&1, at(calm));
        assert!(!pace.is_exhausted(&1, at(calm)) && pace.delay(&2, at(calm)).is_zero());
        assert_eq!(pace.delay(&1, at(calm)), Duration::from_secs(1));
    }

    #[test]
    fn the_longest_wait_is_kept() {
        for (per_minute, put_off_max, longest) in [(1, 0, 60), (1, 120, 120), (60, 0, 1)] {
            let pace = pace(per_minute, put_off_max);
            let mut now = 0;
            for round in 0..200 {
                pace.note(&1, at(now));
                assert!(!pace.is_exhausted(&1, at(now + longest)), "{per_minute} {round}");
                now += longest;
            }
        }
    }

    #[test]
    fn answers_to_failures_are_held_back_longer_and_longer() {
        let pace = pace(1000, 600);
        for (failure, delay) in [0, 1, 2, 4, 8, 15, 15].into_iter().enumerate() {
            assert_eq!(pace.delay(&1, at(0)), Duration::from_secs(delay), "failure {failure}");
            pace.note(&1, at(0));
        }
        for _ in 0..100 {
            pace.note(&1, at(0));
        }
        assert_eq!(pace.delay(&1, at(500)), Duration::from_secs(15));
        assert_eq!(pace.delay(&1, at(700)), Duration::ZERO, "it was calm");
        assert_eq!(pace.delay(&2, at(0)), Duration::ZERO, "another key");
    }

    #[test]
    fn the_table_is_bounded() {
        let pace = pace(2, 60);
        for key in 0..100 {
            pace.note(&key, at(0));
            assert!(pace.has_failed(&key, at(0)), "the newest is always kept");
        }
        assert_eq!(pace.trails.lock().len(), 10);
        pace.note(&100, at(1000));
        assert_eq!(pace.trails.lock().len(), 1, "faded trails go first");
    }
}
