//! The same text, or links to the same new site, from several accounts: one campaign through many stolen passwords, each of them
//! slow (snowshoe).
//!
//! Counts towards new recipients only: forms of one make send like texts, but to their owners. What an account was suspended for
//! weighs more than any number of accounts; a site weighs less than a text, because more than one campaign may lead to it.

use super::{
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
    prints::Spread,
};

/// Looks at how far a text has spread, and the sites that it leads to.
pub(super) fn look(
    attempt: &Attempt<'_>,
    text: Option<Spread>,
    site: Option<Spread>,
    new: u32,
) -> Option<Finding> {
    if new == 0 || attempt.text.is_automatic {
        return None;
    }
    let of_text = text.map_or(0.0, |spread| points(spread, &TEXT));
    let of_site = site.map_or(0.0, |spread| points(spread, &SITE));
    let (points, reason) = if of_text >= of_site {
        let Spread { accounts, is_spam } = text?;
        (of_text, Reason::SameText { accounts, is_spam })
    } else {
        let Spread { accounts, is_spam } = site?;
        (of_site, Reason::SameSite { accounts, is_spam })
    };
    (points > 0.0).then_some(Finding {
        signal: Signal::Spread,
        points,
        confidence: 1.0,
        kind: FindingKind::State,
        reason,
    })
}

/// Points for two, three and more accounts, and for what somebody was suspended for.
struct Weights {
    two: f32,
    three: f32,
    more: f32,
    spam: f32,
}

fn points(spread: Spread, weights: &Weights) -> f32 {
    let by_accounts = match spread.accounts {
        0 | 1 => 0.0,
        2 => weights.two,
        3 => weights.three,
        _ => weights.more,
    };
    if spread.is_spam { weights.spam.max(by_accounts) } else { by_accounts }
}

const TEXT: Weights = Weights { two: 0.5, three: 1.5, more: 3.0, spam: 3.5 };
const SITE: Weights = Weights { two: 0.5, three: 1.0, more: 2.0, spam: 2.5 };
