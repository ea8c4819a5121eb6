//! Whatever a text looks like, real next hops see one message where the client sent one. What a strict gate refuses
//! stands in `wire`.

use crate::support::{
    Client,
    exim::Exim,
    gate,
    postfix::{FakeDovecot, Postfix},
    sink, wait_for,
};
use std::net::SocketAddr;

/// What some server has been seen to take for the end of a text (SMTP smuggling, 2023, and its follow-ups).
const LOOK_ALIKES: [&[u8]; 16] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\n.\r",
    b"\r.\r",
    b"\r.\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\n\n.\n\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\n..\r\n",
    b"\r\n..\n",
    b"\r\n.\r.\n",
    b"\n.\n.\r\n",
    b"\r\n. \r\n",
];

/// A text with a look-alike in it and a second message behind that, for whoever takes it for the end.
fn smuggler(look_alike: &[u8]) -> Vec<u8> {
    let second =
        b"MAIL FROM:<smuggled@evil.example>\r\nRCPT TO:<victim@remote.example>\r\nDATA\r\n\
        Subject: smuggled\r\n\r\nsmuggled";
    [b"Subject: one\r\n\r\nfirst", look_alike, second, b"\r\n.\r\n"].concat()
}

/// Sends it; the answers that came until the connection was idle or closed.
fn smuggle(server: SocketAddr, look_alike: &[u8]) -> Vec<u16> {
    let mut client = Client::hello(server);
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(250, "RCPT TO:<b@remote.example>");
    client.expect(354, "DATA");
    client.write(&smuggler(look_alike));
    // What is answered before this one is answered to the text, and to commands that somebody took it for.
    client.write(b"VRFY end\r\nQUIT\r\n");
    let answers = std::iter::from_fn(|| client.try_reply().ok().map(|reply| reply.code));
    answers.take_while(|code| *code != 252).collect()
}

#[test]
fn a_gate_that_normalises_hands_each_text_on_as_one_message() {
    let sink = sink().run();
    let relay = format!(
        "relayhost = [127.0.0.1]:{}\nsmtp_tls_security_level = none\nsmtpd_forbid_bare_newline = no\n",
        sink.address().port()
    );
    // As it was before 2023: it takes LF for CR LF.
    let postfix = Postfix::start_with(&relay, "", &FakeDovecot::start());
    assert!(smuggle(postfix.address, b"\n.\r\n").len() > 1, "this Postfix is no victim any more");
    let fooled = sink.wait_for(2);
    assert!(fooled.iter().any(|taken| taken.mail.contains("smuggled")), "{fooled:?}");

    let gate_before_postfix =
        gate().smarthost("line_endings", "normalise").next_hop_at(postfix.address, "").run();
    for look_alike in LOOK_ALIKES {
        assert_eq!(smuggle(gate_before_postfix.smarthost(), look_alike), [250], "{look_alike:?}");
    }
    let taken = sink.wait_for(2 + LOOK_ALIKES.len());
    let smuggled = taken.iter().filter(|taken| taken.mail.contains("smuggled")).count();
    assert_eq!((taken.len(), smuggled), (2 + LOOK_ALIKES.len(), 1));

    let exim = Exim::keeping("");
    let gate_before_exim =
        gate().smarthost("line_endings", "normalise").next_hop_at(exim.address, "").run();
    for look_alike in LOOK_ALIKES {
        assert_eq!(smuggle(gate_before_exim.smarthost(), look_alike), [250], "{look_alike:?}");
    }
    let kept = wait_for("Exim to keep all", || {
        let kept = exim.kept();
        (kept.len() >= LOOK_ALIKES.len()).then_some(kept)
    });
    assert_eq!(kept.len(), LOOK_ALIKES.len());
    assert!(kept.iter().all(|mail| mail.contains("Return-path: <a@shop.example>")), "{kept:?}");
}
