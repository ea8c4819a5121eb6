//! Certificates that clients show, as far as they say who is there.

use super::{Domain, ParseError};
use std::{fmt, str::FromStr};

/// The SHA-256 digest of a certificate or of its public key (SubjectPublicKeyInfo), both in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a digest that was made elsewhere.
    #[must_use]
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl FromStr for Fingerprint {
    type Err = ParseError;

    /// Reads 64 hexadecimal digits, with or without colons between pairs, as `openssl x509 -fingerprint -sha256` writes them.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "a SHA-256 fingerprint of 64 hexadecimal digits");
        let digits: Vec<u8> = match text.as_bytes() {
            plain if plain.len() == 64 => plain.to_vec(),
            pairs if pairs.len() == 95 && pairs.iter().skip(2).step_by(3).all(|&b| b == b':') => {
                pairs.chunks(3).flat_map(|pair| &pair[..2]).copied().collect()
            }
            _ => return Err(wrong()),
        };
        let mut digest = [0; 32];
        for (octet, pair) in digest.iter_mut().zip(digits.chunks(2)) {
            let value =
                |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
            let (high, low) = (value(pair[0]), value(pair[1]));
            *octet = high.zip(low).map(|(high, low)| high * 16 + low).ok_or_else(wrong)?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl<'de> serde::Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A certificate whose key the client was shown to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Of the certificate.
    pub certificate: Fingerprint,
    /// Of its public key, which stays when the certificate is renewed for the same key.
    pub key: Fingerprint,
    /// Its host names; none unless an authority of ours vouches for it.
    pub names: Vec<Domain>,
}

impl ClientCertificate {
    /// True if this is the fingerprint of the certificate or of its key.
    #[must_use]
    pub fn has(&self, fingerprint: Fingerprint) -> bool {
        self.certificate == fingerprint || self.key == fingerprint
    }

    /// True if an authority of ours vouches for this host name.
    #[must_use]
    pub fn is_named(&self, name: &Domain) -> bool {
        self.names.iter().any(|own| own.as_str().eq_ignore_ascii_case(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_they_are_printed() {
        let plain = "00ff".repeat(16);
        let colons = ["00", "FF"].repeat(16).join(":");
        let read = plain.parse::<Fingerprint>().unwrap();
        assert_eq!(read.to_string(), plain);
        assert_eq!(colons.parse::<Fingerprint>().unwrap(), read);
        for wrong in
            ["", &plain[1..], &colons[1..], &plain.replace('f', "g"), &colons.replace(':', "-")]
        {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
        assert!("é".repeat(32).parse::<Fingerprint>().is_err());
    }
}
