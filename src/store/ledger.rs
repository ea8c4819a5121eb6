//! Charges: reserve, settle, usage.
//!
//! A transaction reserves a charge for each recipient before the recipient is accepted, makes the reservation durable
//! before the text goes on, and settles it when the next hop has answered. What is open counts in every window and
//! never ages.

use super::{
    BoxFuture, StoreError, Whose, records::Revision, redis::Ticket, sqlite::SqliteStore,
    windows::Cells,
};
use crate::{
    event::{LimitHit, LimitReached},
    rules::limits::Mode,
    types::{Key, Limit, Scope, Timestamp},
};
use std::sync::Arc;

/// What one transaction has to ask of one window.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Whose window.
    pub key: Key,
    /// All limits that hold for it.
    pub limits: Arc<[Limit]>,
    /// What a recipient costs here.
    pub per: ChargePer,
    /// In [`Mode::Observe`] its limits refuse nothing and are only reported.
    pub mode: Mode,
}

/// What is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargePer {
    /// One for each recipient.
    Recipient,
    /// One for the transaction, at its first recipient.
    Transaction,
}

/// How charges that do not all fit are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Recipients are granted in order until one does not fit; that one and the rest are refused.
    InOrder,
    /// All recipients or none.
    AllOrNothing,
}

/// One call to [`Ledger::reserve`].
#[derive(Debug, Clone)]
pub struct Request {
    /// How many recipients are asked for, at least 1.
    pub recipients: u32,
    /// What happens when they do not all fit.
    pub grant: Grant,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// How many of the recipients were granted, the first ones.
    pub recipients: u32,
    /// Why the next one was not.
    pub hit: Option<LimitHit>,
    /// What a limit that is only observed would have refused of the granted ones.
    pub observed: Option<Observed>,
}

/// What a limit in [`Mode::Observe`] would have refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// How many recipients, the last ones.
    pub recipients: u32,
    /// Why.
    pub hit: LimitHit,
}

/// How a reservation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The next hop said 2xx: stamped with this moment.
    Sent,
    /// Nobody can have got it: given back.
    Refunded,
    /// The next hop vanished after the final dot: stamped later by the safety margin.
    Unknown,
}

/// The open reservation of one transaction. It must be settled. Dropped unsettled it is given back if it was never made
/// durable; otherwise the text may have gone on, and the charge stays open until the next restart, when it counts as sent.
#[derive(Debug)]
pub struct Reservation {
    pub(super) demands: Vec<Demand>,
    pub(super) recipients: u32,
    /// The windows of the demands, in their order, while anything is reserved; so settling needs no look-up.
    pub(super) cells: Cells,
    /// The name in the journal; 0 until it has one.
    pub(super) id: u64,
    pub(super) durable: bool,
    /// What stands for it in Redis, while anything may be reserved there.
    pub(super) shared: Option<Box<Ticket>>,
    /// The database in which it is, while this node goes on without Redis.
    pub(super) alone: Option<Arc<SqliteStore>>,
    /// The last change of shared records that its demands follow from.
    pub(super) follows: Option<Revision>,
}

impl Reservation {
    /// An empty reservation for these windows, which are sorted into the order in which locks are taken:
    /// tenant, account, client address, peer. Demands on one window become one.
    #[must_use]
    pub fn new(mut demands: Vec<Demand>) -> Self {
        demands.sort_by(|a, b| order(&a.key).cmp(&order(&b.key)));
        demands.dedup_by(|next, kept| kept.key == next.key && kept.absorb(next));
        let cells = Cells::new();
        let (shared, alone, follows) = (None, None, None);
        Self { demands, recipients: 0, cells, id: 0, durable: false, shared, alone, follows }
    }

    /// The same, where records of this revision were read for it. Its first recipients are granted only while it is the last.
    #[must_use]
    pub fn following(mut self, revision: Option<Revision>) -> Self {
        self.follows = revision;
        self
    }

    /// The windows that are charged.
    #[must_use]
    pub fn demands(&self) -> &[Demand] {
        &self.demands
    }

    /// How many recipients are granted and not given back.
    #[must_use]
    pub const fn recipients(&self) -> u32 {
        self.recipients
    }

    /// Until when the final dot may be sent; none: at any time. A shared store takes what is open for longer as sent.
    #[must_use]
    pub fn dot_by(&self) -> Option<Timestamp> {
        self.shared.as_ref().map(|ticket| ticket.dot_by)
    }

    /// True if the journal may know it, so that its end must be written too.
    pub(super) const fn is_journaled(&self) -> bool {
        self.id != 0
    }

    /// Each window with what is charged to it.
    pub(super) fn charges(&self) -> impl Iterator<Item = (&Key, u32)> + Clone {
        self.demands.iter().map(|demand| (&demand.key, demand.cost(0, self.recipients)))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        match self.shared.take() {
            Some(ticket) if !self.durable && (self.recipients > 0 || ticket.may_hold_more()) => {
                ticket.give_back(self);
            }
            None if self.recipients > 0 && !self.is_journaled() => {
                super::windows::release(self, u32::MAX);
            }
            _ => {}
        }
    }
}

impl Demand {
    /// What more recipients cost here when there are some already.
    pub(super) fn cost(&self, had: u32, more: u32) -> u32 {
        match self.per {
            ChargePer::Recipient => more,
            ChargePer::Transaction => u32::from(had == 0 && more > 0),
        }
    }

    /// Takes over another demand on the same window: a lock is taken once.
    fn absorb(&mut self, other: &Self) -> bool {
        self.limits = self.limits.iter().chain(other.limits.iter()).copied().collect();
        if other.per == ChargePer::Recipient {
            self.per = ChargePer::Recipient;
        }
        true
    }
}

fn order(key: &Key) -> (Scope, &str) {
    (key.parts().scope, key.as_str())
}

/// The use of one window under one limit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// The limit.
    pub limit: Limit,
    /// Charges settled as sent within the window.
    pub sent: u32,
    /// Charges that are open.
    pub open: u32,
    /// How many more would be granted now.
    pub remaining: u32,
    /// When the next one would be granted, if not now; none if one fits now, or never (max 0).
    pub next_slot: Option<Timestamp>,
}

/// The ledger of charges. A call takes a whole command group with all its windows and may be a network round trip.
pub trait Ledger: Send + Sync {
    /// Adds recipients to a reservation: each is granted in all windows or in none.
    ///
    /// # Errors
    /// [`StoreError`] if nothing could be decided; nothing is reserved then. [`StoreError::Outdated`] if what it
    /// follows from is not the last change of the records.
    fn reserve<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        request: Request,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Granted, StoreError>>;

    /// Gives back recipients that the next hop refused, before the reservation is durable.
    fn release<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        recipients: u32,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Makes the reservation survive a crash. The text goes on only after this returned.
    ///
    /// # Errors
    /// [`StoreError`] if it is not certain to survive; the caller settles it as refunded and answers 451.
    fn make_durable<'a>(
        &'a self,
        reservation: &'a mut Reservation,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Ends a reservation. Returns the limits that it brought to 80 % or 100 % for the first time in their window.
    ///
    /// # Errors
    /// [`StoreError`] if the outcome could not be written; in memory it holds all the same.
    fn settle<'a>(
        &'a self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<LimitReached>, StoreError>>;

    /// The use of one window under each of these limits, in their order.
    fn usage<'a>(
        &'a self,
        key: &'a Key,
        limits: &'a [Limit],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Usage>, StoreError>>;

    /// True if the window has any history or open charge.
    fn knows<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Up to `max` keys of a scope whose text is after `after`, sorted; of accounts only those that belong to whom by their name.
    fn keys<'a>(
        &'a self,
        scope: Scope,
        whose: Whose<'a>,
        after: Option<&'a Key>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>>;
}
