//! The pages for operators and tenants, made here: HTML from templates, one style sheet, one small script that is not needed.
//!
//! Whoever has a token signs in for a session ([`session`]); [`visit`] stands around every page and decides who sees it. A handler
//! calls `admin`, shapes what it says into rows of text, and renders a template; nothing here decides about mail, and no number
//! is computed that `admin` does not say. Tenants see their own page only, in their language. What is told on a page is
//! what `explain` and the SMTP reply tell.

mod accounts;
mod act;
mod alerts;
mod answer;
mod assets;
mod audit;
mod cases;
mod egress;
mod events;
mod frame;
mod limits;
mod listings;
mod live;
mod overview;
mod plot;
mod session;
mod sign_in;
mod storage;
mod tenant;
mod texts;
mod trace;
mod visit;

use self::session::Sessions;
use super::{api::ApiState, secure::Transport};
use crate::admin::{Admin, Caller};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::HeaderMap,
    middleware,
    routing::{get, post},
};
use std::sync::Arc;

/// What the pages work with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Web {
    admin: Admin,
    /// Whom tokens let in, how fast they may come, and how many listen: the same for pages and API.
    api: ApiState,
    sessions: Arc<Sessions<Caller>>,
    transport: Transport,
}

/// The pages' routes.
pub(super) fn routes(api: ApiState, transport: Transport) -> Router {
    let sessions = Arc::new(Sessions::new());
    let web = Web { admin: api.admin.clone(), api, sessions, transport };
    Router::new()
        .route("/", get(overview::show))
        .route("/accounts", get(accounts::accounts))
        .route("/accounts/{name}", get(accounts::account))
        .route("/tenants", get(accounts::tenants))
        .route("/tenants/{name}", get(tenant::show))
        .route("/cases/{id}", get(cases::show))
        .route("/breaker/close", get(cases::ask_close).post(cases::close))
        .route("/egress/{address}/pause", get(egress::ask_pause).post(egress::pause))
        .route("/egress/{address}/resume", get(egress::ask_resume).post(egress::resume))
        .route("/{kind}/{name}/cancel", get(act::ask_cancel).post(act::cancel))
        .route("/{kind}/{name}/suspend", get(act::ask_suspend).post(act::suspend))
        .route("/{kind}/{name}/resume", get(act::ask_resume).post(act::resume))
        .route("/events", get(events::show))
        .route("/trace", get(trace::ask).post(trace::look))
        .route("/alerts", get(alerts::show))
        .route("/listings", get(listings::show))
        .route("/audit", get(audit::show))
        .route(visit::LIVE_PATH, get(live::stream))
        .route("/login", get(sign_in::show).post(sign_in::sign_in))
        .route("/logout", post(sign_in::sign_out))
        .route("/language", get(sign_in::choose_language))
        .route("/assets/{version}/{name}", get(assets::serve))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(middleware::from_fn_with_state(web.clone(), visit::receive))
        .with_state(web)
}

async fn nothing_here() -> answer::Failure {
    answer::Failure::NotFound
}

impl Web {
    /// True if the browser speaks TLS, to us or to a server in front of us. A browser that claims it wrongly harms only itself.
    fn is_secure(&self, headers: &HeaderMap) -> bool {
        let forwarded = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
        self.transport == Transport::Tls || forwarded
    }

    /// The session cookie's name; a `__Host-` one is taken by browsers only from this very host over TLS (RFC 6265bis §4.1.3).
    fn cookie_name(&self, headers: &HeaderMap) -> &'static str {
        if self.is_secure(headers) { "__Host-tollgate" } else { "tollgate" }
    }
}

/// The largest form that is read.
const FORM_BYTES_MAX: usize = 16 * 1024;
