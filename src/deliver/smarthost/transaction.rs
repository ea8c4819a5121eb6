//! One mail on its way to a server: the envelope as it grows, parking, replay, the text, and what may be tried again.
//!
//! Nothing is ever sent twice: an envelope may be replayed as long as no octet of the final dot can have left; after that
//! there is no second attempt. A connection that waited in the pool may have been closed meanwhile, so its first failure
//! is no failure of the hop.

use super::{
    super::{Handover, RecipientAnswer, Text, Verdict},
    House, Needs, NoHop,
    connection::{Envelope, Failure, Progress},
    pool::{Host, Lease, Origin},
};
use crate::{
    clock,
    smtp::{
        MailRequest, RcptRequest, Reply,
        client::{Answers, CODE_CLOSING, Group, passed_on},
    },
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// See [`super::super::Transaction`].
pub(in super::super) struct SmarthostTransaction {
    house: Arc<House>,
    mail: MailRequest,
    needs: Needs,
    /// The recipients that were answered 2xx; they are what is replayed.
    accepted: Vec<RcptRequest>,
    place: Place,
    hop: Option<Arc<Host>>,
    /// Failed this transaction, so it is tried last.
    avoid: Option<Arc<Host>>,
}

/// Where the envelope is.
enum Place {
    /// Nowhere yet, or its connection was lost.
    Nowhere,
    /// On this connection.
    Held(Box<Lease>),
    /// The connection was given back while the client takes its time.
    Parked,
    /// MAIL was refused; every recipient gets this answer.
    Refused(Reply),
    /// An accepted recipient was refused at a replay.
    Lost(Reply),
}

/// Why an envelope cannot be placed.
enum Stop {
    NoHop(NoHop),
    MailRefused(Reply),
    RecipientLost(Reply),
}

/// How often a failure is still followed by another attempt.
struct Retries {
    /// After the failure of a connection that had waited in the pool.
    stale: u32,
    /// After the failure of a fresh one.
    fresh: u32,
}

impl SmarthostTransaction {
    pub(super) fn new(house: Arc<House>, mail: MailRequest) -> Self {
        let needs = Needs::of(&mail);
        let (accepted, place) = (Vec::new(), Place::Nowhere);
        Self { house, mail, needs, accepted, place, hop: None, avoid: None }
    }

    pub(in super::super) async fn recipients(
        &mut self,
        requests: &[RcptRequest],
    ) -> Vec<RecipientAnswer> {
        let mut retries = Retries::new();
        let work = timeout(ENVELOPE_WAIT_MAX, self.place_envelope(requests, &mut retries)).await;
        let late = || NoHop::Unreachable(format!("no answer within {ENVELOPE_WAIT_MAX:?}"));
        let answers = match work.unwrap_or_else(|_| Err(late().into())) {
            Ok((lease, replies)) => {
                self.place = Place::Held(lease);
                replies.into_iter().map(RecipientAnswer::Answered).collect()
            }
            Err(stop) => vec![self.stopped(stop); requests.len()],
        };
        for (request, answer) in requests.iter().zip(&answers) {
            if matches!(answer, RecipientAnswer::Answered(reply) if reply.is_positive()) {
                self.accepted.push(request.clone());
            }
        }
        answers
    }

    pub(in super::super) fn park(&mut self) {
        match std::mem::replace(&mut self.place, Place::Parked) {
            Place::Held(lease) => lease.give_back(),
            Place::Nowhere | Place::Parked => {}
            decided => self.place = decided,
        }
    }

    pub(in super::super) fn is_scarce(&self) -> bool {
        matches!(&self.place, Place::Held(lease) if lease.host.has_no_slot())
    }

    pub(in super::super) fn abort(mut self) {
        self.park();
    }

    pub(in super::super) async fn send(mut self, text: &Text<'_>) -> Handover {
        let mut progress = Progress::default();
        let limit = self.house.settings.timeout_after_dot;
        let work = self.hand_over(text, &mut progress);
        let verdict = timeout(limit, work).await.unwrap_or_else(|_| too_late(limit, &progress));
        let hop = self.hop.as_ref();
        let next_hop = hop.map(|host| Arc::clone(&host.name));
        let egress = hop.map(|host| Arc::clone(&host.settings.egress));
        let took = progress.dot_sent.map(|sent| clock::steady_now().duration_since(sent));
        Handover { verdict, next_hop, egress: egress.unwrap_or_default(), took }
    }

    async fn hand_over(&mut self, text: &Text<'_>, progress: &mut Progress) -> Verdict {
        self.needs.size_bytes = self.needs.size_bytes.max(text.len());
        let mut retries = Retries::new();
        loop {
            let mut lease = match self.place_envelope(&[], &mut retries).await {
                Ok((lease, _)) => lease,
                Err(stop) => return stop.into_verdict(),
            };
            *progress = Progress::default();
            match lease.connection.hand_over(text, progress).await {
                Ok(reply) => return self.answered(*lease, reply),
                Err(Failure::TextRefused(reply)) => return Verdict::Refused(reply),
                Err(failure) if progress.dot_sent.is_some() => {
                    self.house.note_failure(&lease.host, &failure);
                    return Verdict::Unknown(failure.to_string());
                }
                Err(Failure::Overdue) => return Verdict::Overdue,
                Err(failure @ Failure::Body(_)) => {
                    return Verdict::TextLost(failure.to_string());
                }
                Err(failure) => {
                    // What failed after 354 is no connection that had been closed while it idled.
                    if progress.text_begun {
                        lease.origin = Origin::Fresh;
                    }
                    if let Err(stop) = self.retry(&lease, &failure, &mut retries) {
                        return stop.into_verdict();
                    }
                }
            }
        }
    }

    /// The hop answered to DATA or to the final dot.
    fn answered(&self, mut lease: Lease, reply: Reply) -> Verdict {
        self.house.tell(&lease.host, lease.host.note_success());
        lease.connection.uses += 1;
        if reply.code() != CODE_CLOSING {
            lease.give_back();
        }
        if reply.is_positive() {
            Verdict::Accepted(reply)
        } else {
            Verdict::Refused(passed_on(reply))
        }
    }

    /// Brings the envelope so far and `requests` to a hop: over the connection that is held, or on another after a replay.
    async fn place_envelope(
        &mut self,
        requests: &[RcptRequest],
        retries: &mut Retries,
    ) -> Result<(Box<Lease>, Vec<Reply>), Stop> {
        loop {
            let mut lease = match self.held()? {
                Some(lease) => lease,
                None => Box::new(self.house.acquire(self.needs, self.avoid.as_ref()).await?),
            };
            self.hop = Some(Arc::clone(&lease.host));
            match self.exchange(&mut lease, requests).await {
                Ok(answers) => return self.judge(lease, answers),
                Err(failure) => self.retry(&lease, &failure, retries)?,
            }
        }
    }

    /// The connection that is held, if it is still good for this message.
    fn held(&mut self) -> Result<Option<Box<Lease>>, Stop> {
        match std::mem::replace(&mut self.place, Place::Nowhere) {
            Place::Held(lease) => Ok(self.still_good(lease)),
            Place::Nowhere | Place::Parked => Ok(None),
            Place::Refused(reply) => Err(Stop::MailRefused(reply)),
            Place::Lost(reply) => Err(Stop::RecipientLost(reply)),
        }
    }

    fn still_good(&self, mut lease: Box<Lease>) -> Option<Box<Lease>> {
        if !lease.is_ready() {
            return None;
        }
        let is_paused = self.house.is_paused(&lease.host);
        if is_paused || self.needs.missing(&lease.connection.extensions).is_some() {
            lease.give_back();
            return None;
        }
        // It waited for the client, so that it may be closed as one from the pool may.
        lease.origin = Origin::Reused;
        Some(lease)
    }

    async fn exchange(
        &self,
        lease: &mut Lease,
        requests: &[RcptRequest],
    ) -> Result<Answers, Failure> {
        let connection = &mut lease.connection;
        let mut group = Group::new(&connection.extensions);
        if connection.envelope() == Envelope::Stale {
            group.reset();
        }
        if connection.envelope() != Envelope::Ours {
            group.mail(&self.mail, &connection.extensions);
            self.accepted.iter().for_each(|rcpt| group.rcpt(rcpt, &connection.extensions));
        }
        requests.iter().for_each(|rcpt| group.rcpt(rcpt, &connection.extensions));
        if group.is_done() {
            return Ok(group.into_answers());
        }
        connection.exchange(group).await
    }

    /// Takes the replayed part off the answers; what remains belongs to the new recipients.
    fn judge(&self, lease: Box<Lease>, answers: Answers) -> Result<(Box<Lease>, Vec<Reply>), Stop> {
        let Answers { mail, mut recipients } = answers;
        if let Some(mail) = mail {
            if !mail.is_positive() {
                lease.give_back();
                let lost = !self.accepted.is_empty();
                return Err(if lost { Stop::RecipientLost(mail) } else { Stop::MailRefused(mail) });
            }
            let replayed = recipients.drain(..self.accepted.len().min(recipients.len()));
            let lost = replayed.into_iter().find(|reply| !reply.is_positive());
            if let Some(lost) = lost {
                lease.give_back();
                return Err(Stop::RecipientLost(lost));
            }
        }
        Ok((lease, recipients))
    }

    /// Whether another attempt may be made after `failure`, before anything of the final dot was sent.
    fn retry(
        &mut self,
        lease: &Lease,
        failure: &Failure,
        retries: &mut Retries,
    ) -> Result<(), Stop> {
        let left = match lease.origin {
            Origin::Reused => {
                // The others probably waited as long.
                lease.host.clear_idle();
                &mut retries.stale
            }
            Origin::Fresh => {
                self.house.note_failure(&lease.host, failure);
                self.avoid = Some(Arc::clone(&lease.host));
                &mut retries.fresh
            }
        };
        match left.checked_sub(1) {
            Some(fewer) => *left = fewer,
            None => {
                return Err(NoHop::Unreachable(format!("{}: {failure}", lease.host.name)).into());
            }
        }
        Ok(())
    }

    /// The answer for every recipient of a group that could not be placed.
    fn stopped(&mut self, stop: Stop) -> RecipientAnswer {
        match stop {
            Stop::NoHop(reason) => reason.answer(),
            Stop::MailRefused(reply) => {
                self.place = Place::Refused(reply.clone());
                RecipientAnswer::Answered(reply)
            }
            Stop::RecipientLost(reply) => {
                self.place = Place::Lost(reply);
                RecipientAnswer::Unavailable
            }
        }
    }
}

impl Stop {
    fn into_verdict(self) -> Verdict {
        match self {
            Self::NoHop(NoHop::Busy) => {
                Verdict::Unavailable(String::from("all connections to the next hop are in use"))
            }
            Self::NoHop(NoHop::Unreachable(why)) => Verdict::Unavailable(why),
            Self::NoHop(NoHop::Paused(why)) => Verdict::Paused(why),
            Self::NoHop(NoHop::Missing(extension)) => Verdict::ExtensionMissing(extension),
            Self::MailRefused(reply) => Verdict::Refused(reply),
            Self::RecipientLost(reply) => Verdict::RecipientLost(reply),
        }
    }
}

impl From<NoHop> for Stop {
    fn from(reason: NoHop) -> Self {
        Self::NoHop(reason)
    }
}

impl NoHop {
    fn answer(&self) -> RecipientAnswer {
        match self {
            Self::Busy => RecipientAnswer::Busy,
            Self::Unreachable(_) => RecipientAnswer::Unavailable,
            Self::Paused(why) => RecipientAnswer::Paused(Arc::clone(why)),
            Self::Missing(extension) => RecipientAnswer::ExtensionMissing(extension),
        }
    }
}

impl Retries {
    const fn new() -> Self {
        Self { stale: 1, fresh: 1 }
    }
}

fn too_late(limit: Duration, progress: &Progress) -> Verdict {
    let why = format!("the hand-over took longer than {limit:?}");
    if progress.dot_sent.is_some() { Verdict::Unknown(why) } else { Verdict::Unavailable(why) }
}

/// All waits for one group of recipients together; clients give up after 5 minutes (RFC 5321 §4.5.3.2.3).
const ENVELOPE_WAIT_MAX: Duration = Duration::from_secs(4 * 60);
