//! Handing mail on: to a smarthost or into a folder.
//!
//! `intake` opens a [`Transaction`] for each MAIL, adds the recipients as they come, may park it while a slow client uploads,
//! and sends the text once. Nothing here decides who may send; nothing is called back.

use crate::{
    smtp::{Extensions, MailRequest, RcptRequest, Reply},
    spool::Body,
};
use bytes::Bytes;
use std::{ops::Range, sync::Arc, time::Duration};

/// The text as it leaves: `head` (our Received field and added fields, CRLF-terminated, dot-stuffed), then the body without the
/// cut ranges, still dot-stuffed as it came.
#[derive(Debug)]
pub struct Text<'a> {
    /// Goes first.
    pub head: Bytes,
    /// The body as it came.
    pub body: &'a Body,
    /// Octet ranges of the body that are left out (stripped header fields): sorted, apart, whole lines.
    pub cuts: Vec<Range<u64>>,
}

/// What became of a text.
#[derive(Debug)]
pub struct Handover {
    /// The verdict.
    pub verdict: Verdict,
    /// The next hop, as `host:port` or the folder's path, if one took part.
    pub next_hop: Option<Arc<str>>,
    /// From our final dot to the answer.
    pub took: Option<Duration>,
}

/// The next hop's verdict on a text.
#[derive(Debug)]
pub enum Verdict {
    /// 2xx: it has the mail.
    Accepted(Reply),
    /// 4xx or 5xx, before or after the final dot: nobody got it.
    Refused(Reply),
    /// It vanished, stalled or talked nonsense after our final dot: it may have the mail.
    Unknown(String),
    /// It could not be reached, or was lost before the final dot: nobody got it.
    Unavailable(String),
    /// A recipient that it had accepted was refused when the envelope was replayed; nothing was sent.
    RecipientLost(Reply),
    /// It does not offer an extension that the message needs; nothing was sent.
    ExtensionMissing(&'static str),
}

/// What a next hop (or the gate on its behalf) answered to one recipient.
#[derive(Debug, Clone)]
pub struct RecipientAnswer {
    /// The answer for the client.
    pub reply: Reply,
    /// True if it is the next hop's own answer; false if none could be reached.
    pub from_next_hop: bool,
}

/// Where mail goes.
#[derive(Debug, Clone)]
pub enum Settings {
    /// To one of several servers.
    Smarthost(SmarthostSettings),
    /// Into a Maildir, for trying things out.
    Folder {
        /// The Maildir; made if it is missing.
        path: std::path::PathBuf,
    },
}

/// The servers and how they are used.
#[derive(Debug, Clone)]
pub struct SmarthostSettings {
    /// The name that we say in EHLO.
    pub hostname: crate::types::Domain,
    /// The servers; at least one.
    pub hosts: Vec<HostSettings>,
    /// Wait for a TCP connection.
    pub timeout_connect: Duration,
    /// Wait for a TLS handshake.
    pub timeout_tls: Duration,
    /// Wait for the banner and for each answer but the last.
    pub timeout_command: Duration,
    /// Wait for progress while the text is written.
    pub timeout_data: Duration,
    /// Wait for the answer to the final dot.
    pub timeout_final: Duration,
    /// All waits after the client's final dot together; less than 9 minutes (RFC 5321 §4.5.3.2.6 lets clients give up after 10).
    pub timeout_after_dot: Duration,
    /// A pooled connection that was not used for so long is closed.
    pub idle_max: Duration,
    /// Messages over one connection before it is closed.
    pub messages_per_connection_max: u32,
    /// Failures in a row that open a host's circuit.
    pub breaker_failures: u32,
    /// The first wait before an open circuit is probed; doubles up to [`SmarthostSettings::breaker_wait_max`].
    pub breaker_wait: Duration,
    /// The longest wait between probes.
    pub breaker_wait_max: Duration,
    /// How often the EHLO answer of each healthy host is looked at again.
    pub probe_every: Duration,
}

/// One server.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// A host name (looked up at each connect) or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Lower is tried first.
    pub priority: u16,
    /// Share among the hosts of one priority, at least 1.
    pub weight: u16,
    /// How TLS is used.
    pub tls: TlsMode,
    /// Whether the certificate must be valid for the name.
    pub verify: bool,
    /// The name that the certificate must have, where it is not [`HostSettings::host`].
    pub tls_name: Option<String>,
    /// PEM file of the authorities to believe, where it is not the system's.
    pub tls_ca: Option<std::path::PathBuf>,
    /// Login and password.
    pub auth: Option<(String, crate::types::Secret)>,
    /// The address that connections are made from.
    pub source: Option<std::net::IpAddr>,
    /// Connections at a time.
    pub connections_max: u32,
}

/// How TLS is used towards a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    None,
    /// STARTTLS where it is offered, without it where not.
    Opportunistic,
    /// STARTTLS, or the host is not used.
    Required,
    /// TLS from the first octet (port 465).
    Implicit,
}
