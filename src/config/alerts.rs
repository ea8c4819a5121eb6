//! Written → checked: who hears of alerts.

use super::{
    checker::At,
    next_hop::read_secret,
    written::{AlertEmail, AlertWebhook, Alertmanager, Alerts, Section},
};
use crate::{
    notify::{AlertmanagerSettings, WebhookSettings},
    rules::alarm::{Audience, Severity},
    types::{Domain, ReversePath, Secret, Span},
    watch::{AlertSettings, EmailSettings},
};
use std::collections::BTreeSet;

pub(super) fn check(
    root: &mut At<'_>,
    section: &Section<Alerts>,
    hostname: &Domain,
) -> AlertSettings {
    let mut at = root.inside("alerts");
    let s = at.open(section);
    AlertSettings {
        gate: hostname.clone(),
        quiet: at.value("quiet_hours", &s.quiet_hours).map(|parsed| parsed.0),
        tls_ca: at.value("tls_ca", &s.tls_ca),
        webhooks: check_webhooks(&mut at, s),
        email: check_email(&mut at, &s.email, hostname),
        alertmanager: check_alertmanager(&mut at, &s.alertmanager),
    }
}

fn check_webhooks(at: &mut At<'_>, s: &Alerts) -> Vec<WebhookSettings> {
    let sections = at.tables("webhook", &s.webhook);
    if sections.len() > WEBHOOKS_MAX {
        at.wrong("webhook", format!("wanted at most {WEBHOOKS_MAX}"));
    }
    let mut names = BTreeSet::new();
    let mut webhooks = Vec::new();
    for (number, section) in sections.iter().enumerate() {
        let mut at = at.inside(&format!("webhook[{number}]"));
        let Some(webhook) = check_webhook(&mut at, section) else { continue };
        if !names.insert(webhook.name.clone()) {
            at.wrong("name", "another webhook has it, too");
        }
        webhooks.push(webhook);
    }
    webhooks
}

fn check_webhook(at: &mut At<'_>, section: &Section<AlertWebhook>) -> Option<WebhookSettings> {
    let s = at.open(section);
    let name = at.required("name", &s.name, "such as \"noc\"");
    let url = at.required("url", &s.url, "such as \"https://alerts.example/hook\"");
    let secret = check_secret(at, s);
    let timeout = at.within("timeout", &s.timeout, TIMEOUT, TIMEOUTS).length();
    let audience = Audience {
        severity: at.or("severity", &s.severity, Severity::Warning),
        tenants: at.or("tenants", &s.tenants, Vec::new()),
    };
    Some(WebhookSettings {
        name: name?.0.as_str().to_owned(),
        url: url?.0,
        secret,
        audience,
        timeout,
    })
}

fn check_secret(at: &mut At<'_>, s: &AlertWebhook) -> Option<Secret> {
    let secret = at.value("secret", &s.secret).map(|hidden| hidden.0);
    let file = at.value("secret_file", &s.secret_file);
    let secret = match (secret, file) {
        (Some(_), Some(_)) => {
            at.wrong("secret_file", "there is a secret already; one of the two");
            None
        }
        (None, Some(file)) => read_secret(at, "secret_file", &file),
        (secret, None) => secret,
    };
    if secret.as_ref().is_some_and(|secret| secret.expose().is_empty()) {
        at.wrong("secret", "is empty, so anybody could sign");
    }
    secret
}

fn check_email(
    at: &mut At<'_>,
    section: &Section<AlertEmail>,
    hostname: &Domain,
) -> Option<EmailSettings> {
    let mut at = at.inside("email");
    let s = at.open(section);
    let to = at.value("to", &s.to);
    let tenants = at.or("tenants", &s.tenants, to.is_some());
    let to = to.unwrap_or_default();
    if to.len() > READERS_MAX {
        at.wrong("to", format!("wanted at most {READERS_MAX}"));
    }
    let from = at.value("from", &s.from);
    let sender = at.value("sender", &s.sender).map_or(ReversePath::Null, ReversePath::Mailbox);
    let severity = at.or("severity", &s.severity, Severity::Warning);
    if to.is_empty() && !tenants {
        return None;
    }
    let from = from.or_else(|| format!("tollgate@{hostname}").parse().ok());
    if from.is_none() {
        at.wrong("from", "missing, and server.hostname makes no address");
    }
    let audience = Audience { severity, tenants: Vec::new() };
    Some(EmailSettings { to, from: from?, sender, audience, tenants })
}

fn check_alertmanager(
    at: &mut At<'_>,
    section: &Section<Alertmanager>,
) -> Option<AlertmanagerSettings> {
    let mut at = at.inside("alertmanager");
    let s = at.open(section);
    let url = at.value("url", &s.url);
    let severity = at.or("severity", &s.severity, Severity::Info);
    let timeout = at.within("timeout", &s.timeout, TIMEOUT, TIMEOUTS).length();
    let resend = at.within("resend", &s.resend, Span::from_secs(60), RESENDS).length();
    let audience = Audience { severity, tenants: Vec::new() };
    Some(AlertmanagerSettings { url: url?.0, audience, timeout, resend })
}

const WEBHOOKS_MAX: usize = 16;
const READERS_MAX: usize = 20;
const TIMEOUT: Span = Span::from_secs(10);
const TIMEOUTS: std::ops::RangeInclusive<Span> = Span::from_secs(1)..=Span::from_secs(60);
const RESENDS: std::ops::RangeInclusive<Span> = Span::from_secs(1)..=Span::from_secs(3_600);
