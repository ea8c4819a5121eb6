//! Dovecot's authentication protocol, the client's side, version 1 (doc.dovecot.org, "Dovecot Authentication Protocol"): octets in,
//! answers out. No I/O, no clock; whatever the server says, memory stays bounded and nothing panics.
//!
//! After both sides' handshakes each request is a line with a number, and its answer is a line with the same number, in any
//! order. Only PLAIN is asked (LOGIN is turned into it), so every answer is OK or FAIL; a server that wants more of a
//! client (CONT) has not understood.

use crate::types::{ClientIp, Secret};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt::Write as _;

/// Reads what a server says, from its handshake on.
#[derive(Debug, Default)]
pub struct Conversation {
    /// What came and is not a whole line yet.
    buffer: Vec<u8>,
    handshake: Option<Handshake>,
    version_minor: u32,
}

/// How far the server's handshake is.
#[derive(Debug)]
enum Handshake {
    /// VERSION was told; MECH, SPID, CUID, COOKIE may follow.
    Greeting { lines: usize, plain: Offered },
    /// DONE was said.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    Yes,
    No,
}

/// What a server's line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The handshake is complete: requests may be sent.
    Ready,
    /// The answer to a request.
    Answer {
        /// The request's number.
        id: u32,
        /// The answer.
        answer: Answer,
    },
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The password is right; whose it is.
    Accepted {
        /// `user=`, as the server's database has it.
        user: String,
    },
    /// Wrong password, unknown user, or a user that may not log in (`nologin`, disabled, expired); which of them is nobody's
    /// business.
    Rejected,
    /// The server could not find out.
    Unavailable,
}

/// Why a server is given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Another version, or no version at all.
    #[error("it speaks {0}, wanted Dovecot's authentication protocol, version 1")]
    Version(String),
    /// Passwords cannot be asked.
    #[error("it does not offer PLAIN; add it to Dovecot's auth_mechanisms")]
    NoPlain,
    /// A line beyond [`LINE_BYTES_MAX`].
    #[error("it sent a line of more than {LINE_BYTES_MAX} octets")]
    LineTooLong,
    /// A handshake beyond [`HANDSHAKE_LINES_MAX`].
    #[error("its handshake has no end")]
    HandshakeTooLong,
    /// A line that makes no sense where it stands.
    #[error("it said {0:?}, which makes no sense here")]
    Nonsense(String),
}

impl Conversation {
    /// Takes octets as they come. Call [`Conversation::poll`] afterwards until it returns none.
    pub fn receive(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// What the next whole line means; none if there is no whole line.
    ///
    /// # Errors
    /// [`ProtocolError`] if this is not a server that can be talked to. Nothing it says later counts.
    pub fn poll(&mut self) -> Result<Option<Heard>, ProtocolError> {
        while let Some(line) = self.next_line()? {
            if let Some(heard) = self.hear(&line)? {
                return Ok(Some(heard));
            }
        }
        Ok(None)
    }

    /// The line of a request, with its line end.
    #[must_use]
    pub fn request(&self, id: u32, request: &Request<'_>) -> Secret {
        let mut line = format!("AUTH\t{id}\tPLAIN\tservice=smtp\tnologin\trip={}", request.client);
        if request.channel == Channel::Tls {
            line +=
                if self.version_minor >= SECURED_TLS_MINOR { "\tsecured=tls" } else { "\tsecured" };
        }
        let password = request.password.expose();
        let plain = [&b"\0"[..], request.login.as_bytes(), b"\0", password].concat();
        line += "\tresp=";
        STANDARD.encode_string(plain, &mut line);
        line += "\n";
        Secret::new(line.into_bytes())
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, ProtocolError> {
        match memchr::memchr(b'\n', &self.buffer) {
            Some(end) if end <= LINE_BYTES_MAX => {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                Ok(Some(line))
            }
            None if self.buffer.len() <= LINE_BYTES_MAX => Ok(None),
            _ => {
                self.buffer = Vec::new();
                Err(ProtocolError::LineTooLong)
            }
        }
    }

    fn hear(&mut self, line: &[u8]) -> Result<Option<Heard>, ProtocolError> {
        let mut fields = line.split(|&byte| byte == b'\t').map(unescape);
        let command = fields.next().unwrap_or_default();
        match &mut self.handshake {
            None => self.hear_version(&command, fields, line).map(|()| None),
            Some(Handshake::Greeting { lines, plain }) => {
                *lines += 1;
                if *lines > HANDSHAKE_LINES_MAX {
                    return Err(ProtocolError::HandshakeTooLong);
                }
                match &*command {
                    b"MECH" if fields.next().is_some_and(|name| name == b"PLAIN") => {
                        *plain = Offered::Yes;
                    }
                    b"DONE" if *plain == Offered::No => return Err(ProtocolError::NoPlain),
                    b"DONE" => {
                        self.handshake = Some(Handshake::Done);
                        return Ok(Some(Heard::Ready));
                    }
                    // Lines that nobody knows yet are passed over, as the protocol wants it.
                    _ => {}
                }
                Ok(None)
            }
            Some(Handshake::Done) => hear_answer(&command, fields, line),
        }
    }

    fn hear_version(
        &mut self,
        command: &[u8],
        mut fields: impl Iterator<Item = Vec<u8>>,
        line: &[u8],
    ) -> Result<(), ProtocolError> {
        let mut number = || number(&fields.next()?);
        match (command, number(), number()) {
            (b"VERSION", Some(MAJOR), Some(minor)) if minor >= MINOR_MIN => {
                self.version_minor = minor;
                self.handshake = Some(Handshake::Greeting { lines: 0, plain: Offered::No });
                Ok(())
            }
            _ => Err(ProtocolError::Version(shown(line))),
        }
    }
}

/// A login to ask about.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The login.
    pub login: &'a str,
    /// The password.
    pub password: &'a Secret,
    /// The real sender's host.
    pub client: ClientIp,
    /// How the password came to us.
    pub channel: Channel,
}

/// How a password comes to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// In the clear.
    Plain,
    /// Under TLS.
    Tls,
}

/// What we say first; `number` is one that no other client of the server has.
#[must_use]
pub fn greeting(number: u32) -> String {
    // 0 is none, and the server keeps it in 32 bits with a sign.
    format!("VERSION\t{MAJOR}\t{OUR_MINOR}\nCPID\t{}\n", number % (u32::MAX / 2) + 1)
}

fn hear_answer(
    command: &[u8],
    mut fields: impl Iterator<Item = Vec<u8>>,
    line: &[u8],
) -> Result<Option<Heard>, ProtocolError> {
    let accepted = match command {
        b"OK" => true,
        b"FAIL" => false,
        b"CONT" => {
            let id = fields.next().and_then(|id| number(&id)).ok_or_else(|| nonsense(line))?;
            return Ok(Some(Heard::Answer { id, answer: Answer::Unavailable }));
        }
        // Of no concern to us, or of a later version.
        _ if command.iter().all(u8::is_ascii_uppercase) && !command.is_empty() => return Ok(None),
        _ => return Err(nonsense(line)),
    };
    let id = fields.next().and_then(|id| number(&id)).ok_or_else(|| nonsense(line))?;
    let parameters = Parameters::read(fields);
    let answer = if accepted { parameters.when_accepted() } else { parameters.when_failed() };
    Ok(Some(Heard::Answer { id, answer }))
}

/// The parameters of an answer that matter.
#[derive(Default)]
struct Parameters {
    user: Option<String>,
    may_not: bool,
    temporary: bool,
}

impl Parameters {
    fn read(fields: impl Iterator<Item = Vec<u8>>) -> Self {
        let mut found = Self::default();
        for field in fields {
            match &*field {
                b"nologin" | b"user_disabled" | b"pass_expired" | b"authz" => found.may_not = true,
                b"temp" | b"code=temp_fail" => found.temporary = true,
                _ => {
                    if let Some(user) = field.strip_prefix(b"user=") {
                        found.user = Some(String::from_utf8_lossy(user).into_owned());
                    }
                }
            }
        }
        found
    }

    /// Without a user nobody can be charged.
    fn when_accepted(self) -> Answer {
        match self.user {
            _ if self.may_not => Answer::Rejected,
            Some(user) if !user.is_empty() => Answer::Accepted { user },
            _ => Answer::Unavailable,
        }
    }

    fn when_failed(self) -> Answer {
        if self.temporary { Answer::Unavailable } else { Answer::Rejected }
    }
}

/// Undoes Dovecot's escaping: octet 1, then `0`, `1`, `t`, `r`, `n` for NUL, 1, TAB, CR, LF, or any octet for itself.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut octets = field.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            1 => plain.extend(octets.next().map(|sign| match sign {
                b'0' => 0,
                b'1' => 1,
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                other => other,
            })),
            other => plain.push(other),
        }
    }
    plain
}

fn number(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn nonsense(line: &[u8]) -> ProtocolError {
    ProtocolError::Nonsense(shown(line))
}

/// The beginning of a line, for messages. What stands behind an equals sign may be anything, so it is left out.
fn shown(line: &[u8]) -> String {
    let mut text = String::new();
    for byte in line.iter().copied().take(SHOWN_BYTES_MAX).take_while(|&byte| byte != b'=') {
        let _infallible = write!(text, "{}", byte.escape_ascii());
    }
    text
}

/// The longest line of a server; Dovecot's own are at most 16,384 octets long.
pub const LINE_BYTES_MAX: usize = 16_384;
/// The lines of a handshake; Dovecot knows about twenty mechanisms.
pub const HANDSHAKE_LINES_MAX: usize = 200;
const MAJOR: u32 = 1;
/// What Dovecot 2.0 spoke.
const MINOR_MIN: u32 = 1;
const OUR_MINOR: u32 = 2;
/// From here on `secured` says by what.
const SECURED_TLS_MINOR: u32 = 2;
const SHOWN_BYTES_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    /// As Dovecot 2.3 greets.
    const HELLO: &str = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t17\nCUID\t1\nCOOKIE\t0123\nDONE\n";

    /// What a server's octets mean, the same at whatever split.
    fn hear(said: &[u8]) -> Result<Vec<Heard>, ProtocolError> {
        let run = |piece: usize| {
            let (mut conversation, mut heard) = (Conversation::default(), Vec::new());
            for octets in said.chunks(piece) {
                conversation.receive(octets);
                while let Some(next) = conversation.poll()? {
                    heard.push(next);
                }
            }
            Ok(heard)
        };
        let whole = run(said.len().max(1));
        for piece in [1, 2, 7] {
            assert_eq!(run(piece), whole, "in pieces of {piece}");
        }
        whole
    }

    fn greeted() -> Conversation {
        let mut conversation = Conversation::default();
        conversation.receive(HELLO.as_bytes());
        assert_eq!(conversation.poll(), Ok(Some(Heard::Ready)));
        conversation
    }

    #[test]
    fn a_handshake_is_understood_or_the_server_given_up() {
        for (said, expected) in [
            (HELLO, Ok(1)),
            ("VERSION\t1\t1\nNEW\tx\nMECH\tPLAIN\nDONE\n", Ok(1)),
            ("VERSION\t1\t99\nMECH\tPLAIN\tplaintext\nDONE\n", Ok(1)),
            ("VERSION\t1\t2\nMECH\tPLAIN\n", Ok(0)),
            ("", Ok(0)),
            ("VERSION\t2\t0\n", Err("VERSION\\t2\\t0")),
            ("VERSION\t1\t0\n", Err("VERSION\\t1\\t0")),
            ("VERSION\t1\n", Err("VERSION")),
            ("VERSION\t1\t-1\n", Err("VERSION")),
            ("DONE\n", Err("DONE")),
            ("220 mail.example ESMTP\r\n", Err("220 mail.example ESMTP\\r")),
            ("\n", Err("it speaks ,")),
            ("VERSION\t1\t2\nMECH\tLOGIN\tplaintext\nDONE\n", Err("auth_mechanisms")),
            ("VERSION\t1\t2\nDONE\n", Err("auth_mechanisms")),
        ] {
            match (hear(said.as_bytes()), expected) {
                (Ok(heard), Ok(count)) => assert_eq!(heard.len(), count, "{said:?}"),
                (Err(error), Err(says)) => {
                    assert!(error.to_string().contains(says), "{said:?}: {error}");
                }
                (got, _) => panic!("{said:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn answers_are_understood() {
        let accepted = |user: &str| Some(Answer::Accepted { user: user.to_owned() });
        let (rejected, unavailable) = (Some(Answer::Rejected), Some(Answer::Unavailable));
        for (line, expected) in [
            ("OK\t7\tuser=ann@shop.example", accepted("ann@shop.example")),
            ("OK\t7\tuser=ann\tproxy\thost=x\textra=1", accepted("ann")),
            ("OK\t7\tuser=a\u{1}tb\u{1}1c\u{1}0\u{1}x", accepted("a\tb\u{1}c\0x")),
            ("OK\t7\tuser=ann\tnologin", rejected.clone()),
            ("OK\t7\tnologin\tuser=ann\treason=closed", rejected.clone()),
            ("OK\t7", unavailable.clone()),
            ("OK\t7\tuser=", unavailable.clone()),
            ("FAIL\t7\tuser=ann", rejected.clone()),
            ("FAIL\t7", rejected.clone()),
            ("FAIL\t7\tuser=ann\ttemp", unavailable.clone()),
            ("FAIL\t7\tcode=temp_fail\tuser=ann", unavailable.clone()),
            ("FAIL\t7\tuser=ann\tcode=user_disabled\tuser_disabled", rejected.clone()),
            ("FAIL\t7\tcode=pass_expired\tpass_expired\treason=x\u{1}ty", rejected.clone()),
            ("FAIL\t7\tauthz", rejected),
            ("FAIL\t7\treason=temp", Some(Answer::Rejected)),
            ("CONT\t7\tZm9v", unavailable),
            ("MECH\tXYZ", None),
            ("CANCELLED\t7", None),
        ] {
            let mut conversation = greeted();
            conversation.receive(format!("{line}\n").as_bytes());
            let answer = expected.map(|answer| Heard::Answer { id: 7, answer });
            assert_eq!(conversation.poll(), Ok(answer), "{line:?}");
        }
        for line in
            ["OK", "OK\tx", "FAIL\t-1", "FAIL\t4294967296", "CONT", "", "\t", "ok\t7", "O\0K\t7"]
        {
            let mut conversation = greeted();
            conversation.receive(format!("{line}\n").as_bytes());
            assert!(matches!(conversation.poll(), Err(ProtocolError::Nonsense(_))), "{line:?}");
        }
    }

    #[test]
    fn what_a_server_sends_is_bounded() {
        let mut long = Conversation::default();
        long.receive(&vec![b'x'; LINE_BYTES_MAX]);
        assert_eq!(long.poll(), Ok(None));
        long.receive(b"x");
        assert_eq!(long.poll(), Err(ProtocolError::LineTooLong));
        assert_eq!(long.buffer.capacity(), 0);

        let endless = format!("VERSION\t1\t2\n{}", "SPID\t1\n".repeat(HANDSHAKE_LINES_MAX + 1));
        assert_eq!(hear(endless.as_bytes()), Err(ProtocolError::HandshakeTooLong));
    }

    #[test]
    fn errors_repeat_no_values() {
        let error = hear(format!("{HELLO}ok\t7\tpass=hunter2\n").as_bytes()).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let error = hear(format!("{}\n", "x".repeat(1000)).as_bytes()).unwrap_err();
        assert!(error.to_string().len() < 200, "{error}");
    }

    #[test]
    fn requests_are_one_line() {
        let password = Secret::new(*b"se\tcr\net");
        let request = |channel| Request {
            login: "ann\t\n",
            password: &password,
            client: "192.0.2.1".parse().unwrap(),
            channel,
        };
        let line = |conversation: &Conversation, channel| {
            let line = conversation.request(7, &request(channel));
            String::from_utf8(line.expose().to_vec()).unwrap()
        };
        let resp = STANDARD.encode("\0ann\t\n\0se\tcr\net");
        let start = "AUTH\t7\tPLAIN\tservice=smtp\tnologin\trip=192.0.2.1";
        let (old, new) = (Conversation::default(), greeted());
        assert_eq!(line(&new, Channel::Plain), format!("{start}\tresp={resp}\n"));
        assert_eq!(line(&new, Channel::Tls), format!("{start}\tsecured=tls\tresp={resp}\n"));
        assert_eq!(line(&old, Channel::Tls), format!("{start}\tsecured\tresp={resp}\n"));
        for number in [0, 1, u32::MAX / 2, u32::MAX] {
            let greeting = greeting(number);
            let pid: i32 = greeting.trim().rsplit('\t').next().unwrap().parse().unwrap();
            assert!(greeting.starts_with("VERSION\t1\t") && pid > 0, "{greeting:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_server_makes_it_panic(
            octets in proptest::collection::vec(0_u8.., 0..300),
            lines in "((OK|FAIL|CONT|MECH|DONE|VERSION)(\t[0-9a-z=\u{1}]{0,6}){0,4}\n){0,6}",
        ) {
            for said in [&octets[..], lines.as_bytes()] {
                let _ = hear(said);
                let _ = hear(&[HELLO.as_bytes(), said].concat());
            }
        }
    }
}
