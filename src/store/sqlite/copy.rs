//! A copy of the file while it is used: page by page between the writer's transactions, by the writer's own connection, whose later
//! changes SQLite puts into the copy as well (<https://sqlite.org/backup.html>). So the copy is the file as it is when the copy ends.

use super::{own, schema};
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use std::{fs::File, path::Path};

/// Copies the file; `between` is called after each step, and ends the copy if it says false.
pub(super) fn copy(
    db: &Connection,
    path: &Path,
    mut between: impl FnMut() -> bool,
) -> Result<(), String> {
    let text = |error: rusqlite::Error| schema::explain(&error);
    drop(own(path).map_err(|error| error.to_string())?);
    let mut to = Connection::open(path).map_err(text)?;
    for (name, value) in [("journal_mode", "OFF"), ("synchronous", "OFF")] {
        to.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(no_row).map_err(text)?;
    }
    let copying = Backup::new(db, &mut to).map_err(text)?;
    while copying.step(STEP_PAGES).map_err(text)? != StepResult::Done {
        if !between() {
            return Err("the store was closed".into());
        }
    }
    drop(copying);
    to.close().map_err(|(_, error)| text(error))
}

/// Leaves nothing in a copy but what counts: no free pages, no log, nothing that was deleted.
pub(super) fn tidy(path: &Path) -> rusqlite::Result<()> {
    let db = Connection::open(path)?;
    db.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).or_else(no_row)?;
    db.execute_batch("VACUUM")?;
    db.close().map_err(|(_, error)| error)?;
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn no_row(error: rusqlite::Error) -> rusqlite::Result<()> {
    match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        other => Err(other),
    }
}

/// Pages that are copied between two transactions: 0.8 MB, about a millisecond.
const STEP_PAGES: i32 = if cfg!(test) { 2 } else { 200 };
