//! The embedded store's file as a whole: what concerns it beside charges and records.

use super::{BoxFuture, StoreError};
use crate::types::{SubjectId, Timestamp};
use std::path::PathBuf;

/// Somebody who was not erased, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InTheWay {
    /// Who.
    pub subject: SubjectId,
    /// What stood in the way.
    pub why: String,
}

/// Whoever holds the file of the limits.
pub trait Vault: Send + Sync {
    /// Copies the file to a new one, as it is when the copy ends, while it is used; without anything in it that was deleted.
    fn copy_to(&self, path: PathBuf) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Erases accounts, or tenants without their accounts: when this returns no octet of their records is in the file, which was written anew once for all. Their windows
    /// and suspensions stay under keyed hashes of the names until they are over, so that whoever comes back under a name finds them. Returns those in whose way
    /// something stood: mail under way, or a change that the audit does not have yet.
    ///
    /// # Errors
    /// [`StoreError`] if something cannot be written; some may be erased then.
    fn erase<'a>(
        &'a self,
        subjects: &'a [SubjectId],
    ) -> BoxFuture<'a, Result<Vec<InTheWay>, StoreError>>;

    /// Forgets some last refusals of before a moment; returns how many.
    fn forget_refusals(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// All accounts and tenants that have a window or a record; some twice.
    fn subjects_known(&self) -> Vec<SubjectId>;
}
