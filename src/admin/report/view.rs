//! What a report says: plain values, the same for the command line, the API, the page and the letter.

use crate::{
    admin::{Caller, ClosingView, LimitView, State, StretchView},
    types::{Language, PlanName, Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a report is about, and how far it can be relied on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportHead {
    /// The first and the last day: `2026-10-01..2026-10-31`.
    pub period: String,
    /// The time zone of these days.
    pub time_zone: String,
    /// When the first hour begins.
    pub begin: Timestamp,
    /// When the last hour has ended.
    pub end: Timestamp,
    /// When this was true.
    pub made: Timestamp,
    /// Minutes of the period that have passed.
    pub minutes: u64,
    /// Minutes of these that were listened to; the others are gaps and not zeros.
    pub minutes_collected: u64,
    /// Events that found no room and are not counted.
    pub events_lost: u64,
    /// Stretches of hours in which nothing was listened to.
    pub gaps: Vec<Gap>,
    /// True if there are more gaps than are named.
    pub more_gaps: bool,
}

/// Hours in which nothing was listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gap {
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// A part of everybody's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportPage {
    /// What it is about.
    pub head: ReportHead,
    /// Tenants, sorted by name.
    pub tenants: Vec<TenantReport>,
    /// What to give as `after` for the next part; none: this was the last one.
    pub next: Option<String>,
}

/// One tenant's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TenantDocument {
    /// What it is about.
    pub head: ReportHead,
    /// The tenant's language.
    pub language: Language,
    /// How much of the period mail could flow, for everybody.
    pub availability: StretchView,
    /// What the tenant used.
    pub tenant: TenantReport,
    /// What it did on each day.
    pub days: Vec<DayLine>,
}

/// What one tenant used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TenantReport {
    /// The tenant.
    pub tenant: String,
    /// Its plan now.
    pub plan: PlanName,
    /// Whether it may send now.
    #[serde(flatten)]
    pub state: State,
    /// Its own limits now, with their use, what is left and when the next slot opens: the facts of `explain`.
    pub limits: Vec<LimitView>,
    /// Messages that were accepted.
    pub accepted_messages: u64,
    /// Their recipients, which is what is charged.
    pub accepted_recipients: u64,
    /// How many different ones; see `distinct_exact`.
    pub distinct_recipients: u64,
    /// False if that is an estimate (standard error 2.3 %).
    pub distinct_exact: bool,
    /// The hour with most recipients.
    pub peak_hour: Option<PeakView>,
    /// The 24 hours, beginning with an hour, with most recipients.
    pub peak_24_hours: Option<PeakView>,
    /// Recipients (or attempts to begin a message) that a limit of less than 24 hours refused.
    pub refused_over_hour_limit: u64,
    /// The same for limits of 24 hours and more.
    pub refused_over_day_limit: u64,
    /// The same for limits of the client's address.
    pub refused_over_client_limit: u64,
    /// The same because of a suspension.
    pub refused_suspended: u64,
    /// The same for another reason of ours.
    pub refused_other: u64,
    /// All attempts over a limit.
    pub over_limit_attempts: u64,
    /// What `mode = "observe"` let pass although a rule would have refused it.
    pub observed: u64,
    /// Recipients that the next hop certainly accepted.
    pub delivered: u64,
    /// Recipients whose fate is unknown; they are charged.
    pub unknown: u64,
    /// Recipients that the next hop put off.
    pub deferred: u64,
    /// Recipients that the next hop refused for good.
    pub hard_bounced: u64,
    /// These in percent of all that the next hop decided about.
    pub hard_bounced_percent: Option<f64>,
    /// Complaints of recipients that were attributed to the tenant.
    pub complaints: u64,
    /// These in percent of the delivered recipients.
    pub complaints_percent: Option<f64>,
    /// Octets of accepted messages.
    pub bytes: u64,
    /// Octets of mail in all of its mailboxes when the period ended, or now; none: nothing was measured.
    pub storage_bytes: Option<u64>,
    /// The most octets in the period.
    pub storage_peak_bytes: Option<u64>,
    /// Files of mail when the period ended, or now.
    pub storage_files: Option<u64>,
    /// Limits that reached 80 % or 100 %.
    pub warnings: u64,
    /// Times that something was first found against it or one of its accounts.
    pub flagged: u64,
    /// Times that it or one of its accounts was throttled.
    pub throttled: u64,
    /// When the first and the last of all this happened.
    pub first: Option<Timestamp>,
    /// See `first`.
    pub last: Option<Timestamp>,
    /// The accounts that sent most.
    pub top_accounts: Vec<AccountLine>,
    /// The networks that most came from, masked.
    pub top_networks: Vec<NetworkLine>,
    /// The domains that most went to.
    pub top_domains: Vec<DomainLine>,
    /// Suspensions of the tenant and its accounts, newest first.
    pub suspensions: Vec<SuspensionLine>,
    /// The tenant, and accounts of it, that leave: after when what is stored of them is erased.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closings: Vec<ClosingView>,
}

impl TenantDocument {
    /// The report without the names of operators, unless the caller sees all.
    #[must_use]
    pub fn as_seen_by(self, caller: &Caller) -> Self {
        if caller.sees_all() { self } else { self.for_tenant() }
    }

    /// The report without the names of operators.
    #[must_use]
    pub fn for_tenant(mut self) -> Self {
        self.tenant.state.hide_actor();
        for line in &mut self.tenant.suspensions {
            line.lifted_by = None;
        }
        self
    }
}

/// The most that was sent in some time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PeakView {
    /// Recipients.
    pub recipients: u64,
    /// When the time began.
    pub from: Timestamp,
    /// The tenant's limit for such a time now, if it has one.
    pub limit: Option<u32>,
    /// The peak in percent of it.
    pub percent: Option<f64>,
}

/// An account in a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccountLine {
    /// The account.
    pub account: String,
    /// Its accepted recipients.
    pub recipients: u64,
    /// These in percent of the tenant's.
    pub percent: Option<f64>,
    /// Recipients that the next hop refused for good, in percent.
    pub hard_bounced_percent: Option<f64>,
}

/// A network in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkLine {
    /// The network, `192.0.2.0/24`.
    pub network: String,
    /// Accepted recipients of mail from there.
    pub recipients: u64,
}

/// A domain in a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DomainLine {
    /// The domain.
    pub domain: String,
    /// Accepted recipients there.
    pub recipients: u64,
    /// These in percent of those that the next hop decided about.
    pub delivered_percent: Option<f64>,
}

/// A suspension in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SuspensionLine {
    /// The case.
    pub case: String,
    /// The account or tenant.
    pub subject: String,
    /// When it began.
    pub since: Timestamp,
    /// When it ended.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// Who lifted it.
    pub lifted_by: Option<String>,
}

/// One day of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DayLine {
    /// The day.
    pub day: String,
    /// False if nothing of it was listened to: what follows is then nothing and not zero.
    pub collected: bool,
    /// Accepted recipients.
    pub accepted: u64,
    /// Recipients that the next hop put off.
    pub deferred: u64,
    /// Recipients that the next hop refused for good.
    pub hard_bounced: u64,
    /// Recipients that Tollgate refused.
    pub refused: u64,
}
