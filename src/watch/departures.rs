//! What ends by itself: erasures that were cut short, accounts and tenants that left, backups that were kept long enough.

use crate::admin::{Admin, delete_old_backups, erase_closed, finish_erasures};
use std::time::Duration;

/// The task.
pub struct Departures {
    /// What it works on.
    pub admin: Admin,
}

impl Departures {
    /// Looks soon after the start and then again and again; never ends.
    pub async fn run(self) {
        tokio::time::sleep(FIRST_AFTER).await;
        match finish_erasures(&self.admin).await {
            Ok(0) => {}
            Ok(accounts) => tracing::info!(accounts, "erasures that were cut short are finished"),
            Err(error) => tracing::error!(%error, "an erasure that was cut short is not finished"),
        }
        loop {
            match erase_closed(&self.admin).await {
                Ok(0) => {}
                Ok(accounts) => tracing::info!(accounts, "accounts that left were erased"),
                Err(error) => tracing::error!(%error, "who left could not be erased"),
            }
            let (settings, now) = (self.admin.custody.settings.clone(), self.admin.clock.utc());
            let deleted =
                tokio::task::spawn_blocking(move || delete_old_backups(&settings, now)).await;
            match deleted {
                Ok(Ok(0)) => {}
                Ok(Ok(backups)) => tracing::info!(backups, "old backups were deleted"),
                Ok(Err(error)) => tracing::error!(%error, "old backups could not be deleted"),
                Err(error) => tracing::error!(%error, "old backups could not be deleted"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

const FIRST_AFTER: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(600);
