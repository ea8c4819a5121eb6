//! Erasing an account: what is its own goes, what is others' stays without its name, and the file is written anew.
//!
//! What was counted stays under a number that no name belongs to, so that the sums of its tenant are as they were. The audit stays whole: an
//! entry says which of its values were erased. Of what others did, such as a message of somebody else to the erased address, only the
//! address goes. Who was erased is known by a keyed hash, so that a backup of before can be brought up to date.

use super::{
    Archive, Lasting,
    audit::{
        NewEntry, append,
        chain::{Field, Fields, Head, VALUES_ERASED},
        erase_values,
    },
    messages::{Mark, cut_marks_of},
    names, stored,
};
use crate::{
    store::{StoreError, backup::hexadecimal},
    types::{AccountId, Actor, Address, SubjectId, TenantId, Timestamp},
};
use ring::hmac;
use rusqlite::{Connection, ToSql, params, params_from_iter, types::Value};

/// What was erased, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErasedRows {
    /// Rows that were the account's own.
    pub gone: u64,
    /// Rows of others in which the name stood.
    pub changed: u64,
    /// Values of the audit.
    pub audit_values: u64,
}

/// An erasure, without a name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Erasure {
    /// When, in UTC.
    pub at: Timestamp,
    /// The keyed hash of the account's name.
    pub digest: String,
}

impl Archive {
    /// The keyed hash of a name, by which it is known that it was erased.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn erasure_digest(&self, subject: &SubjectId) -> Result<String, StoreError> {
        let subject = subject.clone();
        self.read(move |db| digest(db, &subject)).await
    }

    /// Notes that an account is going to be erased. What is noted is finished by [`Archive::finish_erasure`].
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn begin_erasure(&self, erasure: Erasure) -> Result<(), StoreError> {
        self.write_erasure(erasure, false).await
    }

    /// Notes that somebody was erased here.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn note_erasure(&self, erasure: Erasure) -> Result<(), StoreError> {
        self.write_erasure(erasure, true).await
    }

    async fn write_erasure(&self, erasure: Erasure, is_done: bool) -> Result<(), StoreError> {
        self.write(Lasting::Power, move |db| {
            db.execute(
                "INSERT OR REPLACE INTO erasures (digest, at, done) VALUES (?1, ?2, ?3)",
                params![erasure.digest, stored(erasure.at), is_done],
            )
            .map(drop)
        })
        .await
    }

    /// True if it is noted that somebody was erased here.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn has_erased(&self, digest: String) -> Result<bool, StoreError> {
        self.read_own(move |db| {
            db.prepare_cached("SELECT 1 FROM erasures WHERE digest = ?1")?.exists([digest])
        })
        .await
    }

    /// Forgets an erasure that was begun and is not to be carried out.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn forget_erasure(&self, erasure: Erasure) -> Result<(), StoreError> {
        self.write(Lasting::Power, move |db| {
            let place = params![erasure.digest, stored(erasure.at)];
            db.execute("DELETE FROM erasures WHERE digest = ?1 AND at = ?2", place).map(drop)
        })
        .await
    }

    /// Erasures that were begun and not finished.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn erasures_open(&self) -> Result<Vec<Erasure>, StoreError> {
        self.read(|db| {
            let mut select = db.prepare_cached("SELECT at, digest FROM erasures WHERE done = 0")?;
            let rows = select.query_map([], |row| {
                Ok(Erasure { at: Timestamp::from_millis(row.get(0)?), digest: row.get(1)? })
            })?;
            rows.collect()
        })
        .await
    }

    /// Notes that nothing of what was begun before a moment is left to do.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn close_erasures(&self, before: Timestamp) -> Result<(), StoreError> {
        self.write(Lasting::Process, move |db| {
            db.execute("UPDATE erasures SET done = 1 WHERE done = 0 AND at <= ?1", [stored(before)])
                .map(drop)
        })
        .await
    }

    /// All accounts and tenants that the archive has a name of.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn subjects(&self) -> Result<Vec<SubjectId>, StoreError> {
        self.read_own(|db| {
            let mut select = db.prepare_cached("SELECT kind, name FROM names")?;
            let mut rows = select.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(1)?;
                // A name in the archive was a valid one when it was stored.
                found.extend(names::subject_of(row.get(0)?, &name));
            }
            Ok(found)
        })
        .await
    }

    /// Erases what is stored of a tenant beside its accounts, which are erased before: its sums, too, because nobody is left whose they are.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn erase_tenant(
        &self,
        tenant: &TenantId,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(ErasedRows, Vec<Head>), StoreError> {
        let (tenant, actor) = (tenant.clone(), actor.clone());
        self.write(Lasting::Power, move |db| {
            let subject = SubjectId::Tenant(tenant.clone());
            let mut rows = ErasedRows::default();
            let Some(number) = names::find(db, &subject)? else { return Ok((rows, Vec::new())) };
            for table in TENANT_TABLES {
                let sql = format!("DELETE FROM {table} WHERE tenant = ?1");
                rows.gone += db.execute(&sql, [number])? as u64;
            }
            for table in ["suspensions", "storage", "storage_days", "closings"] {
                let sql = format!("DELETE FROM {table} WHERE subject = ?1");
                rows.gone += db.execute(&sql, [number])? as u64;
            }
            rows.gone += db
                .execute("DELETE FROM memory WHERE name = ?1", [format!("tenant/{tenant}")])?
                as u64;
            let mut about = db.prepare("SELECT number FROM audit_about WHERE tenant = ?1")?;
            let entries: Vec<i64> =
                about.query_map([number], |row| row.get(0))?.collect::<Result<_, _>>()?;
            let mut fields = Fields::default();
            for field in Field::ALL.into_iter().filter(|field| *field != Field::Actor) {
                fields.add(field);
            }
            let wanted: Vec<_> =
                entries.iter().map(|entry| (entry.unsigned_abs(), fields)).collect();
            let heads = erase_values(db, &wanted, &NewEntry::new(now, &actor, VALUES_ERASED))?;
            rows.audit_values = wanted.len() as u64;
            rename_subject(db, &subject)?;
            Ok((rows, heads))
        })
        .await
    }

    /// Erases an account, some rows at a time; returns what went. When this returns the rows are gone, and [`Archive::rewrite`] frees the
    /// file of what was in them.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written; what was erased by then stays so, and it can be asked for again.
    pub async fn erase_account(
        &self,
        account: &AccountId,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(ErasedRows, Vec<Head>), StoreError> {
        let mut rows = ErasedRows::default();
        loop {
            let account = account.clone();
            let step = self.write(Lasting::Process, move |db| erase_events(db, &account)).await?;
            rows.gone += step;
            if step == 0 {
                break;
            }
        }
        rows.changed += self.erase_mentions(account).await?;
        let (account, actor, key) = (account.clone(), actor.clone(), self.0.marks.clone());
        let (rest, heads) = self
            .write(Lasting::Power, move |db| {
                if let Ok(address) = account.as_str().parse::<Address>() {
                    cut_marks_of(db, &key, &Mark::Recipient(address))?;
                }
                let mut rest = erase_rest(db, &account)?;
                let (values, heads) = erase_audit(db, &account, &actor, now)?;
                rest.audit_values = values;
                rename(db, &account)?;
                Ok((rest, heads))
            })
            .await?;
        rows.gone += rest.gone;
        rows.changed += rest.changed;
        rows.audit_values += rest.audit_values;
        Ok((rows, heads))
    }

    /// Takes the name out of what others did, some events at a time.
    async fn erase_mentions(&self, account: &AccountId) -> Result<u64, StoreError> {
        let (mut beyond, mut changed) = (0, 0);
        let needle = Needle::new(account);
        loop {
            let wanted = needle.clone();
            let found = self.read_own(move |db| find_mentions(db, &wanted, beyond)).await?;
            let Some((last, found)) = found else { return Ok(changed) };
            beyond = last;
            if !found.is_empty() {
                changed += found.len() as u64;
                self.write(Lasting::Process, move |db| {
                    let mut put = db.prepare_cached("UPDATE events SET body = ?2 WHERE id = ?1")?;
                    found.iter().try_for_each(|(id, body)| put.execute(params![id, body]).map(drop))
                })
                .await?;
            }
        }
    }

    /// Notes that an erasure is finished, with its entry in the audit.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn finish_erasure(
        &self,
        digest: String,
        entry: NewEntry,
    ) -> Result<Option<Head>, StoreError> {
        self.write(Lasting::Power, move |db| {
            db.execute("UPDATE erasures SET done = 1 WHERE digest = ?1", [digest])?;
            append(db, &entry)
        })
        .await
    }

    /// Writes the file anew, so that no page and no part of one holds what was deleted. Writes wait meanwhile. Its log holds that until
    /// [`Archive::empty_log`].
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be written.
    pub async fn rewrite(&self) -> Result<(), StoreError> {
        self.0.writes.run_outside(crate::store::sqlite::schema::rewrite).await
    }

    /// Empties the file's log.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written, or a reader held it for too long.
    pub async fn empty_log(&self) -> Result<(), StoreError> {
        self.0.writes.run_outside(crate::store::sqlite::schema::empty_log).await
    }
}

/// The keyed hash of a name.
pub(super) fn digest(db: &Connection, subject: &SubjectId) -> rusqlite::Result<String> {
    let key: [u8; 32] =
        db.query_row("SELECT value FROM secrets WHERE name = 'erasures'", [], |row| row.get(0))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    Ok(hexadecimal(hmac::sign(&key, subject.to_string().as_bytes()).as_ref()))
}

fn erase_events(db: &Connection, account: &AccountId) -> rusqlite::Result<u64> {
    let Some(number) = names::find(db, &SubjectId::Account(account.clone()))? else { return Ok(0) };
    let some = "SELECT id FROM events WHERE account = ?1 ORDER BY id LIMIT 500";
    db.execute(&format!("DELETE FROM marks WHERE event IN ({some})"), [number])?;
    let gone = db.execute(&format!("DELETE FROM events WHERE id IN ({some})"), [number])?;
    Ok(gone as u64)
}

/// Events of others in which the name stands, among some after an id, without it; and the last id that was looked at. None: there are no more.
type Mentions = Option<(i64, Vec<(i64, String)>)>;

fn find_mentions(db: &Connection, needle: &Needle, beyond: i64) -> rusqlite::Result<Mentions> {
    let last: Option<i64> = db
        .prepare_cached(
            "SELECT max(id) FROM (SELECT id FROM events WHERE id > ?1 ORDER BY id LIMIT ?2)",
        )?
        .query_row(params![beyond, EVENTS_STEP], |row| row.get(0))?;
    let Some(last) = last else { return Ok(None) };
    let mut select = db.prepare_cached(
        "SELECT id, body FROM events WHERE id > ?1 AND id <= ?2 AND instr(lower(body), ?3) > 0",
    )?;
    let mut rows = select.query(params![beyond, last, needle.name])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(1)?;
        found
            .extend(needle.without(&body).map(|body| row.get(0).map(|id| (id, body))).transpose()?);
    }
    Ok(Some((last, found)))
}

/// Everything but events and the audit.
fn erase_rest(db: &Connection, account: &AccountId) -> rusqlite::Result<ErasedRows> {
    let mut rows = ErasedRows::default();
    if let Some(number) = names::find(db, &SubjectId::Account(account.clone()))? {
        for delete in OWN_ROWS {
            rows.gone += db.execute(delete, [number])? as u64;
        }
        rows.changed += db.execute(
            "UPDATE suspensions SET reason = 'erased', lifted_by = NULL WHERE subject = ?1",
            [number],
        )? as u64;
    }
    rows.gone +=
        db.execute("DELETE FROM memory WHERE name = ?1", [format!("account/{account}")])? as u64;
    let needle = Needle::new(account);
    for (table, column) in FREE_TEXTS {
        rows.changed += scrub(db, table, column, &needle)?;
    }
    Ok(rows)
}

/// Takes the name out of one column of a table.
fn scrub(db: &Connection, table: &str, column: &str, needle: &Needle) -> rusqlite::Result<u64> {
    let mut keys =
        db.prepare_cached("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")?;
    let keys: Vec<String> = keys.query_map([table], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut select = db.prepare(&format!(
        "SELECT {column}, {} FROM {table} WHERE instr(lower({column}), ?1) > 0",
        keys.join(", ")
    ))?;
    let mut rows = select.query([&needle.name])?;
    let mut found: Vec<Vec<Value>> = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(text) = needle.without(&row.get::<_, String>(0)?) else { continue };
        let mut values = vec![Value::Text(text)];
        for place in 1..=keys.len() {
            values.push(row.get(place)?);
        }
        found.push(values);
    }
    let places: Vec<String> =
        keys.iter().enumerate().map(|(at, key)| format!("{key} = ?{}", at + 2)).collect();
    let sql = format!("UPDATE {table} SET {column} = ?1 WHERE {}", places.join(" AND "));
    let mut update = db.prepare(&sql)?;
    for values in &found {
        update.execute(params_from_iter(values.iter().map(|value| value as &dyn ToSql)))?;
    }
    Ok(found.len() as u64)
}

/// Erases the values of entries about the account, but for who did it, and whatever values name it.
fn erase_audit(
    db: &Connection,
    account: &AccountId,
    actor: &Actor,
    now: Timestamp,
) -> rusqlite::Result<(u64, Vec<Head>)> {
    let mut wanted = std::collections::BTreeMap::<u64, Fields>::new();
    let mut add = |number: i64, field: Field| {
        wanted.entry(number.unsigned_abs()).or_default().add(field);
    };
    if let Some(number) = names::find(db, &SubjectId::Account(account.clone()))? {
        let mut about = db.prepare_cached("SELECT number FROM audit_about WHERE account = ?1")?;
        for entry in about.query_map([number], |row| row.get::<_, i64>(0))? {
            let entry = entry?;
            for field in Field::ALL.into_iter().filter(|field| *field != Field::Actor) {
                add(entry, field);
            }
        }
    }
    let needle = Needle::new(account);
    let mut select = db.prepare_cached(
        "SELECT number, field, value FROM audit_values WHERE instr(lower(value), ?1) > 0",
    )?;
    let mut rows = select.query([&needle.name])?;
    while let Some(row) = rows.next()? {
        let field = usize::try_from(row.get::<_, i64>(1)?).ok();
        let field = field.and_then(|field| Field::ALL.get(field).copied());
        if let (Some(field), true) = (field, needle.stands_in(&row.get::<_, String>(2)?)) {
            add(row.get(0)?, field);
        }
    }
    let wanted: Vec<(u64, Fields)> = wanted.into_iter().collect();
    db.execute("DELETE FROM audit_looks WHERE number IN (SELECT number FROM audit_looks \
        WHERE NOT EXISTS (SELECT 1 FROM audit_values WHERE audit_values.number = audit_looks.number AND field = 0))", [])?;
    let before: i64 = db.query_row("SELECT count(*) FROM audit_values", [], |row| row.get(0))?;
    let heads = erase_values(db, &wanted, &NewEntry::new(now, actor, VALUES_ERASED))?;
    let after: i64 = db.query_row("SELECT count(*) FROM audit_values", [], |row| row.get(0))?;
    // Each entry that says so has an actor and a text itself.
    let added = 2 * i64::try_from(heads.len()).unwrap_or(0);
    Ok(((before + added - after).unsigned_abs(), heads))
}

/// The number stays, and belongs to nobody.
fn rename(db: &Connection, account: &AccountId) -> rusqlite::Result<()> {
    rename_subject(db, &SubjectId::Account(account.clone()))
}

fn rename_subject(db: &Connection, subject: &SubjectId) -> rusqlite::Result<()> {
    let Some(number) = names::find(db, subject)? else { return Ok(()) };
    db.execute(
        "UPDATE names SET name = ?2 WHERE id = ?1",
        params![number, format!("erased:{number}")],
    )?;
    Ok(())
}

/// A name as it is looked for.
#[derive(Debug, Clone)]
struct Needle {
    name: String,
    /// It is an address, so it is known wherever it stands; another name is a word like others, and counts only as a whole value or behind the word `account`.
    is_address: bool,
}

impl Needle {
    fn new(account: &AccountId) -> Self {
        Self { name: account.as_str().to_ascii_lowercase(), is_address: account.domain().is_some() }
    }

    fn stands_in(&self, text: &str) -> bool {
        self.without(text).is_some()
    }

    /// The text with a name that is nobody's in its place; none if it does not stand there.
    fn without(&self, text: &str) -> Option<String> {
        let lower = text.to_ascii_lowercase();
        let (mut out, mut from, mut found) = (String::new(), 0, false);
        for (at, _) in lower.match_indices(&self.name) {
            let end = at + self.name.len();
            if at >= from && self.is_name(&lower[..at], &lower[end..]) {
                out.push_str(&text[from..at]);
                out.push_str(NOBODY);
                (from, found) = (end, true);
            }
        }
        out.push_str(&text[from..]);
        found.then_some(out)
    }

    /// Whether what stands between these is the name, and not a part of a longer one.
    fn is_name(&self, before: &str, after: &str) -> bool {
        let is_atom = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        let mut next = after.chars();
        let ends = match next.next() {
            None => true,
            // The end of a sentence, or a longer domain.
            Some('.') => next.next().is_none_or(|c| !is_atom(c)),
            Some(c) => !(c.is_alphanumeric() || c == '-' || c == '_'),
        };
        // `account/r/a@shop.example`, `<a@shop.example>`, `=a@shop.example`
        let begins = before.ends_with(['/', '=', '\'']) || !before.ends_with(is_atom);
        if self.is_address {
            return begins && ends;
        }
        let is_value = before.ends_with('"') && after.starts_with('"');
        let is_whole = before.is_empty() && after.is_empty();
        is_whole || is_value || ends && before.ends_with("account ") || ends && is_key(before)
    }
}

/// `account/r/`
fn is_key(before: &str) -> bool {
    before.strip_suffix('/').is_some_and(|before| {
        before.rsplit_once('/').is_some_and(|(scope, _)| scope.ends_with("account"))
    })
}

/// Stands where the name stood; an address and an account by its form, so that whatever reads the text can read it on.
const NOBODY: &str = "erased@erased.invalid";
/// Events that are looked through at a time.
const EVENTS_STEP: i64 = 20_000;

/// Rows that are an account's own, by its number.
const OWN_ROWS: [&str; 9] = [
    "DELETE FROM alert_deliveries WHERE notice IN (SELECT number FROM alert_notices WHERE alert IN \
        (SELECT id FROM alerts WHERE account = ?1))",
    "DELETE FROM alert_notices WHERE alert IN (SELECT id FROM alerts WHERE account = ?1)",
    "DELETE FROM alerts WHERE account = ?1",
    "DELETE FROM complaints WHERE account = ?1",
    "DELETE FROM storage WHERE subject = ?1",
    "DELETE FROM storage_days WHERE subject = ?1",
    "DELETE FROM usage_days_sets WHERE account = ?1",
    "DELETE FROM usage_months_sets WHERE account = ?1",
    "DELETE FROM closings WHERE subject = ?1",
];

/// Tables that name a tenant by its number.
const TENANT_TABLES: [&str; 14] = [
    "events",
    "alerts",
    "complaints",
    "offences",
    "usage_hours",
    "usage_days",
    "usage_months",
    "usage_days_sets",
    "usage_months_sets",
    "usage_reasons",
    "egress_hours",
    "report_letters",
    "tokens",
    "storage",
];

/// Columns of others' rows in which a name may stand.
const FREE_TEXTS: [(&str, &str); 14] = [
    ("alerts", "body"),
    ("alert_notices", "body"),
    ("complaints", "body"),
    ("listings", "body"),
    ("listings", "subject"),
    ("maintenance", "reason"),
    ("egress_choices", "reason"),
    ("suspensions", "reason"),
    ("usage_days_sets", "tops"),
    ("usage_months_sets", "tops"),
    ("offences", "detail"),
    ("holds", "reason"),
    ("closings", "reason"),
    ("backups", "file"),
];

pub(super) const CREATE: &str = "
CREATE TABLE erasures (digest TEXT PRIMARY KEY, at INTEGER NOT NULL, done INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO secrets (name, value) VALUES ('erasures', randomblob(32));
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_where_it_stands_and_not_within_another() {
        let address = Needle::new(&"a@shop.example".parse().unwrap());
        for (text, expected) in [
            (
                r#"{"from":"A@Shop.example","to":"aa@shop.example"}"#,
                Some(r#"{"from":"erased@erased.invalid","to":"aa@shop.example"}"#),
            ),
            ("account a@shop.example: 50 of 50", Some("account erased@erased.invalid: 50 of 50")),
            ("account/r/a@shop.example", Some("account/r/erased@erased.invalid")),
            ("asked a@shop.example. Twice.", Some("asked erased@erased.invalid. Twice.")),
            (
                "<a@shop.example>,<a@shop.example>",
                Some("<erased@erased.invalid>,<erased@erased.invalid>"),
            ),
            ("maria@shop.example", None),
            ("a@shop.example.com", None),
            ("x.a@shop.example", None),
            ("a@shop.example-two.com", None),
        ] {
            assert_eq!(address.without(text).as_deref(), expected, "{text}");
        }
        let word = Needle::new(&"web-17".parse().unwrap());
        for (text, is_found) in [
            (r#"{"account":"web-17"}"#, true),
            ("account web-17", true),
            ("account/r/web-17", true),
            ("web-17", true),
            ("on web-17 the disk is full", false),
            (r#"{"host":"web-17.example"}"#, false),
            ("account web-170", false),
        ] {
            assert_eq!(word.stands_in(text), is_found, "{text}");
        }
    }
}
