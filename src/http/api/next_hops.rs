//! Where mail goes, and whether it gets there.

use super::{ApiState, access::Staff, answers::Refusals};
use crate::admin::Readiness;
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(health))
}

/// What a message that came now would find: every next hop, the store, the place where logins are checked.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "next hops",
    responses((status = 200, description = "The health", body = Readiness), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn health(_staff: Staff, State(state): State<ApiState>) -> Json<Readiness> {
    Json(state.admin.health.readiness().await)
}
