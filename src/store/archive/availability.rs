//! Whether mail could flow, a row for each minute, and planned maintenance.
//!
//! A minute without a row is one in which the program was not there. A row is two small numbers, so thirteen months are about 6 MB.

use super::{
    Archive, Lasting, NewEntry,
    audit::{self, chain::Head},
    stored, stream,
};
use crate::{
    rules::availability::{Ended, Known, Lacks, Minute},
    store::StoreError,
    types::{Month, Timestamp},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::ops::Range;

/// Maintenance that is to be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMaintenance {
    /// From when, in UTC.
    pub begins: Timestamp,
    /// Until when, in UTC.
    pub ends: Timestamp,
    /// Why.
    pub reason: String,
    /// Who planned it.
    pub actor: String,
    /// When it was planned, in UTC.
    pub noted: Timestamp,
}

/// Maintenance that was planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceRow {
    /// Its number.
    pub id: i64,
    /// What was planned.
    pub plan: NewMaintenance,
}

/// The most maintenance that is told at a time.
pub const MAINTENANCE_ROWS_MAX: u32 = 1_000;

impl Archive {
    /// Notes what looks brought to an end. A minute that is noted twice lacked what it lacked either time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written; nothing of it was.
    pub async fn note_minutes(&self, ended: Vec<Ended>) -> Result<(), StoreError> {
        let note = move |db: &Connection| {
            if !stream::is_shared(db)? {
                return ended.iter().try_for_each(|ended| note(db, ended));
            }
            let over =
                |ended: &Ended| ended.minute.map(|(minute, lacks)| (minute.number(), lacks.bits()));
            let minutes: Vec<_> = ended.iter().filter_map(over).collect();
            let Some(&(last, _)) = minutes.last() else { return Ok(()) };
            let content = stream::Content { minutes, ..stream::Content::default() };
            stream::post(db, &content, Minute::from_number(last).plus(1).begins())
        };
        self.write_and_tell(Lasting::Process, note).await
    }

    /// All that is known of a stretch of time.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn known_minutes(&self, stretch: Range<Minute>) -> Result<Known, StoreError> {
        self.read(move |db| known(db, &stretch)).await
    }

    /// Takes away the minutes, and the maintenance, that were over before a minute began.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written; nothing of it was.
    pub async fn forget_minutes(&self, before: Minute) -> Result<(), StoreError> {
        let forget = move |db: &Connection| {
            db.execute("DELETE FROM availability WHERE minute < ?1", [before.number()])?;
            db.execute("DELETE FROM skipped_minutes WHERE ends <= ?1", [before.number()])?;
            db.execute("DELETE FROM node_minutes WHERE minute < ?1", [before.number()])?;
            db.execute("DELETE FROM maintenance WHERE ends <= ?1", [stored(before.begins())])
        };
        self.write(Lasting::Process, forget).await.map(drop)
    }

    /// Plans maintenance and adds the entry, about it, to the audit; returns its number, and where the audit ends then. None: there is
    /// as much planned as may be.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written.
    pub async fn plan_maintenance(
        &self,
        plan: NewMaintenance,
        entry: NewEntry,
    ) -> Result<Option<(i64, Option<Head>)>, StoreError> {
        let job = move |db: &Connection| {
            let Some(id) = insert_plan(db, &plan)? else { return Ok(None) };
            let entry = NewEntry { subject: Some(subject(id)), ..entry };
            Ok(Some((id, audit::append(db, &entry)?)))
        };
        self.write_and_tell(Lasting::Power, job).await
    }

    /// Ends what is going on when the entry is made, or takes away what was to begin later, and adds the entry, about it, to the
    /// audit; returns where the audit ends then. None: there is no such maintenance with this number.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written.
    pub async fn end_maintenance(
        &self,
        id: i64,
        entry: NewEntry,
    ) -> Result<Option<Option<Head>>, StoreError> {
        let job = move |db: &Connection| {
            let now = entry.at;
            let over =
                "UPDATE maintenance SET ends = ?2 WHERE id = ?1 AND begins <= ?2 AND ends > ?2";
            let never = "DELETE FROM maintenance WHERE id = ?1 AND begins > ?2";
            let ended = db.execute(over, params![id, stored(now)])?;
            if ended + db.execute(never, params![id, stored(now)])? == 0 {
                return Ok(None);
            }
            let entry = NewEntry { subject: Some(subject(id)), ..entry };
            audit::append(db, &entry).map(Some)
        };
        self.write_and_tell(Lasting::Power, job).await
    }

    /// The maintenance that was planned for any part of a stretch of time, in its order, at most [`MAINTENANCE_ROWS_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn maintenance(
        &self,
        stretch: Range<Timestamp>,
    ) -> Result<Vec<MaintenanceRow>, StoreError> {
        self.read(move |db| maintenance(db, &stretch)).await
    }

    /// Notes that the use of a month's budget was told; false if it had been told already.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written.
    pub async fn note_budget_told(&self, month: Month, percent: u32) -> Result<bool, StoreError> {
        let insert = "INSERT OR IGNORE INTO budget_told (month, percent) VALUES (?1, ?2)";
        let note = move |db: &Connection| db.execute(insert, params![month.to_string(), percent]);
        Ok(self.write(Lasting::Process, note).await? > 0)
    }

    /// The last month of which something was told of its budget.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn last_budget_told(&self) -> Result<Option<(Month, u32)>, StoreError> {
        self.read(|db| {
            let last =
                "SELECT month, percent FROM budget_told ORDER BY month DESC, percent DESC LIMIT 1";
            let told = db.query_row(last, [], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
            let told = told.optional()?;
            Ok(told.and_then(|(month, percent)| Some((month.parse().ok()?, percent))))
        })
        .await
    }
}

fn note(db: &Connection, ended: &Ended) -> rusqlite::Result<()> {
    if let Some(minute) = ended.back_to {
        let cut = "UPDATE skipped_minutes SET ends = ?1 WHERE ends > ?1";
        db.execute(cut, [minute.number()])?;
        db.execute("DELETE FROM skipped_minutes WHERE begins >= ends", [])?;
    }
    if let Some(skipped) = &ended.skipped {
        let insert = "INSERT OR REPLACE INTO skipped_minutes (begins, ends) VALUES (?1, ?2)";
        db.execute(insert, [skipped.start.number(), skipped.end.number()])?;
    }
    if let Some((minute, lacks)) = ended.minute {
        let insert = "INSERT INTO availability (minute, lacks) VALUES (?1, ?2) \
            ON CONFLICT DO UPDATE SET lacks = lacks | excluded.lacks";
        let mut insert = db.prepare_cached(insert)?;
        insert.execute(params![minute.number(), lacks.bits()])?;
    }
    Ok(())
}

/// Notes minutes of one of several nodes. Of all of them together a minute lacked nothing if one of them lacked nothing in it,
/// and otherwise what each of them lacked.
pub(super) fn note_of(db: &Connection, node: &str, minutes: &[(i64, u8)]) -> rusqlite::Result<()> {
    let mut own = db.prepare_cached(
        "INSERT INTO node_minutes (minute, node, lacks) VALUES (?1, ?2, ?3) \
         ON CONFLICT DO UPDATE SET lacks = lacks | excluded.lacks",
    )?;
    let mut of_all = db.prepare_cached("SELECT lacks FROM node_minutes WHERE minute = ?1")?;
    let mut put =
        db.prepare_cached("INSERT OR REPLACE INTO availability (minute, lacks) VALUES (?1, ?2)")?;
    for &(minute, lacks) in minutes {
        own.execute(params![minute, node, lacks])?;
        let lacks = of_all.query_map([minute], |row| row.get::<_, u8>(0))?;
        let lacks: Vec<u8> = lacks.collect::<Result<_, _>>()?;
        let together =
            if lacks.contains(&0) { 0 } else { lacks.iter().fold(0, |all, one| all | one) };
        put.execute(params![minute, together])?;
    }
    Ok(())
}

fn known(db: &Connection, stretch: &Range<Minute>) -> rusqlite::Result<Known> {
    let (begin, end) = (stretch.start.number(), stretch.end.number());
    let minutes =
        "SELECT minute, lacks FROM availability WHERE minute >= ?1 AND minute < ?2 ORDER BY minute";
    let mut minutes = db.prepare_cached(minutes)?;
    let minute =
        |row: &Row<'_>| Ok((Minute::from_number(row.get(0)?), Lacks::from_bits(row.get(1)?)));
    let minutes = minutes.query_map([begin, end], minute)?.collect::<Result<_, _>>()?;
    let skipped = "SELECT begins, ends FROM skipped_minutes WHERE begins < ?2 AND ends > ?1";
    let mut skipped = db.prepare_cached(skipped)?;
    let range =
        |row: &Row<'_>| Ok(Minute::from_number(row.get(0)?)..Minute::from_number(row.get(1)?));
    let skipped = skipped.query_map([begin, end], range)?.collect::<Result<_, _>>()?;
    let planned = maintenance(db, &(stretch.start.begins()..stretch.end.begins()))?;
    // A minute that is planned in part is planned.
    let whole = |row: &MaintenanceRow| Minute::of(row.plan.begins)..Minute::from(row.plan.ends);
    Ok(Known {
        minutes,
        skipped,
        maintenance: planned.iter().map(whole).collect(),
        first: edge(db, "min")?,
        last: edge(db, "max")?,
    })
}

fn edge(db: &Connection, which: &str) -> rusqlite::Result<Option<Minute>> {
    let sql = format!("SELECT {which}(minute) FROM availability");
    let minute: Option<i64> = db.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
    Ok(minute.map(Minute::from_number))
}

fn subject(id: i64) -> String {
    format!("maintenance {id}")
}

fn insert_plan(db: &Connection, plan: &NewMaintenance) -> rusqlite::Result<Option<i64>> {
    let count = "SELECT count(*) FROM maintenance WHERE ends > ?1";
    let count: u32 = db.query_row(count, [stored(plan.noted)], |row| row.get(0))?;
    if count >= MAINTENANCE_PLANNED_MAX {
        return Ok(None);
    }
    let insert =
        "INSERT INTO maintenance (begins, ends, reason, actor, noted) VALUES (?1, ?2, ?3, ?4, ?5)";
    let (begins, ends, noted) = (stored(plan.begins), stored(plan.ends), stored(plan.noted));
    db.execute(insert, params![begins, ends, plan.reason, plan.actor, noted])?;
    Ok(Some(db.last_insert_rowid()))
}

fn maintenance(
    db: &Connection,
    stretch: &Range<Timestamp>,
) -> rusqlite::Result<Vec<MaintenanceRow>> {
    let mut select = db.prepare_cached(
        "SELECT id, begins, ends, reason, actor, noted FROM maintenance \
         WHERE begins < ?2 AND ends > ?1 ORDER BY begins, id LIMIT ?3",
    )?;
    let moment = |row: &Row<'_>, column| row.get(column).map(Timestamp::from_millis);
    let row = |row: &Row<'_>| {
        let plan = NewMaintenance {
            begins: moment(row, 1)?,
            ends: moment(row, 2)?,
            reason: row.get(3)?,
            actor: row.get(4)?,
            noted: moment(row, 5)?,
        };
        Ok(MaintenanceRow { id: row.get(0)?, plan })
    };
    let (begin, end) = (stored(stretch.start), stored(stretch.end));
    select.query_map(params![begin, end, MAINTENANCE_ROWS_MAX], row)?.collect()
}

/// Maintenance that may be planned at a time.
const MAINTENANCE_PLANNED_MAX: u32 = 200;

pub(super) const CREATE: &str = "
CREATE TABLE availability (minute INTEGER PRIMARY KEY, lacks INTEGER NOT NULL);
CREATE TABLE skipped_minutes (begins INTEGER PRIMARY KEY, ends INTEGER NOT NULL);
CREATE TABLE maintenance (id INTEGER PRIMARY KEY AUTOINCREMENT, begins INTEGER NOT NULL,
    ends INTEGER NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL, noted INTEGER NOT NULL);
CREATE INDEX maintenance_ends ON maintenance (ends);
CREATE TABLE budget_told (month TEXT NOT NULL, percent INTEGER NOT NULL,
    PRIMARY KEY (month, percent)) WITHOUT ROWID;
";

#[cfg(test)]
mod tests {
    use super::{
        super::{Settings, open},
        *,
    };
    use crate::{
        rules::availability::tally,
        store::archive::{AuditFilter, audit::chain::Field},
        types::Actor,
    };

    fn archive() -> (Archive, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        (archive, folder)
    }

    fn minute(number: i64, lacks: Lacks) -> Ended {
        Ended { minute: Some((Minute::from_number(number), lacks)), ..Ended::default() }
    }

    fn range(begin: i64, end: i64) -> Range<Minute> {
        Minute::from_number(begin)..Minute::from_number(end)
    }

    #[tokio::test]
    async fn minutes_are_kept_and_one_that_comes_twice_lacks_what_it_lacked_either_time() {
        let (archive, _folder) = archive();
        let empty = archive.known_minutes(range(0, 100)).await.unwrap();
        assert_eq!((empty.first, empty.last, empty.minutes), (None, None, vec![]));
        let ended = vec![minute(7, Lacks::NOTHING), minute(9, Lacks::STORE)];
        archive.note_minutes(ended).await.unwrap();
        archive.note_minutes(vec![minute(9, Lacks::NEXT_HOP)]).await.unwrap();
        let known = archive.known_minutes(range(8, 100)).await.unwrap();
        let number = Minute::from_number;
        assert_eq!(known.minutes, [(number(9), Lacks::STORE.and(Lacks::NEXT_HOP))]);
        assert_eq!((known.first, known.last), (Some(number(7)), Some(number(9))));
        archive.forget_minutes(number(9)).await.unwrap();
        let known = archive.known_minutes(range(0, 100)).await.unwrap();
        assert_eq!((known.minutes.len(), known.first), (1, Some(number(9))));
    }

    #[tokio::test]
    async fn what_was_skipped_is_there_again_when_the_clock_is_set_back() {
        let (archive, _folder) = archive();
        let skipped = |begin, end| Ended { skipped: Some(range(begin, end)), ..Ended::default() };
        let back = |to| Ended { back_to: Some(Minute::from_number(to)), ..Ended::default() };
        archive.note_minutes(vec![skipped(10, 20), skipped(30, 90)]).await.unwrap();
        let ranges = async || archive.known_minutes(range(0, 100)).await.unwrap().skipped;
        assert_eq!(ranges().await, [range(10, 20), range(30, 90)]);
        archive.note_minutes(vec![back(40)]).await.unwrap();
        assert_eq!(ranges().await, [range(10, 20), range(30, 40)]);
        archive.note_minutes(vec![back(5)]).await.unwrap();
        assert_eq!(ranges().await, []);
    }

    #[tokio::test]
    async fn maintenance_covers_each_minute_that_it_touches_until_it_is_ended() {
        let (archive, _folder) = archive();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let plan = |begin, end| NewMaintenance {
            begins: at(begin),
            ends: at(end),
            reason: "new disks".into(),
            actor: "uid 0".into(),
            noted: at(0),
        };
        let entry =
            |seconds| NewEntry::new(at(seconds), &Actor::automatic("test"), "maintenance-planned");
        let planned = async |plan| archive.plan_maintenance(plan, entry(0)).await.unwrap();
        let first = planned(plan(90, 301)).await.unwrap().0;
        let second = planned(plan(600, 900)).await.unwrap().0;
        let known = archive.known_minutes(range(0, 100)).await.unwrap();
        assert_eq!(known.maintenance, [range(1, 6), range(10, 15)]);
        assert_eq!(
            tally(&range(0, 20), Minute::from_number(20), &known).maintenance,
            0,
            "no minute yet"
        );
        let ended = async |id| archive.end_maintenance(id, entry(119)).await.unwrap().is_some();
        assert_eq!(
            [ended(first).await, ended(second).await, ended(first).await],
            [true, true, false]
        );
        let entries =
            archive.audit(AuditFilter { max: 9, ..AuditFilter::default() }).await.unwrap();
        let subjects: Vec<_> = entries.iter().filter_map(|e| e.value(Field::Subject)).collect();
        assert_eq!(subjects.len(), 4, "{subjects:?}");
        let rows = archive.maintenance(at(0)..at(9_999)).await.unwrap();
        let ended = NewMaintenance { ends: at(119), ..plan(90, 301) };
        assert_eq!(rows, [MaintenanceRow { id: first, plan: ended }]);
        assert_eq!(archive.maintenance(at(119)..at(9_999)).await.unwrap(), []);
        for number in 1..=MAINTENANCE_PLANNED_MAX {
            assert_eq!(
                planned(plan(700, 800)).await.is_some(),
                number < MAINTENANCE_PLANNED_MAX,
                "{number}"
            );
        }
    }

    #[tokio::test]
    async fn the_use_of_a_budget_is_told_once() {
        let (archive, _folder) = archive();
        let month = |text: &str| -> Month { text.parse().unwrap() };
        assert_eq!(archive.last_budget_told().await.unwrap(), None);
        for (text, percent, new) in [
            ("2026-11", 50, true),
            ("2026-11", 50, false),
            ("2026-11", 100, true),
            ("2026-10", 100, true),
        ] {
            let told = archive.note_budget_told(month(text), percent).await.unwrap();
            assert_eq!(told, new, "{text} {percent}");
        }
        assert_eq!(archive.last_budget_told().await.unwrap(), Some((month("2026-11"), 100)));
    }
}
