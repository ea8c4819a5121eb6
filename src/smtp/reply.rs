//! Replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034, RFC 3463).

use crate::types::is_visible;
use std::{borrow::Cow, fmt};

/// One reply: a code, an enhanced status where there is one, and one or more lines of text without CR, LF or NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: Option<Cow<'static, str>>,
    lines: Vec<Cow<'static, str>>,
}

impl Reply {
    /// A reply of one line. `status` is the enhanced code such as `4.7.1`, or empty where none belongs (220, 354, EHLO).
    #[must_use]
    pub fn new(code: u16, status: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        let status = (!status.is_empty()).then_some(Cow::Borrowed(status));
        Self { code, status, lines: vec![printable(text.into())] }
    }

    /// A reply as it was read from a next hop: the enhanced status, if any, taken from its first line. What no reply may
    /// hold (RFC 5321 §4.2: all but printable ASCII) becomes `?`, and a text beyond [`RECEIVED_BYTES_MAX`] is cut.
    #[must_use]
    pub fn received(code: u16, status: Option<String>, lines: Vec<String>) -> Self {
        let mut room = RECEIVED_BYTES_MAX;
        let mut kept = Vec::with_capacity(lines.len().min(4));
        for line in lines {
            let mut line: String = line.chars().map(plain).collect();
            if line.len() > room {
                line.truncate(room);
                line.push_str("...");
                kept.push(Cow::Owned(line));
                break;
            }
            room -= line.len();
            kept.push(Cow::Owned(line));
        }
        Self { code, status: status.map(Cow::Owned), lines: kept }
    }

    /// A reply of several lines, such as the answer to EHLO.
    #[must_use]
    pub fn multi(code: u16, lines: Vec<Cow<'static, str>>) -> Self {
        Self { code, status: None, lines: lines.into_iter().map(printable).collect() }
    }

    /// The three digits.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status, such as `4.7.1`.
    #[must_use]
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// The text of the lines, joined by blanks.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    /// True of 2xx.
    #[must_use]
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// True of 4xx: the client may try again.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// True of 5xx: the client must not try again.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Writes the reply as it goes over the wire, each line ended by CRLF and no longer than RFC 5321 §4.5.3.1.5 allows
    /// (512 octets); what is longer goes on in a further line.
    pub fn write_to(&self, out: &mut impl Extend<u8>) {
        let status_bytes = self.status.as_ref().map_or(0, |status| status.len() + 1);
        let room = LINE_BYTES_MAX - "250-".len() - "\r\n".len() - status_bytes;
        let mut pieces: Vec<&str> =
            self.lines.iter().flat_map(|line| pieces_of(line, room)).collect();
        if pieces.is_empty() {
            pieces.push("");
        }
        let last = pieces.len() - 1;
        for (index, piece) in pieces.into_iter().enumerate() {
            let mark = if index == last { ' ' } else { '-' };
            out.extend(format!("{:03}{mark}", self.code).into_bytes());
            if let Some(status) = &self.status {
                out.extend(status.bytes().chain([b' ']));
            }
            out.extend(piece.bytes().chain(*b"\r\n"));
        }
    }
}

/// The reply in one line, as it stands in logs: `450 4.7.1 text`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.code)?;
        if let Some(status) = &self.status {
            write!(f, " {status}")?;
        }
        write!(f, " {}", self.text())
    }
}

/// Cuts a text into pieces of at most `room` octets at character borders.
fn pieces_of(mut text: &str, room: usize) -> Vec<&str> {
    let mut pieces = Vec::with_capacity(1);
    while text.len() > room {
        let cut = (1..=room).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
        let (piece, rest) = text.split_at(cut);
        pieces.push(piece);
        text = rest;
    }
    pieces.push(text);
    pieces
}

/// Replaces what would break a line or a terminal by `?`, so that an echoed text cannot forge a reply.
fn printable(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.chars().all(is_visible) {
        text
    } else {
        Cow::Owned(text.chars().map(|c| if is_visible(c) { c } else { '?' }).collect())
    }
}

/// A character as a next hop's reply may show it to a client that did not ask for more than ASCII.
const fn plain(c: char) -> char {
    match c {
        ' '..='~' => c,
        '\t' => ' ',
        _ => '?',
    }
}

/// Octets of a next hop's text that are passed on.
pub const RECEIVED_BYTES_MAX: usize = 1500;
/// RFC 5321 §4.5.3.1.5, with the CRLF.
const LINE_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reply: &Reply, wire: &str) {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), wire);
    }

    #[test]
    fn replies_are_written_as_the_rfc_says() {
        check(&Reply::new(250, "2.1.0", "sender ok"), "250 2.1.0 sender ok\r\n");
        check(&Reply::new(354, "", "go ahead"), "354 go ahead\r\n");
        check(
            &Reply::multi(250, vec!["gate".into(), "SIZE 10".into()]),
            "250-gate\r\n250 SIZE 10\r\n",
        );
        check(&Reply::new(550, "5.7.1", "no\r\n250 ok"), "550 5.7.1 no??250 ok\r\n");
        check(&Reply::new(550, "5.7.1", "a\u{2028}\u{202e}\u{85}\0b\r"), "550 5.7.1 a????b?\r\n");
        check(
            &Reply::received(550, Some("5.7.1".into()), vec!["a\rb".into(), "c\n250 d".into()]),
            "550-5.7.1 a?b\r\n550 5.7.1 c?250 d\r\n",
        );
    }

    #[test]
    fn a_next_hops_text_is_plain_and_short() {
        let received = |lines: &[&str]| {
            Reply::received(550, None, lines.iter().map(ToString::to_string).collect()).text()
        };
        assert_eq!(received(&["a\tb\r\x1b[2J \u{e9}\u{2028}", "c"]), "a b??[2J ?? c");
        let (exact, more) = ("x".repeat(RECEIVED_BYTES_MAX), "x".repeat(RECEIVED_BYTES_MAX - 1));
        assert_eq!(received(&[&exact]), exact);
        assert_eq!(received(&[&more, "yz", "never"]), format!("{more} y..."));
        assert_eq!(received(&[&exact, "", "y", "z"]), format!("{exact}  ..."));
    }

    #[test]
    fn a_long_reply_is_folded_at_character_borders() {
        let mut out = Vec::new();
        Reply::new(550, "5.7.1", "é".repeat(600)).write_to(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.lines().count() == 3 && text.split_inclusive("\r\n").all(|line| line.len() <= 512)
        );
        assert!(
            text.starts_with("550-5.7.1 é")
                && text.lines().last().unwrap().starts_with("550 5.7.1 é")
        );
    }
}
