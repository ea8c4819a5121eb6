//! Plays a program with a session, under the eyes of a [`Judge`].

use crate::{
    CONFIG,
    judge::{Judge, Transcript},
    program::{Program, Step},
    replies,
};
use std::sync::Arc;
use tollgate::{
    smtp::{
        data::{LineEndings, stuff_lines},
        server::{Input, Output, Session, Start},
    },
    types::Timestamp,
};

/// How what the client sends is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Not at all: everything up to the next step comes at once.
    Whole,
    /// Octet by octet, and each is looked at: one reply for each command, none for anything else.
    Octets,
    /// In pieces of up to 40 octets.
    Pieces,
}

/// Plays a program to its end and beyond, until the session has closed by itself. Panics if a promise is broken.
pub fn play(program: &Program, cut: Cut) -> Transcript {
    let mut player = Player::new(program);
    for step in &program.steps {
        let was_asked = player.judge.is_asked();
        player.happen(step, cut);
        if was_asked {
            player.answer();
        }
    }
    player.end();
    player.judge.transcript
}

struct Player {
    session: Session,
    judge: Judge,
    now: Timestamp,
    due: Option<Timestamp>,
    /// The next ask is left open.
    hold: bool,
    stream: Stream,
    /// A bare LF ends a line.
    normalises: bool,
}

/// Where the client's stream stands, read naively and octet by octet.
#[derive(Debug, Default)]
struct Stream {
    place: Place,
    /// The line so far, or what came since the text or its first chunk began.
    octets: Vec<u8>,
    /// The line was refused for its length before its end came.
    refused: bool,
    /// The text so far, of those chunks that count.
    chunks: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Line,
    /// Within DATA.
    Text,
    /// So many octets of a chunk are to come.
    Chunk(u64),
}

impl Player {
    fn new(program: &Program) -> Self {
        let settings = program.setup.settings(CONFIG.session_settings(&CONFIG.listeners[0]));
        let normalises = settings.line_endings == LineEndings::Normalise;
        let now = Timestamp::from_millis(1_000_000);
        let start = Start { tls: program.setup.is_tls(), id: "s1".parse().unwrap() };
        let mut player = Self {
            session: Session::new(Arc::new(settings.clone()), start, now),
            judge: Judge::new(program.setup, settings),
            now,
            due: None,
            hold: false,
            stream: Stream::default(),
            normalises,
        };
        player.settle();
        assert_eq!(player.count_replies(0), 1, "the banner");
        player
    }

    fn happen(&mut self, step: &Step, cut: Cut) {
        match step {
            Step::Send(bytes) => self.send(bytes, cut),
            Step::TlsReady => {
                let handshake = self.judge.handshake && !self.judge.closed;
                self.session.handle(Input::TlsReady, self.now);
                if handshake {
                    self.judge.tls_ready(&self.session);
                    self.stream = Stream::default();
                }
                self.settle();
            }
            Step::Close => self.handle(Input::PeerClosed),
            Step::Drain => self.handle(Input::Drain),
            Step::Wait(time) => self.wait(self.now + *time),
            Step::Plan(plan) => self.judge.plan(*plan),
            Step::Hold => self.hold = true,
            Step::Intrude if self.judge.closed || self.judge.handshake => {}
            Step::Intrude => {
                let answer = self.judge.intrude();
                self.handle(Input::Answer(answer));
                assert!(self.judge.closed, "an answer to no ask");
            }
        }
    }

    fn send(&mut self, bytes: &[u8], cut: Cut) {
        match cut {
            Cut::Whole => self.handle(Input::Bytes(bytes)),
            Cut::Octets => bytes.iter().for_each(|&octet| self.send_octet(octet)),
            Cut::Pieces => bytes.chunks(37).for_each(|piece| self.handle(Input::Bytes(piece))),
        }
    }

    /// RFC 5321 §4.3.1, RFC 2920 and RFC 3030: one reply for each command, text and chunk, in order, and no other but the last.
    fn send_octet(&mut self, octet: u8) {
        let (sent, was_closed) = (self.judge.transcript.sent.len(), self.judge.closed);
        let deeds = self.judge.transcript.deeds.len();
        let (place, mute) = (self.stream.place, was_closed || self.judge.handshake);
        let receiving = self.judge.is_receiving();
        let is_response = self.is_response();
        self.handle(Input::Bytes(&[octet]));
        let replies = self.count_replies(sent);
        let due = match place {
            _ if mute => 0,
            Place::Line => self.stream.take_of_line(octet, self.normalises, is_response),
            Place::Text => self.stream.take_of_text(octet),
            Place::Chunk(left) => self.stream.take_of_chunk(octet, left, receiving),
        };
        let closes = self.judge.closed && !was_closed;
        match (replies, due) {
            _ if replies == due => {}
            // The last word of a session may be one more; so may be that a line is too long, before its end.
            _ if closes && replies <= due + 1 => {}
            (2, 0) if closes && place == Place::Line => {}
            (1, 0) if place == Place::Line && !mute => self.assert_too_long(sent),
            _ => panic!("{replies} replies where {due} are due: {}", self.judge.transcript),
        }
        if place == Place::Text && due == 1 {
            self.assert_text_is_answered(sent);
        }
        if place != Place::Line && due == 1 && !self.normalises {
            self.assert_text_is_unchanged(place, deeds);
        }
        self.begin_what_follows(place, receiving);
    }

    /// True if the next line is a response within AUTH and no command.
    fn is_response(&self) -> bool {
        let sent = self.judge.transcript.sent.strip_suffix(b"\r\n").unwrap_or_default();
        let start = sent.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1);
        sent[start..].starts_with(b"334 ")
    }

    fn begin_what_follows(&mut self, place: Place, was_receiving: bool) {
        if place == Place::Line && self.judge.data {
            self.stream = Stream { place: Place::Text, ..Stream::default() };
        } else if place == Place::Text && self.stream.place == Place::Line {
            self.stream.octets.clear();
        } else if !was_receiving && self.judge.is_receiving() {
            self.stream.chunks.clear();
        }
    }

    fn assert_too_long(&mut self, sent: usize) {
        assert!(
            self.judge.transcript.sent[sent..].starts_with(b"500 5.5."),
            "a reply to half a line"
        );
        self.stream.refused = true;
    }

    /// The answer to a text is the world's, or that it was too large; nobody else calls a message accepted.
    fn assert_text_is_answered(&self, sent: usize) {
        let deeds = &self.judge.transcript.deeds;
        let deed = deeds.iter().rev().find(|deed| !deed.starts_with("close"));
        let said = String::from_utf8_lossy(&self.judge.transcript.sent[sent..]);
        match deed.map(String::as_str) {
            Some("ended TooLarge") => assert!(said.starts_with("552 5.3.4 "), "{said}"),
            Some("ended LineTooLong") => assert!(said.starts_with("550 5.6.0 "), "{said}"),
            Some(deed) if deed.starts_with("message ") => {
                assert!(said.contains(" the world"), "{said}")
            }
            other => panic!("{said:?} after {other:?}"),
        }
    }

    /// What goes on is what came: DATA as it is, chunks with their dots stuffed and a line end behind the last line.
    fn assert_text_is_unchanged(&self, place: Place, former: usize) {
        let deeds = &self.judge.transcript.deeds[former..];
        if !deeds.iter().any(|deed| deed.starts_with("message ")) {
            return;
        }
        let expected = if place == Place::Text {
            self.stream.octets.strip_suffix(b".\r\n").unwrap().to_vec()
        } else {
            let mut text = self.stream.chunks.clone();
            if !text.is_empty() && !text.ends_with(b"\r\n") {
                text.extend_from_slice(b"\r\n");
            }
            stuff_lines(&text)
        };
        let got = self.judge.last_text.escape_ascii();
        assert!(expected == self.judge.last_text, "{got} of {}", expected.escape_ascii());
    }

    fn count_replies(&self, from: usize) -> usize {
        replies::split(&self.judge.transcript.sent[from..]).len()
    }

    fn handle(&mut self, input: Input<'_>) {
        self.session.handle(input, self.now);
        self.settle();
    }

    /// Does all that the session wants. A deadline that is due comes before anything else, as with a real clock.
    fn settle(&mut self) {
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert!(rounds <= 3, "a deadline that never comes to an end");
            self.do_outputs();
            match self.due.filter(|&due| due <= self.now) {
                Some(_) if !self.judge.closed => {
                    self.due = None;
                    self.session.handle(Input::Deadline, self.now);
                }
                _ => break,
            }
        }
        self.judge.assert_settled(&self.session);
    }

    fn do_outputs(&mut self) {
        while let Some(output) = self.session.poll_output() {
            if let Output::Deadline(due) = output {
                self.due = Some(due);
            }
            let asks = matches!(output, Output::Ask(_));
            self.judge.see(output, &self.session);
            if asks {
                if std::mem::take(&mut self.hold) {
                    assert!(self.session.poll_output().is_none(), "something behind an ask");
                    return;
                }
                if let Some(answer) = self.judge.answer() {
                    self.session.handle(Input::Answer(answer), self.now);
                }
            }
        }
    }

    fn answer(&mut self) {
        if let Some(answer) = self.judge.answer() {
            self.handle(Input::Answer(answer));
        }
    }

    fn wait(&mut self, end: Timestamp) {
        while let Some(due) = self.due.filter(|&due| due <= end && !self.judge.closed) {
            assert!(due > self.now, "a deadline that was not met");
            self.now = due;
            self.settle();
        }
        self.now = end;
    }

    /// Nobody says anything any more: the session ends by itself.
    fn end(&mut self) {
        self.hold = false;
        self.answer();
        for _ in 0..2 {
            if let Some(due) = self.due {
                self.wait(due.max(self.now));
            }
        }
        assert!(self.judge.closed, "a session that never ends: {:?}", self.session);
        let told = self.judge.transcript.deeds.len();
        self.handle(Input::PeerClosed);
        self.handle(Input::Bytes(b"NOOP\r\n"));
        assert_eq!(self.judge.transcript.deeds.len(), told, "something after the end");
    }
}

impl Stream {
    /// The replies that are due when this octet of a command line came.
    fn take_of_line(&mut self, octet: u8, normalises: bool, is_response: bool) -> usize {
        self.octets.push(octet);
        let is_end = self.octets.ends_with(b"\r\n") || normalises && octet == b'\n';
        if !is_end {
            return 0;
        }
        let line = std::mem::take(&mut self.octets);
        if std::mem::take(&mut self.refused) {
            return 0;
        }
        match chunk_size(&line).filter(|_| !is_response) {
            Some(octets) if octets > 0 => {
                self.place = Place::Chunk(octets);
                0
            }
            _ => 1,
        }
    }

    /// The replies that are due when this octet of a text came.
    fn take_of_text(&mut self, octet: u8) -> usize {
        self.octets.push(octet);
        let is_end = self.octets == b".\r\n" || self.octets.ends_with(b"\r\n.\r\n");
        if is_end {
            self.place = Place::Line;
        }
        usize::from(is_end)
    }

    /// The replies that are due when this octet of a chunk came.
    fn take_of_chunk(&mut self, octet: u8, left: u64, counts: bool) -> usize {
        if counts {
            self.chunks.push(octet);
        }
        self.place = if left == 1 { Place::Line } else { Place::Chunk(left - 1) };
        usize::from(left == 1)
    }
}

/// How many octets follow a line, if it is BDAT and says so (RFC 3030 §2).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let (verb, rest) = str::from_utf8(line).ok()?.split_at_checked(4)?;
    if !verb.eq_ignore_ascii_case("BDAT") || !rest.starts_with([' ', '\t']) {
        return None;
    }
    let words = rest.trim_ascii().split([' ', '\t']).filter(|word| !word.is_empty());
    let (size, last) = match *words.collect::<Vec<_>>().as_slice() {
        [size] => (size, "LAST"),
        [size, last] => (size, last),
        _ => return None,
    };
    let is_size = size.bytes().all(|byte| byte.is_ascii_digit());
    if is_size && last.eq_ignore_ascii_case("LAST") { size.parse().ok() } else { None }
}
