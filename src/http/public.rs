//! `/metrics` and `/health/…`: for monitoring, on a loopback address. Read only, and no names of customers.

use super::{bounded::Bounded, problem::Problem};
use crate::{admin::Health, telemetry::Metrics};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use std::{future::Future, io, sync::Arc};
use tokio::net::TcpListener;

/// What the public routes show.
#[derive(Clone)]
pub struct PublicState {
    /// The program's metrics.
    pub metrics: Arc<Metrics>,
    /// Whether the program can do its work.
    pub health: Arc<dyn Health>,
}

/// Serves until `shutdown` is done.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve_public(
    listener: TcpListener,
    state: PublicState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(Bounded::new(listener), router(state)).with_graceful_shutdown(shutdown).await
}

fn router(state: PublicState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .fallback(nothing_here)
        .with_state(state)
}

async fn metrics(State(state): State<PublicState>) -> Response {
    // The version of the text form that Prometheus asks for.
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, state.metrics.render()).into_response()
}

/// The process answers; that is all this says.
async fn live() -> Json<serde_json::Value> {
    Json(json!({ "status": "live" }))
}

/// 200 if mail flows, else 503 with what is missing.
async fn ready(State(state): State<PublicState>) -> Response {
    let readiness = state.health.readiness().await;
    let missing = readiness.missing();
    let (code, status) = if missing.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not-ready")
    };
    let body = json!({
        "status": status,
        "missing": missing,
        "next_hops": readiness.next_hops,
        "logins_failure": readiness.logins_failure,
        "events_failure": readiness.events_failure,
    });
    (code, Json(body)).into_response()
}

async fn nothing_here() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is /metrics, /health/live and /health/ready")
}
