//! What ends by itself: erasures that were cut short, accounts and tenants that left, backups that were kept long enough. And what does not: tenants
//! whose offences propose to cancel them are told of, and a person decides.

use crate::{
    admin::{Admin, AdminError, delete_old_backups, erase_closed, finish_erasures, offences},
    event::{CancelProposed, Event},
    types::{TenantId, Timestamp},
};
use std::{collections::HashMap, time::Duration};

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
        let (mut proposed, mut looked) = (HashMap::new(), None);
        let mut rounds = 0_u32;
        loop {
            if let Err(error) = self.propose(&mut proposed, &mut looked).await {
                tracing::error!(%error, "offences cannot be looked at");
            }
            rounds = rounds.wrapping_add(1);
            if rounds % ROUNDS_BETWEEN != 1 {
                tokio::time::sleep(EVERY).await;
                continue;
            }
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

impl Departures {
    /// Tells once of each tenant whose offences propose to cancel it.
    async fn propose(
        &self,
        proposed: &mut HashMap<TenantId, String>,
        looked: &mut Option<Timestamp>,
    ) -> Result<(), AdminError> {
        let (admin, now) = (&self.admin, self.admin.clock.utc());
        // What was told late belongs to the round before.
        let since = looked.map_or(now - FIRST_LOOK, |looked| looked - EVERY * 2);
        for tenant in admin.archive.offenders(since).await? {
            let view = offences(admin, &tenant).await?;
            let Some(why) = view.proposal else {
                proposed.remove(&tenant);
                continue;
            };
            if proposed.get(&tenant) == Some(&why) || proposed.len() >= PROPOSED_MAX {
                continue;
            }
            proposed.insert(tenant.clone(), why.clone());
            let event = CancelProposed { tenant, why, suspensions: view.suspensions };
            admin.events.tell(admin.clock.now(), &Event::CancelProposed(event));
        }
        *looked = Some(now);
        Ok(())
    }
}

const FIRST_AFTER: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(10);
/// Rounds from one look at who left and at backups to the next: ten minutes.
const ROUNDS_BETWEEN: u32 = 60;
/// After a start offences of this time are looked at again.
const FIRST_LOOK: Duration = Duration::from_secs(86_400);
/// Tenants of which it is remembered that they were told of.
const PROPOSED_MAX: usize = 100_000;
