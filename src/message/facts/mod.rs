//! What a finished message says about itself: who, what kind, what it looks like, where it leads.
//!
//! [`facts`] is a pure function of the first [`SCAN_BYTES_MAX`] octets of a text. It believes nothing and judges nothing: that is
//! for `rules::spam`. Whatever a sender writes comes in here, so everything has a bound: octets, parts, nesting, text, links,
//! addresses. Nothing is unpacked, nothing is fetched. What was beyond a bound is told by a [`Mark`].
//!
//! What is not seen: text behind the first [`SCAN_BYTES_MAX`] octets or in images, links without `http://` or `www.`, what a
//! style sheet hides, what is inside archives.

mod attachments;
mod begins;
mod decode;
mod fields;
mod fingerprint;
mod html;
mod links;
mod marks;
mod parts;
#[cfg(test)]
mod tests;
mod writing;

pub use attachments::Attachment;
pub use begins::{each_word_begin, is_of_word};
pub use fingerprint::Fingerprint;
pub use links::{LINKS_MAX, Link, registrable};
pub use marks::{Mark, Marks};
pub use parts::{NESTING_MAX, PARTS_MAX};
pub use writing::{Scripts, Shape};

use crate::types::{Address, ByteCount, Timestamp};
use fields::{Encoding, header};
use links::Links;
use parts::{Leaf, leaves};
use std::borrow::Cow;

/// The beginning of a message.
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'t> {
    /// The whole text, or its first [`SCAN_BYTES_MAX`] octets.
    pub text: &'t [u8],
    /// How the text is written.
    pub form: Form,
    /// How long the whole text is.
    pub size: ByteCount,
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it goes over the wire: a dot more before each dot that begins a line (RFC 5321 §4.5.2).
    Stuffed,
    /// As its reader sees it.
    Plain,
}

/// What a message says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Everything that is true or not.
    pub marks: Marks,
    /// Whom the header names as its sender.
    pub authors: Authors,
    /// The subject, decoded; at most 300 characters.
    pub subject: String,
    /// The subject's fingerprint.
    pub subject_fingerprint: Option<Fingerprint>,
    /// The program that says it has made the message.
    pub mailer: Option<String>,
    /// The script that made the message, as PHP tells.
    pub origin: Option<Origin>,
    /// The date that the header tells, in UTC.
    pub date: Option<Timestamp>,
    /// Received fields.
    pub hops: u32,
    /// Addresses in To and Cc.
    pub recipients_shown: u32,
    /// What a reader sees of the text, plain parts and those in HTML one after the other; at most [`TEXT_BYTES_MAX`] octets.
    pub text: String,
    /// The text's fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// Scripts of the text.
    pub scripts: Scripts,
    /// Numbers of what the text is made of.
    pub shape: Shape,
    /// Hosts that the message links to, each once; at most [`LINKS_MAX`].
    pub links: Vec<Link>,
    /// How many links there are, also several to one host.
    pub links_count: u32,
    /// Attachments; at most 20.
    pub attachments: Vec<Attachment>,
    /// Parts that are no multiparts; at most [`PARTS_MAX`].
    pub parts: u32,
    /// How long the message is.
    pub size: ByteCount,
}

/// Whom a header names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authors {
    /// The addresses in From; at most 10.
    pub from: Vec<Address>,
    /// The display name of the first of them; at most 200 characters.
    pub name: Option<String>,
    /// The addresses in Reply-To; at most 10.
    pub reply_to: Vec<Address>,
    /// The address in Sender.
    pub sender: Option<Address>,
}

/// Which script made a message, as `X-PHP-Originating-Script` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The user id of the script's owner.
    pub owner: u32,
    /// The script's file name.
    pub script: String,
}

/// Reads a message.
#[must_use]
pub fn facts(excerpt: &Excerpt<'_>) -> Facts {
    let text = &excerpt.text[..excerpt.text.len().min(SCAN_BYTES_MAX)];
    let text = match excerpt.form {
        Form::Stuffed => unstuffed(text),
        Form::Plain => Cow::Borrowed(text),
    };
    let (header, body_at) = header(&text);
    let mut facts = Facts {
        marks: header.marks,
        subject_fingerprint: Fingerprint::of_line(&header.subject),
        authors: header.authors,
        subject: header.subject,
        mailer: header.mailer,
        origin: header.origin,
        date: header.date,
        hops: header.hops,
        recipients_shown: header.recipients_shown,
        size: excerpt.size,
        ..Facts::default()
    };
    let is_whole = excerpt.size.octets() <= excerpt.text.len() as u64;
    facts.marks.set_if(Mark::CutOff, !is_whole || excerpt.text.len() > SCAN_BYTES_MAX);
    let leaves = leaves(header.content, &text[body_at..], &mut facts.marks);
    facts.read_parts(&leaves);
    facts
}

impl Facts {
    fn read_parts(&mut self, leaves: &[Leaf<'_>]) {
        let mut links = Links::default();
        let mut kinds = Kinds::default();
        let mut room = DECODED_BYTES_MAX;
        self.parts = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
        for leaf in leaves {
            if leaf.is_text() {
                let text = self.decoded(leaf, &mut room);
                self.read_text(leaf, &text, &mut links, &mut kinds);
            } else if self.attachments.len() < ATTACHMENTS_MAX {
                let read = attachments::read(&leaf.content, leaf.body, &mut self.marks);
                self.attachments.push(read);
            }
        }
        self.marks.set_if(Mark::HtmlOnly, kinds.html && !kinds.plain);
        self.marks.set_if(Mark::NoText, self.text.trim().is_empty());
        self.fingerprint = Fingerprint::of(&self.text);
        (self.scripts, self.shape) = writing::read(&self.text, &mut self.marks);
        self.links = links.found;
        self.links_count = links.count;
    }

    fn read_text(&mut self, leaf: &Leaf<'_>, text: &str, links: &mut Links, kinds: &mut Kinds) {
        if leaf.content.kind == "text/html" {
            kinds.html = true;
            self.marks.set(Mark::Html);
            html::read(text, &mut self.text, links, &mut self.marks);
        } else {
            kinds.plain |= !text.trim().is_empty();
            links.add_from_text(text, &mut self.marks);
            text_room(&mut self.text, text);
        }
        text_room(&mut self.text, "\n");
    }

    /// The text of a part; `room` is how much more may be decoded.
    fn decoded<'t>(&mut self, leaf: &Leaf<'t>, room: &mut usize) -> Cow<'t, str> {
        let decoded = decode::octets(&leaf.content, leaf.body, *room);
        let is_ascii = decoded.as_ref().is_some_and(|octets| octets.is_ascii());
        let is_base64 = leaf.content.encoding == Encoding::Base64;
        self.marks.set_if(Mark::NeedlessBase64, is_ascii && is_base64);
        self.marks.set_if(Mark::BadEncoding, decoded.is_none());
        let octets = decoded.unwrap_or(Cow::Borrowed(&leaf.body[..leaf.body.len().min(*room)]));
        *room -= octets.len().min(*room);
        decode::text(&leaf.content, octets)
    }
}

impl Authors {
    /// True if the display name holds an address of another domain than the address itself: `"boss@firm.example" <x@free.example>`.
    fn name_shows_other_address(&self) -> bool {
        let shown = self.name.as_deref().unwrap_or_default();
        let mut words = shown.split(|c: char| c.is_whitespace() || "<>()[]\"',;:".contains(c));
        let own = self.from.first().map(domain_of);
        words.any(|word| {
            let domain = word.parse::<Address>().ok().map(|address| domain_of(&address));
            domain.is_some_and(|domain| domain.contains('.') && own.as_ref() != Some(&domain))
        })
    }

    /// True if some of these addresses are of other domains than From's.
    fn are_elsewhere(&self, others: &[Address]) -> bool {
        let own: Vec<String> = self.from.iter().map(domain_of).collect();
        others.iter().any(|other| !own.contains(&domain_of(other)))
    }
}

impl Leaf<'_> {
    fn is_text(&self) -> bool {
        let is_text = matches!(self.content.kind.as_str(), "" | "text/plain" | "text/html");
        is_text && !self.content.is_attached
    }
}

/// Which kinds of text there are.
#[derive(Default)]
struct Kinds {
    plain: bool,
    html: bool,
}

/// The registrable domain of an address.
fn domain_of(address: &Address) -> String {
    registrable(&address.domain().to_ascii_lowercase())
}

/// Appends as much of `more` as there is room for.
fn text_room(text: &mut String, more: &str) {
    let room = TEXT_BYTES_MAX.saturating_sub(text.len());
    text.push_str(&more[..more.floor_char_boundary(room)]);
}

/// Without the dots that were put before dots.
fn unstuffed(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.starts_with(b".") && memchr::memmem::find(text, b"\n.").is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        plain.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    Cow::Owned(plain)
}

/// How much of a message is looked at.
pub const SCAN_BYTES_MAX: usize = 1024 * 1024;
/// How much of its text is kept.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// How much of its text is decoded, tags and all.
const DECODED_BYTES_MAX: usize = 256 * 1024;
const ATTACHMENTS_MAX: usize = 20;
