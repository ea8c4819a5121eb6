//! The next hop called it spam: the one judge who sees what the recipients' servers see.
//!
//! Forwarded mail and forms hand on what strangers wrote, to the few who asked for it; so an answer counts only where a recipient is new
//! to the account. Each message that is taken removes a fiftieth of a point: a list of thousands meets a filter now and
//! then.

use super::{
    attempt::{Answers, Attempt, Refused},
    evidence::{Finding, FindingKind, Reason, Signal},
};

/// Looks at the answer to the text.
pub(super) fn look(attempt: &Attempt<'_>, new: u32, answers: &Answers) -> Option<Finding> {
    if new == 0 || attempt.recipients.is_empty() {
        return None;
    }
    let (points, for_good) = match answers.called_spam {
        Some(Refused::ForGood) => (FOR_GOOD, true),
        Some(Refused::ForNow) => (FOR_NOW, false),
        None => (TAKEN, false),
    };
    Some(Finding {
        signal: Signal::RemoteVerdicts,
        points,
        confidence: 1.0,
        kind: FindingKind::Sum,
        reason: Reason::CalledSpam { for_good },
    })
}

const FOR_GOOD: f32 = 2.5;
const FOR_NOW: f32 = 1.5;
const TAKEN: f32 = -0.02;
