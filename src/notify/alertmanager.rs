//! Prometheus' Alertmanager, API v2: alerts are sent again and again while they last, each time with a new end, so that one
//! that is not sent any more ends by itself; one that is over is sent with its end.
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>

use super::{NotifyError, send};
use crate::dial::{Target, client};
use crate::{
    rules::alarm::{Alert, Audience, Severity, words},
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
        let body: Vec<Value> = alerts
            .iter()
            .flat_map(|alert| all_posted(alert, self.audience(), gate, ends))
            .collect();
        let url = self.settings.url.with_path("/api/v2/alerts");
        send(self.client.post(url).json(&body)).await
    }
}

/// One that got worse goes on as what it was beside what it is: else that would end, and be told as over.
fn all_posted(alert: &Alert, audience: &Audience, gate: &str, ends: Timestamp) -> Vec<Value> {
    let first = alert.severity_first.unwrap_or(alert.severity);
    let lasting = Severity::ALL.into_iter().filter(|severity| {
        (first..=alert.severity).contains(severity) && *severity >= audience.severity
    });
    lasting.map(|severity| posted(alert, severity, gate, ends)).collect()
}

/// Labels tell an alert from others and stay the same while it lasts; what changes stands in the annotations.
fn posted(alert: &Alert, severity: Severity, gate: &str, ends: Timestamp) -> Value {
    let said = words(alert, Language::English);
    let ends = alert.over.unwrap_or(ends);
    let mut labels = json!({
        "alertname": alert.kind,
        "severity": severity,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Event, StandingChanged, Suspect},
        rules::alarm::Book,
        types::SubjectId,
    };

    #[test]
    fn an_alert_that_gets_worse_goes_on_as_what_it_was_until_both_end() {
        let mut book = Book::new(Timestamp::EPOCH);
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let mut labels = |minutes, (from, to), least| {
            let changed = StandingChanged {
                who: Suspect::Subject(SubjectId::Account("a@shop.example".parse().unwrap())),
                tenant: Some("shop.example".parse().unwrap()),
                from,
                to,
                until: None,
                points: 5.0,
                reasons: Vec::new(),
                observed_only: false,
            };
            book.note(at(minutes), &Event::StandingChanged(Box::new(changed)));
            let alert = book.take().notices.pop().unwrap().alert;
            let audience = Audience { severity: least, tenants: Vec::new() };
            let all = all_posted(&alert, &audience, "gate.example", at(60));
            let severity = |one: &Value| one["labels"]["severity"].as_str().unwrap().to_owned();
            all.iter().map(severity).collect::<Vec<_>>()
        };
        assert_eq!(labels(0, ("active", "warned"), Severity::Info), ["info"]);
        assert_eq!(labels(1, ("warned", "throttled"), Severity::Info), ["info", "warning"]);
    }
}
