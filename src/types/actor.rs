//! Who does something, and which way the wish came in.

use super::ParseError;
use std::{fmt, str::FromStr};

/// Who does something. The name is what people read: `alice (uid 1000)`, `token 3 (desk)`, the name of a rule.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Actor {
    name: String,
    via: Via,
}

/// Which way a wish came in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// The control socket: a user of this machine, as the kernel names it.
    ControlSocket,
    /// The HTTP API, with a token.
    Api,
    /// The dashboard, with a token.
    Dashboard,
    /// The configuration file.
    Config,
    /// A command that works on the files of a gate that does not run: a user of this machine.
    CommandLine,
    /// Nobody's: the program decided by a rule.
    Automatic,
}

impl Actor {
    /// Whoever has this name; control characters in it become `?`, and what is longer than an address is cut.
    #[must_use]
    pub fn new(via: Via, name: &str) -> Self {
        let name = name.chars().map(|c| if c.is_control() { '?' } else { c });
        let name = name.take(NAME_CHARS_MAX).collect();
        Self { name, via }
    }

    /// The program itself, by one of its rules.
    #[must_use]
    pub fn automatic(rule: &str) -> Self {
        Self::new(Via::Automatic, rule)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which way the wish came in.
    #[must_use]
    pub const fn via(&self) -> Via {
        self.via
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Via {
    /// The name as it stands in the audit: stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ControlSocket => "control-socket",
            Self::Api => "api",
            Self::Dashboard => "dashboard",
            Self::Config => "config",
            Self::CommandLine => "command-line",
            Self::Automatic => "automatic",
        }
    }
}

impl FromStr for Via {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const ALL: [Via; 6] = [
            Via::ControlSocket,
            Via::Api,
            Via::Dashboard,
            Via::Config,
            Via::CommandLine,
            Via::Automatic,
        ];
        let known = ALL.into_iter().find(|via| via.name() == text);
        known.ok_or_else(|| {
            ParseError::new(
                text,
                "control-socket, api, dashboard, config, command-line or automatic",
            )
        })
    }
}

const NAME_CHARS_MAX: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_read_as_it_is_written() {
        for way in ["control-socket", "api", "dashboard", "config", "automatic"] {
            assert_eq!(way.parse::<Via>().unwrap().name(), way);
        }
        assert!("telephone".parse::<Via>().is_err());
    }

    #[test]
    fn a_name_has_no_control_characters_and_an_end() {
        let actor = Actor::new(Via::Api, &format!("a\nb{}", "x".repeat(1_000)));
        assert!(actor.name().starts_with("a?b") && actor.name().len() == NAME_CHARS_MAX);
    }
}
