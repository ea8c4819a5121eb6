//! The same text from several accounts: one campaign through many stolen passwords, each of them slow (snowshoe).
//!
//! Counts towards new recipients only: forms of one make send like texts, but to their owners. A text for which an account was
//! suspended weighs more than any number of accounts.

use super::{
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
    prints::Spread,
};

/// Looks at how far a text has spread.
pub(super) fn look(attempt: &Attempt<'_>, spread: Spread, new: u32) -> Option<Finding> {
    let says = spread.accounts > 1 || spread.is_spam;
    if new == 0 || attempt.text.is_automatic || !says {
        return None;
    }
    let by_accounts = match spread.accounts {
        0 | 1 => 0.0,
        2 => TWO,
        3 => THREE,
        _ => MORE,
    };
    Some(Finding {
        signal: Signal::Spread,
        points: if spread.is_spam { SPAM.max(by_accounts) } else { by_accounts },
        confidence: 1.0,
        kind: FindingKind::State,
        reason: Reason::SameText { accounts: spread.accounts, is_spam: spread.is_spam },
    })
}

const TWO: f32 = 0.5;
const THREE: f32 = 1.5;
const MORE: f32 = 3.0;
const SPAM: f32 = 3.5;
