//! Who an MTA says has sent a message, read from the header of the message.
//!
//! Two kinds of fields carry it: fields of their own (`X-AuthUser`, `X-Authenticated-Sender`,
//! `X-PHP-Originating-Script`), which count only if they occur once, and comments that Postfix writes into its
//! Received field. Of Received fields only the topmost is read, because those below it came with the message; and of
//! that field only the place where Postfix writes the comment, because the name that a client gives in EHLO stands in
//! the same field.

use super::header::{Fields, X_AUTH_USER, X_AUTHENTICATED_SENDER, X_PHP_SCRIPT};
use crate::types::AccountId;

/// What was found of one kind of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Found<T> {
    /// Nothing.
    #[default]
    Absent,
    /// One value.
    One(T),
    /// More than one, equal or not: no evidence.
    Twice,
    /// Something that is no such value, or a header too long to be sure that there is only one.
    Malformed,
}

/// What the header of a message says about its sender.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEvidence {
    /// `X-AuthUser: login`.
    pub x_auth_user: Found<AccountId>,
    /// `X-Authenticated-Sender: login`, or `host: login` as cPanel writes it.
    pub x_authenticated_sender: Found<AccountId>,
    /// `(Authenticated sender: login)` of the topmost Received field.
    pub received_auth: Found<AccountId>,
    /// `(Postfix, from userid N)` of the topmost Received field.
    pub received_userid: Found<u32>,
    /// The user id in `X-PHP-Originating-Script: N:script.php`.
    pub php_script: Found<u32>,
}

/// Reads the header at the beginning of a text that is still dot-stuffed. `head` is the whole text or its first
/// [`super::HEADER_SCAN_BYTES_MAX`] octets.
#[must_use]
pub fn header_evidence(head: &[u8]) -> HeaderEvidence {
    let mut found = HeaderEvidence::default();
    let mut top_seen = false;
    let mut fields = Fields::new(head);
    for field in fields.by_ref() {
        if field.is_named(X_AUTH_USER) {
            found.x_auth_user.meet(field.value().as_deref().and_then(login));
        } else if field.is_named(X_AUTHENTICATED_SENDER) {
            found.x_authenticated_sender.meet(field.value().as_deref().and_then(host_and_login));
        } else if field.is_named(X_PHP_SCRIPT) {
            found.php_script.meet(field.value().as_deref().and_then(script_owner));
        } else if field.is_named("Received") && !top_seen {
            top_seen = true;
            found.read_received(field.value().as_deref().unwrap_or_default());
        }
    }
    if fields.is_complete() { found } else { found.without_single_fields() }
}

impl<T> Found<T> {
    /// Takes note of a further occurrence; none is a malformed one.
    fn meet(&mut self, value: Option<T>) {
        *self = match (&self, value) {
            (Self::Absent, Some(value)) => Self::One(value),
            (Self::Absent, None) => Self::Malformed,
            _ => Self::Twice,
        };
    }
}

impl HeaderEvidence {
    /// True if PHP's mail() says that it made the message, or nobody can tell.
    #[must_use]
    pub fn is_from_php(&self) -> bool {
        self.php_script != Found::Absent
    }

    fn read_received(&mut self, value: &str) {
        self.received_auth = authenticated_sender(value);
        self.received_userid = userid(value).map_or(Found::Absent, Found::One);
    }

    /// A header that goes on beyond what is searched may hold a second field, so none of these is certain.
    fn without_single_fields(self) -> Self {
        Self {
            x_auth_user: Found::Malformed,
            x_authenticated_sender: Found::Malformed,
            php_script: Found::Malformed,
            ..self
        }
    }
}

fn login(text: &str) -> Option<AccountId> {
    let strange = |c: char| matches!(c, '<' | '>' | '(' | ')' | '"' | ',' | ';' | '\\');
    if text.contains(strange) { None } else { text.parse().ok() }
}

fn host_and_login(text: &str) -> Option<AccountId> {
    login(text.split_once(": ").map_or(text, |(_, login)| login).trim())
}

/// PHP with `mail.add_x_header` writes the owner's user id, a colon and the script's name.
fn script_owner(text: &str) -> Option<u32> {
    text.split_once(':').and_then(|(owner, _)| number(owner))
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Postfix's smtpd writes `from HELO (NAME [ADDRESS])`, comments about TLS, `(Authenticated sender: LOGIN)`, `by …`.
fn authenticated_sender(value: &str) -> Found<AccountId> {
    let Some(comments) = comments_of_from_clause(value) else {
        return if value.contains(AUTHENTICATED) { Found::Malformed } else { Found::Absent };
    };
    let mut found = Found::Absent;
    for (place, comment) in comments.into_iter().enumerate() {
        if let Some(name) = comment.strip_prefix(AUTHENTICATED) {
            // The first comment is the client's own name and address.
            found.meet(if place == 0 { None } else { login(name.trim()) });
        }
    }
    found
}

/// The comments between HELO and `by`; none if the field does not have Postfix's form.
fn comments_of_from_clause(value: &str) -> Option<Vec<&str>> {
    let (from, rest) = word(value)?;
    let (helo, mut rest) = word(rest)?;
    if !from.eq_ignore_ascii_case("from") || helo.contains(['(', ')', '"', '\\']) {
        return None;
    }
    let mut comments = Vec::new();
    while let Some((comment, after)) = comment(rest) {
        comments.push(comment);
        rest = after;
    }
    let (by, _) = word(rest)?;
    by.eq_ignore_ascii_case("by").then_some(comments)
}

/// Postfix's pickup writes `by HOST (Postfix, from userid N)` and `id QUEUE-ID; DATE`.
fn userid(value: &str) -> Option<u32> {
    let (by, rest) = word(value)?;
    let (host, rest) = word(rest)?;
    let (comment, rest) = comment(rest)?;
    let (id, _) = word(rest)?;
    let fits = by.eq_ignore_ascii_case("by")
        && !host.contains(['(', ')', '"', '\\'])
        && id.eq_ignore_ascii_case("id");
    comment.strip_prefix("Postfix, from userid ").filter(|_| fits).and_then(number)
}

/// The next run of characters that are not white space, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The inside of the comment that the text begins with, and what follows it; comments nest (RFC 5322 §3.2.2).
fn comment(text: &str) -> Option<(&str, &str)> {
    let inside = text.trim_start().strip_prefix('(')?;
    let mut depth = 1_usize;
    let mut quoted = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if quoted => quoted = false,
            '\\' => quoted = true,
            '(' => depth += 1,
            ')' if depth == 1 => return Some((&inside[..at], &inside[at + 1..])),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

const AUTHENTICATED: &str = "Authenticated sender: ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HEADER_SCAN_BYTES_MAX;

    fn one(text: &str) -> Found<AccountId> {
        Found::One(text.parse().unwrap())
    }

    fn check(head: &str, expected: &HeaderEvidence) {
        assert_eq!(&header_evidence(head.as_bytes()), expected, "{head:?}");
    }

    #[test]
    fn fields_of_their_own_count_once() {
        let none = HeaderEvidence::default;
        check("", &none());
        check("Subject: x\r\n\r\nX-AuthUser: a@b\r\n", &none());
        check(
            "X-AuthUser: A@Shop.example\r\n\r\n",
            &HeaderEvidence { x_auth_user: one("a@shop.example"), ..none() },
        );
        check("x-authuser:\r\n a@b\r\n", &HeaderEvidence { x_auth_user: one("a@b"), ..none() });
        for twice in [
            "X-AuthUser: a\r\nX-AuthUser: a\r\n",
            "X-AuthUser: a\r\nSubject: x\r\n.X-AuthUser: b\r\n",
            "X-AuthUser: a\r\nX-AuthUser : b\r\n",
            "X-AuthUser: a\r\njunk\r\nX-AUTHUSER:\r\n",
            "X-AuthUser:\r\nX-AuthUser: a\r\nX-AuthUser: b\r\n",
        ] {
            check(twice, &HeaderEvidence { x_auth_user: Found::Twice, ..none() });
        }
        for malformed in [
            "X-AuthUser:\r\n",
            "X-AuthUser: a b\r\n",
            "X-AuthUser: <a@b>\r\n",
            "X-AuthUser: a,\r\n b\r\n",
        ] {
            check(malformed, &HeaderEvidence { x_auth_user: Found::Malformed, ..none() });
        }
        check(
            "X-Authenticated-Sender: web01.example: a@shop.example\r\n",
            &HeaderEvidence { x_authenticated_sender: one("a@shop.example"), ..none() },
        );
        check(
            "X-Authenticated-Sender: a@shop.example\r\n",
            &HeaderEvidence { x_authenticated_sender: one("a@shop.example"), ..none() },
        );
        check(
            "X-PHP-Originating-Script: 1042:mail.php\r\n",
            &HeaderEvidence { php_script: Found::One(1042), ..none() },
        );
        for malformed in ["mail.php", "-1:a.php", "99999999999:a.php", ":a.php", "+7:a.php"] {
            check(
                &format!("X-PHP-Originating-Script: {malformed}\r\n"),
                &HeaderEvidence { php_script: Found::Malformed, ..none() },
            );
        }
    }

    #[test]
    fn what_is_not_utf8_is_malformed() {
        let found = header_evidence(b"X-AuthUser: \xff\xfe\r\n\r\n");
        assert_eq!(found.x_auth_user, Found::Malformed);
    }

    #[test]
    fn postfix_names_the_login_at_one_place_only() {
        let auth = |received: &str| {
            header_evidence(format!("Subject: x\r\nReceived: {received}\r\n\r\n").as_bytes())
                .received_auth
        };
        for genuine in [
            "from [192.0.2.1] (host.example [192.0.2.1])\r\n\t(Authenticated sender: a@shop.example)\r\n\tby mx.example (Postfix) with ESMTPSA id 4c1; Sun, 22 Nov 2026 09:14:07 +0000 (UTC)",
            "from pc (unknown [192.0.2.1])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n\t key-exchange X25519)\r\n\t(No client certificate requested)\r\n\t(Authenticated sender: a@shop.example)\r\n\tby mx.example (Postfix) with ESMTPSA id 4c1\r\n\tfor <x@y.example>; Sun, 22 Nov 2026 09:14:07 +0000",
            "from ?Authenticated (unknown [192.0.2.1]) (Authenticated sender: a@shop.example) by mx (Postfix)",
        ] {
            assert_eq!(auth(genuine), one("a@shop.example"), "{genuine}");
        }
        for (forged, found) in [
            (
                "from (Authenticated sender: victim) (h [192.0.2.1]) by mx.example (Postfix)",
                Found::Malformed,
            ),
            (
                "from x(Authenticated sender: victim) (h [192.0.2.1]) by mx.example",
                Found::Malformed,
            ),
            ("from x (Authenticated sender: victim) by mx.example", Found::Malformed),
            (
                "from \"(Authenticated sender: victim)\" (h [192.0.2.1]) by mx.example",
                Found::Malformed,
            ),
            ("from x (h (Authenticated sender: victim) [192.0.2.1]) by mx.example", Found::Absent),
            ("from x (h [192.0.2.1]) by mx.example (Authenticated sender: victim)", Found::Absent),
            ("from x (h [192.0.2.1]) (Authenticated sender: victim", Found::Malformed),
            (
                "from x (h [192.0.2.1]) (Authenticated sender: a) (Authenticated sender: victim) by mx",
                Found::Twice,
            ),
            ("from x (h [192.0.2.1]) (Authenticated sender: a (b)) by mx", Found::Malformed),
            ("from x (h [192.0.2.1]) (Authenticated sender: ) by mx", Found::Malformed),
            ("from x (h [192.0.2.1]) (a\\) (Authenticated sender: victim) by mx", Found::Malformed),
            (
                "by web01 (Postfix, from userid 7)\r\n\tid x (Authenticated sender: victim)",
                Found::Malformed,
            ),
            ("from x (h [192.0.2.1]) by mx", Found::Absent),
        ] {
            assert_eq!(auth(forged), found, "{forged}");
        }
    }

    #[test]
    fn only_the_topmost_received_counts() {
        let head = "Received: from localhost (localhost [127.0.0.1])\r\n\tby web01 (Postfix) with ESMTP id 1; x\r\n\
                    Received: from x (h [192.0.2.1]) (Authenticated sender: victim) by mx\r\n\
                    Received: by web01 (Postfix, from userid 7)\r\n\tid 2; x\r\n";
        check(head, &HeaderEvidence::default());
    }

    #[test]
    fn postfix_names_the_user_id_of_local_mail() {
        let userid = |received: &str| {
            header_evidence(format!("Received: {received}\r\n").as_bytes()).received_userid
        };
        assert_eq!(
            userid("by web01.example (Postfix, from userid 1042)\r\n\tid 4c1; x"),
            Found::One(1042)
        );
        for forged in [
            "from x (Postfix, from userid 7) by web01 (Postfix) id 1",
            "from x (h [192.0.2.1]) by web01 (Postfix, from userid 7) id 1",
            "by web01 (Postfix) (Postfix, from userid 7) id 1",
            "by x(Postfix, from userid 7) id 1",
            "by web01 (Postfix, from userid -7) id 1",
            "by web01 (Postfix, from userid 7",
        ] {
            assert_eq!(userid(forged), Found::Absent, "{forged}");
        }
    }

    #[test]
    fn a_header_that_does_not_end_hides_no_second_field() {
        let mut head = b"X-AuthUser: a@b\r\n".to_vec();
        head.extend(b"Padding: xxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(HEADER_SCAN_BYTES_MAX / 30));
        head.extend(b"X-AuthUser: c@d\r\n\r\n");
        let found = header_evidence(&head);
        assert_eq!((found.x_auth_user, found.php_script), (Found::Malformed, Found::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn any_received_field_is_read_without_panic(value in "[a-z() \\\\\"\t:é]{0,80}") {
            let _ = authenticated_sender(&value);
            let _ = userid(&value);
            let _ = authenticated_sender(&format!("from x ({value}) (Authenticated sender: {value}) by y"));
        }
    }
}
