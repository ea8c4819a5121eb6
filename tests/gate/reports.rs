//! What reports say is what happened: what the next hop took, what the log tells, what `explain` shows.

use crate::{
    mail_programs::swaks,
    support::{Gate, gate, sink, wait_for},
};
use serde_json::Value;

/// This month's report of a tenant, once it knows of so many messages and refusals.
#[track_caller]
fn report(gate: &Gate, tenant: &str, messages: u64, refused: u64) -> Value {
    wait_for("the report to have everything", || {
        let report = gate.json(&["report", "--tenant", tenant, "--period", "this-month"]);
        let counted = &report["tenant"];
        let all =
            counted["accepted_messages"] == messages && counted["over_limit_attempts"] == refused;
        all.then_some(report)
    })
}

#[test]
fn a_report_says_what_the_next_hop_took_and_what_explain_shows() {
    let sink = sink().run();
    let mut gate = gate().limit(5, "1h").next_hop(&sink).run();
    for recipients in ["r1@one.example,r2@one.example", "r1@one.example", "R2@one.example"] {
        swaks(gate.smarthost(), "a@shop.example", &["--to", recipients]).well();
    }
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<b@shop.example>");
    client.expect(250, "RCPT TO:<r9@two.example>");
    assert_eq!(client.text("text").code, 250);
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(250, "RCPT TO:<r5@two.example>");
    client.expect(450, "RCPT TO:<r6@two.example>");
    client.expect(450, "RCPT TO:<r7@two.example>");
    assert_eq!(client.text("text").code, 250);
    gate.tollgate(&["tenant", "set", "quiet.example"]).well();

    let report = report(&gate, "shop.example", 5, 2);
    let counted = &report["tenant"];
    assert_eq!(counted["accepted_recipients"], sink.recipients(), "{counted:#}");
    assert_eq!(counted["delivered"], sink.recipients());
    assert_eq!(
        (&counted["distinct_recipients"], &counted["refused_over_hour_limit"]),
        (&4.into(), &2.into())
    );
    assert_eq!(counted["top_accounts"][0]["account"], "a@shop.example");
    assert_eq!(counted["top_accounts"][0]["recipients"], 5);
    let explained = gate.json(&["explain", "a@shop.example"]);
    let of_account =
        explained["limits"].as_array().unwrap().iter().find(|l| l["scope"] == "account");
    assert_eq!(of_account.unwrap()["used"], 5);
    // The log's own messages come to the same.
    let sent = wait_for("all messages to be in the log", || {
        let log = gate.log();
        let messages = log.iter().filter(|line| line["event"] == "message");
        let sent = messages.map(|line| line["recipients_sent"].as_u64().unwrap());
        let sent: Vec<u64> = sent.collect();
        (sent.len() == 5).then(|| sent.iter().sum::<u64>())
    });
    assert_eq!(counted["accepted_recipients"], sent);

    // What was counted survives being killed, and what is down meanwhile is a gap.
    gate.kill();
    gate.start();
    let again = self::report(&gate, "shop.example", 5, 2);
    assert_eq!(again["tenant"]["accepted_recipients"], counted["accepted_recipients"]);
    assert!(again["head"]["minutes_collected"].as_u64() < again["head"]["minutes"].as_u64());

    let csv =
        gate.tollgate(&["report", "--all", "--period", "this-month", "--format", "csv"]).well();
    let rows: Vec<&str> = csv.lines().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(rows, ["tenant", "quiet.example", "shop.example"], "also who sent nothing: {csv}");
    let table = gate.tollgate(&["report", "--all", "--period", "last-30-days"]).well();
    assert!(table.contains("quiet.example") && table.contains("gap "), "{table}");
    let page = gate
        .tollgate(&["report", "--tenant", "shop.example", "--period", "today", "--format", "html"])
        .well();
    assert!(page.contains("<svg class=\"chart\"") && !page.contains("r1@"), "{page}");
    let wrong = gate.tollgate(&["report", "--all", "--period", "2026-13"]).badly();
    assert!(wrong.contains("last-month"), "{wrong}");
}

#[test]
fn a_tenant_gets_its_report_by_mail_once() {
    let sink = sink().run();
    let mut gate = gate().set("reports.letters", "weekly").next_hop(&sink).run();
    let contact = |gate: &Gate, tenant: &str| {
        let address = format!("owner@{tenant}");
        gate.tollgate(&["tenant", "set", tenant, "--contact", &address, "--language", "id"]).well();
    };
    contact(&gate, "shop.example");
    gate.restart();
    let letter = sink.wait_for(1).remove(0);
    assert!(letter.mail.starts_with("MAIL FROM:<>"), "{}", letter.mail);
    assert_eq!(letter.recipients, ["RCPT TO:<owner@shop.example>"]);
    let text = letter.as_str();
    for part in [
        "Subject: Pemakaian e-mail: shop.example",
        "Auto-Submitted: auto-generated",
        "text/plain",
        "text/html",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The next round writes to whoever is new and to nobody twice.
    contact(&gate, "mall.example");
    gate.restart();
    let letters = sink.wait_for(2);
    let to: Vec<&str> = letters.iter().map(|letter| letter.recipients[0].as_str()).collect();
    assert_eq!(to, ["RCPT TO:<owner@shop.example>", "RCPT TO:<owner@mall.example>"]);
    // Nobody was charged.
    assert_eq!(
        gate.json(&["report", "--tenant", "shop.example", "--period", "today"])["tenant"]["accepted_recipients"],
        0
    );
}
