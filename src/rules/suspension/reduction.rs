//! What standings leave of limits, why and until when: one reckoning for mail, for `explain` and for every page.

use super::{Conduct, Group, Settings, Standing, reduced};
use crate::{
    rules::{limits::Mode, verdict::Moment},
    types::{Limit, Scope, Timestamp},
};

/// Limits that are smaller for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reduction {
    /// What is left of them, in percent.
    pub percent: u32,
    /// Why.
    pub because: Because,
    /// Until when, unless there are new reasons; none: until a person decides. Of a group on the ledger's clock.
    pub until: Option<Timestamp>,
}

/// Why limits are smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Something speaks against the sender.
    Throttled,
    /// A suspension ended a short while ago.
    Probation,
    /// The sender is suspended and reaches the provider's own people only.
    Suspended,
}

impl Because {
    /// The name as it stands in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Probation => "probation",
            Self::Suspended => "suspended",
        }
    }
}

/// What standings leave of the limits that one message is charged to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reductions {
    /// Of the account's.
    pub account: Option<Reduction>,
    /// Of the tenant's.
    pub tenant: Option<Reduction>,
    /// Of the client address's.
    pub client: Option<Reduction>,
}

/// Whose standings are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Looked<'a> {
    /// The account's, where it acts.
    pub account: Option<&'a Conduct>,
    /// The tenant's.
    pub tenant: &'a Group,
    /// The client address's.
    pub client: &'a Group,
}

impl Conduct {
    /// What is left of the sender's limits at a moment; none if all is. A suspension whose time is over has ended, even if nobody has
    /// taken note of that yet.
    #[must_use]
    pub fn reduction(&self, now: Timestamp, settings: &Settings) -> Option<Reduction> {
        let mut present = self.clone();
        let _ended = present.turn(now, settings);
        let percent = present.percent(now, settings);
        let (because, until) = match present.standing {
            Standing::Throttled { until } if now < until => (Because::Throttled, Some(until)),
            standing if standing.is_shut() => (Because::Suspended, standing.until()),
            _ => (Because::Probation, present.probation(now)),
        };
        (percent < 100).then_some(Reduction { percent, because, until })
    }
}

impl Reductions {
    /// Those of a sender that may send.
    #[must_use]
    pub fn of(looked: Looked<'_>, now: Moment, settings: &Settings) -> Self {
        let Looked { account, tenant, client } = looked;
        Self {
            account: account.and_then(|conduct| conduct.reduction(now.utc, settings)),
            tenant: tenant.conduct.reduction(now.ledger, settings),
            client: client.conduct.reduction(now.ledger, settings),
        }
    }

    /// Those of a sender that is suspended: it writes to the provider's own people only, and not often.
    #[must_use]
    pub const fn of_shut(settings: &Settings) -> Self {
        let percent = settings.throttled_percent;
        let left = Reduction { percent, because: Because::Suspended, until: None };
        Self { account: Some(left), tenant: Some(left), client: None }
    }

    /// That of one scope's limits.
    #[must_use]
    pub const fn of_scope(&self, scope: Scope) -> Option<Reduction> {
        match scope {
            Scope::Account => self.account,
            Scope::Tenant => self.tenant,
            Scope::ClientIp => self.client,
            Scope::Peer => None,
        }
    }

    /// What is left of a limit of this scope.
    #[must_use]
    pub fn left_of(&self, scope: Scope, limit: Limit) -> Limit {
        self.of_scope(scope).map_or(limit, |reduction| reduced(limit, reduction.percent))
    }
}

impl Standing {
    /// What it comes to at a moment: what was to end by then has ended.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        match self.until() {
            Some(until) if until <= now => Self::Active,
            _ => self,
        }
    }
}

impl Settings {
    /// True if standings are only told.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.mode == Mode::Observe
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Span;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn after(points: f32) -> Conduct {
        let mut conduct = Conduct::default();
        let _ = conduct.weigh(points, true, at(0), &Settings::default());
        conduct
    }

    /// What is left at a second, why, and until which second.
    fn check(conduct: &Conduct, second: i64, expected: Option<(u32, Because, Option<i64>)>) {
        let found = conduct.reduction(at(second), &Settings::default());
        let found =
            found.map(|r| (r.percent, r.because, r.until.map(|until| until.as_millis() / 1_000)));
        assert_eq!(found, expected, "{:?} at {second} s", conduct.standing());
    }

    #[test]
    fn limits_are_reduced_for_a_reason_and_a_time() {
        let (hour, day) = (3_600, 86_400);
        check(&after(0.0), 1, None);
        check(&after(5.5), 1, None);
        check(&after(6.5), 1, Some((20, Because::Throttled, Some(6 * hour))));
        check(&after(6.5), 6 * hour, None);
        check(&after(9.0), 1, Some((0, Because::Suspended, Some(4 * hour))));
        check(&after(9.0), 5 * hour, Some((50, Because::Probation, Some(4 * hour + day))));
        check(&after(9.0), 5 * hour + day, None);
        let mut lifted = after(9.0);
        let _ = lifted.lift(at(hour), Some(Span::from_secs(60)));
        check(&lifted, hour, Some((50, Because::Probation, Some(hour + 60))));
    }

    #[test]
    fn each_scope_has_its_own() {
        let (settings, blank, mut group) =
            (Settings::default(), Group::default(), Group::default());
        group.conduct.clone_from(&after(6.5));
        let now = Moment { ledger: at(1), utc: at(1) };
        let looked = Looked { account: None, tenant: &group, client: &blank };
        let reductions = Reductions::of(looked, now, &settings);
        let limit = Limit { window: Span::from_secs(60), max: 50 };
        let left = |scope| reductions.left_of(scope, limit).max;
        let scopes = [Scope::Tenant, Scope::Account, Scope::ClientIp, Scope::Peer];
        assert_eq!(scopes.map(left), [10, 50, 50, 50]);
        let shut = Reductions::of_shut(&settings).account.map(|reduction| reduction.percent);
        assert_eq!(shut, Some(settings.throttled_percent));
    }

    #[test]
    fn what_has_ended_is_active() {
        assert_eq!(after(6.5).standing().at(at(6 * 3_600)), Standing::Active);
        assert_eq!(after(6.5).standing().at(at(1)).name(), "throttled");
        assert_eq!(after(5.5).standing().at(at(1)), Standing::Warned);
    }
}
