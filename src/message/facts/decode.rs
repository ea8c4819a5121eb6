//! Bodies of parts as octets and as text: transfer encodings (RFC 2045 §6) and character sets, by mail-parser.

use super::fields::{Content, Encoding};
use mail_parser::{
    decoders::{base64::base64_decode, charsets::map::charset_decoder},
    parsers::MessageStream,
};
use std::borrow::Cow;

/// The first octets of a body, at most `bytes_max`; none if it is not what its header says.
pub(super) fn octets<'t>(
    content: &Content,
    body: &'t [u8],
    bytes_max: usize,
) -> Option<Cow<'t, [u8]>> {
    let head = |bytes: usize| &body[..body.len().min(bytes)];
    match content.encoding {
        Encoding::Plain => Some(Cow::Borrowed(head(bytes_max))),
        Encoding::Unknown => None,
        Encoding::QuotedPrintable => {
            let input = whole_escapes(head(bytes_max));
            let (read, decoded) = MessageStream::new(input).decode_quoted_printable_mime(b"");
            (read != usize::MAX).then_some(decoded)
        }
        Encoding::Base64 => {
            let input: Vec<u8> = head(bytes_max / 3 * 4)
                .iter()
                .copied()
                .filter(|octet| !octet.is_ascii_whitespace())
                .collect();
            base64_decode(&input[..input.len() / 4 * 4]).map(Cow::Owned)
        }
    }
}

/// Octets as text; those of a text are one nearly always, which is found out faster than what else they are.
pub(super) fn utf8(octets: &[u8]) -> Cow<'_, str> {
    str::from_utf8(octets).map_or_else(|_| String::from_utf8_lossy(octets), Cow::Borrowed)
}

/// Octets as text, by the character set that the header names; what does not fit is replaced.
pub(super) fn text<'t>(content: &Content, octets: Cow<'t, [u8]>) -> Cow<'t, str> {
    let charset = content.charset.as_deref().unwrap_or_default();
    let is_utf8 = charset.is_empty() || charset.eq_ignore_ascii_case("utf-8");
    if !is_utf8
        && !octets.is_ascii()
        && let Some(decode) = charset_decoder(charset.as_bytes())
    {
        return Cow::Owned(decode(&octets));
    }
    match octets {
        Cow::Borrowed(octets) => utf8(octets),
        Cow::Owned(octets) => {
            let lossy = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            Cow::Owned(String::from_utf8(octets).unwrap_or_else(|wrong| lossy(wrong.as_bytes())))
        }
    }
}

/// Without an escape that was cut in two.
fn whole_escapes(text: &[u8]) -> &[u8] {
    let tail = text.len().saturating_sub(2);
    memchr::memchr(b'=', &text[tail..]).map_or(text, |at| &text[..tail + at])
}
