//! The records of accounts and tenants in memory, and what a change makes of a record.
//!
//! [`apply`] is pure: the same rules hold for every store. The cache is read at each MAIL, so it holds all records.

use super::{
    StoreError, Whose,
    disguise::{Disguise, ERASED_ACCOUNT},
    records::{
        Change, Choice, Judged, OVERRIDES_MAX, Recorded, SENDERS_MAX, SubjectKind, SubjectRecord,
        Suspension, What,
    },
};
use crate::{
    rules::{
        identity,
        limits::{LimitOverride, check_override},
        suspension::{Conduct, Standing},
    },
    types::{CaseId, Key, Span, SubjectId, Timestamp},
};
use dashmap::DashMap;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// All records.
#[derive(Default)]
pub(super) struct Subjects {
    records: DashMap<SubjectId, Arc<SubjectRecord>>,
    /// Shared by all subjects that have no record.
    absent: Arc<SubjectRecord>,
    /// What suspensions of erased accounts are found by; none: there are none.
    disguise: Option<Arc<Disguise>>,
    has_erased: AtomicBool,
}

impl Subjects {
    /// The same, with a key for accounts that are erased.
    pub(super) fn with_disguise(disguise: Arc<Disguise>) -> Self {
        Self { disguise: Some(disguise), ..Self::default() }
    }

    pub(super) fn find(&self, subject: &SubjectId) -> Arc<SubjectRecord> {
        if let Some(found) = self.records.get(subject) {
            return found.clone();
        }
        let erased = self.erased(subject);
        let erased = erased.and_then(|alias| self.records.get(&alias).map(|found| found.clone()));
        erased.unwrap_or_else(|| self.absent.clone())
    }

    /// The name under which the suspension of an erased account is kept, if it has one; not if the account has a record of its own.
    pub(super) fn erased(&self, subject: &SubjectId) -> Option<SubjectId> {
        if !self.has_erased.load(Relaxed) || self.records.contains_key(subject) {
            return None;
        }
        let alias = self.disguise.as_ref()?.of_subject(subject)?;
        self.records.contains_key(&alias).then_some(alias)
    }

    /// The name under which what is left of an account stands, if it was erased.
    pub(super) fn known_alias(&self, subject: &SubjectId) -> Option<SubjectId> {
        if !self.may_have_erased() {
            return None;
        }
        self.alias_of(subject).filter(|alias| self.records.contains_key(alias))
    }

    pub(super) fn may_have_erased(&self) -> bool {
        self.has_erased.load(Relaxed)
    }

    /// What such names are made with.
    pub(super) fn disguise(&self) -> Option<&Disguise> {
        self.disguise.as_deref()
    }

    /// The name of an erased window.
    pub(super) fn window_alias(&self, key: &Key) -> Option<String> {
        Some(self.disguise.as_ref()?.of_window(key.as_str()))
    }

    /// The name under which what is left of an account stays.
    pub(super) fn alias_of(&self, subject: &SubjectId) -> Option<SubjectId> {
        self.disguise.as_ref()?.of_subject(subject)
    }

    /// Puts a record in; one that says nothing is taken out.
    pub(super) fn put(&self, subject: SubjectId, record: Arc<SubjectRecord>) {
        if is_erased(&subject) {
            self.has_erased.store(true, Relaxed);
        }
        if *record == *self.absent {
            self.records.remove(&subject);
        } else {
            self.records.insert(subject, record);
        }
    }

    pub(super) fn check_room(&self, subject: &SubjectId) -> Result<(), StoreError> {
        if self.records.contains_key(subject) || self.records.len() < SUBJECTS_MAX {
            return Ok(());
        }
        Err(StoreError::Full { what: "the table of accounts and tenants", max: SUBJECTS_MAX })
    }

    /// The first `max` of a kind after `after`, by name. Walks all records, one shard at a time.
    pub(super) fn list(
        &self,
        kind: SubjectKind,
        whose: Whose<'_>,
        after: Option<&str>,
        max: usize,
    ) -> Vec<Recorded> {
        let mut first: BTreeMap<String, Recorded> = BTreeMap::new();
        for entry in &self.records {
            let name = name_of(entry.key());
            let wanted = kind_of(entry.key()) == kind
                && after.is_none_or(|after| name > after)
                && whose.has(entry.key(), entry.value());
            let full = first.len() >= max;
            if !wanted
                || full && first.last_key_value().is_none_or(|(last, _)| name > last.as_str())
            {
                continue;
            }
            first.insert(name.to_owned(), (entry.key().clone(), entry.value().clone()));
            if full {
                first.pop_last();
            }
        }
        first.into_values().collect()
    }

    /// Up to `max` that are chosen; of the suspended and the flagged the latest, the latest first. Walks the records, one shard at a time.
    pub(super) fn chosen(&self, choice: Choice<'_>, max: usize) -> Vec<Recorded> {
        let chosen = self.records.iter().filter(|entry| is_chosen(choice, entry.key(), entry));
        let chosen = chosen.map(|entry| (entry.key().clone(), entry.value().clone()));
        match choice {
            Choice::Suspended | Choice::Flagged => latest(chosen, max),
            Choice::AccountsOf(_) | Choice::OfCase(_) => chosen.take(max).collect(),
        }
    }

    /// All that are not among these. Walks the records, one shard at a time.
    pub(super) fn beside(&self, these: &HashSet<SubjectId>) -> Vec<Recorded> {
        let others = self.records.iter().filter(|entry| !these.contains(entry.key()));
        others.map(|entry| (entry.key().clone(), entry.value().clone())).collect()
    }

    /// Calls `see` with each override.
    pub(super) fn for_each_override(&self, mut see: impl FnMut(&LimitOverride)) {
        for entry in &self.records {
            entry.overrides.iter().for_each(&mut see);
        }
    }
}

fn is_erased(subject: &SubjectId) -> bool {
    name_of(subject).starts_with(ERASED_ACCOUNT)
}

/// What is kept of the record of an account or tenant that is erased: a suspension, with nothing in it that was said of it.
pub(super) fn left_of(record: &SubjectRecord) -> SubjectRecord {
    let Some(suspension) = &record.suspension else { return SubjectRecord::default() };
    let erased = || "erased".to_owned();
    SubjectRecord {
        tenant: record.tenant.clone(),
        suspension: Some(Suspension {
            case: suspension.case.clone(),
            since: suspension.since,
            reason: erased(),
            actor: erased(),
            until: suspension.until,
            evidence: None,
            password: None,
        }),
        conduct: record.conduct.clone(),
        ..SubjectRecord::default()
    }
}

fn is_chosen(choice: Choice<'_>, subject: &SubjectId, record: &SubjectRecord) -> bool {
    match (choice, subject) {
        (Choice::Suspended, _) => record.suspension.is_some(),
        (Choice::Flagged, _) => record.conduct.as_ref().is_some_and(|conduct| {
            matches!(conduct.standing(), Standing::Warned | Standing::Throttled { .. })
        }),
        (Choice::OfCase(id), _) => record.suspension.as_ref().is_some_and(|it| it.case == *id),
        (Choice::AccountsOf(tenant), SubjectId::Account(account)) => match &record.tenant {
            Some(assigned) => assigned == tenant,
            None => identity::tenant_of(account) == *tenant,
        },
        (Choice::AccountsOf(_), SubjectId::Tenant(_)) => false,
    }
}

/// The `max` that were suspended, or flagged, last, the latest first; holds no more than twice as many.
fn latest(chosen: impl Iterator<Item = Recorded>, max: usize) -> Vec<Recorded> {
    let since = |(_, record): &Recorded| {
        let flagged = record.conduct.as_ref().map(|conduct| conduct.since());
        record.suspension.as_ref().map(|suspension| suspension.since).or(flagged)
    };
    let mut latest = Vec::new();
    for recorded in chosen {
        if latest.len() > 2 * max {
            latest.sort_by_key(|recorded| Reverse(since(recorded)));
            latest.truncate(max);
        }
        latest.push(recorded);
    }
    latest.sort_by_key(|recorded| Reverse(since(recorded)));
    latest.truncate(max);
    latest
}

pub(super) const fn kind_of(subject: &SubjectId) -> SubjectKind {
    match subject {
        SubjectId::Account(_) => SubjectKind::Accounts,
        SubjectId::Tenant(_) => SubjectKind::Tenants,
    }
}

pub(super) fn name_of(subject: &SubjectId) -> &str {
    match subject {
        SubjectId::Account(account) => account.as_str(),
        SubjectId::Tenant(tenant) => tenant.as_str(),
    }
}

/// The record after a change.
pub(super) fn apply(
    record: &SubjectRecord,
    change: &Change,
    now: Timestamp,
) -> Result<SubjectRecord, StoreError> {
    let mut next = record.clone();
    match &change.what {
        What::Register => next.registered = true,
        What::Plan(plan) => next.plan.clone_from(plan),
        What::Tenant(tenant) => {
            accounts_only(&change.subject, "belongs to a tenant")?;
            next.tenant.clone_from(tenant);
        }
        What::Senders(senders) => {
            accounts_only(&change.subject, "has envelope senders")?;
            next.senders = bounded(senders, SENDERS_MAX, "the list of senders")?;
        }
        What::Contact(contact) => next.contact.clone_from(contact),
        What::Language(language) => next.language = *language,
        What::SetOverride(given) => set_override(&mut next, change, given, now)?,
        What::ClearOverride(given) => clear_override(&mut next, given)?,
        What::Suspend { case, password } => suspend(&mut next, change, (case, *password), now)?,
        What::Cancel(case) => cancel(&mut next, change, case, now)?,
        What::Resume { probation } => resume(&mut next, change, *probation, now)?,
        What::Judge(judged) => judge(&mut next, change, judged)?,
        What::Adopt(other) => {
            next = record.with_what_lacks(other);
            next.overrides = bounded(&next.overrides, OVERRIDES_MAX, "the list of overrides")?;
        }
    }
    Ok(next)
}

fn accounts_only(subject: &SubjectId, what: &str) -> Result<(), StoreError> {
    match subject {
        SubjectId::Account(_) => Ok(()),
        SubjectId::Tenant(_) => conflict(format!("only an account {what}, not {subject}")),
    }
}

fn bounded<T: Clone>(list: &[T], max: usize, what: &'static str) -> Result<Vec<T>, StoreError> {
    if list.len() <= max { Ok(list.to_vec()) } else { Err(StoreError::Full { what, max }) }
}

fn set_override(
    record: &mut SubjectRecord,
    change: &Change,
    given: &LimitOverride,
    now: Timestamp,
) -> Result<(), StoreError> {
    check_override(&change.subject, given)
        .or_else(|error| conflict(format!("failed to set the limit: {error}")))?;
    record.overrides.retain(|other| other.holds(now) && other.place() != given.place());
    record.overrides.push(given.clone());
    record.overrides = bounded(&record.overrides, OVERRIDES_MAX, "the list of overrides")?;
    Ok(())
}

fn clear_override(record: &mut SubjectRecord, given: &LimitOverride) -> Result<(), StoreError> {
    let before = record.overrides.len();
    record.overrides.retain(|other| other.place() != given.place());
    if record.overrides.len() < before {
        return Ok(());
    }
    let (scope, unit, window) = given.place();
    conflict(format!("there is no override of {scope} {unit} in {window}"))
}

fn suspend(
    record: &mut SubjectRecord,
    change: &Change,
    (case, password): (&CaseId, Option<u64>),
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(suspension) = record.suspension.as_ref().filter(|it| it.until.is_none()) {
        return conflict(format!(
            "{} is already suspended, case {}",
            change.subject, suspension.case
        ));
    }
    let mut conduct = record.conduct();
    let _ = conduct.hold(now);
    shut(record, change, (case, password), now);
    set_conduct(record, conduct);
    Ok(())
}

fn cancel(
    record: &mut SubjectRecord,
    change: &Change,
    case: &CaseId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut conduct = record.conduct();
    if conduct.standing() == Standing::Cancelled {
        return conflict(format!("{} is already cancelled", change.subject));
    }
    let _ = conduct.cancel(now);
    shut(record, change, (case, None), now);
    set_conduct(record, conduct);
    Ok(())
}

/// Nothing may be sent until a person decides otherwise; a case that there is already goes on.
fn shut(
    record: &mut SubjectRecord,
    change: &Change,
    (case, password): (&CaseId, Option<u64>),
    now: Timestamp,
) {
    let before = record.suspension.take();
    let (reason, actor) = (change.reason.clone(), change.actor.to_string());
    record.suspension = Some(match before {
        Some(before) => Suspension { reason, actor, until: None, ..before },
        None => Suspension {
            case: case.clone(),
            since: now,
            reason,
            actor,
            until: None,
            evidence: None,
            password,
        },
    });
}

fn resume(
    record: &mut SubjectRecord,
    change: &Change,
    probation: Option<Span>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut conduct = record.conduct();
    let was_suspended = record.suspension.take().is_some();
    let is_free = conduct.standing() == Standing::Active && conduct.probation(now).is_none();
    if !was_suspended && is_free {
        return conflict(format!("{} is not suspended", change.subject));
    }
    let _ = conduct.lift(now, probation.filter(|_| was_suspended));
    set_conduct(record, conduct);
    Ok(())
}

fn judge(record: &mut SubjectRecord, change: &Change, judged: &Judged) -> Result<(), StoreError> {
    if record.conduct() != judged.from {
        return conflict(format!("the standing of {} has changed meanwhile", change.subject));
    }
    set_conduct(record, judged.to.clone());
    if !judged.to.standing().is_shut() {
        record.suspension = None;
    } else if let Some(case) = &judged.case {
        record.suspension = Some(Suspension {
            case: case.id.clone(),
            since: case.opened,
            reason: change.reason.clone(),
            actor: change.actor.to_string(),
            until: judged.to.standing().until(),
            evidence: Some(case.clone()),
            password: judged.password,
        });
    }
    Ok(())
}

fn set_conduct(record: &mut SubjectRecord, conduct: Conduct) {
    record.conduct = Some(conduct).filter(|conduct| !conduct.is_blank()).map(Box::new);
}

fn conflict<T>(why: String) -> Result<T, StoreError> {
    Err(StoreError::Conflict(why))
}

/// How many accounts and tenants have a record.
const SUBJECTS_MAX: usize = 20_000_000;
