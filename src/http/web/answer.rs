//! What a page answers: a rendered template, or a failure, which becomes a page of its own in the visitor's language.

use super::{
    frame::{Frame, form_urlencoded},
    texts::{Said, Texts},
    visit::Visitor,
};
use crate::admin::AdminError;
use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use std::sync::Arc;

/// A page, or what went wrong.
pub(super) type Answer = Result<Response, Failure>;

/// What went wrong.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// Nobody is signed in.
    SignIn,
    /// There is no such page.
    NotFound,
    /// The viewer's token does not allow it.
    Forbidden,
    /// A form of another session, or of another site.
    Expired,
    /// What was entered makes no sense; why.
    Unreadable(Arc<str>),
    /// It does not fit what is recorded; why.
    Conflict(Arc<str>),
    /// The store or the archive cannot answer; why.
    Unavailable(Arc<str>),
    /// The token asks too often.
    Busy,
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let text = error.to_string().into();
        match error {
            AdminError::Invalid(_) => Self::Unreadable(text),
            AdminError::Conflict(_) => Self::Conflict(text),
            AdminError::NotFound(_) => Self::NotFound,
            AdminError::Store(_) | AdminError::Random(_) => Self::Unavailable(text),
        }
    }
}

impl From<crate::types::ParseError> for Failure {
    fn from(error: crate::types::ParseError) -> Self {
        Self::Unreadable(error.to_string().into())
    }
}

/// The failure travels with the answer until [`with_page_of_failure`] knows for whom its page is.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl Failure {
    const fn status(&self) -> StatusCode {
        match self {
            Self::SignIn => StatusCode::SEE_OTHER,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Forbidden | Self::Expired => StatusCode::FORBIDDEN,
            Self::Unreadable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    const fn said(&self, t: &'static Texts) -> &'static Said {
        match self {
            Self::SignIn | Self::NotFound => &t.wrong.not_found,
            Self::Forbidden => &t.wrong.forbidden,
            Self::Expired => &t.wrong.expired,
            Self::Unreadable(_) | Self::Conflict(_) => &t.wrong.unreadable,
            Self::Unavailable(_) => &t.wrong.failed,
            Self::Busy => &t.wrong.busy,
        }
    }

    /// Why, in English. What fails inside is for those who can mend it.
    fn detail(&self, visitor: &Visitor) -> Option<&str> {
        let is_staff = visitor.viewer.as_ref().is_some_and(|viewer| viewer.is_staff());
        match self {
            Self::Unreadable(why) | Self::Conflict(why) => Some(why),
            Self::Unavailable(why) if is_staff => Some(why),
            _ => None,
        }
    }
}

#[derive(Template)]
#[template(path = "said.html")]
struct SaidPage<'a> {
    frame: Frame,
    said: &'static Said,
    detail: Option<&'a str>,
}

/// Renders a page.
pub(super) fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => Failure::Unavailable(error.to_string().into()).into_response(),
    }
}

/// Goes on to another page after something was done (RFC 9110 §15.4.4).
pub(super) fn go_to(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// Gives an answer that failed its page.
pub(super) fn with_page_of_failure(response: Response, visitor: &Visitor) -> Response {
    let Some(failure) = response.extensions().get::<Failure>().cloned() else { return response };
    if matches!(failure, Failure::SignIn) {
        let ended = if visitor.session_ended { "&why=ended" } else { "" };
        return go_to(&format!("/login?to={}{ended}", form_urlencoded(&visitor.path)));
    }
    let frame = Frame::new(visitor, None);
    let said = failure.said(frame.t);
    let body = SaidPage { frame, said, detail: failure.detail(visitor) };
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let body = body.render().unwrap_or_else(|_| said.title.to_owned());
    (failure.status(), [(header::CONTENT_TYPE, html)], body).into_response()
}
