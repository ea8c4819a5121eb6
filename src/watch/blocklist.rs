//! Looks whether addresses and domains of ours are on blocklists, beside the flow of mail and never in its way.
//!
//! What is asked when, what an answer means and what is believed is decided by `rules::blocklist`; here resolvers are asked, what
//! is believed is kept in the archive, and what changed is told. While the archive cannot be written rows wait. Moments are UTC,
//! because they outlive the process; a wall clock that is set forward makes checks come early, and nothing else.

use crate::{
    admin::{
        CheckedList, ListHealth, ListUse, ListView, ListingView, ListingsView, Lookout, RowState,
        SubjectListings,
    },
    clock::Clock,
    event::{BlocklistState, Event, Events, ListingState},
    resolve::{self, LookupCounts, LookupSettings, Lookups, ResolveError, Resolver},
    rules::blocklist::{
        Answer, Asks, Change, Doubt, Failure, Finding, Happening, Health, Lane, List, Listed,
        Listing, Listings, Purpose, Question, Record, Roster, Row, Saved, Severity, Step, Subject,
        Verdict,
    },
    store::{
        BoxFuture, StoreError,
        archive::{Archive, ListingRow},
        records::{Records, Task},
    },
    telemetry::{self, Metrics},
    types::Timestamp,
};
use arc_swap::ArcSwap;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// What is looked at, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlocklistSettings {
    /// The lists that are asked about what is watched.
    pub lists: Vec<Arc<List>>,
    /// What is asked for messages, and which lists.
    pub lookups: LookupSettings,
    /// What is watched, at most [`SUBJECTS_MAX`](crate::rules::blocklist::SUBJECTS_MAX).
    pub subjects: Vec<Subject>,
    /// How often each is asked about.
    pub interval: Duration,
    /// Who is asked.
    pub resolve: resolve::Settings,
}

impl BlocklistSettings {
    /// All lists that are asked anything, each once; their order is that of their numbers.
    #[must_use]
    pub fn all_lists(&self) -> Vec<Arc<List>> {
        let mut all = self.lists.clone();
        for list in self.lookups.clients.iter().chain(&self.lookups.domains) {
            if !all.contains(list) {
                all.push(list.clone());
            }
        }
        all
    }

    fn uses_of(&self, list: &Arc<List>) -> Vec<ListUse> {
        let uses = [
            (&self.lists, ListUse::Own),
            (&self.lookups.clients, ListUse::Clients),
            (&self.lookups.domains, ListUse::Links),
        ];
        uses.into_iter().filter(|(lists, _)| lists.contains(list)).map(|(_, used)| used).collect()
    }
}

/// The settings and the resolvers that they name.
pub struct BlocklistSetup {
    settings: BlocklistSettings,
    resolver: Option<Arc<Resolver>>,
    lookups: Arc<Lookups>,
}

impl BlocklistSetup {
    /// Makes ready. Where no list is named there is nobody to ask.
    ///
    /// # Errors
    /// [`ResolveError`] if the resolvers cannot be used.
    pub fn new(settings: BlocklistSettings, clock: &Clock) -> Result<Self, ResolveError> {
        let lists = settings.all_lists();
        let resolver = (!lists.is_empty()).then(|| Resolver::new(&settings.resolve)).transpose()?;
        let resolver = resolver.map(Arc::new);
        let lookups = resolver.as_ref().map_or_else(Lookups::none, |resolver| {
            Lookups::new(&settings.lookups, &lists, resolver, clock)
        });
        Ok(Self { settings, resolver, lookups: Arc::new(lookups) })
    }

    /// Asks lists for messages, of which those are believed that are found right.
    #[must_use]
    pub fn lookups(&self) -> Arc<Lookups> {
        self.lookups.clone()
    }

    /// Says who is asked, and of resolvers that lists refuse.
    fn announce(&self) {
        let Some(resolver) = &self.resolver else { return };
        let servers = resolver.servers();
        let from = if self.settings.resolve.servers.is_empty() {
            "the system"
        } else {
            "the configuration"
        };
        tracing::info!(?servers, from, "blocklists are asked through these resolvers");
        for server in servers.iter().filter(|server| resolve::is_public(server.ip())) {
            tracing::warn!(%server, "blocklists refuse public resolvers: set blocklist.resolvers to one of your own");
        }
    }

    fn servers(&self) -> Vec<String> {
        let servers = self.resolver.iter().flat_map(|resolver| resolver.servers());
        servers.map(ToString::to_string).collect()
    }
}

/// Watches blocklists.
pub struct Blocklists {
    /// What is looked at; another one at a reload.
    pub setup: Arc<ArcSwap<BlocklistSetup>>,
    /// Where what is believed is kept.
    pub archive: Archive,
    /// Which of several nodes asks.
    pub records: Arc<dyn Records>,
    /// The time.
    pub clock: Clock,
    /// Where figures are shown.
    pub metrics: Arc<Metrics>,
    /// Who is told.
    pub events: Events,
    /// What is listed now, for whoever decides by it.
    pub listings: Arc<ArcSwap<Listings>>,
    /// Where questions of people come from, and what they see.
    pub desk: BlocklistDesk,
}

/// The watcher's end of a [`BlocklistView`].
pub struct BlocklistDesk {
    shown: Arc<ArcSwap<ListingsView>>,
    asked: mpsc::Receiver<Ask>,
}

/// What people see of the watcher. Cheap to clone.
#[derive(Clone)]
pub struct BlocklistView {
    shown: Arc<ArcSwap<ListingsView>>,
    ask: mpsc::Sender<Ask>,
}

struct Ask {
    subject: Subject,
    reply: oneshot::Sender<Vec<CheckedList>>,
}

/// A watcher's desk and what others see of it.
#[must_use]
pub fn blocklist_desk() -> (BlocklistView, BlocklistDesk) {
    let (ask, asked) = mpsc::channel(ASKS_MAX);
    let shown = Arc::new(ArcSwap::from_pointee(ListingsView::default()));
    (BlocklistView { shown: shown.clone(), ask }, BlocklistDesk { shown, asked })
}

impl Lookout for BlocklistView {
    fn status(&self) -> ListingsView {
        ListingsView::clone(&self.shown.load())
    }

    fn check(&self, subject: Subject) -> BoxFuture<'_, Option<Vec<CheckedList>>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.ask.try_send(Ask { subject, reply }).ok()?;
            answer.await.ok()
        })
    }
}

/// What is remembered of rows, by subject and list.
type Memory = BTreeMap<(Subject, Arc<str>), Saved>;

/// One setup at work.
struct Patrol {
    setup: Arc<BlocklistSetup>,
    roster: Roster,
    lookups: JoinSet<(usize, Question, Heard)>,
    checks: Vec<Check>,
    ticket: u64,
    /// Rows that are to be kept: the number of the list, and the subject.
    dirty: BTreeSet<(usize, Subject)>,
    has_changed: bool,
    shown: Option<Timestamp>,
    /// The latest moment that was seen.
    latest: Timestamp,
    /// When it is looked next who of several nodes asks.
    look_at: Timestamp,
}

/// What a resolver said.
enum Heard {
    Answer(Answer),
    Text(Result<Option<String>, Failure>),
}

/// Somebody's question, until all lists have answered.
struct Check {
    ticket: u64,
    until: Timestamp,
    waits_for: BTreeSet<usize>,
    found: Vec<CheckedList>,
    reply: oneshot::Sender<Vec<CheckedList>>,
}

impl Blocklists {
    /// Shows what was believed when the program ended, so that whoever decides by it does from the first message on.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub async fn resume(&self) -> Result<(), StoreError> {
        let setup = self.setup.load();
        let BlocklistSettings { lists, subjects, .. } = &setup.settings;
        let mut listings = Listings::default();
        for ((subject, list), saved) in self.archive.listings().await?.iter().filter_map(remembered)
        {
            let is_asked = lists.iter().any(|asked| *asked.name() == list);
            if is_asked && subjects.contains(&subject) {
                listings.extend(subject, listing(&list, &saved));
            }
        }
        self.listings.store(Arc::new(listings));
        Ok(())
    }

    /// Looks for ever.
    pub async fn run(mut self) {
        let mut memory = self.load().await;
        let mut before = Roster::default();
        loop {
            let setup = self.setup.load_full();
            setup.announce();
            let mut patrol = self.begin(setup, memory).await;
            for happening in patrol.roster.inherit(&before) {
                self.tell(&told(happening));
            }
            self.show(&mut patrol);
            while self.goes_on(&patrol) {
                self.turn(&mut patrol).await;
            }
            memory = patrol.memory();
            before = patrol.roster;
        }
    }

    /// Another setup, or a wall clock that was set back, is a new beginning with what is remembered.
    fn goes_on(&self, patrol: &Patrol) -> bool {
        Arc::ptr_eq(&patrol.setup, &self.setup.load())
            && self.clock.utc() + BACK_MAX >= patrol.latest
    }

    /// What was believed when the program ended.
    async fn load(&self) -> Memory {
        loop {
            match self.archive.listings().await {
                Ok(rows) => return rows.iter().filter_map(remembered).collect(),
                Err(error) => tracing::warn!(%error, "what is known of blocklists cannot be read"),
            }
            tokio::time::sleep(ARCHIVE_RETRY_EVERY).await;
        }
    }

    /// Sets out with what is remembered; what is not watched any more is let go.
    async fn begin(&self, setup: Arc<BlocklistSetup>, mut memory: Memory) -> Patrol {
        let now = self.clock.utc();
        let settings = &setup.settings;
        let lists = settings.all_lists();
        let count = u32::try_from(lists.len()).unwrap_or(u32::MAX).max(1);
        let mut lanes = Vec::with_capacity(lists.len());
        for (nth, list) in (0..).zip(&lists) {
            let is_watched = settings.lists.contains(list);
            let held = settings.subjects.iter();
            let held = held.filter(|subject| is_watched && list.holds(subject));
            let rows = held.map(|subject| {
                let saved = memory.remove(&(subject.clone(), list.name().clone()));
                (subject.clone(), saved)
            });
            // Lists begin one after the other, so that not all of them are asked in the same moment for ever.
            let start = now + SPREAD * nth / count;
            lanes.push(Lane::new(list.clone(), settings.interval, rows.collect(), start));
        }
        self.let_go(memory).await;
        Patrol {
            setup,
            roster: Roster::new(lanes),
            lookups: JoinSet::new(),
            checks: Vec::new(),
            ticket: 0,
            dirty: BTreeSet::new(),
            has_changed: true,
            shown: None,
            latest: now,
            look_at: now,
        }
    }

    async fn let_go(&self, memory: Memory) {
        for ((subject, list), saved) in &memory {
            if let Some((since, listed)) = saved.standing.listed() {
                self.tell(&Event::Delisted(Box::new(self.state((subject, list), since, listed))));
            }
        }
        let rows: Vec<_> =
            memory.keys().map(|(subject, list)| (subject.to_string(), list.to_string())).collect();
        if rows.is_empty() {
            return;
        }
        if let Err(error) = self.archive.forget_listings(rows).await {
            tracing::warn!(%error, "what is not watched any more is still known of blocklists");
        }
    }

    async fn turn(&mut self, patrol: &mut Patrol) {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Some(Ok((number, question, heard))) = patrol.lookups.join_next() => {
                self.hear(patrol, number, &question, heard);
            }
            Some(ask) = self.desk.asked.recv() => patrol.take(ask, self.clock.utc()),
        }
        let now = self.clock.utc();
        patrol.latest = patrol.latest.max(now);
        patrol.listen(now);
        if self.archive.is_shared() && now >= patrol.look_at {
            patrol.look_at = now + SHARE_EVERY;
            self.share_out(patrol).await;
        }
        patrol.ask(now);
        patrol.expire(now);
        for happening in patrol.roster.news() {
            self.tell(&told(happening));
            patrol.has_changed = true;
        }
        if patrol.is_to_be_shown(now) {
            self.show(patrol);
            self.keep(patrol).await;
        }
    }

    /// Of several nodes one asks; the others take over what it found.
    async fn share_out(&self, patrol: &mut Patrol) {
        let leads = self.records.leads(Task::AskBlocklists).await.unwrap_or(false);
        let asks = if leads { Asks::Here } else { Asks::Elsewhere };
        patrol.roster.lanes_mut().iter_mut().for_each(|lane| lane.leave_to(asks));
        if leads {
            return;
        }
        patrol.dirty.clear();
        let Ok(rows) = self.archive.listings().await else { return };
        for ((subject, list), saved) in rows.iter().filter_map(remembered) {
            for lane in patrol.roster.lanes_mut().iter_mut() {
                if *lane.list().name() == list {
                    patrol.has_changed |= lane.take_over(&subject, &saved);
                }
            }
        }
    }

    fn hear(&self, patrol: &mut Patrol, number: usize, question: &Question, heard: Heard) {
        let now = self.clock.utc();
        patrol.has_changed = true;
        let answer = match heard {
            Heard::Answer(answer) => answer,
            Heard::Text(text) => {
                let Purpose::Reason(subject) = &question.purpose else { return };
                patrol.roster.hear(number, text.is_ok(), now);
                patrol.roster.lanes_mut()[number].reasoned(subject, text.unwrap_or_default());
                patrol.dirty.insert((number, subject.clone()));
                return;
            }
        };
        let heard = patrol.roster.answered(number, (question, &answer), now, chance(now));
        let Some((found, change)) = heard else { return };
        match &question.purpose {
            Purpose::Row(subject) => {
                patrol.dirty.insert((number, subject.clone()));
                if let Some(change) = change {
                    self.tell_change(patrol, (number, subject), change);
                }
            }
            Purpose::Now(ticket) => patrol.found(*ticket, number, &found),
            Purpose::Test | Purpose::Reason(_) => {}
        }
    }

    fn tell_change(&self, patrol: &Patrol, (number, subject): (usize, &Subject), change: Change) {
        let lane = &patrol.roster.lanes()[number];
        let row = lane.rows().iter().find(|row| row.subject == *subject);
        let Some(row) = row else { return };
        let about = (subject, lane.list().name());
        match (change, row.saved.standing.listed()) {
            (Change::Listed | Change::Worse, Some((since, listed))) => {
                self.tell(&Event::Listed(Box::new(self.state(about, since, listed))));
            }
            (Change::Delisted(listed), _) => {
                let state = self.state(about, listed.0, &listed.1);
                self.tell(&Event::Delisted(Box::new(state)));
            }
            _ => {}
        }
    }

    fn state(
        &self,
        (subject, list): (&Subject, &Arc<str>),
        since: Timestamp,
        listed: &Listed,
    ) -> ListingState {
        ListingState {
            subject: subject.to_string(),
            list: list.clone(),
            severity: listed.severity.name(),
            since,
            codes: listed.addresses(),
            meaning: listed.meaning(),
        }
    }

    /// Shows what is known: to people, to whoever decides by it, and as figures.
    fn show(&self, patrol: &mut Patrol) {
        let now = self.clock.utc();
        (patrol.shown, patrol.has_changed) = (Some(now), false);
        for (number, lane) in patrol.roster.lanes().iter().enumerate() {
            let is_believed = lane.health() == Health::Well && lane.rests_until().is_none();
            patrol.setup.lookups.believe(number, is_believed);
        }
        self.listings.store(Arc::new(self.snapshot(&patrol.roster)));
        self.metrics.note_blocklists(&figures(patrol));
        self.desk.shown.store(Arc::new(self.view(patrol)));
    }

    fn snapshot(&self, roster: &Roster) -> Listings {
        let mut listings = Listings::default();
        for lane in roster.lanes() {
            for row in lane.rows() {
                listings.extend(row.subject.clone(), listing(lane.list().name(), &row.saved));
            }
        }
        listings
    }

    fn view(&self, patrol: &Patrol) -> ListingsView {
        let settings = &patrol.setup.settings;
        let of_subject = |subject: &Subject| SubjectListings {
            subject: subject.to_string(),
            rows: patrol
                .roster
                .lanes()
                .iter()
                .filter_map(|lane| {
                    let row = lane.rows().iter().find(|row| row.subject == *subject)?;
                    Some(row_view(lane, row))
                })
                .collect(),
        };
        let of_list = |(number, lane): (usize, &Lane)| {
            let asked = patrol.setup.lookups.counts(number);
            list_view(lane, settings.uses_of(lane.list()), asked)
        };
        ListingsView {
            at: self.clock.utc(),
            resolvers: patrol.setup.servers(),
            resolvers_of_system: settings.resolve.servers.is_empty(),
            resolvers_answer: !patrol.roster.is_dead(),
            lists: patrol.roster.lanes().iter().enumerate().map(of_list).collect(),
            subjects: settings.subjects.iter().map(of_subject).collect(),
        }
    }

    /// Keeps the rows that changed. Those that the archive does not take are kept the next time.
    async fn keep(&self, patrol: &mut Patrol) {
        let lanes = patrol.roster.lanes();
        let kept = |(number, subject): &(usize, Subject)| {
            let lane = lanes.get(*number)?;
            let row = lane.rows().iter().find(|row| row.subject == *subject)?;
            let body = serde_json::to_string(&row.saved).ok()?;
            let (subject, list) = (subject.to_string(), lane.list().name().to_string());
            Some(ListingRow { subject, list, body })
        };
        let rows: Vec<ListingRow> = patrol.dirty.iter().filter_map(kept).collect();
        if rows.is_empty() {
            return;
        }
        match self.archive.keep_listings(rows, self.clock.utc()).await {
            Ok(()) => patrol.dirty.clear(),
            Err(error) => tracing::warn!(%error, "what is known of blocklists waits to be kept"),
        }
    }

    fn tell(&self, event: &Event) {
        self.events.tell(self.clock.now(), event);
    }
}

impl Patrol {
    /// Hears what lists answered for messages, where it speaks against them.
    fn listen(&mut self, now: Timestamp) {
        for (number, found) in self.setup.lookups.overheard() {
            self.roster.overheard(number, &found, now);
            self.has_changed = true;
        }
    }

    /// Asks what is to be asked now.
    fn ask(&mut self, now: Timestamp) {
        let Some(resolver) = &self.setup.resolver else { return };
        for (number, lane) in self.roster.lanes_mut().iter_mut().enumerate() {
            if let Step::Ask(question) = lane.next(now, chance(now)) {
                let resolver = resolver.clone();
                self.lookups.spawn(async move {
                    let asked = question.clone();
                    let heard = tokio::spawn(async move { look_up(&resolver, &asked).await }).await;
                    // A panic is no answer, and must not leave the list waiting for one.
                    let failed = |_| failed(&question);
                    (number, question.clone(), heard.unwrap_or_else(failed))
                });
            }
        }
    }

    /// Takes somebody's question.
    fn take(&mut self, ask: Ask, now: Timestamp) {
        let Ask { subject, reply } = ask;
        self.ticket += 1;
        let mut check = Check {
            ticket: self.ticket,
            until: now + CHECK_TIME_MAX,
            waits_for: BTreeSet::new(),
            found: Vec::new(),
            reply,
        };
        for (number, lane) in self.roster.lanes_mut().iter_mut().enumerate() {
            if !lane.list().holds(&subject) {
                continue;
            }
            if lane.ask_now(check.ticket, &subject) {
                check.waits_for.insert(number);
            } else {
                check.found.push(not_asked(lane));
            }
        }
        self.checks.push(check);
        self.answer_checks();
    }

    fn found(&mut self, ticket: u64, number: usize, found: &Finding) {
        let list = self.roster.lanes()[number].list();
        for check in self.checks.iter_mut().filter(|check| check.ticket == ticket) {
            if check.waits_for.remove(&number) {
                check.found.push(checked(list, found));
            }
        }
    }

    fn expire(&mut self, now: Timestamp) {
        for check in self.checks.iter_mut().filter(|check| now >= check.until) {
            for number in std::mem::take(&mut check.waits_for) {
                let unknown = Finding::Unknown(Doubt::NoAnswer(Failure::Timeout));
                check.found.push(checked(self.roster.lanes()[number].list(), &unknown));
            }
        }
        self.answer_checks();
    }

    fn answer_checks(&mut self) {
        let (done, waiting) = std::mem::take(&mut self.checks)
            .into_iter()
            .partition(|check| check.waits_for.is_empty());
        self.checks = waiting;
        let done: Vec<Check> = done;
        for mut check in done {
            check.found.sort_by(|a, b| a.list.cmp(&b.list));
            let _nobody_waits = check.reply.send(check.found);
        }
    }

    fn is_to_be_shown(&self, now: Timestamp) -> bool {
        let is_due = self.shown.is_none_or(|shown| now >= shown + SHOW_EVERY);
        is_due && (self.has_changed || !self.dirty.is_empty())
    }

    fn memory(&self) -> Memory {
        let of_lane = |lane: &Lane| {
            let list = lane.list().name().clone();
            let rows = lane.rows().iter();
            rows.map(|row| ((row.subject.clone(), list.clone()), row.saved.clone()))
                .collect::<Vec<_>>()
        };
        self.roster.lanes().iter().flat_map(of_lane).collect()
    }
}

async fn look_up(resolver: &Resolver, question: &Question) -> Heard {
    let name = question.name.expose();
    match question.record {
        Record::Address => Heard::Answer(resolver.addresses(&name).await),
        Record::Text => Heard::Text(resolver.text(&name).await),
    }
}

fn failed(question: &Question) -> Heard {
    match question.record {
        Record::Address => Heard::Answer(Answer::Failed(Failure::Other)),
        Record::Text => Heard::Text(Err(Failure::Other)),
    }
}

fn remembered(row: &ListingRow) -> Option<((Subject, Arc<str>), Saved)> {
    let saved = serde_json::from_str(&row.body).ok()?;
    Some(((row.subject.parse().ok()?, row.list.as_str().into()), saved))
}

/// The listing of a row, if it is one.
fn listing(list: &Arc<str>, saved: &Saved) -> Option<Listing> {
    let (since, listed) = saved.standing.listed()?;
    Some(Listing {
        list: list.clone(),
        severity: listed.severity,
        since,
        codes: listed.addresses(),
        meaning: listed.meaning(),
    })
}

fn told(happening: Happening) -> Event {
    let state = |list, detail: String| BlocklistState { list, detail };
    match happening {
        Happening::Impaired(list, why) => {
            Event::BlocklistImpaired(state(Some(list), why.to_string()))
        }
        Happening::Well(list) => Event::BlocklistWell(state(Some(list), String::new())),
        Happening::ResolverDead => {
            let detail = "no list is answered: the resolvers cannot be asked".to_owned();
            Event::BlocklistImpaired(state(None, detail))
        }
        Happening::ResolverAlive => Event::BlocklistWell(state(None, String::new())),
    }
}

fn list_view(lane: &Lane, uses: Vec<ListUse>, asked: LookupCounts) -> ListView {
    let (health, detail) = match lane.health() {
        Health::Untested => (ListHealth::Untested, None),
        Health::Well => (ListHealth::Well, None),
        Health::Impaired(why) => (ListHealth::Impaired, Some(why.to_string())),
    };
    let list = lane.list();
    ListView {
        list: list.name().to_string(),
        zone: list.zone().to_owned(),
        kinds: list.kinds().to_vec(),
        health,
        detail,
        tested: lane.tested(),
        rests_until: lane.rests_until(),
        queries: lane.queries(),
        uses,
        lookups: asked.asked,
        lookups_listed: asked.listed,
        lookups_unanswered: asked.unanswered,
        terms: list.terms().to_owned(),
    }
}

fn row_view(lane: &Lane, row: &Row) -> ListingView {
    let saved = &row.saved;
    let (believed, since, listed) = match &saved.standing.verdict {
        Some(Verdict::Listed { since, listed }) => {
            (RowState::Listed, Some(*since), Some(listed.clone()))
        }
        Some(Verdict::Clean { since }) => (RowState::Clean, Some(*since), None),
        None => (RowState::Unknown, None, None),
    };
    let unknown = why_unknown(lane, row);
    let state = if unknown.is_some() { RowState::Unknown } else { believed };
    ListingView {
        list: lane.list().name().to_string(),
        state,
        before: (state != believed).then_some(believed),
        since,
        severity: listed.as_ref().map(|listed| listed.severity),
        codes: listed.as_ref().map(Listed::addresses).unwrap_or_default(),
        meaning: listed.as_ref().map(Listed::meaning),
        reason: saved.reason.clone(),
        degraded: listed.is_some_and(|listed| listed.degraded),
        checked: saved.checked,
        unknown,
        pending: saved
            .standing
            .pending
            .map(|pending| if pending.is_listed { RowState::Listed } else { RowState::Clean }),
    }
}

fn why_unknown(lane: &Lane, row: &Row) -> Option<String> {
    match (lane.health(), &row.saved.found) {
        (Health::Untested, None) => Some("not asked yet".into()),
        (Health::Impaired(why), _) => Some(why.to_string()),
        (_, Some(Finding::Unknown(doubt))) => Some(doubt.to_string()),
        (_, None) => Some("not asked yet".into()),
        (_, Some(_)) if row.saved.standing.verdict.is_none() => {
            Some("found once; another check must agree".into())
        }
        (_, Some(_)) => None,
    }
}

fn checked(list: &List, found: &Finding) -> CheckedList {
    let (state, listed, unknown) = match found {
        Finding::Listed(listed) => (RowState::Listed, Some(listed), None),
        Finding::Clean => (RowState::Clean, None, None),
        Finding::Unknown(doubt) => (RowState::Unknown, None, Some(doubt.to_string())),
    };
    CheckedList {
        list: list.name().to_string(),
        state,
        severity: listed.map(|listed| listed.severity),
        codes: listed.map(Listed::addresses).unwrap_or_default(),
        meaning: listed.map(Listed::meaning),
        unknown,
    }
}

/// Why a list was not asked.
fn not_asked(lane: &Lane) -> CheckedList {
    let why = match lane.health() {
        Health::Impaired(why) => why.to_string(),
        Health::Untested => "it was not tested yet".into(),
        Health::Well if lane.rests_until().is_some() => "it is left alone for a while".into(),
        Health::Well => "too many ask now".into(),
    };
    let unknown = checked(lane.list(), &Finding::Unknown(Doubt::Untrusted));
    CheckedList { unknown: Some(why), ..unknown }
}

fn figures(patrol: &Patrol) -> telemetry::Blocklists {
    let roster = &patrol.roster;
    let mut listed = Vec::new();
    let mut lists = Vec::new();
    for (number, lane) in roster.lanes().iter().enumerate() {
        let name = lane.list().name();
        let mut unknown = 0;
        for row in lane.rows() {
            if let Some((_, found)) = row.saved.standing.listed() {
                let weight = weight(found.severity);
                listed.push((name.clone(), row.subject.to_string(), weight));
            }
            unknown += usize::from(why_unknown(lane, row).is_some());
        }
        let LookupCounts { asked, listed, unanswered } = patrol.setup.lookups.counts(number);
        lists.push(telemetry::BlocklistFigures {
            list: name.clone(),
            is_well: lane.health() == Health::Well,
            tested: lane.tested(),
            queries: lane.queries(),
            lookups: asked,
            lookups_listed: listed,
            lookups_unanswered: unanswered,
            unknown,
        });
    }
    telemetry::Blocklists { listed, lists, resolvers_answer: !roster.is_dead() }
}

/// The gauge of a listing: 1 to 3.
const fn weight(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 1,
        Severity::Warning => 2,
        Severity::Critical => 3,
    }
}

/// A random number; where the system has none, one that changes all the same.
fn chance(now: Timestamp) -> u64 {
    getrandom::u64().unwrap_or_else(|_| now.as_millis().unsigned_abs())
}

/// Questions of people that wait.
const ASKS_MAX: usize = 8;
/// How long somebody who asks waits at most.
const CHECK_TIME_MAX: Duration = Duration::from_secs(30);
/// How often it is looked what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// A wall clock that goes back further than this was set back.
const BACK_MAX: Duration = Duration::from_secs(60);
/// Over how long the beginnings of lists are spread.
const SPREAD: Duration = Duration::from_secs(2);
/// How often it is looked who of several nodes asks, and what it found.
const SHARE_EVERY: Duration = Duration::from_secs(3);
const ARCHIVE_RETRY_EVERY: Duration = Duration::from_secs(10);
