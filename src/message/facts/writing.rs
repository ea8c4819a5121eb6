//! The scripts that a text is written in (Unicode Standard Annex #24), and letters that pretend to be others.

use super::{Mark, Marks, each_word_begin, is_of_word};
use unicode_script::{Script, UnicodeScript as _};

/// The scripts of a text that a twentieth of its letters or more belong to, the most frequent first, with their share in per cent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scripts(Vec<(&'static str, u8)>);

impl Scripts {
    /// The scripts by their ISO 15924 codes (`Latn`, `Cyrl`, `Arab`), with their share in per cent.
    #[must_use]
    pub fn shares(&self) -> &[(&'static str, u8)] {
        &self.0
    }

    /// The script that most letters belong to; none without letters.
    #[must_use]
    pub fn main(&self) -> Option<&'static str> {
        self.0.first().map(|(script, _)| *script)
    }
}

/// Numbers of what a text is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// Runs of characters between white space.
    pub words: u32,
    /// Letters of any script.
    pub letters: u32,
    /// Capital letters of ASCII.
    pub capitals: u32,
    /// Words of four letters and more that are all capitals.
    pub shouted: u32,
    /// Digits of ASCII.
    pub digits: u32,
    /// Exclamation marks.
    pub exclamations: u32,
    /// Signs of currencies.
    pub money: u32,
    /// Lines that begin with `>`: those of the message that is answered.
    pub quoted: u32,
    /// Lines.
    pub lines: u32,
    /// Letters of the longest word that is taken apart, each letter alone with the same sign between them: `v.i.a.g.r.a`.
    pub spelled: u32,
}

/// Looks at a text octet by octet, and character by character where it is not ASCII.
pub(super) fn read(text: &str, marks: &mut Marks) -> (Scripts, Shape) {
    let mut shape = Shape::of_octets(text);
    let mut counts = vec![(Script::Latin, shape.letters)];
    if !text.is_ascii() {
        for word in text.split_ascii_whitespace().filter(|word| !word.is_ascii()) {
            shape.meet_others(word, &mut counts, marks);
        }
    }
    (shares(counts, shape.letters), shape)
}

impl Shape {
    /// What can be said without knowing characters outside ASCII.
    fn of_octets(text: &str) -> Self {
        let octets = text.as_bytes();
        let quotes = memchr::memmem::find_iter(octets, b"\n>").count();
        let quotes = quotes + usize::from(text.starts_with('>'));
        let has_open_line = !text.is_empty() && !text.ends_with('\n');
        let [letters, capitals, digits, exclamations, money, line_ends] = Tallies::of(octets).0;
        Self {
            words: count_of_words(octets),
            letters,
            capitals,
            shouted: if capitals < SHOUTED_LETTERS_MIN { 0 } else { count_of_shouted(text) },
            digits,
            exclamations,
            money,
            quoted: number(quotes),
            lines: line_ends + u32::from(has_open_line),
            spelled: Spelled::in_text(octets),
        }
    }

    /// What the characters outside ASCII add.
    fn meet_others(&mut self, word: &str, counts: &mut Vec<(Script, u32)>, marks: &mut Marks) {
        let mut first = None;
        for character in word.chars() {
            self.money += u32::from(matches!(character, '€' | '£' | '¥' | '₹' | '₽'));
            if character.is_alphabetic() {
                let script = character.script();
                if !character.is_ascii() {
                    self.letters += 1;
                    meet_script(counts, script, 1);
                }
                marks.set_if(Mark::MixedScripts, first.is_some_and(|first| is_mix(first, script)));
                first = first.or(Some(script));
            } else if is_invisible(character) {
                marks.set_if(Mark::Invisible, first == Some(Script::Latin));
            }
        }
    }
}

/// How many octets are letters, capitals, digits, exclamation marks, signs of money and line ends, of ASCII each.
struct Tallies([u32; 6]);

impl Tallies {
    fn of(octets: &[u8]) -> Self {
        let mut sums = Self([0; 6]);
        for piece in octets.chunks(LANES * u8::MAX as usize) {
            let (blocks, rest) = piece.as_chunks::<LANES>();
            sums.add_blocks(blocks);
            let mut last = [b' '; LANES];
            last[..rest.len()].copy_from_slice(rest);
            sums.add_blocks(&[last]);
        }
        sums
    }

    /// Each lane counts what stands at its place of each block, with an octet, so that processors do all lanes at a time: no more
    /// blocks than that can count.
    fn add_blocks(&mut self, blocks: &[[u8; LANES]]) {
        let [mut letters, mut capitals, mut digits, mut exclamations, mut money, mut line_ends] =
            [[0_u8; LANES]; 6];
        for block in blocks {
            for lane in 0..LANES {
                let octet = block[lane];
                letters[lane] += u8::from((octet | 0x20).wrapping_sub(b'a') < 26);
                capitals[lane] += u8::from(octet.wrapping_sub(b'A') < 26);
                digits[lane] += u8::from(octet.wrapping_sub(b'0') < 10);
                exclamations[lane] += u8::from(octet == b'!');
                money[lane] += u8::from(octet == b'$');
                line_ends[lane] += u8::from(octet == b'\n');
            }
        }
        let counts = [letters, capitals, digits, exclamations, money, line_ends];
        for (sum, lanes) in self.0.iter_mut().zip(&counts) {
            *sum += lanes.iter().map(|count| u32::from(*count)).sum::<u32>();
        }
    }
}

/// A word that is taken apart, as far as it goes.
#[derive(Default)]
struct Spelled {
    letters: u32,
    /// Where its last letter is.
    last: Option<usize>,
    /// The sign before that.
    sign: Option<u8>,
    longest: u32,
}

impl Spelled {
    /// The letters of the longest one in a text.
    fn in_text(octets: &[u8]) -> u32 {
        let mut spelled = Self::default();
        each_word_begin(octets, |at| {
            let is_alone = octets.get(at + 1).is_none_or(|next| !is_of_word(*next));
            if is_alone && octets[at].is_ascii_alphabetic() {
                spelled.meet(octets, at);
            } else {
                spelled.last = None;
            }
        });
        if spelled.longest > 1 { spelled.longest } else { 0 }
    }

    /// Meets a letter that stands alone.
    fn meet(&mut self, octets: &[u8], at: usize) {
        let sign = self.last.and_then(|last| sign_of(&octets[last + 1..at]));
        self.letters = match sign {
            None => 1,
            Some(_) if sign == self.sign => self.letters + 1,
            // With another sign, the letter before begins another word.
            Some(_) => 2,
        };
        (self.last, self.sign) = (Some(at), sign);
        self.longest = self.longest.max(self.letters);
    }
}

/// The sign that stands between two letters: one octet, or white space.
fn sign_of(between: &[u8]) -> Option<u8> {
    match between {
        [sign] => Some(*sign),
        _ => between.iter().all(u8::is_ascii_whitespace).then_some(b' '),
    }
}

/// How many words there are: octets that are no white space behind one that is.
fn count_of_words(octets: &[u8]) -> u32 {
    let Some((first, rest)) = octets.split_first() else { return 0 };
    let mut sum = u32::from(1 - space(*first));
    for (before, here) in octets.chunks(PIECE_BYTES).zip(rest.chunks(PIECE_BYTES)) {
        let mut count = 0_u8;
        for (before, here) in before.iter().zip(here) {
            count += space(*before) & (1 - space(*here));
        }
        sum += u32::from(count);
    }
    sum
}

/// 1 for white space of ASCII. Without a branch, so that many octets are looked at at a time.
#[inline]
const fn space(octet: u8) -> u8 {
    let is_space = (octet == b' ')
        | (octet == b'\t')
        | (octet == b'\n')
        | (octet == b'\x0c')
        | (octet == b'\r');
    is_space as u8
}

/// How many words are shouted. Only lines with capitals enough are taken apart.
fn count_of_shouted(text: &str) -> u32 {
    let may_shout = |line: &&str| count_of_capitals(line.as_bytes()) >= SHOUTED_LETTERS_MIN;
    let mut begin = 0;
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    let lines = ends.map(|end| &text[std::mem::replace(&mut begin, end)..end]);
    let words = lines.filter(may_shout).flat_map(str::split_ascii_whitespace);
    number(words.filter(|word| is_shouted(word.as_bytes())).count())
}

/// True of a word of four letters or more that are all capitals.
fn is_shouted(word: &[u8]) -> bool {
    !word.first().is_none_or(u8::is_ascii_lowercase)
        && !word.iter().any(u8::is_ascii_lowercase)
        && count_of_capitals(word) >= SHOUTED_LETTERS_MIN
}

/// How many capitals of ASCII there are.
fn count_of_capitals(octets: &[u8]) -> u32 {
    Tallies::of(octets).0[1]
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn meet_script(counts: &mut Vec<(Script, u32)>, script: Script, count: u32) {
    if let Some((_, known)) = counts.iter_mut().find(|(known, _)| *known == script) {
        *known += count;
    } else if counts.len() < SCRIPTS_MAX {
        counts.push((script, count));
    }
}

fn shares(mut counts: Vec<(Script, u32)>, letters: u32) -> Scripts {
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let share = |count: u32| {
        u8::try_from(u64::from(count) * 100 / u64::from(letters.max(1))).unwrap_or(100)
    };
    let shares = counts.into_iter().map(|(script, count)| (script.short_name(), share(count)));
    Scripts(shares.filter(|(_, share)| *share >= SHARE_MIN).collect())
}

/// True of scripts whose letters look alike and that no language mixes within a word.
fn is_mix(first: Script, other: Script) -> bool {
    let confusable = [Script::Latin, Script::Cyrillic, Script::Greek];
    first != other && confusable.contains(&first) && confusable.contains(&other)
}

/// Characters without a width that have no business within a Latin word.
const fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

const SHOUTED_LETTERS_MIN: u32 = 4;
/// So many stand side by side.
const LANES: usize = 16;
/// So many can be counted with an octet, and are whole vectors of any processor.
const PIECE_BYTES: usize = 192;
const SHARE_MIN: u8 = 5;
/// More scripts than this in one text are counted to none.
const SCRIPTS_MAX: usize = 16;
