//! What is kept of a subject: enough to see that two are the same, and nothing that it says.

use super::ParseError;
use std::{fmt, str::FromStr};

/// 64 bits of a keyed hash of a subject, shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubjectHash(u64);

impl SubjectHash {
    /// Wraps the bits.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for SubjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for SubjectHash {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "a hash of 16 hexadecimal digits");
        let fits = text.len() == 16 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        if !fits {
            return Err(wrong());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = SubjectHash::new(0xab);
        assert_eq!(hash.to_string(), "00000000000000ab");
        assert_eq!(hash.to_string().parse::<SubjectHash>().unwrap(), hash);
        for wrong in ["ab", "+0000000000000ab", "g0000000000000ab"] {
            assert!(wrong.parse::<SubjectHash>().is_err(), "{wrong}");
        }
    }
}
