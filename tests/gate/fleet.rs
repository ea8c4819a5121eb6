//! Several gates have the same records: what is decided at one of them holds at the others, from the next message on.

use crate::{
    alerts::listed,
    audit::{audit, audit_of},
    operators::limit,
    standings::{spam, wary},
    support::{Client, Gate, Settings, Sink, at_once, gate, redis::Redis, sink, wait_for},
};
use serde_json::Value;
use std::thread;

const ACCOUNT: &str = "a@shop.example";
const SOMEONE: &str = "RCPT TO:<someone@remote.example>";

fn node(redis: &Redis, sink: &Sink) -> Settings {
    gate().limit(50, "1h").next_hop(sink).set("store.redis", redis.url())
}

fn two_nodes(redis: &Redis, sink: &Sink) -> [Gate; 2] {
    [(); 2].map(|()| node(redis, sink).run())
}

/// What a message hears, at its recipient or at its end.
fn send(gate: &Gate) -> u16 {
    let mut client = gate.client();
    client.expect(250, &format!("MAIL FROM:<{ACCOUNT}>"));
    let reply = client.say(SOMEONE);
    if reply.code == 250 { client.text("Subject: x\n\ntext\n").code } else { reply.code }
}

fn suspend(gate: &Gate) {
    gate.tollgate(&["account", "suspend", ACCOUNT, "--reason", "spam wave"]).well();
}

fn resume(gate: &Gate) {
    let command = ["account", "resume", ACCOUNT, "--reason", "clean", "--no-probation"];
    gate.tollgate(&command).well();
}

fn begun(gate: &Gate) -> Client {
    let mut client = gate.client();
    client.expect(250, &format!("MAIL FROM:<{ACCOUNT}>"));
    client
}

#[test]
fn a_suspension_or_its_end_holds_for_the_next_message_at_every_gate() {
    let (sink, redis) = (sink().run(), Redis::start());
    let [a, b] = two_nodes(&redis, &sink);
    for _ in 0..3 {
        suspend(&a);
        assert_eq!(send(&b), 550);
        resume(&b);
        assert_eq!((send(&a), send(&b)), (250, 250));
    }
    // A gate that heard of it only after MAIL; and one whose message had begun.
    let (mut waits, mut goes_on) = (begun(&b), begun(&b));
    goes_on.expect(250, SOMEONE);
    suspend(&a);
    let refusal = waits.expect(550, SOMEONE);
    let case = a.json(&["account", "show", ACCOUNT])["case"].clone();
    assert!(refusal.text().contains(case.as_str().unwrap()), "{refusal}");
    waits.expect(250, "RCPT TO:<abuse@provider.example>");
    goes_on.expect(250, "RCPT TO:<other@remote.example>");
    assert_eq!(goes_on.text("Subject: x\n\ntext\n").code, 250);
    let mut waits = begun(&a);
    resume(&b);
    waits.expect(250, SOMEONE);
    assert_eq!(waits.text("Subject: x\n\ntext\n").code, 250);
}

#[test]
fn overrides_plans_and_tenants_that_one_gate_is_told_hold_at_the_others() {
    let (sink, redis) = (sink().run(), Redis::start());
    let large =
        "limits = [{ scope = \"account\", unit = \"recipients\", window = \"1h\", max = 4 }]";
    let large: toml::Table = large.parse().unwrap();
    let node = || {
        let limits = large["limits"].clone();
        node(&redis, &sink).limit_instead(2, "1h").set("plan.large.limits", limits).run()
    };
    let (a, b) = (node(), node());
    assert_eq!(b.client().send_until_refused(ACCOUNT, 9).0, 2);
    let mut waits = begun(&b);
    a.tollgate(&["account", "set", ACCOUNT, "--plan", "large", "--tenant", "customer-17"]).well();
    waits.expect(250, SOMEONE);
    assert_eq!(waits.text("Subject: x\n\ntext\n").code, 250);
    assert_eq!(b.client().send_until_refused(ACCOUNT, 9).0, 1);
    let command = ["--limit", "account recipients 1h=7", "--reason", "newsletter"];
    a.tollgate(&[&["account", "set", ACCOUNT][..], &command].concat()).well();
    assert_eq!(b.client().send_until_refused(ACCOUNT, 9).0, 3);
    let explained = b.json(&["explain", ACCOUNT]);
    assert_eq!(
        (&explained["plan"], &explained["tenant"]),
        (&"large".into(), &"customer-17".into())
    );
    assert_eq!(limit(&explained, "account", "1 h")["source_reason"], "newsletter");
}

#[test]
fn a_message_that_is_charged_as_a_whole_reads_records_again_too() {
    let (sink, redis) = (sink().run(), Redis::start());
    let headers = "relay = true\nidentity_headers = [\"x-auth-user\"]";
    let b = node(&redis, &sink).evidence(&["x-auth-user"]).trust(headers).run();
    let mut client = b.client();
    client.expect(250, "MAIL FROM:<>");
    client.expect(250, SOMEONE);
    client.expect(354, "DATA");
    // Changes of which nothing is told anywhere: the gate finds out with its last look.
    redis.ask(&["SET", "tollgate:1:{records}head", "99:7"]);
    let reply = client.say(&format!("X-Auth-User: {ACCOUNT}\r\n\r\ntext\r\n."));
    assert_eq!(reply.code, 250, "{reply}");
    // It has read all of them by now, and not when it would have looked by itself.
    assert!(redis.ask(&["INFO", "commandstats"]).contains("cmdstat_hscan:"));
    let is_told = |line: &Value| line["message"].to_string().contains("all were read anew");
    b.logged("diagnostic", is_told);
    assert_eq!(redis.ask(&["GET", "tollgate:1:{records}head"]), "99:7");
}

#[test]
fn what_rules_suspend_at_one_gate_is_suspended_at_all_and_ends_once() {
    let (sink, redis, folder) = (sink().run(), Redis::start(), tempfile::tempdir().unwrap());
    let node = || {
        let settings = wary(folder.path(), [0.1, 0.2, 0.3]).set("suspension.suspended_for", "3s");
        settings.next_hop(&sink).set("store.redis", redis.url()).run()
    };
    let gates = [node(), node(), node()];
    spam(&gates[0]);
    let suspended = gates[0].logged("suspended", |line| line["account"] == ACCOUNT);
    let case = suspended["case"].as_str().unwrap();
    let mut client = begun(&gates[1]);
    assert!(client.expect(550, SOMEONE).text().contains(case));
    let shown = gates[2].json(&["case", "show", case]);
    assert_eq!(shown["messages"][0]["recipients"], 2, "{shown}");
    let actions = |gate: &Gate| -> Vec<String> {
        let entries = audit_of(gate, 2);
        entries.iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
    };
    for gate in &gates {
        let told = actions(gate);
        assert_eq!(told.iter().filter(|action| *action == "suspended").count(), 1, "{told:?}");
        assert_eq!(told.iter().filter(|action| *action == "resumed").count(), 1, "{told:?}");
    }
    let ended = |gate: &&Gate| gate.log().iter().any(|line| line["event"] == "resumed");
    let told = || Some(gates.iter().filter(ended).count()).filter(|&count| count > 0);
    assert_eq!(wait_for("one to tell of the end", told), 1);
}

#[test]
fn an_alert_about_a_suspension_is_over_where_it_was_raised_though_another_gate_lifts_it() {
    let (sink, redis) = (sink().run(), Redis::start());
    let [a, b] = two_nodes(&redis, &sink);
    let alerts = |gate: &Gate| -> Vec<Value> {
        let lasting = listed(gate, &[]).into_iter();
        lasting.filter(|alert| alert["kind"] == "suspended").collect()
    };
    suspend(&a);
    wait_for("the alert", || (alerts(&a).len() == 1).then_some(()));
    resume(&b);
    wait_for("its end", || alerts(&a).is_empty().then_some(()));
}

#[test]
fn records_outlast_gates_that_are_killed_and_a_redis_that_is_restarted() {
    let (sink, mut redis) = (sink().run(), Redis::durable());
    let [a, mut b] = two_nodes(&redis, &sink);
    suspend(&a);
    let case = a.json(&["account", "show", ACCOUNT])["case"].clone();
    assert_eq!(send(&b), 550);
    redis.kill();
    let why = a.tollgate(&["account", "resume", ACCOUNT, "--reason", "too early"]).badly();
    assert!(why.contains("store"), "{why}");
    // It starts without Redis: what it knew can be read, and no mail passes.
    b.kill();
    b.try_start().unwrap();
    assert_eq!(b.http("/health/ready").0, 503);
    assert_eq!(b.json(&["case", "show", case.as_str().unwrap()])["present"], true);
    b.client().expect(451, "MAIL FROM:<other@shop.example>");
    redis.start_again();
    for gate in [&a, &b] {
        wait_for("the gate to be ready", || (gate.http("/health/ready").0 == 200).then_some(()));
        assert_eq!(send(gate), 550);
    }
    // A gate that was away while the change was made, and while everybody forgot that it was.
    b.kill();
    resume(&a);
    redis.ask(&["XTRIM", "tollgate:1:{records}changes", "MAXLEN", "0"]);
    b.start();
    assert_eq!(send(&b), 250);
    suspend(&b);
    assert_eq!(send(&a), 550);
    // What was in Redis is not the only copy.
    redis.ask(&["FLUSHALL"]);
    for gate in [&a, &b] {
        let refused = || Some(send(gate)).filter(|&code| code != 451);
        assert_eq!(wait_for("an answer that is not 451", refused), 550);
    }
    assert_eq!(redis.ask(&["HLEN", "tollgate:1:{records}subjects"]), "1");
}

#[test]
fn of_operators_at_two_gates_at_once_nobody_undoes_what_another_did() {
    let (sink, redis) = (sink().run(), Redis::start());
    let gates = two_nodes(&redis, &sink);
    let made = at_once(8, |n| {
        let gate = &gates[n % 2];
        let limit = format!("account recipients {}h={}", n + 2, n + 100);
        let set = ["account", "set", ACCOUNT, "--limit", &limit, "--reason", "asked"];
        gate.tollgate(&set).well();
        gate.tollgate(&["account", "suspend", ACCOUNT, "--reason", "me first"]).code == 0
    });
    assert_eq!(made.iter().filter(|&&made| made).count(), 1);
    for gate in &gates {
        let shown = gate.json(&["account", "show", ACCOUNT]);
        assert_eq!(shown["overrides"].as_array().unwrap().len(), 8, "{shown}");
        assert_eq!(shown["state"], "suspended");
        // All eight may have registered it, so how many entries there are says nothing.
        let entries = wait_for("all of it in the audit", || {
            let entries = audit_of(gate, 10);
            let others = entries.iter().filter(|entry| entry["action"] != "registered").count();
            (others >= 9).then_some(entries)
        });
        let count = |action: &str| entries.iter().filter(|entry| entry["action"] == action).count();
        assert_eq!((count("limit-set"), count("suspended")), (8, 1), "{entries:?}");
    }
    let keys = |gate: &Gate| -> Vec<String> {
        let entries = audit(gate, &[]);
        entries.iter().map(|entry| entry["key"].to_string()).collect()
    };
    assert_eq!(keys(&gates[0]), keys(&gates[1]), "in the same order");
}

#[test]
fn while_operators_are_busy_mail_of_others_flows() {
    let (sink, redis) = (sink().run(), Redis::start());
    let [a, b] = two_nodes(&redis, &sink);
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for n in 0..40 {
                a.tollgate(&["account", "set", &format!("n{n}@busy.example")]).well();
            }
        });
        let mut passed = 0;
        while !busy.is_finished() {
            let mut client = b.client();
            let account = format!("m{passed}@shop.example");
            assert_eq!(client.send(&account, &["someone@remote.example"], "text").code, 250);
            passed += 1;
        }
        assert!(passed > 10, "{passed} passed");
    });
}

/// What of an answer is the same at every gate: an offence's number is each one's own.
fn offences(gate: &Gate) -> Value {
    let mut view = gate.json(&["offences", "shop.example"]);
    for offence in view["offences"].as_array_mut().unwrap() {
        offence.as_object_mut().unwrap().remove("number");
    }
    view
}

fn closings(gate: &Gate) -> Value {
    gate.json(&["report", "--tenant", "shop.example", "--period", "today"])["tenant"]["closings"]
        .clone()
}

#[test]
fn a_hold_a_closing_and_a_withdrawn_offence_are_the_fleets_and_audited_alike() {
    let (sink, mut redis) = (sink().run(), Redis::durable());
    let [a, b] = [(); 2].map(|()| node(&redis, &sink).set("offences.repeated", 2).run());
    let erase = ["privacy", "erase", ACCOUNT, "--reason", "asked", "--yes"];
    let release = ["privacy", "release", "shop.example", "--tenant", "--reason", "over"];
    // The command has ended, so the next one knows, wherever it is given.
    for _ in 0..3 {
        a.tollgate(&["privacy", "hold", "shop.example", "--tenant", "--reason", "court order 7"])
            .well();
        let refused = b.tollgate(&erase).badly();
        assert!(refused.contains("legal hold") && refused.contains("court order 7"), "{refused}");
        b.tollgate(&release).well();
    }
    let refused = a.tollgate(&release).badly();
    assert!(refused.contains("no legal hold on tenant shop.example"), "{refused}");

    let closed = ["account", "close", ACCOUNT, "--reason", "contract ended"];
    a.tollgate(&closed).well();
    wait_for("the other gate to show who leaves", || {
        (closings(&b)[0]["subject"] == format!("account {ACCOUNT}")).then_some(())
    });
    assert_eq!(closings(&a), closings(&b));
    b.tollgate(&[&closed[..], &["--undo"]].concat()).well();
    wait_for("it to stay", || closings(&a).as_array().is_none_or(Vec::is_empty).then_some(()));
    let refused = a.tollgate(&[&closed[..], &["--undo"]].concat()).badly();
    assert!(refused.contains("is not closed"), "{refused}");

    for account in ["b@shop.example", "c@shop.example"] {
        b.tollgate(&["account", "suspend", account, "--reason", "sends spam"]).well();
    }
    for gate in [&a, &b] {
        wait_for("both offences", || (offences(gate)["suspensions"] == 3).then_some(()));
        assert!(offences(gate)["proposal"].is_string());
    }
    let first = a.json(&["offences", "shop.example"])["offences"][0].clone();
    let number = first["number"].to_string();
    let withdraw = ["offences", "shop.example", "--withdraw", &number, "--reason", "was not spam"];
    a.tollgate(&withdraw).well();
    wait_for("it to count no more", || (offences(&b)["suspensions"] == 2).then_some(()));
    assert_eq!(offences(&a), offences(&b));
    assert!(a.tollgate(&withdraw).badly().contains("no offence"));

    let of = |gate: &Gate| -> Vec<[Value; 4]> {
        let entries = audit(gate, &[]).into_iter();
        entries.map(|e| ["action", "subject", "hash", "reason"].map(|key| e[key].clone())).collect()
    };
    wait_for("the same audit", || (of(&a) == of(&b)).then_some(()));
    let count = |action: &str| of(&b).iter().filter(|entry| entry[0] == action).count();
    assert_eq!(
        ["held", "erase-refused", "hold-released", "closed", "stays", "offence-withdrawn"]
            .map(count),
        [3, 3, 3, 1, 1, 1]
    );
    let entry = audit(&b, &["--action", "offence-withdrawn"]).remove(0);
    assert_eq!(entry["subject"], format!("offence of case {}", first["case"].as_str().unwrap()));
    assert_eq!(b.json(&["audit", "verify"])["whole"], true);

    // What cannot be ordered is refused, and what was ordered is done when Redis is back.
    redis.kill();
    let hold = ["privacy", "hold", ACCOUNT, "--reason", "court order 8"];
    let why = a.tollgate(&hold).badly();
    assert!(why.contains("all gates carry it out when Redis is back"), "{why}");
    wait_for("nothing to be ordered", || {
        a.tollgate(&hold).badly().contains("nothing was ordered").then_some(())
    });
    redis.start_again();
    wait_for("the hold", || {
        let holds = b.json(&["privacy", "holds"]);
        holds.to_string().contains("court order 8").then_some(())
    });
    wait_for("the same audit again", || (of(&a) == of(&b)).then_some(()));
}
