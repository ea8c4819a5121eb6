//! Mail of the past, judged again: the very same rules and windows on virtual time.
//!
//! Pure. A [`Replay`] is shown one message after the other, in the order of time, and says what would have become of it. It
//! learns an answer of the next hop only if it would have handed on what that is about, because a gate that refuses a message never
//! hears how it would have fared. Recipients are handed on before the text, and where none is left there is none. A message that was put off does not come back; with mail programs that try again, less
//! is lost than it seems here.

mod summary;
#[cfg(test)]
mod tests;
mod windows;

pub use summary::{Summary, Suspect};

use super::{
    judgement::{self, Common, Memory, Mind, Opinion},
    limits::{Mode, ScopedLimit},
    spam::{self, Answers, Attempt, Client, Evidence, Recipient, Refused, Says, Text},
    suspension::{Change, Conduct, Group, Standing},
};
use crate::types::{AccountId, IpPrefix, TenantId, Timestamp};
use std::collections::HashMap;
use windows::{Payers, Wanted, Windows};

/// What is replayed against.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The limits of every account, tenant and client address.
    pub limits: Vec<ScopedLimit>,
    /// The signals and standings.
    pub judgement: judgement::Settings,
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
    common: Common,
    summary: Summary,
}

/// An account's memory and standing.
struct Sender {
    hash: u32,
    mind: Mind,
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
            common: Common::default(),
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
        let is_shut = self.acts() && self.accounts[message.account].conduct.standing().is_shut();
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
        let answers = answers(message, &passed);
        let is_seen = answers.taken > 0;
        let attempt = Attempt {
            at: message.at,
            client: message.client.map(|(_, client)| client),
            recipients: &recipients,
            over_limit: count(passed.iter().filter(|passed| !**passed)),
            is_null_sender: message.is_null_sender,
            text: if is_seen { message.text } else { Text::default() },
        };
        let mut decision = Decision { passed, ..Decision::new(Action::Accept, message) };
        self.judge(message, &attempt, answers.taken, &mut decision);
        if !is_seen {
            // Without a recipient there is no text to refuse.
            decision.action = if recipients.is_empty() { Action::Defer } else { Action::Accept };
        }
        if decision.action == Action::Accept {
            self.hand_on(message, &attempt, &answers, wanted, &mut decision);
        }
        decision
    }

    /// True if standings act and are not only told.
    fn acts(&self) -> bool {
        self.settings.judgement.suspension.mode == Mode::Enforce
    }

    /// Asks the limits about each recipient in its turn; one that the next hop does not take gives its place back.
    fn admit(&self, message: &Message<'_>, wanted: &[Wanted]) -> Vec<bool> {
        let mut granted = 0;
        message
            .recipients
            .iter()
            .map(|(_, says)| {
                let fits = self.windows.admits(wanted, granted, message.at);
                granted += u32::from(fits && *says == Says::Taken);
                fits
            })
            .collect()
    }

    fn payers<'a>(&self, message: &Message<'a>) -> Payers<'a> {
        let (now, settings) = (message.at, &self.settings.judgement.suspension);
        let percent =
            |group: Option<&Group>| group.map_or(100, |group| group.percent(now, settings));
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
    fn judge(
        &mut self,
        message: &Message<'_>,
        attempt: &Attempt<'_>,
        taken: u32,
        decision: &mut Decision,
    ) {
        let opinion = self.remember(message, |memory, settings| memory.look(attempt, settings));
        self.follow(message, attempt, &opinion, decision);
        let is_shut = self.acts() && self.accounts[message.account].conduct.standing().is_shut();
        let max = self.settings.judgement.spam.refuse_score;
        let refuses = attempt.text.score.is_some_and(|score| score >= max);
        decision.action = if is_shut || refuses {
            Action::Reject
        } else if self.is_beyond(message, taken) {
            Action::Defer
        } else {
            Action::Accept
        };
    }

    /// True if the account is throttled by now, and the recipients that the next hop took no longer fit.
    fn is_beyond(&self, message: &Message<'_>, taken: u32) -> bool {
        let wanted = self.windows.wanted(self.payers(message));
        !self.windows.admits(&wanted, taken.saturating_sub(1), message.at)
    }

    /// Hands a message on and learns from the answers.
    fn hand_on(
        &mut self,
        message: &Message<'_>,
        attempt: &Attempt<'_>,
        answers: &Answers,
        charged: Vec<Wanted>,
        decision: &mut Decision,
    ) {
        // Recipients that the next hop took are charged if it took the text.
        let taken = if message.answer.1 == Says::Taken { answers.taken } else { 0 };
        self.windows.charge(charged, taken, message.at);
        let opinion =
            self.remember(message, |memory, settings| memory.look_back(attempt, answers, settings));
        self.follow(message, attempt, &opinion, decision);
    }

    /// Lets the standings follow from what is thought of the account.
    fn follow(
        &mut self,
        message: &Message<'_>,
        attempt: &Attempt<'_>,
        opinion: &Opinion,
        decision: &mut Decision,
    ) {
        decision.points = opinion.points;
        decision.evidence = opinion.evidence;
        decision.reasons.extend(&opinion.reasons);
        let settings = &self.settings.judgement.suspension;
        let Some(sender) = self.accounts.get_mut(message.account) else { return };
        let Some((conduct, change)) = opinion.weigh(&sender.conduct, message.at, settings) else {
            return;
        };
        sender.conduct = conduct;
        decision.account.extend(change);
        if !change.is_some_and(|change| change.to.is_shut()) {
            return;
        }
        self.summary.suspended(message, opinion.evidence);
        let accounts = self.accounts.len();
        let aftermath =
            self.remember(message, |memory, settings| memory.condemn(attempt, accounts, settings));
        if aftermath.opened_breaker {
            self.summary.breaker_opened(message.at);
        }
        (decision.tenant, decision.client) = (aftermath.tenant, aftermath.client);
    }

    /// Has something done with all that is remembered of a message's sender.
    fn remember<T>(
        &mut self,
        message: &Message<'_>,
        act: impl FnOnce(&mut Memory<'_>, &judgement::Settings) -> T,
    ) -> T {
        let sender =
            self.accounts.entry(message.account.clone()).or_insert_with(|| Sender::new(message));
        let client = message.client.map(|(prefix, _)| prefix);
        let (mut no_tenant, mut no_client) = (Group::default(), Group::default());
        let tenant = self.tenants.get_mut(message.tenant).unwrap_or(&mut no_tenant);
        let at_client =
            client.map(|prefix| self.clients.get_mut(&prefix).unwrap_or(&mut no_client));
        let mut memory = Memory {
            account: sender.hash,
            mind: &mut sender.mind,
            tenant,
            client: at_client,
            common: &mut self.common,
        };
        let done = act(&mut memory, &self.settings.judgement);
        if !no_tenant.is_blank() {
            self.tenants.insert(message.tenant.clone(), no_tenant);
        }
        if let (Some(prefix), false) = (client, no_client.is_blank()) {
            self.clients.insert(prefix, no_client);
        }
        done
    }
}

impl Sender {
    fn new(message: &Message<'_>) -> Self {
        Self {
            hash: spam::hash(message.account.as_str().as_bytes()),
            mind: Mind::new(message.at),
            conduct: Conduct::new(message.at),
        }
    }

    /// What was to end by now has ended.
    fn turn(&mut self, now: Timestamp, settings: &Settings) {
        self.conduct.turn(now, &settings.judgement.suspension);
        self.mind.meet(&self.conduct, now);
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
