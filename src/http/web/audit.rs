//! The audit: every change and every automatic decision, newest first.

use super::{
    Web,
    accounts::Kind,
    answer::{Answer, page},
    frame::{Frame, Section, form_urlencoded},
    visit::Staff,
};
use crate::{
    admin::{self, AuditRequest, AuditView},
    store::records::SubjectKind,
    types::Timestamp,
};
use askama::Template;
use axum::extract::{Query, State};
use serde::Deserialize;

/// One entry.
pub(super) struct AuditLine {
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) action: String,
    /// Whom it was done to, with the page of an account or tenant.
    pub(super) subject: Option<(String, Option<String>)>,
    pub(super) actor: Option<String>,
    /// What stood there and what stands there now.
    pub(super) change: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) evidence: Option<String>,
    pub(super) erased: Vec<String>,
}

impl AuditLine {
    pub(super) fn new(view: AuditView) -> Self {
        Self {
            number: view.number,
            at: view.at,
            action: view.action.replace('-', " "),
            subject: view.subject.map(|subject| {
                let path = path_of(&subject);
                (subject, path)
            }),
            actor: view.actor,
            change: change(view.before, view.after),
            reason: view.reason.filter(|reason| !reason.is_empty()),
            evidence: view.evidence,
            erased: view.erased,
        }
    }
}

/// The page of `account a@shop.example`.
fn path_of(subject: &str) -> Option<String> {
    let (word, name) = subject.split_once(' ')?;
    match word {
        "account" => Some(Kind::of(SubjectKind::Accounts).path(name)),
        "tenant" => Some(Kind::of(SubjectKind::Tenants).path(name)),
        _ => None,
    }
}

fn change(before: Option<String>, after: Option<String>) -> Option<String> {
    match (before, after) {
        (Some(before), Some(after)) => Some(format!("{before} → {after}")),
        (Some(before), None) => Some(format!("{before} → nothing")),
        (None, after) => after,
    }
}

/// Which entries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuditQuery {
    subject: String,
    action: String,
    before: Option<u64>,
}

impl AuditQuery {
    fn request(&self) -> AuditRequest {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        AuditRequest {
            subject: given(&self.subject),
            action: given(&self.action).map(|action| action.replace(' ', "-")),
            after: self.before,
            max: Some(ROWS),
            ..AuditRequest::default()
        }
    }

    fn path(&self, before: Option<&str>) -> String {
        let before = before.map(|number| format!("&before={number}")).unwrap_or_default();
        let (subject, action) = (form_urlencoded(&self.subject), form_urlencoded(&self.action));
        format!("/audit?subject={subject}&action={action}{before}")
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    query: AuditQuery,
    rows: Vec<AuditLine>,
    is_newest: bool,
    newest: String,
    older: Option<String>,
}

pub(super) async fn show(
    State(web): State<Web>,
    staff: Staff,
    Query(query): Query<AuditQuery>,
) -> Answer {
    let found = admin::audit(&web.admin, &query.request()).await?;
    Ok(page(&AuditPage {
        frame: Frame::english(&staff.visitor, Section::Audit),
        rows: found.items.into_iter().map(AuditLine::new).collect(),
        is_newest: query.before.is_none(),
        newest: query.path(None),
        older: found.next.as_deref().map(|next| query.path(Some(next))),
        query,
    }))
}

/// Entries of a page.
const ROWS: usize = 50;
