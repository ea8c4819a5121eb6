//! The whole chain of an archive, from its first entry to its end, in pages: of the running gate's and of a copy.
//!
//! Each page is read in one go and checked by all processors. On a running gate other pages may be older or newer: that is no
//! matter, because entries are only added, and what is erased is said by an entry behind.

use super::{
    super::{Archive, schema},
    AnchorState, AuditEntry,
    chain::{self, Broken, Field, Fields, Head, Opening, Verifier},
    row, signed,
};
use crate::store::{StoreError, sqlite::schema::failed};
use rusqlite::{Connection, Row, params};
use std::{num::NonZeroUsize, path::Path, sync::mpsc, thread};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// How far the chain is whole.
    pub head: Head,
    /// Values that were erased in order.
    pub erased: u64,
    /// The first thing that is wrong; none: the chain is whole.
    pub broken: Option<Broken>,
    /// What stands beside the archive about its end.
    pub anchor: AnchorState,
}

impl Archive {
    /// Follows the whole audit, which is known to have reached these heads.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn verify_audit(&self, known: Vec<Head>) -> Result<Verdict, StoreError> {
        let mut walk = Walk::begin(self.anchor()?, known);
        let read = |wanted| self.read_own(move |db| Ok(read_page(db, wanted)));
        let mut next = Some(read(Wanted::First).await?);
        while let Some(page) = next.take() {
            let wanted = page.next();
            let turn = tokio::task::spawn_blocking(move || walk.turn(page).map(|()| walk));
            // The next page is read while this one is checked.
            let ahead = async {
                match wanted {
                    Some(wanted) => read(wanted).await.map(Some),
                    None => Ok(None),
                }
            };
            let (turned, ahead) = tokio::join!(turn, ahead);
            walk = turned.map_err(|error| StoreError::Unavailable(error.to_string()))??;
            next = ahead?.filter(|_| walk.goes_on());
        }
        Ok(walk.end(self.anchor()?))
    }

    /// Where the chain of the audit ends.
    ///
    /// # Errors
    /// [`StoreError`] if the archive cannot be read.
    pub async fn audit_head(&self) -> Result<Head, StoreError> {
        self.read(super::head).await
    }

    fn anchor(&self) -> Result<AnchorState, StoreError> {
        load_anchor(self.path())
    }
}

/// Follows the audit of an archive that no gate has open, or of a copy.
///
/// # Errors
/// [`StoreError`] if the file cannot be read as an archive.
pub fn verify_file(path: &Path, known: Vec<Head>) -> Result<Verdict, StoreError> {
    let db = schema::open_copy(path)?;
    let anchor = load_anchor(path)?;
    let mut walk = Walk::begin(anchor, known);
    thread::scope(|scope| {
        // Pages are read ahead while others are checked.
        let (pages, read) = mpsc::sync_channel(PAGES_AHEAD);
        scope.spawn(move || {
            let mut wanted = Some(Wanted::First);
            while let Some(which) = wanted {
                let page = read_page(&db, which);
                wanted = page.next();
                // Whoever has found what is wrong reads no more.
                if pages.send(page).is_err() {
                    return;
                }
            }
        });
        for page in read {
            walk.turn(page)?;
            if !walk.goes_on() {
                break;
            }
        }
        Ok::<(), StoreError>(())
    })?;
    Ok(walk.end(anchor))
}

fn load_anchor(path: &Path) -> Result<AnchorState, StoreError> {
    let failed = |error| StoreError::Unavailable(format!("{}.head: {error}", path.display()));
    AnchorState::load(path).map_err(failed)
}

/// How far a verification has come.
struct Walk {
    verifier: Verifier,
    anchor: AnchorState,
    broken: Option<Broken>,
}

/// Which page is read next.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    First,
    After(u64),
}

impl Walk {
    fn begin(anchor: AnchorState, mut known: Vec<Head>) -> Self {
        if let AnchorState::Known([before, _]) = anchor {
            known.push(before);
        }
        Self { verifier: Verifier::new(known), anchor, broken: None }
    }

    const fn goes_on(&self) -> bool {
        self.broken.is_none()
    }

    fn turn(&mut self, page: Page) -> Result<(), StoreError> {
        let checks = check_all(&page.entries);
        for (entry, checked) in page.entries.iter().zip(checks) {
            let taken = self.verifier.take(&entry.link, entry.hash, &entry.values, checked);
            if let Err(broken) = taken {
                self.broken = Some(broken);
                return Ok(());
            }
        }
        match page.end {
            End::Read => {}
            End::Broken(broken) => self.broken = Some(broken),
            End::Unreadable => {
                self.broken = Some(Broken::Unreadable(self.verifier.head().number + 1));
            }
            End::Failed(error) => return Err(failed(error)),
        }
        Ok(())
    }

    fn end(self, anchor: AnchorState) -> Verdict {
        let (head, erased) = (self.verifier.head(), self.verifier.erased());
        let unfinished = self.verifier.finish().err();
        let broken = match self.broken {
            // Behind the end of the chain: what is wrong within it comes first.
            Some(Broken::Stray(number)) if number > head.number => unfinished.or(self.broken),
            None => unfinished.or_else(|| beyond(anchor, head)),
            broken => broken,
        };
        // Of the two readings the one of before says how far the chain must reach, the one of after how far it may.
        let anchor = if anchor == AnchorState::Missing { self.anchor } else { anchor };
        Verdict { head, erased, broken, anchor }
    }
}

/// What is wrong with the end of a whole chain.
fn beyond(anchor: AnchorState, head: Head) -> Option<Broken> {
    match anchor {
        AnchorState::Known([_, last]) if head.number > last.number => {
            Some(Broken::Beyond(last.number + 1))
        }
        AnchorState::Known([_, last]) if head.number == last.number && head != last => {
            Some(Broken::Other(head.number))
        }
        _ => None,
    }
}

/// Entries in their order, and why there are no more.
struct Page {
    entries: Vec<AuditEntry>,
    end: End,
}

impl Page {
    /// Which page comes after it; none: it is the last, or what comes after it cannot be read.
    fn next(&self) -> Option<Wanted> {
        let last = self.entries.last().map(|entry| Wanted::After(entry.link.number));
        last.filter(|_| matches!(self.end, End::Read))
    }
}

enum End {
    Read,
    Broken(Broken),
    /// What stands behind the last entry is not what the program writes.
    Unreadable,
    Failed(rusqlite::Error),
}

fn read_page(db: &Connection, wanted: Wanted) -> Page {
    let mut page = Page { entries: Vec::new(), end: End::Read };
    let read = db.unchecked_transaction().and_then(|snapshot| {
        read_entries(db, wanted, &mut page)?;
        read_values(db, wanted, &mut page)?;
        snapshot.finish()
    });
    if let Err(error) = read {
        page.end = match error.sqlite_error_code() {
            None | Some(rusqlite::ErrorCode::DatabaseCorrupt) => End::Unreadable,
            Some(_) => End::Failed(error),
        };
    }
    page
}

fn read_entries(db: &Connection, wanted: Wanted, page: &mut Page) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(ENTRIES)?;
    let mut rows = select.query(params![wanted.beyond(), PAGE_ENTRIES_MAX])?;
    while let Some(found) = rows.next()? {
        page.entries.push(row(found)?);
    }
    Ok(())
}

/// The values of the page's entries, and whatever lies between them; of the last page also what lies behind. Of a page with more
/// than fits into memory the first entries stay.
fn read_values(db: &Connection, wanted: Wanted, page: &mut Page) -> rusqlite::Result<()> {
    let last = page.entries.last().map_or(i64::MAX, |entry| signed(entry.link.number));
    let mut select = db.prepare_cached(VALUES)?;
    let mut rows = select.query(params![wanted.beyond(), last])?;
    let (mut at, mut octets) = (0, 0);
    while let Some(found) = rows.next()? {
        let number: i64 = found.get(0)?;
        while page.entries.get(at).is_some_and(|entry| signed(entry.link.number) < number) {
            at += 1;
        }
        if octets > PAGE_OCTETS_MAX && at > 0 {
            page.entries.truncate(at);
            return Ok(());
        }
        match page.entries.get_mut(at).filter(|entry| signed(entry.link.number) == number) {
            Some(entry) => match opening(found) {
                Ok(opening) => {
                    octets += opening.value.len();
                    entry.values.push(opening);
                }
                Err(error) => {
                    page.entries.truncate(at);
                    return Err(error);
                }
            },
            None => {
                page.entries.truncate(at);
                page.end = End::Broken(Broken::Stray(u64::try_from(number).unwrap_or(0)));
                return Ok(());
            }
        }
    }
    Ok(())
}

fn opening(row: &Row<'_>) -> rusqlite::Result<Opening> {
    let place: i64 = row.get(1)?;
    let field = usize::try_from(place).ok().and_then(|place| Field::ALL.get(place).copied());
    let field = field.ok_or(rusqlite::Error::IntegralValueOutOfRange(1, place))?;
    Ok(Opening { field, value: row.get(2)?, salt: row.get(3)? })
}

impl Wanted {
    fn beyond(self) -> i64 {
        match self {
            // Whatever there is, also what cannot be there.
            Self::First => i64::MIN,
            Self::After(number) => signed(number),
        }
    }
}

/// What [`chain::check`] says of each, asked by all processors at once.
fn check_all(entries: &[AuditEntry]) -> Vec<Result<Fields, Broken>> {
    let check = |part: &[AuditEntry]| -> Vec<_> {
        part.iter().map(|entry| chain::check(&entry.link, entry.hash, &entry.values)).collect()
    };
    let count = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
    if count == 1 || entries.len() < PARALLEL_FROM {
        return check(entries);
    }
    thread::scope(|scope| {
        let parts = entries.chunks(entries.len().div_ceil(count));
        let running: Vec<_> = parts.map(|part| (scope.spawn(move || check(part)), part)).collect();
        // A thread that panicked has said nothing, so its part is checked here.
        running
            .into_iter()
            .flat_map(|(done, part)| done.join().unwrap_or_else(|_| check(part)))
            .collect()
    })
}

const ENTRIES: &str = "SELECT number, at, action, via, key, subject, actor, before, after, reason, evidence, \
    prev, hash FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2";
const VALUES: &str = "SELECT number, field, value, salt FROM audit_values WHERE number > ?1 AND number <= ?2 \
    ORDER BY number, field";
/// Entries of a page: some tens of milliseconds.
const PAGE_ENTRIES_MAX: i64 = if cfg!(test) { 2 } else { 10_000 };
/// Octets of values of a page, and those of one entry.
const PAGE_OCTETS_MAX: usize = 16 << 20;
/// Pages that wait to be checked.
const PAGES_AHEAD: usize = 2;
const THREADS_MAX: usize = 8;
const PARALLEL_FROM: usize = if cfg!(test) { 2 } else { 1_000 };

#[cfg(test)]
mod tests {
    use super::{
        super::{
            super::{Settings, open},
            AuditFilter, NewEntry,
        },
        *,
    };
    use crate::types::{Actor, Timestamp, Via};
    use std::fs;

    const ENTRIES_COUNT: u64 = 7;

    /// An archive with entries that have all values and a key, closed; returns where it is.
    async fn archive_in(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("archive.db");
        let archive = open(&Settings { path: path.clone() }).unwrap();
        for number in 0..ENTRIES_COUNT {
            let at = Timestamp::from_millis(1_000 + number.cast_signed());
            let mut entry = NewEntry::new(at, &Actor::new(Via::Api, "alice"), "limit-set");
            entry.subject = Some("account a@shop.example".into());
            for value in
                [&mut entry.before, &mut entry.after, &mut entry.reason, &mut entry.evidence]
            {
                *value = Some(format!("value {number}"));
            }
            archive
                .write(super::super::super::Lasting::Power, move |db| {
                    let mut key = [0; 16];
                    key[0] = u8::try_from(number).unwrap();
                    let prepared = super::super::Prepared::draw(&entry, Some(key))?;
                    super::super::insert_prepared(db, &prepared)
                })
                .await
                .unwrap();
        }
        assert!(archive.verify_audit(Vec::new()).await.unwrap().broken.is_none());
        assert_eq!(
            archive.audit(AuditFilter { max: 9, ..AuditFilter::default() }).await.unwrap().len(),
            7
        );
        archive.close().await;
        drop(archive);
        let db = Connection::open(&path).unwrap();
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        db.close().unwrap();
        path
    }

    fn tampered(whole: &Path, folder: &Path, sql: &str) -> Verdict {
        let path = folder.join("tampered.db");
        let copy = |ending: &str| {
            let name = |path: &Path| format!("{}{ending}", path.display());
            fs::copy(name(whole), name(&path)).unwrap();
        };
        copy("");
        copy(".head");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        db.close().unwrap();
        verify_file(&path, Vec::new()).unwrap()
    }

    #[track_caller]
    fn check(verdict: Verdict, entry: u64, sql: &str) {
        let broken = verdict.broken.unwrap_or_else(|| panic!("nothing was found: {sql}"));
        assert_eq!(broken.entry(), entry, "{sql}: {broken}");
    }

    fn columns(path: &Path, table: &str) -> Vec<String> {
        let db = Connection::open(path).unwrap();
        let mut select = db.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
        let names = select.query_map([table], |row| row.get(0)).unwrap();
        names.collect::<Result<_, _>>().unwrap()
    }

    /// Every column of every row of both tables: another value, another octet, another type, nothing at all.
    #[tokio::test]
    async fn whatever_column_of_whatever_row_is_changed_the_first_broken_entry_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive_in(folder.path()).await;
        let whole = verify_file(&path, Vec::new()).unwrap();
        assert_eq!((whole.broken, whole.head.number), (None, ENTRIES_COUNT));
        let mut tried = 0;
        for (table, row) in [("audit", "number"), ("audit_values", "number")] {
            for column in columns(&path, table) {
                let changes = [
                    format!("{column} = {column} || 'x'"),
                    format!("{column} = CAST(x'ff' || CAST({column} AS BLOB) AS BLOB)"),
                    format!("{column} = randomblob(length({column}))"),
                    format!("{column} = 1000 + {column}"),
                    format!("{column} = NULL"),
                ];
                for (number, change) in
                    (1..=ENTRIES_COUNT).flat_map(|n| changes.iter().map(move |c| (n, c)))
                {
                    let sql =
                        format!("UPDATE OR IGNORE {table} SET {change} WHERE {row} = {number}");
                    let db = Connection::open(&path).unwrap();
                    let would = db.unchecked_transaction().unwrap();
                    // Some columns take no such value.
                    let changes = matches!(db.execute(&sql, []), Ok(rows) if rows > 0);
                    would.rollback().unwrap();
                    if changes {
                        check(tampered(&path, folder.path(), &sql), number, &sql);
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried > 300, "only {tried}");
    }

    #[tokio::test]
    async fn whatever_row_is_removed_doubled_moved_or_added_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive_in(folder.path()).await;
        let copied = "at, action, via, NULL, subject, actor, before, after, reason, evidence, prev, hash FROM audit";
        for number in 1..=ENTRIES_COUNT {
            let mut cases = vec![
                format!("DELETE FROM audit WHERE number = {number}"),
                format!("DELETE FROM audit WHERE number >= {number}"),
                format!(
                    "DELETE FROM audit WHERE number >= {number}; DELETE FROM audit_values WHERE number >= {number}"
                ),
                format!("DELETE FROM audit_values WHERE number = {number}"),
                format!("UPDATE audit SET number = -1 WHERE number = {number}"),
            ];
            for field in 0..6 {
                cases.push(format!(
                    "DELETE FROM audit_values WHERE number = {number} AND field = {field}"
                ));
            }
            if number < ENTRIES_COUNT {
                let next = number + 1;
                cases.push(format!(
                    "UPDATE audit SET number = 99 WHERE number = {number}; UPDATE audit SET number = {number} \
                     WHERE number = {next}; UPDATE audit SET number = {next} WHERE number = 99"
                ));
            }
            for sql in cases {
                let entry = if sql.contains("number = -1") { 1 } else { number };
                check(tampered(&path, folder.path(), &sql), entry, &sql);
            }
        }
        for (sql, entry) in [
            (format!("INSERT INTO audit SELECT 8, {copied} WHERE number = 7"), 8),
            (format!("INSERT INTO audit SELECT 0, {copied} WHERE number = 1"), 1),
            ("INSERT INTO audit_values SELECT 8, field, value, salt FROM audit_values WHERE number = 7".into(), 8),
            ("INSERT INTO audit_values SELECT number, 6, value, salt FROM audit_values WHERE number = 3 AND field = 1".into(), 3),
            ("DELETE FROM audit".into(), 1),
            ("DELETE FROM audit; DELETE FROM audit_values".into(), 1),
        ] {
            check(tampered(&path, folder.path(), &sql), entry, &sql);
        }
    }

    /// Every octet of the file itself.
    #[tokio::test]
    async fn no_octet_of_the_entries_can_be_changed_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive_in(folder.path()).await;
        let whole = fs::read(&path).unwrap();
        let copy = folder.path().join("copy.db");
        fs::copy(folder.path().join("archive.db.head"), folder.path().join("copy.db.head"))
            .unwrap();
        let places = |needle: &[u8]| -> Vec<usize> {
            (0..whole.len() - needle.len())
                .filter(|at| &whole[*at..*at + needle.len()] == needle)
                .collect()
        };
        let mut tried = 0;
        for needle in ["value 3", "alice", "limit-set", "account a@shop.example"] {
            for place in places(needle.as_bytes()) {
                let mut octets = whole.clone();
                octets[place + 2] ^= 1;
                fs::write(&copy, &octets).unwrap();
                let verdict = verify_file(&copy, Vec::new()).unwrap();
                // The text of the schema and the table of names have some of these, too.
                tried += usize::from(verdict.broken.is_some());
            }
        }
        assert!(tried >= 4 + 7 + 7 + 7, "{tried}");
    }

    /// Who can make hashes can add; the note beside the archive does not know it, and a head that was kept does not either.
    #[tokio::test]
    async fn an_entry_with_a_right_hash_is_seen_by_the_note_and_a_new_chain_by_a_kept_head() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive_in(folder.path()).await;
        let kept = verify_file(&path, Vec::new()).unwrap().head;
        let note = folder.path().join("archive.db.head");
        let before = fs::read(&note).unwrap();
        let archive = open(&Settings { path: path.clone() }).unwrap();
        let entry = NewEntry::new(Timestamp::EPOCH, &Actor::new(Via::Api, "mallory"), "resumed");
        archive.append_audit(entry).await.unwrap();
        archive.close().await;
        let whole = verify_file(&path, vec![kept]).unwrap();
        assert_eq!((whole.broken, whole.head.number), (None, 8));
        fs::write(&note, before).unwrap();
        check(verify_file(&path, Vec::new()).unwrap(), 8, "an old note");
        fs::remove_file(&note).unwrap();
        let unanchored = verify_file(&path, Vec::new()).unwrap();
        assert_eq!((unanchored.broken, unanchored.anchor), (None, AnchorState::Missing));
        let ahead = Head { number: 9, hash: kept.hash };
        check(verify_file(&path, vec![ahead]).unwrap(), 9, "a head that was kept");
        let other = Head { number: 5, hash: kept.hash };
        check(verify_file(&path, vec![other]).unwrap(), 5, "another head");
    }

    #[tokio::test]
    async fn what_is_no_archive_is_told_apart_from_a_broken_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        verify_file(&path, Vec::new()).unwrap_err();
        assert!(!path.exists());
        fs::write(&path, "no database at all, but long enough to be read as one".repeat(100))
            .unwrap();
        verify_file(&path, Vec::new()).unwrap_err();
    }
}
