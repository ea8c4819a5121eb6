//! Crashes in the middle of checkpoints, and writes that fail. In a test build checkpoints are small and never rest.

use super::*;
use crate::{
    event::{Event, Listener},
    rules::limits::{LimitOverride, Mode},
    store::{
        ledger::{ChargePer, Demand, Grant, Settlement},
        records::What,
    },
    types::{Actor, Scope, Span, Unit, Via},
};
use tempfile::TempDir;

fn settings(folder: &Path) -> Settings {
    Settings {
        path: folder.join("state.sqlite"),
        synchronous: Synchronous::Normal,
        history: Duration::from_secs(86_400),
        unknown_margin: Duration::from_secs(600),
    }
}

fn open_at(folder: &Path, events: Events) -> Arc<SqliteStore> {
    let opened = open(&settings(folder)).unwrap();
    let clock = Clock::start(opened.high_water());
    opened.start(&clock, events).unwrap()
}

const WIDE: Limit = Limit { window: Span::from_secs(86_400), max: u32::MAX };

fn key(n: usize) -> Key {
    format!("account/r/user{n}@shop.example").parse().unwrap()
}

fn now() -> Timestamp {
    Clock::start(Timestamp::EPOCH).now()
}

async fn reserve(store: &SqliteStore, n: usize, recipients: u32) -> Reservation {
    let tenant = "tenant/r/shop.example".parse().unwrap();
    let demand =
        |key| Demand { key, limits: [WIDE].into(), per: ChargePer::Recipient, mode: Mode::Enforce };
    let mut reservation = Reservation::new(vec![demand(tenant), demand(key(n))]);
    let request = Request { recipients, grant: Grant::InOrder };
    store.reserve(&mut reservation, request, now()).await.unwrap();
    reservation
}

async fn used(store: &SqliteStore, key: &Key) -> u32 {
    let usage = store.usage(key, &[WIDE], now()).await.unwrap().remove(0);
    usage.sent + usage.open
}

/// The file as a kill at this moment would leave it.
fn copy(from: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let wal = || std::fs::read(from.join("state.sqlite-wal")).unwrap();
    loop {
        let head = wal().into_iter().take(32).collect::<Vec<u8>>();
        std::fs::copy(from.join("state.sqlite"), folder.path().join("state.sqlite")).unwrap();
        let whole = wal();
        if whole.starts_with(&head) {
            std::fs::write(folder.path().join("state.sqlite-wal"), whole).unwrap();
            return folder;
        }
    }
}

/// Every charge is there exactly once, however far the checkpoint had come.
async fn check_copy(folder: &Path, expected: &[u32]) {
    let copied = copy(folder);
    let crashed = open_at(copied.path(), Events::default());
    for (n, expected) in expected.iter().enumerate() {
        assert_eq!(used(&crashed, &key(n)).await, *expected, "user{n}");
    }
    let tenant = "tenant/r/shop.example".parse().unwrap();
    assert_eq!(used(&crashed, &tenant).await, expected.iter().sum::<u32>());
    crashed.close().await.unwrap();
    drop(crashed);
    let again = open_at(copied.path(), Events::default());
    assert_eq!(used(&again, &tenant).await, expected.iter().sum::<u32>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_of_a_checkpoint_loses_nothing_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path(), Events::default());
    let (mut expected, mut open) = (vec![0; 12], Vec::new());
    for step in 0_usize..600 {
        let n = step * step % 12;
        let recipients = u32::try_from(step % 3 + 1).unwrap();
        let mut reservation = reserve(&store, n, recipients).await;
        store.make_durable(&mut reservation).await.unwrap();
        expected[n] += recipients;
        if step % 5 == 0 {
            open.push(reservation);
        } else {
            store.settle(reservation, Settlement::Sent, now()).await.unwrap();
        }
        if step % 7 == 0 && open.len() > 5 {
            store.settle(open.remove(0), Settlement::Unknown, now()).await.unwrap();
        }
        if step % 20 == 19 {
            check_copy(folder.path(), &expected).await;
        }
    }
    assert!(store.shared.first_row() > 100, "no checkpoint has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_window_leaves_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path(), Events::default());
    let mut reservation = reserve(&store, 1, 2).await;
    store.make_durable(&mut reservation).await.unwrap();
    store.settle(reservation, Settlement::Sent, now()).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open_at(folder.path(), Events::default());
    assert_eq!(store.windows_count(), 2);
    let later = now() + Duration::from_secs(90_000);
    store.shared.windows.sweep(later, |cell| store.shared.forget(cell));
    assert_eq!(store.windows_count(), 0);
    store.close().await.unwrap();
    drop(store);
    let db = rusqlite::Connection::open(folder.path().join("state.sqlite")).unwrap();
    let left: i64 = db.query_row("SELECT count(*) FROM windows", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

/// The writer leaves the queue alone while the journal is too long, and nobody who waits is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn senders_wait_for_a_checkpoint_that_lags_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path(), Events::default());
    let send = |n: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            for message in 0..20 {
                let mut reservation = reserve(&store, n * 20 + message, 1).await;
                store.make_durable(&mut reservation).await.unwrap();
                store.settle(reservation, Settlement::Sent, now()).await.unwrap();
            }
        })
    };
    for task in (0..32).map(send).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let again = open_at(folder.path(), Events::default());
    let tenant = "tenant/r/shop.example".parse().unwrap();
    assert_eq!((used(&again, &tenant).await, again.windows_count()), (640, 641));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_hold_nothing_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path(), Events::default());
    let pages = |name| {
        let db = rusqlite::Connection::open(folder.path().join("state.sqlite")).unwrap();
        db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap()
    };
    for n in 0..400 {
        let reservation = reserve(&store, n, 1).await;
        store.settle(reservation, Settlement::Sent, now()).await.unwrap();
        if n % 20 == 19 {
            let mut waits = reserve(&store, n, 1).await;
            store.make_durable(&mut waits).await.unwrap();
            store.settle(waits, Settlement::Refunded, now()).await.unwrap();
        }
    }
    let later = now() + Duration::from_secs(90_000);
    store.shared.windows.sweep(later, |cell| store.shared.forget(cell));
    store.close().await.unwrap();
    drop(store);
    assert!(pages("freelist_count") <= 2 && pages("page_count") < 25, "{}", pages("page_count"));
}

/// Remembers the names of what happened.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<&'static str>>>);

impl Listener for Names {
    fn notice(&self, _: Timestamp, event: &Event) {
        self.0.lock().push(event.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_is_told_once_and_what_was_settled_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::default();
    let store = open_at(folder.path(), Events::new(vec![Box::new(names.clone())]));
    let mut durable = reserve(&store, 0, 3).await;
    store.make_durable(&mut durable).await.unwrap();
    *store.shared.fault.lock() = Fault::Error;
    store.settle(durable, Settlement::Sent, now()).await.unwrap();
    for _ in 0..2 {
        let mut refused = reserve(&store, 1, 1).await;
        let error = store.make_durable(&mut refused).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        store.settle(refused, Settlement::Refunded, now()).await.unwrap();
    }
    assert_eq!(*names.0.lock(), ["store-failed"]);
    *store.shared.fault.lock() = Fault::None;
    let mut after = reserve(&store, 2, 1).await;
    store.make_durable(&mut after).await.unwrap();
    store.settle(after, Settlement::Sent, now()).await.unwrap();
    assert_eq!(*names.0.lock(), ["store-failed", "store-recovered"]);
    check_copy(folder.path(), &[3, 0, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_writer_is_told_and_nothing_is_taken_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::default();
    let store = open_at(folder.path(), Events::new(vec![Box::new(names.clone())]));
    let mut durable = reserve(&store, 0, 3).await;
    store.make_durable(&mut durable).await.unwrap();
    *store.shared.fault.lock() = Fault::Panic;
    let mut waiting = reserve(&store, 1, 1).await;
    let gone = store.make_durable(&mut waiting).await.unwrap_err();
    assert!(matches!(gone, StoreError::Unavailable(_)), "{gone}");
    store.panicked().await;
    assert_eq!(*names.0.lock(), ["store-failed"]);
    assert_eq!(store.failure().unwrap(), "the store-writer thread panicked");
    let mut after = reserve(&store, 2, 1).await;
    assert!(store.make_durable(&mut after).await.is_err());
    assert!(store.close().await.is_err());
    drop(store);
    let again = open_at(folder.path(), Events::default());
    assert_eq!((used(&again, &key(0)).await, used(&again, &key(1)).await), (3, 0));
}

/// While nothing can be written, what is settled gathers up to the queue's maximum, and then nothing more is begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_what_was_not_journaled_is_in_the_next_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path(), Events::default());
    *store.shared.fault.lock() = Fault::Error;
    let mut sent = 0;
    loop {
        let reservation = reserve(&store, 0, 1).await;
        sent += 1;
        if store.settle(reservation, Settlement::Sent, now()).await.is_err() {
            break;
        }
        assert!(sent < 1_000, "the queue is not bounded");
    }
    let mut refused = reserve(&store, 1, 1).await;
    let full = store.make_durable(&mut refused).await.unwrap_err().to_string();
    assert!(full.contains("queue is full"), "{full}");
    drop(refused);
    *store.shared.fault.lock() = Fault::None;
    store.close().await.unwrap();
    drop(store);
    let again = open_at(folder.path(), Events::default());
    assert_eq!(used(&again, &key(0)).await, sent);
}

/// What was written can be read, whatever it was: a record that cannot be would keep the store from starting.
#[tokio::test(flavor = "multi_thread")]
async fn an_override_until_the_farthest_moment_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path(), Events::default());
    let subject = SubjectId::Account("user@shop.example".parse().unwrap());
    for (seconds, millis) in [(1, i64::MAX), (2, 253_402_300_800_000)] {
        let given = LimitOverride {
            scope: Scope::Account,
            unit: Unit::Recipients,
            window: Span::from_secs(seconds),
            max: Some(5),
            until: Some(Timestamp::from_millis(millis)),
            reason: "trial".into(),
            actor: "op".into(),
            since: Timestamp::from_millis(i64::MIN),
        };
        let change = Change {
            subject: subject.clone(),
            what: What::SetOverride(given),
            reason: "trial".into(),
            evidence: None,
            actor: Actor::new(Via::ControlSocket, "op"),
        };
        store.change(change, now()).await.unwrap();
    }
    let written = store.subject(&subject).await.unwrap();
    assert_eq!(written.overrides.len(), 2);
    store.close().await.unwrap();
    drop(store);
    let again = open_at(folder.path(), Events::default());
    assert_eq!(again.subject(&subject).await.unwrap(), written);
}

/// No octet of the name is in the file or its log, and what it sent still counts, also after a kill at any point and under the name again.
#[tokio::test(flavor = "multi_thread")]
async fn an_erased_account_is_in_no_octet_and_what_it_sent_counts_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_at(folder.path(), Events::default());
    let mut expected = vec![0; 12];
    for step in 0_usize..200 {
        let n = step % 12;
        let mut reservation = reserve(&store, n, 2).await;
        store.make_durable(&mut reservation).await.unwrap();
        store.settle(reservation, Settlement::Sent, now()).await.unwrap();
        expected[n] += 2;
    }
    let account: AccountId = "user7@shop.example".parse().unwrap();
    let subject = SubjectId::Account(account.clone());
    let change = |what| Change {
        subject: subject.clone(),
        what,
        reason: "user7@shop.example asked".into(),
        evidence: None,
        actor: Actor::new(Via::Api, "op"),
    };
    store.change(change(What::suspend("TG-1".parse().unwrap())), now()).await.unwrap();
    store.note_refusal(&account, now(), "450 account user7@shop.example", None);
    let open = reserve(&store, 7, 1).await;
    let both = [SubjectId::Account("user9@shop.example".parse().unwrap()), subject.clone()];
    let busy = store.erase(&both).await.unwrap();
    assert!(busy.len() == 1 && busy[0].why.contains("not in the audit yet"), "{busy:?}");
    assert_eq!(busy[0].subject, subject);
    store.cut_changes(i64::MAX).await.unwrap();
    let busy = store.erase(&both).await.unwrap();
    assert!(busy.len() == 1 && busy[0].why.contains("under way"), "{busy:?}");
    drop(open);
    assert_eq!(store.erase(&both).await.unwrap(), []);
    for name in ["state.sqlite", "state.sqlite-wal"] {
        let octets = std::fs::read(folder.path().join(name)).unwrap();
        let has = |needle: &[u8]| octets.windows(needle.len()).any(|part| part == needle);
        assert!(!has(b"user7@") && !has(b"user9@"), "{name}");
        assert!(name.ends_with("-wal") || has(b"user8@"), "{name} holds nothing at all");
    }
    check_copy(folder.path(), &expected).await;
    let kept = store.subject(&subject).await.unwrap();
    let suspension = kept.suspension.as_ref().unwrap();
    assert_eq!((suspension.case.as_str(), suspension.reason.as_str()), ("TG-1", "erased"));
    // It comes back, sends, and a kill comes.
    let mut reservation = reserve(&store, 7, 3).await;
    store.make_durable(&mut reservation).await.unwrap();
    store.settle(reservation, Settlement::Sent, now()).await.unwrap();
    expected[7] += 3;
    check_copy(folder.path(), &expected).await;
    store.change(change(What::resume()), now()).await.unwrap();
    assert!(store.subject(&subject).await.unwrap().suspension.is_none());
    drop(store);
    let again = open_at(folder.path(), Events::default());
    assert!(again.subject(&subject).await.unwrap().suspension.is_none());
    assert_eq!(used(&again, &key(7)).await, expected[7]);
}
