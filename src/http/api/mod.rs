//! The HTTP API, `/api/v1/…`: one file for each resource, described by utoipa where it is written, so that routes and document
//! are one thing. `docs/openapi.json` is the document, `docs/api.md` says how it is used.
//!
//! Every request passes [`access::authenticate`] first, whatever it asks for: no token, no answer. What a caller may do is
//! decided in [`access`] and nowhere else:
//!
//! - A handler takes [`Operator`](access::Operator) (changes things), [`Staff`](access::Staff) (sees what concerns everybody) or
//!   [`Anyone`](access::Anyone) (a tenant's token, too) as its first argument, and has no caller otherwise.
//! - With `Anyone` it turns the name in the path into an account or a tenant by [`access::own_account`] or
//!   [`access::own_tenant`], which answer 404 for what is another tenant's, whether it exists or not; lists are narrowed by
//!   `caller.access.tenant()`.
//!
//! To add a resource: write a file beside `accounts.rs` with handlers under `#[utoipa::path]` and a `routes()`, and merge it in
//! [`routes`]. Say the roles in `security(("token" = ["operator", …]))` and the refusals with [`answers::Refusals`]; call a
//! function of `admin`, which the command line calls as well, with `caller.actor(Via::Api)` for changes. Then
//! `UPDATE=1 cargo test --lib http::api` writes docs/openapi.json; `tests.rs` asks every route of it without a token, with each
//! role and for another tenant's names, and fails if what is answered is not what the document says.

mod access;
mod accounts;
mod alerts;
mod answers;
mod availability;
mod backups;
mod events;
mod input;
mod listings;
mod me;
mod next_hops;
mod pace;
mod plans;
mod privacy;
mod records;
mod reports;
mod standings;
mod storage;
mod tenants;
#[cfg(test)]
mod tests;

use super::{
    bounded::Bounded,
    live::{Place, Streams},
    problem::Problem,
    secure::{ApiListener, Remote, Transport},
    web,
};
use crate::{
    admin::{Admin, Caller},
    config::PaceRules,
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::Response,
};
use pace::Pace;
use std::{future::Future, io, sync::Arc};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

/// What the API works on. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// The use cases' ground.
    pub admin: Admin,
    pace: Arc<Pace>,
    streams: Streams,
    document: Arc<str>,
}

impl ApiState {
    /// The state of one listener.
    #[must_use]
    pub fn new(admin: Admin, rules: PaceRules) -> Self {
        Self {
            admin,
            pace: Arc::new(Pace::new(rules)),
            streams: Streams::default(),
            document: document().into(),
        }
    }

    /// Whoever has this token, as one who signs in with it.
    pub(super) fn sign_in(&self, remote: Remote, secret: &str) -> Result<Caller, Problem> {
        access::let_in(self, remote, Some(secret))
    }

    /// A place for a stream of a page, among those of the API.
    pub(super) fn take_stream(&self, caller: &Caller) -> Result<Place, Problem> {
        self.streams.take(caller)
    }

    /// Holds the pace of a token that goes on in a session.
    pub(super) fn admit(&self, caller: &Caller) -> Result<(), Problem> {
        self.pace.admit(caller)
    }
}

/// Serves until `shutdown` is done.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve_api(
    listener: ApiListener,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let transport = listener.transport();
    let service = app(state, transport).into_make_service_with_connect_info::<Remote>();
    axum::serve(Bounded::new(listener), service).with_graceful_shutdown(shutdown).await
}

/// Everything that answers on this listener: the API, and the pages for people.
fn app(state: ApiState, transport: Transport) -> Router {
    let api = Router::new().nest("/v1", router(state.clone())).fallback(elsewhere);
    Router::new().nest("/api", api).merge(web::routes(state, transport))
}

fn router(state: ApiState) -> Router {
    let (router, _document) = routes().split_for_parts();
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(state.clone(), access::authenticate))
        .layer(middleware::map_response(no_store))
        .with_state(state)
}

/// All resources.
fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(me::routes())
        .merge(accounts::routes())
        .merge(tenants::routes())
        .merge(plans::routes())
        .merge(privacy::routes())
        .merge(events::routes())
        .merge(next_hops::routes())
        .merge(reports::routes())
        .merge(records::routes())
        .merge(availability::routes())
        .merge(backups::routes())
        .merge(alerts::routes())
        .merge(standings::routes())
        .merge(listings::routes())
        .merge(storage::routes())
}

/// The document of all resources, as it is committed.
fn document() -> String {
    // It is made of texts and numbers only.
    routes().into_openapi().to_pretty_json().unwrap_or_default() + "\n"
}

/// What stands above the routes in the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tollgate",
        description = "Accounts, tenants and what they may send; see docs/api.md.",
    ),
    servers((url = "/api/v1")),
    modifiers(&Tokens),
)]
struct Document;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Made by `tollgate token create`; the roles that may ask stand beside each operation."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

async fn elsewhere() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here; the API is under /api/v1")
}

async fn nothing_here() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such route; docs/openapi.json has them all")
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the route exists, but not with this method")
}

/// What is answered is for one token's holder and for now.
async fn no_store(mut response: Response) -> Response {
    for (name, value) in
        [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")]
    {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The largest body that is read.
const BODY_BYTES_MAX: usize = 64 * 1024;
