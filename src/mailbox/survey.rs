//! Looks at many Maildirs with a few threads of its own, which everybody else goes before.
//!
//! The threads have the lowest priority for the processor, and with it the lowest of the ordinary ones for the disk, which follows
//! the former where nobody sets it (ioprio_set(2)). They end with their work: those of the runtime are for those who wait.

use super::{Found, entry::Room, maildir::Maildirs};
use crate::{clock, types::AccountId};
use rustix::{process::setpriority_process, thread::gettid};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};
use tokio::sync::mpsc::Sender;

/// Begins to look at the accounts; the threads end when all are done, or nobody listens any more.
pub(super) fn start(
    maildirs: Arc<Maildirs>,
    accounts: Vec<AccountId>,
    found: &Sender<(AccountId, Found)>,
) {
    let work = Arc::new(Work { maildirs, accounts, next: AtomicUsize::new(0) });
    for _ in 0..work.maildirs.threads().min(work.accounts.len()) {
        let (work, found) = (work.clone(), found.clone());
        let started =
            thread::Builder::new().name("maildirs".into()).spawn(move || work.run(&found));
        if let Err(error) = started {
            tracing::warn!(%error, "no thread to look at Maildirs");
        }
    }
}

struct Work {
    maildirs: Arc<Maildirs>,
    accounts: Vec<AccountId>,
    next: AtomicUsize,
}

impl Work {
    fn run(&self, found: &Sender<(AccountId, Found)>) {
        // Without it the work is done all the same.
        let _higher = setpriority_process(Some(gettid()), NICE);
        let mut room = Room::new();
        while let Some(account) = self.accounts.get(self.next.fetch_add(1, Relaxed)) {
            let seen = self.maildirs.measure(account, &mut room, clock::wall_now());
            if found.blocking_send((account.clone(), seen)).is_err() {
                return;
            }
        }
    }
}

/// The lowest priority.
const NICE: i32 = 19;
