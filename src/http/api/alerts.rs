//! Alerts: what is the matter, and whether messages about it arrive.

use super::{
    ApiState,
    access::{Anyone, Operator, own_tenant},
    answers::{Answer, ChangeRefusals, Refusals},
    input::Params,
};
use crate::admin::{self, AlertRequest, AlertView, Page, SinkTest};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(test))
}

/// Alerts, the newest first, in pages.
#[utoipa::path(
    get,
    path = "/alerts",
    operation_id = "alerts",
    tag = "alerts",
    params(AlertRequest),
    responses((status = 200, description = "A page", body = Page<AlertView>), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn list(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Params(request): Params<AlertRequest>,
) -> Answer<Page<AlertView>> {
    if let Some(tenant) = &request.tenant {
        own_tenant(&caller, tenant.as_str())?;
    }
    Ok(Json(admin::alerts_seen_by(&state.admin, &caller, &request).await?))
}

/// Send a test to each receiver of alerts and say what became of it.
#[utoipa::path(
    post,
    path = "/alerts/test",
    operation_id = "test_alerts",
    tag = "alerts",
    responses(
        (status = 200, description = "What each receiver did", body = Vec<SinkTest>),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn test(_operator: Operator, State(state): State<ApiState>) -> Answer<Vec<SinkTest>> {
    Ok(Json(admin::test_alerts(&state.admin).await?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Api;
    use crate::{
        event::{Event, Suspended, Trouble},
        rules::alarm::{Book, Kind},
        store::archive::{Batch, Route},
        types::{Role, SubjectId, Timestamp},
    };
    use std::sync::Arc;

    #[tokio::test]
    async fn a_tenant_sees_its_own_alerts_and_not_which_operator_did_it() {
        let api = Api::start().await;
        let mut book = Book::new(Timestamp::EPOCH);
        for tenant in ["shop.example", "other.example"] {
            let event = Event::Suspended(Suspended {
                subject: SubjectId::Tenant(tenant.parse().unwrap()),
                case: "TG-1".parse().unwrap(),
                reason: "spam".into(),
                actor: "alice (uid 7)".into(),
                until: None,
            });
            book.note(Timestamp::EPOCH, &event);
        }
        // Of the provider's matters it sees none, also where one was stored as its own.
        let panicked = Event::TaskPanicked(Trouble { detail: "ours".into() });
        book.note(Timestamp::EPOCH, &panicked);
        let batch = Batch { alarm: book.take(), ..Batch::default() };
        let archive = &api.gate.admin.archive;
        archive.keep(Arc::new(batch)).await.unwrap();
        let told = archive.pending_alerts(Timestamp::EPOCH).await.unwrap().unrouted;
        let ours =
            told.into_iter().find(|one| one.notice.alert.kind == Kind::TaskPanicked).unwrap();
        let tenant = Some("shop.example".parse().unwrap());
        let alert = ours.notice.alert.id;
        archive
            .route(vec![Route { number: ours.number, alert, tenant, sinks: Vec::new() }])
            .await
            .unwrap();
        let all = api.get(Role::ReadOnly, "/alerts?open=true").await.body;
        assert_eq!(all["items"].as_array().unwrap().len(), 3);
        assert!(all.to_string().contains("alice"));
        for path in ["/alerts", "/alerts?tenant=shop.example"] {
            let own = api.get(Role::Tenant, path).await.body;
            assert_eq!(own["items"].as_array().unwrap().len(), 1, "{own}");
            assert_eq!(own["items"][0]["name"], "shop.example");
            assert!(!own.to_string().contains("alice"), "{own}");
        }
        assert_eq!(api.get(Role::Tenant, "/alerts?tenant=other.example").await.status, 404);
        let first = api.get(Role::Operator, "/alerts?max=2").await.body;
        assert_eq!(first["items"][1]["name"], "shop.example");
        let rest = format!("/alerts?max=1&after={}", first["next"].as_str().unwrap());
        assert_eq!(api.get(Role::Operator, &rest).await.body["items"][0]["name"], "other.example");
    }
}
