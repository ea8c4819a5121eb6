//! The chain of the audit: what an entry's hash covers, and whether entries are whole. Pure.
//!
//! An entry's hash covers the hash before it, what is nobody's personal matter (number, moment, action, way, key), and for each
//! value that is somebody's a commitment: the HMAC of the value under a salt drawn for it. Values and salts stand apart from
//! the entries. Who erases a value with its salt leaves the chain as it was and nothing that the value could be guessed from;
//! who changes, removes, moves or inserts an entry breaks it. Whoever can write the file can make a whole new chain, and cut
//! the end off; so the newest hash, the [`Head`], goes out with the log, and a chain is held against a head that was
//! kept elsewhere.

use crate::types::{Timestamp, Via};
use ring::{digest, hmac};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// SHA-256.
pub const HASH_BYTES: usize = 32;

/// The hash of an entry, or of what stands before the first: zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub(super) [u8; HASH_BYTES]);

/// What stands in an entry for a value.
pub type Commitment = [u8; HASH_BYTES];

/// What a commitment is opened with, beside the value.
pub type Salt = [u8; HASH_BYTES];

/// The values of an entry that are somebody's, in the order in which the hash covers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Whose matter it is: `account a@shop.example`, `tenant shop.example`, `token 3`.
    Subject,
    /// Who did it.
    Actor,
    /// What stood there before.
    Before,
    /// What stands there now.
    After,
    /// Why.
    Reason,
    /// What an automatic decision was made on.
    Evidence,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Subject, Self::Actor, Self::Before, Self::After, Self::Reason, Self::Evidence];

    /// Its name, which the commitment covers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Actor => "actor",
            Self::Before => "before",
            Self::After => "after",
            Self::Reason => "reason",
            Self::Evidence => "evidence",
        }
    }
}

/// An entry without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// 1 for the first, without gaps.
    pub number: u64,
    /// When, in UTC.
    pub at: Timestamp,
    /// What was done.
    pub action: String,
    /// Which way the wish came in.
    pub via: Via,
    /// The key of a change of the records.
    pub key: Option<[u8; 16]>,
    /// The commitments to its values, by [`Field::ALL`].
    pub commitments: [Option<Commitment>; Field::ALL.len()],
    /// The hash before it.
    pub prev: Hash,
}

/// A value with its salt, as it stands beside the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Which value.
    pub field: Field,
    /// The value.
    pub value: String,
    /// Its salt.
    pub salt: Salt,
}

/// How far a chain goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of its last entry; 0 if it has none.
    pub number: u64,
    /// That entry's hash.
    pub hash: Hash,
}

impl Head {
    /// The head of a chain without entries.
    pub const NONE: Self = Self { number: 0, hash: Hash([0; HASH_BYTES]) };
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for Head {
    type Err = crate::types::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            let wanted = "a number, a colon and a hash, as `tollgate audit head` prints them";
            crate::types::ParseError::new(text, wanted)
        };
        let (number, hash) = text.split_once([':', ' ']).ok_or_else(wrong)?;
        Ok(Self { number: number.parse().map_err(|_| wrong())?, hash: hash.parse()? })
    }
}

/// The commitment to a value: HMAC-SHA-256 under its salt of the field's name, a zero octet and the value.
#[must_use]
pub fn commit(field: Field, value: &str, salt: &Salt) -> Commitment {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, salt));
    context.update(field.name().as_bytes());
    context.update(&[0]);
    context.update(value.as_bytes());
    let mut commitment = [0; HASH_BYTES];
    commitment.copy_from_slice(context.sign().as_ref());
    commitment
}

impl Link {
    /// The hash of the entry; docs/audit.md shows its encoding octet by octet.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut octets = Vec::with_capacity(ENCODING_BYTES_USUAL);
        octets.extend_from_slice(LABEL);
        octets.extend_from_slice(&self.prev.0);
        octets.extend_from_slice(&self.number.to_be_bytes());
        octets.extend_from_slice(&self.at.as_millis().to_be_bytes());
        put(&mut octets, self.action.as_bytes());
        put(&mut octets, self.via.name().as_bytes());
        put(&mut octets, self.key.as_ref().map_or(&[], |key| &key[..]));
        for commitment in &self.commitments {
            put(&mut octets, commitment.as_ref().map_or(&[], |commitment| &commitment[..]));
        }
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &octets).as_ref());
        Hash(hash)
    }
}

/// Appends a text with its length in front, so that no two lists of texts have one encoding.
fn put(octets: &mut Vec<u8>, text: &[u8]) {
    octets.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    octets.extend_from_slice(text);
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An entry is not where it belongs: it or one before it was removed, moved or inserted.
    #[error("entry {found} stands where entry {wanted} belongs")]
    Number {
        /// The number that belongs there.
        wanted: u64,
        /// The number that is there.
        found: u64,
    },
    /// An entry does not follow the one before it.
    #[error("entry {0} does not follow the one before it")]
    Prev(u64),
    /// An entry is not what its hash was made of.
    #[error("entry {0} was changed")]
    Hash(u64),
    /// A value is not the one that the entry was made with.
    #[error("the {} of entry {number} was changed", field.name())]
    Value {
        /// The entry.
        number: u64,
        /// The value.
        field: Field,
    },
    /// A value is gone, and no entry says that it was erased.
    #[error("the {} of entry {number} is gone, and no entry says that it was erased", field.name())]
    Gone {
        /// The entry.
        number: u64,
        /// The value.
        field: Field,
    },
    /// There are values of an entry that there is not.
    #[error("there are values of an entry {0}, which is not in the chain")]
    Stray(u64),
    /// What stands in the place of an entry cannot be read as one.
    #[error("entry {0} or its values cannot be read: they are not what the program writes")]
    Unreadable(u64),
    /// The chain goes on behind the head that the program noted last.
    #[error("entry {0} was added by something else than this program")]
    Beyond(u64),
    /// The chain is whole, and another one than that of the known head.
    #[error("entry {0} is not the one whose hash was kept: the chain was made anew")]
    Other(u64),
    /// The chain ends before the known head.
    #[error("the chain ends with entry {last}, and there was an entry {known}")]
    Short {
        /// The last entry.
        last: u64,
        /// The number of the known head.
        known: u64,
    },
}

impl Broken {
    /// The number of the first entry that is wrong.
    #[must_use]
    pub const fn entry(&self) -> u64 {
        match self {
            Self::Number { wanted, .. } => *wanted,
            Self::Short { last, .. } => *last + 1,
            Self::Value { number, .. } | Self::Gone { number, .. } => *number,
            Self::Prev(number)
            | Self::Hash(number)
            | Self::Stray(number)
            | Self::Unreadable(number)
            | Self::Beyond(number)
            | Self::Other(number) => *number,
        }
    }
}

/// Follows a chain from its first entry, in as many pieces as one likes.
#[derive(Debug, Clone)]
pub struct Verifier {
    head: Head,
    known: Vec<Head>,
    /// Values that are gone, and of which no entry has said yet that they were erased.
    gone: BTreeMap<u64, Fields>,
    erased: u64,
}

impl Verifier {
    /// Follows a chain that is known to have reached these heads; none if nothing is known.
    #[must_use]
    pub fn new(known: impl IntoIterator<Item = Head>) -> Self {
        let known = known.into_iter().filter(|known| *known != Head::NONE).collect();
        Self { head: Head::NONE, known, gone: BTreeMap::new(), erased: 0 }
    }

    /// Takes the next entry with the hash that stands beside it and those of its values that were not erased.
    ///
    /// # Errors
    /// [`Broken`] by the first thing that is wrong.
    pub fn follow(&mut self, link: &Link, hash: Hash, values: &[Opening]) -> Result<(), Broken> {
        self.take(link, hash, values, check(link, hash, values))
    }

    /// The same, where [`check`] was asked already.
    pub(super) fn take(
        &mut self,
        link: &Link,
        hash: Hash,
        values: &[Opening],
        checked: Result<Fields, Broken>,
    ) -> Result<(), Broken> {
        let number = self.head.number + 1;
        if link.number != number {
            return Err(Broken::Number { wanted: number, found: link.number });
        }
        if link.prev != self.head.hash {
            return Err(Broken::Prev(number));
        }
        let gone = checked?;
        if self.known.iter().any(|known| known.number == number && known.hash != hash) {
            return Err(Broken::Other(number));
        }
        if gone != Fields::default() {
            self.gone.insert(number, gone);
        }
        if link.action == VALUES_ERASED {
            let told = values.iter().find(|opening| opening.field == Field::After);
            self.account_for(told.map_or("", |told| &told.value));
        }
        self.head = Head { number, hash };
        Ok(())
    }

    /// How far the chain has been followed.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// How many values were erased in order.
    #[must_use]
    pub const fn erased(&self) -> u64 {
        self.erased
    }

    /// How far the chain went.
    ///
    /// # Errors
    /// [`Broken::Gone`] by the first value that is gone without having been erased, [`Broken::Short`] if the chain did not go as
    /// far as a known head.
    pub fn finish(self) -> Result<Head, Broken> {
        if let Some((&number, gone)) = self.gone.first_key_value()
            && let Some(field) = gone.iter().next()
        {
            return Err(Broken::Gone { number, field });
        }
        let known = self.known.iter().map(|known| known.number).max().unwrap_or(0);
        if self.head.number < known {
            return Err(Broken::Short { last: self.head.number, known });
        }
        Ok(self.head)
    }

    /// An entry says which values were erased before it.
    fn account_for(&mut self, told: &str) {
        for (first, last, fields) in read_erased(told) {
            let last = last.min(self.head.number);
            if first > last {
                continue;
            }
            let mut done = Vec::new();
            for (number, gone) in self.gone.range_mut(first..=last) {
                self.erased += gone.take(fields);
                if *gone == Fields::default() {
                    done.push(*number);
                }
            }
            for number in &done {
                self.gone.remove(number);
            }
        }
    }
}

/// Whether an entry is what its hash and its commitments say; returns which of its values are gone.
pub(super) fn check(link: &Link, hash: Hash, values: &[Opening]) -> Result<Fields, Broken> {
    let number = link.number;
    if link.hash() != hash {
        return Err(Broken::Hash(number));
    }
    let mut gone = Fields::default();
    for field in Field::ALL {
        if link.commitments[field as usize].is_some() {
            gone.add(field);
        }
    }
    for Opening { field, value, salt } in values {
        let commitment = link.commitments[*field as usize];
        if commitment != Some(commit(*field, value, salt)) {
            return Err(Broken::Value { number, field: *field });
        }
        gone.take(Fields::of(*field));
    }
    Ok(gone)
}

/// Some of the values of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store::archive) struct Fields(u8);

impl Fields {
    pub(in crate::store::archive) const fn of(field: Field) -> Self {
        Self(1 << field as u8)
    }

    pub(in crate::store::archive) const fn add(&mut self, field: Field) {
        self.0 |= Self::of(field).0;
    }

    /// Takes others out of these; returns how many that were.
    fn take(&mut self, others: Self) -> u64 {
        let taken = self.0 & others.0;
        self.0 &= !taken;
        u64::from(taken.count_ones())
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.0 & Self::of(*field).0 != 0)
    }

    fn name(self) -> String {
        self.iter().map(Field::name).collect::<Vec<_>>().join(",")
    }
}

/// What an entry says of values that were erased, in their order: `3:subject 7-9:subject,actor`. In as many texts as fit into a
/// value each.
pub(super) fn write_erased(erased: &[(u64, Fields)]) -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut rest = erased;
    while let Some(&(first, fields)) = rest.first() {
        let follows =
            |(place, other): &(usize, &(u64, Fields))| **other == (first + *place as u64, fields);
        let count = rest.iter().enumerate().take_while(follows).count();
        let last = rest[count - 1].0;
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let piece = format!("{range}:{}", fields.name());
        let full = texts.last().is_none_or(|text| text.len() + piece.len() >= ERASED_BYTES_MAX);
        if full {
            texts.push(String::new());
        }
        if let Some(text) = texts.last_mut() {
            let blank = if text.is_empty() { "" } else { " " };
            text.push_str(blank);
            text.push_str(&piece);
        }
        rest = &rest[count..];
    }
    texts
}

/// What such a text says: from which entry to which, and which values. What cannot be read says nothing.
fn read_erased(text: &str) -> impl Iterator<Item = (u64, u64, Fields)> {
    text.split_whitespace().filter_map(|piece| {
        let (range, names) = piece.split_once(':')?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let mut fields = Fields::default();
        for name in names.split(',') {
            fields.add(Field::ALL.into_iter().find(|field| field.name() == name)?);
        }
        Some((first.parse().ok()?, last.parse().ok()?, fields))
    })
}

/// The action of an entry that says which values of entries before it were erased.
pub const VALUES_ERASED: &str = "values-erased";
/// What one such entry says; less than a value may have.
const ERASED_BYTES_MAX: usize = 8 * 1024;

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = crate::types::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || crate::types::ParseError::new(text, "a hash of 64 hexadecimal digits");
        if text.len() != 2 * HASH_BYTES || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut hash = [0; HASH_BYTES];
        for (octet, at) in hash.iter_mut().zip((0..).step_by(2)) {
            *octet = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }
}

/// Says what the octets after it are, so that no hash of anything else is one of an entry.
const LABEL: &[u8] = b"tollgate audit 1\n";
const ENCODING_BYTES_USUAL: usize = 384;

#[cfg(test)]
mod tests {
    use super::*;

    type Entry = (Link, Hash, Vec<Opening>);

    fn entry(head: Head, action: &str, values: &[(Field, &str)]) -> Entry {
        let number = head.number + 1;
        let mut link = Link {
            number,
            at: Timestamp::from_millis(1_000 * i64::try_from(number).unwrap()),
            action: action.into(),
            via: Via::ControlSocket,
            key: None,
            commitments: [None; 6],
            prev: head.hash,
        };
        let mut openings = Vec::new();
        for (place, (field, value)) in values.iter().enumerate() {
            let salt = [u8::try_from(number).unwrap() ^ u8::try_from(place).unwrap(); 32];
            link.commitments[*field as usize] = Some(commit(*field, value, &salt));
            openings.push(Opening { field: *field, value: (*value).into(), salt });
        }
        let hash = link.hash();
        (link, hash, openings)
    }

    fn chain() -> Vec<Entry> {
        let mut head = Head::NONE;
        let mut entries = Vec::new();
        for (action, after) in [("suspended", "case TG-1"), ("limit-set", "50"), ("resumed", "")] {
            let values = [
                (Field::Subject, "account a@shop.example"),
                (Field::Actor, "alice (uid 1000)"),
                (Field::After, after),
                (Field::Reason, "spam wave"),
            ];
            let entry = entry(head, action, &values);
            head = Head { number: entry.0.number, hash: entry.1 };
            entries.push(entry);
        }
        entries
    }

    fn verify(entries: &[Entry], known: Head) -> Result<Head, Broken> {
        let mut verifier = Verifier::new([known]);
        for (link, hash, values) in entries {
            verifier.follow(link, *hash, values)?;
        }
        verifier.finish()
    }

    fn head(entries: &[Entry]) -> Head {
        entries
            .last()
            .map_or(Head::NONE, |(link, hash, _)| Head { number: link.number, hash: *hash })
    }

    /// The last entry's hash, computed once by hand as docs/audit.md tells it.
    #[test]
    fn the_encoding_is_the_one_that_is_documented() {
        let (link, hash, _) = entry(Head::NONE, "registered", &[(Field::Actor, "alice")]);
        let mut octets = b"tollgate audit 1\n".to_vec();
        octets.extend([0; 32]);
        octets.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        octets.extend([0, 0, 0, 0, 0, 0, 0x03, 0xe8]);
        octets.extend(b"\0\0\0\x0aregistered");
        octets.extend(b"\0\0\0\x0econtrol-socket");
        octets.extend(b"\0\0\0\0");
        octets.extend(b"\0\0\0\0\0\0\0\x20");
        octets.extend(link.commitments[1].unwrap());
        octets.extend([0; 16]);
        assert_eq!(hash.0[..], *digest::digest(&digest::SHA256, &octets).as_ref());
    }

    #[test]
    fn a_whole_chain_is_whole_from_any_head_of_its_own() {
        let entries = chain();
        for known in (0..=3).map(|count| head(&entries[..count])) {
            assert_eq!(verify(&entries, known), Ok(head(&entries)));
        }
        assert_eq!(verify(&[], Head::NONE), Ok(Head::NONE));
    }

    fn erased(chain: &mut Vec<Entry>, texts: Vec<String>) {
        for text in texts {
            let next = entry(head(chain), VALUES_ERASED, &[(Field::After, text.as_str())]);
            chain.push(next);
        }
    }

    #[test]
    fn erased_values_leave_the_chain_whole_where_an_entry_says_so() {
        for gone in [vec![0], vec![2], vec![0, 1], vec![0, 2], vec![0, 1, 2]] {
            let mut entries = chain();
            let mut all = Fields::default();
            for field in [Field::Subject, Field::Actor, Field::After, Field::Reason] {
                all.add(field);
            }
            gone.iter().for_each(|at| entries[*at].2.clear());
            let first = u64::try_from(gone[0]).unwrap() + 1;
            let broken = Broken::Gone { number: first, field: Field::Subject };
            assert_eq!(verify(&entries, Head::NONE), Err(broken));
            let list: Vec<_> =
                gone.iter().map(|at| (u64::try_from(*at).unwrap() + 1, all)).collect();
            erased(&mut entries, write_erased(&list));
            assert_eq!(verify(&entries, head(&entries)), Ok(head(&entries)), "{gone:?}");
        }
        let mut entries = chain();
        entries.iter_mut().for_each(|(_, _, values)| values.retain(|o| o.field == Field::After));
        erased(&mut entries, vec!["1-3:subject,actor 2:reason 3:reason nonsense 9-1:actor".into()]);
        let broken = Broken::Gone { number: 1, field: Field::Reason };
        assert_eq!(verify(&entries, Head::NONE), Err(broken));
    }

    /// Nobody erases in advance, and nobody the entry that says what was erased.
    #[test]
    fn an_entry_accounts_for_what_stands_before_it_and_not_for_itself() {
        let mut entries = chain();
        erased(&mut entries, vec!["1-99:subject,actor,after,reason".into()]);
        let next = entry(head(&entries), "resumed", &[(Field::Actor, "bob")]);
        entries.push(next);
        entries[4].2.clear();
        let broken = Broken::Gone { number: 5, field: Field::Actor };
        assert_eq!(verify(&entries, Head::NONE), Err(broken));
        entries.pop();
        entries[3].2.clear();
        let broken = Broken::Gone { number: 4, field: Field::After };
        assert_eq!(verify(&entries, Head::NONE), Err(broken));
    }

    #[test]
    fn a_long_list_of_what_was_erased_is_cut_into_texts_that_fit() {
        let subject = Fields::of(Field::Subject);
        let list: Vec<_> = (1..9_000).step_by(2).map(|number| (number, subject)).collect();
        let texts = write_erased(&list);
        assert!(texts.len() > 4 && texts.iter().all(|text| text.len() <= ERASED_BYTES_MAX));
        let read: Vec<_> = texts.iter().flat_map(|text| read_erased(text)).collect();
        let wanted: Vec<_> = list.iter().map(|(number, f)| (*number, *number, *f)).collect();
        assert_eq!(read, wanted);
        assert_eq!(write_erased(&[(1, subject), (2, subject), (3, subject)]), ["1-3:subject"]);
    }

    #[test]
    fn whatever_is_tampered_with_is_found() {
        type Tamper = fn(&mut Vec<Entry>);
        let known = head(&chain());
        let cases: [(Tamper, Broken); 17] = [
            (|e| e[1].0.action = "resumed".into(), Broken::Hash(2)),
            (|e| e[1].0.at = Timestamp::from_millis(5), Broken::Hash(2)),
            (|e| e[1].0.via = Via::Api, Broken::Hash(2)),
            (|e| e[1].0.key = Some([7; 16]), Broken::Hash(2)),
            (|e| e[1].0.commitments[4] = None, Broken::Hash(2)),
            (|e| e[1].0.commitments[4] = Some([7; 32]), Broken::Hash(2)),
            (|e| e[1].0.commitments.swap(0, 1), Broken::Hash(2)),
            (|e| e[1].1 = Hash([7; 32]), Broken::Hash(2)),
            (|e| e[1].0.prev = Hash([7; 32]), Broken::Prev(2)),
            (|e| e[1].2[0].value.push('x'), Broken::Value { number: 2, field: Field::Subject }),
            (|e| e[1].2[0].salt[0] ^= 1, Broken::Value { number: 2, field: Field::Subject }),
            (
                |e| e[1].2[0].field = Field::Before,
                Broken::Value { number: 2, field: Field::Before },
            ),
            (|e| drop(e[1].2.remove(0)), Broken::Gone { number: 2, field: Field::Subject }),
            (|e| drop(e.remove(0)), Broken::Number { wanted: 1, found: 2 }),
            (|e| drop(e.remove(1)), Broken::Number { wanted: 2, found: 3 }),
            (|e| e.swap(0, 1), Broken::Number { wanted: 1, found: 2 }),
            (|e| drop(e.pop()), Broken::Short { last: 2, known: 3 }),
        ];
        for (number, (tamper, broken)) in cases.into_iter().enumerate() {
            let mut entries = chain();
            tamper(&mut entries);
            assert_eq!(verify(&entries, known), Err(broken), "case {number}");
            assert!((1..=3).contains(&broken.entry()));
        }
    }

    /// Whoever makes the numbers and hashes fit again has made another chain.
    #[test]
    fn a_chain_that_was_made_anew_is_found_by_the_head_that_was_kept() {
        let known = head(&chain());
        let mut entries = chain();
        entries[0].0.action = "registered".into();
        let mut before = Head::NONE;
        for (link, hash, _) in &mut entries {
            link.prev = before.hash;
            *hash = link.hash();
            before = Head { number: link.number, hash: *hash };
        }
        assert_eq!(verify(&entries, Head::NONE), Ok(before));
        assert_eq!(verify(&entries, known), Err(Broken::Other(3)));
    }

    #[test]
    fn one_value_under_two_salts_has_two_commitments() {
        let commitment = commit(Field::Actor, "alice", &[1; 32]);
        assert_ne!(commitment, commit(Field::Actor, "alice", &[2; 32]));
        assert_ne!(commitment, commit(Field::Reason, "alice", &[1; 32]));
        assert_ne!(commitment, commit(Field::Actor, "alicf", &[1; 32]));
    }

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = entry(Head::NONE, "registered", &[]).1;
        assert_eq!(hash.to_string().parse::<Hash>().unwrap(), hash);
        for wrong in ["", "abc", &"g".repeat(64), &"é".repeat(32)] {
            assert!(wrong.parse::<Hash>().is_err(), "{wrong:?}");
        }
    }
}
