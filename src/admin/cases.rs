//! Cases: what a suspension rests on, of a present one from its record and of a past one from the audit.

use super::{Admin, AdminError, Caller};
use crate::{
    rules::suspension::{Case, Sample},
    store::{
        archive::{AUDIT_PAGE_MAX, AuditEntry, AuditFilter, Order, audit::chain::Field},
        records::{Choice, SubjectRecord, Suspension},
    },
    types::{AccountId, CaseId, SubjectId, TenantId, Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CaseView {
    /// Its id, as the sender hears it.
    pub case: CaseId,
    /// Whose it is: `account a@shop.example`.
    pub subject: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when, if it lifts by itself.
    pub until: Option<Timestamp>,
    /// True while the suspension lasts.
    pub present: bool,
    /// Why.
    pub reason: String,
    /// Who suspended.
    pub actor: String,
    /// All points against the sender; none where a person suspended.
    pub points: Option<f32>,
    /// The points of each signal that had any, the heaviest first.
    pub signals: Vec<SignalView>,
    /// The first messages that spoke against the sender.
    pub messages: Vec<SampleView>,
}

/// What one signal adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SignalView {
    /// The signal's name.
    pub signal: String,
    /// Its points.
    pub points: f32,
}

/// A message of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SampleView {
    /// When.
    pub at: Timestamp,
    /// The client's address.
    pub client: String,
    /// From, shortened.
    pub from: String,
    /// How many recipients.
    pub recipients: u32,
    /// The subject, shortened.
    pub subject: String,
    /// The points against the sender after it.
    pub points: f32,
    /// Why.
    pub reasons: Vec<String>,
}

impl From<&Sample> for SampleView {
    fn from(sample: &Sample) -> Self {
        let Sample { at, client, from, subject, recipients, points, reasons } = sample.clone();
        Self { at, client, from, recipients, subject, points, reasons }
    }
}

impl CaseView {
    fn present(subject: &SubjectId, suspension: &Suspension) -> Self {
        let view = Self {
            case: suspension.case.clone(),
            subject: subject.to_string(),
            since: suspension.since,
            until: suspension.until,
            present: true,
            reason: suspension.reason.clone(),
            actor: suspension.actor.clone(),
            points: None,
            signals: Vec::new(),
            messages: Vec::new(),
        };
        view.with(suspension.evidence.as_deref())
    }

    fn past(id: &CaseId, entry: &AuditEntry) -> Self {
        let value = |field| entry.value(field).map(ToOwned::to_owned);
        let evidence = entry.value(Field::Evidence);
        let evidence: Option<Case> = evidence.and_then(|text| serde_json::from_str(text).ok());
        let view = Self {
            case: id.clone(),
            subject: value(Field::Subject).unwrap_or_default(),
            since: entry.link.at,
            until: None,
            present: false,
            reason: value(Field::Reason).unwrap_or_default(),
            actor: value(Field::Actor).unwrap_or_default(),
            points: None,
            signals: Vec::new(),
            messages: Vec::new(),
        };
        view.with(evidence.as_ref())
    }

    fn with(mut self, evidence: Option<&Case>) -> Self {
        if let Some(evidence) = evidence {
            let signal = |&(signal, points): &(crate::rules::spam::Signal, f32)| SignalView {
                signal: signal.name().into(),
                points,
            };
            self.points = Some(evidence.points);
            self.signals = evidence.signals.iter().map(signal).collect();
            self.messages = evidence.samples.iter().map(SampleView::from).collect();
        }
        self
    }

    /// What is shown to a caller: who of the provider's people did something is not for tenants.
    #[must_use]
    pub fn as_seen_by(mut self, caller: &Caller) -> Self {
        if !caller.sees_all() {
            self.actor = super::view::HIDDEN.into();
        }
        self
    }
}

/// The case of whoever is suspended now.
#[must_use]
pub fn case_of(subject: &SubjectId, record: &SubjectRecord) -> Option<CaseView> {
    record.suspension.as_ref().map(|suspension| CaseView::present(subject, suspension))
}

/// The case of this id, and the tenant whose matter it is.
///
/// # Errors
/// [`AdminError::NotFound`] if there is none among those that last and the newest of the past.
pub async fn case(admin: &Admin, id: &CaseId) -> Result<(CaseView, TenantId), AdminError> {
    let present = admin.records.chosen(Choice::OfCase(id), 1).await?;
    let present = present.first();
    let present = present.and_then(|(subject, record)| Some((subject, case_of(subject, record)?)));
    if let Some((subject, found)) = present {
        return Ok((found, owner(admin, subject).await?));
    }
    past(admin, id).await
}

async fn owner(admin: &Admin, subject: &SubjectId) -> Result<TenantId, AdminError> {
    match subject {
        SubjectId::Tenant(tenant) => Ok(tenant.clone()),
        SubjectId::Account(account) => super::tenant_of(admin, account).await,
    }
}

async fn past(admin: &Admin, id: &CaseId) -> Result<(CaseView, TenantId), AdminError> {
    let after = format!("case {id}");
    let mut beyond = None;
    for _ in 0..PAGES_MAX {
        let filter = AuditFilter {
            actions: vec![String::from("suspended"), String::from("cancelled")],
            order: Order::Newest,
            beyond,
            max: AUDIT_PAGE_MAX,
            ..AuditFilter::default()
        };
        let page = admin.archive.audit(filter).await?;
        // Of several entries of a case the one with the evidence tells most; it is the oldest, and close to the others.
        let of_case = page.iter().filter(|entry| entry.value(Field::After) == Some(&*after));
        let found = of_case.max_by_key(|entry| entry.value(Field::Evidence).is_some());
        if let Some((entry, subject)) = found.and_then(|entry| Some((entry, subject_of(entry)?))) {
            return Ok((CaseView::past(id, entry), owner(admin, &subject).await?));
        }
        if page.len() < AUDIT_PAGE_MAX {
            break;
        }
        beyond = page.last().map(|entry| entry.link.number);
    }
    Err(AdminError::NotFound(format!("there is no case {id}")))
}

fn subject_of(entry: &AuditEntry) -> Option<SubjectId> {
    let (kind, name) = entry.value(Field::Subject)?.split_once(' ')?;
    match kind {
        "account" => name.parse::<AccountId>().ok().map(SubjectId::Account),
        "tenant" => name.parse::<TenantId>().ok().map(SubjectId::Tenant),
        _ => None,
    }
}

/// Pages of the audit that are looked through for a past case.
const PAGES_MAX: usize = 40;
