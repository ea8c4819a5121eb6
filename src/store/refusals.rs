//! The last refusal of each account, bounded: the accounts that were refused longest ago are forgotten first.

use super::records::{LAST_REFUSALS_MAX, LastRefusal};
use crate::{
    event::LimitHit,
    types::{AccountId, Timestamp},
};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};

/// Two generations: when the young one is full it becomes the old one, and the old one is forgotten.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<AccountId, LastRefusal>,
    old: HashMap<AccountId, LastRefusal>,
    /// Accounts with a refusal that is not yet in the file.
    unsaved: HashSet<AccountId>,
}

impl Refusals {
    pub(super) fn note(
        &self,
        account: &AccountId,
        at: Timestamp,
        reply: &str,
        limit: Option<&LimitHit>,
    ) {
        let mut generations = self.0.lock();
        let count = generations.find(account).map_or(0, |last| last.count) + 1;
        let refusal = LastRefusal { at, reply: reply.to_owned(), limit: limit.cloned(), count };
        generations.put(account.clone(), refusal);
        generations.unsaved.insert(account.clone());
    }

    pub(super) fn find(&self, account: &AccountId) -> Option<LastRefusal> {
        self.0.lock().find(account).cloned()
    }

    /// Puts a refusal back that was stored; the count begins anew with the program.
    pub(super) fn restore(&self, account: AccountId, refusal: LastRefusal) {
        self.0.lock().put(account, LastRefusal { count: 0, ..refusal });
    }

    /// Forgets an account.
    pub(super) fn forget(&self, account: &AccountId) {
        let mut generations = self.0.lock();
        generations.young.remove(account);
        generations.old.remove(account);
        generations.unsaved.remove(account);
    }

    /// Forgets up to `max` of before a moment; returns whose they were.
    pub(super) fn forget_old(&self, before: Timestamp, max: usize) -> Vec<AccountId> {
        let mut generations = self.0.lock();
        let Generations { young, old, .. } = &*generations;
        let all = young.iter().chain(old);
        let gone = all.filter(|(_, last)| last.at < before).take(max);
        let gone: Vec<AccountId> = gone.map(|(account, _)| account.clone()).collect();
        for account in &gone {
            generations.young.remove(account);
            generations.old.remove(account);
            generations.unsaved.remove(account);
        }
        gone
    }

    /// Takes up to `max` refusals that are not yet in the file.
    pub(super) fn take_unsaved(&self, max: usize) -> Vec<(AccountId, LastRefusal)> {
        let mut generations = self.0.lock();
        let some: Vec<AccountId> = generations.unsaved.iter().take(max).cloned().collect();
        let take = |account: AccountId| {
            generations.unsaved.remove(&account);
            generations.find(&account).cloned().map(|refusal| (account, refusal))
        };
        some.into_iter().filter_map(take).collect()
    }
}

impl Generations {
    fn find(&self, account: &AccountId) -> Option<&LastRefusal> {
        self.young.get(account).or_else(|| self.old.get(account))
    }

    fn put(&mut self, account: AccountId, refusal: LastRefusal) {
        if self.young.len() >= LAST_REFUSALS_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.unsaved.retain(|unsaved| self.old.contains_key(unsaved));
        }
        self.old.remove(&account);
        self.young.insert(account, refusal);
    }
}
