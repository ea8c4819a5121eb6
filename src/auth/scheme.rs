//! Password hashes as a passwd-file holds them: reading, checking, making.
//!
//! The schemes are those that Dovecot names ARGON2ID, ARGON2I, BLF-CRYPT, SHA512-CRYPT and SHA256-CRYPT, with or without
//! the `{SCHEME}` in front, since the hash names itself (`$argon2id$`, `$2y$`, `$6$`, `$5$`), and SCRAM-SHA-256, which must be
//! named. Costs beyond the maxima below
//! are refused when the file is read, so that one line cannot take the machine's memory or a minute of its time at each
//! login. Hashing takes tens of milliseconds: callers keep it off the event loop. Errors never repeat a hash.

use super::{
    AuthError,
    scram::{self, ScramKeys},
};
use crate::types::Secret;
use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version,
    password_hash::CustomizedPasswordHasher,
};
use sha_crypt::{PasswordHashRef, ShaCrypt};
use std::{fmt, str::FromStr};

/// How a password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Argon2id (RFC 9106), the one to choose.
    Argon2id,
    /// Argon2i (RFC 9106).
    Argon2i,
    /// bcrypt: `$2y$`, `$2b$`, `$2a$`.
    BlfCrypt,
    /// SHA-512 crypt: `$6$`.
    Sha512Crypt,
    /// SHA-256 crypt: `$5$`.
    Sha256Crypt,
    /// SCRAM's keys (RFC 7677): for logins by SCRAM, and good for passwords, too.
    ScramSha256,
}

impl Scheme {
    /// The name as Dovecot writes it between braces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Argon2id => "ARGON2ID",
            Self::Argon2i => "ARGON2I",
            Self::BlfCrypt => "BLF-CRYPT",
            Self::Sha512Crypt => "SHA512-CRYPT",
            Self::Sha256Crypt => "SHA256-CRYPT",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The scheme that a hash itself tells.
    fn of_hash(hash: &str) -> Option<Self> {
        HASH_PREFIXES.iter().find(|(prefix, _)| hash.starts_with(prefix)).map(|&(_, scheme)| scheme)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads a name in capitals or small letters; `ARGON2ID13` is another name of `ARGON2ID`.
impl FromStr for Scheme {
    type Err = AuthError;

    fn from_str(name: &str) -> Result<Self, AuthError> {
        match name.to_ascii_uppercase().as_str() {
            "ARGON2ID" | "ARGON2ID13" => Ok(Self::Argon2id),
            "ARGON2I" => Ok(Self::Argon2i),
            "BLF-CRYPT" => Ok(Self::BlfCrypt),
            "SHA512-CRYPT" => Ok(Self::Sha512Crypt),
            "SHA256-CRYPT" => Ok(Self::Sha256Crypt),
            "SCRAM-SHA-256" => Ok(Self::ScramSha256),
            _ => Err(AuthError::UnknownScheme(name.chars().take(SCHEME_CHARS_MAX).collect())),
        }
    }
}

/// A hash that was read and found well-formed.
pub(super) struct StoredHash {
    scheme: Scheme,
    /// From the first `$` on; of SCRAM all that stands behind the scheme.
    text: Box<str>,
}

impl StoredHash {
    /// Reads the password field of a passwd-file.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not repeat it.
    pub(super) fn parse(field: &str) -> Result<Self, String> {
        let (declared, hash) = split_scheme(field)?;
        let scheme = match declared.map(str::parse) {
            Some(Ok(Scheme::ScramSha256)) => Scheme::ScramSha256,
            _ => Scheme::of_hash(hash).ok_or_else(|| unreadable(declared))?,
        };
        if !declared.is_none_or(|name| may_hold(name, scheme)) {
            return Err(format!("the hash is {scheme}, but its line says otherwise"));
        }
        check_form(scheme, hash)?;
        Ok(Self { scheme, text: hash.into() })
    }

    pub(super) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The hash without its scheme: what a remembered password depends on.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What decides how long a check takes: the scheme and its parameters.
    pub(super) fn work(&self) -> (Scheme, &str) {
        let parameters = match self.scheme {
            Scheme::BlfCrypt => self.text.get(4..6),
            Scheme::Argon2id | Scheme::Argon2i => self.text.split('$').nth(3),
            Scheme::Sha512Crypt | Scheme::Sha256Crypt => {
                self.text.split('$').nth(2).filter(|field| field.starts_with(ROUNDS))
            }
            Scheme::ScramSha256 => self.text.split(',').next(),
        };
        (self.scheme, parameters.unwrap_or_default())
    }

    /// True if the password is the right one; compares in constant time. Takes tens of milliseconds.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self.scheme {
            Scheme::Argon2id | Scheme::Argon2i => {
                Argon2::default().verify_password(password, &*self.text).is_ok()
            }
            Scheme::BlfCrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Scheme::Sha512Crypt | Scheme::Sha256Crypt => {
                ShaCrypt::default().verify_password(password, &*self.text).is_ok()
            }
            Scheme::ScramSha256 => self.scram().is_some_and(|keys| keys.fit_password(password)),
        }
    }

    /// SCRAM's keys, where that is the scheme.
    pub(super) fn scram(&self) -> Option<ScramKeys> {
        let is_scram = self.scheme == Scheme::ScramSha256;
        is_scram.then(|| ScramKeys::parse(&self.text).ok()).flatten()
    }
}

/// Hashes a password with a fresh salt and returns the password field of a passwd-file: `{ARGON2ID}$argon2id$…`.
/// Takes tens to hundreds of milliseconds.
///
/// # Errors
/// The password is empty or longer than [`PASSWORD_BYTES_MAX`], bcrypt would cut it off, or there is no randomness.
pub fn hash_password(scheme: Scheme, password: &Secret) -> Result<String, AuthError> {
    let octets = password.expose();
    let longest = if scheme == Scheme::BlfCrypt { BCRYPT_BYTES_MAX } else { PASSWORD_BYTES_MAX };
    if octets.is_empty() || octets.len() > longest || octets.contains(&0) {
        return Err(AuthError::UnfitPassword { bytes_max: longest });
    }
    let hash = match scheme {
        Scheme::Argon2id => hash_argon2(Algorithm::Argon2id, octets)?,
        Scheme::Argon2i => hash_argon2(Algorithm::Argon2i, octets)?,
        Scheme::BlfCrypt => bcrypt::hash_with_salt(octets, BCRYPT_COST, salt()?)
            .map_err(|error| AuthError::Hashing(error.to_string()))?
            .format_for_version(bcrypt::Version::TwoY),
        Scheme::Sha512Crypt => hash_sha(ShaCrypt::SHA512, octets)?,
        Scheme::Sha256Crypt => hash_sha(ShaCrypt::SHA256, octets)?,
        Scheme::ScramSha256 => ScramKeys::derive(octets, &salt()?, scram::ITERATIONS).text(),
    };
    Ok(format!("{{{scheme}}}{hash}"))
}

fn hash_argon2(algorithm: Algorithm, password: &[u8]) -> Result<String, AuthError> {
    Argon2::new(algorithm, Version::V0x13, Params::DEFAULT)
        .hash_password_with_salt(password, &salt()?)
        .map(|hash: PasswordHash| hash.to_string())
        .map_err(|error| AuthError::Hashing(error.to_string()))
}

fn hash_sha(hasher: ShaCrypt, password: &[u8]) -> Result<String, AuthError> {
    let rounds =
        sha_crypt::Params::new(SHA_ROUNDS).map_err(|e| AuthError::Hashing(e.to_string()))?;
    // Twelve octets become the sixteen characters that crypt(3) reads of a salt.
    let salt = salt()?;
    hasher
        .hash_password_with_params(password, &salt[..12], rounds)
        .map(|hash| hash.to_string())
        .map_err(|error| AuthError::Hashing(error.to_string()))
}

fn salt() -> Result<[u8; scram::SALT_BYTES], AuthError> {
    let mut salt = [0; scram::SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| AuthError::Hashing(error.to_string()))?;
    Ok(salt)
}

/// Splits `{SCHEME}hash`; a bare hash has no scheme.
fn split_scheme(field: &str) -> Result<(Option<&str>, &str), String> {
    let Some(rest) = field.strip_prefix('{') else { return Ok((None, field)) };
    let (name, hash) = rest.split_once('}').ok_or("the scheme has no closing brace")?;
    if CLEAR_SCHEMES.iter().any(|clear| name.eq_ignore_ascii_case(clear)) {
        return Err(format!(
            "a password in clear ({{{}}}) is refused; make a hash with `tollgate passwd` or `doveadm pw`",
            name.to_ascii_uppercase()
        ));
    }
    if !name.eq_ignore_ascii_case(ANY_CRYPT) {
        name.parse::<Scheme>().map_err(|_| {
            let name: String = name.chars().take(SCHEME_CHARS_MAX).collect();
            format!("{{{}}} is not one of {SCHEMES}", name.escape_debug())
        })?;
    }
    Ok((Some(name), hash))
}

/// True if a hash of this scheme may stand behind `{name}`; `{CRYPT}` is whatever crypt(3) knows.
fn may_hold(name: &str, scheme: Scheme) -> bool {
    let crypt = !matches!(scheme, Scheme::Argon2id | Scheme::Argon2i | Scheme::ScramSha256);
    name.eq_ignore_ascii_case(ANY_CRYPT) && crypt || name.parse().is_ok_and(|s: Scheme| s == scheme)
}

fn unreadable(declared: Option<&str>) -> String {
    match declared {
        Some(_) => String::from("the hash does not begin as its scheme demands"),
        None => format!("no {{SCHEME}}, and not a hash of {SCHEMES}"),
    }
}

fn check_form(scheme: Scheme, hash: &str) -> Result<(), String> {
    match scheme {
        Scheme::Argon2id | Scheme::Argon2i => check_argon2(hash),
        Scheme::BlfCrypt => check_bcrypt(hash),
        Scheme::Sha512Crypt => check_sha(hash, 86),
        Scheme::Sha256Crypt => check_sha(hash, 43),
        Scheme::ScramSha256 => ScramKeys::parse(hash).map(drop),
    }
}

fn check_argon2(hash: &str) -> Result<(), String> {
    let malformed = || String::from("the Argon2 hash is malformed");
    let parsed = PasswordHash::new(hash).map_err(|_| malformed())?;
    let params = Params::try_from(&parsed).map_err(|_| malformed())?;
    let long_enough = parsed.salt.as_ref().is_some_and(|salt| salt.len() >= argon2::MIN_SALT_LEN)
        && parsed.hash.as_ref().is_some_and(|output| output.len() >= ARGON2_OUTPUT_BYTES_MIN);
    if !long_enough {
        return Err(malformed());
    }
    let affordable = params.m_cost() <= ARGON2_MEMORY_KIB_MAX
        && params.t_cost() <= ARGON2_PASSES_MAX
        && params.p_cost() <= ARGON2_LANES_MAX;
    let most = (ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, ARGON2_LANES_MAX);
    affordable.then_some(()).ok_or_else(|| {
        format!("the Argon2 hash costs more than m={},t={},p={}", most.0, most.1, most.2)
    })
}

fn check_bcrypt(hash: &str) -> Result<(), String> {
    let parts: bcrypt::HashParts =
        hash.parse().map_err(|_| String::from("the bcrypt hash is malformed"))?;
    match parts.get_cost() {
        4..=BCRYPT_COST_MAX => Ok(()),
        cost => Err(format!("the bcrypt cost {cost} is not within 4 to {BCRYPT_COST_MAX}")),
    }
}

/// Checks `$6$[rounds=N$]salt$hash`, where the hash has `digits` characters.
fn check_sha(hash: &str, digits: usize) -> Result<(), String> {
    let malformed = || String::from("the SHA-crypt hash is malformed");
    let mut fields = hash.split('$').skip(2).peekable();
    if let Some(parameters) = fields.next_if(|field| field.starts_with(ROUNDS)) {
        let rounds: u32 = parameters[ROUNDS.len()..].parse().map_err(|_| malformed())?;
        if !(sha_crypt::Params::ROUNDS_MIN..=SHA_ROUNDS_MAX).contains(&rounds) {
            return Err(format!("{rounds} rounds are not within 1000 to {SHA_ROUNDS_MAX}"));
        }
    }
    let (salt, digest) = (fields.next(), fields.next());
    let sound = PasswordHashRef::new(hash).is_ok()
        && salt.is_some_and(|salt| !salt.is_empty() && salt.len() <= SHA_SALT_BYTES_MAX)
        && digest
            .is_some_and(|digest| digest.len() == digits && digest.bytes().all(is_crypt_digit))
        && fields.next().is_none();
    sound.then_some(()).ok_or_else(malformed)
}

/// crypt(3)'s own Base64 alphabet.
const fn is_crypt_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/')
}

/// The longest password that is looked at. SHA-crypt's work grows with the square of the length.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// The schemes, for messages.
pub(super) const SCHEMES: &str =
    "ARGON2ID, ARGON2I, BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, SCRAM-SHA-256";

const HASH_PREFIXES: [(&str, Scheme); 7] = [
    ("$argon2id$", Scheme::Argon2id),
    ("$argon2i$", Scheme::Argon2i),
    ("$2y$", Scheme::BlfCrypt),
    ("$2b$", Scheme::BlfCrypt),
    ("$2a$", Scheme::BlfCrypt),
    ("$6$", Scheme::Sha512Crypt),
    ("$5$", Scheme::Sha256Crypt),
];
const CLEAR_SCHEMES: [&str; 5] = ["PLAIN", "PLAINTEXT", "CLEAR", "CLEARTEXT", "PLAIN-TRUNC"];
const ANY_CRYPT: &str = "CRYPT";
const ROUNDS: &str = "rounds=";

const ARGON2_MEMORY_KIB_MAX: u32 = 1 << 20;
const ARGON2_PASSES_MAX: u32 = 64;
const ARGON2_LANES_MAX: u32 = 16;
const ARGON2_OUTPUT_BYTES_MIN: usize = 16;
const BCRYPT_COST_MAX: u32 = 16;
const SHA_ROUNDS_MAX: u32 = 5_000_000;
const SHA_SALT_BYTES_MAX: usize = 16;
const SCHEME_CHARS_MAX: usize = 40;

/// bcrypt looks at no more of a password, so a longer one is not hashed with it.
const BCRYPT_BYTES_MAX: usize = 72;
const BCRYPT_COST: u32 = 12;
/// Takes about as long as the other schemes' defaults.
const SHA_ROUNDS: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HORSE: &str = "correct horse";
    const UMLAUTS: &str = "pässwörd €";

    fn check(field: &str, right: &str) {
        let stored = StoredHash::parse(field).unwrap_or_else(|e| panic!("{field}: {e}"));
        assert!(stored.verify(right.as_bytes()), "{field}");
        let (right, longer) = (right.as_bytes(), format!("{right} "));
        for wrong in [&b""[..], b"wrong", &right[1..], &right[..right.len() - 1], longer.as_bytes()]
        {
            assert!(!stored.verify(wrong), "{field} with {wrong:?}");
        }
    }

    /// The hashes were made by glibc's crypt(3) and `openssl passwd`.
    #[test]
    fn hashes_of_crypt_are_understood() {
        for (field, right) in [
            (
                "{SHA512-CRYPT}$6$rounds=10000$abcdefgh$4QtuTRriJ3drZ4BfaTQD7R63rJSGHaht/poPXhZcaUXiAO/1Sq1c5nQsZMCg6WsanGq8pAvH.4NpzJCbVZRjJ1",
                HORSE,
            ),
            (
                "$6$saltsalt12345678$JzpmvHLdh8EGmg6X2AIuLwa5WFNug2jEkAFU/2Au343QyqwDobP.O8VT/miO6c0zN/Gytqo49vos62UzK2Myp.",
                HORSE,
            ),
            (
                "{crypt}$6$x$1raRoi.zl1rnnkUM1lezOIGXITmx6WWetCFzH9EvKJ4fj4r2KiovHeoyQjee816JIIvL4SICyTQWcjsjupL..0",
                UMLAUTS,
            ),
            ("$5$saltsalt12345678$i1Qq2qEmyLpRjqDAuJBXMfiTRE7AwZcaJ.TG3H5UDK9", HORSE),
            (
                "{SHA256-CRYPT}$5$rounds=1000$abcdefgh$hH6K235A1MeexSSMAWLyfg4XjHO9Mq3jzYEpLDBfhJ2",
                UMLAUTS,
            ),
            ("{BLF-CRYPT}$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", HORSE),
            ("$2b$04$abcdefghijklmnopqrstuuKnHl.x1yQ06jW2xtQY6ynPSc7M2jr9G", UMLAUTS),
            ("$2a$04$abcdefghijklmnopqrstuuKnHl.x1yQ06jW2xtQY6ynPSc7M2jr9G", UMLAUTS),
        ] {
            check(field, right);
        }
    }

    /// From the reference implementation's test.c.
    #[test]
    fn hashes_of_argon2_are_understood() {
        let id = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        check(&format!("{{ARGON2ID}}{id}"), "password");
        check(&format!("{{ARGON2ID13}}{id}"), "password");
        check(
            "{argon2i}$argon2i$v=19$m=65536,t=1,p=1$c29tZXNhbHQAAAAAAAAAAA$+r0d29hqEB0yasKr55ZgICsQGSkl0v0kgwhd+U3wyRo",
            "password",
        );
    }

    #[test]
    fn what_is_not_a_hash_is_refused_without_repeating_it() {
        for (field, says) in [
            ("{PLAIN}hunter2", "in clear"),
            ("{plain}hunter2", "{PLAIN}"),
            ("hunter2", "no {SCHEME}"),
            ("", "no {SCHEME}"),
            ("{SSHA}hunter2", "SSHA"),
            ("{\u{1b}[2J}hunter2", r"{\u{1b}[2J}"),
            ("{SHA512-CRYPT", "closing brace"),
            ("{SHA512-CRYPT}hunter2", "begin"),
            (
                "{SHA256-CRYPT}$6$saltsalt12345678$JzpmvHLdh8EGmg6X2AIuLwa5WFNug2jEkAFU/2Au343QyqwDobP.O8VT/miO6c0zN/Gytqo49vos62UzK2Myp.",
                "SHA512-CRYPT",
            ),
            ("$6$salt$short", "malformed"),
            ("$6$rounds=x$salt$short", "malformed"),
            ("$6$rounds=999999999$salt$hunter2", "rounds"),
            ("$5$$SCAp760RlvU0CgD9TQAY9wchWGPvPJ8P8S7gF/3F/S0", "malformed"),
            ("$2y$31$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "cost 31"),
            ("$2x$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "no {SCHEME}"),
            ("$2y$04$hunter2", "malformed"),
            ("$argon2id$hunter2", "malformed"),
            ("{SCRAM-SHA-256}hunter2", "malformed"),
            ("{SCRAM-SHA-256}1,c2FsdA==,hunter2,hunter2", "iterations"),
            ("{SCRAM-SHA-1}4096,hunter2", "SCRAM-SHA-1"),
            ("{CRYPT}4096,c2FsdA==,hunter2,hunter2", "begin"),
            ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ", "malformed"),
            (
                "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
                "costs more",
            ),
        ] {
            let problem = StoredHash::parse(field).err().unwrap_or_else(|| panic!("{field}"));
            assert!(problem.contains(says), "{field}: {problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    proptest::proptest! {
        /// Costs are kept low, so that what happens to be well-formed is checked in no time.
        #[test]
        fn nothing_that_stands_in_a_field_panics(
            start in "(\\{[A-Za-z0-9-]{0,12}\\})?(\\$(6|5|2y|2b|argon2id)\\$)?",
            parameters in "(rounds=1000\\$|04\\$|v=19\\$m=8,t=1,p=1\\$)?",
            rest in "([./A-Za-z0-9]{0,60}\\$?){0,3}|\\PC{0,60}",
        ) {
            if let Ok(stored) = StoredHash::parse(&format!("{start}{parameters}{rest}")) {
                stored.verify(b"x");
                stored.work();
            }
        }
    }

    #[test]
    fn a_fresh_hash_is_read_back() {
        for scheme in [
            Scheme::Argon2id,
            Scheme::Argon2i,
            Scheme::BlfCrypt,
            Scheme::Sha512Crypt,
            Scheme::Sha256Crypt,
            Scheme::ScramSha256,
        ] {
            let field = hash_password(scheme, &Secret::new(HORSE.as_bytes())).unwrap();
            let begins = if scheme == Scheme::ScramSha256 { "100000," } else { "$" };
            assert!(field.starts_with(&format!("{{{scheme}}}{begins}")), "{field}");
            check(&field, HORSE);
            let again = hash_password(scheme, &Secret::new(HORSE.as_bytes())).unwrap();
            assert_ne!(field, again, "the salt is fresh");
        }
    }

    #[test]
    fn a_password_that_a_scheme_would_cut_off_is_not_hashed() {
        for (scheme, length) in
            [(Scheme::BlfCrypt, 73), (Scheme::Argon2id, 1025), (Scheme::Argon2id, 0)]
        {
            let password = Secret::new(vec![b'x'; length]);
            assert!(hash_password(scheme, &password).is_err(), "{scheme} {length}");
        }
    }
}
