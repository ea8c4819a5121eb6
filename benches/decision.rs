//! What a decision costs, beside governor's keyed limiter in the same run; octets of memory per account that sent 20
//! messages; how long the embedded store takes to start with them and how large its file is; and what a message costs with
//! its journal.
//!
//! **What is compared.** Both sides keep a million accounts, are asked about accounts at random, find the account by its
//! text in a concurrent map, and take one unit if there is room. Neither reads a clock: the moment is an argument here, and
//! governor has a clock that stands still.
//!
//! * *Decision*: [`MemoryStore::reserve_now`], the synchronous core of every `reserve`: find the window by its key, lock it,
//!   test it under two limits (50 an hour, 600 a day), count the recipient as open. It allocates nothing. The reservation, the
//!   caller's own object, exists before and is dropped after the measured part. governor: one `check_key`, which tests one
//!   limit; its `String` exists before as well.
//! * *Decision, log read*: the same where the limits are so near that the account's own history has to be looked at.
//! * *Reserve and give back*: all that a refused transaction costs: making the reservation, the boxed future of the trait,
//!   the decision, giving back.
//! * *Reserve and settle*: all that a sent transaction costs in memory, with its entry in the history.
//!
//! The contenders take turns, some hundred accounts each, and the median of their turns is printed, because other work on the
//! machine disturbs a mean. `cargo bench --bench decision`; `ACCOUNTS=100000` makes it smaller, `PARTS=decision,start,journal`
//! chooses.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use criterion::Criterion;
use governor::{
    Quota, RateLimiter, clock::FakeRelativeClock, middleware::NoOpMiddleware, nanos::Nanos,
    state::keyed::DashMapStateStore,
};
use std::{
    future::Future,
    hint::black_box,
    num::NonZeroU32,
    path::Path,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tollgate::{
    clock::{Clock, steady_now},
    event::Events,
    rules::limits::Mode,
    store::{
        ledger::{ChargePer, Demand, Grant, Ledger, Request, Reservation, Settlement},
        memory::MemoryStore,
        sqlite::{self, Settings, SqliteStore, Synchronous},
    },
    types::{Key, Limit, Span, Timestamp},
};

const SENDS: u32 = 20;
const SESSIONS: u32 = 20;
const MESSAGES: u32 = 2_000;
/// So few that what is prepared for a turn stays in the cache, so many that the accounts do not.
const TURN_ACCOUNTS: usize = 250;
const TURNS: u64 = 4_001;
/// After so many sends the start-up's filling waits for the writer, as real senders do.
const BURST: u32 = 20_000;
const DAY: Duration = Duration::from_secs(86_400);
const MARGIN: Duration = Duration::from_secs(600);
const REQUEST: Request = Request { recipients: 1, grant: Grant::InOrder };

type Governor =
    RateLimiter<String, DashMapStateStore<String>, FakeRelativeClock, NoOpMiddleware<Nanos>>;

fn main() {
    let accounts: u32 =
        std::env::var("ACCOUNTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let parts = std::env::var("PARTS").unwrap_or_else(|_| "decision,start,journal".into());
    let bench = Bench::new(accounts);
    println!("{accounts} accounts, {SENDS} sends each");
    if parts.contains("decision") {
        bench.decision();
    }
    if parts.contains("start") {
        bench.start_up();
    }
    if parts.contains("journal") {
        bench.journal();
    }
}

struct Bench {
    accounts: u32,
    limits: Arc<[Limit]>,
    start: Timestamp,
}

impl Bench {
    fn new(accounts: u32) -> Self {
        let limit = |seconds, max| Limit { window: Span::from_secs(seconds), max };
        let limits = [limit(3_600, 50), limit(86_400, 600)].into();
        Self { accounts, limits, start: Clock::start(Timestamp::EPOCH).now() }
    }

    fn name(n: u32) -> String {
        format!("user{n:07}@shop.example")
    }

    fn key(n: u32) -> Key {
        format!("account/r/{}", Self::name(n)).parse().expect("it is a key")
    }

    fn demand(&self, key: Key) -> Demand {
        Demand { key, limits: self.limits.clone(), per: ChargePer::Recipient, mode: Mode::Enforce }
    }

    fn decision(&self) {
        let (store, ours) = grown(|| self.fill_memory());
        println!("memory per account: tollgate {} octets", ours / u64::from(self.accounts));
        let (governor, theirs) = grown(|| self.fill_governor());
        println!("memory per account: governor {} octets", theirs / u64::from(self.accounts));
        self.compare(&store, &governor);
        self.criterion(&store, &governor);
    }

    fn fill_memory(&self) -> MemoryStore {
        let store = MemoryStore::new(DAY, MARGIN);
        for round in 0..SENDS {
            (0..self.accounts).for_each(|n| self.send(&store, round, n));
        }
        store
    }

    /// One message of one account.
    fn send(&self, ledger: &dyn Ledger, round: u32, n: u32) {
        let base = self.start + Duration::from_secs(3_000) * round;
        let now = base + Duration::from_micros(700) * n;
        let mut reservation = Reservation::new(vec![self.demand(Self::key(n))]);
        let granted = now_or_never(ledger.reserve(&mut reservation, REQUEST, now));
        assert_eq!(granted.map(|g| g.recipients).ok(), Some(1));
        let settled = now_or_never(ledger.settle(reservation, Settlement::Sent, now));
        assert!(settled.is_ok());
    }

    fn fill_governor(&self) -> Governor {
        let per_hour = NonZeroU32::new(50).expect("it is not zero");
        let limiter = RateLimiter::dashmap_with_clock(
            Quota::per_hour(per_hour),
            FakeRelativeClock::default(),
        );
        for n in 0..self.accounts {
            let name = Self::name(n);
            for _ in 0..SENDS {
                let _ = limiter.check_key(&name);
            }
        }
        limiter
    }

    fn later(&self) -> Timestamp {
        self.start + Duration::from_secs(70_000)
    }

    /// Lets the contenders take turns and prints the medians and their ratio to governor's.
    fn compare(&self, store: &MemoryStore, governor: &Governor) {
        // 15 an hour: of 20 charges the sixth oldest must have left.
        let near = [Limit { max: 15, ..self.limits[0] }, self.limits[1]].into();
        let mut turns: [Vec<f64>; 5] = Default::default();
        for turn in 0..TURNS {
            // Accounts of its own for each, so that none finds them in the cache.
            let picks = |place| Picks::new(self.accounts, TURN_ACCOUNTS, turn * 5 + place);
            let found = [
                time_governor(governor, &picks(0)),
                self.time_decision(store, &picks(1), &self.limits),
                self.time_decision(store, &picks(2), &near),
                self.time_reserve_and_release(store, &picks(3)),
                self.time_reserve_and_settle(store, &picks(4)),
            ];
            turns.iter_mut().zip(found).for_each(|(turns, found)| turns.push(found));
        }
        let [governor, ours @ ..] = turns.map(median);
        println!("governor's check_key:  {governor:.0} ns");
        let names =
            ["decision", "decision, log read", "reserve and give back", "reserve and settle"];
        for (name, nanos) in names.into_iter().zip(ours) {
            println!("{name}: {nanos:.0} ns, {:.2} × governor", nanos / governor);
        }
    }

    fn time_decision(&self, store: &MemoryStore, picks: &Picks, limits: &Arc<[Limit]>) -> f64 {
        let now = self.later();
        let demand = |key: &Key| Demand { limits: limits.clone(), ..self.demand(key.clone()) };
        let reservation = |key| Reservation::new(vec![demand(key)]);
        let mut reservations: Vec<Reservation> = picks.keys.iter().map(reservation).collect();
        per_item(&mut reservations, |reservation| {
            let _ = black_box(store.reserve_now(reservation, &REQUEST, now));
        })
    }

    fn time_reserve_and_release(&self, store: &MemoryStore, picks: &Picks) -> f64 {
        let now = self.later();
        per_item(&picks.keys, |key| {
            let mut reservation = self.reserve(store, key, now);
            let released = now_or_never(store.release(&mut reservation, 1, now));
            assert!(released.is_ok());
        })
    }

    fn time_reserve_and_settle(&self, store: &MemoryStore, picks: &Picks) -> f64 {
        let now = self.later();
        per_item(&picks.keys, |key| {
            let reservation = self.reserve(store, key, now);
            let _ = black_box(now_or_never(store.settle(reservation, Settlement::Sent, now)));
        })
    }

    fn reserve(&self, store: &MemoryStore, key: &Key, now: Timestamp) -> Reservation {
        let mut reservation = Reservation::new(vec![self.demand(key.clone())]);
        let _ = black_box(now_or_never(store.reserve(&mut reservation, REQUEST, now)));
        reservation
    }

    fn criterion(&self, store: &MemoryStore, governor: &Governor) {
        let mut criterion = Criterion::default().sample_size(20).configure_from_args();
        let picks = Picks::new(self.accounts, 1_000_000, 9);
        let (mut keys, mut names) = (picks.keys.iter().cycle(), picks.names.iter().cycle());
        let now = self.later();
        criterion.bench_function("reserve and give back", |b| {
            b.iter(|| keys.next().map(|key| drop(self.reserve(store, key, now))));
        });
        criterion.bench_function("governor check_key", |b| {
            b.iter(|| names.next().map(|name| governor.check_key(name)));
        });
        criterion.final_summary();
    }

    /// Fills a file, and measures it and its opening.
    fn start_up(&self) {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let settings = settings(folder.path(), Synchronous::Normal);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let store = open(&settings);
        for round in 0..SENDS {
            for n in 0..self.accounts {
                self.send(&*store, round, n);
                if n % BURST == BURST - 1 {
                    runtime.block_on(self.wait_for_the_writer(&store));
                }
            }
        }
        runtime.block_on(store.close()).expect("it is written");
        drop(store);
        let octets = std::fs::metadata(&settings.path).map_or(0, |file| file.len());
        println!("file: {} octets per account", octets / u64::from(self.accounts));
        let (before, store) = (steady_now(), open(&settings));
        println!("start-up: {:.2} s", before.elapsed().as_secs_f64());
        assert_eq!(store.windows_count(), self.accounts as usize);
    }

    /// Whole messages from twenty sessions: reserve, make durable, settle.
    fn journal(&self) {
        for synchronous in [Synchronous::Normal, Synchronous::Full] {
            let folder = tempfile::tempdir().expect("there is room for a folder");
            let store = open(&settings(folder.path(), synchronous));
            let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
            let (before, cpu, writer) = (steady_now(), cpu_ticks(), writer_nanos());
            let sessions = (0..SESSIONS).map(|n| runtime.spawn(send_messages(store.clone(), n)));
            for session in sessions.collect::<Vec<_>>() {
                runtime.block_on(session).expect("the session ends");
            }
            let messages = f64::from(SESSIONS * MESSAGES);
            // A tick is 10 ms on Linux.
            let micros = (cpu_ticks() - cpu) as f64 * 10_000.0 / messages;
            let rate = messages / before.elapsed().as_secs_f64();
            let writer = (writer_nanos() - writer) as f64 / 1_000.0 / messages;
            println!(
                "journal, {synchronous:?}: {micros:.1} µs CPU a message, {writer:.1} of them the \
                 writer's; {rate:.0} messages/s"
            );
        }
    }

    async fn wait_for_the_writer(&self, store: &SqliteStore) {
        let key: Key = "peer/r/barrier".parse().expect("it is a key");
        let mut reservation = Reservation::new(vec![self.demand(key)]);
        let reserved = store.reserve(&mut reservation, REQUEST, self.start).await;
        assert_eq!(reserved.map(|granted| granted.recipients).ok(), Some(1));
        store.make_durable(&mut reservation).await.expect("it is written");
        let settled = store.settle(reservation, Settlement::Refunded, self.start).await;
        assert!(settled.is_ok());
    }
}

fn settings(folder: &Path, synchronous: Synchronous) -> Settings {
    let path = folder.join("state.sqlite");
    Settings { path, synchronous, history: DAY, unknown_margin: MARGIN }
}

fn open(settings: &Settings) -> Arc<SqliteStore> {
    let opened = sqlite::open(settings).expect("the file opens");
    let clock = Clock::start(opened.high_water());
    opened.start(&clock, Events::default()).expect("the file loads")
}

/// One session's messages, each charged to its tenant, account, client and peer.
async fn send_messages(store: Arc<SqliteStore>, session: u32) {
    let limits: Arc<[Limit]> = [Limit { window: Span::from_secs(86_400), max: u32::MAX }].into();
    let now = Clock::start(Timestamp::EPOCH).now();
    for n in 0..MESSAGES {
        let keys = [
            String::from("tenant/r/shop.example"),
            format!("account/r/user{n}-{session}@shop.example"),
            format!("client-ip/r/192.0.2.{session}"),
            String::from("peer/r/web01"),
        ];
        let demand = |key: &String| Demand {
            key: key.parse().expect("it is a key"),
            limits: limits.clone(),
            per: ChargePer::Recipient,
            mode: Mode::Enforce,
        };
        let mut reservation = Reservation::new(keys.iter().map(demand).collect());
        let granted = store.reserve(&mut reservation, REQUEST, now).await;
        assert_eq!(granted.map(|granted| granted.recipients).ok(), Some(1));
        store.make_durable(&mut reservation).await.expect("it is written");
        assert!(store.settle(reservation, Settlement::Sent, now).await.is_ok());
    }
}

/// The processor time of this process, in ticks of the kernel: fields 14 and 15 of proc(5)'s stat.
fn cpu_ticks() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The processor time of the store's writer alone: the first field of its schedstat.
fn writer_nanos() -> u64 {
    let is_writer = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "store-writer")
    };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let text = tasks
        .map(|task| task.path())
        .find(is_writer)
        .and_then(|task| std::fs::read_to_string(task.join("schedstat")).ok());
    let first = text.as_deref().and_then(|text| text.split(' ').next());
    first.and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// Accounts at random, as keys and as names.
struct Picks {
    keys: Vec<Key>,
    names: Vec<String>,
}

impl Picks {
    fn new(accounts: u32, count: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut pick = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u32::try_from(state % u64::from(accounts)).unwrap_or(0)
        };
        let picked: Vec<u32> = (0..count).map(|_| pick()).collect();
        Self {
            keys: picked.iter().map(|&n| Bench::key(n)).collect(),
            names: picked.iter().map(|&n| Bench::name(n)).collect(),
        }
    }
}

fn time_governor(governor: &Governor, picks: &Picks) -> f64 {
    per_item(&picks.names, |name| {
        let _ = black_box(governor.check_key(name));
    })
}

/// Nanoseconds for each item.
fn per_item<T>(items: impl IntoIterator<Item = T>, work: impl FnMut(T)) -> f64 {
    let before = steady_now();
    items.into_iter().for_each(work);
    before.elapsed().as_secs_f64() * 1e9 / TURN_ACCOUNTS as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// What was made, and by how many octets the process has grown.
fn grown<T>(make: impl FnOnce() -> T) -> (T, u64) {
    let before = resident();
    let made = make();
    (made, resident().saturating_sub(before))
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// The result of a future that never waits, as those of the windows in memory are.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the windows in memory never wait"),
    }
}
