//! The languages of what customers read.

use super::ParseError;
use std::{fmt, str::FromStr};

/// A language (BCP 47) that tenants are written to in.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Indonesian.
    #[serde(rename = "id")]
    Indonesian,
}

impl Language {
    /// Its tag, as in `Accept-Language`.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Indonesian => "id",
        }
    }
}

impl FromStr for Language {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::English, Self::Indonesian]
            .into_iter()
            .find(|language| language.tag() == text)
            .ok_or_else(|| ParseError::new(text, "a language: en or id"))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}
