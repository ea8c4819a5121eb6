//! The operators' first page: what flows, who is near a limit or suspended, what changed. Each panel stands for itself: one that
//! cannot be shown says so, and the others are shown. Every figure leads to what is behind it.
//!
//! A panel is a function that asks `admin` and a part of `templates/overview.html`; one for listings and one for storage belong
//! here when there is something to show in them.

use super::{
    Web,
    accounts::Kind,
    answer::{Answer, go_to, page},
    audit::AuditLine,
    events,
    frame::{Frame, Section},
    limits::{LimitRow, Next},
    texts::Texts,
    visit::SignedIn,
};
use crate::{
    admin::{
        self, AdminError, AuditRequest, NextHopHealth, Readiness, State as Sending, SubjectView,
    },
    store::records::SubjectKind,
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
    health: HealthRows,
    nearest: Panel<Vec<NearRow>>,
    suspended: Panel<Vec<SuspendedRow>>,
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
    actor: String,
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
    let nearest = admin::nearest(&web.admin, NEAREST).await;
    let near_row = |near: &admin::Nearest| NearRow::new(frame.t, frame.at, near);
    let nearest = panel(nearest, |found| found.iter().map(near_row).collect());
    let tail = AuditRequest { max: Some(AUDIT_TAIL), ..AuditRequest::default() };
    let audit = panel(admin::audit(&web.admin, &tail).await, |found| {
        found.items.into_iter().map(AuditLine::new).collect()
    });
    let figures = vec![suspended_figure(frame.t, &suspended), hops_figure(&health)];
    let health = HealthRows { missing: health.missing(), hops: health.next_hops };
    let may_change = viewer.caller.may_change();
    Ok(page(&OverviewPage { frame, may_change, figures, health, nearest, suspended, audit }))
}

fn panel<T, R>(found: Result<T, AdminError>, rows: impl FnOnce(T) -> R) -> Panel<R> {
    found.map(rows).map_err(|error| error.to_string())
}

fn suspended_figure(t: &'static Texts, rows: &Panel<Vec<SuspendedRow>>) -> Figure {
    let value = rows.as_ref().map_or_else(|_| UNKNOWN.into(), |rows| t.number(rows.len()));
    Figure { name: "Suspended", value, beside: None, path: Some("#suspended-title".into()) }
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
    let Sending::Suspended { case, since, reason, actor } = view.state else { return None };
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
        actor,
    })
}

const UNKNOWN: &str = "?";
/// Accounts that are shown as nearest their limits.
const NEAREST: usize = 10;
/// Entries of the audit that are shown.
const AUDIT_TAIL: usize = 8;
