//! What holds for an account: its tenant and its plan, each with where it comes from.

use super::{PlanSource, TenantSource};
use crate::{
    rules::{identity, policy::Policy},
    store::records::SubjectRecord,
    types::{AccountId, PlanName, TenantId},
};

/// The tenant that owns an account: as recorded, else as its name says ([`identity::tenant_of`]).
pub(super) fn tenant_of(account: &AccountId, record: &SubjectRecord) -> (TenantId, TenantSource) {
    record.tenant.clone().map_or_else(
        || (identity::tenant_of(account), TenantSource::Name),
        |tenant| (tenant, TenantSource::Record),
    )
}

/// The plan's name: the account's, else the tenant's, else the default.
pub(super) fn plan_of(
    policy: &Policy,
    account: Option<&SubjectRecord>,
    tenant: &SubjectRecord,
) -> (PlanName, PlanSource) {
    let of_account = account.and_then(|record| record.plan.clone());
    let of_tenant = tenant.plan.clone();
    of_account
        .map(|plan| (plan, PlanSource::Account))
        .or_else(|| of_tenant.map(|plan| (plan, PlanSource::Tenant)))
        .unwrap_or_else(|| (policy.default_plan.clone(), PlanSource::Default))
}
