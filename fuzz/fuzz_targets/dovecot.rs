//! What a Dovecot says of logins. At any split it means the same; nothing is answered before its handshake is over, which
//! happens once; who is accepted has a name; what is shown of it in messages has no control characters. What we ask is one
//! line with the login and the password in it, whatever they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::{
    auth::dovecot::protocol::{Answer, Channel, Conversation, Heard, ProtocolError, Request},
    types::Secret,
};
use tollgate_fuzz::pieces;

fuzz_target!(|input: (u8, &[u8])| {
    let (seed, octets) = input;
    let whole = hear(&[octets]);
    assert_eq!(hear(&pieces(seed, octets)), whole, "another split, other answers");
    let (heard, error) = whole;
    let ready = heard.iter().filter(|heard| **heard == Heard::Ready).count();
    assert!(ready <= 1 && (heard.is_empty() || heard[0] == Heard::Ready), "{heard:?}");
    for heard in &heard {
        if let Heard::Answer { answer: Answer::Accepted { user }, .. } = heard {
            assert!(!user.is_empty());
        }
    }
    if let Some(error) = error {
        let said = error.to_string();
        assert!(!said.contains(char::is_control) && said.len() < 1000, "{said:?}");
    }
    check_request(seed, octets);
});

fn hear(pieces: &[&[u8]]) -> (Vec<Heard>, Option<ProtocolError>) {
    let (mut conversation, mut found) = (Conversation::default(), Vec::new());
    for piece in pieces {
        conversation.receive(piece);
        loop {
            match conversation.poll() {
                Ok(Some(heard)) => found.push(heard),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

fn check_request(seed: u8, octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let (login, password) = text.split_once(' ').unwrap_or((&text, ""));
    let password = Secret::new(password.as_bytes());
    let channel = if seed & 1 == 0 { Channel::Plain } else { Channel::Tls };
    let client = "192.0.2.1".parse().expect("an address");
    let request = Request { login, password: &password, client, channel };
    let line = Conversation::default().request(7, &request);
    let line = str::from_utf8(line.expose()).expect("ASCII").strip_suffix('\n').expect("a line");
    assert!(line.bytes().all(|byte| byte == b'\t' || byte.is_ascii_graphic()), "{line:?}");
    let fields: Vec<&str> = line.split('\t').collect();
    assert!(fields.starts_with(&["AUTH", "7", "PLAIN"]) && fields.contains(&"rip=192.0.2.1"));
    assert!(fields.last().is_some_and(|last| last.starts_with("resp=")), "{line:?}");
}
