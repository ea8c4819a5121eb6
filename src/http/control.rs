//! The control socket's routes, `/v1/…`: decode, call admin, encode.

use super::{
    availability, backups, bounded::Bounded, caller::Caller, listings, privacy, problem::Problem,
    socket::ControlSocket, standings, storage,
};
use crate::{
    admin::{
        self, Admin, AdminError, AlertRequest, AuditRequest, Changes, ComplaintRequest,
        ComplaintsRequest, PageRequest, Reader, Release, Remark, TokenRequest, TokenView,
        TraceRequest, VerifyRequest, Who, Why,
    },
    store::records::SubjectKind,
    types::ClientIp,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{future::Future, io};

/// Serves until `shutdown` is done, then takes the socket's file away.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve_control(
    mut socket: ControlSocket,
    admin: Admin,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let Some(listener) = socket.take_listener() else { return Ok(()) };
    let service = router(admin).into_make_service_with_connect_info::<Caller>();
    axum::serve(Bounded::patient(listener), service).with_graceful_shutdown(shutdown).await
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .merge(availability::routes())
        .merge(backups::routes())
        .merge(privacy::routes())
        .merge(standings::routes())
        .merge(listings::routes())
        .merge(storage::routes())
        .route("/v1/tokens", get(tokens).post(create_token))
        .route("/v1/tokens/{name}/revoke", post(revoke_token))
        .route("/v1/audit", get(audit))
        .route("/v1/audit/verify", get(verify_audit))
        .route("/v1/audit/head", get(audit_head))
        .route("/v1/reports", get(reports))
        .route("/v1/reports/{name}", get(report))
        .route("/v1/alerts", get(alerts))
        .route("/v1/alerts/test", post(test_alerts))
        .route("/v1/trace", post(trace))
        .route("/v1/complaints", get(complaints).post(add_complaint))
        .route(
            "/v1/complaints/report",
            post(add_report).layer(DefaultBodyLimit::max(REPORT_BYTES_MAX)),
        )
        .route("/v1/{kind}", get(list))
        .route("/v1/{kind}/{name}", get(show).patch(set))
        .route("/v1/{kind}/{name}/suspend", post(suspend))
        .route("/v1/{kind}/{name}/cancel", post(cancel))
        .route("/v1/{kind}/{name}/resume", post(resume))
        .route("/v1/accounts/{name}/usage", get(usage))
        .route("/v1/accounts/{name}/explain", get(explain))
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin)
}

/// An answer: JSON, or what is wrong.
pub(super) type Answer = Result<Response, Problem>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    client: Option<String>,
}

async fn health(State(admin): State<Admin>) -> Json<admin::Readiness> {
    Json(admin.health.readiness().await)
}

async fn alerts(
    State(admin): State<Admin>,
    query: Result<Query<AlertRequest>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(request) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    answer(admin::alerts(&admin, &request).await)
}

async fn test_alerts(State(admin): State<Admin>) -> Answer {
    answer(admin::test_alerts(&admin).await)
}

async fn audit(
    State(admin): State<Admin>,
    query: Result<Query<AuditRequest>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(request) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    answer(admin::audit(&admin, &request).await)
}

async fn verify_audit(State(admin): State<Admin>, query: Asked<VerifyRequest>) -> Answer {
    let Query(request) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    answer(admin::verify_audit(&admin, &request).await)
}

async fn audit_head(State(admin): State<Admin>) -> Answer {
    answer(admin::audit_head(&admin).await)
}

/// What report is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportQuery {
    period: String,
    after: Option<String>,
    max: Option<usize>,
}

type Asked<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;

async fn reports(State(admin): State<Admin>, query: Asked<ReportQuery>) -> Answer {
    let Query(asked) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let period = admin::period(&admin, &asked.period)?;
    let page = PageRequest { after: asked.after, max: asked.max };
    answer(admin::report_page(&admin, &period, &page).await)
}

async fn report(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    query: Asked<ReportQuery>,
) -> Answer {
    let Query(asked) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let period = admin::period(&admin, &asked.period)?;
    let tenant = name.parse().map_err(|error| invalid(&error))?;
    answer(admin::report_of(&admin, &period, &tenant).await)
}

async fn trace(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    let request: TraceRequest = decode(&body)?;
    answer(admin::trace(&admin, &Reader::Staff(caller.actor()), &request).await)
}

async fn complaints(
    State(admin): State<Admin>,
    query: Result<Query<ComplaintsRequest>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(request) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    answer(admin::complaints(&admin, &request).await)
}

async fn add_complaint(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    let request: ComplaintRequest = decode(&body)?;
    answer(admin::add_complaint(&admin, caller.actor(), &request).await)
}

async fn add_report(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    answer(admin::add_report(&admin, caller.actor(), &body).await)
}

async fn list(
    State(admin): State<Admin>,
    Path(kind): Path<String>,
    query: Result<Query<PageRequest>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(page) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    answer(admin::list(&admin, kind_of(&kind)?, &page).await)
}

async fn show(State(admin): State<Admin>, Path(path): Path<(String, String)>) -> Answer {
    answer(admin::show(&admin, &who(&path)?).await)
}

async fn set(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(path): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let changes: Changes = decode(&body)?;
    answer(admin::set(&admin, &who(&path)?, &changes, caller.actor()).await)
}

async fn suspend(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(path): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    answer(admin::suspend(&admin, &who(&path)?, &why.reason, caller.actor()).await)
}

async fn resume(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(path): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let release: Release = decode(&body)?;
    answer(admin::resume(&admin, &who(&path)?, &release, caller.actor()).await)
}

async fn cancel(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(path): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    answer(admin::cancel(&admin, &who(&path)?, &why.reason, caller.actor()).await)
}

async fn usage(State(admin): State<Admin>, Path(name): Path<String>) -> Answer {
    let account = name.parse().map_err(|error| invalid(&error))?;
    answer(admin::usage(&admin, &account).await)
}

async fn explain(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    query: Result<Query<ExplainQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let account = name.parse().map_err(|error| invalid(&error))?;
    let client: Option<Result<ClientIp, _>> = query.client.map(|text| text.parse());
    let client = client.transpose().map_err(|error| invalid(&error))?;
    answer(admin::explain(&admin, &account, client).await)
}

async fn tokens(State(admin): State<Admin>) -> Json<Vec<TokenView>> {
    Json(admin::list_tokens(&admin))
}

async fn create_token(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    let request: TokenRequest = decode(&body)?;
    answer(admin::create_token(&admin, &request, caller.actor()).await)
}

async fn revoke_token(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let remark: Remark = decode(&body)?;
    let name = name.parse().map_err(|error| invalid(&error))?;
    answer(admin::revoke_token(&admin, &name, remark.reason.as_deref(), caller.actor()).await)
}

async fn nothing_here() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such route; docs/cli.md lists them")
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the route exists, but not with this method")
}

pub(super) fn answer(result: Result<impl Serialize, AdminError>) -> Answer {
    // Whoever may open the socket may also read the log.
    let found = result.map_err(|error| Problem::in_full(&error))?;
    Ok(Json(found).into_response())
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}

pub(super) fn who((kind, name): &(String, String)) -> Result<Who, Problem> {
    Ok(Who::new(kind_of(kind)?, name)?)
}

fn kind_of(word: &str) -> Result<SubjectKind, Problem> {
    match word {
        "accounts" => Ok(SubjectKind::Accounts),
        "tenants" => Ok(SubjectKind::Tenants),
        _ => Err(Problem::new(StatusCode::NOT_FOUND, "there is /v1/accounts and /v1/tenants")),
    }
}

pub(super) fn invalid(error: &crate::types::ParseError) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
}

/// The largest report of abuse that is read; one holds the message that it is about.
pub(super) const REPORT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest body that is read.
const BODY_BYTES_MAX: usize = 64 * 1024;
