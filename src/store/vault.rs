//! The embedded store's file as a whole: what concerns it beside charges and records.

use super::{BoxFuture, StoreError};
use std::path::PathBuf;

/// Whoever holds the file of the limits.
pub trait Vault: Send + Sync {
    /// Copies the file to a new one, as it is when the copy ends, while it is used; without anything in it that was deleted.
    fn copy_to(&self, path: PathBuf) -> BoxFuture<'_, Result<(), StoreError>>;
}
