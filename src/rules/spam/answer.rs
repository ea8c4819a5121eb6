//! What a next hop's answer says of the sender: a table of patterns, which the operator can lengthen.
//!
//! Greylisting, full mailboxes and busy servers say nothing; neither does a refusal because of our own address's standing,
//! which the blocklist watch is for.

/// What an answer says of the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Taken.
    Taken,
    /// There is no such recipient.
    UnknownRecipient,
    /// This is spam.
    Spam,
    /// Nothing of the sender.
    Nothing,
}

/// Words of an answer and what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    /// Lower-case pieces of text with which a recipient is said not to exist.
    pub unknown_recipient: Vec<String>,
    /// Lower-case pieces of text with which a message is called spam.
    pub spam: Vec<String>,
}

impl Default for Patterns {
    fn default() -> Self {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Self { unknown_recipient: owned(&UNKNOWN_RECIPIENT), spam: owned(&SPAM) }
    }
}

impl Patterns {
    /// What an answer says: its code, and the rest with the enhanced status if it has one.
    #[must_use]
    pub fn read(&self, code: u16, text: &str) -> Says {
        match code {
            200..=299 => return Says::Taken,
            400..=599 => {}
            _ => return Says::Nothing,
        }
        let piece = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        let lower = piece.to_ascii_lowercase();
        let has = |words: &[String]| words.iter().any(|word| lower.contains(word.as_str()));
        if code >= 500 && has(&self.unknown_recipient) {
            Says::UnknownRecipient
        } else if has(&self.spam) {
            Says::Spam
        } else {
            Says::Nothing
        }
    }
}

/// RFC 3463 §3.2, and what Postfix, Exim, Exchange, Gmail and Yahoo say.
const UNKNOWN_RECIPIENT: [&str; 9] = [
    "5.1.1 ",
    "5.1.10 ",
    "user unknown",
    "unknown user",
    "no such user",
    "no such recipient",
    "does not exist",
    "recipient unknown",
    "mailbox unavailable",
];

/// What content filters, Gmail (`5.7.1 … unsolicited`), Microsoft and Yahoo say of a message.
const SPAM: [&str; 7] = [
    "spam content",
    "as spam",
    "is spam",
    "looks like spam",
    "unsolicited",
    "url in message",
    "spam message",
];

/// An answer is at most 512 octets long (RFC 5321 §4.5.3.1.5); several lines of one say the same.
const TEXT_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_it_says() {
        let patterns = Patterns::default();
        for (code, text, says) in [
            (250, "2.0.0 Ok: is spam", Says::Taken),
            (
                550,
                "5.1.1 <a@b.example>: Recipient address rejected: User unknown",
                Says::UnknownRecipient,
            ),
            (550, "5.1.10 RESOLVER.ADR.RecipientNotFound", Says::UnknownRecipient),
            (550, "No Such User here", Says::UnknownRecipient),
            (450, "4.2.0 user unknown, try again", Says::Nothing),
            (452, "4.2.2 Mailbox full", Says::Nothing),
            (552, "5.2.2 Mailbox full", Says::Nothing),
            (450, "4.2.0 Greylisted", Says::Nothing),
            (550, "5.7.1 Message rejected as SPAM by content scanning", Says::Spam),
            (421, "4.7.0 Unusual rate of unsolicited mail", Says::Spam),
            (554, "5.7.1 Client host blocked using a list", Says::Nothing),
            (354, "go ahead", Says::Nothing),
        ] {
            assert_eq!(patterns.read(code, text), says, "{code} {text}");
        }
    }

    #[test]
    fn a_long_answer_is_read_to_a_bound_and_never_splits_a_letter() {
        let patterns = Patterns::default();
        for pad in 1_018..1_030 {
            let text = format!("{}é as spam", "x".repeat(pad));
            let _ = patterns.read(550, &text);
        }
        assert_eq!(patterns.read(550, &format!("{} as spam", "x".repeat(2_000))), Says::Nothing);
    }
}
