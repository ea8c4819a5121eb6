//! What a replay comes to, for people.

use crate::{
    cli::{remote::at_text, table::Table},
    rules::replay::{Summary, Suspect},
    types::AccountId,
};
use std::fmt::Write;

/// The totals, and the accounts that were noticed, those that were suspended first.
pub(super) fn text(summary: &Summary) -> String {
    let mut text = format!(
        "{} messages to {} recipients: {} accepted, {} put off, {} refused\n",
        summary.messages, summary.recipients, summary.accepted, summary.deferred, summary.rejected,
    );
    let suspended = summary.suspects.values().filter(|suspect| suspect.suspended.is_some()).count();
    let noticed = summary.suspects.len();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{noticed} accounts were noticed, {suspended} of them suspended");
    for at in &summary.breaker_opened {
        let _ = writeln!(
            text,
            "the breaker opened at {}: nobody was suspended from then on",
            at_text(*at)
        );
    }
    if noticed > 0 {
        text.push('\n');
        text.push_str(&table(summary).render(""));
    }
    text
}

fn table(summary: &Summary) -> Table {
    let mut suspects: Vec<(&AccountId, &Suspect)> = summary.suspects.iter().collect();
    suspects.sort_by_key(|(_, suspect)| {
        (suspect.suspended.is_none(), suspect.suspended, suspect.noticed)
    });
    let mut table =
        Table::new(&["ACCOUNT", "NOTICED", "SUSPENDED", "TIMES", "SENT BEFORE", "REFUSED", "WHY"]);
    for (account, suspect) in suspects.iter().take(ROWS_MAX) {
        let moment = |at: Option<_>| at.map(at_text).unwrap_or_default();
        table.row([
            account.to_string(),
            moment(suspect.noticed),
            moment(suspect.suspended),
            suspect.suspensions.to_string(),
            suspect.recipients_before.to_string(),
            suspect.refused.to_string(),
            why(suspect),
        ]);
    }
    table
}

fn why(suspect: &Suspect) -> String {
    let signals = suspect.evidence.by_weight();
    let words: Vec<String> =
        signals.iter().map(|(signal, points)| format!("{} {points:.1}", signal.name())).collect();
    words.join(", ")
}

/// The decisions' file has all of them.
const ROWS_MAX: usize = 500;
