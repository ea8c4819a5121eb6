//! Who asks, and what that token may see and change: the only place where this is decided.

use super::{
    super::{problem::Problem, secure::Remote},
    ApiState,
};
use crate::{
    admin::{self, Admin, Caller},
    event::{Event, TokenRefused},
    types::{AccountId, ClientIp, TenantId},
};
use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Lets only those pass who have a valid token, not faster than they may come.
pub(super) async fn authenticate(
    State(state): State<ApiState>,
    ConnectInfo(remote): ConnectInfo<Remote>,
    mut request: Request,
    next: Next,
) -> Response {
    match let_in(&state, remote, bearer(request.headers())) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whoever has this token, if it counts and does not come too fast.
pub(super) fn let_in(
    state: &ApiState,
    remote: Remote,
    secret: Option<&str>,
) -> Result<Caller, Problem> {
    let verified = match secret {
        Some(secret) => admin::verify_token(&state.admin, secret)
            .map_err(|error| (error.name(), error.to_string())),
        None => Err(("missing", "a token is needed: Authorization: Bearer …".to_owned())),
    };
    match verified {
        Ok(caller) => state.pace.admit(&caller).map(|()| caller),
        Err((reason, detail)) => Err(refuse(state, remote.client(), reason)
            .unwrap_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, detail))),
    }
}

/// Notes that somebody was not let in. A valid token is let in from anywhere at any time, so what is put off here is only the
/// telling: nobody is kept out by what others do at the same address.
fn refuse(state: &ApiState, client: ClientIp, reason: &'static str) -> Option<Problem> {
    if let Err(problem) = state.pace.note_failure(client) {
        return Some(problem);
    }
    let refused = Event::TokenRefused(TokenRefused { client, reason });
    state.admin.events.tell(state.admin.clock.now(), &refused);
    None
}

/// The token of `Authorization: Bearer …` (RFC 6750 §2.1). In an URL it would end in logs, so there it does not count.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// A caller who may change things.
pub(super) struct Operator(pub(super) Caller);

/// A caller who may see what concerns everybody.
pub(super) struct Staff;

/// Any caller; a tenant's sees only what [`own_account`], [`own_tenant`] and `caller.access.tenant()` leave.
pub(super) struct Anyone(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = caller(parts)?;
        if caller.may_change() { Ok(Self(caller)) } else { Err(not_for(&caller)) }
    }
}

impl<S: Sync> FromRequestParts<S> for Staff {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = caller(parts)?;
        if caller.sees_all() { Ok(Self) } else { Err(not_for(&caller)) }
    }
}

impl<S: Sync> FromRequestParts<S> for Anyone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        caller(parts).map(Self)
    }
}

fn caller(parts: &Parts) -> Result<Caller, Problem> {
    let caller = parts.extensions.get::<Caller>().cloned();
    // Only a route outside of `authenticate` would have none.
    caller.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "a token is needed"))
}

fn not_for(caller: &Caller) -> Problem {
    let role = caller.access.role();
    Problem::new(StatusCode::FORBIDDEN, format!("a token with the role {role} may not do this"))
}

/// Refuses what of a request is not the matter of one tenant.
pub(super) fn check_staff(caller: &Caller) -> Result<(), Problem> {
    if caller.sees_all() { Ok(()) } else { Err(not_for(caller)) }
}

/// The account of this name, if the caller may see it.
pub(super) async fn own_account(
    admin: &Admin,
    caller: &Caller,
    name: &str,
) -> Result<AccountId, Problem> {
    let account = name.parse().map_err(|error| unreadable(&error))?;
    if caller.sees_account(admin, &account).await? {
        return Ok(account);
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "this token sees no such account"))
}

/// The tenant of this name, if the caller may see it.
pub(super) fn own_tenant(caller: &Caller, name: &str) -> Result<TenantId, Problem> {
    let tenant = name.parse().map_err(|error| unreadable(&error))?;
    if caller.sees_tenant(&tenant) {
        return Ok(tenant);
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "this token sees no such tenant"))
}

fn unreadable(error: &crate::types::ParseError) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
}
