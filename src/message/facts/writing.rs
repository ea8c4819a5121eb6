//! The scripts that a text is written in (Unicode Standard Annex #24), and letters that pretend to be others.

use super::{Mark, Marks};
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
        let capitals = count(octets, u8::is_ascii_uppercase);
        Self {
            words: count_of_words(octets),
            letters: count(octets, u8::is_ascii_alphabetic),
            capitals,
            shouted: if capitals < SHOUTED_LETTERS_MIN { 0 } else { count_of_shouted(text) },
            digits: count(octets, u8::is_ascii_digit),
            exclamations: count(octets, |octet| *octet == b'!'),
            money: count(octets, |octet| *octet == b'$'),
            quoted: number(quotes),
            lines: count(octets, |octet| *octet == b'\n') + u32::from(has_open_line),
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

/// How many words there are: octets that are no white space behind one that is.
fn count_of_words(octets: &[u8]) -> u32 {
    let Some((first, rest)) = octets.split_first() else { return 0 };
    let in_piece = |(before, here): (&[u8], &[u8])| {
        let pairs = before.iter().zip(here);
        pairs.map(|(before, here)| space(*before) & (1 - space(*here))).sum::<u8>()
    };
    let pieces = octets.chunks(PIECE_BYTES).zip(rest.chunks(PIECE_BYTES));
    pieces.map(|piece| u32::from(in_piece(piece))).sum::<u32>() + u32::from(1 - space(*first))
}

/// 1 for white space of ASCII. Without a branch, so that many octets are looked at at a time.
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
    let may_shout =
        |line: &&str| count(line.as_bytes(), u8::is_ascii_uppercase) >= SHOUTED_LETTERS_MIN;
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
        && count(word, u8::is_ascii_uppercase) >= SHOUTED_LETTERS_MIN
}

/// How many octets are such. In pieces that a small number can count, which processors do many octets at a time.
fn count(octets: &[u8], is_such: impl Fn(&u8) -> bool) -> u32 {
    let in_piece = |piece: &[u8]| piece.iter().map(|octet| u8::from(is_such(octet))).sum::<u8>();
    octets.chunks(PIECE_BYTES).map(|piece| u32::from(in_piece(piece))).sum()
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
/// So many can be counted with an octet, and are whole vectors of any processor.
const PIECE_BYTES: usize = 192;
const SHARE_MIN: u8 = 5;
/// More scripts than this in one text are counted to none.
const SCRIPTS_MAX: usize = 16;
