//! Listening, accepting, TLS, byte connections; speaks no SMTP.

pub mod connect;

use std::{path::PathBuf, time::Duration};

/// The certificate that we show.
#[derive(Debug, Clone)]
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
