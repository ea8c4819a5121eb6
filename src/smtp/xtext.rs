//! xtext: how DSN, AUTH= and XCLIENT put any text into a parameter (RFC 3461 §4).
//!
//! `+` and two hexadecimal digits stand for an octet; printable ASCII other than `+` and `=` stands for itself. Nothing here
//! limits lengths: whoever calls does.

/// The octets that an xtext stands for; none if it is not xtext.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        octets.push(match byte {
            b'+' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            b'=' => return None,
            b'!'..=b'~' => byte,
            _ => return None,
        });
    }
    Some(octets)
}

/// The text that an xtext stands for; none if it is not xtext, not UTF-8, or has control characters in it.
#[must_use]
pub fn decode_text(text: &str) -> Option<String> {
    let decoded = String::from_utf8(decode(text)?).ok()?;
    (!decoded.chars().any(char::is_control)).then_some(decoded)
}

/// Writes octets as xtext.
pub fn encode(octets: &[u8], out: &mut Vec<u8>) {
    for &byte in octets {
        if matches!(byte, b'!'..=b'~') && !matches!(byte, b'+' | b'=') {
            out.push(byte);
        } else {
            out.extend([b'+', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// RFC 3461 §4 wants capitals.
const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_is_read_and_written() {
        for (xtext, text) in [
            ("", ""),
            ("a@b.example", "a@b.example"),
            ("e+3Dmc2@x+2Bz", "e=mc2@x+z"),
            ("caf+C3+A9+20x", "café x"),
        ] {
            assert_eq!(decode_text(xtext).as_deref(), Some(text), "{xtext}");
            let mut written = Vec::new();
            encode(text.as_bytes(), &mut written);
            assert_eq!(written, xtext.as_bytes(), "{text}");
        }
        for wrong in ["a=b", "a+", "a+4", "a+GG", "a b", "é", "+0A", "+00", "+FF"] {
            assert_eq!(decode_text(wrong), None, "{wrong}");
        }
    }
}
