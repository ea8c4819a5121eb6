//! Tenants: the hosting packages and customers that own accounts.

use super::{
    ApiState,
    access::{Anyone, Operator, Staff, own_tenant},
    answers::{Answer, ChangeRefusals, Refusals},
    input::{Body, Name, Params},
};
use crate::{
    admin::{self, Changes, Page, PageRequest, Release, SubjectView, Who, Why},
    store::records::SubjectKind,
    types::{SubjectId, TenantId, Via},
};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, change))
        .routes(routes!(suspend))
        .routes(routes!(cancel))
        .routes(routes!(resume))
}

/// Tenants that are registered or have sent, sorted by name, in pages.
#[utoipa::path(
    get,
    path = "/tenants",
    operation_id = "tenants",
    tag = "tenants",
    params(PageRequest),
    responses((status = 200, description = "A page", body = Page<SubjectView>), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn list(
    Staff: Staff,
    State(state): State<ApiState>,
    Params(page): Params<PageRequest>,
) -> Answer<Page<SubjectView>> {
    Ok(Json(admin::list(&state.admin, SubjectKind::Tenants, &page).await?))
}

/// What is recorded about a tenant, and its own limits with their use.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}",
    operation_id = "tenant",
    tag = "tenants",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    responses((status = 200, description = "The tenant", body = SubjectView), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn show(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Name(name): Name,
) -> Answer<SubjectView> {
    let tenant = own_tenant(&caller, &name)?;
    let view = admin::show(&state.admin, &Who::from(SubjectId::Tenant(tenant))).await?;
    Ok(Json(view.as_seen_by(&caller)))
}

/// Change a tenant's plan, contact, language or limits; what is left out stays.
#[utoipa::path(
    patch,
    path = "/tenants/{tenant}",
    operation_id = "change_tenant",
    tag = "tenants",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    request_body = Changes,
    responses(
        (status = 200, description = "The tenant after the change", body = SubjectView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn change(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(changes): Body<Changes>,
) -> Answer<SubjectView> {
    let who = Who::from(SubjectId::Tenant(own_tenant(&caller, &name)?));
    Ok(Json(admin::set(&state.admin, &who, &changes, &caller.actor(Via::Api)).await?))
}

/// Refuse all mail of a tenant's accounts from the next message on.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/suspend",
    operation_id = "suspend_tenant",
    tag = "tenants",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    request_body = Why,
    responses(
        (status = 200, description = "The tenant, suspended", body = SubjectView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn suspend(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<SubjectView> {
    let who = Who::from(SubjectId::Tenant(own_tenant(&caller, &name)?));
    Ok(Json(admin::suspend(&state.admin, &who, &why.reason, &caller.actor(Via::Api)).await?))
}

/// Cancel a tenant: a suspension that is meant to stay.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/cancel",
    operation_id = "cancel_tenant",
    tag = "tenants",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    request_body = Why,
    responses(
        (status = 200, description = "The tenant, cancelled", body = SubjectView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn cancel(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<SubjectView> {
    let who = Who::from(SubjectId::Tenant(own_tenant(&caller, &name)?));
    Ok(Json(admin::cancel(&state.admin, &who, &why.reason, &caller.actor(Via::Api)).await?))
}

/// Lift the suspension of a tenant, and forget what its suspended accounts hold against it.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/resume",
    operation_id = "resume_tenant",
    tag = "tenants",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    request_body = Release,
    responses(
        (status = 200, description = "The tenant, whose accounts may send", body = SubjectView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn resume(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(release): Body<Release>,
) -> Answer<SubjectView> {
    let who = Who::from(SubjectId::Tenant(own_tenant(&caller, &name)?));
    Ok(Json(admin::resume(&state.admin, &who, &release, &caller.actor(Via::Api)).await?))
}
