//! What the use cases answer with: plain values that are the same over the control socket and in the CLI.

use super::{Admin, Caller, StorageView};
use crate::{
    clock::Clock,
    event::LimitHit,
    rules::{
        limits::{EffectiveLimit, LimitOverride, Mode, PhpMail, Source},
        suspension::{Because, Conduct, Group, Reduction, Settings, Standing},
    },
    store::{
        ledger::Usage,
        records::{LastRefusal, SubjectRecord, Suspension},
    },
    types::{
        AccountId, Address, CaseId, Language, Limit, PlanName, Scope, Span, SubjectId, TenantId,
        Timestamp, Unit,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a subject may send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// It may.
    Active,
    /// It may not.
    Suspended {
        /// The case that the sender hears.
        case: CaseId,
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: String,
        /// Who did it.
        actor: String,
        /// When it lifts by itself; none: a person decides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
}

impl From<Option<&Suspension>> for State {
    fn from(suspension: Option<&Suspension>) -> Self {
        suspension.map_or(Self::Active, |s| Self::Suspended {
            case: s.case.clone(),
            since: s.since,
            reason: s.reason.clone(),
            actor: s.actor.clone(),
            until: s.until,
        })
    }
}

/// What a sender may do by its standing, and how it came there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandingView {
    /// `active`, `warned`, `throttled`, `suspended`, `held`, `cancelled`.
    pub standing: String,
    /// Since when; none: ever.
    pub since: Option<Timestamp>,
    /// When it ends by itself, unless there are new reasons.
    pub until: Option<Timestamp>,
    /// Until when limits stay reduced after a suspension.
    pub probation_until: Option<Timestamp>,
    /// What is left of its limits, in percent.
    pub percent: u32,
    /// How often it was suspended, ever.
    pub breaches: u32,
    /// True if standings are only observed, so that nothing follows from this one.
    pub observed: bool,
}

impl StandingView {
    pub(super) fn of_account(admin: &Admin, record: &SubjectRecord, settings: &Settings) -> Self {
        Self::of(&record.conduct(), admin.utc(), settings, |at| at)
    }

    /// A tenant's: its own, or that which its suspended accounts give it.
    pub(super) fn of_tenant(
        admin: &Admin,
        record: &SubjectRecord,
        group: &Group,
        settings: &Settings,
    ) -> Self {
        let own = Self::of_account(admin, record, settings);
        if own.standing != Standing::Active.name() {
            return own;
        }
        let of_group = Self::of(&group.conduct, admin.now(), settings, |at| admin.clock.to_utc(at));
        Self { breaches: own.breaches, probation_until: own.probation_until, ..of_group }
    }

    fn of(
        conduct: &Conduct,
        now: Timestamp,
        settings: &Settings,
        shown: impl Fn(Timestamp) -> Timestamp,
    ) -> Self {
        let mut present = conduct.clone();
        let _ended = present.turn(now, settings);
        let standing = present.standing().at(now);
        let is_known = !present.is_blank() && standing == present.standing();
        Self {
            standing: standing.name().into(),
            since: is_known.then(|| shown(present.since())),
            until: standing.until().map(&shown),
            probation_until: present.probation(now).map(&shown),
            percent: present.percent(now, settings),
            breaches: present.breaches(),
            observed: settings.is_observed(),
        }
    }

    /// True of whom nothing keeps back or makes suspect.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.standing == Standing::Active.name() && self.probation_until.is_none()
    }

    /// True if the sender is warned or throttled.
    #[must_use]
    pub fn is_flagged(&self) -> bool {
        matches!(self.standing.as_str(), "warned" | "throttled")
    }
}

/// Whether a password is still the one that it was when its account was suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PasswordView {
    /// It is another.
    Changed,
    /// It is the same.
    Unchanged,
}

/// Whether the password has changed since the suspension; none where that is not known.
pub(super) fn password_of(
    admin: &Admin,
    subject: &SubjectId,
    record: &SubjectRecord,
) -> Option<PasswordView> {
    let SubjectId::Account(account) = subject else { return None };
    let before = record.suspension.as_ref()?.password?;
    let now = admin.passwords.mark(account)?;
    Some(if before == now { PasswordView::Unchanged } else { PasswordView::Changed })
}

/// Why a limit is smaller for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReductionView {
    /// What the limit is otherwise.
    pub whole: u32,
    /// What is left of it, in percent.
    pub percent: u32,
    /// Why: `throttled`, `probation`, `suspended`.
    pub because: String,
    /// Until when, unless there are new reasons.
    pub until: Option<Timestamp>,
}

/// Where an account's tenant comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TenantSource {
    /// An operator assigned it.
    Record,
    /// The account's name says so: its domain, or the name itself.
    Name,
}

/// Where a plan comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlanSource {
    /// The account's record.
    Account,
    /// The tenant's record.
    Tenant,
    /// The configuration's default plan.
    Default,
}

/// One limit, its source and its use: the facts that a refusal names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitView {
    /// Who is counted.
    pub scope: Scope,
    /// The name of who is counted.
    pub name: String,
    /// What is counted.
    pub unit: Unit,
    /// The window.
    pub window: Span,
    /// The maximum in any such window.
    pub max: u32,
    /// `plan NAME`, `tenant`, `account` or `trust NAME`.
    pub source: String,
    /// Why it was set, for an override.
    pub source_reason: Option<String>,
    /// Until when it holds, for an override.
    pub source_until: Option<Timestamp>,
    /// `sent` and `open` together.
    pub used: u32,
    /// Charges settled as sent within the window.
    pub sent: u32,
    /// Open reservations.
    pub open: u32,
    /// How many more would be granted now.
    pub remaining: u32,
    /// When the next one would be granted, if not now.
    pub next_slot: Option<Timestamp>,
    /// Why the maximum is smaller than what the source says, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduced: Option<ReductionView>,
}

impl LimitView {
    pub(super) fn new(name: &str, limit: &EffectiveLimit, usage: &Usage, clock: &Clock) -> Self {
        let (source, source_reason, source_until) = source_parts(&limit.source);
        Self {
            scope: limit.scoped.scope,
            name: name.to_owned(),
            unit: limit.scoped.unit,
            window: limit.scoped.limit.window,
            max: limit.scoped.limit.max,
            source,
            source_reason,
            source_until,
            used: usage.sent.saturating_add(usage.open),
            sent: usage.sent,
            open: usage.open,
            remaining: usage.remaining,
            next_slot: usage.next_slot.map(|slot| clock.to_utc(slot)),
            reduced: None,
        }
    }

    /// The same limit with what a standing leaves of it.
    pub(super) fn reduced_to(
        self,
        left: Limit,
        reduction: Option<Reduction>,
        clock: &Clock,
    ) -> Self {
        let Some(Reduction { percent, because, until }) = reduction else { return self };
        // A group's times are the ledger's; an account's stand in its record.
        let is_group = self.scope != Scope::Account && because != Because::Suspended;
        let until = until.map(|until| if is_group { clock.to_utc(until) } else { until });
        let whole = self.max;
        let reduced = ReductionView { whole, percent, because: because.name().into(), until };
        Self { max: left.max, reduced: Some(reduced), ..self }
    }
}

fn source_parts(source: &Source) -> (String, Option<String>, Option<Timestamp>) {
    match source {
        Source::Plan { name } => (format!("plan {name}"), None, None),
        Source::Tenant { reason, until } => ("tenant".into(), Some(reason.clone()), *until),
        Source::Account { reason, until } => ("account".into(), Some(reason.clone()), *until),
        Source::Trust { name } => (format!("trust {name}"), None, None),
    }
}

/// An override as it is recorded, whether it is in force or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OverrideView {
    /// The record.
    #[serde(flatten)]
    pub record: LimitOverride,
    /// True if it ended already.
    pub expired: bool,
}

/// What is recorded about an account or a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubjectView {
    /// `account` or `tenant`.
    pub kind: Scope,
    /// Its name.
    pub name: String,
    /// True if an operator registered it.
    pub registered: bool,
    /// Whether it may send, by its own record.
    #[serde(flatten)]
    pub state: State,
    /// What it may do by its standing.
    pub standing: StandingView,
    /// Whether the password has changed since the suspension, where that is known; in the answer to a lifting, since the one that was
    /// lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordView>,
    /// The tenant, for accounts.
    pub tenant: Option<TenantId>,
    /// The plan.
    pub plan: PlanName,
    /// Where the plan comes from.
    pub plan_source: PlanSource,
    /// Envelope senders beyond the account's own name.
    pub senders: Vec<String>,
    /// Where notices and reports go.
    #[serde(default)]
    pub contact: Option<Address>,
    /// The language of notices and reports.
    #[serde(default)]
    pub language: Option<Language>,
    /// Overrides.
    pub overrides: Vec<OverrideView>,
    /// The limits on this very subject, with their use.
    pub limits: Vec<LimitView>,
}

/// The use of the limits that hold for one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubjectUsage {
    /// Its name.
    pub name: String,
    /// Its limits with their use.
    pub limits: Vec<LimitView>,
}

/// All that decides about an account's next message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// When this was true.
    pub at: Timestamp,
    /// The account.
    pub account: AccountId,
    /// True if it is registered or has sent before.
    pub known: bool,
    /// Whether the account may send.
    pub account_state: State,
    /// What it may do by its standing.
    pub account_standing: StandingView,
    /// Its tenant.
    pub tenant: TenantId,
    /// Where the tenant comes from.
    pub tenant_source: TenantSource,
    /// Whether the tenant may send.
    pub tenant_state: State,
    /// What the tenant may do by its standing.
    pub tenant_standing: StandingView,
    /// The plan.
    pub plan: PlanName,
    /// Where the plan comes from.
    pub plan_source: PlanSource,
    /// False if the configuration has this plan no longer; the default one is used in its place.
    pub plan_exists: bool,
    /// Whether the plan's rules refuse or only record.
    pub mode: Mode,
    /// What happens to mail of PHP's mail().
    pub php_mail: PhpMail,
    /// The largest message in octets.
    pub message_bytes_max: u64,
    /// Envelope senders beyond the account's own name.
    pub senders: Vec<String>,
    /// The limits that hold, the tenant's first.
    pub limits: Vec<LimitView>,
    /// How full the account's mailbox is, and all of its tenant's together; none of a server that stands for its senders.
    pub storage: Vec<StorageView>,
    /// The last refusal; a tenant's token does not see one by a limit of another tenant.
    pub last_refusal: Option<RefusalView>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusalView {
    /// When.
    pub at: Timestamp,
    /// What the client heard.
    pub reply: String,
    /// The limit, where one was the reason.
    pub limit: Option<HitView>,
    /// How many refusals since the program started.
    pub count: u64,
}

/// A limit that had no room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HitView {
    /// Who is counted.
    pub scope: Scope,
    /// The name of who is counted.
    pub name: String,
    /// What is counted.
    pub unit: Unit,
    /// The window.
    pub window: Span,
    /// The maximum in any such window.
    pub max: u32,
    /// Charges in the window then.
    pub used: u32,
    /// When the request would have passed.
    pub next_slot: Option<Timestamp>,
}

impl HitView {
    fn new(hit: &LimitHit, clock: &Clock) -> Self {
        let parts = hit.key.parts();
        Self {
            scope: parts.scope,
            name: parts.name.to_owned(),
            unit: parts.unit,
            window: hit.limit.window,
            max: hit.limit.max,
            used: hit.used,
            next_slot: hit.next_slot.map(|slot| clock.to_utc(slot)),
        }
    }
}

impl RefusalView {
    pub(super) fn new(last: LastRefusal, clock: &Clock) -> Self {
        Self {
            at: clock.to_utc(last.at),
            limit: last.limit.as_ref().map(|hit| HitView::new(hit, clock)),
            reply: last.reply,
            count: last.count,
        }
    }
}

impl RefusalView {
    /// True if a limit of another tenant was the reason.
    fn is_by_tenant_but(&self, own: &TenantId) -> bool {
        let limit = self.limit.as_ref();
        limit.is_some_and(|hit| hit.scope == Scope::Tenant && hit.name != own.as_str())
    }
}

impl SubjectView {
    /// What is shown to a caller: who of the provider's people did something is not for tenants.
    #[must_use]
    pub fn as_seen_by(mut self, caller: &Caller) -> Self {
        if !caller.sees_all() {
            self.state.hide_actor();
            for entry in &mut self.overrides {
                entry.record.actor = HIDDEN.into();
            }
        }
        self
    }
}

impl Explanation {
    /// As [`SubjectView::as_seen_by`].
    #[must_use]
    pub fn as_seen_by(mut self, caller: &Caller) -> Self {
        if !caller.sees_all() {
            self.account_state.hide_actor();
            self.tenant_state.hide_actor();
            // An account that has moved was refused by the limits of another.
            let is_own = |refusal: &RefusalView| !refusal.is_by_tenant_but(&self.tenant);
            self.last_refusal = self.last_refusal.take().filter(is_own);
        }
        self
    }
}

impl State {
    pub(super) fn hide_actor(&mut self) {
        if let Self::Suspended { actor, .. } = self {
            *actor = HIDDEN.into();
        }
    }
}

/// Stands for whoever of the provider's people did something.
pub(super) const HIDDEN: &str = "operator";
