//! Blocklists: what of ours is on which, as a matrix, and which lists can be believed. A state is a word; its colour only helps.

use super::{
    Web,
    answer::{Answer, page},
    egress::{self, Cause, Way},
    frame::{Frame, Section},
    visit::Staff,
};
use crate::{
    admin::{self, ListHealth, ListUse, ListView, ListingView, ListingsView, RowState},
    rules::blocklist::Severity,
    types::Timestamp,
};
use askama::Template;
use axum::extract::State;

/// The matrix: a row for each subject, a column for each list.
pub(super) struct Matrix {
    pub(super) lists: Vec<String>,
    pub(super) rows: Vec<MatrixRow>,
    pub(super) listed_count: usize,
    pub(super) unknown_count: usize,
    /// False if no list is answered.
    pub(super) resolvers_answer: bool,
}

pub(super) struct MatrixRow {
    pub(super) subject: String,
    /// One for each list; none where it does not hold such subjects.
    pub(super) cells: Vec<Option<Cell>>,
}

/// A state as a word with its colour.
pub(super) struct Cell {
    pub(super) word: &'static str,
    pub(super) level: &'static str,
}

impl Matrix {
    pub(super) fn of(view: &ListingsView) -> Self {
        let own = view.lists.iter().filter(|list| list.uses.contains(&ListUse::Own));
        let lists: Vec<String> = own.map(|list| list.list.clone()).collect();
        let rows = view.subjects.iter().map(|subject| MatrixRow {
            subject: subject.subject.clone(),
            cells: lists
                .iter()
                .map(|list| subject.rows.iter().find(|row| row.list == *list).map(cell))
                .collect(),
        });
        let rows: Vec<MatrixRow> = rows.collect();
        let all = || view.subjects.iter().flat_map(|subject| &subject.rows);
        Self {
            listed_count: all().filter(|row| is_listed(row)).count(),
            unknown_count: all().filter(|row| row.state == RowState::Unknown).count(),
            resolvers_answer: view.resolvers_answer,
            lists,
            rows,
        }
    }

    pub(super) fn is_off(&self) -> bool {
        self.lists.is_empty() || self.rows.is_empty()
    }
}

/// A listing stays one while its list cannot be asked.
fn is_listed(row: &ListingView) -> bool {
    row.state == RowState::Listed || row.before == Some(RowState::Listed)
}

fn cell(row: &ListingView) -> Cell {
    Cell { word: row.state.name(), level: level(row) }
}

fn level(row: &ListingView) -> &'static str {
    match (row.state, row.severity) {
        (RowState::Listed, Some(Severity::Critical)) => "bad",
        (RowState::Listed, Some(Severity::Info)) => "",
        (RowState::Listed, _) => "warn",
        (RowState::Clean, _) => "good",
        (RowState::Unknown, _) => "warn",
    }
}

/// A subject on a list, in full.
struct Detail {
    subject: String,
    list: String,
    word: &'static str,
    level: &'static str,
    severity: Option<String>,
    before: Option<&'static str>,
    since: Option<Timestamp>,
    codes: String,
    meaning: Option<String>,
    reason: Option<String>,
    unknown: Option<String>,
    checked: Option<Timestamp>,
}

struct ListRow {
    view: ListView,
    /// What it is asked about.
    uses: String,
    asks_for_messages: bool,
    word: &'static str,
    level: &'static str,
}

#[derive(Template)]
#[template(path = "listings.html")]
struct ListingsPage {
    frame: Frame,
    matrix: Matrix,
    /// What is listed or unknown, the listed first.
    details: Vec<Detail>,
    lists: Vec<ListRow>,
    ways: Vec<Way>,
    causes: Vec<Cause>,
    may_change: bool,
    resolvers: String,
    resolvers_of_system: bool,
}

pub(super) async fn show(State(web): State<Web>, staff: Staff) -> Answer {
    let view = admin::listings(&web.admin);
    let matrix = Matrix::of(&view);
    let of_subject = |subject: &admin::SubjectListings| {
        let rows = subject.rows.iter().filter(|row| row.state != RowState::Clean);
        rows.map(|row| detail(&subject.subject, row)).collect::<Vec<_>>()
    };
    let mut details: Vec<Detail> = view.subjects.iter().flat_map(of_subject).collect();
    details.sort_by_key(|detail| detail.word != RowState::Listed.name());
    Ok(page(&ListingsPage {
        frame: Frame::english(&staff.visitor, Section::Listings),
        matrix,
        details,
        ways: egress::ways(&web).await,
        causes: egress::causes(&web, &staff).await?,
        may_change: staff.viewer.caller.may_change(),
        resolvers: view.resolvers.join(", "),
        resolvers_of_system: view.resolvers_of_system,
        lists: view.lists.into_iter().map(list_row).collect(),
    }))
}

fn detail(subject: &str, row: &ListingView) -> Detail {
    let codes: Vec<String> = row.codes.iter().map(ToString::to_string).collect();
    Detail {
        subject: subject.to_owned(),
        list: row.list.clone(),
        word: row.state.name(),
        level: level(row),
        severity: row.severity.map(|severity| severity.to_string()),
        before: row.before.filter(|before| *before != RowState::Unknown).map(RowState::name),
        since: row.since,
        codes: codes.join(" "),
        meaning: row.meaning.clone(),
        reason: row.reason.clone(),
        unknown: row.unknown.clone(),
        checked: row.checked,
    }
}

fn list_row(view: ListView) -> ListRow {
    let level = match view.health {
        ListHealth::Well => "good",
        ListHealth::Impaired => "bad",
        ListHealth::Untested => "",
    };
    let uses: Vec<&str> = view.uses.iter().map(|used| used.words()).collect();
    let asks_for_messages = view.uses.iter().any(|used| *used != ListUse::Own);
    ListRow { word: view.health.name(), level, uses: uses.join(", "), asks_for_messages, view }
}
