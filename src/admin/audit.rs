//! The audit as people read it, and what of it is not a change of a record.

use super::{
    Admin, AdminError, Page, Since,
    privacy::{DISCLOSED, EXPORTED, HELD, REFUSED, RELEASED},
};
use crate::{
    store::archive::{
        AUDIT_PAGE_MAX, AuditEntry, AuditFilter, NewEntry, Order, Verdict,
        audit::chain::{Field, Head},
    },
    types::{SubjectId, TenantId, Timestamp, Via},
};
use serde::{Deserialize, Serialize};

/// Which entries.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct AuditRequest {
    /// Only what was done to this account, or to this tenant and its accounts.
    pub subject: Option<String>,
    /// Only what was done so: `suspended`.
    pub action: Option<String>,
    /// Only from then on.
    #[param(inline)]
    pub since: Option<Since>,
    /// Only before then.
    #[param(inline)]
    pub until: Option<Since>,
    /// The newest first (the default), or the oldest.
    #[param(inline)]
    pub order: Order,
    /// Only entries beyond this number, in that order.
    pub after: Option<u64>,
    /// How many, 1 to 500.
    #[param(minimum = 1, maximum = 500)]
    pub max: Option<usize>,
}

/// An entry of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditView {
    /// Its number, from 1 on without gaps.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What was done, as a stable word; docs/audit.md has them all.
    pub action: String,
    /// Which way the wish came in.
    pub via: Via,
    /// What it was done to: `account a@shop.example`.
    pub subject: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// What stood there before.
    pub before: Option<String>,
    /// What stands there now.
    pub after: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What an automatic decision was made on; of a complaint, its note.
    pub evidence: Option<String>,
    /// Which of these were there and have been erased.
    pub erased: Vec<String>,
    /// Its hash, which covers all entries before it; none where only a part is shown.
    pub hash: Option<String>,
}

impl From<&AuditEntry> for AuditView {
    fn from(entry: &AuditEntry) -> Self {
        let value = |field| entry.value(field).map(ToOwned::to_owned);
        Self {
            number: entry.link.number,
            at: entry.link.at,
            action: entry.link.action.clone(),
            via: entry.link.via,
            subject: value(Field::Subject),
            actor: value(Field::Actor),
            before: value(Field::Before),
            after: value(Field::After),
            reason: value(Field::Reason),
            evidence: value(Field::Evidence),
            erased: entry.erased().map(|field| field.name().to_owned()).collect(),
            hash: Some(entry.hash.to_string()),
        }
    }
}

/// One page of the audit.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn audit(admin: &Admin, request: &AuditRequest) -> Result<Page<AuditView>, AdminError> {
    page(admin, None, request).await
}

/// One page of a tenant's part of the audit: what was done to it and its accounts, and why; neither by whom nor on what evidence,
/// of an account that moves not from whom or to whom, and nothing of legal holds and of what was copied for whom.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn audit_of_tenant(
    admin: &Admin,
    tenant: &TenantId,
    request: &AuditRequest,
) -> Result<Page<AuditView>, AdminError> {
    let mut page = page(admin, Some(tenant.clone()), request).await?;
    for entry in &mut page.items {
        (entry.actor, entry.evidence, entry.hash) = (None, None, None);
        if entry.action == TENANT_CHANGED {
            (entry.before, entry.after) = (None, None);
        }
        entry.erased.retain(|name| *name != Field::Actor.name() && *name != Field::Evidence.name());
    }
    Ok(page)
}

async fn page(
    admin: &Admin,
    tenant: Option<TenantId>,
    request: &AuditRequest,
) -> Result<Page<AuditView>, AdminError> {
    let now = admin.utc();
    let max = request.max.unwrap_or(PAGE_DEFAULT).clamp(1, AUDIT_PAGE_MAX);
    let filter = AuditFilter {
        hidden: if tenant.is_some() { &STAFF_ONLY } else { &[] },
        actions: request.action.clone().into_iter().collect(),
        tenant,
        about: about(request.subject.as_deref())?,
        since: request.since.map(|since| since.resolve(now)).transpose()?,
        until: request.until.map(|until| until.resolve(now)).transpose()?,
        beyond: request.after,
        order: request.order,
        max,
    };
    let entries = admin.archive.audit(filter).await?;
    let last = entries.last().filter(|_| entries.len() == max);
    let next = last.map(|entry| entry.link.number.to_string());
    Ok(Page { items: entries.iter().map(AuditView::from).collect(), next })
}

/// A name may be an account's, a tenant's, or both.
fn about(name: Option<&str>) -> Result<Vec<SubjectId>, AdminError> {
    let Some(name) = name else { return Ok(Vec::new()) };
    let invalid = |error: crate::types::ParseError| AdminError::Invalid(error.to_string());
    let account = name.parse().map(SubjectId::Account).map_err(invalid)?;
    let tenant = name.parse().map(SubjectId::Tenant).map_err(invalid)?;
    Ok(vec![account, tenant])
}

/// What was found when the whole audit was followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VerdictView {
    /// True if nothing is wrong.
    pub whole: bool,
    /// How many entries are whole, from the first on.
    pub entries: u64,
    /// The number and the hash of the last of them, as `--head` takes it.
    pub head: String,
    /// Values that were erased in order.
    pub erased: u64,
    /// The number of the first entry that is wrong.
    pub first_broken: Option<u64>,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Where the audit ends as is noted beside the archive; `none` where nothing is, and the end cannot be checked.
    pub noted: String,
}

impl From<Verdict> for VerdictView {
    fn from(found: Verdict) -> Self {
        Self {
            whole: found.broken.is_none(),
            entries: found.head.number,
            head: found.head.to_string(),
            erased: found.erased,
            first_broken: found.broken.map(|broken| broken.entry()),
            problem: found.broken.map(|broken| broken.to_string()),
            noted: found.anchor.text(),
        }
    }
}

/// Heads of the audit that were kept elsewhere.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct VerifyRequest {
    /// A head that was kept: number, colon, hash.
    pub head: Option<String>,
}

/// Follows the whole audit.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer, [`AdminError::Invalid`] if the head is none.
pub async fn verify_audit(
    admin: &Admin,
    request: &VerifyRequest,
) -> Result<VerdictView, AdminError> {
    let known = request.head.as_deref().map(str::parse::<Head>).transpose();
    let known = known.map_err(|error| AdminError::Invalid(error.to_string()))?;
    Ok(admin.archive.verify_audit(known.into_iter().collect()).await?.into())
}

/// Where the audit ends, as it can be kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HeadView {
    /// Number, colon, hash.
    pub head: String,
}

/// Where the audit ends.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn audit_head(admin: &Admin) -> Result<HeadView, AdminError> {
    Ok(HeadView { head: admin.archive.audit_head().await?.to_string() })
}

/// Puts something that changes no record into the audit, and tells it.
///
/// # Errors
/// [`AdminError::Store`] if it could not be written: then it must not be done.
pub async fn note(admin: &Admin, entry: NewEntry) -> Result<(), AdminError> {
    let action = entry.action.clone();
    let head = admin.archive.append_audit(entry).await?;
    admin.tell_audited(&action, head);
    Ok(())
}

/// What a tenant does not see of itself: whoever is under investigation is not told of it.
const STAFF_ONLY: [&str; 5] = [HELD, RELEASED, DISCLOSED, EXPORTED, REFUSED];
/// What the audit calls the move of an account to another tenant.
const TENANT_CHANGED: &str = "tenant-changed";
/// Entries of a page if no figure is given.
const PAGE_DEFAULT: usize = 100;
