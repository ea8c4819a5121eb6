//! What an account usually comes with, such as places and greetings: each with when it was first and last seen.
//!
//! A habit is *settled* once it was there for a day without a suspension; until then it is new. At most [`HABITS_MAX`] are kept. What was
//! unused the longest goes first, and where most are new it is a new one: whoever comes with something else each time does not
//! wear out what the account is known by.

use crate::types::Timestamp;
use std::time::Duration;

/// Habits of one kind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Habits<T>(Vec<Habit<T>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Habit<T> {
    what: T,
    first: Timestamp,
    last: Timestamp,
}

impl<T> Default for Habits<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Habits<T> {
    /// What is settled.
    pub fn settled(&self, now: Timestamp) -> impl Iterator<Item = T> {
        self.0.iter().filter(move |habit| habit.is_settled(now)).map(|habit| habit.what)
    }

    /// How many were seen within a day for the first time.
    #[must_use]
    pub fn count_new(&self, now: Timestamp) -> u32 {
        let new = self.0.iter().filter(|habit| !habit.is_settled(now)).count();
        u32::try_from(new).unwrap_or(u32::MAX)
    }

    /// Takes note of one; where the account itself is new, so is none of its habits.
    pub fn learn(&mut self, what: T, account_since: Timestamp, now: Timestamp) {
        if let Some(habit) = self.0.iter_mut().find(|habit| habit.what == what) {
            habit.last = now;
            return;
        }
        if self.0.len() >= HABITS_MAX {
            self.drop_one(now);
        }
        let is_new = now.since(account_since) >= SETTLING;
        let first = if is_new { now } else { account_since - SETTLING };
        self.0.push(Habit { what, first, last: now });
    }

    /// How many octets they take.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.0.len() * size_of::<Habit<T>>()
    }

    /// Forgets what is not settled: a thief's, once the account was suspended for what came with it.
    pub fn forget_new(&mut self, now: Timestamp) {
        self.0.retain(|habit| habit.is_settled(now));
    }

    fn drop_one(&mut self, now: Timestamp) {
        let are_mostly_new =
            usize::try_from(self.count_new(now)).is_ok_and(|new| new > HABITS_MAX / 2);
        let may_go = |habit: &Habit<T>| !are_mostly_new || !habit.is_settled(now);
        let stale = self.0.iter().enumerate().filter(|(_, habit)| may_go(habit));
        if let Some((at, _)) = stale.min_by_key(|(_, habit)| habit.last) {
            self.0.remove(at);
        }
    }
}

impl<T> Habit<T> {
    fn is_settled(&self, now: Timestamp) -> bool {
        now.since(self.first) >= SETTLING
    }
}

/// How many habits of one kind are kept.
pub const HABITS_MAX: usize = 8;
/// How long something is new.
const SETTLING: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn what_was_there_for_a_day_is_settled_and_a_new_accounts_is_at_once() {
        let mut habits = Habits::default();
        habits.learn(1, Timestamp::EPOCH, Timestamp::EPOCH);
        let later = Timestamp::EPOCH + 2 * DAY;
        habits.learn(2, Timestamp::EPOCH, later);
        assert_eq!(habits.settled(later).collect::<Vec<_>>(), [1]);
        assert_eq!(habits.count_new(later), 1);
        assert_eq!(habits.settled(later + DAY).count(), 2);
        habits.forget_new(later);
        assert_eq!(habits.settled(later + DAY).count(), 1);
    }

    #[test]
    fn a_flood_of_new_ones_does_not_wear_out_what_is_settled() {
        let mut habits = Habits::default();
        for own in 0..3 {
            habits.learn(own, Timestamp::EPOCH, Timestamp::EPOCH);
        }
        let later = Timestamp::EPOCH + 10 * DAY;
        for other in 100..200 {
            habits.learn(other, Timestamp::EPOCH, later);
        }
        assert_eq!(habits.settled(later).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(habits.count_new(later), 5);
    }

    #[test]
    fn whoever_changes_slowly_is_known_by_the_newest() {
        let mut habits = Habits::default();
        for day in 0..40 {
            habits.learn(day, Timestamp::EPOCH, Timestamp::EPOCH + day * DAY);
        }
        let known: Vec<u32> = habits.settled(Timestamp::EPOCH + 39 * DAY).collect();
        assert_eq!(known, [32, 33, 34, 35, 36, 37, 38]);
    }
}
