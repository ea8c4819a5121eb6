//! Lets suspensions end whose time is over, so that this is told when it happens and not at the sender's next message.

use crate::{
    rules::{judgement::Settings, suspension::Standing},
    standing::Standings,
    store::{
        StoreError,
        archive::SUSPENSIONS_MAX,
        records::{Choice, Recorded, Task},
    },
};
use std::time::Duration;

/// The task.
pub struct Suspensions<F> {
    /// Where standings are kept and told.
    pub standings: Standings,
    /// What is configured now.
    pub settings: F,
}

impl<F: Fn() -> Settings + Send + Sync> Suspensions<F> {
    /// Looks again and again; never ends.
    pub async fn run(self) {
        let mut is_failing = false;
        loop {
            let released = self.release().await;
            if let (Err(error), false) = (&released, is_failing) {
                tracing::error!(%error, "suspensions whose time is over cannot be lifted");
            }
            is_failing = released.is_err();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn release(&self) -> Result<(), StoreError> {
        let settings = (self.settings)();
        let now = self.standings.clock.utc();
        let suspended = self.standings.records.chosen(Choice::Suspended, SUSPENSIONS_MAX).await?;
        let is_over = |(_, record): &&Recorded| {
            let standing = record.conduct.as_ref().map(|conduct| conduct.standing());
            matches!(standing, Some(Standing::Suspended { until }) if until <= now)
        };
        let over: Vec<&Recorded> = suspended.iter().filter(is_over).collect();
        // Of several nodes one is enough, and the others see what it did.
        if over.is_empty() || !self.standings.records.leads(Task::EndSuspensions).await? {
            return Ok(());
        }
        for (subject, record) in over {
            self.standings.release(subject, record, &settings).await?;
        }
        Ok(())
    }
}

/// A walk over all records takes some 100 ms where there are a million.
const LOOK_EVERY: Duration = Duration::from_secs(5);
