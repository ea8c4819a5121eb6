//! The control socket's routes about blocklists.

use super::control::{Answer, answer};
use crate::admin::{self, Admin};
use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/v1/listings", get(listings))
        .route("/v1/listings/{subject}", get(listings_of))
        .route("/v1/listings/{subject}/check", post(check))
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
