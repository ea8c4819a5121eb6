//! Attempts over a limit: a program that does not care whether it may.
//!
//! Weak alone, since the newsletter that is too long and the monitor that panics do the same; its cap says so.

use super::{
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
};

/// Looks at recipients that a limit refused.
pub(super) fn look(attempt: &Attempt<'_>) -> Option<Finding> {
    (attempt.over_limit > 0).then(|| Finding {
        signal: Signal::Overrun,
        points: EACH * super::float(attempt.over_limit),
        confidence: 1.0,
        kind: FindingKind::Sum,
        reason: Reason::OverLimit(attempt.over_limit),
    })
}

const EACH: f32 = 0.05;
