//! PROXY headers. Every beginning of a header is incomplete and never something else; what follows the header changes nothing;
//! nothing longer than the longest header is waited for; a source of version 1 is read as the same when it is written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, SocketAddr};
use tollgate::smtp::proxy_header::{HEADER_BYTES_MAX, Parsed, parse};

fuzz_target!(|octets: &[u8]| {
    match parse(octets) {
        Ok(Parsed::Header { consumed, source }) => {
            assert!((1..=octets.len().min(HEADER_BYTES_MAX)).contains(&consumed));
            assert_eq!(parse(&octets[..consumed]), Ok(Parsed::Header { consumed, source }));
            check_beginnings(&octets[..consumed]);
            source.into_iter().for_each(check_source);
        }
        Ok(Parsed::Incomplete) => {
            let mut more = octets.to_vec();
            more.resize(HEADER_BYTES_MAX.max(octets.len()), b'x');
            assert_ne!(parse(&more), Ok(Parsed::Incomplete), "waits for ever");
            check_beginnings(octets);
        }
        Err(_) => {
            let more = [octets, b"\r\n\0 1".as_slice()].concat();
            assert!(parse(&more).is_err(), "more octets make a header of what was none");
        }
    }
});

fn check_beginnings(octets: &[u8]) {
    // All of a line, some of a long binary header.
    let step = 1 + octets.len() / 120;
    for end in (0..octets.len()).step_by(step) {
        assert_eq!(parse(&octets[..end]), Ok(Parsed::Incomplete), "{end} of {octets:?}");
    }
}

fn check_source(source: SocketAddr) {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let ip: IpAddr = source.ip();
    let line = format!("PROXY {family} {ip} {ip} {} 25\r\n", source.port());
    let consumed = line.len();
    assert_eq!(parse(line.as_bytes()), Ok(Parsed::Header { consumed, source: Some(source) }));
}
