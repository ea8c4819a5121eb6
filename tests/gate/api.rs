//! The API as scripts and control panels use it: tokens, roles, changes, events as they happen, TLS.

use crate::{
    operators::limit,
    support::{
        Gate, Settings,
        api::{ask, event_of},
        gate, programs, sink,
    },
};
use serde_json::{Value, json};
use std::{fs, net::TcpStream, path::Path, time::Duration};
use tollgate::clock::steady_now;

const ACCOUNT: &str = "a@shop.example";
const OTHERS: &str = "b@other.example";

#[test]
fn the_api_tells_what_the_refusal_and_the_command_line_tell() {
    let sink = sink().run();
    let gate = gate().limit(3, "1h").next_hop(&sink).run();
    gate.client().send_until_refused(ACCOUNT, 9);
    gate.client().send_until_refused(OTHERS, 9);
    let (desk, shop) = (
        gate.token(&["desk", "--role", "read-only"]),
        gate.token(&["shop", "--role", "tenant", "--tenant", "shop.example"]),
    );
    for token in [&desk, &shop] {
        let told = token.get(&format!("/accounts/{ACCOUNT}/explain"));
        assert_eq!(told.status, 200, "{told:?}");
        let mut said = gate.json(&["explain", ACCOUNT]);
        let hour = |view: &Value| limit(view, "account", "1 h").clone();
        assert_eq!(hour(&told.body), hour(&said));
        assert_eq!(told.body["last_refusal"], said["last_refusal"].take());
        let listed = token.get("/accounts?tenant=shop.example").body;
        assert_eq!(listed["items"][0]["limits"][0], hour(&told.body));
    }
    assert_eq!(desk.get(&format!("/accounts/{OTHERS}")).status, 200);
    assert_eq!(shop.get(&format!("/accounts/{OTHERS}")).status, 404);
    assert_eq!(event_of(&desk, "refused")["tenant"], "other.example");
    assert_eq!(event_of(&shop, "refused")["facts"]["account"], ACCOUNT);
    assert_eq!(event_of(&shop, "limit-reached")["tenant"], "shop.example");
    assert_eq!(desk.get("/health").body["next_hops"][0]["usable"], true);
    assert_eq!(desk.get("/plans").body[0]["limits"][0]["max"], 3);
}

#[test]
fn a_suspension_over_the_api_is_heard_by_the_sender_and_stands_in_the_audit() {
    let sink = sink().run();
    let gate = gate().limit(3, "1h").next_hop(&sink).run();
    let (desk, eyes) =
        (gate.token(&["desk", "--role", "operator"]), gate.token(&["eyes", "--role", "read-only"]));
    let path = format!("/accounts/{ACCOUNT}/suspend");
    let why = r#"{"reason": "stolen password"}"#;
    assert_eq!(eyes.ask("POST", &path, why).status, 403);
    let suspended = desk.ask("POST", &path, why).body;
    let mut client = gate.client();
    client.expect(250, &format!("MAIL FROM:<{ACCOUNT}>"));
    let reply = client.expect(550, "RCPT TO:<b@remote.example>").text();
    assert!(reply.contains(suspended["case"].as_str().unwrap()), "{reply} {suspended}");
    let audited = gate.tollgate(&["audit", "--action", "suspended", "--json"]).well();
    let audited: Value = serde_json::from_str(audited.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&audited["actor"], &audited["via"], &audited["reason"]),
        (&json!("token desk"), &json!("api"), &json!("stolen password"))
    );
    let lifted =
        desk.ask("POST", &format!("/accounts/{ACCOUNT}/resume"), r#"{"reason": "new one"}"#);
    assert_eq!((lifted.status, &lifted.body["state"]), (200, &json!("active")));
    gate.client().expect(250, &format!("MAIL FROM:<{ACCOUNT}>"));
}

#[test]
fn a_token_lives_until_it_is_revoked_across_crashes() {
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    let token = gate.token(&["desk", "--role", "operator", "--expires", "90d"]).token;
    let me = |gate: &Gate| ask(gate.api(), "GET", "/me", &token, "").status;
    gate.kill();
    gate.start();
    assert_eq!(me(&gate), 200);
    let listed = gate.tollgate(&["token", "list"]).well();
    assert!(listed.contains("desk") && !listed.contains(&token), "{listed}");
    gate.tollgate(&["token", "revoke", "desk"]).well();
    assert_eq!(me(&gate), 401);
    gate.kill();
    gate.start();
    assert_eq!(me(&gate), 401);
    let secret = token.trim_start_matches("tollgate_");
    for file in fs::read_dir(gate.file("var")).unwrap() {
        let octets = fs::read(file.unwrap().path()).unwrap_or_default();
        let found = octets.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "the secret is kept somewhere");
    }
}

#[test]
fn events_are_told_as_they_happen_and_what_was_missed_comes_first() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let (desk, shop) = (
        gate.token(&["desk", "--role", "read-only"]),
        gate.token(&["shop", "--role", "tenant", "--tenant", "shop.example"]),
    );
    let send = |from: &str| assert_eq!(gate.client().send(from, &["c@d"], "text").code, 250);
    let mut all = desk.follow("?event=message", None);
    let mut own = shop.follow("", None);
    for from in [OTHERS, ACCOUNT, OTHERS] {
        send(from);
    }
    let heard: Vec<Value> = (0..3).map(|_| all.next().unwrap()).collect();
    let accounts: Vec<&Value> = heard.iter().map(|event| &event["account"]).collect();
    assert_eq!(accounts, [OTHERS, ACCOUNT, OTHERS]);
    assert_eq!(own.next().unwrap(), heard[1], "and nothing of others before it");
    // Who comes back hears what was missed, once, and then what happens.
    drop(all);
    send(ACCOUNT);
    let last = heard[2]["id"].as_i64();
    assert_eq!(own.next().unwrap()["account"], ACCOUNT);
    let mut all = desk.follow("?event=message", last);
    assert_eq!(all.next().unwrap()["account"], ACCOUNT);
    send(OTHERS);
    assert_eq!(all.next().unwrap()["account"], OTHERS);
    // A token that is revoked ends what it opened.
    gate.tollgate(&["token", "revoke", "shop"]).well();
    assert_eq!(own.next(), None);
}

#[test]
fn requests_are_paced_for_each_token_and_failures_for_each_address() {
    let sink = sink().run();
    let paced = gate().set("api.requests_per_minute", 5).set("api.failures_per_minute", 3);
    let gate = paced.next_hop(&sink).run();
    let (desk, other) =
        (gate.token(&["desk", "--role", "operator"]), gate.token(&["other", "--role", "operator"]));
    let statuses =
        |count: usize, ask: &dyn Fn() -> u16| (0..count).map(|_| ask()).collect::<Vec<_>>();
    assert_eq!(statuses(6, &|| desk.get("/me").status), [200, 200, 200, 200, 200, 429]);
    assert!(desk.get("/me").header.contains("retry-after: 13"), "in 12 s, and never early");
    let wrong = || ask(gate.api(), "GET", "/me", "tollgate_x", "").status;
    assert_eq!(statuses(5, &wrong), [401, 401, 401, 429, 429]);
    assert_eq!(other.get("/me").status, 200, "others at the same address are let in");
    gate.logged("token-refused", |line| line["reason"] == "malformed");
    let told = |line: &Value| line["event"] == "token-refused";
    assert_eq!(gate.log().into_iter().filter(told).count(), 3);
}

/// A gate whose API speaks TLS only.
fn secured() -> Settings {
    gate().set("api.tls", true)
}

#[test]
fn behind_tls_nothing_is_said_without_it() {
    let sink = sink().run();
    let gate = secured().next_hop(&sink).run();
    let token = gate.token(&["desk", "--role", "operator"]).token;
    let plain = ask(gate.api(), "GET", "/me", &token, "");
    assert_eq!((plain.status, plain.body), (0, Value::Null));
    // Somebody who connects and says nothing keeps no one waiting.
    let _silent: Vec<_> = (0..5).map(|_| TcpStream::connect(gate.api()).unwrap()).collect();
    let url = format!("https://localhost:{}/api/v1/me", gate.api().port());
    let certificate = gate.file("var/tls-certificate.pem");
    let (header, resolve) = (format!("Authorization: Bearer {token}"), "localhost:443:127.0.0.1");
    let curl = programs::run(
        "curl",
        &[
            "-sS",
            "--cacert",
            certificate.to_str().unwrap(),
            "-H",
            &header,
            "--resolve",
            resolve,
            &url,
        ],
    );
    let me: Value = serde_json::from_str(&curl.well()).unwrap();
    assert_eq!((&me["name"], &me["role"]), (&json!("desk"), &json!("operator")));
}

/// Requests that fit the document and requests that do not, made up by schemathesis, against every operation: no answer may
/// be a server's error, have a status, a form or a header that the document does not name, or come without a token.
#[test]
fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    let sink = sink().run();
    let gate = gate()
        .set("api.requests_per_minute", 1_000_000)
        .set("api.failures_per_minute", 1_000_000)
        .next_hop(&sink)
        .run();
    gate.client().send(ACCOUNT, &["c@d"], "text");
    let began = steady_now();
    for role in [
        &["desk", "--role", "operator"][..],
        &["shop", "--role", "tenant", "--tenant", "shop.example"],
    ] {
        let token = gate.token(role).token;
        let said = schemathesis(&gate, &token);
        assert!(said.code == 0, "{}\n{}", said.out, said.err);
        for phase in ["Coverage", "Fuzzing"] {
            let (_, after) = said.out.split_once(phase).unwrap_or_else(|| panic!("{}", said.out));
            let passed = after.split(" passed").next().and_then(|it| it.split(' ').next_back());
            assert!(passed.unwrap().parse::<u32>().unwrap() > 20, "{phase}: {}", said.out);
        }
    }
    assert!(began.elapsed() < Duration::from_secs(240), "{:?}", began.elapsed());
    assert_eq!(gate.log().iter().filter(|line| line["event"] == "task-panicked").count(), 0);
}

fn schemathesis(gate: &Gate, token: &str) -> programs::Said {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = home.join("target/python/bin/schemathesis");
    let document = home.join("docs/openapi.json");
    programs::run_command(
        std::process::Command::new(program)
            .current_dir(gate.folder())
            .arg("run")
            .arg(document)
            .args(["--url", &format!("http://{}/api/v1", gate.api())])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(["--phases", "examples,coverage,fuzzing"])
            .args(["--checks", CHECKS])
            .args(["--max-examples", "15", "--seed", "1", "--workers", "1", "--no-color"])
            // A stream of events has no end; tests of its own follow it.
            .args(["--exclude-path", "/events/live"])
            // It has no way to write a mail; reports of abuse have tests of their own.
            .args(["--exclude-path", "/complaints/report"])
            .args(["--request-timeout", "10"]),
        "",
    )
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,ignored_auth,unsupported_method";
