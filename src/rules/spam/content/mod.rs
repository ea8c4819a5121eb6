//! Is this text spam? Rules as an operator can write them, over the facts of one message.
//!
//! A rule says what it asks for and how many points it gives; the sum is the message's score, and each rule that counted is
//! a reason. Nothing is remembered, and nothing is known of the account: those are other signals. Words are found by one
//! automaton, and expressions by one for each field; those that hold something that is found far faster have one of their own, which
//! is asked only where everything else of the rule fits. All of it in time that is linear in the text, which is bounded by [`Facts`]. Rules come from `config`, which reads them from TOML ([`Written`]).

mod words;
mod written;

pub use written::{ContentError, Example, Measure, Written, WrittenRule};

use crate::{
    message::{Excerpt, Facts, Form, Marks, facts},
    types::ByteCount,
};
use memchr::memmem;
use regex::bytes::RegexSet;
use regex_automata::meta;
use std::{borrow::Cow, sync::Arc};
use words::Words;

/// Content rules, ready to judge.
#[derive(Debug, Clone)]
pub struct Rules(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    rules: Vec<Rule>,
    words: Words,
    /// Which fields some expression is held against.
    asked: [bool; Field::ALL.len()],
    /// Expressions of all rules that are looked for together.
    together: [RegexSet; Field::ALL.len()],
}

/// A rule that is ready.
#[derive(Debug)]
struct Rule {
    name: Arc<str>,
    says: Arc<str>,
    points: Points,
    /// Words of which one must be found, or one of the expressions; by their numbers in their automaton.
    words: Vec<usize>,
    expressions: Vec<(Field, Expression)>,
    marks: Marks,
    without: Marks,
    at_least: Vec<(Measure, u32)>,
    at_most: Vec<(Measure, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Points {
    score: f32,
    each: f32,
    most: f32,
}

/// An expression, ready to be looked for.
#[derive(Debug)]
enum Expression {
    /// By itself.
    Alone(meta::Regex),
    /// With others, among which it has a number.
    Together(usize),
}

/// What an expression is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Text,
    Subject,
    FromName,
    Mailer,
    Hosts,
    Files,
}

/// What the rules say of a message.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// The sum of all points; it may be negative.
    pub score: f32,
    /// The rules that counted, in the order of the file.
    pub hits: Vec<Hit>,
}

/// A rule that counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its name.
    pub rule: Arc<str>,
    /// What it says, for people: "urges to click or order".
    pub says: Arc<str>,
    /// Its points.
    pub points: f32,
}

impl Verdict {
    /// Adds what somebody else found.
    pub fn add(&mut self, hit: Option<Hit>) {
        self.score += hit.as_ref().map_or(0.0, |hit| hit.points);
        self.hits.extend(hit);
    }
}

impl Rules {
    /// Makes rules ready and runs their tests.
    ///
    /// # Errors
    /// [`ContentError`] if a rule is none, or a test fails.
    pub fn new(written: &Written) -> Result<Self, ContentError> {
        let rules = Self(Arc::new(written::compile(written)?));
        for example in &written.test {
            rules.try_example(example)?;
        }
        Ok(rules)
    }

    /// Judges a message.
    #[must_use]
    pub fn judge(&self, facts: &Facts) -> Verdict {
        let text = normal(&[&facts.subject, &facts.text]);
        let seen = Seen::of(facts, &text, &self.0);
        let hits = self.0.rules.iter().filter_map(|rule| rule.hit(facts, &seen));
        let mut verdict = Verdict::default();
        for hit in hits {
            verdict.score += hit.points;
            verdict.hits.push(hit);
        }
        verdict
    }

    /// How many rules there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.rules.len()
    }

    fn try_example(&self, example: &Example) -> Result<(), ContentError> {
        // Lines are written with bare line ends in TOML.
        let text = example.message.replace('\n', "\r\n");
        let size = ByteCount::new(text.len() as u64);
        let excerpt = Excerpt { text: text.as_bytes(), form: Form::Plain, size };
        let verdict = self.judge(&facts(&excerpt));
        let wrong = |what: String| ContentError::Example { name: example.name.clone(), what };
        let hits: Vec<&str> = verdict.hits.iter().map(|hit| &*hit.rule).collect();
        for rule in &example.hits {
            if !hits.contains(&rule.as_str()) {
                return Err(wrong(format!("the rule {rule} does not count; these do: {hits:?}")));
            }
        }
        for rule in &example.misses {
            if hits.contains(&rule.as_str()) {
                return Err(wrong(format!("the rule {rule} counts")));
            }
        }
        let score = verdict.score;
        let fits = example.at_least.is_none_or(|least| score >= least)
            && example.at_most.is_none_or(|most| score <= most);
        if fits { Ok(()) } else { Err(wrong(format!("it has {score:.1} points: {hits:?}"))) }
    }
}

/// What is found in a message, for all rules at once.
struct Seen<'m> {
    words: Vec<bool>,
    /// What each field holds, in normal form.
    values: [Vec<Cow<'m, [u8]>>; Field::ALL.len()],
    together: [Vec<bool>; Field::ALL.len()],
}

impl<'m> Seen<'m> {
    fn of(facts: &Facts, text: &'m [u8], compiled: &Compiled) -> Self {
        let one = |value: &str| Cow::Owned(normal(&[value]));
        let values = Field::ALL.map(|field| match field {
            _ if !compiled.asked[field as usize] => Vec::new(),
            Field::Text => vec![Cow::Borrowed(text)],
            Field::Subject => vec![one(&facts.subject)],
            Field::FromName => facts.authors.name.iter().map(|name| one(name)).collect(),
            Field::Mailer => facts.mailer.iter().map(|name| one(name)).collect(),
            Field::Hosts => facts.links.iter().map(|link| one(&link.host)).collect(),
            Field::Files => {
                let names = facts.attachments.iter().filter_map(|file| file.name.as_ref());
                names.map(|name| one(name)).collect()
            }
        });
        let together = Field::ALL.map(|field| {
            let set = &compiled.together[field as usize];
            let mut found = vec![false; set.len()];
            if !set.is_empty() {
                values[field as usize].iter().for_each(|value| meet(set, value, &mut found));
            }
            found
        });
        Self { words: compiled.words.found_in(text), values, together }
    }

    /// How many of a rule's words and expressions are there.
    fn count(&self, rule: &Rule) -> usize {
        let words = rule.words.iter().filter(|word| self.words[**word]).count();
        words + rule.expressions.iter().filter(|(field, own)| self.has(*field, own)).count()
    }

    fn has(&self, field: Field, expression: &Expression) -> bool {
        match expression {
            Expression::Alone(regex) => {
                self.values[field as usize].iter().any(|value| regex.is_match(&**value))
            }
            Expression::Together(number) => {
                self.together[field as usize].get(*number).is_some_and(|found| *found)
            }
        }
    }
}

impl Rule {
    fn hit(&self, facts: &Facts, seen: &Seen<'_>) -> Option<Hit> {
        let asks_for_text = !self.words.is_empty() || !self.expressions.is_empty();
        let fits = facts.marks.has_all(self.marks)
            && !facts.marks.has_any(self.without)
            && self.at_least.iter().all(|(measure, least)| measure.of(facts) >= *least)
            && self.at_most.iter().all(|(measure, most)| measure.of(facts) <= *most);
        if !fits {
            return None;
        }
        let count = if asks_for_text { seen.count(self) } else { 1 };
        let points = self.points.for_count(count)?;
        Some(Hit { rule: self.name.clone(), says: self.says.clone(), points })
    }
}

impl Points {
    fn for_count(self, count: usize) -> Option<f32> {
        let further = u16::try_from(count.checked_sub(1)?).unwrap_or(u16::MAX);
        Some(self.each.mul_add(f32::from(further), self.score).min(self.most))
    }
}

impl Field {
    const ALL: [Self; 6] =
        [Self::Text, Self::Subject, Self::FromName, Self::Mailer, Self::Hosts, Self::Files];
}

/// Takes note of the expressions of a set that a value has.
fn meet(set: &RegexSet, value: &[u8], found: &mut [bool]) {
    // That none matches is found several times faster than which ones do, and most texts have none.
    if set.is_match(value) {
        for number in &set.matches(value) {
            found[number] = true;
        }
    }
}

/// Texts as words and expressions see them: ASCII in lower case, white space as single spaces.
fn normal(texts: &[&str]) -> Vec<u8> {
    let mut normal = vec![b' '; texts.iter().map(|text| text.len() + 1).sum()];
    let mut begin = 0;
    for text in texts {
        // Without a branch, so that processors do many octets at a time.
        for (normal, octet) in normal[begin..].iter_mut().zip(text.as_bytes()) {
            let is_space = (*octet == b'\t') | (*octet == b'\r') | (*octet == b'\n');
            let is_capital = u8::from(octet.wrapping_sub(b'A') < 26);
            *normal = if is_space { b' ' } else { octet | is_capital << 5 };
        }
        begin += text.len() + 1;
    }
    squeeze(&mut normal);
    normal
}

/// Makes one space of several, and none of those at the ends.
fn squeeze(text: &mut Vec<u8>) {
    let spaces = |text: &[u8]| text.iter().take_while(|octet| **octet == b' ').count();
    let finder = memmem::Finder::new(b"  ");
    let (mut from, mut to) = (spaces(text), 0);
    while let Some(at) = finder.find(&text[from..]) {
        let end = from + at + 1;
        text.copy_within(from..end, to);
        to += end - from;
        from = end + spaces(&text[end..]);
    }
    text.copy_within(from.., to);
    text.truncate(to + text.len() - from);
    if text.last() == Some(&b' ') {
        text.pop();
    }
}

#[cfg(test)]
mod tests;
