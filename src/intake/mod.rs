//! One inbound connection: pump, identify, facts, judge, reserve, hand over, settle.
//!
//! [`connection`] moves bytes between the socket and the session machine, `transaction` answers what the machine asks,
//! `admission` turns an identity into the windows that are charged. Nothing here decides: decisions are `rules`', and
//! what the past says is the store's. A message passes through once; nothing below calls back.

pub mod admission;
pub mod connection;
mod hold;
pub mod ids;
mod judge;
pub mod places;
mod report;
mod scan;
mod transaction;

pub use judge::{Court, Judge};

use crate::{
    auth::Authenticator,
    clock::Clock,
    deliver::{Deliverer, Steering},
    event::{Events, Evidence},
    message::SubjectKey,
    net::{ClientCertificates, TlsServer},
    resolve::Lookups,
    rules::{identity::Proxied, policy::Policy, verdict::Moment},
    scan::Scanners,
    smtp::{data::LineEndings, server::SessionSettings},
    spool::Spool,
    store::{ledger::Ledger, mailboxes::Mailboxes, records::Records},
};
use arc_swap::ArcSwap;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// Everything that connections share.
pub struct Gate {
    /// Charges.
    pub ledger: Arc<dyn Ledger>,
    /// States, overrides, assignments.
    pub records: Arc<dyn Records>,
    /// The way on.
    pub deliverer: ArcSwap<Deliverer>,
    /// Which of its ways are taken.
    pub steering: Steering,
    /// Room for texts.
    pub spool: Spool,
    /// How many connections, texts and sessions of a login there may be.
    pub house: places::House,
    /// Passwords.
    pub authenticator: Arc<Authenticator>,
    /// What is read afresh at each MAIL.
    pub policy: Arc<ArcSwap<Policy>>,
    /// Other programs that look into texts.
    pub scanners: ArcSwap<Scanners>,
    /// What messages and their senders are judged by.
    pub judge: ArcSwap<Judge>,
    /// Whoever asks blocklists about clients and links.
    pub lookups: ArcSwap<Lookups>,
    /// What senders did, and what follows.
    pub court: Court,
    /// How full mailboxes are.
    pub mailboxes: Mailboxes,
    /// The time.
    pub clock: Clock,
    /// What subjects are hashed under.
    pub subjects: SubjectKey,
    /// Who wants to know.
    pub events: Events,
    /// Names for sessions.
    pub ids: ids::Ids,
}

impl Gate {
    /// The present moment on both clocks, for texts.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment { ledger: self.clock.now(), utc: self.clock.utc() }
    }

    fn books(&self) -> admission::Books<'_> {
        admission::Books {
            ledger: &*self.ledger,
            records: &*self.records,
            behaviour: &*self.court.standings.behaviour,
            mailboxes: &self.mailboxes,
            now: self.moment(),
        }
    }

    /// The settings of a session that begins now at this door from this peer. Behind a PROXY header it is not the peer that
    /// speaks but whoever the header names, so the peer's rights to XCLIENT and XFORWARD do not hold; where it names nobody,
    /// nobody can log in either.
    fn session_settings(&self, door: &Door, peer: IpAddr, proxied: Proxied) -> SessionSettings {
        let policy = self.policy.load();
        let row = policy.row_of_peer(peer).filter(|_| proxied == Proxied::Absent);
        let mut settings = SessionSettings {
            extensions: self.deliverer.load().offers(),
            xclient: row.is_some_and(|row| row.xclient),
            xforward: row.is_some_and(|row| row.xforward),
            line_endings: self.line_endings(door, peer, proxied),
            ..door.session.clone()
        };
        if proxied == Proxied::Nobody {
            settings.auth_mechanisms.clear();
        }
        settings
    }

    /// Line ends are put right only for a peer, or a client that a PROXY header names, that may relay by its address; from
    /// anybody else they are refused.
    fn line_endings(&self, door: &Door, peer: IpAddr, proxied: Proxied) -> LineEndings {
        let source = match proxied {
            Proxied::Absent => peer,
            Proxied::Client(address) => address,
            Proxied::Nobody => return LineEndings::Strict,
        };
        let is_trusted = self.policy.load().row_of_peer(source).is_some_and(|row| row.relay);
        if is_trusted { door.settings.line_endings } else { LineEndings::Strict }
    }
}

/// What the program is about to do, as connections are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// No new connections; transactions may end.
    Draining,
    /// What still runs is cut off.
    Cut,
}

/// One listener as its connections see it; a connection keeps the one that it came in by.
pub struct Door {
    /// What it is for.
    pub settings: ListenerSettings,
    /// What its sessions are like, without what depends on the peer and the next hops.
    pub session: SessionSettings,
    /// The certificate, where there is one.
    pub tls: Option<Arc<TlsServer>>,
    /// How many connections there are.
    pub places: Arc<places::Places>,
}

/// A listener.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Its name.
    pub name: Arc<str>,
    /// What it is for.
    pub kind: ListenerKind,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Every connection begins with a PROXY header, from peers with the right to send one.
    pub proxy_protocol: bool,
    /// AUTH without TLS is allowed (loopback only).
    pub plaintext_auth: bool,
    /// What is done about clients that speak before the banner.
    pub early_talkers: EarlyTalkers,
    /// How long they are listened for before it.
    pub banner_delay: Duration,
    /// Whether clients are asked for a certificate.
    pub client_certificates: ClientCertificates,
    /// What is done about bare ends of line from peers that may relay.
    pub line_endings: LineEndings,
    /// What names the account, best first.
    pub evidence: Vec<Evidence>,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time from one client network.
    pub connections_per_client_max: usize,
    /// New connections in a minute from one client network; 0: any number.
    pub connections_per_client_minute: u32,
}

/// What is done about a client that speaks before it was greeted (RFC 5321 §3.1 forbids it).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyTalkers {
    /// It is turned away.
    #[default]
    Refuse,
    /// Nothing.
    Allow,
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerKind {
    /// Port 587: STARTTLS before AUTH, AUTH before MAIL.
    Submission,
    /// Port 465: TLS from the first octet.
    Submissions,
    /// Port 25 or 2525: relays for trusted clients and authenticated servers.
    Smarthost,
}
