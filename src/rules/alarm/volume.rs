//! Accounts that send far more than they used to: this hour against the busiest hours of the account's own last days.
//!
//! Bounded: a few numbers for each of at most [`VOLUME_ACCOUNTS_MAX`] accounts. As long as too little is known, nothing is
//! said: the program must have run for a day, or have been told what was sent before ([`Volume::remember`]).

use super::{Condition, Facts, Kind};
use crate::{
    event::{MessageReport, Outcome},
    types::{AccountId, Timestamp},
};
use std::{collections::HashMap, time::Duration};

/// What one account sent in one hour before the program started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow {
    /// The account.
    pub account: AccountId,
    /// The beginning of the hour.
    pub hour: Timestamp,
    /// Recipients.
    pub recipients: u32,
}

/// What accounts sent.
pub(super) struct Volume {
    accounts: HashMap<AccountId, Recent>,
    known_since: Timestamp,
    /// The hour in which room was made for others last: once in an hour is enough to look at all of them.
    swept: i64,
}

/// What one account sent of late.
#[derive(Debug, Clone, Copy)]
struct Recent {
    hour: i64,
    in_hour: u32,
    /// The busiest hour of each of the last days, by the day's number modulo their count.
    peaks: [Peak; DAYS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Peak {
    day: i64,
    recipients: u32,
}

impl Volume {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { accounts: HashMap::new(), known_since: now, swept: i64::MIN }
    }

    /// Adds hours before the start.
    pub(super) fn remember(&mut self, rows: impl IntoIterator<Item = VolumeRow>) {
        for row in rows {
            self.known_since = self.known_since.min(row.hour);
            if let Some(recent) = self.of(&row.account, hour_of(row.hour)) {
                recent.add(hour_of(row.hour), row.recipients);
            }
        }
    }

    /// Forgets an account.
    pub(super) fn forget(&mut self, account: &AccountId) {
        self.accounts.remove(account);
    }

    /// Counts what was sent; says so if that is sudden.
    pub(super) fn note(&mut self, at: Timestamp, report: &MessageReport) -> Option<Condition> {
        let charged = report.charged.as_ref()?;
        if report.outcome != Outcome::Sent || report.recipients_sent == 0 {
            return None;
        }
        let is_known = at.since(self.known_since) >= KNOWN_MIN;
        let hour = hour_of(at);
        let recent = self.of(&charged.account, hour)?;
        recent.add(hour, report.recipients_sent);
        let (seen, usual) = (recent.in_hour, recent.busiest_before(hour));
        if !is_known || seen < SUDDEN_MIN || u64::from(seen) < u64::from(usual) * SUDDEN_FACTOR {
            return None;
        }
        let mut surge = Condition::of_account(Kind::SuddenVolume, charged, report);
        surge.facts =
            Facts { seen: Some(u64::from(seen)), usual: Some(u64::from(usual)), ..surge.facts };
        Some(surge)
    }

    fn of(&mut self, account: &AccountId, hour: i64) -> Option<&mut Recent> {
        if !self.accounts.contains_key(account) {
            if self.accounts.len() >= VOLUME_ACCOUNTS_MAX && hour > self.swept {
                self.swept = hour;
                self.accounts.retain(|_, recent| recent.hour >= hour - HOURS_IDLE_MAX);
            }
            if self.accounts.len() >= VOLUME_ACCOUNTS_MAX {
                return None;
            }
            self.accounts.insert(account.clone(), Recent::new(hour));
        }
        self.accounts.get_mut(account)
    }
}

impl Recent {
    const fn new(hour: i64) -> Self {
        Self { hour, in_hour: 0, peaks: [Peak { day: i64::MIN, recipients: 0 }; DAYS] }
    }

    fn add(&mut self, hour: i64, recipients: u32) {
        if hour > self.hour {
            self.close_hour();
            (self.hour, self.in_hour) = (hour, 0);
        }
        self.in_hour = self.in_hour.saturating_add(recipients);
    }

    fn close_hour(&mut self) {
        let day = self.hour.div_euclid(24);
        let peak = &mut self.peaks[place_of(day)];
        if peak.day != day {
            *peak = Peak { day, recipients: 0 };
        }
        peak.recipients = peak.recipients.max(self.in_hour);
    }

    fn busiest_before(&self, hour: i64) -> u32 {
        let oldest = hour.div_euclid(24) - DAYS_KEPT;
        let recent = self.peaks.iter().filter(|peak| peak.day > oldest);
        recent.map(|peak| peak.recipients).max().unwrap_or(0)
    }
}

fn place_of(day: i64) -> usize {
    usize::try_from(day.rem_euclid(DAYS_KEPT)).unwrap_or(0)
}

const fn hour_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(3_600_000)
}

/// Accounts whose volume is known.
pub const VOLUME_ACCOUNTS_MAX: usize = 100_000;
/// How many recipients in an hour are worth a word at all.
const SUDDEN_MIN: u32 = 30;
/// How many times the busiest hour is sudden.
const SUDDEN_FACTOR: u64 = 3;
const DAYS: usize = 7;
const DAYS_KEPT: i64 = 7;
/// How long the program must have counted before silence means something.
const KNOWN_MIN: Duration = Duration::from_secs(86_400);
/// Accounts that sent nothing for so long make room for others.
const HOURS_IDLE_MAX: i64 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memory_makes_room_once_in_an_hour() {
        let mut volume = Volume::new(Timestamp::EPOCH);
        let account = |n: usize| format!("a{n}@shop.example").parse::<AccountId>().unwrap();
        let known = |n: usize, hour: i64| (account(n), Recent::new(hour));
        volume.accounts.extend((0..VOLUME_ACCOUNTS_MAX).map(|n| known(n, 0)));
        assert!(volume.of(&account(VOLUME_ACCOUNTS_MAX), 0).is_none());
        assert!(volume.of(&account(VOLUME_ACCOUNTS_MAX), HOURS_IDLE_MAX).is_none());
        assert!(volume.of(&account(VOLUME_ACCOUNTS_MAX), HOURS_IDLE_MAX + 1).is_some());
        assert_eq!(volume.accounts.len(), 1);
        // It is full again within the same hour, of what is idle: nobody looks through it before the next.
        volume.accounts.extend((0..VOLUME_ACCOUNTS_MAX).map(|n| known(n, 0)));
        let another = account(VOLUME_ACCOUNTS_MAX + 1);
        assert!(volume.of(&another, HOURS_IDLE_MAX + 1).is_none());
        assert!(volume.of(&another, HOURS_IDLE_MAX + 2).is_some());
    }
}
