//! The control socket's routes about blocklists and the addresses that mail leaves by.

use super::{
    caller::Caller,
    control::{Answer, answer, decode},
};
use crate::admin::{self, Admin, Why};
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, Path, State},
    routing::{get, post},
};

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/listings", get(listings))
        .route("/v1/listings/{subject}", get(listings_of))
        .route("/v1/listings/{subject}/check", post(check))
        .route("/v1/egress", get(egress))
        .route("/v1/egress/{address}/pause", post(pause))
        .route("/v1/egress/{address}/resume", post(resume))
}

async fn listings(State(admin): State<Admin>) -> Answer {
    answer(Ok(admin::listings(&admin)))
}

async fn listings_of(State(admin): State<Admin>, Path(subject): Path<String>) -> Answer {
    answer(admin::listings_of(&admin, &subject))
}

async fn check(State(admin): State<Admin>, Path(subject): Path<String>) -> Answer {
    answer(admin::check_listings(&admin, &subject).await)
}

async fn egress(State(admin): State<Admin>) -> Answer {
    answer(Ok(admin::egress(&admin).await))
}

async fn pause(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(address): Path<String>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    answer(
        admin::pause_egress(&admin, admin::egress_address(&address)?, &why, caller.actor()).await,
    )
}

async fn resume(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(address): Path<String>,
    body: Bytes,
) -> Answer {
    let why: Why = decode(&body)?;
    answer(
        admin::resume_egress(&admin, admin::egress_address(&address)?, &why, caller.actor()).await,
    )
}
