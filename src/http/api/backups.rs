//! Backups: made into the folder that the configuration names, and listed. They hold everything, so only an operator may.

use super::{
    ApiState,
    access::Operator,
    answers::{Answer, ChangeRefusals, Refusals},
    input::Body,
};
use crate::{
    admin::{self, BackupRequest, BackupView, Remark},
    types::Via,
};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(backups, make_backup))
}

/// The backups that are kept, the newest first.
#[utoipa::path(
    get,
    path = "/backups",
    operation_id = "backups",
    tag = "backups",
    responses((status = 200, description = "The backups", body = Vec<BackupView>), Refusals),
    security(("token" = ["operator"])),
)]
async fn backups(_: Operator, State(state): State<ApiState>) -> Answer<Vec<BackupView>> {
    Ok(Json(admin::backups(&state.admin).await?))
}

/// Make a backup into the folder for backups. The answer comes when it is there.
#[utoipa::path(
    post,
    path = "/backups",
    operation_id = "make_backup",
    tag = "backups",
    request_body = Remark,
    responses(
        (status = 200, description = "The backup", body = BackupView),
        Refusals,
        ChangeRefusals,
    ),
    security(("token" = ["operator"])),
)]
async fn make_backup(
    Operator(caller): Operator,
    State(state): State<ApiState>,
    Body(remark): Body<Remark>,
) -> Answer<BackupView> {
    let request = BackupRequest { file: None, reason: remark.reason };
    Ok(Json(admin::backup(&state.admin, &request, &caller.actor(Via::Api)).await?))
}
