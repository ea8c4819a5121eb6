//! The control socket's routes about how full mailboxes are.

use super::{
    control::{Answer, answer, invalid, who},
    problem::Problem,
};
use crate::{
    admin::{self, Admin},
    types::TenantId,
};
use axum::{
    Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    routing::{get, post},
};
use serde::Deserialize;

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/storage", get(list))
        .route("/v1/{kind}/{name}/storage", get(show))
        .route("/v1/{kind}/{name}/storage/scan", post(scan))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    tenant: Option<String>,
    max: Option<usize>,
}

async fn list(
    State(admin): State<Admin>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Answer {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let tenant = query.tenant.map(|name| name.parse::<TenantId>()).transpose();
    let tenant = tenant.map_err(|error| invalid(&error))?;
    let max = query.max.unwrap_or(admin::STORAGE_LIST_MAX);
    answer(admin::storage_list(&admin, tenant.as_ref(), max).await)
}

async fn show(State(admin): State<Admin>, Path(path): Path<(String, String)>) -> Answer {
    answer(admin::storage_story(&admin, who(&path)?.subject()).await)
}

async fn scan(State(admin): State<Admin>, Path(path): Path<(String, String)>) -> Answer {
    answer(admin::scan_storage(&admin, who(&path)?.subject()).await)
}
