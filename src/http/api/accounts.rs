//! Accounts: what each may send, what it used, and why; changes, suspending and lifting.

use super::{
    ApiState,
    access::{Anyone, Operator, check_staff, own_account, own_tenant},
    answers::{Answer, ChangeRefusals, Refusals},
    input::{Body, Name, Params},
};
use crate::{
    admin::{
        self, Changes, Explanation, Page, PageRequest, Release, SubjectUsage, SubjectView, Who, Why,
    },
    store::records::SubjectKind,
    types::{ClientIp, SubjectId, Via},
};
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, change))
        .routes(routes!(usage))
        .routes(routes!(explain))
        .routes(routes!(suspend))
        .routes(routes!(cancel))
        .routes(routes!(resume))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only this tenant's; a tenant's token sees no others.
    tenant: Option<String>,
    /// Only names after this one.
    after: Option<String>,
    /// How many, 1 to 1,000; 100 if it is left out.
    #[param(minimum = 1, maximum = 1000)]
    max: Option<usize>,
}

/// Accounts that are registered or have sent, sorted by name, in pages.
#[utoipa::path(
    get,
    path = "/accounts",
    operation_id = "accounts",
    tag = "accounts",
    params(ListParams),
    responses((status = 200, description = "A page", body = Page<SubjectView>), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn list(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Params(params): Params<ListParams>,
) -> Answer<Page<SubjectView>> {
    let asked = params.tenant.map(|name| own_tenant(&caller, &name)).transpose()?;
    let page = PageRequest { after: params.after, max: params.max };
    let mut page = match asked.as_ref().or(caller.access.tenant()) {
        Some(tenant) => admin::accounts_of(&state.admin, tenant, &page).await?,
        None => admin::list(&state.admin, SubjectKind::Accounts, &page).await?,
    };
    page.items = page.items.into_iter().map(|view| view.as_seen_by(&caller)).collect();
    Ok(Json(page))
}

/// What is recorded about an account, and its own limits with their use.
#[utoipa::path(
    get,
    path = "/accounts/{account}",
    operation_id = "account",
    tag = "accounts",
    params(("account" = crate::types::AccountId, Path, description = "The account")),
    responses((status = 200, description = "The account", body = SubjectView), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn show(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Name(name): Name,
) -> Answer<SubjectView> {
    let account = own_account(&state.admin, &caller, &name).await?;
    let view = admin::show(&state.admin, &Who::from(SubjectId::Account(account))).await?;
    Ok(Json(view.as_seen_by(&caller)))
}

/// Change an account's plan, tenant, senders, contact, language or limits; what is left out stays.
#[utoipa::path(
    patch,
    path = "/accounts/{account}",
    operation_id = "change_account",
    tag = "accounts",
    params(("account" = crate::types::AccountId, Path, description = "The account")),
    request_body = Changes,
    responses(
        (status = 200, description = "The account after the change", body = SubjectView),
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
    let account = own_account(&state.admin, &caller, &name).await?;
    let who = Who::from(SubjectId::Account(account));
    Ok(Json(admin::set(&state.admin, &who, &changes, &caller.actor(Via::Api)).await?))
}

/// The limits that hold for an account, its tenant's included, with their use: the numbers that a refusal names.
#[utoipa::path(
    get,
    path = "/accounts/{account}/usage",
    operation_id = "account_usage",
    tag = "accounts",
    params(("account" = crate::types::AccountId, Path, description = "The account")),
    responses((status = 200, description = "The use", body = SubjectUsage), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn usage(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Name(name): Name,
) -> Answer<SubjectUsage> {
    let account = own_account(&state.admin, &caller, &name).await?;
    Ok(Json(admin::usage(&state.admin, &account).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExplainParams {
    /// Also the limits of this client address. What it used is the matter of whoever sends from there, so a tenant's token
    /// is answered 403.
    #[param(inline)]
    client: Option<ClientIp>,
}

/// All that decides about an account's next message, and why.
#[utoipa::path(
    get,
    path = "/accounts/{account}/explain",
    operation_id = "explain_account",
    tag = "accounts",
    params(("account" = crate::types::AccountId, Path, description = "The account"), ExplainParams),
    responses((status = 200, description = "The explanation", body = Explanation), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn explain(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Name(name): Name,
    Params(params): Params<ExplainParams>,
) -> Answer<Explanation> {
    let account = own_account(&state.admin, &caller, &name).await?;
    if params.client.is_some() {
        check_staff(&caller)?;
    }
    let explanation = admin::explain(&state.admin, &account, params.client).await?;
    Ok(Json(explanation.as_seen_by(&caller)))
}

/// Refuse all mail of an account from its next message on.
#[utoipa::path(
    post,
    path = "/accounts/{account}/suspend",
    operation_id = "suspend_account",
    tag = "accounts",
    params(("account" = crate::types::AccountId, Path, description = "The account")),
    request_body = Why,
    responses(
        (status = 200, description = "The account, suspended", body = SubjectView),
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
    let account = own_account(&state.admin, &caller, &name).await?;
    let who = Who::from(SubjectId::Account(account));
    Ok(Json(admin::suspend(&state.admin, &who, &why.reason, &caller.actor(Via::Api)).await?))
}

/// Cancel an account: a suspension that is meant to stay.
#[utoipa::path(
    post,
    path = "/accounts/{account}/cancel",
    operation_id = "cancel_account",
    tag = "accounts",
    params(("account" = crate::types::AccountId, Path, description = "The account")),
    request_body = Why,
    responses(
        (status = 200, description = "The account, cancelled", body = SubjectView),
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
    let account = own_account(&state.admin, &caller, &name).await?;
    let who = Who::from(SubjectId::Account(account));
    Ok(Json(admin::cancel(&state.admin, &who, &why.reason, &caller.actor(Via::Api)).await?))
}

/// Lift the suspension of an account, or its throttling or warning; its limits stay reduced for a time of probation.
#[utoipa::path(
    post,
    path = "/accounts/{account}/resume",
    operation_id = "resume_account",
    tag = "accounts",
    params(("account" = crate::types::AccountId, Path, description = "The account")),
    request_body = Release,
    responses(
        (status = 200, description = "The account, which may send", body = SubjectView),
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
    let account = own_account(&state.admin, &caller, &name).await?;
    let who = Who::from(SubjectId::Account(account));
    Ok(Json(admin::resume(&state.admin, &who, &release, &caller.actor(Via::Api)).await?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Api;
    use crate::{
        event::LimitHit,
        store::archive::{Batch, NewEntry, NewEvent},
        types::{AccountId, Actor, Limit, Role, Span, TenantId, Timestamp, Via},
    };
    use hyper::Method;
    use serde_json::json;
    use std::sync::Arc;

    /// The account has been another tenant's, which has hit its limit.
    async fn with_moved_account() -> Api {
        let api = Api::start().await;
        let admin = &api.gate.admin;
        let account: AccountId = "a@other.example".parse().unwrap();
        let own: TenantId = "shop.example".parse().unwrap();
        let limit = Limit { window: Span::from_secs(3_600), max: 50 };
        let key = "tenant/r/other.example".parse().unwrap();
        let hit = LimitHit { key, limit, used: 50, next_slot: None };
        let reply = "450 4.7.1 other.example has sent to 50 of 50 recipients";
        admin.records.note_refusal(&account, admin.clock.now(), reply, Some(&hit));
        let to = json!({ "tenant": "shop.example" });
        api.send(Role::Operator, Method::PATCH, "/accounts/a@other.example", to).await;
        let operator = Actor::new(Via::Api, "token operator");
        let mut entry = NewEntry::new(Timestamp::EPOCH, &operator, "tenant-changed");
        (entry.tenant, entry.account) = (Some(own.clone()), Some(account.clone()));
        (entry.before, entry.after) = (Some("other.example".into()), Some(own.to_string()));
        admin.archive.append_audit(entry).await.unwrap();
        let body = json!({ "change": "tenant: other.example → shop.example", "reason": "sold" });
        let event = NewEvent {
            at: Timestamp::EPOCH,
            name: "subject-changed".into(),
            tenant: Some(own),
            account: Some(account),
            marks: Vec::new(),
            body: body.to_string(),
        };
        let batch = Batch { events: vec![event], ..Batch::default() };
        admin.archive.keep(Arc::new(batch)).await.unwrap();
        api
    }

    #[tokio::test]
    async fn a_tenant_does_not_learn_where_an_account_came_from() {
        let api = with_moved_account().await;
        for (path, told) in [
            ("/audit", "/items/0/before"),
            ("/events", "/items/0/facts/change"),
            ("/accounts/a@other.example/explain", "/last_refusal/reply"),
        ] {
            let all = api.get(Role::ReadOnly, path).await.body;
            assert!(all.pointer(told).unwrap().to_string().contains("other.example"), "{all}");
            let own = api.get(Role::Tenant, path).await;
            assert_eq!(own.status, 200, "{path}: {}", own.body);
            let text = own.body.to_string().replace("a@other.example", "");
            assert!(!text.contains("other.example"), "{path}: {text}");
        }
        let entry = &api.get(Role::Tenant, "/audit").await.body["items"][0];
        assert_eq!((&entry["action"], &entry["after"]), (&json!("tenant-changed"), &json!(null)));
        let event = &api.get(Role::Tenant, "/events").await.body["items"][0];
        assert_eq!(event["facts"]["change"], "tenant");
    }

    #[tokio::test]
    async fn a_tenant_sees_the_last_refusal_by_its_own_limits() {
        let api = Api::start().await;
        let admin = &api.gate.admin;
        let limit = Limit { window: Span::from_secs(3_600), max: 50 };
        for key in ["tenant/r/shop.example", "account/r/a@shop.example", "client-ip/r/192.0.2.7"] {
            let hit = LimitHit { key: key.parse().unwrap(), limit, used: 50, next_slot: None };
            let account = "a@shop.example".parse().unwrap();
            admin.records.note_refusal(&account, admin.clock.now(), key, Some(&hit));
            let own = api.get(Role::Tenant, "/accounts/a@shop.example/explain").await.body;
            assert_eq!(own["last_refusal"]["reply"], key, "{own}");
        }
    }
}
