//! Finding messages again: by session, transaction, Message-ID, recipient or account.
//!
//! An event has *marks*; a mark is kept as 64 bits of its HMAC under a key that never leaves this file, so that the index holds no
//! address and no name. Addresses stand in the event's body only, and both go when the event goes.

use super::{
    Archive,
    events::{EventRow, ROW_COLUMNS, ROW_TABLES, row},
    names, stored,
};
use crate::{
    store::StoreError,
    types::{
        AccountId, Address, MessageId, SessionId, SubjectId, TenantId, Timestamp, TransactionId,
    },
};
use ring::hmac;
use rusqlite::{Connection, ToSql, params};

/// What an event can be found by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The connection; a transaction's id begins with it.
    Session(SessionId),
    /// The message's own id.
    Message(MessageId),
    /// A recipient, whatever the case of the letters.
    Recipient(Address),
}

impl Mark {
    /// The session of a transaction.
    #[must_use]
    pub fn of_transaction(transaction: &TransactionId) -> Option<Self> {
        let session = transaction.as_str().split('.').next()?;
        session.parse().ok().map(Self::Session)
    }
}

/// What marks are hashed under.
#[derive(Debug, Clone)]
pub(super) struct MarkKey(hmac::Key);

impl MarkKey {
    pub(super) fn new(octets: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, octets))
    }

    fn bits(&self, mark: &Mark) -> i64 {
        let mut context = hmac::Context::with_key(&self.0);
        match mark {
            Mark::Session(session) => {
                context.update(b"s");
                context.update(session.as_str().as_bytes());
            }
            Mark::Message(id) => {
                context.update(b"m");
                context.update(id.as_str().as_bytes());
            }
            Mark::Recipient(address) => {
                context.update(b"r");
                context.update(address.as_str().to_lowercase().as_bytes());
            }
        }
        let mut bits = [0; 8];
        bits.copy_from_slice(&context.sign().as_ref()[..8]);
        i64::from_be_bytes(bits)
    }
}

/// Which messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// Those with any of these marks …
    pub marks: Vec<Mark>,
    /// … or of this account.
    pub account: Option<AccountId>,
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only events with these names.
    pub names: Vec<&'static str>,
    /// Only those at or after this moment.
    pub since: Option<Timestamp>,
    /// Only those before this moment.
    pub until: Option<Timestamp>,
    /// Only those with a lower number.
    pub before: Option<i64>,
    /// How many, 1 to [`TRACE_PAGE_MAX`].
    pub max: usize,
}

/// The most messages of one page.
pub const TRACE_PAGE_MAX: usize = 200;

impl Archive {
    /// One page of what happened to messages, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn trace(&self, filter: TraceFilter) -> Result<Vec<EventRow>, StoreError> {
        let key = self.0.marks.clone();
        self.read(move |db| select(db, &key, &filter)).await
    }
}

/// Notes the marks of an event.
pub(super) fn insert_marks(
    db: &Connection,
    key: &MarkKey,
    event: i64,
    marks: &[Mark],
) -> rusqlite::Result<()> {
    // A recipient may stand in a message twice.
    let mut insert =
        db.prepare_cached("INSERT OR IGNORE INTO marks (event, bits) VALUES (?1, ?2)")?;
    for mark in marks {
        insert.execute(params![event, key.bits(mark)])?;
    }
    Ok(())
}

fn select(db: &Connection, key: &MarkKey, filter: &TraceFilter) -> rusqlite::Result<Vec<EventRow>> {
    let number = |subject| names::find(db, &subject);
    let tenant = match &filter.tenant {
        None => None,
        Some(tenant) => match number(SubjectId::Tenant(tenant.clone()))? {
            // Whoever has no number has no mail.
            None => return Ok(Vec::new()),
            known => known,
        },
    };
    let account = match &filter.account {
        None => None,
        Some(account) => number(SubjectId::Account(account.clone()))?,
    };
    let max = filter.max.clamp(1, TRACE_PAGE_MAX);
    let mut numbers = Vec::new();
    let mut add = |from: &str, wanted: i64| -> rusqlite::Result<()> {
        numbers.extend(select_numbers(db, from, wanted, (filter, tenant, max))?);
        Ok(())
    };
    for mark in &filter.marks {
        add("marks JOIN events ON events.id = marks.event WHERE marks.bits = ?1", key.bits(mark))?;
    }
    if let Some(account) = account {
        add("events WHERE events.account = ?1", account)?;
    }
    // Each source gave its newest, so the newest of all are among these.
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.dedup();
    numbers.truncate(max);
    let sql = format!("SELECT {ROW_COLUMNS} FROM {ROW_TABLES} WHERE events.id = ?1");
    let mut select = db.prepare_cached(&sql)?;
    numbers.iter().map(|number| select.query_row(params![number], row)).collect()
}

/// The newest events from one source.
fn select_numbers(
    db: &Connection,
    from: &str,
    wanted: i64,
    (filter, tenant, max): (&TraceFilter, Option<i64>, usize),
) -> rusqlite::Result<Vec<i64>> {
    let mut conditions = String::new();
    let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(wanted)];
    let mut add = |condition: &str, value: i64| {
        values.push(Box::new(value));
        conditions.push_str(&format!(" AND {condition} ?{}", values.len()));
    };
    if let Some(tenant) = tenant {
        add("events.tenant =", tenant);
    }
    if let Some(since) = filter.since {
        add("events.at >=", stored(since));
    }
    if let Some(until) = filter.until {
        add("events.at <", stored(until));
    }
    if let Some(before) = filter.before {
        add("events.id <", before);
    }
    let names: Vec<String> = filter.names.iter().map(|name| format!("'{name}'")).collect();
    let sql = format!(
        "SELECT events.id FROM {from}{conditions} AND events.name IN ({}) ORDER BY events.id DESC LIMIT {max}",
        names.join(", ")
    );
    let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
    db.prepare_cached(&sql)?.query_map(values.as_slice(), |row| row.get(0))?.collect()
}

/// Forgets marks of the events that a query chooses by `?1`, which is a moment, up to `max`; returns how many went.
pub(super) fn cut_marks(
    db: &Connection,
    events: &str,
    before: Timestamp,
    max: usize,
) -> rusqlite::Result<usize> {
    let sql = format!(
        "DELETE FROM marks WHERE (event, bits) IN \
         (SELECT event, bits FROM marks WHERE event IN ({events}) LIMIT {max})"
    );
    db.prepare_cached(&sql)?.execute(params![stored(before)])
}

/// Forgets a mark wherever it stands: nothing is found by it any more.
pub(super) fn cut_marks_of(db: &Connection, key: &MarkKey, mark: &Mark) -> rusqlite::Result<usize> {
    db.prepare_cached("DELETE FROM marks WHERE bits = ?1")?.execute(params![key.bits(mark)])
}

pub(super) const CREATE: &str = "
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO secrets (name, value) VALUES ('marks', randomblob(32)), ('subjects', randomblob(32));
CREATE TABLE marks (event INTEGER NOT NULL, bits INTEGER NOT NULL, PRIMARY KEY (event, bits)) WITHOUT ROWID;
CREATE INDEX marks_bits ON marks (bits, event);
";

/// A key that was drawn when the file was made.
pub(super) fn secret(db: &Connection, name: &str) -> rusqlite::Result<[u8; 32]> {
    db.query_row("SELECT value FROM secrets WHERE name = ?1", params![name], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::archive::{Batch, NewEvent, Settings, open};
    use std::{path::Path, sync::Arc};

    fn message(n: i64, account: &str, marks: Vec<Mark>) -> NewEvent {
        let account: AccountId = account.parse().unwrap();
        NewEvent {
            at: Timestamp::from_millis(n * 1_000),
            name: "message".into(),
            tenant: account.domain().map(|domain| domain.parse().unwrap()),
            account: Some(account),
            body: format!("{{\"n\":{n}}}"),
            marks,
        }
    }

    fn session(name: &str) -> Mark {
        Mark::Session(name.parse().unwrap())
    }

    fn recipient(address: &str) -> Mark {
        Mark::Recipient(address.parse().unwrap())
    }

    async fn filled(folder: &Path) -> Archive {
        let archive = open(&Settings { path: folder.join("archive.db") }).unwrap();
        let id = Mark::Message("1@x".parse().unwrap());
        let events = vec![
            message(1, "a@one.example", vec![session("s1"), id, recipient("B@there.example")]),
            message(2, "a@two.example", vec![session("s1"), recipient("b@there.example")]),
            message(3, "c@two.example", vec![session("s2"), recipient("b@there.example")]),
            NewEvent {
                name: "limit-reached".into(),
                ..message(4, "a@one.example", vec![session("s1")])
            },
        ];
        archive.keep(Arc::new(Batch { events, ..Batch::default() })).await.unwrap();
        archive
    }

    async fn numbers(archive: &Archive, filter: TraceFilter) -> Vec<i64> {
        let filter = TraceFilter { names: vec!["message", "refused"], max: 9, ..filter };
        archive.trace(filter).await.unwrap().iter().map(|row| row.id).collect()
    }

    #[tokio::test]
    async fn a_message_is_found_by_each_of_its_marks_and_its_account() {
        let folder = tempfile::tempdir().unwrap();
        let archive = filled(folder.path()).await;
        let by = |marks: Vec<Mark>| TraceFilter { marks, ..TraceFilter::default() };
        assert_eq!(numbers(&archive, by(vec![session("s1")])).await, [2, 1]);
        assert_eq!(numbers(&archive, by(vec![Mark::Message("1@x".parse().unwrap())])).await, [1]);
        assert_eq!(numbers(&archive, by(vec![recipient("b@THERE.example")])).await, [3, 2, 1]);
        assert_eq!(
            numbers(&archive, by(vec![session("s2"), recipient("b@there.example")])).await,
            [3, 2, 1]
        );
        assert!(
            numbers(&archive, by(vec![session("b@there.example".split('@').next().unwrap())]))
                .await
                .is_empty()
        );
        let account = Some("a@one.example".parse().unwrap());
        assert_eq!(
            numbers(&archive, TraceFilter { account, ..by(vec![session("s2")]) }).await,
            [3, 1]
        );
    }

    #[tokio::test]
    async fn a_tenant_sees_its_own_only_and_pages_follow_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let archive = filled(folder.path()).await;
        let all =
            || TraceFilter { marks: vec![recipient("b@there.example")], ..TraceFilter::default() };
        let tenant = |name: &str| Some(name.parse().unwrap());
        assert_eq!(
            numbers(&archive, TraceFilter { tenant: tenant("two.example"), ..all() }).await,
            [3, 2]
        );
        assert!(
            numbers(&archive, TraceFilter { tenant: tenant("x.example"), ..all() })
                .await
                .is_empty()
        );
        let foreign = TraceFilter {
            account: Some("a@one.example".parse().unwrap()),
            ..TraceFilter::default()
        };
        assert!(
            numbers(&archive, TraceFilter { tenant: tenant("two.example"), ..foreign })
                .await
                .is_empty()
        );
        assert_eq!(numbers(&archive, TraceFilter { before: Some(3), ..all() }).await, [2, 1]);
        let since = Some(Timestamp::from_millis(2_000));
        assert_eq!(
            numbers(
                &archive,
                TraceFilter { since, until: Some(Timestamp::from_millis(3_000)), ..all() }
            )
            .await,
            [2]
        );
    }

    #[tokio::test]
    async fn no_address_stands_in_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let archive = filled(folder.path()).await;
        archive.close().await;
        drop(archive);
        let file = std::fs::read(folder.path().join("archive.db")).unwrap();
        let found = |text: &str| file.windows(text.len()).any(|octets| octets == text.as_bytes());
        assert!(found("one.example") && !found("there.example") && !found("1@x"));
    }
}
