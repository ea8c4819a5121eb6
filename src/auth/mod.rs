//! Is this password right: passwd-file, Dovecot socket.

use std::{path::PathBuf, time::Duration};

/// Where passwords are, and how fast they may be tried.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Dovecot's passwd-file; none: every login is refused.
    pub passwd_file: Option<PathBuf>,
    /// Verified passwords that are remembered (as keyed digests).
    pub cache_entries_max: usize,
    /// How long they are remembered.
    pub cache_ttl: Duration,
    /// Password hashes that are computed at a time.
    pub checks_max: usize,
    /// Failed logins for each client network and minute before further ones are put off.
    pub failures_per_minute: u32,
}
