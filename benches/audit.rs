//! What it takes to verify the audit, beside merely reading its rows, in one run.
//!
//! A million entries, each with a subject, an actor, what stands there now and a reason, are made by the program's own calls. Then the whole
//! chain is followed three times (`tollgate audit verify` calls the same function), and all rows of both tables are read three times; the best
//! of each is printed.
//!
//! `cargo bench --bench audit`; `ENTRIES=100000` makes it smaller. Fails if, at full size, it takes more than 5 s.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop at anything it did not expect")]

use rusqlite::Connection;
use std::path::Path;
use tollgate::{
    clock::steady_now,
    store::{
        Changed,
        archive::{self, verify_file},
    },
    types::{AccountId, Actor, SubjectId, Timestamp, Via},
};

const CHANGES_AT_ONCE: i64 = 5_000;

fn main() {
    let entries: i64 = std::env::var("ENTRIES").map_or(1_000_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.db");
    let began = steady_now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(fill(&path, entries));
    let size = std::fs::metadata(&path).unwrap().len();
    println!("{entries} entries made in {:.0} s, {} MB", began.elapsed().as_secs_f64(), size >> 20);
    let verified = best(|| {
        let verdict = verify_file(&path, Vec::new()).unwrap();
        assert_eq!((verdict.broken, verdict.head.number), (None, entries.unsigned_abs()));
    });
    let read = best(|| read(&path));
    println!("verified in {verified:.2} s, rows read in {read:.2} s");
    assert!(entries < 1_000_000 || verified < 5.0, "a million entries take more than 5 s");
}

fn best(mut work: impl FnMut()) -> f64 {
    let times = (0..3).map(|_| {
        let began = steady_now();
        work();
        began.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

async fn fill(path: &Path, entries: i64) {
    let archive = archive::open(&archive::Settings { path: path.to_owned() }).unwrap();
    for first in (0..entries).step_by(usize::try_from(CHANGES_AT_ONCE).unwrap()) {
        let changes = (first..entries.min(first + CHANGES_AT_ONCE)).map(changed).collect();
        archive.append_changes(changes).await.unwrap();
    }
    archive.close().await;
    drop(archive);
    let db = Connection::open(path).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

fn changed(number: i64) -> Changed {
    let account: AccountId =
        format!("user{}@shop{}.example", number % 5_000, number % 700).parse().unwrap();
    let tenant = account.domain().unwrap().parse().unwrap();
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    Changed {
        number,
        key,
        at: Timestamp::from_millis(number),
        subject: SubjectId::Account(account),
        tenant,
        action: "suspended".into(),
        before: None,
        after: Some(format!("case TG-{number}")),
        reason: Some("sends to spam traps, ticket 4711".into()),
        evidence: None,
        actor: Actor::new(Via::ControlSocket, "alice (uid 1000)"),
    }
}

/// All that is read, and nothing done with it.
fn read(path: &Path) {
    let db = Connection::open(path).unwrap();
    for sql in [
        "SELECT number, at, action, via, key, subject, actor, before, after, reason, evidence, prev, hash FROM audit ORDER BY number",
        "SELECT number, field, value, salt FROM audit_values ORDER BY number, field",
    ] {
        let mut select = db.prepare(sql).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        let mut octets = 0;
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                let found = row.get_ref(column).unwrap().as_bytes_or_null();
                octets += found.ok().flatten().map_or(0, <[u8]>::len);
            }
        }
        assert!(octets > 0);
    }
}
