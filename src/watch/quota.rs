//! Looks at all mailboxes, again and again, with pauses that are not quite the same, so that many gates at one disk do not come at a time.

use crate::{
    admin::{self, Admin, StorageDesk, Survey},
    clock::steady_now,
    telemetry::{self, Metrics},
};
use std::{sync::Arc, time::Duration};

/// What looks at mailboxes.
pub struct MailboxRounds {
    /// What looks.
    pub admin: Admin,
    /// Where figures are shown.
    pub metrics: Arc<Metrics>,
}

impl MailboxRounds {
    /// Looks for ever.
    pub async fn run(self) {
        tokio::time::sleep(FIRST_AFTER).await;
        loop {
            let began = steady_now();
            match admin::survey_storage(&self.admin).await {
                Ok(survey) => self.show(&survey, began.elapsed()),
                // The archive's own failure is told by whoever writes events; the next round comes back to this.
                Err(error) => tracing::warn!(%error, "mailboxes could not be looked at"),
            }
            tokio::time::sleep(pause(&self.admin.storage)).await;
        }
    }

    fn show(&self, survey: &Survey, took: Duration) {
        let whole = self.admin.storage.mailboxes.whole();
        self.metrics.note_storage(&telemetry::Storage {
            mailboxes: whole.mailboxes,
            unknown: whole.unknown,
            bytes: whole.last.bytes,
            files: whole.last.files,
            failed: survey.failed,
            took,
        });
    }
}

/// Up to a tenth less or more than configured.
fn pause(desk: &StorageDesk) -> Duration {
    let every = desk.settings.load().every;
    let mut random = [0];
    let share = getrandom::fill(&mut random).map_or(u32::from(u8::MAX) / 2, |()| random[0].into());
    every * 9 / 10 + every / 5 * share / u32::from(u8::MAX)
}

/// The first time is soon after the start, but not in its midst.
const FIRST_AFTER: Duration = Duration::from_secs(1);
