//! Backups: of a running gate, of one that has stopped, and back again.
//!
//! The limits' store is copied first and the archive after it: a change of a record that waits for the audit in the copy of the store
//! may be in the copy of the archive already, which knows it by its key; the other way round it would be in neither. Texts in the
//! spool are of transactions that nobody was told are done, so they are no part of a backup.

use super::{
    Admin, AdminError, ConductSettings,
    privacy::{erase_again, finished, note_in_file, read_file},
    subjects::check_remark,
};
use crate::{
    clock::Clock,
    event::Events,
    store::{
        StoreError,
        archive::{
            self, BackupRow, ErasedRows, Erasure, ErasureId, NewEntry, copy_file, prepare_restored,
        },
        backup::{
            ARCHIVE, BackupError, DISGUISE, ERASURES, Manifest, Measured, Place, STORE, pack,
            read_manifest, unpack,
        },
        sqlite::{self, GapChoice, Restored},
        vault::Vault,
    },
    types::{Actor, SubjectId, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Where backups go and what belongs to them beside the two databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    /// Where a backup goes for which no file is named.
    pub folder: PathBuf,
    /// How long a backup is kept.
    pub keep: Duration,
    /// The secret that unknown logins are disguised by.
    pub disguise: PathBuf,
    /// Who was erased, by keyed hashes.
    pub erasures: PathBuf,
}

/// What backups are made of and by.
pub struct Custody {
    /// Whoever holds the file of the limits.
    pub vault: Arc<dyn Vault>,
    /// Where they go.
    pub settings: BackupSettings,
    /// How long offences count, and who leaves is kept.
    pub conduct: ConductSettings,
    /// How many events wait to be written to the archive.
    pub waiting: Box<dyn Fn() -> u64 + Send + Sync>,
    /// One backup or erasure at a time.
    pub making: tokio::sync::Mutex<()>,
    /// The holds of which the audit knows that they kept somebody who left from being erased.
    pub refused_by: parking_lot::Mutex<std::collections::HashSet<(SubjectId, Timestamp)>>,
    /// What went of erasures at all gates that this one was asked for; none: of whom a hold keeps it.
    pub erased: parking_lot::Mutex<std::collections::HashMap<ErasureId, Vec<Option<ErasedRows>>>>,
    /// Parts of erasures at all gates that this one has done, whether or not the others heard it.
    pub parts_done: parking_lot::Mutex<std::collections::HashSet<(ErasureId, i64)>>,
    /// In which stretch of time steps of erasures were said again last.
    pub repeated: std::sync::atomic::AtomicI64,
}

/// A backup that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackupRequest {
    /// The file, by its whole path; none: one with the time in its name, in the folder for backups.
    pub file: Option<PathBuf>,
    /// Why.
    pub reason: Option<String>,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BackupView {
    /// The file.
    pub file: String,
    /// When it was finished.
    pub made: Timestamp,
    /// Its octets.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// Until when it is kept; whoever put it elsewhere than into the folder for backups deletes it then.
    pub expires: Timestamp,
}

/// Makes a backup of the running gate.
///
/// # Errors
/// [`AdminError::Invalid`] if the file cannot be named so, [`AdminError::Conflict`] if there is one already or a backup is being
/// made, [`AdminError::Store`] if something cannot be read or written.
pub async fn backup(
    admin: &Admin,
    request: &BackupRequest,
    actor: &Actor,
) -> Result<BackupView, AdminError> {
    let (admin, request, actor) = (admin.clone(), request.clone(), actor.clone());
    finished(async move { backup_wholly(&admin, &request, &actor).await }).await
}

async fn backup_wholly(
    admin: &Admin,
    request: &BackupRequest,
    actor: &Actor,
) -> Result<BackupView, AdminError> {
    let custody = &admin.custody;
    let reason = check_remark(request.reason.as_deref())?.to_owned();
    let Ok(_one_at_a_time) = custody.making.try_lock() else {
        let text = "a backup is being made, or somebody is being erased";
        return Err(AdminError::Conflict(text.into()));
    };
    let target = target_of(&custody.settings, request.file.as_deref(), admin.utc())?;
    let parts = Parts::of(&custody.settings);
    let copied = async {
        custody.vault.copy_to(parts.store.clone()).await?;
        Ok::<_, AdminError>(admin.archive.copy_to(parts.archive.clone()).await?.to_string())
    };
    let head = copied.await?;
    let (made, settings) = (admin.utc(), custody.settings.clone());
    let packing = tokio::task::spawn_blocking(move || {
        let packed = pack(&target, (made, false), head, &parts.places(&settings));
        packed.map(|whole| (target, whole))
    });
    let (target, whole) = packing.await.map_err(|error| lost(&error))?.map_err(of_backup)?;
    let view = view_of(&target, made, &whole, custody.settings.keep);
    let (row, entry) = note_of(&view, &reason, actor);
    let head = admin.archive.note_backup(row, entry).await?;
    admin.tell_audited(MADE, head);
    tracing::info!(file = view.file, bytes = view.bytes, sha256 = view.sha256, "a backup was made");
    Ok(view)
}

/// Deletes the copies in clear that a backup or a restoration left which was cut short. For whoever has the store's lock.
pub fn clear_leftovers(files: &Files) {
    drop((Parts::of(&files.backups), Draft::beside(files)));
}

/// Deletes the backups in the folder for them that were kept long enough; returns how many.
///
/// # Errors
/// [`AdminError::Store`] if the folder cannot be read.
pub fn delete_old_backups(settings: &BackupSettings, now: Timestamp) -> Result<usize, AdminError> {
    let entries = match fs::read_dir(&settings.folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(unavailable(&settings.folder, &error)),
    };
    let mut deleted = 0;
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        // What is no backup of ours is left alone.
        let Ok(manifest) = read_manifest(&path) else { continue };
        if manifest.made + settings.keep <= now {
            fs::remove_file(&path).map_err(|error| unavailable(&path, &error))?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// The backups that are kept, the newest first.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn backups(admin: &Admin) -> Result<Vec<BackupView>, AdminError> {
    let rows = admin.archive.backups(admin.utc()).await?;
    let view = |row: BackupRow| BackupView {
        file: row.file,
        made: row.at,
        bytes: row.bytes,
        sha256: row.sha256,
        expires: row.expires,
    };
    Ok(rows.into_iter().map(view).collect())
}

/// The files of a gate that does not run.
#[derive(Debug, Clone)]
pub struct Files {
    /// The limits' store.
    pub store: sqlite::Settings,
    /// The archive.
    pub archive: archive::Settings,
    /// The rest.
    pub backups: BackupSettings,
}

/// Makes a backup of a gate that does not run. After the last one none starts on these files again, because another may go on from
/// the backup.
///
/// # Errors
/// As [`backup`]; [`AdminError::Store`] if a gate runs on the files.
pub async fn backup_files(
    files: &Files,
    request: &BackupRequest,
    is_last: bool,
    actor: &Actor,
) -> Result<BackupView, AdminError> {
    let reason = check_remark(request.reason.as_deref())?.to_owned();
    if !files.store.path.exists() {
        let text = format!("there is no store {}", files.store.path.display());
        return Err(AdminError::Invalid(text));
    }
    // A last backup that was cut short can be made again.
    let opened =
        if is_last { sqlite::open_for_copy(&files.store)? } else { sqlite::open(&files.store)? };
    let made = Clock::start(Timestamp::EPOCH).utc();
    let target = target_of(&files.backups, request.file.as_deref(), made)?;
    let parts = Parts::of(&files.backups);
    opened.copy_to(&parts.store)?;
    let head = copy_file(&files.archive.path, &parts.archive)?.to_string();
    // Before the backup is there: nobody sends what it does not know.
    if is_last {
        opened.hand_over(made)?;
    }
    let whole = pack(&target, (made, is_last), head, &parts.places(&files.backups));
    let whole = whole.map_err(of_backup)?;
    let view = view_of(&target, made, &whole, files.backups.keep);
    let (row, mut entry) = note_of(&view, &reason, actor);
    if is_last {
        entry.action = HANDED_OVER.into();
    }
    let archive = archive::open(&files.archive)?;
    archive.note_backup(row, entry).await?;
    archive.close().await;
    Ok(view)
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoredView {
    /// When the backup was made.
    pub made: Timestamp,
    /// True if nothing was sent after it.
    pub last: bool,
    /// A window of length W is full until W after this moment; none: no window is full for what came after the backup.
    pub full_until: Option<Timestamp>,
    /// Where the audit ends.
    pub audit: String,
    /// Accounts that were erased after the backup, and again now.
    pub erased_again: usize,
    /// The file beside the backup that says that it was restored; none: it was not the last one, or none can be written there.
    pub noted: Option<PathBuf>,
}

/// Restores a backup to files that are not there yet.
///
/// # Errors
/// [`AdminError::Conflict`] if one of the files is there, or it is a last backup that was restored before and nothing is said of the gap,
/// [`AdminError::Invalid`] if the backup is none, truncated or altered,
/// [`AdminError::Store`] if something cannot be written. Nothing is left of a restoration that failed.
pub async fn restore(
    files: &Files,
    backup: &Path,
    (gap, reason, later): (Option<GapChoice>, Option<&str>, &[PathBuf]),
    actor: &Actor,
) -> Result<RestoredView, AdminError> {
    let reason = check_remark(reason)?;
    if gap == Some(GapChoice::Ignored) && reason.is_empty() {
        return Err(AdminError::Invalid("to ignore the gap, a reason is needed".into()));
    }
    check_vacant(files)?;
    if gap.is_none() {
        check_first(backup)?;
    }
    let draft = Draft::beside(files);
    for path in [&files.store.path, &files.archive.path] {
        make_folder(path.parent().unwrap_or(Path::new(".")))?;
    }
    let manifest = unpack(backup, &draft.places()).map_err(of_backup)?;
    for (name, path) in [(STORE, &draft.store), (ARCHIVE, &draft.archive)] {
        if !path.exists() {
            return Err(AdminError::Invalid(format!("the backup has no {name}")));
        }
    }
    // A gate that stopped before its last backup, and does not start again, has sent nothing since.
    let usual = if manifest.last { GapChoice::Ignored } else { GapChoice::Full };
    let choice = gap.unwrap_or(usual);
    let wall = Clock::start(Timestamp::EPOCH).utc();
    let store = sqlite::Settings { path: draft.store.clone(), ..files.store.clone() };
    let erasures = gather_erasures(files, &draft, later)?;
    // Who was erased before it was made may have come back since, and is in it rightly.
    let since: Vec<Erasure> =
        erasures.iter().filter(|one| one.at >= manifest.made).cloned().collect();
    let erased = erase_in(&store, &draft, &since, wall).await?;
    let restored = Restored::prepare(&store, choice, wall)?;
    let mut entry = entry_of(&manifest, (choice, restored), reason, wall, actor);
    if erased > 0 {
        entry.evidence = Some(format!("{erased} accounts were erased again"));
    }
    let head = prepare_restored(&draft.archive, &files.archive.path, &entry)?;
    note_in_file(&files.backups.erasures, &erasures)?;
    // Before somebody can go on from it.
    let noted = if manifest.last { note_restored(backup, wall) } else { None };
    draft.put_in_place(files)?;
    Ok(RestoredView {
        noted,
        erased_again: erased,
        made: manifest.made,
        last: manifest.last,
        full_until: restored.full_until,
        audit: head.to_string(),
    })
}

/// Fails if a gate goes on from this backup already: then windows as they were would be there twice.
fn check_first(backup: &Path) -> Result<(), AdminError> {
    match fs::read_to_string(with_ending(backup, NOTE_ENDING)) {
        Ok(note) => Err(AdminError::Conflict(format!(
            "{} {}; if a gate goes on from it, say --gap full, so that this one starts with full windows; if none does, say --gap ignore",
            backup.display(),
            note.trim()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unavailable(&with_ending(backup, NOTE_ENDING), &error)),
    }
}

/// Notes beside a last backup that it was restored.
fn note_restored(backup: &Path, at: Timestamp) -> Option<PathBuf> {
    let path = with_ending(backup, NOTE_ENDING);
    match fs::write(&path, format!("was restored at {at}\n")) {
        Ok(()) => Some(path),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "that a last backup was restored cannot be noted");
            None
        }
    }
}

/// Who was erased: as the backup knows, as is noted where the files go, and as further files say.
fn gather_erasures(
    files: &Files,
    draft: &Draft,
    later: &[PathBuf],
) -> Result<Vec<Erasure>, AdminError> {
    let mut erasures = Vec::new();
    for path in later {
        if !path.exists() {
            return Err(AdminError::Invalid(format!("there is no {}", path.display())));
        }
    }
    let places = [&draft.erasures, &files.backups.erasures];
    for path in places.into_iter().chain(later) {
        erasures.extend(read_file(path)?);
    }
    Ok(erasures)
}

/// Erases in what came out of a backup whoever was erased since.
async fn erase_in(
    store: &sqlite::Settings,
    draft: &Draft,
    erasures: &[Erasure],
    now: Timestamp,
) -> Result<usize, AdminError> {
    if erasures.is_empty() {
        return Ok(0);
    }
    let opened = sqlite::open_for_copy(store)?;
    let clock = Clock::start(opened.high_water());
    let vault = opened.start(&clock, Events::default())?;
    let archive = archive::open(&archive::Settings { path: draft.archive.clone() })?;
    let erased = erase_again(&*vault, &archive, erasures, now).await;
    archive.close().await;
    vault.close().await?;
    erased
}

fn entry_of(
    manifest: &Manifest,
    (gap, restored): (GapChoice, Restored),
    reason: &str,
    at: Timestamp,
    actor: &Actor,
) -> NewEntry {
    let mut entry = NewEntry::new(at, actor, RESTORED);
    let gap = match (manifest.last, gap, restored.full_until) {
        (true, GapChoice::Ignored, _) => "it was the last backup".to_owned(),
        (_, _, Some(until)) => {
            format!("a window of length W is full until W after {until}")
        }
        _ => "the gap is ignored: up to twice a limit may have been sent".to_owned(),
    };
    entry.before = Some(format!("audit {}", manifest.audit));
    entry.after = Some(format!("backup of {}; {gap}", manifest.made));
    entry.reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
    entry
}

fn check_vacant(files: &Files) -> Result<(), AdminError> {
    for path in [&files.store.path, &files.archive.path] {
        for ending in ["", "-wal", "-journal"] {
            let path = with_ending(path, ending);
            if path.exists() {
                let text = format!(
                    "{} is there, and nothing is overwritten: move it away first",
                    path.display()
                );
                return Err(AdminError::Conflict(text));
            }
        }
    }
    Ok(())
}

/// The parts on their way out of a backup. What is left of them goes when it is dropped.
struct Draft {
    store: PathBuf,
    archive: PathBuf,
    disguise: PathBuf,
    erasures: PathBuf,
}

impl Draft {
    fn beside(files: &Files) -> Self {
        let draft = Self {
            store: with_ending(&files.store.path, DRAFT),
            archive: with_ending(&files.archive.path, DRAFT),
            disguise: with_ending(&files.backups.disguise, DRAFT),
            erasures: with_ending(&files.backups.erasures, DRAFT),
        };
        draft.clear();
        draft
    }

    fn places(&self) -> Vec<Place> {
        let places = [
            (STORE, &self.store),
            (ARCHIVE, &self.archive),
            (DISGUISE, &self.disguise),
            (ERASURES, &self.erasures),
        ];
        places.map(|(name, path)| Place { name, path: path.clone() }).into()
    }

    /// The store last: until it is there no gate takes these files for its own.
    fn put_in_place(&self, files: &Files) -> Result<(), AdminError> {
        if self.disguise.exists() && !files.backups.disguise.exists() {
            rename(&self.disguise, &files.backups.disguise)?;
        }
        rename(&self.archive, &files.archive.path)?;
        rename(&self.store, &files.store.path)
    }

    fn clear(&self) {
        for path in [&self.store, &self.archive, &self.disguise, &self.erasures] {
            for ending in ["", "-wal", "-shm", "-journal", ".head", ".lock"] {
                // Most are not there.
                let _ = fs::remove_file(with_ending(path, ending));
            }
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The parts on their way into a backup, which go when that is done.
struct Parts {
    store: PathBuf,
    archive: PathBuf,
}

impl Parts {
    /// Always at the same place, whatever the backup is called, so that what a kill left there is found again.
    fn of(settings: &BackupSettings) -> Self {
        let parts = Self {
            store: settings.erasures.with_file_name("backup.store-part"),
            archive: settings.erasures.with_file_name("backup.archive-part"),
        };
        parts.clear();
        parts
    }

    fn places(&self, settings: &BackupSettings) -> Vec<Place> {
        let place = |name, path: &Path| Place { name, path: path.to_owned() };
        let mut places = vec![place(STORE, &self.store), place(ARCHIVE, &self.archive)];
        for (name, path) in [(DISGUISE, &settings.disguise), (ERASURES, &settings.erasures)] {
            if path.exists() {
                places.push(place(name, path));
            }
        }
        places
    }

    fn clear(&self) {
        for path in [&self.store, &self.archive] {
            for ending in ["", "-wal", "-shm", "-journal"] {
                // Most are not there.
                let _ = fs::remove_file(with_ending(path, ending));
            }
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.clear();
    }
}

fn target_of(
    settings: &BackupSettings,
    wanted: Option<&Path>,
    now: Timestamp,
) -> Result<PathBuf, AdminError> {
    let target = if let Some(file) = wanted {
        file.to_owned()
    } else {
        make_folder(&settings.folder)?;
        let time = now.to_string().replace(':', "");
        let file = settings.folder.join(format!("tollgate-{time}.tar"));
        std::path::absolute(&file).unwrap_or(file)
    };
    if !target.is_absolute() && wanted.is_some() {
        return Err(AdminError::Invalid(format!("{} is no whole path", target.display())));
    }
    if target.exists() {
        let text = format!("{} is there, and nothing is overwritten", target.display());
        return Err(AdminError::Conflict(text));
    }
    if !target.parent().is_some_and(Path::is_dir) {
        return Err(AdminError::Invalid(format!("there is no folder for {}", target.display())));
    }
    Ok(target)
}

fn make_folder(folder: &Path) -> Result<(), AdminError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| unavailable(folder, &error))
}

fn rename(from: &Path, to: &Path) -> Result<(), AdminError> {
    let moved = fs::rename(from, to)
        .and_then(|()| fs::File::open(to.parent().unwrap_or(Path::new(".")))?.sync_all());
    moved.map_err(|error| unavailable(to, &error))
}

fn unavailable(path: &Path, error: &std::io::Error) -> AdminError {
    AdminError::Store(StoreError::Unavailable(format!("{}: {error}", path.display())))
}

fn lost(error: &tokio::task::JoinError) -> AdminError {
    AdminError::Store(StoreError::Unavailable(error.to_string()))
}

fn of_backup(error: BackupError) -> AdminError {
    match error {
        BackupError::Io { path, source } => unavailable(&path, &source),
        other => AdminError::Invalid(format!("the backup cannot be used: {other}")),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn view_of(target: &Path, made: Timestamp, whole: &Measured, keep: Duration) -> BackupView {
    BackupView {
        file: target.display().to_string(),
        made,
        bytes: whole.bytes,
        sha256: whole.sha256.clone(),
        expires: made + keep,
    }
}

fn note_of(view: &BackupView, reason: &str, actor: &Actor) -> (BackupRow, NewEntry) {
    let row = BackupRow {
        at: view.made,
        file: view.file.clone(),
        sha256: view.sha256.clone(),
        bytes: view.bytes,
        expires: view.expires,
    };
    let mut entry = NewEntry::new(view.made, actor, MADE);
    entry.after = Some(format!("{} SHA-256 {}", view.file, view.sha256));
    entry.reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
    (row, entry)
}

/// What the audit calls a backup.
const MADE: &str = "backup-made";
/// The same of the last one.
const HANDED_OVER: &str = "handed-over";
/// What it calls its own coming back.
const RESTORED: &str = "restored";
/// The ending of the note that a last backup was restored.
const NOTE_ENDING: &str = ".restored";
const DRAFT: &str = ".restoring";
