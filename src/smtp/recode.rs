//! Texts that cannot be passed on as they came: chunks of BDAT (RFC 3030), which have no dots to be stuffed, and texts of
//! old devices, whose line ends are put right on listeners that want it.
//!
//! [`Recoder`] makes the dot-stuffed form that everything behind it carries, with CRLF at the end of each line and nowhere a
//! lone dot, bare CR, bare LF or NUL, whatever the pieces. A bare LF becomes CRLF; a bare CR becomes a blank, as Postfix has
//! it, because CR CR LF (a common fault of devices) would otherwise end a header too early. Input comes from the session.

use super::data::{LineEndings, Malformed};
use bytes::{BufMut, BytesMut};

/// Recodes one text, piece by piece.
#[derive(Debug)]
pub struct Recoder {
    source: Source,
    endings: LineEndings,
    place: Place,
}

/// How the octets come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Within DATA: after CRLF a first dot is there for transparency (RFC 5321 §4.5.2).
    Stuffed,
    /// Within BDAT: every dot is text (RFC 3030 §2).
    Plain,
}

/// Where the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the beginning, or after CRLF.
    LineStart,
    /// After a bare LF, which stuffs no dots.
    AfterLf,
    /// After the first dot of a line that came stuffed.
    AfterDot,
    InLine,
    /// After a CR that is not written yet.
    AfterCr,
}

impl Recoder {
    /// Begins a text.
    #[must_use]
    pub const fn new(source: Source, endings: LineEndings) -> Self {
        Self { source, endings, place: Place::LineStart }
    }

    /// Appends to `out` what may go on of the next piece.
    ///
    /// # Errors
    ///
    /// If the text has a NUL, or a bare CR or LF that is not to be put right.
    pub fn recode(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), Malformed> {
        let mut rest = piece;
        while let Some(&next) = rest.first() {
            match (self.place, next) {
                (Place::AfterCr, b'\n') => {
                    self.end_line(Place::LineStart, out);
                    rest = &rest[1..];
                }
                (Place::AfterCr, _) => self.take_bare_cr(out)?,
                (Place::AfterDot, _) => self.take_dot(next, out),
                (Place::LineStart | Place::AfterLf, b'.') => {
                    self.begin_with_dot(out);
                    rest = &rest[1..];
                }
                (Place::LineStart | Place::AfterLf | Place::InLine, _) => {
                    rest = self.take_run(rest, out)?;
                }
            }
        }
        Ok(())
    }

    /// Appends what is missing at the end. A last line without its CRLF gets one: DATA cannot carry it otherwise, and
    /// signatures are made as if it were there (RFC 6376 §3.4.3).
    ///
    /// # Errors
    ///
    /// If the text ends with a bare CR that is not to be put right.
    pub fn finish(&mut self, out: &mut BytesMut) -> Result<(), Malformed> {
        match self.place {
            Place::AfterCr => self.take_bare_cr(out)?,
            Place::AfterDot => self.take_dot(b'\r', out),
            Place::LineStart | Place::AfterLf | Place::InLine => {}
        }
        if self.place == Place::InLine {
            self.end_line(Place::LineStart, out);
        }
        Ok(())
    }

    /// Takes octets up to and with the next that is not plain text.
    fn take_run<'a>(&mut self, rest: &'a [u8], out: &mut BytesMut) -> Result<&'a [u8], Malformed> {
        let end = memchr::memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        if !run.is_empty() {
            out.extend_from_slice(run);
            self.place = Place::InLine;
        }
        match after.first() {
            None => return Ok(after),
            Some(b'\r') => self.place = Place::AfterCr,
            Some(b'\n') if self.endings == LineEndings::Normalise => {
                self.end_line(Place::AfterLf, out);
            }
            Some(_) => return Err(Malformed),
        }
        Ok(&after[1..])
    }

    fn take_bare_cr(&mut self, out: &mut BytesMut) -> Result<(), Malformed> {
        if self.endings == LineEndings::Strict {
            return Err(Malformed);
        }
        out.put_u8(b' ');
        self.place = Place::InLine;
        Ok(())
    }

    /// A dot that came stuffed stands for nothing, unless the line would consist of it alone: then it is text.
    fn take_dot(&mut self, next: u8, out: &mut BytesMut) {
        if matches!(next, b'\r' | b'\n') {
            out.put_u8(b'.');
        }
        self.place = Place::InLine;
    }

    fn begin_with_dot(&mut self, out: &mut BytesMut) {
        out.put_u8(b'.');
        self.place = if self.place == Place::LineStart && self.source == Source::Stuffed {
            Place::AfterDot
        } else {
            out.put_u8(b'.');
            Place::InLine
        };
    }

    fn end_line(&mut self, place: Place, out: &mut BytesMut) {
        out.extend_from_slice(b"\r\n");
        self.place = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::data::{Scan, Scanner, Unstuffer, stuff_lines};

    /// The text in the form that goes on; pieces are cut where `cuts` says.
    fn run<'a>(
        source: Source,
        endings: LineEndings,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<u8>, Malformed> {
        let (mut recoder, mut out) = (Recoder::new(source, endings), BytesMut::new());
        for piece in pieces {
            recoder.recode(piece, &mut out)?;
        }
        recoder.finish(&mut out)?;
        Ok(out.to_vec())
    }

    /// All streams of up to `length_max` of these octets, and each way to cut them in three or octet by octet.
    fn for_all(octets: &[u8], length_max: u32, mut check: impl FnMut(&[u8], &[&[u8]])) {
        for length in 0..=length_max {
            for number in 0..octets.len().pow(length) {
                let octet = |place: u32| octets[number / octets.len().pow(place) % octets.len()];
                let stream: Vec<u8> = (0..length).map(octet).collect();
                check(&stream, &stream.chunks(1).collect::<Vec<_>>());
                for first in 0..=stream.len() {
                    for second in first..=stream.len() {
                        let (a, b, c) =
                            (&stream[..first], &stream[first..second], &stream[second..]);
                        check(&stream, &[a, b, c]);
                    }
                }
            }
        }
    }

    fn unstuffed(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Unstuffer::default().unstuff(text, &mut out);
        out
    }

    /// What must hold of whatever is passed on: no server, however it reads line ends, sees an end of data in it.
    fn assert_harmless(text: &[u8], from: &[u8]) {
        assert!(text.is_empty() || text.ends_with(b"\r\n"), "{from:?} → {text:?}");
        assert!(!text.contains(&0), "{from:?} → {text:?}");
        for (at, &octet) in text.iter().enumerate() {
            let after_cr = at > 0 && text[at - 1] == b'\r';
            assert!((octet == b'\n') == after_cr, "{from:?} → {text:?}");
        }
        for line in text.split(|&octet| octet == b'\n') {
            assert_ne!(line, b".\r", "{from:?} → {text:?}");
        }
    }

    /// Each bare LF as CRLF and each bare CR as a blank, with everything in view.
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

    #[test]
    fn every_short_chunked_text_goes_on_as_data_would_carry_it() {
        for_all(b"\r\n.\0a", 5, |stream, pieces| {
            let (plain, text) = (Source::Plain, normalised(stream));
            let strict = run(plain, LineEndings::Strict, pieces.iter().copied());
            let lenient = run(plain, LineEndings::Normalise, pieces.iter().copied());
            if stream.contains(&0) {
                assert!(strict.is_err() && lenient.is_err(), "{stream:?}");
                return;
            }
            let lenient = lenient.unwrap();
            assert_harmless(&lenient, stream);
            assert_eq!(lenient, stuff_lines(&text), "{pieces:?}");
            let is_clean = text == stream || text == [stream, b"\r\n"].concat();
            assert_eq!(strict, if is_clean { Ok(lenient) } else { Err(Malformed) }, "{pieces:?}");
        });
    }

    /// A text and what follows it.
    type Received = Result<(Vec<u8>, Vec<u8>), Malformed>;

    /// The text of DATA up to its end, received as a session receives it; none if there is no end.
    fn receive(pieces: &[&[u8]]) -> Option<Received> {
        let mut scanner = Scanner::new(LineEndings::Normalise);
        let mut recoder = Recoder::new(Source::Stuffed, LineEndings::Normalise);
        let (mut buffer, mut out) = (Vec::new(), BytesMut::new());
        for (at, piece) in pieces.iter().enumerate() {
            buffer.extend_from_slice(piece);
            match scanner.scan(&buffer) {
                Scan::More { pass } => {
                    let passed: Vec<u8> = buffer.drain(..pass).collect();
                    recoder.recode(&passed, &mut out).unwrap();
                }
                Scan::End { pass, consumed } => {
                    recoder.recode(&buffer[..pass], &mut out).unwrap();
                    recoder.finish(&mut out).unwrap();
                    let rest = [&buffer[consumed..], &pieces[at + 1..].concat()].concat();
                    return Some(Ok((out.to_vec(), rest)));
                }
                Scan::Malformed => return Some(Err(Malformed)),
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

    #[test]
    fn only_the_true_end_of_data_ends_a_text_that_is_put_right() {
        let mut ended = 0;
        let mut check = |stream: &[u8], pieces: &[&[u8]]| {
            let seen = [b"\r\n", stream].concat();
            let nul = stream.iter().position(|&octet| octet == 0);
            let end = seen.windows(5).position(|window| window == b"\r\n.\r\n");
            let before = nul.unwrap_or(usize::MAX);
            let got = receive(pieces);
            match end.filter(|&end| end < before) {
                Some(end) => {
                    let (text, rest) = got.unwrap().unwrap();
                    assert_harmless(&text, stream);
                    assert_eq!(rest, &seen[end + 5..], "{pieces:?}");
                    let whole = &stream[..end];
                    assert_eq!(unstuffed(&text), normalised(&plain(whole)), "{pieces:?}");
                    ended += 1;
                }
                None if nul.is_some() => assert_eq!(got, Some(Err(Malformed)), "{stream:?}"),
                None => assert_eq!(got, None, "{stream:?}"),
            }
        };
        for_all(b"\r\n.\0a", 4, &mut check);
        // Every short text with an end behind it, which is where the look-alikes are.
        for_all(b"\r\n.a", 5, |stream, pieces| {
            let whole = [stream, b"\r\n.\r\nQUIT"].concat();
            let mut cut: Vec<&[u8]> = pieces.to_vec();
            cut.push(b"\r\n.");
            cut.push(b"\r\nQUIT");
            check(&whole, &cut);
        });
        assert!(ended > 10_000, "{ended}");
    }

    #[test]
    fn look_alikes_of_the_end_become_text() {
        for (stream, text) in [
            (b"a\n.\n".as_slice(), b"a\r\n..\r\n".as_slice()),
            (b"a\n.\r\n", b"a\r\n..\r\n"),
            (b"a\r\n.\nb\r\n", b"a\r\n..\r\nb\r\n"),
            (b"a\r.\r\n", b"a .\r\n"),
            (b"a\r\n.\r\r\n", b"a\r\n.. \r\n"),
            (b"a\n..\r\n", b"a\r\n...\r\n"),
            (b"a\n\r\n", b"a\r\n\r\n"),
        ] {
            let got = run(Source::Stuffed, LineEndings::Normalise, [stream]).unwrap();
            assert_eq!(got, text, "{stream:?}");
        }
    }
}
