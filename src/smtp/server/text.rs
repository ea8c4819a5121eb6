//! The text: DATA, its octets, its end.

use super::{
    Ask, Body, CloseReason, EndReason, Fate, Output, Refusal, Session, State, Transaction,
};
use crate::{
    smtp::{
        Reply,
        data::{Scan, Scanner},
    },
    types::Timestamp,
};
use bytes::Buf;
use std::time::Duration;

impl Session {
    pub(super) fn check_data(&self) -> Result<(), Refusal> {
        match self.state {
            State::Envelope(Transaction { accepted: 1.., .. }) => Ok(()),
            // With PIPELINING a client cannot know that all its recipients were refused, so that is no error of its own.
            State::Envelope(Transaction { attempted: 1.., .. }) => {
                Err(Refusal::Policy(NO_RECIPIENT))
            }
            State::Envelope(_) => Err(Refusal::Fault(NO_RECIPIENT)),
            _ => Err(self.no_mail()),
        }
    }

    pub(super) fn proceed_data(&mut self) {
        let State::Envelope(transaction) = self.state else { return };
        self.state = State::AskedText(transaction);
        self.outputs.push_back(Output::Ask(Ask::Text));
    }

    pub(super) fn take_text(
        &mut self,
        answer: Result<(), Reply>,
        transaction: Transaction,
        now: Timestamp,
    ) {
        match answer {
            Ok(()) => {
                let (scanner, fate) = (Scanner::default(), Fate::default());
                self.state = State::Body(transaction, Body { scanner, fate, began: now });
                self.say("354 end with <CRLF>.<CRLF>");
                self.flush();
                self.outputs.push_back(Output::BodyBegins);
            }
            Err(reply) => {
                reply.write_to(&mut self.replies);
                self.forget_envelope();
                // What came unasked is text that must not be taken for commands.
                if !self.buffer.is_empty() {
                    self.end(CloseReason::Protocol, EndReason::Closed);
                }
            }
        }
    }

    pub(super) fn advance_body(&mut self) -> bool {
        let State::Body(_, body) = &mut self.state else { return false };
        if self.buffer.is_empty() {
            return false;
        }
        match body.scanner.scan(&self.buffer) {
            Scan::More { pass } => {
                self.pass(pass);
                false
            }
            Scan::End { pass, consumed } => {
                self.pass(pass);
                self.buffer.advance(consumed - pass);
                self.finish_body();
                true
            }
            Scan::Malformed => {
                self.say("550 5.5.2 bare CR, bare LF or NUL in the message");
                self.end(CloseReason::Protocol, EndReason::Malformed);
                false
            }
        }
    }

    /// When the text that came so far is too little: the wait for a piece, and the time that it takes at the slowest pace.
    pub(super) fn too_slow_at(&self) -> Option<Timestamp> {
        let State::Body(_, body) = &self.state else { return None };
        let paid = body.scanner.size_bytes().checked_div(self.settings.data_rate_min)?;
        let paid = Duration::from_secs(paid.min(PAID_SECONDS_MAX));
        Some(body.began + self.settings.timeout_data + paid)
    }

    fn pass(&mut self, octets: usize) {
        let size_bytes_max = self.size_bytes_max();
        let State::Body(_, body) = &mut self.state else { return };
        let piece = self.buffer.split_to(octets);
        if body.scanner.size_bytes() > size_bytes_max {
            body.fate = Fate::Swallowed;
        } else if !piece.is_empty() {
            self.outputs.push_back(Output::Body(piece));
        }
    }

    fn finish_body(&mut self) {
        let State::Body(_, body) = &self.state else { return };
        if body.fate == Fate::Swallowed {
            self.say(TOO_LARGE);
            self.end_transaction(EndReason::TooLarge);
        } else {
            let size_bytes = body.scanner.size_bytes();
            self.state = State::AskedMessage;
            self.outputs.push_back(Output::Ask(Ask::Message { size_bytes }));
        }
    }
}

pub(super) const TOO_LARGE: &str = "552 5.3.4 message too large";
/// Text never pays for more time than this; a transaction's own deadline is earlier.
const PAID_SECONDS_MAX: u64 = 86_400;
const NO_RECIPIENT: &str = "554 5.5.1 no valid recipients";
