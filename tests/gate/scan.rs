//! Rspamd and ClamAV look into messages: what they object to does not go on and costs nothing, and their failures do what the
//! operator wants.

use crate::{
    mail_programs::swaks,
    support::{
        Gate, gate,
        ports::free_port,
        scanners::{Clamav, GTUBE, Rspamd, SPAMMY, VIRUS, VIRUS_NAME},
        sink, wait_for,
    },
};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener};

const ACCOUNT: &str = "a@shop.example";

fn tcp(address: SocketAddr) -> String {
    format!("inet:{address}")
}

/// Sends a text and returns the answer to it.
fn send(gate: &Gate, text: &str) -> (u16, String) {
    let mut client = gate.client();
    client.expect(250, &format!("MAIL FROM:<{ACCOUNT}>"));
    client.expect(250, "RCPT TO:<b@remote.example>");
    let reply = client.text(text);
    (reply.code, reply.to_string())
}

fn used(gate: &Gate) -> u64 {
    let explained = gate.json(&["explain", ACCOUNT]);
    let limits = explained["limits"].as_array().unwrap();
    let used = |limit: &Value| limit["used"].as_u64().unwrap();
    limits.iter().filter(|limit| limit["scope"] == "account").map(used).max().unwrap()
}

#[test]
fn a_virus_is_refused_however_its_dots_are_stuffed_and_costs_nothing() {
    let (sink, clamav) = (sink().run(), Clamav::start());
    let gate = gate()
        .limit(50, "1h")
        .set("scan.clamav.socket", clamav.socket().to_str().unwrap())
        .set("scan.bytes_max", "8 KiB")
        .next_hop(&sink)
        .run();
    assert_eq!(send(&gate, "nothing to see").0, 250);
    let clean = gate.logged("message", |line| line["outcome"] == "sent");
    assert_eq!(clean["clamav"], "clean");

    let (code, said) = send(&gate, &format!("look:\r\n.{VIRUS}\r\nend"));
    assert_eq!(code, 550, "{said}");
    for part in ["5.7.1", "account a@shop.example", VIRUS_NAME] {
        assert!(said.contains(part), "{said}");
    }
    let refused = gate.logged("message", |line| line["outcome"] == "refused");
    assert_eq!(refused["clamav"], VIRUS_NAME);
    assert_eq!(gate.logged("refused", |_| true)["reason"], "virus");
    assert_eq!((sink.recipients(), used(&gate)), (1, 1));

    // With a real program, from a file, beyond what stays in memory; and behind what is looked into.
    let beyond = format!("{}{VIRUS}\n", "0123456789abcdef\n".repeat(600));
    let said = swaks(gate.smarthost(), ACCOUNT, &["--to", "b@remote.example", "--body", &beyond]);
    assert_eq!(said.code, 0, "{said:?}");
    let before = format!("x\n{VIRUS}\n{beyond}");
    let said = swaks(gate.smarthost(), ACCOUNT, &["--to", "b@remote.example", "--body", &before]);
    assert!(said.code != 0 && said.out.contains(VIRUS_NAME), "{said:?}");
    let metrics = gate.http("/metrics").1;
    assert!(metrics.contains("tollgate_clamav_scans_total{result=\"found\"} 2"), "{metrics}");
    assert!(metrics.contains("tollgate_clamav_scans_total{result=\"clean\"} 2"), "{metrics}");
}

#[test]
fn rspamd_hears_the_envelope_and_its_refusals_count_unless_it_is_only_listened_to() {
    let (sink, rspamd) = (sink().run(), Rspamd::start());
    let mut gate =
        gate().limit(50, "1h").set("scan.rspamd.url", rspamd.url()).next_hop(&sink).run();
    let said = swaks(
        gate.smarthost(),
        ACCOUNT,
        &["--to", "b@remote.example", "--body", SPAMMY, "--helo", "shop-pc.example"],
    );
    assert_eq!(said.code, 0, "{said:?}");
    let marked = gate.logged("message", |line| line["outcome"] == "sent");
    assert_eq!((&marked["rspamd"], &marked["rspamd_symbols"]), (&"mark".into(), &"SPAMMY".into()));
    assert_eq!(marked["rspamd_score"], 7.5);
    // Its opinion is one of the content rules.
    assert_eq!(marked["spam"], true, "{marked}");
    let id = marked["id"].as_str().unwrap();
    let seen = rspamd.seen().join("\n");
    for part in [
        "ip 127.0.0.1",
        "user a@shop.example",
        "from <a@shop.example>",
        "rcpts <b@remote.example>",
        &format!("id {id}"),
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }

    let (code, said) = send(&gate, GTUBE);
    assert_eq!(code, 550, "{said}");
    assert!(said.contains("5.7.1") && said.contains("(score 15.0 of 15.0)"), "{said}");
    assert_eq!(gate.logged("refused", |_| true)["reason"], "spam");
    assert_eq!((sink.recipients(), used(&gate)), (1, 1));

    gate.reload(|settings| settings.set("scan.rspamd.refuse", false));
    assert_eq!(send(&gate, GTUBE).0, 250);
    gate.logged("message", |line| line["outcome"] == "sent" && line["rspamd"] == "refuse");
    gate.reload(|settings| {
        settings.set("scan.rspamd.refuse", true).set("plan.test.mode", "observe")
    });
    assert_eq!(send(&gate, GTUBE).0, 250);
    gate.logged("message", |line| line["would_refuse"] == true && line["rspamd"] == "refuse");
}

#[test]
fn without_an_answer_mail_passes_or_waits_as_the_operator_wants_until_it_is_back() {
    let (sink, place) = (sink().run(), free_port());
    let mut gate =
        gate().limit(50, "1h").set("scan.clamav.socket", tcp(place)).next_hop(&sink).run();
    for _ in 0..3 {
        assert_eq!(send(&gate, VIRUS).0, 250);
    }
    let down = gate.logged("scanner-down", |line| line["scanner"] == "clamav");
    assert!(down["detail"].as_str().unwrap().contains("refused"), "{down}");
    assert_eq!(gate.logged("message", |_| true)["clamav"], "failed");
    gate.reload(|settings| settings.set("scan.clamav.on_failure", "defer"));
    let (before, (code, said)) = (used(&gate), send(&gate, "text"));
    assert_eq!((code, used(&gate)), (451, before), "{said}");
    assert!(said.contains("4.3.0") && said.contains("clamav"), "{said}");
    // A reload with other settings asks anew: what was down is not waited for, is found to be down again, and later to be up.
    gate.logged("scanner-up", |line| line["scanner"] == "clamav");
    for _ in 0..2 {
        assert_eq!(send(&gate, "text").0, 451);
    }
    let told_twice = |event: &str| {
        let told = gate.log().into_iter().filter(|line| line["event"] == event);
        (told.count() == 2).then_some(())
    };
    wait_for("it to be down again", || told_twice("scanner-down"));
    let _clamav = Clamav::start_at(place);
    wait_for("it to be asked again", || {
        (send(&gate, &format!("x\r\n.{VIRUS}")).0 == 550).then_some(())
    });
    wait_for("it to be up again", || told_twice("scanner-up"));
    assert!(gate.http("/metrics").1.contains("tollgate_scanner_up{scanner=\"clamav\"} 1"));
}

#[test]
fn who_says_nothing_is_waited_for_no_longer_than_its_time() {
    let (sink, silent) = (sink().run(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = silent.local_addr().unwrap();
    let gate = gate()
        .limit(50, "1h")
        .set("scan.clamav.socket", tcp(address))
        .set("scan.clamav.timeout", "1s")
        .set("scan.rspamd.url", format!("http://{address}"))
        .set("scan.rspamd.timeout", "1s")
        .set("scan.rspamd.on_failure", "defer")
        .next_hop(&sink)
        .run();
    for _ in 0..3 {
        assert_eq!(send(&gate, "text").0, 451);
    }
    for scanner in ["rspamd", "clamav"] {
        gate.logged("scanner-down", |line| line["scanner"] == scanner);
    }
    let line = gate.logged("message", |_| true);
    assert_eq!((&line["rspamd"], &line["clamav"]), (&"failed".into(), &"failed".into()));
    assert_eq!(sink.recipients(), 0);
}
