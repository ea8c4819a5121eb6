//! What whoever watches the whole gate wants to see first: who is suspended, and who is near a limit.

use super::{Admin, AdminError, LimitView, SubjectView, Who, show};
use crate::{
    store::{
        archive::{EVENTS_PAGE_MAX, EventFilter, EventRow},
        records::Choice,
    },
    types::SubjectId,
};
use std::{cmp::Reverse, collections::HashSet};

/// An account or tenant with the limit of which it used the greatest part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// Who it is.
    pub subject: SubjectId,
    /// The limit.
    pub limit: LimitView,
}

/// An account or tenant that is warned or throttled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flagged {
    /// What is recorded.
    pub view: SubjectView,
    /// What speaks against it, the heaviest first: `place 3.5`.
    pub reasons: Vec<String>,
}

/// Whoever is suspended, the latest first, at most [`SUSPENDED_MAX`].
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn suspended(admin: &Admin) -> Result<Vec<SubjectView>, AdminError> {
    let chosen = admin.records.chosen(Choice::Suspended, SUSPENDED_MAX).await?;
    let mut views = Vec::with_capacity(chosen.len());
    for (subject, _) in chosen {
        views.push(show(admin, &Who::from(subject)).await?);
    }
    Ok(views)
}

/// Whoever is warned or throttled, the latest first, at most [`FLAGGED_MAX`].
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn flagged(admin: &Admin) -> Result<Vec<Flagged>, AdminError> {
    let chosen = admin.records.chosen(Choice::Flagged, FLAGGED_MAX).await?;
    let mut flagged = Vec::with_capacity(chosen.len());
    for (subject, _) in chosen {
        let view = show(admin, &Who::from(subject.clone())).await?;
        if view.standing.is_flagged() {
            flagged.push(Flagged { view, reasons: held_against(admin, &subject).await? });
        }
    }
    Ok(flagged)
}

/// The signals that speak against a sender: `place 3.5`.
async fn held_against(admin: &Admin, subject: &SubjectId) -> Result<Vec<String>, AdminError> {
    let SubjectId::Account(account) = subject else { return Ok(Vec::new()) };
    let mind = admin.behaviour.mind(account).await?;
    let signals = mind.map(|mind| mind.evidence().by_weight()).unwrap_or_default();
    let named =
        signals.into_iter().map(|(signal, points)| format!("{} {points:.1}", signal.name()));
    Ok(named.collect())
}

/// The accounts and tenants that used the greatest part of one of their limits, at most `max`. Looked at are those of which it
/// was told lately that they reached 80 % of a limit; the use is what it is now.
///
/// # Errors
/// [`AdminError::Store`] if the store or the archive does not answer.
pub async fn nearest(admin: &Admin, max: usize) -> Result<Vec<Nearest>, AdminError> {
    let names = vec![String::from("limit-reached")];
    let told = EventFilter { names, max: EVENTS_PAGE_MAX, ..EventFilter::default() };
    let told = admin.archive.events(told).await?;
    let (mut seen, mut nearest) = (HashSet::new(), Vec::new());
    for subject in told.iter().filter_map(whose) {
        if seen.insert(subject.clone()) {
            nearest.extend(fullest(admin, subject).await?);
        }
    }
    nearest.sort_by_key(|near| Reverse(thousandths(&near.limit)));
    nearest.truncate(max);
    Ok(nearest)
}

fn whose(event: &EventRow) -> Option<SubjectId> {
    let account = event.account.as_ref().and_then(|name| name.parse().ok());
    let tenant = event.tenant.as_ref().and_then(|name| name.parse().ok());
    account.map(SubjectId::Account).or_else(|| tenant.map(SubjectId::Tenant))
}

/// The limit of which a subject used the greatest part, if it used any.
async fn fullest(admin: &Admin, subject: SubjectId) -> Result<Option<Nearest>, AdminError> {
    let view = show(admin, &Who::from(subject.clone())).await?;
    let used = view.limits.into_iter().filter(|limit| limit.used > 0);
    Ok(used.max_by_key(thousandths).map(|limit| Nearest { subject, limit }))
}

/// How much of a limit is used; a limit of nothing is always used up.
fn thousandths(limit: &LimitView) -> u64 {
    u64::from(limit.used) * 1000 / u64::from(limit.max.max(1))
}

/// The most that are shown of whoever is suspended.
pub const SUSPENDED_MAX: usize = 200;
/// The most that are shown of whoever is warned or throttled.
pub const FLAGGED_MAX: usize = 200;
