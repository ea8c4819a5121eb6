//! Several nodes' events: what this node puts on its way goes into the stream in Redis, and what all of them put there comes into
//! this node's archive.
//!
//! The [`Publisher`] appends the archive's journal, in its order; what may have got lost on the way is appended again, and
//! Redis leaves out what it has. The [`StreamReader`] takes over entry by entry. What follows from them for alerts is
//! computed here from the entries alone, by their own times, so that all archives come to the same alerts and messages. An entry
//! that does not follow from the last one means that some are gone: the reader begins again with the oldest that is there, leaves
//! out what it has, counts what it lacks, and says so.

use crate::{
    clock::{self, Clock},
    event::{AlertTold, Event, Events, EventsMissed},
    rules::alarm::{self, Book, Changes, Notice},
    store::{
        StoreError,
        archive::{
            Archive, Lack,
            audit::audited,
            stream::{Heard, Missed, Order, Origin, Parcel, StreamState, Taken},
        },
        records::Revision,
        redis::{Entry, RedisStream, StreamSettings, backoff},
    },
    types::{Language, SubjectId, Timestamp},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// How far a node has come with what all nodes tell one another.
#[derive(Debug, Default)]
pub struct StreamProgress {
    /// The last entry that the archive has.
    position: AtomicI64,
    /// The last entry that there is, as far as is known.
    head: AtomicI64,
    /// When the last entry was put on its way, in UTC.
    until: AtomicI64,
    missed: AtomicU64,
    waiting: AtomicU64,
    /// Everything that there was has been read once.
    is_current: AtomicBool,
    /// Something was missed, so that what follows from events may be wrong.
    is_doubted: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl StreamProgress {
    /// Entries that are in Redis and not in the archive.
    #[must_use]
    pub fn behind(&self) -> u64 {
        let behind = self.head.load(Relaxed).saturating_sub(self.position.load(Relaxed));
        u64::try_from(behind).unwrap_or(0)
    }

    /// When the newest entry of the archive was told, in UTC; none: there is none.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        Some(self.until.load(Relaxed)).filter(|&millis| millis != 0).map(Timestamp::from_millis)
    }

    /// Events of other nodes that were missed since the start.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// Octets that wait in the journal.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Why events do not come and go, until they do.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// True once everything that there was has been read.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.is_current.load(Relaxed)
    }

    /// True once after something was missed.
    #[must_use]
    pub fn take_doubt(&self) -> bool {
        self.is_doubted.swap(false, Relaxed)
    }

    fn fail(&self, error: &StoreError) -> bool {
        self.failure.lock().replace(error.to_string()).is_none()
    }

    fn recover(&self) {
        *self.failure.lock() = None;
    }
}

/// Appends what is on its way.
pub struct Publisher {
    /// Where it waits.
    pub archive: Archive,
    /// Where it goes.
    pub stream: Arc<RedisStream>,
    /// How much may be there.
    pub settings: StreamSettings,
    /// How far this node has come.
    pub progress: Arc<StreamProgress>,
}

impl Publisher {
    /// Appends for ever.
    pub async fn run(self) {
        let (mut after, mut failures) = (0, 0_u32);
        // The origins that were met since it was begun with the oldest.
        let (mut met, mut begun) = (HashSet::new(), clock::steady_now());
        loop {
            // What was not read back by now may have been lost, with Redis' own memory.
            if clock::steady_now() - begun >= AGAIN_EVERY {
                (after, begun) = (0, clock::steady_now());
            }
            if after == 0 {
                met.clear();
            }
            if let Err(error) = self.publish(&mut after, &mut met).await {
                tracing::debug!(%error, "events wait for Redis");
                (after, failures) = (0, failures.saturating_add(1));
                self.note_waiting().await;
                tokio::time::sleep(backoff(failures)).await;
            } else {
                failures = 0;
            }
        }
    }

    /// Appends what there is behind a place; waits for something if there is nothing.
    async fn publish(&self, after: &mut i64, met: &mut HashSet<Origin>) -> Result<(), StoreError> {
        let outgoing = self.archive.outgoing(*after, OUTGOING_MAX).await?;
        for one in &outgoing {
            let from = self.progress.position.load(Relaxed);
            let is_oldest = met.insert(one.header.origin);
            if !self.stream.append(&self.settings, one, (from, is_oldest)).await? {
                *after = 0;
                return Ok(());
            }
        }
        *after = outgoing.last().map_or(*after, |last| last.place);
        self.note_waiting().await;
        if outgoing.is_empty() {
            tokio::select! {
                () = self.archive.posted() => {}
                () = tokio::time::sleep(AGAIN_EVERY) => {}
            }
        }
        Ok(())
    }

    async fn note_waiting(&self) {
        if let Ok(waiting) = self.archive.outgoing_waiting().await {
            self.progress.waiting.store(waiting.octets, Relaxed);
        }
    }
}

/// Takes over what all nodes told.
pub struct StreamReader {
    /// Where it goes.
    pub archive: Archive,
    /// Where it comes from.
    pub stream: Arc<RedisStream>,
    /// The present moment.
    pub clock: Clock,
    /// Who is told.
    pub events: Events,
    /// This node's name.
    pub node: String,
    /// How far this node has come.
    pub progress: Arc<StreamProgress>,
}

/// What the reader knows of its archive.
struct Copy {
    state: StreamState,
    book: Book,
    /// The archive has not come to the end of the stream yet since it was new: of a node that it hears for the first time it misses nothing.
    is_new: bool,
    /// What of the stream it has not read and cannot read any more.
    lack: Lack,
}

impl StreamReader {
    /// Reads for ever; what fails is tried again.
    pub async fn run(self) {
        let mut failures = 0_u32;
        loop {
            let Err(error) = self.follow(&mut failures).await;
            if self.progress.fail(&error) {
                tracing::error!(%error, "events of other nodes cannot be read");
            }
            failures = failures.saturating_add(1);
            tokio::time::sleep(backoff(failures)).await;
        }
    }

    async fn follow(&self, failures: &mut u32) -> Result<Infallible, StoreError> {
        let mut copy = self.load().await?;
        let mut ear = self.stream.ear().await?;
        // What the first entry has to follow; none: it is the oldest that there is.
        let mut after = copy.state.position;
        let mut doubt = Doubt::default();
        loop {
            let entries = self.stream.listen(&mut ear, after.map_or(0, |last| last.number)).await?;
            let Some(last) = entries.last().map(|entry| entry.revision) else {
                let head = self.stream.head().await?;
                if doubt.may_have_come(after, head) {
                    continue;
                }
                after = self.look(&mut copy, after, head).await?;
                continue;
            };
            doubt = Doubt::default();
            if let Some(known) = after
                && !follows(known, &entries)
            {
                tracing::warn!(
                    "entries of the stream of events are gone; reading goes on with the oldest"
                );
                (after, copy.lack) = (None, Lack::Stretch);
                continue;
            }
            self.take(&mut copy, entries).await?;
            after = Some(last);
            *failures = 0;
            self.progress.recover();
        }
    }

    async fn load(&self) -> Result<Copy, StoreError> {
        let state = self.archive.stream_state().await?;
        let number = state.position.map_or(0, |position| position.number);
        self.progress.position.store(number, Relaxed);
        let book = Book::copy(self.archive.open_alerts().await?, self.clock.utc());
        let is_new = state.position.is_none();
        Ok(Copy { state, book, is_new, lack: Lack::Nothing })
    }

    /// Nothing came: is everything read, or is there another stream? What the next entry has to follow.
    async fn look(
        &self,
        copy: &mut Copy,
        after: Option<Revision>,
        head: Option<Revision>,
    ) -> Result<Option<Revision>, StoreError> {
        let number = head.map_or(0, |head| head.number);
        self.progress.head.store(number, Relaxed);
        let is_same = head.is_none() || head == copy.state.position;
        if is_same {
            copy.is_new = false;
            self.progress.is_current.store(true, Relaxed);
            self.progress.recover();
            return Ok(after);
        }
        if after.is_some() {
            copy.lack = Lack::Stretch;
            return Ok(None);
        }
        // There is nothing any more of what there was.
        if let Some(position) = head {
            let (parcels, origins) = (Vec::new(), BTreeMap::new());
            let lack = copy.lack_of(position.number);
            let taken = Taken { parcels, origins, position, missed: None, lack };
            self.write(copy, taken).await?;
        }
        Ok(head)
    }

    async fn take(&self, copy: &mut Copy, entries: Vec<Entry>) -> Result<(), StoreError> {
        let Some(position) = entries.last().map(|entry| entry.revision) else { return Ok(()) };
        let lack = entries
            .first()
            .map_or(copy.lack, |first| copy.lack_of(first.revision.number.saturating_sub(1)));
        let (mut parcels, mut origins) = (Vec::new(), BTreeMap::new());
        let mut missed: Option<Missed> = None;
        for Entry { header, body, .. } in entries {
            let known = copy.state.origins.get(&header.origin);
            if known.is_some_and(|known| header.number <= known.number) {
                continue;
            }
            let parcel = match self.archive.open(header, &body) {
                Ok(parcel) => parcel,
                // The next one of its origin says what is missing; to stop here would be to stop for ever.
                Err(error) => {
                    tracing::error!(%error, "what a gate told is left out");
                    continue;
                }
            };
            let gap = copy.gap_before(&parcel);
            missed = together(missed, gap);
            let changes = copy.judge(&parcel);
            let heard = copy.heard(&parcel);
            copy.state.origins.insert(parcel.header.origin, heard.clone());
            origins.insert(parcel.header.origin, heard);
            parcels.push((parcel, changes));
        }
        self.write(copy, Taken { parcels, origins, position, missed, lack }).await
    }

    /// Writes what was taken, however long the archive takes to work again.
    async fn write(&self, copy: &mut Copy, taken: Taken) -> Result<(), StoreError> {
        let taken = Arc::new(taken);
        let heads = loop {
            match self.archive.take_in(taken.clone()).await {
                Ok(heads) => break heads,
                Err(error @ StoreError::Unavailable(_)) => {
                    if self.progress.fail(&error) {
                        tracing::error!(%error, "events of other nodes cannot be kept");
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                Err(error) => return Err(error),
            }
        };
        copy.state.position = Some(taken.position);
        copy.lack = Lack::Nothing;
        self.progress.position.store(taken.position.number, Relaxed);
        self.progress.head.fetch_max(taken.position.number, Relaxed);
        if let Some((parcel, _)) = taken.parcels.last() {
            self.progress.until.store(parcel.header.at.as_millis(), Relaxed);
        }
        let now = self.clock.now();
        for (action, head) in &heads {
            self.events.tell(now, &audited(action, *head));
        }
        // Of all nodes the one whose events caused a message says so.
        let own = taken.parcels.iter().filter(|(parcel, _)| parcel.header.origin == copy.state.own);
        for notice in own.flat_map(|(_, changes)| &changes.notices) {
            self.events.tell(now, &Event::Alert(Box::new(told(notice))));
        }
        if let Some(missed) = &taken.missed {
            self.progress.missed.fetch_add(missed.events, Relaxed);
            self.progress.is_doubted.store(true, Relaxed);
            let (count, since, until) = (missed.events, missed.since, missed.until);
            let missed = EventsMissed { node: self.node.clone(), count, since, until };
            self.events.tell(now, &Event::EventsMissed(missed));
        }
        Ok(())
    }
}

impl Copy {
    /// What it lacks if so many entries were there before what it reads next.
    const fn lack_of(&self, before: i64) -> Lack {
        if self.state.position.is_none() && before > 0 { Lack::Beginning } else { self.lack }
    }

    /// What is missing of an origin right before a parcel.
    fn gap_before(&self, parcel: &Parcel) -> Option<Missed> {
        let header = &parcel.header;
        let known = self.state.origins.get(&header.origin);
        let expected = known.map_or(1, |known| known.number + 1);
        if header.number <= expected || (known.is_none() && self.is_new) {
            return None;
        }
        let had = known.map_or(0, |known| known.events);
        let since = known.map(|known| known.until).or_else(|| self.latest()).unwrap_or(header.at);
        let events = u64::try_from(header.events_before - had).unwrap_or(0);
        Some(Missed { since: since.min(header.at), until: header.at, events })
    }

    fn latest(&self) -> Option<Timestamp> {
        self.state.origins.values().map(|heard| heard.until).max()
    }

    fn heard(&self, Parcel { header, content }: &Parcel) -> Heard {
        let before = self.state.origins.get(&header.origin).map(|heard| heard.until);
        let events = header.events_before + i64::try_from(content.events.len()).unwrap_or(0);
        Heard {
            node: header.node.clone(),
            number: header.number,
            events,
            until: before.map_or(header.at, |before| before.max(header.at)),
        }
    }

    /// What a parcel changes about alerts: a matter of the stream alone, so that it is the same at every node.
    fn judge(&mut self, Parcel { header, content }: &Parcel) -> Changes {
        if content.begins {
            self.book.doubt(header.at, &header.node);
        }
        for node in self.fallen_silent(header.at) {
            self.book.doubt(header.at, &node);
        }
        for (at, sign) in &content.signs {
            self.book.take_note(*at, sign.clone());
        }
        for subject in content.orders.iter().flat_map(Order::erased) {
            if let SubjectId::Account(account) = subject {
                self.book.forget_account(account);
            }
        }
        self.book.turn(header.at);
        self.book.take()
    }

    /// Nodes that have said nothing for a while, each once.
    fn fallen_silent(&self, now: Timestamp) -> Vec<String> {
        let before = self.latest().unwrap_or(now);
        let mut last: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for heard in self.state.origins.values() {
            let until = last.entry(&heard.node).or_insert(heard.until);
            *until = heard.until.max(*until);
        }
        let falls = |until: Timestamp| before < until + SILENT_AFTER && now >= until + SILENT_AFTER;
        let silent = last.into_iter().filter(|&(_, until)| falls(until));
        silent.map(|(node, _)| node.to_owned()).collect()
    }
}

/// Whether the stream is looked at again before what cannot be read of it is called gone.
#[derive(Default)]
struct Doubt {
    has_looked_again: bool,
}

impl Doubt {
    /// Nothing was read behind a place: true if it may have come since, because the stream is said to be further, and that is not known from the time before.
    fn may_have_come(&mut self, after: Option<Revision>, head: Option<Revision>) -> bool {
        let number = |place: Option<Revision>| place.map_or(0, |place| place.number);
        let is_further = number(head) > number(after);
        is_further && !std::mem::replace(&mut self.has_looked_again, true)
    }
}

/// True if the first of these follows what is known, and each the one before.
fn follows(known: Revision, entries: &[Entry]) -> bool {
    let mut last = known;
    entries.iter().all(|entry| std::mem::replace(&mut last, entry.revision) == entry.before)
}

fn together(one: Option<Missed>, other: Option<Missed>) -> Option<Missed> {
    let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
    let (since, until) = (a.since.min(b.since), a.until.max(b.until));
    Some(Missed { since, until, events: a.events + b.events })
}

/// What the log says of a message about an alert.
pub(super) fn told(notice: &Notice) -> AlertTold {
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

/// Parcels that are read from the journal at a time.
const OUTGOING_MAX: usize = 16;
/// How long a parcel may not be read back before it is appended again.
const AGAIN_EVERY: Duration = Duration::from_secs(30);
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// A node that says nothing for so long may be gone for good; states of its own are not believed to last.
const SILENT_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::archive::{
        NewEvent,
        stream::{Content, Header},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn parcel(origin: u8, number: i64, events_before: i64, second: i64) -> Parcel {
        let header = Header {
            origin: [origin; 8],
            node: format!("n{origin}"),
            number,
            events_before,
            at: at(second),
        };
        let event = NewEvent {
            at: at(second),
            name: "message".into(),
            tenant: None,
            account: None,
            body: "{}".into(),
            marks: Vec::new(),
        };
        Parcel { header, content: Content { events: vec![event], ..Content::default() } }
    }

    fn copy() -> Copy {
        Copy {
            state: StreamState::default(),
            book: Book::new(at(0)),
            is_new: false,
            lack: Lack::Nothing,
        }
    }

    #[test]
    fn what_is_missing_is_counted_by_origin() {
        let mut copy = copy();
        let mut hear = |parcel: Parcel| {
            let gap = copy.gap_before(&parcel);
            let heard = copy.heard(&parcel);
            copy.state.origins.insert(parcel.header.origin, heard);
            gap.map(|gap| (gap.since, gap.until, gap.events))
        };
        assert_eq!(hear(parcel(1, 1, 0, 10)), None);
        assert_eq!(hear(parcel(1, 2, 1, 20)), None);
        assert_eq!(hear(parcel(1, 5, 9, 50)), Some((at(20), at(50), 7)));
        assert_eq!(hear(parcel(1, 6, 10, 60)), None);
        // Of one that began in what is missing nothing was heard at all.
        assert_eq!(hear(parcel(2, 4, 30, 70)), Some((at(60), at(70), 30)));
        assert_eq!(hear(parcel(3, 1, 0, 80)), None);
    }

    #[test]
    fn a_new_archive_misses_nothing_of_before_its_time_and_what_it_misses_then() {
        let mut copy = Copy { is_new: true, ..copy() };
        assert!(copy.gap_before(&parcel(1, 40, 300, 10)).is_none());
        let heard = copy.heard(&parcel(1, 40, 300, 10));
        copy.state.origins.insert([1; 8], heard);
        assert!(copy.gap_before(&parcel(2, 70, 900, 20)).is_none());
        assert_eq!(copy.gap_before(&parcel(1, 42, 303, 20)).map(|gap| gap.events), Some(2));
        copy.is_new = false;
        assert_eq!(copy.gap_before(&parcel(2, 70, 900, 20)).map(|gap| gap.events), Some(900));
    }

    #[test]
    fn what_comes_between_two_looks_is_read_before_anything_is_called_gone() {
        let place = |number| Some(Revision { number, mark: 1 });
        for after in [None, place(4)] {
            let mut doubt = Doubt::default();
            assert!(!doubt.may_have_come(after, None));
            assert!(!doubt.may_have_come(after, after));
            assert!(doubt.may_have_come(after, place(5)));
            assert!(!doubt.may_have_come(after, place(6)), "it was not there either");
        }
        // Another stream, which is not as far: nothing behind the place comes.
        assert!(!Doubt::default().may_have_come(place(4), place(3)));
    }

    #[test]
    fn a_node_falls_silent_once() {
        let mut copy = copy();
        for one in [parcel(1, 1, 0, 0), parcel(2, 1, 0, 500)] {
            let heard = copy.heard(&one);
            copy.state.origins.insert(one.header.origin, heard);
        }
        assert!(copy.fallen_silent(at(599)).is_empty());
        assert_eq!(copy.fallen_silent(at(600)), ["n1"]);
        let heard = copy.heard(&parcel(2, 2, 1, 601));
        copy.state.origins.insert([2; 8], heard);
        assert!(copy.fallen_silent(at(602)).is_empty());
    }
}
