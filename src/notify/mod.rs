//! Telling people and programs outside: webhooks, Alertmanager, and letters.
//!
//! Each receiver is a file with its form and its way; nothing here decides who is told, and nothing is kept: whoever calls
//! tries again. HTTP goes out without redirects, proxies and cookies, with time-outs, and of an answer no more is read than an
//! error message needs. A [`Letter`] is composed here and handed on by others.

mod alertmanager;
mod http;
mod letter;
mod payload;
mod webhook;

pub use alertmanager::{Alertmanager, AlertmanagerSettings};
pub use http::{Target, TargetError};
pub use letter::{Letter, LetterError, alert_letter};
pub use payload::payload;
pub use webhook::{Webhook, WebhookSettings, signature};

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
