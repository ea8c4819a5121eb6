//! Paths: what stands between `<` and `>` in MAIL and RCPT (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! Quoted local parts and address literals are known, source routes are taken off (RFC 5321 §3.3, appendix C), and nothing
//! that could end a command line or a log line gets through. Dots may stand anywhere in a local part, because mailboxes with
//! two dots in a row exist. An address is never rewritten: what was parsed is passed on as it was written.

use super::command::Offer;
use crate::types::{Address, ReversePath, is_visible};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Why a text is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is not in the form of RFC 5321.
    #[error("not in the form <user@domain>")]
    Syntax,
    /// It has no domain, and there is none of ours to complete it with.
    #[error("an address without a domain")]
    NoDomain,
    /// RFC 5321 §4.5.3.1.
    #[error("longer than RFC 5321 allows")]
    TooLong,
    /// It has characters outside ASCII and SMTPUTF8 was not asked for (RFC 6531 §3.3).
    #[error("not ASCII, and SMTPUTF8 was not asked for")]
    NotAscii,
}

/// Takes a path off the front of a text; returns it and what comes after its `>`.
///
/// # Errors
///
/// If the text does not begin with a path, or with one that `utf8` does not allow.
pub fn parse_path(text: &str, utf8: Offer) -> Result<(ReversePath, &str), PathError> {
    let inner = text.strip_prefix('<').ok_or(PathError::Syntax)?;
    if let Some(rest) = inner.strip_prefix('>') {
        return Ok((ReversePath::Null, rest));
    }
    let mailbox = skip_source_route(inner)?;
    let (local, rest) = mailbox.split_at(local_length(mailbox)?);
    if rest.starts_with('>') {
        return Err(PathError::NoDomain);
    }
    let domain_on = rest.strip_prefix('@').ok_or(PathError::Syntax)?;
    let (domain, rest) = domain_on.split_once('>').ok_or(PathError::Syntax)?;
    check_domain(domain)?;
    let written = &mailbox[..local.len() + 1 + domain.len()];
    if utf8 == Offer::No && !written.is_ascii() {
        return Err(PathError::NotAscii);
    }
    let address: Address = written.parse().map_err(|_| PathError::TooLong)?;
    Ok((ReversePath::Mailbox(address), rest))
}

/// `@relay.example,@other.example:` in front of the mailbox is to be ignored.
fn skip_source_route(text: &str) -> Result<&str, PathError> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    let (route, mailbox) = text.split_once(':').ok_or(PathError::Syntax)?;
    for hop in route.split(',') {
        check_domain(hop.strip_prefix('@').ok_or(PathError::Syntax)?)?;
    }
    Ok(mailbox)
}

/// The length in octets of the local part at the front of a text.
fn local_length(text: &str) -> Result<usize, PathError> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted_length(quoted).map(|length| length + 1),
        None => {
            let end = text.find(|c| !is_atom(c)).unwrap_or(text.len());
            if end == 0 { Err(PathError::Syntax) } else { Ok(end) }
        }
    }
}

/// The length of a quoted string up to and with its closing quote (RFC 5321 §4.1.2 `Quoted-string`).
fn quoted_length(quoted: &str) -> Result<usize, PathError> {
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if at == 0 => return Err(PathError::Syntax),
            '"' => return Ok(at + 1),
            '\\' => match chars.next() {
                Some((_, ' '..='~')) => {}
                _ => return Err(PathError::Syntax),
            },
            c if !is_visible(c) => return Err(PathError::Syntax),
            _ => {}
        }
    }
    Err(PathError::Syntax)
}

/// RFC 5321 `Atom` (RFC 5322 §3.2.3 `atext`) with dots, and RFC 6531 §3.3.
fn is_atom(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c)
    } else {
        is_visible(c) && !c.is_whitespace()
    }
}

fn check_domain(domain: &str) -> Result<(), PathError> {
    let fits = match domain.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']').is_some_and(is_address_literal),
        None => domain.split('.').all(is_label),
    };
    if fits { Ok(()) } else { Err(PathError::Syntax) }
}

/// RFC 5321 §4.1.3; no tag but `IPv6` was ever standardised.
fn is_address_literal(text: &str) -> bool {
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => text[5..].parse::<Ipv6Addr>().is_ok(),
        _ => text.parse::<Ipv4Addr>().is_ok(),
    }
}

/// A label of a host name; `_` is not in the RFC but in names that mail is sent to.
fn is_label(label: &str) -> bool {
    let good = |c: char| {
        if c.is_ascii() {
            c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
        } else {
            is_visible(c) && !c.is_whitespace()
        }
    };
    !label.is_empty()
        && (label.len() <= LABEL_BYTES_MAX || !label.is_ascii())
        && label.chars().all(good)
}

/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, &str), PathError>) {
        let got = parse_path(text, Offer::No).map(|(path, rest)| (path.to_string(), rest));
        assert_eq!(got, expected.map(|(path, rest)| (path.to_owned(), rest)), "{text:?}");
    }

    #[test]
    fn paths_are_taken_as_written() {
        check("<>", Ok(("", "")));
        check("<> SIZE=1", Ok(("", " SIZE=1")));
        check("<a@b>", Ok(("a@b", "")));
        check("<a.b+c@Shop.Example> X", Ok(("a.b+c@Shop.Example", " X")));
        check("<a..b.@b.example>", Ok(("a..b.@b.example", "")));
        check(r#"<"a b"@b>"#, Ok((r#""a b"@b"#, "")));
        check(r#"<"a>\"@"@b> x"#, Ok((r#""a>\"@"@b"#, " x")));
        check("<a@[192.0.2.1]>", Ok(("a@[192.0.2.1]", "")));
        check("<a@[IPv6:2001:db8::1]>", Ok(("a@[IPv6:2001:db8::1]", "")));
        check("<@x.example,@y:a@b>", Ok(("a@b", "")));
        check("<a@under_score.example>", Ok(("a@under_score.example", "")));
    }

    #[test]
    fn what_is_not_a_path_is_refused() {
        for wrong in [
            "",
            "<",
            "a@b",
            "<a@b",
            "<@b>",
            "<a@>",
            "<a b@c>",
            "<a@b c>",
            "<a@b@c>",
            "<a@b..c>",
            "<a@b.>",
            "<\"a@b>",
            "<\"\"@b>",
            "<\"a\"b@c>",
            "<a@[1.2.3]>",
            "<a@[x]>",
            "<a@[IPv6:zz]>",
            "<@x:>",
            "<x,@y:a@b>",
            "<a\t@b>",
            "<a,b@c>",
            "<a@b,c>",
            "<a\\@b>",
            "<\"a\u{7}\"@b>",
        ] {
            check(wrong, Err(PathError::Syntax));
        }
        check("<postmaster>", Err(PathError::NoDomain));
        check(&format!("<{}@b>", "x".repeat(65)), Err(PathError::TooLong));
        check(&format!("<a@{}b>", "x.".repeat(128)), Err(PathError::TooLong));
        check(&format!("<a@{}>", "x".repeat(64)), Err(PathError::Syntax));
    }

    #[test]
    fn utf8_needs_its_extension() {
        check("<é@b>", Err(PathError::NotAscii));
        check("<a@bücher.example>", Err(PathError::NotAscii));
        let (path, _) = parse_path("<é@bücher.example>", Offer::Yes).unwrap();
        assert_eq!(path.to_string(), "é@bücher.example");
        for joined in ["<نامه\u{200c}ای@b>", "<a@क\u{200d}ष>", "<\"é b\"@b>"] {
            assert!(parse_path(joined, Offer::Yes).is_ok(), "{joined:?}");
        }
    }

    /// Control characters, ends of line, what turns text round, what cannot be seen, blanks: in each place.
    #[test]
    fn no_utf8_hides_anything() {
        for c in [
            '\u{80}',
            '\u{85}',
            '\u{9f}',
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{feff}',
            '\u{fff9}',
            '\u{e0001}',
            '\u{e0041}',
        ] {
            for text in [format!("<a{c}@b>"), format!("<\"a{c}\"@b>"), format!("<a@b{c}.c>")] {
                assert_eq!(parse_path(&text, Offer::Yes), Err(PathError::Syntax), "{text:?}");
            }
            assert!(format!("a{c}@b").parse::<Address>().is_err());
        }
        for blank in ['\u{a0}', '\u{2003}', '\u{3000}'] {
            let text = format!("<a{blank}@b>");
            assert_eq!(parse_path(&text, Offer::Yes), Err(PathError::Syntax), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_octets_as_the_rfc_counts_them() {
        let domain = |length: usize| {
            "x.".repeat(length / 2 - 1) + if length.is_multiple_of(2) { "xx" } else { "xxx" }
        };
        assert_eq!((domain(255).len(), domain(254).len()), (255, 254));
        for (text, expected) in [
            (format!("<{}@b>", "x".repeat(64)), Ok(())),
            (format!("<{}@b>", "x".repeat(65)), Err(PathError::TooLong)),
            (format!("<{}@b>", "é".repeat(32)), Ok(())),
            (format!("<{}@b>", "é".repeat(33)), Err(PathError::TooLong)),
            (format!("<\"{}\"@b>", "x".repeat(62)), Ok(())),
            (format!("<\"{}\"@b>", "x".repeat(63)), Err(PathError::TooLong)),
            (format!("<a@{}>", domain(255)), Ok(())),
            (format!("<a@{}x>", domain(255)), Err(PathError::TooLong)),
            (format!("<a@{}>", "x".repeat(63)), Ok(())),
            (format!("<a@{}>", "x".repeat(64)), Err(PathError::Syntax)),
            (format!("<{}@b>", "x".repeat(998)), Err(PathError::TooLong)),
            (format!("<@{}:a@b>", domain(998)), Ok(())),
        ] {
            assert_eq!(parse_path(&text, Offer::Yes).map(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn literals_are_addresses_and_nothing_else() {
        for (literal, fits) in [
            ("[192.0.2.1]", true),
            ("[IPv6:2001:db8::1]", true),
            ("[ipv6:::ffff:192.0.2.1]", true),
            ("[192.0.2.256]", false),
            ("[192.0.2.01]", false),
            ("[192.0.2.1", false),
            ("192.0.2.1]", false),
            ("[2001:db8::1]", false),
            ("[IPv6:192.0.2.1]", false),
            ("[IPv6:fe80::1%eth0]", false),
            ("[x400:c=de]", false),
            ("[]", false),
            ("[192.0.2.1].example", false),
        ] {
            assert_eq!(parse_path(&format!("<a@{literal}>"), Offer::No).is_ok(), fits, "{literal}");
        }
    }
}
