//! axum: metrics, health and the local control socket: decode, call admin, encode.

use std::{net::SocketAddr, path::PathBuf};

/// Where the program can be looked at.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `/metrics` and `/health/…`; loopback by default.
    pub listen: Option<SocketAddr>,
    /// The control socket, protected by file permissions (0600).
    pub control: PathBuf,
}
