//! What follows from what Rspamd and ClamAV say of a message.

use super::spam::content::Hit;
use crate::event::{Scanned, Scanner, Scans, SpamAction, SpamOpinion};
use serde::Deserialize;

/// What is done about their answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanPolicy {
    /// Rspamd's refusals are refusals; otherwise its opinion is only written down.
    pub rspamd_refuses: bool,
    /// Without an answer of Rspamd.
    pub rspamd_failure: OnFailure,
    /// Without an answer of ClamAV.
    pub clamav_failure: OnFailure,
}

/// What is done with a message that could not be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It goes on.
    #[default]
    Pass,
    /// It is put off.
    Defer,
}

/// Why a message does not go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objection<'a> {
    /// ClamAV found this in it.
    Virus(&'a str),
    /// Rspamd refuses it.
    Spam(&'a SpamOpinion),
    /// Rspamd puts it off.
    Suspicious(&'a SpamOpinion),
    /// It could not be looked into.
    Unscanned(Scanner),
}

/// The weightiest objection to a message; none: it may go on.
#[must_use]
pub fn objection<'a>(scans: &'a Scans, policy: &ScanPolicy) -> Option<Objection<'a>> {
    let opinion = match &scans.rspamd {
        Some(Scanned::Said(opinion)) if policy.rspamd_refuses => Some(opinion),
        _ => None,
    };
    let acts = |action| opinion.filter(|opinion| opinion.action == action);
    let virus = match &scans.clamav {
        Some(Scanned::Said(Some(name))) => Some(Objection::Virus(name)),
        _ => None,
    };
    virus
        .or_else(|| acts(SpamAction::Refuse).map(Objection::Spam))
        .or_else(|| acts(SpamAction::Defer).map(Objection::Suspicious))
        .or_else(|| unscanned(scans, policy).map(Objection::Unscanned))
}

/// Rspamd's opinion as one more content rule: what it would mark, put off or refuse has as many points as make spam of it.
#[must_use]
pub fn hit(scans: &Scans, tag_score: f32) -> Option<Hit> {
    let Some(Scanned::Said(opinion)) = &scans.rspamd else { return None };
    if opinion.action == SpamAction::Pass {
        return None;
    }
    let SpamOpinion { score, required, .. } = opinion;
    let says = format!("Rspamd scores it {score:.1} of {required:.1}").into();
    Some(Hit { rule: "rspamd".into(), says, points: tag_score })
}

fn unscanned(scans: &Scans, policy: &ScanPolicy) -> Option<Scanner> {
    let clamav = matches!(scans.clamav, Some(Scanned::Failed));
    let rspamd = matches!(scans.rspamd, Some(Scanned::Failed));
    [
        (Scanner::Clamav, clamav, policy.clamav_failure),
        (Scanner::Rspamd, rspamd, policy.rspamd_failure),
    ]
    .into_iter()
    .find_map(|(scanner, failed, then)| (failed && then == OnFailure::Defer).then_some(scanner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinion(action: SpamAction) -> Option<Scanned<SpamOpinion>> {
        Some(Scanned::Said(SpamOpinion { score: 7.5, required: 15.0, action, symbols: Vec::new() }))
    }

    fn found(name: &str) -> Option<Scanned<Option<String>>> {
        Some(Scanned::Said(Some(name.into())))
    }

    #[test]
    fn what_rspamd_would_mark_has_the_points_of_spam() {
        let scans = |rspamd| Scans { rspamd, clamav: None };
        let hit = hit(&scans(opinion(SpamAction::Mark)), 4.5).unwrap();
        assert_eq!((&*hit.says, hit.points), ("Rspamd scores it 7.5 of 15.0", 4.5));
        for rspamd in [None, Some(Scanned::Failed), opinion(SpamAction::Pass)] {
            assert_eq!(super::hit(&scans(rspamd), 4.5), None);
        }
    }

    #[test]
    fn the_weightiest_objection_counts_and_failures_do_what_the_operator_wants() {
        let lax = ScanPolicy {
            rspamd_refuses: true,
            rspamd_failure: OnFailure::Pass,
            clamav_failure: OnFailure::Pass,
        };
        let strict = ScanPolicy {
            rspamd_failure: OnFailure::Defer,
            clamav_failure: OnFailure::Defer,
            ..lax
        };
        let deaf = ScanPolicy { rspamd_refuses: false, ..lax };
        let clean = Some(Scanned::Said(None));
        let word = |found: Option<Objection<'_>>| match found {
            None => String::from("pass"),
            Some(Objection::Virus(name)) => format!("virus {name}"),
            Some(Objection::Spam(_)) => "spam".into(),
            Some(Objection::Suspicious(_)) => "suspicious".into(),
            Some(Objection::Unscanned(scanner)) => format!("unscanned {scanner}"),
        };
        for (rspamd, clamav, policy, wanted) in [
            (None, None, strict, "pass"),
            (opinion(SpamAction::Pass), clean.clone(), strict, "pass"),
            (opinion(SpamAction::Mark), clean.clone(), strict, "pass"),
            (opinion(SpamAction::Refuse), clean.clone(), lax, "spam"),
            (opinion(SpamAction::Defer), clean.clone(), lax, "suspicious"),
            (opinion(SpamAction::Refuse), clean.clone(), deaf, "pass"),
            (opinion(SpamAction::Refuse), found("Eicar"), deaf, "virus Eicar"),
            (opinion(SpamAction::Refuse), found("Eicar"), lax, "virus Eicar"),
            (opinion(SpamAction::Refuse), Some(Scanned::Failed), strict, "spam"),
            (Some(Scanned::Failed), clean.clone(), lax, "pass"),
            (Some(Scanned::Failed), clean, strict, "unscanned rspamd"),
            (Some(Scanned::Failed), Some(Scanned::Failed), strict, "unscanned clamav"),
            (Some(Scanned::Failed), Some(Scanned::Failed), lax, "pass"),
        ] {
            let scans = Scans { rspamd, clamav };
            assert_eq!(word(objection(&scans, &policy)), wanted, "{scans:?} {policy:?}");
        }
    }
}
