//! Offences: what spoke against accounts of a tenant, counted for as long as it counts.
//!
//! They are made from the events of standings and suspensions. A suspension is one offence under its case, however often it is told. An
//! offence that was a mistake is withdrawn by a person, and counts no more.

use super::{
    Archive,
    audit::{NewEntry, chain::Head},
    holds::NOT_HELD,
    names, stored,
    stream::orders::Deed,
};
use crate::{
    store::StoreError,
    types::{AccountId, SubjectId, TenantId, Timestamp},
};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::borrow::Cow;

/// How much an offence weighs.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A warning or a throttling.
    Minor,
    /// A suspension that ends by itself, or by a person.
    Medium,
    /// A suspension by a rule that waits for a person.
    Serious,
}

impl Severity {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minor => "minor",
            Self::Medium => "medium",
            Self::Serious => "serious",
        }
    }

    const fn number(self) -> i64 {
        self as i64
    }

    const fn of(number: i64) -> Self {
        match number {
            0 => Self::Minor,
            1 => Self::Medium,
            _ => Self::Serious,
        }
    }
}

/// An offence that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewOffence {
    /// When, in UTC.
    pub at: Timestamp,
    /// Whose account, or who.
    pub tenant: TenantId,
    /// The account; none: the tenant as a whole.
    pub account: Option<AccountId>,
    /// How much it weighs.
    pub severity: Severity,
    /// What became of it: `suspended`, `throttled`, `warned`.
    pub kind: Cow<'static, str>,
    /// The case of a suspension.
    pub case: Option<String>,
    /// What it rests on.
    pub detail: String,
}

/// An offence that was kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct OffenceRow {
    /// Its number.
    pub number: i64,
    /// When.
    pub at: Timestamp,
    /// The account; none: the tenant as a whole, or an account that was erased.
    pub account: Option<String>,
    /// How much it weighs.
    pub severity: Severity,
    /// What became of it.
    pub kind: String,
    /// The case of a suspension.
    pub case: Option<String>,
    /// What it rests on.
    pub detail: String,
    /// True if a person said that it was a mistake.
    pub withdrawn: bool,
}

/// Names an offence by what is the same at all nodes; its number may be another at each.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OffenceName {
    /// Whose account, or who.
    pub tenant: TenantId,
    /// When, in UTC.
    pub at: Timestamp,
    /// What became of it.
    pub kind: String,
    /// The case of a suspension.
    pub case: Option<String>,
}

impl Archive {
    /// The name of an offence of a tenant that counts; none if it has none with this number.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn offence_name(
        &self,
        tenant: TenantId,
        offence: i64,
    ) -> Result<Option<OffenceName>, StoreError> {
        self.read(move |db| {
            let Some(number) = names::find(db, &SubjectId::Tenant(tenant.clone()))? else {
                return Ok(None);
            };
            let mut select = db.prepare_cached(
                "SELECT at, kind, case_id FROM offences WHERE number = ?1 AND tenant = ?2 AND withdrawn = 0",
            )?;
            let name = select.query_row(params![offence, number], |row| {
                let at = Timestamp::from_millis(row.get(0)?);
                Ok(OffenceName { tenant, at, kind: row.get(1)?, case: row.get(2)? })
            });
            name.optional()
        })
        .await
    }

    /// The offences of a tenant since a moment, the newest first, at most [`OFFENCES_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn offences(
        &self,
        tenant: TenantId,
        since: Timestamp,
    ) -> Result<Vec<OffenceRow>, StoreError> {
        self.read(move |db| {
            let Some(number) = names::find(db, &SubjectId::Tenant(tenant))? else {
                return Ok(Vec::new());
            };
            let mut select = db.prepare_cached(
                "SELECT number, at, names.name, severity, offences.kind, case_id, detail, withdrawn FROM offences \
                 LEFT JOIN names ON names.id = offences.account \
                 WHERE tenant = ?1 AND at >= ?2 ORDER BY number DESC LIMIT ?3",
            )?;
            let rows = select.query_map(params![number, stored(since), OFFENCES_MAX], |row| {
                Ok(OffenceRow {
                    number: row.get(0)?,
                    at: Timestamp::from_millis(row.get(1)?),
                    account: row.get(2)?,
                    severity: Severity::of(row.get(3)?),
                    kind: row.get(4)?,
                    case: row.get(5)?,
                    detail: row.get(6)?,
                    withdrawn: row.get(7)?,
                })
            })?;
            rows.collect()
        })
        .await
    }

    /// The tenants that have had an offence since a moment.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn offenders(&self, since: Timestamp) -> Result<Vec<TenantId>, StoreError> {
        self.read_own(move |db| {
            let mut select = db.prepare_cached(
                "SELECT DISTINCT names.name FROM offences JOIN names ON names.id = offences.tenant \
                 WHERE at >= ?1 AND severity > 0 LIMIT ?2",
            )?;
            let rows = select.query_map(params![stored(since), OFFENDERS_MAX], |row| row.get(0))?;
            let names: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
            // A name in the archive was a valid one when it was stored.
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
        .await
    }

    /// Notes that an offence was a mistake, with its entry in the audit, at all nodes where the archive is shared; none if the tenant has no such
    /// offence that counts.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written, or does not come to know what became of it.
    pub async fn withdraw_offence(
        &self,
        offence: OffenceName,
        entry: NewEntry,
    ) -> Result<Option<Option<Head>>, StoreError> {
        Ok(self.order(Deed::Withdraw(offence), entry).await?.done())
    }
}

/// Notes that an offence was a mistake, of several alike the first; false if there is none that counts.
pub(super) fn withdraw(db: &Connection, offence: &OffenceName) -> rusqlite::Result<bool> {
    let Some(tenant) = names::find(db, &SubjectId::Tenant(offence.tenant.clone()))? else {
        return Ok(false);
    };
    let sql = "UPDATE offences SET withdrawn = 1 WHERE number = (SELECT min(number) FROM offences \
               WHERE tenant = ?1 AND at = ?2 AND kind = ?3 AND case_id IS ?4 AND withdrawn = 0)";
    let place = params![tenant, stored(offence.at), offence.kind, offence.case];
    Ok(db.execute(sql, place)? > 0)
}

/// Keeps offences; one with a case that is known already is the same.
pub(super) fn add(db: &Connection, offences: &[NewOffence]) -> rusqlite::Result<()> {
    for offence in offences {
        let tenant = names::number_of(db, &SubjectId::Tenant(offence.tenant.clone()))?;
        let account = offence.account.clone().map(SubjectId::Account);
        let account = account.map(|account| names::number_of(db, &account)).transpose()?;
        db.prepare_cached(
            "INSERT OR IGNORE INTO offences (at, tenant, account, severity, kind, case_id, detail, withdrawn) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
        )?
        .execute(params![
            stored(offence.at),
            tenant,
            account,
            offence.severity.number(),
            offence.kind,
            offence.case,
            offence.detail
        ])?;
    }
    Ok(())
}

/// Forgets those of before a moment, a few at a time, but for what is held.
pub(super) fn cut(db: &Connection, before: Timestamp, max: usize) -> rusqlite::Result<usize> {
    let sql = format!(
        "DELETE FROM offences WHERE number IN (SELECT number FROM offences WHERE at < ?1 AND {NOT_HELD} ORDER BY at LIMIT {max})"
    );
    db.prepare_cached(&sql)?.execute(params![stored(before)])
}

/// Tenants that are looked at in one round.
const OFFENDERS_MAX: i64 = 10_000;
/// Offences of one answer.
pub const OFFENCES_MAX: i64 = 500;

pub(super) const CREATE: &str = "
CREATE TABLE offences (number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, tenant INTEGER NOT NULL, account INTEGER,
    severity INTEGER NOT NULL, kind TEXT NOT NULL, case_id TEXT UNIQUE, detail TEXT NOT NULL, withdrawn INTEGER NOT NULL);
CREATE INDEX offences_tenant ON offences (tenant, number);
CREATE INDEX offences_at ON offences (at);
";
