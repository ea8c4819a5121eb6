//! The embedded store: windows in memory, their journal and everything else in one SQLite file.
//!
//! One process owns the file and one thread writes it (`writer`); the windows are those of `store::windows`. A reservation
//! is journaled before the text goes on; its end is journaled soon after, and if a crash comes first it counts as sent.
//! Start: [`open`] reads the highest time that the file has seen, the caller makes the clock from it, and
//! [`Opened::start`] loads everything. Only this module knows rusqlite.

mod codec;
mod copy;
mod load;
mod queue;
mod replica;
mod restored;
mod rows;
pub(super) mod schema;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use self::replica::Takeover;
pub use self::restored::{GapChoice, Restored};

use self::queue::{CopyTask, EraseTask};

use self::queue::{ChangeTask, Cut, Queue};
use super::{
    BoxFuture, StoreError, Whose,
    ledger::{Granted, Ledger, Request, Reservation, Settlement, Usage},
    outbox::{Changed, Outbox},
    records::{
        Change, Choice, LastRefusal, Recorded, Records, Revision, SubjectKind, SubjectRecord,
    },
    refusals::Refusals,
    subjects::{Subjects, apply, left_of},
    vault::{InTheWay, Vault},
    windows::{self, Windows},
};
use crate::{
    clock::{Anchor, Clock},
    event::{Event, Events, LimitHit, LimitReached, Trouble},
    rules::window::Log,
    types::{AccountId, Key, Limit, Scope, SubjectId, Timestamp, Unit},
};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::HashSet,
    fs::File,
    os::unix::fs::{FileExt, OpenOptionsExt},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// The embedded store's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The database; made if it is missing.
    pub path: PathBuf,
    /// How much a commit survives.
    pub synchronous: Synchronous,
    /// How long charges are kept: the longest window in the configuration, at least 24 h.
    pub history: Duration,
    /// How much later than known an unknown or unsettled charge is stamped.
    pub unknown_margin: Duration,
}

/// How much a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Synchronous {
    /// Power loss.
    #[default]
    Full,
    /// `kill -9`, but not power loss.
    Normal,
}

/// Opens the file, made if it is missing, and takes it for this process.
///
/// # Errors
/// [`StoreError::Unavailable`] if the file cannot be opened or another process has it, [`StoreError::Damaged`] if it is empty,
/// not a database of this program, or of a newer release.
pub fn open(settings: &Settings) -> Result<Opened, StoreError> {
    let opened = open_for_copy(settings)?;
    if let Some(at) = rows::load_meta(&opened.db, restored::HANDED_OVER)? {
        let at = Timestamp::from_millis(at);
        return Err(StoreError::Unavailable(format!(
            "{}: its last backup was made at {at}, and another gate may go on from it; to go on here, move the file away and restore that backup",
            settings.path.display()
        )));
    }
    Ok(opened)
}

/// The same, to copy it: also of a file whose last backup was made.
///
/// # Errors
/// As [`open`].
pub fn open_for_copy(settings: &Settings) -> Result<Opened, StoreError> {
    let lock = take_for_this_process(&settings.path)?;
    make_if_missing(&settings.path)?;
    let db = schema::open(&settings.path, settings.synchronous)?;
    let high_water: i64 =
        db.query_row(schema::HIGH_WATER, [], |row| row.get(0)).map_err(schema::failed)?;
    let high_water = Timestamp::from_millis(high_water);
    let anchor = rows::load_anchor(&db)?;
    Ok(Opened { db, lock, high_water, anchor, settings: settings.clone() })
}

/// A file that is opened but not loaded, because loading needs a clock and the clock needs [`Opened::high_water`].
#[derive(Debug)]
pub struct Opened {
    db: rusqlite::Connection,
    lock: File,
    high_water: Timestamp,
    anchor: Option<Anchor>,
    settings: Settings,
}

impl Opened {
    /// The latest moment that the file has seen.
    #[must_use]
    pub const fn high_water(&self) -> Timestamp {
        self.high_water
    }

    /// The newest moment that the file has on the boot-time clock, if any.
    #[must_use]
    pub const fn anchor(&self) -> Option<Anchor> {
        self.anchor
    }

    /// Loads everything and starts the writer. Reservations that had not ended count as sent, stamped with the present
    /// moment and the safety margin.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn start(self, clock: &Clock, events: Events) -> Result<Arc<SqliteStore>, StoreError> {
        let now = clock.now().max(self.high_water);
        let loaded = load::load(&self.db, &self.settings, now)?;
        let shared = Arc::new(Shared {
            windows: loaded.windows,
            subjects: loaded.subjects,
            refusals: loaded.refusals,
            outbox: loaded.outbox,
            revision_at_start: loaded.revision,
            queue: loaded.queue,
            high_water: AtomicI64::new(self.high_water.as_millis()),
            first_row: AtomicI64::new(loaded.first_row),
            stopping: Mutex::new(false),
            stop: Condvar::new(),
            failure: Mutex::new(None),
            panicked: watch::Sender::new(false),
            #[cfg(test)]
            fault: Mutex::new(Fault::None),
        });
        let medium = Medium(self.settings.path);
        let writer = writer::Writer::new(medium, shared.clone(), clock, events.clone())
            .after_row(loaded.last_row, loaded.journal_bytes);
        let db = self.db;
        let (sweeping, time) = (shared.clone(), clock.clone());
        let guard = |name| Guard { name, shared: shared.clone(), clock: clock.clone() };
        let threads = vec![
            guard("store-writer").spawn(events.clone(), move || writer.run(&db))?,
            guard("store-sweeper").spawn(events, move || sweeping.run_sweeps(&time))?,
        ];
        Ok(Arc::new(SqliteStore {
            shared,
            changes: Arc::default(),
            threads: Mutex::new(threads),
            _lock: self.lock,
        }))
    }
}

/// The embedded store.
pub struct SqliteStore {
    shared: Arc<Shared>,
    /// One change of a record at a time, from reading the record to publishing it.
    changes: Arc<tokio::sync::Mutex<()>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: File,
}

/// The columns of all tables of a new file.
#[cfg(test)]
pub(super) fn columns() -> std::collections::BTreeSet<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    schema::make(&path).unwrap();
    schema::columns(&rusqlite::Connection::open(&path).unwrap())
}

/// What callers and the threads share.
struct Shared {
    windows: Windows,
    subjects: Subjects,
    refusals: Refusals,
    outbox: Outbox,
    /// The last shared change that the file's records had in them when it was opened.
    revision_at_start: Option<Revision>,
    queue: Queue,
    /// The latest moment that is in the file.
    high_water: AtomicI64,
    /// The oldest journal row.
    first_row: AtomicI64,
    stopping: Mutex<bool>,
    stop: Condvar,
    /// Why the last write failed, until one succeeds.
    failure: Mutex<Option<String>>,
    /// Becomes true when a thread of the store panics.
    panicked: watch::Sender<bool>,
    #[cfg(test)]
    fault: Mutex<Fault>,
}

/// What a test lets happen to the next writes.
#[cfg(test)]
#[derive(Clone, Copy)]
enum Fault {
    None,
    Error,
    Panic,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Stores everything and ends the writer; nothing is taken any more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the last write failed; what was durable before is still so.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (done, closed) = oneshot::channel();
        self.shared.queue.push_closing(done)?;
        heard(closed.await)
    }

    async fn copy_file_to(&self, path: PathBuf) -> Result<(), StoreError> {
        let (done, copied) = oneshot::channel();
        self.shared.queue.push_copy(CopyTask { path: path.clone(), done })?;
        heard(copied.await)?;
        let tidied = tokio::task::spawn_blocking(move || copy::tidy(&path)).await;
        tidied.map_err(|error| StoreError::Unavailable(error.to_string()))?.map_err(schema::failed)
    }

    /// Keeps charges for this long from now on: the longest window after a reload.
    pub fn set_history(&self, history: Duration) {
        self.shared.windows.set_history(history);
    }

    /// Why the file cannot be written at present; none if it can.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }

    /// Ends when a thread of the store has panicked, and never otherwise: the process must end then, because nothing more
    /// becomes durable. [`Event::StoreFailed`] was told before.
    pub async fn panicked(&self) {
        let mut panicked = self.shared.panicked.subscribe();
        // The sender lives as long as `self`, so the wait ends for no other reason.
        let _ = panicked.wait_for(|&panicked| panicked).await;
    }

    /// How many windows there are.
    #[must_use]
    pub fn windows_count(&self) -> usize {
        self.shared.windows.len()
    }
}

/// Dropped without [`SqliteStore::close`], the store stops as in a crash, but without one: the file is as durable as after a kill.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.shared.queue.abandon();
        *self.shared.stopping.lock() = true;
        self.shared.stop.notify_all();
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn high_water(&self) -> Timestamp {
        Timestamp::from_millis(self.high_water.load(Relaxed))
    }

    fn note_high_water(&self, now: Timestamp) {
        self.high_water.fetch_max(now.as_millis(), Relaxed);
    }

    fn first_row(&self) -> i64 {
        self.first_row.load(Relaxed)
    }

    fn set_first_row(&self, row: i64) {
        self.first_row.store(row, Relaxed);
    }

    /// Evicts what no window sees any more, now and then, beside the writer so that nobody waits for it.
    fn run_sweeps(&self, clock: &Clock) {
        let mut stopping = self.stopping.lock();
        while !*stopping {
            if self.stop.wait_for(&mut stopping, SWEEP_INTERVAL).timed_out() {
                self.windows.sweep(clock.now(), |cell| self.forget(cell));
            }
        }
    }

    /// Has the row of an evicted cell deleted, if there may be one.
    fn forget(&self, cell: &windows::CellRef) {
        if cell.state().lock().journal_seq > 0 {
            self.queue.push_dirty(cell.clone());
        }
    }

    #[cfg(test)]
    fn fault(&self) -> rusqlite::Result<()> {
        let fault = *self.fault.lock();
        match fault {
            Fault::None => Ok(()),
            Fault::Error => Err(rusqlite::Error::InvalidQuery),
            Fault::Panic => panic!("a test wants it"),
        }
    }
}

impl Vault for SqliteStore {
    fn copy_to(&self, path: PathBuf) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.copy_file_to(path))
    }

    fn erase<'a>(
        &'a self,
        subjects: &'a [SubjectId],
    ) -> BoxFuture<'a, Result<Vec<InTheWay>, StoreError>> {
        Box::pin(self.erase_subjects(subjects))
    }

    fn forget_refusals(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        let gone = self.shared.refusals.forget_old(before, REFUSALS_STEP_MAX);
        let count = gone.len();
        self.shared.queue.push_forgotten(gone);
        Box::pin(async move { Ok(count) })
    }

    fn subjects_known(&self) -> Vec<SubjectId> {
        let mut known = Vec::new();
        self.shared.windows.for_each_subject(|subject| known.push(subject));
        let recorded = self.shared.subjects.beside(&HashSet::new());
        known.extend(recorded.into_iter().map(|(subject, _)| subject));
        known
    }
}

impl SqliteStore {
    /// A window as it is: its charges, and what is open.
    pub(in crate::store) fn window(&self, key: &Key) -> Option<(Log, u32)> {
        let cell = self.shared.windows.find(key.as_str())?;
        let state = cell.state().lock();
        Some((state.log.clone(), state.open))
    }

    /// Puts a window in the place of what is there. It is durable once the store is closed.
    pub(in crate::store) fn put_window(&self, key: &Key, log: Log) -> Result<(), StoreError> {
        let cell = self.shared.windows.find_or_make(key.as_str())?;
        let mut state = cell.state().lock();
        state.log = log;
        // Nothing that was journaled so far is added to it.
        state.journal_seq = self.shared.queue.last_seq();
        state.dirty = true;
        drop(state);
        self.shared.queue.push_dirty(cell);
        Ok(())
    }

    /// Until when windows are full because of a restored backup; none if they are not.
    pub(in crate::store) fn gap_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.shared.windows.gap_end(now)
    }

    /// How many windows there are of accounts that were erased.
    pub(in crate::store) fn erased_windows(&self) -> u64 {
        self.shared.windows.erased_count()
    }

    /// The name under which what is left of an account stands.
    pub(in crate::store) fn alias_of(&self, subject: &SubjectId) -> Option<SubjectId> {
        self.shared.subjects.alias_of(subject)
    }

    /// The same, if the account was erased.
    pub(in crate::store) fn known_alias(&self, subject: &SubjectId) -> Option<SubjectId> {
        self.shared.subjects.known_alias(subject)
    }

    /// The name of an erased window.
    pub(in crate::store) fn window_alias(&self, key: &Key) -> String {
        self.shared.subjects.window_alias(key).unwrap_or_else(|| key.to_string())
    }

    /// How long charges are kept: as long as is configured, and the longest window of an override.
    pub(in crate::store) fn history(&self) -> Duration {
        self.shared.windows.history()
    }

    /// True of windows of accounts and tenants that were erased.
    pub(in crate::store) fn has_erased(&self, key: &Key) -> bool {
        if !self.shared.subjects.may_have_erased() {
            return false;
        }
        let subject = match key.parts().scope {
            Scope::Account => key.parts().name.parse().map(SubjectId::Account),
            Scope::Tenant => key.parts().name.parse().map(SubjectId::Tenant),
            Scope::ClientIp | Scope::Peer => return false,
        };
        subject.is_ok_and(|subject| self.known_alias(&subject).is_some())
    }

    /// Erases all of them that nothing stands in the way of, and waits for the file to be written anew, which is once for all that wait.
    async fn erase_subjects(&self, subjects: &[SubjectId]) -> Result<Vec<InTheWay>, StoreError> {
        let _one_at_a_time = self.changes.clone().lock_owned().await;
        let (mut refused, mut begun) = (Vec::new(), Vec::new());
        for subject in subjects {
            match self.begin_to_erase(subject) {
                Ok(erased) => begun.push(erased),
                Err(StoreError::Conflict(why)) => {
                    refused.push(InTheWay { subject: subject.clone(), why });
                }
                Err(error) => return Err(error),
            }
        }
        for erased in begun {
            heard(erased.await)?;
        }
        Ok(refused)
    }

    fn begin_to_erase(
        &self,
        subject: &SubjectId,
    ) -> Result<oneshot::Receiver<Result<(), String>>, StoreError> {
        let shared = &self.shared;
        let record = shared.subjects.find(subject);
        if shared.outbox.waits_for(subject) {
            let text = "a change of the account is not in the audit yet; try again";
            return Err(StoreError::Conflict(text.into()));
        }
        for unit in Unit::ALL {
            let key = Key::of_subject(subject, unit);
            if let Some((was, is)) = shared.windows.erase(key.as_str())? {
                shared.queue.push_dirty(was);
                shared.queue.push_dirty(is);
            }
            shared.windows.warned().forget(&key);
        }
        if let SubjectId::Account(account) = subject {
            shared.refusals.forget(account);
        }
        let alias = shared.subjects.alias_of(subject);
        let alias = alias.ok_or_else(|| StoreError::Damaged("there is no key".into()))?;
        // What is left of an erasure of before is as it was.
        let left = match shared.subjects.known_alias(subject) {
            Some(alias) => shared.subjects.find(&alias),
            None => Arc::new(left_of(&record)),
        };
        let (done, erased) = oneshot::channel();
        let task = EraseTask { subject: subject.clone(), alias, left, done };
        shared.queue.push_erasure(task)?;
        Ok(erased)
    }
}

impl Ledger for SqliteStore {
    fn reserve<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        request: Request,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Granted, StoreError>> {
        Box::pin(async move { self.shared.windows.reserve(reservation, &request, now) })
    }

    fn release<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        recipients: u32,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.shared.windows.note_time(now);
            windows::release(reservation, recipients);
            Ok(())
        })
    }

    fn make_durable<'a>(
        &'a self,
        reservation: &'a mut Reservation,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if reservation.durable || reservation.recipients == 0 {
                return Ok(());
            }
            heard(self.shared.queue.push_opened(reservation)?.await)?;
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
        Box::pin(async move {
            let reached = self.shared.settle(&mut reservation, settlement, now);
            self.shared.queue.check()?;
            reached
        })
    }

    fn usage<'a>(
        &'a self,
        key: &'a Key,
        limits: &'a [Limit],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Usage>, StoreError>> {
        Box::pin(async move { Ok(self.shared.windows.usage(key, limits, now)) })
    }

    fn knows<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.shared.windows.knows(key)) })
    }

    fn keys<'a>(
        &'a self,
        scope: Scope,
        whose: Whose<'a>,
        after: Option<&'a Key>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        Box::pin(async move { Ok(self.shared.windows.keys(scope, whose, after, max)) })
    }
}

impl Shared {
    fn settle(
        &self,
        reservation: &mut Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Vec<LimitReached>, StoreError> {
        let id = reservation.id;
        if settlement == Settlement::Refunded {
            self.windows.settle(reservation, settlement, now, |_, _, _| ());
            if id != 0 {
                self.queue.push_refunded(id);
            }
            return Ok(Vec::new());
        }
        let charges = codec::encode_charges(reservation.charges());
        let mut pushed = Ok(());
        let reached = self.windows.settle(reservation, settlement, now, |stamp, cells, states| {
            pushed = self.queue.push_closed(id, stamp, &charges, cells, states);
        });
        reached.iter().for_each(|reached| self.queue.push_warned(reached.clone(), now));
        pushed.map(|()| reached)
    }
}

impl Records for SqliteStore {
    fn subject<'a>(
        &'a self,
        subject: &'a SubjectId,
    ) -> BoxFuture<'a, Result<Arc<SubjectRecord>, StoreError>> {
        Box::pin(async move { Ok(self.shared.subjects.find(subject)) })
    }

    fn change<'a>(
        &'a self,
        change: Change,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Arc<SubjectRecord>, StoreError>> {
        Box::pin(async move {
            let one_at_a_time = self.changes.clone().lock_owned().await;
            let subjects = &self.shared.subjects;
            let before = subjects.find(&change.subject);
            let replaces = subjects.erased(&change.subject);
            let record = Arc::new(apply(&before, &change, now)?);
            subjects.check_room(&change.subject)?;
            let number = self.shared.outbox.next_number()?;
            let changed = Changed::draw(number, &before, &change, now)?;
            let (done, written) = oneshot::channel();
            self.shared.queue.push_change(ChangeTask {
                changed,
                record: record.clone(),
                done,
                replaces,
                _one_at_a_time: one_at_a_time,
            })?;
            heard(written.await)?;
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
        Box::pin(async move { Ok(self.shared.subjects.list(kind, whose, after, max)) })
    }

    fn chosen<'a>(
        &'a self,
        choice: Choice<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, StoreError>> {
        Box::pin(async move { Ok(self.shared.subjects.chosen(choice, max)) })
    }

    fn changes_waiting(&self, max: usize) -> BoxFuture<'_, Result<Vec<Changed>, StoreError>> {
        Box::pin(async move { Ok(self.shared.outbox.oldest(max).await) })
    }

    fn cut_changes(&self, up_to: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (done, written) = oneshot::channel();
            self.shared.queue.push_cut(Cut { up_to, done })?;
            heard(written.await)
        })
    }

    fn note_refusal(
        &self,
        account: &AccountId,
        at: Timestamp,
        reply: &str,
        limit: Option<&LimitHit>,
    ) {
        self.shared.refusals.note(account, at, reply, limit);
    }

    fn last_refusal<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BoxFuture<'a, Result<Option<LastRefusal>, StoreError>> {
        Box::pin(async move { Ok(self.shared.refusals.find(account)) })
    }

    fn high_water(&self) -> Timestamp {
        self.shared.windows.latest().max(self.shared.high_water())
    }
}

/// What the writer said, or that it is gone.
fn heard(answer: Result<Result<(), String>, oneshot::error::RecvError>) -> Result<(), StoreError> {
    let gone = |_| StoreError::Unavailable("the store's writer has ended".into());
    answer.map_err(gone)?.map_err(StoreError::Unavailable)
}

/// A lock of our own beside the file says clearly who is in the way; SQLite's own exclusive lock stands behind it.
fn take_for_this_process(path: &Path) -> Result<File, StoreError> {
    let beside = beside(path, LOCK);
    let lock = own(&beside).map_err(|error| cannot_open(&beside, &error))?;
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&lock, operation)
        .map_err(|_| cannot_open(path, &"another process of this program has it"))?;
    Ok(lock)
}

fn own(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn cannot_open(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("failed to open {}: {error}", path.display()))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Makes the file if there is none: whole under another name first, so that an empty or half file is always a damaged one.
fn make_if_missing(path: &Path) -> Result<(), StoreError> {
    if path.try_exists().map_err(|error| cannot_open(path, &error))? {
        return Ok(());
    }
    let wal = beside(path, "-wal");
    if wal.exists() {
        let text = format!("{} is there without the file that it belongs to", wal.display());
        return Err(StoreError::Damaged(text));
    }
    let draft = beside(path, ".new");
    let leftovers = [draft.clone(), beside(&draft, "-journal")];
    leftovers.iter().for_each(|leftover| drop(std::fs::remove_file(leftover)));
    // SQLite gives its other files the mode of this one.
    own(&draft).map_err(|error| cannot_open(&draft, &error))?;
    schema::make(&draft)?;
    publish(&draft, path).map_err(|error| cannot_open(path, &error))
}

/// Gives the draft its name, also after power loss.
fn publish(draft: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::rename(draft, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The place on disk, asked when a write failed: SQLite does not say what the system said.
struct Medium(PathBuf);

impl Medium {
    /// `the store var/tollgate.db cannot be written: disk I/O error (write): Read-only file system (os error 30)`.
    fn explain(&self, error: &rusqlite::Error) -> String {
        let text = format!("the store {} cannot be written: ", self.0.display());
        match self.try_write() {
            Err(reason) => format!("{text}{}: {reason}", schema::explain(error)),
            Ok(()) => format!("{text}{}", schema::explain(error)),
        }
    }

    /// Writes an octet into the lock's file, which holds none.
    fn try_write(&self) -> std::io::Result<()> {
        let file = File::options().write(true).open(beside(&self.0, LOCK))?;
        file.write_all_at(b"\n", 0).and_then(|()| file.sync_all())?;
        file.set_len(0)
    }
}

/// Starts a thread of the store and stands beside it.
struct Guard {
    name: &'static str,
    shared: Arc<Shared>,
    clock: Clock,
}

impl Guard {
    fn spawn(
        self,
        events: Events,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>, StoreError> {
        let failed = |error| StoreError::Unavailable(format!("failed to start a thread: {error}"));
        let name = self.name;
        let guarded = move || {
            if std::panic::catch_unwind(AssertUnwindSafe(run)).is_err() {
                self.report(&events);
            }
        };
        std::thread::Builder::new().name(name.into()).spawn(guarded).map_err(failed)
    }

    /// Half a store is worse than none: nothing is taken any more, and everybody hears why.
    fn report(&self, events: &Events) {
        let detail = format!("the {} thread panicked", self.name);
        self.shared.queue.abandon();
        *self.shared.failure.lock() = Some(detail.clone());
        events.tell(self.clock.now(), &Event::StoreFailed(Trouble { detail }));
        self.shared.panicked.send_replace(true);
    }
}

/// What the lock's name adds to the file's.
const LOCK: &str = ".lock";
/// Last refusals that are forgotten in one step.
const REFUSALS_STEP_MAX: usize = 500;
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
