//! Suspending and lifting: a page that asks for the reason, and the deed.

use super::{
    Web,
    accounts::Kind,
    answer::{Answer, Failure, go_to, page},
    frame::Frame,
    visit::Operator,
};
use crate::{
    admin::{self, AdminError, PasswordView, Release, State as Sending, SubjectView, Who},
    store::records::SubjectKind,
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
#[template(path = "act.html")]
struct ActPage {
    frame: Frame,
    deed: Deed,
    kind: Kind,
    view: SubjectView,
    path: String,
    form_key: String,
    reason: String,
    wrong: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Suspend,
    Cancel,
    Resume,
}

impl Deed {
    const fn title(self) -> &'static str {
        match self {
            Self::Suspend => "Suspend",
            Self::Cancel => "Cancel",
            Self::Resume => "Lift the suspension of",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Cancel => "cancel",
            Self::Resume => "resume",
        }
    }

    /// What belongs into the reason.
    const fn hint(self) -> &'static str {
        match self {
            Self::Suspend | Self::Cancel => {
                "What was seen. The customer reads it on the tenant page; it is kept in the audit."
            }
            Self::Resume => {
                "What was done about it, such as “password changed”. It is kept in the audit."
            }
        }
    }
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct ActForm {
    form_key: String,
    #[serde(default)]
    reason: String,
    /// Present if the limits are to be whole again at once.
    #[serde(default)]
    no_probation: Option<String>,
    /// Present if the password may be the one of then.
    #[serde(default)]
    password_unchanged: Option<String>,
}

impl ActForm {
    fn release(&self) -> Release {
        Release {
            reason: self.reason.clone(),
            no_probation: self.no_probation.is_some(),
            password_unchanged: self.password_unchanged.is_some(),
        }
    }
}

pub(super) async fn ask_suspend(
    web: State<Web>,
    operator: Operator,
    path: Path<(String, String)>,
) -> Answer {
    ask(&web, &operator, &target(&path)?, Deed::Suspend).await
}

pub(super) async fn ask_cancel(
    web: State<Web>,
    operator: Operator,
    path: Path<(String, String)>,
) -> Answer {
    ask(&web, &operator, &target(&path)?, Deed::Cancel).await
}

pub(super) async fn cancel(
    web: State<Web>,
    operator: Operator,
    path: Path<(String, String)>,
    Form(form): Form<ActForm>,
) -> Answer {
    act(&web, &operator, &target(&path)?, (Deed::Cancel, &form)).await
}

pub(super) async fn ask_resume(
    web: State<Web>,
    operator: Operator,
    path: Path<(String, String)>,
) -> Answer {
    ask(&web, &operator, &target(&path)?, Deed::Resume).await
}

pub(super) async fn suspend(
    web: State<Web>,
    operator: Operator,
    path: Path<(String, String)>,
    Form(form): Form<ActForm>,
) -> Answer {
    act(&web, &operator, &target(&path)?, (Deed::Suspend, &form)).await
}

pub(super) async fn resume(
    web: State<Web>,
    operator: Operator,
    path: Path<(String, String)>,
    Form(form): Form<ActForm>,
) -> Answer {
    act(&web, &operator, &target(&path)?, (Deed::Resume, &form)).await
}

/// Who it is about.
struct Target {
    kind: Kind,
    who: Who,
}

impl Target {
    fn path(&self) -> String {
        self.kind.path(self.who.name())
    }
}

fn target((kind, name): &(String, String)) -> Result<Target, Failure> {
    let subjects = match kind.as_str() {
        "accounts" => SubjectKind::Accounts,
        "tenants" => SubjectKind::Tenants,
        _ => return Err(Failure::NotFound),
    };
    Ok(Target { kind: Kind::of(subjects), who: Who::new(subjects, name)? })
}

/// The page that asks; what is done already has its own page again.
async fn ask(web: &Web, operator: &Operator, target: &Target, deed: Deed) -> Answer {
    let view = admin::show(&web.admin, &target.who).await?;
    if is_done(deed, &view) {
        return Ok(go_to(&target.path()));
    }
    Ok(form(operator, target, (deed, view), ("", None)))
}

/// True if there is nothing left to do.
fn is_done(deed: Deed, view: &SubjectView) -> bool {
    match deed {
        Deed::Suspend => matches!(view.state, Sending::Suspended { until: None, .. }),
        Deed::Cancel => view.standing.standing == "cancelled",
        Deed::Resume => view.state == Sending::Active && view.standing.is_plain(),
    }
}

async fn act(
    web: &Web,
    operator: &Operator,
    target: &Target,
    (deed, given): (Deed, &ActForm),
) -> Answer {
    operator.viewer.check(&given.form_key)?;
    let actor = operator.actor();
    let (admin, who) = (&web.admin, &target.who);
    let (result, done) = match deed {
        Deed::Suspend => (admin::suspend(admin, who, &given.reason, &actor).await, "suspended"),
        Deed::Cancel => (admin::cancel(admin, who, &given.reason, &actor).await, "cancelled"),
        Deed::Resume => (admin::resume(admin, who, &given.release(), &actor).await, "resumed"),
    };
    match result {
        Ok(_) => Ok(go_to(&format!("{}?done={done}", target.path()))),
        Err(AdminError::Invalid(why)) => {
            let view = admin::show(admin, who).await?;
            let page = form(operator, target, (deed, view), (&given.reason, Some(why)));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn form(
    operator: &Operator,
    target: &Target,
    (deed, view): (Deed, SubjectView),
    (reason, wrong): (&str, Option<String>),
) -> Response {
    page(&ActPage {
        frame: Frame::english(&operator.visitor, target.kind.section),
        deed,
        kind: target.kind,
        view,
        path: target.path(),
        form_key: operator.viewer.form_key.as_str().to_owned(),
        reason: reason.to_owned(),
        wrong,
    })
}
