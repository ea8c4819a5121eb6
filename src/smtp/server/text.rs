//! The text: its octets, its size and lines, its end; and DATA, which brings it in one piece (`chunks` has BDAT).

use super::{Ask, CloseReason, Coming, EndReason, Output, Refusal, Session, State, Transaction};
use crate::{
    smtp::{
        Reply,
        data::{LineEndings, LineMeter, Malformed, Scan, Scanner},
        recode::{Recoder, Source},
    },
    types::Timestamp,
};
use bytes::{Buf, BytesMut};
use std::time::Duration;

/// The reception of DATA.
#[derive(Debug)]
pub(super) struct Body {
    scanner: Scanner,
    text: Text,
}

/// The reception of a text, however it comes.
#[derive(Debug)]
pub(super) struct Text {
    /// None if it goes on as it comes.
    recoder: Option<Recoder>,
    meter: LineMeter,
    /// The octets that go on.
    size_bytes: u64,
    fate: Fate,
    /// When the client could begin to send it.
    began: Timestamp,
}

/// What happens to the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Passed,
    /// It cannot be passed on any more: read to its end and forgotten.
    Swallowed(Unfit),
}

/// Why a well-formed text is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    TooLarge,
    LineTooLong,
}

/// What a text may be.
#[derive(Debug, Clone, Copy)]
struct Caps {
    size_bytes_max: u64,
    line_bytes_max: Option<u64>,
}

impl Unfit {
    pub(super) const fn reply(self) -> &'static str {
        match self {
            Self::TooLarge => TOO_LARGE,
            Self::LineTooLong => "550 5.6.0 a line of the message is too long",
        }
    }

    pub(super) const fn reason(self) -> EndReason {
        match self {
            Self::TooLarge => EndReason::TooLarge,
            Self::LineTooLong => EndReason::LineTooLong,
        }
    }
}

impl Text {
    pub(super) fn new(recoder: Option<Recoder>, began: Timestamp) -> Self {
        Self { recoder, meter: LineMeter::default(), size_bytes: 0, fate: Fate::Passed, began }
    }

    pub(super) const fn fate(&self) -> Fate {
        self.fate
    }

    /// What goes on of the next piece.
    fn take(&mut self, piece: BytesMut, caps: Caps) -> Result<Option<BytesMut>, Malformed> {
        let Some(recoder) = &mut self.recoder else { return Ok(self.note(piece, caps)) };
        let mut recoded = BytesMut::with_capacity(piece.len());
        recoder.recode(&piece, &mut recoded)?;
        Ok(self.note(recoded, caps))
    }

    /// What goes on behind the last piece.
    fn finish(&mut self, caps: Caps) -> Result<Option<BytesMut>, Malformed> {
        let mut rest = BytesMut::new();
        if let Some(recoder) = &mut self.recoder {
            recoder.finish(&mut rest)?;
        }
        Ok(self.note(rest, caps))
    }

    fn note(&mut self, piece: BytesMut, caps: Caps) -> Option<BytesMut> {
        self.size_bytes += piece.len() as u64;
        if let Some(line_bytes_max) = caps.line_bytes_max {
            self.meter.measure(&piece);
            if self.meter.longest_bytes() > line_bytes_max {
                self.swallow(Unfit::LineTooLong);
            }
        }
        if self.size_bytes > caps.size_bytes_max {
            self.swallow(Unfit::TooLarge);
        }
        (self.fate == Fate::Passed && !piece.is_empty()).then_some(piece)
    }

    /// A text that is too large is said to be so whatever else is wrong with it: which of the two is found first depends on how
    /// the text was cut on its way.
    fn swallow(&mut self, why: Unfit) {
        if self.fate == Fate::Passed || why == Unfit::TooLarge {
            self.fate = Fate::Swallowed(why);
        }
    }
}

impl Session {
    pub(super) fn check_data(&self) -> Result<(), Refusal> {
        match self.state {
            State::Envelope(Transaction { accepted: 1.., .. }) => Ok(()),
            // With PIPELINING a client cannot know that all its recipients were refused, so that is no error of its own.
            State::Envelope(Transaction { attempted: 1.., .. }) => {
                Err(Refusal::Policy(NO_RECIPIENT))
            }
            State::Envelope(_) => Err(Refusal::Fault(NO_RECIPIENT)),
            _ => Err(self.no_envelope()),
        }
    }

    pub(super) fn proceed_data(&mut self) {
        let State::Envelope(transaction) = self.state else { return };
        self.state = State::AskedText(transaction, Coming::Text);
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
                let body = Body {
                    scanner: Scanner::new(self.line_endings()),
                    text: self.stuffed_text(now),
                };
                self.state = State::Body(transaction, body);
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

    /// A text of DATA: it goes on as it comes, unless its line ends are put right.
    fn stuffed_text(&self, now: Timestamp) -> Text {
        let recoder = match self.line_endings() {
            LineEndings::Strict => None,
            endings @ LineEndings::Normalise => Some(Recoder::new(Source::Stuffed, endings)),
        };
        Text::new(recoder, now)
    }

    pub(super) fn advance_body(&mut self) -> bool {
        let State::Body(_, body) = &mut self.state else { return false };
        if self.buffer.is_empty() {
            return false;
        }
        match body.scanner.scan(&self.buffer) {
            Scan::More { pass } => {
                self.receive(pass);
                false
            }
            Scan::End { pass, consumed } => {
                self.receive(pass);
                self.buffer.advance(consumed - pass);
                self.finish_text();
                true
            }
            Scan::Malformed => {
                self.refuse_malformed();
                false
            }
        }
    }

    /// When the text that came so far is too little: the wait for a piece, and the time that it takes at the slowest pace.
    pub(super) fn too_slow_at(&self) -> Option<Timestamp> {
        let text = self.text()?;
        let paid = text.size_bytes.checked_div(self.settings.data_rate_min)?;
        let paid = Duration::from_secs(paid.min(PAID_SECONDS_MAX));
        Some(text.began + self.patience(self.settings.timeout_data) + paid)
    }

    /// Takes octets of the text off the buffer and passes them on; false if they are malformed and the session is over.
    pub(super) fn receive(&mut self, octets: usize) -> bool {
        let piece = self.buffer.split_to(octets);
        let caps = self.text_caps();
        let taken = self.text_mut().map_or(Ok(None), |text| text.take(piece, caps));
        self.pass(taken)
    }

    /// Passes on what is due and asks about the message, or says why it is not wanted.
    pub(super) fn finish_text(&mut self) {
        let caps = self.text_caps();
        let Some(text) = self.text_mut() else { return };
        let rest = text.finish(caps);
        let (fate, size_bytes) = (text.fate, text.size_bytes);
        if !self.pass(rest) {
            return;
        }
        match fate {
            Fate::Passed => {
                self.state = State::AskedMessage;
                self.outputs.push_back(Output::Ask(Ask::Message { size_bytes }));
            }
            Fate::Swallowed(why) => self.refuse_unfit(why),
        }
    }

    pub(super) fn refuse_unfit(&mut self, why: Unfit) {
        self.say(why.reply());
        self.end_transaction(why.reason());
    }

    fn pass(&mut self, taken: Result<Option<BytesMut>, Malformed>) -> bool {
        let is_well = taken.is_ok();
        match taken {
            Ok(piece) => self.outputs.extend(piece.map(Output::Body)),
            Err(Malformed) => self.refuse_malformed(),
        }
        is_well
    }

    fn refuse_malformed(&mut self) {
        self.say("550 5.5.2 bare CR, bare LF or NUL in the message");
        self.end(CloseReason::Protocol, EndReason::Malformed);
    }

    fn text(&self) -> Option<&Text> {
        match &self.state {
            State::Body(_, Body { text, .. }) | State::Chunks(_, text) => Some(text),
            State::Chunk(chunk) => chunk.text(),
            _ => None,
        }
    }

    fn text_mut(&mut self) -> Option<&mut Text> {
        match &mut self.state {
            State::Body(_, Body { text, .. }) | State::Chunks(_, text) => Some(text),
            State::Chunk(chunk) => chunk.text_mut(),
            _ => None,
        }
    }

    fn text_caps(&self) -> Caps {
        Caps {
            size_bytes_max: self.size_bytes_max(),
            line_bytes_max: self.settings.text_line_bytes_max,
        }
    }
}

pub(super) const TOO_LARGE: &str = "552 5.3.4 message too large";
pub(super) const NO_RECIPIENT: &str = "554 5.5.1 no valid recipients";
/// Text never pays for more time than this; a transaction's own deadline is earlier.
const PAID_SECONDS_MAX: u64 = 86_400;
