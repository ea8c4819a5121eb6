//! Alerts as people read them, and the test whether they arrive.

use super::{Admin, AdminError, Caller, Page};
use crate::{
    rules::alarm::{Alert, Facts, words},
    store::{
        BoxFuture,
        archive::{ALERTS_PAGE_MAX, AlertFilter},
    },
    types::{Language, TenantId, Timestamp},
};
use serde::{Deserialize, Serialize};

/// Which alerts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct AlertRequest {
    /// Only those that last.
    pub open: Option<bool>,
    /// Only matters of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those before this number, which was given as `next`.
    #[param(minimum = 0)]
    pub after: Option<u32>,
    /// How many, 1 to 500.
    #[param(minimum = 1, maximum = 500)]
    pub max: Option<u32>,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AlertView {
    /// Its number: later alerts have higher ones.
    pub number: i64,
    /// Its id, the same in all messages about it.
    pub id: String,
    /// The same whenever the same thing is the matter.
    pub dedupe_key: String,
    /// What it is, as a stable word; docs/alerts.md has them all.
    pub kind: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// `firing` or `resolved`.
    pub state: String,
    /// Whose matter it is: `gate`, `tenant`, `account`, `client-ip`, `peer`, `next-hop`, `sink`.
    pub scope: String,
    /// Whose matter it is, by name; empty for the gate.
    pub name: String,
    /// The tenant whose matter it is.
    pub tenant: Option<TenantId>,
    /// When it was first seen.
    pub since: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// When it was over.
    pub resolved_at: Option<Timestamp>,
    /// How often it was seen.
    pub count: u64,
    /// What is the matter, in a few words.
    pub title: String,
    /// What was seen, in words.
    pub detail: String,
    /// What to do.
    pub advice: String,
    /// What was seen, for programs.
    #[schema(value_type = Object)]
    pub facts: Facts,
}

/// Whether a receiver took a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SinkTest {
    /// The receiver's name.
    pub sink: String,
    /// Why it did not; none: it did.
    pub failure: Option<String>,
}

/// Whoever sends messages about alerts; `app` knows.
pub trait Bell: Send + Sync {
    /// Sends a test to each receiver and says what became of it.
    fn test(&self) -> BoxFuture<'_, Vec<SinkTest>>;
}

/// One page of alerts, the newest first.
///
/// # Errors
/// [`AdminError::Store`] if the archive cannot be read.
pub async fn alerts(admin: &Admin, request: &AlertRequest) -> Result<Page<AlertView>, AdminError> {
    page(admin, request, |number, alert| Some(AlertView::of(number, alert))).await
}

/// The same as this caller may see it: a tenant's token sees its own matters, none of the provider's, and not which operator did
/// something. A page may have fewer than were asked for, and there may be more after it.
///
/// # Errors
/// As [`alerts`].
pub async fn alerts_seen_by(
    admin: &Admin,
    caller: &Caller,
    request: &AlertRequest,
) -> Result<Page<AlertView>, AdminError> {
    let Some(tenant) = caller.access.tenant() else { return alerts(admin, request).await };
    let own = AlertRequest { tenant: Some(tenant.clone()), ..request.clone() };
    page(admin, &own, |number, mut alert| {
        alert.facts = alert.facts.for_tenants();
        alert.kind.is_customers().then(|| AlertView::of(number, alert))
    })
    .await
}

async fn page(
    admin: &Admin,
    request: &AlertRequest,
    view: impl Fn(i64, Alert) -> Option<AlertView>,
) -> Result<Page<AlertView>, AdminError> {
    let max = request.max.unwrap_or(PAGE_DEFAULT).clamp(1, ALERTS_PAGE_MAX);
    let filter = AlertFilter {
        open: request.open.unwrap_or_default(),
        tenant: request.tenant.clone(),
        beyond: request.after.map(i64::from),
        max,
    };
    let rows = admin.archive.alerts(filter).await?;
    let is_full = u32::try_from(rows.len()).is_ok_and(|count| count == max);
    let next = rows.last().filter(|_| is_full).map(|row| row.number.to_string());
    let items = rows.into_iter().filter_map(|row| view(row.number, row.alert)).collect();
    Ok(Page { items, next })
}

/// Sends a test to each receiver of alerts.
///
/// # Errors
/// [`AdminError::Conflict`] if there is none.
pub async fn test_alerts(admin: &Admin) -> Result<Vec<SinkTest>, AdminError> {
    let tests = admin.bell.test().await;
    if tests.is_empty() {
        let why =
            "nobody hears of alerts: [alerts] has no webhook, no email.to and no alertmanager.url";
        return Err(AdminError::Conflict(why.into()));
    }
    Ok(tests)
}

impl AlertView {
    fn of(number: i64, alert: Alert) -> Self {
        let said = words(&alert, Language::English);
        Self {
            number,
            id: alert.id,
            dedupe_key: alert.key,
            kind: alert.kind.name().to_owned(),
            severity: alert.severity.name().to_owned(),
            state: alert.phase.name().to_owned(),
            scope: alert.about.scope,
            name: alert.about.name,
            tenant: alert.tenant,
            since: alert.since,
            last_seen: alert.last,
            resolved_at: alert.over,
            count: alert.count,
            title: said.title,
            detail: said.text,
            advice: said.advice.to_owned(),
            facts: alert.facts,
        }
    }
}

const PAGE_DEFAULT: u32 = 100;
