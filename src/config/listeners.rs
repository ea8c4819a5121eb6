//! Written → checked: listeners.

use super::{
    checked::to_usize,
    checker::At,
    parties::HEADER_EVIDENCE,
    written::{File, Given, Listener, OneOrMany, Parsed, Section},
};
use crate::{
    event::Evidence,
    intake::{EarlyTalkers, ListenerKind, ListenerSettings},
    net::ClientCertificates,
    rules::identity::TrustRow,
    smtp::data::LineEndings,
    types::Span,
};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// Gives the first listener of a kind another address; false if there is none.
pub(super) fn move_first(file: &mut File, kind: ListenerKind, address: SocketAddr) -> bool {
    let Some(Given(Ok(listeners))) = &mut file.listener else {
        return false;
    };
    let is_kind =
        |l: &&mut Section<Listener>| matches!(l.known.kind, Some(Given(Ok(k))) if k == kind);
    let first = listeners.iter_mut().find(is_kind);
    first.map(|l| l.known.address = Some(Given(Ok(OneOrMany(vec![Parsed(address)]))))).is_some()
}

/// Checks `[[listener]]`.
pub(super) fn check(
    root: &mut At<'_>,
    file: &File,
    trust: &[Arc<TrustRow>],
    has_tls: bool,
) -> Vec<ListenerSettings> {
    let mut listeners: Vec<ListenerSettings> = Vec::new();
    let sections = root.tables("listener", &file.listener);
    for (number, section) in sections.iter().enumerate() {
        let mut at = root.inside(&format!("listener[{number}]"));
        let Some(listener) = check_listener(&mut at, section) else { continue };
        check_neighbours(&mut at, &listener, &listeners);
        check_secrecy(&mut at, &listener, has_tls);
        check_trusted(&mut at, &listener, trust);
        listeners.push(listener);
    }
    if sections.is_empty() {
        root.wrong("listener", "missing; wanted at least one [[listener]]");
    }
    listeners
}

fn check_listener(at: &mut At<'_>, section: &Section<Listener>) -> Option<ListenerSettings> {
    let s = at.open(section);
    let name = at.required("name", &s.name, "a short name for logs and metrics");
    let kind = at.required("kind", &s.kind, "\"submission\", \"submissions\" or \"smarthost\"");
    let address = at.required("address", &s.address, "such as \"127.0.0.1:2525\", or a list");
    let connections_max = at.within("connections_max", &s.connections_max, 10_000, 1..=1_000_000);
    let per_client = at.within(
        "connections_per_client_max",
        &s.connections_per_client_max,
        connections_max.min(500),
        1..=connections_max,
    );
    let per_minute = at.within(
        "connections_per_client_minute",
        &s.connections_per_client_minute,
        0,
        0..=1_000_000,
    );
    let evidence = at.value("evidence", &s.evidence);
    check_evidence(at, evidence.as_deref().unwrap_or_default());
    let proxy_protocol = at.or("proxy_protocol", &s.proxy_protocol, false);
    let plaintext_auth = at.or("plaintext_auth", &s.plaintext_auth, false);
    let early_talkers = at.value("early_talkers", &s.early_talkers).unwrap_or_default();
    let banner_delay = check_banner_delay(at, s, early_talkers);
    let client_certificates =
        at.or("client_certificates", &s.client_certificates, ClientCertificates::default());
    let line_endings = at.value("line_endings", &s.line_endings);
    let (name, kind, address) = (name?.0, kind?, address?.0);
    Some(ListenerSettings {
        name: name.as_str().into(),
        kind,
        addresses: address.into_iter().map(|parsed| parsed.0).collect(),
        proxy_protocol,
        plaintext_auth,
        early_talkers,
        banner_delay,
        client_certificates,
        line_endings: line_endings.unwrap_or_default(),
        evidence: evidence.unwrap_or_else(|| default_evidence(kind)),
        connections_max: to_usize(connections_max),
        connections_per_client_max: to_usize(per_client),
        connections_per_client_minute: per_minute,
    })
}

fn check_banner_delay(at: &mut At<'_>, listener: &Listener, talkers: EarlyTalkers) -> Duration {
    let none = Span::from_secs(0);
    let delay = at.within("banner_delay", &listener.banner_delay, none, none..=BANNER_DELAY_MAX);
    if delay > none && talkers == EarlyTalkers::Allow {
        at.wrong("banner_delay", "nobody is listened for with early_talkers = \"allow\"");
    }
    delay.length()
}

fn check_evidence(at: &mut At<'_>, list: &[Evidence]) {
    let mut seen = HashSet::new();
    for evidence in list {
        if !seen.insert(evidence) {
            at.wrong("evidence", format!("\"{evidence}\" stands twice"));
        }
    }
    if seen.contains(&Evidence::Peer) {
        at.wrong(
            "evidence",
            "\"peer\" is what remains when nothing in the list counts; leave it out",
        );
    }
}

/// A submission client is its login; of a server, everything that it may say is looked at, the hardest to forge first.
fn default_evidence(kind: ListenerKind) -> Vec<Evidence> {
    let mut list = vec![Evidence::Auth];
    if kind == ListenerKind::Smarthost {
        list.extend([Evidence::XclientLogin, Evidence::MailAuth]);
        list.extend(HEADER_EVIDENCE);
        list.extend([Evidence::MailFrom, Evidence::ClientIp]);
    }
    list
}

fn check_neighbours(at: &mut At<'_>, new: &ListenerSettings, others: &[ListenerSettings]) {
    if others.iter().any(|other| other.name == new.name) {
        at.wrong("name", format!("there is a listener named \"{}\" already", new.name));
    }
    if new.addresses.is_empty() {
        at.wrong("address", "the list is empty");
    }
    let taken = |a: &&SocketAddr| a.port() != 0 && others.iter().any(|o| o.addresses.contains(a));
    if let Some(address) = new.addresses.iter().find(taken) {
        at.wrong("address", format!("{address} belongs to another listener"));
    }
}

fn check_secrecy(at: &mut At<'_>, listener: &ListenerSettings, has_tls: bool) {
    let needs_tls = match listener.kind {
        ListenerKind::Submissions => true,
        ListenerKind::Submission => !listener.plaintext_auth,
        ListenerKind::Smarthost => false,
    };
    if needs_tls && !has_tls {
        at.wrong("kind", "this listener needs [tls]: certificate and key, or self_signed = true");
    }
    if listener.client_certificates != ClientCertificates::None && !has_tls {
        at.wrong("client_certificates", "clients are asked within TLS, and there is no [tls]");
    }
    if let Some(address) = elsewhere(listener).filter(|_| listener.plaintext_auth) {
        let detail =
            format!("passwords without TLS are for loopback only, but this listens on {address}");
        at.wrong("plaintext_auth", detail);
    }
}

/// What comes from a loopback address is what anything on this machine passes on, so such trust must not meet the
/// network.
fn check_trusted(at: &mut At<'_>, listener: &ListenerSettings, trust: &[Arc<TrustRow>]) {
    if listener.proxy_protocol && !trust.iter().any(|row| row.proxy) {
        at.wrong("proxy_protocol", "no [[trust]] row has proxy = true, so nobody could connect");
    }
    let local = trust.iter().find(|row| trusts_loopback(row));
    let is_smarthost = listener.kind == ListenerKind::Smarthost;
    if listener.line_endings == LineEndings::Normalise && !is_smarthost {
        let detail = "line ends are put right for trusted servers only, on smarthost listeners";
        at.wrong("line_endings", detail);
    }
    if let (Some(row), Some(address), true) = (local, elsewhere(listener), is_smarthost) {
        let name = &row.name;
        let detail = format!(
            "trust row \"{name}\" trusts loopback, so {address} must be a loopback address"
        );
        at.wrong("address", detail);
    }
}

/// True of a row that gives rights to a loopback address without a login or a certificate.
fn trusts_loopback(row: &TrustRow) -> bool {
    let has_loopback = |network: &ipnet::IpNet| {
        network.network().is_loopback() || network.contains(&IpAddr::from(Ipv6Addr::LOCALHOST))
    };
    row.holds_by_address() && row.networks.iter().any(has_loopback)
}

fn elsewhere(listener: &ListenerSettings) -> Option<&SocketAddr> {
    listener.addresses.iter().find(|address| !address.ip().is_loopback())
}

/// RFC 5321 §4.5.3.2.1 has clients wait five minutes for the banner; nobody likes it.
const BANNER_DELAY_MAX: Span = Span::from_secs(30);
