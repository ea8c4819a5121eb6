//! Assignments, overrides, suspensions and last refusals of accounts and tenants.

use super::{BoxFuture, StoreError, Whose, outbox::Changed};
use crate::{
    event::LimitHit,
    rules::{
        limits::LimitOverride,
        policy::Assigned,
        suspension::{Case, Conduct},
    },
    types::{
        AccountId, Actor, Address, CaseId, Language, PlanName, Span, SubjectId, TenantId, Timestamp,
    },
};
use std::{fmt, str::FromStr, sync::Arc};

/// What is recorded about an account or a tenant.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SubjectRecord {
    /// The plan, where it is not the default one.
    pub plan: Option<PlanName>,
    /// The tenant that owns the account, where it is not the account's domain. Accounts only.
    pub tenant: Option<TenantId>,
    /// Envelope senders (addresses, or `@domain`) that the account may use beyond its own name. Accounts only.
    pub senders: Vec<String>,
    /// Where notices and reports go.
    pub contact: Option<Address>,
    /// The language of notices and reports.
    pub language: Option<Language>,
    /// Limits that replace the plan's.
    pub overrides: Vec<LimitOverride>,
    /// The suspension, while there is one.
    pub suspension: Option<Suspension>,
    /// The standing that rules and persons gave it, and how it came there; none: nothing ever spoke against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conduct: Option<Box<Conduct>>,
    /// True if an operator made the record, so that the account is known before it sends.
    pub registered: bool,
}

impl SubjectRecord {
    /// What of it decides which limits hold.
    #[must_use]
    pub fn assigned(&self) -> Assigned<'_> {
        Assigned { plan: self.plan.as_ref(), overrides: &self.overrides }
    }

    /// With what another record has and this one does not say. A suspension stays, whichever of them has it.
    #[must_use]
    pub fn with_what_lacks(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.plan = both.plan.or_else(|| other.plan.clone());
        both.tenant = both.tenant.or_else(|| other.tenant.clone());
        both.contact = both.contact.or_else(|| other.contact.clone());
        both.language = both.language.or(other.language);
        if both.senders.is_empty() {
            both.senders.clone_from(&other.senders);
        }
        for given in &other.overrides {
            if both.overrides.iter().all(|own| own.place() != given.place()) {
                both.overrides.push(given.clone());
            }
        }
        if both.suspension.is_none() && (other.suspension.is_some() || both.conduct.is_none()) {
            both.suspension.clone_from(&other.suspension);
            both.conduct.clone_from(&other.conduct);
        }
        both.registered |= other.registered;
        both
    }

    /// The standing, and how it came there.
    #[must_use]
    pub fn conduct(&self) -> Conduct {
        self.conduct.as_deref().cloned().unwrap_or_default()
    }
}

/// How many overrides one subject has.
pub const OVERRIDES_MAX: usize = 64;
/// How many envelope senders one account has beyond its own.
pub const SENDERS_MAX: usize = 1_000;

/// A suspension.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Suspension {
    /// The case that the sender hears.
    pub case: CaseId,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub actor: String,
    /// When it lifts by itself; none: a person decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What it rests on, where a rule made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Case>>,
    /// Stands for the password at that time, where it is known to us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<u64>,
}

impl Suspension {
    /// True until its time is over, whether or not anybody has taken note of that yet.
    #[must_use]
    pub fn lasts(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The last time that Tollgate refused something of an account.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LastRefusal {
    /// When.
    pub at: Timestamp,
    /// What the client heard.
    pub reply: String,
    /// The limit, where one was the reason.
    pub limit: Option<LimitHit>,
    /// How many refusals in all since the program started.
    pub count: u64,
}

/// A change to a record. Each is written durably before the call returns, together with what the audit will say
/// of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Whose record.
    pub subject: SubjectId,
    /// What changes.
    pub what: What,
    /// Why.
    pub reason: String,
    /// What an automatic decision is made on.
    pub evidence: Option<String>,
    /// Who does it.
    pub actor: Actor,
}

/// What changes.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The account or tenant is known; creates the record if there is none.
    Register,
    /// Another plan; none: the default.
    Plan(Option<PlanName>),
    /// Another tenant for an account; none: its domain.
    Tenant(Option<TenantId>),
    /// Other envelope senders for an account.
    Senders(Vec<String>),
    /// Another address for notices and reports; none: nobody is written to.
    Contact(Option<Address>),
    /// Another language for notices and reports; none: English.
    Language(Option<Language>),
    /// Sets an override in place of one for the same scope, unit and window.
    SetOverride(LimitOverride),
    /// Takes an override away: the same scope, unit and window as given.
    ClearOverride(LimitOverride),
    /// Suspends until a person lifts it; a suspension that would lift by itself becomes such a one.
    Suspend {
        /// The case of it, unless there is one already.
        case: CaseId,
        /// Stands for the password now.
        password: Option<u64>,
    },
    /// Cancels: a suspension that is meant to stay.
    Cancel(CaseId),
    /// Lifts the suspension, or whatever else the standing is.
    Resume {
        /// For how long limits stay reduced.
        probation: Option<Span>,
    },
    /// Lets a rule change the standing.
    Judge(Box<Judged>),
    /// Adds what another store recorded; what is recorded here stays.
    Adopt(Box<SubjectRecord>),
}

impl What {
    /// Suspends, where nothing is known of a password.
    #[must_use]
    pub const fn suspend(case: CaseId) -> Self {
        Self::Suspend { case, password: None }
    }

    /// Lifts, without a time of reduced limits after it.
    #[must_use]
    pub const fn resume() -> Self {
        Self::Resume { probation: None }
    }
}

/// A standing that a rule changed, or let end. It fits only where the record still has the conduct that the rule saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What the rule saw.
    pub from: Conduct,
    /// What it made of it.
    pub to: Conduct,
    /// The evidence, where that is a suspension; without one nothing is refused.
    pub case: Option<Box<Case>>,
    /// Stands for the password now.
    pub password: Option<u64>,
}

/// The last change that records have in them, where several nodes share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    /// Counts changes.
    pub number: i64,
    /// Drawn for the change: where a server has lost some and goes on from an older one, the same number has another mark.
    pub mark: i64,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.mark)
    }
}

impl FromStr for Revision {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let parts = text.split_once(':');
        let parts = parts.and_then(|(number, mark)| number.parse().ok().zip(mark.parse().ok()));
        let damaged = || StoreError::Damaged(format!("{text:?} is no revision of the records"));
        let (number, mark) = parts.ok_or_else(damaged)?;
        Ok(Self { number, mark })
    }
}

/// A subject with its record.
pub type Recorded = (SubjectId, Arc<SubjectRecord>);

/// The records. Reads may be a network round trip.
pub trait Records: Send + Sync {
    /// What is recorded about a subject; the default if nothing is.
    fn subject<'a>(
        &'a self,
        subject: &'a SubjectId,
    ) -> BoxFuture<'a, Result<Arc<SubjectRecord>, StoreError>>;

    /// Makes a change and returns the record after it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it does not fit: suspending the suspended, lifting what is not suspended, a tenant for a tenant,
    /// judging what has changed meanwhile.
    fn change<'a>(
        &'a self,
        change: Change,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Arc<SubjectRecord>, StoreError>>;

    /// Up to `max` recorded subjects of one kind after `after`, sorted by name; of accounts only those that belong to whom.
    fn subjects<'a>(
        &'a self,
        kind: SubjectKind,
        whose: Whose<'a>,
        after: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, StoreError>>;

    /// Up to `max` recorded subjects that are chosen by what stands in their records: of the suspended and the flagged the latest, the latest first;
    /// of others any, in no order.
    fn chosen<'a>(
        &'a self,
        choice: Choice<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, StoreError>>;

    /// The oldest changes that the audit may not have yet, in their order, up to `max`; waits for one if there is none. For one
    /// caller at a time.
    fn changes_waiting(&self, max: usize) -> BoxFuture<'_, Result<Vec<Changed>, StoreError>>;

    /// Forgets the changes up to this number, because the audit has them.
    fn cut_changes(&self, up_to: i64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Notes a refusal, for `explain`. Kept for the newest [`LAST_REFUSALS_MAX`] accounts; lost without harm in a crash.
    fn note_refusal(
        &self,
        account: &AccountId,
        at: Timestamp,
        reply: &str,
        limit: Option<&LimitHit>,
    );

    /// The account's last refusal.
    fn last_refusal<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BoxFuture<'a, Result<Option<LastRefusal>, StoreError>>;

    /// The latest moment that the store has seen, for the clock's start.
    fn high_water(&self) -> Timestamp;

    /// The last change that reads have in them; none where nobody else changes the records, so that reads are never behind.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while it is not known what reads have in them.
    fn revision(&self) -> Result<Option<Revision>, StoreError> {
        Ok(None)
    }

    /// Ends when reads have more in them than this revision.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if that takes too long.
    fn catch_up(&self, _behind: Option<Revision>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    /// True if this is the one of all nodes that may do a task now which one of them is enough for.
    fn leads(&self, _task: Task) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async { Ok(true) })
    }
}

/// What one of several nodes does for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Lets suspensions end whose time is over.
    EndSuspensions,
    /// Puts changes of records into the audit of all nodes.
    TellChanges,
    /// Brings messages about alerts to their receivers.
    SendAlerts,
    /// Asks blocklists about our own addresses and domains.
    AskBlocklists,
    /// Tells how much of the month's budget of down time is used.
    TellBudget,
    /// Writes to tenants what they used.
    SendReports,
    /// Erases who has left, and brings erasures at all nodes to their end.
    Erase,
}

/// Accounts or tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// Accounts.
    Accounts,
    /// Tenants.
    Tenants,
}

/// What subjects are chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// Those that are suspended.
    Suspended,
    /// Those that are warned, or throttled, whether or not the time of that is over.
    Flagged,
    /// Whoever is suspended under this case.
    OfCase(&'a CaseId),
    /// The accounts of a tenant, as recorded or by their names.
    AccountsOf(&'a TenantId),
}

/// For how many accounts the last refusal is kept.
pub const LAST_REFUSALS_MAX: usize = 100_000;
