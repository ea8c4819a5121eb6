//! What several nodes tell one another, so that each of their archives has everything that happened at any of them.
//!
//! Where an archive is *shared*, what a node would have added to it ([`Content`]) goes into a journal first
//! (`stream_outgoing`), from there into a stream that all nodes read, and out of the stream into the archive of each node: its
//! own, too. So all archives add the same in the same order, and what is computed of what is there already (the chain of the
//! audit, the numbers of events) comes to the same everywhere. The position in the stream is written in the transaction of what
//! was read, so a copy of the file goes on where it was made. A journal's row goes when it was read back.
//!
//! An *origin* is one run of one node; its parcels are numbered from 1 on. By the number, one that comes twice is left out, and
//! by the count of events before it, it is known how many were missed.

pub(super) mod orders;
mod own;
pub mod wire;

pub(super) use own::Own;

use self::own::Told;
use super::{
    Archive, Batch, Job, Lasting, ListingRow, NewEvent, NewOffence, alerts,
    audit::{self, Prepared, chain::Head},
    availability, events,
    kept::{self, Lack},
    listings, offences, stored, usage,
};
use crate::{
    rules::{
        alarm::{Changes, Sign},
        tally::Tally,
    },
    store::{StoreError, records::Revision},
    types::Timestamp,
};
use orders::Obeyed;
pub use orders::Order;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeMap;

/// What one node tells all.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Content {
    /// It is the first of its origin: states of the node before are in doubt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub begins: bool,
    /// Events, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<NewEvent>,
    /// What was counted of them, and of the time that was listened to.
    #[serde(serialize_with = "wire::write_tally", deserialize_with = "wire::read_tally")]
    pub usage: Tally,
    /// What of them counts against a tenant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offences: Vec<NewOffence>,
    /// What they say about alerts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signs: Vec<(Timestamp, Sign)>,
    /// Entries of the audit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audit: Vec<Prepared>,
    /// Messages about alerts that need not be delivered any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delivered: Vec<String>,
    /// Minutes that are over, and what the node lacked in each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub minutes: Vec<(i64, u8)>,
    /// Reports that tenants are sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub letters: Vec<usage::LetterNote>,
    /// What is believed of subjects on blocklists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listings: Vec<ListingRow>,
    /// What operators ordered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Order>,
}

/// Names one run of one node.
pub type Origin = [u8; 8];

/// A content on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its place in the journal.
    pub place: i64,
    /// From whom it is.
    pub header: Header,
    /// The content as it is sent.
    pub body: Vec<u8>,
}

/// What is known of a content without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The run of the node.
    pub origin: Origin,
    /// The node's name.
    pub node: String,
    /// Which it is of this origin, from 1 on.
    pub number: i64,
    /// Events that this origin had told before it.
    pub events_before: i64,
    /// When it was put into the journal, in UTC.
    pub at: Timestamp,
}

/// A content that arrived.
#[derive(Debug)]
pub struct Parcel {
    /// From whom it is.
    pub header: Header,
    /// What it says.
    pub content: Content,
}

impl Parcel {
    /// Reads a content that arrived.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it cannot be read.
    pub fn read(header: Header, body: &[u8]) -> Result<Self, StoreError> {
        let unreadable = |error| {
            StoreError::Damaged(format!("what {} told cannot be read: {error}", header.node))
        };
        let content = wire::decode(body).map_err(unreadable)?;
        Ok(Self { header, content })
    }
}

/// How far an origin was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The node's name.
    pub node: String,
    /// Its last parcel.
    pub number: i64,
    /// Its events up to there.
    pub events: i64,
    /// When that was.
    pub until: Timestamp,
}

/// Where an archive is in the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamState {
    /// The last entry that it has; none: it has read nothing yet.
    pub position: Option<Revision>,
    /// What it has of each origin.
    pub origins: BTreeMap<Origin, Heard>,
    /// The own origin.
    pub own: Origin,
}

/// What was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// From when, in UTC.
    pub since: Timestamp,
    /// Until when, in UTC.
    pub until: Timestamp,
    /// How many events.
    pub events: u64,
}

/// What is taken over from the stream in one transaction.
#[derive(Debug)]
pub struct Taken {
    /// What arrived, each with what it changed about alerts.
    pub parcels: Vec<(Parcel, Changes)>,
    /// Of each origin among them, how far it is heard then.
    pub origins: BTreeMap<Origin, Heard>,
    /// The last entry.
    pub position: Revision,
    /// What is missing before or between them.
    pub missed: Option<Missed>,
    /// What of the stream cannot be read any more, and it is not known of whom it was.
    pub lack: Lack,
}

/// How much waits in the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Parcels.
    pub parcels: u64,
    /// Their octets.
    pub octets: u64,
}

impl Archive {
    /// From now on what is added goes to all nodes, as this one's. Each call begins another origin.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written, or the system has no random numbers.
    pub async fn share(&self, node: String, octets_max: u64) -> Result<(), StoreError> {
        let mut origin: Origin = [0; 8];
        let no_random = |error| StoreError::Unavailable(format!("draw a name: {error}"));
        getrandom::fill(&mut origin).map_err(no_random)?;
        let octets_max = i64::try_from(octets_max).unwrap_or(i64::MAX);
        self.write(Lasting::Power, move |db| {
            kept::begin(db, &node)?;
            db.execute(
                "INSERT OR REPLACE INTO stream_self (one, origin, node, number, events, octets, octets_max) \
                 VALUES (0, ?1, ?2, 0, 0, (SELECT coalesce(sum(length(body)), 0) FROM stream_outgoing), ?3)",
                params![origin, node, octets_max],
            )
        })
        .await?;
        self.0.is_shared.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// From now on what is added is this archive's alone. What was on its way to others is added, or given up.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn unshare(&self) -> Result<(), StoreError> {
        self.0.is_shared.store(false, std::sync::atomic::Ordering::Relaxed);
        self.write(Lasting::Power, |db| {
            db.execute("DELETE FROM stream_self", [])?;
            let mut waiting =
                db.prepare("SELECT body, node FROM stream_outgoing ORDER BY place")?;
            let mut rows = waiting.query([])?;
            while let Some(row) = rows.next()? {
                let body: Vec<u8> = row.get(0)?;
                // What cannot be read is of another version, and nobody else waits for it.
                if let Ok(content) = wire::decode(&body) {
                    let content = Content { delivered: Vec::new(), ..content };
                    usage::add(db, &content.usage)?;
                    offences::add(db, &content.offences)?;
                    content
                        .audit
                        .iter()
                        .try_for_each(|entry| audit::insert_prepared(db, entry).map(drop))?;
                    let mut heads = Vec::new();
                    for order in &content.orders {
                        orders::obey(db, order, &mut heads)?;
                    }
                }
            }
            db.execute("DELETE FROM stream_outgoing", [])
        })
        .await
        .map(drop)
    }

    /// True if what is added goes to all nodes.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.is_shared.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Puts a content on its way to all nodes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written, or there is no room; it is not on its way then.
    pub async fn post(&self, content: Content, at: Timestamp) -> Result<(), StoreError> {
        let job = move |db: &Connection| put(db, content, at);
        self.0.own.keep(self.write_and_tell(Lasting::Process, job).await?);
        Ok(())
    }

    /// Reads what arrived.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it cannot be read.
    pub fn open(&self, header: Header, body: &[u8]) -> Result<Parcel, StoreError> {
        match self.0.own.take(&header, body) {
            Some(content) => Ok(Parcel { header, content }),
            None => Parcel::read(header, body),
        }
    }

    /// Ends when something was put on its way since the last call.
    pub async fn posted(&self) {
        self.0.posted.notified().await;
    }

    /// What is on its way behind a place in the journal, the oldest first, at most so much.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn outgoing(&self, after: i64, max: usize) -> Result<Vec<Outgoing>, StoreError> {
        self.read_own(move |db| {
            let mut select = db.prepare_cached(
                "SELECT place, origin, node, number, events, at, body FROM stream_outgoing \
                 WHERE place > ?1 ORDER BY place LIMIT ?2",
            )?;
            let max = i64::try_from(max).unwrap_or(i64::MAX);
            let rows = select.query_map(params![after, max], |row| {
                Ok(Outgoing { place: row.get(0)?, header: header(row)?, body: row.get(6)? })
            })?;
            rows.collect()
        })
        .await
    }

    /// How much is on its way and was not read back.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn outgoing_waiting(&self) -> Result<Waiting, StoreError> {
        self.read_own(|db| {
            let sql = "SELECT count(*), coalesce((SELECT octets FROM stream_self), 0) FROM stream_outgoing";
            db.prepare_cached(sql)?.query_row([], |row| {
                let count = |column| row.get(column).map(|n: i64| u64::try_from(n).unwrap_or(0));
                Ok(Waiting { parcels: count(0)?, octets: count(1)? })
            })
        })
        .await
    }

    /// Where the archive is in the stream.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn stream_state(&self) -> Result<StreamState, StoreError> {
        self.read_own(|db| {
            let position = db
                .query_row("SELECT number, mark FROM stream_position", [], |row| {
                    Ok(Revision { number: row.get(0)?, mark: row.get(1)? })
                })
                .optional()?;
            let own = db.query_row("SELECT origin FROM stream_self", [], |row| row.get(0));
            let own = own.optional()?.unwrap_or_default();
            let mut select =
                db.prepare("SELECT origin, node, number, events, until FROM stream_origins")?;
            let origins = select.query_map([], |row| {
                let heard = Heard {
                    node: row.get(1)?,
                    number: row.get(2)?,
                    events: row.get(3)?,
                    until: Timestamp::from_millis(row.get(4)?),
                };
                Ok((row.get(0)?, heard))
            })?;
            Ok(StreamState { position, origins: origins.collect::<Result<_, _>>()?, own })
        })
        .await
    }

    /// Adds what arrived and notes the position, all of it or none; returns the action and head of each entry that the audit
    /// got.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it could not be written.
    pub async fn take_in(
        &self,
        taken: std::sync::Arc<Taken>,
    ) -> Result<Vec<(String, Head)>, StoreError> {
        let (work, marks) = (taken.clone(), self.0.marks.clone());
        let has_audit =
            |parcel: &Parcel| !parcel.content.audit.is_empty() || !parcel.content.orders.is_empty();
        let lasting = if taken.parcels.iter().any(|(parcel, _)| has_audit(parcel)) {
            Lasting::Power
        } else {
            Lasting::Process
        };
        let (firsts, added) = self
            .write(lasting, move |db| {
                let (mut firsts, mut added) = (Vec::new(), Added::default());
                for (parcel, changes) in &work.parcels {
                    firsts.push(add(db, &marks, parcel, changes, &mut added)?);
                }
                note_position(db, &work)?;
                Ok((firsts, added))
            })
            .await?;
        self.0.orders.tell(&added.obeyed);
        self.note_refused(added.refused);
        if taken.parcels.iter().any(|(it, _)| it.content.orders.iter().any(Order::is_step)) {
            self.0.stepped.notify_one();
        }
        for (first, (parcel, _)) in firsts.into_iter().zip(&taken.parcels) {
            self.tell(first, &parcel.content.events);
        }
        Ok(added.heads)
    }
}

/// What parcels added beside events.
#[derive(Default)]
struct Added {
    /// The action and head of each entry of the audit.
    heads: Vec<(String, Head)>,
    obeyed: Vec<Obeyed>,
    /// Erasures that were asked for and are refused.
    refused: Vec<Job>,
}

/// Puts a content on its way, for jobs that do so in their own transaction.
pub(super) fn post(db: &Connection, content: &Content, at: Timestamp) -> rusqlite::Result<()> {
    put(db, content.clone(), at).map(drop)
}

fn put(db: &Connection, mut content: Content, at: Timestamp) -> rusqlite::Result<Told> {
    let failed = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let mut begins = db.prepare_cached("SELECT number = 0 FROM stream_self")?;
    content.begins = begins.query_row([], |row| row.get(0))?;
    let body = wire::encode(&content).map_err(failed)?;
    let (events, length) = (count(content.events.len()), count(body.len()));
    let mut next = db.prepare_cached(
        "UPDATE stream_self SET number = number + 1, events = events + ?1, octets = octets + ?2 \
         WHERE octets + ?2 <= octets_max RETURNING origin, node, number, events - ?1",
    )?;
    let next = next.query_row(params![events, length], |row| {
        Ok((
            row.get::<_, Origin>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, i64>(2)?,
            row.get::<_, i64>(3)?,
        ))
    });
    let (origin, node, number, before) = next.optional()?.ok_or_else(no_room)?;
    let mut insert = db.prepare_cached(
        "INSERT INTO stream_outgoing (origin, node, number, events, at, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    insert.execute(params![origin, node, number, before, stored(at), body])?;
    Ok(Told { origin, number, body, content })
}

/// True if what is added goes to all nodes, for jobs.
pub(super) fn is_shared(db: &Connection) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM stream_self")?.exists([])
}

fn no_room() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    let why = "the journal of what Redis was not told of yet is full";
    rusqlite::Error::SqliteFailure(code, Some(why.to_owned()))
}

/// Adds what a parcel says; returns the number of its first event.
fn add(
    db: &Connection,
    marks: &super::messages::MarkKey,
    parcel: &Parcel,
    changes: &Changes,
    Added { heads, obeyed, refused }: &mut Added,
) -> rusqlite::Result<i64> {
    let (header, content) = (&parcel.header, &parcel.content);
    usage::add_of(db, &content.usage, Some(&header.node))?;
    alerts::keep(db, changes)?;
    offences::add(db, &content.offences)?;
    alerts::forget_delivered(db, &content.delivered)?;
    availability::note_of(db, &header.node, &content.minutes)?;
    listings::keep(db, &content.listings)?;
    content.letters.iter().try_for_each(|letter| usage::note_letter(db, letter).map(drop))?;
    for entry in &content.audit {
        heads.extend(audit::insert_prepared(db, entry)?.map(|head| (entry.action.clone(), head)));
    }
    for order in &content.orders {
        let done = orders::obey(db, order, heads)?;
        refused.extend(order.refused_job(done).cloned());
        obeyed.push(done);
    }
    events::insert(db, marks, &content.events)
}

fn note_position(db: &Connection, taken: &Taken) -> rusqlite::Result<()> {
    let mut heard = db.prepare_cached(
        "INSERT OR REPLACE INTO stream_origins (origin, node, number, events, until) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut cut = db.prepare_cached(
        "DELETE FROM stream_outgoing WHERE origin = ?1 AND number <= ?2 RETURNING length(body)",
    )?;
    let mut octets = 0;
    for (origin, known) in &taken.origins {
        heard.execute(params![
            origin,
            known.node,
            known.number,
            known.events,
            stored(known.until)
        ])?;
        let gone = cut.query_map(params![origin, known.number], |row| row.get::<_, i64>(0))?;
        octets += gone.sum::<rusqlite::Result<i64>>()?;
    }
    db.execute("UPDATE stream_self SET octets = max(octets - ?1, 0)", [octets])?;
    if let Some(missed) = &taken.missed {
        let (since, until) = (stored(missed.since), stored(missed.until));
        db.execute("INSERT INTO stream_missed (begins, ends) VALUES (?1, ?2)", [since, until])?;
        usage::add_missed(db, missed.until, missed.events)?;
    }
    let lack = if taken.missed.is_some() { Lack::Stretch } else { taken.lack };
    if lack != Lack::Nothing {
        kept::want(db, lack)?;
    }
    let Revision { number, mark } = taken.position;
    db.execute(
        "INSERT OR REPLACE INTO stream_position (one, number, mark) VALUES (0, ?1, ?2)",
        [number, mark],
    )?;
    Ok(())
}

fn header(row: &Row<'_>) -> rusqlite::Result<Header> {
    Ok(Header {
        origin: row.get(1)?,
        node: row.get(2)?,
        number: row.get(3)?,
        events_before: row.get(4)?,
        at: Timestamp::from_millis(row.get(5)?),
    })
}

/// Forgets what was long ago, of origins that are gone and stretches that were missed.
pub(super) fn cut(db: &Connection, before: Timestamp) -> rusqlite::Result<usize> {
    let before = stored(before);
    let origins = db.execute("DELETE FROM stream_origins WHERE until < ?1", [before])?;
    Ok(origins + db.execute("DELETE FROM stream_missed WHERE ends < ?1", [before])?)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl From<&Batch> for Content {
    fn from(batch: &Batch) -> Self {
        Self {
            events: batch.events.clone(),
            usage: batch.usage.clone(),
            offences: batch.offences.clone(),
            signs: batch.signs.clone(),
            ..Self::default()
        }
    }
}

pub(super) const CREATE: &str = "
CREATE TABLE stream_self (one INTEGER PRIMARY KEY CHECK (one = 0), origin BLOB NOT NULL, node TEXT NOT NULL,
    number INTEGER NOT NULL, events INTEGER NOT NULL, octets INTEGER NOT NULL, octets_max INTEGER NOT NULL);
CREATE TABLE stream_outgoing (place INTEGER PRIMARY KEY AUTOINCREMENT, origin BLOB NOT NULL, node TEXT NOT NULL,
    number INTEGER NOT NULL, events INTEGER NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX stream_outgoing_origin ON stream_outgoing (origin, number);
CREATE TABLE stream_position (one INTEGER PRIMARY KEY CHECK (one = 0), number INTEGER NOT NULL, mark INTEGER NOT NULL);
CREATE TABLE stream_origins (origin BLOB PRIMARY KEY, node TEXT NOT NULL, number INTEGER NOT NULL, events INTEGER NOT NULL,
    until INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE stream_missed (begins INTEGER NOT NULL, ends INTEGER NOT NULL);
CREATE INDEX stream_missed_ends ON stream_missed (ends);
CREATE TABLE node_minutes (minute INTEGER NOT NULL, node TEXT NOT NULL, lacks INTEGER NOT NULL, PRIMARY KEY (minute, node))
    WITHOUT ROWID;
CREATE TABLE node_hours (hour INTEGER NOT NULL, node TEXT NOT NULL, collected INTEGER NOT NULL, PRIMARY KEY (hour, node))
    WITHOUT ROWID;
";
