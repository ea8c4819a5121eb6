//! Backups that were made: where they were put, and how long they are kept. And copies of the file, for them.

use super::{
    Archive, Lasting,
    audit::{self, NewEntry, append, chain::Head},
    schema, stored,
};
use crate::{
    store::{StoreError, sqlite::schema::failed},
    types::Timestamp,
};
use rusqlite::{Connection, params};
use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRow {
    /// When, in UTC.
    pub at: Timestamp,
    /// The file.
    pub file: String,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// Its octets.
    pub bytes: u64,
    /// Until when it is kept.
    pub expires: Timestamp,
}

impl Archive {
    /// Copies the file to a new one, as it is when the copy begins, while it is used; without anything in it that was deleted. Returns
    /// where the audit ends in it.
    ///
    /// # Errors
    /// [`StoreError`] if one of the two cannot be read or written.
    pub async fn copy_to(&self, path: PathBuf) -> Result<Head, StoreError> {
        let source = self.path().to_owned();
        let copied = tokio::task::spawn_blocking(move || copy_file(&source, &path)).await;
        copied.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    /// Notes a backup, with its entry in the audit.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn note_backup(
        &self,
        row: BackupRow,
        entry: NewEntry,
    ) -> Result<Option<Head>, StoreError> {
        self.write(Lasting::Power, move |db| {
            db.prepare_cached(
                "INSERT INTO backups (at, file, sha256, bytes, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                stored(row.at),
                row.file,
                row.sha256,
                i64::try_from(row.bytes).unwrap_or(i64::MAX),
                stored(row.expires)
            ])?;
            append(db, &entry)
        })
        .await
    }

    /// The backups that are kept, the newest first, at most [`BACKUPS_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn backups(&self, now: Timestamp) -> Result<Vec<BackupRow>, StoreError> {
        self.read(move |db| {
            let mut select = db.prepare_cached(
                "SELECT at, file, sha256, bytes, expires FROM backups WHERE expires > ?1 ORDER BY number DESC LIMIT ?2",
            )?;
            let rows = select.query_map(params![stored(now), BACKUPS_MAX], |row| {
                Ok(BackupRow {
                    at: Timestamp::from_millis(row.get(0)?),
                    file: row.get(1)?,
                    sha256: row.get(2)?,
                    bytes: row.get::<_, i64>(3)?.unsigned_abs(),
                    expires: Timestamp::from_millis(row.get(4)?),
                })
            })?;
            rows.collect()
        })
        .await
    }
}

/// Copies an archive to a new file, as it is when the copy begins. Returns where the audit ends in it.
///
/// # Errors
/// [`StoreError`] if one of the two cannot be read or written.
pub fn copy_file(source: &Path, path: &Path) -> Result<Head, StoreError> {
    let unavailable = |error| StoreError::Unavailable(format!("{}: {error}", path.display()));
    // SQLite takes an empty file, and this one is nobody else's from the first moment on.
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    drop(file.map_err(unavailable)?);
    let db = schema::open_reader(source)?;
    let to = path.to_str().ok_or_else(|| StoreError::Unavailable("a path is no text".into()))?;
    db.execute("VACUUM INTO ?1", [to]).map_err(failed)?;
    File::open(path).and_then(|file| file.sync_all()).map_err(unavailable)?;
    let copy = schema::open_copy(path)?;
    audit::head(&copy).map_err(failed)
}

/// Makes an archive that came out of a backup ready for a gate: it is whole, its audit says where it comes from, and where the audit
/// ends is noted beside the place that it will have.
///
/// # Errors
/// [`StoreError::Damaged`] if it is not a whole file of this program.
pub fn prepare_restored(file: &Path, place: &Path, entry: &NewEntry) -> Result<Head, StoreError> {
    let db = schema::open(file)?;
    let found: String =
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if found != "ok" {
        return Err(StoreError::Damaged(found));
    }
    let head = db
        .unchecked_transaction()
        .and_then(|transaction| {
            append(&db, entry)?;
            transaction.commit()?;
            audit::head(&db)
        })
        .map_err(failed)?;
    db.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(failed)?;
    db.close().map_err(|(_, error)| failed(error))?;
    let unavailable = |error| StoreError::Unavailable(format!("{}: {error}", place.display()));
    File::open(file).and_then(|file| file.sync_all()).map_err(unavailable)?;
    audit::plant(place, head).map_err(unavailable)?;
    Ok(head)
}

/// Forgets backups whose time was over before a moment, a few at a time.
pub(super) fn cut(db: &Connection, before: Timestamp, max: usize) -> rusqlite::Result<usize> {
    let sql = format!(
        "DELETE FROM backups WHERE number IN (SELECT number FROM backups WHERE expires < ?1 LIMIT {max})"
    );
    db.prepare_cached(&sql)?.execute(params![stored(before)])
}

/// Backups that are listed.
pub const BACKUPS_MAX: i64 = 1_000;

pub(super) const CREATE: &str = "
CREATE TABLE backups (number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL, expires INTEGER NOT NULL);
CREATE INDEX backups_expires ON backups (expires);
";
