//! The operators' first page: what flows, who is near a limit or suspended, what changed. Each panel stands for itself: one that
//! cannot be shown says so, and the others are shown. Every figure leads to what is behind it.
//!
//! A panel is a function that asks `admin` and a part of `templates/overview.html`.

use super::{
    Web,
    accounts::Kind,
    alerts::AlertLine,
    answer::{Answer, go_to, page},
    audit::AuditLine,
    events,
    frame::{Frame, Section, form_urlencoded},
    limits::{LimitRow, Meter, Next},
    listings::Matrix,
    plot::{Plot, Slots, Subject},
    storage::StorageLine,
    texts::Texts,
    visit::SignedIn,
};
use crate::{
    admin::{
        self, AdminError, AlertRequest, AuditRequest, AvailabilityView, NextHopHealth, OutageView,
        Readiness, SlotCounts, State as Sending, SubjectView, Traffic,
    },
    store::{archive::AccountUsage, records::SubjectKind},
    types::{Scope, SubjectId, Timestamp},
};
use askama::Template;
use axum::extract::State;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    may_change: bool,
    figures: Vec<Figure>,
    traffic: Panel<Plot>,
    senders: Panel<Vec<SenderRow>>,
    availability: Panel<MonthRow>,
    blocklists: Matrix,
    health: HealthRows,
    nearest: Panel<Vec<NearRow>>,
    storage: Panel<Vec<StorageLine>>,
    suspended: Panel<Vec<SuspendedRow>>,
    flagged: Panel<Vec<FlaggedRow>>,
    /// Since when no rule suspends.
    breaker: Panel<Option<Timestamp>>,
    alerts: Panel<Vec<AlertLine>>,
    audit: Panel<Vec<AuditLine>>,
}

/// What a panel shows, or why it cannot.
type Panel<T> = Result<T, String>;

/// A number that leads to what is behind it.
struct Figure {
    name: &'static str,
    value: String,
    beside: Option<String>,
    path: Option<String>,
}

struct SenderRow {
    name: String,
    path: String,
    tenant: String,
    tenant_path: String,
    recipients: String,
    refused: String,
    events: String,
}

/// The present month beside what was promised.
struct MonthRow {
    month: String,
    /// None: no minute was counted yet.
    percent: Option<String>,
    target: String,
    /// How much of the time without mail that the promise allows is used.
    budget: Meter,
    is_kept: bool,
    outages: Vec<OutageRow>,
}

struct OutageRow {
    from: Timestamp,
    until: Timestamp,
    lacked: String,
}

struct HealthRows {
    missing: Vec<String>,
    hops: Vec<NextHopHealth>,
}

struct NearRow {
    name: String,
    path: String,
    limit: LimitRow,
}

struct SuspendedRow {
    kind: &'static str,
    name: String,
    path: String,
    /// Where what it did before is shown.
    evidence: String,
    reason: String,
    case: String,
    since: Timestamp,
    until: Option<Timestamp>,
    actor: String,
}

struct FlaggedRow {
    kind: &'static str,
    name: String,
    path: String,
    standing: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    percent: u32,
    reasons: String,
}

/// Whoever sees one tenant only begins with that.
pub(super) async fn show(State(web): State<Web>, signed_in: SignedIn) -> Answer {
    let viewer = &signed_in.viewer;
    if let Some(tenant) = viewer.caller.access.tenant() {
        return Ok(go_to(&Kind::of(SubjectKind::Tenants).path(tenant.as_str())));
    }
    let frame = Frame::english(&signed_in.visitor, Section::Overview);
    let health = web.admin.health.readiness().await;
    let suspended = panel(admin::suspended(&web.admin).await, suspended_rows);
    let flagged = panel(admin::flagged(&web.admin).await, |found| {
        found.into_iter().map(flagged_row).collect()
    });
    let breaker = panel(admin::breaker(&web.admin).await, |breaker| breaker.since);
    let nearest = admin::nearest(&web.admin, NEAREST).await;
    let near_row = |near: &admin::Nearest| NearRow::new(frame.t, frame.at, near);
    let nearest = panel(nearest, |found| found.iter().map(near_row).collect());
    let storage = panel(admin::storage_list(&web.admin, None, NEAREST).await, |found| {
        StorageLine::all(frame.t, &found)
    });
    let firing = AlertRequest { open: Some(true), max: Some(ALERTS), ..AlertRequest::default() };
    let alerts = panel(admin::alerts(&web.admin, &firing).await, |found| {
        found.items.into_iter().map(AlertLine::new).collect()
    });
    let tail = AuditRequest { max: Some(AUDIT_TAIL), ..AuditRequest::default() };
    let audit = panel(admin::audit(&web.admin, &tail).await, |found| {
        found.items.into_iter().map(AuditLine::new).collect()
    });
    let flowed = admin::traffic(&web.admin).await;
    let mut figures = minute_figures(frame.t, &flowed);
    let traffic = panel(flowed, |flowed| Plot::new(frame.t, &last_day(frame.t), &flowed.day));
    let senders = panel(admin::top_senders(&web.admin, DAY_HOURS, SENDERS).await, |found| {
        found.iter().map(|usage| SenderRow::new(frame.t, usage)).collect()
    });
    let availability = panel(admin::availability(&web.admin, None).await, |view| month_row(&view));
    figures.push(suspended_figure(frame.t, &suspended));
    figures.push(alerts_figure(frame.t, &alerts));
    figures.push(hops_figure(&health));
    let blocklists = Matrix::of(&admin::listings(&web.admin));
    figures.push(listed_figure(&blocklists));
    figures.push(availability_figure(&availability));
    let health = HealthRows { missing: health.missing(), hops: health.next_hops };
    let may_change = viewer.caller.may_change();
    Ok(page(&OverviewPage {
        frame,
        may_change,
        figures,
        traffic,
        senders,
        availability,
        blocklists,
        health,
        nearest,
        storage,
        suspended,
        flagged,
        breaker,
        alerts,
        audit,
    }))
}

fn last_day(t: &'static Texts) -> Subject<'static> {
    Subject { id: "traffic", title: t.plot.last_day, slots: Slots::Times }
}

/// The last whole minute; what was not collected is not zero.
fn minute_figures(t: &'static Texts, flowed: &Result<Traffic, AdminError>) -> Vec<Figure> {
    let counts = flowed.as_ref().ok().and_then(|flowed| flowed.minute.counts);
    let figure = |name, path: &str, value: fn(SlotCounts) -> u64| Figure {
        name,
        value: counts.map_or_else(|| UNKNOWN.into(), |counts| t.number(value(counts))),
        beside: Some("a minute".into()),
        path: Some(path.into()),
    };
    vec![
        figure("Recipients accepted", "/events?kind=messages", |counts| counts.accepted),
        figure("Deferred", "/events?kind=messages", |counts| counts.deferred),
        figure("Refused", "/events?kind=refusals", |counts| counts.refused),
    ]
}

fn availability_figure(month: &Panel<MonthRow>) -> Figure {
    let (value, beside) = match month {
        Ok(month) => (
            month.percent.clone().unwrap_or_else(|| UNKNOWN.into()),
            Some(format!("of {} promised", month.target)),
        ),
        Err(_) => (UNKNOWN.into(), None),
    };
    let path = Some("#availability-title".into());
    Figure { name: "Availability this month", value, beside, path }
}

/// Nothing of ours is listed as far as is known; where something is unknown that is said beside it.
fn listed_figure(matrix: &Matrix) -> Figure {
    let value = if matrix.is_off() { UNKNOWN.into() } else { matrix.listed_count.to_string() };
    let unknown = matrix.unknown_count;
    let beside = (unknown > 0).then(|| format!("{unknown} unknown"));
    Figure { name: "On blocklists", value, beside, path: Some("/listings".into()) }
}

fn month_row(view: &AvailabilityView) -> MonthRow {
    let month = &view.month;
    let outage = |outage: &OutageView| OutageRow {
        from: outage.from,
        until: outage.until,
        lacked: outage.lacked.join(", "),
    };
    MonthRow {
        month: month.month.to_string(),
        percent: month.percent.map(|percent| format!("{percent} %")),
        target: format!("{} %", view.target_percent),
        budget: Meter {
            used: hours_and_minutes(month.budget_used_seconds),
            max: hours_and_minutes(month.budget_seconds),
            percent: month.budget_used_percent.min(100),
        },
        is_kept: month.is_kept,
        outages: month.outages.iter().take(OUTAGES).map(outage).collect(),
    }
}

/// `7 h 12 min`.
fn hours_and_minutes(seconds: u64) -> String {
    match (seconds / 3600, seconds % 3600 / 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

impl SenderRow {
    fn new(t: &'static Texts, usage: &AccountUsage) -> Self {
        let accounts = Kind::of(SubjectKind::Accounts);
        Self {
            path: accounts.path(&usage.account),
            events: format!("/events?kind=messages&account={}", form_urlencoded(&usage.account)),
            tenant_path: Kind::of(SubjectKind::Tenants).path(&usage.tenant),
            recipients: t.number(usage.counts.recipients),
            refused: t.number(SlotCounts::from(&usage.counts).refused),
            name: usage.account.clone(),
            tenant: usage.tenant.clone(),
        }
    }
}

fn panel<T, R>(found: Result<T, AdminError>, rows: impl FnOnce(T) -> R) -> Panel<R> {
    found.map(rows).map_err(|error| error.to_string())
}

fn suspended_figure(t: &'static Texts, rows: &Panel<Vec<SuspendedRow>>) -> Figure {
    let count = |rows: &Vec<SuspendedRow>| counted(t, rows.len(), admin::SUSPENDED_MAX);
    let value = rows.as_ref().map_or_else(|_| UNKNOWN.into(), count);
    Figure { name: "Suspended", value, beside: None, path: Some("#suspended-title".into()) }
}

fn alerts_figure(t: &'static Texts, rows: &Panel<Vec<AlertLine>>) -> Figure {
    let count = |rows: &Vec<AlertLine>| counted(t, rows.len(), ALERTS as usize);
    let value = rows.as_ref().map_or_else(|_| UNKNOWN.into(), count);
    Figure { name: "Alerts", value, beside: None, path: Some("#alerts-title".into()) }
}

/// How many there are, if no more than these: where a page is full, nobody has counted what is beyond it.
fn counted(t: &'static Texts, shown: usize, max: usize) -> String {
    let beyond = if shown < max { "" } else { "+" };
    t.number(shown) + beyond
}

fn hops_figure(health: &Readiness) -> Figure {
    let up = health.next_hops.iter().filter(|hop| hop.usable).count();
    let beside = Some(format!("of {} up", health.next_hops.len()));
    Figure { name: "Next hops", value: up.to_string(), beside, path: Some("#hops-title".into()) }
}

impl NearRow {
    fn new(t: &'static Texts, now: Timestamp, near: &admin::Nearest) -> Self {
        let (kind, name) = match &near.subject {
            SubjectId::Account(account) => (SubjectKind::Accounts, account.to_string()),
            SubjectId::Tenant(tenant) => (SubjectKind::Tenants, tenant.to_string()),
        };
        let path = Kind::of(kind).path(&name);
        Self { name, path, limit: LimitRow::new(t, &near.limit, now) }
    }
}

fn suspended_rows(views: Vec<SubjectView>) -> Vec<SuspendedRow> {
    views.into_iter().filter_map(suspended_row).collect()
}

fn suspended_row(view: SubjectView) -> Option<SuspendedRow> {
    let Sending::Suspended { case, since, reason, actor, until } = view.state else { return None };
    let subjects =
        if view.kind == Scope::Tenant { SubjectKind::Tenants } else { SubjectKind::Accounts };
    let kind = Kind::of(subjects);
    Some(SuspendedRow {
        kind: kind.one,
        path: kind.path(&view.name),
        evidence: events::path_until(kind.one, &view.name, since),
        name: view.name,
        reason,
        case: case.to_string(),
        since,
        until,
        actor,
    })
}

fn flagged_row(flagged: admin::Flagged) -> FlaggedRow {
    let admin::Flagged { view, reasons } = flagged;
    let subjects =
        if view.kind == Scope::Tenant { SubjectKind::Tenants } else { SubjectKind::Accounts };
    let kind = Kind::of(subjects);
    FlaggedRow {
        kind: kind.one,
        path: kind.path(&view.name),
        name: view.name,
        standing: view.standing.standing,
        since: view.standing.since,
        until: view.standing.until,
        percent: view.standing.percent,
        reasons: reasons.join(", "),
    }
}

const UNKNOWN: &str = "?";
/// Accounts that are shown as nearest their limits.
const NEAREST: usize = 10;
/// Accounts that are shown as those that sent most.
const DAY_HOURS: u16 = 24;
const SENDERS: usize = 10;
/// Outages that are shown.
const OUTAGES: usize = 5;
/// Alerts that are shown.
const ALERTS: u32 = 50;
/// Entries of the audit that are shown.
const AUDIT_TAIL: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_is_not_shown_as_the_whole() {
        let t = Texts::of(crate::types::Language::English);
        for (shown, max, text) in
            [(0, 50, "0"), (49, 50, "49"), (50, 50, "50+"), (1_200, 1_200, "1,200+")]
        {
            assert_eq!(counted(t, shown, max), text);
        }
    }
}
