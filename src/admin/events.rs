//! What happened, as the archive has it.

use super::{Admin, AdminError, Caller, Page, Since};
use crate::{
    store::archive::{EVENTS_PAGE_MAX, EventFilter, EventRow, Order},
    types::{AccountId, TenantId, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// Which events.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EventRequest {
    /// Only those with one of these names, apart by commas: `message,refused`. docs/log.md has them all.
    pub event: Option<String>,
    /// Only those of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those of this account.
    pub account: Option<AccountId>,
    /// Only from then on: a moment, or a length of time before now.
    #[param(inline)]
    pub since: Option<Since>,
    /// Only before then.
    #[param(inline)]
    pub until: Option<Since>,
    /// The newest first (the default), or the oldest.
    #[param(inline)]
    pub order: Order,
    /// Only events beyond the one with this id, in that order.
    pub after: Option<i64>,
    /// How many, 1 to 500.
    #[param(minimum = 1, maximum = 500)]
    pub max: Option<usize>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Its number: later events have higher ones.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What, as a stable word.
    pub event: String,
    /// Whose matter it is.
    pub tenant: Option<String>,
    /// Whose matter it is.
    pub account: Option<String>,
    /// The facts, by the keys of docs/log.md.
    #[schema(value_type = Object)]
    pub facts: Map<String, Value>,
}

impl EventView {
    /// The event as a caller may see it.
    #[must_use]
    pub fn new(row: &EventRow, caller: &Caller) -> Self {
        let mut facts: Map<String, Value> = serde_json::from_str(&row.body).unwrap_or_default();
        for said_already in ["time", "event"] {
            facts.remove(said_already);
        }
        if !caller.sees_all() {
            // Who of the provider's people did something is not for tenants.
            facts.remove("actor");
            // Nor is whose an account was, or becomes.
            if let Some(Value::String(change)) = facts.get_mut("change")
                && change.starts_with("tenant: ")
            {
                *change = "tenant".into();
            }
        }
        let (tenant, account) = (row.tenant.clone(), row.account.clone());
        Self { id: row.id, at: row.at, event: row.name.clone(), tenant, account, facts }
    }
}

/// One page of events.
///
/// # Errors
/// As [`event_filter`]; [`AdminError::Store`] if the archive does not answer.
pub async fn events(
    admin: &Admin,
    caller: &Caller,
    request: &EventRequest,
) -> Result<Page<EventView>, AdminError> {
    let filter = event_filter(admin, caller, request).await?;
    let max = filter.max;
    let rows = admin.archive.events(filter).await?;
    let next = rows.last().filter(|_| rows.len() == max).map(|row| row.id.to_string());
    Ok(Page { items: rows.iter().map(|row| EventView::new(row, caller)).collect(), next })
}

/// What a request asks for, narrowed to what the caller may see.
///
/// # Errors
/// [`AdminError::NotFound`] if it names somebody whom the caller does not see.
pub async fn event_filter(
    admin: &Admin,
    caller: &Caller,
    request: &EventRequest,
) -> Result<EventFilter, AdminError> {
    let asked = request.tenant.as_ref();
    if asked.is_some_and(|tenant| !caller.sees_tenant(tenant)) {
        return Err(AdminError::NotFound("this token sees no such tenant".into()));
    }
    if let Some(account) = &request.account
        && !caller.sees_account(admin, account).await?
    {
        return Err(AdminError::NotFound("this token sees no such account".into()));
    }
    let now = admin.utc();
    Ok(EventFilter {
        names: names(caller, request.event.as_deref())?,
        tenant: caller.access.tenant().or(asked).cloned(),
        account: request.account.clone(),
        since: request.since.map(|since| since.resolve(now)).transpose()?,
        until: request.until.map(|until| until.resolve(now)).transpose()?,
        beyond: request.after,
        order: request.order,
        max: request.max.unwrap_or(PAGE_DEFAULT).clamp(1, EVENTS_PAGE_MAX),
    })
}

/// The id of the newest event; 0 if there is none.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn newest_event(admin: &Admin) -> Result<i64, AdminError> {
    let newest = EventFilter { max: 1, ..EventFilter::default() };
    Ok(admin.archive.events(newest).await?.first().map_or(0, |row| row.id))
}

fn names(caller: &Caller, asked: Option<&str>) -> Result<Vec<String>, AdminError> {
    let mut names: Vec<String> =
        asked.into_iter().flat_map(|names| names.split(',')).map(|n| n.trim().to_owned()).collect();
    if names.len() > NAMES_MAX {
        return Err(AdminError::Invalid(format!("more than {NAMES_MAX} names of events")));
    }
    if !caller.sees_all() {
        names.retain(|name| TENANTS_EVENTS.contains(&name.as_str()));
        if asked.is_none() || names.is_empty() {
            names = match asked {
                None => TENANTS_EVENTS.map(ToOwned::to_owned).into(),
                // Nothing has this name, and so nothing is found.
                Some(_) => vec![String::new()],
            };
        }
    }
    Ok(names)
}

/// Names of one request.
const NAMES_MAX: usize = 64;
/// What a tenant may see of its own matters.
const TENANTS_EVENTS: [&str; 7] = [
    "message",
    "refused",
    "limit-reached",
    "suspended",
    "resumed",
    "standing-changed",
    "subject-changed",
];
/// Events of a page if no figure is given.
const PAGE_DEFAULT: usize = 100;
