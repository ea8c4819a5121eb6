//! Complaints about mail: from whom they came, what they are about, and whose mail it was, as far as that is known.

use super::{
    Archive, Lasting,
    audit::{NewEntry, append, chain::Head},
    events::Wanted,
    holds::NOT_HELD,
    names, stored,
};
use crate::{
    store::StoreError,
    types::{AccountId, SubjectId, TenantId, Timestamp},
};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

/// A complaint that is to be kept.
#[derive(Debug, Clone)]
pub struct NewComplaint {
    /// When it came, in UTC.
    pub at: Timestamp,
    /// Whose mail it is about, if that is known.
    pub account: Option<AccountId>,
    /// That account's tenant.
    pub tenant: Option<TenantId>,
    /// A digest of the report, so that one that comes again is known; none: it is always a new one.
    pub digest: Option<[u8; 32]>,
    /// The rest, as JSON.
    pub body: String,
    /// What the audit says of it; the complaint's number becomes its subject.
    pub entry: NewEntry,
}

/// A complaint that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplaintRow {
    /// Its number: later ones have higher ones.
    pub number: i64,
    /// When it came, in UTC.
    pub at: Timestamp,
    /// Whose mail it is about.
    pub account: Option<String>,
    /// That account's tenant.
    pub tenant: Option<String>,
    /// The rest, as JSON.
    pub body: String,
}

/// What became of a complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// It is kept, with its entry in the audit.
    New(i64, Option<Head>),
    /// It was here already.
    Already(ComplaintRow),
}

/// Which complaints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ComplaintFilter {
    /// Only about this account.
    pub account: Option<AccountId>,
    /// Only about this tenant's accounts.
    pub tenant: Option<TenantId>,
    /// Only those about nobody who is known.
    pub unattributed: bool,
    /// Only those at or after this moment.
    pub since: Option<Timestamp>,
    /// Only those with a lower number.
    pub before: Option<i64>,
    /// How many, 1 to [`COMPLAINTS_PAGE_MAX`].
    pub max: usize,
}

/// The most complaints of one page.
pub const COMPLAINTS_PAGE_MAX: usize = 200;

impl Archive {
    /// Keeps a complaint, with its entry in the audit, unless it is here already.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written; it is not kept then.
    pub async fn add_complaint(&self, complaint: NewComplaint) -> Result<Added, StoreError> {
        self.write_and_tell(Lasting::Power, move |db| add(db, &complaint)).await
    }

    /// One page of complaints, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn complaints(
        &self,
        filter: ComplaintFilter,
    ) -> Result<Vec<ComplaintRow>, StoreError> {
        self.read(move |db| select(db, &filter)).await
    }
}

fn add(db: &Connection, complaint: &NewComplaint) -> rusqlite::Result<Added> {
    if let Some(digest) = &complaint.digest {
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE digest = ?1");
        if let Some(known) = db.prepare_cached(&sql)?.query_row(params![digest], row).optional()? {
            return Ok(Added::Already(known));
        }
    }
    let number_of = |subject: Option<SubjectId>| {
        subject.map(|subject| names::number_of(db, &subject)).transpose()
    };
    let account = number_of(complaint.account.clone().map(SubjectId::Account))?;
    let tenant = number_of(complaint.tenant.clone().map(SubjectId::Tenant))?;
    let mut insert = db.prepare_cached(
        "INSERT INTO complaints (at, account, tenant, digest, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let values = params![stored(complaint.at), account, tenant, complaint.digest, complaint.body];
    let number = insert.insert(values)?;
    let subject = Some(format!("complaint {number}"));
    let head = append(db, &NewEntry { subject, ..complaint.entry.clone() })?;
    Ok(Added::New(number, head))
}

fn select(db: &Connection, filter: &ComplaintFilter) -> rusqlite::Result<Vec<ComplaintRow>> {
    let mut wanted = Wanted::default();
    let account = filter.account.clone().map(SubjectId::Account);
    let tenant = filter.tenant.clone().map(SubjectId::Tenant);
    for (column, subject) in [("account", account), ("tenant", tenant)] {
        let Some(subject) = subject else { continue };
        // Whoever has no number has no complaints.
        let Some(number) = names::find(db, &subject)? else { return Ok(Vec::new()) };
        wanted.add(&format!("complaints.{column} ="), number);
    }
    if filter.unattributed {
        wanted.add("complaints.account IS", None::<i64>);
    }
    if let Some(since) = filter.since {
        wanted.add("at >=", stored(since));
    }
    if let Some(before) = filter.before {
        wanted.add("complaints.number <", before);
    }
    let max = filter.max.clamp(1, COMPLAINTS_PAGE_MAX);
    let sql = format!(
        "SELECT {COLUMNS} FROM {TABLES} WHERE {} ORDER BY complaints.number DESC LIMIT {max}",
        wanted.sql()
    );
    let mut select = db.prepare_cached(&sql)?;
    let values: Vec<&dyn ToSql> = wanted.values.iter().map(AsRef::as_ref).collect();
    select.query_map(values.as_slice(), row)?.collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<ComplaintRow> {
    Ok(ComplaintRow {
        number: row.get(0)?,
        at: Timestamp::from_millis(row.get(1)?),
        account: row.get(2)?,
        tenant: row.get(3)?,
        body: row.get(4)?,
    })
}

/// Forgets those of before a moment, a few at a time, but for what is held.
pub(super) fn cut(db: &Connection, before: Timestamp, max: usize) -> rusqlite::Result<usize> {
    let sql = format!(
        "DELETE FROM complaints WHERE number IN (SELECT number FROM complaints WHERE at < ?1 AND {NOT_HELD} LIMIT {max})"
    );
    db.prepare_cached(&sql)?.execute(params![stored(before)])
}

const COLUMNS: &str = "complaints.number, at, accounts.name, tenants.name, body";
const TABLES: &str = "complaints LEFT JOIN names AS accounts ON accounts.id = complaints.account \
    LEFT JOIN names AS tenants ON tenants.id = complaints.tenant";

pub(super) const CREATE: &str = "
CREATE TABLE complaints (number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, account INTEGER, tenant INTEGER,
    digest BLOB UNIQUE, body TEXT NOT NULL);
CREATE INDEX complaints_account ON complaints (account, number);
CREATE INDEX complaints_tenant ON complaints (tenant, number);
CREATE INDEX complaints_at ON complaints (at);
";
