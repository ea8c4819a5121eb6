//! From "who is it" to "what may it": records, suspension, plan, limits, and the windows that are charged.
//!
//! Collects what `rules` needs from the store and turns its answers into an [`Admission`] or a refusal. Speaks no SMTP and
//! knows no connection, so that `tests/decisions.rs` can ask it about any account at any moment.

use crate::{
    event::{Charged, Evidence, RefusalReason},
    rules::{
        identity::{self, Identity, TrustRow},
        limits::{EffectiveLimit, Mode, Plan},
        policy::{Policy, SenderMismatch, UnknownAccounts},
        quota::Over,
        suspension::{Looked, Reductions},
        verdict::{self, Moment, Refusal},
    },
    store::{
        StoreError,
        behaviour::Behaviour,
        ledger::{ChargePer, Demand, Ledger, Reservation},
        mailboxes::Mailboxes,
        records::{Records, Revision, SubjectRecord, Suspension},
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
    /// What is remembered of senders.
    pub behaviour: &'a dyn Behaviour,
    /// How full mailboxes are.
    pub mailboxes: &'a Mailboxes,
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
    /// The windows, with what standings leave of their limits.
    pub demands: Vec<Demand>,
    /// The account's own, with all of their limits.
    pub whole: Vec<Demand>,
    /// What recipients hear of whom the sender does not reach, because it is suspended or its mail storage is used up.
    pub shut: Option<Refusal>,
    /// Envelope senders that the account may use beyond its own.
    pub senders: Vec<String>,
    /// What is only told and not refused: in observe mode, or a sender mismatch that is flagged.
    pub observed: Vec<Refusal>,
    /// The last change of shared records that it follows from.
    pub revision: Option<Revision>,
}

impl Admission {
    /// Nothing charged yet in its windows.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        Reservation::new(self.demands.clone()).following(self.revision)
    }
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

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, charged: None }
    }
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
    // Asked first: what is read afterwards is at least as new.
    let revision = books.records.revision().map_err(down)?;
    let subject = load_subject(books, &question.identity.account).await.map_err(down)?;
    let (of_tenant, of_account) =
        (subject.tenant_record.assigned(), subject.account_record.assigned());
    let account_plan = question.policy.plan_in_force(of_tenant, of_account);
    let charged = Charged {
        account: question.identity.account.clone(),
        tenant: subject.tenant.clone(),
        plan: account_plan.name.clone(),
        evidence: question.identity.evidence,
        peer: question.identity.peer.clone(),
    };
    let deny = |refusal| Denied { refusal, charged: Some(charged.clone()) };
    let suspended = suspension(books, &question, &subject);
    let is_suspended = suspended.is_some();
    let mut observed = Vec::new();
    let shut = suspended.or_else(|| {
        let (over, refusal) = storage(books, &question, &subject)?;
        if over == Over::Observe {
            observed.push(refusal);
            return None;
        }
        Some(refusal)
    });
    if let Some(refusal) = shut.as_ref().filter(|_| question.policy.shut.reachable.is_empty()) {
        return Err(deny(refusal.clone()));
    }
    if let Some(refusal) = sender_mismatch(&question, &subject) {
        let refuses = question.policy.sender_login_mismatch == SenderMismatch::Refuse;
        if refuses && account_plan.mode == Mode::Enforce {
            return Err(deny(refusal));
        }
        observed.push(refusal);
    }
    if let Some(refusal) = size(&question, &account_plan) {
        return Err(deny(refusal));
    }
    let novelty = match unknown_account(books, &question, &subject).await {
        Ok(novelty) => novelty,
        Err(refusal)
            if account_plan.mode == Mode::Enforce || refusal.reason == RefusalReason::StoreDown =>
        {
            return Err(deny(refusal));
        }
        Err(refusal) => {
            observed.push(refusal);
            Novelty::Known
        }
    };
    // A server that stands for all its senders has limits of its own; a mailbox's plan is not meant for it.
    let effective = if question.identity.follows_plan() {
        question.policy.limits_in_force(of_tenant, of_account, books.now.utc)
    } else {
        Vec::new()
    };
    // A plan that is only observed does not switch off another's limits, nor those of a trusted server.
    let modes =
        Modes { tenant: question.policy.plan(of_tenant.plan).mode, account: account_plan.mode };
    let reductions = reductions(books, &question, &subject, (account_plan.mode, is_suspended));
    let reductions = reductions.await.map_err(down)?;
    let mut demands = demands(&question, &subject, &effective, modes);
    let whole = demands.iter().filter(|demand| demand.key.parts().scope == Scope::Account);
    let whole = whole.cloned().collect();
    demands.iter_mut().for_each(|demand| reduce(demand, &reductions));
    if novelty == Novelty::New {
        demands.extend(new_account_demand(&question));
    }
    let senders = subject.account_record.senders.clone();
    let plan = account_plan;
    Ok(Admission { charged, plan, demands, whole, shut, senders, observed, revision })
}

async fn load_subject(books: Books<'_>, account: &AccountId) -> Result<Subject, StoreError> {
    let account_record = books.records.subject(&SubjectId::Account(account.clone())).await?;
    let tenant = account_record.tenant.clone().unwrap_or_else(|| identity::tenant_of(account));
    let tenant_record = books.records.subject(&SubjectId::Tenant(tenant.clone())).await?;
    Ok(Subject { tenant, account_record, tenant_record })
}

/// What a suspended sender hears. A suspension whose time is over is none, even if nobody has taken note of that yet.
fn suspension(books: Books<'_>, question: &Question<'_>, subject: &Subject) -> Option<Refusal> {
    let lasts = |suspension: &&Suspension| suspension.lasts(books.now.utc);
    let of_account = subject
        .account_record
        .suspension
        .as_ref()
        .filter(lasts)
        .map(|suspension| (SubjectId::Account(question.identity.account.clone()), suspension));
    let of_tenant = || {
        let suspension = subject.tenant_record.suspension.as_ref().filter(lasts)?;
        Some((SubjectId::Tenant(subject.tenant.clone()), suspension))
    };
    let (who, suspension) = of_account.or_else(of_tenant)?;
    Some(suspended(question.policy, &who, suspension, question.session))
}

/// What the sender of a suspension hears.
pub(super) fn suspended(
    policy: &Policy,
    who: &SubjectId,
    suspension: &Suspension,
    session: &SessionId,
) -> Refusal {
    let (contact, reply) = (&policy.contact, policy.shut.reply);
    verdict::suspended((who, suspension.until), &suspension.case, (contact, reply), session)
}

/// What a sender hears whose mail storage, or whose tenant's, is used up; observed where the plan only observes. A server that stands
/// for all its senders has no mailbox.
fn storage(
    books: Books<'_>,
    question: &Question<'_>,
    subject: &Subject,
) -> Option<(Over, Refusal)> {
    if !question.identity.follows_plan() {
        return None;
    }
    let account = SubjectId::Account(question.identity.account.clone());
    let tenant = SubjectId::Tenant(subject.tenant.clone());
    let assigned = (subject.tenant_record.assigned(), subject.account_record.assigned());
    let rooms = question.policy.rooms_in_force(assigned.0, assigned.1);
    let full =
        [(account, rooms.account), (tenant, rooms.tenant)].into_iter().filter_map(|(who, room)| {
            let over = Some(room.follows()).filter(|over| *over != Over::Warn)?;
            let (max, held) = (room.bytes_max?, books.mailboxes.of(&who)?);
            let used = held.known.last.bytes;
            let is_full = held.known.is_full(max, held.told.is_full);
            is_full.then(|| {
                let numbers = (ByteCount::new(used), ByteCount::new(max));
                let contact = &question.policy.contact;
                (over, verdict::storage_full(&who, numbers, contact, question.session))
            })
        });
    // One that refuses comes before one that is only observed.
    full.min_by_key(|(over, _)| *over != Over::Refuse)
}

/// Leaves of a demand's limits what standings do.
fn reduce(demand: &mut Demand, reductions: &Reductions) {
    let scope = demand.key.parts().scope;
    if reductions.of_scope(scope).is_some() {
        let left = demand.limits.iter().map(|&limit| reductions.left_of(scope, limit));
        demand.limits = left.collect::<Vec<_>>().into();
    }
}

/// What standings leave of the limits.
async fn reductions(
    books: Books<'_>,
    question: &Question<'_>,
    subject: &Subject,
    (mode, is_shut): (Mode, bool),
) -> Result<Reductions, StoreError> {
    let Policy { suspension: settings, ipv6_prefix_bits, .. } = question.policy;
    if is_shut {
        return Ok(question.policy.reductions_of_shut());
    }
    let client = question.policy.charges_client(question.client);
    let client = client.then(|| question.client.prefix(*ipv6_prefix_bits));
    let company = books.behaviour.company(&subject.tenant, client).await?;
    let account = subject.account_record.conduct.as_deref();
    let account = account.filter(|_| mode == Mode::Enforce);
    let looked = Looked { account, tenant: &company.tenant, client: &company.client };
    Ok(Reductions::of(looked, books.now, settings))
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

/// Refuses accounts that nobody registered, where the configuration says so; says whether the account is new here.
async fn unknown_account(
    books: Books<'_>,
    question: &Question<'_>,
    subject: &Subject,
) -> Result<Novelty, Refusal> {
    let Identity { account, evidence, .. } = &question.identity;
    if subject.account_record.registered || matches!(evidence, Evidence::Auth | Evidence::Peer) {
        return Ok(Novelty::Known);
    }
    if question.policy.unknown_accounts == UnknownAccounts::Refuse {
        return Err(verdict::unknown_account(account, question.session));
    }
    let subject = SubjectId::Account(account.clone());
    for unit in [Unit::Recipients, Unit::NullSender] {
        let known = books.ledger.knows(&Key::of_subject(&subject, unit)).await;
        if known.map_err(|_| verdict::store_down(question.session))? {
            return Ok(Novelty::Known);
        }
    }
    Ok(Novelty::New)
}

/// Whether an account has sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Novelty {
    Known,
    /// Each trusted server may bring only so many in an hour; one that sends nothing is not counted.
    New,
}

/// The charge of a trusted server for an account that it names for the first time.
fn new_account_demand(question: &Question<'_>) -> Option<Demand> {
    let peer = question.identity.peer.as_ref()?;
    Some(Demand {
        key: Key::of_peer(peer, Unit::NewAccounts),
        limits: new_accounts_limits(question.policy, peer).into(),
        per: ChargePer::Transaction,
        mode: Mode::Enforce,
    })
}

/// Whether the limits of the tenant's plan and those of the account's refuse.
#[derive(Clone, Copy)]
struct Modes {
    tenant: Mode,
    account: Mode,
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
    modes: Modes,
) -> Vec<Demand> {
    let account = SubjectId::Account(question.identity.account.clone());
    let tenant = SubjectId::Tenant(subject.tenant.clone());
    let mut demands = Vec::with_capacity(4);
    for unit in [Unit::Recipients, Unit::Messages] {
        let limits = limits_of(effective, Scope::Tenant, unit);
        if unit == Unit::Recipients || !limits.is_empty() {
            demands.push(demand(Key::of_subject(&tenant, unit), limits, modes.tenant));
        }
        let limits = limits_of(effective, Scope::ClientIp, unit);
        if !limits.is_empty() && question.policy.charges_client(question.client) {
            let prefix = question.client.prefix(question.policy.ipv6_prefix_bits);
            demands.push(demand(Key::of_client(prefix, unit), limits, modes.account));
        }
    }
    // Bounces and receipts have a limit of their own in place of the account's; the tenant's and the client's hold for all.
    let own = limits_of(effective, Scope::Account, Unit::NullSender);
    if matches!(question.sender, ReversePath::Null) && !own.is_empty() {
        demands.push(demand(Key::of_subject(&account, Unit::NullSender), own, modes.account));
    } else {
        for unit in [Unit::Recipients, Unit::Messages] {
            let limits = limits_of(effective, Scope::Account, unit);
            if unit == Unit::Recipients || !limits.is_empty() {
                demands.push(demand(Key::of_subject(&account, unit), limits, modes.account));
            }
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
        .map(|(unit, limits)| demand(Key::of_peer(&row.name, unit), limits, Mode::Enforce))
        .collect()
}

fn limits_of(effective: &[EffectiveLimit], scope: Scope, unit: Unit) -> Vec<Limit> {
    effective
        .iter()
        .filter(|limit| limit.scoped.scope == scope && limit.scoped.unit == unit)
        .map(|limit| limit.scoped.limit)
        .collect()
}

fn demand(key: Key, limits: Vec<Limit>, mode: Mode) -> Demand {
    let per = match key.parts().unit {
        Unit::Messages => ChargePer::Transaction,
        _ => ChargePer::Recipient,
    };
    Demand { key, limits: limits.into(), per, mode }
}

/// The refusal of a limit that has no room, or of a message that can never fit where it is charged as a whole.
#[must_use]
pub fn limit_refusal(
    hit: crate::event::LimitHit,
    at_once: Option<u32>,
    now: Moment,
    session: &SessionId,
) -> Refusal {
    let refusal = match at_once {
        Some(recipients) if hit.next_slot.is_none() => {
            verdict::limit_never(hit, recipients, session)
        }
        _ => verdict::limit_full(hit, now, session),
    };
    let concerns = |unit| refusal.limit.as_ref().is_some_and(|hit| hit.key.parts().unit == unit);
    if concerns(Unit::NewAccounts) {
        return Refusal { reason: RefusalReason::NewAccounts, ..refusal };
    }
    refusal
}

/// New accounts are counted over an hour.
const NEW_ACCOUNTS_WINDOW: crate::types::Span = crate::types::Span::from_secs(3600);
