//! Alerts as people read them, and the test whether they arrive.

use super::{Admin, AdminError, Page};
use crate::{
    rules::alarm::{Alert, words},
    store::{
        BoxFuture,
        archive::{ALERTS_PAGE_MAX, AlertFilter, AlertRow},
    },
    types::{Language, TenantId},
};
use serde::{Deserialize, Serialize};

/// Which alerts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertRequest {
    /// Only those that last.
    pub open: bool,
    /// Only matters of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those before this number, which was given as `next`.
    pub after: Option<i64>,
    /// How many, 1 to 500.
    pub max: Option<u32>,
}

/// An alert with what it says to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertView {
    /// Its number: later alerts have higher ones.
    pub number: i64,
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
    /// What is the matter, in a few words.
    pub title: String,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub advice: String,
}

/// Whether a receiver took a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    let max = request.max.unwrap_or(PAGE_DEFAULT).clamp(1, ALERTS_PAGE_MAX);
    let filter = AlertFilter {
        open: request.open,
        tenant: request.tenant.clone(),
        beyond: request.after,
        max,
    };
    let rows = admin.archive.alerts(filter).await?;
    let is_full = u32::try_from(rows.len()).is_ok_and(|count| count == max);
    let next = rows.last().filter(|_| is_full).map(|row| row.number.to_string());
    Ok(Page { items: rows.into_iter().map(view).collect(), next })
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

fn view(row: AlertRow) -> AlertView {
    let said = words(&row.alert, Language::English);
    AlertView {
        number: row.number,
        alert: row.alert,
        title: said.title,
        detail: said.text,
        advice: said.advice.to_owned(),
    }
}

const PAGE_DEFAULT: u32 = 100;
