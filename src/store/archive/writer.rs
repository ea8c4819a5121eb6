//! The one thread that writes the archive: it takes the jobs that have gathered, runs them in one transaction, each in a
//! savepoint unless it is the only one, commits, and then tells those who wait.

use super::{
    super::StoreError,
    Lasting,
    audit::{self, Anchor, chain::Head},
};
use crate::store::sqlite::schema::{explain, failed};
use rusqlite::Connection;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot};

/// The way to the writer.
pub(super) struct Writes {
    jobs: parking_lot::Mutex<Option<mpsc::Sender<Job>>>,
}

struct Job {
    /// It is done outside of transactions, between those of others.
    is_outside: bool,
    lasting: Lasting,
    work: Work,
}

/// Does the work; the answer is given when the transaction has ended, with the reason if it did not last.
type Work = Box<dyn FnOnce(&Connection) -> Answer + Send>;

struct Answer {
    /// What the job did is taken back.
    is_failed: bool,
    give: Give,
}

impl Answer {
    /// One job's fault is no other's; whoever waits for it hears that the archive is closed.
    fn of_panic() -> Self {
        Self { is_failed: true, give: Box::new(|_| ()) }
    }
}

/// Tells whoever waits; given is why the transaction was lost, if it was.
type Give = Box<dyn FnOnce(Option<&str>) + Send>;

/// Starts the thread.
pub(super) fn start(
    db: Connection,
    anchor: Anchor,
) -> Result<(Writes, JoinHandle<()>), StoreError> {
    let (jobs, queue) = mpsc::channel(JOBS_MAX);
    let head = audit::head(&db).map_err(failed)?;
    let writer = Writer { db, queue, anchor, head };
    let thread = std::thread::Builder::new().name("archive-writer".into());
    let thread = thread.spawn(move || writer.run());
    let thread = thread.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    Ok((Writes { jobs: parking_lot::Mutex::new(Some(jobs)) }, thread))
}

impl Writes {
    /// Runs a job in the next transaction.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        lasting: Lasting,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.push(false, lasting, job).await
    }

    /// Runs a job between two transactions, outside of any.
    pub(super) async fn run_outside<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.push(true, Lasting::Power, job).await
    }

    async fn push<T: Send + 'static>(
        &self,
        is_outside: bool,
        lasting: Lasting,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (told, heard) = oneshot::channel();
        let work: Work = Box::new(move |db| {
            let result = job(db).map_err(failed);
            let is_failed = result.is_err();
            let give = Box::new(move |lost: Option<&str>| {
                let result = match lost {
                    Some(why) => Err(StoreError::Unavailable(why.to_owned())),
                    None => result,
                };
                let _nobody_waits = told.send(result);
            });
            Answer { is_failed, give }
        });
        let jobs = self.jobs.lock().clone().ok_or_else(closed)?;
        jobs.send(Job { is_outside, lasting, work }).await.map_err(|_| closed())?;
        heard.await.unwrap_or_else(|_| Err(closed()))
    }

    /// The thread ends when it has done what was taken.
    pub(super) fn close(&self) {
        self.jobs.lock().take();
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the archive is closed".into())
}

struct Writer {
    db: Connection,
    queue: mpsc::Receiver<Job>,
    /// Where the end of the audit is noted.
    anchor: Anchor,
    /// The end of the audit as it is in the file.
    head: Head,
}

impl Writer {
    fn run(mut self) {
        let mut taken = Vec::new();
        while self.queue.blocking_recv_many(&mut taken, JOBS_PER_TRANSACTION_MAX) > 0 {
            while !taken.is_empty() {
                if taken[0].is_outside {
                    self.step_outside(taken.remove(0));
                    continue;
                }
                let inside = taken.iter().take_while(|job| !job.is_outside).count();
                self.step(taken.drain(..inside).collect());
            }
        }
    }

    fn step_outside(&self, job: Job) {
        let answer = catch_unwind(AssertUnwindSafe(|| (job.work)(&self.db)));
        (answer.unwrap_or_else(|_| Answer::of_panic()).give)(None);
    }

    fn step(&mut self, mut jobs: Vec<Job>) {
        let lasting = jobs.iter().map(|job| job.lasting).max().unwrap_or(Lasting::Process);
        let mut answers = Vec::with_capacity(jobs.len());
        let ended = self.transact(lasting, &mut jobs, &mut answers);
        let lost = ended.err().map(|error| explain(&error));
        for answer in answers {
            (answer.give)(lost.as_deref());
        }
    }

    /// A job without an answer was not begun; whoever waits for it hears that the archive is closed.
    fn transact(
        &mut self,
        lasting: Lasting,
        jobs: &mut Vec<Job>,
        answers: &mut Vec<Answer>,
    ) -> rusqlite::Result<()> {
        let level = if lasting == Lasting::Power { "FULL" } else { "NORMAL" };
        self.db.pragma_update(None, "synchronous", level)?;
        let db = &self.db;
        let transaction = db.unchecked_transaction()?;
        // What is written within a savepoint takes a time that grows with the square of it, so a job that is alone has none.
        let is_alone = jobs.len() == 1;
        for job in jobs.drain(..) {
            if !is_alone {
                db.execute_batch("SAVEPOINT job")?;
            }
            let answer = catch_unwind(AssertUnwindSafe(|| (job.work)(db)));
            let answer = answer.unwrap_or_else(|_| Answer::of_panic());
            let is_failed = answer.is_failed;
            answers.push(answer);
            if is_alone && is_failed {
                return transaction.rollback();
            }
            if !is_alone {
                let back = if is_failed { "ROLLBACK TO job; " } else { "" };
                db.execute_batch(&format!("{back}RELEASE job"))?;
            }
        }
        let head = audit::head(db)?;
        if head != self.head {
            let noted = self.anchor.note([self.head, head], lasting);
            noted.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        }
        transaction.commit()?;
        if head != self.head {
            self.head = head;
            // What is noted already fits as well, so it is no matter if this is lost.
            let _ = self.anchor.note([head, head], Lasting::Process);
        }
        Ok(())
    }
}

/// Jobs that wait; beyond them callers wait to ask.
const JOBS_MAX: usize = 1_024;
const JOBS_PER_TRANSACTION_MAX: usize = 64;
