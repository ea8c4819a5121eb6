//! What each tenant used in a period: read from what was added up as it happened, and from the functions of `explain` for now.
//!
//! Everybody's report comes in pages by name, so that its length costs no memory. Tenants without traffic are in it. What was
//! not listened to is said in the head ([`ReportHead::gaps`]).

mod csv;
mod html;
mod tenant;
#[cfg(test)]
mod tests;
mod view;

pub use csv::{csv_heading, csv_rows};
pub use html::{html, letter};
pub use view::{
    AccountLine, DayLine, DomainLine, Gap, NetworkLine, PeakView, ReportHead, ReportPage,
    SuspensionLine, TenantDocument, TenantReport,
};

use super::{
    Admin, AdminError, PageRequest, Who, availability::count_stretch, list, show, traffic::by_day,
};
use crate::{
    rules::tally::{
        Counts,
        calendar::{Day, Hour, Zone},
        period::Period,
    },
    store::{archive::UsageOf, records::SubjectKind},
    types::{SubjectId, TenantId, Timestamp},
};
use std::{collections::BTreeMap, time::Duration};

/// Reads a period as people write it, with today in the reports' time zone.
///
/// # Errors
/// [`AdminError::Invalid`] if it is none.
pub fn period(admin: &Admin, text: &str) -> Result<Period, AdminError> {
    let today = admin.zone.day_of(admin.utc());
    Period::parse(text, today).map_err(|error| AdminError::Invalid(error.to_string()))
}

/// One page of everybody's report, by name.
///
/// # Errors
/// [`AdminError::Store`] if the store or the archive does not answer.
pub async fn report_page(
    admin: &Admin,
    period: &Period,
    request: &PageRequest,
) -> Result<ReportPage, AdminError> {
    let head = head(admin, period).await?;
    let max = request.max.unwrap_or(REPORT_PAGE_MAX).clamp(1, REPORT_PAGE_MAX);
    let after = request.after.clone().unwrap_or_default();
    let (views, next) = tenants_after(admin, after, max).await?;
    let tenants = tenant::reports(admin, period, views).await?;
    Ok(ReportPage { head, tenants, next })
}

/// One tenant's report, with what it did day by day.
///
/// # Errors
/// [`AdminError::Store`] if the store or the archive does not answer.
pub async fn report_of(
    admin: &Admin,
    period: &Period,
    tenant: &TenantId,
) -> Result<TenantDocument, AdminError> {
    let view = show(admin, &Who::from(SubjectId::Tenant(tenant.clone()))).await?;
    let language = view.language.unwrap_or_default();
    let head = head(admin, period).await?;
    let days = days_of(admin, period, tenant).await?;
    let mut reports = tenant::reports(admin, period, vec![view]).await?;
    let tenant = reports.pop().ok_or_else(|| AdminError::Invalid("no such tenant".into()))?;
    let availability = count_stretch(admin, &(head.begin..head.end), head.made).await?;
    Ok(TenantDocument { head, language, availability, tenant, days })
}

/// What a tenant did on each day of a period.
async fn days_of(
    admin: &Admin,
    period: &Period,
    tenant: &TenantId,
) -> Result<Vec<DayLine>, AdminError> {
    let of = UsageOf { tenant: tenant.clone(), account: None };
    // Days that have not come are no gaps.
    let last = period.last().min(admin.zone.day_of(admin.utc()));
    let days = by_day(admin, of, period.first(), last).await?;
    Ok(days.into_iter().map(|(day, counts)| day_line(day, counts)).collect())
}

fn day_line(day: Day, counts: Option<Counts>) -> DayLine {
    let known = counts.unwrap_or_default();
    DayLine {
        day: day.to_string(),
        collected: counts.is_some(),
        accepted: known.recipients,
        deferred: known.deferred,
        hard_bounced: known.bounced,
        refused: known.refused(),
    }
}

/// Tenants of reports, in pages by name, with where to go on.
///
/// # Errors
/// [`AdminError::Store`] if the store or the archive does not answer.
pub async fn report_tenants(
    admin: &Admin,
    after: Option<String>,
) -> Result<(Vec<super::SubjectView>, Option<String>), AdminError> {
    tenants_after(admin, after.unwrap_or_default(), REPORT_PAGE_MAX).await
}

/// Tenants by name: who is recorded or has a history, and of whom anything is still counted.
async fn tenants_after(
    admin: &Admin,
    after: String,
    max: usize,
) -> Result<(Vec<super::SubjectView>, Option<String>), AdminError> {
    let request = PageRequest { after: Some(after.clone()), max: Some(max + 1) };
    let known = list(admin, SubjectKind::Tenants, &request).await?.items;
    let mut views: BTreeMap<String, Option<super::SubjectView>> =
        known.into_iter().map(|view| (view.name.clone(), Some(view))).collect();
    for name in admin.archive.usage_tenants(after, max + 1).await? {
        views.entry(name).or_default();
    }
    let more = views.len() > max;
    let mut page = Vec::with_capacity(max);
    for (name, view) in views.into_iter().take(max) {
        page.push(match view {
            Some(view) => view,
            None => show(admin, &Who::new(SubjectKind::Tenants, &name)?).await?,
        });
    }
    let next = page.last().filter(|_| more).map(|view| view.name.clone());
    Ok((page, next))
}

async fn head(admin: &Admin, period: &Period) -> Result<ReportHead, AdminError> {
    let zone = &admin.zone;
    let (first, end) = zone.hours_of(period.first(), period.last());
    let made = admin.utc();
    // What has not come yet is no gap.
    let until = end.min(Hour::new(Hour::of(made).number() + 1)).max(first);
    let coverage = admin.archive.coverage(first, until).await?;
    let collected: Duration = coverage.hours.values().sum();
    let (gaps, more_gaps) = gaps(first, until, |hour| coverage.hours.contains_key(&hour));
    let end = end.begin();
    let passed = made.min(end).since(first.begin());
    Ok(ReportHead {
        period: period.to_string(),
        time_zone: zone.name().to_owned(),
        begin: first.begin(),
        end,
        made,
        minutes: passed.as_secs() / 60,
        minutes_collected: collected.min(passed).as_secs() / 60,
        events_lost: coverage.lost,
        gaps,
        more_gaps,
    })
}

/// Stretches of hours in which nothing was listened to, the first [`GAPS_MAX`] of them.
fn gaps(first: Hour, end: Hour, is_covered: impl Fn(Hour) -> bool) -> (Vec<Gap>, bool) {
    let mut gaps: Vec<Gap> = Vec::new();
    for hour in (first.number()..end.number()).map(Hour::new).filter(|&hour| !is_covered(hour)) {
        let until: Timestamp = Hour::new(hour.number() + 1).begin();
        let is_full = gaps.len() == GAPS_MAX;
        match gaps.last_mut() {
            Some(gap) if gap.until == hour.begin() => gap.until = until,
            _ if is_full => return (gaps, true),
            _ => gaps.push(Gap { from: hour.begin(), until }),
        }
    }
    (gaps, false)
}

/// The moments between which a period lies.
fn moments(zone: &Zone, period: &Period) -> (Timestamp, Timestamp) {
    let end: Day = period.last().plus(1);
    (zone.begin_of(period.first()), zone.begin_of(end))
}

/// The most tenants of one page.
pub const REPORT_PAGE_MAX: usize = 200;
/// The most gaps that one report names.
const GAPS_MAX: usize = 50;
