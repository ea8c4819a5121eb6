//! Lists of accounts and tenants, in pages: whoever is recorded or has a history, sorted by name.

use super::{Admin, AdminError, SubjectView, Who, explain::SENDING_UNITS, subjects::show};
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
    /// How many, 1 to [`PAGE_MAX`].
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
    let mut page = page(admin, (SubjectKind::Accounts, Whose::Of(tenant)), request).await?;
    // One that sent under this tenant's name may have been assigned to another since.
    page.items.retain(|account| account.tenant.as_ref() == Some(tenant));
    Ok(page)
}

async fn page(
    admin: &Admin,
    (kind, whose): (SubjectKind, Whose<'_>),
    request: &PageRequest,
) -> Result<Page<SubjectView>, AdminError> {
    let max = request.max.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let mut names = names_after(admin, (kind, whose), request.after.as_deref(), max + 1).await?;
    let more = names.len() > max;
    names.truncate(max);
    let mut items = Vec::with_capacity(names.len());
    for name in &names {
        // A name in the store was a valid one when it was stored; one that is not is left out.
        let Ok(subject) = Who::new(kind, name) else { continue };
        items.push(show(admin, &subject).await?);
    }
    Ok(Page { items, next: names.pop().filter(|_| more) })
}

/// The first `max` names after `after`. Each source gives as many, so the first of all of them are among these.
async fn names_after(
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

/// Entries of a page if no figure is given.
const PAGE_DEFAULT: usize = 100;
/// The most entries of one page.
pub const PAGE_MAX: usize = 1_000;
