//! What an account's texts are like: fingerprints that are unlike each other, with when each was seen first.
//!
//! A text that is a little like one that the account sent half a day ago or longer is its own: orders are confirmed in the same words each
//! day, by every shop with the same software. What a thief sends is unlike all of it: of the texts of people, one in twenty is so near to
//! one of their own last by chance.

use crate::{message::Fingerprint, types::Timestamp};
use std::{collections::VecDeque, time::Duration};

/// The texts of one account.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Style(VecDeque<Seen>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Seen {
    print: Fingerprint,
    first: Timestamp,
}

impl Style {
    /// True if the account has sent such texts for a while.
    #[must_use]
    pub fn is_own(&self, print: Fingerprint, now: Timestamp) -> bool {
        let own = |seen: &Seen| now.since(seen.first) >= OWN_AFTER;
        self.0.iter().any(|seen| own(seen) && seen.print.distance(print) <= LIKE)
    }

    /// Takes note of a text that is unlike those before.
    pub fn learn(&mut self, print: Fingerprint, now: Timestamp) {
        if self.0.iter().any(|seen| seen.print.distance(print) <= SAME) {
            return;
        }
        if self.0.len() >= STYLE_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Seen { print, first: now });
    }

    /// How many octets it takes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.0.len() * size_of::<Seen>()
    }
}

/// So many texts of an account are remembered.
pub const STYLE_MAX: usize = 24;
/// In so many bits texts of one kind differ at most.
const LIKE: u32 = 18;
/// A text that is so near to another is the same again.
const SAME: u32 = 8;
const OWN_AFTER: Duration = Duration::from_secs(12 * 3_600);
