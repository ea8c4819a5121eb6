//! `tollgate storage …`: how full mailboxes are.

use super::{
    CliError,
    args::{Gate, StorageCommand},
    client::segment,
    remote::{Remote, at_text},
    table::Table,
};
use crate::admin::{StorageStory, StorageView};
use crate::types::ByteCount;
use hyper::Method;

/// `tollgate storage …`
pub(super) fn run(command: StorageCommand, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    match command {
        StorageCommand::Show { name } => {
            let story: StorageStory = remote.client.read(&path_of(&name))?;
            remote.print(&story, story_text)
        }
        StorageCommand::List { tenant, max } => {
            let tenant = tenant.map(|tenant| format!("&tenant={}", segment(tenant.as_str())));
            let path = format!("/v1/storage?max={max}{}", tenant.unwrap_or_default());
            let views: Vec<StorageView> = remote.client.read(&path)?;
            remote.print(&views, |views| list_text(views))
        }
        StorageCommand::Scan { name } => {
            let path = format!("{}/scan", path_of(&name));
            let view: StorageView = remote.client.send(Method::POST, &path, &())?;
            remote.print(&view, |view| list_text(std::slice::from_ref(view)))
        }
    }
}

/// A mailbox has an address; what has none is a tenant.
fn path_of(name: &str) -> String {
    let kind = if name.contains('@') { "accounts" } else { "tenants" };
    format!("/v1/{kind}/{}/storage", segment(name))
}

fn story_text(story: &StorageStory) -> String {
    let now = &story.now;
    let mut facts = Table::plain();
    facts.row([now.scope.to_string(), now.name.clone()]);
    facts.row(["tenant".into(), now.tenant.clone()]);
    facts.row(["used".into(), now.in_words() + &percent_text(now)]);
    facts.row(["state".into(), now.fill.name().into()]);
    let mailboxes = format!("{} with {} files", mailboxes_text(now), number(now.files));
    facts.row(["mailboxes".into(), mailboxes]);
    facts.row(["when full".into(), now.over.name().into()]);
    facts.row(["sending".into(), sending(now).into()]);
    if let (Some(measured), Some(source)) = (now.measured, &now.source) {
        facts.row(["measured".into(), format!("{} by {source}", at_text(measured))]);
    }
    let mut text = facts.render("");
    if !story.past.is_empty() {
        text.push_str("\nbefore\n");
        let mut table = Table::new(&["FROM", "USED", "PEAK", "FILES"]);
        for day in &story.past {
            let words = |octets| ByteCount::new(octets).in_words();
            let (used, peak) = (words(day.bytes), words(day.peak_bytes));
            table.row([day.day.clone(), used, peak, day.files.to_string()]);
        }
        text.push_str(&table.render("  "));
    }
    text
}

fn list_text(views: &[StorageView]) -> String {
    if views.is_empty() {
        return String::from("none\n");
    }
    let mut table =
        Table::new(&["WHO", "NAME", "STATE", "USED", "%", "FILES", "MAILBOXES", "SENDING"]);
    for view in views {
        table.row([
            view.scope.to_string(),
            view.name.clone(),
            view.fill.name().into(),
            view.in_words(),
            view.percent.map(|percent| format!("{percent:.1}")).unwrap_or_default(),
            number(view.files),
            mailboxes_text(view),
            sending(view).into(),
        ]);
    }
    table.render("")
}

fn percent_text(view: &StorageView) -> String {
    view.percent.map(|percent| format!(" ({percent:.1} %)")).unwrap_or_default()
}

fn mailboxes_text(view: &StorageView) -> String {
    match view.unknown {
        0 => view.mailboxes.to_string(),
        unknown => format!("{} ({unknown} unknown)", view.mailboxes),
    }
}

fn number(count: Option<u64>) -> String {
    count.map_or_else(|| String::from("-"), |count| count.to_string())
}

const fn sending(view: &StorageView) -> &'static str {
    if view.is_refused { "refused" } else { "works" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::StorageDay,
        rules::quota::{Fill, Over},
        types::Scope,
    };

    fn view() -> StorageView {
        StorageView {
            scope: Scope::Tenant,
            name: "shop.example".into(),
            tenant: "shop.example".into(),
            fill: Fill::Scarce,
            used_bytes: Some(9_700_000_000),
            max_bytes: Some(10_000_000_000),
            percent: Some(97.0),
            files: Some(1_200),
            has_many_files: false,
            over: Over::Refuse,
            is_refused: false,
            mailboxes: 3,
            unknown: 1,
            measured: None,
            source: None,
        }
    }

    #[test]
    fn a_list_reads_well() {
        let ann = StorageView {
            scope: Scope::Account,
            name: "ann\u{1b}@shop.example".into(),
            used_bytes: None,
            max_bytes: None,
            percent: None,
            files: None,
            fill: Fill::Unknown,
            mailboxes: 1,
            is_refused: true,
            ..view()
        };
        assert_eq!(
            list_text(&[view(), ann]),
            "WHO      NAME               STATE    USED                 %     FILES  MAILBOXES      SENDING\n\
             tenant   shop.example       scarce   9.70 GB of 10.00 GB  97.0   1200  3 (1 unknown)  works\n\
             account  ann?@shop.example  unknown  unknown                    -      1 (1 unknown)  refused\n"
        );
        assert_eq!(list_text(&[]), "none\n");
    }

    #[test]
    fn a_story_reads_well() {
        let past =
            vec![StorageDay { day: "2026-11-01".into(), bytes: 5, files: 2, peak_bytes: 9_000 }];
        assert_eq!(
            story_text(&StorageStory { now: view(), past }),
            "tenant     shop.example\n\
             tenant     shop.example\n\
             used       9.70 GB of 10.00 GB (97.0 %)\n\
             state      scarce\n\
             mailboxes  3 (1 unknown) with 1200 files\n\
             when full  refuse\n\
             sending    works\n\
             \n\
             before\n\
             \x20 FROM        USED      PEAK     FILES\n\
             \x20 2026-11-01  5 octets  9.00 kB      2\n"
        );
    }

    #[test]
    fn a_name_with_an_at_is_an_accounts() {
        assert_eq!(path_of("ann@shop.example"), "/v1/accounts/ann%40shop.example/storage");
        assert_eq!(path_of("shop.example"), "/v1/tenants/shop.example/storage");
    }
}
