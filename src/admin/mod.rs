//! One function for each use case of an operator; no HTTP and no command-line types.
//!
//! Reads come from the ledger and the records, so they show the very numbers that refusals name. Every change is written
//! through [`Records::change`] with its actor and reason, told as an event, and stands in the audit; what else is to be audited
//! goes there by [`note`]. Nothing here decides whether mail
//! may pass: a suspension or an override is found in the store by the next message.

mod alerts;
mod audit;
mod availability;
mod backup;
mod board;
mod cases;
mod complaint;
mod effective;
mod egress;
mod erasing;
mod events;
mod explain;
#[cfg(test)]
pub(crate) mod fixture;
mod kept;
mod list;
mod listings;
mod migrate;
mod offences;
mod plans;
mod privacy;
mod report;
mod spec;
mod standings;
mod storage;
mod subjects;
#[cfg(test)]
mod tests;
mod tokens;
mod trace;
mod traffic;
mod view;

pub use alerts::{AlertRequest, AlertView, Bell, SinkTest, alerts, alerts_seen_by, test_alerts};
pub use audit::{
    AuditRequest, AuditView, HeadView, VerdictView, VerifyRequest, audit, audit_head,
    audit_of_tenant, note, verify_audit,
};
pub use availability::{
    AvailabilityView, MaintenancePlan, MaintenanceState, MaintenanceView, MonthView, OutageView,
    PAST_MONTHS_MAX, StretchView, availability, count_month, end_maintenance, maintenance,
    plan_maintenance,
};
pub use backup::{
    BackupRequest, BackupSettings, BackupView, Custody, Files, RestoredView, backup, backup_files,
    backups, clear_leftovers, delete_old_backups, restore,
};
pub use board::{FLAGGED_MAX, Flagged, Nearest, SUSPENDED_MAX, flagged, nearest, suspended};
pub use cases::{CaseView, SampleView, SignalView, case, case_of};
pub use complaint::{
    ComplaintRequest, ComplaintTold, ComplaintView, ComplaintsRequest, add_complaint, add_report,
    complaints,
};
pub use egress::{
    ChoiceView, EgressChoices, EgressView, egress, egress_address, pause_egress, resume_egress,
};
pub use erasing::{erase_left_behind, further_erasures};
pub use events::{EventRequest, EventView, event_filter, events, newest_event};
pub use explain::{explain, usage};
pub use kept::{KeptView, kept, tell_kept};
pub use list::{PAGE_MAX, Page, PageRequest, accounts_of, list};
pub use listings::{
    CheckView, CheckedList, ListHealth, ListUse, ListView, ListingView, ListingsView, Lookout,
    RowState, SubjectListings, check_listings, listings, listings_of,
};
pub use migrate::{Migration, MovedView, Way, migrate};
pub use offences::{
    ClosingView, ConductSettings, OffencesView, close, closings, erase_closed, offences, stay,
    tenant_named, withdraw_offence,
};
pub use plans::{PlanView, plans};
pub use privacy::{
    Disclosure, EraseRequest, ErasedView, ExportRequest, ExportView, HoldView, PrivacyRequest,
    erase, export, finish_erasures, hold, holds, release,
};
pub use report::{
    AccountLine, DayLine, DomainLine, Gap, NetworkLine, PeakView, REPORT_PAGE_MAX, ReportHead,
    ReportPage, SuspensionLine, TenantDocument, TenantReport, csv_heading, csv_rows,
    html as report_html, letter as report_letter, period, report_of, report_page, report_tenants,
};
pub use spec::{LimitSpec, LimitTarget, Since, Until};
pub use standings::{
    BreakerView, ClientForgiven, Release, breaker, cancel, close_breaker, forgive_client, resume,
    suspend,
};
pub use storage::{
    STORAGE_LIST_MAX, SourceSettings, StorageDay, StorageDesk, StorageReport, StorageSettings,
    StorageStory, StorageView, Survey, load_mailboxes, report_storage, scan_storage, storage_list,
    storage_of, storage_story, survey_storage,
};
pub use subjects::{Changes, Patch, Who, Why, set, show};
pub use tokens::{
    Caller, Remark, TokenError, TokenMade, TokenRequest, TokenView, create_token, list_tokens,
    revoke_token, still_valid, verify_token,
};
pub use trace::{Reader, Sought, TraceRequest, Traced, TracedRecipient, trace};
pub use traffic::{
    Slot, SlotCounts, TRAFFIC_SLOT_MINUTES, Traffic, daily, hourly, refusal_reasons, top_senders,
    traffic,
};
pub use view::{
    Explanation, HitView, LimitView, OverrideView, PasswordView, PlanSource, ReductionView,
    RefusalView, StandingView, State, SubjectUsage, SubjectView, TenantSource,
};

use crate::{
    clock::Clock,
    deliver::Steering,
    event::{Event, Events},
    rules::{availability::Sla, policy::Policy, tally::calendar::Zone},
    standing::Passwords,
    store::{
        BoxFuture, StoreError,
        archive::{
            Archive,
            audit::{audited, chain::Head},
        },
        behaviour::Behaviour,
        ledger::Ledger,
        records::Records,
    },
    types::{AccountId, SubjectId, TenantId, Timestamp},
};
use arc_swap::ArcSwap;
use std::{net::IpAddr, sync::Arc};

/// What the use cases work on. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    /// Charges.
    pub ledger: Arc<dyn Ledger>,
    /// Assignments, overrides, suspensions, last refusals.
    pub records: Arc<dyn Records>,
    /// What is remembered of senders.
    pub behaviour: Arc<dyn Behaviour>,
    /// Whether a password is still the one that was stolen.
    pub passwords: Arc<dyn Passwords>,
    /// What happened.
    pub archive: Archive,
    /// Plans and the trust table, as they are in force.
    pub policy: Arc<ArcSwap<Policy>>,
    /// What was promised of availability, as it is in force.
    pub sla: Arc<ArcSwap<Sla>>,
    /// The ledger's time and, for records, UTC.
    pub clock: Clock,
    /// Who is told of changes.
    pub events: Events,
    /// Where the days of reports begin and end.
    pub zone: Zone,
    /// How full mailboxes are.
    pub storage: Arc<StorageDesk>,
    /// Whether the program can do its work.
    pub health: Arc<dyn Health>,
    /// Who sends messages about alerts.
    pub bell: Arc<dyn Bell>,
    /// Who looks at blocklists.
    pub lookout: Arc<dyn Lookout>,
    /// Which ways mail takes.
    pub steering: Steering,
    /// What people decided about the addresses that mail leaves by.
    pub choices: EgressChoices,
    /// What backups are made of.
    pub custody: Arc<Custody>,
}

/// The tenant that an account belongs to, as recorded or by its name.
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn tenant_of(admin: &Admin, account: &AccountId) -> Result<TenantId, AdminError> {
    let record = admin.records.subject(&SubjectId::Account(account.clone())).await?;
    Ok(effective::tenant_of(account, &record).0)
}

impl Admin {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What is recorded and what an operator says is in UTC: it must stand when the ledger's time is another.
    fn utc(&self) -> Timestamp {
        self.clock.utc()
    }

    fn tell(&self, event: &Event) {
        self.events.tell(self.now(), event);
    }

    /// Tells of a new entry of the audit; where it is on its way to all nodes, each tells when it has come.
    fn tell_audited(&self, action: &str, head: Option<Head>) {
        if let Some(head) = head {
            self.tell(&audited(action, head));
        }
    }
}

/// Whether the program can do its work; `app` knows.
pub trait Health: Send + Sync {
    /// What a message that came now would find.
    fn readiness(&self) -> BoxFuture<'_, Readiness>;
}

/// What a message that came now would find.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Readiness {
    /// Why the store cannot be written, if it cannot.
    pub store_failure: Option<String>,
    /// Why new connections are not accepted, if they are not.
    #[serde(default)]
    pub listening_failure: Option<String>,
    /// Why logins cannot be checked, if they cannot; mail of trusted servers flows all the same.
    #[serde(default)]
    pub logins_failure: Option<String>,
    /// Why events of other nodes do not come, or own ones do not go, if that is so; mail flows all the same.
    #[serde(default)]
    pub events_failure: Option<String>,
    /// Every next hop.
    pub next_hops: Vec<NextHopHealth>,
    /// True after SIGTERM: sessions end, no new ones begin.
    pub draining: bool,
}

/// The health of one next hop.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct NextHopHealth {
    /// `host:port`, or the folder's path.
    pub next_hop: String,
    /// True unless its circuit is open.
    pub usable: bool,
    /// The last failure, if any.
    pub detail: Option<String>,
    /// The addresses that mail leaves by there, where they are known.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub egress: Vec<IpAddr>,
    /// Why mail takes another way if there is one, or is held back; none: nothing is against it.
    #[serde(default)]
    pub avoided: Option<String>,
}

impl Readiness {
    /// What keeps mail from flowing; empty if it flows.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if let Some(failure) = &self.store_failure {
            missing.push(failure.clone());
        }
        if let Some(failure) = &self.listening_failure {
            missing.push(failure.clone());
        }
        if !self.next_hops.iter().any(|hop| hop.usable) {
            missing.push(String::from("no next hop is usable"));
        }
        if self.draining {
            missing.push(String::from("the program is stopping"));
        }
        missing
    }
}

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// What was asked for makes no sense; the text says what would.
    #[error("{0}")]
    Invalid(String),
    /// It does not fit what is recorded: suspending the suspended, lifting what is not suspended, one more than there is room for.
    #[error("{0}")]
    Conflict(String),
    /// There is no such thing, or not for whoever asks.
    #[error("{0}")]
    NotFound(String),
    /// The store could not do its work.
    #[error(transparent)]
    Store(StoreError),
    /// The system has no random numbers for a case id.
    #[error("draw a case id: {0}")]
    Random(getrandom::Error),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(text) => Self::Conflict(text),
            full @ StoreError::Full { .. } => Self::Conflict(full.to_string()),
            other => Self::Store(other),
        }
    }
}
