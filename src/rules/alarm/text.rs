//! What an alert says to people: a title, what was seen, and what to do. English for operators; what customers read is in
//! their language.

use super::{Alert, Facts, Kind, Phase};
use crate::types::{ByteCount, Language, Span};
use std::time::Duration;

/// An alert in words. What others wrote stands in them as it came: whoever shows them escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// What is the matter, in a few words.
    pub title: String,
    /// What was seen, in a sentence or two.
    pub text: String,
    /// What to do.
    pub advice: &'static str,
}

/// An alert in words. Kinds that do not concern customers are told in English.
#[must_use]
pub fn words(alert: &Alert, language: Language) -> Words {
    match language {
        Language::Indonesian if alert.kind.is_customers() => indonesian(alert),
        Language::Indonesian | Language::English => english(alert),
    }
}

fn english(alert: &Alert) -> Words {
    let (facts, name) = (&alert.facts, &alert.about.name);
    let scope = &alert.about.scope;
    let title = match alert.kind {
        Kind::LimitNear => format!("{scope} {name} has used 80 % of a sending limit"),
        Kind::LimitReached => format!("{scope} {name} has used up a sending limit"),
        Kind::Suspended => format!("{scope} {name} is suspended"),
        Kind::Flagged => format!("{} {name} is {}", scope_word(scope), standing_of(facts)),
        Kind::CancelProposed => format!("tenant {name} should be cancelled, if a person agrees"),
        Kind::BreakerOpen => String::from("suspensions have stopped: there were too many at once"),
        Kind::SuddenVolume => format!("account {name} suddenly sends far more than usual"),
        Kind::NextHopDown => format!("next hop {name} cannot be used"),
        Kind::NextHopRefusing => format!("next hop {name} refuses mail"),
        Kind::MailStopped => String::from("customers' mail is being put off"),
        Kind::LoginBackendDown => String::from("logins cannot be checked"),
        Kind::ScannerDown => format!("messages cannot be checked by {name}"),
        Kind::StoreFailing => String::from("the store cannot be written"),
        Kind::ArchiveFailing => String::from("the archive cannot be written"),
        Kind::EventsLost => String::from("events were lost"),
        Kind::SpoolFailing => String::from("the spool cannot be used"),
        Kind::DiskNearlyFull => String::from("the disk is nearly full"),
        Kind::CertificateExpiring => String::from("a certificate ends soon"),
        Kind::ConfigRejected => String::from("the configuration is wrong"),
        Kind::TaskPanicked => String::from("a task ended by a panic"),
        Kind::PlacesScarce => String::from("most places for connections are taken"),
        Kind::SlaBudget => String::from("much of the month's budget of down time is used up"),
        Kind::Listed => {
            format!("{name} is on the blocklist {}", facts.blocklist.as_deref().unwrap_or_default())
        }
        Kind::BlocklistImpaired => match &facts.blocklist {
            Some(list) => format!("the blocklist {list} cannot be believed"),
            None => String::from("blocklists cannot be asked"),
        },
        Kind::ListingCause => match &facts.account {
            Some(account) => format!("{account} is the likely cause of the listing of {name}"),
            None => format!("nobody stands out who caused the listing of {name}"),
        },
        Kind::EgressPaused => format!("mail that leaves by {name} is held back"),
        Kind::Storage80 => format!("{scope} {name} has used 80 % of its mail storage"),
        Kind::Storage95 => format!("{scope} {name} has used 95 % of its mail storage"),
        Kind::Storage100 => format!("{scope} {name} has used up its mail storage"),
        Kind::StorageFiles => format!("{scope} {name} has very many files of mail"),
        Kind::StorageSourceDown => String::from("mailboxes cannot be read"),
        Kind::AlertSinkFailing => format!("alerts cannot be delivered to {name}"),
        Kind::TooManyAlerts => String::from("more alerts than are kept"),
        Kind::Test => String::from("this is a test"),
    };
    let title = match &facts.node {
        Some(node) => format!("{title} (at {node})"),
        None => title,
    };
    Words { title: ended(alert, title, "over: "), text: seen(facts), advice: advice(alert.kind) }
}

fn scope_word(scope: &str) -> &str {
    if scope == "client-ip" { "client address" } else { scope }
}

fn standing_of(facts: &Facts) -> &str {
    facts.standing.as_deref().unwrap_or("suspect")
}

fn ended(alert: &Alert, title: String, mark: &str) -> String {
    if alert.phase == Phase::Resolved { format!("{mark}{title}") } else { title }
}

fn seen(facts: &Facts) -> String {
    let mut parts = Vec::new();
    if let (Some(used), Some(max), Some(unit)) = (facts.limit_used, facts.limit_max, &facts.unit) {
        parts.push(format!("{used} of {max} {unit} in {}", window(facts)));
    }
    if let (Some(seen), Some(usual)) = (facts.seen, facts.usual) {
        parts.push(match facts.next_hop {
            Some(_) => format!("{seen} of the last {usual} texts were refused"),
            None => format!("{seen} recipients this hour, at most {usual} in an hour before"),
        });
    }
    if let (Some(free), Some(total), Some(folder)) =
        (facts.free_bytes, facts.size_bytes, &facts.folder)
    {
        let percent = u128::from(free) * 100 / u128::from(total).max(1);
        parts.push(format!("{percent} % are free at {folder} ({} MiB)", free >> 20));
    }
    if let (Some(file), Some(not_after)) = (&facts.certificate, facts.not_after) {
        parts.push(format!("{file} is valid until {}", not_after.to_second_ceiling()));
    }
    if let (Some(month), Some(down), Some(budget)) = (&facts.month, facts.down_s, facts.budget_s) {
        let (down, budget) = (down.div_ceil(60), budget / 60);
        parts.push(format!("{month}: mail did not flow for {down} min, {budget} min are allowed"));
    }
    if let Some(since) = facts.listed_since {
        parts.push(format!("since {}", since.to_second_ceiling()));
    }
    parts.extend(facts.codes.iter().map(|codes| format!("code {codes}")));
    parts.extend(stored(facts).map(|(used, max)| format!("{used} of {max} are used")));
    if let (Some(files), Some(max)) = (facts.files, facts.files_max) {
        parts.push(format!("{files} files, {max} is the most that backups take"));
    }
    if let Some(events) = facts.events {
        parts.push(format!("{events} events found no room"));
    }
    if let Some(case) = &facts.case {
        parts.push(format!("case {case}"));
    }
    parts.extend(facts.reason.iter().map(|reason| format!("reason: {reason}")));
    parts.extend(facts.until.iter().map(|until| format!("until {}", until.to_second_ceiling())));
    parts.extend(facts.points.iter().map(|points| format!("{points} points")));
    parts.extend(facts.reasons.iter().flatten().cloned());
    parts.extend(facts.actor.iter().map(|actor| format!("by {actor}")));
    parts.extend(facts.detail.iter().cloned());
    parts.join("; ")
}

/// What is used of what may be, in words.
fn stored(facts: &Facts) -> Option<(String, String)> {
    let words = |octets: Option<u64>| Some(ByteCount::new(octets?).in_words());
    words(facts.stored_bytes).zip(words(facts.stored_bytes_max))
}

fn window(facts: &Facts) -> String {
    Span::new(Duration::from_secs(facts.limit_window_s.unwrap_or_default())).to_string()
}

const fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::LimitNear => {
            "Nothing is refused yet. If the mail is wanted, spread it over more time or ask for a larger plan."
        }
        Kind::LimitReached => {
            "Further recipients are put off until the window has room; mail programs and servers try again. \
             If nobody sent that much on purpose, change the password."
        }
        Kind::Suspended => {
            "No mail is accepted until the suspension is lifted. Find and remove the cause, change the password, \
             then ask for it to be lifted and name the case."
        }
        Kind::Flagged => {
            "Look at what it sends. If it is not wanted, change the password; while it is throttled, its limits are reduced."
        }
        Kind::CancelProposed => {
            "Look at what spoke against it: tollgate offences, and the cases there. Withdraw what was a mistake; else tollgate \
             tenant cancel. Nothing is done by itself."
        }
        Kind::BreakerOpen => {
            "Nobody is suspended by a rule until somebody closes it: see whether the accounts are stolen or a rule is wrong, \
             then tollgate breaker close."
        }
        Kind::SuddenVolume => {
            "If nobody sent that much on purpose, the password may be stolen: suspend the account and change it."
        }
        Kind::NextHopDown => {
            "Look at that server and at the way to it; other next hops take over if there are any."
        }
        Kind::NextHopRefusing => {
            "Read its answer: it may block this gate's address, or the mail of one customer; tollgate trace finds it."
        }
        Kind::MailStopped => {
            "Look at the other alerts: a next hop, the store or the spool does not work."
        }
        Kind::LoginBackendDown => {
            "Look at Dovecot; logins that are not remembered are put off until it answers."
        }
        Kind::ScannerDown => {
            "Look at that program; until it answers, messages pass unchecked or are put off, as on_failure says."
        }
        Kind::StoreFailing => {
            "Look at the disk of the state folder: no mail is accepted until the store works."
        }
        Kind::ArchiveFailing => {
            "Look at the disk of the archive: mail flows, but its history will have a gap."
        }
        Kind::EventsLost => "The history has a gap; look at how busy the disk of the archive is.",
        Kind::SpoolFailing => {
            "Look at the disk of the spool: large messages are put off until it works."
        }
        Kind::DiskNearlyFull => "Make room: once the disk is full no mail is accepted.",
        Kind::CertificateExpiring => "Renew it, then reload the gate (SIGHUP).",
        Kind::ConfigRejected => {
            "Correct the file (tollgate check-config), then reload the gate (SIGHUP)."
        }
        Kind::TaskPanicked => "This is a fault of the program; report it with the log around it.",
        Kind::PlacesScarce => {
            "Idle clients are sent away sooner. See who holds connections; raise the limits if it is wanted."
        }
        Kind::SlaBudget => "See when the gate was down: tollgate availability.",
        Kind::Listed => {
            "Find out who sent what it is listed for and stop that first, then ask the list for removal; tollgate blocklist status shows all."
        }
        Kind::BlocklistImpaired => {
            "What it says does not count until its own tests are right: look at blocklist.resolvers, at its terms, and at whether it still exists."
        }
        Kind::ListingCause => {
            "What was found counts against the likely causes; look at them, and suspend by hand what the rules leave: tollgate account suspend."
        }
        Kind::EgressPaused => {
            "Senders hear 451 and try again. It ends by itself when the address is on no list any more; tollgate blocklist resume lets mail through before."
        }
        Kind::Storage80 | Kind::Storage95 => {
            "Delete mail that is not needed and empty the trash, or ask for more room."
        }
        Kind::Storage100 => {
            "Delete mail that is not needed and empty the trash, or ask for more room. Until there is room, mail that is sent may be \
             refused, if the plan says so; mail is received as before."
        }
        Kind::StorageFiles => {
            "Backups may leave out what is beyond. Delete mail that is not needed, or store it elsewhere."
        }
        Kind::StorageSourceDown => {
            "See whether the disk or the Dovecot with the mailboxes is there and may be read. Until then nobody is \
             refused or freed because of storage: what was known last holds."
        }
        Kind::AlertSinkFailing => {
            "Look at the receiver; what is owed to it is delivered when it works again."
        }
        Kind::TooManyAlerts => "See what lasts: tollgate alert list.",
        Kind::Test => "Nothing is the matter.",
    }
}

fn indonesian(alert: &Alert) -> Words {
    let (facts, name) = (&alert.facts, &alert.about.name);
    let scope = if alert.about.scope == "tenant" { "paket" } else { "akun" };
    let title = match alert.kind {
        Kind::LimitNear => format!("{scope} {name} telah memakai 80 % batas pengiriman"),
        Kind::LimitReached => format!("{scope} {name} telah menghabiskan batas pengiriman"),
        Kind::Suspended => format!("{scope} {name} ditangguhkan"),
        Kind::Flagged if facts.standing.as_deref() == Some("throttled") => {
            format!("pengiriman {scope} {name} dibatasi")
        }
        Kind::Flagged => format!("pengiriman {scope} {name} mencurigakan"),
        Kind::Storage80 => format!("{scope} {name} telah memakai 80 % ruang surat"),
        Kind::Storage95 => format!("{scope} {name} telah memakai 95 % ruang surat"),
        Kind::Storage100 => format!("ruang surat {scope} {name} sudah penuh"),
        Kind::StorageFiles => format!("berkas surat {scope} {name} terlalu banyak"),
        _ => format!("akun {name} tiba-tiba mengirim jauh lebih banyak dari biasanya"),
    };
    let advice = match alert.kind {
        Kind::LimitNear => {
            "Belum ada yang ditolak. Jika memang perlu, kirim secara bertahap atau mintalah paket yang lebih besar."
        }
        Kind::LimitReached => {
            "Penerima berikutnya ditunda sampai ada ruang; program dan server surat mencoba lagi. \
             Jika tidak ada yang sengaja mengirim sebanyak itu, gantilah kata sandi."
        }
        Kind::Suspended => {
            "Surat tidak diterima sampai penangguhan dicabut. Temukan dan hilangkan penyebabnya, ganti kata sandi, \
             lalu mintalah pencabutan dengan menyebut nomor kasus."
        }
        Kind::Flagged => {
            "Periksa apa yang dikirim. Jika bukan kiriman Anda, segera ganti kata sandi; selama dibatasi, batas \
             pengirimannya dikurangi."
        }
        Kind::Storage80 | Kind::Storage95 => {
            "Hapus surat yang tidak diperlukan dan kosongkan tempat sampah, atau mintalah ruang yang lebih besar."
        }
        Kind::Storage100 => {
            "Hapus surat yang tidak diperlukan dan kosongkan tempat sampah, atau mintalah ruang yang lebih besar. Selama penuh, \
             pengiriman dapat ditolak sesuai paket; surat masuk tetap diterima."
        }
        Kind::StorageFiles => {
            "Cadangan mungkin tidak memuat semuanya. Hapus surat yang tidak diperlukan, atau simpan di tempat lain."
        }
        _ => {
            "Jika tidak ada yang sengaja mengirim sebanyak itu, kata sandi mungkin dicuri: segera gantilah."
        }
    };
    Words { title: ended(alert, title, "selesai: "), text: seen_in_indonesian(facts), advice }
}

fn seen_in_indonesian(facts: &Facts) -> String {
    let mut parts = Vec::new();
    if let (Some(used), Some(max), Some(unit)) = (facts.limit_used, facts.limit_max, &facts.unit) {
        let unit = if unit == "messages" { "pesan" } else { "penerima" };
        parts.push(format!("{used} dari {max} {unit} dalam {}", window_in_indonesian(facts)));
    }
    if let (Some(seen), Some(usual)) = (facts.seen, facts.usual) {
        parts.push(format!(
            "{seen} penerima dalam jam ini, sebelumnya paling banyak {usual} per jam"
        ));
    }
    parts.extend(stored(facts).map(|(used, max)| format!("{used} dari {max} terpakai")));
    if let (Some(files), Some(max)) = (facts.files, facts.files_max) {
        parts.push(format!("{files} berkas, cadangan memuat paling banyak {max}"));
    }
    parts.extend(facts.case.iter().map(|case| format!("kasus {case}")));
    parts.extend(facts.reason.iter().map(|reason| format!("alasan: {reason}")));
    parts.extend(facts.until.iter().map(|until| format!("sampai {}", until.to_second_ceiling())));
    parts.extend(facts.reasons.iter().flatten().cloned());
    parts.join("; ")
}

fn window_in_indonesian(facts: &Facts) -> String {
    let text = window(facts);
    let Some((number, unit)) = text.split_once(' ') else { return text };
    let unit = match unit {
        "d" => "hari",
        "h" => "jam",
        "min" => "menit",
        "s" => "detik",
        other => other,
    };
    format!("{number} {unit}")
}
