//! Lists that are asked for messages: about clients that log in, and about the domains in a text.

use crate::{
    blocklists::list,
    support::{
        Client, Faults, Gate, Settings, Sink,
        dns::{Names, Rbldnsd, Says},
        gate, sink,
        tls::tls,
        wait_for,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread,
    time::Duration,
};
use tempfile::TempDir;

const ACCOUNT: &str = "anna@shop.example";
/// The loopback address that stands for a thief's. 127.0.0.1 is what no list may have.
const THIEF: &str = "127.0.0.9";

struct Office {
    _folder: TempDir,
    faults: Arc<Faults>,
    ahead: i64,
    sink: Sink,
    gate: Gate,
}

impl Office {
    /// A gate that asks `auth` about clients and the others about links, once it has tested them.
    fn open(
        server: SocketAddr,
        faults: Arc<Faults>,
        links: &[&str],
        set: impl FnOnce(Settings) -> Settings,
    ) -> Self {
        let (folder, sink) = (TempDir::new().unwrap(), sink().run());
        let mut file = list("auth", "\"ipv4\"").replace("terms =", "for_clients = true\nterms =");
        for name in links {
            file += &list(name, "\"domain\"");
        }
        let settings = gate()
            .faults(&faults)
            .user(ACCOUNT, "secret")
            .user("budi@shop.example", "secret")
            .next_hop(&sink)
            // A server of our own would not be a client.
            .trust("relay = true\nown_server = false")
            .blocklists(&folder, &file, (server, &[]), &[])
            .set("blocklist.client_lists", vec!["auth".to_owned()])
            .set(
                "blocklist.link_lists",
                links.iter().map(ToString::to_string).collect::<Vec<String>>(),
            );
        let gate = set(settings).run();
        let mut office = Self { _folder: folder, faults, ahead: 0, sink, gate };
        office.until("all lists to be tested", |status| {
            status["lists"].as_array().unwrap().iter().all(|list| list["health"] != "untested")
        });
        // What was found is believed a moment later.
        thread::sleep(Duration::from_millis(1_200));
        office
    }

    /// Lets time pass until the lists are like this.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || {
            self.ahead += 2_000;
            self.faults.set_wall_clock(self.ahead);
            thread::sleep(Duration::from_millis(90));
            let status = self.gate.json(&["blocklist", "status"]);
            let has_begun = !status["lists"].as_array().unwrap().is_empty();
            (has_begun && holds(&status)).then_some(status)
        })
    }

    fn of_list(&self, name: &str) -> Value {
        let status = self.gate.json(&["blocklist", "status"]);
        let lists = status["lists"].as_array().unwrap();
        lists.iter().find(|list| list["list"] == name).unwrap().clone()
    }

    /// Somebody logs in from an address and sends a text to a stranger; what is told of the message.
    #[track_caller]
    fn send(&self, from: &str, account: &str, nth: usize, text: &str) -> Value {
        let source: IpAddr = from.parse().unwrap();
        let mut client = Client::hello_from(source, self.gate.submission()).starttls(&tls());
        client.expect(250, "EHLO client.example");
        let word = STANDARD.encode(format!("\0{account}\0secret"));
        client.expect(235, &format!("AUTH PLAIN {word}"));
        let subject = format!("Subject: note {nth}\r\nFrom: {account}\r\n\r\n{text}");
        let to = format!("stranger{nth}@remote.example");
        assert_eq!(client.send(account, &[&to], &subject).code, 250);
        self.gate.logged("message", |line| line["to"].to_string().contains(&to))
    }

    fn reasons(&self, from: &str, account: &str, nth: usize, text: &str) -> String {
        let told = self.send(from, account, nth, text);
        told["reasons"].as_str().unwrap_or_default().to_owned()
    }
}

const LINK: &str = "See http://www.bad.example/offer and https://fine.example/ for more.";
const PLAIN: &str = "See https://fine.example/ for more.";

#[test]
fn a_client_and_a_link_on_lists_speak_against_the_sender_and_are_named() {
    let zones = [
        ("auth.lists.example", "ip4set", format!(":127.0.0.2:on the list\n127.0.0.2\n{THIEF}\n")),
        ("urls.lists.example", "dnset", ":127.0.0.2:on the list\ntest\nbad.example\n".to_owned()),
        ("grey.lists.example", "dnset", ":127.0.0.2:on the list\ntest\n".to_owned()),
    ];
    let zones: Vec<(&str, &str, &str)> =
        zones.iter().map(|(zone, kind, lines)| (*zone, *kind, lines.as_str())).collect();
    let server = Rbldnsd::start(&zones);
    let office = Office::open(server.address, Arc::new(Faults::new()), &["urls", "grey"], |s| s);

    let honest = office.send("127.0.0.1", "budi@shop.example", 1, PLAIN);
    assert!(honest["reasons"].as_str().is_none_or(|said| !said.contains("list")), "{honest}");
    let stolen = office.send(THIEF, ACCOUNT, 2, LINK);
    let reasons = stolen["reasons"].as_str().unwrap();
    for part in [
        "127.0.0.9 is on auth (a source of spam)",
        "bad.example is on urls (a source of spam)",
        "link on a blocklist",
    ] {
        assert!(reasons.contains(part), "{reasons}");
    }
    assert!(!reasons.contains("fine.example"), "{reasons}");
    assert!(stolen["points"].as_f64().unwrap() >= 4.0, "{stolen}");

    // What is known is not asked again.
    let again = office.reasons(THIEF, ACCOUNT, 3, LINK);
    assert!(again.contains("bad.example is on urls"), "{again}");
    let asked = server.asked();
    for name in ["bad.example.urls", "fine.example.urls", "bad.example.grey", "9.0.0.127.auth"] {
        let times = asked.iter().filter(|line| line.contains(name)).count();
        assert_eq!(times, 1, "{name}: {asked:#?}");
    }
    // The sender's own domain is asked about too, and nobody asks about an address.
    assert!(asked.iter().any(|line| line.contains("shop.example.urls")), "{asked:#?}");
    let urls = office.of_list("urls");
    assert_eq!(
        (&urls["uses"], &urls["lookups_listed"]),
        (&serde_json::json!(["links"]), &1.into())
    );
    let metrics = office.gate.http("/metrics").1;
    let counted = "tollgate_blocklist_lookups_total{list=\"urls\",result=\"listed\"} 1";
    wait_for("the figures", || office.gate.http("/metrics").1.contains(counted).then_some(()));
    assert!(metrics.contains("tollgate_blocklist_up{list=\"auth\"} 1"), "{metrics}");
}

#[test]
fn a_list_that_lists_everything_counts_for_nobody() {
    let zones = [
        ("auth.lists.example", "ip4set", ":127.0.0.2:listed\n0/0\n"),
        ("urls.lists.example", "dnset", ":127.0.0.2:listed\ntest\n.example\n*\n"),
    ];
    let server = Rbldnsd::start(&zones);
    let office = Office::open(server.address, Arc::new(Faults::new()), &["urls"], |s| s);
    assert_eq!(office.of_list("auth")["health"], "impaired");
    let reasons = office.reasons(THIEF, ACCOUNT, 1, LINK);
    assert!(!reasons.contains("list"), "{reasons}");
    assert!(!server.asked().iter().any(|line| line.contains("9.0.0.127.auth")));
}

/// What lists answer about their test entries; of the rest they have nothing.
fn well(name: &str) -> Option<Says> {
    if name.starts_with("2.0.0.127.") || name.starts_with("test.") {
        return Some(Says::Codes(&["127.0.0.2"]));
    }
    let tests = ["1.0.0.127.", "invalid.", "tollgate-", "192.", "198.", "203."];
    let is_control = |name: &str| name.ends_with(".192.auth.lists.example.");
    (tests.iter().any(|test| name.starts_with(test)) || is_control(name)).then_some(Says::NoName)
}

#[test]
fn a_message_waits_for_no_list_longer_than_its_budget_and_soon_not_at_all() {
    let faults = Arc::new(Faults::new());
    let silent = |name: &str| match name {
        name if name.contains("example.urls.") && !name.starts_with("tollgate-") => Says::Silence,
        name => well(name).unwrap_or(Says::NoName),
    };
    let server = Names::start(&faults, silent);
    let office = Office::open(server.address, faults.clone(), &["urls"], |settings| {
        settings.set("blocklist.lookup_time_max", "300ms").set("blocklist.time_max", "5s")
    });
    for nth in 0..3 {
        let from = tollgate::clock::steady_now();
        let text = format!("See http://www.site{nth}.example/");
        let reasons = office.reasons("127.0.0.1", ACCOUNT, nth, &text);
        assert!(!reasons.contains("list"), "{reasons}");
        assert!(from.elapsed() < Duration::from_secs(3), "the resolver takes five");
    }
    let about = |site: &str| server.asked().iter().any(|asked| asked.name.starts_with(site));
    assert!(about("site0.example."), "{:#?}", server.asked());
    office.reasons("127.0.0.1", ACCOUNT, 4, "See http://site4.example/");
    assert!(!about("site4.example."), "it was silent three times");
    assert_eq!(office.sink.taken().len(), 4);
}

#[test]
fn an_answer_that_comes_late_counts_for_the_next_message() {
    let faults = Arc::new(Faults::new());
    let server = Names::start(&faults, |name| match name {
        name if name.starts_with("bad.example.urls.") => Says::AtSecond("127.0.0.2"),
        name => well(name).unwrap_or(Says::NoName),
    });
    let office = Office::open(server.address, faults.clone(), &["urls"], |settings| {
        settings.set("blocklist.lookup_time_max", "100ms")
    });
    let first = office.reasons("127.0.0.1", ACCOUNT, 1, LINK);
    assert!(!first.contains("bad.example"), "{first}");
    // The resolver asks once more after half a second.
    wait_for("the answer", || (office.of_list("urls")["lookups_listed"] == 1).then_some(()));
    let second = office.reasons("127.0.0.1", ACCOUNT, 2, LINK);
    assert!(second.contains("bad.example is on urls"), "{second}");
}

#[test]
fn a_list_that_refuses_is_asked_nothing_more_until_it_is_tested_again() {
    let faults = Arc::new(Faults::new());
    let refusing = |name: &str| match name {
        name if name.starts_with("bad.example.urls.") => Says::Codes(&["127.255.255.254"]),
        name => well(name).unwrap_or(Says::NoName),
    };
    let server = Names::start(&faults, refusing);
    let mut office = Office::open(server.address, faults.clone(), &["urls"], |s| s);
    let first = office.reasons("127.0.0.1", ACCOUNT, 1, LINK);
    assert!(!first.contains("bad.example"), "{first}");
    office.until("the list to be left alone", |status| {
        status["lists"].as_array().unwrap().iter().any(|list| {
            list["list"] == "urls"
                && list["health"] == "impaired"
                && list["rests_until"].is_string()
        })
    });
    office.reasons("127.0.0.1", ACCOUNT, 2, "See http://site2.example/");
    assert!(!server.asked().iter().any(|asked| asked.name.starts_with("site2.")));
    server.now(|name| well(name).unwrap_or(Says::NoName));
    office.ahead += 3_700_000;
    office.until("the list to be believed again", |status| {
        status["lists"].as_array().unwrap().iter().all(|list| list["health"] == "well")
    });
    thread::sleep(Duration::from_millis(1_200));
    office.reasons("127.0.0.1", ACCOUNT, 3, "See http://site3.example/");
    assert!(server.asked().iter().any(|asked| asked.name.starts_with("site3.")));
}

#[test]
fn lists_that_hold_customers_are_not_asked_about_them() {
    let names = |list: &str| vec![list.to_owned()];
    let said = gate().set("blocklist.client_lists", names("zen")).check();
    assert!(said.err.contains("blocklist.client_lists"), "{said:?}");
    assert!(said.err.contains("\"zen\" must not be asked about clients"), "{said:?}");
    assert!(said.err.contains("abusix-authbl, spamhaus-authbl"), "{said:?}");
    let said = gate().set("blocklist.link_lists", names("spamcop")).check();
    assert!(said.err.contains("\"spamcop\" holds no domains"), "{said:?}");
    let said = gate().set("blocklist.link_lists", names("nobody")).check();
    assert!(said.err.contains("blocklist.link_lists: \"nobody\" is unknown"), "{said:?}");
    let said = gate().set("blocklist.client_lists", names("abusix-authbl")).check();
    assert!(said.err.contains("\"abusix-authbl\" needs a key"), "{said:?}");
    // Nor by a file of one's own.
    let folder = TempDir::new().unwrap();
    let file = list("mine", "\"ipv4\"")
        .replace("mine.lists.example", "zen.spamhaus.org")
        .replace("terms =", "for_clients = true\nterms =");
    let said = gate()
        .blocklists(&folder, &file, ("127.0.0.1:53".parse().unwrap(), &[]), &[])
        .set("blocklist.client_lists", names("mine"))
        .check();
    assert!(said.err.contains("lists dynamic addresses"), "{said:?}");
}

#[test]
fn names_that_cannot_be_asked_for_silence_no_list() {
    let faults = Arc::new(Faults::new());
    let server = Names::start(&faults, |name| match name {
        name if name.starts_with("bad.example.urls.") => Says::Codes(&["127.0.0.2"]),
        name => well(name).unwrap_or(Says::NoName),
    });
    let office = Office::open(server.address, faults.clone(), &["urls"], |s| s);
    let strange = "See http://-a.example/ http://-b.example/ http://-c.example/ http://-d.example/ \
                   http://192.0.2.7/ http://localhost/ http://com/";
    office.reasons("127.0.0.1", ACCOUNT, 1, strange);
    // Nothing of this one can be asked for: its sender is known by now.
    office.reasons("127.0.0.1", ACCOUNT, 2, &strange.replace("http://-", "http://-x"));
    let asked = server.asked();
    let strange = |name: &str| name.starts_with('-') || name.contains("192.0.2.7.urls");
    assert!(!asked.iter().any(|asked| strange(&asked.name)), "{asked:#?}");
    assert!(
        !asked
            .iter()
            .any(|asked| asked.name.starts_with("com.") || asked.name.starts_with("localhost."))
    );
    let reasons = office.reasons("127.0.0.1", ACCOUNT, 3, LINK);
    assert!(reasons.contains("bad.example is on urls"), "{reasons}");
}
