//! What a reply on the wire must look like, and which ones the documentation knows.

use std::{collections::BTreeSet, sync::LazyLock};

/// Every text of the tables in docs/smtp-replies.md that is one whole reply.
static DOCUMENTED: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let rows = include_str!("../../docs/smtp-replies.md").lines();
    let found: BTreeSet<&str> =
        rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    assert!(found.len() > 40, "the documentation has another form now");
    found
});

/// Splits what was sent into replies, each a list of lines without line ends. Panics unless each is well-formed: CRLF only,
/// one code, at most 512 octets in a line, nothing that splits a line or paints a terminal (RFC 5321 §4.2, §4.5.3.1.5).
pub fn split(sent: &[u8]) -> Vec<Vec<&str>> {
    let text = str::from_utf8(sent).unwrap();
    assert!(text.is_empty() || text.ends_with("\r\n"), "half a reply: {text:?}");
    let (mut replies, mut lines) = (Vec::new(), Vec::new());
    for line in text.split_terminator("\r\n") {
        assert!(line.len() <= 510 && !line.contains(char::is_control), "{line:?}");
        let first = *lines.first().unwrap_or(&line);
        assert_eq!(code(line), code(first), "two codes in one reply: {text:?}");
        lines.push(line);
        match line.as_bytes()[3] {
            b'-' => {}
            b' ' => replies.push(std::mem::take(&mut lines)),
            other => panic!("no mark behind the code: {other:?} in {text:?}"),
        }
    }
    assert!(lines.is_empty(), "a reply without its last line: {text:?}");
    replies
}

/// The three digits of a line.
pub fn code(line: &str) -> u16 {
    let code: u16 = line[..3].parse().unwrap();
    assert!((200..600).contains(&code) && code / 10 % 10 <= 5, "{line:?}");
    code
}

/// True of a reply that stands in the documentation as it is.
pub fn is_documented(line: &str) -> bool {
    DOCUMENTED.contains(line)
}
