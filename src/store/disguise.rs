//! What is left of an erased account while it still counts: its windows and its suspension, under a keyed hash of its name.
//!
//! Erasing must be no fresh 50 and no way out of a suspension. So a window keeps its charges, and a suspension its end, under a
//! name that is made of the account's and of a key; whoever comes back under the old name is found by it. Nobody can read the name out of it; whoever
//! has the file, key included, can test a guess. Gates that share records have to make the same names, so they share the key, too.

use crate::types::{AccountId, SubjectId};
use parking_lot::RwLock;
use ring::hmac;

/// Makes such names.
pub(super) struct Disguise(RwLock<Keyed>);

struct Keyed {
    octets: [u8; KEY_BYTES],
    key: hmac::Key,
}

impl Disguise {
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(RwLock::new(Keyed::of(key)))
    }

    /// The key.
    pub(super) fn key(&self) -> [u8; KEY_BYTES] {
        self.0.read().octets
    }

    /// From now on names are made with another key: only where nothing is known under names of this one.
    pub(super) fn set_key(&self, key: &[u8; KEY_BYTES]) {
        *self.0.write() = Keyed::of(key);
    }

    /// The name of an erased window.
    pub(super) fn of_window(&self, key: &str) -> String {
        format!("{ERASED_WINDOW}{}", self.hash("window", key))
    }

    fn of_account(&self, account: &AccountId) -> Option<AccountId> {
        format!("{ERASED_ACCOUNT}{}", self.hash("account", account.as_str())).parse().ok()
    }

    /// The same, of an account or a tenant.
    pub(super) fn of_subject(&self, subject: &SubjectId) -> Option<SubjectId> {
        match subject {
            SubjectId::Account(account) => self.of_account(account).map(SubjectId::Account),
            SubjectId::Tenant(tenant) => {
                let name = format!("{ERASED_ACCOUNT}{}", self.hash("tenant", tenant.as_str()));
                name.parse().ok().map(SubjectId::Tenant)
            }
        }
    }

    fn hash(&self, what: &str, name: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0.read().key);
        context.update(what.as_bytes());
        context.update(&[0]);
        context.update(name.as_bytes());
        super::backup::hexadecimal(&context.sign().as_ref()[..HASH_BYTES])
    }
}

impl Keyed {
    fn of(octets: &[u8; KEY_BYTES]) -> Self {
        Self { octets: *octets, key: hmac::Key::new(hmac::HMAC_SHA256, octets) }
    }
}

/// How the name of an erased window begins: no key does.
pub(super) const ERASED_WINDOW: &str = "erased/";
/// How the name of an erased account or tenant begins.
pub(super) const ERASED_ACCOUNT: &str = "erased:";
pub(super) const KEY_BYTES: usize = 32;
const HASH_BYTES: usize = 16;
