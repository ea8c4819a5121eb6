//! All windows of the embedded stores, in memory: a sharded map from key to a small cell with a lock of its own.
//!
//! A call first collects the cells of all its keys, then lets go of the map, then locks the cells in the fixed order of
//! the reservation's demands, decides, and applies: nothing is ever taken back, so "exactly 50" is exact. Whether there
//! is room is said by `rules::window`; nothing here reads a clock or a file.

use super::{
    StoreError, Whose,
    disguise::{Disguise, ERASED_WINDOW},
    ledger::{Demand, Grant, Granted, Observed, Request, Reservation, Settlement, Usage},
    name::Name,
    table::Table,
    warned::Warned,
};
use crate::{
    event::{LimitHit, LimitReached},
    rules::{
        limits::{Mode, WINDOW_MAX},
        window::{self, Gap, Log, Question},
    },
    types::{Key, KeyRef, Limit, Scope, Span, SubjectId, Timestamp},
};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// A shared cell; it knows its own key, which saves the map a copy of the text.
#[derive(Clone, Debug)]
pub(super) struct CellRef(Arc<Cell>);

/// One key's window.
#[derive(Debug)]
pub(super) struct Cell {
    name: Name,
    state: Mutex<State>,
}

/// What the lock of a cell guards.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) log: Log,
    /// The number of the last journal entry that is in the log.
    pub(super) journal_seq: u64,
    /// Charges that are reserved and not settled.
    pub(super) open: u32,
    /// Taken out of the map: whoever still holds it must look the key up again.
    dead: bool,
    /// Noted for the next checkpoint.
    pub(super) dirty: bool,
}

/// A reservation's cells, in its order; as many as usual need no allocation.
pub(super) type Cells = SmallVec<[CellRef; CELLS_USUAL]>;

/// The locked states of a reservation's cells, in its order.
pub(super) type Locked<'c> = SmallVec<[MutexGuard<'c, State>; CELLS_USUAL]>;

/// All windows.
pub(super) struct Windows {
    cells: Table,
    count: AtomicUsize,
    keys_max: usize,
    warned: Warned,
    unknown_margin: Duration,
    /// How long charges are kept, in milliseconds: what is configured, and the longest window that was asked for.
    history_configured: AtomicU64,
    history_asked: AtomicU64,
    /// The latest moment that any call came with.
    latest: AtomicI64,
    /// The time since a backup that was restored.
    gap: Gap,
    /// What erased windows are found by; none: there are none.
    disguise: Option<Arc<Disguise>>,
    /// There may be erased windows.
    has_erased: AtomicBool,
}

impl Windows {
    pub(super) fn new(history: Duration, unknown_margin: Duration, keys_max: usize) -> Self {
        Self {
            cells: Table::new(),
            count: AtomicUsize::new(0),
            keys_max,
            warned: Warned::default(),
            unknown_margin: unknown_margin.min(UNKNOWN_MARGIN_MAX),
            history_configured: AtomicU64::new(millis(history)),
            history_asked: AtomicU64::new(0),
            latest: AtomicI64::new(0),
            gap: Gap::NONE,
            disguise: None,
            has_erased: AtomicBool::new(false),
        }
    }

    /// The same, with a key for windows that are erased.
    pub(super) fn with_disguise(mut self, disguise: Arc<Disguise>) -> Self {
        self.disguise = Some(disguise);
        self
    }

    /// Puts a window under the keyed hash of its name, so that its charges count on; returns the cells that were and are, if there was one.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while something is open in it.
    pub(super) fn erase(&self, key: &str) -> Result<Option<(CellRef, CellRef)>, StoreError> {
        let Some(disguise) = &self.disguise else { return Ok(None) };
        let Some(old) = self.cells.find(key) else { return Ok(None) };
        // Also what was erased before under this name: the present window has its charges.
        let alias = disguise.of_window(key);
        self.cells.retain(|cell| {
            let is_older = cell.name() == alias;
            if is_older {
                cell.state().lock().dead = true;
                self.count.fetch_sub(1, Relaxed);
            }
            !is_older
        });
        let cell = {
            let state = old.state().try_lock().filter(|state| state.open == 0);
            let busy = || StoreError::Conflict("mail of the account is under way".into());
            let mut state = state.ok_or_else(busy)?;
            let cell = CellRef(Arc::new(Cell {
                name: Name::new(&alias),
                state: Mutex::new(State {
                    dirty: true,
                    ..State::restored(state.log.clone(), state.journal_seq)
                }),
            }));
            // Whoever comes now finds the one or the other: there is no moment in which the charges are nowhere.
            self.has_erased.store(true, Relaxed);
            self.cells.insert(cell.clone());
            state.dead = true;
            cell
        };
        self.cells.retain(|cell| !Arc::ptr_eq(&cell.0, &old.0));
        Ok(Some((old, cell)))
    }

    pub(super) fn may_have_erased(&self) -> bool {
        self.has_erased.load(Relaxed)
    }

    /// What is left of an erased window.
    pub(super) fn find_erased(&self, key: &str) -> Option<CellRef> {
        if !self.has_erased.load(Relaxed) || key.starts_with(ERASED_WINDOW) {
            return None;
        }
        self.cells.find(&self.disguise.as_ref()?.of_window(key))
    }

    /// The same, where it is not known what was charged in some time.
    pub(super) const fn with_gap(mut self, gap: Gap) -> Self {
        self.gap = gap;
        self
    }

    /// Adds recipients to a reservation as far as all its windows have room.
    pub(super) fn reserve(
        &self,
        reservation: &mut Reservation,
        request: &Request,
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        self.note(now, &reservation.demands);
        loop {
            if reservation.recipients == 0 {
                reservation.cells = self.resolve(&reservation.demands)?;
            }
            if let Some(mut states) = lock_all(&reservation.cells) {
                let (demands, had) = (&reservation.demands, reservation.recipients);
                let granted = decide(demands, &states, had, request, (now, self.gap));
                for (demand, state) in demands.iter().zip(&mut states) {
                    let cost = demand.cost(had, granted.recipients);
                    state.open = state.open.saturating_add(cost);
                }
                drop(states);
                reservation.recipients += granted.recipients;
                reservation.durable &= granted.recipients == 0;
                return Ok(granted);
            }
        }
    }

    /// Ends a reservation; `journal` is called while the cells are locked, so that it sees charges in their order.
    pub(super) fn settle(
        &self,
        reservation: &mut Reservation,
        settlement: Settlement,
        now: Timestamp,
        journal: impl FnOnce(Timestamp, &[CellRef], &mut Locked<'_>),
    ) -> Vec<LimitReached> {
        self.note(now, &reservation.demands);
        let stamp = match settlement {
            Settlement::Refunded => {
                release(reservation, u32::MAX);
                return Vec::new();
            }
            Settlement::Sent => window::stamp_of(now),
            Settlement::Unknown => now + self.unknown_margin,
        };
        let recipients = std::mem::take(&mut reservation.recipients);
        let mut near = Vec::new();
        if recipients > 0
            && let Some(mut states) = lock_all(&reservation.cells)
        {
            journal(stamp, &reservation.cells, &mut states);
            for (demand, state) in reservation.demands.iter().zip(&mut states) {
                let charges = demand.cost(0, recipients);
                state.open -= charges.min(state.open);
                state.log.record(charges, stamp, now, self.history());
                near.extend(
                    demand.limits.iter().filter_map(|&l| near_limit(demand, l, state, now)),
                );
            }
        }
        near.retain(|reached| self.warned.is_new(reached, now));
        near
    }

    pub(super) fn usage(&self, key: &Key, limits: &[Limit], now: Timestamp) -> Vec<Usage> {
        self.note_time(now);
        let cell = self.find(key.as_str()).or_else(|| self.find_erased(key.as_str()));
        let Some(cell) = cell else {
            return limits
                .iter()
                .map(|&limit| usage_of(&State::default(), limit, now, self.gap))
                .collect();
        };
        let state = cell.state().lock();
        limits.iter().map(|&limit| usage_of(&state, limit, now, self.gap)).collect()
    }

    pub(super) fn knows(&self, key: &Key) -> bool {
        self.find(key.as_str()).is_some_and(|cell| !cell.state().lock().is_idle())
    }

    /// The first `max` keys of a scope after `after`. Walks all keys, one shard at a time.
    pub(super) fn keys(
        &self,
        scope: Scope,
        whose: Whose<'_>,
        after: Option<&Key>,
        max: usize,
    ) -> Vec<Key> {
        let mut first = BTreeSet::new();
        self.cells.for_each(|cell| {
            let name = cell.name();
            let of_scope = name.strip_prefix(scope.name()).is_some_and(|n| n.starts_with('/'));
            let wanted = of_scope && after.is_none_or(|after| name > after.as_str());
            let full = first.len() >= max;
            let beyond = || full && first.last().is_none_or(|last: &String| name > last.as_str());
            if !wanted || beyond() || !whose.has_key(name) {
                return;
            }
            first.insert(name.to_owned());
            if full {
                first.pop_last();
            }
        });
        first.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Calls `see` with each account and tenant that has a window.
    pub(super) fn for_each_subject(&self, mut see: impl FnMut(SubjectId)) {
        self.cells.for_each(|cell| {
            let Ok(key) = cell.name().parse::<Key>() else { return };
            let KeyRef { scope, name, .. } = key.parts();
            let subject = match scope {
                Scope::Account => name.parse().map(SubjectId::Account),
                Scope::Tenant => name.parse().map(SubjectId::Tenant),
                Scope::ClientIp | Scope::Peer => return,
            };
            subject.into_iter().for_each(&mut see);
        });
    }

    /// Until when the longest window is full because of a time of which nothing is known; none if none is.
    pub(super) fn gap_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.gap.shuts(Span::new(self.history()), now)
    }

    /// How many windows there are whose names are hashed.
    pub(super) fn erased_count(&self) -> u64 {
        let mut count = 0;
        self.cells.for_each(|cell| count += u64::from(cell.name().starts_with(ERASED_WINDOW)));
        count
    }

    /// Forgets what no window sees and evicts cells that are empty; tells each evicted one.
    pub(super) fn sweep(&self, now: Timestamp, mut evicted: impl FnMut(&CellRef)) {
        let history = self.history();
        self.cells.retain(|cell| {
            let Some(mut state) = cell.state().try_lock() else { return true };
            state.log.prune(now, history);
            state.log.shrink();
            state.dead = state.is_idle();
            if state.dead {
                self.count.fetch_sub(1, Relaxed);
                drop(state);
                evicted(cell);
                return false;
            }
            true
        });
        self.warned.sweep(now);
    }

    /// The cell of a key, if there is one.
    pub(super) fn find(&self, key: &str) -> Option<CellRef> {
        self.cells.find(key)
    }

    /// The cell of a key, made if there is none.
    pub(super) fn find_or_make(&self, key: &str) -> Result<CellRef, StoreError> {
        if let Some(found) = self.find(key) {
            return Ok(found);
        }
        if self.count.load(Relaxed) >= self.keys_max {
            return Err(StoreError::Full { what: "the table of windows", max: self.keys_max });
        }
        let erased = self.find_erased(key).map(|cell| {
            let state = cell.state().lock();
            State::restored(state.log.clone(), state.journal_seq)
        });
        self.insert(key, erased.unwrap_or_default());
        self.find(key).map_or_else(|| self.find_or_make(key), Ok)
    }

    /// Puts a window in, unless the key has one.
    pub(super) fn insert(&self, key: &str, state: State) {
        if key.starts_with(ERASED_WINDOW) {
            self.has_erased.store(true, Relaxed);
        }
        let name = Name::new(key);
        let cell = CellRef(Arc::new(Cell { name, state: Mutex::new(state) }));
        if self.cells.insert(cell) {
            self.count.fetch_add(1, Relaxed);
        }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// How long charges are kept.
    pub(super) fn history(&self) -> Duration {
        let asked = self.history_asked.load(Relaxed);
        Duration::from_millis(self.history_configured.load(Relaxed).max(asked)).min(WINDOW_MAX)
    }

    pub(super) fn set_history(&self, history: Duration) {
        self.history_configured.store(millis(history), Relaxed);
    }

    /// Keeps history for at least this long from now on, whatever is configured.
    pub(super) fn keep_for(&self, window: Duration) {
        if millis(window) > self.history_asked.load(Relaxed) {
            self.history_asked.fetch_max(millis(window), Relaxed);
        }
    }

    /// How much later than known an unknown charge is stamped.
    pub(super) const fn unknown_margin(&self) -> Duration {
        self.unknown_margin
    }

    /// The latest moment that any call came with.
    pub(super) fn latest(&self) -> Timestamp {
        Timestamp::from_millis(self.latest.load(Relaxed))
    }

    pub(super) const fn warned(&self) -> &Warned {
        &self.warned
    }

    pub(super) fn note_time(&self, now: Timestamp) {
        if now > self.latest() {
            self.latest.fetch_max(now.as_millis(), Relaxed);
        }
    }

    /// An override may have a window that is longer than any in the configuration.
    fn note(&self, now: Timestamp, demands: &[Demand]) {
        self.note_time(now);
        for limit in demands.iter().flat_map(|demand| demand.limits.iter()) {
            self.keep_for(limit.window.length());
        }
    }

    fn resolve(&self, demands: &[Demand]) -> Result<Cells, StoreError> {
        demands.iter().map(|demand| self.find_or_make(demand.key.as_str())).collect()
    }
}

/// Gives recipients back, at most as many as are reserved.
pub(super) fn release(reservation: &mut Reservation, recipients: u32) {
    let left = reservation.recipients.saturating_sub(recipients);
    for (demand, cell) in reservation.demands.iter().zip(&reservation.cells) {
        let freed = demand.cost(0, reservation.recipients) - demand.cost(0, left);
        let mut state = cell.state().lock();
        state.open -= freed.min(state.open);
    }
    reservation.recipients = left;
}

/// Locks all cells in their order; none if one of them was evicted.
fn lock_all(cells: &[CellRef]) -> Option<Locked<'_>> {
    let states: Locked<'_> = cells.iter().map(|cell| cell.state().lock()).collect();
    states.iter().all(|state| !state.dead).then_some(states)
}

/// How many recipients are granted, and why no more.
fn decide(
    demands: &[Demand],
    states: &Locked<'_>,
    had: u32,
    request: &Request,
    (now, gap): (Timestamp, Gap),
) -> Granted {
    let wanted = request.recipients;
    let fitting =
        |which| fitting(demands, states, which, Step { had, before: 0, asked: wanted, now, gap });
    let recipients = match (fitting(Which::Enforced), request.grant) {
        (fits, _) if fits == wanted => wanted,
        (fits, Grant::InOrder) => fits,
        (_, Grant::AllOrNothing) => 0,
    };
    let asked = if request.grant == Grant::InOrder { 1 } else { wanted };
    let hit =
        |which, before| latest_hit(demands, states, which, Step { had, before, asked, now, gap });
    let refused = if recipients < wanted { hit(Which::Enforced, recipients) } else { None };
    let fits = fitting(Which::Observed).min(recipients);
    let observed = (fits < recipients).then(|| hit(Which::Observed, fits)).flatten();
    let observed = observed.map(|hit| Observed { recipients: recipients - fits, hit });
    Granted { recipients, hit: refused, observed }
}

/// Which windows are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Enforced,
    Observed,
}

impl Which {
    fn covers(self, demand: &Demand) -> bool {
        (self == Self::Observed) == (demand.mode == Mode::Observe)
    }
}

/// How many of the asked recipients fit into all of these windows.
fn fitting(demands: &[Demand], states: &Locked<'_>, which: Which, step: Step) -> u32 {
    let Step { had, asked, now, gap, .. } = step;
    let fits = |demand: &Demand, state: &State| {
        let cost = demand.cost(had, asked);
        if cost == 0 {
            return asked;
        }
        let question = Question { open: state.open, wanted: cost, now };
        let is_shut = |limit: &Limit| gap.shuts(limit.window, now).is_some();
        let full = demand
            .limits
            .iter()
            .filter(|limit| is_shut(limit) || !window::admit(&state.log, **limit, question));
        let room = |limit: &Limit| match is_shut(limit) {
            true => 0,
            false => window::room(&state.log, state.open, *limit, now),
        };
        full.map(room).min().unwrap_or(asked)
    };
    let looked_at = demands.iter().zip(states).filter(|(demand, _)| which.covers(demand));
    looked_at.map(|(demand, state)| fits(demand, state)).min().unwrap_or(asked).min(asked)
}

/// The request that did not fit: what was there, what was granted just now, what was asked next.
#[derive(Clone, Copy)]
struct Step {
    had: u32,
    before: u32,
    asked: u32,
    now: Timestamp,
    gap: Gap,
}

/// Of the limits that have no room, the one that opens last.
fn latest_hit(
    demands: &[Demand],
    states: &Locked<'_>,
    which: Which,
    step: Step,
) -> Option<LimitHit> {
    let looked_at = demands.iter().zip(states).filter(|(demand, _)| which.covers(demand));
    let hits = looked_at.flat_map(|(demand, state)| {
        demand.limits.iter().filter_map(|&limit| hit_of(demand, limit, state, step))
    });
    let opens = |hit: &LimitHit| hit.next_slot.map_or(i64::MAX, Timestamp::as_millis);
    hits.reduce(|last, hit| if opens(&hit) > opens(&last) { hit } else { last })
}

fn hit_of(demand: &Demand, limit: Limit, state: &State, step: Step) -> Option<LimitHit> {
    let open = state.open.saturating_add(demand.cost(step.had, step.before));
    let wanted = demand.cost(step.had.saturating_add(step.before), step.asked);
    let question = Question { open, wanted, now: step.now };
    let shut = step.gap.shuts(limit.window, step.now);
    if wanted == 0 || shut.is_none() && window::admit(&state.log, limit, question) {
        return None;
    }
    let used = window::used(&state.log, limit.window, step.now).saturating_add(open);
    let used = if shut.is_some() { used.max(limit.max) } else { used };
    let next_slot = window::next_slot(&state.log, limit, question).map(|slot| later(slot, shut));
    Some(LimitHit { key: demand.key.clone(), limit, used, next_slot })
}

/// The limit with its use, if settled charges have brought it to a threshold.
fn near_limit(
    demand: &Demand,
    limit: Limit,
    state: &State,
    now: Timestamp,
) -> Option<LimitReached> {
    let sent = window::used(&state.log, limit.window, now);
    let reached = |percent: &u8| {
        u64::from(sent) * 100 >= u64::from(limit.max) * u64::from(*percent) && limit.max > 0
    };
    let percent = [100, 80].into_iter().find(reached)?;
    let used = sent.saturating_add(state.open);
    let unit = demand.key.parts().unit;
    Some(LimitReached { key: demand.key.clone(), unit, limit, used, percent })
}

fn later(slot: Timestamp, shut: Option<Timestamp>) -> Timestamp {
    shut.map_or(slot, |opens| opens.max(slot))
}

/// The use of a window under a limit.
pub(super) fn usage_of(state: &State, limit: Limit, now: Timestamp, gap: Gap) -> Usage {
    let (sent, open) = (window::used(&state.log, limit.window, now), state.open);
    let shut = gap.shuts(limit.window, now);
    let sent = if shut.is_some() { sent.max(limit.max.saturating_sub(open)) } else { sent };
    let remaining = if shut.is_some() { 0 } else { window::room(&state.log, open, limit, now) };
    let question = Question { open, wanted: 1, now };
    let next_slot = match remaining {
        0 => window::next_slot(&state.log, limit, question).map(|slot| later(slot, shut)),
        _ => None,
    };
    Usage { limit, sent, open, remaining, next_slot }
}

impl State {
    /// A window as it was stored.
    pub(super) fn restored(log: Log, journal_seq: u64) -> Self {
        Self { log, journal_seq, ..Self::default() }
    }

    /// True if nothing is recorded and nothing is open.
    pub(super) fn is_idle(&self) -> bool {
        self.open == 0 && self.log.is_empty()
    }
}

impl CellRef {
    /// The key as text.
    pub(super) fn name(&self) -> &str {
        self.0.name.as_str()
    }

    /// True if it is the cell of this key, about to be used.
    pub(super) fn has_name(&self, key: &str) -> bool {
        self.fetch();
        self.0.name.octets() == key.as_bytes()
    }

    /// A new window without history.
    #[cfg(test)]
    pub(super) fn of(key: &str) -> Self {
        Self(Arc::new(Cell { name: Name::new(key), state: Mutex::default() }))
    }

    /// Reads each cache line of the cell. Plain reads overlap, while the locked operations that follow wait for one another:
    /// without this a decision would wait for memory three times instead of once.
    fn fetch(&self) {
        let _ = (Arc::strong_count(&self.0), self.0.state.is_locked());
    }

    pub(super) fn state(&self) -> &Mutex<State> {
        &self.0.state
    }
}

/// A length as stores keep it.
pub(super) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// How many keys are kept: at 300 octets each they fill 6 GB.
pub(super) const KEYS_MAX: usize = 20_000_000;
/// Tenant, account, client address and peer, the first two by messages too.
const CELLS_USUAL: usize = 6;
/// The longest safety margin for unknown charges.
const UNKNOWN_MARGIN_MAX: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Span;

    fn key(n: usize) -> String {
        format!("account/r/user{n}")
    }

    fn windows(keys_max: usize) -> Windows {
        Windows::new(Duration::from_secs(3600), Duration::ZERO, keys_max)
    }

    #[test]
    fn an_empty_window_is_evicted_and_a_holder_looks_it_up_again() {
        let windows = windows(10);
        let held = windows.find_or_make(&key(1)).unwrap();
        let mut evicted = Vec::new();
        windows.sweep(Timestamp::EPOCH, |cell| evicted.push(cell.name().to_owned()));
        assert_eq!((evicted, windows.len()), (vec![key(1)], 0));
        assert!(lock_all(&[held]).is_none());
        windows.find_or_make(&key(1)).unwrap();
        assert_eq!(windows.len(), 1);
    }

    #[test]
    fn the_table_of_windows_is_bounded() {
        let windows = windows(2);
        windows.find_or_make(&key(1)).unwrap();
        windows.find_or_make(&key(2)).unwrap();
        assert!(matches!(windows.find_or_make(&key(3)), Err(StoreError::Full { max: 2, .. })));
        assert!(windows.find_or_make(&key(1)).is_ok());
    }

    /// Nothing is known of a sender who is not in the file, nor of one whose window is empty there.
    #[test]
    fn after_a_gap_everything_that_reaches_into_it_is_full_and_then_as_ever() {
        let at = |seconds: i64| Timestamp::from_millis(1_000 * seconds);
        let (hour, day) = (Span::from_secs(3_600), Span::from_secs(86_400));
        let windows = Windows::new(Duration::from_secs(86_400), Duration::ZERO, 10)
            .with_gap(Gap::until(at(1_000)));
        let key: Key = "account/r/new".parse().unwrap();
        let limits: Arc<[Limit]> =
            [Limit { window: hour, max: 50 }, Limit { window: day, max: 600 }].into();
        let reserve = |limits: &Arc<[Limit]>, seconds: i64| {
            let (per, mode) = (super::super::ledger::ChargePer::Recipient, Mode::Enforce);
            let demand = Demand { key: key.clone(), limits: limits.clone(), per, mode };
            let mut reservation = Reservation::new(vec![demand]);
            let request = Request { recipients: 60, grant: Grant::InOrder };
            windows.reserve(&mut reservation, &request, at(seconds)).unwrap()
        };
        let hourly: Arc<[Limit]> = [limits[0]].into();
        for seconds in [0, 1_000, 4_599] {
            let granted = reserve(&hourly, seconds);
            let hit = granted.hit.unwrap();
            assert_eq!((granted.recipients, hit.used), (0, 50), "at {seconds} s");
            assert_eq!(hit.next_slot, Some(at(4_600)));
            let usage = windows.usage(&key, &limits, at(seconds));
            assert_eq!([usage[0].remaining, usage[1].remaining], [0, 0]);
            assert_eq!(usage[1].next_slot, Some(at(87_400)));
        }
        assert_eq!(reserve(&hourly, 4_600).recipients, 50);
        let granted = reserve(&limits, 87_399);
        assert_eq!((granted.recipients, granted.hit.unwrap().next_slot), (0, Some(at(87_400))));
        assert_eq!(reserve(&limits, 87_400).recipients, 50);
    }

    #[test]
    fn an_erased_window_is_found_by_whoever_comes_back_under_its_name() {
        let now = Timestamp::from_millis(1_000_000);
        let windows = windows(10).with_disguise(Arc::new(Disguise::new(&[7; 32])));
        let limits = [Limit { window: Span::from_secs(3_600), max: 50 }];
        let name: Key = "account/r/a@shop.example".parse().unwrap();
        for (round, charges) in [(1, 30), (2, 5)] {
            let cell = windows.find_or_make(name.as_str()).unwrap();
            let mut state = cell.state().lock();
            state.log.record(charges, now, now, Duration::from_secs(3_600));
            state.journal_seq = round;
            state.open = 1;
            drop(state);
            assert!(matches!(windows.erase(name.as_str()), Err(StoreError::Conflict(_))));
            cell.state().lock().open = 0;
            let (old, erased) = windows.erase(name.as_str()).unwrap().unwrap();
            assert!(lock_all(&[old]).is_none());
            assert!(!erased.name().contains("shop"), "{}", erased.name());
            assert_eq!((windows.len(), windows.find(name.as_str()).is_none()), (1, true));
            let used = 30 + if round == 2 { 5 } else { 0 };
            assert_eq!(windows.usage(&name, &limits, now)[0].sent, used);
            assert!(windows.keys(Scope::Account, Whose::All, None, 9).is_empty());
        }
        let other: Key = "account/r/b@shop.example".parse().unwrap();
        assert_eq!(windows.usage(&other, &limits, now)[0].sent, 0);
        assert_eq!(windows.erase(other.as_str()).unwrap().map(drop), None);
    }

    #[test]
    fn a_cell_is_small() {
        assert_eq!(size_of::<Cell>() + 2 * size_of::<usize>(), 120);
    }
}
