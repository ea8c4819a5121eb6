//! The map from key to cell, for which a look-up touches one place of the table and the cell, and nothing else.
//!
//! A slot holds the whole hash beside the pointer, so a wrong cell is never read and growing reads no cell at all. The
//! usual map keeps marks and pointers apart, which costs one more wait for memory in each decision.

use super::windows::CellRef;
use parking_lot::RwLock;
use std::hash::{BuildHasher, RandomState};

/// A map in [`SHARDS`] parts with a lock each.
pub(super) struct Table {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    /// A power of two of them, or none; at most [`FULL`] in use.
    slots: Box<[Option<Slot>]>,
    used: usize,
}

#[derive(Clone)]
struct Slot {
    hash: u64,
    cell: CellRef,
}

impl Table {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }

    /// The cell of a key.
    pub(super) fn find(&self, key: &str) -> Option<CellRef> {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).read().find(hash, key).cloned()
    }

    /// Puts a cell in unless its key has one; true if it was put in.
    pub(super) fn insert(&self, cell: CellRef) -> bool {
        let hash = self.hasher.hash_one(cell.name());
        let mut shard = self.shard(hash).write();
        let is_new = shard.find(hash, cell.name()).is_none();
        if is_new {
            shard.insert(Slot { hash, cell });
        }
        is_new
    }

    /// Calls `see` with each cell, one part at a time.
    pub(super) fn for_each(&self, mut see: impl FnMut(&CellRef)) {
        for shard in &self.shards {
            shard.read().slots.iter().flatten().for_each(|slot| see(&slot.cell));
        }
    }

    /// Keeps the cells for which `keep` is true.
    pub(super) fn retain(&self, mut keep: impl FnMut(&CellRef) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let before = shard.used;
            for place in &mut shard.slots {
                place.take_if(|slot| !keep(&slot.cell));
            }
            shard.used = shard.slots.iter().flatten().count();
            if shard.used < before {
                shard.rebuild();
            }
        }
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        // The low bits choose the slot.
        &self.shards[usize::from((hash >> 48) as u16) % SHARDS]
    }
}

impl Shard {
    fn find(&self, hash: u64, key: &str) -> Option<&CellRef> {
        let probe = self.probe(hash).map_while(|at| self.slots[at].as_ref());
        let same = |slot: &&Slot| slot.hash == hash && slot.cell.has_name(key);
        probe.into_iter().find(same).map(|slot| &slot.cell)
    }

    /// The places where a hash may be, in their order; the first free one ends the search.
    fn probe(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let size = self.slots.len();
        let first = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0);
        (0..size).map(move |step| (first + step) & (size - 1))
    }

    fn insert(&mut self, slot: Slot) {
        if (self.used + 1) * FULL.1 > self.slots.len() * FULL.0 {
            self.rebuild();
        }
        self.put(slot);
        self.used += 1;
    }

    fn put(&mut self, slot: Slot) {
        let free = self.probe(slot.hash).find(|&at| self.slots[at].is_none());
        if let Some(free) = free {
            self.slots[free] = Some(slot);
        }
    }

    /// Puts everything into as many slots as it needs with room for more.
    fn rebuild(&mut self) {
        let size = ((self.used + 1) * FULL.1 / FULL.0 + 1).next_power_of_two().max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, (0..size).map(|_| None).collect());
        old.into_iter().flatten().for_each(|slot| self.put(slot));
    }
}

/// So many that a sweep holds none of them for long, so few that their locks stay in the cache.
const SHARDS: usize = 256;
/// Four of five slots may be in use.
const FULL: (usize, usize) = (4, 5);
const SLOTS_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let table = Table::new();
        let key = |n: usize| format!("account/r/user{n}");
        for n in 0..20_000 {
            assert!(table.insert(CellRef::of(&key(n))), "{n}");
            assert!(!table.insert(CellRef::of(&key(n))), "{n}");
        }
        let is_even = |n: usize| n.is_multiple_of(2);
        table.retain(|cell| cell.name().as_bytes().last().is_some_and(|b| b % 2 == 0));
        for n in 0..20_000 {
            let found = table.find(&key(n)).map(|cell| cell.name().to_owned());
            assert_eq!(found, is_even(n).then(|| key(n)), "{n}");
        }
        let mut count = 0;
        table.for_each(|_| count += 1);
        assert_eq!(count, 10_000);
        table.retain(|_| false);
        assert!(table.find(&key(0)).is_none());
        assert!(table.insert(CellRef::of(&key(0))));
    }
}
