//! The history of one key's charges and the one question that is asked of it: is there room?
//!
//! A charge stamped `s` counts at every moment `t` with `t − W < s`: it leaves a window of length `W` at `s + W` exactly,
//! and a stamp in the future counts in every window. Open reservations are a number beside the log and never age.
//!
//! The newest [`RECENT_MAX`] charges are kept exactly, one sorted entry each, so the check is one look at the entry that
//! must have left. Older ones fall into buckets that count whole until their newest charge leaves and are never wider than a
//! thousandth of their age, hence never wider than a thousandth of any window that still sees them. What is kept depends on
//! the history alone, never on a limit. Nothing here reads a clock.

use crate::types::{Limit, Span, Timestamp};
use std::time::Duration;

/// The charges of one key that were settled as sent.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Milliseconds from the base, sorted; the first `len` are in use. A `Vec` would cost eight octets more per account.
    slots: Box<[u32]>,
    len: u32,
    base_seconds: u32,
    older: Option<Box<Older>>,
}

/// Charges beyond the newest [`RECENT_MAX`].
#[derive(Debug, Clone, Default)]
struct Older {
    /// Oldest first, all before the recent charges.
    buckets: Vec<Bucket>,
    /// How many buckets the last compaction left.
    compacted: usize,
}

/// Charges that leave together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    first: u32,
    newest: u32,
    count: u32,
}

/// Charges that leave together, as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charges {
    /// The oldest of them.
    pub first: Timestamp,
    /// The newest of them, with which all of them leave.
    pub newest: Timestamp,
    /// How many.
    pub count: u32,
}

/// What a limit is asked: how much is open, how much is wanted, and when.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Charges that are open.
    pub open: u32,
    /// Charges that are wanted, at least 1.
    pub wanted: u32,
    /// The present moment.
    pub now: Timestamp,
}

/// True if the charges that are wanted fit into the limit.
#[must_use]
pub fn admit(log: &Log, limit: Limit, question: Question) -> bool {
    let taken = question.open.checked_add(question.wanted);
    let Some(allowance) = taken.and_then(|taken| limit.max.checked_sub(taken)) else {
        return false;
    };
    let cutoff = log.cutoff(limit.window, question.now);
    match log.nth_newest_recent(allowance) {
        Some(must_have_left) => i64::from(must_have_left) <= cutoff,
        None => log.fits_with_older(allowance - log.len, cutoff),
    }
}

/// Charges in the window, open ones not included.
#[must_use]
pub fn used(log: &Log, window: Span, now: Timestamp) -> u32 {
    let cutoff = log.cutoff(window, now);
    let left = log.recent().partition_point(|&offset| i64::from(offset) <= cutoff);
    let recent = log.len.saturating_sub(u32::try_from(left).unwrap_or(u32::MAX));
    if left > 0 { recent } else { recent.saturating_add(log.older_used(cutoff)) }
}

/// How many charges would be admitted now.
#[must_use]
pub fn room(log: &Log, open: u32, limit: Limit, now: Timestamp) -> u32 {
    limit.max.saturating_sub(open).saturating_sub(used(log, limit.window, now))
}

/// When the wanted charges would pass if everything open were settled as sent now; none if they can never pass.
#[must_use]
pub fn next_slot(log: &Log, limit: Limit, question: Question) -> Option<Timestamp> {
    let keep = limit.max.checked_sub(question.wanted)?;
    let settled = stamp_of(question.now);
    let later = log.count_after(settled);
    let must_leave = if keep < later {
        log.nth_newest(keep)
    } else if keep - later < question.open {
        Some(settled)
    } else {
        log.nth_newest(keep - question.open)
    };
    let opens = must_leave.map(|stamp| stamp + limit.window.length());
    Some(opens.map_or(question.now, |opens| opens.max(question.now)))
}

/// A time of which it is not known what was charged: from a backup to its restoration. Whatever window reaches into it may be full,
/// so it counts as full, until all that can have been charged has left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gap(Option<Timestamp>);

impl Gap {
    /// Everything is known.
    pub const NONE: Self = Self(None);

    /// Nothing is known of charges up to this stamp.
    #[must_use]
    pub const fn until(stamp: Timestamp) -> Self {
        Self(Some(stamp))
    }

    /// When a window of this length sees nothing of the gap any more; none: it does not now.
    #[must_use]
    pub fn shuts(self, window: Span, now: Timestamp) -> Option<Timestamp> {
        let opens = self.0? + window.length();
        // A charge at the end of the gap leaves the window exactly then.
        (now < opens).then_some(opens)
    }
}

/// The stamp of a charge that is settled now: rounded up to the next millisecond, so that no slot opens early.
#[must_use]
pub fn stamp_of(now: Timestamp) -> Timestamp {
    now + Duration::from_millis(1)
}

impl Log {
    /// Adds charges with one stamp and forgets what is older than `history`.
    pub fn record(&mut self, charges: u32, stamp: Timestamp, now: Timestamp, history: Duration) {
        let mut left = charges;
        while left > 0 {
            let some = left.min(FOLD_MAX);
            self.record_some(some, stamp, now, history);
            left -= some;
        }
    }

    /// Puts a stored bucket back; buckets come oldest first and before all exact charges.
    pub fn restore_bucket(&mut self, charges: Charges) {
        let first = self.offset_for(charges.first);
        let width = charges.newest.since(charges.first).as_millis();
        let newest = first.saturating_add(u32::try_from(width).unwrap_or(u32::MAX));
        let bucket = Bucket { first, newest, count: charges.count };
        self.older.get_or_insert_default().buckets.push(bucket);
    }

    /// Puts a stored exact charge back; they come oldest first, at most [`EXACT_MAX`] of them.
    pub fn restore_exact(&mut self, stamp: Timestamp) {
        let offset = self.offset_for(stamp);
        self.insert(offset, 1);
    }

    /// Makes room for exactly this many exact charges in an empty log.
    pub fn reserve(&mut self, charges: u32) {
        let room = charges.min(EXACT_MAX) as usize;
        if self.slots.is_empty() {
            self.slots = vec![0; room].into_boxed_slice();
        }
    }

    /// The charges that leave in groups, oldest first, all before the exact ones.
    pub fn grouped(&self) -> impl ExactSizeIterator<Item = Charges> + '_ {
        self.buckets().iter().map(|bucket| Charges {
            first: self.moment(bucket.first),
            newest: self.moment(bucket.newest),
            count: bucket.count,
        })
    }

    /// The stamps of the newest charges, oldest first.
    pub fn exact(&self) -> impl ExactSizeIterator<Item = Timestamp> + '_ {
        self.recent().iter().map(|&offset| self.moment(offset))
    }

    /// True if nothing is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0 && self.buckets().is_empty()
    }

    /// Forgets what is older than `history`.
    pub fn prune(&mut self, now: Timestamp, history: Duration) {
        let cutoff = self.cutoff(Span::new(history), now);
        if let Some(older) = &mut self.older {
            let gone = older.buckets.partition_point(|b| i64::from(b.newest) <= cutoff);
            older.buckets.drain(..gone);
        }
        self.older.take_if(|older| older.buckets.is_empty());
        self.drop_front(self.recent().partition_point(|&offset| i64::from(offset) <= cutoff));
    }

    /// Gives memory back that the log does not use.
    pub fn shrink(&mut self) {
        if self.slots.len() - self.recent().len() > ROOM_FIRST {
            self.slots = self.recent().into();
        }
        if let Some(older) = &mut self.older {
            older.buckets.shrink_to_fit();
        }
    }

    fn record_some(&mut self, charges: u32, stamp: Timestamp, now: Timestamp, history: Duration) {
        self.make_offsets_fit(stamp, now, history);
        let offset = self.offset_for(stamp);
        if self.belongs_to_older(offset) {
            self.older.get_or_insert_default().add_between(offset, charges);
            return;
        }
        if self.recent().len() + charges as usize > self.slots.len() {
            self.prune(now, history);
        }
        self.insert(offset, charges);
        if self.len > EXACT_MAX {
            self.fold(now);
        }
    }

    fn recent(&self) -> &[u32] {
        &self.slots[..self.len as usize]
    }

    fn buckets(&self) -> &[Bucket] {
        self.older.as_ref().map_or(&[], |older| &older.buckets)
    }

    fn base_millis(&self) -> i64 {
        i64::from(self.base_seconds) * 1000
    }

    fn moment(&self, offset: u32) -> Timestamp {
        Timestamp::from_millis(self.base_millis() + i64::from(offset))
    }

    /// The offset of the last moment that a window of this length does not see.
    fn cutoff(&self, window: Span, now: Timestamp) -> i64 {
        (now - window.length()).as_millis() - self.base_millis()
    }

    fn nth_newest_recent(&self, n: u32) -> Option<u32> {
        let index = self.len.checked_sub(n)?.checked_sub(1)?;
        Some(self.slots[index as usize])
    }

    fn nth_newest(&self, n: u32) -> Option<Timestamp> {
        let recent = self.nth_newest_recent(n);
        let offset = recent.or_else(|| self.nth_newest_older(n - self.len));
        offset.map(|offset| self.moment(offset))
    }

    fn nth_newest_older(&self, n: u32) -> Option<u32> {
        let mut seen = 0_u32;
        let covers = |b: &&Bucket| {
            seen = seen.saturating_add(b.count);
            seen > n
        };
        self.buckets().iter().rev().find(covers).map(|b| b.newest)
    }

    fn fits_with_older(&self, allowance: u32, cutoff: i64) -> bool {
        self.buckets().is_empty() || self.older_used(cutoff) <= allowance
    }

    fn older_used(&self, cutoff: i64) -> u32 {
        let seen = self.buckets().iter().rev().take_while(|b| i64::from(b.newest) > cutoff);
        seen.fold(0, |sum, b| sum.saturating_add(b.count))
    }

    fn count_after(&self, moment: Timestamp) -> u32 {
        used(self, Span::new(Duration::ZERO), moment)
    }

    fn belongs_to_older(&self, offset: u32) -> bool {
        self.buckets().last().is_some_and(|last| offset < last.newest)
    }

    /// The offset of a stamp; moves the base back for a stamp before it. Where it cannot, the stamp moves to the base,
    /// which is later and so never admits too much.
    fn offset_for(&mut self, stamp: Timestamp) -> u32 {
        if self.is_empty() {
            self.base_seconds = seconds_of(stamp);
        } else if stamp.as_millis() < self.base_millis() {
            self.move_base_back(seconds_of(stamp));
        }
        let offset = (stamp.as_millis() - self.base_millis()).max(0);
        u32::try_from(offset).unwrap_or(u32::MAX)
    }

    fn move_base_back(&mut self, base_seconds: u32) {
        let shift = u64::from(self.base_seconds - base_seconds) * 1000;
        let newest = self.recent().last().copied().max(self.buckets().last().map(|b| b.newest));
        let fits = newest.is_none_or(|newest| u64::from(newest) + shift <= u64::from(u32::MAX));
        if let (true, Ok(shift)) = (fits, u32::try_from(shift)) {
            self.base_seconds = base_seconds;
            self.shift_offsets(|offset| offset + shift);
        }
    }

    /// Moves the base forward before offsets of 32 bits (49 days) overflow; history is at most 31 days.
    fn make_offsets_fit(&mut self, stamp: Timestamp, now: Timestamp, history: Duration) {
        if self.is_empty() || stamp.as_millis() - self.base_millis() <= i64::from(u32::MAX) {
            return;
        }
        self.prune(now, history);
        let oldest = self.buckets().first().map(|b| b.first).or(self.recent().first().copied());
        let Some(oldest) = oldest else { return };
        let seconds = oldest / 1000;
        self.base_seconds += seconds;
        self.shift_offsets(|offset| offset - seconds * 1000);
    }

    fn shift_offsets(&mut self, shift: impl Fn(u32) -> u32) {
        for offset in &mut self.slots[..self.len as usize] {
            *offset = shift(*offset);
        }
        for bucket in self.older.iter_mut().flat_map(|older| &mut older.buckets) {
            (bucket.first, bucket.newest) = (shift(bucket.first), shift(bucket.newest));
        }
    }

    fn insert(&mut self, offset: u32, charges: u32) {
        self.grow_to(self.len + charges);
        let (end, count) = (self.len as usize, charges as usize);
        // Nearly every stamp is the newest so far; only unknown charges lie in the future.
        let at = if self.recent().last().is_none_or(|&last| last <= offset) {
            end
        } else {
            self.recent().partition_point(|&other| other <= offset)
        };
        self.slots.copy_within(at..end, at + count);
        self.slots[at..at + count].fill(offset);
        self.len += charges;
    }

    /// Begins with room for a day of a normal account and then grows in small steps: a freed piece of each size on the way
    /// would cost more than the room that is left.
    fn grow_to(&mut self, wanted: u32) {
        let (wanted, size) = (wanted as usize, self.slots.len());
        if wanted <= size {
            return;
        }
        let step = if size == 0 { ROOM_FIRST } else { size + (size / 8).max(GROWTH_MIN) };
        let target = wanted.max(step);
        let mut slots = std::mem::take(&mut self.slots).into_vec();
        slots.reserve_exact(target - size);
        slots.resize(target, 0);
        self.slots = slots.into_boxed_slice();
    }

    fn drop_front(&mut self, count: usize) {
        let end = self.len as usize;
        self.slots.copy_within(count..end, 0);
        self.len -= u32::try_from(count).unwrap_or(self.len);
    }

    fn fold(&mut self, now: Timestamp) {
        let now_offset = now.as_millis() - self.base_millis();
        let surplus = (self.len - RECENT_MAX) as usize;
        let older = self.older.get_or_insert_default();
        for &offset in &self.slots[..surplus] {
            older.add_last(Bucket { first: offset, newest: offset, count: 1 }, now_offset);
        }
        older.compact(now_offset);
        self.drop_front(surplus);
    }
}

impl Older {
    fn add_last(&mut self, bucket: Bucket, now: i64) {
        match self.buckets.last_mut() {
            Some(last) if last.may_take(bucket, now) => last.take(bucket),
            _ => self.buckets.push(bucket),
        }
    }

    /// Adds charges that are not newer than the newest bucket.
    fn add_between(&mut self, offset: u32, count: u32) {
        let at = self.buckets.partition_point(|b| b.newest < offset);
        match self.buckets.get_mut(at) {
            Some(bucket) if bucket.first <= offset => {
                bucket.count = bucket.count.saturating_add(count);
            }
            _ => self.buckets.insert(at, Bucket { first: offset, newest: offset, count }),
        }
    }

    /// Merges buckets that have become old enough, once their number has doubled.
    fn compact(&mut self, now: i64) {
        if self.buckets.len() < 2 * self.compacted + COMPACT_MIN {
            return;
        }
        for bucket in std::mem::take(&mut self.buckets) {
            self.add_last(bucket, now);
        }
        self.compacted = self.buckets.len();
    }
}

impl Bucket {
    /// True if the two together are no wider than a thousandth of their age; every window is at least a second.
    fn may_take(self, next: Self, now: i64) -> bool {
        let width = i64::from(next.newest) - i64::from(self.first);
        let age = now - i64::from(next.newest);
        width * SUB_WINDOWS <= age.max(1000)
    }

    fn take(&mut self, next: Self) {
        self.newest = next.newest;
        self.count = self.count.saturating_add(next.count);
    }
}

fn seconds_of(stamp: Timestamp) -> u32 {
    u32::try_from(stamp.as_millis().max(0) / 1000).unwrap_or(u32::MAX)
}

/// How many charges of a key are kept exactly.
pub const RECENT_MAX: u32 = 4_096;
/// How many exact charges a log ever holds.
pub const EXACT_MAX: u32 = RECENT_MAX + FOLD_MAX;
/// How many more may gather before they are folded into buckets together.
const FOLD_MAX: u32 = 256;
/// A bucket is at most this part of its age wide.
const SUB_WINDOWS: i64 = 1_000;
const GROWTH_MIN: usize = 4;
/// 88 octets, which glibc's malloc gives without waste.
const ROOM_FIRST: usize = 22;
const COMPACT_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_shuts_a_window_for_as_long_as_a_charge_at_its_end_would_be_in_it() {
        let at = |seconds| Timestamp::from_millis(1_000 * seconds);
        let gap = Gap::until(at(100));
        for window in [60, 3_600] {
            let span = Span::from_secs(window);
            let mut log = Log::default();
            log.record(1, at(100), at(100), span.length());
            let limit = Limit { window: span, max: 1 };
            let seconds = i64::try_from(window).unwrap();
            for now in [0, 99, 100, 101, 99 + seconds, 100 + seconds, 101 + seconds] {
                let question = Question { open: 0, wanted: 1, now: at(now) };
                let shut = gap.shuts(span, at(now));
                assert_eq!(shut.is_none(), admit(&log, limit, question), "{window} s at {now}");
                assert!(shut.is_none_or(|opens| opens == at(100 + seconds)));
                assert_eq!(Gap::NONE.shuts(span, at(now)), None);
            }
        }
    }
    use proptest::prelude::*;

    const HISTORY: Duration = Duration::from_secs(86_400);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    fn limit(window_millis: u64, max: u32) -> Limit {
        Limit { window: Span::new(Duration::from_millis(window_millis)), max }
    }

    fn ask(open: u32, wanted: u32, now: i64) -> Question {
        Question { open, wanted, now: at(now) }
    }

    #[test]
    fn a_charge_leaves_exactly_one_window_after_its_stamp() {
        let mut log = Log::default();
        log.record(2, at(0), at(0), HISTORY);
        for (now, free) in [(0, false), (4_999, false), (5_000, true)] {
            assert_eq!(admit(&log, limit(5_000, 2), ask(0, 1, now)), free, "{now}");
        }
        assert_eq!(next_slot(&log, limit(5_000, 2), ask(0, 1, 10)), Some(at(5_000)));
        assert_eq!(next_slot(&log, limit(5_000, 2), ask(0, 3, 10)), None);
        assert_eq!(next_slot(&log, limit(5_000, 0), ask(0, 1, 10)), None);
    }

    #[test]
    fn what_is_open_counts_and_never_ages() {
        let log = Log::default();
        assert!(admit(&log, limit(1_000, 3), ask(2, 1, 0)));
        assert!(!admit(&log, limit(1_000, 3), ask(3, 1, 10_000_000)));
        assert!(!admit(&log, limit(1_000, 3), ask(u32::MAX, 1, 0)));
        assert_eq!(next_slot(&log, limit(1_000, 3), ask(3, 1, 0)), Some(at(1_001)));
    }

    #[test]
    fn a_stamp_in_the_future_counts_in_every_window_and_keeps_the_order() {
        let mut log = Log::default();
        log.record(1, at(600_000), at(0), HISTORY);
        log.record(1, at(1), at(0), HISTORY);
        assert_eq!(used(&log, Span::from_secs(1), at(100_000)), 1);
        assert_eq!(used(&log, Span::from_secs(3_600), at(100_000)), 2);
        assert_eq!(next_slot(&log, limit(1_000, 1), ask(0, 1, 5_000)), Some(at(601_000)));
    }

    #[test]
    fn offsets_survive_more_than_fifty_days() {
        let day = 86_400_000;
        let mut log = Log::default();
        for days in 0..200 {
            log.record(1, at(days * day), at(days * day), 31 * HISTORY);
        }
        assert_eq!(used(&log, Span::from_secs(30 * 86_400), at(199 * day)), 30);
    }

    #[test]
    fn an_account_that_sent_twenty_pays_for_twenty() {
        let mut log = Log::default();
        for n in 0..20 {
            log.record(1, at(n * 1000), at(n * 1000), HISTORY);
        }
        assert_eq!((log.slots.len(), size_of::<Log>()), (22, 32));
    }

    #[test]
    fn a_heavy_sender_has_a_bounded_log() {
        let mut log = Log::default();
        for n in 0..400_000_i64 {
            log.record(1, at(n * 200), at(n * 200), HISTORY);
        }
        let (buckets, exact) = (log.grouped().len(), log.exact().len());
        assert!(buckets < 12_000 && exact <= 4_352, "{buckets} buckets, {exact} exact");
        let used = used(&log, Span::from_secs(36_000), at(400_000 * 200));
        assert!((180_000 - 1..=180_200).contains(&used), "{used}");
    }

    /// What the log stands for: every charge, kept for ever.
    #[derive(Default)]
    struct Model(Vec<i64>);

    impl Model {
        fn used(&self, window: i64, now: i64) -> u32 {
            u32::try_from(self.0.iter().filter(|&&s| s > now - window).count()).unwrap()
        }
    }

    #[derive(Debug, Clone)]
    struct Step {
        passes: i64,
        charges: u32,
        margin: i64,
        window: u64,
        open: u32,
        max: u32,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // A year passes at once when a clock was wrong at a start.
        let year = Just(31_536_000_000_i64);
        let passes =
            prop_oneof![9 => 0..50_i64, 9 => 0..5_000_i64, 9 => 0..4_000_000_i64, 1 => year];
        let charges = prop_oneof![8 => 1..5_u32, 1 => 1..900_u32];
        let margin = prop_oneof![5 => Just(1_i64), 1 => 1..600_000_i64];
        let window = prop_oneof![Just(1_000_u64), Just(5_000), Just(3_600_000), Just(86_400_000)];
        let step = (passes, charges, margin, window, 0..4_u32, 0..6_000_u32);
        let build = |(passes, charges, margin, window, open, max)| Step {
            passes,
            charges,
            margin,
            window,
            open,
            max,
        };
        proptest::collection::vec(step.prop_map(build), 1..120)
    }

    /// Never over: what the model counts is never more than what the log counts. Late by W/1000 at most: the log never
    /// counts what the model has not counted within the last W/1000.
    fn check(log: &Log, model: &Model, step: &Step, now: i64) {
        let window = i64::try_from(step.window).unwrap();
        let (exact, late) = (model.used(window, now), model.used(window + window / 1000 + 1, now));
        let counted = used(log, Span::new(Duration::from_millis(step.window)), at(now));
        assert!((exact..=late).contains(&counted), "{exact} ≤ {counted} ≤ {late}");
        let asked = limit(step.window, step.max);
        let admitted = admit(log, asked, ask(step.open, 1, now));
        assert_eq!(admitted, counted + step.open < step.max);
        assert_eq!(room(log, step.open, asked, at(now)) > 0, admitted);
    }

    fn check_next_slot(log: &Log, step: &Step, now: i64) {
        if log.exact().len() > 4_000 {
            return; // Settling what is open may fold the log, and then a slot opens up to W/1000 later.
        }
        let asked = limit(step.window, step.max);
        let slot = next_slot(log, asked, ask(step.open, 1, now));
        let mut settled = log.clone();
        settled.record(step.open, at(now + 1), at(now), HISTORY);
        match slot {
            None => assert_eq!(step.max, 0),
            Some(slot) => {
                let then = |t| Question { open: 0, wanted: 1, now: t };
                assert!(admit(&settled, asked, then(slot)));
                let before = slot - Duration::from_millis(1);
                assert!(slot == at(now) || !admit(&settled, asked, then(before)));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn the_log_counts_as_a_naive_list_does(steps in steps()) {
            let (mut log, mut model, mut now) = (Log::default(), Model::default(), 0);
            for step in &steps {
                now += step.passes;
                check(&log, &model, step, now);
                check_next_slot(&log, step, now);
                let stamp = now + step.margin;
                log.record(step.charges, at(stamp), at(now), HISTORY);
                model.0.extend(std::iter::repeat_n(stamp, step.charges as usize));
            }
        }

        #[test]
        fn a_restored_log_is_the_same_log(steps in steps()) {
            let (mut log, mut now) = (Log::default(), 0);
            for step in &steps {
                now += step.passes;
                log.record(step.charges, at(now + step.margin), at(now), HISTORY);
            }
            let mut restored = Log::default();
            log.grouped().for_each(|charges| restored.restore_bucket(charges));
            log.exact().for_each(|stamp| restored.restore_exact(stamp));
            prop_assert!(log.grouped().eq(restored.grouped()) && log.exact().eq(restored.exact()));
        }
    }
}
