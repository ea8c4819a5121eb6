//! The file `maildirsize` of a Maildir++ (<https://www.courier-mta.org/imap/README.maildirquota.html>): a line with the quota, then
//! lines of octets and messages that were added or taken away. Whoever delivers or deletes appends to it.
//!
//! It is believed only while it is surely fresh: shorter than 5,120 octets and younger than 15 minutes, as the format's own rules
//! for counting anew have it; and written no earlier than the last change of any folder, so that it knows of that. A program that
//! changes a mailbox without it leaves it wrong, which nobody can see; the Maildir itself cannot be wrong.

use crate::rules::quota::Usage;
use std::time::Duration;

/// What the file says; none if it is not of this form, or is so long that it would have to be made anew.
pub(super) fn parse(octets: &[u8]) -> Option<Usage> {
    if octets.len() >= BYTES_MAX || octets.last() != Some(&b'\n') {
        return None;
    }
    let mut lines = std::str::from_utf8(octets).ok()?.lines();
    if !is_quota(lines.next()?) {
        return None;
    }
    let (mut bytes, mut files) = (0_i64, 0_i64);
    for line in lines {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<i64>);
        let (Some(Ok(more_bytes)), Some(Ok(more_files)), None) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return None;
        };
        bytes = bytes.checked_add(more_bytes)?;
        files = files.checked_add(more_files)?;
    }
    Some(Usage { bytes: u64::try_from(bytes).ok()?, files: u64::try_from(files).ok()? })
}

/// `10000000S,1000C`, either of them alone, or neither where there is no quota.
fn is_quota(line: &str) -> bool {
    let is_limit = |word: &str| {
        let digits = word.strip_suffix(['S', 'C']).unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit())
    };
    line.is_empty() || line.split(',').all(is_limit)
}

/// From this length on, the file has to be made anew.
pub(super) const BYTES_MAX: usize = 5_120;
/// From this age on, the file has to be made anew.
pub(super) const AGE_MAX: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_added_up() {
        for (text, wanted) in [
            ("10485760S\n3000 2\n", Some((3_000, 2))),
            ("10485760S,1000C\n3000 2\n-1000 -1\n  512   1 \n", Some((2_512, 2))),
            ("1000C\n0 0\n", Some((0, 0))),
            ("\n7 1\n", Some((7, 1))),
            ("10485760S\n", Some((0, 0))),
            // More was taken away than was there; half a line; another format.
            ("10485760S\n-3 1\n", None),
            ("10485760S\n3000 2\n5", None),
            ("10485760S\n3000\n", None),
            ("10485760S\n3000 2 1\n", None),
            ("10485760S\n99999999999999999999 1\n", None),
            ("10485760S\n9223372036854775807 1\n1 1\n", None),
            ("10 MB\n3000 2\n", None),
            ("S\n3000 2\n", None),
            ("", None),
        ] {
            let wanted = wanted.map(|(bytes, files)| Usage { bytes, files });
            assert_eq!(parse(text.as_bytes()), wanted, "{text:?}");
        }
        assert_eq!(parse(b"1S\n\xff 1\n"), None);
    }

    #[test]
    fn a_file_that_has_to_be_made_anew_says_nothing() {
        let long = |lines: usize| format!("1000S\n{}", "10 1\n".repeat(lines));
        assert!(long(1_022).len() < BYTES_MAX && long(1_023).len() >= BYTES_MAX);
        assert!(parse(long(1_022).as_bytes()).is_some());
        assert_eq!(parse(long(1_023).as_bytes()), None);
    }
}
