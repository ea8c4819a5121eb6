//! Alerts: what lasts and what was over, the newest first, each with what to do.

use super::{
    Web,
    accounts::Kind,
    answer::{Answer, page},
    frame::{Frame, Section},
    visit::Staff,
};
use crate::{
    admin::{self, AlertRequest, AlertView},
    store::records::SubjectKind,
};
use askama::Template;
use axum::extract::{Query, State};
use serde::Deserialize;

/// One alert.
pub(super) struct AlertLine {
    pub(super) view: AlertView,
    /// The colour of its severity.
    pub(super) level: &'static str,
    pub(super) is_firing: bool,
    /// The page of the account or tenant whose matter it is.
    pub(super) path: Option<String>,
}

impl AlertLine {
    pub(super) fn new(view: AlertView) -> Self {
        let subjects = match view.scope.as_str() {
            "account" => Some(SubjectKind::Accounts),
            "tenant" => Some(SubjectKind::Tenants),
            _ => None,
        };
        Self {
            level: level(&view.severity),
            is_firing: view.state == "firing",
            path: subjects.map(|kind| Kind::of(kind).path(&view.name)),
            view,
        }
    }
}

fn level(severity: &str) -> &'static str {
    match severity {
        "critical" => "bad",
        "warning" => "warn",
        _ => "",
    }
}

/// Which alerts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AlertsQuery {
    before: Option<u32>,
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct AlertsPage {
    frame: Frame,
    rows: Vec<AlertLine>,
    is_newest: bool,
    older: Option<String>,
}

pub(super) async fn show(
    State(web): State<Web>,
    staff: Staff,
    Query(query): Query<AlertsQuery>,
) -> Answer {
    let request = AlertRequest { after: query.before, max: Some(ROWS), ..AlertRequest::default() };
    let found = admin::alerts(&web.admin, &request).await?;
    Ok(page(&AlertsPage {
        frame: Frame::english(&staff.visitor, Section::Alerts),
        rows: found.items.into_iter().map(AlertLine::new).collect(),
        is_newest: query.before.is_none(),
        older: found.next.map(|next| format!("/alerts?before={next}")),
    }))
}

/// Alerts of a page.
const ROWS: u32 = 50;
