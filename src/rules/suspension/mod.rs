//! From points to a standing: active → warned → throttled → suspended (lifts by itself) → held (a person decides) → cancelled.
//!
//! Pure. A [`Conduct`] is one account's, tenant's or client address's; it is told the points against it ([`Conduct::weigh`]), that time passes
//! ([`Conduct::turn`]) and what a person decided ([`Conduct::hold`], [`Conduct::lift`], [`Conduct::cancel`]), and says what changed. Nothing here is
//! final but what a person does: a suspension lifts by itself a few times a week and then waits for somebody, and only a
//! person cancels. A [`Breaker`] stands above all of them: a wave of suspensions is more often our mistake than everybody's
//! theft.

mod breaker;
mod case;
mod group;
mod reduction;
#[cfg(test)]
mod tests;

pub use breaker::Breaker;
pub use case::{Case, SAMPLES_MAX, Sample, Samples};
pub use group::{Group, MEMBERS_MAX};
pub use reduction::{Because, Looked, Reduction, Reductions};

use super::limits::Mode;
use crate::types::{Limit, Span, Timestamp};

/// When a standing changes and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Whether standings act.
    pub mode: Mode,
    /// Points from which on a sender is warned.
    pub warn_points: f32,
    /// Points from which on limits are reduced.
    pub throttle_points: f32,
    /// Points from which on a sender is suspended.
    pub suspend_points: f32,
    /// What is left of the limits of who is throttled, in percent.
    pub throttled_percent: u32,
    /// How long limits stay reduced after the last reason for it.
    pub throttled_for: Span,
    /// How long a suspension lasts that lifts by itself.
    pub suspended_for: Span,
    /// How many suspensions lift by themselves within [`Settings::lifts_within`]; the next waits for a person.
    pub lifts_max: u32,
    /// The time in which they are counted.
    pub lifts_within: Span,
    /// How long limits stay reduced after a suspension.
    pub probation: Span,
    /// What is left of the limits in that time, in percent.
    pub probation_percent: u32,
    /// A tenant, or a client address, is throttled when so many of its accounts are suspended.
    pub group_accounts: u32,
    /// Suspensions within five minutes that are never a wave.
    pub breaker_min: u32,
    /// The share of all accounts, in thousandths, beyond which suspensions within five minutes are a wave.
    pub breaker_permille: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            warn_points: 5.0,
            throttle_points: 6.0,
            suspend_points: 8.0,
            throttled_percent: 20,
            throttled_for: Span::from_secs(6 * 3_600),
            suspended_for: Span::from_secs(4 * 3_600),
            lifts_max: 2,
            lifts_within: Span::from_secs(7 * 86_400),
            probation: Span::from_secs(24 * 3_600),
            probation_percent: 50,
            group_accounts: 3,
            breaker_min: 20,
            breaker_permille: 20,
        }
    }
}

/// What a sender may do.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Everything.
    #[default]
    Active,
    /// Everything, but somebody should look.
    Warned,
    /// A part of what the limits allow.
    Throttled {
        /// Until when, unless there are new reasons.
        until: Timestamp,
    },
    /// Nothing, for a while.
    Suspended {
        /// Until when.
        until: Timestamp,
    },
    /// Nothing, until a person decides.
    Held,
    /// Nothing; a person decided so.
    Cancelled,
}

impl Standing {
    /// The name as it stands in events, replies and lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Warned => "warned",
            Self::Throttled { .. } => "throttled",
            Self::Suspended { .. } => "suspended",
            Self::Held => "held",
            Self::Cancelled => "cancelled",
        }
    }

    /// Until when it lasts, where that is known.
    #[must_use]
    pub const fn until(self) -> Option<Timestamp> {
        match self {
            Self::Throttled { until } | Self::Suspended { until } => Some(until),
            Self::Active | Self::Warned | Self::Held | Self::Cancelled => None,
        }
    }

    /// True if nothing may be sent.
    #[must_use]
    pub const fn is_shut(self) -> bool {
        matches!(self, Self::Suspended { .. } | Self::Held | Self::Cancelled)
    }
}

/// A sender's standing and how it came there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Conduct {
    standing: Standing,
    since: Timestamp,
    /// When suspensions lifted by themselves, the newest last.
    lifts: Vec<Timestamp>,
    /// When a person lifted one last.
    forgiven: Option<Timestamp>,
    probation_until: Option<Timestamp>,
    /// How often it was suspended, ever.
    breaches: u32,
}

/// The end of a suspension, for whoever remembers what led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// When.
    pub at: Timestamp,
    /// A person decided so; otherwise its time was over.
    pub by_person: bool,
}

impl Default for Conduct {
    fn default() -> Self {
        Self::new(Timestamp::from_millis(0))
    }
}

/// A standing that became another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: Standing,
    /// What it is.
    pub to: Standing,
}

impl Conduct {
    /// Of a sender of whom nothing bad is known.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            standing: Standing::Active,
            since: now,
            lifts: Vec::new(),
            forgiven: None,
            probation_until: None,
            breaches: 0,
        }
    }

    /// What the sender may do.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// How often it was suspended, ever.
    #[must_use]
    pub const fn breaches(&self) -> u32 {
        self.breaches
    }

    /// True if there is nothing to remember.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.standing == Standing::Active && self.breaches == 0 && self.forgiven.is_none()
    }

    /// When the last suspension ended, and how.
    #[must_use]
    pub fn release(&self) -> Option<Release> {
        let by_itself = self.lifts.last().map(|&at| Release { at, by_person: false });
        let by_person = self.forgiven.map(|at| Release { at, by_person: true });
        by_itself.into_iter().chain(by_person).max_by_key(|release| release.at)
    }

    /// Until when limits stay reduced after a suspension, if they are now.
    #[must_use]
    pub fn probation(&self, now: Timestamp) -> Option<Timestamp> {
        self.probation_until.filter(|&until| now < until && !self.standing.is_shut())
    }

    /// What is left of the sender's limits now, in percent.
    #[must_use]
    pub fn percent(&self, now: Timestamp, settings: &Settings) -> u32 {
        match self.standing {
            _ if settings.mode == Mode::Observe => 100,
            Standing::Throttled { until } if now < until => settings.throttled_percent,
            standing if standing.is_shut() => 0,
            _ if self.probation(now).is_some() => settings.probation_percent,
            _ => 100,
        }
    }

    /// Weighs the points against the sender; `may_suspend` is false while the [`Breaker`] is open.
    pub fn weigh(
        &mut self,
        points: f32,
        may_suspend: bool,
        now: Timestamp,
        settings: &Settings,
    ) -> Option<Change> {
        if self.standing.is_shut() {
            return None;
        }
        let to = if points >= settings.suspend_points && may_suspend {
            self.suspension(now, settings)
        } else if points >= settings.throttle_points {
            self.throttle(now, settings)
        } else {
            self.calmed(points, now, settings)
        };
        if to.is_shut() {
            self.breaches = self.breaches.saturating_add(1);
        }
        self.become_(to, now)
    }

    /// Lets time pass: what was to end by now has ended.
    pub fn turn(&mut self, now: Timestamp, settings: &Settings) -> Option<Change> {
        let Standing::Suspended { until } = self.standing else { return None };
        if now < until {
            return None;
        }
        if self.lifts.len() >= LIFTS_MAX {
            self.lifts.remove(0);
        }
        self.lifts.push(until);
        self.probation_until = Some(until + settings.probation.length());
        self.become_(Standing::Active, until)
    }

    /// A person lifts the suspension, or whatever the standing is; what led to it counts no longer, and probation begins, if the person
    /// wants that.
    pub fn lift(&mut self, now: Timestamp, probation: Option<Span>) -> Option<Change> {
        self.lifts.clear();
        self.forgiven = Some(now);
        self.probation_until = probation.map(|span| now + span.length());
        self.become_(Standing::Active, now)
    }

    /// A person, or a rule that asks for one, suspends without an end.
    pub fn hold(&mut self, now: Timestamp) -> Option<Change> {
        if self.standing == Standing::Cancelled {
            return None;
        }
        self.breaches = self.breaches.saturating_add(1);
        self.become_(Standing::Held, now)
    }

    /// A person cancels.
    pub fn cancel(&mut self, now: Timestamp) -> Option<Change> {
        self.become_(Standing::Cancelled, now)
    }

    /// The suspension that is due: one that lifts by itself as long as there are lifts left.
    fn suspension(&self, now: Timestamp, settings: &Settings) -> Standing {
        let recent =
            self.lifts.iter().filter(|&&at| now.since(at) < settings.lifts_within.length());
        if recent.count() < settings.lifts_max as usize {
            Standing::Suspended { until: now + settings.suspended_for.length() }
        } else {
            Standing::Held
        }
    }

    /// Reduced limits from now on; while they are reduced already their end moves in steps, because each is written down.
    fn throttle(&self, now: Timestamp, settings: &Settings) -> Standing {
        let until = now + settings.throttled_for.length();
        match self.standing {
            Standing::Throttled { until: before }
                if now < before && until.since(before) < settings.throttled_for.length() / 8 =>
            {
                self.standing
            }
            _ => Standing::Throttled { until },
        }
    }

    /// What a sender becomes against whom too little speaks now. A warning stays until half of the reason is gone.
    fn calmed(&self, points: f32, now: Timestamp, settings: &Settings) -> Standing {
        match self.standing {
            Standing::Throttled { until } if now < until => self.standing,
            _ if points >= settings.warn_points => Standing::Warned,
            Standing::Warned if points >= settings.warn_points / 2.0 => Standing::Warned,
            _ => Standing::Active,
        }
    }

    fn become_(&mut self, to: Standing, now: Timestamp) -> Option<Change> {
        let from = std::mem::replace(&mut self.standing, to);
        if std::mem::discriminant(&from) == std::mem::discriminant(&to) {
            return None;
        }
        self.since = now;
        Some(Change { from, to })
    }
}

/// What is left of a limit, at least one unless nothing is.
#[must_use]
pub fn reduced(limit: Limit, percent: u32) -> Limit {
    if percent >= 100 {
        return limit;
    }
    let max = u64::from(limit.max) * u64::from(percent) / 100;
    let least = u64::from(limit.max.min(1).min(percent));
    Limit { max: u32::try_from(max.max(least)).unwrap_or(limit.max), ..limit }
}

/// So many lifts are remembered, more than any setting asks for.
pub const LIFTS_MAX: usize = 16;
