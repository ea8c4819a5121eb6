//! What holds for an account: its tenant, its plan and its limits, each with where it comes from.

use super::{PlanSource, TenantSource};
use crate::{
    rules::policy::Policy,
    rules::limits::{EffectiveLimit, LimitOverride, Plan, ScopedLimit, Source},
    store::records::SubjectRecord,
    types::{AccountId, Limit, PlanName, TenantId, Timestamp},
};
use std::sync::Arc;

/// The tenant that owns an account: as recorded, else the account's domain, else a tenant of the account's own name.
pub(super) fn tenant_of(account: &AccountId, record: &SubjectRecord) -> (TenantId, TenantSource) {
    if let Some(tenant) = &record.tenant {
        return (tenant.clone(), TenantSource::Record);
    }
    if let Some(tenant) = account.domain().and_then(|domain| domain.parse().ok()) {
        return (tenant, TenantSource::Domain);
    }
    let itself = account.as_str().parse().expect("both kinds of name have the same form");
    (itself, TenantSource::Account)
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

/// The plan of this name, or the default one if the configuration has it no longer.
pub(super) fn find_plan(policy: &Policy, name: &PlanName) -> Option<Arc<Plan>> {
    policy.plans.get(name).or_else(|| policy.plans.get(&policy.default_plan)).cloned()
}

/// The limits in force: the plan's, then the tenant's overrides, then the account's.
pub(super) fn limits_of(
    plan: &Plan,
    tenant: &[LimitOverride],
    account: &[LimitOverride],
    now: Timestamp,
) -> Vec<EffectiveLimit> {
    let from_plan = |&scoped: &ScopedLimit| EffectiveLimit {
        scoped,
        source: Source::Plan { name: plan.name.clone() },
    };
    let mut limits: Vec<EffectiveLimit> = plan.limits.iter().map(from_plan).collect();
    for change in tenant {
        let source = Source::Tenant { reason: change.reason.clone(), until: change.until };
        apply(&mut limits, change, source, now);
    }
    for change in account {
        let source = Source::Account { reason: change.reason.clone(), until: change.until };
        apply(&mut limits, change, source, now);
    }
    limits
}

fn apply(limits: &mut Vec<EffectiveLimit>, change: &LimitOverride, source: Source, now: Timestamp) {
    if change.until.is_some_and(|until| until <= now) {
        return;
    }
    limits.retain(|limit| {
        let scoped = &limit.scoped;
        (scoped.scope, scoped.unit, scoped.limit.window)
            != (change.scope, change.unit, change.window)
    });
    if let Some(max) = change.max {
        let limit = Limit { window: change.window, max };
        let scoped = ScopedLimit { scope: change.scope, unit: change.unit, limit };
        limits.push(EffectiveLimit { scoped, source });
    }
}
