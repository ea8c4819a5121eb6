//! `tollgate report`: what tenants used, as a table, CSV, JSON or a page.

use super::{
    CliError,
    args::{Gate, ReportArgs, ReportFormat},
    client::segment,
    output,
    remote::{Remote, json_lines},
    table::Table,
};
use crate::admin::{
    self, PeakView, ReportHead, ReportPage, State, StretchView, TenantDocument, TenantReport,
};

/// `tollgate report …`
pub(super) fn show(wanted: &ReportArgs, gate: &Gate) -> Result<(), CliError> {
    let remote = Remote::new(gate)?;
    let format = if gate.json { ReportFormat::Json } else { wanted.format };
    match (&wanted.tenant, format) {
        (Some(tenant), _) => {
            let path = format!("/v1/reports/{}?{}", segment(tenant.as_str()), period(wanted));
            let document: TenantDocument = remote.client.read(&path)?;
            output::print(&one(&document, format)?);
            Ok(())
        }
        (None, ReportFormat::Html) => {
            Err(CliError::Usage("a page is for one tenant: --tenant T, or --format csv".into()))
        }
        (None, _) => all(&remote, wanted, format),
    }
}

fn period(wanted: &ReportArgs) -> String {
    format!("period={}", segment(&wanted.period))
}

/// Page by page, so that ten thousand tenants need no more memory than two hundred. JSON is a line for each tenant, after one for
/// the head.
fn all(remote: &Remote, wanted: &ReportArgs, format: ReportFormat) -> Result<(), CliError> {
    let mut from = String::new();
    let mut is_first = true;
    loop {
        let path = format!("/v1/reports?{}{from}", period(wanted));
        let page: ReportPage = remote.client.read(&path)?;
        if is_first {
            output::print(&opening(&page.head, format)?);
        }
        output::print(&match format {
            ReportFormat::Csv => admin::csv_rows(&page.head, &page.tenants),
            ReportFormat::Json => json_lines(&page.tenants)?,
            ReportFormat::Table | ReportFormat::Html => rows_text(&page.tenants),
        });
        let Some(next) = page.next else { return Ok(()) };
        (from, is_first) = (format!("&after={}", segment(&next)), false);
    }
}

fn opening(head: &ReportHead, format: ReportFormat) -> Result<String, CliError> {
    match format {
        ReportFormat::Csv => Ok(admin::csv_heading()),
        ReportFormat::Json => json_lines(&[head]),
        ReportFormat::Table | ReportFormat::Html => Ok(head_text(head) + "\n"),
    }
}

fn one(document: &TenantDocument, format: ReportFormat) -> Result<String, CliError> {
    let tenants = std::slice::from_ref(&document.tenant);
    Ok(match format {
        ReportFormat::Csv => admin::csv_heading() + &admin::csv_rows(&document.head, tenants),
        ReportFormat::Json => {
            serde_json::to_string_pretty(document)
                .map_err(|error| CliError::Failed(format!("print the report: {error}")))?
                + "\n"
        }
        ReportFormat::Html => admin::report_html(document),
        ReportFormat::Table => {
            format!("{}\n{}", head_text(&document.head), tenant_text(document))
        }
    })
}

fn head_text(head: &ReportHead) -> String {
    let mut text = format!("{} ({}), as of {}\n", head.period, head.time_zone, head.made);
    if head.minutes_collected < head.minutes {
        text.push_str(&format!(
            "counted in {} of {} minutes; the others are gaps and not zeros\n",
            head.minutes_collected, head.minutes
        ));
    }
    for gap in &head.gaps {
        text.push_str(&format!("  gap {} to {}\n", gap.from, gap.until));
    }
    if head.more_gaps {
        text.push_str("  and more gaps\n");
    }
    if head.events_lost > 0 {
        text.push_str(&format!("{} events were lost and are not counted\n", head.events_lost));
    }
    text
}

fn rows_text(tenants: &[TenantReport]) -> String {
    let mut table = Table::new(&[
        "TENANT",
        "PLAN",
        "STATE",
        "MESSAGES",
        "RECIPIENTS",
        "DISTINCT",
        "PEAK/H",
        "PEAK/24H",
        "DELIVERED",
        "DEFERRED",
        "BOUNCED",
        "OVER LIMIT",
        "REFUSED",
    ]);
    for tenant in tenants {
        let peak =
            |peak: &Option<PeakView>| peak.as_ref().map_or(0, |peak| peak.recipients).to_string();
        let refused = tenant.refused_suspended + tenant.refused_other;
        table.row([
            tenant.tenant.clone(),
            tenant.plan.to_string(),
            state(&tenant.state).to_owned(),
            tenant.accepted_messages.to_string(),
            tenant.accepted_recipients.to_string(),
            tenant.distinct_recipients.to_string(),
            peak(&tenant.peak_hour),
            peak(&tenant.peak_24_hours),
            tenant.delivered.to_string(),
            tenant.deferred.to_string(),
            tenant.hard_bounced.to_string(),
            tenant.over_limit_attempts.to_string(),
            refused.to_string(),
        ]);
    }
    table.render("")
}

fn availability_text(view: &StretchView) -> String {
    let shown = |percent: f64| format!("{percent} % of {} % a month", view.target_percent);
    view.percent.map_or_else(|| "not known".into(), shown)
}

const fn state(state: &State) -> &'static str {
    match state {
        State::Active => "active",
        State::Suspended { .. } => "suspended",
    }
}

fn tenant_text(document: &TenantDocument) -> String {
    let tenant = &document.tenant;
    let mut table = Table::plain();
    let about = if tenant.distinct_exact { "" } else { "about " };
    let number = |number: u64| number.to_string();
    for (name, value) in [
        ("tenant", tenant.tenant.clone()),
        ("plan", tenant.plan.to_string()),
        ("state", state(&tenant.state).to_owned()),
        ("accepted messages", number(tenant.accepted_messages)),
        ("accepted recipients", number(tenant.accepted_recipients)),
        ("distinct recipients", format!("{about}{}", tenant.distinct_recipients)),
        ("peak hour", peak_text(tenant.peak_hour.as_ref())),
        ("peak 24 hours", peak_text(tenant.peak_24_hours.as_ref())),
        ("delivered", number(tenant.delivered)),
        ("fate unknown", number(tenant.unknown)),
        ("deferred", number(tenant.deferred)),
        (
            "hard bounced",
            format!("{}{}", tenant.hard_bounced, percent(tenant.hard_bounced_percent)),
        ),
        ("complaints", format!("{}{}", tenant.complaints, percent(tenant.complaints_percent))),
        ("over hour limit", number(tenant.refused_over_hour_limit)),
        ("over day limit", number(tenant.refused_over_day_limit)),
        ("over client limit", number(tenant.refused_over_client_limit)),
        ("while suspended", number(tenant.refused_suspended)),
        ("otherwise refused", number(tenant.refused_other)),
        ("warnings", number(tenant.warnings)),
        ("flagged", number(tenant.flagged)),
        ("throttled", number(tenant.throttled)),
        ("bytes", number(tenant.bytes)),
        ("availability", availability_text(&document.availability)),
    ] {
        table.row([name.to_owned(), value]);
    }
    table.render("") + &lists_text(tenant)
}

fn lists_text(tenant: &TenantReport) -> String {
    let mut text = String::new();
    let mut list = |title: &str, rows: Vec<[String; 3]>| {
        if !rows.is_empty() {
            let mut table = Table::plain();
            rows.into_iter().for_each(|row| table.row(row));
            text.push_str(&format!("\n{title}\n{}", table.render("  ")));
        }
    };
    let limits = tenant.limits.iter().map(|view| {
        let next = view.next_slot.map_or_else(String::new, |slot| format!("next slot {slot}"));
        let used = format!("{} of {} {} in {}", view.used, view.max, view.unit, view.window);
        [used, format!("{} left", view.remaining), next]
    });
    list("limits now", limits.collect());
    let accounts = tenant.top_accounts.iter().map(|line| {
        [line.account.clone(), line.recipients.to_string(), percent(line.percent).trim().to_owned()]
    });
    list("top accounts", accounts.collect());
    let domains = tenant.top_domains.iter().map(|line| {
        let delivered = percent(line.delivered_percent).trim().to_owned();
        [line.domain.clone(), line.recipients.to_string(), delivered]
    });
    list("top domains (delivered)", domains.collect());
    let networks = tenant.top_networks.iter();
    let networks =
        networks.map(|line| [line.network.clone(), line.recipients.to_string(), String::new()]);
    list("top client networks", networks.collect());
    let suspensions = tenant.suspensions.iter().map(|line| {
        let until = line.until.map_or_else(|| String::from("now"), |until| until.to_string());
        [
            format!("{} {}", line.subject, line.case),
            format!("{} to {until}", line.since),
            line.reason.clone(),
        ]
    });
    list("suspensions", suspensions.collect());
    let closings = tenant.closings.iter().map(|line| {
        let due = line.due.map_or_else(String::new, |due| format!("erased after {due}"));
        [line.subject.clone(), due, String::new()]
    });
    list("leaving", closings.collect());
    text
}

fn peak_text(peak: Option<&PeakView>) -> String {
    let Some(peak) = peak else { return String::from("0") };
    format!("{}{} from {}", peak.recipients, percent(peak.percent), peak.from)
}

fn percent(percent: Option<f64>) -> String {
    percent.map(|percent| format!(" ({percent} %)")).unwrap_or_default()
}
