//! A file that came out of a backup, before any gate opens it; and the file that a last backup was made of.

use super::{Opened, Settings, Synchronous, copy, rows, schema};
use crate::{store::StoreError, types::Timestamp};
use rusqlite::{Connection, params};
use std::path::Path;

/// What is thought of the time since the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapChoice {
    /// Anything may have been sent: all windows are full until that has left them.
    Full,
    /// Nothing was sent that counts: whoever did send may send up to as much again.
    Ignored,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The ledger's time from which it goes on.
    pub now: Timestamp,
    /// A window of length W is full until W after this; none: no window is full for the gap.
    pub full_until: Option<Timestamp>,
}

impl Restored {
    /// Makes a file ready for a gate: it goes on at the later of its own time and the wall clock's.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not a whole file of this program.
    pub fn prepare(
        settings: &Settings,
        gap: GapChoice,
        wall: Timestamp,
    ) -> Result<Self, StoreError> {
        let db = schema::open(&settings.path, Synchronous::Full)?;
        check_whole(&db)?;
        let high_water: i64 =
            db.query_row(schema::HIGH_WATER, [], |row| row.get(0)).map_err(schema::failed)?;
        let now = Timestamp::from_millis(high_water).max(wall);
        // What was under way when the old gate ended may arrive as long after it as with any gate that ends so.
        let full_until = (gap == GapChoice::Full).then(|| now + settings.unknown_margin);
        let write = || -> rusqlite::Result<()> {
            let transaction = db.unchecked_transaction()?;
            rows::cut_revision(&db)?;
            // The boot of another machine, or of another time.
            db.execute(
                "DELETE FROM meta WHERE name IN ('boot_id', 'boot', 'boot_ledger', 'handed_over')",
                [],
            )?;
            db.execute(schema::PUT_META, params!["high_water", now.as_millis()])?;
            if let Some(until) = full_until {
                db.execute(schema::PUT_META, params![GAP, until.as_millis()])?;
            }
            transaction.commit()
        };
        write().map_err(schema::failed)?;
        db.close().map_err(|(_, error)| schema::failed(error))?;
        Ok(Self { now, full_until })
    }
}

fn check_whole(db: &Connection) -> Result<(), StoreError> {
    let found: String =
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(schema::failed)?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Damaged(found)) }
}

impl Opened {
    /// Copies the file to a new one, for whoever has no gate running on it.
    ///
    /// # Errors
    /// [`StoreError`] if one of the two cannot be read or written.
    pub fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        copy::copy(&self.db, path, || true).map_err(StoreError::Unavailable)?;
        copy::tidy(path).map_err(schema::failed)
    }

    /// Notes that another gate may go on from a copy, so that none opens this file again.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    pub fn hand_over(&self, at: Timestamp) -> Result<(), StoreError> {
        let noted = self.db.execute(schema::PUT_META, params![HANDED_OVER, at.as_millis()]);
        noted.map(drop).map_err(schema::failed)
    }
}

/// The meta value that says until when charges are not known.
pub(super) const GAP: &str = "gap";
/// The meta value that says when the last backup was made.
pub(super) const HANDED_OVER: &str = "handed_over";
