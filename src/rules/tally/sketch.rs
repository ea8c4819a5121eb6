//! How many different recipients, without keeping who they were.
//!
//! A recipient is a keyed hash of 32 bits. Up to [`LISTED_MAX`] different ones are kept as they are and counted exactly; beyond
//! that, HyperLogLog (Flajolet et al. 2007) with [`REGISTERS`] registers, whose standard error is 1.04/√2048 = 2.3 %, read by the
//! estimator of Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017), algorithm 6, which needs no tables
//! of corrections. Sketches of different hours, accounts or days merge without loss. The stored form begins with its
//! version; nothing in it can be read without the key, though whoever has key and file can test a guess.

use crate::types::Address;
use ring::hmac;

/// What makes hashes of recipients; the same key for as long as sketches are to merge.
#[derive(Clone)]
pub struct RecipientKey(hmac::Key);

impl RecipientKey {
    /// Makes the key from its secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The hash of a recipient, whose spelling in upper or lower case does not matter.
    #[must_use]
    pub fn hash(&self, recipient: &Address) -> u32 {
        let tag = hmac::sign(&self.0, recipient.as_str().to_lowercase().as_bytes());
        tag.as_ref().iter().take(4).fold(0, |hash, &octet| hash << 8 | u32::from(octet))
    }
}

/// A set of recipients that only knows about how many they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch(Kept);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    /// All hashes, sorted.
    Listed(Vec<u32>),
    /// The highest rank seen by each register.
    Registers(Box<[u8; REGISTERS]>),
}

impl Default for Sketch {
    fn default() -> Self {
        Self(Kept::Listed(Vec::new()))
    }
}

impl Sketch {
    /// Adds a recipient by its hash.
    pub fn insert(&mut self, hash: u32) {
        match &mut self.0 {
            Kept::Listed(hashes) => {
                let Err(place) = hashes.binary_search(&hash) else { return };
                hashes.insert(place, hash);
                if hashes.len() > LISTED_MAX {
                    self.0 = Kept::Registers(registers(hashes));
                }
            }
            Kept::Registers(registers) => raise(registers, hash),
        }
    }

    /// Adds everybody of another set.
    pub fn merge(&mut self, other: &Self) {
        match &other.0 {
            Kept::Listed(hashes) => hashes.iter().for_each(|&hash| self.insert(hash)),
            Kept::Registers(theirs) => {
                let mut merged = theirs.clone();
                match &self.0 {
                    Kept::Listed(hashes) => hashes.iter().for_each(|&h| raise(&mut merged, h)),
                    Kept::Registers(ours) => {
                        for (register, &rank) in merged.iter_mut().zip(ours.iter()) {
                            *register = rank.max(*register);
                        }
                    }
                }
                self.0 = Kept::Registers(merged);
            }
        }
    }

    /// About how many different recipients; exact up to [`LISTED_MAX`].
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.0 {
            Kept::Listed(hashes) => u64::try_from(hashes.len()).unwrap_or(u64::MAX),
            Kept::Registers(registers) => estimate(registers),
        }
    }

    /// True if [`Sketch::count`] is exact.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self.0, Kept::Listed(_))
    }

    /// The stored form: version, kind, content; at most 2,050 octets.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Kept::Listed(hashes) => {
                let octets = hashes.iter().flat_map(|hash| hash.to_be_bytes());
                [VERSION, LISTED].into_iter().chain(octets).collect()
            }
            Kept::Registers(registers) => {
                [VERSION, RANKED].into_iter().chain(registers.iter().copied()).collect()
            }
        }
    }

    /// Reads the stored form; none if it is not one of this version.
    #[must_use]
    pub fn from_bytes(octets: &[u8]) -> Option<Self> {
        let kept = match octets {
            [VERSION, LISTED, hashes @ ..] => Kept::Listed(listed(hashes)?),
            [VERSION, RANKED, ranks @ ..] => {
                let registers: [u8; REGISTERS] = ranks.try_into().ok()?;
                let possible = registers.iter().all(|&rank| u32::from(rank) <= RANK_MAX);
                possible.then(|| Kept::Registers(Box::new(registers)))?
            }
            _ => return None,
        };
        Some(Self(kept))
    }
}

fn listed(octets: &[u8]) -> Option<Vec<u32>> {
    let (hashes, rest) = octets.as_chunks::<4>();
    let hashes: Vec<u32> = hashes.iter().map(|octets| u32::from_be_bytes(*octets)).collect();
    let sorted = hashes.is_sorted_by(|a, b| a < b);
    (rest.is_empty() && sorted && hashes.len() <= LISTED_MAX).then_some(hashes)
}

fn registers(hashes: &[u32]) -> Box<[u8; REGISTERS]> {
    let mut registers = Box::new([0; REGISTERS]);
    hashes.iter().for_each(|&hash| raise(&mut registers, hash));
    registers
}

/// The low bits choose the register; the rank is how many zeros begin the rest, and one.
fn raise(registers: &mut [u8; REGISTERS], hash: u32) {
    let rest = hash >> INDEX_BITS;
    let rank = (rest.leading_zeros() - INDEX_BITS + 1).min(RANK_MAX);
    let index = usize::try_from(hash).unwrap_or(0) % REGISTERS;
    registers[index] = registers[index].max(u8::try_from(rank).unwrap_or(u8::MAX));
}

/// Ertl 2017, algorithm 6.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate of at most 2^32 or so, and none is negative"
)]
fn estimate(registers: &[u8; REGISTERS]) -> u64 {
    let m = f64::from(2_u32.pow(INDEX_BITS));
    let mut counts = [0_u32; RANK_MAX as usize + 1];
    for &rank in registers {
        counts[usize::from(rank)] += 1;
    }
    let share = |rank: usize| f64::from(counts[rank]) / m;
    let last = counts.len() - 1;
    let mut z = m * tau(1.0 - share(last));
    for rank in (1..last).rev() {
        z = 0.5 * (z + f64::from(counts[rank]));
    }
    z += m * sigma(share(0));
    // 1/(2 ln 2) m² / z
    (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    for _ in 0..TERMS_MAX {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if (z - before).abs() < f64::EPSILON {
            break;
        }
    }
    z
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    for _ in 0..TERMS_MAX {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if (z - before).abs() < f64::EPSILON {
            break;
        }
    }
    z / 3.0
}

/// So many different recipients are counted exactly.
pub const LISTED_MAX: usize = 128;
const INDEX_BITS: u32 = 11;
const REGISTERS: usize = 1 << INDEX_BITS;
/// 21 zeros and one.
const RANK_MAX: u32 = 32 - INDEX_BITS + 1;
/// The series of the estimator converge in far fewer.
const TERMS_MAX: u32 = 64;
const VERSION: u8 = 1;
const LISTED: u8 = 0;
const RANKED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(n: u32) -> u32 {
        let key = RecipientKey::new(b"secret");
        key.hash(&format!("r{n}@example.org").parse().unwrap())
    }

    fn of(numbers: impl IntoIterator<Item = u32>) -> Sketch {
        let mut sketch = Sketch::default();
        numbers.into_iter().for_each(|n| sketch.insert(hash(n)));
        sketch
    }

    #[test]
    fn the_count_is_near_the_truth() {
        for truth in [0, 1, 50, 128, 129, 600, 2_000, 10_000, 100_000] {
            let counted = of(0..truth).count();
            let off = (i64::try_from(counted).unwrap() - i64::from(truth)).abs();
            // Three standard errors; exact while all are listed.
            let allowed = if truth <= 128 { 0 } else { i64::from(truth) * 7 / 100 };
            assert!(off <= allowed, "{truth} counted as {counted}");
        }
    }

    #[test]
    fn the_same_recipient_counts_once_and_only_the_key_tells_who() {
        let key = RecipientKey::new(b"secret");
        let hash = |text: &str| key.hash(&text.parse().unwrap());
        assert_eq!(hash("Bob@Example.org"), hash("bob@example.org"));
        assert_ne!(hash("bob@example.org"), hash("bob@example.com"));
        let other = RecipientKey::new(b"another");
        assert_ne!(hash("bob@example.org"), other.hash(&"bob@example.org".parse().unwrap()));
    }

    #[test]
    fn what_is_no_stored_form_is_not_read() {
        let good = of([1, 2, 3]).to_bytes();
        assert!(Sketch::from_bytes(&good).is_some());
        let mut rank = of(0..500).to_bytes();
        rank[7] = 99;
        let descending = [VERSION, LISTED, 0, 0, 0, 2, 0, 0, 0, 1];
        let newer: Vec<u8> = [2].into_iter().chain(good[1..].iter().copied()).collect();
        for wrong in [&[][..], &[1], &[1, 2], &good[..good.len() - 1], &rank, &descending, &newer] {
            assert_eq!(Sketch::from_bytes(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        /// However recipients are spread over sketches, and stored between, together they are the same sketch.
        #[test]
        fn parts_merge_into_the_whole(numbers in prop::collection::vec((0..400_u32, 0..3_usize), 0..600)) {
            let mut parts = [Sketch::default(), Sketch::default(), Sketch::default()];
            for &(number, part) in &numbers {
                parts[part].insert(hash(number));
            }
            let mut merged = Sketch::default();
            for part in &parts {
                merged.merge(&Sketch::from_bytes(&part.to_bytes()).unwrap());
            }
            let whole = of(numbers.iter().map(|&(number, _)| number));
            prop_assert_eq!(merged, whole);
        }
    }
}
