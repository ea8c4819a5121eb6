//! The ledger once more, as plain lists: told the same calls, it says what each answer has to be.
//!
//! So a grant is neither too large nor too small, and a refusal names what is used and the first moment at which the same
//! request would pass if everything open were settled as sent now.

use std::collections::BTreeMap;
use tollgate::{
    rules::limits::Mode,
    store::ledger::{ChargePer, Demand, Grant, Granted, Request, Reservation, Settlement},
    types::Limit,
};

/// Milliseconds of the ledger's time.
type Millis = i64;

#[derive(Default)]
pub(crate) struct Shadow {
    windows: BTreeMap<String, Window>,
    /// What differed.
    pub(crate) wrong: Vec<String>,
    /// A crash or a cut has settled what this does not know of, or an answer was wrong; from then on it is silent.
    lost_track: bool,
}

#[derive(Default)]
struct Window {
    stamps: Vec<Millis>,
    open: u32,
}

impl Window {
    /// True if so many more fit into the limit at this moment.
    fn fits(&self, limit: Limit, cost: u32, at: Millis) -> bool {
        cost == 0 || self.used(limit, at) + self.open + cost <= limit.max
    }

    fn used(&self, limit: Limit, at: Millis) -> u32 {
        let begins = at - length(limit);
        u32::try_from(self.stamps.iter().filter(|&&stamp| stamp > begins).count()).unwrap()
    }

    /// The first moment at which so many more would fit, were everything open settled as sent now.
    fn next_slot(&self, limit: Limit, cost: u32, now: Millis) -> Option<Millis> {
        let mut stamps = self.stamps.clone();
        stamps.extend((0..self.open).map(|_| now + 1));
        let settled = Self { stamps, open: 0 };
        let leaves = settled.stamps.iter().map(|stamp| stamp + length(limit));
        let moments = leaves.filter(|&at| at >= now).chain([now]);
        moments.filter(|&at| settled.fits(limit, cost, at)).min()
    }
}

impl Shadow {
    /// The process ended with something open: what became of that is the store's to say.
    pub(crate) fn end_process(&mut self, in_order: bool) {
        self.lost_track |= !in_order || self.windows.values().any(|window| window.open > 0);
    }

    /// What the reservation had before the call, and what it was answered.
    pub(crate) fn reserve(
        &mut self,
        demands: &[Demand],
        had: u32,
        request: &Request,
        granted: &Granted,
        now: Millis,
    ) {
        if self.lost_track {
            return;
        }
        let (step, most) = match request.grant {
            Grant::InOrder => (1, request.recipients),
            Grant::AllOrNothing => (request.recipients, 1),
        };
        let mut count = 0;
        let mut steps = 0;
        while steps < most && self.has_room(demands, had + count, step, now) {
            for demand in demands {
                self.window(demand).open += cost(demand, had + count, step);
            }
            count += step;
            steps += 1;
        }
        if granted.recipients != count {
            let (got, wanted) = (granted.recipients, request.recipients);
            self.wrong.push(format!("{got} of {wanted} recipients were granted, not {count}"));
            self.lost_track = true;
        } else if count < request.recipients {
            self.check_hit(demands, had + count, step, granted, now);
        }
    }

    fn has_room(&mut self, demands: &[Demand], had: u32, more: u32, now: Millis) -> bool {
        let enforced = demands.iter().filter(|demand| demand.mode == Mode::Enforce);
        enforced.into_iter().all(|demand| {
            let cost = cost(demand, had, more);
            let window = self.window(demand);
            demand.limits.iter().all(|&limit| window.fits(limit, cost, now))
        })
    }

    fn check_hit(
        &mut self,
        demands: &[Demand],
        had: u32,
        more: u32,
        granted: &Granted,
        now: Millis,
    ) {
        let Some(hit) = &granted.hit else {
            self.wrong.push("a refusal names no limit".to_owned());
            return;
        };
        let demand = demands.iter().find(|demand| demand.key == hit.key).unwrap();
        let window = self.window(demand);
        let used = window.used(hit.limit, now) + window.open;
        let opens = window.next_slot(hit.limit, cost(demand, had, more), now);
        let said = hit.next_slot.map(tollgate::types::Timestamp::as_millis);
        if (hit.used, said) != (used, opens) {
            self.wrong.push(format!(
                "{} of {:?}: said {} used and {said:?}, not {used} and {opens:?}",
                hit.key, hit.limit, hit.used
            ));
        }
        let Some(opens) = opens else { return };
        for demand in demands.iter().filter(|demand| demand.mode == Mode::Enforce) {
            let cost = cost(demand, had, more);
            let window = self.window(demand);
            let later = |limit: &&Limit| {
                window.next_slot(**limit, cost, now).is_none_or(|slot| slot > opens)
            };
            if let Some(limit) = demand.limits.iter().find(later) {
                self.wrong.push(format!("at the next slot {} under {limit:?} is full", demand.key));
            }
        }
    }

    pub(crate) fn release(&mut self, reservation: &Reservation, recipients: u32) {
        if self.lost_track {
            return;
        }
        let had = reservation.recipients();
        let left = had - recipients.min(had);
        for demand in reservation.demands() {
            self.window(demand).open -= cost(demand, 0, had) - cost(demand, 0, left);
        }
    }

    pub(crate) fn settle(
        &mut self,
        reservation: &Reservation,
        settlement: Settlement,
        now: Millis,
    ) {
        if self.lost_track {
            return;
        }
        let stamp = match settlement {
            Settlement::Sent => Some(now + 1),
            Settlement::Unknown => Some(now + UNKNOWN_MARGIN),
            Settlement::Refunded => None,
        };
        for demand in reservation.demands() {
            let charges = cost(demand, 0, reservation.recipients());
            let window = self.window(demand);
            window.open -= charges;
            window.stamps.extend((0..charges).filter_map(|_| stamp));
        }
    }

    /// What is still open.
    pub(crate) fn open(&self) -> Vec<String> {
        let open = self.windows.iter().filter(|(_, window)| window.open > 0 && !self.lost_track);
        open.map(|(key, window)| format!("{key}: {}", window.open)).collect()
    }

    fn window(&mut self, demand: &Demand) -> &mut Window {
        self.windows.entry(demand.key.to_string()).or_default()
    }
}

fn cost(demand: &Demand, had: u32, more: u32) -> u32 {
    match demand.per {
        ChargePer::Recipient => more,
        ChargePer::Transaction => u32::from(had == 0 && more > 0),
    }
}

fn length(limit: Limit) -> Millis {
    Millis::try_from(limit.window.length().as_millis()).unwrap()
}

/// `limits.unknown_margin`, which the simulation leaves at its default.
const UNKNOWN_MARGIN: Millis = 600_000;
