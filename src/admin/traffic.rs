//! What flowed, in equal slots of time for plots. A slot in which nothing was listened to has no counts.

use super::{Admin, AdminError};
use crate::{
    rules::tally::{Minute, calendar::Hour},
    store::archive::UsageOf,
    types::{TenantId, Timestamp},
};
use std::{collections::BTreeMap, time::Duration};

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
pub async fn traffic_today(admin: &Admin) -> Result<Traffic, AdminError> {
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

/// What a tenant sent in so many slots of so many hours each, the present one last.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn sent_by(
    admin: &Admin,
    tenant: &TenantId,
    (slots, hours_of_slot): (u16, u16),
) -> Result<Vec<Slot>, AdminError> {
    let hours_of_slot = i64::from(hours_of_slot.max(1));
    let now = Hour::of(admin.utc()).number();
    // Slots of a day begin at midnight.
    let end = (now.div_euclid(hours_of_slot) + 1) * hours_of_slot;
    let first = end - i64::from(slots) * hours_of_slot;
    let range = (Hour::new(first), Hour::new(end));
    let of = UsageOf { tenant: tenant.clone(), account: None };
    let sent = admin.archive.usage_by_hour(of, range.0, range.1).await?;
    let heard = admin.archive.coverage(range.0, range.1).await?;
    let mut by_hour = BTreeMap::new();
    for hour in heard.hours.into_keys() {
        let counts = sent.get(&hour).map_or_else(SlotCounts::default, |counts| SlotCounts {
            accepted: counts.recipients,
            deferred: counts.deferred,
            refused: counts.bounced.saturating_add(counts.refused()),
        });
        by_hour.insert(hour.number(), counts);
    }
    let slot = |from: i64| Slot {
        begins: Hour::new(from).begin(),
        counts: sum(by_hour.range(from..from + hours_of_slot).map(|(_, counts)| *counts)),
    };
    Ok((0..i64::from(slots)).map(|n| slot(first + n * hours_of_slot)).collect())
}

/// Minutes of one slot of the gate's day.
pub const TRAFFIC_SLOT_MINUTES: i64 = 10;
const DAY_MINUTES: i64 = 24 * 60;
const MINUTE_MILLIS: i64 = 60_000;
