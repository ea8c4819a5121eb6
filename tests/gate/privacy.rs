//! What the law asks for, of a gate that works: nothing of an erased person is in any file that it owns, and nothing else changed.

use crate::{
    audit::{audit, audit_of},
    support::{
        Client, Gate, Reply, Settings, Sink, cluster::Cluster, gate, redis::Redis, sink, wait_for,
    },
};
use flate2::read::ZlibDecoder;
use rustix::process::Signal;
use serde_json::Value;
use std::{fs, io::Read as _, path::Path, thread, time::Duration};

const PERSON: &str = "anneliese@shop.example";
/// Somebody whose address ends with the other's.
const OTHER: &str = "x-anneliese@shop.example";
const FRIEND: &str = "friend-of-anneliese@remote.example";

/// All places in the files of a folder where one of the texts stands, whatever the case of its letters; not as a part of the other's name.
fn places(folder: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(places(&path, needle));
            continue;
        }
        // Sockets cannot be read.
        let Ok(octets) = fs::read(&path) else { continue };
        let lower = octets.to_ascii_lowercase();
        let needle = needle.as_bytes();
        for at in 0..lower.len().saturating_sub(needle.len() - 1) {
            let is_here = &lower[at..at + needle.len()] == needle;
            let is_other = at >= 2 && &lower[at - 2..at] == b"x-";
            if is_here && !is_other {
                let from = at.saturating_sub(40);
                let to = (at + needle.len() + 20).min(lower.len());
                let around = String::from_utf8_lossy(&octets[from..to]).into_owned();
                found.push(format!("{} at {at}: {around:?}", path.display()));
            }
        }
    }
    found
}

fn send(client: &mut Client, from: &str, to: &str) {
    assert_eq!(client.send(from, &[to], "Subject: hello\n\ntext\n").code, 250);
}

/// What a sender hears of a recipient.
fn recipient(client: &mut Client, from: &str) -> Reply {
    client.expect(250, &format!("MAIL FROM:<{from}>"));
    client.say("RCPT TO:<d@remote.example>")
}

/// The sums of a tenant, without what names its accounts.
fn totals(gate: &Gate) -> Value {
    let report = gate.json(&["report", "--tenant", "shop.example", "--period", "today"]);
    let mut totals = report["tenant"].as_object().unwrap().clone();
    totals.retain(|key, value| !key.contains("account") && value.is_number());
    totals.into()
}

#[test]
fn an_erased_person_is_in_no_file_and_the_windows_the_suspension_and_the_sums_stay() {
    let sink = sink().run();
    let settings = gate().limit(5, "1h").next_hop(&sink);
    let mut gate = settings.run();
    let mut client = gate.client();
    (0..3).for_each(|_| send(&mut client, PERSON, FRIEND));
    // In other letters; and in somebody else's record; and refused.
    send(&mut client, "Anneliese@Shop.Example", "b@remote.example");
    send(&mut client, OTHER, PERSON);
    send(&mut client, OTHER, "b@remote.example");
    send(&mut client, PERSON, FRIEND);
    client.expect(250, &format!("MAIL FROM:<{PERSON}>"));
    client.expect(450, "RCPT TO:<c@remote.example>");
    client.expect(250, "RSET");
    gate.tollgate(&["account", "set", PERSON, "--contact", "anneliese.private@mail.example"])
        .well();
    gate.tollgate(&[
        "complaint",
        "add",
        "--account",
        PERSON,
        "--note",
        "anneliese@shop.example shouts",
    ])
    .well();
    gate.tollgate(&["account", "suspend", PERSON, "--reason", "anneliese@shop.example asked"])
        .well();
    gate.tollgate(&["trace", PERSON]).well();
    wait_for("what happened to be kept", || {
        let found = gate.tollgate(&["trace", PERSON, "--json"]).well();
        (found.lines().count() >= 6).then_some(())
    });
    audit_of(&gate, 6);
    let before = wait_for("the complaint to be counted", || {
        let totals = totals(&gate);
        (totals["complaints"] == 1).then_some(totals)
    });
    assert_eq!((&before["accepted_recipients"], &before["complaints"]), (&7.into(), &1.into()));
    let old = gate.file("old.tar");
    gate.tollgate(&["backup", old.to_str().unwrap()]).well();

    // A copy of everything first, machine-readable.
    let copy = gate.file("copy.json");
    gate.tollgate(&[
        "privacy",
        "export",
        PERSON,
        copy.to_str().unwrap(),
        "--reason",
        "asked on 2026-11-28",
    ])
    .well();
    let copied: Value = serde_json::from_slice(&fs::read(&copy).unwrap()).unwrap();
    assert!(copied["archive"]["events"].as_array().unwrap().len() >= 6, "{copied}");
    assert_eq!(copied["record"]["contact"], "anneliese.private@mail.example");
    assert!(
        copied["record"]["suspension"]["case"].is_string() && copied["last_refusal"].is_object()
    );
    fs::remove_file(&copy).unwrap();

    let refused = gate.tollgate(&["privacy", "erase", PERSON, "--reason", "asked"]);
    assert!(refused.code == 1 && refused.err.contains("say yes"), "{refused:?}");
    gate.tollgate(&["privacy", "hold", "shop.example", "--tenant", "--reason", "court order 7"])
        .well();
    let refused = gate.tollgate(&["privacy", "erase", PERSON, "--reason", "asked", "--yes"]);
    assert!(refused.code == 1 && refused.err.contains("legal hold"), "{refused:?}");
    assert_eq!(audit(&gate, &["--action", "erase-refused"]).len(), 1);
    gate.tollgate(&["privacy", "release", "shop.example", "--tenant", "--reason", "over"]).well();
    assert!(!places(&gate.file("var"), PERSON).is_empty(), "the search finds nothing at all");

    let said = gate
        .tollgate(&["privacy", "erase", PERSON, "--reason", "asked on 2026-11-28", "--yes"])
        .well();
    assert!(said.contains("old.tar"), "{said}");
    let gone = |what: &str, gate: &Gate| {
        for needle in [PERSON, FRIEND, "anneliese.private"] {
            let found = places(&gate.file("var"), needle);
            assert!(found.is_empty(), "{what}: {found:#?}");
        }
    };
    let fresh = gate.file("var/fresh.tar");
    gate.tollgate(&["backup", fresh.to_str().unwrap()]).well();
    gone("while it runs, and in a backup that is made after it", &gate);
    fs::remove_file(&fresh).unwrap();
    let verdict = gate.json(&["audit", "verify"]);
    assert_eq!(verdict["whole"], true, "{verdict}");
    assert!(verdict["erased"].as_u64().unwrap() > 10, "{verdict}");
    let refused = audit(&gate, &["--action", "erase-refused"]).remove(0);
    assert_eq!(
        (&refused["subject"], &refused["reason"]),
        (&Value::Null, &Value::Null),
        "{refused}"
    );
    assert!(
        refused["actor"].as_str().unwrap().contains("uid"),
        "who refused is an operator: {refused}"
    );
    assert_eq!(totals(&gate), before);
    let listed = gate.tollgate(&["account", "list", "--json"]).well();
    assert!(listed.contains(OTHER) && !listed.contains(&format!("\"{PERSON}\"")), "{listed}");
    // The suspension holds for whoever comes back, and the window behind it.
    let mut client = gate.client();
    let suspended = recipient(&mut client, PERSON);
    assert!(suspended.code == 550 && suspended.lines[0].contains("TG-"), "{suspended}");
    drop(client);
    gate.signal(Signal::TERM);
    assert!(gate.wait().success());
    // What came back is what was done after the erasure: one refused MAIL.
    gate.start();
    gate.tollgate(&["privacy", "erase", PERSON, "--reason", "again", "--yes"]).well();
    gate.restart();
    gone("after a restart", &gate);
    gate.tollgate(&["account", "resume", PERSON, "--reason", "it was her", "--no-probation"])
        .well();
    let mut client = gate.client();
    let full = recipient(&mut client, PERSON);
    assert!(
        full.code == 450 && full.lines[0].contains("5 of 5"),
        "erasing was a fresh limit: {full}"
    );
    drop(client);

    // A backup of before is brought up to date when it is restored.
    gate.signal(Signal::TERM);
    assert!(gate.wait().success());
    for name in ["tollgate.db", "tollgate.db-wal", "archive.db", "archive.db-wal", "archive.db-shm"]
    {
        // Not all of them are there.
        let _ = fs::remove_file(gate.file(&format!("var/{name}")));
    }
    let said = gate
        .tollgate(&["restore", old.to_str().unwrap(), "--gap", "ignore", "--reason", "test"])
        .well();
    assert!(said.contains("erased again") && said.contains('1'), "{said}");
    gone("after restoring a backup of before", &gate);
    gate.start();
    assert_eq!(gate.json(&["audit", "verify"])["whole"], true);
    let mut client = gate.client();
    assert_eq!(recipient(&mut client, PERSON).code, 550);
}

#[test]
fn what_an_authority_gets_is_of_its_period_and_stands_in_the_audit_with_its_hash() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let mut client = gate.client();
    send(&mut client, PERSON, FRIEND);
    wait_for("the event", || {
        gate.tollgate(&["trace", PERSON, "--json"]).well().lines().next().map(drop)
    });
    let disclose = |name: &str, since: &str, until: &str| {
        let file = gate.file(name);
        let arguments = [
            "privacy",
            "disclose",
            PERSON,
            file.to_str().unwrap(),
            "--authority",
            "Polda Metro Jaya",
            "--reference",
            "B/123/XI/2026",
            "--released-by",
            "Legal: D. Putri",
            "--since",
            since,
            "--until",
            until,
            "--reason",
            "order of 2026-11-20",
        ];
        let made = gate.json(&arguments);
        let copied: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        (made, copied)
    };
    let (made, copied) = disclose("in.json", "1h", "2036-01-01T00:00:00Z");
    assert!(
        copied["archive"]["events"].as_array().unwrap().iter().any(|e| e["name"] == "message"),
        "{copied}"
    );
    assert_eq!(copied["disclosure"]["authority"], "Polda Metro Jaya");
    let (_, before) = disclose("before.json", "2h", "1h");
    assert_eq!(before["archive"]["events"].as_array().unwrap().len(), 0);
    let entry = audit(&gate, &["--action", "disclosed"]).remove(0);
    let after = entry["after"].as_str().unwrap();
    for wanted in
        ["Polda Metro Jaya", "B/123/XI/2026", "D. Putri", made["sha256"].as_str().unwrap()]
    {
        assert!(after.contains(wanted), "{after}");
    }
}

#[test]
fn who_leaves_is_suspended_now_and_erased_when_the_time_is_over() {
    let sink = sink().run();
    let mut gate = gate().set("privacy.keep_closed", "1s").next_hop(&sink).run();
    let mut client = gate.client();
    send(&mut client, PERSON, FRIEND);
    send(&mut client, OTHER, "b@remote.example");
    drop(client);
    let said =
        gate.tollgate(&["tenant", "close", "shop.example", "--reason", "contract ended"]).well();
    assert!(said.contains("erased after"), "{said}");
    let report = gate.json(&["report", "--tenant", "shop.example", "--period", "today"]);
    assert_eq!(report["tenant"]["closings"][0]["subject"], "tenant shop.example", "{report}");
    let mut client = gate.client();
    assert_eq!(recipient(&mut client, OTHER).code, 550);
    drop(client);
    // It looks soon after its start.
    thread::sleep(Duration::from_secs(1));
    gate.restart();
    let left = wait_for("the tenant to have left", || audit(&gate, &["--action", "left"]).pop());
    assert_eq!(left["via"], "automatic");
    for needle in [PERSON, FRIEND, OTHER, "shop.example"] {
        let found = places(&gate.file("var"), needle);
        assert!(found.is_empty(), "{found:#?}");
    }
    assert_eq!(gate.json(&["audit", "verify"])["whole"], true);
    // It does not come back by itself.
    assert_eq!(recipient(&mut gate.client(), OTHER).code, 550);
    assert_eq!(recipient(&mut gate.client(), "new@shop.example").code, 550);
}

#[test]
fn an_erasure_that_was_refused_because_of_mail_under_way_is_not_carried_out_later() {
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    gate.tollgate(&["account", "set", PERSON, "--contact", "anneliese.private@mail.example"])
        .well();
    let mut client = gate.client();
    client.expect(250, &format!("MAIL FROM:<{PERSON}>"));
    client.expect(250, &format!("RCPT TO:<{FRIEND}>"));
    let erase = ["privacy", "erase", PERSON, "--reason", "asked", "--yes"];
    let refused = gate.tollgate(&erase);
    assert!(refused.code == 1 && refused.err.contains("under way"), "{refused:?}");
    let noted = fs::read_to_string(gate.file("var/erasures")).unwrap_or_default();
    assert_eq!(noted, "", "a backup would be erased by it");
    drop(client);
    gate.restart();
    // It looks for what was cut short soon after its start, before anything else.
    thread::sleep(Duration::from_secs(7));
    let shown = gate.tollgate(&["account", "show", PERSON]).well();
    assert!(shown.contains("anneliese.private@mail.example"), "{shown}");
    gate.tollgate(&erase).well();
    let shown = gate.tollgate(&["account", "show", PERSON]).well();
    assert!(!shown.contains("anneliese.private"), "{shown}");
}

#[test]
fn what_an_account_did_under_another_tenant_is_kept_by_a_hold_on_either() {
    let sink = sink().run();
    let mut gate = gate().set("privacy.keep_closed", "1s").next_hop(&sink).run();
    send(&mut gate.client(), PERSON, FRIEND);
    let traced = |gate: &Gate| gate.tollgate(&["trace", PERSON, "--json"]).well().lines().count();
    wait_for("the message", || (traced(&gate) == 1).then_some(()));
    gate.tollgate(&["account", "set", PERSON, "--tenant", "moved.example"]).well();
    let hold = |gate: &Gate, what: &str, who: &[&str]| {
        gate.tollgate(&[&["privacy", what], who, &["--reason", "court order 7"]].concat()).well();
    };
    // The tenant of before is held, so what it is about does not go with the account.
    hold(&gate, "hold", &["shop.example", "--tenant"]);
    let erase = ["privacy", "erase", PERSON, "--reason", "asked", "--yes"];
    let refused = gate.tollgate(&erase).badly();
    assert!(refused.contains("legal hold") && refused.contains("shop.example"), "{refused}");
    hold(&gate, "release", &["shop.example", "--tenant"]);
    // The account is held, so it does not go with the tenant of before.
    hold(&gate, "hold", &[PERSON]);
    gate.tollgate(&["tenant", "close", "shop.example", "--reason", "contract ended"]).well();
    thread::sleep(Duration::from_secs(1));
    gate.restart();
    wait_for("the refusal", || {
        let all = audit(&gate, &["--action", "erase-refused"]);
        all.into_iter().find(|entry| entry["subject"] == "tenant shop.example")
    });
    assert_eq!(traced(&gate), 1);
    hold(&gate, "release", &[PERSON]);
    gate.tollgate(&erase).well();
    assert_eq!(traced(&gate), 0);
}

#[test]
fn who_leaves_under_a_hold_stays_and_the_audit_says_so_once() {
    let sink = sink().run();
    let mut gate = gate().set("privacy.keep_closed", "1s").next_hop(&sink).run();
    let mut client = gate.client();
    send(&mut client, PERSON, FRIEND);
    send(&mut client, OTHER, FRIEND);
    drop(client);
    gate.tollgate(&["privacy", "hold", "shop.example", "--tenant", "--reason", "court order 7"])
        .well();
    gate.tollgate(&["tenant", "close", "shop.example", "--reason", "contract ended"]).well();
    thread::sleep(Duration::from_secs(1));
    gate.restart();
    let refused = wait_for("the refusal", || {
        let found = audit(&gate, &["--action", "erase-refused"]);
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["subject"], "tenant shop.example");
    assert_eq!(refused[0]["after"], "a legal hold on tenant shop.example");
    assert!(audit(&gate, &["--action", "left"]).is_empty());
    assert!(!places(&gate.file("var"), PERSON).is_empty());
}

#[test]
fn recipients_can_stand_in_the_log_as_hashes_and_are_found_in_the_archive_all_the_same() {
    let sink = sink().run();
    let gate = gate().set("privacy.log_recipients", "hashed").next_hop(&sink).run();
    let mut client = gate.client();
    send(&mut client, PERSON, FRIEND);
    send(&mut client, OTHER, FRIEND);
    wait_for("two lines", || {
        (gate.log_text().matches("event\":\"message\"").count() == 2).then_some(())
    });
    assert!(!gate.log_text().contains(FRIEND), "{}", gate.log_text());
    let to = |line: &Value| line["to"][0]["to"].as_str().unwrap().to_owned();
    let lines: Vec<Value> =
        gate.log().into_iter().filter(|line| line["event"] == "message").collect();
    assert_eq!(to(&lines[0]), to(&lines[1]));
    assert_eq!(to(&lines[0]).len(), 16);
    wait_for("the messages", || {
        let found = gate.tollgate(&["trace", FRIEND, "--json"]).well();
        (found.lines().count() == 2 && found.contains(FRIEND)).then_some(())
    });
}

/// Whatever is deflated somewhere in these octets, as text: so gates tell one another what happened.
fn inflated(octets: &[u8]) -> String {
    let mut text = String::new();
    for at in 0..octets.len().saturating_sub(1) {
        // RFC 1950 §2.2, with the levels of flate2.
        if octets[at] == 0x78 && [0x01, 0x5e, 0x9c, 0xda].contains(&octets[at + 1]) {
            let mut whole = Vec::new();
            // What is cut off by a page's end is read up to there.
            let _ = ZlibDecoder::new(&octets[at..]).take(1 << 20).read_to_end(&mut whole);
            text.push_str(&String::from_utf8_lossy(&whole));
        }
    }
    text
}

/// The same of all files of a folder.
fn inflated_in(folder: &Path) -> String {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        if path.is_dir() {
            inflated_in(&path)
        } else {
            inflated(&fs::read(path).unwrap_or_default())
        }
    };
    paths.map(read).collect()
}

/// Everything that Redis holds, as text, and what it writes to its disk.
fn dump(redis: &Redis) -> String {
    assert_eq!(redis.ask(&["CONFIG", "SET", "rdbcompression", "no"]), "OK");
    assert_eq!(redis.ask(&["SAVE"]), "OK");
    let octets = fs::read(redis.path("dump.rdb")).unwrap();
    let mut text = String::from_utf8_lossy(&octets).into_owned() + &inflated(&octets);
    for key in redis.ask(&["KEYS", "*"]).lines().filter(|key| !key.is_empty()) {
        text.push_str(key);
        let read: &[&str] = match redis.ask(&["TYPE", key]).as_str() {
            "string" => &["GET", key],
            "hash" => &["HGETALL", key],
            "stream" => &["XRANGE", key, "-", "+"],
            other => panic!("{key} is a {other}"),
        };
        text.push_str(&redis.ask(read));
        text.push('\n');
    }
    text
}

#[test]
fn an_account_that_gates_share_is_erased_from_redis_and_its_window_and_suspension_hold_at_every_gate()
 {
    let redis = Redis::start();
    let dump_of_redis = || dump(&redis);
    erased_everywhere(|settings| settings.set("store.redis", redis.url()), dump_of_redis);
}

#[test]
fn the_key_of_erased_names_is_drawn_once_and_another_one_is_refused_where_names_are_known() {
    const KEY: &str = "tollgate:1:{records}erasure-key";
    let (sink, redis) = (sink().run(), Redis::start());
    let run = || gate().limit(5, "1h").next_hop(&sink).set("store.redis", redis.url()).run();
    let (mut one, two) = (run(), run());
    (0..5).for_each(|_| send(&mut one.client(), PERSON, FRIEND));
    one.tollgate(&["privacy", "erase", PERSON, "--reason", "asked", "--yes"]).well();
    assert_eq!(recipient(&mut two.client(), PERSON).code, 450);
    // A Redis that lost everything has it again from whoever knows it, before anybody else can put one there.
    let key = |gate: &Gate| -> Vec<u8> {
        let store = rusqlite::Connection::open(gate.file("copy/tollgate.db")).unwrap();
        let sql = "SELECT value FROM meta WHERE name = 'erasure_key'";
        store.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let copied = |gate: &Gate| {
        fs::create_dir_all(gate.file("copy")).unwrap();
        for name in ["tollgate.db", "tollgate.db-wal"] {
            let from = gate.file(&format!("var/{name}"));
            if from.exists() {
                fs::copy(from, gate.file(&format!("copy/{name}"))).unwrap();
            }
        }
        key(gate)
    };
    assert_eq!((copied(&one), copied(&one).len()), (copied(&two), 32));
    redis.ask(&["FLUSHALL"]);
    wait_for("the key to be there again", || (redis.ask(&["EXISTS", KEY]) == "1").then_some(()));
    let three = run();
    wait_for("it to have read the records", || {
        (three.http("/health/ready").0 == 200).then_some(())
    });
    assert_eq!(copied(&three), copied(&one));
    // Another one makes other names, so whoever knows any goes no further, and says what to do.
    redis.ask(&["SET", KEY, "0123456789abcdef0123456789abcdef"]);
    one.kill();
    one.try_start().unwrap();
    let told = one.logged("diagnostic", |line| line["error"].to_string().contains("delete"));
    assert!(told["error"].to_string().contains("another key of erased names"), "{told}");
    assert_eq!(one.http("/health/ready").0, 503);
    redis.ask(&["DEL", KEY]);
    wait_for("the gate to be ready", || (one.http("/health/ready").0 == 200).then_some(()));
}

#[test]
fn an_account_is_erased_from_a_cluster_whose_slots_have_its_windows_and_its_record() {
    let cluster = Cluster::start();
    let shared = |settings: Settings| {
        let settings = settings.set("store.redis", "redis://nobody.invalid");
        settings.set("store.redis_cluster", cluster.places())
    };
    erased_everywhere(shared, || cluster.masters.iter().map(dump).collect());
}

fn erased_everywhere(shared: impl Fn(Settings) -> Settings, dump: impl Fn() -> String) {
    let sink = sink().run();
    let [one, two] = ["n1", "n2"].map(|name| {
        let settings = gate().limit(5, "1h").next_hop(&sink).set("store.redis_node", name);
        shared(settings).run()
    });
    let mut client = one.client();
    (0..3).for_each(|_| send(&mut client, PERSON, FRIEND));
    send(&mut client, OTHER, PERSON);
    drop(client);
    let mut client = two.client();
    (0..2).for_each(|_| send(&mut client, PERSON, FRIEND));
    send(&mut client, OTHER, "b@remote.example");
    // Refused there, so the other gate has that in its own store.
    client.expect(250, &format!("MAIL FROM:<{PERSON}>"));
    client.expect(450, "RCPT TO:<c@remote.example>");
    drop(client);
    one.tollgate(&["account", "suspend", PERSON, "--reason", "anneliese@shop.example asked"])
        .well();
    let both = [&one, &two];
    for gate in both {
        wait_for("the gate to know", || {
            let found = gate.tollgate(&["trace", PERSON, "--json"]).well();
            let suspended = gate.tollgate(&["account", "show", PERSON]).well().contains("TG-");
            (suspended && found.lines().count() >= 6).then_some(())
        });
    }
    let before = totals(&one);
    assert_eq!(before["accepted_recipients"], 7);
    assert_eq!(totals(&two), before);
    assert!(dump().replace(OTHER, "").contains(PERSON), "{}", dump());

    two.tollgate(&["privacy", "hold", PERSON, "--reason", "court order 7"]).well();
    let erase = ["privacy", "erase", PERSON, "--reason", "asked on 2026-11-28", "--yes"];
    let refused = one.tollgate(&erase).badly();
    assert!(refused.contains("legal hold"), "{refused}");
    for gate in both {
        wait_for("the refusal in the audit", || {
            (audit(gate, &["--action", "erase-refused"]).len() == 1).then_some(())
        });
    }
    one.tollgate(&["privacy", "release", PERSON, "--reason", "over"]).well();
    let in_stream = dump().replace(OTHER, "").matches(PERSON).count();
    assert!(in_stream > 3, "{in_stream}");
    for gate in both {
        assert!(!places(&gate.file("var"), PERSON).is_empty(), "the search finds nothing at all");
    }

    let said = one.json(&erase);
    assert_eq!(said["waiting"], serde_json::json!([]), "{said}");
    let gone = |what: &str| {
        for needle in [PERSON, FRIEND] {
            for gate in both {
                let found = places(&gate.file("var"), needle);
                assert!(found.is_empty(), "{what}: {found:#?}");
                let deflated = inflated_in(&gate.file("var")).replace(OTHER, "");
                assert!(!deflated.contains(needle), "{what}: {deflated}");
            }
        }
        let left = dump().replace(OTHER, "").to_lowercase();
        assert!(!left.contains("anneliese"), "{what}: {left}");
    };
    gone("after the erasure");
    for gate in both {
        assert_eq!(totals(gate), before);
        assert_eq!(gate.json(&["audit", "verify"])["whole"], true);
        wait_for("it in the audit", || {
            (audit(gate, &["--action", "erased"]).len() == 1).then_some(())
        });
    }
    let chain = |gate: &Gate| -> Vec<Value> {
        audit(gate, &[]).into_iter().map(|entry| entry["hash"].clone()).collect()
    };
    wait_for("the same audit", || (chain(&one) == chain(&two)).then_some(()));

    // What was under way in the other gate's records is not asked for under the old name.
    for gate in [&two, &one] {
        let heard = recipient(&mut gate.client(), PERSON);
        assert!(heard.code == 550 && heard.lines[0].contains("TG-"), "{heard}");
    }
    two.tollgate(&["account", "resume", PERSON, "--reason", "it was her", "--no-probation"]).well();
    for gate in both {
        let full = wait_for("the suspension to be over", || {
            let heard = recipient(&mut gate.client(), PERSON);
            (heard.code != 550).then_some(heard)
        });
        assert!(
            full.code == 450 && full.lines[0].contains("5 of 5"),
            "erasing was a fresh limit: {full}"
        );
    }
    // Somebody else's is as it was, and whoever came back is erased again.
    send(&mut one.client(), OTHER, FRIEND);
    two.tollgate(&erase).well();
    let left = dump().replace(OTHER, "").to_lowercase().replace(FRIEND, "");
    assert!(!left.contains("anneliese"), "{left}");
    for gate in both {
        let found = places(&gate.file("var"), PERSON);
        assert!(found.is_empty(), "{found:#?}");
        assert_eq!(gate.json(&["audit", "verify"])["whole"], true);
    }
    assert_eq!(recipient(&mut two.client(), PERSON).code, 450);

    // What is under way of somebody who came back is seen, though it has another name.
    let back = "back@shop.example";
    send(&mut one.client(), back, "b@remote.example");
    let erase = ["privacy", "erase", back, "--reason", "asked", "--yes"];
    two.tollgate(&erase).well();
    let mut client = one.client();
    client.expect(250, &format!("MAIL FROM:<{back}>"));
    client.expect(250, "RCPT TO:<b@remote.example>");
    let refused = two.tollgate(&erase).badly();
    assert!(refused.contains("under way"), "{refused}");
    client.expect(250, "RSET");
    two.tollgate(&erase).well();
}

fn node(redis: &Redis, sink: &Sink, name: &str) -> Settings {
    let settings = gate().limit(50, "1h").next_hop(sink).set("store.redis", redis.url());
    settings.set("store.redis_node", name)
}

/// How many rows a gate's archive has of something.
fn rows(gate: &Gate, from: &str) -> u32 {
    let archive = rusqlite::Connection::open(gate.file("var/archive.db")).unwrap();
    archive.query_row(&format!("SELECT count(*) FROM {from}"), [], |row| row.get(0)).unwrap()
}

/// The gate waits for nobody who has still to say which holds stand.
#[track_caller]
fn knows_holds(gate: &Gate) {
    let own = "kept_asked JOIN stream_self ON asker IN ('', node)";
    wait_for("it to know which holds stand", || (rows(gate, own) == 0).then_some(()));
}

#[track_caller]
fn erased_at(gates: &[&Gate], needles: &[&str]) {
    for gate in gates {
        wait_for("the erasure to end", || (rows(gate, "erasing") == 0).then_some(()));
        for needle in needles {
            let found = places(&gate.file("var"), needle);
            assert!(found.is_empty(), "{found:#?}");
        }
        assert_eq!(gate.json(&["audit", "verify"])["whole"], true);
    }
}

/// The gates know that somebody sent something.
fn known(gates: &[&Gate], person: &str) {
    for gate in gates {
        wait_for("the gate to know", || {
            let found = gate.tollgate(&["trace", person, "--json"]).well();
            (found.lines().count() > 0).then_some(())
        });
    }
}

#[test]
fn an_erasure_at_all_gates_goes_on_after_a_kill_and_waits_for_who_is_away() {
    let (sink, redis) = (sink().run(), Redis::start());
    let [mut one, mut two] = ["n1", "n2"].map(|name| node(&redis, &sink, name).run());
    send(&mut one.client(), PERSON, FRIEND);
    known(&[&one, &two], PERSON);
    two.kill();
    let erase = ["privacy", "erase", PERSON, "--reason", "asked", "--yes"];
    thread::scope(|scope| {
        scope.spawn(|| one.tollgate(&erase));
        wait_for("it to be under way", || (rows(&one, "erasing") == 1).then_some(()));
        one.signal(Signal::KILL);
    });
    let _killed = one.wait();
    one.start();
    wait_for("the first gate's part", || {
        (rows(&one, "erasing_told WHERE node = 'n1' AND part = 1") == 1).then_some(())
    });
    // The other one is away, and has it all yet.
    assert!(!places(&two.file("var"), PERSON).is_empty());
    assert_eq!(rows(&one, "erasing WHERE stage = 1"), 1);
    // Whoever comes with a hold is too late, and with the same wish, too.
    let late = one.tollgate(&["privacy", "hold", PERSON, "--reason", "court order 9"]).badly();
    assert!(late.contains("is being erased"), "{late}");
    let again = one.tollgate(&erase).badly();
    assert!(again.contains("already"), "{again}");
    two.start();
    erased_at(&[&one, &two], &[PERSON, FRIEND]);
    assert_eq!(audit(&two, &["--action", "erased"]).len(), 1);
    let left = dump(&redis).to_lowercase();
    assert!(!left.contains("anneliese"), "{left}");
    one.tollgate(&["privacy", "hold", PERSON, "--reason", "court order 9"]).well();
}

#[test]
fn who_leaves_is_erased_at_all_gates_when_the_time_is_over() {
    let (sink, redis) = (sink().run(), Redis::start());
    let [one, mut two] =
        ["n1", "n2"].map(|name| node(&redis, &sink, name).set("privacy.keep_closed", "1s").run());
    send(&mut one.client(), PERSON, FRIEND);
    send(&mut two.client(), OTHER, "b@remote.example");
    known(&[&one, &two], PERSON);
    known(&[&one, &two], OTHER);
    one.tollgate(&["tenant", "close", "shop.example", "--reason", "contract ended"]).well();
    // It looks soon after its start, once the time is over.
    thread::sleep(Duration::from_secs(1));
    two.restart();
    for gate in [&one, &two] {
        knows_holds(gate);
    }
    for gate in [&one, &two] {
        wait_for("the tenant to have left", || audit(gate, &["--action", "left"]).pop());
    }
    erased_at(&[&one, &two], &[PERSON, FRIEND, OTHER, "shop.example"]);
    assert_eq!(audit(&one, &["--action", "left"]).len(), 1);
    for gate in [&one, &two] {
        assert_eq!(recipient(&mut gate.client(), OTHER).code, 550);
    }
}

#[test]
fn a_gate_that_was_away_for_too_long_erases_what_was_erased_meanwhile() {
    let (sink, redis) = (sink().run(), Redis::start());
    let [one, mut two] = ["n1", "n2"].map(|name| node(&redis, &sink, name).run());
    send(&mut one.client(), PERSON, FRIEND);
    known(&[&one, &two], PERSON);
    two.kill();
    let archive = rusqlite::Connection::open(one.file("var/archive.db")).unwrap();
    archive.busy_timeout(Duration::from_secs(10)).unwrap();
    let long_ago = "UPDATE stream_origins SET until = until - 90000000 WHERE node = 'n2'";
    assert!(archive.execute(long_ago, []).unwrap() > 0);
    drop(archive);
    let said = one.json(&["privacy", "erase", PERSON, "--reason", "asked on 2026-11-28", "--yes"]);
    assert_eq!(said["waiting"], serde_json::json!([]), "{said}");
    // Whoever comes back after it is somebody new.
    send(&mut one.client(), PERSON, "b@remote.example");
    known(&[&one], PERSON);
    assert!(!places(&two.file("var"), FRIEND).is_empty());
    two.start();
    two.logged("events-missed", |line| line["node"] == "n2");
    knows_holds(&two);
    wait_for("it to be gone", || places(&two.file("var"), FRIEND).is_empty().then_some(()));
    for gate in [&one, &two] {
        wait_for("the audit to say so", || {
            let verdict = gate.tollgate(&["audit", "verify", "--json"]);
            verdict.out.contains("\"whole\": true").then_some(())
        });
    }
    assert!(one.tollgate(&["trace", PERSON, "--json"]).well().lines().count() > 0);
}

#[test]
fn a_gate_that_alone_knows_a_hold_keeps_whom_it_keeps_and_the_erasure_ends() {
    let (sink, redis) = (sink().run(), Redis::start());
    let [one, two] = ["n1", "n2"].map(|name| node(&redis, &sink, name).run());
    send(&mut one.client(), PERSON, FRIEND);
    known(&[&one, &two], PERSON);
    // What the one that was asked would hear of it, it has heard.
    [&one, &two].into_iter().for_each(knows_holds);
    let archive = rusqlite::Connection::open(two.file("var/archive.db")).unwrap();
    archive.busy_timeout(Duration::from_secs(10)).unwrap();
    let hold = "INSERT INTO holds (subject, at, reason, actor) \
                SELECT id, 1, 'court order 7', 'op' FROM names WHERE name = ?1";
    assert_eq!(archive.execute(hold, [PERSON]).unwrap(), 1);
    drop(archive);
    let erased = one.tollgate(&["privacy", "erase", PERSON, "--reason", "asked", "--yes"]);
    // The gate that knows the hold may or may not be faster than the one that was asked.
    let is_given_up = erased.code == 1 && erased.err.contains("given up");
    assert!(is_given_up || erased.code == 0, "{erased:?}");
    for gate in [&one, &two] {
        wait_for("the erasure to end", || (rows(gate, "erasing") == 0).then_some(()));
    }
    assert!(!places(&two.file("var"), FRIEND).is_empty());
    assert!(two.tollgate(&["trace", PERSON, "--json"]).well().lines().count() > 0);
    assert_eq!(places(&one.file("var"), FRIEND).is_empty(), !is_given_up);
    two.logged("diagnostic", |line| line.to_string().contains("legal hold"));
}

#[test]
fn a_gate_that_is_new_erases_nobody_before_it_knows_which_holds_stand() {
    let (sink, redis) = (sink().run(), Redis::start());
    let mut one = node(&redis, &sink, "n1").run();
    send(&mut one.client(), PERSON, FRIEND);
    known(&[&one], PERSON);
    one.tollgate(&["privacy", "hold", PERSON, "--reason", "court order 9"]).well();
    one.tollgate(&["account", "close", OTHER, "--reason", "contract ended"]).well();
    one.kill();
    // What was told of before is gone, so nobody who comes reads of the hold.
    redis.ask(&["XTRIM", "tollgate:1:{events}stream", "MAXLEN", "0"]);

    let mut two = node(&redis, &sink, "n2").run();
    let erase = ["privacy", "erase", PERSON, "--reason", "asked", "--yes"];
    let early = two.tollgate(&erase).badly();
    assert!(early.contains("which legal holds stand"), "{early}");
    // One that does not know either is no help.
    let three = node(&redis, &sink, "n3").run();
    let early = three.tollgate(&erase).badly();
    assert!(early.contains("which legal holds stand"), "{early}");
    one.start();
    let held = |gate: &Gate| {
        wait_for("the hold", || {
            let why = gate.tollgate(&erase).badly();
            why.contains("court order 9").then_some(())
        });
        assert_eq!(rows(gate, "closings"), 1);
        assert_eq!(rows(gate, "erasing"), 0);
    };
    held(&two);
    held(&three);
    drop(three);
    knows_holds(&two);

    // One that was away for longer than the stream reaches back asks as well, whatever is wanted of it first.
    two.kill();
    one.tollgate(&["account", "close", OTHER, "--undo", "--reason", "stays"]).well();
    let hold = ["privacy", "hold", "shop.example", "--tenant", "--reason", "court order 10"];
    one.tollgate(&hold).well();
    redis.ask(&["XTRIM", "tollgate:1:{events}stream", "MAXLEN", "0"]);
    two.start();
    let why = two.tollgate(&["privacy", "erase", OTHER, "--reason", "asked", "--yes"]).badly();
    assert!(why.contains("court order 10"), "{why}");
    assert_eq!(rows(&two, "closings"), 0);
    knows_holds(&two);
    for gate in [&one, &two] {
        assert_eq!(rows(gate, "erasing"), 0);
        assert_eq!(gate.json(&["audit", "verify"])["whole"], true);
    }
}

#[test]
fn repeated_suspensions_propose_to_cancel_the_tenant_and_do_not_do_it() {
    let sink = sink().run();
    let gate = gate().set("offences.repeated", 2).next_hop(&sink).run();
    for account in ["a@shop.example", "b@shop.example"] {
        gate.tollgate(&["account", "suspend", account, "--reason", "sends spam"]).well();
    }
    let line = gate.logged("cancel-proposed", |line| line["tenant"] == "shop.example");
    assert!(line["why"].as_str().unwrap().contains("2 suspensions"), "{line}");
    wait_for("the alert", || {
        gate.tollgate(&["alert", "list"]).well().contains("cancel-proposed").then_some(())
    });
    let view = gate.json(&["offences", "shop.example"]);
    assert!(
        view["proposal"].is_string() && view["offences"].as_array().unwrap().len() == 2,
        "{view}"
    );
    // Nobody is cancelled by that, and what was a mistake counts no more.
    let mut client = gate.client();
    send(&mut client, "c@shop.example", FRIEND);
    let number = view["offences"][0]["number"].to_string();
    let said = gate
        .tollgate(&["offences", "shop.example", "--withdraw", &number, "--reason", "was not spam"])
        .well();
    assert!(said.contains("no proposal") && said.contains("(withdrawn)"), "{said}");
}
