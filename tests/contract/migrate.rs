//! Moving a gate's history into a real Redis and back: nothing is lost, and nothing opens early.

use super::*;
use tollgate::store::migrate::{Moved, Mover, from_redis, to_redis};

/// A file with windows of all kinds, most of them some hours old; with how much was sent in each.
async fn filled(folder: &Path) -> (Arc<SqliteStore>, Clock, Vec<(Key, u32)>) {
    let (file, clock) = open(&settings(folder)).unwrap();
    let mut all = Vec::new();
    let mut note = async |name: &str, count: u32, hours: u64| {
        let at = clock.now() - seconds(hours * 3_600);
        send(&*file, name, count, at).await;
        all.push((key(name), count));
    };
    note("account/r/heavy@b", 6_000, 20).await;
    note("tenant/r/b", 40, 19).await;
    for n in 0..700 {
        note(&format!("account/r/a{n}@shop{}.example", n % 7), n % 13 + 1, u64::from(18 - n % 18))
            .await;
    }
    note("client-ip/r/192.0.2.7", 9, 0).await;
    note("peer/r/web1", 3, 0).await;
    note("account/m/a1@b", 2, 0).await;
    (file, clock, all)
}

async fn send(ledger: &dyn Ledger, name: &str, count: u32, at: Timestamp) {
    let mut reservation = Reservation::new(vec![demand(name, &[limit(86_400, 100_000)])]);
    let granted = ledger.reserve(&mut reservation, asking(count), at).await.unwrap();
    assert_eq!(granted.recipients, count);
    ledger.settle(reservation, Settlement::Sent, at).await.unwrap();
}

fn mover<'a>() -> Mover<'a> {
    let actor = Actor::new(Via::CommandLine, "desk");
    Mover { node: "n1", actor, reason: "more gates".into(), again: false }
}

async fn sent(ledger: &dyn Ledger, key: &Key, now: Timestamp) -> u32 {
    ledger.usage(key, &[limit(86_400, 100_000)], now).await.unwrap()[0].sent
}

/// When the next may pass if no more than was sent may.
async fn slot(ledger: &dyn Ledger, key: &Key, max: u32, now: Timestamp) -> Timestamp {
    ledger.usage(key, &[limit(86_400, max)], now).await.unwrap()[0].next_slot.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_come_to_redis_and_back_with_every_charge_and_none_opens_early() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let (file, clock, all) = filled(folder.path()).await;
    let there = share(shared_settings(&redis));
    let moved = to_redis(&file, &there, &mover(), &clock).await.unwrap();
    let charges = all.iter().map(|(_, count)| u64::from(*count)).sum();
    assert_eq!(moved, Moved { windows: all.len() as u64, charges, ..Moved::default() });
    for (key, count) in &all {
        let now = clock.now();
        assert_eq!((sent(&*there, key, now).await, key), (*count, key));
        let (was, is) =
            (slot(&*file, key, *count, now).await, slot(&*there, key, *count, now).await);
        // The clocks of the two are read one after the other, so what is told of Redis is early by as long as it took to answer, and
        // this machine may be busy; groups of a heavy sender leave with their newest.
        assert!(is + seconds(2) >= was && is <= was + seconds(90), "{key}: {was} {is}");
    }
    let again = to_redis(&file, &there, &mover(), &clock).await.unwrap_err();
    assert!(matches!(&again, StoreError::Conflict(why) if why.contains("n1")), "{again}");

    // Another gate that counted the same customers alone until now.
    let second = tempfile::tempdir().unwrap();
    let (other, other_clock) = open(&settings(second.path())).unwrap();
    send(&*other, "peer/r/web1", 4, other_clock.now()).await;
    let also = Mover { node: "n2", ..mover() };
    to_redis(&other, &there, &also, &other_clock).await.unwrap();
    assert_eq!(sent(&*there, &key("peer/r/web1"), clock.now()).await, 7);

    // Back, into the file that has older windows and one that Redis does not know.
    send(&*file, "peer/r/mine", 5, clock.now()).await;
    send(&*file, "account/r/a5@shop5.example", 50, clock.now()).await;
    let back = from_redis(&there, &file, &mover(), &clock).await.unwrap();
    assert_eq!((back.windows, back.charges), (all.len() as u64, charges + 4));
    file.close().await.unwrap();
    drop(file);
    let (file, clock) = open(&settings(folder.path())).unwrap();
    for (key, count) in &all {
        let count = if key.as_str() == "peer/r/web1" { 7 } else { *count };
        assert_eq!((sent(&*file, key, clock.now()).await, key), (count, key));
    }
    assert_eq!(sent(&*file, &key("peer/r/mine"), clock.now()).await, 5);
    // What was moved away may come again.
    let moved = to_redis(&file, &there, &mover(), &clock).await.unwrap();
    assert!(!moved.continued);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_added_to_those_that_other_gates_have_and_a_suspension_stays() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let first = Node::new(&redis).await;
    first.change(account("both@b"), What::Plan(Some("gold".parse().unwrap()))).await.unwrap();
    let (file, clock) = open(&settings(folder.path())).unwrap();
    let now = clock.now();
    change(&*file, account("both@b"), What::Plan(Some("tin".parse().unwrap())), now).await.unwrap();
    change(&*file, account("both@b"), What::suspend("ABCDEFGH".parse().unwrap()), now)
        .await
        .unwrap();
    change(&*file, account("mine@b"), What::Register, now).await.unwrap();
    let moved = to_redis(&file, &share(shared_settings(&redis)), &mover(), &clock).await.unwrap();
    assert_eq!(moved.records, 2);
    let both = async || first.records.subject(&account("both@b")).await.unwrap();
    let mine = async || first.records.subject(&account("mine@b")).await.unwrap();
    first
        .comes_to("hear of both", async || {
            both().await.suspension.is_some() && mine().await.registered
        })
        .await;
    assert_eq!(both().await.plan.as_ref().unwrap().as_str(), "gold");
    // The file has what Redis has, as every gate does.
    assert_eq!(*file.subject(&account("both@b")).await.unwrap(), *both().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_fit_is_named() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let first = Node::new(&redis).await;
    let hours = |hours: u64| {
        let window = Span::from_secs(hours * 3_600);
        What::SetOverride(LimitOverride { window, ..given(first.start, Some(7), None) })
    };
    let most = u64::try_from(OVERRIDES_MAX).unwrap();
    for n in 1..=most {
        first.change(account("full@b"), hours(n)).await.unwrap();
    }
    let (file, clock) = open(&settings(folder.path())).unwrap();
    change(&*file, account("full@b"), hours(most + 1), clock.now()).await.unwrap();
    let there = share(shared_settings(&redis));
    let refused = to_redis(&file, &there, &mover(), &clock).await.unwrap_err().to_string();
    assert!(refused.contains("account full@b") && refused.contains("overrides"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_cut_short_goes_on_and_counts_little_twice() {
    let (mut redis, folder) = (Redis::durable(), tempfile::tempdir().unwrap());
    let (file, clock, all) = filled(folder.path()).await;
    let there = share(redis::Settings { timeout: seconds(1), ..shared_settings(&redis) });
    let moving = {
        let (file, there, clock) = (file.clone(), there.clone(), clock.clone());
        tokio::spawn(async move { to_redis(&file, &there, &mover(), &clock).await })
    };
    let some = async || redis.ask(&["KEYS", "*"]).lines().count() > 300;
    until("some windows to be there", some).await;
    redis.kill();
    let ended = moving.await.unwrap();
    redis.start_again();
    until("Redis to be used again", async || {
        there.usage(&all[0].0, &[], clock.now()).await.is_ok()
    })
    .await;
    if ended.is_err() {
        let moved = to_redis(&file, &there, &mover(), &clock).await.unwrap();
        assert!(moved.continued && moved.windows < all.len() as u64, "{moved:?}");
    }
    let mut twice = 0;
    for (key, count) in &all {
        let sent = sent(&*there, key, clock.now()).await;
        assert!(sent >= *count && sent <= 2 * count, "{key}: {sent} of {count}");
        twice += u32::from(sent > *count);
    }
    assert!(twice <= 256, "{twice}");
}
