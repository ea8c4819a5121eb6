//! Written → checked: signals of spam, and standings.

use super::{
    JudgeTables,
    checker::At,
    written::{Key, Section, Spam, SpamCaps, Suspension},
};
use crate::{
    rules::{
        policy::{OnSuspended, PasswordChange, Shut},
        spam::{self, LineError, Networks, Patterns, Signal, Traps},
        suspension,
    },
    types::{Address, Span},
};
use std::{ops::RangeInclusive, path::PathBuf};

pub(super) fn check(root: &mut At<'_>, section: &Section<Spam>) -> spam::Settings {
    let usual = spam::Settings::default();
    let mut at = root.inside("spam");
    let s = at.open(section);
    let distances = 0..=20;
    let settings = spam::Settings {
        half_life: at.within("half_life", &s.half_life, usual.half_life, HALF_LIVES),
        observe: at.or("observe", &s.observe, usual.observe),
        unknown_usual: at.within("unknown_usual", &s.unknown_usual, usual.unknown_usual, 1..=1_000),
        print_distance_max: at.within(
            "fingerprint_distance_max",
            &s.fingerprint_distance_max,
            usual.print_distance_max,
            distances,
        ),
        tag_score: at.within("tag_score", &s.tag_score, usual.tag_score, SCORES),
        refuse_score: at.within("refuse_score", &s.refuse_score, usual.refuse_score, SCORES),
        answers: check_patterns(&mut at, s, usual.answers),
        caps: check_caps(&mut at.inside("caps"), &s.caps, &usual.caps),
    };
    if settings.refuse_score < settings.tag_score {
        at.wrong("refuse_score", "less than tag_score");
    }
    settings
}

/// What the operator adds to the words that are known.
fn check_patterns(at: &mut At<'_>, s: &Spam, mut known: Patterns) -> Patterns {
    for (key, given, words) in [
        ("unknown_recipient_replies", &s.unknown_recipient_replies, &mut known.unknown_recipient),
        ("spam_replies", &s.spam_replies, &mut known.spam),
    ] {
        let added = at.or(key, given, Vec::new());
        let wrong = |word: &String| !WORD_LENGTHS.contains(&word.len());
        if added.len() > WORDS_MAX || added.iter().any(wrong) {
            at.wrong(key, format!("wanted at most {WORDS_MAX} pieces of text of 4 to 200 octets"));
        }
        words.extend(added.iter().map(|word| word.to_lowercase()));
    }
    known
}

fn check_caps(
    at: &mut At<'_>,
    section: &Section<SpamCaps>,
    usual: &[f32; spam::SIGNALS],
) -> [f32; spam::SIGNALS] {
    let s = at.open(section);
    let mut cap = |signal: Signal, key: &str, given: &Key<f32>| {
        at.within(key, given, usual[signal as usize], POINTS)
    };
    [
        cap(Signal::UnknownRecipients, "unknown_recipients", &s.unknown_recipients),
        cap(Signal::RemoteVerdicts, "remote_verdicts", &s.remote_verdicts),
        cap(Signal::Traps, "traps", &s.traps),
        cap(Signal::Listings, "listings", &s.listings),
        cap(Signal::Place, "place", &s.place),
        cap(Signal::Novelty, "novelty", &s.novelty),
        cap(Signal::Content, "content", &s.content),
        cap(Signal::Spread, "spread", &s.spread),
        cap(Signal::Origin, "origin", &s.origin),
        cap(Signal::Overrun, "overrun", &s.overrun),
        cap(Signal::EgressListed, "egress_listed", &s.egress_listed),
        cap(Signal::Greeting, "greeting", &s.greeting),
        cap(Signal::GuessedLogin, "guessed_login", &s.guessed_login),
        cap(Signal::Tempo, "tempo", &s.tempo),
    ]
}

/// What is known beside what messages show. Files that are named are read.
pub(super) fn check_tables(root: &mut At<'_>, section: &Section<Spam>) -> JudgeTables {
    let mut at = root.inside("spam");
    // Its unknown keys are told where its other keys are checked.
    let s = &section.known;
    let hosting = at.or("hosting_networks", &s.hosting_networks, Vec::new());
    if hosting.len() > HOSTING_MAX {
        at.wrong("hosting_networks", format!("wanted at most {HOSTING_MAX} numbers"));
    }
    let tag_header = at.value("tag_header", &s.tag_header);
    if tag_header.as_ref().is_some_and(|name| !is_field_name(name)) {
        at.wrong(
            "tag_header",
            "wanted a name that begins with X- and has letters, digits and - in it",
        );
    }
    JudgeTables {
        traps: read(&mut at, "traps", &s.traps, Traps::read).unwrap_or_default().into(),
        networks: read(&mut at, "networks", &s.networks, |text| Networks::read(text, hosting))
            .unwrap_or_default()
            .into(),
        tag_header,
    }
}

/// What stands in a file that is named.
fn read<T>(
    at: &mut At<'_>,
    key: &str,
    path: &Key<PathBuf>,
    parse: impl FnOnce(&str) -> Result<T, LineError>,
) -> Option<T> {
    let path = at.value(key, path)?;
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
    let read = text.and_then(|text| parse(&text).map_err(|error| error.to_string()));
    read.inspect_err(|detail| at.wrong(key, format!("{}: {detail}", path.display()))).ok()
}

/// Fields of ours are no fields of others: theirs might be told apart by nobody (RFC 5322 §3.6.8).
fn is_field_name(name: &str) -> bool {
    let known = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    name.len() <= FIELD_NAME_MAX && name.starts_with("X-") && name.bytes().all(known)
}

/// What a suspended sender hears, and whom it still reaches.
pub(super) fn check_shut(root: &mut At<'_>, section: &Section<Suspension>, contact: &str) -> Shut {
    let mut at = root.inside("suspension");
    // Its unknown keys are told where its other keys are checked.
    let s = &section.known;
    let reachable = at.or("reachable", &s.reachable, reachable_of(contact));
    if reachable.len() > REACHABLE_MAX {
        at.wrong("reachable", format!("wanted at most {REACHABLE_MAX} addresses"));
    }
    Shut {
        reply: at.or("reply", &s.reply, OnSuspended::default()),
        reachable,
        password_change: at.or("password_change", &s.password_change, PasswordChange::default()),
    }
}

/// The contact, and the two addresses that its domain must have (RFC 5321 §4.5.1, RFC 2142).
fn reachable_of(contact: &str) -> Vec<Address> {
    let Ok(own) = contact.parse::<Address>() else { return Vec::new() };
    let domain = own.domain().to_owned();
    let others = ["postmaster", "abuse"].map(|local| format!("{local}@{domain}").parse().ok());
    let mut reachable = vec![own];
    for other in others.into_iter().flatten() {
        if !reachable.contains(&other) {
            reachable.push(other);
        }
    }
    reachable
}

pub(super) fn check_suspension(
    root: &mut At<'_>,
    section: &Section<Suspension>,
) -> suspension::Settings {
    let usual = suspension::Settings::default();
    let mut at = root.inside("suspension");
    let s = at.open(section);
    let settings = suspension::Settings {
        mode: at.or("mode", &s.mode, usual.mode),
        warn_points: at.within("warn_points", &s.warn_points, usual.warn_points, POINTS),
        throttle_points: at.within(
            "throttle_points",
            &s.throttle_points,
            usual.throttle_points,
            POINTS,
        ),
        suspend_points: at.within(
            "suspend_points",
            &s.suspend_points,
            usual.suspend_points,
            POINTS,
        ),
        throttled_percent: at.within(
            "throttled_percent",
            &s.throttled_percent,
            usual.throttled_percent,
            PERCENT,
        ),
        throttled_for: at.within("throttled_for", &s.throttled_for, usual.throttled_for, TIMES),
        suspended_for: at.within("suspended_for", &s.suspended_for, usual.suspended_for, TIMES),
        lifts_max: at.within("lifts_max", &s.lifts_max, usual.lifts_max, LIFTS),
        lifts_within: at.within("lifts_within", &s.lifts_within, usual.lifts_within, TIMES),
        probation: at.within("probation", &s.probation, usual.probation, TIMES),
        probation_percent: at.within(
            "probation_percent",
            &s.probation_percent,
            usual.probation_percent,
            PERCENT,
        ),
        group_accounts: at.within(
            "group_accounts",
            &s.group_accounts,
            usual.group_accounts,
            GROUPS,
        ),
        breaker_min: at.within("breaker_min", &s.breaker_min, usual.breaker_min, 1..=1_000),
        breaker_permille: at.within(
            "breaker_permille",
            &s.breaker_permille,
            usual.breaker_permille,
            0..=1_000,
        ),
    };
    let steps = [settings.warn_points, settings.throttle_points, settings.suspend_points];
    if !steps.is_sorted() {
        at.wrong(
            "suspend_points",
            "wanted warn_points, throttle_points and suspend_points to rise",
        );
    }
    settings
}

const HALF_LIVES: RangeInclusive<Span> = Span::from_secs(600)..=Span::from_secs(30 * 86_400);
const TIMES: RangeInclusive<Span> = Span::from_secs(1)..=Span::from_secs(366 * 86_400);
const SCORES: RangeInclusive<f32> = 0.0..=1_000.0;
const POINTS: RangeInclusive<f32> = 0.0..=1_000.0;
const PERCENT: RangeInclusive<u32> = 1..=100;
const LIFTS: RangeInclusive<u32> = 0..=16;
const GROUPS: RangeInclusive<u32> = 2..=32;
const WORD_LENGTHS: RangeInclusive<usize> = 4..=200;
/// Each answer is searched for each of them.
const WORDS_MAX: usize = 100;
const HOSTING_MAX: usize = 100_000;
const FIELD_NAME_MAX: usize = 64;
const REACHABLE_MAX: usize = 100;
