//! What every operation may answer beside what it is for.

use super::super::problem::Problem;
use axum::Json;
use utoipa::IntoResponses;

/// What a handler answers: JSON, or what is wrong.
pub(super) type Answer<T> = Result<Json<T>, Problem>;

/// Why any request may be refused.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "these stand in the document only")]
pub(super) enum Refusals {
    /// The request cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Unreadable(#[to_schema] Problem),
    /// There is no token, or it is not valid.
    #[response(status = 401, content_type = "application/problem+json")]
    NoToken(#[to_schema] Problem),
    /// The token's role may not do this.
    #[response(status = 403, content_type = "application/problem+json")]
    WrongRole(#[to_schema] Problem),
    /// There is no such thing, or this token does not see it.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// A name or value cannot be what it stands for.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// Requests come too fast.
    #[response(status = 429, content_type = "application/problem+json")]
    TooFast(#[to_schema] Problem),
    /// The store or the archive does not answer now.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] Problem),
}

/// Why a change may be refused, beside [`Refusals`].
#[derive(IntoResponses)]
#[expect(dead_code, reason = "these stand in the document only")]
pub(super) enum ChangeRefusals {
    /// It does not fit what is recorded: suspending the suspended, lifting what is not suspended.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem),
    /// The body is larger than 64 KiB, or a report of abuse larger than 4 MiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] Problem),
}
