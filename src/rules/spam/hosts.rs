//! Which sites links led to of late, and who sent them.
//!
//! Texts change from message to message, the site that they lead to is paid for. A site that the gate has known for a day, or that
//! several accounts link to against which nothing speaks, is usual. The table is one for the whole gate and holds [`HOSTS_MAX`].

use super::prints::Spread;
use crate::types::Timestamp;
use std::{collections::HashMap, time::Duration};

/// The sites of late, by the hash of their registrable domain.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Hosts {
    seen: HashMap<u32, Seen>,
    /// When the first was seen; nothing is unusual on the first day.
    since: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
struct Seen {
    /// Hashes of the first accounts that sent it while something spoke against them.
    suspects: [u32; ACCOUNTS_MAX],
    /// And while nothing did.
    others: [u32; OTHERS_USUAL],
    is_spam: bool,
    first: Timestamp,
    last: Timestamp,
}

impl Hosts {
    /// What is known of a site that this account is about to send a link to.
    #[must_use]
    pub fn spread(&self, host: u32, account: u32, now: Timestamp) -> Spread {
        let Some(seen) = self.seen.get(&host).filter(|seen| seen.is_remembered(now)) else {
            return Spread { accounts: 1, is_spam: false };
        };
        if seen.is_spam {
            return Spread { accounts: 1 + count(&seen.suspects, account), is_spam: true };
        }
        let accounts = if seen.is_usual(now) { 1 } else { 1 + count(&seen.suspects, account) };
        Spread { accounts, is_spam: false }
    }

    /// Takes note of a link that went out, by an account against which something speaks or nothing does.
    pub fn note(&mut self, host: u32, account: u32, is_suspect: bool, now: Timestamp) {
        let since = *self.since.get_or_insert(now);
        if self.seen.len() >= HOSTS_MAX && !self.seen.contains_key(&host) {
            self.make_room(now);
        }
        let is_first_day = now.since(since) < USUAL_AFTER;
        let fresh = || Seen {
            suspects: [0; ACCOUNTS_MAX],
            others: [0; OTHERS_USUAL],
            is_spam: false,
            first: if is_first_day { now - USUAL_AFTER } else { now },
            last: now,
        };
        let seen = self.seen.entry(host).or_insert_with(fresh);
        if !seen.is_remembered(now) {
            *seen = fresh();
        }
        seen.last = now;
        if is_suspect {
            seen.others.iter_mut().filter(|other| **other == account).for_each(|other| *other = 0);
            add(&mut seen.suspects, account);
        } else {
            add(&mut seen.others, account);
        }
    }

    /// Says that an account was suspended for links to this site; one that is usual stays so.
    pub fn mark_spam(&mut self, host: u32, now: Timestamp) {
        if let Some(seen) = self.seen.get_mut(&host).filter(|seen| !seen.is_usual(now)) {
            seen.is_spam = true;
        }
    }

    /// Forgets the quarter that was unused the longest, so that it need not be looked for each time.
    fn make_room(&mut self, now: Timestamp) {
        self.seen.retain(|_, seen| seen.is_remembered(now));
        let mut times: Vec<Timestamp> = self.seen.values().map(|seen| seen.last).collect();
        if times.len() < HOSTS_MAX {
            return;
        }
        let (_, &mut median, _) = times.select_nth_unstable(HOSTS_MAX / 4);
        self.seen.retain(|_, seen| seen.last > median);
    }
}

impl Seen {
    fn is_usual(&self, now: Timestamp) -> bool {
        let is_old = now.since(self.first) >= USUAL_AFTER;
        !self.is_spam && (is_old || self.others.iter().all(|&other| other != 0))
    }

    fn is_remembered(&self, now: Timestamp) -> bool {
        now.since(self.last) < MEMORY
    }
}

fn add(accounts: &mut [u32], account: u32) {
    if !accounts.contains(&account)
        && let Some(place) = accounts.iter_mut().find(|other| **other == 0)
    {
        *place = account;
    }
}

/// How many of these accounts are not this one.
fn count(accounts: &[u32], account: u32) -> u32 {
    let others = accounts.iter().filter(|&&other| other != 0 && other != account);
    u32::try_from(others.count()).unwrap_or(0)
}

/// So many sites are remembered.
pub const HOSTS_MAX: usize = 4_096;
/// So many of the accounts that sent a link to one.
const ACCOUNTS_MAX: usize = 4;
/// A site is usual when so many accounts link to it against which nothing speaks.
const OTHERS_USUAL: usize = 3;
/// How long a site is remembered after it was seen last.
const MEMORY: Duration = Duration::from_secs(7 * 24 * 3_600);
/// When a site becomes usual.
const USUAL_AFTER: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Hosts a day after the first one was seen, and that moment.
    fn hosts() -> (Hosts, Timestamp) {
        let mut hosts = Hosts::default();
        hosts.note(1, 1, false, Timestamp::EPOCH);
        (hosts, Timestamp::EPOCH + DAY)
    }

    #[test]
    fn a_site_of_suspects_spreads_and_one_of_others_is_usual() {
        let (mut hosts, now) = hosts();
        for account in 1..=3 {
            hosts.note(7, account, true, now);
        }
        assert_eq!(hosts.spread(7, 1, now).accounts, 3);
        assert_eq!(hosts.spread(7, 9, now).accounts, 4);
        assert_eq!(hosts.spread(8, 9, now).accounts, 1);
        for account in [11, 12, 11, 13] {
            hosts.note(7, account, false, now);
        }
        hosts.note(7, 13, true, now);
        assert_eq!(hosts.spread(7, 9, now).accounts, 5, "two are not enough");
        hosts.note(7, 14, false, now);
        assert_eq!(hosts.spread(7, 9, now).accounts, 1);
        hosts.mark_spam(7, now);
        assert!(!hosts.spread(7, 9, now).is_spam, "what is usual stays so");
    }

    #[test]
    fn a_site_that_somebody_was_suspended_for_is_spam_until_it_is_forgotten() {
        let (mut hosts, now) = hosts();
        hosts.note(7, 1, true, now);
        hosts.mark_spam(7, now);
        hosts.mark_spam(8, now);
        let later = now + 2 * DAY;
        assert!(hosts.spread(7, 9, later).is_spam && !hosts.spread(8, 9, later).is_spam);
        assert!(!hosts.spread(7, 9, now + 8 * DAY).is_spam);
        hosts.note(7, 9, true, now + 8 * DAY);
        assert!(!hosts.spread(7, 1, now + 8 * DAY).is_spam, "it began anew");
    }

    #[test]
    fn what_is_there_for_a_day_or_since_the_first_day_is_usual() {
        let (mut hosts, now) = hosts();
        hosts.note(1, 2, true, now);
        assert_eq!(hosts.spread(1, 9, now).accounts, 1, "of the first day");
        hosts.note(7, 2, true, now);
        assert_eq!(hosts.spread(7, 9, now).accounts, 2);
        assert_eq!(hosts.spread(7, 9, now + DAY).accounts, 1);
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_go_first() {
        let (mut hosts, now) = hosts();
        let newest = u32::try_from(HOSTS_MAX * 2).unwrap();
        for host in 0..newest {
            hosts.note(host, 1, true, now + Duration::from_millis(host.into()));
        }
        assert!(hosts.seen.len() <= HOSTS_MAX && hosts.seen.len() > HOSTS_MAX / 2);
        assert!(hosts.seen.contains_key(&(newest - 1)) && !hosts.seen.contains_key(&2));
    }
}
