//! What lists say of clients that log in and of domains in messages: asked beside the flow of mail, and remembered for a while.
//!
//! A message waits no longer than the budget; an answer that comes later serves the next one. A list counts only while whoever
//! tests it believes it, one that was silent three times in a row is left alone for a moment, and none is asked more often than
//! agreed. What is not known is no listing.

use super::Resolver;
use crate::{
    clock::Clock,
    rules::{
        blocklist::{Answer, Finding, List, Severity, Subject, judge},
        breaker::Breaker,
    },
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::{Expiry, future::Cache};
use parking_lot::Mutex;
use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout};

/// What is asked for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupSettings {
    /// Lists that are asked about clients that log in.
    pub clients: Vec<Arc<List>>,
    /// Lists that are asked about domains: of links, and of senders.
    pub domains: Vec<Arc<List>>,
    /// How long one message waits for all of them.
    pub time_max: Duration,
    /// How often each list is asked in a minute at most.
    pub per_minute: NonZeroU32,
}

/// Asks lists for messages.
pub struct Lookups {
    lists: Vec<Arc<Source>>,
    clients: Vec<usize>,
    domains: Vec<usize>,
    known: Cache<Question, Remembered>,
    time_max: Duration,
}

/// Something that is or is not on a list: its number among the lists, how often the list was believed anew, the subject.
type Question = (usize, u32, Subject);

/// One list, and how it can be asked.
struct Source {
    list: Arc<List>,
    resolver: Arc<Resolver>,
    clock: Clock,
    is_believed: AtomicBool,
    /// Grows whenever the list is not believed any more: what it said before does not count again.
    age: AtomicU32,
    health: Mutex<Breaker>,
    pace: DefaultDirectRateLimiter,
    /// The last answer that whoever tests the list should know of.
    overheard: Mutex<Option<Finding>>,
    asked: AtomicU64,
    listed: AtomicU64,
    unanswered: AtomicU64,
}

/// What is remembered of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Remembered {
    Listed(Arc<str>),
    Clean,
    Unknown,
}

/// What was found for one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The client is on a list.
    pub client: Vec<OnList>,
    /// Domains are.
    pub domains: Vec<OnList>,
}

/// Something that is on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnList {
    /// What.
    pub subject: Subject,
    /// The list.
    pub list: Arc<str>,
    /// What its codes mean.
    pub meaning: Arc<str>,
}

/// How often one list was asked for messages since the program started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookupCounts {
    /// Questions that were not answered from memory.
    pub asked: u64,
    /// Those that it listed.
    pub listed: u64,
    /// Those without an answer that says anything.
    pub unanswered: u64,
}

impl Lookups {
    /// Nobody is asked.
    #[must_use]
    pub fn none() -> Self {
        Self {
            lists: Vec::new(),
            clients: Vec::new(),
            domains: Vec::new(),
            known: memory(0),
            time_max: Duration::ZERO,
        }
    }

    /// Makes ready. `lists` are all that there are, in the order of their numbers; none is believed yet.
    #[must_use]
    pub fn new(
        settings: &LookupSettings,
        lists: &[Arc<List>],
        resolver: &Arc<Resolver>,
        clock: &Clock,
    ) -> Self {
        let numbers = |wanted: &[Arc<List>]| -> Vec<usize> {
            let number = |list: &Arc<List>| lists.iter().position(|known| known == list);
            wanted.iter().filter_map(number).collect()
        };
        let source = |list: &Arc<List>| {
            Arc::new(Source {
                list: list.clone(),
                resolver: resolver.clone(),
                clock: clock.clone(),
                is_believed: AtomicBool::new(false),
                age: AtomicU32::new(0),
                health: Mutex::default(),
                pace: RateLimiter::direct(Quota::per_minute(settings.per_minute)),
                overheard: Mutex::default(),
                asked: AtomicU64::new(0),
                listed: AtomicU64::new(0),
                unanswered: AtomicU64::new(0),
            })
        };
        Self {
            lists: lists.iter().map(source).collect(),
            clients: numbers(&settings.clients),
            domains: numbers(&settings.domains),
            known: memory(ENTRIES_MAX),
            time_max: settings.time_max,
        }
    }

    /// Whoever tests a list says whether it can be believed.
    pub fn believe(&self, number: usize, is_believed: bool) {
        let Some(source) = self.lists.get(number) else { return };
        if source.is_believed.swap(is_believed, Relaxed) && !is_believed {
            source.age.fetch_add(1, Relaxed);
        }
    }

    /// What whoever tests the lists should know of, each once.
    pub fn overheard(&self) -> Vec<(usize, Finding)> {
        let taken = |(number, source): (usize, &Arc<Source>)| {
            Some((number, source.overheard.lock().take()?))
        };
        self.lists.iter().enumerate().filter_map(taken).collect()
    }

    /// How often a list was asked for messages.
    #[must_use]
    pub fn counts(&self, number: usize) -> LookupCounts {
        let Some(source) = self.lists.get(number) else { return LookupCounts::default() };
        LookupCounts {
            asked: source.asked.load(Relaxed),
            listed: source.listed.load(Relaxed),
            unanswered: source.unanswered.load(Relaxed),
        }
    }

    /// True if somebody is asked about clients.
    #[must_use]
    pub const fn asks_about_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// True if somebody is asked about domains.
    #[must_use]
    pub const fn asks_about_domains(&self) -> bool {
        !self.domains.is_empty()
    }

    /// A client has logged in: asks about it, so that the answers are there when its message is. Waits for nothing.
    pub fn expect(&self, client: IpAddr) {
        let client = Subject::Address(client.to_canonical());
        for (source, question) in self.questions(&self.clients, &client) {
            let known = self.known.clone();
            if !known.contains_key(&question) && source.may_be_asked() {
                tokio::spawn(async move { source.remember(&known, question).await });
            }
        }
    }

    /// What is known of a client and of domains within the budget.
    pub async fn ask(&self, client: Option<IpAddr>, domains: &[Subject]) -> Found {
        let client = client.map(|client| Subject::Address(client.to_canonical()));
        let about_client = client.iter().flat_map(|client| self.questions(&self.clients, client));
        let about_domains = domains.iter().flat_map(|domain| self.questions(&self.domains, domain));
        let (mut found, mut waiting) = (Found::default(), Waiting::default());
        for (source, question) in about_client.chain(about_domains) {
            match self.known.get(&question).await {
                Some(remembered) => found.note(&source, &question, remembered),
                None => waiting.begin(source, question, &self.known),
            }
        }
        if !waiting.tasks.is_empty() {
            // What is not known in time is known to the next message.
            let _late = timeout(self.time_max, waiting.hear(&mut found)).await;
            waiting.give_up();
        }
        found
    }

    fn questions<'q>(
        &'q self,
        numbers: &'q [usize],
        subject: &'q Subject,
    ) -> impl Iterator<Item = (Arc<Source>, Question)> + 'q {
        numbers.iter().filter_map(|&number| {
            let source = self.lists.get(number)?;
            let counts = source.is_believed.load(Relaxed) && source.list.holds(subject);
            let question = || (number, source.age.load(Relaxed), subject.clone());
            counts.then(|| (source.clone(), question()))
        })
    }
}

/// Answers that a message waits for.
#[derive(Default)]
struct Waiting {
    tasks: JoinSet<(Arc<Source>, Question, Remembered)>,
    /// The lists that have not answered, once for each question.
    silent: Vec<(Arc<Source>, Question)>,
}

impl Waiting {
    fn begin(
        &mut self,
        source: Arc<Source>,
        question: Question,
        known: &Cache<Question, Remembered>,
    ) {
        if self.tasks.len() >= QUESTIONS_MAX || !source.may_be_asked() {
            return;
        }
        self.silent.push((source.clone(), question.clone()));
        let known = known.clone();
        self.tasks.spawn(async move {
            let remembered = source.remember(&known, question.clone()).await;
            (source, question, remembered)
        });
    }

    async fn hear(&mut self, found: &mut Found) {
        while let Some(heard) = self.tasks.join_next().await {
            let Ok((source, question, remembered)) = heard else { continue };
            self.silent.retain(|(_, silent)| *silent != question);
            found.note(&source, &question, remembered);
        }
    }

    /// Goes on without those that did not answer; one of them counts against each list.
    fn give_up(mut self) {
        self.tasks.detach_all();
        self.silent.sort_by_key(|(_, question)| question.0);
        self.silent.dedup_by_key(|(_, question)| question.0);
        for (source, _) in &self.silent {
            source.health.lock().note(false, source.clock.now());
        }
    }
}

impl Source {
    /// True unless it was silent again and again.
    fn may_be_asked(&self) -> bool {
        self.health.lock().admits(self.clock.now())
    }

    /// Asks, unless somebody asks just now, and remembers the answer.
    async fn remember(
        &self,
        known: &Cache<Question, Remembered>,
        question: Question,
    ) -> Remembered {
        let subject = question.2.clone();
        known.get_with(question, self.look_up(&subject)).await
    }

    async fn look_up(&self, subject: &Subject) -> Remembered {
        let name = self.list.query(&subject.labels()).map(|name| name.expose());
        // A host of the web may have a name that none of the DNS has: that is not the list's silence.
        let Some(name) = name.filter(|name| Resolver::can_ask(name)) else {
            return Remembered::Unknown;
        };
        if self.pace.check().is_err() {
            return Remembered::Unknown;
        }
        self.asked.fetch_add(1, Relaxed);
        let answer = self.resolver.addresses(&name).await;
        let is_answered = !matches!(answer, Answer::Failed(_));
        self.health.lock().note(is_answered, self.clock.now());
        let found = judge(&self.list, &answer);
        let remembered = match &found {
            Finding::Clean => Remembered::Clean,
            Finding::Listed(listed) => {
                self.listed.fetch_add(1, Relaxed);
                if listed.severity >= SEVERITY_MIN {
                    Remembered::Listed(listed.meaning().into())
                } else {
                    Remembered::Clean
                }
            }
            Finding::Unknown(_) => {
                self.unanswered.fetch_add(1, Relaxed);
                Remembered::Unknown
            }
        };
        if found != Finding::Clean {
            *self.overheard.lock() = Some(found);
        }
        remembered
    }
}

impl Found {
    fn note(&mut self, source: &Source, question: &Question, remembered: Remembered) {
        let Remembered::Listed(meaning) = remembered else { return };
        let subject = question.2.clone();
        let place = match subject {
            Subject::Address(_) => &mut self.client,
            Subject::Domain(_) => &mut self.domains,
        };
        place.push(OnList { subject, list: source.list.name().clone(), meaning });
    }

    /// What there is, in words.
    #[must_use]
    pub fn says(&self) -> Vec<String> {
        self.client.iter().chain(&self.domains).take(SAID_MAX).map(ToString::to_string).collect()
    }
}

impl std::fmt::Display for OnList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is on {} ({})", self.subject, self.list, self.meaning)
    }
}

/// How long each answer is remembered.
struct Keep;

impl Expiry<Question, Remembered> for Keep {
    fn expire_after_create(
        &self,
        _: &Question,
        remembered: &Remembered,
        _: Instant,
    ) -> Option<Duration> {
        Some(if *remembered == Remembered::Unknown { KEEP_UNKNOWN } else { KEEP })
    }
}

fn memory(entries: u64) -> Cache<Question, Remembered> {
    Cache::builder().max_capacity(entries).expire_after(Keep).build()
}

/// Less is no evidence, such as a domain that is new.
const SEVERITY_MIN: Severity = Severity::Warning;
/// Answers that are remembered, of some 150 octets each.
const ENTRIES_MAX: u64 = 50_000;
const KEEP: Duration = Duration::from_secs(900);
const KEEP_UNKNOWN: Duration = Duration::from_secs(30);
/// Questions that one message waits for; those that have an answer already do not count.
const QUESTIONS_MAX: usize = 60;
/// Listings that are told of one message.
const SAID_MAX: usize = 5;
