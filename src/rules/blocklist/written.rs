//! Lists as they are written in a file, and the tests at its end.

use super::{Answer, Finding, Kind, Lists, ListsError, Severity, judge};
use serde::Deserialize;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// A file of lists.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// The lists.
    #[serde(default)]
    pub(super) list: Vec<WrittenList>,
    /// Answers, and what they must mean.
    #[serde(default)]
    test: Vec<Example>,
}

/// A list as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenList {
    pub(super) name: String,
    pub(super) zone: Option<String>,
    pub(super) zone_with_key: Option<String>,
    pub(super) kinds: Vec<Kind>,
    #[serde(default)]
    pub(super) codes: BTreeMap<String, WrittenCode>,
    #[serde(default)]
    pub(super) bits: BTreeMap<String, WrittenCode>,
    #[serde(default)]
    pub(super) refusals: Vec<String>,
    pub(super) listed: Option<Vec<String>>,
    pub(super) clean: Option<Vec<String>>,
    pub(super) terms: String,
    /// It may be asked about clients that log in.
    #[serde(default)]
    pub(super) for_clients: bool,
}

/// What a code says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenCode {
    pub(super) means: String,
    pub(super) severity: Severity,
}

/// An answer, and what it must mean.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    list: String,
    /// Empty: an answer without an address.
    answers: Vec<Ipv4Addr>,
    is: Is,
    severity: Option<Severity>,
    #[serde(default)]
    degraded: bool,
    /// Stands in the meaning, or in why it is unknown.
    #[serde(default)]
    says: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Is {
    Listed,
    Unknown,
}

impl Written {
    pub(super) fn run_tests(&self, lists: &Lists) -> Result<(), ListsError> {
        for (before, example) in self.test.iter().enumerate() {
            example.run(lists).map_err(|what| ListsError::Test {
                number: before + 1,
                list: example.list.clone(),
                what,
            })?;
        }
        Ok(())
    }
}

impl Example {
    fn run(&self, lists: &Lists) -> Result<(), String> {
        let list = lists.named(&self.list).ok_or("there is no such list")?;
        let answer = match &*self.answers {
            [] => Answer::NoData,
            addresses => Answer::Addresses(addresses.to_vec()),
        };
        let found = judge(list, &answer);
        let text = found.to_string();
        let (is, severity, degraded) = match &found {
            Finding::Listed(listed) => (Some(Is::Listed), Some(listed.severity), listed.degraded),
            Finding::Unknown(_) => (Some(Is::Unknown), None, false),
            Finding::Clean => (None, None, false),
        };
        let is_right = is == Some(self.is)
            && (self.severity.is_none() || severity == self.severity)
            && degraded == self.degraded
            && self.says.iter().all(|part| text.contains(part.as_str()));
        if is_right { Ok(()) } else { Err(format!("{:?} is {text:?}", self.answers)) }
    }
}
