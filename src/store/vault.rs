//! The embedded store's file as a whole: what concerns it beside charges and records.

use super::{BoxFuture, StoreError};
use crate::types::{SubjectId, Timestamp};
use std::path::PathBuf;

/// Whoever holds the file of the limits.
pub trait Vault: Send + Sync {
    /// Copies the file to a new one, as it is when the copy ends, while it is used; without anything in it that was deleted.
    fn copy_to(&self, path: PathBuf) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Erases an account, or a tenant without its accounts: when this returns no octet of its record is in the file. Its windows and its suspension stay under a keyed hash
    /// of the name until they are over, so that whoever comes back under the name finds them.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while mail of it is under way.
    fn erase<'a>(&'a self, subject: &'a SubjectId) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Forgets some last refusals of before a moment; returns how many.
    fn forget_refusals(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// All accounts and tenants that have a window or a record; some twice.
    fn subjects_known(&self) -> Vec<SubjectId>;
}
