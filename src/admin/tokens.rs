//! Tokens for the API and the dashboard: making, listing and taking them back, and who stands behind one.

use super::{Admin, AdminError, Until, subjects::check_remark};
use crate::{
    event::{Event, TokenChanged},
    store::archive::{NewEntry, NewToken, TokenDigest, TokenRecord},
    types::{Access, AccountId, Actor, Role, TenantId, Timestamp, TokenName, Via},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// A token that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Its name.
    pub name: TokenName,
    /// What it is for.
    pub role: Role,
    /// The tenant that it sees, with [`Role::Tenant`].
    #[serde(default)]
    pub tenant: Option<TenantId>,
    /// When it ends by itself.
    #[serde(default)]
    pub expires: Option<Until>,
    /// Why it is made.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Why something is done that needs no reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Remark {
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is known of a token; not its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenView {
    /// Its name.
    pub name: TokenName,
    /// What it is for.
    pub role: Role,
    /// The tenant that it sees, if it sees only one.
    pub tenant: Option<TenantId>,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub creator: String,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
    /// True if it has ended.
    pub expired: bool,
    /// When it was last used, to the minute.
    pub last_used: Option<Timestamp>,
}

impl TokenView {
    fn new(record: &TokenRecord, now: Timestamp) -> Self {
        let token = &record.token;
        Self {
            name: token.name.clone(),
            role: token.access.role(),
            tenant: token.access.tenant().cloned(),
            created: token.created,
            creator: token.creator.clone(),
            expires: token.expires,
            expired: has_expired(record, now),
            last_used: record.last_used(),
        }
    }
}

/// A token that was just made, with its secret: the only time that anybody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// What is kept.
    #[serde(flatten)]
    pub view: TokenView,
    /// The token itself, to be sent as `Authorization: Bearer …`.
    pub secret: String,
}

/// Whoever stands behind a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's number, for [`still_valid`].
    pub id: i64,
    /// The token's name.
    pub name: TokenName,
    /// What it may see and change.
    pub access: Access,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
}

impl Caller {
    fn new(record: &TokenRecord) -> Self {
        let token = &record.token;
        let (name, access) = (token.name.clone(), token.access.clone());
        Self { id: record.id, name, access, expires: token.expires }
    }

    /// Whom its changes are recorded as made by: `token billing`.
    #[must_use]
    pub fn actor(&self, via: Via) -> Actor {
        Actor::new(via, &format!("token {}", self.name))
    }

    /// True if it may change things.
    #[must_use]
    pub const fn may_change(&self) -> bool {
        matches!(self.access, Access::Operator)
    }

    /// True if it may see what concerns everybody.
    #[must_use]
    pub const fn sees_all(&self) -> bool {
        self.access.tenant().is_none()
    }

    /// True if it may see this tenant.
    #[must_use]
    pub fn sees_tenant(&self, tenant: &TenantId) -> bool {
        self.access.tenant().is_none_or(|own| own == tenant)
    }

    /// True if it may see this account, which is its tenant's as things stand now.
    ///
    /// # Errors
    /// [`AdminError::Store`] if the store does not answer.
    pub async fn sees_account(
        &self,
        admin: &Admin,
        account: &AccountId,
    ) -> Result<bool, AdminError> {
        match self.access.tenant() {
            None => Ok(true),
            Some(own) => Ok(super::tenant_of(admin, account).await? == *own),
        }
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// What was given is no token of ours by its form.
    #[error("this is not a token of Tollgate")]
    Malformed,
    /// There is no such token; it may have been revoked.
    #[error("this token is not valid, or was revoked")]
    Unknown,
    /// The token has ended.
    #[error("this token has expired")]
    Expired,
}

impl TokenError {
    /// The name as it stands in log lines and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
        }
    }
}

/// Makes a token.
///
/// # Errors
/// [`AdminError::Invalid`] if role and tenant do not fit together, [`AdminError::Conflict`] if the name is taken.
pub async fn create_token(
    admin: &Admin,
    request: &TokenRequest,
    actor: &Actor,
) -> Result<TokenMade, AdminError> {
    let now = admin.utc();
    let Some(access) = Access::new(request.role, request.tenant.clone()) else {
        let wanted = "the role tenant needs a tenant, and only that role has one";
        return Err(AdminError::Invalid(wanted.into()));
    };
    let expires = request.expires.map(|until| until.resolve(now)).transpose()?;
    let reason = check_remark(request.reason.as_deref())?;
    let (secret, digest) = draw()?;
    let (name, creator) = (request.name.clone(), actor.to_string());
    let token = NewToken { name, access, digest, created: now, creator, expires };
    let entry = entry_of(&token, "token-created", (now, reason, actor));
    let (record, head) = admin.archive.add_token(token, entry).await?;
    admin.tell_audited("token-created", head);
    admin.tell(&Event::TokenCreated(changed(&record, reason, actor)));
    Ok(TokenMade { view: TokenView::new(&record, now), secret })
}

/// All tokens, sorted by name.
#[must_use]
pub fn list_tokens(admin: &Admin) -> Vec<TokenView> {
    let now = admin.utc();
    admin.archive.tokens().iter().map(|record| TokenView::new(record, now)).collect()
}

/// Takes a token back; whoever uses it hears so at the next request.
///
/// # Errors
/// [`AdminError::Conflict`] if there is none of this name.
pub async fn revoke_token(
    admin: &Admin,
    name: &TokenName,
    reason: Option<&str>,
    actor: &Actor,
) -> Result<TokenView, AdminError> {
    let reason = check_remark(reason)?;
    let said = (admin.utc(), reason, actor);
    let entry = |record: &TokenRecord| entry_of(&record.token, "token-revoked", said);
    let (record, head) = admin.archive.remove_token(name, entry).await?;
    admin.tell_audited("token-revoked", head);
    admin.tell(&Event::TokenRevoked(changed(&record, reason, actor)));
    Ok(TokenView::new(&record, admin.utc()))
}

/// Who stands behind a token's secret.
///
/// # Errors
/// [`TokenError`] if nobody does.
pub fn verify_token(admin: &Admin, secret: &str) -> Result<Caller, TokenError> {
    let digest = digest_of(secret).ok_or(TokenError::Malformed)?;
    let record = admin.archive.token_of(&digest).ok_or(TokenError::Unknown)?;
    let now = admin.utc();
    if has_expired(&record, now) {
        return Err(TokenError::Expired);
    }
    admin.archive.note_token_use(&record, now);
    Ok(Caller::new(&record))
}

/// The same caller as things stand now; none if its token was revoked or has ended. For whatever goes on without the secret:
/// a session of a browser, a stream of events.
#[must_use]
pub fn still_valid(admin: &Admin, caller: &Caller) -> Option<Caller> {
    let record = admin.archive.token(caller.id)?;
    (!has_expired(&record, admin.utc())).then(|| Caller::new(&record))
}

fn has_expired(record: &TokenRecord, now: Timestamp) -> bool {
    record.token.expires.is_some_and(|expires| expires <= now)
}

/// What the audit says of a token that came or went.
fn entry_of(
    token: &NewToken,
    action: &'static str,
    (now, reason, actor): (Timestamp, &str, &Actor),
) -> NewEntry {
    let tenant = token.access.tenant();
    let (role, shown) = (token.access.role(), tenant.map(|tenant| format!(" {tenant}")));
    let rights = format!("{role}{}", shown.unwrap_or_default());
    let is_new = action == "token-created";
    NewEntry {
        subject: Some(format!("token {}", token.name)),
        tenant: tenant.cloned(),
        before: (!is_new).then(|| rights.clone()),
        after: is_new.then_some(rights),
        reason: Some(reason).filter(|reason| !reason.is_empty()).map(ToOwned::to_owned),
        ..NewEntry::new(now, actor, action)
    }
}

fn changed(record: &TokenRecord, reason: &str, actor: &Actor) -> TokenChanged {
    let token = &record.token;
    let (name, access) = (token.name.clone(), token.access.clone());
    let (reason, actor) = (reason.to_owned(), actor.to_string());
    TokenChanged { name, access, expires: token.expires, reason, actor }
}

fn draw() -> Result<(String, TokenDigest), AdminError> {
    let mut octets = [0; SECRET_BYTES];
    getrandom::fill(&mut octets).map_err(AdminError::Random)?;
    let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(octets));
    let digest = sha256(&octets);
    Ok((secret, digest))
}

fn digest_of(secret: &str) -> Option<TokenDigest> {
    let octets = URL_SAFE_NO_PAD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    (octets.len() == SECRET_BYTES).then(|| sha256(&octets))
}

fn sha256(octets: &[u8]) -> TokenDigest {
    let mut digest = TokenDigest::default();
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, octets).as_ref());
    digest
}

/// Begins every token, so that whoever finds one knows what it is.
const PREFIX: &str = "tollgate_";
/// More than anybody can guess.
const SECRET_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fixture::{Gate, gate};

    fn request(name: &str, role: Role, tenant: Option<&str>) -> TokenRequest {
        let tenant = tenant.map(|tenant| tenant.parse().unwrap());
        TokenRequest { name: name.parse().unwrap(), role, tenant, expires: None, reason: None }
    }

    fn op() -> Actor {
        Actor::new(Via::ControlSocket, "op")
    }

    async fn make(gate: &Gate, request: &TokenRequest) -> TokenMade {
        create_token(&gate.admin, request, &op()).await.unwrap()
    }

    #[tokio::test]
    async fn a_token_opens_what_it_was_made_for_until_it_is_revoked() {
        let gate = gate();
        let made = make(&gate, &request("shop", Role::Tenant, Some("shop.example"))).await;
        assert!(made.secret.starts_with("tollgate_") && made.secret.len() == 52, "{}", made.secret);
        let caller = verify_token(&gate.admin, &made.secret).unwrap();
        let actor = caller.actor(Via::Api);
        assert_eq!((actor.name(), caller.access.role()), ("token shop", Role::Tenant));
        assert_eq!(still_valid(&gate.admin, &caller), Some(caller.clone()));
        assert!(list_tokens(&gate.admin)[0].last_used.is_some());
        let name = "shop".parse().unwrap();
        revoke_token(&gate.admin, &name, Some("left"), &op()).await.unwrap();
        assert_eq!(verify_token(&gate.admin, &made.secret), Err(TokenError::Unknown));
        assert_eq!(still_valid(&gate.admin, &caller), None);
        let again = revoke_token(&gate.admin, &name, None, &op()).await;
        assert!(matches!(again, Err(AdminError::Conflict(_))), "{again:?}");
        assert_eq!(*gate.told.lock(), ["audited", "token-created", "audited", "token-revoked"]);
        let audited = crate::admin::audit(&gate.admin, &Default::default()).await.unwrap().items;
        let shown = |n: usize| (audited[n].action.as_str(), audited[n].after.as_deref());
        assert_eq!(shown(1), ("token-created", Some("tenant shop.example")));
        assert_eq!(
            (shown(0), audited[0].reason.as_deref()),
            (("token-revoked", None), Some("left"))
        );
    }

    #[tokio::test]
    async fn another_token_of_the_same_name_opens_nothing_of_the_first() {
        let gate = gate();
        let first = request("one", Role::ReadOnly, None);
        let caller = verify_token(&gate.admin, &make(&gate, &first).await.secret).unwrap();
        let twice = create_token(&gate.admin, &first, &op()).await;
        assert!(matches!(twice, Err(AdminError::Conflict(_))), "{twice:?}");
        revoke_token(&gate.admin, &first.name, None, &op()).await.unwrap();
        make(&gate, &request("one", Role::Operator, None)).await;
        assert_eq!(still_valid(&gate.admin, &caller), None);
    }

    #[tokio::test]
    async fn a_token_ends_when_it_was_said_to() {
        let gate = gate();
        let soon = Some("1s".parse().unwrap());
        let request = TokenRequest { expires: soon, ..request("x", Role::Operator, None) };
        let made = make(&gate, &request).await;
        let mut late = gate.admin.clone();
        late.clock = crate::clock::Clock::by_hand(made.view.expires.unwrap()).0;
        assert!(verify_token(&gate.admin, &made.secret).is_ok());
        assert_eq!(verify_token(&late, &made.secret), Err(TokenError::Expired));
        assert!(list_tokens(&late)[0].expired);
    }

    #[tokio::test]
    async fn what_is_no_token_opens_nothing() {
        let gate = gate();
        let made = make(&gate, &request("x", Role::Operator, None)).await;
        let other = format!("tollgate_{}", URL_SAFE_NO_PAD.encode([0; 32]));
        assert_eq!(verify_token(&gate.admin, &other), Err(TokenError::Unknown));
        for wrong in ["", "tollgate_", &made.secret[9..], &made.secret[..51], "tollgate_äöü"] {
            assert_eq!(verify_token(&gate.admin, wrong), Err(TokenError::Malformed), "{wrong}");
        }
        let unfit = create_token(&gate.admin, &request("y", Role::Tenant, None), &op()).await;
        assert!(matches!(unfit, Err(AdminError::Invalid(_))), "{unfit:?}");
    }

    #[tokio::test]
    async fn a_tenants_token_sees_its_own_accounts_however_they_became_its_own() {
        use crate::{
            admin::{Changes, Patch, Who, set},
            store::records::SubjectKind,
        };
        let gate = gate();
        let made = make(&gate, &request("shop", Role::Tenant, Some("shop.example"))).await;
        let caller = verify_token(&gate.admin, &made.secret).unwrap();
        for (account, tenant) in [("b@else.example", "shop.example"), ("c@shop.example", "else")] {
            let who = Who::new(SubjectKind::Accounts, account).unwrap();
            let tenant = Patch::Set(tenant.parse().unwrap());
            set(&gate.admin, &who, &Changes { tenant, ..Changes::default() }, &op()).await.unwrap();
        }
        for (account, seen) in [
            ("a@shop.example", true),
            ("b@else.example", true),
            ("c@shop.example", false),
            ("d@else.example", false),
        ] {
            let sees = caller.sees_account(&gate.admin, &account.parse().unwrap()).await.unwrap();
            assert_eq!(sees, seen, "{account}");
        }
        assert!(caller.sees_tenant(&"shop.example".parse().unwrap()));
        assert!(!caller.sees_tenant(&"else.example".parse().unwrap()));
    }
}
