//! Events as Prometheus metrics; docs/metrics.md has them all.
//!
//! Every counter is registered once, at the start, and held; an event costs a few atomic additions. Labels are words
//! of this crate, names of listeners or names of next hops, never names of accounts, so their number is bounded whatever
//! clients do. A word that is not in its table counts as `other`.

use super::sink::Sink;
use crate::{
    event::{
        Event, Evidence, Listener, MessageReport, Outcome, Refusal, RefusalReason, Scanned,
        Scanner, Scans,
    },
    types::{Scope, SubjectId, Timestamp},
};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use parking_lot::{Mutex, RwLock};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// All metrics of the program.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    log: Sink,
    log_lines_lost: Counter,
    log_lines_suppressed: Counter,
    log_write_errors: Counter,
    sessions_opened: ByName<Counter>,
    sessions_open: ByName<Gauge>,
    sessions_closed: Words,
    connections_refused: Words,
    tls_handshakes: Words,
    logins: Words,
    messages: Words,
    messages_evidence: Words,
    recipients: Words,
    message_bytes: Counter,
    message_seconds: Histogram,
    next_hop_seconds: Histogram,
    would_refuse: Counter,
    refusals: Words,
    refused_recipients: Words,
    refusals_observed: Words,
    limits_reached: Words,
    evidence_rejected: Words,
    suspensions: Words,
    resumptions: Words,
    standings: Words,
    breaker_open: Gauge,
    messages_spam: Counter,
    subject_changes: Words,
    tokens: Words,
    rspamd_scans: Words,
    clamav_scans: Words,
    scanner_up: ByName<Gauge>,
    tokens_refused: Words,
    audit_entries: Counter,
    complaints: Words,
    forgotten_rows: Counter,
    places_scarce: Gauge,
    storage_levels: Words,
    storage_source_up: Gauge,
    next_hop_up: ByName<Gauge>,
    next_hop_failures: Counter,
    login_backend_up: Gauge,
    login_backend_failures: Counter,
    config_reloads: Words,
    certificate_reloads: Counter,
    store_up: Gauge,
    store_failures: Counter,
    spool_up: Gauge,
    spool_failures: Counter,
    archive_up: Gauge,
    archive_failures: Counter,
    archive_events_lost: Counter,
    tasks_panicked: Counter,
    alerts: Words,
    alert_sink_up: ByName<Gauge>,
    alert_sink_failures: Counter,
    vitals: VitalGauges,
    /// What has a gauge for being on a list, at most [`LISTED_MAX`].
    blocklist_listed: Mutex<BTreeSet<(Arc<str>, String)>>,
}

/// How full mailboxes are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Storage {
    /// Mailboxes that are known.
    pub mailboxes: u32,
    /// Those without a fresh figure.
    pub unknown: u32,
    /// Those that could not be looked at.
    pub failed: u32,
    /// Octets in all of them.
    pub bytes: u64,
    /// Files in all of them.
    pub files: u64,
    /// How long it took to look.
    pub took: Duration,
}

/// What no event tells, looked at every few seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    /// Mail can flow.
    pub ready: bool,
    /// Every next hop, and whether it is used.
    pub next_hops: Vec<(Arc<str>, bool)>,
    /// The disk of the state directory, in octets: what may still be written, and what it holds altogether.
    pub disk: Option<(u64, u64)>,
    /// Octets of texts in files, and how many there may be.
    pub spool: (u64, u64),
    /// Octets of texts in memory, and how many there may be.
    pub spool_memory: (u64, u64),
    /// When the certificate of ours that ends first does so.
    pub certificate_end: Option<Timestamp>,
    /// Events on their way into the archive, and how many there may be.
    pub archive_queue: (u64, u64),
    /// Events that were written to the archive.
    pub archive_events: u64,
    /// How far this node is with what all nodes tell one another, where there are several.
    pub stream: Option<StreamVitals>,
}

/// How far a node is with what all nodes tell one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamVitals {
    /// Entries that it has not read.
    pub behind: u64,
    /// Since when it has heard nothing.
    pub quiet: Duration,
    /// Octets that wait to be told.
    pub waiting: u64,
    /// Events of other nodes that it missed.
    pub missed: u64,
    /// It can read and tell.
    pub works: bool,
}

/// The present month beside what was promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Availability {
    /// The share of the month's minutes in which mail could flow; none: there was no minute yet.
    pub ratio: Option<f64>,
    /// The share that was promised.
    pub target_ratio: f64,
    /// How long mail may not flow in the month.
    pub budget: Duration,
    /// How long it did not.
    pub used: Duration,
    /// Planned maintenance is going on.
    pub is_maintained: bool,
}

/// What is known of blocklists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocklists {
    /// What is listed: the list, the subject, and the severity as a number, 1 to 3.
    pub listed: Vec<(Arc<str>, String, u8)>,
    /// Each list.
    pub lists: Vec<BlocklistFigures>,
    /// False if no list is answered.
    pub resolvers_answer: bool,
}

/// What is known of one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlocklistFigures {
    /// Its name.
    pub list: Arc<str>,
    /// It can be believed.
    pub is_well: bool,
    /// When it was tested last.
    pub tested: Option<Timestamp>,
    /// How often it was asked.
    pub queries: u64,
    /// How often it was asked for messages.
    pub lookups: u64,
    /// How many of these it listed.
    pub lookups_listed: u64,
    /// How many of these had no answer that says anything.
    pub lookups_unanswered: u64,
    /// Of how many subjects nothing is known.
    pub unknown: usize,
}

impl Metrics {
    /// Registers everything.
    pub(super) fn new(log: Sink) -> Self {
        let recorder = new_recorder();
        let r = &recorder;
        counter(r, "tollgate_build_info", vec![Label::new("version", env!("CARGO_PKG_VERSION"))])
            .absolute(1);
        let store_up = r.register_gauge(&Key::from_name("tollgate_store_up"), &METADATA);
        store_up.set(1.0);
        let login_backend_up =
            r.register_gauge(&Key::from_name("tollgate_login_backend_up"), &METADATA);
        login_backend_up.set(1.0);
        let storage_source_up =
            r.register_gauge(&Key::from_name("tollgate_storage_source_up"), &METADATA);
        storage_source_up.set(1.0);
        let spool_up = r.register_gauge(&Key::from_name("tollgate_spool_up"), &METADATA);
        spool_up.set(1.0);
        let archive_up = r.register_gauge(&Key::from_name("tollgate_archive_up"), &METADATA);
        archive_up.set(1.0);
        Self {
            handle: recorder.handle(),
            log,
            log_lines_lost: single(r, "tollgate_log_lines_lost_total"),
            log_lines_suppressed: single(r, "tollgate_log_lines_suppressed_total"),
            log_write_errors: single(r, "tollgate_log_write_errors_total"),
            sessions_opened: ByName::new("tollgate_sessions_opened_total", "listener"),
            sessions_open: ByName::new("tollgate_sessions_open", "listener"),
            sessions_closed: Words::new(r, "tollgate_sessions_closed_total", "reason", CLOSED),
            connections_refused: Words::new(
                r,
                "tollgate_connections_refused_total",
                "reason",
                CONNECTIONS_REFUSED,
            ),
            tls_handshakes: Words::new(
                r,
                "tollgate_tls_handshakes_total",
                "result",
                TLS_HANDSHAKES,
            ),
            logins: Words::new(r, "tollgate_logins_total", "result", LOGINS),
            messages: Words::new(
                r,
                "tollgate_messages_total",
                "outcome",
                &OUTCOMES.map(Outcome::name),
            ),
            messages_evidence: Words::new(
                r,
                "tollgate_messages_evidence_total",
                "evidence",
                &EVIDENCE.map(Evidence::name),
            ),
            recipients: Words::new(r, "tollgate_recipients_total", "outcome", RECIPIENTS),
            message_bytes: single(r, "tollgate_message_bytes_total"),
            message_seconds: histogram(r, MESSAGE_SECONDS),
            next_hop_seconds: histogram(r, NEXT_HOP_SECONDS),
            would_refuse: single(r, "tollgate_messages_would_refuse_total"),
            refusals: reasons(r, "tollgate_refusals_total"),
            refused_recipients: reasons(r, "tollgate_refused_recipients_total"),
            refusals_observed: reasons(r, "tollgate_refusals_observed_total"),
            limits_reached: Words::new(r, "tollgate_limits_reached_total", "threshold", THRESHOLDS),
            evidence_rejected: Words::new(
                r,
                "tollgate_evidence_rejected_total",
                "reason",
                EVIDENCE_REJECTED,
            ),
            suspensions: Words::new(r, "tollgate_suspensions_total", "scope", SUBJECTS),
            resumptions: Words::new(r, "tollgate_resumptions_total", "scope", SUBJECTS),
            standings: Words::new(r, "tollgate_standings_total", "standing", STANDINGS),
            breaker_open: r.register_gauge(&Key::from_name("tollgate_breaker_open"), &METADATA),
            messages_spam: single(r, "tollgate_messages_spam_total"),
            subject_changes: Words::new(r, "tollgate_subject_changes_total", "scope", SUBJECTS),
            rspamd_scans: Words::new(r, "tollgate_rspamd_scans_total", "result", RSPAMD),
            clamav_scans: Words::new(r, "tollgate_clamav_scans_total", "result", CLAMAV),
            scanner_up: ByName::new("tollgate_scanner_up", "scanner"),
            tokens: Words::new(r, "tollgate_tokens_total", "change", TOKENS),
            tokens_refused: Words::new(
                r,
                "tollgate_tokens_refused_total",
                "reason",
                TOKENS_REFUSED,
            ),
            complaints: Words::new(r, "tollgate_complaints_total", "kind", COMPLAINTS),
            forgotten_rows: single(r, "tollgate_archive_forgotten_rows_total"),
            audit_entries: single(r, "tollgate_audit_entries_total"),
            places_scarce: r.register_gauge(&Key::from_name("tollgate_places_scarce"), &METADATA),
            storage_levels: Words::new(
                r,
                "tollgate_storage_changes_total",
                "percent",
                STORAGE_LEVELS,
            ),
            storage_source_up,
            next_hop_up: ByName::new("tollgate_next_hop_up", "next_hop"),
            next_hop_failures: single(r, "tollgate_next_hop_failures_total"),
            login_backend_up,
            login_backend_failures: single(r, "tollgate_login_backend_failures_total"),
            config_reloads: Words::new(r, "tollgate_config_reloads_total", "result", RELOADS),
            certificate_reloads: single(r, "tollgate_certificate_reloads_total"),
            store_up,
            store_failures: single(r, "tollgate_store_failures_total"),
            spool_up,
            spool_failures: single(r, "tollgate_spool_failures_total"),
            archive_up,
            archive_failures: single(r, "tollgate_archive_failures_total"),
            archive_events_lost: single(r, "tollgate_archive_events_lost_total"),
            tasks_panicked: single(r, "tollgate_tasks_panicked_total"),
            alerts: Words::new(r, "tollgate_alerts_total", "why", ALERTS),
            alert_sink_up: ByName::new("tollgate_alert_sink_up", "sink"),
            alert_sink_failures: single(r, "tollgate_alert_sink_failures_total"),
            vitals: VitalGauges::new(r),
            blocklist_listed: Mutex::default(),
            recorder,
        }
    }

    /// All metrics in Prometheus' text form.
    #[must_use]
    pub fn render(&self) -> String {
        let log = self.log.counts();
        self.log_lines_lost.absolute(log.lines_lost);
        self.log_lines_suppressed.absolute(log.lines_suppressed);
        self.log_write_errors.absolute(log.write_errors);
        self.handle.render()
    }

    /// Shows what was looked at.
    pub fn note_vitals(&self, vitals: &Vitals) {
        for (next_hop, is_used) in &vitals.next_hops {
            self.note_next_hop(next_hop, f64::from(u8::from(*is_used)));
        }
        self.vitals.note(&self.recorder, vitals);
    }

    /// Shows the present month.
    pub fn note_availability(&self, availability: &Availability) {
        let set = |name, value| gauge(&self.recorder, name).set(value);
        if let Some(ratio) = availability.ratio {
            set("tollgate_availability_ratio", ratio);
        }
        set("tollgate_sla_target_ratio", availability.target_ratio);
        set("tollgate_sla_budget_seconds", availability.budget.as_secs_f64());
        set("tollgate_sla_budget_used_seconds", availability.used.as_secs_f64());
        set("tollgate_maintenance", f64::from(u8::from(availability.is_maintained)));
    }

    /// Shows what is known of blocklists. What was listed once keeps its gauge, at 0, so there are no more of them than were
    /// ever listed.
    pub fn note_blocklists(&self, known: &Blocklists) {
        let mut listed = self.blocklist_listed.lock();
        let were: Vec<_> = listed.iter().cloned().collect();
        for (list, subject) in were {
            self.note_listing(&list, &subject, 0);
        }
        for (list, subject, severity) in &known.listed {
            let gauge = (list.clone(), subject.clone());
            if listed.len() < LISTED_MAX || listed.contains(&gauge) {
                self.note_listing(list, subject, *severity);
                listed.insert(gauge);
            }
        }
        drop(listed);
        let of_list = |name: &'static str, list: &Arc<str>| {
            let labels = vec![Label::new("list", list.to_string())];
            self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA)
        };
        let answer = f64::from(u8::from(known.resolvers_answer));
        gauge(&self.recorder, "tollgate_blocklist_resolvers_up").set(answer);
        for figures in &known.lists {
            let up = f64::from(u8::from(figures.is_well));
            of_list("tollgate_blocklist_up", &figures.list).set(up);
            let unknown = u32::try_from(figures.unknown).unwrap_or(u32::MAX);
            of_list("tollgate_blocklist_unknown", &figures.list).set(f64::from(unknown));
            if let Some(tested) = figures.tested {
                let tested = seconds(tested);
                of_list("tollgate_blocklist_tested_seconds", &figures.list).set(tested);
            }
            let labels = vec![Label::new("list", figures.list.to_string())];
            counter(&self.recorder, "tollgate_blocklist_queries_total", labels)
                .absolute(figures.queries);
            let (listed, unanswered) = (figures.lookups_listed, figures.lookups_unanswered);
            let clean = figures.lookups.saturating_sub(listed).saturating_sub(unanswered);
            for (result, count) in [("listed", listed), ("clean", clean), ("unknown", unanswered)] {
                let list = Label::new("list", figures.list.to_string());
                let labels = vec![list, Label::new("result", result)];
                counter(&self.recorder, "tollgate_blocklist_lookups_total", labels).absolute(count);
            }
        }
    }

    fn note_listing(&self, list: &Arc<str>, subject: &str, severity: u8) {
        let labels =
            vec![Label::new("list", list.to_string()), Label::new("subject", subject.to_owned())];
        let key = Key::from_parts("tollgate_blocklist_listed", labels);
        self.recorder.register_gauge(&key, &METADATA).set(f64::from(severity));
    }

    /// Shows how full mailboxes are.
    pub fn note_storage(&self, storage: &Storage) {
        let set = |name, value| gauge(&self.recorder, name).set(value);
        set("tollgate_storage_mailboxes", f64::from(storage.mailboxes));
        set("tollgate_storage_mailboxes_unknown", f64::from(storage.unknown));
        set("tollgate_storage_mailboxes_failed", f64::from(storage.failed));
        set("tollgate_storage_bytes", float(storage.bytes));
        set("tollgate_storage_files", float(storage.files));
        set("tollgate_storage_round_seconds", storage.took.as_secs_f64());
    }

    /// Shows since when the program runs.
    pub fn note_start(&self, utc: Timestamp) {
        gauge(&self.recorder, "tollgate_start_time_seconds").set(seconds(utc));
    }

    /// Sorts the samples of histograms into their buckets. Whoever runs the program calls it every few seconds, because samples
    /// wait in memory until then or until somebody renders.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    fn note_message(&self, report: &MessageReport) {
        self.messages.count(report.outcome.name());
        if let Some(charged) = &report.charged {
            self.messages_evidence.count(charged.evidence.name());
        }
        self.recipients.add(RECIPIENTS[0], u64::from(report.recipients_sent));
        self.recipients.add(RECIPIENTS[1], u64::from(report.recipients_refused));
        self.recipients.add(RECIPIENTS[2], u64::from(report.recipients_limited));
        self.recipients.add(RECIPIENTS[3], u64::from(report.recipients_deferred));
        self.message_bytes.increment(report.size_bytes);
        self.message_seconds.record(report.lasted);
        if let Some(took) = report.next_hop_took {
            self.next_hop_seconds.record(took);
        }
        self.would_refuse.increment(u64::from(report.would_refuse));
        self.note_scans(&report.scans);
        if report.judgement.as_ref().is_some_and(|judgement| judgement.is_spam) {
            self.messages_spam.increment(1);
        }
    }

    fn note_scans(&self, scans: &Scans) {
        match &scans.rspamd {
            None => {}
            Some(Scanned::Failed) => self.rspamd_scans.count(FAILED),
            Some(Scanned::Said(opinion)) => self.rspamd_scans.count(opinion.action.name()),
        }
        match &scans.clamav {
            None => {}
            Some(Scanned::Failed) => self.clamav_scans.count(FAILED),
            Some(Scanned::Said(found)) => {
                self.clamav_scans.count(CLAMAV[usize::from(found.is_some())]);
            }
        }
    }

    fn note_refusal(&self, refusal: &Refusal) {
        if refusal.observed_only {
            self.refusals_observed.count(refusal.reason.name());
        } else {
            self.refusals.count(refusal.reason.name());
            self.refused_recipients.add(refusal.reason.name(), u64::from(refusal.recipients));
        }
    }

    fn note_sessions(&self, listener: &Arc<str>, change: f64) {
        let open = |key: &Key| self.recorder.register_gauge(key, &METADATA);
        self.sessions_open.with(listener, open, |gauge| gauge.increment(change));
    }

    fn note_opened(&self, listener: &Arc<str>) {
        let register = |key: &Key| self.recorder.register_counter(key, &METADATA);
        self.sessions_opened.with(listener, register, |counter| counter.increment(1));
        self.note_sessions(listener, 1.0);
    }

    fn note_alert_sink(&self, sink: &str, up: f64) {
        let register = |key: &Key| self.recorder.register_gauge(key, &METADATA);
        self.alert_sink_up.with(&sink.into(), register, |gauge| gauge.set(up));
    }

    fn note_scanner(&self, scanner: Scanner, up: f64) {
        let register = |key: &Key| self.recorder.register_gauge(key, &METADATA);
        self.scanner_up.with(&scanner.name().into(), register, |gauge| gauge.set(up));
    }

    fn note_next_hop(&self, next_hop: &Arc<str>, up: f64) {
        let register = |key: &Key| self.recorder.register_gauge(key, &METADATA);
        self.next_hop_up.with(next_hop, register, |gauge| gauge.set(up));
    }
}

impl Listener for Metrics {
    fn notice(&self, _: Timestamp, event: &Event) {
        match event {
            Event::SessionOpened(opened) => self.note_opened(&opened.listener),
            Event::SessionClosed(closed) => {
                self.sessions_closed.count(closed.reason);
                self.note_sessions(&closed.listener, -1.0);
            }
            Event::ConnectionRefused(refused) => self.connections_refused.count(refused.reason),
            Event::TlsStarted(started) => {
                self.tls_handshakes.count(TLS_HANDSHAKES[usize::from(started.resumed)]);
            }
            Event::TlsFailed(failed) => self.tls_handshakes.count(failed.reason),
            Event::LoginSucceeded(login) | Event::LoginFailed(login) => {
                self.logins.count(login.result);
            }
            Event::Message(report) => self.note_message(report),
            Event::Refused(refusal) => self.note_refusal(refusal),
            Event::LimitReached(reached) => {
                self.limits_reached.count(threshold(reached.key.parts().scope, reached.percent));
            }
            Event::EvidenceRejected(rejected) => self.evidence_rejected.count(rejected.reason),
            Event::Suspended(suspended) => self.suspensions.count(scope_of(&suspended.subject)),
            Event::Resumed(resumed) => self.resumptions.count(scope_of(&resumed.subject)),
            Event::StandingChanged(changed) => self.standings.count(changed.to),
            Event::BreakerOpened => self.breaker_open.set(1.0),
            Event::BreakerClosed(_) => self.breaker_open.set(0.0),
            Event::SubjectChanged(changed) => {
                self.subject_changes.count(scope_of(&changed.subject));
            }
            Event::TokenCreated(_) => self.tokens.count(TOKENS[0]),
            Event::TokenRevoked(_) => self.tokens.count(TOKENS[1]),
            Event::TokenRefused(refused) => self.tokens_refused.count(refused.reason),
            Event::Complaint(complaint) => self.complaints.count(complaint.kind),
            Event::Forgotten(forgotten) => self.forgotten_rows.increment(forgotten.rows),
            Event::AccountErased(_) | Event::CancelProposed(_) => {}
            Event::Audited(_) => self.audit_entries.increment(1),
            Event::NextHopUp(state) => self.note_next_hop(&state.next_hop, 1.0),
            Event::NextHopDown(state) => {
                self.next_hop_failures.increment(1);
                self.note_next_hop(&state.next_hop, 0.0);
            }
            Event::PlacesScarce => self.places_scarce.set(1.0),
            Event::PlacesAmple => self.places_scarce.set(0.0),
            Event::ScannerUp(state) => self.note_scanner(state.scanner, 1.0),
            Event::ScannerDown(state) => self.note_scanner(state.scanner, 0.0),
            Event::LoginBackendUp(_) => self.login_backend_up.set(1.0),
            Event::LoginBackendDown(_) => {
                self.login_backend_failures.increment(1);
                self.login_backend_up.set(0.0);
            }
            Event::ConfigReloaded => self.config_reloads.count(RELOADS[0]),
            Event::ConfigRejected(_) => self.config_reloads.count(RELOADS[1]),
            Event::CertificatesReloaded => self.certificate_reloads.increment(1),
            Event::StoreFailed(_) => {
                self.store_failures.increment(1);
                self.store_up.set(0.0);
            }
            Event::StoreRecovered => self.store_up.set(1.0),
            Event::SpoolFailed(_) => {
                self.spool_failures.increment(1);
                self.spool_up.set(0.0);
            }
            Event::SpoolRecovered => self.spool_up.set(1.0),
            Event::ArchiveFailed(_) => {
                self.archive_failures.increment(1);
                self.archive_up.set(0.0);
            }
            Event::ArchiveRecovered => self.archive_up.set(1.0),
            Event::EventsLost(lost) => self.archive_events_lost.increment(lost.count),
            Event::EventsMissed(_) => {}
            Event::StorageChanged(changed) => self.storage_levels.count(level_of(changed.percent)),
            Event::StorageSourceUp(_) => self.storage_source_up.set(1.0),
            Event::StorageSourceDown(_) => self.storage_source_up.set(0.0),
            // The gauges of these are set by whoever looks.
            Event::StorageFilesChanged(_)
            | Event::SlaBudgetUsed(_)
            | Event::SlaBudgetRenewed(_)
            | Event::MaintenanceChanged(_)
            | Event::Listed(_)
            | Event::Delisted(_)
            | Event::BlocklistImpaired(_)
            | Event::BlocklistWell(_)
            | Event::EgressSteered(_)
            | Event::ListingCause(_)
            | Event::DiskScarce(_)
            | Event::DiskAmple(_)
            | Event::CertificateExpiring(_)
            | Event::CertificateRenewed(_) => {}
            Event::TaskPanicked(_) => self.tasks_panicked.increment(1),
            Event::Alert(told) => self.alerts.count(told.why),
            Event::AlertSinkFailed(state) => {
                self.alert_sink_failures.increment(1);
                self.note_alert_sink(&state.sink, 0.0);
            }
            Event::AlertSinkRecovered(state) => self.note_alert_sink(&state.sink, 1.0),
        }
    }
}

/// Shared metrics listen as their owner does.
impl Listener for Arc<Metrics> {
    fn notice(&self, at: Timestamp, event: &Event) {
        Metrics::notice(self, at, event);
    }
}

struct VitalGauges {
    ready: Gauge,
    spool_bytes: Gauge,
    spool_bytes_max: Gauge,
    spool_memory_bytes: Gauge,
    spool_memory_bytes_max: Gauge,
    archive_queue: Gauge,
    archive_queue_max: Gauge,
    archive_events: Counter,
}

impl VitalGauges {
    fn new(recorder: &PrometheusRecorder) -> Self {
        Self {
            ready: gauge(recorder, "tollgate_ready"),
            spool_bytes: gauge(recorder, "tollgate_spool_bytes"),
            spool_bytes_max: gauge(recorder, "tollgate_spool_bytes_max"),
            spool_memory_bytes: gauge(recorder, "tollgate_spool_memory_bytes"),
            spool_memory_bytes_max: gauge(recorder, "tollgate_spool_memory_bytes_max"),
            archive_queue: gauge(recorder, "tollgate_archive_queue_events"),
            archive_queue_max: gauge(recorder, "tollgate_archive_queue_events_max"),
            archive_events: single(recorder, "tollgate_archive_events_written_total"),
        }
    }

    fn note(&self, recorder: &PrometheusRecorder, vitals: &Vitals) {
        self.ready.set(f64::from(u8::from(vitals.ready)));
        self.spool_bytes.set(float(vitals.spool.0));
        self.spool_bytes_max.set(float(vitals.spool.1));
        self.spool_memory_bytes.set(float(vitals.spool_memory.0));
        self.spool_memory_bytes_max.set(float(vitals.spool_memory.1));
        self.archive_queue.set(float(vitals.archive_queue.0));
        self.archive_queue_max.set(float(vitals.archive_queue.1));
        self.archive_events.absolute(vitals.archive_events);
        if let Some(stream) = &vitals.stream {
            gauge(recorder, "tollgate_stream_up").set(f64::from(u8::from(stream.works)));
            gauge(recorder, "tollgate_stream_behind_entries").set(float(stream.behind));
            gauge(recorder, "tollgate_stream_quiet_seconds").set(stream.quiet.as_secs_f64());
            gauge(recorder, "tollgate_stream_waiting_bytes").set(float(stream.waiting));
            single(recorder, "tollgate_stream_events_missed_total").absolute(stream.missed);
        }
        // What is not known has no series: a zero would be a lie.
        if let Some((free, size)) = vitals.disk {
            gauge(recorder, "tollgate_disk_free_bytes").set(float(free));
            gauge(recorder, "tollgate_disk_size_bytes").set(float(size));
        }
        if let Some(end) = vitals.certificate_end {
            gauge(recorder, "tollgate_certificate_not_after_seconds").set(seconds(end));
        }
    }
}

/// A counter for each word of a table, and one for words that are not in it.
struct Words {
    counters: Vec<(&'static str, Counter)>,
    other: Counter,
}

impl Words {
    fn new(
        recorder: &PrometheusRecorder,
        name: &'static str,
        label: &'static str,
        words: &[&'static str],
    ) -> Self {
        let one = |word| counter(recorder, name, vec![Label::from_static_parts(label, word)]);
        Self {
            counters: words.iter().map(|&word| (word, one(word))).collect(),
            other: one("other"),
        }
    }

    fn count(&self, word: &'static str) {
        self.add(word, 1);
    }

    /// The tables are short, and the first difference in length or letter ends a comparison.
    fn add(&self, word: &'static str, amount: u64) {
        let known = self.counters.iter().find(|(name, _)| *name == word);
        known.map_or(&self.other, |(_, counter)| counter).increment(amount);
    }
}

/// A metric for each listener or next hop, registered when its name is first seen; further names than
/// [`NAMES_MAX`] count as `other`.
struct ByName<M> {
    name: &'static str,
    label: &'static str,
    known: RwLock<Vec<(Arc<str>, M)>>,
}

impl<M> ByName<M> {
    const fn new(name: &'static str, label: &'static str) -> Self {
        Self { name, label, known: RwLock::new(Vec::new()) }
    }

    fn with(&self, value: &Arc<str>, register: impl FnOnce(&Key) -> M, act: impl Fn(&M)) {
        if let Some((_, metric)) = self.known.read().iter().find(|(name, _)| name == value) {
            return act(metric);
        }
        let mut known = self.known.write();
        let shown: Arc<str> =
            if known.len() < NAMES_MAX { Arc::clone(value) } else { "other".into() };
        if let Some((_, metric)) = known.iter().find(|(name, _)| *name == shown) {
            return act(metric);
        }
        let label = Label::new(self.label, shown.to_string());
        let metric = register(&Key::from_parts(self.name, vec![label]));
        act(&metric);
        known.push((shown, metric));
    }
}

fn new_recorder() -> PrometheusRecorder {
    let builder = PrometheusBuilder::new();
    let builder = builder
        .set_buckets_for_metric(Matcher::Full(MESSAGE_SECONDS.into()), SECONDS)
        .and_then(|b| b.set_buckets_for_metric(Matcher::Full(NEXT_HOP_SECONDS.into()), SECONDS))
        .unwrap_or_default();
    let recorder = builder.build_recorder();
    for &(name, help) in HELP {
        recorder.describe_counter(name.into(), None, help.into());
    }
    recorder
}

fn counter(recorder: &PrometheusRecorder, name: &'static str, labels: Vec<Label>) -> Counter {
    recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
}

fn single(recorder: &PrometheusRecorder, name: &'static str) -> Counter {
    counter(recorder, name, Vec::new())
}

fn gauge(recorder: &PrometheusRecorder, name: &'static str) -> Gauge {
    recorder.register_gauge(&Key::from_name(name), &METADATA)
}

/// Octets and counts as Prometheus has them: beyond 2^53 to the nearest.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
const fn float(number: u64) -> f64 {
    number as f64
}

fn seconds(moment: Timestamp) -> f64 {
    moment.since(Timestamp::EPOCH).as_secs_f64()
}

fn histogram(recorder: &PrometheusRecorder, name: &'static str) -> Histogram {
    recorder.register_histogram(&Key::from_name(name), &METADATA)
}

fn reasons(recorder: &PrometheusRecorder, name: &'static str) -> Words {
    Words::new(recorder, name, "reason", &REASONS.map(RefusalReason::name))
}

const fn scope_of(subject: &SubjectId) -> &'static str {
    match subject {
        SubjectId::Account(_) => SUBJECTS[0],
        SubjectId::Tenant(_) => SUBJECTS[1],
    }
}

const fn threshold(scope: Scope, percent: u8) -> &'static str {
    match (scope, percent) {
        (Scope::Account, 80) => "account-80",
        (Scope::Account, 100) => "account-100",
        (Scope::Tenant, 80) => "tenant-80",
        (Scope::Tenant, 100) => "tenant-100",
        (Scope::ClientIp, 80) => "client-ip-80",
        (Scope::ClientIp, 100) => "client-ip-100",
        (Scope::Peer, 80) => "peer-80",
        (Scope::Peer, 100) => "peer-100",
        _ => "other",
    }
}

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// How many listeners or next hops have a series of their own.
const NAMES_MAX: usize = 64;

const MESSAGE_SECONDS: &str = "tollgate_message_seconds";
const NEXT_HOP_SECONDS: &str = "tollgate_next_hop_seconds";

/// The buckets of durations.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

const OUTCOMES: [Outcome; 5] =
    [Outcome::Sent, Outcome::Refused, Outcome::Deferred, Outcome::Unknown, Outcome::Abandoned];
const EVIDENCE: [Evidence; 11] = [
    Evidence::Auth,
    Evidence::XclientLogin,
    Evidence::MailAuth,
    Evidence::XAuthUser,
    Evidence::XAuthenticatedSender,
    Evidence::ReceivedAuth,
    Evidence::ReceivedUserid,
    Evidence::PhpScript,
    Evidence::MailFrom,
    Evidence::ClientIp,
    Evidence::Peer,
];
/// The thresholds of mail storage; 0: below all.
const STORAGE_LEVELS: &[&str] = &["0", "80", "95", "100"];

fn level_of(percent: u8) -> &'static str {
    match percent {
        80 => "80",
        95 => "95",
        100 => "100",
        _ => "0",
    }
}

const REASONS: [RefusalReason; 26] = [
    RefusalReason::Limit,
    RefusalReason::LimitNever,
    RefusalReason::Suspended,
    RefusalReason::Storage,
    RefusalReason::NotRelaying,
    RefusalReason::SenderMismatch,
    RefusalReason::UnknownAccount,
    RefusalReason::NewAccounts,
    RefusalReason::PhpMail,
    RefusalReason::Virus,
    RefusalReason::Content,
    RefusalReason::Spam,
    RefusalReason::SpamDeferred,
    RefusalReason::Unscanned,
    RefusalReason::Size,
    RefusalReason::Loop,
    RefusalReason::Malformed,
    RefusalReason::LineTooLong,
    RefusalReason::NextHopBusy,
    RefusalReason::EgressPaused,
    RefusalReason::SpoolFull,
    RefusalReason::TextsBusy,
    RefusalReason::StoreDown,
    RefusalReason::NextHopDown,
    RefusalReason::ExtensionMissing,
    RefusalReason::TooLong,
];
const FAILED: &str = "failed";
const RSPAMD: &[&str] = &["pass", "mark", "defer", "refuse", FAILED];
const CLAMAV: &[&str] = &["clean", "found", FAILED];
const TOKENS: &[&str] = &["created", "revoked"];
const TOKENS_REFUSED: &[&str] = &["missing", "malformed", "unknown", "expired"];
const CLOSED: &[&str] = &[
    "quit",
    "peer-closed",
    "timeout",
    "slow",
    "connections-login",
    "too-many-errors",
    "protocol",
    "tls",
    "drain",
    "io",
    "cut",
];
const CONNECTIONS_REFUSED: &[&str] = &[
    "connections-server",
    "connections-total",
    "connections-client",
    "connections-pace",
    "proxy-header",
    "tls",
    "early-talker",
];
const ALERTS: &[&str] = &["raised", "worse", "reminder", "resolved"];
const LOGINS: &[&str] = &["ok", "wrong", "paced", "unavailable", "too-many"];
const TLS_HANDSHAKES: &[&str] = &[
    "full",
    "resumed",
    "timeout",
    "not-tls",
    "no-common-version",
    "nothing-in-common",
    "client-refused",
    "client-gone",
    "bad-certificate",
    "no-certificate",
];
const RECIPIENTS: &[&str] = &["sent", "refused", "limited", "deferred"];
const EVIDENCE_REJECTED: &[&str] = &["twice", "malformed", "not-entitled", "contradicted"];
const STANDINGS: &[&str] = &["active", "warned", "throttled", "suspended", "held", "cancelled"];
const SUBJECTS: &[&str] = &["account", "tenant"];
const COMPLAINTS: &[&str] = &["abuse", "fraud", "virus", "not-spam", "other"];
const RELOADS: &[&str] = &["ok", "rejected"];
const THRESHOLDS: &[&str] = &[
    "account-80",
    "account-100",
    "tenant-80",
    "tenant-100",
    "client-ip-80",
    "client-ip-100",
    "peer-80",
    "peer-100",
];

/// Listings that have a gauge.
const LISTED_MAX: usize = 1_024;

/// Name and meaning of every metric, as `# HELP` shows it; docs/metrics.md explains the labels.
const HELP: &[(&str, &str)] = &[
    ("tollgate_build_info", "1, with the program's version"),
    ("tollgate_sessions_opened_total", "Connections that were accepted"),
    ("tollgate_places_scarce", "1 while most places for connections are taken"),
    ("tollgate_sessions_open", "Connections that are open"),
    ("tollgate_sessions_closed_total", "Connections that ended, by reason"),
    (
        "tollgate_connections_refused_total",
        "Connections that were turned away before a session began",
    ),
    ("tollgate_tls_handshakes_total", "TLS handshakes, by result"),
    ("tollgate_logins_total", "Attempts to log in, by result"),
    ("tollgate_messages_total", "Transactions that ended, by outcome"),
    ("tollgate_messages_evidence_total", "Transactions by the evidence that named the account"),
    ("tollgate_messages_would_refuse_total", "Messages that passed only because of mode = observe"),
    ("tollgate_recipients_total", "Recipients of ended transactions, by what became of them"),
    ("tollgate_message_bytes_total", "Octets of message text that were read"),
    (MESSAGE_SECONDS, "From MAIL to the end of the transaction"),
    (NEXT_HOP_SECONDS, "From the final dot to the next hop's answer"),
    ("tollgate_refusals_total", "Refusals of Tollgate's own, by reason"),
    ("tollgate_refused_recipients_total", "Recipients that these refusals concerned"),
    ("tollgate_refusals_observed_total", "What mode = observe would have refused"),
    ("tollgate_limits_reached_total", "Limits whose use reached 80 % or 100 %"),
    ("tollgate_evidence_rejected_total", "Evidence of identity that was not believed"),
    ("tollgate_suspensions_total", "Suspensions that began"),
    ("tollgate_resumptions_total", "Suspensions that were lifted"),
    ("tollgate_complaints_total", "Complaints about mail, by what they are about"),
    (
        "tollgate_archive_forgotten_rows_total",
        "Rows that were kept long enough and left the archive",
    ),
    ("tollgate_audit_entries_total", "Entries added to the audit"),
    ("tollgate_subject_changes_total", "Changes of assignments and overrides"),
    ("tollgate_standings_total", "Standings of senders that rules changed, by what they became"),
    (
        "tollgate_breaker_open",
        "1 while nobody is suspended by a rule because suspensions were a wave",
    ),
    ("tollgate_messages_spam_total", "Messages whose text the content rules call spam"),
    ("tollgate_rspamd_scans_total", "Messages that Rspamd was asked about, by its opinion"),
    ("tollgate_clamav_scans_total", "Messages that ClamAV was asked about, by what it found"),
    ("tollgate_scanner_up", "1 while a scanner of messages can be asked, 0 after it failed"),
    ("tollgate_tokens_total", "Tokens for the API that came and went"),
    ("tollgate_tokens_refused_total", "Requests to the API that were not let in"),
    (
        "tollgate_storage_changes_total",
        "Times that a mailbox or tenant came to a threshold of its mail storage, up or down",
    ),
    ("tollgate_storage_source_up", "1 while mailboxes can be looked at, 0 after some could not"),
    ("tollgate_storage_mailboxes", "Mailboxes that are known"),
    ("tollgate_storage_mailboxes_unknown", "Mailboxes without a fresh figure"),
    (
        "tollgate_storage_mailboxes_failed",
        "Mailboxes that could not be looked at in the last round",
    ),
    ("tollgate_storage_bytes", "Octets of mail in all mailboxes, as seen last"),
    ("tollgate_storage_files", "Files of mail in all mailboxes, as seen last"),
    ("tollgate_storage_round_seconds", "How long the last look at all mailboxes took"),
    ("tollgate_next_hop_up", "1 while the next hop is used, 0 while it is left alone"),
    ("tollgate_next_hop_failures_total", "Times that a next hop was given up for a while"),
    ("tollgate_login_backend_up", "1 while logins can be checked"),
    ("tollgate_login_backend_failures_total", "Times that the Dovecot that checks logins was lost"),
    ("tollgate_config_reloads_total", "Reloads of the configuration, by result"),
    ("tollgate_certificate_reloads_total", "Reloads of certificates"),
    ("tollgate_store_up", "1 while the store works"),
    ("tollgate_store_failures_total", "Times that the store could not do its work"),
    ("tollgate_spool_up", "1 while the spool's files work"),
    ("tollgate_spool_failures_total", "Times that the spool's files began to fail"),
    ("tollgate_archive_up", "1 while the archive can be written"),
    ("tollgate_archive_failures_total", "Times that the archive began to fail"),
    (
        "tollgate_archive_events_lost_total",
        "Events that found no room on their way into the archive",
    ),
    ("tollgate_tasks_panicked_total", "Tasks that ended by a panic"),
    ("tollgate_alerts_total", "Messages about alerts, by why"),
    ("tollgate_alert_sink_up", "1 if the receiver of alerts takes them, 0 if it fails"),
    ("tollgate_alert_sink_failures_total", "Times that a receiver of alerts began to fail"),
    ("tollgate_start_time_seconds", "When the program started, in seconds since 1970"),
    ("tollgate_ready", "1 while mail can flow, as /health/ready says"),
    ("tollgate_disk_free_bytes", "What may still be written to the disk of the state directory"),
    ("tollgate_disk_size_bytes", "What the disk of the state directory holds altogether"),
    ("tollgate_spool_bytes", "Octets of message texts in files"),
    ("tollgate_spool_bytes_max", "Octets of message texts that may be in files"),
    ("tollgate_spool_memory_bytes", "Octets of message texts in memory"),
    ("tollgate_spool_memory_bytes_max", "Octets of message texts that may be in memory"),
    (
        "tollgate_certificate_not_after_seconds",
        "When the certificate of ours that ends first does so, in seconds since 1970",
    ),
    ("tollgate_archive_queue_events", "Events on their way into the archive"),
    ("tollgate_archive_queue_events_max", "Events that may be on their way into the archive"),
    ("tollgate_archive_events_written_total", "Events that were written to the archive"),
    ("tollgate_stream_up", "1 while events of all nodes come and go"),
    ("tollgate_stream_behind_entries", "Entries of other nodes that this one has not read"),
    ("tollgate_stream_quiet_seconds", "How old the newest entry is that this node has read"),
    ("tollgate_stream_waiting_bytes", "Octets that wait until Redis can be told"),
    (
        "tollgate_stream_events_missed_total",
        "Events of other nodes that were gone before they were read",
    ),
    (
        "tollgate_availability_ratio",
        "The share of this month's minutes in which mail could flow, planned maintenance apart",
    ),
    (
        "tollgate_blocklist_listed",
        "What of ours is on a blocklist: 1 info, 2 warning, 3 critical, 0 no more",
    ),
    ("tollgate_blocklist_unknown", "What is watched on a list and of which nothing is known"),
    ("tollgate_blocklist_up", "1 while a list's own tests are right"),
    ("tollgate_blocklist_resolvers_up", "0 while no list is answered"),
    ("tollgate_blocklist_tested_seconds", "When a list was tested last, in seconds since 1970"),
    ("tollgate_blocklist_queries_total", "Questions to a list about itself and what is watched"),
    ("tollgate_blocklist_lookups_total", "Questions to a list about clients and domains of mail"),
    ("tollgate_sla_target_ratio", "The share of minutes that was promised"),
    ("tollgate_sla_budget_seconds", "How long mail may not flow in this month"),
    ("tollgate_sla_budget_used_seconds", "How long mail did not flow in this month"),
    ("tollgate_maintenance", "1 while planned maintenance goes on"),
    ("tollgate_log_lines_lost_total", "Log lines that were dropped because too much was waiting"),
    (
        "tollgate_log_lines_suppressed_total",
        "Log lines that were held back because their client had caused too many",
    ),
    ("tollgate_log_write_errors_total", "Writes of the log that failed"),
];

#[cfg(test)]
mod tests {
    use super::{super::log::tests as samples, *};
    use crate::{
        event::{NextHopState, SessionClosed, SessionOpened},
        telemetry::sink::Writer,
    };
    use std::time::Duration;

    fn after(events: &[Event]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::start(Some(&folder.path().join("log"))).unwrap();
        let metrics = Metrics::new(writer.sink());
        for event in events {
            metrics.notice(Timestamp::EPOCH, event);
        }
        metrics.upkeep();
        metrics.render()
    }

    fn check(events: &[Event], lines: &[&str]) {
        let rendered = after(events);
        for line in lines {
            assert!(rendered.lines().any(|l| l == *line), "{line} is not in\n{rendered}");
        }
    }

    #[test]
    fn messages_and_refusals_are_counted() {
        let mut observed = samples::refusal();
        observed.observed_only = true;
        check(
            &[
                Event::Message(Box::new(samples::message())),
                Event::Message(Box::new(samples::message())),
                Event::Refused(Box::new(samples::refusal())),
                Event::Refused(Box::new(observed)),
            ],
            &[
                r#"tollgate_messages_total{outcome="sent"} 2"#,
                r#"tollgate_messages_total{outcome="refused"} 0"#,
                r#"tollgate_messages_evidence_total{evidence="auth"} 2"#,
                r#"tollgate_recipients_total{outcome="limited"} 4"#,
                "tollgate_message_bytes_total 8192",
                r#"tollgate_refusals_total{reason="limit"} 1"#,
                r#"tollgate_refused_recipients_total{reason="limit"} 1"#,
                r#"tollgate_refusals_observed_total{reason="limit"} 1"#,
                r#"tollgate_message_seconds_bucket{le="0.01"} 0"#,
                r#"tollgate_message_seconds_bucket{le="0.025"} 2"#,
                "tollgate_next_hop_seconds_count 2",
                "# HELP tollgate_messages_total Transactions that ended, by outcome",
                "# TYPE tollgate_messages_total counter",
            ],
        );
    }

    #[test]
    fn sessions_and_next_hops_have_series_of_their_own() {
        let opened = |listener: &str| {
            Event::SessionOpened(SessionOpened {
                session: "s1".parse().unwrap(),
                listener: listener.into(),
                remote: "127.0.0.1:1".parse().unwrap(),
                peer: None,
            })
        };
        let closed = Event::SessionClosed(SessionClosed {
            session: "s1".parse().unwrap(),
            listener: "smarthost".into(),
            reason: "quit",
            lasted: Duration::ZERO,
        });
        let down = NextHopState { next_hop: "mx\"\n.example:25".into(), detail: String::new() };
        check(
            &[opened("smarthost"), opened("smarthost"), closed, Event::NextHopDown(down)],
            &[
                r#"tollgate_sessions_opened_total{listener="smarthost"} 2"#,
                r#"tollgate_sessions_open{listener="smarthost"} 1"#,
                r#"tollgate_sessions_closed_total{reason="quit"} 1"#,
                r#"tollgate_next_hop_up{next_hop="mx\"\n.example:25"} 0"#,
                "tollgate_next_hop_failures_total 1",
            ],
        );
        let many: Vec<Event> = (0..NAMES_MAX + 5).map(|n| opened(&format!("l{n}"))).collect();
        check(&many, &[r#"tollgate_sessions_opened_total{listener="other"} 5"#]);
    }

    #[test]
    fn what_is_looked_at_is_shown_and_what_is_not_known_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::start(Some(&folder.path().join("log"))).unwrap();
        let metrics = Metrics::new(writer.sink());
        let vitals = Vitals {
            ready: true,
            next_hops: vec![("mx.example:25".into(), true), ("other.example:25".into(), false)],
            spool: (7, 10 << 30),
            archive_events: 12,
            ..Vitals::default()
        };
        metrics.note_vitals(&vitals);
        let mut month = Availability {
            ratio: None,
            target_ratio: 0.99,
            budget: Duration::from_secs(25_920),
            used: Duration::ZERO,
            is_maintained: false,
        };
        metrics.note_availability(&month);
        let rendered = metrics.render();
        for line in [
            "tollgate_ready 1",
            r#"tollgate_next_hop_up{next_hop="mx.example:25"} 1"#,
            r#"tollgate_next_hop_up{next_hop="other.example:25"} 0"#,
            "tollgate_spool_bytes_max 10737418240",
            "tollgate_archive_events_written_total 12",
            "tollgate_sla_budget_seconds 25920",
            "tollgate_sla_target_ratio 0.99",
            "tollgate_maintenance 0",
        ] {
            assert!(rendered.lines().any(|l| l == line), "{line} is not in\n{rendered}");
        }
        for unknown in ["disk_free", "certificate_not_after", "availability_ratio"] {
            assert!(!rendered.contains(&format!("\ntollgate_{unknown}")), "{unknown}");
        }
        month.ratio = Some(0.999);
        metrics.note_availability(&month);
        let end = Some(Timestamp::from_millis(1_800_000_000_000));
        metrics.note_vitals(&Vitals { disk: Some((1, 2)), certificate_end: end, ..vitals });
        let rendered = metrics.render();
        for line in [
            "tollgate_availability_ratio 0.999",
            "tollgate_disk_free_bytes 1",
            "tollgate_certificate_not_after_seconds 1800000000",
        ] {
            assert!(rendered.lines().any(|l| l == line), "{line} is not in\n{rendered}");
        }
    }

    #[test]
    fn every_word_has_a_counter_and_an_account_has_none() {
        let rendered = after(&[Event::Message(Box::new(samples::message()))]);
        assert!(!rendered.contains("shop.example"));
        for reason in REASONS {
            assert!(
                rendered
                    .contains(&format!("tollgate_refusals_total{{reason=\"{}\"}}", reason.name()))
            );
        }
    }

    #[test]
    fn every_metric_is_documented() {
        let page = include_str!("../../docs/metrics.md");
        for (name, _) in HELP {
            assert!(page.contains(&format!("`{name}`")), "{name} is missing in docs/metrics.md");
        }
    }
}
