//! One round at one receiver: what is due is sent, and how that went is noted before the next round.

use super::{
    GIVE_UP_AFTER, Ground, Outfit, PostError,
    outfit::{EmailSettings, Sink, is_about},
};
use crate::{
    event::{Event, SinkState},
    notify::{Alertmanager, Letter, NotifyError, Webhook, alert_letter},
    rules::alarm::{Alert, Notice, Phase, Severity},
    store::archive::{Ending, Owed},
    types::{Address, Language, SubjectId, TenantId, Timestamp},
};
use std::{collections::BTreeMap, time::Duration};

/// How a receiver is.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    /// Rounds that failed in a row.
    failures: u32,
    /// Nothing is tried before this moment.
    pause_until: Option<Timestamp>,
    /// Letters that can wait are gathered until this moment.
    gather_until: Option<Timestamp>,
    /// What lasts is sent again at this moment.
    resend_at: Option<Timestamp>,
}

impl Health {
    pub(super) fn pauses(&self, now: Timestamp) -> bool {
        self.pause_until.is_some_and(|until| now < until)
    }

    /// True of a receiver of which was told that it fails.
    pub(super) const fn fails(&self) -> bool {
        self.failures > 0
    }

    fn may_write(&self, now: Timestamp, owed: &[Owed]) -> bool {
        let urgent = |one: &Owed| one.notice.alert.severity == Severity::Critical;
        self.gather_until.is_none_or(|until| now >= until) || owed.iter().any(urgent)
    }
}

/// What came of a round.
#[derive(Default)]
struct Outcome {
    endings: Vec<(i64, Ending)>,
    sent: bool,
    /// Why the receiver as a whole does not work, so that it is left alone for a while. That it refuses a message says nothing
    /// about it.
    down: Option<String>,
}

impl Outcome {
    fn note(&mut self, owed: &[Owed], sent: Result<(), NotifyError>, now: Timestamp) {
        for one in owed {
            self.endings.extend(ending(one, &sent, now).map(|ending| (one.number, ending)));
        }
        match sent {
            Ok(()) => self.sent = true,
            Err(NotifyError::Refused(_)) => {}
            Err(error) => self.down = Some(error.to_string()),
        }
    }
}

/// Sends what is due to a receiver.
pub(super) async fn run(
    ground: &Ground,
    outfit: &Outfit,
    name: String,
    mut health: Health,
) -> (String, Health) {
    let now = ground.clock.utc();
    let Ok(owed) = ground.archive.owed(name.clone(), now, OWED_PER_ROUND_MAX).await else {
        return (name, health);
    };
    let outcome = match outfit.sink(&name) {
        Some(Sink::Webhook(webhook)) => call(ground, outfit, webhook, owed).await,
        Some(Sink::Alertmanager(alertmanager)) => {
            tell(ground, outfit, (&name, alertmanager), &owed, &mut health).await
        }
        Some(Sink::Operators(email)) if health.may_write(now, &owed) => {
            health.gather_until = Some(now + GATHER_FOR);
            write(ground, outfit, email, &owed, Readers::operators(email)).await
        }
        Some(Sink::Tenants(email)) if health.may_write(now, &owed) => {
            health.gather_until = Some(now + GATHER_FOR);
            write_to_tenants(ground, outfit, email, owed).await
        }
        _ => Outcome::default(),
    };
    conclude(ground, &name, outcome, &mut health).await;
    (name, health)
}

/// Sends a message that is owed to nobody.
pub(super) async fn test(
    ground: &Ground,
    outfit: &Outfit,
    name: &str,
    notice: Notice,
) -> Result<(), NotifyError> {
    send_one(ground, outfit, name, &notice).await
}

/// Sends one message to one receiver, now.
pub(super) async fn send_one(
    ground: &Ground,
    outfit: &Outfit,
    name: &str,
    notice: &Notice,
) -> Result<(), NotifyError> {
    let (gate, now) = (outfit.settings.gate.as_str(), ground.clock.utc());
    match outfit.sink(name) {
        Some(Sink::Webhook(webhook)) => webhook.send(notice, gate, now).await,
        Some(Sink::Alertmanager(alertmanager)) => {
            alertmanager.send(std::slice::from_ref(&notice.alert), gate, now).await
        }
        Some(Sink::Operators(email)) => {
            let notices = std::slice::from_ref(notice);
            send_letter(ground, outfit, email, notices, Readers::operators(email)).await
        }
        Some(Sink::Tenants(_)) | None => Ok(()),
    }
}

/// One request for each message, in their order, until the receiver fails.
async fn call(ground: &Ground, outfit: &Outfit, webhook: &Webhook, owed: Vec<Owed>) -> Outcome {
    let mut outcome = Outcome::default();
    for one in owed {
        let now = ground.clock.utc();
        let sent = webhook.send(&one.notice, outfit.settings.gate.as_str(), now).await;
        outcome.note(&[one], sent, ground.clock.utc());
        if outcome.down.is_some() {
            break;
        }
    }
    outcome
}

/// One request for all; what lasts goes along when it is time for that.
async fn tell(
    ground: &Ground,
    outfit: &Outfit,
    (name, alertmanager): (&str, &Alertmanager),
    owed: &[Owed],
    health: &mut Health,
) -> Outcome {
    let now = ground.clock.utc();
    let mut alerts: BTreeMap<String, Alert> = BTreeMap::new();
    if health.resend_at.is_none_or(|at| now >= at) {
        let Ok(open) = ground.archive.open_alerts().await else { return Outcome::default() };
        let wanted = |alert: &Alert| {
            alert.phase == Phase::Firing
                && !is_about(alert, name)
                && alertmanager.audience().wants(alert, alert.tenant.as_ref())
        };
        alerts.extend(open.into_iter().filter(wanted).map(|alert| (alert.id.clone(), alert)));
    }
    // The newest message about an alert says how it is.
    alerts.extend(owed.iter().map(|one| (one.notice.alert.id.clone(), one.notice.alert.clone())));
    let mut outcome = Outcome::default();
    if alerts.is_empty() {
        return outcome;
    }
    let alerts: Vec<Alert> = alerts.into_values().collect();
    let sent = alertmanager.send(&alerts, outfit.settings.gate.as_str(), now).await;
    // What it refuses it would refuse again; while it does not work it is left alone anyway.
    health.resend_at = Some(now + alertmanager.resend()).filter(|_| !is_unavailable(&sent));
    outcome.note(owed, sent, now);
    outcome
}

/// One letter about everything.
async fn write(
    ground: &Ground,
    outfit: &Outfit,
    email: &EmailSettings,
    owed: &[Owed],
    readers: Readers<'_>,
) -> Outcome {
    let mut outcome = Outcome::default();
    if owed.is_empty() {
        return outcome;
    }
    let notices: Vec<Notice> = owed.iter().map(|one| one.notice.clone()).collect();
    let sent = send_letter(ground, outfit, email, &notices, readers).await;
    outcome.note(owed, sent, ground.clock.utc());
    outcome
}

/// One letter for each tenant, in its language.
async fn write_to_tenants(
    ground: &Ground,
    outfit: &Outfit,
    email: &EmailSettings,
    owed: Vec<Owed>,
) -> Outcome {
    let mut of_tenants: BTreeMap<Option<TenantId>, Vec<Owed>> = BTreeMap::new();
    for mut one in owed {
        one.notice.alert.facts = one.notice.alert.facts.for_tenants();
        of_tenants.entry(one.notice.alert.tenant.clone()).or_default().push(one);
    }
    let mut all = Outcome::default();
    for (tenant, owed) in of_tenants {
        let Ok(reader) = reader_of(ground, tenant).await else { continue };
        let Some((contact, language)) = reader else {
            // Nobody wants to be written to any more.
            all.endings.extend(owed.iter().map(|one| (one.number, Ending::Done)));
            continue;
        };
        let readers = Readers { to: &[contact], language, failure: at_tenant };
        let one = write(ground, outfit, email, &owed, readers).await;
        all.endings.extend(one.endings);
        all.sent |= one.sent;
        // An address that does not exist, or cannot be reached now, is the tenant's trouble and no failure of the way there.
        all.down = one.down;
        if all.down.is_some() {
            break;
        }
    }
    all
}

async fn reader_of(
    ground: &Ground,
    tenant: Option<TenantId>,
) -> Result<Option<(Address, Language)>, crate::store::StoreError> {
    let Some(tenant) = tenant else { return Ok(None) };
    let subject = SubjectId::Tenant(tenant);
    let record = ground.records.subject(&subject).await?;
    let language = record.language.unwrap_or_default();
    Ok(record.contact.clone().map(|contact| (contact, language)))
}

async fn send_letter(
    ground: &Ground,
    outfit: &Outfit,
    email: &EmailSettings,
    notices: &[Notice],
    Readers { to, language, failure }: Readers<'_>,
) -> Result<(), NotifyError> {
    let gate = &outfit.settings.gate;
    let (subject, text, html) = alert_letter(notices, gate.as_str(), language);
    let letter = Letter {
        to: to.to_vec(),
        from: email.from.clone(),
        host: gate.clone(),
        id: notices.first().map(|notice| notice.id.clone()).unwrap_or_default(),
        date: ground.clock.utc(),
        subject,
        text,
        html,
    };
    ground.post.send(&letter, email.sender.clone()).await.map_err(|error| failure(&error))
}

/// Who reads a letter, and what it means that they do not get it.
struct Readers<'a> {
    to: &'a [Address],
    language: Language,
    failure: fn(&PostError) -> NotifyError,
}

impl<'a> Readers<'a> {
    fn operators(email: &'a EmailSettings) -> Self {
        Self { to: &email.to, language: Language::English, failure: at_operators }
    }
}

/// Operators have to know when their letters do not arrive, whatever is the reason.
fn at_operators(error: &PostError) -> NotifyError {
    match error {
        PostError::Refused(_) => NotifyError::Refused(error.to_string()),
        PostError::Deferred(_) | PostError::Unavailable(_) | PostError::Unknown(_) => {
            NotifyError::Unavailable(error.to_string())
        }
    }
}

fn at_tenant(error: &PostError) -> NotifyError {
    match error {
        PostError::Deferred(_) => NotifyError::Refused(error.to_string()),
        other => at_operators(other),
    }
}

/// Notes how it went, and tells when the receiver begins to fail and when it works again.
async fn conclude(ground: &Ground, name: &str, outcome: Outcome, health: &mut Health) {
    let now = ground.clock.utc();
    let is_noted = outcome.endings.is_empty()
        || ground.archive.settle_deliveries(name.to_owned(), outcome.endings).await.is_ok();
    let state = |detail| SinkState { sink: name.to_owned(), detail };
    if let Some(detail) = outcome.down {
        if health.failures == 0 {
            ground.events.tell(ground.clock.now(), &Event::AlertSinkFailed(state(detail)));
        }
        health.pause_until = Some(now + wait_after(health.failures));
        health.failures = health.failures.saturating_add(1);
    } else if outcome.sent {
        if std::mem::take(&mut health.failures) > 0 {
            let recovered = Event::AlertSinkRecovered(state(String::new()));
            ground.events.tell(ground.clock.now(), &recovered);
        }
        health.pause_until = None;
    }
    if !is_noted {
        // It is all sent again, but not at once.
        health.pause_until = Some(now + WAIT_MAX);
    }
}

const fn is_unavailable(sent: &Result<(), NotifyError>) -> bool {
    matches!(sent, Err(NotifyError::Unavailable(_)))
}

/// How a delivery goes on. Where the receiver does not work everything that it is owed stays due, in its order: the receiver
/// pauses, and not the message.
fn ending(one: &Owed, sent: &Result<(), NotifyError>, now: Timestamp) -> Option<Ending> {
    let message = &one.notice.id;
    match sent {
        Ok(()) => Some(Ending::Done),
        Err(error) if now.since(one.notice.at) >= GIVE_UP_AFTER => {
            tracing::error!(message, %error, "a message about an alert was given up");
            Some(Ending::Done)
        }
        Err(error @ NotifyError::Refused(_)) => {
            if one.attempts == 0 {
                tracing::warn!(message, %error, "a message about an alert was refused; it is tried again");
            }
            Some(Ending::Later(now + wait_after(one.attempts)))
        }
        Err(_) => None,
    }
}

/// Twice as long after each failure, and never the same for all.
fn wait_after(failures: u32) -> Duration {
    let longest = WAIT_MIN.saturating_mul(1 << failures.min(16)).min(WAIT_MAX);
    let mut random = [0; 1];
    // Without random numbers it is the longest.
    let share = getrandom::fill(&mut random).map_or(u32::from(u8::MAX), |()| random[0].into());
    longest / 2 + longest / 2 * share / u32::from(u8::MAX)
}

const WAIT_MIN: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(900);
/// Messages of one round.
const OWED_PER_ROUND_MAX: u32 = 50;
/// Letters that can wait are written so seldom.
const GATHER_FOR: Duration = Duration::from_secs(60);
