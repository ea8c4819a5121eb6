//! Which limits hold for a sender: the plan, then the tenant's overrides, then the account's.

use crate::types::{Limit, PeerName, PlanName, Scope, Timestamp, Unit};

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
}

/// Whether rules act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Rules refuse.
    #[default]
    Enforce,
    /// Everything is decided and recorded, nothing is refused.
    Observe,
}

/// What happens to mail that PHP's mail() made (`X-PHP-Originating-Script`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhpMail {
    /// It passes like other mail.
    #[default]
    Allow,
    /// `550 5.7.1`.
    Refuse,
}

/// A limit that replaces the plan's for one tenant or account; `limit.max` 0 refuses everything.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
