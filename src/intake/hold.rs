//! The open charge of a transaction, which is settled whatever happens to the task that holds it.

use crate::{
    clock::Clock,
    deliver::DotBy,
    store::ledger::{Ledger, Reservation, Settlement},
};
use std::sync::Arc;

/// The charge of a transaction; if the task dies, it is settled all the same.
pub(super) struct Hold {
    ledger: Arc<dyn Ledger>,
    clock: Clock,
    /// The open charge, until it is settled.
    pub(super) reservation: Option<Reservation>,
    /// The text has begun to go on, so it may arrive.
    pub(super) underway: bool,
}

impl Hold {
    /// Holds what this reservation comes to.
    pub(super) fn new(ledger: Arc<dyn Ledger>, clock: Clock, reservation: Reservation) -> Self {
        Self { ledger, clock, reservation: Some(reservation), underway: false }
    }

    /// Until when the final dot may be sent, where the ledger does not wait for ever.
    pub(super) fn dot_by(&self) -> Option<DotBy> {
        let by = self.reservation.as_ref()?.dot_by()?;
        Some(DotBy::new(self.clock.clone(), by))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(reservation) = self.reservation.take() else { return };
        if reservation.recipients() == 0 {
            return;
        }
        let settlement = if self.underway { Settlement::Unknown } else { Settlement::Refunded };
        let (ledger, now) = (self.ledger.clone(), self.clock.now());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _reported_by_the_store = ledger.settle(reservation, settlement, now).await;
            });
        }
    }
}
