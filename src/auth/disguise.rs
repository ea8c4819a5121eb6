//! What a user that does not exist looks like: always the same, and like one that does.
//!
//! An attacker who sees that a name's salt changes between two attempts, or that all unknown names take as long as bcrypt
//! while a known one takes as long as Argon2, knows who exists. So whatever an unknown user needs is drawn from its name with
//! a key of this installation, which is kept in the state directory so that a restart does not give it away either.

use super::AuthError;
use crate::types::AccountId;
use ring::hmac;
use std::{
    fs::OpenOptions,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Draws what unknown users look like.
pub(super) struct Disguise(hmac::Key);

/// What is drawn.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Whose scheme and cost is used.
    Work,
    /// The salt of SCRAM's challenge.
    Salt,
    /// What stands for a stored password.
    Mark,
}

impl Disguise {
    /// With the key in this file, which is made if it is missing; without a file with a key of this process's own.
    pub(super) fn open(file: Option<&Path>) -> Result<Self, AuthError> {
        let Some(path) = file else { return fresh_key().map(|key| Self::with(&key)) };
        let written = |source| AuthError::Write { path: path.to_owned(), source };
        match write_key(path, &fresh_key()?) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(written(error)),
            _ => {
                let failed = |source| AuthError::Read { path: path.to_owned(), source };
                read_key(path).map(|key| Self::with(&key)).map_err(failed)
            }
        }
    }

    fn with(key: &[u8; KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Octets that are always the same for this name and cannot be told from random ones without the key.
    pub(super) fn draw(&self, purpose: Purpose, account: &AccountId) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[purpose as u8]);
        context.update(account.as_str().as_bytes());
        let tag = context.sign();
        *tag.as_ref().first_chunk().expect("an HMAC-SHA-256 has 32 octets")
    }

    /// What stands for a stored password: the same as long as that stays, and nothing that it could be guessed from without the key.
    pub(super) fn mark(&self, stored: &[u8]) -> u64 {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[Purpose::Mark as u8]);
        context.update(stored);
        let tag = context.sign();
        let octets = tag.as_ref().first_chunk().expect("an HMAC-SHA-256 has 32 octets");
        u64::from_be_bytes(*octets)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn draw_below(&self, purpose: Purpose, account: &AccountId, end: usize) -> usize {
        let octets = self.draw(purpose, account);
        let number = u64::from_be_bytes(*octets.first_chunk().expect("there are 32"));
        // The remainder is below `end`, so it fits.
        usize::try_from(number % end.max(1) as u64).unwrap_or(0)
    }
}

fn fresh_key() -> Result<[u8; KEY_BYTES], AuthError> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| AuthError::Hashing(error.to_string()))?;
    Ok(key)
}

fn write_key(path: &Path, key: &[u8; KEY_BYTES]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key)?;
    file.sync_all()
}

fn read_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    OpenOptions::new().read(true).open(path)?.read_exact(&mut key)?;
    Ok(key)
}

const KEY_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::MetadataExt};

    #[test]
    fn a_name_looks_the_same_after_a_restart_and_different_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let draw = |file: Option<&str>, purpose, name: &str| {
            let file = file.map(|name| folder.path().join(name));
            Disguise::open(file.as_deref()).unwrap().draw(purpose, &name.parse().unwrap())
        };
        let ann = draw(Some("here"), Purpose::Salt, "ann");
        assert_eq!(ann, draw(Some("here"), Purpose::Salt, "Ann"));
        for other in [
            draw(Some("there"), Purpose::Salt, "ann"),
            draw(None, Purpose::Salt, "ann"),
            draw(Some("here"), Purpose::Work, "ann"),
            draw(Some("here"), Purpose::Salt, "bob"),
        ] {
            assert_ne!(ann, other);
        }
        assert_eq!(fs::metadata(folder.path().join("here")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_cannot_be_kept_or_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let short = folder.path().join("short");
        fs::write(&short, "too short").unwrap();
        assert!(matches!(Disguise::open(Some(&short)), Err(AuthError::Read { .. })));
        let nowhere = folder.path().join("none/key");
        assert!(matches!(Disguise::open(Some(&nowhere)), Err(AuthError::Write { .. })));
    }
}
