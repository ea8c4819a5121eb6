//! What decides how long that which is stored of somebody stays: a legal hold, and leaving.

use super::{Admin, AdminError, ClosingView, HoldView, erasing::HEARD_WITHIN, tenant_of};
use crate::{
    clock::steady_now,
    store::archive::{HoldRow, Kept, Lack, News, Question},
    types::{SubjectId, Timestamp},
};
use std::time::{Duration, Instant};

/// Why what is stored of somebody stays, or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptView {
    /// The legal hold on it, or on its tenant.
    pub hold: Option<HoldView>,
    /// That it leaves, or its tenant does.
    pub closing: Option<ClosingView>,
}

/// Whether a subject is held, and whether it leaves.
///
/// # Errors
/// [`AdminError::Store`] if the archive or the records do not answer.
pub async fn kept(admin: &Admin, subject: &SubjectId) -> Result<KeptView, AdminError> {
    let subjects = with_tenant(admin, subject).await?;
    let hold = admin.archive.hold_on(subjects.clone()).await?.map(HoldView::from);
    let closing = admin.archive.closing_of(subjects).await?.map(ClosingView::from);
    Ok(KeptView { hold, closing })
}

/// The legal hold that keeps a subject: on itself, on its tenant, or on somebody whose rows are also its own.
pub(super) async fn hold_over(
    admin: &Admin,
    subject: &SubjectId,
) -> Result<Option<HoldRow>, AdminError> {
    let tenant = match subject {
        SubjectId::Account(account) => Some(tenant_of(admin, account).await?),
        SubjectId::Tenant(_) => None,
    };
    Ok(admin.archive.hold_over(subject.clone(), tenant.into_iter().collect()).await?)
}

/// Asks what stands if this gate may lack something, and tells those who ask; `asked` is when it asked last. True while this gate waits for what others say.
///
/// # Errors
/// [`AdminError::Store`] if something cannot be written, or Redis is away: it is done later.
pub async fn tell_kept(admin: &Admin, asked: &mut Option<Instant>) -> Result<bool, AdminError> {
    let (archive, now) = (&admin.archive, admin.utc());
    let Some((own, heard)) = archive.nodes(now - HEARD_WITHIN).await? else {
        return Ok(false);
    };
    let known = archive.kept_asked().await?;
    let to = known.untold_by(&own);
    if !to.is_empty() {
        let is_all = !known.lacks(&own);
        let (holds, closings) = archive.kept().await?;
        let kept = Kept { node: own.clone(), to, is_all, holds, closings };
        archive.say_kept(News::Tell(kept), now).await?;
    }
    let question = known.asked_by(&own);
    let waits = asked.map(|asked| steady_now().saturating_duration_since(asked));
    let is_again = question.is_some() && waits.is_none_or(|waits| waits >= ASK_AGAIN_AFTER);
    if known.wanted.is_some() || is_again {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(AdminError::Random)?;
        let number = i64::from_le_bytes(number);
        let more = known.wanted.unwrap_or_default();
        let (since, lack) = match question {
            Some(question) if more == Lack::Nothing => (question.since, question.lack),
            Some(question) => (now, more.max(question.lack)),
            None => (now, more),
        };
        *asked = Some(steady_now());
        archive.say_kept(News::Ask(Question { node: own, number, since, lack }), now).await?;
        return Ok(true);
    }
    let Some(question) = question else { return Ok(false) };
    let is_enough = known.has_all(&own)
        || known.missing(&own, &heard).is_empty()
            && waits.is_some_and(|waits| waits >= HEARING)
            && (question.lack == Lack::Stretch && known.is_told(&own)
                || is_alone(admin, question).await?);
    if is_enough {
        archive.say_kept(News::Enough(question.clone()), now).await?;
    }
    Ok(!is_enough)
}

/// Nobody else says anything: true if nobody else is there.
async fn is_alone(admin: &Admin, question: &Question) -> Result<bool, AdminError> {
    let ever = admin.archive.nodes(Timestamp::from_millis(0)).await?;
    let is_known_alone = || ever.is_none_or(|(own, nodes)| nodes.iter().all(|node| *node == own));
    Ok(match question.lack {
        Lack::Nothing => true,
        Lack::Stretch if is_known_alone() => true,
        // Who told what is gone may be away.
        Lack::Stretch | Lack::Beginning => question.since + HEARD_WITHIN <= admin.utc(),
    })
}

/// The gates that have still to tell this one what stands; none: it knows all.
pub(super) async fn missing(admin: &Admin) -> Result<Option<Vec<String>>, AdminError> {
    let since = admin.utc() - HEARD_WITHIN;
    let Some((own, heard)) = admin.archive.nodes(since).await? else { return Ok(None) };
    let asked = admin.archive.kept_asked().await?;
    let missing = || asked.missing(&own, &heard).into_iter().cloned().collect();
    Ok(asked.lacks(&own).then(missing))
}

/// Those whose holds and closings count for a subject.
async fn with_tenant(admin: &Admin, subject: &SubjectId) -> Result<Vec<SubjectId>, AdminError> {
    let mut subjects = vec![subject.clone()];
    if let SubjectId::Account(account) = subject {
        subjects.push(SubjectId::Tenant(tenant_of(admin, account).await?));
    }
    Ok(subjects)
}

/// Every gate tells something within this time, so one that was not heard of is not there.
const HEARING: Duration = Duration::from_secs(10);
/// Who did not hear it may hear it now.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);
