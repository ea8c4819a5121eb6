//! What an event says about conditions: that one was seen, or that one is over.

use super::{Facts, Kind, Severity};
use crate::{
    event::{
        BlocklistState, CancelProposed, CertificateEnd, Charged, DiskRoom, EgressSteered, Event,
        LimitReached, ListingCause, ListingState, MessageReport, Outcome, Refusal, RefusalReason,
        Resumed, Scanner, SlaBudget, StandingChanged, StorageChanged, StorageFiles, Suspect,
        Suspended, Trouble,
    },
    rules::{
        quota::Over,
        vitals::{CERTIFICATE_CRITICAL_DAYS, is_disk_critical},
    },
    types::{Scope, SubjectId, TenantId},
};
use std::time::Duration;

/// Something that was seen.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Condition {
    /// What.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// Whose matter it is.
    pub about: About,
    /// The tenant, where it is known.
    pub tenant: Option<TenantId>,
    /// What tells it apart from others of its kind about the same.
    #[serde(default)]
    pub detail: String,
    /// The node whose own state it is, where there are several.
    #[serde(default)]
    pub node: Option<String>,
    /// How long after this it counts as gone, where that is not the rule of its kind.
    pub lasts: Option<Duration>,
    /// What was seen.
    pub facts: Facts,
}

/// Whose matter something is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct About {
    /// `gate`, `tenant`, `account`, `client-ip`, `peer`, `next-hop`, `scanner`, `storage`, `egress`, `blocklist`, `sink`.
    pub scope: String,
    /// Its name; empty for the gate.
    pub name: String,
}

impl About {
    fn new(scope: &str, name: impl Into<String>) -> Self {
        Self { scope: scope.into(), name: name.into() }
    }

    fn subject(subject: &SubjectId) -> Self {
        match subject {
            SubjectId::Account(account) => Self::new("account", account.as_str()),
            SubjectId::Tenant(tenant) => Self::new("tenant", tenant.as_str()),
        }
    }

    pub(super) fn to_subject(&self) -> Option<SubjectId> {
        match self.scope.as_str() {
            "account" => self.name.parse().ok().map(SubjectId::Account),
            "tenant" => self.name.parse().ok().map(SubjectId::Tenant),
            _ => None,
        }
    }
}

/// What an event says of a condition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// It was seen.
    Raise(Box<Condition>),
    /// It is over: the key of the alert.
    Clear(String),
}

impl Sign {
    /// The same of one node among several, where it is about a state of the node's own.
    pub(super) fn at_node(self, node: &str) -> Self {
        let is_own = |kind: Kind| kind.rule().is_own;
        match self {
            Self::Raise(mut condition) if is_own(condition.kind) => {
                condition.facts.node = Some(node.to_owned());
                condition.node = Some(node.to_owned());
                Self::Raise(condition)
            }
            Self::Clear(key) if kind_of(&key).is_some_and(is_own) => {
                Self::Clear(format!("{key}{NODE_MARK}{node}"))
            }
            other => other,
        }
    }
}

/// The kind of the alert that has this key.
fn kind_of(key: &str) -> Option<Kind> {
    key.split('/').next()?.parse().ok()
}

impl Condition {
    /// Of the gate as a whole.
    #[must_use]
    pub fn gate(kind: Kind) -> Self {
        Self::of(kind, About::new("gate", ""), Facts::default())
    }

    pub(super) fn of(kind: Kind, about: About, facts: Facts) -> Self {
        let (tenant, detail, node, lasts) = (None, String::new(), None, None);
        Self { kind, severity: kind.rule().severity, about, tenant, detail, node, lasts, facts }
    }

    /// Of an account, seen in a transaction.
    pub(super) fn of_account(kind: Kind, charged: &Charged, report: &MessageReport) -> Self {
        let facts = Facts {
            account: Some(charged.account.clone()),
            plan: Some(charged.plan.clone()),
            peer: charged.peer.clone(),
            client: Some(report.client.to_string()),
            transaction: Some(report.transaction.clone()),
            sender: Some(report.sender.to_string()),
            ..Facts::default()
        };
        let about = About::new("account", charged.account.as_str());
        Self { tenant: Some(charged.tenant.clone()), ..Self::of(kind, about, facts) }
    }

    pub(super) fn of_hop(kind: Kind, next_hop: &str, facts: Facts) -> Self {
        let facts = Facts { next_hop: Some(next_hop.to_owned()), ..facts };
        Self::of(kind, About::new("next-hop", next_hop), facts)
    }

    fn trouble(kind: Kind, trouble: &Trouble) -> Self {
        let facts = Facts { detail: Some(shortened(&trouble.detail)), ..Facts::default() };
        Self { facts, ..Self::gate(kind) }
    }

    /// The key of its alert.
    #[must_use]
    pub fn key(&self) -> String {
        let About { scope, name } = &self.about;
        let key = [self.kind.name(), scope, name, &self.detail].join("/");
        let key = key.trim_end_matches('/');
        match &self.node {
            Some(node) => format!("{key}{NODE_MARK}{node}"),
            None => key.to_owned(),
        }
    }
}

/// What an event says.
pub(super) fn signs(event: &Event) -> Vec<Sign> {
    match event {
        Event::LimitReached(reached) => vec![raise(limit(reached))],
        Event::Suspended(suspended) => {
            let flagged = Suspect::Subject(suspended.subject.clone());
            vec![clear(&unflagged(&flagged)), raise(suspension(suspended))]
        }
        Event::Resumed(resumed) => vec![clear(&lifted(resumed))],
        Event::StandingChanged(changed) => standing(changed).into_iter().collect(),
        Event::Message(report) if report.outcome == Outcome::Sent => flows(),
        Event::Refused(refusal) => stopped(refusal),
        Event::NextHopDown(state) => {
            let facts = Facts { detail: Some(shortened(&state.detail)), ..Facts::default() };
            vec![raise(Condition::of_hop(Kind::NextHopDown, &state.next_hop, facts))]
        }
        Event::NextHopUp(state) => {
            vec![clear(&Condition::of_hop(Kind::NextHopDown, &state.next_hop, Facts::default()))]
        }
        Event::LoginBackendDown(state) => {
            let (backend, detail) = (Some(state.backend.clone()), Some(shortened(&state.detail)));
            let facts = Facts { backend, detail, ..Facts::default() };
            vec![raise(Condition { facts, ..Condition::gate(Kind::LoginBackendDown) })]
        }
        Event::ScannerDown(state) => {
            let facts = Facts { detail: Some(shortened(&state.detail)), ..Facts::default() };
            vec![raise(scanner(state.scanner, facts))]
        }
        Event::ScannerUp(state) => vec![clear(&scanner(state.scanner, Facts::default()))],
        Event::StorageChanged(changed) => storage(changed),
        Event::StorageFilesChanged(files) if files.is_over => vec![raise(many_files(files))],
        Event::StorageFilesChanged(files) => vec![clear(&many_files(files))],
        Event::StorageSourceDown(state) => {
            let facts = Facts { detail: Some(shortened(&state.detail)), ..Facts::default() };
            vec![raise(storage_source(&state.backend, facts))]
        }
        Event::StorageSourceUp(state) => {
            vec![clear(&storage_source(&state.backend, Facts::default()))]
        }
        Event::AlertSinkFailed(state) => {
            let (sink, detail) = (Some(state.sink.clone()), Some(shortened(&state.detail)));
            let facts = Facts { sink, detail, ..Facts::default() };
            vec![raise(sink_condition(&state.sink, facts))]
        }
        Event::AlertSinkRecovered(state) => {
            vec![clear(&sink_condition(&state.sink, Facts::default()))]
        }
        Event::EventsLost(lost) => {
            let facts = Facts { events: Some(lost.count), ..Facts::default() };
            vec![raise(Condition { facts, ..Condition::gate(Kind::EventsLost) })]
        }
        Event::EventsMissed(missed) => {
            let (events, node) = (Some(missed.count), Some(missed.node.clone()));
            let facts = Facts { events, node, ..Facts::default() };
            let about = About::new("node", missed.node.as_str());
            vec![raise(Condition::of(Kind::EventsLost, about, facts))]
        }
        Event::DiskScarce(room) => vec![raise(disk(room))],
        Event::CertificateExpiring(end) => vec![raise(certificate(end))],
        Event::SlaBudgetUsed(budget) => vec![raise(availability(budget))],
        Event::Listed(state) => vec![raise(listing(state))],
        Event::Delisted(state) => vec![clear(&listing(state))],
        Event::BlocklistImpaired(state) => vec![raise(blocklist(state))],
        Event::EgressSteered(steered) => vec![egress(steered)],
        Event::ListingCause(cause) => vec![raise(cause_of(cause))],
        Event::CancelProposed(proposed) => vec![raise(proposal(proposed))],
        Event::BlocklistWell(state) => vec![clear(&blocklist(state))],
        _ => of_the_gate(event).into_iter().collect(),
    }
}

/// Failures of the gate's own, of which there is one at a time.
fn of_the_gate(event: &Event) -> Option<Sign> {
    let over = |kind| Some(clear(&Condition::gate(kind)));
    let seen = |kind, trouble| Some(raise(Condition::trouble(kind, trouble)));
    match event {
        Event::StoreFailed(trouble) => seen(Kind::StoreFailing, trouble),
        Event::ArchiveFailed(trouble) => seen(Kind::ArchiveFailing, trouble),
        Event::SpoolFailed(trouble) => seen(Kind::SpoolFailing, trouble),
        Event::ConfigRejected(trouble) => seen(Kind::ConfigRejected, trouble),
        Event::TaskPanicked(trouble) => seen(Kind::TaskPanicked, trouble),
        Event::BreakerOpened => Some(raise(Condition::gate(Kind::BreakerOpen))),
        Event::BreakerClosed(_) => over(Kind::BreakerOpen),
        Event::PlacesScarce => Some(raise(Condition::gate(Kind::PlacesScarce))),
        Event::StoreRecovered => over(Kind::StoreFailing),
        Event::ArchiveRecovered => over(Kind::ArchiveFailing),
        Event::SpoolRecovered => over(Kind::SpoolFailing),
        Event::ConfigReloaded => over(Kind::ConfigRejected),
        Event::PlacesAmple => over(Kind::PlacesScarce),
        Event::LoginBackendUp(_) => over(Kind::LoginBackendDown),
        Event::DiskAmple(_) => over(Kind::DiskNearlyFull),
        Event::CertificateRenewed(_) => over(Kind::CertificateExpiring),
        Event::SlaBudgetRenewed(_) => over(Kind::SlaBudget),
        _ => None,
    }
}

fn raise(condition: Condition) -> Sign {
    Sign::Raise(Box::new(condition))
}

fn clear(condition: &Condition) -> Sign {
    Sign::Clear(condition.key())
}

/// A limit that stays full is reported once in its window, but not before somebody runs into it again; so its end is when
/// that has not happened for twice the window.
fn limit(reached: &LimitReached) -> Condition {
    let kind = if reached.percent >= 100 { Kind::LimitReached } else { Kind::LimitNear };
    let parts = reached.key.parts();
    let window = reached.limit.window;
    let account = (parts.scope == Scope::Account).then(|| parts.name.parse().ok()).flatten();
    let facts = Facts {
        account,
        unit: Some(reached.unit.name().to_owned()),
        limit_window_s: Some(window.length().as_secs()),
        limit_max: Some(u64::from(reached.limit.max)),
        limit_used: Some(u64::from(reached.used)),
        ..Facts::default()
    };
    Condition {
        tenant: (parts.scope == Scope::Tenant).then(|| parts.name.parse().ok()).flatten(),
        detail: format!("{}/{window}", reached.unit.name()),
        lasts: Some(window.length().saturating_mul(2).max(LIMIT_LASTS_MIN)),
        ..Condition::of(kind, About::new(parts.scope.name(), parts.name), facts)
    }
}

fn suspension(suspended: &Suspended) -> Condition {
    let facts = Facts {
        account: account_of(&suspended.subject),
        case: Some(suspended.case.clone()),
        reason: Some(shortened(&suspended.reason)),
        actor: Some(shortened(&suspended.actor)),
        until: suspended.until,
        ..Facts::default()
    };
    let tenant = tenant_of(&suspended.subject);
    let about = About::subject(&suspended.subject);
    Condition { tenant, ..Condition::of(Kind::Suspended, about, facts) }
}

fn lifted(resumed: &Resumed) -> Condition {
    Condition::of(Kind::Suspended, About::subject(&resumed.subject), Facts::default())
}

/// What is only observed has no consequences that anybody would have to hear of.
fn standing(changed: &StandingChanged) -> Option<Sign> {
    if changed.observed_only {
        return None;
    }
    let severity = match changed.to {
        "warned" => Severity::Info,
        "throttled" => Severity::Warning,
        _ => return Some(clear(&unflagged(&changed.who))),
    };
    let reasons = changed.reasons.iter().take(REASONS_MAX).map(|reason| shortened(reason));
    let account = match &changed.who {
        Suspect::Subject(subject) => account_of(subject),
        Suspect::Client(_) => None,
    };
    let client = match &changed.who {
        Suspect::Client(prefix) => Some(prefix.to_string()),
        Suspect::Subject(_) => None,
    };
    let facts = Facts {
        account,
        client,
        standing: Some(changed.to.to_owned()),
        until: changed.until,
        points: Some(format!("{:.1}", changed.points)),
        reasons: Some(reasons.collect::<Vec<_>>()).filter(|reasons| !reasons.is_empty()),
        ..Facts::default()
    };
    let tenant = changed.tenant.clone();
    Some(raise(Condition { severity, tenant, facts, ..unflagged(&changed.who) }))
}

fn unflagged(who: &Suspect) -> Condition {
    let about = match who {
        Suspect::Subject(subject) => About::subject(subject),
        Suspect::Client(prefix) => About::new("client-ip", prefix.to_string()),
    };
    Condition::of(Kind::Flagged, about, Facts::default())
}

fn account_of(subject: &SubjectId) -> Option<crate::types::AccountId> {
    if let SubjectId::Account(account) = subject { Some(account.clone()) } else { None }
}

fn tenant_of(subject: &SubjectId) -> Option<TenantId> {
    if let SubjectId::Tenant(tenant) = subject { Some(tenant.clone()) } else { None }
}

/// Mail was handed on, so it is not stopped.
fn flows() -> Vec<Sign> {
    vec![clear(&Condition::gate(Kind::MailStopped))]
}

/// Refusals that no sender can do anything about.
fn stopped(refusal: &Refusal) -> Vec<Sign> {
    let ours = matches!(
        refusal.reason,
        RefusalReason::StoreDown | RefusalReason::NextHopDown | RefusalReason::SpoolFull
    );
    if !ours || refusal.observed_only {
        return Vec::new();
    }
    let facts = Facts {
        reason: Some(refusal.reason.name().to_owned()),
        detail: Some(shortened(&refusal.reply)),
        ..Facts::default()
    };
    vec![raise(Condition { facts, ..Condition::gate(Kind::MailStopped) })]
}

fn sink_condition(sink: &str, facts: Facts) -> Condition {
    Condition::of(Kind::AlertSinkFailing, About::new("sink", sink), facts)
}

fn scanner(scanner: Scanner, facts: Facts) -> Condition {
    Condition::of(Kind::ScannerDown, About::new("scanner", scanner.name()), facts)
}

fn listing(state: &ListingState) -> Condition {
    let codes: Vec<String> = state.codes.iter().map(ToString::to_string).collect();
    let facts = Facts {
        listed: Some(state.subject.clone()),
        blocklist: Some(state.list.to_string()),
        codes: Some(codes.join(" ")),
        listed_since: Some(state.since),
        detail: Some(shortened(&state.meaning)),
        ..Facts::default()
    };
    let severity = state.severity.parse().unwrap_or(Severity::Warning);
    let detail = state.list.to_string();
    let about = About::new("egress", state.subject.as_str());
    Condition { severity, detail, ..Condition::of(Kind::Listed, about, facts) }
}

/// Mail is held back, or not any more.
fn egress(steered: &EgressSteered) -> Sign {
    let detail = steered.why.as_ref().map(|why| shortened(why));
    let facts = Facts { detail, ..Facts::default() };
    let about = About::new("egress", steered.address.to_string());
    let condition = Condition::of(Kind::EgressPaused, about, facts);
    if steered.to == "paused" { raise(condition) } else { clear(&condition) }
}

/// The provider's matter and not the tenant's, so it has no tenant who would be told.
fn proposal(proposed: &CancelProposed) -> Condition {
    let facts = Facts { detail: Some(shortened(&proposed.why)), ..Facts::default() };
    Condition::of(Kind::CancelProposed, About::new("tenant", proposed.tenant.as_str()), facts)
}

fn cause_of(cause: &ListingCause) -> Condition {
    let facts = Facts {
        listed: Some(cause.address.to_string()),
        blocklist: Some(cause.list.to_string()),
        listed_since: Some(cause.since),
        account: cause.likely().map(|suspect| suspect.account.clone()),
        reasons: Some(cause.suspects.iter().map(ToString::to_string).collect()),
        ..Facts::default()
    };
    let about = About::new("egress", cause.address.to_string());
    let detail = cause.list.to_string();
    Condition { detail, ..Condition::of(Kind::ListingCause, about, facts) }
}

/// One for each list, or one for all of them if it is the resolver.
fn blocklist(state: &BlocklistState) -> Condition {
    let list = state.list.as_ref().map(ToString::to_string);
    let detail = Some(shortened(&state.detail)).filter(|detail| !detail.is_empty());
    let facts = Facts { blocklist: list.clone(), detail, ..Facts::default() };
    match list {
        Some(list) => Condition::of(Kind::BlocklistImpaired, About::new("blocklist", list), facts),
        None => Condition { facts, ..Condition::gate(Kind::BlocklistImpaired) },
    }
}

/// Of the alerts about one subject's room, the one of the threshold that is reached is there, and no other. Where a full mailbox is
/// only recorded there is none.
fn storage(changed: &StorageChanged) -> Vec<Sign> {
    let kinds = [(80, Kind::Storage80), (95, Kind::Storage95), (100, Kind::Storage100)];
    let sign = |(percent, kind)| {
        let condition = stored(kind, changed);
        let is_it = percent == changed.percent && changed.over != OBSERVED;
        if is_it { raise(condition) } else { clear(&condition) }
    };
    kinds.into_iter().map(sign).collect()
}

fn stored(kind: Kind, changed: &StorageChanged) -> Condition {
    let facts = Facts {
        account: account_of(&changed.subject),
        stored_bytes: Some(changed.used_bytes),
        stored_bytes_max: Some(changed.max_bytes),
        refuses: (changed.percent >= 100 && changed.over == REFUSED).then_some(true),
        ..Facts::default()
    };
    let tenant = Some(changed.tenant.clone());
    Condition { tenant, ..Condition::of(kind, About::subject(&changed.subject), facts) }
}

fn many_files(files: &StorageFiles) -> Condition {
    let facts = Facts {
        account: account_of(&files.subject),
        files: Some(files.files),
        files_max: Some(files.max),
        ..Facts::default()
    };
    let about = About::subject(&files.subject);
    let tenant = Some(files.tenant.clone());
    Condition { tenant, ..Condition::of(Kind::StorageFiles, about, facts) }
}

fn storage_source(source: &str, facts: Facts) -> Condition {
    Condition::of(Kind::StorageSourceDown, About::new("storage", source), facts)
}

fn disk(room: &DiskRoom) -> Condition {
    let facts = Facts {
        folder: Some(room.folder.clone()),
        free_bytes: Some(room.free_bytes),
        size_bytes: Some(room.size_bytes),
        ..Facts::default()
    };
    let severity = critical_if(is_disk_critical(room.free_bytes, room.size_bytes));
    Condition { severity, facts, ..Condition::gate(Kind::DiskNearlyFull) }
}

/// The one that ends first: there is one such alert, whichever that is.
fn certificate(end: &CertificateEnd) -> Condition {
    let facts = Facts {
        certificate: Some(end.certificate.clone()),
        not_after: Some(end.not_after),
        ..Facts::default()
    };
    let severity = critical_if(end.days <= CERTIFICATE_CRITICAL_DAYS);
    Condition { severity, facts, ..Condition::gate(Kind::CertificateExpiring) }
}

fn availability(budget: &SlaBudget) -> Condition {
    let facts = Facts {
        month: Some(budget.month.to_string()),
        down_s: Some(budget.used.as_secs()),
        budget_s: Some(budget.budget.as_secs()),
        ..Facts::default()
    };
    let severity = critical_if(budget.percent >= 100);
    Condition { severity, facts, ..Condition::gate(Kind::SlaBudget) }
}

const fn critical_if(is_critical: bool) -> Severity {
    if is_critical { Severity::Critical } else { Severity::Warning }
}

/// What others wrote, no longer than a message needs.
fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// Stands before the node in the key of an alert about a state of its own.
pub(super) const NODE_MARK: char = '@';
const OBSERVED: &str = Over::Observe.name();
const REFUSED: &str = Over::Refuse.name();
const TEXT_CHARS_MAX: usize = 500;
/// Reasons that a message names.
const REASONS_MAX: usize = 8;
/// A limit with a short window is not said to be free again sooner than this.
const LIMIT_LASTS_MIN: Duration = Duration::from_secs(900);
