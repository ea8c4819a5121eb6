//! What each account and tenant sent, by hour, day and month, added up as it happens.
//!
//! Every share of a [`Tally`] is added to the row of its hour, its local day and its local month, of the account and of its
//! tenant, so a report reads a few rows for each tenant however much was sent. Rows name the tenant of that time. Hours are
//! kept for [`HOURS_KEPT`]; days and months longer. `minutes` and `covered_hours` say what was listened to: what is missing there
//! is a gap, and a zero elsewhere means nothing for it.

use super::{Archive, Lasting, egress, holds::NOT_HELD, names, stored, stream};
use crate::{
    rules::tally::{
        Counts, Minute, Place, RecipientKey, Seen, Share, Sketch, SuspensionChange, Tally, Top,
        Whose,
        calendar::{Day, Hour, Month},
        period::Pieces,
    },
    store::StoreError,
    types::{AccountId, CaseId, SubjectId, TenantId, Timestamp},
};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params, params_from_iter};
use std::{collections::BTreeMap, time::Duration};

/// Whose use is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageOf {
    /// The tenant.
    pub tenant: TenantId,
    /// One account of it; none: the tenant as a whole.
    pub account: Option<AccountId>,
}

/// What was counted in a period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageSum {
    /// The counters.
    pub counts: Counts,
    /// When the first and the last of it happened; none: nothing did.
    pub seen: Option<Seen>,
    /// The hour with the most recipients.
    pub peak_hour: Option<Peak>,
    /// The 24 hours, beginning with an hour, with the most recipients, by the last of these hours.
    pub peak_day: Option<Peak>,
    /// Who the recipients were.
    pub recipients: Sketch,
    /// From where.
    pub networks: Top,
    /// To where.
    pub domains: Top,
}

/// The highest of something, and its hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// Recipients.
    pub recipients: u64,
    /// The hour, or the last one of the window.
    pub hour: Hour,
}

/// What an account did in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountUsage {
    /// The account.
    pub account: String,
    /// The tenant that it had then.
    pub tenant: String,
    /// The counters.
    pub counts: Counts,
}

/// How much of a period was listened to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// For each hour that was listened to at all: how long.
    pub hours: BTreeMap<Hour, Duration>,
    /// Events that were lost.
    pub lost: u64,
}

/// What a tenant did in a period, with what is told beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantUsage {
    /// The sums.
    pub sum: UsageSum,
    /// Its accounts that sent most.
    pub accounts: Vec<AccountUsage>,
    /// Suspensions of it and of its accounts, newest first, at most [`SUSPENSIONS_MAX`].
    pub suspensions: Vec<SuspensionRow>,
}

/// A suspension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuspensionRow {
    /// The case.
    pub case: String,
    /// The account or tenant.
    pub subject: String,
    /// When it began.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
    /// When it ended; none: it has not.
    pub until: Option<Timestamp>,
    /// Who lifted it.
    pub lifted_by: Option<String>,
}

/// A suspension of which no end was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSuspension {
    /// The case.
    pub case: CaseId,
    /// The account or tenant.
    pub subject: SubjectId,
}

/// Hours that hours are kept for.
pub const HOURS_KEPT: i64 = 35 * 24;
/// Suspensions that one report names.
pub const SUSPENSIONS_MAX: usize = 20;
/// The most entries of one answer.
pub const USAGE_ROWS_MAX: usize = 1_500;

// ── asking ──

impl Archive {
    /// The key that recipients are hashed with; drawn when it is first asked for.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read or written, or the system has no random numbers.
    pub async fn recipient_key(&self) -> Result<RecipientKey, StoreError> {
        let mut drawn = [0_u8; KEY_BYTES];
        getrandom::fill(&mut drawn).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let secret = self.write(Lasting::Power, move |db| {
            let find = "SELECT secret FROM usage_key";
            let known: Option<Vec<u8>> = db.query_row(find, [], |row| row.get(0)).optional()?;
            if let Some(secret) = known {
                return Ok(secret);
            }
            db.execute("INSERT INTO usage_key (secret) VALUES (?1)", [&drawn[..]])?;
            Ok(drawn.to_vec())
        });
        Ok(RecipientKey::new(&secret.await?))
    }

    /// Hashes recipients with another key from now on: that of all nodes. What was hashed before counts apart from it.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn set_recipient_key(&self, secret: Vec<u8>) -> Result<RecipientKey, StoreError> {
        let key = RecipientKey::new(&secret);
        let set = move |db: &Connection| db.execute("UPDATE usage_key SET secret = ?1", [secret]);
        self.write(Lasting::Power, set).await?;
        Ok(key)
    }

    /// What [`Archive::recipient_key`] is made from.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn recipient_secret(&self) -> Result<Vec<u8>, StoreError> {
        self.read_own(|db| db.query_row("SELECT secret FROM usage_key", [], |row| row.get(0))).await
    }

    /// What each of some tenants or accounts did in a period, in the order of asking.
    #[cfg(test)]
    pub(super) async fn usage(
        &self,
        of: Vec<UsageOf>,
        pieces: Pieces,
    ) -> Result<Vec<UsageSum>, StoreError> {
        self.read(move |db| of.iter().map(|of| sum(db, of, &pieces)).collect()).await
    }

    /// What each of some tenants did in a period, which lies between two moments, in the order of asking. Two readers share the work.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn tenants_usage(
        &self,
        mut tenants: Vec<TenantId>,
        pieces: Pieces,
        between: (Timestamp, Timestamp),
        accounts_max: usize,
    ) -> Result<Vec<TenantUsage>, StoreError> {
        let later = tenants.split_off(tenants.len() / 2);
        let first = self.usage_of_some(tenants, pieces.clone(), between, accounts_max);
        let later = self.usage_of_some(later, pieces, between, accounts_max);
        let (mut all, later) = tokio::try_join!(first, later)?;
        all.extend(later);
        Ok(all)
    }

    async fn usage_of_some(
        &self,
        tenants: Vec<TenantId>,
        pieces: Pieces,
        between: (Timestamp, Timestamp),
        accounts_max: usize,
    ) -> Result<Vec<TenantUsage>, StoreError> {
        self.read(move |db| {
            let usage = |tenant: TenantId| {
                let of = UsageOf { tenant, account: None };
                Ok(TenantUsage {
                    sum: sum(db, &of, &pieces)?,
                    accounts: accounts(db, &of.tenant, &pieces, accounts_max)?,
                    suspensions: suspensions(db, &of.tenant, between, SUSPENSIONS_MAX)?,
                })
            };
            tenants.into_iter().map(usage).collect()
        })
        .await
    }

    /// The accounts of a tenant that sent most in a period, first those that sent most.
    #[cfg(test)]
    pub(super) async fn usage_of_accounts(
        &self,
        tenant: TenantId,
        pieces: Pieces,
        max: usize,
    ) -> Result<Vec<AccountUsage>, StoreError> {
        self.read(move |db| accounts(db, &tenant, &pieces, max)).await
    }

    /// The hours from the first on, up to one that is not included, in which something was counted.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn usage_by_hour(
        &self,
        of: UsageOf,
        first: Hour,
        end: Hour,
    ) -> Result<BTreeMap<Hour, Counts>, StoreError> {
        let range = (first.number(), end.number() - 1);
        let rows = self.read(move |db| series(db, Table::Hours, &of, range)).await?;
        Ok(rows.into_iter().map(|(slot, counts)| (Hour::new(slot), counts)).collect())
    }

    /// The days from the first to the last in which something was counted.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn usage_by_day(
        &self,
        of: UsageOf,
        first: Day,
        last: Day,
    ) -> Result<BTreeMap<Day, Counts>, StoreError> {
        let range = (i64::from(first.number()), i64::from(last.number()));
        let rows = self.read(move |db| series(db, Table::Days, &of, range)).await?;
        let day = |slot: i64| Day::new(i32::try_from(slot).unwrap_or(i32::MAX));
        Ok(rows.into_iter().map(|(slot, counts)| (day(slot), counts)).collect())
    }

    /// Up to `max` tenants after a name, sorted, of which anything was ever counted and is still kept.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn usage_tenants(
        &self,
        after: String,
        max: usize,
    ) -> Result<Vec<String>, StoreError> {
        self.read(move |db| {
            let mut select = db.prepare_cached(
                "SELECT name FROM names WHERE kind = ?1 AND name > ?2 \
                 AND EXISTS (SELECT 1 FROM usage_months WHERE tenant = names.id) ORDER BY name LIMIT ?3",
            )?;
            select.query_map(params![names::TENANT, after, limit(max)], |row| row.get(0))?.collect()
        })
        .await
    }

    /// The accounts that sent most from an hour on, up to one that is not included.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn top_senders(
        &self,
        first: Hour,
        end: Hour,
        max: usize,
    ) -> Result<Vec<AccountUsage>, StoreError> {
        self.read(move |db| top_senders(db, first, end, max)).await
    }

    /// Refusals of Tollgate's own by reason, most frequent first, in some hours.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn refusal_reasons(
        &self,
        of: UsageOf,
        first: Hour,
        end: Hour,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        self.read(move |db| reasons(db, &of, first, end)).await
    }

    /// What the whole gate did, by minutes since 1970, from the first on, up to one that is not included.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn traffic(&self, first: i64, end: i64) -> Result<BTreeMap<i64, Minute>, StoreError> {
        self.read(move |db| {
            let mut select = db.prepare_cached(
                "SELECT minute, CASE WHEN EXISTS (SELECT 1 FROM stream_missed WHERE ends > minute * 60000 \
                 AND begins < (minute + 1) * 60000) THEN 0 ELSE collected END, \
                 lost, messages, accepted, deferred, refused FROM minutes \
                 WHERE minute >= ?1 AND minute < ?2 ORDER BY minute LIMIT ?3",
            )?;
            let rows = select.query_map(params![first, end, limit(USAGE_ROWS_MAX)], |row| {
                let collected = Duration::from_millis(count(row, 1)?);
                let (lost, messages, accepted) = (count(row, 2)?, count(row, 3)?, count(row, 4)?);
                let (deferred, refused) = (count(row, 5)?, count(row, 6)?);
                let minute = Minute { collected, lost, messages, accepted, deferred, refused };
                Ok((row.get(0)?, minute))
            })?;
            rows.collect()
        })
        .await
    }

    /// How much of some hours was listened to.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn coverage(&self, first: Hour, end: Hour) -> Result<Coverage, StoreError> {
        self.read(move |db| {
            let mut select = db.prepare_cached(
                "SELECT hour, collected, lost FROM covered_hours WHERE hour >= ?1 AND hour < ?2",
            )?;
            let mut rows = select.query([first.number(), end.number()])?;
            let mut coverage = Coverage::default();
            while let Some(row) = rows.next()? {
                let collected = Duration::from_millis(count(row, 1)?);
                coverage.hours.insert(Hour::new(row.get(0)?), collected);
                coverage.lost += count(row, 2)?;
            }
            let missed = missed(db, first.begin(), end.begin())?;
            for (hour, collected) in &mut coverage.hours {
                let (begin, end) = (hour.begin(), Hour::new(hour.number() + 1).begin());
                for &(since, until) in &missed {
                    *collected = collected.saturating_sub(until.min(end).since(since.max(begin)));
                }
            }
            Ok(coverage)
        })
        .await
    }

    /// Suspensions of a tenant, and of accounts that sent as its own, that touch some time; the newest first, at most `max`.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn suspensions(
        &self,
        tenant: TenantId,
        from: Timestamp,
        until: Timestamp,
        max: usize,
    ) -> Result<Vec<SuspensionRow>, StoreError> {
        self.read(move |db| suspensions(db, &tenant, (from, until), max)).await
    }

    /// Up to `max` suspensions of which no end was heard, in no order.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn open_suspensions(&self, max: usize) -> Result<Vec<OpenSuspension>, StoreError> {
        self.read_own(move |db| open_suspensions(db, max)).await
    }

    /// True if it was noted that a tenant is sent its report about a period.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn has_letter(&self, tenant: TenantId, period: String) -> Result<bool, StoreError> {
        self.read_own(move |db| {
            let Some(tenant) = names::find(db, &SubjectId::Tenant(tenant))? else {
                return Ok(false);
            };
            let sql = "SELECT 1 FROM report_letters WHERE tenant = ?1 AND period = ?2";
            db.prepare_cached(sql)?.exists(params![tenant, period])
        })
        .await
    }

    /// Notes that a tenant is sent its report about a period; false if that was noted before.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn begin_letter(
        &self,
        tenant: TenantId,
        period: String,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write_and_tell(Lasting::Power, move |db| {
            let letter = LetterNote { tenant, period, at: Some(at) };
            let is_new = note_letter(db, &letter)?;
            if is_new && stream::is_shared(db)? {
                stream::post(db, &letter.into(), at)?;
            }
            Ok(is_new)
        })
        .await
    }

    /// Takes that back, because it could not be sent.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn take_letter_back(
        &self,
        tenant: TenantId,
        period: String,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write_and_tell(Lasting::Power, move |db| {
            let letter = LetterNote { tenant, period, at: None };
            note_letter(db, &letter)?;
            if stream::is_shared(db)? {
                stream::post(db, &letter.into(), at)?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets hours before one and days before another, a bounded number at a time; returns how many rows went.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn forget_usage(&self, hours: Hour, days: Day) -> Result<usize, StoreError> {
        self.write(Lasting::Process, move |db| forget(db, hours, days)).await
    }
}

/// Forgets letters that were sent before a moment, a few at a time.
pub(super) fn cut_letters(
    db: &Connection,
    before: Timestamp,
    max: usize,
) -> rusqlite::Result<usize> {
    let mut delete = db.prepare_cached(
        "DELETE FROM report_letters WHERE (tenant, period) IN \
         (SELECT tenant, period FROM report_letters WHERE at < ?1 LIMIT ?2)",
    )?;
    delete.execute(params![stored(before), limit(max)])
}

/// That a tenant is sent its report about a period.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LetterNote {
    /// The tenant.
    tenant: TenantId,
    /// The period.
    period: String,
    /// When; none: that was taken back.
    at: Option<Timestamp>,
}

impl From<LetterNote> for stream::Content {
    fn from(letter: LetterNote) -> Self {
        Self { letters: vec![letter], ..Self::default() }
    }
}

/// Notes a letter; false if that changed nothing.
pub(super) fn note_letter(db: &Connection, letter: &LetterNote) -> rusqlite::Result<bool> {
    let tenant = names::number_of(db, &SubjectId::Tenant(letter.tenant.clone()))?;
    let changed = if let Some(at) = letter.at {
        let sql = "INSERT OR IGNORE INTO report_letters (tenant, period, at) VALUES (?1, ?2, ?3)";
        db.prepare_cached(sql)?.execute(params![tenant, letter.period, stored(at)])?
    } else {
        let sql = "DELETE FROM report_letters WHERE tenant = ?1 AND period = ?2";
        db.prepare_cached(sql)?.execute(params![tenant, letter.period])?
    };
    Ok(changed == 1)
}

// ── adding ──

/// Adds a tally to what is stored.
pub(super) fn add(db: &Connection, tally: &Tally) -> rusqlite::Result<()> {
    add_of(db, tally, None)
}

/// Adds the tally of one of several nodes, by its name.
pub(super) fn add_of(db: &Connection, tally: &Tally, node: Option<&str>) -> rusqlite::Result<()> {
    let mut of_tenants: BTreeMap<(i64, Hour), Share> = BTreeMap::new();
    for ((whose, hour), share) in &tally.shares {
        let (tenant, account) = numbers_of(db, whose)?;
        if account != WHOLE {
            add_share(db, Owner { tenant, account }, *hour, share)?;
        }
        match of_tenants.get_mut(&(tenant, *hour)) {
            Some(known) => known.merge(share),
            None => drop(of_tenants.insert((tenant, *hour), share.clone())),
        }
    }
    for ((tenant, hour), share) in &of_tenants {
        add_share(db, Owner { tenant: *tenant, account: WHOLE }, *hour, share)?;
    }
    add_minutes(db, &tally.minutes, node)?;
    add_reasons(db, tally)?;
    egress::add(db, &tally.egress)?;
    tally.suspensions.iter().try_for_each(|change| add_suspension(db, change))
}

/// Whose a row is, by numbers.
#[derive(Debug, Clone, Copy)]
struct Owner {
    tenant: i64,
    account: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Hours,
    Days,
    Months,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Hours => "usage_hours",
            Self::Days => "usage_days",
            Self::Months => "usage_months",
        }
    }
}

pub(super) fn numbers_of(db: &Connection, whose: &Whose) -> rusqlite::Result<(i64, i64)> {
    let tenant = names::number_of(db, &SubjectId::Tenant(whose.tenant.clone()))?;
    let account = whose.account.clone().map(SubjectId::Account);
    let account = account.map(|account| names::number_of(db, &account)).transpose()?;
    Ok((tenant, account.unwrap_or(WHOLE)))
}

fn add_share(db: &Connection, owner: Owner, hour: Hour, share: &Share) -> rusqlite::Result<()> {
    let none = Peaks::default();
    let in_hour = upsert(db, Table::Hours, owner, hour.number(), share, none)?;
    let peaks = if share.counts.recipients > 0 {
        Peaks { hour: in_hour, day: sent_in_a_day(db, owner, hour)?, at: hour.number() }
    } else {
        none
    };
    let (day, month) = (share.day.number(), share.day.month().number());
    upsert(db, Table::Days, owner, i64::from(day), share, peaks)?;
    upsert(db, Table::Months, owner, i64::from(month), share, peaks)?;
    if share.recipients.count() == 0 && share.networks.places().next().is_none() {
        return Ok(());
    }
    add_sets(db, Table::Days, owner, i64::from(day), share)?;
    if owner.account == WHOLE {
        add_sets(db, Table::Months, owner, i64::from(month), share)?;
    }
    Ok(())
}

/// The highest sums that a share made.
#[derive(Debug, Clone, Copy, Default)]
struct Peaks {
    hour: i64,
    day: i64,
    at: i64,
}

/// Adds a share to a row; returns the recipients that the row has now.
fn upsert(
    db: &Connection,
    table: Table,
    owner: Owner,
    slot: i64,
    share: &Share,
    peaks: Peaks,
) -> rusqlite::Result<i64> {
    let mut values: Vec<i64> = vec![owner.tenant, owner.account, slot];
    values.extend([stored(share.seen.first), stored(share.seen.last)]);
    if table != Table::Hours {
        values.extend([peaks.hour, peaks.at, peaks.day, peaks.at]);
    }
    values.extend(share.counts.values().into_iter().map(number));
    let mut statement = db.prepare_cached(&upsert_sql(table))?;
    statement.query_row(params_from_iter(values), |row| row.get(0))
}

fn upsert_sql(table: Table) -> String {
    let name = table.name();
    let (mut columns, mut changes) =
        (String::from("tenant, account, slot, first, last"), String::new());
    if table != Table::Hours {
        columns.push_str(", peak, peak_at, peak_day, peak_day_at");
        for peak in ["peak", "peak_day"] {
            changes.push_str(&format!(
                ", {peak}_at = CASE WHEN excluded.{peak} > {peak} THEN excluded.{peak}_at ELSE {peak}_at END, \
                 {peak} = max({peak}, excluded.{peak})"
            ));
        }
    }
    for counter in Counts::NAMES {
        columns.push_str(&format!(", {counter}"));
        changes.push_str(&format!(", {counter} = {counter} + excluded.{counter}"));
    }
    let marks = vec!["?"; columns.split(", ").count()].join(", ");
    format!(
        "INSERT INTO {name} ({columns}) VALUES ({marks}) ON CONFLICT DO UPDATE SET \
         first = min(first, excluded.first), last = max(last, excluded.last){changes} RETURNING recipients"
    )
}

/// What was sent in the 24 hours that end with this one.
fn sent_in_a_day(db: &Connection, owner: Owner, hour: Hour) -> rusqlite::Result<i64> {
    let mut sum = db.prepare_cached(
        "SELECT coalesce(sum(recipients), 0) FROM usage_hours \
         WHERE tenant = ?1 AND account = ?2 AND slot > ?3 AND slot <= ?4",
    )?;
    let hour = hour.number();
    sum.query_row([owner.tenant, owner.account, hour - 24, hour], |row| row.get(0))
}

fn add_sets(
    db: &Connection,
    table: Table,
    owner: Owner,
    slot: i64,
    share: &Share,
) -> rusqlite::Result<()> {
    let mut find = db.prepare_cached(&format!(
        "SELECT recipients, tops FROM {}_sets WHERE tenant = ?1 AND account = ?2 AND slot = ?3",
        table.name()
    ))?;
    let place = [owner.tenant, owner.account, slot];
    let known = find.query_row(place, Sets::read).optional()?;
    let mut sets = known.unwrap_or_default();
    sets.recipients.merge(&share.recipients);
    if owner.account == WHOLE {
        sets.networks.merge(&share.networks);
        sets.domains.merge(&share.domains);
    }
    let mut put = db.prepare_cached(&format!(
        "INSERT OR REPLACE INTO {}_sets (tenant, account, slot, recipients, tops) VALUES (?1, ?2, ?3, ?4, ?5)",
        table.name()
    ))?;
    let recipients = sets.recipients.to_bytes();
    put.execute(params![owner.tenant, owner.account, slot, recipients, sets.tops_text()])?;
    Ok(())
}

/// What is kept beside the counters.
#[derive(Debug, Default)]
struct Sets {
    recipients: Sketch,
    networks: Top,
    domains: Top,
}

/// The stored form of the two lists.
#[derive(serde::Serialize, serde::Deserialize)]
struct StoredTops {
    version: u8,
    networks: BTreeMap<String, Place>,
    domains: BTreeMap<String, Place>,
}

impl Sets {
    /// What cannot be read, because another version wrote it, counts as nothing: it is a detail of a report.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let recipients = Sketch::from_bytes(row.get_ref(0)?.as_blob()?).unwrap_or_default();
        let tops: Option<StoredTops> = match row.get_ref(1)?.as_str_or_null()? {
            Some(text) => serde_json::from_str(text).ok(),
            None => None,
        };
        let Some(tops) = tops.filter(|tops| tops.version == TOPS_VERSION) else {
            return Ok(Self { recipients, ..Self::default() });
        };
        let (networks, domains) = (tops.networks.into(), tops.domains.into());
        Ok(Self { recipients, networks, domains })
    }

    fn tops_text(&self) -> Option<String> {
        if self.networks.places().next().is_none() && self.domains.places().next().is_none() {
            return None;
        }
        let places =
            |top: &Top| top.places().map(|(name, place)| (name.to_owned(), place)).collect();
        let tops = StoredTops {
            version: TOPS_VERSION,
            networks: places(&self.networks),
            domains: places(&self.domains),
        };
        serde_json::to_string(&tops).ok()
    }
}

fn add_minutes(
    db: &Connection,
    minutes: &BTreeMap<i64, Minute>,
    node: Option<&str>,
) -> rusqlite::Result<()> {
    let mut minute = db.prepare_cached(
        "INSERT INTO minutes (minute, collected, lost, messages, accepted, deferred, refused) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET \
         collected = min(collected + excluded.collected, 60000), lost = lost + excluded.lost, \
         messages = messages + excluded.messages, accepted = accepted + excluded.accepted, \
         deferred = deferred + excluded.deferred, refused = refused + excluded.refused",
    )?;
    let mut hour = db.prepare_cached(
        "INSERT INTO covered_hours (hour, collected, lost) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET \
         collected = min(collected + excluded.collected, 3600000), lost = lost + excluded.lost",
    )?;
    for (at, counted) in minutes {
        let collected = i64::try_from(counted.collected.as_millis()).unwrap_or(i64::MAX);
        let lost = number(counted.lost);
        minute.execute([
            *at,
            collected,
            lost,
            number(counted.messages),
            number(counted.accepted),
            number(counted.deferred),
            number(counted.refused),
        ])?;
        let at = at.div_euclid(60);
        match node {
            None => drop(hour.execute([at, collected, lost])?),
            Some(node) => add_hour_of(db, node, at, (collected, lost))?,
        }
    }
    Ok(())
}

/// Of several nodes an hour was listened to for as long as by the one that listened longest: one that is not there has no mail.
/// What was missed of one that was there is told apart ([`add_missed`]).
fn add_hour_of(
    db: &Connection,
    node: &str,
    hour: i64,
    (collected, lost): (i64, i64),
) -> rusqlite::Result<()> {
    let mut own = db.prepare_cached(
        "INSERT INTO node_hours (hour, node, collected) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET \
         collected = min(collected + excluded.collected, 3600000) RETURNING collected",
    )?;
    let collected: i64 = own.query_row(params![hour, node, collected], |row| row.get(0))?;
    let mut of_all = db.prepare_cached(
        "INSERT INTO covered_hours (hour, collected, lost) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET \
         collected = max(collected, excluded.collected), lost = lost + excluded.lost",
    )?;
    of_all.execute([hour, collected, lost]).map(drop)
}

/// Notes that events of other nodes were missed, of which the last happened at this moment.
pub(super) fn add_missed(db: &Connection, at: Timestamp, events: u64) -> rusqlite::Result<()> {
    let minute = Minute { lost: events, ..Minute::default() };
    let at = at.as_millis().div_euclid(MINUTE_MILLIS);
    add_minutes(db, &BTreeMap::from([(at, minute)]), None)
}

fn add_reasons(db: &Connection, tally: &Tally) -> rusqlite::Result<()> {
    let mut upsert = db.prepare_cached(
        "INSERT INTO usage_reasons (tenant, account, slot, reason, count) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO UPDATE SET count = count + excluded.count",
    )?;
    for ((hour, whose, reason), count) in &tally.reasons {
        let (tenant, account) = match whose {
            Some(whose) => numbers_of(db, whose)?,
            None => (NOBODY, WHOLE),
        };
        upsert.execute(params![tenant, account, hour.number(), reason.as_ref(), number(*count)])?;
    }
    Ok(())
}

fn add_suspension(db: &Connection, change: &SuspensionChange) -> rusqlite::Result<()> {
    match change {
        SuspensionChange::Began { at, suspended } => {
            let subject = names::number_of(db, &suspended.subject)?;
            let values = params![suspended.case.as_str(), subject, stored(*at), suspended.reason];
            db.prepare_cached(
                "INSERT OR IGNORE INTO suspensions (case_id, subject, since, reason) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(values)?;
        }
        SuspensionChange::Ended { at, case, actor } => end_suspension(db, *at, case, actor)?,
    }
    Ok(())
}

fn end_suspension(
    db: &Connection,
    at: Timestamp,
    case: &CaseId,
    actor: &str,
) -> rusqlite::Result<()> {
    let sql = "UPDATE suspensions SET until = ?2, lifted_by = ?3 WHERE case_id = ?1";
    db.prepare_cached(sql)?.execute(params![case.as_str(), stored(at), actor]).map(drop)
}

// ── reading ──

/// Stretches of which something of other nodes was missed.
fn missed(
    db: &Connection,
    since: Timestamp,
    until: Timestamp,
) -> rusqlite::Result<Vec<(Timestamp, Timestamp)>> {
    let mut select = db.prepare_cached(
        "SELECT begins, ends FROM stream_missed WHERE ends > ?1 AND begins < ?2 LIMIT ?3",
    )?;
    let moment = |row: &Row<'_>, column| row.get(column).map(Timestamp::from_millis);
    let values = params![stored(since), stored(until), limit(USAGE_ROWS_MAX)];
    let rows = select.query_map(values, |row| Ok((moment(row, 0)?, moment(row, 1)?)))?;
    rows.collect()
}

fn owner_of(db: &Connection, of: &UsageOf) -> rusqlite::Result<Option<Owner>> {
    let Some(tenant) = names::find(db, &SubjectId::Tenant(of.tenant.clone()))? else {
        return Ok(None);
    };
    let Some(account) = &of.account else { return Ok(Some(Owner { tenant, account: WHOLE })) };
    let account = names::find(db, &SubjectId::Account(account.clone()))?;
    Ok(account.map(|account| Owner { tenant, account }))
}

/// The stretches of rows that make up a period.
fn stretches(pieces: &Pieces) -> impl Iterator<Item = (Table, (i64, i64))> {
    let months = pieces.months.map(|(first, last): (Month, Month)| {
        (Table::Months, (i64::from(first.number()), i64::from(last.number())))
    });
    let days = pieces
        .days
        .iter()
        .map(|(first, last)| (Table::Days, (i64::from(first.number()), i64::from(last.number()))));
    months.into_iter().chain(days)
}

fn sum(db: &Connection, of: &UsageOf, pieces: &Pieces) -> rusqlite::Result<UsageSum> {
    let mut sum = UsageSum::default();
    let Some(owner) = owner_of(db, of)? else { return Ok(sum) };
    for (table, range) in stretches(pieces) {
        sum_rows(db, table, owner, range, &mut sum)?;
        // Sets of accounts are kept by day only.
        if table == Table::Days || owner.account == WHOLE {
            sum_sets(db, table, owner, range, &mut sum)?;
        }
    }
    if let (true, Some((first, last))) = (owner.account != WHOLE, pieces.months) {
        let last = last.plus(1).first().number() - 1;
        let days = (i64::from(first.first().number()), i64::from(last));
        sum_sets(db, Table::Days, owner, days, &mut sum)?;
    }
    Ok(sum)
}

fn sum_rows(
    db: &Connection,
    table: Table,
    owner: Owner,
    (first, last): (i64, i64),
    sum: &mut UsageSum,
) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(&format!(
        "SELECT first, last, peak, peak_at, peak_day, peak_day_at, {} FROM {} \
         WHERE tenant = ?1 AND account = ?2 AND slot BETWEEN ?3 AND ?4",
        Counts::NAMES.join(", "),
        table.name()
    ))?;
    let mut rows = select.query([owner.tenant, owner.account, first, last])?;
    while let Some(row) = rows.next()? {
        let moment = |column| row.get(column).map(Timestamp::from_millis);
        let seen = Seen { first: moment(0)?, last: moment(1)? };
        match &mut sum.seen {
            Some(known) => known.widen(seen),
            none => *none = Some(seen),
        }
        raise(&mut sum.peak_hour, count(row, 2)?, row.get(3)?);
        raise(&mut sum.peak_day, count(row, 4)?, row.get(5)?);
        sum.counts.add(&counts(row, 6)?);
    }
    Ok(())
}

fn raise(known: &mut Option<Peak>, recipients: u64, hour: i64) {
    if recipients > known.map_or(0, |peak| peak.recipients) {
        *known = Some(Peak { recipients, hour: Hour::new(hour) });
    }
}

fn sum_sets(
    db: &Connection,
    table: Table,
    owner: Owner,
    (first, last): (i64, i64),
    sum: &mut UsageSum,
) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(&format!(
        "SELECT recipients, tops FROM {}_sets WHERE tenant = ?1 AND account = ?2 AND slot BETWEEN ?3 AND ?4",
        table.name()
    ))?;
    let mut rows = select.query([owner.tenant, owner.account, first, last])?;
    while let Some(row) = rows.next()? {
        let sets = Sets::read(row)?;
        sum.recipients.merge(&sets.recipients);
        sum.networks.merge(&sets.networks);
        sum.domains.merge(&sets.domains);
    }
    Ok(())
}

/// Adds up what each account of a tenant did; a tenant's accounts are as many as it has, which limits on new ones bound.
fn accounts(
    db: &Connection,
    tenant: &TenantId,
    pieces: &Pieces,
    max: usize,
) -> rusqlite::Result<Vec<AccountUsage>> {
    let of = UsageOf { tenant: tenant.clone(), account: None };
    let Some(owner) = owner_of(db, &of)? else { return Ok(Vec::new()) };
    let mut parts = Vec::new();
    let mut values: Vec<i64> = vec![owner.tenant];
    for (table, (first, last)) in stretches(pieces) {
        values.extend([first, last]);
        let (columns, from) = (Counts::NAMES.join(", "), values.len() - 1);
        parts.push(format!(
            "SELECT account, {columns} FROM {} WHERE tenant = ?1 AND account > 0 AND slot BETWEEN ?{from} AND ?{}",
            table.name(),
            from + 1
        ));
    }
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT accounts.name, {}, ?{} FROM ({}) AS parts JOIN names AS accounts ON accounts.id = parts.account \
         GROUP BY parts.account ORDER BY sum(recipients) DESC, accounts.name LIMIT ?{}",
        sums(),
        values.len() + 1,
        parts.join(" UNION ALL "),
        values.len() + 2,
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut values: Vec<Box<dyn ToSql>> =
        values.into_iter().map(|value| Box::new(value) as Box<dyn ToSql>).collect();
    values.push(Box::new(tenant.as_str().to_owned()));
    values.push(Box::new(limit(max)));
    select.query_map(params_from_iter(values), account_usage)?.collect()
}

fn top_senders(
    db: &Connection,
    first: Hour,
    end: Hour,
    max: usize,
) -> rusqlite::Result<Vec<AccountUsage>> {
    let sql = format!(
        "SELECT accounts.name, {}, tenants.name FROM usage_hours AS parts \
         JOIN names AS accounts ON accounts.id = parts.account JOIN names AS tenants ON tenants.id = parts.tenant \
         WHERE slot >= ?1 AND slot < ?2 AND account > 0 \
         GROUP BY parts.tenant, parts.account ORDER BY sum(recipients) DESC, accounts.name LIMIT ?3",
        sums()
    );
    let mut select = db.prepare_cached(&sql)?;
    select.query_map([first.number(), end.number(), limit(max)], account_usage)?.collect()
}

fn sums() -> String {
    Counts::NAMES.iter().map(|name| format!("sum({name})")).collect::<Vec<_>>().join(", ")
}

fn account_usage(row: &Row<'_>) -> rusqlite::Result<AccountUsage> {
    let tenant = row.get(Counts::NAMES.len() + 1)?;
    Ok(AccountUsage { account: row.get(0)?, tenant, counts: counts(row, 1)? })
}

fn series(
    db: &Connection,
    table: Table,
    of: &UsageOf,
    (first, last): (i64, i64),
) -> rusqlite::Result<Vec<(i64, Counts)>> {
    let Some(owner) = owner_of(db, of)? else { return Ok(Vec::new()) };
    let mut select = db.prepare_cached(&format!(
        "SELECT slot, {} FROM {} WHERE tenant = ?1 AND account = ?2 AND slot BETWEEN ?3 AND ?4 ORDER BY slot LIMIT ?5",
        Counts::NAMES.join(", "),
        table.name()
    ))?;
    let values = [owner.tenant, owner.account, first, last, limit(USAGE_ROWS_MAX)];
    select.query_map(values, |row| Ok((row.get(0)?, counts(row, 1)?)))?.collect()
}

fn reasons(
    db: &Connection,
    of: &UsageOf,
    first: Hour,
    end: Hour,
) -> rusqlite::Result<Vec<(String, u64)>> {
    let Some(owner) = owner_of(db, of)? else { return Ok(Vec::new()) };
    let any = i64::from(owner.account == WHOLE);
    let mut select = db.prepare_cached(
        "SELECT reason, sum(count) FROM usage_reasons WHERE slot >= ?1 AND slot < ?2 AND tenant = ?3 \
         AND (account = ?4 OR ?5) GROUP BY reason ORDER BY sum(count) DESC, reason",
    )?;
    let values = [first.number(), end.number(), owner.tenant, owner.account, any];
    select.query_map(values, |row| Ok((row.get(0)?, count(row, 1)?)))?.collect()
}

/// Those of a tenant and of accounts that were its own then, as their offences say; where these are forgotten, of accounts that ever were.
fn suspensions(
    db: &Connection,
    tenant: &TenantId,
    (from, until): (Timestamp, Timestamp),
    max: usize,
) -> rusqlite::Result<Vec<SuspensionRow>> {
    let tenant = names::find(db, &SubjectId::Tenant(tenant.clone()))?;
    let Some(tenant) = tenant else { return Ok(Vec::new()) };
    let mut select = db.prepare_cached(
        "SELECT suspensions.case_id, names.name, since, reason, until, lifted_by FROM suspensions \
         JOIN names ON names.id = suspensions.subject \
         LEFT JOIN offences ON offences.case_id = suspensions.case_id \
         WHERE since < ?3 AND coalesce(until, ?3) >= ?2 AND (subject = ?1 OR CASE WHEN offences.tenant IS NULL \
         THEN EXISTS (SELECT 1 FROM usage_months WHERE tenant = ?1 AND account = suspensions.subject) \
         ELSE offences.tenant = ?1 END) ORDER BY since DESC LIMIT ?4",
    )?;
    let rows = select.query_map([tenant, stored(from), stored(until), limit(max)], |row| {
        let until: Option<i64> = row.get(4)?;
        Ok(SuspensionRow {
            case: row.get(0)?,
            subject: row.get(1)?,
            since: Timestamp::from_millis(row.get(2)?),
            reason: row.get(3)?,
            until: until.map(Timestamp::from_millis),
            lifted_by: row.get(5)?,
        })
    })?;
    rows.collect()
}

fn open_suspensions(db: &Connection, max: usize) -> rusqlite::Result<Vec<OpenSuspension>> {
    let mut select = db.prepare_cached(
        "SELECT case_id, names.kind, names.name FROM suspensions JOIN names ON names.id = suspensions.subject \
         WHERE until IS NULL LIMIT ?1",
    )?;
    let mut rows = select.query([limit(max)])?;
    let mut open = Vec::new();
    while let Some(row) = rows.next()? {
        let (case, kind, name): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // What is in the archive was valid when it was stored.
        if let (Ok(case), Some(subject)) = (case.parse(), names::subject_of(kind, &name)) {
            open.push(OpenSuspension { case, subject });
        }
    }
    Ok(open)
}

fn forget(db: &Connection, hours: Hour, days: Day) -> rusqlite::Result<usize> {
    let (hour, day) = (hours.number(), i64::from(days.number()));
    let month = i64::from(days.month().number());
    let day_hours = day.saturating_mul(24);
    let mut gone = 0;
    for (table, before) in [
        ("usage_hours", hour),
        ("usage_reasons", hour),
        ("usage_days", day),
        ("usage_days_sets", day),
        ("usage_months", month),
        ("usage_months_sets", month),
    ] {
        let mut delete = db.prepare_cached(&format!(
            "DELETE FROM {table} WHERE (tenant, account, slot) IN \
             (SELECT tenant, account, slot FROM {table} WHERE slot < ?1 AND {NOT_HELD} LIMIT ?2)"
        ))?;
        gone += delete.execute([before, limit(FORGOTTEN_AT_ONCE_MAX)])?;
    }
    gone += egress::forget(db, hour, limit(FORGOTTEN_AT_ONCE_MAX))?;
    gone += db.prepare_cached("DELETE FROM minutes WHERE minute < ?1")?.execute([hour * 60])?;
    let mut covered = db.prepare_cached("DELETE FROM covered_hours WHERE hour < ?1")?;
    gone += covered.execute([day_hours])?;
    let mut of_nodes = db.prepare_cached("DELETE FROM node_hours WHERE hour < ?1")?;
    gone += of_nodes.execute([day_hours])?;
    let mut old = db.prepare_cached("DELETE FROM suspensions WHERE until < ?1")?;
    gone += old.execute([stored(Hour::new(day_hours).begin())])?;
    Ok(gone)
}

fn counts(row: &Row<'_>, first: usize) -> rusqlite::Result<Counts> {
    let values: Result<Vec<u64>, _> =
        (first..first + Counts::NAMES.len()).map(|column| count(row, column)).collect();
    Ok(Counts::from_values(values?))
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or(0))
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}

const MINUTE_MILLIS: i64 = 60_000;

/// `account` of a tenant's own row.
const WHOLE: i64 = 0;
/// `tenant` of what nobody whom we know did.
const NOBODY: i64 = 0;
const KEY_BYTES: usize = 32;
const TOPS_VERSION: u8 = 1;
const FORGOTTEN_AT_ONCE_MAX: usize = 5_000;

macro_rules! counters {
    () => {
        "first INTEGER NOT NULL, last INTEGER NOT NULL,
    messages INTEGER NOT NULL, recipients INTEGER NOT NULL, unknown INTEGER NOT NULL, deferred INTEGER NOT NULL,
    bounced INTEGER NOT NULL, over_hour INTEGER NOT NULL, over_day INTEGER NOT NULL, over_client INTEGER NOT NULL,
    suspended INTEGER NOT NULL, refused_other INTEGER NOT NULL, observed INTEGER NOT NULL, warnings INTEGER NOT NULL,
    flagged INTEGER NOT NULL, throttled INTEGER NOT NULL, complaints INTEGER NOT NULL, bytes INTEGER NOT NULL"
    };
}

macro_rules! peaks {
    () => {
        "peak INTEGER NOT NULL, peak_at INTEGER NOT NULL, peak_day INTEGER NOT NULL, peak_day_at INTEGER NOT NULL"
    };
}

macro_rules! owner {
    () => {
        "tenant INTEGER NOT NULL, account INTEGER NOT NULL, slot INTEGER NOT NULL"
    };
}

pub(super) const CREATE: &str = concat!(
    "
CREATE TABLE usage_hours (", owner!(), ", ", counters!(), ",
    PRIMARY KEY (tenant, account, slot)) WITHOUT ROWID;
CREATE INDEX usage_hours_slot ON usage_hours (slot);
CREATE TABLE usage_days (", owner!(), ", ", counters!(), ", ", peaks!(), ",
    PRIMARY KEY (tenant, account, slot)) WITHOUT ROWID;
CREATE INDEX usage_days_slot ON usage_days (slot);
CREATE TABLE usage_months (", owner!(), ", ", counters!(), ", ", peaks!(), ",
    PRIMARY KEY (tenant, account, slot)) WITHOUT ROWID;
CREATE INDEX usage_months_slot ON usage_months (slot);
CREATE TABLE usage_days_sets (", owner!(), ", recipients BLOB NOT NULL, tops TEXT,
    PRIMARY KEY (tenant, account, slot)) WITHOUT ROWID;
CREATE INDEX usage_days_sets_slot ON usage_days_sets (slot);
CREATE TABLE usage_months_sets (", owner!(), ", recipients BLOB NOT NULL, tops TEXT,
    PRIMARY KEY (tenant, account, slot)) WITHOUT ROWID;
CREATE INDEX usage_months_sets_slot ON usage_months_sets (slot);
CREATE TABLE usage_reasons (", owner!(), ", reason TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (tenant, account, slot, reason)) WITHOUT ROWID;
CREATE INDEX usage_reasons_slot ON usage_reasons (slot);
CREATE TABLE minutes (minute INTEGER PRIMARY KEY, collected INTEGER NOT NULL, lost INTEGER NOT NULL,
    messages INTEGER NOT NULL, accepted INTEGER NOT NULL, deferred INTEGER NOT NULL, refused INTEGER NOT NULL);
CREATE TABLE covered_hours (hour INTEGER PRIMARY KEY, collected INTEGER NOT NULL, lost INTEGER NOT NULL);
CREATE TABLE suspensions (case_id TEXT PRIMARY KEY, subject INTEGER NOT NULL, since INTEGER NOT NULL,
    reason TEXT NOT NULL, until INTEGER, lifted_by TEXT) WITHOUT ROWID;
CREATE TABLE usage_key (secret BLOB NOT NULL);
CREATE TABLE report_letters (tenant INTEGER NOT NULL, period TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (tenant, period)) WITHOUT ROWID;
CREATE INDEX report_letters_at ON report_letters (at);
"
);
