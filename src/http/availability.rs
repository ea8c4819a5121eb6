//! The control socket's routes about availability and planned maintenance.

use super::{
    caller::Caller,
    control::{Answer, answer, decode},
    problem::Problem,
};
use crate::{
    admin::{self, Admin, MaintenancePlan, Why},
    types::Month,
};
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, Path, Query, State, rejection::QueryRejection},
    routing::{get, post},
};
use serde::Deserialize;

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/availability", get(availability))
        .route("/v1/maintenance", get(maintenance).post(plan))
        .route("/v1/maintenance/end", post(end))
        .route("/v1/maintenance/{id}/end", post(end_one))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MonthQuery {
    month: Option<Month>,
}

async fn availability(
    State(admin): State<Admin>,
    query: Result<Query<MonthQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    answer(admin::availability(&admin, query.month).await)
}

async fn maintenance(State(admin): State<Admin>) -> Answer {
    answer(admin::maintenance(&admin).await)
}

async fn plan(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    let plan: MaintenancePlan = decode(&body)?;
    answer(admin::plan_maintenance(&admin, &plan, caller.actor()).await)
}

async fn end(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    answer(admin::end_maintenance(&admin, None, &why.reason, caller.actor()).await)
}

async fn end_one(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(id): Path<i64>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    answer(admin::end_maintenance(&admin, Some(id), &why.reason, caller.actor()).await)
}
