//! What happened: in pages, and as it happens.

use super::{
    super::{live, problem::Problem},
    ApiState,
    access::Anyone,
    answers::{Answer, Refusals},
    input::Params,
};
use crate::{
    admin::{self, EventRequest, EventView, Page},
    types::{AccountId, TenantId},
};
use axum::{Json, extract::State, http::HeaderMap, response::IntoResponse};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(follow))
}

/// Events, the newest first or the oldest, in pages; a tenant's token sees those of its own matters.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "events",
    tag = "events",
    params(EventRequest),
    responses((status = 200, description = "A page", body = Page<EventView>), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn list(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Params(request): Params<EventRequest>,
) -> Answer<Page<EventView>> {
    Ok(Json(admin::events(&state.admin, &caller, &request).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FollowParams {
    /// Only those with one of these names, apart by commas: `message,refused`. docs/log.md has them all.
    event: Option<String>,
    /// Only those of this tenant.
    tenant: Option<TenantId>,
    /// Only those of this account.
    account: Option<AccountId>,
    /// First those after the one with this id. The header `Last-Event-ID`, which browsers send when they come back, goes
    /// before it.
    after: Option<i64>,
}

/// Events as they happen, as server-sent events: `id` is the event's, `event` its name, `data` an object as in a page.
#[utoipa::path(
    get,
    path = "/events/live",
    operation_id = "follow_events",
    tag = "events",
    params(
        FollowParams,
        ("Last-Event-ID" = Option<i64>, Header, description = "First the events after the one with this id"),
    ),
    responses(
        (
            status = 200,
            description = "A stream without an end",
            body = String,
            content_type = "text/event-stream",
        ),
        Refusals,
    ),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn follow(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Params(params): Params<FollowParams>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let FollowParams { event, tenant, account, after } = params;
    let request = EventRequest { event, tenant, account, ..EventRequest::default() };
    let filter = admin::event_filter(&state.admin, &caller, &request).await?;
    let newest = admin::newest_event(&state.admin).await?;
    // Of a number that no event has yet, the archive is another one by now.
    let last = last_event_id(&headers)?.or(after).map_or(newest, |last| last.min(newest));
    live::follow(state.admin.clone(), &state.streams, caller, filter, last)
}

/// What a client that comes back has heard last.
fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Problem::bad_request("Last-Event-ID is not the id of an event"))
}
