use super::*;
use crate::{message::Fingerprint, types::Timestamp};
use proptest::prelude::*;

const HOME: Place = Place { country: Some(*b"ID"), network: 1, is_hosting: false };
const AWAY: Place = Place { country: Some(*b"RU"), network: 2, is_hosting: false };
const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn to(keys: impl IntoIterator<Item = u32>) -> Vec<Recipient> {
    keys.into_iter().map(|key| Recipient { key: key << 16, is_trap: false }).collect()
}

fn attempt(seconds: i64, place: Place, recipients: &[Recipient]) -> Attempt<'_> {
    Attempt {
        at: at(seconds),
        client: Some(Client { place: Some(place), ..Client::default() }),
        recipients,
        over_limit: 0,
        is_null_sender: false,
        text: Text::default(),
    }
}

fn print(bits: u64) -> Fingerprint {
    serde_json::from_value(bits.into()).unwrap()
}

fn taken(count: u32) -> Answers {
    Answers { taken: count, ..Answers::default() }
}

/// An account that wrote to the same ten people from home for a week.
fn regular() -> Profile {
    let mut profile = Profile::new(at(0));
    let ten = to(0..10);
    for day in 0..7 {
        for hour in 0..10 {
            profile.learn(&attempt(day * DAY + hour * 3_600, HOME, &ten[..5]), &taken(5));
            profile.learn(&attempt(day * DAY + hour * 3_600, HOME, &ten[5..]), &taken(5));
        }
    }
    profile
}

/// Somebody new who wrote to a trap.
fn suspect() -> Profile {
    let trap = [Recipient { key: 9, is_trap: true }];
    let mut profile = Profile::new(at(0));
    profile.evidence = seen(&profile, &attempt(0, HOME, &trap)).evidence;
    profile
}

/// A moment after [`regular`].
const LATER: i64 = 7 * DAY;

fn points(found: &Look, signal: Signal) -> f32 {
    found.findings.iter().filter(|f| f.signal == signal).map(|f| f.points * f.confidence).sum()
}

fn seen(profile: &Profile, attempt: &Attempt<'_>) -> Look {
    look(profile, &Shared::default(), 7, attempt, &Settings::default())
}

fn answered(profile: &Profile, attempt: &Attempt<'_>, answers: &Answers) -> Look {
    look_back(profile, attempt, answers, profile.evidence, &Settings::default())
}

#[test]
fn what_an_account_always_does_is_nothing() {
    let known = to(0..5);
    let found = seen(&regular(), &attempt(LATER, HOME, &known));
    assert!(found.evidence.is_none(), "{found:?}");
    assert_eq!(points(&found, Signal::Place), 0.0);
    assert!(points(&found, Signal::Novelty) < 0.0);
}

#[test]
fn a_new_country_weighs_more_than_a_new_network() {
    let known = to([1]);
    let of = |place| points(&seen(&regular(), &attempt(LATER, place, &known)), Signal::Place);
    let network = of(Place { network: 3, ..HOME });
    let hosting = of(Place { network: 3, is_hosting: true, ..HOME });
    let (country, both) = (of(AWAY), of(Place { is_hosting: true, ..AWAY }));
    assert!(0.0 < network && network < hosting && hosting < country && country < both);
    let unknown = of(Place { country: None, network: 3, is_hosting: false });
    assert!((network - unknown).abs() < 0.01, "without a table of countries a network is new");
}

#[test]
fn a_place_is_at_home_after_a_day_and_at_once_where_the_account_is_new() {
    let (known, mut profile) = (to([1]), regular());
    let of = |profile: &Profile, seconds| {
        points(&seen(profile, &attempt(seconds, AWAY, &known)), Signal::Place)
    };
    profile.learn(&attempt(LATER, AWAY, &known), &taken(1));
    assert!(of(&profile, LATER + DAY - 1) > 2.0);
    assert_eq!(of(&profile, LATER + DAY), 0.0);
    let mut new = Profile::new(at(0));
    new.learn(&attempt(3_600, AWAY, &known), &taken(1));
    assert_eq!(of(&new, 2 * 3_600), 0.0);
}

/// The account wrote to the same people and its clients called themselves this.
fn greeted<'a>(helo: &str, seconds: i64, recipients: &'a [Recipient]) -> Attempt<'a> {
    let client = Client { place: Some(HOME), greeting: Some(form_of(helo)), ..Client::default() };
    Attempt { client: Some(client), ..attempt(seconds, HOME, recipients) }
}

#[test]
fn a_name_in_helo_is_new_where_another_is_settled_and_several_weigh_more() {
    let (known, mut profile) = (to([1]), regular());
    let of = |profile: &Profile, helo: &str, seconds| {
        points(&seen(profile, &greeted(helo, seconds, &known)), Signal::Greeting)
    };
    assert_eq!(of(&profile, "User", LATER), 0.0, "none is known");
    profile.learn(&greeted("DESKTOP-1A2B3C", LATER, &known), &taken(1));
    let later = LATER + DAY;
    assert_eq!(of(&profile, "desktop-77", later), 0.0);
    let one = of(&profile, "User", later);
    assert!(0.0 < one && one < 1.0);
    for helo in ["User", "localhost", "ylmf-pc", "mail.promo.example"] {
        profile.learn(&greeted(helo, later, &known), &taken(1));
    }
    assert!(of(&profile, "[127.0.0.1]", later) > 2.0 * one);
    assert_eq!(of(&profile, "DESKTOP-1A2B3C", later), 0.0, "its own is still known");
    profile.begin_anew(at(later));
    assert!(of(&profile, "[127.0.0.1]", later) < 1.0);
}

#[test]
fn many_failed_logins_before_one_from_away_are_guessing() {
    let (known, profile) = (to([1]), regular());
    let of = |place, failed_logins| {
        let client = Client { place: Some(place), failed_logins, ..Client::default() };
        let attempt = Attempt { client: Some(client), ..attempt(LATER, place, &known) };
        points(&seen(&profile, &attempt), Signal::GuessedLogin)
    };
    for (place, failed, says) in
        [(AWAY, 5, true), (AWAY, 500, true), (AWAY, 4, false), (HOME, 500, false)]
    {
        assert_eq!(of(place, failed) > 0.0, says, "{place:?} {failed}");
    }
}

#[test]
fn more_than_an_hour_usually_has_counts_for_strangers_only() {
    let profile = regular();
    let of = |seconds, recipients: &[Recipient]| {
        points(&seen(&profile, &attempt(seconds, HOME, recipients)), Signal::Tempo)
    };
    // It has ten recipients in each of ten hours of a day.
    assert_eq!(of(LATER + 5 * 3_600, &to(100..130)), 0.0);
    let surge = of(LATER + 5 * 3_600, &to(100..140));
    let flood = of(LATER + 5 * 3_600, &to(100..190));
    assert!(0.0 < surge && surge < flood, "{surge} {flood}");
    assert_eq!(of(LATER + 5 * 3_600, &to((0..10).cycle().take(200))), 0.0, "all are known");
    let odd = of(LATER + 15 * 3_600, &to([100]));
    assert!(0.0 < odd && odd < surge, "{odd}");
    assert!(of(LATER + 15 * 3_600, &to(100..130)) > odd);
    // What came in this hour before counts with it.
    let mut busy = profile.clone();
    busy.learn(&attempt(LATER + 5 * 3_600, HOME, &to(0..10)), &taken(30));
    let next = attempt(LATER + 5 * 3_600 + 60, HOME, &[]);
    let one = to([100]);
    let next = Attempt { recipients: &one, ..next };
    assert!(points(&seen(&busy, &next), Signal::Tempo) > 0.0);
}

#[test]
fn a_new_site_that_suspects_link_to_spreads_whatever_their_texts() {
    let mut shared = Shared::default();
    let text =
        |bits, site| Text { print: Some(print(bits)), linked: [site, 0, 0, 0], ..Text::default() };
    let settings = Settings::default();
    let to_new = to([500]);
    let mail =
        |seconds, bits, site| Attempt { text: text(bits, site), ..attempt(seconds, HOME, &to_new) };
    shared.note(&suspect(), &mail(0, 0, 1), 1, &settings);
    for account in 1..=2_u32 {
        shared.note(&suspect(), &mail(2 * DAY, u64::MAX << (account * 20), 77), account, &settings);
    }
    let found = |shared: &Shared, account, mail: &Attempt<'_>| {
        look(&regular(), shared, account, mail, &settings)
    };
    let third = found(&shared, 3, &mail(2 * DAY, 0x5555, 77));
    assert!(points(&third, Signal::Spread) > 0.5, "{third:?}");
    assert!(
        third.findings.iter().any(|f| f.reason == Reason::SameSite { accounts: 3, is_spam: false })
    );
    assert_eq!(points(&found(&shared, 3, &mail(2 * DAY, 0x5555, 1)), Signal::Spread), 0.0);
    // One of them is suspended: whoever links there next has its points.
    let mut thief = suspect();
    shared.note(&thief, &mail(2 * DAY, 0, 78), 1, &settings);
    thief.learn(&mail(2 * DAY, 0, 78), &taken(1));
    shared.condemn(&thief, &mail(2 * DAY, 0, 78), &settings);
    let next = found(&shared, 3, &mail(2 * DAY, 0x5555, 78));
    assert!(points(&next, Signal::Spread) > 2.0, "{next:?}");
}

#[test]
fn strangers_count_by_how_often_an_account_writes_to_them() {
    let (new, regular) = (to(100..110), regular());
    let mut shop = Profile::new(at(0));
    for order in 0..300_u32 {
        let seconds = i64::from(order) * 2_000;
        shop.learn(&attempt(seconds, HOME, &to([1_000 + order])), &taken(1));
    }
    let novelty =
        |profile, place| points(&seen(profile, &attempt(LATER, place, &new)), Signal::Novelty);
    assert!(novelty(&regular, HOME) > 2.0);
    assert!(novelty(&shop, HOME) < 0.3);
    assert!(novelty(&shop, AWAY) > 3.0);
    let bulk = Text { is_bulk: true, ..Text::default() };
    let letter = Attempt { text: bulk, ..attempt(LATER, HOME, &new) };
    assert!(points(&seen(&regular, &letter), Signal::Novelty) < novelty(&regular, HOME));
}

#[test]
fn unknown_recipients_count_beyond_what_is_usual() {
    let profile = Profile::new(at(0));
    let of = |taken, unknown| {
        let recipients = to(0..taken + unknown);
        let answers = Answers { taken, unknown, called_spam: None };
        answered(&profile, &attempt(0, HOME, &recipients), &answers)
    };
    for (taken, unknown, least, most) in [
        (100, 2, 0.0, 0.0),
        (12, 1, 0.0, 0.0),
        (6, 1, 0.4, 0.6),
        (30, 5, 2.4, 2.6),
        (0, 40, 5.0, 5.0),
    ] {
        let found = of(taken, unknown).evidence.of(Signal::UnknownRecipients);
        assert!((least..=most).contains(&found), "{taken} and {unknown}: {found}");
    }
}

#[test]
fn bounces_and_replies_answer_whoever_wrote() {
    let trap = [Recipient { key: 9, is_trap: true }];
    let bounce = Attempt { is_null_sender: true, ..attempt(LATER, HOME, &trap) };
    let answers = Answers { unknown: 1, ..Answers::default() };
    assert!(seen(&regular(), &bounce).evidence.is_none());
    assert!(answered(&regular(), &bounce, &answers).evidence.is_none());
    let own = Attempt { is_null_sender: false, ..bounce };
    assert!(seen(&regular(), &own).evidence.of(Signal::Traps) >= 4.0);
}

#[test]
fn a_verdict_elsewhere_counts_only_towards_new_recipients() {
    let spam = |kind| Answers { called_spam: Some(kind), taken: 1, ..Answers::default() };
    let (known, new) = (to([1]), to([99]));
    let of = |recipients: &[Recipient], kind| {
        let found = answered(&regular(), &attempt(LATER, HOME, recipients), &spam(kind));
        found.evidence.of(Signal::RemoteVerdicts)
    };
    assert_eq!(of(&known, Refused::ForGood), 0.0, "a forwarder hands on what it gets");
    assert!(of(&new, Refused::ForGood) > of(&new, Refused::ForNow));
    assert!(of(&new, Refused::ForNow) > 1.0);
}

#[test]
fn lists_are_a_state_and_do_not_add_up() {
    let new = to([99]);
    let mut profile = regular();
    let client = Client { place: Some(HOME), is_listed: true, ..Client::default() };
    let listed = Attempt { client: Some(client), ..attempt(LATER, HOME, &new) };
    let one = seen(&profile, &listed).evidence.of(Signal::Listings);
    for _ in 0..20 {
        profile.evidence = seen(&profile, &listed).evidence;
    }
    assert_eq!(profile.evidence.of(Signal::Listings), one);
    let text = Text { has_listed_link: true, ..Text::default() };
    let both = Attempt { text, ..listed };
    assert!(seen(&profile, &both).evidence.of(Signal::Listings) > one);
    let known = to([1]);
    let forwarded = Attempt { recipients: &known, client: None, ..both };
    assert!(seen(&regular(), &forwarded).evidence.is_none(), "forwarded mail has any link");
}

#[test]
fn a_name_in_from_counts_once_and_only_towards_new_recipients() {
    let (known, new, mut profile) = (to([1]), to([99]), regular());
    let text = Text { foreign_from: Some(5), ..Text::default() };
    let of = |profile: &Profile, recipients: &[Recipient]| {
        let attempt = Attempt { text, ..attempt(LATER, HOME, recipients) };
        points(&seen(profile, &attempt), Signal::Origin)
    };
    assert_eq!(of(&profile, &known), 0.0);
    assert!(of(&profile, &new) > 0.5);
    profile.learn(&Attempt { text, ..attempt(LATER, HOME, &known) }, &taken(1));
    assert_eq!(of(&profile, &new), 0.0);
}

#[test]
fn one_text_from_several_accounts_is_seen() {
    let (new, settings, mut shared) = (to([99]), Settings::default(), Shared::default());
    let stranger = suspect();
    let with = |bits, seconds| Attempt {
        text: Text { print: Some(print(bits)), ..Text::default() },
        ..attempt(seconds, HOME, &new)
    };
    let of = |shared: &Shared, attempt: &Attempt<'_>, account| {
        let found = look(&Profile::new(at(0)), shared, account, attempt, &settings);
        points(&found, Signal::Spread)
    };
    shared.note(&stranger, &with(0xf_0000, 0), 8, &settings);
    assert_eq!(of(&shared, &with(0xf_0000, 1), 9), 0.0, "nothing is unusual on the first day");
    shared.note(&stranger, &with(0xff00, DAY), 1, &settings);
    let after = |seconds| DAY + seconds;
    assert_eq!(of(&shared, &with(0xff00, after(1)), 1), 0.0, "its own text");
    let second = of(&shared, &with(0xff03, after(1)), 2);
    assert!(second > 0.0, "two bits differ");
    assert_eq!(of(&shared, &with(0xffff_ffff_ffff, after(1)), 2), 0.0, "another text");
    assert_eq!(of(&shared, &with(0xff00, after(DAY)), 2), 0.0, "usual after a day");
    shared.note(&stranger, &with(0xff01, after(1)), 2, &settings);
    assert!(of(&shared, &with(0xff00, after(2)), 3) > second);
    shared.condemn(&stranger, &with(0xff00, after(2)), &settings);
    assert!(of(&shared, &with(0xff00, after(3)), 9) > 3.0, "an account was suspended for it");
    assert!(of(&shared, &with(0xff00, after(DAY)), 9) > 3.0, "and it does not become usual");
    let reply = with(0xff00, after(3));
    let reply = Attempt { text: Text { is_automatic: true, ..reply.text }, ..reply };
    assert_eq!(of(&shared, &reply, 9), 0.0);
}

#[test]
fn an_account_may_go_on_in_its_own_words() {
    let (new, settings, mut shared) = (to([99]), Settings::default(), Shared::default());
    let stranger = suspect();
    let with = |bits, seconds| Attempt {
        text: Text { print: Some(print(bits)), ..Text::default() },
        ..attempt(seconds, HOME, &new)
    };
    let mut shop = regular();
    shared.note(&stranger, &with(0xf_0000, 0), 8, &settings);
    shared.note(&stranger, &with(0xff00, LATER), 1, &settings);
    let of = |profile: &Profile, seconds| {
        points(&look(profile, &shared, 2, &with(0xff00, seconds), &settings), Signal::Spread)
    };
    assert!(of(&shop, LATER + 1) > 0.0);
    let known = to([1]);
    shop.learn(&Attempt { recipients: &known, ..with(0xff7f, LATER) }, &taken(1));
    assert!(of(&shop, LATER + 3_600) > 0.0, "since just now");
    assert_eq!(of(&shop, LATER + 13 * 3_600), 0.0);
}

#[test]
fn points_are_halved_and_forgotten() {
    let settings = Settings::default();
    let trapped = [Recipient { key: 9, is_trap: true }];
    let mut evidence = seen(&Profile::new(at(0)), &attempt(0, HOME, &trapped)).evidence;
    evidence.fade(at(12 * 3_600), &settings);
    assert!((evidence.of(Signal::Traps) - 2.0).abs() < 0.01);
    evidence.fade(at(6 * 3_600), &settings);
    assert!((evidence.of(Signal::Traps) - 2.0).abs() < 0.01, "time never goes back");
    evidence.fade(at(30 * DAY), &settings);
    assert!(evidence.is_none());
    let observed = Settings { observe: vec![Signal::Traps], ..settings };
    let found =
        look(&Profile::new(at(0)), &Shared::default(), 7, &attempt(0, HOME, &trapped), &observed);
    assert!(found.evidence.is_none() && !found.findings.is_empty(), "told, and not counted");
}

#[test]
fn a_person_who_lifts_a_suspension_begins_anew() {
    let (new, mut profile) = (to([99]), regular());
    let away = Attempt {
        text: Text { print: Some(print(3)), ..Text::default() },
        ..attempt(LATER, AWAY, &new)
    };
    profile.evidence = seen(&profile, &away).evidence;
    profile.learn(&away, &taken(1));
    assert!(!profile.prints.is_empty());
    profile.begin_anew(at(LATER + 60));
    assert!(profile.evidence.is_none() && profile.prints.is_empty());
    let back = seen(&profile, &attempt(LATER + 2 * DAY, AWAY, &new));
    assert!(points(&back, Signal::Place) > 2.0, "the thief's place is not at home");
    assert!(!profile.known.is_empty(), "whom the owner knows is kept");
}

/// What the promise "a few hundred bytes for a busy account" means.
#[test]
fn the_busiest_account_is_remembered_in_two_kilobytes_and_a_half() {
    let mut profile = Profile::new(at(0));
    for n in 0..2_000_u32 {
        let place = Place { country: Some([b'A', b'A']), network: n, is_hosting: false };
        let recipients = [Recipient { key: n << 16 | 7, is_trap: true }];
        let text = Text {
            foreign_from: Some(n),
            print: Some(print(u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15))),
            linked: [n; LINKED_MAX],
            ..Text::default()
        };
        let client = Client { place: Some(place), greeting: Some(n), ..Client::default() };
        let seconds = i64::from(n) * 3_600;
        let attempt =
            Attempt { text, client: Some(client), ..attempt(seconds, place, &recipients) };
        profile.evidence = seen(&profile, &attempt).evidence;
        profile.learn(&attempt, &taken(1));
    }
    assert_eq!(profile.known.len(), KNOWN_MAX);
    let size = profile.size_bytes();
    assert!(size <= 2_100, "{size} bytes");
}

proptest! {
    /// Whatever is sent and answered, nothing grows beyond its bound and no points leave theirs.
    #[test]
    fn nothing_leaves_its_bounds(
        steps in prop::collection::vec((0..100_000_i64, 0..400_u32, 1..20_u32, 0..20_u32, any::<(bool, bool, bool)>()), 0..200)
    ) {
        let settings = Settings::default();
        let (mut profile, mut shared) = (Profile::new(at(0)), Shared::default());
        for (step, first, count, unknown, (is_away, is_spam, is_trap)) in steps {
            let mut recipients = to(first..first + count);
            recipients[0].is_trap = is_trap;
            let text = Text {
                score: Some(if is_spam { 9.0 } else { 0.0 }),
                print: Some(print(u64::from(first))),
                foreign_from: is_spam.then_some(first),
                linked: [first; LINKED_MAX],
                ..Text::default()
            };
            let place = if is_away { Place { network: first, ..AWAY } } else { HOME };
            let client = Client {
                place: Some(place),
                greeting: Some(count),
                failed_logins: unknown,
                ..Client::default()
            };
            let attempt = Attempt {
                text,
                client: Some(client),
                over_limit: unknown,
                ..attempt(step, place, &recipients)
            };
            let called_spam = is_spam.then_some(Refused::ForGood);
            let answers = Answers { taken: count, unknown, called_spam };
            let before = look(&profile, &shared, 7, &attempt, &settings);
            let after = look_back(&profile, &attempt, &answers, before.evidence, &settings);
            profile.evidence = after.evidence;
            for signal in Signal::ALL {
                let points = profile.evidence.of(signal);
                prop_assert!((0.0..=settings.cap(signal)).contains(&points), "{signal:?} {points}");
            }
            shared.note(&profile, &attempt, 7, &settings);
            shared.condemn(&profile, &attempt, &settings);
            profile.learn(&attempt, &answers);
            prop_assert!(profile.known.len() <= KNOWN_MAX && profile.size_bytes() <= 2_100);
            prop_assert!((0.0..=1.0).contains(&profile.new_share));
        }
    }

    /// What is stored comes back the same.
    #[test]
    fn a_profile_survives_being_stored(keys in prop::collection::vec(any::<u16>(), 0..300)) {
        let mut profile = Profile::new(at(0));
        for (n, key) in keys.iter().enumerate() {
            let recipients = to([u32::from(*key)]);
            let seconds = i64::try_from(n).unwrap();
            let attempt = attempt(seconds, if n % 3 == 0 { AWAY } else { HOME }, &recipients);
            profile.evidence = seen(&profile, &attempt).evidence;
            profile.learn(&attempt, &taken(1));
        }
        let stored = serde_json::to_string(&profile).unwrap();
        prop_assert_eq!(serde_json::from_str::<Profile>(&stored).unwrap(), profile);
    }
}
