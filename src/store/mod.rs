//! What the past tells the future: charges ([`ledger`]), how senders behave ([`behaviour`]) and everything else that is kept
//! ([`records`]).
//!
//! Both are traits, so that the embedded store and a shared one pass the same contract tests. Only `sqlite` and `archive` know
//! rusqlite, only `redis` knows the crate of its name. [`archive`] keeps what is told later. The store decides nothing: whether there is room is `rules::window`'s to say.

pub mod archive;
pub mod backup;
pub mod behaviour;
pub mod inventory;
pub mod ledger;
pub mod mailboxes;
pub mod memory;
pub mod migrate;
pub mod records;
pub mod redis;
pub mod sqlite;
pub mod vault;
pub mod whole_file;

mod disguise;
mod name;
mod outbox;
mod pages;
mod refusals;
mod subjects;
mod table;
mod warned;
mod windows;

pub use outbox::Changed;

use crate::{
    rules::identity,
    types::{Key, SubjectId, TenantId},
};
use records::SubjectRecord;
use std::{future::Future, pin::Pin};

/// A boxed future, so that the traits can be used as objects; one small allocation for each call.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whose accounts are looked for.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// Everybody's.
    All,
    /// Those of one tenant.
    Of(&'a TenantId),
}

impl Whose<'_> {
    /// True of the accounts among these that belong to whom, as recorded or by their name.
    fn has(self, subject: &SubjectId, record: &SubjectRecord) -> bool {
        match (self, subject) {
            (Self::All, _) => true,
            (Self::Of(_), SubjectId::Tenant(_)) => false,
            (Self::Of(tenant), SubjectId::Account(account)) => match &record.tenant {
                Some(recorded) => recorded == tenant,
                None => identity::tenant_of(account) == *tenant,
            },
        }
    }

    /// True of the keys of accounts that belong to whom by their name.
    fn has_key(self, key: &str) -> bool {
        let Self::Of(tenant) = self else { return true };
        // Most are told apart without making a name of each.
        key.ends_with(tenant.as_str())
            && key.parse().is_ok_and(|key: Key| {
                let account = key.parts().name.parse();
                account.is_ok_and(|account| identity::tenant_of(&account) == *tenant)
            })
    }
}

/// Why the store could not do its work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or written now; the same call may work later.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// What it holds cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A bounded table is full.
    #[error("{what} is full ({max} entries)")]
    Full {
        /// Which table.
        what: &'static str,
        /// Its named maximum.
        max: usize,
    },
    /// The change does not fit what is recorded: unknown case, nothing to lift.
    #[error("{0}")]
    Conflict(String),
    /// It was asked on the ground of records that another node has changed since: read them again.
    #[error("the records have changed since they were read")]
    Outdated,
}
