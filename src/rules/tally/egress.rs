//! What is counted of the addresses that mail left by: who sent by each, for whoever looks for the cause of a listing.

use super::{Hour, Whose};
use crate::event::{MessageReport, Outcome};
use std::net::IpAddr;

/// One sender's hour at one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EgressKey {
    /// The address.
    pub address: IpAddr,
    /// The hour.
    pub hour: Hour,
    /// Who sent.
    pub whose: Whose,
}

/// What it sent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EgressShare {
    /// Messages that the next hop took, or may have.
    pub messages: u64,
    /// Their recipients.
    pub recipients: u64,
    /// Recipients that it refused for good.
    pub refused: u64,
    /// Messages whose text counted as spam.
    pub spam: u64,
    /// The most points that the sender had with any of them.
    pub points: f32,
}

impl EgressShare {
    pub(super) fn note(&mut self, report: &MessageReport) {
        let is_taken = matches!(report.outcome, Outcome::Sent | Outcome::Unknown);
        self.messages += u64::from(is_taken);
        self.recipients += u64::from(report.recipients_sent);
        self.refused += u64::from(report.recipients_refused);
        if let Some(judgement) = &report.judgement {
            self.spam += u64::from(judgement.is_spam);
            self.points = self.points.max(judgement.points);
        }
    }
}
