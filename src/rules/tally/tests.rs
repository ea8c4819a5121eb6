//! The book against counts made one by one.

use super::*;
use crate::{
    event::Evidence,
    types::{Key, Limit, PeerName, ReversePath, Unit},
};
use proptest::prelude::*;
use std::collections::{BTreeSet, HashSet};

const BEGIN: &str = "2026-10-31T22:00:00Z";

fn book() -> Book {
    Book::new(RecipientKey::new(b"secret"), "Asia/Jakarta".parse().unwrap())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn charged(account: &str) -> Charged {
    let account: AccountId = account.parse().unwrap();
    Charged {
        tenant: account.domain().unwrap().parse().unwrap(),
        account,
        plan: "p".parse().unwrap(),
        evidence: Evidence::Auth,
        peer: None::<PeerName>,
    }
}

fn message(account: &str, outcome: Outcome, codes: &[(&str, u16)]) -> MessageReport {
    let recipients = codes.iter().map(|&(address, code)| RecipientReport {
        address: address.parse().unwrap(),
        code,
        by: AnswerBy::NextHop,
    });
    let count = |wanted: fn(u16) -> bool| {
        u32::try_from(codes.iter().filter(|(_, code)| wanted(*code)).count()).unwrap()
    };
    let taken = count(|code| code < 400);
    let sent = matches!(outcome, Outcome::Sent | Outcome::Unknown);
    let back = |of| if outcome == of { taken } else { 0 };
    MessageReport {
        session: "s1".parse().unwrap(),
        transaction: "s1.1".parse().unwrap(),
        listener: "submission".into(),
        charged: Some(charged(account)),
        client: "192.0.2.7".parse().unwrap(),
        sender: ReversePath::Null,
        message_id: None,
        subject_hash: None,
        recipients: recipients.collect(),
        recipients_sent: if sent { taken } else { 0 },
        recipients_refused: count(|code| code >= 500) + back(Outcome::Refused),
        recipients_deferred: count(|code| (400..500).contains(&code)) + back(Outcome::Deferred),
        recipients_limited: 0,
        size_bytes: 1_000,
        outcome,
        reply: None,
        next_hop: None,
        egress: std::sync::Arc::default(),
        next_hop_reply: None,
        began: at(BEGIN),
        lasted: Duration::ZERO,
        next_hop_took: None,
        scans: crate::event::Scans::default(),
        judgement: None,
        would_refuse: false,
    }
}

fn refusal(reason: RefusalReason, limit: Option<(&str, u64)>, recipients: u32) -> Refusal {
    let hit = |(key, seconds): (&str, u64)| LimitHit {
        key: key.parse().unwrap(),
        limit: Limit { window: Span::from_secs(seconds), max: 50 },
        used: 50,
        next_slot: None,
    };
    Refusal {
        session: "s1".parse().unwrap(),
        transaction: None,
        charged: Some(charged("a@shop.example")),
        client: "192.0.2.7".parse().unwrap(),
        sender: ReversePath::Null,
        reason,
        recipients,
        reply: "450 4.7.1 no".into(),
        limit: limit.map(hit),
        observed_only: false,
    }
}

fn only_share(book: &mut Book) -> Share {
    let shares = book.take().shares;
    assert_eq!(shares.len(), 1, "{shares:?}");
    shares.into_values().next().unwrap()
}

#[test]
fn a_message_counts_by_what_became_of_each_recipient() {
    let mut book = book();
    let codes = [
        ("b@one.example", 250),
        ("c@Two.example", 250),
        ("d@two.example", 550),
        ("e@x.example", 451),
    ];
    let report = message("a@shop.example", Outcome::Sent, &codes);
    book.note(at("2026-10-31T22:10:00Z"), &Event::Message(Box::new(report)));
    let share = only_share(&mut book);
    assert_eq!(
        share.counts,
        Counts {
            messages: 1,
            recipients: 2,
            deferred: 1,
            bounced: 1,
            bytes: 1_000,
            ..Counts::default()
        }
    );
    // 22:10 in UTC is the first of November in Jakarta.
    assert_eq!(share.day.to_string(), "2026-11-01");
    assert_eq!(share.recipients.count(), 2);
    let domains: Vec<_> =
        share.domains.highest(9).iter().map(|(name, p)| (*name, p.accepted, p.failed)).collect();
    assert_eq!(domains, [("two.example", 1, 1), ("one.example", 1, 0), ("x.example", 0, 1)]);
    assert_eq!(share.networks.highest(9)[0].0, "192.0.2.0/24");
}

/// What one event adds.
fn check(event: &Event, expected: Counts) {
    let mut book = book();
    book.note(at(BEGIN), event);
    assert_eq!(only_share(&mut book).counts, expected, "{event:?}");
}

#[test]
fn each_refusal_has_its_column() {
    let zero = Counts::default;
    let refused =
        |reason, limit, recipients| Event::Refused(Box::new(refusal(reason, limit, recipients)));
    let limit = RefusalReason::Limit;
    check(
        &refused(limit, Some(("account/r/a@shop.example", 3_600)), 3),
        Counts { over_hour: 3, ..zero() },
    );
    check(
        &refused(limit, Some(("tenant/r/shop.example", 3_600)), 0),
        Counts { over_hour: 1, ..zero() },
    );
    check(
        &refused(limit, Some(("tenant/r/shop.example", 86_400)), 2),
        Counts { over_day: 2, ..zero() },
    );
    check(
        &refused(limit, Some(("client-ip/r/192.0.2.7", 86_400)), 2),
        Counts { over_client: 2, ..zero() },
    );
    check(&refused(limit, Some(("peer/r/web01", 3_600)), 2), Counts { refused_other: 2, ..zero() });
    check(&refused(RefusalReason::Suspended, None, 0), Counts { suspended: 1, ..zero() });
    check(&refused(RefusalReason::Size, None, 4), Counts { refused_other: 4, ..zero() });
    let observed = Refusal { observed_only: true, ..refusal(limit, None, 5) };
    check(&Event::Refused(Box::new(observed)), Counts { observed: 5, ..zero() });
}

#[test]
fn what_the_client_gave_up_counts_only_what_the_next_hop_refused() {
    let codes = [("b@one.example", 250), ("d@two.example", 550)];
    let report = message("a@shop.example", Outcome::Abandoned, &codes);
    check(&Event::Message(Box::new(report)), Counts { bounced: 1, ..Counts::default() });
    let mut book = book();
    let report = message("a@shop.example", Outcome::Abandoned, &codes[..1]);
    book.note(at(BEGIN), &Event::Message(Box::new(report)));
    assert!(book.take().shares.is_empty(), "nothing happened");
}

#[test]
fn nothing_is_kept_under_a_name_that_a_client_invents() {
    let mut book = book();
    for reason in
        [RefusalReason::UnknownAccount, RefusalReason::NewAccounts, RefusalReason::NotRelaying]
    {
        book.note(at(BEGIN), &Event::Refused(Box::new(refusal(reason, None, 1))));
    }
    let tally = book.take();
    assert!(tally.shares.is_empty() && tally.reasons.keys().all(|(_, whose, _)| whose.is_none()));
    assert_eq!(tally.reasons.values().sum::<u64>(), 3);
    assert_eq!(tally.minutes.values().map(|minute| minute.refused).sum::<u64>(), 3);
}

fn reached(key: Key) -> Event {
    let limit = Limit { window: Span::from_secs(3_600), max: 50 };
    Event::LimitReached(LimitReached { key, unit: Unit::Recipients, limit, used: 40, percent: 80 })
}

#[test]
fn an_accounts_warning_waits_for_the_tenant_that_its_message_names() {
    let mut book = book();
    let key = |subject| Key::of_subject(&subject, Unit::Recipients);
    book.note(at(BEGIN), &reached(key(SubjectId::Tenant("mall".parse().unwrap()))));
    book.note(at(BEGIN), &reached(key(SubjectId::Account("a@shop.example".parse().unwrap()))));
    let shares = book.take().shares;
    let (whose, _) = shares.keys().next().unwrap();
    assert_eq!((whose.tenant.as_str(), &whose.account, shares.len()), ("mall", &None, 1));
    let mut report = message("a@shop.example", Outcome::Sent, &[("b@one.example", 250)]);
    report.charged.as_mut().unwrap().tenant = "mall".parse().unwrap();
    book.note(at(BEGIN), &Event::Message(Box::new(report)));
    let shares = book.take().shares;
    let ((whose, _), share) = shares.iter().next().unwrap();
    assert_eq!((whose.tenant.as_str(), share.counts.warnings, shares.len()), ("mall", 1, 1));
}

#[test]
fn standings_count_as_they_get_worse_and_have_consequences() {
    let mut book = book();
    let changed = |from, to, observed_only| {
        let account = SubjectId::Account("a@shop.example".parse().unwrap());
        Event::StandingChanged(Box::new(StandingChanged {
            who: Suspect::Subject(account),
            tenant: Some("shop.example".parse().unwrap()),
            from,
            to,
            until: None,
            points: 5.0,
            reasons: Vec::new(),
            observed_only,
        }))
    };
    for (from, to, observed_only) in [
        ("active", "warned", false),
        ("warned", "throttled", false),
        ("throttled", "warned", false),
        ("warned", "active", false),
        ("active", "throttled", false),
        ("active", "throttled", true),
        ("throttled", "suspended", false),
    ] {
        book.note(at(BEGIN), &changed(from, to, observed_only));
    }
    let shares = book.take().shares;
    let ((whose, _), share) = shares.iter().next().unwrap();
    assert_eq!(whose.account.as_ref().unwrap().as_str(), "a@shop.example");
    assert_eq!((share.counts.flagged, share.counts.throttled, shares.len()), (2, 2, 1));
}

#[test]
fn only_what_was_listened_to_is_covered() {
    let mut book = book();
    book.cover(at("2026-10-31T22:01:30Z"), Duration::from_secs(100));
    book.cover(at("2026-10-31T22:05:10Z"), Duration::from_secs(10));
    let lost = crate::event::EventsLost { count: 7 };
    book.note(at("2026-10-31T22:05:11Z"), &Event::EventsLost(lost));
    let first = at(BEGIN).as_millis() / MINUTE_MILLIS;
    let covered: Vec<_> = book
        .take()
        .minutes
        .into_iter()
        .map(|(at, m)| (at - first, m.collected.as_secs(), m.lost))
        .collect();
    assert_eq!(covered, [(-1, 10, 0), (0, 60, 0), (1, 30, 0), (5, 10, 7)]);
}

/// An event with what it should add, drawn at random.
#[derive(Debug, Clone)]
struct Drawn {
    account: usize,
    minutes: i64,
    outcome: Outcome,
    codes: Vec<(usize, u16)>,
}

const ACCOUNTS: [&str; 3] = ["a@shop.example", "b@shop.example", "c@mall.example"];

fn drawn() -> impl Strategy<Value = Drawn> {
    let outcomes =
        [Outcome::Sent, Outcome::Refused, Outcome::Deferred, Outcome::Unknown, Outcome::Abandoned];
    let code = prop::sample::select(vec![250_u16, 250, 251, 450, 452, 550, 553]);
    let codes = prop::collection::vec((0..40_usize, code), 1..6);
    (0..3_usize, 0..300_i64, prop::sample::select(outcomes.to_vec()), codes)
        .prop_map(|(account, minutes, outcome, codes)| Drawn { account, minutes, outcome, codes })
}

proptest! {
    /// However the events are cut into tallies, the sums are those of counting each by itself.
    #[test]
    fn tallies_add_up_to_a_naive_count(events in prop::collection::vec(drawn(), 0..60), cuts in prop::collection::vec(any::<bool>(), 60)) {
        let mut book = book();
        let mut sums: BTreeMap<(Whose, Hour), Share> = BTreeMap::new();
        let mut minutes = Minute::default();
        let mut absorb = |tally: Tally| {
            for (place, share) in tally.shares {
                match sums.get_mut(&place) {
                    Some(known) => known.merge(&share),
                    None => drop(sums.insert(place, share)),
                }
            }
            for minute in tally.minutes.values() {
                minutes.messages += minute.messages;
                minutes.accepted += minute.accepted;
            }
        };
        for (event, cut) in events.iter().zip(&cuts) {
            let names: Vec<String> = event.codes.iter().map(|(n, _)| format!("r{n}@d{}.example", n % 5)).collect();
            let codes: Vec<(&str, u16)> =
                names.iter().zip(&event.codes).map(|(name, &(_, code))| (name.as_str(), code)).collect();
            let report = message(ACCOUNTS[event.account], event.outcome, &codes);
            let moment = at(BEGIN) + Duration::from_secs(60 * u64::try_from(event.minutes).unwrap());
            book.note(moment, &Event::Message(Box::new(report)));
            if *cut {
                absorb(book.take());
            }
        }
        absorb(book.take());

        for (account, name) in ACCOUNTS.iter().enumerate() {
            let own: Vec<&Drawn> = events.iter().filter(|event| event.account == account).collect();
            let is_sent = |event: &&&Drawn| matches!(event.outcome, Outcome::Sent | Outcome::Unknown);
            let good = |event: &&Drawn| event.codes.iter().filter(|(_, code)| *code < 400).count();
            let sent: usize = own.iter().filter(is_sent).map(good).sum();
            let bad = |event: &&Drawn, class: u16| event.codes.iter().filter(|(_, code)| code / 100 == class).count();
            let back = |outcome| -> usize { own.iter().filter(|e| e.outcome == outcome).map(good).sum() };
            let bounced: usize = own.iter().map(|e| bad(e, 5)).sum::<usize>() + back(Outcome::Refused);
            let deferred: usize = own.iter().map(|e| bad(e, 4)).sum::<usize>() + back(Outcome::Deferred);
            let distinct: HashSet<usize> = own.iter().filter(is_sent)
                .flat_map(|e| e.codes.iter().filter(|(_, code)| *code < 400).map(|(n, _)| *n)).collect();
            let mut counted = Counts::default();
            let mut recipients = Sketch::default();
            for ((whose, _), share) in &sums {
                if whose.account.as_ref().is_some_and(|known| known.as_str() == *name) {
                    counted.add(&share.counts);
                    recipients.merge(&share.recipients);
                }
            }
            let number = |n: usize| u64::try_from(n).unwrap();
            prop_assert_eq!(counted.messages, number(own.iter().filter(is_sent).count()));
            prop_assert_eq!(
                (counted.recipients, counted.bounced, counted.deferred, recipients.count()),
                (number(sent), number(bounced), number(deferred), number(distinct.len()))
            );
        }
        let total: u64 = sums.values().map(|share| share.counts.recipients).sum();
        prop_assert_eq!((minutes.accepted, minutes.messages), (total, sums.values().map(|s| s.counts.messages).sum()));
        let hours: BTreeSet<Hour> = sums.keys().map(|(_, hour)| *hour).collect();
        prop_assert!(hours.iter().all(|hour| (0..5).contains(&(hour.number() - Hour::of(at(BEGIN)).number()))));
    }
}
