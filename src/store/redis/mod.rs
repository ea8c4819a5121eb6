//! What several nodes share. The ledger: windows and open reservations in one Redis, decided there by scripts.
//!
//! A command group is one call of `reserve.lua`, an end one of `settle.lua`; both are `rules::window` and `store::windows`
//! once more, in Redis, where all nodes meet, and a test holds their answers equal. What counts is the server's clock, never
//! below the highest time that a window has seen. An open reservation has a deadline, after which the next call that looks at
//! its window stamps it as sent; its node sends the final dot only well before ([`Reservation::dot_by`]). The records of
//! accounts and tenants are in [`records`]. Only this module knows the crate `redis`.
//!
//! One server, or that of a Sentinel, is asked in one call; of a Redis Cluster each slot is asked for its own ([`groups`]).
//!
//! Redis that does not answer within [`Settings::timeout`] is lost: nothing is granted then. What was decided meanwhile is
//! kept in [`ends`] and told when it is back.

mod alone;
mod calls;
mod codec;
mod ends;
mod groups;
mod known;
mod link;
mod records;
mod servers;
mod stream;

use self::{
    calls::{Scripts, Times},
    ends::{End, Ends},
    known::Known,
    servers::{At, Servers},
};
use super::{
    BoxFuture, StoreError, Whose,
    ledger::{Granted, Ledger, Request, Reservation, Settlement, Usage},
    sqlite::SqliteStore,
    warned::Warned,
    windows::{self, State, millis},
};
use crate::{
    clock::{self, Clock},
    event::{Event, Events, LimitReached, Trouble},
    rules::{
        limits::WINDOW_MAX,
        window::{Charges, Gap, Log},
    },
    types::{Key, Limit, Scope, Secret, Timestamp},
};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Where Redis is and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub place: Place,
    /// Who says where it is instead, if anybody does.
    pub sentinels: Option<Sentinels>,
    /// Nodes of a Redis Cluster, as host and port, that say where everything is, if it is one.
    pub cluster: Option<Vec<(String, u16)>>,
    /// The password of the user that [`Place`] names, or of the default user.
    pub password: Option<Secret>,
    /// A PEM file of the authorities to believe, also of sentinels; none: the system's.
    pub tls_ca: Option<PathBuf>,
    /// What all keys begin with, so that several fleets can share a server.
    pub prefix: String,
    /// How long a call may take before Redis counts as lost.
    pub timeout: Duration,
    /// How long charges are kept: the longest window in the configuration, at least 24 h.
    pub history: Duration,
    /// How much later than known an unknown or unsettled charge is stamped.
    pub unknown_margin: Duration,
    /// How long a reservation may stay open, from its last recipient on.
    pub open_time_max: Duration,
    /// Whose clock counts.
    pub time: Time,
    /// What nodes tell one another.
    pub stream: StreamSettings,
    /// Among how many nodes limits are divided while it is lost; none: nothing is granted then.
    pub shares: Option<u32>,
}

impl Settings {
    /// True if something on the way is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        let mut sentinels = self.sentinels.iter().flat_map(|sentinels| &sentinels.places);
        self.place.is_tls() || sentinels.any(Place::is_tls)
    }

    /// With what follows the plans and the session in other settings, if there are any.
    #[must_use]
    pub fn keeping_lengths_of(self, other: &Option<Self>) -> Self {
        match other {
            Some(Self { history, open_time_max, .. }) => {
                Self { history: *history, open_time_max: *open_time_max, ..self }
            }
            None => self,
        }
    }
}

/// Whose clock counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Time {
    /// The server's: nodes need not agree on the time.
    #[default]
    Server,
    /// The caller's, as in the embedded store: for tests that move the time.
    Caller,
}

pub use self::{
    alone::SharingLedger,
    link::{Place, PlaceError, Sentinels, backoff},
    records::RedisRecords,
    stream::{Entry, RedisStream, StreamEar, StreamSettings},
};

/// The shared ledger.
pub struct RedisLedger {
    shared: Arc<Shared>,
    runner: JoinHandle<()>,
}

/// What callers and the task that tells ends have in common.
struct Shared {
    settings: Settings,
    servers: Servers,
    scripts: Scripts,
    /// The name of the last change of records, and where it is.
    records_head: String,
    records_at: At,
    ends: Ends,
    warned: Warned,
    known: Known,
    /// How long charges are kept, in milliseconds: what is configured, and the longest window that was asked for.
    history_configured: AtomicU64,
    history_asked: AtomicU64,
    /// The first reservation has this name, the next ones count up from it; drawn, so that no two nodes use the same.
    next_name: AtomicU64,
    clock: Clock,
    events: Events,
    /// Why a call failed, until one succeeds; of a Cluster, until all of its masters answer.
    failure: Mutex<Option<String>>,
    /// No master of a Cluster answers.
    is_all_lost: AtomicBool,
    /// The keys there were seen to be in this program's form, since Redis was lost last.
    has_form: AtomicBool,
    /// This node's copy of the records, which knows who was erased.
    copy: RwLock<Weak<SqliteStore>>,
}

/// A reservation's part in Redis.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Its name there.
    name: Name,
    /// Until when the final dot may be sent, on the ledger's clock.
    pub(super) dot_by: Timestamp,
    /// Since when a request for it may be under way, if one may.
    asked: Option<Instant>,
    /// How long a request may be under way.
    timeout: Duration,
    ends: Ends,
}

/// The name of a reservation in Redis.
type Name = [u8; 8];

impl RedisLedger {
    /// Prepares the connection and starts the task that tells ends; connects at the first call. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if TLS cannot be set up.
    pub fn start(
        settings: Settings,
        clock: Clock,
        events: Events,
    ) -> Result<Arc<Self>, StoreError> {
        let mut first = [0; 8];
        let no_random = |error| StoreError::Unavailable(format!("draw a name: {error}"));
        getrandom::fill(&mut first).map_err(no_random)?;
        let servers = Servers::new(&settings)?;
        let records_head = records::calls::head_name(&settings.prefix);
        let shared = Arc::new(Shared {
            scripts: Scripts::default(),
            records_at: servers.at(&records_head),
            records_head,
            servers,
            ends: Ends::default(),
            warned: Warned::default(),
            known: Known::default(),
            history_configured: AtomicU64::new(millis(settings.history)),
            history_asked: AtomicU64::new(0),
            next_name: AtomicU64::new(u64::from_be_bytes(first)),
            clock,
            events,
            failure: Mutex::new(None),
            is_all_lost: AtomicBool::new(false),
            has_form: AtomicBool::new(false),
            copy: RwLock::default(),
            settings,
        });
        let runner = tokio::spawn(shared.clone().run_ends());
        Ok(Arc::new(Self { shared, runner }))
    }

    /// Charges a window with what was sent elsewhere, oldest first, each at so many milliseconds from now, negative for the past;
    /// whatever its limits are, and also where too much is open in it. If it fails, some of it may have been charged.
    ///
    /// # Errors
    /// [`StoreError`], of which [`StoreError::Damaged`] concerns this window alone.
    pub async fn charge(
        &self,
        key: &Key,
        charges: &[(i64, u32)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (shared, names) = (&*self.shared, self.shared.names(key));
        let at = shared.servers.at(&names[0]);
        for charges in charges.chunks(CHARGES_MAX) {
            let past = &calls::Past { shared, names: &names, charges, now };
            let answer = shared.call(&at, async |connection| past.send(connection).await).await?;
            if answer.is_late() {
                return Err(StoreError::Unavailable("Redis was asked too late".into()));
            }
        }
        Ok(())
    }

    /// A window on the caller's clock: its charges, and what is open.
    pub(in crate::store) async fn window(
        &self,
        key: &Key,
        now: Timestamp,
    ) -> Result<(Log, u32), StoreError> {
        let (state, times) = self.shared.read(key, now).await?;
        let mut log = Log::default();
        for Charges { first, newest, count } in state.log.grouped() {
            let (first, newest) = (times.to_caller(first), times.to_caller(newest));
            log.restore_bucket(Charges { first, newest, count });
        }
        for stamp in state.log.exact() {
            log.restore_exact(times.to_caller(stamp));
        }
        Ok((log, state.open))
    }

    /// The windows of a scope.
    pub(in crate::store) async fn scan(&self, scope: Scope) -> Result<Scan<'_>, StoreError> {
        self.shared.scan(scope).await
    }

    /// How far a node's history was moved here, as it was noted.
    pub(in crate::store) async fn moved_up_to(
        &self,
        node: &str,
    ) -> Result<Option<String>, StoreError> {
        let (shared, name) = (&*self.shared, &self.moves_name());
        let at = shared.servers.at(name);
        shared.call(&at, async |redis| calls::read_field(redis, name, node).await).await
    }

    /// Notes how far a node's history was moved here; nothing once it was moved away.
    pub(in crate::store) async fn note_moved(
        &self,
        node: &str,
        text: Option<&str>,
    ) -> Result<(), StoreError> {
        let (shared, name) = (&*self.shared, &self.moves_name());
        let (at, field) = (shared.servers.at(name), (node, text));
        shared.call(&at, async |redis| calls::write_field(redis, name, field).await).await
    }

    fn moves_name(&self) -> String {
        records::calls::moves_name(&self.shared.settings.prefix)
    }

    /// How much later than known an unknown or unsettled charge is stamped.
    pub(in crate::store) fn unknown_margin(&self) -> Duration {
        self.shared.settings.unknown_margin
    }

    /// Waits until Redis was told of every end, at most for the time of one call.
    pub async fn close(&self) {
        let told = self.shared.ends.told();
        if tokio::time::timeout(self.shared.settings.timeout, told).await.is_err() {
            tracing::warn!(
                "Redis was not told of every end; what is open there will count as sent"
            );
        }
    }

    /// Keeps charges for this long from now on: the longest window after a reload.
    pub fn set_history(&self, history: Duration) {
        self.shared.history_configured.store(millis(history), Relaxed);
    }

    /// Why Redis cannot be used at present, or not all of a Cluster; none if it can.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.lock().clone()
    }

    /// Why nothing can be decided at present; none while a part of a Cluster decides for its accounts.
    #[must_use]
    pub fn outage(&self) -> Option<String> {
        let is_partial = self.shared.servers.is_cluster() && !self.shared.is_all_lost.load(Relaxed);
        self.failure().filter(|_| !is_partial)
    }
}

/// A walk through the windows of a scope.
pub(in crate::store) struct Scan<'s> {
    shared: &'s Shared,
    scope: Scope,
    /// The servers that are left, the present one last.
    places: Vec<At>,
    cursor: u64,
}

impl Scan<'_> {
    /// Some of the windows, each at least once; none at the end.
    pub(in crate::store) async fn next(&mut self) -> Result<Option<Vec<Key>>, StoreError> {
        let Some(at) = self.places.last() else { return Ok(None) };
        let (prefix, scope, cursor) = (&self.shared.settings.prefix, self.scope, self.cursor);
        let scanned =
            self.shared.call(at, async |redis| calls::scan(redis, prefix, scope, cursor).await);
        let (next, names) = scanned.await?;
        self.cursor = next;
        if next == 0 {
            self.places.pop();
        }
        let keys = names.iter().filter_map(|name| calls::key_of(prefix, name));
        Ok(Some(keys.filter(|key| key.parts().scope == scope).collect()))
    }
}

impl Drop for RedisLedger {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

impl Ledger for RedisLedger {
    fn reserve<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        request: Request,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Granted, StoreError>> {
        Box::pin(self.shared.reserve(reservation, request, now))
    }

    fn release<'a>(
        &'a self,
        reservation: &'a mut Reservation,
        recipients: u32,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let left = reservation.recipients.saturating_sub(recipients);
            if left == reservation.recipients {
                return Ok(());
            }
            let release = |ticket: &Ticket| End::release(ticket.name, left);
            let end = reservation.shared.as_deref().map(release).map(|end| end.of(reservation));
            reservation.recipients = left;
            match end {
                Some(end) => self.shared.clone().end(end, now).await.map(|_| ()),
                None => Ok(()),
            }
        })
    }

    /// It is in Redis since it was made; what remains is whether there is time left to send it on.
    fn make_durable<'a>(
        &'a self,
        reservation: &'a mut Reservation,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let now = self.shared.clock.now();
            if self.shared.is_by_server() && reservation.dot_by().is_some_and(|by| now >= by) {
                return Err(StoreError::Unavailable("the reservation has run out".into()));
            }
            reservation.durable = true;
            Ok(())
        })
    }

    fn settle<'a>(
        &'a self,
        mut reservation: Reservation,
        settlement: Settlement,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<LimitReached>, StoreError>> {
        Box::pin(async move {
            let Some(ticket) = reservation.shared.take() else { return Ok(Vec::new()) };
            if reservation.recipients == 0 {
                return Ok(Vec::new());
            }
            let end = End::settle(ticket.name, settlement);
            let reached = self.shared.clone().end(end.of(&reservation), now).await?;
            let is_new = |reached: &LimitReached| self.shared.warned.is_new(reached, now);
            Ok(reached.into_iter().filter(is_new).collect())
        })
    }

    fn usage<'a>(
        &'a self,
        key: &'a Key,
        limits: &'a [Limit],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Usage>, StoreError>> {
        Box::pin(async move {
            let (state, times) = self.shared.read(key, now).await?;
            let usage_of = |&limit| {
                let usage = windows::usage_of(&state, limit, times.counted, Gap::NONE);
                Usage { next_slot: usage.next_slot.map(|slot| times.to_caller(slot)), ..usage }
            };
            Ok(limits.iter().map(usage_of).collect())
        })
    }

    fn knows<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            if self.shared.known.has(key) {
                return Ok(true);
            }
            let (state, _) = self.shared.read(key, self.shared.clock.now()).await?;
            // What is only open may be given back, and then nothing is known.
            if !state.log.is_empty() {
                self.shared.known.note(key);
            }
            Ok(!state.is_idle())
        })
    }

    fn keys<'a>(
        &'a self,
        scope: Scope,
        whose: Whose<'a>,
        after: Option<&'a Key>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        Box::pin(self.shared.keys(scope, whose, after, max))
    }
}

impl Shared {
    async fn reserve(
        &self,
        reservation: &mut Reservation,
        request: Request,
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        self.be_sure_of_form().await?;
        if reservation.recipients == 0
            && let Some(ticket) = reservation.shared.take()
            && ticket.may_hold_more()
        {
            ticket.give_back(reservation);
        }
        // An end of an earlier name may wait still, and would be taken for one of what is granted now.
        if reservation.shared.is_none() {
            reservation.shared = Some(Box::new(self.ticket(reservation.demands.len())));
        }
        let Some(ticket) = &mut reservation.shared else { return Err(StoreError::gone()) };
        let name = ticket.name;
        ticket.asked = Some(clock::steady_now());
        for limit in reservation.demands.iter().flat_map(|demand| demand.limits.iter()) {
            self.history_asked.fetch_max(millis(limit.window.length()), Relaxed);
        }
        let answer = self.reserve_in_groups(reservation, (&request, name), now).await;
        let Some(ticket) = &mut reservation.shared else { return Err(StoreError::gone()) };
        match &answer {
            // It may have been granted all the same, so this name is given back and not used again.
            Err(StoreError::Unavailable(_)) if reservation.recipients == 0 => {
                let ticket = reservation.shared.take();
                ticket.inspect(|ticket| ticket.give_back(reservation));
            }
            Err(StoreError::Outdated) => ticket.asked = None,
            Err(_) => {}
            Ok(granted) => {
                ticket.asked = None;
                if granted.recipients > 0 {
                    reservation.recipients += granted.recipients;
                    reservation.durable = false;
                    ticket.dot_by = now + self.settings.open_time_max - DOT_MARGIN;
                }
            }
        }
        answer
    }

    /// Tells Redis of an end in all slots: now, or later where that fails or nobody waits for it.
    async fn end(
        self: Arc<Self>,
        end: End,
        now: Timestamp,
    ) -> Result<Vec<LimitReached>, StoreError> {
        if !self.servers.is_cluster() && !end.demands.is_empty() {
            return self.end_in(&At::Slot(0), end, now).await;
        }
        let mut parts = self.parts(&end);
        if parts.len() < 2 {
            let Some((at, part)) = parts.pop() else { return Ok(Vec::new()) };
            return self.end_in(&at, part, now).await;
        }
        let tell = |(at, part)| {
            let shared = self.clone();
            tokio::spawn(async move { shared.end_in(&at, part, now).await })
        };
        let told: Vec<_> = parts.into_iter().map(tell).collect();
        let (mut all, mut failure) = (Vec::new(), None);
        for part in told {
            match part.await.unwrap_or_else(|_| Err(StoreError::gone())) {
                Ok(reached) => all.extend(reached),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(all), Err)
    }

    /// Tells Redis of an end in one slot, now or later.
    async fn end_in(
        &self,
        at: &At,
        end: End,
        now: Timestamp,
    ) -> Result<Vec<LimitReached>, StoreError> {
        let end = self.ends.hold(end);
        let told = self.call(at, async |connection| self.tell(connection, &end, now).await).await;
        if !matches!(told, Err(StoreError::Unavailable(_))) {
            end.told();
        }
        told
    }

    /// A window as it stands, and the times that go with it.
    async fn read(&self, key: &Key, now: Timestamp) -> Result<(State, Times), StoreError> {
        let names = self.names(key);
        let at = self.servers.at(&names[0]);
        let work = self.call(&at, async |connection| calls::read(connection, &names).await);
        let (time, text, older) = work.await?;
        let (window, high) = codec::decode(&text, &older)?;
        let asked = if self.is_by_server() { time } else { now };
        Ok((window, Times { caller: now, counted: asked.max(high) }))
    }

    /// The first `max` keys of a scope after `after`. Walks all keys, some at a time.
    async fn keys(
        &self,
        scope: Scope,
        whose: Whose<'_>,
        after: Option<&Key>,
        max: usize,
    ) -> Result<Vec<Key>, StoreError> {
        let (mut first, mut scan) = (BTreeSet::new(), self.scan(scope).await?);
        while let Some(keys) = scan.next().await? {
            for key in keys {
                if after.is_none_or(|after| key > *after) && whose.has_key(key.as_str()) {
                    first.insert(key);
                }
                if first.len() > max {
                    first.pop_last();
                }
            }
        }
        Ok(first.into_iter().collect())
    }

    async fn scan(&self, scope: Scope) -> Result<Scan<'_>, StoreError> {
        Ok(Scan { shared: self, scope, places: self.servers.all().await?, cursor: 0 })
    }

    /// Tells Redis of the ends that wait, and looks whether it is back when it was lost.
    async fn run_ends(self: Arc<Self>) {
        // Whether it can be reached is known before the first mail comes.
        let mut failures = u32::from(self.tell_next().await.is_err());
        loop {
            let is_lost = self.failure.lock().is_some();
            if is_lost {
                tokio::time::sleep(link::backoff(failures)).await;
            } else {
                self.ends.wait().await;
            }
            failures = match self.tell_next().await {
                Ok(()) => 0,
                Err(_) => failures.saturating_add(1),
            };
        }
    }

    /// Tells of the oldest end that waits; where there is none, looks whether Redis is there.
    async fn tell_next(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let Some(end) = self.ends.oldest() else { return self.look().await };
        let parts = self.parts(&end);
        let [(at, part)] = &parts[..] else {
            self.ends.divide(&end, parts.into_iter().map(|(_, part)| part));
            return Ok(());
        };
        end.wait().await;
        match self.call(at, async |connection| self.tell(connection, part, now).await).await {
            // What Redis cannot take now it will not take later, and the others must not wait for it.
            Ok(_) | Err(StoreError::Damaged(_)) => self.ends.done(&end),
            Err(error) => {
                self.ends.put_off(&end);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Asks all servers for the time, and notes whether they are there, with keys as this program writes them.
    async fn look(&self) -> Result<(), StoreError> {
        let (answers, mut outcome) = self.servers.look().await;
        self.is_all_lost.store(answers == 0, Relaxed);
        if outcome.is_ok() {
            outcome = self.check_form().await;
        }
        match &outcome {
            Ok(()) => self.note_success(),
            Err(error) => self.note_failure(error),
        }
        outcome
    }

    async fn be_sure_of_form(&self) -> Result<(), StoreError> {
        if self.has_form.load(Relaxed) {
            return Ok(());
        }
        self.check_form().await.inspect_err(|error| self.note_failure(error))
    }

    /// Says in which form the keys are where nobody has yet, and fails where they are in another one.
    async fn check_form(&self) -> Result<(), StoreError> {
        let name = &calls::form_name(&self.settings.prefix);
        let at = self.servers.at(name);
        let form = self.servers.call(&at, async |redis| calls::form(redis, name).await).await?;
        let is_ours = form == calls::VERSION;
        self.has_form.store(is_ours, Relaxed);
        if is_ours {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!(
            "{name} says that its keys are in form {form:?}, and this release knows form {} alone: bring all gates to releases that have one in common",
            calls::VERSION
        )))
    }

    /// Does something at a server within the time that a call may take, and notes whether Redis works.
    async fn call<T>(
        &self,
        at: &At,
        work: impl AsyncFnOnce(&mut link::Connection) -> Result<T, ::redis::RedisError> + Copy,
    ) -> Result<T, StoreError> {
        self.be_sure_of_form().await?;
        let result = self.servers.call(at, work).await;
        match &result {
            // Of a Cluster one answer says nothing of the other masters.
            Ok(_) if self.servers.is_cluster() => {}
            Ok(_) => self.note_success(),
            Err(error @ StoreError::Damaged(_)) => {
                tracing::error!(%error, "what Redis holds cannot be used");
            }
            Err(error) => self.note_failure(error),
        }
        result
    }

    fn note_success(&self) {
        if self.failure.lock().take().is_some() {
            self.events.tell(self.clock.now(), &Event::StoreRecovered);
        }
    }

    fn note_failure(&self, error: &StoreError) {
        // When it is back, with whatever it has then, that is looked at first. What other masters of a Cluster have stays.
        self.has_form.fetch_and(self.servers.is_cluster(), Relaxed);
        let detail = format!("Redis: {error}");
        if self.failure.lock().replace(detail.clone()).is_none() {
            self.ends.wake();
            self.events.tell(self.clock.now(), &Event::StoreFailed(Trouble { detail }));
        }
    }

    /// A name for a reservation with so many windows; of a Cluster each of them may be asked by a call of its own.
    fn ticket(&self, windows: usize) -> Ticket {
        let name = self.next_name.fetch_add(1, Relaxed).to_be_bytes();
        let calls = if self.servers.is_cluster() { windows.max(1) } else { 1 };
        let timeout = self.settings.timeout * u32::try_from(calls).unwrap_or(u32::MAX);
        let ends = self.ends.clone();
        Ticket { name, dot_by: Timestamp::EPOCH, asked: None, timeout, ends }
    }

    /// Where a window is.
    fn at(&self, key: &Key) -> At {
        if self.servers.is_cluster() {
            return self.servers.at(&self.names(key)[0]);
        }
        At::Slot(0)
    }

    /// The names of a window: others once its account was erased.
    fn names(&self, key: &Key) -> [String; 2] {
        let copy = self.disguise().filter(|copy| copy.has_erased(key));
        match copy {
            None => calls::names(&self.settings.prefix, key),
            Some(copy) => {
                let alias = copy.window_alias(key);
                calls::names_of_erased(&self.settings.prefix, key, &alias)
            }
        }
    }

    fn is_by_server(&self) -> bool {
        self.settings.time == Time::Server
    }

    fn history(&self) -> Duration {
        let asked = self.history_asked.load(Relaxed);
        let known = Duration::from_millis(self.history_configured.load(Relaxed).max(asked));
        // Of overrides the copy knows although nobody has sent under them since the start.
        let recorded = self.disguise().map_or(Duration::ZERO, |copy| copy.history());
        known.max(recorded).min(WINDOW_MAX)
    }

    /// A key outlives everything that it may have to tell.
    fn time_to_live(&self) -> Duration {
        self.time_to_live_of(self.history())
    }

    /// The longest that a key may be said to live.
    fn time_to_live_max(&self) -> Duration {
        self.time_to_live_of(WINDOW_MAX)
    }

    fn time_to_live_of(&self, history: Duration) -> Duration {
        let Settings { open_time_max, unknown_margin, .. } = self.settings;
        history + open_time_max + unknown_margin + TIME_TO_LIVE_MARGIN + RENEWED_EVERY
    }
}

impl Ticket {
    /// True if Redis may have granted something that nobody heard of.
    pub(super) const fn may_hold_more(&self) -> bool {
        self.asked.is_some()
    }

    /// Gives a reservation back that was dropped unsettled, once no request for it is under way.
    pub(super) fn give_back(&self, reservation: &Reservation) {
        let end = End::settle(self.name, Settlement::Refunded).of(reservation);
        let ended = self.asked.map(|asked| asked + self.timeout);
        self.ends.push(end.not_before(ended));
    }
}

impl StoreError {
    fn gone() -> Self {
        Self::Unavailable("the reservation is gone".into())
    }
}

/// So long before the deadline of its reservation the last final dot is sent.
const DOT_MARGIN: Duration = Duration::from_secs(60);
/// How much longer a key lives than it must, so that this need not be told with each change; reserve.lua knows it.
const RENEWED_EVERY: Duration = Duration::from_secs(3_600);
/// For clocks that are slewed and windows that are longer than a node knows.
const TIME_TO_LIVE_MARGIN: Duration = Duration::from_secs(3_600);
/// Moments of charges in one call of a script, which nobody else is served beside.
const CHARGES_MAX: usize = 1_000;
