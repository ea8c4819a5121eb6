//! Each event as one log line with stable keys; docs/log.md has them all.
//!
//! Passwords and bodies never stand here, because events do not hold them.

use super::{
    LogFormat, Settings,
    diagnostics::level_name,
    line::{Flag, Line, Mask, SecondText},
    quota::{Quota, Suppressed},
    sink::Sink,
};
use crate::{
    clock::Clock,
    event::{
        AlertTold, AnswerBy, Attribution, CertificateEnd, Charged, Complaint, ConnectionRefused,
        DiskRoom, EgressSteered, Event, EvidenceRejected, Judgement, LimitHit, LimitReached,
        Listener, ListingCause, ListingState, Login, MaintenanceChanged, MessageReport,
        NextHopState, REPORT_RECIPIENTS_MAX, Refusal, Scanned, Scans, SessionClosed, SessionOpened,
        SlaBudget, StandingChanged, StorageChanged, StorageFiles, SubjectChanged, Suspect,
        TlsFailed, TlsStarted, TokenChanged, Trouble,
    },
    rules::verdict::Moment,
    types::{
        AccountId, Address, CaseId, ClientIp, Domain, MessageId, PeerName, SessionId, SubjectId,
        TenantId, Timestamp, TransactionId,
    },
};
use std::{sync::Arc, time::Duration};
use tracing::Level;

/// Writes a line for each event of at least its level.
pub struct Log {
    sink: Sink,
    format: LogFormat,
    level: Level,
    quota: Quota,
    clock: Clock,
    mask: Option<Arc<Mask>>,
}

impl Log {
    /// Events come with the ledger's time; the clock knows what that is in UTC. With a mask recipients are hashed.
    pub(super) fn new(sink: Sink, settings: &Settings, clock: Clock, mask: Option<Mask>) -> Self {
        let quota = Quota::new(settings.lines_per_client_minute);
        Self {
            sink,
            format: settings.format,
            level: settings.level,
            quota,
            clock,
            mask: mask.map(Arc::new),
        }
    }

    fn tell_suppressed(&self, utc: Timestamp, suppressed: &Suppressed) {
        self.sink.write_line(self.format, utc, |line| {
            line.word("level", level_name(Level::WARN));
            line.word("event", "log-lines-suppressed");
            if let Some(client) = &suppressed.client {
                line.bare("client", client);
            }
            line.number("lines", suppressed.lines);
        });
    }
}

impl Listener for Log {
    fn notice(&self, at: Timestamp, event: &Event) {
        let level = level_of(event);
        if level > self.level {
            return;
        }
        let moment = Moment { ledger: at, utc: self.clock.to_utc(at) };
        for suppressed in self.quota.turn(at) {
            self.tell_suppressed(moment.utc, &suppressed);
        }
        if client_of(event).is_some_and(|client| !self.quota.admits(client.prefix(IPV6_BITS))) {
            return self.sink.count_suppressed();
        }
        self.sink.write_line(self.format, moment.utc, |line| {
            line.word("level", level_name(level));
            line.word("event", event.name());
            line.hide_recipients(self.mask.clone());
            write_event(line, event, moment);
        });
    }
}

/// An event as the object of its JSON log line.
#[must_use]
pub fn json(moment: Moment, event: &Event) -> String {
    let (mut out, mut second) = (Vec::with_capacity(JSON_BYTES_USUAL), SecondText::default());
    let mut line = Line::begin(&mut out, LogFormat::Json, &mut second, moment.utc);
    line.word("level", level_name(level_of(event)));
    line.word("event", event.name());
    write_event(&mut line, event, moment);
    line.end();
    // Lines are made of text only.
    let text = String::from_utf8_lossy(&out);
    text.trim_end().to_owned()
}

/// How many events of one client are kept in a minute; the rule of the log's lines.
pub struct ClientQuota(Quota);

impl ClientQuota {
    /// A quota for each client network; 0: any number.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self(Quota::new(per_minute))
    }

    /// True if the event is nobody's doing in particular, or its client has not used its quota up.
    #[must_use]
    pub fn admits(&self, at: Timestamp, event: &Event) -> bool {
        self.0.turn(at);
        client_of(event).is_none_or(|client| self.0.admits(client.prefix(IPV6_BITS)))
    }
}

/// Whose doing an event is that clients can cause at will; none of those that must be told whatever a client does.
fn client_of(event: &Event) -> Option<ClientIp> {
    match event {
        Event::ConnectionRefused(refused) => Some(ClientIp::new(refused.remote.ip())),
        Event::SessionOpened(opened) => Some(ClientIp::new(opened.remote.ip())),
        Event::TlsFailed(failed) => Some(ClientIp::new(failed.remote.ip())),
        Event::LoginSucceeded(login) | Event::LoginFailed(login) => Some(login.client),
        Event::Refused(refusal) => Some(refusal.client),
        Event::TokenRefused(refused) => Some(refused.client),
        _ => None,
    }
}

/// How much an event matters to whoever reads the log.
const fn level_of(event: &Event) -> Level {
    match event {
        Event::SessionOpened(_)
        | Event::SessionClosed(_)
        | Event::TlsStarted(_)
        | Event::LoginSucceeded(_) => Level::DEBUG,
        Event::Message(_)
        | Event::Refused(_)
        | Event::LoginFailed(_)
        | Event::TlsFailed(_)
        | Event::Suspended(_)
        | Event::Resumed(_)
        | Event::StandingChanged(_)
        | Event::BreakerClosed(_)
        | Event::SubjectChanged(_)
        | Event::TokenCreated(_)
        | Event::TokenRevoked(_)
        | Event::TokenRefused(_)
        | Event::Audited(_)
        | Event::Complaint(_)
        | Event::Forgotten(_)
        | Event::AccountErased(_)
        | Event::CancelProposed(_)
        | Event::NextHopUp(_)
        | Event::PlacesAmple
        | Event::LoginBackendUp(_)
        | Event::ScannerUp(_)
        | Event::ConfigReloaded
        | Event::CertificatesReloaded
        | Event::StoreRecovered
        | Event::SpoolRecovered
        | Event::ArchiveRecovered
        | Event::Alert(_)
        | Event::AlertSinkRecovered(_)
        | Event::SlaBudgetRenewed(_)
        | Event::MaintenanceChanged(_)
        | Event::Delisted(_)
        | Event::BlocklistWell(_)
        | Event::EgressSteered(_)
        | Event::DiskAmple(_)
        | Event::StorageChanged(_)
        | Event::StorageFilesChanged(_)
        | Event::StorageSourceUp(_)
        | Event::CertificateRenewed(_) => Level::INFO,
        Event::ConnectionRefused(_)
        | Event::LimitReached(_)
        | Event::EvidenceRejected(_)
        | Event::PlacesScarce
        | Event::AlertSinkFailed(_)
        | Event::SlaBudgetUsed(_)
        | Event::Listed(_)
        | Event::BlocklistImpaired(_)
        | Event::ListingCause(_)
        | Event::DiskScarce(_)
        | Event::StorageSourceDown(_)
        | Event::CertificateExpiring(_)
        | Event::NextHopDown(_) => Level::WARN,
        Event::LoginBackendDown(_)
        | Event::BreakerOpened
        | Event::ScannerDown(_)
        | Event::ConfigRejected(_)
        | Event::StoreFailed(_)
        | Event::SpoolFailed(_)
        | Event::ArchiveFailed(_)
        | Event::EventsLost(_)
        | Event::EventsMissed(_)
        | Event::TaskPanicked(_) => Level::ERROR,
    }
}

/// A JSON line is seldom longer.
const JSON_BYTES_USUAL: usize = 512;
/// What counts as one client among IPv6 addresses.
const IPV6_BITS: u8 = 64;

fn write_event(line: &mut Line<'_>, event: &Event, moment: Moment) {
    match event {
        Event::SessionOpened(opened) => write_opened(line, opened),
        Event::SessionClosed(closed) => write_closed(line, closed),
        Event::ConnectionRefused(refused) => write_connection_refused(line, refused),
        Event::TlsStarted(started) => write_tls_started(line, started),
        Event::TlsFailed(failed) => write_tls_failed(line, failed),
        Event::LoginSucceeded(login) | Event::LoginFailed(login) => write_login(line, login),
        Event::Message(report) => write_message(line, report, moment),
        Event::Refused(refusal) => write_refusal(line, refusal, moment),
        Event::LimitReached(reached) => write_reached(line, reached),
        Event::EvidenceRejected(rejected) => write_rejected(line, rejected),
        Event::Suspended(s) => {
            write_case(line, (&s.subject, &s.case), &s.reason, &s.actor);
            if let Some(until) = s.until {
                line.moment("until", until);
            }
        }
        Event::StandingChanged(changed) => write_standing(line, changed),
        Event::BreakerClosed(closed) => {
            line.text("reason", &closed.reason);
            line.text("actor", &closed.actor);
        }
        Event::Resumed(s) => write_case(line, (&s.subject, &s.case), &s.reason, &s.actor),
        Event::SubjectChanged(changed) => write_changed(line, changed),
        Event::TokenCreated(changed) | Event::TokenRevoked(changed) => write_token(line, changed),
        Event::TokenRefused(refused) => {
            line.bare("client", refused.client);
            line.word("reason", refused.reason);
        }
        Event::Complaint(complaint) => write_complaint(line, complaint),
        Event::Forgotten(forgotten) => {
            line.number("rows", forgotten.rows);
            line.number("octets", forgotten.octets);
        }
        Event::CancelProposed(proposed) => {
            line.bare("tenant", &proposed.tenant);
            line.text("why", &proposed.why);
            line.number("suspensions", proposed.suspensions);
        }
        // Who it was is what must not be known any more.
        Event::AccountErased(_) => {}
        Event::Audited(audited) => {
            line.number("number", audited.number);
            line.text("action", &audited.action);
            line.text("hash", &audited.hash);
        }
        Event::NextHopUp(state) | Event::NextHopDown(state) => write_next_hop(line, state),
        Event::ScannerUp(state) | Event::ScannerDown(state) => {
            line.word("scanner", state.scanner.name());
            line.text_if("detail", Some(&*state.detail).filter(|detail| !detail.is_empty()));
        }
        Event::StorageChanged(changed) => write_storage(line, changed),
        Event::StorageFilesChanged(files) => write_files(line, files),
        Event::StorageSourceUp(state) | Event::StorageSourceDown(state) => {
            line.text("source", &state.backend);
            line.text_if("detail", Some(&*state.detail).filter(|detail| !detail.is_empty()));
        }
        Event::LoginBackendUp(state) | Event::LoginBackendDown(state) => {
            line.text("backend", &state.backend);
            line.text_if("detail", Some(&*state.detail).filter(|detail| !detail.is_empty()));
        }
        Event::ConfigRejected(trouble)
        | Event::StoreFailed(trouble)
        | Event::SpoolFailed(trouble)
        | Event::ArchiveFailed(trouble)
        | Event::TaskPanicked(trouble) => write_trouble(line, trouble),
        Event::EventsLost(lost) => line.number("events", lost.count),
        Event::EventsMissed(missed) => {
            line.text("node", &missed.node);
            line.number("events", missed.count);
            line.text("since", &missed.since.to_string());
            line.text("until", &missed.until.to_string());
        }
        Event::Alert(told) => write_alert(line, told),
        Event::AlertSinkFailed(state) | Event::AlertSinkRecovered(state) => {
            line.text("sink", &state.sink);
            line.text_if("detail", Some(&*state.detail).filter(|detail| !detail.is_empty()));
        }
        Event::SlaBudgetUsed(budget) | Event::SlaBudgetRenewed(budget) => {
            write_budget(line, budget);
        }
        Event::MaintenanceChanged(changed) => write_maintenance(line, changed),
        Event::Listed(state) | Event::Delisted(state) => write_listing(line, state),
        Event::EgressSteered(steered) => write_steered(line, steered),
        Event::ListingCause(cause) => write_cause(line, cause),
        Event::BlocklistImpaired(state) | Event::BlocklistWell(state) => {
            line.text_if("list", state.list.as_deref());
            line.text_if("detail", Some(&*state.detail).filter(|detail| !detail.is_empty()));
        }
        Event::DiskScarce(room) | Event::DiskAmple(room) => write_room(line, room),
        Event::CertificateExpiring(end) | Event::CertificateRenewed(end) => write_end(line, end),
        Event::PlacesScarce
        | Event::PlacesAmple
        | Event::BreakerOpened
        | Event::ConfigReloaded
        | Event::CertificatesReloaded
        | Event::StoreRecovered
        | Event::SpoolRecovered
        | Event::ArchiveRecovered => {}
    }
}

fn write_opened(line: &mut Line<'_>, opened: &SessionOpened) {
    line.text("session", opened.session.as_str());
    line.text("listener", &opened.listener);
    line.bare("remote", opened.remote);
    line.text_if("peer", opened.peer.as_ref().map(PeerName::as_str));
}

fn write_closed(line: &mut Line<'_>, closed: &SessionClosed) {
    line.text("session", closed.session.as_str());
    line.text("listener", &closed.listener);
    line.word("reason", closed.reason);
    line.number("took_ms", millis(closed.lasted));
}

fn write_connection_refused(line: &mut Line<'_>, refused: &ConnectionRefused) {
    line.text("listener", &refused.listener);
    line.bare("remote", refused.remote);
    line.word("reason", refused.reason);
}

fn write_tls_started(line: &mut Line<'_>, started: &TlsStarted) {
    line.text("session", started.session.as_str());
    line.text("listener", &started.listener);
    line.word("version", started.version);
    line.word("cipher", started.cipher);
    line.word("handshake", if started.resumed { "resumed" } else { "full" });
    line.text_if("server_name", started.server_name.as_deref());
    if let Some(shown) = &started.certificate {
        line.bare("certificate", shown.certificate);
        line.bare("certificate_key", shown.key);
        line.text_if("certificate_name", shown.names.first().map(Domain::as_str));
    }
}

fn write_tls_failed(line: &mut Line<'_>, failed: &TlsFailed) {
    line.text_if("session", failed.session.as_ref().map(SessionId::as_str));
    line.text("listener", &failed.listener);
    line.bare("remote", failed.remote);
    line.word("reason", failed.reason);
    line.text("detail", &failed.detail);
}

fn write_login(line: &mut Line<'_>, login: &Login) {
    line.text("session", login.session.as_str());
    line.text("login", &login.login);
    line.bare("client", login.client);
    line.word("mechanism", login.mechanism);
    line.word("result", login.result);
}

fn write_message(line: &mut Line<'_>, report: &MessageReport, moment: Moment) {
    line.word("outcome", report.outcome.name());
    line.text("id", report.transaction.as_str());
    line.text("session", report.session.as_str());
    line.text("listener", &report.listener);
    write_charged(line, report.charged.as_ref());
    line.bare("client", report.client);
    line.text("from", report.sender.address().map_or("", Address::as_str));
    line.text_if("message_id", report.message_id.as_ref().map(MessageId::as_str));
    if let Some(hash) = report.subject_hash {
        line.bare("subject_hash", hash);
    }
    write_recipients(line, report);
    line.number("size", report.size_bytes);
    line.text_if("reply", report.reply.as_deref());
    line.text_if("next_hop", report.next_hop.as_deref());
    if !report.egress.is_empty() {
        let egress: Vec<String> = report.egress.iter().map(ToString::to_string).collect();
        line.text("egress", &egress.join(" "));
    }
    line.text_if("next_hop_reply", report.next_hop_reply.as_deref());
    line.moment("began", moment.to_utc(report.began));
    line.number("took_ms", millis(report.lasted));
    if let Some(took) = report.next_hop_took {
        line.number("next_hop_ms", millis(took));
    }
    write_scans(line, &report.scans);
    write_judgement(line, report.judgement.as_deref());
    line.flag("would_refuse", Flag::from(report.would_refuse));
}

fn write_judgement(line: &mut Line<'_>, judgement: Option<&Judgement>) {
    let Some(judgement) = judgement else { return };
    if let Some(score) = judgement.score {
        line.decimal("score", f64::from(score));
    }
    line.flag("spam", Flag::from(judgement.is_spam));
    line.decimal("points", f64::from(judgement.points));
    if !judgement.reasons.is_empty() {
        line.text("reasons", &judgement.reasons.join("; "));
    }
}

fn write_standing(line: &mut Line<'_>, changed: &StandingChanged) {
    match &changed.who {
        Suspect::Subject(SubjectId::Account(account)) => {
            line.text("account", account.as_str());
            line.text_if("tenant", changed.tenant.as_ref().map(TenantId::as_str));
        }
        Suspect::Subject(SubjectId::Tenant(tenant)) => line.text("tenant", tenant.as_str()),
        Suspect::Client(prefix) => line.shown("client", prefix),
    }
    line.word("was", changed.from);
    line.word("is", changed.to);
    if let Some(until) = changed.until {
        line.moment("until", until);
    }
    line.decimal("points", f64::from(changed.points));
    if !changed.reasons.is_empty() {
        line.text("reasons", &changed.reasons.join("; "));
    }
    line.flag("observed_only", Flag::from(changed.observed_only));
}

fn write_scans(line: &mut Line<'_>, scans: &Scans) {
    match &scans.rspamd {
        None => {}
        Some(Scanned::Failed) => line.word("rspamd", "failed"),
        Some(Scanned::Said(opinion)) => {
            line.word("rspamd", opinion.action.name());
            line.decimal("rspamd_score", opinion.score);
            line.text("rspamd_symbols", &opinion.symbols.join(" "));
        }
    }
    match &scans.clamav {
        None => {}
        Some(Scanned::Failed) => line.word("clamav", "failed"),
        Some(Scanned::Said(None)) => line.word("clamav", "clean"),
        Some(Scanned::Said(Some(name))) => line.text("clamav", name),
    }
}

fn write_recipients(line: &mut Line<'_>, report: &MessageReport) {
    line.number("recipients_sent", u64::from(report.recipients_sent));
    line.number("recipients_refused", u64::from(report.recipients_refused));
    line.number("recipients_deferred", u64::from(report.recipients_deferred));
    line.number("recipients_limited", u64::from(report.recipients_limited));
    let named = report.recipients.iter().take(REPORT_RECIPIENTS_MAX);
    line.list("to", named, |element, recipient| {
        element.recipient(recipient.address.as_str(), recipient.code, by_name(recipient.by));
    });
}

fn write_refusal(line: &mut Line<'_>, refusal: &Refusal, moment: Moment) {
    line.word("reason", refusal.reason.name());
    line.text_if("id", refusal.transaction.as_ref().map(TransactionId::as_str));
    line.text("session", refusal.session.as_str());
    write_charged(line, refusal.charged.as_ref());
    line.bare("client", refusal.client);
    line.text("from", refusal.sender.address().map_or("", Address::as_str));
    line.number("recipients", u64::from(refusal.recipients));
    line.text("reply", &refusal.reply);
    if let Some(hit) = &refusal.limit {
        write_hit(line, hit, moment);
    }
    line.flag("observed_only", Flag::from(refusal.observed_only));
}

fn write_charged(line: &mut Line<'_>, charged: Option<&Charged>) {
    let Some(charged) = charged else { return };
    line.text("account", charged.account.as_str());
    line.text("tenant", charged.tenant.as_str());
    line.text("plan", charged.plan.as_str());
    line.word("evidence", charged.evidence.name());
    line.text_if("peer", charged.peer.as_ref().map(PeerName::as_str));
}

fn write_hit(line: &mut Line<'_>, hit: &LimitHit, moment: Moment) {
    line.text("limit_key", hit.key.as_str());
    line.number("limit_max", u64::from(hit.limit.max));
    line.number("limit_window_s", hit.limit.window.length().as_secs());
    line.number("limit_used", u64::from(hit.used));
    if let Some(slot) = hit.next_slot {
        line.moment("next_slot", moment.to_utc(slot));
    }
}

fn write_reached(line: &mut Line<'_>, reached: &LimitReached) {
    line.text("limit_key", reached.key.as_str());
    line.number("limit_max", u64::from(reached.limit.max));
    line.number("limit_window_s", reached.limit.window.length().as_secs());
    line.number("limit_used", u64::from(reached.used));
    line.number("percent", u64::from(reached.percent));
}

fn write_rejected(line: &mut Line<'_>, rejected: &EvidenceRejected) {
    line.text("session", rejected.session.as_str());
    line.text_if("peer", rejected.peer.as_ref().map(PeerName::as_str));
    line.word("evidence", rejected.evidence.name());
    line.word("reason", rejected.reason);
}

fn write_case(line: &mut Line<'_>, who: (&SubjectId, &CaseId), reason: &str, actor: &str) {
    write_subject(line, who.0);
    line.text("case", who.1.as_str());
    line.text("reason", reason);
    line.text("actor", actor);
}

fn write_changed(line: &mut Line<'_>, changed: &SubjectChanged) {
    write_subject(line, &changed.subject);
    line.text("change", &changed.change);
    line.text("reason", &changed.reason);
    line.text("actor", &changed.actor);
}

fn write_token(line: &mut Line<'_>, changed: &TokenChanged) {
    line.text("token", changed.name.as_str());
    line.word("role", changed.access.role().name());
    line.text_if("tenant", changed.access.tenant().map(TenantId::as_str));
    if let Some(expires) = changed.expires {
        line.moment("expires", expires);
    }
    line.text("reason", &changed.reason);
    line.text("actor", &changed.actor);
}

fn write_subject(line: &mut Line<'_>, subject: &SubjectId) {
    match subject {
        SubjectId::Account(account) => line.text("account", account.as_str()),
        SubjectId::Tenant(tenant) => line.text("tenant", tenant.as_str()),
    }
}

fn write_complaint(line: &mut Line<'_>, complaint: &Complaint) {
    line.number("number", u64::try_from(complaint.number).unwrap_or(0));
    line.word("kind", complaint.kind);
    line.text_if("account", complaint.account.as_ref().map(AccountId::as_str));
    line.text_if("tenant", complaint.tenant.as_ref().map(TenantId::as_str));
    line.text_if("attributed_by", complaint.by.map(Attribution::name));
    line.text_if("id", complaint.transaction.as_ref().map(TransactionId::as_str));
    line.text_if("message_id", complaint.message_id.as_ref().map(MessageId::as_str));
    line.address_if("recipient", complaint.recipient.as_ref().map(Address::as_str));
    line.number("incidents", u64::from(complaint.incidents));
    line.text_if("reporter", complaint.reporter.as_deref());
}

fn write_next_hop(line: &mut Line<'_>, state: &NextHopState) {
    line.text("next_hop", &state.next_hop);
    line.text("detail", &state.detail);
}

fn write_alert(line: &mut Line<'_>, told: &AlertTold) {
    line.text("alert", &told.id);
    line.word("kind", told.kind);
    line.word("severity", told.severity);
    line.word("why", told.why);
    line.text("about", &told.about);
    line.text_if("account", told.account.as_ref().map(AccountId::as_str));
    line.text_if("tenant", told.tenant.as_ref().map(TenantId::as_str));
    line.text("title", &told.title);
}

fn write_budget(line: &mut Line<'_>, budget: &SlaBudget) {
    line.text("month", &budget.month.to_string());
    line.number("percent", u64::from(budget.percent));
    line.number("used_s", budget.used.as_secs());
    line.number("budget_s", budget.budget.as_secs());
}

fn write_maintenance(line: &mut Line<'_>, changed: &MaintenanceChanged) {
    line.text("change", &changed.change);
    line.text("reason", &changed.reason);
    line.text("actor", &changed.actor);
}

fn write_listing(line: &mut Line<'_>, state: &ListingState) {
    line.text("subject", &state.subject);
    line.text("list", &state.list);
    line.word("severity", state.severity);
    line.moment("since", state.since);
    let codes: Vec<String> = state.codes.iter().map(ToString::to_string).collect();
    line.text("codes", &codes.join(" "));
    line.text("meaning", &state.meaning);
}

fn write_steered(line: &mut Line<'_>, steered: &EgressSteered) {
    line.bare("address", steered.address);
    line.word("was", steered.from);
    line.word("is", steered.to);
    line.text_if("why", steered.why.as_deref());
}

fn write_cause(line: &mut Line<'_>, cause: &ListingCause) {
    line.bare("address", cause.address);
    line.text("list", &cause.list);
    line.moment("since", cause.since);
    line.number("window_s", cause.window.as_secs());
    line.number("accounts", cause.accounts);
    if let Some(likely) = cause.likely() {
        line.text("account", likely.account.as_str());
        line.text("tenant", likely.tenant.as_str());
    }
    line.list("suspects", &cause.suspects, |element, suspect| element.text(&suspect.to_string()));
}

fn write_storage(line: &mut Line<'_>, changed: &StorageChanged) {
    write_owner(line, &changed.subject, &changed.tenant);
    line.number("from_percent", u64::from(changed.from));
    line.number("percent", u64::from(changed.percent));
    line.number("used_bytes", changed.used_bytes);
    line.number("max_bytes", changed.max_bytes);
    line.word("over", changed.over);
}

fn write_files(line: &mut Line<'_>, files: &StorageFiles) {
    write_owner(line, &files.subject, &files.tenant);
    line.number("files", files.files);
    line.number("files_max", files.max);
    line.flag("is_over", Flag::from(files.is_over));
}

fn write_owner(line: &mut Line<'_>, subject: &SubjectId, tenant: &TenantId) {
    if let SubjectId::Account(account) = subject {
        line.text("account", account.as_str());
    }
    line.text("tenant", tenant.as_str());
}

fn write_room(line: &mut Line<'_>, room: &DiskRoom) {
    line.text("folder", &room.folder);
    line.number("free_bytes", room.free_bytes);
    line.number("size_bytes", room.size_bytes);
}

fn write_end(line: &mut Line<'_>, end: &CertificateEnd) {
    line.text("certificate", &end.certificate);
    line.moment("not_after", end.not_after);
    line.number("days", u64::from(end.days));
}

fn write_trouble(line: &mut Line<'_>, trouble: &Trouble) {
    line.text("detail", &trouble.detail);
}

const fn by_name(by: AnswerBy) -> &'static str {
    match by {
        AnswerBy::NextHop => "next-hop",
        AnswerBy::Limit => "limit",
        AnswerBy::Gate => "gate",
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::LogRecipients;
    use super::*;
    use crate::{
        event::{Evidence, Outcome, RecipientReport, RefusalReason},
        telemetry::sink::Writer,
        types::{Key, Limit, ReversePath, Span, SubjectHash, Unit},
    };

    pub(crate) fn charged() -> Charged {
        Charged {
            account: "a@shop.example".parse().unwrap(),
            tenant: "shop.example".parse().unwrap(),
            plan: "shared-hosting".parse().unwrap(),
            evidence: Evidence::Auth,
            peer: Some("web01".parse().unwrap()),
        }
    }

    pub(crate) fn message() -> MessageReport {
        MessageReport {
            session: "s1".parse().unwrap(),
            transaction: "s1.1".parse().unwrap(),
            listener: "submission".into(),
            charged: Some(charged()),
            client: "192.0.2.7".parse().unwrap(),
            sender: ReversePath::Mailbox("a@shop.example".parse().unwrap()),
            message_id: Some("1@shop.example".parse().unwrap()),
            subject_hash: Some(SubjectHash::new(0xab)),
            recipients: vec![RecipientReport {
                address: "b@there.example".parse().unwrap(),
                code: 250,
                by: AnswerBy::NextHop,
            }],
            recipients_sent: 1,
            recipients_refused: 0,
            recipients_deferred: 0,
            recipients_limited: 2,
            size_bytes: 4096,
            outcome: Outcome::Sent,
            reply: Some("250 2.0.0 ok\r\nevent=forged".into()),
            next_hop: Some("mx.example:25".into()),
            egress: ["192.0.2.25".parse().unwrap()].into(),
            next_hop_reply: Some("250 queued as 1".into()),
            began: "2026-11-22T09:14:07Z".parse().unwrap(),
            lasted: Duration::from_millis(12),
            next_hop_took: Some(Duration::from_millis(5)),
            scans: Scans::default(),
            judgement: None,
            would_refuse: false,
        }
    }

    pub(crate) fn refusal() -> Refusal {
        let account = SubjectId::Account("a@shop.example".parse().unwrap());
        let limit = Limit { window: Span::from_secs(3600), max: 50 };
        Refusal {
            session: "s1".parse().unwrap(),
            transaction: None,
            charged: Some(charged()),
            client: "192.0.2.7".parse().unwrap(),
            sender: ReversePath::Null,
            reason: RefusalReason::Limit,
            recipients: 1,
            reply: "450 4.7.1 account a@shop.example: 50 of 50 recipients in 1 h".into(),
            limit: Some(LimitHit {
                key: Key::of_subject(&account, Unit::Recipients),
                limit,
                used: 50,
                next_slot: Some("2026-11-22T09:37:50Z".parse().unwrap()),
            }),
            observed_only: false,
        }
    }

    fn check(format: LogFormat, level: Level, event: &Event, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let writer = Writer::start(Some(&path)).unwrap();
        let at = "2026-11-22T09:14:07.042Z".parse().unwrap();
        let settings = Settings {
            format,
            level,
            lines_per_client_minute: 0,
            file: None,
            recipients: LogRecipients::Clear,
        };
        let (clock, _) = Clock::by_hand(at);
        Log::new(writer.sink(), &settings, clock, None).notice(at, event);
        drop(writer);
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    }

    #[test]
    fn a_message_is_one_line() {
        check(
            LogFormat::Text,
            Level::INFO,
            &Event::Message(Box::new(message())),
            "time=2026-11-22T09:14:07.042Z level=info event=message outcome=sent id=s1.1 session=s1 listener=submission \
             account=a@shop.example tenant=shop.example plan=shared-hosting evidence=auth peer=web01 client=192.0.2.7 \
             from=a@shop.example message_id=1@shop.example subject_hash=00000000000000ab recipients_sent=1 \
             recipients_refused=0 recipients_deferred=0 recipients_limited=2 \
             to=\"b@there.example=250/next-hop\" size=4096 reply=\"250 2.0.0 ok\\r\\nevent=forged\" next_hop=mx.example:25 egress=192.0.2.25 \
             next_hop_reply=\"250 queued as 1\" began=2026-11-22T09:14:07.000Z took_ms=12 next_hop_ms=5\n",
        );
        check(
            LogFormat::Json,
            Level::INFO,
            &Event::Message(Box::new(message())),
            concat!(
                r#"{"time":"2026-11-22T09:14:07.042Z","level":"info","event":"message","outcome":"sent","id":"s1.1","#,
                r#""session":"s1","listener":"submission","account":"a@shop.example","tenant":"shop.example","#,
                r#""plan":"shared-hosting","evidence":"auth","peer":"web01","client":"192.0.2.7","from":"a@shop.example","#,
                r#""message_id":"1@shop.example","subject_hash":"00000000000000ab","#,
                r#""recipients_sent":1,"recipients_refused":0,"recipients_deferred":0,"recipients_limited":2,"#,
                r#""to":[{"to":"b@there.example","code":250,"by":"next-hop"}],"size":4096,"#,
                r#""reply":"250 2.0.0 ok\r\nevent=forged","next_hop":"mx.example:25","egress":"192.0.2.25","next_hop_reply":"250 queued as 1","#,
                r#""began":"2026-11-22T09:14:07.000Z","took_ms":12,"next_hop_ms":5}"#,
                "\n"
            ),
        );
    }

    #[test]
    fn a_refusal_has_the_facts_of_its_limit() {
        check(
            LogFormat::Text,
            Level::INFO,
            &Event::Refused(Box::new(refusal())),
            "time=2026-11-22T09:14:07.042Z level=info event=refused reason=limit session=s1 account=a@shop.example \
             tenant=shop.example plan=shared-hosting evidence=auth peer=web01 client=192.0.2.7 from=\"\" recipients=1 \
             reply=\"450 4.7.1 account a@shop.example: 50 of 50 recipients in 1 h\" limit_key=account/r/a@shop.example \
             limit_max=50 limit_window_s=3600 limit_used=50 next_slot=2026-11-22T09:37:50.000Z\n",
        );
    }

    #[test]
    fn a_client_cannot_flood_the_log_and_messages_are_always_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let writer = Writer::start(Some(&path)).unwrap();
        let (format, level) = (LogFormat::Text, Level::INFO);
        let settings = Settings {
            format,
            level,
            lines_per_client_minute: 5,
            file: None,
            recipients: LogRecipients::Clear,
        };
        let (clock, _) = Clock::by_hand(Timestamp::EPOCH);
        let log = Log::new(writer.sink(), &settings, clock, None);
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        for _ in 0..100 {
            log.notice(at(61), &Event::Refused(Box::new(refusal())));
            log.notice(at(61), &Event::Message(Box::new(message())));
        }
        log.notice(at(121), &Event::ConfigReloaded);
        assert_eq!(writer.sink().counts().lines_suppressed, 95);
        drop((log, writer));
        let text = std::fs::read_to_string(&path).unwrap();
        let count = |what: &str| text.matches(what).count();
        assert_eq!((count("event=refused"), count("event=message")), (5, 100));
        assert_eq!(count("level=warn event=log-lines-suppressed client=192.0.2.7 lines=95\n"), 1);
    }

    #[test]
    fn a_level_that_is_not_wanted_writes_nothing() {
        let opened = Event::SessionOpened(SessionOpened {
            session: "s1".parse().unwrap(),
            listener: "smarthost".into(),
            remote: "[2001:db8::1]:4000".parse().unwrap(),
            peer: None,
        });
        check(LogFormat::Text, Level::INFO, &opened, "");
        check(
            LogFormat::Text,
            Level::DEBUG,
            &opened,
            "time=2026-11-22T09:14:07.042Z level=debug event=session-opened session=s1 listener=smarthost \
             remote=[2001:db8::1]:4000\n",
        );
    }

    #[test]
    fn a_line_names_no_more_recipients_than_its_maximum() {
        let mut report = message();
        report.recipients = vec![report.recipients[0].clone(); REPORT_RECIPIENTS_MAX + 20];
        let mut out = Vec::new();
        let mut second = crate::telemetry::line::SecondText::default();
        let mut line = Line::begin(&mut out, LogFormat::Text, &mut second, Timestamp::EPOCH);
        let moment = Moment { ledger: report.began, utc: report.began };
        write_message(&mut line, &report, moment);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("b@there.example").count(), REPORT_RECIPIENTS_MAX);
    }
}
