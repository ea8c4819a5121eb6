//! Command lines: where they end, how long they may be, and which stage gets what is in the buffer.

use super::{Channel, CloseReason, EndReason, Reading, Refusal, Session, State, login::sasl_reply};
use crate::{smtp::sasl::SaslError, types::Timestamp};
use bytes::{Buf, BytesMut};

impl Session {
    /// Goes one step on; false if more input is needed.
    pub(super) fn advance(&mut self, now: Timestamp) -> bool {
        match (&self.state, self.reading) {
            (State::Command | State::Envelope(_) | State::Sasl(_), Reading::Lines) => {
                self.advance_line(now)
            }
            (State::Command | State::Envelope(_) | State::Sasl(_), Reading::Discarding) => {
                self.discard_line()
            }
            (State::Body(..), _) => self.advance_body(),
            _ => false,
        }
    }

    fn advance_line(&mut self, now: Timestamp) -> bool {
        if self.channel == Channel::Plain && self.buffer.first() == Some(&TLS_HANDSHAKE) {
            self.end(CloseReason::Protocol, EndReason::Closed);
            return false;
        }
        match self.find_line() {
            Line::Incomplete => return false,
            Line::TooLong => self.refuse_long_line(),
            Line::Bare => self.refuse_bare(),
            Line::Whole(length) => {
                let line = self.take_line(length);
                self.waiting_since = now;
                self.obey(&line, now);
            }
        }
        self.check_errors();
        true
    }

    pub(super) fn find_line(&self) -> Line {
        let long = matches!(self.state, State::Sasl(_))
            || self.buffer.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH"));
        find_line(&self.buffer, if long { AUTH_BYTES_MAX } else { COMMAND_BYTES_MAX })
    }

    pub(super) fn take_line(&mut self, length: usize) -> BytesMut {
        let mut line = self.buffer.split_to(length + 2);
        line.truncate(length);
        line
    }

    fn refuse_long_line(&mut self) {
        self.reading = Reading::Discarding;
        if matches!(self.state, State::Sasl(_)) {
            self.state = State::Command;
            self.refuse(&Refusal::Fault(sasl_reply(SaslError::TooLong)));
        } else {
            self.refuse(&Refusal::Fault("500 5.5.2 line too long"));
        }
    }

    /// Two servers that differ over a bare CR or LF see two different conversations, so this one ends (RFC 5321 §2.3.8).
    fn refuse_bare(&mut self) {
        self.say("500 5.5.2 bare CR or LF");
        self.end(CloseReason::Protocol, EndReason::Closed);
    }

    fn discard_line(&mut self) -> bool {
        match memchr::memchr(b'\n', &self.buffer) {
            Some(end) if end > 0 && self.buffer[end - 1] == b'\r' => {
                self.buffer.advance(end + 1);
                self.reading = Reading::Lines;
                true
            }
            Some(_) => {
                self.refuse_bare();
                false
            }
            None => {
                let kept = usize::from(self.buffer.last() == Some(&b'\r'));
                self.buffer.advance(self.buffer.len() - kept);
                false
            }
        }
    }
}

/// What stands at the front of the buffer.
pub(super) enum Line {
    Incomplete,
    /// A line of so many octets, then CRLF.
    Whole(usize),
    TooLong,
    /// A line with a CR in it or without a CR before its LF.
    Bare,
}

/// Finds a line of at most `bytes_max` octets; the same at whatever split of the stream.
fn find_line(buffer: &[u8], bytes_max: usize) -> Line {
    let window = &buffer[..buffer.len().min(bytes_max + 2)];
    match memchr::memchr2(b'\r', b'\n', window) {
        Some(at) if window[at..].starts_with(b"\r\n") => Line::Whole(at),
        Some(at) if at + 1 < window.len() || window[at] == b'\n' => Line::Bare,
        _ if window.len() == bytes_max + 2 => Line::TooLong,
        _ => Line::Incomplete,
    }
}

/// The first octet of a TLS record with a ClientHello (RFC 8446 §5.1); no command begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// The longest command line without its CRLF; RFC 5321 §4.5.3.1.4 wants 512 and the extensions add to it.
const COMMAND_BYTES_MAX: usize = 2048;
/// The longest line of AUTH (RFC 4954 §4).
const AUTH_BYTES_MAX: usize = 12_288;
