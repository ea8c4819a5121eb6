//! Cases, client addresses and the breaker: what the abuse desk looks up and decides beside accounts and tenants.

use super::{
    ApiState,
    access::{Anyone, Operator, Staff},
    answers::{Answer, ChangeRefusals, Refusals},
    input::{Body, Name},
};
use crate::{
    admin::{self, AdminError, BreakerView, CaseView, ClientForgiven, Why},
    types::{CaseId, ClientIp, Via},
};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(case))
        .routes(routes!(forgive))
        .routes(routes!(breaker))
        .routes(routes!(close))
}

/// What a suspension rests on: the signals with their points, and the first messages.
#[utoipa::path(
    get,
    path = "/cases/{case}",
    operation_id = "case",
    tag = "cases",
    params(("case" = CaseId, Path, description = "The case, as the sender heard it")),
    responses((status = 200, description = "The case", body = CaseView), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn case(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Name(name): Name,
) -> Answer<CaseView> {
    let id: CaseId = name.parse().map_err(|error| invalid(&error))?;
    let (case, tenant) = admin::case(&state.admin, &id).await?;
    if !caller.sees_tenant(&tenant) {
        return Err(AdminError::NotFound(format!("there is no case {id}")).into());
    }
    Ok(Json(case.as_seen_by(&caller)))
}

/// Forget what suspended accounts hold against a client address.
#[utoipa::path(
    post,
    path = "/clients/{client}/forgive",
    operation_id = "forgive_client",
    tag = "cases",
    params(("client" = String, Path, description = "The client address")),
    request_body = Why,
    responses(
        (status = 200, description = "The address, against which nothing is held", body = ClientForgiven),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn forgive(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<ClientForgiven> {
    let client: ClientIp = name.parse().map_err(|error| invalid(&error))?;
    Ok(Json(admin::forgive_client(&state.admin, client, &why, &caller.actor(Via::Api)).await?))
}

/// Whether rules may suspend, or have stopped because suspensions were a wave.
#[utoipa::path(
    get,
    path = "/breaker",
    operation_id = "breaker",
    tag = "cases",
    responses((status = 200, description = "The breaker", body = BreakerView), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn breaker(_staff: Staff, State(state): State<ApiState>) -> Answer<BreakerView> {
    Ok(Json(admin::breaker(&state.admin).await?))
}

/// Let rules suspend again.
#[utoipa::path(
    post,
    path = "/breaker/close",
    operation_id = "close_breaker",
    tag = "cases",
    request_body = Why,
    responses(
        (status = 200, description = "The breaker, closed", body = BreakerView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn close(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Body(why): Body<Why>,
) -> Answer<BreakerView> {
    Ok(Json(admin::close_breaker(&state.admin, &why, &caller.actor(Via::Api)).await?))
}

fn invalid(error: &crate::types::ParseError) -> AdminError {
    AdminError::Invalid(error.to_string())
}
