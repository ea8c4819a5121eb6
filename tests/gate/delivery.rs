//! What a client hears is what the next hop said, and what arrives is what was sent.

use crate::{
    operators::used,
    support::{gate, sink, sink_later, wait_for},
};
use std::{fmt::Write as _, thread, time::Duration};
use tollgate::clock::steady_now;

#[test]
fn the_client_sees_exactly_what_the_next_hop_says_of_each_recipient() {
    let sink = sink().refuse_nth(2, "550 5.1.1 <nobody@remote.example>: no such user").run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    assert_eq!(client.expect(250, "RCPT TO:<one@remote.example>").text(), "2.1.5 ok");
    let refused = client.expect(550, "RCPT TO:<nobody@remote.example>");
    assert_eq!(refused.text(), "5.1.1 <nobody@remote.example>: no such user");
    client.expect(250, "RCPT TO:<three@remote.example>");
    assert_eq!(client.text("text").text(), "2.0.0 taken");

    assert_eq!(sink.last().recipients.len(), 2);
    let line = gate.logged("message", |line| line["outcome"] == "sent");
    assert_eq!((&line["recipients_sent"], &line["recipients_refused"]), (&2.into(), &1.into()));
    assert_eq!(used(&gate, "a@shop.example"), 2);
}

#[test]
fn commands_in_one_packet_are_answered_in_order() {
    let sink = sink().refuse_nth(2, "550 5.1.1 nobody").run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    client.write(
        b"MAIL FROM:<a@shop.example>\r\nRCPT TO:<1@r.example>\r\nRCPT TO:<2@r.example>\r\nRCPT TO:<3@r.example>\r\nDATA\r\n",
    );
    let codes: Vec<u16> = (0..5).map(|_| client.reply().code).collect();
    assert_eq!(codes, [250, 250, 550, 250, 354]);
    assert_eq!(client.say("text\r\n.").code, 250);
    assert_eq!(sink.last().recipients.len(), 2);
}

#[test]
fn a_next_hop_without_pipelining_is_spoken_to_in_lock_step() {
    let sink = sink().without("PIPELINING").run();
    let gate = gate().next_hop(&sink).run();
    for _ in 0..2 {
        let reply = gate.client().send("a@shop.example", &["b@r.example", "c@r.example"], "text");
        assert_eq!(reply.code, 250, "{reply}");
    }
    assert_eq!(sink.wait_for(2)[1].recipients.len(), 2);
}

#[test]
fn only_what_all_next_hops_know_is_offered() {
    let (knowing, ignorant) = (sink().run(), sink().without("SMTPUTF8").without("DSN").run());
    let gate = gate().next_hop(&knowing).next_hop(&ignorant).run();
    // One of the two may have been asked before the other.
    wait_for("the probe of both", || {
        let offers = gate.client_offered("8BITMIME").expect(250, "EHLO again.example").lines;
        let has = |name: &str| offers.iter().any(|offer| offer.split(' ').next() == Some(name));
        assert!(has("PIPELINING") && has("SIZE") && has("ENHANCEDSTATUSCODES"), "{offers:?}");
        (!has("SMTPUTF8") && !has("DSN")).then_some(())
    });
}

#[test]
fn the_next_hops_refusal_of_the_text_is_passed_on_and_costs_nothing() {
    let sink = sink().final_answer("452 4.2.2 mailbox full").run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    let reply = gate.client().send("a@shop.example", &["b@remote.example"], "text");
    assert_eq!((reply.code, reply.text().as_str()), (452, "4.2.2 mailbox full"));
    gate.logged("message", |line| line["outcome"] == "deferred");
    assert_eq!(used(&gate, "a@shop.example"), 0);
}

#[test]
fn a_next_hop_that_vanishes_after_the_dot_is_never_a_250_and_the_charge_stands() {
    let sink = sink().close_after_dot().run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    let reply = gate.client().send("a@shop.example", &["b@remote.example"], "text");
    assert_eq!(reply.code, 451, "{reply}");
    gate.logged("message", |line| line["outcome"] == "unknown");
    assert_eq!(used(&gate, "a@shop.example"), 1);
}

#[test]
fn without_a_next_hop_mail_is_put_off_and_nothing_is_charged() {
    let address = sink_later();
    let gate = gate()
        .limit(50, "1h")
        .next_hop_at(address, "")
        .set("next_hop.breaker_wait", "1s")
        .set("next_hop.breaker_wait_max", "1s")
        .run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(451, "RCPT TO:<b@remote.example>");
    client.expect(250, "RSET");
    assert_eq!(used(&gate, "a@shop.example"), 0);

    let sink = sink().run_at(address);
    wait_for("the next hop to be used again", || {
        client.expect(250, "MAIL FROM:<a@shop.example>");
        let accepted = client.say("RCPT TO:<b@remote.example>").code == 250;
        if !accepted {
            client.expect(250, "RSET");
        }
        accepted.then_some(())
    });
    assert_eq!(client.text("text").code, 250);
    assert_eq!(sink.count(), 1);
}

#[test]
fn the_second_next_hop_takes_over_when_the_first_is_gone() {
    let second = sink().run();
    let gate = gate().next_hop_at(sink_later(), "").next_hop(&second).run();
    for _ in 0..3 {
        let reply = gate.client().send("a@shop.example", &["b@remote.example"], "text");
        assert_eq!(reply.code, 250, "{reply}");
    }
    assert_eq!(second.count(), 3);
}

#[test]
fn a_next_hop_that_is_busy_is_passed_by() {
    let (busy, second) = (sink().greet("421 4.3.2 too busy").run(), sink().run());
    let gate = gate().next_hop(&busy).next_hop(&second).run();
    let reply = gate.client().send("a@shop.example", &["b@remote.example"], "text");
    assert_eq!((reply.code, second.count()), (250, 1), "{reply}");
}

#[test]
fn a_refused_sender_is_told_at_each_recipient() {
    let sink = sink().mail_answer("550 5.7.1 sender not wanted").run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    for recipient in ["b@remote.example", "c@remote.example"] {
        let reply = client.expect(550, &format!("RCPT TO:<{recipient}>"));
        assert_eq!(reply.text(), "5.7.1 sender not wanted");
    }
    client.expect(554, "DATA");
    assert_eq!(used(&gate, "a@shop.example"), 0);
}

#[test]
fn a_kept_connection_that_the_next_hop_closed_is_replaced() {
    let sink = sink().hang_up_idle(Duration::from_millis(300)).run();
    let gate = gate().next_hop(&sink).run();
    for _ in 0..3 {
        let reply = gate.client().send("a@shop.example", &["b@remote.example"], "text");
        assert_eq!(reply.code, 250, "{reply}");
        // Longer than the next hop's patience: that is what is tested.
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(sink.count(), 3);
}

#[test]
fn parameters_of_the_envelope_are_passed_on_as_they_came() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let mut client = gate.client_offered("DSN");
    client.expect(250, "MAIL FROM:<a@shop.example> RET=HDRS ENVID=QQ314159 BODY=8BITMIME SMTPUTF8");
    client.expect(
        250,
        "RCPT TO:<b@remote.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bx@remote.example",
    );
    client.expect(250, "RCPT TO:<ünal@remote.example>");
    assert_eq!(client.text("text").code, 250);
    let taken = sink.last();
    for parameter in ["RET=HDRS", "ENVID=QQ314159", "BODY=8BITMIME", "SMTPUTF8"] {
        assert!(taken.mail.contains(parameter), "no {parameter} in {}", taken.mail);
    }
    assert!(taken.mail.starts_with("MAIL FROM:<a@shop.example>"), "{}", taken.mail);
    for parameter in ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;b+2Bx@remote.example"] {
        assert!(taken.recipients[0].contains(parameter), "{:?}", taken.recipients);
    }
    assert_eq!(taken.recipients[1], "RCPT TO:<ünal@remote.example>");
}

#[test]
fn a_full_spool_puts_large_messages_off_and_lets_small_ones_pass() {
    let sink = sink().run();
    let gate = gate().set("spool.total_bytes_max", "1 MiB").limit(50, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    let large = format!("Subject: large\n\n{}", "0123456789abcdef\n".repeat(128 * 1024));
    let reply = client.send("a@shop.example", &["b@remote.example"], &large);
    assert_eq!(reply.code, 452, "{reply}");
    assert!(reply.text().starts_with("4.3.1"), "{reply}");
    let reply = client.send("a@shop.example", &["b@remote.example"], "small");
    assert_eq!((reply.code, sink.count(), used(&gate, "a@shop.example")), (250, 1, 1), "{reply}");
}

#[test]
fn connections_to_the_next_hop_are_used_again() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    for _ in 0..20 {
        gate.client().send("a@shop.example", &["b@remote.example"], "text");
    }
    assert_eq!(sink.count(), 20);
    assert!(sink.connections() <= 4, "{} connections for 20 messages", sink.connections());
}

#[test]
fn not_a_byte_is_changed() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let long = "x".repeat(5000);
    let texts: [(&str, Vec<u8>); 7] = [
        ("dots", b"Subject: s\r\n\r\n..\r\n...\r\n..a\r\n".to_vec()),
        ("eight bits", b"Subject: s\r\n\r\n\x80\xff\xc3\x28\r\n".to_vec()),
        ("blank lines at the end", b"Subject: s\r\n\r\ntext\r\n\r\n\r\n\r\n".to_vec()),
        ("no header", b"\r\ntext\r\n".to_vec()),
        ("nothing", b"".to_vec()),
        ("a long line", format!("Subject: s\r\n\r\n{long}\r\n").into_bytes()),
        ("folded and odd fields", b"X-A : b\r\n\tc\r\nsubject:s\r\nX-A:\r\n\r\n".to_vec()),
    ];
    let mut client = gate.client_offered("8BITMIME");
    for (number, (what, stuffed)) in texts.iter().enumerate() {
        client.expect(250, "MAIL FROM:<a@shop.example> BODY=8BITMIME");
        client.expect(250, "RCPT TO:<b@remote.example>");
        client.expect(354, "DATA");
        client.write(stuffed);
        assert_eq!(client.say(".").code, 250, "{what}");
        let taken = sink.wait_for(number + 1).pop().unwrap();
        assert_eq!(taken.below_received(), unstuffed(stuffed), "{what}");
        assert!(taken.text.starts_with(b"Received: "), "{what}");
    }
}

fn unstuffed(text: &[u8]) -> Vec<u8> {
    text.split_inclusive(|&octet| octet == b'\n')
        .flat_map(|line| line.strip_prefix(b".").unwrap_or(line).to_vec())
        .collect()
}

#[test]
fn a_hundred_megabytes_pass_byte_for_byte_in_a_few_megabytes_of_memory() {
    let sink = sink().run();
    // A single octet in a huge page would count for the 2 MiB of it.
    let gate = gate().environment("MIMALLOC_ALLOW_THP", "0").next_hop(&sink).run();
    // One message first, so that what is made once does not count.
    gate.client().send("a@shop.example", &["b@remote.example"], "text");
    let text = hundred_megabytes();
    // What a message is held in is anonymous. The kernel takes pages of the program's file away and
    // brings them back as it likes, so neither `VmRSS` nor its peak tells what a message takes.
    let held = || gate.status_kib("RssAnon") + gate.status_kib("VmSwap");
    let before = held();
    let peak = thread::scope(|scope| {
        let upload = scope.spawn(|| {
            let mut client = gate.client();
            client.expect(250, &format!("MAIL FROM:<a@shop.example> SIZE={}", text.len()));
            client.expect(250, "RCPT TO:<b@remote.example>");
            client.expect(354, "DATA");
            client.write(&text);
            client.expect(250, ".");
        });
        let mut peak = before;
        while !upload.is_finished() {
            peak = peak.max(held());
            thread::sleep(Duration::from_millis(1));
        }
        peak
    });

    let grown = peak - before;
    let taken = sink.wait_for(2).pop().unwrap();
    assert!(taken.below_received() == text, "{} octets came of {}", taken.size, text.len());
    assert!(grown < 10 * 1024, "the process grew by {grown} KiB");
}

/// 100 MB (decimal) of lines that all differ.
fn hundred_megabytes() -> Vec<u8> {
    let mut text = String::with_capacity(SIZE_BYTES + 100);
    text.push_str("Subject: large\r\n\r\n");
    let mut line = 0_u32;
    while text.len() < SIZE_BYTES {
        write!(text, "{line:076}\r\n").unwrap();
        line += 1;
    }
    text.into_bytes()
}

const SIZE_BYTES: usize = 100_000_000;

#[test]
fn one_octet_too_many_is_refused_at_mail_and_after_data() {
    let sink = sink().run();
    let gate = gate().set("session.message_bytes_max", "10 KiB").next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example> SIZE=10240");
    client.expect(250, "RSET");
    client.expect(552, "MAIL FROM:<a@shop.example> SIZE=10241");

    let text =
        |octets: usize| format!("{}\r\n", "x".repeat(octets - 2).replace("xxxxxxxx", "xxxxxx\r\n"));
    for (octets, code) in [(10_240, 250), (10_241, 552)] {
        client.expect(250, "MAIL FROM:<a@shop.example>");
        client.expect(250, "RCPT TO:<b@remote.example>");
        client.expect(354, "DATA");
        client.write(text(octets).as_bytes());
        let reply = client.say(".");
        assert_eq!(reply.code, code, "{octets} octets were answered {reply}");
    }
    assert_eq!(sink.count(), 1);
    // The session lives on, and what was refused cost nothing.
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);
    let offers = gate.client().expect(250, "EHLO again").lines;
    assert!(offers.contains(&"SIZE 10240".to_owned()), "{offers:?}");
}

#[test]
fn a_slow_upload_outlives_the_next_hops_patience() {
    let sink = sink().hang_up_idle(Duration::from_secs(1)).run();
    let gate = gate().set("session.park_after", "500ms").limit(50, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(250, "RCPT TO:<b@remote.example>");
    client.expect(354, "DATA");
    for number in 0..10 {
        client.write(format!("line {number}\r\n").as_bytes());
        // The very thing under test: a client that takes its time.
        thread::sleep(Duration::from_millis(500));
    }
    let reply = client.say(".");
    assert_eq!(reply.code, 250, "{reply}");
    let taken = sink.last();
    assert_eq!(taken.recipients, ["RCPT TO:<b@remote.example>"]);
    assert_eq!(taken.below_received().len(), 10 * "line 0\r\n".len());
}

#[test]
fn an_upload_of_25_seconds_outlives_a_next_hop_that_waits_10() {
    let sink = sink().hang_up_idle(Duration::from_secs(10)).run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(250, "RCPT TO:<b@remote.example>");
    client.expect(354, "DATA");
    let begin = steady_now();
    let mut lines = 0;
    while steady_now() - begin < Duration::from_secs(25) {
        client.write(b"0123456789abcdef\r\n");
        lines += 1;
        // The very thing under test: a client that takes its time.
        thread::sleep(Duration::from_millis(500));
    }
    let reply = client.say(".");
    assert_eq!((reply.code, sink.count()), (250, 1), "{reply}");
    let taken = sink.last();
    assert_eq!(taken.recipients, ["RCPT TO:<b@remote.example>"]);
    assert_eq!(taken.below_received().len(), lines * "0123456789abcdef\r\n".len());
    assert_eq!(used(&gate, "a@shop.example"), 1);
}

#[test]
fn a_recipient_that_is_refused_when_the_envelope_is_said_again_puts_the_message_off() {
    let address = sink_later();
    let sink = sink().hang_up_idle(Duration::from_millis(500)).run_at(address);
    let gate =
        gate().set("session.park_after", "100ms").limit(50, "1h").next_hop_at(address, "").run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(250, "RCPT TO:<b@remote.example>");
    client.expect(354, "DATA");
    client.write(b"line\r\n");
    let before = sink.hung_up();
    wait_for("the next hop to hang up", || (sink.hung_up() > before).then_some(()));
    sink.refuse_from_now_on("b@remote.example", "550 5.1.1 gone");
    let reply = client.say(".");
    assert_eq!(reply.code, 451, "{reply}");
    assert_eq!((sink.count(), used(&gate, "a@shop.example")), (0, 0));
}

#[test]
fn a_bare_line_feed_cannot_smuggle_a_second_message() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    for smuggled in [
        "a\n.\r\nMAIL FROM:<x@y>",
        "a\n.\nMAIL FROM:<x@y>",
        "a\r.\r\nMAIL",
        "a\r\n.\nMAIL",
        "a\r\n.\rMAIL",
    ] {
        let mut client = gate.client();
        client.expect(250, "MAIL FROM:<a@shop.example>");
        client.expect(250, "RCPT TO:<b@remote.example>");
        client.expect(354, "DATA");
        client.write(smuggled.as_bytes());
        let reply = client.say("\r\n.");
        assert_eq!(reply.code / 100, 5, "{smuggled:?} was answered {reply}");
    }
    assert_eq!(sink.count(), 0);
}

#[test]
fn data_without_a_recipient_is_refused() {
    let sink = sink().refuse_nth(1, "550 5.1.1 nobody").run();
    let gate = gate().next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(550, "RCPT TO:<nobody@remote.example>");
    client.expect(554, "DATA");
}

#[test]
fn a_message_in_a_circle_is_stopped() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let text = "Received: from a by b; Sun, 22 Nov 2026 09:00:00 +0000\n".repeat(150) + "\ntext\n";
    let reply = gate.client().send("a@shop.example", &["b@remote.example"], &text);
    assert_eq!((reply.code, sink.count()), (554, 0), "{reply}");
}
