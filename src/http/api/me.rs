//! Whose token this is, and the API's own document.

use super::{ApiState, access::Anyone, answers::Refusals};
use crate::types::{Role, TenantId, Timestamp, TokenName};
use axum::{Json, extract::State, http::header, response::IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(me)).routes(routes!(document))
}

/// What a token is for.
#[derive(Serialize, ToSchema)]
struct Me {
    /// The token's name.
    name: TokenName,
    /// What it may do.
    role: Role,
    /// The tenant that it sees, if it sees only one.
    tenant: Option<TenantId>,
    /// When it ends by itself.
    expires: Option<Timestamp>,
}

/// What the token that asks is for.
#[utoipa::path(
    get,
    path = "/me",
    tag = "token",
    responses((status = 200, description = "The token", body = Me), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn me(Anyone(caller): Anyone) -> Json<Me> {
    let (role, tenant) = (caller.access.role(), caller.access.tenant().cloned());
    Json(Me { name: caller.name, role, tenant, expires: caller.expires })
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "document",
    tag = "token",
    responses(
        (status = 200, description = "The document (OpenAPI 3.1)", body = serde_json::Value),
        Refusals,
    ),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn document(_any: Anyone, State(state): State<ApiState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], state.document.to_string())
}
