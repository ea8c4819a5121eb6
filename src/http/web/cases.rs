//! Cases and the breaker: what a suspension rests on, and the page that lets rules suspend again.

use super::{
    Web,
    accounts::Kind,
    answer::{Answer, go_to, page},
    frame::{Frame, Section},
    visit::{Operator, Staff},
};
use crate::{
    admin::{self, AdminError, CaseView, Why},
    store::records::SubjectKind,
    types::{CaseId, Timestamp},
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "case.html")]
struct CasePage {
    frame: Frame,
    found: CaseView,
    /// The page of who is suspended.
    path: Option<String>,
}

pub(super) async fn show(State(web): State<Web>, staff: Staff, Path(id): Path<String>) -> Answer {
    let id: CaseId = id.parse()?;
    let (found, _) = admin::case(&web.admin, &id).await?;
    let frame = Frame::english(&staff.visitor, Section::Overview);
    let path = path_of(&found.subject);
    Ok(page(&CasePage { frame, found, path }))
}

/// The page of a subject as it is printed: `account a@shop.example`.
fn path_of(subject: &str) -> Option<String> {
    let (kind, name) = subject.split_once(' ')?;
    match kind {
        "account" => Some(Kind::of(SubjectKind::Accounts).path(name)),
        "tenant" => Some(Kind::of(SubjectKind::Tenants).path(name)),
        _ => None,
    }
}

#[derive(Template)]
#[template(path = "breaker.html")]
struct BreakerPage {
    frame: Frame,
    since: Timestamp,
    form_key: String,
    reason: String,
    wrong: Option<String>,
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct CloseForm {
    form_key: String,
    #[serde(default)]
    reason: String,
}

/// The page that asks; of a closed breaker there is nothing to ask.
pub(super) async fn ask_close(State(web): State<Web>, operator: Operator) -> Answer {
    let breaker = admin::breaker(&web.admin).await?;
    let asked = breaker.since.map(|since| form(&operator, since, ("", None)));
    Ok(asked.unwrap_or_else(|| go_to("/")))
}

pub(super) async fn close(
    State(web): State<Web>,
    operator: Operator,
    Form(given): Form<CloseForm>,
) -> Answer {
    operator.viewer.check(&given.form_key)?;
    let why = Why { reason: given.reason };
    match admin::close_breaker(&web.admin, &why, &operator.actor()).await {
        Ok(_) => Ok(go_to("/")),
        Err(AdminError::Invalid(wrong)) => {
            let since = admin::breaker(&web.admin).await?.since.unwrap_or(web.admin.clock.utc());
            let page = form(&operator, since, (&why.reason, Some(wrong)));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn form(
    operator: &Operator,
    since: Timestamp,
    (reason, wrong): (&str, Option<String>),
) -> Response {
    page(&BreakerPage {
        frame: Frame::english(&operator.visitor, Section::Overview),
        since,
        form_key: operator.viewer.form_key.as_str().to_owned(),
        reason: reason.to_owned(),
        wrong,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_leads_to_whose_it_is() {
        for (subject, path) in [
            ("account a@shop.example", Some("/accounts/a%40shop.example")),
            ("tenant shop.example", Some("/tenants/shop.example")),
            ("client 192.0.2.7", None),
            ("", None),
        ] {
            assert_eq!(path_of(subject).as_deref(), path, "{subject}");
        }
    }
}
