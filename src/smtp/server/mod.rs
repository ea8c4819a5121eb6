//! Our side of an SMTP conversation as a sans-I/O state machine.
//!
//! Contract: [`Session::handle`] takes an [`Input`] and the present moment, then [`Session::poll_output`] is called until it
//! returns `None`. After an [`Output::Ask`] the machine parses nothing until the matching [`Input::Answer`]; the pump reads
//! nothing meanwhile, so what is buffered is at most one read. Buffered plaintext is dropped at STARTTLS here, bare CR and
//! LF are refused here or put right, errors are counted here.
//!
//! This file is the contract and the state; `inputs` takes what happens, `lines`, `text` and `chunks` what is in the buffer, `commands`,
//! `login` and `claims` what a line says, and `turn` ends each turn.

mod chunks;
mod claims;
mod commands;
mod inputs;
mod lines;
mod login;
#[cfg(test)]
mod tests;
mod text;
mod turn;

use self::{
    chunks::Chunk,
    text::{Body, Text},
};
use super::{
    Extensions, MailRequest, RcptRequest, Reply,
    command::{ChunkSize, CommandError, Offer},
    data::LineEndings,
    sasl::Exchange,
    scram::{ClientFirst, KEY_BYTES, ScramParameters, ScramProof},
    xclient::ClientClaim,
};
use crate::types::{Domain, Secret, SessionId, Timestamp};
use bytes::BytesMut;
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
    /// Logins that may fail before `421 4.7.0`.
    pub login_failures_max: u32,
    /// AUTH may be offered and used without TLS (loopback and trusted networks only).
    pub allow_plaintext_auth: bool,
    /// XCLIENT is offered and obeyed.
    pub xclient: bool,
    /// XFORWARD is offered and obeyed.
    pub xforward: bool,
    /// What is done about a bare CR or LF in a text, and a bare LF behind a command.
    pub line_endings: LineEndings,
    /// The longest line of a text in octets with its CRLF; `550 5.6.0` beyond. None: any length is passed on.
    pub text_line_bytes_max: Option<u64>,
    /// Recipients of one transaction; `452 4.5.3` beyond.
    pub recipients_max: usize,
    /// Errors of the client (unknown commands, wrong order, wrong syntax) before `421 4.7.0`.
    pub errors_max: u32,
    /// Wait for a command.
    pub timeout_command: Duration,
    /// Wait for the next piece of text during DATA.
    pub timeout_data: Duration,
    /// Octets of text a second, on the average, below which a client is too slow once [`SessionSettings::timeout_data`] has
    /// passed; 0: none is.
    pub data_rate_min: u64,
    /// From MAIL to the end of DATA at most.
    pub transaction_time_max: Duration,
}

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum Mechanism {
    /// RFC 4616.
    #[serde(rename = "PLAIN")]
    Plain,
    /// The de-facto standard of old mail programs (draft-murchison-sasl-login).
    #[serde(rename = "LOGIN")]
    Login,
    /// RFC 7677: the password itself never crosses the wire.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Login, Self::ScramSha256];

    /// The name as it stands in EHLO and AUTH.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
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
    /// DATA was answered 354, or the first BDAT was taken; text follows.
    BodyBegins,
    /// The next piece of the text, dot-stuffed as DATA has it, without the final dot. The pieces together end with CRLF or are
    /// empty.
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
    /// What does SCRAM's challenge to this login say? It must not tell whether the login exists. Answer: [`Answer::Scram`].
    Scram {
        /// The login.
        login: String,
    },
    /// May this sender begin? Answer: [`Answer::Mail`].
    Mail(MailRequest),
    /// May these recipients be added? All RCPT commands that were complete in the buffer. Answer: [`Answer::Recipients`].
    Recipients(Vec<RcptRequest>),
    /// May the text come? Answer: [`Answer::Text`].
    Text,
    /// The text is complete. Answer: [`Answer::Message`].
    Message {
        /// The octets of the text as they go on, without the final dot.
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
    /// What is to show that the client is who it says.
    pub credential: Credential,
}

/// What a client shows.
#[derive(Debug)]
pub enum Credential {
    /// The password.
    Password(Secret),
    /// That it knows the password.
    Scram(ScramProof),
}

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Answer {
    /// Whether the login holds.
    Login(LoginAnswer),
    /// What SCRAM's challenge says.
    Scram(ScramAnswer),
    /// The answer to MAIL; 2xx begins the transaction.
    Mail(Reply),
    /// One answer for each recipient, in order.
    Recipients(Vec<Reply>),
    /// The text may come, or the answer to DATA, which ends the transaction.
    Text(Result<(), Reply>),
    /// The answer to the final dot.
    Message(Reply),
}

/// Whether a login holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginAnswer {
    /// `235 2.7.0`. Of a password.
    Accepted,
    /// The proof is right, and this is the server's own (`ServerSignature` of RFC 5802 §3), which the client hears before
    /// `235 2.7.0`.
    Proven([u8; KEY_BYTES]),
    /// `535 5.7.8`: unknown user, wrong password or not entitled; counts as an error.
    Rejected,
    /// `454 4.7.0`: the password store cannot be asked, or too many attempts.
    Unavailable,
}

/// Whether a SCRAM exchange goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScramAnswer {
    /// It does.
    Parameters(ScramParameters),
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
    /// A line was longer than [`SessionSettings::text_line_bytes_max`]; the client heard `550 5.6.0`.
    LineTooLong,
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
    /// The text came in more slowly than [`SessionSettings::data_rate_min`].
    Slow,
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
    login_failures: u32,
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
    /// The answer to [`Ask::Login`], by this mechanism.
    AskedLogin(Mechanism),
    /// The answer to [`Ask::Scram`].
    AskedScram(Box<ClientFirst>),
    /// The answer to [`Ask::Mail`].
    AskedMail(Transaction),
    /// RCPT or DATA.
    Envelope(Transaction),
    /// The answer to [`Ask::Recipients`].
    AskedRecipients(Transaction, Vec<Slot>),
    /// The answer to [`Ask::Text`].
    AskedText(Transaction, Coming),
    /// Text.
    Body(Transaction, Body),
    /// The octets of a chunk.
    Chunk(Box<Chunk>),
    /// A command, in between the chunks of a message.
    Chunks(Transaction, Text),
    /// A command; a message that came in chunks failed, and this is what the client hears of each.
    ChunksFailed(Refusal),
    /// The answer to [`Ask::Message`].
    AskedMessage,
    /// The end of the handshake.
    TlsHandshake,
    /// Nothing any more.
    Closed,
}

/// How a text is going to come.
#[derive(Debug, Clone, Copy)]
enum Coming {
    /// After 354.
    Text,
    /// At once, in chunks of which this is the first.
    Chunks(ChunkSize),
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
#[derive(Debug, Clone)]
enum Refusal {
    /// The client's fault; counts towards [`SessionSettings::errors_max`].
    Fault(&'static str),
    /// Nobody's fault.
    Policy(&'static str),
    /// What the world said.
    Told(Box<Reply>),
    /// Nothing that follows can be understood, so the session ends.
    Fatal(&'static str),
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        match error {
            // Where the chunk ends is not known, and what is in it must not be taken for commands.
            CommandError::ChunkSize => Self::Fatal(error.reply()),
            _ => Self::Fault(error.reply()),
        }
    }
}

impl State {
    /// The transaction that would need an [`Output::TransactionEnded`] now.
    fn transaction(&self) -> Option<Transaction> {
        match self {
            Self::Envelope(transaction)
            | Self::AskedRecipients(transaction, _)
            | Self::AskedText(transaction, _)
            | Self::Body(transaction, _)
            | Self::Chunks(transaction, _) => Some(*transaction),
            Self::Chunk(chunk) => chunk.transaction(),
            _ => None,
        }
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
            login_failures: 0,
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
