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

/// Up to where all nodes have read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpTo {
    /// Entries of the stream of events.
    pub events: i64,
    /// Changes of records.
    pub changes: i64,
}

/// Whoever holds the file of the limits.
pub trait Vault: Send + Sync {
    /// Copies the file to a new one, as it is when the copy ends, while it is used; without anything in it that was deleted.
    fn copy_to(&self, path: PathBuf) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Erases accounts, or tenants without their accounts: when this returns no octet of their records is in the file, which was written anew once for all. Their windows
    /// and suspensions stay under keyed hashes of the names until they are over, so that whoever comes back under a name finds them. Where nodes share them it is what they share, and not their own files. Returns those in whose way
    /// something stood: mail under way, or a change that the audit does not have yet.
    ///
    /// # Errors
    /// [`StoreError`] if something cannot be written; some may be erased then.
    fn erase<'a>(
        &'a self,
        subjects: &'a [SubjectId],
    ) -> BoxFuture<'a, Result<Vec<InTheWay>, StoreError>>;

    /// Erases them from this node's own file, where several nodes share what [`erase`](Self::erase) takes them out of and each has a copy of it; elsewhere it is the
    /// same.
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    fn erase_here<'a>(
        &'a self,
        subjects: &'a [SubjectId],
    ) -> BoxFuture<'a, Result<Vec<InTheWay>, StoreError>> {
        self.erase(subjects)
    }

    /// True of those who were erased at all nodes, whether or not this one did its part.
    fn knows_erased(&self, _subject: &SubjectId) -> bool {
        false
    }

    /// Cuts what nodes that share records told one another up to some entries; does nothing where none do.
    ///
    /// # Errors
    /// [`StoreError`] if Redis does not answer.
    fn cut_told(&self, _up_to: UpTo) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    /// Forgets some last refusals of before a moment; returns how many.
    fn forget_refusals(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// All accounts and tenants that have a window or a record; some twice.
    fn subjects_known(&self) -> Vec<SubjectId>;
}
