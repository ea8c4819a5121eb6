use super::*;
use crate::{
    rules::spam::{Place, Signal},
    types::{Limit, Scope, Span, Unit},
};
use proptest::prelude::*;

const DAY: i64 = 86_400;
const HOME: Place = Place { country: Some(*b"ID"), network: 1, is_hosting: false };
const AWAY: Place = Place { country: Some(*b"RU"), network: 2, is_hosting: true };

fn settings() -> Settings {
    let line = |scope, unit, max| ScopedLimit {
        scope,
        unit,
        limit: Limit { window: Span::from_secs(3_600), max },
    };
    Settings {
        limits: vec![
            line(Scope::Account, Unit::Recipients, 50),
            line(Scope::Account, Unit::NullSender, 5),
            line(Scope::Tenant, Unit::Recipients, 80),
            line(Scope::ClientIp, Unit::Recipients, 60),
        ],
        judgement: judgement::Settings::default(),
    }
}

/// A message to be replayed, as a test writes it.
#[derive(Debug, Clone)]
struct Mail {
    seconds: i64,
    account: &'static str,
    place: Place,
    host: u8,
    recipients: Vec<(Recipient, Says)>,
    answer: (u16, Says),
    score: f32,
    is_null_sender: bool,
}

fn mail(seconds: i64, recipients: impl IntoIterator<Item = u32>) -> Mail {
    let recipient = |key: u32| (Recipient { key: key << 16, is_trap: false }, Says::Taken);
    Mail {
        seconds,
        account: "a@shop.example",
        place: HOME,
        host: 1,
        recipients: recipients.into_iter().map(recipient).collect(),
        answer: (250, Says::Taken),
        score: 0.0,
        is_null_sender: false,
    }
}

fn step(replay: &mut Replay, mail: &Mail) -> Decision {
    let account: AccountId = mail.account.parse().unwrap();
    let tenant: TenantId = account.domain().unwrap().parse().unwrap();
    let address: crate::types::ClientIp = format!("192.0.2.{}", mail.host).parse().unwrap();
    let client = Client { place: Some(mail.place), ..Client::default() };
    replay.step(&Message {
        at: Timestamp::from_millis(mail.seconds * 1_000),
        account: &account,
        tenant: &tenant,
        client: Some((address.prefix(64), client)),
        is_null_sender: mail.is_null_sender,
        recipients: &mail.recipients,
        answer: mail.answer,
        text: Text { score: Some(mail.score), ..Text::default() },
    })
}

/// A replay in which the account wrote to the same people for three days.
fn lived_in() -> Replay {
    let mut replay = Replay::new(settings());
    for hour in 0..3 * 24 {
        let decision = step(&mut replay, &mail(hour * 3_600, 0..5));
        assert_eq!(decision.action, Action::Accept);
    }
    replay
}

fn spam(n: u32) -> Mail {
    let mut mail =
        Mail { place: AWAY, score: 9.0, ..mail(3 * DAY + i64::from(n) * 20, [1_000 + n]) };
    if n % 7 == 6 {
        mail.recipients[0].1 = Says::UnknownRecipient;
    }
    mail
}

#[test]
fn a_stolen_account_is_suspended_within_a_few_messages() {
    let mut replay = lived_in();
    let decisions: Vec<Decision> = (0..100).map(|n| step(&mut replay, &spam(n))).collect();
    let relayed = decisions.iter().filter(|d| d.action == Action::Accept).count();
    assert!((1..=8).contains(&relayed), "{relayed}");
    let standings: Vec<&str> =
        decisions.iter().flat_map(|d| &d.account).map(|change| change.to.name()).collect();
    assert_eq!(standings.last(), Some(&"suspended"), "{standings:?}");
    assert!(decisions[50..].iter().all(|d| d.action == Action::Reject));
    let suspect = &replay.summary().suspects[&"a@shop.example".parse().unwrap()];
    assert_eq!(suspect.suspensions, 1);
    assert!(suspect.evidence.of(Signal::Place) > 2.0 && suspect.refused > 90, "{suspect:?}");
}

#[test]
fn the_same_from_home_to_whom_one_knows_is_nothing() {
    let mut replay = lived_in();
    for n in 0..40 {
        let decision = step(&mut replay, &mail(3 * DAY + n * 90, [0]));
        assert_eq!((decision.action, decision.account.len()), (Action::Accept, 0));
    }
    assert!(replay.summary().suspects.is_empty());
}

#[test]
fn limits_hold_for_account_tenant_and_client() {
    let mut replay = Replay::new(settings());
    let passed = |decision: &Decision| decision.passed.iter().filter(|passed| **passed).count();
    let first = step(&mut replay, &mail(0, 0..55));
    assert_eq!((passed(&first), first.action), (50, Action::Accept));
    let same_client = Mail { account: "b@other.example", ..mail(1, 0..20) };
    assert_eq!(passed(&step(&mut replay, &same_client)), 10, "60 from one address");
    let same_tenant = Mail { account: "c@shop.example", host: 2, ..mail(2, 0..40) };
    assert_eq!(passed(&step(&mut replay, &same_tenant)), 30, "80 of one tenant");
    let full = step(&mut replay, &mail(3, [1]));
    assert_eq!((passed(&full), full.action), (0, Action::Defer));
    let null = Mail { is_null_sender: true, account: "d@third.example", host: 3, ..mail(4, 0..9) };
    assert_eq!(passed(&step(&mut replay, &null)), 5, "null senders have a limit of their own");
    let later = Mail { host: 9, ..mail(3_601, 0..50) };
    assert_eq!(passed(&step(&mut replay, &later)), 50, "the window slides");
}

#[test]
fn what_was_not_taken_is_not_charged() {
    let mut replay = Replay::new(settings());
    let refused = Mail { answer: (550, Says::Nothing), ..mail(0, 0..50) };
    assert_eq!(step(&mut replay, &refused).action, Action::Accept);
    assert!(step(&mut replay, &mail(1, 0..50)).passed.iter().all(|passed| *passed));
}

#[test]
fn a_text_that_scores_too_much_is_refused_and_counts() {
    let mut replay = lived_in();
    let decision = step(&mut replay, &Mail { score: 99.0, ..mail(3 * DAY, [77]) });
    assert_eq!((decision.action, decision.passed.clone()), (Action::Reject, vec![true]));
    assert!(decision.evidence.of(Signal::Content) > 0.0);
}

#[test]
fn a_message_that_no_longer_fits_is_put_off() {
    let mut replay = lived_in();
    let many = Mail { place: AWAY, score: 9.0, ..mail(3 * DAY, 100..140) };
    let decision = step(&mut replay, &many);
    assert_ne!(decision.action, Action::Accept, "40 strangers at once from a new country");
}

#[test]
fn observed_standings_refuse_nothing() {
    let mut settings = settings();
    settings.judgement.suspension.mode = Mode::Observe;
    let mut replay = Replay::new(settings);
    for hour in 0..72 {
        step(&mut replay, &mail(hour * 3_600, 0..5));
    }
    let decisions: Vec<Decision> = (0..40).map(|n| step(&mut replay, &spam(n))).collect();
    assert!(decisions.iter().all(|d| d.action == Action::Accept));
    let suspended = |d: &Decision| d.account.iter().any(|change| change.to.is_shut());
    assert!(decisions.iter().any(suspended), "and yet it is told");
}

#[test]
fn a_suspension_that_lifts_by_itself_leaves_half_of_the_points() {
    let mut replay = lived_in();
    (0..60).for_each(|n| drop(step(&mut replay, &spam(n))));
    let later = step(&mut replay, &mail(3 * DAY + 5 * 3_600, [0]));
    assert_eq!(later.action, Action::Accept);
    assert!(later.points > 0.5 && later.points < 5.0, "{}", later.points);
}

#[test]
fn no_signal_suspends_alone() {
    let settings = settings();
    for signal in Signal::ALL {
        assert!(
            settings.judgement.spam.cap(signal) < settings.judgement.suspension.suspend_points,
            "{signal:?}"
        );
    }
}

/// What the next hop might say of a message.
fn any_answer() -> impl Strategy<Value = ((u16, Says), Says)> {
    let recipient =
        prop_oneof![Just(Says::Taken), Just(Says::UnknownRecipient), Just(Says::Nothing)];
    let text = prop_oneof![
        Just((250, Says::Taken)),
        Just((550, Says::Spam)),
        Just((421, Says::Spam)),
        Just((451, Says::Nothing)),
    ];
    (text, recipient)
}

proptest! {
    /// A gate that refuses a message never hears how it would have fared, so nothing may follow from it; what the next hop says of
    /// the recipients that limits let pass it hears before the text.
    #[test]
    fn answers_to_what_was_not_handed_on_change_nothing(
        traffic in prop::collection::vec((0..400_i64, 0..300_u32, 1..30_u32, any::<bool>(), any_answer(), any_answer()), 0..120)
    ) {
        let (mut one, mut other) = (lived_in(), lived_in());
        let mut now = 3 * DAY;
        for (pause, first, count, is_spam, answer, instead) in traffic {
            now += pause;
            let base = mail(now, first..first + count);
            let base = if is_spam { Mail { place: AWAY, score: 9.0, ..base } } else { base };
            let answered = |(text, recipient): ((u16, Says), Says)| {
                let recipients = base.recipients.iter().map(|r| (r.0, recipient)).collect();
                Mail { answer: text, recipients, ..base.clone() }
            };
            let expected = step(&mut one, &answered(answer));
            let mut shown = answered(answer);
            if expected.action != Action::Accept {
                shown.answer = instead.0;
            }
            for (at, passed) in expected.passed.iter().enumerate() {
                if !passed {
                    shown.recipients[at].1 = instead.1;
                }
            }
            prop_assert_eq!(step(&mut other, &shown), expected);
        }
        prop_assert_eq!(one.summary(), other.summary());
    }

    /// Of no account goes out more than its limit in any hour, however it is judged.
    #[test]
    fn never_more_than_the_limit(
        traffic in prop::collection::vec((0..900_i64, 0..300_u32, 1..60_u32, any::<bool>()), 0..80)
    ) {
        let mut replay = Replay::new(settings());
        let (mut now, mut sent): (i64, Vec<(i64, usize)>) = (0, Vec::new());
        for (pause, first, count, is_spam) in traffic {
            now += pause;
            let base = mail(now, first..first + count);
            let decision = step(&mut replay, &if is_spam { Mail { score: 9.0, ..base } } else { base });
            if decision.action == Action::Accept {
                sent.push((now, decision.passed.iter().filter(|passed| **passed).count()));
            }
            let in_hour = sent.iter().filter(|(at, _)| *at > now - 3_600);
            prop_assert!(in_hour.map(|(_, count)| count).sum::<usize>() <= 50);
        }
    }
}
