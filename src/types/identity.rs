//! Names of accounts, tenants, servers, plans, sessions and cases.

use super::ParseError;
use std::{fmt, str::FromStr, sync::Arc};

/// Defines a name: a shared text that was checked when it was made.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $parse:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                $parse(text).map(|checked| Self(checked.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// One mailbox, login or script: `a@shop.example`, `web-17`, `1042@web01`. Folded to lower case, because that is how
    /// mail systems compare logins, and a second spelling must not be a second limit.
    AccountId, parse_folded
);
name!(
    /// The hosting package or customer that owns accounts, by default the account's domain. Folded to lower case.
    TenantId, parse_folded
);
name!(
    /// The name of a row of the trust table: `web01`.
    PeerName, parse_label
);
name!(
    /// The name of a plan in the configuration: `shared-hosting`.
    PlanName, parse_label
);
name!(
    /// The id of one connection; it stands in every log line and refusal.
    SessionId, parse_label
);
name!(
    /// The id of one transaction; it stands in the Received field and in the message log.
    TransactionId, parse_label
);
name!(
    /// The id of a suspension, which the suspended sender hears and the abuse desk looks up.
    CaseId, parse_label
);
name!(
    /// The name of a token for the API: `billing`.
    TokenName, parse_label
);

name!(
    /// What the Message-ID field of a message holds (RFC 5322 §3.6.4), without its angle brackets.
    MessageId, parse_message_id
);

/// An account or a tenant: what can be suspended or given an override.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "scope", content = "id")]
pub enum SubjectId {
    /// One account.
    Account(AccountId),
    /// A tenant with all its accounts.
    Tenant(TenantId),
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "account {account}"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
        }
    }
}

impl AccountId {
    /// True of the account that stands for a trusted server, and so for many senders.
    #[must_use]
    pub fn is_peer(&self) -> bool {
        self.0.starts_with("peer:")
    }

    /// The part after the last `@`, if the account is an address.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.0.rsplit_once('@').map(|(_, domain)| domain).filter(|domain| !domain.is_empty())
    }
}

fn parse_folded(text: &str) -> Result<String, ParseError> {
    // Folding can make a text longer, and a folded name must be a name again.
    let folded = text.to_lowercase();
    let fits = !text.is_empty()
        && folded.len() <= NAME_BYTES_MAX
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if fits {
        Ok(folded)
    } else {
        Err(ParseError::new(
            text,
            "a name of 1 to 320 octets without blanks and control characters",
        ))
    }
}

fn parse_label(text: &str) -> Result<&str, ParseError> {
    let fits = !text.is_empty()
        && text.len() <= LABEL_BYTES_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
    if fits {
        Ok(text)
    } else {
        Err(ParseError::new(text, "a name of 1 to 64 letters, digits and -_.:"))
    }
}

fn parse_message_id(text: &str) -> Result<&str, ParseError> {
    let id = text.trim();
    let id = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id);
    let fits = !id.is_empty()
        && id.len() <= MESSAGE_ID_BYTES_MAX
        && !id.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>'));
    if fits { Ok(id) } else { Err(ParseError::new(text, "a Message-ID such as <1@host.example>")) }
}

/// The longest address of RFC 5321 §4.5.3.1: 64 octets, `@`, 255 octets.
const NAME_BYTES_MAX: usize = 320;
const LABEL_BYTES_MAX: usize = 64;
/// Longer ones are not found by it; usual ones have less than 100 octets.
const MESSAGE_ID_BYTES_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_folded() {
        assert_eq!("A@Shop.Example".parse::<AccountId>().unwrap().as_str(), "a@shop.example");
        assert_eq!("a@shop.example".parse::<AccountId>().unwrap().domain(), Some("shop.example"));
        assert_eq!("web-17".parse::<AccountId>().unwrap().domain(), None);
        for wrong in ["", "a b", "a\r\nb", "a\u{0}b"] {
            assert!(wrong.parse::<AccountId>().is_err(), "{wrong:?}");
        }
        assert!("x".repeat(321).parse::<AccountId>().is_err());
        assert!("web 01".parse::<PeerName>().is_err());
        assert_eq!(" <1@X> ".parse::<MessageId>().unwrap().as_str(), "1@X");
    }
}
