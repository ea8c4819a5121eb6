//! What a node does while Redis is lost, where `on_loss = "share"`: it goes on alone, with its share of each limit.
//!
//! A share is the limit divided by the number of nodes, rounded down, less what this node itself is known to have sent in the
//! window. Two databases stand behind it: the *mirror* has what this node sent while Redis was there, the *purse* what it sent
//! alone. Both are the embedded store, so what was sent alone survives a crash. When Redis answers again, everything in the purse
//! is charged there first, as sent now, which is never too early; only then Redis decides again. So nodes that are alone grant at most the
//! limit together; with what was sent before, and by nodes that still reach Redis, less than twice the limit in any window.

use super::RedisLedger;
use crate::{
    clock::Clock,
    event::{Events, LimitReached},
    rules::limits::{Mode, WINDOW_MAX},
    store::{
        BoxFuture, StoreError, Whose,
        ledger::{
            ChargePer, Demand, Grant, Granted, Ledger, Request, Reservation, Settlement, Usage,
        },
        sqlite::{self, SqliteStore},
    },
    types::{Key, Limit, Scope, Span, Timestamp},
};
use arc_swap::ArcSwap;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
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

/// Where the purse is.
struct Files {
    settings: sqlite::Settings,
    events: Events,
}

impl Files {
    fn path(&self, which: &str) -> PathBuf {
        let mut name = self.settings.path.file_name().unwrap_or_default().to_owned();
        name.push(which);
        self.settings.path.with_file_name(name)
    }

    fn open(&self, path: &Path, clock: &Clock) -> Result<Arc<SqliteStore>, StoreError> {
        let settings = sqlite::Settings { path: path.to_owned(), ..self.settings.clone() };
        sqlite::open(&settings)?.start(clock, self.events.clone())
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
        let files = Files { settings, events };
        let purse = files.open(&files.path(PURSE), &clock)?;
        // What was sent alone in an earlier run is charged before anything else is decided.
        let state = if is_empty(&purse) { WITH_REDIS } else { ALONE };
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
        let returning = tokio::spawn(inner.clone().run_returns());
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
        let _deciding = self.deciding.read().await;
        let purse = self.purse.load_full();
        let is_other = |known: &Arc<SqliteStore>| !Arc::ptr_eq(known, &purse);
        if self.state() != ALONE || reservation.alone.as_ref().is_some_and(is_other) {
            let why = "what was sent without Redis is charged there";
            return Err(StoreError::Unavailable(why.into()));
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

    /// Goes back to Redis whenever it can be.
    async fn run_returns(self: Arc<Self>) {
        let mut charged: BTreeMap<Key, u32> = BTreeMap::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.state() != ALONE || self.redis.failure().is_some() {
                continue;
            }
            match self.come_back(&mut charged).await {
                Ok(()) => charged.clear(),
                Err(error) => {
                    // What was charged is charged once more then, because what it stood for may have changed meanwhile.
                    charged.clear();
                    self.state.store(ALONE, SeqCst);
                    tracing::warn!(%error, "this node goes on without Redis");
                }
            }
        }
    }

    /// Charges everything that was sent alone, most of it while mail goes on, and the rest while nothing is decided.
    async fn come_back(&self, charged: &mut BTreeMap<Key, u32>) -> Result<(), StoreError> {
        let purse = self.purse.load_full();
        self.charge(&purse, charged).await?;
        self.state.store(RETURNING, SeqCst);
        // Whatever was being decided is in the purse then.
        drop(self.deciding.write().await);
        self.charge(&purse, charged).await?;
        self.replace_purse(&purse).await?;
        self.state.store(WITH_REDIS, SeqCst);
        tracing::warn!(
            windows = charged.len(),
            "what was sent without Redis is charged there, and it decides again"
        );
        Ok(())
    }

    /// Charges what the purse has more than was charged already; what is open counts as sent.
    async fn charge(
        &self,
        purse: &SqliteStore,
        charged: &mut BTreeMap<Key, u32>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut pages = Pages::of(purse);
        while let Some(page) = pages.next(now).await? {
            for (key, used) in page {
                let known = charged.get(&key).copied().unwrap_or(0);
                if used > known {
                    let demands = vec![whole(key.clone())];
                    note(&*self.redis, demands, used - known, Settlement::Sent, now).await?;
                    charged.insert(key, used);
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
        let demands = unlimited(demands);
        let mut reservation = Reservation::new(demands.clone());
        let request = Request { recipients, grant: Grant::AllOrNothing };
        if self.redis.reserve(&mut reservation, request, now).await.is_ok() {
            return self.redis.settle(reservation, settlement, now).await.map(drop);
        }
        // Redis is lost again: it is charged there with whatever else is sent meanwhile.
        self.leave();
        let _deciding = self.deciding.read().await;
        let purse = self.purse.load_full();
        note(&*purse, demands, recipients, settlement, now).await
    }

    /// What is in the purse now is what this node sent, for the time when Redis is lost again; and an empty one takes its place.
    async fn replace_purse(&self, purse: &Arc<SqliteStore>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut pages = Pages::of(purse);
        while let Some(page) = pages.next(now).await? {
            for (key, used) in page {
                self.mirror(vec![whole(key)], used, now).await;
            }
        }
        let path = self.files.path(PURSE);
        // Reservations that are still open end in the old file, which has no name any more. Without its log first: what a crash
        // leaves of it is charged once more, and never less.
        for ending in ["-wal", "-shm", "", ".lock"] {
            let mut name = path.clone().into_os_string();
            name.push(ending);
            match std::fs::remove_file(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let why = format!("{}: {error}", PathBuf::from(name).display());
                    return Err(StoreError::Unavailable(why));
                }
                _ => {}
            }
        }
        self.purse.store(self.files.open(&path, &self.clock)?);
        Ok(())
    }
}

/// The windows of a purse with what is charged there, some at a time; what is open counts as sent.
struct Pages<'p> {
    purse: &'p SqliteStore,
    scopes: std::slice::Iter<'static, Scope>,
    scope: Option<Scope>,
    after: Option<Key>,
}

impl<'p> Pages<'p> {
    fn of(purse: &'p SqliteStore) -> Self {
        let mut scopes =
            [Scope::Tenant, Scope::Account, Scope::ClientIp, Scope::Peer].as_slice().iter();
        let scope = scopes.next().copied();
        Self { purse, scopes, scope, after: None }
    }

    async fn next(&mut self, now: Timestamp) -> Result<Option<Vec<(Key, u32)>>, StoreError> {
        let all = [Limit { window: Span::new(WINDOW_MAX), max: u32::MAX }];
        while let Some(scope) = self.scope {
            let keys = self.purse.keys(scope, Whose::All, self.after.as_ref(), KEYS_MAX).await?;
            self.after = keys.last().cloned();
            if keys.is_empty() {
                self.scope = self.scopes.next().copied();
                continue;
            }
            let mut page = Vec::with_capacity(keys.len());
            for key in keys {
                let usage = self.purse.usage(&key, &all, now).await?;
                let used = usage.iter().map(|usage| usage.sent.saturating_add(usage.open)).sum();
                page.push((key, used));
            }
            return Ok(Some(page));
        }
        Ok(None)
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
const PURSE: &str = ".alone";
/// Keys that are read at a time.
const KEYS_MAX: usize = 500;
const LOOK_EVERY: Duration = Duration::from_millis(200);
