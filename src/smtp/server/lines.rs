//! Command lines: where they end, how long they may be, and which stage gets what is in the buffer.

use super::{CloseReason, EndReason, Reading, Refusal, Session, State, login::sasl_reply};
use crate::{
    smtp::{command::CommandError, data::LineEndings, sasl::SaslError},
    types::Timestamp,
};
use bytes::{Buf, BytesMut};

impl Session {
    /// Goes one step on; false if more input is needed.
    pub(super) fn advance(&mut self, now: Timestamp) -> bool {
        match (&self.state, self.reading) {
            (State::Body(..), _) => self.advance_body(),
            (State::Chunk(_), _) => self.advance_chunk(now),
            (State::TlsHandshake | State::Closed, _) => false,
            _ if self.is_asking() => false,
            (_, Reading::Lines) => self.advance_line(now),
            (_, Reading::Discarding) => self.discard_line(),
        }
    }

    fn advance_line(&mut self, now: Timestamp) -> bool {
        if self.buffer.first().is_some_and(|&octet| begins_no_line(octet)) {
            self.end(CloseReason::Protocol, EndReason::Closed);
            return false;
        }
        match self.find_line() {
            Line::Incomplete => return false,
            Line::TooLong => self.refuse_long_line(),
            Line::Bare => self.refuse_bare(),
            Line::Whole(end) => {
                let line = self.take_line(end);
                self.waiting_since = now;
                self.obey(&line, now);
            }
        }
        self.check_errors();
        true
    }

    pub(super) fn find_line(&self) -> Line {
        let long = matches!(self.state, State::Sasl(_)) || self.begins_with(b"AUTH");
        let bytes_max = if long { AUTH_BYTES_MAX } else { COMMAND_BYTES_MAX };
        find_line(&self.buffer, bytes_max, self.line_endings())
    }

    fn begins_with(&self, verb: &[u8; 4]) -> bool {
        self.buffer.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(verb))
    }

    pub(super) fn take_line(&mut self, end: LineEnd) -> BytesMut {
        let mut line = self.buffer.split_to(end.at + end.ending_bytes);
        line.truncate(end.at);
        line
    }

    fn refuse_long_line(&mut self) {
        if self.begins_with(b"BDAT") {
            // The octets that follow must not be taken for commands, and how many they are stands in the line.
            return self.refuse(&CommandError::ChunkSize.into());
        }
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
            Some(end)
                if self.line_endings() == LineEndings::Normalise
                    || (end > 0 && self.buffer[end - 1] == b'\r') =>
            {
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
    Whole(LineEnd),
    TooLong,
    /// A line with a CR in it or without a CR before its LF.
    Bare,
}

/// Where a line ends, and how many octets end it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineEnd {
    pub(super) at: usize,
    ending_bytes: usize,
}

/// Finds a line of at most `bytes_max` octets; the same at whatever split of the stream.
fn find_line(buffer: &[u8], bytes_max: usize, endings: LineEndings) -> Line {
    let window = &buffer[..buffer.len().min(bytes_max + 2)];
    match memchr::memchr2(b'\r', b'\n', window) {
        Some(at) if window[at..].starts_with(b"\r\n") => {
            Line::Whole(LineEnd { at, ending_bytes: 2 })
        }
        Some(at) if window[at] == b'\n' && endings == LineEndings::Normalise => {
            Line::Whole(LineEnd { at, ending_bytes: 1 })
        }
        Some(at) if at + 1 < window.len() || window[at] == b'\n' => Line::Bare,
        _ if window.len() == bytes_max + 2 => Line::TooLong,
        _ => Line::Incomplete,
    }
}

/// True of octets with which a binary protocol begins (a ClientHello, RFC 8446 §5.1; RDP, SMB, SOCKS …) and no command: such a
/// peer may never send the end of a line, and understands no reply.
const fn begins_no_line(octet: u8) -> bool {
    octet.is_ascii_control() && !matches!(octet, b'\t'..=b'\r')
}

/// The longest command line without its CRLF; RFC 5321 §4.5.3.1.4 wants 512 and the extensions add to it.
const COMMAND_BYTES_MAX: usize = 2048;
/// The longest line of AUTH (RFC 4954 §4).
const AUTH_BYTES_MAX: usize = 12_288;
