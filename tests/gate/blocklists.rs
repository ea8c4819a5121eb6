//! Blocklists, served by a real rbldnsd and by a server that misbehaves: no false listing, no false acquittal, one alert for one
//! matter, and mail that does not notice. Time passes by setting the gate's clock forward.

use crate::{
    alerts::calling,
    support::{
        Faults, Gate, Sink, Webhook,
        dns::{Names, Rbldnsd, Says},
        gate, sink, wait_for,
        webhook::{Call, Mood},
    },
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};
use tempfile::TempDir;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;

/// A gate that watches lists, and whose clock a test sets forward.
struct Day {
    faults: Arc<Faults>,
    ahead: i64,
    _folder: TempDir,
    sink: Sink,
    gate: Gate,
}

impl Day {
    fn begin(
        faults: &Arc<Faults>,
        file: &str,
        (server, lists): (std::net::SocketAddr, &[&str]),
        watched: &[&str],
        hook: Option<&Webhook>,
    ) -> Self {
        let (folder, sink) = (TempDir::new().unwrap(), sink().run());
        let mut settings = gate().faults(faults).next_hop(&sink);
        if let Some(hook) = hook {
            settings = calling(settings, hook.address());
        }
        let gate = settings.blocklists(&folder, file, (server, lists), watched).run();
        Self { faults: faults.clone(), ahead: 0, _folder: folder, sink, gate }
    }

    fn pass(&mut self, millis: i64) {
        self.ahead += millis;
        self.faults.set_wall_clock(self.ahead);
    }

    /// Lets time pass, twenty times as fast as it does, until something is so.
    #[track_caller]
    fn until<T>(&mut self, what: &str, mut probe: impl FnMut(&Gate) -> Option<T>) -> T {
        wait_for(what, || {
            self.pass(2 * SECOND);
            thread::sleep(Duration::from_millis(90));
            probe(&self.gate)
        })
    }

    /// The matrix: what is known of each subject on each list.
    fn matrix(&self) -> BTreeMap<(String, String), Value> {
        matrix(&self.gate)
    }

    #[track_caller]
    fn row(&self, subject: &str, list: &str) -> Value {
        let key = (subject.to_owned(), list.to_owned());
        self.matrix().remove(&key).unwrap_or_else(|| panic!("{key:?} is not watched"))
    }

    /// Waits until all lists were tested and all rows that can be known are.
    #[track_caller]
    fn settle(&mut self) {
        self.until("the first checks", |gate| {
            let view = status(gate);
            let lists = view["lists"].as_array()?;
            let all_tested = lists.iter().all(|list| list["health"] != "untested");
            let impaired: Vec<&Value> = lists
                .iter()
                .filter(|list| list["health"] == "impaired")
                .map(|l| &l["list"])
                .collect();
            let rows = matrix(gate);
            let known = rows.iter().all(|((_, list), row)| {
                row["checked"] != Value::Null || impaired.iter().any(|name| **name == **list)
            });
            (all_tested && known).then_some(())
        });
    }

    fn events(&self, name: &str) -> Vec<Value> {
        self.gate.log().into_iter().filter(|line| line["event"] == name).collect()
    }
}

/// What is known, as soon as the program that was just started has looked what it knew before.
fn status(gate: &Gate) -> Value {
    wait_for("the watcher", || {
        let view = gate.json(&["blocklist", "status"]);
        (!view["lists"].as_array().unwrap().is_empty()).then_some(view)
    })
}

fn matrix(gate: &Gate) -> BTreeMap<(String, String), Value> {
    let view = status(gate);
    let mut rows = BTreeMap::new();
    for subject in view["subjects"].as_array().unwrap() {
        for row in subject["rows"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            rows.insert((text(&subject["subject"]), text(&row["list"])), row.clone());
        }
    }
    rows
}

/// A list as it stands in a file of lists.
pub(crate) fn list(name: &str, kinds: &str) -> String {
    format!(
        r#"
[[list]]
name = "{name}"
zone = "{name}.lists.example"
kinds = [{kinds}]
terms = "for tests"
[list.codes]
"127.0.0.2" = {{ means = "a source of spam", severity = "critical" }}
"127.0.0.10" = {{ means = "a dynamic address", severity = "warning" }}
"#
    )
}

const TESTS: &str = "127.0.0.2\n";

#[test]
fn what_rbldnsd_lists_is_listed_and_nothing_else_is() {
    let zone = |name: &str| format!("{name}.lists.example");
    let zones: Vec<String> = ["own", "other", "empty", "world", "refusing", "six", "names", "odd"]
        .iter()
        .map(|n| zone(n))
        .collect();
    let server = Rbldnsd::start(&[
        (
            &zones[0],
            "ip4set",
            &format!(":127.0.0.2:Blocked, see http://lists.example/?$\n{TESTS}192.0.2.25\n"),
        ),
        (&zones[0], "ip4set", ":127.0.0.10:dynamic\n192.0.2.25\n"),
        (&zones[1], "ip4set", &format!(":127.0.0.2:\n{TESTS}192.0.2.25\n")),
        (&zones[2], "ip4set", "198.51.100.0/30\n"),
        (&zones[3], "ip4set", ":127.0.0.2:all\n0.0.0.0/0\n!127.0.0.1\n"),
        (&zones[4], "ip4set", ":127.255.255.254:go away\n0.0.0.0/0\n"),
        (
            &zones[5],
            "ip6trie",
            ":127.0.0.2:\n0:0:0:0:0:ffff:7f00:2/128\n2001:db8:0:0:0:0:0:25/128\n",
        ),
        (&zones[6], "dnset", ":127.0.0.2:\nTEST\nspam.example\nxn--bcher-kva.example\n"),
        (&zones[7], "ip4set", &format!(":127.0.0.99:\n192.0.2.25\n:127.0.0.2:\n{TESTS}")),
    ]);
    let names = ["own", "other", "empty", "world", "refusing", "six", "names", "odd"];
    let file: String = names
        .iter()
        .map(|name| match *name {
            "six" => list(name, "\"ipv6\""),
            "names" => list(name, "\"domain\""),
            _ => list(name, "\"ipv4\""),
        })
        .collect();
    let hook = Webhook::start(Mood::Well);
    let faults = Arc::new(Faults::new());
    let watched = [
        "192.0.2.25",
        "::ffff:192.0.2.26",
        "2001:db8::25",
        "mail.Spam.example.",
        "bücher.example",
        "good.example",
    ];
    let mut day = Day::begin(&faults, &file, (server.address, &names), &watched, Some(&hook));
    day.settle();
    for ((subject, list), row) in day.matrix() {
        assert_ne!(row["state"], "listed", "after one check: {subject} on {list}");
    }
    day.until("the second checks", |gate| {
        let rows = matrix(gate);
        let is_listed = |subject: &str, list: &str| {
            rows[&(subject.to_owned(), list.to_owned())]["state"] == "listed"
        };
        (is_listed("192.0.2.25", "own")
            && is_listed("192.0.2.25", "other")
            && is_listed("2001:db8::25", "six")
            && is_listed("mail.spam.example", "names")
            && is_listed("xn--bcher-kva.example", "names"))
        .then_some(())
    });
    let expected = |subject: &str, list: &str| match (subject, list) {
        ("192.0.2.25", "own" | "other")
        | ("2001:db8::25", "six")
        | ("mail.spam.example" | "xn--bcher-kva.example", "names") => "listed",
        (_, "empty" | "world" | "refusing") => "unknown",
        // The list's table does not have that code, which is told.
        ("192.0.2.25", "odd") => "unknown",
        _ => "clean",
    };
    let rows = day.matrix();
    assert_eq!(rows.len(), 2 * 6 + 1 + 3);
    for ((subject, list), row) in &rows {
        assert_eq!(row["state"], expected(subject, list), "{subject} on {list}: {row}");
    }
    let own = day.row("192.0.2.25", "own");
    assert_eq!(own["codes"], serde_json::json!(["127.0.0.2", "127.0.0.10"]), "{own}");
    assert_eq!((&own["severity"], &own["pending"]), (&"critical".into(), &Value::Null));
    day.until("the reason", |gate| {
        let rows = matrix(gate);
        let reason = rows[&("192.0.2.25".into(), "own".into())]["reason"].as_str()?.to_owned();
        reason.contains("http://lists.example/?192.0.2.25").then_some(())
    });
    let told: Vec<_> = day.events("listed").iter().map(|l| l["subject"].clone()).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    let mut impaired: Vec<_> = day
        .events("blocklist-impaired")
        .iter()
        .map(|l| l["list"].as_str().unwrap().to_owned())
        .collect();
    impaired.sort();
    assert_eq!(impaired, ["empty", "odd", "refusing", "world"]);
    let metrics = day.gate.http("/metrics").1;
    for line in [
        "tollgate_blocklist_listed{list=\"own\",subject=\"192.0.2.25\"} 3",
        "tollgate_blocklist_up{list=\"world\"} 0",
        "tollgate_blocklist_up{list=\"own\"} 1",
        "tollgate_blocklist_unknown{list=\"empty\"} 2",
        "tollgate_blocklist_resolvers_up 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    {
        let api = day.gate.token(&["desk", "--role", "read-only"]);
        let answer = api.get("/listings/192.0.2.25");
        assert_eq!((answer.status, answer.body["rows"].as_array().unwrap().len()), (200, 6));
        assert_eq!(api.get("/listings/192.0.2.99").status, 404);
    }
    let text = day.gate.tollgate(&["blocklist", "status"]).well();
    assert!(text.contains("listed (critical)") && text.contains("for tests"), "{text}");
    let alerts = wait_for("the alerts", || {
        let calls: Vec<Value> = hook.calls().iter().map(Call::json).collect();
        let of = |kind: &str| calls.iter().filter(|json| json["condition_name"] == kind).count();
        (of("listed") == 5 && of("blocklist-impaired") == 4).then_some(calls)
    });
    let listed = alerts.iter().find(|json| json["condition_name"] == "listed").unwrap();
    assert_eq!(listed["why"], "raised", "{listed}");

    // Asking now, also about what is not watched.
    let said = day.gate.json(&["blocklist", "check", "192.0.2.25"]);
    let of = |name: &str| {
        let lists = said["lists"].as_array().unwrap();
        lists.iter().find(|list| list["list"] == name).unwrap()["state"].clone()
    };
    assert_eq!(
        (of("own"), of("other"), of("world")),
        ("listed".into(), "listed".into(), "unknown".into())
    );
    let said = day.gate.tollgate(&["blocklist", "check", "other.example"]).well();
    assert!(said.contains("names  clean"), "{said}");
    assert!(day.gate.tollgate(&["blocklist", "check", "no address"]).code == 2);

    // A restart forgets nothing and tells nothing twice; then the list takes it back.
    day.gate.kill();
    day.gate.start();
    assert_eq!(day.row("192.0.2.25", "other")["state"], "listed");
    server.replace(2, TESTS);
    day.pass(15 * MINUTE);
    day.until("the delisting", |gate| {
        gate.log().iter().any(|line| line["event"] == "delisted").then_some(())
    });
    let over = day.events("delisted");
    assert_eq!((over.len(), &over[0]["list"]), (1, &"other".into()), "{over:?}");
    assert_eq!(day.row("192.0.2.25", "other")["state"], "clean");
    assert_eq!(day.events("listed").len(), 5);
    assert!(server.asked().iter().all(|line| line.contains(".lists.example")), "no search domain");
    assert!(
        !server.asked().iter().any(|line| line.contains("192.0.2.25.lists")
            || line.contains(".example.lists.example.example"))
    );
    assert_eq!(day.sink.taken().len(), 0);
}

/// What a zone answers to its own tests, and to nothing else.
fn healthy(name: &str) -> Option<Says> {
    let is_test = name.starts_with("2.0.0.127.") || name.starts_with("test.");
    is_test.then_some(Says::Codes(&["127.0.0.2"]))
}

#[test]
fn a_resolver_that_answers_for_names_that_do_not_exist_lists_nobody_and_clears_nobody() {
    let faults = Arc::new(Faults::new());
    let lies = |name: &str| healthy(name).unwrap_or(Says::Codes(&["146.112.61.108"]));
    let server = Names::start(&faults, lies);
    let file = format!("{}{}", list("own", "\"ipv4\""), list("names", "\"domain\""));
    let watched = ["192.0.2.25", "shop.example"];
    let mut day = Day::begin(&faults, &file, (server.address, &["own", "names"]), &watched, None);
    day.settle();
    for _ in 0..3 {
        day.pass(20 * MINUTE);
        day.settle();
    }
    for row in day.matrix().values() {
        assert_eq!(row["state"], "unknown", "{row}");
        assert!(row["unknown"].as_str().unwrap().contains("146.112.61.108"), "{row}");
    }
    assert_eq!((day.events("listed").len(), day.events("blocklist-impaired").len()), (0, 2));
}

#[test]
fn mail_flows_while_no_resolver_answers_and_there_is_one_alert() {
    let faults = Arc::new(Faults::new());
    let well = |name: &str| match healthy(name) {
        Some(said) => said,
        None if name.starts_with("25.2.0.192.") => Says::Codes(&["127.0.0.10"]),
        None => Says::NoName,
    };
    let server = Names::start(&faults, well);
    let names = ["one", "two", "three"];
    let file: String = names.iter().map(|name| list(name, "\"ipv4\"")).collect();
    let hook = Webhook::start(Mood::Well);
    let mut day =
        Day::begin(&faults, &file, (server.address, &names), &["192.0.2.25"], Some(&hook));
    day.until("the listings", |gate| {
        matrix(gate).values().all(|row| row["state"] == "listed").then_some(())
    });
    server.now(|_| Says::Silence);
    day.pass(20 * MINUTE);
    day.until("the one event", |gate| {
        let lost = |line: &Value| line["event"] == "blocklist-impaired";
        gate.log().iter().any(lost).then_some(())
    });
    for _ in 0..4 {
        day.pass(6 * MINUTE);
        let from = tollgate::clock::steady_now();
        day.gate.client().send("a@shop.example", &["b@remote.example"], "text");
        assert!(from.elapsed() < Duration::from_secs(2), "mail waits for nobody");
        day.until("more questions", |gate| {
            let view = gate.json(&["blocklist", "status"]);
            (view["resolvers_answer"] == false).then_some(())
        });
    }
    for row in day.matrix().values() {
        assert_eq!((&row["state"], &row["before"]), (&"unknown".into(), &"listed".into()), "{row}");
    }
    let impaired = day.events("blocklist-impaired");
    assert_eq!((impaired.len(), &impaired[0]["list"]), (1, &Value::Null), "{impaired:?}");
    assert_eq!(day.sink.taken().len(), 4);
    server.now(well);
    day.pass(6 * MINUTE);
    day.until("the end of it", |gate| {
        gate.log().iter().any(|line| line["event"] == "blocklist-well").then_some(())
    });
    day.until("the rows", |gate| {
        matrix(gate).values().all(|row| row["state"] == "listed").then_some(())
    });
    assert_eq!((day.events("listed").len(), day.events("delisted").len()), (3, 0));
    let of_lists = |json: &Value| json["condition_name"] == "blocklist-impaired";
    let calls: Vec<Value> = hook.calls().iter().map(Call::json).collect();
    let raised = calls.iter().filter(|json| of_lists(json) && json["why"] == "raised").count();
    assert_eq!(raised, 1, "{calls:#?}");
}

#[test]
fn answers_of_all_kinds_mean_what_they_should() {
    let faults = Arc::new(Faults::new());
    let says = |name: &str| {
        if let Some(said) = healthy(name) {
            return said;
        }
        match name.split_once(".100.51.198.").map(|(last, _)| last) {
            Some("1") => Says::Codes(&["127.0.0.2"]),
            Some("2") => Says::NoData,
            Some("3") => Says::ServerFailure,
            Some("4") => Says::Refused,
            Some("5") => Says::Silence,
            Some("6") => Says::AtSecond("127.0.0.2"),
            Some("7") => Says::OnlyByTcp("127.0.0.2"),
            Some("8") => Says::Alias("127.0.0.2"),
            Some("9") => Says::Codes(&["127.0.0.2", "127.255.255.255"]),
            Some("10") => Says::Codes(&["127.0.0.1"]),
            _ => Says::NoName,
        }
    };
    let server = Names::start(&faults, says);
    let file = list("own", "\"ipv4\"");
    let mut day = Day::begin(&faults, &file, (server.address, &["own"]), &["192.0.2.25"], None);
    day.settle();
    for (last, state, says) in [
        (1, "listed", "a source of spam"),
        (2, "unknown", "without an address"),
        (3, "unknown", "SERVFAIL"),
        (4, "unknown", "REFUSED"),
        (5, "unknown", "no answer in time"),
        (6, "listed", "a source of spam"),
        (7, "listed", "a source of spam"),
        (8, "listed", "a source of spam"),
        (9, "listed", "a source of spam"),
        (10, "unknown", "127.0.0.1"),
        (11, "clean", ""),
    ] {
        day.pass(5 * SECOND);
        let subject = format!("198.51.100.{last}");
        let said = day.gate.json(&["blocklist", "check", &subject])["lists"][0].clone();
        assert_eq!(said["state"], state, "{subject}: {said}");
        let words = format!("{}{}", said["meaning"], said["unknown"]);
        assert!(words.contains(says), "{subject}: {said}");
    }
    assert!(server.asked().iter().any(|asked| asked.by_tcp && asked.name.starts_with("7.")));
    assert_eq!(day.events("listed").len(), 0, "nothing follows from asking");
}

#[test]
fn a_list_that_flaps_is_one_alert() {
    let faults = Arc::new(Faults::new());
    let listed = |name: &str| match healthy(name) {
        None if name.starts_with("25.2.0.192.") => Says::Codes(&["127.0.0.2"]),
        said => said.unwrap_or(Says::NoName),
    };
    let clean = |name: &str| healthy(name).unwrap_or(Says::NoName);
    let server = Names::start(&faults, listed);
    let file = list("own", "\"ipv4\"");
    let hook = Webhook::start(Mood::Well);
    let mut day =
        Day::begin(&faults, &file, (server.address, &["own"]), &["192.0.2.25"], Some(&hook));
    let count = |gate: &Gate, name: &str| gate.log().iter().filter(|l| l["event"] == name).count();
    for turn in 1..=3 {
        day.until("a listing", |gate| (count(gate, "listed") == turn).then_some(()));
        server.now(clean);
        day.pass(14 * MINUTE);
        day.until("its end", |gate| (count(gate, "delisted") == turn).then_some(()));
        server.now(listed);
        day.pass(14 * MINUTE);
    }
    day.until("a listing", |gate| (count(gate, "listed") == 4).then_some(()));
    let told = |why: &str| {
        let calls: Vec<Value> = hook.calls().iter().map(Call::json).collect();
        calls.iter().filter(|json| json["condition_name"] == "listed" && json["why"] == why).count()
    };
    wait_for("the alert", || (told("raised") == 1).then_some(()));
    assert_eq!(told("resolved"), 0);
    server.now(clean);
    day.pass(14 * MINUTE);
    day.until("its end", |gate| (count(gate, "delisted") == 4).then_some(()));
    day.pass(61 * MINUTE);
    wait_for("the end of the alert", || (told("resolved") == 1).then_some(()));
    assert_eq!(told("raised"), 1);
}

#[test]
fn fifty_addresses_on_fifteen_lists_stay_within_the_budget() {
    let faults = Arc::new(Faults::new());
    let server = Names::start(&faults, |name| healthy(name).unwrap_or(Says::NoName));
    let names: Vec<String> = (1..=15).map(|n| format!("list{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file: String = names.iter().map(|name| list(name, "\"ipv4\"")).collect();
    let watched: Vec<String> = (1..=50).map(|n| format!("203.0.113.{n}")).collect();
    let watched: Vec<&str> = watched.iter().map(String::as_str).collect();
    let mut day = Day::begin(&faults, &file, (server.address, &names), &watched, None);
    day.until("all rows", |gate| {
        let rows = matrix(gate);
        (rows.len() == 750 && rows.values().all(|row| row["state"] == "clean")).then_some(())
    });
    let asked = server.asked();
    for name in &names {
        let zone = format!(".{name}.lists.example.");
        let times: Vec<i64> = asked
            .iter()
            .filter(|asked| asked.name.ends_with(&zone))
            .map(|asked| asked.at.as_millis())
            .collect();
        assert!(times.len() >= 53, "{name}: {}", times.len());
        let within =
            |from: i64| times.iter().filter(|&&at| at >= from && at < from + MINUTE).count();
        let most = times.iter().map(|&from| within(from)).max().unwrap();
        assert!(most <= 30, "{name} was asked {most} times in a minute");
    }
}

#[test]
fn a_key_is_asked_with_and_stands_nowhere() {
    let faults = Arc::new(Faults::new());
    let server = Names::start(&faults, |name| healthy(name).unwrap_or(Says::NoName));
    let (folder, sink) = (TempDir::new().unwrap(), sink().run());
    let key = folder.path().join("key");
    std::fs::write(&key, "verys3cretkey\n").unwrap();
    let mut file = toml::Table::new();
    file.insert("file".into(), key.to_string_lossy().into_owned().into());
    let gate = gate()
        .faults(&faults)
        .next_hop(&sink)
        .blocklists(&folder, "", (server.address, &["zen"]), &["192.0.2.25"])
        .set("blocklist.keys.zen", file)
        .run();
    wait_for("a question", || {
        let asked = server.asked();
        let own = |name: &str| name.starts_with("25.2.0.192.verys3cretkey.zen.dq.spamhaus.net.");
        faults.set_wall_clock(
            faults.wall_now().as_millis() - tollgate::clock::wall_now().as_millis() + 3 * SECOND,
        );
        thread::sleep(Duration::from_millis(90));
        asked.iter().any(|asked| own(&asked.name)).then_some(())
    });
    let checked = gate.tollgate(&["blocklist", "check", "192.0.2.30"]).well();
    let status = gate.tollgate(&["blocklist", "status"]).well();
    let json = gate.json(&["blocklist", "status"]).to_string();
    assert!(status.contains("<key>.zen.dq.spamhaus.net"), "{status}");
    let metrics = gate.http("/metrics").1;
    for text in [checked, status, json, metrics, gate.log_text()] {
        assert!(!text.contains("verys3cretkey"), "{text}");
    }
}
