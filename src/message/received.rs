//! Our own Received field (RFC 5321 §4.4).
//!
//! The field names the client as it named itself and as TCP saw it, unless the operator hides that; the name that it
//! gave is the only text in it that a stranger chooses, and what may not stand in a domain name becomes `?`.

use crate::types::{Domain, Timestamp, TransactionId};
use std::net::IpAddr;

/// What the field says.
#[derive(Debug, Clone)]
pub struct ReceivedFacts<'a> {
    /// The client; none to say nothing about it.
    pub client: Option<ShownClient<'a>>,
    /// Our name.
    pub hostname: &'a Domain,
    /// What was spoken.
    pub dialect: Dialect,
    /// TLS was used.
    pub tls: bool,
    /// The client logged in.
    pub login: bool,
    /// Our id.
    pub transaction: &'a TransactionId,
    /// When the text came.
    pub at: Timestamp,
}

/// The client as the field shows it.
#[derive(Debug, Clone, Copy)]
pub struct ShownClient<'a> {
    /// What it said in EHLO or HELO.
    pub helo: &'a str,
    /// Its address.
    pub address: IpAddr,
}

/// What was spoken (the first half of RFC 3848's and RFC 6531's protocol names).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// After HELO.
    Smtp,
    /// After EHLO.
    Esmtp,
    /// With the parameter SMTPUTF8 (RFC 6531 §4.3).
    Utf8Smtp,
}

/// The field, folded, with its final CRLF. It never begins a line with a dot.
#[must_use]
pub fn received_field(facts: &ReceivedFacts<'_>) -> Vec<u8> {
    let from = facts.client.map(from_clause).unwrap_or_default();
    let (hostname, with, id) = (facts.hostname, protocol(facts), facts.transaction);
    let date = facts.at.to_rfc5322();
    let by = format!("by {hostname} (Tollgate) with {with} id {id};");
    let fold = if by.len() > BY_CLAUSE_CHARS_MAX { "\r\n\t" } else { " " };
    let by = by.replacen(" with ", &format!("{fold}with "), 1);
    format!("Received: {from}{by}\r\n\t{date}\r\n").into_bytes()
}

fn from_clause(client: ShownClient<'_>) -> String {
    let ShownClient { helo, address } = client;
    let helo = shown(helo);
    match address {
        IpAddr::V4(four) => format!("from {helo} ([{four}])\r\n\t"),
        IpAddr::V6(six) => format!("from {helo} ([IPv6:{six}])\r\n\t"),
    }
}

/// What a client said, made safe: at most [`HELO_CHARS_MAX`] characters of domain names and address literals.
fn shown(helo: &str) -> String {
    let safe =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '[' | ']' | ':');
    let shown: String =
        helo.chars().take(HELO_CHARS_MAX).map(|c| if safe(c) { c } else { '?' }).collect();
    if shown.is_empty() { String::from("unknown") } else { shown }
}

fn protocol(facts: &ReceivedFacts<'_>) -> String {
    let name = match facts.dialect {
        // RFC 3848 has no name for HELO with TLS or a login; both need EHLO.
        Dialect::Smtp => return String::from("SMTP"),
        Dialect::Esmtp => "ESMTP",
        Dialect::Utf8Smtp => "UTF8SMTP",
    };
    let (tls, login) = (if facts.tls { "S" } else { "" }, if facts.login { "A" } else { "" });
    format!("{name}{tls}{login}")
}

/// RFC 5321 §4.5.3.1.2.
const HELO_CHARS_MAX: usize = 255;
/// A longer clause is folded, so that lines stay within the 78 characters of RFC 5322 §2.1.1 where they can.
const BY_CLAUSE_CHARS_MAX: usize = 66;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        client: Option<(&str, &str)>,
        change: impl Fn(&mut ReceivedFacts<'_>),
        expected: &str,
    ) {
        let hostname: Domain = "gate.example".parse().unwrap();
        let transaction: TransactionId = "01abc".parse().unwrap();
        let mut facts = ReceivedFacts {
            client: client
                .map(|(helo, address)| ShownClient { helo, address: address.parse().unwrap() }),
            hostname: &hostname,
            dialect: Dialect::Esmtp,
            tls: false,
            login: false,
            transaction: &transaction,
            at: "2026-11-22T09:14:07Z".parse().unwrap(),
        };
        change(&mut facts);
        assert_eq!(String::from_utf8(received_field(&facts)).unwrap(), expected);
    }

    const DATE: &str = "Sun, 22 Nov 2026 09:14:07 +0000";

    #[test]
    fn the_field_names_client_protocol_and_id() {
        check(
            Some(("pc.example", "192.0.2.1")),
            |facts| (facts.tls, facts.login) = (true, true),
            &format!(
                "Received: from pc.example ([192.0.2.1])\r\n\tby gate.example (Tollgate) with ESMTPSA id 01abc;\r\n\t{DATE}\r\n"
            ),
        );
        check(
            Some(("[IPv6:2001:db8::1]", "2001:db8::1")),
            |facts| facts.dialect = Dialect::Utf8Smtp,
            &format!(
                "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\tby gate.example (Tollgate) with UTF8SMTP id 01abc;\r\n\t{DATE}\r\n"
            ),
        );
        check(
            None,
            |facts| facts.dialect = Dialect::Smtp,
            &format!("Received: by gate.example (Tollgate) with SMTP id 01abc;\r\n\t{DATE}\r\n"),
        );
    }

    #[test]
    fn no_name_injects_a_line_or_a_comment() {
        for (helo, shown) in [
            ("a\r\nX-AuthUser: victim", "a??X-AuthUser:?victim"),
            ("(Authenticated sender: victim)", "?Authenticated?sender:?victim?"),
            ("", "unknown"),
            ("é\u{0}<>", "????"),
        ] {
            check(
                Some((helo, "192.0.2.1")),
                |_| {},
                &format!(
                    "Received: from {shown} ([192.0.2.1])\r\n\tby gate.example (Tollgate) with ESMTP id 01abc;\r\n\t{DATE}\r\n"
                ),
            );
        }
    }

    #[test]
    fn long_names_are_folded() {
        let hostname: Domain =
            "a-rather-long-name-of-a-host.in.a.long.domain.example".parse().unwrap();
        let transaction: TransactionId = "01abcdefghijklmnop".parse().unwrap();
        let field = received_field(&ReceivedFacts {
            client: None,
            hostname: &hostname,
            dialect: Dialect::Esmtp,
            tls: true,
            login: false,
            transaction: &transaction,
            at: Timestamp::EPOCH,
        });
        let text = String::from_utf8(field).unwrap();
        assert!(text.lines().all(|line| line.len() <= 78), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with('\t')), "{text}");
        assert!(text.contains("(Tollgate)\r\n\twith ESMTPS id"), "{text}");
    }
}
