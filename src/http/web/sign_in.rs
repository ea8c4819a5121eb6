//! The way in and out: a token for a session, and the choice of language.

use super::{
    super::{problem::Problem, secure::Remote},
    Web,
    answer::{Answer, Failure, go_to, page},
    frame::Frame,
    visit::{Anyone, LANGUAGE_COOKIE, SignedIn, Visitor},
};
use crate::types::Language;
use askama::Template;
use axum::{
    Form,
    extract::{ConnectInfo, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use axum_extra::extract::{
    CookieJar,
    cookie::{Cookie, SameSite},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    to: String,
    notice: Option<Notice>,
}

struct Notice {
    class: &'static str,
    text: &'static str,
}

/// How the page was come to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SignInQuery {
    to: String,
    why: String,
}

pub(super) async fn show(Anyone(visitor): Anyone, Query(query): Query<SignInQuery>) -> Answer {
    if visitor.viewer.is_some() {
        return Ok(go_to("/"));
    }
    let frame = Frame::new(&visitor, None);
    let notice = match query.why.as_str() {
        "ended" => Some(Notice { class: "note warn", text: frame.t.sign_in.ended }),
        "left" => Some(Notice { class: "note good", text: frame.t.sign_in.left }),
        _ => None,
    };
    Ok(page(&SignInPage { frame, to: local(&query.to).to_owned(), notice }))
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct SignInForm {
    token: String,
    #[serde(default)]
    to: String,
}

pub(super) async fn sign_in(
    State(web): State<Web>,
    Anyone(visitor): Anyone,
    ConnectInfo(remote): ConnectInfo<Remote>,
    headers: HeaderMap,
    Form(form): Form<SignInForm>,
) -> Answer {
    let to = local(&form.to);
    let caller = match web.api.sign_in(remote, form.token.trim()) {
        Ok(caller) => caller,
        Err(refused) => return Ok(try_again(&visitor, to, &refused)),
    };
    let id = web.sessions.begin(caller, web.admin.clock.now());
    let id = id.map_err(|error| Failure::Unavailable(error.to_string().into()))?;
    let jar = CookieJar::new().add(session_cookie(&web, &headers, id));
    Ok((jar, go_to(to)).into_response())
}

fn try_again(visitor: &Visitor, to: &str, refused: &Problem) -> Response {
    let frame = Frame::new(visitor, None);
    let said = &frame.t.sign_in;
    let is_paced = refused.status() == StatusCode::TOO_MANY_REQUESTS;
    let (status, text) = if is_paced {
        (StatusCode::TOO_MANY_REQUESTS, said.later)
    } else {
        (StatusCode::FORBIDDEN, said.refused)
    };
    let notice = Some(Notice { class: "note bad", text });
    (status, page(&SignInPage { frame, to: to.to_owned(), notice })).into_response()
}

/// What the form to leave sends.
#[derive(Deserialize)]
pub(super) struct SignOutForm {
    form_key: String,
}

pub(super) async fn sign_out(
    State(web): State<Web>,
    signed_in: SignedIn,
    headers: HeaderMap,
    Form(form): Form<SignOutForm>,
) -> Answer {
    if !signed_in.viewer.form_key.matches(&form.form_key) {
        return Err(Failure::Expired);
    }
    let name = web.cookie_name(&headers);
    if let Some(cookie) = CookieJar::from_headers(&headers).get(name) {
        web.sessions.end(cookie.value());
    }
    let mut gone = session_cookie(&web, &headers, String::new());
    gone.make_removal();
    let jar = CookieJar::new().add(gone);
    Ok((jar, go_to("/login?why=left")).into_response())
}

/// A choice of language.
#[derive(Deserialize)]
pub(super) struct LanguageQuery {
    to: Language,
    #[serde(default)]
    back: String,
}

pub(super) async fn choose_language(
    State(web): State<Web>,
    headers: HeaderMap,
    Query(query): Query<LanguageQuery>,
) -> Response {
    let cookie = Cookie::build((LANGUAGE_COOKIE, query.to.tag()))
        .path("/")
        .same_site(SameSite::Strict)
        .http_only(true)
        .secure(web.is_secure(&headers))
        .permanent();
    (CookieJar::new().add(cookie), go_to(local(&query.back))).into_response()
}

/// It goes only to this host, only over what it came by, only with requests of our own pages, and no script sees it. It has no
/// age: the browser forgets it when it is closed, and its session ends by itself.
fn session_cookie(web: &Web, headers: &HeaderMap, id: String) -> Cookie<'static> {
    Cookie::build((web.cookie_name(headers), id))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(web.is_secure(headers))
        .build()
}

/// A path of this program, or the first page: nobody is led elsewhere.
fn local(path: &str) -> &str {
    let is_local = path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_local { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for (given, path) in [
            ("/accounts?after=a%40b", "/accounts?after=a%40b"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("/a\r\nSet-Cookie: x", "/"),
            ("", "/"),
        ] {
            assert_eq!(local(given), path, "{given:?}");
        }
    }
}
