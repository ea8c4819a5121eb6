//! Next hops that refuse what they are handed: the share of refused texts of late, for each.

use super::{Condition, Facts, Kind};
use crate::{
    event::{MessageReport, Outcome},
    types::Timestamp,
};
use std::{collections::HashMap, sync::Arc};

/// What became of texts, for each next hop.
#[derive(Default)]
pub(super) struct Refusals(HashMap<Arc<str>, Recent>);

/// Two stretches of time, the present and the one before it.
#[derive(Default)]
struct Recent {
    stretch: i64,
    now: Counts,
    before: Counts,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    texts: u64,
    refused: u64,
}

impl Refusals {
    /// Counts a text that reached a next hop; says so if too many of late were refused.
    pub(super) fn note(&mut self, at: Timestamp, report: &MessageReport) -> Option<Condition> {
        let next_hop = report.next_hop.as_ref()?;
        if self.0.len() >= NEXT_HOPS_MAX && !self.0.contains_key(next_hop) {
            self.0.clear();
        }
        let recent = self.0.entry(next_hop.clone()).or_default();
        let is_refused = matches!(report.outcome, Outcome::Refused | Outcome::Deferred);
        let Counts { texts, refused } = recent.add(at, is_refused);
        if !is_refused || refused < REFUSED_MIN || refused * 2 < texts {
            return None;
        }
        let detail = report.next_hop_reply.as_deref().unwrap_or_default();
        let facts = Facts {
            seen: Some(refused),
            usual: Some(texts),
            detail: Some(detail.chars().take(REPLY_CHARS_MAX).collect()),
            transaction: Some(report.transaction.clone()),
            ..Facts::default()
        };
        Some(Condition::of_hop(Kind::NextHopRefusing, next_hop, facts))
    }
}

impl Recent {
    /// Returns the counts of both stretches.
    fn add(&mut self, at: Timestamp, is_refused: bool) -> Counts {
        let stretch = at.as_millis().div_euclid(STRETCH_MILLIS);
        if stretch != self.stretch {
            let is_next = stretch == self.stretch + 1;
            self.before = if is_next { self.now } else { Counts::default() };
            (self.stretch, self.now) = (stretch, Counts::default());
        }
        self.now.texts += 1;
        self.now.refused += u64::from(is_refused);
        Counts {
            texts: self.now.texts + self.before.texts,
            refused: self.now.refused + self.before.refused,
        }
    }
}

/// Refused texts within the two stretches that are worth a word at all.
const REFUSED_MIN: u64 = 20;
const STRETCH_MILLIS: i64 = 5 * 60 * 1_000;
/// Next hops are named by the configuration, so there are few.
const NEXT_HOPS_MAX: usize = 256;
const REPLY_CHARS_MAX: usize = 300;
