//! Our side of an SMTP conversation as a sans-I/O state machine.
//!
//! Contract: [`Session::handle`] takes an [`Input`] and the present moment, then [`Session::poll_output`] is called until it
//! returns `None`. After an [`Output::Ask`] the machine parses nothing until the matching [`Input::Answer`]; the pump reads
//! nothing meanwhile, so what is buffered is at most one read. Buffered plaintext is dropped at STARTTLS here, bare CR and
//! LF are refused here, errors are counted here.

use super::{Extensions, MailRequest, RcptRequest, Reply};
use crate::types::{Domain, Secret, Timestamp};
use bytes::BytesMut;
use std::time::Duration;

/// What one listener's sessions are like; checked when the configuration is loaded, kept by a connection for its life.
#[derive(Debug, Clone)]
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
