//! Recipients that the account never wrote to, against how often it usually writes to strangers.
//!
//! Whoever always writes to strangers (a shop, a newsletter, a help desk) gains nothing by it; whoever writes to the same forty people
//! and now to a hundred others does. From a place that is new as well, each weighs more.

use super::{
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
    place,
    profile::Profile,
};

/// Looks at the recipients of a message, `new` of which the account never wrote to.
pub(super) fn look(attempt: &Attempt<'_>, profile: &Profile, new: u32) -> Option<Finding> {
    let of = u32::try_from(attempt.recipients.len()).unwrap_or(u32::MAX);
    if of == 0 || attempt.is_null_sender {
        return None;
    }
    let is_away = place::look(attempt, profile).is_some_and(|found| found.points >= AWAY);
    let each = if is_away { NEW_AWAY } else { NEW * (1.0 - profile.new_share) };
    let each = if attempt.text.is_bulk { each / 2.0 } else { each };
    Some(Finding {
        signal: Signal::Novelty,
        points: each * super::float(new) - KNOWN * super::float(of - new),
        confidence: profile.familiarity(attempt.at),
        kind: FindingKind::Sum,
        reason: Reason::NewRecipients { new, of },
    })
}

/// Place points from which on a message comes from away.
const AWAY: f32 = 1.5;
const NEW: f32 = 0.25;
const NEW_AWAY: f32 = 0.4;
const KNOWN: f32 = 0.3;
