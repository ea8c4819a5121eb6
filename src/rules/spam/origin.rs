//! Names in From that are not the account's: phishing under another's name, scripts that invent senders.
//!
//! A domain that the account used before says nothing (a form mailer writes the site's name, an assistant the manager's), and neither
//! does forwarded mail: what counts is a new name towards new recipients.

use super::{
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
    profile::Profile,
};

/// Looks at From.
pub(super) fn look(attempt: &Attempt<'_>, profile: &Profile, new: u32) -> Option<Finding> {
    let domain = attempt.text.foreign_from?;
    let is_new = !profile.foreign_froms.contains(&domain);
    (new > 0 && is_new && !attempt.is_null_sender).then(|| Finding {
        signal: Signal::Origin,
        points: FOREIGN,
        confidence: profile.familiarity(attempt.at),
        kind: FindingKind::Sum,
        reason: Reason::ForeignFrom,
    })
}

const FOREIGN: f32 = 1.0;
