//! A decision as it stands in the file: one JSON object a line.

use super::prepare::Prepared;
use crate::rules::{
    replay::{Action, Decision},
    suspension::Standing,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    seq: u64,
    action: &'static str,
    rcpts: Vec<&'static str>,
    suspend: Vec<&'a str>,
    flag: Vec<&'a str>,
    spam: bool,
    score: f32,
    points: f32,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    signals: BTreeMap<&'static str, f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'static str>,
}

impl<'a> Line<'a> {
    pub(super) fn new(event: &'a Prepared, decision: &Decision) -> Self {
        let became = |wanted: fn(Standing) -> bool| {
            let changes = decision.account.iter().any(|change| wanted(change.to));
            if changes { vec![event.identity.as_str()] } else { Vec::new() }
        };
        let reasons = if decision.account.is_empty() { &[][..] } else { &decision.reasons };
        Self {
            seq: event.seq,
            action: word(decision.action),
            rcpts: decision
                .passed
                .iter()
                .map(|&passed| word_of_recipient(decision.action, passed))
                .collect(),
            suspend: became(Standing::is_shut),
            flag: became(|to| matches!(to, Standing::Warned | Standing::Throttled { .. })),
            spam: event.is_spam,
            score: event.text.score.unwrap_or_default(),
            points: decision.points,
            reason: reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            signals: signals(decision),
            tenant: decision.tenant.map(|change| change.to.name()),
            client: decision.client.map(|change| change.to.name()),
        }
    }
}

/// The points by signal, where they led to something.
fn signals(decision: &Decision) -> BTreeMap<&'static str, f32> {
    if decision.account.is_empty() {
        return BTreeMap::new();
    }
    decision
        .evidence
        .by_weight()
        .into_iter()
        .map(|(signal, points)| (signal.name(), points))
        .collect()
}

const fn word(action: Action) -> &'static str {
    match action {
        Action::Accept => "accept",
        Action::Defer => "defer",
        Action::Reject => "reject",
    }
}

const fn word_of_recipient(action: Action, passed: bool) -> &'static str {
    match (action, passed) {
        (Action::Reject, _) => "reject",
        (Action::Accept, true) => "accept",
        _ => "defer",
    }
}
