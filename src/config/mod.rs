//! The configuration: as written (serde) → checked (typed) → given to each module as its own settings.
//!
//! [`load`] reads one TOML file, lets the command line move addresses and paths ([`Moves`]), and returns a [`Config`]
//! in which every value is valid, or everything that is wrong with the file at once. A mistake never opens anything:
//! a file with one is not used at all, at start or at a reload. Relative paths are relative to the working directory.
//! No other module knows TOML.

mod alerts;
mod blocklist;
mod checked;
mod checker;
mod content;
mod descriptors;
mod keys;
mod listeners;
mod next_hop;
mod parties;
mod redis;
mod scan;
mod spam;
mod storage;
mod warnings;
mod written;

pub use checker::Problem;
pub use descriptors::{Budget, budget};
pub use warnings::warnings;

use crate::{
    admin::{BackupSettings, ConductSettings, StorageSettings},
    auth, deliver,
    intake::{ListenerKind, ListenerSettings},
    net,
    rules::{
        self,
        availability::Sla,
        policy::Policy,
        spam::{Networks, Traps, content::Rules},
        tally::calendar::Zone,
    },
    smtp::{
        Extensions,
        data::LineEndings,
        server::{Mechanism, SessionSettings},
    },
    spool, store, telemetry,
    types::{AccountId, Domain},
    watch::{AlertSettings, BlocklistSettings, Reaction, ReportLetters},
};
use std::{
    fmt,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A checked configuration: the settings of each module.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name that we say in banners, in EHLO and in Received fields.
    pub hostname: Domain,
    /// The folder of everything that is kept.
    pub state_dir: PathBuf,
    /// How long running transactions may go on after SIGTERM.
    pub drain_time_max: Duration,
    /// Connections over all listeners; none: as many as file descriptors allow.
    pub connections_max: Option<usize>,
    /// Worker threads; none: one for each processor.
    pub threads: Option<NonZeroUsize>,
    /// A login that is made, with a password, if the passwd-file is missing: for trying things out.
    pub test_user: Option<AccountId>,
    /// The log.
    pub log: telemetry::Settings,
    /// Metrics, health and the control socket.
    pub http: HttpSettings,
    /// The API and the dashboard.
    pub api: ApiSettings,
    /// Our certificate; none: no TLS is offered.
    pub tls: Option<net::TlsSettings>,
    /// The listeners, at least one.
    pub listeners: Vec<ListenerSettings>,
    /// What sessions of all listeners have in common.
    pub session: SessionLimits,
    /// What is offered to whoever wants to log in.
    pub logins: LoginOffer,
    /// Passwords.
    pub auth: auth::Settings,
    /// What is read afresh at each MAIL.
    pub policy: Policy,
    /// Where mail goes.
    pub next_hop: deliver::Settings,
    /// The embedded store.
    pub store: store::sqlite::Settings,
    /// The ledger that several nodes share; none: that of the embedded store.
    pub redis: Option<store::redis::Settings>,
    /// What is told later.
    pub archive: store::archive::Settings,
    /// How long offences count, and who leaves is kept.
    pub conduct: ConductSettings,
    /// Backups.
    pub backups: BackupSettings,
    /// Who hears of alerts.
    pub alerts: AlertSettings,
    /// Blocklists, and what is watched on them.
    pub blocklist: BlocklistSettings,
    /// What follows when an address is listed.
    pub reaction: Reaction,
    /// What was promised of availability.
    pub sla: Sla,
    /// Signals of spam, and what becomes of senders against whom something speaks.
    pub judgement: rules::judgement::Settings,
    /// The content rules; none: [`content_rules`].
    pub content: Option<Rules>,
    /// What is known of recipients and networks, and how spam is marked.
    pub judge: JudgeTables,
    /// Reports.
    pub reports: ReportSettings,
    /// Other programs that look into texts.
    pub scan: crate::scan::Settings,
    /// Where the figures of mailboxes come from.
    pub storage: StorageSettings,
    /// How long that is kept.
    pub keep: store::archive::Keep,
    /// The spool.
    pub spool: spool::Settings,
    written: keys::Keys,
}

/// What is known beside what messages show, and how spam is marked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JudgeTables {
    /// Spam traps.
    pub traps: Arc<Traps>,
    /// Whose network an address is in.
    pub networks: Arc<Networks>,
    /// The field that is put on top of messages whose text counts as spam; none: they are not marked.
    pub tag_header: Option<String>,
}

/// What reports are about and how long what they are made from is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSettings {
    /// Where days begin and end.
    pub zone: Zone,
    /// Letters to tenants.
    pub letters: ReportLetters,
}

/// Where the program can be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// `/metrics` and `/health/…`; loopback by default.
    pub listen: Option<SocketAddr>,
    /// The control socket, protected by file permissions (0600).
    pub control: PathBuf,
}

/// Where the API and the dashboard answer, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiSettings {
    /// The address; none: they are off.
    pub listen: Option<SocketAddr>,
    /// Nothing is said without TLS; always so unless the address is a loopback one.
    pub tls: bool,
    /// How fast requests may come.
    pub pace: PaceRules,
}

/// How fast requests may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceRules {
    /// Requests with one token in a minute.
    pub per_token_minute: NonZeroU32,
    /// Requests without a valid token from one client network in a minute.
    pub failures_per_minute: NonZeroU32,
}

/// Waits and bounds of a session.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Wait for a command.
    pub timeout_command: Duration,
    /// Wait for the next piece of text during DATA.
    pub timeout_data: Duration,
    /// Wait for a command, and for text, while places are scarce.
    pub timeout_scarce: Duration,
    /// Octets of text a second, on the average, below which a client is too slow; 0: none is.
    pub data_rate_min: u64,
    /// From MAIL to the end of DATA at most.
    pub transaction_time_max: Duration,
    /// Sessions of one login at a time, over all listeners.
    pub connections_per_account_max: usize,
    /// The longest line of a text in octets with its CRLF; longer ones are refused. None: any length is passed on.
    pub text_line_bytes_max: Option<u64>,
    /// Texts that come in at a time, over all listeners.
    pub data_sessions_max: usize,
    /// Recipients of one transaction.
    pub recipients_max: usize,
    /// Errors of a client before it is sent away.
    pub errors_max: u32,
    /// The largest message in octets on the wire; a plan may allow less.
    pub message_bytes_max: u64,
}

/// What is offered to whoever wants to log in, where there are logins at all.
#[derive(Debug, Clone)]
pub struct LoginOffer {
    /// The mechanisms, in the order in which EHLO names them.
    pub mechanisms: Vec<Mechanism>,
    /// Logins that may fail on one connection.
    pub failures_max: u32,
}

impl Config {
    /// What all sessions on this listener have in common; what the next hops offer and what the peer may say is added when a
    /// session begins.
    #[must_use]
    pub fn session_settings(&self, listener: &ListenerSettings) -> SessionSettings {
        let is_submission = listener.kind != ListenerKind::Smarthost;
        let has_logins = self.auth.has_logins();
        SessionSettings {
            hostname: self.hostname.clone(),
            extensions: Extensions::default(),
            size_bytes_max: self.session.message_bytes_max,
            starttls: self.tls.is_some() && listener.kind != ListenerKind::Submissions,
            auth_mechanisms: if has_logins { self.logins.mechanisms.clone() } else { Vec::new() },
            require_tls: is_submission && !listener.plaintext_auth,
            require_auth: is_submission,
            login_failures_max: self.logins.failures_max,
            allow_plaintext_auth: listener.plaintext_auth,
            xclient: false,
            xforward: false,
            line_endings: LineEndings::Strict,
            text_line_bytes_max: self.session.text_line_bytes_max,
            recipients_max: self.session.recipients_max,
            errors_max: self.session.errors_max,
            timeout_command: self.session.timeout_command,
            timeout_data: self.session.timeout_data,
            timeout_scarce: self.session.timeout_scarce,
            data_rate_min: self.session.data_rate_min,
            transaction_time_max: self.session.transaction_time_max,
        }
    }
}

impl Config {
    /// The keys that the file sets otherwise than an earlier one did, by their names alone.
    #[must_use]
    pub fn keys_changed_since(&self, earlier: &Self) -> Vec<String> {
        self.written.changed_since(&earlier.written)
    }

    /// Puts back what cannot change while the program runs, so that everything else fits what is really open; says which keys
    /// the file had changed.
    pub fn keep_fixed(&mut self, running: &Self) -> Vec<&'static str> {
        let mut kept = Vec::new();
        keep(&mut self.state_dir, &running.state_dir, "server.state_dir", &mut kept);
        keep(&mut self.threads, &running.threads, "server.threads", &mut kept);
        keep(&mut self.log, &running.log, "log", &mut kept);
        keep(&mut self.http, &running.http, "http.listen, control.socket", &mut kept);
        keep(&mut self.api, &running.api, "api", &mut kept);
        keep(&mut self.auth, &running.auth, "auth", &mut kept);
        keep(&mut self.spool, &running.spool, "spool", &mut kept);
        // The length of the history follows the plans; the rest is the file that is open.
        let store =
            store::sqlite::Settings { history: self.store.history, ..running.store.clone() };
        keep(&mut self.store, &store, "store, limits.unknown_margin", &mut kept);
        let redis = running.redis.clone().map(|running| running.keeping_lengths_of(&self.redis));
        keep(&mut self.redis, &redis, "store.redis, limits.unknown_margin", &mut kept);
        keep(&mut self.archive, &running.archive, "archive.path", &mut kept);
        keep(&mut self.conduct, &running.conduct, "offences, privacy.keep_closed", &mut kept);
        keep(&mut self.backups, &running.backups, "backup", &mut kept);
        keep(&mut self.reports, &running.reports, "reports", &mut kept);
        self.sla.zone.clone_from(&running.sla.zone);
        if self.tls.is_some() != running.tls.is_some() {
            keep(&mut self.tls, &running.tls, "tls", &mut kept);
        }
        let place = |listener: &ListenerSettings| {
            (listener.name.clone(), listener.kind, listener.addresses.clone())
        };
        if !self.listeners.iter().map(place).eq(running.listeners.iter().map(place)) {
            self.listeners.clone_from(&running.listeners);
            kept.push("listener");
        }
        kept
    }
}

fn keep<T: PartialEq + Clone>(
    new: &mut T,
    running: &T,
    key: &'static str,
    kept: &mut Vec<&'static str>,
) {
    if new != running {
        new.clone_from(running);
        kept.push(key);
    }
}

/// What the command line or `TOLLGATE_…` variables put in place of the file's addresses and paths.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    /// `server.state_dir`, and with it every path that the file leaves to its default.
    pub state_dir: Option<PathBuf>,
    /// `http.listen`.
    pub http_listen: Option<SocketAddr>,
    /// `api.listen`.
    pub api_listen: Option<SocketAddr>,
    /// The address of the first listener of kind `smarthost`.
    pub smarthost_listen: Option<SocketAddr>,
    /// The address of the first listener of kind `submission`.
    pub submission_listen: Option<SocketAddr>,
    /// `next_hop.path`.
    pub outbox: Option<PathBuf>,
}

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("read {}: {detail}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        detail: String,
    },
    /// Values are wrong.
    #[error("use {}:{}", path.display(), Lines(problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// All that was found, at least one.
        problems: Vec<Problem>,
    },
}

/// Each problem on a line of its own.
struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// The content rules that ship.
#[must_use]
pub fn content_rules() -> Rules {
    content::built_in()
}

/// Reads and checks a configuration file. Files that it names for passwords and content rules are read, too.
///
/// # Errors
/// [`ConfigError`] with every mistake that could be found.
pub fn load(path: &Path, moves: &Moves) -> Result<Config, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(read)?;
    parse(&text, path, moves)
}

/// Checks the text of a configuration file; `path` is its name in errors.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path, moves: &Moves) -> Result<Config, ConfigError> {
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        detail: place_and_message(text, &error),
    };
    let file = toml::from_str(text).map_err(syntax)?;
    let wrong = |problems| ConfigError::Wrong { path: path.to_owned(), problems };
    let config = checked::check(file, moves).map_err(wrong)?;
    Ok(Config { written: keys::Keys::of(text), ..config })
}

/// The line and what is wrong, without the line itself, which may hold a password.
fn place_and_message(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line}: {}", error.message())
}

#[cfg(test)]
mod tests;
