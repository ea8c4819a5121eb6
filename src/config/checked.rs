//! Written → checked: server, log, sockets, sessions, logins and storage; the defaults stand here, beside their keys.

use super::{
    ApiSettings, Config, HttpSettings, LoginOffer, Moves, PaceRules, Problem, ReportSettings,
    SessionLimits, alerts, blocklist,
    checker::{At, Checker},
    content,
    keys::Keys,
    listeners, next_hop,
    parties::{self, Parties},
    redis, scan, spam as signals, storage,
    written::{
        self, Api, Archive, Auth, Backup, File, Given, Offences, OrNone, Parsed, Privacy, Reports,
        Section, Server, Session, Spool, Store, Tls,
    },
};
use crate::{
    admin::{BackupSettings, ConductSettings},
    auth,
    intake::{ListenerKind, ListenerSettings},
    message, net,
    rules::availability::{Sla, Target},
    rules::judgement,
    rules::policy::{Policy, ReceivedClient, SenderMismatch, Shut, StripIdentityHeaders},
    rules::suspension,
    rules::tally::calendar::Zone,
    smtp::server::Mechanism,
    spool,
    store::{archive, sqlite},
    telemetry::{self, LogRecipients},
    types::{AccountId, ByteCount, Domain, Span},
    watch::{Letters, ReportLetters},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where unknown logins are disguised by, in the state directory.
const DISGUISE_FILE: &str = "login-disguise";

/// Makes a configuration out of what is written.
pub(super) fn check(mut written: Section<File>, moves: &Moves) -> Result<Config, Vec<Problem>> {
    let mut checker = Checker::default();
    let mut root = checker.at("");
    root.open(&written);
    let file = &mut written.known;
    move_addresses(&mut root, file, moves);
    let config = assemble(&mut root, file);
    if checker.problems.is_empty() { Ok(config) } else { Err(checker.problems) }
}

fn assemble(root: &mut At<'_>, file: &File) -> Config {
    let server = check_server(root, &file.server);
    let session = check_session(root, &file.session);
    let session_limits = session.limits;
    let parties = parties::check(root, file, session_limits.message_bytes_max);
    let tls = check_tls(root, &file.tls, &server);
    let listeners = listeners::check(root, file, &parties.trust, tls.is_some());
    check_vouched(root, &parties, tls.as_ref());
    let (auth, logins) = check_auth(root, &file.auth, &server, &listeners);
    let scan = scan::check(root, &file.scan);
    let next_hop = next_hop::check(
        root,
        &file.next_hop,
        (&server.hostname, &server.state_dir),
        scan.wait_max(),
    );
    let egress = next_hop.egress();
    let store = check_store(root, &file.store, &server.state_dir, &parties);
    let (conduct, keep_audit, recipients) = check_conduct(root, &file.privacy, &file.offences);
    let keep_offences = conduct.keep_offences;
    let (archive, keep) =
        check_archive(root, &file.archive, &server.state_dir, (keep_audit, keep_offences));
    let node = redis::Node {
        hostname: &server.hostname,
        transaction_time_max: session_limits.transaction_time_max,
        keep_events: keep.events,
    };
    let redis = redis::check(root, &file.store, &parties, &node);
    let alerts = alerts::check(root, &file.alerts, &server.hostname);
    let reports = check_reports(root, &file.reports, &server.hostname);
    let sla = check_sla(root, &file.sla, &reports.zone);
    let content = content::check(root, &file.spam);
    let standings = signals::check_suspension(root, &file.suspension);
    let shut = signals::check_shut(root, &file.suspension, &server.contact);
    Config {
        log: telemetry::Settings { recipients, ..check_log(root, file) },
        http: check_http(root, file, &server.state_dir),
        api: check_api(root, &file.api, tls.is_some()),
        spool: check_spool(root, &file.spool, &server.state_dir),
        test_user: logins.test_user.clone(),
        logins: logins.offer.clone(),
        hostname: server.hostname.clone(),
        state_dir: server.state_dir.clone(),
        drain_time_max: server.drain_time_max,
        threads: server.threads,
        connections_max: server.connections_max,
        policy: policy(&server, parties, &logins, session.park_after, (standings.clone(), shut)),
        session: session_limits,
        tls,
        listeners,
        auth,
        next_hop,
        store,
        redis,
        archive,
        conduct,
        backups: check_backup(root, &file.backup, &server.state_dir),
        scan,
        storage: storage::check(root, &file.storage),
        alerts,
        blocklist: blocklist::check(root, &file.blocklist, egress.iter().copied()),
        reaction: blocklist::check_reaction(root, &file.blocklist, egress),
        sla,
        judgement: judgement::Settings {
            spam: signals::check(root, &file.spam),
            suspension: standings,
        },
        content,
        judge: signals::check_tables(root, &file.spam),
        reports,
        keep,
        written: Keys::default(),
    }
}

fn policy(
    server: &CheckedServer,
    parties: Parties,
    logins: &Logins,
    park_after: Duration,
    (suspension, shut): (suspension::Settings, Shut),
) -> Policy {
    Policy {
        plans: parties.plans,
        default_plan: parties.default_plan,
        unknown_accounts: parties.unknown_accounts,
        new_accounts_per_hour: parties.new_accounts_per_hour,
        trust: parties.trust,
        sender_login_mismatch: logins.sender_login_mismatch,
        ipv6_prefix_bits: parties.ipv6_prefix_bits,
        strip_identity_headers: server.strip_identity_headers,
        received_client: server.received_client,
        hops_max: server.hops_max,
        contact: server.contact.clone(),
        suspension,
        shut,
        hostname: server.hostname.clone(),
        park_after,
    }
}

/// Puts what the command line says in place of what the file says.
fn move_addresses(root: &mut At<'_>, file: &mut File, moves: &Moves) {
    if let Some(folder) = &moves.state_dir {
        file.server.known.state_dir = Some(Given(Ok(folder.clone())));
    }
    if let Some(address) = moves.http_listen {
        file.http.known.listen = Some(Given(Ok(OrNone(Some(Parsed(address))))));
    }
    if let Some(address) = moves.api_listen {
        file.api.known.listen = Some(Given(Ok(OrNone(Some(Parsed(address))))));
    }
    if let Some(folder) = &moves.outbox {
        file.next_hop.known.path = Some(Given(Ok(folder.clone())));
    }
    for (address, kind) in [
        (moves.smarthost_listen, ListenerKind::Smarthost),
        (moves.submission_listen, ListenerKind::Submission),
    ] {
        let Some(address) = address else { continue };
        if !listeners::move_first(file, kind, address) {
            root.wrong("listener", format!("none is of the kind that {address} was given for"));
        }
    }
}

struct CheckedServer {
    hostname: Domain,
    state_dir: PathBuf,
    contact: String,
    received_client: ReceivedClient,
    strip_identity_headers: StripIdentityHeaders,
    hops_max: usize,
    drain_time_max: Duration,
    threads: Option<NonZeroUsize>,
    connections_max: Option<usize>,
}

fn check_server(root: &mut At<'_>, section: &Section<Server>) -> CheckedServer {
    let mut at = root.inside("server");
    let s = at.open(section);
    let hostname = at.required("hostname", &s.hostname, "the name that this server says in EHLO");
    let hostname = hostname.map_or_else(localhost, |parsed| parsed.0);
    let contact = at.or("contact", &s.contact, format!("postmaster@{hostname}"));
    if contact.is_empty() || contact.len() > CONTACT_BYTES_MAX || !is_printable_ascii(&contact) {
        at.wrong(
            "contact",
            "wanted 1 to 200 printable ASCII characters: it stands in SMTP replies",
        );
    }
    CheckedServer {
        contact,
        state_dir: at.or("state_dir", &s.state_dir, PathBuf::from("/var/lib/tollgate")),
        received_client: at.or("received_client", &s.received_client, ReceivedClient::default()),
        strip_identity_headers: at.or(
            "strip_identity_headers",
            &s.strip_identity_headers,
            StripIdentityHeaders::default(),
        ),
        hops_max: to_usize(at.within("hops_max", &s.hops_max, 100, 1..=1000)),
        drain_time_max: length(at.within(
            "drain_time_max",
            &s.drain_time_max,
            Span::from_secs(30),
            Span::from_secs(0)..=Span::from_secs(3600),
        )),
        connections_max: s
            .connections_max
            .as_ref()
            .map(|_| to_usize(at.within("connections_max", &s.connections_max, 1, 1..=1_000_000))),
        threads: NonZeroUsize::new(usize::from(at.within("threads", &s.threads, 0, 0..=1024))),
        hostname,
    }
}

fn check_log(root: &mut At<'_>, file: &File) -> telemetry::Settings {
    let mut at = root.inside("log");
    let s = at.open(&file.log);
    telemetry::Settings {
        format: at.or("format", &s.format, telemetry::LogFormat::default()),
        level: at.value("level", &s.level).map_or(tracing::Level::INFO, |parsed| parsed.0),
        lines_per_client_minute: at.within(
            "lines_per_client_minute",
            &s.lines_per_client_minute,
            600,
            0..=1_000_000,
        ),
        file: at.value("file", &s.file),
        recipients: LogRecipients::default(),
    }
}

fn check_http(root: &mut At<'_>, file: &File, state_dir: &Path) -> HttpSettings {
    let mut at = root.inside("http");
    let s = at.open(&file.http);
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, HTTP_PORT));
    let listen = at.or("listen", &s.listen, OrNone(Some(Parsed(default)))).0.map(|parsed| parsed.0);
    let mut at = root.inside("control");
    let s = at.open(&file.control);
    let control = at.or("socket", &s.socket, state_dir.join("control.sock"));
    if control.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        let detail = format!("{} is longer than {SOCKET_PATH_BYTES_MAX} octets", control.display());
        at.wrong("socket", detail);
    }
    HttpSettings { listen, control }
}

/// A token that crosses a network unencrypted is anybody's, so elsewhere than on loopback there is no API without TLS.
fn check_api(root: &mut At<'_>, section: &Section<Api>, has_tls: bool) -> ApiSettings {
    let mut at = root.inside("api");
    let s = at.open(section);
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT));
    let listen = at.or("listen", &s.listen, OrNone(Some(Parsed(default)))).0.map(|parsed| parsed.0);
    let elsewhere = listen.is_some_and(|address| !address.ip().is_loopback());
    let tls = at.or("tls", &s.tls, elsewhere);
    if elsewhere && !tls {
        at.wrong("tls", "false is for loopback addresses only");
    }
    if tls && listen.is_some() && !has_tls {
        at.wrong("listen", "needs a certificate: see [tls]");
    }
    let requests = at.within("requests_per_minute", &s.requests_per_minute, 600, 1..=1_000_000);
    let failures = at.within("failures_per_minute", &s.failures_per_minute, 10, 1..=1_000_000);
    let at_least_one = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    let pace = PaceRules {
        per_token_minute: at_least_one(requests),
        failures_per_minute: at_least_one(failures),
    };
    ApiSettings { listen, tls, pace }
}

fn check_tls(
    root: &mut At<'_>,
    section: &Section<Tls>,
    server: &CheckedServer,
) -> Option<net::TlsSettings> {
    let mut at = root.inside("tls");
    let s = at.open(section);
    let self_signed = at.or("self_signed", &s.self_signed, false);
    let timeout_handshake =
        at.within("timeout_handshake", &s.timeout_handshake, Span::from_secs(30), WAITS);
    let client_ca = at.value("client_ca", &s.client_ca);
    let more = check_certificates(&mut at, s);
    let written = (at.value("certificate", &s.certificate), at.value("key", &s.key));
    let (certificate, key) = match written {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) if self_signed => {
            (server.state_dir.join("tls-certificate.pem"), server.state_dir.join("tls-key.pem"))
        }
        (None, None) if more.is_empty() && client_ca.is_none() => return None,
        (None, None) => {
            at.note("wanted certificate and key: without them no TLS is offered");
            return None;
        }
        _ => {
            at.note("certificate and key belong together: both or neither");
            return None;
        }
    };
    let first = net::CertificateFiles { certificate, key };
    Some(net::TlsSettings {
        certificates: std::iter::once(first).chain(more).collect(),
        self_signed_for: self_signed.then(|| server.hostname.clone()),
        client_ca,
        timeout_handshake: timeout_handshake.length(),
    })
}

/// `[[tls.certificates]]`: those for further names.
fn check_certificates(at: &mut At<'_>, s: &Tls) -> Vec<net::CertificateFiles> {
    let sections = at.tables("certificates", &s.certificates);
    if sections.len() > CERTIFICATES_MAX {
        at.wrong("certificates", format!("wanted at most {CERTIFICATES_MAX}"));
    }
    let mut files = Vec::new();
    for (number, section) in sections.iter().enumerate() {
        let mut at = at.inside(&format!("certificates[{number}]"));
        let s = at.open(section);
        let certificate = at.required("certificate", &s.certificate, "a PEM file");
        let key = at.required("key", &s.key, "a PEM file");
        let pair = certificate.zip(key);
        files.extend(pair.map(|(certificate, key)| net::CertificateFiles { certificate, key }));
    }
    files
}

/// Names in certificates count only if somebody vouches for them.
fn check_vouched(root: &mut At<'_>, parties: &Parties, tls: Option<&net::TlsSettings>) {
    let named = parties.trust.iter().find(|row| row.certificate_name.is_some());
    if let Some(row) = named.filter(|_| tls.is_none_or(|tls| tls.client_ca.is_none())) {
        let detail = format!("missing; trust row \"{}\" has a certificate_name", row.name);
        root.inside("tls").wrong("client_ca", detail);
    }
}

/// What `[auth]` says to others than `auth`.
struct Logins {
    test_user: Option<crate::types::AccountId>,
    sender_login_mismatch: crate::rules::policy::SenderMismatch,
    offer: LoginOffer,
}

fn check_auth(
    root: &mut At<'_>,
    section: &Section<Auth>,
    server: &CheckedServer,
    listeners: &[ListenerSettings],
) -> (auth::Settings, Logins) {
    let mut at = root.inside("auth");
    let s = at.open(section);
    let mismatch =
        at.or("sender_login_mismatch", &s.sender_login_mismatch, SenderMismatch::default());
    let logins = Logins {
        test_user: check_test_user(&mut at, s, listeners),
        sender_login_mismatch: mismatch,
        offer: check_offer(&mut at, s),
    };
    let beside_state = logins.test_user.as_ref().map(|_| server.state_dir.join("users"));
    let (cached, seconds) = (&s.cache_entries_max, Span::from_secs);
    let settings = auth::Settings {
        passwd_file: check_passwd_file(&mut at, s, listeners).or(beside_state),
        dovecot: check_dovecot(&mut at, s),
        disguise_file: Some(server.state_dir.join(DISGUISE_FILE)),
        cache_entries_max: to_usize(at.within("cache_entries_max", cached, 10_000, 0..=10_000_000)),
        cache_ttl: length(at.within("cache_ttl", &s.cache_ttl, seconds(300), seconds(0)..=DAY)),
        hashing: auth::Hashing::default(),
        checks_max: usize::from(at.within("checks_max", &s.checks_max, 4, 1..=256)),
        pace: check_pace(&mut at, s),
    };
    (settings, logins)
}

fn check_pace(at: &mut At<'_>, s: &Auth) -> auth::PaceRules {
    let (seconds, per_minute) = (Span::from_secs, &s.failures_per_minute);
    let (put_off, delay) = (&s.put_off_max, &s.failure_delay_max);
    auth::PaceRules {
        per_minute: at.within("failures_per_minute", per_minute, 10, 1..=1_000_000),
        put_off_max: length(at.within("put_off_max", put_off, seconds(900), seconds(0)..=DAY)),
        delay_max: length(at.within(
            "failure_delay_max",
            delay,
            seconds(15),
            seconds(0)..=seconds(60),
        )),
    }
}

/// A Dovecot in place of a passwd-file: were both asked, nobody could say which password counts.
fn check_dovecot(at: &mut At<'_>, s: &Auth) -> Option<auth::dovecot::Settings> {
    let times = Span::from_secs(3)..=Span::from_secs(300);
    let timeout = at.within("dovecot_timeout", &s.dovecot_timeout, Span::from_secs(30), times);
    let place = at.value("dovecot_socket", &s.dovecot_socket)?.0;
    for (key, written) in
        [("passwd_file", s.passwd_file.is_some()), ("test_user", s.test_user.is_some())]
    {
        if written {
            at.wrong(
                "dovecot_socket",
                format!("{key} is set, too; logins are checked in one place"),
            );
        }
    }
    if s.mechanisms
        .as_ref()
        .is_some_and(|given| matches!(given, Given(Ok(m)) if m.contains(&Mechanism::ScramSha256)))
    {
        at.wrong(
            "mechanisms",
            "SCRAM-SHA-256 needs passwd_file; with dovecot_socket there are PLAIN and LOGIN",
        );
    }
    Some(auth::dovecot::Settings { place, timeout: timeout.length() })
}

fn check_offer(at: &mut At<'_>, s: &Auth) -> LoginOffer {
    let usual = || vec![Mechanism::Plain, Mechanism::Login];
    let mechanisms = at.value("mechanisms", &s.mechanisms).unwrap_or_else(usual);
    if mechanisms.is_empty() {
        at.wrong("mechanisms", "the list is empty, so nobody could log in");
    }
    let twice = |(n, mechanism): (usize, &Mechanism)| mechanisms[..n].contains(mechanism);
    if mechanisms.iter().enumerate().any(twice) {
        at.wrong("mechanisms", "one of them stands twice");
    }
    let failures = &s.failures_per_connection;
    LoginOffer {
        mechanisms,
        failures_max: at.within("failures_per_connection", failures, 5, 1..=10_000),
    }
}

fn check_passwd_file(at: &mut At<'_>, s: &Auth, listeners: &[ListenerSettings]) -> Option<PathBuf> {
    let asks = listeners.iter().find(|l| l.kind != ListenerKind::Smarthost);
    let none = s.passwd_file.is_none() && s.dovecot_socket.is_none() && s.test_user.is_none();
    if let Some(listener) = asks.filter(|_| none) {
        let name = &listener.name;
        let detail =
            format!("missing, and dovecot_socket, too; listener \"{name}\" asks for logins");
        at.wrong("passwd_file", detail);
    }
    at.value("passwd_file", &s.passwd_file)
}

/// Its password is no secret, so it must not be of use to strangers.
fn check_test_user(at: &mut At<'_>, s: &Auth, listeners: &[ListenerSettings]) -> Option<AccountId> {
    let test_user = at.value("test_user", &s.test_user)?;
    let elsewhere = listeners.iter().find(|l| l.addresses.iter().any(|a| !a.ip().is_loopback()));
    if let Some(listener) = elsewhere {
        let name = &listener.name;
        let detail = format!("a test login is for loopback only, but \"{name}\" listens elsewhere");
        at.wrong("test_user", detail);
    }
    Some(test_user)
}

struct CheckedSession {
    limits: SessionLimits,
    park_after: Duration,
}

fn check_session(root: &mut At<'_>, section: &Section<Session>) -> CheckedSession {
    let mut at = root.inside("session");
    let s = at.open(section);
    let minutes = |n: u64| Span::from_secs(60 * n);
    let sizes = ByteCount::new(1024)..=ByteCount::new(1 << 40);
    let limits = SessionLimits {
        timeout_command: length(at.within(
            "timeout_command",
            &s.timeout_command,
            minutes(5),
            WAITS,
        )),
        timeout_data: length(at.within("timeout_data", &s.timeout_data, minutes(5), WAITS)),
        timeout_scarce: length(at.within(
            "timeout_scarce",
            &s.timeout_scarce,
            Span::from_secs(10),
            WAITS,
        )),
        data_rate_min: at.within("data_rate_min", &s.data_rate_min, DATA_RATE_MIN, RATES).octets(),
        transaction_time_max: length(at.within(
            "transaction_time_max",
            &s.transaction_time_max,
            minutes(30),
            Span::from_secs(1)..=minutes(120),
        )),
        text_line_bytes_max: check_line_bytes(&mut at, s),
        recipients_max: to_usize(at.within("recipients_max", &s.recipients_max, 1000, 1..=100_000)),
        errors_max: at.within("errors_max", &s.errors_max, 20, 1..=10_000),
        connections_per_account_max: to_usize(at.within(
            "connections_per_account_max",
            &s.connections_per_account_max,
            100,
            1..=1_000_000,
        )),
        data_sessions_max: to_usize(at.within(
            "data_sessions_max",
            &s.data_sessions_max,
            2000,
            1..=1_000_000,
        )),
        message_bytes_max: at
            .within("message_bytes_max", &s.message_bytes_max, MESSAGE_BYTES, sizes)
            .octets(),
    };
    let park_after = at.within("park_after", &s.park_after, Span::from_secs(10), WAITS);
    CheckedSession { limits, park_after: length(park_after) }
}

/// 0 passes lines of any length on; nobody may be refused for what RFC 5321 §4.5.3.1.6 allows.
fn check_line_bytes(at: &mut At<'_>, session: &Session) -> Option<u64> {
    let key = &session.text_line_bytes_max;
    let bytes = at.within("text_line_bytes_max", key, 0, 0..=LINE_BYTES_MAX);
    if (1..LINE_BYTES_MIN).contains(&bytes) {
        let detail = format!("got {bytes}; wanted 0 (any length) or at least {LINE_BYTES_MIN}");
        at.wrong("text_line_bytes_max", detail);
    }
    (bytes > 0).then_some(u64::from(bytes))
}

fn check_store(
    root: &mut At<'_>,
    section: &Section<Store>,
    state_dir: &Path,
    parties: &Parties,
) -> sqlite::Settings {
    let mut at = root.inside("store");
    let s = at.open(section);
    sqlite::Settings {
        path: at.or("path", &s.path, state_dir.join("tollgate.db")),
        synchronous: at.or("synchronous", &s.synchronous, sqlite::Synchronous::default()),
        history: parties.history,
        unknown_margin: parties.unknown_margin,
    }
}

fn check_archive(
    root: &mut At<'_>,
    section: &Section<Archive>,
    state_dir: &Path,
    (audit, offences): (Duration, Duration),
) -> (archive::Settings, archive::Keep) {
    let mut at = root.inside("archive");
    let s = at.open(section);
    let settings = archive::Settings { path: at.or("path", &s.path, state_dir.join("archive.db")) };
    let days = |n: u64| Span::from_secs(n * 86_400);
    let times = Span::from_secs(1)..=days(3_660);
    let events = at.within("keep_events", &s.keep_events, days(30), times.clone()).length();
    let usage = at.within("keep_usage", &s.keep_usage, days(1_100), times).length();
    (settings, archive::Keep { events, usage, audit, offences })
}

fn check_conduct(
    root: &mut At<'_>,
    privacy: &Section<Privacy>,
    offences: &Section<Offences>,
) -> (ConductSettings, Duration, LogRecipients) {
    let day = |n: u64| Span::from_secs(n * 86_400);
    let times = Span::from_secs(1)..=day(36_600);
    let mut at = root.inside("privacy");
    let s = at.open(privacy);
    let audit = at.within("keep_audit", &s.keep_audit, day(1_826), times.clone()).length();
    let keep_closed = at.within("keep_closed", &s.keep_closed, day(30), times.clone()).length();
    let recipients = at.or("log_recipients", &s.log_recipients, LogRecipients::default());
    let mut at = root.inside("offences");
    let s = at.open(offences);
    let keep_offences = at.within("keep", &s.keep, day(365), times).length();
    let repeated = at.within("repeated", &s.repeated, 3, 1..=1_000);
    (ConductSettings { keep_offences, repeated, keep_closed }, audit, recipients)
}

fn check_backup(root: &mut At<'_>, section: &Section<Backup>, state_dir: &Path) -> BackupSettings {
    let mut at = root.inside("backup");
    let s = at.open(section);
    let day = |n: u64| Span::from_secs(n * 86_400);
    BackupSettings {
        folder: at.or("folder", &s.folder, state_dir.join("backups")),
        keep: at.within("keep", &s.keep, day(30), Span::from_secs(1)..=day(3_660)).length(),
        disguise: state_dir.join(DISGUISE_FILE),
        erasures: state_dir.join("erasures"),
    }
}

fn check_sla(root: &mut At<'_>, section: &Section<written::Sla>, zone: &Zone) -> Sla {
    let mut at = root.inside("sla");
    let s = at.open(section);
    let percent = at.within("target", &s.target, Target::default().percent(), 50.0..=100.0);
    let target = Target::from_percent(percent).unwrap_or_default();
    Sla { target, zone: zone.clone() }
}

fn check_reports(
    root: &mut At<'_>,
    section: &Section<Reports>,
    hostname: &Domain,
) -> ReportSettings {
    let mut at = root.inside("reports");
    let s = at.open(section);
    let zone = at.or("time_zone", &s.time_zone, Parsed(Zone::UTC)).0;
    let every = at.or("letters", &s.letters, Letters::None);
    let from = at.value("from", &s.from).map(|parsed| parsed.0);
    let from = from.or_else(|| format!("tollgate@{hostname}").parse().ok());
    ReportSettings { zone, letters: ReportLetters { every, from, host: hostname.clone() } }
}

fn check_spool(root: &mut At<'_>, section: &Section<Spool>, state_dir: &Path) -> spool::Settings {
    let mut at = root.inside("spool");
    let s = at.open(section);
    let memory = ByteCount::new(128 << 10);
    let in_memory =
        ByteCount::new(message::HEADER_SCAN_BYTES_MAX as u64)..=ByteCount::new(64 << 20);
    let total = ByteCount::new(1 << 20)..=ByteCount::new(1 << 50);
    spool::Settings {
        folder: at.or("folder", &s.folder, state_dir.join("spool")),
        memory_bytes_max: at
            .within("memory_bytes_max", &s.memory_bytes_max, memory, in_memory)
            .in_memory(),
        memory_total_bytes_max: at
            .within(
                "memory_total_bytes_max",
                &s.memory_total_bytes_max,
                ByteCount::new(256 << 20),
                ByteCount::new(1 << 20)..=ByteCount::new(1 << 40),
            )
            .octets(),
        total_bytes_max: at
            .within("total_bytes_max", &s.total_bytes_max, ByteCount::new(10 << 30), total)
            .octets(),
    }
}

/// A name that only stands in for a missing one until the mistake is reported.
fn localhost() -> Domain {
    "localhost".parse().expect("localhost is a host name")
}

fn is_printable_ascii(text: &str) -> bool {
    text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

fn length(span: Span) -> Duration {
    span.length()
}

pub(super) fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// What a wait may be.
pub(super) const WAITS: std::ops::RangeInclusive<Span> =
    Span::new(Duration::from_millis(1))..=Span::from_secs(3600);
const DAY: Span = Span::from_secs(24 * 3600);
/// 100 MiB.
const MESSAGE_BYTES: ByteCount = ByteCount::new(100 << 20);
/// What a text line has room for in any case, with its CRLF and a stuffed dot (RFC 5321 §4.5.3.1.6).
const LINE_BYTES_MIN: u32 = 1001;
const LINE_BYTES_MAX: u32 = 1 << 30;
/// Octets a second; the slowest modems that anybody still has are ten times faster.
const DATA_RATE_MIN: ByteCount = ByteCount::new(100);
const RATES: std::ops::RangeInclusive<ByteCount> = ByteCount::new(0)..=ByteCount::new(1 << 20);
const HTTP_PORT: u16 = 8025;
const API_PORT: u16 = 8026;
const CONTACT_BYTES_MAX: usize = 200;
/// Certificates beside the first; each is read at every reload.
const CERTIFICATES_MAX: usize = 1000;
/// `sun_path` holds 108 octets with its final NUL (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;
