//! Where the commands meet the rest of the program: one function each for running, checking and hashing.

use super::CliError;
use crate::types::{AccountId, Secret};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What the command line moves away from where the configuration puts it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// The folder of all state.
    pub state_dir: Option<PathBuf>,
    /// Where `/metrics` and `/health` listen.
    pub http_listen: Option<SocketAddr>,
    /// Where the smarthost listener listens.
    pub smarthost_listen: Option<SocketAddr>,
    /// Where the submission listener listens.
    pub submission_listen: Option<SocketAddr>,
    /// The folder that mail goes to.
    pub outbox: Option<PathBuf>,
}

/// Runs the gate until it is told to stop. To be connected to `app::serve`.
pub(super) fn serve(config: &Path, moves: Moves) -> Result<(), CliError> {
    drop(moves);
    Err(not_connected(config))
}

/// Checks a configuration. To be connected to `config::load`.
pub(super) fn check_config(config: &Path) -> Result<(), CliError> {
    Err(not_connected(config))
}

/// Where a configuration puts the control socket. To be connected to `config::load`.
pub(super) fn control_socket(config: &Path) -> Result<PathBuf, CliError> {
    Err(not_connected(config))
}

/// Hashes a password into the field of a passwd-file. To be connected to `auth::hash_password`.
pub(super) fn hash_password(scheme: &str, password: &Secret) -> Result<String, CliError> {
    drop(password.clone());
    Err(CliError::Failed(format!("the scheme {scheme} is not connected yet")))
}

/// Puts a field into a passwd-file. To be connected to `auth::set_password`.
pub(super) fn store_password(file: &Path, user: &AccountId, field: &str) -> Result<(), CliError> {
    let _ = (user, field);
    Err(not_connected(file))
}

fn not_connected(file: &Path) -> CliError {
    CliError::Failed(format!("{} is not connected yet", file.display()))
}
