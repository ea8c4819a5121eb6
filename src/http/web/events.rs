//! Events as lines for people: what happened, whose matter it is, and all that is known of it.

use super::{
    Web,
    answer::{Answer, Failure, page},
    frame::{Frame, Section, form_urlencoded},
    texts::Texts,
    visit::Staff,
};
use crate::{
    admin,
    store::archive::{EventFilter, EventRow},
    types::Timestamp,
};
use askama::Template;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Map, Value};

/// One event.
pub(super) struct EventLine {
    pub(super) at: Timestamp,
    pub(super) time: String,
    pub(super) name: String,
    /// The colour of its name.
    pub(super) level: &'static str,
    /// Whose matter it is: names with their pages.
    pub(super) subjects: Vec<(String, String)>,
    /// What happened, in a line.
    pub(super) summary: String,
    /// All that is known of it, by the keys of docs/log.md.
    pub(super) facts: Vec<(String, String)>,
}

impl EventLine {
    pub(super) fn new(t: &'static Texts, row: &EventRow) -> Self {
        let body: Map<String, Value> = serde_json::from_str(&row.body).unwrap_or_default();
        let page = |kind: &str, name: &String| {
            (name.clone(), format!("/{kind}/{}", form_urlencoded(name)))
        };
        let account = row.account.iter().map(|name| page("accounts", name));
        let tenant = row.tenant.iter().map(|name| page("tenants", name));
        Self {
            at: row.at,
            time: t.moment_short(&row.at),
            level: level(&row.name, text(&body, "level")),
            subjects: tenant.chain(account).collect(),
            summary: summary(&row.name, &body),
            facts: facts(&body),
            name: row.name.clone(),
        }
    }
}

/// The latest events that fit.
pub(super) async fn latest(
    web: &Web,
    t: &'static Texts,
    filter: EventFilter,
) -> Result<Vec<EventLine>, Failure> {
    let rows = web.admin.archive.events(filter).await.map_err(admin::AdminError::from)?;
    Ok(rows.iter().map(|row| EventLine::new(t, row)).collect())
}

fn level(name: &str, level: &str) -> &'static str {
    match (name, level) {
        ("suspended", _) | (_, "error") => "bad",
        ("refused", _) | (_, "warn") => "warn",
        ("resumed", _) => "good",
        _ => "",
    }
}

fn text<'a>(body: &'a Map<String, Value>, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The keys that say most, of whatever the event has.
fn summary(name: &str, body: &Map<String, Value>) -> String {
    let keys: &[&str] = match name {
        "message" => &["outcome", "recipients_sent", "from", "reply"],
        "refused" => &["reason", "from", "reply"],
        "limit-reached" => &["percent", "limit_key", "limit_used", "limit_max"],
        "suspended" | "resumed" => &["reason", "case", "actor"],
        "standing-changed" => &["was", "is", "points", "reasons"],
        "subject-changed" => &["change", "reason", "actor"],
        "alert" => &["why", "severity", "title"],
        "login-failed" => &["result", "login", "client"],
        _ => &["change", "reason", "detail", "next_hop", "backend", "events", "actor"],
    };
    let told = keys.iter().filter_map(|key| body.get(*key).map(|value| phrase(key, value)));
    let told: Vec<String> = told.filter(|phrase| !phrase.is_empty()).collect();
    if told.is_empty() { name.replace('-', " ") } else { told.join(" · ") }
}

fn phrase(key: &str, value: &Value) -> String {
    let value = plain(value);
    match key {
        "percent" => format!("{value} %"),
        "recipients_sent" => format!("{value} recipients"),
        "limit_used" => format!("used {value}"),
        "limit_max" => format!("limit {value}"),
        "from" if value.is_empty() => String::from("from <>"),
        "from" => format!("from {value}"),
        "was" => format!("was {value}"),
        "is" => format!("is {value}"),
        "case" => format!("case {value}"),
        "until" => format!("until {value}"),
        "points" => format!("{value} points"),
        "actor" => format!("by {value}"),
        _ => value,
    }
}

fn facts(body: &Map<String, Value>) -> Vec<(String, String)> {
    let told = body.iter().filter(|(key, _)| !matches!(key.as_str(), "event" | "level"));
    told.map(|(key, value)| (key.clone(), plain(value))).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join("; "),
        Value::Object(object) => object.values().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// A choice of kinds of events.
struct Choice {
    word: &'static str,
    title: &'static str,
    names: &'static [&'static str],
}

static KINDS: [Choice; 7] = [
    Choice { word: "", title: "All", names: &[] },
    Choice { word: "messages", title: "Messages", names: &["message"] },
    Choice { word: "refusals", title: "Refusals", names: &["refused"] },
    Choice { word: "limits", title: "Limits reached", names: &["limit-reached"] },
    Choice { word: "suspensions", title: "Suspensions", names: &["suspended", "resumed"] },
    Choice {
        word: "standings",
        title: "Standings",
        names: &["standing-changed", "breaker-opened", "breaker-closed"],
    },
    Choice { word: "next-hops", title: "Next hops", names: &["next-hop-up", "next-hop-down"] },
];

/// Which events.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventsQuery {
    kind: String,
    account: String,
    tenant: String,
    before: Option<i64>,
    /// Only what happened before this moment.
    until: Option<Timestamp>,
}

/// The page of what an account or tenant did until a moment.
pub(super) fn path_until(kind: &str, name: &str, until: Timestamp) -> String {
    let until = form_urlencoded(&until.to_string());
    format!("/events?{kind}={}&until={until}", form_urlencoded(name))
}

impl EventsQuery {
    fn filter(&self) -> Result<EventFilter, Failure> {
        let names = KINDS.iter().find(|choice| choice.word == self.kind);
        let names = names.ok_or(Failure::NotFound)?.names;
        Ok(EventFilter {
            names: names.iter().map(ToString::to_string).collect(),
            account: given(&self.account)?,
            tenant: given(&self.tenant)?,
            beyond: self.before,
            until: self.until,
            max: ROWS + 1,
            ..EventFilter::default()
        })
    }

    /// The same events from another one on.
    fn path(&self, before: Option<i64>) -> String {
        let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
        let until = self.until.map(|until| form_urlencoded(&until.to_string()));
        let until = until.map(|until| format!("&until={until}")).unwrap_or_default();
        let (account, tenant) = (form_urlencoded(&self.account), form_urlencoded(&self.tenant));
        format!("/events?kind={}&account={account}&tenant={tenant}{until}{before}", self.kind)
    }
}

fn given<T: std::str::FromStr<Err = crate::types::ParseError>>(
    text: &str,
) -> Result<Option<T>, Failure> {
    let text = text.trim();
    if text.is_empty() { Ok(None) } else { Ok(Some(text.parse()?)) }
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    frame: Frame,
    kinds: &'static [Choice],
    query: EventsQuery,
    events: Vec<EventLine>,
    is_newest: bool,
    newest: String,
    older: Option<String>,
}

pub(super) async fn show(
    State(web): State<Web>,
    staff: Staff,
    Query(query): Query<EventsQuery>,
) -> Answer {
    let frame = Frame::english(&staff.visitor, Section::Events);
    let mut rows =
        web.admin.archive.events(query.filter()?).await.map_err(admin::AdminError::from)?;
    let more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let last = rows.last().map(|row| row.id).filter(|_| more);
    Ok(page(&EventsPage {
        events: rows.iter().map(|row| EventLine::new(frame.t, row)).collect(),
        frame,
        kinds: &KINDS,
        is_newest: query.before.is_none() && query.until.is_none(),
        newest: query.path(None),
        older: last.map(|id| query.path(Some(id))),
        query,
    }))
}

/// Rows of a page.
const ROWS: usize = 100;
