//! What is believed of a subject and a list over time: a row changes only when two checks agree that are some minutes apart.
//!
//! An unknown check changes nothing: what was listed stays so, what was clean stays so, and it is shown beside that.

use super::{Finding, Listed};
use crate::types::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What two checks agreed on; none: nothing is known yet.
    pub verdict: Option<Verdict>,
    /// A check that said otherwise and waits for another one.
    pub pending: Option<Pending>,
}

/// What two checks agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// On the list.
    Listed {
        /// Since the first of the two.
        since: Timestamp,
        /// What the list says, as of the last check that found it there.
        listed: Listed,
    },
    /// Not on the list.
    Clean {
        /// Since the first of the two.
        since: Timestamp,
    },
}

/// A check that said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// When.
    pub first: Timestamp,
    /// It found the subject on the list.
    pub is_listed: bool,
}

/// What a check changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is believed to be on the list now.
    Listed,
    /// It is on the list still, for something worse.
    Worse,
    /// It is believed to be off the list now, on which it was since then for that.
    Delisted(Box<(Timestamp, Listed)>),
}

impl Standing {
    /// What the list says, if it is believed to be on it.
    #[must_use]
    pub const fn listed(&self) -> Option<(Timestamp, &Listed)> {
        match &self.verdict {
            Some(Verdict::Listed { since, listed }) => Some((*since, listed)),
            Some(Verdict::Clean { .. }) | None => None,
        }
    }

    /// Takes note of a check.
    pub fn note(&mut self, finding: &Finding, now: Timestamp) -> Option<Change> {
        match finding {
            Finding::Listed(found) => self.note_listed(found, now),
            Finding::Clean => self.note_clean(now),
            Finding::Unknown(_) => None,
        }
    }

    fn note_listed(&mut self, found: &Listed, now: Timestamp) -> Option<Change> {
        if let Some(Verdict::Listed { listed, .. }) = &mut self.verdict {
            self.pending = None;
            let is_worse = found.severity > listed.severity;
            listed.clone_from(found);
            return is_worse.then_some(Change::Worse);
        }
        let since = self.agreed(true, now)?;
        self.verdict = Some(Verdict::Listed { since, listed: found.clone() });
        Some(Change::Listed)
    }

    fn note_clean(&mut self, now: Timestamp) -> Option<Change> {
        match &self.verdict {
            Some(Verdict::Listed { since, listed }) => {
                let was = Box::new((*since, listed.clone()));
                let since = self.agreed(false, now)?;
                self.verdict = Some(Verdict::Clean { since });
                Some(Change::Delisted(was))
            }
            Some(Verdict::Clean { .. }) => {
                self.pending = None;
                None
            }
            // Nothing is taken back, so nobody has to be sure.
            None => {
                (self.verdict, self.pending) = (Some(Verdict::Clean { since: now }), None);
                None
            }
        }
    }

    /// When the first of two checks was that agree, if this one is the second.
    fn agreed(&mut self, is_listed: bool, now: Timestamp) -> Option<Timestamp> {
        match self.pending {
            Some(pending) if pending.is_listed == is_listed => {
                let is_second = now >= pending.first + AGREE_AFTER;
                is_second.then(|| {
                    self.pending = None;
                    pending.first
                })
            }
            _ => {
                self.pending = Some(Pending { first: now, is_listed });
                None
            }
        }
    }
}

/// How far two checks that agree are apart at least.
pub(super) const AGREE_AFTER: Duration = Duration::from_secs(300);
