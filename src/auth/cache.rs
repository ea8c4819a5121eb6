//! Passwords that were found right a short while ago, so that a mail program that logs in for each message does not cost
//! a slow hash each time.
//!
//! What is kept is an HMAC-SHA-256 under a key that this process made up and nobody else knows, over the account, the
//! stored hash and the password: useless outside the process, and void as soon as the account's line in the file changes.
//! The table is bounded and entries live for a fixed time after the hash was computed.

use super::AuthError;
use crate::types::{AccountId, IpPrefix, Timestamp};
use parking_lot::Mutex;
use ring::hmac;
use std::{collections::HashMap, time::Duration};
use subtle::ConstantTimeEq;

/// Passwords that were found right.
pub(super) struct Cache {
    key: hmac::Key,
    entries: Mutex<HashMap<AccountId, Remembered>>,
    entries_max: usize,
    ttl: Duration,
}

struct Remembered {
    /// Missing after a login by SCRAM, which shows no password.
    digest: Option<Digest>,
    /// Whose it is: the login's own name, or what Dovecot makes of it.
    account: AccountId,
    until: Timestamp,
    /// Where the right password came from last.
    network: IpPrefix,
}

/// Stands for an account with a stored hash and a password.
pub(super) struct Digest(hmac::Tag);

impl Cache {
    /// Makes an empty cache with a key of its own.
    pub(super) fn new(entries_max: usize, ttl: Duration) -> Result<Self, AuthError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
            .map_err(|_| AuthError::Hashing(String::from("there is no randomness")))?;
        Ok(Self { key, entries: Mutex::default(), entries_max, ttl })
    }

    pub(super) fn digest(&self, account: &AccountId, stored: &str, password: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        // The parts that may vary in length are told apart by their lengths.
        for part in [account.as_str().as_bytes(), stored.as_bytes(), password] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        Digest(context.sign())
    }

    /// Whose password this is, if this very one was found right for the login and is still remembered; notes where it came
    /// from.
    pub(super) fn recalls(
        &self,
        login: &AccountId,
        digest: &Digest,
        network: IpPrefix,
        now: Timestamp,
    ) -> Option<AccountId> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(login).filter(|entry| entry.until > now)?;
        let same = bool::from(entry.digest.as_ref()?.0.as_ref().ct_eq(digest.0.as_ref()));
        same.then(|| {
            entry.network = network;
            entry.account.clone()
        })
    }

    /// True if the login's right password came from this network last and is still remembered.
    pub(super) fn is_home(&self, account: &AccountId, network: IpPrefix, now: Timestamp) -> bool {
        self.entries
            .lock()
            .get(account)
            .is_some_and(|entry| entry.until > now && entry.network == network)
    }

    /// Remembers a password that was found right just now, and whose it is.
    pub(super) fn remember(
        &self,
        login: &AccountId,
        right: (Digest, AccountId),
        network: IpPrefix,
        now: Timestamp,
    ) {
        let (digest, account) = right;
        let entry = Remembered { digest: Some(digest), account, until: now + self.ttl, network };
        self.insert(login, entry, now);
    }

    /// Remembers where the account was proven just now, without its password. A password that is remembered already stays.
    pub(super) fn remember_home(&self, account: &AccountId, network: IpPrefix, now: Timestamp) {
        if let Some(entry) = self.entries.lock().get_mut(account).filter(|entry| entry.until > now)
        {
            entry.network = network;
            return;
        }
        let (until, whose) = (now + self.ttl, account.clone());
        self.insert(account, Remembered { digest: None, account: whose, until, network }, now);
    }

    fn insert(&self, login: &AccountId, entry: Remembered, now: Timestamp) {
        let mut entries = self.entries.lock();
        if entries.len() >= self.entries_max && !entries.contains_key(login) {
            make_room(&mut entries, self.entries_max, now);
        }
        if entries.len() < self.entries_max || entries.contains_key(login) {
            entries.insert(login.clone(), entry);
        }
    }
}

/// Drops what has expired, or else an arbitrary entry.
fn make_room(entries: &mut HashMap<AccountId, Remembered>, entries_max: usize, now: Timestamp) {
    entries.retain(|_, entry| entry.until > now);
    if entries.len() < entries_max {
        return;
    }
    if let Some(someone) = entries.keys().next().cloned() {
        entries.remove(&someone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClientIp;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    fn id(name: &str) -> AccountId {
        name.parse().unwrap()
    }

    fn network(address: &str) -> IpPrefix {
        address.parse::<ClientIp>().unwrap().prefix(64)
    }

    #[test]
    fn only_the_very_password_for_the_very_line_is_recalled() {
        let cache = Cache::new(10, Duration::from_secs(60)).unwrap();
        let (ann, home) = (id("ann"), network("192.0.2.1"));
        cache.remember(&ann, (cache.digest(&ann, "$1", b"right"), id("ann.x")), home, at(0));
        for (name, stored, password, seconds, recalled) in [
            ("ann", "$1", "right", 0, true),
            ("ann", "$1", "right", 59, true),
            ("ann", "$1", "right", 60, false),
            ("ann", "$1", "wrong", 0, false),
            ("ann", "$2", "right", 0, false),
            ("ann", "$1r", "ight", 0, false),
            ("bob", "$1", "right", 0, false),
        ] {
            let digest = cache.digest(&id(name), stored, password.as_bytes());
            let got = cache.recalls(&id(name), &digest, home, at(seconds));
            assert_eq!(got, recalled.then(|| id("ann.x")), "{name} {stored} {password} {seconds}");
        }
    }

    #[test]
    fn home_is_where_the_right_password_came_from_last() {
        let cache = Cache::new(10, Duration::from_secs(60)).unwrap();
        let (ann, home, hotel) = (id("ann"), network("192.0.2.1"), network("2001:db8::1"));
        cache.remember(&ann, (cache.digest(&ann, "$1", b"right"), id("ann.x")), home, at(0));
        cache.recalls(&ann, &cache.digest(&ann, "$1", b"wrong"), hotel, at(0));
        assert!(cache.is_home(&ann, home, at(0)) && !cache.is_home(&ann, hotel, at(0)));
        cache.recalls(&ann, &cache.digest(&ann, "$1", b"right"), hotel, at(0));
        assert!(!cache.is_home(&ann, home, at(0)) && cache.is_home(&ann, hotel, at(0)));
        assert!(!cache.is_home(&ann, hotel, at(60)));
    }

    #[test]
    fn a_proof_leaves_its_home_and_no_password() {
        let cache = Cache::new(10, Duration::from_secs(60)).unwrap();
        let (ann, home, hotel) = (id("ann"), network("192.0.2.1"), network("2001:db8::1"));
        cache.remember_home(&ann, home, at(0));
        assert!(cache.is_home(&ann, home, at(59)) && !cache.is_home(&ann, home, at(60)));
        assert!(cache.recalls(&ann, &cache.digest(&ann, "$1", b""), home, at(0)).is_none());

        let digest = || cache.digest(&ann, "$1", b"right");
        cache.remember(&ann, (digest(), ann.clone()), home, at(0));
        cache.remember_home(&ann, hotel, at(0));
        assert!(cache.is_home(&ann, hotel, at(0)));
        assert!(cache.recalls(&ann, &digest(), home, at(0)).is_some());
    }

    #[test]
    fn the_table_is_bounded() {
        for (max, kept) in [(3, 3), (0, 0)] {
            let cache = Cache::new(max, Duration::from_secs(60)).unwrap();
            for n in 0..10 {
                let account = id(&format!("user{n}"));
                let digest = cache.digest(&account, "$1", b"right");
                cache.remember(&account, (digest, account.clone()), network("192.0.2.1"), at(n));
            }
            assert_eq!(cache.entries.lock().len(), kept);
        }
    }
}
