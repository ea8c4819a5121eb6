//! How many connections there are, in all and from each client network, and how fast new ones come.
//!
//! governor paces here (a burst of a minute's worth, then evenly); it never decides a sending limit, because GCRA lets almost
//! twice the figure through in some window.

use crate::types::IpPrefix;
use dashmap::DashMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A number of places that anyone may take as long as there are any.
#[derive(Debug)]
pub struct Room {
    taken: AtomicUsize,
    max: AtomicUsize,
}

impl Room {
    /// Room for so many.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), max: AtomicUsize::new(max) })
    }

    /// Takes a place, which is free again when the seat is dropped; none if all are taken.
    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        let max = self.max.load(Ordering::Acquire);
        let fits = |taken: usize| (taken < max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(Seat(Arc::clone(self)))
    }

    /// How many places are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// From now on there are so many; whoever has a seat keeps it.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Release);
    }
}

/// A taken place in a [`Room`].
#[derive(Debug)]
pub struct Seat(Arc<Room>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The places of one listener.
#[derive(Debug)]
pub struct Places {
    total: AtomicUsize,
    total_max: usize,
    by_client: DashMap<IpPrefix, usize>,
    by_client_max: usize,
    pace: Option<DefaultKeyedRateLimiter<IpPrefix>>,
    taken_ever: AtomicUsize,
}

/// How many places there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceCounts {
    /// In all.
    pub total: usize,
    /// For one client network.
    pub per_client: usize,
    /// New connections from one client network in a minute; 0: any number.
    pub per_client_minute: u32,
}

impl Places {
    /// The places of a listener.
    #[must_use]
    pub fn new(counts: PlaceCounts) -> Arc<Self> {
        let pace = NonZeroU32::new(counts.per_client_minute);
        Arc::new(Self {
            total: AtomicUsize::new(0),
            total_max: counts.total,
            by_client: DashMap::new(),
            by_client_max: counts.per_client,
            pace: pace.map(|count| RateLimiter::keyed(Quota::per_minute(count))),
            taken_ever: AtomicUsize::new(0),
        })
    }

    /// Takes a place, which is free again when it is dropped.
    ///
    /// # Errors
    /// The reason as it stands in the event, if there is none.
    pub fn take(self: &Arc<Self>, client: IpPrefix) -> Result<Place, &'static str> {
        self.forget_the_calm();
        if self.pace.as_ref().is_some_and(|pace| pace.check_key(&client).is_err()) {
            return Err("connections-pace");
        }
        if self.total.fetch_add(1, Ordering::AcqRel) >= self.total_max {
            self.total.fetch_sub(1, Ordering::AcqRel);
            return Err("connections-total");
        }
        let mut count = self.by_client.entry(client).or_insert(0);
        if *count >= self.by_client_max {
            drop(count);
            self.total.fetch_sub(1, Ordering::AcqRel);
            return Err("connections-client");
        }
        *count += 1;
        drop(count);
        Ok(Place { places: self.clone(), client })
    }

    /// How many places are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    /// Now and then drops the networks whose pace is as good as unused, so that the table holds only a minute's clients.
    fn forget_the_calm(&self) {
        if self.taken_ever.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1
            && let Some(pace) = &self.pace
        {
            pace.retain_recent();
        }
    }

    fn give_back(&self, client: IpPrefix) {
        self.total.fetch_sub(1, Ordering::AcqRel);
        if let Some(mut count) = self.by_client.get_mut(&client) {
            *count -= 1;
        }
        self.by_client.remove_if(&client, |_, count| *count == 0);
    }
}

/// A taken place.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    client: IpPrefix,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back(self.client);
    }
}

/// Connections between two clean-ups of the pace table.
const FORGET_EVERY: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClientIp;

    fn client(address: &str) -> IpPrefix {
        address.parse::<ClientIp>().unwrap().prefix(64)
    }

    #[test]
    fn a_room_has_as_many_seats_as_it_was_given_last() {
        let room = Room::new(2);
        let (first, _second) = (room.take().unwrap(), room.take().unwrap());
        assert!(room.take().is_none());
        room.set_max(1);
        drop(first);
        assert!(room.take().is_none() && room.taken() == 1);
        room.set_max(2);
        assert!(room.take().is_some());
    }

    #[test]
    fn places_are_bounded_in_all_and_for_each_client() {
        let places = Places::new(PlaceCounts { total: 3, per_client: 2, per_client_minute: 0 });
        let first = places.take(client("192.0.2.1")).unwrap();
        let _second = places.take(client("192.0.2.1")).unwrap();
        assert_eq!(places.take(client("192.0.2.1")).unwrap_err(), "connections-client");
        let _third = places.take(client("192.0.2.2")).unwrap();
        assert_eq!(places.take(client("192.0.2.3")).unwrap_err(), "connections-total");
        drop(first);
        assert_eq!(places.taken(), 2);
        assert!(places.take(client("192.0.2.1")).is_ok());
    }

    #[test]
    fn new_connections_are_paced_for_each_client() {
        let places = Places::new(PlaceCounts { total: 100, per_client: 100, per_client_minute: 3 });
        for _ in 0..3 {
            assert!(places.take(client("192.0.2.1")).is_ok());
        }
        assert_eq!(places.take(client("192.0.2.1")).unwrap_err(), "connections-pace");
        assert!(places.take(client("192.0.2.2")).is_ok());
        assert_eq!(places.taken(), 0);
    }
}
