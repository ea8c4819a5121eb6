//! What of ours is on blocklists, and what follows for the addresses that mail leaves by.

use super::{
    ApiState,
    access::{Operator, Staff},
    answers::{Answer, ChangeRefusals, Refusals},
    input::{Body, Name},
};
use crate::{
    admin::{self, CheckView, EgressView, ListingsView, SubjectListings, Why},
    types::Via,
};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(listings))
        .routes(routes!(listings_of))
        .routes(routes!(check))
        .routes(routes!(egress))
        .routes(routes!(pause))
        .routes(routes!(resume))
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

/// The addresses that next hops stand for, and whether mail leaves by them.
#[utoipa::path(
    get,
    path = "/egress",
    operation_id = "egress",
    tag = "listings",
    responses((status = 200, description = "The addresses", body = Vec<EgressView>), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn egress(_staff: Staff, State(state): State<ApiState>) -> Answer<Vec<EgressView>> {
    Ok(Json(admin::egress(&state.admin).await))
}

/// Let no mail leave by an address until somebody takes that back. Where there is no other way, senders hear 451.
#[utoipa::path(
    post,
    path = "/egress/{address}/pause",
    operation_id = "pause_egress",
    tag = "listings",
    params(("address" = String, Path, description = "The address")),
    request_body = Why,
    responses(
        (status = 200, description = "The address", body = EgressView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn pause(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(address): Name,
    Body(why): Body<Why>,
) -> Answer<EgressView> {
    let (address, actor) = (admin::egress_address(&address)?, caller.actor(Via::Api));
    Ok(Json(admin::pause_egress(&state.admin, address, &why, &actor).await?))
}

/// Let mail leave by an address although it is listed, or was paused by hand, until it is on no list any more.
#[utoipa::path(
    post,
    path = "/egress/{address}/resume",
    operation_id = "resume_egress",
    tag = "listings",
    params(("address" = String, Path, description = "The address")),
    request_body = Why,
    responses(
        (status = 200, description = "The address", body = EgressView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn resume(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(address): Name,
    Body(why): Body<Why>,
) -> Answer<EgressView> {
    let (address, actor) = (admin::egress_address(&address)?, caller.actor(Via::Api));
    Ok(Json(admin::resume_egress(&state.admin, address, &why, &actor).await?))
}
