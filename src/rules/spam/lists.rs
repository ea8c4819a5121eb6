//! Lists: spam traps among the recipients, clients and links on blocklists.
//!
//! A trap is an address that nobody gave to anybody. Blocklists of clients hold many a home connection whose address an infected
//! neighbour had yesterday, so a listed client is a state that adds a little to other points, however often it is seen.

use super::{
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
};

/// Looks at traps.
pub(super) fn traps(attempt: &Attempt<'_>) -> Option<Finding> {
    let count = attempt.recipients.iter().filter(|recipient| recipient.is_trap).count();
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    (count > 0 && !attempt.is_null_sender).then(|| Finding {
        signal: Signal::Traps,
        points: TRAP * super::float(count),
        confidence: 1.0,
        kind: FindingKind::Sum,
        reason: Reason::Traps(count),
    })
}

/// Looks at blocklists; a link counts only towards recipients that are new, because forwarded mail has any.
pub(super) fn listings(attempt: &Attempt<'_>, new: u32) -> Option<Finding> {
    let client = attempt.client.is_some_and(|client| client.is_listed);
    let (points, reason) = match (attempt.text.has_listed_link && new > 0, client) {
        (true, true) => (LINK + CLIENT, Reason::LinkListed),
        (true, false) => (LINK, Reason::LinkListed),
        (false, true) => (CLIENT, Reason::ClientListed),
        (false, false) => return None,
    };
    Some(Finding {
        signal: Signal::Listings,
        points,
        confidence: 1.0,
        kind: FindingKind::State,
        reason,
    })
}

const TRAP: f32 = 4.0;
const LINK: f32 = 2.5;
const CLIENT: f32 = 2.0;
