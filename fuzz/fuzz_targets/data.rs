//! The text of a message. At any split the scanner finds the end that RFC 5321 says, octet by octet, and nothing else, whether or
//! not bare line ends are put right; what goes on is nowhere an end of data, of DATA and of BDAT, and nothing in it is changed
//! but what has to be; dots that are stuffed come out as they went in.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tollgate::smtp::{
    data::{LineEndings, Malformed, Scan, Scanner, Unstuffer, stuff_lines},
    recode::{Recoder, Source},
};
use tollgate_fuzz::{assert_harmless, pieces};

fuzz_target!(|input: (u8, &[u8])| {
    let (seed, stream) = input;
    let cut = pieces(seed, stream);
    for endings in [LineEndings::Strict, LineEndings::Normalise] {
        check_end(endings, stream, &cut);
        check_chunks(endings, stream, &cut);
    }
    let text = normalised(&[&remove(stream, 0), b"\r\n".as_slice()].concat());
    assert_eq!(unstuffed(&pieces(seed, &stuff_lines(&text))), text);
});

/// What a stream gives.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// The text, and what follows its end.
    Ended(Vec<u8>, Vec<u8>),
    /// What was passed on of a text without its end.
    Open(Vec<u8>),
    Malformed,
}

fn check_end(endings: LineEndings, stream: &[u8], pieces: &[&[u8]]) {
    let found = scan(endings, pieces);
    match (naive(endings, stream), &found) {
        (Some(expected), _) => assert_eq!(found, expected, "{endings:?}"),
        (None, Found::Open(text)) => {
            assert!(stream.starts_with(text) && stream.len() - text.len() <= 2);
        }
        (None, other) => panic!("{other:?} of {}", stream.escape_ascii()),
    }
    let Found::Ended(text, _) = found else { return };
    if endings == LineEndings::Strict {
        assert_harmless(&text);
    } else {
        let went_on = recode(Source::Stuffed, endings, &[&text]);
        let went_on = went_on.expect("what the scanner lets through can be put right");
        assert_harmless(&went_on);
        assert_eq!(unstuffed(&[&went_on]), normalised(&plain(&text)));
    }
}

fn check_chunks(endings: LineEndings, stream: &[u8], pieces: &[&[u8]]) {
    let text = normalised(stream);
    let is_clean = text == stream || text == [stream, b"\r\n"].concat();
    let expected = if stream.contains(&0) || endings == LineEndings::Strict && !is_clean {
        Err(Malformed)
    } else {
        Ok(stuff_lines(&text))
    };
    let got = recode(Source::Plain, endings, pieces);
    assert_eq!(got, expected, "{endings:?}");
    got.iter().for_each(|text| assert_harmless(text));
}

fn scan(endings: LineEndings, pieces: &[&[u8]]) -> Found {
    let (mut scanner, mut buffer, mut text) = (Scanner::new(endings), Vec::new(), Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        buffer.extend_from_slice(piece);
        match scanner.scan(&buffer) {
            Scan::More { pass } => {
                text.extend(buffer.drain(..pass));
                assert!(buffer.len() <= 2, "too much is held back: {buffer:?}");
            }
            Scan::End { pass, consumed } => {
                text.extend_from_slice(&buffer[..pass]);
                let rest = [&buffer[consumed..], &pieces[at + 1..].concat()].concat();
                return Found::Ended(text, rest);
            }
            Scan::Malformed => return Found::Malformed,
        }
    }
    Found::Open(text)
}

fn recode(source: Source, endings: LineEndings, pieces: &[&[u8]]) -> Result<Vec<u8>, Malformed> {
    let (mut recoder, mut out) = (Recoder::new(source, endings), BytesMut::new());
    for piece in pieces {
        recoder.recode(piece, &mut out)?;
    }
    recoder.finish(&mut out)?;
    Ok(out.to_vec())
}

/// What RFC 5321 §4.5.2 says, with everything in view; none if the end is missing.
fn naive(endings: LineEndings, stream: &[u8]) -> Option<Found> {
    let seen = [b"\r\n", stream].concat();
    for at in 2..seen.len() {
        let (before, now) = (seen[at - 1], seen[at]);
        let is_bare = endings == LineEndings::Strict && (now == b'\n') != (before == b'\r');
        if now == 0 || is_bare {
            return Some(Found::Malformed);
        }
        if at > 3 && seen[..=at].ends_with(b"\r\n.\r\n") {
            return Some(Found::Ended(seen[2..at - 2].to_vec(), seen[at + 1..].to_vec()));
        }
    }
    None
}

/// The dots that RFC 5321 §4.5.2 takes out, with everything in view; a dot alone before a bare line end is text.
fn plain(stuffed: &[u8]) -> Vec<u8> {
    let seen = [b"\r\n", stuffed].concat();
    let is_extra = |at: usize| {
        seen[at] == b'.'
            && seen[..at].ends_with(b"\r\n")
            && !matches!(seen.get(at + 1), Some(b'\r' | b'\n'))
    };
    (2..seen.len()).filter(|&at| !is_extra(at)).map(|at| seen[at]).collect()
}

/// Each bare LF as CRLF, each bare CR as a blank, and a line end at the end.
fn normalised(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, &octet) in plain.iter().enumerate() {
        match octet {
            b'\r' if plain.get(at + 1) == Some(&b'\n') => {}
            b'\r' => out.push(b' '),
            b'\n' => out.extend_from_slice(b"\r\n"),
            other => out.push(other),
        }
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn remove(octets: &[u8], unwanted: u8) -> Vec<u8> {
    octets.iter().copied().filter(|&octet| octet != unwanted).collect()
}

fn unstuffed(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut unstuffer, mut out) = (Unstuffer::default(), Vec::new());
    for piece in pieces {
        unstuffer.unstuff(piece, &mut out);
    }
    out
}
