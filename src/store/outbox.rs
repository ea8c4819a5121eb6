//! Changes of records on their way into the audit.
//!
//! A store writes each change together with the record that it changes and keeps it until the audit has it. The audit takes
//! them in their order; by their random keys it knows those that it has already, whatever ended between its commit and the
//! cut here. While the audit cannot be written, changes wait, and when [`WAITING_MAX`] wait no more are taken.

use super::{
    StoreError,
    records::{Change, Judged, SubjectRecord, What},
};
use crate::{
    rules::{identity, limits::LimitOverride},
    types::{Actor, CaseId, SubjectId, TenantId, Timestamp},
};
use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::Notify;

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Changed {
    /// Its number in this store: later changes have higher ones.
    pub number: i64,
    /// Drawn for this change: the audit takes a key once.
    pub key: [u8; 16],
    /// When, in UTC.
    pub at: Timestamp,
    /// Whose record.
    pub subject: SubjectId,
    /// The tenant whose matter it is.
    pub tenant: TenantId,
    /// What was done, as a stable word; docs/audit.md has them all.
    pub action: String,
    /// What stood there before.
    pub before: Option<String>,
    /// What stands there now.
    pub after: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What an automatic decision was made on.
    pub evidence: Option<String>,
    /// Who did it.
    pub actor: Actor,
}

impl Changed {
    /// What a change does to a record, with a key of its own.
    pub(super) fn draw(
        number: i64,
        record: &SubjectRecord,
        change: &Change,
        at: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut key = [0; 16];
        let no_random = |error| StoreError::Unavailable(format!("draw a key: {error}"));
        getrandom::fill(&mut key).map_err(no_random)?;
        let (action, before, after) = told(record, &change.what);
        Ok(Self {
            number,
            key,
            at,
            subject: change.subject.clone(),
            tenant: tenant_of(&change.subject, record),
            action: action.into(),
            before,
            after,
            reason: Some(change.reason.clone()).filter(|reason| !reason.is_empty()),
            evidence: change.evidence.clone(),
            actor: change.actor.clone(),
        })
    }
}

fn tenant_of(subject: &SubjectId, record: &SubjectRecord) -> TenantId {
    match subject {
        SubjectId::Tenant(tenant) => tenant.clone(),
        SubjectId::Account(account) => {
            record.tenant.clone().unwrap_or_else(|| identity::tenant_of(account))
        }
    }
}

/// What a change is called, and what stands there before and after it.
fn told(record: &SubjectRecord, what: &What) -> (&'static str, Option<String>, Option<String>) {
    match what {
        What::Register => ("registered", None, None),
        What::Plan(plan) => {
            ("plan-changed", text_or(&record.plan, "default"), text_or(plan, "default"))
        }
        What::Tenant(tenant) => {
            let by_name = "as its name says";
            ("tenant-changed", text_or(&record.tenant, by_name), text_or(tenant, by_name))
        }
        What::Senders(senders) => ("senders-changed", listed(&record.senders), listed(senders)),
        What::Contact(contact) => {
            ("contact-changed", text_or(&record.contact, "none"), text_or(contact, "none"))
        }
        What::Language(language) => {
            ("language-changed", text_or(&record.language, "en"), text_or(language, "en"))
        }
        What::SetOverride(given) => {
            ("limit-set", override_at(record, given), Some(override_text(given)))
        }
        What::ClearOverride(given) => ("limit-cleared", override_at(record, given), None),
        What::Suspend { case, .. } => ("suspended", None, case_after(record, case)),
        What::Cancel(case) => ("cancelled", case_of(record), case_after(record, case)),
        What::Resume { .. } => ("resumed", case_of(record).or_else(|| standing_of(record)), None),
        What::Judge(judged) => told_of_judgement(record, judged),
        What::Adopt(other) => {
            let next = record.with_what_lacks(other);
            let after =
                next.suspension.as_ref().map(|suspension| format!("case {}", suspension.case));
            (
                "adopted",
                case_of(record).or_else(|| standing_of(record)),
                after.or_else(|| standing_of(&next)),
            )
        }
    }
}

fn told_of_judgement(
    record: &SubjectRecord,
    judged: &Judged,
) -> (&'static str, Option<String>, Option<String>) {
    let after = judged.to.standing();
    match (&record.suspension, &judged.case) {
        (_, Some(case)) if after.is_shut() => {
            ("suspended", None, Some(format!("case {}", case.id)))
        }
        (Some(_), _) if !after.is_shut() => ("resumed", case_of(record), None),
        _ => ("standing-changed", standing_of(record), Some(after.name().to_owned())),
    }
}

fn standing_of(record: &SubjectRecord) -> Option<String> {
    Some(record.conduct().standing().name().to_owned())
}

fn case_of(record: &SubjectRecord) -> Option<String> {
    record.suspension.as_ref().map(|suspension| format!("case {}", suspension.case))
}

/// The case that a suspension goes on under, or begins.
fn case_after(record: &SubjectRecord, new: &CaseId) -> Option<String> {
    case_of(record).or_else(|| Some(format!("case {new}")))
}

fn text_or<T: ToString>(value: &Option<T>, default: &str) -> Option<String> {
    Some(value.as_ref().map_or_else(|| default.to_owned(), ToString::to_string))
}

fn listed(senders: &[String]) -> Option<String> {
    Some(senders.join(" ")).filter(|text| !text.is_empty())
}

/// The override that stands where another is put.
fn override_at(record: &SubjectRecord, place: &LimitOverride) -> Option<String> {
    record.overrides.iter().find(|other| other.place() == place.place()).map(override_text)
}

fn override_text(given: &LimitOverride) -> String {
    let max = given.max.map_or_else(|| String::from("none"), |max| max.to_string());
    let until = given.until.map_or_else(String::new, |until| format!(" until {until}"));
    format!("{} {} {}: {max}{until}", given.scope, given.unit, given.window)
}

/// The changes that wait.
#[derive(Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    more: Notify,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Changed>,
    last: i64,
}

impl Outbox {
    /// The changes that a file holds, and the highest number that one ever had.
    pub(super) fn restored(waiting: Vec<Changed>, last: i64) -> Self {
        let inner = Inner { waiting: waiting.into(), last };
        Self { inner: Mutex::new(inner), more: Notify::new() }
    }

    /// A number for the next change.
    ///
    /// # Errors
    /// [`StoreError::Full`] if too many wait already.
    pub(super) fn next_number(&self) -> Result<i64, StoreError> {
        let mut inner = self.inner.lock();
        if inner.waiting.len() >= WAITING_MAX {
            let what = "the list of changes that wait for the audit";
            return Err(StoreError::Full { what, max: WAITING_MAX });
        }
        inner.last += 1;
        Ok(inner.last)
    }

    pub(super) fn push(&self, changed: Changed) {
        self.inner.lock().waiting.push_back(changed);
        self.more.notify_one();
    }

    /// True while a change waits that names this subject; each names a tenant, too.
    pub(super) fn waits_for(&self, subject: &SubjectId) -> bool {
        let names = |changed: &Changed| {
            let is_tenants = match subject {
                SubjectId::Tenant(tenant) => changed.tenant == *tenant,
                SubjectId::Account(_) => false,
            };
            is_tenants || changed.subject == *subject
        };
        self.inner.lock().waiting.iter().any(names)
    }

    /// The oldest, up to `max`; waits for one if there is none. For one caller at a time.
    pub(super) async fn oldest(&self, max: usize) -> Vec<Changed> {
        loop {
            let oldest: Vec<_> = self.inner.lock().waiting.iter().take(max).cloned().collect();
            if !oldest.is_empty() {
                return oldest;
            }
            self.more.notified().await;
        }
    }

    /// Forgets those up to a number.
    pub(super) fn cut(&self, up_to: i64) {
        let mut inner = self.inner.lock();
        while inner.waiting.front().is_some_and(|changed| changed.number <= up_to) {
            inner.waiting.pop_front();
        }
    }
}

/// Changes that wait while the audit cannot be written.
const WAITING_MAX: usize = 10_000;
