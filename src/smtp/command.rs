//! Commands and their parameters (RFC 5321 §4.1, RFC 1870, 3461, 4954, 6152, 6531).

use crate::types::{Address, ReversePath};

/// `MAIL FROM:<…>` with its parameters, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailRequest {
    /// The envelope sender.
    pub sender: ReversePath,
    /// `SIZE=` (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152).
    pub body: Option<BodyType>,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// `ENVID=` (RFC 3461 §4.4), as written.
    pub envid: Option<String>,
    /// `AUTH=` (RFC 4954 §5).
    pub auth: Option<MailAuth>,
}

/// `BODY=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    /// `BODY=7BIT`.
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBitMime,
}

/// `RET=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// `RET=FULL`.
    Full,
    /// `RET=HDRS`.
    Headers,
}

/// `AUTH=` of MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailAuth {
    /// `AUTH=<>`: unknown or not trusted.
    Unknown,
    /// `AUTH=mailbox`, its xtext decoded.
    Mailbox(String),
}

/// `RCPT TO:<…>` with its parameters, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RcptRequest {
    /// The recipient; a source route was taken off (RFC 5321 §3.3, appendix C).
    pub address: Address,
    /// `NOTIFY=` (RFC 3461 §4.1), as written and checked.
    pub notify: Option<String>,
    /// `ORCPT=` (RFC 3461 §4.2), as written and checked.
    pub orcpt: Option<String>,
}
