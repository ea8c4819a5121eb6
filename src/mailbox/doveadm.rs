//! Asks a Dovecot how much its users' mailboxes hold, by doveadm's HTTP API
//! (<https://doc.dovecot.org/2.3/admin_manual/doveadm_http_api/>), command `quotaGet`.
//!
//! Dovecot tells storage in KiB, rounded up, so a figure from here is up to 1,023 octets more than there is. A user that it does not know has no mailbox. Each
//! answer has its time; a Dovecot that gives none to [`FAILURES_MAX`] users one after another is not asked about the rest.

use super::{Found, How};
use crate::{
    dial::{self, Target},
    rules::quota::Usage,
    types::{AccountId, Secret},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Client,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::mpsc::Sender;

/// Which Dovecot, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoveadmSettings {
    /// Where its HTTP listener is.
    pub url: Target,
    /// What it knows us by.
    pub credential: Credential,
    /// Who vouches for its certificate, where that is nobody that the system knows.
    pub tls_ca: Option<PathBuf>,
    /// How long one answer may take.
    pub timeout: Duration,
}

/// What a Dovecot knows us by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Its `doveadm_api_key`.
    Key(Secret),
    /// Its `doveadm_password`.
    Password(Secret),
}

/// A Dovecot.
pub struct Doveadm {
    settings: DoveadmSettings,
    client: Client,
    authorization: HeaderValue,
}

/// Why there is no figure.
enum Silence {
    /// It was not reached, or is no doveadm, or does not know us: it is so for all users.
    OfAll(String),
    /// It is so for this one.
    OfOne(String),
}

impl Doveadm {
    /// One that can be asked.
    ///
    /// # Errors
    /// What is wrong with its settings.
    pub fn new(settings: DoveadmSettings, tls: &ClientConfig) -> Result<Self, String> {
        let client = dial::client(tls, settings.timeout, 1)?;
        let authorization = settings.credential.header().ok_or("the key is no text")?;
        Ok(Self { settings, client, authorization })
    }

    pub(super) fn name(&self) -> String {
        self.settings.url.to_string()
    }

    /// Asks about each of these, one after another.
    pub(super) async fn ask_all(
        self: Arc<Self>,
        accounts: Vec<AccountId>,
        found: Sender<(AccountId, Found)>,
    ) {
        let mut failures = 0;
        for account in accounts {
            let answer = match self.ask(&account).await {
                _ if failures >= FAILURES_MAX => return,
                Ok(answer) => {
                    failures = 0;
                    answer
                }
                Err(Silence::OfOne(why)) => Found::Failed(why),
                Err(Silence::OfAll(why)) => {
                    failures += 1;
                    Found::Failed(why)
                }
            };
            if found.send((account, answer)).await.is_err() {
                return;
            }
        }
    }

    async fn ask(&self, account: &AccountId) -> Result<Found, Silence> {
        let of_all = |error: reqwest::Error| Silence::OfAll(dial::told(&error));
        let question = json!([["quotaGet", { "user": account.as_str() }, TAG]]);
        let request = self
            .client
            .post(self.settings.url.with_path("/doveadm/v1"))
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(question.to_string());
        let mut response = request.send().await.map_err(of_all)?;
        if !response.status().is_success() {
            return Err(Silence::OfAll(format!("answered {}", response.status())));
        }
        let mut octets = Vec::new();
        while let Some(more) = response.chunk().await.map_err(of_all)? {
            octets.extend_from_slice(&more);
            if octets.len() > ANSWER_BYTES_MAX {
                return Err(Silence::OfAll("the answer is too long".into()));
            }
        }
        read(&octets)
    }
}

impl Credential {
    fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::Key(key) => format!("X-Dovecot-API {}", STANDARD.encode(key.expose())),
            Self::Password(password) => {
                let login = [&b"doveadm:"[..], password.expose()].concat();
                format!("Basic {}", STANDARD.encode(login))
            }
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Reads `[["doveadmResponse",[{"root":"…","type":"STORAGE","value":"4",…},…],"tag"]]`, or `[["error",{…},"tag"]]`.
fn read(octets: &[u8]) -> Result<Found, Silence> {
    let nonsense = || Silence::OfAll(String::from("the answer is not doveadm's"));
    let answer: Value = serde_json::from_slice(octets).map_err(|_| nonsense())?;
    let said = &answer[0][1];
    match answer[0][0].as_str() {
        Some("doveadmResponse") => {
            let usage = usage_in(said.as_array().ok_or_else(nonsense)?);
            usage.map_or_else(
                || Err(Silence::OfOne("no quota is counted there (Dovecot's quota plugin)".into())),
                |usage| Ok(Found::Holds(usage, How::Doveadm)),
            )
        }
        Some("error") if said["exitCode"].as_i64() == Some(NO_SUCH_USER) => {
            Ok(Found::Nothing { is_gone: true })
        }
        Some("error") => Err(Silence::OfOne(shortened(&format!("doveadm said {said}")))),
        _ => Err(nonsense()),
    }
}

/// What the quota roots say that hold most: each counts what it counts, so the sum would count mail twice.
fn usage_in(roots: &[Value]) -> Option<Usage> {
    let most = |kind: &str| {
        let of_kind = roots.iter().filter(|root| root["type"].as_str() == Some(kind));
        of_kind.filter_map(|root| number(&root["value"])).max()
    };
    Some(Usage { bytes: most("STORAGE")?.checked_mul(1_024)?, files: most("MESSAGE")? })
}

fn number(value: &Value) -> Option<u64> {
    value.as_str().map_or_else(|| value.as_u64(), |text| text.parse().ok())
}

fn shortened(text: &str) -> String {
    text.chars().take(WORDS_CHARS_MAX).collect()
}

const TAG: &str = "tollgate";
/// `EX_NOUSER` (sysexits.h).
const NO_SUCH_USER: i64 = 67;
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const WORDS_CHARS_MAX: usize = 300;
/// Users in a row about whom there is no answer.
const FAILURES_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<Found, String> {
        read(text.as_bytes()).map_err(|silence| match silence {
            Silence::OfAll(why) => format!("all: {why}"),
            Silence::OfOne(why) => format!("one: {why}"),
        })
    }

    #[test]
    fn an_answer_is_read() {
        let root = |kind: &str, value: &str| {
            format!(
                r#"{{"root":"User quota","type":"{kind}","value":{value},"limit":"-","percent":"0"}}"#
            )
        };
        let answer = |roots: &[String]| {
            said(&format!(r#"[["doveadmResponse",[{}],"tollgate"]]"#, roots.join(",")))
        };
        let holds = |bytes, files| Ok(Found::Holds(Usage { bytes, files }, How::Doveadm));
        assert_eq!(answer(&[root("STORAGE", "\"3\""), root("MESSAGE", "\"2\"")]), holds(3_072, 2));
        assert_eq!(answer(&[root("STORAGE", "3"), root("MESSAGE", "2")]), holds(3_072, 2));
        let two = [
            ("STORAGE", "\"3\""),
            ("MESSAGE", "\"2\""),
            ("STORAGE", "\"9\""),
            ("MESSAGE", "\"1\""),
        ];
        assert_eq!(answer(&two.map(|(kind, value)| root(kind, value))), holds(9_216, 2));
        let none = answer(&[]).unwrap_err();
        assert!(none.starts_with("one: no quota"), "{none}");
        let absurd = answer(&[root("STORAGE", "\"18446744073709551615\""), root("MESSAGE", "1")]);
        assert!(absurd.is_err());
    }

    #[test]
    fn who_is_not_known_there_has_no_mailbox_and_other_failures_are_no_zero() {
        let error = |code: i64| {
            said(&format!(r#"[["error",{{"type":"exitCode","exitCode":{code}}},"tollgate"]]"#))
        };
        assert_eq!(error(67), Ok(Found::Nothing { is_gone: true }));
        assert!(error(75).unwrap_err().starts_with("one: doveadm said"));
        for nonsense in ["", "{}", "[]", "[[\"doveadmResponse\",{},\"x\"]]", "null", "[[1]]"] {
            assert!(said(nonsense).unwrap_err().starts_with("all: "), "{nonsense}");
        }
    }

    #[test]
    fn a_credential_is_told_as_dovecot_wants_it_and_never_printed() {
        let key = Credential::Key(Secret::new(*b"secret"));
        assert_eq!(key.header().unwrap(), "X-Dovecot-API c2VjcmV0");
        let password = Credential::Password(Secret::new(*b"secret"));
        assert_eq!(password.header().unwrap(), "Basic ZG92ZWFkbTpzZWNyZXQ=");
        assert!(!format!("{key:?} {:?}", password.header()).contains("c2Vj"));
    }
}
