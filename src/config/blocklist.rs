//! Written → checked: blocklists, their file, and what is watched on them.

use super::{
    checker::At,
    next_hop::read_secret,
    place_and_message,
    written::{Blocklist, Key, Section},
};
use crate::{
    resolve::{self, LookupSettings},
    rules::{
        blocklist::{Kind, LISTS_MAX, List, Lists, SUBJECTS_MAX, Subject, Written},
        egress::{self, OnListing},
    },
    types::Span,
    watch::{BlocklistSettings, Reaction},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    ops::RangeInclusive,
    path::Path,
    sync::{Arc, LazyLock},
};

/// `egress`: the addresses that next hops stand for.
pub(super) fn check(
    root: &mut At<'_>,
    section: &Section<Blocklist>,
    egress: impl IntoIterator<Item = IpAddr>,
) -> BlocklistSettings {
    let mut at = root.inside("blocklist");
    let s = at.open(section);
    let known = check_file(&mut at, s);
    let Asked { lists, clients, domains } = check_lists(&mut at, s, &known);
    let lookups = LookupSettings {
        clients,
        domains,
        time_max: at
            .within("lookup_time_max", &s.lookup_time_max, LOOKUP_TIME_MAX, LOOKUP_TIMES)
            .length(),
        per_minute: at.or("lookups_per_minute", &s.lookups_per_minute, LOOKUPS_PER_MINUTE),
    };
    let addresses = at.or("addresses", &s.addresses, Vec::new()).into_iter().map(|parsed| parsed.0);
    let domains = at.or("domains", &s.domains, Vec::new());
    for domain in &domains {
        if matches!(domain.0, Subject::Address(_)) {
            at.wrong("domains", format!("{} is an address: see addresses", domain.0));
        }
    }
    let domains = domains.into_iter().map(|parsed| parsed.0);
    let subjects = watched(addresses.chain(egress), domains);
    if subjects.len() > SUBJECTS_MAX {
        let count = subjects.len();
        at.wrong(
            "addresses",
            format!("{count} addresses and domains, wanted at most {SUBJECTS_MAX}"),
        );
    }
    let servers: Vec<SocketAddr> =
        at.or("resolvers", &s.resolvers, Vec::new()).into_iter().map(|parsed| parsed.0).collect();
    if servers.len() > resolve::SERVERS_MAX {
        at.wrong("resolvers", format!("wanted at most {}", resolve::SERVERS_MAX));
    }
    let timeout = at.within("timeout", &s.timeout, Span::from_secs(1), TIMEOUTS).length();
    let tries = at.within("tries", &s.tries, 3, 1..=5);
    let time_max = at.within("time_max", &s.time_max, Span::from_secs(5), TIMES).length();
    if time_max < timeout {
        at.wrong("time_max", "is shorter than timeout");
    }
    let interval = at.within("interval", &s.interval, Span::from_secs(1_200), INTERVALS).length();
    let resolve = resolve::Settings { servers, timeout, tries, time_max };
    BlocklistSettings { lists, lookups, subjects, interval, resolve }
}

/// What follows when one of the addresses is listed that next hops stand for.
pub(super) fn check_reaction(
    root: &mut At<'_>,
    section: &Section<Blocklist>,
    egress: Vec<IpAddr>,
) -> Reaction {
    let mut at = root.inside("blocklist");
    let s = at.open(section);
    let usual = egress::Policy::default();
    let policy = egress::Policy {
        on_listing: at.or("on_listing", &s.on_listing, usual.on_listing),
        severity_min: at.or("severity_min", &s.severity_min, usual.severity_min),
        lists_min: at.within("lists_min", &s.lists_min, usual.lists_min, 1..=LISTS_MAX),
    };
    if policy.on_listing != OnListing::Alert && egress.is_empty() {
        at.wrong("on_listing", "no next hop has an egress, so nothing can follow for any");
    }
    let window = at.within("cause_window", &s.cause_window, Span::from_secs(86_400), WINDOWS);
    Reaction { policy, egress, window }
}

/// All that is watched, each once: addresses, of which a mapped one is the IPv4 address that it stands for, then domains.
pub(super) fn watched(
    addresses: impl IntoIterator<Item = IpAddr>,
    domains: impl IntoIterator<Item = Subject>,
) -> Vec<Subject> {
    let addresses = addresses.into_iter().map(|address| Subject::Address(address.to_canonical()));
    let subjects: BTreeSet<Subject> = addresses.chain(domains).collect();
    subjects.into_iter().collect()
}

/// The lists that are asked, by what they are asked about.
struct Asked {
    lists: Vec<Arc<List>>,
    clients: Vec<Arc<List>>,
    domains: Vec<Arc<List>>,
}

fn check_lists(at: &mut At<'_>, s: &Blocklist, known: &Lists) -> Asked {
    let own = names(at, "lists", &s.lists);
    let clients = names(at, "client_lists", &s.client_lists);
    let links = names(at, "link_lists", &s.link_lists);
    let all: BTreeSet<&String> = own.iter().chain(&clients).chain(&links).collect();
    if all.len() > LISTS_MAX {
        at.wrong("lists", format!("{} lists in all, wanted at most {LISTS_MAX}", all.len()));
    }
    let keys = at.value_ref("keys", &s.keys);
    let no_keys = BTreeMap::new();
    let keys = keys.unwrap_or(&no_keys);
    for (name, section) in keys.iter().filter(|(name, _)| !all.contains(name)) {
        let mut inside = at.inside("keys");
        let mut inside = inside.inside(name);
        let key = inside.open(section);
        inside.value_ref("file", &key.file);
        inside.note("is in none of lists, client_lists and link_lists");
    }
    let mut ready = BTreeMap::new();
    for name in all {
        let key_in_config = key_naming(name, (&own, &clients));
        let Some(list) = known.named(name) else {
            let names: Vec<&str> = known.names().collect();
            let names = names.join(", ");
            at.wrong(key_in_config, format!("{name:?} is unknown; known are {names}"));
            continue;
        };
        let mut inside = at.inside("keys");
        let mut inside = inside.inside(name);
        let key = keys.get(name).map(|section| inside.open(section));
        let file = key.and_then(|key| inside.required("file", &key.file, "a file with the key"));
        let secret = file.and_then(|file| read_secret(&mut inside, "file", &file));
        match secret.map(|secret| list.with_key(&secret)) {
            Some(Ok(keyed)) => {
                ready.insert(name, Arc::new(keyed));
            }
            Some(Err(detail)) => inside.wrong("file", detail),
            None if key.is_some() => {}
            None if list.needs_key() => {
                at.wrong(key_in_config, format!("{name:?} needs a key: see blocklist.keys"));
            }
            None => {
                ready.insert(name, list.clone());
            }
        }
    }
    let lists = |names: &[String]| -> Vec<Arc<List>> {
        names.iter().filter_map(|name| ready.get(name).cloned()).collect()
    };
    let asked = Asked { lists: lists(&own), clients: lists(&clients), domains: lists(&links) };
    for list in asked.clients.iter().filter(|list| !list.is_for_clients()) {
        let may =
            known.names().filter(|name| known.named(name).is_some_and(|l| l.is_for_clients()));
        let may = may.collect::<Vec<_>>().join(", ");
        let detail = format!(
            "{:?} must not be asked about clients: it may list addresses for being dynamic, as those of customers are; those that \
             may are {may}",
            list.name()
        );
        at.wrong("client_lists", detail);
    }
    for list in asked.domains.iter().filter(|list| !list.kinds().contains(&Kind::Domain)) {
        at.wrong("link_lists", format!("{:?} holds no domains", list.name()));
    }
    asked
}

/// The names that a key holds, each once.
fn names(at: &mut At<'_>, key: &'static str, written: &Key<Vec<String>>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in at.or(key, written, Vec::new()) {
        if names.contains(&name) {
            at.wrong(key, format!("{name:?} stands there twice"));
        } else {
            names.push(name);
        }
    }
    names
}

/// The first key that names a list.
fn key_naming(name: &String, (own, clients): (&[String], &[String])) -> &'static str {
    if own.contains(name) {
        "lists"
    } else if clients.contains(name) {
        "client_lists"
    } else {
        "link_lists"
    }
}

/// The lists that ship, with those of the file that `blocklist.lists_file` names.
fn check_file(at: &mut At<'_>, s: &Blocklist) -> Lists {
    let mut known = BUILT_IN.clone();
    if let Some(path) = at.value("lists_file", &s.lists_file)
        && let Err(detail) = load(&path, &mut known)
    {
        at.wrong("lists_file", format!("{}: {detail}", path.display()));
    }
    known
}

fn load(path: &Path, known: &mut Lists) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    add(&text, known)
}

fn add(text: &str, known: &mut Lists) -> Result<(), String> {
    let written: Written = toml::from_str(text).map_err(|error| place_and_message(text, &error))?;
    known.add(&written).map_err(|error| error.to_string())
}

/// The lists that ship.
static BUILT_IN: LazyLock<Lists> = LazyLock::new(|| {
    let mut lists = Lists::default();
    add(include_str!("../../config/blocklists.toml"), &mut lists)
        .expect("a unit test reads the built-in lists");
    lists
});

const TIMEOUTS: RangeInclusive<Span> =
    Span::new(std::time::Duration::from_millis(100))..=Span::from_secs(5);
const TIMES: RangeInclusive<Span> = Span::from_secs(1)..=Span::from_secs(10);
/// A message of a person waits as little as a page.
const LOOKUP_TIME_MAX: Span = Span::new(std::time::Duration::from_millis(500));
const LOOKUP_TIMES: RangeInclusive<Span> =
    Span::new(std::time::Duration::from_millis(50))..=Span::from_secs(5);
/// Well below what lists give away for nothing in a day, were it so all day long.
const LOOKUPS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(200).expect("it is not 0");
const INTERVALS: RangeInclusive<Span> = Span::from_secs(900)..=Span::from_secs(1_800);
/// As long as it is counted who sent by which address.
const WINDOWS: RangeInclusive<Span> = Span::from_secs(3_600)..=Span::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_lists_are_read_and_pass_their_tests() {
        let names: Vec<String> = BUILT_IN.names().map(ToOwned::to_owned).collect();
        assert!(names.len() >= 15 && names.iter().any(|name| name == "zen"), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("sorbs")), "it is closed");
    }

    #[test]
    fn a_mistake_in_a_file_of_lists_is_told() {
        let list = |rest: &str| {
            format!(
                "[[list]]\nname = 'own'\nzone = 'bl.example'\nkinds = ['ipv4']\nterms = ''\n{rest}"
            )
        };
        let code = "codes.'127.0.0.2' = { means = 'm', severity = 'info' }\n";
        let check = |text: String, expected: &str| {
            let error = add(&text, &mut BUILT_IN.clone()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(list("zones = 1\n"), "line 6: unknown field");
        check(list(""), "the list own: wanted codes, or bits");
        check(
            list("codes.'10.0.0.2' = { means = 'm', severity = 'info' }\n"),
            "is no code such as",
        );
        check(list("bits.3 = { means = 'm', severity = 'info' }\n"), "3 is no single bit");
        check(list(&format!("listed = []\n{code}")), "nothing that it says can be believed");
        check(list(code).replace("bl.example", "bl example"), "is no zone");
        check(
            format!(
                "{}[[test]]\nlist = 'own'\nanswers = ['127.0.0.3']\nis = 'listed'\n",
                list(code)
            ),
            "the test 1 (of own) fails",
        );
        add(&list(code), &mut BUILT_IN.clone()).unwrap();
    }

    #[test]
    fn what_is_watched_is_watched_once() {
        let addresses =
            ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"].map(|a| a.parse().unwrap());
        let domains = ["Shop.Example.", "shop.example"].map(|d| d.parse::<Subject>().unwrap());
        let shown: Vec<String> =
            watched(addresses, domains).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.1", "2001:db8::1", "shop.example"]);
    }
}
