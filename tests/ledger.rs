//! One contract for every store: what a ledger and its records promise, tried in memory, in a file and in a real Redis; for the
//! file, that a restart changes nothing and a crash at any moment admits nothing too much; for Redis, that it decides as
//! the memory does, that all nodes have the same records, and what becomes of both while it is lost.

#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::print_stderr, reason = "a failing test shows the log of Redis")]

/// What the tests of gates use, too.
mod support {
    #[path = "cluster.rs"]
    #[expect(dead_code, reason = "some of it is for gates")]
    pub(crate) mod cluster;
    #[path = "failure.rs"]
    pub(crate) mod failure;
    #[path = "ports.rs"]
    #[expect(dead_code, reason = "nobody listens here but Redis")]
    pub(crate) mod ports;
    #[path = "redis.rs"]
    pub(crate) mod redis;
}
#[path = "contract/migrate.rs"]
mod migrate;

use proptest::prelude::*;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};
use support::{cluster::Cluster, redis::Redis};
use tempfile::TempDir;
use tollgate::{
    clock::Clock,
    event::{Events, LimitHit},
    rules::{
        judgement::{self, Memory},
        limits::{LimitOverride, Mode, PhpMail, Plan, ScopedLimit, effective},
        spam::{Attempt, Evidence, Recipient, Signal, Text},
        suspension::{self, Case, Conduct, Group, Samples, Standing},
    },
    store::{
        StoreError, Whose, archive,
        behaviour::{Behaviour, Concerned, GroupKey, Minds},
        ledger::{
            ChargePer, Demand, Grant, Granted, Ledger, Request, Reservation, Settlement, Usage,
        },
        memory::MemoryStore,
        records::{
            Change, Choice, Judged, OVERRIDES_MAX, Records, SubjectKind, SubjectRecord, Task, What,
        },
        redis::{self, RedisLedger, RedisRecords, SharingLedger},
        sqlite::{self, Settings, SqliteStore, Synchronous},
    },
    types::{Actor, Key, Limit, Scope, Span, SubjectId, Timestamp, Unit, Via},
};

const MARGIN: Duration = Duration::from_secs(600);
const OPEN_TIME_MAX: Duration = Duration::from_secs(2_700);
const DAY: Duration = Duration::from_secs(86_400);

/// A store under test, with the moment at which the test begins.
struct Store {
    ledger: Arc<dyn Ledger>,
    records: Arc<dyn Records>,
    behaviour: Arc<dyn Behaviour>,
    start: Timestamp,
    shared: Option<Arc<RedisLedger>>,
    redis: Option<Servers>,
    _folder: Option<TempDir>,
}

/// One of several nodes that share their records in a Redis.
struct Node {
    ledger: Arc<RedisLedger>,
    records: Arc<RedisRecords>,
    start: Timestamp,
    folder: TempDir,
}

fn memory() -> Store {
    let store = Arc::new(MemoryStore::new(DAY, MARGIN));
    let start = Clock::start(Timestamp::EPOCH).now();
    let behaviour = Arc::new(Minds::default());
    Store {
        ledger: store.clone(),
        records: store,
        behaviour,
        start,
        shared: None,
        redis: None,
        _folder: None,
    }
}

async fn file() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock) = open(&settings(folder.path())).unwrap();
    let archive = archive::Settings { path: folder.path().join("archive.db") };
    let behaviour = Minds::load(archive::open(&archive).unwrap()).await.unwrap();
    let (behaviour, start) = (Arc::new(behaviour), clock.now());
    let _folder = Some(folder);
    Store { ledger: store.clone(), records: store, behaviour, start, _folder, ..memory() }
}

/// What a ledger is in.
enum Servers {
    One(Redis),
    /// A Cluster that tests share, and what the keys of one test begin with.
    Cluster(Arc<Cluster>, String),
}

impl Servers {
    fn one() -> Self {
        Self::One(Redis::start())
    }

    fn cluster() -> Self {
        static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mut running = RUNNING.lock().unwrap();
        let cluster = running.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Cluster::start());
            *running = Arc::downgrade(&cluster);
            cluster
        });
        Self::Cluster(cluster, format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    fn redis(&self) -> &Redis {
        match self {
            Self::One(redis) => redis,
            Self::Cluster(..) => panic!("a test of one server"),
        }
    }

    fn settings(&self) -> redis::Settings {
        match self {
            Self::One(redis) => shared_settings(redis),
            Self::Cluster(cluster, prefix) => clustered(cluster, prefix),
        }
    }
}

/// The ledger in a Redis; what a test tells as the time is the time there.
fn shared_in(servers: Servers) -> Store {
    let ledger = share(redis::Settings { time: redis::Time::Caller, ..servers.settings() });
    let (shared, redis) = (Some(ledger.clone()), Some(servers));
    Store { ledger, shared, redis, ..memory() }
}

async fn shared_ledger_in(servers: Servers) -> Store {
    shared_in(servers)
}

fn shared() -> Store {
    shared_in(Servers::one())
}

/// The records in a Redis.
async fn shared_records_in(servers: Servers) -> Store {
    let node = Node::start_in(servers.settings(), tempfile::tempdir().unwrap());
    node.is_read().await;
    Store {
        records: node.records,
        start: node.start,
        shared: Some(node.ledger),
        redis: Some(servers),
        _folder: Some(node.folder),
        ..memory()
    }
}

/// The same, with reservations that may stay open as long as those in memory.
fn shared_without_deadline(servers: Servers) -> Store {
    let (time, open_time_max) = (redis::Time::Caller, 3_650 * DAY);
    let settings = redis::Settings { time, open_time_max, ..servers.settings() };
    Store { ledger: share(settings), redis: Some(servers), ..memory() }
}

fn clustered(cluster: &Cluster, prefix: &str) -> redis::Settings {
    let place = |master: &Redis| (master.address.ip().to_string(), master.address.port());
    let settings = shared_settings(&cluster.masters[0]);
    // Of the host in the URL nothing is wanted.
    let (place, nodes) =
        ("redis://nobody.invalid".parse().unwrap(), cluster.masters.iter().map(place));
    redis::Settings { place, cluster: Some(nodes.collect()), prefix: prefix.into(), ..settings }
}

fn shared_settings(redis: &Redis) -> redis::Settings {
    redis::Settings {
        place: redis.url().parse().unwrap(),
        password: None,
        tls_ca: None,
        prefix: "test".into(),
        timeout: seconds(10),
        history: DAY,
        unknown_margin: MARGIN,
        open_time_max: OPEN_TIME_MAX,
        time: redis::Time::Server,
        shares: None,
        sentinels: None,
        cluster: None,
        stream: redis::StreamSettings {
            node: "node".into(),
            octets_max: 1 << 28,
            journal_octets_max: 1 << 28,
            age_max: DAY,
        },
    }
}

fn share(settings: redis::Settings) -> Arc<RedisLedger> {
    RedisLedger::start(settings, Clock::start(Timestamp::EPOCH), Events::default()).unwrap()
}

fn settings(folder: &Path) -> Settings {
    Settings {
        path: folder.join("state.sqlite"),
        synchronous: Synchronous::Normal,
        history: DAY,
        unknown_margin: MARGIN,
    }
}

fn open(settings: &Settings) -> Result<(Arc<SqliteStore>, Clock), StoreError> {
    // A program that another test starts has our lock from its fork to its exec.
    let is_taken = |error: &StoreError| error.to_string().contains("another process");
    let mut opened = sqlite::open(settings);
    for _ in 0..500 {
        if !opened.as_ref().is_err_and(is_taken) {
            break;
        }
        thread::sleep(MILLISECOND * 10);
        opened = sqlite::open(settings);
    }
    let opened = opened?;
    let clock = Clock::start(opened.high_water());
    Ok((opened.start(&clock, Events::default())?, clock))
}

/// Runs a test on every store.
macro_rules! contract {
    ($($name:ident)*) => { $(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn memory() { super::checks::$name(super::memory()).await; }

            #[tokio::test(flavor = "multi_thread")]
            async fn file() { super::checks::$name(super::file().await).await; }
        }
    )* };
}

/// Runs a test on every store, and on what is shared in Redis.
macro_rules! contract_of_shared {
    ($in:ident => $($name:ident)*) => { $(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn memory() { super::checks::$name(super::memory()).await; }

            #[tokio::test(flavor = "multi_thread")]
            async fn file() { super::checks::$name(super::file().await).await; }

            #[tokio::test(flavor = "multi_thread")]
            async fn redis() { super::checks::$name(super::$in(super::Servers::one()).await).await; }

            #[tokio::test(flavor = "multi_thread")]
            async fn cluster() {
                super::checks::$name(super::$in(super::Servers::cluster()).await).await;
            }
        }
    )* };
}

contract_of_shared! { shared_ledger_in =>
    exactly_the_limit_passes_under_many_tasks
    a_recipient_is_granted_in_all_windows_or_in_none
    recipients_are_granted_in_order
    what_is_given_back_is_free_again
    a_charge_leaves_after_its_window_and_an_unknown_one_later
    observing_grants_everything_and_reports
    observing_one_window_does_not_open_another
    a_transaction_costs_one_where_messages_are_counted
    of_two_full_windows_the_later_one_is_told
    changing_a_limit_keeps_the_history
    two_demands_on_one_window_are_one
    a_threshold_is_reported_once_in_its_window
    usage_and_keys_tell_what_is_there
}

contract_of_shared! { shared_records_in =>
    overrides_expire
    records_are_changed_and_listed
    changes_that_do_not_fit_are_refused
    changes_wait_for_the_audit_in_their_order
    the_last_refusal_is_kept
    a_standing_changes_only_from_what_was_seen
    a_person_holds_what_a_rule_suspended_and_forgives_it
}

contract! {
    senders_are_remembered_by_one_caller_at_a_time
    groups_are_remembered_and_forgiven
    a_wave_lasts_until_a_person_ends_it
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn limit(seconds: u64, max: u32) -> Limit {
    Limit { window: Span::from_secs(seconds), max }
}

fn demand(key_text: &str, limits: &[Limit]) -> Demand {
    Demand {
        key: key(key_text),
        limits: limits.into(),
        per: ChargePer::Recipient,
        mode: Mode::Enforce,
    }
}

fn asking(recipients: u32) -> Request {
    Request { recipients, grant: Grant::InOrder }
}

fn account(name: &str) -> SubjectId {
    SubjectId::Account(name.parse().unwrap())
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const MILLISECOND: Duration = Duration::from_millis(1);

impl Store {
    async fn take(
        &self,
        demands: &[Demand],
        request: Request,
        now: Timestamp,
    ) -> (Reservation, Granted) {
        let mut reservation = Reservation::new(demands.to_vec());
        let granted = self.ledger.reserve(&mut reservation, request, now).await.unwrap();
        (reservation, granted)
    }

    /// Sends as many of these recipients as pass.
    async fn send(&self, demands: &[Demand], recipients: u32, now: Timestamp) -> u32 {
        let (mut reservation, granted) = self.take(demands, asking(recipients), now).await;
        self.ledger.make_durable(&mut reservation).await.unwrap();
        self.ledger.settle(reservation, Settlement::Sent, now).await.unwrap();
        granted.recipients
    }

    /// Waits until a shared ledger knows of what was dropped.
    async fn all_is_told(&self) {
        if let Some(ledger) = &self.shared {
            ledger.close().await;
        }
    }

    async fn usage(&self, key_text: &str, limit: Limit, now: Timestamp) -> Usage {
        self.ledger.usage(&key(key_text), &[limit], now).await.unwrap().remove(0)
    }

    async fn change(
        &self,
        subject: SubjectId,
        what: What,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        change(&*self.records, subject, what, now).await
    }
}

async fn change(
    records: &dyn Records,
    subject: SubjectId,
    what: What,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (reason, actor) = ("asked".into(), Actor::new(Via::ControlSocket, "desk"));
    let change = Change { subject, what, reason, evidence: None, actor };
    records.change(change, now).await.map(|_| ())
}

impl Node {
    /// Starts with what the folder holds.
    fn start(redis: &Redis, folder: TempDir) -> Self {
        Self::start_in(shared_settings(redis), folder)
    }

    fn start_in(shared: redis::Settings, folder: TempDir) -> Self {
        let (copy, clock) = open(&settings(folder.path())).unwrap();
        let ledger = share(shared);
        let records = RedisRecords::start(&ledger, copy).unwrap();
        Self { ledger, records, start: clock.now(), folder }
    }

    async fn new(redis: &Redis) -> Self {
        let node = Self::start(redis, tempfile::tempdir().unwrap());
        node.is_read().await;
        node
    }

    /// Ends as in a crash.
    async fn end(self) -> TempDir {
        self.records.close().await;
        self.folder
    }

    /// Waits until it knows the records.
    async fn is_read(&self) {
        self.comes_to("read the records", async || self.records.failure().is_none()).await;
    }

    async fn comes_to(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let so = async {
            while !is_so().await {
                tokio::task::yield_now().await;
            }
        };
        let why = tokio::time::timeout(seconds(20), so).await.err().map(|_| self.records.failure());
        assert!(why.is_none(), "it does not come to {what}: {why:?}");
    }

    /// Waits until it has what another has.
    async fn agrees_with(&self, other: &Self) {
        let agrees = async || {
            let revisions = [self, other].map(|node| node.records.revision().ok().flatten());
            revisions[0].is_some() && revisions[0] == revisions[1]
        };
        self.comes_to("what another has", agrees).await;
    }

    async fn change(&self, subject: SubjectId, what: What) -> Result<(), StoreError> {
        change(&*self.records, subject, what, self.start).await
    }

    async fn record(&self, subject: &SubjectId) -> Arc<SubjectRecord> {
        self.records.subject(subject).await.unwrap()
    }

    /// The names of the recorded accounts.
    async fn accounts(&self) -> Vec<String> {
        let all = self.records.subjects(SubjectKind::Accounts, Whose::All, None, 999).await;
        all.unwrap().iter().map(|(subject, _)| subject.to_string()).collect()
    }
}

mod checks {
    use super::*;

    pub(super) async fn exactly_the_limit_passes_under_many_tasks(store: Store) {
        let (store, granted) = (Arc::new(store), Arc::new(AtomicU32::new(0)));
        let demands = [
            demand("tenant/r/b", &[limit(3600, 90)]),
            demand("account/r/a@b", &[limit(3600, 50), limit(86_400, 600)]),
            demand("client-ip/r/192.0.2.1", &[limit(3600, 70)]),
        ];
        let send = |n: u64| {
            let (store, granted, demands) = (store.clone(), granted.clone(), demands.clone());
            tokio::spawn(async move {
                let now = store.start + MILLISECOND * u32::try_from(n).unwrap();
                let (mut reservation, got) = store.take(&demands, asking(2), now).await;
                tokio::task::yield_now().await;
                let settlement =
                    if n.is_multiple_of(3) { Settlement::Refunded } else { Settlement::Sent };
                if settlement == Settlement::Sent {
                    store.ledger.make_durable(&mut reservation).await.unwrap();
                    granted.fetch_add(got.recipients, Ordering::Relaxed);
                }
                store.ledger.settle(reservation, settlement, now).await.unwrap();
            })
        };
        for round in 0..4 {
            let tasks: Vec<_> = (0..64).map(|n| send(round * 64 + n)).collect();
            for task in tasks {
                task.await.unwrap();
            }
        }
        // What was given back when nobody asked any more is taken now, one after another.
        for n in (256..306).filter(|n: &u64| !n.is_multiple_of(3)) {
            send(n).await.unwrap();
        }
        assert_eq!(granted.load(Ordering::Relaxed), 50);
        let usage = store.usage("account/r/a@b", limit(3600, 50), store.start).await;
        assert_eq!((usage.sent, usage.open, usage.remaining), (50, 0, 0));
    }

    pub(super) async fn a_recipient_is_granted_in_all_windows_or_in_none(store: Store) {
        let tenant = demand("tenant/r/b", &[limit(3600, 3)]);
        let first = [tenant.clone(), demand("account/r/a@b", &[limit(3600, 2)])];
        let second = [tenant, demand("account/r/c@b", &[limit(3600, 2)])];
        assert_eq!(store.send(&first, 5, store.start).await, 2);
        assert_eq!(store.send(&second, 5, store.start).await, 1);
        let usage = store.usage("account/r/c@b", limit(3600, 2), store.start).await;
        assert_eq!((usage.sent, usage.remaining), (1, 1));
        let all = Request { recipients: 2, grant: Grant::AllOrNothing };
        let (_, granted) = store.take(&first[1..], all.clone(), store.start).await;
        assert_eq!((granted.recipients, granted.hit.unwrap().used), (0, 2));
        let later = store.start + seconds(3601);
        let (_, granted) = store.take(&first[1..], all, later).await;
        assert_eq!(granted, Granted { recipients: 2, hit: None, observed: None });
    }

    pub(super) async fn recipients_are_granted_in_order(store: Store) {
        let demands = [demand("account/r/a@b", &[limit(3600, 5)])];
        let (mut reservation, granted) = store.take(&demands, asking(3), store.start).await;
        assert_eq!((granted.recipients, granted.hit), (3, None));
        let more = store.ledger.reserve(&mut reservation, asking(4), store.start).await.unwrap();
        let hit = LimitHit {
            key: key("account/r/a@b"),
            limit: limit(3600, 5),
            used: 5,
            next_slot: Some(store.start + Duration::from_millis(3_600_001)),
        };
        assert_eq!(more, Granted { recipients: 2, hit: Some(hit), observed: None });
        assert_eq!(reservation.recipients(), 5);
    }

    pub(super) async fn what_is_given_back_is_free_again(store: Store) {
        let demands = [demand("account/r/a@b", &[limit(3600, 5)])];
        let (mut reservation, _) = store.take(&demands, asking(5), store.start).await;
        store.ledger.release(&mut reservation, 2, store.start).await.unwrap();
        assert_eq!(reservation.recipients(), 3);
        let (other, granted) = store.take(&demands, asking(5), store.start).await;
        assert_eq!(granted.recipients, 2);
        drop(other);
        store.all_is_told().await;
        store.ledger.make_durable(&mut reservation).await.unwrap();
        store.ledger.settle(reservation, Settlement::Refunded, store.start).await.unwrap();
        let usage = store.usage("account/r/a@b", limit(3600, 5), store.start).await;
        assert_eq!((usage.sent, usage.open, usage.remaining), (0, 0, 5));
    }

    pub(super) async fn a_charge_leaves_after_its_window_and_an_unknown_one_later(store: Store) {
        let demands = [demand("account/r/a@b", &[limit(5, 1)])];
        assert_eq!(store.send(&demands, 1, store.start).await, 1);
        let leaves = store.start + MILLISECOND + seconds(5);
        assert_eq!(store.send(&demands, 1, leaves - MILLISECOND).await, 0);
        let (mut reservation, granted) = store.take(&demands, asking(1), leaves).await;
        assert_eq!(granted.recipients, 1);
        store.ledger.make_durable(&mut reservation).await.unwrap();
        store.ledger.settle(reservation, Settlement::Unknown, leaves).await.unwrap();
        let unknown_leaves = leaves + MARGIN + seconds(5);
        let usage = store.usage("account/r/a@b", limit(5, 1), leaves + seconds(60)).await;
        assert_eq!((usage.sent, usage.next_slot), (1, Some(unknown_leaves)));
        assert_eq!(store.send(&demands, 1, unknown_leaves - MILLISECOND).await, 0);
        assert_eq!(store.send(&demands, 1, unknown_leaves).await, 1);
    }

    pub(super) async fn observing_grants_everything_and_reports(store: Store) {
        let mut observed = demand("account/r/a@b", &[limit(3600, 2)]);
        observed.mode = Mode::Observe;
        let demands = [observed];
        let (mut reservation, granted) = store.take(&demands, asking(5), store.start).await;
        assert_eq!((granted.recipients, granted.hit), (5, None));
        let told = granted.observed.unwrap();
        assert_eq!((told.recipients, told.hit.used), (3, 2));
        store.ledger.make_durable(&mut reservation).await.unwrap();
        store.ledger.settle(reservation, Settlement::Sent, store.start).await.unwrap();
        let usage = store.usage("account/r/a@b", limit(3600, 2), store.start).await;
        assert_eq!((usage.sent, usage.remaining), (5, 0));
    }

    pub(super) async fn observing_one_window_does_not_open_another(store: Store) {
        let mut observed = demand("account/r/a@b", &[limit(3600, 1)]);
        observed.mode = Mode::Observe;
        let demands = [observed, demand("tenant/r/b", &[limit(3600, 3)])];
        let (_reservation, granted) = store.take(&demands, asking(5), store.start).await;
        assert_eq!(granted.recipients, 3);
        assert_eq!(granted.hit.unwrap().key.as_str(), "tenant/r/b");
        assert_eq!(granted.observed.unwrap().recipients, 2);
    }

    pub(super) async fn a_transaction_costs_one_where_messages_are_counted(store: Store) {
        let mut messages = demand("account/m/a@b", &[limit(3600, 2)]);
        messages.per = ChargePer::Transaction;
        let demands = [messages, demand("account/r/a@b", &[limit(3600, 100)])];
        let (mut reservation, _) = store.take(&demands, asking(10), store.start).await;
        let more = store.ledger.reserve(&mut reservation, asking(10), store.start).await.unwrap();
        assert_eq!((more.recipients, reservation.recipients()), (10, 20));
        store.ledger.release(&mut reservation, 19, store.start).await.unwrap();
        let usage = store.usage("account/m/a@b", limit(3600, 2), store.start).await;
        assert_eq!(usage.open, 1);
        store.ledger.settle(reservation, Settlement::Sent, store.start).await.unwrap();
        assert_eq!(store.send(&demands, 7, store.start).await, 7);
        assert_eq!(store.send(&demands, 1, store.start).await, 0);
        let usage = store.usage("account/r/a@b", limit(3600, 100), store.start).await;
        assert_eq!((usage.sent, usage.open), (8, 0));
    }

    pub(super) async fn of_two_full_windows_the_later_one_is_told(store: Store) {
        let demands = [
            demand("account/r/a@b", &[limit(60, 1), limit(3600, 1)]),
            demand("account/n/a@b", &[limit(60, 1)]),
        ];
        assert_eq!(store.send(&demands, 1, store.start).await, 1);
        let (_, granted) = store.take(&demands, asking(1), store.start + seconds(1)).await;
        assert_eq!(granted.hit.unwrap().limit, limit(3600, 1));
        let never = [demand("peer/r/p", &[limit(60, 0)])];
        let (_, granted) = store.take(&never, asking(1), store.start).await;
        assert_eq!(granted.hit.unwrap().next_slot, None);
    }

    pub(super) async fn changing_a_limit_keeps_the_history(store: Store) {
        let with = |given| [demand("account/r/a@b", &[given])];
        assert_eq!(store.send(&with(limit(3600, 50)), 60, store.start).await, 50);
        assert_eq!(store.send(&with(limit(3600, 55)), 60, store.start).await, 5);
        assert_eq!(store.send(&with(limit(7200, 56)), 60, store.start).await, 1);
        assert_eq!(store.send(&with(limit(3600, 10)), 1, store.start).await, 0);
    }

    pub(super) async fn two_demands_on_one_window_are_one(store: Store) {
        let twice =
            [demand("account/r/a@b", &[limit(3600, 5)]), demand("account/r/a@b", &[limit(60, 2)])];
        assert_eq!(store.send(&twice, 9, store.start).await, 2);
        let usage = store.usage("account/r/a@b", limit(3600, 5), store.start).await;
        assert_eq!(usage.sent, 2);
    }

    pub(super) async fn a_threshold_is_reported_once_in_its_window(store: Store) {
        let demands = [demand("account/r/a@b", &[limit(60, 10)])];
        let mut seen = Vec::new();
        let steps = (0..10).map(|n| (n, 1)).chain([(62, 9), (200, 9)]);
        for (n, recipients) in steps {
            let now = store.start + seconds(n);
            let (reservation, _) = store.take(&demands, asking(recipients), now).await;
            let reached = store.ledger.settle(reservation, Settlement::Sent, now).await.unwrap();
            seen.extend(reached.into_iter().map(|r| (n, r.percent, r.used, r.limit)));
        }
        let wide = limit(60, 10);
        assert_eq!(seen, [(7, 80, 8, wide), (9, 100, 10, wide), (200, 80, 9, wide)]);
    }

    pub(super) async fn usage_and_keys_tell_what_is_there(store: Store) {
        assert!(!store.ledger.knows(&key("account/r/a@b")).await.unwrap());
        let nothing = store.usage("account/r/a@b", limit(60, 7), store.start).await;
        assert_eq!((nothing.sent, nothing.open, nothing.remaining), (0, 0, 7));
        for name in ["c", "a", "d", "b"] {
            let demands = [
                demand(&format!("account/r/{name}@b"), &[limit(60, 7)]),
                demand("tenant/r/b", &[limit(60, 70)]),
            ];
            store.send(&demands, 1, store.start).await;
        }
        assert!(store.ledger.knows(&key("account/r/a@b")).await.unwrap());
        let page = store.ledger.keys(Scope::Account, Whose::All, None, 3).await.unwrap();
        let names: Vec<_> = page.iter().map(Key::as_str).collect();
        assert_eq!(names, ["account/r/a@b", "account/r/b@b", "account/r/c@b"]);
        let rest = store.ledger.keys(Scope::Account, Whose::All, page.last(), 3).await.unwrap();
        assert_eq!(rest, [key("account/r/d@b")]);
        assert_eq!(store.ledger.keys(Scope::Peer, Whose::All, None, 3).await.unwrap(), []);
        store.send(&[demand("account/r/c@b.b", &[limit(60, 7)])], 1, store.start).await;
        store.send(&[demand("account/r/7@b", &[limit(60, 7)])], 1, store.start).await;
        let accounts = ["a@b", "b@b", "c@b"];
        for (tenant, expected) in [("b", &accounts[..]), ("b.b", &["c@b.b"]), ("7@b", &["7@b"])] {
            let tenant = tenant.parse().unwrap();
            let of = Whose::Of(&tenant);
            let page = store.ledger.keys(Scope::Account, of, None, 3).await.unwrap();
            let names: Vec<_> = page.iter().map(|key| key.parts().name).collect();
            assert_eq!(names, expected, "{tenant}");
        }
    }

    pub(super) async fn overrides_expire(store: Store) {
        let until = store.start + seconds(60);
        let given = given(store.start, Some(200), Some(until));
        let set = What::SetOverride(given.clone());
        store.change(account("a@b"), set, store.start).await.unwrap();
        let record = store.records.subject(&account("a@b")).await.unwrap();
        let max_at = |now| {
            let found = effective(&super::plan(), &[], &record.overrides, now);
            found.iter().map(|e| e.scoped.limit.max).collect::<Vec<_>>()
        };
        assert_eq!((max_at(store.start), max_at(until)), (vec![200], vec![50]));
        store.change(account("a@b"), What::ClearOverride(given), until).await.unwrap();
        assert!(store.records.subject(&account("a@b")).await.unwrap().overrides.is_empty());
    }

    fn case(now: Timestamp) -> Box<Case> {
        let evidence = Evidence::default();
        let id = "TG-1".parse().unwrap();
        Box::new(Case::open(id, account("a@b"), &evidence, &Samples::default(), now))
    }

    pub(super) async fn a_standing_changes_only_from_what_was_seen(store: Store) {
        let (now, settings) = (store.start, suspension::Settings::default());
        let from = Conduct::default();
        let (mut warned, mut suspended) = (from.clone(), from.clone());
        let _ = warned.weigh(5.0, true, now, &settings);
        let _ = suspended.weigh(9.0, true, now, &settings);
        let judge = async |from: &Conduct, to: &Conduct, case| {
            let (from, to) = (from.clone(), to.clone());
            let judged = Judged { from, to, case, password: Some(7) };
            store.change(account("a@b"), What::Judge(Box::new(judged)), now).await
        };
        judge(&from, &warned, None).await.unwrap();
        let record = store.records.subject(&account("a@b")).await.unwrap();
        assert_eq!((record.conduct(), record.suspension.is_none()), (warned.clone(), true));
        // Whoever has seen what was before does not write over it.
        let late = judge(&from, &suspended, Some(case(now))).await;
        assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
        judge(&warned, &suspended, Some(case(now))).await.unwrap();
        let record = store.records.subject(&account("a@b")).await.unwrap();
        let suspension = record.suspension.clone().unwrap();
        assert_eq!(suspension.until, Some(now + settings.suspended_for.length()));
        assert_eq!((suspension.evidence, suspension.password), (Some(case(now)), Some(7)));
        let listed = store.records.chosen(Choice::Suspended, 9).await.unwrap();
        assert_eq!(listed.len(), 1);
        let mut ended = suspended.clone();
        let _ = ended.turn(now + settings.suspended_for.length(), &settings);
        judge(&suspended, &ended, None).await.unwrap();
        let record = store.records.subject(&account("a@b")).await.unwrap();
        assert!(record.suspension.is_none());
        // Without evidence a standing is only told.
        let mut again = ended.clone();
        let _ = again.weigh(9.0, true, now + DAY, &settings);
        judge(&ended, &again, None).await.unwrap();
        let record = store.records.subject(&account("a@b")).await.unwrap();
        assert!(record.conduct().standing().is_shut() && record.suspension.is_none());
    }

    pub(super) async fn a_person_holds_what_a_rule_suspended_and_forgives_it(store: Store) {
        let (now, settings) = (store.start, suspension::Settings::default());
        let from = Conduct::default();
        let mut to = from.clone();
        let _ = to.weigh(9.0, true, now, &settings);
        let judged = Judged { from, to, case: Some(case(now)), password: None };
        store.change(account("a@b"), What::Judge(Box::new(judged)), now).await.unwrap();
        let hold = || What::suspend("TG-2".parse().unwrap());
        store.change(account("a@b"), hold(), now + seconds(1)).await.unwrap();
        let record = store.records.subject(&account("a@b")).await.unwrap();
        let suspension = record.suspension.clone().unwrap();
        assert_eq!(
            (suspension.case.as_str(), suspension.until),
            ("TG-1", None),
            "the case goes on"
        );
        assert!(suspension.evidence.is_some() && record.conduct().standing() == Standing::Held);
        let again = store.change(account("a@b"), hold(), now).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
        let cancel = What::Cancel("TG-3".parse().unwrap());
        store.change(account("a@b"), cancel.clone(), now).await.unwrap();
        let again = store.change(account("a@b"), cancel, now).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
        let lifted = now + seconds(9);
        let resume = || What::Resume { probation: Some(Span::from_secs(60)) };
        store.change(account("a@b"), resume(), lifted).await.unwrap();
        let conduct = store.records.subject(&account("a@b")).await.unwrap().conduct();
        assert_eq!(conduct.probation(lifted), Some(lifted + seconds(60)));
        assert!(conduct.release().unwrap().by_person && conduct.breaches() == 2);
        // Its reduced limits can be lifted as well, and then there is nothing more to lift.
        store.change(account("a@b"), resume(), lifted).await.unwrap();
        let conduct = store.records.subject(&account("a@b")).await.unwrap().conduct();
        assert_eq!(conduct.probation(lifted), None);
        let again = store.change(account("a@b"), resume(), lifted).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    }

    const HERE: &str = "192.0.2.7";

    impl Store {
        /// Has something done with the memory of an account and its company.
        async fn remember<T: Send>(
            &self,
            name: &str,
            act: impl Fn(&mut Memory<'_>) -> T + Send + Sync,
        ) -> T {
            let (account, tenant) = (name.parse().unwrap(), "b".parse().unwrap());
            let client = Some(HERE.parse().unwrap());
            let conduct = Conduct::default();
            let concerned =
                Concerned { account: &account, tenant: &tenant, client, conduct: &conduct };
            let mut done = None;
            let mut once = |memory: &mut Memory<'_>| done = Some(act(memory));
            self.behaviour.remember(concerned, self.start, &mut once).await.unwrap();
            done.unwrap()
        }

        fn attempt<'a>(&self, recipients: &'a [Recipient]) -> Attempt<'a> {
            Attempt {
                at: self.start,
                client: None,
                recipients,
                over_limit: 1,
                is_null_sender: false,
                text: Text::default(),
            }
        }
    }

    pub(super) async fn senders_are_remembered_by_one_caller_at_a_time(store: Store) {
        let store = Arc::new(store);
        assert_eq!(store.behaviour.mind(&"a@b".parse().unwrap()).await.unwrap(), None);
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let store = store.clone();
                // A twentieth of a point for each recipient over a limit.
                tokio::spawn(async move {
                    let look = |memory: &mut Memory<'_>| {
                        memory.look(&store.attempt(&[]), &judgement::Settings::default())
                    };
                    store.remember("a@b", look).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mind = store.behaviour.mind(&"a@b".parse().unwrap()).await.unwrap().unwrap();
        let points = mind.evidence().of(Signal::Overrun);
        assert!((points - 0.8).abs() < 0.01, "{points}");
        assert_eq!(store.behaviour.mind(&"c@b".parse().unwrap()).await.unwrap(), None);
    }

    pub(super) async fn groups_are_remembered_and_forgiven(store: Store) {
        let settings = judgement::Settings::default();
        let (tenant, here) = ("b".parse().unwrap(), HERE.parse().unwrap());
        for name in ["a@b", "c@b", "d@b"] {
            let condemn =
                |memory: &mut Memory<'_>| memory.condemn(&store.attempt(&[]), 1_000, &settings);
            let aftermath = store.remember(name, condemn).await;
            assert_eq!(aftermath.tenant.is_some(), name == "d@b", "three are a group");
            assert_eq!(aftermath.client, aftermath.tenant);
        }
        let left = async || {
            let company = store.behaviour.company(&tenant, Some(here)).await.unwrap();
            let percent = |group: &Group| group.percent(store.start, &settings.suspension);
            (percent(&company.tenant), percent(&company.client))
        };
        assert_eq!(left().await, (20, 20));
        let key = GroupKey::Tenant(tenant.clone());
        let company = store.behaviour.company(&tenant, Some(here)).await.unwrap();
        assert_eq!(store.behaviour.group(&key).await.unwrap(), company.tenant);
        assert!(store.behaviour.forgive(&key).await.unwrap());
        assert!(!store.behaviour.forgive(&key).await.unwrap());
        assert_eq!(left().await, (100, 20));
    }

    pub(super) async fn a_wave_lasts_until_a_person_ends_it(store: Store) {
        let mut settings = judgement::Settings::default();
        settings.suspension.breaker_min = 1;
        assert_eq!(store.behaviour.wave().await.unwrap(), None);
        for name in ["a@b", "c@b"] {
            let condemn =
                |memory: &mut Memory<'_>| memory.condemn(&store.attempt(&[]), 10, &settings);
            store.remember(name, condemn).await;
        }
        assert_eq!(store.behaviour.wave().await.unwrap(), Some(store.start));
        let look = |memory: &mut Memory<'_>| memory.look(&store.attempt(&[]), &settings);
        assert!(!store.remember("e@b", look).await.may_suspend);
        assert!(store.behaviour.end_wave().await.unwrap());
        assert!(!store.behaviour.end_wave().await.unwrap());
        assert!(store.remember("e@b", look).await.may_suspend);
    }

    pub(super) async fn records_are_changed_and_listed(store: Store) {
        let (now, case) = (store.start, "case-1".parse().unwrap());
        let tenant = SubjectId::Tenant("b".parse().unwrap());
        for (subject, what) in [
            (account("c@b"), What::Register),
            (account("a@b"), What::Plan(Some("big".parse().unwrap()))),
            (account("a@b"), What::Tenant(Some("x".parse().unwrap()))),
            (account("a@b"), What::Senders(vec!["@shop.example".into()])),
            (account("a@b"), What::suspend(case)),
            (tenant.clone(), What::Register),
        ] {
            store.change(subject, what, now).await.unwrap();
        }
        let record = store.records.subject(&account("a@b")).await.unwrap();
        assert_eq!(record.plan.as_ref().unwrap().as_str(), "big");
        assert_eq!(record.tenant.as_ref().unwrap().as_str(), "x");
        assert_eq!((record.senders.len(), record.registered), (1, false));
        let suspension = record.suspension.clone().unwrap();
        assert_eq!((suspension.reason.as_str(), suspension.since), ("asked", now));
        let chosen = async |choice, max| {
            let found = store.records.chosen(choice, max).await.unwrap();
            let mut names: Vec<_> = found.into_iter().map(|(subject, _)| subject).collect();
            names.sort_by_key(ToString::to_string);
            names
        };
        assert_eq!(chosen(Choice::Suspended, 9).await, [account("a@b")]);
        assert_eq!(chosen(Choice::Suspended, 0).await, []);
        let (own, other) = ("case-1".parse().unwrap(), "case-3".parse().unwrap());
        assert_eq!(chosen(Choice::OfCase(&own), 9).await, [account("a@b")]);
        assert_eq!(chosen(Choice::OfCase(&other), 9).await, []);
        let settings = tollgate::rules::suspension::Settings::default();
        let from = Conduct::default();
        let mut to = from.clone();
        let _ = to.weigh(settings.throttle_points, true, now, &settings);
        let judged = Judged { from, to, case: None, password: None };
        store.change(account("f@y"), What::Judge(Box::new(judged)), now).await.unwrap();
        assert_eq!(chosen(Choice::Flagged, 9).await, [account("f@y")]);
        store.change(account("f@y"), What::resume(), now).await.unwrap();
        assert_eq!(chosen(Choice::Flagged, 9).await, []);
        let many = |n: u64| account(&format!("s{n}@z"));
        for n in 0..20 {
            let since = now + seconds(n * 7 % 20 + 1);
            store.change(many(n), What::suspend("case-2".parse().unwrap()), since).await.unwrap();
        }
        let latest = store.records.chosen(Choice::Suspended, 3).await.unwrap();
        let latest: Vec<_> = latest.into_iter().map(|(subject, _)| subject).collect();
        assert_eq!(latest, [17, 14, 11].map(many), "the latest, and they first");
        for n in 0..20 {
            store.change(many(n), What::resume(), now).await.unwrap();
        }
        let (by_name, assigned) = ("b".parse().unwrap(), "x".parse().unwrap());
        assert_eq!(chosen(Choice::AccountsOf(&by_name), 9).await, [account("c@b")]);
        assert_eq!(chosen(Choice::AccountsOf(&assigned), 9).await, [account("a@b")]);
        store.change(account("a@b"), What::resume(), now).await.unwrap();
        assert!(store.records.subject(&account("a@b")).await.unwrap().suspension.is_none());
        let list = |kind, after| store.records.subjects(kind, Whose::All, after, 9);
        let accounts = list(SubjectKind::Accounts, None).await.unwrap();
        let names: Vec<_> = accounts.iter().map(|(subject, _)| subject.clone()).collect();
        // Whoever was suspended once stays recorded, so that breaches are counted.
        assert_eq!(names[..4], [account("a@b"), account("c@b"), account("f@y"), many(0)]);
        assert_eq!(list(SubjectKind::Accounts, Some("s8@z")).await.unwrap().len(), 1);
        assert_eq!(list(SubjectKind::Tenants, None).await.unwrap()[0].0, tenant);
        for (tenant, expected) in [("x", "a@b"), ("b", "c@b")] {
            let tenant = tenant.parse().unwrap();
            let of = store.records.subjects(SubjectKind::Accounts, Whose::Of(&tenant), None, 9);
            let of: Vec<_> = of.await.unwrap().into_iter().map(|(subject, _)| subject).collect();
            assert_eq!(of, [account(expected)], "of {tenant}");
        }
    }

    pub(super) async fn changes_wait_for_the_audit_in_their_order(store: Store) {
        let (records, now) = (&store.records, store.start);
        let resumed = store.change(account("a@b"), What::resume(), now).await;
        assert!(resumed.is_err(), "what was refused must not be audited");
        for what in [
            What::Tenant(Some("x".parse().unwrap())),
            What::suspend("case-1".parse().unwrap()),
            What::resume(),
        ] {
            store.change(account("a@b"), what, now).await.unwrap();
        }
        let two = records.changes_waiting(2).await.unwrap();
        let told: Vec<_> = two.iter().map(|changed| changed.action.as_str()).collect();
        assert_eq!(told, ["tenant-changed", "suspended"]);
        assert_eq!((two[0].tenant.as_str(), two[1].tenant.as_str()), ("b", "x"));
        assert_eq!(
            (two[0].before.as_deref(), two[0].after.as_deref()),
            (Some("as its name says"), Some("x"))
        );
        assert_eq!(
            (two[1].before.as_deref(), two[1].after.as_deref()),
            (None, Some("case case-1"))
        );
        assert_eq!((two[1].reason.as_deref(), two[1].actor.name()), (Some("asked"), "desk"));
        assert_eq!(records.changes_waiting(2).await.unwrap(), two);
        records.cut_changes(two[1].number).await.unwrap();
        let rest = records.changes_waiting(9).await.unwrap();
        assert_eq!(rest.iter().map(|c| c.action.as_str()).collect::<Vec<_>>(), ["resumed"]);
        assert!(rest[0].number > two[1].number && rest[0].key != two[1].key);
        records.cut_changes(rest[0].number).await.unwrap();
        let nothing =
            tokio::time::timeout(Duration::from_millis(20), records.changes_waiting(9)).await;
        assert!(nothing.is_err(), "{nothing:?}");
        store.change(account("c@b"), What::Register, now).await.unwrap();
        let next = records.changes_waiting(9).await.unwrap();
        assert!(next[0].number > rest[0].number);
    }

    pub(super) async fn changes_that_do_not_fit_are_refused(store: Store) {
        let (now, tenant) = (store.start, SubjectId::Tenant("b".parse().unwrap()));
        let case = || "case-1".parse().unwrap();
        store.change(account("s@b"), What::suspend(case()), now).await.unwrap();
        let tenant_scope = LimitOverride { scope: Scope::Tenant, ..given(now, Some(1), None) };
        for (subject, what) in [
            (account("a@b"), What::resume()),
            (account("s@b"), What::suspend(case())),
            (tenant.clone(), What::Tenant(None)),
            (tenant, What::Senders(Vec::new())),
            (account("a@b"), What::ClearOverride(given(now, None, None))),
            (account("a@b"), What::SetOverride(tenant_scope)),
        ] {
            let shown = format!("{subject}: {what:?}");
            let refused = store.change(subject, what, now).await;
            assert!(matches!(refused, Err(StoreError::Conflict(_))), "{shown}: {refused:?}");
        }
        assert_eq!(
            store.records.subjects(SubjectKind::Accounts, Whose::All, None, 9).await.unwrap().len(),
            1
        );
    }

    pub(super) async fn the_last_refusal_is_kept(store: Store) {
        let name = "a@b".parse().unwrap();
        assert_eq!(store.records.last_refusal(&name).await.unwrap(), None);
        store.records.note_refusal(&name, store.start, "450 4.7.1 first", None);
        store.records.note_refusal(&name, store.start + seconds(1), "450 4.7.1 second", None);
        let last = store.records.last_refusal(&name).await.unwrap().unwrap();
        assert_eq!((last.reply.as_str(), last.count), ("450 4.7.1 second", 2));
    }
}

fn given(since: Timestamp, max: Option<u32>, until: Option<Timestamp>) -> LimitOverride {
    LimitOverride {
        scope: Scope::Account,
        unit: Unit::Recipients,
        window: Span::from_secs(3600),
        max,
        until,
        reason: "newsletter".into(),
        actor: "desk".into(),
        since,
    }
}

fn plan() -> Plan {
    let (scope, unit, limit) = (Scope::Account, Unit::Recipients, limit(3600, 50));
    Plan {
        name: "shared".parse().unwrap(),
        limits: vec![ScopedLimit { scope, unit, limit }],
        mode: Mode::Enforce,
        php_mail: PhpMail::Allow,
        storage: Default::default(),
        message_bytes_max: 1 << 20,
    }
}

/// A store in a file with what stands around it, for tests that close, crash and open again.
struct OnDisk {
    folder: TempDir,
    store: Arc<SqliteStore>,
    clock: Clock,
}

impl OnDisk {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(folder: TempDir) -> Self {
        let (store, clock) = open(&settings(folder.path())).unwrap();
        Self { folder, store, clock }
    }

    fn as_store(&self) -> Store {
        Store {
            ledger: self.store.clone(),
            records: self.store.clone(),
            behaviour: Arc::new(Minds::default()),
            start: self.clock.now(),
            shared: None,
            redis: None,
            _folder: None,
        }
    }

    async fn close(self) -> TempDir {
        self.store.close().await.unwrap();
        self.folder
    }

    async fn reopen(self) -> Self {
        Self::at(self.close().await)
    }

    /// What a kill at this moment leaves behind, opened.
    fn crash(self) -> Self {
        Self::at(self.copy())
    }

    /// Copies the file as it is at one moment: the WAL after the database, and again if it was begun anew meanwhile.
    fn copy(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (self.folder.path(), folder.path());
        let wal = || std::fs::read(from.join("state.sqlite-wal")).unwrap();
        loop {
            let head = wal().into_iter().take(32).collect::<Vec<u8>>();
            std::fs::copy(from.join("state.sqlite"), to.join("state.sqlite")).unwrap();
            let whole = wal();
            if whole.starts_with(&head) {
                std::fs::write(to.join("state.sqlite-wal"), whole).unwrap();
                return folder;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_the_audit_lacks_outlive_a_crash_and_those_it_has_leave_the_file() {
    let disk = OnDisk::new();
    let store = disk.as_store();
    for name in ["a@b", "gone@b", "c@b"] {
        store.change(account(name), What::Register, store.start).await.unwrap();
    }
    let waiting = store.records.changes_waiting(9).await.unwrap();
    store.records.cut_changes(waiting[1].number).await.unwrap();
    let crashed = disk.crash();
    let again = &crashed.store;
    assert_eq!(again.changes_waiting(9).await.unwrap(), waiting[2..]);
    let renamed = What::suspend("case-of-the-file".parse().unwrap());
    let (reason, actor) = ("reason-of-the-file".into(), Actor::automatic("rule-of-the-file"));
    let change = Change { subject: account("c@b"), what: renamed, reason, evidence: None, actor };
    again.change(change, store.start).await.unwrap();
    let (reason, actor) = ("back".into(), Actor::automatic("test"));
    let change =
        Change { subject: account("c@b"), what: What::resume(), reason, evidence: None, actor };
    again.change(change, store.start).await.unwrap();
    let last = again.changes_waiting(9).await.unwrap().last().unwrap().number;
    again.cut_changes(last).await.unwrap();
    let folder = crashed.close().await;
    let file = std::fs::read(folder.path().join("state.sqlite")).unwrap();
    let wal = std::fs::read(folder.path().join("state.sqlite-wal")).unwrap_or_default();
    for trace in ["case-of-the-file", "reason-of-the-file", "rule-of-the-file"] {
        let found = |octets: &[u8]| octets.windows(trace.len()).any(|w| w == trace.as_bytes());
        assert!(!found(&file) && !found(&wal), "{trace} stays in the file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_changes_nothing() {
    let disk = OnDisk::new();
    let store = disk.as_store();
    let now = store.start;
    let demands = [
        demand("tenant/r/b", &[limit(3600, 100)]),
        demand("account/r/a@b", &[limit(3600, 50), limit(86_400, 600)]),
    ];
    assert_eq!(store.send(&demands, 45, now).await, 45);
    let set = What::SetOverride(given(now, Some(99), None));
    store.change(account("a@b"), set, now).await.unwrap();
    let hit = LimitHit {
        key: key("account/r/a@b"),
        limit: limit(3600, 50),
        used: 50,
        next_slot: Some(now + seconds(60)),
    };
    store.records.note_refusal(&"a@b".parse().unwrap(), now, "450 4.7.1 full", Some(&hit));
    let before = seen(&store, now).await;
    drop(store);
    let disk = disk.reopen().await.reopen().await;
    let store = disk.as_store();
    assert_eq!(before, seen(&store, now).await);
    let refusal = store.records.last_refusal(&"a@b".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((refusal.reply.as_str(), refusal.limit), ("450 4.7.1 full", Some(hit)));
    // 80 % was reported before the restart.
    let (reservation, granted) = store.take(&demands, asking(9), now).await;
    let reached = store.ledger.settle(reservation, Settlement::Sent, now).await.unwrap();
    let percents: Vec<_> = reached.iter().map(|r| r.percent).collect();
    assert_eq!((granted.recipients, percents), (5, vec![100]));
}

async fn seen(store: &Store, now: Timestamp) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        store.usage("account/r/a@b", limit(3600, 50), now).await,
        store.usage("tenant/r/b", limit(3600, 100), now).await,
        store.records.subject(&account("a@b")).await.unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsettled_reservation_counts_as_sent_after_a_crash() {
    let disk = OnDisk::new();
    let store = disk.as_store();
    let demands = [demand("account/r/a@b", &[limit(60, 10)])];
    let (mut durable, _) = store.take(&demands, asking(3), store.start).await;
    store.ledger.make_durable(&mut durable).await.unwrap();
    let (open, _) = store.take(&demands, asking(4), store.start).await;
    assert_eq!((durable.recipients(), open.recipients()), (3, 4));
    let crashed = disk.crash();
    let after = crashed.as_store();
    let usage = after.usage("account/r/a@b", limit(60, 10), after.start).await;
    assert_eq!((usage.sent, usage.open), (3, 0));
    let gone = after.start + MARGIN + seconds(61);
    assert_eq!(after.usage("account/r/a@b", limit(60, 10), gone).await.sent, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_who_has_the_file() {
    let disk = OnDisk::new();
    let refused = sqlite::open(&settings(disk.folder.path())).unwrap_err().to_string();
    assert!(refused.contains("another process"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_newer_release_or_of_another_kind_is_refused() {
    let folder = OnDisk::new().close().await;
    let path = folder.path().join("state.sqlite");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = sqlite::open(&settings(folder.path())).unwrap_err();
    assert!(matches!(&refused, StoreError::Damaged(why) if why.contains("99")), "{refused}");
    std::fs::write(&path, "long enough to be taken for a database ".repeat(100)).unwrap();
    assert!(sqlite::open(&settings(folder.path())).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_says_so() {
    let disk = OnDisk::new();
    let store = disk.as_store();
    disk.store.close().await.unwrap();
    let demands = [demand("account/r/a@b", &[limit(60, 10)])];
    let (mut reservation, _) = store.take(&demands, asking(1), store.start).await;
    let refused = store.ledger.make_durable(&mut reservation).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}

/// Many senders at once; copies taken at any moment must hold every durable charge.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_taken_under_load_holds_everything_durable() {
    let disk = OnDisk::new();
    let store = Arc::new(disk.as_store());
    let (durable, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let wide = limit(86_400, u32::MAX);
    let load = |n: u32| {
        let (store, durable, stop) = (store.clone(), durable.clone(), stop.clone());
        tokio::spawn(async move {
            let own = format!("account/r/user{n}@b");
            let demands = [demand("tenant/r/b", &[wide]), demand(&own, &[wide])];
            while !stop.load(Ordering::Relaxed) {
                let (mut reservation, _) = store.take(&demands, asking(1), store.start).await;
                store.ledger.make_durable(&mut reservation).await.unwrap();
                durable.fetch_add(1, Ordering::SeqCst);
                store.ledger.settle(reservation, Settlement::Sent, store.start).await.unwrap();
            }
        })
    };
    let tasks: Vec<_> = (0..8).map(load).collect();
    for round in 1..=8 {
        while durable.load(Ordering::SeqCst) < round * 100 {
            tokio::task::yield_now().await;
        }
        let known = durable.load(Ordering::SeqCst);
        let copied = disk.copy();
        let at_most = durable.load(Ordering::SeqCst) + 8;
        let copy = OnDisk::at(copied);
        let sent = copy.as_store().usage("tenant/r/b", wide, copy.clock.now()).await.sent;
        assert!((known..=at_most).contains(&sent), "{known} ≤ {sent} ≤ {at_most}");
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
}

/// One step of a random script.
#[derive(Debug, Clone)]
enum Step {
    Begin { recipients: u32, account: usize },
    End { which: usize, settlement: Settlement },
    Pass(u64),
    Restart,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let settlement = prop_oneof![
        4 => Just(Settlement::Sent),
        1 => Just(Settlement::Refunded),
        1 => Just(Settlement::Unknown),
    ];
    let begin = (1..4_u32, 0..2_usize);
    let end = (0..8_usize, settlement);
    let step = prop_oneof![
        8 => begin.prop_map(|(recipients, account)| Step::Begin { recipients, account }),
        6 => end.prop_map(|(which, settlement)| Step::End { which, settlement }),
        6 => (0..4_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..80)
}

/// The outside world: which account's mail the next hop accepted, and when.
struct World {
    disk: Option<OnDisk>,
    now: Timestamp,
    open: Vec<(Reservation, usize)>,
    accepted: Vec<(usize, Timestamp)>,
}

impl World {
    fn new() -> Self {
        let disk = OnDisk::new();
        let now = disk.clock.now();
        Self { disk: Some(disk), now, open: Vec::new(), accepted: Vec::new() }
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Begin { recipients, account } => self.begin(recipients, account).await,
            Step::End { which, settlement } => self.end(which, settlement).await,
            Step::Pass(millis) => self.now = self.now + Duration::from_millis(millis),
            Step::Restart => self.leave(OnDisk::reopen).await,
            Step::Crash => self.leave(async |disk| disk.crash()).await,
        }
    }

    fn store(&self) -> &SqliteStore {
        &self.disk.as_ref().unwrap().store
    }

    async fn begin(&mut self, recipients: u32, account: usize) {
        let own = ["account/r/a@b", "account/r/c@b"][account];
        let demands =
            vec![demand("tenant/r/b", &[limit(10, 7)]), demand(own, &[limit(3, 3), limit(10, 5)])];
        let mut reservation = Reservation::new(demands);
        self.store().reserve(&mut reservation, asking(recipients), self.now).await.unwrap();
        self.store().make_durable(&mut reservation).await.unwrap();
        self.open.push((reservation, account));
    }

    async fn end(&mut self, which: usize, settlement: Settlement) {
        if self.open.is_empty() {
            return;
        }
        let (reservation, account) = self.open.swap_remove(which % self.open.len());
        if settlement != Settlement::Refunded {
            self.accept(account, reservation.recipients());
        }
        self.store().settle(reservation, settlement, self.now).await.unwrap();
    }

    /// The process ends: what is open may have been accepted at the last moment.
    async fn leave(&mut self, how: impl AsyncFnOnce(OnDisk) -> OnDisk) {
        for (reservation, account) in std::mem::take(&mut self.open) {
            self.accept(account, reservation.recipients());
        }
        let disk = how(self.disk.take().unwrap()).await;
        self.now = self.now.max(disk.clock.now());
        self.disk = Some(disk);
    }

    fn accept(&mut self, account: usize, recipients: u32) {
        self.accepted.extend((0..recipients).map(|_| (account, self.now)));
    }

    fn most_in_any(&self, window: Duration, of: impl Fn(usize) -> bool) -> usize {
        let own = self.accepted.iter().filter(|(account, _)| of(*account));
        let own: Vec<Timestamp> = own.map(|&(_, at)| at).collect();
        let seen = |end: Timestamp| own.iter().filter(|&&s| s <= end && s > end - window).count();
        own.iter().map(|&end| seen(end)).max().unwrap_or(0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(24) })]
    #[test]
    fn no_script_with_crashes_sends_more_than_the_limit(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let world = runtime.block_on(async {
            let mut world = World::new();
            for step in &steps {
                world.step(step).await;
            }
            world
        });
        for account in 0..2 {
            prop_assert!(world.most_in_any(seconds(3), |a| a == account) <= 3);
            prop_assert!(world.most_in_any(seconds(10), |a| a == account) <= 5);
        }
        prop_assert!(world.most_in_any(seconds(10), |_| true) <= 7);
    }
}

// ── the shared ledger ──

/// What one task asks of two ledgers, one after another.
#[derive(Debug, Clone)]
enum Asked {
    Passes(u64),
    /// Many are sent at once.
    Burst(u32),
    Reserve {
        recipients: u32,
        limits: [(u64, u32); 3],
        all: bool,
        observe: bool,
    },
    Release {
        which: usize,
        recipients: u32,
    },
    Settle {
        which: usize,
        settlement: Settlement,
    },
}

fn asked() -> impl Strategy<Value = Vec<Asked>> {
    let passes = prop_oneof![5 => 0..3_000_u64, 3 => 0..2_000_000_u64, 1 => 0..50_000_000_u64];
    let window = prop_oneof![Just(1_u64), Just(60), Just(3_600), Just(86_400)];
    let max = prop_oneof![2 => 0..12_u32, 2 => 0..400_u32, 2 => 3_000..9_000_u32];
    let recipients = prop_oneof![6 => 1..6_u32, 1 => 1..900_u32];
    let limits = [(); 3].map(|()| (window.clone(), max.clone()));
    let reserve = (recipients, limits, any::<bool>(), prop::bool::weighted(0.1));
    let settlement = prop_oneof![
        6 => Just(Settlement::Sent),
        1 => Just(Settlement::Unknown),
        1 => Just(Settlement::Refunded),
    ];
    let step = prop_oneof![
        3 => passes.prop_map(Asked::Passes),
        2 => (1..900_u32).prop_map(Asked::Burst),
        5 => reserve.prop_map(|(recipients, limits, all, observe)| Asked::Reserve {
            recipients, limits, all, observe
        }),
        1 => (0..4_usize, 0..9_u32).prop_map(|(which, recipients)| Asked::Release {
            which, recipients
        }),
        4 => (0..4_usize, settlement)
            .prop_map(|(which, settlement)| Asked::Settle { which, settlement }),
    ];
    prop::collection::vec(step, 1..90)
}

/// Two ledgers that are asked the same.
struct Twins {
    stores: [Store; 2],
    /// The windows that are charged.
    names: [&'static str; 3],
    open: Vec<[Reservation; 2]>,
    now: Timestamp,
}

impl Twins {
    fn new(memory: Store, redis: Store, names: [&'static str; 3]) -> Self {
        let now = redis.start;
        Self { stores: [memory, redis], names, open: Vec::new(), now }
    }

    async fn step(&mut self, step: &Asked) {
        match step {
            Asked::Passes(millis) => self.now = self.now + Duration::from_millis(*millis),
            Asked::Burst(recipients) => {
                let demands = demands_of(self.names, &[(86_400, 100_000); 3], false);
                self.reserve(&demands, asking(*recipients)).await;
                self.settle(self.open.len() - 1, Settlement::Sent).await;
            }
            Asked::Reserve { .. } if self.open.len() > 6 => {}
            Asked::Reserve { recipients, limits, all, observe } => {
                let grant = if *all { Grant::AllOrNothing } else { Grant::InOrder };
                let request = Request { recipients: *recipients, grant };
                self.reserve(&demands_of(self.names, limits, *observe), request).await;
            }
            Asked::Release { which, recipients } => self.release(*which, *recipients).await,
            Asked::Settle { which, settlement } => self.settle(*which, *settlement).await,
        }
    }

    async fn reserve(&mut self, demands: &[Demand], request: Request) {
        let [memory, redis] = &self.stores;
        let (one, expected) = memory.take(demands, request.clone(), self.now).await;
        let (other, granted) = redis.take(demands, request, self.now).await;
        assert_eq!(granted, expected);
        self.open.push([one, other]);
    }

    async fn release(&mut self, which: usize, recipients: u32) {
        let Some(pair) = self.open.get_mut(which) else { return };
        for (store, reservation) in self.stores.iter().zip(pair) {
            store.ledger.release(reservation, recipients, self.now).await.unwrap();
        }
    }

    async fn settle(&mut self, which: usize, settlement: Settlement) {
        if which >= self.open.len() {
            return;
        }
        let mut reached = Vec::new();
        for (store, reservation) in self.stores.iter().zip(self.open.swap_remove(which)) {
            let said = store.ledger.settle(reservation, settlement, self.now).await.unwrap();
            reached.push(format!("{said:?}"));
        }
        assert_eq!(reached[0], reached[1]);
    }

    async fn compare(&self) {
        for name in self.names {
            let limits = [(1, 1), (60, 40), (3_600, 4_500), (86_400, 9_000)]
                .map(|(seconds, max)| limit(seconds, max));
            let mut usages = Vec::new();
            for store in &self.stores {
                usages.push(store.ledger.usage(&key(name), &limits, self.now).await.unwrap());
            }
            assert_eq!(usages[0], usages[1], "{name}");
        }
    }
}

/// Windows of one slot; and of three slots of a Cluster, at two of its masters.
const TOGETHER: [&str; 3] = ["tenant/r/b", "account/r/a@b", "account/m/a@b"];
const APART: [&str; 3] = ["tenant/r/customer-17", "account/r/a@b", "client-ip/m/192.0.2.1"];

fn decide(steps: &[Asked], twins: impl FnOnce() -> Twins) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut twins = twins();
        for step in steps {
            twins.step(step).await;
            twins.compare().await;
        }
    });
}

fn demands_of(names: [&str; 3], limits: &[(u64, u32); 3], observe: bool) -> Vec<Demand> {
    let [tenant, account, messages] = limits.map(|(seconds, max)| limit(seconds, max));
    let mut demands = vec![
        demand(names[0], &[tenant]),
        demand(names[1], &[account, tenant]),
        Demand { per: ChargePer::Transaction, ..demand(names[2], &[messages]) },
    ];
    if observe {
        demands[1].mode = Mode::Observe;
    }
    demands
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_counts_a_heavy_sender_as_the_memory_does() {
    count_a_heavy_sender(Twins::new(memory(), shared(), TOGETHER)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_counts_a_heavy_sender_as_the_memory_does() {
    count_a_heavy_sender(Twins::new(memory(), shared_in(Servers::cluster()), APART)).await;
}

async fn count_a_heavy_sender(mut twins: Twins) {
    let wide = [(86_400, 100_000); 3];
    for n in 0..7_500_u64 {
        twins.now = twins.now + Duration::from_millis(n * 7_919 % 30_000);
        twins.reserve(&demands_of(twins.names, &wide, false), asking(1)).await;
        let settlement = if n % 997 == 0 { Settlement::Unknown } else { Settlement::Sent };
        twins.settle(0, settlement).await;
        if n % 50 == 0 {
            twins.compare().await;
        }
    }
    twins.compare().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn redis_decides_as_the_memory_does(steps in asked()) {
        decide(&steps, || Twins::new(memory(), shared_without_deadline(Servers::one()), TOGETHER));
    }

    #[test]
    fn a_cluster_decides_as_the_memory_does(steps in asked()) {
        decide(&steps, || Twins::new(memory(), shared_without_deadline(Servers::cluster()), APART));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_node_left_open_counts_as_sent_after_its_deadline() {
    let store = shared();
    let demands = [demand("account/r/a@b", &[limit(3_600, 5)])];
    let (left, granted) = store.take(&demands, asking(4), store.start).await;
    assert_eq!(granted.recipients, 4);
    assert_eq!(left.dot_by(), Some(store.start + OPEN_TIME_MAX - seconds(60)));
    // Nobody settles it and nobody gives it back, as if its process were killed.
    std::mem::forget(left);
    let deadline = store.start + OPEN_TIME_MAX;
    assert_eq!(store.send(&demands, 1, deadline - MILLISECOND).await, 1);
    let (_, granted) = store.take(&demands, asking(1), deadline).await;
    let leaves = deadline - MILLISECOND + MILLISECOND + seconds(3_600);
    assert_eq!((granted.recipients, granted.hit.unwrap().next_slot), (0, Some(leaves)));
    // The next call that grants anything writes down what was found.
    let (other, _) = store.take(&demands, asking(1), leaves).await;
    let usage = store.usage("account/r/a@b", limit(3_600, 5), leaves).await;
    assert_eq!((usage.sent, usage.open), (4, 1));
    drop(other);
    store.all_is_told().await;
    let leaves = deadline + MARGIN + seconds(3_600);
    assert_eq!(store.send(&demands, 9, leaves - MILLISECOND).await, 1);
    assert_eq!(store.send(&demands, 9, leaves).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_redis_grants_nothing_and_nothing_stays_open() {
    let redis = Redis::start();
    let settings = redis::Settings { timeout: seconds(1) / 4, ..shared_settings(&redis) };
    let (ledger, store) = (share(settings), memory());
    let store = Store { ledger: ledger.clone(), ..store };
    let demands = [demand("account/r/a@b", &[limit(3_600, 5)])];
    assert_eq!(store.send(&demands, 1, store.start).await, 1);
    let frozen = redis.freeze();
    for _ in 0..2 {
        let mut reservation = Reservation::new(demands.to_vec());
        let lost = ledger.reserve(&mut reservation, asking(4), store.start).await;
        assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    }
    assert!(ledger.failure().is_some());
    drop(frozen);
    while ledger.failure().is_some() {
        tokio::task::yield_now().await;
    }
    ledger.close().await;
    let usage = store.usage("account/r/a@b", limit(3_600, 5), store.start).await;
    assert_eq!((usage.sent, usage.open), (1, 0));
    assert_eq!(store.send(&demands, 9, store.start).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_redis_too_late_changes_nothing() {
    let redis = Redis::start();
    let settings = redis::Settings { timeout: seconds(1) / 4, ..shared_settings(&redis) };
    let (gone, store) =
        (share(settings), Store { ledger: share(shared_settings(&redis)), ..memory() });
    let demands = [demand("account/r/a@b", &[limit(3_600, 5)])];
    // Redis knows the scripts and the gate its clock.
    let other = [demand("account/r/c@b", &[limit(3_600, 5)])];
    assert_eq!(store.send(&other, 1, store.start).await, 1);
    assert!(!gone.knows(&demands[0].key).await.unwrap());
    let frozen = redis.freeze();
    let mut reservation = Reservation::new(demands.to_vec());
    let lost = gone.reserve(&mut reservation, asking(4), store.start).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    // Nobody is left who could give it back.
    drop(gone);
    drop(frozen);
    assert_eq!(store.send(&demands, 9, store.start).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_granted_and_not_heard_is_given_back() {
    let redis = Redis::start();
    let wire = Wire::to(redis.address);
    let place = format!("redis://{}", wire.address).parse().unwrap();
    let settings = redis::Settings { place, timeout: seconds(1) / 4, ..shared_settings(&redis) };
    let (ledger, store) = (share(settings), memory());
    let store = Store { ledger: ledger.clone(), ..store };
    let demands = [demand("account/r/a@b", &[limit(3_600, 5)])];
    assert_eq!(store.send(&demands, 1, store.start).await, 1);
    wire.is_mute.store(true, Ordering::SeqCst);
    let mut reservation = Reservation::new(demands.to_vec());
    let lost = ledger.reserve(&mut reservation, asking(4), store.start).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    let seen = Store { ledger: share(shared_settings(&redis)), ..memory() };
    let open = seen.usage("account/r/a@b", limit(3_600, 5), store.start).await.open;
    assert_eq!(open, 4, "the answer was lost, not the request");
    wire.is_mute.store(false, Ordering::SeqCst);
    while ledger.failure().is_some() {
        tokio::task::yield_now().await;
    }
    ledger.close().await;
    assert_eq!(store.send(&demands, 9, store.start).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_given_back_takes_nothing_of_what_is_granted_later() {
    let redis = Redis::start();
    let ledger = share(redis::Settings { timeout: seconds(5), ..shared_settings(&redis) });
    let store = Store { ledger: ledger.clone(), ..memory() };
    let (own, others) = (demand("account/r/a@b", &[limit(3_600, 5)]), demand("peer/r/p", &[]));
    let (mut reservation, _) = store.take(&[own], asking(1), store.start).await;
    let mut before = Vec::new();
    for _ in 0..300 {
        before.push(store.take(std::slice::from_ref(&others), asking(1), store.start).await);
    }
    // The next hop refuses the first recipient while Redis is away, and that waits behind much else.
    let frozen = redis.freeze();
    drop(before);
    let released = ledger.release(&mut reservation, 1, store.start);
    assert!(tokio::time::timeout(seconds(1) / 20, released).await.is_err());
    drop(frozen);
    let granted = ledger.reserve(&mut reservation, asking(3), store.start).await.unwrap();
    assert_eq!(granted.recipients, 3);
    let all_is_told = async {
        while store.usage("peer/r/p", limit(3_600, 999), store.start).await.open > 0
            || store.usage("account/r/a@b", limit(3_600, 5), store.start).await.open > 3
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(seconds(20), all_is_told).await.unwrap();
    tokio::time::sleep(seconds(1)).await;
    ledger.settle(reservation, Settlement::Sent, store.start).await.unwrap();
    assert_eq!(store.usage("account/r/a@b", limit(3_600, 5), store.start).await.sent, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waited_for_any_more_is_given_back() {
    let redis = Redis::start();
    let settings = redis::Settings { timeout: seconds(1), ..shared_settings(&redis) };
    let ledger = share(settings);
    let store = Store { ledger: ledger.clone(), ..memory() };
    let demands = [demand("account/r/a@b", &[limit(3_600, 5)])];
    assert_eq!(store.send(&demands, 1, store.start).await, 1);
    let (sent, _) = store.take(&demands, asking(1), store.start).await;
    let frozen = redis.freeze();
    let mut reservation = Reservation::new(demands.to_vec());
    let asked = ledger.reserve(&mut reservation, asking(3), store.start);
    assert!(tokio::time::timeout(seconds(1) / 20, asked).await.is_err());
    drop(reservation);
    let settled = ledger.settle(sent, Settlement::Sent, store.start);
    assert!(tokio::time::timeout(seconds(1) / 20, settled).await.is_err());
    drop(frozen);
    let all_is_told = async {
        let usage = || store.usage("account/r/a@b", limit(3_600, 5), store.start);
        while usage().await.sent < 2 || usage().await.open > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(seconds(10), all_is_told).await.unwrap();
    assert_eq!(store.send(&demands, 9, store.start).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_though_its_caller_has_gone() {
    let mut redis = Redis::durable();
    let settings = redis::Settings { timeout: seconds(1), ..shared_settings(&redis) };
    let store = Store { ledger: share(settings), ..memory() };
    let demands = [demand("account/r/a@b", &[limit(3_600, 5)])];
    assert_eq!(store.send(&demands, 1, store.start).await, 1);
    let (refunded, _) = store.take(&demands, asking(4), store.start).await;
    let _frozen = redis.freeze();
    let settled = store.ledger.settle(refunded, Settlement::Refunded, store.start);
    assert!(tokio::time::timeout(seconds(1) / 20, settled).await.is_err());
    redis.kill();
    redis.start_again();
    let all_is_free = async {
        let usage = || store.ledger.usage(&demands[0].key, &demands[0].limits, store.start);
        while !usage().await.is_ok_and(|usage| usage[0].open == 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(seconds(10), all_is_free).await.unwrap();
}

/// A way to a server that can lose what the server says.
struct Wire {
    address: SocketAddr,
    is_mute: Arc<AtomicBool>,
}

impl Wire {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, is_mute) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let mute = is_mute.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(server).unwrap();
                let (to, from) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let never = Arc::new(AtomicBool::new(false));
                thread::spawn(move || carry(from, to, &never));
                let mute = mute.clone();
                thread::spawn(move || carry(server, client, &mute));
            }
        });
        Self { address, is_mute }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_mute: &AtomicBool) {
    let mut octets = [0; 4_096];
    while let Ok(some @ 1..) = from.read(&mut octets) {
        if !is_mute.load(Ordering::SeqCst) && to.write_all(&octets[..some]).is_err() {
            break;
        }
    }
    // The other direction may have closed both already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_redis_missed_is_told_when_it_is_back() {
    let mut redis = Redis::durable();
    let ledger = share(shared_settings(&redis));
    let store = Store { ledger: ledger.clone(), ..memory() };
    let demands = [demand("account/r/a@b", &[limit(3_600, 5)])];
    let (mut sent, _) = store.take(&demands, asking(2), store.start).await;
    let (refunded, _) = store.take(&demands, asking(3), store.start).await;
    ledger.make_durable(&mut sent).await.unwrap();
    redis.kill();
    for (reservation, settlement) in [(sent, Settlement::Sent), (refunded, Settlement::Refunded)] {
        let missed = ledger.settle(reservation, settlement, store.start).await;
        assert!(matches!(missed, Err(StoreError::Unavailable(_))), "{missed:?}");
    }
    redis.start_again();
    ledger.close().await;
    let usage = store.usage("account/r/a@b", limit(3_600, 5), store.start).await;
    assert_eq!((usage.sent, usage.open, usage.remaining), (2, 0, 3));
    // Redis has forgotten the scripts, and is given them again.
    redis.ask(&["SCRIPT", "FLUSH"]);
    assert_eq!(store.send(&demands, 9, store.start).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_that_has_run_out_goes_no_further() {
    let redis = Redis::start();
    let settings = redis::Settings { open_time_max: seconds(60), ..shared_settings(&redis) };
    let store = Store { ledger: share(settings), ..memory() };
    let demands = [demand("account/r/a@b", &[limit(3_600, 5)])];
    let (mut reservation, _) = store.take(&demands, asking(1), store.start).await;
    let late = store.ledger.make_durable(&mut reservation).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_redis_cannot_read_stops_nobody_else() {
    let redis = Redis::start();
    let ledger = share(shared_settings(&redis));
    let store = Store { ledger: ledger.clone(), ..memory() };
    let demands =
        ["a", "c"].map(|name| [demand(&format!("account/r/{name}@b"), &[limit(3_600, 5)])]);
    let (open, _) = store.take(&demands[0], asking(1), store.start).await;
    redis.ask(&["SET", "test:1:{b}account/r/a@b", &"nonsense".repeat(9)]);
    drop(open);
    let mut reservation = Reservation::new(demands[0].to_vec());
    let damaged = ledger.reserve(&mut reservation, asking(1), store.start).await;
    assert!(matches!(damaged, Err(StoreError::Damaged(_))), "{damaged:?}");
    let damaged = ledger.knows(&key("account/r/a@b")).await;
    assert!(matches!(damaged, Err(StoreError::Damaged(_))), "{damaged:?}");
    assert_eq!(store.send(&demands[1], 9, store.start).await, 5);
    let told = tokio::time::timeout(seconds(5), ledger.close()).await;
    assert!(told.is_ok() && ledger.failure().is_none(), "{:?}", ledger.failure());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_has_only_so_many_open_reservations() {
    let store = shared();
    let demands = [demand("account/r/a@b", &[limit(3_600, 1_000_000)])];
    let mut open = Vec::new();
    for _ in 0..8_192 {
        open.push(store.take(&demands, asking(1), store.start).await.0);
    }
    let mut one_more = Reservation::new(demands.to_vec());
    let full = store.ledger.reserve(&mut one_more, asking(1), store.start).await;
    assert!(matches!(full, Err(StoreError::Full { max: 8_192, .. })), "{full:?}");
    store.ledger.reserve(&mut open[7], asking(3), store.start).await.unwrap();
    let ended = open.pop().unwrap();
    store.ledger.settle(ended, Settlement::Sent, store.start).await.unwrap();
    assert_eq!(store.send(&demands, 1, store.start).await, 1);
    let usage = store.usage("account/r/a@b", limit(3_600, 1_000_000), store.start).await;
    assert_eq!((usage.sent, usage.open), (2, 8_194));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_costs_redis_little() {
    let store = shared();
    let demands =
        [demand("account/r/someone@shop.example", &[limit(3_600, 50), limit(86_400, 600)])];
    for n in 0..600 {
        assert_eq!(store.send(&demands, 1, store.start + seconds(120 * n)).await, 1);
    }
    let redis = store.redis.as_ref().unwrap().redis();
    let keys = redis.ask(&["KEYS", "test:1:*"]);
    assert_eq!(keys.lines().count(), 1, "{keys}");
    let octets: u64 = redis.ask(&["MEMORY", "USAGE", &keys]).parse().unwrap();
    assert!(octets <= 4_096, "{octets} octets");
    let stats = redis.ask(&["INFO", "commandstats"]);
    let calls = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
    assert!(
        calls.contains("calls=1202,"),
        "one call for each group and each end, one more for each script: {stats}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_lives_as_long_as_its_charges_count_wherever_they_were_written() {
    let store = shared();
    let redis = store.redis.as_ref().unwrap().redis();
    let (window, older) = ("test:1:{b}account/r/a@b", "test:1:{b}account/r/a@b older");
    let lasts = |key| redis.ask(&["PTTL", key]).parse::<u128>().unwrap();
    let demands = [demand("account/r/a@b", &[limit(3_600, 1_000_000)])];
    let take = async |recipients| store.take(&demands, asking(recipients), store.start).await.0;
    let settle = async |reservation| {
        store.ledger.settle(reservation, Settlement::Sent, store.start).await.unwrap();
    };
    let (first, second) = (take(1).await, take(1).await);
    assert!(lasts(window) > DAY.as_millis());
    // For an hour a key's time is enough, unless charges are kept for longer by now.
    redis.ask(&["PEXPIRE", window, "60000"]);
    settle(first).await;
    take(1).await;
    assert!(lasts(window) <= 60_000);
    store.shared.as_ref().unwrap().set_history(2 * DAY);
    settle(second).await;
    assert!(lasts(window) > 2 * DAY.as_millis());
    store.shared.as_ref().unwrap().set_history(3 * DAY);
    let third = take(4_400).await;
    assert!(lasts(window) > 3 * DAY.as_millis());
    settle(third).await;
    assert!(lasts(older) > 3 * DAY.as_millis(), "of buckets that an end made");
}

// ── the shared records ──

fn suspend() -> What {
    What::suspend("TG-1".parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_by_all_nodes_and_stands_in_the_audit_of_each() {
    let redis = Redis::start();
    let (a, b) = (Node::new(&redis).await, Node::new(&redis).await);
    a.change(account("a@b"), suspend()).await.unwrap();
    b.agrees_with(&a).await;
    assert!(b.record(&account("a@b")).await.suspension.is_some());
    b.change(account("a@b"), What::resume()).await.unwrap();
    a.agrees_with(&b).await;
    assert!(a.record(&account("a@b")).await.suspension.is_none());
    let told = async |node: &Node| {
        tokio::time::timeout(seconds(10), node.records.changes_waiting(9)).await.unwrap().unwrap()
    };
    let (of_a, of_b) = (told(&a).await, told(&b).await);
    assert_eq!(of_a, of_b);
    let actions: Vec<_> = of_a.iter().map(|changed| changed.action.as_str()).collect();
    assert_eq!(actions, ["suspended", "resumed"]);
    // What the audit has is not told again by the next process.
    b.records.cut_changes(of_b[0].number).await.unwrap();
    let b = Node::start(&redis, b.end().await);
    b.is_read().await;
    let waiting = told(&b).await;
    assert_eq!(waiting, of_b[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_granted_on_records_that_another_node_has_changed() {
    let redis = Redis::start();
    let (a, b) = (Node::new(&redis).await, Node::new(&redis).await);
    let demands = [demand("account/r/a@b", &[limit(3_600, 5)])];
    let take = async |reservation: &mut Reservation| {
        b.ledger.reserve(reservation, asking(1), b.start).await.map(|granted| granted.recipients)
    };
    let read = b.records.revision().unwrap();
    let mut begun = Reservation::new(demands.to_vec()).following(read);
    assert_eq!(take(&mut begun).await.unwrap(), 1);
    a.change(account("a@b"), suspend()).await.unwrap();
    let mut late = Reservation::new(demands.to_vec()).following(read);
    let refused = take(&mut late).await;
    assert!(matches!(refused, Err(StoreError::Outdated)), "{refused:?}");
    b.records.catch_up(read).await.unwrap();
    assert!(b.record(&account("a@b")).await.suspension.is_some());
    // A message that had begun goes on, and so does whoever was not named by any record.
    assert_eq!(take(&mut begun).await.unwrap(), 1);
    let read = b.records.revision().unwrap();
    for follows in [read, None] {
        let mut next = Reservation::new(demands.to_vec()).following(follows);
        assert_eq!(take(&mut next).await.unwrap(), 1);
        b.ledger.settle(next, Settlement::Refunded, b.start).await.unwrap();
    }
    let open = b.ledger.usage(&demands[0].key, &demands[0].limits, b.start).await.unwrap()[0].open;
    assert_eq!(open, 2, "what was refused costs nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_at_once_none_is_lost_and_of_two_that_do_not_fit_one_is_made() {
    let redis = Redis::start();
    let nodes = Arc::new([Node::new(&redis).await, Node::new(&redis).await]);
    let tasks: Vec<_> = (1..=30_usize)
        .map(|n| {
            let nodes = nodes.clone();
            tokio::spawn(async move {
                let node = &nodes[n % 2];
                let window = Span::from_secs(3_600 * n as u64);
                let given = LimitOverride { window, ..given(node.start, Some(7), None) };
                node.change(account("a@b"), What::SetOverride(given)).await.unwrap();
                node.change(account(&format!("s{}@b", n / 2)), suspend()).await
            })
        })
        .collect();
    let mut suspended = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => suspended += 1,
            Err(error) => assert!(matches!(error, StoreError::Conflict(_)), "{error}"),
        }
    }
    assert_eq!(suspended, 16, "s0 to s15, each once");
    nodes[0].agrees_with(&nodes[1]).await;
    for node in &*nodes {
        assert_eq!(node.record(&account("a@b")).await.overrides.len(), 30);
        assert_eq!(node.accounts().await.len(), 17);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_changes_reads_everything_anew() {
    let redis = Redis::start();
    let (a, b) = (Node::new(&redis).await, Node::new(&redis).await);
    for name in ["gone@b", "stays@b", "changes@b"] {
        a.change(account(name), What::Plan(Some("big".parse().unwrap()))).await.unwrap();
    }
    b.agrees_with(&a).await;
    let folder = b.end().await;
    a.change(account("gone@b"), What::Plan(None)).await.unwrap();
    a.change(account("changes@b"), suspend()).await.unwrap();
    for n in 0..700 {
        a.change(account(&format!("n{n}@b")), What::Register).await.unwrap();
    }
    redis.ask(&["XTRIM", "test:1:{records}changes", "MAXLEN", "0"]);
    let b = Node::start(&redis, folder);
    b.agrees_with(&a).await;
    assert!(b.record(&account("changes@b")).await.suspension.is_some());
    let accounts = b.accounts().await;
    assert_eq!((accounts.len(), accounts.contains(&"account gone@b".into())), (702, false));
    // From there on it follows, and so does its file.
    a.change(account("stays@b"), suspend()).await.unwrap();
    b.agrees_with(&a).await;
    let b = Node::start(&redis, b.end().await);
    assert!(
        b.record(&account("stays@b")).await.suspension.is_some(),
        "it is known before Redis is"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_changes_are_kept() {
    let redis = Redis::start();
    let old = "for n = 1, 12000 do redis.call('XADD', KEYS[1], '0-' .. n, 'old', n) end";
    let [head, changes] = ["head", "changes"].map(|what| format!("test:1:{{records}}{what}"));
    redis.ask(&["EVAL", old, "1", &changes]);
    redis.ask(&["SET", &head, "6:1"]);
    let a = Node::new(&redis).await;
    a.change(account("a@b"), What::Register).await.unwrap();
    let kept: u64 = redis.ask(&["XLEN", &changes]).parse().unwrap();
    assert!((10_000..10_200).contains(&kept), "{kept}");
    let newest = redis.ask(&["XREVRANGE", &changes, "+", "-", "COUNT", "1"]);
    assert!(newest.starts_with("7-0") && newest.contains("6:1"), "{newest}");
    assert!(redis.ask(&["GET", &head]).starts_with("7:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_everything_has_the_records_of_a_node_again() {
    let mut redis = Redis::start();
    let (a, b) = (Node::new(&redis).await, Node::new(&redis).await);
    for n in 0..450 {
        a.change(account(&format!("n{n}@b")), What::Register).await.unwrap();
    }
    a.change(account("n7@b"), suspend()).await.unwrap();
    b.agrees_with(&a).await;
    redis.kill();
    let lost = a.change(account("a@b"), What::Register).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(a.record(&account("n7@b")).await.suspension.is_some(), "reads go on");
    let known = b.records.revision().unwrap();
    redis.start_again();
    b.comes_to("another history", async || b.records.revision().is_ok_and(|now| now != known))
        .await;
    a.agrees_with(&b).await;
    assert_eq!((a.accounts().await.len(), b.accounts().await.len()), (450, 450));
    let length = redis.ask(&["HLEN", "test:1:{records}subjects"]);
    assert_eq!(length, "450");
    b.change(account("n7@b"), What::resume()).await.unwrap();
    a.agrees_with(&b).await;
    assert!(a.record(&account("n7@b")).await.suspension.is_none());
    // The same without a connection that breaks.
    redis.ask(&["FLUSHALL"]);
    let known = a.records.revision().unwrap();
    a.records.catch_up(known).await.unwrap();
    b.agrees_with(&a).await;
    assert_eq!(b.accounts().await.len(), 450);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_nodes_that_find_no_records_one_brings_its_own() {
    let redis = Redis::start();
    let folders = [0, 1, 2].map(|_| tempfile::tempdir().unwrap());
    for (n, folder) in folders.iter().enumerate() {
        let (store, clock) = open(&settings(folder.path())).unwrap();
        for own in 0..300 {
            let who = account(&format!("own{own}@node{n}"));
            change(&*store, who, What::Register, clock.now()).await.unwrap();
        }
        store.close().await.unwrap();
    }
    let nodes = folders.map(|folder| Node::start(&redis, folder));
    for node in &nodes {
        node.is_read().await;
    }
    nodes[0].agrees_with(&nodes[1]).await;
    nodes[0].agrees_with(&nodes[2]).await;
    let accounts = nodes[0].accounts().await;
    let domains: std::collections::BTreeSet<_> =
        accounts.iter().filter_map(|name| name.split('@').nth(1)).collect();
    assert_eq!((accounts.len(), domains.len()), (300, 1), "{domains:?}");
    assert_eq!(nodes[1].accounts().await, accounts);
    assert_eq!(nodes[2].accounts().await, accounts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_set_back_is_believed_and_followed() {
    let mut redis = Redis::start();
    let (a, b) = (Node::new(&redis).await, Node::new(&redis).await);
    a.change(account("a@b"), What::Register).await.unwrap();
    redis.ask(&["SAVE"]);
    a.change(account("a@b"), suspend()).await.unwrap();
    a.change(account("c@b"), What::Register).await.unwrap();
    b.agrees_with(&a).await;
    let known = a.records.revision().unwrap();
    redis.kill();
    redis.start_again();
    // It comes to the same number with other changes before both have looked.
    while b.change(account("d@b"), What::Register).await.is_err() {}
    while b.change(account("e@b"), What::Register).await.is_err() {}
    a.comes_to("another history", async || a.records.revision().is_ok_and(|now| now != known))
        .await;
    a.agrees_with(&b).await;
    for node in [&a, &b] {
        assert_eq!(node.accounts().await, ["account a@b", "account d@b", "account e@b"]);
        assert!(node.record(&account("a@b")).await.suspension.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_leads_until_its_lease_runs_out() {
    let redis = Redis::start();
    let (a, b) = (Node::new(&redis).await, Node::new(&redis).await);
    let leads = async |node: &Node| node.records.leads(Task::EndSuspensions).await.unwrap();
    assert!(leads(&a).await && leads(&a).await && !leads(&b).await);
    let lease = "test:1:{records}lease/suspensions";
    let (first, lasts) = (redis.ask(&["GET", lease]), redis.ask(&["PTTL", lease]));
    assert!((1..=10_000).contains(&lasts.parse::<i64>().unwrap()), "{lasts}");
    redis.ask(&["PEXPIRE", lease, "1"]);
    b.comes_to("lead", async || leads(&b).await).await;
    assert!(!leads(&a).await);
    let second = redis.ask(&["GET", lease]);
    assert!(second.ends_with("/3") && first.ends_with("/2"), "{first} {second}");
    let alone = memory();
    assert!(alone.records.leads(Task::EndSuspensions).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_a_node_changed_alone_are_those_of_no_fleet() {
    let redis = Redis::start();
    let (a, b) = (Node::new(&redis).await, Node::new(&redis).await);
    a.change(account("a@b"), What::Register).await.unwrap();
    b.agrees_with(&a).await;
    let folder = b.end().await;
    let (alone, clock) = open(&settings(folder.path())).unwrap();
    assert!(alone.subject(&account("a@b")).await.unwrap().registered);
    change(&*alone, account("own@b"), What::Register, clock.now()).await.unwrap();
    drop(alone);
    let b = Node::start(&redis, folder);
    b.agrees_with(&a).await;
    assert_eq!(b.accounts().await, ["account a@b"]);
}

/// A node of two that goes on without Redis, with half of each limit.
async fn sharing(redis: &Redis, folder: &Path) -> (Arc<SharingLedger>, Clock) {
    let settings = settings(folder);
    let (mirror, clock) = open(&settings).unwrap();
    let shared = share(redis::Settings { timeout: seconds(2), ..shared_settings(redis) });
    let world = (clock.clone(), Events::default());
    (SharingLedger::start(shared, mirror, (settings, 2), world).unwrap(), clock)
}

/// Waits for the time that a node may take to try again.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(MILLISECOND * 50).await;
        }
    };
    tokio::time::timeout(seconds(40), waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_window_keeps_no_node_from_redis_and_is_charged_once_it_is_whole() {
    let (mut redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let (ledger, clock) = sharing(&redis, folder.path()).await;
    let good = demand("account/r/good@b", &[limit(3_600, 8)]);
    let bad = demand("account/r/bad@b", &[limit(3_600, 8)]);
    let send = async |demand: &Demand| {
        let mut reservation = Reservation::new(vec![demand.clone()]);
        let granted = ledger.reserve(&mut reservation, asking(3), clock.now()).await?;
        ledger.make_durable(&mut reservation).await?;
        ledger.settle(reservation, Settlement::Sent, clock.now()).await?;
        Ok::<_, StoreError>(granted.recipients)
    };
    let sent = async |demand: &Demand| {
        let usage = ledger.usage(&demand.key, &demand.limits, clock.now()).await;
        usage.map(|usage| usage[0].sent)
    };
    until("Redis to answer", async || sent(&good).await == Ok(0)).await;
    redis.kill();
    assert_eq!((send(&good).await, send(&bad).await), (Ok(3), Ok(3)));
    assert!(ledger.is_alone());
    redis.start_again();
    let name = "{b}account/r/bad@b";
    let name = format!("{}:1:{name}", shared_settings(&redis).prefix);
    redis.ask(&["SET", &name, "no window, by far, but as long as one would have to be"]);
    until("Redis to decide again", async || !ledger.is_alone()).await;
    assert_eq!(sent(&good).await, Ok(3));
    assert!(matches!(sent(&bad).await, Err(StoreError::Damaged(_))));
    assert!(matches!(send(&bad).await, Err(StoreError::Damaged(_))), "nothing is granted of it");
    assert!(!ledger.is_alone());
    redis.ask(&["DEL", &name]);
    until("it to be charged", async || sent(&bad).await == Ok(3)).await;
    assert_eq!((sent(&good).await, ledger.is_alone()), (Ok(3), false));
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_charged_while_no_other_purse_can_be_had() {
    let (mut redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let (ledger, clock) = sharing(&redis, folder.path()).await;
    let account = demand("account/r/a@b", &[limit(3_600, 80)]);
    let sent = async || {
        let usage = ledger.usage(&account.key, &account.limits, clock.now()).await;
        usage.map(|usage| usage[0].sent)
    };
    until("Redis to answer", async || sent().await == Ok(0)).await;
    redis.kill();
    let mut reservation = Reservation::new(vec![account.clone()]);
    let granted = ledger.reserve(&mut reservation, asking(3), clock.now()).await.unwrap();
    assert_eq!((granted.recipients, ledger.is_alone()), (3, true));
    ledger.settle(reservation, Settlement::Sent, clock.now()).await.unwrap();
    let in_its_place = folder.path().join("state.sqlite.alone-2");
    std::fs::create_dir(&in_its_place).unwrap();
    redis.start_again();
    // Time for some attempts; where there is none, nothing is charged either.
    tokio::time::sleep(seconds(5)).await;
    assert!(ledger.is_alone());
    std::fs::remove_dir(&in_its_place).unwrap();
    until("Redis to decide again", async || !ledger.is_alone()).await;
    assert_eq!(sent().await, Ok(3));
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_another_form_are_not_touched_and_said_until_they_are_this_ones() {
    let redis = Redis::start();
    redis.ask(&["SET", "test:form", "2"]);
    let ledger = share(shared_settings(&redis));
    let account = demand("account/r/a@b", &[limit(3_600, 8)]);
    let reserve = async || {
        let mut reservation = Reservation::new(vec![account.clone()]);
        let now = Clock::start(Timestamp::EPOCH).now();
        let granted = ledger.reserve(&mut reservation, asking(1), now).await;
        granted.map(|granted| granted.recipients)
    };
    let refused = reserve().await;
    let is_said = |why: &str| why.contains("form \"2\"") && why.contains("knows form 1");
    assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if is_said(why)), "{refused:?}");
    assert!(ledger.failure().is_some_and(|why| is_said(&why)));
    assert_eq!(redis.ask(&["DBSIZE"]), "1", "nothing else is written");
    redis.ask(&["SET", "test:form", "1"]);
    until("it to be taken", async || ledger.failure().is_none()).await;
    assert_eq!(reserve().await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_two_purses_is_charged_of_both() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let account = demand("account/r/a@b", &[limit(3_600, 8)]);
    for (ending, count) in [(".alone", 2), (".alone-2", 3)] {
        let mut settings = settings(folder.path());
        settings.path.as_mut_os_string().push(ending);
        let (purse, clock) = open(&settings).unwrap();
        let mut reservation = Reservation::new(vec![account.clone()]);
        purse.reserve(&mut reservation, asking(count), clock.now()).await.unwrap();
        purse.settle(reservation, Settlement::Sent, clock.now()).await.unwrap();
        purse.close().await.unwrap();
    }
    let (ledger, clock) = sharing(&redis, folder.path()).await;
    let mut reservation = Reservation::new(vec![account.clone()]);
    let early = ledger.reserve(&mut reservation, asking(4), clock.now()).await;
    assert!(early.is_err() || early.is_ok_and(|granted| granted.recipients == 0));
    let sent = async || {
        let usage = ledger.usage(&account.key, &account.limits, clock.now()).await;
        usage.map(|usage| usage[0].sent)
    };
    until("both to be charged", async || !ledger.is_alone() && sent().await == Ok(5)).await;
    ledger.close().await;
}

/// Where Redis is lost and gates go on with their share.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_continues_nothing_that_was_begun_in_redis_and_what_ends_late_counts_from_its_end()
{
    let (mut redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let (ledger, clock) = sharing(&redis, folder.path()).await;
    let (window, asked) = (limit(3_600, 8), demand("account/r/a@b", &[limit(3_600, 8)]));
    let begin = || Reservation::new(vec![asked.clone()]);
    let sent = async || ledger.usage(&key("account/r/a@b"), &[window], clock.now()).await;

    let (mut begun, mut other) = (begin(), begin());
    let granted = ledger.reserve(&mut begun, asking(1), clock.now()).await.unwrap();
    assert_eq!(granted.recipients, 1);
    redis.kill();
    // Half of the limit, as of two gates.
    let granted = ledger.reserve(&mut other, asking(9), clock.now()).await.unwrap();
    assert_eq!((granted.recipients, ledger.is_alone()), (4, true));
    let more = ledger.reserve(&mut begun, asking(1), clock.now()).await;
    assert!(matches!(more, Err(StoreError::Unavailable(_))), "{more:?}");
    assert_eq!(begun.recipients(), 1);

    redis.start_again();
    until("Redis to decide again", async || !ledger.is_alone() && sent().await.is_ok()).await;
    let before = sent().await.unwrap()[0].sent;
    ledger.make_durable(&mut other).await.unwrap();
    ledger.settle(other, Settlement::Sent, clock.now()).await.unwrap();
    assert_eq!(sent().await.unwrap()[0].sent, before + 4);
    ledger.close().await;
}
