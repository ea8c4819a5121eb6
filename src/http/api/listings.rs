//! What of ours is on blocklists.

use super::{
    ApiState,
    access::{Operator, Staff},
    answers::{Answer, ChangeRefusals, Refusals},
    input::Name,
};
use crate::admin::{self, CheckView, ListingsView, SubjectListings};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(listings))
        .routes(routes!(listings_of))
        .routes(routes!(check))
}

/// What is watched on blocklists, what is known of it on each, and which lists can be believed.
#[utoipa::path(
    get,
    path = "/listings",
    operation_id = "listings",
    tag = "listings",
    responses((status = 200, description = "The matrix", body = ListingsView), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn listings(_staff: Staff, State(state): State<ApiState>) -> Answer<ListingsView> {
    Ok(Json(admin::listings(&state.admin)))
}

/// What is known of one address or domain that is watched.
#[utoipa::path(
    get,
    path = "/listings/{subject}",
    operation_id = "listings_of",
    tag = "listings",
    params(("subject" = String, Path, description = "The address or domain")),
    responses(
        (status = 200, description = "What is known of it on each list", body = SubjectListings),
        Refusals,
    ),
    security(("token" = ["operator", "read-only"])),
)]
async fn listings_of(
    _staff: Staff,
    State(state): State<ApiState>,
    Name(subject): Name,
) -> Answer<SubjectListings> {
    Ok(Json(admin::listings_of(&state.admin, &subject)?))
}

/// Ask all lists about an address or domain now, watched or not. Nothing follows from the answer.
#[utoipa::path(
    post,
    path = "/listings/{subject}/check",
    operation_id = "check_listings",
    tag = "listings",
    params(("subject" = String, Path, description = "The address or domain")),
    responses(
        (status = 200, description = "What each list said", body = CheckView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn check(
    Operator(_caller): Operator,
    State(state): State<ApiState>,
    Name(subject): Name,
) -> Answer<CheckView> {
    Ok(Json(admin::check_listings(&state.admin, &subject).await?))
}
