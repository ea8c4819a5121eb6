//! No stranger relays: the forms that open-relay testers try (abuse.net, ORDB, nmap's smtp-open-relay), at every listener and in
//! every state that a stranger can bring a session into.

use crate::support::{Client, Gate, Settings, Sink, gate, sink, tls};
use std::net::{IpAddr, Ipv4Addr};

/// An address of this machine that no row of the trust table knows.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// What stands behind `MAIL FROM:` and `RCPT TO:`. The gate is `gate.example`, the target anybody elsewhere.
const FORMS: &[(&str, &str)] = &[
    ("<spam@elsewhere.example>", "<target@remote.example>"),
    ("<>", "<target@remote.example>"),
    ("<spam>", "<target@remote.example>"),
    ("<spam@localhost>", "<target@remote.example>"),
    ("<postmaster@gate.example>", "<target@remote.example>"),
    ("<spam@gate.example>", "<target@remote.example>"),
    ("<spam@[127.0.0.1]>", "<target@remote.example>"),
    ("<spam@127.0.0.1>", "<target@remote.example>"),
    ("<owner@shop.example>", "<target@remote.example>"),
    ("spam@gate.example", "target@remote.example"),
    ("<spam@gate.example>", "target@remote.example"),
    ("<spam@gate.example>", "<\"target@remote.example\">"),
    ("<spam@gate.example>", "<\"target@remote.example\"@gate.example>"),
    ("<spam@gate.example>", "<\"target@remote.example\"@[127.0.0.1]>"),
    ("<spam@gate.example>", "<target%remote.example@gate.example>"),
    ("<spam@gate.example>", "<target%remote.example@[127.0.0.1]>"),
    ("<spam@gate.example>", "<target%remote.example>"),
    ("<spam@gate.example>", "<\"target%remote.example\">"),
    ("<spam@gate.example>", "<\"target%remote.example\"@gate.example>"),
    ("<spam@gate.example>", "<target@remote.example@gate.example>"),
    ("<spam@gate.example>", "<target@remote.example@[127.0.0.1]>"),
    ("<spam@gate.example>", "<target@remote.example@>"),
    ("<spam@gate.example>", "<@gate.example:target@remote.example>"),
    ("<spam@gate.example>", "<@[127.0.0.1]:target@remote.example>"),
    ("<spam@gate.example>", "<@gate.example,@localhost:target@remote.example>"),
    ("<spam@gate.example>", "<remote.example!target>"),
    ("<spam@gate.example>", "<remote.example!target@gate.example>"),
    ("<spam@gate.example>", "<remote.example!target@[127.0.0.1]>"),
    ("<spam@gate.example>", "<gate.example!remote.example!target>"),
    ("<spam@gate.example>", "<\"target\"@remote.example>"),
    ("<spam@gate.example>", "<\"tar get\"@remote.example>"),
    ("<spam@gate.example>", "<target @remote.example>"),
    ("<spam@gate.example>", "< target@remote.example >"),
    ("<spam@gate.example>", "<target@remote.example.>"),
    ("<spam@gate.example>", "<target\\@remote.example@gate.example>"),
    ("<spam@gate.example>", "<postmaster>"),
    ("<spam@gate.example>", "<target@gate.example>"),
    ("<spam@gate.example> AUTH=owner@shop.example", "<target@remote.example>"),
    ("<spam@gate.example> AUTH=<>", "<target@remote.example>"),
    ("<spam@gate.example> XOORG=gate.example", "<target@remote.example>"),
];

/// Only the machine's first address is trusted, with every right that there is.
fn guarded(sink: &Sink) -> Settings {
    gate()
        .trust(
            r#"networks = ["127.0.0.1"]
relay = true
xclient = true
xforward = true
proxy = true
mail_auth = true
identity_headers = ["x-auth-user", "received-auth", "php-script"]"#,
        )
        .set("session.errors_max", 10_000)
        .evidence_as_shipped()
        .user("owner@shop.example", "secret")
        .next_hop(sink)
}

/// Tries all forms in one session; `before` brings it into its state again before each.
#[track_caller]
fn try_all(what: &str, client: &mut Client, before: &[&str]) {
    for (sender, recipient) in FORMS {
        for line in before {
            client.say(line);
        }
        for line in [format!("MAIL FROM:{sender}"), format!("RCPT TO:{recipient}")] {
            let reply = client.say(&line);
            assert_eq!(reply.code / 100, 5, "{what}: {line} was answered {reply}");
        }
        let data = client.say("DATA");
        assert_eq!(data.code / 100, 5, "{what}: DATA was answered {data}");
        client.expect(250, "RSET");
    }
}

/// The next hop heard of nothing, and nobody was charged.
#[track_caller]
fn nothing_came_of_it(gate: &Gate, sink: &Sink) {
    let heard = sink.heard();
    let harmless = |line: &String| ["EHLO", "QUIT"].contains(&line.get(..4).unwrap_or_default());
    assert!(heard.iter().all(harmless), "{heard:?}");
    for account in ["owner@shop.example", "spam@gate.example", "127.0.0.66"] {
        assert_eq!(gate.json(&["explain", account])["known"], false, "{account}");
    }
    assert!(gate.log().iter().all(|line| line["event"] != "message"));
}

#[test]
fn a_stranger_relays_at_no_listener_and_in_no_form() {
    let sink = sink().run();
    let gate = guarded(&sink).run();
    let hello = |server| Client::hello_from(STRANGER, server);
    try_all("smarthost", &mut hello(gate.smarthost()), &[]);
    try_all("after STARTTLS", &mut hello(gate.smarthost()).starttls(&tls()), &[]);
    try_all("after HELO", &mut hello(gate.smarthost()), &["HELO gate.example"]);
    try_all("submission", &mut hello(gate.submission()), &[]);
    try_all("submission with TLS", &mut hello(gate.submission()).starttls(&tls()), &[]);
    // Trusted at the smarthost listener, but a submission listener asks everybody for a login.
    try_all("submissions", &mut Client::hello_tls(gate.submissions(), &tls()), &[]);
    nothing_came_of_it(&gate, &sink);
}

#[test]
fn what_a_stranger_says_first_opens_nothing() {
    let sink = sink().run();
    let gate = guarded(&sink).set("auth.failures_per_minute", 1_000_000).run();
    for before in [
        "XCLIENT ADDR=127.0.0.1",
        "XCLIENT ADDR=127.0.0.1 LOGIN=owner@shop.example",
        "XFORWARD ADDR=127.0.0.1 NAME=localhost SOURCE=LOCAL",
        "PROXY TCP4 127.0.0.1 127.0.0.1 4660 25",
        "PROXY UNKNOWN",
        // base64 of "\0owner@shop.example\0wrong" and of "owner@shop.example" twice with an empty password
        "AUTH PLAIN AG93bmVyQHNob3AuZXhhbXBsZQB3cm9uZw==",
        "AUTH PLAIN b3duZXJAc2hvcC5leGFtcGxlAG93bmVyQHNob3AuZXhhbXBsZQA=",
        "AUTH ANONYMOUS c3BhbQ==",
        "AUTH EXTERNAL =",
        "EHLO localhost",
        "EHLO gate.example",
        "EHLO [127.0.0.1]",
        "ETRN remote.example",
        "TURN",
        "VRFY owner@shop.example",
        "RSET",
    ] {
        let mut client = Client::hello_from(STRANGER, gate.smarthost());
        client.say(before);
        for (sender, recipient) in &FORMS[..2] {
            let mail = client.say(&format!("MAIL FROM:{sender}"));
            assert_eq!(mail.code, 550, "{before}: {mail}");
            let rcpt = client.say(&format!("RCPT TO:{recipient}"));
            assert_eq!(rcpt.code, 503, "{before}: {rcpt}");
        }
    }
    nothing_came_of_it(&gate, &sink);
}

#[test]
fn a_proxy_header_lends_a_stranger_nothing() {
    let sink = sink().run();
    let gate = guarded(&sink).run();
    // Whoever has no right to send one is not even greeted.
    let spoofed = b"PROXY TCP4 127.0.0.1 127.0.0.1 4660 25\r\n";
    assert!(Client::try_connect_from(STRANGER, gate.proxied(), spoofed).is_err());
    // The balancer has all rights itself; whom it names as a stranger, or cannot name, has none.
    for header in [
        &b"PROXY TCP4 198.51.100.7 127.0.0.1 4660 25\r\n"[..],
        b"PROXY TCP4 127.0.0.66 127.0.0.1 4660 25\r\n",
        b"PROXY TCP6 ::ffff:198.51.100.7 ::1 4660 25\r\n",
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN 127.0.0.1 127.0.0.1 4660 25\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00",
        // LOCAL with the addresses of a trusted client, which are to be ignored.
        b"\r\n\r\n\0\r\nQUIT\n\x20\x11\x00\x0c\x7f\0\0\x01\x7f\0\0\x01\x12\x34\0\x19",
    ] {
        let mut client = Client::connect_saying(gate.proxied(), header);
        let shown = String::from_utf8_lossy(header);
        let offers = client.expect(250, "EHLO client.example").lines;
        let claims = |offer: &String| offer.starts_with("XCLIENT") || offer.starts_with("XFORWARD");
        assert!(!offers.iter().any(claims), "{shown}: {offers:?}");
        for claim in ["XCLIENT ADDR=127.0.0.1", "XFORWARD ADDR=127.0.0.1", "PROXY UNKNOWN"] {
            let reply = client.say(claim);
            assert_eq!(reply.code / 100, 5, "{shown}: {claim} was answered {reply}");
        }
        try_all(&shown, &mut client, &[]);
    }
    nothing_came_of_it(&gate, &sink);
}

#[test]
fn nobody_logs_in_behind_a_proxy_header_that_names_nobody() {
    let sink = sink().run();
    let gate = guarded(&sink).run();
    // base64 of "\0owner@shop.example\0secret"
    let login = "AUTH PLAIN AG93bmVyQHNob3AuZXhhbXBsZQBzZWNyZXQ=";
    for (header, code) in
        [("PROXY TCP4 198.51.100.7 127.0.0.1 4660 25\r\n", 235), ("PROXY UNKNOWN\r\n", 502)]
    {
        let client = Client::connect_saying(gate.proxied(), header.as_bytes());
        let mut client = greeted(client).starttls(&tls());
        client.expect(code, login);
        let mail = client.say("MAIL FROM:<owner@shop.example>");
        assert_eq!(mail.code, if code == 235 { 250 } else { 550 }, "{header}: {mail}");
    }
    assert_eq!(sink.count(), 0);
}

fn greeted(mut client: Client) -> Client {
    client.expect(250, "EHLO client.example");
    client
}
