//! How full mailboxes are, and figures that other systems tell.

use super::{
    ApiState,
    access::{Anyone, Operator, own_account, own_tenant},
    answers::{Answer, ChangeRefusals, Refusals},
    input::{Body, Name, Params},
};
use crate::{
    admin::{self, StorageReport, StorageStory, StorageView},
    types::{AccountId, SubjectId, TenantId, Via},
};
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_account, tell))
        .routes(routes!(of_tenant))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only this tenant's; a tenant's token sees no others.
    tenant: Option<String>,
    /// How many, 1 to 1,000; 100 if it is left out.
    #[param(minimum = 1, maximum = 1000)]
    max: Option<usize>,
}

/// Mailboxes, and tenants with all their mailboxes together, the fullest first.
#[utoipa::path(
    get,
    path = "/storage",
    operation_id = "storage",
    tag = "storage",
    params(ListParams),
    responses((status = 200, description = "The fullest", body = Vec<StorageView>), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn list(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Params(params): Params<ListParams>,
) -> Answer<Vec<StorageView>> {
    let asked = params.tenant.map(|name| own_tenant(&caller, &name)).transpose()?;
    let of = asked.as_ref().or(caller.access.tenant());
    Ok(Json(admin::storage_list(&state.admin, of, params.max.unwrap_or(LIST_USUAL)).await?))
}

/// How full an account's mailbox is and was.
#[utoipa::path(
    get,
    path = "/accounts/{account}/storage",
    operation_id = "account_storage",
    tag = "storage",
    params(("account" = AccountId, Path, description = "The account")),
    responses((status = 200, description = "The mailbox", body = StorageStory), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn of_account(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Name(name): Name,
) -> Answer<StorageStory> {
    let account = own_account(&state.admin, &caller, &name).await?;
    Ok(Json(admin::storage_story(&state.admin, &SubjectId::Account(account)).await?))
}

/// Tell how full an account's mailbox is, for systems that know it. A figure counts until `storage.stale_after`, so tell it again before.
#[utoipa::path(
    put,
    path = "/accounts/{account}/storage",
    operation_id = "tell_account_storage",
    tag = "storage",
    params(("account" = AccountId, Path, description = "The account")),
    request_body = StorageReport,
    responses(
        (status = 200, description = "The mailbox", body = StorageView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn tell(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(report): Body<StorageReport>,
) -> Answer<StorageView> {
    let account = own_account(&state.admin, &caller, &name).await?;
    let actor = caller.actor(Via::Api);
    Ok(Json(admin::report_storage(&state.admin, &account, &report, &actor).await?))
}

/// How full a tenant's mailboxes together are and were.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/storage",
    operation_id = "tenant_storage",
    tag = "storage",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    responses((status = 200, description = "All of its mailboxes", body = StorageStory), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn of_tenant(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Name(name): Name,
) -> Answer<StorageStory> {
    let tenant = own_tenant(&caller, &name)?;
    Ok(Json(admin::storage_story(&state.admin, &SubjectId::Tenant(tenant)).await?))
}

const LIST_USUAL: usize = 100;
