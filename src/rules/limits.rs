//! Which limits hold for a sender: the plan, then the tenant's overrides, then the account's.
//!
//! Pure: the caller brings the plan, the overrides and the time. An override replaces the limit of the same scope, unit and
//! window, or adds one; what an account is given never reaches its tenant's own limits.

use super::quota::{Quotas, Room};
use crate::types::{Limit, PeerName, PlanName, Scope, Span, SubjectId, Timestamp, Unit};
use std::{collections::BTreeMap, time::Duration};

/// One line of a plan: at most `limit.max` of `unit` per `scope` in any `limit.window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ScopedLimit {
    /// Who is counted.
    pub scope: Scope,
    /// What is counted.
    pub unit: Unit,
    /// How much in what time.
    #[serde(flatten)]
    pub limit: Limit,
}

/// What a hosting package allows; plans live in the configuration only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: PlanName,
    /// Its limits, of any scope but [`Scope::Peer`] and any unit but [`Unit::NewAccounts`].
    pub limits: Vec<ScopedLimit>,
    /// Whether rules refuse or only record what they would refuse.
    pub mode: Mode,
    /// What happens to mail that PHP's mail() made.
    pub php_mail: PhpMail,
    /// The largest message in octets on the wire.
    pub message_bytes_max: u64,
    /// What mailboxes may hold.
    pub storage: Quotas,
}

impl Plan {
    /// What a mailbox of an account of this plan may hold.
    #[must_use]
    pub const fn room_of_account(&self) -> Room {
        let Quotas { account_bytes_max, over, .. } = self.storage;
        Room { bytes_max: account_bytes_max, over, mode: self.mode }
    }

    /// What all mailboxes of a tenant of this plan may hold together.
    #[must_use]
    pub const fn room_of_tenant(&self) -> Room {
        let Quotas { tenant_bytes_max, over, .. } = self.storage;
        Room { bytes_max: tenant_bytes_max, over, mode: self.mode }
    }
}

/// Whether rules act.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Rules refuse.
    #[default]
    Enforce,
    /// Everything is decided and recorded, nothing is refused.
    Observe,
}

/// What happens to mail that PHP's mail() made (`X-PHP-Originating-Script`).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum PhpMail {
    /// It passes like other mail.
    #[default]
    Allow,
    /// `550 5.7.1`.
    Refuse,
}

/// A limit that replaces the plan's for one tenant or account; `limit.max` 0 refuses everything.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct LimitOverride {
    /// Who is counted.
    pub scope: Scope,
    /// What is counted.
    pub unit: Unit,
    /// The window whose limit is replaced, or added if the plan has none of this length.
    pub window: crate::types::Span,
    /// The new maximum; none lifts this limit altogether.
    pub max: Option<u32>,
    /// Until when it holds; none: until it is removed.
    pub until: Option<Timestamp>,
    /// Why it was set.
    pub reason: String,
    /// Who set it.
    pub actor: String,
    /// When it was set.
    pub since: Timestamp,
}

/// A limit in force and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EffectiveLimit {
    /// The limit.
    #[serde(flatten)]
    pub scoped: ScopedLimit,
    /// Where it comes from.
    pub source: Source,
}

/// Where a limit comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum Source {
    /// The plan.
    Plan {
        /// Its name.
        name: PlanName,
    },
    /// An override of the tenant.
    Tenant {
        /// Why.
        reason: String,
        /// Until when.
        until: Option<Timestamp>,
    },
    /// An override of the account.
    Account {
        /// Why.
        reason: String,
        /// Until when.
        until: Option<Timestamp>,
    },
    /// The trust table.
    Trust {
        /// The row.
        name: PeerName,
    },
}

/// The limits in force, sorted by scope, unit and window: an account's override beats its tenant's, which beats the plan.
#[must_use]
pub fn effective(
    plan: &Plan,
    tenant_overrides: &[LimitOverride],
    account_overrides: &[LimitOverride],
    now: Timestamp,
) -> Vec<EffectiveLimit> {
    let mut chosen: BTreeMap<Place, (Option<u32>, Source)> = BTreeMap::new();
    for line in &plan.limits {
        let source = Source::Plan { name: plan.name.clone() };
        keep_stricter(chosen.entry(place_of(line)).or_insert((None, source)), line.limit.max);
    }
    for given in tenant_overrides.iter().filter(|given| given.holds(now)) {
        let source = Source::Tenant { reason: given.reason.clone(), until: given.until };
        chosen.insert(given.place(), (given.max, source));
    }
    let own = |given: &&LimitOverride| given.holds(now) && given.scope != Scope::Tenant;
    for given in account_overrides.iter().filter(own) {
        let source = Source::Account { reason: given.reason.clone(), until: given.until };
        chosen.insert(given.place(), (given.max, source));
    }
    chosen.into_iter().filter_map(in_force).collect()
}

/// The plans of an account and of its tenant, which may differ.
#[derive(Debug, Clone, Copy)]
pub struct Plans<'a> {
    /// The account's.
    pub account: &'a Plan,
    /// The tenant's.
    pub tenant: &'a Plan,
}

/// The limits in force where an account has a plan of its own. The tenant's limits follow the tenant's plan alone: all its
/// accounts share that window, so one account's plan must not move it.
#[must_use]
pub fn effective_of(
    plans: Plans<'_>,
    tenant_overrides: &[LimitOverride],
    account_overrides: &[LimitOverride],
    now: Timestamp,
) -> Vec<EffectiveLimit> {
    let is_shared = |limit: &EffectiveLimit| limit.scoped.scope == Scope::Tenant;
    let mut limits = effective(plans.tenant, tenant_overrides, &[], now);
    limits.retain(is_shared);
    let own = effective(plans.account, tenant_overrides, account_overrides, now);
    // The tenant's scope sorts first, so the whole stays sorted.
    limits.extend(own.into_iter().filter(|limit| !is_shared(limit)));
    limits
}

/// What an override replaces: the same scope, unit and window.
type Place = (Scope, Unit, Span);

const fn place_of(line: &ScopedLimit) -> Place {
    (line.scope, line.unit, line.limit.window)
}

/// Two lines of a plan for the same place: the stricter one holds.
fn keep_stricter(entry: &mut (Option<u32>, Source), max: u32) {
    entry.0 = Some(entry.0.map_or(max, |other| other.min(max)));
}

fn in_force(
    ((scope, unit, window), (max, source)): (Place, (Option<u32>, Source)),
) -> Option<EffectiveLimit> {
    let limit = Limit { window, max: max? };
    Some(EffectiveLimit { scoped: ScopedLimit { scope, unit, limit }, source })
}

impl LimitOverride {
    /// True if it has not expired.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Scope, unit and window, by which overrides replace one another.
    #[must_use]
    pub const fn place(&self) -> (Scope, Unit, Span) {
        (self.scope, self.unit, self.window)
    }
}

/// Why a limit or an override cannot be; fits "failed to set the limit: {error}".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The window is too short or too long.
    #[error("a window is 1 s to 31 d long, not {0}")]
    Window(Span),
    /// Limits of servers stand in the trust table.
    #[error("limits per peer stand in the trust table")]
    PeerScope,
    /// New accounts are counted for servers only.
    #[error("new accounts are limited in the trust table")]
    NewAccounts,
    /// An account cannot change what its tenant may send.
    #[error("the tenant's limits are set at the tenant")]
    TenantScope,
}

/// Checks that a window's length is within [`WINDOW_MIN`] and [`WINDOW_MAX`].
///
/// # Errors
/// [`LimitError::Window`] if it is not.
pub fn check_window(window: Span) -> Result<(), LimitError> {
    let fits = (WINDOW_MIN..=WINDOW_MAX).contains(&window.length());
    if fits { Ok(()) } else { Err(LimitError::Window(window)) }
}

/// Checks an override before it is given to a subject.
///
/// # Errors
/// [`LimitError`] if it would have no effect there or its window cannot be.
pub fn check_override(subject: &SubjectId, given: &LimitOverride) -> Result<(), LimitError> {
    match (subject, given.scope) {
        (SubjectId::Account(_), Scope::Tenant) => Err(LimitError::TenantScope),
        _ => check_place(given.place()),
    }
}

fn check_place((scope, unit, window): Place) -> Result<(), LimitError> {
    match (scope, unit) {
        (Scope::Peer, _) => Err(LimitError::PeerScope),
        (_, Unit::NewAccounts) => Err(LimitError::NewAccounts),
        _ => check_window(window),
    }
}

/// The shortest window.
pub const WINDOW_MIN: Duration = Duration::from_secs(1);
/// The longest window, for which history is kept.
pub const WINDOW_MAX: Duration = Duration::from_secs(31 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Span = Span::from_secs(3_600);
    const DAY: Span = Span::from_secs(86_400);

    fn plan() -> Plan {
        let line = |scope, window, max| ScopedLimit {
            scope,
            unit: Unit::Recipients,
            limit: Limit { window, max },
        };
        Plan {
            name: "shared".parse().unwrap(),
            limits: vec![
                line(Scope::Account, DAY, 600),
                line(Scope::Account, HOUR, 50),
                line(Scope::Tenant, HOUR, 50),
            ],
            mode: Mode::Enforce,
            php_mail: PhpMail::Allow,
            storage: Default::default(),
            message_bytes_max: 1 << 20,
        }
    }

    fn given(scope: Scope, window: Span, max: Option<u32>) -> LimitOverride {
        LimitOverride {
            scope,
            unit: Unit::Recipients,
            window,
            max,
            until: Some(Timestamp::from_millis(1_000)),
            reason: "season".into(),
            actor: "desk".into(),
            since: Timestamp::EPOCH,
        }
    }

    fn check(
        tenant: &[LimitOverride],
        account: &[LimitOverride],
        now: i64,
        expected: &[(Scope, Span, u32, &str)],
    ) {
        let found = effective(&plan(), tenant, account, Timestamp::from_millis(now));
        let shown: Vec<_> = found
            .iter()
            .map(|e| (e.scoped.scope, e.scoped.limit.window, e.scoped.limit.max, from(&e.source)))
            .collect();
        assert_eq!(shown, expected);
    }

    fn from(source: &Source) -> &'static str {
        match source {
            Source::Plan { .. } => "plan",
            Source::Tenant { .. } => "tenant",
            Source::Account { .. } => "account",
            Source::Trust { .. } => "trust",
        }
    }

    #[test]
    fn the_account_beats_the_tenant_beats_the_plan() {
        use Scope::{Account, Tenant};
        let plain =
            [(Tenant, HOUR, 50, "plan"), (Account, HOUR, 50, "plan"), (Account, DAY, 600, "plan")];
        check(&[], &[], 0, &plain);
        let tenant = [given(Account, HOUR, Some(70)), given(Tenant, HOUR, Some(200))];
        let account = [given(Account, HOUR, Some(99)), given(Tenant, HOUR, Some(9_999))];
        check(
            &tenant,
            &account[1..],
            0,
            &[
                (Tenant, HOUR, 200, "tenant"),
                (Account, HOUR, 70, "tenant"),
                (Account, DAY, 600, "plan"),
            ],
        );
        check(
            &tenant,
            &account,
            999,
            &[
                (Tenant, HOUR, 200, "tenant"),
                (Account, HOUR, 99, "account"),
                (Account, DAY, 600, "plan"),
            ],
        );
        check(&tenant, &account, 1_000, &plain);
    }

    #[test]
    fn an_override_without_a_maximum_lifts_and_one_of_another_window_adds() {
        use Scope::{Account, Tenant};
        let minute = Span::from_secs(60);
        check(
            &[given(Account, DAY, None)],
            &[given(Account, HOUR, None), given(Account, minute, Some(0))],
            0,
            &[(Tenant, HOUR, 50, "plan"), (Account, minute, 0, "account")],
        );
    }

    #[test]
    fn an_override_that_could_not_work_is_refused() {
        let account = SubjectId::Account("a@b".parse().unwrap());
        let tenant = SubjectId::Tenant("b".parse().unwrap());
        let refused = |subject, given| check_override(subject, &given).is_err();
        assert!(refused(&account, given(Scope::Tenant, HOUR, Some(1))));
        assert!(!refused(&tenant, given(Scope::Tenant, HOUR, Some(1))));
        assert!(refused(&tenant, given(Scope::Peer, HOUR, Some(1))));
        for (window, wrong) in [("999ms", true), ("1s", false), ("31d", false), ("32d", true)] {
            let window = window.parse().unwrap();
            assert_eq!(refused(&account, given(Scope::Account, window, Some(1))), wrong);
        }
    }
}
