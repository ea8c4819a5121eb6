//! All that ever happens, as one closed enum.
//!
//! Whoever does something says so with an [`Event`]; log lines, metrics, alerts, reports and watchers are made from
//! events and from nothing else, so they cannot disagree. Events flow one way: a listener never calls back.

use crate::types::{
    Access, AccountId, Address, CaseId, ClientCertificate, ClientIp, IpPrefix, Key, Limit,
    MessageId, Month, PeerName, PlanName, ReversePath, SessionId, SubjectHash, SubjectId, TenantId,
    Timestamp, TokenName, TransactionId, Unit,
};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A connection was accepted.
    SessionOpened(SessionOpened),
    /// A connection ended.
    SessionClosed(SessionClosed),
    /// A connection was turned away before a session began.
    ConnectionRefused(ConnectionRefused),
    /// A TLS handshake succeeded.
    TlsStarted(Box<TlsStarted>),
    /// A TLS handshake failed.
    TlsFailed(TlsFailed),
    /// A login succeeded.
    LoginSucceeded(Login),
    /// A login failed.
    LoginFailed(Login),
    /// A transaction reached an end: sent, refused, deferred, unknown or given up by the client.
    Message(Box<MessageReport>),
    /// Tollgate itself refused a sender, recipients or a message.
    Refused(Box<Refusal>),
    /// A limit's use reached 80 % or 100 %; once in its window.
    LimitReached(LimitReached),
    /// Evidence of identity was ambiguous, so the trusted server was charged instead.
    EvidenceRejected(EvidenceRejected),
    /// An account or tenant was suspended.
    Suspended(Suspended),
    /// A suspension was lifted.
    Resumed(Resumed),
    /// A rule changed what a sender may do, without suspending it or lifting that.
    StandingChanged(Box<StandingChanged>),
    /// Suspensions were a wave; nobody is suspended by a rule any more until a person says so.
    BreakerOpened,
    /// A person let rules suspend again.
    BreakerClosed(BreakerClosed),
    /// An assignment or override of an account or tenant was changed.
    SubjectChanged(SubjectChanged),
    /// A token for the API was made.
    TokenCreated(TokenChanged),
    /// A token for the API was taken back.
    TokenRevoked(TokenChanged),
    /// Somebody came to the API without a token that is valid.
    TokenRefused(TokenRefused),
    /// Somebody complained about mail.
    Complaint(Box<Complaint>),
    /// What was kept long enough left the archive.
    Forgotten(Forgotten),
    /// Offences of a tenant's accounts propose to cancel it; a person decides.
    CancelProposed(CancelProposed),
    /// An account was erased; whoever remembers it forgets it.
    AccountErased(AccountErased),
    /// An entry was added to the audit.
    Audited(Audited),
    /// A next hop became usable again.
    NextHopUp(NextHopState),
    /// A next hop failed so often that it is left alone for a while.
    NextHopDown(NextHopState),
    /// Most places for connections are taken: whoever is idle goes sooner.
    PlacesScarce,
    /// There are enough places again.
    PlacesAmple,
    /// The Dovecot that checks logins can be asked again.
    LoginBackendUp(BackendState),
    /// The Dovecot that checks logins cannot be asked; logins that are not remembered are put off.
    LoginBackendDown(BackendState),
    /// A program that looks into messages can be asked again.
    ScannerUp(ScannerState),
    /// A program that looks into messages cannot be asked.
    ScannerDown(ScannerState),
    /// The configuration was read again and is in force.
    ConfigReloaded,
    /// The configuration was read again and is wrong; the old one stays in force.
    ConfigRejected(Trouble),
    /// Certificates were read again.
    CertificatesReloaded,
    /// The store could not do its work.
    StoreFailed(Trouble),
    /// The store works again.
    StoreRecovered,
    /// A text could not be written to the spool or read from it.
    SpoolFailed(Trouble),
    /// The spool works again.
    SpoolRecovered,
    /// The archive could not be written; what happens is kept in memory as long as there is room.
    ArchiveFailed(Trouble),
    /// The archive is written again.
    ArchiveRecovered,
    /// Events found no room on their way into the archive: its history has a gap.
    EventsLost(EventsLost),
    /// Events of other nodes were gone before this one could read them: its history has a gap.
    EventsMissed(EventsMissed),
    /// Half, or all, of the time that mail may not flow in this month is used up; each is told once a month.
    SlaBudgetUsed(SlaBudget),
    /// A month began, with a budget of its own, after one of whose budget something was told.
    SlaBudgetRenewed(SlaBudget),
    /// Maintenance was planned, ended or taken back.
    MaintenanceChanged(MaintenanceChanged),
    /// A mailbox, or a tenant's mailboxes together, became fuller or emptier by a threshold.
    StorageChanged(Box<StorageChanged>),
    /// A mailbox has more files than a backup takes, or not any more.
    StorageFilesChanged(Box<StorageFiles>),
    /// Where the figures of mailboxes come from can be read again.
    StorageSourceUp(BackendState),
    /// Mailboxes, or some of them, cannot be read: their figures grow old.
    StorageSourceDown(BackendState),
    /// The disk of the state directory is nearly full.
    DiskScarce(DiskRoom),
    /// The disk of the state directory has room again.
    DiskAmple(DiskRoom),
    /// The certificate of ours that ends first does so soon; once for each of some distances from its end.
    CertificateExpiring(CertificateEnd),
    /// All our certificates are good for long enough again.
    CertificateRenewed(CertificateEnd),
    /// An address or domain of ours is on a blocklist, or is there for something worse.
    Listed(Box<ListingState>),
    /// It is on that blocklist no more.
    Delisted(Box<ListingState>),
    /// A blocklist cannot be believed, or none can be asked.
    BlocklistImpaired(BlocklistState),
    /// It can be believed again, or they can be asked again.
    BlocklistWell(BlocklistState),
    /// Mail may leave by one of our addresses in another way than before.
    EgressSteered(Box<EgressSteered>),
    /// One of our addresses was listed, and this is who sent by it.
    ListingCause(Box<ListingCause>),
    /// A task ended by a panic; the connection it served was closed.
    TaskPanicked(Trouble),
    /// An alert began, became worse, still lasts or is over.
    Alert(Box<AlertTold>),
    /// Alerts cannot be delivered to one of their receivers.
    AlertSinkFailed(SinkState),
    /// A receiver of alerts takes them again.
    AlertSinkRecovered(SinkState),
}

impl Event {
    /// The event's name as it stands in log lines: stable.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SessionOpened(_) => "session-opened",
            Self::SessionClosed(_) => "session-closed",
            Self::ConnectionRefused(_) => "connection-refused",
            Self::TlsStarted(_) => "tls-started",
            Self::TlsFailed(_) => "tls-failed",
            Self::LoginSucceeded(_) => "login-succeeded",
            Self::LoginFailed(_) => "login-failed",
            Self::Message(_) => "message",
            Self::Refused(_) => "refused",
            Self::LimitReached(_) => "limit-reached",
            Self::EvidenceRejected(_) => "evidence-rejected",
            Self::Suspended(_) => "suspended",
            Self::Resumed(_) => "resumed",
            Self::StandingChanged(_) => "standing-changed",
            Self::BreakerOpened => "breaker-opened",
            Self::BreakerClosed(_) => "breaker-closed",
            Self::SubjectChanged(_) => "subject-changed",
            Self::TokenCreated(_) => "token-created",
            Self::TokenRevoked(_) => "token-revoked",
            Self::TokenRefused(_) => "token-refused",
            Self::Complaint(_) => "complaint",
            Self::Forgotten(_) => "forgotten",
            Self::CancelProposed(_) => "cancel-proposed",
            Self::AccountErased(_) => "account-erased",
            Self::Audited(_) => "audited",
            Self::NextHopUp(_) => "next-hop-up",
            Self::NextHopDown(_) => "next-hop-down",
            Self::PlacesScarce => "places-scarce",
            Self::PlacesAmple => "places-ample",
            Self::LoginBackendUp(_) => "login-backend-up",
            Self::LoginBackendDown(_) => "login-backend-down",
            Self::ScannerUp(_) => "scanner-up",
            Self::ScannerDown(_) => "scanner-down",
            Self::ConfigReloaded => "config-reloaded",
            Self::ConfigRejected(_) => "config-rejected",
            Self::CertificatesReloaded => "certificates-reloaded",
            Self::StoreFailed(_) => "store-failed",
            Self::StoreRecovered => "store-recovered",
            Self::SpoolFailed(_) => "spool-failed",
            Self::SpoolRecovered => "spool-recovered",
            Self::ArchiveFailed(_) => "archive-failed",
            Self::ArchiveRecovered => "archive-recovered",
            Self::EventsLost(_) => "events-lost",
            Self::EventsMissed(_) => "events-missed",
            Self::SlaBudgetUsed(_) => "sla-budget-used",
            Self::SlaBudgetRenewed(_) => "sla-budget-renewed",
            Self::MaintenanceChanged(_) => "maintenance-changed",
            Self::StorageChanged(_) => "storage-changed",
            Self::StorageFilesChanged(_) => "storage-files-changed",
            Self::StorageSourceUp(_) => "storage-source-up",
            Self::StorageSourceDown(_) => "storage-source-down",
            Self::DiskScarce(_) => "disk-scarce",
            Self::DiskAmple(_) => "disk-ample",
            Self::CertificateExpiring(_) => "certificate-expiring",
            Self::CertificateRenewed(_) => "certificate-renewed",
            Self::Listed(_) => "listed",
            Self::Delisted(_) => "delisted",
            Self::BlocklistImpaired(_) => "blocklist-impaired",
            Self::BlocklistWell(_) => "blocklist-well",
            Self::EgressSteered(_) => "egress-steered",
            Self::ListingCause(_) => "listing-cause",
            Self::TaskPanicked(_) => "task-panicked",
            Self::Alert(_) => "alert",
            Self::AlertSinkFailed(_) => "alert-sink-failed",
            Self::AlertSinkRecovered(_) => "alert-sink-recovered",
        }
    }
}

/// A connection was accepted.
#[derive(Debug, Clone)]
pub struct SessionOpened {
    /// The session's id.
    pub session: SessionId,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The other end of the TCP connection.
    pub remote: SocketAddr,
    /// The row of the trust table that the other end matches.
    pub peer: Option<PeerName>,
}

/// A connection ended.
#[derive(Debug, Clone)]
pub struct SessionClosed {
    /// The session's id.
    pub session: SessionId,
    /// The listener's name.
    pub listener: Arc<str>,
    /// Why: `quit`, `peer-closed`, `timeout`, `slow`, `connections-login`, `too-many-errors`, `protocol`, `tls`, `drain`, `io`, `cut` (the drain time ran
    /// out, or a panic).
    pub reason: &'static str,
    /// How long it lasted.
    pub lasted: Duration,
}

/// A connection was turned away before a session began.
#[derive(Debug, Clone)]
pub struct ConnectionRefused {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The other end of the TCP connection.
    pub remote: SocketAddr,
    /// Why: `connections-server`, `connections-total`, `connections-client`, `connections-pace`, `proxy-header`, `tls`.
    pub reason: &'static str,
}

/// A TLS handshake succeeded.
#[derive(Debug, Clone)]
pub struct TlsStarted {
    /// The session's id.
    pub session: SessionId,
    /// The listener's name.
    pub listener: Arc<str>,
    /// `TLSv1.2`, `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite.
    pub cipher: &'static str,
    /// An earlier session was resumed.
    pub resumed: bool,
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// The certificate that the client showed.
    pub certificate: Option<ClientCertificate>,
}

/// A TLS handshake failed.
#[derive(Debug, Clone)]
pub struct TlsFailed {
    /// The session's id, if one had begun.
    pub session: Option<SessionId>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The other end of the TCP connection.
    pub remote: SocketAddr,
    /// Why: `timeout`, `not-tls`, `no-common-version`, `nothing-in-common`, `client-refused`, `client-gone`,
    /// `bad-certificate`, `no-certificate`, `other`.
    pub reason: &'static str,
    /// The same in words.
    pub detail: String,
}

/// An attempt to log in.
#[derive(Debug, Clone)]
pub struct Login {
    /// The session's id.
    pub session: SessionId,
    /// The login as the client gave it, shortened.
    pub login: String,
    /// The real sender's host.
    pub client: ClientIp,
    /// `PLAIN`, `LOGIN`, `SCRAM-SHA-256`.
    pub mechanism: &'static str,
    /// `ok`, `wrong`, `paced`, `unavailable`, `too-many`.
    pub result: &'static str,
}

/// Who a transaction is charged to, and why that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charged {
    /// The account.
    pub account: AccountId,
    /// The account's tenant.
    pub tenant: TenantId,
    /// The tenant's or account's plan.
    pub plan: PlanName,
    /// The evidence that named the account.
    pub evidence: Evidence,
    /// The trusted server that handed the mail in, if one did.
    pub peer: Option<PeerName>,
}

/// What names the account, from the listener's ordered list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The login of this very connection.
    Auth,
    /// `XCLIENT LOGIN=` from a peer that may say so.
    XclientLogin,
    /// RFC 4954 `MAIL FROM:<…> AUTH=` from a peer with `mail_auth`.
    MailAuth,
    /// The header field `X-AuthUser`.
    XAuthUser,
    /// The header field `X-Authenticated-Sender`.
    XAuthenticatedSender,
    /// The topmost `Received: … (Authenticated sender: x)`.
    ReceivedAuth,
    /// The topmost `Received: … (Postfix, from userid N)`, account `uid@peer`.
    ReceivedUserid,
    /// `X-PHP-Originating-Script: uid:script`, account `uid@peer`.
    PhpScript,
    /// The envelope sender. Weak: anyone can write it.
    MailFrom,
    /// The client's address (from XCLIENT, XFORWARD, PROXY or TCP). Weak: many may share it.
    ClientIp,
    /// Nothing else counted, so the trusted server itself is charged.
    Peer,
}

impl Evidence {
    /// The name as it stands in the configuration and in log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::XclientLogin => "xclient-login",
            Self::MailAuth => "mail-auth",
            Self::XAuthUser => "x-auth-user",
            Self::XAuthenticatedSender => "x-authenticated-sender",
            Self::ReceivedAuth => "received-auth",
            Self::ReceivedUserid => "received-userid",
            Self::PhpScript => "php-script",
            Self::MailFrom => "mail-from",
            Self::ClientIp => "client-ip",
            Self::Peer => "peer",
        }
    }

    /// True if it stands in the message's header and so is known only after the end of DATA.
    #[must_use]
    pub const fn is_in_header(self) -> bool {
        matches!(
            self,
            Self::XAuthUser
                | Self::XAuthenticatedSender
                | Self::ReceivedAuth
                | Self::ReceivedUserid
                | Self::PhpScript
        )
    }

    /// True if the sender can choose it freely, so that the trusted server is charged too.
    #[must_use]
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::MailFrom | Self::ClientIp)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A limit that has no room for a charge: the facts of promise 6, the same wherever they are shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LimitHit {
    /// Whose window is full.
    #[serde(serialize_with = "as_text")]
    pub key: Key,
    /// Which limit.
    pub limit: Limit,
    /// Charges in the window, open reservations included.
    pub used: u32,
    /// When the request would pass if everything open were settled as sent now; none if it can never pass.
    pub next_slot: Option<Timestamp>,
}

fn as_text<S: serde::Serializer>(
    value: &impl fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop said 2xx to the final dot.
    Sent,
    /// A 5xx, from the next hop or from us.
    Refused,
    /// A 4xx, from the next hop or from us.
    Deferred,
    /// The next hop vanished after the final dot: charged, answered 451.
    Unknown,
    /// RSET, QUIT or disconnect before the final dot.
    Abandoned,
}

impl Outcome {
    /// The name as it stands in log lines and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Deferred => "deferred",
            Self::Unknown => "unknown",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What became of one recipient.
#[derive(Debug, Clone)]
pub struct RecipientReport {
    /// The address.
    pub address: Address,
    /// The code that the client heard for RCPT.
    pub code: u16,
    /// Who gave that answer.
    pub by: AnswerBy,
}

/// Who gave an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBy {
    /// The next hop.
    NextHop,
    /// Tollgate, because of a limit.
    Limit,
    /// Tollgate, for another reason.
    Gate,
}

/// The report on one transaction.
#[derive(Debug, Clone)]
pub struct MessageReport {
    /// The connection.
    pub session: SessionId,
    /// The transaction, as in the Received field.
    pub transaction: TransactionId,
    /// The listener's name.
    pub listener: Arc<str>,
    /// Who was charged; none if that was never decided.
    pub charged: Option<Charged>,
    /// The real sender's host.
    pub client: ClientIp,
    /// The envelope sender.
    pub sender: ReversePath,
    /// The message's own id, if its text came and has one.
    pub message_id: Option<MessageId>,
    /// The keyed hash of its subject.
    pub subject_hash: Option<SubjectHash>,
    /// Each recipient and the answer to it, at most [`REPORT_RECIPIENTS_MAX`] of them.
    pub recipients: Vec<RecipientReport>,
    /// Recipients that are charged as sent (or unknown).
    pub recipients_sent: u32,
    /// Recipients that the next hop refused for good (5xx), one by one or with the message.
    pub recipients_refused: u32,
    /// Recipients that the next hop put off (4xx), one by one or with the message, or that found it gone.
    pub recipients_deferred: u32,
    /// Recipients that a limit refused.
    pub recipients_limited: u32,
    /// The octets of the text as they came, dot-stuffed.
    pub size_bytes: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The final answer that the client heard; none if it gave up.
    pub reply: Option<String>,
    /// The next hop that took part, as `host:port`.
    pub next_hop: Option<Arc<str>>,
    /// The addresses that mail leaves by there, where they are known.
    pub egress: Arc<[IpAddr]>,
    /// The next hop's own final answer.
    pub next_hop_reply: Option<String>,
    /// When MAIL came.
    pub began: Timestamp,
    /// From MAIL to the end of the transaction.
    pub lasted: Duration,
    /// From our final dot to the next hop's answer.
    pub next_hop_took: Option<Duration>,
    /// What other programs said of its text.
    pub scans: Scans,
    /// What our own rules found.
    pub judgement: Option<Box<Judgement>>,
    /// True if `mode = "observe"` let it pass although a rule would have refused it.
    pub would_refuse: bool,
}

/// What our own rules found about a message and its sender.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The score of the text; none: it never came.
    pub score: Option<f32>,
    /// The score is one that counts as spam.
    pub is_spam: bool,
    /// The points against the sender after it.
    pub points: f32,
    /// What speaks against the sender because of it, in words.
    pub reasons: Vec<String>,
}

/// How many recipients one report names; the counts are always complete.
pub const REPORT_RECIPIENTS_MAX: usize = 100;

/// A refusal of Tollgate's own.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The connection.
    pub session: SessionId,
    /// The transaction, if one had begun.
    pub transaction: Option<TransactionId>,
    /// Who was or would be charged.
    pub charged: Option<Charged>,
    /// The real sender's host.
    pub client: ClientIp,
    /// The envelope sender.
    pub sender: ReversePath,
    /// Why, as a stable word: see [`RefusalReason::name`].
    pub reason: RefusalReason,
    /// Recipients that it concerns; 0 for a refusal of MAIL.
    pub recipients: u32,
    /// The answer that the client heard (or, in observe mode, would have heard).
    pub reply: String,
    /// The limit, where one was the reason.
    pub limit: Option<LimitHit>,
    /// True if `mode = "observe"` let it pass all the same.
    pub observed_only: bool,
}

/// Why Tollgate itself refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// A limit has no room.
    Limit,
    /// The message asks for more than a limit ever allows.
    LimitNever,
    /// The account or its tenant is suspended.
    Suspended,
    /// The account's or its tenant's mail storage is used up.
    Storage,
    /// No AUTH and no trusted client.
    NotRelaying,
    /// The login may not use this envelope sender.
    SenderMismatch,
    /// `unknown_accounts = "refuse"`.
    UnknownAccount,
    /// Too many accounts that this peer names for the first time.
    NewAccounts,
    /// The plan refuses mail from PHP's mail().
    PhpMail,
    /// ClamAV found something in it.
    Virus,
    /// The content rules give it too high a score.
    Content,
    /// Rspamd refuses it.
    Spam,
    /// Rspamd puts it off.
    SpamDeferred,
    /// A program that has to look into it cannot be asked.
    Unscanned,
    /// The message is larger than allowed.
    Size,
    /// The message went round in circles.
    Loop,
    /// The text has a bare CR, bare LF or NUL.
    Malformed,
    /// A line of the text is longer than allowed.
    LineTooLong,
    /// Spool space is used up.
    SpoolFull,
    /// As many texts are coming in as may come at a time.
    TextsBusy,
    /// The store cannot decide.
    StoreDown,
    /// No next hop can be reached.
    NextHopDown,
    /// All connections to the next hop are in use.
    NextHopBusy,
    /// The addresses that the mail would leave by are paused.
    EgressPaused,
    /// The next hop does not know an extension that the message needs.
    ExtensionMissing,
    /// The transaction lasted too long.
    TooLong,
}

impl RefusalReason {
    /// The name as it stands in log lines and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::LimitNever => "limit-never",
            Self::Suspended => "suspended",
            Self::Storage => "storage",
            Self::NotRelaying => "not-relaying",
            Self::SenderMismatch => "sender-mismatch",
            Self::UnknownAccount => "unknown-account",
            Self::NewAccounts => "new-accounts",
            Self::PhpMail => "php-mail",
            Self::Virus => "virus",
            Self::Content => "content",
            Self::Spam => "spam",
            Self::SpamDeferred => "spam-deferred",
            Self::Unscanned => "unscanned",
            Self::Size => "size",
            Self::Loop => "loop",
            Self::Malformed => "malformed",
            Self::LineTooLong => "line-too-long",
            Self::SpoolFull => "spool-full",
            Self::TextsBusy => "texts-busy",
            Self::StoreDown => "store-down",
            Self::NextHopDown => "next-hop-down",
            Self::NextHopBusy => "next-hop-busy",
            Self::EgressPaused => "egress-paused",
            Self::ExtensionMissing => "extension-missing",
            Self::TooLong => "too-long",
        }
    }
}

/// A limit's use reached a threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// Whose window.
    pub key: Key,
    /// What is counted.
    pub unit: Unit,
    /// Which limit.
    pub limit: Limit,
    /// Charges in the window, open reservations included.
    pub used: u32,
    /// 80 or 100.
    pub percent: u8,
}

/// Evidence was not believed.
#[derive(Debug, Clone)]
pub struct EvidenceRejected {
    /// The connection.
    pub session: SessionId,
    /// The trusted server, which is charged instead.
    pub peer: Option<PeerName>,
    /// Which evidence.
    pub evidence: Evidence,
    /// Why: `twice`, `malformed`, `not-entitled`, `contradicted`.
    pub reason: &'static str,
}

/// A suspension began.
#[derive(Debug, Clone)]
pub struct Suspended {
    /// Who.
    pub subject: SubjectId,
    /// The case.
    pub case: CaseId,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub actor: String,
    /// When it lifts by itself; none: a person decides.
    pub until: Option<Timestamp>,
}

/// A standing changed.
#[derive(Debug, Clone)]
pub struct StandingChanged {
    /// Whose.
    pub who: Suspect,
    /// The tenant whose matter it is, where it is one's.
    pub tenant: Option<TenantId>,
    /// What it was: `active`, `warned`, `throttled`, `suspended`, `held`.
    pub from: &'static str,
    /// What it is.
    pub to: &'static str,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// The points against the sender.
    pub points: f32,
    /// What was found last, in words.
    pub reasons: Vec<String>,
    /// True if standings are only observed, so that nothing follows.
    pub observed_only: bool,
}

impl StandingChanged {
    /// True if it has consequences and is worse than it was, short of a suspension: warned, or throttled.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        let worse = match self.to {
            "warned" => self.from == "active",
            "throttled" => matches!(self.from, "active" | "warned"),
            _ => false,
        };
        worse && !self.observed_only
    }
}

/// Whose standing it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspect {
    /// An account's or a tenant's.
    Subject(SubjectId),
    /// A client address's.
    Client(IpPrefix),
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(subject) => subject.fmt(f),
            Self::Client(prefix) => write!(f, "client {prefix}"),
        }
    }
}

/// Rules may suspend again.
#[derive(Debug, Clone)]
pub struct BreakerClosed {
    /// Why.
    pub reason: String,
    /// Who says so.
    pub actor: String,
}

/// A suspension ended.
#[derive(Debug, Clone)]
pub struct Resumed {
    /// Who.
    pub subject: SubjectId,
    /// The case.
    pub case: CaseId,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub actor: String,
}

/// An account's or tenant's assignment or override changed.
#[derive(Debug, Clone)]
pub struct SubjectChanged {
    /// Who.
    pub subject: SubjectId,
    /// What changed, in words: `account/recipients/1 h: 50 → 200 until 2026-12-01T00:00:00Z`.
    pub change: String,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub actor: String,
}

/// A token for the API came or went.
#[derive(Debug, Clone)]
pub struct TokenChanged {
    /// Its name.
    pub name: TokenName,
    /// What it may see and change.
    pub access: Access,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// Why it came or went; may be empty.
    pub reason: String,
    /// Who did it.
    pub actor: String,
}

/// A request to the API without a token that is valid.
#[derive(Debug, Clone)]
pub struct TokenRefused {
    /// Where it came from.
    pub client: ClientIp,
    /// Why: `missing`, `malformed`, `unknown`, `expired`.
    pub reason: &'static str,
}

/// A complaint about mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Its number in the archive.
    pub number: i64,
    /// `abuse`, `fraud`, `virus`, `other`; `not-spam` takes one back.
    pub kind: &'static str,
    /// Whose mail it is about, if that is known.
    pub account: Option<AccountId>,
    /// That account's tenant.
    pub tenant: Option<TenantId>,
    /// What led to the account.
    pub by: Option<Attribution>,
    /// The transaction.
    pub transaction: Option<TransactionId>,
    /// The message's own id.
    pub message_id: Option<MessageId>,
    /// Who complains.
    pub recipient: Option<Address>,
    /// How often, as the reporter says.
    pub incidents: u32,
    /// The program that made the report, or who told of it.
    pub reporter: Option<String>,
}

/// What led from a complaint to an account, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// Our id, in a Received field of the message.
    Id,
    /// The Message-ID.
    MessageId,
    /// The recipient and the time.
    Recipient,
    /// Whoever told of it named the account.
    Operator,
}

impl Attribution {
    /// The name as it stands in log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::MessageId => "message-id",
            Self::Recipient => "recipient",
            Self::Operator => "operator",
        }
    }
}

/// A tenant that should be cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelProposed {
    /// The tenant.
    pub tenant: TenantId,
    /// Why.
    pub why: String,
    /// Suspensions that count.
    pub suspensions: u64,
}

/// An account that was erased. Its name goes to whoever forgets it, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountErased {
    /// The account.
    pub account: AccountId,
}

/// What left the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Rows of all topics.
    pub rows: u64,
    /// Octets that the file gave back.
    pub octets: u64,
}

/// A new entry of the audit, without anybody's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Its number.
    pub number: u64,
    /// What was done, as a stable word.
    pub action: String,
    /// Its hash, which all entries before it are bound to.
    pub hash: String,
}

/// A next hop's health.
#[derive(Debug, Clone)]
pub struct NextHopState {
    /// The next hop, as `host:port`.
    pub next_hop: Arc<str>,
    /// The last failure, or what the probe saw.
    pub detail: String,
}

/// The health of whatever checks logins.
#[derive(Debug, Clone)]
pub struct BackendState {
    /// Where it is, as in the configuration.
    pub backend: String,
    /// The failure; empty if it works.
    pub detail: String,
}

/// The health of a program that looks into messages.
#[derive(Debug, Clone)]
pub struct ScannerState {
    /// Which.
    pub scanner: Scanner,
    /// The failure; empty if it works.
    pub detail: String,
}

/// Programs that look into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanner {
    /// Rspamd.
    Rspamd,
    /// ClamAV.
    Clamav,
}

impl Scanner {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Rspamd, Self::Clamav];

    /// The name as it stands in log lines, metrics and replies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rspamd => "rspamd",
            Self::Clamav => "clamav",
        }
    }
}

impl std::fmt::Display for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What programs that look into messages said of one; none: they were not asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scans {
    /// Rspamd.
    pub rspamd: Option<Scanned<SpamOpinion>>,
    /// ClamAV: what it found, if anything.
    pub clamav: Option<Scanned<Option<String>>>,
}

/// What one of them said.
#[derive(Debug, Clone, PartialEq)]
pub enum Scanned<T> {
    /// Its answer.
    Said(T),
    /// There was none in time, or it could not look into this message.
    Failed,
}

/// What Rspamd thinks of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct SpamOpinion {
    /// Its score.
    pub score: f64,
    /// The score at which it would refuse.
    pub required: f64,
    /// What it would do.
    pub action: SpamAction,
    /// The symbols that count most, at most [`SPAM_SYMBOLS_MAX`] of them.
    pub symbols: Vec<String>,
}

/// How many symbols an opinion names.
pub const SPAM_SYMBOLS_MAX: usize = 10;

/// What Rspamd would do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpamAction {
    /// Nothing, or what is none of an outbound gate's business.
    Pass,
    /// Mark it.
    Mark,
    /// Put it off.
    Defer,
    /// Refuse it.
    Refuse,
}

impl SpamAction {
    /// The name as it stands in log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Mark => "mark",
            Self::Defer => "defer",
            Self::Refuse => "refuse",
        }
    }
}

/// Events that were not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventsLost {
    /// How many.
    pub count: u64,
}

/// Events of other nodes that one node does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsMissed {
    /// The node that does not have them.
    pub node: String,
    /// How many.
    pub count: u64,
    /// From when, in UTC.
    pub since: Timestamp,
    /// Until when, in UTC.
    pub until: Timestamp,
}

/// A message about an alert.
#[derive(Debug, Clone)]
pub struct AlertTold {
    /// The message's id.
    pub id: String,
    /// What the alert is, as a stable word.
    pub kind: &'static str,
    /// `info`, `warning`, `critical`.
    pub severity: &'static str,
    /// `raised`, `worse`, `reminder`, `resolved`.
    pub why: &'static str,
    /// Whose matter it is, such as `account a@shop.example`.
    pub about: String,
    /// The account, if it is one's matter.
    pub account: Option<AccountId>,
    /// The tenant, if it is known to be one's matter.
    pub tenant: Option<TenantId>,
    /// The title.
    pub title: String,
}

/// A receiver of alerts.
#[derive(Debug, Clone)]
pub struct SinkState {
    /// Its name.
    pub sink: String,
    /// The failure; empty if it works.
    pub detail: String,
}

/// How much of a month's time without mail is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlaBudget {
    /// The month.
    pub month: Month,
    /// The threshold that was reached, 50 or 100; 0 of a new budget.
    pub percent: u32,
    /// How long mail did not flow in it so far, planned maintenance apart.
    pub used: Duration,
    /// How long it may not.
    pub budget: Duration,
}

/// Maintenance was planned, ended or taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceChanged {
    /// What changed, in words: `planned 3: 2026-12-01T01:00:00Z to 2026-12-01T03:00:00Z`.
    pub change: String,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub actor: String,
}

/// How full a mailbox, or a tenant's mailboxes together, became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageChanged {
    /// Whose.
    pub subject: SubjectId,
    /// The tenant.
    pub tenant: TenantId,
    /// The threshold that it had reached, 80, 95 or 100; 0: none.
    pub from: u8,
    /// The one that it has reached.
    pub percent: u8,
    /// Octets that are used.
    pub used_bytes: u64,
    /// Octets that may be.
    pub max_bytes: u64,
    /// What follows at 100 %: `refuse`, `warn`, `observe`.
    pub over: &'static str,
}

/// How many files a mailbox, or a tenant's mailboxes together, have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageFiles {
    /// Whose.
    pub subject: SubjectId,
    /// The tenant.
    pub tenant: TenantId,
    /// The files.
    pub files: u64,
    /// From how many on it is told.
    pub max: u64,
    /// True if there are more.
    pub is_over: bool,
}

/// The room on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskRoom {
    /// A folder on it.
    pub folder: String,
    /// What may still be written, in octets.
    pub free_bytes: u64,
    /// What it holds altogether, in octets.
    pub size_bytes: u64,
}

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateEnd {
    /// Its file.
    pub certificate: String,
    /// When, in UTC.
    pub not_after: Timestamp,
    /// Whole days until then; 0 on the last day and afterwards.
    pub days: u32,
}

/// An address or domain of ours on a blocklist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingState {
    /// The address or domain.
    pub subject: String,
    /// The list's name.
    pub list: Arc<str>,
    /// How much it matters: `info`, `warning`, `critical`.
    pub severity: &'static str,
    /// Since when it is, or was, on the list, in UTC.
    pub since: Timestamp,
    /// The codes that the list answers.
    pub codes: Vec<Ipv4Addr>,
    /// What they mean.
    pub meaning: String,
}

/// Whether a blocklist can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlocklistState {
    /// The list's name; none: it is about the resolver, and so about all of them.
    pub list: Option<Arc<str>>,
    /// What is wrong; empty if nothing is.
    pub detail: String,
}

/// How mail may leave by one of our addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressSteered {
    /// The address.
    pub address: IpAddr,
    /// How it might before: `free`, `drained`, `paused`.
    pub from: &'static str,
    /// How it may now.
    pub to: &'static str,
    /// Why it is not free; none: it is.
    pub why: Option<Arc<str>>,
}

/// Who sent by an address that was listed, the likeliest cause first.
#[derive(Debug, Clone, PartialEq)]
pub struct ListingCause {
    /// The address.
    pub address: IpAddr,
    /// The list's name.
    pub list: Arc<str>,
    /// Since when it is on the list, in UTC.
    pub since: Timestamp,
    /// How long before that is looked at.
    pub window: Duration,
    /// How many accounts sent by it in that time.
    pub accounts: u64,
    /// Those that weigh most; none: nobody is known to have sent by it.
    pub suspects: Vec<ListingSuspect>,
}

/// An account that sent by an address that was listed.
#[derive(Debug, Clone, PartialEq)]
pub struct ListingSuspect {
    /// The account.
    pub account: AccountId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its share of the blame in percent.
    pub blame_percent: u8,
    /// It is the likely cause, or one of several.
    pub is_likely: bool,
    /// What speaks against it, in words.
    pub reasons: Vec<String>,
}

impl ListingCause {
    /// The likely cause; none: nothing speaks against anybody.
    #[must_use]
    pub fn likely(&self) -> Option<&ListingSuspect> {
        self.suspects.first().filter(|suspect| suspect.is_likely)
    }
}

impl fmt::Display for ListingSuspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let likely = if self.is_likely { ", likely" } else { "" };
        let (account, percent) = (&self.account, self.blame_percent);
        write!(f, "{account}: {percent} % of the blame{likely}: {}", self.reasons.join(", "))
    }
}

/// Something failed.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What and why.
    pub detail: String,
}

/// Whoever listens to events: the log, the metrics, the records.
pub trait Listener: Send + Sync {
    /// Takes note of an event. Must not block and must not call back into the flow.
    fn notice(&self, at: Timestamp, event: &Event);
}

/// Hands each event to every listener. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events(Arc<[Box<dyn Listener>]>);

impl Events {
    /// Connects the listeners, in the order in which they are told.
    #[must_use]
    pub fn new(listeners: Vec<Box<dyn Listener>>) -> Self {
        Self(listeners.into())
    }

    /// Tells every listener.
    pub fn tell(&self, at: Timestamp, event: &Event) {
        for listener in self.0.iter() {
            listener.notice(at, event);
        }
    }
}
