//! Content rules as they are written, and how they become ready.

use super::{Compiled, Expression, Field, Points, Rule, Words};
use crate::message::{Facts, Mark, Marks, facts::is_of_word};
use regex::bytes::{RegexSet, RegexSetBuilder};
use regex_automata::{meta, util::syntax};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A file of content rules.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// The rules.
    #[serde(default)]
    pub rule: Vec<WrittenRule>,
    /// Messages that show that the rules do what they should.
    #[serde(default)]
    pub test: Vec<Example>,
}

/// A rule as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRule {
    /// Its name.
    pub name: String,
    /// What it says, for people.
    pub says: String,
    /// Points.
    pub score: f32,
    /// Points for every further word or expression that is found.
    #[serde(default)]
    pub each: f32,
    /// The most points.
    pub most: Option<f32>,
    /// Words of which one stands in the subject or the text.
    #[serde(default)]
    pub words: Vec<String>,
    /// Expressions for the subject and text.
    #[serde(default)]
    pub text: Vec<String>,
    /// Expressions for the subject.
    #[serde(default)]
    pub subject: Vec<String>,
    /// Expressions for the display name in From.
    #[serde(default)]
    pub from_name: Vec<String>,
    /// Expressions for the name of the program that made the message.
    #[serde(default)]
    pub mailer: Vec<String>,
    /// Expressions for hosts that are linked to.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Expressions for names of attachments.
    #[serde(default)]
    pub files: Vec<String>,
    /// Marks that the message has.
    #[serde(default)]
    pub marks: Vec<String>,
    /// Marks that it does not have.
    #[serde(default)]
    pub without: Vec<String>,
    /// Numbers that it reaches.
    #[serde(default)]
    pub at_least: BTreeMap<Measure, u32>,
    /// Numbers that it does not exceed.
    #[serde(default)]
    pub at_most: BTreeMap<Measure, u32>,
}

/// A message, and what the rules must say of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Its name.
    pub name: String,
    /// The message, header and all.
    pub message: String,
    /// Rules that must count.
    #[serde(default)]
    pub hits: Vec<String>,
    /// Rules that must not.
    #[serde(default)]
    pub misses: Vec<String>,
    /// The least score.
    pub at_least: Option<f32>,
    /// The highest score.
    pub at_most: Option<f32>,
}

/// A number of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Words of the text.
    Words,
    /// Links.
    Links,
    /// Hosts that are linked to.
    Hosts,
    /// Attachments.
    Attachments,
    /// Parts.
    Parts,
    /// Addresses in To and Cc.
    ShownRecipients,
    /// Received fields.
    Hops,
    /// Exclamation marks.
    Exclamations,
    /// Signs of currencies.
    Money,
    /// Capitals among the letters, in per cent.
    Capitals,
    /// Digits among letters and digits, in per cent.
    Digits,
    /// Words in capitals, in per cent.
    Shouted,
    /// Quoted lines, in per cent.
    Quoted,
    /// Letters of the longest word that is taken apart.
    Spelled,
}

/// Why rules are not used; fits "failed to read content rules: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// A rule is none.
    #[error("the rule {name}: {what}")]
    Rule {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// There is more than can be held in one automaton.
    #[error("{0}")]
    TooMuch(String),
    /// A test fails.
    #[error("the test {name:?} fails: {what}")]
    Example {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
}

pub(super) fn compile(written: &Written) -> Result<Compiled, ContentError> {
    if written.rule.len() > RULES_MAX {
        return Err(ContentError::TooMuch(format!("more than {RULES_MAX} rules")));
    }
    let (mut words, mut expressions, mut together) = (Vec::new(), 0, Vec::new());
    let mut rules: Vec<Rule> = Vec::with_capacity(written.rule.len());
    for rule in &written.rule {
        let may_be_alone = expressions < ALONE_MAX;
        let ready = rule.compile(&mut words, &mut together, may_be_alone)?;
        expressions += ready.expressions.len();
        if rules.iter().any(|known| known.name == ready.name) {
            return Err(rule.wrong("there are two of this name"));
        }
        rules.push(ready);
    }
    if words.len() > WORDS_MAX || expressions > EXPRESSIONS_MAX {
        let most = format!("{WORDS_MAX} words or {EXPRESSIONS_MAX} expressions");
        return Err(ContentError::TooMuch(format!("more than {most}")));
    }
    let too_much = || ContentError::TooMuch("the words do not fit in one automaton".into());
    let words = Words::new(&words).ok_or_else(too_much)?;
    let mut asked = [false; Field::ALL.len()];
    for (field, _) in rules.iter().flat_map(|rule| &rule.expressions) {
        asked[*field as usize] = true;
    }
    Ok(Compiled { rules, words, asked, together: sets(&together)? })
}

/// One set of expressions for each field.
fn sets(expressions: &[(Field, &str)]) -> Result<[RegexSet; Field::ALL.len()], ContentError> {
    let mut sets = Field::ALL.map(|_| RegexSet::empty());
    for field in Field::ALL {
        let of_field = expressions.iter().filter(|(own, _)| *own == field);
        sets[field as usize] = set(of_field.map(|(_, expression)| *expression))
            .map_err(|error| ContentError::TooMuch(error.to_string()))?;
    }
    Ok(sets)
}

fn set<'e>(expressions: impl Iterator<Item = &'e str>) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(expressions)
        .unicode(false)
        .size_limit(EXPRESSION_BYTES_MAX)
        .dfa_size_limit(AUTOMATON_BYTES_MAX)
        .build()
}

/// An expression of its own, if something it must hold is found so fast that it need not be looked for together with others.
fn alone(expression: &str) -> Option<meta::Regex> {
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let limits = meta::Config::new().utf8_empty(false).nfa_size_limit(Some(EXPRESSION_BYTES_MAX));
    let regex = meta::Regex::builder().syntax(syntax).configure(limits).build(expression).ok()?;
    regex.is_accelerated().then_some(regex)
}

impl WrittenRule {
    fn compile<'w>(
        &'w self,
        words: &mut Vec<Vec<u8>>,
        together: &mut Vec<(Field, &'w str)>,
        may_be_alone: bool,
    ) -> Result<Rule, ContentError> {
        let rule = Rule {
            name: self.name.as_str().into(),
            says: self.says.as_str().into(),
            points: self.points()?,
            words: (words.len()..words.len() + self.words.len()).collect(),
            expressions: self.expressions(together, may_be_alone)?,
            marks: self.marks_of(&self.marks)?,
            without: self.marks_of(&self.without)?,
            at_least: self.at_least.iter().map(|(measure, least)| (*measure, *least)).collect(),
            at_most: self.at_most.iter().map(|(measure, most)| (*measure, *most)).collect(),
        };
        for word in &self.words {
            words.push(self.word(word)?);
        }
        let asks = !rule.words.is_empty()
            || !rule.expressions.is_empty()
            || rule.marks != Marks::default()
            || rule.without != Marks::default()
            || !rule.at_least.is_empty()
            || !rule.at_most.is_empty();
        if asks { Ok(rule) } else { Err(self.wrong("asks for nothing")) }
    }

    fn points(&self) -> Result<Points, ContentError> {
        let most = self.most.unwrap_or(POINTS_MAX);
        let fits = [self.score, self.each, most].iter().all(|points| points.abs() <= POINTS_MAX);
        let points = Points { score: self.score, each: self.each, most };
        if fits { Ok(points) } else { Err(self.wrong(&format!("more than {POINTS_MAX} points"))) }
    }

    fn word(&self, word: &str) -> Result<Vec<u8>, ContentError> {
        let normal = super::normal(&[word]);
        if !(1..=WORD_BYTES_MAX).contains(&normal.len()) {
            return Err(self.wrong(&format!("{word:?} is too long or nothing")));
        }
        if !is_of_word(normal[0]) {
            let what = "begins with neither a letter nor a digit; `text` takes expressions";
            return Err(self.wrong(&format!("{word:?} {what}")));
        }
        Ok(normal)
    }

    /// This rule's expressions; adds those that are looked for together with others.
    fn expressions<'w>(
        &'w self,
        together: &mut Vec<(Field, &'w str)>,
        may_be_alone: bool,
    ) -> Result<Vec<(Field, Expression)>, ContentError> {
        let own = [
            (Field::Text, &self.text),
            (Field::Subject, &self.subject),
            (Field::FromName, &self.from_name),
            (Field::Mailer, &self.mailer),
            (Field::Hosts, &self.hosts),
            (Field::Files, &self.files),
        ];
        let mut expressions = Vec::new();
        for (field, expression) in
            own.iter().flat_map(|(field, list)| list.iter().map(|expression| (*field, expression)))
        {
            set(std::iter::once(expression.as_str()))
                .map_err(|error| self.wrong(&error.to_string()))?;
            let alone = if may_be_alone { alone(expression) } else { None };
            let ready = alone.map_or_else(
                || {
                    let number = together.iter().filter(|(known, _)| *known == field).count();
                    together.push((field, expression));
                    Expression::Together(number)
                },
                Expression::Alone,
            );
            expressions.push((field, ready));
        }
        Ok(expressions)
    }

    fn marks_of(&self, names: &[String]) -> Result<Marks, ContentError> {
        let mark = |name: &String| {
            let found = Mark::ALL.iter().copied().find(|mark| mark.name() == name);
            found.ok_or_else(|| self.wrong(&format!("there is no mark {name:?}")))
        };
        names.iter().map(mark).collect()
    }

    fn wrong(&self, what: &str) -> ContentError {
        ContentError::Rule { name: self.name.clone(), what: what.to_owned() }
    }
}

impl Measure {
    pub(super) fn of(self, facts: &Facts) -> u32 {
        let shape = &facts.shape;
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        match self {
            Self::Words => shape.words,
            Self::Links => facts.links_count,
            Self::Hosts => count(facts.links.len()),
            Self::Attachments => count(facts.attachments.len()),
            Self::Parts => facts.parts,
            Self::ShownRecipients => facts.recipients_shown,
            Self::Hops => facts.hops,
            Self::Exclamations => shape.exclamations,
            Self::Money => shape.money,
            Self::Capitals => per_cent(shape.capitals, shape.letters),
            Self::Digits => per_cent(shape.digits, shape.letters.saturating_add(shape.digits)),
            Self::Shouted => per_cent(shape.shouted, shape.words),
            Self::Quoted => per_cent(shape.quoted, shape.lines),
            Self::Spelled => shape.spelled,
        }
    }
}

fn per_cent(part: u32, whole: u32) -> u32 {
    u32::try_from(u64::from(part) * 100 / u64::from(whole.max(1))).unwrap_or(u32::MAX)
}

const RULES_MAX: usize = 500;
const WORDS_MAX: usize = 10_000;
const EXPRESSIONS_MAX: usize = 500;
/// Behind so many, expressions are looked for together: each that is looked for alone may cost a look at the whole text.
const ALONE_MAX: usize = 64;
const WORD_BYTES_MAX: usize = 100;
const POINTS_MAX: f32 = 100.0;
/// What one field's expressions may take compiled, and while they are matched.
const EXPRESSION_BYTES_MAX: usize = 8 << 20;
const AUTOMATON_BYTES_MAX: usize = 8 << 20;
