//! Event → log line, Event → metric.

use std::path::PathBuf;

/// The log.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its form.
    pub format: LogFormat,
    /// The least level that is written.
    pub level: tracing::Level,
    /// The file that is appended to (opened again at SIGHUP); none: standard error.
    pub file: Option<PathBuf>,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// `key=value`, for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
