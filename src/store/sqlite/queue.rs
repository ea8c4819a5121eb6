//! What waits for the writer: journal octets, whoever waits for them to be durable, and other work.
//!
//! Callers append under one short lock; the writer takes everything at once, so a commit serves all who came meanwhile.
//! An ended reservation does not wake the writer: if it is lost in a crash, the reservation counts as sent.

use super::{super::StoreError, codec};
use crate::{
    event::LimitReached,
    store::{
        Changed,
        ledger::Reservation,
        records::SubjectRecord,
        sqlite::Takeover,
        windows::{CellRef, Locked},
    },
    types::{AccountId, SubjectId, Timestamp},
};
use parking_lot::{Condvar, Mutex};
use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{OwnedMutexGuard, oneshot};

/// Tells a waiter whether its work is in the file.
pub(super) type Done = oneshot::Sender<Result<(), String>>;

/// The queue between callers and the writer.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
}

struct Inner {
    batch: Batch,
    last_seq: u64,
    /// The writer waits for the condition.
    asleep: bool,
    /// Nothing more is taken.
    closed: bool,
}

/// What is written in one transaction.
#[derive(Default)]
pub(super) struct Batch {
    /// `Opened` entries; at most [`QUEUE_BYTES_MAX`] and the last entry.
    pub(super) opened: Vec<u8>,
    /// `Closed` entries; they are written after the opened ones. At most [`QUEUE_BYTES_MAX`], and the ends of reservations
    /// that were durable before it was reached.
    pub(super) closed: Vec<u8>,
    /// Whoever waits for the opened entries.
    pub(super) waiters: Vec<Done>,
    /// Cells that changed since they were last stored.
    pub(super) dirty: Vec<CellRef>,
    /// Limits that were reported.
    pub(super) warned: Vec<(LimitReached, Timestamp)>,
    /// Changes of records.
    pub(super) changes: Vec<ChangeTask>,
    /// Changes that the audit has.
    pub(super) cuts: Vec<Cut>,
    /// Records that other nodes have changed.
    pub(super) takeovers: Vec<TakeoverTask>,
    /// Copies of the file that are asked for.
    pub(super) copies: VecDeque<CopyTask>,
    /// Accounts whose last refusal is forgotten.
    pub(super) forgotten: Vec<AccountId>,
    /// Accounts that are erased.
    pub(super) erasures: Vec<EraseTask>,
    /// Whoever waits for the store to close.
    pub(super) closing: Option<Done>,
}

/// A change of a record on its way into the file. The guard keeps the next change waiting until this one is published.
pub(super) struct ChangeTask {
    pub(super) changed: Changed,
    pub(super) record: Arc<SubjectRecord>,
    pub(super) done: Done,
    /// What was left of the account when it was erased, which is in the record now.
    pub(super) replaces: Option<SubjectId>,
    pub(super) _one_at_a_time: OwnedMutexGuard<()>,
}

/// Records of other nodes on their way into the file.
pub(super) struct TakeoverTask {
    pub(super) takeover: Takeover,
    pub(super) done: Done,
}

/// An account or tenant on its way out of the file.
pub(super) struct EraseTask {
    pub(super) subject: SubjectId,
    /// The name under which what is left of its record stays.
    pub(super) alias: SubjectId,
    pub(super) left: Arc<SubjectRecord>,
    /// Hears when no octet of it is in the file any more.
    pub(super) done: Done,
}

/// A copy of the file, as it is when the copy ends.
pub(super) struct CopyTask {
    pub(super) path: PathBuf,
    pub(super) done: Done,
}

/// The changes up to this number leave the file.
pub(super) struct Cut {
    pub(super) up_to: i64,
    pub(super) done: Done,
}

impl Queue {
    pub(super) fn new(last_seq: u64) -> Self {
        let inner = Inner { batch: Batch::default(), last_seq, asleep: false, closed: false };
        Self { inner: Mutex::new(inner), wake: Condvar::new() }
    }

    /// The number of the last entry.
    pub(super) fn last_seq(&self) -> u64 {
        self.inner.lock().last_seq
    }

    /// Journals a reservation; the receiver hears when it is durable.
    pub(super) fn push_opened(
        &self,
        reservation: &mut Reservation,
    ) -> Result<oneshot::Receiver<Result<(), String>>, StoreError> {
        let charges = codec::encode_charges(reservation.charges());
        let (done, heard) = oneshot::channel();
        let mut inner = self.inner.lock();
        inner.check()?;
        inner.batch.check_room()?;
        if reservation.id == 0 {
            reservation.id = inner.next_seq();
        }
        codec::put_opened(&mut inner.batch.opened, reservation.id, &charges);
        inner.batch.waiters.push(done);
        self.wake(&mut inner);
        Ok(heard)
    }

    /// Journals charges that were settled; called with the cells locked, so that the order is that of the cells.
    ///
    /// The end of a durable reservation is always taken: there are no more of them than could be opened. Charges that were
    /// never durable are not, when the queue is full; the next checkpoint stores them with their cells.
    pub(super) fn push_closed(
        &self,
        id: u64,
        stamp: Timestamp,
        charges: &[u8],
        cells: &[CellRef],
        states: &mut Locked<'_>,
    ) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let seq = inner.next_seq();
        let room = if id == 0 { inner.batch.check_room() } else { Ok(()) };
        if room.is_ok() {
            codec::put_closed(&mut inner.batch.closed, id, seq, stamp, charges);
        }
        for (cell, state) in cells.iter().zip(states) {
            state.journal_seq = seq;
            if !std::mem::replace(&mut state.dirty, true) {
                inner.batch.dirty.push(cell.clone());
            }
        }
        room
    }

    /// Journals that a reservation was given back.
    pub(super) fn push_refunded(&self, id: u64) {
        codec::put_refunded(&mut self.inner.lock().batch.closed, id);
    }

    /// Notes a cell whose row in the file is to be written or deleted.
    pub(super) fn push_dirty(&self, cell: CellRef) {
        self.inner.lock().batch.dirty.push(cell);
    }

    /// Notes that a limit was reported.
    pub(super) fn push_warned(&self, reached: LimitReached, at: Timestamp) {
        let mut inner = self.inner.lock();
        if inner.batch.warned.len() < WARNED_QUEUE_MAX {
            inner.batch.warned.push((reached, at));
        }
    }

    pub(super) fn push_change(&self, task: ChangeTask) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        inner.batch.changes.push(task);
        self.wake(&mut inner);
        Ok(())
    }

    pub(super) fn push_cut(&self, cut: Cut) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        inner.batch.cuts.push(cut);
        self.wake(&mut inner);
        Ok(())
    }

    pub(super) fn push_takeover(&self, task: TakeoverTask) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        inner.batch.takeovers.push(task);
        self.wake(&mut inner);
        Ok(())
    }

    pub(super) fn push_copy(&self, task: CopyTask) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        inner.batch.copies.push_back(task);
        self.wake(&mut inner);
        Ok(())
    }

    pub(super) fn push_erasure(&self, task: EraseTask) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        inner.batch.erasures.push(task);
        self.wake(&mut inner);
        Ok(())
    }

    /// Notes accounts whose last refusal leaves the file.
    pub(super) fn push_forgotten(&self, mut accounts: Vec<AccountId>) {
        self.inner.lock().batch.forgotten.append(&mut accounts);
    }

    /// Asks the writer to store everything and end.
    pub(super) fn push_closing(&self, done: Done) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        inner.closed = true;
        inner.batch.closing = Some(done);
        self.wake(&mut inner);
        Ok(())
    }

    /// Takes nothing more, and ends the writer without a final checkpoint.
    pub(super) fn abandon(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        self.wake(&mut inner);
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.inner.lock().check()
    }

    /// Waits until somebody waits for the writer, at most this long. True if the queue was abandoned.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let mut inner = self.inner.lock();
        if !inner.is_urgent() && !at_most.is_zero() {
            inner.asleep = true;
            self.wake.wait_for(&mut inner, at_most);
            inner.asleep = false;
        }
        inner.closed && inner.batch.closing.is_none()
    }

    /// Takes everything but the dirty cells.
    pub(super) fn take(&self) -> Batch {
        let mut inner = self.inner.lock();
        let dirty = std::mem::take(&mut inner.batch.dirty);
        std::mem::replace(&mut inner.batch, Batch { dirty, ..Batch::default() })
    }

    /// Takes everything with the dirty cells: all that is journaled up to here is in one of them, or stored already.
    pub(super) fn take_with_dirty(&self) -> Batch {
        std::mem::take(&mut self.inner.lock().batch)
    }

    /// Puts back what must be written at the next attempt.
    pub(super) fn put_back(&self, mut batch: Batch) {
        let mut inner = self.inner.lock();
        batch.closed.append(&mut inner.batch.closed);
        inner.batch.closed = batch.closed;
        inner.batch.dirty.append(&mut batch.dirty);
        inner.batch.forgotten.append(&mut batch.forgotten);
    }
}

impl Batch {
    fn check_room(&self) -> Result<(), StoreError> {
        if self.opened.len().max(self.closed.len()) < QUEUE_BYTES_MAX {
            return Ok(());
        }
        let full = format!("the journal's queue is full ({QUEUE_BYTES_MAX} octets)");
        Err(StoreError::Unavailable(full))
    }
}

impl Inner {
    fn check(&self) -> Result<(), StoreError> {
        if self.closed {
            return Err(StoreError::Unavailable("the store is closed".into()));
        }
        Ok(())
    }

    fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    fn is_urgent(&self) -> bool {
        let batch = &self.batch;
        let own = !batch.changes.is_empty() || !batch.cuts.is_empty();
        let records = own || !batch.takeovers.is_empty() || !batch.copies.is_empty();
        let records = records || !batch.erasures.is_empty();
        self.closed || !batch.waiters.is_empty() || records
    }
}

impl Queue {
    fn wake(&self, inner: &mut Inner) {
        if std::mem::replace(&mut inner.asleep, false) {
            self.wake.notify_one();
        }
    }
}

/// Journal octets of either half that may wait for one commit; beyond it a reservation cannot be made durable.
pub(super) const QUEUE_BYTES_MAX: usize = if cfg!(test) { 8_000 } else { 16 << 20 };
const WARNED_QUEUE_MAX: usize = 10_000;
