//! How mail leaves: checked values, made by the configuration; nothing here reads a file.

use std::time::Duration;

/// Where mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    /// To one of several servers.
    Smarthost(SmarthostSettings),
    /// Into a Maildir, for trying things out.
    Folder {
        /// The Maildir; made if it is missing.
        path: std::path::PathBuf,
    },
}

impl Settings {
    /// All addresses that mail leaves by, as far as they are known, each once.
    #[must_use]
    pub fn egress(&self) -> Vec<std::net::IpAddr> {
        let Self::Smarthost(settings) = self else { return Vec::new() };
        let all = settings.hosts.iter().flat_map(|host| host.egress.iter().copied());
        all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }
}

/// The servers and how they are used.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// The addresses that mail leaves by when it goes this way, as the internet sees them.
    pub egress: std::sync::Arc<[std::net::IpAddr]>,
    /// Connections at a time.
    pub connections_max: u32,
}

/// How TLS is used towards a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    None,
    /// STARTTLS where it is offered, without it where it is not offered or refused. A handshake that was begun and fails is
    /// a failure of the host, never a reason to go on in the clear.
    Opportunistic,
    /// STARTTLS, or the host is not used.
    Required,
    /// TLS from the first octet (port 465).
    Implicit,
}
