//! A number for a text that is nearly the same for nearly the same text (SimHash, Charikar 2002).
//!
//! Each pair of neighbouring words is a feature. Numbers, links, addresses and very short words are left out, because campaigns
//! vary them; a text with other names, another greeting or a few words more differs in a few bits, another text in about
//! half of them.

use std::fmt;

/// 64 bits of which similar texts share most.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a text; none if the text has too few words to tell.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::of_features(features(text), FEATURES_MIN)
    }

    /// The fingerprint of one line, such as a subject, by its words; none if it has none.
    #[must_use]
    pub fn of_line(text: &str) -> Option<Self> {
        let words = words(text).take(FEATURES_MAX).map(hash).collect();
        Self::of_features(words, 1)
    }

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// In how many bits two differ: 0 to 64. Up to [`Fingerprint::NEAR`] they are fingerprints of variants of one text.
    #[must_use]
    pub const fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }

    /// The largest distance of variants of one text.
    pub const NEAR: u32 = 10;

    fn of_features(mut features: Vec<u64>, features_min: usize) -> Option<Self> {
        features.sort_unstable();
        features.dedup();
        if features.len() < features_min {
            return None;
        }
        let mut votes = [0_i32; 64];
        for feature in features {
            for (place, vote) in votes.iter_mut().enumerate() {
                *vote += i32::from(feature >> place & 1 == 1) * 2 - 1;
            }
        }
        let bit = |(place, vote): (usize, &i32)| u64::from(*vote > 0) << place;
        Some(Self(votes.iter().enumerate().map(bit).sum()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

fn features(text: &str) -> Vec<u64> {
    let mut before = None;
    let mut found = Vec::new();
    for word in words(text).take(FEATURES_MAX) {
        let word = hash(word);
        if let Some(before) = before.replace(word) {
            found.push(mix(before.rotate_left(21) ^ word));
        }
    }
    found
}

/// The words that say what a text is about.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
        .filter(|run| !run.contains(['@', '/', '=']) && !run.contains(|c: char| c.is_ascii_digit()))
        .flat_map(|run| run.split(|c: char| !c.is_alphabetic()))
        .filter(|word| word.len() >= WORD_BYTES_MIN)
}

/// FNV-1a over the word in lower case, stirred, so that every bit depends on every letter.
fn hash(word: &str) -> u64 {
    let octets = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = 0xcbf2_9ce4_8422_2325;
    if word.is_ascii() {
        hash = word.bytes().map(|octet| octet.to_ascii_lowercase()).fold(hash, octets);
    } else {
        for character in word.chars().flat_map(char::to_lowercase) {
            let mut buffer = [0; 4];
            hash = character.encode_utf8(&mut buffer).bytes().fold(hash, octets);
        }
    }
    mix(hash)
}

/// The finalizer of `MurmurHash3`.
const fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Fewer pairs of words than this say nothing.
const FEATURES_MIN: usize = 8;
/// How many words are looked at.
const FEATURES_MAX: usize = 2_048;
const WORD_BYTES_MIN: usize = 3;
