//! From events to the archive: whatever is told later is written from here, in one transaction with the events it comes from.
//!
//! The [`Ear`] is a listener: it puts a copy of each event that is kept into a bounded queue and returns. The [`Collector`]
//! drains the queue on a task of its own, a few times a second, and writes a [`Batch`]. A batch that cannot be written is
//! kept and written later, while the queue fills; what does not fit any more is counted and told, because a gap is not a zero,
//! and time in which something may have been lost does not count as listened to. What the collector itself tells of the
//! archive does not go through the queue, which may be full just then.

use super::{StreamProgress, stream::told};
use crate::{
    clock::Clock,
    event::{
        Event, Events, EventsLost, Listener, Resumed, StandingChanged, Suspect, Suspended, Trouble,
    },
    rules::{
        alarm::{self, Sign},
        identity,
        tally::{Book, RecipientKey},
        verdict::Moment,
    },
    standing,
    store::{
        StoreError,
        archive::{Archive, Batch, Mark, NewEvent, NewOffence, OpenSuspension, Severity},
        records::{Choice, Records, Revision, Suspension},
    },
    telemetry::{self, ClientQuota},
    types::{AccountId, CaseId, Key, Scope, SubjectId, TenantId, Timestamp},
};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::mpsc::{self, error::TrySendError};

/// The archive's ear: a listener for [`Events`].
pub struct Ear {
    queue: mpsc::Sender<Heard>,
    lost: Arc<Lost>,
    written: Arc<AtomicU64>,
}

/// What found no room since that was told last.
#[derive(Default)]
struct Lost(Mutex<Option<Loss>>);

/// Events that found no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loss {
    /// The ledger's time of the first.
    since: Timestamp,
    count: u64,
}

impl Lost {
    fn note(&self, at: Timestamp) {
        let mut known = self.0.lock();
        let loss = known.get_or_insert(Loss { since: at, count: 0 });
        (loss.since, loss.count) = (loss.since.min(at), loss.count + 1);
    }

    fn take(&self) -> Option<Loss> {
        self.0.lock().take()
    }

    fn since(&self) -> Option<Timestamp> {
        self.0.lock().map(|loss| loss.since)
    }
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
    lost: Arc<Lost>,
    written: Arc<AtomicU64>,
    archive: Archive,
    clock: Clock,
    quota: ClientQuota,
    book: Book,
    /// The ledger's time up to which the book knows that it heard everything.
    heard_until: Timestamp,
    /// From the first event that was lost to the moment at which that was told, until everything of before was heard.
    gap: Option<(Timestamp, Timestamp)>,
    /// How many events the last batch had.
    gathered: usize,
    /// A write failed, and none succeeded since.
    failing: bool,
    /// What the collector told itself; goes into the next batch.
    own: Vec<Heard>,
    alarm: alarm::Book,
    /// Something about suspensions may have been missed: by the process before, or in a gap.
    suspensions: Trust,
    shared: Shared,
    /// Where what happens goes to all nodes: as which, and how far it has come with what all of them tell.
    node: Option<Node>,
    /// What was found out without an event.
    signs: Vec<(Timestamp, Sign)>,
}

struct Node {
    name: String,
    progress: Arc<StreamProgress>,
}

/// How far records have come that other nodes change too.
#[derive(Default)]
struct Shared {
    /// At the last batch.
    seen: Option<Revision>,
    /// When it was looked last whether suspensions have ended.
    compared: Option<Revision>,
}

impl Shared {
    fn has_moved(&self, records: &dyn Records) -> bool {
        self.seen != self.compared || latest(records) != self.seen
    }

    /// True if other nodes may have lifted suspensions: a batch after records changed, because by then what was done here was
    /// heard.
    fn turn(&mut self, records: &dyn Records) -> bool {
        let is_new = self.seen != self.compared;
        self.compared = self.seen;
        self.seen = latest(records);
        is_new
    }
}

fn latest(records: &dyn Records) -> Option<Revision> {
    records.revision().ok().flatten()
}

/// Whether what was heard is all that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Whole,
    Doubted,
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
    let lost = Arc::<Lost>::default();
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
        gap: None,
        gathered: 0,
        failing: false,
        own: Vec::new(),
        alarm,
        suspensions: Trust::Doubted,
        shared: Shared::default(),
        node: None,
        signs: Vec::new(),
    };
    (ear, collector)
}

impl Listener for Ear {
    fn notice(&self, at: Timestamp, event: &Event) {
        if !is_kept(event) {
            return;
        }
        match self.queue.try_send(Heard { at, event: event.clone() }) {
            // At its end the collector keeps the alerts of its last batches itself.
            Ok(()) | Err(TrySendError::Closed(Heard { event: Event::Alert(_), .. })) => {}
            Err(_) => self.lost.note(at),
        }
    }
}

/// Comings and goings of connections are for the log and the metrics only, the audit is kept already, and what the collector
/// tells itself it knows.
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
            | Event::ArchiveFailed(_)
            | Event::ArchiveRecovered
            | Event::EventsLost(_)
    )
}

impl Collector {
    /// What happens goes to all nodes, which hash recipients with this.
    pub fn share(&mut self, name: String, key: RecipientKey, progress: Arc<StreamProgress>) {
        self.book.hash_with(key);
        self.node = Some(Node { name, progress });
    }

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
                    if count == 0 && self.own.is_empty() {
                        return;
                    }
                }
                // What lasts, or is over, becomes known by the passing of time, too.
                () = tokio::time::sleep(ALARM_TURN_EVERY) => {
                    let has_moved = self.node.is_none() && self.shared.has_moved(&*records);
                    if self.is_due() || has_moved {
                        self.store(&mut heard, &events, &*records).await;
                    }
                }
                // Nothing new is taken, and the queue ends after what it holds.
                () = &mut stop, if !self.queue.is_closed() => self.queue.close(),
            }
            if !self.queue.is_closed() {
                tokio::time::sleep(self.pause()).await;
            }
        }
    }

    /// How long to let events gather. What each batch writes once for each sender costs most where many gather, so more do then.
    fn pause(&self) -> Duration {
        if (BUSY_EVENTS..EVENTS_BATCH_MAX).contains(&self.gathered) {
            BATCH_EVERY_BUSY
        } else {
            BATCH_EVERY
        }
    }

    fn batch(&mut self, heard: &[Heard]) -> Batch {
        self.gathered = heard.len();
        let mut batch = Batch::default();
        for Heard { at, event } in std::mem::take(&mut self.own).iter().chain(heard) {
            self.note(&mut batch, *at, event);
        }
        self.cover(heard);
        batch.usage = self.book.take();
        batch.at = self.clock.utc();
        batch.signs.append(&mut self.signs);
        if self.node.is_none() {
            self.alarm.turn(batch.at);
            batch.alarm = self.alarm.take();
        }
        batch
    }

    /// True if there is something to write without an event: that an alert is over, or that nothing happened, which is worth
    /// knowing too.
    fn is_due(&mut self) -> bool {
        if let Some(node) = &self.node {
            if node.progress.take_doubt() {
                self.suspensions = Trust::Doubted;
            }
            return !self.own.is_empty()
                || !self.signs.is_empty()
                || self.must_compare()
                || self.clock.now() >= self.heard_until + QUIET_SHARED_MAX;
        }
        self.alarm.turn(self.clock.utc());
        self.alarm.has_changed()
            || !self.own.is_empty()
            || self.suspensions == Trust::Doubted
            || self.clock.now() >= self.heard_until + QUIET_MAX
    }

    /// Where other nodes know more, what they told has to be here first.
    fn must_compare(&self) -> bool {
        self.suspensions == Trust::Doubted
            && self.node.as_ref().is_none_or(|node| node.progress.is_current())
    }

    /// Goes on with the alerts of the process before.
    async fn resume_alarm(&mut self) {
        for _ in 0..RESUME_ATTEMPTS_MAX {
            match self.archive.open_alerts().await {
                Ok(open) => {
                    let now = self.clock.utc();
                    if self.node.is_none() {
                        self.alarm = alarm::Book::resume(open, now);
                    }
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

    /// Everything up to now was heard, or, where more waits, up to the last event that is at hand; but nothing of a gap.
    fn cover(&mut self, heard: &[Heard]) {
        let until = match heard.last() {
            Some(last) if !self.queue.is_empty() => last.at,
            _ => self.clock.now(),
        };
        let from = self.heard_until;
        let Some((lost_since, told_at)) = self.present_gap() else {
            self.cover_stretch(from, until);
            return;
        };
        self.cover_stretch(from, until.min(lost_since));
        self.cover_stretch(from.max(told_at), until);
        if until >= told_at {
            // What the gap held about suspensions is known from the records.
            (self.gap, self.suspensions) = (None, Trust::Doubted);
        }
    }

    fn cover_stretch(&mut self, from: Timestamp, until: Timestamp) {
        self.book.cover(self.clock.to_utc(until), until.since(from));
        self.heard_until = until.max(self.heard_until);
    }

    /// A loss that was not told yet is a gap without an end.
    fn present_gap(&self) -> Option<(Timestamp, Timestamp)> {
        let told = self.gap;
        match (told, self.lost.since()) {
            (told, None) => told,
            (None, Some(since)) => Some((since, END_OF_TIME)),
            (Some((first, _)), Some(since)) => Some((first.min(since), END_OF_TIME)),
        }
    }

    /// Takes from the records who is suspended, and ends and begins what was not heard of.
    async fn compare_suspensions(&mut self, records: &dyn Records) -> Result<(), StoreError> {
        let known = self.end_suspensions(records).await?;
        let now = self.clock.utc();
        for (subject, record) in records.chosen(Choice::Suspended, SUSPENSIONS_MAX).await? {
            let Some(present) = record.suspension.clone() else { continue };
            if !known.contains(&present.case) {
                let Suspension { case, since, reason, actor, until, .. } = present;
                let begun = Event::Suspended(Suspended { subject, case, reason, actor, until });
                self.book.note(since, &begun);
                self.found(now, &begun);
            }
        }
        Ok(())
    }

    /// Ends suspensions that the records do not have any more; the cases that were known.
    async fn end_suspensions(
        &mut self,
        records: &dyn Records,
    ) -> Result<HashSet<CaseId>, StoreError> {
        let rows = self.archive.open_suspensions(SUSPENSIONS_MAX).await?;
        let now = self.clock.utc();
        for row in &rows {
            if present_case(records, &row.subject).await?.as_ref() != Some(&row.case) {
                let ended = ended(row.clone());
                self.book.note(now, &ended);
                if self.node.is_some() {
                    self.found(now, &ended);
                }
            }
        }
        for (subject, case) in self.alarm.suspended() {
            if present_case(records, &subject).await?.is_none() {
                self.alarm.note(now, &ended(OpenSuspension { case, subject }));
            }
        }
        Ok(rows.into_iter().map(|row| row.case).collect())
    }

    /// Takes note, for alerts, of what was found out without an event.
    fn found(&mut self, at: Timestamp, event: &Event) {
        match &self.node {
            Some(node) => {
                let signs = self.alarm.signs(at, event, &node.name);
                self.signs.extend(signs.into_iter().map(|sign| (at, sign)));
            }
            None => self.alarm.note(at, event),
        }
    }

    /// Everything that is kept of an event.
    fn note(&mut self, batch: &mut Batch, at: Timestamp, event: &Event) {
        if let Event::AccountErased(erased) = event {
            self.alarm.forget_account(&erased.account);
            return;
        }
        let moment = Moment { ledger: at, utc: self.clock.to_utc(at) };
        self.book.note(moment.utc, event);
        batch.offences.extend(offence(moment.utc, event));
        match &self.node {
            Some(node) => {
                let signs = self.alarm.signs(moment.utc, event, &node.name);
                add_signs(&mut batch.signs, moment.utc, signs);
            }
            None => self.alarm.note(moment.utc, event),
        }
        // What one client can cause at will is bounded here as it is in the log.
        if self.quota.admits(at, event) {
            batch.events.push(new_event(moment, event));
        }
    }

    /// Writes a batch, however long the archive takes to work again.
    async fn store(&mut self, heard: &mut Vec<Heard>, events: &Events, records: &dyn Records) {
        if self.must_compare() {
            match self.compare_suspensions(records).await {
                Ok(()) => self.suspensions = Trust::Whole,
                Err(error) => tracing::warn!(%error, "who is suspended cannot be compared yet"),
            }
        } else if self.node.is_none()
            && self.shared.turn(records)
            && self.end_suspensions(records).await.is_err()
        {
            self.shared.compared = None;
        }
        let mut batch = self.batch(heard);
        add_tenants(&mut batch, records).await;
        set_tenants(&mut batch, records).await;
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
                        self.tell(events, Event::ArchiveFailed(trouble));
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
        }
    }

    fn tell_alerts(&mut self, batch: &Batch, events: &Events) {
        let at = self.clock.now();
        for notice in &batch.alarm.notices {
            let event = Event::Alert(Box::new(told(notice)));
            events.tell(at, &event);
            if self.queue.is_closed() {
                self.own.push(Heard { at, event });
            }
        }
    }

    fn recovered(&mut self, events: &Events) {
        if std::mem::take(&mut self.failing) {
            self.tell(events, Event::ArchiveRecovered);
        }
        if let Some(Loss { since, count }) = self.lost.take() {
            let first = self.gap.map_or(since, |(first, _)| first.min(since));
            self.gap = Some((first, self.clock.now()));
            self.tell(events, Event::EventsLost(EventsLost { count }));
        }
    }

    /// Tells the others, and keeps it for the next batch, because the ear may have no room for it.
    fn tell(&mut self, events: &Events, event: Event) {
        let at = self.clock.now();
        events.tell(at, &event);
        self.own.push(Heard { at, event });
    }
}

async fn present_case(
    records: &dyn Records,
    subject: &SubjectId,
) -> Result<Option<CaseId>, StoreError> {
    let record = records.subject(subject).await?;
    Ok(record.suspension.as_ref().map(|suspension| suspension.case.clone()))
}

/// That a suspension ended, of which nothing else is known.
fn ended(OpenSuspension { case, subject }: OpenSuspension) -> Event {
    Event::Resumed(Resumed { subject, case, reason: String::new(), actor: "unknown".into() })
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

/// What of an event counts against a tenant: suspensions, and what a rule thought of before it came to that.
fn offence(at: Timestamp, event: &Event) -> Option<NewOffence> {
    match event {
        Event::Suspended(suspended) => {
            let (tenant, account) = tenant_and_account(&suspended.subject);
            let waits = suspended.until.is_none() && suspended.actor == standing::RULE;
            Some(NewOffence {
                at,
                tenant,
                account,
                severity: if waits { Severity::Serious } else { Severity::Medium },
                kind: "suspended".into(),
                case: Some(suspended.case.to_string()),
                detail: suspended.reason.clone(),
            })
        }
        // One that gets better on its way to nothing is no offence more.
        Event::StandingChanged(changed) if changed.is_worse() => {
            let Suspect::Subject(subject) = &changed.who else { return None };
            let (by_name, account) = tenant_and_account(subject);
            Some(NewOffence {
                at,
                tenant: changed.tenant.clone().unwrap_or(by_name),
                account,
                severity: Severity::Minor,
                kind: changed.to.into(),
                case: None,
                detail: changed.reasons.join("; "),
            })
        }
        _ => None,
    }
}

fn tenant_and_account(subject: &SubjectId) -> (TenantId, Option<AccountId>) {
    match subject {
        SubjectId::Account(account) => (identity::tenant_of(account), Some(account.clone())),
        SubjectId::Tenant(tenant) => (tenant.clone(), None),
    }
}

/// Adds what an event says. That something is over is said once in a batch, because each message says it of some.
fn add_signs(all: &mut Vec<(Timestamp, Sign)>, at: Timestamp, signs: Vec<Sign>) {
    for sign in signs {
        let Sign::Clear(key) = &sign else {
            all.push((at, sign));
            continue;
        };
        let of_it = |(_, other): &&(Timestamp, Sign)| match other {
            Sign::Raise(condition) => condition.key() == *key,
            Sign::Clear(other) => other == key,
        };
        if !matches!(all.iter().rev().find(of_it), Some((_, Sign::Clear(_)))) {
            all.push((at, sign));
        }
    }
}

/// The tenant that an account of an offence belongs to, where that is another than its name says.
async fn set_tenants(batch: &mut Batch, records: &dyn Records) {
    for offence in &mut batch.offences {
        let Some(account) = &offence.account else { continue };
        let subject = SubjectId::Account(account.clone());
        let record = records.subject(&subject).await.unwrap_or_default();
        if let Some(tenant) = &record.tenant {
            offence.tenant.clone_from(tenant);
        }
    }
}

fn new_event(moment: Moment, event: &Event) -> NewEvent {
    let (tenant, account) = whose(event);
    let body = telemetry::json(moment, event);
    NewEvent {
        at: moment.utc,
        name: event.name().into(),
        tenant,
        account,
        body,
        marks: marks(event),
    }
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
        Event::CancelProposed(proposed) => return (Some(proposed.tenant.clone()), None),
        Event::Suspended(suspended) => return whose_subject(&suspended.subject),
        Event::Resumed(resumed) => return whose_subject(&resumed.subject),
        Event::StandingChanged(changed) => return whose_standing(changed),
        Event::SubjectChanged(changed) => return whose_subject(&changed.subject),
        Event::TokenCreated(token) | Event::TokenRevoked(token) => {
            return (token.access.tenant().cloned(), None);
        }
        Event::Alert(told) => return (told.tenant.clone(), told.account.clone()),
        Event::ListingCause(cause) => {
            let likely = cause.likely();
            return likely.map_or((None, None), |suspect| (None, Some(suspect.account.clone())));
        }
        _ => None,
    };
    charged.map_or((None, None), |c| (Some(c.tenant.clone()), Some(c.account.clone())))
}

fn whose_standing(changed: &StandingChanged) -> (Option<TenantId>, Option<AccountId>) {
    match &changed.who {
        Suspect::Subject(SubjectId::Account(account)) => {
            (changed.tenant.clone(), Some(account.clone()))
        }
        // Other tenants' customers may come from the same address.
        Suspect::Subject(SubjectId::Tenant(_)) | Suspect::Client(_) => {
            (changed.tenant.clone(), None)
        }
    }
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

const END_OF_TIME: Timestamp = Timestamp::from_millis(i64::MAX);
/// Suspensions that are compared with the records.
const SUSPENSIONS_MAX: usize = 100_000;
/// Events that wait to be written, a few KiB each.
const EVENTS_QUEUE_MAX: usize = 16_384;
/// Events of one transaction.
const EVENTS_BATCH_MAX: usize = 4_000;
/// The pause between two transactions: what a page shows is about this much older than the truth, and a commit serves many.
const BATCH_EVERY: Duration = Duration::from_millis(200);
/// The same where a transaction had so many events.
const BATCH_EVERY_BUSY: Duration = Duration::from_millis(600);
const BUSY_EVENTS: usize = 200;
/// The same where other nodes wait for it.
const QUIET_SHARED_MAX: Duration = Duration::from_secs(5);
/// The longest time without a transaction.
const QUIET_MAX: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_secs(1);
const ALARM_TURN_EVERY: Duration = Duration::from_secs(1);
const RESUME_ATTEMPTS_MAX: u32 = 5;
/// How far back the alarm looks for what an account usually sends.
const VOLUME_KNOWN: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Hand,
        rules::{
            alarm::{Notice, Phase},
            tally::{RecipientKey, calendar::Zone},
        },
        store::{
            archive::{AlertFilter, EventFilter, Settings, open},
            memory::MemoryStore,
            records::{Change, What},
        },
        types::Actor,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn collecting(archive: Archive) -> (Collector, Events, Hand) {
        let (clock, hand) = Clock::by_hand(at(0));
        let book = Book::new(RecipientKey::new(&[0; 32]), Zone::UTC);
        let (ear, collector) = collector(archive, clock, 0, book);
        (collector, Events::new(vec![Box::new(ear)]), hand)
    }

    /// What the collector writes until its queue is empty: seconds listened to, events lost, and what is told.
    fn drain(collector: &mut Collector) -> (u64, u64, Vec<String>) {
        let (mut collected, mut lost, mut told) = (Duration::ZERO, 0, Vec::new());
        loop {
            let next = std::iter::from_fn(|| collector.queue.try_recv().ok());
            let heard: Vec<Heard> = next.take(EVENTS_BATCH_MAX).collect();
            let batch = collector.batch(&heard);
            collected +=
                batch.usage.minutes.values().map(|minute| minute.collected).sum::<Duration>();
            lost += batch.usage.minutes.values().map(|minute| minute.lost).sum::<u64>();
            let of = |notice: &Notice| format!("{} {}", notice.alert.kind, notice.why.name());
            told.extend(batch.alarm.notices.iter().map(of));
            if heard.is_empty() {
                return (collected.as_secs(), lost, told);
            }
        }
    }

    /// The names of what is told.
    #[derive(Clone, Default)]
    struct Names(Arc<parking_lot::Mutex<Vec<&'static str>>>);

    impl Listener for Names {
        fn notice(&self, _: Timestamp, event: &Event) {
            self.0.lock().push(event.name());
        }
    }

    #[tokio::test]
    async fn an_alert_of_the_last_moment_is_kept_and_nothing_counts_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let (clock, names) = (Clock::start(at(0)), Names::default());
        let book = Book::new(RecipientKey::new(&[0; 32]), Zone::UTC);
        let (ear, collector) = collector(archive.clone(), clock.clone(), 0, book);
        let events = Events::new(vec![Box::new(ear), Box::new(names.clone())]);
        events.tell(clock.now(), &Event::StoreFailed(Trouble { detail: "disk".into() }));
        let records = Arc::new(MemoryStore::new(Duration::from_secs(60), Duration::ZERO));
        collector.run(events, records, std::future::ready(())).await;
        let told = names.0.lock().clone();
        assert!(told.contains(&"alert") && !told.contains(&"events-lost"), "{told:?}");
        let kept = archive.events(EventFilter { max: 9, ..EventFilter::default() }).await.unwrap();
        let kept: Vec<_> = kept.iter().map(|row| row.name.as_str()).collect();
        assert!(kept.contains(&"alert"), "{kept:?}");
    }

    #[tokio::test]
    async fn an_outage_that_fills_the_queue_ends_and_its_gap_was_not_listened_to() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let (mut collector, events, hand) = collecting(archive);
        let clock = collector.clock.clone();
        // Something that is kept and says nothing about alerts.
        let event = Event::CertificatesReloaded;
        let tell = |count| (0..count).for_each(|_| events.tell(clock.now(), &event));
        hand.move_to(at(60));
        collector.failing = true;
        collector.tell(&events, Event::ArchiveFailed(Trouble { detail: "disk".into() }));
        tell(EVENTS_QUEUE_MAX);
        hand.move_to(at(120));
        tell(3);
        hand.move_to(at(600));
        collector.recovered(&events);
        // The queue is still full, so that more is lost, which is told by and by.
        hand.move_to(at(610));
        tell(2);
        hand.move_to(at(630));
        let (collected, lost, mut told) = drain(&mut collector);
        assert_eq!((collected, lost), (120, 3), "all that came before the gap, and nothing of it");
        collector.recovered(&events);
        hand.move_to(at(700));
        let (collected, lost, more) = drain(&mut collector);
        assert_eq!((collected, lost), (70, 2), "from when the loss was told");
        told.extend(more);
        told.sort_unstable();
        let expected = ["archive-failing raised", "archive-failing resolved", "events-lost raised"];
        assert_eq!(told, expected);
        assert_eq!((collector.gap, collector.suspensions), (None, Trust::Doubted));
    }

    #[test]
    fn a_standing_that_gets_better_is_no_offence() {
        let kind = |from, to, observed_only| {
            let changed = StandingChanged {
                who: Suspect::Subject(SubjectId::Account("a@shop.example".parse().unwrap())),
                tenant: None,
                from,
                to,
                until: None,
                points: 5.0,
                reasons: vec!["place 3.5".into()],
                observed_only,
            };
            let event = Event::StandingChanged(Box::new(changed));
            offence(Timestamp::EPOCH, &event).map(|offence| offence.kind.into_owned())
        };
        assert_eq!(kind("active", "warned", false).as_deref(), Some("warned"));
        assert_eq!(kind("warned", "throttled", false).as_deref(), Some("throttled"));
        assert_eq!(kind("throttled", "warned", false), None);
        assert_eq!(kind("suspended", "active", false), None);
        assert_eq!(kind("active", "throttled", true), None);
    }

    #[tokio::test]
    async fn who_is_suspended_is_taken_from_the_records_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let records = MemoryStore::new(Duration::ZERO, Duration::ZERO);
        let subject = |name: &str| SubjectId::Account(name.parse().unwrap());
        let case = |name: &str| name.parse::<CaseId>().unwrap();
        let change = |name: &str, what| Change {
            subject: subject(name),
            what,
            reason: "spam".into(),
            evidence: None,
            actor: Actor::automatic("test"),
        };
        let suspended = |name: &str, of: &str| {
            let (reason, actor) = ("spam".into(), "op".into());
            Event::Suspended(Suspended {
                subject: subject(name),
                case: case(of),
                reason,
                actor,
                until: None,
            })
        };
        // Of the first the end is not heard of, of the second the beginning; of the third everything.
        let (mut before, events, _hand) = collecting(archive.clone());
        for (name, of) in [("b@shop.example", "TG-2"), ("c@shop.example", "TG-3")] {
            records.change(change(name, What::suspend(case(of))), at(1)).await.unwrap();
        }
        before.suspensions = Trust::Whole;
        let known = [("a@shop.example", "TG-1"), ("c@shop.example", "TG-3")];
        let heard = known.map(|(name, of)| Heard { at: at(1), event: suspended(name, of) });
        before.store(&mut heard.into(), &events, &records).await;
        drop(before);

        let (mut after, events, _hand) = collecting(archive.clone());
        after.resume_alarm().await;
        assert!(after.is_due());
        after.store(&mut Vec::new(), &events, &records).await;
        let all = AlertFilter { max: 9, ..AlertFilter::default() };
        let alerts = archive.alerts(all).await.unwrap().into_iter();
        let alerts: Vec<_> =
            alerts.map(|row| (row.alert.about.name, row.alert.phase, row.alert.count)).collect();
        let expected = [
            ("b@shop.example".to_owned(), Phase::Firing, 1),
            ("c@shop.example".to_owned(), Phase::Firing, 1),
            ("a@shop.example".to_owned(), Phase::Resolved, 1),
        ];
        assert_eq!(alerts, expected);
        let open = archive.open_suspensions(9).await.unwrap().into_iter();
        let mut cases: Vec<_> = open.map(|row| row.case.to_string()).collect();
        cases.sort_unstable();
        assert_eq!(cases, ["TG-2", "TG-3"]);
        assert_eq!(after.suspensions, Trust::Whole);
    }
}
