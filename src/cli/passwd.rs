//! `tollgate passwd`: a password from the terminal or a pipe, hashed, into a passwd-file or onto standard output.

use super::{CliError, args::Passwd, links, output};
use crate::types::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead, IsTerminal, Read};

/// Reads the password, and prints or stores the line.
pub(super) fn run(args: &Passwd) -> Result<(), CliError> {
    if args.user.as_str().contains(':') {
        return Err(CliError::Usage("a login in a passwd-file cannot hold ':'".into()));
    }
    hash_and_keep(args, &read_password()?)
}

fn hash_and_keep(args: &Passwd, password: &Secret) -> Result<(), CliError> {
    let field = links::hash_password(&args.scheme, password)?;
    match &args.file {
        Some(file) => links::store_password(file, &args.user, &field),
        None => {
            output::print(&format!("{}:{field}\n", args.user));
            Ok(())
        }
    }
}

fn read_password() -> Result<Secret, CliError> {
    if !io::stdin().is_terminal() {
        return read_line(&mut io::stdin().lock());
    }
    let first = ask("Password: ")?;
    let second = ask("Again: ")?;
    if first.expose() == second.expose() {
        Ok(first)
    } else {
        Err(CliError::Failed("the passwords differ".into()))
    }
}

fn ask(prompt: &str) -> Result<Secret, CliError> {
    output::ask(prompt);
    let silence = Silence::begin();
    let password = read_line(&mut io::stdin().lock());
    drop(silence);
    output::ask("\n");
    password
}

/// One line without its end; a password may hold anything else.
fn read_line(input: &mut impl BufRead) -> Result<Secret, CliError> {
    let mut line = Vec::new();
    let wrong = |error| CliError::Failed(format!("read the password: {error}"));
    input.take(PASSWORD_BYTES_MAX + 2).read_until(b'\n', &mut line).map_err(wrong)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    match u64::try_from(line.len()) {
        Ok(0) => Err(CliError::Failed("the password is empty".into())),
        Ok(1..=PASSWORD_BYTES_MAX) => Ok(Secret::new(line)),
        _ => Err(CliError::Failed(format!(
            "the password is longer than {PASSWORD_BYTES_MAX} octets"
        ))),
    }
}

/// While it lives, the terminal does not show what is typed.
struct Silence(Option<Termios>);

impl Silence {
    fn begin() -> Self {
        let Ok(before) = tcgetattr(io::stdin()) else { return Self(None) };
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        Self(tcsetattr(io::stdin(), OptionalActions::Flush, &silent).ok().map(|()| before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Longer than any hash takes (`auth` has its own, smaller bounds).
const PASSWORD_BYTES_MAX: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_password_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        for (user, scheme) in
            [("a@x", "argon2id"), ("b@x", "sha256-crypt"), ("a@x", "sha512-crypt")]
        {
            let (user, scheme) = (user.parse().unwrap(), scheme.to_owned());
            let args = Passwd { user, file: Some(file.clone()), scheme };
            hash_and_keep(&args, &Secret::new(*b"secret")).unwrap();
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let starts: Vec<&str> = text.lines().map(|line| &line[..12]).collect();
        assert_eq!(starts, ["a@x:{SHA512-", "b@x:{SHA256-"]);
        let unknown = Passwd { user: "a@x".parse().unwrap(), file: None, scheme: "rot13".into() };
        assert!(hash_and_keep(&unknown, &Secret::new(*b"secret")).is_err());
    }

    #[test]
    fn a_password_is_one_line() {
        for (input, password) in [
            (&b"secret\n"[..], &b"secret"[..]),
            (b"secret\r\nmore", b"secret"),
            (b" with blanks \xff", b" with blanks \xff"),
        ] {
            assert_eq!(read_line(&mut &input[..]).unwrap().expose(), password);
        }
        for wrong in [&b""[..], b"\n", &[b'x'; 5_000]] {
            assert!(read_line(&mut &wrong[..]).is_err());
        }
    }
}
