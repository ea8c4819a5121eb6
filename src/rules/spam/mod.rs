//! Is this sender a spammer? One file a signal, and what they are counted into.
//!
//! Pure: a message is shown as an [`Attempt`], the account's [`Profile`] and the gate's [`Shared`] memory stand beside it, and
//! time is in the attempt. [`look`] is asked before a message goes on, [`learn`] is told what became of it; what they find is a
//! list of [`Finding`]s and the account's [`Evidence`], which `rules::suspension` acts on. An answer of the next hop
//! counts only if the message was handed on. No recipient and no sender name switches anything off: what exempts is
//! conduct, such as writing to whom one wrote before.

mod answer;
mod attempt;
pub mod content;
mod evidence;
mod greeting;
mod guessed;
mod habits;
mod hosts;
mod known;
mod lists;
mod novelty;
mod origin;
mod overrun;
mod place;
mod places;
mod prints;
mod profile;
mod settings;
mod shared;
mod spread;
mod style;
mod tables;
mod tempo;
#[cfg(test)]
mod tests;
mod text;
mod unknown;
mod verdicts;

pub use answer::{Patterns, Says};
pub use attempt::{Answers, Attempt, Beside, Client, LINKED_MAX, Recipient, Refused, Text};
pub use evidence::{Evidence, Finding, FindingKind, Reason, SIGNALS, Signal};
pub use greeting::form_of;
pub use habits::{HABITS_MAX, Habits};
pub use hosts::{HOSTS_MAX, Hosts};
pub use known::{KNOWN_MAX, Known};
pub use places::{Place, Places};
pub use prints::{PRINTS_MAX, Prints, Spread};
pub use profile::{FORGOTTEN_AFTER, Profile};
pub use settings::Settings;
pub use shared::Shared;
pub use style::{STYLE_MAX, Style};
pub use tables::{LineError, Networks, Traps};
pub use tempo::Tempo;

use crate::types::Timestamp;

/// What was found about a message before it goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// What each signal says.
    pub findings: Vec<Finding>,
    /// The account's points with them.
    pub evidence: Evidence,
}

/// Looks at a message that is about to go on; `account` is the hash of its account's name.
#[must_use]
pub fn look(
    profile: &Profile,
    shared: &Shared,
    account: u32,
    attempt: &Attempt<'_>,
    settings: &Settings,
) -> Look {
    let new = profile.count_new(attempt);
    let is_own = attempt.text.print.is_some_and(|print| profile.style.is_own(print, attempt.at));
    let text = shared.spread(attempt, account, settings).filter(|_| !is_own);
    let site = shared.spread_of_sites(attempt, account);
    let found = [
        place::look(attempt, profile),
        greeting::look(attempt, profile),
        guessed::look(attempt, profile),
        tempo::look(attempt, profile, new),
        novelty::look(attempt, profile, new),
        origin::look(attempt, profile, new),
        lists::traps(attempt),
        lists::listings(attempt, new),
        spread::look(attempt, text, site, new),
        text::look(attempt, new, settings),
        overrun::look(attempt),
    ];
    count(profile.evidence, attempt, found.into_iter().flatten(), settings)
}

/// Looks at what became of a message that went on, with the evidence of [`look`].
#[must_use]
pub fn look_back(
    profile: &Profile,
    attempt: &Attempt<'_>,
    answers: &Answers,
    evidence: Evidence,
    settings: &Settings,
) -> Look {
    let new = profile.count_new(attempt);
    let found = [unknown::look(attempt, answers, settings), verdicts::look(attempt, new, answers)];
    count(evidence, attempt, found.into_iter().flatten(), settings)
}

/// What a listing adds to the evidence against its likely cause, which has this share of the blame, 0 to 1.
#[must_use]
pub fn accuse(profile: &Profile, blame: f32, at: Timestamp, settings: &Settings) -> Look {
    let mut evidence = profile.evidence;
    evidence.fade(at, settings);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
    let percent = (blame.clamp(0.0, 1.0) * 100.0).round() as u8;
    let finding = Finding {
        signal: Signal::EgressListed,
        points: 5.0,
        confidence: blame.clamp(0.5, 1.0),
        kind: FindingKind::Sum,
        reason: Reason::CausedListing(percent),
    };
    evidence.count(&finding, settings);
    Look { findings: vec![finding], evidence }
}

fn count(
    mut evidence: Evidence,
    attempt: &Attempt<'_>,
    found: impl Iterator<Item = Finding>,
    settings: &Settings,
) -> Look {
    evidence.fade(attempt.at, settings);
    let findings: Vec<Finding> = found.collect();
    for finding in &findings {
        evidence.count(finding, settings);
    }
    Look { findings, evidence }
}

/// Counts are far below what a float holds exactly.
fn float(count: u32) -> f32 {
    f32::from(u16::try_from(count).unwrap_or(u16::MAX))
}

/// FNV-1a with 32 bits: for names that are told apart in small tables.
#[must_use]
pub fn hash(name: &[u8]) -> u32 {
    name.iter()
        .fold(0x811c_9dc5, |hash, &octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193))
}
