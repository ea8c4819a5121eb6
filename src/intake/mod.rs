//! One inbound connection: pump, identify, facts, judge, reserve, hand over, settle.

use crate::{
    event::Evidence,
    rules::{identity::TrustRow, limits::Plan},
    types::{Domain, PlanName},
};
use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

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
