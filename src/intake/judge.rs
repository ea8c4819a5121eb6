//! Looks into a finished text and at its sender before it goes on, and at what became of it after; standings follow.
//!
//! Texts are looked at on the thread that brought them as long as they are short; for long ones, of which the beginning is looked at, there
//! are a few places and threads that may take their time.

use super::{
    admission,
    transaction::{Sender, Transaction, Who},
};
use crate::{
    deliver::{Handover, Verdict as HandoverVerdict},
    event::{Charged, Evidence, Judgement, LimitHit},
    message::{self, Excerpt, Facts, Form, facts::registrable},
    resolve::Found,
    rules::{
        blocklist::Subject,
        judgement::{Opinion, Settings},
        limits::Mode,
        scan,
        spam::{
            Answers, Attempt, Beside, Client, Networks, Recipient, Refused, Says, Text, Traps,
            content::{Hit, Rules},
        },
        suspension::{Sample, Standing, reduced},
        tally::RecipientKey,
        verdict::{self, Refusal},
    },
    smtp::Reply,
    spool::Body,
    standing::{self, Look, Outcome, Reach, Standings},
    store::{StoreError, ledger::ChargePer},
    types::{Address, ByteCount, Limit, SubjectId},
};
use bytes::Bytes;
use std::{fmt::Write as _, io, sync::Arc};
use tokio::sync::Semaphore;

/// What messages and their senders are judged by.
#[derive(Clone)]
pub struct Judge {
    /// When something speaks against a sender, and what follows.
    pub settings: Settings,
    /// What texts are looked at for.
    pub content: Rules,
    /// Recipients that nobody honest writes to.
    pub traps: Arc<Traps>,
    /// Where clients are.
    pub networks: Arc<Networks>,
    /// The field on top of what counts as spam, if it is marked.
    pub tag_header: Option<String>,
}

/// Where judging takes place.
pub struct Court {
    /// What senders did, and what follows.
    pub standings: Standings,
    /// What recipients are hashed under.
    pub recipients: RecipientKey,
    /// Places for long texts.
    long_texts: Arc<Semaphore>,
}

impl Court {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(standings: Standings, recipients: RecipientKey) -> Self {
        Self { standings, recipients, long_texts: Arc::new(Semaphore::new(LONG_TEXTS_MAX)) }
    }
}

/// What is known of a transaction for its judgement.
#[derive(Default)]
pub(super) struct Known {
    /// Recipients that the next hop took so far, by their hashes.
    pub(super) taken: Vec<Recipient>,
    /// Recipients that it refused.
    pub(super) refused: Vec<Recipient>,
    /// How many of those do not exist.
    pub(super) unknown: u32,
    /// What is known of the text, once it was looked at.
    text: Option<SeenText>,
    /// What of it is on blocklists.
    on_lists: Found,
    /// What is told of it.
    pub(super) told: Option<Box<Judgement>>,
}

/// A text that was looked at.
struct SeenText {
    text: Text,
    from: String,
    subject: String,
    hits: Vec<Hit>,
}

impl Known {
    /// Takes note of what the next hop says of a recipient.
    fn note(&mut self, recipient: Recipient, says: Says) {
        // How many one transaction may name is bounded by the session.
        let list = if says == Says::Taken { &mut self.taken } else { &mut self.refused };
        list.push(recipient);
        self.unknown += u32::from(says == Says::UnknownRecipient);
    }
}

impl Sender<'_> {
    /// What the next hop says of a recipient, for the judgement.
    pub(super) fn note_answer(&self, known: &mut Known, address: &Address, reply: &Reply) {
        let judge = self.gate.judge.load();
        let says = judge.settings.spam.answers.read(reply.code(), &text_of(reply));
        let key = self.gate.court.recipients.hash(address);
        known.note(Recipient { key, is_trap: judge.traps.has(address) }, says);
    }

    /// Looks at a message before it goes on. Returns the field that marks it, if it is to be marked.
    pub(super) async fn look_ahead(
        &self,
        transaction: &mut Transaction,
        body: &Body,
    ) -> Result<Option<String>, Refusal> {
        let Some(charged) = transaction.charged().cloned() else { return Ok(None) };
        let judge = self.gate.judge.load_full();
        let facts = self.facts_of(body).await.map_err(|_| verdict::spool_full(&self.session))?;
        let mut found = judge.content.judge(&facts);
        found.add(scan::hit(&transaction.scans, judge.settings.spam.tag_score));
        let own_domains = own_domains(transaction, &charged);
        transaction.known.on_lists = self.ask_lists(transaction, &charged, Some(&facts)).await;
        let has_listed_link = !transaction.known.on_lists.domains.is_empty();
        let beside = Beside { own_domains: &own_domains, score: found.score, has_listed_link };
        transaction.known.text = Some(SeenText {
            text: Text::of(&facts, &beside),
            from: facts.authors.from.first().map(ToString::to_string).unwrap_or_default(),
            subject: facts.subject,
            hits: found.hits,
        });
        let outcome = self.look(transaction, &charged, Look::Ahead, &judge).await;
        let outcome = outcome.map_err(|_| verdict::store_down(&self.session))?;
        self.check_standing(transaction, &charged, &outcome, &judge).await?;
        self.check_score(transaction, &charged, found.score, &judge)?;
        let is_spam = found.score >= judge.settings.spam.tag_score;
        let tag = judge.tag_header.as_ref().filter(|_| is_spam);
        Ok(tag.map(|name| {
            let hits = transaction.known.text.as_ref().map_or(&[][..], |seen| &seen.hits);
            tag_field(name, found.score, hits)
        }))
    }

    /// Looks at what became of a message that was handed on.
    pub(super) async fn look_back(&self, transaction: &mut Transaction, handover: &Handover) {
        let Some(charged) = transaction.charged().cloned() else { return };
        let judge = self.gate.judge.load_full();
        let called_spam = match &handover.verdict {
            HandoverVerdict::Refused(answer) => called_spam(answer, &judge),
            HandoverVerdict::Accepted(_) | HandoverVerdict::Unknown(_) => None,
            // It was not handed on.
            HandoverVerdict::Unavailable(_)
            | HandoverVerdict::Paused(_)
            | HandoverVerdict::TextLost(_)
            | HandoverVerdict::Overdue
            | HandoverVerdict::RecipientLost(_)
            | HandoverVerdict::ExtensionMissing(_) => return,
        };
        let answers = Answers {
            taken: transaction.accepted,
            unknown: transaction.known.unknown,
            called_spam,
        };
        // Mail goes on if nothing can be remembered; the store tells of its failure itself.
        let _told = self.look(transaction, &charged, Look::Back(&answers), &judge).await;
    }

    /// Looks at recipients that were refused, by the next hop or by a limit, where no text came for want of others.
    pub(super) async fn look_at_envelope(&self, transaction: &mut Transaction) {
        let known = &transaction.known;
        let has_something = !known.refused.is_empty() || transaction.limited > 0;
        if known.text.is_some() || !has_something {
            return;
        }
        let Some(charged) = transaction.charged().cloned() else { return };
        let judge = self.gate.judge.load_full();
        // Whoever gives a message up because of one recipient has not written to the others.
        transaction.known.taken.clear();
        transaction.known.on_lists = self.ask_lists(transaction, &charged, None).await;
        if self.look(transaction, &charged, Look::Ahead, &judge).await.is_err() {
            return;
        }
        if transaction.known.refused.is_empty() {
            return;
        }
        let answers = Answers { taken: 0, unknown: transaction.known.unknown, called_spam: None };
        let _told = self.look(transaction, &charged, Look::Back(&answers), &judge).await;
    }

    /// What lists say of whoever logged in, and of the domains that a text names as far as it is there. Waits no longer than the
    /// lookups' budget.
    async fn ask_lists(
        &self,
        transaction: &Transaction,
        charged: &Charged,
        facts: Option<&Facts>,
    ) -> Found {
        let lookups = self.gate.lookups.load_full();
        let is_login = matches!(charged.evidence, Evidence::Auth | Evidence::XclientLogin);
        let asks = is_login && lookups.asks_about_clients();
        let client = transaction.client;
        let client = (asks && transaction.policy.charges_client(client)).then(|| client.address());
        let domains = match facts {
            Some(facts) if lookups.asks_about_domains() => {
                domains_of(facts, transaction.mail.sender.address())
            }
            _ => Vec::new(),
        };
        if client.is_none() && domains.is_empty() {
            return Found::default();
        }
        lookups.ask(client, &domains).await
    }

    async fn look(
        &self,
        transaction: &mut Transaction,
        charged: &Charged,
        look: Look<'_>,
        judge: &Judge,
    ) -> Result<Outcome, StoreError> {
        let policy = &transaction.policy;
        let client = policy.charges_client(transaction.client);
        let known = &transaction.known;
        let recipients: Vec<Recipient> =
            known.taken.iter().chain(&known.refused).copied().collect();
        let attempt = Attempt {
            at: self.gate.clock.now(),
            client: client.then(|| Client {
                place: Some(judge.networks.place_of(transaction.client)),
                is_listed: !known.on_lists.client.is_empty(),
                greeting: transaction.greeting,
                failed_logins: transaction.failed_logins,
            }),
            recipients: &recipients,
            over_limit: transaction.limited,
            is_null_sender: transaction.mail.sender.address().is_none(),
            text: known.text.as_ref().map_or_else(Text::default, |seen| seen.text),
        };
        let sender = standing::Sender {
            account: &charged.account,
            tenant: &charged.tenant,
            client: client.then(|| transaction.client.prefix(policy.ipv6_prefix_bits)),
            reach: reach(transaction, charged),
        };
        let sample = |opinion: &Opinion| self.sample(transaction, opinion);
        let standings = &self.gate.court.standings;
        let outcome = standings.look(sender, &attempt, look, sample, &judge.settings).await?;
        transaction.known.tell(&outcome.opinion, judge);
        Ok(outcome)
    }

    /// A message as a case shows it.
    fn sample(&self, transaction: &Transaction, opinion: &Opinion) -> Sample {
        let known = &transaction.known;
        let (from, subject) = match &known.text {
            Some(seen) => (seen.from.clone(), seen.subject.clone()),
            None => (transaction.mail.sender.to_string(), String::new()),
        };
        let hits = known.text.iter().flat_map(|seen| &seen.hits);
        let hits = hits.filter(|hit| hit.points > 0.0).map(|hit| hit.says.to_string());
        let recipients = known.taken.len() + known.refused.len();
        Sample {
            at: self.gate.clock.utc(),
            client: transaction.client.to_string(),
            from,
            subject,
            recipients: u32::try_from(recipients).unwrap_or(u32::MAX),
            points: opinion.points,
            reasons: opinion
                .reasons
                .iter()
                .map(ToString::to_string)
                .chain(hits)
                .chain(known.on_lists.says())
                .collect(),
        }
    }

    /// What follows for this very message from what became of its sender.
    async fn check_standing(
        &self,
        transaction: &mut Transaction,
        charged: &Charged,
        outcome: &Outcome,
        judge: &Judge,
    ) -> Result<(), Refusal> {
        let Some(change) = outcome.change else { return Ok(()) };
        match change.to {
            Standing::Throttled { .. } if outcome.acts => self.check_left(transaction, judge).await,
            standing if standing.is_shut() => {
                let suspension = outcome.record.suspension.as_ref().filter(|_| outcome.acts);
                let Some(suspension) = suspension else {
                    transaction.would_refuse = true;
                    return Ok(());
                };
                let subject = SubjectId::Account(charged.account.clone());
                let policy = &transaction.policy;
                Err(admission::suspended(policy, &subject, suspension, &self.session))
            }
            _ => Ok(()),
        }
    }

    /// Whether the message still fits into what is left of the account's limits, now that it is throttled.
    async fn check_left(&self, transaction: &Transaction, judge: &Judge) -> Result<(), Refusal> {
        let Who::Known(admission) = &transaction.who else { return Ok(()) };
        let percent = judge.settings.suspension.throttled_percent;
        let down = |_| verdict::store_down(&self.session);
        for demand in &admission.whole {
            let limits: Vec<Limit> =
                demand.limits.iter().map(|&limit| reduced(limit, percent)).collect();
            let now = self.gate.clock.now();
            let used = self.gate.ledger.usage(&demand.key, &limits, now).await.map_err(down)?;
            let own = match demand.per {
                ChargePer::Recipient => transaction.accepted,
                ChargePer::Transaction => 1,
            };
            for (limit, usage) in limits.iter().zip(used) {
                let with_own = usage.sent.saturating_add(usage.open);
                if with_own > limit.max {
                    let hit = LimitHit {
                        key: demand.key.clone(),
                        limit: *limit,
                        used: with_own.saturating_sub(own),
                        next_slot: usage.next_slot,
                    };
                    return Err(verdict::limit_full(hit, self.gate.moment(), &self.session));
                }
            }
        }
        Ok(())
    }

    fn check_score(
        &self,
        transaction: &mut Transaction,
        charged: &Charged,
        score: f32,
        judge: &Judge,
    ) -> Result<(), Refusal> {
        let max = judge.settings.spam.refuse_score;
        if score < max {
            return Ok(());
        }
        let refusal = verdict::content(&charged.account, (score, max), &self.session);
        self.object(transaction, refusal)
    }

    /// What the beginning of a text says about itself.
    async fn facts_of(&self, body: &Body) -> io::Result<Facts> {
        let size = ByteCount::new(body.len());
        if body.len() <= SHORT_BYTES_MAX {
            let text = body.opening(message::SCAN_BYTES_MAX).await?;
            return Ok(facts(&text, size));
        }
        let place = self.gate.court.long_texts.clone().acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        let text: Bytes = body.opening(message::SCAN_BYTES_MAX).await?;
        let looking = tokio::task::spawn_blocking(move || {
            let _place = place;
            facts(&text, size)
        });
        looking.await.map_err(io::Error::other)
    }
}

impl Known {
    fn tell(&mut self, opinion: &Opinion, judge: &Judge) {
        let score = self.text.as_ref().and_then(|seen| seen.text.score);
        let told = self.told.get_or_insert_with(|| {
            let is_spam = score.is_some_and(|score| score >= judge.settings.spam.tag_score);
            Box::new(Judgement { score, is_spam, points: 0.0, reasons: self.on_lists.says() })
        });
        told.points = opinion.points;
        told.reasons.extend(opinion.reasons.iter().map(ToString::to_string));
    }
}

fn facts(text: &[u8], size: ByteCount) -> Facts {
    message::facts(&Excerpt { text, form: Form::Stuffed, size })
}

/// Whether what is found acts on the sender. A trusted server stands for many, so nobody but a person suspends it.
fn reach(transaction: &Transaction, charged: &Charged) -> Reach {
    match &transaction.who {
        _ if charged.evidence == Evidence::Peer => Reach::Spared,
        Who::Known(admission) if admission.plan.mode == Mode::Enforce => Reach::Acts,
        _ => Reach::Told,
    }
}

/// Registrable domains that may stand in From without a question.
fn own_domains(transaction: &Transaction, charged: &Charged) -> Vec<String> {
    let sender = transaction.mail.sender.address().map(Address::domain);
    let allowed = match &transaction.who {
        Who::Known(admission) => admission.senders.as_slice(),
        Who::WaitsForHeader => &[],
    };
    let allowed =
        allowed.iter().filter_map(|entry| entry.rsplit_once('@').map(|(_, domain)| domain));
    let own = charged.account.domain().into_iter().chain(sender).chain(allowed);
    own.map(|domain| registrable(&domain.to_lowercase())).collect()
}

/// The domains that lists are asked about, each once: the sender's first, then those of links. Addresses are none, and neither is
/// what nobody can register.
fn domains_of(facts: &Facts, sender: Option<&Address>) -> Vec<Subject> {
    let from = facts.authors.from.iter().map(Address::domain);
    let senders =
        from.chain(sender.map(Address::domain)).map(|domain| registrable(&domain.to_lowercase()));
    let links = facts.links.iter().map(|link| link.domain.clone());
    let mut domains: Vec<Subject> = Vec::new();
    for domain in senders.chain(links) {
        let Ok(subject @ Subject::Domain(_)) = domain.parse() else { continue };
        if !domains.contains(&subject) && psl::domain_str(&domain).is_some() {
            domains.push(subject);
        }
    }
    domains
}

fn called_spam(answer: &Reply, judge: &Judge) -> Option<Refused> {
    let says = judge.settings.spam.answers.read(answer.code(), &text_of(answer));
    let refused = if answer.is_permanent() { Refused::ForGood } else { Refused::ForNow };
    (says == Says::Spam).then_some(refused)
}

/// An answer as the patterns read it: its enhanced status, if it has one, and its text.
fn text_of(answer: &Reply) -> String {
    match answer.status() {
        Some(status) => format!("{status} {}", answer.text()),
        None => answer.text(),
    }
}

/// The field that marks a message as spam, each rule on a line of its own; rules have plain names.
fn tag_field(name: &str, score: f32, hits: &[Hit]) -> String {
    let mut field = format!("{name}: yes, score={score:.1}");
    for hit in hits {
        // Writing to a string cannot fail.
        let _ = write!(field, "\r\n\t{}={:.1}", hit.rule, hit.points);
    }
    field.push_str("\r\n");
    field
}

/// Longer texts are looked at on threads of their own.
const SHORT_BYTES_MAX: u64 = 64 * 1024;
/// Long texts that are looked at at a time; each has its beginning in memory.
const LONG_TEXTS_MAX: usize = 8;
