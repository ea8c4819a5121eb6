//! Who is the likely cause of a listing: everybody who sent by the address in the time before it, ranked by what speaks against them.
//!
//! How much somebody sent is the least of it: a newsletter is most of the mail and none of the spam. What weighs is what the rules for
//! spam found at the time, complaints, recipients that do not exist, and texts that count as spam; volume decides among equals.
//! Weights are squared before they become shares, so that a thousand who are a little suspicious do not hide one who is very much so.

use crate::{
    rules::spam::{Evidence, Signal},
    types::{AccountId, TenantId},
};

/// What somebody did by an address in the time that is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Sender {
    /// Who.
    pub account: AccountId,
    /// Whose account that is.
    pub tenant: TenantId,
    /// Messages that the next hop took.
    pub messages: u64,
    /// Their recipients.
    pub recipients: u64,
    /// Recipients that it refused for good.
    pub refused: u64,
    /// Messages whose text counted as spam.
    pub spam: u64,
    /// The most points that the account had with any of the messages.
    pub points: f32,
    /// Complaints about the account in that time.
    pub complaints: u64,
    /// What is remembered of it now.
    pub evidence: Evidence,
}

/// A sender with its part in the blame.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspect {
    /// What it did.
    pub sender: Sender,
    /// What weighs against it, in points.
    pub weight: f32,
    /// Its share of the blame, 0 to 1.
    pub blame: f32,
    /// Its share of the recipients, 0 to 1.
    pub volume: f32,
    /// True if it is the likely cause, or one of several.
    pub is_likely: bool,
}

/// Ranks senders, the likeliest cause first; at most [`SUSPECTS_MAX`].
#[must_use]
pub fn rank(senders: Vec<Sender>) -> Vec<Suspect> {
    let all: u64 = senders.iter().map(|sender| sender.recipients).sum();
    let mut suspects: Vec<Suspect> =
        senders.into_iter().map(|sender| suspect(sender, all)).collect();
    let sum: f32 = suspects.iter().map(|suspect| suspect.weight * suspect.weight).sum();
    suspects.sort_by(|a, b| {
        b.weight.total_cmp(&a.weight).then_with(|| a.sender.account.cmp(&b.sender.account))
    });
    suspects.truncate(SUSPECTS_MAX);
    let first = suspects.first().map_or(0.0, |suspect| suspect.weight);
    for suspect in &mut suspects {
        suspect.blame = if sum > 0.0 { suspect.weight * suspect.weight / sum } else { 0.0 };
        suspect.is_likely = suspect.weight >= LIKELY_WEIGHT_MIN.max(first * LIKELY_PART);
    }
    suspects
}

fn suspect(sender: Sender, all: u64) -> Suspect {
    let volume = share(sender.recipients, all);
    let weight = weight(&sender) + volume * VOLUME_WEIGHT;
    Suspect { sender, weight, blame: 0.0, volume, is_likely: false }
}

/// What weighs against a sender, beside how much it sent.
fn weight(sender: &Sender) -> f32 {
    let tried = sender.recipients + sender.refused;
    let refused = share(sender.refused, tried);
    let unknown = if tried >= TRIED_MIN { (refused - REFUSED_USUAL).max(0.0) } else { 0.0 };
    sender.points.max(sender.evidence.total())
        + sender.evidence.of(Signal::Traps)
        + up_to(sender.spam, SPAM_MAX) * SPAM_WEIGHT
        + up_to(sender.complaints, COMPLAINTS_MAX) * COMPLAINT_WEIGHT
        + unknown * UNKNOWN_WEIGHT
}

fn up_to(count: u64, max: u16) -> f32 {
    f32::from(u16::try_from(count).unwrap_or(u16::MAX).min(max))
}

/// A part of a whole, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "shares need no more than a float has")]
fn share(part: u64, of: u64) -> f32 {
    if of == 0 { 0.0 } else { part as f32 / of as f32 }
}

impl Suspect {
    /// What speaks against it, in words.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let sender = &self.sender;
        let (recipients, percent) = (sender.recipients, self.volume * 100.0);
        let mut reasons = vec![format!("{recipients} recipients ({percent:.0} % of all)")];
        let points = sender.points.max(sender.evidence.total());
        if points >= SHOWN_POINTS_MIN {
            reasons.push(format!("{points:.1} points"));
        }
        let signals = sender.evidence.by_weight().into_iter();
        let shown = signals.filter(|(_, points)| *points >= SHOWN_POINTS_MIN);
        reasons.extend(shown.map(|(signal, points)| format!("{} {points:.1}", signal.name())));
        for (count, what) in [
            (sender.spam, "texts like spam"),
            (sender.refused, "recipients refused"),
            (sender.complaints, "complaints"),
        ] {
            if count > 0 {
                reasons.push(format!("{count} {what}"));
            }
        }
        reasons
    }
}

/// How many are told.
pub const SUSPECTS_MAX: usize = 5;
/// Less weight is no cause: an account that is warned has as much.
const LIKELY_WEIGHT_MIN: f32 = 3.0;
/// Who has this part of the first one's weight is a likely cause, too.
const LIKELY_PART: f32 = 0.6;
const VOLUME_WEIGHT: f32 = 1.0;
const SPAM_WEIGHT: f32 = 0.25;
const SPAM_MAX: u16 = 20;
const COMPLAINT_WEIGHT: f32 = 1.0;
const COMPLAINTS_MAX: u16 = 5;
const UNKNOWN_WEIGHT: f32 = 8.0;
/// One in so many refused recipients is usual, and of few no share is known.
const REFUSED_USUAL: f32 = 0.08;
const TRIED_MIN: u64 = 10;
const SHOWN_POINTS_MIN: f32 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(account: &str, recipients: u64) -> Sender {
        Sender {
            account: account.parse().unwrap(),
            tenant: "shop.example".parse().unwrap(),
            messages: recipients,
            recipients,
            refused: 0,
            spam: 0,
            points: 0.0,
            complaints: 0,
            evidence: Evidence::default(),
        }
    }

    fn likely(senders: Vec<Sender>) -> Vec<String> {
        let suspects = rank(senders).into_iter().filter(|suspect| suspect.is_likely);
        suspects.map(|suspect| suspect.sender.account.to_string()).collect()
    }

    #[test]
    fn the_thief_is_named_before_the_newsletter() {
        let mut senders: Vec<Sender> = (0..500)
            .map(|n| Sender { points: 0.4, ..sender(&format!("u{n}@x.example"), 20) })
            .collect();
        senders.push(sender("news@shop.example", 50_000));
        senders.push(Sender { points: 6.5, spam: 12, ..sender("thief@shop.example", 40) });
        let suspects = rank(senders.clone());
        assert_eq!(suspects.len(), SUSPECTS_MAX);
        assert_eq!(suspects[0].sender.account.as_str(), "thief@shop.example");
        assert!(suspects[0].blame > 0.3, "{:?}", suspects[0]);
        assert_eq!(likely(senders), ["thief@shop.example"]);
        let said = suspects[0].reasons().join(", ");
        assert_eq!(said, "40 recipients (0 % of all), 6.5 points, 12 texts like spam");
    }

    #[test]
    fn nobody_is_named_where_nothing_speaks_against_anybody() {
        assert!(likely(vec![sender("a@x.example", 10), sender("b@x.example", 10_000)]).is_empty());
        assert!(rank(Vec::new()).is_empty());
        let silent = rank(vec![sender("a@x.example", 0)]);
        assert_eq!((silent[0].blame, silent[0].volume), (0.0, 0.0));
    }

    #[test]
    fn each_kind_of_evidence_names_its_sender() {
        let plain = || sender("a@x.example", 100);
        let of = |bad: Sender| likely(vec![plain(), bad]);
        let bad = || sender("b@x.example", 100);
        assert_eq!(of(Sender { refused: 100, ..bad() }), ["b@x.example"]);
        assert!(of(Sender { refused: 9, ..bad() }).is_empty());
        assert_eq!(of(Sender { complaints: 3, ..bad() }), ["b@x.example"]);
        assert_eq!(of(Sender { spam: 15, ..bad() }), ["b@x.example"]);
        assert_eq!(of(Sender { points: 4.0, ..bad() }), ["b@x.example"]);
    }

    #[test]
    fn several_thieves_are_all_named() {
        let thief = |name: &str, points| Sender { points, ..sender(name, 30) };
        let senders =
            vec![thief("a@x.example", 9.0), thief("b@x.example", 7.0), thief("c@x.example", 3.5)];
        assert_eq!(likely(senders), ["a@x.example", "b@x.example"]);
    }
}
