//! Ends of reservations that Redis must hear of: those that it could not be told when they came, and those of reservations
//! that were dropped. An end that finds no room is forgotten, and the reservation counts as sent after its deadline.

use super::Name;
use crate::store::ledger::{Demand, Reservation, Settlement};
use parking_lot::Mutex;
use std::{collections::VecDeque, ops::Deref, sync::Arc, time::Instant};
use tokio::sync::Notify;

/// What becomes of an open reservation.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) name: Name,
    pub(super) demands: Vec<Demand>,
    pub(super) settlement: Settlement,
    /// Recipients that are stamped.
    pub(super) stamped: u32,
    /// Recipients that stay open.
    pub(super) stays: u32,
    /// A call that is still under way must have ended before this is told.
    not_before: Option<Instant>,
}

/// The ends that wait. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<VecDeque<Arc<End>>>,
    more: Notify,
    fewer: Notify,
}

impl End {
    /// The whole reservation ends.
    pub(super) const fn settle(name: Name, settlement: Settlement) -> Self {
        Self { name, demands: Vec::new(), settlement, stamped: 0, stays: 0, not_before: None }
    }

    /// Only so many recipients stay open.
    pub(super) fn release(name: Name, stays: u32) -> Self {
        Self { stays, ..Self::settle(name, Settlement::Refunded) }
    }

    /// In the windows of this reservation, for its recipients.
    pub(super) fn of(mut self, reservation: &Reservation) -> Self {
        self.demands.clone_from(&reservation.demands);
        if self.settlement != Settlement::Refunded {
            self.stamped = reservation.recipients;
        }
        self
    }

    /// The same in these windows.
    pub(super) fn in_windows(self, demands: Vec<Demand>) -> Self {
        Self { demands, ..self }
    }

    pub(super) fn not_before(self, not_before: Option<Instant>) -> Self {
        Self { not_before, ..self }
    }

    /// Waits until it may be told.
    pub(super) async fn wait(&self) {
        if let Some(moment) = self.not_before {
            tokio::time::sleep_until(moment.into()).await;
        }
    }
}

/// An end of which Redis is being told. Dropped before it was, it waits; one of which Redis has heard after all counts once.
pub(super) struct Held<'e> {
    ends: &'e Ends,
    end: Option<End>,
}

impl Held<'_> {
    pub(super) fn told(mut self) {
        self.end = None;
    }
}

impl Deref for Held<'_> {
    type Target = End;

    fn deref(&self) -> &End {
        self.end.as_ref().expect("it is taken where it is dropped")
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.end.take().into_iter().for_each(|end| self.ends.push(end));
    }
}

impl Ends {
    pub(super) const fn hold(&self, end: End) -> Held<'_> {
        Held { ends: self, end: Some(end) }
    }

    pub(super) fn push(&self, end: End) {
        let mut waiting = self.0.waiting.lock();
        if waiting.len() < WAITING_MAX {
            waiting.push_back(Arc::new(end));
        }
        drop(waiting);
        self.wake();
    }

    pub(super) fn oldest(&self) -> Option<Arc<End>> {
        self.0.waiting.lock().front().cloned()
    }

    /// True if an end of this reservation waits.
    pub(super) fn waits_for(&self, name: Name) -> bool {
        self.0.waiting.lock().iter().any(|end| end.name == name)
    }

    /// The oldest cannot be told, and stands in the way of none that can.
    pub(super) fn put_off(&self, end: &Arc<End>) {
        let mut waiting = self.0.waiting.lock();
        if waiting.front().is_some_and(|oldest| Arc::ptr_eq(oldest, end)) {
            waiting.rotate_left(1);
        }
    }

    /// The oldest is told in these parts.
    pub(super) fn divide(&self, end: &Arc<End>, parts: impl Iterator<Item = End>) {
        let mut waiting = self.0.waiting.lock();
        if waiting.front().is_some_and(|oldest| Arc::ptr_eq(oldest, end)) {
            waiting.pop_front();
            waiting.extend(parts.map(Arc::new));
        }
    }

    /// Redis knows this one now, which was the oldest.
    pub(super) fn done(&self, end: &Arc<End>) {
        let mut waiting = self.0.waiting.lock();
        if waiting.front().is_some_and(|oldest| Arc::ptr_eq(oldest, end)) {
            waiting.pop_front();
        }
        drop(waiting);
        self.0.fewer.notify_waiters();
    }

    /// Ends when there is something to tell, or [`Ends::wake`] was called.
    pub(super) async fn wait(&self) {
        if self.oldest().is_none() {
            self.0.more.notified().await;
        }
    }

    pub(super) fn wake(&self) {
        self.0.more.notify_one();
    }

    /// Ends when nothing waits.
    pub(super) async fn told(&self) {
        loop {
            let fewer = self.0.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            if self.oldest().is_none() {
                return;
            }
            fewer.await;
        }
    }
}

/// Ends that wait while Redis is lost: at 500 octets each they fill 50 MB.
const WAITING_MAX: usize = 100_000;
