//! A login that failed again and again until it did not: somebody tried passwords.
//!
//! From a place where the account is at home it was its owner, or the telephone that nobody told of the new password.

use super::{
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
    profile::Profile,
};

/// Looks at how the client got in.
pub(super) fn look(attempt: &Attempt<'_>, profile: &Profile) -> Option<Finding> {
    let client = attempt.client?;
    let is_at_home =
        client.place.is_some_and(|place| profile.places.knows_network(place.network, attempt.at));
    (client.failed_logins >= MANY && !is_at_home).then_some(Finding {
        signal: Signal::GuessedLogin,
        points: GUESSED,
        confidence: 1.0,
        kind: FindingKind::State,
        reason: Reason::FailedLogins(client.failed_logins),
    })
}

const GUESSED: f32 = 1.5;
/// Whoever forgot a password tries four.
const MANY: u32 = 5;
