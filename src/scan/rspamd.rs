//! Rspamd: one request for each message, as <https://docs.rspamd.com/developers/protocol/> describes it.

use super::{About, Failure, SetupError};
use crate::{
    dial::{Target, client, told},
    event::{SPAM_SYMBOLS_MAX, SpamAction, SpamOpinion},
};
use bytes::{Bytes, BytesMut};
use reqwest::{Client, RequestBuilder, Response, header::HeaderValue};
use rustls::ClientConfig;
use serde::Deserialize;
use std::{collections::HashMap, path::PathBuf, time::Duration};

/// Where Rspamd is and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its normal worker, without `/checkv2`.
    pub url: Target,
    /// PEM file of the authorities that vouch for it; none: the system's.
    pub tls_ca: Option<PathBuf>,
    /// Wait for its answer.
    pub timeout: Duration,
}

/// A Rspamd that can be asked.
pub(super) struct Rspamd {
    client: Client,
    url: reqwest::Url,
}

impl Rspamd {
    pub(super) fn new(settings: &Settings, tls: &ClientConfig) -> Result<Self, SetupError> {
        let client = client(tls, settings.timeout, IDLE_CONNECTIONS_MAX).map_err(SetupError)?;
        Ok(Self { client, url: settings.url.with_path("/checkv2") })
    }

    pub(super) async fn ask(&self, text: Bytes, about: &About<'_>) -> Result<SpamOpinion, Failure> {
        let request = with_envelope(self.client.post(self.url.clone()), about).body(text);
        let down = |error: reqwest::Error| Failure::Down(told(&error.without_url()));
        let answer = request.send().await.map_err(down)?;
        let status = answer.status();
        if status.is_client_error() {
            return Err(Failure::Declined(format!("it answered {status}")));
        }
        if !status.is_success() {
            return Err(Failure::Down(format!("it answered {status}")));
        }
        read(&body(answer).await?)
    }
}

fn with_envelope(request: RequestBuilder, about: &About<'_>) -> RequestBuilder {
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).ok();
    let mut fields = vec![
        ("IP", value(&about.client.to_string())),
        ("From", value(about.sender)),
        ("Queue-Id", value(about.id)),
        ("User", about.user.and_then(value)),
        ("Helo", about.helo.and_then(value)),
    ];
    fields.extend(about.recipients.iter().take(RECIPIENTS_MAX).map(|to| ("Rcpt", value(to))));
    let given = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    given.fold(request, |request, (name, value)| request.header(name, value))
}

async fn body(mut answer: Response) -> Result<BytesMut, Failure> {
    let mut body = BytesMut::new();
    loop {
        let chunk = answer.chunk().await;
        let chunk = chunk.map_err(|error| Failure::Down(told(&error.without_url())))?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Failure::Declined("its answer is too long".into()));
        }
        body.extend_from_slice(&chunk);
    }
}

#[derive(Deserialize)]
struct Answer {
    score: f64,
    required_score: f64,
    action: String,
    #[serde(default)]
    symbols: HashMap<String, Symbol>,
}

#[derive(Deserialize)]
struct Symbol {
    #[serde(default)]
    score: f64,
}

fn read(body: &[u8]) -> Result<SpamOpinion, Failure> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| Failure::Declined(format!("its answer is not understood: {error}")))?;
    Ok(SpamOpinion {
        score: answer.score,
        required: answer.required_score,
        action: action(&answer.action),
        symbols: weightiest(answer.symbols),
    })
}

/// Greylisting is for strangers' mail.
fn action(name: &str) -> SpamAction {
    match name {
        "reject" => SpamAction::Refuse,
        "soft reject" => SpamAction::Defer,
        "add header" | "rewrite subject" => SpamAction::Mark,
        _ => SpamAction::Pass,
    }
}

/// Those that count most for spam, and only those that count at all.
fn weightiest(symbols: HashMap<String, Symbol>) -> Vec<String> {
    let mut counted: Vec<(String, f64)> =
        symbols.into_iter().map(|(name, symbol)| (name, symbol.score)).collect();
    counted.retain(|(name, score)| *score > 0.0 && name.len() <= SYMBOL_BYTES_MAX);
    counted.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counted.truncate(SPAM_SYMBOLS_MAX);
    counted.into_iter().map(|(name, _)| name).collect()
}

const IDLE_CONNECTIONS_MAX: usize = 16;
const RECIPIENTS_MAX: usize = 100;
const ANSWER_BYTES_MAX: usize = 1 << 20;
const SYMBOL_BYTES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opinion_has_the_symbols_that_count_most() {
        let symbols: Vec<String> =
            (0..30).map(|n| format!(r#""S{n:02}":{{"score":{}}}"#, n - 5)).collect();
        let text = format!(
            r#"{{"is_skipped":false,"score":7.5,"required_score":15.0,"action":"add header",
                "symbols":{{{},"LONG{}":{{"score":99.0}},"NONE":{{}}}},"messages":{{}}}}"#,
            symbols.join(","),
            "x".repeat(200)
        );
        let opinion = read(text.as_bytes()).unwrap();
        assert_eq!((opinion.score, opinion.required), (7.5, 15.0));
        assert_eq!(opinion.action, SpamAction::Mark);
        assert_eq!(opinion.symbols.len(), SPAM_SYMBOLS_MAX);
        assert_eq!((&*opinion.symbols[0], &*opinion.symbols[9]), ("S29", "S20"));
    }

    #[test]
    fn actions_are_rspamds_own() {
        for (name, wanted) in [
            ("no action", SpamAction::Pass),
            ("greylist", SpamAction::Pass),
            ("add header", SpamAction::Mark),
            ("rewrite subject", SpamAction::Mark),
            ("soft reject", SpamAction::Defer),
            ("reject", SpamAction::Refuse),
            ("an operator's own", SpamAction::Pass),
        ] {
            assert_eq!(action(name), wanted, "{name}");
        }
    }

    #[test]
    fn what_is_no_opinion_is_declined() {
        for body in ["", "{}", "[]", r#"{"score":"much"}"#, "<html>"] {
            assert!(matches!(read(body.as_bytes()), Err(Failure::Declined(_))), "{body}");
        }
    }
}
