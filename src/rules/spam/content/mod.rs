//! Is this text spam? Rules as an operator can write them, over the facts of one message.
//!
//! A rule says what it asks for and how many points it gives; the sum is the message's score, and each rule that counted is
//! a reason. Nothing is remembered, and nothing is known of the account: those are other signals. Words are found by one
//! automaton and expressions by one for each field, both in time that is linear in the text, which is bounded by
//! [`Facts`]. Rules come from `config`, which reads them from TOML ([`Written`]).

mod words;
mod written;

pub use written::{ContentError, Example, Measure, Written, WrittenRule};

use crate::{
    message::{Excerpt, Facts, Form, Marks, facts},
    types::ByteCount,
};
use regex::bytes::RegexSet;
use std::sync::Arc;
use words::Words;

/// Content rules, ready to judge.
#[derive(Debug, Clone)]
pub struct Rules(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    rules: Vec<Rule>,
    words: Words,
    expressions: [RegexSet; Field::ALL.len()],
}

/// A rule that is ready.
#[derive(Debug)]
struct Rule {
    name: Arc<str>,
    says: Arc<str>,
    points: Points,
    /// Words and expressions of which one must be found, by their numbers in their automaton.
    words: Vec<usize>,
    expressions: Vec<(Field, usize)>,
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
        let seen = Seen::of(facts, &self.0);
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
struct Seen {
    words: Vec<bool>,
    expressions: [Vec<bool>; Field::ALL.len()],
}

impl Seen {
    fn of(facts: &Facts, compiled: &Compiled) -> Self {
        let text = normal(&[&facts.subject, &facts.text]);
        let expressions = Field::ALL.map(|field| {
            let set = &compiled.expressions[field as usize];
            let mut found = vec![false; set.len()];
            let values: Vec<Vec<u8>> = match field {
                _ if set.is_empty() => Vec::new(),
                Field::Text => return matched(set, &text, found),
                Field::Subject => vec![normal(&[&facts.subject])],
                Field::FromName => facts.authors.name.iter().map(|name| normal(&[name])).collect(),
                Field::Mailer => facts.mailer.iter().map(|name| normal(&[name])).collect(),
                Field::Hosts => facts.links.iter().map(|link| normal(&[&link.host])).collect(),
                Field::Files => {
                    let names = facts.attachments.iter().filter_map(|file| file.name.as_ref());
                    names.map(|name| normal(&[name])).collect()
                }
            };
            for value in values {
                found = matched(set, &value, found);
            }
            found
        });
        Self { words: compiled.words.found_in(&text), expressions }
    }

    /// How many of a rule's words and expressions are there.
    fn count(&self, rule: &Rule) -> usize {
        let words = rule.words.iter().filter(|word| self.words[**word]).count();
        let is_found = |(field, number): &&(Field, usize)| {
            self.expressions[*field as usize].get(*number).is_some_and(|found| *found)
        };
        words + rule.expressions.iter().filter(is_found).count()
    }
}

impl Rule {
    fn hit(&self, facts: &Facts, seen: &Seen) -> Option<Hit> {
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

fn matched(set: &RegexSet, text: &[u8], mut found: Vec<bool>) -> Vec<bool> {
    // That none matches is found several times faster than which ones do, and most texts have none.
    if !set.is_match(text) {
        return found;
    }
    for number in &set.matches(text) {
        found[number] = true;
    }
    found
}

/// Texts as words and expressions see them: ASCII in lower case, white space as single spaces.
fn normal(texts: &[&str]) -> Vec<u8> {
    let mut normal = vec![0; texts.iter().map(|text| text.len() + 1).sum()];
    let (mut length, mut last) = (0, b' ');
    for text in texts {
        // Each octet is written, and what comes next is written over a space that is one too many.
        for octet in text.bytes() {
            let octet = NORMAL[usize::from(octet)];
            normal[length] = octet;
            length += usize::from((octet != b' ') | (last != b' '));
            last = octet;
        }
        normal[length] = b' ';
        length += usize::from(last != b' ');
        last = b' ';
    }
    normal.truncate(length);
    normal.truncate(normal.trim_ascii_end().len());
    normal
}

/// What each octet becomes.
const NORMAL: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0_u8;
    loop {
        table[octet as usize] = match octet {
            b'\t' | b'\r' | b'\n' => b' ',
            other => other.to_ascii_lowercase(),
        };
        if octet == u8::MAX {
            break table;
        }
        octet += 1;
    }
};

#[cfg(test)]
mod tests;
