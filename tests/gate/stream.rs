//! Several gates tell the same of everything that happened at any of them, and go on doing so whatever is killed.

use crate::{
    alerts::{calling, listed},
    audit::{audit, audit_of},
    blocklists::list,
    support::{
        Faults, Gate, Settings, Sink, Webhook, dns::Rbldnsd, gate, redis::Redis, sink, wait_for,
        webhook::Mood,
    },
};
use serde_json::Value;
use std::{fs, sync::Arc, thread, time::Duration};

const ACCOUNT: &str = "a@shop.example";
const STREAM: &str = "tollgate:1:{events}stream";

pub(crate) fn node(redis: &Redis, sink: &Sink, name: &str) -> Settings {
    let settings = gate().limit(50, "1h").next_hop(sink).set("store.redis", redis.url());
    settings.set("store.redis_node", name)
}

fn nodes(redis: &Redis, sink: &Sink) -> [Gate; 3] {
    ["n1", "n2", "n3"].map(|name| node(redis, sink, name).run())
}

fn send(gate: &Gate, account: &str, recipient: &str) -> u16 {
    gate.client().send(account, &[recipient], "Subject: x\n\ntext\n").code
}

/// What the report of this month says of a tenant: accepted messages, distinct recipients.
fn counted(gate: &Gate) -> (u64, u64) {
    let tenant = ["report", "--tenant", "shop.example", "--period", "this-month"];
    let report = gate.json(&tenant);
    let number = |key: &str| report["tenant"][key].as_u64().unwrap_or(0);
    (number("accepted_messages"), number("distinct_recipients"))
}

#[track_caller]
pub(crate) fn all_count(gates: &[&Gate], expected: (u64, u64)) {
    for gate in gates {
        let mut last = (0, 0);
        wait_for(&format!("the report to say {expected:?}"), || {
            last = counted(gate);
            (last == expected).then_some(())
        });
    }
}

fn traced(gate: &Gate, recipient: &str) -> Vec<Value> {
    let text = gate.tollgate(&["trace", recipient, "--json"]).well();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Messages about alerts that a gate does not know to be delivered.
fn owed(gate: &Gate) -> u32 {
    let archive = rusqlite::Connection::open(gate.file("var/archive.db")).unwrap();
    archive.query_row("SELECT count(*) FROM alert_notices", [], |row| row.get(0)).unwrap()
}

/// Number, hash and action of every entry.
fn chain(gate: &Gate) -> Vec<[String; 3]> {
    let entries = audit(gate, &[]);
    let of = |entry: &Value| ["number", "hash", "action"].map(|key| entry[key].to_string());
    entries.iter().map(of).collect()
}

#[test]
fn every_gate_tells_the_same_and_the_loss_of_one_loses_nothing() {
    let (sink, redis) = (sink().run(), Redis::start());
    let [a, mut b, c] = nodes(&redis, &sink);
    for (gate, recipient) in [(&a, "x@one.example"), (&b, "x@one.example"), (&b, "y@one.example")] {
        assert_eq!(send(gate, ACCOUNT, recipient), 250);
    }
    for (n, gate) in [&a, &b, &c, &a].into_iter().enumerate() {
        let account = format!("n{n}@shop.example");
        gate.tollgate(&["account", "suspend", &account, "--reason", "spam"]).well();
    }
    b.tollgate(&["token", "create", "one", "--role", "read-only"]).well();
    all_count(&[&a, &b, &c], (3, 2));
    for gate in [&a, &b, &c] {
        assert_eq!(audit_of(gate, 5).len(), 5);
        gate.logged("audited", |line| line["number"] == 5);
    }
    assert_eq!((chain(&a), chain(&b)), (chain(&b), chain(&c)));
    for gate in [&a, &b, &c] {
        assert_eq!(traced(gate, "x@one.example").len(), 2);
    }
    b.kill();
    assert_eq!(send(&c, ACCOUNT, "z@one.example"), 250);
    all_count(&[&a, &c], (4, 3));
    b.start();
    all_count(&[&b], (4, 3));
    assert_eq!(traced(&b, "z@one.example").len(), 1);
}

#[test]
fn what_redis_cannot_be_told_is_told_later_once_also_after_a_kill() {
    let (sink, mut redis) = (sink().run(), Redis::durable());
    let mut a = node(&redis, &sink, "n1").run();
    let b = node(&redis, &sink, "n2").run();
    assert_eq!(send(&a, ACCOUNT, "x@one.example"), 250);
    all_count(&[&a, &b], (1, 1));
    redis.kill();
    let refused = a.client().say(&format!("MAIL FROM:<{ACCOUNT}>"));
    assert_eq!(refused.code, 451, "{refused}");
    let waits = || {
        let metrics = a.http("/metrics").1;
        let line = metrics.lines().find(|line| line.starts_with("tollgate_stream_waiting_bytes"));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<f64>().ok()).filter(|&n| n > 0.0)
    };
    wait_for("something to wait", waits);
    wait_for("the alert to be in the journal", || {
        (a.http("/health/ready").1.contains("events_failure\":\"")).then_some(())
    });
    a.kill();
    a.try_start().unwrap();
    redis.start_again();
    let mut tokens = 0;
    let mut failed = |gate: &Gate| {
        tokens += 1;
        let api = gate.token(&[&format!("reader{tokens}"), "--role", "read-only"]);
        let events = api.get("/events?event=store-failed").body;
        events["items"].as_array().unwrap().len()
    };
    // Both gates lost it, and the first once more when it began again.
    for gate in [&a, &b] {
        wait_for("the failures of both", || (failed(gate) >= 2).then_some(()));
    }
    wait_for("Redis to be used again", || (b.http("/health/ready").0 == 200).then_some(()));
    assert_eq!(send(&b, ACCOUNT, "y@one.example"), 250);
    all_count(&[&a, &b], (2, 2));
    assert_eq!(failed(&a), failed(&b));
    wait_for("nothing to wait", || waits_no_more(&a).then_some(()));
}

fn waits_no_more(gate: &Gate) -> bool {
    gate.http("/metrics").1.lines().any(|line| line == "tollgate_stream_waiting_bytes 0")
}

#[test]
fn a_gate_that_fell_off_the_end_says_what_it_misses_and_goes_on() {
    let (sink, redis) = (sink().run(), Redis::start());
    let a = node(&redis, &sink, "n1").run();
    let mut b = node(&redis, &sink, "n2").run();
    assert_eq!(send(&a, ACCOUNT, "x@one.example"), 250);
    all_count(&[&a, &b], (1, 1));
    b.kill();
    for _ in 0..3 {
        assert_eq!(send(&a, ACCOUNT, "x@one.example"), 250);
    }
    all_count(&[&a], (4, 1));
    redis.ask(&["XTRIM", STREAM, "MAXLEN", "0"]);
    b.start();
    assert_eq!(send(&a, ACCOUNT, "x@one.example"), 250);
    let missed = b.logged("events-missed", |line| line["node"] == "n2");
    assert_eq!(missed["events"], 3, "{missed}");
    all_count(&[&a], (5, 1));
    all_count(&[&b], (2, 1));
    let report = b.json(&["report", "--period", "this-month", "--tenant", "shop.example"]);
    assert_eq!(report["head"]["events_lost"], 3, "{report}");
    for gate in [&a, &b] {
        let told = |alert: &Value| {
            alert["kind"] == "events-lost" && alert["title"].to_string().contains("n2")
        };
        wait_for("the alert", || listed(gate, &[]).iter().any(told).then_some(()));
    }
}

#[test]
fn an_alert_is_delivered_once_for_all_gates_whichever_of_them_is_killed() {
    let (sink, redis) = (sink().run(), Redis::start());
    let hook = Webhook::start(Mood::Well);
    let mut gates =
        ["n1", "n2", "n3"].map(|name| calling(node(&redis, &sink, name), hook.address()).run());
    let calls = |why: &str| {
        let of = |call: &&Value| call["condition_name"] == "suspended" && call["why"] == why;
        hook.taken().iter().filter(of).count()
    };
    for (n, gate) in gates.iter().enumerate() {
        let tenant = format!("t{n}.example");
        gate.tollgate(&["tenant", "suspend", &tenant, "--reason", "spam"]).well();
    }
    wait_for("three messages", || (calls("raised") >= 3).then_some(()));
    let all_know = |gates: &[Gate]| gates.iter().all(|gate| owed(gate) == 0);
    // Each is killed in turn, the one that leads among them.
    for n in 0..3 {
        wait_for("all to know what is delivered", || all_know(&gates).then_some(()));
        gates[n].kill();
        let other = (n + 1) % 3;
        let tenant = format!("t{n}.example");
        gates[other].tollgate(&["tenant", "resume", &tenant, "--reason", "clean"]).well();
        wait_for("its end", || (calls("resolved") > n).then_some(()));
        gates[n].start();
    }
    let taken = hook.taken();
    assert_eq!((calls("raised"), calls("resolved")), (3, 3), "{taken:#?}");
    for gate in &gates {
        let open = || listed(gate, &[]).iter().all(|alert| alert["kind"] != "suspended");
        wait_for("every gate to know that it is over", || open().then_some(()));
    }
}

#[test]
fn a_new_gate_begins_with_a_copy_of_anothers_archive() {
    let (sink, redis) = (sink().run(), Redis::start());
    let mut a = node(&redis, &sink, "n1").run();
    let b = node(&redis, &sink, "n2").run();
    assert_eq!(
        (send(&a, ACCOUNT, "x@one.example"), send(&b, ACCOUNT, "y@one.example")),
        (250, 250)
    );
    a.tollgate(&["account", "suspend", "b@shop.example", "--reason", "spam"]).well();
    all_count(&[&a, &b], (2, 2));
    audit_of(&a, 1);
    a.kill();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("archive.db");
    for ending in ["", "-wal"] {
        fs::copy(a.file(&format!("var/archive.db{ending}")), format!("{}{ending}", copy.display()))
            .unwrap();
    }
    a.start();
    assert_eq!(send(&a, ACCOUNT, "z@one.example"), 250);
    let c = node(&redis, &sink, "n3").set("archive.path", copy.to_str().unwrap()).run();
    all_count(&[&a, &b, &c], (3, 3));
    assert_eq!((chain(&a), chain(&b)), (chain(&c), chain(&c)));
    assert_eq!(traced(&c, "x@one.example"), traced(&a, "x@one.example"));
    assert_eq!(send(&c, ACCOUNT, "z@one.example"), 250);
    all_count(&[&a, &b, &c], (4, 3));
}

#[test]
fn entries_of_a_newer_version_are_not_left_out() {
    let (sink, redis) = (sink().run(), Redis::start());
    let a = node(&redis, &sink, "n1").run();
    assert_eq!(send(&a, ACCOUNT, "x@one.example"), 250);
    all_count(&[&a], (1, 1));
    // As a newer program's would be: the next entry, with another version.
    let newer = "local head = redis.call('GET', KEYS[2]) \
        local at, mark, total = string.match(head, '^(%d+):(-?%d+):(%d+)$') \
        redis.call('XADD', KEYS[1], string.format('%d-0', at + 1), 'v', '2', 'before', at .. ':' .. mark, 'mark', '7') \
        redis.call('SET', KEYS[2], string.format('%d:7:%d', at + 1, total))";
    redis.ask(&["EVAL", newer, "2", STREAM, "tollgate:1:{events}head"]);
    assert_eq!(send(&a, ACCOUNT, "y@one.example"), 250);
    wait_for("the gate to say what to do", || {
        let (code, body) = a.http("/health/ready");
        (code == 200 && body.contains("upgrade this node")).then_some(())
    });
    assert_eq!(counted(&a), (1, 1));
}

#[test]
fn one_gate_asks_blocklists_and_all_know_what_it_found() {
    let (sink, redis) = (sink().run(), Redis::start());
    let (faults, folder) = (Arc::new(Faults::new()), tempfile::tempdir().unwrap());
    let zone = ":127.0.0.2:\n127.0.0.2\n192.0.2.25\n";
    let server = Rbldnsd::start(&[("own.lists.example", "ip4set", zone)]);
    let file = list("own", "\"ipv4\"");
    let gates = ["n1", "n2"].map(|name| {
        let settings = node(&redis, &sink, name).faults(&faults);
        settings.blocklists(&folder, &file, (server.address, &["own"]), &["192.0.2.25"]).run()
    });
    let mut ahead = 0;
    let row = |gate: &Gate| gate.json(&["blocklist", "status"])["subjects"][0]["rows"][0].clone();
    wait_for("both to know of the listing", || {
        ahead += 2_000;
        faults.set_wall_clock(ahead);
        thread::sleep(Duration::from_millis(90));
        gates.iter().all(|gate| row(gate)["state"] == "listed").then_some(())
    });
    let told = |gate: &Gate| gate.log().iter().filter(|line| line["event"] == "listed").count();
    wait_for("the event", || (gates.iter().map(told).sum::<usize>() > 0).then_some(()));
    for gate in &gates {
        let listings =
            || listed(gate, &[]).iter().filter(|alert| alert["kind"] == "listed").count();
        wait_for("the alert", || (listings() == 1).then_some(()));
    }
    assert_eq!(gates.iter().map(told).sum::<usize>(), 1);
    // Each tests the list itself, through the resolver that it has.
    let tests = server.asked().iter().filter(|line| line.contains(" 2.0.0.127.own")).count();
    assert!(tests >= 2, "{tests}");
}
