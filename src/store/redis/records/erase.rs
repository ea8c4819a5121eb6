//! Erasing an account that several nodes share: out of Redis, and out of this node's copy.
//!
//! Its windows and its record are renamed by one script, which tells all nodes of it: whoever was admitted before is admitted anew, and finds
//! the window under the new name. On a Redis Cluster windows and records are in several slots: each window is copied first and closed in the moment
//! in which the copy is true, so that its account waits (451) until the records say where it is. The changes that name the account leave the
//! stream when all nodes have them.

use super::{
    super::{calls as window, codec},
    ATTEMPTS_MAX, Inner, RedisRecords,
    calls::{self, Erasure},
    draw,
};
use crate::{
    rules::identity,
    store::{
        BoxFuture, Changed, StoreError,
        records::Records as _,
        subjects::left_of,
        vault::{InTheWay, UpTo, Vault},
    },
    types::{Actor, Key, SubjectId, Timestamp, Unit},
};
use std::{path::PathBuf, sync::Arc};

impl Vault for RedisRecords {
    fn copy_to(&self, path: PathBuf) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.copy.copy_to(path)
    }

    fn erase<'a>(
        &'a self,
        subjects: &'a [SubjectId],
    ) -> BoxFuture<'a, Result<Vec<InTheWay>, StoreError>> {
        Box::pin(async move {
            let (mut refused, mut last) = (Vec::new(), 0);
            for subject in subjects {
                match self.inner.erase(subject).await {
                    Ok(number) => last = number,
                    Err(StoreError::Conflict(why)) => {
                        refused.push(InTheWay { subject: subject.clone(), why });
                    }
                    Err(error) => return Err(error),
                }
            }
            let reached = self.inner.wait_for(|revision| revision.number >= last).await;
            if !reached {
                let late = "the records cannot be read in time; try again";
                return Err(StoreError::Unavailable(late.into()));
            }
            Ok(refused)
        })
    }

    fn erase_here<'a>(
        &'a self,
        subjects: &'a [SubjectId],
    ) -> BoxFuture<'a, Result<Vec<InTheWay>, StoreError>> {
        Box::pin(async move {
            // Whoever knows what all others know may say that he needs nothing of before.
            let none = || StoreError::Unavailable("Redis has no records".into());
            let head = self.inner.read_head().await?.ok_or_else(none)?;
            let reached = self.inner.wait_for(|revision| revision.number >= head.number).await;
            if !reached {
                let late = "the records cannot be read in time; try again";
                return Err(StoreError::Unavailable(late.into()));
            }
            self.inner.copy.erase(subjects).await
        })
    }

    fn knows_erased(&self, subject: &SubjectId) -> bool {
        self.inner.copy.known_alias(subject).is_some()
    }

    fn cut_told(&self, up_to: UpTo) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (shared, scripts) = (&self.inner.shared, &self.inner.scripts);
            let events = super::super::stream::stream_name(&shared.settings.prefix);
            let changes = &self.inner.names.changes;
            for (name, up_to) in [(&events, up_to.events), (changes, up_to.changes)] {
                let at = shared.servers.at(name);
                let cut = shared
                    .call(&at, async |redis| calls::cut_stream(redis, scripts, name, up_to).await);
                if !cut.await? {
                    let text = format!("too much has come into {name} to cut it now");
                    return Err(StoreError::Unavailable(text));
                }
            }
            Ok(())
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
    /// Makes sure that names of erased accounts are made here as at all nodes: with the key in Redis, which is the own one if there was none.
    pub(super) async fn agree_on_key(&self) -> Result<(), StoreError> {
        let (own, name) = (self.copy.erasure_key()?, &self.names.erasure_key);
        let known = self.call(async |redis| calls::share_key(redis, name, &own).await).await?;
        if known == own {
            return Ok(());
        }
        let known =
            known.try_into().map_err(|_| StoreError::Damaged(format!("{name} is no key")))?;
        if self.copy.adopt_erasure_key(known).await? {
            return Ok(());
        }
        Err(StoreError::Damaged(format!(
            "{name} in Redis is another key of erased names than this gate's, which has names of its own: Redis lost it, and a gate that had none put another there; \
             stop the gates that were started since, delete {name}, and let this gate go on first"
        )))
    }

    /// Renames what Redis has of an account; returns the number of the change after which nobody uses the old names.
    async fn erase(&self, subject: &SubjectId) -> Result<i64, StoreError> {
        let _one_at_a_time = self.changes.lock().await;
        self.agree_on_key().await?;
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
        let is_apart = self.shared.servers.is_cluster();
        let erasure = Erasure {
            subject,
            alias: &alias,
            left: &left,
            changed: &changed,
            marks: [draw()?, draw()?],
            windows: if is_apart { &[] } else { &windows },
        };
        if is_apart {
            for window in &windows {
                self.hand_over(window).await?;
            }
        }
        let scripts = (&self.scripts, &self.names);
        let answer = self.call(async |redis| erasure.send(redis, scripts).await).await?;
        if is_apart && answer.state() == calls::DONE {
            for [window, ..] in &windows {
                let at = self.shared.servers.at(window);
                let dropped =
                    self.shared.call(&at, async |redis| calls::drop_window(redis, window).await);
                dropped.await?;
            }
        }
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

    /// Copies a window to its new name and closes it. One that is closed already was copied by an attempt that came no further.
    async fn hand_over(
        &self,
        [window, older, new, new_older]: &[String; 4],
    ) -> Result<(), StoreError> {
        let under_way = || StoreError::Conflict("mail of the account is under way".into());
        let shared = &self.shared;
        let (at, new_at) = (shared.servers.at(window), shared.servers.at(new));
        // What is written in it may say that it lives so long, and then nobody renews it before.
        let (names, lasts) = ([window.clone(), older.clone()], shared.time_to_live_max());
        // Who was erased before has mail under way under the new name.
        let new_names = [new.clone(), new_older.clone()];
        let read = shared.call(&new_at, async |redis| window::read(redis, &new_names).await);
        let (_, text, buckets) = read.await?;
        if text != calls::CLOSED && codec::decode(&text, &buckets)?.0.open > 0 {
            return Err(under_way());
        }
        for _ in 0..ATTEMPTS_MAX {
            let read = shared.call(&at, async |redis| window::read(redis, &names).await);
            let (_, text, buckets) = read.await?;
            if text == calls::CLOSED {
                return Ok(());
            }
            if codec::decode(&text, &buckets)?.0.open > 0 {
                return Err(under_way());
            }
            let (names, texts) = ([new, new_older], [&text[..], &buckets[..]]);
            if !text.is_empty() {
                let copied = shared.call(&new_at, async |redis| {
                    calls::copy_window(redis, names, texts, lasts).await
                });
                copied.await?;
            }
            let closed = shared.call(&at, async |redis| {
                calls::close_window(redis, &self.scripts, [window, older], &text).await
            });
            if closed.await? {
                return Ok(());
            }
        }
        Err(under_way())
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
