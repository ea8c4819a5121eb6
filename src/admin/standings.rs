//! Standings as persons change them: suspending, lifting, cancelling, forgiving; and the breaker.

use super::{
    Admin, AdminError, PasswordView, SubjectView, Who, Why,
    audit::note,
    effective::tenant_of,
    subjects::{change, check_reason, view},
    view::password_of,
};
use crate::{
    event::{BreakerClosed, Event, Resumed, StandingChanged, Suspect, Suspended},
    rules::{policy::PasswordChange, suspension::Standing},
    standing::case,
    store::{
        archive::NewEntry,
        behaviour::GroupKey,
        records::{SubjectRecord, What},
    },
    types::{Actor, ClientIp, SubjectId, TenantId, Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a suspension, or another standing, is lifted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Why.
    pub reason: String,
    /// True: limits are whole again at once, without a time of probation.
    #[serde(default)]
    pub no_probation: bool,
    /// True: also if the password is still the one of then, where the configuration wants another.
    #[serde(default)]
    pub password_unchanged: bool,
}

impl Release {
    /// As it is usually done.
    #[must_use]
    pub fn because(reason: &str) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }
}

/// Whether rules may suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BreakerView {
    /// True: suspensions were a wave, and nobody is suspended by a rule until a person closes it.
    pub open: bool,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A client address against which nothing is held any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClientForgiven {
    /// The address, or the network that is counted as one.
    pub client: String,
    /// What its standing was.
    pub standing: String,
}

/// Suspends until a person lifts it: from the next MAIL on the sender hears 550 5.7.1 with the case. A suspension that would lift by
/// itself goes on as such a one.
///
/// # Errors
/// [`AdminError::Conflict`] if that is so already, [`AdminError::Invalid`] without a reason.
pub async fn suspend(
    admin: &Admin,
    who: &Who,
    reason: &str,
    actor: &Actor,
) -> Result<SubjectView, AdminError> {
    let password = mark_of(admin, who.subject());
    let what = What::Suspend { case: case::draw()?, password };
    shut(admin, who, what, (reason, actor)).await
}

/// Cancels: a suspension that is meant to stay.
///
/// # Errors
/// [`AdminError::Conflict`] if it is cancelled already, [`AdminError::Invalid`] without a reason.
pub async fn cancel(
    admin: &Admin,
    who: &Who,
    reason: &str,
    actor: &Actor,
) -> Result<SubjectView, AdminError> {
    shut(admin, who, What::Cancel(case::draw()?), (reason, actor)).await
}

async fn shut(
    admin: &Admin,
    who: &Who,
    what: What,
    (reason, actor): (&str, &Actor),
) -> Result<SubjectView, AdminError> {
    let reason = check_reason(Some(reason))?;
    let record = change(admin, who, what, (reason, actor)).await?;
    if let Some(suspension) = &record.suspension {
        admin.tell(&Event::Suspended(Suspended {
            subject: who.subject().clone(),
            case: suspension.case.clone(),
            reason: reason.to_owned(),
            actor: actor.to_string(),
            until: None,
        }));
    }
    view(admin, who, &record).await
}

/// Lifts a suspension, or whatever else the standing is; of a tenant also what its suspended accounts hold against it.
///
/// # Errors
/// [`AdminError::Conflict`] if there is nothing to lift, or the password would have to change first; [`AdminError::Invalid`] without
/// a reason.
pub async fn resume(
    admin: &Admin,
    who: &Who,
    release: &Release,
    actor: &Actor,
) -> Result<SubjectView, AdminError> {
    let reason = check_reason(Some(&release.reason))?;
    let before = admin.records.subject(who.subject()).await?;
    let password = password_of(admin, who.subject(), &before);
    check_password(admin, &before, password, release)?;
    check_probation(&before, admin.utc(), release)?;
    let has_forgiven = match who.subject() {
        SubjectId::Tenant(tenant) => forgive_tenant(admin, tenant, (reason, actor)).await?,
        SubjectId::Account(_) => false,
    };
    let mut record = before.clone();
    if is_bound(&before, admin.utc()) || !has_forgiven {
        let probation = admin.policy.load().suspension.probation;
        let what = What::Resume { probation: (!release.no_probation).then_some(probation) };
        record = change(admin, who, what, (reason, actor)).await?;
        tell_lifted(admin, who.subject(), &before, (reason, actor));
    }
    Ok(SubjectView { password, ..view(admin, who, &record).await? })
}

/// True if its own record leaves it less than everything.
fn is_bound(record: &SubjectRecord, now: Timestamp) -> bool {
    let conduct = record.conduct();
    let is_free = conduct.standing() == Standing::Active && conduct.probation(now).is_none();
    record.suspension.is_some() || !is_free
}

fn mark_of(admin: &Admin, subject: &SubjectId) -> Option<u64> {
    match subject {
        SubjectId::Account(account) => admin.passwords.mark(account),
        SubjectId::Tenant(_) => None,
    }
}

/// A stolen password opens the door again as soon as it is unlocked.
fn check_password(
    admin: &Admin,
    record: &SubjectRecord,
    password: Option<PasswordView>,
    release: &Release,
) -> Result<(), AdminError> {
    let is_required = admin.policy.load().shut.password_change == PasswordChange::Required;
    let by_rule = record.suspension.as_ref().filter(|suspension| suspension.evidence.is_some());
    match by_rule {
        Some(suspension)
            if is_required
                && password == Some(PasswordView::Unchanged)
                && !release.password_unchanged =>
        {
            let since = suspension.since.to_second_ceiling();
            let text = format!(
                "the password has not changed since {since}; have it changed first, or insist that it stays as it is"
            );
            Err(AdminError::Conflict(text))
        }
        _ => Ok(()),
    }
}

/// Probation is ended by whoever says so, and not by lifting the same suspension twice.
fn check_probation(
    record: &SubjectRecord,
    now: Timestamp,
    release: &Release,
) -> Result<(), AdminError> {
    let conduct = record.conduct();
    let is_free = record.suspension.is_none() && conduct.standing() == Standing::Active;
    match conduct.probation(now).filter(|_| is_free && !release.no_probation) {
        None => Ok(()),
        Some(until) => Err(AdminError::Conflict(format!(
            "it is not suspended; it is on probation until {}, which only ends before if that is wanted",
            until.to_second_ceiling()
        ))),
    }
}

fn tell_lifted(
    admin: &Admin,
    subject: &SubjectId,
    before: &SubjectRecord,
    (reason, actor): (&str, &Actor),
) {
    let event = match &before.suspension {
        Some(suspension) => Event::Resumed(Resumed {
            subject: subject.clone(),
            case: suspension.case.clone(),
            reason: reason.to_owned(),
            actor: actor.to_string(),
        }),
        None => {
            let tenant = match subject {
                SubjectId::Tenant(tenant) => tenant.clone(),
                SubjectId::Account(account) => tenant_of(account, before).0,
            };
            let who = Suspect::Subject(subject.clone());
            active_again(who, Some(tenant), before.conduct().standing(), reason)
        }
    };
    admin.tell(&event);
}

fn active_again(who: Suspect, tenant: Option<TenantId>, before: Standing, reason: &str) -> Event {
    Event::StandingChanged(Box::new(StandingChanged {
        who,
        tenant,
        from: before.name(),
        to: Standing::Active.name(),
        until: None,
        points: 0.0,
        reasons: vec![reason.to_owned()],
        observed_only: false,
    }))
}

/// Forgets what a tenant's suspended accounts hold against it; says whether there was anything.
async fn forgive_tenant(
    admin: &Admin,
    tenant: &TenantId,
    (reason, actor): (&str, &Actor),
) -> Result<bool, AdminError> {
    let key = GroupKey::Tenant(tenant.clone());
    let group = admin.behaviour.group(&key).await?;
    if group.is_blank() {
        return Ok(false);
    }
    let standing = group.conduct.standing().at(admin.now());
    let entry = NewEntry {
        subject: Some(SubjectId::Tenant(tenant.clone()).to_string()),
        tenant: Some(tenant.clone()),
        ..forgiven(admin, standing, (reason, actor))
    };
    note(admin, entry).await?;
    admin.behaviour.forgive(&key).await?;
    let who = Suspect::Subject(SubjectId::Tenant(tenant.clone()));
    admin.tell(&active_again(who, Some(tenant.clone()), standing, reason));
    Ok(true)
}

/// Forgets what suspended accounts hold against a client address.
///
/// # Errors
/// [`AdminError::Conflict`] if there is nothing, [`AdminError::Invalid`] without a reason.
pub async fn forgive_client(
    admin: &Admin,
    client: ClientIp,
    why: &Why,
    actor: &Actor,
) -> Result<ClientForgiven, AdminError> {
    let reason = check_reason(Some(&why.reason))?;
    let prefix = client.prefix(admin.policy.load().ipv6_prefix_bits);
    let key = GroupKey::Client(prefix);
    let group = admin.behaviour.group(&key).await?;
    if group.is_blank() {
        return Err(AdminError::Conflict(format!("nothing is held against client {prefix}")));
    }
    let standing = group.conduct.standing().at(admin.now());
    let entry = NewEntry {
        subject: Some(Suspect::Client(prefix).to_string()),
        ..forgiven(admin, standing, (reason, actor))
    };
    note(admin, entry).await?;
    admin.behaviour.forgive(&key).await?;
    admin.tell(&active_again(Suspect::Client(prefix), None, standing, reason));
    Ok(ClientForgiven { client: prefix.to_string(), standing: standing.name().into() })
}

fn forgiven(admin: &Admin, standing: Standing, (reason, actor): (&str, &Actor)) -> NewEntry {
    NewEntry {
        before: Some(standing.name().into()),
        reason: Some(reason.to_owned()),
        ..NewEntry::new(admin.utc(), actor, "forgiven")
    }
}

/// Whether rules may suspend.
///
/// # Errors
/// [`AdminError::Store`] if the memory does not answer.
pub async fn breaker(admin: &Admin) -> Result<BreakerView, AdminError> {
    let since = admin.behaviour.wave().await?.map(|since| admin.clock.to_utc(since));
    Ok(BreakerView { open: since.is_some(), since })
}

/// Lets rules suspend again.
///
/// # Errors
/// [`AdminError::Conflict`] if they may already, [`AdminError::Invalid`] without a reason.
pub async fn close_breaker(
    admin: &Admin,
    why: &Why,
    actor: &Actor,
) -> Result<BreakerView, AdminError> {
    let reason = check_reason(Some(&why.reason))?;
    let Some(since) = breaker(admin).await?.since else {
        return Err(AdminError::Conflict("the breaker is closed; rules may suspend".into()));
    };
    let entry = NewEntry {
        before: Some(format!("open since {since}")),
        reason: Some(reason.to_owned()),
        ..NewEntry::new(admin.utc(), actor, "breaker-closed")
    };
    note(admin, entry).await?;
    admin.behaviour.end_wave().await?;
    let closed = BreakerClosed { reason: reason.to_owned(), actor: actor.to_string() };
    admin.tell(&Event::BreakerClosed(closed));
    breaker(admin).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::{PasswordView, State, explain, fixture, show, usage},
        rules::suspension::{Case, Conduct},
        store::{
            behaviour::Concerned,
            records::{Change, Judged, SubjectKind},
        },
        types::{AccountId, Via},
    };

    const ACCOUNT: &str = "a@shop.example";

    fn op() -> Actor {
        Actor::new(Via::ControlSocket, "op")
    }

    fn who() -> Who {
        Who::new(SubjectKind::Accounts, ACCOUNT).unwrap()
    }

    /// A rule judges the account, as it does when it finds so many points.
    async fn judge(gate: &fixture::Gate, points: f32) {
        let admin = &gate.admin;
        let (subject, now) = (who().subject().clone(), admin.utc());
        let from = admin.records.subject(&subject).await.unwrap().conduct();
        let mut to = from.clone();
        let settings = admin.policy.load().suspension.clone();
        let _ = to.weigh(points, true, now, &settings);
        let evidence = crate::rules::spam::Evidence::default();
        let samples = crate::rules::suspension::Samples::default();
        let id = "TG-7K3M-92QX".parse().unwrap();
        let case = Case::open(id, subject.clone(), &evidence, &samples, now);
        let case = to.standing().is_shut().then(|| Box::new(case));
        let password = mark_of(admin, &subject);
        let change = Change {
            subject,
            what: What::Judge(Box::new(Judged { from, to, case, password })),
            reason: "points".into(),
            evidence: None,
            actor: Actor::automatic("spam rules"),
        };
        admin.records.change(change, now).await.unwrap();
    }

    /// Three accounts of the tenant were suspended for mail from one address.
    async fn suspend_three(gate: &fixture::Gate, client: ClientIp) {
        let (admin, tenant) = (&gate.admin, "shop.example".parse().unwrap());
        let settings = crate::rules::judgement::Settings::default();
        for number in 0..3 {
            let account: AccountId = format!("{number}@shop.example").parse().unwrap();
            let conduct = Conduct::default();
            let prefix = Some(client.prefix(64));
            let concerned =
                Concerned { account: &account, tenant: &tenant, client: prefix, conduct: &conduct };
            let attempt = crate::rules::spam::Attempt {
                at: admin.now(),
                client: None,
                recipients: &[],
                over_limit: 0,
                is_null_sender: false,
                text: crate::rules::spam::Text::default(),
            };
            let mut act = |memory: &mut crate::rules::judgement::Memory<'_>| {
                memory.account = number;
                let _ = memory.condemn(&attempt, 10, &settings);
            };
            admin.behaviour.remember(concerned, admin.now(), &mut act).await.unwrap();
        }
    }

    async fn max_of(gate: &fixture::Gate, scope: &str) -> (u32, Option<String>) {
        let account = ACCOUNT.parse().unwrap();
        let client = Some("192.0.2.7".parse().unwrap());
        let explained = explain(&gate.admin, &account, client).await.unwrap();
        let limit = explained.limits.iter().find(|l| l.scope.name() == scope).unwrap();
        (limit.max, limit.reduced.as_ref().map(|reduced| reduced.because.clone()))
    }

    #[tokio::test]
    async fn a_throttled_account_is_shown_its_reduced_limits_until_a_person_lifts_that() {
        let gate = fixture::gate();
        judge(&gate, 6.5).await;
        assert_eq!(max_of(&gate, "account").await, (10, Some("throttled".into())));
        assert_eq!(max_of(&gate, "tenant").await, (50, None));
        let used = usage(&gate.admin, &ACCOUNT.parse().unwrap()).await.unwrap();
        assert!(used.limits.iter().any(|l| l.max == 10 && l.remaining == 10), "{used:?}");
        let view = show(&gate.admin, &who()).await.unwrap();
        assert_eq!((view.standing.standing.as_str(), view.standing.percent), ("throttled", 20));
        assert_eq!(view.state, State::Active);
        resume(&gate.admin, &who(), &Release::because("known"), &op()).await.unwrap();
        assert_eq!(max_of(&gate, "account").await, (50, None));
        assert_eq!(*gate.told.lock(), ["standing-changed"]);
        let again = resume(&gate.admin, &who(), &Release::because("known"), &op()).await;
        assert!(matches!(again, Err(AdminError::Conflict(_))), "{again:?}");
    }

    #[tokio::test]
    async fn a_stolen_password_is_changed_before_a_suspension_is_lifted() {
        let gate = fixture::gate();
        let mut policy = gate.admin.policy.load().as_ref().clone();
        policy.shut.password_change = PasswordChange::Required;
        gate.admin.policy.store(policy.into());
        let mark = |mark| gate.passwords.0.lock().insert(ACCOUNT.parse().unwrap(), mark);
        mark(1);
        judge(&gate, 9.0).await;
        let refused = resume(&gate.admin, &who(), &Release::because("clean"), &op()).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.starts_with("the password has not changed since "), "{text}");
        mark(2);
        let lifted = resume(&gate.admin, &who(), &Release::because("clean"), &op()).await.unwrap();
        assert_eq!(lifted.password, Some(PasswordView::Changed));
        assert_eq!(max_of(&gate, "account").await, (25, Some("probation".into())));
        let twice = resume(&gate.admin, &who(), &Release::because("clean"), &op()).await;
        assert!(twice.unwrap_err().to_string().contains("on probation until"));
        judge(&gate, 9.0).await;
        let insist =
            Release { password_unchanged: true, no_probation: true, ..Release::because("x") };
        let lifted = resume(&gate.admin, &who(), &insist, &op()).await.unwrap();
        assert_eq!(lifted.password, Some(PasswordView::Unchanged));
        assert_eq!(max_of(&gate, "account").await, (50, None));
    }

    #[tokio::test]
    async fn an_automatic_suspension_is_extended_and_cancelled_under_its_case() {
        let gate = fixture::gate();
        judge(&gate, 9.0).await;
        let until = |view: &SubjectView| match &view.state {
            State::Suspended { case, until, .. } => (case.to_string(), until.is_some()),
            State::Active => panic!("{view:?}"),
        };
        let case = || String::from("TG-7K3M-92QX");
        assert_eq!(until(&show(&gate.admin, &who()).await.unwrap()), (case(), true));
        let held = suspend(&gate.admin, &who(), "wait", &op()).await.unwrap();
        assert_eq!((until(&held), &*held.standing.standing), ((case(), false), "held"));
        let found = super::super::case(&gate.admin, &case().parse().unwrap()).await.unwrap();
        assert_eq!((found.0.points, found.1.as_str()), (Some(0.0), "shop.example"));
        let gone = cancel(&gate.admin, &who(), "again and again", &op()).await.unwrap();
        assert_eq!((until(&gone), &*gone.standing.standing), ((case(), false), "cancelled"));
        let again = cancel(&gate.admin, &who(), "x", &op()).await;
        assert!(matches!(again, Err(AdminError::Conflict(_))), "{again:?}");
        let missing = super::super::case(&gate.admin, &"TG-0000-0000".parse().unwrap()).await;
        assert!(matches!(missing, Err(AdminError::NotFound(_))), "{missing:?}");
    }

    #[tokio::test]
    async fn a_tenant_and_an_address_are_throttled_as_a_whole_until_they_are_forgiven() {
        let gate = fixture::gate();
        let client: ClientIp = "192.0.2.7".parse().unwrap();
        suspend_three(&gate, client).await;
        for scope in ["tenant", "client-ip"] {
            assert_eq!(max_of(&gate, scope).await, (10, Some("throttled".into())), "{scope}");
        }
        let tenant = Who::new(SubjectKind::Tenants, "shop.example").unwrap();
        let view = show(&gate.admin, &tenant).await.unwrap();
        assert_eq!((view.standing.standing.as_str(), view.limits[0].max), ("throttled", 10));
        resume(&gate.admin, &tenant, &Release::because("cleaned"), &op()).await.unwrap();
        let why = Why { reason: "an office".into() };
        let done = forgive_client(&gate.admin, client, &why, &op()).await.unwrap();
        assert_eq!((done.client.as_str(), done.standing.as_str()), ("192.0.2.7", "throttled"));
        for scope in ["tenant", "client-ip"] {
            assert_eq!(max_of(&gate, scope).await, (50, None), "{scope}");
        }
        let told = gate.told.lock().clone();
        assert_eq!(told, ["audited", "standing-changed", "audited", "standing-changed"]);
        let again = forgive_client(&gate.admin, client, &why, &op()).await;
        assert!(matches!(again, Err(AdminError::Conflict(_))), "{again:?}");
    }

    #[tokio::test]
    async fn a_breaker_that_is_closed_cannot_be_closed() {
        let gate = fixture::gate();
        assert_eq!(breaker(&gate.admin).await.unwrap(), BreakerView { open: false, since: None });
        let closed = close_breaker(&gate.admin, &Why { reason: "x".into() }, &op()).await;
        assert!(matches!(closed, Err(AdminError::Conflict(_))), "{closed:?}");
        assert!(gate.told.lock().is_empty());
    }
}
