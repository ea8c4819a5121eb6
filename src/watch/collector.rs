//! From events to the archive: whatever is told later is written from here, in one transaction with the events it comes from.
//!
//! The [`Ear`] is a listener: it puts a copy of each event that is kept into a bounded queue and returns. The [`Collector`]
//! drains the queue on a task of its own, a few times a second, and writes a [`Batch`]. A batch that cannot be written is
//! kept and written later, while the queue fills; what does not fit any more is counted and told, because a gap is not a zero.

use crate::{
    clock::Clock,
    event::{Event, Events, EventsLost, Listener, Trouble},
    rules::{tally::Book, verdict::Moment},
    store::archive::{Archive, Batch, Mark, NewEvent},
    telemetry::{self, ClientQuota},
    types::{AccountId, Key, Scope, SubjectId, TenantId, Timestamp},
};
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// The archive's ear: a listener for [`Events`].
pub struct Ear {
    queue: mpsc::Sender<Heard>,
    lost: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

/// How far the archive is behind. Cheap to clone.
#[derive(Clone)]
pub struct Backlog {
    queue: mpsc::WeakSender<Heard>,
    written: Arc<AtomicU64>,
}

impl Backlog {
    /// Events that wait to be written, and how many may.
    #[must_use]
    pub fn waiting(&self) -> (u64, u64) {
        let Some(queue) = self.queue.upgrade() else { return (0, 0) };
        let (max, room) = (queue.max_capacity() as u64, queue.capacity() as u64);
        (max - room, max)
    }

    /// Events that were written since the start.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }
}

impl Ear {
    /// How far the archive is behind what was heard.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        Backlog { queue: self.queue.downgrade(), written: self.written.clone() }
    }
}

struct Heard {
    at: Timestamp,
    event: Event,
}

/// Writes what the ear heard.
pub struct Collector {
    queue: mpsc::Receiver<Heard>,
    lost: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    archive: Archive,
    clock: Clock,
    quota: ClientQuota,
    book: Book,
    /// The ledger's time up to which the book knows that it heard everything.
    heard_until: Timestamp,
    /// A write failed, and none succeeded since.
    failing: bool,
}

/// Connects an ear and a collector. `lines_per_client_minute` bounds what one client can have kept, as in the log; the book
/// counts everything.
#[must_use]
pub fn collector(
    archive: Archive,
    clock: Clock,
    lines_per_client_minute: u32,
    book: Book,
) -> (Ear, Collector) {
    let (sender, queue) = mpsc::channel(EVENTS_QUEUE_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let written = Arc::new(AtomicU64::new(0));
    let ear = Ear { queue: sender, lost: lost.clone(), written: written.clone() };
    let quota = ClientQuota::new(lines_per_client_minute);
    let heard_until = clock.now();
    let collector = Collector {
        queue,
        lost,
        written,
        archive,
        clock,
        quota,
        book,
        heard_until,
        failing: false,
    };
    (ear, collector)
}

impl Listener for Ear {
    fn notice(&self, at: Timestamp, event: &Event) {
        if !is_kept(event) {
            return;
        }
        if self.queue.try_send(Heard { at, event: event.clone() }).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

/// Comings and goings of connections are for the log and the metrics only, and the audit is kept already.
const fn is_kept(event: &Event) -> bool {
    !matches!(
        event,
        Event::SessionOpened(_)
            | Event::SessionClosed(_)
            | Event::ConnectionRefused(_)
            | Event::TlsStarted(_)
            | Event::TlsFailed(_)
            | Event::LoginSucceeded(_)
            | Event::Audited(_)
    )
}

impl Collector {
    /// Writes until `stop` is done, and then what was heard before that.
    pub async fn run(mut self, events: Events, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut heard = Vec::new();
        loop {
            tokio::select! {
                count = self.queue.recv_many(&mut heard, EVENTS_BATCH_MAX) => {
                    self.store(&mut heard, &events).await;
                    if count == 0 {
                        return;
                    }
                }
                // That nothing happened is worth knowing too.
                () = tokio::time::sleep(QUIET_MAX) => self.store(&mut heard, &events).await,
                // Nothing new is taken, and the queue ends after what it holds.
                () = &mut stop, if !self.queue.is_closed() => self.queue.close(),
            }
            if !self.queue.is_closed() {
                tokio::time::sleep(BATCH_EVERY).await;
            }
        }
    }

    fn batch(&mut self, heard: &[Heard]) -> Batch {
        let mut batch = Batch::default();
        for Heard { at, event } in heard {
            self.note(&mut batch, *at, event);
        }
        self.cover(heard);
        batch.usage = self.book.take();
        batch
    }

    /// Everything up to now was heard, or, where more waits, up to the last event that is at hand.
    fn cover(&mut self, heard: &[Heard]) {
        let until = match heard.last() {
            Some(last) if !self.queue.is_empty() => last.at,
            _ => self.clock.now(),
        };
        self.book.cover(self.clock.to_utc(until), until.since(self.heard_until));
        self.heard_until = until.max(self.heard_until);
    }

    /// Everything that is kept of an event.
    fn note(&mut self, batch: &mut Batch, at: Timestamp, event: &Event) {
        let moment = Moment { ledger: at, utc: self.clock.to_utc(at) };
        self.book.note(moment.utc, event);
        // What one client can cause at will is bounded here as it is in the log.
        if self.quota.admits(at, event) {
            batch.events.push(new_event(moment, event));
        }
    }

    /// Writes a batch, however long the archive takes to work again.
    async fn store(&mut self, heard: &mut Vec<Heard>, events: &Events) {
        let batch = Arc::new(self.batch(heard));
        heard.clear();
        loop {
            match self.archive.keep(batch.clone()).await {
                Ok(()) => {
                    self.written.fetch_add(batch.events.len() as u64, Relaxed);
                    return self.recovered(events);
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        let trouble = Trouble { detail: error.to_string() };
                        events.tell(self.clock.now(), &Event::ArchiveFailed(trouble));
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
        }
    }

    fn recovered(&mut self, events: &Events) {
        if std::mem::take(&mut self.failing) {
            events.tell(self.clock.now(), &Event::ArchiveRecovered);
        }
        let count = self.lost.swap(0, Relaxed);
        if count > 0 {
            events.tell(self.clock.now(), &Event::EventsLost(EventsLost { count }));
        }
    }
}

fn new_event(moment: Moment, event: &Event) -> NewEvent {
    let (tenant, account) = whose(event);
    let body = telemetry::json(moment, event);
    NewEvent { at: moment.utc, name: event.name(), tenant, account, body, marks: marks(event) }
}

/// What an event is found by.
fn marks(event: &Event) -> Vec<Mark> {
    match event {
        Event::Message(report) => {
            let mut marks = vec![Mark::Session(report.session.clone())];
            marks.extend(report.message_id.clone().map(Mark::Message));
            let recipients = report.recipients.iter().map(|recipient| &recipient.address);
            marks.extend(recipients.map(|address| Mark::Recipient(address.clone())));
            marks
        }
        Event::Refused(refusal) => vec![Mark::Session(refusal.session.clone())],
        Event::Complaint(complaint) => {
            let session = complaint.transaction.as_ref().and_then(Mark::of_transaction);
            let mut marks: Vec<Mark> = session.into_iter().collect();
            marks.extend(complaint.message_id.clone().map(Mark::Message));
            marks.extend(complaint.recipient.clone().map(Mark::Recipient));
            marks
        }
        _ => Vec::new(),
    }
}

/// Whose matter an event is. The login of a failed attempt is anybody's invention and names nobody.
fn whose(event: &Event) -> (Option<TenantId>, Option<AccountId>) {
    let charged = match event {
        Event::Message(report) => report.charged.as_ref(),
        Event::Refused(refusal) => refusal.charged.as_ref(),
        Event::Complaint(complaint) => {
            return (complaint.tenant.clone(), complaint.account.clone());
        }
        Event::LimitReached(reached) => return whose_key(&reached.key),
        Event::Suspended(suspended) => return whose_subject(&suspended.subject),
        Event::Resumed(resumed) => return whose_subject(&resumed.subject),
        Event::SubjectChanged(changed) => return whose_subject(&changed.subject),
        _ => None,
    };
    charged.map_or((None, None), |c| (Some(c.tenant.clone()), Some(c.account.clone())))
}

fn whose_subject(subject: &SubjectId) -> (Option<TenantId>, Option<AccountId>) {
    match subject {
        SubjectId::Account(account) => (None, Some(account.clone())),
        SubjectId::Tenant(tenant) => (Some(tenant.clone()), None),
    }
}

fn whose_key(key: &Key) -> (Option<TenantId>, Option<AccountId>) {
    let parts = key.parts();
    match parts.scope {
        Scope::Tenant => (parts.name.parse().ok(), None),
        Scope::Account => (None, parts.name.parse().ok()),
        Scope::ClientIp | Scope::Peer => (None, None),
    }
}

/// Events that wait to be written, a few KiB each.
const EVENTS_QUEUE_MAX: usize = 16_384;
/// Events of one transaction.
const EVENTS_BATCH_MAX: usize = 2_000;
/// The pause between two transactions: what a page shows is at most this much older than the truth, and a commit serves many.
const BATCH_EVERY: Duration = Duration::from_millis(200);
/// The longest time without a transaction.
const QUIET_MAX: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_secs(1);
