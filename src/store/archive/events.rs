//! Events as they are kept: who and when in columns, the rest as the JSON object of the log line.

use super::{
    Archive,
    holds::NOT_HELD,
    messages::{Mark, MarkKey, cut_marks, insert_marks},
    names, stored,
};
use crate::{
    store::StoreError,
    types::{AccountId, SubjectId, TenantId, Timestamp},
};
use rusqlite::{Connection, Row, ToSql, params};
use std::{borrow::Cow, time::Duration};

/// An event that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewEvent {
    /// When, in UTC.
    pub at: Timestamp,
    /// Its name, [`crate::event::Event::name`].
    pub name: Cow<'static, str>,
    /// Whose matter it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Whose matter it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The object of the log line; docs/log.md has its keys.
    pub body: String,
    /// What it can be found by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
}

impl NewEvent {
    pub(super) fn stored_as(&self, id: i64) -> EventRow {
        EventRow {
            id,
            at: self.at,
            name: self.name.clone().into_owned(),
            tenant: self.tenant.as_ref().map(ToString::to_string),
            account: self.account.as_ref().map(ToString::to_string),
            body: self.body.clone(),
        }
    }
}

/// An event that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Its number: later events have higher ones.
    pub id: i64,
    /// When, in UTC.
    pub at: Timestamp,
    /// Its name.
    pub name: String,
    /// Whose matter it is.
    pub tenant: Option<String>,
    /// Whose matter it is.
    pub account: Option<String>,
    /// A JSON object; docs/log.md has its keys.
    pub body: String,
}

/// Which events; what is left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those with these names; none given: all.
    pub names: Vec<String>,
    /// Only those of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those of this account.
    pub account: Option<AccountId>,
    /// Only those at or after this moment.
    pub since: Option<Timestamp>,
    /// Only those before this moment.
    pub until: Option<Timestamp>,
    /// Only those beyond this id, in the order that is asked for.
    pub beyond: Option<i64>,
    /// Which come first.
    pub order: Order,
    /// How many, 1 to [`EVENTS_PAGE_MAX`].
    pub max: usize,
}

/// Which events come first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The newest.
    #[default]
    Newest,
    /// The oldest.
    Oldest,
}

/// The most events of one page.
pub const EVENTS_PAGE_MAX: usize = 500;

impl EventFilter {
    /// True of an event that is looked for, as far as its name and whose matter it is go.
    #[must_use]
    pub fn wants(&self, event: &EventRow) -> bool {
        let is = |wanted: Option<&str>, found: &Option<String>| {
            wanted.is_none_or(|wanted| found.as_deref() == Some(wanted))
        };
        (self.names.is_empty() || self.names.contains(&event.name))
            && is(self.tenant.as_ref().map(TenantId::as_str), &event.tenant)
            && is(self.account.as_ref().map(AccountId::as_str), &event.account)
    }
}

impl Archive {
    /// One page of events.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn events(&self, filter: EventFilter) -> Result<Vec<EventRow>, StoreError> {
        self.read(move |db| select(db, &filter)).await
    }
}

/// Adds events; returns the id of the first, or of the next if there are none.
pub(super) fn insert(db: &Connection, key: &MarkKey, events: &[NewEvent]) -> rusqlite::Result<i64> {
    let last = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)";
    let first: i64 = db.prepare_cached(last)?.query_row([], |row| row.get::<_, i64>(0))? + 1;
    let mut insert = db.prepare_cached(
        "INSERT INTO events (at, name, tenant, account, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for event in events {
        let tenant = event.tenant.clone().map(SubjectId::Tenant);
        let tenant = tenant.map(|tenant| names::number_of(db, &tenant)).transpose()?;
        let account = event.account.clone().map(SubjectId::Account);
        let account = account.map(|account| names::number_of(db, &account)).transpose()?;
        let values = params![stored(event.at), event.name, tenant, account, event.body];
        let number = insert.insert(values)?;
        insert_marks(db, key, number, &event.marks)?;
    }
    Ok(first)
}

fn select(db: &Connection, filter: &EventFilter) -> rusqlite::Result<Vec<EventRow>> {
    let Some(wanted) = wanted(db, filter)? else { return Ok(Vec::new()) };
    let max = filter.max.clamp(1, EVENTS_PAGE_MAX);
    let numbers = select_numbers(db, &wanted, filter, max)?;
    let sql = format!("SELECT {ROW_COLUMNS} FROM {ROW_TABLES} WHERE events.id = ?1");
    let mut select = db.prepare_cached(&sql)?;
    numbers.iter().map(|number| select.query_row(params![number], row)).collect()
}

/// Everything but the names; none: there is no such event.
fn wanted(db: &Connection, filter: &EventFilter) -> rusqlite::Result<Option<Wanted>> {
    let mut wanted = Wanted::default();
    let tenant = filter.tenant.clone().map(SubjectId::Tenant);
    let account = filter.account.clone().map(SubjectId::Account);
    for (column, subject) in [("tenant", tenant), ("account", account)] {
        let Some(subject) = subject else { continue };
        // Whoever has no number has no events.
        let Some(number) = names::find(db, &subject)? else { return Ok(None) };
        wanted.add(&format!("{column} ="), number);
    }
    // The plus signs keep the database from reading in the order of time and sorting all of it.
    if let Some(since) = filter.since {
        let Some(first) = bound(db, FIRST_ID, since - CLOCK_SET_BACK_MAX)? else { return Ok(None) };
        wanted.add("id >=", first);
        wanted.add("+at >=", stored(since));
    }
    if let Some(until) = filter.until {
        let Some(last) = bound(db, LAST_ID, until + CLOCK_SET_BACK_MAX)? else { return Ok(None) };
        wanted.add("id <=", last);
        wanted.add("+at <", stored(until));
    }
    if let Some(beyond) = filter.beyond {
        let side = if filter.order == Order::Newest { "id <" } else { "id >" };
        wanted.add(side, beyond);
    }
    Ok(Some(wanted))
}

/// Where among the ids a moment lies. Ids follow time but for clocks that were set back and events that were told at the same
/// moment, so it is looked at some events from well beyond it.
fn bound(db: &Connection, sql: &str, at: Timestamp) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached(sql)?.query_row(params![stored(at)], |row| row.get(0))
}

/// The ids of a page: of each name its first ones, and of these the first.
fn select_numbers(
    db: &Connection,
    wanted: &Wanted,
    filter: &EventFilter,
    max: usize,
) -> rusqlite::Result<Vec<i64>> {
    let mut select = db.prepare_cached(&numbers_sql(wanted, filter, max))?;
    let mut numbers: Vec<i64> = Vec::new();
    let names: Vec<Option<&String>> =
        if filter.names.is_empty() { vec![None] } else { filter.names.iter().map(Some).collect() };
    for name in names {
        let mut values: Vec<&dyn ToSql> = wanted.values.iter().map(AsRef::as_ref).collect();
        values.extend(name.iter().map(|name| *name as &dyn ToSql));
        for number in select.query_map(values.as_slice(), |row| row.get(0))? {
            numbers.push(number?);
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    if filter.order == Order::Newest {
        numbers.reverse();
    }
    numbers.truncate(max);
    Ok(numbers)
}

/// Reads ids in their order; the last value is the name, if there are names.
fn numbers_sql(wanted: &Wanted, filter: &EventFilter, max: usize) -> String {
    let name = match filter.names.len() {
        0 => String::new(),
        _ => format!(" AND name = ?{}", wanted.values.len() + 1),
    };
    let direction = if filter.order == Order::Newest { "DESC" } else { "ASC" };
    format!(
        "SELECT id FROM events WHERE {}{name} ORDER BY id {direction} LIMIT {max}",
        wanted.sql()
    )
}

/// Forgets those of before a moment with their marks, a few at a time, but for what is held.
pub(super) fn cut(db: &Connection, before: Timestamp, max: usize) -> rusqlite::Result<usize> {
    let oldest =
        format!("SELECT id FROM events WHERE at < ?1 AND {NOT_HELD} ORDER BY at, id LIMIT {max}");
    let marks_max = max * MARKS_PER_EVENT;
    let marks = cut_marks(db, &oldest, before, marks_max)?;
    if marks == marks_max {
        // The events go when their last marks have gone.
        return Ok(marks);
    }
    let sql = format!("DELETE FROM events WHERE id IN ({oldest})");
    Ok(marks + db.prepare_cached(&sql)?.execute(params![stored(before)])?)
}

pub(super) const ROW_COLUMNS: &str =
    "events.id, at, events.name, tenants.name, accounts.name, body";
pub(super) const ROW_TABLES: &str = "events LEFT JOIN names AS tenants ON tenants.id = \
    events.tenant LEFT JOIN names AS accounts ON accounts.id = events.account";

/// An event from [`ROW_COLUMNS`].
pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: row.get(0)?,
        at: Timestamp::from_millis(row.get(1)?),
        name: row.get(2)?,
        tenant: row.get(3)?,
        account: row.get(4)?,
        body: row.get(5)?,
    })
}

/// Conditions that all hold, with their values.
#[derive(Default)]
pub(super) struct Wanted {
    conditions: Vec<String>,
    pub(super) values: Vec<Box<dyn ToSql>>,
}

impl Wanted {
    pub(super) fn add(&mut self, condition: &str, value: impl ToSql + 'static) {
        self.values.push(Box::new(value));
        self.conditions.push(format!("{condition} ?{}", self.values.len()));
    }

    /// The column has one of these values; none given: any.
    pub(super) fn any_of(&mut self, column: &str, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let mut marks = Vec::new();
        for name in names {
            self.values.push(Box::new(name.clone()));
            marks.push(format!("?{}", self.values.len()));
        }
        self.conditions.push(format!("{column} IN ({})", marks.join(", ")));
    }

    /// One of the columns has the value beside it.
    pub(super) fn any_equal(&mut self, any: &[(&str, i64)]) {
        let mut conditions = Vec::new();
        for (column, value) in any {
            self.values.push(Box::new(*value));
            conditions.push(format!("{column} = ?{}", self.values.len()));
        }
        self.conditions.push(format!("({})", conditions.join(" OR ")));
    }

    pub(super) fn sql(&self) -> String {
        if self.conditions.is_empty() { "true".into() } else { self.conditions.join(" AND ") }
    }
}

/// Marks that one step forgets for each event of it; of most events there are fewer.
const MARKS_PER_EVENT: usize = 4;
/// Events of a clock that was set back further than this may be missed by whoever asks for a stretch of time that ends or begins
/// there.
const CLOCK_SET_BACK_MAX: Duration = Duration::from_secs(3_600);
/// The lowest id among some events from a moment on.
const FIRST_ID: &str =
    "SELECT min(id) FROM (SELECT id FROM events WHERE at >= ?1 ORDER BY at LIMIT 1000)";
/// The highest id among some events before a moment.
const LAST_ID: &str =
    "SELECT max(id) FROM (SELECT id FROM events WHERE at < ?1 ORDER BY at DESC LIMIT 1000)";

pub(super) const CREATE: &str = "
CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, name TEXT NOT NULL,
    tenant INTEGER, account INTEGER, body TEXT NOT NULL);
CREATE INDEX events_at ON events (at);
CREATE INDEX events_name ON events (name, id);
CREATE INDEX events_tenant ON events (tenant, id) WHERE tenant IS NOT NULL;
CREATE INDEX events_account ON events (account, id) WHERE account IS NOT NULL;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_events_is_never_sorted() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(CREATE).unwrap();
        db.execute_batch(names::CREATE).unwrap();
        names::number_of(&db, &SubjectId::Tenant("shop.example".parse().unwrap())).unwrap();
        let rows = "INSERT INTO events (at, name, body) VALUES (1000, 'message', '{}')";
        db.execute_batch(rows).unwrap();
        let moment = |millis| Some(Timestamp::from_millis(millis));
        let tenant = Some("shop.example".parse().unwrap());
        let names = || vec!["message".to_owned(), "refused".to_owned()];
        let all = EventFilter::default;
        for filter in [
            all(),
            EventFilter { names: names(), ..all() },
            EventFilter { since: moment(500), ..all() },
            EventFilter { since: moment(500), until: moment(2_000), names: names(), ..all() },
            EventFilter { tenant, names: names(), since: moment(500), beyond: Some(7), ..all() },
        ] {
            for order in [Order::Newest, Order::Oldest] {
                let filter = EventFilter { order, ..filter.clone() };
                let wanted = wanted(&db, &filter).unwrap().unwrap();
                let sql = format!("EXPLAIN QUERY PLAN {}", numbers_sql(&wanted, &filter, 50));
                let mut values: Vec<&dyn ToSql> = wanted.values.iter().map(AsRef::as_ref).collect();
                values.extend(filter.names.first().map(|name| name as &dyn ToSql));
                let mut explain = db.prepare(&sql).unwrap();
                let plan = explain.query_map(values.as_slice(), |row| row.get::<_, String>(3));
                let plan: Vec<String> = plan.unwrap().map(Result::unwrap).collect();
                assert!(!plan.join("; ").contains("TEMP B-TREE"), "{filter:?}: {plan:?}");
                assert!(!plan.join("; ").contains("events_at"), "{filter:?}: {plan:?}");
            }
        }
    }
}
