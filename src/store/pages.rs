//! All windows of a ledger, some at a time.

use super::{StoreError, Whose, ledger::Ledger};
use crate::types::{Key, Scope};

/// A walk through the keys of a ledger: scope by scope, sorted within one.
pub(super) struct KeyPages<'l> {
    ledger: &'l dyn Ledger,
    /// The scopes that are left, the present one first.
    scopes: &'static [Scope],
    after: Option<Key>,
    page: usize,
}

impl<'l> KeyPages<'l> {
    /// From the beginning, at most so many at a time.
    pub(super) const fn of(ledger: &'l dyn Ledger, page: usize) -> Self {
        Self { ledger, scopes: &Scope::ALL, after: None, page }
    }

    /// From behind this one.
    pub(super) fn after(self, key: Key) -> Self {
        let is_scope = |scope: &Scope| *scope == key.parts().scope;
        let at = Scope::ALL.iter().position(is_scope).unwrap_or(0);
        Self { scopes: &Scope::ALL[at..], after: Some(key), ..self }
    }

    /// The next ones, at least one; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Key>>, StoreError> {
        while let Some((&scope, rest)) = self.scopes.split_first() {
            let after = self.after.as_ref();
            let keys = self.ledger.keys(scope, Whose::All, after, self.page).await?;
            self.after = keys.last().cloned();
            if !keys.is_empty() {
                return Ok(Some(keys));
            }
            self.scopes = rest;
        }
        Ok(None)
    }
}
