//! Accounts and tenants that leave: suspended now, and what is stored of them is erased when their time has come.

use super::{
    Archive,
    audit::{NewEntry, chain::Head},
    kept, names, stored,
    stream::orders::Deed,
};
use crate::{
    store::StoreError,
    types::{SubjectId, Timestamp},
};
use rusqlite::{Connection, Row, params};

/// Somebody who leaves.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Closing {
    /// Who.
    pub subject: SubjectId,
    /// Since when, in UTC.
    pub at: Timestamp,
    /// When what is stored is erased, in UTC.
    pub due: Timestamp,
    /// Why.
    pub reason: String,
}

impl Archive {
    /// Notes that somebody leaves, with its entry in the audit; at all nodes where the archive is shared.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written, or does not come to know that it was done.
    pub async fn close_subject(
        &self,
        closing: Closing,
        entry: NewEntry,
    ) -> Result<Option<Head>, StoreError> {
        Ok(self.order(Deed::Close(closing), entry).await?.done().flatten())
    }

    /// Notes that somebody stays after all, or has left, with its entry in the audit, at all nodes where the archive is shared; none if
    /// nobody knew of a leaving.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written, or does not come to know what became of it.
    pub async fn end_closing(
        &self,
        subject: SubjectId,
        entry: NewEntry,
    ) -> Result<Option<Option<Head>>, StoreError> {
        Ok(self.order(Deed::EndClosing(subject), entry).await?.done())
    }

    /// Those whose time has come, the longest first.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn closings_due(&self, now: Timestamp) -> Result<Vec<Closing>, StoreError> {
        self.read_own(move |db| select(db, &soonest(CLOSINGS_MAX), stored(now))).await
    }

    /// All who leave, the soonest first.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn closings(&self) -> Result<Vec<Closing>, StoreError> {
        self.read(|db| select(db, &soonest(CLOSINGS_MAX), i64::MAX)).await
    }

    /// When any of these leaves, the soonest.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn closing_of(
        &self,
        subjects: Vec<SubjectId>,
    ) -> Result<Option<Closing>, StoreError> {
        self.read(move |db| {
            let mut soonest: Option<Closing> = None;
            for subject in &subjects {
                let Some(number) = names::find(db, subject)? else { continue };
                let found = select(db, "closings.subject = ?1", number)?.into_iter().next();
                soonest = soonest.into_iter().chain(found).min_by_key(|closing| closing.due);
            }
            Ok(soonest)
        })
        .await
    }
}

/// Notes that somebody leaves.
pub(super) fn place(db: &Connection, closing: &Closing) -> rusqlite::Result<()> {
    put(db, closing)?;
    kept::touch(db, kept::CLOSINGS, &closing.subject)
}

pub(super) fn put(db: &Connection, closing: &Closing) -> rusqlite::Result<()> {
    let number = names::number_of(db, &closing.subject)?;
    let sql = "INSERT OR REPLACE INTO closings (subject, at, due, reason) VALUES (?1, ?2, ?3, ?4)";
    db.execute(sql, params![number, stored(closing.at), stored(closing.due), closing.reason])
        .map(drop)
}

/// All who leave, however many.
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Closing>> {
    select(db, &soonest(i64::MAX), i64::MAX)
}

fn soonest(max: i64) -> String {
    format!("due <= ?1 ORDER BY due LIMIT {max}")
}

fn select(db: &Connection, wanted: &str, value: i64) -> rusqlite::Result<Vec<Closing>> {
    let mut select = db.prepare_cached(&format!(
        "SELECT kind, name, at, due, reason FROM closings JOIN names ON names.id = closings.subject \
         WHERE {wanted}"
    ))?;
    let found = select.query_map([value], closing)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().collect())
}

fn closing(row: &Row<'_>) -> rusqlite::Result<Option<Closing>> {
    let name: String = row.get(1)?;
    // A name in the archive was a valid one when it was stored.
    let Some(subject) = names::subject_of(row.get(0)?, &name) else { return Ok(None) };
    let (at, due) = (Timestamp::from_millis(row.get(2)?), Timestamp::from_millis(row.get(3)?));
    Ok(Some(Closing { subject, at, due, reason: row.get(4)? }))
}

/// Those who leave, of one answer.
const CLOSINGS_MAX: i64 = 1_000;

pub(super) const CREATE: &str = "
CREATE TABLE closings (subject INTEGER PRIMARY KEY, at INTEGER NOT NULL, due INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE INDEX closings_due ON closings (due);
";
