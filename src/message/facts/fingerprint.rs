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
        Self::of_features(&features(text), FEATURES_MIN)
    }

    /// The fingerprint of one line, such as a subject, by its words; none if it has none.
    #[must_use]
    pub fn of_line(text: &str) -> Option<Self> {
        Self::of_features(&words(text), 1)
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

    fn of_features(features: &[u64], features_min: usize) -> Option<Self> {
        let (mut met, mut votes, mut count) = (Met::new(features.len()), Votes::default(), 0);
        for feature in features {
            if met.is_new(*feature) {
                votes.add(*feature);
                count += 1;
            }
        }
        (count >= features_min).then(|| Self(votes.majority(count)))
    }
}

/// Which features there were. They are hashes, so each has its place.
struct Met(Vec<u64>);

impl Met {
    fn new(features: usize) -> Self {
        Self(vec![0; (2 * features).next_power_of_two()])
    }

    /// True the first time; also later of one whose places others have, who would have to be made for that.
    fn is_new(&mut self, feature: u64) -> bool {
        let mask = self.0.len() - 1;
        let begin = (feature >> 32) as usize;
        for place in (begin..begin + PROBES_MAX).map(|place| place & mask) {
            match self.0[place] {
                known if known == feature => return false,
                0 => {
                    self.0[place] = feature;
                    return true;
                }
                _ => {}
            }
        }
        true
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

    /// The bits that more than half of all have. All are compared at once, from the highest digit of their counts on.
    fn majority(&self, all: usize) -> u64 {
        let half = all / 2;
        let (mut more, mut same) = (0, u64::MAX);
        for (place, digit) in self.0.iter().enumerate().rev() {
            if half >> place & 1 == 1 {
                same &= digit;
            } else {
                more |= same & digit;
                same &= !digit;
            }
        }
        more
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
    let mut found = Found { words: Vec::new(), run_begin: 0, run_varies: false };
    let mut rest = text.as_bytes();
    while let Some((octet, behind)) = rest.split_first() {
        match KINDS[usize::from(*octet)] {
            ENDS_WORD => rest = behind,
            ENDS_RUN => {
                rest = behind;
                found.end_run();
                if found.run_begin >= FEATURES_MAX {
                    break;
                }
            }
            VARIES => {
                rest = behind;
                found.run_varies = true;
            }
            _ => rest = found.meet_word(rest),
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
}

impl Found {
    /// Meets the word that a text begins with, by FNV-1a over its letters; returns what is behind it.
    fn meet_word<'t>(&mut self, text: &'t [u8]) -> &'t [u8] {
        let (mut hash, mut bytes) = (FNV_BASIS, 0);
        for octet in text {
            let letter = KINDS[usize::from(*octet)];
            if letter <= VARIES {
                break;
            }
            hash = (hash ^ u64::from(letter)).wrapping_mul(FNV_PRIME);
            bytes += 1;
        }
        if bytes >= WORD_BYTES_MIN {
            self.words.push(mix(hash));
        }
        &text[bytes..]
    }

    fn end_run(&mut self) {
        if self.run_varies {
            self.words.truncate(self.run_begin);
        }
        self.run_begin = self.words.len();
        self.run_varies = false;
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
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
/// How many places are looked at for a feature.
const PROBES_MAX: usize = 16;

/// What each octet is: a letter stands for itself in lower case.
const KINDS: [u8; 256] = {
    let mut table = [ENDS_WORD; 256];
    let mut octet = 0_u8;
    loop {
        table[octet as usize] = match octet {
            letter @ (b'a'..=b'z' | b'A'..=b'Z' | 0x80..) => letter.to_ascii_lowercase(),
            b'0'..=b'9' | b'@' | b'/' | b'=' => VARIES,
            b' ' | b'\t' | b'\r' | b'\n' => ENDS_RUN,
            _ => ENDS_WORD,
        };
        if octet == u8::MAX {
            break table;
        }
        octet += 1;
    }
};
const ENDS_WORD: u8 = 0;
const ENDS_RUN: u8 = 1;
const VARIES: u8 = 2;
