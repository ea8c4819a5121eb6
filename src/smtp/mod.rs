//! The wire: what SMTP commands, replies and message text look like, as pure state machines and parsers.
//!
//! [`server`] is our side of a conversation, [`client`] the other. Neither does I/O, reads a clock or decides who may send
//! what: bytes and moments come in as arguments, and what needs the world goes out as an *ask*. Input comes from `intake`
//! (clients) and `deliver` (next hops).

pub mod client;
pub mod command;
pub mod data;
pub mod path;
pub mod proxy_header;
pub mod recode;
pub mod reply;
pub mod sasl;
pub mod scram;
pub mod server;
pub mod xclient;
pub mod xtext;

pub use command::{BodyType, MailAuth, MailRequest, RcptRequest, Ret};
pub use reply::Reply;

/// The extensions that a server offers in its answer to EHLO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a line of the EHLO answer")]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870: offered, and the largest message in octets if a figure other than 0 was given.
    pub size: Option<Option<u64>>,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 2034.
    pub enhanced_status_codes: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 4954: the mechanisms, in capitals.
    pub auth: Vec<String>,
}
