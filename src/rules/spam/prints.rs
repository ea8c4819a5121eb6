//! Which texts went round of late: a bounded table of fingerprints, with who sent them.
//!
//! Two texts are alike if their fingerprints differ in at most a few bits. The table is one for the whole gate, so that one text
//! from many accounts is seen wherever they are, and holds [`PRINTS_MAX`] of the newest texts. A text that went round for a day without
//! anybody's being suspended for it is usual: shops with the same software confirm orders in the same words.

use crate::{message::Fingerprint, types::Timestamp};
use std::{collections::VecDeque, time::Duration};

/// The texts of late.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Prints {
    seen: VecDeque<Seen>,
    /// When the first text was seen; nothing is unusual on the first day.
    since: Option<Timestamp>,
}

/// A text, and who sent it.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
struct Seen {
    print: Fingerprint,
    /// Hashes of the first accounts that sent it.
    accounts: [u32; ACCOUNTS_MAX],
    count: u8,
    is_spam: bool,
    is_usual: bool,
    first: Timestamp,
    last: Timestamp,
}

/// What is known of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spread {
    /// Accounts that sent it of late, whoever asks included; 1 for a text that is usual.
    pub accounts: u32,
    /// An account was suspended for it.
    pub is_spam: bool,
}

impl Prints {
    /// What is known of a text that this account is about to send.
    #[must_use]
    pub fn spread(
        &self,
        print: Fingerprint,
        account: u32,
        now: Timestamp,
        distance_max: u32,
    ) -> Spread {
        let mut spread = Spread { accounts: 1, is_spam: false };
        if self.alike(print, now, distance_max).any(|seen| seen.is_usual(now)) {
            return spread;
        }
        for seen in self.alike(print, now, distance_max) {
            let others = seen.accounts().iter().filter(|&&other| other != account).count();
            spread.accounts = spread.accounts.max(1 + u32::try_from(others).unwrap_or(0));
            spread.is_spam |= seen.is_spam;
        }
        spread
    }

    /// Takes note of a text that went out.
    pub fn note(&mut self, print: Fingerprint, account: u32, now: Timestamp, distance_max: u32) {
        let since = *self.since.get_or_insert(now);
        let seen =
            self.seen.iter_mut().rev().find(|seen| seen.print.distance(print) <= distance_max);
        if let Some(seen) = seen.filter(|seen| seen.is_remembered(now)) {
            seen.note(account, now);
            return;
        }
        if self.seen.len() >= PRINTS_MAX {
            self.seen.pop_front();
        }
        let mut seen = Seen {
            print,
            accounts: [0; ACCOUNTS_MAX],
            count: 0,
            is_spam: false,
            is_usual: now.since(since) < USUAL_AFTER,
            first: now,
            last: now,
        };
        seen.note(account, now);
        self.seen.push_back(seen);
    }

    /// Says that a text is what an account was suspended for; one that is usual stays so.
    pub fn mark_spam(&mut self, print: Fingerprint, now: Timestamp, distance_max: u32) {
        let alike = |seen: &&mut Seen| seen.print.distance(print) <= distance_max;
        for seen in self.seen.iter_mut().filter(alike).filter(|seen| !seen.is_usual(now)) {
            seen.is_spam = true;
        }
    }

    fn alike(
        &self,
        print: Fingerprint,
        now: Timestamp,
        distance_max: u32,
    ) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| {
            seen.print.distance(print) <= distance_max && seen.is_remembered(now)
        })
    }
}

impl Seen {
    fn is_usual(&self, now: Timestamp) -> bool {
        !self.is_spam && (self.is_usual || now.since(self.first) >= USUAL_AFTER)
    }

    fn is_remembered(&self, now: Timestamp) -> bool {
        now.since(self.last) < MEMORY
    }

    fn accounts(&self) -> &[u32] {
        &self.accounts[..usize::from(self.count)]
    }

    fn note(&mut self, account: u32, now: Timestamp) {
        self.last = now;
        if self.accounts().contains(&account) {
            return;
        }
        if let Some(place) = self.accounts.get_mut(usize::from(self.count)) {
            *place = account;
            self.count += 1;
        }
    }
}

/// So many texts are remembered.
pub const PRINTS_MAX: usize = 4_096;
/// So many of the accounts that sent a text.
const ACCOUNTS_MAX: usize = 8;
/// How long a text is remembered after it was seen last.
const MEMORY: Duration = Duration::from_secs(3 * 24 * 3_600);
/// When a text becomes usual.
const USUAL_AFTER: Duration = Duration::from_secs(24 * 3_600);
