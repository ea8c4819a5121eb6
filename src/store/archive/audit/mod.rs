//! The audit: every change and every automatic decision, for good.
//!
//! Entries are only ever added. They chain by hash ([`chain`]); what in them is somebody's stands apart in `audit_values` and is
//! bound to its entry by a salted commitment, so that it can be erased later without a trace in the chain. docs/audit.md has
//! the tables and how to check them by hand.
//!
//! Changes of accounts and tenants come from the records' outbox, in their order and once each ([`Archive::append_changes`]).
//! Whatever else is to be audited calls [`Archive::append_audit`], or, where it is itself a write to the archive, [`append`] in
//! the same job, so that neither is there without the other. Both survive power loss before they return.

mod anchor;
pub mod chain;
mod verify;

pub(super) use self::anchor::{Anchor, plant};
pub use self::{
    anchor::AnchorState,
    verify::{Verdict, verify_file},
};

use self::chain::{
    Commitment, Field, Fields, Hash, Head, Link, Opening, Salt, VALUES_ERASED, commit, write_erased,
};
use super::{Archive, Lasting, Order, events::Wanted, holds::NOT_HELD, names, stored, stream};
use crate::{
    event::{Audited, Event},
    store::{Changed, StoreError},
    types::{AccountId, Actor, SubjectId, TenantId, Timestamp, Via},
};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use std::borrow::Cow;

/// Something that is to stand in the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// When, in UTC.
    pub at: Timestamp,
    /// What was done, as a stable word: `token-created`. docs/audit.md has them all. Nobody's name.
    pub action: Cow<'static, str>,
    /// Who did it.
    pub actor: Actor,
    /// What it was done to: `account a@shop.example`, `token 3`.
    pub subject: Option<String>,
    /// The tenant whose matter it is, which may read it.
    pub tenant: Option<TenantId>,
    /// The account whose matter it is.
    pub account: Option<AccountId>,
    /// What stood there before.
    pub before: Option<String>,
    /// What stands there now.
    pub after: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What an automatic decision was made on; of a complaint, its note.
    pub evidence: Option<String>,
}

impl NewEntry {
    /// An entry that says who did what and when, and nothing else yet.
    #[must_use]
    pub fn new(at: Timestamp, actor: &Actor, action: &'static str) -> Self {
        Self {
            at,
            action: action.into(),
            actor: actor.clone(),
            subject: None,
            tenant: None,
            account: None,
            before: None,
            after: None,
            reason: None,
            evidence: None,
        }
    }

    fn values(&self) -> [Option<&str>; Field::ALL.len()] {
        [
            self.subject.as_deref(),
            Some(self.actor.name()),
            self.before.as_deref(),
            self.after.as_deref(),
            self.reason.as_deref(),
            self.evidence.as_deref(),
        ]
    }
}

impl From<&Changed> for NewEntry {
    fn from(changed: &Changed) -> Self {
        let account = match &changed.subject {
            SubjectId::Account(account) => Some(account.clone()),
            SubjectId::Tenant(_) => None,
        };
        Self {
            at: changed.at,
            action: changed.action.clone().into(),
            actor: changed.actor.clone(),
            subject: Some(changed.subject.to_string()),
            tenant: Some(changed.tenant.clone()),
            account,
            before: changed.before.clone(),
            after: changed.after.clone(),
            reason: changed.reason.clone(),
            evidence: changed.evidence.clone(),
        }
    }
}

/// An entry with those of its values that were not erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The entry as the chain has it.
    pub link: Link,
    /// Its hash.
    pub hash: Hash,
    /// Its values.
    pub values: Vec<Opening>,
}

impl AuditEntry {
    /// A value; none if the entry never had it, or it was erased.
    #[must_use]
    pub fn value(&self, field: Field) -> Option<&str> {
        self.values.iter().find(|opening| opening.field == field).map(|o| o.value.as_str())
    }

    /// The values that the entry had and that were erased since.
    pub fn erased(&self) -> impl Iterator<Item = Field> {
        let had = |field: &Field| self.link.commitments[*field as usize].is_some();
        Field::ALL.into_iter().filter(had).filter(|field| self.value(*field).is_none())
    }
}

/// Which entries; what is left out does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only what was done so.
    pub actions: Vec<String>,
    /// None that was done so.
    pub hidden: &'static [&'static str],
    /// Only the matters of this tenant and its accounts.
    pub tenant: Option<TenantId>,
    /// Only the matters of one of these; none given: all.
    pub about: Vec<SubjectId>,
    /// Only those at or after this moment.
    pub since: Option<Timestamp>,
    /// Only those before this moment.
    pub until: Option<Timestamp>,
    /// Only those beyond this number, in the order that is asked for.
    pub beyond: Option<u64>,
    /// Which come first.
    pub order: Order,
    /// How many, 1 to [`AUDIT_PAGE_MAX`].
    pub max: usize,
}

/// The most entries of one page.
pub const AUDIT_PAGE_MAX: usize = 500;

impl Archive {
    /// Adds an entry and returns its number and hash, which go out with the log; none where the archive is shared, because it is
    /// on its way to all of them then.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written; it is not in the audit then.
    pub async fn append_audit(&self, entry: NewEntry) -> Result<Option<Head>, StoreError> {
        self.write_and_tell(Lasting::Power, move |db| append(db, &entry)).await
    }

    /// Adds changes of the records in their order. One that is there already, by its key, is left out: whoever hands changes
    /// over does so again after a crash. Returns an entry's action and head for each that was added.
    ///
    /// # Errors
    /// [`StoreError`] if they could not be written; none of them is in the audit then.
    pub async fn append_changes(
        &self,
        changes: Vec<Changed>,
    ) -> Result<Vec<(String, Head)>, StoreError> {
        self.write(Lasting::Power, move |db| {
            let mut added = Vec::with_capacity(changes.len());
            for changed in &changes {
                let prepared = Prepared::draw(&changed.into(), Some(changed.key))?;
                let head = insert_prepared(db, &prepared)?;
                added.extend(head.map(|head| (changed.action.clone(), head)));
            }
            Ok(added)
        })
        .await
    }

    /// Forgets some of what was sought in looks of before a moment. Returns how many looks that were, and the heads of the
    /// entries that say so.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn forget_looks(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<(usize, Vec<Head>), StoreError> {
        self.write(Lasting::Power, move |db| cut_looks(db, before, now)).await
    }

    /// Forgets the values of some entries of before a moment. Returns how many entries that were, and the heads of the entries that say so.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn forget_values(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<(usize, Vec<Head>), StoreError> {
        self.write(Lasting::Power, move |db| cut_values(db, before, now)).await
    }

    /// Puts changes of the records on their way to all nodes, as [`Archive::append_changes`] adds them here.
    ///
    /// # Errors
    /// [`StoreError`] if they could not be written; none of them is on its way then.
    pub async fn post_changes(&self, changes: Vec<Changed>) -> Result<(), StoreError> {
        let posted = self.write_and_tell(Lasting::Power, move |db| {
            let Some(at) = changes.last().map(|changed| changed.at) else { return Ok(()) };
            let prepare = |changed: &Changed| Prepared::draw(&changed.into(), Some(changed.key));
            let audit = changes.iter().map(prepare).collect::<Result<_, _>>()?;
            stream::post(db, &stream::Content { audit, ..stream::Content::default() }, at)
        });
        posted.await
    }

    /// Those of some changes that are not in the audit.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn without_entries(&self, changes: Vec<Changed>) -> Result<Vec<Changed>, StoreError> {
        self.read_own(move |db| {
            let mut without = Vec::new();
            for changed in changes {
                if !has(db, &changed.key)? {
                    without.push(changed);
                }
            }
            Ok(without)
        })
        .await
    }

    /// One page of entries.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn audit(&self, filter: AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        self.read(move |db| select(db, &filter)).await
    }
}

/// Adds an entry, for jobs of the archive that are to be audited in their own transaction; it must be [`Lasting::Power`]. None where
/// the archive is shared: then it is on its way to all of them.
pub(super) fn append(db: &Connection, entry: &NewEntry) -> rusqlite::Result<Option<Head>> {
    let prepared = Prepared::draw(entry, None)?;
    if stream::is_shared(db)? {
        let content = stream::Content { audit: vec![prepared], ..stream::Content::default() };
        stream::post(db, &content, entry.at)?;
        return Ok(None);
    }
    insert_prepared(db, &prepared)
}

/// An entry with everything that is drawn for it, so that it comes to the same hash in every archive.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Prepared {
    /// When, in UTC milliseconds.
    at: i64,
    /// What was done.
    pub(super) action: String,
    via: Via,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<[u8; 16]>,
    /// The values by the names of their fields, with their salts.
    values: Vec<(String, String, Salt)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<AccountId>,
}

impl Prepared {
    pub(super) fn draw(entry: &NewEntry, key: Option<[u8; 16]>) -> rusqlite::Result<Self> {
        let mut values = Vec::new();
        for (field, value) in Field::ALL.into_iter().zip(entry.values()) {
            let Some(value) = value else { continue };
            values.push((field.name().to_owned(), bounded(value), draw_salt()?));
        }
        Ok(Self {
            at: stored(entry.at),
            action: entry.action.clone().into_owned(),
            via: entry.actor.via(),
            key,
            values,
            tenant: entry.tenant.clone(),
            account: entry.account.clone(),
        })
    }
}

/// Adds an entry at the end of the chain; none if it is there already, by its key.
pub(super) fn insert_prepared(db: &Connection, entry: &Prepared) -> rusqlite::Result<Option<Head>> {
    if let Some(key) = &entry.key
        && has(db, key)?
    {
        return Ok(None);
    }
    let head = head(db)?;
    let mut openings = Vec::new();
    let mut commitments = [None; Field::ALL.len()];
    for (name, value, salt) in &entry.values {
        // A field that only a newer version knows is left out; its chain is another one then, and says so when it is compared.
        let Some(field) = Field::ALL.into_iter().find(|field| field.name() == name) else {
            continue;
        };
        commitments[field as usize] = Some(commit(field, value, salt));
        openings.push(Opening { field, value: value.clone(), salt: *salt });
    }
    let link = Link {
        number: head.number + 1,
        at: Timestamp::from_millis(entry.at),
        action: entry.action.clone(),
        via: entry.via,
        key: entry.key,
        commitments,
        prev: head.hash,
    };
    let hash = link.hash();
    insert(db, &link, hash)?;
    insert_values(db, link.number, &openings)?;
    insert_about(db, link.number, (&entry.tenant, &entry.account))?;
    if entry.action == TRACED {
        let mut insert =
            db.prepare_cached("INSERT INTO audit_looks (number, at) VALUES (?1, ?2)")?;
        insert.execute(params![signed(link.number), stored(link.at)])?;
    }
    Ok(Some(Head { number: link.number, hash }))
}

fn insert(db: &Connection, link: &Link, hash: Hash) -> rusqlite::Result<()> {
    let [subject, actor, before, after, reason, evidence] = &link.commitments;
    let mut insert = db.prepare_cached(
        "INSERT INTO audit (number, at, action, via, key, subject, actor, before, after, reason, evidence, prev, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?;
    insert.execute(params![
        signed(link.number),
        stored(link.at),
        link.action,
        link.via.name(),
        link.key,
        subject,
        actor,
        before,
        after,
        reason,
        evidence,
        link.prev.0,
        hash.0
    ])?;
    Ok(())
}

fn insert_values(db: &Connection, number: u64, openings: &[Opening]) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO audit_values (number, field, value, salt) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for Opening { field, value, salt } in openings {
        insert.execute(params![signed(number), *field as i64, value, salt])?;
    }
    Ok(())
}

fn insert_about(
    db: &Connection,
    number: u64,
    (tenant, account): (&Option<TenantId>, &Option<AccountId>),
) -> rusqlite::Result<()> {
    let number_of = |subject: Option<SubjectId>| {
        subject.map(|subject| names::number_of(db, &subject)).transpose()
    };
    let tenant = number_of(tenant.clone().map(SubjectId::Tenant))?;
    let account = number_of(account.clone().map(SubjectId::Account))?;
    if tenant.is_none() && account.is_none() {
        return Ok(());
    }
    let mut insert =
        db.prepare_cached("INSERT INTO audit_about (number, tenant, account) VALUES (?1, ?2, ?3)")?;
    insert.execute(params![signed(number), tenant, account])?;
    Ok(())
}

/// What the log says of a new entry, so that the newest hash is known outside the archive.
#[must_use]
pub fn audited(action: &str, head: Head) -> Event {
    let Head { number, hash } = head;
    Event::Audited(Audited { number, action: action.to_owned(), hash: hash.to_string() })
}

/// Forgets what was sought in looks of before a moment, a few at a time. Their entries stay.
fn cut_looks(
    db: &Connection,
    before: Timestamp,
    at: Timestamp,
) -> rusqlite::Result<(usize, Vec<Head>)> {
    let sql = format!(
        "SELECT number FROM audit_looks WHERE at < ?1 ORDER BY number LIMIT {LOOKS_STEP_MAX}"
    );
    let mut select = db.prepare_cached(&sql)?;
    let numbers: Vec<i64> =
        select.query_map(params![stored(before)], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut erased = Vec::new();
    for number in &numbers {
        db.prepare_cached("DELETE FROM audit_looks WHERE number = ?1")?.execute(params![number])?;
        erased.push((unsigned(*number), Fields::of(Field::Subject)));
    }
    let actor = Actor::automatic("retention");
    let heads = erase_values(db, &erased, &NewEntry::new(at, &actor, VALUES_ERASED))?;
    Ok((numbers.len(), heads))
}

/// Forgets the values of entries of before a moment, a few at a time, but for those that say what was erased, and those about who is held.
fn cut_values(
    db: &Connection,
    before: Timestamp,
    at: Timestamp,
) -> rusqlite::Result<(usize, Vec<Head>)> {
    let sql = format!(
        "SELECT DISTINCT v.number FROM audit_values AS v JOIN audit USING (number) \
         WHERE audit.at < ?1 AND audit.action <> '{VALUES_ERASED}' \
         AND v.number <= (SELECT coalesce(max(number), 0) FROM audit WHERE at < ?1) \
         AND v.number NOT IN (SELECT number FROM audit_about WHERE NOT ({NOT_HELD})) \
         ORDER BY v.number LIMIT {LOOKS_STEP_MAX}"
    );
    let mut select = db.prepare_cached(&sql)?;
    let numbers: Vec<i64> =
        select.query_map(params![stored(before)], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut all = Fields::default();
    Field::ALL.into_iter().for_each(|field| all.add(field));
    let erased: Vec<_> = numbers.iter().map(|number| (unsigned(*number), all)).collect();
    for number in &numbers {
        db.prepare_cached("DELETE FROM audit_about WHERE number = ?1")?.execute([number])?;
    }
    let actor = Actor::automatic("retention");
    let heads = erase_values(db, &erased, &NewEntry::new(at, &actor, VALUES_ERASED))?;
    Ok((numbers.len(), heads))
}

/// Erases values of entries, which come in their order, and adds the entries that say so, made from this one.
pub(super) fn erase_values(
    db: &Connection,
    wanted: &[(u64, Fields)],
    entry: &NewEntry,
) -> rusqlite::Result<Vec<Head>> {
    let mut erased = Vec::new();
    for (number, fields) in wanted {
        let mut gone = Fields::default();
        for field in fields.iter() {
            let delete = "DELETE FROM audit_values WHERE number = ?1 AND field = ?2";
            let place = params![signed(*number), field as i64];
            if db.prepare_cached(delete)?.execute(place)? > 0 {
                gone.add(field);
            }
        }
        if gone != Fields::default() {
            erased.push((*number, gone));
        }
    }
    if erased.is_empty() {
        return Ok(Vec::new());
    }
    let told = |text| append(db, &NewEntry { after: Some(text), ..entry.clone() });
    // Where the archive is shared, they are told as soon as they are in it.
    write_erased(&erased).into_iter().filter_map(|text| told(text).transpose()).collect()
}

/// Where the chain ends.
pub(super) fn head(db: &Connection) -> rusqlite::Result<Head> {
    let mut last =
        db.prepare_cached("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")?;
    let head = last
        .query_row([], |row| Ok(Head { number: unsigned(row.get(0)?), hash: Hash(row.get(1)?) }));
    Ok(head.optional()?.unwrap_or(Head::NONE))
}

fn has(db: &Connection, key: &[u8; 16]) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM audit WHERE key = ?1")?.exists(params![key])
}

fn select(db: &Connection, filter: &AuditFilter) -> rusqlite::Result<Vec<AuditEntry>> {
    let mut wanted = Wanted::default();
    let tenant: Vec<_> = filter.tenant.clone().map(SubjectId::Tenant).into_iter().collect();
    for any in [&tenant, &filter.about] {
        // Whoever has no number has no entries.
        if !any.is_empty() && !wanted.about_any(db, any)? {
            return Ok(Vec::new());
        }
    }
    if let Some(since) = filter.since {
        wanted.add("at >=", stored(since));
    }
    if let Some(until) = filter.until {
        wanted.add("at <", stored(until));
    }
    if let Some(beyond) = filter.beyond {
        let side = if filter.order == Order::Newest { "audit.number <" } else { "audit.number >" };
        wanted.add(side, signed(beyond));
    }
    wanted.any_of("action", &filter.actions);
    for action in filter.hidden {
        wanted.add("action <>", *action);
    }
    let direction = if filter.order == Order::Newest { "DESC" } else { "ASC" };
    let max = filter.max.clamp(1, AUDIT_PAGE_MAX);
    let sql = format!(
        "SELECT audit.number, at, action, via, key, subject, actor, before, after, reason, evidence, prev, hash \
         FROM audit LEFT JOIN audit_about USING (number) WHERE {} ORDER BY audit.number {direction} LIMIT {max}",
        wanted.sql()
    );
    let mut select = db.prepare_cached(&sql)?;
    let values: Vec<&dyn ToSql> = wanted.values.iter().map(AsRef::as_ref).collect();
    let mut entries: Vec<AuditEntry> =
        select.query_map(values.as_slice(), row)?.collect::<Result<_, _>>()?;
    for entry in &mut entries {
        entry.values = select_values(db, entry.link.number)?;
    }
    Ok(entries)
}

impl Wanted {
    /// The matter of any of these subjects; false if none of them is known.
    fn about_any(&mut self, db: &Connection, subjects: &[SubjectId]) -> rusqlite::Result<bool> {
        let mut any = Vec::new();
        for subject in subjects {
            let column = match subject {
                SubjectId::Tenant(_) => "audit_about.tenant",
                SubjectId::Account(_) => "audit_about.account",
            };
            any.extend(names::find(db, subject)?.map(|number| (column, number)));
        }
        self.any_equal(&any);
        Ok(!any.is_empty())
    }
}

fn row(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let mut commitments: [Option<Commitment>; Field::ALL.len()] = [None; Field::ALL.len()];
    for (commitment, column) in commitments.iter_mut().zip(5..) {
        *commitment = row.get(column)?;
    }
    let via: Via = row.get_ref(3)?.as_str()?.parse().map_err(|error| unreadable(3, error))?;
    let link = Link {
        number: unsigned(row.get(0)?),
        at: Timestamp::from_millis(row.get(1)?),
        action: row.get(2)?,
        via,
        key: row.get(4)?,
        commitments,
        prev: Hash(row.get(11)?),
    };
    Ok(AuditEntry { link, hash: Hash(row.get(12)?), values: Vec::new() })
}

fn select_values(db: &Connection, number: u64) -> rusqlite::Result<Vec<Opening>> {
    let mut select = db.prepare_cached(
        "SELECT field, value, salt FROM audit_values WHERE number = ?1 ORDER BY field",
    )?;
    let opening = |row: &Row<'_>| {
        let place: i64 = row.get(0)?;
        let field = usize::try_from(place).ok().and_then(|place| Field::ALL.get(place).copied());
        let field = field.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, place))?;
        Ok(Opening { field, value: row.get(1)?, salt: row.get(2)? })
    };
    select.query_map(params![signed(number)], opening)?.collect()
}

fn draw_salt() -> rusqlite::Result<Salt> {
    let mut salt = [0; chain::HASH_BYTES];
    let no_random = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    getrandom::fill(&mut salt).map_err(no_random)?;
    Ok(salt)
}

/// A value as it is kept: whole, or its beginning with a note of how long it was.
fn bounded(value: &str) -> String {
    if value.len() <= VALUE_BYTES_MAX {
        return value.to_owned();
    }
    let end = value.floor_char_boundary(VALUE_BYTES_MAX);
    format!("{}… ({} octets)", &value[..end], value.len())
}

fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The action of a look for messages: what was sought is a recipient's matter, and goes when the messages go.
pub const TRACED: &str = "traced";
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Looks that are forgotten in one step.
const LOOKS_STEP_MAX: usize = 500;

pub(super) const CREATE: &str = "
CREATE TABLE audit (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, action TEXT NOT NULL, via TEXT NOT NULL,
    key BLOB UNIQUE, subject BLOB, actor BLOB, before BLOB, after BLOB, reason BLOB, evidence BLOB,
    prev BLOB NOT NULL, hash BLOB NOT NULL);
CREATE INDEX audit_at ON audit (at);
CREATE TABLE audit_values (number INTEGER NOT NULL, field INTEGER NOT NULL, value TEXT NOT NULL, salt BLOB NOT NULL,
    PRIMARY KEY (number, field)) WITHOUT ROWID;
CREATE TABLE audit_looks (number INTEGER PRIMARY KEY, at INTEGER NOT NULL);
CREATE TABLE audit_about (number INTEGER PRIMARY KEY, tenant INTEGER, account INTEGER);
CREATE INDEX audit_about_tenant ON audit_about (tenant, number) WHERE tenant IS NOT NULL;
CREATE INDEX audit_about_account ON audit_about (account, number) WHERE account IS NOT NULL;
";

#[cfg(test)]
mod tests {
    use super::{chain::Verifier, *};
    use crate::store::archive::{Settings, open};
    use std::path::Path;

    fn open_in(folder: &Path) -> Archive {
        open(&Settings { path: folder.join("archive.db") }).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn changed(number: i64, account: &str, action: &str) -> Changed {
        let subject: AccountId = account.parse().unwrap();
        let tenant = subject.domain().unwrap().parse().unwrap();
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_be_bytes());
        Changed {
            number,
            key,
            at: at(number),
            subject: SubjectId::Account(subject),
            tenant,
            action: action.into(),
            before: None,
            after: Some("case TG-1".into()),
            reason: Some("spam wave".into()),
            evidence: None,
            actor: Actor::new(Via::ControlSocket, "alice (uid 1000)"),
        }
    }

    async fn all(archive: &Archive) -> Vec<AuditEntry> {
        let order = Order::Oldest;
        archive.audit(AuditFilter { order, max: 500, ..AuditFilter::default() }).await.unwrap()
    }

    fn verify(entries: &[AuditEntry], known: Head) -> Result<Head, chain::Broken> {
        let mut verifier = Verifier::new([known]);
        for entry in entries {
            verifier.follow(&entry.link, entry.hash, &entry.values)?;
        }
        verifier.finish()
    }

    async fn numbers(archive: &Archive, filter: AuditFilter) -> Vec<u64> {
        let filter = AuditFilter { max: 500, ..filter };
        archive.audit(filter).await.unwrap().iter().map(|entry| entry.link.number).collect()
    }

    async fn tampered(folder: &Path, sql: &str) -> Vec<AuditEntry> {
        let db = Connection::open(folder.join("archive.db")).unwrap();
        db.execute_batch(sql).unwrap();
        drop(db);
        all(&open_in(folder)).await
    }

    #[tokio::test]
    async fn changes_are_taken_once_each_and_chain_with_whatever_else_is_audited() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open_in(folder.path());
        let changes = |numbers: std::ops::Range<i64>| {
            numbers.map(|n| changed(n, "a@shop.example", "suspended")).collect::<Vec<_>>()
        };
        let added = archive.append_changes(changes(1..4)).await.unwrap();
        assert_eq!(added.iter().map(|(_, head)| head.number).collect::<Vec<_>>(), [1, 2, 3]);
        let token = NewEntry {
            subject: Some("token 1".into()),
            ..NewEntry::new(at(9), &Actor::new(Via::Api, "token 7"), "token-created")
        };
        let head = archive.append_audit(token).await.unwrap().unwrap();
        // Handed over again, because a crash came before they were cut.
        let added = archive.append_changes(changes(2..6)).await.unwrap();
        assert_eq!(added.iter().map(|(_, head)| head.number).collect::<Vec<_>>(), [5, 6]);
        let entries = all(&archive).await;
        let keys: Vec<_> = entries.iter().filter_map(|e| e.link.key).map(|key| key[7]).collect();
        assert_eq!(keys, [1, 2, 3, 4, 5]);
        assert_eq!(verify(&entries, head).unwrap(), added[1].1);
        assert_eq!(entries[3].value(Field::Subject), Some("token 1"));
        assert_eq!(entries[0].value(Field::Actor), Some("alice (uid 1000)"));
        drop(archive);
        assert_eq!(all(&open_in(folder.path())).await, entries);
    }

    #[tokio::test]
    async fn entries_are_found_by_whose_they_are_what_was_done_and_when() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open_in(folder.path());
        let changes = vec![
            changed(1, "a@one.example", "suspended"),
            changed(2, "b@one.example", "resumed"),
            changed(3, "a@two.example", "suspended"),
        ];
        archive.append_changes(changes).await.unwrap();
        let filter = AuditFilter::default;
        let tenant = |name: &str| Some(name.parse().unwrap());
        assert_eq!(numbers(&archive, filter()).await, [3, 2, 1]);
        assert_eq!(
            numbers(&archive, AuditFilter { tenant: tenant("one.example"), ..filter() }).await,
            [2, 1]
        );
        assert!(
            numbers(&archive, AuditFilter { tenant: tenant("x.example"), ..filter() })
                .await
                .is_empty()
        );
        let account = SubjectId::Account("a@two.example".parse().unwrap());
        let one = SubjectId::Tenant("one.example".parse().unwrap());
        let about = vec![account.clone()];
        assert_eq!(numbers(&archive, AuditFilter { about, ..filter() }).await, [3]);
        let about = vec![account.clone(), one];
        assert_eq!(numbers(&archive, AuditFilter { about, ..filter() }).await, [3, 2, 1]);
        let (about, tenant_one) = (vec![account], tenant("one.example"));
        assert!(
            numbers(&archive, AuditFilter { about, tenant: tenant_one, ..filter() })
                .await
                .is_empty()
        );
        let actions = vec!["suspended".into()];
        assert_eq!(numbers(&archive, AuditFilter { actions, ..filter() }).await, [3, 1]);
        let (since, until) = (Some(at(2)), Some(at(3)));
        assert_eq!(numbers(&archive, AuditFilter { since, until, ..filter() }).await, [2]);
        assert_eq!(numbers(&archive, AuditFilter { beyond: Some(3), ..filter() }).await, [2, 1]);
        let order = Order::Oldest;
        assert_eq!(
            numbers(&archive, AuditFilter { beyond: Some(1), order, ..filter() }).await,
            [2, 3]
        );
    }

    #[tokio::test]
    async fn tampering_breaks_the_chain() {
        for (sql, whole) in [
            ("DELETE FROM audit_values WHERE number = 2", false),
            ("DELETE FROM audit_values", false),
            ("DELETE FROM audit_about; DELETE FROM names", true),
            ("UPDATE audit_values SET value = 'bob' WHERE number = 2 AND field = 1", false),
            ("UPDATE audit_values SET salt = zeroblob(32) WHERE number = 1 AND field = 0", false),
            ("UPDATE audit SET at = at + 1 WHERE number = 1", false),
            ("UPDATE audit SET action = 'resumed' WHERE number = 3", false),
            ("UPDATE audit SET reason = NULL WHERE number = 3", false),
            ("DELETE FROM audit WHERE number = 1", false),
            ("DELETE FROM audit WHERE number = 2", false),
            ("DELETE FROM audit WHERE number = 3", false),
            ("DELETE FROM audit", false),
            ("DELETE FROM audit WHERE number = 2; UPDATE audit SET number = 2 WHERE number = 3", false),
            ("UPDATE audit SET number = 9 WHERE number = 1; UPDATE audit SET number = 1 WHERE number = 2;
              UPDATE audit SET number = 2 WHERE number = 9", false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let archive = open_in(folder.path());
            let changes = (1..4).map(|n| changed(n, "a@shop.example", "suspended")).collect();
            let known = archive.append_changes(changes).await.unwrap()[2].1;
            archive.close().await;
            drop(archive);
            let entries = tampered(folder.path(), sql).await;
            assert_eq!(verify(&entries, known).is_ok(), whole, "{sql}");
        }
    }

    #[tokio::test]
    async fn an_erased_value_is_told_apart_from_one_that_never_was() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open_in(folder.path());
        archive.append_changes(vec![changed(1, "a@shop.example", "suspended")]).await.unwrap();
        archive.close().await;
        drop(archive);
        let sql = "DELETE FROM audit_values WHERE field = 1";
        let entry = tampered(folder.path(), sql).await.remove(0);
        assert_eq!(entry.erased().collect::<Vec<_>>(), [Field::Actor]);
        assert_eq!((entry.value(Field::Before), entry.value(Field::Actor)), (None, None));
    }

    #[tokio::test]
    async fn values_that_were_kept_long_enough_go_and_the_chain_says_so_and_stays_whole() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open_in(folder.path());
        let changes = (1..6).map(|n| changed(n, "a@shop.example", "suspended")).collect();
        archive.append_changes(changes).await.unwrap();
        let (entries, told) = archive.forget_values(at(4), at(9)).await.unwrap();
        assert_eq!((entries, told.len()), (3, 1));
        let entries = all(&archive).await;
        let left: Vec<usize> = entries.iter().map(|entry| entry.values.len()).collect();
        assert_eq!(left, [0, 0, 0, 4, 4, 2]);
        assert_eq!(entries[5].value(Field::After), Some("1-3:subject,actor,after,reason"));
        assert_eq!(archive.verify_audit(Vec::new()).await.unwrap().broken, None);
        // What says so is never forgotten, however old.
        assert_eq!(archive.forget_values(at(99), at(100)).await.unwrap().0, 2);
        assert_eq!(archive.forget_values(at(999), at(1_000)).await.unwrap().0, 0);
        assert_eq!(archive.verify_audit(Vec::new()).await.unwrap().broken, None);
    }

    #[test]
    fn a_long_value_is_cut_and_says_so() {
        let value = "é".repeat(VALUE_BYTES_MAX);
        let kept = bounded(&value);
        assert!(
            kept.len() < VALUE_BYTES_MAX + 40 && kept.ends_with("… (32768 octets)"),
            "{}",
            kept.len()
        );
        assert_eq!(bounded("short"), "short");
    }
}
