//! What the client hears: the one place where decisions become replies.
//!
//! Every refusal names what stands in the way, whose it is, when it may pass and the session's id, so that the text alone
//! answers the question (promise 6). Each code here is a row of docs/smtp-replies.md.

use super::policy::OnSuspended;
use crate::{
    event::{LimitHit, RefusalReason, Scanner, SpamOpinion},
    smtp::{Reply, client::passed_on},
    types::{AccountId, ByteCount, CaseId, ReversePath, SessionId, SubjectId, Timestamp, Unit},
};
use std::fmt::Write as _;

/// A refusal: why, and in which words.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The stable reason.
    pub reason: RefusalReason,
    /// What the client hears.
    pub reply: Reply,
    /// The limit, where one is the reason.
    pub limit: Option<Box<LimitHit>>,
}

/// The present moment on the ledger's clock and in UTC; they differ after the wall clock was stepped.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// On the ledger's clock.
    pub ledger: Timestamp,
    /// In UTC.
    pub utc: Timestamp,
}

impl Moment {
    /// Another moment of the ledger in UTC, as it is printed.
    #[must_use]
    pub fn to_utc(self, moment: Timestamp) -> Timestamp {
        self.utc + moment.since(self.ledger) - self.ledger.since(moment)
    }
}

/// No room in a window: `450 4.7.1 account a@shop.example: 50 of 50 recipients in 1 h; next slot … (in 1423 s) [id]`.
#[must_use]
pub fn limit_full(hit: LimitHit, now: Moment, session: &SessionId) -> Refusal {
    let text = format!("{} [{session}]", limit_facts(&hit, now));
    Refusal {
        reason: RefusalReason::Limit,
        reply: Reply::new(450, "4.7.1", text),
        limit: Some(Box::new(hit)),
    }
}

/// A message that asks for more recipients at once than a limit ever allows, where it is charged as a whole.
#[must_use]
pub fn limit_never(hit: LimitHit, recipients: u32, session: &SessionId) -> Refusal {
    let parts = hit.key.parts();
    let (scope, name, unit) = (parts.scope, parts.name, parts.unit);
    let needs = if unit == Unit::Messages { 1 } else { recipients };
    let text = format!(
        "{scope} {name}: this message needs {needs} {unit} at once, {} in {} is the limit [{session}]",
        hit.limit.max, hit.limit.window
    );
    Refusal {
        reason: RefusalReason::LimitNever,
        reply: Reply::new(550, "5.5.3", text),
        limit: Some(Box::new(hit)),
    }
}

/// The facts of a full window in DESIGN's form, without the session: the same for SMTP, log, API and `explain`.
#[must_use]
pub fn limit_facts(hit: &LimitHit, now: Moment) -> String {
    let parts = hit.key.parts();
    let unit = parts.unit;
    let mut text = format!(
        "{} {}: {} of {} {unit} in {}",
        parts.scope, parts.name, hit.used, hit.limit.max, hit.limit.window
    );
    let _infallible = match hit.next_slot {
        Some(slot) => {
            let millis = slot.since(now.ledger).as_millis();
            let seconds = millis.div_ceil(1000);
            write!(text, "; next slot {} (in {seconds} s)", now.to_utc(slot).to_second_ceiling())
        }
        None => write!(text, "; no slot opens under this limit"),
    };
    text
}

/// The account or its tenant is suspended; until when, if that ends by itself.
#[must_use]
pub fn suspended(
    (subject, until): (&SubjectId, Option<Timestamp>),
    case: &CaseId,
    (contact, reply): (&str, OnSuspended),
    session: &SessionId,
) -> Refusal {
    let until =
        until.map_or_else(String::new, |until| format!(" until {}", until.to_second_ceiling()));
    let text = format!("{subject} is suspended{until}, case {case}; contact {contact} [{session}]");
    match reply {
        OnSuspended::Refuse => refuse(RefusalReason::Suspended, 550, "5.7.1", text),
        OnSuspended::Defer => refuse(RefusalReason::Suspended, 450, "4.7.1", text),
    }
}

/// The mail storage of the account or its tenant is used up. Who receives is not concerned.
#[must_use]
pub fn storage_full(
    subject: &SubjectId,
    (used, max): (ByteCount, ByteCount),
    contact: &str,
    session: &SessionId,
) -> Refusal {
    let (used, max) = (used.in_words(), max.in_words());
    let text = format!(
        "{subject}: {used} of {max} of mail storage are used; delete mail or ask for more: {contact} [{session}]"
    );
    refuse(RefusalReason::Storage, 552, "5.7.1", text)
}

/// The content rules give the text too high a score.
#[must_use]
pub fn content(account: &AccountId, (score, max): (f32, f32), session: &SessionId) -> Refusal {
    let score = format!("score {score:.1} of {max:.1}");
    looks_like_spam(RefusalReason::Content, Some(account), &score, session)
}

/// No AUTH and no trusted client.
#[must_use]
pub fn not_relaying(client: &impl std::fmt::Display, session: &SessionId) -> Refusal {
    let text = format!(
        "{client} may not relay here: log in, or ask the provider to trust this address [{session}]"
    );
    refuse(RefusalReason::NotRelaying, 550, "5.7.1", text)
}

/// The login may not use this envelope sender (RFC 6409 §6.1).
#[must_use]
pub fn sender_mismatch(account: &AccountId, sender: &ReversePath, session: &SessionId) -> Refusal {
    let text = format!("login {account} may not send as <{sender}> [{session}]");
    refuse(RefusalReason::SenderMismatch, 550, "5.7.1", text)
}

/// `unknown_accounts = "refuse"`.
#[must_use]
pub fn unknown_account(account: &AccountId, session: &SessionId) -> Refusal {
    let text = format!("account {account} is not known here [{session}]");
    refuse(RefusalReason::UnknownAccount, 550, "5.7.1", text)
}

/// The plan refuses mail from PHP's mail().
#[must_use]
pub fn php_mail(account: &AccountId, session: &SessionId) -> Refusal {
    let text = format!(
        "account {account}: mail from PHP mail() is not allowed, send with a login over SMTP [{session}]"
    );
    refuse(RefusalReason::PhpMail, 550, "5.7.1", text)
}

/// ClamAV found something in the message.
#[must_use]
pub fn virus(account: Option<&AccountId>, name: &str, session: &SessionId) -> Refusal {
    let text = format!("{}the message contains {name} (virus scanner) [{session}]", whose(account));
    refuse(RefusalReason::Virus, 550, "5.7.1", text)
}

/// Rspamd refuses the message.
#[must_use]
pub fn spam(account: Option<&AccountId>, opinion: &SpamOpinion, session: &SessionId) -> Refusal {
    looks_like_spam(RefusalReason::Spam, account, &score(opinion), session)
}

fn looks_like_spam(
    reason: RefusalReason,
    account: Option<&AccountId>,
    score: &str,
    session: &SessionId,
) -> Refusal {
    let text = format!("{}the message looks like spam ({score}) [{session}]", whose(account));
    refuse(reason, 550, "5.7.1", text)
}

/// Rspamd puts the message off.
#[must_use]
pub fn suspicious(
    account: Option<&AccountId>,
    opinion: &SpamOpinion,
    session: &SessionId,
) -> Refusal {
    let (whose, score) = (whose(account), score(opinion));
    let text =
        format!("{whose}the message is not accepted now ({score}), try again later [{session}]");
    refuse(RefusalReason::SpamDeferred, 451, "4.7.1", text)
}

/// A program that has to look into the message cannot be asked.
#[must_use]
pub fn unscanned(scanner: Scanner, session: &SessionId) -> Refusal {
    let text =
        format!("the message cannot be checked by {scanner} now, try again later [{session}]");
    refuse(RefusalReason::Unscanned, 451, "4.3.0", text)
}

fn whose(account: Option<&AccountId>) -> String {
    account.map(|account| format!("account {account}: ")).unwrap_or_default()
}

fn score(opinion: &SpamOpinion) -> String {
    format!("score {:.1} of {:.1}", opinion.score, opinion.required)
}

/// The message is larger than the plan allows (RFC 1870 §6.1).
#[must_use]
pub fn too_large(size: u64, max: ByteCount, session: &SessionId) -> Refusal {
    let text = format!("message of {size} octets exceeds the limit of {max} [{session}]");
    refuse(RefusalReason::Size, 552, "5.3.4", text)
}

/// The message has been through too many servers (RFC 5321 §6.3).
#[must_use]
pub fn loops(hops: usize, session: &SessionId) -> Refusal {
    let text = format!("mail loop: {hops} Received fields [{session}]");
    refuse(RefusalReason::Loop, 554, "5.4.6", text)
}

/// Spool space is used up.
#[must_use]
pub fn spool_full(session: &SessionId) -> Refusal {
    let text = format!("no space for the message now, try again later [{session}]");
    refuse(RefusalReason::SpoolFull, 452, "4.3.1", text)
}

/// As many texts are coming in as may come at a time.
#[must_use]
pub fn texts_busy(session: &SessionId) -> Refusal {
    let text = format!("too many messages are coming in now, try again later [{session}]");
    refuse(RefusalReason::TextsBusy, 452, "4.3.1", text)
}

/// The store cannot decide or record. No detail goes out.
#[must_use]
pub fn store_down(session: &SessionId) -> Refusal {
    let text = format!("cannot be decided now, try again later [{session}]");
    refuse(RefusalReason::StoreDown, 451, "4.3.0", text)
}

/// No next hop can be reached. No detail goes out.
#[must_use]
pub fn next_hop_down(session: &SessionId) -> Refusal {
    let text = format!("the next hop cannot be reached now, try again later [{session}]");
    refuse(RefusalReason::NextHopDown, 451, "4.4.1", text)
}

/// All connections to the next hop are in use.
#[must_use]
pub fn next_hop_busy(session: &SessionId) -> Refusal {
    let text = format!("all connections to the next hop are in use, try again later [{session}]");
    refuse(RefusalReason::NextHopBusy, 451, "4.4.5", text)
}

/// The addresses that the mail would leave by are paused; `why` says which and what lists them.
#[must_use]
pub fn egress_paused(why: &str, session: &SessionId) -> Refusal {
    let text = format!("mail is held back here: {why}; try again later [{session}]");
    refuse(RefusalReason::EgressPaused, 451, "4.3.2", text)
}

/// A transaction that lasted too long; the session says so itself.
#[must_use]
pub fn too_long() -> Refusal {
    refuse(RefusalReason::TooLong, 421, "4.4.2", "timeout, closing connection".into())
}

/// A text that grew too large; the session says so itself.
#[must_use]
pub fn grew_too_large() -> Refusal {
    refuse(RefusalReason::Size, 552, "5.3.4", "message too large".into())
}

/// A text with a line that is too long; the session says so itself.
#[must_use]
pub fn line_too_long() -> Refusal {
    refuse(RefusalReason::LineTooLong, 550, "5.6.0", "a line of the message is too long".into())
}

/// A text with a bare CR, bare LF or NUL; the session says so itself.
#[must_use]
pub fn malformed() -> Refusal {
    refuse(RefusalReason::Malformed, 550, "5.5.2", "bare CR, bare LF or NUL in the message".into())
}

/// The next hop vanished after the final dot; the charge stands (promise 2).
#[must_use]
pub fn outcome_unknown(session: &SessionId) -> Reply {
    Reply::new(
        451,
        "4.4.2",
        format!("the next hop gave no answer; the message may have been sent [{session}]"),
    )
}

/// A recipient that had been accepted was refused when the envelope was replayed.
#[must_use]
pub fn recipient_lost(answer: &Reply, session: &SessionId) -> Reply {
    Reply::new(
        451,
        "4.4.3",
        format!("a recipient is no longer accepted ({answer}); nothing was sent [{session}]"),
    )
}

/// The next hop does not know what the message needs (RFC 6152 §3, RFC 6531 §3.6, RFC 1870 §6.1).
#[must_use]
pub fn extension_missing(extension: &str, session: &SessionId) -> Refusal {
    let status = match extension {
        "SMTPUTF8" => "5.6.7",
        "8BITMIME" => "5.6.3",
        "SIZE" => "5.3.4",
        _ => "5.6.0",
    };
    let text = format!("the next hop cannot take this message: {extension} [{session}]");
    refuse(RefusalReason::ExtensionMissing, 554, status, text)
}

/// The next hop's own answer as it is passed back: code and text as they are, except that 421 would say that *we* close, that
/// a 2xx which does not belong to RCPT or a text becomes 250, because clients look for that (RFC 5321 §4.3.2), and that a
/// missing enhanced status is filled in, because our EHLO promised one (RFC 2034 §4).
#[must_use]
pub fn passed_back(answer: &Reply) -> Reply {
    let answer = passed_on(answer.clone());
    let code = match answer.code() {
        252..=299 | 200..=249 => 250,
        code => code,
    };
    let status = match (answer.status(), code / 100) {
        (Some(status), _) => status.to_owned(),
        (None, 2) => "2.0.0".to_owned(),
        (None, 4) => "4.0.0".to_owned(),
        (None, _) => "5.0.0".to_owned(),
    };
    Reply::received(code, Some(status), vec![answer.text()])
}

fn refuse(reason: RefusalReason, code: u16, status: &'static str, text: String) -> Refusal {
    Refusal { reason, reply: Reply::new(code, status, text), limit: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Key, Limit, Span};

    fn hit(next_slot: Option<i64>) -> LimitHit {
        LimitHit {
            key: "account/r/a@shop.example".parse::<Key>().unwrap(),
            limit: Limit { window: Span::from_secs(3600), max: 50 },
            used: 50,
            next_slot: next_slot.map(Timestamp::from_millis),
        }
    }

    #[test]
    fn a_full_window_is_explained_in_the_form_of_the_design() {
        let ledger: Timestamp = "2026-11-22T08:50:24Z".parse().unwrap();
        let now = Moment { ledger, utc: ledger };
        let slot = "2026-11-22T09:14:06.001Z".parse::<Timestamp>().unwrap().as_millis();
        let refusal = limit_full(hit(Some(slot)), now, &"s1".parse().unwrap());
        assert_eq!(
            refusal.reply.to_string(),
            "450 4.7.1 account a@shop.example: 50 of 50 recipients in 1 h; \
             next slot 2026-11-22T09:14:07Z (in 1423 s) [s1]"
        );
    }

    #[test]
    fn after_a_step_of_the_wall_clock_the_printed_time_is_utc() {
        let ledger: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
        let utc: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        let text = limit_facts(&hit(Some(ledger.as_millis() + 60_000)), Moment { ledger, utc });
        assert!(text.ends_with("next slot 2026-11-22T09:01:00Z (in 60 s)"), "{text}");
    }

    #[test]
    fn a_next_hops_421_does_not_say_that_we_close() {
        let answer = Reply::received(421, None, vec!["busy".into()]);
        assert_eq!(passed_back(&answer).to_string(), "451 4.0.0 busy");
        let answer = Reply::received(250, None, vec!["ok: queued as 1".into()]);
        assert_eq!(passed_back(&answer).to_string(), "250 2.0.0 ok: queued as 1");
        for (code, heard) in [(220, 250), (250, 250), (251, 251), (252, 250), (452, 452)] {
            let answer = Reply::received(code, None, vec!["x".into()]);
            assert_eq!(passed_back(&answer).code(), heard);
        }
    }
}
