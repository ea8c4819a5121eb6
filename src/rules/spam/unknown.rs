//! Recipients that do not exist: a bought list has many, an address book has few.
//!
//! Each unknown one adds a point and each that is taken removes a twelfth ([`Settings::unknown_usual`]), so the points grow only while
//! more than one in thirteen is unknown: count and ratio in one number, with a minimum sample by itself. Bounces and
//! automatic replies answer whoever wrote, and forged senders do not exist: they do not count.

use super::{
    Settings,
    attempt::{Answers, Attempt},
    evidence::{Finding, FindingKind, Reason, Signal},
};

/// Looks at the answers to recipients.
pub(super) fn look(
    attempt: &Attempt<'_>,
    answers: &Answers,
    settings: &Settings,
) -> Option<Finding> {
    let of = answers.taken + answers.unknown;
    if of == 0 || attempt.is_null_sender {
        return None;
    }
    let usual = super::float(answers.taken) / super::float(settings.unknown_usual.max(1));
    Some(Finding {
        signal: Signal::UnknownRecipients,
        points: super::float(answers.unknown) - usual,
        confidence: 1.0,
        kind: FindingKind::Sum,
        reason: Reason::UnknownRecipients { unknown: answers.unknown, of },
    })
}
