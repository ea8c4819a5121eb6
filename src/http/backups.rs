//! The control socket's routes about backups.

use super::{
    caller::Caller,
    control::{Answer, answer, decode},
};
use crate::admin::{self, Admin, BackupRequest};
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    routing::get,
};

pub(super) fn routes() -> Router<Admin> {
    Router::new().route("/v1/backups", get(list).post(make))
}

async fn list(State(admin): State<Admin>) -> Answer {
    answer(admin::backups(&admin).await)
}

async fn make(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer {
    let request: BackupRequest = decode(&body)?;
    answer(admin::backup(&admin, &request, caller.actor()).await)
}
