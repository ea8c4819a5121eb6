//! What the fuzz targets share: how an input is cut into pieces, what a reply must look like, and the whole conversation that
//! the target `session` plays. Nothing here repeats the program's own code: it says again, naively, what must be true.

#![expect(clippy::unwrap_used, reason = "a panic is how a target tells of a finding")]

pub mod judge;
pub mod program;
pub mod replies;
pub mod session;

use std::{path::Path, sync::LazyLock};
use tollgate::{
    config::{self, Config, Moves},
    smtp::Extensions,
};

/// The configuration that ships, for settings that no target cares about.
pub static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let text = include_str!("../../config/tollgate.toml");
    config::parse(text, Path::new("tollgate.toml"), &Moves::default()).unwrap()
});

/// Cuts octets into pieces whose lengths follow from `seed`; 0 leaves them whole.
pub fn pieces(seed: u8, octets: &[u8]) -> Vec<&[u8]> {
    if seed == 0 {
        return vec![octets];
    }
    let (mut state, mut rest, mut found) = (u32::from(seed), octets, Vec::new());
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length_max = if seed & 1 == 0 { 3 } else { 40 };
        let length = 1 + (state >> 16) as usize % length_max.min(rest.len());
        let (piece, after) = rest.split_at(length);
        found.push(piece);
        rest = after;
    }
    found
}

/// The extensions that the bits of a number stand for.
pub fn extensions(bits: u8) -> Extensions {
    let bit = |place: u32| bits >> place & 1 == 1;
    Extensions {
        pipelining: bit(0),
        size: bit(1).then_some(bit(7).then_some(1000)),
        eight_bit_mime: bit(2),
        smtputf8: bit(3),
        enhanced_status_codes: bit(4),
        dsn: bit(5),
        auth: if bit(6) { vec!["PLAIN".to_owned()] } else { Vec::new() },
        ..Extensions::default()
    }
}

/// Panics unless a text can be passed on behind a 354: CRLF only, no NUL, and no line that any server could take for the end
/// of the data.
pub fn assert_harmless(text: &[u8]) {
    assert!(text.is_empty() || text.ends_with(b"\r\n"), "no line end: {}", text.escape_ascii());
    assert!(!text.contains(&0), "NUL: {}", text.escape_ascii());
    for line in text.split_inclusive(|&octet| octet == b'\n') {
        let inside = line.strip_suffix(b"\r\n").unwrap();
        assert!(!inside.contains(&b'\r'), "bare CR: {}", text.escape_ascii());
        assert_ne!(inside, b".", "an end of data: {}", text.escape_ascii());
    }
}
