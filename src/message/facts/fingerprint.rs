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
        Self::of_features(words(text), 1)
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
    pub const NEAR: u32 = 8;

    fn of_features(mut features: Vec<u64>, features_min: usize) -> Option<Self> {
        features.sort_unstable();
        features.dedup();
        if features.len() < features_min {
            return None;
        }
        let mut votes = Votes::default();
        features.iter().for_each(|feature| votes.add(*feature));
        Some(Self(votes.majority(features.len())))
    }
}

/// For each of 64 bits how many features have it, the digits of each count standing one below the other.
#[derive(Default)]
struct Votes([u64; VOTES_DIGITS]);

impl Votes {
    fn add(&mut self, feature: u64) {
        let mut carry = feature;
        for digit in &mut self.0 {
            (*digit, carry) = (*digit ^ carry, *digit & carry);
            if carry == 0 {
                break;
            }
        }
    }

    /// The bits that more than half of all have.
    fn majority(&self, all: usize) -> u64 {
        let count = |place: u32| -> usize {
            let digits = self.0.iter().rev();
            digits.fold(0, |count, digit| count << 1 | usize::from(digit >> place & 1 == 1))
        };
        (0..u64::BITS).map(|place| u64::from(count(place) * 2 > all) << place).sum()
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
    let pair = |pair: &[u64]| mix(pair[0].rotate_left(21) ^ pair[1]);
    words(text).windows(2).map(pair).collect()
}

/// Hashes of the words that say what a text is about. Whatever is not ASCII counts as a letter.
fn words(text: &str) -> Vec<u64> {
    let mut found = Found { words: Vec::new(), run_begin: 0, run_varies: false, word: Word::NEW };
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => found.word.add(octet),
            b'0'..=b'9' | b'@' | b'/' | b'=' => found.run_varies = true,
            b' ' | b'\t' | b'\r' | b'\n' => found.end_run(),
            _ => found.end_word(),
        }
        if found.run_begin >= FEATURES_MAX {
            break;
        }
    }
    found.end_run();
    found.words.truncate(FEATURES_MAX);
    found.words
}

struct Found {
    words: Vec<u64>,
    /// Where the words begin that stand without white space between them.
    run_begin: usize,
    /// True if these words are part of something that campaigns vary: a link, an address, a number.
    run_varies: bool,
    word: Word,
}

impl Found {
    fn end_word(&mut self) {
        if self.word.bytes >= WORD_BYTES_MIN {
            self.words.push(mix(self.word.hash));
        }
        self.word = Word::NEW;
    }

    fn end_run(&mut self) {
        self.end_word();
        if self.run_varies {
            self.words.truncate(self.run_begin);
        }
        self.run_begin = self.words.len();
        self.run_varies = false;
    }
}

/// FNV-1a over a word in lower case.
struct Word {
    hash: u64,
    bytes: usize,
}

impl Word {
    const NEW: Self = Self { hash: 0xcbf2_9ce4_8422_2325, bytes: 0 };

    fn add(&mut self, octet: u8) {
        let octet = u64::from(octet.to_ascii_lowercase());
        self.hash = (self.hash ^ octet).wrapping_mul(0x0100_0000_01b3);
        self.bytes += 1;
    }
}

/// The finalizer of `MurmurHash3`: every bit depends on every bit.
const fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// Fewer pairs of words than this say nothing.
const FEATURES_MIN: usize = 8;
/// How many words are looked at.
const FEATURES_MAX: usize = 2_000;
/// So many that [`FEATURES_MAX`] has room.
const VOTES_DIGITS: usize = 11;
const WORD_BYTES_MIN: usize = 3;
