//! Legal holds: accounts and tenants of which nothing is erased until somebody lifts the hold.

use super::{
    Archive, Lasting,
    audit::{NewEntry, append, chain::Head},
    names, stored,
};
use crate::{
    store::StoreError,
    types::{SubjectId, Timestamp},
};
use rusqlite::{OptionalExtension as _, params};

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRow {
    /// Of whom nothing is erased; of a tenant neither are its accounts.
    pub subject: SubjectId,
    /// Since when, in UTC.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Who placed it.
    pub actor: String,
}

impl Archive {
    /// Places a hold, or changes its reason, with its entry in the audit.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn hold(&self, hold: HoldRow, entry: NewEntry) -> Result<Option<Head>, StoreError> {
        self.write(Lasting::Power, move |db| {
            let number = names::number_of(db, &hold.subject)?;
            db.execute(
                "INSERT OR REPLACE INTO holds (subject, at, reason, actor) VALUES (?1, ?2, ?3, ?4)",
                params![number, stored(hold.at), hold.reason, hold.actor],
            )?;
            append(db, &entry)
        })
        .await
    }

    /// Lifts a hold, with its entry in the audit; none if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn release(
        &self,
        subject: SubjectId,
        entry: NewEntry,
    ) -> Result<Option<Option<Head>>, StoreError> {
        self.end_of("holds", subject, entry).await
    }

    /// Takes the row of a subject out of a table, with its entry in the audit; none if there is none.
    pub(super) async fn end_of(
        &self,
        table: &'static str,
        subject: SubjectId,
        entry: NewEntry,
    ) -> Result<Option<Option<Head>>, StoreError> {
        self.write(Lasting::Power, move |db| {
            let Some(number) = names::find(db, &subject)? else { return Ok(None) };
            match db.execute(&format!("DELETE FROM {table} WHERE subject = ?1"), [number])? {
                0 => Ok(None),
                _ => append(db, &entry).map(Some),
            }
        })
        .await
    }

    /// All holds.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn holds(&self) -> Result<Vec<HoldRow>, StoreError> {
        self.read(|db| {
            let mut select = db.prepare_cached(
                "SELECT kind, name, at, reason, actor FROM holds JOIN names ON names.id = holds.subject ORDER BY at LIMIT ?1",
            )?;
            let mut rows = select.query([HOLDS_MAX])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(1)?;
                // A name in the archive was a valid one when it was stored.
                let Some(subject) = names::subject_of(row.get(0)?, &name) else { continue };
                let at = Timestamp::from_millis(row.get(2)?);
                found.push(HoldRow { subject, at, reason: row.get(3)?, actor: row.get(4)? });
            }
            Ok(found)
        })
        .await
    }

    /// The hold on any of these.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn hold_on(&self, subjects: Vec<SubjectId>) -> Result<Option<HoldRow>, StoreError> {
        self.read(move |db| {
            for subject in subjects {
                let Some(number) = names::find(db, &subject)? else { continue };
                let found = db
                    .prepare_cached("SELECT at, reason, actor FROM holds WHERE subject = ?1")?
                    .query_row([number], |row| {
                        let at = Timestamp::from_millis(row.get(0)?);
                        Ok((at, row.get(1)?, row.get(2)?))
                    })
                    .optional()?;
                if let Some((at, reason, actor)) = found {
                    return Ok(Some(HoldRow { subject, at, reason, actor }));
                }
            }
            Ok(None)
        })
        .await
    }
}

/// Holds that are listed.
const HOLDS_MAX: i64 = 10_000;

/// Of a row with a tenant and an account: neither is held, so that it may grow old.
pub(super) const NOT_HELD: &str = "(tenant IS NULL OR tenant NOT IN (SELECT subject FROM holds)) \
    AND (account IS NULL OR account NOT IN (SELECT subject FROM holds))";

pub(super) const CREATE: &str = "
CREATE TABLE holds (subject INTEGER PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL);
";
