//! Chance from a seed: the same seed, the same choices.

/// SplitMix64 (Steele, Lea and Flood 2014). Each actor has its own, so that what one does moves nobody else's choices.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another source that depends on this one's state and on nothing later.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// From `low` to `high`; small numbers as often as large ones of any magnitude.
    pub(crate) fn spread(&mut self, low: u64, high: u64) -> u64 {
        let magnitude = self.within(u64::from(low.max(1).ilog2()), u64::from(high.ilog2()));
        self.within(1 << magnitude, (2 << magnitude) - 1).clamp(low, high)
    }

    /// True so many times of a thousand.
    pub(crate) fn permille(&mut self, times: u64) -> bool {
        self.next() % 1000 < times
    }

    pub(crate) fn pick<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        let at = self.within(0, some.len() as u64 - 1);
        &some[usize::try_from(at).unwrap()]
    }

    /// An index into what has these weights.
    pub(crate) fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut ticket = self.within(0, weights.iter().sum::<u64>() - 1);
        weights
            .iter()
            .position(|&weight| {
                let wins = ticket < weight;
                ticket = ticket.saturating_sub(weight);
                wins
            })
            .unwrap()
    }
}
