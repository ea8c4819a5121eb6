//! What a node does while Redis is lost, where `on_loss = "share"`: it goes on alone, with its share of each limit.
//!
//! A share is the limit divided by the number of nodes, rounded down, less what this node itself is known to have sent in the
//! window. Two databases stand behind it: the *mirror* has what this node sent while Redis was there, the *purse* what it sent
//! alone. Both are the embedded store, so what was sent alone survives a crash. When Redis answers again, everything in the purse
//! is charged there first, as sent now, which is never too early; only then Redis decides again. So nodes that are alone grant at most the
//! limit together; with what was sent before, and by nodes that still reach Redis, less than twice the limit in any window.

use super::RedisLedger;
use crate::{
    clock::{self, Clock},
    event::{Events, LimitReached},
    rules::limits::{Mode, WINDOW_MAX},
    store::{
        BoxFuture, StoreError, Whose,
        ledger::{
            ChargePer, Demand, Grant, Granted, Ledger, Request, Reservation, Settlement, Usage,
        },
        pages::KeyPages,
        sqlite::{self, SqliteStore},
    },
    types::{Key, Limit, Scope, Span, Timestamp},
};
use arc_swap::ArcSwap;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// A ledger in Redis that goes on without it.
pub struct SharingLedger {
    inner: Arc<Inner>,
    returning: JoinHandle<()>,
}

struct Inner {
    redis: Arc<RedisLedger>,
    mirror: Arc<SqliteStore>,
    purse: ArcSwap<SqliteStore>,
    files: Files,
    nodes: u32,
    state: AtomicU8,
    /// Held while something is decided here; who holds it alone knows that nothing is.
    deciding: tokio::sync::RwLock<()>,
    clock: Clock,
}

/// Where purses are. A new one is there before the old one goes, so one of two names is free.
struct Files {
    settings: sqlite::Settings,
    events: Events,
    /// Which name the present one has.
    current: AtomicUsize,
}

impl Files {
    fn path(&self, which: usize) -> PathBuf {
        let mut name = self.settings.path.file_name().unwrap_or_default().to_owned();
        name.push(PURSES[which % PURSES.len()]);
        self.settings.path.with_file_name(name)
    }

    fn open(&self, which: usize, clock: &Clock) -> Result<Arc<SqliteStore>, StoreError> {
        let settings = sqlite::Settings { path: self.path(which), ..self.settings.clone() };
        sqlite::open(&settings)?.start(clock, self.events.clone())
    }

    /// Removes a purse. Its log goes first: what a crash leaves of it is charged once more, and never less.
    fn remove(&self, which: usize) -> Result<(), StoreError> {
        for ending in ["-wal", "-shm", "", ".lock"] {
            let mut name = self.path(which).into_os_string();
            name.push(ending);
            match std::fs::remove_file(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let why = format!("{}: {error}", PathBuf::from(name).display());
                    return Err(StoreError::Unavailable(why));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn current(&self) -> usize {
        self.current.load(SeqCst)
    }

    fn other(&self) -> usize {
        (self.current() + 1) % PURSES.len()
    }
}

impl SharingLedger {
    /// Begins, with what was sent alone before. `mirror` is this node's own database. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`] if the purse cannot be opened.
    pub fn start(
        redis: Arc<RedisLedger>,
        mirror: Arc<SqliteStore>,
        (settings, nodes): (sqlite::Settings, u32),
        (clock, events): (Clock, Events),
    ) -> Result<Arc<Self>, StoreError> {
        let files = Files { settings, events, current: AtomicUsize::new(0) };
        // After a crash there may be two.
        if !files.path(0).exists() && files.path(1).exists() {
            files.current.store(1, SeqCst);
        }
        let purse = files.open(files.current(), &clock)?;
        let left = if files.path(files.other()).exists() {
            Some(files.open(files.other(), &clock)?)
        } else {
            None
        };
        // What was sent alone in an earlier run is charged before anything else is decided.
        let state = match &left {
            Some(_) => RETURNING,
            None if is_empty(&purse) => WITH_REDIS,
            None => ALONE,
        };
        let inner = Arc::new(Inner {
            redis,
            mirror,
            purse: ArcSwap::new(purse),
            files,
            nodes: nodes.max(1),
            state: AtomicU8::new(state),
            deciding: tokio::sync::RwLock::default(),
            clock,
        });
        let returning = tokio::spawn(inner.clone().run_returns(left));
        Ok(Arc::new(Self { inner, returning }))
    }

    /// True while Redis does not decide.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.inner.state() == ALONE
    }

    /// Stores everything.
    pub async fn close(&self) {
        self.returning.abort();
        if let Err(error) = self.inner.purse.load_full().close().await {
            tracing::error!(%error, "what was sent without Redis could not be stored in order");
        }
    }
}

impl Drop for SharingLedger {
    fn drop(&mut self) {
        self.returning.abort();
    }
}

fn is_empty(purse: &SqliteStore) -> bool {
    purse.windows_count() == 0
}

impl Inner {
    fn state(&self) -> u8 {
        self.state.load(SeqCst)
    }

    async fn reserve(
        &self,
        reservation: &mut Reservation,
        request: Request,
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        if reservation.alone.is_none() && self.state() == WITH_REDIS {
            match self.redis.reserve(reservation, request.clone(), now).await {
                // What it has there it has, and the rest of it cannot be decided elsewhere.
                Err(error @ StoreError::Unavailable(_)) if reservation.recipients() > 0 => {
                    return Err(error);
                }
                Err(StoreError::Unavailable(_)) => self.leave(),
                decided => return decided,
            }
        }
        if reservation.alone.is_none() && reservation.recipients() > 0 {
            // What was granted in Redis has no window here, so nothing more could be decided.
            return Err(StoreError::Unavailable("Redis was lost while the message began".into()));
        }
        let returning = || {
            let why = "what was sent without Redis is charged there";
            StoreError::Unavailable(why.into())
        };
        if self.state() != ALONE {
            return Err(returning());
        }
        let _deciding = self.deciding.read().await;
        let purse = self.purse.load_full();
        let is_other = |known: &Arc<SqliteStore>| !Arc::ptr_eq(known, &purse);
        if self.state() != ALONE || reservation.alone.as_ref().is_some_and(is_other) {
            return Err(returning());
        }
        reservation.shared = None;
        reservation.alone = Some(purse.clone());
        self.reserve_alone(&purse, reservation, request, now).await
    }

    fn leave(&self) {
        if self.state.compare_exchange(WITH_REDIS, ALONE, SeqCst, SeqCst).is_ok() {
            tracing::warn!(
                nodes = self.nodes,
                "Redis is lost: this node goes on with its share of each limit"
            );
        }
    }

    /// Decides by this node's share. What it can never grant is put off, because Redis may.
    async fn reserve_alone(
        &self,
        purse: &SqliteStore,
        reservation: &mut Reservation,
        request: Request,
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        let demands = reservation.demands.clone();
        for demand in &mut reservation.demands {
            demand.limits = self.shares(&demand.key, &demand.limits, now).await?;
        }
        let decided = purse.reserve(reservation, request, now).await;
        reservation.demands = demands;
        let granted = decided?;
        let never = granted.hit.as_ref().is_some_and(|hit| hit.next_slot.is_none());
        if never && granted.recipients == 0 {
            let why = "this node's share of a limit is too small while Redis is lost";
            return Err(StoreError::Unavailable(why.into()));
        }
        Ok(granted)
    }

    /// The limits of a window as they hold for this node alone.
    async fn shares(
        &self,
        key: &Key,
        limits: &[Limit],
        now: Timestamp,
    ) -> Result<Arc<[Limit]>, StoreError> {
        let sent = self.mirror.usage(key, limits, now).await?;
        let share = |(limit, usage): (&Limit, &Usage)| Limit {
            max: (limit.max / self.nodes).saturating_sub(usage.sent.saturating_add(usage.open)),
            ..*limit
        };
        Ok(limits.iter().zip(&sent).map(share).collect())
    }

    /// Notes what was sent through Redis, for the time when it is lost.
    async fn mirror(&self, demands: Vec<Demand>, recipients: u32, now: Timestamp) {
        if recipients == 0 {
            return;
        }
        let copied = note(&*self.mirror, unlimited(demands), recipients, Settlement::Sent, now);
        if let Err(error) = copied.await {
            tracing::warn!(%error, "this node does not know of something that it sent");
        }
    }

    /// Goes back to Redis whenever it can be, and tries again to charge what could not be.
    async fn run_returns(self: Arc<Self>, left: Option<Arc<SqliteStore>>) {
        if let Some(left) = left {
            while let Err(error) = self.take_in(&left).await {
                tracing::warn!(%error, "what was sent without Redis cannot be read");
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            self.state.store(ALONE, SeqCst);
        }
        let mut rests_until = clock::steady_now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let rests = clock::steady_now() < rests_until;
            let is_due = match self.state() {
                ALONE => true,
                _ => !rests && !is_empty(&self.purse.load()),
            };
            if !is_due || self.redis.failure().is_some() {
                continue;
            }
            // What was charged when this fails is charged once more then, because what it stood for may have changed meanwhile.
            match self.come_back().await {
                Ok(()) => rests_until = clock::steady_now() + TRY_AGAIN_AFTER,
                Err(error) => {
                    self.state.store(ALONE, SeqCst);
                    tracing::warn!(%error, "this node goes on without Redis");
                }
            }
        }
    }

    /// Puts what is in a purse that a crash left into the present one. A crash meanwhile counts some of it twice.
    async fn take_in(&self, left: &SqliteStore) -> Result<(), StoreError> {
        let (purse, now) = (self.purse.load_full(), self.clock.now());
        let mut pages = Pages::of(left);
        while let Some(page) = pages.next(now).await? {
            for (key, used) in page {
                note(&*purse, vec![whole(key)], used, Settlement::Sent, now).await?;
            }
        }
        self.files.remove(self.files.other())
    }

    /// Charges everything that was sent alone, most of it while mail goes on, and the rest while nothing is decided. What
    /// cannot be charged stays in the purse, and Redis decides all the same: of such a window it grants nothing.
    async fn come_back(&self) -> Result<(), StoreError> {
        let (purse, mut charged) = (self.purse.load_full(), Charged::default());
        // What is charged must not stay in the purse, or each attempt would charge it again: there has to be another one first.
        let new = self.next_purse()?;
        self.charge(&purse, &mut charged).await?;
        if charged.windows.is_empty() && self.state() == WITH_REDIS {
            drop(new);
            return self.files.remove(self.files.other());
        }
        self.state.store(RETURNING, SeqCst);
        // Whatever was being decided is in the purse then, and nothing comes into it until there is another one.
        let _nothing_is_decided = self.deciding.write().await;
        self.charge(&purse, &mut charged).await?;
        self.replace_purse(new, &charged).await?;
        self.state.store(WITH_REDIS, SeqCst);
        tracing::warn!(
            windows = charged.windows.len(),
            left = charged.unusable.len(),
            "what was sent without Redis is charged there, and it decides again"
        );
        Ok(())
    }

    /// Charges what the purse has more than was charged already; what is open counts as sent.
    async fn charge(&self, purse: &SqliteStore, charged: &mut Charged) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut pages = Pages::of(purse);
        charged.unusable.clear();
        while let Some(page) = pages.next(now).await? {
            for (key, used) in page {
                let known = charged.windows.get(&key).copied().unwrap_or(0);
                if used <= known {
                    continue;
                }
                match self.redis.charge(&key, &[(0, used - known)], now).await {
                    Ok(()) => {
                        charged.windows.insert(key, used);
                    }
                    Err(StoreError::Damaged(_)) => {
                        charged.unusable.insert(key, used - known);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Charges what was begun without Redis and ended when it decided again: it was charged as of the return, which is too early for
    /// when it was sent, so it is charged once more.
    async fn charge_late(
        &self,
        demands: Vec<Demand>,
        recipients: u32,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if recipients == 0 {
            return Ok(());
        }
        let from_now = match settlement {
            Settlement::Unknown => self.files.settings.unknown_margin,
            Settlement::Sent | Settlement::Refunded => Duration::ZERO,
        };
        let from_now = i64::try_from(from_now.as_millis()).unwrap_or(i64::MAX);
        let mut left = Vec::new();
        for demand in unlimited(demands) {
            let charges = [(from_now, demand.cost(0, recipients))];
            match self.redis.charge(&demand.key, &charges, now).await {
                Ok(()) => {}
                Err(StoreError::Damaged(_)) => left.push(demand),
                Err(_) => {
                    // Redis is lost again.
                    self.leave();
                    left.push(demand);
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        // It is charged there with whatever else is sent meanwhile.
        let _deciding = self.deciding.read().await;
        let purse = self.purse.load_full();
        note(&*purse, left, recipients, settlement, now).await
    }

    /// An empty purse beside the present one.
    fn next_purse(&self) -> Result<Arc<SqliteStore>, StoreError> {
        let next = self.files.other();
        self.files.remove(next)?;
        self.files.open(next, &self.clock)
    }

    /// What is in the purse now is what this node sent, for the time when Redis is lost again; and one takes its place that has
    /// only what could not be charged.
    async fn replace_purse(
        &self,
        new: Arc<SqliteStore>,
        charged: &Charged,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        for (key, used) in &charged.unusable {
            note(&*new, vec![whole(key.clone())], *used, Settlement::Sent, now).await?;
        }
        for (key, used) in &charged.windows {
            self.mirror(vec![whole(key.clone())], *used, now).await;
        }
        let old = self.files.current.swap(self.files.other(), SeqCst);
        self.purse.store(new);
        // Reservations that are still open end in the old file, which has no name any more.
        if let Err(error) = self.files.remove(old) {
            tracing::warn!(%error, "what was sent without Redis may be charged once more");
        }
        Ok(())
    }
}

/// What of a purse was charged in Redis, and what could not be, because its window there is damaged.
#[derive(Default)]
struct Charged {
    windows: BTreeMap<Key, u32>,
    unusable: BTreeMap<Key, u32>,
}

/// The windows of a purse with what is charged there, some at a time; what is open counts as sent.
struct Pages<'p> {
    purse: &'p SqliteStore,
    keys: KeyPages<'p>,
}

impl<'p> Pages<'p> {
    fn of(purse: &'p SqliteStore) -> Self {
        Self { purse, keys: KeyPages::of(purse, KEYS_MAX) }
    }

    async fn next(&mut self, now: Timestamp) -> Result<Option<Vec<(Key, u32)>>, StoreError> {
        let all = [Limit { window: Span::new(WINDOW_MAX), max: u32::MAX }];
        let Some(keys) = self.keys.next().await? else { return Ok(None) };
        let mut page = Vec::with_capacity(keys.len());
        for key in keys {
            let usage = self.purse.usage(&key, &all, now).await?;
            let used = usage.iter().map(|usage| usage.sent.saturating_add(usage.open)).sum();
            page.push((key, used));
        }
        Ok(Some(page))
    }
}

/// Notes in a ledger what was charged already, whatever the limits are.
async fn note(
    ledger: &dyn Ledger,
    demands: Vec<Demand>,
    recipients: u32,
    settlement: Settlement,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut reservation = Reservation::new(demands);
    let request = Request { recipients, grant: Grant::AllOrNothing };
    ledger.reserve(&mut reservation, request, now).await?;
    ledger.settle(reservation, settlement, now).await.map(drop)
}

fn unlimited(demands: Vec<Demand>) -> Vec<Demand> {
    let all = |demand: Demand| Demand { limits: Arc::new([]), ..demand };
    demands.into_iter().map(all).collect()
}

/// One window, whatever its limits are.
fn whole(key: Key) -> Demand {
    Demand { key, limits: Arc::new([]), per: ChargePer::Recipient, mode: Mode::Enforce }
}

impl Ledger for SharingLedger {
    fn reserve<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        request: Request,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Granted, StoreError>> {
        Box::pin(self.inner.reserve(reservation, request, now))
    }

    fn release<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        recipients: u32,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match reservation.alone.clone() {
                Some(purse) => purse.release(reservation, recipients, now).await,
                None => self.inner.redis.release(reservation, recipients, now).await,
            }
        })
    }

    fn make_durable<'a>(
        &'a self,
        reservation: &'a mut Reservation,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match reservation.alone.clone() {
                Some(purse) => purse.make_durable(reservation).await,
                None => self.inner.redis.make_durable(reservation).await,
            }
        })
    }

    fn settle<'a>(
        &'a self,
        mut reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<LimitReached>, StoreError>> {
        Box::pin(async move {
            if let Some(purse) = reservation.alone.take() {
                let late = (!Arc::ptr_eq(&purse, &self.inner.purse.load_full()))
                    .then(|| (reservation.demands.clone(), reservation.recipients()));
                // That a share is used says nothing of the limit.
                purse.settle(reservation, settlement, now).await?;
                if let Some((demands, recipients)) = late
                    && settlement != Settlement::Refunded
                {
                    self.inner.charge_late(demands, recipients, settlement, now).await?;
                }
                return Ok(Vec::new());
            }
            if settlement != Settlement::Refunded {
                let (demands, recipients) = (reservation.demands.clone(), reservation.recipients());
                self.inner.mirror(demands, recipients, now).await;
            }
            self.inner.redis.settle(reservation, settlement, now).await
        })
    }

    fn usage<'a>(
        &'a self,
        key: &'a Key,
        limits: &'a [Limit],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Usage>, StoreError>> {
        Box::pin(async move {
            if self.inner.state() == ALONE {
                let shares = self.inner.shares(key, limits, now).await?;
                return self.inner.purse.load_full().usage(key, &shares, now).await;
            }
            self.inner.redis.usage(key, limits, now).await
        })
    }

    fn knows<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            if self.inner.state() == WITH_REDIS {
                match self.inner.redis.knows(key).await {
                    Err(StoreError::Unavailable(_)) => self.inner.leave(),
                    known => return known,
                }
            }
            let purse = self.inner.purse.load_full();
            Ok(purse.knows(key).await? || self.inner.mirror.knows(key).await?)
        })
    }

    fn keys<'a>(
        &'a self,
        scope: Scope,
        whose: Whose<'a>,
        after: Option<&'a Key>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        self.inner.redis.keys(scope, whose, after, max)
    }
}

/// Redis decides.
const WITH_REDIS: u8 = 0;
/// This node decides by its share.
const ALONE: u8 = 1;
/// What was sent alone is being charged: nothing is decided.
const RETURNING: u8 = 2;
/// What the file of a purse has behind the name of the node's own database.
const PURSES: [&str; 2] = [".alone", ".alone-2"];
/// Keys that are read at a time.
const KEYS_MAX: usize = 500;
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What could not be charged is tried again so long after.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(10);
