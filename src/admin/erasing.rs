//! Erasing at all gates that share records: who asks, what each gate does of it, and how it ends. The steps are [`Step`]s; each is told and done again after
//! a crash, wherever that was.

use super::{
    Admin, AdminError,
    kept::{self, hold_over},
    privacy::{self, Erased, Parted, Parting},
};
use crate::{
    store::{
        StoreError,
        archive::{
            Covered, ErasedRows, Erasing, Erasure, ErasureId, HoldRow, Job, Stage, Step, Told,
        },
        records::Task,
        vault::UpTo,
    },
    types::{Actor, SubjectId, Timestamp},
};
use std::{
    collections::{BTreeSet, HashSet},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

/// Asks all gates to erase, and waits for them, for a while: what takes longer goes on by itself.
pub(super) async fn part(
    admin: &Admin,
    wanted: &Parting,
    why: (&str, &Actor),
) -> Result<Parted, AdminError> {
    // What this gate has missed shows when it has read all.
    admin.archive.catch_up(admin.utc()).await?;
    wait_for_holds(admin).await?;
    let (mut parted, job) = {
        let _one_at_a_time = admin.custody.making.lock().await;
        // A hold that another gate was told before is known here.
        admin.archive.catch_up(admin.utc()).await?;
        check_holds(admin).await?;
        let (mut parted, free) = privacy::sort_out(admin, wanted, why).await?;
        let mut job = if free.is_empty() { None } else { Some(draw(admin, free, why).await?) };
        if let Some(asked) = job.take() {
            if admin.archive.step(Step::Ask(asked.clone()), admin.utc()).await? {
                if let Err(error) = check_holds(admin).await {
                    admin.archive.step(Step::GiveUp(asked.id), admin.utc()).await?;
                    return Err(error);
                }
                job = go(admin, asked, &mut parted).await?;
            } else {
                // Somebody who lacks what stood in the way may have taken it.
                admin.archive.step(Step::GiveUp(asked.id), admin.utc()).await?;
                refuse(admin, asked, why, &mut parted).await?;
            }
        }
        (parted, job)
    };
    let Some(job) = job else { return Ok(parted) };
    let waiting = wait_for_all(admin, job.id).await?;
    let rows = admin.custody.erased.lock().remove(&job.id).unwrap_or_default();
    for (at, subject) in job.subjects.into_iter().enumerate() {
        let digest = admin.archive.erasure_digest(&subject).await?;
        let erased = match rows.get(at).copied() {
            Some(None) => Err(AdminError::Conflict(KEPT_HERE.into())),
            rows => {
                let rows = rows.flatten().unwrap_or_default();
                Ok(Erased { digest, rows, waiting: waiting.clone() })
            }
        };
        parted.push((subject, erased));
    }
    Ok(parted)
}

async fn draw(
    admin: &Admin,
    subjects: Vec<SubjectId>,
    (reason, actor): (&str, &Actor),
) -> Result<Job, AdminError> {
    let mut id = ErasureId::default();
    getrandom::fill(&mut id).map_err(AdminError::Random)?;
    let at = admin.utc();
    let mut tenants = BTreeSet::new();
    for subject in &subjects {
        tenants.insert(match subject {
            SubjectId::Account(account) => super::tenant_of(admin, account).await?,
            SubjectId::Tenant(tenant) => tenant.clone(),
        });
    }
    let alone = || StoreError::Unavailable("the archive is not shared any more".into());
    let (node, _) = admin.archive.nodes(at).await?.ok_or_else(alone)?;
    let (reason, actor) = (reason.to_owned(), actor.clone());
    Ok(Job { id, node, at, subjects, tenants: tenants.into_iter().collect(), reason, actor })
}

/// Somebody was faster: with a hold, or with the same wish.
async fn refuse(
    admin: &Admin,
    job: Job,
    why: (&str, &Actor),
    parted: &mut Parted,
) -> Result<(), AdminError> {
    let tenants: Vec<SubjectId> = job.tenants.into_iter().map(SubjectId::Tenant).collect();
    for subject in job.subjects {
        let about = [std::slice::from_ref(&subject), &tenants[..]].concat();
        let error = match admin.archive.hold_on(about).await? {
            Some(hold) => {
                privacy::note_refused(admin, &subject, &hold, why).await?;
                privacy::held_by(&hold)
            }
            None => AdminError::Conflict(format!(
                "{subject}, or who was to go with it, is being erased already, or stays"
            )),
        };
        parted.push((subject, Err(error)));
    }
    Ok(())
}

/// Waits a while for what others say of the holds that stand.
async fn wait_for_holds(admin: &Admin) -> Result<(), AdminError> {
    let until = crate::clock::steady_now() + HOLDS_WAIT_MAX;
    while kept::missing(admin).await?.is_some() && crate::clock::steady_now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    check_holds(admin).await
}

/// A gate that may lack a hold erases nobody.
async fn check_holds(admin: &Admin) -> Result<(), AdminError> {
    let Some(missing) = kept::missing(admin).await? else { return Ok(()) };
    let who = if missing.is_empty() {
        "gates that it has not heard of".to_owned()
    } else {
        missing.join(", ")
    };
    Err(AdminError::Conflict(format!(
        "this gate does not know yet which legal holds stand, because it is new or was away, and {who} have still to say; \
         it asks them by itself, for 24 h: try again when they are there, or at a gate that has been there all the time"
    )))
}

/// Takes who is asked for out of the records and windows that all gates share, after which nothing stands in the way any more, and has everybody erase; whoever stays is
/// left out, and with nobody left it is given up; so it is if this gate knows a hold by now.
async fn go(admin: &Admin, job: Job, parted: &mut Parted) -> Result<Option<Job>, AdminError> {
    if is_any_held(admin, &job).await? {
        admin.archive.step(Step::GiveUp(job.id), admin.utc()).await?;
        let (reason, actor) = (job.reason.clone(), job.actor.clone());
        refuse(admin, job, (&reason, &actor), parted).await?;
        return Ok(None);
    }
    let in_the_way = privacy::erase_from_store(&*admin.custody.vault, &job.subjects).await?;
    let is_any_kept = !parted.is_empty() || !in_the_way.is_empty();
    let (id, mut subjects) = (job.id, Vec::new());
    for subject in job.subjects {
        let why = in_the_way.iter().find(|other| other.subject == subject);
        let why = why.map(|it| it.why.clone());
        let is_tenant = matches!(subject, SubjectId::Tenant(_));
        match why.or_else(|| (is_tenant && is_any_kept).then(|| privacy::STAYS_WITH.into())) {
            Some(why) => parted.push((subject, Err(AdminError::Conflict(why)))),
            None => subjects.push(subject),
        }
    }
    if subjects.is_empty() {
        admin.archive.step(Step::GiveUp(id), admin.utc()).await?;
        return Ok(None);
    }
    let job = Job { subjects, ..job };
    let goes = admin.archive.step(Step::Go(job.clone()), admin.utc()).await?;
    // It is refused as well where it is said a second time.
    if !goes && !admin.archive.erasings().await?.iter().any(|one| one.id == id) {
        let why = "it was given up meanwhile, at all gates, because one of them knows a legal hold or has missed something, as its log says; what they share is erased, so erase once more";
        let refused = |subject| (subject, Err(AdminError::Conflict(why.into())));
        parted.extend(job.subjects.into_iter().map(refused));
        return Ok(None);
    }
    Ok(Some(job))
}

/// The gates that have still to erase when the time is over.
async fn wait_for_all(admin: &Admin, id: ErasureId) -> Result<Vec<String>, AdminError> {
    let until = crate::clock::steady_now() + WAIT_MAX;
    loop {
        let erasings = admin.archive.erasings().await?;
        let Some(one) = erasings.iter().find(|one| one.id == id) else { return Ok(Vec::new()) };
        if crate::clock::steady_now() >= until {
            let nodes = admin.archive.nodes(admin.utc() - HEARD_WITHIN).await?;
            let nodes = nodes.map_or_else(Vec::new, |(_, nodes)| nodes);
            let part = if one.stage == Stage::Again { SECOND } else { FIRST };
            return Ok(one.lacks(&nodes, part).into_iter().cloned().collect());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What this gate knows of the others.
struct Fleet {
    own: String,
    /// All that were heard of for a while, this one too.
    heard: Vec<String>,
    /// This gate brings erasures to their end.
    leads: bool,
    /// Now and then all is said again, for gates that lack a part of the stream.
    repeats: bool,
    now: Timestamp,
}

/// Does what this gate has to do of erasures at all gates; true if any is under way.
///
/// # Errors
/// [`AdminError::Store`] if something cannot be written, or Redis is away: it is done later.
pub async fn further_erasures(admin: &Admin) -> Result<bool, AdminError> {
    let _one_at_a_time = admin.custody.making.lock().await;
    let now = admin.utc();
    let erasings = admin.archive.erasings().await?;
    let is_under_way = |id: &ErasureId| erasings.iter().any(|one| one.id == *id);
    admin.custody.parts_done.lock().retain(|(id, _)| is_under_way(id));
    let Some((own, heard)) = admin.archive.nodes(now - HEARD_WITHIN).await? else {
        return finish_alone(admin, erasings).await.map(|()| false);
    };
    give_up_held(admin, &own, &erasings).await?;
    let unheard = admin.archive.ended_unheard().await?;
    if erasings.is_empty() && unheard.is_empty() {
        return Ok(false);
    }
    let leads = admin.records.leads(Task::Erase).await?;
    if leads {
        for id in unheard {
            admin.archive.step(Step::Over(id), now).await?;
        }
    }
    if erasings.is_empty() {
        return Ok(false);
    }
    let stretch = now.as_millis().div_euclid(REPEAT_EVERY_MS);
    let repeats = admin.custody.repeated.swap(stretch, Relaxed) != stretch;
    let fleet = Fleet { own, heard, leads, repeats, now };
    let mut done = Ok(true);
    for one in erasings {
        // One that cannot go on now stands in no other's way.
        if let Err(error) = further(admin, one, &fleet).await {
            done = done.and(Err(error));
        }
    }
    done
}

/// Has all give up what was asked for and has not begun, where this gate refuses it because of a hold: others may not know of that.
async fn give_up_held(admin: &Admin, own: &str, erasings: &[Erasing]) -> Result<(), AdminError> {
    for job in admin.archive.take_refused() {
        // Whoever asks sees by himself what his own archive refuses.
        let is_seen = job.node == own || erasings.iter().any(|one| one.id == job.id);
        if is_seen || admin.archive.has_ended(job.id).await? || !is_any_held(admin, &job).await? {
            continue;
        }
        tracing::warn!(
            "an erasure that all gates were asked for is given up, unless it has begun, because of a legal hold that this gate knows"
        );
        admin.archive.step(Step::GiveUp(job.id), admin.utc()).await?;
    }
    Ok(())
}

/// Ends here what was under way when gates stopped sharing records. What was only asked is not begun.
async fn finish_alone(admin: &Admin, erasings: Vec<Erasing>) -> Result<(), AdminError> {
    for one in erasings {
        match one.job {
            Some(job) if one.stage != Stage::Asked => {
                let rows = erase_here(admin, &job).await?;
                privacy::rewrite(&admin.archive).await?;
                note_erased(admin, &job, rows).await?;
            }
            Some(_) => tracing::warn!(
                "an erasure that all gates were asked for was not begun before they stopped sharing records: erase once more"
            ),
            None => privacy::rewrite(&admin.archive).await?,
        }
        admin.archive.end_alone(one.id).await?;
    }
    Ok(())
}

/// Erases here whoever was erased at all gates while this one was away for longer than they wait and the stream reaches back; returns how many that were, none while it may lack a hold. It has no note of
/// having done its part then, and their new names stand in the records.
///
/// # Errors
/// [`AdminError::Store`] if something cannot be written, or Redis is away: it can be done later.
pub async fn erase_left_behind(admin: &Admin) -> Result<Option<usize>, AdminError> {
    let _one_at_a_time = admin.custody.making.lock().await;
    erase_behind(admin, None).await
}

/// The same; whom an erasure is about that this gate has heard too late also if it erased him before: he may have come back between.
async fn erase_behind(admin: &Admin, of: Option<&Erasing>) -> Result<Option<usize>, AdminError> {
    if kept::missing(admin).await?.is_some() {
        return Ok(None);
    }
    let vault = &admin.custody.vault;
    // Of nobody; when it returns the records are up to date.
    vault.erase_here(&[]).await?;
    // What this gate has still to tell comes back to it, and what it has missed shows.
    admin.archive.catch_up(admin.utc()).await?;
    if kept::missing(admin).await?.is_some() {
        return Ok(None);
    }
    let mut known: HashSet<SubjectId> = vault.subjects_known().into_iter().collect();
    known.extend(admin.archive.subjects().await?);
    known.retain(|subject| vault.knows_erased(subject));
    let mut left = Vec::new();
    for subject in known {
        let digest = admin.archive.erasure_digest(&subject).await?;
        // Of tenants it is not known whether they go, or only somebody of theirs.
        let is_account = matches!(subject, SubjectId::Account(_));
        let is_meant = is_account && of.is_some_and(|one| one.covers(&subject));
        if !is_meant && admin.archive.has_erased(digest).await? {
            continue;
        }
        if let Some(hold) = hold_over(admin, &subject).await? {
            tracing::warn!(hold = %hold.subject, "somebody who was erased elsewhere is not erased here, because of a legal hold");
            continue;
        }
        left.push(subject);
    }
    let count = left.len();
    if count > 0 {
        let actor = Actor::automatic("an erasure of before");
        let job = draw(admin, left, ("erased elsewhere", &actor)).await?;
        erase_here(admin, &job).await?;
        privacy::rewrite(&admin.archive).await?;
    }
    Ok(Some(count))
}

async fn further(admin: &Admin, one: Erasing, fleet: &Fleet) -> Result<(), AdminError> {
    let (id, now) = (one.id, fleet.now);
    let part = if one.stage == Stage::Again { SECOND } else { FIRST };
    if fleet.repeats && one.has_told(&fleet.own, part) {
        // Somebody may have missed it, and it is true of more by now.
        tell(admin, (id, part), fleet).await?;
    }
    match (one.stage, &one.job) {
        (Stage::Asked, job) => go_on(admin, id, job.as_ref(), fleet).await?,
        (Stage::Going, job) => {
            if let (Some(job), false) = (job, one.has_told(&fleet.own, FIRST)) {
                do_first(admin, job, fleet).await?;
            } else if fleet.leads && one.lacks(&fleet.heard, FIRST).is_empty() {
                again(admin, one, fleet).await?;
            } else if let (Some(job), true) = (job, fleet.leads)
                && fleet.repeats
                && now.since(job.at) >= REPEAT_AFTER
            {
                admin.archive.step(Step::Go(job.clone()), now).await?;
            }
        }
        (Stage::Again, _) => {
            if !one.has_told(&fleet.own, SECOND) {
                do_second(admin, &one, fleet).await?;
            } else if fleet.leads && fleet.repeats && !one.lacks(&fleet.heard, SECOND).is_empty() {
                // Some have not heard of it.
                again(admin, one, fleet).await?;
            } else if fleet.leads && one.lacks(&fleet.heard, SECOND).is_empty() {
                let of_second = || one.told.iter().filter(|told| told.part == SECOND);
                // All of them have read up to there, and nothing about whom it was has come since.
                let events = of_second().map(|told| told.position).min();
                let changes = of_second().map(|told| told.change).min();
                if let (Some(events), Some(changes)) = (events, changes) {
                    admin.custody.vault.cut_told(UpTo { events, changes }).await?;
                }
                admin.archive.step(Step::Over(id), now).await?;
            }
        }
    }
    Ok(())
}

/// Does the first part, once, and tells until that is heard.
async fn do_first(admin: &Admin, job: &Job, fleet: &Fleet) -> Result<(), AdminError> {
    let part = (job.id, FIRST);
    if !is_done(admin, part) {
        let rows = erase_here(admin, job).await?;
        privacy::rewrite(&admin.archive).await?;
        if job.node == fleet.own {
            note_erased(admin, job, rows).await?;
        }
        note_done(admin, part);
    }
    tell(admin, part, fleet).await
}

/// The same of the second; later if it is not known yet which holds stand, and whom it is about has to be found.
async fn do_second(admin: &Admin, one: &Erasing, fleet: &Fleet) -> Result<(), AdminError> {
    let part = (one.id, SECOND);
    if !is_done(admin, part) {
        if let Some(job) = &one.job {
            erase_here(admin, job).await?;
            admin.archive.forget_job(one.id).await?;
        } else if !one.has_told(&fleet.own, FIRST)
            && erase_behind(admin, Some(one)).await?.is_none()
        {
            return Ok(());
        }
        privacy::rewrite(&admin.archive).await?;
        note_done(admin, part);
    }
    tell(admin, part, fleet).await
}

fn is_done(admin: &Admin, part: (ErasureId, i64)) -> bool {
    admin.custody.parts_done.lock().contains(&part)
}

fn note_done(admin: &Admin, part: (ErasureId, i64)) {
    admin.custody.parts_done.lock().insert(part);
}

async fn again(admin: &Admin, one: Erasing, fleet: &Fleet) -> Result<(), AdminError> {
    let covered = Covered { id: one.id, digests: one.digests };
    admin.archive.step(Step::Again(covered), fleet.now).await?;
    Ok(())
}

/// Goes on with what was only asked for: what was cut short here, and what nobody else can.
async fn go_on(
    admin: &Admin,
    id: ErasureId,
    job: Option<&Job>,
    fleet: &Fleet,
) -> Result<(), AdminError> {
    let Some(job) = job else { return admin.archive.drop_asked(id).await.map_err(Into::into) };
    let is_own = job.node == fleet.own;
    if !is_own && job.at + HEARD_WITHIN > fleet.now {
        return Ok(());
    }
    if may_have_missed(admin, job).await? {
        tracing::warn!(
            "an erasure that was asked for is given up, unless it has begun: what became of it may be among what this gate has missed; if somebody is still there, erase once more"
        );
        admin.archive.step(Step::GiveUp(id), fleet.now).await?;
    } else if is_own || fleet.leads && !fleet.heard.contains(&job.node) {
        // What was ordered meanwhile is known behind this.
        admin.archive.catch_up(fleet.now).await?;
        let erasings = admin.archive.erasings().await?;
        let is_asked = erasings.iter().any(|one| one.id == id && one.stage == Stage::Asked);
        if is_asked && !may_have_missed(admin, job).await? {
            // Whoever else was asked is gone, and may have begun.
            let job = Job { node: fleet.own.clone(), ..job.clone() };
            go(admin, job, &mut Parted::new()).await?;
        }
    } else if fleet.leads && job.at + HEARD_WITHIN * 2 <= fleet.now {
        // It does not know of it any more.
        admin.archive.step(Step::GiveUp(id), fleet.now).await?;
    }
    Ok(())
}

/// True if this gate may lack a hold, or what became of what was asked for.
async fn may_have_missed(admin: &Admin, job: &Job) -> Result<bool, AdminError> {
    let has_missed = admin.archive.missed_until().await?.is_some_and(|missed| missed >= job.at);
    Ok(has_missed || kept::missing(admin).await?.is_some())
}

/// Erases what this gate has of them, but for what pages hold of it; none: of whom a hold keeps it here.
async fn erase_here(admin: &Admin, job: &Job) -> Result<Vec<Option<ErasedRows>>, AdminError> {
    let goes = who_goes(admin, job).await?;
    let going: Vec<SubjectId> = job
        .subjects
        .iter()
        .zip(&goes)
        .filter(|(_, goes)| **goes)
        .map(|(one, _)| one.clone())
        .collect();
    privacy::forget_in_memory(admin, going.iter()).await?;
    privacy::erase_from_own(&*admin.custody.vault, &going).await?;
    let mut rows = Vec::new();
    for (subject, goes) in job.subjects.iter().zip(goes) {
        rows.push(if goes { Some(erase_one(admin, job, subject).await?) } else { None });
    }
    Ok(rows)
}

async fn erase_one(
    admin: &Admin,
    job: &Job,
    subject: &SubjectId,
) -> Result<ErasedRows, AdminError> {
    let digest = admin.archive.erasure_digest(subject).await?;
    let rows = privacy::erase_from_archive(admin, subject, &job.actor).await?;
    let erasure = Erasure { at: job.at, digest };
    privacy::note_in_file(&admin.custody.settings.erasures, std::slice::from_ref(&erasure))?;
    admin.archive.note_erasure(erasure).await?;
    Ok(rows)
}

/// Of each, whether he goes: whoever asked may not have known of a hold that this gate knows. A tenant stays with any of its accounts.
async fn who_goes(admin: &Admin, job: &Job) -> Result<Vec<bool>, AdminError> {
    let mut goes = Vec::new();
    for subject in &job.subjects {
        let hold = hold_in(admin, job, subject).await?;
        if let Some(hold) = &hold {
            tracing::warn!(hold = %hold.subject, "somebody who is erased at all gates is kept at this one, because of a legal hold");
        }
        goes.push(hold.is_none());
    }
    if goes.contains(&false) {
        for (subject, goes) in job.subjects.iter().zip(&mut goes) {
            *goes &= matches!(subject, SubjectId::Account(_));
        }
    }
    Ok(goes)
}

async fn is_any_held(admin: &Admin, job: &Job) -> Result<bool, AdminError> {
    for subject in &job.subjects {
        if hold_in(admin, job, subject).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The hold on somebody whom an erasure is about, or on a tenant of it: what is recorded may not say any more whose he is.
async fn hold_in(
    admin: &Admin,
    job: &Job,
    subject: &SubjectId,
) -> Result<Option<HoldRow>, AdminError> {
    match admin.archive.hold_over(subject.clone(), job.tenants.clone()).await? {
        Some(hold) => Ok(Some(hold)),
        None => hold_over(admin, subject).await,
    }
}

/// Says in the audit of all gates who was erased, without a name, and what went at the gate that was asked.
async fn note_erased(
    admin: &Admin,
    job: &Job,
    rows: Vec<Option<ErasedRows>>,
) -> Result<(), AdminError> {
    for (subject, rows) in job.subjects.iter().zip(&rows) {
        let Some(rows) = rows else { continue };
        let digest = admin.archive.erasure_digest(subject).await?;
        let why = (job.reason.as_str(), &job.actor);
        let entry = privacy::entry_of_erased(admin, (subject, &digest), rows, why);
        super::note(admin, entry).await?;
    }
    let mut erased = admin.custody.erased.lock();
    if erased.len() >= ERASED_MAX {
        erased.clear();
    }
    erased.insert(job.id, rows);
    Ok(())
}

async fn tell(
    admin: &Admin,
    (id, part): (ErasureId, i64),
    fleet: &Fleet,
) -> Result<(), AdminError> {
    let position = admin.archive.stream_state().await?.position.map_or(0, |last| last.number);
    let change = admin.records.revision()?.map_or(0, |last| last.number);
    let told = Told { id, node: fleet.own.clone(), part, position, change };
    admin.archive.step(Step::Told(told), admin.utc()).await?;
    Ok(())
}

const KEPT_HERE: &str =
    "this gate keeps it because of a legal hold; the others erase what they have";
/// The parts of a gate.
const FIRST: i64 = 1;
const SECOND: i64 = 2;
/// A gate that was not heard of for so long is not waited for.
pub(super) const HEARD_WITHIN: Duration = Duration::from_secs(86_400);
/// How long a command waits for the other gates.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a command waits for what others say of the holds that stand.
const HOLDS_WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const REPEAT_EVERY_MS: i64 = 300_000;
const REPEAT_AFTER: Duration = Duration::from_secs(300);
/// Erasures of which it is remembered what went, for who waits.
const ERASED_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::fixture::{self, Gate},
        rules::alarm::Changes,
        store::{
            BoxFuture,
            archive::{
                Archive, Kept, Lack, NewEntry, News, Question,
                stream::{Heard, Parcel, Taken},
            },
            records::Revision,
            vault::{InTheWay, Vault},
        },
    };
    use std::{path::PathBuf, sync::Arc};
    use tokio::task::JoinHandle;

    const NODE: &str = "n1";

    /// What was ordered and audited.
    type Said = Arc<parking_lot::Mutex<Vec<String>>>;

    /// A gate that shares records with others and knows which holds stand.
    async fn sharing() -> Gate {
        sharing_heard(&Said::default()).await
    }

    /// The same, of which it is remembered what it ordered.
    async fn sharing_heard(said: &Said) -> Gate {
        let gate = fixture::gate();
        let archive = &gate.admin.archive;
        archive.share(NODE.into(), 1 << 20).await.unwrap();
        redis(&gate, said);
        hear(&gate, &[]).await;
        gate
    }

    fn redis(gate: &Gate, said: &Said) -> JoinHandle<()> {
        tokio::spawn(bring_back(gate.admin.archive.clone(), said.clone()))
    }

    /// It lacked something, and now knows which holds stand.
    async fn hear(gate: &Gate, holds: &[HoldRow]) {
        let archive = &gate.admin.archive;
        let question = question(1);
        let kept = Kept {
            node: "n2".into(),
            to: vec![question.clone()],
            is_all: true,
            holds: holds.to_vec(),
            closings: Vec::new(),
        };
        for news in [News::Ask(question.clone()), News::Tell(kept), News::Enough(question)] {
            archive.say_kept(news, gate.admin.utc()).await.unwrap();
        }
    }

    fn question(number: i64) -> Question {
        let since = Timestamp::from_millis(0);
        Question { node: NODE.into(), number, since, lack: Lack::Nothing }
    }

    /// What it puts on its way comes back, as if Redis were there and nobody else.
    async fn bring_back(archive: Archive, said: Said) {
        let mut number =
            archive.stream_state().await.unwrap().position.map_or(0, |last| last.number);
        loop {
            for one in archive.outgoing(0, 16).await.unwrap() {
                number += 1;
                let header = one.header;
                let heard = Heard {
                    node: header.node.clone(),
                    number: header.number,
                    events: header.events_before,
                    until: header.at,
                };
                let origins = [(header.origin, heard)].into();
                let parcel = archive.open(header, &one.body).unwrap();
                said.lock().extend(parcel.content.orders.iter().map(|order| format!("{order:?}")));
                said.lock().extend(parcel.content.audit.iter().map(|entry| format!("{entry:?}")));
                let taken = Taken {
                    parcels: vec![(parcel, Changes::default())],
                    origins,
                    position: Revision { number, mark: 0 },
                    missed: None,
                    lack: Lack::Nothing,
                };
                archive.take_in(Arc::new(taken)).await.unwrap();
            }
            archive.posted().await;
        }
    }

    fn account(name: &str) -> SubjectId {
        SubjectId::Account(name.parse().unwrap())
    }

    fn job(gate: &Gate, node: &str, names: &[&str]) -> Job {
        Job {
            id: [7; 16],
            node: node.into(),
            at: gate.admin.utc(),
            subjects: names.iter().map(|name| account(name)).collect(),
            tenants: vec!["shop.example".parse().unwrap()],
            reason: "asked".into(),
            actor: Actor::automatic("test"),
        }
    }

    fn hold(subject: SubjectId) -> HoldRow {
        let at = Timestamp::from_millis(4);
        HoldRow { subject, at, reason: "court".into(), actor: "op".into() }
    }

    async fn place(gate: &Gate, subject: SubjectId) {
        let entry = NewEntry::new(gate.admin.utc(), &Actor::automatic("test"), "hold");
        let placed = gate.admin.archive.hold(hold(subject), entry).await.unwrap();
        assert!(placed.is_some());
    }

    async fn is_erased(gate: &Gate, name: &str) -> bool {
        let archive = &gate.admin.archive;
        let digest = archive.erasure_digest(&account(name)).await.unwrap();
        archive.has_erased(digest).await.unwrap()
    }

    /// Does what there is to do until nothing is under way.
    async fn end(gate: &Gate) {
        for _ in 0..ROUNDS_MAX {
            if !further_erasures(&gate.admin).await.unwrap() {
                return;
            }
        }
        panic!("it does not end: {:?}", gate.admin.archive.erasings().await.unwrap());
    }

    const ROUNDS_MAX: usize = 20;

    #[tokio::test]
    async fn whom_a_hold_that_only_this_gate_knows_keeps_is_not_erased_here_and_it_ends() {
        let tenant = SubjectId::Tenant("shop.example".parse().unwrap());
        let names = ["a@shop.example", "b@shop.example"];
        for (held, stay) in [(account(names[0]), [true, false]), (tenant, [true, true])] {
            let gate = sharing().await;
            place(&gate, held).await;
            // Another gate was asked, and this one did not hear of it.
            let go = Step::Go(job(&gate, "n2", &names));
            assert!(gate.admin.archive.step(go, gate.admin.utc()).await.unwrap());
            end(&gate).await;
            for (name, stays) in names.into_iter().zip(stay) {
                assert_eq!(is_erased(&gate, name).await, !stays, "{name}");
            }
        }
    }

    #[tokio::test]
    async fn who_is_held_since_it_was_asked_is_not_erased_when_it_goes_on() {
        let gate = sharing().await;
        let archive = &gate.admin.archive;
        let ask = Step::Ask(job(&gate, NODE, &["a@shop.example"]));
        assert!(archive.step(ask, gate.admin.utc()).await.unwrap());
        let held = account("a@shop.example");
        hear(&gate, &[hold(held.clone())]).await;
        end(&gate).await;
        assert!(!is_erased(&gate, "a@shop.example").await);
        assert!(archive.hold_on(vec![held]).await.unwrap().is_some());
        assert!(archive.erasings().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_was_asked_for_is_given_up_for_all_by_who_may_have_missed_what_became_of_it() {
        let said = Said::default();
        let gate = sharing_heard(&said).await;
        let (archive, now) = (&gate.admin.archive, gate.admin.utc());
        let job = job(&gate, NODE, &["a@shop.example"]);
        assert!(archive.step(Step::Ask(job.clone()), now).await.unwrap());
        archive.say_kept(News::Ask(question(2)), now).await.unwrap();
        further_erasures(&gate.admin).await.unwrap();
        assert!(archive.erasings().await.unwrap().is_empty());
        assert!(said.lock().iter().any(|order| order.contains("GiveUp")), "{said:?}");
        // It had begun, and that is said again.
        assert!(archive.step(Step::Go(job), now).await.unwrap());
        end(&gate).await;
        assert!(is_erased(&gate, "a@shop.example").await);
    }

    /// Waits until something is on its way.
    async fn on_its_way(gate: &Gate, what: &str) {
        loop {
            let outgoing = gate.admin.archive.outgoing(0, 16).await.unwrap();
            let mut read = outgoing.into_iter().map(|one| Parcel::read(one.header, &one.body));
            if read.any(|parcel| format!("{:?}", parcel.unwrap().content.orders).contains(what)) {
                return;
            }
            gate.admin.archive.posted().await;
        }
    }

    #[tokio::test]
    async fn what_was_done_and_could_not_be_told_is_told_later_and_neither_done_nor_audited_again()
    {
        let said = Said::default();
        let gate = fixture::gate();
        gate.admin.archive.share(NODE.into(), 1 << 20).await.unwrap();
        let redis_of_before = redis(&gate, &said);
        hear(&gate, &[]).await;
        let go = Step::Go(job(&gate, NODE, &["a@shop.example"]));
        assert!(gate.admin.archive.step(go, gate.admin.utc()).await.unwrap());
        redis_of_before.abort();
        let admin = gate.admin.clone();
        let round = tokio::spawn(async move { further_erasures(&admin).await });
        on_its_way(&gate, "Told").await;
        round.abort();
        assert!(round.await.unwrap_err().is_cancelled());
        redis(&gate, &said);
        end(&gate).await;
        assert!(is_erased(&gate, "a@shop.example").await);
        let audited = said.lock().iter().filter(|it| it.contains("action: \"erased\"")).count();
        assert_eq!(audited, 1, "{said:?}");
    }

    /// A store in which everybody stands under the name of somebody who was erased.
    struct AllErased(Arc<dyn Vault>);

    impl Vault for AllErased {
        fn copy_to(&self, path: PathBuf) -> BoxFuture<'_, Result<(), StoreError>> {
            self.0.copy_to(path)
        }

        fn erase<'a>(
            &'a self,
            subjects: &'a [SubjectId],
        ) -> BoxFuture<'a, Result<Vec<InTheWay>, StoreError>> {
            self.0.erase(subjects)
        }

        fn knows_erased(&self, _: &SubjectId) -> bool {
            true
        }

        fn forget_refusals(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
            self.0.forget_refusals(before)
        }

        fn subjects_known(&self) -> Vec<SubjectId> {
            self.0.subjects_known()
        }
    }

    #[tokio::test]
    async fn who_came_back_and_was_erased_again_is_erased_by_who_heard_only_the_second_part() {
        let tenant = SubjectId::Tenant("shop.example".parse().unwrap());
        let [person, other] = ["a@shop.example", "b@shop.example"].map(account);
        let asked = sharing().await;
        let go = Step::Go(job(&asked, "n2", &["a@shop.example"]));
        assert!(asked.admin.archive.step(go, asked.admin.utc()).await.unwrap());
        let Erasing { id, digests, .. } = asked.admin.archive.erasings().await.unwrap().remove(0);

        let mut gate = sharing().await;
        let custody = Arc::get_mut(&mut gate.admin.custody).unwrap();
        custody.vault = Arc::new(AllErased(custody.vault.clone()));
        let (archive, now) = (&gate.admin.archive, gate.admin.utc());
        // All three were erased here before, and their names are known again.
        let mut known = Vec::new();
        for subject in [&person, &other, &tenant] {
            let digest = archive.erasure_digest(subject).await.unwrap();
            archive.note_erasure(Erasure { at: now, digest: digest.clone() }).await.unwrap();
            place(&gate, subject.clone()).await;
            let entry = NewEntry::new(now, &Actor::automatic("test"), "release");
            archive.release(subject.clone(), entry).await.unwrap().unwrap();
            known.push(digest);
        }
        assert_eq!(archive.subjects().await.unwrap().len(), 3);
        assert!(archive.step(Step::Again(Covered { id, digests }), now).await.unwrap());
        end(&gate).await;
        let erased = std::fs::read_to_string(&gate.admin.custody.settings.erasures).unwrap();
        let is_noted = known.iter().map(|digest| erased.contains(digest)).collect::<Vec<_>>();
        assert_eq!(is_noted, [true, false, false]);
    }

    #[tokio::test]
    async fn what_another_gate_asks_for_is_given_up_for_all_where_a_hold_refuses_it() {
        let said = Said::default();
        let gate = sharing_heard(&said).await;
        let (archive, now) = (&gate.admin.archive, gate.admin.utc());
        place(&gate, account("a@shop.example")).await;
        let own = Job { id: [8; 16], ..job(&gate, NODE, &["a@shop.example"]) };
        let others = job(&gate, "n2", &["a@shop.example"]);
        for job in [own, others.clone()] {
            assert!(!archive.step(Step::Ask(job), now).await.unwrap());
        }
        end(&gate).await;
        end(&gate).await;
        let given_up = said.lock().iter().filter(|order| order.contains("GiveUp")).count();
        assert_eq!(given_up, 1, "{said:?}");
        assert!(!archive.step(Step::Go(others), now).await.unwrap());
    }
}
