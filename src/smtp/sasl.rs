//! The server's side of AUTH PLAIN (RFC 4616), AUTH LOGIN (draft-murchison-sasl-login) and AUTH SCRAM-SHA-256 (RFC 7677; its
//! messages are [`super::scram`]'s) inside RFC 4954's exchange.
//!
//! It reads credentials out of lines; whether they are right is asked elsewhere. Nothing is logged here, and what was
//! read of a password lives only in the [`LoginRequest`].

use super::{
    scram::{Challenged, ClientFirst, KEY_BYTES, ScramParameters, server_final},
    server::{Credential, LoginRequest, Mechanism},
};
use crate::types::Secret;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::borrow::Cow;

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
    /// SCRAM's first message.
    ScramFirst,
    /// SCRAM's second message.
    ScramFinal(Box<Challenged>),
    /// The empty response to the server's own proof (RFC 4954 §4: success is told by the reply alone).
    ScramEnd,
}

/// How an exchange goes on.
#[derive(Debug)]
pub enum Step {
    /// Send `334` with this (already in base64) and give the next line to the exchange.
    Challenge(Exchange, Cow<'static, str>),
    /// Find out what SCRAM's challenge needs and go on with [`challenge_scram`].
    Salt(Box<ClientFirst>),
    /// Everything is there.
    Done(LoginRequest),
    /// The client believes us, too: the login that was found right holds.
    Confirmed,
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
    /// The client insists on channel binding (RFC 5802 §6), which is not offered.
    #[error("channel binding is not offered")]
    ChannelBinding,
}

/// Begins an exchange; `initial` is the initial response in base64, `=` if it is empty (RFC 4954 §4).
#[must_use]
pub fn begin(mechanism: Mechanism, initial: Option<&str>) -> Step {
    let (exchange, challenge) = match mechanism {
        Mechanism::Plain => (Exchange::Plain, ""),
        Mechanism::Login => (Exchange::LoginName, USERNAME),
        Mechanism::ScramSha256 => (Exchange::ScramFirst, ""),
    };
    match initial {
        None => Step::Challenge(exchange, challenge.into()),
        Some("=") => exchange.respond(b""),
        Some(response) => exchange.respond(response.as_bytes()),
    }
}

/// Goes on with what SCRAM's challenge needed.
#[must_use]
pub fn challenge_scram(first: ClientFirst, parameters: &ScramParameters) -> Step {
    let (challenged, message) = first.challenge(parameters);
    Step::Challenge(Exchange::ScramFinal(Box::new(challenged)), message.into())
}

/// Goes on after the client's proof was found right: tells ours.
#[must_use]
pub fn prove_scram(signature: &[u8; KEY_BYTES]) -> Step {
    Step::Challenge(Exchange::ScramEnd, server_final(signature).into())
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
                Ok(Step::Challenge(Self::LoginPassword { login }, PASSWORD.into()))
            }
            Self::LoginPassword { login } => {
                let (mechanism, credential) = (Mechanism::Login, password(octets)?);
                Ok(Step::Done(LoginRequest { mechanism, authorization: None, login, credential }))
            }
            Self::ScramFirst => ClientFirst::parse(octets).map(|first| Step::Salt(Box::new(first))),
            Self::ScramFinal(challenged) => challenged.finish(octets).map(Step::Done),
            Self::ScramEnd if octets.is_empty() => Ok(Step::Confirmed),
            Self::ScramEnd => Err(SaslError::Malformed),
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
        credential: password(secret)?,
    })
}

fn name(octets: &[u8]) -> Result<String, SaslError> {
    check_credential(octets)?;
    let text = str::from_utf8(octets).map_err(|_| SaslError::Malformed)?;
    if text.chars().any(char::is_control) { Err(SaslError::Malformed) } else { Ok(text.to_owned()) }
}

fn password(octets: &[u8]) -> Result<Credential, SaslError> {
    check_credential(octets).map(|()| Credential::Password(Secret::new(octets)))
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
                Step::Done(LoginRequest { authorization, login, credential, .. }) => {
                    let authorization = authorization.unwrap_or_default();
                    let secret = match credential {
                        Credential::Password(password) => {
                            String::from_utf8_lossy(password.expose()).into_owned()
                        }
                        Credential::Scram(_) => return format!("{seen}{authorization}|{login}|…"),
                    };
                    return format!("{seen}{authorization}|{login}|{secret}");
                }
                Step::Salt(first) => {
                    let (nonce, salt) = ("srv".to_owned(), b"salt".to_vec());
                    challenge_scram(*first, &ScramParameters { nonce, salt, iterations: 4096 })
                }
                Step::Confirmed => return format!("{seen}confirmed"),
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

    #[test]
    fn scram_is_two_messages_and_an_empty_one() {
        let scram = Mechanism::ScramSha256;
        let first = STANDARD.encode("n,,n=user,r=cli");
        let challenge = STANDARD.encode("r=clisrv,s=c2FsdA==,i=4096");
        let proof = STANDARD.encode([7; KEY_BYTES]);
        let last = STANDARD.encode(format!("c=biws,r=clisrv,p={proof}"));
        check(scram, Some(&first), &[&last], &format!("{challenge}? |user|…"));
        check(scram, None, &[&first, &last], &format!("? {challenge}? |user|…"));
        check(scram, None, &["*"], "? Cancelled");
        check(scram, Some(&first), &["*"], &format!("{challenge}? Cancelled"));
        check(scram, Some(&first), &[""], &format!("{challenge}? Malformed"));
        check(scram, Some(&first), &[&first], &format!("{challenge}? Malformed"));
        check(scram, Some("="), &[], "Malformed");
        check(scram, Some(&STANDARD.encode("p=x,,n=user,r=cli")), &[], "ChannelBinding");

        let Step::Challenge(_, message) = prove_scram(&[7; KEY_BYTES]) else { panic!("no proof") };
        assert_eq!(message, STANDARD.encode(format!("v={proof}")));
        for (line, error) in [
            (&b""[..], None),
            (b"=", Some(SaslError::Malformed)),
            (b"AAAA", Some(SaslError::Malformed)),
            (b"*", Some(SaslError::Cancelled)),
        ] {
            match (Exchange::ScramEnd.respond(line), error) {
                (Step::Confirmed, None) => {}
                (Step::Failed(got), Some(wanted)) => assert_eq!(got, wanted),
                (got, wanted) => panic!("{got:?} instead of {wanted:?}"),
            }
        }
    }

    #[test]
    fn base64_has_one_form() {
        // RFC 4648 §3: no line feeds, blanks or foreign letters, padding where it belongs, no bits left over.
        for response in [
            "AHVzZXIAc2VjcmV0 ",
            " AHVzZXIAc2VjcmV0",
            "AHVzZXIA c2VjcmV0",
            "AHVzZXIAc2VjcmV0\t",
            "AHVzZXIAc2VjcmV0=",
            "AHVzZXIAc2VjcmV0====",
            "AHVzZXIAcA",
            "AHVzZXIAcA=",
            "AHVzZXIAcA===",
            "AHVzZXIAcB==",
            "AHVzZXIAcA==AA==",
            "AHVz=ZXIAcA=",
            "AHVzZXIAc2VjcmV-",
            "AHVzZXIAc2VjcmV_",
            "AHVzZXIAc2Vjcm\u{e9}",
            "**",
            "==",
            "====",
        ] {
            check(Mechanism::Plain, None, &[response], "? Malformed");
            check(Mechanism::Plain, Some(response), &[], "Malformed");
        }
        check(Mechanism::Plain, None, &["AHVzZXIAcA=="], "? |user|p");
    }
}
