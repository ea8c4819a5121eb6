//! The tenant's page: what its accounts used and may still send, whether sending works, what was refused and what to do about it,
//! in the reader's language. Tenants see their own; operators see what the tenant sees, with their actions beside it.

use super::{
    Web,
    accounts::{DoneQuery, Kind},
    answer::{Answer, Failure, page},
    frame::{Frame, Section, form_urlencoded},
    limits::{LimitRow, Next},
    plot::{Plot, Slots, Subject},
    storage::StorageLine,
    texts::{Said, Texts},
    visit::SignedIn,
};
use crate::{
    admin::{
        self, AdminError, KeptView, OffencesView, PageRequest, State as Sending, SubjectView, Who,
    },
    rules::tally::calendar::Zone,
    store::{
        archive::{Closing, EventFilter, EventRow, OffenceRow, UsageOf},
        records::SubjectKind,
    },
    types::{Scope, SubjectId, TenantId, Timestamp},
};
use askama::Template;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "tenant.html")]
struct TenantPage {
    frame: Frame,
    name: TenantId,
    path: String,
    events_path: String,
    is_staff: bool,
    may_change: bool,
    done: Option<&'static str>,
    record: SubjectView,
    contact: String,
    limits: Vec<LimitRow>,
    /// All mailboxes together, then the fullest.
    storage: Vec<StorageLine>,
    suspended: Vec<SuspendedAccount>,
    flagged: Vec<FlaggedAccount>,
    /// How much of its limits is left to the tenant, and until when, if that is not all.
    limited: Option<String>,
    day: Plot,
    month: Plot,
    accounts: Vec<AccountRow>,
    is_first: bool,
    next: Option<String>,
    /// Recipients that were refused in the last 24 hours, by why.
    reasons: Vec<(&'static str, u64)>,
    refusals: Vec<RefusalRow>,
    offences: OffencesView,
    kept: KeptView,
}

impl TenantPage {
    fn storage_is_near(&self) -> bool {
        self.storage.iter().any(StorageLine::is_near)
    }

    fn counts_until(&self, offence: &OffenceRow) -> Timestamp {
        offence.at + self.offences.keep()
    }
}

struct AccountRow {
    name: String,
    path: String,
    is_suspended: bool,
    is_flagged: bool,
    /// After when what is stored of it is erased, if it leaves.
    leaves: Option<Timestamp>,
    limits: Vec<LimitRow>,
}

struct SuspendedAccount {
    name: String,
    case: String,
    since: Timestamp,
    reason: String,
}

struct FlaggedAccount {
    name: String,
    /// How much is left to it, and until when, if that is not all.
    limited: Option<String>,
}

/// Refusals of one account for one reason.
struct RefusalRow {
    /// When the last of them was.
    at: Timestamp,
    count: usize,
    account: String,
    said: &'static Said,
    reply: String,
}

/// Which accounts, and what was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TenantQuery {
    after: Option<String>,
    #[serde(flatten)]
    done: DoneQuery,
}

pub(super) async fn show(
    State(web): State<Web>,
    signed_in: SignedIn,
    Path(name): Path<String>,
    Query(query): Query<TenantQuery>,
) -> Answer {
    let SignedIn { visitor, viewer } = signed_in;
    let tenant: TenantId = name.parse()?;
    if !viewer.caller.sees_tenant(&tenant) {
        // Whether there is another tenant of this name is not this viewer's to know.
        return Err(Failure::NotFound);
    }
    let frame = Frame::new(&visitor, Some(Section::Tenants));
    let who = Who::from(SubjectId::Tenant(tenant.clone()));
    let record = admin::show(&web.admin, &who).await?;
    let request = PageRequest { after: query.after.clone(), max: Some(ROWS) };
    let accounts = admin::accounts_of(&web.admin, &tenant, &request).await?;
    let of = UsageOf { tenant: tenant.clone(), account: None };
    let day = admin::hourly(&web.admin, of.clone(), DAY_HOURS).await?;
    let month = admin::daily(&web.admin, of.clone(), MONTH_DAYS).await?;
    let reasons = admin::refusal_reasons(&web.admin, of, DAY_HOURS).await?;
    let storage = storage(&web, frame.t, &tenant).await?;
    let path = Kind::of(SubjectKind::Tenants).path(tenant.as_str());
    let closings = web.admin.archive.closings().await.map_err(AdminError::from)?;
    Ok(page(&TenantPage {
        limits: LimitRow::all_of(frame.t, &record.limits, frame.at, &record.state),
        suspended: accounts.items.iter().filter_map(suspended_account).collect(),
        flagged: accounts.items.iter().filter_map(|view| flagged_account(frame.t, view)).collect(),
        limited: limited(frame.t, &record),
        storage,
        accounts: accounts
            .items
            .iter()
            .map(|view| account_row(&frame, view, &record.state, &closings))
            .collect(),
        is_first: query.after.is_none(),
        next: accounts.next.map(|after| format!("{path}?after={}", form_urlencoded(&after))),
        reasons: by_title(frame.t, reasons),
        refusals: refusals(&web, frame.t, &tenant).await?,
        offences: admin::offences(&web.admin, &tenant).await?,
        kept: admin::kept(&web.admin, &SubjectId::Tenant(tenant.clone())).await?,
        day: Plot::new(frame.t, &last_day(frame.t), &day),
        month: Plot::new(frame.t, &last_month(frame.t, &web.admin.zone), &month),
        events_path: format!("/events?tenant={}", form_urlencoded(tenant.as_str())),
        is_staff: viewer.is_staff(),
        may_change: viewer.caller.may_change(),
        done: query.done.text(),
        contact: web.admin.policy.load().contact.clone(),
        frame,
        name: tenant,
        path,
        record,
    }))
}

async fn storage(
    web: &Web,
    t: &'static Texts,
    tenant: &TenantId,
) -> Result<Vec<StorageLine>, AdminError> {
    let mut views = admin::storage_list(&web.admin, Some(tenant), MAILBOXES).await?;
    // Of whom nothing was ever seen there is nothing to show.
    views.retain(|view| view.used_bytes.is_some());
    views.sort_by_key(|view| view.scope != Scope::Tenant);
    Ok(StorageLine::all(t, &views))
}

fn last_day(t: &'static Texts) -> Subject<'static> {
    Subject { id: "day", title: t.plot.last_day, slots: Slots::Times }
}

fn last_month<'z>(t: &'static Texts, zone: &'z Zone) -> Subject<'z> {
    Subject { id: "month", title: t.plot.last_month, slots: Slots::Days(zone) }
}

fn account_row(
    frame: &Frame,
    view: &SubjectView,
    tenant: &Sending,
    closings: &[Closing],
) -> AccountRow {
    let is_its = |closing: &&Closing| matches!(&closing.subject, SubjectId::Account(account) if account.as_str() == view.name);
    let state = if *tenant == Sending::Active { &view.state } else { tenant };
    AccountRow {
        name: view.name.clone(),
        path: Kind::of(SubjectKind::Accounts).path(&view.name),
        is_suspended: view.state != Sending::Active,
        is_flagged: is_flagged(view),
        leaves: closings.iter().find(is_its).map(|closing| closing.due),
        limits: LimitRow::all_of(frame.t, &view.limits, frame.at, state),
    }
}

fn suspended_account(view: &SubjectView) -> Option<SuspendedAccount> {
    let Sending::Suspended { case, since, reason, .. } = &view.state else { return None };
    let (name, case, reason) = (view.name.clone(), case.to_string(), reason.clone());
    Some(SuspendedAccount { name, case, since: *since, reason })
}

/// True of whom something speaks against, or did until lately, so that not all is left to it. Of what is only observed nobody hears.
fn is_flagged(view: &SubjectView) -> bool {
    let standing = &view.standing;
    view.state == Sending::Active && !standing.observed && !standing.is_plain()
}

fn flagged_account(t: &'static Texts, view: &SubjectView) -> Option<FlaggedAccount> {
    is_flagged(view).then(|| FlaggedAccount { name: view.name.clone(), limited: limited(t, view) })
}

/// `20 %, until 27 Nov 2026 19:06 UTC`.
fn limited(t: &'static Texts, view: &SubjectView) -> Option<String> {
    let standing = &view.standing;
    if !is_flagged(view) || standing.percent >= 100 {
        return None;
    }
    let until = standing.until.or(standing.probation_until);
    let until = until.map(|until| format!(", {}", t.until(&until))).unwrap_or_default();
    Some(format!("{} %{until}", standing.percent))
}

/// Several reasons may have one title.
fn by_title(t: &'static Texts, reasons: Vec<(String, u64)>) -> Vec<(&'static str, u64)> {
    let mut titles: Vec<(&'static str, u64)> = Vec::new();
    for (reason, count) in reasons {
        let title = t.reasons.said(&reason).title;
        match titles.iter_mut().find(|known| known.0 == title) {
            Some(known) => known.1 += count,
            None => titles.push((title, count)),
        }
    }
    titles
}

/// The latest refusals of Tollgate's own, by account and reason, the latest first.
async fn refusals(
    web: &Web,
    t: &'static Texts,
    tenant: &TenantId,
) -> Result<Vec<RefusalRow>, Failure> {
    let names = vec![String::from("refused")];
    let tenant = Some(tenant.clone());
    let filter = EventFilter { names, tenant, max: REFUSALS_READ, ..EventFilter::default() };
    let mut rows: Vec<RefusalRow> = Vec::new();
    for row in web.admin.archive.events(filter).await.map_err(AdminError::from)? {
        let Some(refusal) = refusal_row(t, row) else { continue };
        let is_same = |known: &&mut RefusalRow| {
            known.account == refusal.account && std::ptr::eq(known.said, refusal.said)
        };
        match rows.iter_mut().find(is_same) {
            Some(known) => known.count += 1,
            None => rows.push(refusal),
        }
    }
    rows.truncate(REFUSALS);
    Ok(rows)
}

fn refusal_row(t: &'static Texts, row: EventRow) -> Option<RefusalRow> {
    let body: serde_json::Value = serde_json::from_str(&row.body).ok()?;
    let text = |key: &str| body.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    Some(RefusalRow {
        at: row.at,
        count: 1,
        account: row.account.unwrap_or_default(),
        said: t.reasons.said(text("reason")),
        reply: text("reply").to_owned(),
    })
}

const DAY_HOURS: u16 = 24;
const MONTH_DAYS: u16 = 30;
/// Mailboxes that are shown.
const MAILBOXES: usize = 20;
/// Accounts on one page.
const ROWS: usize = 50;
/// Refusals that are looked at.
const REFUSALS_READ: usize = 200;
/// Accounts with reasons that are shown.
const REFUSALS: usize = 20;
