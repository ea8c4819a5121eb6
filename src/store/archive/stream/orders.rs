//! What operators order that concerns the archives of all nodes: legal holds, closings, offences that were mistakes.
//!
//! Where an archive is shared, an order travels in the stream and every node carries it out at its place there, its entry of the audit
//! with it, or refuses it there: it follows from what earlier entries left, so all come to the same. Whoever ordered waits until
//! the own archive has come to that place, and hears what became of it. An archive that is alone carries it out at once.

use super::{Content, post};
use crate::{
    store::{
        StoreError,
        archive::{
            Archive, Closing, HoldRow, Lasting,
            audit::{self, NewEntry, Prepared, chain::Head},
            closings, erasing, holds, kept,
            offences::{self, OffenceName},
            stored,
        },
    },
    types::{SubjectId, Timestamp},
};
use parking_lot::Mutex;
use rusqlite::Connection;
use std::{collections::HashMap, time::Duration};
use tokio::sync::oneshot;

/// An order on its way.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Order {
    /// By which whoever waits knows it.
    key: OrderKey,
    deed: Deed,
    /// What the audit says once it is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<Prepared>,
}

type OrderKey = [u8; 16];

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) enum Deed {
    /// Nothing: whoever sees it done has seen everything before it.
    Look,
    /// A legal hold is placed, or gets another reason.
    Hold(HoldRow),
    /// A legal hold is lifted.
    Release(SubjectId),
    /// Somebody leaves.
    Close(Closing),
    /// Somebody stays after all, or has left.
    EndClosing(SubjectId),
    /// An offence was a mistake.
    Withdraw(OffenceName),
    /// A step of an erasure.
    Erase(erasing::Step),
    /// What a node says of the holds and closings that stand.
    Kept(kept::News),
}

impl Deed {
    const fn is_further_step(&self) -> bool {
        matches!(self, Self::Erase(step) if !matches!(step, erasing::Step::Ask(_)))
    }

    /// False, and nothing is done, if there is nothing to lift, to end or to withdraw, or something stands in the way.
    fn carry_out(&self, db: &Connection) -> rusqlite::Result<bool> {
        match self {
            Self::Look => Ok(true),
            Self::Hold(hold) => holds::place(db, hold),
            Self::Release(subject) => holds::end(db, kept::HOLDS, subject),
            Self::Close(closing) => closings::place(db, closing).map(|()| true),
            Self::EndClosing(subject) => holds::end(db, kept::CLOSINGS, subject),
            Self::Withdraw(offence) => offences::withdraw(db, offence),
            Self::Erase(step) => erasing::carry_out(db, step),
            Self::Kept(what) => kept::carry_out(db, what),
        }
    }
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Outcome {
    /// It was carried out; with the entry's head where the archive is alone.
    Done(Option<Head>),
    /// There was nothing to do it to.
    Refused,
}

impl Order {
    /// Whom all erase from here on.
    #[must_use]
    pub fn erased(&self) -> &[SubjectId] {
        match &self.deed {
            Deed::Erase(erasing::Step::Go(job)) => &job.subjects,
            _ => &[],
        }
    }

    /// The erasure that it asks for, if that was refused.
    pub(super) fn refused_job(&self, obeyed: Obeyed) -> Option<&erasing::Job> {
        match &self.deed {
            Deed::Erase(erasing::Step::Ask(job)) if !obeyed.is_done => Some(job),
            _ => None,
        }
    }

    /// True if every node has something to do about it.
    pub(super) fn is_step(&self) -> bool {
        matches!(self.deed, Deed::Erase(_) | Deed::Kept(_))
    }
}

impl Outcome {
    /// As callers are told: none if it was refused.
    pub(in super::super) fn done(self) -> Option<Option<Head>> {
        match self {
            Self::Done(head) => Some(head),
            Self::Refused => None,
        }
    }
}

/// An order that was taken in, and whether it was carried out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Obeyed {
    key: OrderKey,
    is_done: bool,
}

/// Those who wait for what becomes of their orders.
#[derive(Debug, Default)]
pub(in super::super) struct OrdersWaiting(Mutex<HashMap<OrderKey, oneshot::Sender<bool>>>);

impl OrdersWaiting {
    /// Tells whoever waits.
    pub(super) fn tell(&self, obeyed: &[Obeyed]) {
        if obeyed.is_empty() {
            return;
        }
        let mut waiting = self.0.lock();
        for Obeyed { key, is_done } in obeyed {
            if let Some(waits) = waiting.remove(key) {
                let _gave_up = waits.send(*is_done);
            }
        }
    }

    fn wait(&self, key: OrderKey) -> Result<Wait<'_>, StoreError> {
        let (told, heard) = oneshot::channel();
        let mut waiting = self.0.lock();
        if waiting.len() >= WAITING_MAX {
            return Err(StoreError::Full {
                what: "the table of orders under way",
                max: WAITING_MAX,
            });
        }
        waiting.insert(key, told);
        Ok(Wait { orders: self, key, heard })
    }
}

/// Waits for one order, and leaves nothing behind.
struct Wait<'a> {
    orders: &'a OrdersWaiting,
    key: OrderKey,
    heard: oneshot::Receiver<bool>,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.orders.0.lock().remove(&self.key);
    }
}

impl Archive {
    /// Returns when everything that any node told before is in this archive; at once where it is alone.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if that takes too long: Redis is away, for one.
    pub async fn catch_up(&self, now: Timestamp) -> Result<(), StoreError> {
        if self.is_shared() {
            self.send_order(Deed::Look, None, now).await?;
        }
        Ok(())
    }

    /// Has something done by all nodes, or here where the archive is alone, with its entry in the audit.
    pub(in super::super) async fn order(
        &self,
        deed: Deed,
        entry: NewEntry,
    ) -> Result<Outcome, StoreError> {
        if self.is_shared() {
            let at = entry.at;
            return self.send_order(deed, Some(entry), at).await;
        }
        self.write(Lasting::Power, move |db| {
            if !deed.carry_out(db)? {
                return Ok(Outcome::Refused);
            }
            audit::append(db, &entry).map(Outcome::Done)
        })
        .await
    }

    pub(in super::super) async fn send_order(
        &self,
        deed: Deed,
        entry: Option<NewEntry>,
        at: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let mut key = OrderKey::default();
        let no_random = |error| StoreError::Unavailable(format!("draw a key: {error}"));
        getrandom::fill(&mut key).map_err(no_random)?;
        let mut wait = self.0.orders.wait(key)?;
        // Steps of what has begun are ordered in any case: nobody waits for them, and they would only be prepared anew.
        let may_be_late = deed.is_further_step();
        let stuck = self.write_and_tell(Lasting::Power, move |db| {
            if let (false, Some(seconds)) = (may_be_late, stuck_for(db, at)?) {
                return Ok(Some(seconds));
            }
            let entry = entry.map(|entry| Prepared::draw(&entry, None)).transpose()?;
            let orders = vec![Order { key, deed, entry }];
            post(db, &Content { orders, ..Content::default() }, at)?;
            Ok(None)
        });
        if let Some(seconds) = stuck.await? {
            return Err(StoreError::Unavailable(format!(
                "what this gate tells the others has waited for Redis for {seconds} s, so nothing was ordered; try again when Redis is back"
            )));
        }
        match tokio::time::timeout(ORDER_WAIT_MAX, &mut wait.heard).await {
            Ok(Ok(true)) => Ok(Outcome::Done(None)),
            Ok(Ok(false)) => Ok(Outcome::Refused),
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable(format!(
                "Redis did not bring the order back within {} s; it is kept, and all gates carry it out when Redis is back",
                ORDER_WAIT_MAX.as_secs()
            ))),
        }
    }
}

/// For how many seconds what this node told has waited, if that is too long for it to be on a way that works.
fn stuck_for(db: &Connection, now: Timestamp) -> rusqlite::Result<Option<i64>> {
    let mut oldest = db.prepare_cached("SELECT min(at) FROM stream_outgoing")?;
    let oldest: Option<i64> = oldest.query_row([], |row| row.get(0))?;
    let waits = oldest.map_or(0, |oldest| stored(now).saturating_sub(oldest));
    Ok((waits >= STUCK_AFTER_MS).then_some(waits / 1_000))
}

/// Carries an order out at its place in the stream.
pub(super) fn obey(
    db: &Connection,
    order: &Order,
    heads: &mut Vec<(String, Head)>,
) -> rusqlite::Result<Obeyed> {
    let is_done = order.deed.carry_out(db)?;
    if let (true, Some(entry)) = (is_done, &order.entry) {
        heads.extend(audit::insert_prepared(db, entry)?.map(|head| (entry.action.clone(), head)));
    }
    Ok(Obeyed { key: order.key, is_done })
}

/// How long whoever ordered waits for it to come back.
const ORDER_WAIT_MAX: Duration = Duration::from_secs(15);
/// Every node tells something every few seconds, so what has waited for so long has no way.
const STUCK_AFTER_MS: i64 = 20_000;
/// Orders of this node that may be under way at a time.
const WAITING_MAX: usize = 1_000;
