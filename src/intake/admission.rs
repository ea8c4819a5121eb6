//! From "who is it" to "what may it": records, suspension, plan, limits, and the windows that are charged.
//!
//! Collects what `rules` needs from the store and turns its answers into an [`Admission`] or a refusal. Speaks no SMTP and
//! knows no connection, so that `tests/decisions.rs` can ask it about any account at any moment.

use crate::{
    event::{Charged, Evidence},
    rules::{
        identity::{self, Identity, TrustRow},
        limits::{EffectiveLimit, Mode, Plan},
        policy::{Assigned, Policy, SenderMismatch, UnknownAccounts},
        verdict::{self, Moment, Refusal},
    },
    store::{
        StoreError,
        ledger::{ChargePer, Demand, Grant, Ledger, Request, Reservation, Settlement},
        records::{Records, SubjectRecord},
    },
    types::{
        AccountId, ByteCount, ClientIp, Key, Limit, PeerName, ReversePath, Scope, SessionId,
        SubjectId, TenantId, Unit,
    },
};
use std::sync::Arc;

/// Where the past and the present are looked up.
#[derive(Clone, Copy)]
pub struct Books<'a> {
    /// Charges.
    pub ledger: &'a dyn Ledger,
    /// States and overrides.
    pub records: &'a dyn Records,
    /// The present.
    pub now: Moment,
}

/// Who is charged, under which plan, and in which windows.
#[derive(Debug)]
pub struct Admission {
    /// Who is charged.
    pub charged: Charged,
    /// The account's plan.
    pub plan: Arc<Plan>,
    /// The windows.
    pub demands: Vec<Demand>,
    /// The login uses a sender that is not its own, and the configuration lets it.
    pub flagged: Option<Refusal>,
}

/// What is asked about one transaction.
pub struct Question<'a> {
    /// What the operator decided.
    pub policy: &'a Policy,
    /// Who it is.
    pub identity: Identity,
    /// The real sender's host.
    pub client: ClientIp,
    /// The envelope sender.
    pub sender: &'a ReversePath,
    /// The octets of the message, as far as they are known.
    pub size: Option<u64>,
    /// The connection, for the texts.
    pub session: &'a SessionId,
}

/// Why there is no admission.
#[derive(Debug)]
pub struct Denied {
    /// What the client hears, and why.
    pub refusal: Refusal,
    /// Who would have been charged.
    pub charged: Option<Charged>,
}

/// The records of an account and its tenant.
struct Subject {
    tenant: TenantId,
    account_record: Arc<SubjectRecord>,
    tenant_record: Arc<SubjectRecord>,
}

/// Decides on the state and plan of the identified account as they are now.
///
/// # Errors
/// [`Denied`] with what the client hears.
pub async fn admit(books: Books<'_>, question: Question<'_>) -> Result<Admission, Denied> {
    let down = |_| Denied { refusal: verdict::store_down(question.session), charged: None };
    let subject = load_subject(books, &question.identity.account).await.map_err(down)?;
    let (of_tenant, of_account) =
        (assigned(&subject.tenant_record), assigned(&subject.account_record));
    let account_plan = question.policy.plan_in_force(of_tenant, of_account);
    let charged = Charged {
        account: question.identity.account.clone(),
        tenant: subject.tenant.clone(),
        plan: account_plan.name.clone(),
        evidence: question.identity.evidence,
        peer: question.identity.peer.clone(),
    };
    let deny = |refusal| Denied { refusal, charged: Some(charged.clone()) };
    if let Some(refusal) = suspension(&question, &subject) {
        return Err(deny(refusal));
    }
    let flagged = sender_mismatch(&question, &subject);
    if question.policy.sender_login_mismatch == SenderMismatch::Refuse
        && let Some(refusal) = flagged
    {
        return Err(deny(refusal));
    }
    if let Some(refusal) = size(&question, &account_plan) {
        return Err(deny(refusal));
    }
    unknown_account(books, &question, &subject, account_plan.mode).await.map_err(deny)?;
    // A server that stands for all its senders has limits of its own; a mailbox's plan is not meant for it.
    let effective = if question.identity.follows_plan() {
        question.policy.limits_in_force(of_tenant, of_account, books.now.ledger)
    } else {
        Vec::new()
    };
    let demands = demands(&question, &subject, &effective);
    Ok(Admission { charged, plan: account_plan, demands, flagged })
}

async fn load_subject(books: Books<'_>, account: &AccountId) -> Result<Subject, StoreError> {
    let account_record = books.records.subject(&SubjectId::Account(account.clone())).await?;
    let tenant = account_record.tenant.clone().unwrap_or_else(|| identity::tenant_of(account));
    let tenant_record = books.records.subject(&SubjectId::Tenant(tenant.clone())).await?;
    Ok(Subject { tenant, account_record, tenant_record })
}

fn assigned(record: &SubjectRecord) -> Assigned<'_> {
    Assigned { plan: record.plan.as_ref(), overrides: &record.overrides }
}

fn suspension(question: &Question<'_>, subject: &Subject) -> Option<Refusal> {
    let of_account = subject
        .account_record
        .suspension
        .as_ref()
        .map(|suspension| (SubjectId::Account(question.identity.account.clone()), suspension));
    let of_tenant = || {
        let suspension = subject.tenant_record.suspension.as_ref()?;
        Some((SubjectId::Tenant(subject.tenant.clone()), suspension))
    };
    let (who, suspension) = of_account.or_else(of_tenant)?;
    Some(verdict::suspended(&who, &suspension.case, &question.policy.contact, question.session))
}

/// The refusal of a login that uses another's envelope sender, unless that is allowed.
fn sender_mismatch(question: &Question<'_>, subject: &Subject) -> Option<Refusal> {
    let account = &question.identity.account;
    let concerns = question.identity.evidence == Evidence::Auth
        && question.policy.sender_login_mismatch != SenderMismatch::Allow;
    let own = identity::sender_allowed(account, &subject.account_record.senders, question.sender);
    (concerns && !own).then(|| verdict::sender_mismatch(account, question.sender, question.session))
}

fn size(question: &Question<'_>, plan: &Plan) -> Option<Refusal> {
    let size = question.size.filter(|&size| size > plan.message_bytes_max)?;
    Some(verdict::too_large(size, ByteCount::new(plan.message_bytes_max), question.session))
}

/// Refuses accounts that nobody registered, or lets each trusted server name only so many new ones in an hour.
async fn unknown_account(
    books: Books<'_>,
    question: &Question<'_>,
    subject: &Subject,
    mode: Mode,
) -> Result<(), Refusal> {
    let Identity { account, evidence, peer, .. } = &question.identity;
    if subject.account_record.registered || matches!(evidence, Evidence::Auth | Evidence::Peer) {
        return Ok(());
    }
    if question.policy.unknown_accounts == UnknownAccounts::Refuse {
        return Err(verdict::unknown_account(account, question.session));
    }
    let Some(peer) = peer else { return Ok(()) };
    let unit = Unit::Recipients;
    let key = Key::of_subject(&SubjectId::Account(account.clone()), unit);
    let down = |_| verdict::store_down(question.session);
    if books.ledger.knows(&key).await.map_err(down)? {
        return Ok(());
    }
    let demand = Demand {
        key: Key::of_peer(peer, Unit::NewAccounts),
        limits: new_accounts_limits(question.policy, peer).into(),
        per: ChargePer::Recipient,
    };
    let mut reservation = Reservation::new(vec![demand]);
    let request = Request { recipients: 1, grant: Grant::AllOrNothing, mode };
    let now = books.now.ledger;
    let granted = books.ledger.reserve(&mut reservation, request, now).await.map_err(down)?;
    let settlement = if granted.recipients > 0 { Settlement::Sent } else { Settlement::Refunded };
    books.ledger.settle(reservation, settlement, now).await.map_err(down)?;
    match granted.hit.filter(|_| granted.recipients == 0) {
        Some(hit) => Err(verdict::new_accounts(hit, books.now, question.session)),
        None => Ok(()),
    }
}

/// The peer's own figure, else the one for all.
fn new_accounts_limits(policy: &Policy, peer: &PeerName) -> Vec<Limit> {
    let of_row = policy.row_named(peer).map(|row| limits_of_row(row, Unit::NewAccounts));
    of_row.filter(|limits| !limits.is_empty()).unwrap_or_else(|| {
        vec![Limit { window: NEW_ACCOUNTS_WINDOW, max: policy.new_accounts_per_hour }]
    })
}

fn limits_of_row(row: &TrustRow, unit: Unit) -> Vec<Limit> {
    row.limits.iter().filter(|line| line.unit == unit).map(|line| line.limit).collect()
}

/// The windows of this transaction. The account's and the tenant's are always kept, so that a limit that is added later
/// finds their history.
fn demands(
    question: &Question<'_>,
    subject: &Subject,
    effective: &[EffectiveLimit],
) -> Vec<Demand> {
    let null = matches!(question.sender, ReversePath::Null)
        && effective.iter().any(|limit| limit.scoped.unit == Unit::NullSender);
    let base = if null { Unit::NullSender } else { Unit::Recipients };
    let account = SubjectId::Account(question.identity.account.clone());
    let tenant = SubjectId::Tenant(subject.tenant.clone());
    let mut demands = Vec::with_capacity(4);
    let units: &[Unit] =
        if null { &[Unit::NullSender] } else { &[Unit::Recipients, Unit::Messages] };
    for &unit in units {
        for (scope, who) in [(Scope::Tenant, &tenant), (Scope::Account, &account)] {
            let limits = limits_of(effective, scope, unit);
            if unit == base || !limits.is_empty() {
                demands.push(demand(Key::of_subject(who, unit), limits));
            }
        }
        let limits = limits_of(effective, Scope::ClientIp, unit);
        if !limits.is_empty() && question.policy.charges_client(question.client) {
            let prefix = question.client.prefix(question.policy.ipv6_prefix_bits);
            demands.push(demand(Key::of_client(prefix, unit), limits));
        }
    }
    demands.extend(peer_demands(question));
    demands
}

fn peer_demands(question: &Question<'_>) -> Vec<Demand> {
    let row = question.identity.peer.as_ref().and_then(|peer| question.policy.row_named(peer));
    let Some(row) = row.filter(|_| question.identity.charges_peer) else { return Vec::new() };
    [Unit::Recipients, Unit::Messages]
        .into_iter()
        .map(|unit| (unit, limits_of_row(row, unit)))
        .filter(|(_, limits)| !limits.is_empty())
        .map(|(unit, limits)| demand(Key::of_peer(&row.name, unit), limits))
        .collect()
}

fn limits_of(effective: &[EffectiveLimit], scope: Scope, unit: Unit) -> Vec<Limit> {
    effective
        .iter()
        .filter(|limit| limit.scoped.scope == scope && limit.scoped.unit == unit)
        .map(|limit| limit.scoped.limit)
        .collect()
}

fn demand(key: Key, limits: Vec<Limit>) -> Demand {
    let per = match key.parts().unit {
        Unit::Messages => ChargePer::Transaction,
        _ => ChargePer::Recipient,
    };
    Demand { key, limits: limits.into(), per }
}

/// The refusal of a limit that has no room, or of a message that can never fit where it is charged as a whole.
#[must_use]
pub fn limit_refusal(
    hit: crate::event::LimitHit,
    at_once: Option<u32>,
    now: Moment,
    session: &SessionId,
) -> Refusal {
    match at_once {
        Some(recipients) if recipients > hit.limit.max => {
            verdict::limit_never(hit, recipients, session)
        }
        _ => verdict::limit_full(hit, now, session),
    }
}

/// New accounts are counted over an hour.
const NEW_ACCOUNTS_WINDOW: crate::types::Span = crate::types::Span::from_secs(3600);
