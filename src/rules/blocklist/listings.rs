//! What is on which list now, as far as it is believed: a snapshot for whoever decides by it.

use super::{Severity, Subject};
use crate::types::Timestamp;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// All confirmed listings of what is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listings(HashMap<Subject, Vec<Listing>>);

/// A confirmed listing. It stays one while its list cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The list's name.
    pub list: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// Since when, in UTC.
    pub since: Timestamp,
    /// The codes, at least one.
    pub codes: Vec<Ipv4Addr>,
    /// What they mean.
    pub meaning: String,
}

impl Listings {
    /// What an address is listed for, by the lists' names; empty if it is on none, or nobody watches it.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> &[Listing] {
        self.on(&Subject::Address(address.to_canonical()))
    }

    /// The same of any subject.
    #[must_use]
    pub fn on(&self, subject: &Subject) -> &[Listing] {
        self.0.get(subject).map(Vec::as_slice).unwrap_or_default()
    }

    /// What is on any list.
    pub fn subjects(&self) -> impl Iterator<Item = (&Subject, &[Listing])> {
        self.0.iter().map(|(subject, listings)| (subject, listings.as_slice()))
    }

    /// Adds a listing, if there is one.
    pub fn extend(&mut self, subject: Subject, listing: Option<Listing>) {
        if let Some(listing) = listing {
            self.add(subject, listing);
        }
    }

    /// Adds a listing.
    pub fn add(&mut self, subject: Subject, listing: Listing) {
        let of_subject = self.0.entry(subject).or_default();
        of_subject.push(listing);
        of_subject.sort_by(|a, b| a.list.cmp(&b.list));
    }
}
