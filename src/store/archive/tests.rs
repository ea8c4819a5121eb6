//! The archive on a real file: what is kept is found again, and what fails disturbs nothing else.

use super::*;
use crate::types::{AccountId, TenantId};
use std::path::Path;

fn open_in(folder: &Path) -> Archive {
    open(&Settings { path: folder.join("archive.db") }).unwrap()
}

fn event(n: i64, account: &str, name: &'static str) -> NewEvent {
    let account: AccountId = account.parse().unwrap();
    let tenant: TenantId = account.domain().unwrap().parse().unwrap();
    NewEvent {
        at: Timestamp::from_millis(n * 1_000),
        name,
        tenant: Some(tenant),
        account: Some(account),
        body: format!("{{\"n\":{n}}}"),
    }
}

fn batch(events: Vec<NewEvent>) -> Arc<Batch> {
    Arc::new(Batch { events, ..Batch::default() })
}

async fn ids(archive: &Archive, filter: EventFilter) -> Vec<i64> {
    let filter = EventFilter { max: EVENTS_PAGE_MAX, ..filter };
    archive.events(filter).await.unwrap().iter().map(|row| row.id).collect()
}

#[tokio::test]
async fn events_are_found_by_whose_they_are_their_name_and_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open_in(folder.path());
    archive
        .keep(batch(vec![
            event(1, "a@one.example", "message"),
            event(2, "b@one.example", "refused"),
            event(3, "c@two.example", "message"),
        ]))
        .await
        .unwrap();
    let all = EventFilter::default;
    assert_eq!(ids(&archive, all()).await, [3, 2, 1]);
    assert_eq!(ids(&archive, EventFilter { order: Order::Oldest, ..all() }).await, [1, 2, 3]);
    let tenant = Some("one.example".parse().unwrap());
    assert_eq!(ids(&archive, EventFilter { tenant, ..all() }).await, [2, 1]);
    let account = Some("c@two.example".parse().unwrap());
    assert_eq!(ids(&archive, EventFilter { account, ..all() }).await, [3]);
    let names = vec!["message".into(), "suspended".into()];
    assert_eq!(ids(&archive, EventFilter { names, ..all() }).await, [3, 1]);
    let (since, until) = (Some(Timestamp::from_millis(2_000)), Some(Timestamp::from_millis(3_000)));
    assert_eq!(ids(&archive, EventFilter { since, until, ..all() }).await, [2]);
    assert_eq!(ids(&archive, EventFilter { beyond: Some(3), ..all() }).await, [2, 1]);
    let nobody = Some("nobody.example".parse().unwrap());
    assert!(ids(&archive, EventFilter { tenant: nobody, ..all() }).await.is_empty());
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_and_ids_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open_in(folder.path());
    archive.keep(batch(vec![event(1, "a@one.example", "message")])).await.unwrap();
    archive.close().await;
    let late = archive.keep(batch(vec![event(2, "a@one.example", "message")])).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    drop(archive);
    let archive = open_in(folder.path());
    let mut watcher = archive.watch();
    archive.keep(batch(vec![event(2, "a@one.example", "refused")])).await.unwrap();
    assert_eq!(ids(&archive, EventFilter::default()).await, [2, 1]);
    let told = watcher.recv().await.unwrap();
    let stored = archive.events(EventFilter { max: 1, ..EventFilter::default() }).await.unwrap();
    assert_eq!(*told, stored[0]);
}

#[tokio::test]
async fn a_job_that_fails_changes_nothing_and_disturbs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let archive = open_in(folder.path());
    let failing = archive.write(Lasting::Power, |db| {
        events::insert(db, &[event(1, "a@one.example", "message")])?;
        db.execute("INSERT INTO nowhere VALUES (1)", [])
    });
    let (failed, kept) =
        tokio::join!(failing, archive.keep(batch(vec![event(2, "a@one.example", "message")])));
    assert!(failed.is_err());
    kept.unwrap();
    let rows = archive.events(EventFilter { max: 9, ..EventFilter::default() }).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.body.as_str()).collect::<Vec<_>>(), ["{\"n\":2}"]);
}

#[tokio::test]
async fn a_file_of_somebody_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive.db");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(open(&Settings { path: path.clone() }), Err(StoreError::Damaged(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE mine (x)").unwrap();
    drop(other);
    assert!(matches!(open(&Settings { path }), Err(StoreError::Damaged(_))));
}

#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let archive = open_in(folder.path());
    archive.keep(batch(vec![event(1, "a@one.example", "message")])).await.unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
}
