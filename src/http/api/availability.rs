//! How much of a month mail could flow, and planned maintenance.

use super::{
    ApiState,
    access::{Operator, Staff},
    answers::{Answer, ChangeRefusals, Refusals},
    input::{Body, Name, Params},
};
use crate::{
    admin::{self, AvailabilityView, MaintenancePlan, MaintenanceView, Why},
    http::problem::Problem,
    types::{Month, Via},
};
use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(availability))
        .routes(routes!(maintenance, plan))
        .routes(routes!(end))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MonthParams {
    /// The month; the present one if left out.
    month: Option<Month>,
}

/// How much of a month mail could flow, beside what was promised, and of the months before it.
#[utoipa::path(
    get,
    path = "/availability",
    operation_id = "availability",
    tag = "availability",
    params(MonthParams),
    responses((status = 200, description = "The months", body = AvailabilityView), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn availability(
    _staff: Staff,
    State(state): State<ApiState>,
    Params(params): Params<MonthParams>,
) -> Answer<AvailabilityView> {
    Ok(Json(admin::availability(&state.admin, params.month).await?))
}

/// The maintenance that goes on or is planned, which does not count as down.
#[utoipa::path(
    get,
    path = "/maintenance",
    operation_id = "maintenance",
    tag = "availability",
    responses((status = 200, description = "The maintenance", body = Vec<MaintenanceView>), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn maintenance(_staff: Staff, State(state): State<ApiState>) -> Answer<Vec<MaintenanceView>> {
    Ok(Json(admin::maintenance(&state.admin).await?))
}

/// Plan maintenance; it cannot begin in the past.
#[utoipa::path(
    post,
    path = "/maintenance",
    operation_id = "plan_maintenance",
    tag = "availability",
    request_body = MaintenancePlan,
    responses(
        (status = 200, description = "What is planned", body = MaintenanceView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn plan(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Body(plan): Body<MaintenancePlan>,
) -> Answer<MaintenanceView> {
    Ok(Json(admin::plan_maintenance(&state.admin, &plan, &caller.actor(Via::Api)).await?))
}

/// End maintenance that goes on, or take back what is planned.
#[utoipa::path(
    post,
    path = "/maintenance/{maintenance}/end",
    operation_id = "end_maintenance",
    tag = "availability",
    params(("maintenance" = i64, Path, description = "Its number")),
    request_body = Why,
    responses(
        (status = 200, description = "What still goes on or is planned", body = Vec<MaintenanceView>),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn end(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(id): Name,
    Body(why): Body<Why>,
) -> Answer<Vec<MaintenanceView>> {
    let wrong = || Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{id:?} is no number"));
    let number = id.parse().map_err(|_| wrong())?;
    let actor = caller.actor(Via::Api);
    Ok(Json(admin::end_maintenance(&state.admin, Some(number), &why.reason, &actor).await?))
}
