//! Octets from a next hop. At any split they give the same replies; what is held is bounded; what is passed back to a client
//! is one well-formed reply of bounded ASCII with a status that fits its code; replies never outnumber the commands.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tollgate::{
    rules::verdict::passed_back,
    smtp::{
        Extensions, MailRequest, RcptRequest, Reply,
        client::{
            CODE_CLOSING, Group, REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX, RawReply, ReplyError,
            ReplyParser, checked, parse_ehlo,
        },
        reply::RECEIVED_BYTES_MAX,
    },
    types::ReversePath,
};
use tollgate_fuzz::{pieces, replies};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (seed, bits, octets) = input;
    let whole = read(&[octets]);
    assert_eq!(read(&pieces(seed, octets)), whole, "another split, other replies");
    for reply in &whole.0 {
        check_reply(reply);
    }
    check_group(bits, whole.0);
});

fn read(pieces: &[&[u8]]) -> (Vec<RawReply>, Option<ReplyError>) {
    let (mut parser, mut input, mut found) = (ReplyParser::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match parser.next_reply(&mut input) {
                Ok(Some(reply)) => found.push(reply),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(input.len() <= REPLY_LINE_BYTES_MAX + 1, "{} octets are held", input.len());
    }
    (found, None)
}

fn check_reply(raw: &RawReply) {
    assert!((1..=REPLY_LINES_MAX).contains(&raw.lines().len()));
    let extensions = parse_ehlo(raw);
    assert!(extensions.size != Some(Some(0)) && extensions.auth.len() <= 32 * REPLY_LINES_MAX);
    // 3xx answers nothing that is passed back.
    let Ok(reply) = checked(raw.clone(), "MAIL").or_else(closing) else { return };
    let passed = passed_back(&reply);
    let code = match raw.code() {
        CODE_CLOSING => 451,
        251 => 251,
        200..=299 => 250,
        code => code,
    };
    let status = passed.status().expect("our EHLO promises a status");
    assert!(passed.code() == code && status.starts_with(&code.to_string()[..1]), "{passed}");
    let mut sent = Vec::new();
    passed.write_to(&mut sent);
    assert!(sent.is_ascii() && sent.len() <= 2 * RECEIVED_BYTES_MAX, "{}", sent.escape_ascii());
    assert_eq!(replies::split(&sent).len(), 1, "{}", sent.escape_ascii());
    let (again, error) = read(&[&sent]);
    let again = again.into_iter().next().map(RawReply::into_reply);
    let again = again.unwrap_or_else(|| panic!("{error:?} of {}", sent.escape_ascii()));
    assert_eq!((again.code(), again.status()), (passed.code(), passed.status()));
}

/// The reply of a hop that closes, which is passed back too.
fn closing(error: ReplyError) -> Result<Reply, ReplyError> {
    match error {
        ReplyError::Closing(reply) => Ok(reply),
        other => Err(other),
    }
}

/// RSET, MAIL and as many RCPT as three bits say, to a hop that pipelines or not.
fn check_group(bits: u8, replies: Vec<RawReply>) {
    let hop = Extensions { pipelining: bits & 8 != 0, ..Extensions::default() };
    let mut group = Group::new(&hop);
    group.reset();
    group.mail(&mail(), &hop);
    let recipients = usize::from(bits & 7);
    for _ in 0..recipients {
        let address = "a@b.example".parse().expect("an address");
        group.rcpt(&RcptRequest { address, notify: None, orcpt: None }, &hop);
    }
    let (mut written, mut taken) = (0, 0);
    for reply in replies {
        written += group.next_bytes().map_or(0, <[u8]>::len);
        if group.is_done() {
            assert!(group.take(reply).is_err(), "a reply to no command");
            return;
        }
        if group.take(reply).is_err() {
            return;
        }
        taken += 1;
        assert!(taken <= 2 + recipients && written > 0);
    }
    let is_done = group.is_done();
    let answers = group.into_answers();
    let refused = answers.mail.as_ref().is_some_and(|reply| !reply.is_positive());
    assert!(answers.recipients.len() <= recipients && (answers.mail.is_some() || !is_done));
    assert!(!is_done || refused || answers.recipients.len() == recipients);
}

fn mail() -> MailRequest {
    let (size, body, ret, envid, auth) = (None, None, None, None, None);
    MailRequest { sender: ReversePath::Null, size, body, smtputf8: false, ret, envid, auth }
}
