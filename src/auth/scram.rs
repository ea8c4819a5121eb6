//! The keys of SCRAM-SHA-256 (RFC 5802 §3, RFC 7677): what a passwd-file keeps instead of a password, and how a proof, or a
//! password itself, is held against it. The words of the exchange are [`crate::smtp::scram`]'s.
//!
//! A passwd-file has `{SCRAM-SHA-256}iterations,salt,StoredKey,ServerKey`, the last three in base64, as `doveadm pw` writes it.
//! Neither key lets its owner log in: for that the password is needed, or the client's key, which is never kept.

use super::AuthError;
use crate::smtp::scram::{KEY_BYTES, ScramProof};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{digest, hmac, pbkdf2};
use std::{borrow::Cow, num::NonZeroU32};
use subtle::ConstantTimeEq;

/// The keys of one user.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ScramKeys {
    pub(super) iterations: NonZeroU32,
    pub(super) salt: Box<[u8]>,
    stored_key: [u8; KEY_BYTES],
    server_key: [u8; KEY_BYTES],
}

impl ScramKeys {
    /// Reads what stands behind `{SCRAM-SHA-256}`.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not repeat it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let malformed = || String::from("the SCRAM keys are malformed");
        let mut fields = text.split(',');
        let mut next = || fields.next().ok_or_else(malformed);
        let (iterations, salt, stored, server) = (next()?, next()?, next()?, next()?);
        let iterations: u32 = iterations.parse().map_err(|_| malformed())?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(format!(
                "{iterations} iterations are not within {ITERATIONS_MIN} to {ITERATIONS_MAX}"
            ));
        }
        let salt = STANDARD.decode(salt).map_err(|_| malformed())?;
        let key = |text: &str| {
            STANDARD
                .decode(text)
                .ok()
                .and_then(|octets| octets.try_into().ok())
                .ok_or_else(malformed)
        };
        let keys = Self {
            iterations: NonZeroU32::new(iterations).ok_or_else(malformed)?,
            salt: salt.into(),
            stored_key: key(stored)?,
            server_key: key(server)?,
        };
        let sound = fields.next().is_none() && (1..=SALT_BYTES_MAX).contains(&keys.salt.len());
        sound.then_some(keys).ok_or_else(malformed)
    }

    /// Makes the keys of a password. Takes tens of milliseconds.
    pub(super) fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = [0; KEY_BYTES];
        let password = prepared(password);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, &password, &mut salted);
        let client_key = sign(&salted, b"Client Key");
        Self {
            iterations,
            salt: salt.into(),
            stored_key: hash(&client_key),
            server_key: sign(&salted, b"Server Key"),
        }
    }

    /// What a name without keys shows: as many iterations and as long a salt as somebody else's, and keys that fit nothing.
    pub(super) fn of_nobody(like: Option<&Self>, salt: &[u8; KEY_BYTES]) -> Self {
        let length = like.map_or(SALT_BYTES, |keys| keys.salt.len());
        Self {
            iterations: like.map_or(ITERATIONS, |keys| keys.iterations),
            salt: salt[..length].into(),
            stored_key: [0; KEY_BYTES],
            server_key: [0; KEY_BYTES],
        }
    }

    /// The password field of a passwd-file, without its scheme.
    pub(super) fn text(&self) -> String {
        let base64 = |octets: &[u8]| STANDARD.encode(octets);
        let (salt, stored, server) =
            (base64(&self.salt), base64(&self.stored_key), base64(&self.server_key));
        format!("{},{salt},{stored},{server}", self.iterations)
    }

    /// True if these are the keys of the password. Takes tens of milliseconds.
    pub(super) fn fit_password(&self, password: &[u8]) -> bool {
        let other = Self::derive(password, &self.salt, self.iterations);
        bool::from(other.stored_key.ct_eq(&self.stored_key))
    }

    /// `ServerSignature`, if the proof was made with the password of these keys (RFC 5802 §3).
    pub(super) fn check(&self, proof: &ScramProof) -> Option<[u8; KEY_BYTES]> {
        let message = proof.auth_message.as_bytes();
        let mut client_key = sign(&self.stored_key, message);
        for (octet, masked) in client_key.iter_mut().zip(proof.proof) {
            *octet ^= masked;
        }
        let right = bool::from(hash(&client_key).ct_eq(&self.stored_key));
        // Made in either case, so that both take as long.
        let signature = sign(&self.server_key, message);
        right.then_some(signature)
    }
}

/// A nonce of an exchange: 18 fresh octets, in base64 without padding.
pub(super) fn fresh_nonce() -> Result<String, AuthError> {
    let mut octets = [0; 18];
    getrandom::fill(&mut octets).map_err(|error| AuthError::Hashing(error.to_string()))?;
    Ok(STANDARD.encode(octets))
}

/// A password as SASLprep (RFC 4013) wants it. One that SASLprep cannot take (not UTF-8, or newer characters than its own) is
/// taken as it is, as other programs do, so that nobody's password is refused for its letters.
fn prepared(password: &[u8]) -> Cow<'_, [u8]> {
    let text = str::from_utf8(password).ok();
    match text.and_then(|text| stringprep::saslprep(text).ok()) {
        Some(Cow::Owned(prepared)) => Cow::Owned(prepared.into_bytes()),
        _ => Cow::Borrowed(password),
    }
}

fn sign(key: &[u8; KEY_BYTES], message: &[u8]) -> [u8; KEY_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    *tag.as_ref().first_chunk().expect("an HMAC-SHA-256 has 32 octets")
}

fn hash(octets: &[u8]) -> [u8; KEY_BYTES] {
    let digest = digest::digest(&digest::SHA256, octets);
    *digest.as_ref().first_chunk().expect("a SHA-256 has 32 octets")
}

/// RFC 7677 §4.
const ITERATIONS_MIN: u32 = 4096;
const ITERATIONS_MAX: u32 = 5_000_000;
const SALT_BYTES_MAX: usize = KEY_BYTES;
/// What a salt of ours has.
pub(super) const SALT_BYTES: usize = 16;
/// RFC 7677 §4 wants 4096 at least and "15000 or more" where it can be had; but a thief of the file tries passwords at this
/// cost. This takes the server about as long as its other schemes, and a telephone (the client computes it, too) a fraction of
/// a second at each login.
pub(super) const ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).expect("it is not 0");

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 §3: user `user`, password `pencil`.
    const AUTH_MESSAGE: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const PROOF: &str = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SIGNATURE: &str = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn few() -> NonZeroU32 {
        NonZeroU32::new(4096).unwrap()
    }

    #[test]
    fn the_exchange_of_rfc_7677_holds() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive(b"pencil", &salt, few());
        let proof: [u8; KEY_BYTES] = STANDARD.decode(PROOF).unwrap().try_into().unwrap();
        let check = |message: &str, proof: [u8; KEY_BYTES]| {
            keys.check(&ScramProof { auth_message: message.into(), proof })
                .map(|signature| STANDARD.encode(signature))
        };
        assert_eq!(check(AUTH_MESSAGE, proof).as_deref(), Some(SIGNATURE));
        assert_eq!(check(&AUTH_MESSAGE.replace("biws", "eSws"), proof), None);
        for bit in 0..8 * KEY_BYTES {
            let mut wrong = proof;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(AUTH_MESSAGE, wrong), None, "bit {bit}");
        }
    }

    /// What is stored must not be enough to log in: neither key, put to use as a proof, passes.
    #[test]
    fn stored_keys_are_no_password() {
        let keys = ScramKeys::derive(b"pencil", b"salt", few());
        for key in [keys.stored_key, keys.server_key, [0; KEY_BYTES]] {
            let mut proof = sign(&keys.stored_key, AUTH_MESSAGE.as_bytes());
            proof.iter_mut().zip(key).for_each(|(octet, other)| *octet ^= other);
            for proof in [proof, key] {
                assert!(
                    keys.check(&ScramProof { auth_message: AUTH_MESSAGE.into(), proof }).is_none()
                );
            }
            assert!(!keys.fit_password(&key));
        }
    }

    #[test]
    fn a_field_is_read_back() {
        let keys = ScramKeys::derive("pässwörd €".as_bytes(), b"some salt", few());
        let again = ScramKeys::parse(&keys.text()).unwrap_or_else(|problem| panic!("{problem}"));
        assert!(again == keys && again.fit_password("pässwörd €".as_bytes()));
        assert!(!again.fit_password(b"wrong") && !again.fit_password(b""));
    }

    #[test]
    fn passwords_are_prepared() {
        for (given, other, same) in [
            ("I\u{ad}X", "IX", true),
            ("\u{2168}", "IX", true),
            ("pa\u{308}ss", "p\u{e4}ss", true),
            ("a\u{a0}b", "a b", true),
            ("IX", "ix", false),
            // Newer than Unicode 3.2, right to left with digits outside, a control character: as they are.
            ("🐎", "🐎", true),
            ("\u{627}1", "\u{627}1", true),
            ("a\u{7}", "a\u{7}", true),
            ("🐎", "🐴", false),
        ] {
            let keys = ScramKeys::derive(given.as_bytes(), b"salt", few());
            assert_eq!(keys.fit_password(other.as_bytes()), same, "{given:?} {other:?}");
        }
        assert!(ScramKeys::derive(b"\xff", b"salt", few()).fit_password(b"\xff"));
    }

    #[test]
    fn malformed_keys_are_refused_without_repeating_them() {
        let (salt, key) = ("c2FsdA==", STANDARD.encode([7; 32]));
        for (text, says) in [
            (format!("4095,{salt},{key},{key}"), "4095 iterations"),
            (format!("5000001,{salt},{key},{key}"), "iterations"),
            (format!("-1,{salt},{key},{key}"), "malformed"),
            (format!(",{salt},{key},{key}"), "malformed"),
            (format!("4096,,{key},{key}"), "malformed"),
            (format!("4096,hunter2,{key},{key}"), "malformed"),
            (format!("4096,{},{key},{key}", STANDARD.encode([7; 33])), "malformed"),
            (format!("4096,{salt},{key}"), "malformed"),
            (format!("4096,{salt},{key},{key},"), "malformed"),
            (format!("4096,{salt},{key},hunter2"), "malformed"),
            (format!("4096,{salt},{},{key}", STANDARD.encode([7; 31])), "malformed"),
            (String::from("hunter2"), "malformed"),
            (String::new(), "malformed"),
        ] {
            let problem = ScramKeys::parse(&text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(problem.contains(says) && !problem.contains("hunter2"), "{text}: {problem}");
        }
        assert!(ScramKeys::parse(&format!("4096,{salt},{key},{key}")).is_ok());
    }
}
