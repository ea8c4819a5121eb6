//! How much mail mailboxes hold: Maildirs on a disk that we can read, or a Dovecot that is asked.
//!
//! Nothing here changes a mailbox, and nothing here decides: what follows from a figure is `rules::quota`'s. A source that cannot
//! be read gives no figure, never a zero. Which mailbox is an account's is said by a path template, or by the Dovecot.

mod doveadm;
mod entry;
mod maildir;
mod maildirsize;
mod survey;
mod template;

pub use doveadm::{Credential, Doveadm, DoveadmSettings};
pub use maildir::Maildirs;
pub use template::{Template, TemplateError};

use crate::{rules::quota::Usage, types::AccountId};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Where figures come from.
#[derive(Clone)]
pub enum Source {
    /// Nowhere but from whoever tells them.
    Told,
    /// Maildirs.
    Maildirs(Arc<Maildirs>),
    /// A Dovecot.
    Doveadm(Arc<Doveadm>),
}

/// What was found of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Its mailbox holds so much.
    Holds(Usage, How),
    /// It has no mailbox. `is_gone`: there certainly is none, so one that was there before is gone.
    Nothing {
        /// What is around it is there.
        is_gone: bool,
    },
    /// It cannot be said, and why.
    Failed(String),
}

/// How a figure was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// From the file that the mail server keeps.
    Maildirsize,
    /// From the Maildir itself.
    Scan,
    /// From a Dovecot.
    Doveadm,
    /// From another system.
    Told,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Maildirsize, Self::Scan, Self::Doveadm, Self::Told];

    /// The name as it stands in the API and in the archive.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Maildirsize => "maildirsize",
            Self::Scan => "maildir",
            Self::Doveadm => "doveadm",
            Self::Told => "api",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|how| how.name() == name)
    }
}

/// What was found, one account after another.
pub type Findings = mpsc::Receiver<(AccountId, Found)>;

impl Source {
    /// Its name, where it is one that can fail.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Told => None,
            Self::Maildirs(maildirs) => Some(maildirs.name()),
            Self::Doveadm(doveadm) => Some(doveadm.name()),
        }
    }

    /// The accounts whose mailboxes are there, whether or not anybody knows them.
    ///
    /// # Errors
    /// Why they cannot be listed.
    pub async fn accounts(&self) -> Result<Vec<AccountId>, String> {
        let Self::Maildirs(maildirs) = self else { return Ok(Vec::new()) };
        let maildirs = maildirs.clone();
        let listed = tokio::task::spawn_blocking(move || maildirs.accounts()).await;
        listed.unwrap_or_else(|_| Err(String::from("the folders could not be listed")))
    }

    /// Looks at these accounts, in no order; what was found comes as it is found.
    #[must_use]
    pub fn look_at(&self, accounts: Vec<AccountId>) -> Findings {
        let (found, findings) = mpsc::channel(FINDINGS_MAX);
        match self {
            Self::Told => {}
            Self::Maildirs(maildirs) => survey::start(maildirs.clone(), accounts, &found),
            Self::Doveadm(doveadm) => {
                tokio::spawn(doveadm.clone().ask_all(accounts, found));
            }
        }
        findings
    }
}

/// What was found and not taken yet.
const FINDINGS_MAX: usize = 256;
