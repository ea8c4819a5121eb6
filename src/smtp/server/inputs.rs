//! What happens to a session from outside: bytes, answers, TLS, deadlines.

use super::{
    Answer, Channel, CloseReason, Coming, EndReason, Login, Output, Reply, Session, Slot, State,
    Transaction,
};
use crate::types::Timestamp;

impl Session {
    pub(super) fn handle_bytes(&mut self, bytes: &[u8], now: Timestamp) {
        match self.state {
            State::Closed | State::TlsHandshake => return,
            State::Body(..) | State::Chunk(_) if !bytes.is_empty() => self.waiting_since = now,
            _ if self.is_asking() && self.buffer.len() + bytes.len() > WAITING_BYTES_MAX => {
                self.say("421 4.7.0 too much input before an answer");
                return self.end(CloseReason::Protocol, EndReason::Closed);
            }
            _ => {}
        }
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn handle_tls_ready(&mut self, now: Timestamp) {
        if matches!(self.state, State::TlsHandshake) {
            self.waiting_since = now;
            self.channel = Channel::Tls;
            // RFC 3207 §4.2: nothing that was said in plaintext counts any more.
            self.greeting = None;
            self.login = Login::Anonymous;
            self.claims = None;
            self.state = State::Command;
        }
    }

    pub(super) fn handle_deadline(&mut self, now: Timestamp) {
        match self.next_deadline() {
            Some(due) if now >= due => self.expire(now),
            // It was an earlier one; the present one is told again.
            _ => self.deadline = None,
        }
    }

    fn expire(&mut self, now: Timestamp) {
        let outlived = self.transaction().is_some_and(|transaction| now >= transaction.deadline);
        let reason = if outlived { EndReason::TooLong } else { EndReason::Closed };
        if !outlived && self.too_slow_at().is_some_and(|due| now >= due) {
            self.say("421 4.4.2 the text comes in too slowly, closing connection");
            return self.end(CloseReason::Slow, reason);
        }
        if !matches!(self.state, State::TlsHandshake) {
            self.say("421 4.4.2 timeout, closing connection");
        }
        self.end(CloseReason::Timeout, reason);
    }

    pub(super) fn handle_answer(&mut self, answer: Answer, now: Timestamp) {
        self.waiting_since = now;
        match (std::mem::replace(&mut self.state, State::Command), answer) {
            (State::AskedLogin(mechanism), Answer::Login(answer)) => {
                self.take_login(mechanism, answer);
            }
            (State::AskedScram(first), Answer::Scram(answer)) => self.take_scram(*first, &answer),
            (State::AskedMail(transaction), Answer::Mail(reply)) => {
                self.take_mail(&reply, transaction);
            }
            (State::AskedRecipients(transaction, slots), Answer::Recipients(replies)) => {
                self.take_recipients(&replies, transaction, &slots);
            }
            (State::AskedText(transaction, Coming::Text), Answer::Text(answer)) => {
                self.take_text(answer, transaction, now);
            }
            (State::AskedText(transaction, Coming::Chunks(size)), Answer::Text(answer)) => {
                self.take_first_chunk(answer, transaction, size, now);
            }
            (State::AskedMessage, Answer::Message(reply)) => {
                reply.write_to(&mut self.replies);
                // It must not wait for the answer to a transaction that is pipelined behind it.
                self.flush();
                self.forget_envelope();
            }
            (State::Closed, answer) => self.take_late(&answer),
            (state, _) => {
                self.state = state;
                self.fail();
            }
        }
    }

    fn take_mail(&mut self, reply: &Reply, transaction: Transaction) {
        reply.write_to(&mut self.replies);
        self.orphans_left =
            if reply.is_positive() { 0 } else { self.settings.recipients_max.saturating_add(1) };
        if reply.is_positive() {
            self.state = State::Envelope(transaction);
        }
    }

    fn take_recipients(&mut self, replies: &[Reply], transaction: Transaction, slots: &[Slot]) {
        let mut replies = replies.iter();
        let mut accepted = 0;
        for slot in slots {
            match slot {
                Slot::Said(line) => self.say(line),
                Slot::Asked => match replies.next() {
                    Some(reply) => {
                        reply.write_to(&mut self.replies);
                        accepted += usize::from(reply.is_positive());
                    }
                    None => self.say("451 4.3.0 internal error"),
                },
            }
        }
        let transaction = self.note_attempts(transaction, slots.len(), accepted);
        self.idle_commands = 0;
        self.state = State::Envelope(transaction);
        self.check_errors();
    }

    /// An answer that came after the end: if it begins a transaction, that one is over at once.
    fn take_late(&mut self, answer: &Answer) {
        self.state = State::Closed;
        if matches!(answer, Answer::Mail(reply) if reply.is_positive()) {
            self.outputs.push_back(Output::TransactionEnded(EndReason::Closed));
        }
    }
}

/// Octets that are kept while an ask is open. A pump that does not read meanwhile never comes near.
pub(super) const WAITING_BYTES_MAX: usize = 1 << 20;
