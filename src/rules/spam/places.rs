//! Where an account comes from: the countries and networks of its clients, each with when it was first and last seen.
//!
//! A place is *at home* once it was used for a day without a suspension; until then whatever comes from it is new. At most
//! [`PLACES_MAX`] are kept, and the one that was unused the longest goes first.

use crate::types::Timestamp;
use std::time::Duration;

/// Where a client is, as far as somebody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Two letters (ISO 3166-1), if the country is known.
    pub country: Option<[u8; 2]>,
    /// The autonomous system's number, or something else that is the same for neighbours.
    pub network: u32,
    /// A data centre's network, where people are not, but servers.
    pub is_hosting: bool,
}

/// The places of one account.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Places(Vec<Visit>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Visit {
    place: Place,
    first: Timestamp,
    last: Timestamp,
}

impl Places {
    /// True if the account comes from this country, or none of its places has one.
    #[must_use]
    pub fn knows_country(&self, country: [u8; 2], now: Timestamp) -> bool {
        let mut home = self.home(now).filter_map(|visit| visit.place.country).peekable();
        home.peek().is_none() || home.any(|own| own == country)
    }

    /// True if the account comes from this network.
    #[must_use]
    pub fn knows_network(&self, network: u32, now: Timestamp) -> bool {
        self.home(now).any(|visit| visit.place.network == network)
    }

    /// True if the account comes from data centres.
    #[must_use]
    pub fn knows_hosting(&self, now: Timestamp) -> bool {
        self.home(now).any(|visit| visit.place.is_hosting)
    }

    /// How many networks were seen within a day for the first time.
    #[must_use]
    pub fn new_networks(&self, now: Timestamp) -> u32 {
        let new = self.0.iter().filter(|visit| !visit.is_home(now)).count();
        u32::try_from(new).unwrap_or(u32::MAX)
    }

    /// Takes note of a visit; where the account itself is new, so is no place.
    pub fn visit(&mut self, place: Place, account_since: Timestamp, now: Timestamp) {
        if let Some(visit) = self.0.iter_mut().find(|visit| visit.place == place) {
            visit.last = now;
            return;
        }
        if self.0.len() >= PLACES_MAX {
            let stale = self.0.iter().enumerate().min_by_key(|(_, visit)| visit.last);
            if let Some(stale) = stale.map(|(at, _)| at) {
                self.0.remove(stale);
            }
        }
        let is_new = now.since(account_since) >= SETTLING;
        let first = if is_new { now } else { account_since - SETTLING };
        self.0.push(Visit { place, first, last: now });
    }

    /// How many octets the places take.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.0.len() * size_of::<Visit>()
    }

    /// Forgets places that are not at home yet: a thief's, once the account was suspended for what came from there.
    pub fn forget_new(&mut self, now: Timestamp) {
        self.0.retain(|visit| visit.is_home(now));
    }

    fn home(&self, now: Timestamp) -> impl Iterator<Item = &Visit> {
        self.0.iter().filter(move |visit| visit.is_home(now))
    }
}

impl Visit {
    fn is_home(&self, now: Timestamp) -> bool {
        now.since(self.first) >= SETTLING
    }
}

/// How many places of one account are kept.
pub const PLACES_MAX: usize = 8;
/// How long a place is new.
const SETTLING: Duration = Duration::from_secs(24 * 3_600);
