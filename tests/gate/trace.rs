//! What happened to a message is found again by each of its keys, and a complaint about it finds its account.

use crate::{
    audit::audit,
    support::{
        Gate, gate,
        postfix::{FakeDovecot, Postfix},
        programs::{run, run_with_input},
        sink, wait_for,
    },
};
use serde_json::Value;

const SENDER: &str = "a@shop.example";
const RECIPIENT: &str = "Someone@remote.example";

/// What `tollgate trace` finds, once it finds so many.
#[track_caller]
fn traced(gate: &Gate, of: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} traces of {of}"), || {
        let text = gate.tollgate(&["trace", of, "--json"]).well();
        let found: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (found.len() >= count).then_some(found)
    })
}

fn swaks(gate: &Gate, recipient: &str, message_id: &str) -> i32 {
    let server = gate.smarthost();
    let (host, port) = (server.ip().to_string(), server.port().to_string());
    let id = format!("Message-Id: <{message_id}>");
    let options = ["--from", SENDER, "--to", recipient, "--server", &host, "--port", &port];
    run("swaks", &[&options[..], &["--header", &id, "--header", "Subject: Offer"]].concat()).code
}

#[test]
fn a_message_to_a_real_postfix_is_found_by_each_of_its_keys() {
    let sink = sink().run();
    let relay = format!("relayhost = [127.0.0.1]:{}\n", sink.address().port());
    let refusing = format!(
        "{relay}smtpd_recipient_restrictions = check_recipient_access \
        inline:{{nobody@remote.example=REJECT}}, permit_mynetworks, reject\n"
    );
    let postfix = Postfix::start_with(&refusing, "unused", &FakeDovecot::start());
    let gate = gate().next_hop_at(postfix.address, "").run();
    assert_eq!(swaks(&gate, RECIPIENT, "1.abc@shop.example"), 0);
    assert_ne!(swaks(&gate, "nobody@remote.example", "2.abc@shop.example"), 0);

    let found = traced(&gate, "<1.abc@shop.example>", 1).remove(0);
    assert_eq!(
        (&found["event"], &found["outcome"]),
        (&"message".into(), &"sent".into()),
        "{found}"
    );
    assert_eq!((&found["account"], &found["tenant"]), (&SENDER.into(), &"shop.example".into()));
    let said = found["next_hop_reply"].as_str().unwrap();
    assert!(said.starts_with("250 2.0.0 Ok: queued as "), "{said}");
    assert_eq!(found["next_hop"], postfix.address.to_string());
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    for of in [&text("id"), &text("session"), "1.abc@shop.example", "someone@REMOTE.example"] {
        assert_eq!(traced(&gate, of, 1)[0], found, "{of}");
    }
    // An account's mail is all of it, the refused recipient with the next hop's answer too.
    let all = traced(&gate, SENDER, 2);
    let refused = all.iter().find(|event| event["to"][0]["to"] == "nobody@remote.example").unwrap();
    assert_eq!(
        (&refused["to"][0]["code"], &refused["to"][0]["by"]),
        (&554.into(), &"next-hop".into())
    );
    let people = gate.tollgate(&["trace", &text("id")]).well();
    assert!(people.contains("client heard") && people.contains("queued as"), "{people}");
    let nothing = gate.tollgate(&["trace", "x@nowhere.example"]).well();
    assert!(nothing.starts_with("nothing is known of x@nowhere.example"), "{nothing}");
    // Whoever looked is known, and what for.
    let looks = audit(&gate, &["--action", "traced"]);
    assert!(looks.iter().any(|look| look["subject"] == "someone@REMOTE.example"), "{looks:?}");
    // Equal subjects have equal hashes.
    let hashes: Vec<_> = gate
        .log()
        .iter()
        .filter_map(|line| line["subject_hash"].as_str().map(str::to_owned))
        .collect();
    assert!(!hashes.is_empty() && hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

/// A report as a large mailbox provider sends it, about a message as its server got it.
fn report(message: &str, original_recipient: &str, arrived: &str) -> String {
    format!(
        "From: <staff@hotmail.example>\r\nTo: <abuse@provider.example>\r\n\
         Subject: complaint about message from 192.0.2.1\r\nDate: {arrived}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report;\r\n\tboundary=\"=_b0undary.1\"\r\n\r\n\
         --=_b0undary.1\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         This is an email abuse report.\r\n\r\n\
         --=_b0undary.1\r\nContent-Type: message/feedback-report\r\nContent-Disposition: inline\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: HotmailFBL/1.0\r\nVersion: 1\r\n\
         {original_recipient}Arrival-Date: {arrived}\r\nSource-IP: 192.0.2.1\r\n\r\n\
         --=_b0undary.1\r\nContent-Type: message/rfc822\r\nContent-Disposition: inline\r\n\r\n\
         {message}\r\n--=_b0undary.1--\r\n"
    )
}

fn complain(gate: &Gate, report: &str) -> Value {
    let socket = gate.file("var/control.sock");
    let socket = socket.to_str().unwrap();
    let words = ["complaint", "add", "--report", "-", "--json", "--socket", socket];
    let said = run_with_input(env!("CARGO_BIN_EXE_tollgate"), &words, report).well();
    serde_json::from_str(&said).unwrap()
}

#[test]
fn a_report_of_abuse_finds_its_account_by_our_id_the_message_id_or_the_recipient() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    assert_eq!(swaks(&gate, RECIPIENT, "1.abc@shop.example"), 0);
    let taken = sink.last().as_str().to_owned();
    let id = traced(&gate, SENDER, 1)[0]["id"].clone();
    let (now, to) =
        ("Fri, 31 Dec 1999 00:00:00 +0000", "Original-Rcpt-To: <someone@remote.example>\r\n");

    let view = complain(&gate, &report(&taken, "", now));
    assert_eq!(
        (&view["account"], &view["attributed_by"]),
        (&SENDER.into(), &"id".into()),
        "{view}"
    );
    assert_eq!((&view["id"], &view["tenant"]), (&id, &"shop.example".into()));
    // The same report again is the same complaint.
    assert_eq!(complain(&gate, &report(&taken, "", now))["number"], view["number"]);

    let without_ours = taken.split_once("Date: ").unwrap().1;
    let view = complain(&gate, &report(&format!("Date: {without_ours}"), "", now));
    assert_eq!(
        (&view["account"], &view["attributed_by"]),
        (&SENDER.into(), &"message-id".into()),
        "{view}"
    );

    let today = tollgate::clock::Clock::start(tollgate::types::Timestamp::EPOCH).utc().to_rfc5322();
    let view = complain(&gate, &report("Subject: redacted\r\n\r\ntext", to, &today));
    assert_eq!(
        (&view["account"], &view["attributed_by"]),
        (&SENDER.into(), &"recipient".into()),
        "{view}"
    );

    let view = complain(&gate, &report("Subject: redacted\r\n\r\ntext", to, now));
    assert_eq!((&view["account"], &view["attributed_by"]), (&Value::Null, &Value::Null), "{view}");
    let listed = gate.tollgate(&["complaint", "list", "--unattributed"]).well();
    assert!(listed.contains("(nobody who is known)") && listed.lines().count() == 2, "{listed}");

    let told =
        gate.tollgate(&["complaint", "add", "--account", SENDER, "--note", "by telephone"]).well();
    assert_eq!(told, "complaint 5: abuse about a@shop.example, by operator\n");
    let listed = gate.tollgate(&["complaint", "list", "--account", SENDER]).well();
    assert_eq!(listed.lines().count(), 5, "{listed}");
    gate.logged("complaint", |line| line["attributed_by"] == "id" && line["account"] == SENDER);
    assert_eq!(audit(&gate, &["--action", "complaint-added"]).len(), 5);
    // The complaint is part of what happened to the message.
    wait_for("the complaint in the trace", || {
        let found = traced(&gate, "<1.abc@shop.example>", 1);
        found.iter().any(|event| event["event"] == "complaint").then_some(())
    });
    let said = gate.tollgate(&["complaint", "add"]).badly();
    assert!(said.contains("a complaint needs"), "{said}");
}
