//! The configuration as it is written: one struct for each table of the file, read by serde.
//!
//! Nothing is judged here, and nothing fails here but a file that is not TOML: a value of the wrong form ([`Given`])
//! and an unknown key ([`Section`]) are kept as such, so that `checked` can report all of them at once, each with its
//! path.

use super::redis::OnLoss;
use crate::{
    deliver::TlsMode,
    dial::Target,
    event::Evidence,
    intake::{EarlyTalkers, ListenerKind},
    mailbox::Template,
    net::ClientCertificates,
    rules::alarm::{QuietHours, Severity},
    rules::limits::{Mode, PhpMail},
    rules::policy::{
        OnSuspended, PasswordChange, ReceivedClient, SenderMismatch, StripIdentityHeaders,
        UnknownAccounts,
    },
    rules::quota::Over,
    rules::scan::OnFailure,
    rules::spam::Signal,
    rules::tally::calendar::Zone,
    rules::{blocklist::Subject, egress::OnListing},
    smtp::{data::LineEndings, server::Mechanism},
    store::sqlite::Synchronous,
    telemetry::{LogFormat, LogRecipients},
    types::{
        AccountId, Address, ByteCount, Domain, Fingerprint, PeerName, PlanName, Scope, Secret,
        ServicePlace, Span, TenantId, Unit,
    },
    watch::Letters,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, Visitor, value::Error as ProbeError},
};
use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    str::FromStr,
};

/// A key that may be left out.
pub(super) type Key<T> = Option<Given<T>>;
/// `[[name]]` tables that may be left out.
pub(super) type Tables<T> = Option<Given<Vec<Section<T>>>>;

/// Defines a table of the file: every key optional, unknown ones an error.
macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Default, Deserialize)]
            #[serde(default, deny_unknown_fields)]
            pub(super) struct $name { $(pub(super) $field: $kind,)* }
        )*
    };
}

tables! {
    File {
        server: Section<Server>,
        log: Section<Log>,
        http: Section<Http>,
        api: Section<Api>,
        control: Section<Control>,
        tls: Section<Tls>,
        listener: Tables<Listener>,
        auth: Section<Auth>,
        session: Section<Session>,
        limits: Section<Limits>,
        plan: Key<BTreeMap<String, Section<Plan>>>,
        trust: Tables<Trust>,
        next_hop: Section<NextHop>,
        store: Section<Store>,
        archive: Section<Archive>,
        backup: Section<Backup>,
        privacy: Section<Privacy>,
        offences: Section<Offences>,
        alerts: Section<Alerts>,
        sla: Section<Sla>,
        suspension: Section<Suspension>,
        reports: Section<Reports>,
        scan: Section<Scan>,
        storage: Section<Storage>,
        spam: Section<Spam>,
        spool: Section<Spool>,
        blocklist: Section<Blocklist>,
    }
    Server {
        hostname: Key<Parsed<Domain>>,
        state_dir: Key<PathBuf>,
        contact: Key<String>,
        received_client: Key<ReceivedClient>,
        strip_identity_headers: Key<StripIdentityHeaders>,
        hops_max: Key<u32>,
        drain_time_max: Key<Span>,
        threads: Key<u16>,
        connections_max: Key<u32>,
    }
    Log {
        format: Key<LogFormat>,
        level: Key<Parsed<tracing::Level>>,
        lines_per_client_minute: Key<u32>,
        file: Key<PathBuf>,
    }
    Http {
        listen: Key<OrNone<Parsed<SocketAddr>>>,
    }
    Api {
        listen: Key<OrNone<Parsed<SocketAddr>>>,
        tls: Key<bool>,
        requests_per_minute: Key<u32>,
        failures_per_minute: Key<u32>,
    }
    Control {
        socket: Key<PathBuf>,
    }
    Tls {
        certificate: Key<PathBuf>,
        key: Key<PathBuf>,
        self_signed: Key<bool>,
        certificates: Tables<TlsCertificate>,
        client_ca: Key<PathBuf>,
        timeout_handshake: Key<Span>,
    }
    TlsCertificate {
        certificate: Key<PathBuf>,
        key: Key<PathBuf>,
    }
    Listener {
        name: Key<Parsed<PeerName>>,
        kind: Key<ListenerKind>,
        address: Key<OneOrMany<Parsed<SocketAddr>>>,
        proxy_protocol: Key<bool>,
        plaintext_auth: Key<bool>,
        client_certificates: Key<ClientCertificates>,
        evidence: Key<Vec<Evidence>>,
        early_talkers: Key<EarlyTalkers>,
        banner_delay: Key<Span>,
        line_endings: Key<LineEndings>,
        connections_max: Key<u32>,
        connections_per_client_max: Key<u32>,
        connections_per_client_minute: Key<u32>,
    }
    Auth {
        passwd_file: Key<PathBuf>,
        dovecot_socket: Key<Parsed<ServicePlace>>,
        dovecot_timeout: Key<Span>,
        mechanisms: Key<Vec<Mechanism>>,
        test_user: Key<AccountId>,
        cache_entries_max: Key<u32>,
        cache_ttl: Key<Span>,
        checks_max: Key<u16>,
        failures_per_minute: Key<u32>,
        failures_per_connection: Key<u32>,
        put_off_max: Key<Span>,
        failure_delay_max: Key<Span>,
        sender_login_mismatch: Key<SenderMismatch>,
    }
    Session {
        timeout_command: Key<Span>,
        timeout_data: Key<Span>,
        timeout_scarce: Key<Span>,
        data_rate_min: Key<ByteCount>,
        transaction_time_max: Key<Span>,
        park_after: Key<Span>,
        text_line_bytes_max: Key<u32>,
        recipients_max: Key<u32>,
        errors_max: Key<u32>,
        connections_per_account_max: Key<u32>,
        data_sessions_max: Key<u32>,
        message_bytes_max: Key<ByteCount>,
    }
    Limits {
        default_plan: Key<PlanName>,
        unknown_accounts: Key<UnknownAccounts>,
        new_accounts_per_hour: Key<u32>,
        ipv6_prefix_bits: Key<u8>,
        history: Key<Span>,
        unknown_margin: Key<Span>,
    }
    Plan {
        limits: Tables<PlanLimit>,
        null_sender: Section<NullSender>,
        mode: Key<Mode>,
        php_mail: Key<PhpMail>,
        message_bytes_max: Key<ByteCount>,
        storage: Section<PlanStorage>,
    }
    PlanStorage {
        tenant_bytes_max: Key<ByteCount>,
        account_bytes_max: Key<ByteCount>,
        over: Key<Over>,
    }
    PlanLimit {
        scope: Key<Scope>,
        max: Key<u32>,
        window: Key<Span>,
        unit: Key<Unit>,
    }
    NullSender {
        max: Key<u32>,
        window: Key<Span>,
    }
    Trust {
        name: Key<PeerName>,
        networks: Key<Vec<Network>>,
        login: Key<AccountId>,
        certificate: Key<Fingerprint>,
        certificate_name: Key<Parsed<Domain>>,
        relay: Key<bool>,
        xclient: Key<bool>,
        xforward: Key<bool>,
        proxy: Key<bool>,
        mail_auth: Key<bool>,
        identity_headers: Key<Vec<Evidence>>,
        limits: Tables<TrustLimit>,
        own_server: Key<bool>,
    }
    TrustLimit {
        max: Key<u32>,
        window: Key<Span>,
        unit: Key<Unit>,
    }
    NextHop {
        kind: Key<NextHopKind>,
        path: Key<PathBuf>,
        hosts: Tables<Host>,
        timeout_connect: Key<Span>,
        timeout_tls: Key<Span>,
        timeout_command: Key<Span>,
        timeout_data: Key<Span>,
        timeout_final: Key<Span>,
        timeout_after_dot: Key<Span>,
        idle_max: Key<Span>,
        messages_per_connection_max: Key<u32>,
        breaker_failures: Key<u32>,
        breaker_wait: Key<Span>,
        breaker_wait_max: Key<Span>,
        probe_every: Key<Span>,
    }
    Host {
        host: Key<Parsed<HostPort>>,
        priority: Key<u16>,
        weight: Key<u16>,
        tls: Key<TlsMode>,
        verify: Key<bool>,
        tls_name: Key<Parsed<Domain>>,
        tls_ca: Key<PathBuf>,
        login: Key<String>,
        password: Key<Hidden>,
        password_file: Key<PathBuf>,
        source: Key<Parsed<IpAddr>>,
        egress: Key<Vec<Parsed<IpAddr>>>,
        connections_max: Key<u32>,
    }
    Blocklist {
        lists: Key<Vec<String>>,
        client_lists: Key<Vec<String>>,
        link_lists: Key<Vec<String>>,
        lookup_time_max: Key<Span>,
        lookups_per_minute: Key<NonZeroU32>,
        lists_file: Key<PathBuf>,
        keys: Key<BTreeMap<String, Section<BlocklistKey>>>,
        addresses: Key<Vec<Parsed<IpAddr>>>,
        domains: Key<Vec<Parsed<Subject>>>,
        resolvers: Key<Vec<Parsed<SocketAddr>>>,
        timeout: Key<Span>,
        tries: Key<u32>,
        time_max: Key<Span>,
        interval: Key<Span>,
        on_listing: Key<OnListing>,
        severity_min: Key<Severity>,
        lists_min: Key<usize>,
        cause_window: Key<Span>,
    }
    BlocklistKey {
        file: Key<PathBuf>,
    }
    Store {
        path: Key<PathBuf>,
        synchronous: Key<Synchronous>,
        redis: Key<Hidden>,
        redis_password_file: Key<PathBuf>,
        redis_tls_ca: Key<PathBuf>,
        redis_prefix: Key<String>,
        redis_timeout: Key<Span>,
        redis_sentinels: Key<Vec<String>>,
        redis_sentinel_password_file: Key<PathBuf>,
        redis_master: Key<String>,
        redis_cluster: Key<Vec<String>>,
        redis_node: Key<String>,
        redis_nodes: Key<u32>,
        on_loss: Key<OnLoss>,
        redis_events_bytes_max: Key<ByteCount>,
        redis_journal_bytes_max: Key<ByteCount>,
    }
    Archive {
        path: Key<PathBuf>,
        keep_events: Key<Span>,
        keep_usage: Key<Span>,
    }
    Backup {
        folder: Key<PathBuf>,
        keep: Key<Span>,
    }
    Privacy {
        keep_audit: Key<Span>,
        keep_closed: Key<Span>,
        log_recipients: Key<LogRecipients>,
    }
    Offences {
        keep: Key<Span>,
        repeated: Key<u32>,
    }
    Alerts {
        quiet_hours: Key<Parsed<QuietHours>>,
        tls_ca: Key<PathBuf>,
        webhook: Tables<AlertWebhook>,
        email: Section<AlertEmail>,
        alertmanager: Section<Alertmanager>,
    }
    Scan {
        bytes_max: Key<ByteCount>,
        concurrent_max: Key<u32>,
        rspamd: Section<ScanRspamd>,
        clamav: Section<ScanClamav>,
    }
    ScanRspamd {
        url: Key<Parsed<Target>>,
        tls_ca: Key<PathBuf>,
        timeout: Key<Span>,
        refuse: Key<bool>,
        on_failure: Key<OnFailure>,
    }
    ScanClamav {
        socket: Key<Parsed<ServicePlace>>,
        timeout: Key<Span>,
        on_failure: Key<OnFailure>,
    }
    Storage {
        path: Key<Parsed<Template>>,
        threads: Key<u16>,
        every: Key<Span>,
        stale_after: Key<Span>,
        files_max: Key<u64>,
        doveadm: Section<StorageDoveadm>,
    }
    StorageDoveadm {
        url: Key<Parsed<Target>>,
        key: Key<Hidden>,
        key_file: Key<PathBuf>,
        password: Key<Hidden>,
        password_file: Key<PathBuf>,
        tls_ca: Key<PathBuf>,
        timeout: Key<Span>,
    }
    AlertWebhook {
        name: Key<Parsed<PeerName>>,
        url: Key<Parsed<Target>>,
        secret: Key<Hidden>,
        secret_file: Key<PathBuf>,
        severity: Key<Severity>,
        tenants: Key<Vec<TenantId>>,
        timeout: Key<Span>,
    }
    AlertEmail {
        to: Key<Vec<Address>>,
        from: Key<Address>,
        sender: Key<Address>,
        severity: Key<Severity>,
        tenants: Key<bool>,
    }
    Alertmanager {
        url: Key<Parsed<Target>>,
        severity: Key<Severity>,
        timeout: Key<Span>,
        resend: Key<Span>,
    }
    Sla {
        target: Key<f64>,
    }
    Spam {
        content_rules: Key<PathBuf>,
        traps: Key<PathBuf>,
        networks: Key<PathBuf>,
        hosting_networks: Key<Vec<u32>>,
        tag_header: Key<String>,
        half_life: Key<Span>,
        observe: Key<Vec<Signal>>,
        unknown_usual: Key<u32>,
        fingerprint_distance_max: Key<u32>,
        tag_score: Key<f32>,
        refuse_score: Key<f32>,
        unknown_recipient_replies: Key<Vec<String>>,
        spam_replies: Key<Vec<String>>,
        caps: Section<SpamCaps>,
    }
    SpamCaps {
        unknown_recipients: Key<f32>,
        remote_verdicts: Key<f32>,
        traps: Key<f32>,
        listings: Key<f32>,
        place: Key<f32>,
        novelty: Key<f32>,
        content: Key<f32>,
        spread: Key<f32>,
        origin: Key<f32>,
        overrun: Key<f32>,
        egress_listed: Key<f32>,
        greeting: Key<f32>,
        guessed_login: Key<f32>,
        tempo: Key<f32>,
    }
    Suspension {
        reply: Key<OnSuspended>,
        reachable: Key<Vec<Address>>,
        password_change: Key<PasswordChange>,
        mode: Key<Mode>,
        warn_points: Key<f32>,
        throttle_points: Key<f32>,
        suspend_points: Key<f32>,
        throttled_percent: Key<u32>,
        throttled_for: Key<Span>,
        suspended_for: Key<Span>,
        lifts_max: Key<u32>,
        lifts_within: Key<Span>,
        probation: Key<Span>,
        probation_percent: Key<u32>,
        group_accounts: Key<u32>,
        breaker_min: Key<u32>,
        breaker_permille: Key<u32>,
    }
    Reports {
        time_zone: Key<Parsed<Zone>>,
        letters: Key<Letters>,
        from: Key<Parsed<Address>>,
    }
    Spool {
        folder: Key<PathBuf>,
        memory_bytes_max: Key<ByteCount>,
        memory_total_bytes_max: Key<ByteCount>,
        total_bytes_max: Key<ByteCount>,
    }
}

/// Where mail goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NextHopKind {
    Smarthost,
    Folder,
}

/// A value, or why it is none.
#[derive(Debug)]
pub(super) struct Given<T>(pub(super) Result<T, String>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        Ok(Self(T::deserialize(value).map_err(|error| in_plain_words(error.message()))))
    }
}

/// A table, and the keys in it that nobody knows.
#[derive(Debug, Default)]
pub(super) struct Section<T> {
    pub(super) known: T,
    pub(super) unknown: Vec<UnknownKey>,
    /// What stands there instead of a table.
    pub(super) misfit: Option<String>,
}

/// A key that nobody knows.
#[derive(Debug)]
pub(super) struct UnknownKey {
    pub(super) name: String,
    /// A known key that looks like it.
    pub(super) meant: Option<&'static str>,
}

impl<'de, T: DeserializeOwned + Default> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let toml::Value::Table(mut table) = value else {
            let misfit = Some(format!("got {} where a table is wanted", value.type_str()));
            return Ok(Self { known: T::default(), unknown: Vec::new(), misfit });
        };
        let names = field_names::<T>();
        let unknown = table.keys().filter(|key| !names.contains(&key.as_str()));
        let unknown: Vec<_> = unknown.map(|key| UnknownKey::new(key, names)).collect();
        table.retain(|key, _| names.contains(&key));
        let known = T::deserialize(table).map_err(D::Error::custom)?;
        Ok(Self { known, unknown, misfit: None })
    }
}

impl UnknownKey {
    fn new(name: &str, known: &'static [&'static str]) -> Self {
        let nearest = known.iter().map(|candidate| (distance(name, candidate), *candidate)).min();
        let near = |&(steps, candidate): &(usize, &str)| steps <= 1 + candidate.len() / 4;
        Self { name: name.to_owned(), meant: nearest.filter(near).map(|(_, candidate)| candidate) }
    }
}

/// The number of insertions, deletions and replacements that lead from one word to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(NAME_CHARS_MAX).collect();
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (line, wanted) in to.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, got) in from.iter().enumerate() {
            let replaced = diagonal + usize::from(*got != wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[from.len()]
}

/// How much of an unknown key is compared.
const NAME_CHARS_MAX: usize = 64;

/// The keys of a table, as serde knows them.
pub(super) fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The probe fails on purpose once it has been told the names.
    let _ = T::deserialize(Probe(&mut names));
    names
}

/// A source that holds nothing and only listens to what is asked of it.
struct Probe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = ProbeError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ProbeError> {
        Err(ProbeError::custom("nothing here"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ProbeError> {
        *self.0 = fields;
        Err(ProbeError::custom("nothing here"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A value that is written as text and parsed by its own rules.
#[derive(Debug, Clone)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|error: T::Err| {
            let (shown, error) = (format!("{text:?}"), error.to_string());
            let repeats = error.contains(&shown);
            D::Error::custom(if repeats { error } else { format!("{shown}: {error}") })
        })
    }
}

/// A password: no error repeats it.
#[derive(Debug, Clone)]
pub(super) struct Hidden(pub(super) Secret);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer);
        let text = text.map_err(|_| D::Error::custom("wanted a text in quotes"))?;
        Ok(Self(Secret::new(text.into_bytes())))
    }
}

/// A value, or a list of them.
#[derive(Debug, Clone)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let list = if value.is_array() { value } else { toml::Value::Array(vec![value]) };
        Vec::deserialize(list).map(Self).map_err(|error| D::Error::custom(error.message()))
    }
}

/// A value, or the word `none`.
#[derive(Debug, Clone)]
pub(super) struct OrNone<T>(pub(super) Option<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for OrNone<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        if value.as_str() == Some("none") {
            return Ok(Self(None));
        }
        T::deserialize(value).map(|v| Self(Some(v))).map_err(|e| D::Error::custom(e.message()))
    }
}

/// A network, or a single address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network(pub(super) ipnet::IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let address = || text.parse::<IpAddr>().ok().map(ipnet::IpNet::from);
        let network = text.parse().ok().or_else(address);
        let wanted = "a network such as 192.0.2.0/24 or an address";
        network.map(Self).ok_or_else(|| D::Error::custom(format!("{text:?} is not {wanted}")))
    }
}

/// `mx.example:25`, `192.0.2.1:25`, `[2001:db8::1]:25`.
#[derive(Debug, Clone)]
pub(super) struct HostPort {
    pub(super) host: String,
    pub(super) port: u16,
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a next hop is written as name:port, such as mx.example:25 or [2001:db8::1]:25";
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        let (host, port) = text.rsplit_once(':').ok_or(wrong)?;
        let is_name = !host.is_empty()
            && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        let port = port.parse().map_err(|_| wrong)?;
        if is_name && port > 0 { Ok(Self { host: host.to_owned(), port }) } else { Err(wrong) }
    }
}

/// serde's words, without the names of Rust's types.
fn in_plain_words(message: &str) -> String {
    let mut words = message.trim().replace('`', "");
    for (rust, plain) in [
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected path string", "expected a path in quotes"),
        ("expected a string", "expected a text in quotes"),
        ("expected string", "expected a text in quotes"),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list in [ ]"),
        ("expected socket address", "expected an address with a port, such as 127.0.0.1:2525"),
        ("invalid socket address syntax", "not an address with a port, such as 127.0.0.1:2525"),
        ("invalid IP address syntax", "not an IP address"),
    ] {
        words = words.replace(rust, plain);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        let names = field_names::<Session>();
        for (written, meant) in [
            ("timeout_comand", Some("timeout_command")),
            ("recipient_max", Some("recipients_max")),
            ("park", None),
            ("x", None),
        ] {
            assert_eq!(UnknownKey::new(written, names).meant, meant, "{written}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_next_hop_is_a_name_and_a_port() {
        for (text, host, port) in [
            ("mx.example:25", "mx.example", 25),
            ("192.0.2.1:2525", "192.0.2.1", 2525),
            ("[2001:db8::1]:465", "2001:db8::1", 465),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!((parsed.host.as_str(), parsed.port), (host, port));
        }
        for wrong in
            ["", "mx.example", "mx.example:", ":25", "mx example:25", "mx:0", "2001:db8::1:25:x"]
        {
            assert!(wrong.parse::<HostPort>().is_err(), "{wrong}");
        }
    }
}
