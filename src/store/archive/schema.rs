//! The file, its version, and the tables of all topics.

use super::{
    super::StoreError, alerts, audit, availability, backups, closings, complaints, egress, erase,
    erasing, events, holds, kept, listings, memory, messages, names, offences, storage, stream,
    tokens, usage,
};
use crate::store::sqlite::schema::failed;
use rusqlite::{Connection, OpenFlags};
use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

/// Opens the file for its one writer; makes it, with all tables, if it is missing.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    make_private(path)?;
    let db = Connection::open_with_flags(path, flags() | OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(failed)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    if number(&db, "page_count")? == 0 {
        // Only a new file takes it: freed pages can be given back step by step.
        set(&db, "auto_vacuum", "INCREMENTAL")?;
    }
    for (name, value) in [
        ("journal_mode", "WAL"),
        ("synchronous", "NORMAL"),
        ("wal_autocheckpoint", "1000"),
        ("journal_size_limit", "33554432"),
        ("cache_size", "-16384"),
        ("temp_store", "MEMORY"),
        ("foreign_keys", "OFF"),
        // What is deleted is overwritten where that writes no page more.
        ("secure_delete", "FAST"),
    ] {
        set(&db, name, value)?;
    }
    check_identity(&db)?;
    Ok(db)
}

/// Opens the file for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(path, flags() | OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(failed)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.busy_timeout(READER_PATIENCE).map_err(failed)?;
    set(&db, "cache_size", "-4096")?;
    set(&db, "temp_store", "MEMORY")?;
    Ok(db)
}

/// Opens a file that may be a copy, to look at it. Where its log lies beside it, that has to be read with it, and only whoever may
/// write can do so; else nothing is written, not even a lock.
pub(super) fn open_copy(path: &Path) -> Result<Connection, StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let db = if Path::new(&log).exists() {
        Connection::open_with_flags(path, flags() | OpenFlags::SQLITE_OPEN_READ_WRITE)
    } else {
        let only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(immutable(path), flags() | only)
    };
    let db = db.map_err(failed)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.busy_timeout(READER_PATIENCE).map_err(failed)?;
    match number(&db, "application_id")? {
        APPLICATION_ID => Ok(db),
        _ => Err(StoreError::Damaged("it is not an archive of this program".into())),
    }
}

/// The name of a file that nobody changes (<https://sqlite.org/uri.html>).
fn immutable(path: &Path) -> String {
    let mut name = String::from("file:");
    for octet in path.as_os_str().as_encoded_bytes() {
        match octet {
            b'/' | b'.' | b'-' | b'_' => name.push(char::from(*octet)),
            octet if octet.is_ascii_alphanumeric() => name.push(char::from(*octet)),
            octet => name.push_str(&format!("%{octet:02x}")),
        }
    }
    name + "?immutable=1"
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Names of customers and recipients stand in it, so nobody else may read it, from the first moment on.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::Unavailable(format!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn check_identity(db: &Connection) -> Result<(), StoreError> {
    match (number(db, "application_id")?, number(db, "user_version")?) {
        (APPLICATION_ID, VERSION) => Ok(()),
        (APPLICATION_ID, BEFORE_ERASING | BEFORE_KEPT) => upgrade(db),
        (APPLICATION_ID, newer) => Err(StoreError::Damaged(format!(
            "the archive's schema is version {newer}, and this program knows version {VERSION}"
        ))),
        (0, 0) if number(db, "schema_version")? == 0 => create(db),
        _ => Err(StoreError::Damaged("the archive is a database of another program".into())),
    }
}

/// What an archive of the builds before lacks.
fn upgrade(db: &Connection) -> Result<(), StoreError> {
    let tables = [erasing::CREATE, kept::CREATE, kept::UPGRADE].concat();
    let script = format!("BEGIN IMMEDIATE; {tables} PRAGMA user_version = {VERSION}; COMMIT;");
    db.execute_batch(&script).map_err(failed)
}

/// All tables in one transaction: a file that has any has them all.
fn create(db: &Connection) -> Result<(), StoreError> {
    let tables = TOPICS.concat();
    let script = format!(
        "BEGIN IMMEDIATE; {tables} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
    );
    db.execute_batch(&script).map_err(failed)
}

fn set(db: &Connection, name: &str, value: &str) -> Result<(), StoreError> {
    match db.pragma_update_and_check(None, name, value, |_| Ok(())) {
        Ok(()) | Err(rusqlite::Error::QueryReturnedNoRows) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn number(db: &Connection, name: &str) -> Result<i64, StoreError> {
    db.pragma_query_value(None, name, |row| row.get(0)).map_err(failed)
}

/// The tables, topic by topic.
const TOPICS: [&str; 21] = [
    names::CREATE,
    egress::CREATE,
    alerts::CREATE,
    events::CREATE,
    listings::CREATE,
    memory::CREATE,
    audit::CREATE,
    availability::CREATE,
    messages::CREATE,
    complaints::CREATE,
    storage::CREATE,
    stream::CREATE,
    tokens::CREATE,
    usage::CREATE,
    backups::CREATE,
    erase::CREATE,
    erasing::CREATE,
    holds::CREATE,
    closings::CREATE,
    offences::CREATE,
    kept::CREATE,
];
const VERSION: i64 = 10;
/// The version before, which lacks a table of [`erasing`] and those of [`kept`].
const BEFORE_KEPT: i64 = 9;
/// The one before that, which lacks all tables of these two and nothing else.
const BEFORE_ERASING: i64 = 8;
/// `Tolh`, the history of a `Toll`.
const APPLICATION_ID: i64 = 0x546f_6c68;
const STATEMENTS_MAX: usize = 128;
/// How long a reader waits while the log of the file is being replaced.
const READER_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_of_a_build_before_gets_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.db");
        let tables = |db: &Connection| -> Vec<String> {
            let mut select = db
                .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
                .unwrap();
            select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let all = tables(&open(&path).unwrap());
        for (version, lacks) in [
            (BEFORE_KEPT, &["erasing_over", "kept_asked", "kept_touched"][..]),
            (
                BEFORE_ERASING,
                &["erasing", "erasing_told", "erasing_over", "kept_asked", "kept_touched"],
            ),
        ] {
            let db = Connection::open(&path).unwrap();
            for table in lacks {
                db.execute_batch(&format!("DROP TABLE {table}")).unwrap();
            }
            db.pragma_update(None, "user_version", version).unwrap();
            drop(db);
            let db = open(&path).unwrap();
            assert_eq!(tables(&db), all);
            assert_eq!(number(&db, "user_version").unwrap(), VERSION);
        }
    }
}
