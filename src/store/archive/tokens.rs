//! Tokens for the API, all of them in memory as well: a request is judged without a read, whatever else the archive is doing.
//!
//! A token's secret is not here, only its SHA-256 digest. The secret is 32 random octets, so that a digest that is fast to
//! make cannot be turned back by guessing.

use super::{
    Archive, Lasting, NewEntry,
    audit::{append, chain::Head},
    names, stored,
};
use crate::{
    store::StoreError,
    types::{Access, SubjectId, Timestamp, TokenName},
};
use parking_lot::RwLock;
use rusqlite::{Connection, Row, params};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use subtle::ConstantTimeEq as _;

/// The SHA-256 digest of a token's secret.
pub type TokenDigest = [u8; 32];

/// A token that is to be kept.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its name; no two tokens have the same.
    pub name: TokenName,
    /// What it may see and change.
    pub access: Access,
    /// The digest of its secret.
    pub digest: TokenDigest,
    /// When it was made, in UTC.
    pub created: Timestamp,
    /// Who made it.
    pub creator: String,
    /// When it ends, in UTC; none: when it is revoked.
    pub expires: Option<Timestamp>,
}

/// A token that is kept.
#[derive(Debug)]
pub struct TokenRecord {
    /// Its number; none is given twice.
    pub id: i64,
    /// What was said when it was made.
    pub token: NewToken,
    /// When it was last used, in UTC; 0: never.
    last_used: AtomicI64,
}

impl TokenRecord {
    /// When it was last used, in UTC.
    #[must_use]
    pub fn last_used(&self) -> Option<Timestamp> {
        let millis = self.last_used.load(Ordering::Relaxed);
        (millis > 0).then(|| Timestamp::from_millis(millis))
    }

    /// True once in [`USE_NOTED_EVERY_MILLIS`]: then the use is worth a write.
    fn take_note(&self, now: Timestamp) -> bool {
        let (before, now) = (self.last_used.load(Ordering::Relaxed), now.as_millis());
        now - before >= USE_NOTED_EVERY_MILLIS
            && self
                .last_used
                .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// All tokens, as they stand in the table.
pub(super) struct Tokens(RwLock<Vec<Arc<TokenRecord>>>);

impl Tokens {
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut select = db.prepare(
            "SELECT tokens.id, tokens.name, role, names.name, digest, created, creator, expires, last_used \
             FROM tokens LEFT JOIN names ON names.id = tokens.tenant ORDER BY tokens.name",
        )?;
        let rows = select.query_map([], record)?.collect::<rusqlite::Result<Vec<_>>>()?;
        // What makes no sense opens nothing.
        Ok(Self(RwLock::new(rows.into_iter().flatten().map(Arc::new).collect())))
    }
}

impl Archive {
    /// All tokens, sorted by name.
    #[must_use]
    pub fn tokens(&self) -> Vec<Arc<TokenRecord>> {
        self.0.tokens.0.read().clone()
    }

    /// The token with this digest. Takes the same time whichever it is and however much of it fits.
    #[must_use]
    pub fn token_of(&self, digest: &TokenDigest) -> Option<Arc<TokenRecord>> {
        let mut found = None;
        for record in self.0.tokens.0.read().iter() {
            if bool::from(record.token.digest.ct_eq(digest)) {
                found = Some(record.clone());
            }
        }
        found
    }

    /// The token with this number.
    #[must_use]
    pub fn token(&self, id: i64) -> Option<Arc<TokenRecord>> {
        self.0.tokens.0.read().iter().find(|record| record.id == id).cloned()
    }

    /// Keeps a token, and the entry of the audit about it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is one of this name, [`StoreError::Full`] if there are [`TOKENS_MAX`].
    pub async fn add_token(
        &self,
        token: NewToken,
        entry: NewEntry,
    ) -> Result<(Arc<TokenRecord>, Option<Head>), StoreError> {
        let _one_at_a_time = self.0.token_changes.lock().await;
        {
            let known = self.0.tokens.0.read();
            if known.iter().any(|record| record.token.name == token.name) {
                return Err(StoreError::Conflict(format!(
                    "there is a token {} already",
                    token.name
                )));
            }
            if known.len() >= TOKENS_MAX {
                return Err(StoreError::Full { what: "the table of tokens", max: TOKENS_MAX });
            }
        }
        let written = token.clone();
        let job = move |db: &Connection| Ok((insert(db, &written)?, append(db, &entry)?));
        let (id, head) = self.write_and_tell(Lasting::Power, job).await?;
        let record = Arc::new(TokenRecord { id, token, last_used: AtomicI64::new(0) });
        let mut known = self.0.tokens.0.write();
        let place = known.partition_point(|other| other.token.name < record.token.name);
        known.insert(place, record.clone());
        Ok((record, head))
    }

    /// Takes a token back, and keeps the entry of the audit about it. From when this returns on the token opens nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is none of this name.
    pub async fn remove_token(
        &self,
        name: &TokenName,
        entry: impl FnOnce(&TokenRecord) -> NewEntry + Send,
    ) -> Result<(Arc<TokenRecord>, Option<Head>), StoreError> {
        let _one_at_a_time = self.0.token_changes.lock().await;
        let found = self.tokens().into_iter().find(|record| record.token.name == *name);
        let Some(record) = found else {
            return Err(StoreError::Conflict(format!("there is no token {name}")));
        };
        let (id, entry) = (record.id, entry(&record));
        let job = move |db: &Connection| {
            db.execute("DELETE FROM tokens WHERE id = ?1", [id])?;
            append(db, &entry)
        };
        let head = self.write_and_tell(Lasting::Power, job).await?;
        self.0.tokens.0.write().retain(|other| other.id != id);
        Ok((record, head))
    }

    /// Notes that a token was used. Only now and then it is written, and nobody waits for it.
    pub fn note_token_use(&self, record: &TokenRecord, now: Timestamp) {
        if !record.take_note(now) {
            return;
        }
        let (archive, id, now) = (self.clone(), record.id, stored(now));
        tokio::spawn(async move {
            let write = archive.write(Lasting::Process, move |db| {
                db.execute("UPDATE tokens SET last_used = ?2 WHERE id = ?1", [id, now])
            });
            // A last use that is not kept harms nobody; the archive tells of its own failures.
            drop(write.await);
        });
    }
}

fn insert(db: &Connection, token: &NewToken) -> rusqlite::Result<i64> {
    let tenant = token.access.tenant().cloned().map(SubjectId::Tenant);
    let tenant = tenant.map(|tenant| names::number_of(db, &tenant)).transpose()?;
    db.execute(
        "INSERT INTO tokens (name, role, tenant, digest, created, creator, expires, last_used) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
        params![
            token.name.as_str(),
            token.access.role().name(),
            tenant,
            token.digest,
            stored(token.created),
            token.creator,
            token.expires.map(stored),
        ],
    )?;
    Ok(db.last_insert_rowid())
}

/// None if the row does not say whom it lets in.
fn record(row: &Row<'_>) -> rusqlite::Result<Option<TokenRecord>> {
    let (name, role): (String, String) = (row.get(1)?, row.get(2)?);
    let tenant: Option<String> = row.get(3)?;
    let tenant = tenant.map(|tenant| tenant.parse()).transpose().ok().flatten();
    let access = role.parse().ok().and_then(|role| Access::new(role, tenant));
    let (Ok(name), Some(access)) = (name.parse(), access) else { return Ok(None) };
    let expires: Option<i64> = row.get(7)?;
    let token = NewToken {
        name,
        access,
        digest: row.get(4)?,
        created: Timestamp::from_millis(row.get(5)?),
        creator: row.get(6)?,
        expires: expires.map(Timestamp::from_millis),
    };
    Ok(Some(TokenRecord { id: row.get(0)?, token, last_used: AtomicI64::new(row.get(8)?) }))
}

/// Tokens at a time.
pub const TOKENS_MAX: usize = 1_000;
const USE_NOTED_EVERY_MILLIS: i64 = 60_000;

/// Forgets tokens that ended before a moment, a few at a time.
pub(super) fn cut_ended(db: &Connection, before: Timestamp, max: usize) -> rusqlite::Result<usize> {
    let sql = format!(
        "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires < ?1 LIMIT {max})"
    );
    db.prepare_cached(&sql)?.execute([stored(before)])
}

pub(super) const CREATE: &str = "
CREATE TABLE tokens (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL, tenant INTEGER,
    digest BLOB NOT NULL UNIQUE, created INTEGER NOT NULL, creator TEXT NOT NULL, expires INTEGER,
    last_used INTEGER NOT NULL);
";
