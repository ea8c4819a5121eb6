//! The other side of a conversation: reading a next hop's replies and writing our commands, without I/O.
//!
//! [`ReplyParser`] takes octets as they come and gives whole replies (RFC 5321 §4.2), bounded in line length, lines and
//! octets; what is no reply is an error, never a guess. [`parse_ehlo`] reads the answer to EHLO. [`Group`] is a group of
//! envelope commands that goes out in one write where the hop offers PIPELINING (RFC 2920) and one by one elsewhere, and
//! matches the replies to its commands. Nothing here knows sockets, time or which hop is meant. Input comes from `deliver`.

use super::command::{write_mail, write_rcpt};
use super::{Extensions, MailRequest, RcptRequest, Reply};
use bytes::{Buf, BytesMut};

/// A reply as it came, before its enhanced status is taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawReply {
    code: u16,
    lines: Vec<String>,
}

impl RawReply {
    /// The three digits.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The text of each line; at least one.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The reply, with the enhanced status of its first line apart. What only looks like a status because its class is
    /// not the code's (RFC 2034 §4) stays text.
    #[must_use]
    pub fn into_reply(mut self) -> Reply {
        let status =
            self.lines.first().and_then(|line| status_of(line, self.code)).map(str::to_owned);
        if let Some(status) = &status {
            for line in &mut self.lines {
                strip_status(line, status);
            }
        }
        Reply::received(self.code, status, self.lines)
    }
}

/// Why octets are not a reply, or a reply is not one to our command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line does not begin with a code (RFC 5321 §4.2).
    #[error("the next hop said {0:?}, which is no SMTP reply")]
    Malformed(String),
    /// The lines of one reply have different codes (RFC 5321 §4.2.1).
    #[error("the next hop mixed the codes {0} and {1} in one reply")]
    CodesDiffer(u16, u16),
    /// [`REPLY_LINE_BYTES_MAX`], [`REPLY_LINES_MAX`] or [`REPLY_BYTES_MAX`] was passed.
    #[error("the next hop's reply is too long")]
    TooLong,
    /// The reply is whole but does not fit the command, or no command was sent.
    #[error("the next hop answered {reply:?} to {command}")]
    Unexpected {
        /// What was sent.
        command: &'static str,
        /// What came back.
        reply: String,
    },
    /// 421: the hop closes the connection (RFC 5321 §3.8).
    #[error("the next hop is closing: {0}")]
    Closing(Reply),
}

/// Puts replies together from octets as they come.
#[derive(Debug, Default)]
pub struct ReplyParser {
    code: u16,
    lines: Vec<String>,
    /// Octets of text in those lines.
    taken: usize,
    /// Octets of the present line that were looked at and hold no line end.
    seen: usize,
}

impl ReplyParser {
    /// Takes the next whole reply off the front of `input`; `None` if more octets are needed.
    ///
    /// # Errors
    /// [`ReplyError`] if this is no reply; the connection is out of step and must be closed.
    pub fn next_reply(&mut self, input: &mut BytesMut) -> Result<Option<RawReply>, ReplyError> {
        while let Some(end) = self.line_end(input)? {
            let last = self.take_line(&input[..end])?;
            input.advance(end + 1);
            if last {
                return Ok(Some(RawReply {
                    code: self.code,
                    lines: std::mem::take(&mut self.lines),
                }));
            }
        }
        Ok(None)
    }

    /// True between two replies.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lines.is_empty()
    }

    fn line_end(&mut self, input: &[u8]) -> Result<Option<usize>, ReplyError> {
        let found = memchr::memchr(b'\n', &input[self.seen.min(input.len())..]);
        let end = found.map(|at| self.seen + at);
        self.seen = if end.is_some() { 0 } else { input.len() };
        let length = end.unwrap_or(input.len());
        if length > REPLY_LINE_BYTES_MAX { Err(ReplyError::TooLong) } else { Ok(end) }
    }

    /// Takes a line without its LF; true if it is the last of its reply.
    fn take_line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (code, last, text) = split_line(line).ok_or_else(|| malformed(line))?;
        match self.lines.len() {
            0 => (self.code, self.taken) = (code, 0),
            REPLY_LINES_MAX.. => return Err(ReplyError::TooLong),
            _ if code != self.code => return Err(ReplyError::CodesDiffer(self.code, code)),
            _ => {}
        }
        self.taken += text.len();
        if self.taken > REPLY_BYTES_MAX {
            return Err(ReplyError::TooLong);
        }
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        Ok(last)
    }
}

/// The code, whether no line follows, and the text. RFC 5321 §4.2: the first digit is 2 to 5, the second 0 to 5; a code
/// with nothing after it is accepted too.
fn split_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let fits = matches!(digits, [b'2'..=b'5', b'0'..=b'5', b'0'..=b'9']);
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')));
    match rest {
        _ if !fits => None,
        [] => Some((code, true, rest)),
        [b' ', text @ ..] => Some((code, true, text)),
        [b'-', text @ ..] => Some((code, false, text)),
        _ => None,
    }
}

fn malformed(line: &[u8]) -> ReplyError {
    let shown = &line[..line.len().min(SHOWN_BYTES_MAX)];
    ReplyError::Malformed(String::from_utf8_lossy(shown).into_owned())
}

/// The enhanced status at the front of a line: class "." subject "." detail (RFC 3463 §2), of the code's class.
fn status_of(line: &str, code: u16) -> Option<&str> {
    let status = line.split(' ').next()?;
    let mut parts = status.split('.');
    // A single digit, so that neither `+5` nor `05` is a class.
    let class = parts.next().filter(|class| class.len() == 1)?.parse::<u16>().ok()?;
    let mut detail = || parts.next().is_some_and(is_status_part);
    let whole = detail() && detail();
    (whole && parts.next().is_none() && class == code / 100 && matches!(class, 2 | 4 | 5))
        .then_some(status)
}

fn is_status_part(part: &str) -> bool {
    (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit())
}

fn strip_status(line: &mut String, status: &str) {
    let rest = line.strip_prefix(status).filter(|rest| rest.is_empty() || rest.starts_with(' '));
    if let Some(rest) = rest {
        *line = rest.strip_prefix(' ').unwrap_or(rest).to_owned();
    }
}

/// What a hop offers, from its 250 answer to EHLO (RFC 5321 §4.1.1.1). Keywords are read without regard to case, unknown
/// ones are passed over.
#[must_use]
pub fn parse_ehlo(reply: &RawReply) -> Extensions {
    let mut extensions = Extensions::default();
    for line in reply.lines().iter().skip(1) {
        let line = line.to_ascii_uppercase();
        let mut words = line.split_ascii_whitespace();
        if let Some(keyword) = words.next() {
            note_keyword(&mut extensions, keyword, words);
        }
    }
    extensions
}

fn note_keyword<'a>(
    extensions: &mut Extensions,
    keyword: &str,
    mut words: impl Iterator<Item = &'a str>,
) {
    match keyword {
        "PIPELINING" => extensions.pipelining = true,
        // RFC 1870 §4: no figure, or 0, says that there is no fixed maximum.
        "SIZE" => {
            let figure = words.next().and_then(|word| word.parse().ok());
            extensions.size = Some(figure.filter(|&octets| octets != 0));
        }
        "8BITMIME" => extensions.eight_bit_mime = true,
        "SMTPUTF8" => extensions.smtputf8 = true,
        "ENHANCEDSTATUSCODES" => extensions.enhanced_status_codes = true,
        "DSN" => extensions.dsn = true,
        "STARTTLS" => extensions.starttls = true,
        "AUTH" => extensions.auth.extend(words.take(MECHANISMS_MAX).map(str::to_owned)),
        _ => {}
    }
}

/// Envelope commands that belong together, and the replies to them.
#[derive(Debug)]
pub struct Group {
    pace: Pace,
    bytes: Vec<u8>,
    /// Each command and where it ends in `bytes`.
    commands: Vec<(Command, usize)>,
    sent: usize,
    answered: usize,
    mail: Option<Reply>,
    recipients: Vec<Reply>,
}

/// How a group's commands go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// All in one write (RFC 2920 §3.1), up to [`TOGETHER_MAX`].
    Together,
    /// Each after the answer to the one before.
    LockStep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Reset,
    Mail,
    Rcpt,
}

impl Command {
    const fn name(self) -> &'static str {
        match self {
            Self::Reset => "RSET",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
        }
    }
}

/// The answers to a [`Group`].
#[derive(Debug)]
pub struct Answers {
    /// To MAIL, if it was in the group.
    pub mail: Option<Reply>,
    /// To each RCPT in order; none after a refused MAIL in lock-step.
    pub recipients: Vec<Reply>,
}

impl Group {
    /// An empty group for a hop that offers `extensions`.
    #[must_use]
    pub fn new(extensions: &Extensions) -> Self {
        let pace = if extensions.pipelining { Pace::Together } else { Pace::LockStep };
        let (bytes, commands, recipients) = (Vec::new(), Vec::new(), Vec::new());
        Self { pace, bytes, commands, sent: 0, answered: 0, mail: None, recipients }
    }

    /// Adds RSET.
    pub fn reset(&mut self) {
        self.bytes.extend_from_slice(b"RSET\r\n");
        self.commands.push((Command::Reset, self.bytes.len()));
    }

    /// Adds MAIL with the parameters that the hop understands.
    pub fn mail(&mut self, request: &MailRequest, extensions: &Extensions) {
        write_mail(request, extensions, &mut self.bytes);
        self.commands.push((Command::Mail, self.bytes.len()));
    }

    /// Adds RCPT with the parameters that the hop understands.
    pub fn rcpt(&mut self, request: &RcptRequest, extensions: &Extensions) {
        write_rcpt(request, extensions, &mut self.bytes);
        self.commands.push((Command::Rcpt, self.bytes.len()));
    }

    /// What has to be written before the next reply can come; `None` if nothing has.
    pub fn next_bytes(&mut self) -> Option<&[u8]> {
        if self.sent > self.answered || self.sent == self.commands.len() {
            return None;
        }
        let from = self.end_of(self.sent);
        self.sent = match self.pace {
            Pace::Together => self.commands.len().min(self.sent + TOGETHER_MAX),
            Pace::LockStep => self.sent + 1,
        };
        Some(&self.bytes[from..self.end_of(self.sent)])
    }

    /// Takes the reply to the first command that has none yet.
    ///
    /// # Errors
    /// [`ReplyError::Closing`] on 421, [`ReplyError::Unexpected`] on what is no answer to that command.
    pub fn take(&mut self, reply: RawReply) -> Result<(), ReplyError> {
        let command = self.commands.get(self.answered).map(|&(command, _)| command);
        let reply = checked(reply, command.map_or("nothing", Command::name))?;
        self.answered += 1;
        match command {
            Some(Command::Mail) => self.take_mail(reply),
            Some(Command::Rcpt) => self.recipients.push(reply),
            Some(Command::Reset) if reply.is_positive() => {}
            Some(Command::Reset) | None => return Err(unexpected(&reply, "RSET")),
        }
        Ok(())
    }

    /// True when every command that was sent has its reply and no other need be sent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.answered == self.commands.len()
    }

    /// The replies.
    #[must_use]
    pub fn into_answers(self) -> Answers {
        Answers { mail: self.mail, recipients: self.recipients }
    }

    /// After a refused MAIL the rest need not be sent; what was sent already still gets its replies.
    fn take_mail(&mut self, reply: Reply) {
        if !reply.is_positive() {
            self.commands.truncate(self.sent);
        }
        self.mail = Some(reply);
    }

    fn end_of(&self, count: usize) -> usize {
        count.checked_sub(1).and_then(|last| self.commands.get(last)).map_or(0, |&(_, end)| end)
    }
}

/// A final reply to `command`: 2xx, 4xx or 5xx, but not 421.
///
/// # Errors
/// [`ReplyError::Closing`] on 421, [`ReplyError::Unexpected`] on 3xx.
pub fn checked(reply: RawReply, command: &'static str) -> Result<Reply, ReplyError> {
    let reply = reply.into_reply();
    match reply.code() {
        CODE_CLOSING => Err(ReplyError::Closing(reply)),
        300..=399 => Err(unexpected(&reply, command)),
        _ => Ok(reply),
    }
}

/// The error for a whole reply that does not fit.
#[must_use]
pub fn unexpected(reply: &Reply, command: &'static str) -> ReplyError {
    ReplyError::Unexpected { command, reply: reply.to_string() }
}

/// The reply as our own client may hear it: 421 would say that *we* are closing, so it becomes 451.
#[must_use]
pub fn passed_on(reply: Reply) -> Reply {
    if reply.code() != CODE_CLOSING {
        return reply;
    }
    Reply::received(451, reply.status().map(str::to_owned), vec![reply.text()])
}

/// "Service not available, closing transmission channel" (RFC 5321 §4.2.3).
pub const CODE_CLOSING: u16 = 421;
/// Octets of one line of a reply; RFC 5321 §4.5.3.1.5 says 512, some servers say more.
pub const REPLY_LINE_BYTES_MAX: usize = 2048;
/// Lines of one reply.
pub const REPLY_LINES_MAX: usize = 100;
/// Octets of text in one reply.
pub const REPLY_BYTES_MAX: usize = 16 * 1024;
/// Commands in one write: their replies fit into any socket's buffers, so that neither side waits for the other to read
/// (RFC 2920 §3.1).
const TOGETHER_MAX: usize = 100;
/// Mechanisms that are read from one AUTH line.
const MECHANISMS_MAX: usize = 32;
/// Octets of nonsense that an error repeats.
const SHOWN_BYTES_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ReversePath;

    /// Feeds `wire` in pieces of every size and expects the same each time.
    fn check(wire: &str, expected: &Result<Vec<String>, ReplyError>) {
        for step in [1, 2, 7, wire.len().max(1)] {
            assert_eq!(&read_all(wire.as_bytes(), step), expected, "{wire:?} in pieces of {step}");
        }
    }

    fn read_all(wire: &[u8], step: usize) -> Result<Vec<String>, ReplyError> {
        let (mut parser, mut input, mut replies) =
            (ReplyParser::default(), BytesMut::new(), vec![]);
        for piece in wire.chunks(step) {
            input.extend_from_slice(piece);
            while let Some(reply) = parser.next_reply(&mut input)? {
                let reply = reply.into_reply();
                let status = reply.status().unwrap_or("-").to_owned();
                replies.push(format!("{} {status} {}", reply.code(), reply.text()));
            }
        }
        Ok(replies)
    }

    fn check_length(wire: &str) -> bool {
        read_all(wire.as_bytes(), 100).is_ok_and(|replies| replies.len() == 1)
    }

    fn replies(expected: &[&str]) -> Result<Vec<String>, ReplyError> {
        Ok(expected.iter().map(|&reply| reply.to_owned()).collect())
    }

    #[test]
    fn replies_are_read_however_they_are_cut() {
        check("250 ok\r\n", &replies(&["250 - ok"]));
        check("250\r\n", &replies(&["250 - "]));
        check("250 ok\n354 go\r\n", &replies(&["250 - ok", "354 - go"]));
        check("250-a\r\n250-b\r\n250 c\r\n25", &replies(&["250 - a b c"]));
        check("450-4.7.1 slow\r\n450 4.7.1 down\r\n", &replies(&["450 4.7.1 slow down"]));
        check("", &replies(&[]));
    }

    #[test]
    fn a_status_is_one_only_if_its_class_is_the_codes() {
        check("250 2.1.5 ok\r\n", &replies(&["250 2.1.5 ok"]));
        check("250 2.1.5\r\n", &replies(&["250 2.1.5 "]));
        check("250 5.1.1 ok\r\n", &replies(&["250 - 5.1.1 ok"]));
        check("250 2.1.5.7 ok\r\n", &replies(&["250 - 2.1.5.7 ok"]));
        check("250 2.1234.5 ok\r\n", &replies(&["250 - 2.1234.5 ok"]));
        check("550 +5.1.1 no\r\n", &replies(&["550 - +5.1.1 no"]));
        check("550 05.1.1 no\r\n", &replies(&["550 - 05.1.1 no"]));
        check("354 3.0.0 ok\r\n", &replies(&["354 - 3.0.0 ok"]));
        check("550-5.1.1 no\r\n550 5.7.1 never\r\n", &replies(&["550 5.1.1 no 5.7.1 never"]));
    }

    #[test]
    fn garbage_is_an_error() {
        for wrong in [
            "hello",
            "HTTP/1.1 400",
            "25",
            "2500 ok",
            "150 ok",
            "650 ok",
            "26a ok",
            "270 ok",
            "",
            "\0",
        ] {
            check(&format!("{wrong}\r\n"), &Err(ReplyError::Malformed(wrong.to_owned())));
        }
        check("250-a\r\n251 b\r\n", &Err(ReplyError::CodesDiffer(250, 251)));
        check(&"x".repeat(REPLY_LINE_BYTES_MAX + 1), &Err(ReplyError::TooLong));
        check(&"250-x\r\n".repeat(REPLY_LINES_MAX + 1), &Err(ReplyError::TooLong));
        let long = format!("250-{}\r\n", "x".repeat(1024));
        check(&format!("{}250 y\r\n", long.repeat(16)), &Err(ReplyError::TooLong));
        assert!(check_length(&format!("{}250\r\n", long.repeat(16))));
        assert_eq!(read_all(b"250 caf\xe9\r\n", 3), replies(&["250 - caf?"]));
    }

    #[test]
    fn the_answer_to_ehlo_is_read() {
        let lines = [
            "hop",
            "pipelining",
            "SIZE 1000",
            "8BITMIME",
            "AUTH plain LOGIN",
            "X-ODD 1",
            "DSN",
            "",
        ];
        let lines = lines.map(str::to_owned).to_vec();
        let expected = Extensions {
            pipelining: true,
            size: Some(Some(1000)),
            eight_bit_mime: true,
            dsn: true,
            auth: vec!["PLAIN".into(), "LOGIN".into()],
            ..Extensions::default()
        };
        assert_eq!(parse_ehlo(&RawReply { code: 250, lines }), expected);
        for unlimited in ["SIZE", "SIZE 0", "SIZE x"] {
            let lines = vec!["DSN".to_owned(), unlimited.to_owned()];
            let extensions = parse_ehlo(&RawReply { code: 250, lines });
            assert_eq!((extensions.size, extensions.dsn), (Some(None), false), "{unlimited}");
        }
    }

    fn mail() -> MailRequest {
        let sender = ReversePath::Null;
        let (size, body, ret, envid, auth) = (Some(7), None, None, None, None);
        MailRequest { sender, size, body, smtputf8: false, ret, envid, auth }
    }

    fn raw(line: &str) -> RawReply {
        let mut input = BytesMut::from(format!("{line}\r\n").as_str());
        ReplyParser::default().next_reply(&mut input).unwrap().unwrap()
    }

    /// Plays a group of RSET, MAIL and two RCPT; returns what was written before each reply was taken.
    fn play(hop: &Extensions, answers: &[&str]) -> (Vec<String>, Result<Answers, ReplyError>) {
        let mut group = Group::new(hop);
        group.reset();
        group.mail(&mail(), hop);
        for address in ["a@b.example", "c@d.example"] {
            let address = address.parse().unwrap();
            group.rcpt(&RcptRequest { address, notify: None, orcpt: None }, hop);
        }
        let mut written = Vec::new();
        for answer in answers {
            written
                .extend(group.next_bytes().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()));
            if let Err(error) = group.take(raw(answer)) {
                return (written, Err(error));
            }
        }
        assert!(group.is_done() && group.next_bytes().is_none());
        (written, Ok(group.into_answers()))
    }

    const ALL: &str = "RSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n";

    #[test]
    fn a_pipelined_group_goes_out_at_once_and_replies_are_matched() {
        let hop = Extensions { pipelining: true, ..Extensions::default() };
        let (written, answers) = play(&hop, &["250 r", "250 m", "550 5.1.1 no", "250 ok"]);
        assert_eq!(written, [ALL]);
        let codes: Vec<u16> = answers.unwrap().recipients.iter().map(Reply::code).collect();
        assert_eq!(codes, [550, 250]);
        let (_, answers) = play(&hop, &["250 r", "550 m", "503 x", "503 x"]);
        assert_eq!(answers.unwrap().mail.unwrap().code(), 550);
    }

    #[test]
    fn a_large_group_goes_out_in_parts_that_are_answered_before_the_next() {
        let hop = Extensions { pipelining: true, ..Extensions::default() };
        let mut group = Group::new(&hop);
        let address = "a@b.example".parse().unwrap();
        let rcpt = RcptRequest { address, notify: None, orcpt: None };
        (0..250).for_each(|_| group.rcpt(&rcpt, &hop));
        let mut parts = Vec::new();
        while !group.is_done() {
            let lines = |octets: &[u8]| octets.iter().filter(|&&octet| octet == b'\n').count();
            parts.extend(group.next_bytes().map(lines));
            group.take(raw("250 ok")).unwrap();
        }
        assert_eq!((parts, group.into_answers().recipients.len()), (vec![100, 100, 50], 250));
    }

    #[test]
    fn a_group_in_lock_step_stops_at_a_refused_mail() {
        let hop = Extensions::default();
        let (written, _) = play(&hop, &["250 r", "250 m", "250 a", "250 b"]);
        assert_eq!((written.len(), written.concat()), (4, ALL.to_owned()));
        let (written, answers) = play(&hop, &["250 r", "451 m"]);
        assert_eq!(written.concat(), "RSET\r\nMAIL FROM:<>\r\n");
        assert!(answers.unwrap().recipients.is_empty());
    }

    #[test]
    fn a_reply_that_does_not_fit_is_an_error() {
        let hop = Extensions { pipelining: true, ..Extensions::default() };
        for wrong in [&["500 r"][..], &["250 r", "354 m"], &["250 r", "250 m", "334 x"]] {
            let (_, answers) = play(&hop, wrong);
            assert!(matches!(answers, Err(ReplyError::Unexpected { .. })), "{wrong:?}");
        }
        let (_, answers) = play(&hop, &["250 r", "421 4.3.2 bye"]);
        assert!(matches!(answers, Err(ReplyError::Closing(_))));
        assert_eq!(passed_on(raw("421 4.3.2 bye").into_reply()).to_string(), "451 4.3.2 bye");
    }
}
