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

/// Octets as text, by the character set that the header names; what does not fit is replaced.
pub(super) fn text(content: &Content, octets: &[u8]) -> String {
    let charset = content.charset.as_deref().unwrap_or_default();
    let is_utf8 = charset.is_empty() || charset.eq_ignore_ascii_case("utf-8");
    match (str::from_utf8(octets), charset_decoder(charset.as_bytes())) {
        (Ok(text), _) if is_utf8 || octets.is_ascii() => text.to_owned(),
        (_, Some(decode)) if !is_utf8 => decode(octets),
        _ => String::from_utf8_lossy(octets).into_owned(),
    }
}

/// Without an escape that was cut in two.
fn whole_escapes(text: &[u8]) -> &[u8] {
    let tail = text.len().saturating_sub(2);
    memchr::memchr(b'=', &text[tail..]).map_or(text, |at| &text[..tail + at])
}
