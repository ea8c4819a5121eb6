//! How many there may be: connections in all, at each listener, from each client network and of each login; texts that come
//! in; and how fast new connections come.
//!
//! Whoever takes a place holds a guard, and the place is free again when that is dropped. When most places of the server or
//! of a listener are taken, places are *scarce* until they are clearly free again, and whoever listens is told.
//! governor paces here (a burst of a minute's worth, then evenly); it never decides a sending limit, because GCRA lets almost
//! twice the figure through in some window.

use crate::types::{AccountId, IpPrefix};
use dashmap::DashMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;

/// What all listeners share.
#[derive(Debug)]
pub struct House {
    /// Connections.
    pub connections: Arc<Room>,
    /// Texts that come in.
    pub texts: Arc<Room>,
    /// Sessions of each login.
    pub logins: Arc<Logins>,
    /// Whether places are scarce.
    pub scarcity: Scarcity,
}

/// How many there may be in the whole house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HouseCounts {
    /// Connections over all listeners.
    pub connections: usize,
    /// Texts that come in at a time.
    pub texts: usize,
    /// Sessions of one login.
    pub per_login: usize,
}

impl House {
    /// A house with so many places.
    #[must_use]
    pub fn new(counts: HouseCounts) -> Self {
        let scarcity = Scarcity::default();
        Self {
            connections: Room::watched(counts.connections, &scarcity),
            texts: Room::new(counts.texts),
            logins: Logins::new(counts.per_login),
            scarcity,
        }
    }

    /// From now on there are so many; whoever is in stays.
    pub fn resize(&self, counts: HouseCounts) {
        self.connections.set_max(counts.connections);
        self.texts.set_max(counts.texts);
        self.logins.max.store(counts.per_login, Ordering::Release);
    }
}

/// A number of places that anyone may take as long as there are any.
#[derive(Debug)]
pub struct Room {
    taken: AtomicUsize,
    max: AtomicUsize,
    scarce: AtomicBool,
    scarcity: Option<Scarcity>,
}

impl Room {
    /// Room for so many.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self::with(max, None))
    }

    /// The same; when most of it is taken, that is told.
    fn watched(max: usize, scarcity: &Scarcity) -> Arc<Self> {
        Arc::new(Self::with(max, Some(scarcity.clone())))
    }

    const fn with(max: usize, scarcity: Option<Scarcity>) -> Self {
        let (taken, max) = (AtomicUsize::new(0), AtomicUsize::new(max));
        Self { taken, max, scarce: AtomicBool::new(false), scarcity }
    }

    /// Takes a place, which is free again when the seat is dropped; none if all are taken.
    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        let max = self.max.load(Ordering::Acquire);
        let fits = |taken: usize| (taken < max).then_some(taken + 1);
        let before = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        self.note_scarcity(before + 1, max);
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

    fn note_scarcity(&self, taken: usize, max: usize) {
        let Some(scarcity) = &self.scarcity else { return };
        let percent = taken.saturating_mul(100) / max.max(1);
        if percent >= SCARCE_PERCENT && !self.scarce.swap(true, Ordering::AcqRel) {
            scarcity.begins();
        } else if percent < AMPLE_PERCENT && self.scarce.swap(false, Ordering::AcqRel) {
            scarcity.ends();
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(scarcity) = self.scarcity.as_ref().filter(|_| *self.scarce.get_mut()) {
            scarcity.ends();
        }
    }
}

/// A taken place in a [`Room`].
#[derive(Debug)]
pub struct Seat(Arc<Room>);

impl Drop for Seat {
    fn drop(&mut self) {
        let left = self.0.taken.fetch_sub(1, Ordering::AcqRel) - 1;
        self.0.note_scarcity(left, self.0.max.load(Ordering::Acquire));
    }
}

/// In how many rooms most places are taken. All clones tell the same.
#[derive(Debug, Clone)]
pub struct Scarcity(Arc<watch::Sender<usize>>);

impl Default for Scarcity {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Scarcity {
    /// Tells the number whenever it changes; places are scarce while it is not 0.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.0.subscribe()
    }

    fn begins(&self) {
        self.0.send_modify(|rooms| *rooms += 1);
    }

    fn ends(&self) {
        self.0.send_modify(|rooms| *rooms = rooms.saturating_sub(1));
    }
}

/// How many sessions each login has.
#[derive(Debug)]
pub struct Logins {
    sessions: DashMap<AccountId, usize>,
    max: AtomicUsize,
}

impl Logins {
    fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { sessions: DashMap::new(), max: AtomicUsize::new(max) })
    }

    /// Counts a session of this login until the guard is dropped; none if it has as many as it may have.
    pub fn take(self: &Arc<Self>, account: &AccountId) -> Option<LoginPlace> {
        let mut count = self.sessions.entry(account.clone()).or_insert(0);
        if *count >= self.max.load(Ordering::Acquire) {
            return None;
        }
        *count += 1;
        drop(count);
        Some(LoginPlace { logins: self.clone(), account: account.clone() })
    }
}

/// A counted session of a login.
#[derive(Debug)]
pub struct LoginPlace {
    logins: Arc<Logins>,
    account: AccountId,
}

impl Drop for LoginPlace {
    fn drop(&mut self) {
        leave(&self.logins.sessions, &self.account);
    }
}

/// The places of one listener.
#[derive(Debug)]
pub struct Places {
    room: Arc<Room>,
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
    pub fn new(counts: PlaceCounts, scarcity: &Scarcity) -> Arc<Self> {
        let pace = NonZeroU32::new(counts.per_client_minute);
        Arc::new(Self {
            room: Room::watched(counts.total, scarcity),
            by_client: DashMap::new(),
            by_client_max: counts.per_client,
            pace: pace.map(|count| RateLimiter::keyed(Quota::per_minute(count))),
            taken_ever: AtomicUsize::new(0),
        })
    }

    /// Takes a place for a connection of which nothing is known yet, before anything is waited for.
    ///
    /// # Errors
    /// The reason as it stands in the event, if there is none.
    pub fn enter(self: &Arc<Self>, house: &House) -> Result<Place, &'static str> {
        let in_house = house.connections.take().ok_or("connections-server")?;
        let seat = self.room.take().ok_or("connections-total")?;
        Ok(Place { places: self.clone(), client: None, _seats: [in_house, seat] })
    }

    /// Now and then drops the networks whose pace is as good as unused, so that the table holds only a minute's clients.
    fn forget_the_calm(&self) {
        if self.taken_ever.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1
            && let Some(pace) = &self.pace
        {
            pace.retain_recent();
        }
    }
}

/// A taken place.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    client: Option<IpPrefix>,
    _seats: [Seat; 2],
}

impl Place {
    /// Counts it among those of its client, once that is known.
    ///
    /// # Errors
    /// The reason as it stands in the event, if that client has as many as it may have, or comes too fast.
    pub fn belong_to(&mut self, client: IpPrefix) -> Result<(), &'static str> {
        let places = &self.places;
        places.forget_the_calm();
        if places.pace.as_ref().is_some_and(|pace| pace.check_key(&client).is_err()) {
            return Err("connections-pace");
        }
        let mut count = places.by_client.entry(client).or_insert(0);
        if *count >= places.by_client_max {
            return Err("connections-client");
        }
        *count += 1;
        drop(count);
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            leave(&self.places.by_client, client);
        }
    }
}

/// Counts one less, and forgets whoever has none left.
fn leave<K: std::hash::Hash + Eq>(table: &DashMap<K, usize>, key: &K) {
    if let Some(mut count) = table.get_mut(key) {
        *count -= 1;
    }
    table.remove_if(key, |_, count| *count == 0);
}

/// Places are scarce when so many of a hundred are taken …
const SCARCE_PERCENT: usize = 80;
/// … and no longer when fewer than so many are.
const AMPLE_PERCENT: usize = 60;
/// Connections between two clean-ups of the pace table.
const FORGET_EVERY: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClientIp;

    fn client(address: &str) -> IpPrefix {
        address.parse::<ClientIp>().unwrap().prefix(64)
    }

    fn house(connections: usize) -> House {
        House::new(HouseCounts { connections, texts: 10, per_login: 2 })
    }

    fn places(house: &House, counts: [usize; 2], per_client_minute: u32) -> Arc<Places> {
        let [total, per_client] = counts;
        Places::new(PlaceCounts { total, per_client, per_client_minute }, &house.scarcity)
    }

    fn take(places: &Arc<Places>, house: &House, address: &str) -> Result<Place, &'static str> {
        let mut place = places.enter(house)?;
        place.belong_to(client(address)).map(|()| place)
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
        let house = house(100);
        let places = places(&house, [3, 2], 0);
        let first = take(&places, &house, "192.0.2.1").unwrap();
        let _second = take(&places, &house, "192.0.2.1").unwrap();
        assert_eq!(take(&places, &house, "192.0.2.1").unwrap_err(), "connections-client");
        let _third = take(&places, &house, "192.0.2.2").unwrap();
        assert_eq!(take(&places, &house, "192.0.2.3").unwrap_err(), "connections-total");
        drop(first);
        assert_eq!((places.room.taken(), house.connections.taken()), (2, 2));
        assert!(take(&places, &house, "192.0.2.1").is_ok());
    }

    #[test]
    fn the_house_bounds_all_listeners_together() {
        let house = house(3);
        let both = [places(&house, [10, 10], 0), places(&house, [10, 10], 0)];
        let taken: Vec<Place> =
            [0, 1, 0].map(|at| take(&both[at], &house, "192.0.2.1").unwrap()).into();
        assert_eq!(take(&both[1], &house, "192.0.2.2").unwrap_err(), "connections-server");
        drop(taken);
        assert_eq!((house.connections.taken(), both[0].by_client.len()), (0, 0));
    }

    #[test]
    fn new_connections_are_paced_for_each_client() {
        let house = house(100);
        let places = places(&house, [100, 100], 3);
        for _ in 0..3 {
            assert!(take(&places, &house, "192.0.2.1").is_ok());
        }
        assert_eq!(take(&places, &house, "192.0.2.1").unwrap_err(), "connections-pace");
        assert!(take(&places, &house, "192.0.2.2").is_ok());
        assert_eq!(house.connections.taken(), 0);
    }

    #[test]
    fn a_login_has_so_many_sessions() {
        let logins = house(10).logins;
        let (one, other): (AccountId, AccountId) =
            ("a@shop.example".parse().unwrap(), "b@shop.example".parse().unwrap());
        let (first, _second) = (logins.take(&one), logins.take(&one).unwrap());
        assert!(logins.take(&one).is_none() && logins.take(&other).is_some());
        drop(first);
        assert!(logins.take(&one).is_some());
        assert_eq!(logins.sessions.len(), 1);
    }

    #[test]
    fn places_are_scarce_from_four_fifths_to_three_fifths() {
        let house = house(100);
        let told = house.scarcity.watch();
        let scarce = || *told.borrow() > 0;
        let listener = places(&house, [10, 100], 0);
        let mut taken = Vec::new();
        for (change, expected) in [(7, false), (1, true), (2, true), (-4, true), (-1, false)] {
            for _ in 0..change {
                taken.push(take(&listener, &house, "192.0.2.1").unwrap());
            }
            taken.truncate(taken.len() - usize::try_from(-change).unwrap_or(0));
            assert_eq!(scarce(), expected, "{} of 10 are taken", taken.len());
        }
    }

    #[test]
    fn a_listener_that_is_replaced_leaves_no_scarcity_behind() {
        let house = house(100);
        let told = house.scarcity.watch();
        let listener = places(&house, [1, 1], 0);
        let place = take(&listener, &house, "192.0.2.1").unwrap();
        drop(listener);
        assert_eq!(*told.borrow(), 1);
        drop(place);
        assert_eq!(*told.borrow(), 0);
    }
}
