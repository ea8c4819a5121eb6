//! Which of the provider's own addresses mail leaves by while some of them are on blocklists.
//!
//! A next hop says which addresses it stands for. What is confirmed to be listed, what the operator wants to follow from that,
//! and what was decided by hand make a [`Plan`]: mail goes by a way that is free, by a drained one only if no other takes it, and never by
//! a paused one. Pure; `watch` makes the plan anew whenever something of that changes, and `deliver` reads it for each mail.
//! [`blame`] says who is the likely cause of a listing.

pub mod blame;

use super::blocklist::{Listing, Listings, Severity};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// What follows from listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What happens to an address that is listed.
    pub on_listing: OnListing,
    /// Listings that matter less are only told.
    pub severity_min: Severity,
    /// So many lists must agree.
    pub lists_min: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { on_listing: OnListing::Alert, severity_min: Severity::Critical, lists_min: 1 }
    }
}

/// What happens to an address that is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnListing {
    /// It is told.
    Alert,
    /// Mail takes other ways where there are any.
    Drain,
    /// Mail does not leave by it.
    Pause,
}

/// What somebody decided about an address by hand.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// No mail leaves by it until somebody takes that back.
    Pause,
    /// Mail leaves by it although it is listed, until it is on no list any more.
    Resume,
}

impl Choice {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// The lists of an address that count: those of enough severity, if enough of them agree.
#[must_use]
pub fn grave<'a>(listings: &'a [Listing], policy: &Policy) -> Vec<&'a Listing> {
    let is_grave = |listing: &&Listing| listing.severity >= policy.severity_min;
    let grave: Vec<&Listing> = listings.iter().filter(is_grave).collect();
    if grave.len() >= policy.lists_min.max(1) { grave } else { Vec::new() }
}

/// How mail may leave by these addresses.
#[must_use]
pub fn steer(
    addresses: &[IpAddr],
    listings: &Listings,
    policy: &Policy,
    choices: &BTreeMap<IpAddr, Choice>,
) -> Plan {
    let mut plan = Plan::default();
    for &address in addresses {
        plan.set(address, use_of(address, listings, policy, choices.get(&address).copied()));
    }
    plan
}

fn use_of(address: IpAddr, listings: &Listings, policy: &Policy, choice: Option<Choice>) -> Use {
    let grave = grave(listings.of(address), policy);
    let listed = || {
        let names: Vec<&str> = grave.iter().map(|listing| &*listing.list).collect();
        Arc::from(format!("{address} is listed by {}", names.join(" and ")))
    };
    match (choice, policy.on_listing) {
        (Some(Choice::Pause), _) => Use::Paused(format!("{address} is paused by hand").into()),
        (Some(Choice::Resume), _) | (None, OnListing::Alert) => Use::Free,
        (None, _) if grave.is_empty() => Use::Free,
        (None, OnListing::Drain) => Use::Drained(listed()),
        (None, OnListing::Pause) => Use::Paused(listed()),
    }
}

/// Whether mail may leave by an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// It may.
    #[default]
    Free,
    /// Only if no other way takes it; why.
    Drained(Arc<str>),
    /// It may not; why.
    Paused(Arc<str>),
}

impl Use {
    /// The name as it stands in the API and in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Drained(_) => "drained",
            Self::Paused(_) => "paused",
        }
    }

    /// Why it is not free.
    #[must_use]
    pub const fn why(&self) -> Option<&Arc<str>> {
        match self {
            Self::Free => None,
            Self::Drained(why) | Self::Paused(why) => Some(why),
        }
    }
}

/// The addresses that are not free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan(BTreeMap<IpAddr, Use>);

impl Plan {
    /// How a way may be used that mail leaves by these addresses: as the worst of them.
    #[must_use]
    pub fn of(&self, egress: &[IpAddr]) -> Use {
        if self.0.is_empty() {
            return Use::Free;
        }
        egress.iter().filter_map(|address| self.0.get(address)).max().cloned().unwrap_or_default()
    }

    /// Sets how an address may be used.
    pub fn set(&mut self, address: IpAddr, as_what: Use) {
        match as_what {
            Use::Free => drop(self.0.remove(&address)),
            other => drop(self.0.insert(address, other)),
        }
    }

    /// The addresses that are not free, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Use)> {
        self.0.iter().map(|(address, how)| (*address, how))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rules::blocklist::Subject, types::Timestamp};

    const ADDRESS: &str = "192.0.2.1";

    fn listed(by: &[(&str, Severity)]) -> Listings {
        let mut listings = Listings::default();
        for (list, severity) in by {
            let listing = Listing {
                list: (*list).into(),
                severity: *severity,
                since: Timestamp::EPOCH,
                codes: vec!["127.0.0.2".parse().unwrap()],
                meaning: "SBL".into(),
            };
            listings.add(Subject::Address(ADDRESS.parse().unwrap()), listing);
        }
        listings
    }

    fn check(
        (on_listing, lists_min): (OnListing, usize),
        by: &[(&str, Severity)],
        choice: Option<Choice>,
        expected: &str,
    ) {
        let address: IpAddr = ADDRESS.parse().unwrap();
        let policy = Policy { on_listing, lists_min, ..Policy::default() };
        let choices = choice.map(|choice| (address, choice)).into_iter().collect();
        let plan = steer(&[address], &listed(by), &policy, &choices);
        let told = match plan.of(&["198.51.100.9".parse().unwrap(), address]) {
            Use::Free => String::from("free"),
            other => format!("{}: {}", other.name(), other.why().unwrap()),
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn an_address_is_used_as_its_listings_the_policy_and_people_say() {
        use OnListing::{Alert, Drain, Pause};
        use Severity::{Critical, Info, Warning};
        let zen = [("zen", Critical)];
        let both = [("spamcop", Critical), ("zen", Critical)];
        check((Pause, 1), &[], None, "free");
        check((Alert, 1), &zen, None, "free");
        check((Drain, 1), &zen, None, "drained: 192.0.2.1 is listed by zen");
        check((Pause, 1), &zen, None, "paused: 192.0.2.1 is listed by zen");
        check((Pause, 1), &[("zen", Warning), ("uceprotect2", Info)], None, "free");
        check((Pause, 2), &zen, None, "free");
        check((Pause, 2), &[("zen", Critical), ("uceprotect2", Info)], None, "free");
        check((Pause, 2), &both, None, "paused: 192.0.2.1 is listed by spamcop and zen");
        check((Pause, 1), &zen, Some(Choice::Resume), "free");
        check((Alert, 1), &[], Some(Choice::Pause), "paused: 192.0.2.1 is paused by hand");
    }

    #[test]
    fn a_way_is_as_good_as_the_worst_of_its_addresses() {
        let [one, two]: [IpAddr; 2] = ["192.0.2.1", "2001:db8::1"].map(|a| a.parse().unwrap());
        let mut plan = Plan::default();
        plan.set(one, Use::Drained("one".into()));
        assert_eq!(plan.of(&[two]), Use::Free);
        assert_eq!(plan.of(&[two, one]).name(), "drained");
        plan.set(two, Use::Paused("two".into()));
        assert_eq!(plan.of(&[one, two]).name(), "paused");
        plan.set(one, Use::Free);
        plan.set(two, Use::Free);
        assert_eq!(plan, Plan::default());
    }
}
