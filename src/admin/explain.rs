//! What holds for an account now and why: the same facts as in the refusals that it hears.

use super::{
    Admin, AdminError, Explanation, LimitView, RefusalView, State, SubjectUsage,
    effective::{plan_of, tenant_of},
};
use crate::{
    rules::{
        identity::TrustRow,
        limits::{EffectiveLimit, Source},
    },
    store::{ledger::Usage, records::SubjectRecord},
    types::{
        AccountId, ClientIp, IpPrefix, Key, Limit, PeerName, Scope, SubjectId, TenantId, Timestamp,
        Unit,
    },
};
use std::sync::Arc;

/// Explains an account; with a client address, also that address's limits.
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn explain(
    admin: &Admin,
    account: &AccountId,
    client: Option<ClientIp>,
) -> Result<Explanation, AdminError> {
    let standing = Standing::load(admin, account).await?;
    let plan = standing.policy.plan(Some(&standing.plan.0));
    let limits = standing.limits(admin, client).await?;
    let last_refusal = admin.records.last_refusal(account).await?;
    let last_refusal = last_refusal.map(|last| RefusalView::new(last, &admin.clock));
    let has_used = limits.iter().any(|limit| limit.scope == Scope::Account && limit.used > 0);
    Ok(Explanation {
        at: admin.clock.to_utc(standing.now),
        account: account.clone(),
        known: standing.record.registered || has_used || knows(admin, account).await?,
        account_state: State::from(standing.record.suspension.as_ref()),
        tenant: standing.tenant.0,
        tenant_source: standing.tenant.1,
        tenant_state: State::from(standing.tenant_record.suspension.as_ref()),
        plan_exists: standing.policy.plans.contains_key(&standing.plan.0),
        plan: standing.plan.0,
        plan_source: standing.plan.1,
        mode: plan.mode,
        php_mail: plan.php_mail,
        message_bytes_max: plan.message_bytes_max,
        senders: standing.record.senders.clone(),
        limits,
        last_refusal,
    })
}

/// The use of all limits that hold for an account, its tenant's included.
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn usage(admin: &Admin, account: &AccountId) -> Result<SubjectUsage, AdminError> {
    let limits = Standing::load(admin, account).await?.limits(admin, None).await?;
    Ok(SubjectUsage { name: account.to_string(), limits })
}

/// What is recorded and configured for an account.
pub(super) struct Standing {
    pub(super) now: Timestamp,
    pub(super) policy: Arc<crate::rules::policy::Policy>,
    account: AccountId,
    pub(super) record: Arc<SubjectRecord>,
    pub(super) tenant: (TenantId, super::TenantSource),
    tenant_record: Arc<SubjectRecord>,
    pub(super) plan: (crate::types::PlanName, super::PlanSource),
}

impl Standing {
    pub(super) async fn load(admin: &Admin, account: &AccountId) -> Result<Self, AdminError> {
        let policy = admin.policy.load_full();
        let record = admin.records.subject(&SubjectId::Account(account.clone())).await?;
        let tenant = tenant_of(account, &record);
        let tenant_record = admin.records.subject(&SubjectId::Tenant(tenant.0.clone())).await?;
        let plan = plan_of(&policy, Some(&record), &tenant_record);
        let account = account.clone();
        Ok(Self { now: admin.now(), policy, account, record, tenant, tenant_record, plan })
    }

    /// The limits with their use; those of client addresses only if one is given.
    pub(super) async fn limits(
        &self,
        admin: &Admin,
        client: Option<ClientIp>,
    ) -> Result<Vec<LimitView>, AdminError> {
        if let Some(row) = self.policy.trust.iter().find(|row| row.account() == self.account) {
            return limits_of_peer(admin, row, self.now).await;
        }
        let (tenant, account) = (self.tenant_record.assigned(), self.record.assigned());
        let limits = self.policy.limits_in_force(tenant, account, admin.utc());
        let whose = Whose {
            tenant: Some(&self.tenant.0),
            account: Some(&self.account),
            client: client.map(|ip| ip.prefix(self.policy.ipv6_prefix_bits)),
            ..Whose::default()
        };
        whose.views(admin, limits, self.now).await
    }
}

/// A trusted server that is charged itself follows no plan: its row of the trust table has its limits.
async fn limits_of_peer(
    admin: &Admin,
    row: &TrustRow,
    now: Timestamp,
) -> Result<Vec<LimitView>, AdminError> {
    let source = || Source::Trust { name: row.name.clone() };
    let limits = row.limits.iter().map(|&scoped| EffectiveLimit { scoped, source: source() });
    let whose = Whose { peer: Some(&row.name), ..Whose::default() };
    whose.views(admin, limits.collect(), now).await
}

/// Whose windows are looked at; limits of other scopes are left out.
#[derive(Default)]
pub(super) struct Whose<'a> {
    pub(super) tenant: Option<&'a TenantId>,
    pub(super) account: Option<&'a AccountId>,
    pub(super) client: Option<IpPrefix>,
    pub(super) peer: Option<&'a PeerName>,
}

impl Whose<'_> {
    /// Each limit with its use, in the order tenant, account, client address, and by window.
    pub(super) async fn views(
        &self,
        admin: &Admin,
        mut limits: Vec<EffectiveLimit>,
        now: Timestamp,
    ) -> Result<Vec<LimitView>, AdminError> {
        let order = |limit: &EffectiveLimit| {
            (limit.scoped.scope, limit.scoped.unit, limit.scoped.limit.window)
        };
        limits.sort_by_key(order);
        let mut views = Vec::with_capacity(limits.len());
        for same_key in limits.chunk_by(|a, b| order(a).0 == order(b).0 && order(a).1 == order(b).1)
        {
            let (scope, unit, _) = order(&same_key[0]);
            let Some(key) = self.key(scope, unit) else { continue };
            let used = use_of(admin, &key, same_key, now).await?;
            let name = key.parts().name;
            let view = |(limit, used)| LimitView::new(name, limit, used, &admin.clock);
            views.extend(same_key.iter().zip(&used).map(view));
        }
        Ok(views)
    }

    fn key(&self, scope: Scope, unit: Unit) -> Option<Key> {
        match scope {
            Scope::Tenant => {
                self.tenant.map(|id| Key::of_subject(&SubjectId::Tenant(id.clone()), unit))
            }
            Scope::Account => {
                self.account.map(|id| Key::of_subject(&SubjectId::Account(id.clone()), unit))
            }
            Scope::ClientIp => self.client.map(|prefix| Key::of_client(prefix, unit)),
            Scope::Peer => self.peer.map(|peer| Key::of_peer(peer, unit)),
        }
    }
}

async fn use_of(
    admin: &Admin,
    key: &Key,
    limits: &[EffectiveLimit],
    now: Timestamp,
) -> Result<Vec<Usage>, AdminError> {
    let limits: Vec<Limit> = limits.iter().map(|limit| limit.scoped.limit).collect();
    Ok(admin.ledger.usage(key, &limits, now).await?)
}

async fn knows(admin: &Admin, account: &AccountId) -> Result<bool, AdminError> {
    let subject = SubjectId::Account(account.clone());
    for unit in SENDING_UNITS {
        if admin.ledger.knows(&Key::of_subject(&subject, unit)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The units that a plan may limit.
pub(super) const SENDING_UNITS: [Unit; 3] = [Unit::Recipients, Unit::Messages, Unit::NullSender];
