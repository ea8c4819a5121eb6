//! Forgetting what was kept long enough: once an hour, in small steps with pauses, so that nobody waits for it.

use crate::{
    clock::Clock,
    event::{Event, Events, Forgotten},
    rules::tally::calendar::{Hour, Zone},
    store::{
        StoreError,
        archive::{
            Archive, HOURS_KEPT, Keep,
            audit::{
                audited,
                chain::{Head, VALUES_ERASED},
            },
        },
        vault::Vault,
    },
    types::Timestamp,
};
use arc_swap::ArcSwap;
use std::{sync::Arc, time::Duration};

/// What forgets.
pub struct Retention {
    /// What is forgotten.
    pub archive: Archive,
    /// And what the limits' store keeps beside limits.
    pub vault: Arc<dyn Vault>,
    /// After how long; read afresh each time.
    pub keep: Arc<ArcSwap<Keep>>,
    /// The present moment.
    pub clock: Clock,
    /// Who is told how much went.
    pub events: Events,
}

impl Retention {
    /// Forgets, now and then.
    pub async fn run(self) {
        tokio::time::sleep(FIRST_AFTER).await;
        loop {
            match self.forget().await {
                Ok(forgotten) if forgotten.rows > 0 => {
                    self.events.tell(self.clock.now(), &Event::Forgotten(forgotten));
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "what is old could not be forgotten"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn forget(&self) -> Result<Forgotten, StoreError> {
        let keep = **self.keep.load();
        let now = self.clock.utc();
        let hours = Hour::new(Hour::of(now).number() - HOURS_KEPT);
        let days = Zone::UTC.day_of(now - keep.usage);
        let (mut rows, mut octets) = (0, 0);
        loop {
            let step = self.archive.forget(keep, now).await?
                + self.archive.forget_usage(hours, days).await?
                + self.forget_looks(now - keep.events, now).await?
                + self.forget_values(now - keep.audit, now).await?
                + self.vault.forget_refusals(now - keep.events).await?;
            rows += step as u64;
            if step == 0 {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            let step = self.archive.give_back().await?;
            octets += step;
            if step == 0 {
                return Ok(Forgotten { rows, octets });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn forget_looks(&self, before: Timestamp, now: Timestamp) -> Result<usize, StoreError> {
        let (looks, heads) = self.archive.forget_looks(before, now).await?;
        self.tell(heads);
        Ok(looks)
    }

    async fn forget_values(&self, before: Timestamp, now: Timestamp) -> Result<usize, StoreError> {
        let (entries, heads) = self.archive.forget_values(before, now).await?;
        self.tell(heads);
        Ok(entries)
    }

    fn tell(&self, heads: Vec<Head>) {
        for head in heads {
            self.events.tell(self.clock.now(), &audited(VALUES_ERASED, head));
        }
    }
}

/// The first time is soon after the start, but not in its midst.
const FIRST_AFTER: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(3_600);
/// Between two steps: 10,000 rows of a topic a second at most.
const PAUSE: Duration = Duration::from_millis(50);
