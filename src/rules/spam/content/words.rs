//! Many words looked for at once, by an automaton of all of them (Aho and Corasick 1975) that is begun anew wherever a word begins.
//!
//! As only whole words count, nothing else needs a look, and of those only what begins like one of the words that are looked for.
//! What they begin with, and most of the automaton, stays in a processor's nearest cache. A text costs at most its length times
//! that of the longest phrase.

use crate::message::facts::{each_word_begin, is_of_word};
use aho_corasick::{
    Anchored, MatchKind, PatternID,
    automaton::{Automaton as _, StateID},
    nfa::contiguous::NFA,
};

/// Words and phrases, each with a number.
#[derive(Debug)]
pub(super) struct Words {
    automaton: NFA,
    begin: StateID,
    beginnings: Beginnings,
}

impl Words {
    /// Makes words ready that are in lower case with single spaces; none if they are too many.
    pub(super) fn new(words: &[Vec<u8>]) -> Option<Self> {
        let automaton = NFA::builder().match_kind(MatchKind::Standard).build(words).ok()?;
        let begin = automaton.start_state(Anchored::Yes).ok()?;
        Some(Self { automaton, begin, beginnings: Beginnings::of(words) })
    }

    /// Which of them stand as whole words in a text in its normal form.
    pub(super) fn found_in(&self, text: &[u8]) -> Vec<bool> {
        let mut found = vec![false; self.automaton.patterns_len()];
        each_word_begin(text, |at| {
            if self.beginnings.may_begin(&text[at..]) {
                self.find_at_begin(&text[at..], &mut found);
            }
        });
        found
    }

    /// Finds those that a text begins with.
    fn find_at_begin(&self, text: &[u8], found: &mut [bool]) {
        let mut state = self.begin;
        for (at, octet) in text.iter().enumerate() {
            state = self.automaton.next_state(Anchored::Yes, state, *octet);
            if !self.automaton.is_special(state) {
                continue;
            }
            if self.automaton.is_dead(state) {
                break;
            }
            let is_end = text.get(at + 1).is_none_or(|next| !is_of_word(*next));
            if is_end && self.automaton.is_match(state) {
                self.whole(state, at + 1).for_each(|word| found[word.as_usize()] = true);
            }
        }
    }

    /// The words of a state that are as long as what led to it; it has those as well that it only ends with.
    fn whole(&self, state: StateID, bytes: usize) -> impl Iterator<Item = PatternID> {
        let all = 0..self.automaton.match_len(state);
        let words = all.map(move |index| self.automaton.match_pattern(state, index));
        words.filter(move |word| self.automaton.pattern_len(*word) == bytes)
    }
}

/// With which four octets a word may begin: a set that has a few others as well (Bloom 1970).
#[derive(Debug)]
struct Beginnings([u64; BEGINNINGS / 64]);

impl Beginnings {
    fn of(words: &[Vec<u8>]) -> Self {
        let mut all = Self([0; BEGINNINGS / 64]);
        for word in words {
            match *word.as_slice() {
                [a, b, c, d, ..] => all.add([a, b, c, d]),
                // What does not go on with a word may follow.
                [a, b, c] => (0..=u8::MAX)
                    .filter(|octet| !is_of_word(*octet))
                    .for_each(|octet| all.add([a, b, c, octet])),
                _ => all.0.fill(u64::MAX),
            }
        }
        all
    }

    const fn add(&mut self, octets: [u8; 4]) {
        let place = Self::place(octets);
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn may_begin(&self, text: &[u8]) -> bool {
        text.first_chunk().is_none_or(|octets| {
            let place = Self::place(*octets);
            self.0[place / 64] >> (place % 64) & 1 == 1
        })
    }

    /// A place of [`BEGINNINGS`], by Fibonacci hashing (Knuth, volume 3, §6.4).
    const fn place(octets: [u8; 4]) -> usize {
        (u32::from_le_bytes(octets).wrapping_mul(0x9e37_79b1) >> 17) as usize
    }
}

/// So many as 15 bits number.
const BEGINNINGS: usize = 1 << 15;
