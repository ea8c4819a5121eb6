//! Legal holds and closings for a node that does not know all of them: it joined without a copy of another's archive, or has missed
//! a part of what was told.
//!
//! Such a node asks, with an order in the stream ([`News::Ask`]), and every other one tells what stands in its own archive
//! ([`News::Tell`]); only who asked adds it. Until a node has told that knows all itself, or all have that were heard of, the
//! asking one does not know all, and erases nobody. What is placed or lifted meanwhile is not changed by what was told of before.
//! A hold is never dropped: one too many can be lifted. A closing that nobody else knows is, because whoever it is about stays.

use super::{
    Archive, Closing, HoldRow, closings, erasing, holds, names, stored, stream::orders::Deed,
};
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
    Ask(Question),
    /// What stands.
    Tell(Kept),
    /// A node that asked knows all.
    Enough(Question),
}

/// A node asks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Question {
    /// The node.
    pub node: String,
    /// Drawn for each time, so that an answer to an earlier one is none to this.
    pub number: i64,
    /// When it asked first, in UTC.
    pub since: Timestamp,
    /// Why it asks.
    pub lack: Lack,
}

/// What a node lacks.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// Nothing that it knows of: it is new, and has read the stream from its first entry on.
    #[default]
    Nothing,
    /// It has missed something.
    Stretch,
    /// It is new, and the stream does not reach back to its first entry.
    Beginning,
}

impl Lack {
    const fn of(number: i64) -> Self {
        match number {
            0 => Self::Nothing,
            1 => Self::Stretch,
            _ => Self::Beginning,
        }
    }
}

/// What stands at a node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// Who tells.
    pub node: String,
    /// What it answers.
    pub to: Vec<Question>,
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
    /// This node has still to ask, for what it lacks.
    pub wanted: Option<Lack>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    question: Question,
    /// None: that it is asked.
    teller: Option<String>,
    is_all: bool,
}

impl KeptAsked {
    /// True if a node may lack something.
    #[must_use]
    pub fn lacks(&self, node: &str) -> bool {
        self.wanted.is_some() || self.asked_by(node).is_some()
    }

    /// What a node has asked that does not know all yet.
    #[must_use]
    pub fn asked_by(&self, node: &str) -> Option<&Question> {
        self.asked().find(|question| question.node == node)
    }

    fn asked(&self) -> impl Iterator<Item = &Question> {
        self.rows.iter().filter(|row| row.teller.is_none()).map(|row| &row.question)
    }

    fn told_to<'a>(&'a self, asker: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.question.node == asker && row.teller.is_some())
    }

    /// What others have asked and a node has not told; or told before it knew all, as it does now.
    #[must_use]
    pub fn untold_by(&self, node: &str) -> Vec<Question> {
        let is_all = !self.lacks(node);
        let is_told = |row: &Row| row.teller.as_deref() == Some(node) && (row.is_all || !is_all);
        let waits =
            |asked: &&Question| asked.node != node && !self.told_to(&asked.node).any(is_told);
        self.asked().filter(waits).cloned().collect()
    }

    /// True if anybody has told a node.
    #[must_use]
    pub fn is_told(&self, node: &str) -> bool {
        self.told_to(node).next().is_some()
    }

    /// True if a node was told by one that knows all.
    #[must_use]
    pub fn has_all(&self, node: &str) -> bool {
        self.told_to(node).any(|row| row.is_all)
    }

    /// Those among others whom a node that asked has to wait for; nobody, once one told that knows all.
    #[must_use]
    pub fn missing<'a>(&self, node: &str, others: &'a [String]) -> Vec<&'a String> {
        if self.has_all(node) {
            return Vec::new();
        }
        let has_told =
            |other: &String| self.told_to(node).any(|row| row.teller.as_ref() == Some(other));
        others.iter().filter(|other| *other != node && !has_told(other)).collect()
    }
}

impl Archive {
    /// What this node knows of who asked what stands, and of who told.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn kept_asked(&self) -> Result<KeptAsked, StoreError> {
        self.read_own(|db| {
            let mut select = db.prepare_cached(
                "SELECT asker, number, since, lack, teller, is_all FROM kept_asked",
            )?;
            let mut found = KeptAsked::default();
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let (node, number, lack): (String, _, _) =
                    (row.get(0)?, row.get(1)?, Lack::of(row.get(3)?));
                if node.is_empty() {
                    found.wanted = Some(lack);
                    continue;
                }
                let since = Timestamp::from_millis(row.get(2)?);
                let question = Question { node, number, since, lack };
                let teller: String = row.get(4)?;
                let teller = (!teller.is_empty()).then_some(teller);
                found.rows.push(Row { question, teller, is_all: row.get(5)? });
            }
            Ok(found)
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
pub(super) fn want(db: &Connection, lack: Lack) -> rusqlite::Result<()> {
    let sql = "INSERT INTO kept_asked (asker, teller, number, since, lack, is_all) VALUES ('', '', 0, 0, ?1, 0) \
               ON CONFLICT DO UPDATE SET lack = max(lack, excluded.lack)";
    db.execute(sql, [lack as i64]).map(drop)
}

/// A node shares the archive from now on, before its name is noted. One with an archive that has read nothing of the stream asks, and so does one
/// that has asked, or has a copy of the archive of one that has.
pub(super) fn begin(db: &Connection, node: &str) -> rusqlite::Result<()> {
    let has_read = db.prepare("SELECT 1 FROM stream_position")?.exists([])?;
    let has_asked =
        "SELECT 1 FROM kept_asked WHERE asker = ?1 OR asker IN (SELECT node FROM stream_self)";
    if !has_read || db.prepare(has_asked)?.exists([node])? {
        want(db, Lack::Nothing)?;
    }
    Ok(())
}

/// True while this node may lack something, for jobs.
pub(super) fn lacks(db: &Connection) -> rusqlite::Result<bool> {
    let own =
        "SELECT 1 FROM kept_asked WHERE asker = '' OR asker IN (SELECT node FROM stream_self)";
    db.prepare_cached(own)?.exists([])
}

/// Carries out what a node says, at its place; true if it was new.
pub(super) fn carry_out(db: &Connection, what: &News) -> rusqlite::Result<bool> {
    let own: Option<String> =
        db.query_row("SELECT node FROM stream_self", [], |row| row.get(0)).optional()?;
    let add = |question: &Question, teller: &str, is_all: bool| {
        let sql = "INSERT OR REPLACE INTO kept_asked (asker, teller, number, since, lack, is_all) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let Question { node, number, since, lack } = question;
        db.execute(sql, params![node, teller, number, stored(*since), *lack as i64, is_all])
            .map(drop)
    };
    match what {
        News::Ask(question) => {
            let node = &question.node;
            db.execute("DELETE FROM kept_asked WHERE asker = ?1", [node])?;
            if own.as_ref() == Some(node) {
                // What it knows by now to lack beyond that it has still to ask for.
                let sql = "DELETE FROM kept_asked WHERE asker = '' AND lack <= ?1";
                db.execute(sql, [question.lack as i64])?;
                forget_touched(db)?;
            }
            add(question, "", false)?;
        }
        News::Tell(told) => {
            let mut of_asker = db.prepare_cached(
                "SELECT max(is_all) FROM kept_asked WHERE asker = ?1 AND number = ?2 HAVING count(*) > 0",
            )?;
            for question in &told.to {
                let Question { node, number, .. } = question;
                let has_all = of_asker.query_row(params![node, number], |row| row.get(0));
                let has_all: Option<bool> = has_all.optional()?;
                let Some(has_all) = has_all else { continue };
                // After somebody who knows all, nobody who does not.
                let is_better = told.is_all || !has_all;
                if own.as_ref() == Some(node) && is_better {
                    take_over(db, told)?;
                }
                add(question, &told.node, told.is_all)?;
            }
        }
        News::Enough(Question { node, number, .. }) => {
            let sql = "DELETE FROM kept_asked WHERE asker = ?1 AND number = ?2";
            let is_new = db.execute(sql, params![node, number])? > 0;
            if own.as_ref() == Some(node) && is_new {
                forget_touched(db)?;
            }
            return Ok(is_new);
        }
    }
    Ok(true)
}

/// What was touched while others heard of it is known to whoever answers.
fn forget_touched(db: &Connection) -> rusqlite::Result<()> {
    db.execute("DELETE FROM kept_touched WHERE NOT is_alone", []).map(drop)
}

/// Adds what stands elsewhere; who leaves by what one knows that knows all, and nobody else. What was placed or lifted since this node asked, or while it was
/// alone, is left as it is.
fn take_over(db: &Connection, told: &Kept) -> rusqlite::Result<()> {
    for hold in &told.holds {
        if is_new(db, HOLDS, &hold.subject)? && !erasing::has_begun(db, &hold.subject)? {
            holds::put(db, hold)?;
        }
    }
    if told.is_all {
        let sql = "DELETE FROM closings WHERE subject NOT IN (SELECT subject FROM kept_touched WHERE what = ?1)";
        db.execute(sql, [CLOSINGS])?;
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

/// A hold or a closing is placed or lifted. While this node asks, or is alone, what is told of others' does not change that; else all know it.
pub(super) fn touch(db: &Connection, table: &str, subject: &SubjectId) -> rusqlite::Result<()> {
    let asks = "SELECT EXISTS (SELECT 1 FROM kept_asked WHERE asker = node) FROM stream_self";
    let asks: Option<bool> = db.query_row(asks, [], |row| row.get(0)).optional()?;
    // What is asked for may not be known here yet.
    let number = match asks {
        Some(true) => names::number_of(db, subject)?,
        Some(false) | None => match names::find(db, subject)? {
            Some(number) => number,
            None => return Ok(()),
        },
    };
    if asks == Some(false) {
        let sql = "DELETE FROM kept_touched WHERE what = ?1 AND subject = ?2";
        return db.execute(sql, params![table, number]).map(drop);
    }
    let sql = "INSERT OR REPLACE INTO kept_touched (what, subject, is_alone) VALUES (?1, ?2, ?3)";
    db.execute(sql, params![table, number, asks.is_none()]).map(drop)
}

pub(super) const HOLDS: &str = "holds";
pub(super) const CLOSINGS: &str = "closings";

/// What a build before placed was placed when nobody told of it, and what was missed then is asked for now.
pub(super) const UPGRADE: &str = "
INSERT OR IGNORE INTO kept_touched (what, subject, is_alone) SELECT 'holds', subject, 1 FROM holds;
INSERT OR IGNORE INTO kept_touched (what, subject, is_alone) SELECT 'closings', subject, 1 FROM closings;
INSERT OR IGNORE INTO kept_asked (asker, teller, number, since, lack, is_all) SELECT '', '', 0, 0, 1, 0 FROM stream_position;
";

pub(super) const CREATE: &str = "
CREATE TABLE IF NOT EXISTS kept_asked (asker TEXT NOT NULL, teller TEXT NOT NULL, number INTEGER NOT NULL, since INTEGER NOT NULL,
    lack INTEGER NOT NULL, is_all INTEGER NOT NULL,
    PRIMARY KEY (asker, teller)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept_touched (what TEXT NOT NULL, subject INTEGER NOT NULL, is_alone INTEGER NOT NULL, PRIMARY KEY (what, subject))
    WITHOUT ROWID;
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

    fn question(number: i64) -> Question {
        let since = Timestamp::from_millis(9);
        Question { node: "new".into(), number, since, lack: Lack::Nothing }
    }

    fn told(node: &str, is_all: bool, number: i64, names: &[&str]) -> News {
        let holds = names.iter().map(|name| hold(name)).collect();
        let closings = names.iter().map(|name| closing(name)).collect();
        News::Tell(Kept { node: node.into(), to: vec![question(number)], is_all, holds, closings })
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

        say(told("old", true, 1, &["early.example"])).await.unwrap();
        let alone = "tenant alone.example".to_owned();
        assert_eq!(stands().await, (alone.clone(), alone), "it has not asked yet");
        say(News::Ask(question(1))).await.unwrap();
        let nodes = ["new", "old", "young"].map(str::to_owned);
        let asked = archive.kept_asked().await.unwrap();
        assert!(asked.wanted.is_none() && asked.lacks("new"));
        assert_eq!(asked.untold_by("old"), [question(1)]);
        assert!(asked.untold_by("new").is_empty());
        assert_eq!(asked.missing("new", &nodes), [&nodes[1], &nodes[2]]);
        // From before it was away: one that was lifted, and one that is placed again.
        let placed = archive.write(Lasting::Process, |db| {
            holds::put(db, &hold("stale.example"))?;
            closings::put(db, &closing("stale.example"))?;
            closings::place(db, &closing("again.example"))?;
            holds::place(db, &hold("again.example"))
        });
        assert!(placed.await.unwrap());
        let lift = || {
            archive.write(Lasting::Process, |db| {
                let lift = |table| holds::end(db, table, &hold("lifted.example").subject);
                Ok([lift(HOLDS)?, lift(CLOSINGS)?])
            })
        };
        assert_eq!(lift().await.unwrap(), [false, false]);

        // Somebody who lacks things himself is not enough.
        say(told("young", false, 1, &["a.example"])).await.unwrap();
        let all = |names: &str| {
            let tenants: Vec<String> =
                names.split(' ').map(|n| format!("tenant {n}.example")).collect();
            tenants.join(", ")
        };
        let some = all("a again alone stale");
        assert_eq!(stands().await, (some.clone(), some));
        let asked = archive.kept_asked().await.unwrap();
        assert_eq!(asked.missing("new", &nodes), [&nodes[1]]);
        assert_eq!(asked.untold_by("young"), [question(1)], "it knows all by now");
        let names = ["a.example", "b.example", "lifted.example"];
        say(told("old", true, 1, &names)).await.unwrap();
        let asked = archive.kept_asked().await.unwrap();
        assert!(asked.missing("new", &nodes).is_empty() && asked.untold_by("old").is_empty());
        // A hold too many is harmless; who leaves is erased, so who does not must not.
        let known = (all("a again alone b stale"), all("a again alone b"));
        assert_eq!(stands().await, known);
        say(told("older", false, 1, &["foreign.example"])).await.unwrap();
        assert_eq!(stands().await, known, "one that knows all has told");
        say(News::Enough(question(1))).await.unwrap();
        assert!(!archive.kept_asked().await.unwrap().lacks("new"));
        say(told("old", true, 1, &["late.example"])).await.unwrap();
        assert_eq!(stands().await, known);

        // It was away once more, and what was lifted was placed anew meanwhile.
        let again = archive.write(Lasting::Process, |db| {
            want(db, Lack::Beginning)?;
            want(db, Lack::Stretch)
        });
        again.await.unwrap();
        assert_eq!(archive.kept_asked().await.unwrap().wanted, Some(Lack::Beginning));
        assert_eq!(lift().await.unwrap(), [false, false]);
        say(News::Ask(question(2))).await.unwrap();
        assert!(
            archive.kept_asked().await.unwrap().wanted.is_some(),
            "it lacks more than it asked for"
        );
        let lack = Lack::Beginning;
        say(News::Ask(Question { lack, ..question(2) })).await.unwrap();
        assert!(archive.kept_asked().await.unwrap().wanted.is_none());
        say(told("old", true, 1, &["late.example"])).await.unwrap();
        assert_eq!(stands().await, known, "that is an answer to another question");
        say(told("old", true, 2, &["lifted.example"])).await.unwrap();
        let known = (all("a again alone b lifted stale"), all("alone lifted"));
        assert_eq!(stands().await, known);
        say(News::Enough(question(1))).await.unwrap();
        assert!(archive.kept_asked().await.unwrap().lacks("new"));
        say(News::Enough(question(2))).await.unwrap();
        assert!(!archive.kept_asked().await.unwrap().lacks("new"));
    }
}
