//! Where an account comes from: the countries and networks of its clients.

use super::habits::Habits;
use crate::types::Timestamp;

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
pub type Places = Habits<Place>;

impl Places {
    /// True if the account comes from this country, or none of its places has one.
    #[must_use]
    pub fn knows_country(&self, country: [u8; 2], now: Timestamp) -> bool {
        let mut home = self.settled(now).filter_map(|place| place.country).peekable();
        home.peek().is_none() || home.any(|own| own == country)
    }

    /// True if the account comes from this network.
    #[must_use]
    pub fn knows_network(&self, network: u32, now: Timestamp) -> bool {
        self.settled(now).any(|place| place.network == network)
    }

    /// True if the account comes from data centres.
    #[must_use]
    pub fn knows_hosting(&self, now: Timestamp) -> bool {
        self.settled(now).any(|place| place.is_hosting)
    }
}
