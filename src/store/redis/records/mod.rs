//! The records that several nodes share: the truth in one Redis, and a whole copy at each node, which its reads see.
//!
//! A change is one call of `change.lua`: it is written if the record still is what the change was made from, gets the next number, and
//! is told to all nodes through a stream. [`follower`] takes the stream over into this node's own database, so that a MAIL
//! costs no round trip and the audit of every node has every change. What a message was admitted on is compared by the script that
//! reserves its first recipients ([`Reservation::following`](crate::store::ledger::Reservation::following)): a node
//! that is behind reads again before it grants anything.
//!
//! What one node is enough for is done by whoever has the lease for it ([`Records::leads`]).

pub(super) mod calls;
mod erase;
mod follower;

use self::calls::{Names, Scripts, Write};
use super::{RedisLedger, Shared, link::Connection};
use crate::{
    event::LimitHit,
    store::{
        BoxFuture, Changed, StoreError, Whose,
        records::{
            Change, Choice, LastRefusal, Recorded, Records, Revision, SubjectKind, SubjectRecord,
            Task,
        },
        sqlite::SqliteStore,
        subjects::apply,
    },
    types::{AccountId, SubjectId, Timestamp},
};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

/// The shared records.
pub struct RedisRecords {
    inner: Arc<Inner>,
    /// Until it is closed.
    follower: Mutex<Option<JoinHandle<()>>>,
}

/// What callers and the task that follows the others have in common.
struct Inner {
    shared: Arc<Shared>,
    /// This node's copy.
    copy: Arc<SqliteStore>,
    names: Names,
    scripts: Scripts,
    /// One change of this node at a time, so that they do not stand in one another's way; only other nodes' do.
    changes: tokio::sync::Mutex<()>,
    /// This node's name in leases.
    node: String,
    /// What the copy has in it; none while it is a mixture.
    revision: watch::Sender<Option<Revision>>,
    /// Somebody knows that there is more.
    more: Notify,
    /// Why the copy cannot be brought up to date, until it can.
    failure: Mutex<Option<String>>,
}

impl RedisRecords {
    /// Starts following the changes of all nodes, from where this node's copy ended. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the system has no random numbers.
    pub fn start(ledger: &RedisLedger, copy: Arc<SqliteStore>) -> Result<Arc<Self>, StoreError> {
        *ledger.shared.copy.write() = Arc::downgrade(&copy);
        let revision = watch::Sender::new(copy.revision_at_start());
        let inner = Arc::new(Inner {
            shared: ledger.shared.clone(),
            names: Names::new(&ledger.shared.settings.prefix),
            scripts: Scripts::default(),
            changes: tokio::sync::Mutex::default(),
            node: format!("{:016x}", draw()?),
            revision,
            copy,
            more: Notify::new(),
            failure: Mutex::new(Some(NOT_READ.into())),
        });
        let follower = Mutex::new(Some(tokio::spawn(inner.clone().run_follower())));
        Ok(Arc::new(Self { inner, follower }))
    }

    /// Follows no more, and lets the copy go. What it has is durable.
    pub async fn close(&self) {
        let follower = self.follower.lock().take();
        if let Some(follower) = follower {
            follower.abort();
            // It was told to end, so how it did says nothing.
            let _ = follower.await;
        }
    }

    /// Why this node does not know what the records are; none if it does.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.inner.failure.lock().clone()
    }
}

impl Drop for RedisRecords {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.lock().take() {
            follower.abort();
        }
    }
}

impl Inner {
    /// Makes a change of the record as it is in Redis, whatever the copy has.
    async fn change(
        &self,
        change: &Change,
        now: Timestamp,
    ) -> Result<Arc<SubjectRecord>, StoreError> {
        self.copy.check_room(&change.subject)?;
        let (number, record) = self.write(change, now).await?;
        // It is made, whether or not the copy has it in time.
        self.wait_for(|revision| revision.number >= number).await;
        Ok(Arc::new(record))
    }

    /// Writes a change; its number, and the record after it.
    async fn write(
        &self,
        change: &Change,
        now: Timestamp,
    ) -> Result<(i64, SubjectRecord), StoreError> {
        let _one_at_a_time = self.changes.lock().await;
        // Of an account that was erased everything stands under its other name, also if it comes back.
        let of_erased = self.copy.known_alias(&change.subject);
        let of_erased = of_erased.map(|subject| Change { subject, ..change.clone() });
        let change = of_erased.as_ref().unwrap_or(change);
        for _ in 0..ATTEMPTS_MAX {
            if let Some(written) = self.try_to_write(change, now).await? {
                return Ok(written);
            }
        }
        Err(StoreError::Conflict(format!("{} is being changed by others", change.subject)))
    }

    /// The same; none if another node changed the record meanwhile.
    async fn try_to_write(
        &self,
        change: &Change,
        now: Timestamp,
    ) -> Result<Option<(i64, SubjectRecord)>, StoreError> {
        let (names, subject) = (&self.names, &change.subject);
        let seen = self.call(async |redis| calls::find(redis, names, subject).await);
        let seen = seen.await?;
        let before = calls::record_of(&seen)?;
        let record = apply(&before, change, now)?;
        let changed = Changed::draw(0, &before, change, now)?;
        let write =
            Write { subject, seen: &seen, record: &record, changed: &changed, mark: draw()? };
        let scripts = (&self.scripts, names);
        let answer = self.call(async |redis| write.send(redis, scripts).await).await?;
        match (answer.state(), answer.rest()) {
            (calls::DONE, &[number, ..]) => Ok(Some((number, record))),
            (calls::LATE, _) => Err(StoreError::Unavailable("Redis was asked too late".into())),
            (calls::NO_RECORDS, _) => {
                self.more.notify_one();
                Err(StoreError::Unavailable("Redis has no records".into()))
            }
            _ => Ok(None),
        }
    }

    /// Waits until the copy is as far as this, at most as long as Redis may take; false if it is not.
    async fn wait_for(&self, is_reached: impl Fn(Revision) -> bool) -> bool {
        let mut revision = self.revision.subscribe();
        self.more.notify_one();
        let reached = revision.wait_for(|revision| revision.is_some_and(&is_reached));
        tokio::time::timeout(self.shared.settings.timeout, reached).await.is_ok()
    }

    /// The copy, if it is one.
    fn copy(&self) -> Result<&SqliteStore, StoreError> {
        self.revision().map(|_| &*self.copy)
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        let revision = *self.revision.borrow();
        revision.ok_or_else(|| StoreError::Unavailable(NOT_READ.into()))
    }

    /// Does something where the records are.
    async fn call<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, ::redis::RedisError> + Copy,
    ) -> Result<T, StoreError> {
        self.shared.call(&self.shared.records_at, work).await
    }

    async fn leads(&self, task: &str) -> Result<Option<calls::Lease>, StoreError> {
        let (scripts, asked) = ((&self.scripts, &self.names), (task, self.node.as_str()));
        self.call(async |redis| calls::lease(redis, scripts, asked).await).await
    }
}

impl Records for RedisRecords {
    fn subject<'a>(
        &'a self,
        subject: &'a SubjectId,
    ) -> BoxFuture<'a, Result<Arc<SubjectRecord>, StoreError>> {
        Box::pin(async move { self.inner.copy()?.subject(subject).await })
    }

    fn change<'a>(
        &'a self,
        change: Change,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Arc<SubjectRecord>, StoreError>> {
        Box::pin(async move { self.inner.change(&change, now).await })
    }

    fn subjects<'a>(
        &'a self,
        kind: SubjectKind,
        whose: Whose<'a>,
        after: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, StoreError>> {
        Box::pin(async move { self.inner.copy()?.subjects(kind, whose, after, max).await })
    }

    fn chosen<'a>(
        &'a self,
        choice: Choice<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, StoreError>> {
        Box::pin(async move { self.inner.copy()?.chosen(choice, max).await })
    }

    fn changes_waiting(&self, max: usize) -> BoxFuture<'_, Result<Vec<Changed>, StoreError>> {
        self.inner.copy.changes_waiting(max)
    }

    fn cut_changes(&self, up_to: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.copy.cut_changes(up_to)
    }

    fn note_refusal(
        &self,
        account: &AccountId,
        at: Timestamp,
        reply: &str,
        limit: Option<&LimitHit>,
    ) {
        self.inner.copy.note_refusal(account, at, reply, limit);
    }

    fn last_refusal<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BoxFuture<'a, Result<Option<LastRefusal>, StoreError>> {
        self.inner.copy.last_refusal(account)
    }

    fn high_water(&self) -> Timestamp {
        self.inner.copy.high_water()
    }

    fn revision(&self) -> Result<Option<Revision>, StoreError> {
        self.inner.revision().map(Some)
    }

    fn catch_up(&self, behind: Option<Revision>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let is_ahead = self.inner.wait_for(|revision| Some(revision) != behind).await;
            let late = || StoreError::Unavailable("the records cannot be read in time".into());
            if is_ahead { Ok(()) } else { Err(late()) }
        })
    }

    /// What is written under a lease has to fit what was seen, as [`What::Judge`](crate::store::records::What::Judge)
    /// has, so that a node which stood still while its lease ran out writes over nothing.
    fn leads(&self, task: Task) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let name = match task {
                Task::EndSuspensions => "suspensions",
                Task::TellChanges => "changes",
                Task::SendAlerts => "alerts",
                Task::AskBlocklists => "blocklists",
                Task::TellBudget => "budget",
                Task::SendReports => "reports",
                Task::Erase => "erasures",
            };
            Ok(self.inner.leads(name).await?.is_some())
        })
    }
}

pub(super) fn draw() -> Result<i64, StoreError> {
    let mut octets = [0; 8];
    let no_random = |error| StoreError::Unavailable(format!("draw a number: {error}"));
    getrandom::fill(&mut octets).map_err(no_random)?;
    Ok(i64::from_be_bytes(octets))
}

const NOT_READ: &str = "the records have not been read from Redis yet";
/// How often a change is tried while other nodes change the same record.
const ATTEMPTS_MAX: usize = 16;
