//! The server's side of AUTH PLAIN (RFC 4616) and AUTH LOGIN (draft-murchison-sasl-login) inside RFC 4954's exchange.
//!
//! It reads credentials out of lines; whether they are right is asked elsewhere. Nothing is logged here, and what was
//! read of a password lives only in the [`LoginRequest`].

use super::server::{LoginRequest, Mechanism};
use crate::types::Secret;
use base64::{Engine, engine::general_purpose::STANDARD};

/// An exchange that waits for the client's next line.
#[derive(Debug)]
pub enum Exchange {
    /// PLAIN's one message.
    Plain,
    /// LOGIN's first message.
    LoginName,
    /// LOGIN's second message.
    LoginPassword {
        /// The first.
        login: String,
    },
}

/// How an exchange goes on.
#[derive(Debug)]
pub enum Step {
    /// Send `334` with this (already in base64) and give the next line to the exchange.
    Challenge(Exchange, &'static str),
    /// Everything is there.
    Done(LoginRequest),
    /// It is over.
    Failed(SaslError),
}

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The client sent `*` (RFC 4954 §4).
    #[error("cancelled by the client")]
    Cancelled,
    /// Not base64, or not what the mechanism says.
    #[error("malformed response")]
    Malformed,
    /// Beyond [`CREDENTIAL_BYTES_MAX`].
    #[error("response too long")]
    TooLong,
}

/// Begins an exchange; `initial` is the initial response in base64, `=` if it is empty (RFC 4954 §4).
#[must_use]
pub fn begin(mechanism: Mechanism, initial: Option<&str>) -> Step {
    let (exchange, challenge) = match mechanism {
        Mechanism::Plain => (Exchange::Plain, ""),
        Mechanism::Login => (Exchange::LoginName, USERNAME),
    };
    match initial {
        None => Step::Challenge(exchange, challenge),
        Some("=") => exchange.respond(b""),
        Some(response) => exchange.respond(response.as_bytes()),
    }
}

impl Exchange {
    /// Goes on with the client's next line, without its CRLF.
    #[must_use]
    pub fn respond(self, line: &[u8]) -> Step {
        if line == b"*" {
            return Step::Failed(SaslError::Cancelled);
        }
        match STANDARD.decode(line) {
            Ok(octets) => self.take(&octets).unwrap_or_else(Step::Failed),
            Err(_) => Step::Failed(SaslError::Malformed),
        }
    }

    fn take(self, octets: &[u8]) -> Result<Step, SaslError> {
        match self {
            Self::Plain => plain(octets).map(Step::Done),
            Self::LoginName => {
                let login = name(octets)?;
                Ok(Step::Challenge(Self::LoginPassword { login }, PASSWORD))
            }
            Self::LoginPassword { login } => {
                let password = password(octets)?;
                let mechanism = Mechanism::Login;
                Ok(Step::Done(LoginRequest { mechanism, authorization: None, login, password }))
            }
        }
    }
}

/// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`.
fn plain(octets: &[u8]) -> Result<LoginRequest, SaslError> {
    let mut parts = octets.splitn(3, |&byte| byte == 0);
    let mut next = || parts.next().ok_or(SaslError::Malformed);
    let (authorization, login, secret) = (next()?, next()?, next()?);
    let authorization = if authorization.is_empty() { None } else { Some(name(authorization)?) };
    Ok(LoginRequest {
        mechanism: Mechanism::Plain,
        authorization,
        login: name(login)?,
        password: password(secret)?,
    })
}

fn name(octets: &[u8]) -> Result<String, SaslError> {
    check_credential(octets)?;
    let text = str::from_utf8(octets).map_err(|_| SaslError::Malformed)?;
    if text.chars().any(char::is_control) { Err(SaslError::Malformed) } else { Ok(text.to_owned()) }
}

fn password(octets: &[u8]) -> Result<Secret, SaslError> {
    check_credential(octets).map(|()| Secret::new(octets))
}

/// RFC 4616 §2: at least one character, none of them NUL.
fn check_credential(octets: &[u8]) -> Result<(), SaslError> {
    match octets.len() {
        0 => Err(SaslError::Malformed),
        1..=CREDENTIAL_BYTES_MAX if octets.contains(&0) => Err(SaslError::Malformed),
        1..=CREDENTIAL_BYTES_MAX => Ok(()),
        _ => Err(SaslError::TooLong),
    }
}

/// The longest login or password; RFC 4616 §2 wants at least 255 octets.
pub const CREDENTIAL_BYTES_MAX: usize = 1024;
/// `Username:` in base64, as every client expects it.
const USERNAME: &str = "VXNlcm5hbWU6";
/// `Password:` in base64.
const PASSWORD: &str = "UGFzc3dvcmQ6";

#[cfg(test)]
mod tests {
    use super::*;

    /// What an exchange came to: the challenges and the credentials, or the error.
    fn run(mechanism: Mechanism, initial: Option<&str>, lines: &[&str]) -> String {
        let mut seen = String::new();
        let mut step = begin(mechanism, initial);
        let mut lines = lines.iter();
        loop {
            step = match step {
                Step::Challenge(exchange, challenge) => {
                    seen += &format!("{challenge}? ");
                    match lines.next() {
                        Some(line) => exchange.respond(line.as_bytes()),
                        None => return seen,
                    }
                }
                Step::Done(LoginRequest { authorization, login, password, .. }) => {
                    let authorization = authorization.unwrap_or_default();
                    let password = String::from_utf8_lossy(password.expose()).into_owned();
                    return format!("{seen}{authorization}|{login}|{password}");
                }
                Step::Failed(error) => return format!("{seen}{error:?}"),
            }
        }
    }

    fn check(mechanism: Mechanism, initial: Option<&str>, lines: &[&str], expected: &str) {
        assert_eq!(run(mechanism, initial, lines), expected, "{initial:?} {lines:?}");
    }

    #[test]
    fn plain_is_one_message() {
        let plain = |text: &str| STANDARD.encode(text);
        for (text, expected) in [
            ("\0user\0secret", "|user|secret"),
            ("admin\0user\0se cret", "admin|user|se cret"),
            ("\0üser\0pässword", "|üser|pässword"),
            ("", "Malformed"),
            ("user", "Malformed"),
            ("\0user", "Malformed"),
            ("\0\0secret", "Malformed"),
            ("\0user\0", "Malformed"),
            ("\0user\0a\0b", "Malformed"),
            ("\0us\ner\0a", "Malformed"),
        ] {
            check(Mechanism::Plain, Some(&plain(text)), &[], expected);
            check(Mechanism::Plain, None, &[&plain(text)], &format!("? {expected}"));
        }
        check(Mechanism::Plain, None, &["*"], "? Cancelled");
        check(Mechanism::Plain, Some("="), &[], "Malformed");
        check(Mechanism::Plain, Some("AHVzZXIAc2VjcmV0 "), &[], "Malformed");
        check(Mechanism::Plain, Some("AHVzZXIAc2VjcmV0="), &[], "Malformed");
        check(Mechanism::Plain, Some("AHVzZXIAc2VjcmU"), &[], "Malformed");
        check(
            Mechanism::Plain,
            Some(&plain(&format!("\0u\0{}", "x".repeat(1025)))),
            &[],
            "TooLong",
        );
    }

    #[test]
    fn login_is_two_messages() {
        check(
            Mechanism::Login,
            None,
            &["dXNlcg==", "c2VjcmV0"],
            "VXNlcm5hbWU6? UGFzc3dvcmQ6? |user|secret",
        );
        check(Mechanism::Login, Some("dXNlcg=="), &["c2VjcmV0"], "UGFzc3dvcmQ6? |user|secret");
        check(Mechanism::Login, Some("dXNlcg=="), &["*"], "UGFzc3dvcmQ6? Cancelled");
        check(Mechanism::Login, None, &[""], "VXNlcm5hbWU6? Malformed");
        check(Mechanism::Login, Some("dXNlcg=="), &[""], "UGFzc3dvcmQ6? Malformed");
        check(Mechanism::Login, Some("dXMAZXI="), &[], "Malformed");
        check(Mechanism::Login, Some("/w=="), &[], "Malformed");
    }
}
