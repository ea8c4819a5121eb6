//! What holds for an account now and why: the same facts as in the refusals that it hears.

use super::{
    Admin, AdminError, Explanation, LimitView, RefusalView, StandingView, State, StorageView,
    SubjectUsage,
    effective::{plan_of, tenant_of},
    storage::storage_of,
};
use crate::{
    rules::{
        identity::TrustRow,
        limits::{EffectiveLimit, Mode, Source},
        policy::Policy,
        suspension::{Group, Looked, Reductions},
        verdict::Moment,
    },
    store::{
        behaviour::{Company, GroupKey},
        records::SubjectRecord,
    },
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
    let account_standing = standing.of_account(admin);
    let tenant_standing = standing.of_tenant(admin).await?;
    let storage = standing.storage(admin).await?;
    let has_used = limits.iter().any(|limit| limit.scope == Scope::Account && limit.used > 0);
    Ok(Explanation {
        at: admin.clock.to_utc(standing.now),
        account: account.clone(),
        known: standing.record.registered || has_used || knows(admin, account).await?,
        account_state: State::from(standing.record.suspension.as_ref()),
        account_standing,
        tenant: standing.tenant.0,
        tenant_source: standing.tenant.1,
        tenant_state: State::from(standing.tenant_record.suspension.as_ref()),
        tenant_standing,
        plan_exists: standing.policy.plans.contains_key(&standing.plan.0),
        plan: standing.plan.0,
        plan_source: standing.plan.1,
        mode: plan.mode,
        php_mail: plan.php_mail,
        message_bytes_max: plan.message_bytes_max,
        senders: standing.record.senders.clone(),
        limits,
        storage,
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

    /// The account's standing.
    pub(super) fn of_account(&self, admin: &Admin) -> StandingView {
        StandingView::of_account(admin, &self.record, &self.policy.suspension)
    }

    async fn of_tenant(&self, admin: &Admin) -> Result<StandingView, AdminError> {
        let group = admin.behaviour.group(&GroupKey::Tenant(self.tenant.0.clone())).await?;
        let settings = &self.policy.suspension;
        Ok(StandingView::of_tenant(admin, &self.tenant_record, &group, settings))
    }

    /// What standings leave of the limits of the account's next message.
    async fn reductions(
        &self,
        admin: &Admin,
        client: Option<ClientIp>,
    ) -> Result<Reductions, AdminError> {
        let settings = &self.policy.suspension;
        let (utc, records) = (admin.utc(), [&self.record, &self.tenant_record]);
        if records.into_iter().any(|record| is_shut(record, utc)) {
            return Ok(self.policy.reductions_of_shut());
        }
        let client = client.filter(|&client| self.policy.charges_client(client));
        let client = client.map(|ip| ip.prefix(self.policy.ipv6_prefix_bits));
        let Company { tenant, client } = admin.behaviour.company(&self.tenant.0, client).await?;
        let mode = self.policy.plan(Some(&self.plan.0)).mode;
        let account = self.record.conduct.as_deref().filter(|_| mode == Mode::Enforce);
        let looked = Looked { account, tenant: &tenant, client: &client };
        Ok(Reductions::of(looked, Moment { ledger: self.now, utc }, settings))
    }

    /// How full the account's mailbox is, and all of its tenant's together.
    async fn storage(&self, admin: &Admin) -> Result<Vec<StorageView>, AdminError> {
        if self.policy.trust.iter().any(|row| row.account() == self.account) {
            return Ok(Vec::new());
        }
        let account = storage_of(admin, &SubjectId::Account(self.account.clone())).await?;
        let tenant = storage_of(admin, &SubjectId::Tenant(self.tenant.0.clone())).await?;
        Ok(vec![account, tenant])
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
            reductions: self.reductions(admin, client).await?,
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

/// What standings leave of a tenant's own limits.
pub(super) fn reductions_of_tenant(
    admin: &Admin,
    (record, group): (&SubjectRecord, &Group),
    policy: &Policy,
) -> Reductions {
    let now = Moment { ledger: admin.now(), utc: admin.utc() };
    if is_shut(record, now.utc) {
        return policy.reductions_of_shut();
    }
    let looked = Looked { account: None, tenant: group, client: &Group::default() };
    Reductions::of(looked, now, &policy.suspension)
}

fn is_shut(record: &SubjectRecord, now: Timestamp) -> bool {
    record.suspension.as_ref().is_some_and(|suspension| suspension.lasts(now))
}

/// Whose windows are looked at; limits of other scopes are left out.
#[derive(Default)]
pub(super) struct Whose<'a> {
    pub(super) tenant: Option<&'a TenantId>,
    pub(super) account: Option<&'a AccountId>,
    pub(super) client: Option<IpPrefix>,
    pub(super) peer: Option<&'a PeerName>,
    /// What standings leave of the limits.
    pub(super) reductions: Reductions,
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
            let left = |limit: &EffectiveLimit| self.reductions.left_of(scope, limit.scoped.limit);
            let left: Vec<Limit> = same_key.iter().map(left).collect();
            let used = admin.ledger.usage(&key, &left, now).await?;
            let (name, reduction) = (key.parts().name, self.reductions.of_scope(scope));
            for ((limit, left), used) in same_key.iter().zip(left).zip(&used) {
                let view = LimitView::new(name, limit, used, &admin.clock);
                views.push(view.reduced_to(left, reduction, &admin.clock));
            }
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
