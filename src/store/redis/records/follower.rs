//! Brings a node's copy of the records up to date: change by change, or by reading all of them anew where some cannot be had any more.
//!
//! One task does all of it, and waits for more on a connection of its own. Each change names the one before it, so a
//! history that is another than the copy's is found at once: Redis was set back, or what was told was cut before this node
//! heard it. A Redis without any records gets those of the first node that finds it so.

use super::{
    Inner, NOT_READ,
    calls::{self, Entry, Lease, Part},
    draw,
};
use crate::{
    clock,
    store::{
        StoreError,
        records::{Recorded, Revision, SubjectRecord},
        redis::link::{self, Ear},
        sqlite::Takeover,
    },
};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// What is to be done about the copy.
#[derive(Debug, PartialEq, Eq)]
enum Course {
    Rest,
    /// These changes follow from it.
    Take,
    /// They do not: all records are read.
    ReadAll,
    /// There are none.
    Restore,
}

/// Decides by what the copy has in it, the last change in Redis, and the links of those that come after the copy's.
fn decide(
    copy: Option<Revision>,
    head: Option<Revision>,
    mut links: impl Iterator<Item = (Revision, Revision)>,
) -> Course {
    match (copy, head) {
        (_, None) => Course::Restore,
        (Some(copy), Some(head)) if copy == head => Course::Rest,
        (Some(copy), Some(_)) => {
            let mut last = copy;
            let is_next = |(before, revision)| std::mem::replace(&mut last, revision) == before;
            if links.all(is_next) && last != copy { Course::Take } else { Course::ReadAll }
        }
        (None, Some(_)) => Course::ReadAll,
    }
}

impl Inner {
    /// Follows for ever; what fails is tried again.
    pub(super) async fn run_follower(self: Arc<Self>) {
        let mut failures = 0_u32;
        loop {
            let began = clock::steady_now();
            let Err(error) = self.follow().await;
            let lasted = clock::steady_now().saturating_duration_since(began);
            failures = if lasted > LISTEN_TIME { 0 } else { failures.saturating_add(1) };
            let before = self.failure.lock().replace(error.to_string());
            let was_well = before.is_none_or(|before| before == NOT_READ);
            if was_well {
                tracing::error!(%error, "the records in Redis cannot be followed");
            }
            tokio::select! {
                () = tokio::time::sleep(link::backoff(failures)) => {}
                () = self.more.notified() => {}
            }
        }
    }

    async fn follow(&self) -> Result<std::convert::Infallible, StoreError> {
        let mut ear = self.shared.servers.ear(&self.shared.records_at, LISTEN_TIME).await?;
        self.agree_on_key().await?;
        loop {
            self.come_up().await?;
            let heard = self.listen(&mut ear);
            tokio::pin!(heard);
            loop {
                tokio::select! {
                    heard = &mut heard => break heard?,
                    () = self.more.notified() => self.come_up().await?,
                }
            }
        }
    }

    /// Ends when there is a change after the copy's, or nothing was heard for a while.
    async fn listen(&self, ear: &mut Ear) -> Result<(), StoreError> {
        let number = self.revision()?.number;
        ear.listen(&self.names.changes, number).await
    }

    /// Brings the copy to where Redis is.
    async fn come_up(&self) -> Result<(), StoreError> {
        while self.take_step().await? != Course::Rest {}
        *self.failure.lock() = None;
        Ok(())
    }

    async fn take_step(&self) -> Result<Course, StoreError> {
        let copy = *self.revision.borrow();
        let (head, entries) = self.read_changes(copy).await?;
        let links = entries.iter().map(|entry| (entry.before, entry.revision));
        let course = decide(copy, head, links);
        if matches!(course, Course::ReadAll | Course::Restore) {
            // It may be another Redis than before, or an empty one.
            self.agree_on_key().await?;
        }
        match course {
            Course::Rest => {}
            Course::Take => self.take(entries).await?,
            Course::ReadAll => self.read_all(copy, head).await?,
            Course::Restore => self.restore(copy).await?,
        }
        Ok(course)
    }

    /// The last change that Redis has.
    pub(super) async fn read_head(&self) -> Result<Option<Revision>, StoreError> {
        Ok(self.read_changes(None).await?.0)
    }

    async fn read_changes(
        &self,
        copy: Option<Revision>,
    ) -> Result<(Option<Revision>, Vec<Entry>), StoreError> {
        let (names, after) = (&self.names, copy.map_or(i64::MAX, |revision| revision.number));
        let read = self.call(async |redis| calls::read_changes(redis, names, after).await);
        let (head, entries) = read.await?;
        let head = head.map(|text| text.parse()).transpose()?;
        Ok((head, entries.into_iter().map(Entry::read).collect::<Result<_, _>>()?))
    }

    async fn take(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let revision = entries.last().map(|entry| entry.revision);
        let (records, changes) =
            entries.into_iter().map(|entry| (entry.recorded, entry.changed)).unzip();
        self.take_over(Takeover { records, changes, revision, ..Takeover::default() }).await
    }

    /// Puts records into the copy. What is read is never said to be newer than it is.
    async fn take_over(&self, takeover: Takeover) -> Result<(), StoreError> {
        let revision = takeover.revision;
        self.copy.take_over(takeover).await?;
        self.revision.send_replace(revision);
        Ok(())
    }

    /// Reads all records. Changes that are made meanwhile are in the stream behind `head`, and are taken over again afterwards.
    async fn read_all(
        &self,
        copy: Option<Revision>,
        head: Option<Revision>,
    ) -> Result<(), StoreError> {
        self.take_over(Takeover::default()).await?;
        let server = self.shared.servers.known(&self.shared.records_at);
        let (mut seen, mut cursor) = (HashSet::new(), 0);
        loop {
            let names = &self.names;
            let some = self.call(async |redis| calls::scan(redis, names, cursor).await);
            let (next, some) = some.await?;
            let records = some.into_iter().map(calls::recorded);
            let records = records.collect::<Result<Vec<Recorded>, _>>()?;
            seen.extend(records.iter().map(|(subject, _)| subject.clone()));
            self.take_over(Takeover { records, ..Takeover::default() }).await?;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        // A cursor means nothing to another server, so some may have been left out.
        if server != self.shared.servers.known(&self.shared.records_at) {
            let why = "the records went to another server of the Cluster while they were read";
            return Err(StoreError::Unavailable(why.into()));
        }
        let mut records = self.copy.recorded_beside(&seen);
        let (kept, dropped) = (seen.len(), records.len());
        records.iter_mut().for_each(|(_, record)| *record = Arc::new(SubjectRecord::default()));
        self.take_over(Takeover { records, revision: head, ..Takeover::default() }).await?;
        tell_of_reading(copy.zip(head), (kept, dropped));
        Ok(())
    }

    /// Writes the copy into a Redis that has no records, if no other node is doing so.
    async fn restore(&self, copy: Option<Revision>) -> Result<(), StoreError> {
        let others =
            || StoreError::Unavailable("another node writes the records into Redis".into());
        let lease = self.leads(calls::RESTORE).await?.ok_or_else(others)?;
        let records = self.copy.recorded_beside(&HashSet::new());
        let number = copy.map_or(0, |revision| revision.number) + 1;
        let revision = Revision { number, mark: draw()? };
        self.write_part(&lease, Part::Begin).await?;
        for some in records.chunks(calls::ENTRIES_MAX) {
            self.write_part(&lease, Part::Some(some)).await?;
        }
        self.write_part(&lease, Part::End(revision)).await?;
        tracing::warn!(
            records = records.len(),
            "Redis had no records of accounts and tenants, and has those of this node now"
        );
        self.take_over(Takeover { revision: Some(revision), ..Takeover::default() }).await
    }

    async fn write_part(&self, lease: &Lease, part: Part<'_>) -> Result<(), StoreError> {
        let scripts = (&self.scripts, &self.names);
        let written = self.call(async |redis| calls::restore(redis, scripts, lease, part).await);
        let others = || StoreError::Unavailable("another node has written records".into());
        if written.await? { Ok(()) } else { Err(others()) }
    }
}

/// Says what it means that all records had to be read.
fn tell_of_reading(copy_and_head: Option<(Revision, Revision)>, (kept, dropped): (usize, usize)) {
    match copy_and_head {
        Some((copy, head)) if head.number <= copy.number => tracing::warn!(
            records = kept,
            "Redis has lost changes of records that this node knew; all were read anew"
        ),
        Some((copy, head)) => tracing::warn!(
            records = kept,
            missed = head.number - copy.number,
            "changes of records were not heard in time; all were read anew, and the audit may lack some"
        ),
        None => tracing::info!(records = kept, dropped, "the records were read from Redis"),
    }
}

/// How long a node waits for a change before it looks by itself.
const LISTEN_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_taken_over_only_where_each_follows_the_one_before() {
        let at = |number, mark| Revision { number, mark };
        let (old, new) = (at(7, 1), at(9, 3));
        let whole = [(at(7, 1), at(8, 2)), (at(8, 2), at(9, 3))];
        let other = [(at(7, 4), at(8, 2)), (at(8, 2), at(9, 3))];
        for (copy, head, links, expected) in [
            (Some(old), Some(new), &whole[..], Course::Take),
            // Some of what follows is enough; the rest comes with the next answer.
            (Some(old), Some(new), &whole[..1], Course::Take),
            (Some(new), Some(new), &[], Course::Rest),
            (Some(old), Some(new), &[], Course::ReadAll),
            (Some(old), Some(new), &whole[1..], Course::ReadAll),
            (Some(old), Some(new), &other, Course::ReadAll),
            (Some(old), Some(new), &[whole[0], other[0]], Course::ReadAll),
            // The server was set back, and has come as far again with other changes.
            (Some(at(9, 2)), Some(new), &[], Course::ReadAll),
            (Some(at(11, 5)), Some(new), &[], Course::ReadAll),
            (None, Some(new), &[], Course::ReadAll),
            (Some(old), None, &[], Course::Restore),
            (None, None, &[], Course::Restore),
        ] {
            let decided = decide(copy, head, links.iter().copied());
            assert_eq!(decided, expected, "{copy:?} {head:?} {links:?}");
        }
    }
}
