//! Moving a gate's history between its own database and Redis, while it does not run.

use super::{AdminError, Files, subjects::check_remark};
use crate::{
    clock::Clock,
    event::Events,
    store::{
        StoreError, archive,
        archive::NewEntry,
        migrate::{self, Moved, Mover},
        redis::{self, RedisLedger},
        sqlite,
    },
    types::Actor,
};
use serde::Serialize;

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Out of the gate's own database.
    ToRedis,
    /// Into it.
    ToSqlite,
}

/// What is to be moved.
#[derive(Debug, Clone)]
pub struct Migration<'a> {
    /// The gate's files.
    pub files: &'a Files,
    /// The server.
    pub redis: redis::Settings,
    /// From where to where.
    pub way: Way,
    /// Adds once more what was moved before.
    pub again: bool,
    /// Why.
    pub reason: Option<&'a str>,
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedView {
    /// `redis` or `sqlite`.
    pub to: &'static str,
    /// Windows with something in them.
    pub windows: u64,
    /// Charges in them.
    pub charges: u64,
    /// Records of accounts and tenants that were added or added to.
    pub records: u64,
    /// Windows of erased accounts, which cannot be moved.
    pub erased_left: u64,
    /// Windows that could not be read or written, the first of them.
    pub damaged: Vec<String>,
    /// It went on where an earlier attempt had ended.
    pub continued: bool,
}

/// Moves windows and records. The gate must not run.
///
/// # Errors
/// [`AdminError::Store`] if a gate runs on the files, Redis does not answer or the history was moved before; then everything may be
/// tried again.
pub async fn migrate(wanted: Migration<'_>, actor: &Actor) -> Result<MovedView, AdminError> {
    let reason = check_remark(wanted.reason)?.to_owned();
    let Files { store, archive, .. } = wanted.files;
    if wanted.way == Way::ToRedis && !store.path.exists() {
        return Err(AdminError::Invalid(format!("there is no store {}", store.path.display())));
    }
    let node = wanted.redis.stream.node.clone();
    let opened = sqlite::open(store)?;
    let clock = Clock::resume(opened.anchor(), opened.high_water());
    let file = opened.start(&clock, Events::default())?;
    let ledger = RedisLedger::start(wanted.redis, clock.clone(), Events::default())?;
    let mover =
        Mover { node: &node, actor: actor.clone(), reason: reason.clone(), again: wanted.again };
    let moved = match wanted.way {
        Way::ToRedis => migrate::to_redis(&file, &ledger, &mover, &clock).await,
        Way::ToSqlite => migrate::from_redis(&ledger, &file, &mover, &clock).await,
    };
    ledger.close().await;
    // What could not be moved is as it was, but what was is to stay.
    file.close().await?;
    let view = view_of(wanted.way, &moved?);
    let mut entry = NewEntry::new(clock.utc(), actor, MIGRATED);
    entry.after = Some(format!(
        "{} windows, {} charges and {} records of {node} to {}",
        view.windows, view.charges, view.records, view.to
    ));
    entry.reason = Some(reason).filter(|reason| !reason.is_empty());
    note(archive, entry).await?;
    Ok(view)
}

async fn note(settings: &archive::Settings, entry: NewEntry) -> Result<(), StoreError> {
    let archive = archive::open(settings)?;
    archive.append_audit(entry).await?;
    archive.close().await;
    Ok(())
}

fn view_of(way: Way, moved: &Moved) -> MovedView {
    let to = match way {
        Way::ToRedis => "redis",
        Way::ToSqlite => "sqlite",
    };
    MovedView {
        to,
        windows: moved.windows,
        charges: moved.charges,
        records: moved.records,
        erased_left: moved.erased,
        damaged: moved.damaged.iter().map(ToString::to_string).collect(),
        continued: moved.continued,
    }
}

/// What the audit calls it.
const MIGRATED: &str = "migrated";
