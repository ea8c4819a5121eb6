//! What is believed of each subject on each blocklist, so that a restart forgets neither a listing nor half of one.

use super::{Archive, Lasting, stream};
use crate::{
    rules::blocklist::{LISTS_MAX, SUBJECTS_MAX},
    store::StoreError,
    types::Timestamp,
};
use rusqlite::{Connection, params};

/// What is remembered of a subject on a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ListingRow {
    /// The address or domain.
    pub subject: String,
    /// The list's name.
    pub list: String,
    /// The rest, as JSON.
    pub body: String,
}

/// Rows that are read at most: so many subjects and lists can be watched.
pub const LISTING_ROWS_MAX: usize = SUBJECTS_MAX * LISTS_MAX;

impl Archive {
    /// Keeps rows, each in place of an earlier one; where the archive is shared, in those of all nodes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if they could not be written; none of them was.
    pub async fn keep_listings(
        &self,
        rows: Vec<ListingRow>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write_and_tell(Lasting::Process, move |db| {
            if !stream::is_shared(db)? {
                return keep(db, &rows);
            }
            let content = stream::Content { listings: rows, ..stream::Content::default() };
            stream::post(db, &content, at)
        })
        .await
    }

    /// Takes rows away that are not watched any more: subject and list.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if they could not be; none of them was.
    pub async fn forget_listings(&self, rows: Vec<(String, String)>) -> Result<(), StoreError> {
        let forget = move |db: &Connection| {
            let mut cut =
                db.prepare_cached("DELETE FROM listings WHERE subject = ?1 AND list = ?2")?;
            rows.iter()
                .try_for_each(|(subject, list)| cut.execute(params![subject, list]).map(drop))
        };
        self.write(Lasting::Process, forget).await
    }

    /// All rows, at most [`LISTING_ROWS_MAX`].
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn listings(&self) -> Result<Vec<ListingRow>, StoreError> {
        self.read_own(|db| {
            let all = "SELECT subject, list, body FROM listings ORDER BY subject, list LIMIT ?1";
            let mut all = db.prepare_cached(all)?;
            let most = i64::try_from(LISTING_ROWS_MAX).unwrap_or(i64::MAX);
            let rows = all.query_map([most], |row| {
                Ok(ListingRow { subject: row.get(0)?, list: row.get(1)?, body: row.get(2)? })
            })?;
            rows.collect()
        })
        .await
    }
}

/// The same, for jobs.
pub(super) fn keep(db: &Connection, rows: &[ListingRow]) -> rusqlite::Result<()> {
    let put = "INSERT OR REPLACE INTO listings (subject, list, body) VALUES (?1, ?2, ?3)";
    let mut put = db.prepare_cached(put)?;
    rows.iter().try_for_each(|row| put.execute(params![row.subject, row.list, row.body]).map(drop))
}

pub(super) const CREATE: &str = "
CREATE TABLE listings (
    subject TEXT NOT NULL,
    list TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (subject, list)
) WITHOUT ROWID;
";

#[cfg(test)]
mod tests {
    use super::super::{Settings, open};
    use super::*;

    #[tokio::test]
    async fn rows_are_replaced_forgotten_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { path: folder.path().join("archive.db") };
        let row = |subject: &str, body: &str| ListingRow {
            subject: subject.into(),
            list: "zen".into(),
            body: body.into(),
        };
        let archive = open(&settings).unwrap();
        archive.keep_listings(vec![row("a", "1"), row("b", "1")], Timestamp::EPOCH).await.unwrap();
        archive.keep_listings(vec![row("a", "2")], Timestamp::EPOCH).await.unwrap();
        archive.forget_listings(vec![("b".into(), "zen".into())]).await.unwrap();
        archive.close().await;
        let archive = open(&settings).unwrap();
        assert_eq!(archive.listings().await.unwrap(), [row("a", "2")]);
        archive.close().await;
    }
}
