//! Operators' pages of accounts and tenants: lists, and an account with all that decides about its next message.

use super::{
    Web,
    answer::{Answer, go_to, page},
    events::{EventLine, latest},
    frame::{Frame, Section, form_urlencoded},
    limits::{LimitRow, Next},
    storage::StorageLine,
    visit::Staff,
};
use crate::{
    admin::{
        self, AdminError, CaseView, Explanation, KeptView, PageRequest, PasswordView, PlanSource,
        State as Sending, SubjectView, TenantSource, Who,
    },
    store::{
        archive::{EventFilter, OffenceRow},
        records::SubjectKind,
    },
    types::{AccountId, SubjectId},
};
use askama::Template;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

/// Which part of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    after: Option<String>,
    /// A name that is gone to.
    name: Option<String>,
}

#[derive(Template)]
#[template(path = "subjects.html")]
struct SubjectsPage {
    frame: Frame,
    kind: Kind,
    rows: Vec<SubjectRow>,
    /// Where the next part is.
    next: Option<String>,
    is_first: bool,
    may_change: bool,
}

/// Accounts or tenants, in words and paths.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) section: Section,
    pub(super) one: &'static str,
    pub(super) many: &'static str,
}

const ACCOUNTS: Kind = Kind { section: Section::Accounts, one: "account", many: "accounts" };
const TENANTS: Kind = Kind { section: Section::Tenants, one: "tenant", many: "tenants" };

impl Kind {
    pub(super) const fn of(kind: SubjectKind) -> Self {
        match kind {
            SubjectKind::Accounts => ACCOUNTS,
            SubjectKind::Tenants => TENANTS,
        }
    }

    /// The page of a name.
    pub(super) fn path(self, name: &str) -> String {
        format!("/{}/{}", self.many, form_urlencoded(name))
    }
}

struct SubjectRow {
    view: SubjectView,
    path: String,
    limits: Vec<LimitRow>,
}

pub(super) async fn accounts(web: State<Web>, staff: Staff, query: Query<ListQuery>) -> Answer {
    list(web, staff, query, SubjectKind::Accounts).await
}

pub(super) async fn tenants(web: State<Web>, staff: Staff, query: Query<ListQuery>) -> Answer {
    list(web, staff, query, SubjectKind::Tenants).await
}

async fn list(
    State(web): State<Web>,
    staff: Staff,
    Query(query): Query<ListQuery>,
    subjects: SubjectKind,
) -> Answer {
    let kind = Kind::of(subjects);
    if let Some(name) = query.name.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        let who = Who::new(subjects, name)?;
        return Ok(go_to(&kind.path(who.name())));
    }
    let request = PageRequest { after: query.after.clone(), max: Some(ROWS) };
    let found = admin::list(&web.admin, subjects, &request).await?;
    let frame = Frame::english(&staff.visitor, kind.section);
    let row = |view: SubjectView| SubjectRow {
        path: kind.path(&view.name),
        limits: LimitRow::all(frame.t, &view.limits, frame.at),
        view,
    };
    let rows = found.items.into_iter().map(row).collect();
    let next = found.next.map(|after| format!("/{}?after={}", kind.many, form_urlencoded(&after)));
    let (is_first, may_change) = (query.after.is_none(), staff.viewer.caller.may_change());
    Ok(page(&SubjectsPage { frame, kind, rows, next, is_first, may_change }))
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    name: AccountId,
    path: String,
    tenant_path: String,
    explained: Explanation,
    record: SubjectView,
    limits: Vec<LimitRow>,
    storage: Vec<StorageLine>,
    events: Vec<EventLine>,
    events_path: String,
    may_change: bool,
    done: Option<&'static str>,
    /// What its suspension rests on.
    case: Option<CaseView>,
    kept: KeptView,
    /// Its offences that count.
    offences: usize,
}

/// What was just done here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DoneQuery {
    pub(super) done: String,
}

impl DoneQuery {
    pub(super) fn text(&self) -> Option<&'static str> {
        match self.done.as_str() {
            "suspended" => Some("Suspended. From the next message on, this sender is refused."),
            "cancelled" => Some("Cancelled. This sender is refused for good."),
            "resumed" => Some("The suspension is lifted. The next message passes."),
            _ => None,
        }
    }
}

pub(super) async fn account(
    State(web): State<Web>,
    staff: Staff,
    Path(name): Path<String>,
    Query(done): Query<DoneQuery>,
) -> Answer {
    let name: AccountId = name.parse()?;
    let explained = admin::explain(&web.admin, &name, None).await?;
    let record = admin::show(&web.admin, &Who::new(SubjectKind::Accounts, name.as_str())?).await?;
    let filter = EventFilter { account: Some(name.clone()), max: EVENTS, ..EventFilter::default() };
    let frame = Frame::english(&staff.visitor, Section::Accounts);
    let events = latest(&web, frame.t, filter).await?;
    let state = match &explained.tenant_state {
        Sending::Active => &explained.account_state,
        suspended => suspended,
    };
    let kept = admin::kept(&web.admin, &SubjectId::Account(name.clone())).await?;
    let offences = admin::offences(&web.admin, &explained.tenant).await?;
    let counts = |offence: &&OffenceRow| {
        !offence.withdrawn && offence.account.as_deref() == Some(name.as_str())
    };
    let offences = offences.offences.iter().filter(counts).count();
    Ok(page(&AccountPage {
        path: ACCOUNTS.path(name.as_str()),
        tenant_path: TENANTS.path(explained.tenant.as_str()),
        limits: LimitRow::all_of(frame.t, &explained.limits, frame.at, state),
        storage: StorageLine::all(frame.t, &explained.storage),
        events_path: format!("/events?account={}", form_urlencoded(name.as_str())),
        may_change: staff.viewer.caller.may_change(),
        done: done.text(),
        case: present_case(&web, &name).await?,
        kept,
        offences,
        frame,
        name,
        explained,
        record,
        events,
    }))
}

async fn present_case(web: &Web, name: &AccountId) -> Result<Option<CaseView>, AdminError> {
    let subject = SubjectId::Account(name.clone());
    let record = web.admin.records.subject(&subject).await?;
    Ok(admin::case_of(&subject, &record))
}

/// Rows of a list.
const ROWS: usize = 50;
/// Events on an account's page.
const EVENTS: usize = 20;
