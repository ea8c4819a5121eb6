//! Blocklists: what of ours is on which, which of them can be believed, and asking now.
//!
//! What is told is what the watcher saw last; nothing is asked by looking.

use super::{Admin, AdminError};
use crate::{
    rules::blocklist::{Kind, Severity, Subject},
    store::BoxFuture,
    types::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use utoipa::ToSchema;

/// Who looks at blocklists.
pub trait Lookout: Send + Sync {
    /// What was seen last.
    fn status(&self) -> ListingsView;

    /// Asks all lists that can be asked about a subject. None: too many ask at a time.
    fn check(&self, subject: Subject) -> BoxFuture<'_, Option<Vec<CheckedList>>>;
}

/// The matrix of what is watched and the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListingsView {
    /// When this was true.
    pub at: Timestamp,
    /// The resolvers that are asked.
    pub resolvers: Vec<String>,
    /// True if these are the system's, because none were configured.
    pub resolvers_of_system: bool,
    /// False if no list is answered: then the resolvers are the trouble, and not the lists.
    pub resolvers_answer: bool,
    /// The lists that are asked.
    pub lists: Vec<ListView>,
    /// What is watched.
    pub subjects: Vec<SubjectListings>,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListView {
    /// Its name.
    pub list: String,
    /// Where it is asked; `<key>` stands for its key.
    pub zone: String,
    /// What it holds: `ipv4`, `ipv6`, `domain`.
    #[schema(value_type = Vec<String>)]
    pub kinds: Vec<Kind>,
    /// `well`, `impaired`, `untested`.
    pub health: ListHealth,
    /// Why it is impaired.
    pub detail: Option<String>,
    /// When it was tested last.
    pub tested: Option<Timestamp>,
    /// Until when it is left alone, because it refused to answer.
    pub rests_until: Option<Timestamp>,
    /// How often it was asked about itself and about what is watched since the program started.
    pub queries: u64,
    /// What it is asked about: `own`, `clients`, `links`.
    #[serde(default)]
    pub uses: Vec<ListUse>,
    /// How often it was asked about clients and domains of messages since the program started; most answers come from memory.
    #[serde(default)]
    pub lookups: u64,
    /// How many of these it listed.
    #[serde(default)]
    pub lookups_listed: u64,
    /// How many of these had no answer that says anything.
    #[serde(default)]
    pub lookups_unanswered: u64,
    /// Under which terms it may be asked.
    pub terms: String,
}

/// What a list is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ListUse {
    /// Addresses and domains of ours.
    Own,
    /// Clients that log in.
    Clients,
    /// Domains in messages: of links, and of senders.
    Links,
}

impl ListUse {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Clients => "clients",
            Self::Links => "links",
        }
    }

    /// What it is in full.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Own => "our addresses and domains",
            Self::Clients => "clients that log in",
            Self::Links => "domains in messages",
        }
    }
}

/// Whether a list can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ListHealth {
    /// Its test entries are right.
    Well,
    /// They are not, or cannot be looked up: all its rows are unknown.
    Impaired,
    /// It was not tested yet.
    Untested,
}

/// An address or domain that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SubjectListings {
    /// The address or domain.
    pub subject: String,
    /// What is known of it on each list that holds its kind.
    pub rows: Vec<ListingView>,
}

/// A subject on a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListingView {
    /// The list.
    pub list: String,
    /// `listed`, `clean` or `unknown`.
    pub state: RowState,
    /// What was believed before it became unknown.
    pub before: Option<RowState>,
    /// Since when it is listed or clean, or was before it became unknown.
    pub since: Option<Timestamp>,
    /// How much the listing matters: `info`, `warning`, `critical`.
    #[schema(value_type = Option<String>)]
    pub severity: Option<Severity>,
    /// The codes of the listing.
    #[schema(value_type = Vec<String>)]
    pub codes: Vec<Ipv4Addr>,
    /// What they mean.
    pub meaning: Option<String>,
    /// What the list says to people.
    pub reason: Option<String>,
    /// Beside the codes stood an answer that is none.
    pub degraded: bool,
    /// When it was asked last.
    pub checked: Option<Timestamp>,
    /// Why it is unknown.
    pub unknown: Option<String>,
    /// A check said otherwise, and another one must agree first: `listed` or `clean`.
    pub pending: Option<RowState>,
}

/// What is known of a subject on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RowState {
    /// It is on the list.
    Listed,
    /// It is not.
    Clean,
    /// That cannot be said.
    Unknown,
}

impl RowState {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Clean => "clean",
            Self::Unknown => "unknown",
        }
    }
}

impl ListHealth {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Impaired => "impaired",
            Self::Untested => "untested",
        }
    }
}

/// What was found by asking now. One answer is no listing yet that anything follows from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckView {
    /// When.
    pub at: Timestamp,
    /// The address or domain.
    pub subject: String,
    /// What each list said.
    pub lists: Vec<CheckedList>,
}

/// What a list said now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckedList {
    /// The list.
    pub list: String,
    /// `listed`, `clean` or `unknown`.
    pub state: RowState,
    /// How much it matters.
    #[schema(value_type = Option<String>)]
    pub severity: Option<Severity>,
    /// The codes.
    #[schema(value_type = Vec<String>)]
    pub codes: Vec<Ipv4Addr>,
    /// What they mean.
    pub meaning: Option<String>,
    /// Why it is unknown.
    pub unknown: Option<String>,
}

/// The matrix.
#[must_use]
pub fn listings(admin: &Admin) -> ListingsView {
    ListingsView { at: admin.utc(), ..admin.lookout.status() }
}

/// The row of one subject that is watched.
///
/// # Errors
/// [`AdminError::NotFound`] if it is not watched, [`AdminError::Invalid`] if it is none.
pub fn listings_of(admin: &Admin, subject: &str) -> Result<SubjectListings, AdminError> {
    let wanted = parse(subject)?.to_string();
    let found = admin.lookout.status().subjects.into_iter().find(|known| known.subject == wanted);
    found.ok_or_else(|| AdminError::NotFound(format!("{wanted} is not watched")))
}

/// Asks all lists about a subject now, watched or not.
///
/// # Errors
/// [`AdminError::Invalid`] if it is none, or no list is asked that holds its kind; [`AdminError::Conflict`] if too many ask.
pub async fn check_listings(admin: &Admin, subject: &str) -> Result<CheckView, AdminError> {
    let subject = parse(subject)?;
    let shown = subject.to_string();
    let lists = admin.lookout.check(subject).await;
    let lists =
        lists.ok_or_else(|| AdminError::Conflict("too many ask now; try again later".into()))?;
    if lists.is_empty() {
        let text = format!(
            "no list is asked that could hold {shown}: see blocklist.lists, client_lists and link_lists"
        );
        return Err(AdminError::Invalid(text));
    }
    Ok(CheckView { at: admin.utc(), subject: shown, lists })
}

fn parse(subject: &str) -> Result<Subject, AdminError> {
    subject
        .parse()
        .map_err(|error: crate::types::ParseError| AdminError::Invalid(error.to_string()))
}
