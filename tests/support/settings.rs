//! A gate's configuration, as a sentence in the tests and as a file for the program.

use super::{Sink, ports::free_port, programs};
use std::{net::SocketAddr, path::Path};
use toml::{Table, Value};

/// What a gate will be like. Every method adds to what a plain gate is, or replaces it.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) ports: Ports,
    file: Table,
    limits: Vec<Value>,
    trust: Vec<Table>,
    peer_limit: Value,
    hosts: Vec<Table>,
    users: Vec<(String, String)>,
    evidence: Option<Vec<String>>,
    connections_per_client_max: i64,
    smarthost: Table,
    submissions_proxied: bool,
    client_certificates: &'static str,
    pub(super) environment: Vec<(String, String)>,
    pub(super) descriptors: Option<u32>,
}

/// Where a gate listens.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) smarthost: SocketAddr,
    pub(crate) submission: SocketAddr,
    pub(crate) submissions: SocketAddr,
    pub(crate) proxied: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) api: SocketAddr,
}

impl Ports {
    /// Takes ports that are free now.
    pub(crate) fn reserve() -> Self {
        Self {
            smarthost: free_port(),
            submission: free_port(),
            submissions: free_port(),
            proxied: free_port(),
            http: free_port(),
            api: free_port(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ports: Ports::reserve(),
            file: table(PLAIN),
            limits: vec![],
            trust: vec![],
            peer_limit: limit(1_000_000, "1h").into(),
            hosts: vec![],
            users: vec![],
            evidence: Some(words(&["auth", "mail-from"])),
            connections_per_client_max: 4000,
            smarthost: Table::new(),
            submissions_proxied: false,
            client_certificates: "none",
            environment: vec![],
            descriptors: None,
        }
    }
}

impl Settings {
    /// So many recipients for each account in any such window.
    pub(crate) fn limit(self, max: u32, window: &str) -> Self {
        self.scoped_limit("account", "recipients", max, window)
    }

    /// A limit of any scope and unit.
    pub(crate) fn scoped_limit(mut self, scope: &str, unit: &str, max: u32, window: &str) -> Self {
        let mut line = limit(max, window);
        line.insert("scope".to_owned(), scope.into());
        line.insert("unit".to_owned(), unit.into());
        self.limits.push(line.into());
        self
    }

    /// Only this limit for each account, instead of all others.
    pub(crate) fn limit_instead(mut self, max: u32, window: &str) -> Self {
        self.limits.clear();
        self.limit(max, window)
    }

    /// So many recipients that each trusted server may hand in on weak evidence.
    pub(crate) fn peer_limit(mut self, max: u32, window: &str) -> Self {
        self.peer_limit = limit(max, window).into();
        self
    }

    /// Mail goes here; said twice, to the first of them that works.
    pub(crate) fn next_hop(self, sink: &Sink) -> Self {
        self.next_hop_at(sink.address(), "")
    }

    /// Mail goes to this address, whoever is there; `keys` are further lines of its table.
    pub(crate) fn next_hop_at(mut self, address: SocketAddr, keys: &str) -> Self {
        let mut host = table(keys);
        host.insert("host".to_owned(), address.to_string().into());
        host.entry("priority").or_insert_with(|| i64::try_from(self.hosts.len()).unwrap().into());
        host.entry("tls").or_insert_with(|| "none".into());
        self.hosts.push(host);
        self
    }

    /// Mail goes nowhere of what was said so far.
    pub(crate) fn without_next_hops(mut self) -> Self {
        self.hosts.clear();
        self
    }

    /// A row of the trust table, for the loopback network unless it says otherwise. Without any, that network may relay.
    pub(crate) fn trust(mut self, row: &str) -> Self {
        self.trust.push(table(row));
        self
    }

    /// What names the account at the listeners for servers, best first, instead of AUTH and then MAIL FROM.
    pub(crate) fn evidence(mut self, names: &[&str]) -> Self {
        self.evidence = Some(words(names));
        self
    }

    /// The evidence that is looked at unless a listener says otherwise.
    pub(crate) fn evidence_as_shipped(mut self) -> Self {
        self.evidence = None;
        self
    }

    /// So many connections of one client at each listener.
    pub(crate) fn connections_per_client_max(mut self, max: i64) -> Self {
        self.connections_per_client_max = max;
        self
    }

    /// Connections to the listener with TLS from the first octet begin with a PROXY header, before TLS.
    pub(crate) fn submissions_proxied(mut self) -> Self {
        self.submissions_proxied = true;
        self
    }

    /// Its listeners ask for client certificates so.
    pub(crate) fn client_certificates(mut self, ask: &'static str) -> Self {
        self.client_certificates = ask;
        self
    }

    /// The program runs with this in its environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The system lets the program have so many files open.
    pub(crate) fn descriptors(mut self, count: u32) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// A login.
    pub(crate) fn user(mut self, login: &str, password: &str) -> Self {
        self.users.push((login.to_owned(), programs::hash(password)));
        self
    }

    /// A login with this password field.
    pub(crate) fn user_with(mut self, login: &str, field: &str) -> Self {
        self.users.push((login.to_owned(), field.to_owned()));
        self
    }

    /// Any key of the file, by its path such as `session.park_after`.
    pub(crate) fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let (sections, key) = path.rsplit_once('.').expect("a key stands in a table");
        let mut place = &mut self.file;
        for section in sections.split('.') {
            let entry = place.entry(section).or_insert_with(|| Table::new().into());
            place = entry.as_table_mut().expect("a table");
        }
        place.insert(key.to_owned(), value.into());
        self
    }

    /// Leaves a key out.
    pub(crate) fn without(mut self, path: &str) -> Self {
        let (section, key) = path.rsplit_once('.').expect("a key stands in a table");
        self.file.get_mut(section).and_then(Value::as_table_mut).map(|table| table.remove(key));
        self
    }

    /// Its listeners take connections from everywhere, which a gate that trusts the loopback address must refuse.
    pub(crate) fn listening_everywhere(mut self) -> Self {
        self.ports.smarthost.set_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
        self
    }

    /// Shows this certificate instead of one that it makes itself.
    pub(crate) fn certificate(self, certificate: &Path, key: &Path) -> Self {
        self.set("tls.certificate", certificate.to_string_lossy().into_owned())
            .set("tls.key", key.to_string_lossy().into_owned())
            .set("tls.self_signed", false)
    }

    /// Any key of the listener for servers.
    pub(crate) fn smarthost(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.smarthost.insert(key.to_owned(), value.into());
        self
    }

    /// The file of logins.
    pub(super) fn passwd(&self) -> String {
        self.users.iter().map(|(login, hash)| format!("{login}:{hash}::::::\n")).collect()
    }

    /// The configuration as the program reads it.
    pub(super) fn toml(&self) -> String {
        let whole = self.clone().set("http.listen", self.ports.http.to_string());
        let whole = whole.set("api.listen", self.ports.api.to_string());
        let whole = whole.set("plan.test.limits", self.limits.clone());
        let mut file = whole.file;
        file.insert("listener".to_owned(), self.listeners().into());
        file.insert("trust".to_owned(), self.trust_rows().into());
        if !self.hosts.is_empty() {
            let hop = file.entry("next_hop").or_insert_with(|| Table::new().into());
            hop.as_table_mut().unwrap().insert("hosts".to_owned(), self.hosts.clone().into());
        }
        toml::to_string(&file).unwrap()
    }

    fn listeners(&self) -> Vec<Table> {
        let Ports { smarthost, submission, submissions, proxied, .. } = self.ports;
        let mut proxied = listener("proxied", "smarthost", proxied, self.evidence.as_deref());
        proxied.insert("proxy_protocol".to_owned(), true.into());
        let mut smarthost = listener("smarthost", "smarthost", smarthost, self.evidence.as_deref());
        // A server that logs in over the loopback address needs no TLS for its password.
        smarthost.insert("plaintext_auth".to_owned(), true.into());
        smarthost.extend(self.smarthost.clone());
        let mut submissions = listener("submissions", "submissions", submissions, None);
        submissions.insert("proxy_protocol".to_owned(), self.submissions_proxied.into());
        let mut listeners =
            vec![smarthost, listener("submission", "submission", submission, None), submissions];
        // A listener to which nobody may connect is a mistake that the program finds.
        if self.trust.is_empty() || self.trust.iter().any(|row| row.contains_key("proxy")) {
            listeners.push(proxied);
        }
        for listener in &mut listeners {
            let max = self.connections_per_client_max;
            listener.insert("client_certificates".to_owned(), self.client_certificates.into());
            listener.insert("connections_per_client_max".to_owned(), max.into());
        }
        listeners
    }

    fn trust_rows(&self) -> Vec<Table> {
        let plain = [table("relay = true\nproxy = true")];
        let rows = if self.trust.is_empty() { &plain[..] } else { &self.trust };
        rows.iter().map(|row| self.trust_row(row)).collect()
    }

    fn trust_row(&self, row: &Table) -> Table {
        let mut row = row.clone();
        row.entry("name").or_insert_with(|| "local".into());
        row.entry("networks").or_insert_with(|| vec!["127.0.0.0/8"].into());
        row.entry("limits").or_insert_with(|| vec![self.peer_limit.clone()].into());
        row
    }
}

/// The lines of a TOML file as a table.
#[track_caller]
fn table(text: &str) -> Table {
    text.parse().unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn limit(max: u32, window: &str) -> Table {
    let mut line = Table::new();
    line.insert("max".to_owned(), max.into());
    line.insert("window".to_owned(), window.into());
    line
}

fn words(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn listener(name: &str, kind: &str, address: SocketAddr, evidence: Option<&[String]>) -> Table {
    let mut listener = table("connections_max = 4000");
    listener.insert("name".to_owned(), name.into());
    listener.insert("kind".to_owned(), kind.into());
    listener.insert("address".to_owned(), address.to_string().into());
    if let Some(evidence) = evidence {
        listener.insert("evidence".to_owned(), evidence.to_vec().into());
    }
    listener
}

/// What all gates of the tests have in common.
const PLAIN: &str = r#"
[server]
hostname = "gate.example"
state_dir = "var"
contact = "abuse@provider.example"

[log]
format = "json"
level = "debug"

[tls]
self_signed = true

[auth]
passwd_file = "passwd"

[limits]
default_plan = "test"
new_accounts_per_hour = 1000000

[plan.test]

[next_hop]
kind = "smarthost"
"#;
