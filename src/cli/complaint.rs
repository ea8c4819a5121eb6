//! `tollgate complaint`: complaints about mail, taken in and listed.

use super::{
    CliError,
    args::{ComplaintArgs, ComplaintCommand, Gate},
    client::segment,
    output,
    remote::{Form, Remote, at_text, json_lines},
    table::{Table, shown},
};
use crate::{
    admin::{ComplaintRequest, ComplaintView, Page},
    types::{AccountId, TenantId},
};
use hyper::Method;
use std::{
    fmt::Write,
    fs::File,
    io::{self, Read},
    path::Path,
};

/// `tollgate complaint …`
pub(super) fn run(command: ComplaintCommand, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    match command {
        ComplaintCommand::Add(complaint) => add(&remote, *complaint),
        ComplaintCommand::List { account, tenant, unattributed, since } => {
            let mut query = String::new();
            let account = account.as_ref().map(AccountId::as_str);
            let tenant = tenant.as_ref().map(TenantId::as_str);
            let since = since.map(|since| since.to_string());
            for (name, value) in
                [("account", account), ("tenant", tenant), ("since", since.as_deref())]
            {
                if let Some(value) = value {
                    // Writing to a string cannot fail.
                    let _ = write!(query, "&{name}={}", segment(value));
                }
            }
            list(&remote, &format!("unattributed={unattributed}{query}"))
        }
    }
}

fn add(remote: &Remote, complaint: ComplaintArgs) -> Result<(), CliError> {
    let view: ComplaintView = match &complaint.report {
        Some(file) => remote.client.post("/v1/complaints/report", read(file)?)?,
        None => {
            let request = ComplaintRequest {
                kind: complaint.kind,
                id: complaint.id,
                message_id: complaint.message_id,
                account: complaint.account,
                recipient: complaint.recipient,
                arrived: complaint.arrived,
                note: complaint.note,
            };
            remote.client.send(Method::POST, "/v1/complaints", &request)?
        }
    };
    remote.print(&view, |view| {
        let (number, kind) = (view.number, shown(&view.told.kind));
        format!("complaint {number}: {kind} about {}\n", about(view))
    })
}

fn about(view: &ComplaintView) -> String {
    let Some(account) = &view.account else { return String::from("nobody who is known") };
    let by = view.told.attributed_by.as_deref().unwrap_or("operator");
    format!("{}, by {}", shown(account), shown(by))
}

fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |error: io::Error| CliError::Failed(format!("read {}: {error}", file.display()));
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(failed)?)
    };
    let mut text = Vec::new();
    source.take(REPORT_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > REPORT_BYTES_MAX {
        let wanted = format!("{} is longer than {REPORT_BYTES_MAX} octets", file.display());
        return Err(CliError::Failed(wanted));
    }
    Ok(text)
}

fn list(remote: &Remote, query: &str) -> Result<(), CliError> {
    let mut found: Vec<ComplaintView> = Vec::new();
    let mut from = String::new();
    while found.len() < LIST_MAX {
        let page: Page<ComplaintView> =
            remote.client.read(&format!("/v1/complaints?{query}&max={PAGE_MAX}{from}"))?;
        found.extend(page.items);
        let Some(next) = page.next else { break };
        from = format!("&after={next}");
    }
    found.reverse();
    let text = match remote.form {
        Form::Json => json_lines(&found)?,
        Form::Tables => table(&found),
    };
    output::print(&text);
    Ok(())
}

fn table(found: &[ComplaintView]) -> String {
    let headings =
        ["NUMBER", "TIME", "KIND", "ACCOUNT", "BY", "MESSAGE", "RECIPIENT", "REPORTER", "NOTE"];
    let mut table = Table::new(&headings);
    for view in found {
        let told = &view.told;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        table.row([
            view.number.to_string(),
            at_text(view.at),
            told.kind.clone(),
            view.account.clone().unwrap_or_else(|| "(nobody who is known)".into()),
            text(&told.attributed_by),
            told.id.clone().or_else(|| told.message_id.clone()).unwrap_or_default(),
            text(&told.recipient),
            text(&told.reporter),
            text(&told.note),
        ]);
    }
    table.render("")
}

/// The largest report that the gate reads.
const REPORT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The most complaints that are shown; `--since` shows fewer.
const LIST_MAX: usize = 10_000;
/// The most complaints that are asked for at once.
const PAGE_MAX: usize = 200;
