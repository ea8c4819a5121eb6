//! The store without a file: the same ledger and records as the embedded store, forgotten at the end. For tests and trials.

use super::{
    BoxFuture, StoreError, Whose,
    ledger::{Granted, Ledger, Request, Reservation, Settlement, Usage},
    outbox::{Changed, Outbox},
    records::{Change, Choice, LastRefusal, Recorded, Records, SubjectKind, SubjectRecord},
    refusals::Refusals,
    subjects::{Subjects, apply},
    vault::{InTheWay, Vault},
    windows::{self, KEYS_MAX, Windows},
};
use crate::{
    event::{LimitHit, LimitReached},
    types::{AccountId, Key, Limit, Scope, SubjectId, Timestamp},
};
use parking_lot::Mutex;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Ledger and records in memory only.
pub struct MemoryStore {
    windows: Windows,
    subjects: Subjects,
    refusals: Refusals,
    changes: Mutex<()>,
    outbox: Outbox,
}

impl MemoryStore {
    /// An empty store that keeps charges for `history` and stamps unknown ones later by `unknown_margin`.
    #[must_use]
    pub fn new(history: Duration, unknown_margin: Duration) -> Self {
        Self {
            windows: Windows::new(history, unknown_margin, KEYS_MAX),
            subjects: Subjects::default(),
            refusals: Refusals::default(),
            changes: Mutex::new(()),
            outbox: Outbox::default(),
        }
    }

    /// What [`Ledger::reserve`] does, without its future: the decision alone, for whoever times it.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there is no place for a new window.
    pub fn reserve_now(
        &self,
        reservation: &mut Reservation,
        request: &Request,
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        self.windows.reserve(reservation, request, now)
    }

    /// Keeps charges for this long from now on.
    pub fn set_history(&self, history: Duration) {
        self.windows.set_history(history);
    }

    /// Forgets what no window sees and evicts keys that have nothing left.
    pub fn sweep(&self, now: Timestamp) {
        self.windows.sweep(now, |_| ());
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// True if there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Vault for MemoryStore {
    fn copy_to(&self, _: PathBuf) -> BoxFuture<'_, Result<(), StoreError>> {
        let text = "the store is in memory only".to_owned();
        Box::pin(async { Err(StoreError::Unavailable(text)) })
    }

    fn erase<'a>(
        &'a self,
        subjects: &'a [SubjectId],
    ) -> BoxFuture<'a, Result<Vec<InTheWay>, StoreError>> {
        for subject in subjects {
            if let SubjectId::Account(account) = subject {
                self.refusals.forget(account);
            }
        }
        Box::pin(async { Ok(Vec::new()) })
    }

    fn forget_refusals(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        let gone = self.refusals.forget_old(before, usize::MAX).len();
        Box::pin(async move { Ok(gone) })
    }

    fn subjects_known(&self) -> Vec<SubjectId> {
        Vec::new()
    }
}

impl Ledger for MemoryStore {
    fn reserve<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        request: Request,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Granted, StoreError>> {
        Box::pin(async move { self.reserve_now(reservation, &request, now) })
    }

    fn release<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        recipients: u32,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.windows.note_time(now);
            windows::release(reservation, recipients);
            Ok(())
        })
    }

    fn make_durable<'a>(
        &'a self,
        reservation: &'a mut Reservation,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            reservation.durable = true;
            Ok(())
        })
    }

    fn settle<'a>(
        &'a self,
        mut reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<LimitReached>, StoreError>> {
        Box::pin(
            async move { Ok(self.windows.settle(&mut reservation, settlement, now, |_, _, _| ())) },
        )
    }

    fn usage<'a>(
        &'a self,
        key: &'a Key,
        limits: &'a [Limit],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Usage>, StoreError>> {
        Box::pin(async move { Ok(self.windows.usage(key, limits, now)) })
    }

    fn knows<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.windows.knows(key)) })
    }

    fn keys<'a>(
        &'a self,
        scope: Scope,
        whose: Whose<'a>,
        after: Option<&'a Key>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        Box::pin(async move { Ok(self.windows.keys(scope, whose, after, max)) })
    }
}

impl Records for MemoryStore {
    fn subject<'a>(
        &'a self,
        subject: &'a SubjectId,
    ) -> BoxFuture<'a, Result<Arc<SubjectRecord>, StoreError>> {
        Box::pin(async move { Ok(self.subjects.find(subject)) })
    }

    fn change<'a>(
        &'a self,
        change: Change,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Arc<SubjectRecord>, StoreError>> {
        Box::pin(async move {
            let _one_at_a_time = self.changes.lock();
            let before = self.subjects.find(&change.subject);
            let record = Arc::new(apply(&before, &change, now)?);
            self.subjects.check_room(&change.subject)?;
            self.outbox.push(Changed::draw(self.outbox.next_number()?, &before, &change, now)?);
            self.subjects.put(change.subject, record.clone());
            Ok(record)
        })
    }

    fn subjects<'a>(
        &'a self,
        kind: SubjectKind,
        whose: Whose<'a>,
        after: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, StoreError>> {
        Box::pin(async move { Ok(self.subjects.list(kind, whose, after, max)) })
    }

    fn chosen<'a>(
        &'a self,
        choice: Choice<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, StoreError>> {
        Box::pin(async move { Ok(self.subjects.chosen(choice, max)) })
    }

    fn changes_waiting(&self, max: usize) -> BoxFuture<'_, Result<Vec<Changed>, StoreError>> {
        Box::pin(async move { Ok(self.outbox.oldest(max).await) })
    }

    fn cut_changes(&self, up_to: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.outbox.cut(up_to);
            Ok(())
        })
    }

    fn note_refusal(
        &self,
        account: &AccountId,
        at: Timestamp,
        reply: &str,
        limit: Option<&LimitHit>,
    ) {
        self.refusals.note(account, at, reply, limit);
    }

    fn last_refusal<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BoxFuture<'a, Result<Option<LastRefusal>, StoreError>> {
        Box::pin(async move { Ok(self.refusals.find(account)) })
    }

    fn high_water(&self) -> Timestamp {
        self.windows.latest()
    }
}
