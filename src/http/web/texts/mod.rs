//! What the pages say, in each language: one struct of texts, so that a text that a language lacks does not compile.
//!
//! Numbers, moments and lengths of time are written here too, because languages write them differently. Pages for operators
//! are in English; what tenants read, the way in and what went wrong are in every language.

mod english;
mod indonesian;

use crate::admin::ReductionView;
use crate::types::{Language, Scope, Span, Timestamp, Unit};
use std::{fmt, time::Duration};

/// All texts of one language.
pub(super) struct Texts {
    pub(super) language: Language,
    /// The language's name in itself.
    pub(super) name: &'static str,
    months: [&'static str; 12],
    thousands: char,
    clock: char,
    spans: SpanWords,
    pub(super) frame: Frame,
    pub(super) sign_in: SignIn,
    pub(super) wrong: Wrong,
    pub(super) tenant: Tenant,
    pub(super) limits: Limits,
    units: UnitWords,
    pub(super) plot: Plot,
    pub(super) reasons: Reasons,
}

/// The frame of every page.
pub(super) struct Frame {
    pub(super) skip: &'static str,
    pub(super) sections: &'static str,
    pub(super) language: &'static str,
    pub(super) sign_out: &'static str,
    pub(super) signed_in_as: &'static str,
    pub(super) times_in_utc: &'static str,
    pub(super) as_of: &'static str,
    pub(super) live_on: &'static str,
    pub(super) live_off: &'static str,
    pub(super) live_ended: &'static str,
    pub(super) live_start: &'static str,
    pub(super) live_stop: &'static str,
}

/// The way in.
pub(super) struct SignIn {
    pub(super) title: &'static str,
    pub(super) token: &'static str,
    pub(super) hint: &'static str,
    pub(super) button: &'static str,
    pub(super) refused: &'static str,
    pub(super) later: &'static str,
    pub(super) ended: &'static str,
    pub(super) left: &'static str,
}

/// What went wrong.
pub(super) struct Wrong {
    pub(super) home: &'static str,
    pub(super) not_found: Said,
    pub(super) forbidden: Said,
    pub(super) expired: Said,
    pub(super) failed: Said,
    pub(super) unreadable: Said,
    pub(super) busy: Said,
}

/// A heading and what to do.
pub(super) struct Said {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
}

/// The tenant's page.
pub(super) struct Tenant {
    pub(super) plan: &'static str,
    pub(super) active: &'static str,
    pub(super) suspended: &'static str,
    pub(super) sending_works: &'static str,
    pub(super) tenant_suspended: &'static str,
    pub(super) accounts_suspended: &'static str,
    pub(super) since: &'static str,
    pub(super) case: &'static str,
    pub(super) reason: &'static str,
    pub(super) what_to_do: &'static str,
    pub(super) what_to_do_suspended: [&'static str; 3],
    pub(super) flagged: &'static str,
    pub(super) limited_to: &'static str,
    pub(super) limited_accounts: &'static str,
    pub(super) what_to_do_flagged: [&'static str; 2],
    pub(super) cancelled: &'static str,
    pub(super) contact: &'static str,
    pub(super) own_limits: &'static str,
    pub(super) no_limits: &'static str,
    pub(super) accounts: &'static str,
    pub(super) no_accounts: Said,
    pub(super) more_accounts: &'static str,
    pub(super) first_accounts: &'static str,
    pub(super) storage: &'static str,
    pub(super) storage_together: &'static str,
    pub(super) storage_refused: &'static str,
    pub(super) storage_unknown: &'static str,
    pub(super) storage_files: &'static str,
    pub(super) storage_to_do: [&'static str; 3],
    pub(super) refusals: &'static str,
    pub(super) refusals_hint: &'static str,
    pub(super) refused_today: &'static str,
    pub(super) no_refusals: Said,
    pub(super) times: &'static str,
    pub(super) answer: &'static str,
    pub(super) leaves: &'static str,
    pub(super) leaves_hint: &'static str,
    pub(super) erased_after: &'static str,
    pub(super) offences: &'static str,
    pub(super) offences_hint: &'static str,
    pub(super) no_offences: Said,
    pub(super) counts_until: &'static str,
    pub(super) withdrawn: &'static str,
    pub(super) all_accounts: &'static str,
    offence_kinds: OffenceKinds,
}

/// What became of an offence.
struct OffenceKinds {
    suspended: &'static str,
    throttled: &'static str,
    warned: &'static str,
}

/// Limits and their use.
pub(super) struct Limits {
    pub(super) next_slot: &'static str,
    pub(super) now: &'static str,
    pub(super) never: &'static str,
    pub(super) when_lifted: &'static str,
    /// `43 of 50`.
    pub(super) of: &'static str,
    /// `limited to 20 % of 50 until …`.
    limited: &'static str,
    until: &'static str,
    /// `in 23 min`.
    within: &'static str,
    /// `50 recipients in 1 h`: what stands between the unit and the window.
    per: &'static str,
    pub(super) open: &'static str,
    tenant: &'static str,
    account: &'static str,
    client: &'static str,
    peer: &'static str,
}

struct UnitWords {
    recipients: &'static str,
    messages: &'static str,
    null_sender: &'static str,
    new_accounts: &'static str,
}

struct SpanWords {
    days: &'static str,
    hours: &'static str,
    minutes: &'static str,
    seconds: &'static str,
}

/// Plots of what was sent.
pub(super) struct Plot {
    pub(super) last_day: &'static str,
    pub(super) last_month: &'static str,
    pub(super) recipients: &'static str,
    pub(super) accepted: &'static str,
    pub(super) deferred: &'static str,
    pub(super) refused: &'static str,
    pub(super) time: &'static str,
    pub(super) day: &'static str,
    pub(super) gap: &'static str,
    pub(super) as_table: &'static str,
}

/// Why mail was refused and what to do about it.
pub(super) struct Reasons {
    limit: Said,
    limit_never: Said,
    suspended: Said,
    storage: Said,
    sender_mismatch: Said,
    not_allowed: Said,
    size: Said,
    malformed: Said,
    busy: Said,
    other: Said,
}

impl Texts {
    /// The texts of a language.
    pub(super) const fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &english::TEXTS,
            Language::Indonesian => &indonesian::TEXTS,
        }
    }

    /// All languages, as a visitor may choose them.
    pub(super) const ALL: [&'static Self; 2] = [&english::TEXTS, &indonesian::TEXTS];

    /// `12,345`; of a whole number.
    pub(super) fn number(&self, number: impl fmt::Display) -> String {
        let digits = number.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(self.thousands);
            }
            text.push(digit);
        }
        text
    }

    /// `27 Nov 2026 19:06 UTC`; a moment at which something becomes possible is rounded up, so that it is never early.
    pub(super) fn moment(&self, moment: &Timestamp) -> String {
        Self::civil(moment).map_or_else(
            || moment.to_string(),
            |t| {
                let clock = self.clock;
                let month = self.months[usize::from(t.month().unsigned_abs()) - 1];
                format!(
                    "{} {month} {} {:02}{clock}{:02} UTC",
                    t.day(),
                    t.year(),
                    t.hour(),
                    t.minute()
                )
            },
        )
    }

    /// `27 Nov 19:06:12`, for lists where the year says nothing.
    pub(super) fn moment_short(&self, moment: &Timestamp) -> String {
        Self::civil(moment).map_or_else(
            || moment.to_string(),
            |t| {
                let clock = self.clock;
                let month = self.months[usize::from(t.month().unsigned_abs()) - 1];
                format!(
                    "{} {month} {:02}{clock}{:02}{clock}{:02}",
                    t.day(),
                    t.hour(),
                    t.minute(),
                    t.second()
                )
            },
        )
    }

    /// `19:06:12 UTC`.
    pub(super) fn time_of_day(&self, moment: &Timestamp) -> String {
        Self::civil(moment).map_or_else(
            || moment.to_string(),
            |t| {
                let clock = self.clock;
                format!("{:02}{clock}{:02}{clock}{:02} UTC", t.hour(), t.minute(), t.second())
            },
        )
    }

    /// `19:10`.
    pub(super) fn hour_and_minute(&self, moment: &Timestamp) -> String {
        Self::civil(moment).map_or_else(
            || moment.to_string(),
            |t| format!("{:02}{}{:02}", t.hour(), self.clock, t.minute()),
        )
    }

    /// `27 Nov`.
    pub(super) fn day(&self, date: jiff::civil::Date) -> String {
        format!("{} {}", date.day(), self.months[usize::from(date.month().unsigned_abs()) - 1])
    }

    fn civil(moment: &Timestamp) -> Option<jiff::civil::DateTime> {
        let moment = jiff::Timestamp::from_millisecond(moment.as_millis()).ok()?;
        Some(moment.to_zoned(jiff::tz::TimeZone::UTC).datetime())
    }

    /// `24 h`, in the language's words.
    pub(super) fn span(&self, span: Span) -> String {
        let printed = span.to_string();
        let Some((number, unit)) = printed.split_once(' ') else { return printed };
        let word = match unit {
            "d" => self.spans.days,
            "h" => self.spans.hours,
            "min" => self.spans.minutes,
            "s" => self.spans.seconds,
            other => other,
        };
        format!("{number} {word}")
    }

    /// `in 23 min`: how long to wait, rounded up to what is worth saying.
    pub(super) fn wait(&self, length: Duration) -> String {
        let seconds = length.as_millis().div_ceil(1000);
        let (number, word) = match seconds {
            s if s < 120 => (s, self.spans.seconds),
            s if s < 2 * 3600 => (s.div_ceil(60), self.spans.minutes),
            s if s < 2 * 86_400 => (s.div_ceil(3600), self.spans.hours),
            s => (s.div_ceil(86_400), self.spans.days),
        };
        format!("{} {number} {word}", self.limits.within)
    }

    /// `limited to 20 % of 50 until 27 Nov 2026 19:06 UTC`.
    pub(super) fn reduced(&self, reduced: &ReductionView) -> String {
        let (whole, of) = (self.number(reduced.whole), self.limits.of);
        let text = format!("{} {} % {of} {whole}", self.limits.limited, reduced.percent);
        reduced.until.map_or_else(|| text.clone(), |until| format!("{text} {}", self.until(&until)))
    }

    /// `until 27 Nov 2026 19:06 UTC`.
    pub(super) fn until(&self, moment: &Timestamp) -> String {
        format!("{} {}", self.limits.until, self.moment(moment))
    }

    /// `Warned`: what became of an offence.
    pub(super) fn offence_kind<'k>(&self, kind: &'k str) -> &'k str {
        match kind {
            "suspended" => self.tenant.offence_kinds.suspended,
            "throttled" => self.tenant.offence_kinds.throttled,
            "warned" => self.tenant.offence_kinds.warned,
            other => other,
        }
    }

    /// `recipients`.
    pub(super) const fn unit(&self, unit: Unit) -> &'static str {
        match unit {
            Unit::Recipients => self.units.recipients,
            Unit::Messages => self.units.messages,
            Unit::NullSender => self.units.null_sender,
            Unit::NewAccounts => self.units.new_accounts,
        }
    }

    /// `tenant`.
    pub(super) const fn scope(&self, scope: Scope) -> &'static str {
        match scope {
            Scope::Tenant => self.limits.tenant,
            Scope::Account => self.limits.account,
            Scope::ClientIp => self.limits.client,
            Scope::Peer => self.limits.peer,
        }
    }

    /// `recipients in 1 h`.
    pub(super) fn limit(&self, unit: Unit, window: Span) -> String {
        format!("{} {} {}", self.unit(unit), self.limits.per, self.span(window))
    }
}

impl Reasons {
    /// What a refusal means, by the word that stands in the log.
    pub(super) fn said(&self, reason: &str) -> &Said {
        match reason {
            "limit" => &self.limit,
            "limit-never" => &self.limit_never,
            "suspended" => &self.suspended,
            "storage" => &self.storage,
            "sender-mismatch" => &self.sender_mismatch,
            "not-relaying" | "unknown-account" | "new-accounts" | "php-mail" | "virus" | "spam" => {
                &self.not_allowed
            }
            "size" => &self.size,
            "loop" | "malformed" | "line-too-long" | "extension-missing" => &self.malformed,
            "spool-full" | "texts-busy" | "store-down" | "next-hop-down" | "next-hop-busy"
            | "egress-paused" | "spam-deferred" | "unscanned" | "too-long" => &self.busy,
            _ => &self.other,
        }
    }
}

/// The language that a browser prefers (RFC 9110 §12.5.4), among those that there are; the first of equals.
pub(super) fn preferred(accept_language: &str) -> Language {
    let mut best: Option<(Language, u16)> = None;
    for range in accept_language.split(',').take(RANGES_MAX) {
        let mut parts = range.split(';').map(str::trim);
        let tag = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths);
        let Some(language) = known(tag) else { continue };
        if weight > 0 && best.is_none_or(|(_, before)| weight > before) {
            best = Some((language, weight));
        }
    }
    best.map_or(Language::English, |(language, _)| language)
}

fn known(tag: &str) -> Option<Language> {
    let primary = tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    match primary.as_str() {
        // `in` was Indonesian's code until 1989, and old Java still sends it.
        "id" | "in" => Some(Language::Indonesian),
        "en" => Some(Language::English),
        _ => None,
    }
}

/// A weight of `0` to `1` with at most three digits; what is none counts as nothing.
fn thousandths(text: &str) -> u16 {
    let weight: f32 = text.parse().unwrap_or(0.0);
    // In 0.0..=1000.0, and NaN becomes 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let weight = (weight * 1000.0).clamp(0.0, 1000.0) as u16;
    weight
}

/// Ranges of a header that are looked at.
const RANGES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browsers_preference_chooses_the_language() {
        use Language::{English, Indonesian};
        for (header, expected) in [
            ("", English),
            ("id", Indonesian),
            ("id-ID,id;q=0.9,en-US;q=0.8,en;q=0.7", Indonesian),
            ("en-GB,id;q=0.9", English),
            ("de,fr;q=0.9", English),
            ("de, id;q=0.2", Indonesian),
            ("en;q=0.1, id;q=0.5", Indonesian),
            ("id;q=0, en;q=0.1", English),
            ("in-ID", Indonesian),
            ("id;q=nonsense", English),
            ("*", English),
        ] {
            assert_eq!(preferred(header), expected, "{header}");
        }
    }

    #[test]
    fn figures_are_written_as_the_language_does() {
        let moment: Timestamp = "2026-05-07T09:04:07.001Z".parse().unwrap();
        let (english, indonesian) = (Texts::of(Language::English), Texts::of(Language::Indonesian));
        assert_eq!(english.moment(&moment), "7 May 2026 09:04 UTC");
        assert_eq!(indonesian.moment(&moment), "7 Mei 2026 09.04 UTC");
        assert_eq!(english.moment_short(&moment), "7 May 09:04:07");
        assert_eq!(indonesian.time_of_day(&moment), "09.04.07 UTC");
        for (number, text) in
            [(0_u64, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(english.number(number), text);
            assert_eq!(indonesian.number(number), text.replace(',', "."));
        }
        assert_eq!(english.limit(Unit::Recipients, Span::from_secs(3600)), "recipients in 1 h");
        assert_eq!(
            indonesian.limit(Unit::Recipients, Span::from_secs(86_400)),
            "penerima dalam 24 jam"
        );
        for (seconds, text) in [
            (1, "in 1 s"),
            (119, "in 119 s"),
            (121, "in 3 min"),
            (7200, "in 2 h"),
            (200_000, "in 3 d"),
        ] {
            assert_eq!(english.wait(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn every_reason_is_explained_in_every_language() {
        for texts in Texts::ALL {
            for reason in
                ["limit", "limit-never", "suspended", "sender-mismatch", "php-mail", "size"]
            {
                let said = texts.reasons.said(reason);
                assert!(!std::ptr::eq(said, &raw const texts.reasons.other), "{reason}");
                assert!(!said.title.is_empty() && !said.text.is_empty(), "{reason}");
            }
        }
    }
}
