//! `tollgate privacy` and `tollgate offences`.

use super::{
    CliError,
    args::{Gate, PrivacyCommand, Whom},
    client::segment,
    remote::{Remote, at_text},
    table::Table,
};
use crate::{
    admin::{
        Disclosure, EraseRequest, ErasedView, ExportRequest, ExportView, HoldView, OffencesView,
        PrivacyRequest, Since, Why,
    },
    clock::Clock,
    types::{SubjectId, TenantId, Timestamp},
};
use hyper::Method;
use std::path::{Path, PathBuf};

/// `tollgate privacy …`
pub(super) fn run(command: PrivacyCommand, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::patient(gate)?;
    match command {
        PrivacyCommand::Export { whom, file, reason } => {
            export(&remote, &whom, &file, reason, None)
        }
        PrivacyCommand::Erase { account, reason, yes } => {
            let path = format!("/v1/privacy/erase/{}", segment(account.as_str()));
            let done: ErasedView =
                remote.client.send(Method::POST, &path, &EraseRequest { reason, yes })?;
            remote.print(&done, erased_text)
        }
        PrivacyCommand::Hold { whom, reason } => hold(&remote, &whom, reason, "hold"),
        PrivacyCommand::Release { whom, reason } => hold(&remote, &whom, reason, "release"),
        PrivacyCommand::Holds => {
            let holds: Vec<HoldView> = remote.client.read("/v1/privacy/holds")?;
            remote.print(&holds, |holds| holds_table(holds))
        }
        PrivacyCommand::Disclose {
            whom,
            file,
            authority,
            reference,
            released_by,
            since,
            until,
            reason,
        } => {
            let (since, until) = (moment(since)?, moment(until)?);
            let disclosure = Disclosure { authority, reference, released_by, since, until };
            export(&remote, &whom, &file, reason, Some(disclosure))
        }
    }
}

fn export(
    remote: &Remote,
    whom: &Whom,
    file: &Path,
    reason: String,
    disclosure: Option<Disclosure>,
) -> Result<(), CliError> {
    let file = whole_path(file)?;
    let request = ExportRequest { subject: subject_of(whom)?, file, reason, disclosure };
    let made: ExportView = remote.client.send(Method::POST, "/v1/privacy/export", &request)?;
    remote.print(&made, |made| {
        format!("{}\nSHA-256 {}\n{} octets\n", made.file, made.sha256, made.bytes)
    })
}

fn hold(remote: &Remote, whom: &Whom, reason: String, action: &str) -> Result<(), CliError> {
    let request = PrivacyRequest { subject: subject_of(whom)?, reason };
    let path = format!("/v1/privacy/{action}");
    let view: HoldView = remote.client.send(Method::POST, &path, &request)?;
    let word = if action == "hold" { "held" } else { "released" };
    remote.print(&view, |view| format!("{}: {word}\n", view.subject))
}

/// `tollgate offences …`
pub(super) fn offences(
    tenant: &TenantId,
    withdraw: Option<(i64, String)>,
    gate: &Gate,
) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    let path = format!("/v1/offences/{}", segment(tenant.as_str()));
    let view: OffencesView = match withdraw {
        None => remote.client.read(&path)?,
        Some((number, reason)) => {
            let path = format!("{path}/{number}/withdraw");
            remote.client.send(Method::POST, &path, &Why { reason })?
        }
    };
    remote.print(&view, offences_text)
}

fn offences_text(view: &OffencesView) -> String {
    let mut table =
        Table::new(&["NUMBER", "TIME", "SEVERITY", "KIND", "ACCOUNT", "CASE", "EXPIRES", "WHY"]);
    for one in &view.offences {
        let withdrawn = if one.withdrawn { " (withdrawn)" } else { "" };
        table.row([
            one.number.to_string(),
            at_text(one.at),
            format!("{}{withdrawn}", one.severity.name()),
            one.kind.clone(),
            one.account.clone().unwrap_or_default(),
            one.case.clone().unwrap_or_default(),
            at_text(one.at + view.keep()),
            one.detail.clone(),
        ]);
    }
    let proposal = match &view.proposal {
        Some(why) => format!("proposal: cancel the tenant, because {why}; a person decides\n"),
        None => String::from("no proposal\n"),
    };
    table.render("") + &proposal
}

fn erased_text(done: &ErasedView) -> String {
    let mut facts = Table::plain();
    facts.row(["gone".into(), format!("{} rows", done.rows_gone)]);
    facts.row(["without the name".into(), format!("{} rows of others", done.rows_changed)]);
    facts.row(["of the audit".into(), format!("{} values", done.audit_values)]);
    facts.row(["known as".into(), done.digest.clone()]);
    if !done.waiting.is_empty() {
        facts.row(["still to erase".into(), format!("{}, by themselves", done.waiting.join(", "))]);
    }
    let mut text = facts.render("");
    if !done.backups.is_empty() {
        text.push_str("\nbackups that still hold it\n");
        let mut table = Table::new(&["MADE", "KEPT UNTIL", "FILE"]);
        for one in &done.backups {
            table.row([at_text(one.made), at_text(one.expires), one.file.clone()]);
        }
        text.push_str(&table.render("  "));
    }
    text
}

fn holds_table(holds: &[HoldView]) -> String {
    let mut table = Table::new(&["SUBJECT", "SINCE", "BY", "REASON"]);
    for hold in holds {
        table.row([
            hold.subject.clone(),
            at_text(hold.at),
            hold.actor.clone(),
            hold.reason.clone(),
        ]);
    }
    table.render("")
}

fn subject_of(whom: &Whom) -> Result<SubjectId, CliError> {
    let wrong = |error: crate::types::ParseError| CliError::Usage(error.to_string());
    if whom.tenant {
        return whom.name.parse().map(SubjectId::Tenant).map_err(wrong);
    }
    whom.name.parse().map(SubjectId::Account).map_err(wrong)
}

fn moment(since: Since) -> Result<Timestamp, CliError> {
    let now = Clock::start(Timestamp::EPOCH).utc();
    since.resolve(now).map_err(|error| CliError::Usage(error.to_string()))
}

/// The gate has a folder of its own that it runs in.
fn whole_path(file: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(file)
        .map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))
}
