use super::*;
use crate::{
    rules::spam::{Recipient, Signal, Text},
    types::Span,
};

const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn sample(seconds: i64, points: f32) -> Sample {
    Sample {
        at: at(seconds),
        client: "192.0.2.1".into(),
        from: "a@shop.example".into(),
        subject: "hello".into(),
        recipients: 1,
        points,
        reasons: Vec::new(),
    }
}

/// What is remembered of an account after a message to three spam traps.
fn suspect(seconds: i64) -> (Mind, Common) {
    let (mut mind, mut tenant, mut common) =
        (Mind::new(at(0)), Group::default(), Common::default());
    let recipients = [Recipient { key: 7 << 16, is_trap: true }; 3];
    let attempt = Attempt {
        at: at(seconds),
        client: None,
        recipients: &recipients,
        over_limit: 0,
        is_null_sender: false,
        text: Text::default(),
    };
    let mut memory = Memory {
        account: 1,
        mind: &mut mind,
        tenant: &mut tenant,
        client: None,
        common: &mut common,
    };
    let opinion = memory.look(&attempt, &Settings::default());
    assert!(opinion.points >= 4.0 && opinion.may_suspend, "{opinion:?}");
    let answers = Answers { taken: 3, ..Answers::default() };
    memory.look_back(&attempt, &answers, &Settings::default());
    mind.note(opinion.points, || sample(seconds, opinion.points));
    (mind, common)
}

#[test]
fn whom_the_clock_lets_in_keeps_half_and_whom_a_person_lets_in_begins_anew() {
    let settings = suspension::Settings::default();
    let (mut mind, _) = suspect(0);
    let before = mind.evidence().total();
    let mut conduct = Conduct::default();
    let _ = conduct.weigh(99.0, true, at(1), &settings);
    mind.meet(&conduct, at(2));
    assert_eq!(
        (mind.evidence().total(), mind.samples().kept().len()),
        (before, 1),
        "nothing has ended"
    );
    let _ = conduct.turn(at(5 * 3_600), &settings);
    for _ in 0..2 {
        mind.meet(&conduct, at(5 * 3_600));
        let left = mind.evidence().total();
        assert!((left - before / 2.0).abs() < 0.01, "{left} of {before}, and only once");
    }
    let _ = conduct.hold(at(6 * 3_600));
    let _ = conduct.lift(at(7 * 3_600), Some(Span::from_secs(60)));
    mind.meet(&conduct, at(7 * 3_600));
    assert!(mind.evidence().is_none() && mind.samples().kept().is_empty());
}

#[test]
fn who_sends_nothing_for_long_is_forgotten_but_not_what_was_lifted() {
    let (mut mind, _) = suspect(0);
    let mut conduct = Conduct::default();
    let _ = conduct.lift(at(10), Some(Span::from_secs(60)));
    mind.meet(&conduct, at(10));
    mind.meet(&conduct, at(61 * DAY));
    assert_eq!(mind, Mind { released: Some(at(10)), ..Mind::new(at(61 * DAY)) });
}

#[test]
fn memory_survives_being_written_down() {
    let (mind, common) = suspect(5);
    let octets = postcard::to_allocvec(&mind).unwrap();
    assert_eq!(postcard::from_bytes::<Mind>(&octets).unwrap(), mind);
    assert!(octets.len() < mind.size_bytes(), "{} octets", octets.len());
    let octets = postcard::to_allocvec(&common).unwrap();
    assert_eq!(postcard::from_bytes::<Common>(&octets).unwrap(), common);
    assert!(mind.evidence().of(Signal::Traps) > 0.0);
}
