//! The contract of [`Session`] input by input; whole conversations are in `tests/wire.rs`.

use super::{
    Answer, Ask, Input, NO_EXTENSIONS, Output, Session, SessionSettings, Start,
    inputs::WAITING_BYTES_MAX,
};
use crate::{
    smtp::{Extensions, Reply, data::LineEndings},
    types::Timestamp,
};
use std::{sync::Arc, time::Duration};

fn session() -> Session {
    session_with(0)
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::EPOCH + Duration::from_secs(seconds)
}

fn session_with(data_rate_min: u64) -> Session {
    let settings = SessionSettings {
        hostname: "gate.example".parse().unwrap(),
        extensions: Extensions { pipelining: true, size: Some(None), ..NO_EXTENSIONS.clone() },
        size_bytes_max: 1000,
        starttls: false,
        auth_mechanisms: Vec::new(),
        require_tls: false,
        require_auth: false,
        login_failures_max: 10,
        allow_plaintext_auth: false,
        xclient: false,
        xforward: false,
        line_endings: LineEndings::Strict,
        text_line_bytes_max: None,
        recipients_max: 10_000,
        errors_max: 10,
        timeout_command: Duration::from_secs(300),
        timeout_data: Duration::from_secs(180),
        data_rate_min,
        transaction_time_max: Duration::from_secs(1800),
    };
    let start = Start { tls: false, id: "s1".parse().unwrap() };
    Session::new(Arc::new(settings), start, Timestamp::EPOCH)
}

fn outputs(session: &mut Session) -> Vec<String> {
    std::iter::from_fn(|| session.poll_output()).map(|output| describe(&output)).collect()
}

fn describe(output: &Output) -> String {
    match output {
        Output::Send(bytes) => {
            let text = str::from_utf8(bytes).unwrap();
            let codes: Vec<&str> = text.lines().filter_map(|line| line.get(..4)).collect();
            codes.concat().replace('-', " ").trim_end().to_owned()
        }
        Output::Deadline(due) => format!("due {}", due.as_millis() / 1000),
        Output::Ask(Ask::Mail(_)) => "mail?".to_owned(),
        Output::Ask(Ask::Recipients(requests)) => format!("{} recipients?", requests.len()),
        Output::Ask(Ask::Text) => "text?".to_owned(),
        Output::Ask(Ask::Message { size_bytes }) => format!("{size_bytes} octets?"),
        Output::Body(piece) => format!("{} octets", piece.len()),
        other => format!("{other:?}"),
    }
}

/// What comes out after each input.
fn check(inputs: Vec<(u64, Input<'_>)>, expected: &[&[&str]]) -> Session {
    let mut session = session();
    assert_eq!(outputs(&mut session), ["220", "due 300"]);
    for (at, ((seconds, input), expected)) in inputs.into_iter().zip(expected).enumerate() {
        session.handle(input, Timestamp::EPOCH + Duration::from_secs(seconds));
        assert_eq!(&outputs(&mut session), expected, "input {at}");
    }
    session
}

fn yes() -> Reply {
    Reply::new(250, "2.0.0", "ok")
}

#[test]
fn a_group_is_asked_once_and_answered_with_one_send() {
    let group =
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<\r\nRCPT TO:<e@f>\r\nDATA\r\n";
    let session = check(
        vec![
            (0, Input::Bytes(group)),
            (1, Input::Answer(Answer::Mail(yes()))),
            (2, Input::Answer(Answer::Recipients(vec![yes(), yes()]))),
            (2, Input::Answer(Answer::Text(Ok(())))),
            (3, Input::Bytes(b"text\r\n.")),
            (4, Input::Bytes(b"\r\n")),
            (5, Input::Answer(Answer::Message(yes()))),
        ],
        &[
            &["mail?"],
            &["2 recipients?"],
            &["text?"],
            &["250 250 250 250 250 250 501 250 354", "BodyBegins", "due 182"],
            &["6 octets", "due 183"],
            &["6 octets?"],
            &["250", "due 305"],
        ],
    );
    assert_eq!((session.buffer.capacity(), session.replies.capacity()), (0, 0));
}

#[test]
fn deadlines_follow_what_is_awaited() {
    check(
        vec![
            (200, Input::Bytes(b"NO")),
            (299, Input::Deadline),
            (299, Input::Bytes(b"OP\r\n")),
            (599, Input::Deadline),
        ],
        &[&[], &["due 300"], &["250", "due 599"], &["421", "Close(Timeout)"]],
    );
}

/// A session that was just allowed to send its text.
fn in_text(data_rate_min: u64) -> Session {
    let mut session = session_with(data_rate_min);
    session.handle(Input::Bytes(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n"), at(0));
    session.handle(Input::Answer(Answer::Mail(yes())), at(0));
    session.handle(Input::Answer(Answer::Recipients(vec![yes()])), at(0));
    session.handle(Input::Answer(Answer::Text(Ok(()))), at(0));
    outputs(&mut session);
    session
}

#[test]
fn text_that_trickles_is_not_waited_for() {
    let mut session = in_text(10);
    // 50 octets pay for 5 seconds beyond the 180 of silence that are always allowed.
    for second in 1..=50 {
        session.handle(Input::Bytes(b"x"), at(second * 3));
        assert!(!outputs(&mut session).iter().any(|output| output.contains("Close")));
    }
    session.handle(Input::Deadline, at(184));
    assert_eq!(outputs(&mut session), ["due 185"]);
    session.handle(Input::Deadline, at(185));
    assert_eq!(outputs(&mut session), ["421", "TransactionEnded(Closed)", "Close(Slow)"]);
}

#[test]
fn text_that_comes_fast_enough_is_never_too_slow() {
    let mut session = in_text(10);
    for second in 1..=1000 {
        session.handle(Input::Bytes(b"0123456789"), at(second));
        session.handle(Input::Deadline, at(second));
        assert!(!outputs(&mut session).iter().any(|output| output.contains("Close")), "{second}");
    }
}

#[test]
fn a_text_that_may_not_come_ends_the_transaction() {
    let full = || Reply::new(452, "4.3.1", "full");
    let envelope = b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n";
    let unasked = [&envelope[..], b"MAIL FROM:<x@y>\r\n"].concat();
    for (bytes, expected) in [
        (&envelope[..], &["250 250 250 452", "due 300"][..]),
        // Whoever sends text without waiting to be asked for it must not have it read as commands.
        (&unasked, &["250 250 250 452", "Close(Protocol)"]),
    ] {
        let asked = check(
            vec![
                (0, Input::Bytes(bytes)),
                (0, Input::Answer(Answer::Mail(yes()))),
                (0, Input::Answer(Answer::Recipients(vec![yes()]))),
                (0, Input::Answer(Answer::Text(Err(full())))),
            ],
            &[&["mail?"], &["1 recipients?"], &["text?"], expected],
        );
        assert!(asked.transaction().is_none());
    }
}

#[test]
fn a_transaction_that_is_accepted_too_late_is_over_at_once() {
    check(
        vec![
            (0, Input::Bytes(b"HELO x\r\nMAIL FROM:<>\r\n")),
            (1, Input::PeerClosed),
            (2, Input::Answer(Answer::Mail(yes()))),
            (3, Input::Bytes(b"NOOP\r\n")),
        ],
        &[&["mail?"], &["250", "Close(PeerClosed)"], &["TransactionEnded(Closed)"], &[]],
    );
}

#[test]
fn a_large_group_is_asked_in_parts() {
    let group = ["HELO x\r\nMAIL FROM:<>\r\n".to_owned(), "RCPT TO:<a@b>\r\n".repeat(1500)];
    check(
        vec![
            (0, Input::Bytes(group.concat().as_bytes())),
            (0, Input::Answer(Answer::Mail(yes()))),
            (0, Input::Answer(Answer::Recipients(vec![yes(); 1000]))),
        ],
        &[&["mail?"], &["1000 recipients?"], &["500 recipients?"]],
    );
}

#[test]
fn what_comes_before_an_answer_is_kept_up_to_a_cap() {
    let much = vec![b'x'; WAITING_BYTES_MAX];
    check(
        vec![
            (0, Input::Bytes(b"HELO x\r\nMAIL FROM:<>\r\n")),
            (0, Input::Bytes(&much)),
            (0, Input::Bytes(b"x")),
        ],
        &[&["mail?"], &[], &["250 421", "Close(Protocol)"]],
    );
}

#[test]
fn a_wrong_answer_ends_the_session() {
    check(vec![(0, Input::Answer(Answer::Message(yes())))], &[&["421", "Close(Protocol)"]]);
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 512, "{} octets", size_of::<Session>());
    assert!(size_of::<Output>() <= 256, "{} octets", size_of::<Output>());
}
