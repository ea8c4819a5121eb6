//! `[store]`: the ledger in Redis, where several nodes share one.

use super::{
    checker::At,
    next_hop::read_secret,
    parties::Parties,
    written::{Section, Store},
};
use crate::{
    store::redis::{Place, PlaceError, Sentinels, Settings, StreamSettings, Time},
    types::{ByteCount, Domain, Span},
};
use std::time::Duration;

/// What a gate does while Redis is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnLoss {
    /// It grants nothing.
    Defer,
    /// It goes on with its share of each limit.
    Share,
}

/// What the settings depend on beside their own section.
pub(super) struct Node<'a> {
    pub(super) hostname: &'a Domain,
    pub(super) transaction_time_max: Duration,
    pub(super) keep_events: Duration,
}

/// The settings, if `redis` says where it is.
pub(super) fn check(
    root: &mut At<'_>,
    section: &Section<Store>,
    parties: &Parties,
    node: &Node<'_>,
) -> Option<Settings> {
    let mut at = root.inside("store");
    let s = at.open(section);
    let Some(place) = check_place(&mut at, s) else {
        check_nothing_else(&mut at, s);
        return None;
    };
    let file = at.value("redis_password_file", &s.redis_password_file);
    check_login(&mut at, &place, file.is_some());
    let settings = Settings {
        password: file.and_then(|file| read_secret(&mut at, "redis_password_file", &file)),
        tls_ca: at.value("redis_tls_ca", &s.redis_tls_ca),
        prefix: check_prefix(&mut at, s),
        timeout: at.within("redis_timeout", &s.redis_timeout, TIMEOUT, TIMEOUTS).length(),
        history: parties.history,
        unknown_margin: parties.unknown_margin,
        open_time_max: node.transaction_time_max + AFTER_TRANSACTION,
        time: Time::Server,
        stream: check_stream(&mut at, s, node),
        shares: check_shares(&mut at, s),
        sentinels: check_sentinels(&mut at, s),
        cluster: check_cluster(&mut at, s, &place),
        place,
    };
    if settings.tls_ca.is_some() && !settings.is_tls() {
        at.wrong("redis_tls_ca", "only rediss:// is encrypted");
    }
    Some(settings)
}

/// Where it is. What is wrong may have a password in it, so it is not repeated.
fn check_place(at: &mut At<'_>, s: &Store) -> Option<Place> {
    let written = at.value("redis", &s.redis)?.0;
    let text = String::from_utf8_lossy(written.expose());
    let place = text.parse::<Place>();
    place.map_err(|error| at.wrong("redis", error.to_string())).ok()
}

fn check_login(at: &mut At<'_>, place: &Place, has_password: bool) {
    if place.has_user() && !has_password {
        at.wrong("redis", "a user belongs together with redis_password_file");
    }
}

/// Without Redis nothing may look as if there were one.
fn check_nothing_else(at: &mut At<'_>, s: &Store) {
    let others = [
        ("redis_password_file", s.redis_password_file.is_some()),
        ("redis_tls_ca", s.redis_tls_ca.is_some()),
        ("redis_prefix", s.redis_prefix.is_some()),
        ("redis_timeout", s.redis_timeout.is_some()),
        ("redis_node", s.redis_node.is_some()),
        ("redis_nodes", s.redis_nodes.is_some()),
        ("redis_sentinels", s.redis_sentinels.is_some()),
        ("redis_sentinel_password_file", s.redis_sentinel_password_file.is_some()),
        ("redis_master", s.redis_master.is_some()),
        ("redis_cluster", s.redis_cluster.is_some()),
        ("on_loss", s.on_loss.is_some()),
        ("redis_events_bytes_max", s.redis_events_bytes_max.is_some()),
        ("redis_journal_bytes_max", s.redis_journal_bytes_max.is_some()),
    ];
    for (key, _) in others.into_iter().filter(|(_, is_written)| *is_written && s.redis.is_none()) {
        at.wrong(key, "redis does not say where Redis is");
    }
}

/// Among how many gates limits are divided while Redis is lost.
fn check_shares(at: &mut At<'_>, s: &Store) -> Option<u32> {
    let nodes = at.value("redis_nodes", &s.redis_nodes);
    let nodes = nodes.and_then(|nodes| at.in_range("redis_nodes", nodes, NODES));
    match at.or("on_loss", &s.on_loss, OnLoss::Defer) {
        OnLoss::Defer => None,
        OnLoss::Share if nodes.is_none() && s.redis_nodes.is_none() => {
            at.wrong("on_loss", "\"share\" needs redis_nodes: how many gates there are at most");
            None
        }
        OnLoss::Share => nodes,
    }
}

/// Who says where Redis is.
fn check_sentinels(at: &mut At<'_>, s: &Store) -> Option<Sentinels> {
    let file = at.value("redis_sentinel_password_file", &s.redis_sentinel_password_file);
    let written = at.or("redis_sentinels", &s.redis_sentinels, Vec::new());
    if written.is_empty() {
        if s.redis_master.is_some() {
            at.wrong("redis_master", "redis_sentinels does not say who knows it");
        }
        if file.is_some() {
            at.wrong("redis_sentinel_password_file", "redis_sentinels does not say whose it is");
        }
        return None;
    }
    let places = written.iter().filter_map(|text| check_sentinel(at, text)).collect::<Vec<_>>();
    if written.len() > PLACES_MAX {
        at.wrong("redis_sentinels", format!("got {}, wanted 1 to {PLACES_MAX}", written.len()));
    }
    if file.is_none() && places.iter().any(Place::has_user) {
        at.wrong("redis_sentinels", "a user belongs together with redis_sentinel_password_file");
    }
    let password = file.and_then(|file| read_secret(at, "redis_sentinel_password_file", &file));
    let wanted = "what the sentinels call it";
    let master = at.required("redis_master", &s.redis_master, wanted)?;
    Some(Sentinels { places, password, master })
}

/// One of them: `host:port`, or a URL. What is wrong and has an `@` in it, or is a URL, may have a password in it, so it is not repeated.
fn check_sentinel(at: &mut At<'_>, text: &str) -> Option<Place> {
    if !text.contains("://") && !text.contains('@') {
        let place = place_of(text).and_then(|(host, port)| {
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            format!("redis://{host}:{port}").parse().ok()
        });
        if place.is_none() {
            let wanted = "host:port, or a URL such as rediss://user@host:26379";
            at.wrong("redis_sentinels", format!("got {text:?}, wanted {wanted}"));
        }
        return place;
    }
    let why = match text.parse::<Place>() {
        Ok(place) if place.is_unix() => "a sentinel is reached by TCP".to_owned(),
        Ok(place) if place.database() != 0 => "a sentinel has no databases".to_owned(),
        Ok(place) => return Some(place),
        Err(PlaceError::Password) => {
            "a password in it would be printed; it belongs into redis_sentinel_password_file"
                .to_owned()
        }
        Err(error) => error.to_string(),
    };
    at.wrong("redis_sentinels", why);
    None
}

/// Nodes of a Cluster.
fn check_cluster(at: &mut At<'_>, s: &Store, place: &Place) -> Option<Vec<(String, u16)>> {
    let written = at.value("redis_cluster", &s.redis_cluster)?;
    if s.redis_sentinels.is_some() {
        at.wrong("redis_cluster", "redis_sentinels asks for one server; a Cluster has no Sentinel");
    }
    if place.is_unix() {
        at.wrong(
            "redis_cluster",
            "redis is a UNIX socket; the nodes of a Cluster are reached by TCP",
        );
    }
    if place.database() != 0 {
        at.wrong("redis_cluster", "redis names a database; a Cluster has only number 0");
    }
    Some(check_places(at, "redis_cluster", &written))
}

fn check_places(at: &mut At<'_>, key: &'static str, written: &[String]) -> Vec<(String, u16)> {
    let places: Vec<_> = written.iter().filter_map(|text| place_of(text)).collect();
    if places.len() != written.len() || !(1..=PLACES_MAX).contains(&places.len()) {
        let wanted = format!("1 to {PLACES_MAX} of host:port");
        at.wrong(key, format!("got {written:?}, wanted {wanted}"));
    }
    places
}

fn place_of(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    Some((host.to_owned(), port.parse().ok()?)).filter(|_| !host.is_empty())
}

fn check_stream(at: &mut At<'_>, s: &Store, node: &Node<'_>) -> StreamSettings {
    let name = at.or("redis_node", &s.redis_node, node.hostname.to_string());
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > NODE_BYTES_MAX || !name.bytes().all(is_name) {
        let wanted = format!("1 to {NODE_BYTES_MAX} letters, digits and -_.");
        at.wrong("redis_node", format!("got {name:?}, wanted {wanted}"));
    }
    let mut size = |key, given| at.within(key, given, EVENTS_BYTES, EVENTS_BYTES_RANGE).octets();
    StreamSettings {
        node: name,
        octets_max: size("redis_events_bytes_max", &s.redis_events_bytes_max),
        journal_octets_max: size("redis_journal_bytes_max", &s.redis_journal_bytes_max),
        age_max: node.keep_events,
    }
}

fn check_prefix(at: &mut At<'_>, s: &Store) -> String {
    let prefix = at.or("redis_prefix", &s.redis_prefix, String::from("tollgate"));
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(is_name) {
        let wanted = format!("1 to {PREFIX_BYTES_MAX} letters, digits and -_.");
        at.wrong("redis_prefix", format!("got {prefix:?}, wanted {wanted}"));
    }
    prefix
}

const TIMEOUT: Span = Span::from_secs(2);
/// Two such waits follow the final dot of a client, where the embedded store waits for its disk.
const TIMEOUTS: std::ops::RangeInclusive<Span> =
    Span::new(Duration::from_millis(50))..=Span::from_secs(5);
const PREFIX_BYTES_MAX: usize = 32;
const NODES: std::ops::RangeInclusive<u32> = 1..=1_000;
const PLACES_MAX: usize = 16;
const NODE_BYTES_MAX: usize = 253;
const EVENTS_BYTES: ByteCount = ByteCount::new(256 << 20);
const EVENTS_BYTES_RANGE: std::ops::RangeInclusive<ByteCount> =
    ByteCount::new(16 << 20)..=ByteCount::new(1 << 40);
/// What may follow the end of a text until the final dot leaves: programs that look into it and the next hop, with a margin.
const AFTER_TRANSACTION: Duration = Duration::from_secs(15 * 60);
