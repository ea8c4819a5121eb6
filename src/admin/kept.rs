//! What decides how long that which is stored of somebody stays: a legal hold, and leaving.

use super::{Admin, AdminError, ClosingView, HoldView, tenant_of};
use crate::{store::archive::HoldRow, types::SubjectId};

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

/// Those whose holds and closings count for a subject.
async fn with_tenant(admin: &Admin, subject: &SubjectId) -> Result<Vec<SubjectId>, AdminError> {
    let mut subjects = vec![subject.clone()];
    if let SubjectId::Account(account) = subject {
        subjects.push(SubjectId::Tenant(tenant_of(admin, account).await?));
    }
    Ok(subjects)
}
