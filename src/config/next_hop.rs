//! Written → checked: where mail goes.

use super::{
    checked::WAITS,
    checker::At,
    written::{Host, NextHop, NextHopKind, Section},
};
use crate::{
    deliver::{HostSettings, Settings, SmarthostSettings, TlsMode},
    types::{Domain, Secret, Span},
};
use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

/// Checks `[next_hop]`; other programs look into a message for so long before it goes there.
pub(super) fn check(
    root: &mut At<'_>,
    section: &Section<NextHop>,
    (hostname, state_dir): (&Domain, &Path),
    scanned_for: Duration,
) -> Settings {
    let mut at = root.inside("next_hop");
    let s = at.open(section);
    let kind = at.required("kind", &s.kind, "\"smarthost\" or \"folder\"");
    let path = at.value("path", &s.path);
    // Everything is looked at whatever the kind, so that no mistake sleeps in the file.
    let smarthost = check_smarthost(&mut at, s, hostname, scanned_for);
    match kind {
        Some(NextHopKind::Smarthost) => {
            refuse_if(&mut at, "path", path.is_some(), "\"folder\"");
            if s.hosts.is_none() {
                at.wrong(
                    "hosts",
                    "missing; wanted at least one, such as { host = \"mx.example:25\" }",
                );
            }
            Settings::Smarthost(smarthost)
        }
        Some(NextHopKind::Folder) | None => {
            refuse_if(&mut at, "hosts", s.hosts.is_some() && kind.is_some(), "\"smarthost\"");
            Settings::Folder { path: path.unwrap_or_else(|| state_dir.join("outbox")) }
        }
    }
}

fn refuse_if(at: &mut At<'_>, key: &str, is_wrong: bool, kind: &str) {
    if is_wrong {
        at.wrong(key, format!("belongs to kind = {kind}"));
    }
}

fn check_smarthost(
    at: &mut At<'_>,
    s: &NextHop,
    hostname: &Domain,
    scanned_for: Duration,
) -> SmarthostSettings {
    let seconds = Span::from_secs;
    let mut wait = |key, given, default| at.within(key, given, seconds(default), WAITS).length();
    let mut settings = SmarthostSettings {
        hostname: hostname.clone(),
        hosts: Vec::new(),
        timeout_connect: wait("timeout_connect", &s.timeout_connect, 30),
        timeout_tls: wait("timeout_tls", &s.timeout_tls, 30),
        timeout_command: wait("timeout_command", &s.timeout_command, 60),
        timeout_data: wait("timeout_data", &s.timeout_data, 180),
        timeout_final: wait("timeout_final", &s.timeout_final, 300),
        timeout_after_dot: wait("timeout_after_dot", &s.timeout_after_dot, 510),
        idle_max: wait("idle_max", &s.idle_max, 30),
        breaker_wait: wait("breaker_wait", &s.breaker_wait, 1),
        breaker_wait_max: wait("breaker_wait_max", &s.breaker_wait_max, 5),
        probe_every: wait("probe_every", &s.probe_every, 60),
        messages_per_connection_max: at.within(
            "messages_per_connection_max",
            &s.messages_per_connection_max,
            100,
            1..=1_000_000,
        ),
        breaker_failures: at.within("breaker_failures", &s.breaker_failures, 5, 1..=1000),
    };
    check_waits(at, &settings);
    let left = AFTER_DOT_MAX.length().saturating_sub(scanned_for);
    settings.timeout_after_dot = settings.timeout_after_dot.min(left);
    settings.hosts = check_hosts(at, s);
    settings
}

/// A client may give up ten minutes after its final dot (RFC 5321 §4.5.3.2.6) and send the message again.
fn check_waits(at: &mut At<'_>, settings: &SmarthostSettings) {
    let after_dot = Span::new(settings.timeout_after_dot);
    if after_dot > AFTER_DOT_MAX {
        let detail = format!(
            "got {after_dot}, wanted at most {AFTER_DOT_MAX}: clients give up after 10 min"
        );
        at.wrong("timeout_after_dot", detail);
    }
    let (last, all) = (Span::new(settings.timeout_final), after_dot);
    if last > all {
        let detail = format!("got {last}, wanted at most timeout_after_dot, which is {all}");
        at.wrong("timeout_final", detail);
    }
    let (wait, longest) = (Span::new(settings.breaker_wait), Span::new(settings.breaker_wait_max));
    if wait > longest {
        at.wrong(
            "breaker_wait",
            format!("got {wait}, wanted at most breaker_wait_max, which is {longest}"),
        );
    }
}

fn check_hosts(at: &mut At<'_>, s: &NextHop) -> Vec<HostSettings> {
    let tables = at.tables("hosts", &s.hosts);
    if s.hosts.is_some() && tables.is_empty() {
        at.wrong("hosts", "the list is empty");
    }
    let hosts = tables.iter().enumerate();
    hosts.filter_map(|(n, host)| check_host(&mut at.inside(&format!("hosts[{n}]")), host)).collect()
}

fn check_host(at: &mut At<'_>, section: &Section<Host>) -> Option<HostSettings> {
    let s = at.open(section);
    let host = at.required("host", &s.host, "such as \"mx.example:25\"");
    let tls = at.or("tls", &s.tls, TlsMode::Opportunistic);
    let verify = matches!(tls, TlsMode::Required | TlsMode::Implicit);
    let settings = HostSettings {
        priority: at.or("priority", &s.priority, 10),
        weight: at.within("weight", &s.weight, 1, 1..=u16::MAX),
        tls,
        verify: at.or("verify", &s.verify, verify),
        tls_name: at.value("tls_name", &s.tls_name).map(|name| name.0.as_str().to_owned()),
        tls_ca: at.value("tls_ca", &s.tls_ca),
        auth: check_login(at, s),
        source: at.value("source", &s.source).map(|parsed| parsed.0),
        egress: check_egress(at, s),
        connections_max: at.within("connections_max", &s.connections_max, 100, 1..=100_000),
        host: host.clone()?.0.host,
        port: host?.0.port,
    };
    if tls == TlsMode::None && (settings.verify || s.tls_name.is_some() || s.tls_ca.is_some()) {
        at.wrong("tls", "is \"none\", so verify, tls_name and tls_ca have no meaning");
    }
    Some(settings)
}

/// The addresses that a host stands for, each once.
fn check_egress(at: &mut At<'_>, s: &Host) -> Arc<[IpAddr]> {
    let written = at.value("egress", &s.egress).unwrap_or_default();
    if written.len() > EGRESS_MAX {
        at.wrong("egress", format!("got {} addresses, wanted at most {EGRESS_MAX}", written.len()));
    }
    let mut addresses: Vec<IpAddr> = written.iter().map(|one| one.0.to_canonical()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.into()
}

fn check_login(at: &mut At<'_>, s: &Host) -> Option<(String, Secret)> {
    let login = at.value("login", &s.login);
    let password = at.value("password", &s.password).map(|hidden| hidden.0);
    let file = at.value("password_file", &s.password_file);
    let password = match (password, file) {
        (Some(_), Some(_)) => {
            at.wrong("password_file", "there is a password already; one of the two");
            None
        }
        (None, Some(file)) => read_secret(at, "password_file", &file),
        (password, None) => password,
    };
    let has_password = s.password.is_some() || s.password_file.is_some();
    if login.is_some() != has_password {
        at.wrong("login", "login and password (or password_file) belong together");
    }
    Some((login?, password?))
}

/// The file's first line.
pub(super) fn read_secret(at: &mut At<'_>, key: &str, file: &Path) -> Option<Secret> {
    match std::fs::read_to_string(file) {
        Ok(text) => Some(Secret::new(text.lines().next().unwrap_or_default().as_bytes())),
        Err(error) => {
            at.wrong(key, format!("{}: {error}", file.display()));
            None
        }
    }
}

/// Addresses that mail of one host leaves by.
const EGRESS_MAX: usize = 64;
/// With the wait for the disk (20 s) less than 9 minutes.
const AFTER_DOT_MAX: Span = Span::from_secs(515);
