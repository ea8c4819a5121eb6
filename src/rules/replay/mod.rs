//! Mail of the past, judged again: the very same rules and windows on virtual time.
//!
//! Pure. A [`Replay`] is shown one message after the other, in the order of time, and says what would have become of it. It
//! learns an answer of the next hop only if it would have handed the message on, because a gate that refuses a message never
//! hears how it would have fared. A message that was put off does not come back; with mail programs that try again, less
//! is lost than it seems here.

mod summary;
#[cfg(test)]
mod tests;
mod windows;

pub use summary::{Summary, Suspect};

use super::{
    limits::{Mode, ScopedLimit},
    spam::{
        self, Answers, Attempt, Client, Evidence, Look, Profile, Recipient, Refused, Says, Shared,
        Text,
    },
    suspension::{self, Breaker, Change, Conduct, Group, Standing},
};
use crate::types::{AccountId, IpPrefix, TenantId, Timestamp};
use std::collections::HashMap;
use windows::{Payers, Wanted, Windows};

/// What is replayed against.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The limits of every account, tenant and client address.
    pub limits: Vec<ScopedLimit>,
    /// The signals.
    pub spam: spam::Settings,
    /// The standings.
    pub suspension: suspension::Settings,
}

/// One message of the past.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// When.
    pub at: Timestamp,
    /// Who is charged.
    pub account: &'a AccountId,
    /// Whose account it is.
    pub tenant: &'a TenantId,
    /// The client; none for the provider's own servers.
    pub client: Option<(IpPrefix, Client)>,
    /// The envelope sender is `<>`.
    pub is_null_sender: bool,
    /// Recipients, and what the next hop would answer to each.
    pub recipients: &'a [(Recipient, Says)],
    /// What the next hop would answer to the text: its code, and what that says.
    pub answer: (u16, Says),
    /// What is known of the text.
    pub text: Text,
}

/// What would have become of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What the client would have heard after the text, or at once.
    pub action: Action,
    /// For each recipient, whether the limits let it pass.
    pub passed: Vec<bool>,
    /// The account's points after it.
    pub points: f32,
    /// Changes of the account's standing.
    pub account: Vec<Change>,
    /// Changes of its tenant's standing.
    pub tenant: Option<Change>,
    /// Changes of its client address's standing.
    pub client: Option<Change>,
    /// The account's points after it, by signal.
    pub evidence: Evidence,
    /// What was found that speaks against it.
    pub reasons: Vec<spam::Reason>,
}

/// What would have become of a message as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Handed on.
    Accept,
    /// Put off (4xx): no room in a limit.
    Defer,
    /// Refused (5xx): for its text, or because the sender is suspended.
    Reject,
}

/// The memory of a replay.
pub struct Replay {
    settings: Settings,
    windows: Windows,
    accounts: HashMap<AccountId, Sender>,
    tenants: HashMap<TenantId, Group>,
    clients: HashMap<IpPrefix, Group>,
    shared: Shared,
    breaker: Breaker,
    summary: Summary,
}

/// An account's memory and standing.
struct Sender {
    hash: u32,
    profile: Profile,
    conduct: Conduct,
}

impl Replay {
    /// Begins without any memory.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            windows: Windows::new(settings.limits.clone()),
            settings,
            accounts: HashMap::new(),
            tenants: HashMap::new(),
            clients: HashMap::new(),
            shared: Shared::default(),
            breaker: Breaker::default(),
            summary: Summary::default(),
        }
    }

    /// What happened so far.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Says what would have become of a message; messages come in the order of time.
    pub fn step(&mut self, message: &Message<'_>) -> Decision {
        let sender =
            self.accounts.entry(message.account.clone()).or_insert_with(|| Sender::new(message));
        sender.turn(message.at, &self.settings);
        let decision = self.decide(message);
        self.summary.count(message, &decision);
        decision
    }

    fn decide(&mut self, message: &Message<'_>) -> Decision {
        let is_shut = self.settings.suspension.mode == Mode::Enforce
            && self.accounts[message.account].conduct.standing().is_shut();
        if is_shut {
            return Decision::new(Action::Reject, message);
        }
        let wanted = self.windows.wanted(self.payers(message));
        let passed = self.admit(message, &wanted);
        let recipients: Vec<Recipient> = passed
            .iter()
            .zip(message.recipients)
            .filter(|(passed, _)| **passed)
            .map(|(_, r)| r.0)
            .collect();
        let attempt = Attempt {
            at: message.at,
            client: message.client.map(|(_, client)| client),
            recipients: &recipients,
            over_limit: count(passed.iter().filter(|passed| !**passed)),
            is_null_sender: message.is_null_sender,
            text: message.text,
        };
        let mut decision = Decision { passed, ..Decision::new(Action::Accept, message) };
        self.judge(message, &attempt, &mut decision);
        if decision.action == Action::Accept {
            self.hand_on(message, &attempt, wanted, &mut decision);
        }
        decision
    }

    /// Asks the limits about each recipient in its turn.
    fn admit(&self, message: &Message<'_>, wanted: &[Wanted]) -> Vec<bool> {
        let mut granted = 0;
        message
            .recipients
            .iter()
            .map(|_| {
                let fits = self.windows.admits(wanted, granted, message.at);
                granted += u32::from(fits);
                fits
            })
            .collect()
    }

    fn payers<'a>(&self, message: &Message<'a>) -> Payers<'a> {
        let (now, settings) = (message.at, &self.settings.suspension);
        let percent =
            |group: Option<&Group>| group.map_or(100, |group| group.conduct.percent(now, settings));
        Payers {
            account: (
                message.account,
                self.accounts[message.account].conduct.percent(now, settings),
            ),
            tenant: (message.tenant, percent(self.tenants.get(message.tenant))),
            client: message.client.map(|(prefix, _)| (prefix, percent(self.clients.get(&prefix)))),
            is_null_sender: message.is_null_sender,
        }
    }

    /// Looks at a message before it goes on.
    fn judge(&mut self, message: &Message<'_>, attempt: &Attempt<'_>, decision: &mut Decision) {
        let sender = &self.accounts[message.account];
        let look =
            spam::look(&sender.profile, &self.shared, sender.hash, attempt, &self.settings.spam);
        self.note(message, attempt, &look, decision);
        let standing = self.accounts[message.account].conduct.standing();
        let is_shut = standing.is_shut() && self.settings.suspension.mode == Mode::Enforce;
        decision.action = if is_shut || message.text.score >= self.settings.spam.refuse_score {
            Action::Reject
        } else if attempt.recipients.is_empty() || self.is_beyond(message, attempt) {
            Action::Defer
        } else {
            Action::Accept
        };
    }

    /// True if the account is throttled by now, and the message no longer fits.
    fn is_beyond(&self, message: &Message<'_>, attempt: &Attempt<'_>) -> bool {
        let wanted = self.windows.wanted(self.payers(message));
        let before_last = count(attempt.recipients.iter().skip(1));
        !self.windows.admits(&wanted, before_last, message.at)
    }

    /// Hands a message on and learns from the answers.
    fn hand_on(
        &mut self,
        message: &Message<'_>,
        attempt: &Attempt<'_>,
        charged: Vec<Wanted>,
        decision: &mut Decision,
    ) {
        let answers = answers(message, &decision.passed);
        // Recipients that the next hop took are charged if it took the text.
        let taken = if message.answer.1 == Says::Taken { answers.taken } else { 0 };
        self.windows.charge(charged, taken, message.at);
        let sender = &self.accounts[message.account];
        let look = spam::look_back(
            &sender.profile,
            attempt,
            &answers,
            sender.profile.evidence,
            &self.settings.spam,
        );
        self.shared.note(&sender.profile, attempt, sender.hash, &self.settings.spam);
        self.learn(message, attempt, &answers);
        self.note(message, attempt, &look, decision);
    }

    fn learn(&mut self, message: &Message<'_>, attempt: &Attempt<'_>, answers: &Answers) {
        if let Some(sender) = self.accounts.get_mut(message.account) {
            sender.profile.learn(attempt, answers);
        }
    }

    /// Keeps the points and lets the standing follow.
    fn note(
        &mut self,
        message: &Message<'_>,
        attempt: &Attempt<'_>,
        look: &Look,
        decision: &mut Decision,
    ) {
        let points = look.evidence.total() * self.suspicion(message);
        let may_suspend = self.breaker.is_closed();
        let accounts = self.accounts.len();
        let Some(sender) = self.accounts.get_mut(message.account) else { return };
        sender.profile.evidence = look.evidence;
        decision.points = points;
        decision.evidence = look.evidence;
        let against = look.findings.iter().filter(|finding| finding.points > 0.0);
        decision.reasons.extend(against.map(|finding| finding.reason));
        let settings = &self.settings.suspension;
        let change = sender.conduct.weigh(points, may_suspend, message.at, settings);
        decision.account.extend(change);
        if !change.is_some_and(|change| change.to.is_shut()) {
            return;
        }
        self.summary.suspended(message, look.evidence);
        self.shared.condemn(&sender.profile, attempt, &self.settings.spam);
        if self.breaker.count(accounts, message.at, settings) {
            self.summary.breaker_opened(message.at);
        }
        let hash = sender.hash;
        let tenant =
            self.tenants.entry(message.tenant.clone()).or_insert_with(|| Group::new(message.at));
        decision.tenant = tenant.count(hash, message.at, settings);
        if let Some((prefix, _)) = message.client {
            let client = self.clients.entry(prefix).or_insert_with(|| Group::new(message.at));
            decision.client = client.count(hash, message.at, settings);
        }
    }

    /// What points are multiplied with where the account's tenant or client address is suspect itself.
    fn suspicion(&self, message: &Message<'_>) -> f32 {
        let settings = &self.settings.suspension;
        let tenant = self.tenants.get(message.tenant);
        let client = message.client.and_then(|(prefix, _)| self.clients.get(&prefix));
        let is_in = [tenant, client].into_iter().flatten().any(|group| group.is_in(settings));
        if is_in { SUSPICION } else { 1.0 }
    }
}

impl Sender {
    fn new(message: &Message<'_>) -> Self {
        Self {
            hash: spam::hash(message.account.as_str().as_bytes()),
            profile: Profile::new(message.at),
            conduct: Conduct::new(message.at),
        }
    }

    /// What was to end by now has ended; whoever is let in again by the clock keeps half of what spoke against him.
    fn turn(&mut self, now: Timestamp, settings: &Settings) {
        if self.profile.is_forgotten(now) {
            self.profile = Profile::new(now);
        }
        if self.conduct.turn(now, &settings.suspension).is_some() {
            self.profile.evidence = self.profile.evidence.halved();
        }
    }
}

impl Decision {
    fn new(action: Action, message: &Message<'_>) -> Self {
        Self {
            action,
            passed: vec![action == Action::Accept; message.recipients.len()],
            points: 0.0,
            account: Vec::new(),
            tenant: None,
            client: None,
            evidence: Evidence::default(),
            reasons: Vec::new(),
        }
    }

    /// What the account became, if that changed.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.account.last().map(|change| change.to)
    }
}

/// What the next hop makes of the recipients that were handed on.
fn answers(message: &Message<'_>, passed: &[bool]) -> Answers {
    let handed_on =
        || passed.iter().zip(message.recipients).filter(|(passed, _)| **passed).map(|(_, r)| r.1);
    let taken = count(handed_on().filter(|says| *says == Says::Taken));
    let (code, says) = message.answer;
    let called_spam = (says == Says::Spam && taken > 0).then_some(if code >= 500 {
        Refused::ForGood
    } else {
        Refused::ForNow
    });
    Answers {
        taken,
        unknown: count(handed_on().filter(|says| *says == Says::UnknownRecipient)),
        called_spam,
    }
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// Points of accounts of a suspect tenant or address count half as much again.
const SUSPICION: f32 = 1.5;
