//! clap: decode, call admin, print.
//!
//! `serve`, `check-config`, `simulate`, `restore`, `migrate` and `passwd` work on files, and `backup` and `audit verify` where no gate runs; every other command asks the running gate over its control socket and
//! prints the answer, as a table for people or as JSON for scripts (`--json`). Exit codes: 0 it worked, 1 it failed,
//! 2 the command line is wrong, 3 the gate cannot be reached.

mod alert;
mod args;
mod audit;
mod availability;
mod backup;
mod blocklist;
mod client;
mod complaint;
mod links;
mod migrate;
pub(crate) mod output;
mod passwd;
mod privacy;
mod remote;
mod report;
mod simulate;
mod standings;
mod storage;
mod table;
mod trace;

use crate::{admin::TraceRequest, config::Moves};
use args::{Args, Command};
use clap::Parser;
use std::{ffi::OsString, path::Path, process::ExitCode};

/// Runs the command line, `argv[0]` first, and returns what the process exits with.
///
/// `serve` is what runs the gate, because the program as a whole stands above its command line.
pub fn run(argv: impl IntoIterator<Item = OsString>, serve: Serve<'_>) -> ExitCode {
    match Args::try_parse_from(argv) {
        Ok(args) => finish(dispatch(args.command, serve)),
        Err(error) => {
            // Help and version go to standard output and are no error; clap knows which.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS }
        }
    }
}

/// Runs the gate with a configuration and what was moved; says what went wrong.
pub type Serve<'a> = &'a dyn Fn(&Path, &Moves) -> Result<(), String>;

fn dispatch(command: Command, run_gate: Serve<'_>) -> Result<(), CliError> {
    match command {
        Command::Serve(serve) => {
            run_gate(&serve.config, &serve.moves.into()).map_err(CliError::Failed)
        }
        Command::CheckConfig(check) => links::check_config(&check.config),
        Command::Passwd(passwd) => passwd::run(&passwd),
        Command::Simulate(simulate) => simulate::simulate(&simulate),
        Command::Account { command, gate } => remote::account(command, &gate),
        Command::Tenant { command, gate } => remote::tenant(command, &gate),
        Command::Backup { wanted, gate } => backup::backup(wanted, &gate),
        Command::Restore { wanted, gate } => backup::restore(&wanted, &gate),
        Command::Migrate { wanted, gate } => migrate::migrate(&wanted, &gate),
        Command::Privacy { command, gate } => privacy::run(command, &gate),
        Command::Offences { tenant, withdraw, reason, gate } => {
            privacy::offences(&tenant, withdraw.zip(reason), &gate)
        }
        Command::Availability { month, gate } => availability::availability(month, &gate),
        Command::Maintenance { command, gate } => availability::maintenance(command, &gate),
        Command::Blocklist { command, gate } => blocklist::run(command, &gate),
        Command::Storage { command, gate } => storage::run(command, &gate),
        Command::Token { command, gate } => remote::token(command, &gate),
        Command::Report { wanted, gate } => report::show(&wanted, &gate),
        Command::Usage { account, gate } => remote::usage(account.as_ref(), &gate),
        Command::Alert { command, gate } => alert::run(command, &gate),
        Command::Audit { command, wanted, gate } => audit::run(command, &wanted, &gate),
        Command::Trace { of, since, until, max, gate } => {
            trace::show(&TraceRequest { since, until, ..TraceRequest::new(of) }, max, &gate)
        }
        Command::Complaint { command, gate } => complaint::run(command, &gate),
        Command::Case { command, gate } => standings::case(command, &gate),
        Command::Client { command, gate } => standings::client(command, &gate),
        Command::Breaker { command, gate } => standings::breaker(command, &gate),
        Command::Explain { account, client, gate } => remote::explain(&account, client, &gate),
    }
}

fn finish(result: Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Why a command failed; the text is what the person at the terminal reads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
    /// The options do not fit together.
    #[error("{0}")]
    Usage(String),
    /// The gate does not answer.
    #[error("{0}")]
    Unreachable(String),
}

impl CliError {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => EXIT_FAILED,
            Self::Usage(_) => EXIT_USAGE,
            Self::Unreachable(_) => EXIT_UNREACHABLE,
        }
    }
}

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_UNREACHABLE: u8 = 3;
