//! What happened, for whoever asks later: events and what is kept from them, in an SQLite file of its own.
//!
//! The limits do not depend on it: losing this file loses history and never a charge, and a client waits for it half a second at
//! most, for what is remembered of a sender (`memory`). One thread writes what has gathered in one transaction ([`writer`]); readers have connections of their own
//! ([`reader`]), so a report keeps nobody waiting. Each topic is a file with its tables and its calls on [`Archive`]; a read
//! comes in pages, because a long one keeps the log of the file from being cut. Times are UTC.

mod alerts;
pub mod audit;
mod availability;
mod backups;
mod closings;
mod complaints;
mod egress;
mod erase;
mod erasing;
mod events;
mod export;
mod holds;
mod kept;
mod listings;
mod memory;
mod messages;
mod names;
mod offences;
mod reader;
mod retention;
mod schema;
mod storage;
pub mod stream;
#[cfg(test)]
mod tests;
mod tokens;
mod usage;
mod writer;

pub use alerts::{ALERTS_PAGE_MAX, AlertFilter, AlertRow, Ending, Owed, Pending, Route, Unrouted};
pub use audit::{
    AUDIT_PAGE_MAX, AnchorState, AuditEntry, AuditFilter, NewEntry, Verdict, verify_file,
};
pub use availability::{MAINTENANCE_ROWS_MAX, MaintenanceRow, NewMaintenance};
pub use backups::{BACKUPS_MAX, BackupRow, copy_file, prepare_restored};
pub use closings::Closing;
pub use complaints::{Added, COMPLAINTS_PAGE_MAX, ComplaintFilter, ComplaintRow, NewComplaint};
pub use egress::{EGRESS_USERS_MAX, EgressChoice, EgressUsage};
pub use erase::{ErasedRows, Erasure};
pub use erasing::{Covered, Erasing, ErasureId, Job, Stage, Step, Told};
pub use events::{EVENTS_PAGE_MAX, EventFilter, EventRow, NewEvent, Order};
pub use export::{Stretch, export};
pub use holds::HoldRow;
pub use kept::{Kept, KeptAsked, Lack, News, Question};
pub use listings::{LISTING_ROWS_MAX, ListingRow};
pub use messages::{Mark, TRACE_PAGE_MAX, TraceFilter};
pub use offences::{NewOffence, OFFENCES_MAX, OffenceName, OffenceRow, Severity};
pub use retention::Keep;
pub use storage::{STORAGE_DAYS_MAX, StorageDays, StoragePast, StorageRow};
pub use tokens::{NewToken, TOKENS_MAX, TokenDigest, TokenRecord};
pub use usage::{
    AccountUsage, Coverage, HOURS_KEPT, OpenSuspension, Peak, SUSPENSIONS_MAX, SuspensionRow,
    TenantUsage, USAGE_ROWS_MAX, UsageOf, UsageSum,
};

use self::{
    messages::MarkKey,
    reader::{Asker, Readers},
    writer::Writes,
};
use super::{StoreError, sqlite::schema::failed};
use crate::{
    rules::{
        alarm::{self, Sign},
        tally::Tally,
    },
    types::Timestamp,
};
use parking_lot::Mutex;
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
};
use tokio::sync::{Notify, broadcast};

/// The archive's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The database; made if it is missing.
    pub path: PathBuf,
}

/// The archive. Cheap to clone.
#[derive(Clone)]
pub struct Archive(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// What stood beside the file about the end of the audit, where that was wrong.
    mismatch: Mutex<Option<Mismatch>>,
    writes: Writes,
    marks: MarkKey,
    subject_key: [u8; 32],
    readers: Readers,
    writer: Mutex<Option<JoinHandle<()>>>,
    live: broadcast::Sender<Arc<EventRow>>,
    tokens: tokens::Tokens,
    /// One change of a token at a time, so that memory and table stay the same.
    token_changes: tokio::sync::Mutex<()>,
    /// What is added goes to all nodes, and comes from them.
    is_shared: AtomicBool,
    /// Something was put on its way to them.
    posted: Notify,
    /// Who waits for what becomes of an order.
    orders: stream::orders::OrdersWaiting,
    /// What of it is not back yet.
    own: stream::Own,
    /// A step of an erasure was taken in.
    stepped: Notify,
    /// Erasures that were asked for and are refused here.
    refused: Mutex<Vec<Job>>,
}

/// How much a write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lasting {
    /// `kill -9`; after power loss the last ones may be missing.
    Process,
    /// Power loss.
    Power,
}

/// What the collector writes in one transaction, all of it or none.
#[derive(Debug)]
pub struct Batch {
    /// Events, in their order.
    pub events: Vec<NewEvent>,
    /// What was counted of them, and of the time that was listened to.
    pub usage: Tally,
    /// What they changed about alerts, and the messages about it.
    pub alarm: alarm::Changes,
    /// What of them counts against a tenant.
    pub offences: Vec<NewOffence>,
    /// Where the archive is shared, what they say about alerts instead.
    pub signs: Vec<(Timestamp, Sign)>,
    /// When it was made, in UTC.
    pub at: Timestamp,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            usage: Tally::default(),
            alarm: alarm::Changes::default(),
            offences: Vec::new(),
            signs: Vec::new(),
            at: Timestamp::EPOCH,
        }
    }
}

/// The audit does not end as was noted beside the archive: its end was cut off, something was added, or the files are of different
/// times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// What was noted.
    pub noted: AnchorState,
    /// Where the audit ends.
    pub head: audit::chain::Head,
}

/// Opens the archive, made if it is missing, and starts its writer.
///
/// # Errors
/// [`StoreError::Unavailable`] if it cannot be opened, [`StoreError::Damaged`] if it is not a file of this program, or one of a
/// newer release.
pub fn open(settings: &Settings) -> Result<Archive, StoreError> {
    let db = schema::open(&settings.path)?;
    let tokens = tokens::Tokens::load(&db).map_err(failed)?;
    let secret = |name| messages::secret(&db, name).map_err(failed);
    let (marks, subject_key) = (MarkKey::new(&secret("marks")?), secret("subjects")?);
    let readers = Readers::new(&settings.path);
    let (anchor, noted) = audit::Anchor::open(&settings.path).map_err(|error| {
        StoreError::Unavailable(format!("{}.head: {error}", settings.path.display()))
    })?;
    let head = audit::head(&db).map_err(failed)?;
    let mismatch = (!noted.fits(head)).then_some(Mismatch { noted, head });
    let (writes, writer) = writer::start(db, anchor)?;
    let (writer, live) = (Mutex::new(Some(writer)), broadcast::Sender::new(LIVE_BACKLOG_MAX));
    let token_changes = tokio::sync::Mutex::default();
    Ok(Archive(Arc::new(Inner {
        path: settings.path.clone(),
        mismatch: Mutex::new(mismatch),
        writes,
        readers,
        marks,
        subject_key,
        writer,
        live,
        tokens,
        token_changes,
        is_shared: AtomicBool::new(false),
        posted: Notify::new(),
        orders: stream::orders::OrdersWaiting::default(),
        own: stream::Own::default(),
        stepped: Notify::new(),
        refused: Mutex::default(),
    })))
}

impl Archive {
    /// Keeps a batch, and tells whoever watches of its events.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written; nothing of it was.
    pub async fn keep(&self, batch: Arc<Batch>) -> Result<(), StoreError> {
        if self.0.is_shared.load(Relaxed) {
            return self.post(stream::Content::from(&*batch), batch.at).await;
        }
        let (written, marks) = (batch.clone(), self.0.marks.clone());
        let first = self.write(Lasting::Process, move |db| {
            usage::add(db, &written.usage)?;
            alerts::keep(db, &written.alarm)?;
            offences::add(db, &written.offences)?;
            events::insert(db, &marks, &written.events)
        });
        let first = first.await?;
        self.tell(first, &batch.events);
        Ok(())
    }

    /// What was wrong about the end of the audit when the archive was opened. It is told once: the caller puts it into the audit.
    #[must_use]
    pub fn take_mismatch(&self) -> Option<Mismatch> {
        self.0.mismatch.lock().take()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The key that subjects are hashed under, drawn when the file was made.
    #[must_use]
    pub fn subject_key(&self) -> &[u8; 32] {
        &self.0.subject_key
    }

    /// Hears of every event that is stored from now on. Who falls too far behind hears that events are missing.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<EventRow>> {
        self.0.live.subscribe()
    }

    fn tell(&self, first: i64, events: &[NewEvent]) {
        if self.0.live.receiver_count() == 0 {
            return;
        }
        for (id, event) in (first..).zip(events) {
            let _nobody_watches = self.0.live.send(Arc::new(event.stored_as(id)));
        }
    }

    /// Writes what was taken and ends the writer; later writes fail.
    pub async fn close(&self) {
        self.0.writes.close();
        let Some(writer) = self.0.writer.lock().take() else { return };
        let _ended = tokio::task::spawn_blocking(move || writer.join()).await;
    }

    /// Runs a job in the writer's next transaction and returns when that is committed. A job that fails changes nothing, and
    /// does not disturb the others of its transaction.
    async fn write<T: Send + 'static>(
        &self,
        lasting: Lasting,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.writes.run(lasting, job).await
    }

    /// The same for a job that may put something on its way to all nodes.
    async fn write_and_tell<T: Send + 'static>(
        &self,
        lasting: Lasting,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let written = self.write(lasting, job).await;
        if self.is_shared() {
            self.0.posted.notify_one();
        }
        written
    }

    /// Runs a job on a connection that only reads, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.readers.run(Asker::Others, job).await
    }

    /// The same for what mail waits for.
    async fn read_for_mail<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.readers.run(Asker::Mail, job).await
    }

    /// The same for the program's own tasks, which have a connection that nobody else can hold.
    async fn read_own<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.readers.run(Asker::Program, job).await
    }
}

/// The columns of all tables of a new file.
#[cfg(test)]
pub(super) fn columns(folder: &Path) -> std::collections::BTreeSet<(String, String)> {
    let path = folder.join("archive.db");
    drop(open(&Settings { path: path.clone() }).unwrap());
    super::sqlite::schema::columns(&Connection::open(&path).unwrap())
}

/// Events that a slow watcher may be behind.
const LIVE_BACKLOG_MAX: usize = 1_024;

/// A moment as it is stored: milliseconds since 1970 in UTC.
const fn stored(moment: Timestamp) -> i64 {
    moment.as_millis()
}
