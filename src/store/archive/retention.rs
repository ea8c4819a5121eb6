//! Forgetting: rows that were kept long enough are deleted in small steps, and their pages given back to the file system.
//!
//! Each topic has a row in [`KEPT`]: how long it is kept, and what deletes a few of its oldest rows. The audit has none, because
//! it is kept for good; but what somebody looked for goes when the messages go.

use super::{
    Archive, Lasting, alerts, backups, complaints, events, memory, offences, storage, tokens, usage,
};
use crate::{rules::spam::FORGOTTEN_AFTER, store::StoreError, types::Timestamp};
use rusqlite::Connection;
use std::time::Duration;

/// How long what happened is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Events, messages, complaints, and alerts that are over.
    pub events: Duration,
    /// What was used on a day; the use of hours is kept for [`super::HOURS_KEPT`].
    pub usage: Duration,
    /// The values of the audit; its entries are kept for good.
    pub audit: Duration,
    /// Offences.
    pub offences: Duration,
}

/// A topic whose rows are forgotten.
struct Kept {
    keep: fn(&Keep) -> Duration,
    /// Deletes up to so many of the rows of before a moment; returns how many.
    cut: fn(&Connection, Timestamp, usize) -> rusqlite::Result<usize>,
}

/// Every topic that is not kept for good.
const KEPT: [Kept; 9] = [
    Kept { keep: |keep| keep.events, cut: events::cut },
    Kept { keep: |keep| keep.events, cut: alerts::cut },
    Kept { keep: |_| LETTERS_KEPT, cut: usage::cut_letters },
    Kept { keep: |keep| keep.events, cut: complaints::cut },
    Kept { keep: |keep| keep.usage, cut: storage::cut },
    Kept { keep: |_| FORGOTTEN_AFTER, cut: memory::cut },
    Kept { keep: |_| Duration::ZERO, cut: backups::cut },
    Kept { keep: |keep| keep.offences, cut: offences::cut },
    Kept { keep: |keep| keep.events, cut: tokens::cut_ended },
];

impl Archive {
    /// One step of forgetting: a few of the oldest rows of each topic. Returns how many; none: there is nothing left to forget.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn forget(&self, keep: Keep, now: Timestamp) -> Result<usize, StoreError> {
        self.write(Lasting::Process, move |db| {
            let mut rows = 0;
            rows += super::stream::cut(db, now - ORIGINS_KEPT)?;
            for topic in &KEPT {
                rows += (topic.cut)(db, now - (topic.keep)(&keep), STEP_ROWS_MAX)?;
            }
            Ok(rows)
        })
        .await
    }

    /// Gives some of the free pages back to the file system. Returns how many octets; none: there are few enough.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn give_back(&self) -> Result<u64, StoreError> {
        self.write(Lasting::Process, |db| {
            let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let pages = (number("freelist_count")? - FREE_PAGES_MAX).clamp(0, STEP_PAGES_MAX);
            if pages == 0 {
                return Ok(0);
            }
            let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut steps = statement.query([])?;
            while steps.next()?.is_some() {}
            Ok(u64::try_from(pages * number("page_size")?).unwrap_or(0))
        })
        .await
    }
}

/// How long it is known that a report was sent: far longer than its period can be asked for.
const LETTERS_KEPT: Duration = Duration::from_secs(60 * 86_400);
/// Rows of one topic in one step: a few milliseconds.
const STEP_ROWS_MAX: usize = 500;
/// Pages that one step gives back.
const STEP_PAGES_MAX: i64 = 250;
/// Free pages that the file keeps for what comes next: 4 MiB.
const FREE_PAGES_MAX: i64 = if cfg!(test) { 4 } else { 1_024 };

/// How long a run of a node that is over is remembered, and what was missed.
const ORIGINS_KEPT: Duration = Duration::from_secs(400 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Event, Trouble},
        rules::alarm::{Book, Phase},
        store::archive::{
            AlertFilter, AuditFilter, Batch, EventFilter, HoldRow, Mark, NewEntry, NewEvent,
            Settings, TraceFilter,
            audit::{TRACED, chain::Field},
            open,
        },
        types::{Actor, SubjectId, TenantId, Via},
    };
    use std::sync::Arc;

    const DAY: i64 = 86_400_000;
    const KEEP: Keep = Keep {
        events: Duration::from_secs(30 * 86_400),
        usage: Duration::MAX,
        audit: Duration::MAX,
        offences: Duration::MAX,
    };

    fn day(n: i64) -> Timestamp {
        Timestamp::from_millis(n * DAY)
    }

    fn message(at: Timestamp) -> NewEvent {
        NewEvent {
            at,
            name: "message".into(),
            tenant: None,
            account: None,
            body: "x".repeat(500),
            marks: vec![Mark::Recipient("b@there.example".parse().unwrap())],
        }
    }

    async fn forget_all(archive: &Archive, now: Timestamp) -> usize {
        let mut rows = 0;
        loop {
            match archive.forget(KEEP, now).await.unwrap() {
                0 => return rows,
                some => rows += some,
            }
        }
    }

    #[tokio::test]
    async fn what_is_held_stays_until_it_is_released_and_goes_then() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let of = |tenant: &str, account: &str| NewEvent {
            tenant: Some(tenant.parse().unwrap()),
            account: Some(account.parse().unwrap()),
            ..message(day(0))
        };
        let events = vec![
            of("a.example", "held@a.example"),
            of("a.example", "free@a.example"),
            of("b.example", "one@b.example"),
            message(day(0)),
        ];
        archive.keep(Arc::new(Batch { events, ..Batch::default() })).await.unwrap();
        let actor = Actor::new(Via::ControlSocket, "desk");
        let entry = |subject: &SubjectId| {
            let mut entry = NewEntry::new(day(0), &actor, "held");
            match subject {
                SubjectId::Account(account) => entry.account = Some(account.clone()),
                SubjectId::Tenant(tenant) => entry.tenant = Some(tenant.clone()),
            }
            NewEntry { subject: Some(subject.to_string()), ..entry }
        };
        let held = [
            SubjectId::Account("held@a.example".parse().unwrap()),
            SubjectId::Tenant("b.example".parse().unwrap()),
        ];
        for subject in &held {
            let (reason, actor) = ("a court".to_owned(), "desk".to_owned());
            let hold = HoldRow { subject: subject.clone(), at: day(0), reason, actor };
            archive.hold(hold, entry(subject)).await.unwrap();
        }
        // The two that nobody holds, with a mark each.
        assert_eq!(forget_all(&archive, day(40)).await, 4);
        let left = async || {
            let filter = EventFilter { max: 9, ..EventFilter::default() };
            let rows = archive.events(filter).await.unwrap();
            let mut accounts: Vec<_> = rows.into_iter().filter_map(|row| row.account).collect();
            accounts.sort();
            accounts
        };
        assert_eq!(left().await, ["held@a.example", "one@b.example"]);
        let (entries, _) = archive.forget_values(day(40), day(40)).await.unwrap();
        assert_eq!(entries, 0, "nor what the audit has of them");
        for subject in &held {
            archive.release(subject.clone(), entry(subject)).await.unwrap();
        }
        assert_eq!(forget_all(&archive, day(40)).await, 4);
        assert!(left().await.is_empty());
        let (entries, _) = archive.forget_values(day(40), day(40)).await.unwrap();
        assert_eq!(entries, 4);
    }

    #[tokio::test]
    async fn what_is_old_goes_with_its_marks_and_gives_its_room_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.db");
        let archive = open(&Settings { path: path.clone() }).unwrap();
        let events = (0..3_000).map(|n| message(day(n / 100))).collect();
        archive.keep(Arc::new(Batch { events, ..Batch::default() })).await.unwrap();
        assert_eq!(forget_all(&archive, day(30)).await, 0);
        // Days 0 to 9 are more than 30 days ago.
        assert_eq!(forget_all(&archive, day(40)).await, 2_000);
        let filter =
            EventFilter { max: 500, order: super::super::Order::Oldest, ..EventFilter::default() };
        let oldest = archive.events(filter).await.unwrap().remove(0);
        assert_eq!((oldest.at, oldest.id), (day(10), 1_001));
        let marks = vec![Mark::Recipient("b@there.example".parse().unwrap())];
        let filter =
            TraceFilter { marks, names: vec!["message"], max: 1, ..TraceFilter::default() };
        assert_eq!(archive.trace(filter).await.unwrap()[0].id, 3_000);
        let mut octets = 0;
        while let Some(more) = Some(archive.give_back().await.unwrap()).filter(|more| *more > 0) {
            octets += more;
        }
        assert!(octets > 300_000, "{octets}");
        // All of it, and then new events have new numbers.
        assert_eq!(forget_all(&archive, day(400)).await, 4_000);
        archive
            .keep(Arc::new(Batch { events: vec![message(day(400))], ..Batch::default() }))
            .await
            .unwrap();
        let left = archive.events(EventFilter { max: 9, ..EventFilter::default() }).await.unwrap();
        assert_eq!(left.iter().map(|row| row.id).collect::<Vec<_>>(), [3_001]);
    }

    #[tokio::test]
    async fn an_event_of_a_clock_that_was_ahead_holds_no_marks_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let mut many = message(day(2));
        many.marks = (0..3_000)
            .map(|n| Mark::Recipient(format!("b{n}@there.example").parse().unwrap()))
            .collect();
        let events = vec![message(day(300)), message(day(1)), many, message(day(90))];
        archive.keep(Arc::new(Batch { events, ..Batch::default() })).await.unwrap();
        assert_eq!(forget_all(&archive, day(40)).await, 2 + 3_001);
        let left = "SELECT count(*), count(DISTINCT event) FROM marks";
        let left = archive.read(move |db| {
            db.query_row(left, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        });
        assert_eq!(left.await.unwrap(), (2, 2));
    }

    #[tokio::test]
    async fn alerts_that_are_over_and_letters_of_long_ago_go() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let mut book = Book::new(day(1));
        let panicked = || Event::TaskPanicked(Trouble { detail: "x".into() });
        book.note(day(1), &panicked());
        book.turn(day(2));
        book.note(day(3), &panicked());
        let alarm = book.take();
        archive.keep(Arc::new(Batch { alarm, ..Batch::default() })).await.unwrap();
        let tenant = || "shop.example".parse::<TenantId>().unwrap();
        let period = |week: i64| format!("week {week}");
        for week in [1, 9] {
            let at = day(7 * week);
            assert!(archive.begin_letter(tenant(), period(week), at).await.unwrap());
            assert!(!archive.begin_letter(tenant(), period(week), at).await.unwrap());
        }
        assert_eq!(forget_all(&archive, day(32)).await, 0);
        // The alert that still lasts stays, however old it is.
        assert_eq!(forget_all(&archive, day(68)).await, 2);
        let all = AlertFilter { max: 9, ..AlertFilter::default() };
        let phases: Vec<Phase> =
            archive.alerts(all).await.unwrap().iter().map(|row| row.alert.phase).collect();
        assert_eq!(phases, [Phase::Firing]);
        assert!(!archive.has_letter(tenant(), period(1)).await.unwrap());
        assert!(archive.has_letter(tenant(), period(9)).await.unwrap());
    }

    #[tokio::test]
    async fn what_was_looked_for_goes_and_the_look_stays() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let actor = Actor::new(Via::Api, "token 3");
        for action in [TRACED, "token-created"] {
            let mut entry = NewEntry::new(day(1), &actor, action);
            entry.subject = Some("b@there.example".into());
            archive.append_audit(entry).await.unwrap();
        }
        assert_eq!(archive.forget_looks(day(1), day(31)).await.unwrap(), (0, vec![]));
        let (looks, told) = archive.forget_looks(day(2), day(32)).await.unwrap();
        assert_eq!((looks, told[0].number), (1, 3));
        let mut entries =
            archive.audit(AuditFilter { max: 9, ..AuditFilter::default() }).await.unwrap();
        assert_eq!(entries.remove(0).value(Field::After), Some("1:subject"));
        assert!(archive.verify_audit(Vec::new()).await.unwrap().broken.is_none());
        assert_eq!(entries[1].erased().collect::<Vec<_>>(), [Field::Subject]);
        assert_eq!(entries[1].value(Field::Actor), Some("token 3"));
        assert_eq!(entries[0].value(Field::Subject), Some("b@there.example"));
    }
}
