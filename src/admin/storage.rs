//! How full mailboxes are: looked at, told by other systems, shown.
//!
//! Every figure takes one way: into memory, where the next message finds it; judged by `rules::quota` beside what plans give;
//! into the archive; and what changed by it is told, once it is kept. A source that fails changes no figure. Figures grow old then,
//! and what is old makes nobody full and nobody free.

use super::{Admin, AdminError, audit};
use crate::{
    event::{BackendState, Event, StorageChanged, StorageFiles},
    mailbox::{DoveadmSettings, Found, How, Source, Template},
    rules::quota::{self, Fill, Over, Room, Rooms, Told, Usage},
    store::{
        StoreError, Whose,
        archive::{Archive, NewEntry, StorageDays, StoragePast, StorageRow},
        mailboxes::{Figure, Holding, MAILBOXES_MAX, Mailboxes},
        records::SubjectKind,
    },
    types::{AccountId, Actor, ByteCount, Scope, SubjectId, TenantId, Timestamp},
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashSet},
    time::Duration,
};
use utoipa::ToSchema;

/// Where figures of mailboxes come from, and how long they count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSettings {
    /// Where from.
    pub source: SourceSettings,
    /// How often all are looked at.
    pub every: Duration,
    /// When a figure is old.
    pub stale_after: Duration,
    /// From how many files of a mailbox on it is told.
    pub files_max: u64,
}

/// Where figures come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSettings {
    /// Other systems tell them.
    Told,
    /// Maildirs at these places, looked at by so many threads.
    Maildirs(Template, usize),
    /// A Dovecot.
    Doveadm(DoveadmSettings),
}

/// What looks after mailboxes.
pub struct StorageDesk {
    /// What is known, as the next message finds it.
    pub mailboxes: Mailboxes,
    /// Where it comes from.
    pub source: ArcSwap<Source>,
    /// How long it counts.
    pub settings: ArcSwap<StorageSettings>,
    /// The source as it is named, and why it fails, if it did when it was asked last.
    failing: Mutex<Option<(String, String)>>,
    /// One change after another: what is judged rests on what was told before.
    turn: tokio::sync::Mutex<()>,
}

/// What came of looking at all mailboxes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Survey {
    /// Mailboxes whose figures were found.
    pub found: u32,
    /// Accounts that have none.
    pub without: u32,
    /// Mailboxes that could not be looked at.
    pub failed: u32,
    /// The first of the failures, in words.
    pub failure: Option<String>,
}

/// How full a mailbox is, or a tenant's mailboxes together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StorageView {
    /// `account` or `tenant`.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// The tenant.
    pub tenant: String,
    /// How full it is.
    pub fill: Fill,
    /// Octets that are used, as far as they were seen; none: nothing ever was.
    pub used_bytes: Option<u64>,
    /// Octets that may be; none: any number.
    pub max_bytes: Option<u64>,
    /// What is used in percent of that.
    pub percent: Option<f64>,
    /// Files, as far as they were seen.
    pub files: Option<u64>,
    /// There are more files than a backup takes.
    pub has_many_files: bool,
    /// What follows when all is used.
    pub over: Over,
    /// Nothing is accepted from it now but for the provider's own people.
    pub is_refused: bool,
    /// How many mailboxes.
    pub mailboxes: u32,
    /// Those of which there is no fresh figure; what is known of them last counts in what is used.
    pub unknown: u32,
    /// When the figure of an account was true.
    pub measured: Option<Timestamp>,
    /// Where it comes from: `maildir`, `maildirsize`, `doveadm`, `api`.
    pub source: Option<String>,
}

/// How full it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StorageDay {
    /// The day of a tenant; the first one of the month of an account.
    pub day: String,
    /// Octets at its end.
    pub bytes: u64,
    /// Files at its end.
    pub files: u64,
    /// The most octets in it.
    pub peak_bytes: u64,
}

/// How full it is and was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StorageStory {
    /// How full it is.
    #[serde(flatten)]
    pub now: StorageView,
    /// How full it was in the last thirteen months, the first day first.
    pub past: Vec<StorageDay>,
}

/// A figure that another system tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageReport {
    /// Octets.
    pub bytes: u64,
    /// Files.
    pub files: u64,
    /// When that was true; none: now.
    #[serde(default)]
    pub measured_at: Option<Timestamp>,
}

impl StorageDesk {
    /// One over what is known.
    #[must_use]
    pub fn new(mailboxes: Mailboxes, source: Source, settings: StorageSettings) -> Self {
        Self {
            mailboxes,
            source: ArcSwap::from_pointee(source),
            settings: ArcSwap::from_pointee(settings),
            failing: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    fn fresh_since(&self, now: Timestamp) -> Timestamp {
        now - self.settings.load().stale_after
    }
}

/// Reads what was known when the program ran last.
///
/// # Errors
/// [`StoreError`] if the archive cannot be read.
pub async fn load_mailboxes(
    archive: &Archive,
    fresh_since: Timestamp,
) -> Result<Mailboxes, StoreError> {
    let mailboxes = Mailboxes::default();
    let rows = archive.storage(MAILBOXES_MAX * 2).await?;
    for row in &rows {
        let SubjectId::Account(account) = &row.subject else { continue };
        let figure = row.figure.as_ref().and_then(|(usage, measured, source)| {
            let source = How::from_name(source)?.name();
            Some(Figure { usage: *usage, measured: *measured, source })
        });
        mailboxes.note(account, &row.tenant, figure);
    }
    for row in &rows {
        mailboxes.set_told(&row.subject, row.told);
    }
    for tenant in mailboxes.tenants() {
        mailboxes.add_up(&tenant, fresh_since);
    }
    Ok(mailboxes)
}

/// Looks at all mailboxes: of accounts that are known here, and those that are found where mailboxes are.
///
/// # Errors
/// [`AdminError::Store`] if the store or the archive does not answer.
pub async fn survey_storage(admin: &Admin) -> Result<Survey, AdminError> {
    let source = admin.storage.source.load_full();
    let mut survey = Survey::default();
    if source.name().is_some() {
        let mut accounts = known_accounts(admin).await?;
        match source.accounts().await {
            Ok(found) => accounts.extend(found),
            Err(why) => survey.fail(1, why),
        }
        let accounts: Vec<AccountId> = accounts.into_iter().take(MAILBOXES_MAX).collect();
        look_at(admin, &source, accounts, &mut survey).await?;
    }
    settle(admin, subjects(admin)).await?;
    tell_source(admin, &source, &survey);
    Ok(survey)
}

/// Looks at the mailbox of an account, or at all of a tenant's, now.
///
/// # Errors
/// [`AdminError::Conflict`] if there is nowhere to look, or it cannot be looked at; [`AdminError::Store`] if the store or the archive
/// does not answer.
pub async fn scan_storage(admin: &Admin, subject: &SubjectId) -> Result<StorageView, AdminError> {
    let source = admin.storage.source.load_full();
    if source.name().is_none() {
        let why = "figures are told by other systems only: [storage] names no place to look";
        return Err(AdminError::Conflict(why.into()));
    }
    let accounts = match subject {
        SubjectId::Account(account) => vec![account.clone()],
        SubjectId::Tenant(tenant) => accounts_of(admin, &source, tenant).await?,
    };
    let mut survey = Survey::default();
    look_at(admin, &source, accounts, &mut survey).await?;
    let tenant = tenant_of_subject(admin, subject).await?;
    let of_tenant = admin.storage.mailboxes.accounts(Some(&tenant));
    let concerned = of_tenant.into_iter().map(SubjectId::Account);
    settle(admin, concerned.chain([SubjectId::Tenant(tenant)]).collect()).await?;
    match survey.failure {
        Some(why) => Err(AdminError::Conflict(why)),
        None => storage_of(admin, subject).await,
    }
}

/// Takes a figure that another system tells. Where it changes how full the account or its tenant counts, and so may change whether they can
/// send, the audit says who told it; figures of which nothing follows come by the hour.
///
/// # Errors
/// [`AdminError::Invalid`] for a moment that is to come, [`AdminError::Conflict`] if a later figure is known or there is no room for
/// another account, [`AdminError::Store`] if the store or the archive does not answer.
pub async fn report_storage(
    admin: &Admin,
    account: &AccountId,
    report: &StorageReport,
    actor: &Actor,
) -> Result<StorageView, AdminError> {
    let now = admin.utc();
    let measured = report.measured_at.unwrap_or(now);
    if measured > now + CLOCK_SLACK {
        return Err(AdminError::Invalid(format!("measured_at {measured} is to come")));
    }
    let subject = SubjectId::Account(account.clone());
    let known = admin.storage.mailboxes.of(&subject).and_then(|holding| holding.figure);
    if let Some(known) = known.filter(|known| known.measured > measured) {
        let why = format!("a later figure is known, of {}", known.measured);
        return Err(AdminError::Conflict(why));
    }
    let usage = Usage { bytes: report.bytes, files: report.files };
    let tenant = super::tenant_of(admin, account).await?;
    let concerned = [subject.clone(), SubjectId::Tenant(tenant.clone())];
    let before = concerned.clone().map(|subject| admin.storage.mailboxes.of(&subject));
    let figure = Figure { usage, measured: measured.min(now), source: How::Told.name() };
    if !admin.storage.mailboxes.note(account, &tenant, Some(figure)) {
        return Err(AdminError::Conflict(format!("more than {MAILBOXES_MAX} mailboxes")));
    }
    settle(admin, concerned.to_vec()).await?;
    for (subject, before) in concerned.iter().zip(before) {
        let (before, after) =
            (before.unwrap_or_default(), admin.storage.mailboxes.of(subject).unwrap_or_default());
        if before.told.level != after.told.level {
            let mut entry = NewEntry::new(now, actor, "storage-told");
            entry.subject = Some(subject.to_string());
            entry.tenant = Some(tenant.clone());
            entry.account = matches!(subject, SubjectId::Account(_)).then(|| account.clone());
            (entry.before, entry.after) = (Some(fullness(&before)), Some(fullness(&after)));
            audit::note(admin, entry).await?;
        }
    }
    storage_of(admin, &subject).await
}

/// Counts a mailbox for the tenant that its account belongs to now.
pub(super) async fn move_mailbox(admin: &Admin, account: &AccountId) -> Result<(), AdminError> {
    let Some(was) = admin.storage.mailboxes.tenant_of(account) else { return Ok(()) };
    let is = super::tenant_of(admin, account).await?;
    if is == was {
        return Ok(());
    }
    let tenants = [was, is].map(SubjectId::Tenant);
    settle(admin, [SubjectId::Account(account.clone())].into_iter().chain(tenants).collect()).await
}

/// How full it counts, as the audit says it.
fn fullness(held: &Holding) -> String {
    let bytes = held.known.last.bytes;
    match held.told.level.percent() {
        0 => format!("below {} %: {bytes} octets", quota::Level::Near.percent()),
        percent => format!("{percent} % or more: {bytes} octets"),
    }
}

/// How full a mailbox is, or a tenant's mailboxes together.
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn storage_of(admin: &Admin, subject: &SubjectId) -> Result<StorageView, AdminError> {
    let tenant = tenant_of_subject(admin, subject).await?;
    let (room, _) = room_of(admin, subject, &tenant).await?;
    let held = admin.storage.mailboxes.of(subject).unwrap_or_default();
    Ok(view(subject, &tenant, room, &held))
}

/// How full it is, and how full it was.
///
/// # Errors
/// [`AdminError::Store`] if the store or the archive does not answer.
pub async fn storage_story(admin: &Admin, subject: &SubjectId) -> Result<StorageStory, AdminError> {
    let today = admin.zone.day_of(admin.utc());
    let past = admin.archive.storage_past(subject.clone(), today.plus(-PAST_DAYS)..=today).await?;
    let now = storage_of(admin, subject).await?;
    Ok(StorageStory { now, past: past.into_iter().map(StorageDay::from).collect() })
}

/// Mailboxes of all or of one tenant, and tenants, the fullest first; what has no quota comes last, by its size.
///
/// # Errors
/// [`AdminError::Store`] if the store does not answer.
pub async fn storage_list(
    admin: &Admin,
    of: Option<&TenantId>,
    max: usize,
) -> Result<Vec<StorageView>, AdminError> {
    let mailboxes = &admin.storage.mailboxes;
    let accounts = mailboxes.accounts(of).into_iter().map(SubjectId::Account);
    let tenants = of.map_or_else(|| mailboxes.tenants(), |tenant| vec![tenant.clone()]);
    let mut fullest = Fullest::default();
    for subject in tenants.into_iter().map(SubjectId::Tenant).chain(accounts) {
        let view = storage_of(admin, &subject).await?;
        // It may have moved to another tenant, of whom this one is not told.
        if of.is_none_or(|of| view.tenant == of.as_str()) {
            fullest.add(view, max.clamp(1, STORAGE_LIST_MAX));
        }
    }
    Ok(fullest.0)
}

/// What is shown first of many.
#[derive(Default)]
struct Fullest(Vec<StorageView>);

impl Fullest {
    fn add(&mut self, view: StorageView, max: usize) {
        let place = self.0.partition_point(|other| rank(other) <= rank(&view));
        if place < max {
            self.0.insert(place, view);
            self.0.truncate(max);
        }
    }
}

/// Thousandths of a quota are enough to tell the fuller.
fn rank(view: &StorageView) -> (Reverse<u128>, Reverse<u64>, &str) {
    let used = view.used_bytes.unwrap_or_default();
    let part =
        view.max_bytes.map_or(0, |max| 1 + u128::from(used) * 1_000 / u128::from(max.max(1)));
    (Reverse(part), Reverse(used), &view.name)
}

impl Survey {
    fn fail(&mut self, count: u32, why: String) {
        self.failed = self.failed.saturating_add(count);
        self.failure.get_or_insert(why);
    }
}

impl From<StoragePast> for StorageDay {
    fn from(past: StoragePast) -> Self {
        Self {
            day: past.day.to_string(),
            bytes: past.last.bytes,
            files: past.last.files,
            peak_bytes: past.peak_bytes,
        }
    }
}

/// Who is recorded, has sent, or has had a mailbox.
async fn known_accounts(admin: &Admin) -> Result<HashSet<AccountId>, AdminError> {
    let mut accounts: HashSet<AccountId> =
        admin.storage.mailboxes.accounts(None).into_iter().collect();
    let mut after: Option<String> = None;
    while accounts.len() < MAILBOXES_MAX {
        let kind = (SubjectKind::Accounts, Whose::All);
        let names = super::list::names_after(admin, kind, after.as_deref(), NAMES_AT_ONCE).await?;
        let Some(last) = names.last() else { break };
        after = Some(last.clone());
        accounts.extend(names.iter().filter_map(|name| name.parse().ok()));
    }
    Ok(accounts)
}

/// The accounts of a tenant: those that are known to be its, and those that are found where mailboxes are.
async fn accounts_of(
    admin: &Admin,
    source: &Source,
    tenant: &TenantId,
) -> Result<Vec<AccountId>, AdminError> {
    let mut accounts = known_accounts(admin).await?;
    accounts.extend(source.accounts().await.map_err(AdminError::Conflict)?);
    let mut of_tenant = Vec::new();
    for account in accounts {
        if super::tenant_of(admin, &account).await? == *tenant {
            of_tenant.push(account);
        }
    }
    Ok(of_tenant)
}

/// Looks at these accounts' mailboxes and notes what is found.
async fn look_at(
    admin: &Admin,
    source: &Source,
    accounts: Vec<AccountId>,
    survey: &mut Survey,
) -> Result<(), AdminError> {
    let mut unanswered = u32::try_from(accounts.len()).unwrap_or(u32::MAX);
    let mut findings = source.look_at(accounts);
    while let Some((account, found)) = findings.recv().await {
        unanswered = unanswered.saturating_sub(1);
        note(admin, &account, found, survey).await?;
    }
    if unanswered > 0 {
        survey.fail(unanswered, String::from("not all mailboxes were looked at"));
    }
    Ok(())
}

async fn note(
    admin: &Admin,
    account: &AccountId,
    found: Found,
    survey: &mut Survey,
) -> Result<(), AdminError> {
    let mailboxes = &admin.storage.mailboxes;
    let tenant = super::tenant_of(admin, account).await?;
    let is_known = mailboxes.tenant_of(account).is_some();
    let is_noted = match found {
        Found::Holds(usage, how) => {
            survey.found += 1;
            let figure = Figure { usage, measured: admin.utc(), source: how.name() };
            mailboxes.note(account, &tenant, Some(figure))
        }
        Found::Nothing { is_gone } if is_known && is_told(admin, account) => {
            // Another system knows of a mailbox that is elsewhere.
            survey.without += u32::from(is_gone);
            true
        }
        Found::Nothing { is_gone: true } if is_known => {
            survey.without += 1;
            leave(admin, account, &tenant).await?;
            true
        }
        Found::Nothing { .. } if is_known => {
            survey
                .fail(1, format!("{account}: the mailbox is not there, nor is what is around it"));
            mailboxes.note(account, &tenant, None)
        }
        Found::Nothing { .. } => {
            survey.without += 1;
            true
        }
        Found::Failed(why) => {
            survey.fail(1, format!("{account}: {why}"));
            mailboxes.note(account, &tenant, None)
        }
    };
    if !is_noted {
        survey.fail(1, format!("more than {MAILBOXES_MAX} mailboxes"));
    }
    Ok(())
}

fn is_told(admin: &Admin, account: &AccountId) -> bool {
    let holding = admin.storage.mailboxes.of(&SubjectId::Account(account.clone()));
    let figure = holding.and_then(|holding| holding.figure);
    figure.is_some_and(|figure| figure.source == How::Told.name())
}

/// A mailbox that is gone holds nothing: what was told of it is taken back before it is forgotten.
async fn leave(admin: &Admin, account: &AccountId, tenant: &TenantId) -> Result<(), AdminError> {
    let subject = SubjectId::Account(account.clone());
    let (usage, measured) = (Usage::default(), admin.utc());
    let figure = Figure { usage, measured, source: How::Scan.name() };
    admin.storage.mailboxes.note(account, tenant, Some(figure));
    settle(admin, vec![subject.clone()]).await?;
    admin.storage.mailboxes.forget(account);
    admin.archive.forget_storage(subject).await?;
    Ok(())
}

/// All of whom something is known.
fn subjects(admin: &Admin) -> Vec<SubjectId> {
    let mailboxes = &admin.storage.mailboxes;
    let accounts = mailboxes.accounts(None).into_iter().map(SubjectId::Account);
    accounts.chain(mailboxes.tenants().into_iter().map(SubjectId::Tenant)).collect()
}

/// Adds tenants up, judges, keeps and tells what is to be told.
async fn settle(admin: &Admin, subjects: Vec<SubjectId>) -> Result<(), AdminError> {
    let _one_at_a_time = admin.storage.turn.lock().await;
    let (now, mailboxes) = (admin.utc(), &admin.storage.mailboxes);
    let mut tenants = BTreeSet::new();
    for subject in &subjects {
        match subject {
            SubjectId::Account(account) => {
                let Some(was) = mailboxes.tenant_of(account) else { continue };
                let is = super::tenant_of(admin, account).await?;
                if is != was {
                    mailboxes.note(account, &is, None);
                }
                tenants.extend([was, is]);
            }
            SubjectId::Tenant(tenant) => drop(tenants.insert(tenant.clone())),
        }
    }
    for tenant in &tenants {
        mailboxes.add_up(tenant, admin.storage.fresh_since(now));
    }
    for some in subjects.chunks(ROWS_AT_ONCE) {
        settle_some(admin, some, now).await?;
    }
    Ok(())
}

async fn settle_some(
    admin: &Admin,
    subjects: &[SubjectId],
    now: Timestamp,
) -> Result<(), AdminError> {
    let (mut rows, mut events) = (Vec::new(), Vec::new());
    for subject in subjects {
        let Some(held) = admin.storage.mailboxes.of(subject) else { continue };
        let tenant = tenant_of_subject(admin, subject).await?;
        let (room, files_max) = room_of(admin, subject, &tenant).await?;
        let told = quota::judge(&held.known, room.bytes_max, files_max, held.told);
        events.extend(changes(subject, &tenant, (&held, told), (room, files_max)));
        rows.push((row(subject, tenant, &held, now), told));
    }
    let kept = rows.iter().map(|(row, told)| StorageRow { told: *told, ..row.clone() }).collect();
    let day = admin.zone.day_of(now);
    admin.archive.note_storage(kept, StorageDays { day, month: day.month().first() }).await?;
    for (row, told) in rows {
        admin.storage.mailboxes.set_told(&row.subject, told);
    }
    events.iter().for_each(|event| admin.tell(event));
    Ok(())
}

fn row(subject: &SubjectId, tenant: TenantId, held: &Holding, now: Timestamp) -> StorageRow {
    let figure = match subject {
        SubjectId::Account(_) => {
            held.figure.map(|figure| (figure.usage, figure.measured, figure.source.to_owned()))
        }
        SubjectId::Tenant(_) => Some((held.known.last, now, String::from(SUM))),
    };
    StorageRow { subject: subject.clone(), tenant, figure, told: held.told }
}

/// What is to be told of a change.
fn changes(
    subject: &SubjectId,
    tenant: &TenantId,
    (held, told): (&Holding, Told),
    (room, files_max): (Room, u64),
) -> Vec<Event> {
    let mut events = Vec::new();
    if told.level != held.told.level {
        events.push(Event::StorageChanged(Box::new(StorageChanged {
            subject: subject.clone(),
            tenant: tenant.clone(),
            from: held.told.level.percent(),
            percent: told.level.percent(),
            used_bytes: held.known.last.bytes,
            max_bytes: room.bytes_max.unwrap_or_default(),
            over: room.follows().name(),
        })));
    }
    if told.has_many_files != held.told.has_many_files {
        events.push(Event::StorageFilesChanged(Box::new(StorageFiles {
            subject: subject.clone(),
            tenant: tenant.clone(),
            files: held.known.last.files,
            max: files_max,
            is_over: told.has_many_files,
        })));
    }
    events
}

/// Tells that the source fails, or works again: once each.
fn tell_source(admin: &Admin, source: &Source, survey: &Survey) {
    let all = survey.found.saturating_add(survey.without).saturating_add(survey.failed);
    let detail = |why: &String| format!("{} of {all} mailboxes: {why}", survey.failed);
    let failing = source.name().zip(survey.failure.as_ref().map(detail));
    let before = std::mem::replace(&mut *admin.storage.failing.lock(), failing.clone());
    let name = |state: &Option<(String, String)>| state.as_ref().map(|(name, _)| name.clone());
    if name(&before) == name(&failing) {
        return;
    }
    if let Some((backend, _)) = before {
        admin.tell(&Event::StorageSourceUp(BackendState { backend, detail: String::new() }));
    }
    if let Some((backend, detail)) = failing {
        admin.tell(&Event::StorageSourceDown(BackendState { backend, detail }));
    }
}

async fn tenant_of_subject(admin: &Admin, subject: &SubjectId) -> Result<TenantId, AdminError> {
    match subject {
        SubjectId::Account(account) => super::tenant_of(admin, account).await,
        SubjectId::Tenant(tenant) => Ok(tenant.clone()),
    }
}

/// What a subject may hold, and from how many files on it is told: of tenants the files are not, each mailbox is backed up by itself.
async fn room_of(
    admin: &Admin,
    subject: &SubjectId,
    tenant: &TenantId,
) -> Result<(Room, u64), AdminError> {
    let policy = admin.policy.load();
    let tenant_record = admin.records.subject(&SubjectId::Tenant(tenant.clone())).await?;
    match subject {
        SubjectId::Tenant(_) => Ok((policy.room_of_tenant(tenant_record.assigned()), u64::MAX)),
        SubjectId::Account(_) => {
            let record = admin.records.subject(subject).await?;
            let Rooms { account, .. } =
                policy.rooms_in_force(tenant_record.assigned(), record.assigned());
            Ok((account, admin.storage.settings.load().files_max))
        }
    }
}

fn view(subject: &SubjectId, tenant: &TenantId, room: Room, held: &Holding) -> StorageView {
    let (scope, name) = match subject {
        SubjectId::Account(account) => (Scope::Account, account.to_string()),
        SubjectId::Tenant(tenant) => (Scope::Tenant, tenant.to_string()),
    };
    let Holding { known, told, figure } = held;
    let was_seen = known.unknown < known.mailboxes || known.last != Usage::default();
    let used_bytes = was_seen.then_some(known.last.bytes);
    let is_full = room.bytes_max.is_some_and(|max| known.is_full(max, told.is_full));
    StorageView {
        scope,
        name,
        tenant: tenant.to_string(),
        fill: known.fill(room.bytes_max),
        used_bytes,
        max_bytes: room.bytes_max,
        percent: used_bytes.zip(room.bytes_max).and_then(percent),
        files: was_seen.then_some(known.last.files),
        has_many_files: told.has_many_files,
        over: room.over,
        is_refused: is_full && room.follows() == Over::Refuse,
        mailboxes: known.mailboxes,
        unknown: known.unknown,
        measured: figure.map(|figure| figure.measured),
        source: figure.map(|figure| figure.source.to_owned()),
    }
}

/// With one digit after the point, rounded down, so that what is not full does not look so.
#[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
fn percent((used, max): (u64, u64)) -> Option<f64> {
    let thousandths = (u128::from(used) * 1_000).checked_div(u128::from(max))?;
    Some(thousandths as f64 / 10.0)
}

impl StorageView {
    /// What is used of what may be, in words: `4.20 GB of 10.00 GB`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let words = |octets: Option<u64>| octets.map(|octets| ByteCount::new(octets).in_words());
        let used = words(self.used_bytes).unwrap_or_else(|| String::from("unknown"));
        match words(self.max_bytes) {
            Some(max) => format!("{used} of {max}"),
            None => used,
        }
    }
}

/// How much the clock of whoever measures may be ahead.
const CLOCK_SLACK: Duration = Duration::from_secs(300);
/// The most entries of a list.
pub const STORAGE_LIST_MAX: usize = 1_000;
/// Names that are read at a time.
const NAMES_AT_ONCE: usize = 1_000;
/// Rows of one transaction.
const ROWS_AT_ONCE: usize = 500;
/// Thirteen months.
const PAST_DAYS: i32 = 397;
/// The source of a tenant's figure.
const SUM: &str = "sum";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::{
            Changes, Patch, Who,
            fixture::{self, Gate},
            set,
        },
        mailbox::Maildirs,
        rules::{limits::Plan, policy::Policy, quota::Quotas},
        store::archive::{AuditFilter, audit::chain::Field},
        types::Via,
    };
    use std::{fs, path::PathBuf, sync::Arc};

    /// A gate that looks at Maildirs in a folder; a mailbox may hold 1,000 octets, a tenant 1,500.
    struct House {
        gate: Gate,
        folder: tempfile::TempDir,
    }

    impl House {
        fn new() -> Self {
            let (gate, folder) = (fixture::gate(), tempfile::tempdir().unwrap());
            let storage = Quotas {
                account_bytes_max: Some(1_000),
                tenant_bytes_max: Some(1_500),
                over: Over::Refuse,
            };
            let policy = Policy::clone(&gate.admin.policy.load());
            let plans = policy.plans.iter().map(|(name, plan)| {
                (name.clone(), Arc::new(Plan { storage, ..Plan::clone(plan) }))
            });
            let plans = plans.collect();
            gate.admin.policy.store(Arc::new(Policy { plans, ..policy }));
            let template = format!("{}/vmail/{{domain}}/{{local}}", folder.path().display());
            let maildirs = Maildirs::new(template.parse().unwrap(), 2);
            gate.admin.storage.source.store(Arc::new(Source::Maildirs(Arc::new(maildirs))));
            let house = Self { gate, folder };
            // Folders of others stand beside all of the tests'.
            house.fill("zoe@shop.example", &[]);
            house
        }

        fn path(&self, below: &str) -> PathBuf {
            self.folder.path().join(below)
        }

        /// Puts messages of these sizes in place of what a mailbox held.
        fn fill(&self, account: &str, sizes: &[u32]) {
            let (local, domain) = account.split_once('@').unwrap();
            let cur = self.path("vmail").join(domain).join(local).join("cur");
            let _ = fs::remove_dir_all(&cur);
            fs::create_dir_all(&cur).unwrap();
            for (number, size) in sizes.iter().enumerate() {
                fs::write(cur.join(format!("{number}.a.mx,S={size}")), "").unwrap();
            }
        }

        async fn round(&self) -> (u32, u32, Vec<String>) {
            let survey = survey_storage(&self.gate.admin).await.unwrap();
            (survey.found, survey.failed, std::mem::take(&mut *self.gate.told.lock()))
        }

        async fn view(&self, name: &str) -> StorageView {
            storage_of(&self.gate.admin, &subject(name)).await.unwrap()
        }

        async fn seen(&self, name: &str) -> (Option<u64>, Fill, bool) {
            let view = self.view(name).await;
            (view.used_bytes, view.fill, view.is_refused)
        }
    }

    fn subject(name: &str) -> SubjectId {
        match name.contains('@') {
            true => SubjectId::Account(name.parse().unwrap()),
            false => SubjectId::Tenant(name.parse().unwrap()),
        }
    }

    #[tokio::test]
    async fn a_round_finds_all_mailboxes_and_tells_each_threshold_once() {
        let house = House::new();
        assert_eq!(house.seen("ann@shop.example").await, (None, Fill::Unknown, false));
        house.fill("ann@shop.example", &[500, 300]);
        house.fill("bob@shop.example", &[100]);
        let changed = || vec![String::from("storage-changed")];
        assert_eq!(house.round().await, (3, 0, changed()));
        assert_eq!(house.seen("ann@shop.example").await, (Some(800), Fill::Near, false));
        assert_eq!(house.seen("shop.example").await, (Some(900), Fill::Under, false));
        assert_eq!(house.round().await, (3, 0, vec![]));
        house.fill("ann@shop.example", &[1_000]);
        house.fill("bob@shop.example", &[490]);
        // The mailbox is full, and the tenant nearly.
        assert_eq!(house.round().await.2.len(), 2);
        assert_eq!(house.seen("ann@shop.example").await, (Some(1_000), Fill::Over, true));
        assert_eq!(house.seen("shop.example").await, (Some(1_490), Fill::Scarce, false));
        house.fill("ann@shop.example", &[999]);
        assert_eq!(house.round().await.2, [] as [&str; 0], "told when it is left by 2 %");
        assert_eq!(house.seen("ann@shop.example").await, (Some(999), Fill::Scarce, false));
        let listed = storage_list(&house.gate.admin, None, 2).await.unwrap();
        let names: Vec<&str> = listed.iter().map(|view| view.name.as_str()).collect();
        assert_eq!(names, ["ann@shop.example", "shop.example"]);
    }

    #[tokio::test]
    async fn a_place_that_is_gone_changes_no_figure_and_is_told_once() {
        let house = House::new();
        house.fill("ann@shop.example", &[1_200]);
        house.round().await;
        fs::rename(house.path("vmail"), house.path("away")).unwrap();
        let (found, failed, told) = house.round().await;
        assert_eq!((found, failed, told), (0, 3, vec!["storage-source-down".to_owned()]));
        assert_eq!(house.seen("ann@shop.example").await, (Some(1_200), Fill::Over, true));
        // A disk that is not mounted shows an empty folder.
        fs::create_dir(house.path("vmail")).unwrap();
        assert_eq!(house.round().await, (0, 2, vec![]));
        fs::create_dir(house.path("vmail/shop.example")).unwrap();
        assert_eq!(house.round().await, (0, 2, vec![]));
        assert_eq!(house.seen("ann@shop.example").await, (Some(1_200), Fill::Over, true));
        // When its figure has grown old nothing is known of it, and nothing follows from that.
        let settings = StorageSettings::clone(&house.gate.admin.storage.settings.load());
        let impatient = StorageSettings { stale_after: Duration::ZERO, ..settings.clone() };
        house.gate.admin.storage.settings.store(Arc::new(impatient));
        tokio::time::sleep(Duration::from_millis(2)).await;
        house.round().await;
        assert_eq!(house.seen("ann@shop.example").await, (Some(1_200), Fill::Unknown, true));
        assert!(!house.seen("zoe@shop.example").await.2);
        house.gate.admin.storage.settings.store(Arc::new(settings));
        fs::remove_dir_all(house.path("vmail")).unwrap();
        fs::rename(house.path("away"), house.path("vmail")).unwrap();
        house.fill("ann@shop.example", &[5]);
        let (found, failed, told) = house.round().await;
        assert_eq!((found, failed), (2, 0));
        assert_eq!(told, ["storage-changed", "storage-changed", "storage-source-up"]);
        assert_eq!(house.seen("ann@shop.example").await, (Some(5), Fill::Under, false));
    }

    #[tokio::test]
    async fn a_mailbox_that_is_gone_holds_nothing_any_more() {
        let house = House::new();
        house.fill("ann@shop.example", &[1_500]);
        house.round().await;
        assert_eq!(house.seen("shop.example").await, (Some(1_500), Fill::Over, true));
        fs::remove_dir_all(house.path("vmail/shop.example/ann")).unwrap();
        let (found, failed, told) = house.round().await;
        assert_eq!((found, failed, told.len()), (1, 0, 2), "account and tenant: {told:?}");
        assert_eq!(house.seen("ann@shop.example").await, (None, Fill::Unknown, false));
        assert_eq!(house.seen("shop.example").await, (Some(0), Fill::Under, false));
        let rows = house.gate.admin.archive.storage(9).await.unwrap();
        assert!(rows.iter().all(|row| row.subject.to_string() != "account ann@shop.example"));
    }

    #[tokio::test]
    async fn what_was_known_is_known_after_a_restart() {
        let house = House::new();
        house.fill("ann@shop.example", &[1_600]);
        house.round().await;
        let admin = &house.gate.admin;
        for (fresh_since, fill) in
            [(Timestamp::EPOCH, Fill::Over), (admin.utc() + CLOCK_SLACK, Fill::Unknown)]
        {
            let mailboxes = load_mailboxes(&admin.archive, fresh_since).await.unwrap();
            let desk = &admin.storage;
            let again = StorageDesk::new(
                mailboxes,
                Source::clone(&desk.source.load()),
                StorageSettings::clone(&desk.settings.load()),
            );
            let admin = Admin { storage: Arc::new(again), ..admin.clone() };
            for name in ["ann@shop.example", "shop.example"] {
                let subject = subject(name);
                let view = storage_of(&admin, &subject).await.unwrap();
                assert_eq!((view.fill, view.is_refused), (fill, true), "{name}");
            }
        }
    }

    #[tokio::test]
    async fn a_mailbox_goes_with_its_account_and_the_tenant_of_before_sees_no_more_of_it() {
        let house = House::new();
        let admin = &house.gate.admin;
        let actor = Actor::new(Via::Api, "token panel");
        let account: AccountId = "ann@shop.example".parse().unwrap();
        let told = StorageReport { bytes: 1_600, files: 1, measured_at: None };
        report_storage(admin, &account, &told, &actor).await.unwrap();
        let tenants: [TenantId; 2] =
            ["shop.example", "other.example"].map(|name| name.parse().unwrap());
        let seen = async |tenant: &TenantId| {
            let list = storage_list(admin, Some(tenant), 9).await.unwrap();
            list.into_iter().map(|view| (view.name, view.used_bytes)).collect::<Vec<_>>()
        };
        let both = |tenant: &str| {
            vec![(tenant.to_owned(), Some(1_600)), ("ann@shop.example".to_owned(), Some(1_600))]
        };
        let sorted = |mut list: Vec<(String, Option<u64>)>| {
            list.sort_by(|one, other| other.cmp(one));
            list
        };
        assert_eq!(sorted(seen(&tenants[0]).await), both("shop.example"));
        let who = Who::new(SubjectKind::Accounts, account.as_str()).unwrap();
        let moves = Changes { tenant: Patch::Set(tenants[1].clone()), ..Changes::default() };
        set(admin, &who, &moves, &actor).await.unwrap();
        assert_eq!(sorted(seen(&tenants[1]).await), sorted(both("other.example")));
        let left = seen(&tenants[0]).await;
        assert!(left.iter().all(|(name, _)| name != account.as_str()), "{left:?}");
        let of_tenant = storage_of(admin, &SubjectId::Tenant(tenants[0].clone())).await.unwrap();
        assert!(
            of_tenant.used_bytes.unwrap_or_default() == 0 && !of_tenant.is_refused,
            "{of_tenant:?}"
        );
    }

    #[tokio::test]
    async fn another_system_tells_and_the_later_figure_counts() {
        let house = House::new();
        let admin = &house.gate.admin;
        let account: AccountId = "far@elsewhere.example".parse().unwrap();
        let told = |bytes, measured_at| StorageReport { bytes, files: 1, measured_at };
        let actor = Actor::new(Via::Api, "token panel");
        let view = report_storage(admin, &account, &told(1_000, None), &actor).await.unwrap();
        assert_eq!((view.fill, view.is_refused), (Fill::Over, true));
        assert_eq!(view.source.as_deref(), Some("api"));
        report_storage(admin, &account, &told(1_600, None), &actor).await.unwrap();
        // The account is full, then its tenant, too, and it is known who said so.
        let told_of = async || {
            let all = AuditFilter { max: 9, ..AuditFilter::default() };
            let entries = admin.archive.audit(all).await.unwrap().into_iter();
            let ours = entries.filter(|entry| entry.link.action == "storage-told");
            ours.map(|entry| {
                [Field::Subject, Field::Actor, Field::Before, Field::After]
                    .map(|field| entry.value(field).unwrap_or_default().to_owned())
            })
            .collect::<Vec<_>>()
        };
        let full = [
            [
                "account far@elsewhere.example",
                "token panel",
                "below 80 %: 0 octets",
                "100 % or more: 1000 octets",
            ],
            [
                "tenant elsewhere.example",
                "token panel",
                "below 80 %: 1000 octets",
                "100 % or more: 1600 octets",
            ],
        ];
        let mut entries = told_of().await;
        entries.reverse();
        assert_eq!(entries, full);
        report_storage(admin, &account, &told(1_700, None), &actor).await.unwrap();
        assert_eq!(told_of().await.len(), 2, "a figure of which nothing follows");
        let before = Some(admin.utc() - Duration::from_secs(60));
        let late = report_storage(admin, &account, &told(1, before), &actor).await.unwrap_err();
        assert!(matches!(late, AdminError::Conflict(_)), "{late}");
        let ahead = Some(admin.utc() + Duration::from_secs(3_600));
        let ahead = report_storage(admin, &account, &told(1, ahead), &actor).await.unwrap_err();
        assert!(matches!(ahead, AdminError::Invalid(_)), "{ahead}");
        // A round that finds no mailbox of it leaves it be.
        house.round().await;
        assert_eq!(house.seen("far@elsewhere.example").await, (Some(1_700), Fill::Over, true));
        // An old figure is one of which nothing follows.
        let old = Some(admin.utc() - Duration::from_secs(7_200));
        let other: AccountId = "old@elsewhere.example".parse().unwrap();
        report_storage(admin, &other, &told(5_000, old), &actor).await.unwrap();
        assert_eq!(house.seen("old@elsewhere.example").await, (Some(5_000), Fill::Unknown, false));
    }
}
