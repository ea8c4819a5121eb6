//! `tollgate simulate`: what the rules would have done with mail of the past, from files.

mod decision;
mod prepare;
mod run;
mod sender;
mod summary;
#[cfg(test)]
mod tests;
mod trace;

use super::{CliError, args::Simulate, links, output};
use crate::{
    config,
    rules::{
        judgement,
        limits::ScopedLimit,
        replay::{Settings, Summary},
    },
    types::{Limit, Scope, Span, Unit},
};

/// Replays the trace, writes the decisions and prints what they come to.
pub(super) fn simulate(args: &Simulate) -> Result<(), CliError> {
    let (settings, rules) = match &args.config {
        Some(path) => links::replay_settings(path)?,
        None => (defaults(), config::content_rules()),
    };
    let failed = |error: run::RunError| CliError::Failed(error.to_string());
    let summary: Summary = run::run(&args.trace, &args.out, &settings, rules).map_err(failed)?;
    output::print(&summary::text(&summary));
    Ok(())
}

/// What holds without a configuration: for each account and each client address 50 in an hour and 600 in a day. What tenants bought, a
/// trace does not say.
fn defaults() -> Settings {
    let line = |scope, unit, max, window| ScopedLimit { scope, unit, limit: Limit { window, max } };
    let limits = vec![
        line(Scope::Account, Unit::Recipients, 50, HOUR),
        line(Scope::Account, Unit::Recipients, 600, DAY),
        line(Scope::Account, Unit::NullSender, 50, HOUR),
        line(Scope::ClientIp, Unit::Recipients, 50, HOUR),
        line(Scope::ClientIp, Unit::Recipients, 600, DAY),
    ];
    Settings { limits, judgement: judgement::Settings::default() }
}

const HOUR: Span = Span::from_secs(3_600);
const DAY: Span = Span::from_secs(86_400);
