//! How full mailboxes are, as the pages show it.

use super::{accounts::Kind, limits::Meter, texts::Texts};
use crate::{
    admin::StorageView,
    rules::quota::Fill,
    store::records::SubjectKind,
    types::{ByteCount, Scope},
};

/// A mailbox, or a tenant's mailboxes together.
pub(super) struct StorageLine {
    pub(super) name: String,
    pub(super) path: String,
    scope: Scope,
    fill: Fill,
    /// None: there is no quota, or nothing is known.
    pub(super) meter: Option<Meter>,
    /// What is used, where there is no bar.
    pub(super) used: Option<String>,
    pub(super) is_refused: bool,
    /// How many files, if that is more than a backup takes.
    pub(super) files: Option<String>,
}

impl StorageLine {
    pub(super) fn new(t: &'static Texts, view: &StorageView) -> Self {
        let words = |octets| ByteCount::new(octets).in_words();
        let kind = match view.scope {
            Scope::Tenant => SubjectKind::Tenants,
            _ => SubjectKind::Accounts,
        };
        let figures = view.used_bytes.zip(view.max_bytes);
        Self {
            name: view.name.clone(),
            path: Kind::of(kind).path(&view.name),
            scope: view.scope,
            fill: view.fill,
            meter: figures.map(|(used, max)| Meter {
                used: words(used),
                max: words(max),
                percent: percent(used, max),
            }),
            used: view.used_bytes.filter(|_| view.max_bytes.is_none()).map(words),
            is_refused: view.is_refused,
            files: view.files.filter(|_| view.has_many_files).map(|files| t.number(files)),
        }
    }

    pub(super) fn is_tenant(&self) -> bool {
        self.scope == Scope::Tenant
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.fill == Fill::Unknown
    }

    /// From 80 % on.
    pub(super) const fn is_near(&self) -> bool {
        matches!(self.fill, Fill::Near | Fill::Scarce | Fill::Over)
    }

    pub(super) fn all(t: &'static Texts, views: &[StorageView]) -> Vec<Self> {
        views.iter().map(|view| Self::new(t, view)).collect()
    }
}

/// How much is used, at most 100.
fn percent(used: u64, max: u64) -> u32 {
    let percent = (u128::from(used) * 100).checked_div(u128::from(max)).unwrap_or(100);
    u32::try_from(percent.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_only_when_the_quota_is() {
        for (used, max, expected) in [
            (0, 10, 0),
            (799, 1_000, 79),
            (999, 1_000, 99),
            (1_000, 1_000, 100),
            (u64::MAX, 1, 100),
            (0, 0, 100),
        ] {
            assert_eq!(percent(used, max), expected, "{used} of {max}");
        }
    }
}
