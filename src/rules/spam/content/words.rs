//! Many words looked for at once (Aho and Corasick 1975).

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// Words and phrases, each with a number.
#[derive(Debug)]
pub(super) struct Words(AhoCorasick);

impl Words {
    /// Makes words ready that are in lower case with single spaces; none if they are too many.
    pub(super) fn new(words: &[Vec<u8>]) -> Option<Self> {
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .match_kind(MatchKind::Standard)
            .build(words);
        automaton.ok().map(Self)
    }

    /// Which of them stand as whole words in a text in its normal form.
    pub(super) fn found_in(&self, text: &[u8]) -> Vec<bool> {
        let mut found = vec![false; self.0.patterns_len()];
        for hit in self.0.find_overlapping_iter(text) {
            let before = hit.start().checked_sub(1).map(|at| text[at]);
            let after = text.get(hit.end()).copied();
            if !before.is_some_and(is_of_word) && !after.is_some_and(is_of_word) {
                found[hit.pattern().as_usize()] = true;
            }
        }
        found
    }
}

/// True of octets that go on with a word.
const fn is_of_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || !octet.is_ascii()
}
