//! What a session asks, answered: login, MAIL, RCPT, the finished text. One [`Sender`] for each connection, one open
//! transaction at a time.

use super::{
    Door, Gate,
    admission::{self, Admission, Denied, Question},
    hold::Hold,
    ids,
    judge::Known,
    places::{LoginPlace, Seat},
    report::{Concern, End},
};
use crate::{
    auth::{self, dovecot::protocol::Channel},
    deliver::{self, Handover, RecipientAnswer, Text, Verdict},
    event::{
        AnswerBy, Event, EvidenceRejected, LimitHit, Outcome, REPORT_RECIPIENTS_MAX,
        RecipientReport, RefusalReason, Scans,
    },
    message::{self, Dialect, HeaderEvidence, ReceivedFacts, ShownClient},
    rules::{
        identity::{self, Addresses, AtMail, Facts, Identity, Proxied, Shown, TrustRow},
        limits::{Mode, PhpMail},
        policy::{Policy, ReceivedClient},
        spam,
        verdict::{self, Refusal},
    },
    smtp::{
        MailAuth, MailRequest, RcptRequest, Reply,
        server::{Credential, LoginAnswer, LoginRequest, Mechanism, ScramAnswer, Session},
        xclient::ClientClaim,
    },
    spool::{Body, BodyWriter, Promise},
    store::{
        StoreError,
        ledger::{Grant, Request, Reservation, Settlement},
    },
    types::{
        AccountId, ByteCount, ClientCertificate, ClientIp, SessionId, Timestamp, TransactionId,
    },
};
use bytes::BytesMut;
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// Answers the asks of one session.
pub(super) struct Sender<'a> {
    pub(super) gate: &'a Arc<Gate>,
    pub(super) door: &'a Arc<Door>,
    pub(super) session: SessionId,
    remote: SocketAddr,
    proxied: Proxied,
    login: Option<AccountId>,
    login_place: Option<LoginPlace>,
    /// Logins that failed before that one.
    failed_logins: u32,
    certificate: Option<ClientCertificate>,
    transactions: u32,
    current: Option<Box<Transaction>>,
}

/// What the wire shows at the moment of an ask.
pub(super) struct WireFacts {
    pub(super) helo: Option<String>,
    esmtp: bool,
    tls: bool,
    /// What XCLIENT said; the session obeys it only from a peer with the right.
    xclient: ClientClaim,
    /// The login in it.
    xclient_login: Option<AccountId>,
    /// What XFORWARD said, likewise.
    xforward: ClientClaim,
}

/// Where a connection comes from.
struct Origin<'p> {
    /// The row of the trust table whose rights count.
    row: Option<&'p TrustRow>,
    /// The real sender's host.
    client: ClientIp,
    /// The login that XCLIENT named, from a peer that has the right at this moment.
    xclient_login: Option<&'p AccountId>,
}

/// Why a transaction ends without an answer of ours to the text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Abandon {
    /// RSET, QUIT, EHLO, disconnect.
    ByClient,
    /// The session answered 552 5.3.4.
    TooLarge,
    /// The session answered 550 5.6.0.
    LineTooLong,
    /// The session answered 550 5.5.2.
    Malformed,
    /// The session answered 421 4.4.2.
    TooLong,
}

/// One transaction from MAIL on.
pub(super) struct Transaction {
    pub(super) id: TransactionId,
    pub(super) policy: Arc<Policy>,
    pub(super) began: Timestamp,
    pub(super) wire: WireFacts,
    pub(super) client: ClientIp,
    /// What is alike of the names by which the client calls itself.
    pub(super) greeting: Option<u32>,
    /// Logins that failed before the one by which it is known.
    pub(super) failed_logins: u32,
    pub(super) mail: MailRequest,
    pub(super) who: Who,
    hold: Hold,
    hop: Option<deliver::Transaction>,
    pub(super) recipients: Vec<RecipientReport>,
    /// What the text calls itself, once it came.
    pub(super) names: message::Names,
    /// What other programs say of the text.
    pub(super) scans: Scans,
    /// What our own rules go by.
    pub(super) known: Known,
    pub(super) accepted: u32,
    pub(super) refused: u32,
    pub(super) deferred: u32,
    pub(super) limited: u32,
    /// What holds the place of a text that may come.
    room: Option<TextRoom>,
    body: Option<BodyWriter>,
    /// When the next hop's connection was last used.
    held_since: Option<Timestamp>,
    park_at: Option<Timestamp>,
    pub(super) would_refuse: bool,
}

/// The place of a text while it comes in and until it is handed on.
struct TextRoom {
    _seat: Seat,
    /// Kept where the client said how large it will be.
    _promise: Option<Promise>,
}

/// Who is charged.
pub(super) enum Who {
    /// Decided at MAIL.
    Known(Box<Admission>),
    /// Waits for the header of the message.
    WaitsForHeader,
}

impl WireFacts {
    /// How the real sender's host calls itself: the name belongs to the address that was shown beside it.
    fn clients_helo(&self) -> Option<&str> {
        let claimed =
            [&self.xforward, &self.xclient].into_iter().find(|claim| claim.addr.is_some());
        let helo = match claimed {
            Some(claim) => claim.helo.as_ref().or(claim.name.as_ref()),
            None => self.helo.as_ref(),
        };
        helo.map(String::as_str)
    }
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        gate: &'a Arc<Gate>,
        door: &'a Arc<Door>,
        session: SessionId,
        remote: SocketAddr,
        proxied: Proxied,
    ) -> Self {
        Self {
            gate,
            door,
            session,
            remote,
            proxied,
            login: None,
            login_place: None,
            failed_logins: 0,
            certificate: None,
            transactions: 0,
            current: None,
        }
    }

    /// What the wire shows now. The session has the last word on whether a login holds: a client may give SCRAM up after its
    /// proof was found right.
    pub(super) fn wire_facts(&mut self, session: &Session) -> WireFacts {
        if !session.is_authenticated() {
            self.forget_login();
        }
        WireFacts {
            helo: session.helo().map(str::to_owned),
            esmtp: session.used_esmtp(),
            tls: session.is_tls(),
            xclient: session.xclient().clone(),
            xclient_login: session.xclient().login.as_ref().and_then(|login| login.parse().ok()),
            xforward: session.xforward().clone(),
        }
    }

    fn forget_login(&mut self) {
        (self.login, self.login_place, self.failed_logins) = (None, None, 0);
    }

    /// From now on the connection is under TLS, where the client showed this. Nothing that was said before counts (RFC 3207 §4.2).
    pub(super) fn tls_begins(&mut self, certificate: Option<ClientCertificate>) {
        self.forget_login();
        self.certificate = certificate;
    }

    /// Where the connection comes from, as far as each statement about it is believed.
    fn origin<'p>(&self, policy: &'p Policy, wire: &'p WireFacts) -> Origin<'p> {
        let tcp_row = policy.row_of_peer(self.remote.ip()).map(|row| &**row);
        let addresses = Addresses {
            tcp: self.remote.ip(),
            proxy: self.proxied,
            xclient: wire.xclient.addr.map(ClientIp::address),
            xforward: wire.xforward.addr.map(ClientIp::address),
        };
        let source = identity::source_address(tcp_row, &addresses);
        let shown = Shown {
            login: self.login.as_ref(),
            // After XCLIENT it is another host that speaks, and the certificate is not its own.
            certificate: self
                .certificate
                .as_ref()
                .filter(|_| wire.xclient == ClientClaim::default()),
        };
        let row = source.and_then(|source| policy.row_of(source, shown));
        let obeyed = tcp_row.is_some_and(|row| row.xclient);
        Origin {
            row: row.map(|row| &**row),
            client: identity::client_ip(tcp_row, &addresses),
            xclient_login: wire.xclient_login.as_ref().filter(|_| obeyed),
        }
    }

    // ── login ──

    pub(super) async fn login(&mut self, request: LoginRequest, wire: &WireFacts) -> LoginAnswer {
        let client = self.origin(&self.gate.policy.load(), wire).client;
        let acts_for_itself = request
            .authorization
            .as_ref()
            .is_none_or(|name| name.eq_ignore_ascii_case(&request.login));
        let attempt = self.attempt(&request.login, client, wire);
        let authenticator = &self.gate.authenticator;
        let verdict = match &request.credential {
            _ if !acts_for_itself => auth::Verdict::Rejected,
            Credential::Password(password) => authenticator.check(&attempt, password).await,
            Credential::Scram(proof) => authenticator.check_proof(&attempt, proof).await,
        };
        let (answer, result) = match verdict {
            auth::Verdict::Accepted(account) => self.enter(account, LoginAnswer::Accepted),
            auth::Verdict::Proven(account, signature) => {
                self.enter(account, LoginAnswer::Proven(signature))
            }
            auth::Verdict::Rejected => (LoginAnswer::Rejected, "wrong"),
            auth::Verdict::Paced => (LoginAnswer::Unavailable, "paced"),
            auth::Verdict::Unavailable => (LoginAnswer::Unavailable, "unavailable"),
        };
        self.tell_login(&request.login, request.mechanism, client, result);
        if result == "ok" {
            self.failed_logins = authenticator.failures(&attempt);
        }
        if result == "ok" && self.gate.policy.load().charges_client(client) {
            self.gate.lookups.load().expect(client.address());
        }
        answer
    }

    fn attempt<'l>(&self, login: &'l str, client: ClientIp, wire: &WireFacts) -> auth::Attempt<'l> {
        let channel = if wire.tls { Channel::Tls } else { Channel::Plain };
        auth::Attempt { login, client, channel, now: self.gate.clock.now() }
    }

    pub(super) fn scram_parameters(&self, login: &str, wire: &WireFacts) -> ScramAnswer {
        let client = self.origin(&self.gate.policy.load(), wire).client;
        let attempt = self.attempt(login, client, wire);
        match self.gate.authenticator.scram_parameters(&attempt) {
            Ok(parameters) => ScramAnswer::Parameters(parameters),
            Err(verdict) => {
                let paced = verdict == auth::Verdict::Paced;
                let result = if paced { "paced" } else { "unavailable" };
                self.tell_login(login, Mechanism::ScramSha256, client, result);
                ScramAnswer::Unavailable
            }
        }
    }

    /// The login holds, if there is a place for one more session of it.
    fn enter(&mut self, account: AccountId, holds: LoginAnswer) -> (LoginAnswer, &'static str) {
        let Some(place) = self.gate.house.logins.take(&account) else {
            return (LoginAnswer::TooMany, "too-many");
        };
        (self.login, self.login_place) = (Some(account), Some(place));
        (holds, "ok")
    }

    // ── MAIL ──

    pub(super) async fn mail(&mut self, request: MailRequest, wire: WireFacts) -> Reply {
        let policy = self.gate.policy.load_full();
        let client = self.origin(&policy, &wire).client;
        self.transactions += 1;
        let id = ids::transaction(&self.session, self.transactions);
        match self.identify_at_mail(&policy, &request, &wire, client, &id).await {
            Ok(who) => {
                self.open(Opening { id, policy, request, wire, client, who });
                Reply::new(250, "2.1.0", "sender ok")
            }
            Err(denied) => {
                let concern =
                    Concern { id: Some(&id), client, sender: &request.sender, recipients: 0 };
                self.refuse(&denied.refusal, denied.charged.as_ref(), &concern, Mode::Enforce)
            }
        }
    }

    async fn identify_at_mail(
        &self,
        policy: &Policy,
        request: &MailRequest,
        wire: &WireFacts,
        client: ClientIp,
        id: &TransactionId,
    ) -> Result<Who, Denied> {
        let facts = self.facts(policy, request, wire);
        let identity = match identity::decide_at_mail(&facts) {
            AtMail::Named(identity) => identity,
            AtMail::WaitForHeader => return Ok(Who::WaitsForHeader),
            AtMail::NotRelaying => {
                let refusal = verdict::not_relaying(&client, &self.session);
                return Err(Denied { refusal, charged: None });
            }
        };
        self.admit(policy, identity, client, request, request.size, id)
            .await
            .map(|admission| Who::Known(Box::new(admission)))
    }

    fn facts<'f>(
        &'f self,
        policy: &'f Policy,
        request: &'f MailRequest,
        wire: &'f WireFacts,
    ) -> Facts<'f> {
        let Origin { row, client, xclient_login } = self.origin(policy, wire);
        Facts {
            evidence: &self.door.settings.evidence,
            row,
            login: self.login.as_ref(),
            xclient_login,
            mail_auth: request.auth.as_ref(),
            sender: &request.sender,
            client: client.prefix(policy.ipv6_prefix_bits),
        }
    }

    async fn admit(
        &self,
        policy: &Policy,
        identity: Identity,
        client: ClientIp,
        mail: &MailRequest,
        size: Option<u64>,
        id: &TransactionId,
    ) -> Result<Admission, Denied> {
        if let Some(rejected) = identity.rejected {
            let rejected = EvidenceRejected {
                session: self.session.clone(),
                peer: identity.peer.clone(),
                evidence: rejected.evidence,
                reason: rejected.reason,
            };
            self.gate.events.tell(self.gate.clock.now(), &Event::EvidenceRejected(rejected));
        }
        let question = Question {
            policy,
            identity,
            client,
            sender: &mail.sender,
            size,
            session: &self.session,
        };
        let admission = admission::admit(self.gate.books(), question).await?;
        for refusal in &admission.observed {
            let concern = Concern { id: Some(id), client, sender: &mail.sender, recipients: 0 };
            self.refuse(refusal, Some(&admission.charged), &concern, Mode::Observe);
        }
        Ok(admission)
    }

    fn open(&mut self, opening: Opening) {
        let Opening { id, policy, mut request, wire, client, who } = opening;
        if !self.origin(&policy, &wire).row.is_some_and(|row| row.mail_auth) {
            request.auth = request.auth.map(|_| MailAuth::Unknown);
        }
        let reservation = who.reservation();
        let would_refuse = who.is_observed();
        let hold = Hold::new(self.gate.ledger.clone(), self.gate.clock.clone(), reservation);
        self.current = Some(Box::new(Transaction {
            id,
            policy,
            began: self.gate.clock.now(),
            greeting: wire.clients_helo().map(spam::form_of),
            failed_logins: self.failed_logins,
            wire,
            client,
            hop: Some(self.gate.deliverer.load().begin(request.clone())),
            mail: request,
            who,
            hold,
            recipients: Vec::new(),
            names: message::Names::default(),
            scans: Scans::default(),
            known: Known::default(),
            accepted: 0,
            refused: 0,
            deferred: 0,
            limited: 0,
            room: None,
            body: None,
            held_since: None,
            park_at: None,
            would_refuse,
        }));
    }

    // ── RCPT ──

    pub(super) async fn recipients(&mut self, requests: Vec<RcptRequest>) -> Vec<Reply> {
        let Some(mut transaction) = self.current.take() else {
            return requests.iter().map(|_| verdict::store_down(&self.session).reply).collect();
        };
        let replies = self.answer_recipients(&mut transaction, &requests).await;
        self.current = Some(transaction);
        replies
    }

    /// Answers by the records as they are: where another node has changed them since MAIL, the sender is admitted anew.
    async fn answer_recipients(
        &self,
        transaction: &mut Transaction,
        requests: &[RcptRequest],
    ) -> Vec<Reply> {
        for _ in 0..READINGS_MAX {
            let answered = match transaction.shut().cloned() {
                Some(refusal) => self.add_reachable(transaction, requests, &refusal).await,
                None => self.add_recipients(transaction, requests).await,
            };
            match answered {
                Ok(replies) => return replies,
                Err(Outdated) => {
                    if let Err(refusal) = self.admit_anew(transaction).await {
                        return self.turn_away(transaction, requests, &refusal);
                    }
                }
            }
        }
        self.turn_away(transaction, requests, &verdict::store_down(&self.session))
    }

    /// Reads the records again that the sender was admitted on.
    async fn admit_anew(&self, transaction: &mut Transaction) -> Result<(), Refusal> {
        self.catch_up(transaction).await?;
        let Transaction { policy, mail, wire, client, id, .. } = &*transaction;
        let who = self.identify_at_mail(policy, mail, wire, *client, id).await;
        let who = who.map_err(|denied| denied.refusal)?;
        transaction.would_refuse |= who.is_observed();
        transaction.hold.reservation = Some(who.reservation());
        transaction.who = who;
        Ok(())
    }

    /// Waits until records have in them what the sender was not admitted on.
    async fn catch_up(&self, transaction: &Transaction) -> Result<(), Refusal> {
        let Who::Known(admission) = &transaction.who else { return Ok(()) };
        let caught_up = self.gate.records.catch_up(admission.revision).await;
        caught_up.map_err(|_| verdict::store_down(&self.session))
    }

    fn turn_away(
        &self,
        transaction: &mut Transaction,
        requests: &[RcptRequest],
        refusal: &Refusal,
    ) -> Vec<Reply> {
        for request in requests {
            transaction.note(request, &refusal.reply, AnswerBy::Gate);
        }
        let recipients = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        self.refuse_in(transaction, refusal, recipients, Mode::Enforce);
        requests.iter().map(|_| refusal.reply.clone()).collect()
    }

    /// Of a suspended sender only the provider's own people are reached.
    async fn add_reachable(
        &self,
        transaction: &mut Transaction,
        requests: &[RcptRequest],
        refusal: &Refusal,
    ) -> Result<Vec<Reply>, Outdated> {
        let shut = &transaction.policy.shut;
        let is_reached: Vec<bool> =
            requests.iter().map(|request| shut.reaches(&request.address)).collect();
        let reached = requests.iter().zip(&is_reached).filter(|(_, is_reached)| **is_reached);
        let reached: Vec<RcptRequest> = reached.map(|(request, _)| request.clone()).collect();
        let mut answers = self.add_recipients(transaction, &reached).await?.into_iter();
        let mut refused = 0;
        let mut replies = Vec::with_capacity(requests.len());
        for (request, is_reached) in requests.iter().zip(is_reached) {
            let answer = if is_reached { answers.next() } else { None };
            replies.push(answer.unwrap_or_else(|| {
                transaction.note(request, &refusal.reply, AnswerBy::Gate);
                refused += 1;
                refusal.reply.clone()
            }));
        }
        if refused > 0 {
            self.refuse_in(transaction, refusal, refused, Mode::Enforce);
        }
        Ok(replies)
    }

    async fn add_recipients(
        &self,
        transaction: &mut Transaction,
        requests: &[RcptRequest],
    ) -> Result<Vec<Reply>, Outdated> {
        let wanted = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        let (granted, refusal) = self.reserve(transaction, wanted, Grant::InOrder).await?;
        let (first, rest) =
            requests.split_at(usize::try_from(granted).unwrap_or(0).min(requests.len()));
        let mut replies = self.hand_on(transaction, first).await;
        if let Some(refusal) = refusal.filter(|_| !rest.is_empty()) {
            let by = if refusal.limit.is_some() { AnswerBy::Limit } else { AnswerBy::Gate };
            for request in rest {
                transaction.note(request, &refusal.reply, by);
                replies.push(refusal.reply.clone());
            }
            if refusal.limit.is_some() {
                transaction.limited += u32::try_from(rest.len()).unwrap_or(u32::MAX);
            }
            let recipients = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            self.refuse_in(transaction, &refusal, recipients, Mode::Enforce);
        }
        Ok(replies)
    }

    /// Charges recipients, where it is known whom; says how many were granted and why not more.
    async fn reserve(
        &self,
        transaction: &mut Transaction,
        wanted: u32,
        grant: Grant,
    ) -> Result<(u32, Option<Refusal>), Outdated> {
        if matches!(transaction.who, Who::WaitsForHeader) {
            return Ok((wanted, None));
        }
        let Some(reservation) = transaction.hold.reservation.as_mut() else { return Ok((0, None)) };
        let request = Request { recipients: wanted, grant };
        let now = self.gate.clock.now();
        let granted = match self.gate.ledger.reserve(reservation, request, now).await {
            Ok(granted) => granted,
            Err(StoreError::Outdated) => return Err(Outdated),
            Err(_) => return Ok((0, Some(verdict::store_down(&self.session)))),
        };
        let at_once = (grant == Grant::AllOrNothing).then_some(wanted);
        let refusal = |hit: LimitHit| {
            admission::limit_refusal(hit, at_once, self.gate.moment(), &self.session)
        };
        if let Some(observed) = granted.observed {
            transaction.would_refuse = true;
            self.refuse_in(transaction, &refusal(observed.hit), observed.recipients, Mode::Observe);
        }
        Ok((granted.recipients, granted.hit.map(refusal)))
    }

    /// Gives granted recipients to the next hop, and gives back the charges of those that it refuses.
    async fn hand_on(&self, transaction: &mut Transaction, requests: &[RcptRequest]) -> Vec<Reply> {
        if requests.is_empty() {
            return Vec::new();
        }
        let Some(hop) = transaction.hop.as_mut() else { return Vec::new() };
        let answers = hop.recipients(requests).await;
        transaction.park_at = Some(self.gate.clock.now() + SCARCITY_LOOK_EVERY);
        transaction.held_since = Some(self.gate.clock.now());
        let mut replies = Vec::with_capacity(requests.len());
        let mut turned_away = 0;
        let mut unplaced = None;
        for (request, answer) in requests.iter().zip(answers) {
            if let RecipientAnswer::Answered(reply) = &answer {
                self.note_answer(&mut transaction.known, &request.address, reply);
            }
            let (reply, by) = match self.judge_answer(answer) {
                Ok(reply) => (reply, AnswerBy::NextHop),
                Err(refusal) => {
                    let reply = refusal.reply.clone();
                    unplaced = Some(refusal);
                    (reply, AnswerBy::Gate)
                }
            };
            transaction.note(request, &reply, by);
            if reply.is_positive() {
                transaction.accepted += 1;
            } else {
                turned_away += 1;
                let of_next_hop = by == AnswerBy::NextHop;
                transaction.refused += u32::from(of_next_hop && reply.is_permanent());
                transaction.deferred += u32::from(of_next_hop && !reply.is_permanent());
            }
            replies.push(reply);
        }
        if let Some(refusal) = unplaced {
            self.refuse_in(transaction, &refusal, turned_away, Mode::Enforce);
        }
        self.release(transaction, turned_away).await;
        replies
    }

    /// The next hop's own answer, or ours where it gave none.
    fn judge_answer(&self, answer: RecipientAnswer) -> Result<Reply, Refusal> {
        match answer {
            RecipientAnswer::Answered(reply) => Ok(verdict::passed_back(&reply)),
            RecipientAnswer::Unavailable => Err(verdict::next_hop_down(&self.session)),
            RecipientAnswer::Busy => Err(verdict::next_hop_busy(&self.session)),
            RecipientAnswer::Paused(why) => Err(verdict::egress_paused(&why, &self.session)),
            RecipientAnswer::ExtensionMissing(name) => {
                Err(verdict::extension_missing(name, &self.session))
            }
        }
    }

    async fn release(&self, transaction: &mut Transaction, recipients: u32) {
        let known = matches!(transaction.who, Who::Known(_));
        if let Some(reservation) =
            transaction.hold.reservation.as_mut().filter(|_| known && recipients > 0)
        {
            let now = self.gate.clock.now();
            let _reported_by_the_store =
                self.gate.ledger.release(reservation, recipients, now).await;
        }
    }

    // ── the text ──

    /// Whether there is room for the text; if not, the transaction ends before it is sent.
    pub(super) async fn text(&mut self) -> Result<(), Reply> {
        let Some(mut transaction) = self.current.take() else {
            return Err(verdict::store_down(&self.session).reply);
        };
        match self.find_room(transaction.mail.size) {
            Ok(room) => {
                transaction.room = Some(room);
                self.current = Some(transaction);
                Ok(())
            }
            Err(refusal) => {
                let recipients = transaction.accepted;
                let reply = self.refuse_in(&transaction, &refusal, recipients, Mode::Enforce);
                self.close(transaction, 0, Some(&reply)).await;
                Err(reply)
            }
        }
    }

    fn find_room(&self, announced: Option<u64>) -> Result<TextRoom, Refusal> {
        let seat = self.gate.house.texts.take();
        let seat = seat.ok_or_else(|| verdict::texts_busy(&self.session))?;
        let promise = announced.map(|size| self.gate.spool.promise(size)).transpose();
        let promise = promise.map_err(|_| verdict::spool_full(&self.session))?;
        Ok(TextRoom { _seat: seat, _promise: promise })
    }

    pub(super) fn body_begins(&mut self) {
        if let Some(transaction) = &mut self.current {
            transaction.body = Some(self.gate.spool.begin());
        }
    }

    /// Keeps a piece of the text; if there is no room, the rest is read and dropped, and the answer will be 452.
    pub(super) async fn body(&mut self, piece: BytesMut) {
        let Some(transaction) = &mut self.current else { return };
        if let Some(body) = &mut transaction.body
            && body.write(piece).await.is_err()
        {
            transaction.body = None;
        }
    }

    /// When to look whether the next hop's connection should be given back, while the client takes its time.
    pub(super) fn park_at(&self) -> Option<Timestamp> {
        self.current.as_ref().and_then(|transaction| transaction.park_at)
    }

    /// Gives the next hop's connection back if the client has held it for too long, or if others wait for one; the envelope
    /// will be replayed on another.
    pub(super) fn consider_parking(&mut self, now: Timestamp) {
        let Some(transaction) = &mut self.current else { return };
        let (Some(hop), Some(since)) = (&mut transaction.hop, transaction.held_since) else {
            return;
        };
        let limit = since + transaction.policy.park_after;
        if now >= limit || hop.is_scarce() {
            hop.park();
            (transaction.park_at, transaction.held_since) = (None, None);
        } else {
            transaction.park_at = Some(limit.min(now + SCARCITY_LOOK_EVERY));
        }
    }

    pub(super) async fn message(&mut self, size_bytes: u64) -> Reply {
        let Some(mut transaction) = self.current.take() else {
            return verdict::store_down(&self.session).reply;
        };
        match self.judge(&mut transaction, size_bytes).await {
            Ok((body, head)) => self.send(transaction, body, head).await,
            Err(denied) => {
                let charged = denied.charged.as_ref().or_else(|| transaction.charged());
                let concern = transaction.concern(transaction.accepted);
                let reply = self.refuse(&denied.refusal, charged, &concern, Mode::Enforce);
                self.close(transaction, size_bytes, Some(&reply)).await;
                reply
            }
        }
    }

    /// The verdict on the facts of the finished message, with everything charged and durable when it is good.
    async fn judge(
        &self,
        transaction: &mut Transaction,
        size_bytes: u64,
    ) -> Result<(Body, OutgoingHead), Denied> {
        let full = |_| verdict::spool_full(&self.session);
        let body = transaction.body.take().ok_or(()).map_err(full)?;
        let body = body.finish().await.map_err(|_| verdict::spool_full(&self.session))?;
        let opening = body.opening(message::HEADER_SCAN_BYTES_MAX).await;
        let header = &opening.map_err(|_| verdict::spool_full(&self.session))?[..];
        transaction.names = message::names(header);
        let hops = message::received_count(header);
        if hops > transaction.policy.hops_max {
            return Err(verdict::loops(hops, &self.session).into());
        }
        let evidence = message::header_evidence(header);
        self.identify_at_message(transaction, &evidence, size_bytes).await?;
        self.check_plan(transaction, &evidence, size_bytes)?;
        self.scan(transaction, &body).await?;
        let mark = self.look_ahead(transaction, &body).await?;
        self.make_durable(transaction).await?;
        let row = self.origin(&transaction.policy, &transaction.wire).row;
        let strip = transaction.policy.strip_identity_headers;
        let cuts =
            message::cuts_of_identity_fields(header, |kind| strip.takes_off(kind, row, &evidence));
        let mut received = self.received(transaction);
        received.extend_from_slice(mark.unwrap_or_default().as_bytes());
        if message::begins_with_continuation(header) {
            // What the client wrote must not become part of our own field.
            received.extend_from_slice(b"\r\n");
        }
        Ok((body, OutgoingHead { received: received.into(), cuts, size_bytes }))
    }

    /// Names the account by the header, where the listener's evidence wants that, and charges the message as a whole.
    async fn identify_at_message(
        &self,
        transaction: &mut Transaction,
        evidence: &HeaderEvidence,
        size_bytes: u64,
    ) -> Result<(), Denied> {
        if matches!(transaction.who, Who::Known(_)) {
            return Ok(());
        }
        for _ in 0..READINGS_MAX {
            let charged = self.charge_as_a_whole(transaction, evidence, size_bytes).await?;
            match charged {
                Ok(()) => return Ok(()),
                Err(Outdated) => self.catch_up(transaction).await?,
            }
        }
        Err(verdict::store_down(&self.session).into())
    }

    async fn charge_as_a_whole(
        &self,
        transaction: &mut Transaction,
        evidence: &HeaderEvidence,
        size_bytes: u64,
    ) -> Result<Result<(), Outdated>, Denied> {
        let policy = transaction.policy.clone();
        let facts = self.facts(&policy, &transaction.mail, &transaction.wire);
        let decided = identity::decide_at_message(&facts, evidence);
        let admitted = self
            .admit(
                &policy,
                decided,
                transaction.client,
                &transaction.mail,
                Some(size_bytes),
                &transaction.id,
            )
            .await;
        let admission = admitted?;
        if let Some(refusal) = admission.shut.as_ref().filter(|_| !transaction.is_reachable()) {
            return Err(Denied { refusal: refusal.clone(), charged: Some(admission.charged) });
        }
        transaction.would_refuse |= !admission.observed.is_empty();
        transaction.hold.reservation = Some(admission.reservation());
        transaction.who = Who::Known(Box::new(admission));
        let wanted = transaction.accepted;
        let reserved = self.reserve(transaction, wanted, Grant::AllOrNothing).await;
        let Ok((granted, refusal)) = reserved else { return Ok(Err(Outdated)) };
        match refusal.filter(|_| granted < wanted) {
            Some(refusal) => {
                transaction.limited += wanted;
                Err(refusal.into())
            }
            None => Ok(Ok(())),
        }
    }

    fn check_plan(
        &self,
        transaction: &mut Transaction,
        evidence: &HeaderEvidence,
        size_bytes: u64,
    ) -> Result<(), Refusal> {
        let Who::Known(admission) = &transaction.who else { return Ok(()) };
        let (charged, plan) = (&admission.charged, &admission.plan);
        let refusal = if plan.php_mail == PhpMail::Refuse && evidence.is_from_php() {
            verdict::php_mail(&charged.account, &self.session)
        } else if size_bytes > plan.message_bytes_max {
            verdict::too_large(size_bytes, ByteCount::new(plan.message_bytes_max), &self.session)
        } else {
            return Ok(());
        };
        self.object(transaction, refusal)
    }

    /// Refuses a message, or only tells it where the plan observes.
    pub(super) fn object(
        &self,
        transaction: &mut Transaction,
        refusal: Refusal,
    ) -> Result<(), Refusal> {
        let observes = matches!(&transaction.who, Who::Known(it) if it.plan.mode == Mode::Observe);
        // Size is a promise of the wire (SIZE), and what could not be looked into was not judged: both hold in observe mode too.
        let is_judgement =
            !matches!(refusal.reason, RefusalReason::Size | RefusalReason::Unscanned);
        if !(observes && is_judgement) {
            return Err(refusal);
        }
        let recipients = transaction.accepted;
        self.refuse_in(transaction, &refusal, recipients, Mode::Observe);
        transaction.would_refuse = true;
        Ok(())
    }

    async fn make_durable(&self, transaction: &mut Transaction) -> Result<(), Refusal> {
        let down = || verdict::store_down(&self.session);
        let reservation = transaction.hold.reservation.as_mut().ok_or_else(down)?;
        let durable = self.gate.ledger.make_durable(reservation);
        match tokio::time::timeout(DURABLE_TIME_MAX, durable).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(down()),
        }
    }

    fn received(&self, transaction: &Transaction) -> Vec<u8> {
        let wire = &transaction.wire;
        let helo = wire.clients_helo().unwrap_or("unknown");
        let shown = ShownClient { helo, address: transaction.client.address() };
        message::received_field(&ReceivedFacts {
            client: (transaction.policy.received_client == ReceivedClient::Full).then_some(shown),
            hostname: &transaction.policy.hostname,
            dialect: match (transaction.mail.smtputf8, wire.esmtp) {
                (true, _) => Dialect::Utf8Smtp,
                (false, true) => Dialect::Esmtp,
                (false, false) => Dialect::Smtp,
            },
            tls: wire.tls,
            login: self.login.is_some(),
            transaction: &transaction.id,
            at: self.gate.clock.utc(),
        })
    }

    async fn send(
        &self,
        mut transaction: Box<Transaction>,
        body: Body,
        head: OutgoingHead,
    ) -> Reply {
        let Some(hop) = transaction.hop.take() else {
            return verdict::store_down(&self.session).reply;
        };
        transaction.hold.underway = true;
        let size_bytes = head.size_bytes;
        let dot_by = transaction.hold.dot_by();
        let text = Text { head: head.received, body: &body, cuts: head.cuts, dot_by };
        let handover = hop.send(text).await;
        drop(body);
        let (settlement, outcome, reply) = self.conclude(&handover);
        if let Some(reservation) = transaction.hold.reservation.take() {
            let now = self.gate.clock.now();
            if let Ok(reached) = self.gate.ledger.settle(reservation, settlement, now).await {
                for limit in reached {
                    self.gate.events.tell(now, &Event::LimitReached(limit));
                }
            }
        }
        self.look_back(&mut transaction, &handover).await;
        let end = End { outcome, size_bytes, reply: Some(&reply), handover: Some(&handover) };
        self.report(&transaction, &end);
        reply
    }

    /// What the next hop's verdict means for the charge, the log and the client.
    fn conclude(&self, handover: &Handover) -> (Settlement, Outcome, Reply) {
        let by_class = |reply: &Reply| {
            if reply.is_permanent() { Outcome::Refused } else { Outcome::Deferred }
        };
        match &handover.verdict {
            Verdict::Accepted(answer) => {
                (Settlement::Sent, Outcome::Sent, verdict::passed_back(answer))
            }
            Verdict::Refused(answer) => {
                (Settlement::Refunded, by_class(answer), verdict::passed_back(answer))
            }
            Verdict::Unknown(_) => {
                (Settlement::Unknown, Outcome::Unknown, verdict::outcome_unknown(&self.session))
            }
            Verdict::Unavailable(_) => (
                Settlement::Refunded,
                Outcome::Deferred,
                verdict::next_hop_down(&self.session).reply,
            ),
            Verdict::Paused(why) => (
                Settlement::Refunded,
                Outcome::Deferred,
                verdict::egress_paused(why, &self.session).reply,
            ),
            Verdict::Overdue => {
                (Settlement::Refunded, Outcome::Deferred, verdict::store_down(&self.session).reply)
            }
            Verdict::TextLost(_) => {
                (Settlement::Refunded, Outcome::Deferred, verdict::spool_full(&self.session).reply)
            }
            Verdict::RecipientLost(answer) => (
                Settlement::Refunded,
                Outcome::Deferred,
                verdict::recipient_lost(answer, &self.session),
            ),
            Verdict::ExtensionMissing(name) => {
                let refusal = verdict::extension_missing(name, &self.session);
                (Settlement::Refunded, Outcome::Refused, refusal.reply)
            }
        }
    }

    // ── the other ends ──

    /// Ends the open transaction without an answer to its text.
    pub(super) async fn abandon(&mut self, how: Abandon) {
        let Some(transaction) = self.current.take() else { return };
        let refusal = match how {
            Abandon::ByClient => None,
            Abandon::TooLarge => Some(verdict::grew_too_large()),
            Abandon::LineTooLong => Some(verdict::line_too_long()),
            Abandon::Malformed => Some(verdict::malformed()),
            Abandon::TooLong => Some(verdict::too_long()),
        };
        let recipients = transaction.accepted;
        let reply = refusal
            .map(|refusal| self.refuse_in(&transaction, &refusal, recipients, Mode::Enforce));
        self.close(transaction, 0, reply.as_ref()).await;
    }

    /// Gives everything back and reports the end.
    async fn close(
        &self,
        mut transaction: Box<Transaction>,
        size_bytes: u64,
        reply: Option<&Reply>,
    ) {
        if let Some(reservation) = transaction.hold.reservation.take() {
            let now = self.gate.clock.now();
            let _reported_by_the_store =
                self.gate.ledger.settle(reservation, Settlement::Refunded, now).await;
        }
        if let Some(hop) = transaction.hop.take() {
            hop.abort();
        }
        if transaction.recipients.is_empty() {
            return;
        }
        let outcome = match reply {
            None => Outcome::Abandoned,
            Some(reply) if reply.is_permanent() => Outcome::Refused,
            Some(_) => Outcome::Deferred,
        };
        self.look_at_envelope(&mut transaction).await;
        transaction.accepted = 0;
        self.report(&transaction, &End { outcome, size_bytes, reply, handover: None });
    }
}

impl Who {
    /// Nothing charged yet, in the windows that are known.
    fn reservation(&self) -> Reservation {
        match self {
            Self::Known(admission) => admission.reservation(),
            Self::WaitsForHeader => Reservation::new(Vec::new()),
        }
    }

    /// True if something was only told that is refused elsewhere.
    fn is_observed(&self) -> bool {
        matches!(self, Self::Known(admission) if !admission.observed.is_empty())
    }
}

impl Transaction {
    /// What recipients hear because the sender is suspended.
    fn shut(&self) -> Option<&Refusal> {
        match &self.who {
            Who::Known(admission) => admission.shut.as_ref(),
            Who::WaitsForHeader => None,
        }
    }

    /// True if all its recipients are ones that a suspended sender may reach.
    fn is_reachable(&self) -> bool {
        let accepted = self.recipients.iter().filter(|recipient| recipient.code < 300);
        let is_whole = self.recipients.len() < REPORT_RECIPIENTS_MAX;
        is_whole && accepted.into_iter().all(|to| self.policy.shut.reaches(&to.address))
    }
}

/// The records have changed since the sender was admitted.
struct Outdated;

/// What a new transaction begins with.
struct Opening {
    id: TransactionId,
    policy: Arc<Policy>,
    request: MailRequest,
    wire: WireFacts,
    client: ClientIp,
    who: Who,
}

/// What goes out before and instead of parts of the body.
struct OutgoingHead {
    received: bytes::Bytes,
    cuts: Vec<std::ops::Range<u64>>,
    size_bytes: u64,
}

/// How often records are read for one answer while other nodes change them.
const READINGS_MAX: usize = 16;
/// How often a held connection is looked at while others may wait for one.
const SCARCITY_LOOK_EVERY: Duration = Duration::from_millis(250);
/// Wait for the disk to take a reservation; with the longest `next_hop.timeout_after_dot` it stays below 9 minutes.
const DURABLE_TIME_MAX: Duration = Duration::from_secs(20);
