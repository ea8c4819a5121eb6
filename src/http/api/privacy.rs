//! What is stored of somebody: erased, held; offences of tenants; leaving. Copies are files, so they are made on the machine (`tollgate
//! privacy export`).

use super::{
    ApiState,
    access::{Anyone, Operator, Staff, own_tenant},
    answers::{Answer, ChangeRefusals, Refusals},
    input::{Body, Name, Names},
};
use crate::{
    admin::{
        self, ClosingView, EraseRequest, ErasedView, HoldView, OffencesView, PrivacyRequest, Who,
        Why,
    },
    store::records::SubjectKind,
    types::{AccountId, TenantId, Via},
};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(erase_account))
        .routes(routes!(holds))
        .routes(routes!(closings))
        .routes(routes!(offences))
        .routes(routes!(withdraw_offence))
        .routes(routes!(close_account))
        .routes(routes!(close_tenant))
        .routes(routes!(keep_account))
        .routes(routes!(keep_tenant))
        .routes(routes!(hold_account))
        .routes(routes!(hold_tenant))
        .routes(routes!(release_account))
        .routes(routes!(release_tenant))
}

/// Erase an account. It cannot be taken back. Refused under a legal hold.
#[utoipa::path(
    post,
    path = "/accounts/{account}/erase",
    operation_id = "erase_account",
    tag = "privacy",
    params(("account" = AccountId, Path, description = "The account")),
    request_body = EraseRequest,
    responses(
        (status = 200, description = "What was erased, and which backups still hold it", body = ErasedView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn erase_account(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(request): Body<EraseRequest>,
) -> Answer<ErasedView> {
    let who = Who::new(SubjectKind::Accounts, &name)?;
    let crate::types::SubjectId::Account(account) = who.subject() else {
        return Err(admin::AdminError::Invalid("that is no account".into()).into());
    };
    Ok(Json(admin::erase(&state.admin, account, &request, &caller.actor(Via::Api)).await?))
}

/// Legal holds: of whom nothing is erased, and why.
#[utoipa::path(
    get,
    path = "/privacy/holds",
    operation_id = "holds",
    tag = "privacy",
    responses((status = 200, description = "The holds", body = Vec<HoldView>), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn holds(_staff: Staff, State(state): State<ApiState>) -> Answer<Vec<HoldView>> {
    Ok(Json(admin::holds(&state.admin).await?))
}

/// Who leaves, and when what is stored is erased.
#[utoipa::path(
    get,
    path = "/closings",
    operation_id = "closings",
    tag = "privacy",
    responses((status = 200, description = "Who leaves", body = Vec<ClosingView>), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn closings(_staff: Staff, State(state): State<ApiState>) -> Answer<Vec<ClosingView>> {
    Ok(Json(admin::closings(&state.admin).await?))
}

/// What spoke against the accounts of a tenant, and whether that proposes to cancel it. A person decides.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/offences",
    operation_id = "offences",
    tag = "tenants",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    responses((status = 200, description = "The offences", body = OffencesView), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn offences(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Name(name): Name,
) -> Answer<OffencesView> {
    let tenant = own_tenant(&caller, &name)?;
    let mut view = admin::offences(&state.admin, &tenant).await?;
    if !caller.sees_all() {
        // What the provider thinks of doing is not the tenant's to read.
        view.proposal = None;
    }
    Ok(Json(view))
}

/// Withdraw an offence that was a mistake; it counts no more.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/offences/{offence}/withdraw",
    operation_id = "withdraw_offence",
    tag = "tenants",
    params(
        ("tenant" = TenantId, Path, description = "The tenant"),
        ("offence" = i64, Path, description = "Its number"),
    ),
    request_body = Why,
    responses(
        (status = 200, description = "The offences as they are now", body = OffencesView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn withdraw_offence(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Names((tenant, offence)): Names,
    Body(why): Body<Why>,
) -> Answer<OffencesView> {
    let tenant = admin::tenant_named(&tenant)?;
    let wrong = || admin::AdminError::Invalid(format!("{offence:?} is no number"));
    let number = offence.parse().map_err(|_| wrong())?;
    let how = (why.reason.as_str(), &caller.actor(Via::Api));
    Ok(Json(admin::withdraw_offence(&state.admin, &tenant, number, how).await?))
}

/// Let an account leave: suspended now, erased after `privacy.keep_closed`.
#[utoipa::path(
    post,
    path = "/accounts/{account}/close",
    operation_id = "close_account",
    tag = "accounts",
    params(("account" = AccountId, Path, description = "The account")),
    request_body = Why,
    responses(
        (status = 200, description = "After when it is erased", body = ClosingView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn close_account(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<ClosingView> {
    let who = Who::new(SubjectKind::Accounts, &name)?;
    Ok(Json(admin::close(&state.admin, &who, &why.reason, &caller.actor(Via::Api)).await?))
}

/// Let a tenant leave with its accounts: suspended now, erased after `privacy.keep_closed`.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/close",
    operation_id = "close_tenant",
    tag = "tenants",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    request_body = Why,
    responses(
        (status = 200, description = "After when it is erased", body = ClosingView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn close_tenant(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<ClosingView> {
    let who = Who::new(SubjectKind::Tenants, &name)?;
    Ok(Json(admin::close(&state.admin, &who, &why.reason, &caller.actor(Via::Api)).await?))
}

/// Let an account stay that was to leave. It stays suspended until it is resumed.
#[utoipa::path(
    post,
    path = "/accounts/{account}/stay",
    operation_id = "keep_account",
    tag = "accounts",
    params(("account" = AccountId, Path, description = "The account")),
    request_body = Why,
    responses(
        (status = 200, description = "It is not erased", body = ClosingView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn keep_account(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<ClosingView> {
    let who = Who::new(SubjectKind::Accounts, &name)?;
    Ok(Json(admin::stay(&state.admin, &who, &why.reason, &caller.actor(Via::Api)).await?))
}

/// Let a tenant stay that was to leave. It stays suspended until it is resumed.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/stay",
    operation_id = "keep_tenant",
    tag = "tenants",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    request_body = Why,
    responses(
        (status = 200, description = "It is not erased", body = ClosingView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn keep_tenant(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<ClosingView> {
    let who = Who::new(SubjectKind::Tenants, &name)?;
    Ok(Json(admin::stay(&state.admin, &who, &why.reason, &caller.actor(Via::Api)).await?))
}

/// Put an account under a legal hold: nothing of it is erased or grows old until the hold is released.
#[utoipa::path(
    post,
    path = "/accounts/{account}/hold",
    operation_id = "hold_account",
    tag = "privacy",
    params(("account" = AccountId, Path, description = "The account")),
    request_body = Why,
    responses((status = 200, description = "The hold", body = HoldView), Refusals, ChangeRefusals),
    security(("token" = ["operator"])),
)]
async fn hold_account(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<HoldView> {
    let request = about(SubjectKind::Accounts, &name, why)?;
    Ok(Json(admin::hold(&state.admin, &request, &caller.actor(Via::Api)).await?))
}

/// Put a tenant and its accounts under a legal hold: nothing of it is erased or grows old until the hold is released.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/hold",
    operation_id = "hold_tenant",
    tag = "privacy",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    request_body = Why,
    responses((status = 200, description = "The hold", body = HoldView), Refusals, ChangeRefusals),
    security(("token" = ["operator"])),
)]
async fn hold_tenant(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<HoldView> {
    let request = about(SubjectKind::Tenants, &name, why)?;
    Ok(Json(admin::hold(&state.admin, &request, &caller.actor(Via::Api)).await?))
}

/// Lift the legal hold on an account.
#[utoipa::path(
    post,
    path = "/accounts/{account}/release",
    operation_id = "release_account",
    tag = "privacy",
    params(("account" = AccountId, Path, description = "The account")),
    request_body = Why,
    responses((status = 200, description = "The hold that was", body = HoldView), Refusals, ChangeRefusals),
    security(("token" = ["operator"])),
)]
async fn release_account(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<HoldView> {
    let request = about(SubjectKind::Accounts, &name, why)?;
    Ok(Json(admin::release(&state.admin, &request, &caller.actor(Via::Api)).await?))
}

/// Lift the legal hold on a tenant and its accounts.
#[utoipa::path(
    post,
    path = "/tenants/{tenant}/release",
    operation_id = "release_tenant",
    tag = "privacy",
    params(("tenant" = TenantId, Path, description = "The tenant")),
    request_body = Why,
    responses((status = 200, description = "The hold that was", body = HoldView), Refusals, ChangeRefusals),
    security(("token" = ["operator"])),
)]
async fn release_tenant(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Name(name): Name,
    Body(why): Body<Why>,
) -> Answer<HoldView> {
    let request = about(SubjectKind::Tenants, &name, why)?;
    Ok(Json(admin::release(&state.admin, &request, &caller.actor(Via::Api)).await?))
}

fn about(kind: SubjectKind, name: &str, why: Why) -> Result<PrivacyRequest, admin::AdminError> {
    let subject = Who::new(kind, name)?.subject().clone();
    Ok(PrivacyRequest { subject, reason: why.reason })
}
