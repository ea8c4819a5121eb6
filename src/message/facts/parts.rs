//! The parts of a message (RFC 2046), told apart in one pass over its lines.
//!
//! Nesting is a stack of boundaries, not recursion. What is beyond the bounds is marked and not looked at.

use super::{
    Mark, Marks,
    fields::{Content, part_header},
};
use memchr::memmem;

/// A part that is no multipart.
#[derive(Debug)]
pub(super) struct Leaf<'t> {
    pub(super) content: Content,
    pub(super) body: &'t [u8],
}

/// The parts of a body under a header that says what it is.
pub(super) fn leaves<'t>(content: Content, body: &'t [u8], marks: &mut Marks) -> Vec<Leaf<'t>> {
    let mut walk = Walk { text: body, open: Vec::new(), leaves: Vec::new(), leaf: None, marks };
    walk.begin(content, 0);
    let mut ended = 0;
    for at in delimiters(body) {
        if at >= ended {
            ended = walk.meet(at);
        }
        if walk.leaves.len() >= PARTS_MAX {
            walk.marks.set(Mark::PartsUncounted);
            walk.leaf = None;
            break;
        }
    }
    walk.finish()
}

struct Walk<'t, 'm> {
    text: &'t [u8],
    /// Boundaries of the multiparts that are open, the outermost first.
    open: Vec<String>,
    leaves: Vec<Leaf<'t>>,
    /// The leaf that is open, and where its body begins.
    leaf: Option<(Content, usize)>,
    marks: &'m mut Marks,
}

impl<'t> Walk<'t, '_> {
    /// Begins the part whose header says `content` and whose body begins at `at`; returns where it does after all.
    fn begin(&mut self, content: Content, at: usize) -> usize {
        let is_multipart = content.kind.starts_with("multipart/");
        let is_message = matches!(content.kind.as_str(), "message/rfc822" | "message/global");
        self.mark(&content.kind);
        match content.boundary {
            Some(boundary) if is_multipart && self.open.len() < NESTING_MAX => {
                self.open.push(boundary);
            }
            boundary if is_multipart => {
                let reason = boundary.map_or(Mark::BrokenMultipart, |_| Mark::TooDeep);
                self.marks.set(reason);
                self.leaf = Some((Content::default(), at));
            }
            _ if is_message && self.leaves.len() < MESSAGES_MAX => return self.begin_message(at),
            boundary => self.leaf = Some((Content { boundary, ..content }, at)),
        }
        at
    }

    /// A message within the message: its own header says what its body is.
    fn begin_message(&mut self, at: usize) -> usize {
        let (content, body_at) = self.header_at(at);
        if content.kind.starts_with("message/") {
            // A message in a message in a message is not gone into.
            self.leaf = Some((Content::default(), body_at));
            return body_at;
        }
        self.begin(content, body_at)
    }

    /// Looks at the line at `at`, which begins with two hyphens; returns from where on to look further.
    fn meet(&mut self, at: usize) -> usize {
        let line = self.line_at(at);
        let inside = line[2..].trim_ascii_end();
        let opens = |boundary: &String| inside == boundary.as_bytes();
        let closes = |boundary: &String| {
            inside.strip_suffix(b"--").is_some_and(|inside| inside == boundary.as_bytes())
        };
        let Some(depth) = self.open.iter().rposition(|b| opens(b) || closes(b)) else {
            return at;
        };
        self.end_leaf(at);
        self.marks.set_if(Mark::BrokenMultipart, depth + 1 < self.open.len());
        let is_end = !opens(&self.open[depth]);
        self.open.truncate(if is_end { depth } else { depth + 1 });
        if is_end {
            return at + line.len();
        }
        let (content, body_at) = self.header_at(at + line.len());
        self.begin(content, body_at)
    }

    fn header_at(&self, at: usize) -> (Content, usize) {
        let rest = &self.text[at..];
        let rest = &rest[..rest.len().min(PART_HEADER_BYTES_MAX)];
        // A header that is not ended by an empty line is ended by the next boundary.
        let end = delimiters(rest).next().unwrap_or(rest.len());
        let (content, body_at) = part_header(&rest[..end]);
        (content, at + body_at)
    }

    fn end_leaf(&mut self, at: usize) {
        if let Some((content, begin)) = self.leaf.take() {
            let body = &self.text[begin.min(at)..at];
            // The line end before a boundary belongs to the boundary (RFC 2046 §5.1.1).
            let body = body.strip_suffix(b"\n").unwrap_or(body);
            let body = body.strip_suffix(b"\r").unwrap_or(body);
            self.leaves.push(Leaf { content, body });
        }
    }

    fn finish(mut self) -> Vec<Leaf<'t>> {
        self.end_leaf(self.text.len());
        let is_cut = self.marks.has(Mark::CutOff) || self.marks.has(Mark::PartsUncounted);
        self.marks.set_if(Mark::BrokenMultipart, !self.open.is_empty() && !is_cut);
        self.leaves
    }

    fn mark(&mut self, kind: &str) {
        let encrypted = [
            "multipart/encrypted",
            "application/pkcs7-mime",
            "application/x-pkcs7-mime",
            "application/pgp-encrypted",
        ];
        self.marks.set_if(Mark::Encrypted, encrypted.contains(&kind));
        self.marks.set_if(Mark::Calendar, kind == "text/calendar");
    }

    fn line_at(&self, at: usize) -> &'t [u8] {
        let rest = &self.text[at..];
        &rest[..memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)]
    }
}

/// Where the lines begin that begin with two hyphens.
fn delimiters(text: &[u8]) -> impl Iterator<Item = usize> {
    let first = text.starts_with(b"--").then_some(0);
    first.into_iter().chain(memmem::find_iter(text, b"\n--").map(|at| at + 1))
}

/// How many parts are looked at.
pub const PARTS_MAX: usize = 100;
/// How deep multiparts are gone into.
pub const NESTING_MAX: usize = 8;
/// Messages within the message are gone into as long as there are fewer parts than this.
const MESSAGES_MAX: usize = 20;
const PART_HEADER_BYTES_MAX: usize = 8 * 1024;
