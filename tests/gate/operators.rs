//! What an operator sees and does: usage, explain, overrides, suspension, passwords.

use crate::{
    limits::facts,
    support::{Gate, gate, programs, sink, wait_for},
};
use serde_json::Value;
use std::process::Command;
use tollgate::types::Timestamp;

const ACCOUNT: &str = "a@shop.example";

/// The line of a limit in the output of `usage` or `explain`.
#[track_caller]
pub(crate) fn limit<'a>(view: &'a Value, scope: &str, window: &str) -> &'a Value {
    let limits = view["limits"].as_array().unwrap_or_else(|| panic!("no limits in {view}"));
    let wanted = |line: &&Value| {
        line["scope"] == scope && line["window"] == window && line["unit"] == "recipients"
    };
    limits.iter().find(wanted).unwrap_or_else(|| panic!("no {scope} {window} in {view}"))
}

/// Recipients that count for an account in its window of an hour.
#[track_caller]
pub(crate) fn used(gate: &Gate, account: &str) -> u64 {
    limit(&gate.json(&["usage", account]), "account", "1 h")["used"].as_u64().unwrap()
}

#[test]
fn usage_explain_and_the_refusal_tell_the_same() {
    let sink = sink().run();
    let gate = gate()
        .limit(3, "1h")
        .scoped_limit("tenant", "recipients", 600, "24h")
        .next_hop(&sink)
        .run();
    let refused = facts(&gate.client().send_until_refused(ACCOUNT, 9).1);

    let explained = gate.json(&["explain", ACCOUNT]);
    for view in [&gate.json(&["usage", ACCOUNT]), &explained] {
        let line = limit(view, "account", "1 h");
        assert_eq!((&line["used"], &line["max"]), (&3.into(), &3.into()), "{line}");
        assert_eq!((&line["open"], &line["remaining"]), (&0.into(), &0.into()), "{line}");
        let slot: Timestamp = line["next_slot"].as_str().unwrap().parse().unwrap();
        assert!(refused.slot.since(slot).as_secs() == 0 && slot.since(refused.slot).as_secs() == 0);
        assert_eq!(line["source"], "plan test");
        let line = limit(view, "tenant", "24 h");
        assert_eq!((&line["used"], &line["remaining"]), (&3.into(), &597.into()), "{line}");
    }
    assert_eq!(explained["tenant"], "shop.example");
    assert_eq!(explained["plan"], "test");
    let last = &explained["last_refusal"];
    assert!(last["reply"].as_str().unwrap().contains("3 of 3 recipients in 1 h"), "{last}");
    // For people the same figures, in words.
    let text = gate.tollgate(&["explain", ACCOUNT]).well();
    assert!(text.contains("shop.example") && text.contains("plan test"), "{text}");
    assert!(gate.tollgate(&["usage"]).well().contains(ACCOUNT));
    assert!(gate.tollgate(&["account", "list"]).well().contains(ACCOUNT));
}

#[test]
fn an_open_reservation_is_told_apart_from_what_was_sent() {
    let sink = sink().run();
    let gate = gate().limit(3, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    client.send(ACCOUNT, &["b@remote.example"], "text");
    client.expect(250, &format!("MAIL FROM:<{ACCOUNT}>"));
    client.expect(250, "RCPT TO:<b@remote.example>");
    let usage = gate.json(&["usage", ACCOUNT]);
    let line = limit(&usage, "account", "1 h");
    assert_eq!((&line["sent"], &line["open"], &line["used"]), (&1.into(), &1.into(), &2.into()));
}

#[test]
fn an_override_lifts_a_limit_until_it_ends_and_survives_a_restart() {
    let sink = sink().run();
    let mut gate = gate().limit(2, "1h").next_hop(&sink).run();
    assert_eq!(gate.client().send_until_refused(ACCOUNT, 9).0, 2);
    let raise = |until: &str| {
        let limit = "account recipients 1h=4";
        gate.tollgate(&[
            "account",
            "set",
            ACCOUNT,
            "--limit",
            limit,
            "--until",
            until,
            "--reason",
            "newsletter",
        ])
        .well()
    };
    raise("7d");
    assert_eq!(gate.client().send_until_refused(ACCOUNT, 9).0, 2);
    gate.restart();
    let explained = gate.json(&["explain", ACCOUNT]);
    let line = limit(&explained, "account", "1 h");
    assert_eq!((&line["max"], &line["used"]), (&4.into(), &4.into()));
    assert_eq!(
        (&line["source"], &line["source_reason"]),
        (&"account".into(), &"newsletter".into())
    );

    // The same limit, for a second: afterwards the plan's own holds again, and its history is still there.
    let limit_text = "account recipients 1h=9";
    gate.tollgate(&[
        "account", "set", ACCOUNT, "--limit", limit_text, "--until", "1s", "--reason", "a moment",
    ])
    .well();
    wait_for("the override to end", || {
        let explained = gate.json(&["explain", ACCOUNT]);
        (limit(&explained, "account", "1 h")["max"] == 2).then_some(())
    });
    assert_eq!(gate.client().send_until_refused(ACCOUNT, 9).0, 0);
}

#[test]
fn a_limit_of_a_tenant_overrides_the_plans() {
    let sink = sink().run();
    let gate = gate().scoped_limit("tenant", "recipients", 2, "1h").next_hop(&sink).run();
    gate.tollgate(&[
        "tenant",
        "set",
        "shop.example",
        "--limit",
        "tenant recipients 1h=5",
        "--reason",
        "paid more",
    ])
    .well();
    let mut client = gate.client();
    assert_eq!(client.send_until_refused(ACCOUNT, 9).0, 5);
    assert_eq!(client.send_until_refused("a@else.example", 9).0, 2);
}

#[test]
fn an_account_can_be_moved_to_another_plan_and_tenant() {
    let sink = sink().run();
    let gate = gate().limit(1, "1h").set("plan.large.limits", large_plan()).next_hop(&sink).run();
    gate.tollgate(&["account", "set", ACCOUNT, "--plan", "large", "--tenant", "customer-17"])
        .well();
    assert_eq!(gate.client().send_until_refused(ACCOUNT, 9).0, 4);
    let explained = gate.json(&["explain", ACCOUNT]);
    assert_eq!(
        (&explained["plan"], &explained["tenant"]),
        (&"large".into(), &"customer-17".into())
    );
    let said = gate.tollgate(&["account", "set", ACCOUNT, "--plan", "nonsense"]).badly();
    assert!(said.contains("nonsense"), "{said}");
}

fn large_plan() -> toml::Value {
    let lines: toml::Table =
        "limits = [{ scope = \"account\", unit = \"recipients\", window = \"1h\", max = 4 }]"
            .parse()
            .unwrap();
    lines["limits"].clone()
}

#[test]
fn a_suspension_holds_across_restarts_until_it_is_lifted() {
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    // Two connections that are open already: states are read at each MAIL.
    let mut before = gate.client();
    before.expect(250, "NOOP");
    gate.tollgate(&["account", "suspend", ACCOUNT, "--reason", "spam wave"]).well();
    let shown = gate.json(&["account", "show", ACCOUNT]);
    assert_eq!((&shown["state"], &shown["reason"]), (&"suspended".into(), &"spam wave".into()));
    let case = shown["case"].as_str().unwrap().to_owned();

    let refusal = refused_at_first(&mut before);
    assert!(refusal.starts_with("550 5.7.1 "), "{refusal}");
    assert!(refusal.contains(&case) && refusal.contains("abuse@provider.example"), "{refusal}");
    gate.restart();
    let refusal = refused_at_first(&mut gate.client());
    assert!(refusal.contains(&case), "{refusal}");
    assert_eq!(gate.client().send("b@shop.example", &["x@remote.example"], "text").code, 250);

    gate.tollgate(&["account", "resume", ACCOUNT, "--reason", "password changed"]).well();
    assert_eq!(gate.client().send(ACCOUNT, &["x@remote.example"], "text").code, 250);
    gate.logged("suspended", |line| line["case"] == case.as_str());
    gate.logged("resumed", |line| line["case"] == case.as_str());
    gate.tollgate(&["account", "resume", ACCOUNT, "--reason", "again"]).badly();
}

#[test]
fn a_suspended_tenant_stops_all_its_accounts() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    gate.tollgate(&["tenant", "suspend", "shop.example", "--reason", "not paid"]).well();
    assert!(refused_at_first(&mut gate.client()).starts_with("550 5.7.1 "));
    assert_eq!(gate.client().send("a@else.example", &["x@remote.example"], "text").code, 250);
    gate.tollgate(&["tenant", "resume", "shop.example", "--reason", "paid"]).well();
    assert_eq!(gate.client().send(ACCOUNT, &["x@remote.example"], "text").code, 250);
}

/// The refusal that the account hears, at MAIL or at its first recipient.
#[track_caller]
fn refused_at_first(client: &mut crate::support::Client) -> String {
    let mail = client.say(&format!("MAIL FROM:<{ACCOUNT}>"));
    let reply = if mail.code == 250 { client.say("RCPT TO:<b@remote.example>") } else { mail };
    client.expect(250, "RSET");
    reply.to_string()
}

#[test]
fn commands_say_so_when_no_gate_runs() {
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    gate.kill();
    let said = gate.tollgate(&["usage"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(!said.badly().is_empty());
}

#[test]
fn the_control_socket_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let mode = std::fs::metadata(gate.file("var/control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_password_that_passwd_stores_logs_in() {
    let sink = sink().run();
    for scheme in ["argon2id", "blf-crypt", "sha512-crypt", "sha256-crypt"] {
        let gate = gate().set("auth.failures_per_minute", 1000).next_hop(&sink).run();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let passwd = command
            .args(["passwd", ACCOUNT, "--file", "passwd", "--scheme", scheme])
            .current_dir(gate.folder());
        programs::run_command(passwd, "secret\n").well();
        let stored = std::fs::read_to_string(gate.file("passwd")).unwrap();
        assert!(stored.starts_with("a@shop.example:{") && !stored.contains("secret"), "{stored}");
        wait_for("the gate to see the new file", || {
            // base64 of "\0a@shop.example\0secret"
            let reply = gate.client().say("AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==");
            (reply.code == 235).then_some(())
        });
    }
}
