//! What the operator decided: plans, the trust table, and how to treat senders. Read afresh at each MAIL, replaced as a whole
//! at a reload. Also the one place that says which plan and limits hold for an account of a tenant, so that SMTP and
//! `explain` cannot disagree.

use super::{
    identity::{Shown, TrustRow, TrustTable},
    limits::{self, EffectiveLimit, LimitOverride, Plan, Plans},
    quota::{Room, Rooms},
    suspension::{self, Reductions},
};
use crate::{
    event::Evidence,
    message::HeaderEvidence,
    types::{Address, ClientIp, Domain, PeerName, PlanName, Timestamp},
};
use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

/// What is read afresh at each MAIL; replaced as a whole at a reload.
#[derive(Debug, Clone)]
pub struct Policy {
    /// All plans.
    pub plans: HashMap<PlanName, Arc<Plan>>,
    /// The plan of tenants that have no other.
    pub default_plan: PlanName,
    /// What happens to accounts that are not known.
    pub unknown_accounts: UnknownAccounts,
    /// Accounts that a peer without a figure of its own may name for the first time in an hour.
    pub new_accounts_per_hour: u32,
    /// The trust table, first match wins.
    pub trust: Vec<Arc<TrustRow>>,
    /// Whether a login may use other envelope senders than its own.
    pub sender_login_mismatch: SenderMismatch,
    /// Leading bits of an IPv6 client address that are charged.
    pub ipv6_prefix_bits: u8,
    /// Which identity fields are taken off on the way out.
    pub strip_identity_headers: StripIdentityHeaders,
    /// What our Received field says of the client.
    pub received_client: ReceivedClient,
    /// Received fields before a message counts as a loop.
    pub hops_max: usize,
    /// Whom a suspended sender is told to ask.
    pub contact: String,
    /// When standings change, and what follows from them.
    pub suspension: suspension::Settings,
    /// What a suspended sender hears, and whom it still reaches.
    pub shut: Shut,
    /// The name in Received fields.
    pub hostname: Domain,
    /// The next-hop connection is given back when the text takes longer than this.
    pub park_after: Duration,
}

/// How suspended senders are dealt with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shut {
    /// What they hear.
    pub reply: OnSuspended,
    /// Whom they still reach: the provider's own people.
    pub reachable: Vec<Address>,
    /// Whether lifting a suspension wants another password.
    pub password_change: PasswordChange,
}

impl Shut {
    /// True if a suspended sender may still write there.
    #[must_use]
    pub fn reaches(&self, recipient: &Address) -> bool {
        self.reachable.iter().any(|own| own.as_str().eq_ignore_ascii_case(recipient.as_str()))
    }
}

/// What a suspended sender hears.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnSuspended {
    /// A 5xx: mail comes back at once.
    #[default]
    Refuse,
    /// A 4xx: mail waits with the sender for the end of the suspension.
    Defer,
}

/// Whether a suspension that a rule made can be lifted by a person while the password is still the one that was stolen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PasswordChange {
    /// It can, and the person is told.
    #[default]
    Told,
    /// It cannot, unless the person insists.
    Required,
}

impl Policy {
    /// What is left of the limits of who is suspended; where it reaches nobody, they are what they were.
    #[must_use]
    pub fn reductions_of_shut(&self) -> Reductions {
        if self.shut.reachable.is_empty() {
            return Reductions::default();
        }
        Reductions::of_shut(&self.suspension)
    }

    /// The row of the trust table that holds for this address on a connection that has shown this: the first match.
    #[must_use]
    pub fn row_of(&self, address: IpAddr, shown: Shown<'_>) -> Option<&Arc<TrustRow>> {
        TrustTable::new(&self.trust).row_for(address, shown)
    }

    /// The row that holds for a TCP peer by nothing but its address.
    #[must_use]
    pub fn row_of_peer(&self, address: IpAddr) -> Option<&Arc<TrustRow>> {
        self.row_of(address, Shown::default())
    }

    /// The row of this name.
    #[must_use]
    pub fn row_named(&self, name: &PeerName) -> Option<&Arc<TrustRow>> {
        self.trust.iter().find(|row| row.name == *name)
    }

    /// The plan of this name, or the default one: a plan that was removed from the configuration must not open the gate.
    ///
    /// # Panics
    /// Never: the configuration is only accepted when it has the default plan.
    #[must_use]
    pub fn plan(&self, name: Option<&PlanName>) -> Arc<Plan> {
        name.and_then(|name| self.plans.get(name))
            .or_else(|| self.plans.get(&self.default_plan))
            .map(Arc::clone)
            .expect("the checked configuration has its default plan")
    }

    /// Where the plan of an account comes from, and the plan: its own, else its tenant's, else the default.
    #[must_use]
    pub fn plan_in_force(&self, tenant: Assigned<'_>, account: Assigned<'_>) -> Arc<Plan> {
        self.plan(account.plan.or(tenant.plan))
    }

    /// The limits in force: the tenant's come from the tenant's plan, the others from the account's plan; overrides of the
    /// account beat the tenant's, and those beat the plans.
    #[must_use]
    pub fn limits_in_force(
        &self,
        tenant: Assigned<'_>,
        account: Assigned<'_>,
        now: Timestamp,
    ) -> Vec<EffectiveLimit> {
        let own = self.plan_in_force(tenant, account);
        let shared = self.plan(tenant.plan);
        let plans = Plans { account: &own, tenant: &shared };
        limits::effective_of(plans, tenant.overrides, account.overrides, now)
    }

    /// The room for mail in force: the tenant's comes from the tenant's plan, the account's from the account's.
    #[must_use]
    pub fn rooms_in_force(&self, tenant: Assigned<'_>, account: Assigned<'_>) -> Rooms {
        let own = self.plan_in_force(tenant, account);
        Rooms { account: own.room_of_account(), tenant: self.room_of_tenant(tenant) }
    }

    /// The room for mail of a tenant's mailboxes together.
    #[must_use]
    pub fn room_of_tenant(&self, tenant: Assigned<'_>) -> Room {
        self.plan(tenant.plan).room_of_tenant()
    }

    /// False for the provider's own servers, which stand for many senders.
    #[must_use]
    pub fn charges_client(&self, client: ClientIp) -> bool {
        TrustTable::new(&self.trust).charges_client(client)
    }
}

/// What an operator assigned to an account or a tenant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Assigned<'a> {
    /// The plan, where it is not inherited.
    pub plan: Option<&'a PlanName>,
    /// Limits that replace the plan's.
    pub overrides: &'a [LimitOverride],
}

/// What happens to accounts that are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownAccounts {
    /// They get the default plan.
    #[default]
    DefaultPlan,
    /// `550 5.7.1`.
    Refuse,
}

/// Whether a login may use other envelope senders than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SenderMismatch {
    /// `550 5.7.1` (RFC 6409 §6.1).
    #[default]
    Refuse,
    /// It may.
    Allow,
    /// It may, and an event says so.
    Flag,
}

/// Which identity fields are taken off on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StripIdentityHeaders {
    /// Those that are not believed here, so that the next server does not believe them either.
    #[default]
    Untrusted,
    /// All.
    All,
    /// None.
    None,
}

impl StripIdentityHeaders {
    /// True if fields of this kind are taken off a message that came by way of this row with this header.
    #[must_use]
    pub fn takes_off(
        self,
        kind: Evidence,
        row: Option<&TrustRow>,
        header: &HeaderEvidence,
    ) -> bool {
        match self {
            Self::Untrusted => !row.is_some_and(|row| row.believes_field(kind, header)),
            Self::All => true,
            Self::None => false,
        }
    }
}

/// What our Received field says of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceivedClient {
    /// Its name and address (RFC 5321 §4.4).
    #[default]
    Full,
    /// Neither.
    Hide,
}
