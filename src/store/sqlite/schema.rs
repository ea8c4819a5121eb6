//! The tables, their version, and every statement on them.

use super::{super::StoreError, Synchronous};
use rusqlite::Connection;
use std::path::Path;

/// Opens the file, sets it up and brings it to the present version.
pub(super) fn open(path: &Path, synchronous: Synchronous) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(unavailable)?;
    connection.set_prepared_statement_cache_capacity(32);
    // Exclusive before WAL: then the index of the WAL is on the heap and there is no shared memory file.
    for (name, value) in [
        // Only a new file takes it: freed pages can be given back step by step.
        ("auto_vacuum", "INCREMENTAL"),
        ("locking_mode", "EXCLUSIVE"),
        ("journal_mode", "WAL"),
        ("synchronous", synchronous.pragma()),
        ("wal_autocheckpoint", "2000"),
        ("journal_size_limit", "33554432"),
        ("cache_size", "-8192"),
        ("temp_store", "MEMORY"),
    ] {
        connection
            .pragma_update_and_check(None, name, value, |_| Ok(()))
            .or_else(|error| if no_row(&error) { Ok(()) } else { Err(error) })
            .map_err(unavailable)?;
    }
    migrate(&connection)?;
    Ok(connection)
}

fn no_row(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::QueryReturnedNoRows)
}

fn migrate(connection: &Connection) -> Result<(), StoreError> {
    let version: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(damaged)?;
    match version {
        0 => connection.execute_batch(CREATE).map_err(unavailable),
        VERSION => Ok(()),
        newer => Err(StoreError::Damaged(format!(
            "its schema is version {newer}, and this program knows version {VERSION}; a newer \
             release of the program made it"
        ))),
    }
}

impl Synchronous {
    const fn pragma(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn damaged(error: rusqlite::Error) -> StoreError {
    StoreError::Damaged(error.to_string())
}

const VERSION: i64 = 1;

const CREATE: &str = "
BEGIN IMMEDIATE;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE journal (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, entries BLOB NOT NULL);
CREATE TABLE windows (key TEXT PRIMARY KEY, seq INTEGER NOT NULL, log BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE warned (key TEXT NOT NULL, window INTEGER NOT NULL, percent INTEGER NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY (key, window)) WITHOUT ROWID;
CREATE TABLE subjects (kind INTEGER NOT NULL, name TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE changes (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind INTEGER NOT NULL,
    name TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL);
CREATE TABLE refusals (account TEXT PRIMARY KEY, at INTEGER NOT NULL, reply TEXT NOT NULL,
    hit TEXT) WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;";

pub(super) const PUT_META: &str = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
pub(super) const HIGH_WATER: &str = "SELECT max(coalesce((SELECT value FROM meta WHERE name = \
    'high_water'), 0), coalesce((SELECT max(at) FROM journal), 0))";
pub(super) const ADD_JOURNAL: &str = "INSERT INTO journal (id, at, entries) VALUES (?1, ?2, ?3)";
pub(super) const CUT_JOURNAL: &str = "DELETE FROM journal WHERE id <= ?1";
pub(super) const ALL_JOURNAL: &str = "SELECT id, at, entries FROM journal ORDER BY id";
pub(super) const PUT_WINDOW: &str =
    "INSERT OR REPLACE INTO windows (key, seq, log) VALUES (?1, ?2, ?3)";
pub(super) const CUT_WINDOW: &str = "DELETE FROM windows WHERE key = ?1";
pub(super) const ALL_WINDOWS: &str = "SELECT key, seq, log FROM windows";
pub(super) const PUT_WARNED: &str =
    "INSERT OR REPLACE INTO warned (key, window, percent, at) VALUES (?1, ?2, ?3, ?4)";
pub(super) const CUT_WARNED: &str = "DELETE FROM warned WHERE at <= ?1 - window";
pub(super) const ALL_WARNED: &str =
    "SELECT key, window, percent, at FROM warned ORDER BY at DESC LIMIT ?1";
pub(super) const PUT_SUBJECT: &str =
    "INSERT OR REPLACE INTO subjects (kind, name, record) VALUES (?1, ?2, ?3)";
pub(super) const CUT_SUBJECT: &str = "DELETE FROM subjects WHERE kind = ?1 AND name = ?2";
pub(super) const ALL_SUBJECTS: &str = "SELECT kind, name, record FROM subjects";
pub(super) const ADD_CHANGE: &str = "INSERT INTO changes (at, kind, name, what, reason, actor) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
pub(super) const PUT_REFUSAL: &str =
    "INSERT OR REPLACE INTO refusals (account, at, reply, hit) VALUES (?1, ?2, ?3, ?4)";
pub(super) const CUT_REFUSALS: &str = "DELETE FROM refusals WHERE at < (SELECT at FROM refusals \
    ORDER BY at DESC LIMIT 1 OFFSET ?1)";
pub(super) const ALL_REFUSALS: &str =
    "SELECT account, at, reply, hit FROM refusals ORDER BY at DESC LIMIT ?1";
