//! BDAT (RFC 3030): a text that comes in chunks of a stated size, each answered for itself.
//!
//! A chunk is octets, not lines: no dot is special in it, a line may go on in the next, and a chunk that is refused is read to
//! its last octet all the same, so that nothing in it is ever taken for a command. What is passed on is the dot-stuffed form
//! that DATA has, so the next hop need not know CHUNKING.

use super::{
    Ask, Coming, Output, Refusal, Session, State, Transaction,
    text::{Fate, NO_RECIPIENT, Text},
};
use crate::{
    smtp::{
        Reply,
        command::ChunkSize,
        recode::{Recoder, Source},
    },
    types::Timestamp,
};

/// A chunk whose octets are coming.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Octets that are still to come.
    left: u64,
    last: bool,
    /// When it must be there.
    until: Timestamp,
    lot: Lot,
}

/// What becomes of a chunk.
#[derive(Debug)]
enum Lot {
    Taken(Transaction, Text),
    /// Read and forgotten; then the client hears why, and the session goes on from there.
    Refused(Refusal, State),
}

impl Lot {
    /// A chunk of a message that failed; the last ends it.
    fn failed(refusal: Refusal, size: ChunkSize) -> Self {
        let then = if size.last { State::Command } else { State::ChunksFailed(refusal.clone()) };
        Self::Refused(refusal, then)
    }
}

impl Chunk {
    /// The text that it belongs to.
    pub(super) const fn text(&self) -> Option<&Text> {
        match &self.lot {
            Lot::Taken(_, text) => Some(text),
            Lot::Refused(..) => None,
        }
    }

    /// The same, to go on with it.
    pub(super) const fn text_mut(&mut self) -> Option<&mut Text> {
        match &mut self.lot {
            Lot::Taken(_, text) => Some(text),
            Lot::Refused(..) => None,
        }
    }

    pub(super) fn transaction(&self) -> Option<Transaction> {
        match &self.lot {
            Lot::Taken(transaction, _) => Some(*transaction),
            Lot::Refused(_, then) => then.transaction(),
        }
    }

    pub(super) const fn until(&self) -> Timestamp {
        self.until
    }
}

impl Session {
    /// What comes after BDAT is read whatever this says.
    fn check_bdat(&self) -> Result<(), Refusal> {
        match &self.state {
            _ if !self.used_esmtp() => Err(Refusal::Fault("503 5.5.1 EHLO first")),
            State::Chunks(..) | State::Envelope(Transaction { accepted: 1.., .. }) => Ok(()),
            State::ChunksFailed(refusal) => Err(refusal.clone()),
            State::Envelope(Transaction { attempted: 1.., .. }) => {
                Err(Refusal::Policy(NO_RECIPIENT))
            }
            State::Envelope(_) => Err(Refusal::Fault(NO_RECIPIENT)),
            _ => Err(self.no_mail()),
        }
    }

    pub(super) fn proceed_bdat(&mut self, size: ChunkSize, now: Timestamp) {
        let verdict = self.check_bdat();
        let before = std::mem::replace(&mut self.state, State::Command);
        let lot = match (verdict, before) {
            (Ok(()), State::Chunks(transaction, text)) => Lot::Taken(transaction, text),
            (Ok(()), State::Envelope(transaction)) => {
                self.state = State::AskedText(transaction, Coming::Chunks(size));
                return self.outputs.push_back(Output::Ask(Ask::Text));
            }
            (Ok(()), before) => Lot::Refused(self.no_mail(), before),
            (Err(refusal), State::ChunksFailed(_)) => Lot::failed(refusal, size),
            (Err(refusal), before) => Lot::Refused(refusal, before),
        };
        self.begin_chunk(size, lot, now);
    }

    pub(super) fn take_first_chunk(
        &mut self,
        answer: Result<(), Reply>,
        transaction: Transaction,
        size: ChunkSize,
        now: Timestamp,
    ) {
        let lot = match answer {
            Ok(()) => {
                self.outputs.push_back(Output::BodyBegins);
                let recoder = Recoder::new(Source::Plain, self.line_endings());
                Lot::Taken(transaction, Text::new(Some(recoder), now))
            }
            Err(reply) => {
                self.forget_envelope();
                Lot::failed(Refusal::Told(Box::new(reply)), size)
            }
        };
        self.begin_chunk(size, lot, now);
    }

    fn begin_chunk(&mut self, size: ChunkSize, lot: Lot, now: Timestamp) {
        let until = now + self.settings.transaction_time_max;
        let chunk = Chunk { left: size.octets, last: size.last, until, lot };
        self.state = State::Chunk(Box::new(chunk));
    }

    pub(super) fn advance_chunk(&mut self, now: Timestamp) -> bool {
        let State::Chunk(chunk) = &mut self.state else { return false };
        let octets = usize::try_from(chunk.left)
            .map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
        chunk.left -= octets as u64;
        let is_whole = chunk.left == 0;
        if self.receive(octets) && is_whole {
            self.finish_chunk(now);
        }
        is_whole
    }

    fn finish_chunk(&mut self, now: Timestamp) {
        self.waiting_since = now;
        let State::Chunk(chunk) = std::mem::replace(&mut self.state, State::Command) else {
            return;
        };
        match chunk.lot {
            Lot::Refused(refusal, then) => {
                self.state = then;
                self.refuse(&refusal);
                self.check_errors();
            }
            Lot::Taken(transaction, text) => {
                let fate = text.fate();
                self.state = State::Chunks(transaction, text);
                match fate {
                    _ if chunk.last => self.finish_text(),
                    Fate::Passed => self.say("250 2.0.0 chunk received"),
                    Fate::Swallowed(why) => {
                        self.refuse_unfit(why);
                        self.state = State::ChunksFailed(Refusal::Policy(why.reply()));
                    }
                }
            }
        }
    }
}
