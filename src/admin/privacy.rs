//! What the law asks for: a copy of what is stored, its erasure, and that neither happens to what somebody has to keep.
//!
//! An account is erased in the order memory, limits' store, archive; then both files are written anew, so that no page holds what was deleted.
//! Before it begins, a keyed hash of the name is noted, in the archive and in a file beside it: an erasure that was cut short is finished
//! at the next start, and a backup of before is brought up to date when it is restored.

use super::{Admin, AdminError, BackupView, backups, kept::hold_over, subjects::check_reason};
use crate::{
    event::{AccountErased, Event},
    rules::identity,
    store::{
        BoxFuture, StoreError,
        archive::{
            self, Archive, ErasedRows, Erasure, HoldRow, NewEntry, Stretch,
            audit::chain::VALUES_ERASED,
        },
        backup::{Measured, measure},
        vault::{InTheWay, Vault},
        whole_file::WholeFile,
    },
    types::{AccountId, Actor, SubjectId, TenantId, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    fs::File,
    io::Write,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// Whom it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyRequest {
    /// The account or tenant.
    #[serde(flatten)]
    pub subject: SubjectId,
    /// Why.
    pub reason: String,
}

/// An account that is to be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseRequest {
    /// Why. It must not name the account, because it is kept.
    pub reason: String,
    /// That it is meant: erasing cannot be taken back.
    pub yes: bool,
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ErasedView {
    /// Rows of the archive that were the account's own.
    pub rows_gone: u64,
    /// Rows about others in which the name stood.
    pub rows_changed: u64,
    /// Values of the audit.
    pub audit_values: u64,
    /// The keyed hash by which the erasure is known.
    pub digest: String,
    /// Where gates share records, those that have still to erase; they do it by themselves.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// Backups of before, which hold it until they are deleted; one that is restored is erased again.
    pub backups: Vec<BackupView>,
}

/// Erases an account.
///
/// # Errors
/// [`AdminError::Conflict`] under a legal hold, or while mail of the account is under way; [`AdminError::Invalid`] without a reason, or if the
/// account stands for a server; [`AdminError::Store`] if something cannot be written: then it is finished later.
pub async fn erase(
    admin: &Admin,
    account: &AccountId,
    request: &EraseRequest,
    actor: &Actor,
) -> Result<ErasedView, AdminError> {
    let (admin, account) = (admin.clone(), account.clone());
    let (request, actor) = (request.clone(), actor.clone());
    finished(async move { erase_wholly(&admin, &account, &request, &actor).await }).await
}

/// Goes on to the end also when whoever asked does not wait for it.
pub(super) async fn finished<T: Send + 'static>(
    work: impl Future<Output = Result<T, AdminError>> + Send + 'static,
) -> Result<T, AdminError> {
    let cut = |error: tokio::task::JoinError| StoreError::Unavailable(error.to_string());
    tokio::spawn(work).await.map_err(cut)?
}

async fn erase_wholly(
    admin: &Admin,
    account: &AccountId,
    request: &EraseRequest,
    actor: &Actor,
) -> Result<ErasedView, AdminError> {
    let reason = check_reason(Some(&request.reason))?;
    if !request.yes {
        return Err(AdminError::Invalid("erasing cannot be taken back: say yes to it".into()));
    }
    if account.is_peer() {
        return Err(AdminError::Invalid("that is a server and not a person".into()));
    }
    if reason.to_lowercase().contains(account.as_str()) {
        return Err(AdminError::Invalid(
            "the reason is kept, so it must not name the account".into(),
        ));
    }
    let wanted = Parting { accounts: vec![account.clone()], tenant: None };
    let mut parted = part(admin, &wanted, reason, actor).await?;
    let erased = parted.pop().map(|(_, erased)| erased);
    let Erased { digest, rows, waiting } =
        erased.unwrap_or_else(|| Err(AdminError::Conflict("nobody".into())))?;
    Ok(ErasedView {
        rows_gone: rows.gone,
        rows_changed: rows.changed,
        audit_values: rows.audit_values,
        digest,
        waiting,
        backups: backups(admin).await?,
    })
}

/// Who is erased together, so that both files are written anew once for all.
pub(super) struct Parting {
    /// Accounts.
    pub(super) accounts: Vec<AccountId>,
    /// Their tenant, if it goes when none of them stays.
    pub(super) tenant: Option<TenantId>,
}

/// What was erased of somebody.
pub(super) struct Erased {
    /// The keyed hash by which the erasure is known.
    pub(super) digest: String,
    /// What went.
    pub(super) rows: ErasedRows,
    /// The gates that have still to erase.
    pub(super) waiting: Vec<String>,
}

/// What became of those who were to be erased, or why they stay.
pub(super) type Parted = Vec<(SubjectId, Result<Erased, AdminError>)>;

/// The same as [`part`], to the end also when whoever asked does not wait for it.
pub(super) async fn part_wholly(
    admin: &Admin,
    wanted: Parting,
    reason: &'static str,
    actor: &Actor,
) -> Result<Parted, AdminError> {
    let (admin, actor) = (admin.clone(), actor.clone());
    finished(async move { part(&admin, &wanted, reason, &actor).await }).await
}

/// Erases who can be erased, at all gates where they share records. Whoever is under a legal hold, or in the way of whom mail under way stands, stays.
pub(super) async fn part(
    admin: &Admin,
    wanted: &Parting,
    reason: &str,
    actor: &Actor,
) -> Result<Parted, AdminError> {
    if admin.archive.is_shared() {
        return super::erasing::part(admin, wanted, (reason, actor)).await;
    }
    // A hold that is placed meanwhile waits.
    let _one_at_a_time = admin.custody.making.lock().await;
    let (mut parted, free) = sort_out(admin, wanted, (reason, actor)).await?;
    let mut going = Vec::new();
    for subject in free {
        going.push(begin(admin, subject).await?);
    }
    let stay = erase_or_forget(admin, &mut going, !parted.is_empty()).await?;
    parted.extend(stay);
    if going.is_empty() {
        return Ok(parted);
    }
    let mut done = Vec::new();
    forget_in_memory(admin, going.iter().map(|one| &one.subject)).await?;
    for one in going {
        let rows = erase_from_archive(admin, &one.subject, actor).await?;
        done.push((one, rows));
    }
    rewrite(&admin.archive).await?;
    for (Going { subject, erasure }, rows) in done {
        let digest = erasure.digest;
        let entry = entry_of_erased(admin, (&subject, &digest), &rows, (reason, actor));
        let head = admin.archive.finish_erasure(digest.clone(), entry).await?;
        admin.tell_audited(ERASED, head);
        parted.push((subject, Ok(Erased { digest, rows, waiting: Vec::new() })));
    }
    Ok(parted)
}

/// Those whom a hold keeps, which is audited, and those whom none does. A tenant stays with any of its accounts.
pub(super) async fn sort_out(
    admin: &Admin,
    wanted: &Parting,
    (reason, actor): (&str, &Actor),
) -> Result<(Parted, Vec<SubjectId>), AdminError> {
    let (mut held, mut free) = (Parted::new(), Vec::new());
    for account in &wanted.accounts {
        let subject = SubjectId::Account(account.clone());
        match hold_over(admin, &subject).await? {
            Some(hold) => {
                note_refused(admin, &subject, &hold, (reason, actor)).await?;
                held.push((subject, Err(held_by(&hold))));
            }
            None => free.push(subject),
        }
    }
    if let Some(tenant) = wanted.tenant.clone().map(SubjectId::Tenant).filter(|_| held.is_empty()) {
        match hold_over(admin, &tenant).await? {
            Some(hold) => held.push((tenant, Err(held_by(&hold)))),
            None => free.push(tenant),
        }
    }
    Ok((held, free))
}

/// Erases somebody from the archive, but for what its pages hold.
pub(super) async fn erase_from_archive(
    admin: &Admin,
    subject: &SubjectId,
    actor: &Actor,
) -> Result<ErasedRows, AdminError> {
    let (rows, heads) = match subject {
        SubjectId::Account(account) => {
            admin.archive.erase_account(account, actor, admin.utc()).await?
        }
        SubjectId::Tenant(tenant) => admin.archive.erase_tenant(tenant, actor, admin.utc()).await?,
    };
    for head in heads {
        admin.tell_audited(VALUES_ERASED, Some(head));
    }
    Ok(rows)
}

/// What the audit says of somebody who was erased.
pub(super) fn entry_of_erased(
    admin: &Admin,
    (subject, digest): (&SubjectId, &str),
    rows: &ErasedRows,
    (reason, actor): (&str, &Actor),
) -> NewEntry {
    let mut entry = NewEntry::new(admin.utc(), actor, ERASED);
    let count = rows.gone + rows.changed;
    entry.after = Some(match subject {
        SubjectId::Account(_) => {
            format!("{digest}: {count} rows, {} values of the audit", rows.audit_values)
        }
        SubjectId::Tenant(_) => format!("{digest}: a tenant, {count} rows"),
    });
    entry.reason = Some(reason.to_owned());
    entry
}

/// Somebody who is being erased.
struct Going {
    subject: SubjectId,
    erasure: Erasure,
}

async fn begin(admin: &Admin, subject: SubjectId) -> Result<Going, AdminError> {
    let digest = admin.archive.erasure_digest(&subject).await?;
    let erasure = Erasure { at: admin.utc(), digest };
    admin.archive.begin_erasure(erasure.clone()).await?;
    Ok(Going { subject, erasure })
}

pub(super) fn held_by(hold: &HoldRow) -> AdminError {
    AdminError::Conflict(format!("there is a legal hold on {}: {}", hold.subject, hold.reason))
}

pub(super) async fn note_refused(
    admin: &Admin,
    subject: &SubjectId,
    hold: &HoldRow,
    (reason, actor): (&str, &Actor),
) -> Result<(), AdminError> {
    let mut entry = NewEntry::new(admin.utc(), actor, REFUSED);
    entry.subject = Some(subject.to_string());
    if let SubjectId::Account(account) = subject {
        entry.account = Some(account.clone());
    }
    entry.reason = Some(reason.to_owned());
    entry.after = Some(format!("a legal hold on {}", hold.subject));
    super::note(admin, entry).await
}

/// Erases from the limits' store, after which nothing stands in the way any more. Whoever stays is taken out, and the erasure is forgotten: what
/// was refused is not done behind the operator's back. A tenant stays with any of its accounts.
async fn erase_or_forget(
    admin: &Admin,
    going: &mut Vec<Going>,
    is_any_held: bool,
) -> Result<Parted, AdminError> {
    let subjects: Vec<SubjectId> = going.iter().map(|one| one.subject.clone()).collect();
    // What fails otherwise may be half done, so it is finished later.
    let in_the_way = erase_from_store(&*admin.custody.vault, &subjects).await?;
    let is_any_kept = is_any_held || !in_the_way.is_empty();
    let mut stay = Parted::new();
    let (kept, gone): (Vec<Going>, Vec<Going>) = going.drain(..).partition(|one| {
        let stays = in_the_way.iter().any(|other| other.subject == one.subject);
        stays || is_any_kept && matches!(one.subject, SubjectId::Tenant(_))
    });
    *going = gone;
    for Going { subject, erasure } in kept {
        admin.archive.forget_erasure(erasure).await?;
        let why = in_the_way.iter().find(|other| other.subject == subject);
        let why = why.map_or_else(|| STAYS_WITH.to_owned(), |it| it.why.clone());
        stay.push((subject, Err(AdminError::Conflict(why))));
    }
    let erasures: Vec<Erasure> = going.iter().map(|one| one.erasure.clone()).collect();
    note_in_file(&admin.custody.settings.erasures, &erasures)?;
    Ok(stay)
}

/// Takes who is erased out of the memories from which they would be written again.
pub(super) async fn forget_in_memory(
    admin: &Admin,
    subjects: impl Iterator<Item = &SubjectId>,
) -> Result<(), AdminError> {
    for subject in subjects {
        if let SubjectId::Account(account) = subject {
            admin.tell(&Event::AccountErased(AccountErased { account: account.clone() }));
            admin.behaviour.forget(account).await?;
            admin.storage.mailboxes.forget(account);
        }
    }
    settle(admin).await;
    Ok(())
}

/// What was heard before is written, so that it is erased with the rest.
async fn settle(admin: &Admin) {
    for _ in 0..SETTLE_LOOKS_MAX {
        if (admin.custody.waiting)() == 0 {
            break;
        }
        tokio::time::sleep(SETTLE_EVERY).await;
    }
    // What has been taken from the queue is written within this time.
    tokio::time::sleep(SETTLE_EVERY * 10).await;
}

/// Tries for a while, because mail may be under way and a change may be on its way into the audit. Returns those who stay.
pub(super) async fn erase_from_store(
    vault: &dyn Vault,
    subjects: &[SubjectId],
) -> Result<Vec<InTheWay>, StoreError> {
    try_to_erase((vault, |vault, subjects| vault.erase(subjects)), subjects).await
}

async fn try_to_erase(
    (vault, erase): (&dyn Vault, Erase),
    subjects: &[SubjectId],
) -> Result<Vec<InTheWay>, StoreError> {
    let mut stay = erase(vault, subjects).await?;
    for _ in 0..ATTEMPTS_MAX {
        if stay.is_empty() {
            break;
        }
        tokio::time::sleep(SETTLE_EVERY).await;
        let again: Vec<SubjectId> = stay.into_iter().map(|one| one.subject).collect();
        stay = erase(vault, &again).await?;
    }
    Ok(stay)
}

/// Erases them, and says who stays because of something that is in the way now.
type Erase =
    for<'a> fn(&'a dyn Vault, &'a [SubjectId]) -> BoxFuture<'a, Result<Vec<InTheWay>, StoreError>>;

/// The same of this gate's own file, where gates share records.
pub(super) async fn erase_from_own(
    vault: &dyn Vault,
    subjects: &[SubjectId],
) -> Result<(), AdminError> {
    let mut stay =
        try_to_erase((vault, |vault, subjects| vault.erase_here(subjects)), subjects).await?;
    stay.pop().map_or(Ok(()), |one| Err(AdminError::Conflict(one.why)))
}

/// Readers may hold the file's log for some seconds; the file itself is written once.
pub(super) async fn rewrite(archive: &Archive) -> Result<(), StoreError> {
    let mut written = archive.rewrite().await;
    for _ in 0..ATTEMPTS_MAX {
        if written.is_err() {
            written = archive.rewrite().await;
        } else if archive.empty_log().await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(SETTLE_EVERY).await;
    }
    written?;
    archive.empty_log().await
}

/// Erases again whoever was erased since a backup was made, in files that no gate has open. Returns how many accounts that were.
///
/// # Errors
/// [`AdminError::Store`] if one of them cannot be written.
pub(super) async fn erase_again(
    vault: &dyn Vault,
    archive: &Archive,
    erasures: &[Erasure],
    now: Timestamp,
) -> Result<usize, AdminError> {
    if erasures.is_empty() {
        return Ok(0);
    }
    let erased: HashSet<&str> = erasures.iter().map(|one| one.digest.as_str()).collect();
    let mut known: HashSet<SubjectId> = vault.subjects_known().into_iter().collect();
    known.extend(archive.subjects().await?);
    let actor = Actor::automatic("an erasure of before");
    let mut done = Vec::new();
    for subject in known {
        let digest = archive.erasure_digest(&subject).await?;
        if !erased.contains(digest.as_str()) {
            continue;
        }
        let tenant = match &subject {
            SubjectId::Account(account) => Some(identity::tenant_of(account)),
            SubjectId::Tenant(_) => None,
        };
        let hold = archive.hold_over(subject.clone(), tenant.into_iter().collect()).await?;
        if let Some(hold) = hold {
            tracing::warn!(hold = %hold.subject, "somebody is not erased again, because of a legal hold");
            continue;
        }
        if let Some(stays) = erase_from_store(vault, std::slice::from_ref(&subject)).await?.pop() {
            return Err(AdminError::Conflict(stays.why));
        }
        if archive.is_shared() {
            erase_from_own(vault, std::slice::from_ref(&subject)).await?;
        }
        match &subject {
            SubjectId::Account(account) => {
                archive.erase_account(account, &actor, now).await?;
            }
            SubjectId::Tenant(tenant) => {
                archive.erase_tenant(tenant, &actor, now).await?;
            }
        }
        done.push(digest);
    }
    if !done.is_empty() {
        rewrite(archive).await?;
    }
    let count = done.len();
    for digest in done {
        let mut entry = NewEntry::new(now, &actor, ERASED);
        entry.after = Some(digest.clone());
        archive.finish_erasure(digest, entry).await?;
    }
    Ok(count)
}

/// Finishes, at the start, what was begun and cut short.
///
/// # Errors
/// [`AdminError::Store`] if something cannot be written.
pub async fn finish_erasures(admin: &Admin) -> Result<usize, AdminError> {
    // One that is under way is not cut short.
    let _one_at_a_time = admin.custody.making.lock().await;
    let open = admin.archive.erasures_open().await?;
    let archive = &admin.archive;
    note_in_file(&admin.custody.settings.erasures, &open)?;
    let erased = erase_again(&*admin.custody.vault, archive, &open, admin.utc()).await?;
    if !open.is_empty() && erased == 0 {
        // The rows went, and what they held may still be in pages of the files.
        admin.custody.vault.erase_here(&[nobody()]).await?;
        rewrite(archive).await?;
    }
    archive.close_erasures(admin.utc()).await?;
    Ok(erased)
}

/// Whom nobody is: erasing him writes the store anew.
fn nobody() -> SubjectId {
    let name = "erased:nobody".parse().expect("it is a name");
    SubjectId::Account(name)
}

/// Adds erasures to the file of them that are not in it yet.
pub(super) fn note_in_file(path: &Path, erasures: &[Erasure]) -> Result<(), AdminError> {
    let wrong = |error: std::io::Error| {
        AdminError::Store(StoreError::Unavailable(format!("{}: {error}", path.display())))
    };
    // Whoever came back and was erased again is in it twice: a backup of between has to be brought up to date too.
    let known: HashSet<(String, Timestamp)> =
        read_file(path)?.into_iter().map(|erasure| (erasure.digest, erasure.at)).collect();
    let is_new = |one: &&Erasure| !known.contains(&(one.digest.clone(), one.at));
    cut_torn_line(path).map_err(wrong)?;
    let mut file =
        File::options().create(true).append(true).mode(0o600).open(path).map_err(wrong)?;
    for erasure in erasures.iter().filter(is_new) {
        let line = serde_json::to_string(erasure).map_err(|error| wrong(error.into()))?;
        writeln!(file, "{line}").map_err(wrong)?;
    }
    file.sync_all().map_err(wrong)
}

/// Cuts what a crash in the middle of writing left at the end of the file: it had begun no erasure. A line that lacks nothing but its end gets that.
fn cut_torn_line(path: &Path) -> std::io::Result<()> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let whole = text.iter().rposition(|&octet| octet == b'\n').map_or(0, |end| end + 1);
    if whole == text.len() {
        return Ok(());
    }
    let mut file = File::options().append(true).open(path)?;
    if serde_json::from_slice::<Erasure>(&text[whole..]).is_ok() {
        return file.write_all(b"\n");
    }
    tracing::warn!(file = %path.display(), "a last line that was not written whole is cut");
    file.set_len(whole as u64)
}

/// The erasures that a file of them has; none if there is no file. A last line that was not written whole is left out, because a crash may leave one
/// before anything is erased. What else cannot be read is an error, because somebody would not be erased.
pub(super) fn read_file(path: &Path) -> Result<Vec<Erasure>, AdminError> {
    let wrong = |error: &dyn std::fmt::Display| {
        AdminError::Store(StoreError::Unavailable(format!("{}: {error}", path.display())))
    };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let mut erasures = Vec::new();
            for (number, line) in text.split_inclusive('\n').enumerate() {
                match serde_json::from_str(line) {
                    Ok(erasure) => erasures.push(erasure),
                    Err(_) if !line.ends_with('\n') => {
                        tracing::warn!(file = %path.display(), "a last line that was not written whole is left out");
                    }
                    Err(error) => {
                        let place = number + 1;
                        return Err(wrong(&format!("line {place} is damaged: {error}")));
                    }
                }
            }
            Ok(erasures)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(wrong(&error)),
    }
}

/// A legal hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HoldView {
    /// `account a@shop.example`, `tenant shop.example`.
    pub subject: String,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Who placed it.
    pub actor: String,
}

impl From<HoldRow> for HoldView {
    fn from(row: HoldRow) -> Self {
        Self { subject: row.subject.to_string(), at: row.at, reason: row.reason, actor: row.actor }
    }
}

/// All legal holds.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn holds(admin: &Admin) -> Result<Vec<HoldView>, AdminError> {
    Ok(admin.archive.holds().await?.into_iter().map(HoldView::from).collect())
}

/// Places a legal hold: nothing of the subject is erased until it is released.
///
/// # Errors
/// [`AdminError::Invalid`] without a reason, [`AdminError::Store`] if the archive does not answer.
pub async fn hold(
    admin: &Admin,
    request: &PrivacyRequest,
    actor: &Actor,
) -> Result<HoldView, AdminError> {
    let reason = check_reason(Some(&request.reason))?.to_owned();
    let entry = entry_of(admin, &request.subject, &reason, actor, HELD).await?;
    let hold = HoldRow {
        subject: request.subject.clone(),
        at: admin.utc(),
        reason,
        actor: actor.name().to_owned(),
    };
    let _one_at_a_time = admin.custody.making.lock().await;
    let head = admin.archive.hold(hold.clone(), entry).await?;
    let late = || {
        let who = &request.subject;
        AdminError::Conflict(format!("{who} is being erased, so a hold comes too late"))
    };
    admin.tell_audited(HELD, head.ok_or_else(late)?);
    Ok(hold.into())
}

/// Releases a legal hold.
///
/// # Errors
/// [`AdminError::Conflict`] if there is none, [`AdminError::Invalid`] without a reason, [`AdminError::Store`] if the archive does not answer.
pub async fn release(
    admin: &Admin,
    request: &PrivacyRequest,
    actor: &Actor,
) -> Result<HoldView, AdminError> {
    let reason = check_reason(Some(&request.reason))?.to_owned();
    admin.archive.catch_up(admin.utc()).await?;
    let held = admin.archive.hold_on(vec![request.subject.clone()]).await?;
    let none = || AdminError::Conflict(format!("there is no legal hold on {}", request.subject));
    let held = held.ok_or_else(none)?;
    let entry = entry_of(admin, &request.subject, &reason, actor, RELEASED).await?;
    let head = admin.archive.release(request.subject.clone(), entry).await?;
    admin.tell_audited(RELEASED, head.ok_or_else(none)?);
    Ok(held.into())
}

/// A copy that is wanted of what is stored about somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The account or tenant.
    pub subject: SubjectId,
    /// Where to, by its whole path; the file must not be there.
    pub file: PathBuf,
    /// Why.
    pub reason: String,
    /// It is for an authority.
    #[serde(default)]
    pub disclosure: Option<Disclosure>,
}

/// What is handed to an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosure {
    /// Which authority.
    pub authority: String,
    /// The reference of its order.
    pub reference: String,
    /// Who releases it.
    pub released_by: String,
    /// The period, from …
    pub since: Timestamp,
    /// … until before.
    pub until: Timestamp,
}

/// A copy that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExportView {
    /// The file.
    pub file: String,
    /// Its octets.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// Writes all that is stored about an account or a tenant to a file: for whoever asks what is stored, or, of a period, for an authority.
///
/// # Errors
/// [`AdminError::Invalid`] if something is missing, [`AdminError::Conflict`] if the file is there, [`AdminError::Store`] if something cannot
/// be read or written.
pub async fn export(
    admin: &Admin,
    request: &ExportRequest,
    actor: &Actor,
) -> Result<ExportView, AdminError> {
    let reason = check_reason(Some(&request.reason))?.to_owned();
    if let Some(wanted) = &request.disclosure {
        for (name, value) in [
            ("authority", &wanted.authority),
            ("reference", &wanted.reference),
            ("released-by", &wanted.released_by),
        ] {
            check_reason(Some(value)).map_err(|error| {
                AdminError::Invalid(format!(
                    "{name}: {}",
                    error.to_string().replace("a reason", "it")
                ))
            })?;
        }
    }
    let path = &request.file;
    if !path.is_absolute() {
        return Err(AdminError::Invalid(format!("{} is no whole path", path.display())));
    }
    let head = head_of(admin, request).await?;
    let (source, target, subject) =
        (admin.archive.path().to_owned(), path.clone(), request.subject.clone());
    let stretch = request.disclosure.as_ref();
    let stretch = stretch.map(|wanted| Stretch { since: wanted.since, until: wanted.until });
    let written = tokio::task::spawn_blocking(move || {
        write_export(&source, &target, &head, (&subject, stretch))
    });
    let whole = written.await.map_err(|error| unavailable(&error))??;
    let action = if request.disclosure.is_some() { DISCLOSED } else { EXPORTED };
    let mut entry = entry_of(admin, &request.subject, &reason, actor, action).await?;
    entry.after = Some(match &request.disclosure {
        None => format!("SHA-256 {}", whole.sha256),
        Some(wanted) => format!(
            "to {}, {}, from {} until {}, released by {}, SHA-256 {}",
            wanted.authority,
            wanted.reference,
            wanted.since,
            wanted.until,
            wanted.released_by,
            whole.sha256
        ),
    });
    super::note(admin, entry).await?;
    Ok(ExportView { file: path.display().to_string(), bytes: whole.bytes, sha256: whole.sha256 })
}

/// Everything of a copy that is not in the archive.
async fn head_of(admin: &Admin, request: &ExportRequest) -> Result<String, AdminError> {
    let subject = &request.subject;
    let record = admin.records.subject(subject).await?;
    let kind = match subject {
        SubjectId::Account(_) => crate::store::records::SubjectKind::Accounts,
        SubjectId::Tenant(_) => crate::store::records::SubjectKind::Tenants,
    };
    let name = match subject {
        SubjectId::Account(account) => account.as_str(),
        SubjectId::Tenant(tenant) => tenant.as_str(),
    };
    let view = super::show(admin, &super::Who::new(kind, name)?).await?;
    let refusal = match subject {
        SubjectId::Account(account) => admin.records.last_refusal(account).await?,
        SubjectId::Tenant(_) => None,
    };
    let head = serde_json::json!({
        "format": "tollgate export 1",
        "made": admin.utc(),
        "subject": subject,
        "disclosure": request.disclosure,
        "record": &*record,
        "limits": view,
        "last_refusal": refusal,
    });
    serde_json::to_string_pretty(&head).map_err(|error| unavailable(&error))
}

fn write_export(
    source: &Path,
    target: &Path,
    head: &str,
    (subject, stretch): (&SubjectId, Option<Stretch>),
) -> Result<Measured, AdminError> {
    let wrong = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => AdminError::Conflict(format!(
            "{} is there, and nothing is overwritten",
            target.display()
        )),
        _ => unavailable(&format!("{}: {error}", target.display())),
    };
    let mut out = std::io::BufWriter::new(WholeFile::create(target).map_err(wrong)?);
    let open = head.trim_end().trim_end_matches('}').trim_end();
    write!(out, "{open},\n  \"archive\": ").map_err(|error| unavailable(&error))?;
    archive::export(source, subject, stretch, &mut out)?;
    writeln!(out, "\n}}").map_err(|error| unavailable(&error))?;
    let file = out.into_inner().map_err(|error| wrong(error.into_error()))?;
    file.finish().map_err(wrong)?;
    measure(target).map_err(|error| unavailable(&error))
}

pub(super) async fn entry_of(
    admin: &Admin,
    subject: &SubjectId,
    reason: &str,
    actor: &Actor,
    action: &'static str,
) -> Result<NewEntry, AdminError> {
    let mut entry = NewEntry::new(admin.utc(), actor, action);
    entry.subject = Some(subject.to_string());
    match subject {
        SubjectId::Account(account) => {
            entry.account = Some(account.clone());
            entry.tenant = Some(super::tenant_of(admin, account).await?);
        }
        SubjectId::Tenant(tenant) => entry.tenant = Some(tenant.clone()),
    }
    entry.reason = Some(reason.to_owned());
    Ok(entry)
}

fn unavailable(error: &dyn std::fmt::Display) -> AdminError {
    AdminError::Store(StoreError::Unavailable(error.to_string()))
}

pub(super) const ERASED: &str = "erased";
/// Why a tenant stays.
pub(super) const STAYS_WITH: &str = "an account of it stays";
pub(super) const REFUSED: &str = "erase-refused";
pub(super) const HELD: &str = "held";
pub(super) const RELEASED: &str = "hold-released";
pub(super) const EXPORTED: &str = "exported";
pub(super) const DISCLOSED: &str = "disclosed";
/// How often it is looked whether what was heard is written, and for how long at most: half a minute.
pub(super) const SETTLE_EVERY: Duration = Duration::from_millis(100);
const SETTLE_LOOKS_MAX: u32 = 300;
/// The same of what is in the way for a moment.
pub(super) const ATTEMPTS_MAX: u32 = 150;

#[cfg(test)]
mod tests {
    use super::*;

    fn erasure(digest: &str, at: i64) -> Erasure {
        Erasure { at: Timestamp::from_millis(at), digest: digest.into() }
    }

    #[test]
    fn a_last_line_that_was_not_written_whole_is_cut_and_damage_before_it_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erasures");
        let (one, two) = (erasure("a1", 1), erasure("b2", 2));
        note_in_file(&path, &[one.clone(), two.clone()]).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        let first = whole.find('\n').unwrap() + 1;
        // Wherever the writing of the second ended.
        for end in first..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let has_second = end == whole.len() - 1;
            let known = if has_second { vec![one.clone(), two.clone()] } else { vec![one.clone()] };
            assert_eq!(read_file(&path).unwrap(), known, "{end}");
            note_in_file(&path, std::slice::from_ref(&two)).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole, "{end}");
        }
        let damaged = whole.replacen("a1\"", "a1", 1);
        std::fs::write(&path, &damaged).unwrap();
        let error = read_file(&path).unwrap_err().to_string();
        assert!(error.contains("line 1 is damaged"), "{error}");
        assert!(note_in_file(&path, &[erasure("c3", 3)]).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
    }

    #[test]
    fn who_came_back_and_was_erased_again_is_noted_twice_and_the_same_erasure_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("erasures");
        for at in [1, 1, 2] {
            note_in_file(&path, &[erasure("a1", at)]).unwrap();
        }
        assert_eq!(read_file(&path).unwrap(), [erasure("a1", 1), erasure("a1", 2)]);
    }
}
