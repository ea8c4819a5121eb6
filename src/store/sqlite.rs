//! The embedded store: windows in memory, their journal and everything else in one SQLite file.

use std::{path::PathBuf, time::Duration};

/// The embedded store's file.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The database; made if it is missing.
    pub path: PathBuf,
    /// How much a commit survives.
    pub synchronous: Synchronous,
    /// How long charges are kept: the longest window in the configuration, at least 24 h.
    pub history: Duration,
    /// How much later than known an unknown or unsettled charge is stamped.
    pub unknown_margin: Duration,
}

/// How much a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Synchronous {
    /// Power loss.
    #[default]
    Full,
    /// `kill -9`, but not power loss.
    Normal,
}
