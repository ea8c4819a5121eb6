//! Prometheus' Alertmanager, API v2: alerts are sent again and again while they last, each time with a new end, so that one
//! that is not sent any more ends by itself; one that is over is sent with its end.
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>

use super::{NotifyError, send};
use crate::dial::{Target, client};
use crate::{
    rules::alarm::{Alert, Audience, words},
    types::{Language, Timestamp},
};
use reqwest::Client;
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::time::Duration;

/// An Alertmanager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertmanagerSettings {
    /// Where it is, without `/api/v2`.
    pub url: Target,
    /// What it hears of.
    pub audience: Audience,
    /// Wait for its answer.
    pub timeout: Duration,
    /// How often what lasts is sent again.
    pub resend: Duration,
}

/// An Alertmanager that can be told.
pub struct Alertmanager {
    settings: AlertmanagerSettings,
    client: Client,
}

impl Alertmanager {
    /// Prepares the way.
    ///
    /// # Errors
    /// [`NotifyError::Setup`] if TLS cannot be set up.
    pub fn new(settings: AlertmanagerSettings, tls: &ClientConfig) -> Result<Self, NotifyError> {
        let client = client(tls, settings.timeout, 1).map_err(NotifyError::Setup)?;
        Ok(Self { settings, client })
    }

    /// What it wants to hear of.
    #[must_use]
    pub const fn audience(&self) -> &Audience {
        &self.settings.audience
    }

    /// How often what lasts is sent again.
    #[must_use]
    pub const fn resend(&self) -> Duration {
        self.settings.resend
    }

    /// Sends these alerts as they are at this moment, in one request.
    ///
    /// # Errors
    /// [`NotifyError`] if the answer is anything but a 2xx.
    pub async fn send(
        &self,
        alerts: &[Alert],
        gate: &str,
        now: Timestamp,
    ) -> Result<(), NotifyError> {
        let ends = now + self.settings.resend * RESENDS_MISSED_MAX;
        let body: Vec<Value> = alerts.iter().map(|alert| posted(alert, gate, ends)).collect();
        let url = self.settings.url.with_path("/api/v2/alerts");
        send(self.client.post(url).json(&body)).await
    }
}

/// Labels tell an alert from others and stay the same while it lasts; what changes stands in the annotations.
fn posted(alert: &Alert, gate: &str, ends: Timestamp) -> Value {
    let said = words(alert, Language::English);
    let ends = alert.over.unwrap_or(ends);
    let mut labels = json!({
        "alertname": alert.kind,
        "severity": alert.severity,
        "gate": gate,
        "scope": alert.about.scope,
        "dedupe_key": alert.key,
    });
    if !alert.about.name.is_empty() {
        labels["name"] = json!(alert.about.name);
    }
    if let Some(tenant) = &alert.tenant {
        labels["tenant"] = json!(tenant);
    }
    json!({
        "labels": labels,
        "annotations": {
            "summary": said.title.trim_start_matches("over: "),
            "description": said.text,
            "advice": said.advice,
            "alert_id": alert.id,
        },
        "startsAt": alert.since,
        "endsAt": ends,
    })
}

/// An alert that is not sent again so many times is over.
const RESENDS_MISSED_MAX: u32 = 5;
