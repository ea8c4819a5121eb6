//! What a message is called: its Message-ID, and its subject as a hash.
//!
//! Both are kept to find a message again. A subject says too much to be kept as it is; under a key that the archive holds, equal
//! subjects have equal hashes, and nothing else can be learnt from them without the key.

use super::header::Fields;
use crate::types::{MessageId, SubjectHash};
use ring::hmac;

/// What a header calls its message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// The first Message-ID field (RFC 5322 §3.6.4), if it holds one.
    pub message_id: Option<MessageId>,
    /// The first Subject field, unfolded.
    pub subject: Option<String>,
}

/// Reads the header at the beginning of a text that is still dot-stuffed. `head` is the whole text or its first
/// [`super::HEADER_SCAN_BYTES_MAX`] octets.
#[must_use]
pub fn names(head: &[u8]) -> Names {
    let (mut message_id, mut subject) = (None, None);
    for field in Fields::new(head) {
        if message_id.is_none() && field.is_named("Message-ID") {
            message_id = Some(field.value());
        } else if subject.is_none() && field.is_named("Subject") {
            subject = Some(field.value());
        }
        if message_id.is_some() && subject.is_some() {
            break;
        }
    }
    let message_id = message_id.flatten().and_then(|text| text.parse().ok());
    Names { message_id, subject: subject.flatten() }
}

/// The key that subjects are hashed under.
#[derive(Debug, Clone)]
pub struct SubjectKey(hmac::Key);

impl SubjectKey {
    /// Wraps the key's octets.
    #[must_use]
    pub fn new(octets: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, octets))
    }

    /// The hash of a subject; case and white space make no difference.
    #[must_use]
    pub fn hash(&self, subject: &str) -> SubjectHash {
        let mut context = hmac::Context::with_key(&self.0);
        for word in subject.split_whitespace() {
            context.update(word.to_lowercase().as_bytes());
            context.update(b" ");
        }
        let mut bits = [0; 8];
        bits.copy_from_slice(&context.sign().as_ref()[..8]);
        SubjectHash::new(u64::from_be_bytes(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, message_id: Option<&str>, subject: Option<&str>) {
        let found = names(head.as_bytes());
        let shown = found.message_id.as_ref().map(MessageId::as_str);
        assert_eq!((shown, found.subject.as_deref()), (message_id, subject), "{head:?}");
    }

    #[test]
    fn the_first_of_each_field_counts() {
        check("Subject: a\r\nMessage-ID: <1@x>\r\n\r\n", Some("1@x"), Some("a"));
        check("message-id:<1@x>\r\nMessage-ID: <2@x>\r\nSubject:\r\n\r\n", Some("1@x"), Some(""));
        check("Message-ID:\r\n <1@x>\r\nSubject: a\r\n\tb\r\n\r\n", Some("1@x"), Some("a\tb"));
        check("A: b\r\n\r\nMessage-ID: <1@x>\r\nSubject: a\r\n", None, None);
        check("", None, None);
    }

    #[test]
    fn what_is_no_message_id_is_none() {
        for wrong in ["", "<>", "<a b@x>", &format!("<{}@x>", "a".repeat(600))] {
            check(&format!("Message-ID: {wrong}\r\n\r\n"), None, None);
        }
        check("Message-ID: without-brackets@x\r\n\r\n", Some("without-brackets@x"), None);
    }

    #[test]
    fn equal_subjects_have_equal_hashes_under_one_key() {
        let key = SubjectKey::new(&[1; 32]);
        assert_eq!(key.hash("Cheap  pills "), key.hash("cheap pills"));
        assert_ne!(key.hash("cheap pills"), key.hash("cheappills"));
        assert_ne!(key.hash("cheap pills"), SubjectKey::new(&[2; 32]).hash("cheap pills"));
    }
}
