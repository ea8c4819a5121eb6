//! An address of ours is listed: who caused it is named, mail takes another way or waits, and all comes back when the listing is over.

use crate::{
    alerts::calling,
    blocklists::list,
    support::{Faults, Gate, Settings, Webhook, dns::Rbldnsd, gate, sink, wait_for, webhook::Mood},
};
use serde_json::Value;
use std::{sync::Arc, thread, time::Duration};
use tempfile::TempDir;

const THIEF: &str = "thief@shop.example";
const SPAM: &str = "From: Webmail Administrator <x@free.example>\r\nSubject: LOWEST mortgage rates!\r\n\r\nDear Homeowner,\r\n\r\n\
                    you have been selected for a risk free home loan at the lowest rates, bad\r\ncredit or no credit. Save \
                    $1,000 a month, GUARANTEED! Click here now:\r\nhttp://192.0.2.1/loan";
const ONE: &str = "192.0.2.25";
const TWO: &str = "2001:db8::26";
const TESTS: &str = "127.0.0.2\n";

/// Time that a test sets forward.
struct Time {
    faults: Arc<Faults>,
    ahead: i64,
}

impl Time {
    fn new() -> Self {
        Self { faults: Arc::new(Faults::new()), ahead: 0 }
    }

    fn pass_minutes(&mut self, minutes: i64) {
        self.ahead += minutes * 60_000;
        self.faults.set_wall_clock(self.ahead);
    }

    /// Lets time pass, twenty times as fast as it does, until something is so.
    #[track_caller]
    fn until<T>(&mut self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        wait_for(what, || {
            self.ahead += 2_000;
            self.faults.set_wall_clock(self.ahead);
            thread::sleep(Duration::from_millis(90));
            probe()
        })
    }
}

fn zone(listed: &str) -> (String, &'static str, String) {
    ("own.lists.example".into(), "ip4set", format!(":127.0.0.2:\n{TESTS}{listed}"))
}

/// A gate that asks one list, which is critical of what it lists.
fn watching(folder: &TempDir, time: &Time, server: &Rbldnsd) -> Settings {
    let file = list("own", "\"ipv4\"");
    gate().faults(&time.faults).blocklists(folder, &file, (server.address, &["own"]), &[])
}

fn steered(gate: &Gate) -> Vec<String> {
    let lines = gate.log().into_iter().filter(|line| line["event"] == "egress-steered");
    lines.map(|line| format!("{} {}", line["address"], line["is"]).replace('"', "")).collect()
}

/// How mail may leave by the first address.
fn mail_of(gate: &Gate, address: &str) -> Value {
    let all = gate.json(&["blocklist", "egress"]);
    all.as_array().unwrap().iter().find(|one| one["address"] == address).unwrap().clone()
}

#[test]
fn who_caused_a_listing_is_named_first_and_mail_takes_the_other_way_until_it_is_over() {
    let (mut time, folder) = (Time::new(), TempDir::new().unwrap());
    let (one, two) = (sink().run(), sink().run());
    let (name, kind, lines) = zone("");
    let server = Rbldnsd::start(&[(&name, kind, &lines)]);
    let hook = Webhook::start(Mood::Well);
    let settings = watching(&folder, &time, &server)
        .next_hop_at(one.address(), &format!("egress = [\"{ONE}\"]\npriority = 10"))
        .next_hop_at(two.address(), &format!("egress = [\"{TWO}\"]\npriority = 20"))
        .limit(1_000, "1h")
        .set("blocklist.on_listing", "drain");
    let mut gate = calling(settings, hook.address()).run();

    // A newsletter, an office and a thief, of whom the rules have seen too little to suspend it.
    for nth in 0..30 {
        let to: Vec<String> = (0..10).map(|n| format!("reader{nth}-{n}@remote.example")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        assert_eq!(gate.client().send("news@paper.example", &to, "the news").code, 250);
    }
    assert_eq!(gate.client().send("budi@shop.example", &["friend@remote.example"], "hi").code, 250);
    for nth in 0..4 {
        let to = format!("stranger{nth}@remote.example");
        assert_eq!(gate.client().send(THIEF, &[&to], SPAM).code, 250);
    }
    assert_eq!((one.taken().len(), two.taken().len()), (35, 0));
    let message = gate.logged("message", |line| line["account"] == THIEF);
    assert_eq!(message["egress"], ONE);

    server.replace(0, &format!(":127.0.0.2:\n{TESTS}{ONE}\n"));
    time.until("the other way", || (!steered(&gate).is_empty()).then_some(()));
    assert_eq!(steered(&gate), [format!("{ONE} drained")]);
    assert_eq!(gate.client().send("budi@shop.example", &["friend@remote.example"], "hi").code, 250);
    assert_eq!((one.taken().len(), two.taken().len()), (35, 1));
    let drained = mail_of(&gate, ONE);
    assert_eq!(drained["mail"], "drained");
    assert_eq!(drained["why"], format!("{ONE} is listed by own"));
    assert_eq!(mail_of(&gate, TWO)["mail"], "free");

    // The thief is named before the newsletter, with what speaks against it, and judged by the rules.
    let cause = gate.logged("listing-cause", |_| true);
    assert_eq!((&cause["account"], &cause["accounts"]), (&THIEF.into(), &3.into()), "{cause}");
    let first = cause["suspects"][0].as_str().unwrap();
    assert!(first.starts_with(THIEF) && first.contains("likely"), "{first}");
    for part in ["% of the blame", "content ", "4 texts like spam", "4 recipients (1 % of all)"] {
        assert!(first.contains(part), "{part}: {first}");
    }
    let others = &cause["suspects"].as_array().unwrap()[1..];
    assert!(others.iter().all(|other| !other.as_str().unwrap().contains("likely")), "{cause}");
    let reason =
        |line: &Value| line["reasons"].as_str().or(line["reason"].as_str()).map(str::to_owned);
    let judged = wait_for("what follows for the thief", || {
        let is_his = |line: &Value| {
            line["account"] == THIEF
                && (line["event"] == "suspended" || line["event"] == "standing-changed")
        };
        gate.log().into_iter().filter(is_his).filter_map(|line| reason(&line)).next_back()
    });
    assert!(judged.contains("blame for a listing") || judged.contains("egress-listed"), "{judged}");
    let alert = hook.wait_for("the alert", |json| json["condition_name"] == "listing-cause");
    assert_eq!(
        (&alert["facts"]["account"], &alert["facts"]["listed"]),
        (&THIEF.into(), &ONE.into())
    );
    assert!(alert["facts"]["reasons"][0].as_str().unwrap().starts_with(THIEF), "{alert}");
    let api = gate.token(&["reader", "--role", "read-only"]);
    let events = api.get("/events?event=listing-cause").body;
    assert_eq!(events["items"][0]["account"], THIEF, "{events}");
    let all = api.get("/alerts").body.to_string();
    assert!(all.contains("listing-cause"), "{all}");
    drop(api);
    // Who else is suspected is nobody's but the provider's.
    let tenant = gate.token(&["shop", "--role", "tenant", "--tenant", "shop.example"]);
    let own = tenant.get("/alerts").body.to_string();
    assert!(own.contains("\"items\"") && !own.contains("listing-cause"), "{own}");
    drop(tenant);

    // A restart neither names nor judges anybody again, and mail goes on by the other way.
    gate.kill();
    gate.start();
    assert_eq!(gate.client().send("budi@shop.example", &["friend@remote.example"], "hi").code, 250);
    assert_eq!((one.taken().len(), two.taken().len()), (35, 2));
    let causes = gate.log().into_iter().filter(|line| line["event"] == "listing-cause").count();
    assert_eq!(causes, 1);

    server.replace(0, &format!(":127.0.0.2:\n{TESTS}"));
    time.pass_minutes(14);
    time.until("the first way", || (mail_of(&gate, ONE)["mail"] == "free").then_some(()));
    assert_eq!(gate.client().send("budi@shop.example", &["friend@remote.example"], "hi").code, 250);
    assert_eq!((one.taken().len(), two.taken().len()), (36, 2));
}

#[test]
fn mail_waits_while_its_only_way_is_paused_and_a_person_can_let_it_go() {
    let (mut time, folder) = (Time::new(), TempDir::new().unwrap());
    let sink = sink().run();
    let (name, kind, lines) = zone(&format!("{ONE}\n"));
    let server = Rbldnsd::start(&[(&name, kind, &lines)]);
    let hook = Webhook::start(Mood::Well);
    let settings = watching(&folder, &time, &server)
        .next_hop_at(sink.address(), &format!("egress = [\"{ONE}\"]"))
        .set("blocklist.on_listing", "pause");
    let mut gate = calling(settings, hook.address()).run();
    let send = |gate: &Gate| {
        let mut client = gate.client();
        client.expect(250, "MAIL FROM:<a@shop.example>");
        client.say("RCPT TO:<b@remote.example>")
    };
    assert_eq!(send(&gate).code, 250);
    time.until("the pause", || (!steered(&gate).is_empty()).then_some(()));
    let said = send(&gate);
    assert_eq!(said.code, 451);
    let wanted = format!("4.3.2 mail is held back here: {ONE} is listed by own; try again later [");
    assert!(said.text().contains(&wanted), "{}", said.text());
    let refused = gate.logged("refused", |line| line["reason"] == "egress-paused");
    assert_eq!(refused["account"], "a@shop.example");
    // Nothing was charged for it.
    let usage = gate.json(&["usage", "a@shop.example"]);
    let windows = usage["limits"].as_array().unwrap();
    assert!(!windows.is_empty() && windows.iter().all(|window| window["used"] == 0), "{usage}");
    hook.wait_for("the alert", |json| json["condition_name"] == "egress-paused");

    gate.tollgate(&["blocklist", "resume", "192.0.2.99", "--reason", "x"]).badly();
    let mapped = format!("::ffff:{ONE}");
    let resume = ["blocklist", "resume", &mapped, "--reason", "the list is wrong"];
    gate.tollgate(&resume).well();
    wait_for("mail", || (send(&gate).code == 250).then_some(()));
    gate.tollgate(&resume).badly();
    let audit = gate.tollgate(&["audit"]).well();
    assert!(audit.contains("egress-resumed") && audit.contains("the list is wrong"), "{audit}");
    // That lasts across a restart, and no longer than the listing.
    gate.kill();
    gate.start();
    assert_eq!(send(&gate).code, 250);
    let tested = |gate: &Gate| gate.json(&["blocklist", "status"])["lists"][0]["health"] == "well";
    time.until("the list", || tested(&gate).then_some(()));
    assert_eq!(mail_of(&gate, ONE)["choice"]["choice"], "resume");
    server.replace(0, &format!(":127.0.0.2:\n{TESTS}"));
    time.pass_minutes(14);
    time.until("the end", || mail_of(&gate, ONE)["choice"].is_null().then_some(()));

    gate.tollgate(&["blocklist", "pause", ONE, "--reason", "it is being moved"]).well();
    wait_for("the pause", || (send(&gate).code == 451).then_some(()));
    assert!(send(&gate).text().contains("is paused by hand"));
    gate.tollgate(&["blocklist", "resume", ONE, "--reason", "it is there"]).well();
    wait_for("mail", || (send(&gate).code == 250).then_some(()));
}
