//! What ends by itself: erasures that were cut short, accounts and tenants that left, backups that were kept long enough. And what does not: tenants
//! whose offences propose to cancel them are told of, and a person decides.

use crate::{
    admin::{
        Admin, AdminError, delete_old_backups, erase_closed, erase_left_behind, finish_erasures,
        further_erasures, offences, tell_kept,
    },
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
        tokio::join!(self.run_rounds(), self.run_erasures());
    }

    /// Does this gate's part of what is erased at all gates, and of what they tell one another of holds.
    async fn run_erasures(&self) {
        let archive = &self.admin.archive;
        let (mut is_told, mut is_kept_told) = (false, false);
        let (mut missed, mut asked) = (None, None);
        loop {
            let kept = tell_kept(&self.admin, &mut asked).await;
            if let (Err(error), false) = (&kept, is_kept_told) {
                tracing::warn!(%error, "gates tell one another later which holds and closings stand");
            }
            is_kept_told = kept.is_err();
            self.look_behind(&mut missed).await;
            let found = further_erasures(&self.admin).await;
            let is_new = found.is_err() && !is_told;
            is_told = found.is_err();
            let wait = match found {
                Ok(is_under_way) if is_under_way || matches!(kept, Ok(true)) => SOON,
                Ok(_) => EVERY,
                Err(error) => {
                    if is_new {
                        tracing::error!(%error, "an erasure at all gates goes on later");
                    }
                    SOON
                }
            };
            tokio::select! {
                () = archive.stepped() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Erases what was erased elsewhere in a time of which this gate has missed something.
    async fn look_behind(&self, looked: &mut Option<Timestamp>) {
        let missed = self.admin.archive.missed_until().await.unwrap_or_default();
        if missed == *looked {
            return;
        }
        match erase_left_behind(&self.admin).await {
            Ok(None) => {}
            Ok(Some(accounts)) => {
                *looked = missed;
                if accounts > 0 {
                    tracing::warn!(
                        accounts,
                        "who was erased while this gate was away is erased here"
                    );
                }
            }
            Err(error) => {
                tracing::error!(%error, "who was erased while this gate was away is not erased here yet");
            }
        }
    }

    async fn run_rounds(&self) {
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
                // Soon again: this gate does not know yet which holds stand.
                Ok(None) => rounds = 0,
                Ok(Some(0)) => {}
                Ok(Some(accounts)) => tracing::info!(accounts, "accounts that left were erased"),
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
/// While something is erased at all gates.
const SOON: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_secs(10);
/// Rounds from one look at who left and at backups to the next: ten minutes.
const ROUNDS_BETWEEN: u32 = 60;
/// After a start offences of this time are looked at again.
const FIRST_LOOK: Duration = Duration::from_secs(86_400);
/// Tenants of which it is remembered that they were told of.
const PROPOSED_MAX: usize = 100_000;
