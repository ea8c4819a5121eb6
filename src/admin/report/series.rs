//! Values over time for plots: what was not listened to has no value.

use super::DayLine;
use crate::{
    admin::{Admin, AdminError},
    rules::tally::{
        Counts,
        calendar::{Day, Hour},
        period::Period,
    },
    store::archive::{AccountUsage, UsageOf},
    types::{AccountId, TenantId, Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the whole gate did in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrafficPoint {
    /// When the minute began.
    pub at: Timestamp,
    /// True if any of it was listened to; what follows is nothing otherwise.
    pub collected: bool,
    /// Accepted recipients.
    pub accepted: u64,
    /// Recipients that the next hop put off.
    pub deferred: u64,
    /// Recipients that the next hop or Tollgate refused.
    pub refused: u64,
}

/// Whose series is asked for.
#[derive(Debug, Clone)]
pub struct SeriesOf {
    /// The tenant.
    pub tenant: TenantId,
    /// One account of it; none: the tenant as a whole.
    pub account: Option<AccountId>,
}

/// One slot of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesPoint {
    /// When it begins.
    pub at: Timestamp,
    /// What was counted; none: nothing was listened to.
    pub counts: Option<Counts>,
}

/// The last minutes that have ended, oldest first, at most a day.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn traffic(admin: &Admin, minutes: u16) -> Result<Vec<TrafficPoint>, AdminError> {
    let end = admin.utc().as_millis().div_euclid(MINUTE_MILLIS);
    let first = end - i64::from(minutes.min(TRAFFIC_MINUTES_MAX));
    let known = admin.archive.traffic(first, end).await?;
    let point = |number: i64| {
        let minute = known.get(&number).copied().unwrap_or_default();
        TrafficPoint {
            at: Timestamp::from_millis(number * MINUTE_MILLIS),
            collected: !minute.collected.is_zero(),
            accepted: minute.accepted,
            deferred: minute.deferred,
            refused: minute.refused,
        }
    };
    Ok((first..end).map(point).collect())
}

/// The accounts that sent most in this hour and so many before it.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn top_senders(
    admin: &Admin,
    hours: u16,
    max: usize,
) -> Result<Vec<AccountUsage>, AdminError> {
    let end = Hour::of(admin.utc()).number() + 1;
    let first = end - i64::from(hours.max(1));
    Ok(admin.archive.top_senders(Hour::new(first), Hour::new(end), max).await?)
}

/// Refusals of Tollgate's own by reason in this hour and so many before it; of everybody's if nobody is named.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn refusal_reasons(
    admin: &Admin,
    of: Option<SeriesOf>,
    hours: u16,
) -> Result<Vec<(String, u64)>, AdminError> {
    let end = Hour::of(admin.utc()).number() + 1;
    let first = end - i64::from(hours.max(1));
    let of = of.map(UsageOf::from);
    Ok(admin.archive.refusal_reasons(of, Hour::new(first), Hour::new(end)).await?)
}

/// This hour and so many before it, oldest first.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn hourly(
    admin: &Admin,
    of: SeriesOf,
    hours: u16,
) -> Result<Vec<SeriesPoint>, AdminError> {
    let end = Hour::of(admin.utc()).number() + 1;
    let first = end - i64::from(hours.max(1));
    let (first, end) = (Hour::new(first), Hour::new(end));
    let known = admin.archive.usage_by_hour(of.into(), first, end).await?;
    let coverage = admin.archive.coverage(first, end).await?;
    let point = |hour: Hour| {
        let counts = known.get(&hour).copied();
        let quiet = coverage.hours.contains_key(&hour).then(Counts::default);
        SeriesPoint { at: hour.begin(), counts: counts.or(quiet) }
    };
    Ok((first.number()..end.number()).map(Hour::new).map(point).collect())
}

/// Today and so many days before it, oldest first.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn daily(admin: &Admin, of: SeriesOf, days: u16) -> Result<Vec<SeriesPoint>, AdminError> {
    let today = admin.zone.day_of(admin.utc());
    let first = today.plus(1 - i32::from(days.max(1)));
    let days = by_day(admin, of, first, today).await?;
    let point = |(day, counts)| SeriesPoint { at: admin.zone.begin_of(day), counts };
    Ok(days.into_iter().map(point).collect())
}

/// What a tenant did on each day of a period.
pub(super) async fn days_of(
    admin: &Admin,
    period: &Period,
    tenant: &TenantId,
) -> Result<Vec<DayLine>, AdminError> {
    let of = SeriesOf { tenant: tenant.clone(), account: None };
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

async fn by_day(
    admin: &Admin,
    of: SeriesOf,
    first: Day,
    last: Day,
) -> Result<Vec<(Day, Option<Counts>)>, AdminError> {
    let known = admin.archive.usage_by_day(of.into(), first, last).await?;
    let (begin, end) = admin.zone.hours_of(first, last);
    let coverage = admin.archive.coverage(begin, end).await?;
    let counts = |day: Day| {
        let (begin, end) = admin.zone.hours_of(day, day);
        let is_covered = coverage.hours.range(begin..end).next().is_some();
        known.get(&day).copied().or_else(|| is_covered.then(Counts::default))
    };
    let days = (first.number()..=last.number()).map(Day::new);
    Ok(days.map(|day| (day, counts(day))).collect())
}

impl From<SeriesOf> for UsageOf {
    fn from(of: SeriesOf) -> Self {
        Self { tenant: of.tenant, account: of.account }
    }
}

const MINUTE_MILLIS: i64 = 60_000;
const TRAFFIC_MINUTES_MAX: u16 = 1_440;
