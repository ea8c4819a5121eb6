//! Nobody sends more than the plan allows, and who is refused hears why and until when.

use crate::support::{Reply, at_once, gate, most_within, sink};
use std::{thread, time::Duration};
use tollgate::{
    clock::{steady_now, wall_now},
    types::Timestamp,
};

/// The facts in a refusal: `account a@shop.example: 50 of 50 recipients in 1 h; next slot 2026-11-22T09:14:07Z (in 1423 s) [id]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) whose: String,
    pub(crate) used: u32,
    pub(crate) max: u32,
    pub(crate) unit: String,
    pub(crate) window: String,
    pub(crate) slot: Timestamp,
    pub(crate) wait_seconds: u64,
    pub(crate) session: String,
}

/// Reads the facts; panics if the reply has another form.
#[track_caller]
pub(crate) fn facts(reply: &Reply) -> Refused {
    read_facts(reply).unwrap_or_else(|| panic!("not the form of a refusal by a limit: {reply}"))
}

fn read_facts(reply: &Reply) -> Option<Refused> {
    let text = reply.text();
    let rest = text.strip_prefix("4.7.1 ").filter(|_| reply.code == 450)?;
    let (whose, rest) = rest.split_once(": ")?;
    let (used, rest) = rest.split_once(" of ")?;
    let (max, rest) = rest.split_once(' ')?;
    let (unit, rest) = rest.split_once(" in ")?;
    let (window, rest) = rest.split_once("; next slot ")?;
    let (slot, rest) = rest.split_once(" (in ")?;
    let (wait, session) = rest.split_once(" s) [")?;
    Some(Refused {
        whose: whose.to_owned(),
        used: used.parse().ok()?,
        max: max.parse().ok()?,
        unit: unit.to_owned(),
        window: window.to_owned(),
        slot: slot.parse().ok()?,
        wait_seconds: wait.parse().ok()?,
        session: session.strip_suffix(']')?.to_owned(),
    })
}

#[test]
fn the_51st_recipient_in_an_hour_hears_why_and_until_when() {
    let sink = sink().run();
    let gate = gate().limit(50, "1h").limit(600, "24h").next_hop(&sink).run();
    let before = wall_now();
    let (passed, reply) = gate.client().send_until_refused("a@shop.example", 60);
    let refused = facts(&reply);

    assert_eq!((passed, sink.count()), (50, 50));
    assert_eq!(refused.whose, "account a@shop.example");
    assert_eq!((refused.used, refused.max), (50, 50));
    assert_eq!((refused.unit.as_str(), refused.window.as_str()), ("recipients", "1 h"));
    // The first of the fifty leaves an hour after the next hop had it.
    assert!(refused.slot.since(before) >= Duration::from_secs(3600), "{refused:?}");
    assert!(refused.slot.since(before) < Duration::from_secs(3660), "{refused:?}");
    assert!((3540..=3601).contains(&refused.wait_seconds), "{refused:?}");
    assert!(!refused.session.is_empty(), "{refused:?}");

    let line = gate.logged("refused", |line| line["reason"] == "limit");
    assert_eq!(line["account"], "a@shop.example");
    assert_eq!(line["session"], refused.session);
    assert_eq!((&line["limit_used"], &line["limit_max"]), (&50.into(), &50.into()));
    let logged_slot: Timestamp = line["next_slot"].as_str().unwrap().parse().unwrap();
    assert!(refused.slot.since(logged_slot) <= Duration::from_secs(1), "{refused:?} {line}");
}

#[test]
fn one_message_with_many_recipients_passes_as_far_as_the_limit() {
    let sink = sink().run();
    let gate = gate().limit(3, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    for number in 0..5 {
        let wanted = if number < 3 { 250 } else { 450 };
        client.expect(wanted, &format!("RCPT TO:<r{number}@remote.example>"));
    }
    assert_eq!(client.text("text").code, 250);
    assert_eq!(sink.last().recipients.len(), 3);
    let line = gate.logged("message", |line| line["outcome"] == "sent");
    assert_eq!((&line["recipients_sent"], &line["recipients_limited"]), (&3.into(), &2.into()));
}

#[test]
fn two_hundred_sessions_of_one_account_get_exactly_fifty() {
    let sink = sink().run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    let codes = at_once(200, |_| {
        let mut client = gate.client();
        client.expect(250, "MAIL FROM:<a@shop.example>");
        match client.say("RCPT TO:<someone@remote.example>").code {
            250 => client.text("text").code,
            refused => refused,
        }
    });
    let count = |code| codes.iter().filter(|&&got| got == code).count();
    assert_eq!((count(250), count(450)), (50, 150), "{codes:?}");
    assert_eq!((sink.count(), sink.recipients()), (50, 50));
}

#[test]
fn accounts_of_one_tenant_share_its_limit_and_others_are_not_touched() {
    let sink = sink().run();
    let gate =
        gate().limit(4, "1h").scoped_limit("tenant", "recipients", 6, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    let (first, by_account) = client.send_until_refused("a@shop.example", 10);
    let (second, by_tenant) = client.send_until_refused("b@shop.example", 10);
    assert_eq!((first, facts(&by_account).whose.as_str()), (4, "account a@shop.example"));
    assert_eq!((second, facts(&by_tenant).whose.as_str()), (2, "tenant shop.example"));
    assert_eq!(client.send_until_refused("a@else.example", 10).0, 4);
}

#[test]
fn a_client_address_has_a_limit_whoever_sends_from_it() {
    let sink = sink().run();
    let gate = gate()
        .scoped_limit("client-ip", "recipients", 3, "1h")
        .trust("relay = true\nxforward = true")
        .next_hop(&sink)
        .run();
    // XFORWARD holds for one message.
    let passed = |address: &str, sender: &str| {
        let mut client = gate.client();
        for passed in 0..10 {
            client.expect(250, &format!("XFORWARD ADDR={address}"));
            client.expect(250, &format!("MAIL FROM:<{sender}>"));
            let reply = client.say("RCPT TO:<b@remote.example>");
            if reply.code != 250 {
                return (passed, reply);
            }
            client.text("text");
        }
        panic!("10 messages from {address} passed");
    };
    assert_eq!(passed("192.0.2.7", "a@shop.example").0, 3);
    let (none, refusal) = passed("::ffff:192.0.2.7", "b@else.example");
    assert_eq!((none, facts(&refusal).whose.contains("192.0.2.7")), (0, true), "{refusal}");
    assert_eq!(passed("192.0.2.8", "a@shop.example").0, 3);
    assert_eq!(passed("IPV6:2001:db8:1:2::1", "a@shop.example").0, 3);
    assert_eq!(passed("IPV6:2001:db8:1:2::2", "a@shop.example").0, 0, "one /64 is one client");
}

#[test]
fn with_the_unit_messages_a_message_costs_one_however_many_read_it() {
    let sink = sink().run();
    let gate = gate().scoped_limit("account", "messages", 2, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    for _ in 0..2 {
        let reply = client.send("a@shop.example", &["b@x.example", "c@x.example"], "text");
        assert_eq!(reply.code, 250, "{reply}");
    }
    client.expect(250, "MAIL FROM:<a@shop.example>");
    let refused = facts(&client.say("RCPT TO:<b@x.example>"));
    assert_eq!((refused.used, refused.max, refused.unit.as_str()), (2, 2, "messages"));
}

#[test]
fn bounces_have_a_limit_of_their_own() {
    let sink = sink().run();
    let gate = gate()
        .limit(5, "1h")
        .set("plan.test.null_sender.max", 2)
        .set("plan.test.null_sender.window", "1h")
        .user("a@shop.example", "secret")
        .next_hop(&sink)
        .run();
    let mut client = gate.client();
    client.expect(235, "AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==");
    let (bounces, refusal) = client.send_until_refused("", 5);
    assert_eq!((bounces, facts(&refusal).unit.as_str()), (2, "null-sender recipients"));
    assert_eq!(client.send_until_refused("a@shop.example", 9).0, 5);
}

#[test]
fn a_refused_or_abandoned_message_gives_its_charge_back() {
    let sink = sink().refuse("nobody@remote.example", "550 5.1.1 nobody").run();
    let gate = gate().limit(2, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(250, "RCPT TO:<one@remote.example>");
    client.expect(250, "RCPT TO:<two@remote.example>");
    client.expect(450, "RCPT TO:<three@remote.example>");
    client.expect(250, "RSET");
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(550, "RCPT TO:<nobody@remote.example>");
    client.expect(250, "RSET");
    // One that vanishes with two reservations in its hands.
    let mut vanishing = gate.client();
    vanishing.expect(250, "MAIL FROM:<a@shop.example>");
    vanishing.expect(250, "RCPT TO:<one@remote.example>");
    vanishing.expect(250, "RCPT TO:<two@remote.example>");
    drop(vanishing);
    let is_two_abandoned =
        |line: &&serde_json::Value| line["to"].as_array().is_some_and(|to| to.len() == 2);
    gate.logged("message", |line| line["outcome"] == "abandoned" && is_two_abandoned(&line));
    assert_eq!(client.send_until_refused("a@shop.example", 5).0, 2);
}

#[test]
fn a_restart_changes_nothing() {
    let sink = sink().run();
    let mut gate = gate().limit(5, "1h").next_hop(&sink).run();
    let (passed, before) = gate.client().send_until_refused("a@shop.example", 9);
    gate.restart();
    let (none, after) = gate.client().send_until_refused("a@shop.example", 9);
    assert_eq!((passed, none, sink.count()), (5, 0, 5));
    assert_eq!(facts(&before).slot, facts(&after).slot);
}

#[test]
fn a_kill_after_the_last_answer_changes_nothing() {
    let sink = sink().run();
    let mut gate = gate().limit(5, "1h").next_hop(&sink).run();
    assert_eq!(gate.client().send_until_refused("a@shop.example", 9).0, 5);
    gate.kill();
    gate.start();
    assert_eq!(gate.client().send_until_refused("a@shop.example", 9).0, 0);
    assert_eq!(sink.count(), 5);
}

#[test]
fn a_new_plan_keeps_the_history() {
    let sink = sink().run();
    let mut gate = gate().limit(5, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    assert_eq!(client.send_until_refused("a@shop.example", 9).0, 5);
    gate.reload(|settings| settings.limit_instead(8, "1h"));
    // The same connection: plans are read at each MAIL.
    let (more, refusal) = client.send_until_refused("a@shop.example", 9);
    assert_eq!((more, facts(&refusal).used, facts(&refusal).max), (3, 8, 8));
    gate.reload(|settings| settings.limit_instead(2, "1h"));
    let refused = facts(&client.send_until_refused("a@shop.example", 9).1);
    assert_eq!((refused.used, refused.max), (8, 2));
}

#[test]
fn observing_refuses_nothing_and_records_everything() {
    let sink = sink().run();
    let gate = gate().limit(2, "1h").set("plan.test.mode", "observe").next_hop(&sink).run();
    let mut client = gate.client();
    for _ in 0..4 {
        assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);
    }
    assert_eq!(sink.wait_for(4).len(), 4);
    let refused = gate.logged("refused", |line| line["reason"] == "limit");
    assert_eq!(refused["observed_only"], true);
    gate.logged("message", |line| line["would_refuse"] == true);
}

#[test]
fn warnings_come_once_at_80_and_at_100_percent() {
    let sink = sink().run();
    let gate = gate().limit(10, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    client.send_until_refused("a@shop.example", 20);
    client.send_until_refused("a@shop.example", 20);
    gate.logged("limit-reached", |line| line["percent"] == 100);
    let log = gate.log();
    let warnings: Vec<_> = log
        .iter()
        .filter(|line| {
            line["event"] == "limit-reached" && line["limit_key"] == "account/r/a@shop.example"
        })
        .map(|line| (line["percent"].as_u64().unwrap(), line["limit_used"].as_u64().unwrap()))
        .collect();
    assert_eq!(warnings, [(80, 8), (100, 10)]);
}

#[test]
fn who_holds_data_open_gets_nothing_by_it() {
    let window = Duration::from_secs(5);
    let sink = sink().run();
    let gate = gate().limit(4, "5s").next_hop(&sink).run();
    // Each holds its reservation for almost the whole window; the next one must wait for its end, not for its begin.
    let end = steady_now() + Duration::from_secs(13);
    at_once(12, |index| {
        let mut client = gate.client();
        while steady_now() < end {
            client.expect(250, "MAIL FROM:<a@shop.example>");
            if client.say("RCPT TO:<someone@remote.example>").code != 250 {
                client.expect(250, "RSET");
                thread::sleep(Duration::from_millis(200));
                continue;
            }
            client.expect(354, "DATA");
            client.write(b"Subject: held\r\n\r\n");
            // The very thing under test: a client that takes its time.
            thread::sleep(Duration::from_millis(4900));
            let reply = client.say(&format!("{index}\r\n."));
            assert_eq!(reply.code, 250, "{reply}");
        }
    });
    let moments: Vec<_> = sink.taken().iter().map(|taken| taken.at).collect();
    assert!(moments.len() >= 8, "only {} messages passed", moments.len());
    assert!(most_within(window, &moments) <= 4, "{moments:?}");
}
