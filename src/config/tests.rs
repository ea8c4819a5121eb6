//! Files, mistakes, defaults and documentation of the configuration.

use super::{
    written::{self, field_names},
    *,
};
use crate::{
    event::Evidence,
    types::{Scope, Span, Unit},
};

const TOLLGATE: &str = include_str!("../../config/tollgate.toml");
const QUICKSTART: &str = include_str!("../../config/quickstart.toml");
const DOCUMENTATION: &str = include_str!("../../docs/configuration.md");

/// The least that is a configuration.
const LEAST: &str = r#"
[server]
hostname = "gate.example"
[[listener]]
name = "in"
kind = "smarthost"
address = "127.0.0.1:2525"
[limits]
default_plan = "p"
[plan.p]
[next_hop]
kind = "folder"
"#;

fn parsed(text: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("test.toml"), &Moves::default())
}

fn good(text: &str) -> Config {
    parsed(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn problems(text: &str) -> Vec<String> {
    match parsed(text) {
        Ok(_) => Vec::new(),
        Err(ConfigError::Wrong { problems, .. }) => {
            problems.iter().map(ToString::to_string).collect()
        }
        Err(other) => vec![other.to_string()],
    }
}

/// The least configuration, with text replaced or (if there is nothing to replace) added.
fn changed(from: &str, to: &str) -> String {
    if from.is_empty() { format!("{LEAST}{to}") } else { LEAST.replacen(from, to, 1) }
}

fn check_problem(text: &str, expected: &str) {
    let found = problems(text);
    assert!(
        found.iter().any(|p| p.contains(expected)),
        "wanted {expected:?}, got {found:#?}\n{text}"
    );
}

/// Every table of the file with its keys, from the structs that serde reads.
fn schema() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("server", field_names::<written::Server>()),
        ("log", field_names::<written::Log>()),
        ("http", field_names::<written::Http>()),
        ("api", field_names::<written::Api>()),
        ("control", field_names::<written::Control>()),
        ("tls", field_names::<written::Tls>()),
        ("tls.certificates", field_names::<written::TlsCertificate>()),
        ("listener", field_names::<written::Listener>()),
        ("auth", field_names::<written::Auth>()),
        ("session", field_names::<written::Session>()),
        ("limits", field_names::<written::Limits>()),
        ("plan.NAME", field_names::<written::Plan>()),
        ("plan.NAME.limits", field_names::<written::PlanLimit>()),
        ("plan.NAME.null_sender", field_names::<written::NullSender>()),
        ("trust", field_names::<written::Trust>()),
        ("trust.limits", field_names::<written::TrustLimit>()),
        ("next_hop", field_names::<written::NextHop>()),
        ("next_hop.hosts", field_names::<written::Host>()),
        ("store", field_names::<written::Store>()),
        ("archive", field_names::<written::Archive>()),
        ("backup", field_names::<written::Backup>()),
        ("privacy", field_names::<written::Privacy>()),
        ("offences", field_names::<written::Offences>()),
        ("alerts", field_names::<written::Alerts>()),
        ("alerts.webhook", field_names::<written::AlertWebhook>()),
        ("alerts.email", field_names::<written::AlertEmail>()),
        ("alerts.alertmanager", field_names::<written::Alertmanager>()),
        ("plan.NAME.storage", field_names::<written::PlanStorage>()),
        ("storage", field_names::<written::Storage>()),
        ("storage.doveadm", field_names::<written::StorageDoveadm>()),
        ("scan", field_names::<written::Scan>()),
        ("scan.rspamd", field_names::<written::ScanRspamd>()),
        ("scan.clamav", field_names::<written::ScanClamav>()),
        ("sla", field_names::<written::Sla>()),
        ("spam", field_names::<written::Spam>()),
        ("spam.caps", field_names::<written::SpamCaps>()),
        ("suspension", field_names::<written::Suspension>()),
        ("reports", field_names::<written::Reports>()),
        ("spool", field_names::<written::Spool>()),
        ("blocklist", field_names::<written::Blocklist>()),
        ("blocklist.keys.NAME", field_names::<written::BlocklistKey>()),
    ]
}

#[test]
fn what_looks_into_messages_takes_its_time_from_the_next_hops() {
    let smarthost = LEAST.replace(
        "kind = \"folder\"",
        "kind = \"smarthost\"\nhosts = [{ host = \"mx.example:25\" }]",
    );
    let with = |after_dot: &str| {
        let clamav = "[scan.clamav]\nsocket = \"/run/clamd\"\ntimeout = \"60s\"";
        format!("{smarthost}{after_dot}\n{clamav}\n")
    };
    let after_dot = |text: &str| match good(text).next_hop {
        deliver::Settings::Smarthost(settings) => settings.timeout_after_dot.as_secs(),
        deliver::Settings::Folder { .. } => 0,
    };
    assert_eq!((after_dot(&smarthost), after_dot(&with(""))), (510, 450));
    assert_eq!(after_dot(&with("timeout_after_dot = \"400s\"")), 400);
    assert!(!good(&smarthost).scan.asks_somebody());
}

#[test]
fn the_schema_names_every_table() {
    let tops: Vec<&str> = schema().iter().map(|(table, _)| *table).collect();
    for top in field_names::<written::File>() {
        assert!(tops.iter().any(|table| table.split('.').next() == Some(top)), "{top}");
    }
    assert!(schema().iter().all(|(_, keys)| !keys.is_empty()));
}

#[test]
fn the_api_is_on_loopback_or_behind_tls() {
    let with = |api: &str| format!("{LEAST}\n[api]\n{api}\n");
    let settings = |api: &str| parsed(&with(api)).unwrap().api;
    let default = settings("");
    assert_eq!(
        (default.listen.unwrap().to_string(), default.tls),
        ("127.0.0.1:8026".into(), false)
    );
    assert_eq!(settings("listen = \"none\"").listen, None);
    let with_tls = "listen = \"0.0.0.0:8026\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"";
    assert!(settings(with_tls).tls);
    check_problem(&with("listen = \"0.0.0.0:8026\""), "api.listen: needs a certificate");
    check_problem(&with("tls = true"), "api.listen: needs a certificate");
    let open = with_tls.replace("\n[tls]", "\ntls = false\n[tls]");
    check_problem(&with(&open), "api.tls: false is for loopback addresses only");
}

#[test]
fn points_of_standings_rise() {
    let with = |text: &str| format!("{LEAST}\n{text}\n");
    check_problem(&with("[suspension]\nwarn_points = 6.5"), "suspension.suspend_points: wanted");
    check_problem(&with("[spam]\nrefuse_score = 1"), "spam.refuse_score: less than");
    check_problem(&with("[spam]\nspam_replies = [\"a\"]"), "spam.spam_replies: wanted at most");
    check_problem(&with("[spam]\nobserve = [\"weather\"]"), "spam.observe");
    let text = with("[spam]\nspam_replies = [\"Junk Mail\"]\ncaps = { place = 2 }");
    let spam = parsed(&text).unwrap().judgement.spam;
    assert!(spam.answers.spam.contains(&"junk mail".to_owned()));
    assert_eq!(spam.caps[crate::rules::spam::Signal::Place as usize], 2.0);
}

#[test]
fn redis_is_named_without_its_password_and_checked() {
    let with = |keys: &str| format!("{LEAST}\n[store]\n{keys}\n");
    let redis = good(&with("redis = 'redis://127.0.0.1'")).redis.unwrap();
    assert_eq!((redis.prefix.as_str(), redis.timeout.as_secs()), ("tollgate", 2));
    assert_eq!(redis.open_time_max, Duration::from_secs(45 * 60), "a transaction and its end");
    assert!(redis.cluster.is_none() && good(LEAST).redis.is_none());
    let nodes = "redis = 'redis://host'\nredis_cluster = ['10.0.0.1:6379', '[fd00::1]:7000']";
    let cluster = good(&with(nodes)).redis.unwrap().cluster.unwrap();
    assert_eq!(cluster, [("10.0.0.1".into(), 6_379), ("fd00::1".into(), 7_000)]);
    for (keys, wanted) in [
        ("redis = 'redis.example'", "store.redis: "),
        ("redis = 'redis://:secret@host'", "it belongs into redis_password_file"),
        ("redis = 'redis://gate@host'", "store.redis: a user belongs together"),
        ("redis = 'redis://host'\nredis_tls_ca = 'ca.pem'", "store.redis_tls_ca: only rediss"),
        ("redis = 'redis://host'\nredis_prefix = 'a:b'", "store.redis_prefix: got \"a:b\""),
        ("redis = 'redis://host'\nredis_timeout = '6s'", "store.redis_timeout: "),
        ("redis_timeout = '1s'", "store.redis_timeout: redis does not say"),
        ("redis_cluster = ['a:1']", "store.redis_cluster: redis does not say"),
        (
            "redis = 'redis://host'\nredis_sentinels = ['a']\nredis_master = 'm'",
            "store.redis_sentinels: got \"a\", wanted host:port, or a URL",
        ),
        (
            "redis = 'redis://host'\nredis_sentinels = ['rediss://u@a:1']\nredis_master = 'm'",
            "store.redis_sentinels: a user belongs together with redis_sentinel_password_file",
        ),
        (
            "redis = 'redis://host'\nredis_sentinels = ['redis://:secret@a:1']\nredis_master = 'm'",
            "store.redis_sentinels: a password in it would be printed; it belongs into redis_sentinel_password_file",
        ),
        (
            "redis = 'redis://host'\nredis_sentinels = [':secret@a:1']\nredis_master = 'm'",
            "store.redis_sentinels: not a URL such as",
        ),
        (
            "redis = 'redis://host'\nredis_sentinels = ['redis://a:1/3']\nredis_master = 'm'",
            "store.redis_sentinels: a sentinel has no databases",
        ),
        (
            "redis = 'redis://host'\nredis_sentinels = ['redis+unix:///s']\nredis_master = 'm'",
            "store.redis_sentinels: a sentinel is reached by TCP",
        ),
        (
            "redis = 'redis://host'\nredis_sentinel_password_file = '/dev/null'",
            "store.redis_sentinel_password_file: redis_sentinels does not say whose",
        ),
        (
            "redis = 'redis://host'\nredis_cluster = []",
            "store.redis_cluster: got [], wanted 1 to 16",
        ),
        ("redis = 'redis://host'\nredis_cluster = ['a']", "store.redis_cluster: got [\"a\"]"),
        ("redis = 'redis://host/1'\nredis_cluster = ['a:1']", "store.redis_cluster: redis names a"),
        (
            "redis = 'redis+unix:///r'\nredis_cluster = ['a:1']",
            "store.redis_cluster: redis is a UNIX",
        ),
        (
            "redis = 'redis://host'\nredis_cluster = ['a:1']\nredis_sentinels = ['b:1']\nredis_master = 'm'",
            "store.redis_cluster: redis_sentinels asks for one server",
        ),
    ] {
        check_problem(&with(keys), wanted);
    }
    for keys in [
        "redis = 'redis://:secret@host'",
        "redis = 'redis://host'\nredis_sentinels = [':secret@a:1', 'redis://:secret@a:1']\nredis_master = 'm'",
    ] {
        let secret = problems(&with(keys)).join(" ");
        assert!(!secret.is_empty() && !secret.contains(":secret"), "{secret}");
    }
    let good = "redis = 'redis://host'\nredis_sentinels = ['a:1', '::1:2', '[::1]:3', 'rediss://b:4']\nredis_master = 'm'";
    assert_eq!(problems(&with(good)), [""; 0]);
}

#[test]
fn tollgate_toml_shows_every_key() {
    let whole: toml::Table = toml::from_str(&uncommented()).unwrap();
    for (table, keys) in schema() {
        for key in keys {
            let found = find(&toml::Value::Table(whole.clone()), table, key);
            assert!(found, "config/tollgate.toml does not show {table}.{key}");
        }
    }
}

/// True if a table at this path (in any element of a list, in any plan) has the key.
fn find(value: &toml::Value, path: &str, key: &str) -> bool {
    if let Some(list) = value.as_array() {
        return list.iter().any(|element| find(element, path, key));
    }
    let Some(table) = value.as_table() else { return false };
    match path.split_once('.') {
        _ if path.is_empty() => table.contains_key(key),
        Some(("NAME", rest)) => table.values().any(|plan| find(plan, rest, key)),
        Some((first, rest)) => table.get(first).is_some_and(|inner| find(inner, rest, key)),
        None if path == "NAME" => table.values().any(|plan| find(plan, "", key)),
        None => table.get(path).is_some_and(|inner| find(inner, "", key)),
    }
}

/// The file with its `#key = …` lines switched on.
fn uncommented() -> String {
    let is_key =
        |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ");
    let lines = TOLLGATE.lines().map(|line| if is_key(line) { &line[1..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn commented_keys_of_tollgate_toml_have_the_right_form() {
    for problem in problems(&uncommented()) {
        let by_choice = [
            "next_hop.path: ",
            "next_hop.hosts[0].password_file: ",
            "auth.test_user: ",
            "auth.dovecot_socket: ",
            "alerts.webhook[0].secret_file: ",
            "storage.doveadm.",
            "store.redis_password_file: ",
            "store.redis_sentinel_password_file: ",
            "store.redis_cluster: redis_sentinels ",
            "spam.content_rules: ",
            "spam.traps: ",
            "spam.networks: ",
            "blocklist.lists_file: ",
            "blocklist.keys.zen: ",
        ];
        assert!(by_choice.iter().any(|key| problem.starts_with(key)), "{problem}");
    }
}

#[test]
fn tollgate_toml_ships_the_plan_for_shared_hosting() {
    let config = good(TOLLGATE);
    let plan = &config.policy.plans[&config.policy.default_plan];
    let limits = |scope: Scope| -> Vec<(u32, Span)> {
        let of_scope =
            plan.limits.iter().filter(|l| l.scope == scope && l.unit == Unit::Recipients);
        of_scope.map(|l| (l.limit.max, l.limit.window)).collect()
    };
    for scope in [Scope::Tenant, Scope::Account, Scope::ClientIp] {
        assert_eq!(limits(scope), [(50, Span::from_secs(3600)), (600, Span::from_secs(86_400))]);
    }
    assert_eq!(config.session.message_bytes_max, 104_857_600);
    assert_eq!(plan.storage.tenant_bytes_max, Some(10_000_000_000));
    assert_eq!(warnings(&config), Vec::<String>::new());
}

/// Takes each line away that is not marked as an example; nothing may change.
#[test]
fn values_in_tollgate_toml_are_the_defaults() {
    let whole = format!("{:?}", good(TOLLGATE));
    let lines: Vec<&str> = TOLLGATE.lines().collect();
    let mut tried = 0;
    for (number, line) in lines.iter().enumerate() {
        let is_key = line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(" = ");
        if !is_key || line.ends_with("# example") {
            continue;
        }
        let rest = [&lines[..number], &lines[number + 1..]].concat().join("\n");
        assert_eq!(format!("{:?}", good(&rest)), whole, "without {line}");
        tried += 1;
    }
    assert!(tried > 60, "{tried}");
}

#[test]
fn the_quickstart_is_what_the_readme_says() {
    let config = good(QUICKSTART);
    let addresses: Vec<String> =
        config.listeners.iter().flat_map(|l| &l.addresses).map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1:2525", "127.0.0.1:2587"]);
    assert_eq!(config.http.listen.unwrap().to_string(), "127.0.0.1:8025");
    assert_eq!(config.auth.passwd_file.as_deref(), Some(Path::new("var/users")));
    assert!(
        matches!(&config.next_hop, deliver::Settings::Folder { path } if path == Path::new("var/outbox"))
    );
    assert_eq!(config.store.path, Path::new("var/tollgate.db"));
    assert_eq!(config.listeners[0].evidence, [Evidence::Auth, Evidence::MailFrom]);
    assert!(config.tls.as_ref().unwrap().self_signed_for.is_some());
    assert_eq!(config.policy.trust[0].limits[0].limit.max, 100_000);
    assert_eq!(warnings(&config), Vec::<String>::new());
    let session = config.session_settings(&config.listeners[1]);
    assert!(session.starttls && session.require_tls && session.require_auth);
    assert!(!session.allow_plaintext_auth);
    let session = config.session_settings(&config.listeners[0]);
    assert!(!session.require_tls && !session.require_auth && !session.xclient);
}

#[test]
fn flags_move_addresses_and_paths() {
    let moves = Moves {
        state_dir: Some("/tmp/t".into()),
        http_listen: Some("127.0.0.1:1".parse().unwrap()),
        api_listen: Some("127.0.0.1:4".parse().unwrap()),
        smarthost_listen: Some("127.0.0.1:2".parse().unwrap()),
        submission_listen: Some("127.0.0.1:3".parse().unwrap()),
        outbox: None,
    };
    let config = parse(QUICKSTART, Path::new("q"), &moves).unwrap();
    assert_eq!(config.store.path, Path::new("/tmp/t/tollgate.db"));
    assert_eq!(config.spool.folder, Path::new("/tmp/t/spool"));
    assert_eq!(config.http.control, Path::new("/tmp/t/control.sock"));
    assert!(
        matches!(&config.next_hop, deliver::Settings::Folder { path } if path == Path::new("/tmp/t/outbox"))
    );
    let ports: Vec<u16> = config.listeners.iter().map(|l| l.addresses[0].port()).collect();
    assert_eq!((config.http.listen.unwrap().port(), ports), (1, vec![2, 3]));
    assert_eq!(config.api.listen.unwrap().port(), 4);

    let outbox = Moves { outbox: Some("box".into()), ..Moves::default() };
    let config = parse(QUICKSTART, Path::new("q"), &outbox).unwrap();
    assert!(
        matches!(&config.next_hop, deliver::Settings::Folder { path } if path == Path::new("box"))
    );

    let outside =
        Moves { smarthost_listen: Some("0.0.0.0:25".parse().unwrap()), ..Moves::default() };
    let error = parse(QUICKSTART, Path::new("q"), &outside).unwrap_err().to_string();
    assert!(error.contains("trust row \"loopback\" trusts loopback"), "{error}");
    let nowhere =
        Moves { submission_listen: Some("127.0.0.1:3".parse().unwrap()), ..Moves::default() };
    assert!(parse(LEAST, Path::new("q"), &nowhere).is_err());
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_keys() {
    let text = r#"
[server]
hostname = "gate example"
hops_maxx = 5
[log]
level = "loud"
[[listener]]
name = "in"
kind = "smart-host"
address = "localhost"
[limits]
default_plan = "gold"
[plan.silver]
limits = [{ scope = "account", max = -1, window = "1h" }, { scope = "account", max = 5, window = "0s" }]
[nexthop]
[next_hop]
kind = "smarthost"
timeout_after_dot = "9m"
"#;
    let error = parsed(text).unwrap_err().to_string();
    for expected in [
        "use test.toml:",
        "\n  server.hostname: \"gate example\" is not a host name",
        "\n  server.hops_maxx: unknown key; did you mean \"hops_max\"?",
        "\n  log.level: \"loud\"",
        "\n  listener[0].kind: unknown variant smart-host",
        "\n  listener[0].address: \"localhost\": not an address with a port",
        "\n  limits.default_plan: there is no [plan.gold]",
        "\n  plan.silver.limits[0].max: ",
        "expected a whole number from 0 to 4294967295",
        "\n  plan.silver.limits[1].window: got 0 ms, wanted 1 s to 31 d",
        "\n  nexthop: unknown key; did you mean \"next_hop\"?",
        "\n  next_hop.hosts: missing",
        "\n  next_hop.timeout_after_dot: got 9 min, wanted at most 515 s",
    ] {
        assert!(error.contains(expected), "{expected:?} is missing in:\n{error}");
    }
}

/// A fraction is no value of any key, so each key must complain under its own path.
#[test]
fn every_key_names_itself_when_it_is_wrong() {
    for (table, keys) in schema() {
        for key in keys {
            let is_number =
                table == "spam.caps" || key.ends_with("_points") || key.ends_with("_score");
            let bad = if is_number { format!("{key} = \"much\"") } else { format!("{key} = 1.5") };
            let (text, path) = match table {
                "listener" | "trust" | "alerts.webhook" => {
                    (format!("[[{table}]]\n{bad}"), format!("{table}[0]"))
                }
                "plan.NAME" => (format!("[plan.x]\n{bad}"), String::from("plan.x")),
                "plan.NAME.limits" => {
                    (format!("[[plan.x.limits]]\n{bad}"), String::from("plan.x.limits[0]"))
                }
                "plan.NAME.null_sender" => {
                    (format!("[plan.x.null_sender]\n{bad}"), String::from("plan.x.null_sender"))
                }
                "trust.limits" => (
                    format!("[[trust]]\n[[trust.limits]]\n{bad}"),
                    String::from("trust[0].limits[0]"),
                ),
                "tls.certificates" => {
                    (format!("[[tls.certificates]]\n{bad}"), String::from("tls.certificates[0]"))
                }
                "next_hop.hosts" => {
                    (format!("[[next_hop.hosts]]\n{bad}"), String::from("next_hop.hosts[0]"))
                }
                other => (format!("[{other}]\n{bad}"), other.to_owned()),
            };
            let wanted = format!("{path}.{key}: ");
            let found = problems(&text);
            let named =
                found.iter().filter(|p| p.starts_with(&wanted) && !p.contains("missing")).count();
            assert!(named >= 1, "{text}\n{found:#?}");
        }
    }
}

#[test]
fn no_mistake_opens_the_relay() {
    for (change, expected) in [
        (
            "[[trust]]\nname = \"all\"\nrelay = true",
            "trust[0]: wanted networks, a login or a certificate",
        ),
        (
            "[[trust]]\nname = \"all\"\nnetworks = [\"0.0.0.0/0\"]\nrelay = true",
            "0.0.0.0/0 is too wide",
        ),
        ("[[trust]]\nname = \"all\"\nnetworks = [\"::/0\"]", "::/0 is too wide"),
        ("[[trust]]\nname = \"all\"\nnetworks = [\"192.0.2.0/33\"]", "trust[0].networks"),
        ("[[trust]]\nname = \"a\"\nnetworks = [\"10.0.0.0/8\"]\nrelay = \"no\"", "trust[0].relay"),
        (
            "[[trust]]\nname = \"a\"\nnetworks = [\"10.0.0.0/8\"]\nrelays = true",
            "did you mean \"relay\"",
        ),
        (
            "[[trust]]\nname = \"web01.example\"\nnetworks = [\"10.0.0.1\"]",
            "trust[0].name: a name has no dot",
        ),
        ("[[trust]]\nname = \"a\"\nlogin = \"srv\"\nxclient = true", "trust[0].xclient"),
        ("[[trust]]\nname = \"a\"\nlogin = \"srv\"\nproxy = true", "trust[0].proxy"),
        ("[[trust]]\nname = \"a\"\ncertificate = \"64:F2\"", "trust[0].certificate: "),
        ("[[trust]]\nname = \"a\"\ncertificate_name = \"web01.example\"", "tls.client_ca: missing"),
        (
            "[[trust]]\nname = \"a\"\ncertificate_name = \"web01.example\"\nxforward = true",
            "trust[0].xforward",
        ),
        ("[tls]\nclient_ca = \"/nonexistent/ca.pem\"", "tls: wanted certificate and key"),
        ("[[tls.certificates]]\ncertificate = \"a\"", "tls.certificates[0].key: missing"),
        (
            "[[trust]]\nname = \"a\"\nlogin = \"srv\"\nidentity_headers = [\"mail-from\"]",
            "does not stand in a header",
        ),
        (
            "[[trust]]\nname = \"a\"\nnetworks = [\"10.0.0.1\"]\n[[trust]]\nname = \"A\"\nnetworks = [\"10.0.0.2\"]",
            "trust[1].name: there is a row named",
        ),
    ] {
        check_problem(&changed("", change), expected);
    }
    let outside = changed("127.0.0.1:2525", "0.0.0.0:25");
    let trusting = "[[trust]]\nname = \"l\"\nnetworks = [\"::1\"]\nrelay = true";
    check_problem(
        &format!("{outside}{trusting}"),
        "listener[0].address: trust row \"l\" trusts loopback",
    );
    assert!(problems(&outside).is_empty());
    check_problem(
        &changed("kind = \"smarthost\"", "kind = \"smarthost\"\nproxy_protocol = true"),
        "nobody could connect",
    );
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    let hosts = |host: &str| {
        changed("kind = \"folder\"", &format!("kind = \"smarthost\"\nhosts = [{{ {host} }}]"))
    };
    for (text, expected) in [
        (String::new(), "server.hostname: missing"),
        (String::new(), "listener: missing"),
        (String::from("[server"), "read test.toml"),
        (String::from("server = 5"), "server: got integer where a table is wanted"),
        (changed("kind = \"smarthost\"", "kind = \"submission\""), "this listener needs [tls]"),
        (
            changed("kind = \"smarthost\"", "kind = \"submissions\"\nplaintext_auth = true"),
            "this listener needs [tls]",
        ),
        (
            changed("kind = \"smarthost\"", "kind = \"submission\"\nplaintext_auth = true"),
            "auth.passwd_file: missing",
        ),
        (
            changed(
                "address = \"127.0.0.1:2525\"",
                "plaintext_auth = true\naddress = \"0.0.0.0:25\"",
            ),
            "for loopback only",
        ),
        (
            changed("address = \"127.0.0.1:2525\"", "address = []"),
            "listener[0].address: the list is empty",
        ),
        (
            changed(
                "kind = \"smarthost\"",
                "kind = \"smarthost\"\nevidence = [\"auth\", \"auth\"]",
            ),
            "stands twice",
        ),
        (
            changed("kind = \"smarthost\"", "kind = \"smarthost\"\nevidence = [\"peer\"]"),
            "leave it out",
        ),
        (
            changed(
                "",
                "[[listener]]\nname = \"in\"\nkind = \"smarthost\"\naddress = \"127.0.0.1:2525\"",
            ),
            "listener[1].name",
        ),
        (
            changed(
                "",
                "[[listener]]\nname = \"b\"\nkind = \"smarthost\"\naddress = \"127.0.0.1:2525\"",
            ),
            "belongs to another",
        ),
        (changed("", "[tls]\ncertificate = \"x\""), "tls: certificate and key belong together"),
        (changed("127.0.0.1:2525", "0.0.0.0:25") + "[auth]\ntest_user = \"t@x\"", "auth.test_user"),
        (
            changed("[plan.p]", "[plan.p]\nmessage_bytes_max = \"200 MiB\""),
            "plan.p.message_bytes_max",
        ),
        (
            changed(
                "[plan.p]",
                "[plan.p]\nlimits = [{ scope = \"peer\", max = 1, window = \"1h\" }]",
            ),
            "plan.p.limits[0].scope",
        ),
        (
            changed(
                "[plan.p]",
                "[plan.p]\nlimits = [{ scope = \"account\", max = 1, window = \"32d\" }]",
            ),
            "got 32 d",
        ),
        (
            changed(
                "[plan.p]",
                "[plan.p]\nlimits = [{ scope = \"account\", max = 1, window = 60 }]",
            ),
            "limits[0].window",
        ),
        (
            changed(
                "[plan.p]",
                "[plan.p]\nlimits = [{ scope = \"account\", max = 1, window = \"1h\", unit = \"null-sender\" }]",
            ),
            "limits[0].unit",
        ),
        (
            changed(
                "[plan.p]",
                "[plan.p]\nlimits = [{ scope = \"account\", max = 1, window = \"24h\" }, { scope = \"account\", max = 2, window = \"1d\" }]",
            ),
            "plan.p.limits[1]: there is a limit",
        ),
        (
            changed("default_plan = \"p\"", "default_plan = \"p\"\nhistory = \"1h\""),
            "limits.history",
        ),
        (changed("kind = \"folder\"", "kind = \"smarthost\""), "next_hop.hosts: missing"),
        (
            changed("kind = \"folder\"", "kind = \"folder\"\nhosts = []"),
            "next_hop.hosts: belongs to",
        ),
        (
            changed("kind = \"folder\"", "kind = \"folder\"\ntimeout_final = \"8m50s\""),
            "next_hop.timeout_final",
        ),
        (
            changed("kind = \"folder\"", "kind = \"folder\"\ntimeout_final = \"520s\""),
            "wanted at most timeout_after_dot",
        ),
        (hosts("host = \"mx.example\""), "next_hop.hosts[0].host"),
        (hosts("host = \"mx.example:25\", login = \"a\""), "belong together"),
        (hosts("host = \"mx.example:25\", tls = \"none\", verify = true"), "have no meaning"),
        (
            hosts("host = \"mx.example:25\", login = \"a\", password_file = \"/nonexistent/x\""),
            "password_file: /nonexistent/x",
        ),
        (
            hosts("host = \"mx.example:25\", weight = 0"),
            "hosts[0].weight: got 0, wanted 1 to 65535",
        ),
    ] {
        check_problem(&text, expected);
    }
}

#[test]
fn no_error_repeats_a_password() {
    for password in ["98765", "[98765]", "\"98765", "98765 98765"] {
        let host =
            format!("[[next_hop.hosts]]\nhost = \"mx:25\"\nlogin = \"a\"\npassword = {password}\n");
        let found = problems(&format!("{LEAST}{host}")).join("\n");
        assert!(!found.is_empty() && !found.contains("98765"), "{found}");
    }
    check_problem("[server]\nhostname = \"a\n", "read test.toml: line 2: ");
}

#[test]
fn a_longer_window_keeps_a_longer_history() {
    assert_eq!(good(LEAST).store.history, Duration::from_secs(86_400));
    let week = changed(
        "[plan.p]",
        "[plan.p]\nlimits = [{ scope = \"account\", max = 1, window = \"7d\" }]",
    );
    assert_eq!(good(&week).store.history, Duration::from_secs(7 * 86_400));
}

#[test]
fn doubtful_settings_are_warned_of() {
    let by_address = "[[trust]]\nname = \"w\"\nnetworks = [\"192.0.2.1\"]\nidentity_headers = [\"php-script\"]\nlimits = []\n";
    let shadowed = "[[trust]]\nname = \"v\"\nnetworks = [\"192.0.2.1\"]\nlogin = \"srv\"\n[http]\nlisten = \"0.0.0.0:80\"\n";
    let hook = "[[alerts.webhook]]\nname = \"h\"\nurl = \"http://alerts.example/\"\n";
    let unasked = format!("[[trust]]\nname = \"u\"\ncertificate = \"{}\"\n", "0".repeat(64));
    let text = changed("", &format!("{by_address}{unasked}{shadowed}{hook}"));
    let text = text.replace(
        "kind = \"folder\"",
        "kind = \"smarthost\"\nhosts = [{ host = \"mx.example:25\", tls = \"none\", login = \"a\", password = \"b\" }]",
    );
    let found = warnings(&good(&text)).join("\n");
    for expected in [
        "trust \"w\": identity rights by address alone",
        "trust \"w\": any script can write",
        "trust \"w\": limits = []",
        "trust \"v\": never used, \"w\" above it holds first",
        "trust \"v\": never used, without auth.passwd_file",
        "trust \"u\": never used, no listener has client_certificates",
        "plan.p: neither tenants nor accounts",
        "next_hop host mx.example:25: the password is sent without TLS",
        "http.listen: 0.0.0.0:80",
        "alerts.webhook \"h\": without a secret",
        "alerts.webhook \"h\": names of customers go over the net in the clear",
    ] {
        assert!(found.contains(expected), "{expected:?} is missing in:\n{found}");
    }
    assert_eq!(found.lines().count(), 11, "{found}");
}

#[test]
fn blocklists_are_known_keyed_and_asked_only_if_they_are_named() {
    let with = |keys: &str| format!("{LEAST}[blocklist]\n{keys}\n");
    let keys = "keys = { zen = { file = \"/dev/null\" } }";
    for (keys, expected) in [
        ("lists = [\"zen2\"]".into(), "blocklist.lists: \"zen2\" is unknown; known are "),
        ("lists = [\"zrd\"]".into(), "blocklist.lists: \"zrd\" needs a key"),
        ("lists = [\"zen\", \"zen\"]".into(), "blocklist.lists: \"zen\" stands there twice"),
        ("domains = [\"192.0.2.1\"]".into(), "blocklist.domains: 192.0.2.1 is an address"),
        (keys.to_owned(), "blocklist.keys.zen: is in none of lists, client_lists and link_lists"),
        (format!("lists = [\"zen\"]\n{keys}"), "blocklist.keys.zen.file: wanted a key of"),
        (
            format!("lists = [\"psbl\"]\n{}", keys.replace("zen", "psbl")),
            "blocklist.keys.psbl.file: this list knows no keys",
        ),
        ("interval = \"10m\"".into(), "blocklist.interval: got 10 min, wanted 15 min to 30 min"),
        ("timeout = \"5s\"\ntime_max = \"2s\"".into(), "blocklist.time_max: is shorter"),
    ] {
        check_problem(&with(&keys), expected);
    }
    assert_eq!(good(LEAST).blocklist.lists, [], "nobody is asked by default");
    let text = "lists = [\"zen\"]\nresolvers = [\"8.8.8.8:53\", \"127.0.0.1:53\"]";
    let found = warnings(&good(&with(text))).join("\n");
    assert!(found.contains("blocklist.resolvers: 8.8.8.8:53 is public"), "{found}");
    assert!(found.contains("nothing is watched") && !found.contains("127.0.0.1:53"), "{found}");
}

#[test]
fn the_documentation_names_every_key() {
    for (table, keys) in schema() {
        let heading = format!("`[{table}]`");
        let heading =
            DOCUMENTATION.find(&heading).or_else(|| DOCUMENTATION.find(&format!("`[[{table}]]`")));
        let start =
            heading.unwrap_or_else(|| panic!("docs/configuration.md has no part on {table}"));
        let part = &DOCUMENTATION[start..];
        let part = &part[..part.find("\n## ").unwrap_or(part.len())];
        for key in keys {
            assert!(part.contains(&format!("| `{key}` |")), "docs/configuration.md: {table}.{key}");
        }
    }
}

proptest::proptest! {
    /// Whatever is missing from a file, there is an answer, and it names keys.
    #[test]
    fn a_mutilated_file_is_answered(cuts in proptest::collection::vec((0.0..1.0_f64, 1_usize..4), 1..6)) {
        let mut lines: Vec<&str> = TOLLGATE.lines().filter(|line| !line.starts_with('#')).collect();
        for (place, length) in cuts {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short list")]
            let start = (place * lines.len() as f64) as usize;
            lines.drain(start..(start + length).min(lines.len()));
        }
        if let Err(error) = parsed(&lines.join("\n")) {
            assert!(error.to_string().contains("test.toml"));
        }
    }
}
