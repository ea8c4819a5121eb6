//! What the text is like: the score of the content rules, as evidence against the account.
//!
//! Counts towards new recipients only, because forwarded mail and forms carry what strangers wrote. A clean text removes a
//! little, so a newsletter that scores now and then stays at nothing.

use super::{
    Settings,
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
};

/// Looks at the score of the text.
pub(super) fn look(attempt: &Attempt<'_>, new: u32, settings: &Settings) -> Option<Finding> {
    let score = attempt.text.score.filter(|_| new > 0)?;
    let points = if score >= settings.tag_score { TAGGED } else { CLEAN };
    Some(Finding {
        signal: Signal::Content,
        points,
        confidence: 1.0,
        kind: FindingKind::Sum,
        reason: Reason::Content(score),
    })
}

const TAGGED: f32 = 1.0;
const CLEAN: f32 = -0.2;
