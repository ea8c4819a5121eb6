//! From events to alerts: what lasts is one alert, however often it is seen, with a message when it begins, reminders while
//! it lasts and a message when it is over.
//!
//! Pure. The [`Book`] is fed with each event ([`Book::note`]) and now and then with the time ([`Book::turn`]); what changed
//! ([`Book::take`]) is written by the collector in one transaction with the events that caused it, so nothing is lost or
//! doubled by a crash, and [`Book::resume`] goes on from there. Moments are UTC. Who is told of what, and how, is not decided
//! here.

mod condition;
mod facts;
mod kind;
mod refusals;
mod routing;
#[cfg(test)]
mod tests;
mod text;
mod volume;

pub use condition::{About, Condition, Sign};
pub use facts::Facts;
pub use kind::{Kind, Rule, Severity, UnknownWord};
pub use routing::{Audience, QuietHours};
pub use text::{Words, words};
pub use volume::{VOLUME_ACCOUNTS_MAX, VolumeRow};

use crate::{
    event::Event,
    types::{AccountId, CaseId, SubjectId, TenantId, Timestamp},
};
use condition::NODE_MARK;
use refusals::Refusals;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use volume::Volume;

/// Something that lasts, or lasted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Alert {
    /// Its id: the same in all messages about it.
    pub id: String,
    /// What is the same for the same condition at any time: kind, whose, and what else tells it apart.
    pub key: String,
    /// What it is.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// How much it mattered when it was told first; none: as much.
    #[serde(default)]
    pub severity_first: Option<Severity>,
    /// Whose matter it is.
    pub about: About,
    /// The tenant whose matter it is, once that was looked up.
    #[serde(default)]
    pub tenant: Option<TenantId>,
    /// How far it has come.
    pub phase: Phase,
    /// When it was first seen.
    pub since: Timestamp,
    /// When it was last seen.
    pub last: Timestamp,
    /// How often it was seen.
    pub count: u64,
    /// When it is over, unless it is seen again before.
    pub ends: Option<Timestamp>,
    /// When it was over.
    pub over: Option<Timestamp>,
    /// When whoever was told is reminded.
    pub reminds: Option<Timestamp>,
    /// How many messages there were about it.
    pub told: u32,
    /// What was seen, last.
    pub facts: Facts,
}

/// How far an alert has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It was seen and has not lasted long enough to be told.
    Held,
    /// It lasts.
    Firing,
    /// It is over.
    Resolved,
}

impl Phase {
    /// The name as it stands in messages and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// A message about an alert, as it stood then.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Notice {
    /// The message's id: the same however often it is delivered.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Why it is sent.
    pub why: Why,
    /// The alert.
    pub alert: Alert,
}

/// Why a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It began.
    Raised,
    /// It became worse.
    Worse,
    /// It still lasts.
    Reminder,
    /// It is over.
    Resolved,
}

impl Why {
    /// The name as it stands in messages and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Worse => "worse",
            Self::Reminder => "reminder",
            Self::Resolved => "resolved",
        }
    }
}

/// What changed since it was asked last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Alerts as they stand now.
    pub alerts: Vec<Alert>,
    /// Ids of alerts that are gone before anybody was told.
    pub dropped: Vec<String>,
    /// Messages, in their order.
    pub notices: Vec<Notice>,
}

impl Changes {
    /// True if nothing changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.alerts.is_empty() && self.dropped.is_empty() && self.notices.is_empty()
    }
}

/// All that lasts now.
pub struct Book {
    /// By key.
    open: BTreeMap<String, Alert>,
    changed: BTreeSet<String>,
    out: Changes,
    volume: Volume,
    refusals: Refusals,
}

impl Book {
    /// An empty book of a program that starts now.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            open: BTreeMap::new(),
            changed: BTreeSet::new(),
            out: Changes::default(),
            volume: Volume::new(now),
            refusals: Refusals::default(),
        }
    }

    /// Goes on with the alerts of the process before: what was a state of that process is over unless it is seen again soon.
    #[must_use]
    pub fn resume(alerts: Vec<Alert>, now: Timestamp) -> Self {
        let mut book = Self::new(now);
        for mut alert in alerts {
            let key = alert.key.clone();
            if alert.kind.rule().is_own && alert.phase == Phase::Held {
                book.out.dropped.push(alert.id);
                continue;
            }
            if alert.kind.rule().is_own {
                let doubted = now + RESTART_DOUBT;
                alert.ends = Some(alert.ends.map_or(doubted, |ends| ends.min(doubted)));
                book.changed.insert(key.clone());
            }
            book.open.insert(key, alert);
        }
        book
    }

    /// Goes on with alerts of several nodes, of which this one keeps a copy.
    #[must_use]
    pub fn copy(alerts: Vec<Alert>, now: Timestamp) -> Self {
        let open = alerts.into_iter().map(|alert| (alert.key.clone(), alert)).collect();
        Self { open, ..Self::new(now) }
    }

    /// Remembers what accounts sent before the program started.
    pub fn remember(&mut self, rows: impl IntoIterator<Item = VolumeRow>) {
        self.volume.remember(rows);
    }

    /// Takes note of an event.
    pub fn note(&mut self, at: Timestamp, event: &Event) {
        for sign in self.seen_in(at, event) {
            self.take_note(at, sign);
        }
        // Messages are many, and all that they can say otherwise is that something is over.
        if self.open.is_empty() && matches!(event, Event::Message(_)) {
            return;
        }
        for sign in condition::signs(event) {
            self.take_note(at, sign);
        }
    }

    /// What an event says, for a book that hears of all nodes; this one only remembers what messages looked like.
    pub fn signs(&mut self, at: Timestamp, event: &Event, node: &str) -> Vec<Sign> {
        let mut signs = self.seen_in(at, event);
        signs.extend(condition::signs(event));
        signs.into_iter().map(|sign| sign.at_node(node)).collect()
    }

    /// Takes note of what an event said.
    pub fn take_note(&mut self, at: Timestamp, sign: Sign) {
        match sign {
            Sign::Raise(condition) => self.raise(at, *condition),
            Sign::Clear(key) => self.clear(at, &key),
        }
    }

    /// A node began anew, or is silent: what was a state of its own is over unless it is seen again soon.
    pub fn doubt(&mut self, at: Timestamp, node: &str) {
        let (doubted, suffix) = (at + RESTART_DOUBT, format!("{NODE_MARK}{node}"));
        for (key, alert) in &mut self.open {
            let is_later = alert.ends.is_none_or(|ends| doubted < ends);
            if alert.kind.rule().is_own && key.ends_with(&suffix) && is_later {
                alert.ends = Some(doubted);
                self.changed.insert(key.clone());
            }
        }
    }

    /// Forgets an account, with all alerts about it: nobody is told of them any more.
    pub fn forget_account(&mut self, account: &AccountId) {
        let is_about = |alert: &&Alert| {
            let about = alert.about.scope == "account" && alert.about.name == account.as_str();
            about || alert.facts.account.as_ref() == Some(account)
        };
        let gone: Vec<(String, String)> = self
            .open
            .values()
            .filter(is_about)
            .map(|alert| (alert.key.clone(), alert.id.clone()))
            .collect();
        for (key, id) in gone {
            self.forget(&key);
            self.out.dropped.push(id);
        }
        self.volume.forget(account);
    }

    /// What many messages say together.
    fn seen_in(&mut self, at: Timestamp, event: &Event) -> Vec<Sign> {
        let Event::Message(report) = event else { return Vec::new() };
        let seen = [self.volume.note(at, report), self.refusals.note(at, report)];
        seen.into_iter().flatten().map(|condition| Sign::Raise(Box::new(condition))).collect()
    }

    /// Lets time pass: alerts that have lasted long enough are told, those that are over end.
    pub fn turn(&mut self, now: Timestamp) {
        let due: Vec<String> =
            self.open.values().filter(|a| is_due(a, now)).map(|a| a.key.clone()).collect();
        for key in due {
            self.advance(&key, now);
        }
    }

    /// True if something changed since the last [`Book::take`].
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty() || !self.out.is_empty()
    }

    /// What changed since the last call.
    #[must_use]
    pub fn take(&mut self) -> Changes {
        let changed = std::mem::take(&mut self.changed);
        let mut out = std::mem::take(&mut self.out);
        let still_open = changed.iter().filter_map(|key| self.open.get(key)).cloned();
        out.alerts.extend(still_open);
        out
    }

    /// The alerts that last, by key.
    pub fn open(&self) -> impl Iterator<Item = &Alert> {
        self.open.values()
    }

    /// Who is suspended as far as the book knows, and under which case.
    #[must_use]
    pub fn suspended(&self) -> Vec<(SubjectId, CaseId)> {
        let of_suspensions = self.open.values().filter(|alert| alert.kind == Kind::Suspended);
        of_suspensions
            .filter_map(|alert| Some((alert.about.to_subject()?, alert.facts.case.clone()?)))
            .collect()
    }

    fn raise(&mut self, at: Timestamp, condition: Condition) {
        let key = condition.key();
        if let Some(alert) = self.open.get_mut(&key) {
            let notice = alert.see(at, condition);
            self.out.notices.extend(notice);
            self.changed.insert(key);
            return;
        }
        let room = if condition.kind.is_customers() { CUSTOMERS_ALERTS_MAX } else { ALERTS_MAX };
        if self.open.len() >= room {
            if condition.kind != Kind::TooManyAlerts && self.open.len() < ALERTS_MAX {
                self.raise(at, Condition::gate(Kind::TooManyAlerts));
            }
            return;
        }
        self.open.insert(key.clone(), Alert::new(at, condition));
        self.changed.insert(key.clone());
        self.advance(&key, at);
    }

    fn clear(&mut self, at: Timestamp, key: &str) {
        let Some(alert) = self.open.get_mut(key) else { return };
        if alert.phase == Phase::Held {
            let id = alert.id.clone();
            self.forget(key);
            self.out.dropped.push(id);
            return;
        }
        let ends = at + alert.kind.rule().calm;
        if alert.ends.is_none_or(|known| ends < known) {
            alert.ends = Some(ends);
            self.changed.insert(key.to_owned());
        }
        self.advance(key, at);
    }

    /// Does what is due for one alert.
    fn advance(&mut self, key: &str, now: Timestamp) {
        let Some(alert) = self.open.get_mut(key) else { return };
        if let Some(notice) = alert.advance(now) {
            self.out.notices.push(notice);
            self.changed.insert(key.to_owned());
        }
        if alert.phase == Phase::Resolved {
            let over = alert.clone();
            self.forget(key);
            self.out.alerts.push(over);
        }
    }

    fn forget(&mut self, key: &str) {
        self.open.remove(key);
        self.changed.remove(key);
    }
}

impl Alert {
    fn new(at: Timestamp, condition: Condition) -> Self {
        let key = condition.key();
        let mut alert = Self {
            id: id_of(&key, at),
            key,
            kind: condition.kind,
            severity: condition.severity,
            severity_first: None,
            about: condition.about,
            tenant: condition.tenant,
            phase: Phase::Held,
            since: at,
            last: at,
            count: 1,
            ends: None,
            over: None,
            reminds: None,
            told: 0,
            facts: condition.facts,
        };
        alert.ends = alert.fades(at, condition.lasts);
        alert
    }

    /// The condition was seen again.
    fn see(&mut self, at: Timestamp, condition: Condition) -> Option<Notice> {
        self.last = at;
        self.count += 1;
        self.ends = self.fades(at, condition.lasts);
        self.facts = condition.facts;
        let is_worse = condition.severity > self.severity && self.phase == Phase::Firing;
        if is_worse && self.severity_first.is_none() {
            self.severity_first = Some(self.severity);
        }
        self.severity = self.severity.max(condition.severity);
        is_worse.then(|| self.tell(at, Why::Worse))
    }

    fn fades(&self, at: Timestamp, lasts: Option<Duration>) -> Option<Timestamp> {
        lasts.or(self.kind.rule().fades).map(|length| at + length)
    }

    fn advance(&mut self, now: Timestamp) -> Option<Notice> {
        match self.phase {
            Phase::Held if now >= self.since + self.kind.rule().hold => {
                self.phase = Phase::Firing;
                Some(self.tell(now, Why::Raised))
            }
            Phase::Firing if self.ends.is_some_and(|ends| now >= ends) => {
                self.phase = Phase::Resolved;
                (self.reminds, self.over) = (None, Some(now));
                Some(self.tell(now, Why::Resolved))
            }
            Phase::Firing if self.reminds.is_some_and(|reminds| now >= reminds) => {
                Some(self.tell(now, Why::Reminder))
            }
            _ => None,
        }
    }

    fn tell(&mut self, at: Timestamp, why: Why) -> Notice {
        let id = format!("{}.{}", self.id, self.told);
        self.told += 1;
        if why != Why::Resolved {
            self.reminds = self.kind.rule().repeat.map(|every| at + every);
        }
        Notice { id, at, why, alert: self.clone() }
    }
}

/// A message that says nothing but that it arrived; of no book.
#[must_use]
pub fn test_notice(at: Timestamp) -> Notice {
    let mut alert = Alert::new(at, Condition::gate(Kind::Test));
    alert.phase = Phase::Firing;
    alert.tell(at, Why::Raised)
}

fn is_due(alert: &Alert, now: Timestamp) -> bool {
    match alert.phase {
        Phase::Held => now >= alert.since + alert.kind.rule().hold,
        Phase::Firing => [alert.ends, alert.reminds].into_iter().flatten().any(|at| now >= at),
        Phase::Resolved => false,
    }
}

/// The same for the same condition seen first at the same moment, and for no other.
fn id_of(key: &str, since: Timestamp) -> String {
    let hash = key
        .bytes()
        .fold(FNV_BASIS, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(FNV_PRIME));
    format!("{hash:016x}-{:x}", since.as_millis())
}

/// FNV-1a with 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Alerts that last at a time.
pub const ALERTS_MAX: usize = 1_000;
/// Those of customers among them, so that there is always room for what concerns the gate itself.
const CUSTOMERS_ALERTS_MAX: usize = 900;
/// How long after a restart a state of the process before is believed to last.
const RESTART_DOUBT: Duration = Duration::from_secs(600);
