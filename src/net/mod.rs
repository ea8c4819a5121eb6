//! Listening, accepting, TLS, byte connections; speaks no SMTP.
//!
//! `intake` gets a [`Stream`] from a [`Listener`] and turns it into TLS with a [`TlsServer`], at once (port 465) or when the
//! client says STARTTLS. Nothing here knows whose connection it is, keeps a list of connections or reads ahead.

mod listen;
mod pipe;
mod stream;
mod tls;

pub use listen::{ListenError, Listener};
pub use pipe::Pipe;
pub use stream::{Stream, TlsFacts};
pub use tls::{TlsError, TlsServer};

pub mod connect;
pub mod descriptors;

use std::{path::PathBuf, time::Duration};

/// The certificate that we show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file with the certificate chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// If both files are missing, they are made, self-signed, for this name.
    pub self_signed_for: Option<crate::types::Domain>,
    /// Wait for a handshake.
    pub timeout_handshake: Duration,
}
