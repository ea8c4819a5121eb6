//! The plans of the configuration that is in force.

use super::Admin;
use crate::{
    rules::limits::{Mode, PhpMail, Plan},
    types::{PlanName, Scope, Span, Unit},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a hosting package may send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// Its name.
    pub name: PlanName,
    /// True of the plan of everybody who was not given another.
    pub default: bool,
    /// Whether the plan's rules refuse or only record.
    pub mode: Mode,
    /// What happens to mail of PHP's mail().
    pub php_mail: PhpMail,
    /// The largest message in octets.
    pub message_bytes_max: u64,
    /// Its limits.
    pub limits: Vec<PlanLimitView>,
}

/// A limit of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanLimitView {
    /// Who is counted.
    pub scope: Scope,
    /// What is counted.
    pub unit: Unit,
    /// The window.
    pub window: Span,
    /// The maximum in any such window.
    pub max: u32,
}

/// All plans, sorted by name.
#[must_use]
pub fn plans(admin: &Admin) -> Vec<PlanView> {
    let policy = admin.policy.load();
    let view = |plan: &Plan| view(plan, plan.name == policy.default_plan);
    let mut plans: Vec<PlanView> = policy.plans.values().map(|plan| view(plan)).collect();
    plans.sort_by(|a, b| a.name.cmp(&b.name));
    plans
}

fn view(plan: &Plan, default: bool) -> PlanView {
    let limits = plan.limits.iter().map(|scoped| PlanLimitView {
        scope: scoped.scope,
        unit: scoped.unit,
        window: scoped.limit.window,
        max: scoped.limit.max,
    });
    PlanView {
        name: plan.name.clone(),
        default,
        mode: plan.mode,
        php_mail: plan.php_mail,
        message_bytes_max: plan.message_bytes_max,
        limits: limits.collect(),
    }
}
