//! Connections that only read, each used by one job at a time on a thread that may block.

use super::{super::StoreError, schema};
use crate::{clock::steady_now, store::sqlite::schema::failed};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Semaphore;

/// The readers.
pub(super) struct Readers {
    places: Arc<Semaphore>,
    /// The place of the program's own tasks: alerts go out however many reports are asked for.
    own: Arc<Semaphore>,
    /// The places of what mail waits for.
    mail: Arc<Semaphore>,
    idle: Arc<Idle>,
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// The program's own tasks, one at a time.
    Program,
    /// Mail that waits for what is remembered of its sender: quick looks, [`MAIL_READERS_MAX`] at a time.
    Mail,
    /// Whoever asks for something, [`READERS_MAX`] at a time.
    Others,
}

struct Idle {
    path: PathBuf,
    connections: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        let idle = Idle { path: path.to_owned(), connections: Mutex::default() };
        let places = |count| Arc::new(Semaphore::new(count));
        Self {
            places: places(READERS_MAX),
            own: places(1),
            mail: places(MAIL_READERS_MAX),
            idle: Arc::new(idle),
        }
    }

    /// Runs a job; one that takes longer than [`READ_TIME_MAX`] is stopped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        asker: Asker,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let places = match asker {
            Asker::Program => &self.own,
            Asker::Mail => &self.mail,
            Asker::Others => &self.places,
        };
        let place = places.clone().acquire_owned().await;
        let place = place.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let idle = self.idle.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            idle.run(job)
        });
        reading.await.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
    }
}

impl Idle {
    fn run<T>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let idle = self.connections.lock().pop();
        let mut db = idle.map_or_else(|| schema::open_reader(&self.path), Ok)?;
        let deadline = steady_now() + READ_TIME_MAX;
        db.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || steady_now() > deadline))
            .map_err(failed)?;
        let result = job(&db).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => {
                StoreError::Unavailable(format!("the answer took longer than {READ_TIME_MAX:?}"))
            }
            _ => failed(error),
        });
        if result.is_ok() {
            self.connections.lock().push(db);
        }
        result
    }
}

/// Jobs of others that read at a time.
const MAIL_READERS_MAX: usize = 4;
const READERS_MAX: usize = 4;
const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Instructions of SQLite's machine between two looks at the time.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
