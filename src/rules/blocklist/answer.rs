//! What an answer means: listed, clean, or unknown and why.

use super::{List, Severity, list::Meaning};
use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr};

/// What a resolver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Addresses, at least one.
    Addresses(Vec<Ipv4Addr>),
    /// There is no such name (NXDOMAIN).
    NoName,
    /// There is such a name without an address.
    NoData,
    /// There was no answer.
    Failed(Failure),
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// Nobody answered in time.
    Timeout,
    /// The resolver, or a server behind it, refused (REFUSED).
    Refused,
    /// The resolver could not find out (SERVFAIL).
    ServerFailure,
    /// Something else, such as no way to the resolver.
    Other,
}

/// What is believed of one answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It is on the list.
    Listed(Listed),
    /// It is not on the list.
    Clean,
    /// Nothing is known.
    Unknown(Doubt),
}

/// What a list says of what is on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The codes, at least one, in their order.
    pub codes: Vec<Code>,
    /// The highest severity of a code.
    pub severity: Severity,
    /// Beside codes of the list stood something that is none, such as a refusal.
    pub degraded: bool,
}

/// A code and what it says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Code {
    /// The address that was answered.
    pub code: Ipv4Addr,
    /// What the list's table says of it.
    pub meaning: String,
}

impl Listed {
    /// The meanings, one after the other.
    #[must_use]
    pub fn meaning(&self) -> String {
        let mut meanings: Vec<&str> = self.codes.iter().map(|code| &*code.meaning).collect();
        meanings.dedup();
        meanings.join("; ")
    }

    /// The codes as addresses, each once.
    #[must_use]
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let mut addresses: Vec<Ipv4Addr> = self.codes.iter().map(|code| code.code).collect();
        addresses.dedup();
        addresses
    }
}

/// Why nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// There is the name, but it has no address.
    NoData,
    /// There was no answer.
    NoAnswer(Failure),
    /// The list, or a server on the way, refuses to say; it is left alone for a while.
    Refusal(Ipv4Addr),
    /// No list answers so: the resolver lies about names that do not exist, or the list's domain belongs to somebody else.
    Foreign(Ipv4Addr),
    /// The list's table has no such code.
    UnknownCode(Ipv4Addr),
    /// The list's own tests fail, so nothing that it says counts.
    Untrusted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no answer in time",
            Self::Refused => "the resolver refused (REFUSED)",
            Self::ServerFailure => "the resolver could not find out (SERVFAIL)",
            Self::Other => "the resolver cannot be asked",
        })
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoData => f.write_str("an answer without an address"),
            Self::NoAnswer(failure) => fmt::Display::fmt(failure, f),
            Self::Refusal(code) => write!(f, "the list refuses to answer ({code})"),
            Self::Foreign(address) => write!(f, "{address} is no answer of a blocklist"),
            Self::UnknownCode(code) => write!(f, "the code {code} is not in the list's table"),
            Self::Untrusted => f.write_str("the list's own tests fail"),
        }
    }
}

/// What an answer of a list means.
#[must_use]
pub fn judge(list: &List, answer: &Answer) -> Finding {
    match answer {
        Answer::NoName => Finding::Clean,
        Answer::NoData => Finding::Unknown(Doubt::NoData),
        Answer::Failed(failure) => Finding::Unknown(Doubt::NoAnswer(*failure)),
        Answer::Addresses(addresses) => judge_addresses(list, addresses),
    }
}

fn judge_addresses(list: &List, addresses: &[Ipv4Addr]) -> Finding {
    if let Some(foreign) = addresses.iter().find(|address| !address.is_loopback()) {
        return Finding::Unknown(Doubt::Foreign(*foreign));
    }
    let (mut codes, mut refusal, mut unknown) = (Vec::new(), None, None);
    let mut severity = Severity::Info;
    for &code in addresses {
        match list.meaning(code) {
            Meaning::Says(said) => {
                for one in said {
                    severity = severity.max(one.severity);
                    codes.push(Code { code, meaning: one.means.clone() });
                }
            }
            Meaning::Refusal => refusal = Some(Doubt::Refusal(code)),
            Meaning::Nothing => unknown = Some(Doubt::UnknownCode(code)),
        }
    }
    let doubt = refusal.or(unknown);
    if codes.is_empty() {
        return Finding::Unknown(doubt.unwrap_or(Doubt::NoData));
    }
    codes.sort_unstable();
    codes.dedup();
    let strange_bits = addresses.iter().any(|&code| list.has_strange_bits(code));
    Finding::Listed(Listed { codes, severity, degraded: doubt.is_some() || strange_bits })
}
