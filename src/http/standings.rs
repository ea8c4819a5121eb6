//! The control socket's routes about cases, client addresses and the breaker.

use super::{
    caller::Caller,
    control::{Answer, answer, decode, invalid},
};
use crate::{
    admin::{self, Admin, Why},
    types::{CaseId, ClientIp},
};
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, Path, State},
    routing::{get, post},
};

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/cases/{id}", get(case))
        .route("/v1/clients/{address}/forgive", post(forgive))
        .route("/v1/breaker", get(breaker))
        .route("/v1/breaker/close", post(close))
}

async fn case(State(admin): State<Admin>, Path(id): Path<String>) -> Answer {
    let id: CaseId = id.parse().map_err(|error| invalid(&error))?;
    answer(admin::case(&admin, &id).await.map(|(case, _)| case))
}

async fn forgive(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(address): Path<String>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    let client: ClientIp = address.parse().map_err(|error| invalid(&error))?;
    answer(admin::forgive_client(&admin, client, &why, caller.actor()).await)
}

async fn breaker(State(admin): State<Admin>) -> Answer {
    answer(admin::breaker(&admin).await)
}

async fn close(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    answer(admin::close_breaker(&admin, &why, caller.actor()).await)
}
