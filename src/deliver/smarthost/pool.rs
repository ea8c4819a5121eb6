//! One host: its slots, its idle connections, its breaker and what it was last seen to offer.
//!
//! A slot is the right to use a connection; there are as many as connections may be open at a time. Whoever takes a slot
//! takes an idle connection before a new one is made, and gives back the connection before the slot, so idle and used
//! ones together are never more than the slots. No lock is held across an await.

use super::{
    super::{DeliverError, HopHealth, HopState, HostSettings, SmarthostSettings, TlsMode},
    breaker::{Breaker, Change},
    connection::{Connection, Envelope, Failure},
};
use crate::{
    clock,
    net::connect::{Network, TlsClient, Verification},
    rules::egress::Plan,
    smtp::Extensions,
};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// A next hop and its connections.
pub(super) struct Host {
    pub(super) name: Arc<str>,
    pub(super) settings: HostSettings,
    network: Network,
    tls: Option<TlsClient>,
    slots: Arc<Semaphore>,
    slots_max: usize,
    idle: Mutex<Vec<Connection>>,
    idle_max: Duration,
    messages_max: u32,
    condition: Mutex<Condition>,
}

struct Condition {
    breaker: Breaker,
    offers: Option<Extensions>,
    last_error: Option<String>,
    /// When a connection was last made.
    looked: Option<Instant>,
}

/// The right to use one connection.
pub(super) type Slot = OwnedSemaphorePermit;

/// A connection in use. Dropping it closes the connection and frees the slot.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) host: Arc<Host>,
    /// Whether the connection waited in the pool, so that the hop may have closed it.
    pub(super) origin: Origin,
    _slot: Slot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Fresh,
    Reused,
}

/// Whether a slot is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    None,
    Until(Duration),
}

impl Host {
    pub(super) fn new(
        settings: HostSettings,
        all: &SmarthostSettings,
        network: Network,
    ) -> Result<Self, DeliverError> {
        let name: Arc<str> = format!("{}:{}", settings.host, settings.port).into();
        let slots_max = usize::try_from(settings.connections_max).unwrap_or(usize::MAX);
        let slots_max = slots_max.clamp(1, Semaphore::MAX_PERMITS);
        let condition =
            Condition { breaker: Breaker::new(all), offers: None, last_error: None, looked: None };
        Ok(Self {
            tls: tls_client(&settings, &name)?,
            name,
            settings,
            network,
            slots: Arc::new(Semaphore::new(slots_max)),
            slots_max,
            idle: Mutex::new(Vec::new()),
            idle_max: all.idle_max,
            messages_max: all.messages_per_connection_max.max(1),
            condition: Mutex::new(condition),
        })
    }

    /// True if the host may be tried now; see [`Breaker::admits`].
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.condition.lock().breaker.admits(now)
    }

    /// True if another mail would have to wait for a connection.
    pub(super) fn has_no_slot(&self) -> bool {
        self.slots.available_permits() == 0
    }

    pub(super) async fn slot(&self, patience: Patience) -> Option<Slot> {
        let slots = Arc::clone(&self.slots);
        match patience {
            Patience::None => slots.try_acquire_owned().ok(),
            Patience::Until(wait) => timeout(wait, slots.acquire_owned()).await.ok()?.ok(),
        }
    }

    /// The idle connection that was used last and is still good; the others are closed.
    fn take_idle(&self) -> Option<Connection> {
        let now = clock::steady_now();
        loop {
            let mut connection = self.idle.lock().pop()?;
            if now.duration_since(connection.idle_since) < self.idle_max && connection.is_quiet() {
                return Some(connection);
            }
            connection.quit();
        }
    }

    /// A connection: an idle one, else a new one.
    pub(super) async fn lease(
        self: &Arc<Self>,
        slot: Slot,
        all: &SmarthostSettings,
    ) -> Result<Lease, Failure> {
        let (connection, origin) = match self.take_idle() {
            Some(connection) => (connection, Origin::Reused),
            None => (self.open(all).await?, Origin::Fresh),
        };
        Ok(Lease { connection, host: Arc::clone(self), origin, _slot: slot })
    }

    async fn open(&self, all: &SmarthostSettings) -> Result<Connection, Failure> {
        let opening = Connection::open(&self.network, all, &self.settings, self.tls.as_ref());
        // Boxed: it is large and rare, and would otherwise make every transaction's future as large.
        Box::pin(opening).await
    }

    /// Makes a connection to see what the host offers; it goes into the pool if that has none.
    pub(super) async fn probe(
        self: &Arc<Self>,
        slot: Slot,
        all: &SmarthostSettings,
    ) -> Result<Lease, Failure> {
        // One idle connection makes way, so that there are never more than the slots allow.
        if let Some(idle) = self.take_idle() {
            idle.quit();
        }
        let connection = self.open(all).await?;
        Ok(Lease { connection, host: Arc::clone(self), origin: Origin::Fresh, _slot: slot })
    }

    /// Takes note of a new connection.
    pub(super) fn note_opened(&self, connection: &Connection) -> Change {
        let mut condition = self.condition.lock();
        condition.offers = Some(connection.extensions.clone());
        condition.looked = Some(clock::steady_now());
        condition.breaker.note_greeting()
    }

    /// Takes note of an answer to a text.
    pub(super) fn note_success(&self) -> Change {
        self.condition.lock().breaker.note_success()
    }

    pub(super) fn note_failure(&self, failure: &Failure, random: u64) -> Change {
        let mut condition = self.condition.lock();
        condition.last_error = Some(failure.to_string());
        if self.is_crowded(failure) {
            return Change::None;
        }
        let change = condition.breaker.note_failure(clock::steady_now(), random);
        drop(condition);
        if change == Change::Opened {
            self.clear_idle();
        }
        change
    }

    /// A host that turns one more connection away while it serves others is not down. The slot of the refused one is free
    /// again by now.
    fn is_crowded(&self, failure: &Failure) -> bool {
        let refused = matches!(failure, Failure::Refused(_, reply) if reply.is_transient());
        refused && self.slots_max - self.slots.available_permits() > 0
    }

    pub(super) fn clear_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        idle.into_iter().for_each(Connection::quit);
    }

    /// Closes connections that idled too long or were closed by the host.
    pub(super) fn reap(&self) {
        let now = clock::steady_now();
        let mut done = Vec::new();
        let mut idle = self.idle.lock();
        let mut at = 0;
        while let Some(connection) = idle.get_mut(at) {
            let expired = now.duration_since(connection.idle_since) >= self.idle_max;
            if expired || !connection.is_quiet() {
                done.push(idle.remove(at));
            } else {
                at += 1;
            }
        }
        drop(idle);
        done.into_iter().for_each(Connection::quit);
    }

    /// True if the host should be looked at now.
    pub(super) fn is_due(&self, every: Duration) -> bool {
        let now = clock::steady_now();
        let mut condition = self.condition.lock();
        if condition.breaker.is_open() {
            return condition.breaker.admits(now);
        }
        condition.looked.is_none_or(|looked| now.duration_since(looked) >= every)
    }

    pub(super) fn offers(&self) -> Option<Extensions> {
        self.condition.lock().offers.clone()
    }

    /// True if the host is known not to offer what `fits` wants.
    pub(super) fn lacks(&self, fits: impl FnOnce(&Extensions) -> bool) -> bool {
        self.condition.lock().offers.as_ref().is_some_and(|offers| !fits(offers))
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.condition.lock().last_error.clone()
    }

    pub(super) fn health(&self, plan: &Plan) -> HopHealth {
        let idle = self.idle.lock().len();
        let condition = self.condition.lock();
        let state = match &condition.offers {
            _ if condition.breaker.is_open() => HopState::Down,
            Some(_) => HopState::Up,
            None => HopState::Unknown,
        };
        HopHealth {
            name: Arc::clone(&self.name),
            state,
            connections_open: self.slots_max - self.slots.available_permits() + idle,
            connections_idle: idle,
            egress: Arc::clone(&self.settings.egress),
            egress_use: plan.of(&self.settings.egress),
            last_error: condition.last_error.clone(),
            offers: condition.offers.clone(),
        }
    }
}

impl Lease {
    /// Puts the connection into the pool, unless it served long enough or the hop said more than it was asked.
    pub(super) fn give_back(mut self) {
        self.connection.leave_envelope();
        if self.connection.uses >= self.host.messages_max || !self.connection.is_quiet() {
            self.connection.quit();
            return;
        }
        self.connection.idle_since = clock::steady_now();
        self.host.idle.lock().push(self.connection);
    }

    /// True if the hop has the present transaction's envelope and is still there.
    pub(super) fn is_ready(&mut self) -> bool {
        self.connection.envelope() == Envelope::Ours && self.connection.is_quiet()
    }
}

fn tls_client(settings: &HostSettings, name: &str) -> Result<Option<TlsClient>, DeliverError> {
    if settings.tls == TlsMode::None {
        return Ok(None);
    }
    let verification = match &settings.tls_ca {
        _ if !settings.verify => Verification::Nobody,
        Some(path) => Verification::Authorities(path),
        None => Verification::System,
    };
    let wrong = |source| DeliverError::Tls { host: name.to_owned(), source };
    TlsClient::new(verification).map(Some).map_err(wrong)
}
