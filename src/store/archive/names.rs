//! Accounts and tenants by number, so that a name stands in one place: it is short in all other tables, and can be erased.

use crate::types::SubjectId;
use rusqlite::{Connection, OptionalExtension as _};

/// The number of a subject, given to it if it has none.
pub(super) fn number_of(db: &Connection, subject: &SubjectId) -> rusqlite::Result<i64> {
    if let Some(number) = find(db, subject)? {
        return Ok(number);
    }
    let mut insert = db.prepare_cached("INSERT INTO names (kind, name) VALUES (?1, ?2)")?;
    insert.insert(parts(subject))
}

/// The number of a subject, if it has one.
pub(super) fn find(db: &Connection, subject: &SubjectId) -> rusqlite::Result<Option<i64>> {
    let mut find = db.prepare_cached("SELECT id FROM names WHERE kind = ?1 AND name = ?2")?;
    find.query_row(parts(subject), |row| row.get(0)).optional()
}

fn parts(subject: &SubjectId) -> (i64, &str) {
    match subject {
        SubjectId::Account(account) => (ACCOUNT, account.as_str()),
        SubjectId::Tenant(tenant) => (TENANT, tenant.as_str()),
    }
}

/// The subject of a row.
pub(super) fn subject_of(kind: i64, name: &str) -> Option<SubjectId> {
    match kind {
        ACCOUNT => name.parse().ok().map(SubjectId::Account),
        TENANT => name.parse().ok().map(SubjectId::Tenant),
        _ => None,
    }
}

/// `kind` of an account.
pub(super) const ACCOUNT: i64 = 0;
/// `kind` of a tenant.
pub(super) const TENANT: i64 = 1;

pub(super) const CREATE: &str = "
CREATE TABLE names (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (kind, name));
";
