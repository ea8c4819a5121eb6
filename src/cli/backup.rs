//! `tollgate backup` and `tollgate restore`.

use super::{
    CliError,
    args::{BackupArgs, Gap, Gate, RestoreArgs},
    links,
    remote::{Remote, at_text},
    table::Table,
};
use crate::{
    admin::{self, AdminError, BackupRequest, BackupView, RestoredView},
    http::user_name,
    store::sqlite::GapChoice,
    types::{Actor, Via},
};
use hyper::Method;
use std::{
    future::Future,
    path::{Path, PathBuf},
};

/// `tollgate backup …`: the running gate makes it; where none runs, it is made of the files.
pub(super) fn backup(wanted: BackupArgs, gate: &Gate) -> Result<(), CliError> {
    let BackupArgs { file, list, last, reason } = wanted;
    let remote = Remote::patient(gate)?;
    if list {
        let all: Vec<BackupView> = remote.client.read("/v1/backups")?;
        return remote.print(&all, |all| table_of(all));
    }
    let file = file.as_deref().map(whole_path).transpose()?;
    let request = BackupRequest { file, reason };
    let made: BackupView = if last {
        if remote.client.read::<serde_json::Value>("/v1/health").is_ok() {
            let text = "the gate runs: stop it, then make its last backup";
            return Err(CliError::Failed(text.into()));
        }
        of_files(gate, &request, last)?
    } else {
        match (remote.client.send(Method::POST, "/v1/backups", &request), &gate.config) {
            (Err(CliError::Unreachable(_)), Some(_)) => of_files(gate, &request, last)?,
            (made, _) => made?,
        }
    };
    remote.print(&made, |made| {
        let last = if last { "no gate starts on these files again\n" } else { "" };
        format!("{}\nSHA-256 {}\n{} octets\n{last}", made.file, made.sha256, made.bytes)
    })
}

fn of_files(gate: &Gate, request: &BackupRequest, last: bool) -> Result<BackupView, CliError> {
    let files = links::files(config_of(gate)?)?;
    wait(admin::backup_files(&files, request, last, &actor()))
}

/// `tollgate restore …`
pub(super) fn restore(wanted: &RestoreArgs, gate: &Gate) -> Result<(), CliError> {
    let files = links::files(config_of(gate)?)?;
    let gap = wanted.gap.map(|gap| match gap {
        Gap::Full => GapChoice::Full,
        Gap::Ignore => GapChoice::Ignored,
    });
    let how = (gap, wanted.reason.as_deref(), wanted.erasures.as_slice());
    let restored = wait(admin::restore(&files, &wanted.file, how, &actor()))?;
    Remote::new(gate)?.print(&restored, restored_text)
}

fn restored_text(restored: &RestoredView) -> String {
    let mut facts = Table::plain();
    let last = if restored.last { ", the last one of its gate" } else { "" };
    facts.row(["backup of".into(), format!("{}{last}", at_text(restored.made))]);
    let windows = match (restored.last, restored.full_until) {
        (_, Some(until)) => format!("each full until its length after {}", at_text(until)),
        (true, None) => "as they were when the gate stopped".into(),
        (false, None) => "as they were then; up to twice a limit may have been sent".into(),
    };
    facts.row(["windows".into(), windows]);
    facts.row(["audit".into(), restored.audit.clone()]);
    facts.row(["erased again".into(), format!("{} accounts", restored.erased_again)]);
    if restored.last {
        let noted = restored.noted.as_ref().map_or_else(
            || "nowhere, as nothing can be written beside it: restore it nowhere else".into(),
            |path| format!("in {}", path.display()),
        );
        facts.row(["that it was restored".into(), noted]);
    }
    facts.render("")
}

fn table_of(all: &[BackupView]) -> String {
    let mut table = Table::new(&["MADE", "KEPT UNTIL", "OCTETS", "SHA-256", "FILE"]);
    for one in all {
        table.row([
            at_text(one.made),
            at_text(one.expires),
            one.bytes.to_string(),
            one.sha256.clone(),
            one.file.clone(),
        ]);
    }
    table.render("")
}

pub(super) fn config_of(gate: &Gate) -> Result<&Path, CliError> {
    let text = "--config FILE is needed, to know the files of the gate";
    gate.config.as_deref().ok_or_else(|| CliError::Usage(text.into()))
}

/// The gate has a folder of its own that it runs in.
fn whole_path(file: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(file)
        .map_err(|error| CliError::Failed(format!("{}: {error}", file.display())))
}

/// Whoever runs the command.
pub(super) fn actor() -> Actor {
    Actor::new(Via::CommandLine, &user_name(rustix::process::getuid().as_raw()))
}

/// Waits for something that is done here and not by a gate.
pub(super) fn wait<T>(work: impl Future<Output = Result<T, AdminError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Failed(format!("start: {error}")))?;
    runtime.block_on(work).map_err(|error| failed(&error))
}

fn failed(error: &AdminError) -> CliError {
    CliError::Failed(error.to_string())
}
