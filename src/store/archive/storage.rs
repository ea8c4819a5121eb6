//! How full mailboxes are: the last figure of each account and tenant with what was told of it, and how it went.
//!
//! The last figures are there so that a restart forgets nothing; a program that runs reads them from memory. Of a tenant each day
//! has a row, of an account each month, under its first day, with the last figure and the highest.

use super::{Archive, Lasting, names, stored};
use crate::{
    rules::{
        quota::{Level, Told, Usage},
        tally::calendar::Day,
    },
    store::StoreError,
    types::{SubjectId, TenantId, Timestamp},
};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::ops::RangeInclusive;

/// What is kept of an account's mailbox, or of all of a tenant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageRow {
    /// Whose.
    pub subject: SubjectId,
    /// The tenant.
    pub tenant: TenantId,
    /// The last figure, when it was true in UTC, and where it comes from; none: there was none.
    pub figure: Option<(Usage, Timestamp, String)>,
    /// What was told.
    pub told: Told,
}

/// The day or month of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageDays {
    /// The day, for tenants.
    pub day: Day,
    /// The first day of the month, for accounts.
    pub month: Day,
}

/// How full it was on a day, or in a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoragePast {
    /// The day, or the first one of the month.
    pub day: Day,
    /// What was there at its end, or is there now.
    pub last: Usage,
    /// The most octets that were seen.
    pub peak_bytes: u64,
}

impl Archive {
    /// Notes figures and what was told, in their day or month too.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written; nothing of it was.
    pub async fn note_storage(
        &self,
        rows: Vec<StorageRow>,
        days: StorageDays,
    ) -> Result<(), StoreError> {
        let note = move |db: &Connection| rows.iter().try_for_each(|row| note(db, row, days));
        self.write(Lasting::Process, note).await
    }

    /// Forgets the last figure of an account or tenant; how it went before stays.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written.
    pub async fn forget_storage(&self, subject: SubjectId) -> Result<(), StoreError> {
        let forget = move |db: &Connection| match names::find(db, &subject)? {
            Some(number) => db.execute("DELETE FROM storage WHERE subject = ?1", [number]),
            None => Ok(0),
        };
        self.write(Lasting::Process, forget).await.map(drop)
    }

    /// The last figures of all, at most `max`.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn storage(&self, max: usize) -> Result<Vec<StorageRow>, StoreError> {
        self.read_own(move |db| all(db, max)).await
    }

    /// How full it was in a stretch of days, the first first, at most [`STORAGE_DAYS_MAX`] rows.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn storage_past(
        &self,
        subject: SubjectId,
        days: RangeInclusive<Day>,
    ) -> Result<Vec<StoragePast>, StoreError> {
        self.read(move |db| past(db, &subject, &days)).await
    }

    /// How full tenants were at the end of a stretch of days, with the peak in it; none where nothing was noted.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn storage_of_tenants(
        &self,
        tenants: Vec<TenantId>,
        days: RangeInclusive<Day>,
    ) -> Result<Vec<Option<StoragePast>>, StoreError> {
        let of_one = move |db: &Connection, tenant: TenantId| {
            let past = past(db, &SubjectId::Tenant(tenant), &days)?;
            let peak_bytes = past.iter().map(|day| day.peak_bytes).max();
            let last = past.last().copied();
            Ok(last.zip(peak_bytes).map(|(last, peak_bytes)| StoragePast { peak_bytes, ..last }))
        };
        self.read(move |db| tenants.into_iter().map(|tenant| of_one(db, tenant)).collect()).await
    }
}

fn note(db: &Connection, row: &StorageRow, days: StorageDays) -> rusqlite::Result<()> {
    let subject = names::number_of(db, &row.subject)?;
    let tenant = names::number_of(db, &SubjectId::Tenant(row.tenant.clone()))?;
    let usage = row.figure.as_ref().map(|(usage, ..)| *usage);
    let bytes = usage.map(|usage| clamped(usage.bytes));
    let files = usage.map(|usage| clamped(usage.files));
    let measured = row.figure.as_ref().map(|(_, measured, _)| stored(*measured));
    let source = row.figure.as_ref().map(|(.., source)| source);
    let Told { level, is_full, has_many_files } = row.told;
    db.prepare_cached(
        "INSERT OR REPLACE INTO storage (subject, tenant, bytes, files, measured, source, level, is_full, many_files)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        subject,
        tenant,
        bytes,
        files,
        measured,
        source,
        level.percent(),
        is_full,
        has_many_files
    ])?;
    let (Some(bytes), Some(files)) = (bytes, files) else { return Ok(()) };
    let day = match row.subject {
        SubjectId::Account(_) => days.month,
        SubjectId::Tenant(_) => days.day,
    };
    db.prepare_cached(
        "INSERT INTO storage_days (subject, day, bytes, files, peak_bytes) VALUES (?1, ?2, ?3, ?4, ?3)
            ON CONFLICT DO UPDATE SET bytes = ?3, files = ?4, peak_bytes = max(peak_bytes, ?3)",
    )?
    .execute(params![subject, day.number(), bytes, files])?;
    Ok(())
}

fn all(db: &Connection, max: usize) -> rusqlite::Result<Vec<StorageRow>> {
    let sql = format!(
        "SELECT subjects.kind, subjects.name, tenants.name, bytes, files, measured, source, level, is_full, many_files
            FROM storage JOIN names AS subjects ON subjects.id = subject JOIN names AS tenants ON tenants.id = tenant
            LIMIT {max}"
    );
    let mut select = db.prepare(&sql)?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name = row.get::<_, String>(1)?;
        let subject = names::subject_of(row.get(0)?, &name);
        let tenant = row.get::<_, String>(2)?.parse().ok();
        // A name that is stored was a valid one; one that is not is left out.
        let Some((subject, tenant)) = subject.zip(tenant) else { continue };
        let number = |column| row.get::<_, Option<i64>>(column);
        let figure = number(3)?.zip(number(4)?).zip(number(5)?).zip(row.get(6)?);
        let figure = figure.map(|(((bytes, files), measured), source)| {
            let usage = Usage { bytes: bytes.unsigned_abs(), files: files.unsigned_abs() };
            (usage, Timestamp::from_millis(measured), source)
        });
        let level = Level::from_percent(row.get(7)?).unwrap_or_default();
        let told = Told { level, is_full: row.get(8)?, has_many_files: row.get(9)? };
        found.push(StorageRow { subject, tenant, figure, told });
    }
    Ok(found)
}

fn past(
    db: &Connection,
    subject: &SubjectId,
    days: &RangeInclusive<Day>,
) -> rusqlite::Result<Vec<StoragePast>> {
    // Whoever has no number has no past.
    let Some(number) = names::find(db, subject)? else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT day, bytes, files, peak_bytes FROM storage_days WHERE subject = ?1 AND day BETWEEN ?2 AND ?3
            ORDER BY day LIMIT {STORAGE_DAYS_MAX}"
    );
    let mut select = db.prepare_cached(&sql)?;
    let rows =
        select.query_map(params![number, days.start().number(), days.end().number()], |row| {
            let octets = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            Ok(StoragePast {
                day: Day::new(row.get(0)?),
                last: Usage { bytes: octets(1)?, files: octets(2)? },
                peak_bytes: octets(3)?,
            })
        })?;
    rows.collect()
}

/// Forgets the days of before one, a few at a time, but for those of who is held by name.
pub(super) fn cut(db: &Connection, before: Timestamp, max: usize) -> rusqlite::Result<usize> {
    let oldest = "SELECT min(day) FROM storage_days";
    let oldest: Option<i32> = db.query_row(oldest, [], |row| row.get(0)).optional()?.flatten();
    let day = before.as_millis().div_euclid(MILLIS_PER_DAY);
    if oldest.is_none_or(|oldest| i64::from(oldest) >= day) {
        return Ok(0);
    }
    let sql = format!(
        "DELETE FROM storage_days WHERE (subject, day) IN (SELECT subject, day FROM storage_days WHERE day < ?1 AND subject NOT IN (SELECT subject FROM holds) LIMIT {max})"
    );
    db.prepare_cached(&sql)?.execute([day])
}

/// SQLite's numbers have a sign.
fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Days that are told at a time.
pub const STORAGE_DAYS_MAX: usize = 4_000;
const MILLIS_PER_DAY: i64 = 86_400_000;

pub(super) const CREATE: &str = "
CREATE TABLE storage (subject INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, bytes INTEGER, files INTEGER, measured INTEGER,
    source TEXT, level INTEGER NOT NULL, is_full INTEGER NOT NULL, many_files INTEGER NOT NULL);
CREATE TABLE storage_days (subject INTEGER NOT NULL, day INTEGER NOT NULL, bytes INTEGER NOT NULL, files INTEGER NOT NULL,
    peak_bytes INTEGER NOT NULL, PRIMARY KEY (subject, day)) WITHOUT ROWID;
CREATE INDEX storage_days_day ON storage_days (day);
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::archive::{Keep, Settings, open};
    use std::time::Duration;

    fn row(subject: &str, bytes: u64, level: Level) -> StorageRow {
        let account = subject.parse().unwrap();
        let is_account = subject.contains('@');
        let tenant = subject.rsplit('@').next().unwrap().parse::<TenantId>().unwrap();
        StorageRow {
            subject: if is_account {
                SubjectId::Account(account)
            } else {
                SubjectId::Tenant(tenant.clone())
            },
            tenant,
            figure: Some((Usage { bytes, files: 3 }, Timestamp::from_millis(7), "maildir".into())),
            told: Told { level, is_full: level == Level::Full, has_many_files: false },
        }
    }

    fn days(day: i32) -> StorageDays {
        StorageDays { day: Day::new(day), month: Day::new(day - day % 30) }
    }

    #[tokio::test]
    async fn the_last_figures_are_there_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { path: folder.path().join("archive.db") };
        let archive = open(&settings).unwrap();
        let never = StorageRow { figure: None, ..row("cid@shop.example", 0, Level::Under) };
        let rows = vec![
            row("ann@shop.example", 5, Level::Under),
            row("shop.example", u64::MAX, Level::Full),
            never.clone(),
        ];
        archive.note_storage(rows, days(60)).await.unwrap();
        let again = vec![row("ann@shop.example", 9, Level::Near)];
        archive.note_storage(again.clone(), days(61)).await.unwrap();
        archive.close().await;
        let archive = open(&settings).unwrap();
        let mut all = archive.storage(10).await.unwrap();
        all.sort_by_key(|row| row.subject.to_string());
        let mut largest = row("shop.example", i64::MAX.unsigned_abs(), Level::Full);
        largest.told.is_full = true;
        assert_eq!(all, [again[0].clone(), never.clone(), largest]);
        archive.forget_storage(never.subject).await.unwrap();
        assert_eq!(archive.storage(10).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn the_past_has_a_row_for_each_day_of_a_tenant_and_each_month_of_an_account() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        for (day, bytes) in [(60, 100), (60, 900), (60, 300), (61, 400), (95, 200)] {
            let rows = vec![
                row("shop.example", bytes, Level::Under),
                row("ann@shop.example", bytes, Level::Under),
            ];
            archive.note_storage(rows, days(day)).await.unwrap();
        }
        let past = async |subject: &str| {
            let subject = row(subject, 0, Level::Under).subject;
            let past = archive.storage_past(subject, Day::new(0)..=Day::new(999)).await.unwrap();
            past.iter().map(|p| (p.day.number(), p.last.bytes, p.peak_bytes)).collect::<Vec<_>>()
        };
        assert_eq!(past("shop.example").await, [(60, 300, 900), (61, 400, 400), (95, 200, 200)]);
        assert_eq!(past("ann@shop.example").await, [(60, 400, 900), (90, 200, 200)]);
        assert_eq!(past("nobody@shop.example").await, []);

        let tenants = ["shop.example", "other.example"].map(|name| name.parse().unwrap());
        let period = Day::new(60)..=Day::new(70);
        let found = archive.storage_of_tenants(tenants.into(), period).await.unwrap();
        let end = found[0].unwrap();
        assert_eq!((end.last.bytes, end.peak_bytes, found[1]), (400, 900, None));

        let (events, audit, offences) = (Duration::MAX, Duration::MAX, Duration::MAX);
        let keep = Keep { events, usage: Duration::from_secs(10 * 86_400), audit, offences };
        let now = Timestamp::from_millis(101 * MILLIS_PER_DAY);
        while archive.forget(keep, now).await.unwrap() > 0 {}
        assert_eq!(past("shop.example").await, [(95, 200, 200)]);
        assert_eq!(past("ann@shop.example").await, []);
    }
}
