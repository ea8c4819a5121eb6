//! A name in HELO that the account never came with.
//!
//! A mail program says the same each time, a device has a name, and numbers in it change. What breaks in with other machines
//! says other names, often a different one each time. It is a state: a new telephone suspends nobody.

use super::{
    attempt::Attempt,
    evidence::{Finding, FindingKind, Reason, Signal},
    profile::Profile,
};

/// What is alike of the names of one machine: words with digits in them are left out, and all addresses are one.
#[must_use]
pub fn form_of(helo: &str) -> u32 {
    if helo.starts_with('[') {
        return super::hash(b"[]");
    }
    let name = helo[..helo.floor_char_boundary(NAME_BYTES_MAX)].to_ascii_lowercase();
    let words = name.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let form: String = words
        .map(|word| {
            let Some(digit) = word.find(|c: char| c.is_ascii_digit()) else { return word };
            let end = word.len() - word[digit..].trim_start_matches(char::is_alphanumeric).len();
            &word[end..]
        })
        .collect();
    super::hash(form.as_bytes())
}

/// Looks at what the client calls itself.
pub(super) fn look(attempt: &Attempt<'_>, profile: &Profile) -> Option<Finding> {
    let form = attempt.client?.greeting?;
    let (now, greetings) = (attempt.at, &profile.greetings);
    let mut known = greetings.settled(now).peekable();
    known.peek()?;
    if known.any(|own| own == form) {
        return None;
    }
    let names = greetings.count_new(now);
    Some(Finding {
        signal: Signal::Greeting,
        points: if names >= MANY { SEVERAL } else { NEW },
        confidence: profile.familiarity(now),
        kind: FindingKind::State,
        reason: if names >= MANY { Reason::ManyGreetings(names) } else { Reason::NewGreeting },
    })
}

const NEW: f32 = 0.5;
const SEVERAL: f32 = 1.5;
const MANY: u32 = 4;
/// The longest name of a host (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::form_of;

    #[test]
    fn names_of_one_kind_of_machine_are_alike() {
        for (one, other) in [
            ("DESKTOP-1A2B3C", "desktop-9EED1C"),
            ("[192.168.0.51]", "[IPv6:2001:db8::7]"),
            ("web08.host.example", "web11.host.example"),
        ] {
            assert_eq!(form_of(one), form_of(other), "{one} {other}");
        }
        let names =
            ["", "User", "localhost", "[127.0.0.1]", "laptop-1", "desktop-1", "1", "a.b", "ab"];
        for (at, one) in names.iter().enumerate() {
            for other in &names[..at] {
                let both_nothing = ["", "1"].contains(one) && ["", "1"].contains(other);
                assert_eq!(form_of(one) == form_of(other), both_nothing, "{one} {other}");
            }
        }
    }
}
