//! Lists: where each is asked, what its codes mean, how it refuses, and how it is tested.

use super::{
    Finding, Severity, Subject,
    name::{KEY_MARK, QueryName, Zone},
    written::{Written, WrittenCode, WrittenList},
};
use crate::types::Secret;
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    sync::Arc,
};

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    name: Arc<str>,
    kinds: Vec<Kind>,
    zone: Option<Zone>,
    keyed: Option<Box<str>>,
    codes: Vec<(Pattern, Says)>,
    bits: Vec<(u8, Says)>,
    refusals: Vec<Pattern>,
    pub(super) listed: Vec<Box<str>>,
    pub(super) clean: Vec<Box<str>>,
    terms: Box<str>,
    for_clients: bool,
}

/// What a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// Domains.
    Domain,
}

impl Kind {
    /// The kind of a subject.
    #[must_use]
    pub const fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Address(IpAddr::V4(_)) => Self::Ipv4,
            Subject::Address(IpAddr::V6(_)) => Self::Ipv6,
            Subject::Domain(_) => Self::Domain,
        }
    }

    /// The name as it stands in the file of lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Domain => "domain",
        }
    }
}

/// What a code says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Says {
    pub(super) means: String,
    pub(super) severity: Severity,
}

/// What an address of the loopback network says in a list's answer.
pub(super) enum Meaning<'l> {
    Says(Vec<&'l Says>),
    Refusal,
    Nothing,
}

impl List {
    /// Its name, as `blocklist.lists` names it.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its zone, with `<key>` where its key stands.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.zone.as_ref().map(Zone::shown).or(self.keyed.as_deref()).unwrap_or_default()
    }

    /// What it holds.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Under which terms it may be asked.
    #[must_use]
    pub fn terms(&self) -> &str {
        &self.terms
    }

    /// True if it may be asked about clients that log in: it holds those that try stolen passwords, and not every dynamic address.
    #[must_use]
    pub const fn is_for_clients(&self) -> bool {
        self.for_clients
    }

    /// True if it is of no use without a key.
    #[must_use]
    pub const fn needs_key(&self) -> bool {
        self.zone.is_none()
    }

    /// True if it can be asked about this.
    #[must_use]
    pub fn holds(&self, subject: &Subject) -> bool {
        self.kinds.contains(&Kind::of(subject))
    }

    /// The name to ask for; none without the key that it needs.
    #[must_use]
    pub fn query(&self, labels: &str) -> Option<QueryName> {
        Some(self.zone.as_ref()?.name(labels))
    }

    /// The same list, asked with a key.
    ///
    /// # Errors
    /// Says why it cannot be.
    pub fn with_key(&self, key: &Secret) -> Result<Self, &'static str> {
        let pattern = self.keyed.as_deref().ok_or("this list knows no keys")?;
        let zone = Zone::with_key(pattern, key);
        let zone = zone.ok_or("wanted a key of 1 to 63 letters and digits")?;
        Ok(Self { zone: Some(zone), ..self.clone() })
    }

    /// A refusal stands before a code: the operator of the list says so in any zone of its.
    pub(super) fn meaning(&self, code: Ipv4Addr) -> Meaning<'_> {
        if self.refusals.iter().chain(&REFUSALS).any(|pattern| pattern.holds(code)) {
            return Meaning::Refusal;
        }
        if code == NEVER_LISTED {
            return Meaning::Nothing;
        }
        let said = self.codes.iter().filter(|(pattern, _)| pattern.holds(code));
        let mut said: Vec<&Says> = said.map(|(_, says)| says).collect();
        if let [127, 0, 0, mask] = code.octets() {
            said.extend(self.bits.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, says)| says));
        }
        if said.is_empty() { Meaning::Nothing } else { Meaning::Says(said) }
    }

    /// True if a bit is set that the list's table does not have.
    pub(super) fn has_strange_bits(&self, code: Ipv4Addr) -> bool {
        let known = self.bits.iter().fold(0, |known, (bit, _)| known | bit);
        !self.bits.is_empty() && code.octets()[3] & !known != 0
    }

    fn new(written: &WrittenList) -> Result<Self, String> {
        if written.kinds.is_empty() {
            return Err("kinds: wanted at least one".into());
        }
        let zone = written.zone.as_deref();
        let keyed = written.zone_with_key.as_deref();
        match (zone, keyed) {
            (None, None) => return Err("wanted a zone, or a zone_with_key".into()),
            (_, Some(keyed)) if !keyed.starts_with(&format!("{KEY_MARK}.")) => {
                return Err(format!("zone_with_key: wanted one that begins with {KEY_MARK}"));
            }
            _ => {}
        }
        for zone in zone
            .into_iter()
            .chain(keyed.and_then(|keyed| keyed.split_once('.')).map(|(_, rest)| rest))
        {
            check_zone(zone)?;
            if written.for_clients && DYNAMIC_ZONES.iter().any(|dynamic| is_within(zone, dynamic)) {
                return Err(format!(
                    "for_clients: {zone} lists dynamic addresses, from which honest clients send"
                ));
            }
        }
        if written.codes.is_empty() == written.bits.is_empty() {
            return Err("wanted codes, or bits".into());
        }
        let list = Self {
            name: written.name.as_str().into(),
            kinds: written.kinds.clone(),
            zone: zone.map(Zone::open),
            keyed: keyed.map(Into::into),
            codes: codes(&written.codes)?,
            bits: bits(&written.bits)?,
            refusals: written.refusals.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            listed: tests(written.listed.as_ref(), &written.kinds, TEST_LISTED)?,
            clean: tests(written.clean.as_ref(), &written.kinds, TEST_CLEAN)?,
            terms: written.terms.trim().into(),
            for_clients: written.for_clients,
        };
        if list.listed.is_empty() || list.clean.is_empty() {
            return Err("without a test entry that is listed and one that is not nothing that it says can be believed".into());
        }
        Ok(list)
    }
}

fn check_zone(zone: &str) -> Result<(), String> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    // An IPv6 name takes 64 octets before the zone, a key as many.
    let fits = zone.len() <= ZONE_BYTES_MAX && zone.split('.').all(is_label);
    if fits { Ok(()) } else { Err(format!("{zone:?} is no zone, such as bl.example.org")) }
}

fn is_within(zone: &str, other: &str) -> bool {
    let zone = zone.to_ascii_lowercase();
    zone.strip_suffix(other).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn codes(written: &BTreeMap<String, WrittenCode>) -> Result<Vec<(Pattern, Says)>, String> {
    if written.len() > CODES_MAX {
        return Err(format!("more than {CODES_MAX} codes"));
    }
    let mut codes = Vec::with_capacity(written.len());
    for (text, code) in written {
        codes.push((text.parse()?, code.says()));
    }
    Ok(codes)
}

fn bits(written: &BTreeMap<String, WrittenCode>) -> Result<Vec<(u8, Says)>, String> {
    let mut bits = Vec::with_capacity(written.len());
    for (text, code) in written {
        let bit: u8 = text.parse().map_err(|_| format!("{text:?} is no bit"))?;
        if !bit.is_power_of_two() {
            return Err(format!("{bit} is no single bit"));
        }
        bits.push((bit, code.says()));
    }
    bits.sort_unstable_by_key(|(bit, _)| *bit);
    Ok(bits)
}

/// The labels of test entries: those that are written, or those of RFC 5782 §5 for what the list holds.
fn tests(
    written: Option<&Vec<String>>,
    kinds: &[Kind],
    (four, six, domain): (Ipv4Addr, Ipv6Addr, &str),
) -> Result<Vec<Box<str>>, String> {
    let labels = |text: &str| match text.parse::<IpAddr>() {
        Ok(address) => Ok(Subject::Address(address).labels()),
        Err(_) => check_zone(text).map(|()| text.to_owned()),
    };
    let Some(written) = written else {
        let of_kind = |kind: &Kind| match kind {
            Kind::Ipv4 => Subject::Address(four.into()).labels(),
            Kind::Ipv6 => Subject::Address(six.into()).labels(),
            Kind::Domain => domain.to_owned(),
        };
        return Ok(kinds.iter().map(|kind| of_kind(kind).into()).collect());
    };
    if written.len() > TESTS_MAX {
        return Err(format!("more than {TESTS_MAX} test entries"));
    }
    written.iter().map(|text| labels(text).map(Into::into)).collect()
}

impl WrittenCode {
    fn says(&self) -> Says {
        Says { means: self.means.clone(), severity: self.severity }
    }
}

/// Addresses, written octet by octet: `127.0.0.2`, `127.0.2.2-24`, `127.255.255.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern([RangeInclusive<u8>; 4]);

impl Pattern {
    fn holds(&self, address: Ipv4Addr) -> bool {
        self.0.iter().zip(address.octets()).all(|(range, octet)| range.contains(&octet))
    }
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no code such as 127.0.0.2, 127.0.2.2-24 or 127.255.255.*");
        let octet = |part: &str| match (part, part.split_once('-')) {
            ("*", _) => Some(0..=255),
            (_, Some((first, last))) => Some(first.parse().ok()?..=last.parse().ok()?),
            (one, None) => one.parse().ok().map(|octet: u8| octet..=octet),
        };
        let octets: Option<Vec<_>> = text.split('.').map(octet).collect();
        let octets: [RangeInclusive<u8>; 4] =
            octets.and_then(|octets| octets.try_into().ok()).ok_or_else(wrong)?;
        if octets[0] == (127..=127) { Ok(Self(octets)) } else { Err(wrong()) }
    }
}

/// All lists that are known, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists(BTreeMap<Arc<str>, Arc<List>>);

/// Why a file of lists is not used; fits "failed to read lists: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListsError {
    /// A list is none.
    #[error("the list {name}: {what}")]
    List {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// There are more than can be asked.
    #[error("more than {LISTS_MAX} lists")]
    TooMany,
    /// A test fails.
    #[error("the test {number} (of {list}) fails: {what}")]
    Test {
        /// Which, from 1.
        number: usize,
        /// The list.
        list: String,
        /// What is wrong.
        what: String,
    },
}

impl Lists {
    /// Adds the lists of a file, each in place of an earlier one of its name, and runs the file's tests.
    ///
    /// # Errors
    /// [`ListsError`] if a list is none, there are too many, or a test fails.
    pub fn add(&mut self, written: &Written) -> Result<(), ListsError> {
        for list in &written.list {
            let wrong = |what| ListsError::List { name: list.name.clone(), what };
            if !is_name(&list.name) {
                return Err(wrong("wanted a name of 1 to 40 small letters, digits and '-'".into()));
            }
            let ready = List::new(list).map_err(wrong)?;
            self.0.insert(ready.name.clone(), Arc::new(ready));
        }
        if self.0.len() > LISTS_MAX {
            return Err(ListsError::TooMany);
        }
        written.run_tests(self)
    }

    /// The list of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<List>> {
        self.0.get(name)
    }

    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }
}

fn is_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(listed) => write!(f, "listed: {}", listed.meaning()),
            Self::Clean => f.write_str("clean"),
            Self::Unknown(doubt) => write!(f, "unknown: {doubt}"),
        }
    }
}

/// Zones that list addresses for being dynamic, as those of most customers are (Spamhaus' ZEN holds its PBL).
const DYNAMIC_ZONES: [&str; 4] =
    ["zen.spamhaus.org", "zen.dq.spamhaus.net", "pbl.spamhaus.org", "pbl.dq.spamhaus.net"];
/// Lists that are known at a time.
pub const LISTS_MAX: usize = 64;
const CODES_MAX: usize = 256;
const TESTS_MAX: usize = 8;
const ZONE_BYTES_MAX: usize = 120;
/// The address that no list holds: it is each list's own test of not being listed (RFC 5782 §5).
const NEVER_LISTED: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Answers that say in many zones that there is none: Spamhaus keeps 127.255.255.0/24 for them, and answers 127.0.1.255 and
/// 127.0.2.255 where an address is asked about in a zone of domains.
const REFUSALS: [Pattern; 3] = [
    Pattern([127..=127, 255..=255, 255..=255, 0..=255]),
    Pattern([127..=127, 0..=0, 1..=1, 255..=255]),
    Pattern([127..=127, 0..=0, 2..=2, 255..=255]),
];
/// What must be listed: 127.0.0.2, the same as a mapped address, and a name.
const TEST_LISTED: (Ipv4Addr, Ipv6Addr, &str) =
    (Ipv4Addr::new(127, 0, 0, 2), Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 2), "TEST");
/// What must not be.
const TEST_CLEAN: (Ipv4Addr, Ipv6Addr, &str) =
    (NEVER_LISTED, Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, 1), "INVALID");
