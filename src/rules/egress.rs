//! Which of the provider's own addresses mail leaves by while some of them are on blocklists.
//!
//! A next hop says which addresses it stands for. What is confirmed to be listed, what the operator wants to follow from that,
//! and what was decided by hand make a [`Plan`]: mail goes by a way that is free, by a drained one only if no other takes it, and never by
//! a paused one. Pure; `watch` makes the plan anew whenever something of that changes, and `deliver` reads it for each mail.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

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
