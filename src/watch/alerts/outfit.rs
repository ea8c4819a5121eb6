//! The receivers, ready for use: made from the settings at start and at each reload.

use crate::{
    net::connect::{TlsClientError, Verification, client_config},
    notify::{Alertmanager, AlertmanagerSettings, NotifyError, Webhook, WebhookSettings},
    rules::alarm::{Alert, Audience, Kind, Notice, QuietHours},
    types::{Address, Domain, ReversePath, TenantId, Timestamp},
};
use std::path::PathBuf;

/// Who hears of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertSettings {
    /// The name of this server, which stands in messages.
    pub gate: Domain,
    /// When only what is critical is told.
    pub quiet: Option<QuietHours>,
    /// PEM file of the authorities that vouch for receivers, where they are not the system's.
    pub tls_ca: Option<PathBuf>,
    /// Webhooks, each with a name of its own.
    pub webhooks: Vec<WebhookSettings>,
    /// Letters.
    pub email: Option<EmailSettings>,
    /// An Alertmanager.
    pub alertmanager: Option<AlertmanagerSettings>,
}

/// Who gets letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailSettings {
    /// Operators.
    pub to: Vec<Address>,
    /// The address in `From:`.
    pub from: Address,
    /// The envelope sender; by default none, so that no bounce comes back.
    pub sender: ReversePath,
    /// What operators want to hear of.
    pub audience: Audience,
    /// Whether tenants with a contact are written to about their own matters.
    pub tenants: bool,
}

/// Why receivers cannot be used as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum OutfitError {
    /// TLS cannot be prepared.
    #[error(transparent)]
    Tls(#[from] TlsClientError),
    /// A receiver cannot be prepared.
    #[error(transparent)]
    Notify(#[from] NotifyError),
}

/// The receivers.
pub struct Outfit {
    pub(super) settings: AlertSettings,
    webhooks: Vec<(String, Webhook)>,
    alertmanager: Option<Alertmanager>,
}

/// One receiver.
pub(super) enum Sink<'a> {
    Webhook(&'a Webhook),
    Alertmanager(&'a Alertmanager),
    Operators(&'a EmailSettings),
    Tenants(&'a EmailSettings),
}

impl Outfit {
    /// Prepares the receivers; asks none of them.
    ///
    /// # Errors
    /// [`OutfitError`] if one could never be reached.
    pub fn new(settings: AlertSettings) -> Result<Self, OutfitError> {
        let tls = match &settings.tls_ca {
            Some(path) => client_config(Verification::Authorities(path))?,
            None if settings.needs_authorities() => client_config(Verification::System)?,
            None => client_config(Verification::NoAuthority)?,
        };
        let named = |hook: &WebhookSettings| {
            Webhook::new(hook.clone(), &tls).map(|webhook| (sink_name(&hook.name), webhook))
        };
        let webhooks = settings.webhooks.iter().map(named).collect::<Result<_, _>>()?;
        let alertmanager = settings.alertmanager.clone();
        let alertmanager = alertmanager.map(|one| Alertmanager::new(one, &tls)).transpose()?;
        Ok(Self { settings, webhooks, alertmanager })
    }

    /// The names of all receivers but tenants.
    pub(super) fn sinks(&self) -> Vec<String> {
        let webhooks = self.webhooks.iter().map(|(name, _)| name.clone());
        let email = self.settings.email.iter().filter(|email| !email.to.is_empty());
        let email = email.map(|_| EMAIL.to_owned());
        let alertmanager = self.alertmanager.iter().map(|_| ALERTMANAGER.to_owned());
        webhooks.chain(email).chain(alertmanager).collect()
    }

    /// The names of all receivers.
    pub(super) fn sinks_and_tenants(&self) -> Vec<String> {
        let tenants = self.writes_to_tenants().then(|| TENANTS.to_owned());
        self.sinks().into_iter().chain(tenants).collect()
    }

    pub(super) fn sink(&self, name: &str) -> Option<Sink<'_>> {
        match name {
            EMAIL => self.settings.email.as_ref().map(Sink::Operators),
            TENANTS => self.settings.email.as_ref().map(Sink::Tenants),
            ALERTMANAGER => self.alertmanager.as_ref().map(Sink::Alertmanager),
            _ => {
                let found = self.webhooks.iter().find(|(known, _)| known == name);
                found.map(|(_, webhook)| Sink::Webhook(webhook))
            }
        }
    }

    /// True of a receiver that is told again and again of what lasts.
    pub(super) fn resends(&self, sink: &str) -> bool {
        sink == ALERTMANAGER
    }

    /// Who wants to hear of a message, and not before when. No receiver hears of itself: it could not be told that it fails, and
    /// what it does not take must not make more for it.
    pub(super) fn audience_of(
        &self,
        notice: &Notice,
        tenant: Option<&TenantId>,
        now: Timestamp,
    ) -> Vec<(String, Timestamp)> {
        let wants = |name: &String| match self.sink(name) {
            Some(Sink::Webhook(hook)) => hook.audience().wants(&notice.alert, tenant),
            Some(Sink::Alertmanager(one)) => one.audience().wants(&notice.alert, tenant),
            Some(Sink::Operators(email)) => email.audience.wants(&notice.alert, tenant),
            Some(Sink::Tenants(_)) | None => false,
        };
        let earliest = |name: String| {
            // It has quiet hours of its own.
            let at = if name == ALERTMANAGER { now } else { self.earliest(notice, now) };
            (name, at)
        };
        let others = self.sinks().into_iter().filter(|name| !is_about(&notice.alert, name));
        others.filter(wants).map(earliest).collect()
    }

    pub(super) fn earliest(&self, notice: &Notice, now: Timestamp) -> Timestamp {
        self.settings.quiet.map_or(now, |quiet| quiet.earliest(notice.alert.severity, now))
    }

    pub(super) fn writes_to_tenants(&self) -> bool {
        self.settings.email.as_ref().is_some_and(|email| email.tenants)
    }
}

impl AlertSettings {
    fn needs_authorities(&self) -> bool {
        let webhooks = self.webhooks.iter().map(|hook| &hook.url);
        let alertmanager = self.alertmanager.iter().map(|one| &one.url);
        webhooks.chain(alertmanager).any(crate::dial::Target::is_https)
    }
}

/// True of an alert that says how this receiver is.
pub(super) fn is_about(alert: &Alert, sink: &str) -> bool {
    alert.kind == Kind::AlertSinkFailing && alert.about.name == sink
}

fn sink_name(webhook: &str) -> String {
    format!("webhook:{webhook}")
}

const EMAIL: &str = "email";
const ALERTMANAGER: &str = "alertmanager";
/// The contacts of tenants.
pub(super) const TENANTS: &str = "email-tenants";
