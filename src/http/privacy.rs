//! The control socket's routes about what is stored of somebody, offences, and leaving.

use super::{
    caller::Caller,
    control::{Answer, answer, decode, invalid, who},
};
use crate::admin::{self, Admin, EraseRequest, ExportRequest, PrivacyRequest, Why};
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, Path, State},
    routing::{get, post},
};

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/privacy/export", post(export))
        .route("/v1/privacy/erase/{name}", post(erase))
        .route("/v1/privacy/hold", post(hold))
        .route("/v1/privacy/release", post(release))
        .route("/v1/privacy/holds", get(holds))
        .route("/v1/closings", get(closings))
        .route("/v1/offences/{tenant}", get(offences))
        .route("/v1/offences/{tenant}/{number}/withdraw", post(withdraw))
        .route("/v1/{kind}/{name}/close", post(close))
        .route("/v1/{kind}/{name}/stay", post(stay))
}

async fn export(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    let request: ExportRequest = decode(&body)?;
    answer(admin::export(&admin, &request, caller.actor()).await)
}

async fn erase(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let request: EraseRequest = decode(&body)?;
    let account = name.parse().map_err(|error| invalid(&error))?;
    answer(admin::erase(&admin, &account, &request, caller.actor()).await)
}

async fn hold(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    let request: PrivacyRequest = decode(&body)?;
    answer(admin::hold(&admin, &request, caller.actor()).await)
}

async fn release(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    let request: PrivacyRequest = decode(&body)?;
    answer(admin::release(&admin, &request, caller.actor()).await)
}

async fn holds(State(admin): State<Admin>) -> Answer {
    answer(admin::holds(&admin).await)
}

async fn closings(State(admin): State<Admin>) -> Answer {
    answer(admin::closings(&admin).await)
}

async fn offences(State(admin): State<Admin>, Path(name): Path<String>) -> Answer {
    let tenant = admin::tenant_named(&name)?;
    answer(admin::offences(&admin, &tenant).await)
}

async fn withdraw(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path((name, number)): Path<(String, i64)>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    let tenant = admin::tenant_named(&name)?;
    let how = (why.reason.as_str(), caller.actor());
    answer(admin::withdraw_offence(&admin, &tenant, number, how).await)
}

async fn close(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(path): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    answer(admin::close(&admin, &who(&path)?, &why.reason, caller.actor()).await)
}

async fn stay(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(path): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    answer(admin::stay(&admin, &who(&path)?, &why.reason, caller.actor()).await)
}
