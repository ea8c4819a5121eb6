//! A webhook: each message a POST of JSON, signed so that its receiver can tell it from anybody else's.

use super::{NotifyError, payload, send};
use crate::dial::{Target, client};
use crate::{
    rules::alarm::{Audience, Notice},
    types::{Secret, Timestamp},
};
use reqwest::{Client, header::CONTENT_TYPE};
use ring::hmac;
use rustls::ClientConfig;
use std::{fmt::Write as _, time::Duration};

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: Target,
    /// What messages are signed with; none: they are not.
    pub secret: Option<Secret>,
    /// What it wants to hear of.
    pub audience: Audience,
    /// Wait for its answer.
    pub timeout: Duration,
}

/// A webhook that can be called.
pub struct Webhook {
    settings: WebhookSettings,
    client: Client,
}

impl Webhook {
    /// Prepares the way.
    ///
    /// # Errors
    /// [`NotifyError::Setup`] if TLS cannot be set up.
    pub fn new(settings: WebhookSettings, tls: &ClientConfig) -> Result<Self, NotifyError> {
        let client = client(tls, settings.timeout, 1).map_err(NotifyError::Setup)?;
        Ok(Self { settings, client })
    }

    /// What it wants to hear of.
    #[must_use]
    pub const fn audience(&self) -> &Audience {
        &self.settings.audience
    }

    /// Sends a message, which the gate of this name has, at this moment.
    ///
    /// # Errors
    /// [`NotifyError`] if the answer is anything but a 2xx.
    pub async fn send(
        &self,
        notice: &Notice,
        gate: &str,
        now: Timestamp,
    ) -> Result<(), NotifyError> {
        let body = payload(notice, gate).to_string();
        let mut request = self
            .client
            .post(self.settings.url.url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Tollgate-Message", &notice.id);
        if let Some(secret) = &self.settings.secret {
            request = request.header("Tollgate-Signature", signature(secret, now, &body));
        }
        send(request.body(body)).await
    }
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over the seconds since 1970, a dot and the body. The time lets a receiver turn away what
/// somebody recorded and plays again.
#[must_use]
pub fn signature(secret: &Secret, now: Timestamp, body: &str) -> String {
    let seconds = now.as_millis().div_euclid(1_000);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let mut text = format!("t={seconds},v1=");
    for octet in tag.as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value is what `printf '1764230400.{"a":1}' | openssl dgst -sha256 -hmac key` prints.
    #[test]
    fn a_signature_is_what_openssl_computes() {
        let now = Timestamp::from_millis(1_764_230_400_999);
        assert_eq!(
            signature(&Secret::new(*b"key"), now, r#"{"a":1}"#),
            "t=1764230400,v1=14448dff9f08c3532e1372f990e47bd6f596745b82322dfd62824ae851ef8b2d"
        );
    }
}
