//! Mail addresses as they stand in an envelope.

use super::ParseError;
use std::{fmt, str::FromStr, sync::Arc};

/// A mailbox `local@domain`, kept exactly as it was written, so that it is passed on unchanged.
///
/// The full grammar of paths (quoting, source routes, parameters) is checked by `smtp::path`; this type holds what every
/// address must satisfy to be safe in a reply, a log line or a command: printable, no CR, LF, NUL, within RFC 5321 §4.5.3.1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    text: Arc<str>,
    at: u16,
}

impl Address {
    /// The address as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the last `@`, with its quotes if it has any.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// The part after the last `@`: a domain or an address literal.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// True if a character is outside ASCII, so that the next hop must know SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl FromStr for Address {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "an address such as user@domain.example");
        let at = text.rfind('@').ok_or_else(wrong)?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        let fits = (1..=LOCAL_BYTES_MAX).contains(&local.len())
            && (1..=DOMAIN_BYTES_MAX).contains(&domain.len())
            && text.chars().all(is_visible)
            && !domain.contains([' ', '<', '>', ',']);
        let at = u16::try_from(at).map_err(|_| wrong())?;
        if fits { Ok(Self { text: text.into(), at }) } else { Err(wrong()) }
    }
}

/// True of characters that show as what they are: no control characters, no ends of line in Unicode (U+2028, U+2029), nothing
/// that turns the direction of what follows (U+202E and its like) or cannot be seen. The joiners U+200C and U+200D, without
/// which some scripts cannot be written, count as visible.
#[must_use]
pub fn is_visible(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// The argument of MAIL FROM: an address, or `<>` for mail that must never be answered (RFC 5321 §4.5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: bounces, receipts, automatic answers.
    Null,
    /// An address.
    Mailbox(Address),
}

impl ReversePath {
    /// The address, unless it is null.
    #[must_use]
    pub const fn address(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Mailbox(address) => Some(address),
        }
    }
}

/// Prints the path without its angle brackets; nothing for the null sender.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().map_or(Ok(()), |address| fmt::Display::fmt(address, f))
    }
}

impl serde::Serialize for ReversePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A host name or address literal that may stand in a greeting: letters, digits, `-`, `.`, `_`, and `[…]`; at most 255 octets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Domain(Arc<str>);

impl Domain {
    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Domain {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fits = (1..=DOMAIN_BYTES_MAX).contains(&text.len())
            && text
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | '[' | ']' | ':'));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new(text, "a host name or an address literal"))
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.0)
    }
}

/// RFC 5321 §4.5.3.1.1.
const LOCAL_BYTES_MAX: usize = 64;
/// RFC 5321 §4.5.3.1.2.
const DOMAIN_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_split_at_its_last_at_sign() {
        let address: Address = r#""a@b c"@Shop.example"#.parse().unwrap();
        assert_eq!((address.local(), address.domain()), (r#""a@b c""#, "Shop.example"));
        for wrong in ["", "a", "@b", "a@", "a\r\n@b", "a@b>c", "a@b c"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong:?}");
        }
        assert!(format!("{}@b", "x".repeat(65)).parse::<Address>().is_err());
    }
}
