use super::{
    Answer, Change, Doubt, Failure, Finding, Happening, Health, Impairment, Kind, Lane, List,
    Lists, Purpose, Question, Record, Roster, Saved, Severity, Standing, Step, Subject, judge,
    lane::{GAP, RETRY},
};
use crate::types::{Secret, Timestamp};
use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

fn lists() -> Lists {
    let mut lists = Lists::default();
    let written = toml::from_str(include_str!("../../../config/blocklists.toml")).unwrap();
    lists.add(&written).unwrap();
    lists
}

fn named(name: &str) -> Arc<List> {
    lists().named(name).unwrap().clone()
}

fn subject(text: &str) -> Subject {
    text.parse().unwrap()
}

fn addresses(codes: &[&str]) -> Answer {
    Answer::Addresses(codes.iter().map(|code| code.parse().unwrap()).collect())
}

// ── names ──

#[test]
fn names_are_made_from_the_octets_as_they_are_and_are_absolute() {
    let check = |text: &str, zone: &str, expected: &str| {
        let name = named(zone).query(&subject(text).labels()).unwrap();
        assert_eq!(name.expose(), expected, "{text}");
    };
    check("192.0.2.99", "zen", "99.2.0.192.zen.spamhaus.org.");
    check(
        "2001:db8::25",
        "zen",
        "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.zen.spamhaus.org.",
    );
    check("Shop.Example.", "dbl", "shop.example.dbl.spamhaus.org.");
    check("www.mail.shop.co.id", "uribl", "shop.co.id.multi.uribl.com.");
    check("Bücher.example", "surbl", "xn--bcher-kva.example.multi.surbl.org.");
    // What an operator writes as a mapped address is the IPv4 address.
    check("::ffff:192.0.2.99", "zen", "99.2.0.192.zen.spamhaus.org.");
}

#[test]
fn the_test_entry_of_ipv6_stays_an_ipv6_name() {
    let written = toml::from_str(
        "[[list]]\nname = 'six'\nzone = 'six.example'\nkinds = ['ipv6']\nterms = ''\n\
         codes.'127.0.0.2' = { means = 'm', severity = 'info' }\n",
    );
    let mut lists = Lists::default();
    lists.add(&written.unwrap()).unwrap();
    let six = lists.named("six").unwrap();
    assert_eq!(
        *six.listed,
        [Box::from("2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0")]
    );
    assert_eq!(
        *six.clean,
        [Box::from("1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0")]
    );
}

#[test]
fn what_is_neither_an_address_nor_a_domain_is_none() {
    for wrong in
        ["", "example", "a b.example", "a..example", "-", "1.2.3", "http://a.example/", "[::1]"]
    {
        assert!(wrong.parse::<Subject>().is_err(), "{wrong:?}");
    }
    assert!(format!("{}.example", "a.".repeat(130)).parse::<Subject>().is_err());
}

#[test]
fn a_key_is_asked_with_and_never_shown() {
    let key = |text: &str| Secret::new(text.as_bytes());
    let zen = named("zen").with_key(&key("s3cret")).unwrap();
    let name = zen.query("1.2.0.192").unwrap();
    assert_eq!(name.expose(), "1.2.0.192.s3cret.zen.dq.spamhaus.net.");
    let shown = format!("{name} {name:?} {} {zen:?}", zen.zone());
    assert!(!shown.contains("s3cret") && shown.contains("<key>.zen.dq.spamhaus.net"), "{shown}");
    for wrong in ["", "two.labels", "a b", &"a".repeat(64)] {
        assert!(named("zen").with_key(&key(wrong)).is_err(), "{wrong:?}");
    }
    assert!(named("spamcop").with_key(&key("s3cret")).is_err());
    assert!(named("zrd").needs_key() && named("zrd").query("a").is_none());
}

#[test]
fn a_list_of_domains_is_not_asked_about_addresses() {
    assert!(
        !named("dbl").holds(&subject("192.0.2.1")) && named("dbl").holds(&subject("a.example"))
    );
    assert!(
        named("zen").holds(&subject("2001:db8::1")) && !named("zen").holds(&subject("a.example"))
    );
    assert!(!named("spamcop").holds(&subject("2001:db8::1")));
}

// ── answers: what is in no answer of a file of tests ──

#[test]
fn without_addresses_only_a_name_that_does_not_exist_is_clean() {
    let zen = named("zen");
    assert_eq!(judge(&zen, &Answer::NoName), Finding::Clean);
    assert_eq!(judge(&zen, &Answer::NoData), Finding::Unknown(Doubt::NoData));
    for failure in [Failure::Timeout, Failure::Refused, Failure::ServerFailure, Failure::Other] {
        let found = judge(&zen, &Answer::Failed(failure));
        assert_eq!(found, Finding::Unknown(Doubt::NoAnswer(failure)));
    }
}

#[test]
fn what_counts_as_no_listing_is_the_same_in_every_list() {
    let all = lists();
    for name in all.names() {
        let list = all.named(name).unwrap();
        for code in [
            "127.0.0.1",
            "127.255.255.252",
            "127.255.255.255",
            "127.0.1.255",
            "127.0.2.255",
            "10.0.0.2",
            "127.1.2.3",
        ] {
            let found = judge(list, &addresses(&[code]));
            assert!(matches!(found, Finding::Unknown(_)), "{name} {code}: {found:?}");
        }
        // A resolver that lies about one name lies about all that it says of it.
        let found = judge(list, &addresses(&["127.0.0.2", "146.112.61.108"]));
        assert!(matches!(found, Finding::Unknown(Doubt::Foreign(_))), "{name}: {found:?}");
    }
}

#[test]
fn a_code_beside_one_that_is_in_no_table_is_degraded() {
    let Finding::Listed(listed) = judge(&named("zen"), &addresses(&["127.0.0.99", "127.0.0.2"]))
    else {
        panic!("it is listed")
    };
    assert!(listed.degraded && listed.severity == Severity::Critical);
    assert_eq!(listed.addresses(), ["127.0.0.2".parse::<Ipv4Addr>().unwrap()]);
}

// ── a list over time ──

/// What a zone answers to which labels; everything else does not exist.
struct World {
    lane: Lane,
    zone: BTreeMap<String, Answer>,
    now: Timestamp,
    /// When it was asked for what.
    asked: Vec<(Timestamp, String)>,
    changes: Vec<(Timestamp, Change)>,
    chance: u64,
}

const INTERVAL: Duration = Duration::from_secs(1_200);
const LISTED: &str = "127.0.0.2";

impl World {
    fn new(watched: &[&str]) -> Self {
        Self::with(watched.iter().map(|text| (subject(text), None)).collect())
    }

    fn with(rows: Vec<(Subject, Option<Saved>)>) -> Self {
        let start = Timestamp::from_millis(1_000_000_000);
        let mut world = Self {
            lane: Lane::new(named("zen"), INTERVAL, rows, start),
            zone: BTreeMap::new(),
            now: start,
            asked: Vec::new(),
            changes: Vec::new(),
            chance: 7,
        };
        world.answer("127.0.0.2", addresses(&[LISTED]));
        world
    }

    fn answer(&mut self, text: &str, answer: Answer) {
        self.zone.insert(subject(text).labels(), answer);
    }

    /// Answers whatever is asked for so long.
    fn pass(&mut self, length: Duration) {
        let end = self.now + length;
        loop {
            self.chance =
                self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            match self.lane.next(self.now, self.chance) {
                Step::Ask(question) => self.ask(&question),
                Step::Wait(until) if until > end => break,
                Step::Wait(until) => self.now = until.max(self.now + Duration::from_millis(1)),
            }
        }
        self.now = end;
    }

    fn ask(&mut self, question: &Question) {
        let shown = question.name.expose();
        let labels = shown.strip_suffix(".zen.spamhaus.org.").expect("in its zone").to_owned();
        self.asked.push((self.now, labels.clone()));
        if let (Record::Text, Purpose::Reason(of)) = (question.record, &question.purpose) {
            self.lane.reasoned(of, Some("see there".into()));
            return;
        }
        let all = self.zone.get("*").cloned();
        let answer = all.or_else(|| self.zone.get(&labels).cloned()).unwrap_or(Answer::NoName);
        let (_, change) = self.lane.answered(question, &answer, self.now, self.chance);
        self.changes.extend(change.map(|change| (self.now, change)));
    }

    fn state(&self) -> (bool, Option<Finding>) {
        let saved = &self.lane.rows()[0].saved;
        (saved.standing.listed().is_some(), saved.found.clone())
    }

    fn times_asked(&self, text: &str) -> usize {
        let labels = subject(text).labels();
        self.asked.iter().filter(|(_, asked)| *asked == labels).count()
    }
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

#[test]
fn a_listing_counts_after_two_checks_five_minutes_apart_and_ends_so() {
    let mut world = World::new(&["192.0.2.25"]);
    world.answer("192.0.2.25", addresses(&["127.0.0.3"]));
    world.pass(minutes(4));
    assert_eq!((world.state().0, world.changes.len()), (false, 0));
    world.pass(minutes(3));
    assert!(world.state().0 && matches!(world.changes[..], [(_, Change::Listed)]));
    let saved = &world.lane.rows()[0].saved;
    let (since, listed) = saved.standing.listed().unwrap();
    assert!(world.changes[0].0.since(since) >= minutes(5), "{since}");
    assert_eq!((listed.severity, saved.reason.as_deref()), (Severity::Critical, Some("see there")));
    // It says more now, which is worse for nobody.
    world.answer("192.0.2.25", addresses(&["127.0.0.3", "127.0.0.4"]));
    world.pass(minutes(30));
    assert_eq!((world.changes.len(), world.times_asked("192.0.2.25") > 3), (1, true));
    world.answer("192.0.2.25", Answer::NoName);
    world.pass(minutes(60));
    let Change::Delisted(was) = &world.changes[1].1 else { panic!("{:?}", world.changes) };
    assert_eq!((was.0, was.1.codes.len()), (since, 2));
    assert_eq!(world.state(), (false, Some(Finding::Clean)));
    assert_eq!(world.lane.rows()[0].saved.reason, None);
}

#[test]
fn two_checks_that_are_close_to_one_another_do_not_agree() {
    let listed = judge(&named("zen"), &addresses(&[LISTED]));
    let (mut standing, start) = (Standing::default(), Timestamp::from_millis(1_000_000));
    let mut note =
        |finding: &Finding, seconds| standing.note(finding, start + Duration::from_secs(seconds));
    assert_eq!([note(&listed, 0), note(&listed, 299)], [None, None]);
    assert_eq!(note(&listed, 300), Some(Change::Listed));
    assert_eq!([note(&Finding::Clean, 400), note(&Finding::Clean, 699)], [None, None]);
    assert!(matches!(note(&Finding::Clean, 700), Some(Change::Delisted(_))));
}

#[test]
fn what_becomes_worse_is_told_again() {
    let mut world = World::new(&["192.0.2.25"]);
    world.answer("192.0.2.25", addresses(&["127.0.0.10"]));
    world.pass(minutes(10));
    world.answer("192.0.2.25", addresses(&["127.0.0.10", "127.0.0.2"]));
    world.pass(minutes(30));
    assert!(
        matches!(world.changes[..], [(_, Change::Listed), (_, Change::Worse)]),
        "{:?}",
        world.changes
    );
}

#[test]
fn a_list_that_says_something_else_each_time_changes_nothing() {
    let mut world = World::new(&["192.0.2.25"]);
    for turn in 0..60 {
        let answer = if turn % 2 == 0 { addresses(&[LISTED]) } else { Answer::NoName };
        world.answer("192.0.2.25", answer);
        let asked = world.times_asked("192.0.2.25");
        while world.times_asked("192.0.2.25") == asked {
            world.pass(Duration::from_secs(30));
        }
    }
    assert_eq!(world.changes, []);
}

#[test]
fn what_is_unknown_leaves_a_listing_and_a_clean_row_as_they_were() {
    for (listed, answer) in [(true, addresses(&[LISTED])), (false, Answer::NoName)] {
        for doubt in [
            Answer::Failed(Failure::Timeout),
            Answer::Failed(Failure::ServerFailure),
            Answer::Failed(Failure::Refused),
            Answer::NoData,
            addresses(&["146.112.61.108"]),
            addresses(&["127.0.0.99"]),
            addresses(&["127.255.255.254"]),
        ] {
            let mut world = World::new(&["192.0.2.25"]);
            world.answer("192.0.2.25", answer.clone());
            world.pass(minutes(10));
            assert_eq!(world.state().0, listed);
            let told = world.changes.len();
            world.answer("192.0.2.25", doubt.clone());
            world.answer("127.0.0.2", doubt.clone());
            world.pass(minutes(70));
            let (is_listed, found) = world.state();
            assert_eq!((is_listed, world.changes.len()), (listed, told), "{doubt:?}");
            assert!(matches!(found, Some(Finding::Unknown(_))), "{doubt:?}: {found:?}");
        }
    }
}

#[test]
fn a_list_whose_tests_fail_lists_nobody_and_clears_nobody() {
    let all = |answer: Answer| vec![("*", answer)];
    for (zone, expected) in [
        (vec![("127.0.0.2", Answer::NoName)], Impairment::Empty),
        (all(addresses(&[LISTED])), Impairment::ListsAll),
        (
            all(addresses(&["146.112.61.108"])),
            Impairment::Doubtful(Doubt::Foreign([146, 112, 61, 108].into())),
        ),
        (
            all(Answer::Failed(Failure::ServerFailure)),
            Impairment::Doubtful(Doubt::NoAnswer(Failure::ServerFailure)),
        ),
        (
            all(addresses(&["127.255.255.252"])),
            Impairment::Doubtful(Doubt::Refusal([127, 255, 255, 252].into())),
        ),
    ] {
        let mut world = World::new(&["192.0.2.25"]);
        for (text, answer) in &zone {
            match *text {
                "*" => drop(world.zone.insert("*".into(), answer.clone())),
                text => world.answer(text, answer.clone()),
            }
        }
        world.pass(minutes(130));
        assert_eq!(world.lane.health(), Health::Impaired(expected));
        assert_eq!(world.times_asked("192.0.2.25"), 0, "{expected:?}: it is not believed");
        assert_eq!((world.changes.len(), world.state().0), (0, false));
        assert!(matches!(world.state().1, Some(Finding::Unknown(_))), "{:?}", world.state());
    }
}

#[test]
fn a_zone_that_lists_the_world_but_its_own_test_is_found_by_a_random_address() {
    let mut world = World::new(&["192.0.2.25"]);
    world.zone.insert("*".into(), addresses(&[LISTED]));
    let question = |world: &mut World| match world.lane.next(world.now, world.chance) {
        Step::Ask(question) => question,
        Step::Wait(until) => panic!("waits until {until}"),
    };
    // 127.0.0.2 is listed, 127.0.0.1 is not, the rest is.
    for answer in [addresses(&[LISTED]), Answer::NoName, addresses(&[LISTED])] {
        let asked = question(&mut world);
        world.lane.answered(&asked, &answer, world.now, 0);
        world.now = world.now + GAP + GAP;
    }
    assert_eq!(world.lane.health(), Health::Impaired(Impairment::ListsAll));
}

#[test]
fn the_random_address_is_never_one_that_is_watched() {
    let watched: Vec<String> = (0..=255).map(|n| format!("192.0.2.{n}")).collect();
    let names: Vec<&str> = watched.iter().map(String::as_str).collect();
    let mut world = World::new(&names);
    for turn in 0..200_u64 {
        world.chance = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for probe in world.lane.probes_of(world.chance) {
            assert!(!watched.iter().any(|text| subject(text).labels() == probe), "{probe}");
        }
    }
}

#[test]
fn a_list_is_tested_every_hour_and_a_refusal_leaves_it_alone_for_one() {
    let mut world = World::new(&["192.0.2.25"]);
    world.pass(minutes(170));
    assert_eq!(world.times_asked("127.0.0.2"), 3);
    let mut world = World::new(&["192.0.2.25"]);
    world.pass(minutes(5));
    world.answer("192.0.2.25", addresses(&["127.255.255.255"]));
    world.pass(minutes(25));
    let asked = world.asked.len();
    assert!(world.lane.rests_until().is_some());
    world.pass(minutes(30));
    assert_eq!(world.asked.len(), asked, "it rests");
    world.answer("192.0.2.25", Answer::NoName);
    world.pass(minutes(60));
    assert_eq!((world.lane.health(), world.state().1), (Health::Well, Some(Finding::Clean)));
}

#[test]
fn fifty_addresses_stay_within_the_budget_of_a_list() {
    let watched: Vec<String> = (1..=50).map(|n| format!("198.51.100.{n}")).collect();
    let names: Vec<&str> = watched.iter().map(String::as_str).collect();
    let mut world = World::new(&names);
    world.answer("198.51.100.7", addresses(&[LISTED]));
    world.answer("198.51.100.9", Answer::Failed(Failure::Timeout));
    world.pass(minutes(180));
    let asked: Vec<Timestamp> = world.asked.iter().map(|(at, _)| *at).collect();
    assert!(asked.windows(2).all(|pair| pair[1].since(pair[0]) >= GAP), "two at once");
    let most = asked
        .iter()
        .map(|&from| asked.iter().filter(|&&at| at >= from && at < from + minutes(1)).count());
    assert!(most.max().unwrap() <= 30);
    for text in &names[10..] {
        let times = world.times_asked(text);
        assert!((8..=10).contains(&times), "{text} was asked about {times} times in 3 h");
    }
}

#[test]
fn a_restart_forgets_neither_a_listing_nor_half_of_one() {
    let mut world = World::new(&["192.0.2.25"]);
    world.answer("192.0.2.25", addresses(&[LISTED]));
    world.pass(minutes(2));
    let half = world.lane.rows()[0].saved.clone();
    assert!(half.standing.pending.is_some() && half.standing.verdict.is_none());
    let read = |saved: &Saved| -> Saved {
        serde_json::from_str(&serde_json::to_string(saved).unwrap()).unwrap()
    };
    assert_eq!(read(&half), half);
    let again = |saved: Saved, now: Timestamp| {
        let mut next = World::with(vec![(subject("192.0.2.25"), Some(saved))]);
        next.lane = Lane::new(
            named("zen"),
            INTERVAL,
            vec![(subject("192.0.2.25"), Some(next.lane.rows()[0].saved.clone()))],
            now,
        );
        next.now = now;
        next.answer("192.0.2.25", addresses(&[LISTED]));
        next
    };
    let mut next = again(read(&half), world.now);
    next.pass(minutes(5));
    assert!(matches!(next.changes[..], [(_, Change::Listed)]), "the half of before counts");
    let mut last = again(read(&next.lane.rows()[0].saved), next.now);
    assert!(last.state().0);
    last.pass(minutes(60));
    assert_eq!(last.changes, [], "it is not told twice");
    // A clock that was set back does not make it wait.
    let mut early = again(read(&half), Timestamp::from_millis(5_000));
    early.pass(minutes(20));
    assert!(early.times_asked("192.0.2.25") > 0);
}

#[test]
fn who_asks_now_is_answered_between_the_rows() {
    let mut world = World::new(&["192.0.2.25"]);
    assert!(!world.lane.ask_now(1, &subject("192.0.2.30")), "it was not tested yet");
    world.pass(minutes(1));
    assert!(world.lane.ask_now(2, &subject("192.0.2.30")));
    world.pass(Duration::from_secs(10));
    assert_eq!(world.times_asked("192.0.2.30"), 1);
    let taken = (0..100).filter(|ticket| world.lane.ask_now(*ticket, &subject("192.0.2.30")));
    assert_eq!(taken.count(), 8);
}

// ── all lists ──

fn roster(names: &[&str]) -> (Roster, Timestamp) {
    let start = Timestamp::from_millis(1_000_000_000);
    let lane =
        |name: &&str| Lane::new(named(name), INTERVAL, vec![(subject("192.0.2.25"), None)], start);
    (Roster::new(names.iter().map(lane).collect()), start)
}

/// Lets time pass; `answers` says what a list answers to a name.
fn play(
    roster: &mut Roster,
    now: &mut Timestamp,
    length: Duration,
    answers: impl Fn(&str, &str) -> Answer,
) -> Vec<Happening> {
    let (end, mut news) = (*now + length, Vec::new());
    while *now < end {
        for number in 0..roster.lanes().len() {
            let name = roster.lanes()[number].list().name().to_string();
            let chance = now.as_millis().unsigned_abs();
            let Step::Ask(question) = roster.lanes_mut()[number].next(*now, chance) else {
                continue;
            };
            let answer = answers(&name, &question.name.expose());
            roster.answered(number, (&question, &answer), *now, chance);
        }
        news.extend(roster.news());
        *now = *now + Duration::from_millis(500);
    }
    news
}

fn healthy(_list: &str, name: &str) -> Answer {
    if name.starts_with("2.0.0.127.") { addresses(&[LISTED]) } else { Answer::NoName }
}

#[test]
fn a_resolver_that_is_gone_is_one_matter_and_not_one_for_each_list() {
    let (mut roster, mut now) = roster(&["zen", "spamcop", "psbl", "barracuda"]);
    assert_eq!(play(&mut roster, &mut now, minutes(30), healthy), []);
    let dead = |_: &str, _: &str| Answer::Failed(Failure::Timeout);
    let news = play(&mut roster, &mut now, minutes(120), dead);
    assert_eq!(news, [Happening::ResolverDead]);
    let news = play(&mut roster, &mut now, minutes(30), healthy);
    assert_eq!(news, [Happening::ResolverAlive]);
    assert!(roster.lanes().iter().all(|lane| lane.health() == Health::Well));
}

#[test]
fn a_resolver_that_is_gone_from_the_start_is_one_matter_too() {
    let (mut roster, mut now) = roster(&["zen", "spamcop", "psbl"]);
    let dead = |_: &str, _: &str| Answer::Failed(Failure::ServerFailure);
    assert_eq!(play(&mut roster, &mut now, minutes(60), dead), [Happening::ResolverDead]);
}

#[test]
fn one_list_that_is_gone_is_told_by_its_name_once() {
    for names in [&["zen", "spamcop", "psbl"][..], &["spamcop"]] {
        let (mut roster, mut now) = roster(names);
        play(&mut roster, &mut now, minutes(30), healthy);
        let partly = |list: &str, name: &str| match list {
            "spamcop" => Answer::Failed(Failure::Timeout),
            _ => healthy(list, name),
        };
        let news = play(&mut roster, &mut now, minutes(120), partly);
        let why = Impairment::Doubtful(Doubt::NoAnswer(Failure::Timeout));
        assert_eq!(news, [Happening::Impaired("spamcop".into(), why)]);
        let news = play(&mut roster, &mut now, minutes(30), healthy);
        assert_eq!(news, [Happening::Well("spamcop".into())]);
    }
    assert!(RETRY >= minutes(5));
}

#[test]
fn an_answer_that_no_table_explains_is_told_and_the_other_rows_are_not_concerned() {
    let (mut roster, mut now) = roster(&["zen", "spamcop"]);
    let odd = |list: &str, name: &str| match list {
        "zen" if name.starts_with("25.2.0.192.") => addresses(&["127.0.0.99"]),
        _ => healthy(list, name),
    };
    let why = Impairment::Unexplained(Doubt::UnknownCode([127, 0, 0, 99].into()));
    let news = play(&mut roster, &mut now, minutes(180), odd);
    assert_eq!(news, [Happening::Impaired("zen".into(), why)]);
    assert_eq!(roster.lanes()[0].health(), Health::Well);
    let news = play(&mut roster, &mut now, minutes(30), healthy);
    assert_eq!(news, [Happening::Well("zen".into())]);
}

#[test]
fn what_was_told_of_a_list_that_is_not_asked_any_more_is_over() {
    let (mut before, mut now) = roster(&["zen", "spamcop"]);
    let empty = |list: &str, name: &str| match list {
        "spamcop" => healthy(list, name),
        _ => Answer::NoName,
    };
    assert_eq!(play(&mut before, &mut now, minutes(5), empty).len(), 1);
    let (mut same, _) = roster(&["zen"]);
    assert_eq!(same.inherit(&before), []);
    assert_eq!(play(&mut same, &mut now, minutes(5), empty), [], "it was told");
    assert_eq!(play(&mut same, &mut now, minutes(90), healthy), [Happening::Well("zen".into())]);
    let (mut other, _) = roster(&["spamcop"]);
    assert_eq!(other.inherit(&before), [Happening::Well("zen".into())]);
}

#[test]
fn kinds_have_names() {
    for (kind, text) in
        [(Kind::Ipv4, "192.0.2.1"), (Kind::Ipv6, "2001:db8::1"), (Kind::Domain, "a.example")]
    {
        assert_eq!(Kind::of(&subject(text)), kind);
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
}
