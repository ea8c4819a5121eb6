//! What a limit is, and whose window it looks at.

use super::{IpPrefix, ParseError, PeerName, Span, SubjectId};
use std::{fmt, str::FromStr, sync::Arc};

/// Who a limit counts: one mailbox, one hosting package, one client address, one trusted server.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The hosting package or customer that owns accounts. Locked first.
    Tenant,
    /// One mailbox, login or script.
    Account,
    /// The real sender's host (IPv6: its prefix).
    ClientIp,
    /// A trusted server that hands mail in. Locked last.
    Peer,
}

impl Scope {
    /// All of them, in the order in which they are locked.
    pub const ALL: [Self; 4] = [Self::Tenant, Self::Account, Self::ClientIp, Self::Peer];

    /// The name as it stands in keys, replies and the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Account => "account",
            Self::ClientIp => "client-ip",
            Self::Peer => "peer",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a limit counts.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Each accepted recipient costs one (the default).
    Recipients,
    /// Each transaction with an accepted recipient costs one.
    Messages,
    /// Recipients of messages with the null sender `<>`: bounces and receipts have a limit of their own.
    NullSender,
    /// Accounts that a trusted server names for the first time.
    NewAccounts,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Recipients, Self::Messages, Self::NullSender, Self::NewAccounts];

    /// The name as it stands in replies: `50 of 50 recipients in 1 h`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recipients => "recipients",
            Self::Messages => "messages",
            Self::NullSender => "null-sender recipients",
            Self::NewAccounts => "new accounts",
        }
    }

    const fn letter(self) -> &'static str {
        match self {
            Self::Recipients => "r",
            Self::Messages => "m",
            Self::NullSender => "n",
            Self::NewAccounts => "a",
        }
    }

    fn from_letter(letter: &str) -> Option<Self> {
        [Self::Recipients, Self::Messages, Self::NullSender, Self::NewAccounts]
            .into_iter()
            .find(|unit| unit.letter() == letter)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// At most `max` charges in any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Limit {
    /// The length of the sliding window, 1 s to 31 days.
    pub window: Span,
    /// How many charges any such window may hold.
    pub max: u32,
}

/// The name of one window's history: scope, who, and what is counted. Prints and parses as `account/r/a@shop.example`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// The parts of a [`Key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRef<'a> {
    /// Who kind of subject it is.
    pub scope: Scope,
    /// What is counted.
    pub unit: Unit,
    /// The subject's own name.
    pub name: &'a str,
}

impl Key {
    /// The key of an account or a tenant.
    #[must_use]
    pub fn of_subject(subject: &SubjectId, unit: Unit) -> Self {
        match subject {
            SubjectId::Account(account) => Self::join(Scope::Account, unit, account.as_str()),
            SubjectId::Tenant(tenant) => Self::join(Scope::Tenant, unit, tenant.as_str()),
        }
    }

    /// The key of a client address.
    #[must_use]
    pub fn of_client(prefix: IpPrefix, unit: Unit) -> Self {
        Self::join(Scope::ClientIp, unit, &prefix.to_string())
    }

    /// The key of a trusted server.
    #[must_use]
    pub fn of_peer(peer: &PeerName, unit: Unit) -> Self {
        Self::join(Scope::Peer, unit, peer.as_str())
    }

    fn join(scope: Scope, unit: Unit, name: &str) -> Self {
        let mut text = String::with_capacity(scope.name().len() + 3 + name.len());
        text.push_str(scope.name());
        text.push('/');
        text.push_str(unit.letter());
        text.push('/');
        text.push_str(name);
        Self(text.into())
    }

    /// The whole key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes the key apart.
    #[must_use]
    pub fn parts(&self) -> KeyRef<'_> {
        // Every constructor goes through `join` or `from_str`, which both hold the form.
        split(&self.0).unwrap_or(KeyRef {
            scope: Scope::Account,
            unit: Unit::Recipients,
            name: &self.0,
        })
    }
}

fn split(text: &str) -> Option<KeyRef<'_>> {
    let (scope, rest) = text.split_once('/')?;
    let (letter, name) = rest.split_once('/')?;
    let scope = [Scope::Tenant, Scope::Account, Scope::ClientIp, Scope::Peer]
        .into_iter()
        .find(|candidate| candidate.name() == scope)?;
    Some(KeyRef { scope, unit: Unit::from_letter(letter)?, name })
}

impl FromStr for Key {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        split(text)
            .map(|_| Self(text.into()))
            .ok_or_else(|| ParseError::new(text, "a window's key"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_parts() {
        let account = SubjectId::Account("A@Shop.example".parse().unwrap());
        let key = Key::of_subject(&account, Unit::Recipients);
        assert_eq!(key.as_str(), "account/r/a@shop.example");
        assert_eq!(
            key.parts(),
            KeyRef { scope: Scope::Account, unit: Unit::Recipients, name: "a@shop.example" }
        );
        assert_eq!(key.as_str().parse::<Key>().unwrap(), key);
        assert!("account/x/a".parse::<Key>().is_err());
        assert!("account".parse::<Key>().is_err());
    }
}
