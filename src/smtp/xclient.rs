//! XCLIENT and XFORWARD: what a trusted server says of the client behind it (Postfix XCLIENT_README, XFORWARD_README).
//!
//! Attributes are parsed here; whether the peer may say such things is a setting of the session, and what they are worth as
//! evidence is decided in `rules::identity`.

use super::xtext;
use crate::types::{AccountId, ClientIp};

/// What is claimed about the real client. An attribute that was not sent, or sent as `[UNAVAILABLE]` or `[TEMPUNAVAIL]`, is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientClaim {
    /// `ADDR`: its address.
    pub addr: Option<ClientIp>,
    /// `PORT`.
    pub port: Option<u16>,
    /// `NAME`: its host name.
    pub name: Option<String>,
    /// `HELO`: what it said in its greeting.
    pub helo: Option<String>,
    /// `PROTO`: `SMTP`, `ESMTP` and the like.
    pub proto: Option<String>,
    /// `LOGIN` (XCLIENT only): whom it logged in as.
    pub login: Option<String>,
    /// `DESTADDR` (XCLIENT only): where it connected to.
    pub dest_addr: Option<ClientIp>,
    /// `DESTPORT` (XCLIENT only).
    pub dest_port: Option<u16>,
    /// `IDENT` (XFORWARD only): the message's id at the server that forwards it.
    pub ident: Option<String>,
    /// `SOURCE` (XFORWARD only): where it came into the mail system.
    pub source: Option<Source>,
}

/// `SOURCE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From a local program.
    Local,
    /// Over the network.
    Remote,
}

/// Which of the two commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The session is to be treated as that client's.
    Xclient,
    /// The next message came from that client.
    Xforward,
}

/// An attribute is unknown, occurs twice in the command or has a value that it cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed XCLIENT or XFORWARD attribute")]
pub struct ClaimError;

/// The attributes of one command: applied as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes(Vec<Attribute>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Attribute {
    Addr(Option<ClientIp>),
    Port(Option<u16>),
    Name(Option<String>),
    Helo(Option<String>),
    Proto(Option<String>),
    Login(Option<String>),
    DestAddr(Option<ClientIp>),
    DestPort(Option<u16>),
    Ident(Option<String>),
    Source(Option<Source>),
}

impl Attributes {
    /// Parses what follows the command's name.
    ///
    /// # Errors
    ///
    /// If there is none, or one is unknown, comes twice or is malformed.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, ClaimError> {
        let mut attributes: Vec<Attribute> = Vec::new();
        for word in text.split_ascii_whitespace() {
            let (name, value) = word.split_once('=').ok_or(ClaimError)?;
            let attribute = Attribute::parse(kind, &name.to_ascii_uppercase(), value)?;
            if attributes.iter().any(|other| other.is_like(&attribute)) {
                return Err(ClaimError);
            }
            attributes.push(attribute);
        }
        if attributes.is_empty() { Err(ClaimError) } else { Ok(Self(attributes)) }
    }

    /// Adds the attributes to what was claimed before; a later value replaces an earlier one.
    pub fn apply(self, claim: &mut ClientClaim) {
        for attribute in self.0 {
            match attribute {
                Attribute::Addr(value) => claim.addr = value,
                Attribute::Port(value) => claim.port = value,
                Attribute::Name(value) => claim.name = value,
                Attribute::Helo(value) => claim.helo = value,
                Attribute::Proto(value) => claim.proto = value,
                Attribute::Login(value) => claim.login = value,
                Attribute::DestAddr(value) => claim.dest_addr = value,
                Attribute::DestPort(value) => claim.dest_port = value,
                Attribute::Ident(value) => claim.ident = value,
                Attribute::Source(value) => claim.source = value,
            }
        }
    }
}

impl Attribute {
    fn parse(kind: Kind, name: &str, value: &str) -> Result<Self, ClaimError> {
        let decoded = xtext::decode_text(value).ok_or(ClaimError)?;
        if decoded.len() > VALUE_BYTES_MAX {
            return Err(ClaimError);
        }
        let unavailable = UNAVAILABLE.iter().any(|word| decoded.eq_ignore_ascii_case(word));
        let value = (!unavailable).then_some(decoded);
        match (kind, name) {
            (_, "ADDR") => value.map(|text| address(&text)).transpose().map(Self::Addr),
            (_, "PORT") => value.map(|text| port(&text)).transpose().map(Self::Port),
            (_, "NAME") => word(value).map(Self::Name),
            (_, "HELO") => word(value).map(Self::Helo),
            (_, "PROTO") => word(value).map(Self::Proto),
            (Kind::Xclient, "LOGIN") => login(value).map(Self::Login),
            (Kind::Xclient, "DESTADDR") => {
                value.map(|text| address(&text)).transpose().map(Self::DestAddr)
            }
            (Kind::Xclient, "DESTPORT") => {
                value.map(|text| port(&text)).transpose().map(Self::DestPort)
            }
            (Kind::Xforward, "IDENT") => word(value).map(Self::Ident),
            (Kind::Xforward, "SOURCE") => {
                value.map(|text| source(&text)).transpose().map(Self::Source)
            }
            _ => Err(ClaimError),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// An IPv4 address, or an IPv6 address behind `IPV6:`; some senders leave the prefix out.
fn address(text: &str) -> Result<ClientIp, ClaimError> {
    let bare = match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPV6:") => &text[5..],
        _ => text,
    };
    bare.parse().map_err(|_| ClaimError)
}

fn port(text: &str) -> Result<u16, ClaimError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().map_err(|_| ClaimError)?;
    if plain { Ok(port) } else { Err(ClaimError) }
}

fn word(value: Option<String>) -> Result<Option<String>, ClaimError> {
    if value.as_ref().is_some_and(String::is_empty) { Err(ClaimError) } else { Ok(value) }
}

/// A login that could not be charged as an account must not pass for no login at all.
fn login(value: Option<String>) -> Result<Option<String>, ClaimError> {
    let named = value.as_ref().is_none_or(|login| login.parse::<AccountId>().is_ok());
    if named { Ok(value) } else { Err(ClaimError) }
}

fn source(text: &str) -> Result<Source, ClaimError> {
    match text.to_ascii_uppercase().as_str() {
        "LOCAL" => Ok(Source::Local),
        "REMOTE" => Ok(Source::Remote),
        _ => Err(ClaimError),
    }
}

/// Both READMEs limit values to 255 octets, or less.
const VALUE_BYTES_MAX: usize = 255;
/// What stands for "not known", for good or for now.
const UNAVAILABLE: [&str; 2] = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, text: &str, expected: &Result<ClientClaim, ClaimError>) {
        let got = Attributes::parse(kind, text).map(|attributes| {
            let mut claim = ClientClaim::default();
            attributes.apply(&mut claim);
            claim
        });
        assert_eq!(&got, expected, "{text}");
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn attributes_are_read() {
        let addr = |address: &str| Some(address.parse().unwrap());
        check(
            Kind::Xclient,
            "NAME=spike.example ADDR=192.0.2.7 PORT=4711 HELO=[192.0.2.7] PROTO=ESMTP login=a+40shop.example",
            &Ok(ClientClaim {
                name: text("spike.example"),
                addr: addr("192.0.2.7"),
                port: Some(4711),
                helo: text("[192.0.2.7]"),
                proto: text("ESMTP"),
                login: text("a@shop.example"),
                ..ClientClaim::default()
            }),
        );
        check(
            Kind::Xclient,
            "ADDR=IPV6:2001:db8::1 DESTADDR=192.0.2.1 DESTPORT=25 NAME=[TEMPUNAVAIL] LOGIN=[unavailable]",
            &Ok(ClientClaim {
                addr: addr("2001:db8::1"),
                dest_addr: addr("192.0.2.1"),
                dest_port: Some(25),
                ..ClientClaim::default()
            }),
        );
        check(
            Kind::Xforward,
            "ADDR=::ffff:192.0.2.7 IDENT=4fXY SOURCE=LOCAL",
            &Ok(ClientClaim {
                addr: addr("192.0.2.7"),
                ident: text("4fXY"),
                source: Some(Source::Local),
                ..ClientClaim::default()
            }),
        );
    }

    #[test]
    fn what_is_not_an_attribute_is_refused() {
        for (kind, wrong) in [
            (Kind::Xclient, ""),
            (Kind::Xclient, "ADDR"),
            (Kind::Xclient, "ADDR="),
            (Kind::Xclient, "ADDR=shop.example"),
            (Kind::Xclient, "ADDR=192.0.2.7 ADDR=192.0.2.8"),
            (Kind::Xclient, "PORT=65536"),
            (Kind::Xclient, "PORT=+1"),
            (Kind::Xclient, "LOGIN="),
            (Kind::Xclient, "LOGIN=a+0D+0Ab"),
            (Kind::Xclient, "LOGIN=a+20b"),
            (Kind::Xclient, "COLOUR=red"),
            (Kind::Xclient, "IDENT=x"),
            (Kind::Xforward, "LOGIN=a@shop.example"),
            (Kind::Xforward, "SOURCE=MARS"),
        ] {
            check(kind, wrong, &Err(ClaimError));
        }
        check(Kind::Xclient, &format!("NAME={}", "x".repeat(256)), &Err(ClaimError));
    }

    #[test]
    fn a_later_command_replaces_what_it_names() {
        let mut claim = ClientClaim::default();
        for command in ["ADDR=192.0.2.7 NAME=x", "NAME=[UNAVAILABLE]", "PORT=1"] {
            Attributes::parse(Kind::Xclient, command).unwrap().apply(&mut claim);
        }
        let addr = Some("192.0.2.7".parse().unwrap());
        assert_eq!(claim, ClientClaim { addr, port: Some(1), ..ClientClaim::default() });
    }
}
