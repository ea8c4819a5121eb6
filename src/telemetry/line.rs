//! One log line: `key=value` for people or a JSON object for programs, formatted by hand into a buffer.
//!
//! Values come from clients and next hops, so each is escaped: no value can end a line, add a key, move a terminal's
//! cursor or reverse the direction of writing. Long values are cut at [`VALUE_BYTES_MAX`]. Keys are constants of this crate.

use super::LogFormat;
use crate::types::Timestamp;
use ring::hmac;
use std::{fmt, io::Write, sync::Arc};

/// A line that is being written.
pub(super) struct Line<'a> {
    out: &'a mut Vec<u8>,
    second: &'a mut SecondText,
    format: LogFormat,
    first: bool,
    mask: Option<Arc<Mask>>,
}

/// Stands for addresses of recipients: the same for the same one, and nobody can read it back without the key and a guess.
pub struct Mask(hmac::Key);

impl Mask {
    /// Hashes under this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn of(&self, address: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"logged recipient\0");
        context.update(address.to_lowercase().as_bytes());
        let mut bits = [0; 8];
        bits.copy_from_slice(&context.sign().as_ref()[..8]);
        format!("{:016x}", u64::from_be_bytes(bits))
    }
}

impl<'a> Line<'a> {
    /// Begins a line with its time.
    pub(super) fn begin(
        out: &'a mut Vec<u8>,
        format: LogFormat,
        second: &'a mut SecondText,
        at: Timestamp,
    ) -> Self {
        let mut line = Self { out, second, format, first: true, mask: None };
        if format == LogFormat::Json {
            line.out.push(b'{');
        }
        line.moment("time", at);
        line
    }

    /// From here on recipients are hashed.
    pub(super) fn hide_recipients(&mut self, mask: Option<Arc<Mask>>) {
        self.mask = mask;
    }

    /// A recipient's address, or what stands for it, if there is one.
    pub(super) fn address_if(&mut self, key: &'static str, address: Option<&str>) {
        match (address, &self.mask) {
            (Some(address), Some(mask)) => self.text(key, &mask.clone().of(address)),
            (address, _) => self.text_if(key, address),
        }
    }

    /// Ends the line.
    pub(super) fn end(self) {
        self.out.extend_from_slice(match self.format {
            LogFormat::Json => b"}\n",
            LogFormat::Text => b"\n",
        });
    }

    /// A value that may hold anything.
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.value(value);
    }

    /// A value that may hold anything, if there is one.
    pub(super) fn text_if(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A constant of this crate, which needs no escaping.
    pub(super) fn word(&mut self, key: &'static str, word: &'static str) {
        self.key(key);
        self.quote_json();
        self.out.extend_from_slice(word.as_bytes());
        self.quote_json();
    }

    /// A number.
    pub(super) fn number(&mut self, key: &'static str, number: u64) {
        self.key(key);
        push_number(self.out, number);
    }

    /// A number with two digits after its point; nothing at all if it is none.
    pub(super) fn decimal(&mut self, key: &'static str, number: f64) {
        if number.is_finite() {
            self.key(key);
            // Writing to a vector cannot fail.
            let _ = write!(self.out, "{number:.2}");
        }
    }

    /// `true`, or nothing at all.
    pub(super) fn flag(&mut self, key: &'static str, set: Flag) {
        if set == Flag::Set {
            self.key(key);
            self.out.extend_from_slice(b"true");
        }
    }

    /// A value whose printed form has only letters, digits and `.:-[]%`: addresses of hosts.
    pub(super) fn bare(&mut self, key: &'static str, value: impl fmt::Display) {
        self.key(key);
        self.quote_json();
        // Writing to a vector cannot fail.
        let _ = write!(self.out, "{value}");
        self.quote_json();
    }

    /// A value that is formatted first and may then hold anything.
    pub(super) fn shown(&mut self, key: &'static str, value: impl fmt::Display) {
        self.text(key, &value.to_string());
    }

    /// A moment as RFC 3339 with milliseconds.
    pub(super) fn moment(&mut self, key: &'static str, at: Timestamp) {
        self.key(key);
        self.quote_json();
        self.second.push(self.out, at);
        self.quote_json();
    }

    /// A list of values: a JSON array, or one value with its elements apart by blanks.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        elements: impl IntoIterator<Item = T>,
        element: impl Fn(&mut Element<'_>, T),
    ) {
        self.key(key);
        let (open, between, close): (&[u8], &[u8], &[u8]) = match self.format {
            LogFormat::Json => (b"[", b",", b"]"),
            LogFormat::Text => (b"\"", b" ", b"\""),
        };
        self.out.extend_from_slice(open);
        for (index, value) in elements.into_iter().enumerate() {
            if index > 0 {
                self.out.extend_from_slice(between);
            }
            element(
                &mut Element { out: self.out, format: self.format, mask: self.mask.as_deref() },
                value,
            );
        }
        self.out.extend_from_slice(close);
    }

    fn key(&mut self, key: &'static str) {
        match (self.format, self.first) {
            (LogFormat::Json, true) => self.out.push(b'"'),
            (LogFormat::Json, false) => self.out.extend_from_slice(b",\""),
            (LogFormat::Text, true) => {}
            (LogFormat::Text, false) => self.out.push(b' '),
        }
        self.first = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(match self.format {
            LogFormat::Json => b"\":",
            LogFormat::Text => b"=",
        });
    }

    fn value(&mut self, value: &str) {
        let is_bare = self.format == LogFormat::Text
            && !value.is_empty()
            && value.len() <= VALUE_BYTES_MAX
            && value.bytes().all(|octet| BARE[usize::from(octet)]);
        if is_bare {
            self.out.extend_from_slice(value.as_bytes());
        } else {
            self.out.push(b'"');
            push_escaped(self.out, value);
            self.out.push(b'"');
        }
    }

    fn quote_json(&mut self) {
        if self.format == LogFormat::Json {
            self.out.push(b'"');
        }
    }
}

/// Whether a flag stands in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    /// It does.
    Set,
    /// It does not.
    Unset,
}

impl From<bool> for Flag {
    fn from(set: bool) -> Self {
        if set { Self::Set } else { Self::Unset }
    }
}

/// One element of a list.
pub(super) struct Element<'a> {
    out: &'a mut Vec<u8>,
    format: LogFormat,
    mask: Option<&'a Mask>,
}

impl Element<'_> {
    /// A value that may hold anything; in a line for people it ends with a semicolon.
    pub(super) fn text(&mut self, value: &str) {
        if self.format == LogFormat::Json {
            self.out.push(b'"');
            push_escaped(self.out, value);
            self.out.push(b'"');
        } else {
            push_escaped(self.out, value);
            self.out.push(b';');
        }
    }

    /// A recipient: `{"to":"b@x.example","code":250,"by":"next-hop"}`, or `b@x.example=250/next-hop`.
    pub(super) fn recipient(&mut self, address: &str, code: u16, by: &'static str) {
        let (before, middle, after): (&str, &str, &str) = match self.format {
            LogFormat::Json => ("{\"to\":\"", "\",\"code\":", ",\"by\":\""),
            LogFormat::Text => ("", "=", "/"),
        };
        self.out.extend_from_slice(before.as_bytes());
        match self.mask {
            Some(mask) => self.out.extend_from_slice(mask.of(address).as_bytes()),
            None => push_escaped(self.out, address),
        }
        self.out.extend_from_slice(middle.as_bytes());
        push_number(self.out, u64::from(code));
        self.out.extend_from_slice(after.as_bytes());
        self.out.extend_from_slice(by.as_bytes());
        if self.format == LogFormat::Json {
            self.out.extend_from_slice(b"\"}");
        }
    }
}

/// The text of the current second, so that only milliseconds are formatted for each line.
#[derive(Default)]
pub(super) struct SecondText {
    second: Option<i64>,
    text: String,
}

impl SecondText {
    fn push(&mut self, out: &mut Vec<u8>, at: Timestamp) {
        let second = at.as_millis().div_euclid(1000);
        if self.second != Some(second) {
            self.text = Timestamp::from_millis(second * 1000).to_string();
            self.second = Some(second);
        }
        let Some(whole) = self.text.strip_suffix("000Z") else {
            // Outside the years that have four digits.
            out.extend_from_slice(self.text.as_bytes());
            return;
        };
        out.extend_from_slice(whole.as_bytes());
        let millis = at.as_millis().rem_euclid(1000);
        for digit in [millis / 100, millis / 10 % 10, millis % 10] {
            out.push(b'0' + u8::try_from(digit).unwrap_or(0));
        }
        out.push(b'Z');
    }
}

/// Escapes as JSON does, and further what could move a terminal's cursor or reverse the direction of writing.
fn push_escaped(out: &mut Vec<u8>, value: &str) {
    let shown = shortened(value);
    if shown.bytes().all(|octet| PLAIN[usize::from(octet)]) {
        out.extend_from_slice(shown.as_bytes());
    } else {
        for c in shown.chars() {
            push_char(out, c);
        }
    }
    if shown.len() < value.len() {
        out.extend_from_slice("…".as_bytes());
    }
}

fn push_char(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        c if is_hidden(c) => {
            // Every hidden character is in the basic plane, so four digits hold it. Writing to a vector cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Controls (C0, DEL, C1), line and paragraph separators, marks and overrides of direction (Unicode TR 9), BOM.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn shortened(value: &str) -> &str {
    let mut end = value.len().min(VALUE_BYTES_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Octets that stand in a quoted value as they are.
const fn is_plain(octet: u8) -> bool {
    matches!(octet, b' '..=b'~') && octet != b'"' && octet != b'\\'
}

/// Octets that need no quotes around them in the text form.
const fn is_bare(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'-' | b'_' | b'.' | b':' | b'/' | b'@' | b'+' | b'[' | b']' | b'%' | b'#'
        )
}

/// A table is several times as fast as the comparisons, and every octet of the log is looked up.
const PLAIN: [bool; 256] = table(Kind::Plain);
const BARE: [bool; 256] = table(Kind::Bare);

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Bare,
}

const fn table(kind: Kind) -> [bool; 256] {
    let mut table = [false; 256];
    let mut octet: u8 = 0;
    while octet < 128 {
        table[octet as usize] = match kind {
            Kind::Plain => is_plain(octet),
            Kind::Bare => is_bare(octet),
        };
        octet += 1;
    }
    table
}

/// The octets of one value that are written.
const VALUE_BYTES_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: LogFormat, fill: impl FnOnce(&mut Line<'_>)) -> String {
        let (mut out, mut second) = (Vec::new(), SecondText::default());
        let at = "2026-11-22T09:14:07.042Z".parse().unwrap();
        let mut line = Line::begin(&mut out, format, &mut second, at);
        fill(&mut line);
        line.end();
        String::from_utf8(out).unwrap()
    }

    fn check(value: &str, text: &str, json: &str) {
        let line = written(LogFormat::Text, |line| line.text("k", value));
        assert_eq!(line, format!("time=2026-11-22T09:14:07.042Z k={text}\n"), "{value:?}");
        let line = written(LogFormat::Json, |line| line.text("k", value));
        assert_eq!(line, format!("{{\"time\":\"2026-11-22T09:14:07.042Z\",\"k\":{json}}}\n"));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["k"], value, "a JSON reader gets back what was logged");
    }

    #[test]
    fn no_value_escapes_from_its_place() {
        check("a@shop.example", "a@shop.example", r#""a@shop.example""#);
        check("", r#""""#, r#""""#);
        check("two words", r#""two words""#, r#""two words""#);
        check("x=1 event=sent", r#""x=1 event=sent""#, r#""x=1 event=sent""#);
        check("a\r\nevent=sent", r#""a\r\nevent=sent""#, r#""a\r\nevent=sent""#);
        check("\"},{\"", r#""\"},{\"""#, r#""\"},{\"""#);
        check("back\\slash", r#""back\\slash""#, r#""back\\slash""#);
        check(
            "\u{1b}[2J\u{7f}\u{9b}0m",
            r#""\u001b[2J\u007f\u009b0m""#,
            r#""\u001b[2J\u007f\u009b0m""#,
        );
        check("\u{202e}gpj.exe\u{2028}", r#""\u202egpj.exe\u2028""#, r#""\u202egpj.exe\u2028""#);
        check("jürgen@example", r#""jürgen@example""#, r#""jürgen@example""#);
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        let line = written(LogFormat::Text, |line| line.text("k", &"é".repeat(5_000)));
        assert!(line.ends_with("é…\"\n") && line.len() < VALUE_BYTES_MAX + 100, "{}", line.len());
    }

    #[test]
    fn numbers_and_moments_are_written_whole() {
        let line = written(LogFormat::Text, |line| {
            line.decimal("score", -7.456);
            line.decimal("none", f64::INFINITY);
            line.number("zero", 0);
            line.number("max", u64::MAX);
            line.moment("then", Timestamp::from_millis(-1));
            line.moment("far", Timestamp::from_millis(i64::MAX / 2));
        });
        assert!(line.contains(
            " score=-7.46 zero=0 max=18446744073709551615 then=1969-12-31T23:59:59.999Z far=@"
        ));
    }
}
