//! Standings as they change: weighed by `rules`, written durably with what they rest on, and told.
//!
//! The record decides who may send; the memory of behaviour only remembers why. A standing is written with what the rule saw
//! ([`Judged::from`]), so of two messages that are judged at once one changes it and the other looks again. What a person
//! does goes through `admin` and the same records.

pub mod case;

use crate::{
    auth::Authenticator,
    clock::Clock,
    event::{Event, Events, Resumed, StandingChanged, Suspect, Suspended},
    rules::{
        judgement::{Aftermath, Memory, Opinion, Settings},
        limits::Mode,
        spam::Attempt,
        suspension::{Case, Change, Conduct, Sample, Samples},
    },
    store::{
        StoreError,
        behaviour::{Behaviour, Concerned},
        records::{self, Judged, Records, SubjectRecord, What},
    },
    types::{AccountId, Actor, IpPrefix, SubjectId, TenantId, Timestamp},
};
use std::sync::Arc;

/// Who knows whether a password is still the same.
pub trait Passwords: Send + Sync {
    /// What stands for the password of an account, and is another as soon as that is; none if that is not known.
    fn mark(&self, account: &AccountId) -> Option<u64>;
}

impl Passwords for Authenticator {
    fn mark(&self, account: &AccountId) -> Option<u64> {
        self.password_mark(account)
    }
}

/// Where standings are kept and told.
#[derive(Clone)]
pub struct Standings {
    /// States, overrides, assignments.
    pub records: Arc<dyn Records>,
    /// What is remembered of senders.
    pub behaviour: Arc<dyn Behaviour>,
    /// Whether a password is still the one that was stolen.
    pub passwords: Arc<dyn Passwords>,
    /// The time.
    pub clock: Clock,
    /// Who wants to know.
    pub events: Events,
}

/// Whose message is judged.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// Its tenant.
    pub tenant: &'a TenantId,
    /// The client's address; none for the provider's own servers.
    pub client: Option<IpPrefix>,
    /// Whether what is found acts on this sender.
    pub reach: Reach,
}

/// Whether what is found acts on a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It may be throttled and suspended.
    Acts,
    /// It is only told: the sender's plan is observed.
    Told,
    /// It is not even weighed: the sender stands for many others.
    Spared,
}

/// What a look at a message came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What is thought of the sender.
    pub opinion: Opinion,
    /// Its record now.
    pub record: Arc<SubjectRecord>,
    /// What became of its standing.
    pub change: Option<Change>,
    /// That has consequences for the sender.
    pub acts: bool,
}

impl Sender<'_> {
    /// True if what is found has consequences.
    fn acts(&self, settings: &Settings) -> bool {
        settings.suspension.mode == Mode::Enforce && self.reach == Reach::Acts
    }
}

/// What is done with the memory.
pub enum Look<'a> {
    /// Before the message goes on.
    Ahead,
    /// After it.
    Back(&'a crate::rules::spam::Answers),
}

impl Standings {
    /// Looks at a message and lets the sender's standing follow.
    ///
    /// # Errors
    /// [`StoreError`] if the memory or the records do not answer, or the change cannot be written.
    pub async fn look(
        &self,
        sender: Sender<'_>,
        attempt: &Attempt<'_>,
        look: Look<'_>,
        sample: impl Fn(&Opinion) -> Sample + Send + Sync,
        settings: &Settings,
    ) -> Result<Outcome, StoreError> {
        let mut record = self.turned(sender.account, settings).await?;
        let mut seen = None;
        self.remember(sender, &record.conduct(), &mut |memory| {
            let opinion = match &look {
                Look::Ahead => memory.look(attempt, settings),
                Look::Back(answers) => memory.look_back(attempt, answers, settings),
            };
            if matches!(look, Look::Ahead) || !opinion.reasons.is_empty() {
                memory.mind.note(opinion.points, || sample(&opinion));
            }
            let may_suspend = opinion.points >= settings.suspension.suspend_points;
            let samples = may_suspend.then(|| memory.mind.samples().clone());
            seen = Some((opinion, samples.unwrap_or_default()));
        })
        .await?;
        let (opinion, samples) = seen.ok_or_else(no_answer)?;
        let mut change = None;
        if sender.reach != Reach::Spared {
            let case = opening(sender, &opinion, &samples);
            (record, change) = self.follow(sender, record, &opinion, case, settings).await?;
        }
        // Nothing follows for others from a sender whose plan is only observed.
        let is_condemned = change.is_some_and(|change| change.to.is_shut());
        if is_condemned && sender.reach == Reach::Acts {
            self.condemn(sender, &record.conduct(), attempt, settings).await?;
        }
        let acts = sender.acts(settings);
        Ok(Outcome { opinion, record, change, acts })
    }

    /// Counts a listing of one of our addresses against a likely cause of it, which has this share of the blame, and lets its
    /// standing follow.
    ///
    /// # Errors
    /// As [`Standings::look`].
    pub async fn accuse(
        &self,
        sender: Sender<'_>,
        blame: f32,
        settings: &Settings,
    ) -> Result<Opinion, StoreError> {
        let record = self.turned(sender.account, settings).await?;
        let (now, mut seen) = (self.clock.now(), None);
        self.remember(sender, &record.conduct(), &mut |memory| {
            seen = Some((memory.accuse(blame, now, settings), memory.mind.samples().clone()));
        })
        .await?;
        let (opinion, samples) = seen.ok_or_else(no_answer)?;
        if sender.reach != Reach::Spared {
            let case = opening(sender, &opinion, &samples);
            self.follow(sender, record, &opinion, case, settings).await?;
        }
        Ok(opinion)
    }

    /// The record of an account, with what was to end by now ended.
    async fn turned(
        &self,
        account: &AccountId,
        settings: &Settings,
    ) -> Result<Arc<SubjectRecord>, StoreError> {
        let subject = SubjectId::Account(account.clone());
        let record = self.records.subject(&subject).await?;
        match self.release(&subject, &record, settings).await? {
            Some(released) => Ok(released),
            None => Ok(record),
        }
    }

    /// Lets a suspension end whose time is over; none if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be written.
    pub async fn release(
        &self,
        subject: &SubjectId,
        record: &SubjectRecord,
        settings: &Settings,
    ) -> Result<Option<Arc<SubjectRecord>>, StoreError> {
        let from = record.conduct();
        let mut to = from.clone();
        let Some(change) = to.turn(self.clock.utc(), &settings.suspension) else { return Ok(None) };
        let judged = Judged { from, to, case: None, password: None };
        match self.write(subject, judged, LIFTED, None).await {
            Err(StoreError::Conflict(_)) => Ok(Some(self.records.subject(subject).await?)),
            Err(error) => Err(error),
            Ok(released) => {
                self.tell_release(subject, record, change);
                Ok(Some(released))
            }
        }
    }

    /// Weighs an opinion and writes what follows; where somebody else has changed the record meanwhile, it is weighed again.
    async fn follow(
        &self,
        sender: Sender<'_>,
        mut record: Arc<SubjectRecord>,
        opinion: &Opinion,
        case: impl Fn(Timestamp) -> Result<Box<Case>, StoreError> + Send,
        settings: &Settings,
    ) -> Result<(Arc<SubjectRecord>, Option<Change>), StoreError> {
        let subject = SubjectId::Account(sender.account.clone());
        for _ in 0..ATTEMPTS_MAX {
            let (now, from) = (self.clock.utc(), record.conduct());
            let Some((to, change)) = opinion.weigh(&from, now, &settings.suspension) else {
                return Ok((record, None));
            };
            let acts = sender.acts(settings);
            let case = if acts && to.standing().is_shut() { Some(case(now)?) } else { None };
            let evidence = match &case {
                Some(case) => serde_json::to_string(case).ok(),
                None => Some(because(opinion)).filter(|text| !text.is_empty()),
            };
            let password = case.as_ref().and_then(|_| self.passwords.mark(sender.account));
            let judged = Judged { from, to, case, password };
            match self.write(&subject, judged, &summary(opinion), evidence).await {
                Err(StoreError::Conflict(_)) => record = self.records.subject(&subject).await?,
                Err(error) => return Err(error),
                Ok(changed) => {
                    if let Some(change) = change {
                        self.tell(sender, &changed, change, opinion, acts);
                    }
                    return Ok((changed, change));
                }
            }
        }
        // Others are changing it again and again; the next message will see.
        Ok((record, None))
    }

    /// An account was suspended: that speaks against its tenant and its client address, and too many of it are a wave.
    async fn condemn(
        &self,
        sender: Sender<'_>,
        conduct: &Conduct,
        attempt: &Attempt<'_>,
        settings: &Settings,
    ) -> Result<(), StoreError> {
        let accounts = self.behaviour.count();
        let mut aftermath = Aftermath::default();
        self.remember(sender, conduct, &mut |memory| {
            aftermath = memory.condemn(attempt, accounts, settings);
        })
        .await?;
        let now = self.clock.now();
        if aftermath.opened_breaker {
            self.events.tell(now, &Event::BreakerOpened);
        }
        let tenant = Suspect::Subject(SubjectId::Tenant(sender.tenant.clone()));
        let groups = [
            aftermath.tenant.map(|change| (tenant, Some(sender.tenant.clone()), change)),
            aftermath
                .client
                .zip(sender.client)
                .map(|(change, prefix)| (Suspect::Client(prefix), None, change)),
        ];
        for (who, tenant, change) in groups.into_iter().flatten() {
            let until = change.to.until().map(|until| self.clock.to_utc(until));
            self.events.tell(
                now,
                &Event::StandingChanged(Box::new(StandingChanged {
                    who,
                    tenant,
                    from: change.from.name(),
                    to: change.to.name(),
                    until,
                    points: settings.suspension.throttle_points,
                    reasons: vec![format!("{GROUP} {}", sender.account)],
                    observed_only: settings.suspension.is_observed(),
                })),
            );
        }
        Ok(())
    }

    async fn remember(
        &self,
        sender: Sender<'_>,
        conduct: &Conduct,
        act: &mut (dyn FnMut(&mut Memory<'_>) + Send),
    ) -> Result<(), StoreError> {
        let Sender { account, tenant, client, .. } = sender;
        let concerned = Concerned { account, tenant, client, conduct };
        self.behaviour.remember(concerned, self.clock.now(), act).await
    }

    async fn write(
        &self,
        subject: &SubjectId,
        judged: Judged,
        reason: &str,
        evidence: Option<String>,
    ) -> Result<Arc<SubjectRecord>, StoreError> {
        let change = records::Change {
            subject: subject.clone(),
            what: What::Judge(Box::new(judged)),
            reason: reason.into(),
            evidence,
            actor: Actor::automatic(RULE),
        };
        self.records.change(change, self.clock.utc()).await
    }

    fn tell(
        &self,
        sender: Sender<'_>,
        record: &SubjectRecord,
        change: Change,
        opinion: &Opinion,
        acts: bool,
    ) {
        let subject = SubjectId::Account(sender.account.clone());
        let suspension = record.suspension.as_ref().filter(|_| change.to.is_shut());
        let event = match suspension {
            Some(suspension) => Event::Suspended(Suspended {
                subject,
                case: suspension.case.clone(),
                reason: suspension.reason.clone(),
                actor: suspension.actor.clone(),
                until: suspension.until,
            }),
            None => Event::StandingChanged(Box::new(StandingChanged {
                who: Suspect::Subject(subject),
                tenant: Some(sender.tenant.clone()),
                from: change.from.name(),
                to: change.to.name(),
                until: change.to.until(),
                points: opinion.points,
                reasons: opinion.reasons.iter().map(ToString::to_string).collect(),
                observed_only: !acts,
            })),
        };
        self.events.tell(self.clock.now(), &event);
    }

    /// The end of a suspension that its time ended; of one that was only observed, that the standing is another.
    fn tell_release(&self, subject: &SubjectId, record: &SubjectRecord, change: Change) {
        let event = match &record.suspension {
            Some(suspension) => Event::Resumed(Resumed {
                subject: subject.clone(),
                case: suspension.case.clone(),
                reason: LIFTED.into(),
                actor: RULE.into(),
            }),
            None => Event::StandingChanged(Box::new(StandingChanged {
                who: Suspect::Subject(subject.clone()),
                tenant: None,
                from: change.from.name(),
                to: change.to.name(),
                until: None,
                points: 0.0,
                reasons: Vec::new(),
                observed_only: true,
            })),
        };
        self.events.tell(self.clock.now(), &event);
    }
}

/// Makes the case of a sender, should it be suspended.
fn opening<'a>(
    sender: Sender<'a>,
    opinion: &'a Opinion,
    samples: &'a Samples,
) -> impl Fn(Timestamp) -> Result<Box<Case>, StoreError> + Send + 'a {
    move |now| {
        let subject = SubjectId::Account(sender.account.clone());
        let id = case::draw()?;
        Ok(Box::new(Case::open(id, subject, &opinion.evidence, samples, now)))
    }
}

fn no_answer() -> StoreError {
    StoreError::Unavailable("the memory did not answer".into())
}

/// What stands behind a suspension, in a line: `9.3 points: place 3.5, novelty 2.8, content 3.0`.
fn summary(opinion: &Opinion) -> String {
    let signals = opinion.evidence.by_weight().into_iter();
    let signals = signals.filter(|(_, points)| *points >= SHOWN_POINTS_MIN);
    let signals: Vec<String> =
        signals.map(|(signal, points)| format!("{} {points:.1}", signal.name())).collect();
    let sum = opinion.evidence.total();
    let more = opinion.points - sum;
    let company = if more >= SHOWN_POINTS_MIN {
        format!(", {more:.1} more for suspended neighbours")
    } else {
        String::new()
    };
    format!("{:.1} points: {}{company}", opinion.points, signals.join(", "))
}

fn because(opinion: &Opinion) -> String {
    opinion.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Less is shown as nothing.
const SHOWN_POINTS_MIN: f32 = 0.05;
/// Who acts here, as it stands in the audit.
/// Who suspends by a rule.
pub const RULE: &str = "spam rules";
const LIFTED: &str = "the time of the suspension is over";
const GROUP: &str = "another account was suspended:";
/// A record that changes so often meanwhile is left for the next message.
const ATTEMPTS_MAX: usize = 4;
