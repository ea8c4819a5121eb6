//! Fields of a header block (RFC 5322 §2.2), found in the dot-stuffed text.
//!
//! The scanner is deliberately generous about what a field is: white space before the colon (RFC 5322 §4.5.8), a line
//! that is no field, a needless dot before a name. Whoever hides an identity field from this scanner would show it to
//! the next reader. It never copies the block and never looks beyond [`HEADER_SCAN_BYTES_MAX`].

use crate::event::Evidence;
use memchr::memchr;
use std::ops::Range;

/// How much of a text is searched for its header; Postfix's `header_size_limit` is 100 KiB.
pub const HEADER_SCAN_BYTES_MAX: usize = 128 * 1024;

/// The number of Received fields: how often the message was handed on (RFC 5321 §6.3).
#[must_use]
pub fn received_count(head: &[u8]) -> usize {
    Fields::new(head).filter(|field| field.is_named("Received")).count()
}

/// The octets of `head` that hold identity fields of the kinds that are unwanted, with their line ends: sorted, apart, whole
/// lines.
#[must_use]
pub fn cuts_of_identity_fields(
    head: &[u8],
    unwanted: impl Fn(Evidence) -> bool,
) -> Vec<Range<u64>> {
    let mut cuts: Vec<Range<u64>> = Vec::new();
    let names: Vec<&str> =
        IDENTITY_FIELDS.iter().filter(|(_, kind)| unwanted(*kind)).map(|(name, _)| *name).collect();
    let is_cut = |field: &Field<'_>| names.iter().any(|name| field.is_named(name));
    for range in Fields::new(head).filter(is_cut).map(|field| field.range()) {
        match cuts.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => cuts.push(range),
        }
    }
    cuts
}

/// True if the text begins with a line that would continue a field above it. There is none, so such a text has no header
/// (RFC 5322 §2.2.3), and a field that is put on top of it must be ended by an empty line.
#[must_use]
pub fn begins_with_continuation(head: &[u8]) -> bool {
    matches!(unstuffed(head), [b' ' | b'\t', ..])
}

/// The header's fields from the top.
pub(super) struct Fields<'a> {
    head: &'a [u8],
    at: usize,
    ended: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(head: &'a [u8]) -> Self {
        let scanned = &head[..head.len().min(HEADER_SCAN_BYTES_MAX)];
        Self { head: scanned, at: 0, ended: begins_with_continuation(head) }
    }

    /// True if everything was seen: the empty line after the header, or a text that is shorter than what is searched.
    /// Meaningful after the last field.
    pub(super) fn is_complete(&self) -> bool {
        self.ended || self.head.len() < HEADER_SCAN_BYTES_MAX
    }

    /// Where the body begins. Meaningful after the last field.
    pub(super) fn body_at(&self) -> usize {
        match self.line_at(self.at) {
            line @ (b"\r\n" | b"\n") => self.at + line.len(),
            _ => self.at,
        }
    }

    fn line_at(&self, at: usize) -> &'a [u8] {
        let rest = &self.head[at..];
        &rest[..memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1)]
    }

    fn continues_at(&self, at: usize) -> bool {
        matches!(unstuffed(self.line_at(at)), [b' ' | b'\t', ..])
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if self.ended {
            return None;
        }
        let start = self.at;
        let first = self.line_at(start);
        self.ended |= matches!(first, b"\r\n" | b"\n");
        if self.ended || first.is_empty() {
            return None;
        }
        self.at += first.len();
        while self.at < self.head.len() && self.continues_at(self.at) {
            self.at += self.line_at(self.at).len();
        }
        Some(Field { raw: &self.head[start..self.at], start })
    }
}

/// One field with its continuation lines, as it came.
pub(super) struct Field<'a> {
    raw: &'a [u8],
    start: usize,
}

impl Field<'_> {
    /// True if the field has this name, in any case.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.split().is_some_and(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The unfolded value (RFC 5322 §2.2.3) without surrounding white space; none if it is not UTF-8.
    pub(super) fn value(&self) -> Option<String> {
        let (_, raw) = self.split()?;
        let mut value = Vec::with_capacity(raw.len());
        for (number, line) in raw.split_inclusive(|&b| b == b'\n').enumerate() {
            let line = if number == 0 { line } else { unstuffed(line) };
            value.extend(line.iter().filter(|b| !matches!(b, b'\r' | b'\n')));
        }
        String::from_utf8(value).ok().map(|value| value.trim().to_owned())
    }

    fn range(&self) -> Range<u64> {
        let octets = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        octets(self.start)..octets(self.start + self.raw.len())
    }

    /// The name, and the value with its line ends; none of a line that is no field.
    pub(super) fn split(&self) -> Option<(&[u8], &[u8])> {
        let text = unstuffed(self.raw);
        let colon = memchr(b':', text)?;
        // Whoever reads it with isspace(3) takes more than blanks for white space.
        let blanks = text[..colon].iter().rev().take_while(|octet| **octet <= b' ').count();
        Some((&text[..colon - blanks], &text[colon + 1..]))
    }
}

/// The line as the next reader sees it: a leading dot goes (RFC 5321 §4.5.2).
fn unstuffed(line: &[u8]) -> &[u8] {
    line.strip_prefix(b".").unwrap_or(line)
}

/// Fields that name a sender to whoever trusts the host.
const IDENTITY_FIELDS: [(&str, Evidence); 3] = [
    (X_AUTH_USER, Evidence::XAuthUser),
    (X_AUTHENTICATED_SENDER, Evidence::XAuthenticatedSender),
    (X_PHP_SCRIPT, Evidence::PhpScript),
];

pub(super) const X_AUTH_USER: &str = "X-AuthUser";
pub(super) const X_AUTHENTICATED_SENDER: &str = "X-Authenticated-Sender";
pub(super) const X_PHP_SCRIPT: &str = "X-PHP-Originating-Script";

#[cfg(test)]
mod tests {
    use super::*;

    fn without_cuts(head: &str) -> String {
        let mut rest = head.as_bytes().to_vec();
        for cut in cuts_of_identity_fields(head.as_bytes(), |_| true).into_iter().rev() {
            rest.drain(usize::try_from(cut.start).unwrap()..usize::try_from(cut.end).unwrap());
        }
        String::from_utf8(rest).unwrap()
    }

    #[test]
    fn identity_fields_are_cut_as_whole_lines() {
        for (before, after) in [
            ("Subject: a\r\n\r\nX-AuthUser: body\r\n", "Subject: a\r\n\r\nX-AuthUser: body\r\n"),
            ("A: 1\r\nX-AuthUser: a@b\r\nB: 2\r\n\r\n", "A: 1\r\nB: 2\r\n\r\n"),
            ("x-authuser : a\r\n\tb\r\n c\r\nB: 2\r\n\r\nbody\r\n", "B: 2\r\n\r\nbody\r\n"),
            ("A: 1\r\n..B: 2\r\n.X-AuthUser: a\r\n.\tb\r\nC: 3\r\n", "A: 1\r\n..B: 2\r\nC: 3\r\n"),
            (
                "X-PHP-Originating-Script: 7:a.php\r\nX-Authenticated-Sender: a\r\nX-AuthUsers: x\r\n",
                "X-AuthUsers: x\r\n",
            ),
            ("no field\r\nX-AuthUser: a\r\n", "no field\r\n"),
            ("X-AuthUser\x0b: a\r\nX-AuthUser\r\n : b\r\nB: 2\r\n", "B: 2\r\n"),
            (" : a\r\nX-AuthUser: b\r\n", " : a\r\nX-AuthUser: b\r\n"),
            ("X-AuthUser: a", ""),
            ("", ""),
        ] {
            assert_eq!(without_cuts(before), after, "{before:?}");
        }
    }

    #[test]
    fn neighbouring_cuts_become_one() {
        let head = b"A: 1\r\nX-AuthUser: a\r\nX-Authenticated-Sender: b\r\n\r\n";
        let cuts = cuts_of_identity_fields(head, |_| true);
        assert_eq!((cuts.len(), cuts.first()), (1, Some(&(6..48))));
        let cuts = cuts_of_identity_fields(head, |kind| kind == Evidence::XAuthUser);
        assert_eq!((cuts.len(), cuts.first()), (1, Some(&(6..21))));
    }

    #[test]
    fn a_text_that_begins_with_a_blank_has_no_header() {
        for head in [" x\r\nReceived: a\r\n", "\tx\r\nReceived: a\r\n", ". x\r\nReceived: a\r\n"] {
            assert!(begins_with_continuation(head.as_bytes()), "{head:?}");
            assert_eq!(received_count(head.as_bytes()), 0, "{head:?}");
        }
        for head in ["", "x\r\n y\r\n", "\r\n y\r\n", ".x\r\n"] {
            assert!(!begins_with_continuation(head.as_bytes()), "{head:?}");
        }
    }

    #[test]
    fn hops_are_counted_in_the_header_only() {
        let head = b"Received: from a\r\n\tby b\r\nreceived: x\r\nSubject: Received: no\r\n\r\nReceived: body\r\n";
        assert_eq!(received_count(head), 2);
        assert_eq!(received_count(b""), 0);
    }

    #[test]
    fn nothing_is_read_beyond_the_bound() {
        let mut head = b"Received: a\r\n".repeat(HEADER_SCAN_BYTES_MAX / 13 + 10);
        head.extend_from_slice(b"\r\n");
        assert!(received_count(&head) <= HEADER_SCAN_BYTES_MAX / 13 + 1);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_split_without_loss(head in proptest::collection::vec(
            proptest::sample::select(b"aX:. \t\r\n\xff".to_vec()), 0..200)) {
            let mut fields = Fields::new(&head);
            let mut end = 0;
            for field in fields.by_ref() {
                let range = field.range();
                assert_eq!(range.start, end);
                assert!(range.end > range.start);
                end = range.end;
                let _ = field.value();
            }
            assert_eq!(usize::try_from(end).unwrap(), fields.at);
            assert!(end == 0 || !begins_with_continuation(&head));
        }
    }
}
