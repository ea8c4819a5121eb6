//! The addresses that mail leaves by: who sent by each, by hour, and what people decided about them.
//!
//! An account's row of an hour names the tenant of that time. Hours are kept as long as those of `usage`.

use super::{Archive, Lasting, stored, usage::numbers_of};
use crate::{
    rules::{
        egress::Choice,
        tally::{EgressKey, EgressShare, calendar::Hour},
    },
    store::StoreError,
    types::{AccountId, TenantId, Timestamp},
};
use rusqlite::{Connection, Row, params};
use std::{collections::BTreeMap, net::IpAddr};

/// What an account sent by an address in some hours.
#[derive(Debug, Clone, PartialEq)]
pub struct EgressUsage {
    /// Whose account it is; the newest, if it had several.
    pub tenant: TenantId,
    /// The account.
    pub account: AccountId,
    /// What it sent.
    pub share: EgressShare,
    /// Complaints about it in these hours, whatever address they are about.
    pub complaints: u64,
}

/// What somebody decided about an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressChoice {
    /// The address.
    pub address: IpAddr,
    /// What.
    pub choice: Choice,
    /// Since when, in UTC.
    pub since: Timestamp,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

impl Archive {
    /// Who sent by an address from an hour on; those of whom most was refused, suspected or sent first, at most
    /// [`EGRESS_USERS_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn egress_usage(
        &self,
        address: IpAddr,
        first: Hour,
    ) -> Result<Vec<EgressUsage>, StoreError> {
        self.read(move |db| {
            let mut select = db.prepare_cached(USAGE)?;
            let values = params![address.to_string(), first.number(), EGRESS_USERS_MAX];
            let rows = select.query_map(values, usage)?;
            // What is in the archive was valid when it was stored.
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
        })
        .await
    }

    /// What people decided about addresses.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn egress_choices(&self) -> Result<Vec<EgressChoice>, StoreError> {
        self.read_own(move |db| {
            let mut select = db.prepare_cached(CHOICES)?;
            let rows = select.query_map([], choice)?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
        })
        .await
    }

    /// Notes what somebody decided about an address.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn choose_egress(&self, chosen: EgressChoice) -> Result<(), StoreError> {
        self.write(Lasting::Power, move |db| {
            let (address, what) = (chosen.address.to_string(), chosen.choice.name());
            let values = params![address, what, stored(chosen.since), chosen.actor, chosen.reason];
            db.prepare_cached(CHOOSE)?.execute(values).map(drop)
        })
        .await
    }

    /// Takes that back.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be written.
    pub async fn forget_egress_choice(&self, address: IpAddr) -> Result<(), StoreError> {
        self.write(Lasting::Power, move |db| {
            db.prepare_cached(FORGET_CHOICE)?.execute([address.to_string()]).map(drop)
        })
        .await
    }
}

/// Adds what was counted.
pub(super) fn add(
    db: &Connection,
    shares: &BTreeMap<EgressKey, EgressShare>,
) -> rusqlite::Result<()> {
    for (key, share) in shares {
        let (tenant, account) = numbers_of(db, &key.whose)?;
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        db.prepare_cached(ADD)?.execute(params![
            key.address.to_string(),
            key.hour.number(),
            account,
            tenant,
            number(share.messages),
            number(share.recipients),
            number(share.refused),
            number(share.spam),
            share.points,
        ])?;
    }
    Ok(())
}

/// Forgets hours before one, a bounded number at a time; returns how many rows went.
pub(super) fn forget(db: &Connection, before: i64, max: i64) -> rusqlite::Result<usize> {
    db.prepare_cached(FORGET)?.execute([before, max])
}

fn usage(row: &Row<'_>) -> rusqlite::Result<Option<EgressUsage>> {
    let count = |column| row.get(column).map(|count: i64| u64::try_from(count).unwrap_or(0));
    let (account, tenant): (String, String) = (row.get(0)?, row.get(1)?);
    let share = EgressShare {
        messages: count(2)?,
        recipients: count(3)?,
        refused: count(4)?,
        spam: count(5)?,
        points: row.get(6)?,
    };
    let complaints = count(7)?;
    let names = (account.parse(), tenant.parse());
    let (Ok(account), Ok(tenant)) = names else { return Ok(None) };
    Ok(Some(EgressUsage { tenant, account, share, complaints }))
}

fn choice(row: &Row<'_>) -> rusqlite::Result<Option<EgressChoice>> {
    let (address, word): (String, String) = (row.get(0)?, row.get(1)?);
    let choice = [Choice::Pause, Choice::Resume].into_iter().find(|choice| choice.name() == word);
    let since = Timestamp::from_millis(row.get(2)?);
    let (actor, reason) = (row.get(3)?, row.get(4)?);
    let (Ok(address), Some(choice)) = (address.parse(), choice) else { return Ok(None) };
    Ok(Some(EgressChoice { address, choice, since, actor, reason }))
}

/// The most senders of one address that are looked at.
pub const EGRESS_USERS_MAX: u32 = 20_000;

const ADD: &str = "
INSERT INTO egress_hours (address, hour, account, tenant, messages, recipients, refused, spam, points)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT DO UPDATE SET tenant = excluded.tenant, messages = messages + excluded.messages,
    recipients = recipients + excluded.recipients, refused = refused + excluded.refused, spam = spam + excluded.spam,
    points = max(points, excluded.points)";
const FORGET: &str = "
DELETE FROM egress_hours WHERE (address, hour, account) IN
    (SELECT address, hour, account FROM egress_hours WHERE hour < ?1 LIMIT ?2)";
const USAGE: &str = "
SELECT accounts.name, tenants.name, sum(parts.messages), sum(parts.recipients) AS sent, sum(parts.refused) AS refusals,
    sum(parts.spam) AS texts, max(parts.points) AS worst,
    (SELECT coalesce(sum(complaints), 0) FROM usage_hours
        WHERE usage_hours.tenant = parts.tenant AND usage_hours.account = parts.account AND slot >= ?2)
FROM egress_hours AS parts JOIN names AS accounts ON accounts.id = parts.account
    JOIN names AS tenants ON tenants.id = parts.tenant
WHERE parts.address = ?1 AND parts.hour >= ?2
GROUP BY parts.account ORDER BY worst DESC, texts DESC, refusals DESC, sent DESC LIMIT ?3";
const CHOICES: &str =
    "SELECT address, choice, since, actor, reason FROM egress_choices ORDER BY address";
const CHOOSE: &str = "INSERT OR REPLACE INTO egress_choices (address, choice, since, actor, reason) VALUES (?1, ?2, ?3, ?4, ?5)";
const FORGET_CHOICE: &str = "DELETE FROM egress_choices WHERE address = ?1";

pub(super) const CREATE: &str = "
CREATE TABLE egress_hours (address TEXT NOT NULL, hour INTEGER NOT NULL, account INTEGER NOT NULL, tenant INTEGER NOT NULL,
    messages INTEGER NOT NULL, recipients INTEGER NOT NULL, refused INTEGER NOT NULL, spam INTEGER NOT NULL, points REAL NOT NULL,
    PRIMARY KEY (address, hour, account)) WITHOUT ROWID;
CREATE INDEX egress_hours_hour ON egress_hours (hour);
CREATE TABLE egress_choices (address TEXT PRIMARY KEY, choice TEXT NOT NULL, since INTEGER NOT NULL, actor TEXT NOT NULL,
    reason TEXT NOT NULL) WITHOUT ROWID;
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rules::tally::{Tally, Whose},
        store::archive::{Batch, Settings, open},
    };
    use std::sync::Arc;

    fn at(address: &str, hour: i64, account: &str) -> EgressKey {
        let tenant = "shop.example".parse().unwrap();
        let whose = Whose { tenant, account: Some(account.parse().unwrap()) };
        EgressKey { address: address.parse().unwrap(), hour: Hour::new(hour), whose }
    }

    fn share(recipients: u64, points: f32) -> EgressShare {
        EgressShare { messages: 1, recipients, refused: 1, spam: 0, points }
    }

    #[tokio::test]
    async fn what_was_sent_by_an_address_is_added_up_by_account() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        for points in [1.5, 0.5] {
            let egress = [
                (at("192.0.2.1", 9, "a@shop.example"), share(100, 9.0)),
                (at("192.0.2.1", 10, "a@shop.example"), share(2, points)),
                (at("192.0.2.1", 11, "b@shop.example"), share(7, 3.0)),
                (at("2001:db8::1", 10, "c@shop.example"), share(1, 0.0)),
            ];
            let usage = Tally { egress: egress.into(), ..Tally::default() };
            archive.keep(Arc::new(Batch { usage, ..Batch::default() })).await.unwrap();
        }
        let of = async |address: &str, hour| {
            let rows = archive.egress_usage(address.parse().unwrap(), Hour::new(hour)).await;
            let rows = rows.unwrap().into_iter();
            rows.map(|row| (row.account.to_string(), row.share.recipients, row.share.points))
                .collect::<Vec<_>>()
        };
        let (a, b) = (String::from("a@shop.example"), String::from("b@shop.example"));
        assert_eq!(of("192.0.2.1", 10).await, [(b.clone(), 14, 3.0), (a.clone(), 4, 1.5)]);
        assert_eq!(of("192.0.2.1", 9).await, [(a, 204, 9.0), (b, 14, 3.0)]);
        assert_eq!(of("2001:db8::1", 10).await.len(), 1);
        assert!(of("192.0.2.2", 0).await.is_empty());
    }

    #[tokio::test]
    async fn a_choice_stays_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let archive = open(&Settings { path: folder.path().join("archive.db") }).unwrap();
        let chosen = |choice| EgressChoice {
            address: "192.0.2.1".parse().unwrap(),
            choice,
            since: Timestamp::from_millis(5),
            actor: "op".into(),
            reason: "x".into(),
        };
        for choice in [Choice::Pause, Choice::Resume] {
            archive.choose_egress(chosen(choice)).await.unwrap();
            assert_eq!(archive.egress_choices().await.unwrap(), [chosen(choice)]);
        }
        archive.forget_egress_choice(chosen(Choice::Pause).address).await.unwrap();
        assert!(archive.egress_choices().await.unwrap().is_empty());
    }
}
