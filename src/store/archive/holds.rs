//! Legal holds: accounts and tenants of which nothing is erased until somebody lifts the hold.

use super::{
    Archive,
    audit::{NewEntry, chain::Head},
    erasing, kept, names, stored,
    stream::orders::Deed,
};
use crate::{
    store::StoreError,
    types::{SubjectId, TenantId, Timestamp},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
    /// Places a hold, or changes its reason, with its entry in the audit; at all nodes where the archive is shared. None if it comes too late, because
    /// the subject is being erased at all of them.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written, or does not come to know that it was done.
    pub async fn hold(
        &self,
        hold: HoldRow,
        entry: NewEntry,
    ) -> Result<Option<Option<Head>>, StoreError> {
        Ok(self.order(Deed::Hold(hold), entry).await?.done())
    }

    /// Lifts a hold, with its entry in the audit, at all nodes where the archive is shared; none if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written, or does not come to know what became of it.
    pub async fn release(
        &self,
        subject: SubjectId,
        entry: NewEntry,
    ) -> Result<Option<Option<Head>>, StoreError> {
        Ok(self.order(Deed::Release(subject), entry).await?.done())
    }

    /// All holds.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn holds(&self) -> Result<Vec<HoldRow>, StoreError> {
        self.read(|db| select(db, HOLDS_MAX)).await
    }

    /// The hold on any of these.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn hold_on(&self, subjects: Vec<SubjectId>) -> Result<Option<HoldRow>, StoreError> {
        self.read(move |db| first(db, subjects)).await
    }

    /// What keeps a subject: a hold on itself, on one of its tenants, or on somebody whose rows are also its own.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn hold_over(
        &self,
        subject: SubjectId,
        tenants: Vec<TenantId>,
    ) -> Result<Option<HoldRow>, StoreError> {
        let of_tenants = tenants.into_iter().map(SubjectId::Tenant);
        let all = std::iter::once(subject.clone()).chain(of_tenants).collect();
        self.read(move |db| match first(db, all)? {
            Some(hold) => Ok(Some(hold)),
            None => beside(db, &subject),
        })
        .await
    }
}

fn first(db: &Connection, subjects: Vec<SubjectId>) -> rusqlite::Result<Option<HoldRow>> {
    for subject in subjects {
        if let Some(hold) = of(db, subject)? {
            return Ok(Some(hold));
        }
    }
    Ok(None)
}

fn of(db: &Connection, subject: SubjectId) -> rusqlite::Result<Option<HoldRow>> {
    let Some(number) = names::find(db, &subject)? else { return Ok(None) };
    db.prepare_cached("SELECT at, reason, actor FROM holds WHERE subject = ?1")?
        .query_row([number], |row| {
            let at = Timestamp::from_millis(row.get(0)?);
            Ok(HoldRow { subject, at, reason: row.get(1)?, actor: row.get(2)? })
        })
        .optional()
}

/// A hold on somebody else whose rows are also this one's: of an account that has moved, what it did stands under its tenant of then, so a
/// hold on the one keeps the other.
fn beside(db: &Connection, subject: &SubjectId) -> rusqlite::Result<Option<HoldRow>> {
    let Some(number) = names::find(db, subject)? else { return Ok(None) };
    let (own, other) = match subject {
        SubjectId::Account(_) => ("account", "tenant"),
        SubjectId::Tenant(_) => ("tenant", "account"),
    };
    let shares = ["events", "alerts", "complaints", "offences", "audit_about"].map(|table| {
        format!("EXISTS (SELECT 1 FROM {table} WHERE {own} = ?1 AND {other} = holds.subject)")
    });
    let shared = shares.join(" OR ");
    let mut select = db.prepare_cached(&format!("{NAMED} WHERE {shared} LIMIT 1"))?;
    Ok(select.query_row([number], named).optional()?.flatten())
}

/// A hold and whose it is. A name in the archive was a valid one when it was stored.
fn named(row: &Row<'_>) -> rusqlite::Result<Option<HoldRow>> {
    let (name, at): (String, _) = (row.get(1)?, Timestamp::from_millis(row.get(2)?));
    let (reason, actor) = (row.get(3)?, row.get(4)?);
    let subject = names::subject_of(row.get(0)?, &name);
    Ok(subject.map(|subject| HoldRow { subject, at, reason, actor }))
}

/// What [`named`] reads.
const NAMED: &str =
    "SELECT kind, name, at, reason, actor FROM holds JOIN names ON names.id = holds.subject";

/// The oldest holds, at most so many.
pub(super) fn select(db: &Connection, max: i64) -> rusqlite::Result<Vec<HoldRow>> {
    let mut select = db.prepare_cached(&format!("{NAMED} ORDER BY at LIMIT ?1"))?;
    let rows = select.query_map([max], named)?;
    rows.filter_map(Result::transpose).collect()
}

/// Places a hold, or changes its reason; false if the subject is being erased.
pub(super) fn place(db: &Connection, hold: &HoldRow) -> rusqlite::Result<bool> {
    if erasing::is_under_way(db, &hold.subject)? {
        return Ok(false);
    }
    put(db, hold)?;
    kept::touch(db, kept::HOLDS, &hold.subject).map(|()| true)
}

pub(super) fn put(db: &Connection, hold: &HoldRow) -> rusqlite::Result<()> {
    let number = names::number_of(db, &hold.subject)?;
    let sql = "INSERT OR REPLACE INTO holds (subject, at, reason, actor) VALUES (?1, ?2, ?3, ?4)";
    db.execute(sql, params![number, stored(hold.at), hold.reason, hold.actor]).map(drop)
}

/// Takes the row of a subject out of a table; false if there is none.
pub(super) fn end(db: &Connection, table: &str, subject: &SubjectId) -> rusqlite::Result<bool> {
    kept::touch(db, table, subject)?;
    let Some(number) = names::find(db, subject)? else { return Ok(false) };
    let sql = format!("DELETE FROM {table} WHERE subject = ?1");
    Ok(db.execute(&sql, [number])? > 0)
}

/// Holds that are listed.
const HOLDS_MAX: i64 = 10_000;

/// Of a row with a tenant and an account: neither is held, so that it may grow old.
pub(super) const NOT_HELD: &str = "(tenant IS NULL OR tenant NOT IN (SELECT subject FROM holds)) \
    AND (account IS NULL OR account NOT IN (SELECT subject FROM holds))";

pub(super) const CREATE: &str = "
CREATE TABLE holds (subject INTEGER PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL);
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::archive::{Batch, Lasting, NewEvent, Settings, open};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_hold_keeps_what_an_account_did_under_another_tenant() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let event = |tenant: &str, account: &str| NewEvent {
            at: Timestamp::EPOCH,
            name: "message".into(),
            tenant: Some(tenant.parse().unwrap()),
            account: Some(account.parse().unwrap()),
            body: "{}".into(),
            marks: Vec::new(),
        };
        let events = vec![
            event("before.example", "moved@before.example"),
            event("now.example", "moved@before.example"),
            event("before.example", "stays@before.example"),
        ];
        archive.keep(Arc::new(Batch { events, ..Batch::default() })).await.unwrap();
        let account = |name: &str| SubjectId::Account(name.parse().unwrap());
        let tenant = |name: &str| SubjectId::Tenant(name.parse().unwrap());
        let keeps = async |held: &SubjectId, wanted: &SubjectId| {
            let hold = HoldRow {
                subject: held.clone(),
                at: Timestamp::EPOCH,
                reason: "a court".into(),
                actor: "desk".into(),
            };
            let (hold, gone) = (hold, held.clone());
            archive.write(Lasting::Process, move |db| put(db, &hold)).await.unwrap();
            let other = wanted.clone();
            let found = archive.read(move |db| beside(db, &other)).await.unwrap();
            archive.write(Lasting::Process, move |db| end(db, "holds", &gone)).await.unwrap();
            assert!(found.as_ref().is_none_or(|found| found.subject == *held), "{found:?}");
            found.is_some()
        };
        let (moved, stays) = (account("moved@before.example"), account("stays@before.example"));
        let (before, now) = (tenant("before.example"), tenant("now.example"));
        for (held, wanted, expected) in [
            (&moved, &moved, false),
            (&moved, &before, true),
            (&moved, &now, true),
            (&moved, &stays, false),
            (&before, &moved, true),
            (&now, &moved, true),
            (&before, &stays, true),
            (&now, &stays, false),
            (&now, &before, false),
            (&stays, &before, true),
            (&stays, &now, false),
        ] {
            assert_eq!(keeps(held, wanted).await, expected, "{held} {wanted}");
        }
    }
}
