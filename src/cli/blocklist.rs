//! `tollgate blocklist`.

use super::{
    CliError,
    args::{BlocklistCommand, Gate},
    client::segment,
    remote::{Remote, at_text},
    table::Table,
};
use crate::admin::{
    CheckView, CheckedList, EgressView, ListUse, ListView, ListingView, ListingsView, RowState, Why,
};
use hyper::Method;
use std::{fmt::Write, net::IpAddr};

/// `tollgate blocklist …`
pub(super) fn run(command: BlocklistCommand, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    match command {
        BlocklistCommand::Status => {
            let view: ListingsView = remote.client.read("/v1/listings")?;
            remote.print(&view, status_text)
        }
        BlocklistCommand::Check { subject } => {
            let path = format!("/v1/listings/{}/check", segment(&subject.to_string()));
            let view: CheckView = remote.client.send(Method::POST, &path, &())?;
            remote.print(&view, check_text)
        }
        BlocklistCommand::Egress => {
            let views: Vec<EgressView> = remote.client.read("/v1/egress")?;
            remote.print(&views, |views| egress_text(views))
        }
        BlocklistCommand::Pause { address, reason } => choose(&remote, address, "pause", reason),
        BlocklistCommand::Resume { address, reason } => choose(&remote, address, "resume", reason),
    }
}

fn choose(remote: &Remote, address: IpAddr, what: &str, reason: String) -> Result<(), CliError> {
    let path = format!("/v1/egress/{}/{what}", segment(&address.to_string()));
    let view: EgressView = remote.client.send(Method::POST, &path, &Why { reason })?;
    remote.print(&view, |view| egress_text(std::slice::from_ref(view)))
}

fn egress_text(views: &[EgressView]) -> String {
    if views.is_empty() {
        return String::from(
            "no next hop says which addresses it stands for: see egress in next_hop.hosts\n",
        );
    }
    let mut table = Table::new(&["ADDRESS", "MAIL", "WHY", "NEXT HOPS", "BY HAND"]);
    for view in views {
        let chosen = view.choice.as_ref().map(|chosen| {
            let (what, since) = (chosen.choice.name(), at_text(chosen.since));
            format!("{what} since {since} by {}: {}", chosen.actor, chosen.reason)
        });
        table.row([
            view.address.to_string(),
            view.mail.clone(),
            view.why.clone().unwrap_or_else(dash),
            view.next_hops.join(", "),
            chosen.unwrap_or_else(dash),
        ]);
    }
    table.render("")
}

fn status_text(view: &ListingsView) -> String {
    let mut text = String::new();
    if view.lists.is_empty() {
        return String::from(
            "no blocklist is asked; name those that you may ask in blocklist.lists, client_lists and link_lists\n",
        );
    }
    let mut matrix =
        Table::new(&["SUBJECT", "LIST", "STATE", "SINCE", "CODE", "CHECKED", "MEANING"]);
    for subject in &view.subjects {
        for row in &subject.rows {
            matrix.row([
                subject.subject.clone(),
                row.list.clone(),
                state_text(row),
                row.since.map_or_else(dash, at_text),
                codes_text(&row.codes),
                row.checked.map_or_else(dash, at_text),
                meaning_text(row),
            ]);
        }
    }
    text.push_str(&matrix.render(""));
    text.push_str("\nlists\n");
    text.push_str(&lists_table(&view.lists));
    let whose = if view.resolvers_of_system { ", those of the system" } else { "" };
    let answer = if view.resolvers_answer { "" } else { ": NO LIST IS ANSWERED" };
    let _ = writeln!(text, "\nresolvers  {}{whose}{answer}", view.resolvers.join(", "));
    text.push_str("\nterms\n");
    for list in &view.lists {
        let _ = writeln!(text, "  {}: {}", list.list, list.terms);
    }
    text
}

fn state_text(row: &ListingView) -> String {
    let mut text = String::from(row.state.name());
    if let Some(severity) = row.severity.filter(|_| row.state == RowState::Listed) {
        let _ = write!(text, " ({severity})");
    }
    if let Some(before) = row.before.filter(|before| *before != RowState::Unknown) {
        let _ = write!(text, " (was {})", before.name());
    }
    if let Some(pending) = row.pending {
        let _ = write!(text, ", now {}?", pending.name());
    }
    text
}

fn meaning_text(row: &ListingView) -> String {
    let parts = [&row.unknown, &row.meaning, &row.reason].into_iter().flatten();
    let parts: Vec<&str> = parts.map(String::as_str).collect();
    if parts.is_empty() { dash() } else { parts.join("; ") }
}

fn lists_table(lists: &[ListView]) -> String {
    let mut table = Table::new(&["LIST", "ZONE", "ABOUT", "TESTS", "TESTED", "ASKED", "FOR MAIL"]);
    for list in lists {
        let detail = list.detail.as_ref().map(|detail| format!(": {detail}"));
        let rests = list.rests_until.map(|until| format!("; left alone until {}", at_text(until)));
        let (detail, rests) = (detail.unwrap_or_default(), rests.unwrap_or_default());
        table.row([
            list.list.clone(),
            list.zone.clone(),
            uses_text(&list.uses),
            format!("{}{detail}{rests}", list.health.name()),
            list.tested.map_or_else(dash, at_text),
            list.queries.to_string(),
            for_mail_text(list),
        ]);
    }
    table.render("  ")
}

fn uses_text(uses: &[ListUse]) -> String {
    let names: Vec<&str> = uses.iter().map(|used| used.name()).collect();
    if names.is_empty() { dash() } else { names.join("+") }
}

/// How often a list was asked for messages, and how many of them it listed.
fn for_mail_text(list: &ListView) -> String {
    if list.uses.iter().all(|used| *used == ListUse::Own) {
        return dash();
    }
    format!(
        "{} ({} listed, {} unanswered)",
        list.lookups, list.lookups_listed, list.lookups_unanswered
    )
}

fn check_text(view: &CheckView) -> String {
    let mut table = Table::new(&["LIST", "STATE", "CODE", "MEANING"]);
    for list in &view.lists {
        table.row([list.list.clone(), checked_state(list), codes_text(&list.codes), said(list)]);
    }
    format!("{} at {}\n{}", view.subject, at_text(view.at), table.render("  "))
}

fn checked_state(list: &CheckedList) -> String {
    match list.severity {
        Some(severity) => format!("{} ({severity})", list.state.name()),
        None => list.state.name().into(),
    }
}

fn said(list: &CheckedList) -> String {
    list.unknown.clone().or_else(|| list.meaning.clone()).unwrap_or_else(dash)
}

fn codes_text(codes: &[std::net::Ipv4Addr]) -> String {
    let shown: Vec<String> = codes.iter().map(ToString::to_string).collect();
    if shown.is_empty() { dash() } else { shown.join(" ") }
}

fn dash() -> String {
    String::from("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::{ListHealth, SubjectListings},
        rules::blocklist::{Kind, Severity},
        types::Timestamp,
    };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn row(list: &str) -> ListingView {
        ListingView {
            list: list.into(),
            state: RowState::Clean,
            before: None,
            since: Some(at("2026-11-27T00:00:00Z")),
            severity: None,
            codes: vec![],
            meaning: None,
            reason: None,
            degraded: false,
            checked: Some(at("2026-11-28T00:00:00Z")),
            unknown: None,
            pending: None,
        }
    }

    #[test]
    fn the_matrix_reads_well() {
        let listed = ListingView {
            state: RowState::Listed,
            severity: Some(Severity::Critical),
            codes: vec!["127.0.0.3".parse().unwrap()],
            meaning: Some("CSS".into()),
            reason: Some("see\u{1b} there".into()),
            ..row("zen")
        };
        let unknown = ListingView {
            state: RowState::Unknown,
            before: Some(RowState::Clean),
            unknown: Some("no answer in time".into()),
            ..row("own")
        };
        let list = ListView {
            list: "zen".into(),
            zone: "<key>.zen.example".into(),
            kinds: vec![Kind::Ipv4],
            health: ListHealth::Impaired,
            detail: Some("it may be closed".into()),
            tested: Some(at("2026-11-28T00:00:00Z")),
            rests_until: None,
            queries: 7,
            uses: vec![ListUse::Own, ListUse::Clients],
            lookups: 9,
            lookups_listed: 2,
            lookups_unanswered: 1,
            terms: "with a key".into(),
        };
        let view = ListingsView {
            at: at("2026-11-28T00:00:00Z"),
            resolvers: vec!["127.0.0.1:53".into()],
            resolvers_of_system: true,
            resolvers_answer: false,
            lists: vec![list],
            subjects: vec![SubjectListings {
                subject: "192.0.2.1".into(),
                rows: vec![listed, unknown],
            }],
        };
        assert_eq!(
            status_text(&view),
            "SUBJECT    LIST  STATE                SINCE                 CODE       CHECKED               MEANING\n\
             192.0.2.1  zen   listed (critical)    2026-11-27T00:00:00Z  127.0.0.3  2026-11-28T00:00:00Z  CSS; see? there\n\
             192.0.2.1  own   unknown (was clean)  2026-11-27T00:00:00Z  -          2026-11-28T00:00:00Z  no answer in time\n\
             \n\
             lists\n\
             \x20 LIST  ZONE               ABOUT        TESTS                       TESTED                ASKED  FOR MAIL\n\
             \x20 zen   <key>.zen.example  own+clients  impaired: it may be closed  2026-11-28T00:00:00Z      7  9 (2 listed, 1 unanswered)\n\
             \n\
             resolvers  127.0.0.1:53, those of the system: NO LIST IS ANSWERED\n\
             \n\
             terms\n\
             \x20 zen: with a key\n"
        );
        assert!(status_text(&ListingsView::default()).starts_with("no blocklist is asked"));
    }
}
