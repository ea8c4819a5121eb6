//! A tenant or a client address, as far as its suspended accounts speak against it.
//!
//! When several of a tenant's accounts are in, the next is probably stolen, too; when several are used from one address, whoever has it is
//! the thief. But most of the tenant's accounts are honest, and an address may be a whole office: a group is
//! throttled, never suspended, by itself, and its accounts need fewer points to be suspended.

use super::{Change, Conduct, Settings};
use crate::types::Timestamp;

/// The suspended accounts of a tenant or a client address.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Group {
    /// Hashes of accounts, and when each was suspended last; the newest last.
    members: Vec<(u32, Timestamp)>,
    /// Its standing.
    pub conduct: Conduct,
}

impl Group {
    /// True if no account of it was suspended of late.
    #[must_use]
    pub const fn is_blank(&self) -> bool {
        self.members.is_empty()
    }

    /// What is left of its limits now, in percent.
    #[must_use]
    pub fn percent(&self, now: Timestamp, settings: &Settings) -> u32 {
        self.conduct.percent(now, settings)
    }

    /// When the last account of it was suspended.
    #[must_use]
    pub fn last(&self) -> Option<Timestamp> {
        self.members.last().map(|&(_, at)| at)
    }

    /// An account of it was suspended.
    pub fn count(&mut self, account: u32, now: Timestamp, settings: &Settings) -> Option<Change> {
        self.members.retain(|&(member, at)| {
            member != account && now.since(at) < settings.lifts_within.length()
        });
        if self.members.len() >= MEMBERS_MAX {
            self.members.remove(0);
        }
        self.members.push((account, now));
        let points = if self.is_in(settings) { settings.throttle_points } else { 0.0 };
        self.conduct.weigh(points, false, now, settings)
    }

    /// True if so many accounts are suspended that the whole is suspect.
    #[must_use]
    pub fn is_in(&self, settings: &Settings) -> bool {
        self.members.len() >= settings.group_accounts as usize
    }
}

/// So many suspended accounts of a group are remembered.
pub const MEMBERS_MAX: usize = 32;
