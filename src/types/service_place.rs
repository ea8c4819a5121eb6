//! Where other programs listen.

use super::ParseError;
use std::{fmt, path::PathBuf, str::FromStr};

/// Where a program listens: a UNIX socket, or a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServicePlace {
    /// A UNIX socket.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

/// Reads a path, or `inet:host:port` as Postfix writes it.
impl FromStr for ServicePlace {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "the path of a socket, or inet:host:port");
        let Some(address) = text.strip_prefix("inet:") else {
            return if text.is_empty() { Err(wrong()) } else { Ok(Self::Unix(text.into())) };
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if host.is_empty() || port == 0 { Err(wrong()) } else { Ok(Self::Tcp(address.to_owned())) }
    }
}

impl fmt::Display for ServicePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "inet:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_path_or_an_address() {
        for (text, shown) in [
            ("/run/dovecot/auth-client", Some("/run/dovecot/auth-client")),
            ("inet:127.0.0.1:12345", Some("inet:127.0.0.1:12345")),
            ("inet:[::1]:12345", Some("inet:[::1]:12345")),
            ("inet:dovecot.example:12345", Some("inet:dovecot.example:12345")),
            ("inet:12345", None),
            ("inet::12345", None),
            ("inet:host:0", None),
            ("inet:host:port", None),
            ("", None),
        ] {
            let place = text.parse::<ServicePlace>().ok().map(|place| place.to_string());
            assert_eq!(place.as_deref(), shown, "{text:?}");
        }
    }
}
