//! What decides how long that which is stored of somebody stays: a legal hold, and leaving.

use super::{Admin, AdminError, ClosingView, HoldView, erasing::HEARD_WITHIN, tenant_of};
use crate::{
    store::archive::{HoldRow, Kept, News},
    types::SubjectId,
};

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

/// The legal hold on a subject, or on its tenant.
pub(super) async fn hold_over(
    admin: &Admin,
    subject: &SubjectId,
) -> Result<Option<HoldRow>, AdminError> {
    let subjects = with_tenant(admin, subject).await?;
    Ok(admin.archive.hold_on(subjects).await?)
}

/// Asks what stands if this gate may lack something, and tells those who ask.
///
/// # Errors
/// [`AdminError::Store`] if something cannot be written, or Redis is away: it is done later.
pub async fn tell_kept(admin: &Admin) -> Result<(), AdminError> {
    let (archive, now) = (&admin.archive, admin.utc());
    let Some((own, heard)) = archive.nodes(now - HEARD_WITHIN).await? else { return Ok(()) };
    let asked = archive.kept_asked().await?;
    let to = asked.untold_by(&own);
    if !to.is_empty() {
        let is_all = !asked.lacks(&own);
        let (holds, closings) = archive.kept().await?;
        let stands = Kept { node: own.clone(), to, is_all, holds, closings };
        archive.say_kept(News::Tell(stands), now).await?;
    }
    if asked.is_wanted {
        archive.say_kept(News::Ask(own), now).await?;
    } else if asked.has_asked(&own) && asked.missing(&own, &heard).is_empty() {
        archive.say_kept(News::Enough(own), now).await?;
    }
    Ok(())
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
