//! Erasing an account that several nodes share: out of Redis, and out of this node's copy.
//!
//! Its windows and its record are renamed by one script, which tells all nodes of it: whoever was admitted before is admitted anew, and finds
//! the window under the new name. The last changes that name the account leave the stream; a node that has not heard them reads all records anew.

use super::{
    Inner, RedisRecords,
    calls::{self, Erasure},
    draw,
};
use crate::{
    rules::identity,
    store::{
        BoxFuture, Changed, StoreError, records::Records as _, subjects::left_of, vault::Vault,
    },
    types::{Actor, Key, SubjectId, Timestamp, Unit},
};
use std::{path::PathBuf, sync::Arc};

impl Vault for RedisRecords {
    fn copy_to(&self, path: PathBuf) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.copy.copy_to(path)
    }

    fn erase<'a>(&'a self, subject: &'a SubjectId) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let number = self.inner.erase(subject).await?;
            let reached = self.inner.wait_for(|revision| revision.number >= number).await;
            if !reached {
                let late = "the records cannot be read in time; try again";
                return Err(StoreError::Unavailable(late.into()));
            }
            self.inner.copy.erase(subject).await?;
            self.inner.forget_changes(subject).await
        })
    }

    fn forget_refusals(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.inner.copy.forget_refusals(before)
    }

    fn subjects_known(&self) -> Vec<SubjectId> {
        self.inner.copy.subjects_known()
    }
}

impl Inner {
    /// Renames what Redis has of an account; returns the number of the change after which nobody uses the old names.
    async fn erase(&self, subject: &SubjectId) -> Result<i64, StoreError> {
        let _one_at_a_time = self.changes.lock().await;
        let alias = self.copy.alias_of(subject);
        let alias = alias.ok_or_else(|| StoreError::Damaged("there is no key".into()))?;
        let record = self.copy.subject(subject).await?;
        let tenant = match subject {
            SubjectId::Account(account) => {
                record.tenant.clone().unwrap_or_else(|| identity::tenant_of(account))
            }
            SubjectId::Tenant(tenant) => tenant.clone(),
        };
        let mut left = left_of(&record);
        // It marks, beside what it says, that windows of the account have other names.
        left.registered = true;
        let mut key = [0; 16];
        let no_random = |error| StoreError::Unavailable(format!("draw a key: {error}"));
        getrandom::fill(&mut key).map_err(no_random)?;
        let changed = Changed {
            number: 0,
            key,
            at: self.shared.clock.utc(),
            subject: alias.clone(),
            tenant: match &alias {
                SubjectId::Tenant(alias) => alias.clone(),
                SubjectId::Account(_) => tenant,
            },
            action: "record-erased".into(),
            before: None,
            after: None,
            reason: None,
            evidence: None,
            actor: Actor::automatic("privacy"),
        };
        let windows: Vec<[String; 4]> = Unit::ALL
            .into_iter()
            .map(|unit| self.shared.erased_names(&Key::of_subject(subject, unit)))
            .collect();
        let erasure = Erasure {
            subject,
            alias: &alias,
            left: &left,
            changed: &changed,
            marks: [draw()?, draw()?],
            windows: &windows,
        };
        let scripts = (&self.scripts, &self.names);
        let answer = self.call(async |redis| erasure.send(redis, scripts).await).await?;
        match (answer.state(), answer.rest()) {
            (calls::DONE, &[number, ..]) => Ok(number),
            (calls::BUSY, _) => {
                Err(StoreError::Conflict("mail of the account is under way".into()))
            }
            (calls::NO_RECORDS, _) => {
                self.more.notify_one();
                Err(StoreError::Unavailable("Redis has no records".into()))
            }
            _ => Err(StoreError::Unavailable("Redis was asked too late".into())),
        }
    }

    /// Takes changes that name an account out of the stream.
    async fn forget_changes(&self, subject: &SubjectId) -> Result<(), StoreError> {
        let (names, name) = (&self.names, calls::field_of(subject));
        // Of an account every change that names it; of a tenant, whose name is a part of its accounts' names, its own.
        let name = match subject {
            SubjectId::Account(account) => account.to_string(),
            SubjectId::Tenant(_) => name,
        };
        let name = name.as_str();
        let mut after = String::from("-");
        loop {
            let from = after.clone();
            let step =
                self.call(async |redis| calls::forget_changes(redis, names, &from, name).await);
            match step.await? {
                Some(last) => after = format!("({last}"),
                None => return Ok(()),
            }
        }
    }
}

impl super::super::Shared {
    /// The names of a window and of its buckets, and those that they have once the account is erased.
    fn erased_names(&self, key: &Key) -> [String; 4] {
        let prefix = &self.settings.prefix;
        let [window, older] = super::super::calls::names(prefix, key);
        let [new, new_older] = match self.disguise() {
            Some(copy) => {
                super::super::calls::names_of_erased(prefix, key, &copy.window_alias(key))
            }
            None => [window.clone(), older.clone()],
        };
        [window, older, new, new_older]
    }

    /// This node's copy of the records, which knows who was erased; none once it is closed.
    pub(in super::super) fn disguise(&self) -> Option<Arc<crate::store::sqlite::SqliteStore>> {
        self.copy.read().upgrade()
    }
}
