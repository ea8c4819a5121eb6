//! How many connections there are, in all and from each client network.

use crate::types::IpPrefix;
use dashmap::DashMap;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The places of one listener.
#[derive(Debug)]
pub struct Places {
    total: AtomicUsize,
    total_max: usize,
    by_client: DashMap<IpPrefix, usize>,
    by_client_max: usize,
}

impl Places {
    /// A listener with so many places, in all and for one client network.
    #[must_use]
    pub fn new(total_max: usize, by_client_max: usize) -> Arc<Self> {
        Arc::new(Self { total: AtomicUsize::new(0), total_max, by_client: DashMap::new(), by_client_max })
    }

    /// Takes a place, which is free again when it is dropped.
    ///
    /// # Errors
    /// The reason as it stands in the event, if there is none.
    pub fn take(self: &Arc<Self>, client: IpPrefix) -> Result<Place, &'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClientIp;

    fn client(address: &str) -> IpPrefix {
        address.parse::<ClientIp>().unwrap().prefix(64)
    }

    #[test]
    fn places_are_bounded_in_all_and_for_each_client() {
        let places = Places::new(3, 2);
        let first = places.take(client("192.0.2.1")).unwrap();
        let _second = places.take(client("192.0.2.1")).unwrap();
        assert_eq!(places.take(client("192.0.2.1")).unwrap_err(), "connections-client");
        let _third = places.take(client("192.0.2.2")).unwrap();
        assert_eq!(places.take(client("192.0.2.3")).unwrap_err(), "connections-total");
        drop(first);
        assert_eq!(places.taken(), 2);
        assert!(places.take(client("192.0.2.1")).is_ok());
    }
}
