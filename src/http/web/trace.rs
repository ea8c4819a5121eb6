//! What became of a message. Each look is put into the audit, so it is a form that is sent and never an address that is
//! opened, and what was sought stands in nobody's history.

use super::{
    Web,
    accounts::Kind,
    answer::{Answer, Failure, page},
    frame::{Frame, Section},
    visit::Staff,
};
use crate::{
    admin::{self, AdminError, Reader, Sought, TraceRequest, Traced},
    store::records::SubjectKind,
    types::Via,
};
use askama::Template;
use axum::{
    Form,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "trace.html")]
struct TracePage {
    frame: Frame,
    form_key: String,
    of: String,
    wrong: Option<String>,
    /// None: nothing was looked for yet.
    rows: Option<Vec<TraceRow>>,
    next: Option<String>,
}

struct TraceRow {
    found: Traced,
    /// The outcome, or what else happened.
    what: String,
    level: &'static str,
    account_path: Option<String>,
}

impl TraceRow {
    fn new(found: Traced) -> Self {
        let what = found.outcome.clone().unwrap_or_else(|| found.event.clone());
        let level = match what.as_str() {
            "sent" => "good",
            "refused" => "bad",
            _ => "warn",
        };
        let accounts = Kind::of(SubjectKind::Accounts);
        let account_path = found.account.as_deref().map(|account| accounts.path(account));
        Self { found, what, level, account_path }
    }
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct TraceForm {
    form_key: String,
    of: String,
    #[serde(default)]
    after: Option<String>,
}

pub(super) async fn ask(staff: Staff) -> Answer {
    Ok(show(&staff, (String::new(), None), None))
}

pub(super) async fn look(
    State(web): State<Web>,
    staff: Staff,
    Form(form): Form<TraceForm>,
) -> Answer {
    staff.viewer.check(&form.form_key)?;
    let sought: Sought = match form.of.parse() {
        Ok(sought) => sought,
        Err(error) => return Ok(show(&staff, (form.of, Some(error.to_string())), None)),
    };
    let request = TraceRequest { after: form.after, max: Some(ROWS), ..TraceRequest::new(sought) };
    let actor = staff.viewer.caller.actor(Via::Dashboard);
    match admin::trace(&web.admin, &Reader::Staff(&actor), &request).await {
        Ok(found) => {
            let rows = found.items.into_iter().map(TraceRow::new).collect();
            Ok(show(&staff, (form.of, None), Some((rows, found.next))))
        }
        Err(AdminError::Invalid(why)) => Ok(show(&staff, (form.of, Some(why)), None)),
        Err(error) => Err(Failure::from(error)),
    }
}

fn show(
    staff: &Staff,
    (of, wrong): (String, Option<String>),
    found: Option<(Vec<TraceRow>, Option<String>)>,
) -> Response {
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let (rows, next) = found.map_or((None, None), |(rows, next)| (Some(rows), next));
    let frame = Frame::english(&staff.visitor, Section::Trace);
    let form_key = staff.viewer.form_key.as_str().to_owned();
    (status, page(&TracePage { frame, form_key, of, wrong, rows, next })).into_response()
}

/// Messages of a page.
const ROWS: usize = 50;
