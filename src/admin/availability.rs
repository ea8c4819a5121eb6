//! How much of a month mail could flow, beside what was promised; and planned maintenance, which is counted apart.
//!
//! Everybody who tells of availability (the command line, API, dashboard, reports, metrics and alerts) counts with [`count_month`].

use super::{Admin, AdminError, Until, subjects::check_reason};
use crate::{
    event::{Event, MaintenanceChanged},
    rules::availability::{Minute, Outage, Sla, Tally, tally, to_come},
    store::{
        StoreError,
        archive::{Archive, MaintenanceRow, NewEntry, NewMaintenance},
    },
    types::{Actor, Month, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{ops::Range, time::Duration};
use utoipa::ToSchema;

/// Availability as it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AvailabilityView {
    /// When this was true.
    pub at: Timestamp,
    /// The percentage of a month's minutes that was promised.
    pub target_percent: f64,
    /// Where months begin at midnight.
    pub time_zone: String,
    /// The first minute that was ever noted; what was before is not counted. None: no minute was noted yet.
    pub noted_since: Option<Timestamp>,
    /// The month that was asked for.
    pub month: MonthView,
    /// The months before it, the latest first, as far as minutes were noted and kept, at most twelve.
    pub past: Vec<MonthView>,
    /// Maintenance that goes on or is planned, and what was planned in the month that was asked for.
    pub maintenance: Vec<MaintenanceView>,
}

/// A month's minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MonthView {
    /// The month.
    pub month: Month,
    /// Its first moment.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// The minutes that were counted: those of the month that are over, from the first one on that was ever noted.
    pub minutes: u32,
    /// Of these, the ones in which mail did not flow, planned maintenance apart.
    pub down_minutes: u32,
    /// Of these, the ones of planned maintenance.
    pub maintenance_minutes: u32,
    /// Of the planned maintenance, the minutes in which mail did not flow.
    pub maintenance_down_minutes: u32,
    /// The minutes of the month that are to come.
    pub minutes_to_come: u32,
    /// The percentage of counted minutes that were not down, rounded down; none if there were none.
    pub percent: Option<f64>,
    /// How long mail may not flow in the month, in seconds.
    pub budget_seconds: u64,
    /// How long it did not.
    pub budget_used_seconds: u64,
    /// How long it still may not.
    pub budget_left_seconds: u64,
    /// How much of the budget is used, in percent, rounded down; beyond 100 the promise is broken.
    pub budget_used_percent: u32,
    /// The promise is kept so far.
    pub is_kept: bool,
    /// How many times mail did not flow.
    pub outages_count: u32,
    /// The longest of them.
    pub outages: Vec<OutageView>,
}

/// How much of a stretch of time mail could flow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StretchView {
    /// The percentage of a month's minutes that was promised.
    pub target_percent: f64,
    /// The percentage of counted minutes that were not down, rounded down; none if there were none.
    pub percent: Option<f64>,
    /// The minutes in which mail did not flow, planned maintenance apart.
    pub down_minutes: u32,
    /// The minutes of planned maintenance.
    pub maintenance_minutes: u32,
}

/// Minutes in a row in which mail did not flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutageView {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// How many minutes.
    pub minutes: u32,
    /// What was lacking in any of them: `listening`, `store`, `next-hop`; `program`: it did not run, or stood still.
    pub lacked: Vec<String>,
}

/// Planned maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaintenanceView {
    /// Its number.
    pub id: i64,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Whether it is to come, goes on or is over.
    pub state: MaintenanceState,
    /// Why.
    pub reason: String,
    /// Who planned it.
    pub actor: String,
    /// When it was planned.
    pub planned: Timestamp,
}

/// Whether maintenance is to come, goes on or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MaintenanceState {
    /// It is to come.
    Planned,
    /// It goes on.
    Present,
    /// It is over.
    Over,
}

/// Maintenance that somebody plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenancePlan {
    /// From when; none: from now on.
    #[serde(default)]
    pub from: Option<Until>,
    /// Until when; none: until it is ended, but a day at most.
    #[serde(default)]
    pub until: Option<Until>,
    /// Why.
    pub reason: String,
}

/// Shows a month, the present one if none is given.
///
/// # Errors
/// [`AdminError::Invalid`] for a month that is to come, [`AdminError::Store`] if the archive does not answer.
pub async fn availability(
    admin: &Admin,
    month: Option<Month>,
) -> Result<AvailabilityView, AdminError> {
    let (now, sla) = (admin.utc(), admin.sla.load_full());
    let present = sla.month_of(now);
    let month = month.unwrap_or(present);
    if month > present {
        return Err(AdminError::Invalid(format!("{month} is to come; it is {present}")));
    }
    let (first, counted) = count_month(&admin.archive, &sla, month, now).await?;
    Ok(AvailabilityView {
        at: now,
        target_percent: sla.target.percent(),
        past: past(admin, &sla, month, (now, first)).await?,
        maintenance: maintenance_of(admin, counted.from, now).await?,
        noted_since: first,
        month: counted,
        time_zone: sla.zone.name().to_owned(),
    })
}

/// Counts a month at a moment; also says when the first minute was noted.
///
/// # Errors
/// [`StoreError`] if the archive cannot be read.
pub async fn count_month(
    archive: &Archive,
    sla: &Sla,
    month: Month,
    now: Timestamp,
) -> Result<(Option<Timestamp>, MonthView), StoreError> {
    let moments = sla.range(month);
    let (first, tally) = count(archive, &moments, now).await?;
    Ok((first, view(month, moments, &tally, sla)))
}

/// Counts any stretch of time at a moment, for reports.
pub(super) async fn count_stretch(
    admin: &Admin,
    moments: &Range<Timestamp>,
    now: Timestamp,
) -> Result<StretchView, AdminError> {
    let (_, tally) = count(&admin.archive, moments, now).await?;
    Ok(StretchView {
        target_percent: admin.sla.load().target.percent(),
        percent: tally.percent(),
        down_minutes: tally.down,
        maintenance_minutes: tally.maintenance,
    })
}

/// Also says when the first minute was noted.
async fn count(
    archive: &Archive,
    moments: &Range<Timestamp>,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Tally), StoreError> {
    let stretch = Minute::from(moments.start)..Minute::from(moments.end);
    let known = archive.known_minutes(stretch.clone()).await?;
    let tally = tally(&stretch, to_come(now, known.last), &known);
    Ok((known.first.map(Minute::begins), tally))
}

fn view(month: Month, moments: Range<Timestamp>, tally: &Tally, sla: &Sla) -> MonthView {
    let (budget, used) = (tally.budget(sla.target), tally.used());
    MonthView {
        month,
        from: moments.start,
        until: moments.end,
        minutes: tally.minutes,
        down_minutes: tally.down,
        maintenance_minutes: tally.maintenance,
        maintenance_down_minutes: tally.maintenance_down,
        minutes_to_come: tally.to_come,
        percent: tally.percent(),
        budget_seconds: budget.as_secs(),
        budget_used_seconds: used.as_secs(),
        budget_left_seconds: budget.saturating_sub(used).as_secs(),
        budget_used_percent: tally.budget_used_percent(sla.target),
        is_kept: used <= budget,
        outages_count: tally.outages_count,
        outages: tally.outages.iter().map(OutageView::from).collect(),
    }
}

impl From<&Outage> for OutageView {
    fn from(outage: &Outage) -> Self {
        Self {
            from: outage.from.begins(),
            until: outage.from.plus(outage.minutes.into()).begins(),
            minutes: outage.minutes,
            lacked: outage.lacks.names().into_iter().map(ToOwned::to_owned).collect(),
        }
    }
}

async fn past(
    admin: &Admin,
    sla: &Sla,
    month: Month,
    (now, first): (Timestamp, Option<Timestamp>),
) -> Result<Vec<MonthView>, AdminError> {
    let mut months = Vec::new();
    let mut month = month.previous();
    while months.len() < PAST_MONTHS_MAX && first.is_some_and(|first| first < sla.range(month).end)
    {
        months.push(count_month(&admin.archive, sla, month, now).await?.1);
        month = month.previous();
    }
    Ok(months)
}

/// The maintenance that goes on or is planned, in its order.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn maintenance(admin: &Admin) -> Result<Vec<MaintenanceView>, AdminError> {
    let now = admin.utc();
    maintenance_of(admin, now, now).await
}

async fn maintenance_of(
    admin: &Admin,
    from: Timestamp,
    now: Timestamp,
) -> Result<Vec<MaintenanceView>, AdminError> {
    let rows = admin.archive.maintenance(from..END_OF_TIME).await?;
    Ok(rows.into_iter().map(|row| MaintenanceView::new(row, now)).collect())
}

impl MaintenanceView {
    fn new(row: MaintenanceRow, now: Timestamp) -> Self {
        let MaintenanceRow { id, plan } = row;
        let state = match (plan.begins <= now, now < plan.ends) {
            (false, _) => MaintenanceState::Planned,
            (true, true) => MaintenanceState::Present,
            (true, false) => MaintenanceState::Over,
        };
        Self {
            id,
            from: plan.begins,
            until: plan.ends,
            state,
            reason: plan.reason,
            actor: plan.actor,
            planned: plan.noted,
        }
    }
}

/// Plans maintenance. It cannot begin in the past: what nobody was told of is an outage.
///
/// # Errors
/// [`AdminError::Invalid`] if its times or its reason make no sense, [`AdminError::Conflict`] if too much is planned,
/// [`AdminError::Store`] if it could not be written.
pub async fn plan_maintenance(
    admin: &Admin,
    plan: &MaintenancePlan,
    actor: &Actor,
) -> Result<MaintenanceView, AdminError> {
    let now = admin.utc();
    let new = checked(plan, actor, now)?;
    let times = format!("{} to {}", new.begins, new.ends);
    let entry = NewEntry {
        after: Some(times.clone()),
        reason: Some(new.reason.clone()),
        ..NewEntry::new(now, actor, PLANNED)
    };
    let planned = admin.archive.plan_maintenance(new.clone(), entry).await?;
    let (id, head) =
        planned.ok_or_else(|| AdminError::Conflict("too much is planned already".into()))?;
    admin.tell_audited(PLANNED, head);
    tell(admin, format!("planned {id}: {times}"), &new.reason, actor);
    Ok(MaintenanceView::new(MaintenanceRow { id, plan: new }, now))
}

fn checked(
    plan: &MaintenancePlan,
    actor: &Actor,
    now: Timestamp,
) -> Result<NewMaintenance, AdminError> {
    let reason = check_reason(Some(&plan.reason))?.to_owned();
    let begins = plan.from.map_or(Ok(now), |from| from.resolve(now))?;
    let ends = plan.until.map_or(Ok(begins + OPEN_TIME_MAX), |until| until.resolve(now))?;
    if ends <= begins {
        return Err(AdminError::Invalid(format!("it would end at {ends}, before it begins")));
    }
    if ends.since(begins) > TIME_MAX || begins.since(now) > AHEAD_MAX {
        let text = "maintenance is planned for 31 days at most, and a year ahead at most";
        return Err(AdminError::Invalid(text.into()));
    }
    Ok(NewMaintenance { begins, ends, reason, actor: actor.to_string(), noted: now })
}

/// Ends maintenance that goes on, or takes back what is planned; without a number, all that goes on.
///
/// # Errors
/// [`AdminError::NotFound`] if there is none of this number, [`AdminError::Conflict`] if none goes on, [`AdminError::Invalid`]
/// without a good reason, [`AdminError::Store`] if it could not be written.
pub async fn end_maintenance(
    admin: &Admin,
    id: Option<i64>,
    reason: &str,
    actor: &Actor,
) -> Result<Vec<MaintenanceView>, AdminError> {
    let reason = check_reason(Some(reason))?;
    let now = admin.utc();
    let mut ended = maintenance_of(admin, now, now).await?;
    ended.retain(|known| id.map_or(known.state == MaintenanceState::Present, |id| known.id == id));
    if ended.is_empty() {
        return Err(match id {
            Some(id) => AdminError::NotFound(format!("no maintenance {id} goes on or is planned")),
            None => AdminError::Conflict("no maintenance goes on".into()),
        });
    }
    for known in &ended {
        end_one(admin, known, reason, (actor, now)).await?;
    }
    maintenance_of(admin, now, now).await
}

async fn end_one(
    admin: &Admin,
    known: &MaintenanceView,
    reason: &str,
    (actor, now): (&Actor, Timestamp),
) -> Result<(), AdminError> {
    let (action, word) = match known.state {
        MaintenanceState::Present => ("maintenance-ended", "ended"),
        _ => ("maintenance-taken-back", "taken back"),
    };
    let times = format!("{} to {}", known.from, known.until);
    let entry = NewEntry {
        before: Some(times.clone()),
        reason: Some(reason.to_owned()),
        ..NewEntry::new(now, actor, action)
    };
    // Somebody else may have been faster.
    if let Some(head) = admin.archive.end_maintenance(known.id, entry).await? {
        admin.tell_audited(action, head);
        tell(admin, format!("{word} {}: {times}", known.id), reason, actor);
    }
    Ok(())
}

fn tell(admin: &Admin, change: String, reason: &str, actor: &Actor) {
    let (reason, actor) = (reason.to_owned(), actor.to_string());
    admin.tell(&Event::MaintenanceChanged(MaintenanceChanged { change, reason, actor }));
}

/// The most months that are told before the one that was asked for.
pub const PAST_MONTHS_MAX: usize = 12;
/// Maintenance that nobody ends is over after this, so that no outage hides behind what was forgotten.
const OPEN_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
const TIME_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
const AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// What the audit calls it.
const PLANNED: &str = "maintenance-planned";
/// Later than anything that is planned.
const END_OF_TIME: Timestamp = Timestamp::from_millis(i64::MAX);
