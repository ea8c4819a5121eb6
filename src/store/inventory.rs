//! Every stored field: whether it is personal, what it is for, how long it is kept, and what becomes of it when an account is erased.
//!
//! docs/privacy.md shows this table, and tests hold it against the real schemas of both databases: a column that is not classified here fails
//! them. Files, Redis and the log have rows as well, because a person does not care where something stands.

/// A row: some columns of one table that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Where.
    pub place: Place,
    /// The table, the file or the key.
    pub table: &'static str,
    /// Its columns.
    pub columns: &'static str,
    /// Whose matter they are.
    pub personal: Personal,
    /// What for.
    pub purpose: &'static str,
    /// How long; a key of the configuration stands in backquotes.
    pub kept: &'static str,
    /// What becomes of them when the account is erased.
    pub erased: &'static str,
}

/// Where something is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The limits' store.
    Store,
    /// The archive.
    Archive,
    /// A file in the state directory, or where the configuration says.
    File,
    /// Redis, where gates share it.
    Redis,
}

impl Place {
    /// Its name in the document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Archive => "archive",
            Self::File => "file",
            Self::Redis => "Redis",
        }
    }
}

/// Whose matter something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personal {
    /// It names or describes a person, or may.
    Yes,
    /// It stands for a person and cannot be read back: keyed hashes, and numbers that belong to names.
    Pseudonym,
    /// Nobody's.
    No,
}

impl Personal {
    /// Its word in the document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Pseudonym => "pseudonym",
            Self::No => "no",
        }
    }
}

const fn row(
    (place, table): (Place, &'static str),
    columns: &'static str,
    personal: Personal,
    (purpose, kept, erased): (&'static str, &'static str, &'static str),
) -> Stored {
    Stored { place, table, columns, personal, purpose, kept, erased }
}

use Personal::{No, Pseudonym, Yes};
use Place::{Archive, File, Redis, Store};

const WINDOW: &str = "the longest window in the configuration, at least 24 h";
const EVENTS: &str = "`archive.keep_events`";
const USAGE: &str = "`archive.keep_usage`";
const AUDIT: &str = "`privacy.keep_audit`";
const GOOD: &str = "for good";
const GONE: &str = "gone";
const STAYS: &str = "stays";
const HASHED: &str = "under a keyed hash until over";
const NUMBER: &str = "stays, as a number without a name";

/// All of them.
pub const STORED: &[Stored] = &[
    row(
        (Store, "meta"),
        "name, value",
        No,
        ("time, versions, the key of erased names", GOOD, STAYS),
    ),
    row((Store, "journal"), "id, at", No, ("to lose no charge in a crash", "some minutes", STAYS)),
    row(
        (Store, "journal"),
        "entries",
        Yes,
        ("to lose no charge in a crash: accounts, tenants, client addresses", "some minutes", GONE),
    ),
    row(
        (Store, "windows"),
        "key",
        Yes,
        ("to keep the limit: accounts, tenants, client addresses", WINDOW, HASHED),
    ),
    row(
        (Store, "windows"),
        "seq, log",
        Pseudonym,
        ("to keep the limit: moments of sends", WINDOW, HASHED),
    ),
    row((Store, "warned"), "key", Yes, ("to say once that a limit is near", WINDOW, GONE)),
    row(
        (Store, "warned"),
        "window, percent, at",
        No,
        ("to say once that a limit is near", WINDOW, GONE),
    ),
    row(
        (Store, "subjects"),
        "kind",
        No,
        ("account or tenant", "until removed, closed or erased", GONE),
    ),
    row(
        (Store, "subjects"),
        "name, record",
        Yes,
        (
            "plan, tenant, senders, contact, overrides, suspension and its evidence",
            "until removed, closed or erased",
            "gone; a suspension under a keyed hash until over",
        ),
    ),
    row((Store, "changes"), "number", No, ("order", "until the audit has it: seconds", GONE)),
    row(
        (Store, "changes"),
        "change",
        Yes,
        ("to audit every change: who, what, of whom, why", "until the audit has it: seconds", GONE),
    ),
    row(
        (Store, "refusals"),
        "account, reply, hit",
        Yes,
        ("to answer \"why was I refused\"", EVENTS, GONE),
    ),
    row((Store, "refusals"), "at", No, ("to answer \"why was I refused\"", EVENTS, GONE)),
    row((Archive, "names"), "id, kind", Pseudonym, ("one place for names", "until erased", STAYS)),
    row(
        (Archive, "names"),
        "name",
        Yes,
        ("one place for names of accounts and tenants", "until erased", "replaced by a number"),
    ),
    row(
        (Archive, "events"),
        "id, at, name, tenant, account",
        Pseudonym,
        ("where is my mail; abuse", EVENTS, GONE),
    ),
    row(
        (Archive, "events"),
        "body",
        Yes,
        (
            "where is my mail; abuse: sender, recipients, client, answers",
            EVENTS,
            "gone; of others' events the name goes",
        ),
    ),
    row(
        (Archive, "marks"),
        "event, bits",
        Pseudonym,
        ("to find messages by session, Message-ID or recipient", EVENTS, GONE),
    ),
    row((Archive, "secrets"), "name, value", No, ("keys of hashes", GOOD, STAYS)),
    row(
        (Archive, "complaints"),
        "number, at, account, tenant, digest",
        Pseudonym,
        ("to handle abuse", EVENTS, GONE),
    ),
    row(
        (Archive, "complaints"),
        "body",
        Yes,
        ("to handle abuse: who complained, about what", EVENTS, GONE),
    ),
    row(
        (Archive, "alerts"),
        "number, id, phase, told, over, account, tenant",
        Pseudonym,
        ("to tell operators and the tenant", "until over, then `archive.keep_events`", GONE),
    ),
    row(
        (Archive, "alerts"),
        "body",
        Yes,
        ("to tell operators and the tenant", "until over, then `archive.keep_events`", GONE),
    ),
    row(
        (Archive, "alert_notices"),
        "number, id, alert, routed",
        Pseudonym,
        ("messages about alerts", "until delivered", GONE),
    ),
    row(
        (Archive, "alert_notices"),
        "body",
        Yes,
        ("messages about alerts", "until delivered", GONE),
    ),
    row(
        (Archive, "alert_deliveries"),
        "notice, sink, attempts, at",
        No,
        ("messages about alerts", "until delivered", GONE),
    ),
    row(
        (Archive, "listings"),
        "subject, list, body",
        Yes,
        (
            "whether addresses and domains of the provider and its tenants are on blocklists",
            "until not watched any more",
            "the name goes",
        ),
    ),
    row(
        (Archive, "memory"),
        "name, value",
        Yes,
        (
            "to find stolen accounts: hashes of recipients and places, first messages of a suspect",
            "60 days without mail",
            GONE,
        ),
    ),
    row((Archive, "memory"), "at", No, ("to find stolen accounts", "60 days without mail", GONE)),
    row(
        (Archive, "audit"),
        "number, at, action, via, key, prev, hash",
        No,
        ("who did what: the chain", GOOD, STAYS),
    ),
    row(
        (Archive, "audit"),
        "subject, actor, before, after, reason, evidence",
        Pseudonym,
        ("commitments to values, under a salt each", GOOD, STAYS),
    ),
    row((Archive, "audit_values"), "number, field", No, ("which value", AUDIT, GONE)),
    row(
        (Archive, "audit_values"),
        "value, salt",
        Yes,
        ("who did what to whom, and why", AUDIT, "gone, but for who did it"),
    ),
    row(
        (Archive, "audit_looks"),
        "number, at",
        No,
        ("looks whose subject is still to be erased", EVENTS, GONE),
    ),
    row(
        (Archive, "audit_about"),
        "number, tenant, account",
        Pseudonym,
        ("whose matter an entry is", AUDIT, NUMBER),
    ),
    row((Archive, "availability"), "minute, lacks", No, ("what was promised", "13 months", STAYS)),
    row(
        (Archive, "skipped_minutes"),
        "begins, ends",
        No,
        ("what was promised", "13 months", STAYS),
    ),
    row(
        (Archive, "maintenance"),
        "id, begins, ends, noted",
        No,
        ("what was promised", "13 months", STAYS),
    ),
    row(
        (Archive, "maintenance"),
        "reason, actor",
        Yes,
        ("which operator planned it, and why", "13 months", "the name goes"),
    ),
    row((Archive, "budget_told"), "month, percent", No, ("what was promised", GOOD, STAYS)),
    row(
        (Archive, "stream_self"),
        "one, origin, node, number, events, octets, octets_max",
        No,
        ("to tell other gates what happened", GOOD, STAYS),
    ),
    row(
        (Archive, "stream_outgoing"),
        "place, origin, node, number, events, at",
        No,
        ("to tell other gates what happened", "until Redis took it", STAYS),
    ),
    row(
        (Archive, "stream_outgoing"),
        "body",
        Yes,
        ("to tell other gates what happened", "until Redis took it", STAYS),
    ),
    row(
        (Archive, "stream_position"),
        "one, number, mark",
        No,
        ("what other gates told", GOOD, STAYS),
    ),
    row(
        (Archive, "stream_origins"),
        "origin, node, number, events, until",
        No,
        ("what other gates told", "400 days", STAYS),
    ),
    row((Archive, "stream_missed"), "begins, ends", No, ("what was missed", EVENTS, STAYS)),
    row(
        (Archive, "node_minutes"),
        "minute, node, lacks",
        No,
        ("what was promised", "13 months", STAYS),
    ),
    row((Archive, "node_hours"), "hour, node, collected", No, ("what was counted", USAGE, STAYS)),
    row(
        (Archive, "storage"),
        "subject, tenant, bytes, files, measured, source, level, is_full, many_files",
        Pseudonym,
        ("how full mailboxes are", "until the mailbox is gone", GONE),
    ),
    row(
        (Archive, "storage_days"),
        "subject, day, bytes, files, peak_bytes",
        Pseudonym,
        ("how full mailboxes were", USAGE, GONE),
    ),
    row(
        (Archive, "tokens"),
        "id, role, tenant, digest, created, expires, last_used",
        Pseudonym,
        ("who may use the API", "until revoked; `archive.keep_events` after its end", STAYS),
    ),
    row(
        (Archive, "tokens"),
        "name, creator",
        Yes,
        (
            "who may use the API, and which operator made it",
            "until revoked; `archive.keep_events` after its end",
            STAYS,
        ),
    ),
    row(
        (Archive, "usage_hours"),
        "tenant, account, slot, first, last, messages, recipients, unknown, deferred, bounced, over_hour, over_day, over_client, suspended, refused_other, observed, warnings, flagged, throttled, complaints, bytes",
        Pseudonym,
        ("reports: how much was sent", "35 days", NUMBER),
    ),
    row(
        (Archive, "usage_days"),
        "tenant, account, slot, first, last, messages, recipients, unknown, deferred, bounced, over_hour, over_day, over_client, suspended, refused_other, observed, warnings, flagged, throttled, complaints, bytes, peak, peak_at, peak_day, peak_day_at",
        Pseudonym,
        ("reports: how much was sent", USAGE, NUMBER),
    ),
    row(
        (Archive, "usage_months"),
        "tenant, account, slot, first, last, messages, recipients, unknown, deferred, bounced, over_hour, over_day, over_client, suspended, refused_other, observed, warnings, flagged, throttled, complaints, bytes, peak, peak_at, peak_day, peak_day_at",
        Pseudonym,
        ("reports: how much was sent", USAGE, NUMBER),
    ),
    row(
        (Archive, "usage_days_sets"),
        "tenant, account, slot, recipients, tops",
        Pseudonym,
        (
            "reports: how many different recipients, as hashes; networks of clients, domains of recipients",
            USAGE,
            GONE,
        ),
    ),
    row(
        (Archive, "usage_months_sets"),
        "tenant, account, slot, recipients, tops",
        Pseudonym,
        (
            "reports: how many different recipients, as hashes; networks of clients, domains of recipients",
            USAGE,
            GONE,
        ),
    ),
    row(
        (Archive, "usage_reasons"),
        "tenant, account, slot, reason, count",
        Pseudonym,
        ("reports: why mail was refused", "35 days", NUMBER),
    ),
    row(
        (Archive, "minutes"),
        "minute, collected, lost, messages, accepted, deferred, refused",
        No,
        ("traffic of all", "35 days", STAYS),
    ),
    row((Archive, "covered_hours"), "hour, collected, lost", No, ("gaps in reports", USAGE, STAYS)),
    row(
        (Archive, "suspensions"),
        "case_id, subject, since, until",
        Pseudonym,
        ("reports: suspensions", USAGE, NUMBER),
    ),
    row((Archive, "suspensions"), "reason, lifted_by", Yes, ("reports: suspensions", USAGE, GONE)),
    row((Archive, "usage_key"), "secret", No, ("the key of recipients' hashes", GOOD, STAYS)),
    row(
        (Archive, "report_letters"),
        "tenant, period, at",
        Pseudonym,
        ("to send no report twice", "60 days", STAYS),
    ),
    row(
        (Archive, "egress_hours"),
        "address, hour, account, tenant, messages, recipients, refused, spam, points",
        Pseudonym,
        ("who caused a listing", "35 days", NUMBER),
    ),
    row(
        (Archive, "egress_choices"),
        "address, choice, since",
        No,
        ("which of the provider's addresses are used", "until changed", STAYS),
    ),
    row(
        (Archive, "egress_choices"),
        "actor, reason",
        Yes,
        ("which operator decided so, and why", "until changed", "the name goes"),
    ),
    row(
        (Archive, "backups"),
        "number, at, file, sha256, bytes, expires",
        No,
        ("which backups still hold what was erased", "`backup.keep`", STAYS),
    ),
    row(
        (Archive, "erasures"),
        "digest, at, done",
        Pseudonym,
        ("to erase again in what is restored", GOOD, STAYS),
    ),
    row(
        (Archive, "erasing"),
        "id, stage",
        No,
        ("how far an erasure at all gates is", "until it has ended", "gone when it has ended"),
    ),
    row(
        (Archive, "erasing"),
        "job",
        Yes,
        ("who is erased at all gates", "until it has ended", "gone when it has ended"),
    ),
    row(
        (Archive, "erasing_told"),
        "id, node, part, position, change",
        No,
        ("which gates have erased", "until it has ended", "gone when it has ended"),
    ),
    row(
        (Archive, "erasing_over"),
        "id, is_unheard",
        No,
        ("so that an erasure at all gates that has ended does not begin anew", GOOD, STAYS),
    ),
    row(
        (Archive, "kept_asked"),
        "asker, teller, number, since, lack, is_all",
        No,
        ("which gates ask for holds and closings, and who told", "until it knows all", STAYS),
    ),
    row(
        (Archive, "kept_touched"),
        "what, subject, is_alone",
        Pseudonym,
        ("which were placed or lifted while it asks, or is alone", "until it knows all", STAYS),
    ),
    row(
        (Archive, "holds"),
        "subject, at",
        Pseudonym,
        ("of whom nothing may be erased", "until released", "there is none then"),
    ),
    row(
        (Archive, "holds"),
        "reason, actor",
        Yes,
        ("of whom nothing may be erased, why and by whom", "until released", "there is none then"),
    ),
    row(
        (Archive, "closings"),
        "subject, at, due",
        Pseudonym,
        ("who leaves", "`privacy.keep_closed`", GONE),
    ),
    row(
        (Archive, "closings"),
        "reason",
        Yes,
        ("who leaves, and why", "`privacy.keep_closed`", GONE),
    ),
    row(
        (Archive, "offences"),
        "number, at, tenant, account, severity, kind, case_id, withdrawn",
        Pseudonym,
        ("to see that breaches are repeated", "`offences.keep`", NUMBER),
    ),
    row(
        (Archive, "offences"),
        "detail",
        Yes,
        ("what an offence rests on", "`offences.keep`", "the name goes"),
    ),
    row(
        (File, "spool"),
        "texts of messages, in unlinked files",
        Yes,
        ("to hand them on", "until the transaction ends; gone after a crash", "is empty then"),
    ),
    row(
        (File, "the log"),
        "accounts, senders, recipients, client addresses, answers",
        Yes,
        (
            "operation and abuse; recipients hashed with `privacy.log_recipients`",
            "your log rotation",
            "your log rotation",
        ),
    ),
    row(
        (File, "erasures"),
        "time and keyed hash",
        Pseudonym,
        ("to erase again in what is restored", GOOD, STAYS),
    ),
    row((File, "archive.db.head"), "number and hash", No, ("where the audit ends", GOOD, STAYS)),
    row(
        (File, "login-disguise"),
        "a secret",
        No,
        ("unknown logins look like known ones", GOOD, STAYS),
    ),
    row(
        (File, "auth.passwd_file"),
        "names and hashes of passwords",
        Yes,
        ("to log in; not written by the gate", "yours", "yours"),
    ),
    row(
        (File, "backups"),
        "both databases",
        Yes,
        ("to go on after a loss", "`backup.keep`", "listed; erased again when restored"),
    ),
    row(
        (Redis, "windows of accounts, tenants, client addresses"),
        "names and moments",
        Yes,
        ("to keep the limit", WINDOW, HASHED),
    ),
    row(
        (Redis, "the stream of what happened"),
        "as the archive's tables",
        Yes,
        (
            "to tell all gates what happened",
            "until newer ones fill its room, 256 MiB by default",
            "cut when all gates have erased",
        ),
    ),
    row(
        (Redis, "records and their last 10,000 changes"),
        "as subjects and changes",
        Yes,
        (
            "to share records between gates",
            "until removed, closed or erased",
            "gone; a suspension under a keyed hash until over",
        ),
    ),
    row(
        (Redis, "the key of erased names"),
        "32 octets, drawn once",
        No,
        ("to find what is left of erased accounts at all gates", GOOD, STAYS),
    ),
];

/// The table as docs/privacy.md shows it.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "| Where | Table | Columns | Personal | What for | How long | When the account is erased |\n|---|---|---|---|---|---|---|\n",
    );
    for one in STORED {
        let columns: Vec<String> = match one.place {
            Place::Store | Place::Archive => {
                one.columns.split(", ").map(|column| format!("`{column}`")).collect()
            }
            Place::File | Place::Redis => vec![one.columns.to_owned()],
        };
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            one.place.name(),
            one.table,
            columns.join(", "),
            one.personal.name(),
            one.purpose,
            one.kept,
            one.erased
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    type Columns = BTreeSet<(String, String)>;

    fn classified(place: Place) -> Columns {
        let rows = STORED.iter().filter(|one| one.place == place);
        let columns = rows.flat_map(|one| one.columns.split(", ").map(|c| (one.table, c)));
        let mut found = Columns::new();
        for (table, column) in columns {
            let is_new = found.insert((table.to_owned(), column.to_owned()));
            assert!(is_new, "{table}.{column} is classified twice");
        }
        found
    }

    #[track_caller]
    fn check(place: Place, real: &Columns) {
        let classified = classified(place);
        let lacking: Vec<_> = real.difference(&classified).collect();
        assert!(lacking.is_empty(), "columns that are not classified: {lacking:?}");
        let unknown: Vec<_> = classified.difference(real).collect();
        assert!(unknown.is_empty(), "columns that there are not: {unknown:?}");
    }

    #[test]
    fn every_column_of_the_store_is_classified() {
        check(Place::Store, &super::super::sqlite::columns());
    }

    #[test]
    fn every_column_of_the_archive_is_classified() {
        let folder = tempfile::tempdir().unwrap();
        check(Place::Archive, &super::super::archive::columns(folder.path()));
    }

    #[test]
    fn every_key_that_a_time_rests_on_is_one_of_the_configuration() {
        let keys = include_str!("../../config/tollgate.toml");
        for one in STORED {
            for key in one.kept.split('`').skip(1).step_by(2) {
                let (section, name) = key.split_once('.').unwrap();
                let section = keys.split(&format!("\n[{section}]\n")).nth(1);
                let section =
                    section.unwrap_or_else(|| panic!("{key}")).split("\n[").next().unwrap();
                let has = section.lines().any(|line| line.starts_with(&format!("{name} = ")));
                assert!(has, "there is no key {key}");
            }
        }
    }

    #[test]
    fn the_document_shows_this_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/privacy.md");
        let text = fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (shown, after) = rest.split_once(END).unwrap();
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", markdown())).unwrap();
            return;
        }
        assert_eq!(shown, markdown(), "UPDATE=1 cargo test --lib inventory writes it");
    }

    const BEGIN: &str = "<!-- stored fields -->\n";
    const END: &str = "<!-- end of stored fields -->\n";
}
