//! From what is stored about tenants to what their reports say.

use super::{
    AccountLine, DomainLine, NetworkLine, PeakView, SuspensionLine, TenantReport, moments,
};
use crate::{
    admin::{Admin, AdminError, ClosingView, LimitView, SubjectView, tenant_of},
    rules::tally::{Counts, period::Period},
    store::archive::{AccountUsage, Peak, StoragePast, TenantUsage},
    types::{SubjectId, TenantId, Unit},
};
use std::time::Duration;

/// The reports of tenants whose records are at hand, in the same order.
pub(super) async fn reports(
    admin: &Admin,
    period: &Period,
    views: Vec<SubjectView>,
) -> Result<Vec<TenantReport>, AdminError> {
    let names: Vec<TenantId> = views.iter().filter_map(|view| view.name.parse().ok()).collect();
    let between = moments(&admin.zone, period);
    let days = period.first()..=period.last();
    let stored = admin.archive.storage_of_tenants(names.clone(), days).await?;
    let usages = admin.archive.tenants_usage(names, period.pieces(), between, TOP_LINES).await?;
    let found = views.into_iter().zip(usages).zip(stored);
    let mut reports: Vec<TenantReport> =
        found.map(|((view, usage), stored)| report(view, usage, stored)).collect();
    for closing in admin.archive.closings().await? {
        let tenant = match &closing.subject {
            SubjectId::Account(account) => tenant_of(admin, account).await?,
            SubjectId::Tenant(tenant) => tenant.clone(),
        };
        if let Some(report) = reports.iter_mut().find(|one| one.tenant == tenant.as_str()) {
            let subject = closing.subject.to_string();
            report.closings.push(ClosingView { subject, due: Some(closing.due) });
        }
    }
    Ok(reports)
}

fn report(view: SubjectView, usage: TenantUsage, stored: Option<StoragePast>) -> TenantReport {
    let TenantUsage { sum, accounts, suspensions } = usage;
    let counts = sum.counts;
    let lines = |account: AccountUsage| account_line(account, &counts);
    let suspensions = suspensions.into_iter().map(|row| SuspensionLine {
        case: row.case,
        subject: row.subject,
        since: row.since,
        until: row.until,
        reason: row.reason,
        lifted_by: row.lifted_by,
    });
    TenantReport {
        peak_hour: sum.peak_hour.map(|peak| peak_view(peak, HOUR, &view.limits)),
        peak_24_hours: sum.peak_day.map(|peak| peak_view(peak, DAY, &view.limits)),
        tenant: view.name,
        plan: view.plan,
        state: view.state,
        limits: view.limits,
        accepted_messages: counts.messages,
        accepted_recipients: counts.recipients,
        distinct_recipients: sum.recipients.count(),
        distinct_exact: sum.recipients.is_exact(),
        refused_over_hour_limit: counts.over_hour,
        refused_over_day_limit: counts.over_day,
        refused_over_client_limit: counts.over_client,
        refused_suspended: counts.suspended,
        refused_other: counts.refused_other,
        over_limit_attempts: counts.over_limit(),
        observed: counts.observed,
        delivered: counts.delivered(),
        unknown: counts.unknown,
        deferred: counts.deferred,
        hard_bounced: counts.bounced,
        hard_bounced_percent: bounced_percent(&counts),
        complaints: counts.complaints,
        complaints_percent: percent(counts.complaints, counts.delivered()),
        bytes: counts.bytes,
        storage_bytes: stored.map(|stored| stored.last.bytes),
        storage_peak_bytes: stored.map(|stored| stored.peak_bytes),
        storage_files: stored.map(|stored| stored.last.files),
        warnings: counts.warnings,
        flagged: counts.flagged,
        throttled: counts.throttled,
        first: sum.seen.map(|seen| seen.first),
        last: sum.seen.map(|seen| seen.last),
        top_accounts: accounts.into_iter().map(lines).collect(),
        top_networks: sum.networks.highest(TOP_LINES).into_iter().map(network_line).collect(),
        top_domains: sum.domains.highest(TOP_LINES).into_iter().map(domain_line).collect(),
        suspensions: suspensions.collect(),
        closings: Vec::new(),
    }
}

fn peak_view(peak: Peak, window: Duration, limits: &[LimitView]) -> PeakView {
    let same = |view: &&LimitView| view.unit == Unit::Recipients && view.window.length() == window;
    let limit = limits.iter().find(same).map(|view| view.max);
    let end = peak.hour.begin() + HOUR;
    PeakView {
        recipients: peak.recipients,
        from: end - window,
        limit,
        percent: limit.and_then(|limit| percent(peak.recipients, u64::from(limit))),
    }
}

fn account_line(usage: AccountUsage, whole: &Counts) -> AccountLine {
    AccountLine {
        account: usage.account,
        recipients: usage.counts.recipients,
        percent: percent(usage.counts.recipients, whole.recipients),
        hard_bounced_percent: bounced_percent(&usage.counts),
    }
}

fn network_line((network, place): (&str, crate::rules::tally::Place)) -> NetworkLine {
    NetworkLine { network: network.to_owned(), recipients: place.accepted }
}

fn domain_line((domain, place): (&str, crate::rules::tally::Place)) -> DomainLine {
    DomainLine {
        domain: domain.to_owned(),
        recipients: place.accepted,
        delivered_percent: percent(place.accepted, place.sum()),
    }
}

fn bounced_percent(counts: &Counts) -> Option<f64> {
    percent(counts.bounced, counts.bounced + counts.recipients + counts.deferred)
}

/// A part in percent with one digit after the point; none of nothing.
#[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 * 1_000.0 / whole as f64).round() / 10.0)
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Entries of each list of the most frequent.
const TOP_LINES: usize = 5;
