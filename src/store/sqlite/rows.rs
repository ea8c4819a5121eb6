//! Rows of the record tables: subjects, changes, refusals, reports. Each function reads or writes one kind of row.

use super::{
    super::{
        StoreError,
        disguise::KEY_BYTES,
        outbox::{Changed, Outbox},
        records::{LAST_REFUSALS_MAX, LastRefusal, Revision, SubjectKind, SubjectRecord},
        refusals::Refusals,
        subjects::{Subjects, kind_of, name_of},
        warned::{Report, WARNED_MAX, Warned},
    },
    queue::{ChangeTask, EraseTask},
    replica::Takeover,
    schema::{self, failed},
};
use crate::{
    clock::Anchor,
    event::{LimitHit, LimitReached},
    types::{AccountId, Key, Limit, Span, SubjectId, Timestamp, Unit},
};
use rusqlite::{Connection, params};
use std::{sync::Arc, time::Duration};

/// Notes the highest time, and what the boot-time clock shows beside it.
pub(super) fn save_time(
    db: &Connection,
    high_water: Timestamp,
    anchor: Option<Anchor>,
) -> rusqlite::Result<()> {
    let mut put = db.prepare_cached(schema::PUT_META)?;
    put.execute(params!["high_water", high_water.as_millis()])?;
    if let Some(Anchor { boot_id, boot, ledger }) = anchor {
        for (name, value) in [("boot_id", boot_id), ("boot", boot), ("boot_ledger", ledger)] {
            put.execute(params![name, value])?;
        }
    }
    Ok(())
}

pub(super) fn load_anchor(db: &Connection) -> Result<Option<Anchor>, StoreError> {
    let number = |row: &rusqlite::Row<'_>, at| row.get::<_, Option<i64>>(at);
    db.query_row(schema::ANCHOR, [], |row| {
        let (boot_id, boot, ledger) = (number(row, 0)?, number(row, 1)?, number(row, 2)?);
        Ok(boot_id.zip(boot).zip(ledger))
    })
    .map(|found| found.map(|((boot_id, boot), ledger)| Anchor { boot_id, boot, ledger }))
    .map_err(failed)
}

/// A number that is noted under a name.
pub(super) fn load_meta(db: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    let mut found = None;
    each(db, schema::META, params![name], |row| {
        found = Some(row.get(0)?);
        Ok(())
    })?;
    Ok(found)
}

pub(super) fn save_change(db: &Connection, task: &ChangeTask) -> rusqlite::Result<()> {
    if let Some(left) = &task.replaces {
        save_subject(db, left, &SubjectRecord::default())?;
    }
    save_subject(db, &task.changed.subject, &task.record)?;
    add_change(db, &task.changed)
}

/// Deletes what names an account, but for its windows, which the next checkpoint stores under another name.
pub(super) fn erase(db: &Connection, task: &EraseTask) -> rusqlite::Result<()> {
    save_subject(db, &task.subject, &SubjectRecord::default())?;
    if *task.left != SubjectRecord::default() {
        save_subject(db, &task.alias, &task.left)?;
    }
    if let SubjectId::Account(account) = &task.subject {
        db.prepare_cached(schema::CUT_REFUSAL)?.execute(params![account.as_str()])?;
    }
    for unit in Unit::ALL {
        let key = Key::of_subject(&task.subject, unit);
        db.prepare_cached(schema::CUT_WARNED_OF)?.execute(params![key.as_str()])?;
    }
    Ok(())
}

/// The key of names of what is erased, drawn the first time.
pub(super) fn disguise_key(db: &Connection) -> Result<[u8; KEY_BYTES], StoreError> {
    db.execute(schema::DRAW_KEY, []).map_err(failed)?;
    db.query_row(schema::META, params![schema::ERASURE_KEY], |row| row.get(0)).map_err(failed)
}

pub(super) fn save_takeover(db: &Connection, takeover: &Takeover) -> rusqlite::Result<()> {
    for (subject, record) in &takeover.records {
        save_subject(db, subject, record)?;
    }
    for changed in &takeover.changes {
        add_change(db, changed)?;
    }
    if let Some(key) = takeover.erasure_key {
        db.prepare_cached(schema::PUT_META)?.execute(params![schema::ERASURE_KEY, key])?;
    }
    let Some(Revision { number, mark }) = takeover.revision else { return cut_revision(db) };
    let mut put = db.prepare_cached(schema::PUT_META)?;
    put.execute(params!["shared_number", number])?;
    put.execute(params!["shared_mark", mark])?;
    Ok(())
}

/// Forgets up to which shared change the records have come.
pub(super) fn cut_revision(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached(schema::CUT_REVISION)?.execute([])?;
    Ok(())
}

pub(super) fn load_revision(db: &Connection) -> Result<Option<Revision>, StoreError> {
    let number = |row: &rusqlite::Row<'_>, at| row.get::<_, Option<i64>>(at);
    let read = |row: &rusqlite::Row<'_>| Ok(number(row, 0)?.zip(number(row, 1)?));
    let found = db.query_row(schema::REVISION, [], read).map_err(failed)?;
    Ok(found.map(|(number, mark)| Revision { number, mark }))
}

fn save_subject(
    db: &Connection,
    subject: &SubjectId,
    record: &SubjectRecord,
) -> rusqlite::Result<()> {
    let (kind, name) = place(subject);
    if *record == SubjectRecord::default() {
        db.prepare_cached(schema::CUT_SUBJECT)?.execute(params![kind, name])?;
    } else {
        db.prepare_cached(schema::PUT_SUBJECT)?.execute(params![kind, name, to_json(record)?])?;
    }
    Ok(())
}

fn add_change(db: &Connection, changed: &Changed) -> rusqlite::Result<()> {
    db.prepare_cached(schema::ADD_CHANGE)?.execute(params![changed.number, to_json(changed)?])?;
    Ok(())
}

/// Deletes the changes up to a number, and overwrites what they said: names must not stay here once the audit has them.
pub(super) fn cut_changes(db: &Connection, up_to: i64) -> rusqlite::Result<()> {
    let overwrite =
        |wanted: &str| db.pragma_update_and_check(None, "secure_delete", wanted, |_| Ok(()));
    overwrite("ON")?;
    let cut = db.prepare_cached(schema::CUT_CHANGES)?.execute(params![up_to]);
    overwrite("FAST")?;
    cut.map(|_| ())
}

pub(super) fn load_outbox(db: &Connection) -> Result<Outbox, StoreError> {
    let mut waiting: Vec<Changed> = Vec::new();
    each(db, schema::ALL_CHANGES, params![], |row| {
        waiting.push(from_json(&row.get::<_, String>(0)?)?);
        Ok(())
    })?;
    let last = db.query_row(schema::LAST_CHANGE, [], |row| row.get(0)).map_err(failed)?;
    Ok(Outbox::restored(waiting, last))
}

pub(super) fn load_subjects(db: &Connection, subjects: &Subjects) -> Result<(), StoreError> {
    each(db, schema::ALL_SUBJECTS, params![], |row| {
        let (kind, name): (i64, String) = (row.get(0)?, row.get(1)?);
        let record: SubjectRecord = from_json(&row.get::<_, String>(2)?)?;
        subjects.put(subject_of(kind, &name)?, Arc::new(record));
        Ok(())
    })
}

pub(super) fn save_warned(
    db: &Connection,
    reached: &LimitReached,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let window = span_millis(reached.limit.window);
    db.prepare_cached(schema::PUT_WARNED)?.execute(params![
        reached.key.as_str(),
        window,
        reached.percent,
        at.as_millis()
    ])?;
    Ok(())
}

pub(super) fn load_warned(
    db: &Connection,
    warned: &Warned,
    now: Timestamp,
) -> Result<(), StoreError> {
    db.execute(schema::CUT_WARNED, params![now.as_millis()]).map_err(schema::failed)?;
    each(db, schema::ALL_WARNED, params![WARNED_MAX as i64], |row| {
        let window = span_of(row.get(1)?);
        let at = Timestamp::from_millis(row.get(3)?);
        let report = Report { percent: row.get(2)?, at };
        warned.restore(parse(&row.get::<_, String>(0)?)?, window, report);
        Ok(())
    })
}

pub(super) fn save_refusal(
    db: &Connection,
    account: &AccountId,
    refusal: &LastRefusal,
) -> rusqlite::Result<()> {
    let hit = refusal.limit.as_ref().map(|hit| to_json(&StoredHit::of(hit))).transpose()?;
    let at = refusal.at.as_millis();
    db.prepare_cached(schema::PUT_REFUSAL)?.execute(params![
        account.as_str(),
        at,
        refusal.reply,
        hit
    ])?;
    Ok(())
}

pub(super) fn trim_refusals(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached(schema::CUT_REFUSALS)?.execute(params![LAST_REFUSALS_MAX as i64])?;
    Ok(())
}

pub(super) fn load_refusals(db: &Connection, refusals: &Refusals) -> Result<(), StoreError> {
    each(db, schema::ALL_REFUSALS, params![(LAST_REFUSALS_MAX / 2) as i64], |row| {
        let (at, reply) = (Timestamp::from_millis(row.get(1)?), row.get(2)?);
        let hit: Option<String> = row.get(3)?;
        let limit = hit.map(|hit| from_json::<StoredHit>(&hit)?.into_hit()).transpose()?;
        let refusal = LastRefusal { at, reply, limit, count: 0 };
        refusals.restore(parse(&row.get::<_, String>(0)?)?, refusal);
        Ok(())
    })
}

/// Calls `see` with each row of a query.
pub(super) fn each(
    db: &Connection,
    query: &str,
    parameters: impl rusqlite::Params,
    mut see: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), StoreError> {
    let mut statement = db.prepare(query).map_err(failed)?;
    let mut rows = statement.query(parameters).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        see(row).map_err(failed)?;
    }
    Ok(())
}

/// Makes an error of a value that cannot be read, in the form that a row's reader returns.
pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error))
}

pub(super) fn parse<T>(text: &str) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err = crate::types::ParseError>,
{
    text.parse().map_err(unreadable)
}

#[derive(serde::Serialize, serde::Deserialize)]
struct StoredHit {
    key: String,
    window_millis: i64,
    max: u32,
    used: u32,
    next_slot: Option<Timestamp>,
}

impl StoredHit {
    fn of(hit: &LimitHit) -> Self {
        Self {
            key: hit.key.to_string(),
            window_millis: span_millis(hit.limit.window),
            max: hit.limit.max,
            used: hit.used,
            next_slot: hit.next_slot,
        }
    }

    fn into_hit(self) -> rusqlite::Result<LimitHit> {
        let key: Key = parse(&self.key)?;
        let limit = Limit { window: span_of(self.window_millis), max: self.max };
        Ok(LimitHit { key, limit, used: self.used, next_slot: self.next_slot })
    }
}

fn place(subject: &SubjectId) -> (i64, &str) {
    let kind = match kind_of(subject) {
        SubjectKind::Accounts => ACCOUNT,
        SubjectKind::Tenants => TENANT,
    };
    (kind, name_of(subject))
}

fn subject_of(kind: i64, name: &str) -> rusqlite::Result<SubjectId> {
    match kind {
        ACCOUNT => Ok(SubjectId::Account(parse(name)?)),
        TENANT => Ok(SubjectId::Tenant(parse(name)?)),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(0, other)),
    }
}

fn span_millis(span: Span) -> i64 {
    i64::try_from(span.length().as_millis()).unwrap_or(i64::MAX)
}

fn span_of(millis: i64) -> Span {
    Span::new(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(unreadable)
}

const ACCOUNT: i64 = 0;
const TENANT: i64 = 1;
