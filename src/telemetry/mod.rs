//! Event → log line, Event → metric.
//!
//! Both are listeners ([`crate::event::Listener`]) and know nothing but events. Log lines go through one buffered
//! sink ([`sink`]), so that a message costs a few microseconds and no system call of its own; the program's own diagnostics
//! (`tracing`) go through the same sink in the same form. The keys are documented in docs/log.md, the metrics in
//! docs/metrics.md. Nothing here waits for a disk, calls back, or logs a password or a body.

mod diagnostics;
mod line;
mod log;
mod metrics;
mod quota;
mod sink;

pub use line::Mask;
pub use log::{ClientQuota, Log, json};
pub use metrics::{
    Availability, BlocklistFigures, Blocklists, Metrics, Storage, StreamVitals, Vitals,
};
pub use sink::LogCounts;

use crate::{clock::Clock, event::Listener};
use std::{path::PathBuf, sync::Arc};

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its form.
    pub format: LogFormat,
    /// The least level that is written.
    pub level: tracing::Level,
    /// Lines that one client network may cause in a minute, beside those about messages; 0: any number.
    pub lines_per_client_minute: u32,
    /// The file that is appended to (opened again at SIGHUP); none: standard error.
    pub file: Option<PathBuf>,
    /// How recipients stand there.
    pub recipients: LogRecipients,
}

/// How recipients stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogRecipients {
    /// As addresses.
    #[default]
    Clear,
    /// As keyed hashes.
    Hashed,
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

/// Why the log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The file cannot be opened for appending.
    #[error("open the log {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("start the log's writer")]
    Thread(#[source] std::io::Error),
}

/// The running log and metrics. Dropping it writes what is still buffered.
pub struct Telemetry {
    writer: sink::Writer,
    settings: Settings,
    metrics: Arc<Metrics>,
}

impl Telemetry {
    /// The listeners for [`crate::event::Events::new`]: the log, which shows this clock's moments in UTC, and the metrics. The key is for
    /// recipients, where they are hashed.
    #[must_use]
    pub fn listeners(&self, clock: &Clock, key: &[u8; 32]) -> Vec<Box<dyn Listener>> {
        let is_hashed = self.settings.recipients == LogRecipients::Hashed;
        let mask = is_hashed.then(|| Mask::new(key));
        let log = Log::new(self.writer.sink(), &self.settings, clock.clone(), mask);
        vec![Box::new(log), Box::new(Arc::clone(&self.metrics))]
    }

    /// The metrics, for `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Opens the log file again, after it was moved away; does nothing for standard error.
    ///
    /// # Errors
    /// [`TelemetryError::Open`]; the old file stays in use then.
    pub fn reopen(&self) -> Result<(), TelemetryError> {
        self.writer.sink().reopen()
    }

    /// Writes what is buffered and returns when the system has it.
    pub fn flush(&self) {
        self.writer.sink().flush();
    }
}

/// Opens the log, starts its writer and sends the program's own diagnostics there too; the first caller in a process gets
/// those, because `tracing` has one subscriber only.
///
/// # Errors
/// [`TelemetryError`] if the file cannot be opened or the writer cannot be started.
pub fn start(settings: &Settings) -> Result<Telemetry, TelemetryError> {
    let writer = sink::Writer::start(settings.file.as_deref())?;
    diagnostics::install(writer.sink(), settings.format, settings.level);
    let metrics = Arc::new(Metrics::new(writer.sink()));
    Ok(Telemetry { writer, settings: settings.clone(), metrics })
}

/// Settings and a reader of what was written, for the tests of this module.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Event, types::Timestamp};

    fn to_file(path: PathBuf) -> Settings {
        Settings {
            format: LogFormat::Text,
            level: tracing::Level::INFO,
            lines_per_client_minute: 0,
            file: Some(path),
            recipients: LogRecipients::Clear,
        }
    }

    #[test]
    fn a_reopened_log_goes_on_in_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let telemetry = start(&to_file(path.clone())).unwrap();
        let (clock, _) = Clock::by_hand(Timestamp::EPOCH);
        let events = crate::event::Events::new(telemetry.listeners(&clock, &[7; 32]));
        events.tell(Timestamp::EPOCH, &Event::ConfigReloaded);
        telemetry.flush();
        std::fs::rename(&path, &moved).unwrap();
        telemetry.reopen().unwrap();
        events.tell(Timestamp::EPOCH, &Event::CertificatesReloaded);
        drop((telemetry, events));
        assert!(std::fs::read_to_string(moved).unwrap().contains("event=config-reloaded"));
        let now = std::fs::read_to_string(path).unwrap();
        assert_eq!(now, "time=1970-01-01T00:00:00.000Z level=info event=certificates-reloaded\n");
    }

    #[test]
    fn a_log_that_cannot_be_opened_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("log");
        assert!(matches!(start(&to_file(path)), Err(TelemetryError::Open { .. })));
    }
}
