//! What was done and what happened: the audit, the way of a message, complaints.

use super::{
    super::{control::REPORT_BYTES_MAX, problem::Problem},
    ApiState,
    access::{Anyone, Operator, Staff, own_account, own_tenant},
    answers::{Answer, ChangeRefusals, Refusals},
    input::{Body, Params},
};
use crate::{
    admin::{
        self, AuditRequest, AuditView, ComplaintRequest, ComplaintView, ComplaintsRequest,
        HeadView, Page, Reader, TraceRequest, Traced, VerdictView, VerifyRequest,
    },
    types::Via,
};
use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    let reports = OpenApiRouter::new()
        .routes(routes!(report_complaint))
        .layer(DefaultBodyLimit::max(REPORT_BYTES_MAX));
    OpenApiRouter::new()
        .routes(routes!(audit))
        .routes(routes!(verify_audit))
        .routes(routes!(audit_head))
        .routes(routes!(trace))
        .routes(routes!(complaints, add_complaint))
        .merge(reports)
}

/// The audit, in pages. A tenant's token sees what was done to the tenant and its accounts and why; neither by whom nor on what
/// evidence.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "audit",
    tag = "records",
    params(AuditRequest),
    responses((status = 200, description = "A page", body = Page<AuditView>), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn audit(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Params(request): Params<AuditRequest>,
) -> Answer<Page<AuditView>> {
    let page = match caller.access.tenant() {
        Some(tenant) => admin::audit_of_tenant(&state.admin, tenant, &request).await?,
        None => admin::audit(&state.admin, &request).await?,
    };
    Ok(Json(page))
}

/// Follow the whole audit: whether any entry was changed, removed, moved or added. It takes some seconds for a million entries.
#[utoipa::path(
    get,
    path = "/audit/verify",
    operation_id = "verify_audit",
    tag = "records",
    params(VerifyRequest),
    responses((status = 200, description = "What was found", body = VerdictView), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn verify_audit(
    _staff: Staff,
    State(state): State<ApiState>,
    Params(request): Params<VerifyRequest>,
) -> Answer<VerdictView> {
    Ok(Json(admin::verify_audit(&state.admin, &request).await?))
}

/// Where the audit ends: to be kept elsewhere, and held against a later audit.
#[utoipa::path(
    get,
    path = "/audit/head",
    operation_id = "audit_head",
    tag = "records",
    responses((status = 200, description = "The head", body = HeadView), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn audit_head(_staff: Staff, State(state): State<ApiState>) -> Answer<HeadView> {
    Ok(Json(admin::audit_head(&state.admin).await?))
}

/// What happened to messages, found by our id, a Message-ID, an account or a recipient; the newest first, in pages. It changes
/// nothing, but addresses do not belong into an URL, and each look stands in the audit. A tenant's token sees the tenant's own
/// mail only.
#[utoipa::path(
    post,
    path = "/trace",
    operation_id = "trace",
    tag = "records",
    request_body = TraceRequest,
    responses(
        (status = 200, description = "A page", body = Page<Traced>),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn trace(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Body(request): Body<TraceRequest>,
) -> Answer<Page<Traced>> {
    let actor = caller.actor(Via::Api);
    let reader = match caller.access.tenant() {
        Some(tenant) => Reader::Tenant(&actor, tenant),
        None => Reader::Staff(&actor),
    };
    Ok(Json(admin::trace(&state.admin, &reader, &request).await?))
}

/// Complaints about mail, the newest first, in pages. A tenant's token sees those about its own accounts, and not who complained.
#[utoipa::path(
    get,
    path = "/complaints",
    operation_id = "complaints",
    tag = "records",
    params(ComplaintsRequest),
    responses((status = 200, description = "A page", body = Page<ComplaintView>), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn complaints(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Params(mut request): Params<ComplaintsRequest>,
) -> Answer<Page<ComplaintView>> {
    if let Some(account) = &request.account {
        own_account(&state.admin, &caller, account.as_str()).await?;
    }
    if let Some(tenant) = &request.tenant {
        own_tenant(&caller, tenant.as_str())?;
    }
    if let Some(own) = caller.access.tenant() {
        request.tenant = Some(own.clone());
    }
    let mut page = admin::complaints(&state.admin, &request).await?;
    if !caller.sees_all() {
        page.items.iter_mut().for_each(ComplaintView::hide_who_complained);
    }
    Ok(Json(page))
}

/// Take in a complaint that somebody tells.
#[utoipa::path(
    post,
    path = "/complaints",
    operation_id = "add_complaint",
    tag = "records",
    request_body = ComplaintRequest,
    responses(
        (status = 200, description = "The complaint, attributed if it could be", body = ComplaintView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn add_complaint(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Body(request): Body<ComplaintRequest>,
) -> Answer<ComplaintView> {
    Ok(Json(admin::add_complaint(&state.admin, &caller.actor(Via::Api), &request).await?))
}

/// Take in a report of abuse (RFC 5965) of at most 4 MiB. One that comes again is answered with what was kept the first time.
#[utoipa::path(
    post,
    path = "/complaints/report",
    operation_id = "report_complaint",
    tag = "records",
    request_body(content = String, content_type = "message/rfc822", description = "The report as it came"),
    responses(
        (status = 200, description = "The complaint, attributed if it could be", body = ComplaintView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn report_complaint(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Octets(report): Octets,
) -> Answer<ComplaintView> {
    Ok(Json(admin::add_report(&state.admin, &caller.actor(Via::Api), &report).await?))
}

/// A body as it came.
struct Octets(Bytes);

impl<S: Send + Sync> FromRequest<S> for Octets {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|error| Problem::new(error.status(), error.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Api;
    use crate::{
        store::archive::{Batch, Mark, NewEntry, NewEvent},
        types::{Actor, Role, Timestamp, Via},
    };
    use hyper::Method;
    use serde_json::{Value, json};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_tenant_is_not_told_of_holds_and_of_what_was_copied_for_whom() {
        let api = Api::start().await;
        let operator = Actor::new(Via::Api, "token operator");
        let actions =
            ["held", "suspended", "disclosed", "exported", "erase-refused", "hold-released"];
        for action in actions {
            let mut entry = NewEntry::new(Timestamp::EPOCH, &operator, action);
            entry.tenant = Some("shop.example".parse().unwrap());
            entry.account = Some("a@shop.example".parse().unwrap());
            entry.after = Some("to the police, released by Budi".into());
            entry.reason = Some("an investigation".into());
            api.gate.admin.archive.append_audit(entry).await.unwrap();
        }
        let seen = async |role, path: &str| {
            let body = api.get(role, path).await.body;
            let items = body["items"].as_array().unwrap().clone();
            let action = |item: &Value| item["action"].as_str().unwrap().to_owned();
            let ours = |action: &String| actions.contains(&action.as_str());
            items.iter().map(action).filter(ours).collect::<Vec<_>>()
        };
        for path in ["/audit", "/audit?subject=a@shop.example", "/audit?max=1"] {
            assert_eq!(seen(Role::Tenant, path).await, ["suspended"], "{path}");
        }
        assert!(seen(Role::Tenant, "/audit?action=disclosed").await.is_empty());
        for action in actions {
            assert!(seen(Role::ReadOnly, "/audit").await.contains(&action.to_owned()), "{action}");
        }
    }

    #[tokio::test]
    async fn a_tenant_does_not_learn_who_complained() {
        let api = Api::start().await;
        let told = json!({
            "account": "a@shop.example",
            "recipient": "bob@remote.example",
            "note": "Bob has complained by telephone",
        });
        let heard = api.send(Role::Operator, Method::POST, "/complaints", told).await;
        assert_eq!(heard.status, 200, "{}", heard.body);
        for path in ["/audit", "/complaints", "/events"] {
            let own = api.get(Role::Tenant, path).await;
            assert_eq!(own.status, 200, "{path}");
            let text = own.body.to_string().to_lowercase();
            assert!(!text.contains("bob"), "{path}: {text}");
        }
        for path in ["/audit", "/complaints"] {
            let own = api.get(Role::Tenant, path).await.body;
            assert!(own.to_string().contains("a@shop.example"), "{path}: {own}");
            let all = api.get(Role::ReadOnly, path).await.body.to_string();
            assert!(all.contains("Bob has complained"), "{path}: {all}");
        }
    }

    #[tokio::test]
    async fn a_tenant_does_not_find_complaints_by_who_complained() {
        let api = Api::start().await;
        let event = |name: &'static str| NewEvent {
            at: Timestamp::EPOCH,
            name: name.into(),
            tenant: "shop.example".parse().ok(),
            account: "a@shop.example".parse().ok(),
            marks: vec![Mark::Recipient("bob@remote.example".parse().unwrap())],
            body: format!(r#"{{"event":"{name}"}}"#),
        };
        let events = vec![event("message"), event("complaint")];
        let batch = Batch { events, ..Batch::default() };
        api.gate.admin.archive.keep(Arc::new(batch)).await.unwrap();
        for (role, of, expected) in [
            (Role::Tenant, "bob@remote.example", 1),
            (Role::Tenant, "a@shop.example", 1),
            (Role::Operator, "bob@remote.example", 2),
        ] {
            let found = api.send(role, Method::POST, "/trace", json!({ "of": of })).await.body;
            assert_eq!(found["items"].as_array().unwrap().len(), expected, "{role} {of}: {found}");
        }
    }

    #[tokio::test]
    async fn a_kind_of_complaint_that_there_is_not_is_refused() {
        let api = Api::start().await;
        for (kind, status) in [("fruad", 422), ("", 422), ("fraud", 200), ("Not-Spam", 200)] {
            let told = json!({ "account": "a@shop.example", "kind": kind });
            let heard = api.send(Role::Operator, Method::POST, "/complaints", told).await;
            assert_eq!(heard.status, status, "{kind}: {}", heard.body);
            if status == 200 {
                assert_eq!(heard.body["kind"], kind.to_lowercase());
            }
        }
    }
}
