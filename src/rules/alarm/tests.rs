//! The alarm: tables of events and moments, and what is told of them.

use super::*;
use crate::{
    event::{
        BackendState, BreakerClosed, CertificateEnd, Charged, DiskRoom, Evidence, LimitReached,
        MessageReport, NextHopState, Outcome, Resumed, StandingChanged, StorageChanged, Suspect,
        Suspended, Trouble,
    },
    types::{ClientIp, Key, Language, Limit, ReversePath, Span, SubjectId, Unit},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000_000 + second * 1_000)
}

fn suspended() -> Event {
    Event::Suspended(Suspended {
        subject: SubjectId::Account("a@shop.example".parse().unwrap()),
        case: "TG-1".parse().unwrap(),
        reason: "spam".into(),
        actor: "op".into(),
        until: None,
    })
}

fn resumed() -> Event {
    Event::Resumed(Resumed {
        subject: SubjectId::Account("a@shop.example".parse().unwrap()),
        case: "TG-1".parse().unwrap(),
        reason: "clean".into(),
        actor: "op".into(),
    })
}

fn limit(percent: u8, account: &str) -> Event {
    Event::LimitReached(LimitReached {
        key: format!("account/r/{account}").parse::<Key>().unwrap(),
        unit: Unit::Recipients,
        limit: Limit { window: Span::from_secs(3_600), max: 50 },
        used: 40,
        percent,
    })
}

fn hop_down() -> Event {
    Event::NextHopDown(NextHopState { next_hop: "mx:25".into(), detail: "refused".into() })
}

fn hop_up() -> Event {
    Event::NextHopUp(NextHopState { next_hop: "mx:25".into(), detail: String::new() })
}

fn store_failed() -> Event {
    Event::StoreFailed(Trouble { detail: "disk".into() })
}

fn message(outcome: Outcome, recipients_sent: u32) -> MessageReport {
    MessageReport {
        session: "s".parse().unwrap(),
        transaction: "t".parse().unwrap(),
        listener: "l".into(),
        charged: Some(Charged {
            account: "a@shop.example".parse().unwrap(),
            tenant: "shop".parse().unwrap(),
            plan: "p".parse().unwrap(),
            evidence: Evidence::Auth,
            peer: None,
        }),
        client: ClientIp::new([192, 0, 2, 7].into()),
        sender: ReversePath::Null,
        recipients: Vec::new(),
        recipients_sent,
        recipients_refused: 0,
        recipients_deferred: 0,
        recipients_limited: 0,
        message_id: None,
        subject_hash: None,
        size_bytes: 1,
        outcome,
        reply: None,
        next_hop: Some("mx:25".into()),
        egress: std::sync::Arc::default(),
        next_hop_reply: Some("554 5.7.1 blocked".into()),
        began: at(0),
        lasted: Duration::ZERO,
        next_hop_took: None,
        scans: crate::event::Scans::default(),
        judgement: None,
        would_refuse: false,
    }
}

/// What the messages were of, as `kind why`.
fn told(book: &mut Book) -> Vec<String> {
    let of = |notice: &Notice| format!("{} {}", notice.alert.kind, notice.why.name());
    book.take().notices.iter().map(of).collect()
}

/// Plays events (or nothing) at moments and compares what is told at each.
#[track_caller]
fn check(steps: &[(i64, Option<Event>, &[&str])]) {
    let mut book = Book::new(at(0));
    for (second, event, expected) in steps {
        if let Some(event) = event {
            book.note(at(*second), event);
        }
        book.turn(at(*second));
        assert_eq!(told(&mut book), *expected, "at {second} s");
    }
}

#[test]
fn a_suspension_is_one_alert_until_it_is_lifted() {
    let week = 7 * 86_400;
    check(&[
        (0, Some(suspended()), &["suspended raised"]),
        (1, None, &[]),
        (week, None, &["suspended reminder"]),
        (week + 1, None, &[]),
        (week + 2, Some(resumed()), &["suspended resolved"]),
        (3 * week, None, &[]),
    ]);
}

#[test]
fn a_flagged_sender_is_told_until_it_is_calm_or_suspended_and_not_where_it_is_only_observed() {
    let became = |to, observed_only| {
        Some(Event::StandingChanged(Box::new(StandingChanged {
            who: Suspect::Subject(SubjectId::Account("a@shop.example".parse().unwrap())),
            tenant: Some("shop.example".parse().unwrap()),
            from: "active",
            to,
            until: None,
            points: 6.0,
            reasons: vec!["text scores 9.0".into()],
            observed_only,
        })))
    };
    check(&[
        (0, became("throttled", true), &[]),
        (1, became("warned", false), &["flagged raised"]),
        (2, became("throttled", false), &["flagged worse"]),
        (3, became("active", false), &["flagged resolved"]),
        (400, became("throttled", false), &["flagged raised"]),
        (401, Some(suspended()), &["flagged resolved", "suspended raised"]),
    ]);
}

#[test]
fn an_open_breaker_is_told_until_a_person_closes_it() {
    let closed = BreakerClosed { reason: "a wrong rule".into(), actor: "op".into() };
    check(&[
        (0, Some(Event::BreakerOpened), &["breaker-open raised"]),
        (1, Some(Event::BreakerOpened), &[]),
        (4 * 3_600, None, &["breaker-open reminder"]),
        (4 * 3_600 + 1, Some(Event::BreakerClosed(closed)), &["breaker-open resolved"]),
    ]);
}

#[test]
fn what_flaps_is_told_once() {
    check(&[
        (0, Some(hop_down()), &[]),
        (4, None, &[]),
        (5, None, &["next-hop-down raised"]),
        (6, Some(hop_up()), &[]),
        (60, Some(hop_down()), &[]),
        (120, Some(hop_up()), &[]),
        (179, None, &[]),
        (180, None, &["next-hop-down resolved"]),
        // Shorter than it must last, so nobody hears of it.
        (200, Some(hop_down()), &[]),
        (204, Some(hop_up()), &[]),
        (300, None, &[]),
    ]);
}

#[test]
fn a_limit_is_over_when_its_window_has_passed_twice() {
    check(&[
        (0, Some(limit(80, "a@x.example")), &["limit-near raised"]),
        (10, Some(limit(100, "a@x.example")), &["limit-reached raised"]),
        (20, Some(limit(100, "b@x.example")), &["limit-reached raised"]),
        (3_609, Some(limit(100, "a@x.example")), &[]),
        (7_199, None, &[]),
        (7_200, None, &["limit-near resolved"]),
        (7_220, None, &["limit-reached resolved"]),
        (10_808, None, &[]),
        (10_809, None, &["limit-reached resolved"]),
    ]);
}

#[test]
fn what_becomes_worse_is_told_again() {
    let disk = |free_bytes| {
        let folder = String::from("/var");
        Some(Event::DiskScarce(DiskRoom { folder, free_bytes, size_bytes: 100 }))
    };
    check(&[
        (0, disk(9), &["disk-nearly-full raised"]),
        (1, disk(8), &[]),
        (2, disk(4), &["disk-nearly-full worse"]),
        (3, disk(8), &[]),
    ]);
}

#[test]
fn ten_thousand_events_are_one_alert_and_one_end() {
    let mut book = Book::new(at(0));
    let mut notices = Vec::new();
    for n in 0..10_000 {
        book.note(at(n / 100), &store_failed());
        book.turn(at(n / 100));
        let changes = book.take();
        assert!(changes.alerts.len() <= 1);
        notices.extend(changes.notices);
    }
    let open: Vec<_> = book.open().map(|alert| (alert.kind, alert.count)).collect();
    assert_eq!(open, [(Kind::StoreFailing, 10_000)]);
    book.note(at(100), &Event::StoreRecovered);
    book.turn(at(160));
    notices.extend(book.take().notices);
    let told: Vec<_> = notices.iter().map(|notice| notice.why).collect();
    assert_eq!(told, [Why::Raised, Why::Resolved]);
    assert_eq!(notices[0].alert.id, notices[1].alert.id);
    assert_ne!(notices[0].id, notices[1].id);
    assert_eq!(book.open().count(), 0);
}

#[test]
fn customers_leave_room_for_what_concerns_the_gate() {
    let mut book = Book::new(at(0));
    for n in 0..2_000 {
        book.note(at(0), &limit(100, &format!("a{n}@x.example")));
    }
    assert_eq!(book.open().filter(|alert| alert.kind == Kind::LimitReached).count(), 900);
    assert_eq!(book.open().filter(|alert| alert.kind == Kind::TooManyAlerts).count(), 1);
    book.note(at(1), &store_failed());
    assert!(book.open().any(|alert| alert.kind == Kind::StoreFailing));
    for n in 0..2_000 {
        let next_hop = format!("mx{n}:25").into();
        let state = NextHopState { next_hop, detail: String::new() };
        book.note(at(2), &Event::NextHopDown(state));
    }
    assert_eq!(book.open().count(), ALERTS_MAX);
}

#[test]
fn after_a_restart_what_lasts_goes_on_and_a_state_of_the_process_is_doubted() {
    let mut book = Book::new(at(0));
    for event in [suspended(), hop_down(), store_failed()] {
        book.note(at(0), &event);
    }
    book.turn(at(10));
    let before = book.take();
    let ids: Vec<_> = before.alerts.iter().map(|alert| alert.id.clone()).collect();
    let mut book = Book::resume(before.alerts, at(20));
    book.turn(at(20));
    assert_eq!(told(&mut book), [""; 0]);
    assert_eq!(
        book.open().map(|alert| alert.id.clone()).collect::<BTreeSet<_>>(),
        ids.into_iter().collect()
    );
    // One of the two is seen again.
    book.note(at(30), &hop_down());
    book.turn(at(620));
    assert_eq!(told(&mut book), ["store-failing resolved"]);
    book.turn(at(9_000));
    assert_eq!(told(&mut book), [""; 0]);
    book.note(at(9_001), &resumed());
    assert_eq!(told(&mut book), ["suspended resolved"]);
}

#[test]
fn a_changed_alert_is_written_once_however_often_it_was_seen() {
    let mut book = Book::new(at(0));
    for _ in 0..5 {
        book.note(at(0), &suspended());
    }
    let changes = book.take();
    assert_eq!((changes.alerts.len(), changes.alerts[0].count), (1, 5));
    assert!(book.take().is_empty());
    book.note(at(1), &resumed());
    let changes = book.take();
    assert_eq!((changes.alerts.len(), changes.alerts[0].phase), (1, Phase::Resolved));
}

#[test]
fn an_account_is_compared_with_its_own_busiest_hour() {
    const HOUR: i64 = 3_600;
    let mut book = Book::new(at(0));
    let send = |book: &mut Book, second, recipients| {
        book.note(at(second), &Event::Message(Box::new(message(Outcome::Sent, recipients))));
        told(book).into_iter().filter(|told| told.starts_with("sudden")).count()
    };
    // The first day nothing is known, so nothing is said.
    assert_eq!(send(&mut book, 0, 20), 0);
    assert_eq!(send(&mut book, 5 * HOUR, 500), 0);
    // Eight days later only quiet hours are left.
    for hour in [30, 100, 150, 190] {
        assert_eq!(send(&mut book, hour * HOUR, 20), 0);
    }
    assert_eq!(send(&mut book, 200 * HOUR, 59), 0);
    assert_eq!(send(&mut book, 200 * HOUR + 1, 1), 1);
    assert_eq!(send(&mut book, 200 * HOUR + 2, 100), 0, "the same alert");
    // Three times next to nothing is not worth a word.
    let mut book = Book::new(at(0));
    book.remember([VolumeRow {
        account: "a@shop.example".parse().unwrap(),
        hour: at(-50 * HOUR),
        recipients: 2,
    }]);
    assert_eq!(send(&mut book, 1, 29), 0);
    assert_eq!(send(&mut book, 2, 1), 1);
}

#[test]
fn a_next_hop_that_refuses_half_of_what_it_gets_is_told() {
    let mut book = Book::new(at(0));
    let hand = |book: &mut Book, second, outcome, count| {
        for _ in 0..count {
            book.note(at(second), &Event::Message(Box::new(message(outcome, 0))));
        }
        told(book)
    };
    assert_eq!(hand(&mut book, 0, Outcome::Sent, 20), [""; 0]);
    assert_eq!(hand(&mut book, 1, Outcome::Refused, 19), [""; 0]);
    assert_eq!(hand(&mut book, 2, Outcome::Deferred, 1), ["next-hop-refusing raised"]);
    book.turn(at(2 + 900));
    assert_eq!(told(&mut book), ["next-hop-refusing resolved"]);
}

#[test]
fn a_certificate_is_critical_three_days_before_its_end() {
    for (days, severity) in [(30, "warning"), (4, "warning"), (3, "critical"), (0, "critical")] {
        let mut book = Book::new(at(0));
        let end = CertificateEnd { certificate: "c".into(), not_after: at(0), days };
        book.note(at(0), &Event::CertificateExpiring(end));
        assert_eq!(book.take().notices[0].alert.severity.name(), severity, "{days} days");
    }
}

#[test]
fn a_condition_that_must_last_does_not_fade() {
    for kind in Kind::ALL {
        let rule = kind.rule();
        assert!(rule.hold.is_zero() || rule.fades.is_none(), "{kind}");
        assert_eq!(kind.name().parse::<Kind>().unwrap(), *kind);
    }
}

#[test]
fn every_kind_is_documented_with_its_severity() {
    let page = include_str!("../../../docs/alerts.md");
    for kind in Kind::ALL {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{kind}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/alerts.md has no row on {kind}"));
        assert!(row.contains(&format!("| {} |", kind.rule().severity)), "{row}");
    }
}

#[test]
fn a_customer_reads_of_a_limit_in_the_own_language() {
    let mut book = Book::new(at(0));
    book.note(at(0), &limit(100, "a@x.example"));
    let alert = book.take().notices.remove(0).alert;
    let english = words(&alert, Language::English);
    assert_eq!(english.title, "account a@x.example has used up a sending limit");
    assert_eq!(english.text, "40 of 50 recipients in 1 h");
    let indonesian = words(&alert, Language::Indonesian);
    assert_eq!(indonesian.title, "akun a@x.example telah menghabiskan batas pengiriman");
    assert_eq!(indonesian.text, "40 dari 50 penerima dalam 1 jam");
}

fn stored(percent: u8, over: &'static str) -> Option<Event> {
    Some(Event::StorageChanged(Box::new(StorageChanged {
        subject: SubjectId::Account("a@shop.example".parse().unwrap()),
        tenant: "shop.example".parse().unwrap(),
        from: 0,
        percent,
        used_bytes: 9_700_000_000,
        max_bytes: 10_000_000_000,
        over,
    })))
}

#[test]
fn of_a_mailbox_only_the_threshold_that_it_has_reached_is_told() {
    check(&[
        (0, stored(80, "warn"), &["storage-80 raised"]),
        (10, stored(95, "warn"), &["storage-80 resolved", "storage-95 raised"]),
        (20, stored(100, "warn"), &["storage-95 resolved", "storage-100 raised"]),
        (30, stored(80, "warn"), &["storage-80 raised", "storage-100 resolved"]),
        (40, stored(0, "warn"), &["storage-80 resolved"]),
        // What is only recorded makes no alert.
        (50, stored(100, "observe"), &[]),
    ]);
}

#[test]
fn mail_storage_is_told_in_the_customers_language_with_its_numbers() {
    let mut book = Book::new(at(0));
    book.note(at(0), &stored(95, "refuse").unwrap());
    let alert = book.take().notices.remove(0).alert;
    assert_eq!(alert.tenant.as_ref().unwrap().as_str(), "shop.example");
    let english = words(&alert, Language::English);
    assert_eq!(english.title, "account a@shop.example has used 95 % of its mail storage");
    assert_eq!(english.text, "9.70 GB of 10.00 GB are used");
    let indonesian = words(&alert, Language::Indonesian);
    assert_eq!(indonesian.title, "akun a@shop.example telah memakai 95 % ruang surat");
    assert_eq!(indonesian.text, "9.70 GB dari 10.00 GB terpakai");
}

#[test]
fn a_source_of_figures_that_fails_is_one_alert() {
    let state = |detail: &str| BackendState { backend: "/var/vmail".into(), detail: detail.into() };
    let down = |detail| Some(Event::StorageSourceDown(state(detail)));
    check(&[
        (0, down("3 of 9"), &["storage-source-down raised"]),
        (10, down("9 of 9"), &[]),
        (20, Some(Event::StorageSourceUp(state(""))), &[]),
        (80, None, &["storage-source-down resolved"]),
    ]);
}
