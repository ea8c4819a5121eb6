use super::*;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// A folder with a trace in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let chunk = json!(["c1", "caf\u{e9}, a few words of text\r\n"]);
        folder.write("chunks.jsonl.gz", &format!("{chunk}\n"));
        let lists = json!({
            "dbl": [{"domain": "bad.test", "since": 0}],
            "ip_blocklist": [{"ip": "198.51.100.9", "since": 5000}],
            "traps_known": ["Trap@old.example"],
            "ipinfo": {"192.0.0.0/16": {"asn": 64_600, "cc": "ID", "kind": "isp"},
                       "198.51.0.0/16": {"asn": 64_601, "cc": "RU", "kind": "hosting"}},
        });
        folder.write("lists.json.gz", &lists.to_string());
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let file = File::create(self.path().join(name)).unwrap();
        let mut out = GzEncoder::new(file, Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap();
    }

    fn events(&self, events: &[Value]) {
        let lines: Vec<String> = events.iter().map(|event| format!("{event}\n")).collect();
        self.write("events.jsonl.gz", &lines.concat());
    }

    fn out(&self) -> PathBuf {
        self.path().join("decisions.jsonl.gz")
    }

    /// Replays the trace; the decisions.
    fn run(&self) -> Result<Vec<Value>, String> {
        run::run(self.path(), &self.out(), &defaults(), config::content_rules())
            .map_err(|error| error.to_string())?;
        let mut text = String::new();
        GzDecoder::new(File::open(self.out()).unwrap()).read_to_string(&mut text).unwrap();
        Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

fn event(seq: u64, seconds: f64, recipients: &[&str]) -> Value {
    let recipients: Vec<Value> =
        recipients.iter().map(|recipient| json!([recipient, 250, "2.1.5 Ok"])).collect();
    json!({
        "seq": seq, "t": seconds, "conn": 1, "ip": "192.0.2.1", "helo": "pc", "auth": "a@shop.example",
        "relay": null, "tenant": "t1", "mail_from": "a@shop.example", "rcpts": recipients,
        "data_reply": [250, "2.0.0 Ok"], "h": "From: A <a@shop.example>\r\nSubject: hello\r\n",
        "body": ["c1", {"l": "bye\r\n"}],
    })
}

fn changed(mut event: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("an object") };
    for (name, value) in fields {
        event[name.as_str()] = value;
    }
    event
}

#[test]
fn every_event_gets_its_decision_in_order() {
    let folder = Folder::new();
    let events: Vec<Value> =
        (0..60_u32).map(|n| event(n.into(), n.into(), &["x@far.example"])).collect();
    folder.events(&events);
    let decisions = folder.run().unwrap();
    let seqs: Vec<u64> = decisions.iter().map(|d| d["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (0..60).collect::<Vec<u64>>());
    let actions = |wanted: &str| decisions.iter().filter(|d| d["action"] == wanted).count();
    assert_eq!((actions("accept"), actions("defer")), (50, 10), "50 in an hour");
    assert_eq!(decisions[59]["rcpts"], json!(["defer"]));
}

#[test]
fn a_trap_and_a_new_country_lead_to_a_suspension() {
    let folder = Folder::new();
    let mut events: Vec<Value> =
        (0..48_u32).map(|n| event(n.into(), f64::from(n) * 3_600.0, &["x@far.example"])).collect();
    for n in 48..60_u32 {
        let spam = event(n.into(), f64::from(n) * 3_600.0, &["trap@OLD.example"]);
        let link = json!([{"l": "Cheap: http://www.bad.test/x\r\n"}]);
        events.push(changed(spam, json!({"ip": "198.51.100.9", "body": link})));
    }
    folder.events(&events);
    let decisions = folder.run().unwrap();
    let suspended = decisions.iter().find(|d| d["suspend"] != json!([])).unwrap();
    assert_eq!(suspended["suspend"], json!(["auth:a@shop.example"]));
    assert_eq!(suspended["seq"], 48);
    for signal in ["traps", "listings", "place"] {
        assert!(suspended["signals"][signal].as_f64().unwrap() > 1.0, "{signal}: {suspended}");
    }
    assert!(suspended["reason"].as_str().unwrap().contains("first mail from RU"), "{suspended}");
    assert_eq!(decisions[49]["action"], "reject");
}

#[test]
fn who_sent_is_read_from_what_the_server_says() {
    for (fields, identity) in [
        (json!({}), "auth:a@shop.example"),
        (json!({"auth": null}), "from:a@shop.example"),
        (json!({"auth": null, "relay": "vps3"}), "relay:vps3"),
        (
            json!({"auth": null, "relay": "web01", "h": "X-PHP-Originating-Script: 1042:a.php\r\n"}),
            "uid:web01/1042",
        ),
        (
            json!({"auth": null, "relay": "mx1", "h": "x-forwarded-for: b@shop.example c@far.example\r\n"}),
            "fwd:b@shop.example",
        ),
        (
            json!({"auth": null, "relay": "mx0", "mail_from": "", "h": "From: \"B, C\" <b@shop.example>\r\n"}),
            "auth:b@shop.example",
        ),
        (json!({"auth": null, "mail_from": "", "h": "Subject: x\r\n"}), "ip:192.0.2.1"),
    ] {
        let text = changed(event(1, 1.0, &[]), fields).to_string();
        assert_eq!(sender::identity(&trace::event(&text).unwrap()), identity, "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let folder = Folder::new();
    assert!(folder.run().unwrap_err().contains("events.jsonl.gz"), "there are no events");
    let good = event(1, 1.0, &["x@far.example"]);
    for (text, expected) in [
        (format!("{good}\n{{\"seq\":2}}\n"), "events.jsonl.gz, line 2: missing field"),
        (format!("{good}\n{}\n", changed(good.clone(), json!({"ip": "here"}))), "line 2: "),
    ] {
        folder.write("events.jsonl.gz", &text);
        let error = folder.run().unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let nowhere =
        run::run(folder.path(), Path::new("/nowhere/x.gz"), &defaults(), config::content_rules());
    assert!(nowhere.unwrap_err().to_string().starts_with("write the decisions: "));
}

#[test]
fn the_summary_says_who_was_noticed_and_what_got_through() {
    let mut summary = Summary::default();
    (summary.messages, summary.recipients, summary.accepted) = (10, 12, 7);
    assert!(summary::text(&summary).contains("10 messages to 12 recipients: 7 accepted"));
    let suspect = crate::rules::replay::Suspect {
        noticed: Some(trace::moment(60.0)),
        suspended: Some(trace::moment(120.0)),
        suspensions: 1,
        recipients_before: 6,
        ..Default::default()
    };
    summary.suspects.insert("a@shop.example".parse().unwrap(), suspect);
    let text = summary::text(&summary);
    assert!(text.contains("1 accounts were noticed, 1 of them suspended"), "{text}");
    assert!(text.contains("1970-01-01T00:02:00Z") && text.contains("a@shop.example"), "{text}");
}
