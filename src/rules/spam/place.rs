//! A login from where the account never was.
//!
//! A new country weighs most, a data centre where a person used to be a little more, several new networks within a day a little more again; a
//! new network in a country that is known weighs little, because telephones change theirs. It is a state: it does not
//! grow with the number of messages, and travelling alone suspends nobody.

use super::{
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
    profile::Profile,
};

/// Looks at where a message comes from.
pub(super) fn look(attempt: &Attempt<'_>, profile: &Profile) -> Option<Finding> {
    let place = attempt.client?.place?;
    let (now, places) = (attempt.at, &profile.places);
    if places.knows_network(place.network, now) {
        return None;
    }
    let new_country = place.country.filter(|&country| !places.knows_country(country, now));
    let is_odd = place.is_hosting && !places.knows_hosting(now);
    let networks = places.count_new(now);
    let mut points = if new_country.is_some() { COUNTRY } else { NETWORK };
    points += if is_odd { HOSTING } else { 0.0 };
    points += if networks >= MANY { SEVERAL } else { 0.0 };
    Some(Finding {
        signal: Signal::Place,
        points,
        confidence: profile.familiarity(now),
        kind: FindingKind::State,
        reason: match new_country {
            Some(country) => Reason::NewCountry(country),
            None if networks >= MANY => Reason::ManyNetworks(networks),
            None => Reason::NewNetwork(place.network),
        },
    })
}

const COUNTRY: f32 = 3.0;
const NETWORK: f32 = 0.5;
const HOSTING: f32 = 1.0;
const SEVERAL: f32 = 0.5;
const MANY: u32 = 4;
