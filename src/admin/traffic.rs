//! What flowed, in equal slots of time for plots. A slot in which nothing was listened to has no counts.

use super::{Admin, AdminError};
use crate::{
    rules::tally::{
        Counts, Minute,
        calendar::{Day, Hour},
    },
    store::archive::{AccountUsage, UsageOf},
    types::Timestamp,
};
use std::time::Duration;

/// A slot of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// When it begins.
    pub begins: Timestamp,
    /// What was counted; none: nothing was listened to.
    pub counts: Option<SlotCounts>,
}

/// Recipients of a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotCounts {
    /// Of accepted messages.
    pub accepted: u64,
    /// That the next hop put off.
    pub deferred: u64,
    /// That the next hop or Tollgate refused.
    pub refused: u64,
}

impl From<&Counts> for SlotCounts {
    fn from(counts: &Counts) -> Self {
        Self {
            accepted: counts.recipients,
            deferred: counts.deferred,
            refused: counts.bounced.saturating_add(counts.refused()),
        }
    }
}

impl SlotCounts {
    const fn add(&mut self, other: Self) {
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.deferred = self.deferred.saturating_add(other.deferred);
        self.refused = self.refused.saturating_add(other.refused);
    }
}

/// What flowed through the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// The last whole minute.
    pub minute: Slot,
    /// The last 24 hours in slots of [`TRAFFIC_SLOT_MINUTES`], oldest first.
    pub day: Vec<Slot>,
}

/// What flowed through the gate lately.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn traffic(admin: &Admin) -> Result<Traffic, AdminError> {
    let now = admin.utc().as_millis().div_euclid(MINUTE_MILLIS);
    // The slot that goes on is the last one.
    let end = (now.div_euclid(TRAFFIC_SLOT_MINUTES) + 1) * TRAFFIC_SLOT_MINUTES;
    let first = end - DAY_MINUTES;
    let minutes = admin.archive.traffic(first, end).await?;
    let begins = |minute: i64| Timestamp::from_millis(minute * MINUTE_MILLIS);
    let slot = |from: i64, length: i64| Slot {
        begins: begins(from),
        counts: sum(minutes.range(from..from + length).filter_map(|(_, minute)| counts_of(minute))),
    };
    let starts = (0..DAY_MINUTES / TRAFFIC_SLOT_MINUTES).map(|n| first + n * TRAFFIC_SLOT_MINUTES);
    let day = starts.map(|from| slot(from, TRAFFIC_SLOT_MINUTES)).collect();
    Ok(Traffic { minute: slot(now - 1, 1), day })
}

fn counts_of(minute: &Minute) -> Option<SlotCounts> {
    let Minute { accepted, deferred, refused, .. } = *minute;
    let was_heard = minute.collected > Duration::ZERO;
    was_heard.then_some(SlotCounts { accepted, deferred, refused })
}

/// The sum; none if there is nothing to add.
fn sum(counts: impl Iterator<Item = SlotCounts>) -> Option<SlotCounts> {
    counts.reduce(|mut sum, next| {
        sum.add(next);
        sum
    })
}

/// This hour and so many before it, oldest first.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn hourly(admin: &Admin, of: UsageOf, hours: u16) -> Result<Vec<Slot>, AdminError> {
    let (first, end) = last_hours(admin, hours);
    let known = admin.archive.usage_by_hour(of, first, end).await?;
    let coverage = admin.archive.coverage(first, end).await?;
    let slot = |hour: Hour| {
        let counts = known.get(&hour).map(SlotCounts::from);
        let quiet = coverage.hours.contains_key(&hour).then(SlotCounts::default);
        Slot { begins: hour.begin(), counts: counts.or(quiet) }
    };
    Ok((first.number()..end.number()).map(Hour::new).map(slot).collect())
}

/// Today and so many days before it, oldest first.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn daily(admin: &Admin, of: UsageOf, days: u16) -> Result<Vec<Slot>, AdminError> {
    let today = admin.zone.day_of(admin.utc());
    let first = today.plus(1 - i32::from(days.max(1)));
    let days = by_day(admin, of, first, today).await?;
    let slot = |(day, counts): (Day, Option<Counts>)| Slot {
        begins: admin.zone.begin_of(day),
        counts: counts.as_ref().map(SlotCounts::from),
    };
    Ok(days.into_iter().map(slot).collect())
}

/// What was counted on each day; none: nothing was listened to.
pub(super) async fn by_day(
    admin: &Admin,
    of: UsageOf,
    first: Day,
    last: Day,
) -> Result<Vec<(Day, Option<Counts>)>, AdminError> {
    let known = admin.archive.usage_by_day(of, first, last).await?;
    let (begin, end) = admin.zone.hours_of(first, last);
    let coverage = admin.archive.coverage(begin, end).await?;
    let counts = |day: Day| {
        let (begin, end) = admin.zone.hours_of(day, day);
        let is_covered = coverage.hours.range(begin..end).next().is_some();
        known.get(&day).copied().or_else(|| is_covered.then(Counts::default))
    };
    let days = (first.number()..=last.number()).map(Day::new);
    Ok(days.map(|day| (day, counts(day))).collect())
}

/// The accounts that sent most in this hour and so many before it.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn top_senders(
    admin: &Admin,
    hours: u16,
    max: usize,
) -> Result<Vec<AccountUsage>, AdminError> {
    let (first, end) = last_hours(admin, hours);
    Ok(admin.archive.top_senders(first, end, max).await?)
}

/// Refusals of Tollgate's own by reason in this hour and so many before it, the most frequent first.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn refusal_reasons(
    admin: &Admin,
    of: UsageOf,
    hours: u16,
) -> Result<Vec<(String, u64)>, AdminError> {
    let (first, end) = last_hours(admin, hours);
    Ok(admin.archive.refusal_reasons(of, first, end).await?)
}

/// From the first hour up to one that is not included.
fn last_hours(admin: &Admin, hours: u16) -> (Hour, Hour) {
    let end = Hour::of(admin.utc()).number() + 1;
    (Hour::new(end - i64::from(hours.max(1))), Hour::new(end))
}

/// Minutes of one slot of the gate's day.
pub const TRAFFIC_SLOT_MINUTES: i64 = 10;
const DAY_MINUTES: i64 = 24 * 60;
const MINUTE_MILLIS: i64 = 60_000;
