//! What everybody's report costs, beside the same figures from a scan of one row for each message, in one run.
//!
//! 10,000 accounts of 2,000 tenants send one message of three recipients on each of 400 days. One side is the report of the program
//! itself (`admin::report_page`, all pages, as CSV) over an archive that was filled by the collector's own call; the other is
//! what a report would have to do without sums: read each message's row and add up, by tenant, with the recipients told apart.
//! Rows of messages are as narrow as can be, so the scan is shown at its best. Both run three times, and the best time of each
//! is printed, with the most memory that the process had while reporting.
//!
//! `cargo bench --bench report`; `ACCOUNTS=1000 DAYS=100` makes it smaller. Fails if, at full size, the report takes more than 2 s
//! or 100 MB.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop at anything it did not expect")]

use arc_swap::ArcSwap;
use rusqlite::{Connection, params};
use std::{collections::HashSet, fs, path::Path, sync::Arc, time::Duration};
use tollgate::{
    admin::{
        self, Admin, Bell, CheckedList, Health, ListingsView, Lookout, PageRequest, Readiness,
        SinkTest, StorageDesk,
    },
    clock::{Clock, steady_now},
    config,
    event::Events,
    mailbox::Source,
    rules::blocklist::Subject,
    rules::tally::{
        Counts, Seen, Share, Sketch, Tally, Top, Whose,
        calendar::{Day, Hour, Zone},
        period::Period,
    },
    standing::Passwords,
    store::{
        BoxFuture,
        archive::{self, Archive, Batch},
        behaviour::Minds,
        mailboxes::Mailboxes,
        memory::MemoryStore,
    },
    types::{AccountId, Timestamp},
};

const RECIPIENTS: u32 = 3;
const ACCOUNTS_PER_TENANT: u32 = 5;
/// About as many as the collector hears of between two writes; SQLite takes a time that grows with the square of it.
const ACCOUNTS_PER_BATCH: usize = 250;
const LAST_DAY: i32 = 20_758;

fn main() {
    let accounts = from_environment("ACCOUNTS", 10_000);
    let days = i32::try_from(from_environment("DAYS", 400)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let filled = steady_now();
    let archive = runtime.block_on(fill(folder.path(), accounts, days));
    let rows = fill_rows(folder.path(), accounts, days);
    println!("filled in {:.0} s", filled.elapsed().as_secs_f64());
    let size = fs::metadata(folder.path().join("archive.db")).unwrap().len();
    println!("{accounts} accounts × {days} days: archive {} MB", size >> 20);
    let admin = admin_of(archive);
    let period = Period::new(Day::new(LAST_DAY - days + 1), Day::new(LAST_DAY)).unwrap();
    forget_peak();
    let expected = u64::from(accounts) * u64::try_from(days).unwrap() * u64::from(RECIPIENTS);
    let report = best(|| {
        let (tenants, recipients) = runtime.block_on(report(&admin, &period));
        assert_eq!((tenants, recipients), (accounts / ACCOUNTS_PER_TENANT, expected));
    });
    let peak = peak_megabytes();
    let scan = best(|| assert_eq!(scan(&rows), expected));
    println!(
        "report {report:.2} s, at most {peak} MB · scan of messages {scan:.2} s · ratio 1:{:.0}",
        scan / report
    );
    if accounts >= 10_000 && days >= 400 {
        assert!(report < 2.0 && peak < 100, "the report takes more than 2 s or 100 MB");
    }
}

fn from_environment(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn best(mut work: impl FnMut()) -> f64 {
    let times = (0..3).map(|_| {
        let began = steady_now();
        work();
        began.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn tenant_of(account: u32) -> u32 {
    account / ACCOUNTS_PER_TENANT
}

/// When an account sends on a day, and to whom: one of a hundred addresses of its own, three after one another.
fn sends(account: u32, day: i32) -> (Hour, [u32; RECIPIENTS as usize]) {
    let hour = Hour::new(i64::from(day) * 24 + i64::from(account % 24));
    let first = (account.wrapping_mul(31) ^ u32::try_from(day).unwrap()) % 98;
    (hour, [0, 1, 2].map(|n| (account * 100 + first + n).wrapping_mul(2_654_435_761)))
}

async fn fill(folder: &Path, accounts: u32, days: i32) -> Archive {
    let archive = archive::open(&archive::Settings { path: folder.join("archive.db") }).unwrap();
    for day in LAST_DAY - days + 1..=LAST_DAY {
        for first in (0..accounts).step_by(ACCOUNTS_PER_BATCH) {
            let last = accounts.min(first + u32::try_from(ACCOUNTS_PER_BATCH).unwrap());
            let mut usage = Tally::default();
            for account in first..last {
                let tenant = format!("t{:05}.example", tenant_of(account));
                let whose = Whose {
                    account: Some(format!("a{account}@{tenant}").parse().unwrap()),
                    tenant: tenant.parse().unwrap(),
                };
                let (hour, recipients) = sends(account, day);
                usage.shares.insert((whose, hour), share(day, hour, &recipients));
            }
            archive.keep(Arc::new(Batch { usage, ..Batch::default() })).await.unwrap();
        }
    }
    archive
}

fn share(day: i32, hour: Hour, hashes: &[u32]) -> Share {
    let (mut recipients, mut domains, mut networks) =
        (Sketch::default(), Top::default(), Top::default());
    for &hash in hashes {
        recipients.insert(hash);
        domains.add(&format!("d{}.example", hash % 10), 1, 0);
    }
    networks.add("192.0.2.0/24", RECIPIENTS.into(), 0);
    let counts =
        Counts { messages: 1, recipients: RECIPIENTS.into(), bytes: 4_000, ..Counts::default() };
    let seen = Seen { first: hour.begin(), last: hour.begin() };
    Share { day: Day::new(day), counts, seen, recipients, networks, domains }
}

fn fill_rows(folder: &Path, accounts: u32, days: i32) -> Connection {
    let db = Connection::open(folder.join("messages.db")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = OFF; CREATE TABLE messages (at INTEGER, tenant INTEGER, account INTEGER, bytes INTEGER, \
         r1 INTEGER, r2 INTEGER, r3 INTEGER); BEGIN",
    )
    .unwrap();
    let mut insert =
        db.prepare("INSERT INTO messages VALUES (?1, ?2, ?3, 4000, ?4, ?5, ?6)").unwrap();
    for day in LAST_DAY - days + 1..=LAST_DAY {
        for account in 0..accounts {
            let (hour, [a, b, c]) = sends(account, day);
            insert.execute(params![hour.number(), tenant_of(account), account, a, b, c]).unwrap();
        }
    }
    drop(insert);
    db.execute_batch("COMMIT").unwrap();
    db
}

/// Adds up every message by tenant, with its different recipients.
fn scan(db: &Connection) -> u64 {
    let mut tenants: Vec<(u64, u64, HashSet<u32>)> = Vec::new();
    let mut select =
        db.prepare("SELECT tenant, bytes, r1, r2, r3 FROM messages WHERE at >= 0").unwrap();
    let mut rows = select.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let tenant = usize::try_from(row.get::<_, i64>(0).unwrap()).unwrap();
        if tenants.len() <= tenant {
            tenants.resize_with(tenant + 1, Default::default);
        }
        let (recipients, bytes, distinct) = &mut tenants[tenant];
        *recipients += u64::from(RECIPIENTS);
        *bytes += u64::try_from(row.get::<_, i64>(1).unwrap()).unwrap();
        distinct.extend([2, 3, 4].map(|column| row.get::<_, u32>(column).unwrap()));
    }
    tenants.iter().map(|(recipients, ..)| recipients).sum()
}

async fn report(admin: &Admin, period: &Period) -> (u32, u64) {
    let (mut tenants, mut recipients, mut after) = (0, 0, None);
    loop {
        let request = PageRequest { after, max: None };
        let page = admin::report_page(admin, period, &request).await.unwrap();
        std::hint::black_box(admin::csv_rows(&page.head, &page.tenants));
        tenants += u32::try_from(page.tenants.len()).unwrap();
        recipients += page.tenants.iter().map(|tenant| tenant.accepted_recipients).sum::<u64>();
        after = page.next;
        if after.is_none() {
            return (tenants, recipients);
        }
    }
}

fn admin_of(archive: Archive) -> Admin {
    let store = Arc::new(MemoryStore::new(Duration::from_secs(86_400), Duration::from_secs(600)));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/quickstart.toml");
    let config = config::load(&shipped, &config::Moves::default()).unwrap();
    let custody = admin::Custody {
        vault: store.clone(),
        settings: config.backups,
        conduct: config.conduct,
        waiting: Box::new(|| 0),
        making: tokio::sync::Mutex::default(),
        refused_by: parking_lot::Mutex::default(),
        repeated: std::sync::atomic::AtomicI64::default(),
        parts_done: parking_lot::Mutex::default(),
        erased: parking_lot::Mutex::default(),
    };
    Admin {
        custody: Arc::new(custody),
        ledger: store.clone(),
        records: store,
        behaviour: Arc::new(Minds::default()),
        passwords: Arc::new(Fine),
        archive,
        policy: Arc::new(ArcSwap::from_pointee(config.policy)),
        clock: Clock::start(Timestamp::EPOCH),
        events: Events::default(),
        zone: Zone::UTC,
        storage: Arc::new(StorageDesk::new(Mailboxes::default(), Source::Told, config.storage)),
        sla: Arc::default(),
        bell: Arc::new(Fine),
        lookout: Arc::new(Fine),
        steering: Arc::default(),
        choices: Arc::default(),
        health: Arc::new(Fine),
    }
}

struct Fine;

impl Passwords for Fine {
    fn mark(&self, _account: &AccountId) -> Option<u64> {
        None
    }
}

impl Bell for Fine {
    fn test(&self) -> BoxFuture<'_, Vec<SinkTest>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

impl Lookout for Fine {
    fn status(&self) -> ListingsView {
        ListingsView::default()
    }

    fn check(&self, _: Subject) -> BoxFuture<'_, Option<Vec<CheckedList>>> {
        Box::pin(std::future::ready(None))
    }
}

impl Health for Fine {
    fn readiness(&self) -> BoxFuture<'_, Readiness> {
        let readiness = Readiness {
            store_failure: None,
            logins_failure: None,
            events_failure: None,
            listening_failure: None,
            next_hops: Vec::new(),
            draining: false,
        };
        Box::pin(std::future::ready(readiness))
    }
}

/// Lets the kernel forget the most memory that the process had so far (proc_pid_clear_refs(5)).
fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn peak_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_000
}
