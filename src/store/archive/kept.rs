//! Legal holds and closings for a node that does not know all of them: it joined without a copy of another's archive, or has missed
//! a part of what was told.
//!
//! Such a node asks, with an order in the stream ([`News::Ask`]), and every other one tells what stands in its own archive
//! ([`News::Tell`]); only who asked adds it. Until a node has told that knows all itself, or all have that were heard of, the
//! asking one does not know all, and erases nobody. What is placed or lifted meanwhile is not changed by what was told of before.

use super::{Archive, Closing, HoldRow, closings, erasing, holds, names, stream::orders::Deed};
use crate::{
    store::StoreError,
    types::{SubjectId, Timestamp},
};
use rusqlite::{Connection, OptionalExtension as _, params};

/// What nodes say of what stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum News {
    /// A node does not know all, and wants to.
    Ask(String),
    /// What stands.
    Tell(Kept),
    /// A node that asked knows all.
    Enough(String),
}

/// What stands at a node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// Who tells.
    pub node: String,
    /// Who asked.
    pub to: Vec<String>,
    /// That who tells knows all.
    pub is_all: bool,
    /// Legal holds.
    pub holds: Vec<HoldRow>,
    /// Who leaves.
    pub closings: Vec<Closing>,
}

/// What a node knows of who asked and who told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptAsked {
    /// This node has still to ask.
    pub is_wanted: bool,
    rows: Vec<(String, String, bool)>,
}

impl KeptAsked {
    /// True if a node may lack something.
    #[must_use]
    pub fn lacks(&self, node: &str) -> bool {
        self.is_wanted || self.has_asked(node)
    }

    /// True if a node has asked, and does not know all yet.
    #[must_use]
    pub fn has_asked(&self, node: &str) -> bool {
        self.rows.iter().any(|(asker, teller, _)| asker == node && teller.is_empty())
    }

    /// Those who have asked and were not told by a node.
    #[must_use]
    pub fn untold_by(&self, node: &str) -> Vec<String> {
        let others =
            self.rows.iter().filter(|(asker, teller, _)| asker != node && teller.is_empty());
        let waits = |asker: &String| !self.rows.iter().any(|(a, t, _)| a == asker && t == node);
        others.map(|(asker, ..)| asker).filter(|asker| waits(asker)).cloned().collect()
    }

    /// Those among others whom a node that asked has to wait for; nobody, once one told that knows all.
    #[must_use]
    pub fn missing<'a>(&self, node: &str, others: &'a [String]) -> Vec<&'a String> {
        let told = |other: &str| self.rows.iter().any(|(a, t, _)| a == node && t == other);
        if self
            .rows
            .iter()
            .any(|(asker, teller, is_all)| asker == node && *is_all && teller != node)
        {
            return Vec::new();
        }
        others.iter().filter(|other| *other != node && !told(other)).collect()
    }
}

impl Archive {
    /// What this node knows of who asked what stands, and of who told.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn kept_asked(&self) -> Result<KeptAsked, StoreError> {
        self.read_own(|db| {
            let mut select = db.prepare_cached("SELECT asker, teller, is_all FROM kept_asked")?;
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let mut rows: Vec<(String, String, bool)> = rows.collect::<rusqlite::Result<_>>()?;
            let all = rows.len();
            rows.retain(|(asker, ..)| !asker.is_empty());
            Ok(KeptAsked { is_wanted: rows.len() < all, rows })
        })
        .await
    }

    /// All holds and closings there are.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn kept(&self) -> Result<(Vec<HoldRow>, Vec<Closing>), StoreError> {
        self.read_own(|db| Ok((holds::select(db, i64::MAX)?, closings::all(db)?))).await
    }

    /// Orders that all nodes hear what one says of what stands.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be ordered, or does not come back.
    pub async fn say_kept(&self, what: News, now: Timestamp) -> Result<(), StoreError> {
        self.send_order(Deed::Kept(what), None, now).await.map(drop)
    }
}

/// Has this node ask, for jobs.
pub(super) fn want(db: &Connection) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO kept_asked (asker, teller, is_all) VALUES ('', '', 0)";
    db.execute(sql, []).map(drop)
}

/// A node shares the archive from now on. One with an archive that has read nothing of the stream asks, and so does one with a copy of the archive of who asks.
pub(super) fn begin(db: &Connection) -> rusqlite::Result<()> {
    let has_read = db.prepare("SELECT 1 FROM stream_position")?.exists([])?;
    let of_asker = "SELECT 1 FROM kept_asked JOIN stream_self ON node = asker";
    if !has_read || db.prepare(of_asker)?.exists([])? {
        want(db)?;
    }
    Ok(())
}

/// Carries out what a node says, at its place; true if it was new.
pub(super) fn carry_out(db: &Connection, what: &News) -> rusqlite::Result<bool> {
    let own: Option<String> =
        db.query_row("SELECT node FROM stream_self", [], |row| row.get(0)).optional()?;
    let add = "INSERT OR REPLACE INTO kept_asked (asker, teller, is_all) VALUES (?1, ?2, ?3)";
    match what {
        News::Ask(node) => {
            db.execute("DELETE FROM kept_asked WHERE asker = ?1", [node])?;
            if own.as_ref() == Some(node) {
                db.execute("DELETE FROM kept_asked WHERE asker = ''", [])?;
            }
            db.execute(add, params![node, "", false])?;
        }
        News::Tell(told) => {
            let mut asks =
                db.prepare_cached("SELECT 1 FROM kept_asked WHERE asker = ?1 AND teller = ''")?;
            for asker in &told.to {
                if !asks.exists([asker])? {
                    continue;
                }
                // After somebody who knows all, nobody who does not.
                let has_all = db
                    .prepare_cached("SELECT 1 FROM kept_asked WHERE asker = ?1 AND is_all")?
                    .exists([asker])?;
                if own.as_ref() == Some(asker) && (told.is_all || !has_all) {
                    take_over(db, told)?;
                }
                db.execute(add, params![asker, told.node, told.is_all])?;
            }
        }
        News::Enough(node) => {
            if own.as_ref() == Some(node) {
                db.execute("DELETE FROM kept_touched", [])?;
            }
            return Ok(db.execute("DELETE FROM kept_asked WHERE asker = ?1", [node])? > 0);
        }
    }
    Ok(true)
}

/// Adds what stands elsewhere; from a node that knows all, nothing else stands then. What was placed or lifted since this node asked is known
/// here already.
fn take_over(db: &Connection, told: &Kept) -> rusqlite::Result<()> {
    if told.is_all {
        for table in TABLES {
            let sql = format!(
                "DELETE FROM {table} WHERE subject NOT IN (SELECT subject FROM kept_touched WHERE what = ?1)"
            );
            db.execute(&sql, [table])?;
        }
    }
    for hold in &told.holds {
        if is_new(db, HOLDS, &hold.subject)? && !erasing::is_under_way(db, &hold.subject)? {
            holds::put(db, hold)?;
        }
    }
    for closing in &told.closings {
        if is_new(db, CLOSINGS, &closing.subject)? {
            closings::put(db, closing)?;
        }
    }
    Ok(())
}

/// True if nothing is known of it here, and nothing became of it since this node asked.
fn is_new(db: &Connection, table: &str, subject: &SubjectId) -> rusqlite::Result<bool> {
    let Some(number) = names::find(db, subject)? else { return Ok(true) };
    let sql = format!(
        "SELECT 1 FROM {table} WHERE subject = ?1 \
         UNION ALL SELECT 1 FROM kept_touched WHERE subject = ?1 AND what = ?2"
    );
    Ok(!db.prepare(&sql)?.exists(params![number, table])?)
}

/// A hold or a closing is placed or lifted, while this node asks or is alone: what is told of others' does not change that.
pub(super) fn touch(db: &Connection, table: &str, subject: &SubjectId) -> rusqlite::Result<()> {
    let asks = "SELECT EXISTS (SELECT 1 FROM kept_asked WHERE asker = node) FROM stream_self";
    let asks: Option<bool> = db.query_row(asks, [], |row| row.get(0)).optional()?;
    let number = match asks {
        Some(false) => return Ok(()),
        Some(true) => names::number_of(db, subject)?,
        // Nothing is known of it that could be changed.
        None => match names::find(db, subject)? {
            Some(number) => number,
            None => return Ok(()),
        },
    };
    let sql = "INSERT OR IGNORE INTO kept_touched (what, subject) VALUES (?1, ?2)";
    db.execute(sql, params![table, number]).map(drop)
}

pub(super) const HOLDS: &str = "holds";
pub(super) const CLOSINGS: &str = "closings";
const TABLES: [&str; 2] = [HOLDS, CLOSINGS];

pub(super) const CREATE: &str = "
CREATE TABLE IF NOT EXISTS kept_asked (asker TEXT NOT NULL, teller TEXT NOT NULL, is_all INTEGER NOT NULL, PRIMARY KEY (asker, teller))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept_touched (what TEXT NOT NULL, subject INTEGER NOT NULL, PRIMARY KEY (what, subject)) WITHOUT ROWID;
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::archive::{Lasting, Settings, open};
    use std::collections::BTreeSet;

    fn hold(name: &str) -> HoldRow {
        let subject = SubjectId::Tenant(name.parse().unwrap());
        let at = Timestamp::from_millis(4);
        HoldRow { subject, at, reason: "court".into(), actor: "op".into() }
    }

    fn closing(name: &str) -> Closing {
        let HoldRow { subject, at, reason, .. } = hold(name);
        Closing { subject, at, due: at, reason }
    }

    fn told(node: &str, is_all: bool, names: &[&str]) -> News {
        let holds = names.iter().map(|name| hold(name)).collect();
        let closings = names.iter().map(|name| closing(name)).collect();
        News::Tell(Kept { node: node.into(), to: vec!["new".into()], is_all, holds, closings })
    }

    #[tokio::test]
    async fn a_node_that_is_new_asks_and_adds_what_was_not_lifted_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let alone = archive.write(Lasting::Process, |db| {
            closings::place(db, &closing("alone.example"))?;
            holds::place(db, &hold("alone.example"))
        });
        assert!(alone.await.unwrap());
        archive.share("new".into(), 1 << 20).await.unwrap();
        assert!(archive.kept_asked().await.unwrap().lacks("new"));
        let say = |what: News| archive.write(Lasting::Process, move |db| carry_out(db, &what));
        let stands = async || {
            let (holds, closings) = archive.kept().await.unwrap();
            let names = |subjects: Vec<SubjectId>| {
                let names: BTreeSet<String> = subjects.iter().map(SubjectId::to_string).collect();
                names.into_iter().collect::<Vec<_>>().join(", ")
            };
            let holds = names(holds.into_iter().map(|hold| hold.subject).collect());
            (holds, names(closings.into_iter().map(|closing| closing.subject).collect()))
        };

        say(told("old", true, &["early.example"])).await.unwrap();
        let alone = "tenant alone.example".to_owned();
        assert_eq!(stands().await, (alone.clone(), alone), "it has not asked yet");
        say(News::Ask("new".into())).await.unwrap();
        let nodes = ["new", "old", "young"].map(str::to_owned);
        let asked = archive.kept_asked().await.unwrap();
        assert!(!asked.is_wanted && asked.lacks("new") && asked.has_asked("new"));
        assert_eq!(asked.untold_by("old"), ["new"]);
        assert_eq!(asked.missing("new", &nodes), [&nodes[1], &nodes[2]]);
        // From before it was away: one that was lifted, and one that is placed again.
        let placed = archive.write(Lasting::Process, |db| {
            holds::put(db, &hold("stale.example"))?;
            closings::place(db, &closing("again.example"))?;
            holds::place(db, &hold("again.example"))
        });
        assert!(placed.await.unwrap());
        let release = archive.write(Lasting::Process, |db| {
            ["holds", "closings"]
                .into_iter()
                .map(|table| holds::end(db, table, &hold("lifted.example").subject))
                .collect::<rusqlite::Result<Vec<_>>>()
        });
        assert_eq!(release.await.unwrap(), [false, false]);

        // Somebody who lacks things himself is not enough.
        say(told("young", false, &["a.example"])).await.unwrap();
        let some =
            "tenant a.example, tenant again.example, tenant alone.example, tenant stale.example";
        assert_eq!(stands().await.0, some);
        let asked = archive.kept_asked().await.unwrap();
        assert_eq!(asked.missing("new", &nodes), [&nodes[1]]);
        say(told("old", true, &["a.example", "b.example", "lifted.example"])).await.unwrap();
        let asked = archive.kept_asked().await.unwrap();
        assert!(asked.missing("new", &nodes).is_empty() && asked.untold_by("old").is_empty());
        let all = "tenant a.example, tenant again.example, tenant alone.example, tenant b.example"
            .to_owned();
        assert_eq!(stands().await, (all.clone(), all.clone()));
        say(told("older", false, &["stale.example"])).await.unwrap();
        say(News::Enough("new".into())).await.unwrap();
        assert!(!archive.kept_asked().await.unwrap().lacks("new"));
        say(told("old", true, &["late.example"])).await.unwrap();
        assert_eq!(stands().await, (all.clone(), all));
    }
}
