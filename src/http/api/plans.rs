//! Plans: what hosting packages may send. They are changed in the configuration file only.

use super::{ApiState, access::Staff, answers::Refusals};
use crate::admin::{self, PlanView};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The plans that are in force, sorted by name.
#[utoipa::path(
    get,
    path = "/plans",
    operation_id = "plans",
    tag = "plans",
    responses((status = 200, description = "The plans", body = Vec<PlanView>), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn list(_staff: Staff, State(state): State<ApiState>) -> Json<Vec<PlanView>> {
    Json(admin::plans(&state.admin))
}
