//! Erasures that several nodes carry out together: who is erased, how far that is, and which nodes have done their part.
//!
//! Every step is an order in the stream ([`Step`]), so each archive comes to it at the same place. *Ask* names who is meant, and is
//! refused where somebody holds him; from then on a hold is refused. *Go* says that nothing stood in the way at the records;
//! each node erases what it has, and says *told*. When all have, nothing of before is under way to anybody, and *again* has each
//! erase what came meanwhile and forget whom it was about. When that is told by all too, the stream is cut up to where the last of
//! them was, and *over* ends it. A row outlasts any crash between.

use super::{Archive, Lasting, kept, names, stored, stream::orders::Deed};
use crate::{
    store::{StoreError, backup::hexadecimal},
    types::{Actor, SubjectId, TenantId, Timestamp},
};
use ring::hmac;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::HashSet;

/// Names an erasure.
pub type ErasureId = [u8; 16];

/// Who is to be erased at all nodes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Job {
    /// Its name.
    pub id: ErasureId,
    /// The node that was asked.
    pub node: String,
    /// When, in UTC.
    pub at: Timestamp,
    /// Who.
    pub subjects: Vec<SubjectId>,
    /// The tenants that the accounts belong to, whose holds count.
    pub tenants: Vec<TenantId>,
    /// Why.
    pub reason: String,
    /// Who wants it.
    pub actor: Actor,
}

impl Job {
    /// Those who are erased, and their tenants.
    fn covered(&self) -> impl Iterator<Item = SubjectId> {
        let tenants = self.tenants.iter().cloned().map(SubjectId::Tenant);
        self.subjects.iter().cloned().chain(tenants)
    }
}

/// A step of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// It is wanted.
    Ask(Job),
    /// It is not carried out.
    GiveUp(ErasureId),
    /// Everybody does it. It has all again, for nodes that have not heard that it was asked.
    Go(Job),
    /// A node has done a part.
    Told(Told),
    /// Everybody does it once more. It has the digests of whom it is about, for nodes that have heard nothing of it.
    Again(Covered),
    /// It has ended.
    Over(ErasureId),
}

/// Whom an erasure is about, without a name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Covered {
    /// Which erasure.
    pub id: ErasureId,
    /// The digests of those who are erased, and of their tenants.
    pub digests: Vec<String>,
}

/// A node has done a part.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Told {
    /// Of which erasure.
    pub id: ErasureId,
    /// The node.
    pub node: String,
    /// The first part, or the second.
    pub part: i64,
    /// The last entry of the stream that its archive had then.
    pub position: i64,
    /// The last change of records that it had then.
    pub change: i64,
}

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is wanted.
    Asked,
    /// Everybody does it.
    Going,
    /// Everybody does it once more.
    Again,
}

impl Stage {
    const fn of(number: i64) -> Self {
        match number {
            0 => Self::Asked,
            1 => Self::Going,
            _ => Self::Again,
        }
    }
}

/// An erasure that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasing {
    /// Its name.
    pub id: ErasureId,
    /// How far it is.
    pub stage: Stage,
    /// Whom it is about; none: this node has forgotten it.
    pub job: Option<Job>,
    /// The same without a name.
    pub digests: Vec<String>,
    /// What the nodes told.
    pub told: Vec<Told>,
}

impl Erasing {
    /// True if a node has told a part.
    #[must_use]
    pub fn has_told(&self, node: &str, part: i64) -> bool {
        self.told.iter().any(|told| told.part == part && told.node == node)
    }

    /// True of whom it is about, and of his tenant.
    #[must_use]
    pub fn covers(&self, subject: &SubjectId) -> bool {
        self.digests.contains(&digest(self.id, subject))
    }

    /// The nodes among these that have not told a part.
    #[must_use]
    pub fn lacks<'a>(&self, nodes: &'a [String], part: i64) -> Vec<&'a String> {
        nodes.iter().filter(|node| !self.has_told(node, part)).collect()
    }
}

impl Archive {
    /// Orders a step, with the time; false if it was refused.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be ordered, or does not come back.
    pub async fn step(&self, step: Step, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.send_order(Deed::Erase(step), None, now).await?.done().is_some())
    }

    /// Erasures that have not ended.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn erasings(&self) -> Result<Vec<Erasing>, StoreError> {
        self.read_own(|db| {
            let mut select = db.prepare_cached("SELECT id, stage, job FROM erasing")?;
            let mut rows = select.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let (id, job): (ErasureId, String) = (row.get(0)?, row.get(2)?);
                let (digests, stage) = (digests(id, &job), Stage::of(row.get(1)?));
                let job = serde_json::from_str(&job).ok();
                found.push(Erasing { id, stage, job, digests, told: told(db, id)? });
            }
            Ok(found)
        })
        .await
    }

    /// Forgets whom an erasure is about, but for what a hold on them is known by until it has ended; what there was of it goes with the
    /// next [`Archive::rewrite`].
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn forget_job(&self, id: ErasureId) -> Result<(), StoreError> {
        self.write(Lasting::Power, move |db| {
            let job: String =
                db.query_row("SELECT job FROM erasing WHERE id = ?1", [id], |row| row.get(0))?;
            let sql = "UPDATE erasing SET job = ?2 WHERE id = ?1";
            db.execute(sql, params![id, text(&digests(id, &job))?]).map(drop)
        })
        .await
    }

    /// Erasures that have ended, and of which some node told a part afterwards: it did not hear the end.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn ended_unheard(&self) -> Result<Vec<ErasureId>, StoreError> {
        self.read_own(|db| {
            let mut select = db.prepare_cached("SELECT id FROM erasing_over WHERE is_unheard")?;
            select.query_map([], |row| row.get(0))?.collect()
        })
        .await
    }

    /// Forgets an erasure that was only asked for and of which this node cannot read whom it is about; it is known again by whatever is said of it.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn drop_asked(&self, id: ErasureId) -> Result<(), StoreError> {
        let sql = "DELETE FROM erasing WHERE id = ?1 AND stage = 0";
        self.write(Lasting::Power, move |db| db.execute(sql, [id]).map(drop)).await
    }

    /// Ends an erasure in this archive, which is alone.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn end_alone(&self, id: ErasureId) -> Result<(), StoreError> {
        self.write(Lasting::Power, move |db| carry_out(db, &Step::Over(id)).map(drop)).await
    }

    /// Ends when a step of an erasure, or what a node says of what stands, was taken in since the last call.
    pub async fn stepped(&self) {
        self.0.stepped.notified().await;
    }

    /// Erasures that were asked for and refused here since the last call.
    #[must_use]
    pub fn take_refused(&self) -> Vec<Job> {
        std::mem::take(&mut *self.0.refused.lock())
    }

    pub(super) fn note_refused(&self, jobs: Vec<Job>) {
        let mut refused = self.0.refused.lock();
        let room = REFUSED_MAX.saturating_sub(refused.len());
        refused.extend(jobs.into_iter().take(room));
    }

    /// True of an erasure that has ended, or was given up.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn has_ended(&self, id: ErasureId) -> Result<bool, StoreError> {
        self.read_own(move |db| is_over(db, id)).await
    }

    /// The end of the last stretch of what the nodes told that this one missed, in UTC; none: it missed nothing.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn missed_until(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read_own(|db| {
            let sql = "SELECT max(ends) FROM stream_missed";
            let ends: Option<i64> = db.query_row(sql, [], |row| row.get(0))?;
            Ok(ends.map(Timestamp::from_millis))
        })
        .await
    }

    /// This node's name, and those of all that were heard of since a moment; none where the archive is alone.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn nodes(
        &self,
        since: Timestamp,
    ) -> Result<Option<(String, Vec<String>)>, StoreError> {
        self.read_own(move |db| {
            let own =
                db.query_row("SELECT node FROM stream_self", [], |row| row.get(0)).optional()?;
            let Some(own) = own else { return Ok(None) };
            let mut select =
                db.prepare_cached("SELECT DISTINCT node FROM stream_origins WHERE until >= ?1")?;
            let nodes = select.query_map([stored(since)], |row| row.get(0))?;
            Ok(Some((own, nodes.collect::<rusqlite::Result<_>>()?)))
        })
        .await
    }
}

fn told(db: &Connection, id: ErasureId) -> rusqlite::Result<Vec<Told>> {
    let mut select =
        db.prepare_cached("SELECT node, part, position, change FROM erasing_told WHERE id = ?1")?;
    let rows = select.query_map([id], |row| {
        let (position, change) = (row.get(2)?, row.get(3)?);
        Ok(Told { id, node: row.get(0)?, part: row.get(1)?, position, change })
    })?;
    rows.collect()
}

/// Carries a step out at its place; false if it is refused, or there is no such erasure. One that has ended, or was given up, does
/// not begin anew, however late a step of it comes.
pub(super) fn carry_out(db: &Connection, step: &Step) -> rusqlite::Result<bool> {
    match step {
        Step::Ask(job) => Ok(!is_over(db, job.id)? && ask(db, job)?),
        Step::GiveUp(id) => give_up(db, *id),
        Step::Go(job) => {
            let sql = "INSERT INTO erasing (id, stage, job) VALUES (?1, 1, ?2) \
                       ON CONFLICT (id) DO UPDATE SET stage = 1, job = excluded.job WHERE stage = 0";
            Ok(!is_over(db, job.id)? && db.execute(sql, params![job.id, text(job)?])? > 0)
        }
        Step::Told(told) => {
            let sql = "INSERT OR REPLACE INTO erasing_told (id, node, part, position, change) \
                       SELECT id, ?2, ?3, ?4, ?5 FROM erasing WHERE id = ?1";
            let place = params![told.id, told.node, told.part, told.position, told.change];
            db.execute("UPDATE erasing_over SET is_unheard = 1 WHERE id = ?1", [told.id])?;
            Ok(db.execute(sql, place)? > 0)
        }
        Step::Again(Covered { id, digests }) => {
            let sql = "INSERT INTO erasing (id, stage, job) VALUES (?1, 2, ?2) \
                       ON CONFLICT (id) DO UPDATE SET stage = 2, \
                       job = CASE stage WHEN 0 THEN excluded.job ELSE job END WHERE stage < 2";
            Ok(!is_over(db, *id)? && db.execute(sql, params![id, text(digests)?])? > 0)
        }
        Step::Over(id) => end(db, *id),
    }
}

/// Ends for good what has not begun. A node that may have missed that it has only forgets it: what has begun is said again, and has to begin here then.
fn give_up(db: &Connection, id: ErasureId) -> rusqlite::Result<bool> {
    let mut select = db.prepare_cached("SELECT stage, job FROM erasing WHERE id = ?1")?;
    let known = select.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)));
    let known: Option<(i64, String)> = known.optional()?;
    let asked = match known {
        Some((stage, _)) if stage > Stage::Asked as i64 => return Ok(false),
        known => known.and_then(|(_, job)| serde_json::from_str::<Job>(&job).ok()),
    };
    if may_have_missed(db, asked.map(|job| job.at))? {
        return Ok(db.execute("DELETE FROM erasing WHERE id = ?1", [id])? > 0);
    }
    end(db, id)
}

/// True if a node may have missed what was told since an erasure was asked for; none: it has not heard that it was, which is not long ago.
fn may_have_missed(db: &Connection, asked: Option<Timestamp>) -> rusqlite::Result<bool> {
    if kept::lacks(db)? {
        return Ok(true);
    }
    let newest = "SELECT coalesce(max(until), 0) FROM stream_origins";
    let since = match asked {
        Some(at) => stored(at),
        None => db.query_row(newest, [], |row| row.get::<_, i64>(0))?.saturating_sub(ASKED_MAX_MS),
    };
    db.prepare_cached("SELECT 1 FROM stream_missed WHERE ends >= ?1")?.exists([since])
}

fn is_over(db: &Connection, id: ErasureId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM erasing_over WHERE id = ?1")?.exists([id])
}

/// Ends an erasure for good; true if it was under way.
fn end(db: &Connection, id: ErasureId) -> rusqlite::Result<bool> {
    db.execute("INSERT OR REPLACE INTO erasing_over (id, is_unheard) VALUES (?1, 0)", [id])?;
    db.execute("DELETE FROM erasing_told WHERE id = ?1", [id])?;
    Ok(db.execute("DELETE FROM erasing WHERE id = ?1", [id])? > 0)
}

fn ask(db: &Connection, job: &Job) -> rusqlite::Result<bool> {
    for subject in job.covered() {
        let Some(number) = names::find(db, &subject)? else { continue };
        let mut held = db.prepare_cached("SELECT 1 FROM holds WHERE subject = ?1")?;
        if held.exists([number])? {
            return Ok(false);
        }
    }
    let wanted: HashSet<&SubjectId> = job.subjects.iter().collect();
    let is_known = |other: &Job| other.subjects.iter().any(|subject| wanted.contains(subject));
    if jobs(db)?.iter().filter_map(|job| serde_json::from_str(job).ok()).any(|job| is_known(&job)) {
        return Ok(false);
    }
    let sql = "INSERT OR IGNORE INTO erasing (id, stage, job) VALUES (?1, 0, ?2)";
    Ok(db.execute(sql, params![job.id, text(job)?])? > 0)
}

/// True while somebody is being erased, so that a hold on him comes too late. Every archive knows it alike: no node forgets whom an erasure
/// is about before all are told to, and then each still knows the digests.
pub(super) fn is_under_way(db: &Connection, subject: &SubjectId) -> rusqlite::Result<bool> {
    covers(db, subject, Stage::Asked)
}

/// True while somebody is being erased, and not only asked for.
pub(super) fn has_begun(db: &Connection, subject: &SubjectId) -> rusqlite::Result<bool> {
    covers(db, subject, Stage::Going)
}

fn covers(db: &Connection, subject: &SubjectId, from: Stage) -> rusqlite::Result<bool> {
    let mut select = db.prepare_cached("SELECT id, job FROM erasing WHERE stage >= ?1")?;
    let mut rows = select.query([from as i64])?;
    while let Some(row) = rows.next()? {
        let (id, job): (ErasureId, String) = (row.get(0)?, row.get(1)?);
        if digests(id, &job).contains(&digest(id, subject)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The digests of those whom an erasure covers.
fn digests(id: ErasureId, job: &str) -> Vec<String> {
    match serde_json::from_str::<Job>(job) {
        Ok(job) => job.covered().map(|subject| digest(id, &subject)).collect(),
        // It is forgotten, and they are all that is known.
        Err(_) => serde_json::from_str(job).unwrap_or_default(),
    }
}

/// By what somebody is known in an erasure, at all nodes alike, until it has ended.
fn digest(id: ErasureId, subject: &SubjectId) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &id);
    hexadecimal(hmac::sign(&key, subject.to_string().as_bytes()).as_ref())
}

/// Whom erasures are about that have not ended: each a [`Job`], or the digests of those whom it covered.
fn jobs(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = db.prepare_cached("SELECT job FROM erasing")?;
    select.query_map([], |row| row.get(0))?.collect()
}

fn text(job: &impl serde::Serialize) -> rusqlite::Result<String> {
    let failed = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    serde_json::to_string(job).map_err(failed)
}

/// Erasures that are remembered as refused.
const REFUSED_MAX: usize = 1_000;
/// Longer than that nothing is only asked for.
const ASKED_MAX_MS: i64 = 2 * 86_400_000;

pub(super) const CREATE: &str = "
CREATE TABLE IF NOT EXISTS erasing (id BLOB PRIMARY KEY, stage INTEGER NOT NULL, job TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasing_told (id BLOB NOT NULL, node TEXT NOT NULL, part INTEGER NOT NULL, position INTEGER NOT NULL,
    change INTEGER NOT NULL, PRIMARY KEY (id, node, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasing_over (id BLOB PRIMARY KEY, is_unheard INTEGER NOT NULL) WITHOUT ROWID;
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::archive::{HoldRow, Settings, holds, open};

    fn job(id: u8) -> Job {
        Job {
            id: [id; 16],
            node: "n1".into(),
            at: Timestamp::from_millis(5),
            subjects: vec![SubjectId::Account("a@shop.example".parse().unwrap())],
            tenants: vec!["shop.example".parse().unwrap()],
            reason: "asked".into(),
            actor: Actor::automatic("test"),
        }
    }

    fn covered() -> Covered {
        let digests = digests([3; 16], &text(&job(3)).unwrap());
        Covered { id: [3; 16], digests }
    }

    fn place(db: &Connection, subject: &SubjectId) -> bool {
        let (at, subject) = (Timestamp::from_millis(4), subject.clone());
        let hold = HoldRow { subject, at, reason: "court".into(), actor: "op".into() };
        holds::place(db, &hold).unwrap()
    }

    #[tokio::test]
    async fn a_hold_before_it_stops_an_erasure_and_one_behind_it_comes_too_late() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let person = SubjectId::Account("a@shop.example".parse().unwrap());
        let tenant = SubjectId::Tenant("shop.example".parse().unwrap());
        let other = SubjectId::Account("b@shop.example".parse().unwrap());
        let all = [person.clone(), tenant.clone(), other];
        let those = all.clone();
        let done = archive.write(Lasting::Process, move |db| {
            let step = |step| carry_out(db, &step).unwrap();
            let places = || [0, 1, 2].map(|at: usize| place(db, &all[at]));
            let lift = || all.iter().all(|who| holds::end(db, "holds", who).is_ok());
            for held in [&person, &tenant] {
                assert!(place(db, held));
                assert!(!step(Step::Ask(job(1))));
                assert!(lift());
            }
            assert!(step(Step::Ask(job(1))));
            assert!(!step(Step::Ask(job(2))), "it is asked already");
            assert_eq!(places(), [false, false, true]);
            assert!(step(Step::GiveUp([1; 16])));
            assert_eq!(places(), [true, true, true]);
            assert!(lift());
            assert!(step(Step::Ask(job(3))) && step(Step::Go(job(3))));
            assert!(!step(Step::GiveUp([3; 16])), "it goes on");
            assert!(!step(Step::Go(job(3))), "it is said again");
            assert_eq!(places(), [false, false, true]);
            let told = Told { id: [3; 16], node: "n1".into(), part: 1, position: 7, change: 2 };
            assert!(step(Step::Told(told.clone())));
            assert!(!step(Step::Told(Told { id: [9; 16], ..told })));
            assert!(step(Step::Again(covered())) && !step(Step::Again(covered())));
            assert_eq!(places(), [false, false, true]);
            Ok(())
        });
        done.await.unwrap();
        archive.forget_job([3; 16]).await.unwrap();
        assert_eq!(archive.erasings().await.unwrap()[0].job, None);
        let done = archive.write(Lasting::Process, move |db| {
            let step = |step| carry_out(db, &step).unwrap();
            let places = || [0, 1, 2].map(|at: usize| place(db, &those[at]));
            assert_eq!(places(), [false, false, true], "nobody knows their names any more");
            assert!(step(Step::Over([3; 16])));
            assert_eq!(places(), [true, true, true]);
            // Whatever of it comes later begins nothing, and shows that somebody did not hear the end.
            let late = |step| !carry_out(db, &step).unwrap();
            assert!(
                late(Step::Again(covered())) && late(Step::Go(job(3))) && late(Step::Ask(job(3)))
            );
            assert!(late(Step::Go(job(1))), "it was given up");
            let told = Told { id: [3; 16], node: "n1".into(), part: 2, position: 7, change: 2 };
            assert!(late(Step::Told(told)));
            // A node that never heard that it was asked, and one that heard nothing but the second part.
            assert!(step(Step::Go(job(4))));
            let digests = digests([5; 16], &text(&job(5)).unwrap());
            assert!(step(Step::Again(Covered { id: [5; 16], digests })));
            assert_eq!(places(), [false, false, true]);
            assert!(step(Step::Over([5; 16])));
            Ok(())
        });
        done.await.unwrap();
        assert_eq!(archive.ended_unheard().await.unwrap(), [[3; 16]]);
        let heard = archive.write(Lasting::Process, |db| carry_out(db, &Step::Over([3; 16])));
        assert!(!heard.await.unwrap());
        assert!(archive.ended_unheard().await.unwrap().is_empty());
        let left = archive.erasings().await.unwrap();
        assert_eq!((left.len(), left[0].stage, left[0].told.len()), (1, Stage::Going, 0));
        let nodes = ["n1".to_owned(), "n2".to_owned()];
        assert_eq!(left[0].lacks(&nodes, 1), [&nodes[0], &nodes[1]]);
        archive.forget_job([4; 16]).await.unwrap();
        assert_eq!(archive.erasings().await.unwrap()[0].job, None);
    }

    #[tokio::test]
    async fn what_is_given_up_begins_later_only_where_it_may_have_been_missed_that_it_has_begun() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let done = archive.write(Lasting::Process, move |db| {
            let step = |step| carry_out(db, &step).unwrap();
            let ends = "INSERT INTO stream_missed (begins, ends) VALUES (1, ?1)";
            // Before it was asked for, at 5.
            db.execute(ends, [4])?;
            assert!(step(Step::Ask(job(1))) && step(Step::GiveUp([1; 16])));
            assert!(!step(Step::Go(job(1))));
            db.execute(ends, [5])?;
            assert!(step(Step::Ask(job(2))) && step(Step::GiveUp([2; 16])));
            assert!(jobs(db)?.is_empty());
            assert!(step(Step::Go(job(2))) && !step(Step::GiveUp([2; 16])));
            assert!(step(Step::Over([2; 16])) && !step(Step::Go(job(2))));
            // It has heard nothing of it, and nothing else for long.
            let until = "INSERT INTO stream_origins (origin, node, number, events, until) VALUES (x'00', 'n2', 1, 0, ?1)";
            db.execute(until, [ASKED_MAX_MS + 5])?;
            assert!(!step(Step::GiveUp([3; 16])) && step(Step::Again(covered())));
            assert!(step(Step::Over([3; 16])));
            db.execute("DELETE FROM stream_missed", [])?;
            assert!(!step(Step::GiveUp([4; 16])) && !step(Step::Go(job(4))));
            kept::want(db, kept::Lack::Stretch)?;
            assert!(!step(Step::GiveUp([5; 16])) && step(Step::Go(job(5))));
            Ok(())
        });
        done.await.unwrap();
    }
}
