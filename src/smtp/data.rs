//! The text of a message on the wire: where it ends, and its dots (RFC 5321 §4.5.2).
//!
//! The only end is CR LF `.` CR LF; a bare CR, a bare LF or a NUL makes the text malformed, because servers that differ over
//! them can be made to see two messages where others see one. [`Scanner`] works on whatever piece of the stream there is
//! and gives lengths to pass on *still dot-stuffed*; it copies nothing and holds back at most two octets. Where bare ends of
//! line are to be put right, it still finds only the true end, and `recode` does the rest.

/// What is done about a CR or LF that stands alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineEndings {
    /// The text is malformed.
    #[default]
    Strict,
    /// It is put right before anything is passed on.
    Normalise,
}

/// The text has a bare CR, a bare LF or a NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bare CR, a bare LF or a NUL in the text")]
pub struct Malformed;

/// Finds the end of the text in a stream.
#[derive(Debug, Clone)]
pub struct Scanner {
    place: Place,
    endings: LineEndings,
}

/// Where the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    InLine,
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// The first `pass` octets are text. The others, at most two, have to be presented again, with more behind them.
    More {
        /// Octets to pass on.
        pass: usize,
    },
    /// The first `pass` octets are text, then comes the final dot; what follows `consumed` octets belongs to the next command.
    End {
        /// Octets to pass on.
        pass: usize,
        /// Octets to take off the buffer.
        consumed: usize,
    },
    /// A NUL, or a bare CR or LF that is not to be put right.
    Malformed,
}

impl Scanner {
    /// Begins a text.
    #[must_use]
    pub const fn new(endings: LineEndings) -> Self {
        Self { place: Place::LineStart, endings }
    }

    /// Looks at the octets that were held back before, followed by new ones.
    pub fn scan(&mut self, octets: &[u8]) -> Scan {
        let mut at = 0;
        loop {
            if self.place == Place::LineStart && octets.get(at) == Some(&b'.') {
                match octets[at + 1..] {
                    [] | [b'\r'] => return Scan::More { pass: at },
                    [b'\r', b'\n', ..] => return Scan::End { pass: at, consumed: at + 3 },
                    _ => {}
                }
            }
            let Some(next) = memchr::memchr3(b'\r', b'\n', 0, &octets[at..]) else {
                if at < octets.len() {
                    self.place = Place::InLine;
                }
                return Scan::More { pass: octets.len() };
            };
            if next > 0 {
                self.place = Place::InLine;
            }
            at += next;
            match octets[at..] {
                [b'\r'] => return Scan::More { pass: at },
                [b'\r', b'\n', ..] => {
                    self.place = Place::LineStart;
                    at += 2;
                }
                [b'\r' | b'\n', ..] if self.endings == LineEndings::Normalise => {
                    self.place = Place::InLine;
                    at += 1;
                }
                _ => return Scan::Malformed,
            }
        }
    }
}

/// Measures the lines of a text in the form in which it goes on.
#[derive(Debug, Clone, Default)]
pub struct LineMeter {
    line_bytes: u64,
    longest_bytes: u64,
}

impl LineMeter {
    /// Looks at the next piece.
    pub fn measure(&mut self, piece: &[u8]) {
        for line in piece.split_inclusive(|&octet| octet == b'\n') {
            self.line_bytes += line.len() as u64;
            self.longest_bytes = self.longest_bytes.max(self.line_bytes);
            if line.ends_with(b"\n") {
                self.line_bytes = 0;
            }
        }
    }

    /// The octets of the longest line so far, its CRLF and stuffed dot among them.
    #[must_use]
    pub const fn longest_bytes(&self) -> u64 {
        self.longest_bytes
    }
}

/// Takes the stuffed dots out of a well-formed text, piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Unstuffer {
    place: StuffPlace,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum StuffPlace {
    #[default]
    LineStart,
    InLine,
    AfterCr,
}

impl Unstuffer {
    /// Appends the next piece to `out`, without the first dot of lines that begin with one.
    pub fn unstuff(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if self.place == StuffPlace::LineStart && first == b'.' {
                self.place = StuffPlace::InLine;
                rest = &rest[1..];
                continue;
            }
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at(end);
            self.place = self.place.after(line);
            out.extend_from_slice(line);
            rest = after;
        }
    }
}

impl StuffPlace {
    /// Where the stream stands after a piece that has LF at most at its end.
    fn after(self, line: &[u8]) -> Self {
        match line {
            [.., b'\r', b'\n'] => Self::LineStart,
            [b'\n'] if self == Self::AfterCr => Self::LineStart,
            [.., b'\r'] => Self::AfterCr,
            _ => Self::InLine,
        }
    }
}

/// Lines with a dot put before each that begins with one, for what we add to a text that is passed on stuffed.
#[must_use]
pub fn stuff_lines(lines: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(lines.len());
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        if line.first() == Some(&b'.') {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream gives: the text and what follows, or nothing if it is malformed; `None` in it if the end is missing.
    type Found = Result<(Vec<u8>, Option<Vec<u8>>), ()>;

    fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Found {
        let (mut scanner, mut buffer, mut text) =
            (Scanner::new(LineEndings::Strict), Vec::new(), Vec::new());
        let mut pieces = pieces.into_iter();
        while let Some(piece) = pieces.next() {
            buffer.extend_from_slice(piece);
            match scanner.scan(&buffer) {
                Scan::More { pass } => {
                    text.extend(buffer.drain(..pass));
                    assert!(buffer.len() <= 2, "too much is held back: {buffer:?}");
                }
                Scan::End { pass, consumed } => {
                    text.extend_from_slice(&buffer[..pass]);
                    let rest = pieces.flatten().copied();
                    return Ok((text, Some(buffer.drain(consumed..).chain(rest).collect())));
                }
                Scan::Malformed => return Err(()),
            }
        }
        Ok((text, None))
    }

    /// Every split of the stream into three pieces, and octet by octet, gives the same.
    fn check(stream: &[u8], expected: &Found) {
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(&run(pieces), expected, "{pieces:?}");
            }
        }
        assert_eq!(&run(stream.chunks(1)), expected, "{stream:?} octet by octet");
    }

    fn whole(text: &[u8], rest: &[u8]) -> Found {
        Ok((text.to_vec(), Some(rest.to_vec())))
    }

    #[test]
    fn only_crlf_dot_crlf_ends_a_text() {
        check(b".\r\n", &whole(b"", b""));
        check(b".\r\nQUIT\r\n", &whole(b"", b"QUIT\r\n"));
        check(b"a\r\n.\r\n", &whole(b"a\r\n", b""));
        check(b"\r\n\r\n.\r\n.\r\n", &whole(b"\r\n\r\n", b".\r\n"));
        check(b"a\r\n..\r\n...b\r\n.c\r\n.\r\n", &whole(b"a\r\n..\r\n...b\r\n.c\r\n", b""));
        check(b"a.\r\nb\r\n.\r\nx", &whole(b"a.\r\nb\r\n", b"x"));
        check(b"\xff\xfe\x01\r\n.\r\n", &whole(b"\xff\xfe\x01\r\n", b""));
    }

    #[test]
    fn bare_ends_of_line_and_nul_are_malformed() {
        for stream in [
            b"a\nb\r\n.\r\n".as_slice(),
            b"a\rb\r\n.\r\n",
            b"a\n.\n",
            b"a\r\n.\n",
            b"a\r\n.\r.\r\n",
            b"a\n.\r\n",
            b"a\r.\r\n",
            b"a\r\r\n.\r\n",
            b"a\0\r\n.\r\n",
            b"\n",
            b".\n",
            b".\0",
            b".\r\0",
        ] {
            check(stream, &Err(()));
        }
    }

    /// What RFC 5321 says, octet by octet with everything in view; none if the end is missing.
    fn naive(stream: &[u8]) -> Option<Found> {
        let seen = [b"\r\n", stream].concat();
        for at in 2..seen.len() {
            let (before, now) = (seen[at - 1], seen[at]);
            if now == 0 || (now == b'\n') != (before == b'\r') {
                return Some(Err(()));
            }
            if at > 3 && seen[..=at].ends_with(b"\r\n.\r\n") {
                return Some(whole(&seen[2..at - 2], &seen[at + 1..]));
            }
        }
        None
    }

    #[test]
    fn every_short_stream_is_read_as_the_rfc_says() {
        let letters = b"\r\n.a";
        for length in 0..=8_u32 {
            for number in 0..4_usize.pow(length) {
                let letter = |place: u32| letters[number / 4_usize.pow(place) % 4];
                let stream: Vec<u8> = (0..length).map(letter).collect();
                let expected = naive(&stream);
                let cuts = [1, 2, 3, stream.len().max(1)].map(|size| run(stream.chunks(size)));
                for got in cuts {
                    match &expected {
                        Some(expected) => assert_eq!(&got, expected, "{stream:?}"),
                        None => assert!(matches!(got, Ok((_, None))), "{stream:?}: {got:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn a_text_without_its_end_goes_on() {
        assert_eq!(run([b"a\r\n.".as_slice()]), Ok((b"a\r\n".to_vec(), None)));
        assert_eq!(run([b"a\r\n..\r\n".as_slice()]), Ok((b"a\r\n..\r\n".to_vec(), None)));
        assert_eq!(run([b"a\r".as_slice()]), Ok((b"a".to_vec(), None)));
    }

    #[test]
    fn lines_are_measured_across_pieces() {
        let text = b"ab\r\n\r\n..longer\r\nx";
        for (cut, longest) in (0..=text.len()).map(|cut| (cut, 10)) {
            let mut meter = LineMeter::default();
            meter.measure(&text[..cut]);
            meter.measure(&text[cut..]);
            assert_eq!(meter.longest_bytes(), longest, "cut at {cut}");
        }
    }

    #[test]
    fn dots_come_out_as_they_went_in() {
        for (plain, stuffed) in [
            (b"".as_slice(), b"".as_slice()),
            (b"a\r\n", b"a\r\n"),
            (b".\r\n..a\r\nb.\r\n", b"..\r\n...a\r\nb.\r\n"),
            (b"\r\n.\r\n", b"\r\n..\r\n"),
        ] {
            assert_eq!(stuff_lines(plain), stuffed);
            for first in 0..=stuffed.len() {
                for second in first..=stuffed.len() {
                    let (mut unstuffer, mut out) = (Unstuffer::default(), Vec::new());
                    for piece in [&stuffed[..first], &stuffed[first..second], &stuffed[second..]] {
                        unstuffer.unstuff(piece, &mut out);
                    }
                    assert_eq!(out, plain, "{first} {second} of {stuffed:?}");
                }
            }
        }
    }
}
