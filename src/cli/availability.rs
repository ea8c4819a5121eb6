//! `tollgate availability` and `tollgate maintenance`.

use super::{
    CliError,
    args::{Gate, MaintenanceCommand},
    remote::{Remote, at_text},
    table::Table,
};
use crate::{
    admin::{
        AvailabilityView, MaintenancePlan, MaintenanceState, MaintenanceView, MonthView,
        OutageView, Until, Why,
    },
    types::Month,
};
use hyper::Method;
use std::fmt::Write;

/// `tollgate availability [--month MONTH]`
pub(super) fn availability(month: Option<Month>, gate: &Gate) -> Result<(), CliError> {
    let query = month.map(|month| format!("?month={month}")).unwrap_or_default();
    let remote = Remote::new(gate)?;
    let view: AvailabilityView = remote.client.read(&format!("/v1/availability{query}"))?;
    remote.print(&view, availability_text)
}

/// `tollgate maintenance …`
pub(super) fn maintenance(command: MaintenanceCommand, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    match command {
        MaintenanceCommand::List => {
            let views: Vec<MaintenanceView> = remote.client.read("/v1/maintenance")?;
            remote.print(&views, |views| maintenance_text(views))
        }
        MaintenanceCommand::Start { until, reason } => plan(&remote, None, until, reason),
        MaintenanceCommand::Plan { from, until, reason } => {
            plan(&remote, Some(from), Some(until), reason)
        }
        MaintenanceCommand::End { id, reason } => {
            let path = id.map_or_else(
                || String::from("/v1/maintenance/end"),
                |id| format!("/v1/maintenance/{id}/end"),
            );
            let left: Vec<MaintenanceView> =
                remote.client.send(Method::POST, &path, &Why { reason })?;
            remote.print(&left, |left| maintenance_text(left))
        }
    }
}

fn plan(
    remote: &Remote,
    from: Option<Until>,
    until: Option<Until>,
    reason: String,
) -> Result<(), CliError> {
    let plan = MaintenancePlan { from, until, reason };
    let view: MaintenanceView = remote.client.send(Method::POST, "/v1/maintenance", &plan)?;
    remote.print(&view, |view| maintenance_text(std::slice::from_ref(view)))
}

fn availability_text(view: &AvailabilityView) -> String {
    let month = &view.month;
    let mut facts = Table::plain();
    facts.row(["month".into(), format!("{} ({})", month.month, view.time_zone)]);
    facts.row(["available".into(), promise_text(view)]);
    facts.row(["down".into(), length(month.budget_used_seconds)]);
    facts.row(["allowed".into(), allowed_text(month)]);
    facts.row(["maintenance".into(), maintained_text(month)]);
    facts.row(["counted".into(), counted_text(view)]);
    let mut text = facts.render("");
    if !month.outages.is_empty() {
        let _ = write!(text, "\n{} times down, the longest first\n", month.outages_count);
        text.push_str(&outages_table(&month.outages));
    }
    if !view.past.is_empty() {
        text.push_str("\nmonths before\n");
        text.push_str(&past_table(&view.past));
    }
    if !view.maintenance.is_empty() {
        text.push_str("\nplanned maintenance\n");
        text.push_str(&maintenance_text(&view.maintenance));
    }
    text
}

fn promise_text(view: &AvailabilityView) -> String {
    let kept = if view.month.is_kept { "kept" } else { "NOT KEPT" };
    format!("{} of {} % promised: {kept}", percent_text(&view.month), view.target_percent)
}

fn percent_text(month: &MonthView) -> String {
    month.percent.map_or_else(|| String::from("-"), |percent| format!("{percent:.3} %"))
}

fn allowed_text(month: &MonthView) -> String {
    let (budget, left) = (length(month.budget_seconds), length(month.budget_left_seconds));
    format!("{budget}; {} % used, {left} left", month.budget_used_percent)
}

fn maintained_text(month: &MonthView) -> String {
    let minutes = |minutes: u32| length(u64::from(minutes) * 60);
    let (all, down) = (month.maintenance_minutes, month.maintenance_down_minutes);
    format!("{} planned, {} of them down, not counted as down", minutes(all), minutes(down))
}

fn counted_text(view: &AvailabilityView) -> String {
    let (minutes, to_come) = (view.month.minutes, view.month.minutes_to_come);
    let since = view.noted_since.filter(|&since| since > view.month.from);
    let since = since.map(|since| format!("; nothing was noted before {}", at_text(since)));
    format!("{minutes} minutes, {to_come} to come{}", since.unwrap_or_default())
}

fn outages_table(outages: &[OutageView]) -> String {
    let mut table = Table::new(&["FROM", "UNTIL", "DOWN", "LACKED"]);
    for outage in outages {
        table.row([
            at_text(outage.from),
            at_text(outage.until),
            length(u64::from(outage.minutes) * 60),
            outage.lacked.join(", "),
        ]);
    }
    table.render("  ")
}

fn past_table(months: &[MonthView]) -> String {
    let mut table = Table::new(&["MONTH", "AVAILABLE", "DOWN", "ALLOWED", "PROMISE"]);
    for month in months {
        table.row([
            month.month.to_string(),
            percent_text(month),
            length(month.budget_used_seconds),
            length(month.budget_seconds),
            String::from(if month.is_kept { "kept" } else { "not kept" }),
        ]);
    }
    table.render("  ")
}

fn maintenance_text(views: &[MaintenanceView]) -> String {
    let mut table = Table::new(&["ID", "STATE", "FROM", "UNTIL", "BY", "REASON"]);
    for view in views {
        table.row([
            view.id.to_string(),
            String::from(match view.state {
                MaintenanceState::Planned => "planned",
                MaintenanceState::Present => "present",
                MaintenanceState::Over => "over",
            }),
            at_text(view.from),
            at_text(view.until),
            view.actor.clone(),
            view.reason.clone(),
        ]);
    }
    if views.is_empty() { String::from("none\n") } else { table.render("  ") }
}

/// `7 h 12 min`, `43 min 12 s`, `0 min`.
fn length(seconds: u64) -> String {
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let shown = parts.iter().filter(|(count, _)| *count > 0);
    let text: Vec<String> = shown.map(|(count, unit)| format!("{count} {unit}")).collect();
    if text.is_empty() { String::from("0 min") } else { text.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(text: &str) -> MonthView {
        let month: Month = text.parse().unwrap();
        let range = crate::rules::availability::Sla::default().range(month);
        MonthView {
            month,
            from: range.start,
            until: range.end,
            minutes: 20_000,
            down_minutes: 300,
            maintenance_minutes: 90,
            maintenance_down_minutes: 30,
            minutes_to_come: 4_320,
            percent: Some(98.5),
            budget_seconds: 14_592,
            budget_used_seconds: 18_000,
            budget_left_seconds: 0,
            budget_used_percent: 123,
            is_kept: false,
            outages_count: 1,
            outages: vec![OutageView {
                from: "2026-11-12T05:00:00Z".parse().unwrap(),
                until: "2026-11-12T10:00:00Z".parse().unwrap(),
                minutes: 300,
                lacked: vec!["store".into(), "program".into()],
            }],
        }
    }

    #[test]
    fn a_month_reads_well() {
        let view = AvailabilityView {
            at: "2026-11-28T00:00:00Z".parse().unwrap(),
            target_percent: 99.0,
            time_zone: "UTC".into(),
            noted_since: Some("2026-11-11T00:00:00Z".parse().unwrap()),
            month: month("2026-11"),
            past: vec![MonthView { is_kept: true, percent: None, ..month("2026-10") }],
            maintenance: vec![MaintenanceView {
                id: 3,
                from: "2026-12-01T01:00:00Z".parse().unwrap(),
                until: "2026-12-01T03:00:00Z".parse().unwrap(),
                state: MaintenanceState::Planned,
                reason: "new\u{1b} disks".into(),
                actor: "root (uid 0)".into(),
                planned: "2026-11-27T00:00:00Z".parse().unwrap(),
            }],
        };
        assert_eq!(
            availability_text(&view),
            "month        2026-11 (UTC)\n\
             available    98.500 % of 99 % promised: NOT KEPT\n\
             down         5 h\n\
             allowed      4 h 3 min 12 s; 123 % used, 0 min left\n\
             maintenance  1 h 30 min planned, 30 min of them down, not counted as down\n\
             counted      20000 minutes, 4320 to come; nothing was noted before 2026-11-11T00:00:00Z\n\
             \n\
             1 times down, the longest first\n\
             \x20 FROM                  UNTIL                 DOWN  LACKED\n\
             \x20 2026-11-12T05:00:00Z  2026-11-12T10:00:00Z  5 h   store, program\n\
             \n\
             months before\n\
             \x20 MONTH    AVAILABLE  DOWN  ALLOWED         PROMISE\n\
             \x20 2026-10  -          5 h   4 h 3 min 12 s  kept\n\
             \n\
             planned maintenance\n\
             \x20 ID  STATE    FROM                  UNTIL                 BY            REASON\n\
             \x20  3  planned  2026-12-01T01:00:00Z  2026-12-01T03:00:00Z  root (uid 0)  new? disks\n"
        );
    }
}
