//! The names that are asked for.
//!
//! An IPv6 name is made from the 16 octets as they are: whoever canonicalises first turns `::ffff:127.0.0.2`, a list's own test
//! entry, into IPv4 and asks for something else (RFC 5782 §5). Names are absolute, so that no search domain is ever added.

use crate::types::{ParseError, Secret};
use std::{
    fmt::{self, Write as _},
    net::IpAddr,
    str::FromStr,
};

/// Something that may be on a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An address.
    Address(IpAddr),
    /// A domain in lower case and as A-labels (RFC 5890).
    Domain(Box<str>),
}

impl Subject {
    /// The labels in front of a list's zone.
    #[must_use]
    pub fn labels(&self) -> String {
        match self {
            Self::Address(address) => reversed(*address),
            Self::Domain(domain) => psl::domain_str(domain).unwrap_or(domain).to_owned(),
        }
    }
}

fn reversed(address: IpAddr) -> String {
    let mut labels = String::new();
    match address {
        IpAddr::V4(four) => {
            for octet in four.octets().iter().rev() {
                let _ = write!(labels, "{octet}.");
            }
        }
        IpAddr::V6(six) => {
            for octet in six.octets().iter().rev() {
                let _ = write!(labels, "{:x}.{:x}.", octet & 0xf, octet >> 4);
            }
        }
    }
    labels.pop();
    labels
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => fmt::Display::fmt(address, f),
            Self::Domain(domain) => f.write_str(domain),
        }
    }
}

impl FromStr for Subject {
    type Err = ParseError;

    /// Reads an address, of which a mapped one is the IPv4 address that it stands for, or a domain in any case and script.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "an IP address or a domain such as shop.example");
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let host = url::Host::parse(name).map_err(|_| wrong())?;
        let url::Host::Domain(domain) = host else { return Err(wrong()) };
        let labels = domain.split('.').count();
        let is_name = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let fits = labels > 1 && domain.len() <= NAME_BYTES_MAX && domain.split('.').all(is_name);
        if fits { Ok(Self::Domain(domain.into())) } else { Err(wrong()) }
    }
}

impl serde::Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The place of a list in the DNS: `zen.spamhaus.org`, or `<key>.zen.dq.spamhaus.net` with a key that is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zone {
    shown: Box<str>,
    key: Option<Secret>,
}

impl Zone {
    pub(super) fn open(zone: &str) -> Self {
        Self { shown: zone.into(), key: None }
    }

    /// `pattern` holds [`KEY_MARK`]. None if the key is not one label of letters and digits.
    pub(super) fn with_key(pattern: &str, key: &Secret) -> Option<Self> {
        let octets = key.expose();
        let is_label = (1..=LABEL_BYTES_MAX).contains(&octets.len())
            && octets.iter().all(u8::is_ascii_alphanumeric);
        is_label.then(|| Self { shown: pattern.into(), key: Some(key.clone()) })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn name(&self, labels: &str) -> QueryName {
        QueryName { labels: labels.into(), zone: self.clone() }
    }
}

/// A name to ask for. What it shows never holds the key.
#[derive(Clone, PartialEq, Eq)]
pub struct QueryName {
    labels: Box<str>,
    zone: Zone,
}

impl QueryName {
    /// The absolute name with its key, for the resolver alone.
    #[must_use]
    pub fn expose(&self) -> String {
        let key = self.zone.key.as_ref().map(|key| String::from_utf8_lossy(key.expose()));
        let zone = self.zone.shown.replace(KEY_MARK, key.as_deref().unwrap_or_default());
        format!("{}.{zone}.", self.labels)
    }
}

impl fmt::Display for QueryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.", self.labels, self.zone.shown)
    }
}

impl fmt::Debug for QueryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryName({self})")
    }
}

/// What stands in a zone where the key belongs.
pub(super) const KEY_MARK: &str = "<key>";
/// RFC 1035 §2.3.4, without the final dot.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
