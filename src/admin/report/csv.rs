//! Reports as comma-separated values (RFC 4180), one row for each tenant, with nothing in them that a spreadsheet would run.

use super::{PeakView, ReportHead, TenantReport};
use crate::{
    admin::{LimitView, State},
    types::Unit,
};
use std::time::Duration;

/// The row of headings.
#[must_use]
pub fn csv_heading() -> String {
    written(&[COLUMNS.iter().map(|&name| name.to_owned()).collect()])
}

/// A row for each tenant.
#[must_use]
pub fn csv_rows(head: &ReportHead, tenants: &[TenantReport]) -> String {
    written(&tenants.iter().map(|tenant| row(head, tenant)).collect::<Vec<_>>())
}

fn written(rows: &[Vec<String>]) -> String {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        // Writing to memory cannot fail, and rows are as long as the headings.
        let _ = writer.write_record(row.iter().map(|cell| harmless(cell)));
    }
    let octets = writer.into_inner().unwrap_or_default();
    String::from_utf8(octets).unwrap_or_default()
}

/// A text that a spreadsheet would take for a formula gets a quote in front (OWASP, "CSV Injection").
fn harmless(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if is_formula { format!("'{cell}") } else { cell.to_owned() }
}

fn row(head: &ReportHead, tenant: &TenantReport) -> Vec<String> {
    let (hour, day) = (limit(tenant, 3_600), limit(tenant, 86_400));
    let state = if matches!(tenant.state, State::Active) { "active" } else { "suspended" };
    let mut row = vec![tenant.tenant.clone(), tenant.plan.to_string(), state.into()];
    row.extend([head.begin.to_string(), head.end.to_string(), head.time_zone.clone()]);
    row.extend([head.minutes.to_string(), head.minutes_collected.to_string()]);
    row.extend([max(hour), max(day)]);
    let numbers = [
        tenant.accepted_messages,
        tenant.accepted_recipients,
        tenant.distinct_recipients,
        tenant.delivered,
        tenant.unknown,
        tenant.deferred,
        tenant.hard_bounced,
    ];
    row.extend(numbers.map(|number| number.to_string()));
    row.push(shown(tenant.hard_bounced_percent));
    row.extend([tenant.complaints.to_string(), shown(tenant.complaints_percent)]);
    row.extend(peak(tenant.peak_hour.as_ref()));
    row.extend(peak(tenant.peak_24_hours.as_ref()));
    let numbers = [
        tenant.refused_over_hour_limit,
        tenant.refused_over_day_limit,
        tenant.refused_over_client_limit,
        tenant.refused_suspended,
        tenant.refused_other,
        tenant.over_limit_attempts,
        tenant.bytes,
        tenant.warnings,
    ];
    row.extend(numbers.map(|number| number.to_string()));
    row.push(tenant.suspensions.len().to_string());
    row.extend(headroom(hour));
    row.extend(headroom(day));
    row.push(joined(tenant.top_accounts.iter().map(|line| (&line.account, line.recipients))));
    row.push(joined(tenant.top_networks.iter().map(|line| (&line.network, line.recipients))));
    row.push(joined(tenant.top_domains.iter().map(|line| (&line.domain, line.recipients))));
    let stored = [tenant.storage_bytes, tenant.storage_peak_bytes, tenant.storage_files];
    row.extend(stored.map(|number| number.map(|number| number.to_string()).unwrap_or_default()));
    row.extend([tenant.flagged, tenant.throttled].map(|number| number.to_string()));
    row
}

fn limit(tenant: &TenantReport, seconds: u64) -> Option<&LimitView> {
    let window = Duration::from_secs(seconds);
    tenant
        .limits
        .iter()
        .find(|view| view.unit == Unit::Recipients && view.window.length() == window)
}

fn max(limit: Option<&LimitView>) -> String {
    limit.map(|view| view.max.to_string()).unwrap_or_default()
}

fn headroom(limit: Option<&LimitView>) -> [String; 2] {
    let next = limit.and_then(|view| view.next_slot);
    [
        limit.map(|view| view.remaining.to_string()).unwrap_or_default(),
        next.map(|slot| slot.to_string()).unwrap_or_default(),
    ]
}

fn peak(peak: Option<&PeakView>) -> [String; 3] {
    peak.map_or_else(Default::default, |peak| {
        [peak.recipients.to_string(), peak.from.to_string(), shown(peak.percent)]
    })
}

fn shown(percent: Option<f64>) -> String {
    percent.map(|percent| percent.to_string()).unwrap_or_default()
}

fn joined<'a>(lines: impl Iterator<Item = (&'a String, u64)>) -> String {
    lines.map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" ")
}

const COLUMNS: [&str; 47] = [
    "tenant",
    "plan",
    "state",
    "begin",
    "end",
    "time_zone",
    "minutes",
    "minutes_collected",
    "limit_hour",
    "limit_24_hours",
    "accepted_messages",
    "accepted_recipients",
    "distinct_recipients",
    "delivered",
    "unknown",
    "deferred",
    "hard_bounced",
    "hard_bounced_percent",
    "complaints",
    "complaints_percent",
    "peak_hour",
    "peak_hour_from",
    "peak_hour_percent",
    "peak_24_hours",
    "peak_24_hours_from",
    "peak_24_hours_percent",
    "refused_over_hour_limit",
    "refused_over_day_limit",
    "refused_over_client_limit",
    "refused_suspended",
    "refused_other",
    "over_limit_attempts",
    "bytes",
    "warnings",
    "suspensions",
    "left_hour",
    "next_slot_hour",
    "left_24_hours",
    "next_slot_24_hours",
    "top_accounts",
    "top_networks",
    "top_domains",
    "storage_bytes",
    "storage_peak_bytes",
    "storage_files",
    "flagged",
    "throttled",
];
