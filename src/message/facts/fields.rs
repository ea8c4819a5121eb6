//! What the header fields of a message or of a part of it say, as facts.
//!
//! Fields are found by [`super::super::header`], values are mail-parser's to read. A value is cut at [`VALUE_BYTES_MAX`], and only
//! the first field of a name is read, so that no header costs more than its own length.

use super::{Authors, Mark, Marks, Origin};
use crate::{
    message::header::{Field, Fields, X_PHP_SCRIPT},
    types::{Address, Timestamp},
};
use mail_parser::{Addr, ContentType, DateTime, HeaderValue, parsers::MessageStream};

/// What a header says.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) authors: Authors,
    pub(super) subject: String,
    pub(super) mailer: Option<String>,
    pub(super) origin: Option<Origin>,
    pub(super) date: Option<Timestamp>,
    pub(super) hops: u32,
    pub(super) recipients_shown: u32,
    pub(super) marks: Marks,
    pub(super) content: Content,
}

/// What a header says about the body below it (RFC 2045).
#[derive(Debug, Default)]
pub(super) struct Content {
    /// `text/plain`, in lower case; empty if the header says nothing.
    pub(super) kind: String,
    pub(super) boundary: Option<String>,
    pub(super) charset: Option<String>,
    pub(super) encoding: Encoding,
    pub(super) is_attached: bool,
    pub(super) name: Option<String>,
}

/// How a body is written down (RFC 2045 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Encoding {
    #[default]
    Plain,
    QuotedPrintable,
    Base64,
    Unknown,
}

/// Reads the header at the beginning of `text`; also where the body begins.
pub(super) fn header(text: &[u8]) -> (Header, usize) {
    let (mut found, mut seen) = (Header::default(), Seen::default());
    let mut fields = Fields::new(text);
    for field in fields.by_ref() {
        found.read(&field, &mut seen);
    }
    found.marks.set_if(Mark::BrokenHeader, !fields.is_complete());
    found.judge(&seen);
    (found, fields.body_at())
}

/// Reads the header of a part, of which only the fields about its content count; also where its body begins.
pub(super) fn part_header(text: &[u8]) -> (Content, usize) {
    let mut content = Content::default();
    let mut fields = Fields::new(text);
    for field in fields.by_ref() {
        content.read(&field);
    }
    (content, fields.body_at())
}

/// Which fields there were.
#[derive(Default)]
struct Seen {
    names: Vec<&'static str>,
    message_id: bool,
}

impl Seen {
    /// True the first time.
    fn meets(&mut self, name: &'static str) -> bool {
        let is_first = !self.names.contains(&name);
        if is_first {
            self.names.push(name);
        }
        is_first
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }
}

impl Header {
    fn read(&mut self, field: &Field<'_>, seen: &mut Seen) {
        let Some((name, value)) = field.split() else {
            self.marks.set(Mark::BrokenHeader);
            return;
        };
        self.marks.set_if(Mark::NotUtf8, str::from_utf8(value).is_err());
        self.content.read(field);
        let is_named = |known: &&(&str, Stands)| name.eq_ignore_ascii_case(known.0.as_bytes());
        let Some(&(known, stands)) = KNOWN.iter().find(is_named) else { return };
        if known == "Received" {
            self.hops = self.hops.saturating_add(1);
        } else if seen.meets(known) {
            self.read_known(known, value, seen);
        } else {
            self.marks.set_if(Mark::DoubledField, stands == Stands::Once);
        }
    }

    fn read_known(&mut self, name: &str, value: &[u8], seen: &mut Seen) {
        match name {
            "From" => self.authors.read_from(value),
            "Reply-To" => self.authors.reply_to = addresses(value),
            "Sender" => self.authors.sender = addresses(value).into_iter().next(),
            "To" | "Cc" => self.recipients_shown += count_of_addresses(value),
            "Subject" => self.subject = shortened(&unstructured(value), SUBJECT_CHARS_MAX),
            "Date" => self.read_date(value),
            "Message-ID" => {
                seen.message_id = true;
                self.marks.set_if(Mark::LocalMessageId, is_local_id(&plain(value)));
            }
            X_PHP_SCRIPT => self.origin = Origin::read(&plain(value)),
            "X-Mailer" | "User-Agent" => {
                self.mailer = Some(shortened(&plain(value), MAILER_CHARS_MAX));
            }
            _ => self.read_mark(name, &plain(value).to_ascii_lowercase()),
        }
    }

    /// Fields of which only one thing matters.
    fn read_mark(&mut self, name: &str, value: &str) {
        let mark = match name {
            "In-Reply-To" | "References" => Mark::Reply,
            "List-Id" => Mark::ListId,
            "List-Unsubscribe" => Mark::ListUnsubscribe,
            "List-Unsubscribe-Post" => Mark::OneClick,
            "DKIM-Signature" => Mark::Signed,
            "X-Forwarded-For" | "X-Forwarded-To" | "Resent-From" => Mark::Forwarded,
            "X-Autoreply" | "X-Autorespond" => Mark::AutoReplied,
            "X-Cron-Env" => Mark::AutoGenerated,
            "Disposition-Notification-To" | "Return-Receipt-To" => Mark::ReceiptWanted,
            "Precedence" if ["bulk", "list", "junk"].contains(&value) => Mark::Bulk,
            "Precedence" if value == "auto_reply" => Mark::AutoReplied,
            "Auto-Submitted" if value.starts_with("auto-replied") => Mark::AutoReplied,
            "Auto-Submitted" if value != "no" => Mark::AutoGenerated,
            "X-Priority" if value.starts_with(['1', '2']) => Mark::Urgent,
            "Importance" | "X-MSMail-Priority" if value == "high" => Mark::Urgent,
            "Priority" if value == "urgent" => Mark::Urgent,
            _ => return,
        };
        self.marks.set(mark);
    }

    fn read_date(&mut self, value: &[u8]) {
        let read = MessageStream::new(&terminated(value)).parse_date().into_datetime();
        let date = read.filter(DateTime::is_valid);
        self.marks.set_if(Mark::BadDate, date.is_none());
        let millis = date.and_then(|date| date.to_timestamp().checked_mul(1_000));
        self.date = millis.map(Timestamp::from_millis);
    }

    /// What is missing, and what does not fit together.
    fn judge(&mut self, seen: &Seen) {
        let authors = &self.authors;
        let marks = &mut self.marks;
        marks.set_if(Mark::NoFrom, authors.from.is_empty());
        marks.set_if(Mark::SeveralAuthors, authors.from.len() > 1);
        marks.set_if(Mark::NameShowsOtherAddress, authors.name_shows_other_address());
        marks.set_if(Mark::ReplyElsewhere, authors.are_elsewhere(&authors.reply_to));
        marks.set_if(Mark::SenderElsewhere, authors.are_elsewhere(authors.sender.as_slice()));
        marks.set_if(Mark::RecipientsHidden, self.recipients_shown == 0);
        marks.set_if(Mark::NoSubject, self.subject.is_empty());
        marks.set_if(Mark::NoDate, !seen.has("Date"));
        marks.set_if(Mark::NoMessageId, !seen.message_id);
        marks.set_if(Mark::Php, seen.has(X_PHP_SCRIPT));
        marks.set_if(Mark::Report, self.content.kind == "multipart/report");
        let prefix = self.subject.split_once(':').map(|(prefix, _)| prefix.to_ascii_lowercase());
        let prefix = prefix.as_deref().unwrap_or_default();
        marks.set_if(Mark::SubjectReply, REPLY_PREFIXES.contains(&prefix));
        marks.set_if(Mark::SubjectForward, FORWARD_PREFIXES.contains(&prefix));
    }
}

impl Content {
    fn read(&mut self, field: &Field<'_>) {
        if field.is_named("Content-Type") && self.kind.is_empty() {
            if let Some(value) = content_type(field) {
                let subtype = value.subtype().unwrap_or_default();
                self.kind = format!("{}/{subtype}", value.ctype()).to_ascii_lowercase();
                let attribute = |name| value.attribute(name).map(ToOwned::to_owned);
                self.boundary = attribute("boundary").filter(|boundary| !boundary.is_empty());
                self.charset = attribute("charset");
                self.name = self.name.take().or_else(|| file_name(&value, "name"));
            }
        } else if field.is_named("Content-Disposition") {
            if let Some(value) = content_type(field) {
                self.is_attached = value.ctype().eq_ignore_ascii_case("attachment");
                self.name = file_name(&value, "filename").or(self.name.take());
            }
        } else if field.is_named("Content-Transfer-Encoding") {
            self.encoding = Encoding::named(&field.value().unwrap_or_default());
        }
    }
}

impl Encoding {
    fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "" | "7bit" | "8bit" | "binary" => Self::Plain,
            "quoted-printable" => Self::QuotedPrintable,
            "base64" => Self::Base64,
            _ => Self::Unknown,
        }
    }
}

impl Authors {
    fn read_from(&mut self, value: &[u8]) {
        let value = terminated(value);
        each_address(&value, |address| {
            if self.name.is_none() {
                self.name = address.name.as_deref().map(|name| shortened(name, NAME_CHARS_MAX));
            }
            let parsed = address.address.as_deref().and_then(|text| text.trim().parse().ok());
            if self.from.len() < ADDRESSES_MAX {
                self.from.extend(parsed);
            }
        });
    }
}

impl Origin {
    /// PHP writes the owner's user id, a colon and the script's name.
    fn read(value: &str) -> Option<Self> {
        let (owner, script) = value.split_once(':')?;
        let script = shortened(script.trim(), NAME_CHARS_MAX);
        Some(Self { owner: owner.trim().parse().ok()?, script })
    }
}

/// True of an id whose host means nothing outside the machine that made it.
fn is_local_id(id: &str) -> bool {
    let host = id.trim_matches(['<', '>', ' ']).rsplit_once('@').map(|(_, host)| host);
    let host = host.unwrap_or_default().to_ascii_lowercase();
    !host.contains('.') || host.starts_with("localhost") || host.ends_with(".localdomain")
}

fn addresses(value: &[u8]) -> Vec<Address> {
    let mut found = Vec::new();
    each_address(&terminated(value), |address| {
        let parsed = address.address.as_deref().and_then(|text| text.trim().parse().ok());
        if found.len() < ADDRESSES_MAX {
            found.extend(parsed);
        }
    });
    found
}

fn count_of_addresses(value: &[u8]) -> u32 {
    let mut count = 0;
    each_address(&terminated(value), |address| count += u32::from(address.address.is_some()));
    count
}

fn each_address(value: &[u8], mut meet: impl FnMut(&Addr<'_>)) {
    match MessageStream::new(value).parse_address() {
        HeaderValue::Address(mail_parser::Address::List(list)) => list.iter().for_each(meet),
        HeaderValue::Address(mail_parser::Address::Group(groups)) => {
            groups.iter().flat_map(|group| &group.addresses).for_each(&mut meet);
        }
        _ => {}
    }
}

fn content_type(field: &Field<'_>) -> Option<ContentType<'static>> {
    let (_, value) = field.split()?;
    match MessageStream::new(&terminated(value)).parse_content_type().into_owned() {
        HeaderValue::ContentType(value) => Some(value),
        _ => None,
    }
}

fn file_name(value: &ContentType<'_>, attribute: &str) -> Option<String> {
    let name = value.attribute(attribute)?;
    // Some programs write encoded words where RFC 2231 should be.
    let name = if name.starts_with("=?") { unstructured(name.as_bytes()) } else { name.to_owned() };
    Some(shortened(&name, NAME_CHARS_MAX))
}

fn unstructured(value: &[u8]) -> String {
    match MessageStream::new(&terminated(value)).parse_unstructured() {
        HeaderValue::Text(text) => text.trim().to_owned(),
        _ => String::new(),
    }
}

fn plain(value: &[u8]) -> String {
    String::from_utf8_lossy(cut(value)).trim().to_owned()
}

/// The value as mail-parser wants it: bounded, and with a line end that nothing continues.
fn terminated(value: &[u8]) -> Vec<u8> {
    let mut owned = cut(value).trim_ascii_end().to_vec();
    owned.extend_from_slice(b"\r\n");
    owned
}

fn cut(value: &[u8]) -> &[u8] {
    &value[..value.len().min(VALUE_BYTES_MAX)]
}

fn shortened(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

/// How often a field may stand in a header (RFC 5322 §3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Once,
    Often,
}

/// Those that are read beside the ones about the content.
const KNOWN: [(&str, Stands); 32] = {
    use Stands::{Often, Once};
    [
        ("Received", Often),
        ("From", Once),
        ("To", Once),
        ("Cc", Once),
        ("Subject", Once),
        ("Date", Once),
        ("Message-ID", Once),
        ("Reply-To", Once),
        ("Sender", Once),
        ("In-Reply-To", Once),
        ("References", Once),
        ("X-Mailer", Often),
        ("User-Agent", Often),
        ("DKIM-Signature", Often),
        ("List-Id", Often),
        ("List-Unsubscribe", Often),
        ("List-Unsubscribe-Post", Often),
        ("Precedence", Often),
        ("Auto-Submitted", Often),
        ("X-Autoreply", Often),
        ("X-Autorespond", Often),
        ("X-Cron-Env", Often),
        ("X-Priority", Often),
        ("X-MSMail-Priority", Often),
        ("Importance", Often),
        ("Priority", Often),
        ("Disposition-Notification-To", Often),
        ("Return-Receipt-To", Often),
        ("X-Forwarded-For", Often),
        ("X-Forwarded-To", Often),
        ("Resent-From", Often),
        (X_PHP_SCRIPT, Often),
    ]
};

const REPLY_PREFIXES: [&str; 8] = ["re", "aw", "sv", "antw", "balas", "bls", "odp", "rif"];
const FORWARD_PREFIXES: [&str; 6] = ["fw", "fwd", "wg", "tr", "rv", "i"];

const VALUE_BYTES_MAX: usize = 8 * 1024;
const ADDRESSES_MAX: usize = 10;
const SUBJECT_CHARS_MAX: usize = 300;
const NAME_CHARS_MAX: usize = 200;
const MAILER_CHARS_MAX: usize = 200;
