//! Where the commands meet the rest of the program: one function each for running, checking, finding and hashing.

use super::{CliError, output};
use crate::{
    auth,
    config::{self, Config, Moves},
    types::{AccountId, Secret},
};
use std::{
    error::Error,
    path::{Path, PathBuf},
};

/// Runs the gate until it is told to stop. To be connected to `app::serve`.
pub(super) fn serve(config: &Path, moves: &Moves) -> Result<(), CliError> {
    load(config, moves)?;
    Err(CliError::Failed("serving is not connected yet".into()))
}

/// Checks a configuration, and says what deserves a second look.
pub(super) fn check_config(path: &Path) -> Result<(), CliError> {
    let config = load(path, &Moves::default())?;
    for warning in config::warnings(&config) {
        output::complain(&format!("warning: {warning}"));
    }
    output::print(&format!("{} is good\n", path.display()));
    Ok(())
}

/// Where a configuration puts the control socket.
pub(super) fn control_socket(config: &Path) -> Result<PathBuf, CliError> {
    load(config, &Moves::default()).map(|config| config.http.control)
}

/// Hashes a password into the field of a passwd-file.
pub(super) fn hash_password(scheme: &str, password: &Secret) -> Result<String, CliError> {
    let scheme = scheme.parse().map_err(|error: auth::AuthError| failed(&error))?;
    auth::hash_password(scheme, password).map_err(|error| failed(&error))
}

/// Puts a field into a passwd-file.
pub(super) fn store_password(file: &Path, user: &AccountId, field: &str) -> Result<(), CliError> {
    auth::set_password(file, user, field).map_err(|error| failed(&error))
}

fn load(path: &Path, moves: &Moves) -> Result<Config, CliError> {
    config::load(path, moves).map_err(|error| failed(&error))
}

/// "failed to …" with every cause.
fn failed(error: &dyn Error) -> CliError {
    let mut text = format!("failed to {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    CliError::Failed(text)
}
