//! The commands that work on files: checking a configuration, hashing and storing a password.

use super::{CliError, output};
use crate::{
    admin::Files,
    auth::{self, Scheme},
    config::{self, Config, Moves},
    net::descriptors,
    rules::{replay, spam::content::Rules},
    store::redis,
    types::{AccountId, Secret},
};
use std::path::{Path, PathBuf};

/// Checks a configuration: prints what is allowed but unwise, fails with everything that is wrong.
pub(super) fn check_config(path: &Path) -> Result<(), CliError> {
    let config = load(path)?;
    let mut warnings = config::warnings(&config);
    let descriptors = descriptors::limit_max();
    warnings.extend(match config::budget(&config, descriptors) {
        Some(budget) => budget.warnings,
        None => vec![format!("{descriptors} file descriptors (ulimit -Hn) are too few to serve")],
    });
    for list in &config.blocklist.all_lists() {
        output::print(&format!("blocklist {}: {}\n", list.name(), list.terms()));
    }
    for warning in &warnings {
        output::print(&format!("warning: {warning}\n"));
    }
    let count = match warnings.len() {
        0 => String::from("no warnings"),
        1 => String::from("1 warning"),
        count => format!("{count} warnings"),
    };
    output::print(&format!("{} is valid, {count}\n", path.display()));
    Ok(())
}

/// Where a configuration puts the control socket.
pub(super) fn control_socket(path: &Path) -> Result<PathBuf, CliError> {
    Ok(load(path)?.http.control)
}

/// The files of a gate, for what works on them.
pub(super) fn files(path: &Path) -> Result<Files, CliError> {
    load(path).map(files_of)
}

/// The same of a gate that shares a Redis, with that.
pub(super) fn files_and_redis(path: &Path) -> Result<(Files, redis::Settings), CliError> {
    let mut config = load(path)?;
    let none = || {
        format!(
            "{}: store.redis is not set, so there is nowhere to move from or to",
            path.display()
        )
    };
    let redis = config.redis.take().ok_or_else(|| CliError::Failed(none()))?;
    Ok((files_of(config), redis))
}

fn files_of(Config { store, archive, backups, .. }: Config) -> Files {
    Files { store, archive, backups }
}

/// What a replay is judged by: the limits of the default plan, the thresholds of the signals and standings, the content rules.
pub(super) fn replay_settings(path: &Path) -> Result<(replay::Settings, Rules), CliError> {
    let config = load(path)?;
    let limits = config.policy.plan(None).limits.clone();
    let rules = config.content.unwrap_or_else(config::content_rules);
    Ok((replay::Settings { limits, judgement: config.judgement }, rules))
}

fn load(path: &Path) -> Result<Config, CliError> {
    config::load(path, &Moves::default()).map_err(|error| CliError::Failed(error.to_string()))
}

/// Hashes a password into the field of a passwd-file.
pub(super) fn hash_password(scheme: &str, password: &Secret) -> Result<String, CliError> {
    let scheme: Scheme = scheme.parse().map_err(failed)?;
    auth::hash_password(scheme, password).map_err(failed)
}

/// Puts a field into a passwd-file.
pub(super) fn store_password(file: &Path, user: &AccountId, field: &str) -> Result<(), CliError> {
    auth::set_password(file, user, field).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}
