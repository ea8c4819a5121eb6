//! Reports: what tenants used in a period, as JSON, as CSV and as a page.

use super::{
    ApiState,
    access::{Anyone, Staff, own_tenant},
    answers::{Answer, Refusals},
    input::{Name, Params},
};
use crate::{
    admin::{self, Admin, AdminError, Caller, PageRequest, ReportPage, TenantDocument},
    http::problem::Problem,
    rules::tally::period::Period,
    types::TenantId,
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{Html, IntoResponse as _, Response},
};
use serde::Deserialize;
use tokio_stream::StreamExt as _;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(all_as_csv))
        .routes(routes!(of_tenant))
        .routes(routes!(page_of_tenant))
}

/// The time that a report is about.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct When {
    /// `2026-10`, `2026-W40`, `2026-10-01..2026-10-31`, `today`, `last-week`, `last-month`, `last-30-days`; this month if left out.
    period: Option<String>,
}

/// The time, and which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhenAndPage {
    /// As for one tenant.
    period: Option<String>,
    /// Only tenants after this one.
    after: Option<String>,
    /// How many, 1 to 200.
    #[param(minimum = 1, maximum = 200)]
    max: Option<usize>,
}

fn period(admin: &Admin, text: Option<&str>) -> Result<Period, AdminError> {
    admin::period(admin, text.unwrap_or("this-month"))
}

/// What each tenant used, also those that sent nothing, sorted by name, in pages.
#[utoipa::path(
    get,
    path = "/reports",
    operation_id = "reports",
    tag = "reports",
    params(WhenAndPage),
    responses((status = 200, description = "A page", body = ReportPage), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn all(
    Staff: Staff,
    State(state): State<ApiState>,
    Params(asked): Params<WhenAndPage>,
) -> Answer<ReportPage> {
    let period = period(&state.admin, asked.period.as_deref())?;
    let page = PageRequest { after: asked.after, max: asked.max };
    Ok(Json(admin::report_page(&state.admin, &period, &page).await?))
}

/// The same as comma-separated values, all tenants in one answer that is made while it is read.
#[utoipa::path(
    get,
    path = "/reports.csv",
    operation_id = "reports_csv",
    tag = "reports",
    params(When),
    responses((status = 200, description = "A row for each tenant", body = String, content_type = "text/csv"), Refusals),
    security(("token" = ["operator", "read-only"])),
)]
async fn all_as_csv(
    Staff: Staff,
    State(state): State<ApiState>,
    Params(asked): Params<When>,
) -> Result<Response, Problem> {
    let admin = state.admin;
    let period = period(&admin, asked.period.as_deref())?;
    let first = admin::report_page(&admin, &period, &PageRequest::default()).await?;
    let heading = tokio_stream::once(Ok(Bytes::from(admin::csv_heading())));
    let (sender, pages) = tokio::sync::mpsc::channel::<Result<Bytes, AdminError>>(1);
    tokio::spawn(async move { send_pages(&admin, &period, first, &sender).await });
    let body = heading.chain(tokio_stream::wrappers::ReceiverStream::new(pages));
    let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8")];
    Ok((kind, Body::from_stream(body)).into_response())
}

/// Makes the next page when the one before it was taken; ends when nobody takes it.
async fn send_pages(
    admin: &Admin,
    period: &Period,
    mut page: ReportPage,
    out: &tokio::sync::mpsc::Sender<Result<Bytes, AdminError>>,
) {
    loop {
        let rows = admin::csv_rows(&page.head, &page.tenants);
        if out.send(Ok(rows.into())).await.is_err() {
            return;
        }
        let Some(after) = page.next else { return };
        let request = PageRequest { after: Some(after), max: None };
        page = match admin::report_page(admin, period, &request).await {
            Ok(page) => page,
            Err(error) => {
                // An answer that breaks off is seen to be incomplete.
                let _nobody_reads = out.send(Err(error)).await;
                return;
            }
        };
    }
}

/// What a tenant used, with its days.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/report",
    operation_id = "tenant_report",
    tag = "reports",
    params(("tenant" = TenantId, Path, description = "The tenant"), When),
    responses((status = 200, description = "The report", body = TenantDocument), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn of_tenant(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Name(name): Name,
    Params(asked): Params<When>,
) -> Answer<TenantDocument> {
    Ok(Json(document(&state.admin, &caller, &name, &asked).await?))
}

/// The same as a page that can be printed, in the tenant's language.
#[utoipa::path(
    get,
    path = "/tenants/{tenant}/report.html",
    operation_id = "tenant_report_page",
    tag = "reports",
    params(("tenant" = TenantId, Path, description = "The tenant"), When),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"), Refusals),
    security(("token" = ["operator", "read-only", "tenant"])),
)]
async fn page_of_tenant(
    Anyone(caller): Anyone,
    State(state): State<ApiState>,
    Name(name): Name,
    Params(asked): Params<When>,
) -> Result<Response, Problem> {
    let document = document(&state.admin, &caller, &name, &asked).await?;
    let policy = [(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)];
    Ok((policy, Html(admin::report_html(&document))).into_response())
}

async fn document(
    admin: &Admin,
    caller: &Caller,
    name: &str,
    asked: &When,
) -> Result<TenantDocument, Problem> {
    let tenant = own_tenant(caller, name)?;
    let period = period(admin, asked.period.as_deref())?;
    Ok(admin::report_of(admin, &period, &tenant).await?.as_seen_by(caller))
}

/// The page has a style of its own and loads nothing.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
