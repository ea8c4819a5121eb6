//! The addresses that mail leaves by: who caused a listing of one, and holding mail back or letting it go by hand.

use super::{
    Web,
    accounts::Kind,
    answer::{Answer, go_to, page},
    frame::{Frame, Section},
    visit::{Operator, Staff},
};

use crate::{
    admin::{self, AdminError, EgressView, EventRequest, EventView, Why},
    store::records::SubjectKind,
    types::{Actor, Timestamp},
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::Value;
use std::net::IpAddr;

/// An address with what may be done about it.
pub(super) struct Way {
    pub(super) view: EgressView,
    pub(super) level: &'static str,
    /// What somebody decided, in a line.
    pub(super) chosen: Option<String>,
    /// What may be done: the last part of the path, and its words.
    pub(super) deed: (&'static str, &'static str),
}

/// Who sent by an address that was listed.
pub(super) struct Cause {
    pub(super) at: Timestamp,
    pub(super) address: String,
    pub(super) list: String,
    /// The likely cause and its page.
    pub(super) likely: Option<(String, String)>,
    /// A line for each.
    pub(super) suspects: Vec<String>,
}

/// All addresses that next hops stand for.
pub(super) async fn ways(web: &Web) -> Vec<Way> {
    admin::egress(&web.admin).await.into_iter().map(way).collect()
}

fn way(view: EgressView) -> Way {
    let (level, deed) = match view.mail.as_str() {
        "free" => ("good", Deed::Pause),
        "drained" => ("warn", Deed::Resume),
        _ => ("bad", Deed::Resume),
    };
    let chosen = view
        .choice
        .as_ref()
        .map(|chosen| format!("{} by {}: {}", chosen.choice.name(), chosen.actor, chosen.reason));
    Way { level, chosen, deed: (deed.path(), deed.title()), view }
}

/// The newest listings of which the cause was looked for.
pub(super) async fn causes(web: &Web, staff: &Staff) -> Result<Vec<Cause>, AdminError> {
    let request = EventRequest {
        event: Some("listing-cause".into()),
        max: Some(CAUSES_MAX),
        ..EventRequest::default()
    };
    let found = admin::events(&web.admin, &staff.viewer.caller, &request).await?;
    Ok(found.items.into_iter().map(cause).collect())
}

fn cause(event: EventView) -> Cause {
    let text = |key: &str| event.facts.get(key).and_then(Value::as_str).unwrap_or_default();
    let suspects = event.facts.get("suspects").and_then(Value::as_array);
    let lines = suspects.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Cause {
        at: event.at,
        address: text("address").to_owned(),
        list: text("list").to_owned(),
        suspects: lines.collect(),
        likely: event
            .account
            .map(|account| (Kind::of(SubjectKind::Accounts).path(&account), account)),
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Pause,
    Resume,
}

impl Deed {
    const fn title(self) -> &'static str {
        match self {
            Self::Pause => "Hold mail back",
            Self::Resume => "Let mail go",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// What follows from it.
    const fn effect(self) -> &'static str {
        match self {
            Self::Pause => {
                "No mail leaves by this address until somebody lets it go again. Where there is no other way, senders hear 451 and try again."
            }
            Self::Resume => {
                "Mail leaves by this address although it is listed, or was held back by hand. That ends when it is on no list any more."
            }
        }
    }
}

#[derive(Template)]
#[template(path = "egress.html")]
struct EgressPage {
    frame: Frame,
    deed: Deed,
    address: IpAddr,
    form_key: String,
    reason: String,
    wrong: Option<String>,
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct EgressForm {
    form_key: String,
    #[serde(default)]
    reason: String,
}

pub(super) async fn ask_pause(operator: Operator, Path(address): Path<IpAddr>) -> Answer {
    Ok(form(&operator, (Deed::Pause, address), ("", None)))
}

pub(super) async fn ask_resume(operator: Operator, Path(address): Path<IpAddr>) -> Answer {
    Ok(form(&operator, (Deed::Resume, address), ("", None)))
}

pub(super) async fn pause(
    State(web): State<Web>,
    operator: Operator,
    Path(address): Path<IpAddr>,
    Form(given): Form<EgressForm>,
) -> Answer {
    act(&web, &operator, (Deed::Pause, address), given).await
}

pub(super) async fn resume(
    State(web): State<Web>,
    operator: Operator,
    Path(address): Path<IpAddr>,
    Form(given): Form<EgressForm>,
) -> Answer {
    act(&web, &operator, (Deed::Resume, address), given).await
}

async fn act(
    web: &Web,
    operator: &Operator,
    (deed, address): (Deed, IpAddr),
    given: EgressForm,
) -> Answer {
    operator.viewer.check(&given.form_key)?;
    let why = Why { reason: given.reason };
    match decide(web, (deed, address), &why, &operator.actor()).await {
        Ok(_) => Ok(go_to("/listings")),
        Err(AdminError::Invalid(wrong)) => {
            let page = form(operator, (deed, address), (&why.reason, Some(wrong)));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn decide(
    web: &Web,
    (deed, address): (Deed, IpAddr),
    why: &Why,
    actor: &Actor,
) -> Result<EgressView, AdminError> {
    match deed {
        Deed::Pause => admin::pause_egress(&web.admin, address, why, actor).await,
        Deed::Resume => admin::resume_egress(&web.admin, address, why, actor).await,
    }
}

fn form(
    operator: &Operator,
    (deed, address): (Deed, IpAddr),
    (reason, wrong): (&str, Option<String>),
) -> Response {
    page(&EgressPage {
        frame: Frame::english(&operator.visitor, Section::Listings),
        deed,
        address,
        form_key: operator.viewer.form_key.as_str().to_owned(),
        reason: reason.to_owned(),
        wrong,
    })
}

/// Causes that the page shows.
const CAUSES_MAX: usize = 10;
