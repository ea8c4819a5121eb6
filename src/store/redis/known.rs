//! Windows that have a history, so that Redis is not asked that for each message of the same sender. What was seen is believed for
//! [`TURN`] to twice that: a history begins at once and ends after a day, and all that depends on it is who counts as new.

use crate::{clock, types::Key};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

/// Hashes of their keys.
#[derive(Default)]
pub(super) struct Known {
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    newer: HashSet<u64>,
    older: HashSet<u64>,
    turned: Option<Instant>,
}

impl Known {
    pub(super) fn has(&self, key: &Key) -> bool {
        let hash = self.hasher.hash_one(key);
        let mut seen = self.seen.lock();
        seen.turn(clock::steady_now());
        seen.newer.contains(&hash) || seen.older.contains(&hash)
    }

    pub(super) fn note(&self, key: &Key) {
        let hash = self.hasher.hash_one(key);
        let mut seen = self.seen.lock();
        seen.turn(clock::steady_now());
        seen.newer.insert(hash);
    }
}

impl Seen {
    fn turn(&mut self, now: Instant) {
        let turned = *self.turned.get_or_insert(now);
        if now < turned + TURN && self.newer.len() < SEEN_MAX {
            return;
        }
        self.older =
            if now < turned + TURN * 2 { std::mem::take(&mut self.newer) } else { HashSet::new() };
        self.newer.clear();
        self.turned = Some(now);
    }
}

const TURN: Duration = Duration::from_secs(300);
/// Of the newer ones, and so of the older ones: at 16 octets each they fill 2 MB.
const SEEN_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_believed_for_a_while_and_bounded() {
        let mut seen = Seen::default();
        let start = clock::steady_now();
        let mut known = |seconds: u64, new: Option<u64>| {
            seen.turn(start + Duration::from_secs(seconds));
            seen.newer.extend(new);
            (seen.newer.len(), seen.older.len())
        };
        assert_eq!(known(0, Some(1)), (1, 0));
        assert_eq!(known(299, Some(2)), (2, 0));
        assert_eq!(known(300, None), (0, 2));
        assert_eq!(known(599, Some(3)), (1, 2));
        assert_eq!(known(1_200, None), (0, 0));
        let full: HashSet<u64> = (0..SEEN_MAX as u64).collect();
        assert_eq!(full.into_iter().map(|new| known(1_300, Some(new))).last(), Some((SEEN_MAX, 0)));
        assert_eq!(known(1_300, Some(7)), (1, SEEN_MAX));
    }
}
