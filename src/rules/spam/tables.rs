//! What an operator knows of the world: spam traps, and whose network an address is in.

use super::places::Place;
use crate::types::{Address, ClientIp};
use ring::digest::{SHA256, digest};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A line of a table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {wanted}")]
pub struct LineError {
    /// Which, from 1.
    pub line: usize,
    /// What should stand there.
    pub wanted: &'static str,
}

/// Addresses that nobody honest writes to. They are known by their hashes, so that the list tells nobody whom to avoid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traps(HashSet<[u8; 32]>);

impl Traps {
    /// Reads a list: one address a line, or the SHA-256 of one in lower case, in hexadecimal; `#` begins a remark.
    ///
    /// # Errors
    /// [`LineError`] with the first line that is neither.
    pub fn read(text: &str) -> Result<Self, LineError> {
        let mut traps = HashSet::new();
        for (index, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let hash = if entry.contains('@') { of_address(entry) } else { of_hexadecimal(entry) };
            let wanted = "wanted an address, or the 64 digits of a SHA-256";
            traps.insert(hash.ok_or(LineError { line: index + 1, wanted })?);
            if traps.len() > TRAPS_MAX {
                return Err(LineError { line: index + 1, wanted: "no more than a million traps" });
            }
        }
        Ok(Self(traps))
    }

    /// True of a trap, however it is spelled in upper and lower case.
    #[must_use]
    pub fn has(&self, recipient: &Address) -> bool {
        !self.0.is_empty() && self.0.contains(&hash(recipient.as_str()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn of_address(entry: &str) -> Option<[u8; 32]> {
    entry.parse::<Address>().ok().map(|address| hash(address.as_str()))
}

fn of_hexadecimal(entry: &str) -> Option<[u8; 32]> {
    let digits = entry.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut octets = [0; 32];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(octets)
}

fn hash(address: &str) -> [u8; 32] {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest(&SHA256, address.to_lowercase().as_bytes()).as_ref());
    octets
}

/// Networks with their countries and numbers, as `ip2asn-combined.tsv` of iptoasn.com has them (public domain).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    four: Vec<Range<u32>>,
    six: Vec<Range<u128>>,
    hosting: HashSet<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range<T> {
    first: T,
    last: T,
    network: u32,
    country: Option<[u8; 2]>,
}

impl Networks {
    /// Reads a table: `first TAB last TAB number TAB country`, what follows is left out; `hosting` are the numbers of data centres.
    ///
    /// # Errors
    /// [`LineError`] with the first line that is something else.
    pub fn read(text: &str, hosting: impl IntoIterator<Item = u32>) -> Result<Self, LineError> {
        let mut table = Self { hosting: hosting.into_iter().collect(), ..Self::default() };
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wanted =
                "wanted first address, last address, number and country, a tab between them";
            table.add(line).ok_or(LineError { line: index + 1, wanted })?;
            if index > NETWORKS_MAX {
                return Err(LineError {
                    line: index + 1,
                    wanted: "no more than four million networks",
                });
            }
        }
        table.four.sort_by_key(|range| range.first);
        table.six.sort_by_key(|range| range.first);
        Ok(table)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let mut fields = line.split('\t');
        let (first, last) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let network = fields.next()?.parse().ok()?;
        let country = fields.next()?.trim();
        let country: Option<[u8; 2]> = country.as_bytes().try_into().ok();
        let country = country.filter(|letters| letters.iter().all(u8::is_ascii_uppercase));
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => self.four.push(Range {
                first: Ipv4Addr::to_bits(first),
                last: Ipv4Addr::to_bits(last),
                network,
                country,
            }),
            (IpAddr::V6(first), IpAddr::V6(last)) => self.six.push(Range {
                first: Ipv6Addr::to_bits(first),
                last: Ipv6Addr::to_bits(last),
                network,
                country,
            }),
            _ => return None,
        }
        Some(())
    }

    /// Where a client is. One that the table does not know is told apart from others by the beginning of its address.
    #[must_use]
    pub fn place_of(&self, client: ClientIp) -> Place {
        let found = match client.address() {
            IpAddr::V4(four) => find(&self.four, four.to_bits()),
            IpAddr::V6(six) => find(&self.six, six.to_bits()),
        };
        match found {
            Some((network, country)) => {
                Place { country, network, is_hosting: self.hosting.contains(&network) }
            }
            None => Place { country: None, network: neighbourhood(client), is_hosting: false },
        }
    }

    /// How many networks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.four.len() + self.six.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The network that an address is in; number 0 is nobody's.
fn find<T: Copy + Ord>(ranges: &[Range<T>], address: T) -> Option<(u32, Option<[u8; 2]>)> {
    let after = ranges.partition_point(|range| range.first <= address);
    let range = ranges[..after].last()?;
    (address <= range.last && range.network > 0).then_some((range.network, range.country))
}

/// The first 16 bits of an IPv4 address, the first 32 of an IPv6 one: about what one provider gives to one region. Beyond the
/// numbers that networks have.
fn neighbourhood(client: ClientIp) -> u32 {
    let octets = match client.address() {
        IpAddr::V4(four) => four.octets()[..2].to_vec(),
        IpAddr::V6(six) => six.octets()[..4].to_vec(),
    };
    super::hash(&octets) | 1 << 31
}

/// Spam traps in a list.
const TRAPS_MAX: usize = 1_000_000;
/// Networks in a table; the whole internet has some 700,000.
const NETWORKS_MAX: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_is_known_by_its_name_and_by_its_hash() {
        let hashed: String =
            hash("other@old.example").iter().map(|octet| format!("{octet:02X}")).collect();
        let list = format!("# ours\n\ntrap@Old.example  # since 2019\n{hashed}\n");
        let traps = Traps::read(&list).unwrap();
        assert_eq!(traps.len(), 2);
        for (address, is_trap) in
            [("TRAP@old.example", true), ("other@old.example", true), ("trap@new.example", false)]
        {
            assert_eq!(traps.has(&address.parse().unwrap()), is_trap, "{address}");
        }
        assert_eq!(Traps::read("a@b.example\nnobody\n").unwrap_err().line, 2);
    }

    #[test]
    fn an_address_is_found_in_its_network() {
        let table = "1.0.0.0\t1.0.0.255\t13335\tUS\tCLOUDFLARENET\n\
                     2.0.0.0\t2.15.255.255\t3215\tFR\tOrange\n\
                     1.0.1.0\t1.0.3.255\t0\tNone\tNot routed\n\
                     2001:db8::\t2001:db8:ffff::\t64500\tID\tIX\n";
        let networks = Networks::read(table, [13_335]).unwrap();
        assert_eq!(networks.len(), 4);
        let place = |ip: &str| networks.place_of(ip.parse().unwrap());
        let known = |country, network, is_hosting| Place { country, network, is_hosting };
        for (ip, expected) in [
            ("1.0.0.0", known(Some(*b"US"), 13_335, true)),
            ("1.0.0.255", known(Some(*b"US"), 13_335, true)),
            ("2.15.255.255", known(Some(*b"FR"), 3_215, false)),
            ("2001:db8:1::7", known(Some(*b"ID"), 64_500, false)),
        ] {
            assert_eq!(place(ip), expected, "{ip}");
        }
        // Nobody's, between two, after the last, before the first.
        for ip in ["1.0.2.7", "1.9.0.1", "9.9.9.9", "0.1.0.1", "2001:db9::1"] {
            assert!(place(ip).country.is_none() && place(ip).network >= 1 << 31, "{ip}");
        }
        assert_eq!(place("9.9.1.1"), place("9.9.200.3"), "one neighbourhood");
        assert_ne!(place("9.9.1.1"), place("9.8.1.1"));
        assert_eq!(Networks::read("1.0.0.0\t2.0.0.0\tx\tUS", []).unwrap_err().line, 1);
        assert_eq!(Networks::read("#\n1.0.0.0\t::1\t5\tUS", []).unwrap_err().line, 2);
    }
}
