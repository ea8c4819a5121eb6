//! Whoever asks for too much hears so, everyone else is served meanwhile, and what was taken comes back.

use crate::support::{Client, Gate, gate, sink, wait_for};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

/// A client that was allowed to send its text and has not begun.
#[track_caller]
fn before_its_text(gate: &Gate, size: Option<u64>) -> Client {
    let mut client = envelope(gate, size);
    client.expect(354, "DATA");
    client
}

/// A client with an accepted recipient.
#[track_caller]
fn envelope(gate: &Gate, size: Option<u64>) -> Client {
    let mut client = gate.client_offered("PIPELINING");
    let size = size.map(|octets| format!(" SIZE={octets}")).unwrap_or_default();
    client.expect(250, &format!("MAIL FROM:<a@shop.example>{size}"));
    client.expect(250, "RCPT TO:<b@remote.example>");
    client
}

/// So many octets of text in lines of 1,000, with the final dot.
fn text_of(octets: usize) -> Vec<u8> {
    let mut text = ["x".repeat(998), "\r\n".to_owned()].concat().repeat(octets / 1000);
    text.push_str(".\r\n");
    text.into_bytes()
}

#[test]
fn more_texts_than_may_come_in_are_turned_away_before_they_are_sent() {
    let sink = sink().run();
    let gate = gate().set("session.data_sessions_max", 2).next_hop(&sink).run();
    let (mut first, second) = (before_its_text(&gate, None), before_its_text(&gate, None));
    let mut third = envelope(&gate, None);
    let refused = third.expect(452, "DATA");
    assert!(refused.text().starts_with("4.3.1 too many messages"), "{refused}");
    gate.logged("refused", |line| line["reason"] == "texts-busy");
    // Its transaction is over, its session is not; and a place comes back with each end, good or bad.
    third.expect(250, "MAIL FROM:<a@shop.example>");
    assert_eq!(first.say("Subject: first\r\n\r\ntext\r\n.").code, 250);
    third.expect(250, "RCPT TO:<b@remote.example>");
    assert_eq!(third.text("Subject: third\n\ntext").code, 250);
    drop(second);
    wait_for("the place of a client that hung up", || {
        let mut both = [envelope(&gate, None), envelope(&gate, None)];
        both.iter_mut().all(|client| client.say("DATA").code == 354).then_some(())
    });
}

#[test]
fn announced_texts_that_cannot_all_fit_are_turned_away_before_they_are_sent() {
    let sink = sink().run();
    let gate = gate().set("spool.total_bytes_max", "10 MiB").next_hop(&sink).run();
    let large = 4 << 20;
    let mut large_ones = [before_its_text(&gate, Some(large)), before_its_text(&gate, Some(large))];
    let mut third = envelope(&gate, Some(large));
    let refused = third.expect(452, "DATA");
    assert!(refused.text().starts_with("4.3.1 no space"), "{refused}");
    assert_eq!(gate.client().send("a@shop.example", &["b@remote.example"], "small").code, 250);
    for client in &mut large_ones {
        client.write(&text_of(4_000_000));
        assert_eq!(client.reply().code, 250);
    }
    let mut third = before_its_text(&gate, Some(large));
    third.write(&text_of(4_000_000));
    assert_eq!(third.reply().code, 250);
    assert_eq!(sink.count(), 4);
}

#[test]
fn texts_that_nobody_announced_share_the_spool_and_give_it_back() {
    let sink = sink().run();
    let gate = gate()
        .set("spool.total_bytes_max", "3 MiB")
        .set("spool.memory_total_bytes_max", "1 MiB")
        .next_hop(&sink)
        .run();
    let mut clients: Vec<Client> = (0..8).map(|_| before_its_text(&gate, None)).collect();
    for client in &mut clients {
        client.write(&text_of(1_000_000));
    }
    let codes: Vec<u16> = clients.iter_mut().map(|client| client.reply().code).collect();
    let passed = codes.iter().filter(|&&code| code == 250).count();
    assert!(codes.iter().all(|code| [250, 452].contains(code)), "{codes:?}");
    assert!(passed >= 1, "{codes:?}");
    assert_eq!(sink.count(), passed);
    // All of it is free again: as much as fits passes one after the other.
    for _ in 0..4 {
        clients[0].expect(250, "MAIL FROM:<a@shop.example>");
        clients[0].expect(250, "RCPT TO:<b@remote.example>");
        clients[0].expect(354, "DATA");
        clients[0].write(&text_of(3_000_000));
        assert_eq!(clients[0].reply().code, 250);
    }
}

#[test]
fn a_header_is_read_where_memory_had_no_room_for_it() {
    let sink = sink().run();
    let gate = gate()
        .set("spool.memory_total_bytes_max", "1 MiB")
        .trust("relay = true\nidentity_headers = [\"x-auth-user\"]")
        .evidence(&["x-auth-user", "mail-from"])
        .next_hop(&sink)
        .run();
    // These take all the memory there is and keep it.
    let _holders: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = before_its_text(&gate, None);
            client.write(&text_of(127_000)[..127_000]);
            client
        })
        .collect();
    let mut late = before_its_text(&gate, None);
    let text = [b"X-AuthUser: c@shop.example\r\n\r\n".to_vec(), text_of(300_000)].concat();
    late.write(&text);
    assert_eq!(late.reply().code, 250);
    gate.logged("message", |line| line["account"] == "c@shop.example");
    assert!(sink.last().below_received().starts_with(b"X-AuthUser: c@shop.example\r\n"));
    assert_eq!(sink.last().below_received().len(), text.len() - ".\r\n".len());
}

#[test]
fn text_that_trickles_is_cut_off_and_what_comes_fast_enough_is_not() {
    let sink = sink().run();
    let gate = gate()
        .set("session.timeout_data", "2s")
        .set("session.data_rate_min", 1000)
        .next_hop(&sink)
        .run();
    let (mut slow, mut steady) = (before_its_text(&gate, None), before_its_text(&gate, None));
    // Both say something ten times a second, for twice as long as silence is allowed.
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(100));
        steady.write(&text_of(1000)[..1000]);
        // It may be gone already.
        let _ = slow.try_write(b"x");
    }
    let farewell = slow.reply();
    assert_eq!(farewell.code, 421, "{farewell}");
    assert!(farewell.text().contains("too slowly"), "{farewell}");
    gate.logged("session-closed", |line| line["reason"] == "slow");
    assert_eq!(steady.say(".").code, 250);
    assert_eq!(sink.count(), 1);
}

#[test]
fn a_client_that_only_listens_any_more_still_hears_the_verdict() {
    let sink = sink().final_delay(Duration::from_millis(300)).run();
    let gate = gate().next_hop(&sink).run();
    let mut client = TcpStream::connect(gate.smarthost()).unwrap();
    // Whoever speaks before the banner is sent away.
    let mut banner = [0; 4];
    client.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"220 ");
    let envelope =
        b"HELO x\r\nMAIL FROM:<a@shop.example>\r\nRCPT TO:<b@remote.example>\r\nDATA\r\n";
    client
        .write_all(&[&envelope[..], b"Subject: last words\r\n\r\n.\r\nQUIT\r\n"].concat())
        .unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    let codes: Vec<&str> = heard.lines().skip(1).filter_map(|line| line.get(..4)).collect();
    assert_eq!(codes, ["250 ", "250 ", "250 ", "354 ", "250 ", "221 "], "{heard}");
    assert_eq!(sink.count(), 1);
}

#[test]
fn a_client_that_is_gone_after_the_final_dot_causes_one_delivery() {
    let sink = sink().final_delay(Duration::from_millis(300)).run();
    let gate = gate().limit(5, "1h").next_hop(&sink).run();
    let mut client = before_its_text(&gate, None);
    client.write(b"Subject: last words\r\n\r\ntext\r\n.\r\n");
    drop(client);
    let told = gate.logged("message", |_| true);
    assert_eq!(told["outcome"], "sent", "{told}");
    // The charge stands and nothing is sent again.
    assert_eq!(gate.client().send_until_refused("a@shop.example", 9).0, 4);
    assert_eq!(sink.count(), 5);
}

#[test]
fn all_listeners_together_have_a_bounded_number_of_connections() {
    let sink = sink().run();
    let gate = gate().set("server.connections_max", 3).next_hop(&sink).run();
    let first = gate.client();
    let others = [Client::connect(gate.submission()), gate.client()];
    let late = Client::connect(gate.submission());
    assert_eq!(late.banner.code, 421, "{}", late.banner);
    gate.logged("connection-refused", |line| line["reason"] == "connections-server");
    // The operator is not a client.
    assert_eq!(gate.http("/health/ready").0, 200);
    gate.tollgate(&["usage"]).well();
    drop((first, others));
    wait_for("a place to be free again", || {
        (Client::connect(gate.smarthost()).banner.code == 220).then_some(())
    });
}

#[test]
fn file_descriptors_are_kept_for_operators_and_next_hops() {
    let sink = sink().run();
    let gate = gate().descriptors(514).next_hop(&sink).run();
    let found = gate.logged("diagnostic", |line| {
        line["message"].as_str().is_some_and(|text| text.contains("file descriptors allow"))
    });
    assert!(found["message"].as_str().unwrap().contains("listener.connections_max"), "{found}");
    let mut honest = gate.client();
    let mut turned_away = 0;
    let crowd: Vec<Client> = (0..300).map(|_| Client::connect(gate.smarthost())).collect();
    for client in &crowd {
        assert!([220, 421].contains(&client.banner.code), "{}", client.banner);
        turned_away += usize::from(client.banner.code == 421);
    }
    assert!((1..299).contains(&turned_away), "{turned_away}");
    assert_eq!(honest.send("a@shop.example", &["b@remote.example"], "text").code, 250);
    assert_eq!(gate.http("/health/ready").0, 200);
    gate.tollgate(&["usage"]).well();
    assert!(!gate.log_text().contains("cannot accept"), "the system had to say it");
    let crowded = gate.open_files();
    drop(crowd);
    wait_for("the descriptors to be free again", || {
        (gate.open_files() + 80 < crowded).then_some(())
    });
    assert_eq!(gate.client().say("NOOP").code, 250);
}

#[test]
fn a_program_without_descriptors_for_clients_does_not_start() {
    let said =
        gate().next_hop_at("127.0.0.1:1".parse().unwrap(), "").descriptors(230).starts_badly();
    assert!(said.contains("share out 230 file descriptors"), "{said}");
}

#[test]
fn a_login_has_a_bounded_number_of_sessions() {
    let sink = sink().run();
    let gate = gate()
        .set("session.connections_per_account_max", 2)
        .user("a@shop.example", "secret")
        .user("b@shop.example", "secret")
        .next_hop(&sink)
        .run();
    // base64 of "\0a@shop.example\0secret"
    let login = "AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==";
    let mut inside = [gate.client(), gate.client()];
    for client in &mut inside {
        client.expect(235, login);
    }
    let mut third = gate.client();
    let refused = third.expect(421, login);
    assert!(refused.text().contains("of this login"), "{refused}");
    assert_eq!(third.rest(), b"");
    gate.logged("login-failed", |line| line["result"] == "too-many");
    // base64 of "\0b@shop.example\0secret"
    gate.client().expect(235, "AUTH PLAIN AGJAc2hvcC5leGFtcGxlAHNlY3JldA==");
    drop(inside);
    wait_for("the login's places to be free again", || {
        (gate.client().say(login).code == 235).then_some(())
    });
}

#[test]
fn whoever_waits_with_a_proxy_header_has_a_place_already() {
    let sink = sink().run();
    let gate = gate().set("server.connections_max", 3).next_hop(&sink).run();
    let mut waiting = Vec::new();
    wait_for("the places to be taken", || {
        waiting.push(TcpStream::connect(gate.proxied()).unwrap());
        (Client::connect(gate.smarthost()).banner.code == 421).then_some(())
    });
    drop(waiting);
    wait_for("a place to be free again", || {
        (Client::connect(gate.smarthost()).banner.code == 220).then_some(())
    });
}

#[test]
fn whoever_is_idle_makes_room_when_places_are_scarce() {
    let sink = sink().run();
    let gate = gate()
        .set("server.connections_max", 10)
        .set("session.timeout_scarce", "500ms")
        .next_hop(&sink)
        .run();
    let mut busy = before_its_text(&gate, None);
    // This pays for 100 seconds at the slowest pace, so the machine may be slow.
    busy.write(&text_of(10_000)[..10_000]);
    let _idle: Vec<Client> = (0..9).map(|_| gate.client()).collect();
    gate.logged("places-scarce", |_| true);
    for octet in 0..10 {
        std::thread::sleep(Duration::from_millis(100));
        busy.write(format!("line {octet} of a text that comes at its pace\r\n").as_bytes());
    }
    gate.logged("places-ample", |_| true);
    // As many as it took; the others may stay.
    let log = gate.log();
    let gone = log.iter().filter(|line| line["reason"] == "timeout").count();
    assert!((5..9).contains(&gone), "{gone}");
    let mut calm = gate.client();
    std::thread::sleep(Duration::from_secs(1));
    calm.expect(250, "NOOP");
    assert_eq!(busy.say(".").code, 250);
}
