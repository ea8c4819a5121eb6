//! Errors as problem details (RFC 9457), `application/problem+json`.

use crate::admin::AdminError;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::borrow::Cow;

/// What is wrong with a request, as problem details (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Problem {
    /// `about:blank`: the status says it all (RFC 9457 §4.2.1).
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong and what would be right.
    detail: Cow<'static, str>,
    /// In so many seconds it may work.
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            retry_after: None,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// With what fails inside: for those who can mend it.
    pub(super) fn in_full(error: &AdminError) -> Self {
        Self::new(status_of(error), error.to_string())
    }

    /// What fails inside is for those who can mend it, and they read the log.
    fn inner(error: &AdminError) -> Self {
        tracing::error!(%error, "a request could not be answered");
        let detail = "the store or the archive does not answer now; the log says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        match &error {
            AdminError::Store(_) | AdminError::Random(_) => Self::inner(&error),
            AdminError::Invalid(_) | AdminError::Conflict(_) | AdminError::NotFound(_) => {
                Self::in_full(&error)
            }
        }
    }
}

const fn status_of(error: &AdminError) -> StatusCode {
    match error {
        AdminError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        AdminError::Conflict(_) => StatusCode::CONFLICT,
        AdminError::NotFound(_) => StatusCode::NOT_FOUND,
        AdminError::Store(_) | AdminError::Random(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, kind, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750 §3.
            let realm = HeaderValue::from_static("Bearer realm=\"tollgate\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn a_failure_inside_is_told_without_its_detail() {
        for detail in ["unable to open database file: /var/lib/tollgate/archive.db", "disk full"] {
            for error in
                [StoreError::Unavailable(detail.into()), StoreError::Damaged(detail.into())]
            {
                let problem = Problem::from(AdminError::from(error));
                assert_eq!(problem.status, 503);
                assert!(!problem.detail.contains(detail), "{}", problem.detail);
            }
        }
    }
}
