//! One tenant's report as a page that can be printed: plots as SVG, no script, nothing loaded from elsewhere.

use super::{DayLine, TenantDocument, TenantReport};
use crate::{
    admin::{State, StretchView},
    chart::{self, Chart, Kind, Paint, Series},
    rules::tally::calendar::Zone,
    types::{ByteCount, Language, Timestamp},
};
use askama::Template;

/// The page, in the tenant's language.
#[must_use]
pub fn html(document: &TenantDocument) -> String {
    page(document, Form::Page)
}

/// Subject, text and HTML of a letter with the report; mail programs show no plot, so the table stands in its place.
#[must_use]
pub fn letter(document: &TenantDocument) -> (String, String, String) {
    let words = words(document.language);
    let t = &document.tenant;
    let subject = format!("{}: {}, {}", words.title, t.tenant, document.head.period);
    (subject, text(document, words), page(document, Form::Letter))
}

fn text(document: &TenantDocument, words: &'static Words) -> String {
    let zone = document.head.time_zone.parse().unwrap_or(Zone::UTC);
    let shown = |moment: Timestamp| zone.show(moment, "%Y-%m-%d %H:%M");
    let t = &document.tenant;
    let mut lines = vec![
        format!(
            "{}: {}, {} ({})",
            words.title, t.tenant, document.head.period, document.head.time_zone
        ),
        String::new(),
    ];
    lines.extend(notes(document, words));
    let pairs = |(name, value): Two| format!("{name}: {value}");
    lines.extend(rows(document, words, &shown).into_iter().map(pairs));
    lines.extend([String::new(), words.refused.to_owned()]);
    lines.extend(refused(t, words).into_iter().map(|(name, count)| format!("  {name}: {count}")));
    for (title, rows) in lists(t, words) {
        lines.extend([String::new(), title.to_owned()]);
        lines.extend(
            rows.into_iter().map(|(name, count, part)| format!("  {name}: {count} {part}")),
        );
    }
    lines.join("\n") + "\n"
}

/// Where the report is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    /// Without a plot.
    Letter,
}

fn page(document: &TenantDocument, form: Form) -> String {
    let words = words(document.language);
    let zone = document.head.time_zone.parse().unwrap_or(Zone::UTC);
    let chart = chart(document, words);
    let t = &document.tenant;
    let shown = |moment: Timestamp| zone.show(moment, "%Y-%m-%d %H:%M");
    let page = Page {
        words,
        t,
        head: &document.head,
        style: if form == Form::Page { chart::STYLE } else { "" },
        state: state(&t.state, words),
        made: shown(document.head.made),
        notes: notes(document, words),
        rows: rows(document, words, &shown),
        plot: if form == Form::Page { chart.to_svg() } else { String::new() },
        table: chart.to_table(),
        limits: limits(t, &shown),
        refused: refused(t, words),
        lists: lists(t, words),
        suspensions: suspensions(t, words, &shown),
    };
    // Rendering into memory cannot fail.
    page.render().unwrap_or_default()
}

type Two = (String, String);
type Three = (String, String, String);
type Shown<'a> = &'a dyn Fn(Timestamp) -> String;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    words: &'static Words,
    t: &'a TenantReport,
    head: &'a super::ReportHead,
    style: &'static str,
    state: String,
    made: String,
    notes: Vec<String>,
    rows: Vec<Two>,
    plot: String,
    table: String,
    limits: Vec<(String, String, String, String)>,
    refused: Vec<Two>,
    lists: Vec<(&'static str, Vec<Three>)>,
    suspensions: Vec<Three>,
}

fn state(state: &State, words: &Words) -> String {
    match state {
        State::Active => words.active.into(),
        State::Suspended { case, reason, .. } => format!("{} ({case}): {reason}", words.suspended),
    }
}

fn notes(document: &TenantDocument, words: &Words) -> Vec<String> {
    let head = &document.head;
    let mut notes = Vec::new();
    if head.minutes_collected + UNNOTED_MINUTES_MAX < head.minutes {
        let missing = head.minutes - head.minutes_collected;
        notes.push(
            words
                .gaps
                .replace("{missing}", &missing.to_string())
                .replace("{all}", &head.minutes.to_string()),
        );
    }
    if head.events_lost > 0 {
        notes.push(words.lost.replace("{count}", &head.events_lost.to_string()));
    }
    for closing in &document.tenant.closings {
        let due = closing.due.map_or_else(String::new, |due| due.to_string());
        notes.push(words.leaves.replace("{subject}", &closing.subject).replace("{due}", &due));
    }
    notes
}

fn rows(document: &TenantDocument, words: &Words, shown: Shown<'_>) -> Vec<Two> {
    let t = &document.tenant;
    let distinct = if t.distinct_exact { "" } else { "≈ " };
    let peak = |peak: &Option<super::PeakView>| {
        peak.as_ref().map_or_else(
            || String::from("–"),
            |peak| format!("{}{} · {}", peak.recipients, of_limit(peak.percent), shown(peak.from)),
        )
    };
    let bounced = format!("{}{}", t.hard_bounced, of_limit(t.hard_bounced_percent));
    [
        (words.messages, t.accepted_messages.to_string()),
        (words.recipients, t.accepted_recipients.to_string()),
        (words.distinct, format!("{distinct}{}", t.distinct_recipients)),
        (words.delivered, t.delivered.to_string()),
        (words.unknown, t.unknown.to_string()),
        (words.deferred, t.deferred.to_string()),
        (words.bounced, bounced),
        (words.complaints, format!("{}{}", t.complaints, of_limit(t.complaints_percent))),
        (words.peak_hour, peak(&t.peak_hour)),
        (words.peak_day, peak(&t.peak_24_hours)),
        (words.bytes, t.bytes.to_string()),
        (words.warnings, t.warnings.to_string()),
        (words.flagged, t.flagged.to_string()),
        (words.throttled, t.throttled.to_string()),
        (words.storage, storage(t, words)),
        (words.availability, availability(&document.availability, words)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn storage(t: &TenantReport, words: &Words) -> String {
    let (Some(bytes), Some(peak)) = (t.storage_bytes, t.storage_peak_bytes) else {
        return String::from("–");
    };
    let (now, peak) = (ByteCount::new(bytes).in_words(), ByteCount::new(peak).in_words());
    format!("{now} ({} {peak})", words.at_most)
}

fn availability(view: &StretchView, words: &Words) -> String {
    let promised = words.promised.replace("{target}", &view.target_percent.to_string());
    view.percent.map_or_else(|| String::from("–"), |percent| format!("{percent} % ({promised})"))
}

fn of_limit(percent: Option<f64>) -> String {
    percent.map(|percent| format!(" ({percent} %)")).unwrap_or_default()
}

fn limits(t: &TenantReport, shown: Shown<'_>) -> Vec<(String, String, String, String)> {
    let row = |view: &crate::admin::LimitView| {
        let next = view.next_slot.map_or_else(|| String::from("–"), shown);
        let name = format!("{} {} / {}", view.max, view.unit, view.window);
        (name, view.used.to_string(), view.remaining.to_string(), next)
    };
    t.limits.iter().map(row).collect()
}

fn refused(t: &TenantReport, words: &Words) -> Vec<Two> {
    [
        (words.over_hour, t.refused_over_hour_limit),
        (words.over_day, t.refused_over_day_limit),
        (words.over_client, t.refused_over_client_limit),
        (words.while_suspended, t.refused_suspended),
        (words.other, t.refused_other),
    ]
    .map(|(name, count)| (name.to_owned(), count.to_string()))
    .into()
}

fn lists(t: &TenantReport, words: &'static Words) -> Vec<(&'static str, Vec<Three>)> {
    let percent = |percent: Option<f64>| percent.map(|p| format!("{p} %")).unwrap_or_default();
    let accounts = t
        .top_accounts
        .iter()
        .map(|line| (line.account.clone(), line.recipients.to_string(), percent(line.percent)));
    let domains = t.top_domains.iter().map(|line| {
        (line.domain.clone(), line.recipients.to_string(), percent(line.delivered_percent))
    });
    let networks = t
        .top_networks
        .iter()
        .map(|line| (line.network.clone(), line.recipients.to_string(), String::new()));
    let lists = [
        (words.top_accounts, accounts.collect::<Vec<_>>()),
        (words.top_domains, domains.collect()),
        (words.top_networks, networks.collect()),
    ];
    lists.into_iter().filter(|(_, rows)| !rows.is_empty()).collect()
}

fn suspensions(t: &TenantReport, words: &Words, shown: Shown<'_>) -> Vec<Three> {
    let row = |line: &super::SuspensionLine| {
        let until = line.until.map_or_else(|| words.not_lifted.to_owned(), shown);
        let name = format!("{} ({})", line.subject, line.case);
        (name, format!("{} – {until}", shown(line.since)), line.reason.clone())
    };
    t.suspensions.iter().map(row).collect()
}

fn chart<'a>(document: &'a TenantDocument, words: &'static Words) -> Chart<'a> {
    let days = &document.days;
    let values = |of: fn(&DayLine) -> u64| {
        days.iter().map(|day| day.collected.then(|| of(day))).collect::<Vec<_>>()
    };
    let series = |name, paint, of| Series { name, paint, values: values(of) };
    Chart {
        id: "days",
        title: words.by_day,
        description: words.by_day_description,
        value_label: words.recipients,
        time_label: words.day,
        gap_label: words.gap,
        kind: Kind::Bars,
        slots: days.iter().map(|day| day.day.get(5..).unwrap_or(&day.day).to_owned()).collect(),
        series: vec![
            series(words.accepted, Paint::Accepted, |day| day.accepted),
            series(words.deferred, Paint::Deferred, |day| day.deferred),
            series(words.refused_bars, Paint::Refused, |day| day.refused + day.hard_bounced),
        ],
        mark: None,
    }
}

/// A restart costs less than a minute, and is not worth a note.
const UNNOTED_MINUTES_MAX: u64 = 2;

macro_rules! words {
    ($($name:ident: $english:literal, $indonesian:literal;)*) => {
        /// The words of the page.
        struct Words { $($name: &'static str,)* }
        const ENGLISH: Words = Words { $($name: $english,)* };
        const INDONESIAN: Words = Words { $($name: $indonesian,)* };
    };
}

const fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &ENGLISH,
        Language::Indonesian => &INDONESIAN,
    }
}

words! {
    tag: "en", "id";
    title: "E-mail usage", "Pemakaian e-mail";
    plan: "plan", "paket";
    active: "active", "aktif";
    suspended: "suspended", "ditangguhkan";
    made: "as of", "per";
    gaps: "Not everything was counted: {missing} of {all} minutes are missing. They are gaps, not zeros.",
        "Tidak semuanya terhitung: {missing} dari {all} menit hilang. Itu celah data, bukan nol.";
    lost: "{count} events were lost and are not counted.", "{count} kejadian hilang dan tidak terhitung.";
    sent: "Sent", "Terkirim";
    messages: "Accepted messages", "Pesan diterima";
    recipients: "Accepted recipients", "Penerima diterima";
    distinct: "Different recipients", "Penerima berbeda";
    delivered: "Accepted by the next server", "Diterima server berikutnya";
    unknown: "Fate unknown (counted)", "Nasib tidak diketahui (dihitung)";
    deferred: "Put off", "Ditunda";
    bounced: "Refused by the next server", "Ditolak server berikutnya";
    complaints: "Complaints", "Keluhan";
    peak_hour: "Busiest hour (of the limit)", "Jam tersibuk (dari batas)";
    peak_day: "Busiest 24 hours (of the limit)", "24 jam tersibuk (dari batas)";
    bytes: "Bytes", "Bita";
    warnings: "Warnings at 80 % and 100 %", "Peringatan pada 80 % dan 100 %";
    flagged: "Times that sending looked suspicious", "Kali pengiriman tampak mencurigakan";
    throttled: "Times that limits were reduced", "Kali batas dikurangi";
    availability: "Availability of the service", "Ketersediaan layanan";
    storage: "Mail storage", "Ruang surat";
    at_most: "at most", "paling banyak";
    promised: "{target} % a month promised", "dijanjikan {target} % per bulan";
    numbers: "The numbers", "Angka-angkanya";
    limits: "Limits now", "Batas saat ini";
    limit: "Limit", "Batas";
    used: "used", "terpakai";
    left: "left", "sisa";
    next: "next slot", "slot berikutnya";
    refused: "Refused here", "Ditolak di sini";
    over_hour: "over the hourly limit", "melebihi batas per jam";
    over_day: "over the daily limit", "melebihi batas harian";
    over_client: "over the limit of the client's address", "melebihi batas alamat klien";
    while_suspended: "while suspended", "selama ditangguhkan";
    other: "for another reason", "karena alasan lain";
    top_accounts: "Accounts that sent most", "Akun dengan kiriman terbanyak";
    top_domains: "Domains with most recipients (delivered)", "Domain dengan penerima terbanyak (terkirim)";
    top_networks: "Networks that most was sent from", "Jaringan asal kiriman terbanyak";
    suspensions: "Suspensions", "Penangguhan";
    leaves: "{subject} leaves: what is stored of it is erased after {due}", "{subject} berhenti: data yang tersimpan dihapus setelah {due}";
    not_lifted: "now", "sekarang";
    by_day: "Recipients by day", "Penerima per hari";
    by_day_description: "Accepted, put off and refused recipients on each day; the numbers are in the table below.",
        "Penerima yang diterima, ditunda, dan ditolak tiap hari; angkanya ada di tabel di bawah.";
    day: "day", "hari";
    gap: "not counted", "tidak terhitung";
    accepted: "accepted", "diterima";
    refused_bars: "refused", "ditolak";
}
