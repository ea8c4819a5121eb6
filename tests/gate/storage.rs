//! How full mailboxes are: a real Dovecot with quota, whose mailbox a real IMAP client fills, beside the Maildir itself and what the gate
//! shows; and what follows in SMTP when one is full, empty again, or cannot be seen.

use crate::support::{Gate, Settings, Sink, gate, mail_store::MailStore, sink, wait_for};
use serde_json::Value;

const ANN: &str = "ann@shop.example";
const BOB: &str = "bob@shop.example";

/// A gate whose plan refuses who is over so many octets, looking once a second.
fn watching(sink: &Sink, account_bytes_max: i64) -> Settings {
    let settings = gate()
        .set("plan.test.storage.account_bytes_max", account_bytes_max)
        .set("plan.test.storage.tenant_bytes_max", "10 GB")
        .set("plan.test.storage.over", "refuse")
        .set("storage.every", "1s")
        .set("storage.stale_after", "3s");
    settings.next_hop(sink)
}

/// What the gate shows of an account, as soon as it is as wanted.
#[track_caller]
fn shown(gate: &Gate, name: &str, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, || {
        let shown = gate.json(&["storage", "show", name]);
        is_wanted(&shown).then_some(shown)
    })
}

fn used(shown: &Value) -> u64 {
    shown["used_bytes"].as_u64().unwrap_or(u64::MAX)
}

/// The answers to RCPT from this sender to a stranger and to the provider's own people.
fn answers(gate: &Gate, sender: &str) -> (u16, String, [u16; 2]) {
    let mut client = gate.client();
    client.expect(250, &format!("MAIL FROM:<{sender}>"));
    let stranger = client.say("RCPT TO:<x@remote.example>");
    let own = ["postmaster@provider.example", "abuse@provider.example"];
    let own = own.map(|address| client.say(&format!("RCPT TO:<{address}>")).code);
    client.expect(250, "RSET");
    (stranger.code, stranger.text(), own)
}

#[test]
fn dovecot_the_maildir_and_the_gate_say_the_same_of_a_mailbox_that_an_imap_client_filled() {
    let store = MailStore::start(&[ANN, BOB]);
    store.fill(ANN, &[("INBOX", 7, 3_000), ("Sent", 5, 900), ("Archive.2026", 3, 70_000)]);
    store.fill(BOB, &[("INBOX", 2, 100)]);
    store.delete_first(ANN, "INBOX");
    let sink = sink().run();
    let by_maildir = watching(&sink, 1_000_000).set("storage.path", store.template()).run();
    let by_dovecot = watching(&sink, 1_000_000)
        .set("storage.doveadm.url", store.url())
        .set("storage.doveadm.key", store.key())
        .run();
    let by_password = watching(&sink, 1_000_000)
        .set("storage.doveadm.url", store.url())
        .set("storage.doveadm.password", store.password())
        .run();
    for account in [ANN, BOB] {
        // Who never sent is known where mailboxes are found; a Dovecot is asked about who is known.
        for gate in [&by_dovecot, &by_password] {
            gate.tollgate(&["account", "set", account, "--reason", "customer"]).well();
        }
        let (bytes, files) = store.really_holds(account);
        let maildir = shown(&by_maildir, account, "the Maildir's figure", |s| used(s) == bytes);
        assert_eq!((&maildir["files"], &maildir["fill"]), (&files.into(), &"under".into()));
        let (kilobytes, messages) = store.doveadm_says(account);
        assert_eq!((kilobytes, messages), (bytes.div_ceil(1_024), files), "Dovecot tells KiB");
        for gate in [&by_dovecot, &by_password] {
            let dovecot = shown(gate, account, "Dovecot's figure", |s| s["source"] == "doveadm");
            assert_eq!((used(&dovecot), &dovecot["files"]), (kilobytes * 1_024, &files.into()));
        }
    }
    // The tenant holds what its mailboxes hold.
    let (ann, bob) = (store.really_holds(ANN), store.really_holds(BOB));
    let tenant = shown(&by_maildir, "shop.example", "the sum", |s| s["mailboxes"] == 2);
    assert_eq!((used(&tenant), &tenant["files"]), (ann.0 + bob.0, &(ann.1 + bob.1).into()));
    let listed = by_maildir.json(&["storage", "list"]);
    assert_eq!(listed[0]["name"], ANN, "the fullest first: {listed}");
}

#[test]
fn who_is_over_its_quota_hears_so_reaches_the_provider_and_sends_again_when_mail_was_deleted() {
    let store = MailStore::start(&[ANN, BOB]);
    store.fill(ANN, &[("INBOX", 4, 30_000)]);
    store.fill(BOB, &[("INBOX", 1, 1_000)]);
    let sink = sink().run();
    let gate = watching(&sink, 100_000).set("storage.path", store.template()).run();
    shown(&gate, ANN, "ann to be over", |shown| shown["is_refused"] == true);
    let (code, text, own) = answers(&gate, ANN);
    assert_eq!((code, own), (552, [250, 250]), "{text}");
    let numbers = text.starts_with("5.7.1 account ann@shop.example: 1");
    assert!(
        numbers && text.contains("of 100.00 kB of mail storage are used; delete mail"),
        "{text}"
    );
    assert_eq!(answers(&gate, BOB).0, 250);
    let refused = gate.logged("refused", |line| line["reason"] == "storage");
    assert_eq!(refused["account"], ANN);
    let changed = gate.logged("storage-changed", |line| line["percent"] == 100);
    assert_eq!((&changed["account"], &changed["over"]), (&ANN.into(), &"refuse".into()));
    let alert = gate.logged("alert", |line| line["kind"] == "storage-100");
    assert_eq!((&alert["severity"], &alert["why"]), (&"critical".into(), &"raised".into()));
    assert!(gate.http("/metrics").1.contains("tollgate_refusals_total{reason=\"storage\"} 1"));

    store.empty(ANN, "INBOX");
    shown(&gate, ANN, "ann to have room", |shown| shown["is_refused"] == false);
    assert_eq!(answers(&gate, ANN).0, 250);
    let over =
        gate.logged("alert", |line| line["kind"] == "storage-100" && line["why"] == "resolved");
    assert_eq!(over["account"], ANN);
}

#[test]
fn a_dovecot_that_is_gone_blocks_nobody_frees_nobody_and_is_told_once() {
    let store = MailStore::start(&[ANN, BOB]);
    store.fill(ANN, &[("INBOX", 4, 30_000)]);
    store.fill(BOB, &[("INBOX", 1, 1_000)]);
    let sink = sink().run();
    let mut gate = watching(&sink, 100_000)
        .set("storage.doveadm.url", store.url())
        .set("storage.doveadm.key", store.key())
        .set("storage.doveadm.timeout", "2s")
        .run();
    for account in [ANN, BOB] {
        gate.tollgate(&["account", "set", account, "--reason", "customer"]).well();
    }
    shown(&gate, ANN, "ann to be over", |shown| shown["is_refused"] == true);
    shown(&gate, BOB, "bob to be seen", |shown| shown["fill"] == "under");
    store.stop();
    let down = gate.logged("storage-source-down", |_| true);
    assert_eq!(down["source"], format!("{}/", store.url()));
    for name in [ANN, BOB] {
        shown(&gate, name, "it to be unknown", |shown| shown["unknown"] == 1);
    }
    assert_eq!((answers(&gate, ANN).0, answers(&gate, BOB).0), (552, 250));
    // A restart forgets nothing.
    gate.kill();
    gate.start();
    assert_eq!((answers(&gate, ANN).0, answers(&gate, BOB).0), (552, 250));
    // It still fails, which is the same alert, seen again.
    let api = gate.token(&["look", "--role", "read-only"]);
    let alerts = wait_for("the failure to be seen again", || {
        let page = api.get("/alerts?max=100").body;
        let of_source = |alert: &&Value| alert["kind"] == "storage-source-down";
        let alerts: Vec<Value> =
            page["items"].as_array()?.iter().filter(of_source).cloned().collect();
        (alerts.first()?["count"] == 2).then_some(alerts)
    });
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let raised = |line: &&Value| line["kind"] == "storage-source-down" && line["why"] == "raised";
    assert_eq!(gate.log().iter().filter(raised).count(), 1);

    store.start_again();
    gate.logged("storage-source-up", |_| true);
    store.empty(ANN, "INBOX");
    shown(&gate, ANN, "ann to have room", |shown| shown["is_refused"] == false);
    assert_eq!(answers(&gate, ANN).0, 250);
}

#[test]
fn another_system_tells_how_full_a_mailbox_is() {
    let sink = sink().run();
    let gate = gate()
        .set("plan.test.storage.tenant_bytes_max", 10_000)
        .set("plan.test.storage.over", "refuse")
        .next_hop(&sink)
        .run();
    let api = gate.token(&["panel", "--role", "operator"]);
    let path = "/accounts/ann%40shop.example/storage";
    for (bytes, code) in [(4_000, 250), (10_000, 552), (9_999, 250)] {
        let told = api.ask("PUT", path, &format!(r#"{{"bytes":{bytes},"files":3}}"#));
        assert_eq!(
            (told.status, &told.body["used_bytes"]),
            (200, &bytes.into()),
            "{:?}",
            told.body
        );
        assert_eq!(answers(&gate, ANN).0, code, "{bytes}");
        // The whole package is full, so all of it is refused.
        assert_eq!(answers(&gate, BOB).0, code, "{bytes}");
    }
    let explained = gate.json(&["explain", ANN]);
    assert_eq!(explained["storage"][1]["used_bytes"], 9_999, "{explained}");
    for (body, status) in [
        (r#"{"bytes":1,"files":1,"measured_at":"2020-01-01T00:00:00Z"}"#, 409),
        (r#"{"bytes":1,"files":1,"measured_at":"2099-01-01T00:00:00Z"}"#, 422),
        (r#"{"bytes":-1,"files":1}"#, 422),
        (r#"{"bytes":1}"#, 422),
    ] {
        let told = api.ask("PUT", path, body);
        assert_eq!(told.status, status, "{body}: {:?}", told.body);
    }
    let tenant = api.get("/tenants/shop.example/storage").body;
    assert_eq!((&tenant["used_bytes"], &tenant["fill"]), (&9_999.into(), &"scarce".into()));
    assert_eq!(tenant["past"][0]["peak_bytes"], 10_000, "{tenant}");
    let said = gate.tollgate(&["storage", "scan", ANN]).badly();
    assert!(said.contains("names no place to look"), "{said}");
}

#[test]
fn a_place_of_mailboxes_that_cannot_be_is_a_mistake() {
    for (settings, says) in [
        (gate().set("storage.path", "vmail/{account}"), "storage.path: "),
        (gate().set("storage.path", "/vmail/../{account}"), "without .. in it"),
        (
            gate().set("storage.path", "/vmail/{domain}"),
            "either {account}, or {domain} and {local}",
        ),
        (
            gate()
                .set("storage.path", "/v/{account}")
                .set("storage.doveadm.url", "http://127.0.0.1:1")
                .set("storage.doveadm.key", "x"),
            "storage.path: doveadm.url is set, too",
        ),
        (gate().set("storage.doveadm.url", "http://127.0.0.1:1"), "wanted either key_file"),
        (gate().set("storage.stale_after", "1m"), "storage.stale_after: "),
        (gate().set("plan.test.storage.over", "stop"), "plan.test.storage.over: "),
        (gate().set("plan.test.storage.tenant_bytes_max", "much"), "tenant_bytes_max: "),
    ] {
        let said = settings.check().badly();
        assert!(said.contains(says), "{said}");
    }
}
