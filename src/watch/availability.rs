//! Looks whether mail can flow, notes each minute in the archive, and tells when much of the month's time without mail is used up.
//!
//! A look asks the same question as `/health/ready`: does every listener accept, can the store be written, is a next hop up. A listener
//! accepts if its loop has answered since the look before (which shows that it is alive, and that the runtime serves it) and did
//! not run out of descriptors or memory meanwhile; nobody connects, because that would be a session in every figure. Minutes that
//! the archive cannot take are kept and written later.

use crate::{
    admin::{self, Health, MonthView, Readiness},
    clock::Clock,
    event::{Event, Events, SlaBudget},
    net::Pulse,
    rules::{
        availability::{Ended, LOOK_PAUSE_MAX, Lacks, Minute, Sla, Watch},
        verdict::Moment,
    },
    store::{
        StoreError,
        archive::Archive,
        records::{Records, Task},
    },
    telemetry::{self, Metrics},
    types::{Month, Timestamp},
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Looks whether mail can flow.
pub struct Availability {
    /// Whether the program can do its work.
    pub health: Arc<dyn Health>,
    /// The loops that accept connections.
    pub pulse: Arc<Pulse>,
    /// Where minutes are noted.
    pub archive: Archive,
    /// Which of several nodes tells of the month.
    pub records: Arc<dyn Records>,
    /// What was promised.
    pub sla: Arc<ArcSwap<Sla>>,
    /// The time.
    pub clock: Clock,
    /// Where the month is shown.
    pub metrics: Arc<Metrics>,
    /// Who is told.
    pub events: Events,
}

/// What looks brought to an end and the archive has not taken yet, at most [`PENDING_MAX`].
#[derive(Default)]
struct Pending {
    ended: Mutex<VecDeque<Ended>>,
    more: Notify,
}

/// What was done once and need not be done again.
#[derive(Default)]
struct Done {
    /// The budget of the month before was looked at, after a pause that may have been part of it.
    month_before: bool,
    /// Of this month nothing has to be renewed.
    renewed: Option<Month>,
    /// Old minutes were taken away on this day.
    tidied: Option<i64>,
}

impl Availability {
    /// Looks for ever.
    pub async fn run(self) {
        let pending = Pending::default();
        tokio::join!(self.look(&pending), self.write(&pending));
    }

    async fn look(&self, pending: &Pending) {
        let mut watch = Watch::default();
        loop {
            let lacks = lacks(&self.health.readiness().await);
            self.pulse.ask();
            let ended = watch.look(self.moment(), lacks);
            if ended != Ended::default() {
                pending.add(ended);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn moment(&self) -> Moment {
        let ledger = self.clock.now();
        Moment { ledger, utc: self.clock.to_utc(ledger) }
    }

    async fn write(&self, pending: &Pending) {
        let mut done = Done::default();
        loop {
            pending.more.notified().await;
            let ended: Vec<Ended> = pending.ended.lock().iter().cloned().collect();
            match self.archive.note_minutes(ended.clone()).await {
                Ok(()) => {
                    pending.ended.lock().drain(..ended.len());
                    if let Err(error) = self.reckon(&mut done).await {
                        tracing::warn!(%error, "the month's availability could not be counted");
                    }
                }
                // The archive's own failure is told by whoever writes events; the next look comes back to this.
                Err(error) => tracing::warn!(%error, "minutes of availability wait to be noted"),
            }
        }
    }

    /// Shows the present month, and tells what is to be told of its budget.
    async fn reckon(&self, done: &mut Done) -> Result<(), StoreError> {
        let (now, sla) = (self.clock.utc(), self.sla.load_full());
        let month = sla.month_of(now);
        if !std::mem::replace(&mut done.month_before, true) {
            let before = self.count(&sla, month.previous(), now).await?;
            self.tell_use(&before).await?;
        }
        let present = self.count(&sla, month, now).await?;
        if done.renewed.replace(month) != Some(month) {
            self.tell_renewal(&present).await?;
        }
        self.tell_use(&present).await?;
        let maintained = !self.archive.maintenance(now..now + ONE_MOMENT).await?.is_empty();
        self.show(&present, &sla, maintained);
        self.tidy(done, now).await
    }

    async fn count(
        &self,
        sla: &Sla,
        month: Month,
        now: Timestamp,
    ) -> Result<MonthView, StoreError> {
        Ok(admin::count_month(&self.archive, sla, month, now).await?.1)
    }

    fn show(&self, month: &MonthView, sla: &Sla, is_maintained: bool) {
        self.metrics.note_availability(&telemetry::Availability {
            ratio: month.percent.map(|percent| percent / 100.0),
            target_ratio: sla.target.percent() / 100.0,
            budget: Duration::from_secs(month.budget_seconds),
            used: Duration::from_secs(month.budget_used_seconds),
            is_maintained,
        });
    }

    async fn tell_use(&self, month: &MonthView) -> Result<(), StoreError> {
        let reached = BUDGET_PERCENTS.into_iter().find(|&p| month.budget_used_percent >= p);
        let Some(percent) = reached else { return Ok(()) };
        if self.archive.note_budget_told(month.month, percent).await?
            && self.records.leads(Task::TellBudget).await?
        {
            self.tell(&Event::SlaBudgetUsed(budget(month, percent)));
        }
        Ok(())
    }

    async fn tell_renewal(&self, month: &MonthView) -> Result<(), StoreError> {
        let last = self.archive.last_budget_told().await?;
        if last.is_some_and(|(told, percent)| told < month.month && percent > 0)
            && self.archive.note_budget_told(month.month, 0).await?
            && self.records.leads(Task::TellBudget).await?
        {
            self.tell(&Event::SlaBudgetRenewed(budget(month, 0)));
        }
        Ok(())
    }

    /// Takes old minutes away, once a day.
    async fn tidy(&self, done: &mut Done, now: Timestamp) -> Result<(), StoreError> {
        let day = Minute::of(now).number() / MINUTES_PER_DAY;
        if done.tidied.replace(day) != Some(day) {
            self.archive.forget_minutes(Minute::of(now).plus(-KEPT_DAYS * MINUTES_PER_DAY)).await?;
        }
        Ok(())
    }

    fn tell(&self, event: &Event) {
        self.events.tell(self.clock.now(), event);
    }
}

impl Pending {
    fn add(&self, ended: Ended) {
        let mut waiting = self.ended.lock();
        if waiting.len() == PENDING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(ended);
        drop(waiting);
        self.more.notify_one();
    }
}

fn lacks(readiness: &Readiness) -> Lacks {
    let is_listening = readiness.listening_failure.is_none() && !readiness.draining;
    let is_hop_up = readiness.next_hops.iter().any(|hop| hop.usable);
    Lacks::LISTENING
        .when(!is_listening)
        .and(Lacks::STORE.when(readiness.store_failure.is_some()))
        .and(Lacks::NEXT_HOP.when(!is_hop_up))
}

const fn budget(month: &MonthView, percent: u32) -> SlaBudget {
    SlaBudget {
        month: month.month,
        percent,
        used: Duration::from_secs(month.budget_used_seconds),
        budget: Duration::from_secs(month.budget_seconds),
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(10);
const _: () = assert!(LOOK_EVERY.as_secs() * 2 < LOOK_PAUSE_MAX.as_secs());
/// The shares of the budget that are told; the highest first.
const BUDGET_PERCENTS: [u32; 2] = [100, 50];
/// Two weeks of minutes.
const PENDING_MAX: usize = 20_160;
const KEPT_DAYS: i64 = 400;
const MINUTES_PER_DAY: i64 = 1_440;
const ONE_MOMENT: Duration = Duration::from_millis(1);
