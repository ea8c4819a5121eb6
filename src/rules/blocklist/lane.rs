//! One list over time: its own tests, the rows of what is watched, and when it is asked what.
//!
//! A list is asked one thing at a time, at least [`GAP`] apart. It is tested first, then every hour: its entries that must be
//! listed, those that must not be, and a random address or name, because a zone that lists the world knows 127.0.0.1 too. While
//! a test fails nothing that it says counts. A list that refuses is left alone for [`REST`].

use super::{
    Answer, Change, Doubt, Finding, Kind, List, QueryName, Standing, Subject, judge,
    standing::AGREE_AFTER,
};
use crate::types::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

/// A list with what is watched on it.
#[derive(Debug, Clone)]
pub struct Lane {
    list: Arc<List>,
    interval: Duration,
    rows: Vec<Row>,
    health: Health,
    /// How many tests in a row nobody answered.
    pub(super) silent_rounds: u32,
    /// What was told of its health.
    pub(super) told: Option<Impairment>,
    round: Vec<Probe>,
    round_due: Timestamp,
    tested: Option<Timestamp>,
    is_busy: bool,
    free_at: Timestamp,
    rests_until: Option<Timestamp>,
    asks: Asks,
    urgent: VecDeque<(u64, Subject)>,
    /// Of these rows the list is asked why.
    reasons: VecDeque<Subject>,
    queries: u64,
}

/// A subject on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is watched.
    pub subject: Subject,
    /// What is remembered of it.
    pub saved: Saved,
    due: Timestamp,
}

/// Who asks about what is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// This program.
    Here,
    /// Another node, which says what it found; here only the list itself is tested.
    Elsewhere,
}

/// What is remembered of a row across restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// What is believed.
    pub standing: Standing,
    /// When it was asked last.
    pub checked: Option<Timestamp>,
    /// What was found then.
    pub found: Option<Finding>,
    /// What the list says to people (its TXT record).
    pub reason: Option<String>,
}

/// Whether a list can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It was not tested yet.
    Untested,
    /// Its last test was right.
    Well,
    /// It was not.
    Impaired(Impairment),
}

/// What is wrong with a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impairment {
    /// An entry that it must have is not there.
    Empty,
    /// It lists what it must not.
    ListsAll,
    /// There is an answer about its test entry, but none that counts, or none at all.
    Doubtful(Doubt),
    /// There is such an answer about something that is watched.
    Unexplained(Doubt),
}

impl Impairment {
    /// Nobody answers: the list's servers, or the resolver, may be gone.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::Doubtful(Doubt::NoAnswer(_)))
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("its test entry is not listed: it may be closed"),
            Self::ListsAll => f.write_str("it lists what it must not: it may list everything"),
            Self::Doubtful(doubt) => write!(f, "its test entry cannot be looked up: {doubt}"),
            Self::Unexplained(doubt) => write!(f, "it says what cannot be understood: {doubt}"),
        }
    }
}

/// What is to be done with a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask this; the answer goes to [`Lane::answered`].
    Ask(Question),
    /// Nothing before this moment, unless something changes.
    Wait(Timestamp),
}

/// Something to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: QueryName,
    /// For what.
    pub record: Record,
    /// Why.
    pub purpose: Purpose,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A.
    Address,
    /// TXT.
    Text,
}

/// Why something is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// The list is tested.
    Test,
    /// A row is due.
    Row(Subject),
    /// The list's reason for having it.
    Reason(Subject),
    /// Somebody wants to know now.
    Now(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Probe {
    labels: Box<str>,
    must_be_listed: bool,
}

impl Lane {
    /// A list on which these are watched, with what is remembered of them. `start` is when it may be asked first.
    #[must_use]
    pub fn new(
        list: Arc<List>,
        interval: Duration,
        rows: Vec<(Subject, Option<Saved>)>,
        start: Timestamp,
    ) -> Self {
        let row = |(subject, saved): (Subject, Option<Saved>)| {
            let saved = saved.unwrap_or_default().not_after(start);
            let due = saved.checked.map_or(start, |checked| checked + interval);
            let due =
                saved.standing.pending.map_or(due, |pending| due.min(pending.first + AGREE_AFTER));
            Row { subject, saved, due: due.max(start) }
        };
        Self {
            rows: rows.into_iter().map(row).collect(),
            list,
            interval,
            health: Health::Untested,
            silent_rounds: 0,
            told: None,
            round: Vec::new(),
            round_due: start,
            tested: None,
            is_busy: false,
            free_at: start,
            rests_until: None,
            asks: Asks::Here,
            urgent: VecDeque::new(),
            reasons: VecDeque::new(),
            queries: 0,
        }
    }

    /// From now on it is asked about what is watched here, or elsewhere.
    pub const fn leave_to(&mut self, asks: Asks) {
        self.asks = asks;
    }

    /// Takes over what another node found; true if that is news.
    pub fn take_over(&mut self, subject: &Subject, saved: &Saved) -> bool {
        let Some(row) = self.rows.iter_mut().find(|row| row.subject == *subject) else {
            return false;
        };
        if row.saved == *saved {
            return false;
        }
        row.due = row.due.max(saved.checked.map_or(row.due, |checked| checked + self.interval));
        row.saved = saved.clone();
        true
    }

    /// The list.
    #[must_use]
    pub const fn list(&self) -> &Arc<List> {
        &self.list
    }

    /// What is watched on it.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether it can be believed.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// When it was tested last.
    #[must_use]
    pub const fn tested(&self) -> Option<Timestamp> {
        self.tested
    }

    /// Until when it is left alone, if it refused.
    #[must_use]
    pub const fn rests_until(&self) -> Option<Timestamp> {
        self.rests_until
    }

    /// How often it was asked something.
    #[must_use]
    pub const fn queries(&self) -> u64 {
        self.queries
    }

    /// Wants to know something now. False if it cannot be asked: it rests, is not believed, or too many wait.
    pub fn ask_now(&mut self, ticket: u64, subject: &Subject) -> bool {
        let may = self.health == Health::Well
            && self.rests_until.is_none()
            && self.urgent.len() < URGENT_MAX;
        if may {
            self.urgent.push_back((ticket, subject.clone()));
        }
        may
    }

    /// Has it tested soon, unless that was done a moment ago.
    pub fn test_soon(&mut self, now: Timestamp) {
        if self.tested.is_none_or(|tested| now >= tested + RETRY) {
            self.round_due = self.round_due.min(now);
        }
    }

    /// Nobody answered, and that was not its fault: it is tested at once, and its silence counts anew.
    pub(super) fn forgive(&mut self) {
        if self.silent_rounds > 0 {
            (self.silent_rounds, self.round_due) = (0, Timestamp::EPOCH);
        }
    }

    /// What to do now; `chance` is a random number.
    pub fn next(&mut self, now: Timestamp, chance: u64) -> Step {
        if self.is_busy {
            return Step::Wait(now + self.interval);
        }
        if self.rests_until.is_some_and(|until| now >= until) {
            self.rests_until = None;
        }
        let free_at = self.rests_until.unwrap_or(self.free_at).max(self.free_at);
        if now < free_at {
            return Step::Wait(free_at);
        }
        let Some(question) = self.wanted(now, chance) else { return Step::Wait(self.next_due()) };
        self.is_busy = true;
        self.queries += 1;
        self.free_at = now + GAP + Duration::from_millis(chance % GAP_JITTER_MILLIS);
        Step::Ask(question)
    }

    fn wanted(&mut self, now: Timestamp, chance: u64) -> Option<Question> {
        if let Some((ticket, subject)) = self.urgent.pop_front() {
            return self.question(&subject.labels(), Record::Address, Purpose::Now(ticket));
        }
        if self.round.is_empty() && now >= self.round_due {
            self.round = self.probes(chance);
        }
        if let Some(probe) = self.round.first() {
            let labels = probe.labels.clone();
            return self.question(&labels, Record::Address, Purpose::Test);
        }
        if self.health != Health::Well || self.asks == Asks::Elsewhere {
            return None;
        }
        if let Some(subject) = self.reasons.pop_front() {
            return self.question(&subject.labels(), Record::Text, Purpose::Reason(subject));
        }
        let due = self.rows.iter().filter(|row| row.due <= now).min_by_key(|row| row.due)?;
        let subject = due.subject.clone();
        self.question(&subject.labels(), Record::Address, Purpose::Row(subject))
    }

    fn next_due(&self) -> Timestamp {
        let asks = self.health == Health::Well && self.asks == Asks::Here;
        let rows = self.rows.iter().filter(|_| asks).map(|row| row.due);
        rows.min().map_or(self.round_due, |due| due.min(self.round_due))
    }

    fn question(&self, labels: &str, record: Record, purpose: Purpose) -> Option<Question> {
        Some(Question { name: self.list.query(labels)?, record, purpose })
    }

    /// The list's own entries, those that must be listed first, and something that nobody can have listed.
    fn probes(&self, chance: u64) -> Vec<Probe> {
        let probe = |labels: &str, must_be_listed| Probe { labels: labels.into(), must_be_listed };
        let listed = self.list.listed.iter().map(|labels| probe(labels, true));
        let clean = self.list.clean.iter().map(|labels| probe(labels, false));
        let mut probes: Vec<Probe> = listed.chain(clean).collect();
        for kind in self.list.kinds() {
            let labels = control(*kind, chance, |subject| self.watches(subject)).labels();
            probes.push(probe(&labels, false));
        }
        probes
    }

    #[cfg(test)]
    pub(super) fn probes_of(&self, chance: u64) -> Vec<String> {
        self.probes(chance).into_iter().map(|probe| probe.labels.into()).collect()
    }

    fn watches(&self, subject: &Subject) -> bool {
        self.rows.iter().any(|row| row.subject == *subject)
    }

    /// Takes an answer. Says what changed of a row; for a question that somebody asked, what was found is the caller's to tell.
    pub fn answered(
        &mut self,
        question: &Question,
        answer: &Answer,
        now: Timestamp,
        chance: u64,
    ) -> (Finding, Option<Change>) {
        self.is_busy = false;
        let found = judge(&self.list, answer);
        if matches!(found, Finding::Unknown(Doubt::Refusal(_))) {
            self.rests_until = Some(now + REST);
        }
        let change = match &question.purpose {
            Purpose::Test => {
                self.tested_one(&found, now);
                None
            }
            Purpose::Row(subject) => self.checked(subject, &found, now, chance),
            Purpose::Reason(_) | Purpose::Now(_) => None,
        };
        (found, change)
    }

    /// Takes note of what the list answered to somebody else. What speaks against an answer is looked into; so is a listing, now and
    /// then, because a list that lists the world would be believed until its next test.
    pub(super) fn overheard(&mut self, found: &Finding, now: Timestamp) {
        match found {
            Finding::Clean => {}
            Finding::Listed(_) => self.test_soon(now),
            Finding::Unknown(doubt) => {
                if matches!(doubt, Doubt::Refusal(_)) {
                    self.rests_until = Some(now + REST);
                }
                self.doubt(*doubt, now);
            }
        }
    }

    /// Takes what a list says to people of a subject, or nothing.
    pub fn reasoned(&mut self, subject: &Subject, text: Option<String>) {
        self.is_busy = false;
        if let Some(row) = self.rows.iter_mut().find(|row| row.subject == *subject) {
            row.saved.reason = text;
        }
    }

    fn tested_one(&mut self, found: &Finding, now: Timestamp) {
        if self.round.is_empty() {
            return;
        }
        let probe = self.round.remove(0);
        let impairment = match (probe.must_be_listed, found) {
            (true, Finding::Listed(_)) | (false, Finding::Clean) => None,
            (true, Finding::Clean) => Some(Impairment::Empty),
            (false, Finding::Listed(_)) => Some(Impairment::ListsAll),
            (_, Finding::Unknown(doubt)) => Some(Impairment::Doubtful(*doubt)),
        };
        match impairment {
            Some(impairment) => self.impair(impairment, now),
            None if self.round.is_empty() => {
                (self.health, self.silent_rounds) = (Health::Well, 0);
                (self.tested, self.round_due) = (Some(now), now + TEST_EVERY);
                for row in self.rows.iter_mut().filter(|row| row.is_unknown()) {
                    row.due = row.due.min(now);
                }
            }
            None => {}
        }
    }

    fn impair(&mut self, impairment: Impairment, now: Timestamp) {
        self.round.clear();
        self.tested = Some(now);
        self.health = Health::Impaired(impairment);
        self.silent_rounds = if impairment.is_silence() { self.silent_rounds + 1 } else { 0 };
        self.round_due = now + if impairment.is_silence() { RETRY } else { TEST_EVERY };
        for row in &mut self.rows {
            row.saved.found = Some(Finding::Unknown(match impairment {
                Impairment::Doubtful(doubt) | Impairment::Unexplained(doubt) => doubt,
                Impairment::Empty | Impairment::ListsAll => Doubt::Untrusted,
            }));
        }
    }

    fn checked(
        &mut self,
        subject: &Subject,
        found: &Finding,
        now: Timestamp,
        chance: u64,
    ) -> Option<Change> {
        if let Finding::Unknown(doubt) = found {
            self.doubt(*doubt, now);
        }
        let (interval, row) =
            (self.interval, self.rows.iter_mut().find(|row| row.subject == *subject)?);
        let before = row.saved.standing.listed().map(|(_, listed)| listed.addresses());
        let change = row.saved.standing.note(found, now);
        row.saved.checked = Some(now);
        row.saved.found = Some(found.clone());
        row.due = match (&row.saved.standing.pending, found) {
            (Some(pending), _) if now < pending.first + AGREE_AFTER => pending.first + AGREE_AFTER,
            (_, Finding::Unknown(Doubt::NoAnswer(_) | Doubt::NoData)) => now + RETRY,
            _ => now + with_jitter(interval, chance),
        };
        let codes = row.saved.standing.listed().map(|(_, listed)| listed.addresses());
        if codes.is_some() && codes != before {
            self.reasons.push_back(subject.clone());
        } else if codes.is_none() {
            row.saved.reason = None;
        }
        change
    }

    /// What may concern more than one row: a refusal does, silence is looked into.
    fn doubt(&mut self, doubt: Doubt, now: Timestamp) {
        match doubt {
            Doubt::Refusal(_) => self.impair(Impairment::Doubtful(doubt), now),
            Doubt::NoAnswer(_) | Doubt::Foreign(_) => self.test_soon(now),
            Doubt::UnknownCode(_) | Doubt::NoData | Doubt::Untrusted => {}
        }
    }

    /// An answer about a row that no table explains, though the list's tests are right.
    pub(super) fn unexplained(&self) -> Option<Impairment> {
        let found = self.rows.iter().filter_map(|row| row.saved.found.as_ref());
        let doubts = found.filter_map(|found| match found {
            Finding::Unknown(doubt @ (Doubt::UnknownCode(_) | Doubt::Foreign(_))) => Some(*doubt),
            _ => None,
        });
        doubts.map(Impairment::Unexplained).next()
    }
}

impl Row {
    const fn is_unknown(&self) -> bool {
        matches!(self.saved.found, Some(Finding::Unknown(_)))
    }
}

impl Saved {
    /// Moments that are still to come were written by a clock that is not in force any more.
    fn not_after(mut self, now: Timestamp) -> Self {
        self.checked = self.checked.map(|checked| checked.min(now));
        if let Some(pending) = &mut self.standing.pending {
            pending.first = pending.first.min(now);
        }
        self
    }
}

/// Nine to eleven tenths of an interval.
fn with_jitter(interval: Duration, chance: u64) -> Duration {
    let tenth = interval / 10;
    let part = u32::try_from(chance % 1_000).unwrap_or_default();
    interval - tenth + tenth * 2 * part / 1_000
}

/// An address of the networks that are kept for documentation (RFC 5737, RFC 3849), or a name that nobody can have registered
/// (RFC 6761 §6.5); not one that is watched.
fn control(kind: Kind, chance: u64, is_watched: impl Fn(&Subject) -> bool) -> Subject {
    let drawn = (0..CONTROL_DRAWS_MAX)
        .map(|turn| draw(kind, chance.wrapping_add(turn.wrapping_mul(SPREAD))));
    drawn.into_iter().find(|subject| !is_watched(subject)).unwrap_or_else(|| draw(kind, chance))
}

fn draw(kind: Kind, chance: u64) -> Subject {
    let [first, .., last] = chance.to_be_bytes();
    match kind {
        Kind::Ipv4 => {
            let network = DOCUMENTATION[usize::from(first) % DOCUMENTATION.len()];
            Subject::Address(IpAddr::V4(Ipv4Addr::new(network[0], network[1], network[2], last)))
        }
        Kind::Ipv6 => {
            let bits = (0x2001_0db8_u128 << 96) | u128::from(chance);
            Subject::Address(IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
        Kind::Domain => Subject::Domain(format!("tollgate-{chance:016x}.example").into()),
    }
}

const DOCUMENTATION: [[u8; 3]; 3] = [[192, 0, 2], [198, 51, 100], [203, 0, 113]];
const CONTROL_DRAWS_MAX: u64 = 512;
/// Leads from one draw to one that has nothing to do with it (2^64 by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Between two questions to one zone at least.
pub(super) const GAP: Duration = Duration::from_secs(2);
const GAP_JITTER_MILLIS: u64 = 500;
/// How long a zone is left alone that refused to answer.
const REST: Duration = Duration::from_secs(3_600);
const TEST_EVERY: Duration = Duration::from_secs(3_600);
/// When what had no answer is asked again.
pub(super) const RETRY: Duration = Duration::from_secs(300);
/// Questions that somebody waits for.
const URGENT_MAX: usize = 8;
