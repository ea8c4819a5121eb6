//! Showing and changing one account or tenant.

use super::{
    Admin, AdminError, LimitSpec, LimitTarget, OverrideView, StandingView, State, SubjectView,
    Until,
    effective::plan_of,
    explain::{Standing, Whose, reductions_of_tenant},
    list::scope_of,
    view::password_of,
};
use crate::{
    event::{Event, SubjectChanged},
    rules::{
        limits::{LimitOverride, check_override},
        policy::Assigned,
    },
    store::behaviour::GroupKey,
    store::records::{Change, OVERRIDES_MAX, SENDERS_MAX, SubjectKind, SubjectRecord, What},
    types::{Actor, Address, Domain, Language, PlanName, Scope, SubjectId, TenantId, Timestamp},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::HashSet, sync::Arc};
use utoipa::ToSchema;

/// An account or a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who(SubjectId);

impl Who {
    /// Reads a name.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] if it cannot be one.
    pub fn new(kind: SubjectKind, name: &str) -> Result<Self, AdminError> {
        let subject = match kind {
            SubjectKind::Accounts => name.parse().map(SubjectId::Account),
            SubjectKind::Tenants => name.parse().map(SubjectId::Tenant),
        };
        subject.map(Self).map_err(|error| AdminError::Invalid(error.to_string()))
    }

    /// The name, as it is compared.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            SubjectId::Account(account) => account.as_str(),
            SubjectId::Tenant(tenant) => tenant.as_str(),
        }
    }

    /// The subject.
    #[must_use]
    pub const fn subject(&self) -> &SubjectId {
        &self.0
    }

    const fn kind(&self) -> SubjectKind {
        match self.0 {
            SubjectId::Account(_) => SubjectKind::Accounts,
            SubjectId::Tenant(_) => SubjectKind::Tenants,
        }
    }
}

impl From<SubjectId> for Who {
    fn from(subject: SubjectId) -> Self {
        Self(subject)
    }
}

/// A new value for a field, as in a JSON merge patch (RFC 7396): left out, null, or given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// It stays.
    #[default]
    Keep,
    /// It becomes what it is without a record.
    Clear,
    /// It becomes this.
    Set(T),
}

impl<T> Patch<T> {
    const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    fn wanted(&self) -> Option<Option<&T>> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(None),
            Self::Set(value) => Some(Some(value)),
        }
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.wanted().flatten().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|value| value.map_or(Self::Clear, Self::Set))
    }
}

/// What an operator wants changed. All of it is checked before any of it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// The plan.
    #[serde(skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<PlanName>)]
    pub plan: Patch<PlanName>,
    /// The tenant of an account.
    #[serde(skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<TenantId>)]
    pub tenant: Patch<TenantId>,
    /// Envelope senders of an account: addresses, or `@domain`.
    #[serde(skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<Vec<String>>)]
    pub senders: Patch<Vec<String>>,
    /// Where notices and reports go.
    #[serde(skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<Address>)]
    pub contact: Patch<Address>,
    /// The language of notices and reports.
    #[serde(skip_serializing_if = "Patch::is_keep")]
    #[schema(value_type = Option<Language>)]
    pub language: Patch<Language>,
    /// Limits to override.
    pub limits: Vec<LimitSpec>,
    /// Overrides to take away.
    pub clear_limits: Vec<LimitTarget>,
    /// Until when the overrides hold.
    pub until: Option<Until>,
    /// Why; needed for overrides.
    pub reason: Option<String>,
}

/// The reason for a suspension or its lifting, as it is sent over the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// Why.
    pub reason: String,
}

/// What is recorded about a subject, and the use of the limits on it.
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn show(admin: &Admin, who: &Who) -> Result<SubjectView, AdminError> {
    let record = admin.records.subject(who.subject()).await?;
    view(admin, who, &record).await
}

/// Makes changes; a subject without any record is registered by it.
///
/// # Errors
/// [`AdminError::Invalid`] or [`AdminError::Conflict`] if something does not fit, with nothing changed unless somebody else changed
/// the same record meanwhile; [`AdminError::Store`] if the store fails, which may be after some of the changes.
pub async fn set(
    admin: &Admin,
    who: &Who,
    changes: &Changes,
    actor: &Actor,
) -> Result<SubjectView, AdminError> {
    let now = admin.utc();
    let mut record = admin.records.subject(who.subject()).await?;
    let steps = steps(admin, who, changes, (&record, actor, now))?;
    let reason = check_remark(changes.reason.as_deref())?.to_owned();
    for what in steps {
        let text = describe(&record, &what);
        let change = Change {
            subject: who.subject().clone(),
            what,
            reason: reason.clone(),
            evidence: None,
            actor: actor.clone(),
        };
        record = admin.records.change(change, now).await?;
        admin.tell(&Event::SubjectChanged(SubjectChanged {
            subject: who.subject().clone(),
            change: text,
            reason: reason.clone(),
            actor: actor.to_string(),
        }));
    }
    if let SubjectId::Account(account) = who.subject()
        && let Err(error) = super::storage::move_mailbox(admin, account).await
    {
        // The next round sees it.
        tracing::warn!(%account, %error, "a mailbox did not follow its account to another tenant");
    }
    view(admin, who, &record).await
}

pub(super) async fn change(
    admin: &Admin,
    who: &Who,
    what: What,
    (reason, actor): (&str, &Actor),
) -> Result<Arc<SubjectRecord>, AdminError> {
    let subject = who.subject().clone();
    let (reason, actor) = (reason.to_owned(), actor.clone());
    let change = Change { subject, what, reason, evidence: None, actor };
    Ok(admin.records.change(change, admin.utc()).await?)
}

pub(super) async fn view(
    admin: &Admin,
    who: &Who,
    record: &SubjectRecord,
) -> Result<SubjectView, AdminError> {
    let now = admin.utc();
    let expired = |o: &LimitOverride| o.until.is_some_and(|until| until <= now);
    let overrides = record.overrides.iter();
    let overrides = overrides.map(|o| OverrideView { record: o.clone(), expired: expired(o) });
    let own = Own::load(admin, who, record).await?;
    Ok(SubjectView {
        kind: scope_of(who.kind()),
        name: own.name,
        registered: record.registered,
        state: State::from(record.suspension.as_ref()),
        standing: own.standing,
        password: password_of(admin, who.subject(), record),
        tenant: own.tenant,
        plan: own.plan.0,
        plan_source: own.plan.1,
        senders: record.senders.clone(),
        contact: record.contact.clone(),
        language: record.language,
        overrides: overrides.collect(),
        limits: own.limits,
    })
}

/// What differs between showing an account and showing a tenant.
struct Own {
    name: String,
    tenant: Option<TenantId>,
    plan: (PlanName, super::PlanSource),
    standing: StandingView,
    limits: Vec<super::LimitView>,
}

impl Own {
    async fn load(admin: &Admin, who: &Who, record: &SubjectRecord) -> Result<Self, AdminError> {
        match who.subject() {
            SubjectId::Account(account) => {
                let standing = Standing::load(admin, account).await?;
                let mut limits = standing.limits(admin, None).await?;
                limits.retain(|limit| limit.scope == Scope::Account);
                Ok(Self {
                    name: account.to_string(),
                    standing: standing.of_account(admin),
                    tenant: Some(standing.tenant.0),
                    plan: standing.plan,
                    limits,
                })
            }
            SubjectId::Tenant(tenant) => Self::of_tenant(admin, tenant, record).await,
        }
    }

    async fn of_tenant(
        admin: &Admin,
        tenant: &TenantId,
        record: &SubjectRecord,
    ) -> Result<Self, AdminError> {
        let policy = admin.policy.load_full();
        let plan = plan_of(&policy, None, record);
        let limits = policy.limits_in_force(record.assigned(), Assigned::default(), admin.utc());
        let group = admin.behaviour.group(&GroupKey::Tenant(tenant.clone())).await?;
        let settings = &policy.suspension;
        let reductions = reductions_of_tenant(admin, (record, &group), &policy);
        let whose = Whose { tenant: Some(tenant), reductions, ..Whose::default() };
        let limits = whose.views(admin, limits, admin.now()).await?;
        let standing = StandingView::of_tenant(admin, record, &group, settings);
        Ok(Self { name: tenant.to_string(), tenant: None, plan, standing, limits })
    }
}

/// The single changes, all checked.
fn steps(
    admin: &Admin,
    who: &Who,
    changes: &Changes,
    (record, actor, now): (&SubjectRecord, &Actor, Timestamp),
) -> Result<Vec<What>, AdminError> {
    let mut steps = if record.registered { Vec::new() } else { vec![What::Register] };
    check_only_accounts(who, changes)?;
    if let Some(plan) = changes.plan.wanted() {
        check_plan(admin, plan)?;
        steps.push(What::Plan(plan.cloned()));
    }
    if let Some(tenant) = changes.tenant.wanted() {
        steps.push(What::Tenant(tenant.cloned()));
    }
    if let Some(senders) = changes.senders.wanted() {
        steps.push(What::Senders(checked_senders(senders.map_or(&[][..], |s| s))?));
    }
    if let Some(contact) = changes.contact.wanted() {
        steps.push(What::Contact(contact.cloned()));
    }
    if let Some(language) = changes.language.wanted() {
        steps.push(What::Language(language.copied()));
    }
    steps.extend(override_steps(who, changes, record, (actor, now))?);
    Ok(steps)
}

fn override_steps(
    who: &Who,
    changes: &Changes,
    record: &SubjectRecord,
    (actor, now): (&Actor, Timestamp),
) -> Result<Vec<What>, AdminError> {
    if changes.limits.is_empty() && changes.clear_limits.is_empty() {
        return check_unused(changes).map(|()| Vec::new());
    }
    let reason = check_reason(changes.reason.as_deref())?;
    let until = changes.until.map(|until| until.resolve(now)).transpose()?;
    let make = |target: &LimitTarget, max| LimitOverride {
        scope: target.scope,
        unit: target.unit,
        window: target.window,
        max,
        until,
        reason: reason.to_owned(),
        actor: actor.to_string(),
        since: now,
    };
    check_cleared(record, changes)?;
    check_room(record, changes, now)?;
    let cleared = changes.clear_limits.iter().map(|t| What::ClearOverride(make(t, None)));
    let set: Vec<LimitOverride> =
        changes.limits.iter().map(|spec| make(&spec.target, spec.max)).collect();
    for new in &set {
        check_override(who.subject(), new)
            .map_err(|error| AdminError::Invalid(error.to_string()))?;
    }
    Ok(cleared.chain(set.into_iter().map(What::SetOverride)).collect())
}

/// Each override that is to be taken away is there, and is named once.
fn check_cleared(record: &SubjectRecord, changes: &Changes) -> Result<(), AdminError> {
    for (index, target) in changes.clear_limits.iter().enumerate() {
        if !record.overrides.iter().any(|o| target_of(o) == *target) {
            return Err(AdminError::Conflict(format!("there is no override of {target}")));
        }
        if changes.clear_limits[..index].contains(target) {
            let text = format!("the override of {target} is to be taken away twice");
            return Err(AdminError::Invalid(text));
        }
    }
    Ok(())
}

/// There is room for what would remain: one takes the place of another for the same limit, and what has ended goes.
fn check_room(record: &SubjectRecord, changes: &Changes, now: Timestamp) -> Result<(), AdminError> {
    let kept = record.overrides.iter().filter(|o| o.holds(now)).map(target_of);
    let kept = kept.filter(|target| !changes.clear_limits.contains(target));
    let set = changes.limits.iter().map(|spec| spec.target);
    let remaining: HashSet<_> = kept.chain(set).map(|t| (t.scope, t.unit, t.window)).collect();
    if remaining.len() > OVERRIDES_MAX {
        return Err(AdminError::Invalid(format!("more than {OVERRIDES_MAX} overrides")));
    }
    Ok(())
}

fn check_unused(changes: &Changes) -> Result<(), AdminError> {
    match changes.until {
        Some(_) => Err(AdminError::Invalid("'until' belongs to a limit; none was given".into())),
        None => Ok(()),
    }
}

fn check_only_accounts(who: &Who, changes: &Changes) -> Result<(), AdminError> {
    let for_accounts = !changes.tenant.is_keep() || !changes.senders.is_keep();
    match who.subject() {
        SubjectId::Tenant(_) if for_accounts => {
            Err(AdminError::Invalid("only an account has a tenant and senders".into()))
        }
        _ => Ok(()),
    }
}

fn check_plan(admin: &Admin, plan: Option<&PlanName>) -> Result<(), AdminError> {
    let policy = admin.policy.load();
    let Some(plan) = plan.filter(|plan| !policy.plans.contains_key(*plan)) else { return Ok(()) };
    let mut names: Vec<&str> = policy.plans.keys().map(PlanName::as_str).collect();
    names.sort_unstable();
    let names = names.join(", ");
    Err(AdminError::Invalid(format!("there is no plan {plan}; the configuration has {names}")))
}

fn checked_senders(senders: &[String]) -> Result<Vec<String>, AdminError> {
    if senders.len() > SENDERS_MAX {
        return Err(AdminError::Invalid(format!("more than {SENDERS_MAX} senders")));
    }
    let is_right = |sender: &String| match sender.strip_prefix('@') {
        Some(domain) => domain.parse::<Domain>().is_ok(),
        None => sender.parse::<Address>().is_ok(),
    };
    match senders.iter().find(|sender| !is_right(sender)) {
        Some(wrong) => Err(AdminError::Invalid(format!(
            "{wrong:?} is neither an address such as user@domain.example nor a domain such as @domain.example"
        ))),
        None => Ok(senders.iter().map(|sender| sender.to_lowercase()).collect()),
    }
}

/// The reason of changes that need none, if one is given all the same.
pub(super) fn check_remark(reason: Option<&str>) -> Result<&str, AdminError> {
    reason.map_or(Ok(""), |reason| check_reason(Some(reason)))
}

/// Suspensions, liftings and overrides are judged later by why they were made.
pub(super) fn check_reason(reason: Option<&str>) -> Result<&str, AdminError> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    let Some(reason) = reason else {
        return Err(AdminError::Invalid("a reason is needed".into()));
    };
    if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        let wanted = format!("a reason is one line of at most {REASON_BYTES_MAX} octets");
        return Err(AdminError::Invalid(wanted));
    }
    Ok(reason)
}

/// What a change means in words: `account recipients 1 h: 50 → 200 until 2026-12-01T00:00:00.000Z`.
fn describe(record: &SubjectRecord, what: &What) -> String {
    let or_default = |name: Option<&str>| name.unwrap_or("default").to_owned();
    match what {
        What::Register => String::from("registered"),
        What::Plan(plan) => {
            let before = or_default(record.plan.as_ref().map(PlanName::as_str));
            format!("plan: {before} → {}", or_default(plan.as_ref().map(PlanName::as_str)))
        }
        What::Tenant(tenant) => {
            let before = or_default(record.tenant.as_ref().map(TenantId::as_str));
            format!("tenant: {before} → {}", or_default(tenant.as_ref().map(TenantId::as_str)))
        }
        What::Senders(senders) => {
            format!("senders: {} → {}", record.senders.join(" "), senders.join(" "))
        }
        What::Contact(contact) => {
            let shown =
                |contact: Option<&Address>| contact.map_or("none", Address::as_str).to_owned();
            format!("contact: {} → {}", shown(record.contact.as_ref()), shown(contact.as_ref()))
        }
        What::Language(language) => {
            let shown = |language: Option<Language>| language.map_or("default", Language::tag);
            format!("language: {} → {}", shown(record.language), shown(*language))
        }
        What::SetOverride(new) => describe_override(record, new),
        What::ClearOverride(old) => format!("{}: as in the plan", target_of(old)),
        What::Suspend { case, .. } => format!("suspended, case {case}"),
        What::Cancel(case) => format!("cancelled, case {case}"),
        What::Resume { .. } => String::from("resumed"),
        What::Judge(judged) => format!("standing {}", judged.to.standing().name()),
        What::Adopt(_) => String::from("adopted"),
    }
}

fn describe_override(record: &SubjectRecord, new: &LimitOverride) -> String {
    let shown = |max: Option<u32>| max.map_or_else(|| "none".into(), |max| max.to_string());
    let target = target_of(new);
    let before = record.overrides.iter().find(|o| target_of(o) == target);
    let before = before.map_or_else(|| "as in the plan".into(), |o| shown(o.max));
    let until = new.until.map(|until| format!(" until {until}")).unwrap_or_default();
    format!("{target}: {before} → {}{until}", shown(new.max))
}

const fn target_of(o: &LimitOverride) -> LimitTarget {
    LimitTarget { scope: o.scope, unit: o.unit, window: o.window }
}

const REASON_BYTES_MAX: usize = 500;
