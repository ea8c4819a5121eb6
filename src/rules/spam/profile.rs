//! What is remembered of one account: how it usually behaves, and the points against it.
//!
//! Bounded and small; nothing is kept of an account that has not sent for [`FORGOTTEN_AFTER`]. The memory is written with what
//! `super::look` and `super::learn` are told and reads no clock.

use super::{
    attempt::{Answers, Attempt, Client},
    evidence::Evidence,
    habits::Habits,
    known::Known,
    places::Places,
    style::Style,
    tempo::Tempo,
};
use crate::{message::Fingerprint, types::Timestamp};
use std::{collections::VecDeque, time::Duration};

/// The memory of one account's behaviour.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Profile {
    /// Since when the account is known.
    pub since: Timestamp,
    /// When it sent last.
    pub last: Timestamp,
    /// Messages that went out.
    pub messages: u32,
    /// Whom it has written to.
    pub known: Known,
    /// Which part of its recipients is new, usually.
    pub new_share: f32,
    /// Where it comes from.
    pub places: Places,
    /// What its clients call themselves.
    pub greetings: Habits<u32>,
    /// When it sends how much.
    pub tempo: Tempo,
    /// Domains in From that are not its own.
    pub foreign_froms: VecDeque<u32>,
    /// What speaks against it.
    pub evidence: Evidence,
    /// What its texts are like.
    pub style: Style,
    /// The last texts that it sent while something spoke against it.
    pub prints: VecDeque<Fingerprint>,
    /// And the domains that they linked to.
    pub linked: VecDeque<u32>,
}

impl Profile {
    /// The memory of an account that sends for the first time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            since: now,
            last: now,
            messages: 0,
            known: Known::default(),
            new_share: NEW_SHARE_FIRST,
            places: Places::default(),
            greetings: Habits::default(),
            tempo: Tempo::default(),
            foreign_froms: VecDeque::new(),
            evidence: Evidence::default(),
            style: Style::default(),
            prints: VecDeque::new(),
            linked: VecDeque::new(),
        }
    }

    /// True if there is nothing left to remember.
    #[must_use]
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        now.since(self.last) >= FORGOTTEN_AFTER
    }

    /// How many octets the memory takes in the process.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.known.len() * size_of::<u16>()
            + self.places.size_bytes()
            + self.greetings.size_bytes()
            + self.tempo.size_bytes()
            + self.style.size_bytes()
            + (self.foreign_froms.len() + self.linked.len()) * size_of::<u32>()
            + self.prints.len() * size_of::<Fingerprint>()
    }

    /// How well the account is known, from 0 to 1: nothing is unusual for a stranger.
    #[must_use]
    pub fn familiarity(&self, now: Timestamp) -> f32 {
        let age = now.since(self.since).as_secs_f32() / FAMILIAR_AFTER.as_secs_f32();
        let messages = f32::from(u16::try_from(self.messages).unwrap_or(u16::MAX));
        age.min(1.0) * messages / (messages + FAMILIAR_MESSAGES)
    }

    /// How many of these recipients the account has never written to.
    #[must_use]
    pub fn count_new(&self, attempt: &Attempt<'_>) -> u32 {
        let new = attempt.recipients.iter().filter(|recipient| !self.known.has(recipient.key));
        u32::try_from(new.count()).unwrap_or(u32::MAX)
    }

    /// Takes note of how the account behaved, once the message went on.
    pub fn learn(&mut self, attempt: &Attempt<'_>, answers: &Answers) {
        self.last = attempt.at;
        if let Some(client) = attempt.client {
            self.learn_client(client, attempt.at);
        }
        if let Some(domain) = attempt.text.foreign_from {
            keep(&mut self.foreign_froms, domain, FOREIGN_FROMS_MAX);
        }
        if answers.taken > 0 {
            self.messages = self.messages.saturating_add(1);
            self.tempo.learn(answers.taken, attempt.at);
            self.learn_recipients(attempt);
        }
        if let Some(print) = attempt.text.print {
            self.learn_text(print, attempt);
        }
    }

    /// Begins anew after a person lifted a suspension: nothing of what led to it counts again.
    pub fn begin_anew(&mut self, now: Timestamp) {
        self.evidence = Evidence::default();
        self.places.forget_new(now);
        self.greetings.forget_new(now);
        self.prints.clear();
        self.linked.clear();
    }

    fn learn_client(&mut self, client: Client, now: Timestamp) {
        if let Some(place) = client.place {
            self.places.learn(place, self.since, now);
        }
        if let Some(greeting) = client.greeting {
            self.greetings.learn(greeting, self.since, now);
        }
    }

    fn learn_recipients(&mut self, attempt: &Attempt<'_>) {
        if attempt.is_null_sender {
            return;
        }
        for recipient in attempt.recipients {
            let is_new = !self.known.has(recipient.key);
            let step = if is_new { 1.0 - self.new_share } else { -self.new_share };
            self.new_share += step / NEW_SHARE_MEMORY;
            self.known.learn(recipient.key);
        }
    }

    fn learn_text(&mut self, print: Fingerprint, attempt: &Attempt<'_>) {
        let is_own = self.style.is_own(print, attempt.at);
        self.style.learn(print, attempt.at);
        if is_own || self.evidence.is_none() {
            return;
        }
        if self.prints.len() >= KEPT_PRINTS_MAX {
            self.prints.pop_front();
        }
        self.prints.push_back(print);
        for domain in attempt.text.linked() {
            keep(&mut self.linked, domain, KEPT_LINKED_MAX);
        }
    }
}

/// Keeps one more, and no more than so many.
fn keep(list: &mut VecDeque<u32>, one: u32, max: usize) {
    if list.contains(&one) {
        return;
    }
    if list.len() >= max {
        list.pop_front();
    }
    list.push_back(one);
}

/// An account that sends nothing for so long begins anew.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 86_400);
/// An account is known after so long …
const FAMILIAR_AFTER: Duration = Duration::from_secs(86_400);
/// … half as well after so many messages as it ever will be.
const FAMILIAR_MESSAGES: f32 = 5.0;
/// The share of new recipients that a stranger is believed to have.
const NEW_SHARE_FIRST: f32 = 0.8;
/// Over how many recipients the usual share is an average.
const NEW_SHARE_MEMORY: f32 = 100.0;
/// So many domains in From are remembered.
const FOREIGN_FROMS_MAX: usize = 8;
/// So many texts are kept for the day when the account is suspended for them.
const KEPT_PRINTS_MAX: usize = 8;
/// And so many domains that they linked to.
const KEPT_LINKED_MAX: usize = 8;
