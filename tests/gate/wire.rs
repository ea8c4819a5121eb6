//! Hostile and old-fashioned wires: chunks, smuggled ends, line ends that are put right, bytes before the banner.

use crate::{
    operators::used,
    support::{Client, gate, programs::python, sink, wait_for},
};
use std::{
    io::{Read as _, Write as _},
    time::Duration,
};
use tollgate::clock::steady_now;

/// The first half of a transaction.
fn envelope(client: &mut Client) {
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(250, "RCPT TO:<b@remote.example>");
}

fn chunk(client: &mut Client, octets: &[u8], last: &str) -> u16 {
    client.write(format!("BDAT {}{last}\r\n", octets.len()).as_bytes());
    client.write(octets);
    client.reply().code
}

#[test]
fn chunks_reach_a_next_hop_that_knows_none() {
    let sink = sink().run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    let mut client = gate.client_offered("CHUNKING");
    let long = "x".repeat(300_000);
    let text = format!("Subject: s\r\n\r\n.\r\n..a\r\n{long}\r\n\u{e9}\r\n\r\n").into_bytes();
    for (number, size) in [1, 7, 4096, text.len()].into_iter().enumerate() {
        envelope(&mut client);
        // Octet by octet only where the dots are.
        let (head, rest) = text.split_at(30);
        let chunks = head.chunks(size).chain(rest.chunks(size.max(4096)));
        for octets in chunks {
            assert_eq!(chunk(&mut client, octets, ""), 250);
        }
        assert_eq!(chunk(&mut client, b"", " LAST"), 250);
        let taken = sink.wait_for(number + 1).pop().unwrap();
        assert!(taken.below_received() == text, "chunks of {size}: {} octets", taken.size);
    }
    assert_eq!(used(&gate, "a@shop.example"), 4);
}

#[test]
fn python_sends_in_chunks() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let script = r#"
import smtplib, sys
smtp = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
smtp.ehlo()
assert smtp.has_extn("chunking"), smtp.esmtp_features
smtp.mail("a@shop.example")
smtp.rcpt("b@remote.example")
text = b"Subject: s\r\n\r\n.dot\r\nlast line without an end"
first, second = text[:9], text[9:]
smtp.send(b"BDAT %d\r\n%s" % (len(first), first) + b"BDAT %d LAST\r\n%s" % (len(second), second))
print(smtp.getreply()[0], smtp.getreply()[0], smtp.quit()[0])
"#;
    let port = gate.smarthost().port().to_string();
    let said = python(script, &[&port]).well();
    assert_eq!(said.trim(), "250 250 221");
    let text = b"Subject: s\r\n\r\n.dot\r\nlast line without an end\r\n";
    assert_eq!(sink.last().below_received(), text);
}

#[test]
fn chunks_without_their_end_are_nothing() {
    let sink = sink().run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    for unfinished in [
        b"BDAT 20\r\nSubject: s\r\n\r\ntext\r\n".as_slice(),
        b"BDAT 20\r\nSubject: s\r\n\r\ntext\r\nBDAT 10 LAST\r\nhalf",
        b"BDAT 20 LAST\r\nSubject: s\r\n\r\ntext\r",
    ] {
        let mut client = gate.client();
        envelope(&mut client);
        client.write(unfinished);
        drop(client);
    }
    let abandoned = || {
        let of_message = |line: &&serde_json::Value| line["event"] == "message";
        (gate.log().iter().filter(of_message).count() == 3).then_some(())
    };
    wait_for("three ends", abandoned);
    assert_eq!((sink.count(), used(&gate, "a@shop.example")), (0, 0));
}

#[test]
fn a_full_spool_is_said_at_the_last_chunk() {
    let sink = sink().run();
    let gate = gate().set("spool.total_bytes_max", "1 MiB").next_hop(&sink).run();
    let mut client = gate.client();
    envelope(&mut client);
    let octets = "x".repeat(2 << 20);
    assert_eq!(chunk(&mut client, octets.as_bytes(), ""), 250);
    assert_eq!(chunk(&mut client, b"\r\n", " LAST"), 452);
    assert_eq!(sink.count(), 0);
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], "short").code, 250);
}

#[test]
fn who_speaks_before_the_banner_is_turned_away() {
    let sink = sink().run();
    let gate = gate().smarthost("banner_delay", "300ms").next_hop(&sink).run();
    let mut early = std::net::TcpStream::connect(gate.smarthost()).unwrap();
    early.write_all(b"EHLO client.example\r\nQUIT\r\n").unwrap();
    let mut heard = String::new();
    let _reset_or_end = early.read_to_string(&mut heard);
    assert!(heard.is_empty() || heard == "554 5.5.1 wait for the banner\r\n", "{heard}");
    gate.logged("connection-refused", |line| line["reason"] == "early-talker");
    let before = steady_now();
    let mut patient = gate.client();
    assert!(before.elapsed() >= Duration::from_millis(300));
    assert_eq!(patient.send("a@shop.example", &["b@remote.example"], "text").code, 250);
}

#[test]
fn what_is_said_before_the_banner_is_seen_without_a_delay_too() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let header = b"PROXY TCP4 127.0.0.1 127.0.0.1 4660 25\r\n";
    let talk = [header.as_slice(), b"EHLO client.example\r\n"].concat();
    let refused = Client::try_connect(gate.proxied(), &talk);
    assert!(refused.is_err() || refused.is_ok_and(|client| client.banner.code == 554));
    gate.logged("connection-refused", |line| line["reason"] == "early-talker");
    // The header itself is nothing that the client says.
    assert_eq!(Client::connect_saying(gate.proxied(), header).banner.code, 220);
    drop(gate);
    let gate = crate::support::gate().smarthost("early_talkers", "allow").next_hop(&sink).run();
    assert_eq!(Client::connect_saying(gate.smarthost(), b"EHLO x\r\n").banner.code, 220);
}

/// Whatever any server ever took for an end of data, with a message of the attacker's own behind it.
#[test]
fn no_look_alike_of_the_end_gets_through() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\r\r\n.\r\r\n",
        "\r\n\0.\r\n",
    ] {
        let mut client = gate.client();
        envelope(&mut client);
        client.expect(354, "DATA");
        let smuggled =
            "MAIL FROM:<ceo@shop.example>\r\nRCPT TO:<victim@remote.example>\r\nDATA\r\nforged";
        client.write(format!("text{end}{smuggled}\r\n.\r\n").as_bytes());
        assert_eq!(client.reply().to_string(), "550 5.5.2 bare CR, bare LF or NUL in the message");
        assert_eq!(client.rest(), b"", "{end:?}");
    }
    assert_eq!(sink.count(), 0);
}

#[test]
fn an_old_devices_line_ends_are_put_right_where_that_is_wanted() {
    let sink = sink().run();
    let gate = gate().smarthost("line_endings", "normalise").next_hop(&sink).run();
    let mut client = gate.client();
    client.write(b"MAIL FROM:<a@shop.example>\nRCPT TO:<b@remote.example>\nDATA\n");
    assert_eq!([(); 3].map(|()| client.reply().code), [250, 250, 354]);
    client
        .write(b"Subject: s\r\r\nX: y\n\ntext\n.\nMAIL FROM:<ceo@shop.example>\r.\r\nend\r\n.\r\n");
    assert_eq!(client.reply().code, 250);
    let text = b"Subject: s \r\nX: y\r\n\r\ntext\r\n.\r\nMAIL FROM:<ceo@shop.example> .\r\nend\r\n";
    assert_eq!(sink.last().below_received(), text);
    assert_eq!(sink.count(), 1);
}

#[test]
fn a_stranger_is_read_strictly_wherever_it_comes_in() {
    let sink = sink().run();
    let gate = gate()
        .trust("name = \"other\"\nnetworks = [\"127.0.0.9\"]\nrelay = true")
        .smarthost("line_endings", "normalise")
        .user("a@shop.example", "secret")
        .next_hop(&sink)
        .run();
    let mut stranger = gate.client();
    stranger.expect(235, "AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==");
    stranger.write(b"NOOP\n");
    assert_eq!(stranger.reply().to_string(), "500 5.5.2 bare CR or LF");
    let mut trusted = Client::hello_from("127.0.0.9".parse().unwrap(), gate.smarthost());
    trusted.write(b"NOOP\n");
    assert_eq!(trusted.reply().code, 250);
}

#[test]
fn a_text_with_a_long_line_is_passed_on_whole_or_not_at_all() {
    let sink = sink().run();
    let mut gate = gate().set("session.text_line_bytes_max", 1001).next_hop(&sink).run();
    let lines = [998, 999].map(|length| "y".repeat(length));
    let mut client = gate.client();
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], &lines[0]).code, 250);
    let refused = client.send("a@shop.example", &["b@remote.example"], &format!(".{}x", lines[1]));
    assert_eq!(refused.to_string(), "550 5.6.0 a line of the message is too long");
    gate.logged("message", |line| line["outcome"] == "refused");
    gate.reload(|settings| settings.set("session.text_line_bytes_max", 0));
    let mut client = gate.client();
    let long = "z".repeat(2_000_000);
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], &long).code, 250);
    assert_eq!(sink.last().below_received().len(), 2_000_002);
}
