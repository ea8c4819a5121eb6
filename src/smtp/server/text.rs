//! The text: DATA, its octets, its end.

use super::{
    Ask, Body, CloseReason, EndReason, Fate, Output, Refusal, Session, State, Transaction,
};
use crate::{smtp::data::Scan, types::Timestamp};
use bytes::Buf;

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

    pub(super) fn proceed_data(&mut self, now: Timestamp) {
        let State::Envelope(transaction) = self.state else { return };
        self.state = State::Body(transaction, Body::default());
        self.waiting_since = now;
        self.say("354 end with <CRLF>.<CRLF>");
        self.flush();
        self.outputs.push_back(Output::BodyBegins);
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
const NO_RECIPIENT: &str = "554 5.5.1 no valid recipients";
