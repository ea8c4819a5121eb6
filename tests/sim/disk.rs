//! The ledger and the records as the gate sees them: the real ones, with a switch for the power, slow and failing writes, and an
//! end of the process that nothing of it survives.
//!
//! Either the store without a file, which outlives the process that is played and settles what was under way as the file's
//! would, or the real file, opened anew after each crash. The file's writer is a thread in real time, so whoever waits for it
//! stands still: no virtual time passes meanwhile.

use super::{chance::Chance, shadow::Shadow};
use parking_lot::Mutex;
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};
use tollgate::{
    event::{LimitHit, LimitReached},
    store::{
        BoxFuture, Changed, StoreError, Whose,
        ledger::{Granted, Ledger, Request, Reservation, Settlement, Usage},
        memory::MemoryStore,
        records::{Change, Choice, LastRefusal, Recorded, Records, SubjectKind, SubjectRecord},
        sqlite::SqliteStore,
    },
    types::{AccountId, Key, Limit, Scope, SubjectId, Timestamp},
};

/// What is under the switch.
#[derive(Clone)]
pub(crate) enum Store {
    Memory(Arc<MemoryStore>),
    File(Arc<SqliteStore>),
}

/// The store of one run of the program.
pub(crate) struct Disk {
    store: Mutex<Option<Store>>,
    shadow: Arc<Mutex<Shadow>>,
    dead: AtomicBool,
    chance: Mutex<Chance>,
    /// How many writes of a thousand fail.
    failing: u64,
    /// How long a write takes at most, in milliseconds.
    slow: u64,
}

impl Disk {
    pub(crate) fn new(
        store: Store,
        shadow: Arc<Mutex<Shadow>>,
        chance: Chance,
        failing: u64,
        slow: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            shadow,
            store: Mutex::new(Some(store)),
            dead: AtomicBool::new(false),
            chance: Mutex::new(chance),
            failing,
            slow,
        })
    }

    /// The process is gone: nothing that it still says counts. A file is closed as a kill would.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
        let mut store = self.store.lock();
        if matches!(&*store, Some(Store::File(_))) {
            self.shadow.lock().end_process(false);
            *store = None;
        }
    }

    /// Stores everything, as at the end of a drain.
    pub(crate) fn close(&self) {
        if let Some(Store::File(file)) = self.store.lock().take() {
            self.shadow.lock().end_process(true);
            stand_still(file.close()).unwrap();
        }
        self.dead.store(true, Ordering::Relaxed);
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    fn store(&self) -> Result<Store, StoreError> {
        let gone = || StoreError::Unavailable("the process has ended".into());
        self.store.lock().clone().ok_or_else(gone)
    }

    async fn write(&self) -> Result<(), StoreError> {
        let (wait, fails) = {
            let mut chance = self.chance.lock();
            (chance.within(0, self.slow), chance.permille(self.failing))
        };
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let failure = || Err(StoreError::Unavailable("the simulation wants it".into()));
        if fails { failure() } else { Ok(()) }
    }
}

macro_rules! on {
    ($self:ident, $store:ident => $call:expr) => {
        match $self.store()? {
            Store::Memory($store) => $call.await,
            Store::File($store) => stand_still($call),
        }
    };
}

impl Ledger for Disk {
    fn reserve<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        request: Request,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Granted, StoreError>> {
        Box::pin(async move {
            self.write_seldom().await?;
            let had = reservation.recipients();
            let asked = request.clone();
            let granted = on!(self, store => store.reserve(reservation, request, now))?;
            let mut shadow = self.shadow.lock();
            shadow.reserve(reservation.demands(), had, &asked, &granted, now.as_millis());
            Ok(granted)
        })
    }

    fn release<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        recipients: u32,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.shadow.lock().release(reservation, recipients);
            on!(self, store => store.release(reservation, recipients, now))
        })
    }

    fn make_durable<'a>(
        &'a self,
        reservation: &'a mut Reservation,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.write().await?;
            on!(self, store => store.make_durable(reservation))
        })
    }

    fn settle<'a>(
        &'a self,
        reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<LimitReached>, StoreError>> {
        Box::pin(async move {
            let store = self.store()?;
            self.shadow.lock().settle(&reservation, settlement, now.as_millis());
            match store {
                Store::Memory(store) => store.settle(reservation, settlement, now).await,
                Store::File(store) => stand_still(store.settle(reservation, settlement, now)),
            }
        })
    }

    fn usage<'a>(
        &'a self,
        key: &'a Key,
        limits: &'a [Limit],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Usage>, StoreError>> {
        Box::pin(async move { on!(self, store => store.usage(key, limits, now)) })
    }

    fn knows<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { on!(self, store => store.knows(key)) })
    }

    fn keys<'a>(
        &'a self,
        scope: Scope,
        whose: Whose<'a>,
        after: Option<&'a Key>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        Box::pin(async move { on!(self, store => store.keys(scope, whose, after, max)) })
    }
}

impl Disk {
    /// A decision is made in memory, so it fails far less often than a write.
    async fn write_seldom(&self) -> Result<(), StoreError> {
        if self.is_dead() || self.chance.lock().permille(self.failing / 10) {
            return Err(StoreError::Unavailable("the simulation wants it".into()));
        }
        Ok(())
    }
}

impl Records for Disk {
    fn subject<'a>(
        &'a self,
        subject: &'a SubjectId,
    ) -> BoxFuture<'a, Result<Arc<SubjectRecord>, StoreError>> {
        Box::pin(async move {
            self.write_seldom().await?;
            on!(self, store => store.subject(subject))
        })
    }

    fn change<'a>(
        &'a self,
        change: Change,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Arc<SubjectRecord>, StoreError>> {
        Box::pin(async move { on!(self, store => store.change(change, now)) })
    }

    fn subjects<'a>(
        &'a self,
        kind: SubjectKind,
        whose: Whose<'a>,
        after: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, StoreError>> {
        Box::pin(async move { on!(self, store => store.subjects(kind, whose, after, max)) })
    }

    fn chosen<'a>(
        &'a self,
        choice: Choice<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Recorded>, StoreError>> {
        Box::pin(async move { on!(self, store => store.chosen(choice, max)) })
    }

    fn changes_waiting(&self, max: usize) -> BoxFuture<'_, Result<Vec<Changed>, StoreError>> {
        Box::pin(async move { on!(self, store => store.changes_waiting(max)) })
    }

    fn cut_changes(&self, up_to: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { on!(self, store => store.cut_changes(up_to)) })
    }

    fn note_refusal(
        &self,
        account: &AccountId,
        at: Timestamp,
        reply: &str,
        limit: Option<&LimitHit>,
    ) {
        match self.store() {
            Ok(Store::Memory(store)) => store.note_refusal(account, at, reply, limit),
            Ok(Store::File(store)) => store.note_refusal(account, at, reply, limit),
            Err(_) => {}
        }
    }

    fn last_refusal<'a>(
        &'a self,
        account: &'a AccountId,
    ) -> BoxFuture<'a, Result<Option<LastRefusal>, StoreError>> {
        Box::pin(async move { on!(self, store => store.last_refusal(account)) })
    }

    fn high_water(&self) -> Timestamp {
        match self.store() {
            Ok(Store::Memory(store)) => store.high_water(),
            Ok(Store::File(store)) => store.high_water(),
            Err(_) => Timestamp::EPOCH,
        }
    }
}

/// Waits for a future in real time; whatever else the simulation does stands still.
pub(crate) fn stand_still<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}
