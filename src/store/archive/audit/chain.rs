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
use std::{fmt, str::FromStr};

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

/// Follows a chain from its first entry, in as many pieces as one likes.
#[derive(Debug, Clone)]
pub struct Verifier {
    head: Head,
    known: Head,
}

impl Verifier {
    /// Follows a chain that is known to have reached `known`; [`Head::NONE`] if nothing is known.
    #[must_use]
    pub const fn new(known: Head) -> Self {
        Self { head: Head::NONE, known }
    }

    /// Takes the next entry with the hash that stands beside it and those of its values that were not erased.
    ///
    /// # Errors
    /// [`Broken`] by the first thing that is wrong.
    pub fn follow(&mut self, link: &Link, hash: Hash, values: &[Opening]) -> Result<(), Broken> {
        let number = self.head.number + 1;
        if link.number != number {
            return Err(Broken::Number { wanted: number, found: link.number });
        }
        if link.prev != self.head.hash {
            return Err(Broken::Prev(number));
        }
        if link.hash() != hash {
            return Err(Broken::Hash(number));
        }
        if number == self.known.number && hash != self.known.hash {
            return Err(Broken::Other(number));
        }
        for Opening { field, value, salt } in values {
            let commitment = link.commitments[*field as usize];
            if commitment != Some(commit(*field, value, salt)) {
                return Err(Broken::Value { number, field: *field });
            }
        }
        self.head = Head { number, hash };
        Ok(())
    }

    /// How far the chain went.
    ///
    /// # Errors
    /// [`Broken::Short`] if that is not as far as the known head.
    pub const fn finish(self) -> Result<Head, Broken> {
        if self.head.number < self.known.number {
            return Err(Broken::Short { last: self.head.number, known: self.known.number });
        }
        Ok(self.head)
    }
}

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
        let mut verifier = Verifier::new(known);
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

    #[test]
    fn erased_values_leave_the_chain_whole() {
        let whole = chain();
        let known = head(&whole);
        for erased in 0..3 {
            let mut entries = whole.clone();
            entries[erased].2.clear();
            assert_eq!(verify(&entries, known), Ok(known));
        }
        let mut entries = whole;
        entries.iter_mut().for_each(|(_, _, values)| values.retain(|o| o.field == Field::After));
        assert_eq!(verify(&entries, known), Ok(known));
    }

    #[test]
    fn whatever_is_tampered_with_is_found() {
        type Tamper = fn(&mut Vec<Entry>);
        let known = head(&chain());
        let cases: [(Tamper, Broken); 16] = [
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
            (|e| drop(e.remove(0)), Broken::Number { wanted: 1, found: 2 }),
            (|e| drop(e.remove(1)), Broken::Number { wanted: 2, found: 3 }),
            (|e| e.swap(0, 1), Broken::Number { wanted: 1, found: 2 }),
            (|e| drop(e.pop()), Broken::Short { last: 2, known: 3 }),
        ];
        for (number, (tamper, broken)) in cases.into_iter().enumerate() {
            let mut entries = chain();
            tamper(&mut entries);
            assert_eq!(verify(&entries, known), Err(broken), "case {number}");
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
