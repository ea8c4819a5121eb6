//! Brings messages about alerts to their receivers, each at least once.
//!
//! The archive has what the collector wrote: messages, and who is still owed one. Once a second the [`Courier`] chooses the
//! receivers of new messages and gives each receiver to whom something is due a round of its own, so that one that hangs keeps
//! nobody waiting. What fails is tried again, after twice as long each time, for [`GIVE_UP_AFTER`]; a receiver's failures and
//! recoveries are events, of which the others hear. While the archive itself cannot be written there is no outbox: that one
//! alert goes out from memory.

mod outfit;
mod post;
mod rounds;
#[cfg(test)]
mod tests;
mod urgent;

pub use outfit::{AlertSettings, EmailSettings, Outfit, OutfitError};
pub use post::{Post, PostError};
pub use urgent::{Siren, siren};

use crate::{
    admin::{Bell, SinkTest},
    clock::Clock,
    event::{Event, Events, SinkState, Trouble},
    rules::{
        alarm::{Notice, test_notice},
        identity,
    },
    store::{
        BoxFuture, StoreError,
        archive::{Archive, Pending, Route, Unrouted},
        records::{Records, Task},
    },
    types::{SubjectId, TenantId, Timestamp},
};
use arc_swap::ArcSwap;
use rounds::Health;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::task::{Id, JoinError, JoinSet};
use urgent::Urgent;

/// Brings messages to their receivers. Cheap to clone; one clone runs.
#[derive(Clone)]
pub struct Courier(Arc<Ground>);

/// What the courier works with.
pub struct Ground {
    /// Where messages and what is owed stand.
    pub archive: Archive,
    /// Whose account is whose, and where tenants are written to.
    pub records: Arc<dyn Records>,
    /// Letters go this way.
    pub post: Post,
    /// The time.
    pub clock: Clock,
    /// Who is told of receivers that fail.
    pub events: Events,
    /// The receivers; replaced at a reload.
    pub outfit: Arc<ArcSwap<Outfit>>,
}

impl Courier {
    /// A courier on this ground.
    #[must_use]
    pub fn new(ground: Ground) -> Self {
        Self(Arc::new(ground))
    }

    /// Runs for ever.
    pub async fn run(self, siren: Siren) {
        let mut desk = Desk::new(self.0, siren);
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => desk.turn().await,
                Some(ended) = desk.rounds.join_next_with_id() => desk.end_round(ended),
            }
        }
    }
}

impl Bell for Courier {
    fn test(&self) -> BoxFuture<'_, Vec<SinkTest>> {
        Box::pin(async {
            let (ground, outfit) = (&self.0, self.0.outfit.load_full());
            let notice = test_notice(ground.clock.utc());
            let mut tests = JoinSet::new();
            for sink in outfit.sinks() {
                let (ground, outfit, notice) = (ground.clone(), outfit.clone(), notice.clone());
                tests.spawn(async move {
                    let sent = rounds::test(&ground, &outfit, &sink, notice).await;
                    SinkTest { sink, failure: sent.err().map(|error| error.to_string()) }
                });
            }
            let mut results = tests.join_all().await;
            results.sort_by(|a, b| a.sink.cmp(&b.sink));
            results
        })
    }
}

/// What the running courier remembers.
struct Desk {
    ground: Arc<Ground>,
    rounds: JoinSet<(String, Health)>,
    busy: HashMap<Id, String>,
    health: HashMap<String, Health>,
    urgent: Urgent,
    trim_at: Timestamp,
}

impl Desk {
    fn new(ground: Arc<Ground>, siren: Siren) -> Self {
        let now = ground.clock.utc();
        Self {
            ground,
            rounds: JoinSet::new(),
            busy: HashMap::new(),
            health: HashMap::new(),
            urgent: Urgent::new(siren, now),
            trim_at: now,
        }
    }

    async fn turn(&mut self) {
        let (outfit, now) = (self.ground.outfit.load_full(), self.ground.clock.utc());
        self.urgent.turn(&self.ground, &outfit).await;
        // Of several nodes one is enough, and the others hear what it delivered.
        if !self.ground.records.leads(Task::SendAlerts).await.unwrap_or(false) {
            return;
        }
        let Ok(due) = self.route_pending(&outfit, now).await else { return };
        self.trim(&outfit, now).await;
        for sink in outfit.sinks_and_tenants() {
            let is_due = due.contains(&sink) || outfit.resends(&sink);
            if is_due && !self.busy.values().any(|busy| *busy == sink) {
                self.begin_round(&outfit, sink, now);
            }
        }
    }

    /// Chooses the receivers of new messages; returns those to whom something is due then.
    async fn route_pending(
        &mut self,
        outfit: &Outfit,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let Pending { unrouted, due } = self.ground.archive.pending_alerts(now).await?;
        if unrouted.is_empty() {
            return Ok(due);
        }
        self.route(outfit, unrouted, now).await?;
        Ok(self.ground.archive.pending_alerts(now).await?.due)
    }

    fn begin_round(&mut self, outfit: &Arc<Outfit>, sink: String, now: Timestamp) {
        let health = self.health.remove(&sink).unwrap_or_default();
        if health.pauses(now) {
            self.health.insert(sink, health);
            return;
        }
        let (ground, outfit, name) = (self.ground.clone(), outfit.clone(), sink.clone());
        let round =
            self.rounds.spawn(async move { rounds::run(&ground, &outfit, name, health).await });
        self.busy.insert(round.id(), sink);
    }

    fn end_round(&mut self, ended: Result<(Id, (String, Health)), JoinError>) {
        match ended {
            Ok((id, (sink, health))) => {
                self.busy.remove(&id);
                self.health.insert(sink, health);
            }
            Err(error) => {
                self.busy.remove(&error.id());
                let trouble = Trouble { detail: error.to_string() };
                let now = self.ground.clock.now();
                self.ground.events.tell(now, &Event::TaskPanicked(trouble));
            }
        }
    }

    async fn route(
        &mut self,
        outfit: &Outfit,
        unrouted: Vec<Unrouted>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut routes = Vec::with_capacity(unrouted.len());
        for Unrouted { number, notice } in unrouted {
            let tenant = self.tenant_of(&notice).await?;
            let mut sinks = outfit.audience_of(&notice, tenant.as_ref(), now);
            if self.urgent.was_told(&notice) {
                sinks.clear();
            }
            if outfit.writes_to_tenants() && self.has_contact(&notice, tenant.as_ref()).await? {
                sinks.push((outfit::TENANTS.to_owned(), outfit.earliest(&notice, now)));
            }
            routes.push(Route { number, alert: notice.alert.id, tenant, sinks });
        }
        self.ground.archive.route(routes).await
    }

    /// Whose matter it is. What is the provider's matter is no tenant's, whatever account it names.
    async fn tenant_of(&self, notice: &Notice) -> Result<Option<TenantId>, StoreError> {
        let alert = &notice.alert;
        if !alert.kind.is_customers() {
            return Ok(None);
        }
        match (&alert.tenant, &alert.facts.account) {
            (Some(tenant), _) => Ok(Some(tenant.clone())),
            (None, Some(account)) => {
                let subject = SubjectId::Account(account.clone());
                let record = self.ground.records.subject(&subject).await?;
                let by_name = || identity::tenant_of(account);
                Ok(Some(record.tenant.clone().unwrap_or_else(by_name)))
            }
            (None, None) => Ok(None),
        }
    }

    async fn has_contact(
        &self,
        notice: &Notice,
        tenant: Option<&TenantId>,
    ) -> Result<bool, StoreError> {
        let Some(tenant) = tenant.filter(|_| notice.alert.kind.is_customers()) else {
            return Ok(false);
        };
        let subject = SubjectId::Tenant(tenant.clone());
        Ok(self.ground.records.subject(&subject).await?.contact.is_some())
    }

    /// Receivers that are gone are owed nothing, and nobody is owed without end.
    async fn trim(&mut self, outfit: &Outfit, now: Timestamp) {
        if now < self.trim_at {
            return;
        }
        self.trim_at = now + TRIM_EVERY;
        let sinks = outfit.sinks_and_tenants();
        for (sink, _) in self.health.extract_if(|sink, _| !sinks.contains(sink)).filter(failing) {
            let gone = SinkState { sink, detail: "it is not configured any more".into() };
            self.ground.events.tell(self.ground.clock.now(), &Event::AlertSinkRecovered(gone));
        }
        if let Ok(count @ 1..) = self.ground.archive.trim_deliveries(sinks, OWED_MAX).await {
            tracing::warn!(count, "messages about alerts were given up");
        }
    }
}

fn failing((_, health): &(String, Health)) -> bool {
    health.fails()
}

/// How often it is looked what is to be done.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const TRIM_EVERY: Duration = Duration::from_secs(60);
/// Messages that one receiver may be owed; the oldest are given up beyond.
const OWED_MAX: usize = 10_000;
/// How long a message is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 86_400);
