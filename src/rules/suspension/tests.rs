use super::*;
use crate::{rules::spam::Evidence, types::SubjectId};
use proptest::prelude::*;

const HOUR: i64 = 3_600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn settings() -> Settings {
    Settings::default()
}

/// What happens to a sender, and when.
#[derive(Debug, Clone, Copy)]
enum Step {
    Points(f32),
    PointsWhileOpen(f32),
    Time,
    Lift,
    Hold,
    Cancel,
}

fn take(conduct: &mut Conduct, step: Step, seconds: i64) {
    let (now, settings) = (at(seconds), settings());
    match step {
        Step::Points(points) => drop(conduct.weigh(points, true, now, &settings)),
        Step::PointsWhileOpen(points) => drop(conduct.weigh(points, false, now, &settings)),
        Step::Time => drop(conduct.turn(now, &settings)),
        Step::Lift => drop(conduct.lift(now, Some(settings.probation))),
        Step::Hold => drop(conduct.hold(now)),
        Step::Cancel => drop(conduct.cancel(now)),
    }
}

/// The standings after each step, in a word each, with what is left of the limits.
fn check(steps: &[(i64, Step)], expected: &[(&str, u32)]) {
    let mut conduct = Conduct::new(at(0));
    let mut found = Vec::new();
    for &(seconds, step) in steps {
        take(&mut conduct, step, seconds);
        found.push((conduct.standing().name(), conduct.percent(at(seconds), &settings())));
    }
    assert_eq!(found, expected, "{steps:?}");
}

#[test]
fn points_lead_up_and_calm_leads_down() {
    check(
        &[
            (0, Step::Points(4.9)),
            (1, Step::Points(5.0)),
            (2, Step::Points(6.0)),
            (3, Step::Points(5.0)),
            (4, Step::Points(0.0)),
            (6 * HOUR + 3, Step::Points(0.0)),
            (7 * HOUR, Step::Points(8.0)),
            (7 * HOUR + 1, Step::Points(0.0)),
        ],
        &[
            ("active", 100),
            ("warned", 100),
            ("throttled", 20),
            ("throttled", 20),
            ("throttled", 20),
            ("active", 100),
            ("suspended", 0),
            ("suspended", 0),
        ],
    );
}

#[test]
fn suspensions_lift_by_themselves_twice_a_week_and_then_wait_for_a_person() {
    check(
        &[
            (0, Step::Points(9.0)),
            (4 * HOUR - 1, Step::Time),
            (4 * HOUR, Step::Time),
            (28 * HOUR, Step::Time),
            (29 * HOUR, Step::Points(9.0)),
            (40 * HOUR, Step::Time),
            (41 * HOUR, Step::Points(9.0)),
            (400 * HOUR, Step::Time),
            (401 * HOUR, Step::Lift),
            (402 * HOUR, Step::Points(9.0)),
        ],
        &[
            ("suspended", 0),
            ("suspended", 0),
            ("active", 50),
            ("active", 100),
            ("suspended", 0),
            ("active", 50),
            ("held", 0),
            ("held", 0),
            ("active", 50),
            ("suspended", 0),
        ],
    );
}

#[test]
fn old_lifts_are_forgiven() {
    let day = 24 * HOUR;
    check(
        &[
            (0, Step::Points(9.0)),
            (day, Step::Time),
            (day, Step::Points(9.0)),
            (2 * day, Step::Time),
            (9 * day, Step::Points(9.0)),
        ],
        &[("suspended", 0), ("active", 50), ("suspended", 0), ("active", 50), ("suspended", 0)],
    );
}

#[test]
fn while_the_breaker_is_open_senders_are_throttled() {
    check(
        &[(0, Step::PointsWhileOpen(50.0)), (1, Step::Points(50.0))],
        &[("throttled", 20), ("suspended", 0)],
    );
}

#[test]
fn only_a_person_cancels_and_only_a_person_undoes_it() {
    check(
        &[
            (0, Step::Cancel),
            (1, Step::Hold),
            (9 * HOUR, Step::Time),
            (10 * HOUR, Step::Points(0.0)),
            (11 * HOUR, Step::Lift),
        ],
        &[("cancelled", 0), ("cancelled", 0), ("cancelled", 0), ("cancelled", 0), ("active", 50)],
    );
}

#[test]
fn observed_standings_change_nothing() {
    let settings = Settings { mode: Mode::Observe, ..settings() };
    let mut conduct = Conduct::new(at(0));
    let change = conduct.weigh(9.0, true, at(0), &settings).unwrap();
    assert_eq!((change.from.name(), change.to.name()), ("active", "suspended"));
    assert_eq!(conduct.percent(at(1), &settings), 100);
}

#[test]
fn a_group_is_throttled_when_three_of_its_accounts_are_in() {
    let settings = settings();
    let mut group = Group::default();
    assert_eq!(group.count(1, at(0), &settings), None);
    assert_eq!(group.count(1, at(1), &settings), None, "the same account again");
    assert_eq!(group.count(2, at(2), &settings), None);
    let eight_days = 8 * 24 * HOUR;
    let mut late = group.clone();
    assert_eq!(late.count(3, at(eight_days), &settings), None, "the others are long ago");
    let change = group.count(3, at(3), &settings).unwrap();
    assert_eq!(change.to.name(), "throttled");
    for account in 4..200 {
        let _ = group.count(account, at(4), &settings);
        assert!(!group.conduct.standing().is_shut(), "a group is never suspended by itself");
    }
}

fn sample(points: f32) -> Sample {
    Sample {
        at: at(0),
        client: "192.0.2.1".into(),
        from: "é".repeat(300),
        subject: "short".into(),
        recipients: 1,
        points,
        reasons: Vec::new(),
    }
}

#[test]
fn a_sample_is_shortened_between_letters() {
    let sample = sample(1.0).shortened();
    assert_eq!((sample.from.len(), sample.subject.as_str()), (200, "short"));
}

#[test]
fn a_case_has_the_first_messages_since_something_speaks_against_the_sender() {
    let mut samples = Samples::default();
    for points in [9.0, 0.0].into_iter().chain((1..20_u16).map(f32::from)) {
        samples.note(points, || sample(points));
    }
    let subject = SubjectId::Account("a@shop.example".parse().unwrap());
    let case = Case::open("TG-1".parse().unwrap(), subject, &Evidence::default(), &samples, at(9));
    let points: Vec<f32> = case.samples.iter().map(|sample| sample.points).collect();
    assert_eq!(points, (1..=10_u16).map(f32::from).collect::<Vec<f32>>());
    assert_eq!((case.opened, case.points), (at(9), 0.0));
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0.0_f32..12.0).prop_map(Step::Points),
        (0.0_f32..12.0).prop_map(Step::PointsWhileOpen),
        Just(Step::Time),
        Just(Step::Lift),
        Just(Step::Hold),
        Just(Step::Cancel),
    ]
}

proptest! {
    /// No machine cancels or undoes what a person decided, and no suspension lifts before its time.
    #[test]
    fn what_a_person_decided_stays(steps in prop::collection::vec((0..50 * HOUR, any_step()), 0..60)) {
        let (mut conduct, mut now) = (Conduct::new(at(0)), 0);
        for (pause, step) in steps {
            let before = conduct.standing();
            now += pause;
            take(&mut conduct, step, now);
            let after = conduct.standing();
            let by_person = matches!(step, Step::Lift | Step::Hold | Step::Cancel);
            if !by_person {
                prop_assert!(before == after || before < Standing::Held, "{before:?} {step:?} {after:?}");
                prop_assert!(after != Standing::Cancelled || before == Standing::Cancelled);
            }
            if let (Standing::Suspended { until }, false) = (before, by_person) {
                prop_assert!(after.is_shut() || at(now) >= until);
            }
            if let (Step::PointsWhileOpen(_), false) = (step, before.is_shut()) {
                prop_assert!(!after.is_shut());
            }
            prop_assert!(conduct.lifts.len() <= LIFTS_MAX);
            let stored = serde_json::to_string(&conduct).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Conduct>(&stored).unwrap(), &conduct);
        }
    }
}
