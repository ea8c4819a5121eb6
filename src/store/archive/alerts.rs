//! Alerts, the messages about them, and who is still owed one.
//!
//! The collector writes alerts and messages in the transaction of the events that caused them. Then each message is *routed*:
//! one delivery for each receiver, in one transaction; and each delivery stands until it was made, so that every receiver
//! hears of every alert at least once, across a crash at any instruction. A message goes with its last delivery.

use super::{Archive, Lasting, holds::NOT_HELD, names, stored, stream};
use crate::{
    rules::alarm::{Alert, Changes, Notice, Phase, VOLUME_ACCOUNTS_MAX, VolumeRow},
    store::StoreError,
    types::{AccountId, SubjectId, TenantId, Timestamp},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params, types::Type};

/// An alert that was kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AlertRow {
    /// Its number: later alerts have higher ones.
    pub number: i64,
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
}

/// Which alerts; what is left out does not matter. The newest come first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Only those that last.
    pub open: bool,
    /// Only those of this tenant.
    pub tenant: Option<TenantId>,
    /// Only those before this number.
    pub beyond: Option<i64>,
    /// How many, 1 to [`ALERTS_PAGE_MAX`].
    pub max: u32,
}

/// The most alerts of one page.
pub const ALERTS_PAGE_MAX: u32 = 500;

/// A message that nobody was chosen for yet.
#[derive(Debug, Clone)]
pub struct Unrouted {
    /// Its number.
    pub number: i64,
    /// The message.
    pub notice: Notice,
}

/// What is to be done about messages.
#[derive(Debug, Clone, Default)]
pub struct Pending {
    /// Messages that nobody was chosen for yet.
    pub unrouted: Vec<Unrouted>,
    /// Receivers to whom something is due.
    pub due: Vec<String>,
}

/// Who gets a message.
#[derive(Debug, Clone)]
pub struct Route {
    /// The message's number.
    pub number: i64,
    /// The alert's id.
    pub alert: String,
    /// The tenant whose matter it is, where that was found out.
    pub tenant: Option<TenantId>,
    /// The receivers by name, each with the earliest moment.
    pub sinks: Vec<(String, Timestamp)>,
}

/// A delivery that is due.
#[derive(Debug, Clone)]
pub struct Owed {
    /// The message's number.
    pub number: i64,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// The message, with the tenant as it was found out.
    pub notice: Notice,
}

/// How a delivery went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was made, or is given up.
    Done,
    /// It failed; the next try is not before this moment.
    Later(Timestamp),
}

impl Archive {
    /// Alerts that last, or are held until they have lasted long enough.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn open_alerts(&self) -> Result<Vec<Alert>, StoreError> {
        self.read_own(|db| {
            let mut select = db.prepare_cached(&format!(
                "{SELECT} WHERE phase <> {RESOLVED} ORDER BY alerts.number"
            ))?;
            select.query_map([], |row| Ok(alert_row(row)?.alert))?.collect()
        })
        .await
    }

    /// The busiest hour of each account and day from `since` on; of the busiest, if there are more than the alarm remembers.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn busiest_hours(&self, since: Timestamp) -> Result<Vec<VolumeRow>, StoreError> {
        self.read_own(move |db| {
            let mut select = db.prepare_cached(
                "SELECT names.name, d.peak_at, d.peak FROM usage_days AS d JOIN names ON names.id = d.account \
                 WHERE d.slot >= ?1 AND d.account <> 0 ORDER BY d.peak DESC LIMIT ?2",
            )?;
            let max = i64::try_from(VOLUME_ACCOUNTS_MAX).unwrap_or(i64::MAX);
            let mut rows = select.query([stored(since).div_euclid(DAY_MILLIS), max])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let (name, hour): (String, i64) = (row.get(0)?, row.get(1)?);
                let recipients = u32::try_from(row.get::<_, i64>(2)?).unwrap_or(u32::MAX);
                let hour = Timestamp::from_millis(hour.saturating_mul(HOUR_MILLIS));
                // A name in the archive was a valid one when it was stored.
                found.extend(name.parse().ok().map(|account| VolumeRow { account, hour, recipients }));
            }
            Ok(found)
        })
        .await
    }

    /// One page of alerts; those that nobody was told of are left out.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn alerts(&self, filter: AlertFilter) -> Result<Vec<AlertRow>, StoreError> {
        self.read(move |db| select(db, &filter)).await
    }

    /// Messages that nobody was chosen for yet, oldest first, and the receivers to whom something is due.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn pending_alerts(&self, now: Timestamp) -> Result<Pending, StoreError> {
        self.read_own(move |db| {
            let mut unrouted = db.prepare_cached(
                "SELECT number, body FROM alert_notices WHERE routed = 0 ORDER BY number LIMIT ?1",
            )?;
            let unrouted = unrouted.query_map([UNROUTED_MAX], |row| {
                Ok(Unrouted { number: row.get(0)?, notice: from_json(row, 1)? })
            })?;
            let unrouted = unrouted.collect::<rusqlite::Result<_>>()?;
            let mut due =
                db.prepare_cached("SELECT DISTINCT sink FROM alert_deliveries WHERE at <= ?1")?;
            let due = due.query_map([stored(now)], |row| row.get(0))?;
            Ok(Pending { unrouted, due: due.collect::<rusqlite::Result<_>>()? })
        })
        .await
    }

    /// Notes who gets these messages, all in one transaction. What is held back of earlier messages about the same alert for a
    /// receiver is due no later than the new one, so that they arrive in their order.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written; nothing was noted then.
    pub async fn route(&self, routes: Vec<Route>) -> Result<(), StoreError> {
        self.write_and_tell(Lasting::Process, move |db| {
            routes.iter().try_for_each(|one| route(db, one))
        })
        .await
    }

    /// Up to `max` deliveries to a receiver that are due, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn owed(
        &self,
        sink: String,
        now: Timestamp,
        max: u32,
    ) -> Result<Vec<Owed>, StoreError> {
        self.read_own(move |db| {
            let mut select = db.prepare_cached(
                "SELECT n.number, d.attempts, n.body, tenants.name FROM alert_deliveries AS d \
                 JOIN alert_notices AS n ON n.number = d.notice \
                 LEFT JOIN alerts ON alerts.id = n.alert \
                 LEFT JOIN names AS tenants ON tenants.id = alerts.tenant \
                 WHERE d.sink = ?1 AND d.at <= ?2 ORDER BY d.notice LIMIT ?3",
            )?;
            let rows = select.query_map(params![sink, stored(now), max], |row| {
                let mut notice: Notice = from_json(row, 2)?;
                notice.alert.tenant = tenant_of(row, 3)?.or(notice.alert.tenant);
                Ok(Owed { number: row.get(0)?, attempts: row.get(1)?, notice })
            })?;
            rows.collect()
        })
        .await
    }

    /// Notes how deliveries to a receiver went on.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written; they are made again then.
    pub async fn settle_deliveries(
        &self,
        sink: String,
        endings: Vec<(i64, Ending)>,
    ) -> Result<(), StoreError> {
        self.write_and_tell(Lasting::Process, move |db| {
            endings.iter().try_for_each(|&(notice, ending)| settle(db, &sink, notice, ending))
        })
        .await
    }

    /// Gives up what is owed to receivers that are not among these, and what is beyond `max` for each; says how much that was.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn trim_deliveries(&self, sinks: Vec<String>, max: usize) -> Result<u64, StoreError> {
        self.write_and_tell(Lasting::Process, move |db| trim(db, &sinks, max)).await
    }
}

/// Keeps what changed.
pub(super) fn keep(db: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    for id in &changes.dropped {
        db.prepare_cached("DELETE FROM alerts WHERE id = ?1")?.execute([id])?;
    }
    for alert in &changes.alerts {
        put(db, alert)?;
    }
    for notice in &changes.notices {
        let mut insert = db.prepare_cached(
            "INSERT INTO alert_notices (id, alert, body, routed) VALUES (?1, ?2, ?3, 0) ON CONFLICT (id) DO NOTHING",
        )?;
        insert.execute(params![notice.id, notice.alert.id, to_json(notice)?])?;
    }
    Ok(())
}

fn put(db: &Connection, alert: &Alert) -> rusqlite::Result<()> {
    let account = alert.facts.account.clone().or_else(|| account_of(alert));
    let account = account.map(SubjectId::Account);
    let account = account.map(|account| names::number_of(db, &account)).transpose()?;
    let mut upsert = db.prepare_cached(
        "INSERT INTO alerts (id, phase, told, over, account, tenant, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (id) DO UPDATE SET phase = excluded.phase, told = excluded.told, over = excluded.over, \
         body = excluded.body, tenant = coalesce(tenant, excluded.tenant)",
    )?;
    let tenant = tenant_number(db, alert.tenant.as_ref())?;
    let (phase, over) = (phase_number(alert.phase), alert.over.map(stored));
    let body = to_json(alert)?;
    upsert.execute(params![alert.id, phase, alert.told, over, account, tenant, body])?;
    Ok(())
}

fn account_of(alert: &Alert) -> Option<AccountId> {
    (alert.about.scope == "account").then(|| alert.about.name.parse().ok()).flatten()
}

fn tenant_number(db: &Connection, tenant: Option<&TenantId>) -> rusqlite::Result<Option<i64>> {
    let tenant = tenant.cloned().map(SubjectId::Tenant);
    tenant.map(|tenant| names::number_of(db, &tenant)).transpose()
}

fn route(db: &Connection, route: &Route) -> rusqlite::Result<()> {
    let known: Option<i64> = db
        .prepare_cached(
            "UPDATE alert_notices SET routed = 1 WHERE number = ?1 AND routed = 0 RETURNING number",
        )?
        .query_row([route.number], |row| row.get(0))
        .optional()?;
    if known.is_none() {
        return Ok(());
    }
    if let Some(tenant) = tenant_number(db, route.tenant.as_ref())? {
        db.prepare_cached("UPDATE alerts SET tenant = coalesce(tenant, ?2) WHERE id = ?1")?
            .execute(params![route.alert, tenant])?;
    }
    for (sink, at) in &route.sinks {
        pull_forward(db, route, sink, *at)?;
        db.prepare_cached(
            "INSERT INTO alert_deliveries (notice, sink, attempts, at) VALUES (?1, ?2, 0, ?3)",
        )?
        .execute(params![route.number, sink, stored(*at)])?;
    }
    forget_if_done(db, route.number)
}

/// What was tried already, and refused, keeps its own time.
fn pull_forward(db: &Connection, route: &Route, sink: &str, at: Timestamp) -> rusqlite::Result<()> {
    let mut update = db.prepare_cached(
        "UPDATE alert_deliveries SET at = ?3 WHERE sink = ?2 AND at > ?3 AND attempts = 0 \
         AND notice IN (SELECT number FROM alert_notices WHERE alert = ?1)",
    )?;
    update.execute(params![route.alert, sink, stored(at)]).map(drop)
}

fn settle(db: &Connection, sink: &str, notice: i64, ending: Ending) -> rusqlite::Result<()> {
    match ending {
        Ending::Later(at) => {
            db.prepare_cached(
                "UPDATE alert_deliveries SET attempts = attempts + 1, at = ?3 WHERE notice = ?1 AND sink = ?2",
            )?
            .execute(params![notice, sink, stored(at)])?;
            Ok(())
        }
        Ending::Done => {
            db.prepare_cached("DELETE FROM alert_deliveries WHERE notice = ?1 AND sink = ?2")?
                .execute(params![notice, sink])?;
            forget_if_done(db, notice)
        }
    }
}

/// Where other nodes have the message too, they hear that it was delivered.
fn forget_if_done(db: &Connection, notice: i64) -> rusqlite::Result<()> {
    let mut delete = db.prepare_cached(
        "DELETE FROM alert_notices WHERE number = ?1 AND routed = 1 \
         AND NOT EXISTS (SELECT 1 FROM alert_deliveries WHERE notice = ?1) RETURNING id, body",
    )?;
    let gone = delete.query_row([notice], |row| Ok((row.get::<_, String>(0)?, from_json(row, 1)?)));
    if let Some((id, Notice { at, .. })) = gone.optional()?
        && stream::is_shared(db)?
    {
        let content = stream::Content { delivered: vec![id], ..stream::Content::default() };
        stream::post(db, &content, at)?;
    }
    Ok(())
}

/// Forgets messages that another node delivered.
pub(super) fn forget_delivered(db: &Connection, ids: &[String]) -> rusqlite::Result<()> {
    for id in ids {
        let mut find =
            db.prepare_cached("DELETE FROM alert_notices WHERE id = ?1 RETURNING number")?;
        let number: Option<i64> = find.query_row([id], |row| row.get(0)).optional()?;
        if let Some(number) = number {
            db.prepare_cached("DELETE FROM alert_deliveries WHERE notice = ?1")?
                .execute([number])?;
        }
    }
    Ok(())
}

fn trim(db: &Connection, sinks: &[String], max: usize) -> rusqlite::Result<u64> {
    let owed = "SELECT sink, count(*) FROM alert_deliveries GROUP BY sink";
    let owed: Vec<(String, i64)> = db
        .prepare_cached(owed)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut given_up = 0;
    for (sink, count) in owed {
        let kept = if sinks.contains(&sink) { i64::try_from(max).unwrap_or(i64::MAX) } else { 0 };
        if count <= kept {
            continue;
        }
        let oldest: Vec<i64> = db
            .prepare_cached(
                "SELECT notice FROM alert_deliveries WHERE sink = ?1 ORDER BY notice LIMIT ?2",
            )?
            .query_map(params![sink, count - kept], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        given_up += oldest.len() as u64;
        oldest.into_iter().try_for_each(|notice| settle(db, &sink, notice, Ending::Done))?;
    }
    Ok(given_up)
}

/// Forgets alerts that were over before a moment, a few at a time, but for what is held.
pub(super) fn cut(db: &Connection, before: Timestamp, max: usize) -> rusqlite::Result<usize> {
    let sql = format!(
        "DELETE FROM alerts WHERE number IN \
         (SELECT number FROM alerts WHERE over < ?1 AND {NOT_HELD} ORDER BY over LIMIT {max})"
    );
    db.prepare_cached(&sql)?.execute(params![stored(before)])
}

fn select(db: &Connection, filter: &AlertFilter) -> rusqlite::Result<Vec<AlertRow>> {
    let tenant = match &filter.tenant {
        // Whoever has no number has no alerts.
        Some(tenant) => match names::find(db, &SubjectId::Tenant(tenant.clone()))? {
            Some(number) => Some(number),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let open = if filter.open { format!("phase <> {RESOLVED} AND") } else { String::new() };
    let sql = format!(
        "{SELECT} WHERE {open} told > 0 AND (?1 IS NULL OR alerts.tenant = ?1) AND alerts.number < ?2 \
         ORDER BY alerts.number DESC LIMIT ?3"
    );
    let max = filter.max.clamp(1, ALERTS_PAGE_MAX);
    let mut select = db.prepare_cached(&sql)?;
    let beyond = filter.beyond.unwrap_or(i64::MAX);
    select.query_map(params![tenant, beyond, max], alert_row)?.collect()
}

fn alert_row(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    let mut alert: Alert = from_json(row, 1)?;
    alert.tenant = tenant_of(row, 2)?.or(alert.tenant);
    Ok(AlertRow { number: row.get(0)?, alert })
}

fn tenant_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<TenantId>> {
    let name: Option<String> = row.get(column)?;
    Ok(name.and_then(|name| name.parse().ok()))
}

fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

const fn phase_number(phase: Phase) -> i64 {
    match phase {
        Phase::Held => 0,
        Phase::Firing => 1,
        Phase::Resolved => RESOLVED,
    }
}

const RESOLVED: i64 = 2;
const HOUR_MILLIS: i64 = 3_600_000;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;
/// Messages that are routed at a time.
const UNROUTED_MAX: i64 = 200;

const SELECT: &str = "SELECT alerts.number, alerts.body, tenants.name FROM alerts \
    LEFT JOIN names AS tenants ON tenants.id = alerts.tenant";

pub(super) const CREATE: &str = "
CREATE TABLE alerts (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, phase INTEGER NOT NULL,
    told INTEGER NOT NULL, over INTEGER, account INTEGER, tenant INTEGER, body TEXT NOT NULL);
CREATE INDEX alerts_open ON alerts (number) WHERE phase <> 2;
CREATE INDEX alerts_over ON alerts (over) WHERE over IS NOT NULL;
CREATE INDEX alerts_tenant ON alerts (tenant, number) WHERE tenant IS NOT NULL;
CREATE INDEX alerts_account ON alerts (account, number) WHERE account IS NOT NULL;
CREATE TABLE alert_notices (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, alert TEXT NOT NULL,
    body TEXT NOT NULL, routed INTEGER NOT NULL);
CREATE INDEX alert_notices_unrouted ON alert_notices (number) WHERE routed = 0;
CREATE INDEX alert_notices_alert ON alert_notices (alert);
CREATE TABLE alert_deliveries (notice INTEGER NOT NULL, sink TEXT NOT NULL, attempts INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (sink, notice)) WITHOUT ROWID;
CREATE INDEX alert_deliveries_notice ON alert_deliveries (notice);
";
