//! Who looks at a page: the language, and the viewer whose session the cookie names and whose token still counts.
//!
//! [`receive`] stands around every page. It finds the visitor before, refuses forms that another site sends, and afterwards gives
//! every answer its protective header fields and every failure its page.

use super::{
    Web,
    answer::{self, Failure},
    session::{By, FormKey},
    texts,
};
use crate::{
    admin::{self, Caller},
    types::{Actor, Language, Timestamp, Via},
};
use axum::{
    extract::{FromRequestParts, OriginalUri, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use axum_extra::extract::CookieJar;
use std::sync::Arc;

/// Whoever asks for a page.
#[derive(Clone)]
pub(super) struct Visitor {
    pub(super) language: Language,
    pub(super) viewer: Option<Arc<Viewer>>,
    pub(super) at: Timestamp,
    pub(super) hostname: String,
    /// The path and query that were asked for, if they can be asked for again.
    pub(super) path: String,
    /// A cookie came, but its session is over.
    pub(super) session_ended: bool,
}

/// Somebody who is signed in.
pub(super) struct Viewer {
    pub(super) caller: Caller,
    pub(super) form_key: FormKey,
}

impl Viewer {
    pub(super) const fn is_staff(&self) -> bool {
        self.caller.sees_all()
    }

    /// Refuses a form that did not come from a page of this session.
    pub(super) fn check(&self, form_key: &str) -> Result<(), Failure> {
        if self.form_key.matches(form_key) { Ok(()) } else { Err(Failure::Expired) }
    }
}

/// Stands around every page.
pub(super) async fn receive(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let visitor = find_visitor(&web, &request);
    let paced = visitor.viewer.as_ref().map_or(Ok(()), |viewer| web.api.admit(&viewer.caller));
    let response = if is_forged(request.method(), request.headers()) {
        Failure::Expired.into_response()
    } else if paced.is_err() {
        Failure::Busy.into_response()
    } else {
        request.extensions_mut().insert(visitor.clone());
        next.run(request).await
    };
    let mut response = answer::with_page_of_failure(response, &visitor);
    protect(response.headers_mut());
    response
}

/// What every answer says to the browser. Pages name customers, so none is kept anywhere.
fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Only what this program itself serves; no inline script, no inline style, no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn find_visitor(web: &Web, request: &Request) -> Visitor {
    let headers = request.headers();
    let jar = CookieJar::from_headers(headers);
    let viewer = viewer_of(web, headers, by(request.uri().path(), headers));
    Visitor {
        language: language_of(&jar, headers),
        session_ended: viewer.is_none() && jar.get(web.cookie_name(headers)).is_some(),
        viewer: viewer.map(Arc::new),
        at: web.admin.clock.utc(),
        hostname: web.admin.policy.load().hostname.to_string(),
        path: path_of(request),
    }
}

/// The viewer whose session the cookie names. The token is asked about anew each time: revoked or expired it opens nothing more.
pub(super) fn viewer_of(web: &Web, headers: &HeaderMap, by: By) -> Option<Viewer> {
    let jar = CookieJar::from_headers(headers);
    let id = jar.get(web.cookie_name(headers))?.value();
    let found = web.sessions.find(id, by, web.admin.clock.now())?;
    let Some(caller) = admin::still_valid(&web.admin, &found.holder) else {
        web.sessions.end(id);
        return None;
    };
    Some(Viewer { caller, form_key: found.form_key })
}

/// Only the script opens [`LIVE_PATH`], and its browser comes back there by itself; it cannot say so in a field of its own.
fn by(path: &str, headers: &HeaderMap) -> By {
    let is_script = path == LIVE_PATH || headers.contains_key("x-tollgate-live");
    if is_script { By::Script } else { By::Person }
}

/// What a visitor chose, else what the browser prefers.
fn language_of(jar: &CookieJar, headers: &HeaderMap) -> Language {
    let chosen = jar.get(LANGUAGE_COOKIE).and_then(|cookie| cookie.value().parse().ok());
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    chosen.unwrap_or_else(|| texts::preferred(accepted.unwrap_or_default()))
}

fn path_of(request: &Request) -> String {
    let uri = request.extensions().get::<OriginalUri>().map_or(request.uri(), |uri| &uri.0);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let can_be_asked_again = request.method() == Method::GET && path.len() <= PATH_BYTES_MAX;
    if can_be_asked_again { path.to_owned() } else { "/".into() }
}

/// True of a form that another site sends, as far as the browser says (Fetch Metadata, RFC 6454 §7). The key in each form of a
/// session holds also where it does not.
fn is_forged(method: &Method, headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if method.is_safe() {
        return false;
    }
    if let Some(site) = value("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let host_of = |origin: &str| origin.split_once("://").map(|(_, host)| host.to_owned());
    value("origin").is_some_and(|origin| host_of(origin).as_deref() != value("host"))
}

/// Whoever it is.
pub(super) struct Anyone(pub(super) Visitor);

/// Somebody who is signed in.
pub(super) struct SignedIn {
    pub(super) visitor: Visitor,
    pub(super) viewer: Arc<Viewer>,
}

/// An operator, or somebody who may see all that operators see.
pub(super) struct Staff {
    pub(super) visitor: Visitor,
    pub(super) viewer: Arc<Viewer>,
}

/// Somebody who may change things.
pub(super) struct Operator {
    pub(super) visitor: Visitor,
    pub(super) viewer: Arc<Viewer>,
}

impl<S: Send + Sync> FromRequestParts<S> for Anyone {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get::<Visitor>().cloned().map(Self).ok_or(Failure::NotFound)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Anyone(visitor) = Anyone::from_request_parts(parts, state).await?;
        let viewer = visitor.viewer.clone().ok_or(Failure::SignIn)?;
        Ok(Self { visitor, viewer })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Staff {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let SignedIn { visitor, viewer } = SignedIn::from_request_parts(parts, state).await?;
        if viewer.is_staff() { Ok(Self { visitor, viewer }) } else { Err(Failure::Forbidden) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Staff { visitor, viewer } = Staff::from_request_parts(parts, state).await?;
        if viewer.caller.may_change() {
            Ok(Self { visitor, viewer })
        } else {
            Err(Failure::Forbidden)
        }
    }
}

impl Operator {
    /// The name that a change is recorded under.
    pub(super) fn actor(&self) -> Actor {
        self.viewer.caller.actor(Via::Dashboard)
    }
}

/// Where pages hear that something happened.
pub(super) const LIVE_PATH: &str = "/live";
/// The cookie of who chose a language.
pub(super) const LANGUAGE_COOKIE: &str = "tollgate-language";
const PATH_BYTES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_not_taken_for_a_person() {
        let mut by_field = HeaderMap::new();
        by_field.insert("x-tollgate-live", HeaderValue::from_static("1"));
        for (path, headers, expected) in [
            ("/", &HeaderMap::new(), By::Person),
            ("/accounts/live", &HeaderMap::new(), By::Person),
            ("/", &by_field, By::Script),
            ("/live", &HeaderMap::new(), By::Script),
        ] {
            assert_eq!(by(path, headers), expected, "{path}");
        }
    }

    #[test]
    fn a_form_of_another_site_is_forged() {
        for (method, given, forged) in [
            (Method::GET, &[("sec-fetch-site", "cross-site")][..], false),
            (Method::POST, &[("sec-fetch-site", "same-origin")], false),
            (Method::POST, &[("sec-fetch-site", "same-site")], true),
            (Method::POST, &[("sec-fetch-site", "cross-site"), ("origin", "http://a:1")], true),
            (Method::POST, &[("origin", "http://a:1"), ("host", "a:1")], false),
            (Method::POST, &[("origin", "https://b:1"), ("host", "a:1")], true),
            (Method::POST, &[("origin", "null"), ("host", "a:1")], true),
            (Method::POST, &[("host", "a:1")], false),
        ] {
            let mut headers = HeaderMap::new();
            for &(name, value) in given {
                headers.insert(name, HeaderValue::from_static(value));
            }
            assert_eq!(is_forged(&method, &headers), forged, "{method} {given:?}");
        }
    }
}
