//! Logins that a real Dovecot checks: over its socket and over TCP, while it is there, gone, back, and when it says nothing.

use crate::support::{
    Client, Gate, Sink,
    dovecot::{Dovecot, impostor},
    gate, sink,
};
use base64::Engine as _;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};
use tollgate::clock::steady_now;

const USERS: &str = "\
ann@shop.example:{PLAIN}secret::::::
bob@shop.example:{SHA512-CRYPT}$6$saltsalt12345678$JzpmvHLdh8EGmg6X2AIuLwa5WFNug2jEkAFU/2Au343QyqwDobP.O8VT/miO6c0zN/Gytqo49vos62UzK2Myp.::::::
cid@shop.example:{PLAIN}secret::::::nologin reason=closed
dan:{PLAIN}secret::::::user=dan@shop.example
";

/// A gate that asks this Dovecot and remembers nothing.
fn asking(place: &str, sink: &Sink) -> Gate {
    let gate = gate().set("auth.dovecot_socket", place).set("auth.cache_entries_max", 0);
    let gate = gate.set("auth.dovecot_timeout", "3s").without("auth.passwd_file");
    gate.next_hop(sink).run()
}

/// A client from an address of its own, so that neither Dovecot's nor our own pacing of one reaches the next.
fn stranger(gate: &Gate) -> Client {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let host = NEXT.fetch_add(1, Ordering::Relaxed);
    Client::hello_from(IpAddr::from(Ipv4Addr::new(127, 7, 7, host)), gate.smarthost())
}

fn plain(login: &str, password: &str) -> String {
    let octets = format!("\0{login}\0{password}");
    format!("AUTH PLAIN {}", base64::engine::general_purpose::STANDARD.encode(octets))
}

/// The code that a login is answered with.
fn log_in(gate: &Gate, login: &str, password: &str) -> u16 {
    stranger(gate).say(&plain(login, password)).code
}

#[test]
fn a_dovecot_says_who_may_log_in_and_as_whom() {
    let dovecot = Dovecot::start(USERS);
    let sink = sink().run();
    for place in [dovecot.socket(), format!("inet:{}", dovecot.address)] {
        let gate = asking(&place, &sink);
        for (login, password, code) in [
            ("ann@shop.example", "secret", 235),
            ("ann@shop.example", "wrong", 535),
            ("nobody@shop.example", "secret", 535),
            ("bob@shop.example", "correct horse", 235),
            ("bob@shop.example", "correct", 535),
            ("cid@shop.example", "secret", 535),
            ("cid@shop.example", "wrong", 535),
        ] {
            assert_eq!(log_in(&gate, login, password), code, "{login} {password} at {place}");
        }
        // Whom Dovecot names is charged.
        let mut client = stranger(&gate);
        client.expect(235, &plain("DAN", "secret"));
        client.expect(503, &plain("DAN", "secret"));
        assert_eq!(client.send("dan@shop.example", &["b@remote.example"], "text\n").code, 250);
        let line = gate.logged("message", |_| true);
        assert_eq!(
            (&line["account"], &line["evidence"]),
            (&"dan@shop.example".into(), &"auth".into())
        );
        // LOGIN is asked as PLAIN; the octets of a password are its own.
        let mut client = stranger(&gate);
        client.expect(334, "AUTH LOGIN");
        client.expect(334, "YW5uQHNob3AuZXhhbXBsZQ==");
        client.expect(235, "c2VjcmV0");
        assert_eq!(log_in(&gate, "ann@shop.example", "se\tcret\n\u{1}"), 535);
        assert_eq!(
            gate.log().iter().filter(|line| line["event"] == "login-backend-down").count(),
            0
        );
    }
}

#[test]
fn logins_are_put_off_while_the_dovecot_is_gone_and_work_when_it_is_back() {
    let dovecot = Dovecot::start(USERS);
    let sink = sink().run();
    let gate = asking(&dovecot.socket(), &sink);
    assert_eq!(log_in(&gate, "ann@shop.example", "secret"), 235);
    dovecot.kill();
    let down = gate.logged("login-backend-down", |_| true);
    assert_eq!(down["backend"], *dovecot.socket());
    let before = steady_now();
    for _ in 0..3 {
        assert_eq!(log_in(&gate, "ann@shop.example", "secret"), 454);
    }
    assert!(before.elapsed() < Duration::from_secs(2), "it is known to be gone");
    let (status, body) = gate.http("/health/ready");
    let health: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, health["logins_failure"].is_string()), (200, true), "{body}");
    assert!(gate.http("/metrics").1.contains("tollgate_login_backend_up 0"));

    dovecot.start_again();
    gate.logged("login-backend-up", |_| true);
    assert_eq!(log_in(&gate, "ann@shop.example", "secret"), 235);
    assert_eq!(log_in(&gate, "ann@shop.example", "wrong"), 535);
    let told = |event: &str| gate.log().iter().filter(|line| line["event"] == event).count();
    assert_eq!((told("login-backend-down"), told("login-backend-up")), (1, 1), "told once");
}

#[test]
fn a_dovecot_that_says_nothing_holds_up_nobody_but_who_asks() {
    let dovecot = Dovecot::start(USERS);
    let sink = sink().run();
    let gate = asking(&dovecot.socket(), &sink);
    assert_eq!(log_in(&gate, "ann@shop.example", "secret"), 235);
    let frozen = dovecot.freeze();
    let before = steady_now();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| log_in(&gate, "ann@shop.example", "secret"));
        let mut client = gate.client();
        for _ in 0..3 {
            assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text\n").code, 250);
        }
        let relayed = before.elapsed();
        assert_eq!(asking.join().unwrap(), 454);
        let answered = before.elapsed();
        assert!(relayed < Duration::from_secs(2) && answered >= Duration::from_secs(3));
        assert!(answered < Duration::from_secs(8), "{answered:?}");
    });
    let down = gate.logged("login-backend-down", |_| true);
    assert!(down["detail"].as_str().unwrap().contains("no answer within"), "{down}");
    drop(frozen);
    gate.logged("login-backend-up", |_| true);
    assert_eq!(log_in(&gate, "ann@shop.example", "secret"), 235);
}

#[test]
fn what_is_no_dovecot_is_named_once_and_lets_nobody_in() {
    let sink = sink().run();
    for (greeting, says) in [
        (&b"VERSION\t2\t0\nMECH\tPLAIN\nDONE\n"[..], "version 1"),
        (b"VERSION\t1\t2\nMECH\tLOGIN\nDONE\n", "auth_mechanisms"),
        (b"220 mail.example ESMTP\r\n", "220 mail.example ESMTP"),
        (b"VERSION\t1\t2\nMECH\tPLAIN\nDONE\nOK\t1\tuser=ann@shop.example\nnonsense\n", "nonsense"),
    ] {
        let gate = asking(&format!("inet:{}", impostor(greeting)), &sink);
        let down = gate.logged("login-backend-down", |_| true);
        assert!(down["detail"].as_str().unwrap().contains(says), "{down}");
        assert_eq!(log_in(&gate, "ann@shop.example", "secret"), 454, "{says}");
    }
}

#[test]
fn a_remembered_login_outlives_neither_its_time_nor_its_spelling() {
    let dovecot = Dovecot::start(USERS);
    let sink = sink().run();
    let gate = gate()
        .set("auth.dovecot_socket", dovecot.socket())
        .set("auth.dovecot_timeout", "3s")
        .set("auth.cache_ttl", "4s")
        .without("auth.passwd_file")
        .next_hop(&sink)
        .run();
    assert_eq!(log_in(&gate, "dan", "secret"), 235);
    dovecot.kill();
    gate.logged("login-backend-down", |_| true);
    let mut client = stranger(&gate);
    client.expect(235, &plain("dan", "secret"));
    assert_eq!(client.send("dan@shop.example", &["b@remote.example"], "text\n").code, 250);
    assert_eq!(log_in(&gate, "DAN", "secret"), 454, "Dovecot was not asked about this one");
    assert_eq!(log_in(&gate, "dan", "wrong"), 454);
    crate::support::wait_for("the password to be forgotten", || {
        (log_in(&gate, "dan", "secret") == 454).then_some(())
    });
}

#[test]
fn two_places_for_passwords_are_a_mistake() {
    for (settings, says) in [
        (
            gate().set("auth.dovecot_socket", "/run/x"),
            "auth.dovecot_socket: passwd_file is set, too",
        ),
        (
            gate()
                .without("auth.passwd_file")
                .set("auth.dovecot_socket", "/run/x")
                .set("auth.mechanisms", vec!["SCRAM-SHA-256"]),
            "auth.mechanisms: SCRAM-SHA-256 needs passwd_file",
        ),
        (gate().set("auth.dovecot_socket", "inet:12"), "is not the path of a socket"),
        (gate().without("auth.passwd_file"), "auth.passwd_file: missing, and dovecot_socket, too"),
        (gate().set("auth.mechanisms", vec!["CRAM-MD5"]), "auth.mechanisms: "),
    ] {
        let said = settings.check().badly();
        assert!(said.contains(says), "{said}");
    }
}
