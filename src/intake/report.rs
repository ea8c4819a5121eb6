//! Saying what happened: every refusal and every end of a transaction becomes one event, made here and nowhere else.

use super::transaction::{Sender, Transaction, Who};
use crate::{
    deliver::{Handover, Verdict},
    event::{
        AnswerBy, Charged, Event, Login, MessageReport, Outcome, REPORT_RECIPIENTS_MAX,
        RecipientReport, Refusal as RefusalEvent,
    },
    rules::{limits::Mode, verdict::Refusal},
    smtp::{RcptRequest, Reply, server::Mechanism},
    types::{ClientIp, ReversePath, TransactionId},
};

/// What a refusal is about.
pub(super) struct Concern<'a> {
    pub(super) id: Option<&'a TransactionId>,
    pub(super) client: ClientIp,
    pub(super) sender: &'a ReversePath,
    pub(super) recipients: u32,
}

/// How a transaction ended, for the report.
pub(super) struct End<'a> {
    pub(super) outcome: Outcome,
    pub(super) size_bytes: u64,
    pub(super) reply: Option<&'a Reply>,
    pub(super) handover: Option<&'a Handover>,
}

impl End<'_> {
    /// Recipients that the next hop had accepted and then, with the text, refused or put off after all.
    fn taken_back(&self, outcome: Outcome, accepted: u32) -> u32 {
        if self.handover.is_some() && self.outcome == outcome { accepted } else { 0 }
    }
}

impl Sender<'_> {
    pub(super) fn tell_login(
        &self,
        login: &str,
        mechanism: Mechanism,
        client: ClientIp,
        result: &'static str,
    ) {
        let mechanism = mechanism.name();
        let login = login.chars().take(LOGIN_CHARS_SHOWN_MAX).collect();
        let login = Login { session: self.session.clone(), login, client, mechanism, result };
        let event =
            if result == "ok" { Event::LoginSucceeded(login) } else { Event::LoginFailed(login) };
        self.gate.events.tell(self.gate.clock.now(), &event);
    }

    pub(super) fn refuse_in(
        &self,
        transaction: &Transaction,
        refusal: &Refusal,
        recipients: u32,
        mode: Mode,
    ) -> Reply {
        self.refuse(refusal, transaction.charged(), &transaction.concern(recipients), mode)
    }

    /// Tells the event and keeps the refusal for `explain`; returns what the client hears.
    pub(super) fn refuse(
        &self,
        refusal: &Refusal,
        charged: Option<&Charged>,
        concern: &Concern<'_>,
        mode: Mode,
    ) -> Reply {
        let now = self.gate.clock.now();
        let reply = refusal.reply.to_string();
        if let Some(charged) = charged.filter(|_| mode == Mode::Enforce) {
            self.gate.records.note_refusal(&charged.account, now, &reply, refusal.limit.as_deref());
        }
        let event = RefusalEvent {
            session: self.session.clone(),
            transaction: concern.id.cloned(),
            charged: charged.cloned(),
            client: concern.client,
            sender: concern.sender.clone(),
            reason: refusal.reason,
            recipients: concern.recipients,
            reply,
            limit: refusal.limit.as_deref().cloned(),
            observed_only: mode == Mode::Observe,
        };
        self.gate.events.tell(now, &Event::Refused(Box::new(event)));
        refusal.reply.clone()
    }

    pub(super) fn report(&self, transaction: &Transaction, end: &End<'_>) {
        let now = self.gate.clock.now();
        let answered = end.handover.map(|handover| match &handover.verdict {
            Verdict::Accepted(reply) | Verdict::Refused(reply) | Verdict::RecipientLost(reply) => {
                reply.to_string()
            }
            Verdict::Unknown(detail) | Verdict::Unavailable(detail) | Verdict::TextLost(detail) => {
                detail.clone()
            }
            Verdict::Paused(why) => why.to_string(),
            Verdict::Overdue => String::from("the time to send it was over"),
            Verdict::ExtensionMissing(name) => (*name).to_owned(),
        });
        let charged = matches!(end.outcome, Outcome::Sent | Outcome::Unknown);
        let report = MessageReport {
            session: self.session.clone(),
            transaction: transaction.id.clone(),
            listener: self.door.settings.name.clone(),
            charged: transaction.charged().cloned(),
            client: transaction.client,
            sender: transaction.mail.sender.clone(),
            message_id: transaction.names.message_id.clone(),
            subject_hash: transaction.names.subject.as_ref().map(|s| self.gate.subjects.hash(s)),
            recipients: transaction.recipients.clone(),
            recipients_sent: if charged { transaction.accepted } else { 0 },
            recipients_refused: transaction.refused
                + end.taken_back(Outcome::Refused, transaction.accepted),
            recipients_deferred: transaction.deferred
                + end.taken_back(Outcome::Deferred, transaction.accepted),
            recipients_limited: transaction.limited,
            size_bytes: end.size_bytes,
            outcome: end.outcome,
            reply: end.reply.map(ToString::to_string),
            next_hop: end.handover.and_then(|handover| handover.next_hop.clone()),
            egress: end.handover.map(|handover| handover.egress.clone()).unwrap_or_default(),
            next_hop_reply: answered,
            began: transaction.began,
            lasted: now.since(transaction.began),
            next_hop_took: end.handover.and_then(|handover| handover.took),
            scans: transaction.scans.clone(),
            judgement: transaction.known.told.clone(),
            would_refuse: transaction.would_refuse,
        };
        self.gate.events.tell(now, &Event::Message(Box::new(report)));
    }
}

impl Transaction {
    /// Who is charged, once that is known.
    pub(super) fn charged(&self) -> Option<&Charged> {
        match &self.who {
            Who::Known(admission) => Some(&admission.charged),
            Who::WaitsForHeader => None,
        }
    }

    /// What a refusal of so many recipients of this transaction is about.
    pub(super) const fn concern(&self, recipients: u32) -> Concern<'_> {
        Concern { id: Some(&self.id), client: self.client, sender: &self.mail.sender, recipients }
    }

    pub(super) fn note(&mut self, request: &RcptRequest, reply: &Reply, by: AnswerBy) {
        if self.recipients.len() < REPORT_RECIPIENTS_MAX {
            let report =
                RecipientReport { address: request.address.clone(), code: reply.code(), by };
            self.recipients.push(report);
        }
    }
}

/// How much of a login an event repeats.
const LOGIN_CHARS_SHOWN_MAX: usize = 64;
