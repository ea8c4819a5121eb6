//! Collects what is wrong with a configuration, each with the path of its key.
//!
//! A check never stops at the first mistake: a wrong value is noted and its default taken, so that the rest can be
//! looked at. What comes out is used only if nothing was noted.

use super::written::{Given, Key, Section, Tables};
use std::{fmt, ops::RangeInclusive};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the key, such as `plan.shared-hosting.limits[1].window`.
    pub key: String,
    /// What stands there and what is wanted.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.detail)
    }
}

/// The mistakes so far.
#[derive(Debug, Default)]
pub(super) struct Checker {
    pub(super) problems: Vec<Problem>,
}

impl Checker {
    /// Looks at the table with this path.
    pub(super) fn at(&mut self, path: impl Into<String>) -> At<'_> {
        At { checker: self, path: path.into() }
    }
}

/// A table of the file, while its keys are checked.
pub(super) struct At<'c> {
    checker: &'c mut Checker,
    path: String,
}

impl At<'_> {
    /// Looks at a table inside this one.
    pub(super) fn inside(&mut self, key: &str) -> At<'_> {
        let path = self.path_of(key);
        At { checker: self.checker, path }
    }

    /// The table's keys, after its unknown ones were noted.
    pub(super) fn open<'s, T>(&mut self, section: &'s Section<T>) -> &'s T {
        if let Some(misfit) = &section.misfit {
            self.note(misfit.clone());
        }
        for unknown in &section.unknown {
            let hint = unknown.meant.map(|known| format!("; did you mean \"{known}\"?"));
            self.wrong(&unknown.name, format!("unknown key{}", hint.unwrap_or_default()));
        }
        &section.known
    }

    /// The tables of a `[[list]]`.
    pub(super) fn tables<'s, T>(&mut self, key: &str, tables: &'s Tables<T>) -> &'s [Section<T>] {
        self.value_ref(key, tables).map_or(&[], Vec::as_slice)
    }

    /// The value where it stands, if it is written and right.
    pub(super) fn value_ref<'s, T>(&mut self, key: &str, given: &'s Key<T>) -> Option<&'s T> {
        match given.as_ref()? {
            Given(Ok(value)) => Some(value),
            Given(Err(detail)) => {
                self.wrong(key, detail.clone());
                None
            }
        }
    }

    /// The value, if it is written and right.
    pub(super) fn value<T: Clone>(&mut self, key: &str, given: &Key<T>) -> Option<T> {
        self.value_ref(key, given).cloned()
    }

    /// The value, or its default.
    pub(super) fn or<T: Clone>(&mut self, key: &str, given: &Key<T>, default: T) -> T {
        self.value(key, given).unwrap_or(default)
    }

    /// The value, which must be written.
    pub(super) fn required<T: Clone>(
        &mut self,
        key: &str,
        given: &Key<T>,
        wanted: &str,
    ) -> Option<T> {
        if given.is_none() {
            self.wrong(key, format!("missing; {wanted}"));
        }
        self.value(key, given)
    }

    /// The value or its default, which must lie within the range.
    pub(super) fn within<T: Copy + PartialOrd + fmt::Display>(
        &mut self,
        key: &str,
        given: &Key<T>,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        let value = self.or(key, given, default);
        self.in_range(key, value, range).unwrap_or(default)
    }

    /// The value, if it lies within the range.
    pub(super) fn in_range<T: PartialOrd + fmt::Display>(
        &mut self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        if range.contains(&value) {
            return Some(value);
        }
        let (least, most) = (range.start(), range.end());
        self.wrong(key, format!("got {value}, wanted {least} to {most}"));
        None
    }

    /// Notes a mistake of a key in this table.
    pub(super) fn wrong(&mut self, key: &str, detail: impl Into<String>) {
        let key = self.path_of(key);
        self.checker.problems.push(Problem { key, detail: detail.into() });
    }

    /// Notes a mistake of the table itself.
    pub(super) fn note(&mut self, detail: impl Into<String>) {
        let problem = Problem { key: self.path.clone(), detail: detail.into() };
        self.checker.problems.push(problem);
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
