//! The offences of a tenant, what they propose, and leaving: by whoever closes an account or a tenant.
//!
//! A proposal is a sentence and never an act: a tenant is cancelled by a person.

use super::{
    Admin, AdminError, Who,
    kept::hold_over,
    privacy::{self, Parting},
    standings::cancel,
    subjects::check_reason,
};
use crate::{
    store::{
        archive::{Closing, HoldRow, NewEntry, OffenceRow, Severity},
        records::{Choice, SubjectKind, Task},
    },
    types::{Actor, SubjectId, TenantId, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long what counts, and how long who leaves is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConductSettings {
    /// How long an offence counts.
    pub keep_offences: Duration,
    /// So many suspensions within that time are repeated.
    pub repeated: u32,
    /// From closing to erasing.
    pub keep_closed: Duration,
}

/// The offences of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OffencesView {
    /// The tenant.
    pub tenant: TenantId,
    /// Those that count, and those that were withdrawn, the newest first.
    pub offences: Vec<OffenceRow>,
    /// For how many seconds one counts.
    pub keep_seconds: u64,
    /// Suspensions that count.
    pub suspensions: u64,
    /// Why the tenant should be cancelled; none: it should not. A person decides.
    pub proposal: Option<String>,
}

impl OffencesView {
    /// How long an offence counts.
    #[must_use]
    pub const fn keep(&self) -> Duration {
        Duration::from_secs(self.keep_seconds)
    }
}

/// What spoke against the accounts of a tenant, and what that proposes.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn offences(admin: &Admin, tenant: &TenantId) -> Result<OffencesView, AdminError> {
    let settings = admin.custody.conduct;
    let since = admin.utc() - settings.keep_offences;
    let offences = admin.archive.offences(tenant.clone(), since).await?;
    let counts = || offences.iter().filter(|one| !one.withdrawn);
    let suspensions = counts().filter(|one| one.severity >= Severity::Medium).count();
    let serious = counts().filter(|one| one.severity == Severity::Serious).count();
    let proposal = if serious > 0 {
        Some(format!("{serious} offences are serious"))
    } else if suspensions >= settings.repeated as usize {
        Some(format!("{suspensions} suspensions count, and {} are repeated", settings.repeated))
    } else {
        None
    };
    let record = admin.records.subject(&SubjectId::Tenant(tenant.clone())).await?;
    let is_cancelled = record.suspension.is_some();
    Ok(OffencesView {
        tenant: tenant.clone(),
        keep_seconds: settings.keep_offences.as_secs(),
        suspensions: suspensions as u64,
        // Of whoever is suspended as a whole nothing more is proposed.
        proposal: proposal.filter(|_| !is_cancelled),
        offences,
    })
}

/// Notes that an offence was a mistake; it counts no more.
///
/// # Errors
/// [`AdminError::NotFound`] if the tenant has no such offence, [`AdminError::Invalid`] without a reason.
pub async fn withdraw_offence(
    admin: &Admin,
    tenant: &TenantId,
    number: i64,
    (reason, actor): (&str, &Actor),
) -> Result<OffencesView, AdminError> {
    let reason = check_reason(Some(reason))?.to_owned();
    let none = || AdminError::NotFound(format!("tenant {tenant} has no offence {number}"));
    let offence = admin.archive.offence_name(tenant.clone(), number).await?.ok_or_else(none)?;
    let mut entry = NewEntry::new(admin.utc(), actor, WITHDRAWN);
    entry.tenant = Some(tenant.clone());
    entry.subject = Some(match (admin.archive.is_shared(), &offence.case) {
        (false, _) => format!("offence {number}"),
        // Its number may be another at each gate.
        (true, Some(case)) => format!("offence of case {case}"),
        (true, None) => format!("offence of {}, {}", offence.at, offence.kind),
    });
    entry.reason = Some(reason);
    let head = admin.archive.withdraw_offence(offence, entry).await?;
    admin.tell_audited(WITHDRAWN, head.ok_or_else(none)?);
    offences(admin, tenant).await
}

/// Somebody who leaves, or stays after all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClosingView {
    /// `account a@shop.example`, `tenant shop.example`.
    pub subject: String,
    /// After when what is stored is erased; none: it stays.
    pub due: Option<Timestamp>,
}

impl From<Closing> for ClosingView {
    fn from(closing: Closing) -> Self {
        Self { subject: closing.subject.to_string(), due: Some(closing.due) }
    }
}

/// Lets an account or tenant leave: suspended now, and erased when its time has come.
///
/// # Errors
/// [`AdminError::Invalid`] without a reason, [`AdminError::Store`] if something cannot be written.
pub async fn close(
    admin: &Admin,
    who: &Who,
    reason: &str,
    actor: &Actor,
) -> Result<ClosingView, AdminError> {
    let reason = check_reason(Some(reason))?;
    match cancel(admin, who, reason, actor).await {
        // It is cancelled already.
        Ok(_) | Err(AdminError::Conflict(_)) => {}
        Err(error) => return Err(error),
    }
    let at = admin.utc();
    let due = at + admin.custody.conduct.keep_closed;
    let subject = who.subject().clone();
    let mut entry = privacy::entry_of(admin, &subject, reason, actor, CLOSED).await?;
    entry.after = Some(format!("erased after {due}"));
    let closing = Closing { subject: subject.clone(), at, due, reason: reason.to_owned() };
    let head = admin.archive.close_subject(closing, entry).await?;
    admin.tell_audited(CLOSED, head);
    Ok(ClosingView { subject: subject.to_string(), due: Some(due) })
}

/// Lets an account or tenant stay that was to leave. It stays suspended until it is resumed.
///
/// # Errors
/// [`AdminError::Conflict`] if it was not to leave, [`AdminError::Invalid`] without a reason.
pub async fn stay(
    admin: &Admin,
    who: &Who,
    reason: &str,
    actor: &Actor,
) -> Result<ClosingView, AdminError> {
    let reason = check_reason(Some(reason))?;
    let subject = who.subject().clone();
    let entry = privacy::entry_of(admin, &subject, reason, actor, STAYS).await?;
    let head = admin.archive.end_closing(subject.clone(), entry).await?;
    let none = || AdminError::Conflict(format!("{subject} is not closed"));
    admin.tell_audited(STAYS, head.ok_or_else(none)?);
    Ok(ClosingView { subject: subject.to_string(), due: None })
}

/// All who leave, the soonest first.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn closings(admin: &Admin) -> Result<Vec<ClosingView>, AdminError> {
    Ok(admin.archive.closings().await?.into_iter().map(ClosingView::from).collect())
}

/// Erases those whose time has come; returns how many accounts. Whoever is under a legal hold stays, and is tried again later.
///
/// # Errors
/// [`AdminError::Store`] if something cannot be read or written.
pub async fn erase_closed(admin: &Admin) -> Result<Option<usize>, AdminError> {
    let actor = Actor::automatic("closing");
    let mut erased = 0;
    let due = admin.archive.closings_due(admin.utc()).await?;
    if due.is_empty() || !admin.records.leads(Task::Erase).await? {
        return Ok(Some(0));
    }
    if super::kept::missing(admin).await?.is_some() {
        return Ok(None);
    }
    for closing in due {
        if admin.records.subject(&closing.subject).await?.suspension.is_none() {
            // Somebody resumed it, so it stays.
            let entry = NewEntry::new(admin.utc(), &actor, STAYS);
            let head = admin.archive.end_closing(closing.subject.clone(), entry).await?;
            admin.tell_audited(STAYS, head.flatten());
            continue;
        }
        if let Some(hold) = admin.archive.hold_on(vec![closing.subject.clone()]).await? {
            note_refusal(admin, &closing.subject, &hold, &actor).await?;
            continue;
        }
        let mut wanted = match &closing.subject {
            SubjectId::Account(account) => {
                Parting { accounts: vec![account.clone()], tenant: None }
            }
            SubjectId::Tenant(tenant) => {
                let accounts = accounts_of(admin, tenant).await?;
                Parting { accounts, tenant: Some(tenant.clone()) }
            }
        };
        let mut is_whole = true;
        let mut free = Vec::new();
        for account in wanted.accounts {
            match hold_over(admin, &SubjectId::Account(account.clone())).await? {
                Some(hold) => {
                    note_refusal(admin, &closing.subject, &hold, &actor).await?;
                    is_whole = false;
                }
                None => free.push(account),
            }
        }
        wanted.accounts = free;
        // What an account did that has moved away is the tenant's, too.
        if wanted.tenant.is_some()
            && let Some(hold) = hold_over(admin, &closing.subject).await?
        {
            note_refusal(admin, &closing.subject, &hold, &actor).await?;
            is_whole = false;
        }
        wanted.tenant = wanted.tenant.filter(|_| is_whole);
        let parted = match privacy::part_wholly(admin, wanted, CLOSED_WHY, &actor).await {
            Ok(parted) => parted,
            Err(error) => {
                // One that cannot be erased stands in nobody else's way.
                tracing::error!(%error, "who left cannot be erased");
                continue;
            }
        };
        for (subject, parted) in parted {
            match (subject, parted) {
                (SubjectId::Account(_), Ok(_)) => erased += 1,
                (SubjectId::Tenant(_), Ok(_)) => {}
                (_, Err(_)) => is_whole = false,
            }
        }
        if is_whole {
            let entry = NewEntry::new(admin.utc(), &actor, LEFT);
            // The row of the closing went with what it was about.
            super::note(admin, entry).await?;
        }
    }
    Ok(Some(erased))
}

/// Puts into the audit that somebody stays because of a hold, once for each hold and run of the program.
async fn note_refusal(
    admin: &Admin,
    closed: &SubjectId,
    hold: &HoldRow,
    actor: &Actor,
) -> Result<(), AdminError> {
    let is_new = {
        let mut told = admin.custody.refused_by.lock();
        if told.len() >= REFUSED_BY_MAX {
            told.clear();
        }
        told.insert((hold.subject.clone(), hold.at))
    };
    if is_new {
        let mut entry =
            privacy::entry_of(admin, closed, CLOSED_WHY, actor, privacy::REFUSED).await?;
        entry.after = Some(format!("a legal hold on {}", hold.subject));
        super::note(admin, entry).await?;
    }
    Ok(())
}

/// The accounts of a tenant, recorded or seen.
async fn accounts_of(
    admin: &Admin,
    tenant: &TenantId,
) -> Result<Vec<crate::types::AccountId>, AdminError> {
    let recorded = admin.records.chosen(Choice::AccountsOf(tenant), usize::MAX).await?;
    let mut accounts: Vec<_> = recorded
        .into_iter()
        .filter_map(|(subject, _)| match subject {
            SubjectId::Account(account) => Some(account),
            SubjectId::Tenant(_) => None,
        })
        .collect();
    for subject in admin.archive.subjects().await? {
        let SubjectId::Account(account) = subject else { continue };
        if super::tenant_of(admin, &account).await? == *tenant {
            accounts.push(account);
        }
    }
    accounts.sort_unstable();
    accounts.dedup();
    accounts.retain(|account| !account.as_str().starts_with("erased:"));
    Ok(accounts)
}

/// Whom a name is of.
///
/// # Errors
/// [`AdminError::Invalid`] if it is no name.
pub fn tenant_named(name: &str) -> Result<TenantId, AdminError> {
    let who = Who::new(SubjectKind::Tenants, name)?;
    match who.subject() {
        SubjectId::Tenant(tenant) => Ok(tenant.clone()),
        SubjectId::Account(_) => Err(AdminError::Invalid("that is no tenant".into())),
    }
}

/// Why whoever left is erased.
const CLOSED_WHY: &str = "closed, and the time is over";
/// Holds of which it is remembered that they were told of.
const REFUSED_BY_MAX: usize = 10_000;
const WITHDRAWN: &str = "offence-withdrawn";
const CLOSED: &str = "closed";
const STAYS: &str = "stays";
const LEFT: &str = "left";
