//! Reports of abuse in the Abuse Reporting Format (RFC 5965): what one says, and what the message that it is about says of itself.
//!
//! Whatever a reporter's program writes comes in here. The MIME header fields are mail-parser's to read; the parts are told apart
//! here, in one pass and without going into the message that was reported, so that no nesting of messages in messages
//! costs anything.

use super::header::Fields;
use crate::types::{Address, Domain, MessageId, Timestamp, TransactionId};
use mail_parser::{DateTime, Message, MessageParser, MimeHeaders as _};
use std::net::IpAddr;

/// What a report of abuse says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Feedback {
    /// What it is about.
    pub kind: FeedbackKind,
    /// The program that made the report.
    pub user_agent: Option<String>,
    /// Whose address the message came from.
    pub source_ip: Option<IpAddr>,
    /// When the message arrived there.
    pub arrived: Option<Timestamp>,
    /// Its envelope sender.
    pub sender: Option<Address>,
    /// Its recipients, as far as the reporter tells them.
    pub recipients: Vec<Address>,
    /// How often it happened.
    pub incidents: u32,
    /// Ids of ours in the message's Received fields, from the top.
    pub transactions: Vec<TransactionId>,
    /// The message's own id.
    pub message_id: Option<MessageId>,
}

/// What a report is about (RFC 5965 §7.3 and later registrations).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeedbackKind {
    /// Unwanted mail.
    Abuse,
    /// Phishing and the like.
    Fraud,
    /// A virus.
    Virus,
    /// No complaint: the recipient took one back (RFC 6430).
    NotSpam,
    /// Anything else.
    #[default]
    Other,
}

impl FeedbackKind {
    /// The name as it stands in reports: stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abuse => "abuse",
            Self::Fraud => "fraud",
            Self::Virus => "virus",
            Self::NotSpam => "not-spam",
            Self::Other => "other",
        }
    }

    /// The kind with this name, in any case; anything that is not known is [`Self::Other`].
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        const KNOWN: [FeedbackKind; 4] =
            [FeedbackKind::Abuse, FeedbackKind::Fraud, FeedbackKind::Virus, FeedbackKind::NotSpam];
        let known = KNOWN.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name.trim()));
        known.unwrap_or_default()
    }
}

/// Why a text is no report of abuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    /// It is some other message.
    #[error(
        "the text is not a report of abuse: its Content-Type must be multipart/report (RFC 5965)"
    )]
    NotAReport,
    /// It has no part with the facts.
    #[error(
        "the report has no part of type message/feedback-report with a Feedback-Type (RFC 5965)"
    )]
    NoFacts,
}

/// Reads a report. `hostname` is ours: only Received fields that name it count.
///
/// # Errors
/// [`FeedbackError`] if it is no report of abuse.
pub fn feedback(text: &[u8], hostname: &Domain) -> Result<Feedback, FeedbackError> {
    let boundary = boundary_of(text).ok_or(FeedbackError::NotAReport)?;
    let mut found = Feedback::default();
    let mut has_facts = false;
    for part in parts(text, boundary.as_bytes()).take(PARTS_MAX) {
        let (header, body) = split(part);
        let Some(header) = MessageParser::default().parse_headers(header) else { continue };
        match kind_of(&header).as_str() {
            "message/feedback-report" => has_facts |= found.read_facts(body),
            "message/rfc822"
            | "message/global"
            | "text/rfc822-headers"
            | "message/rfc822-headers" => {
                found.read_message(body, hostname);
            }
            _ => {}
        }
    }
    if has_facts { Ok(found) } else { Err(FeedbackError::NoFacts) }
}

impl Feedback {
    /// False without a Feedback-Type, which every report has (RFC 5965 §3.1).
    fn read_facts(&mut self, body: &[u8]) -> bool {
        let mut has_kind = false;
        self.incidents = 1;
        for field in Fields::new(body) {
            let value = field.value().unwrap_or_default();
            if field.is_named("Feedback-Type") {
                has_kind = true;
                self.kind = FeedbackKind::from_name(&value);
            } else if field.is_named("User-Agent") {
                self.user_agent = Some(value.chars().take(TEXT_CHARS_MAX).collect());
            } else if field.is_named("Source-IP") {
                self.source_ip = value.parse().ok();
            } else if field.is_named("Arrival-Date") || field.is_named("Received-Date") {
                self.arrived = date(&value);
            } else if field.is_named("Original-Mail-From") {
                self.sender = address(&value);
            } else if field.is_named("Original-Rcpt-To") && self.recipients.len() < RECIPIENTS_MAX {
                self.recipients.extend(address(&value));
            } else if field.is_named("Incidents") {
                self.incidents = value.parse().unwrap_or(1).clamp(1, INCIDENTS_MAX);
            }
        }
        has_kind
    }

    fn read_message(&mut self, body: &[u8], hostname: &Domain) {
        for field in Fields::new(body) {
            if field.is_named("Received") && self.transactions.len() < TRANSACTIONS_MAX {
                let value = field.value().unwrap_or_default();
                self.transactions.extend(our_id(&value, hostname));
            } else if field.is_named("Message-ID") && self.message_id.is_none() {
                self.message_id = field.value().and_then(|value| value.parse().ok());
            }
        }
    }
}

/// Our id in a Received field that we wrote: `… by HOSTNAME (Tollgate) with … id ID; …`.
fn our_id(value: &str, hostname: &Domain) -> Option<TransactionId> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let by = words.windows(3).position(|words| {
        words[0] == "by"
            && words[1].eq_ignore_ascii_case(hostname.as_str())
            && words[2] == "(Tollgate)"
    })?;
    let id = words[by..].windows(2).find(|words| words[0] == "id")?[1];
    id.trim_end_matches(';').parse().ok()
}

fn address(value: &str) -> Option<Address> {
    value.trim().trim_start_matches('<').trim_end_matches('>').parse().ok()
}

fn date(value: &str) -> Option<Timestamp> {
    let date = DateTime::parse_rfc822(value).filter(DateTime::is_valid)?;
    Some(Timestamp::from_millis(date.to_timestamp().checked_mul(1_000)?))
}

/// The boundary of a multipart/report.
fn boundary_of(text: &[u8]) -> Option<String> {
    let header = MessageParser::default().parse_headers(split(text).0)?;
    let boundary = header.content_type()?.attribute("boundary")?.to_owned();
    let is_report = kind_of(&header) == "multipart/report" && !boundary.is_empty();
    is_report.then_some(boundary)
}

/// The header of a message or part with the empty line that ends it, and the body. A header that is too long has no body.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let scanned = &text[..text.len().min(super::HEADER_SCAN_BYTES_MAX)];
    let mut at = 0;
    for line in scanned.split_inclusive(|octet| *octet == b'\n') {
        at += line.len();
        if matches!(line, b"\n" | b"\r\n") {
            return text.split_at(at);
        }
    }
    (scanned, &[])
}

fn kind_of(header: &Message<'_>) -> String {
    let kind = header.content_type();
    let kind = kind.map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()));
    kind.unwrap_or_default().to_ascii_lowercase()
}

/// The parts between the lines that begin with two hyphens and the boundary (RFC 2046 §5.1.1).
fn parts<'t>(text: &'t [u8], boundary: &'t [u8]) -> impl Iterator<Item = &'t [u8]> {
    let mut begin = None;
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let line_end =
                memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |end| at + end + 1);
            let line = &text[at..line_end];
            let line_begin = std::mem::replace(&mut at, line_end);
            let delimits = line.strip_prefix(b"--").is_some_and(|line| line.starts_with(boundary));
            if delimits {
                let part = begin.replace(line_end).map(|begin| &text[begin..line_begin]);
                if part.is_some() {
                    return part;
                }
            }
        }
        // A report that was cut off still says what it says.
        begin.take().map(|begin| &text[begin..])
    })
}

const PARTS_MAX: usize = 10;
const RECIPIENTS_MAX: usize = 20;
const TRANSACTIONS_MAX: usize = 10;
const INCIDENTS_MAX: u32 = 100_000;
const TEXT_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn hostname() -> Domain {
        "gate.provider.example".parse().unwrap()
    }

    const REPORT: &str = "From: <abusedesk@bigmail.example>\r\n\
        To: <abuse@provider.example>\r\n\
        Subject: FW: Earn money\r\n\
        MIME-Version: 1.0\r\n\
        Content-Type: multipart/report; report-type=feedback-report;\r\n\
        \x20    boundary=\"part1_13d.2e68ed54_boundary\"\r\n\
        \r\n\
        --part1_13d.2e68ed54_boundary\r\n\
        Content-Type: text/plain; charset=\"US-ASCII\"\r\n\
        Content-Transfer-Encoding: 7bit\r\n\
        \r\n\
        This is an email abuse report for an email message received from IP\r\n\
        192.0.2.1 on Thu, 26 Nov 2026 14:00:00 EDT.\r\n\
        \r\n\
        --part1_13d.2e68ed54_boundary\r\n\
        Content-Type: message/feedback-report\r\n\
        \r\n\
        Feedback-Type: abuse\r\n\
        User-Agent: SomeGenerator/1.0\r\n\
        Version: 1\r\n\
        Original-Mail-From: <a@shop.example>\r\n\
        Original-Rcpt-To: <user@bigmail.example>\r\n\
        Arrival-Date: Thu, 26 Nov 2026 14:00:00 -0400\r\n\
        Reporting-MTA: dns; mail.bigmail.example\r\n\
        Source-IP: 192.0.2.1\r\n\
        Incidents: 3\r\n\
        \r\n\
        --part1_13d.2e68ed54_boundary\r\n\
        Content-Type: message/rfc822\r\n\
        Content-Disposition: inline\r\n\
        \r\n\
        Received: from gate.provider.example (gate [192.0.2.1])\r\n\
        \tby mail.bigmail.example with ESMTP id M63d4137594e46;\r\n\
        \tThu, 26 Nov 2026 14:00:00 -0400\r\n\
        Received: from pc ([198.51.100.7])\r\n\
        \tby gate.provider.example (Tollgate) with ESMTPSA id 0bw2r8k4m1c.3;\r\n\
        \tThu, 26 Nov 2026 17:59:59 +0000\r\n\
        From: <a@shop.example>\r\n\
        Message-ID: <8787KJKJ3K4J3K4J3K4J3.mail@shop.example>\r\n\
        \r\n\
        Received: by gate.provider.example (Tollgate) with ESMTP id body.1;\r\n\
        --part1_13d.2e68ed54_boundary--\r\n";

    #[test]
    fn a_report_tells_what_it_is_about() {
        let found = feedback(REPORT.as_bytes(), &hostname()).unwrap();
        assert_eq!(
            found,
            Feedback {
                kind: FeedbackKind::Abuse,
                user_agent: Some("SomeGenerator/1.0".into()),
                source_ip: Some("192.0.2.1".parse().unwrap()),
                arrived: Some("2026-11-26T18:00:00Z".parse().unwrap()),
                sender: Some("a@shop.example".parse().unwrap()),
                recipients: vec!["user@bigmail.example".parse().unwrap()],
                incidents: 3,
                transactions: vec!["0bw2r8k4m1c.3".parse().unwrap()],
                message_id: Some("8787KJKJ3K4J3K4J3K4J3.mail@shop.example".parse().unwrap()),
            }
        );
    }

    #[test]
    fn bare_line_ends_headers_only_and_a_missing_end_are_read_too() {
        let report = REPORT.replace("\r\n", "\n").replace("message/rfc822", "text/rfc822-headers");
        let whole = feedback(REPORT.as_bytes(), &hostname()).unwrap();
        assert_eq!(feedback(report.as_bytes(), &hostname()).unwrap(), whole);
        let cut = REPORT.split("\r\nFrom: <a@shop").next().unwrap();
        let found = feedback(cut.as_bytes(), &hostname()).unwrap();
        assert_eq!((found.transactions, found.message_id), (whole.transactions, None));
    }

    #[test]
    fn what_is_no_report_is_told() {
        let check = |report: &str, expected| {
            assert_eq!(feedback(report.as_bytes(), &hostname()), Err(expected), "{report}");
        };
        check("", FeedbackError::NotAReport);
        check("Subject: hello\r\n\r\ntext\r\n", FeedbackError::NotAReport);
        check(&REPORT.replace("multipart/report", "multipart/mixed"), FeedbackError::NotAReport);
        check(&REPORT.replace("boundary=", "bound="), FeedbackError::NotAReport);
        check(&REPORT.replace("Feedback-Type", "Feedback"), FeedbackError::NoFacts);
        check(&REPORT.replace("/feedback-report", "/delivery-status"), FeedbackError::NoFacts);
    }

    #[test]
    fn only_what_we_wrote_names_an_id_of_ours() {
        let check = |value: &str, expected: Option<&str>| {
            let found = our_id(value, &hostname());
            assert_eq!(found.as_ref().map(TransactionId::as_str), expected, "{value}");
        };
        check("from x by gate.provider.example (Tollgate) with SMTP id 0b.1; date", Some("0b.1"));
        check("by GATE.provider.example (Tollgate) with SMTP id 0b.1;", Some("0b.1"));
        check("from id 9 by gate.provider.example (Tollgate) with SMTP id 0b.1; x", Some("0b.1"));
        check("by other.example (Tollgate) with SMTP id 0b.1; date", None);
        check("by gate.provider.example (Postfix) with SMTP id 0b.1; date", None);
        check("by gate.provider.example (Tollgate) with SMTP", None);
        check("by gate.provider.example (Tollgate) with SMTP id <x>; date", None);
    }

    #[test]
    fn messages_within_messages_cost_nothing() {
        let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
        let report = REPORT.replace("Received: from gate", &format!("{nested}Received: from gate"));
        let found = feedback(report.as_bytes(), &hostname()).unwrap();
        assert_eq!((found.kind, found.transactions.len()), (FeedbackKind::Abuse, 0));
    }

    #[test]
    fn lists_have_an_end() {
        let many = "Original-Rcpt-To: <x@bigmail.example>\r\n".repeat(1_000);
        let report = REPORT.replace("Version: 1\r\n", &many);
        let found = feedback(report.as_bytes(), &hostname()).unwrap();
        assert_eq!(found.recipients.len(), RECIPIENTS_MAX);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_panic(
            at in 0..REPORT.len(),
            octets in proptest::collection::vec(proptest::sample::select(b"-:;= \r\n\"\\\xffpart1_13d".to_vec()), 0..60)
        ) {
            let mut report = REPORT.as_bytes().to_vec();
            let end = (at + octets.len()).min(report.len());
            report.splice(at..end, octets);
            let _ = feedback(&report, &hostname());
        }
    }
}
