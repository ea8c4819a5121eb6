//! One inbound connection: pump, identify, facts, judge, reserve, hand over, settle.
//!
//! [`connection`] moves bytes between the socket and the session machine, `transaction` answers what the machine asks,
//! `admission` turns an identity into the windows that are charged. Nothing here decides: decisions are `rules`', and
//! what the past says is the store's. A message passes through once; nothing below calls back.

mod admission;
pub mod connection;
pub mod ids;
pub mod places;
mod transaction;

use crate::{
    auth::Authenticator,
    clock::Clock,
    deliver::Deliverer,
    event::{Events, Evidence},
    net::tls::TlsServer,
    rules::{
        identity::{TrustRow, TrustTable},
        limits::Plan,
        verdict::Moment,
    },
    smtp::server::{Mechanism, SessionSettings},
    spool::Spool,
    store::{ledger::Ledger, records::Records},
    types::{ClientIp, Domain, PeerName, PlanName, AccountId},
};
use arc_swap::ArcSwap;
use std::{
    collections::HashMap,
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
    pub deliverer: Deliverer,
    /// Room for texts.
    pub spool: Spool,
    /// Passwords.
    pub authenticator: Arc<Authenticator>,
    /// What is read afresh at each MAIL.
    pub policy: Arc<ArcSwap<Policy>>,
    /// The time.
    pub clock: Clock,
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

    /// The settings of a session that begins now at this door from this peer.
    fn session_settings(&self, door: &Door, peer: IpAddr) -> SessionSettings {
        let policy = self.policy.load();
        let row = policy.row_of(peer, None);
        SessionSettings {
            extensions: self.deliverer.offers(),
            xclient: row.is_some_and(|row| row.xclient),
            xforward: row.is_some_and(|row| row.xforward),
            ..door.session.clone()
        }
    }
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

impl Door {
    /// The mechanisms that are offered at doors with a password file.
    #[must_use]
    pub fn mechanisms() -> Vec<Mechanism> {
        vec![Mechanism::Plain, Mechanism::Login]
    }
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
    /// What names the account, best first.
    pub evidence: Vec<Evidence>,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time from one client network.
    pub connections_per_client_max: usize,
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

/// What is read afresh at each MAIL; replaced as a whole at a reload.
#[derive(Debug, Clone)]
pub struct Policy {
    /// All plans.
    pub plans: HashMap<PlanName, Arc<Plan>>,
    /// The plan of tenants that have no other.
    pub default_plan: PlanName,
    /// What happens to accounts that are not known.
    pub unknown_accounts: UnknownAccounts,
    /// Accounts that a peer without a figure of its own may name for the first time in an hour.
    pub new_accounts_per_hour: u32,
    /// The trust table, first match wins.
    pub trust: Vec<Arc<TrustRow>>,
    /// Whether a login may use other envelope senders than its own.
    pub sender_login_mismatch: SenderMismatch,
    /// Leading bits of an IPv6 client address that are charged.
    pub ipv6_prefix_bits: u8,
    /// Identity fields are taken off on the way out.
    pub strip_identity_headers: bool,
    /// What our Received field says of the client.
    pub received_client: ReceivedClient,
    /// Received fields before a message counts as a loop.
    pub hops_max: usize,
    /// Whom a suspended sender is told to ask.
    pub contact: String,
    /// The name in Received fields.
    pub hostname: Domain,
    /// The next-hop connection is given back when the text takes longer than this.
    pub park_after: Duration,
}

impl Policy {
    /// The row of the trust table that holds for this address, given what was logged in on the connection: the first match.
    #[must_use]
    pub fn row_of(&self, address: IpAddr, login: Option<&AccountId>) -> Option<&Arc<TrustRow>> {
        TrustTable::new(&self.trust).row_for(address, login)
    }

    /// The row of this name.
    #[must_use]
    pub fn row_named(&self, name: &PeerName) -> Option<&Arc<TrustRow>> {
        self.trust.iter().find(|row| row.name == *name)
    }

    /// The plan of this name, or the default one: a plan that was removed from the configuration must not open the gate.
    ///
    /// # Panics
    /// Never: the configuration is only accepted when it has the default plan.
    #[must_use]
    pub fn plan(&self, name: Option<&PlanName>) -> Arc<Plan> {
        name.and_then(|name| self.plans.get(name))
            .or_else(|| self.plans.get(&self.default_plan))
            .cloned()
            .expect("the checked configuration has its default plan")
    }

    /// False for the provider's own servers, which stand for many senders.
    #[must_use]
    pub fn charges_client(&self, client: ClientIp) -> bool {
        TrustTable::new(&self.trust).charges_client(client, None)
    }
}

/// What happens to accounts that are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownAccounts {
    /// They get the default plan.
    #[default]
    DefaultPlan,
    /// `550 5.7.1`.
    Refuse,
}

/// Whether a login may use other envelope senders than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SenderMismatch {
    /// `550 5.7.1` (RFC 6409 §6.1).
    #[default]
    Refuse,
    /// It may.
    Allow,
    /// It may, and an event says so.
    Flag,
}

/// What our Received field says of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceivedClient {
    /// Its name and address (RFC 5321 §4.4).
    #[default]
    Full,
    /// Neither.
    Hide,
}
