//! When an account sends, and how much in an hour: its own habit by the hour of the week.
//!
//! Of each hour of the week in which it ever sent, the memory keeps how many recipients it usually has then. An hour is measured against
//! its neighbours too, since nobody is punctual and summer time comes, and against the same hour of other days, because few weeks are
//! known. Hours are those of UTC: an account's own differ by what does not change.

use super::{
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
    profile::Profile,
};
use crate::types::Timestamp;
use std::time::Duration;

/// How much an account sends in which hour of the week.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tempo {
    /// The hour that is counted now, since the epoch.
    hour: u32,
    /// Recipients in it so far.
    count: u32,
    /// What is usual in each hour of the week in which the account ever sent.
    usual: Vec<(u8, Level)>,
}

/// A count to within a tenth, in one octet: an eighth of a doubling a step.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
struct Level(u8);

impl Tempo {
    /// Takes note of recipients that a message reached.
    pub fn learn(&mut self, recipients: u32, now: Timestamp) {
        let hour = hour_of(now);
        if hour != self.hour {
            self.close();
            (self.hour, self.count) = (hour, 0);
        }
        self.count = self.count.saturating_add(recipients);
    }

    /// Recipients in this hour so far.
    #[must_use]
    pub fn count(&self, now: Timestamp) -> u32 {
        if hour_of(now) == self.hour { self.count } else { 0 }
    }

    /// How many recipients are usual at this time; none if the account never sends then.
    #[must_use]
    pub fn usual(&self, now: Timestamp) -> Option<u32> {
        let hour = of_week(hour_of(now));
        let near = |&&(other, _): &&(u8, Level)| distance(hour % DAY, other % DAY, DAY) <= 1;
        let usual = self.usual.iter().filter(near);
        usual.map(|&(_, level)| level).max().map(Level::count)
    }

    /// How many octets it takes.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.usual.len() * size_of::<(u8, Level)>()
    }

    /// The hour is over: what is usual comes half as near to it, and at once where it was more.
    fn close(&mut self) {
        if self.count == 0 {
            return;
        }
        let (hour, now) = (of_week(self.hour), Level::of(self.count));
        match self.usual.iter_mut().find(|(other, _)| *other == hour) {
            Some((_, level)) => {
                *level = now.max(Level::of(u32::midpoint(level.count(), self.count)));
            }
            None => self.usual.push((hour, now)),
        }
    }
}

impl Level {
    fn of(count: u32) -> Self {
        let steps = (f64::from(count) + 1.0).log2() * 8.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
        Self(steps.round().min(255.0) as u8)
    }

    fn count(self) -> u32 {
        let count = (f64::from(self.0) / 8.0).exp2() - 1.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "up to 2³²")]
        let count = count.round() as u32;
        count
    }
}

/// Looks at how many recipients the account has in this hour, this message's included; `new` of these it never wrote to.
pub(super) fn look(attempt: &Attempt<'_>, profile: &Profile, new: u32) -> Option<Finding> {
    if new == 0 || attempt.is_null_sender {
        return None;
    }
    let tempo = &profile.tempo;
    let own = u32::try_from(attempt.recipients.len()).unwrap_or(u32::MAX);
    let count = tempo.count(attempt.at).saturating_add(own);
    let usual = tempo.usual(attempt.at);
    let allowed = ALWAYS.max(usual.unwrap_or(0).saturating_mul(TIMES));
    let (points, reason) = if count > allowed {
        let points = if count > allowed.saturating_mul(2) { FLOOD } else { SURGE };
        (points, Reason::UnusualVolume { count, usual: usual.unwrap_or(0) })
    } else if usual.is_none() {
        (ODD_HOUR, Reason::UnusualHour)
    } else {
        return None;
    };
    let age = attempt.at.since(profile.since).as_secs_f32() / KNOWN_AFTER.as_secs_f32();
    Some(Finding {
        signal: Signal::Tempo,
        points: if attempt.text.is_bulk { points / 2.0 } else { points },
        confidence: age.min(1.0) * profile.familiarity(attempt.at),
        kind: FindingKind::State,
        reason,
    })
}

fn hour_of(now: Timestamp) -> u32 {
    u32::try_from(now.as_millis() / HOUR_MILLIS).unwrap_or(0)
}

/// Which hour of the week it is; the epoch was a Thursday, which does not matter.
fn of_week(hour: u32) -> u8 {
    u8::try_from(hour % u32::from(WEEK)).unwrap_or(0)
}

/// How far two hours of a round are apart.
const fn distance(one: u8, other: u8, round: u8) -> u8 {
    let apart = one.abs_diff(other);
    if apart > round / 2 { round - apart } else { apart }
}

const HOUR_MILLIS: i64 = 3_600_000;
const DAY: u8 = 24;
const WEEK: u8 = 7 * DAY;
/// So many recipients in an hour are always usual.
const ALWAYS: u32 = 10;
/// So many times what is usual is still usual.
const TIMES: u32 = 3;
const SURGE: f32 = 0.75;
const FLOOD: f32 = 1.5;
const ODD_HOUR: f32 = 0.25;
/// An account's hours are known after so long.
const KNOWN_AFTER: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn an_hour_is_measured_against_its_neighbours_and_the_same_of_other_days() {
        let mut tempo = Tempo::default();
        let nine = Timestamp::EPOCH + 9 * HOUR;
        tempo.learn(8, nine);
        tempo.learn(4, nine + HOUR / 2);
        assert_eq!((tempo.count(nine), tempo.usual(nine)), (12, None), "an hour that is not over");
        tempo.learn(1, nine + 5 * HOUR);
        assert_eq!(tempo.count(nine), 0);
        for (hours, usual) in
            [(24, Some(12)), (23, Some(12)), (25, Some(12)), (26, None), (48 + 15, None)]
        {
            let found = tempo.usual(nine + hours * HOUR);
            assert!(found == usual || found == usual.map(|usual| usual - 1), "{hours}: {found:?}");
        }
        // Midnight has neighbours too.
        let mut tempo = Tempo::default();
        tempo.learn(3, Timestamp::EPOCH);
        tempo.learn(3, nine);
        assert_eq!(tempo.usual(Timestamp::EPOCH + 23 * HOUR), Some(3));
    }

    #[test]
    fn what_was_usual_fades_and_what_is_more_counts_at_once() {
        let mut tempo = Tempo::default();
        let week = |at: u32| Timestamp::EPOCH + at * 168 * HOUR;
        for (at, count, usual) in
            [(1, 100, 100), (2, 0, 100), (3, 10, 55), (4, 10, 33), (5, 40, 40)]
        {
            if count > 0 {
                tempo.learn(count, week(at));
                tempo.learn(1, week(at) + 7 * HOUR);
            }
            let found = tempo.usual(week(at + 1)).unwrap();
            assert!(found.abs_diff(usual) <= usual / 10, "{at}: {found}");
        }
        assert!(tempo.size_bytes() <= 4);
    }

    #[test]
    fn levels_are_right_to_a_tenth() {
        for count in (0..2_000).chain([100_000, 5_000_000, u32::MAX / 2]) {
            let found = Level::of(count).count();
            assert!(found.abs_diff(count) <= count / 10, "{count}: {found}");
        }
        assert!(Level::of(u32::MAX).count() > u32::MAX / 10 * 9);
    }
}
