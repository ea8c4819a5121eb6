//! Moves the history of limits, and the records, between the embedded store and Redis, for a gate that does not run.
//!
//! Into Redis windows are added to what is there, because other gates may have moved theirs already: a charge counts twice rather
//! than not at all. How far it came stands in Redis, so that a move which was cut short goes on from there. Out of Redis a
//! window takes the place of what the file has, because that is older, or a copy of a part of it.

use super::{
    StoreError,
    pages::KeyPages,
    records::{Change, Records, What},
    redis::{RedisLedger, RedisRecords},
    sqlite::SqliteStore,
};
use crate::{
    clock::{self, Clock},
    rules::window::{Charges, Log},
    types::{Actor, Key, Scope, Timestamp},
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// What was moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// Windows with something in them.
    pub windows: u64,
    /// Charges in them.
    pub charges: u64,
    /// Records of accounts and tenants that are there now and were not, or not so.
    pub records: u64,
    /// Windows that could not be read or written, at most [`DAMAGED_MAX`] of them by name.
    pub damaged: Vec<Key>,
    /// Windows of erased accounts, which stay behind because nobody knows their names.
    pub erased: u64,
    /// It went on where an earlier attempt had ended.
    pub continued: bool,
}

/// Who moves, and why.
#[derive(Debug, Clone)]
pub struct Mover<'a> {
    /// The name of this node among those that share a Redis.
    pub node: &'a str,
    /// Who does it.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// Adds what was moved before once more.
    pub again: bool,
}

/// Moves what the file has into Redis.
///
/// # Errors
/// [`StoreError::Conflict`] if this node's history was moved there before, or the file was restored and its windows are full until
/// a time to come; else as reading and writing say. What was moved stays, and the next attempt goes on from there.
pub async fn to_redis(
    from: &Arc<SqliteStore>,
    to: &Arc<RedisLedger>,
    mover: &Mover<'_>,
    clock: &Clock,
) -> Result<Moved, StoreError> {
    if let Some(until) = from.gap_end(clock.now()) {
        let text = format!(
            "the store was restored from a backup, and its windows are full until {until}; that cannot be moved, so do it then"
        );
        return Err(StoreError::Conflict(text));
    }
    let mut moved = Moved { erased: from.erased_windows(), ..Moved::default() };
    let after = if mover.again { None } else { to.moved_up_to(mover.node).await? };
    let mut pages = KeyPages::of(&**from, PAGE);
    match after.as_deref().map(Progress::read).transpose()? {
        Some(Progress::Done(at)) => {
            let text = format!(
                "what {} had was moved there at {at}; --again adds it once more",
                mover.node
            );
            return Err(StoreError::Conflict(text));
        }
        Some(Progress::UpTo(key)) => {
            moved.continued = true;
            pages = pages.after(key);
        }
        None => {}
    }
    move_records(from, to, mover, clock, &mut moved).await?;
    while let Some(keys) = pages.next().await? {
        for some in keys.chunks(STEP) {
            add_windows(from, to, some, clock, &mut moved).await?;
            if let Some(last) = some.last() {
                let up_to = Progress::UpTo(last.clone()).to_string();
                to.note_moved(mover.node, Some(&up_to)).await?;
            }
        }
    }
    let done = Progress::Done(clock.utc()).to_string();
    to.note_moved(mover.node, Some(&done)).await?;
    Ok(moved)
}

/// Moves what Redis has into the file, where it takes the place of what is there of the same windows.
///
/// # Errors
/// As reading and writing say; it can be done anew from the beginning.
pub async fn from_redis(
    from: &Arc<RedisLedger>,
    to: &Arc<SqliteStore>,
    mover: &Mover<'_>,
    clock: &Clock,
) -> Result<Moved, StoreError> {
    let mut moved = Moved::default();
    let records = RedisRecords::start(from, to.clone())?;
    let read = is_read(&records).await;
    records.close().await;
    read?;
    for scope in Scope::ALL {
        let mut scan = from.scan(scope).await?;
        while let Some(keys) = scan.next().await? {
            for key in keys {
                let now = clock.now();
                match from.window(&key, now).await {
                    Ok((log, open)) => {
                        let log = with_open(log, open, now + from.unknown_margin(), now);
                        moved.note(&log);
                        to.put_window(&key, log)?;
                    }
                    Err(StoreError::Damaged(_)) => moved.note_damaged(key),
                    Err(error) => return Err(error),
                }
            }
        }
    }
    from.note_moved(mover.node, None).await?;
    Ok(moved)
}

/// Waits until the records of Redis are in the copy.
async fn is_read(records: &RedisRecords) -> Result<(), StoreError> {
    let ends = clock::steady_now() + RECORDS_TIME;
    while let Some(failure) = records.failure() {
        if clock::steady_now() >= ends {
            return Err(StoreError::Unavailable(failure));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Adds what the file records to what Redis does; where both say something, Redis is right.
async fn move_records(
    from: &Arc<SqliteStore>,
    to: &Arc<RedisLedger>,
    mover: &Mover<'_>,
    clock: &Clock,
    moved: &mut Moved,
) -> Result<(), StoreError> {
    let own = from.recorded_beside(&HashSet::new());
    let records = RedisRecords::start(to, from.clone())?;
    let result = async {
        is_read(&records).await?;
        for (subject, record) in own {
            let before = records.subject(&subject).await?;
            if before.with_what_lacks(&record) == *before {
                continue;
            }
            let what = What::Adopt(Box::new(Arc::unwrap_or_clone(record)));
            let (reason, actor) = (mover.reason.clone(), mover.actor.clone());
            let named = |error| match error {
                full @ (StoreError::Full { .. } | StoreError::Conflict(_)) => {
                    StoreError::Conflict(format!("the record of {subject} cannot be added: {full}"))
                }
                other => other,
            };
            let change = Change { subject: subject.clone(), what, reason, evidence: None, actor };
            records.change(change, clock.utc()).await.map_err(named)?;
            moved.records += 1;
        }
        Ok(())
    };
    let result = result.await;
    records.close().await;
    result
}

async fn add_windows(
    from: &Arc<SqliteStore>,
    to: &Arc<RedisLedger>,
    keys: &[Key],
    clock: &Clock,
    moved: &mut Moved,
) -> Result<(), StoreError> {
    let mut calls = JoinSet::new();
    for key in keys {
        let Some((log, open)) = from.window(key) else { continue };
        let now = clock.now();
        let log = with_open(log, open, now + to.unknown_margin(), now);
        let (key, to) = (key.clone(), to.clone());
        calls.spawn(async move {
            let charged = to.charge(&key, &charges_of(&log, now), now).await;
            (key, log, charged)
        });
        if calls.len() >= CALLS_MAX {
            moved.note_call(calls.join_next().await)?;
        }
    }
    while let Some(call) = calls.join_next().await {
        moved.note_call(Some(call))?;
    }
    Ok(())
}

/// What is open counts as sent, late enough for whoever still has it.
fn with_open(mut log: Log, open: u32, stamp: Timestamp, now: Timestamp) -> Log {
    if open > 0 {
        log.record(open, stamp, now, crate::rules::limits::WINDOW_MAX);
    }
    log
}

/// The charges of a log, the oldest first, in milliseconds from now. A stamp was rounded up when it was made, and is again.
fn charges_of(log: &Log, now: Timestamp) -> Vec<(i64, u32)> {
    let from_now = |stamp: Timestamp| stamp.as_millis() - now.as_millis() - 1;
    let grouped = log.grouped().map(|Charges { newest, count, .. }| (from_now(newest), count));
    let mut all: Vec<(i64, u32)> = grouped.collect();
    for stamp in log.exact() {
        match all.last_mut() {
            Some((last, count)) if *last == from_now(stamp) => *count = count.saturating_add(1),
            _ => all.push((from_now(stamp), 1)),
        }
    }
    all
}

impl Moved {
    fn note(&mut self, log: &Log) {
        if log.is_empty() {
            return;
        }
        self.windows += 1;
        let grouped: u64 = log.grouped().map(|charges| u64::from(charges.count)).sum();
        self.charges += grouped + log.exact().len() as u64;
    }

    fn note_damaged(&mut self, key: Key) {
        if self.damaged.len() < DAMAGED_MAX {
            self.damaged.push(key);
        }
    }

    fn note_call(
        &mut self,
        call: Option<Result<Call, tokio::task::JoinError>>,
    ) -> Result<(), StoreError> {
        let Some(call) = call else { return Ok(()) };
        let (key, log, charged) =
            call.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        match charged {
            Ok(()) => self.note(&log),
            Err(StoreError::Damaged(_)) => self.note_damaged(key),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A window that was charged, or could not be.
type Call = (Key, Log, Result<(), StoreError>);

/// How far a move into Redis came.
enum Progress {
    UpTo(Key),
    Done(Timestamp),
}

impl Progress {
    fn read(text: &str) -> Result<Self, StoreError> {
        let parsed = match text.split_once(' ') {
            Some(("done", at)) => {
                at.parse().ok().map(|millis| Self::Done(Timestamp::from_millis(millis)))
            }
            Some(("up-to", key)) => key.parse().ok().map(Self::UpTo),
            _ => None,
        };
        parsed.ok_or_else(|| StoreError::Damaged(format!("{text:?} says nothing of a move")))
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UpTo(key) => write!(f, "up-to {key}"),
            Self::Done(at) => write!(f, "done {}", at.as_millis()),
        }
    }
}

/// Keys that are looked up at once.
const PAGE: usize = 20_000;
/// After so many windows it is noted how far the move is: so many may count twice if it is cut short.
const STEP: usize = 256;
/// Calls to Redis at a time.
const CALLS_MAX: usize = 16;
/// Damaged windows that are named.
pub const DAMAGED_MAX: usize = 100;
/// How long reading the records may take.
const RECORDS_TIME: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
