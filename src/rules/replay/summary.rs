//! What a replay comes to: who was noticed when and why, and what got through before.

use super::{Action, Decision, Message};
use crate::{
    rules::{spam::Evidence, suspension::Standing},
    types::{AccountId, Timestamp},
};
use std::collections::BTreeMap;

/// The outcome of a replay.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Messages.
    pub messages: u64,
    /// Recipients.
    pub recipients: u64,
    /// Messages of which at least one recipient was handed on.
    pub accepted: u64,
    /// Messages that were put off, in whole or in part.
    pub deferred: u64,
    /// Messages that were refused.
    pub rejected: u64,
    /// When the breaker opened.
    pub breaker_opened: Vec<Timestamp>,
    /// Accounts that were at least warned.
    pub suspects: BTreeMap<AccountId, Suspect>,
    relayed: BTreeMap<AccountId, u64>,
}

/// An account that was at least warned.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Suspect {
    /// When something was noticed first.
    pub noticed: Option<Timestamp>,
    /// When it was suspended first.
    pub suspended: Option<Timestamp>,
    /// How often it was suspended.
    pub suspensions: u32,
    /// Recipients handed on before the first suspension, since the account was seen first.
    pub recipients_before: u64,
    /// Messages refused since.
    pub refused: u64,
    /// What spoke against it at the first suspension.
    pub evidence: Evidence,
}

impl Summary {
    pub(super) fn suspended(&mut self, message: &Message<'_>, evidence: Evidence) {
        let before = self.relayed.get(message.account).copied().unwrap_or(0);
        let suspect = self.suspects.entry(message.account.clone()).or_default();
        suspect.suspensions += 1;
        if suspect.suspended.is_none() {
            suspect.suspended = Some(message.at);
            suspect.recipients_before = before;
            suspect.evidence = evidence;
        }
    }

    pub(super) fn breaker_opened(&mut self, at: Timestamp) {
        self.breaker_opened.push(at);
    }

    pub(super) fn count(&mut self, message: &Message<'_>, decision: &Decision) {
        let passed = decision.passed.iter().filter(|passed| **passed).count();
        self.messages += 1;
        self.recipients += u64::try_from(decision.passed.len()).unwrap_or(0);
        match decision.action {
            Action::Accept => {
                self.accepted += 1;
                self.deferred += u64::from(passed < decision.passed.len());
                let relayed = self.relayed.entry(message.account.clone()).or_default();
                *relayed += u64::try_from(passed).unwrap_or(0);
            }
            Action::Defer => self.deferred += 1,
            Action::Reject => self.rejected += 1,
        }
        if decision.standing().is_some_and(|standing| standing != Standing::Active) {
            let suspect = self.suspects.entry(message.account.clone()).or_default();
            suspect.noticed.get_or_insert(message.at);
        }
        if let (Action::Reject, Some(suspect)) =
            (decision.action, self.suspects.get_mut(message.account))
        {
            suspect.refused += 1;
        }
    }
}
