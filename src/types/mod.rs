//! The words that every other module speaks: identities, addresses, times, sizes, limits.
//!
//! A value of one of these types that exists is valid: constructors parse and return a [`ParseError`]
//! that says what was wrong, fields are private. Nothing here does I/O or reads a clock.

mod access;
mod actor;
mod address;
mod certificate;
mod identity;
mod language;
mod limit;
mod month;
mod network;
mod schema;
mod secret;
mod service_place;
mod size;
mod subject_hash;
mod time;

pub use access::{Access, Role};
pub use actor::{Actor, Via};
pub use address::{Address, Domain, ReversePath, is_visible};
pub use certificate::{ClientCertificate, Fingerprint};
pub use identity::{
    AccountId, CaseId, MessageId, PeerName, PlanName, SessionId, SubjectId, TenantId, TokenName,
    TransactionId,
};
pub use language::Language;
pub use limit::{Key, KeyRef, Limit, Scope, Unit};
pub use month::Month;
pub use network::{ClientIp, IpPrefix};
pub use secret::Secret;
pub use service_place::ServicePlace;
pub use size::ByteCount;
pub use subject_hash::SubjectHash;
pub use time::{Span, Timestamp};

/// Why a text is not a value of the wanted type; fits "failed to read …: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not {wanted}")]
pub struct ParseError {
    what: String,
    wanted: &'static str,
}

impl ParseError {
    /// Builds the error; `what` is quoted and shortened so that it can go into a log line.
    #[must_use]
    pub fn new(what: &str, wanted: &'static str) -> Self {
        let shown: String = what.chars().take(SHOWN_CHARS_MAX).collect();
        let more = if what.chars().count() > SHOWN_CHARS_MAX { "…" } else { "" };
        Self { what: format!("{shown:?}{more}"), wanted }
    }
}

/// How much of a wrong value an error repeats.
const SHOWN_CHARS_MAX: usize = 80;
