//! What is allowed but seldom meant: for `check-config`, which prints it, and for the log at start.

use super::Config;
use crate::{
    deliver::{HostSettings, Settings, TlsMode},
    event::Evidence,
    intake::ListenerKind,
    net::ClientCertificates,
    notify::WebhookSettings,
    resolve::is_public,
    rules::{identity::TrustRow, limits::Plan},
    types::Scope,
    watch::BlocklistSettings,
};

/// Each doubtful setting as a sentence that names its key.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for row in &config.policy.trust {
        found.extend(row_warnings(row));
    }
    found.extend(shadowed_rows(config));
    found.extend(idle_logins(config));
    found.extend(idle_certificates(config));
    let mut plans: Vec<&Plan> = config.policy.plans.values().map(AsRef::as_ref).collect();
    plans.sort_by(|a, b| a.name.cmp(&b.name));
    found.extend(plans.into_iter().filter_map(plan_warning));
    if let Settings::Smarthost(smarthost) = &config.next_hop {
        found.extend(smarthost.hosts.iter().filter_map(host_warning));
    }
    found.extend(config.http.listen.filter(|a| !a.ip().is_loopback()).map(|address| {
        format!("http.listen: {address} is not loopback; metrics have no password")
    }));
    found.extend(tls_warning(config));
    found.extend(config.alerts.webhooks.iter().flat_map(webhook_warnings));
    found.extend(blocklist_warnings(&config.blocklist));
    found
}

fn blocklist_warnings(settings: &BlocklistSettings) -> Vec<String> {
    let public = settings.resolve.servers.iter().filter(|server| is_public(server.ip()));
    let mut found: Vec<String> = public
        .map(|server| {
            format!("blocklist.resolvers: {server} is public, and lists refuse those; name one of your own")
        })
        .collect();
    if !settings.lists.is_empty() && settings.subjects.is_empty() {
        found.push("blocklist.lists: nothing is watched; set addresses, domains".into());
    }
    found
}

fn webhook_warnings(webhook: &WebhookSettings) -> Vec<String> {
    let name = &webhook.name;
    let mut found = Vec::new();
    if webhook.secret.is_none() {
        found.push(format!(
            "alerts.webhook \"{name}\": without a secret its receiver cannot tell the gate's messages from others"
        ));
    }
    if webhook.url.is_open_to_others() {
        found.push(format!(
            "alerts.webhook \"{name}\": names of customers go over the net in the clear; use https"
        ));
    }
    found
}

fn row_warnings(row: &TrustRow) -> Vec<String> {
    let name = &row.name;
    let mut found = Vec::new();
    let by_address = row.holds_by_address();
    let names_accounts = row.mail_auth || row.xclient || !row.identity_headers.is_empty();
    if by_address && names_accounts {
        found.push(format!(
            "trust \"{name}\": identity rights by address alone; on a shared web host every script has the same \
             address, so let the server log in and set login, or show a certificate and set that"
        ));
    }
    let reads = |evidence| row.identity_headers.contains(&evidence);
    if reads(Evidence::PhpScript) && !reads(Evidence::ReceivedUserid) {
        found.push(format!(
            "trust \"{name}\": any script can write X-PHP-Originating-Script; with \"received-userid\" in \
             identity_headers it counts only if the user id agrees"
        ));
    }
    if row.limits.is_empty() {
        found.push(format!(
            "trust \"{name}\": limits = [] leaves this server without a limit of its own"
        ));
    }
    found
}

/// Rows that are never reached with a login or a certificate, because an earlier one holds for the same addresses without it.
fn shadowed_rows(config: &Config) -> Vec<String> {
    let rows = &config.policy.trust;
    let covers = |earlier: &TrustRow, later: &TrustRow| {
        let inside = |n: &ipnet::IpNet| earlier.networks.iter().any(|outer| outer.contains(n));
        let same_login = earlier.login.is_none() || earlier.login == later.login;
        let same_certificate = !earlier.wants_certificate()
            || (&earlier.certificate, &earlier.certificate_name)
                == (&later.certificate, &later.certificate_name);
        same_login
            && same_certificate
            && !later.networks.is_empty()
            && later.networks.iter().all(inside)
    };
    let hidden = rows.iter().enumerate().filter_map(|(n, later)| {
        let earlier = rows[..n].iter().find(|earlier| covers(earlier, later))?;
        Some(format!(
            "trust \"{}\": never used, \"{}\" above it holds first",
            later.name, earlier.name
        ))
    });
    hidden.collect()
}

/// Rows with a login where nobody can log in.
fn idle_logins(config: &Config) -> Vec<String> {
    let rows = config.policy.trust.iter().filter(|row| row.login.is_some());
    let idle = rows.filter(|_| !config.auth.has_logins());
    idle.map(|row| {
        format!("trust \"{}\": never used, without auth.passwd_file or auth.dovecot_socket nobody can log in", row.name)
    })
    .collect()
}

/// Rows with a certificate where nobody is asked for one.
fn idle_certificates(config: &Config) -> Vec<String> {
    let asks = config.listeners.iter().any(|l| l.client_certificates != ClientCertificates::None);
    let idle = config.policy.trust.iter().filter(|row| !asks && row.wants_certificate());
    idle.map(|row| {
        format!("trust \"{}\": never used, no listener has client_certificates", row.name)
    })
    .collect()
}

fn plan_warning(plan: &Plan) -> Option<String> {
    let counts = |scope| {
        plan.limits.iter().any(|l| l.scope == scope && l.unit != crate::types::Unit::NullSender)
    };
    let name = &plan.name;
    (!counts(Scope::Tenant) && !counts(Scope::Account))
        .then(|| format!("plan.{name}: neither tenants nor accounts have a limit"))
}

fn host_warning(host: &HostSettings) -> Option<String> {
    let is_local = host.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let exposed = match host.tls {
        TlsMode::None => true,
        TlsMode::Opportunistic | TlsMode::Required | TlsMode::Implicit => !host.verify,
    };
    let why = if host.tls == TlsMode::None {
        "without TLS"
    } else {
        "to whoever answers, without a verified certificate"
    };
    (host.auth.is_some() && exposed && !is_local)
        .then(|| format!("next_hop host {}:{}: the password is sent {why}", host.host, host.port))
}

fn tls_warning(config: &Config) -> Option<String> {
    let offers_logins = config.auth.has_logins()
        && config.listeners.iter().any(|l| l.kind == ListenerKind::Smarthost && !l.plaintext_auth);
    (config.tls.is_none() && offers_logins).then(|| {
        String::from("tls: without a certificate servers cannot log in on smarthost listeners")
    })
}
