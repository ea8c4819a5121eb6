//! `tollgate audit`: the audit as a list, and whether it is whole.

use super::{
    CliError,
    args::{AuditArgs, AuditCommand, Gate},
    client::segment,
    links, output,
    remote::{Form, Remote, at_text, json_lines},
    table::Table,
};
use crate::{
    admin::{AuditView, HeadView, Page, VerdictView},
    store::{
        archive::{audit::chain::Head, verify_file},
        backup::{self, BackupError},
    },
};
use std::{
    fmt::{Display, Write},
    path::Path,
};

/// `tollgate audit …`
pub(super) fn run(
    command: Option<AuditCommand>,
    wanted: &AuditArgs,
    gate: &Gate,
) -> Result<(), CliError> {
    match command {
        None => show(wanted, gate),
        Some(AuditCommand::Head) => {
            let remote = Remote::new(gate)?;
            let head: HeadView = remote.client.read("/v1/audit/head")?;
            remote.print(&head, |head| format!("{}\n", head.head))
        }
        Some(AuditCommand::Verify { head, file }) => verify(head, file.as_deref(), gate),
    }
}

/// The running gate is asked; where there is none, the archive of its configuration is looked at.
fn verify(head: Option<Head>, file: Option<&Path>, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::patient(gate)?;
    let found = match (file, &gate.config) {
        (Some(file), _) => verify_in(file, head)?,
        (None, config) => {
            let query = head.map(|head| format!("?head={}", segment(&head.to_string())));
            let path = format!("/v1/audit/verify{}", query.as_deref().unwrap_or_default());
            match (remote.client.read(&path), config) {
                (Err(CliError::Unreachable(_)), Some(config)) => {
                    verify_in(&links::files(config)?.archive.path, head)?
                }
                (answer, _) => answer?,
            }
        }
    };
    remote.print(&found, verdict_text)?;
    match found.problem {
        None => Ok(()),
        Some(problem) => Err(CliError::Failed(format!("the audit is not whole: {problem}"))),
    }
}

fn verify_in(file: &Path, head: Option<Head>) -> Result<VerdictView, CliError> {
    let failed = |error: &dyn Display| CliError::Failed(format!("{}: {error}", file.display()));
    let mut known: Vec<Head> = head.into_iter().collect();
    let manifest = match backup::read_manifest(file) {
        Ok(manifest) => manifest,
        Err(BackupError::Foreign(_)) => {
            return Ok(verify_file(file, known).map_err(|error| failed(&error))?.into());
        }
        Err(error) => return Err(failed(&error)),
    };
    // The audit has to end where the backup says.
    known.extend(manifest.audit.parse::<Head>());
    let mut path = file.as_os_str().to_owned();
    path.push(".archive");
    let place = backup::Place { name: backup::ARCHIVE, path: path.into() };
    let found = backup::unpack(file, std::slice::from_ref(&place));
    let found = match found {
        Ok(_) => verify_file(&place.path, known).map_err(|error| failed(&error)),
        Err(error) => Err(failed(&error)),
    };
    // It may never have come to be.
    let _ = std::fs::remove_file(&place.path);
    Ok(found?.into())
}

fn verdict_text(found: &VerdictView) -> String {
    let state = match found.first_broken {
        None => String::from("whole"),
        Some(entry) => format!("broken at entry {entry}"),
    };
    let mut facts = Table::plain();
    facts.row(["audit".into(), state]);
    facts.row(["entries".into(), format!("{} are whole", found.entries)]);
    facts.row(["values".into(), format!("{} were erased in order", found.erased)]);
    facts.row(["head".into(), found.head.clone()]);
    facts.row(["noted head".into(), found.noted.clone()]);
    facts.render("")
}

fn show(wanted: &AuditArgs, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    if wanted.all {
        return show_all(&remote, wanted);
    }
    let mut newest = Vec::new();
    let mut from = String::new();
    while newest.len() < wanted.max {
        let room = (wanted.max - newest.len()).min(PAGE_MAX);
        let page: Page<AuditView> =
            remote.client.read(&format!("{}&max={room}{from}", path(wanted, "newest")))?;
        newest.extend(page.items);
        let Some(next) = page.next else { break };
        from = format!("&after={next}");
    }
    newest.reverse();
    output::print(&text(&newest, remote.form)?);
    Ok(())
}

/// Page by page, so that a long history needs no more memory than a short one.
fn show_all(remote: &Remote, wanted: &AuditArgs) -> Result<(), CliError> {
    let mut from = String::new();
    loop {
        let page: Page<AuditView> =
            remote.client.read(&format!("{}&max={PAGE_MAX}{from}", path(wanted, "oldest")))?;
        output::print(&text(&page.items, remote.form)?);
        let Some(next) = page.next else { return Ok(()) };
        from = format!("&after={next}");
    }
}

fn path(wanted: &AuditArgs, order: &str) -> String {
    let mut path = format!("/v1/audit?order={order}");
    let since = wanted.since.map(|since| since.to_string());
    let until = wanted.until.map(|until| until.to_string());
    for (name, value) in [
        ("subject", &wanted.subject),
        ("action", &wanted.action),
        ("since", &since),
        ("until", &until),
    ] {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = write!(path, "&{name}={}", segment(value));
        }
    }
    path
}

fn text(entries: &[AuditView], form: Form) -> Result<String, CliError> {
    if form == Form::Json {
        return json_lines(entries);
    }
    let mut table = Table::new(&[
        "NUMBER", "TIME", "ACTION", "SUBJECT", "BEFORE", "AFTER", "REASON", "BY", "VIA",
    ]);
    for entry in entries {
        let shown = |name: &str, value: &Option<String>| match value {
            Some(value) => value.clone(),
            None if entry.erased.iter().any(|erased| erased == name) => String::from("(erased)"),
            None => String::new(),
        };
        table.row([
            entry.number.to_string(),
            at_text(entry.at),
            entry.action.clone(),
            shown("subject", &entry.subject),
            shown("before", &entry.before),
            shown("after", &entry.after),
            shown("reason", &entry.reason),
            shown("actor", &entry.actor),
            entry.via.name().to_owned(),
        ]);
    }
    Ok(table.render(""))
}

/// The most entries that are asked for at once.
const PAGE_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Timestamp, Via};

    fn entry() -> AuditView {
        AuditView {
            number: 7,
            at: Timestamp::EPOCH,
            action: "suspended".into(),
            via: Via::ControlSocket,
            subject: Some("account a@shop.example".into()),
            actor: None,
            before: None,
            after: Some("case TG-1".into()),
            reason: Some("spam\u{1b}[2J".into()),
            evidence: None,
            erased: vec!["actor".into()],
            hash: Some("00".into()),
        }
    }

    #[test]
    fn an_entry_is_a_row_without_control_characters_and_says_what_was_erased() {
        assert_eq!(
            text(&[entry()], Form::Tables).unwrap(),
            "NUMBER  TIME                  ACTION     SUBJECT                 BEFORE  AFTER      REASON    BY        VIA\n\
             \x20    7  1970-01-01T00:00:00Z  suspended  account a@shop.example          case TG-1  spam?[2J  (erased)  control-socket\n"
        );
        assert!(text(&[entry()], Form::Json).unwrap().starts_with(r#"{"number":7,"#));
    }
}
