//! What is remembered of senders' behaviour, as `store::behaviour` writes it down. It is read back account by account.

use super::{Archive, Lasting, stored};
use crate::{
    store::{
        StoreError,
        behaviour::{CLIENT, TENANT, Written},
    },
    types::Timestamp,
};
use rusqlite::{Connection, OptionalExtension as _, params};

pub(super) const CREATE: &str = "
CREATE TABLE memory (name TEXT PRIMARY KEY, at INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX memory_by_age ON memory (at);
";

const PUT: &str = "INSERT OR REPLACE INTO memory (name, at, value) VALUES (?1, ?2, ?3)";
const CUT: &str = "DELETE FROM memory WHERE name = ?1";
const FIND: &str = "SELECT value FROM memory WHERE name = ?1";
const RANGE: &str = "SELECT name, value FROM memory WHERE name >= ?1 AND name < ?2";
const CUT_OLD: &str =
    "DELETE FROM memory WHERE name IN (SELECT name FROM memory WHERE at < ?1 ORDER BY at LIMIT ?2)";

impl Archive {
    /// Writes down what is remembered.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written; nothing of it was.
    pub async fn keep_memory(&self, rows: Vec<Written>) -> Result<(), StoreError> {
        self.write(Lasting::Process, move |db| {
            for (name, at, value) in &rows {
                match value {
                    Some(value) => {
                        db.prepare_cached(PUT)?.execute(params![name, stored(*at), value])?
                    }
                    None => db.prepare_cached(CUT)?.execute(params![name])?,
                };
            }
            Ok(())
        })
        .await
    }

    /// What is remembered under a name.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub async fn memory(&self, name: String) -> Result<Option<Vec<u8>>, StoreError> {
        let find = move |db: &Connection| {
            db.prepare_cached(FIND)?.query_row(params![name], |row| row.get(0)).optional()
        };
        self.read_for_mail(find).await
    }

    /// What is remembered of tenants and client addresses.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub async fn memory_of_groups(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.read_own(|db| {
            let mut found = Vec::new();
            for prefix in [TENANT, CLIENT] {
                // `0` comes right after `/`.
                let end = format!("{}0", prefix.trim_end_matches('/'));
                let mut statement = db.prepare_cached(RANGE)?;
                let rows = statement
                    .query_map(params![prefix, end], |row| Ok((row.get(0)?, row.get(1)?)))?;
                found.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
            }
            Ok(found)
        })
        .await
    }
}

/// Deletes up to `max` that were not used since a moment, the oldest first; returns how many.
pub(super) fn cut(db: &Connection, before: Timestamp, max: usize) -> rusqlite::Result<usize> {
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    db.prepare_cached(CUT_OLD)?.execute(params![stored(before), max])
}
