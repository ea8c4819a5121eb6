//! The one thread that writes the file.
//!
//! It takes what has gathered, writes it in one transaction, and then tells those who wait. Now and then it makes a
//! checkpoint, some cells per transaction: (1) it takes the list of dirty cells together with the journal octets, whose row
//! is the last one that the checkpoint covers; (2) it stores each cell with the number of the last journal entry in it; the
//! octets are taken *after* the cells were encoded, so that no stored cell is ahead of the journal; (3) it repeats the
//! open reservations in a new row and cuts the covered rows. A crash between any two of these loses nothing and counts
//! nothing twice: a replay applies to a cell only the entries that are later than its number.

use super::{
    Medium, Shared,
    codec::{self, Entry},
    copy,
    queue::{Batch, CopyTask, Done, Queue},
    rows, schema,
};
use crate::{
    clock::{Anchor, Clock, steady_now},
    event::{Event, Events, Trouble},
    store::{
        records::{LAST_REFUSALS_MAX, LastRefusal, SubjectRecord},
        sqlite::Takeover,
        windows::CellRef,
    },
    types::{AccountId, Timestamp},
};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// The writer's own state.
pub(super) struct Writer {
    medium: Medium,
    shared: Arc<Shared>,
    clock: Clock,
    events: Events,
    /// The octets of the durable reservations that have not ended.
    open: HashMap<u64, Box<[u8]>>,
    last_row: i64,
    /// Journal octets since the last checkpoint began.
    journal_bytes: usize,
    checkpoint: Option<Checkpoint>,
    /// Pages that are to be given back to the file system.
    surplus_pages: i64,
    checkpointed: Instant,
    committed: Instant,
    failing: bool,
    /// The time was written since the start.
    time_noted: bool,
    ending: Ending,
    /// Refusals saved since the table was last trimmed.
    refusals_saved: usize,
    /// Copies that are asked for.
    copies: VecDeque<CopyTask>,
    /// One is being made.
    copying: bool,
    cleaning: Cleaning,
}

/// Whether the writer goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    More,
    Last,
}

/// Who waits for the file to hold nothing any more that was deleted.
#[derive(Default)]
struct Cleaning {
    /// For a checkpoint that has not begun.
    wanted: Vec<Done>,
    /// For the one that goes on.
    begun: Vec<Done>,
}

/// How far the end of the store has come.
enum Ending {
    No,
    /// Somebody asked; the last checkpoint has not begun.
    Asked(Done),
    /// The last checkpoint has begun.
    Last(Done),
}

/// A checkpoint that is going on.
struct Checkpoint {
    /// Cells that are not stored yet.
    todo: Vec<CellRef>,
    /// The last row that may be cut when they all are.
    covers: i64,
    /// The rows up to here are cut; none before the open reservations were repeated.
    cut: Option<i64>,
}

/// What one transaction writes.
struct Work {
    batch: Batch,
    cells: Vec<(CellRef, Option<Stored>)>,
    cut_to: Option<i64>,
    carried: Vec<u8>,
    refusals: Vec<(AccountId, LastRefusal)>,
    /// How many free pages are given back to the file system.
    pages: i64,
    now: Timestamp,
    /// The time is written beside it.
    notes_time: bool,
    /// The same moment on the boot-time clock.
    anchor: Option<Anchor>,
}

/// A cell as it is stored; none stands for a row to delete.
struct Stored {
    seq: u64,
    log: Vec<u8>,
}

impl Writer {
    pub(super) fn new(medium: Medium, shared: Arc<Shared>, clock: &Clock, events: Events) -> Self {
        let now = steady_now();
        Self {
            medium,
            shared,
            clock: clock.clone(),
            events,
            open: HashMap::new(),
            last_row: 0,
            journal_bytes: 0,
            checkpoint: None,
            surplus_pages: 0,
            checkpointed: now,
            committed: now,
            failing: false,
            time_noted: false,
            ending: Ending::No,
            refusals_saved: 0,
            copies: VecDeque::new(),
            copying: false,
            cleaning: Cleaning::default(),
        }
    }

    /// Goes on after the rows that the file has.
    pub(super) fn after_row(mut self, last_row: i64, journal_bytes: usize) -> Self {
        (self.last_row, self.journal_bytes) = (last_row, journal_bytes);
        self
    }

    /// Writes until the store is closed or dropped.
    pub(super) fn run(mut self, db: &Connection) {
        let _closes = CloseOnExit(self.shared.clone());
        loop {
            if self.turn(db) == Turn::Last {
                return;
            }
            while let Some(task) = self.copies.pop_front() {
                if self.copy(db, task) == Turn::Last {
                    return;
                }
            }
        }
    }

    /// One transaction with what has gathered.
    fn turn(&mut self, db: &Connection) -> Turn {
        let abandoned = self.queue().wait(self.patience());
        if abandoned && matches!(self.ending, Ending::No) {
            return Turn::Last;
        }
        self.pace();
        let work = self.gather();
        self.write(db, work);
        self.clean(db);
        if self.may_end() { Turn::Last } else { Turn::More }
    }

    /// When the checkpoint that was wanted has ended the journal has nothing of before: then the file is written anew, so that no
    /// page holds anything that was deleted, and so is its log. Whoever is about to hand on a message waits for that.
    fn clean(&mut self, db: &Connection) {
        if self.cleaning.begun.is_empty() || self.checkpoint.is_some() || self.failing {
            return;
        }
        let cleaned = schema::rewrite(db)
            .and_then(|()| schema::empty_log(db))
            .map_err(|error| self.medium.explain(&error));
        for done in self.cleaning.begun.drain(..) {
            let _ = done.send(cleaned.clone());
        }
    }

    /// Copies the file, some pages after each transaction, so that nobody waits for it.
    fn copy(&mut self, db: &Connection, task: CopyTask) -> Turn {
        self.copying = true;
        let mut turn = Turn::More;
        let copied = copy::copy(db, &task.path, || {
            turn = self.turn(db);
            turn == Turn::More
        });
        self.copying = false;
        let _ = task.done.send(copied);
        turn
    }

    fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    /// How long to wait for somebody who waits.
    fn patience(&self) -> Duration {
        let working = self.checkpoint.is_some() || self.surplus_pages > 0 || self.copying;
        let working = working || !self.cleaning.wanted.is_empty();
        let busy = working || !matches!(self.ending, Ending::No);
        if busy && !self.failing { Duration::ZERO } else { TICK }
    }

    /// Lets some more gather when commits follow closely; a lone message never waits here.
    fn pace(&self) {
        let since = steady_now().saturating_duration_since(self.committed);
        std::thread::sleep(COMMIT_INTERVAL_MIN.saturating_sub(since));
    }

    /// Collects the work of one transaction. Cells are encoded first: see the module's text.
    fn gather(&mut self) -> Work {
        let now = self.clock.now().max(self.shared.windows.latest());
        let cells = self.encode_cells(now);
        let starts = self.checkpoint.is_none() && self.is_checkpoint_due();
        let mut batch = match () {
            () if starts => self.queue().take_with_dirty(),
            // Callers wait until the checkpoint has caught up, or hear that the queue is full.
            () if self.checkpoint.is_some() && self.journal_bytes >= JOURNAL_BYTES_MAX => {
                Batch::default()
            }
            () => self.queue().take(),
        };
        if starts {
            let todo = std::mem::take(&mut batch.dirty);
            self.start_checkpoint(todo, &batch);
        }
        self.copies.append(&mut batch.copies);
        if let Some(done) = batch.closing.take() {
            self.ending = Ending::Asked(done);
        }
        let (cut_to, carried) = self.next_cut(&cells);
        let refusals = self.shared.refusals.take_unsaved(REFUSALS_BATCH_MAX);
        // While writes fail, noting the time is the probe.
        let notes_time = cut_to.is_some()
            || !batch.changes.is_empty()
            || self.is_high_water_due(now)
            || self.failing;
        let pages = self.surplus_pages.clamp(0, PAGES_BATCH_MAX);
        let anchor = notes_time.then(|| self.clock.anchor()).flatten();
        Work { batch, cells, cut_to, carried, refusals, pages, now, notes_time, anchor }
    }

    fn is_checkpoint_due(&self) -> bool {
        let age = steady_now().saturating_duration_since(self.checkpointed);
        let old = age >= CHECKPOINT_INTERVAL && self.journal_bytes > 0;
        let is_wanted = matches!(self.ending, Ending::Asked(_)) || !self.cleaning.wanted.is_empty();
        self.journal_bytes >= CHECKPOINT_BYTES || old || is_wanted
    }

    fn start_checkpoint(&mut self, todo: Vec<CellRef>, batch: &Batch) {
        let adds_row = !batch.opened.is_empty() || !batch.closed.is_empty();
        let covers = self.last_row + i64::from(adds_row);
        self.checkpoint = Some(Checkpoint { todo, covers, cut: None });
        self.checkpointed = steady_now();
        self.cleaning.begun.append(&mut self.cleaning.wanted);
        self.journal_bytes = 0;
        self.ending = match std::mem::replace(&mut self.ending, Ending::No) {
            Ending::Asked(done) => Ending::Last(done),
            other => other,
        };
    }

    fn encode_cells(&mut self, now: Timestamp) -> Vec<(CellRef, Option<Stored>)> {
        let Some(checkpoint) = &mut self.checkpoint else { return Vec::new() };
        let from = checkpoint.todo.len().saturating_sub(CELLS_BATCH_MAX);
        let windows = &self.shared.windows;
        let encode = |present: &CellRef| {
            let mut state = present.state().lock();
            state.dirty = false;
            state.log.prune(now, windows.history());
            let log = (!state.log.is_empty()).then(|| codec::encode_log(&state.log))?;
            Some(Stored { seq: state.journal_seq, log })
        };
        let mut encoded = Vec::with_capacity(CELLS_BATCH_MAX);
        for cell in checkpoint.todo.drain(from..) {
            // The cell may have been evicted, and its key may have a new one.
            let stored = windows.find(cell.name()).as_ref().and_then(encode);
            // Or it was erased: what it had is stored under its other name before the journal of it is cut.
            if let Some(left) = windows.find_erased(cell.name()) {
                let left_stored = encode(&left);
                encoded.push((left, left_stored));
            }
            encoded.push((cell, stored));
        }
        encoded
    }

    /// The rows to cut now and, the first time, the open reservations to repeat.
    fn next_cut(&self, cells: &[(CellRef, Option<Stored>)]) -> (Option<i64>, Vec<u8>) {
        match &self.checkpoint {
            Some(Checkpoint { todo, covers, cut }) if todo.is_empty() && cells.is_empty() => {
                match cut {
                    None => (
                        Some(0),
                        self.open.values().flat_map(|entry| entry.iter().copied()).collect(),
                    ),
                    Some(cut) => ((cut + ROWS_CUT_MAX).min(*covers).into(), Vec::new()),
                }
            }
            _ => (None, Vec::new()),
        }
    }

    fn write(&mut self, db: &Connection, work: Work) {
        match self.transact(db, &work) {
            Ok(last_row) => self.succeed(db, work, last_row),
            Err(error) => self.fail(work, &error),
        }
        self.committed = steady_now();
    }

    fn transact(&self, db: &Connection, work: &Work) -> rusqlite::Result<i64> {
        let mut row = self.last_row;
        if work.is_empty() && !work.notes_time {
            return Ok(row);
        }
        #[cfg(test)]
        self.shared.fault()?;
        let behavior = TransactionBehavior::Immediate;
        let transaction = Transaction::new_unchecked(db, behavior)?;
        for entries in [&[work.carried.as_slice()][..], &[&work.batch.opened, &work.batch.closed]] {
            if entries.iter().any(|some| !some.is_empty()) {
                row += 1;
                let at = work.now.as_millis();
                transaction.prepare_cached(schema::ADD_JOURNAL)?.execute(params![
                    row,
                    at,
                    entries.concat()
                ])?;
            }
        }
        write_rest(&transaction, work)?;
        if self.refusals_saved > LAST_REFUSALS_MAX {
            rows::trim_refusals(&transaction)?;
        }
        transaction.commit()?;
        Ok(row)
    }

    fn is_high_water_due(&self, now: Timestamp) -> bool {
        !self.time_noted || now.since(self.shared.high_water()) >= HIGH_WATER_IDLE
    }

    fn succeed(&mut self, db: &Connection, work: Work, last_row: i64) {
        let Work { mut batch, carried, cut_to, now, notes_time, refusals, pages, .. } = work;
        self.surplus_pages -= pages;
        self.refusals_saved = self.refusals_saved % (LAST_REFUSALS_MAX + 1) + refusals.len();
        if last_row > self.last_row || notes_time {
            self.shared.note_high_water(now);
        }
        self.time_noted |= notes_time;
        self.last_row = last_row;
        self.journal_bytes += carried.len() + batch.opened.len() + batch.closed.len();
        if std::mem::take(&mut self.failing) {
            *self.shared.failure.lock() = None;
            self.events.tell(now, &Event::StoreRecovered);
        }
        self.follow(&batch);
        for waiter in batch.waiters.drain(..) {
            let _ = waiter.send(Ok(()));
        }
        for task in batch.erasures.drain(..) {
            // In this order, so that who is suspended is never free for a moment.
            if *task.left != SubjectRecord::default() {
                self.shared.subjects.put(task.alias, task.left);
            }
            self.shared.subjects.put(task.subject, Arc::default());
            self.cleaning.wanted.push(task.done);
        }
        for task in batch.changes.drain(..) {
            self.shared.subjects.put(task.changed.subject.clone(), task.record);
            if let Some(left) = task.replaces {
                self.shared.subjects.put(left, Arc::default());
            }
            self.shared.outbox.push(task.changed);
            let _ = task.done.send(Ok(()));
        }
        for task in batch.takeovers.drain(..) {
            let Takeover { records, changes, .. } = task.takeover;
            records.into_iter().for_each(|(who, record)| self.shared.subjects.put(who, record));
            changes.into_iter().for_each(|changed| self.shared.outbox.push(changed));
            let _ = task.done.send(Ok(()));
        }
        for cut in batch.cuts.drain(..) {
            self.shared.outbox.cut(cut.up_to);
            let _ = cut.done.send(Ok(()));
        }
        self.advance_checkpoint(db, cut_to);
    }

    /// Keeps the list of open reservations in step with the journal.
    fn follow(&mut self, batch: &Batch) {
        for entries in [&batch.opened, &batch.closed] {
            let open = &mut self.open;
            let read = codec::for_each_entry(entries, |entry, octets| match entry {
                Entry::Opened { id, .. } => {
                    open.insert(id, octets.into());
                }
                Entry::Closed { id, .. } => {
                    open.remove(&id);
                }
            });
            debug_assert!(read.is_ok(), "the queue holds what the codec wrote");
        }
    }

    fn advance_checkpoint(&mut self, db: &Connection, cut_to: Option<i64>) {
        let (Some(checkpoint), Some(cut_to)) = (&mut self.checkpoint, cut_to) else { return };
        // The first cut begins just before the oldest row there is; rows are numbered without gaps.
        checkpoint.cut = Some(cut_to.max(self.shared.first_row() - 1));
        if cut_to >= checkpoint.covers {
            self.shared.set_first_row(checkpoint.covers + 1);
            self.checkpoint = None;
            self.surplus_pages = free_pages(db).unwrap_or(0) - FREE_PAGES_MAX;
        }
    }

    fn fail(&mut self, work: Work, error: &rusqlite::Error) {
        let Work { mut batch, cells, now, .. } = work;
        let begins = !std::mem::replace(&mut self.failing, true);
        let detail = self.describe(begins, error);
        if begins {
            let trouble = Trouble { detail: detail.clone() };
            self.events.tell(now, &Event::StoreFailed(trouble));
        }
        for waiter in batch.waiters.drain(..) {
            let _ = waiter.send(Err(detail.clone()));
        }
        for task in batch.changes.drain(..) {
            let _ = task.done.send(Err(detail.clone()));
        }
        for task in batch.erasures.drain(..) {
            let _ = task.done.send(Err(detail.clone()));
        }
        for done in self.cleaning.wanted.drain(..).chain(self.cleaning.begun.drain(..)) {
            let _ = done.send(Err(detail.clone()));
        }
        for cut in batch.cuts.drain(..) {
            let _ = cut.done.send(Err(detail.clone()));
        }
        for task in batch.takeovers.drain(..) {
            let _ = task.done.send(Err(detail.clone()));
        }
        self.surplus_pages = 0;
        self.abort_checkpoint(cells, &mut batch);
        self.queue().put_back(batch);
    }

    /// The whole explanation of the failure that began it, until a write succeeds.
    fn describe(&self, begins: bool, error: &rusqlite::Error) -> String {
        let mut failure = self.shared.failure.lock();
        if begins {
            *failure = None;
        }
        failure.get_or_insert_with(|| self.medium.explain(error)).clone()
    }

    /// Begins anew at the next attempt: the row that the checkpoint was to cover was not written, and the next one with its
    /// number will hold more.
    fn abort_checkpoint(&mut self, cells: Vec<(CellRef, Option<Stored>)>, batch: &mut Batch) {
        let Some(checkpoint) = self.checkpoint.take() else { return };
        batch.dirty.extend(checkpoint.todo);
        batch.dirty.extend(cells.into_iter().map(|(cell, _)| cell));
        self.journal_bytes = self.journal_bytes.max(CHECKPOINT_BYTES);
    }

    /// True once a closing store has nothing left to write, or cannot write it.
    fn may_end(&mut self) -> bool {
        let ended = self.checkpoint.is_none() && self.surplus_pages <= 0;
        match std::mem::replace(&mut self.ending, Ending::No) {
            Ending::Asked(done) if self.failing => tell_end(done, Err(LAST_WRITE_FAILED.into())),
            Ending::Last(done) if self.failing => tell_end(done, Err(LAST_WRITE_FAILED.into())),
            Ending::Last(done) if ended => tell_end(done, Ok(())),
            other => {
                self.ending = other;
                false
            }
        }
    }
}

/// The pages of the file that hold nothing.
fn free_pages(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "freelist_count", |row| row.get(0))
}

fn tell_end(done: Done, result: Result<(), String>) -> bool {
    let _ = done.send(result);
    true
}

fn write_rest(db: &Connection, work: &Work) -> rusqlite::Result<()> {
    if let Some(cut_to) = work.cut_to {
        db.prepare_cached(schema::CUT_JOURNAL)?.execute(params![cut_to])?;
    }
    if work.notes_time {
        rows::save_time(db, work.now, work.anchor)?;
    }
    for (cell, stored) in &work.cells {
        write_cell(db, cell, stored.as_ref())?;
    }
    for (reached, at) in &work.batch.warned {
        rows::save_warned(db, reached, *at)?;
    }
    for task in &work.batch.changes {
        rows::save_change(db, task)?;
    }
    if !work.batch.changes.is_empty() {
        rows::cut_revision(db)?;
    }
    for task in &work.batch.takeovers {
        rows::save_takeover(db, &task.takeover)?;
    }
    for account in &work.batch.forgotten {
        db.prepare_cached(schema::CUT_REFUSAL)?.execute(params![account.as_str()])?;
    }
    for task in &work.batch.erasures {
        rows::erase(db, task)?;
    }
    for cut in &work.batch.cuts {
        rows::cut_changes(db, cut.up_to)?;
    }
    for (account, refusal) in &work.refusals {
        rows::save_refusal(db, account, refusal)?;
    }
    if work.pages > 0 { give_back(db, work.pages) } else { Ok(()) }
}

fn write_cell(db: &Connection, cell: &CellRef, stored: Option<&Stored>) -> rusqlite::Result<()> {
    let key = cell.name();
    match stored {
        Some(Stored { seq, log }) => {
            let seq = i64::try_from(*seq).unwrap_or(i64::MAX);
            db.prepare_cached(schema::PUT_WINDOW)?.execute(params![key, seq, log])?;
        }
        None => {
            db.prepare_cached(schema::CUT_WINDOW)?.execute(params![key])?;
        }
    }
    Ok(())
}

/// Gives free pages back to the file system; each step of the statement gives back one.
fn give_back(db: &Connection, pages: i64) -> rusqlite::Result<()> {
    let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = statement.query([])?;
    while steps.next()?.is_some() {}
    Ok(())
}

impl Work {
    fn is_empty(&self) -> bool {
        let batch = &self.batch;
        let journal = batch.opened.is_empty() && batch.closed.is_empty() && self.carried.is_empty();
        let changes = batch.changes.is_empty() && batch.cuts.is_empty();
        let changes = changes && batch.takeovers.is_empty() && batch.erasures.is_empty();
        let changes = changes && batch.forgotten.is_empty();
        let records = batch.warned.is_empty() && changes && self.refusals.is_empty();
        let upkeep = !self.cells.is_empty() || self.cut_to.is_some() || self.pages > 0;
        journal && records && !upkeep
    }
}

/// However the writer ends, nothing more is taken, so nobody waits for it in vain.
struct CloseOnExit(Arc<Shared>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.queue.abandon();
        drop(self.0.queue.take_with_dirty());
    }
}

const LAST_WRITE_FAILED: &str = "the last write failed";
/// How long ended reservations may wait for a commit when nobody else needs one.
const TICK: Duration = Duration::from_millis(500);
/// Under load there is at most one commit in this time.
const COMMIT_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// A checkpoint begins when the journal has grown by this much, which bounds the time of a start.
const CHECKPOINT_BYTES: usize = if cfg!(test) { 1_000 } else { 16 << 20 };
/// When the journal has grown by this much during a checkpoint, it grows no more until the checkpoint has ended.
const JOURNAL_BYTES_MAX: usize = if cfg!(test) { 3_000 } else { 64 << 20 };
/// Free pages that the file keeps for the next journal: 32 MiB. More are given back after a checkpoint.
const FREE_PAGES_MAX: i64 = if cfg!(test) { 2 } else { 8_192 };
/// Pages that one transaction gives back: a few milliseconds.
const PAGES_BATCH_MAX: i64 = if cfg!(test) { 1 } else { 500 };
/// A checkpoint begins at least this often.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(300);
/// Cells in one transaction of a checkpoint: a few milliseconds.
const CELLS_BATCH_MAX: usize = if cfg!(test) { 2 } else { 500 };
/// Journal rows that one transaction cuts.
const ROWS_CUT_MAX: i64 = if cfg!(test) { 3 } else { 500 };
const REFUSALS_BATCH_MAX: usize = 200;
/// An idle store notes the time this often.
const HIGH_WATER_IDLE: Duration = Duration::from_secs(60);
