//! The archive on a real file: what is kept is found again, and what fails disturbs nothing else.

use super::*;
use crate::types::{AccountId, TenantId};
use std::path::Path;

fn open_in(folder: &Path) -> Archive {
    open(&Settings { path: folder.join("archive.db") }).unwrap()
}

fn event(n: i64, account: &str, name: &'static str) -> NewEvent {
    let account: AccountId = account.parse().unwrap();
    let tenant: TenantId = account.domain().unwrap().parse().unwrap();
    NewEvent {
        at: Timestamp::from_millis(n * 1_000),
        name: name.into(),
        tenant: Some(tenant),
        account: Some(account),
        body: format!("{{\"n\":{n}}}"),
        marks: Vec::new(),
    }
}

fn batch(events: Vec<NewEvent>) -> Arc<Batch> {
    Arc::new(Batch { events, ..Batch::default() })
}

async fn ids(archive: &Archive, filter: EventFilter) -> Vec<i64> {
    let filter = EventFilter { max: EVENTS_PAGE_MAX, ..filter };
    archive.events(filter).await.unwrap().iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn events_are_found_by_whose_they_are_their_name_and_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open_in(folder.path());
    archive
        .keep(batch(vec![
            event(1, "a@one.example", "message"),
            event(2, "b@one.example", "refused"),
            event(3, "c@two.example", "message"),
        ]))
        .await
        .unwrap();
    let all = EventFilter::default;
    assert_eq!(ids(&archive, all()).await, [3, 2, 1]);
    assert_eq!(ids(&archive, EventFilter { order: Order::Oldest, ..all() }).await, [1, 2, 3]);
    let tenant = Some("one.example".parse().unwrap());
    assert_eq!(ids(&archive, EventFilter { tenant, ..all() }).await, [2, 1]);
    let account = Some("c@two.example".parse().unwrap());
    assert_eq!(ids(&archive, EventFilter { account, ..all() }).await, [3]);
    let names = vec!["message".into(), "suspended".into()];
    assert_eq!(ids(&archive, EventFilter { names, ..all() }).await, [3, 1]);
    let (since, until) = (Some(Timestamp::from_millis(2_000)), Some(Timestamp::from_millis(3_000)));
    assert_eq!(ids(&archive, EventFilter { since, until, ..all() }).await, [2]);
    assert_eq!(ids(&archive, EventFilter { beyond: Some(3), ..all() }).await, [2, 1]);
    let nobody = Some("nobody.example".parse().unwrap());
    assert!(ids(&archive, EventFilter { tenant: nobody, ..all() }).await.is_empty());
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_and_ids_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open_in(folder.path());
    archive.keep(batch(vec![event(1, "a@one.example", "message")])).await.unwrap();
    archive.close().await;
    let late = archive.keep(batch(vec![event(2, "a@one.example", "message")])).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    drop(archive);
    let archive = open_in(folder.path());
    let mut watcher = archive.watch();
    archive.keep(batch(vec![event(2, "a@one.example", "refused")])).await.unwrap();
    assert_eq!(ids(&archive, EventFilter::default()).await, [2, 1]);
    let told = watcher.recv().await.unwrap();
    let stored = archive.events(EventFilter { max: 1, ..EventFilter::default() }).await.unwrap();
    assert_eq!(*told, stored[0]);
}

#[tokio::test]
async fn a_job_that_fails_changes_nothing_and_disturbs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open_in(folder.path());
    let failing = || {
        archive.write(Lasting::Power, |db| {
            events::insert(db, &MarkKey::new(&[0; 32]), &[event(1, "a@one.example", "message")])?;
            db.execute("INSERT INTO nowhere VALUES (1)", [])
        })
    };
    // Alone in its transaction, and with others.
    assert!(failing().await.is_err());
    let panicking = archive.write(Lasting::Power, |db| {
        events::insert(db, &MarkKey::new(&[0; 32]), &[event(3, "a@one.example", "message")])?;
        panic!("a job of a test panics");
        #[expect(unreachable_code, reason = "what the job would return")]
        Ok(())
    });
    let keeping = archive.keep(batch(vec![event(2, "a@one.example", "message")]));
    let (failed, panicked, kept) = tokio::join!(failing(), panicking, keeping);
    assert!(failed.is_err() && panicked.is_err());
    kept.unwrap();
    let rows = archive.events(EventFilter { max: 9, ..EventFilter::default() }).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.body.as_str()).collect::<Vec<_>>(), ["{\"n\":2}"]);
}

#[tokio::test]
async fn a_file_of_somebody_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.db");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(open(&Settings { path: path.clone() }), Err(StoreError::Damaged(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE mine (x)").unwrap();
    drop(other);
    assert!(matches!(open(&Settings { path }), Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let archive = open_in(folder.path());
    archive.keep(batch(vec![event(1, "a@one.example", "message")])).await.unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
}

// ── usage ──

mod usage {
    use super::*;
    use crate::{
        event::Suspended,
        rules::tally::{
            Counts, Minute, Seen, Share, Sketch, SuspensionChange, Tally, Top, Whose,
            calendar::{Day, Hour, Zone},
            period::Period,
        },
        store::archive::{NewOffence, Severity},
    };
    use std::time::Duration;

    fn hour(text: &str) -> Hour {
        Hour::of(text.parse().unwrap())
    }

    fn pieces(text: &str) -> crate::rules::tally::period::Pieces {
        Period::parse(text, Day::new(0)).unwrap().pieces()
    }

    fn of(tenant: &str, account: Option<&str>) -> UsageOf {
        let account = account.map(|name| name.parse().unwrap());
        UsageOf { tenant: tenant.parse().unwrap(), account }
    }

    /// A share with so many recipients, `r0`, `r1` …
    fn share(at: Hour, recipients: u32) -> Share {
        let (mut sketch, mut domains) = (Sketch::default(), Top::default());
        (0..recipients).for_each(|n| sketch.insert(n));
        domains.add("there.example", recipients.into(), 0);
        Share {
            day: Zone::UTC.day_of(at.begin()),
            counts: Counts { messages: 1, recipients: recipients.into(), ..Counts::default() },
            seen: Seen { first: at.begin(), last: at.begin() },
            recipients: sketch,
            networks: Top::default(),
            domains,
        }
    }

    async fn send(archive: &Archive, account: &str, tenant: &str, at: &str, recipients: u32) {
        let whose =
            Whose { tenant: tenant.parse().unwrap(), account: Some(account.parse().unwrap()) };
        let mut usage = Tally::default();
        usage.shares.insert((whose, hour(at)), share(hour(at), recipients));
        archive.keep(Arc::new(Batch { usage, ..Batch::default() })).await.unwrap();
    }

    async fn sum(archive: &Archive, of: UsageOf, period: &str) -> UsageSum {
        archive.usage(vec![of], pieces(period)).await.unwrap().remove(0)
    }

    #[tokio::test]
    async fn shares_add_up_by_account_tenant_day_and_month() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open_in(folder.path());
        send(&archive, "a@one.example", "one.example", "2026-09-30T23:10:00Z", 9).await;
        send(&archive, "a@one.example", "one.example", "2026-10-01T00:10:00Z", 3).await;
        send(&archive, "a@one.example", "one.example", "2026-10-01T00:20:00Z", 5).await;
        send(&archive, "b@one.example", "one.example", "2026-10-31T12:00:00Z", 4).await;
        send(&archive, "c@two.example", "two.example", "2026-10-31T12:00:00Z", 7).await;
        for (of, period, recipients, distinct) in [
            (of("one.example", None), "2026-10", 12, 5),
            (of("one.example", None), "2026-09-30..2026-10-31", 21, 9),
            (of("one.example", None), "2026-10-01", 8, 5),
            (of("one.example", Some("a@one.example")), "2026-10", 8, 5),
            (of("one.example", Some("b@one.example")), "2026-10", 4, 4),
            (of("two.example", None), "2026-10", 7, 7),
            (of("one.example", Some("c@two.example")), "2026-10", 0, 0),
            (of("nobody.example", None), "2026-10", 0, 0),
        ] {
            let sum = sum(&archive, of.clone(), period).await;
            assert_eq!(
                (sum.counts.recipients, sum.recipients.count()),
                (recipients, distinct),
                "{of:?} {period}"
            );
        }
        let accounts =
            archive.usage_of_accounts("one.example".parse().unwrap(), pieces("2026-10"), 9);
        let accounts: Vec<_> =
            accounts.await.unwrap().into_iter().map(|a| (a.account, a.counts.recipients)).collect();
        assert_eq!(accounts, [("a@one.example".to_owned(), 8), ("b@one.example".to_owned(), 4)]);
        let top = archive
            .top_senders(hour("2026-10-31T12:00:00Z"), hour("2026-10-31T13:00:00Z"), 1)
            .await
            .unwrap();
        assert_eq!(
            (top[0].account.as_str(), top[0].tenant.as_str(), top.len()),
            ("c@two.example", "two.example", 1)
        );
        assert_eq!(archive.usage_tenants("one.example".into(), 9).await.unwrap(), ["two.example"]);
        let whole = sum(&archive, of("one.example", None), "2026-10").await;
        assert_eq!(whole.domains.highest(1)[0].1.accepted, 12);
        assert_eq!(whole.seen.unwrap().first, hour("2026-10-01T00:00:00Z").begin());
    }

    #[tokio::test]
    async fn peaks_are_those_of_hours_and_of_any_24_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open_in(folder.path());
        for (account, at, recipients) in [
            ("a@one.example", "2026-10-01T20:00:00Z", 30),
            ("b@one.example", "2026-10-01T20:30:00Z", 15),
            ("a@one.example", "2026-10-02T19:00:00Z", 40),
            ("a@one.example", "2026-10-02T20:00:00Z", 41),
        ] {
            send(&archive, account, "one.example", at, recipients).await;
        }
        let whole = sum(&archive, of("one.example", None), "2026-10").await;
        let peak = |peak: Option<Peak>| peak.map(|peak| (peak.recipients, peak.hour));
        // The two accounts' hour together; 20:00 to 19:59 the next day.
        assert_eq!(peak(whole.peak_hour), Some((45, hour("2026-10-01T20:00:00Z"))));
        assert_eq!(peak(whole.peak_day), Some((85, hour("2026-10-02T19:00:00Z"))));
        let own = sum(&archive, of("one.example", Some("a@one.example")), "2026-10-02").await;
        assert_eq!(peak(own.peak_hour), Some((41, hour("2026-10-02T20:00:00Z"))));
        assert_eq!(peak(own.peak_day), Some((81, hour("2026-10-02T20:00:00Z"))));
    }

    #[tokio::test]
    async fn what_was_not_listened_to_is_no_zero() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open_in(folder.path());
        let minute = |seconds, lost| Minute {
            collected: Duration::from_secs(seconds),
            lost,
            ..Minute::default()
        };
        let first = hour("2026-10-01T00:00:00Z");
        let minutes = |at: i64, seconds, lost| {
            let mut usage = Tally::default();
            usage.minutes.insert(first.number() * 60 + at, minute(seconds, lost));
            archive.keep(Arc::new(Batch { usage, ..Batch::default() }))
        };
        for (at, seconds, lost) in [(0, 40, 0), (0, 20, 0), (1, 30, 2), (125, 60, 0)] {
            minutes(at, seconds, lost).await.unwrap();
        }
        let end = Hour::new(first.number() + 3);
        let coverage = archive.coverage(first, end).await.unwrap();
        let seconds: Vec<_> = coverage
            .hours
            .into_iter()
            .map(|(h, c)| (h.number() - first.number(), c.as_secs()))
            .collect();
        assert_eq!((seconds, coverage.lost), (vec![(0, 90), (2, 60)], 2));
        let traffic = archive.traffic(first.number() * 60, end.number() * 60).await.unwrap();
        assert_eq!(traffic.len(), 3);
    }

    #[tokio::test]
    async fn suspensions_are_a_tenants_and_its_accounts() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open_in(folder.path());
        send(&archive, "a@one.example", "mall", "2026-10-01T20:00:00Z", 1).await;
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let began = |text: &str, subject, case: &str| SuspensionChange::Began {
            at: at(text),
            suspended: Suspended {
                subject,
                case: case.parse().unwrap(),
                reason: "spam".into(),
                actor: "op".into(),
                until: None,
            },
        };
        let account = crate::types::SubjectId::Account("a@one.example".parse().unwrap());
        let tenant = crate::types::SubjectId::Tenant("mall".parse().unwrap());
        let other = crate::types::SubjectId::Account("x@other.example".parse().unwrap());
        let usage = Tally {
            suspensions: vec![
                began("2026-10-02T00:00:00Z", account.clone(), "TG-0000-0001"),
                began("2026-10-03T00:00:00Z", tenant, "TG-0000-0002"),
                began("2026-10-04T00:00:00Z", other, "TG-0000-0003"),
                began("2026-10-05T00:00:00Z", account, "TG-0000-0004"),
                SuspensionChange::Ended {
                    at: at("2026-10-02T06:00:00Z"),
                    case: "TG-0000-0001".parse().unwrap(),
                    actor: "bob".into(),
                },
            ],
            ..Tally::default()
        };
        // The account is another tenant's in between, and what comes of it then is not for this one.
        let moved = |case: &str, tenant: &str| NewOffence {
            at: at("2026-10-02T00:00:00Z"),
            tenant: tenant.parse().unwrap(),
            account: Some("a@one.example".parse().unwrap()),
            severity: Severity::Minor,
            kind: "suspended".into(),
            case: Some(case.into()),
            detail: String::new(),
        };
        let offences = vec![moved("TG-0000-0001", "mall"), moved("TG-0000-0004", "other")];
        archive.keep(Arc::new(Batch { usage, offences, ..Batch::default() })).await.unwrap();
        let others = archive
            .suspensions(
                "other".parse().unwrap(),
                at("2026-10-01T00:00:00Z"),
                at("2026-11-01T00:00:00Z"),
                9,
            )
            .await
            .unwrap();
        assert_eq!(
            others.iter().map(|row| row.case.as_str()).collect::<Vec<_>>(),
            ["TG-0000-0004"]
        );
        for (from, until, cases) in [
            ("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z", &["TG-0000-0002", "TG-0000-0001"][..]),
            ("2026-10-05T00:00:00Z", "2026-11-01T00:00:00Z", &["TG-0000-0002"]),
            ("2026-09-01T00:00:00Z", "2026-10-02T00:00:00Z", &[]),
        ] {
            let rows =
                archive.suspensions("mall".parse().unwrap(), at(from), at(until), 9).await.unwrap();
            assert_eq!(
                rows.iter().map(|row| row.case.as_str()).collect::<Vec<_>>(),
                cases,
                "{from}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_old_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open_in(folder.path());
        send(&archive, "a@one.example", "one.example", "2025-01-10T00:00:00Z", 5).await;
        send(&archive, "a@one.example", "one.example", "2026-10-10T00:00:00Z", 7).await;
        let before = Day::of("2025-06-01".parse().unwrap());
        let gone = archive.forget_usage(hour("2026-10-01T00:00:00Z"), before).await.unwrap();
        assert!(gone > 0);
        assert_eq!(archive.forget_usage(hour("2026-10-01T00:00:00Z"), before).await.unwrap(), 0);
        let whole = of("one.example", None);
        assert_eq!(sum(&archive, whole.clone(), "2025").await, UsageSum::default());
        assert_eq!(sum(&archive, whole.clone(), "2026").await.counts.recipients, 7);
        let hours = archive.usage_by_hour(
            whole,
            hour("2025-01-01T00:00:00Z"),
            hour("2027-01-01T00:00:00Z"),
        );
        assert_eq!(hours.await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn the_key_of_recipients_stays() {
        let folder = tempfile::tempdir().unwrap();
        let address = "b@there.example".parse().unwrap();
        let archive = open_in(folder.path());
        let hash = archive.recipient_key().await.unwrap().hash(&address);
        archive.close().await;
        let again = open_in(folder.path()).recipient_key().await.unwrap();
        assert_eq!(again.hash(&address), hash);
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(open_in(elsewhere.path()).recipient_key().await.unwrap().hash(&address), hash);
    }
}
