//! What every input ends with: replies are sent, deadlines told, errors counted, transactions ended.

use super::{CloseReason, EndReason, Output, Refusal, Service, Session, State, Transaction};
use crate::types::Timestamp;
use bytes::BytesMut;

impl Session {
    /// What is at the end of each turn: tell what there is to tell, and hold no memory while idle.
    pub(super) fn finish_turn(&mut self) {
        if self.service == Service::Draining
            && matches!(self.state, State::Command | State::ChunksFailed(_))
        {
            self.stop();
        }
        if !self.is_asking() {
            self.flush();
        }
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        let due = self.next_deadline();
        if due != self.deadline {
            self.deadline = due;
            self.outputs.extend(due.map(Output::Deadline));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let wait = match &self.state {
            State::Body(..) | State::Chunk(_) => self.settings.timeout_data,
            State::Closed => return None,
            _ if self.is_asking() => return None,
            _ => self.settings.timeout_command,
        };
        let chunk = match &self.state {
            State::Chunk(chunk) => Some(chunk.until()),
            _ => None,
        };
        let transaction = self.transaction().map(|transaction| transaction.deadline);
        let due = [Some(self.waiting_since + wait), transaction, chunk, self.too_slow_at()];
        due.into_iter().flatten().min()
    }

    pub(super) const fn is_asking(&self) -> bool {
        matches!(
            self.state,
            State::AskedLogin(_)
                | State::AskedScram(_)
                | State::AskedMail(_)
                | State::AskedRecipients(..)
                | State::AskedText(..)
                | State::AskedMessage
        )
    }

    pub(super) fn transaction(&self) -> Option<Transaction> {
        self.state.transaction()
    }

    /// True from MAIL on until what it began is over for the client, too.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.transaction().is_some() || matches!(self.state, State::ChunksFailed(_))
    }

    pub(super) fn end_transaction(&mut self, reason: EndReason) {
        if self.transaction().is_some() {
            self.outputs.push_back(Output::TransactionEnded(reason));
        }
        self.state = State::Command;
        self.forget_envelope();
    }

    pub(super) fn end(&mut self, close: CloseReason, reason: EndReason) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.flush();
        self.end_transaction(reason);
        self.outputs.push_back(Output::Close(close));
        self.buffer = BytesMut::new();
        self.state = State::Closed;
    }

    /// RFC 5321 §3.8: the one reply that may come instead of any other.
    pub(super) fn stop(&mut self) {
        self.say("421 4.3.2 server is stopping");
        self.end(CloseReason::Drain, EndReason::Closed);
    }

    /// An answer that nothing asked for.
    pub(super) fn fail(&mut self) {
        self.say("421 4.3.0 internal error");
        self.end(CloseReason::Protocol, EndReason::Closed);
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::Fault(line) => {
                self.errors += 1;
                self.say(line);
            }
            Refusal::Policy(line) => {
                self.orphans_left = self.orphans_left.saturating_sub(1);
                self.say(line);
            }
            Refusal::Told(reply) => reply.write_to(&mut self.replies),
            Refusal::Fatal(line) => {
                self.say(line);
                self.end(CloseReason::Protocol, EndReason::Closed);
            }
        }
    }

    /// Ends the session after too many errors, unless an answer is still due.
    pub(super) fn check_errors(&mut self) {
        if self.errors >= self.settings.errors_max
            && !self.is_asking()
            && !matches!(self.state, State::Closed)
        {
            self.say("421 4.7.0 too many errors");
            self.end(CloseReason::TooManyErrors, EndReason::Closed);
        }
    }

    /// Commands that lead nowhere are free up to a number, then they are errors.
    pub(super) fn note_idle(&mut self) {
        self.idle_commands += 1;
        self.errors += u32::from(self.idle_commands > IDLE_COMMANDS_MAX);
    }

    pub(super) fn say_idle(&mut self, line: &str) {
        self.note_idle();
        self.say(line);
    }

    pub(super) fn say(&mut self, line: &str) {
        self.replies.extend_from_slice(line.as_bytes());
        self.replies.extend_from_slice(b"\r\n");
    }

    pub(super) fn say_banner(&mut self) {
        let line = format!("220 {} ESMTP Tollgate", self.settings.hostname);
        self.say(&line);
    }

    pub(super) fn say_lines<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        let mut lines = lines.peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { b"250-" } else { b"250 " };
            self.replies.extend_from_slice(mark);
            self.say(line);
        }
    }

    pub(super) fn flush(&mut self) {
        if !self.replies.is_empty() {
            self.outputs.push_back(Output::Send(std::mem::take(&mut self.replies)));
        }
    }
}

/// NOOP, RSET, VRFY, HELP and greetings since the last RCPT that was asked about before each counts as an error.
const IDLE_COMMANDS_MAX: u32 = 100;
