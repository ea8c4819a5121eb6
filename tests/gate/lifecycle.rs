//! Starting, reloading, draining, and what the log and the HTTP listener tell meanwhile.

use crate::support::{Client, WAIT_MAX, gate, sink, wait_for};
use rustix::process::Signal;
use std::{fs, net::TcpStream, os::unix::net::UnixDatagram};

#[test]
fn a_wrong_configuration_leaves_the_old_one_in_force_and_says_why() {
    let sink = sink().run();
    let gate = gate().limit(5, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    let said = gate.reload_wrong("[server]\nhostname = \"twice.example\"");
    assert!(said.contains("tollgate.toml"), "{said}");
    let said = gate.reload_wrong("[nonsense]\nkey = 1");
    assert!(said.contains("nonsense"), "{said}");
    assert_eq!(client.send_until_refused("a@shop.example", 9).0, 5);
    assert_eq!(gate.client().say("NOOP").code, 250);
}

#[test]
fn a_wrong_configuration_is_explained_before_it_is_used() {
    let sink = sink().run();
    let gate = || gate().next_hop(&sink);
    let said = gate().set("session.timeout_comand", "5m").check().badly();
    assert!(said.contains("session.timeout_comand") && said.contains("timeout_command"), "{said}");
    let said = gate().limit(50, "soon").check().badly();
    assert!(said.contains("plan.test.limits") && said.contains("soon"), "{said}");
    gate().limit(50, "1h").check().well();
}

#[test]
fn a_stop_waits_for_the_text_that_is_coming() {
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    let mut idle = gate.client();
    let mut busy = gate.client();
    busy.expect(250, "MAIL FROM:<a@shop.example>");
    busy.expect(250, "RCPT TO:<b@remote.example>");
    busy.expect(354, "DATA");
    busy.write(b"Subject: late\r\n\r\n");

    gate.signal(Signal::TERM);
    let server = gate.smarthost();
    wait_for("new connections to be refused", || TcpStream::connect(server).is_err().then_some(()));
    // The idle one hears that the server goes, at once or at its next command.
    let farewell = idle.try_say("NOOP").map_or(421, |reply| reply.code);
    assert_eq!(farewell, 421);
    assert_eq!(busy.say("text\r\n.").code, 250);
    drop(busy);
    assert!(gate.wait().success(), "{}", gate.log_text());
    assert_eq!(sink.count(), 1);
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let sink = sink().run();
    let mut gate = gate().set("server.drain_time_max", "1s").limit(5, "1h").next_hop(&sink).run();
    let mut stuck = gate.client();
    stuck.expect(250, "MAIL FROM:<a@shop.example>");
    stuck.expect(250, "RCPT TO:<b@remote.example>");
    stuck.expect(354, "DATA");
    gate.signal(Signal::TERM);
    gate.wait();
    assert_eq!(
        stuck.try_say("text\r\n.").map_err(|error| error.kind()).ok().map(|r| r.code / 100),
        None
    );
    assert_eq!(sink.count(), 0);
}

#[test]
fn health_and_metrics_are_told() {
    let sink = sink().run();
    let gate = gate().limit(2, "1h").next_hop(&sink).run();
    gate.client().send_until_refused("a@shop.example", 5);
    gate.logged("refused", |_| true);
    assert_eq!(gate.http("/health/live").0, 200);
    assert_eq!(gate.http("/health/ready").0, 200);
    assert_eq!(gate.http("/nothing").0, 404);
    let (status, metrics) = gate.http("/metrics");
    assert_eq!(status, 200);
    for line in [
        "tollgate_messages_total{outcome=\"sent\"} 2",
        "tollgate_refusals_total{reason=\"limit\"} 1",
    ] {
        assert!(metrics.lines().any(|given| given == line), "no {line:?} in\n{metrics}");
    }
    assert!(!metrics.contains("shop.example"), "names of accounts are never labels");
}

#[test]
fn every_message_is_one_line_with_stable_keys() {
    let sink = sink().run();
    let gate = gate().limit(1, "1h").next_hop(&sink).run();
    gate.client().send_until_refused("a@shop.example", 5);
    let message = gate.logged("message", |line| line["outcome"] == "sent");
    for key in [
        "time",
        "level",
        "id",
        "session",
        "listener",
        "account",
        "tenant",
        "plan",
        "evidence",
        "peer",
        "client",
        "from",
        "recipients_sent",
        "recipients_refused",
        "recipients_deferred",
        "recipients_limited",
        "to",
        "size",
        "reply",
        "next_hop",
        "next_hop_reply",
        "began",
        "took_ms",
        "next_hop_ms",
    ] {
        assert!(!message[key].is_null(), "no {key} in {message}");
    }
    assert_eq!(message["next_hop"], sink.address().to_string());
    assert_eq!(message["to"][0]["to"], "someone@remote.example");
    // The Received field names the transaction by the same id.
    let received = sink.last().fields("Received").swap_remove(0);
    assert!(received.contains(message["id"].as_str().unwrap()), "{received}");
    let refused = gate.logged("refused", |_| true);
    for key in ["reason", "session", "account", "client", "reply", "limit_key", "next_slot"] {
        assert!(!refused[key].is_null(), "no {key} in {refused}");
    }
}

#[test]
fn the_clients_address_is_hidden_when_the_operator_wants_it_so() {
    let sink = sink().run();
    for (setting, shown) in [("full", true), ("hide", false)] {
        let gate = gate()
            .set("server.received_client", setting)
            .trust("relay = true\nxforward = true")
            .next_hop(&sink)
            .run();
        let mut client = gate.client();
        client.expect(250, "XFORWARD ADDR=192.0.2.77 NAME=pc.customer.example");
        client.send("a@shop.example", &["b@remote.example"], "text");
        let received = sink.last().fields("Received").swap_remove(0);
        assert_eq!(received.contains("192.0.2.77"), shown, "{setting}: {received}");
        assert_eq!(received.contains("pc.customer.example"), shown, "{setting}: {received}");
        assert!(
            !received.contains("client.example"),
            "the peer's name beside the client's address: {received}"
        );
    }
}

#[test]
fn a_listener_that_trusts_the_loopback_address_is_not_opened_to_the_world() {
    let sink = sink().run();
    let everywhere = gate().next_hop(&sink).listening_everywhere().check().badly();
    assert!(everywhere.contains("listener[0].address"), "{everywhere}");
}

#[test]
fn passwords_and_texts_never_reach_the_log() {
    let sink = sink().run();
    let gate = gate().user("a@shop.example", "s3cret-pass").next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(235, "AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHMzY3JldC1wYXNz");
    client.send("a@shop.example", &["b@remote.example"], "Subject: private-matter\n\nvery private");
    gate.logged("message", |_| true);
    let log = fs::read(gate.file("gate.log")).map(|log| String::from_utf8_lossy(&log).into_owned());
    let log = log.unwrap();
    for secret in ["s3cret-pass", "AGFAc2hvcC5leGFtcGxlAHMzY3JldC1wYXNz", "private"] {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
}

#[test]
fn a_second_gate_on_the_same_state_does_not_start() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let said = gate.tollgate(&["serve"]).badly();
    assert!(!said.is_empty());
    gate.client().expect(250, "NOOP");
}

#[test]
fn systemd_is_told_when_the_gate_is_ready_reloads_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let told = |wanted: &str| {
        let mut text = [0; 4096];
        loop {
            let length = socket.recv(&mut text).unwrap_or_else(|e| panic!("no {wanted}: {e}"));
            let text = String::from_utf8_lossy(&text[..length]);
            if text.lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    let sink = sink().run();
    let mut gate =
        gate().environment("NOTIFY_SOCKET", path.to_str().unwrap()).next_hop(&sink).run();
    told("READY=1");
    gate.reload(|settings| settings);
    told("RELOADING=1");
    told("READY=1");
    gate.signal(Signal::TERM);
    told("STOPPING=1");
    assert!(gate.wait().success());
}

#[test]
fn one_client_cannot_take_all_connections() {
    let sink = sink().run();
    let gate = gate().connections_per_client_max(2).next_hop(&sink).run();
    let (first, _second) = (gate.client(), gate.client());
    let third = Client::connect(gate.smarthost());
    assert_eq!(third.banner.code, 421, "{}", third.banner);
    let other = Client::hello_from([127, 0, 0, 9].into(), gate.smarthost());
    drop((first, other));
    wait_for("a place to be free again", || {
        (Client::connect(gate.smarthost()).banner.code == 220).then_some(())
    });
}

#[test]
fn a_damaged_archive_is_told_with_what_to_do_and_the_limits_go_on_without_it() {
    let sink = sink().run();
    let mut gate = gate().limit(3, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    for _ in 0..2 {
        assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);
    }
    gate.kill();
    let aside = |name: &str| fs::remove_file(gate.file(name)).is_ok();
    assert!(aside("var/archive.db"));
    aside("var/archive.db-wal");
    fs::write(gate.file("var/archive.db"), "what a failing disk leaves").unwrap();
    let said = gate.try_start().unwrap_err();
    assert!(said.contains("archive.db") && said.contains("history and tokens"), "{said}");
    fs::remove_file(gate.file("var/archive.db")).unwrap();
    gate.start();
    assert_eq!(gate.client().send_until_refused("a@shop.example", 9).0, 1);
}
