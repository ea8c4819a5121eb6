//! What is counted of events as they happen, so that no report reads messages.
//!
//! The [`Book`] is fed with each event and with the time that was listened to, and gives a [`Tally`] of what was added since
//! it was last asked: shares of accounts by hour, and what the whole gate did by minute. Whoever stores tallies adds them
//! up. A minute that was not listened to is a gap and not a zero ([`Minute::collected`]).
//!
//! Pure: moments are those of the events in UTC; the key that recipients are hashed with and the zone of days come from the caller.

pub mod calendar;
mod counts;
mod egress;
pub mod period;
mod sketch;
#[cfg(test)]
mod tests;
mod tops;

pub use counts::{Counts, Seen};
pub use egress::{EgressKey, EgressShare};
pub use sketch::{LISTED_MAX, RecipientKey, Sketch};
pub use tops::{Place, TOP_MAX, Top};

use crate::{
    event::{
        AnswerBy, Charged, Complaint, Event, LimitHit, LimitReached, MessageReport, Outcome,
        RecipientReport, Refusal, RefusalReason, Resumed, StandingChanged, Suspect, Suspended,
    },
    types::{AccountId, CaseId, ClientIp, Scope, Span, SubjectId, TenantId, Timestamp},
};
use calendar::{Day, Hour, Zone};
use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, time::Duration};

/// Folds events into a tally.
pub struct Book {
    zone: Zone,
    key: RecipientKey,
    tally: Tally,
    /// Warnings of accounts whose tenant the next report of a message will name.
    waiting: BTreeMap<AccountId, Warned>,
}

/// What was counted since the last one.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By whose it is and by hour.
    pub shares: BTreeMap<(Whose, Hour), Share>,
    /// By minutes since 1970, for the gate as a whole.
    pub minutes: BTreeMap<i64, Minute>,
    /// Refusals of Tollgate's own by hour, by whose they are (none: nobody's whom we know) and why.
    pub reasons: BTreeMap<(Hour, Option<Whose>, Cow<'static, str>), u64>,
    /// Who sent by which address of ours, by hour.
    pub egress: BTreeMap<EgressKey, EgressShare>,
    /// Suspensions that began or ended, in their order.
    pub suspensions: Vec<SuspensionChange>,
}

/// Whose a share is: an account with the tenant that it had then, or a tenant itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whose {
    /// The tenant.
    pub tenant: TenantId,
    /// The account; none: what concerns the tenant as a whole and no account of it.
    pub account: Option<AccountId>,
}

/// What one account did in one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The local day of the hour.
    pub day: Day,
    /// The counters.
    pub counts: Counts,
    /// When the first and the last of it happened.
    pub seen: Seen,
    /// Who the recipients of accepted messages were.
    pub recipients: Sketch,
    /// Networks of clients, masked (/24, /48), by recipients.
    pub networks: Top,
    /// Domains of recipients, by recipients.
    pub domains: Top,
}

/// What the gate did in one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Minute {
    /// How much of the minute was listened to.
    pub collected: Duration,
    /// Events of it that found no room and were lost.
    pub lost: u64,
    /// Messages that were accepted.
    pub messages: u64,
    /// Their recipients.
    pub accepted: u64,
    /// Recipients that the next hop put off.
    pub deferred: u64,
    /// Recipients that the next hop or Tollgate refused.
    pub refused: u64,
}

/// A suspension began or ended.
#[derive(Debug, Clone)]
pub enum SuspensionChange {
    /// It began.
    Began {
        /// When, in UTC.
        at: Timestamp,
        /// Who, which case, why, by whom.
        suspended: Suspended,
    },
    /// It ended.
    Ended {
        /// When, in UTC.
        at: Timestamp,
        /// The case.
        case: CaseId,
        /// Who lifted it.
        actor: String,
    },
}

#[derive(Clone, Copy)]
struct Warned {
    at: Timestamp,
    count: u64,
}

impl Book {
    /// An empty book.
    #[must_use]
    pub fn new(key: RecipientKey, zone: Zone) -> Self {
        Self { zone, key, tally: Tally::default(), waiting: BTreeMap::new() }
    }

    /// Hashes recipients with another key from now on.
    pub fn hash_with(&mut self, key: RecipientKey) {
        self.key = key;
    }

    /// Counts an event that happened at a moment of UTC.
    pub fn note(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::Message(report) => self.note_message(at, report),
            Event::Refused(refusal) => self.note_refusal(at, refusal),
            Event::LimitReached(reached) => self.note_warning(at, reached),
            Event::Suspended(suspended) => {
                let suspended = suspended.clone();
                self.tally.suspensions.push(SuspensionChange::Began { at, suspended });
            }
            Event::Resumed(Resumed { case, actor, .. }) => {
                let (case, actor) = (case.clone(), actor.clone());
                self.tally.suspensions.push(SuspensionChange::Ended { at, case, actor });
            }
            Event::StandingChanged(changed) => self.note_standing(at, changed),
            Event::Complaint(complaint) => self.note_complaint(at, complaint),
            Event::EventsLost(lost) => self.minute(at).lost += lost.count,
            _ => {}
        }
    }

    /// Notes that so much time up to a moment was listened to.
    pub fn cover(&mut self, until: Timestamp, length: Duration) {
        let mut from = until - length.min(COVERED_AT_ONCE_MAX);
        while from < until {
            let next = Timestamp::from_millis((minute_of(from) + 1) * MINUTE_MILLIS).min(until);
            self.minute(from).collected += next.since(from);
            from = next;
        }
    }

    /// What was counted since the last time.
    pub fn take(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    fn note_message(&mut self, at: Timestamp, report: &MessageReport) {
        let mut counts = counts_of(report);
        let minute = self.minute(at);
        minute.messages += counts.messages;
        minute.accepted += counts.recipients;
        minute.deferred += counts.deferred;
        minute.refused += counts.bounced;
        let Some(charged) = &report.charged else { return };
        if let Some(warned) = self.waiting.remove(&charged.account) {
            counts.warnings += warned.count;
        }
        self.note_egress(at, report, charged);
        if counts == Counts::default() {
            return;
        }
        let key = self.key.clone();
        let share = self.share(at, whose(charged));
        share.counts.add(&counts);
        let network = masked(report.client);
        share.networks.add(&network, counts.recipients, counts.deferred + counts.bounced);
        for recipient in &report.recipients {
            share.note_recipient(&key, report.outcome, recipient);
        }
    }

    fn note_egress(&mut self, at: Timestamp, report: &MessageReport, charged: &Charged) {
        for &address in report.egress.iter() {
            let key = EgressKey { address, hour: Hour::of(at), whose: whose(charged) };
            self.tally.egress.entry(key).or_default().note(report);
        }
    }

    fn note_refusal(&mut self, at: Timestamp, refusal: &Refusal) {
        let count = u64::from(refusal.recipients.max(1));
        let known = refusal.charged.as_ref().filter(|_| names_an_account(refusal.reason));
        if refusal.observed_only {
            if let Some(charged) = known {
                self.share(at, whose(charged)).counts.observed += count;
            }
            return;
        }
        self.minute(at).refused += count;
        let reason = (Hour::of(at), known.map(whose), refusal.reason.name().into());
        *self.tally.reasons.entry(reason).or_default() += count;
        if let Some(charged) = known {
            *column(&mut self.share(at, whose(charged)).counts, refusal) += count;
        }
    }

    /// Only what has consequences, and only what gets worse.
    fn note_standing(&mut self, at: Timestamp, changed: &StandingChanged) {
        let (Suspect::Subject(subject), Some(tenant)) = (&changed.who, &changed.tenant) else {
            return;
        };
        if !changed.is_worse() {
            return;
        }
        let account = match subject {
            SubjectId::Account(account) => Some(account.clone()),
            SubjectId::Tenant(_) => None,
        };
        let counts = &mut self.share(at, Whose { tenant: tenant.clone(), account }).counts;
        counts.flagged += u64::from(changed.from == "active");
        counts.throttled += u64::from(changed.to == "throttled");
    }

    /// One that takes an earlier one back is none.
    fn note_complaint(&mut self, at: Timestamp, complaint: &Complaint) {
        if complaint.kind == "not-spam" {
            return;
        }
        if let (Some(tenant), Some(account)) = (&complaint.tenant, &complaint.account) {
            let whose = Whose { tenant: tenant.clone(), account: Some(account.clone()) };
            self.share(at, whose).counts.complaints += u64::from(complaint.incidents);
        }
    }

    /// An account's warning comes right before the report of the message that caused it, which names the tenant.
    fn note_warning(&mut self, at: Timestamp, reached: &LimitReached) {
        let parts = reached.key.parts();
        match parts.scope {
            Scope::Tenant => {
                if let Ok(tenant) = parts.name.parse() {
                    self.share(at, Whose { tenant, account: None }).counts.warnings += 1;
                }
            }
            Scope::Account => {
                if let Ok(account) = parts.name.parse() {
                    self.forget_old_warnings(at);
                    self.waiting.entry(account).or_insert(Warned { at, count: 0 }).count += 1;
                }
            }
            Scope::ClientIp | Scope::Peer => {}
        }
    }

    fn forget_old_warnings(&mut self, now: Timestamp) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.retain(|_, warned| now.since(warned.at) < WAITING_TIME_MAX);
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.clear();
        }
    }

    fn minute(&mut self, at: Timestamp) -> &mut Minute {
        self.tally.minutes.entry(minute_of(at)).or_default()
    }

    fn share(&mut self, at: Timestamp, whose: Whose) -> &mut Share {
        let hour = Hour::of(at);
        let zone = &self.zone;
        let share = self.tally.shares.entry((whose, hour)).or_insert_with(|| Share {
            day: zone.day_of(hour.begin()),
            counts: Counts::default(),
            seen: Seen::at(at),
            recipients: Sketch::default(),
            networks: Top::default(),
            domains: Top::default(),
        });
        share.seen.widen(Seen::at(at));
        share
    }
}

impl Share {
    fn note_recipient(&mut self, key: &RecipientKey, outcome: Outcome, report: &RecipientReport) {
        let taken = report.code < 400;
        if report.by != AnswerBy::NextHop || (taken && outcome == Outcome::Abandoned) {
            return;
        }
        let sent = taken && matches!(outcome, Outcome::Sent | Outcome::Unknown);
        if sent {
            self.recipients.insert(key.hash(&report.address));
        }
        let domain = report.address.domain().to_lowercase();
        self.domains.add(&domain, u64::from(sent), u64::from(!sent));
    }

    /// Adds another share of the same hour.
    pub fn merge(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.seen.widen(other.seen);
        self.recipients.merge(&other.recipients);
        self.networks.merge(&other.networks);
        self.domains.merge(&other.domains);
    }
}

fn counts_of(report: &MessageReport) -> Counts {
    let taken = matches!(report.outcome, Outcome::Sent | Outcome::Unknown);
    let recipients = u64::from(report.recipients_sent);
    Counts {
        messages: u64::from(taken),
        recipients,
        unknown: if report.outcome == Outcome::Unknown { recipients } else { 0 },
        deferred: u64::from(report.recipients_deferred),
        bounced: u64::from(report.recipients_refused),
        bytes: if taken { report.size_bytes } else { 0 },
        ..Counts::default()
    }
}

fn whose(charged: &Charged) -> Whose {
    Whose { tenant: charged.tenant.clone(), account: Some(charged.account.clone()) }
}

/// False where the account may be an invention of the client: nothing is stored under such a name.
const fn names_an_account(reason: RefusalReason) -> bool {
    !matches!(
        reason,
        RefusalReason::UnknownAccount | RefusalReason::NewAccounts | RefusalReason::NotRelaying
    )
}

/// Where a refusal is counted.
fn column<'a>(counts: &'a mut Counts, refusal: &Refusal) -> &'a mut u64 {
    match (refusal.reason, &refusal.limit) {
        (RefusalReason::Suspended, _) => &mut counts.suspended,
        (RefusalReason::Limit | RefusalReason::LimitNever, Some(hit)) => over(counts, hit),
        _ => &mut counts.refused_other,
    }
}

fn over<'a>(counts: &'a mut Counts, hit: &LimitHit) -> &'a mut u64 {
    match hit.key.parts().scope {
        Scope::Tenant | Scope::Account if hit.limit.window < DAY => &mut counts.over_hour,
        Scope::Tenant | Scope::Account => &mut counts.over_day,
        Scope::ClientIp => &mut counts.over_client,
        Scope::Peer => &mut counts.refused_other,
    }
}

/// The network of a client, `192.0.2.0/24` or `2001:db8:1::/48`: enough to see from where, not who.
fn masked(client: ClientIp) -> String {
    match client.address() {
        IpAddr::V4(four) => {
            let [a, b, c, _] = four.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(_) => client.prefix(48).to_string(),
    }
}

const fn minute_of(moment: Timestamp) -> i64 {
    moment.as_millis().div_euclid(MINUTE_MILLIS)
}

const MINUTE_MILLIS: i64 = 60_000;
const DAY: Span = Span::from_secs(86_400);
/// Nobody listens for so long without noting it.
const COVERED_AT_ONCE_MAX: Duration = Duration::from_secs(3_600);
/// Accounts whose warnings wait for a tenant.
const WAITING_MAX: usize = 1_000;
const WAITING_TIME_MAX: Duration = Duration::from_secs(60);
