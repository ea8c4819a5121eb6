//! Who may see and change what: the roles of tokens.

use super::{ParseError, TenantId};
use std::{fmt, str::FromStr};

/// What a token is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees and changes everything.
    Operator,
    /// Sees everything.
    ReadOnly,
    /// Sees one tenant and its accounts.
    Tenant,
}

impl Role {
    /// The name as it stands on the command line, in the API and in log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::ReadOnly => "read-only",
            Self::Tenant => "tenant",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::Operator, Self::ReadOnly, Self::Tenant]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| ParseError::new(text, "a role: operator, read-only or tenant"))
    }
}

/// What somebody may see and change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Sees and changes everything.
    Operator,
    /// Sees everything.
    ReadOnly,
    /// Sees one tenant and its accounts.
    Tenant(TenantId),
}

impl Access {
    /// What a role may see and change; none if a tenant is missing, or given where there is none.
    #[must_use]
    pub fn new(role: Role, tenant: Option<TenantId>) -> Option<Self> {
        match (role, tenant) {
            (Role::Operator, None) => Some(Self::Operator),
            (Role::ReadOnly, None) => Some(Self::ReadOnly),
            (Role::Tenant, Some(tenant)) => Some(Self::Tenant(tenant)),
            _ => None,
        }
    }

    /// The role.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::Operator => Role::Operator,
            Self::ReadOnly => Role::ReadOnly,
            Self::Tenant(_) => Role::Tenant,
        }
    }

    /// The one tenant that is seen; none: all are.
    #[must_use]
    pub const fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::Operator | Self::ReadOnly => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tenants_role_has_a_tenant() {
        let tenant = || Some("shop.example".parse().unwrap());
        for role in [Role::Operator, Role::ReadOnly] {
            assert_eq!(Access::new(role, None).unwrap().role(), role);
            assert_eq!(Access::new(role, tenant()), None);
        }
        assert_eq!(Access::new(Role::Tenant, tenant()).unwrap().tenant(), tenant().as_ref());
        assert_eq!(Access::new(Role::Tenant, None), None);
        assert_eq!("read-only".parse(), Ok(Role::ReadOnly));
        assert!("root".parse::<Role>().is_err());
    }
}
