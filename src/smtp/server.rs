//! Our side of an SMTP conversation as a sans-I/O state machine.
//!
//! Contract: [`Session::handle`] takes an [`Input`] and the present moment, then [`Session::poll_output`] is called until it
//! returns `None`. After an [`Output::Ask`] the machine parses nothing until the matching [`Input::Answer`]; the pump reads
//! nothing meanwhile, so what is buffered is at most one read. Buffered plaintext is dropped at STARTTLS here, bare CR and
//! LF are refused here, errors are counted here.

use super::{
    Extensions, MailRequest, RcptRequest, Reply,
    command::{Command, CommandError, Context, Offer, Verb},
    data::{Scan, Scanner},
    sasl::{self, Exchange, SaslError, Step},
    xclient::{Attributes, ClientClaim},
};
use crate::types::{Domain, Secret, SessionId, Timestamp};
use bytes::{Buf, BytesMut};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// What one listener's sessions are like; checked when the configuration is loaded, kept by a connection for its life.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own, read by name")]
pub struct SessionSettings {
    /// The name in the banner and in the answer to EHLO.
    pub hostname: Domain,
    /// What may be offered: true of all next hops. STARTTLS and AUTH in it are ignored; they follow from the fields below.
    pub extensions: Extensions,
    /// The largest message in octets on the wire.
    pub size_bytes_max: u64,
    /// STARTTLS is offered on a plaintext connection.
    pub starttls: bool,
    /// The mechanisms that are offered; empty: AUTH is not offered.
    pub auth_mechanisms: Vec<Mechanism>,
    /// AUTH and MAIL are refused before TLS (`530 5.7.0`).
    pub require_tls: bool,
    /// MAIL is refused before AUTH (`530 5.7.0`).
    pub require_auth: bool,
    /// AUTH may be offered and used without TLS (loopback and trusted networks only).
    pub allow_plaintext_auth: bool,
    /// XCLIENT is offered and obeyed.
    pub xclient: bool,
    /// XFORWARD is offered and obeyed.
    pub xforward: bool,
    /// Recipients of one transaction; `452 4.5.3` beyond.
    pub recipients_max: usize,
    /// Errors of the client (unknown commands, wrong order, wrong syntax) before `421 4.7.0`.
    pub errors_max: u32,
    /// Wait for a command.
    pub timeout_command: Duration,
    /// Wait for the next piece of text during DATA.
    pub timeout_data: Duration,
    /// From MAIL to the end of DATA at most.
    pub transaction_time_max: Duration,
}

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The de-facto standard of old mail programs (draft-murchison-sasl-login).
    Login,
}

impl Mechanism {
    /// The name as it stands in EHLO and AUTH.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes from the peer.
    Bytes(&'a [u8]),
    /// The answer to the last ask.
    Answer(Answer),
    /// The handshake after [`Output::StartTls`] succeeded.
    TlsReady,
    /// The peer closed its side.
    PeerClosed,
    /// The moment of the last [`Output::Deadline`] has come.
    Deadline,
    /// The server is stopping: the next command is answered `421 4.3.2`; a transaction in its DATA goes on to its end.
    Drain,
}

/// What a session wants done.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes to the peer. Several in a row may be sent together.
    Send(BytesMut),
    /// Send what is due, then start TLS as the server and say [`Input::TlsReady`].
    StartTls,
    /// Find out and say [`Input::Answer`].
    Ask(Ask),
    /// DATA was answered 354; text follows.
    BodyBegins,
    /// The next piece of the text, dot-stuffed as it came, without the final dot. The pieces together end with CRLF or are empty.
    Body(BytesMut),
    /// The transaction ended without an answer to [`Ask::Message`]: RSET, EHLO, QUIT, XCLIENT, too large, malformed, closed.
    TransactionEnded(EndReason),
    /// Say [`Input::Deadline`] at this moment unless another deadline comes first.
    Deadline(Timestamp),
    /// Send what is due, then close.
    Close(CloseReason),
}

/// What the world has to find out.
#[derive(Debug)]
pub enum Ask {
    /// Is this password right? Answer: [`Answer::Login`].
    Login(LoginRequest),
    /// May this sender begin? Answer: [`Answer::Mail`].
    Mail(MailRequest),
    /// May these recipients be added? All RCPT commands that were complete in the buffer. Answer: [`Answer::Recipients`].
    Recipients(Vec<RcptRequest>),
    /// The text is complete. Answer: [`Answer::Message`].
    Message {
        /// The octets of the text as they came, without the final dot.
        size_bytes: u64,
    },
}

/// A login attempt.
#[derive(Debug)]
pub struct LoginRequest {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// Whom the client wants to act as, where the mechanism has it and it is not empty.
    pub authorization: Option<String>,
    /// The login.
    pub login: String,
    /// The password.
    pub password: Secret,
}

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Answer {
    /// Whether the login holds.
    Login(LoginAnswer),
    /// The answer to MAIL; 2xx begins the transaction.
    Mail(Reply),
    /// One answer for each recipient, in order.
    Recipients(Vec<Reply>),
    /// The answer to the final dot.
    Message(Reply),
}

/// Whether a login holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginAnswer {
    /// `235 2.7.0`.
    Accepted,
    /// `535 5.7.8`: unknown user, wrong password or not entitled; counts as an error.
    Rejected,
    /// `454 4.7.0`: the password store cannot be asked, or too many attempts.
    Unavailable,
}

/// Why a transaction ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// RSET, EHLO, HELO, XCLIENT.
    Reset,
    /// QUIT.
    Quit,
    /// The text was larger than [`SessionSettings::size_bytes_max`]; the client heard `552 5.3.4`.
    TooLarge,
    /// The text had a bare CR, bare LF or NUL; the client heard `550 5.5.2`.
    Malformed,
    /// [`SessionSettings::transaction_time_max`] passed.
    TooLong,
    /// The connection ended.
    Closed,
}

/// Why the session wants the connection closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// QUIT.
    Quit,
    /// The peer closed first.
    PeerClosed,
    /// A wait was too long.
    Timeout,
    /// Too many errors.
    TooManyErrors,
    /// Something that no SMTP client says.
    Protocol,
    /// The server is stopping.
    Drain,
}

/// How a session begins.
#[derive(Debug, Clone)]
pub struct Start {
    /// The connection is under TLS from its first octet.
    pub tls: bool,
    /// The session's id.
    pub id: SessionId,
}

/// One conversation.
#[derive(Debug)]
pub struct Session {
    settings: Arc<SessionSettings>,
    id: SessionId,
    state: State,
    channel: Channel,
    login: Login,
    greeting: Option<Greeting>,
    claims: Option<Box<Claims>>,
    reading: Reading,
    service: Service,
    /// What came and is not parsed yet: less than a line, or what waits behind an ask.
    buffer: BytesMut,
    /// Replies that are not sent yet.
    replies: BytesMut,
    outputs: VecDeque<Output>,
    errors: u32,
    /// How many RCPT and DATA commands may still have been pipelined behind a MAIL that was refused.
    orphans_left: usize,
    idle_commands: u32,
    /// Since when we wait for what we wait for.
    waiting_since: Timestamp,
    /// The deadline that was told last.
    deadline: Option<Timestamp>,
}

/// What the session waits for.
#[derive(Debug)]
enum State {
    /// A command, outside of a transaction.
    Command,
    /// A response within AUTH.
    Sasl(Exchange),
    /// The answer to [`Ask::Login`].
    AskedLogin,
    /// The answer to [`Ask::Mail`].
    AskedMail(Transaction),
    /// RCPT or DATA.
    Envelope(Transaction),
    /// The answer to [`Ask::Recipients`].
    AskedRecipients(Transaction, Vec<Slot>),
    /// Text.
    Body(Transaction, Body),
    /// The answer to [`Ask::Message`].
    AskedMessage,
    /// The end of the handshake.
    TlsHandshake,
    /// Nothing any more.
    Closed,
}

/// A transaction: MAIL was accepted, or is asked about.
#[derive(Debug, Clone, Copy)]
struct Transaction {
    utf8: Offer,
    /// Recipients that were answered.
    attempted: usize,
    /// Those of them that were accepted.
    accepted: usize,
    /// When it must be over.
    deadline: Timestamp,
}

/// The reception of a text.
#[derive(Debug, Default)]
struct Body {
    scanner: Scanner,
    fate: Fate,
}

/// What happens to the text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Fate {
    #[default]
    Passed,
    /// It is too large already: read to its end and forgotten.
    Swallowed,
}

/// The place of one RCPT command in the order of replies.
#[derive(Debug)]
enum Slot {
    /// Answered by us.
    Said(&'static str),
    /// Part of the ask.
    Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Plain,
    Tls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Login {
    Anonymous,
    Authenticated,
}

#[derive(Debug)]
enum Greeting {
    Helo(Domain),
    Ehlo(Domain),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Lines,
    /// The rest of a line that was too long.
    Discarding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Open,
    Draining,
}

/// Kept apart, because most sessions have none.
#[derive(Debug, Default)]
struct Claims {
    xclient: ClientClaim,
    xforward: ClientClaim,
    /// XCLIENT's, overlaid with XFORWARD's.
    both: ClientClaim,
    speaker: Speaker,
}

/// Who speaks on the connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    /// The peer.
    #[default]
    Server,
    /// The peer, which said XCLIENT.
    ServerForClient,
    /// The client behind it, after the greeting that follows XCLIENT.
    Client,
}

/// Why a command is not obeyed: the reply without its CRLF.
#[derive(Debug)]
enum Refusal {
    /// The client's fault; counts towards [`SessionSettings::errors_max`].
    Fault(&'static str),
    /// Nobody's fault.
    Policy(&'static str),
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        Self::Fault(error.reply())
    }
}

impl Session {
    /// Begins a conversation with the banner.
    #[must_use]
    pub fn new(settings: Arc<SessionSettings>, start: Start, now: Timestamp) -> Self {
        let mut session = Self {
            settings,
            id: start.id,
            state: State::Command,
            channel: if start.tls { Channel::Tls } else { Channel::Plain },
            login: Login::Anonymous,
            greeting: None,
            claims: None,
            reading: Reading::Lines,
            service: Service::Open,
            buffer: BytesMut::new(),
            replies: BytesMut::new(),
            outputs: VecDeque::new(),
            errors: 0,
            idle_commands: 0,
            orphans_left: 0,
            waiting_since: now,
            deadline: None,
        };
        session.say_banner();
        session.finish_turn();
        session
    }

    /// Takes what happened. Call [`Session::poll_output`] afterwards until it returns none.
    pub fn handle(&mut self, input: Input<'_>, now: Timestamp) {
        match input {
            Input::Bytes(bytes) => self.handle_bytes(bytes, now),
            Input::Answer(answer) => self.handle_answer(answer, now),
            Input::TlsReady => self.handle_tls_ready(now),
            Input::PeerClosed => self.end(CloseReason::PeerClosed, EndReason::Closed),
            Input::Deadline => self.handle_deadline(now),
            Input::Drain => self.service = Service::Draining,
        }
        while self.advance(now) {}
        self.finish_turn();
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The session's id.
    #[must_use]
    pub const fn id(&self) -> &SessionId {
        &self.id
    }

    /// The name in the client's greeting.
    #[must_use]
    pub fn helo(&self) -> Option<&str> {
        match &self.greeting {
            Some(Greeting::Helo(name) | Greeting::Ehlo(name)) => Some(name.as_str()),
            None => None,
        }
    }

    /// True if the client greeted with EHLO.
    #[must_use]
    pub const fn used_esmtp(&self) -> bool {
        matches!(self.greeting, Some(Greeting::Ehlo(_)))
    }

    /// True under TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.channel == Channel::Tls
    }

    /// True after a login held.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.login == Login::Authenticated
    }

    /// What the peer says of the client behind it: XCLIENT's attributes, overlaid with those of XFORWARD, which are
    /// forgotten at the end of each transaction.
    #[must_use]
    pub fn claim(&self) -> &ClientClaim {
        self.claims.as_ref().map_or(&NO_CLAIM, |claims| &claims.both)
    }

    /// What XCLIENT alone said.
    #[must_use]
    pub fn xclient(&self) -> &ClientClaim {
        self.claims.as_ref().map_or(&NO_CLAIM, |claims| &claims.xclient)
    }

    /// What XFORWARD alone said of the present or next transaction.
    #[must_use]
    pub fn xforward(&self) -> &ClientClaim {
        self.claims.as_ref().map_or(&NO_CLAIM, |claims| &claims.xforward)
    }

    /// Octets that came and are not parsed yet.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }
}

/// What happens.
impl Session {
    fn handle_bytes(&mut self, bytes: &[u8], now: Timestamp) {
        match self.state {
            State::Closed | State::TlsHandshake => return,
            State::Body(..) if !bytes.is_empty() => self.waiting_since = now,
            _ if self.is_asking() && self.buffer.len() + bytes.len() > WAITING_BYTES_MAX => {
                self.say("421 4.7.0 too much input before an answer");
                return self.end(CloseReason::Protocol, EndReason::Closed);
            }
            _ => {}
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn handle_tls_ready(&mut self, now: Timestamp) {
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

    fn handle_deadline(&mut self, now: Timestamp) {
        match self.next_deadline() {
            Some(due) if now >= due => self.expire(now),
            // It was an earlier one; the present one is told again.
            _ => self.deadline = None,
        }
    }

    fn expire(&mut self, now: Timestamp) {
        let outlived = self.transaction().is_some_and(|transaction| now >= transaction.deadline);
        let reason = if outlived { EndReason::TooLong } else { EndReason::Closed };
        if !matches!(self.state, State::TlsHandshake) {
            self.say("421 4.4.2 timeout, closing connection");
        }
        self.end(CloseReason::Timeout, reason);
    }

    fn handle_answer(&mut self, answer: Answer, now: Timestamp) {
        self.waiting_since = now;
        match (std::mem::replace(&mut self.state, State::Command), answer) {
            (State::AskedLogin, Answer::Login(answer)) => self.take_login(answer),
            (State::AskedMail(transaction), Answer::Mail(reply)) => {
                self.take_mail(&reply, transaction);
            }
            (State::AskedRecipients(transaction, slots), Answer::Recipients(replies)) => {
                self.take_recipients(&replies, transaction, &slots);
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
                self.say("421 4.3.0 internal error");
                self.end(CloseReason::Protocol, EndReason::Closed);
            }
        }
    }

    fn take_login(&mut self, answer: LoginAnswer) {
        match answer {
            LoginAnswer::Accepted => {
                self.login = Login::Authenticated;
                self.say("235 2.7.0 authentication succeeded");
            }
            LoginAnswer::Rejected => {
                self.refuse(&Refusal::Fault("535 5.7.8 authentication failed"));
            }
            LoginAnswer::Unavailable => self.say("454 4.7.0 temporary authentication failure"),
        }
        self.check_errors();
    }

    fn take_mail(&mut self, reply: &Reply, transaction: Transaction) {
        reply.write_to(&mut self.replies);
        self.orphans_left =
            if reply.is_positive() { 0 } else { self.settings.recipients_max.saturating_add(1) };
        if reply.is_positive() {
            self.idle_commands = 0;
            self.state = State::Envelope(transaction);
        }
    }

    /// RCPT or DATA without a transaction: the client's fault, unless it pipelined them behind a MAIL that was refused.
    const fn no_mail(&self) -> Refusal {
        const TEXT: &str = "503 5.5.1 MAIL first";
        if self.orphans_left > 0 { Refusal::Policy(TEXT) } else { Refusal::Fault(TEXT) }
    }

    fn take_recipients(&mut self, replies: &[Reply], mut transaction: Transaction, slots: &[Slot]) {
        let mut replies = replies.iter();
        for slot in slots {
            match slot {
                Slot::Said(line) => self.say(line),
                Slot::Asked => match replies.next() {
                    Some(reply) => {
                        reply.write_to(&mut self.replies);
                        transaction.accepted += usize::from(reply.is_positive());
                    }
                    None => self.say("451 4.3.0 internal error"),
                },
            }
        }
        transaction.attempted += slots.len();
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

/// What is done with the bytes.
impl Session {
    /// Goes one step on; false if more input is needed.
    fn advance(&mut self, now: Timestamp) -> bool {
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

    fn find_line(&self) -> Line {
        let long = matches!(self.state, State::Sasl(_))
            || self.buffer.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH"));
        find_line(&self.buffer, if long { AUTH_BYTES_MAX } else { COMMAND_BYTES_MAX })
    }

    fn take_line(&mut self, length: usize) -> BytesMut {
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

    fn advance_body(&mut self) -> bool {
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

/// What is done with a line.
impl Session {
    fn obey(&mut self, line: &[u8], now: Timestamp) {
        if self.service == Service::Draining {
            return self.stop();
        }
        if matches!(self.state, State::Sasl(_)) {
            return self.obey_sasl(line);
        }
        let (verb, arguments) = Verb::split(line);
        if verb == Verb::Http {
            self.say("421 4.7.0 this is not a web server");
            return self.end(CloseReason::Protocol, EndReason::Closed);
        }
        if let Err(refusal) = self.obey_command(verb, arguments, now) {
            self.refuse(&refusal);
        }
    }

    fn obey_sasl(&mut self, line: &[u8]) {
        if let State::Sasl(exchange) = std::mem::replace(&mut self.state, State::Command)
            && let Err(refusal) = self.take_step(exchange.respond(line))
        {
            self.refuse(&refusal);
        }
    }

    fn obey_command(
        &mut self,
        verb: Verb,
        arguments: &[u8],
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.check(verb)?;
        let command = Command::parse(verb, arguments, &self.context())?;
        self.proceed(command, now)
    }

    /// Is this command legal now?
    fn check(&self, verb: Verb) -> Result<(), Refusal> {
        match verb {
            Verb::Mail => self.check_mail(),
            Verb::Rcpt => self.check_rcpt(),
            Verb::Data => self.check_data(),
            Verb::Auth => self.check_auth(),
            Verb::StartTls => self.check_starttls(),
            Verb::Xclient => self.check_claim(self.settings.xclient),
            Verb::Xforward => self.check_claim(self.settings.xforward),
            Verb::Helo | Verb::Ehlo | Verb::Rset | Verb::Noop | Verb::Quit => Ok(()),
            Verb::Vrfy | Verb::Expn | Verb::Help | Verb::Http | Verb::Unknown => Ok(()),
        }
    }

    /// Does what a legal command says.
    fn proceed(&mut self, command: Command, now: Timestamp) -> Result<(), Refusal> {
        match command {
            Command::Mail(request) => return self.proceed_mail(request, now),
            Command::Auth { mechanism, initial } => {
                return self.proceed_auth(mechanism, initial.as_deref());
            }
            Command::Rcpt(request) => self.proceed_rcpt(request),
            Command::Data => self.proceed_data(now),
            Command::Ehlo(name) => self.proceed_ehlo(name),
            Command::Helo(name) => self.proceed_helo(name),
            Command::Rset => self.proceed_rset(),
            Command::Quit => self.proceed_quit(),
            Command::StartTls => self.proceed_starttls(),
            Command::Xclient(attributes) => self.proceed_xclient(attributes),
            Command::Xforward(attributes) => self.proceed_xforward(attributes),
            Command::Noop => self.say_idle("250 2.0.0 ok"),
            Command::Vrfy => self.say_idle("252 2.5.1 send some mail and see"),
            Command::Help => self.say_idle("214 2.0.0 see RFC 5321"),
        }
        Ok(())
    }

    fn check_mail(&self) -> Result<(), Refusal> {
        if self.transaction().is_some() {
            return Err(Refusal::Fault("503 5.5.1 MAIL was given already"));
        }
        if self.greeting.is_none() {
            return Err(Refusal::Fault("503 5.5.1 EHLO first"));
        }
        self.check_tls()?;
        if self.settings.require_auth && !self.is_authenticated() {
            return Err(Refusal::Fault("530 5.7.0 authentication required"));
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), Refusal> {
        if self.settings.require_tls && !self.is_tls() {
            return Err(Refusal::Fault("530 5.7.0 STARTTLS first"));
        }
        Ok(())
    }

    fn proceed_mail(&mut self, request: MailRequest, now: Timestamp) -> Result<(), Refusal> {
        if request.size.is_some_and(|size| size > self.size_bytes_max()) {
            return Err(Refusal::Policy(TOO_LARGE));
        }
        self.state = State::AskedMail(Transaction {
            utf8: if request.smtputf8 { Offer::Yes } else { Offer::No },
            attempted: 0,
            accepted: 0,
            deadline: now + self.settings.transaction_time_max,
        });
        self.outputs.push_back(Output::Ask(Ask::Mail(request)));
        Ok(())
    }

    fn check_rcpt(&self) -> Result<(), Refusal> {
        match self.state {
            State::Envelope(_) => Ok(()),
            _ => Err(self.no_mail()),
        }
    }

    /// Collects this and the RCPT commands that are complete behind it into one ask.
    fn proceed_rcpt(&mut self, first: RcptRequest) {
        let State::Envelope(transaction) = self.state else { return };
        let room = self.settings.recipients_max.saturating_sub(transaction.accepted);
        if room == 0 {
            return self.say("452 4.5.3 too many recipients");
        }
        let (mut slots, mut requests) = (vec![Slot::Asked], vec![first]);
        while requests.len() < room && slots.len() < GROUP_MAX {
            let Some(parsed) = self.next_rcpt() else { break };
            slots.push(match parsed {
                Ok(request) => {
                    requests.push(request);
                    Slot::Asked
                }
                Err(error) => {
                    self.errors += 1;
                    Slot::Said(error.reply())
                }
            });
        }
        self.state = State::AskedRecipients(transaction, slots);
        self.outputs.push_back(Output::Ask(Ask::Recipients(requests)));
    }

    /// Takes the next line if it is there and is RCPT. Once there were too many errors nothing more is taken.
    fn next_rcpt(&mut self) -> Option<Result<RcptRequest, CommandError>> {
        let Line::Whole(length) = self.find_line() else { return None };
        if self.errors >= self.settings.errors_max
            || Verb::split(&self.buffer[..length]).0 != Verb::Rcpt
        {
            return None;
        }
        let line = self.take_line(length);
        match Command::parse(Verb::Rcpt, Verb::split(&line).1, &self.context()) {
            Ok(Command::Rcpt(request)) => Some(Ok(request)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn check_data(&self) -> Result<(), Refusal> {
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

    fn proceed_data(&mut self, now: Timestamp) {
        let State::Envelope(transaction) = self.state else { return };
        self.state = State::Body(transaction, Body::default());
        self.waiting_since = now;
        self.say("354 end with <CRLF>.<CRLF>");
        self.flush();
        self.outputs.push_back(Output::BodyBegins);
    }

    fn greet(&mut self, greeting: Greeting) {
        self.end_transaction(EndReason::Reset);
        self.greeting = Some(greeting);
        if let Some(claims) = &mut self.claims
            && claims.speaker == Speaker::ServerForClient
        {
            claims.speaker = Speaker::Client;
        }
    }

    fn proceed_helo(&mut self, name: Domain) {
        self.greet(Greeting::Helo(name));
        let line = format!("250 {}", self.settings.hostname);
        self.say_idle(&line);
    }

    fn proceed_ehlo(&mut self, name: Domain) {
        self.greet(Greeting::Ehlo(name));
        self.note_idle();
        let settings = Arc::clone(&self.settings);
        let offered = &settings.extensions;
        let size = format!("SIZE {}", self.size_bytes_max());
        let auth = self.auth_line();
        let claims = self.check_speaker().is_ok();
        let lines = [
            (true, settings.hostname.as_str()),
            (offered.pipelining, "PIPELINING"),
            (offered.size.is_some(), &size),
            (offered.eight_bit_mime, "8BITMIME"),
            (offered.smtputf8, "SMTPUTF8"),
            (offered.enhanced_status_codes, "ENHANCEDSTATUSCODES"),
            (offered.dsn, "DSN"),
            (settings.starttls && !self.is_tls(), "STARTTLS"),
            (!auth.is_empty(), &auth),
            (settings.xforward && claims, "XFORWARD NAME ADDR PORT PROTO HELO SOURCE"),
            (settings.xclient && claims, "XCLIENT NAME ADDR PORT PROTO HELO LOGIN"),
        ];
        self.say_lines(lines.iter().filter(|(offered, _)| *offered).map(|&(_, line)| line));
    }

    /// The line that offers AUTH; empty if it cannot be used now.
    fn auth_line(&self) -> String {
        if self.is_authenticated() || self.check_auth_channel().is_err() {
            return String::new();
        }
        let names = self.settings.auth_mechanisms.iter().map(|mechanism| mechanism.name());
        names.fold(String::from("AUTH"), |line, name| line + " " + name)
    }

    fn proceed_rset(&mut self) {
        self.end_transaction(EndReason::Reset);
        self.say_idle("250 2.0.0 ok");
    }

    fn proceed_quit(&mut self) {
        self.say("221 2.0.0 bye");
        self.end(CloseReason::Quit, EndReason::Quit);
    }

    fn check_starttls(&self) -> Result<(), Refusal> {
        if self.is_tls() {
            return Err(Refusal::Fault("503 5.5.1 TLS is on already"));
        }
        if !self.settings.starttls {
            return Err(Refusal::Fault(CommandError::NotImplemented.reply()));
        }
        self.check_no_transaction()
    }

    fn proceed_starttls(&mut self) {
        self.say("220 2.0.0 go ahead");
        self.flush();
        self.outputs.push_back(Output::StartTls);
        // What came behind STARTTLS in plaintext may be somebody else's (CVE-2011-0411).
        self.buffer = BytesMut::new();
        self.state = State::TlsHandshake;
    }

    fn check_auth(&self) -> Result<(), Refusal> {
        self.check_auth_channel()?;
        if self.is_authenticated() {
            return Err(Refusal::Fault("503 5.5.1 authenticated already"));
        }
        if !self.used_esmtp() {
            return Err(Refusal::Fault("503 5.5.1 EHLO first"));
        }
        self.check_no_transaction()
    }

    /// Is AUTH offered on this connection as it stands?
    fn check_auth_channel(&self) -> Result<(), Refusal> {
        if self.settings.auth_mechanisms.is_empty() {
            return Err(Refusal::Fault(CommandError::NotImplemented.reply()));
        }
        self.check_tls()?;
        if !self.is_tls() && !self.settings.allow_plaintext_auth {
            return Err(Refusal::Fault("538 5.7.11 encryption required for authentication"));
        }
        Ok(())
    }

    fn proceed_auth(&mut self, mechanism: Mechanism, initial: Option<&str>) -> Result<(), Refusal> {
        if !self.settings.auth_mechanisms.contains(&mechanism) {
            return Err(CommandError::Mechanism.into());
        }
        self.take_step(sasl::begin(mechanism, initial))
    }

    fn take_step(&mut self, step: Step) -> Result<(), Refusal> {
        match step {
            Step::Challenge(exchange, challenge) => {
                self.state = State::Sasl(exchange);
                self.replies.extend_from_slice(b"334 ");
                self.say(challenge);
            }
            Step::Done(request) => {
                self.state = State::AskedLogin;
                self.outputs.push_back(Output::Ask(Ask::Login(request)));
            }
            Step::Failed(error) => return Err(Refusal::Fault(sasl_reply(error))),
        }
        Ok(())
    }

    fn check_claim(&self, allowed: bool) -> Result<(), Refusal> {
        if !allowed {
            return Err(Refusal::Fault(NOT_AUTHORIZED));
        }
        self.check_speaker()?;
        self.check_no_transaction()
    }

    /// A proxy that says XCLIENT and greets in its client's name lets the client itself speak from then on; were that one
    /// heard too, any customer behind the proxy could name another as the sender.
    fn check_speaker(&self) -> Result<(), Refusal> {
        match &self.claims {
            Some(claims) if claims.speaker == Speaker::Client => {
                Err(Refusal::Fault(NOT_AUTHORIZED))
            }
            _ => Ok(()),
        }
    }

    fn check_no_transaction(&self) -> Result<(), Refusal> {
        match self.transaction() {
            Some(_) => Err(Refusal::Fault("503 5.5.1 not within a transaction")),
            None => Ok(()),
        }
    }

    /// The session starts again, as if it were the client's own (Postfix XCLIENT_README).
    fn proceed_xclient(&mut self, attributes: Attributes) {
        let claims = self.claims.get_or_insert_default();
        claims.speaker = Speaker::ServerForClient;
        attributes.apply(&mut claims.xclient);
        self.forget_envelope();
        self.greeting = None;
        self.say_banner();
    }

    fn proceed_xforward(&mut self, attributes: Attributes) {
        let claims = self.claims.get_or_insert_default();
        attributes.clone().apply(&mut claims.xforward);
        attributes.apply(&mut claims.both);
        self.say("250 2.0.0 ok");
    }
}

/// What all of them use.
impl Session {
    /// What is at the end of each turn: tell what there is to tell, and hold no memory while idle.
    fn finish_turn(&mut self) {
        if self.service == Service::Draining && matches!(self.state, State::Command) {
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

    fn next_deadline(&self) -> Option<Timestamp> {
        let wait = match self.state {
            State::Body(..) => self.settings.timeout_data,
            State::Closed => return None,
            _ if self.is_asking() => return None,
            _ => self.settings.timeout_command,
        };
        let due = self.waiting_since + wait;
        Some(self.transaction().map_or(due, |transaction| due.min(transaction.deadline)))
    }

    const fn is_asking(&self) -> bool {
        matches!(
            self.state,
            State::AskedLogin
                | State::AskedMail(_)
                | State::AskedRecipients(..)
                | State::AskedMessage
        )
    }

    /// The transaction that would need a [`Output::TransactionEnded`] now.
    const fn transaction(&self) -> Option<Transaction> {
        match self.state {
            State::Envelope(transaction)
            | State::AskedRecipients(transaction, _)
            | State::Body(transaction, _) => Some(transaction),
            _ => None,
        }
    }

    fn end_transaction(&mut self, reason: EndReason) {
        if self.transaction().is_some() {
            self.outputs.push_back(Output::TransactionEnded(reason));
        }
        self.state = State::Command;
        self.forget_envelope();
    }

    /// XFORWARD is about one transaction (Postfix XFORWARD_README).
    fn forget_envelope(&mut self) {
        if let Some(claims) = &mut self.claims {
            claims.xforward = ClientClaim::default();
            claims.both.clone_from(&claims.xclient);
        }
    }

    fn end(&mut self, close: CloseReason, reason: EndReason) {
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
    fn stop(&mut self) {
        self.say("421 4.3.2 server is stopping");
        self.end(CloseReason::Drain, EndReason::Closed);
    }

    fn refuse(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::Fault(line) => {
                self.errors += 1;
                self.say(line);
            }
            Refusal::Policy(line) => {
                self.orphans_left = self.orphans_left.saturating_sub(1);
                self.say(line);
            }
        }
    }

    /// Ends the session after too many errors, unless an answer is still due.
    fn check_errors(&mut self) {
        if self.errors >= self.settings.errors_max
            && !self.is_asking()
            && !matches!(self.state, State::Closed)
        {
            self.say("421 4.7.0 too many errors");
            self.end(CloseReason::TooManyErrors, EndReason::Closed);
        }
    }

    /// Commands that lead nowhere are free up to a number, then they are errors.
    fn note_idle(&mut self) {
        self.idle_commands += 1;
        self.errors += u32::from(self.idle_commands > IDLE_COMMANDS_MAX);
    }

    fn say_idle(&mut self, line: &str) {
        self.note_idle();
        self.say(line);
    }

    fn say(&mut self, line: &str) {
        self.replies.extend_from_slice(line.as_bytes());
        self.replies.extend_from_slice(b"\r\n");
    }

    fn say_banner(&mut self) {
        let line = format!("220 {} ESMTP Tollgate", self.settings.hostname);
        self.say(&line);
    }

    fn say_lines<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        let mut lines = lines.peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { b"250-" } else { b"250 " };
            self.replies.extend_from_slice(mark);
            self.say(line);
        }
    }

    fn flush(&mut self) {
        if !self.replies.is_empty() {
            self.outputs.push_back(Output::Send(std::mem::take(&mut self.replies)));
        }
    }

    fn size_bytes_max(&self) -> u64 {
        let next_hops = self.settings.extensions.size.flatten().unwrap_or(u64::MAX);
        self.settings.size_bytes_max.min(next_hops)
    }

    fn context(&self) -> Context<'_> {
        let esmtp = self.used_esmtp();
        let mail_auth = esmtp && !self.settings.auth_mechanisms.is_empty();
        Context {
            extensions: if esmtp { &self.settings.extensions } else { &NO_EXTENSIONS },
            mail_auth: if mail_auth { Offer::Yes } else { Offer::No },
            utf8_recipients: self.transaction().map_or(Offer::No, |transaction| transaction.utf8),
        }
    }
}

/// What stands at the front of the buffer.
enum Line {
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

/// RFC 4954 §4 and §6.
const fn sasl_reply(error: SaslError) -> &'static str {
    match error {
        SaslError::Cancelled => "501 5.7.0 authentication cancelled",
        SaslError::Malformed => "501 5.5.2 malformed authentication response",
        SaslError::TooLong => "500 5.5.6 authentication response too long",
    }
}

const TOO_LARGE: &str = "552 5.3.4 message too large";
const NOT_AUTHORIZED: &str = "550 5.7.0 not authorized";
const NO_RECIPIENT: &str = "554 5.5.1 no valid recipients";
/// The first octet of a TLS record with a ClientHello (RFC 8446 §5.1); no command begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// The longest command line without its CRLF; RFC 5321 §4.5.3.1.4 wants 512 and the extensions add to it.
const COMMAND_BYTES_MAX: usize = 2048;
/// The longest line of AUTH (RFC 4954 §4).
const AUTH_BYTES_MAX: usize = 12_288;
/// Octets that are kept while an ask is open. A pump that does not read meanwhile never comes near.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// RCPT commands in one ask.
const GROUP_MAX: usize = 1000;
/// NOOP, RSET, VRFY, HELP and greetings since the last accepted MAIL before each counts as an error.
const IDLE_COMMANDS_MAX: u32 = 100;

static NO_EXTENSIONS: Extensions = Extensions {
    pipelining: false,
    size: None,
    eight_bit_mime: false,
    smtputf8: false,
    enhanced_status_codes: false,
    dsn: false,
    starttls: false,
    auth: Vec::new(),
};

static NO_CLAIM: ClientClaim = ClientClaim {
    addr: None,
    port: None,
    name: None,
    helo: None,
    proto: None,
    login: None,
    dest_addr: None,
    dest_port: None,
    ident: None,
    source: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let settings = SessionSettings {
            hostname: "gate.example".parse().unwrap(),
            extensions: Extensions { pipelining: true, size: Some(None), ..NO_EXTENSIONS.clone() },
            size_bytes_max: 1000,
            starttls: false,
            auth_mechanisms: Vec::new(),
            require_tls: false,
            require_auth: false,
            allow_plaintext_auth: false,
            xclient: false,
            xforward: false,
            recipients_max: 10_000,
            errors_max: 10,
            timeout_command: Duration::from_secs(300),
            timeout_data: Duration::from_secs(180),
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
                (3, Input::Bytes(b"text\r\n.")),
                (4, Input::Bytes(b"\r\n")),
                (5, Input::Answer(Answer::Message(yes()))),
            ],
            &[
                &["mail?"],
                &["2 recipients?"],
                &["250 250 250 250 250 501 250 354", "BodyBegins", "due 182"],
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
}
