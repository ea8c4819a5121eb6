//! From the records to the audit: each change that was made is taken over in its order, once, and then leaves the records' file.
//!
//! The records keep a change until it is cut here, and the audit knows it by its key; so a crash between the two files leaves
//! nothing out and doubles nothing. While the archive cannot be written, changes wait where they are.

use crate::{
    clock::Clock,
    event::Events,
    store::{
        Changed, StoreError,
        archive::{Archive, audit::audited},
        records::{Records, Task},
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

/// What takes changes over.
pub struct Auditor {
    /// Where they come from.
    pub records: Arc<dyn Records>,
    /// Where they go.
    pub archive: Archive,
    /// The present moment.
    pub clock: Clock,
    /// Who is told of each new entry.
    pub events: Events,
    /// The newest change that this node put on its way to all nodes.
    pub posted: AtomicI64,
}

impl Auditor {
    /// Takes changes over as they are made.
    pub async fn run(self) {
        let mut failing = false;
        loop {
            match self.take_over().await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "changes wait for the audit");
                    }
                    tokio::time::sleep(RETRY_EVERY).await;
                }
            }
        }
    }

    /// Takes over what waits; waits for something if there is nothing.
    async fn take_over(&self) -> Result<(), StoreError> {
        let changes = self.records.changes_waiting(CHANGES_MAX).await?;
        let Some(last) = changes.last().map(|changed| changed.number) else { return Ok(()) };
        if self.archive.is_shared() {
            return self.wait_for(changes, last).await;
        }
        for (action, head) in self.archive.append_changes(changes).await? {
            self.events.tell(self.clock.now(), &audited(&action, head));
        }
        self.records.cut_changes(last).await
    }

    /// Where all nodes have the same changes, one of them puts them on their way into the audit of all; the others wait until they
    /// have come.
    async fn wait_for(&self, changes: Vec<Changed>, last: i64) -> Result<(), StoreError> {
        let without = self.archive.without_entries(changes).await?;
        let Some(newest) = without.last().map(|changed| changed.number) else {
            return self.records.cut_changes(last).await;
        };
        let is_posted = self.posted.load(Relaxed) == newest;
        if !is_posted && self.records.leads(Task::TellChanges).await? {
            self.archive.post_changes(without).await?;
            self.posted.store(newest, Relaxed);
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}

/// How often it is looked whether changes have come.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Changes in one transaction.
const CHANGES_MAX: usize = 200;
const RETRY_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{
            archive::{AuditFilter, Settings, open},
            memory::MemoryStore,
            records::{Change, What},
        },
        types::{Actor, SubjectId, Timestamp},
    };
    use std::path::Path;

    async fn change(records: &MemoryStore, account: &str, what: What) {
        let subject = SubjectId::Account(account.parse().unwrap());
        let (reason, actor) = ("asked".into(), Actor::automatic("test"));
        let change = Change { subject, what, reason, evidence: None, actor };
        records.change(change, Timestamp::EPOCH).await.unwrap();
    }

    fn auditor(records: &Arc<MemoryStore>, folder: &Path) -> Auditor {
        Auditor {
            records: records.clone(),
            archive: open(&Settings { path: folder.join("archive.db") }).unwrap(),
            clock: Clock::start(Timestamp::EPOCH),
            events: Events::default(),
            posted: AtomicI64::new(0),
        }
    }

    async fn actions(auditor: &Auditor) -> Vec<String> {
        let entries =
            auditor.archive.audit(AuditFilter { max: 500, ..AuditFilter::default() }).await;
        entries.unwrap().into_iter().rev().map(|entry| entry.link.action).collect()
    }

    #[tokio::test]
    async fn a_change_that_was_taken_over_but_not_cut_is_not_doubled() {
        let folder = tempfile::tempdir().unwrap();
        let records = Arc::new(MemoryStore::new(Duration::ZERO, Duration::ZERO));
        let auditor = auditor(&records, folder.path());
        change(&records, "a@shop.example", What::Register).await;
        change(&records, "a@shop.example", What::suspend("TG-1".parse().unwrap())).await;
        // As a crash between the two files leaves it.
        let waiting = records.changes_waiting(9).await.unwrap();
        auditor.archive.append_changes(waiting).await.unwrap();
        change(&records, "a@shop.example", What::resume()).await;
        auditor.take_over().await.unwrap();
        assert_eq!(actions(&auditor).await, ["registered", "suspended", "resumed"]);
        let nothing = tokio::time::timeout(Duration::from_millis(50), auditor.take_over()).await;
        assert!(nothing.is_err(), "changes were left behind");
    }

    #[tokio::test]
    async fn changes_wait_while_the_archive_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let records = Arc::new(MemoryStore::new(Duration::ZERO, Duration::ZERO));
        change(&records, "a@shop.example", What::Register).await;
        let closed = auditor(&records, folder.path());
        closed.archive.close().await;
        closed.take_over().await.unwrap_err();
        let again = auditor(&records, folder.path());
        again.take_over().await.unwrap();
        assert_eq!(actions(&again).await, ["registered"]);
    }
}
