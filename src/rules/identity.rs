//! Who is charged, and why that is believed: the trust table and each listener's ordered list of evidence.

use super::limits::ScopedLimit;
use crate::{
    event::Evidence,
    types::{AccountId, PeerName},
};

/// One row of the trust table: what a server may say about its clients.
#[derive(Debug, Clone)]
pub struct TrustRow {
    /// Its name; its own limit account is `peer:NAME`.
    pub name: PeerName,
    /// The TCP peers that it is.
    pub networks: Vec<ipnet::IpNet>,
    /// If set, the row holds only after this login was authenticated on the connection.
    pub login: Option<AccountId>,
    /// May relay without further evidence than its address.
    pub relay: bool,
    /// May say XCLIENT.
    pub xclient: bool,
    /// May say XFORWARD.
    pub xforward: bool,
    /// Must and may send a PROXY header on listeners with `proxy_protocol`.
    pub proxy: bool,
    /// Its `MAIL FROM:<…> AUTH=` is believed.
    pub mail_auth: bool,
    /// Which header evidence of its messages is believed.
    pub identity_headers: Vec<Evidence>,
    /// Its own limits ([`crate::types::Scope::Peer`]).
    pub limits: Vec<ScopedLimit>,
    /// True for the provider's own servers, which are not charged as client addresses.
    pub own_server: bool,
}
