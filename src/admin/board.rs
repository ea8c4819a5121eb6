//! What whoever watches the whole gate wants to see first: who is suspended, and who is near a limit.

use super::{
    Admin, AdminError, LimitView, PAGE_MAX, Page, PageRequest, SubjectView, Who, show, tenant_of,
};
use crate::{
    store::{
        archive::{EVENTS_PAGE_MAX, EventFilter, EventRow},
        records::{Choice, Recorded},
    },
    types::{AccountId, SubjectId, TenantId, Timestamp},
};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashSet},
};

/// An account or tenant with the limit of which it used the greatest part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// Who it is.
    pub subject: SubjectId,
    /// The limit.
    pub limit: LimitView,
}

/// Whoever is suspended, the latest first, at most [`SUSPENDED_MAX`].
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn suspended(admin: &Admin) -> Result<Vec<SubjectView>, AdminError> {
    let mut chosen = admin.records.chosen(Choice::Suspended, SUSPENDED_MAX).await?;
    chosen.sort_by_key(|recorded| Reverse(suspended_since(recorded)));
    let mut views = Vec::with_capacity(chosen.len());
    for (subject, _) in chosen {
        views.push(show(admin, &Who::from(subject)).await?);
    }
    Ok(views)
}

fn suspended_since((_, record): &Recorded) -> Option<Timestamp> {
    record.suspension.as_ref().map(|suspension| suspension.since)
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

/// The accounts of a tenant, sorted by name, with their state and the use of their own limits: those that are recorded as its own,
/// and those that sent as its own lately. At most [`ACCOUNTS_OF_MAX`] of a tenant are listed.
///
/// # Errors
/// [`AdminError::Store`] if the store or the archive does not answer.
pub async fn accounts_of(
    admin: &Admin,
    tenant: &TenantId,
    request: &PageRequest,
) -> Result<Page<SubjectView>, AdminError> {
    let max = request.max.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let names = names_of(admin, tenant).await?;
    let after = request.after.as_deref().unwrap_or_default();
    let mut items = Vec::new();
    let mut wanted = names.iter().filter(|name| name.as_str() > after);
    for account in wanted.by_ref().take(max) {
        items.push(show(admin, &Who::from(SubjectId::Account(account.clone()))).await?);
    }
    let next = wanted.next().and(items.last().map(|last| last.name.clone()));
    Ok(Page { items, next })
}

async fn names_of(admin: &Admin, tenant: &TenantId) -> Result<BTreeSet<AccountId>, AdminError> {
    let recorded = admin.records.chosen(Choice::AccountsOf(tenant), ACCOUNTS_OF_MAX).await?;
    let recorded = recorded.into_iter().filter_map(|(subject, _)| match subject {
        SubjectId::Account(account) => Some(account),
        SubjectId::Tenant(_) => None,
    });
    let mut names: BTreeSet<AccountId> = recorded.collect();
    let told = EventFilter {
        tenant: Some(tenant.clone()),
        max: EVENTS_PAGE_MAX,
        ..EventFilter::default()
    };
    for event in admin.archive.events(told).await? {
        let Some(Ok(account)) = event.account.map(|name| name.parse()) else { continue };
        // An account may have been another tenant's since.
        if !names.contains(&account) && tenant_of(admin, &account).await? == *tenant {
            names.insert(account);
        }
    }
    Ok(names)
}

/// The most accounts of one tenant that are listed.
pub const ACCOUNTS_OF_MAX: usize = 5_000;
/// The most that are shown of whoever is suspended.
pub const SUSPENDED_MAX: usize = 200;
