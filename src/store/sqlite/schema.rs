//! The tables, their version, and every statement on them.

use super::{super::StoreError, Synchronous};
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use std::path::Path;

/// Makes a new file with empty tables. It gets its name when it is whole, so that a file that is there never is half made.
pub(super) fn make(path: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(path).map_err(failed)?;
    // Only a new file takes it: freed pages can be given back step by step.
    set(&connection, "auto_vacuum", "INCREMENTAL")?;
    connection.execute_batch(CREATE).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))
}

/// Opens a file of this program and sets the connection up. A file of anybody else is left as it is.
pub(super) fn open(path: &Path, synchronous: Synchronous) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(32);
    // Exclusive before anything is read: then the index of the WAL is on the heap and there is no shared memory file.
    set(&connection, "locking_mode", "EXCLUSIVE")?;
    check_identity(&connection)?;
    for (name, value) in [
        ("journal_mode", "WAL"),
        ("synchronous", synchronous.pragma()),
        ("wal_autocheckpoint", "2000"),
        ("journal_size_limit", "33554432"),
        ("cache_size", "-8192"),
        ("temp_store", "MEMORY"),
        // What is deleted is overwritten where that writes no page more.
        ("secure_delete", "FAST"),
    ] {
        set(&connection, name, value)?;
    }
    Ok(connection)
}

/// Writes the file anew, without a page or a part of one that holds what was deleted, and its log, too.
pub(in crate::store) fn rewrite(db: &Connection) -> rusqlite::Result<()> {
    // What it is written to on the way is as large as the file, so not in memory.
    let on_disk = |wanted: &str| {
        db.pragma_update_and_check(None, "temp_store", wanted, |_| Ok(()))
            .or_else(|error| if no_row(&error) { Ok(()) } else { Err(error) })
    };
    on_disk("FILE")?;
    let vacuumed = db.execute_batch("VACUUM");
    on_disk("MEMORY")?;
    vacuumed
}

/// Empties the log of a file, in which its pages of before stand.
pub(in crate::store) fn empty_log(db: &Connection) -> rusqlite::Result<()> {
    let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

/// The columns of all tables but SQLite's own.
#[cfg(test)]
pub(in crate::store) fn columns(db: &Connection) -> std::collections::BTreeSet<(String, String)> {
    let sql = "SELECT m.name, c.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c \
        WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'";
    let mut select = db.prepare(sql).unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn set(connection: &Connection, name: &str, value: &str) -> Result<(), StoreError> {
    connection
        .pragma_update_and_check(None, name, value, |_| Ok(()))
        .or_else(|error| if no_row(&error) { Ok(()) } else { Err(error) })
        .map_err(failed)
}

fn no_row(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::QueryReturnedNoRows)
}

fn check_identity(connection: &Connection) -> Result<(), StoreError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let identity = number("application_id").map_err(failed)?;
    let version = number("user_version").map_err(failed)?;
    let pages = number("page_count").map_err(failed)?;
    match (pages, identity, version) {
        (0, ..) => Err(StoreError::Damaged("it is empty, and what it held is lost".into())),
        (_, APPLICATION_ID, VERSION) => Ok(()),
        (_, APPLICATION_ID, newer) => Err(StoreError::Damaged(format!(
            "its schema is version {newer}, and this program knows version {VERSION}; a newer \
             release of the program made it"
        ))),
        _ => Err(StoreError::Damaged("it is a database of another program".into())),
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

/// Whether it lasts: what SQLite cannot make sense of is damaged; the rest may work at another time.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(in crate::store) fn failed(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        None | Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
            StoreError::Damaged(explain(&error))
        }
        Some(_) => StoreError::Unavailable(explain(&error)),
    }
}

/// What SQLite says, and which call of the system failed: `disk I/O error (fsync)`.
pub(in crate::store) fn explain(error: &rusqlite::Error) -> String {
    let code = error.sqlite_error().map_or(0, |error| error.extended_code);
    match OPERATIONS.iter().find(|(known, _)| *known == code) {
        Some((_, operation)) => format!("{error} ({operation})"),
        None => error.to_string(),
    }
}

/// The system's calls behind SQLite's extended codes (<https://sqlite.org/rescode.html>).
const OPERATIONS: [(i32, &str); 14] = [
    (ffi::SQLITE_IOERR_READ, "read"),
    (ffi::SQLITE_IOERR_SHORT_READ, "read beyond the end"),
    (ffi::SQLITE_IOERR_WRITE, "write"),
    (ffi::SQLITE_IOERR_FSYNC, "fsync"),
    (ffi::SQLITE_IOERR_DIR_FSYNC, "fsync of the folder"),
    (ffi::SQLITE_IOERR_TRUNCATE, "truncate"),
    (ffi::SQLITE_IOERR_FSTAT, "fstat"),
    (ffi::SQLITE_IOERR_LOCK, "lock"),
    (ffi::SQLITE_IOERR_RDLOCK, "lock"),
    (ffi::SQLITE_IOERR_CLOSE, "close"),
    (ffi::SQLITE_IOERR_DELETE, "delete"),
    (ffi::SQLITE_IOERR_ACCESS, "access"),
    (ffi::SQLITE_IOERR_SEEK, "seek"),
    (ffi::SQLITE_FULL, "write"),
];

const VERSION: i64 = 1;
/// `Toll` in ASCII, in the file's header.
const APPLICATION_ID: i64 = 0x546f_6c6c;

const CREATE: &str = "
BEGIN IMMEDIATE;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE journal (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, entries BLOB NOT NULL);
CREATE TABLE windows (key TEXT PRIMARY KEY, seq INTEGER NOT NULL, log BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE warned (key TEXT NOT NULL, window INTEGER NOT NULL, percent INTEGER NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY (key, window)) WITHOUT ROWID;
CREATE TABLE subjects (kind INTEGER NOT NULL, name TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE changes (number INTEGER PRIMARY KEY AUTOINCREMENT, change TEXT NOT NULL);
CREATE TABLE refusals (account TEXT PRIMARY KEY, at INTEGER NOT NULL, reply TEXT NOT NULL,
    hit TEXT) WITHOUT ROWID;
PRAGMA application_id = 0x546f6c6c;
PRAGMA user_version = 1;
COMMIT;";

pub(super) const PUT_META: &str = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
pub(super) const META: &str = "SELECT value FROM meta WHERE name = ?1";
/// The name of the key of names of what is erased.
pub(super) const ERASURE_KEY: &str = "erasure_key";
pub(super) const DRAW_KEY: &str =
    "INSERT OR IGNORE INTO meta (name, value) VALUES ('erasure_key', randomblob(32))";
pub(super) const CUT_REFUSAL: &str = "DELETE FROM refusals WHERE account = ?1";
pub(super) const CUT_WARNED_OF: &str = "DELETE FROM warned WHERE key = ?1";
pub(super) const HIGH_WATER: &str = "SELECT max(coalesce((SELECT value FROM meta WHERE name = \
    'high_water'), 0), coalesce((SELECT max(at) FROM journal), 0))";
pub(super) const ANCHOR: &str = "SELECT (SELECT value FROM meta WHERE name = 'boot_id'), \
    (SELECT value FROM meta WHERE name = 'boot'), (SELECT value FROM meta WHERE name = 'boot_ledger')";
pub(super) const REVISION: &str = "SELECT (SELECT value FROM meta WHERE name = 'shared_number'), \
    (SELECT value FROM meta WHERE name = 'shared_mark')";
pub(super) const CUT_REVISION: &str =
    "DELETE FROM meta WHERE name IN ('shared_number', 'shared_mark')";
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
pub(super) const ADD_CHANGE: &str = "INSERT INTO changes (number, change) VALUES (?1, ?2)";
pub(super) const CUT_CHANGES: &str = "DELETE FROM changes WHERE number <= ?1";
pub(super) const ALL_CHANGES: &str = "SELECT change FROM changes ORDER BY number";
pub(super) const LAST_CHANGE: &str =
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)";
pub(super) const PUT_REFUSAL: &str =
    "INSERT OR REPLACE INTO refusals (account, at, reply, hit) VALUES (?1, ?2, ?3, ?4)";
pub(super) const CUT_REFUSALS: &str = "DELETE FROM refusals WHERE at < (SELECT at FROM refusals \
    ORDER BY at DESC LIMIT 1 OFFSET ?1)";
pub(super) const ALL_REFUSALS: &str =
    "SELECT account, at, reply, hit FROM refusals ORDER BY at DESC LIMIT ?1";
