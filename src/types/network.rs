//! Addresses of clients.

use super::ParseError;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The address of a real sender's host; IPv4-mapped (RFC 4291 §2.5.5.2) and NAT64 (RFC 6052 §2.1, `64:ff9b::/96`)
/// addresses are turned into the IPv4 address that they stand for, so that one host has one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// Makes the canonical form of an address.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        match address {
            IpAddr::V6(six) => {
                embedded_v4(six).map_or(Self(address), |four| Self(IpAddr::V4(four)))
            }
            IpAddr::V4(_) => Self(address),
        }
    }

    /// The address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.0
    }

    /// True of 127.0.0.0/8 and ::1.
    #[must_use]
    pub const fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }

    /// The network that is charged for this address: the whole IPv4 address, or `v6_bits` leading bits of an IPv6 one.
    #[must_use]
    pub fn prefix(self, v6_bits: u8) -> IpPrefix {
        match self.0 {
            IpAddr::V4(_) => IpPrefix { address: self.0, bits: 32 },
            IpAddr::V6(six) => {
                let bits = v6_bits.min(128);
                let mask = u128::MAX.checked_shl(u32::from(128 - bits)).unwrap_or(0);
                IpPrefix { address: IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & mask)), bits }
            }
        }
    }
}

fn embedded_v4(six: Ipv6Addr) -> Option<Ipv4Addr> {
    let nat64 = matches!(six.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _]);
    let low = u32::try_from(six.to_bits() & u128::from(u32::MAX)).ok()?;
    six.to_ipv4_mapped().or_else(|| nat64.then(|| Ipv4Addr::from_bits(low)))
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for ClientIp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self::new).map_err(|_| ParseError::new(text, "an IP address"))
    }
}

impl<'de> serde::Deserialize<'de> for ClientIp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for ClientIp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is charged for a client address; prints as `192.0.2.1` or `2001:db8:1:2::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    address: IpAddr,
    bits: u8,
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.bits) {
            (IpAddr::V4(_), _) | (IpAddr::V6(_), 128) => fmt::Display::fmt(&self.address, f),
            (IpAddr::V6(_), bits) => write!(f, "{}/{bits}", self.address),
        }
    }
}

impl FromStr for IpPrefix {
    type Err = ParseError;

    /// Reads what was printed.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "an IP address, or an IPv6 network");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let ip: ClientIp = address.parse().map_err(|_| wrong())?;
        let bits = bits.map_or(Ok(128), |bits| bits.parse::<u8>().map_err(|_| wrong()))?;
        let prefix = ip.prefix(bits.min(128));
        if prefix.to_string() == text { Ok(prefix) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_prefix_is_read_again() {
        for text in ["192.0.2.7", "2001:db8:1:2::/64", "2001:db8::1", "::/0"] {
            assert_eq!(text.parse::<IpPrefix>().unwrap().to_string(), text);
        }
        for text in ["192.0.2.0/24", "2001:db8::1/64", "host", "::/129", "/64", ""] {
            assert!(text.parse::<IpPrefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_host_has_one_name() {
        for (text, charged) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("64:ff9b::192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            let ip: ClientIp = text.parse().unwrap();
            assert_eq!(ip.prefix(64).to_string(), charged, "{text}");
        }
        let six: ClientIp = "2001:db8::1".parse().unwrap();
        assert_eq!(six.prefix(0).to_string(), "::/0");
        assert_eq!(six.prefix(128).to_string(), "2001:db8::1");
    }
}
