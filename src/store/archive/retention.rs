//! Forgetting: rows that were kept long enough are deleted in small steps, and their pages given back to the file system.
//!
//! Each topic has a row in [`KEPT`]: how long it is kept, and what deletes a few of its oldest rows. The audit has none, because
//! it is kept for good; but what somebody looked for goes when the messages go.

use super::{Archive, Lasting, audit, complaints, events, messages};
use crate::{store::StoreError, types::Timestamp};
use rusqlite::Connection;
use std::time::Duration;

/// How long what happened is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Events, messages and complaints.
    pub events: Duration,
    /// What was used on a day; the use of hours is kept for [`super::HOURS_KEPT`].
    pub usage: Duration,
}

/// A topic whose rows are forgotten.
struct Kept {
    keep: fn(&Keep) -> Duration,
    /// Deletes up to so many of the rows of before a moment; returns how many.
    cut: fn(&Connection, Timestamp, usize) -> rusqlite::Result<usize>,
}

/// Every topic that is not kept for good.
const KEPT: [Kept; 4] = [
    Kept { keep: |keep| keep.events, cut: events::cut },
    Kept { keep: |keep| keep.events, cut: |db, _, max| messages::cut_marks(db, max) },
    Kept { keep: |keep| keep.events, cut: complaints::cut },
    Kept { keep: |keep| keep.events, cut: audit::cut_looks },
];

impl Archive {
    /// One step of forgetting: a few of the oldest rows of each topic. Returns how many; none: there is nothing left to forget.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn forget(&self, keep: Keep, now: Timestamp) -> Result<usize, StoreError> {
        self.write(Lasting::Process, move |db| {
            let mut rows = 0;
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

/// Rows of one topic in one step: a few milliseconds.
const STEP_ROWS_MAX: usize = 500;
/// Pages that one step gives back.
const STEP_PAGES_MAX: i64 = 250;
/// Free pages that the file keeps for what comes next: 4 MiB.
const FREE_PAGES_MAX: i64 = if cfg!(test) { 4 } else { 1_024 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::archive::{
            AuditFilter, Batch, EventFilter, Mark, NewEntry, NewEvent, Settings, TraceFilter,
            audit::{TRACED, chain::Field},
            open,
        },
        types::{Actor, Via},
    };
    use std::sync::Arc;

    const DAY: i64 = 86_400_000;
    const KEEP: Keep = Keep { events: Duration::from_secs(30 * 86_400), usage: Duration::MAX };

    fn day(n: i64) -> Timestamp {
        Timestamp::from_millis(n * DAY)
    }

    fn message(at: Timestamp) -> NewEvent {
        NewEvent {
            at,
            name: "message",
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
    async fn what_was_looked_for_goes_and_the_look_stays() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let actor = Actor::new(Via::Api, "token 3");
        for action in [TRACED, "token-created"] {
            let mut entry = NewEntry::new(day(1), &actor, action);
            entry.subject = Some("b@there.example".into());
            archive.append_audit(entry).await.unwrap();
        }
        assert_eq!(forget_all(&archive, day(30)).await, 0);
        assert_eq!(forget_all(&archive, day(32)).await, 1);
        let entries =
            archive.audit(AuditFilter { max: 9, ..AuditFilter::default() }).await.unwrap();
        assert_eq!(entries[1].erased().collect::<Vec<_>>(), [Field::Subject]);
        assert_eq!(entries[1].value(Field::Actor), Some("token 3"));
        assert_eq!(entries[0].value(Field::Subject), Some("b@there.example"));
    }
}
