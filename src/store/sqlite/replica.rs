//! Records that several nodes share, as this node keeps them: taken over change by change, and read as if they were its own.
//!
//! A takeover is one transaction of the writer, with the revision that it brings the records to, so that after any crash the
//! next one goes on where the last one ended. What the audit is told of it waits as changes of this node's own do. A change that
//! is made here and nowhere else forgets the revision: from then on these records are those of no other node.

use super::{SqliteStore, heard, queue::TakeoverTask};
use crate::{
    store::{
        StoreError,
        disguise::{Disguise, KEY_BYTES},
        outbox::Changed,
        records::{Recorded, Revision},
    },
    types::SubjectId,
};
use std::collections::HashSet;
use tokio::sync::oneshot;

/// What is taken over at once.
#[derive(Debug, Default)]
pub(in crate::store) struct Takeover {
    /// Records as they are now; of several of one subject the last counts.
    pub(in crate::store) records: Vec<Recorded>,
    /// What the audit will be told, in its order.
    pub(in crate::store) changes: Vec<Changed>,
    /// What the records have in them afterwards; none while they are a mixture.
    pub(in crate::store) revision: Option<Revision>,
    /// What names of erased accounts are made with from now on; none: with what they were.
    pub(in crate::store) erasure_key: Option<[u8; KEY_BYTES]>,
}

impl SqliteStore {
    /// What the file's records had in them when it was opened; none if they were never shared, or are a mixture.
    pub(in crate::store) fn revision_at_start(&self) -> Option<Revision> {
        self.shared.revision_at_start
    }

    /// Takes records over, durably.
    pub(in crate::store) async fn take_over(
        &self,
        mut takeover: Takeover,
    ) -> Result<(), StoreError> {
        let given = takeover.records.iter().flat_map(|(_, record)| &record.overrides);
        given.for_each(|given| self.shared.windows.keep_for(given.window.length()));
        for changed in &mut takeover.changes {
            changed.number = self.shared.outbox.next_number()?;
        }
        let (done, written) = oneshot::channel();
        self.shared.queue.push_takeover(TakeoverTask { takeover, done })?;
        heard(written.await)
    }

    /// What names of erased accounts are made with.
    pub(in crate::store) fn erasure_key(&self) -> Result<[u8; KEY_BYTES], StoreError> {
        let disguise = self.shared.subjects.disguise();
        let none = || StoreError::Damaged("there is no key of erased names".into());
        disguise.map(Disguise::key).ok_or_else(none)
    }

    /// Makes names of erased accounts with the key that other nodes have; false if there are names of another one here.
    pub(in crate::store) async fn adopt_erasure_key(
        &self,
        key: [u8; KEY_BYTES],
    ) -> Result<bool, StoreError> {
        let shared = &self.shared;
        if shared.subjects.may_have_erased() || shared.windows.may_have_erased() {
            return Ok(false);
        }
        self.take_over(Takeover { erasure_key: Some(key), ..Takeover::default() }).await?;
        // Both tables have the same.
        shared.subjects.disguise().inspect(|disguise| disguise.set_key(&key));
        Ok(true)
    }

    /// Fails if there is no room for one more record.
    pub(in crate::store) fn check_room(&self, subject: &SubjectId) -> Result<(), StoreError> {
        self.shared.subjects.check_room(subject)
    }

    /// All that are recorded and not among these.
    pub(in crate::store) fn recorded_beside(&self, these: &HashSet<SubjectId>) -> Vec<Recorded> {
        self.shared.subjects.beside(these)
    }
}
