//! Lists of accounts and tenants, in pages: whoever is recorded or has a history, sorted by name.

use super::{
    Admin, AdminError, SubjectView, Who, explain::SENDING_UNITS, subjects::show, tenant_of,
};
use crate::{
    store::{Whose, records::SubjectKind},
    types::{Key, Scope, SubjectId, TenantId},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Which part of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct PageRequest {
    /// Only names after this one.
    pub after: Option<String>,
    /// How many, 1 to 1,000.
    #[param(minimum = 1, maximum = 1000)]
    pub max: Option<usize>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The entries, sorted by name.
    pub items: Vec<T>,
    /// What to give as `after` for the next part; none: this was the last one.
    pub next: Option<String>,
}

/// Lists accounts or tenants with their state, plan, limits and use.
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn list(
    admin: &Admin,
    kind: SubjectKind,
    request: &PageRequest,
) -> Result<Page<SubjectView>, AdminError> {
    page(admin, (kind, Whose::All), request).await
}

/// Lists the accounts of one tenant.
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn accounts_of(
    admin: &Admin,
    tenant: &TenantId,
    request: &PageRequest,
) -> Result<Page<SubjectView>, AdminError> {
    page(admin, (SubjectKind::Accounts, Whose::Of(tenant)), request).await
}

async fn page(
    admin: &Admin,
    (kind, whose): (SubjectKind, Whose<'_>),
    request: &PageRequest,
) -> Result<Page<SubjectView>, AdminError> {
    let max = request.max.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let after = request.after.as_deref();
    let Found { mut names, looked_up_to } = find(admin, (kind, whose), after, max + 1).await?;
    let more = names.len() > max;
    names.truncate(max);
    let mut items = Vec::with_capacity(names.len());
    for name in &names {
        // A name in the store was a valid one when it was stored; one that is not is left out.
        let Ok(subject) = Who::new(kind, name) else { continue };
        items.push(show(admin, &subject).await?);
    }
    Ok(Page { items, next: if more { names.pop() } else { looked_up_to } })
}

/// Names that belong to whom.
struct Found {
    names: Vec<String>,
    /// How far was looked, if that was not to the end.
    looked_up_to: Option<String>,
}

/// The first `max` names after `after` that belong to whom. One that sent under a tenant's name may have been assigned to another
/// since: it is passed over, and named no more than necessary.
async fn find(
    admin: &Admin,
    (kind, whose): (SubjectKind, Whose<'_>),
    after: Option<&str>,
    max: usize,
) -> Result<Found, AdminError> {
    let at_once = match whose {
        Whose::All => max,
        Whose::Of(_) => max.max(NAMES_AT_ONCE),
    };
    let mut names = Vec::new();
    let mut looked_up_to = after.map(ToOwned::to_owned);
    for _ in 0..LOOKS_MAX {
        let some = names_after(admin, (kind, whose), looked_up_to.as_deref(), at_once).await?;
        let is_end = some.len() < at_once;
        looked_up_to = some.last().cloned();
        for name in some {
            if names.len() < max && is_of(admin, whose, &name).await? {
                names.push(name);
            }
        }
        if is_end || names.len() >= max {
            return Ok(Found { names, looked_up_to: None });
        }
    }
    Ok(Found { names, looked_up_to })
}

async fn is_of(admin: &Admin, whose: Whose<'_>, name: &str) -> Result<bool, AdminError> {
    match (whose, name.parse()) {
        (Whose::All, _) => Ok(true),
        (Whose::Of(tenant), Ok(account)) => Ok(tenant_of(admin, &account).await? == *tenant),
        (Whose::Of(_), Err(_)) => Ok(false),
    }
}

/// The first `max` names after `after`. Each source gives as many, so the first of all of them are among these.
pub(super) async fn names_after(
    admin: &Admin,
    (kind, whose): (SubjectKind, Whose<'_>),
    after: Option<&str>,
    max: usize,
) -> Result<Vec<String>, AdminError> {
    let mut names = BTreeSet::new();
    for (subject, _) in admin.records.subjects(kind, whose, after, max).await? {
        names.insert(match subject {
            SubjectId::Account(account) => account.to_string(),
            SubjectId::Tenant(tenant) => tenant.to_string(),
        });
    }
    for unit in SENDING_UNITS {
        names.extend(names_in_ledger(admin, whose, &first_key(kind, unit, after), max).await?);
    }
    Ok(names.into_iter().take(max).collect())
}

async fn names_in_ledger(
    admin: &Admin,
    whose: Whose<'_>,
    after: &Option<Key>,
    max: usize,
) -> Result<Vec<String>, AdminError> {
    let Some(after) = after else { return Ok(Vec::new()) };
    let (scope, unit) = (after.parts().scope, after.parts().unit);
    let keys = admin.ledger.keys(scope, whose, Some(after), max).await?;
    let same_unit = keys.iter().map(Key::parts).take_while(|parts| parts.unit == unit);
    Ok(same_unit.map(|parts| parts.name.to_owned()).collect())
}

/// The key after which a scope's windows of one unit are listed; keys sort by scope, unit and name.
fn first_key(kind: SubjectKind, unit: crate::types::Unit, after: Option<&str>) -> Option<Key> {
    let any = match kind {
        SubjectKind::Accounts => SubjectId::Account("a".parse().ok()?),
        SubjectKind::Tenants => SubjectId::Tenant("a".parse().ok()?),
    };
    let key = Key::of_subject(&any, unit);
    let prefix = key.as_str().strip_suffix('a')?;
    format!("{prefix}{}", after.unwrap_or("")).parse().ok()
}

/// The scope of a kind of subject.
pub(super) const fn scope_of(kind: SubjectKind) -> Scope {
    match kind {
        SubjectKind::Accounts => Scope::Account,
        SubjectKind::Tenants => Scope::Tenant,
    }
}

/// Names that are looked at together where some may be another tenant's by now, and how often that is done for one page.
const NAMES_AT_ONCE: usize = 1_000;
const LOOKS_MAX: usize = 10;
/// Entries of a page if no figure is given.
const PAGE_DEFAULT: usize = 100;
/// The most entries of one page.
pub const PAGE_MAX: usize = 1_000;
