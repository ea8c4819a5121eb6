//! One sender, message after message: what is remembered of it, what a message adds to that, and what standing follows.
//!
//! Pure, and the one place where signals, memory and standings come together: a live gate and a replay of the past both ask
//! here. Who asks holds the [`Memory`] that a message concerns, shows the message before it goes on ([`Memory::look`]) and what
//! became of it ([`Memory::look_back`]), lets the sender's [`Conduct`] follow ([`Opinion::weigh`]) and, when that was a suspension, says
//! so ([`Memory::condemn`]).

#[cfg(test)]
mod tests;

use super::{
    spam::{self, Answers, Attempt, Evidence, Look, Profile, Reason, Shared},
    suspension::{self, Breaker, Change, Conduct, Group, Sample, Samples},
};
use crate::types::Timestamp;

/// What everything is judged by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// The signals.
    pub spam: spam::Settings,
    /// The standings.
    pub suspension: suspension::Settings,
}

/// What is remembered of one account.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Mind {
    profile: Profile,
    /// The first messages since something speaks against it.
    samples: Samples,
    /// The newest end of a suspension that was taken note of.
    released: Option<Timestamp>,
}

/// What all accounts share.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Common {
    shared: Shared,
    /// Stops a wave of suspensions.
    pub breaker: Breaker,
}

/// All that is remembered and that one message concerns.
#[derive(Debug)]
pub struct Memory<'a> {
    /// Its account, by the hash of its name.
    pub account: u32,
    /// What is remembered of it.
    pub mind: &'a mut Mind,
    /// Its tenant.
    pub tenant: &'a mut Group,
    /// Its client address; none for the provider's own servers.
    pub client: Option<&'a mut Group>,
    /// What all share.
    pub common: &'a mut Common,
}

/// What is thought of a sender after a look at a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Opinion {
    /// The points against the sender, with those that its company adds.
    pub points: f32,
    /// They by signal.
    pub evidence: Evidence,
    /// What this look found against it.
    pub reasons: Vec<Reason>,
    /// No wave of suspensions is under way.
    pub may_suspend: bool,
}

/// What a suspension leads to for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aftermath {
    /// Suspensions are a wave by now, and nobody is suspended any more.
    pub opened_breaker: bool,
    /// The tenant's standing, if it changed.
    pub tenant: Option<Change>,
    /// The client address's standing, if it changed.
    pub client: Option<Change>,
}

impl Mind {
    /// Of an account that is seen for the first time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { profile: Profile::new(now), samples: Samples::default(), released: None }
    }

    /// Lets time and persons have their say: what is long ago is forgotten; whom the clock lets in again keeps half of what
    /// spoke against it, and whom a person lets in again begins anew.
    pub fn meet(&mut self, conduct: &Conduct, now: Timestamp) {
        if self.profile.is_forgotten(now) {
            *self = Self { released: self.released, ..Self::new(now) };
        }
        let Some(release) = conduct.release() else { return };
        if self.released.is_some_and(|known| known >= release.at) {
            return;
        }
        self.released = Some(release.at);
        self.samples = Samples::default();
        if release.by_person {
            self.profile.begin_anew(now);
        } else {
            self.profile.evidence = self.profile.evidence.halved();
        }
    }

    /// True if there is nothing left to remember.
    #[must_use]
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.profile.is_forgotten(now)
    }

    /// What speaks against the account, as of the last look.
    #[must_use]
    pub const fn evidence(&self) -> Evidence {
        self.profile.evidence
    }

    /// The first messages since something speaks against the account.
    #[must_use]
    pub const fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Takes note of a message for a case that may come of it; it is put into words only if that may be.
    pub fn note(&mut self, points: f32, sample: impl FnOnce() -> Sample) {
        self.samples.note(points, sample);
    }

    /// How many octets the memory takes in the process.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Profile>()
            + self.profile.size_bytes()
            + self.samples.size_bytes()
    }
}

impl Memory<'_> {
    /// Looks at a message before it goes on.
    pub fn look(&mut self, attempt: &Attempt<'_>, settings: &Settings) -> Opinion {
        let (profile, shared) = (&self.mind.profile, &self.common.shared);
        let look = spam::look(profile, shared, self.account, attempt, &settings.spam);
        self.opine(&look, settings)
    }

    /// Looks at what became of a message that was handed on, and learns from it.
    pub fn look_back(
        &mut self,
        attempt: &Attempt<'_>,
        answers: &Answers,
        settings: &Settings,
    ) -> Opinion {
        let profile = &mut self.mind.profile;
        let look = spam::look_back(profile, attempt, answers, profile.evidence, &settings.spam);
        self.common.shared.note(profile, attempt, self.account, &settings.spam);
        profile.learn(attempt, answers);
        self.opine(&look, settings)
    }

    /// A listing of one of our addresses is the account's doing, by this share of the blame.
    pub fn accuse(&mut self, blame: f32, now: Timestamp, settings: &Settings) -> Opinion {
        let look = spam::accuse(&self.mind.profile, blame, now, &settings.spam);
        self.opine(&look, settings)
    }

    /// The account was suspended for a message, one of so many accounts that there are: its texts are spam from now on, and its
    /// tenant and client address are a little suspect.
    pub fn condemn(
        &mut self,
        attempt: &Attempt<'_>,
        accounts: usize,
        settings: &Settings,
    ) -> Aftermath {
        let (now, standings) = (attempt.at, &settings.suspension);
        self.common.shared.condemn(&self.mind.profile, attempt, &settings.spam);
        let client = self.client.as_mut();
        Aftermath {
            opened_breaker: self.common.breaker.count(accounts, now, standings),
            tenant: self.tenant.count(self.account, now, standings),
            client: client.and_then(|group| group.count(self.account, now, standings)),
        }
    }

    fn opine(&mut self, look: &Look, settings: &Settings) -> Opinion {
        self.mind.profile.evidence = look.evidence;
        let against = look.findings.iter().filter(|finding| finding.points > 0.0);
        Opinion {
            points: look.evidence.total() * self.suspicion(&settings.suspension),
            evidence: look.evidence,
            reasons: against.map(|finding| finding.reason).collect(),
            may_suspend: self.common.breaker.is_closed(),
        }
    }

    /// What points are multiplied with where the account's tenant or client address is suspect itself.
    fn suspicion(&self, settings: &suspension::Settings) -> f32 {
        let client = self.client.as_ref().is_some_and(|group| group.is_in(settings));
        if client || self.tenant.is_in(settings) { SUSPICION } else { 1.0 }
    }
}

impl Opinion {
    /// What becomes of a sender's conduct; none if it stays as it is.
    #[must_use]
    pub fn weigh(
        &self,
        conduct: &Conduct,
        now: Timestamp,
        settings: &suspension::Settings,
    ) -> Option<(Conduct, Option<Change>)> {
        let mut next = conduct.clone();
        let change = next.weigh(self.points, self.may_suspend, now, settings);
        (next != *conduct).then_some((next, change))
    }
}

/// Points of accounts of a suspect tenant or address count half as much again.
const SUSPICION: f32 = 1.5;
