//! Listening, accepting, TLS, byte connections; speaks no SMTP.
//!
//! `intake` gets a [`Stream`] from a [`Listener`] and turns it into TLS with a [`TlsServer`], at once (port 465) or when the
//! client says STARTTLS. Nothing here knows whose connection it is, keeps a list of connections or reads ahead.

mod certificate;
mod client_certificate;
mod listen;
mod pipe;
mod pulse;
mod stream;
mod tls;

pub use certificate::CertificateEnd;
pub use listen::{ListenError, Listener};
pub use pipe::Pipe;
pub use pulse::{Beat, Pulse};
pub use stream::{Stream, TlsFacts};
pub use tls::{HandshakeError, HandshakeFailure, TlsError, TlsServer};

pub mod connect;
pub mod descriptors;

use std::{path::PathBuf, time::Duration};

/// What we show, and whose client certificates we believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificates, at least one; the first is shown to whoever asks for a name that none has.
    pub certificates: Vec<CertificateFiles>,
    /// If both files of the first are missing, they are made, self-signed, for this name.
    pub self_signed_for: Option<crate::types::Domain>,
    /// PEM file of the authorities that vouch for clients by name.
    pub client_ca: Option<PathBuf>,
    /// Wait for a handshake.
    pub timeout_handshake: Duration,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM file with the certificate chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// No.
    #[default]
    None,
    /// Yes, and whoever has none or an odd one goes on without.
    Optional,
    /// Yes, and without one there is no session; where there are authorities, it must be one of theirs.
    Required,
}

#[cfg(test)]
mod tests;
