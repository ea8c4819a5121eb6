//! Who is charged and who is believed: a script on a trusted host that forges evidence frames nobody and gains nothing.

use crate::{
    operators::{limit, used},
    support::{Gate, Reply, Sink, gate, sink, wait_for},
};
use serde_json::Value;

const SCRIPT: &str = "script@web.example";
const VICTIM: &str = "victim@other.example";

/// One attempt to be somebody else.
struct Forgery {
    what: &'static str,
    /// The row of the trust table for the server that the script runs on.
    trust: &'static str,
    evidence: &'static [&'static str],
    /// What is said before MAIL; the gate may refuse it.
    before: &'static str,
    /// The path of MAIL.
    sender: &'static str,
    /// What stands after it.
    parameters: &'static str,
    /// The fields on top of the message.
    header: &'static str,
    /// Who must be charged.
    account: &'static str,
    by: &'static str,
}

const PLAIN: Forgery = Forgery {
    what: "",
    trust: "relay = true",
    evidence: &["auth", "mail-from"],
    before: "",
    sender: SCRIPT,
    parameters: "",
    header: "",
    account: SCRIPT,
    by: "mail-from",
};

const HEADERS: &str = r#"relay = true
identity_headers = ["x-auth-user", "x-authenticated-sender", "received-auth", "received-userid", "php-script"]"#;
const ALL: &[&str] = &[
    "auth",
    "xclient-login",
    "mail-auth",
    "x-auth-user",
    "x-authenticated-sender",
    "received-auth",
    "received-userid",
    "php-script",
    "mail-from",
];
/// Another server, with all rights: they are its own.
const ENTITLED_ELSEWHERE: &str = r#"name = "elsewhere"
networks = ["192.0.2.1"]
relay = true
xclient = true
xforward = true
mail_auth = true
identity_headers = ["x-auth-user", "x-authenticated-sender", "received-auth", "received-userid", "php-script"]"#;
/// What a real Postfix puts on top of whatever a local script wrote.
const BY_POSTFIX: &str = "Received: by web.example (Postfix, from userid 1042)\n\tid 4F1; Sun, 22 Nov 2026 09:00:00 +0000 (UTC)\n";

const FORGERIES: &[Forgery] = &[
    Forgery {
        what: "XCLIENT without the right",
        before: "XCLIENT LOGIN=victim@other.example",
        evidence: ALL,
        ..PLAIN
    },
    Forgery {
        what: "XCLIENT with another address without the right",
        before: "XCLIENT ADDR=192.0.2.1",
        evidence: ALL,
        ..PLAIN
    },
    Forgery {
        what: "XFORWARD without the right",
        before: "XFORWARD ADDR=192.0.2.1",
        evidence: ALL,
        ..PLAIN
    },
    Forgery {
        what: "AUTH= without the right",
        parameters: " AUTH=victim@other.example",
        evidence: ALL,
        ..PLAIN
    },
    Forgery {
        what: "X-AuthUser without the right",
        header: "X-AuthUser: victim@other.example\n",
        evidence: ALL,
        ..PLAIN
    },
    Forgery {
        what: "X-Authenticated-Sender without the right",
        header: "X-Authenticated-Sender: victim@other.example\n",
        evidence: ALL,
        ..PLAIN
    },
    Forgery {
        what: "an authenticated Received field without the right",
        header: "Received: from pc by web (Authenticated sender: victim@other.example); date\n",
        evidence: ALL,
        ..PLAIN
    },
    Forgery {
        what: "PHP's field without the right",
        header: "X-PHP-Originating-Script: 7:victim.php\n",
        evidence: ALL,
        ..PLAIN
    },
    Forgery {
        what: "a field that occurs twice",
        trust: HEADERS,
        evidence: &["x-auth-user", "mail-from"],
        header: "X-AuthUser: victim@other.example\nX-AuthUser: script@web.example\n",
        account: "peer:local",
        by: "peer",
        ..PLAIN
    },
    Forgery {
        what: "a field that occurs twice in different spelling",
        trust: HEADERS,
        evidence: &["x-auth-user", "mail-from"],
        header: "x-authuser : victim@other.example\nX-AUTHUSER: script@web.example\n",
        account: "peer:local",
        by: "peer",
        ..PLAIN
    },
    Forgery {
        what: "an authenticated Received field below the true one",
        trust: HEADERS,
        evidence: &["received-auth", "received-userid", "mail-from"],
        header: "BY-POSTFIXReceived: from pc by web (Authenticated sender: victim@other.example); date\n",
        account: "1042@local",
        by: "received-userid",
        ..PLAIN
    },
    Forgery {
        what: "another user id below the true one",
        trust: HEADERS,
        evidence: &["received-userid", "mail-from"],
        header: "BY-POSTFIXReceived: by web.example (Postfix, from userid 7)\n\tid 1; date\n",
        account: "1042@local",
        by: "received-userid",
        ..PLAIN
    },
    Forgery {
        what: "PHP's field of another user below the true one",
        trust: HEADERS,
        evidence: &["php-script", "received-userid", "mail-from"],
        header: "BY-POSTFIXX-PHP-Originating-Script: 7:victim.php\n",
        account: "1042@local",
        by: "received-userid",
        ..PLAIN
    },
    Forgery {
        what: "PHP's field in mail that no local user handed in",
        trust: HEADERS,
        evidence: &["php-script", "mail-from"],
        header: "X-PHP-Originating-Script: 7:victim.php\n",
        ..PLAIN
    },
    Forgery {
        what: "PHP's field twice",
        trust: HEADERS,
        evidence: &["php-script", "mail-from"],
        header: "BY-POSTFIXX-PHP-Originating-Script: 7:victim.php\nX-PHP-Originating-Script: 1042:a.php\n",
        account: "peer:local",
        by: "peer",
        ..PLAIN
    },
    Forgery {
        what: "another's MAIL FROM below the true user id",
        trust: HEADERS,
        evidence: &["received-userid", "mail-from"],
        sender: VICTIM,
        header: "BY-POSTFIX",
        account: "1042@local",
        by: "received-userid",
        ..PLAIN
    },
    Forgery {
        what: "another's MAIL FROM below a field that names the sender",
        trust: HEADERS,
        evidence: &["x-auth-user", "mail-from"],
        sender: VICTIM,
        header: "X-AuthUser: script@web.example\n",
        by: "x-auth-user",
        ..PLAIN
    },
    Forgery {
        what: "a MAIL FROM that looks like a user id",
        sender: "7@local",
        account: "peer:local",
        by: "peer",
        ..PLAIN
    },
    Forgery {
        what: "a field in the text instead of the header",
        trust: HEADERS,
        evidence: &["x-auth-user", "mail-from"],
        header: "Subject: s\n\nX-AuthUser: victim@other.example\n",
        ..PLAIN
    },
    Forgery {
        what: "a field that is no account",
        trust: HEADERS,
        evidence: &["x-auth-user", "mail-from"],
        header: "X-AuthUser: victim@other.example, script@web.example\n",
        account: "peer:local",
        by: "peer",
        ..PLAIN
    },
];

#[test]
fn a_forgery_frames_nobody_and_gains_nothing() {
    let sink = sink().run();
    for forgery in FORGERIES {
        check(forgery, &sink);
    }
}

#[track_caller]
fn check(forgery: &Forgery, sink: &Sink) {
    let what = forgery.what;
    let gate = gate()
        .limit(50, "1h")
        .evidence(forgery.evidence)
        .trust(forgery.trust)
        .trust(ENTITLED_ELSEWHERE)
        .next_hop(sink)
        .run();
    let reply = attempt(&gate, forgery);
    assert_eq!(reply.code, 250, "{what}: {reply}");
    let line = gate.logged("message", |line| line["outcome"] == "sent");
    let (account, by) = (text(&line, "account"), text(&line, "evidence"));
    assert_eq!((account, by), (forgery.account, forgery.by), "{what}");
    check_windows(&gate, forgery);
    let mail = sink.last().mail;
    let beside_sender = mail.replace(forgery.sender, "");
    assert!(!beside_sender.contains("victim"), "{what}: {mail} was passed on");
}

/// The one who is charged has less left afterwards, and the victim has as much as before.
#[track_caller]
fn check_windows(gate: &Gate, forgery: &Forgery) {
    let what = forgery.what;
    // What anybody can write is charged to the server's own window, too, so that another name gains nothing.
    let is_servers = ["mail-from", "peer"].contains(&forgery.by);
    let peer = gate.json(&["explain", "peer:local"]);
    assert_eq!(limit(&peer, "peer", "1 h")["used"], u32::from(is_servers), "{what}: {peer}");
    if forgery.by != "peer" {
        assert_eq!(used(gate, forgery.account), 1, "{what}");
    }
    for victim in [VICTIM, "7@local"] {
        assert_eq!(gate.json(&["explain", victim])["known"], false, "{what}: {victim}");
    }
}

fn attempt(gate: &Gate, forgery: &Forgery) -> Reply {
    let mut client = gate.client();
    if !forgery.before.is_empty() {
        let reply = client.say(forgery.before);
        assert_eq!(reply.code / 100, 5, "{}: {reply}", forgery.what);
    }
    client.expect(250, &format!("MAIL FROM:<{}>{}", forgery.sender, forgery.parameters));
    client.expect(250, "RCPT TO:<b@remote.example>");
    client.text(&format!("{}\ntext\n", forgery.header.replace("BY-POSTFIX", BY_POSTFIX)))
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key].as_str().unwrap_or_default()
}

/// One piece of true evidence and the account that it names.
fn believed(
    trust: &str,
    evidence: &[&str],
    before: &str,
    parameters: &str,
    header: &str,
    account: &str,
) {
    let sink = sink().run();
    let gate = gate().limit(50, "1h").evidence(evidence).trust(trust).next_hop(&sink).run();
    let mut client = gate.client();
    if !before.is_empty() {
        let reply = client.say(before);
        assert_eq!(reply.code / 100, 2, "{before}: {reply}");
        client.expect(250, "EHLO again.example");
    }
    client.expect(250, &format!("MAIL FROM:<{SCRIPT}>{parameters}"));
    client.expect(250, "RCPT TO:<b@remote.example>");
    let reply = client.text(&format!("{header}\ntext\n"));
    assert_eq!(reply.code, 250, "{evidence:?}: {reply}");
    let line = gate.logged("message", |line| line["outcome"] == "sent");
    assert_eq!((text(&line, "account"), text(&line, "evidence")), (account, evidence[0]));
}

#[test]
fn evidence_of_those_who_may_give_it_is_believed() {
    let user = "user@shop.example";
    believed(
        "relay = true\nxclient = true",
        &["xclient-login"],
        "XCLIENT LOGIN=user@shop.example",
        "",
        "",
        user,
    );
    believed(
        "relay = true\nmail_auth = true",
        &["mail-auth"],
        "",
        " AUTH=user@shop.example",
        "",
        user,
    );
    believed(
        "relay = true\nmail_auth = true",
        &["mail-auth"],
        "",
        " AUTH=user+40shop.example",
        "",
        user,
    );
    believed(HEADERS, &["x-auth-user"], "", "", "X-AuthUser: user@shop.example\n", user);
    believed(
        HEADERS,
        &["x-authenticated-sender"],
        "",
        "",
        "x-authenticated-sender:\n user@shop.example\n",
        user,
    );
    let received = "Received: from pc (unknown [192.0.2.9])\n\t(Authenticated sender: user@shop.example)\n\tby web.example (Postfix) with ESMTPSA id 1; date\n";
    believed(HEADERS, &["received-auth"], "", "", received, user);
    believed(HEADERS, &["received-userid"], "", "", BY_POSTFIX, "1042@local");
    believed(
        HEADERS,
        &["php-script"],
        "",
        "",
        &format!("{BY_POSTFIX}X-PHP-Originating-Script: 1042:mail.php\n"),
        "1042@local",
    );
    believed("relay = true", &["mail-from"], "", "", "", SCRIPT);
}

#[test]
fn a_hundred_fresh_names_pass_no_more_than_their_servers_limit() {
    let sink = sink().run();
    let gate = gate().limit(50, "1h").peer_limit(20, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    let mut refusals = 0;
    for number in 0..100 {
        client.expect(250, &format!("MAIL FROM:<fresh{number}@shop{number}.example>"));
        if client.say("RCPT TO:<b@remote.example>").code == 250 {
            assert_eq!(client.text("text").code, 250);
        } else {
            refusals += 1;
            client.expect(250, "RSET");
        }
    }
    assert_eq!((sink.count(), refusals), (20, 80));
}

#[test]
fn fresh_accounts_are_capped_for_each_server() {
    let sink = sink().run();
    let gate = gate().limit(50, "1h").set("limits.new_accounts_per_hour", 3).next_hop(&sink).run();
    let mut client = gate.client();
    let first_of = |client: &mut crate::support::Client, number: u32| {
        let mail = client.say(&format!("MAIL FROM:<fresh{number}@shop.example>"));
        let reply = if mail.code == 250 { client.say("RCPT TO:<b@remote.example>") } else { mail };
        if reply.code != 250 {
            client.expect(250, "RSET");
            return reply.code;
        }
        client.text("text").code
    };
    let codes: Vec<u16> = (0..5).map(|number| first_of(&mut client, number)).collect();
    assert_eq!(codes, [250, 250, 250, 450, 450]);
    assert_eq!(first_of(&mut client, 0), 250, "those that are known go on");
}

#[test]
fn a_stranger_cannot_relay() {
    let sink = sink().run();
    let gate = gate().trust("networks = [\"192.0.2.0/24\"]\nrelay = true").next_hop(&sink).run();
    let mut client = gate.client();
    let mail = client.say("MAIL FROM:<a@shop.example>");
    let reply = if mail.code == 250 { client.say("RCPT TO:<b@remote.example>") } else { mail };
    assert!([530, 550, 554].contains(&reply.code), "{reply}");
    assert_eq!(client.say("DATA").code / 100, 5);
    assert_eq!(sink.count(), 0);
}

/// Texts in which somebody names another: how the field is written, and what of it must be gone when it goes on.
const WRITTEN: &[(&str, &str)] = &[
    ("X-AuthUser: victim@other.example\n", ""),
    ("X-AuthUser: victim@other.example\nX-AuthUser: victim@other.example\n", ""),
    ("x-AUTHUSER : victim@other.example\n", ""),
    ("X-AuthUser\t:\n\tvictim@other.example\n", ""),
    ("X-AuthUser\n : victim@other.example\n", ""),
    ("X-AuthUser:\n victim@other.example\n\t(and more)\nSubject: s\n", "Subject: s\n"),
    ("no field at all\nX-AuthUser: victim@other.example\n", "no field at all\n"),
    ("From root Mon Nov 27\nX-AuthUser: victim@other.example\n", "From root Mon Nov 27\n"),
    ("X-Authenticated-Sender: web: victim@other.example\n", ""),
    ("X-PHP-Originating-Script: 7:victim.php\n", ""),
    ("X-AuthUser: =?utf-8?q?victim=40other.example?=\n", ""),
    // No field of the header: the text goes on as it is, and nobody reads it as one.
    ("=?utf-8?q?X-AuthUser?=: victim\n", "=?utf-8?q?X-AuthUser?=: victim\n"),
    ("Subject: s\n\nX-AuthUser: victim\n", "Subject: s\n\nX-AuthUser: victim\n"),
    (
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nX-AuthUser: victim\n\n--b--\n",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nX-AuthUser: victim\n\n--b--\n",
    ),
    ("X-Auth-User: victim\nX-AuthUsers: victim\n", "X-Auth-User: victim\nX-AuthUsers: victim\n"),
];

#[test]
fn identity_fields_from_whoever_has_no_right_to_them_go_no_further() {
    let sink = sink().run();
    let gate = gate()
        .evidence(ALL)
        .trust("relay = true\nxclient = true")
        .trust(ENTITLED_ELSEWHERE)
        .user(SCRIPT, "secret")
        .next_hop(&sink)
        .run();
    for (nth, (written, left)) in WRITTEN.iter().enumerate() {
        let mut client = gate.client();
        if nth % 2 == 1 {
            // A login changes nothing: it says who sends, not whom the sender may name.
            client.expect(235, "AUTH PLAIN AHNjcmlwdEB3ZWIuZXhhbXBsZQBzZWNyZXQ=");
        }
        let text = format!("{written}\ntext\n");
        assert_eq!(client.send(SCRIPT, &["b@remote.example"], &text).code, 250, "{written}");
        let expected = format!("{left}\ntext\n").replace('\n', "\r\n");
        let taken = sink.wait_for(nth + 1).pop().unwrap();
        assert_eq!(String::from_utf8_lossy(taken.below_received()), expected, "{written}");
    }
    for line in gate.log().iter().filter(|line| line["event"] == "message") {
        assert_eq!(line["account"], SCRIPT);
    }
}

#[test]
fn a_field_that_counts_goes_on_and_one_that_does_not_stays() {
    let sink = sink().run();
    let gate = gate()
        .evidence(&["x-auth-user", "mail-from"])
        .trust("relay = true\nidentity_headers = [\"x-auth-user\"]")
        .next_hop(&sink)
        .run();
    let text = "X-AuthUser: user@shop.example\nX-PHP-Originating-Script: 7:x.php\n\ntext\n";
    assert_eq!(gate.client().send(SCRIPT, &["b@remote.example"], text).code, 250);
    let kept = b"X-AuthUser: user@shop.example\r\n\r\ntext\r\n";
    assert_eq!(sink.last().below_received(), kept);
    // Twice is once too often, for us and for the next server.
    let text = "X-AuthUser: user@shop.example\nX-AuthUser: user@shop.example\n\ntext\n";
    assert_eq!(gate.client().send(SCRIPT, &["b@remote.example"], text).code, 250);
    assert_eq!(sink.last().below_received(), b"\r\ntext\r\n");
}

#[test]
fn a_text_that_begins_with_a_blank_is_no_part_of_our_own_field() {
    let sink = sink().run();
    let gate = gate().evidence(ALL).trust(HEADERS).next_hop(&sink).run();
    for first in [" (Authenticated sender: victim@other.example)", "\tby evil.example", ".. dots"] {
        let text = format!("{first}\nX-AuthUser: victim@other.example\n\ntext\n");
        assert_eq!(gate.client().send(SCRIPT, &["b@remote.example"], &text).code, 250, "{first}");
        let taken = sink.last();
        let received = taken.fields("Received");
        assert_eq!(received.len(), 1, "{first}");
        assert!(!received[0].contains("victim") && !received[0].contains("evil"), "{received:?}");
    }
    let messages = || gate.log().into_iter().filter(|line| line["event"] == "message");
    wait_for("three lines", || (messages().count() == 3).then_some(()));
    // Two have no header; the third has one, in which somebody is named who may be.
    let accounts: Vec<_> = messages().map(|line| text(&line, "account").to_owned()).collect();
    assert_eq!(accounts, [SCRIPT, SCRIPT, VICTIM]);
}

/// `LOGIN=` and the other values are xtext: nothing that is hidden in it reaches a name, a line of the log or a field.
#[test]
fn what_a_claim_hides_in_its_values_is_refused() {
    let sink = sink().run();
    let gate = gate()
        .evidence(ALL)
        .trust("relay = true\nxclient = true\nxforward = true")
        .set("session.errors_max", 1000)
        .next_hop(&sink)
        .run();
    let mut client = gate.client();
    for value in [
        "LOGIN=victim+0D+0AMAIL",
        "LOGIN=victim+00",
        "LOGIN=victim+7F",
        "LOGIN=victim+4",
        "LOGIN=victim+zz",
        "LOGIN=+20",
        "NAME=a+0Db",
        "HELO=a+0Ab",
        "ADDR=127.0.0.1+20LOGIN=victim",
        "LOGIN=a LOGIN=b",
        "ADDR=127.0.0.1 PORT=99999",
    ] {
        let reply = client.say(&format!("XCLIENT {value}"));
        assert_eq!(reply.code, 501, "XCLIENT {value}: {reply}");
        let reply = client.say(&format!("XFORWARD {value}"));
        assert_eq!(reply.code, 501, "XFORWARD {value}: {reply}");
    }
    assert_eq!(client.send(SCRIPT, &["b@remote.example"], "text").code, 250);
    let line = gate.logged("message", |_| true);
    assert_eq!((text(&line, "account"), text(&line, "client")), (SCRIPT, "127.0.0.1"));
}

/// A proxy says XCLIENT once and then lets its client speak: what that one says of itself is not heard.
#[test]
fn the_client_behind_xclient_cannot_claim_anything() {
    let sink = sink().run();
    let gate = gate()
        .evidence(ALL)
        .trust("relay = true\nxclient = true\nxforward = true")
        .user("a@shop.example", "secret")
        .next_hop(&sink)
        .run();
    let mut client = gate.client();
    // Even XFORWARD before XCLIENT leaves nothing behind.
    client.expect(250, "XFORWARD ADDR=192.0.2.1 SOURCE=LOCAL");
    client.expect(220, "XCLIENT ADDR=198.51.100.7 LOGIN=user@shop.example");
    let offers = client.expect(250, "EHLO client.example").lines;
    assert!(!offers.iter().any(|offer| offer.starts_with('X')), "{offers:?}");
    for claim in [
        "XCLIENT LOGIN=victim@other.example",
        "XCLIENT ADDR=127.0.0.1",
        "XFORWARD ADDR=127.0.0.1",
        "PROXY TCP4 127.0.0.1 127.0.0.1 1 25",
    ] {
        let reply = client.say(claim);
        assert_eq!(reply.code / 100, 5, "{claim}: {reply}");
    }
    client.expect(250, "EHLO again.example");
    let mail = "X-AuthUser: victim@other.example\n\ntext\n";
    client.expect(250, "MAIL FROM:<user@shop.example> AUTH=victim@other.example");
    client.expect(250, "RCPT TO:<b@remote.example>");
    assert_eq!(client.text(mail).code, 250);
    let line = gate.logged("message", |line| line["outcome"] == "sent");
    let (account, client) = (text(&line, "account"), text(&line, "client"));
    assert_eq!((account, client), ("user@shop.example", "198.51.100.7"));
    assert!(!sink.last().as_str().contains("victim") && !sink.last().mail.contains("victim"));
}

#[test]
fn identity_fields_are_taken_off_when_the_operator_wants_it_so() {
    let sink = sink().run();
    let gate = gate()
        .set("server.strip_identity_headers", "all")
        .evidence(&["x-auth-user"])
        .trust(HEADERS)
        .next_hop(&sink)
        .run();
    let text = "Subject: s\nX-AuthUser: user@shop.example\nX-PHP-Originating-Script:\n 7:x.php\nX-Other: o\n\ntext\n";
    assert_eq!(gate.client().send(SCRIPT, &["b@remote.example"], text).code, 250);
    assert_eq!(sink.last().below_received(), b"Subject: s\r\nX-Other: o\r\n\r\ntext\r\n");
}

#[test]
fn mail_of_phps_mail_function_is_refused_where_the_plan_says_so() {
    let sink = sink().run();
    let gate = gate().set("plan.test.php_mail", "refuse").trust(HEADERS).next_hop(&sink).run();
    let mut client = gate.client();
    let php =
        client.send(SCRIPT, &["b@remote.example"], "X-PHP-Originating-Script: 7:x.php\n\ntext\n");
    assert_eq!((php.code, sink.count()), (550, 0), "{php}");
    assert_eq!(client.send(SCRIPT, &["b@remote.example"], "Subject: s\n\ntext\n").code, 250);
}

#[test]
fn unknown_accounts_are_refused_where_the_operator_wants_it_so() {
    let sink = sink().run();
    let gate = gate().set("limits.unknown_accounts", "refuse").next_hop(&sink).run();
    let first = |sender: &str| {
        let mut client = gate.client();
        let mail = client.say(&format!("MAIL FROM:<{sender}>"));
        if mail.code == 250 { client.say("RCPT TO:<b@remote.example>").code } else { mail.code }
    };
    assert_eq!(first("a@shop.example"), 550);
    gate.tollgate(&["account", "set", "a@shop.example"]).well();
    assert_eq!((first("a@shop.example"), first("b@shop.example")), (250, 550));
}

#[test]
fn a_charge_by_header_that_no_limit_ever_allows_is_final() {
    let sink = sink().run();
    let gate =
        gate().limit(2, "1h").evidence(&["x-auth-user"]).trust(HEADERS).next_hop(&sink).run();
    let mut client = gate.client();
    let text = "X-AuthUser: user@shop.example\n\ntext\n";
    let three = client.send(SCRIPT, &["a@r.example", "b@r.example", "c@r.example"], text);
    assert_eq!((three.code, sink.count()), (550, 0), "{three}");
    assert!(three.text().starts_with("5.5.3"), "{three}");
    assert_eq!(client.send(SCRIPT, &["a@r.example", "b@r.example"], text).code, 250);
    assert_eq!(client.send(SCRIPT, &["a@r.example"], text).code, 450);
}
