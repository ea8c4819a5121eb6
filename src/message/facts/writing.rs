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
    /// Lines that begin with `>`.
    pub quoted: u32,
    /// Lines.
    pub lines: u32,
}

/// Looks at every character of a text once.
pub(super) fn read(text: &str, marks: &mut Marks) -> (Scripts, Shape) {
    let mut shape = Shape::default();
    let mut counts: Vec<(Script, u32)> = Vec::new();
    for line in text.lines() {
        shape.lines += 1;
        shape.quoted += u32::from(line.trim_start().starts_with('>'));
    }
    for word in text.split_whitespace() {
        shape.words += 1;
        if word.is_ascii() {
            let letters = shape.meet_ascii(word);
            meet_script(&mut counts, Script::Latin, letters);
        } else {
            shape.meet(word, &mut counts, marks);
        }
    }
    (shares(counts, shape.letters), shape)
}

impl Shape {
    /// Returns the number of its letters.
    fn meet_ascii(&mut self, word: &str) -> u32 {
        let (mut letters, mut capitals) = (0, 0);
        for octet in word.bytes() {
            letters += u32::from(octet.is_ascii_alphabetic());
            capitals += u32::from(octet.is_ascii_uppercase());
            self.digits += u32::from(octet.is_ascii_digit());
            self.exclamations += u32::from(octet == b'!');
            self.money += u32::from(octet == b'$');
        }
        self.letters += letters;
        self.capitals += capitals;
        self.shouted += u32::from(letters >= SHOUTED_LETTERS_MIN && letters == capitals);
        letters
    }

    fn meet(&mut self, word: &str, counts: &mut Vec<(Script, u32)>, marks: &mut Marks) {
        let mut first = None;
        for character in word.chars() {
            self.digits += u32::from(character.is_ascii_digit());
            self.exclamations += u32::from(matches!(character, '!' | '！'));
            self.money += u32::from(matches!(character, '$' | '€' | '£' | '¥' | '₹' | '₽'));
            self.capitals += u32::from(character.is_ascii_uppercase());
            if character.is_alphabetic() {
                self.letters += 1;
                let script = character.script();
                meet_script(counts, script, 1);
                marks.set_if(Mark::MixedScripts, first.is_some_and(|first| is_mix(first, script)));
                first = first.or(Some(script));
            } else if is_invisible(character) {
                marks.set_if(Mark::Invisible, first.is_some_and(|script| script == Script::Latin));
            }
        }
    }
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
const SHARE_MIN: u8 = 5;
/// More scripts than this in one text are counted to none.
const SCRIPTS_MAX: usize = 16;
