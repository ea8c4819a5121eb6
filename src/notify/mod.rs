//! Telling people and programs outside: webhooks, Alertmanager, and letters.
//!
//! Each receiver is a file with its form and its way; nothing here decides who is told, and nothing is kept: whoever calls
//! tries again. Of an answer no more is read than an error message needs. A [`Letter`] is composed here and handed on by others.

mod alertmanager;
mod letter;
mod payload;
mod webhook;

pub use alertmanager::{Alertmanager, AlertmanagerSettings};
pub use letter::{Letter, LetterError, alert_letter};
pub use payload::payload;
pub use webhook::{Webhook, WebhookSettings, signature};

use crate::dial::told;
use reqwest::{RequestBuilder, StatusCode};

/// Why something was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    /// The receiver does not take this message; others may pass.
    #[error("{0}")]
    Refused(String),
    /// The receiver cannot be reached or does not work.
    #[error("{0}")]
    Unavailable(String),
    /// It can never be sent as it is configured.
    #[error("{0}")]
    Setup(String),
}

/// Sends; anything but a 2xx is an error, and whose fault follows from the status.
async fn send(request: RequestBuilder) -> Result<(), NotifyError> {
    let unavailable = |error: reqwest::Error| NotifyError::Unavailable(told(&error.without_url()));
    let mut answer = request.send().await.map_err(unavailable)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let mut text = Vec::new();
    while text.len() < ANSWER_BYTES_SHOWN_MAX
        && let Ok(Some(piece)) = answer.chunk().await
    {
        text.extend_from_slice(&piece);
    }
    text.truncate(ANSWER_BYTES_SHOWN_MAX);
    let detail = format!("it answered {status}: {}", String::from_utf8_lossy(&text).trim());
    Err(if is_about_the_message(status) {
        NotifyError::Refused(detail)
    } else {
        NotifyError::Unavailable(detail)
    })
}

/// True of a status that speaks of this message; others pass, or say that nobody is there or that the way in is wrong, which is
/// so for every message.
fn is_about_the_message(status: StatusCode) -> bool {
    let is_about_all = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
    );
    status.is_client_error() && !is_about_all
}

/// How much of an answer an error repeats.
const ANSWER_BYTES_SHOWN_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_speaks_of_the_message_or_of_the_receiver() {
        for (status, of_the_message) in [
            (400, true),
            (413, true),
            (422, true),
            (401, false),
            (404, false),
            (429, false),
            (500, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_about_the_message(status), of_the_message, "{status}");
        }
    }
}
