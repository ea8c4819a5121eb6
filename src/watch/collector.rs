//! From events to the archive: whatever is told later is written from here, in one transaction with the events it comes from.
//!
//! The [`Ear`] is a listener: it puts a copy of each event that is kept into a bounded queue and returns. The [`Collector`]
//! drains the queue on a task of its own, a few times a second, and writes a [`Batch`]. A batch that cannot be written is
//! kept and written later, while the queue fills; what does not fit any more is counted and told, because a gap is not a zero.

use crate::{
    clock::Clock,
    event::{AlertTold, Event, Events, EventsLost, Listener, Trouble},
    rules::{
        alarm::{self, Notice},
        identity,
        tally::Book,
        verdict::Moment,
    },
    store::{
        archive::{Archive, Batch, Mark, NewEvent},
        records::Records,
    },
    telemetry::{self, ClientQuota},
    types::{AccountId, Key, Language, Scope, SubjectId, TenantId, Timestamp},
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
    alarm: alarm::Book,
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
    let alarm = alarm::Book::new(clock.utc());
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
        alarm,
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
    pub async fn run(
        mut self,
        events: Events,
        records: Arc<dyn Records>,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = pin!(stop);
        let mut heard = Vec::new();
        self.resume_alarm().await;
        loop {
            tokio::select! {
                count = self.queue.recv_many(&mut heard, EVENTS_BATCH_MAX) => {
                    self.store(&mut heard, &events, &*records).await;
                    if count == 0 {
                        return;
                    }
                }
                // What lasts, or is over, becomes known by the passing of time, too.
                () = tokio::time::sleep(ALARM_TURN_EVERY) => {
                    if self.is_due() {
                        self.store(&mut heard, &events, &*records).await;
                    }
                }
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
        self.alarm.turn(self.clock.utc());
        batch.alarm = self.alarm.take();
        batch
    }

    /// True if there is something to write without an event: that an alert is over, or that nothing happened, which is worth
    /// knowing too.
    fn is_due(&mut self) -> bool {
        self.alarm.turn(self.clock.utc());
        self.alarm.has_changed() || self.clock.now() >= self.heard_until + QUIET_MAX
    }

    /// Goes on with the alerts of the process before.
    async fn resume_alarm(&mut self) {
        for _ in 0..RESUME_ATTEMPTS_MAX {
            match self.archive.open_alerts().await {
                Ok(open) => {
                    let now = self.clock.utc();
                    self.alarm = alarm::Book::resume(open, now);
                    match self.archive.busiest_hours(now - VOLUME_KNOWN).await {
                        Ok(mut hours) => {
                            // The oldest first, as they happened.
                            hours.sort_by_key(|row| row.hour);
                            self.alarm.remember(hours);
                        }
                        Err(error) => {
                            tracing::warn!(%error, "what accounts sent before is not known");
                        }
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "the alerts of before cannot be read");
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
        }
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
        self.alarm.note(moment.utc, event);
        // What one client can cause at will is bounded here as it is in the log.
        if self.quota.admits(at, event) {
            batch.events.push(new_event(moment, event));
        }
    }

    /// Writes a batch, however long the archive takes to work again.
    async fn store(&mut self, heard: &mut Vec<Heard>, events: &Events, records: &dyn Records) {
        let mut batch = self.batch(heard);
        add_tenants(&mut batch, records).await;
        let batch = Arc::new(batch);
        heard.clear();
        loop {
            match self.archive.keep(batch.clone()).await {
                Ok(()) => {
                    self.written.fetch_add(batch.events.len() as u64, Relaxed);
                    self.tell_alerts(&batch, events);
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

    fn tell_alerts(&self, batch: &Batch, events: &Events) {
        for notice in &batch.alarm.notices {
            events.tell(self.clock.now(), &Event::Alert(Box::new(told(notice))));
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

/// An account's matter is its tenant's, too: the one that it has now, if the event does not say.
async fn add_tenants(batch: &mut Batch, records: &dyn Records) {
    for event in batch.events.iter_mut().filter(|event| event.tenant.is_none()) {
        let Some(account) = &event.account else { continue };
        let subject = SubjectId::Account(account.clone());
        // What is not known now is told by the account's name.
        let record = records.subject(&subject).await.unwrap_or_default();
        event.tenant = record.tenant.clone().or_else(|| Some(identity::tenant_of(account)));
    }
}

fn told(notice: &Notice) -> AlertTold {
    let alert = &notice.alert;
    AlertTold {
        id: notice.id.clone(),
        kind: alert.kind.name(),
        severity: alert.severity.name(),
        why: notice.why.name(),
        about: format!("{} {}", alert.about.scope, alert.about.name).trim_end().to_owned(),
        account: alert.facts.account.clone(),
        tenant: alert.tenant.clone(),
        title: alarm::words(alert, Language::English).title,
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
        Event::TokenCreated(token) | Event::TokenRevoked(token) => {
            return (token.access.tenant().cloned(), None);
        }
        Event::Alert(told) => return (told.tenant.clone(), told.account.clone()),
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
const ALARM_TURN_EVERY: Duration = Duration::from_secs(1);
const RESUME_ATTEMPTS_MAX: u32 = 5;
/// How far back the alarm looks for what an account usually sends.
const VOLUME_KNOWN: Duration = Duration::from_secs(7 * 86_400);
