//! Letters: text and HTML, marked as made by a program so that nobody's program answers them (RFC 3834).
//!
//! Only composed here; whoever sends them uses the null sender unless another is configured, so no bounce comes back.

use crate::{
    rules::alarm::{Notice, Severity, Why, Words, words},
    types::{Address, Domain, Language, Timestamp},
};
use mail_builder::{
    MessageBuilder,
    headers::{address::Address as Mailbox, date::Date, raw::Raw},
};
use std::fmt::Write as _;

/// A letter that can be handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Who gets it.
    pub to: Vec<Address>,
    /// The address in `From:`.
    pub from: Address,
    /// The name of the server, for the Message-ID.
    pub host: Domain,
    /// What its Message-ID begins with: the same for the same letter sent again.
    pub id: String,
    /// When it is written.
    pub date: Timestamp,
    /// The subject.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as an HTML document.
    pub html: String,
}

/// A letter that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("compose a letter: {0}")]
pub struct LetterError(#[from] std::io::Error);

impl Letter {
    /// The letter as it goes over the wire, with CRLF and without dots stuffed.
    ///
    /// # Errors
    /// [`LetterError`]: never in practice, because it is written into memory.
    pub fn compose(&self) -> Result<Vec<u8>, LetterError> {
        let mailbox = |address: &Address| Mailbox::from(address.as_str().to_owned());
        let to: Vec<Mailbox<'_>> = self.to.iter().map(mailbox).collect();
        let message = MessageBuilder::new()
            .from(("Tollgate".to_owned(), self.from.as_str().to_owned()))
            .to(Mailbox::new_list(to))
            .subject(self.subject.as_str())
            .date(Date::new(self.date.as_millis().div_euclid(1_000)))
            .message_id(format!("{}@{}", self.id, self.host))
            .header("Auto-Submitted", Raw::new("auto-generated"))
            .header("X-Auto-Response-Suppress", Raw::new("All"))
            .header("Precedence", Raw::new("bulk"))
            .text_body(self.text.as_str())
            .html_body(self.html.as_str());
        Ok(message.write_to_vec()?)
    }
}

/// Subject, text and HTML of a letter about these messages, at least one, from the gate of this name.
#[must_use]
pub fn alert_letter(
    notices: &[Notice],
    gate: &str,
    language: Language,
) -> (String, String, String) {
    let said: Vec<(&Notice, Words)> =
        notices.iter().map(|notice| (notice, words(&notice.alert, language))).collect();
    let phrases = Phrases::of(language);
    let mut subject = said.first().map_or_else(String::new, |(notice, words)| {
        format!("[{}] {}", phrases.severity(notice.alert.severity), words.title)
    });
    if said.len() > 1 {
        let _ = write!(subject, " {}", (phrases.more)(said.len() - 1));
    }
    (subject, text_of(&said, gate, &phrases), html_of(&said, gate, &phrases, language))
}

fn text_of(said: &[(&Notice, Words)], gate: &str, phrases: &Phrases) -> String {
    let mut text = String::new();
    for (notice, words) in said {
        let severity = phrases.severity(notice.alert.severity);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {}", severity, plain(&words.title));
        if !words.text.is_empty() {
            let _ = writeln!(text, "  {}", plain(&words.text));
        }
        let _ = writeln!(text, "  {}: {}", phrases.since, notice.alert.since.to_second_ceiling());
        if notice.why != Why::Resolved {
            let _ = writeln!(text, "  {}", words.advice);
        }
        let _ = writeln!(text, "  {}: {}\n", phrases.id, notice.alert.id);
    }
    let _ = writeln!(text, "-- \nTollgate, {gate}");
    text
}

fn html_of(said: &[(&Notice, Words)], gate: &str, phrases: &Phrases, language: Language) -> String {
    let mut html = format!(
        "<!DOCTYPE html><html lang=\"{}\"><head><meta charset=\"utf-8\"><title>Tollgate</title></head>\
         <body style=\"font-family:sans-serif;max-width:40em\">",
        language.tag()
    );
    for (notice, words) in said {
        let alert = &notice.alert;
        let severity = phrases.severity(alert.severity);
        let _ = write!(html, "<h2>{severity}: {}</h2>", escaped(&words.title));
        if !words.text.is_empty() {
            let _ = write!(html, "<p>{}</p>", escaped(&words.text));
        }
        if notice.why != Why::Resolved {
            let _ = write!(html, "<p><strong>{}</strong></p>", escaped(words.advice));
        }
        let since = alert.since.to_second_ceiling();
        let _ = write!(
            html,
            "<p><small>{}: {since} · {}: {}</small></p>",
            phrases.since,
            phrases.id,
            escaped(&alert.id)
        );
    }
    let _ = write!(html, "<hr><p><small>Tollgate, {}</small></p></body></html>", escaped(gate));
    html
}

/// What surrounds the words of the alerts.
struct Phrases {
    severities: [&'static str; 3],
    since: &'static str,
    id: &'static str,
    more: fn(usize) -> String,
}

impl Phrases {
    fn of(language: Language) -> Self {
        match language {
            Language::English => Self {
                severities: ["info", "warning", "critical"],
                since: "since",
                id: "alert",
                more: |count| format!("and {count} more"),
            },
            Language::Indonesian => Self {
                severities: ["info", "peringatan", "kritis"],
                since: "sejak",
                id: "nomor peringatan",
                more: |count| format!("dan {count} lainnya"),
            },
        }
    }

    const fn severity(&self, severity: Severity) -> &'static str {
        match severity {
            Severity::Info => self.severities[0],
            Severity::Warning => self.severities[1],
            Severity::Critical => self.severities[2],
        }
    }
}

/// In one line, whatever somebody wrote.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text as it may stand in HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Event, Suspended},
        rules::alarm::Book,
        types::SubjectId,
    };
    use mail_parser::MessageParser;

    fn suspension(reason: &str) -> Notice {
        let mut book = Book::new(Timestamp::EPOCH);
        let event = Event::Suspended(Suspended {
            subject: SubjectId::Tenant("shop".parse().unwrap()),
            case: "TG-1".parse().unwrap(),
            reason: reason.into(),
            actor: "op".into(),
            until: None,
        });
        book.note(Timestamp::EPOCH, &event);
        book.take().notices.remove(0)
    }

    fn written(notices: &[Notice], language: Language) -> Letter {
        let (subject, text, html) = alert_letter(notices, "gate.example", language);
        Letter {
            to: vec!["noc@provider.example".parse().unwrap()],
            from: "tollgate@gate.example".parse().unwrap(),
            host: "gate.example".parse().unwrap(),
            id: notices[0].id.clone(),
            date: "2026-11-22T09:14:07Z".parse().unwrap(),
            subject,
            text,
            html,
        }
    }

    #[test]
    fn a_letter_has_both_parts_and_says_that_a_program_wrote_it() {
        let bytes = written(&[suspension("spam")], Language::English).compose().unwrap();
        let read = MessageParser::new().parse(&bytes).unwrap();
        assert_eq!(read.subject(), Some("[warning] tenant shop is suspended"));
        assert!(read.body_text(0).unwrap().contains("case TG-1; reason: spam; by op"));
        assert!(read.body_html(0).unwrap().contains("<p>case TG-1; reason: spam; by op</p>"));
        for (name, value) in
            [("Auto-Submitted", "auto-generated"), ("Date", "Sun, 22 Nov 2026 09:14:07 +0000")]
        {
            assert_eq!(read.header_raw(name).map(str::trim), Some(value));
        }
        assert!(read.message_id().unwrap().ends_with(".0@gate.example"), "{read:?}");
        let lines = String::from_utf8(bytes).unwrap();
        assert!(lines.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
    }

    #[test]
    fn what_somebody_wrote_neither_ends_a_line_nor_becomes_markup() {
        let letter =
            written(&[suspension("<script>x</script>\r\nBcc: a@b.example")], Language::English);
        assert!(letter.html.contains("&lt;script&gt;") && !letter.html.contains("<script>"));
        assert!(!letter.text.contains("\nBcc:") && !letter.subject.contains('\n'));
    }

    #[test]
    fn several_messages_are_one_letter_in_the_language_of_its_reader() {
        let letter = written(&[suspension("a"), suspension("b")], Language::Indonesian);
        assert_eq!(letter.subject, "[peringatan] paket shop ditangguhkan dan 1 lainnya");
        assert!(letter.html.contains("lang=\"id\"") && letter.text.contains("alasan: b"));
    }
}
