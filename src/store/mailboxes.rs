//! How full mailboxes are, in memory: read at each MAIL without any I/O, written by whoever looks, kept in the archive across restarts.

use crate::{
    rules::quota::{Known, Told, Usage},
    types::{AccountId, SubjectId, TenantId, Timestamp},
};
use parking_lot::RwLock;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// A figure, when it was true, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// What the mailbox holds.
    pub usage: Usage,
    /// When, in UTC.
    pub measured: Timestamp,
    /// Where from, as a stable word.
    pub source: &'static str,
}

/// What is known of an account's mailbox, or of all of a tenant's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// The figures.
    pub known: Known,
    /// What was told of it.
    pub told: Told,
    /// The last figure of an account.
    pub figure: Option<Figure>,
}

/// All of them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Mailboxes(Arc<RwLock<Inner>>);

#[derive(Default)]
struct Inner {
    accounts: HashMap<AccountId, Mailbox>,
    tenants: HashMap<TenantId, Tenant>,
}

struct Mailbox {
    tenant: TenantId,
    figure: Option<Figure>,
    is_fresh: bool,
    told: Told,
}

#[derive(Default)]
struct Tenant {
    accounts: BTreeSet<AccountId>,
    known: Known,
    told: Told,
}

impl Mailboxes {
    /// Notes an account's figure, or that there is none now; false if there is no room for another account.
    pub fn note(&self, account: &AccountId, tenant: &TenantId, figure: Option<Figure>) -> bool {
        let mut inner = self.0.write();
        let is_new = !inner.accounts.contains_key(account);
        if is_new && inner.accounts.len() >= MAILBOXES_MAX {
            return false;
        }
        inner.assign(account, tenant);
        let Some(mailbox) = inner.accounts.get_mut(account) else { return false };
        if figure.is_some() {
            (mailbox.figure, mailbox.is_fresh) = (figure, true);
        }
        true
    }

    /// Forgets an account, which has no mailbox any more.
    pub fn forget(&self, account: &AccountId) {
        let mut inner = self.0.write();
        let Some(gone) = inner.accounts.remove(account) else { return };
        inner.leave(account, &gone.tenant);
    }

    /// Sets what was told.
    pub fn set_told(&self, subject: &SubjectId, told: Told) {
        let mut inner = self.0.write();
        match subject {
            SubjectId::Account(account) => {
                inner.accounts.entry(account.clone()).and_modify(|mailbox| mailbox.told = told);
            }
            SubjectId::Tenant(tenant) => {
                inner.tenants.entry(tenant.clone()).and_modify(|held| held.told = told);
            }
        }
    }

    /// Adds a tenant's mailboxes up anew; figures of before `fresh_since` are old.
    pub fn add_up(&self, tenant: &TenantId, fresh_since: Timestamp) {
        let mut inner = self.0.write();
        let Inner { accounts, tenants } = &mut *inner;
        let Some(held) = tenants.get_mut(tenant) else { return };
        let mut sum = Known::default();
        for account in &held.accounts {
            let Some(mailbox) = accounts.get_mut(account) else { continue };
            mailbox.is_fresh = mailbox.figure.is_some_and(|figure| figure.measured >= fresh_since);
            sum = sum.plus(mailbox.known());
        }
        held.known = sum;
    }

    /// What is known of a subject; none: nothing ever was.
    #[must_use]
    pub fn of(&self, subject: &SubjectId) -> Option<Holding> {
        let inner = self.0.read();
        match subject {
            SubjectId::Account(account) => inner.accounts.get(account).map(Mailbox::holding),
            SubjectId::Tenant(tenant) => {
                let tenant = inner.tenants.get(tenant)?;
                Some(Holding { known: tenant.known, told: tenant.told, figure: None })
            }
        }
    }

    /// All accounts, or those of a tenant.
    #[must_use]
    pub fn accounts(&self, of: Option<&TenantId>) -> Vec<AccountId> {
        let inner = self.0.read();
        match of {
            None => inner.accounts.keys().cloned().collect(),
            Some(tenant) => {
                let held = inner.tenants.get(tenant);
                held.map(|held| held.accounts.iter().cloned().collect()).unwrap_or_default()
            }
        }
    }

    /// All tenants of whom there are mailboxes.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        self.0.read().tenants.keys().cloned().collect()
    }

    /// The tenant that an account's mailbox was counted for.
    #[must_use]
    pub fn tenant_of(&self, account: &AccountId) -> Option<TenantId> {
        self.0.read().accounts.get(account).map(|mailbox| mailbox.tenant.clone())
    }

    /// All mailboxes together.
    #[must_use]
    pub fn whole(&self) -> Known {
        let inner = self.0.read();
        inner.tenants.values().fold(Known::default(), |sum, tenant| sum.plus(tenant.known))
    }
}

impl Inner {
    fn assign(&mut self, account: &AccountId, tenant: &TenantId) {
        let before = self.accounts.get(account).map(|mailbox| mailbox.tenant.clone());
        if before.as_ref() == Some(tenant) {
            return;
        }
        if let Some(before) = before {
            self.leave(account, &before);
        }
        self.tenants.entry(tenant.clone()).or_default().accounts.insert(account.clone());
        let mailbox = self.accounts.entry(account.clone()).or_insert_with(|| Mailbox {
            tenant: tenant.clone(),
            figure: None,
            is_fresh: false,
            told: Told::default(),
        });
        mailbox.tenant = tenant.clone();
    }

    /// A tenant whose last mailbox has left stays until it was added up and told of; then it holds nothing.
    fn leave(&mut self, account: &AccountId, tenant: &TenantId) {
        if let Some(held) = self.tenants.get_mut(tenant) {
            held.accounts.remove(account);
        }
    }
}

impl Mailbox {
    fn known(&self) -> Known {
        Known::of(self.figure.map(|figure| figure.usage), self.is_fresh)
    }

    fn holding(&self) -> Holding {
        Holding { known: self.known(), told: self.told, figure: self.figure }
    }
}

/// Mailboxes that are known of at a time: about 400 octets each.
pub const MAILBOXES_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn figure(bytes: u64, seconds: i64) -> Option<Figure> {
        let usage = Usage { bytes, files: 1 };
        Some(Figure { usage, measured: at(seconds), source: "maildir" })
    }

    #[track_caller]
    fn sum(mailboxes: &Mailboxes, tenant: &str, fresh_since: i64) -> (u64, u64, u32, u32) {
        let tenant: TenantId = tenant.parse().unwrap();
        mailboxes.add_up(&tenant, at(fresh_since));
        let known = mailboxes.of(&SubjectId::Tenant(tenant)).unwrap_or_default().known;
        (known.certain.bytes, known.last.bytes, known.mailboxes, known.unknown)
    }

    #[test]
    fn a_tenant_holds_what_its_mailboxes_hold() {
        let mailboxes = Mailboxes::default();
        let (shop, other) = ("shop.example".parse().unwrap(), "other.example".parse().unwrap());
        let (ann, bob) = ("ann@shop.example".parse().unwrap(), "bob@shop.example".parse().unwrap());
        mailboxes.note(&ann, &shop, figure(100, 10));
        mailboxes.note(&bob, &shop, None);
        assert_eq!(sum(&mailboxes, "shop.example", 5), (100, 100, 2, 1));
        mailboxes.note(&bob, &shop, figure(50, 20));
        assert_eq!(sum(&mailboxes, "shop.example", 5), (150, 150, 2, 0));
        // What fails keeps its last figure, which grows old.
        mailboxes.note(&bob, &shop, None);
        assert_eq!(sum(&mailboxes, "shop.example", 15), (50, 150, 2, 1));
        assert_eq!(mailboxes.of(&SubjectId::Account(ann.clone())).unwrap().known.unknown, 1);
        // An account that is another tenant's now takes its mailbox along.
        mailboxes.note(&bob, &other, figure(60, 30));
        assert_eq!(sum(&mailboxes, "shop.example", 5), (100, 100, 1, 0));
        assert_eq!(sum(&mailboxes, "other.example", 5), (60, 60, 1, 0));
        mailboxes.forget(&ann);
        assert_eq!(sum(&mailboxes, "shop.example", 5), (0, 0, 0, 0));
        assert_eq!(mailboxes.accounts(None), [bob]);
    }

    #[test]
    fn what_was_told_stays_when_a_figure_comes() {
        let mailboxes = Mailboxes::default();
        let (shop, ann) = ("shop.example".parse().unwrap(), "ann@shop.example".parse().unwrap());
        let subject = SubjectId::Account(ann);
        let told = Told { is_full: true, ..Told::default() };
        mailboxes.set_told(&subject, told);
        assert_eq!(mailboxes.of(&subject), None, "nothing is known of it");
        let SubjectId::Account(ann) = &subject else { return };
        mailboxes.note(ann, &shop, figure(1, 1));
        mailboxes.set_told(&subject, told);
        mailboxes.note(ann, &shop, figure(2, 2));
        assert_eq!(mailboxes.of(&subject).unwrap().told, told);
    }
}
