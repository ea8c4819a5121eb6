//! In which order hosts are tried: by priority, and within one priority at random in proportion to their weights
//! (as RFC 2782 orders SRV records). Pure, but for a generator of its own that needs no lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the order depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rank {
    pub(super) priority: u16,
    pub(super) weight: u16,
}

/// The hosts' indices, in groups of one priority, lowest first.
pub(super) fn order(ranks: &[Rank], random: &Random) -> Vec<Vec<usize>> {
    let mut left: Vec<usize> = (0..ranks.len()).collect();
    left.sort_by_key(|&index| ranks[index].priority);
    let same = |a: &usize, b: &usize| ranks[*a].priority == ranks[*b].priority;
    left.chunk_by(same).map(|group| shuffled(group.to_vec(), ranks, random)).collect()
}

fn shuffled(mut group: Vec<usize>, ranks: &[Rank], random: &Random) -> Vec<usize> {
    let weight = |index: &usize| u64::from(ranks[*index].weight.max(1));
    let mut ordered = Vec::with_capacity(group.len());
    while group.len() > 1 {
        let total: u64 = group.iter().map(weight).sum();
        let mut ticket = random.next() % total;
        let chosen = group.iter().position(|index| {
            let wins = ticket < weight(index);
            ticket = ticket.saturating_sub(weight(index));
            wins
        });
        ordered.push(group.remove(chosen.unwrap_or(0)));
    }
    ordered.append(&mut group);
    ordered
}

/// SplitMix64 (Steele, Lea and Flood 2014): small and even enough to spread load; guards no secret.
#[derive(Debug)]
pub(super) struct Random(AtomicU64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(super) fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    fn firsts(ranks: &[(u16, u16)]) -> Vec<usize> {
        let ranks: Vec<Rank> =
            ranks.iter().map(|&(priority, weight)| Rank { priority, weight }).collect();
        let (random, mut counts) = (Random::new(7), vec![0; ranks.len()]);
        for _ in 0..10_000 {
            let order = order(&ranks, &random);
            let mut all = order.concat();
            counts[all[0]] += 1;
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..ranks.len()));
        }
        counts
    }

    #[test]
    fn the_lowest_priority_comes_first_and_weights_share_within_it() {
        assert_eq!(firsts(&[(20, 9), (10, 1), (30, 9)]), [0, 10_000, 0]);
        let counts = firsts(&[(10, 1), (10, 3), (20, 100)]);
        assert!((2300..2700).contains(&counts[0]) && counts[0] + counts[1] == 10_000, "{counts:?}");
        assert!(firsts(&[(10, 0), (10, 0)]).iter().all(|&count| count > 4500));
    }

    #[test]
    fn each_priority_is_a_group() {
        let ranks = [20, 10, 20].map(|priority| Rank { priority, weight: 1 });
        let order = order(&ranks, &Random::new(1));
        assert_eq!((order[0].as_slice(), order[1].len(), order.len()), (&[1][..], 2, 2));
    }
}
