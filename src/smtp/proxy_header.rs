//! The PROXY protocol, versions 1 and 2: who is really at the other end of a connection that a load balancer made
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! It says what the header says. Whether the peer may send one is decided elsewhere, and so is the wait for it.
//! The fields behind the addresses of version 2 (TLVs) are skipped unread; a checksum among them is not verified.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the first octets of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header; read more.
    Incomplete,
    /// A header.
    Header {
        /// Its length in octets; the session follows.
        consumed: usize,
        /// The client, or none if the proxy speaks for itself or does not know (LOCAL, UNKNOWN).
        source: Option<SocketAddr>,
    },
}

/// The octets are not a header, or not one of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PROXY header")]
pub struct NotAHeader;

/// Reads a header off the front of a connection; call it with everything that came so far.
///
/// # Errors
///
/// As soon as it is certain that no header comes.
pub fn parse(octets: &[u8]) -> Result<Parsed, NotAHeader> {
    if begins(octets, SIGNATURE_V2) {
        parse_v2(octets)
    } else if begins(octets, SIGNATURE_V1) {
        parse_v1(octets)
    } else {
        Err(NotAHeader)
    }
}

/// True if the octets begin with the signature, as far as they go.
fn begins(octets: &[u8], signature: &[u8]) -> bool {
    let shared = octets.len().min(signature.len());
    octets[..shared] == signature[..shared]
}

/// §2.1: one line of text of at most 107 octets.
fn parse_v1(octets: &[u8]) -> Result<Parsed, NotAHeader> {
    let window = &octets[..octets.len().min(V1_BYTES_MAX)];
    match memchr::memchr(b'\n', window) {
        Some(end) => {
            let line = window[..end].strip_suffix(b"\r").ok_or(NotAHeader)?;
            let source = source_v1(str::from_utf8(line).map_err(|_| NotAHeader)?)?;
            Ok(Parsed::Header { consumed: end + 1, source })
        }
        None if window.len() == V1_BYTES_MAX => Err(NotAHeader),
        None => Ok(Parsed::Incomplete),
    }
}

fn source_v1(line: &str) -> Result<Option<SocketAddr>, NotAHeader> {
    let words: Vec<&str> = line.split(' ').collect();
    match *words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", "TCP4", source, target, port, target_port] => {
            address::<Ipv4Addr>(target)?;
            port_v1(target_port)?;
            Ok(Some(SocketAddr::new(address::<Ipv4Addr>(source)?, port_v1(port)?)))
        }
        ["PROXY", "TCP6", source, target, port, target_port] => {
            address::<Ipv6Addr>(target)?;
            port_v1(target_port)?;
            Ok(Some(SocketAddr::new(address::<Ipv6Addr>(source)?, port_v1(port)?)))
        }
        _ => Err(NotAHeader),
    }
}

fn address<T: std::str::FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, NotAHeader> {
    text.parse::<T>().map(Into::into).map_err(|_| NotAHeader)
}

fn port_v1(text: &str) -> Result<u16, NotAHeader> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().map_err(|_| NotAHeader)?;
    if plain { Ok(port) } else { Err(NotAHeader) }
}

/// §2.2: 16 octets, then as many as the last two of them say.
fn parse_v2(octets: &[u8]) -> Result<Parsed, NotAHeader> {
    let Some((&[version_command, family, high, low], rest)) =
        octets.get(SIGNATURE_V2.len()..).and_then(<[u8]>::split_first_chunk::<4>)
    else {
        return Ok(Parsed::Incomplete);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_REST_BYTES_MAX || !matches!(version_command, VERSION_2_LOCAL | VERSION_2_PROXY) {
        return Err(NotAHeader);
    }
    let Some(fields) = rest.get(..length) else { return Ok(Parsed::Incomplete) };
    let consumed = SIGNATURE_V2.len() + 4 + length;
    let source = if version_command == VERSION_2_PROXY { source_v2(family, fields)? } else { None };
    Ok(Parsed::Header { consumed, source })
}

fn source_v2(family: u8, fields: &[u8]) -> Result<Option<SocketAddr>, NotAHeader> {
    match family {
        UNSPECIFIED => Ok(None),
        TCP_OVER_IPV4 => {
            let fields = fields.first_chunk::<12>().ok_or(NotAHeader)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *fields;
            let port = u16::from_be_bytes([high, low]);
            Ok(Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port)))
        }
        TCP_OVER_IPV6 => {
            let (source, rest) = fields.split_first_chunk::<16>().ok_or(NotAHeader)?;
            let [high, low, _, _] =
                *rest.get(16..).and_then(<[u8]>::first_chunk).ok_or(NotAHeader)?;
            let port = u16::from_be_bytes([high, low]);
            Ok(Some(SocketAddr::new(Ipv6Addr::from_octets(*source).into(), port)))
        }
        _ => Err(NotAHeader),
    }
}

const SIGNATURE_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// §2.1: the longest line, with its CRLF.
const V1_BYTES_MAX: usize = 107;
/// What may follow the 16 octets of version 2: far more than any proxy sends.
const V2_REST_BYTES_MAX: usize = 2048;
/// The longest header; a caller need never hold more.
pub const HEADER_BYTES_MAX: usize = 16 + V2_REST_BYTES_MAX;
const VERSION_2_LOCAL: u8 = 0x20;
const VERSION_2_PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    /// The header is whole exactly when its last octet is there, and what follows is left alone.
    fn check(header: &[u8], source: Option<&str>) {
        let source = source.map(|text| text.parse().unwrap());
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(Parsed::Incomplete), "{cut} of {header:?}");
        }
        let followed = [header, b"EHLO x\r\n"].concat();
        let expected = Ok(Parsed::Header { consumed: header.len(), source });
        assert_eq!((parse(header), parse(&followed)), (expected, expected), "{header:?}");
    }

    fn v2(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
        [SIGNATURE_V2, &[command, family], &length, fields].concat()
    }

    const V4_FIELDS: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0, 25];

    #[test]
    fn version_1_is_a_line() {
        check(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n", Some("192.0.2.7:56324"));
        check(b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 25\r\n", Some("[2001:db8::7]:56324"));
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None);
    }

    #[test]
    fn version_2_is_binary() {
        check(&v2(0x21, 0x11, &V4_FIELDS), Some("192.0.2.7:56324"));
        let v6 = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0, 7, 0, 25]].concat();
        check(&v2(0x21, 0x21, &v6), Some("[::1]:7"));
        check(&v2(0x21, 0x11, &[&V4_FIELDS[..], &[4, 0, 1, 0]].concat()), Some("192.0.2.7:56324"));
        check(&v2(0x20, 0x00, b""), None);
        check(&v2(0x20, 0x11, &V4_FIELDS), None);
        check(&v2(0x21, 0x00, b""), None);
        check(&v2(0x21, 0x11, &[&V4_FIELDS[..], &[0; 2036]].concat()), Some("192.0.2.7:56324"));
    }

    #[test]
    fn what_is_not_a_header_is_refused() {
        for octets in [
            b"EHLO x\r\n".to_vec(),
            b"PROXY\r\n".to_vec(),
            b"PROXY \r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 65536\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 +5 25\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 25\r\n".to_vec(),
            b"PROXY  TCP4 192.0.2.7 198.51.100.1 56324 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\n".to_vec(),
            b"PROXY UNKNOWN ".iter().copied().chain([b'x'; 100]).collect(),
            v2(0x11, 0x11, &V4_FIELDS),
            v2(0x22, 0x11, &V4_FIELDS),
            v2(0x21, 0x12, &V4_FIELDS),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x11, &V4_FIELDS[..11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x11, &[0; 2049]),
        ] {
            assert_eq!(parse(&octets), Err(NotAHeader), "{octets:?}");
        }
    }
}
