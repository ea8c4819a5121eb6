//! How much each signal counts, and when a message is refused for its text.

use super::{
    answer::Patterns,
    evidence::{SIGNALS, Signal},
};
use crate::types::Span;

/// The thresholds of all signals; docs/signals.md has the measurements behind the defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Points are halved each time so long has passed.
    pub half_life: Span,
    /// Signals that are told and do not count.
    pub observe: Vec<Signal>,
    /// How many points a signal can have, in the order of [`Signal::ALL`]; 0 switches it off.
    pub caps: [f32; SIGNALS],
    /// One unknown recipient in so many is usual.
    pub unknown_usual: u32,
    /// Bits in which the fingerprints of similar texts differ at most.
    pub print_distance_max: u32,
    /// A message whose text scores so much is tagged.
    pub tag_score: f32,
    /// A message whose text scores so much is refused.
    pub refuse_score: f32,
    /// What next hops' answers mean.
    pub answers: Patterns,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            half_life: Span::from_secs(12 * 3_600),
            observe: Vec::new(),
            caps: Signal::ALL.map(cap_of),
            unknown_usual: 12,
            print_distance_max: 6,
            tag_score: 5.0,
            refuse_score: 15.0,
            answers: Patterns::default(),
        }
    }
}

impl Settings {
    /// How many points a signal can have now.
    #[must_use]
    pub fn cap(&self, signal: Signal) -> f32 {
        if self.observe.contains(&signal) { 0.0 } else { self.caps[signal as usize] }
    }
}

const fn cap_of(signal: Signal) -> f32 {
    match signal {
        Signal::UnknownRecipients
        | Signal::RemoteVerdicts
        | Signal::Traps
        | Signal::Spread
        | Signal::EgressListed => 5.0,
        Signal::Content | Signal::Place | Signal::Novelty | Signal::Listings => 4.0,
        Signal::Origin => 3.0,
        Signal::Greeting | Signal::GuessedLogin | Signal::Tempo => 2.0,
        Signal::Overrun => 1.0,
    }
}
