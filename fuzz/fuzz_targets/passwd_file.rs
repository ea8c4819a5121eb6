//! Passwd-files. They are used whole or not at all; what is wrong is said with its line and without the hash; a user that
//! stands there twice is a mistake; the challenge to a name is always the same, whether or not it is there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{
    fs::{File, remove_file},
    io::{Seek, Write},
    os::fd::AsRawFd,
    path::PathBuf,
    sync::{LazyLock, Mutex},
};
use tollgate::{
    auth::{Attempt, AuthError, Authenticator, dovecot::protocol::Channel},
    types::Timestamp,
};
use tollgate_fuzz::CONFIG;

/// A file without a name, because only files are read.
static FILE: LazyLock<Mutex<File>> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("tollgate-fuzz-{}", std::process::id()));
    let file = File::create_new(&path).expect("a temporary file");
    remove_file(path).expect("a temporary file can be removed");
    Mutex::new(file)
});

fuzz_target!(|text: &[u8]| {
    let lines = text.split(|&octet| octet == b'\n').count();
    match load(text) {
        Ok(users) => {
            let count = users.users_count();
            assert!(users.scram_users_count() <= count && count <= lines);
            check_challenges(&users, text);
            let more = load(&[text, b"\n\n# a comment\n:x\n"].concat()).expect("nothing was added");
            assert_eq!(more.users_count(), count);
            let twice = load(&[text, b"\n", text].concat());
            assert!(twice.is_err() || count == 0, "each user stands there twice");
        }
        Err(error) => check_error(&error, text, lines),
    }
});

fn load(text: &[u8]) -> Result<Authenticator, AuthError> {
    let mut file = FILE.lock().expect("nobody panics and goes on");
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text)).expect("room");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let mut settings = CONFIG.auth.clone();
    settings.passwd_file = Some(path);
    settings.disguise_file = None;
    Authenticator::new(settings)
}

fn check_challenges(users: &Authenticator, text: &[u8]) {
    let client = "192.0.2.1".parse().expect("an address");
    let first = text.split(|octet| b":\n".contains(octet)).next().unwrap_or_default();
    for login in [&String::from_utf8_lossy(first), "nobody"] {
        let attempt = Attempt { login, client, channel: Channel::Tls, now: Timestamp::EPOCH };
        let challenge = || users.scram_parameters(&attempt).expect("a challenge");
        let (one, other) = (challenge(), challenge());
        assert!(
            (&one.salt, one.iterations) == (&other.salt, other.iterations) && !one.salt.is_empty()
        );
        assert_ne!(one.nonce, other.nonce);
    }
}

fn check_error(error: &AuthError, text: &[u8], lines: usize) {
    let AuthError::Line { number, problem, .. } = error else { panic!("{error}") };
    assert!((1..=lines).contains(number) && !problem.contains(char::is_control), "{error}");
    let line = text.split(|&octet| octet == b'\n').nth(number - 1).unwrap_or_default();
    let mut fields = line.split(|&octet| octet == b':').map(String::from_utf8_lossy);
    let (user, password) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    let secret = password.rsplit('}').next().unwrap_or_default();
    let is_hash = secret.len() >= 12 && secret.contains('$') && !user.contains(secret);
    assert!(!is_hash || !problem.contains(secret), "{problem} shows {secret}");
}
