//! Whole conversations with `smtp::server`, without a socket: `tests/dialogs/*.smtp`.
//!
//! A dialog is a list of blocks. `set: …` lines at its top change the settings. In a block `C:` is what the client sends (with
//! CRLF; `C|` is sent as it stands, with `\r`, `\n`, `\0`, `\\` and `\xNN` for octets), `I:` what else happens (`tls-ready`,
//! `closed`, `drain`, `wait SECONDS`), `R:` the scripted answers to the asks of the block, in order (default: yes;
//! `text` in front of one that refuses the text before it comes).
//! Then comes what the session does: `E:` for everything but sending, `S:` for what it sends. Each dialog is run with whole
//! blocks, octet by octet and at random splits, and has to give the same. `UPDATE=1` rewrites the `E:` and `S:` lines.

#![expect(clippy::unwrap_used, reason = "a test may fail wherever it is")]

use proptest::prelude::*;
use std::{collections::VecDeque, fmt::Write as _, path::Path, sync::Arc, time::Duration};
use tollgate::{
    smtp::{
        Extensions, Reply,
        command::{self, Command, CommandError, Context, Offer, Verb},
        data::{self, LineEndings},
        proxy_header, sasl,
        scram::ScramParameters,
        server::{
            Answer, Ask, Credential, Input, LoginAnswer, Mechanism, Output, ScramAnswer, Session,
            SessionSettings, Start,
        },
    },
    types::Timestamp,
};

#[test]
fn dialogs_are_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "smtp"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        check(&file);
    }
}

#[test]
fn every_reply_of_the_session_is_documented() {
    let documented = include_str!("../docs/smtp-replies.md");
    let smtp = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/smtp");
    let server = std::fs::read_dir(smtp.join("server")).unwrap();
    let files = server.map(|entry| entry.unwrap().path()).chain([smtp.join("command.rs")]);
    let code: String = files
        .filter(|file| !file.ends_with("tests.rs"))
        .map(|file| std::fs::read_to_string(file).unwrap())
        .map(|source| source.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned())
        .collect();
    let is_reply = |text: &&str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        digits == 3 && text.len() > 4 && text.as_bytes()[3] == b' ' && !text.contains('{')
    };
    let replies: Vec<&str> = code.split('"').filter(is_reply).collect();
    assert!(replies.len() > 40);
    for reply in replies {
        assert!(documented.contains(&format!("| `{reply}` |")), "{reply:?} is not documented");
    }
}

fn check(file: &Path) {
    let written = std::fs::read_to_string(file).unwrap();
    let script = Script::read(&written);
    let expected =
        script.run(&mut |bytes| Vec::from_iter((!bytes.is_empty()).then_some(bytes.len())));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &expected).unwrap();
    } else {
        assert_eq!(expected, written, "{} (UPDATE=1 rewrites it)", file.display());
    }
    let by_octet = script.run(&mut |bytes| vec![1; bytes.len()]);
    assert_eq!(by_octet, expected, "{} octet by octet", file.display());
    let mut random = Random(1);
    for round in 0..50 {
        let split = script.run(&mut |bytes| random.split(bytes.len()));
        assert_eq!(split, expected, "{} at random splits, round {round}", file.display());
    }
}

/// A small generator of numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn split(&mut self, mut length: usize) -> Vec<usize> {
        let mut pieces = Vec::new();
        while length > 0 {
            let piece = 1 + self.below(length.min(40));
            pieces.push(piece);
            length -= piece;
        }
        pieces
    }
}

struct Script {
    head: Vec<String>,
    settings: SessionSettings,
    tls: bool,
    blocks: Vec<Block>,
}

#[derive(Default)]
struct Block {
    /// Comments, `C:`, `I:` and `R:` lines, as they stand.
    lines: Vec<String>,
}

impl Script {
    fn read(text: &str) -> Self {
        let mut paragraphs = text.split("\n\n");
        let head: Vec<String> = paragraphs.next().unwrap().lines().map(str::to_owned).collect();
        let (mut settings, mut tls) = (settings(), false);
        for words in head.iter().filter_map(|line| line.strip_prefix("set: ")) {
            for word in words.split(' ') {
                tls |= word == "tls";
                set(&mut settings, word);
            }
        }
        let given = |line: &&str| !line.starts_with("E:") && !line.starts_with("S:");
        let block =
            |text: &str| Block { lines: text.lines().filter(given).map(str::to_owned).collect() };
        Self { head, settings, tls, blocks: paragraphs.map(block).collect() }
    }

    /// Runs the dialog and returns it as it should be written.
    fn run(&self, split: &mut dyn FnMut(&[u8]) -> Vec<usize>) -> String {
        let mut out = self.head.join("\n") + "\n";
        let mut pump = Pump::new(&self.settings, self.tls);
        for block in &self.blocks {
            out += "\n";
            for line in &block.lines {
                writeln!(out, "{line}").unwrap();
            }
            pump.run(block, split);
            out += &pump.told();
        }
        out
    }
}

fn settings() -> SessionSettings {
    SessionSettings {
        hostname: "gate.example".parse().unwrap(),
        extensions: Extensions {
            pipelining: true,
            size: Some(None),
            eight_bit_mime: true,
            smtputf8: true,
            enhanced_status_codes: true,
            dsn: true,
            starttls: false,
            auth: Vec::new(),
        },
        size_bytes_max: 1000,
        starttls: false,
        auth_mechanisms: Vec::new(),
        require_tls: false,
        require_auth: false,
        login_failures_max: 10,
        allow_plaintext_auth: false,
        xclient: false,
        xforward: false,
        line_endings: LineEndings::Strict,
        text_line_bytes_max: None,
        recipients_max: 100,
        errors_max: 10,
        timeout_command: Duration::from_secs(300),
        timeout_data: Duration::from_secs(180),
        data_rate_min: 0,
        transaction_time_max: Duration::from_secs(1800),
    }
}

fn set(settings: &mut SessionSettings, word: &str) {
    let (name, value) = word.split_once('=').unwrap_or((word, "0"));
    let number: usize = value.parse().unwrap();
    match name {
        "tls" => {}
        "starttls" => settings.starttls = true,
        "auth" => settings.auth_mechanisms = vec![Mechanism::Plain, Mechanism::Login],
        "scram" => settings.auth_mechanisms = Mechanism::ALL.to_vec(),
        "login-failures" => settings.login_failures_max = u32::try_from(number).unwrap(),
        "require-tls" => settings.require_tls = true,
        "require-auth" => settings.require_auth = true,
        "plaintext-auth" => settings.allow_plaintext_auth = true,
        "xclient" => settings.xclient = true,
        "xforward" => settings.xforward = true,
        "bare-extensions" => settings.extensions = Extensions::default(),
        "normalise" => settings.line_endings = LineEndings::Normalise,
        "line" => settings.text_line_bytes_max = Some(number as u64),
        "size" => settings.size_bytes_max = number as u64,
        "recipients" => settings.recipients_max = number,
        "errors" => settings.errors_max = u32::try_from(number).unwrap(),
        other => panic!("no such setting: {other}"),
    }
}

/// Does what the session wants and notes it.
struct Pump {
    session: Session,
    now: Timestamp,
    due: Option<Timestamp>,
    answers: VecDeque<String>,
    sent: Vec<u8>,
    events: String,
    text: Vec<u8>,
}

impl Pump {
    fn new(settings: &SessionSettings, tls: bool) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let start = Start { tls, id: "s1".parse().unwrap() };
        let mut pump = Self {
            session: Session::new(Arc::new(settings.clone()), start, now),
            now,
            due: None,
            answers: VecDeque::new(),
            sent: Vec::new(),
            events: String::new(),
            text: Vec::new(),
        };
        pump.drain();
        pump
    }

    fn run(&mut self, block: &Block, split: &mut dyn FnMut(&[u8]) -> Vec<usize>) {
        let of = |prefix: &str| -> Vec<String> {
            let found = block.lines.iter().filter_map(|line| line.strip_prefix(prefix));
            found.map(|text| text.strip_prefix(' ').unwrap_or(text).to_owned()).collect()
        };
        self.answers = of("R:").into();
        let mut bytes = Vec::new();
        for line in &block.lines {
            if let Some(text) = line.strip_prefix("C:") {
                bytes.extend(unescape(text.strip_prefix(' ').unwrap_or(text)));
                bytes.extend(b"\r\n");
            } else if let Some(text) = line.strip_prefix("C|") {
                bytes.extend(unescape(text.strip_prefix(' ').unwrap_or(text)));
            }
        }
        let mut rest = bytes.as_slice();
        for length in split(&bytes) {
            let (piece, after) = rest.split_at(length);
            self.handle(Input::Bytes(piece));
            rest = after;
        }
        for input in of("I:") {
            self.happen(&input);
        }
        assert!(self.answers.is_empty(), "answers that nothing asked for: {:?}", self.answers);
    }

    fn happen(&mut self, input: &str) {
        match input.split_once(' ').unwrap_or((input, "")) {
            ("tls-ready", _) => self.handle(Input::TlsReady),
            ("closed", _) => self.handle(Input::PeerClosed),
            ("drain", _) => self.handle(Input::Drain),
            ("wait", seconds) => {
                self.now = self.now + Duration::from_secs(seconds.parse().unwrap());
                if self.due.is_some_and(|due| due <= self.now) {
                    self.handle(Input::Deadline);
                }
            }
            other => panic!("no such input: {other:?}"),
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.session.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(bytes) => self.sent.extend(bytes),
                Output::Body(bytes) => self.text.extend(bytes),
                Output::Deadline(due) => self.due = Some(due),
                Output::BodyBegins => {
                    self.text.clear();
                    self.note("body begins");
                }
                Output::StartTls => self.note("start tls"),
                Output::TransactionEnded(reason) => {
                    self.note(&format!("transaction ended: {reason:?}"));
                }
                Output::Close(reason) => self.note(&format!("close: {reason:?}")),
                Output::Ask(ask) => {
                    let answer = self.answer(&ask);
                    self.session.handle(Input::Answer(answer), self.now);
                }
            }
        }
    }

    fn answer(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Login(request) => {
                let shown = match &request.credential {
                    Credential::Password(password) => {
                        String::from_utf8_lossy(password.expose()).into_owned()
                    }
                    Credential::Scram(proof) => proof.auth_message.to_string(),
                };
                let whom = request.authorization.as_deref().unwrap_or("-");
                let (mechanism, login) = (request.mechanism.name(), &request.login);
                self.note(&format!("login {mechanism} {whom} {login} {shown}"));
                let proven = matches!(request.credential, Credential::Scram(_));
                Answer::Login(match self.answers.pop_front().as_deref() {
                    None | Some("") if proven => LoginAnswer::Proven([7; 32]),
                    None | Some("") => LoginAnswer::Accepted,
                    Some("rejected") => LoginAnswer::Rejected,
                    Some("unavailable") => LoginAnswer::Unavailable,
                    Some(other) => panic!("no such answer: {other}"),
                })
            }
            Ask::Scram { login } => {
                self.note(&format!("scram {login}"));
                Answer::Scram(match self.answers.pop_front().as_deref() {
                    None | Some("") => ScramAnswer::Parameters(ScramParameters {
                        nonce: "srv".to_owned(),
                        salt: b"salt".to_vec(),
                        iterations: 4096,
                    }),
                    Some("unavailable") => ScramAnswer::Unavailable,
                    Some(other) => panic!("no such answer: {other}"),
                })
            }
            Ask::Mail(request) => {
                self.note(&format!("mail {request:?}, helo {:?}", self.session.helo()));
                self.note_claim();
                Answer::Mail(self.reply("250 2.1.0 sender ok"))
            }
            Ask::Recipients(requests) => Answer::Recipients(
                requests
                    .iter()
                    .map(|request| {
                        self.note(&format!("rcpt {request:?}"));
                        let refused = request.address.local() == "no";
                        let default =
                            if refused { "550 5.1.1 no" } else { "250 2.1.5 recipient ok" };
                        self.reply(default)
                    })
                    .collect(),
            ),
            Ask::Text => Answer::Text(self.room()),
            Ask::Message { size_bytes } => {
                assert_eq!(*size_bytes, self.text.len() as u64);
                self.note(&format!("message {size_bytes} {}", self.text.escape_ascii()));
                Answer::Message(self.reply("250 2.0.0 queued"))
            }
        }
    }

    /// There is room for a text unless the next answer is `text` and a refusal.
    fn room(&mut self) -> Result<(), Reply> {
        match self.answers.front().and_then(|answer| answer.strip_prefix("text ")) {
            None => Ok(()),
            Some(refusal) => {
                let refusal = refusal.to_owned();
                self.answers[0] = refusal;
                Err(self.reply(""))
            }
        }
    }

    fn note_claim(&mut self) {
        let claim = self.session.claim().clone();
        if claim != Default::default() {
            self.note(&format!("claim {claim:?}"));
        }
    }

    fn reply(&mut self, default: &str) -> Reply {
        let line = self.answers.pop_front().unwrap_or_else(|| default.to_owned());
        let mut words = line.splitn(3, ' ');
        let (code, status, text) =
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        Reply::received(code.parse().unwrap(), Some(status.to_owned()), vec![text.to_owned()])
    }

    fn note(&mut self, event: &str) {
        writeln!(self.events, "E: {event}").unwrap();
    }

    /// What was done since the last call.
    fn told(&mut self) -> String {
        let mut told = std::mem::take(&mut self.events);
        let sent = String::from_utf8(std::mem::take(&mut self.sent)).unwrap();
        assert!(sent.is_empty() || sent.ends_with("\r\n"), "{sent:?}");
        for line in sent.split_terminator("\r\n") {
            writeln!(told, "S: {line}").unwrap();
        }
        told
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => octets.extend(c.to_string().bytes()),
            (_, true) => match chars.next() {
                Some('r') => octets.push(b'\r'),
                Some('n') => octets.push(b'\n'),
                Some('0') => octets.push(0),
                Some('\\') => octets.push(b'\\'),
                Some('x') => {
                    let digits: String = chars.by_ref().take(2).collect();
                    octets.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                Some('*') => {
                    // `\*N*c` is N times c.
                    let count: String = chars.by_ref().take_while(|c| *c != '*').collect();
                    let repeated = chars.next().unwrap().to_string();
                    octets.extend(repeated.repeat(count.parse().unwrap()).bytes());
                }
                other => panic!("no such escape: {other:?}"),
            },
        }
    }
    octets
}

/// Pieces that command lines are made of.
fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "MAIL FROM:",
        "RCPT TO:",
        "EHLO ",
        "AUTH PLAIN ",
        "XCLIENT ",
        "XFORWARD ",
        "PROXY TCP4 ",
        "<",
        ">",
        "<>",
        "@",
        "a",
        "b.example",
        "\"",
        "\\",
        " ",
        "é",
        ":",
        ",",
        "[192.0.2.1]",
        "[IPv6:::1]",
        "<a@b>",
        "<é@b>",
        " SIZE=",
        "1",
        " SMTPUTF8",
        " BODY=8BITMIME",
        " AUTH=",
        "+2B",
        "=",
        " RET=FULL",
        " ENVID=x",
        " NOTIFY=NEVER",
        " ORCPT=rfc822;",
        "ADDR=",
        "192.0.2.1",
        " NAME=x",
        " LOGIN=",
    ])
}

fn read(line: &[u8]) -> Result<Command, CommandError> {
    let extensions = Extensions { auth: vec!["PLAIN".to_owned()], ..settings().extensions };
    let (verb, arguments) = Verb::split(line);
    let context =
        Context { extensions: &extensions, mail_auth: Offer::Yes, utf8_recipients: Offer::Yes };
    Command::parse(verb, arguments, &context)
}

/// The command line for a next hop that offers everything; it must be one line.
fn written(read: &Result<Command, CommandError>) -> Option<Vec<u8>> {
    let extensions = Extensions { auth: vec!["PLAIN".to_owned()], ..settings().extensions };
    let mut out = Vec::new();
    match read {
        Ok(Command::Mail(request)) => command::write_mail(request, &extensions, &mut out),
        Ok(Command::Rcpt(request)) => command::write_rcpt(request, &extensions, &mut out),
        _ => return None,
    }
    let line = out.strip_suffix(b"\r\n").unwrap();
    assert!(!line.iter().any(u8::is_ascii_control), "{line:?}");
    Some(line.to_vec())
}

/// Scraps of conversations, put together in any order, and any octets.
fn scrap() -> impl Strategy<Value = Vec<u8>> {
    let known = proptest::sample::select(vec![
        "EHLO client.example\r\n",
        "HELO x\r\n",
        "MAIL FROM:<a@shop.example>\r\n",
        "MAIL FROM:<> SIZE=9999\r\n",
        "RCPT TO:<x@other.example>\r\n",
        "RCPT TO:<x@other.example> NOTIFY=NEVER\r\n",
        "RCPT TO:<postmaster>\r\n",
        "DATA\r\n",
        "RSET\r\n",
        "STARTTLS\r\n",
        "AUTH PLAIN\r\n",
        "AUTH LOGIN dXNlcg==\r\n",
        "AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9Y2xp\r\n",
        "Yz1iaXdzLHI9Y2xpc3J2LHA9QndjSEJ3Y0hCd2NIQndjSEJ3Y0hCd2NIQndjSEJ3Y0hCd2NIQndjSEJ3Yz0=\r\n",
        "c2VjcmV0\r\n",
        "*\r\n",
        "XCLIENT ADDR=192.0.2.1\r\n",
        "XFORWARD NAME=x\r\n",
        "BDAT 6\r\nQUIT\r\n",
        "BDAT 3 LAST\r\na\r\n",
        "BDAT 2\r\n.\r",
        "BDAT 2 LAST\r\n\n.",
        "BDAT 0 LAST\r\n",
        "BDAT 20000\r\n",
        "BDAT -1\r\n",
        "\r\n.\r\n",
        ".\r\n",
        "..\r\n",
        "text\r\n",
        "\r",
        "\n",
        "QUIT\r\n",
    ]);
    prop_oneof![
        12 => known.prop_map(|text| text.as_bytes().to_vec()),
        2 => Just(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => proptest::collection::vec(Just(b'x'), 1000..3000),
    ]
}

/// Whatever else happens between two pieces of input.
#[derive(Debug, Clone)]
enum Happening {
    Piece(Vec<u8>),
    Wait(u64),
    TlsReady,
    Drain,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        60 => scrap().prop_map(Happening::Piece),
        4 => Just(Happening::TlsReady),
        1 => (0..400_u64).prop_map(Happening::Wait),
        1 => Just(Happening::Drain),
    ]
}

/// Asks are answered with what the number says; what comes out has to follow the rules of the wire and of the asks.
#[derive(Debug)]
struct Judge {
    transaction: bool,
    receiving: bool,
    closed: bool,
}

impl Judge {
    fn see(&mut self, output: Output, chance: &mut Random) -> Option<Answer> {
        assert!(!self.closed, "something after close: {output:?}");
        match output {
            Output::Send(bytes) => check_replies(&bytes),
            Output::Deadline(_) => {}
            Output::StartTls => assert!(!self.transaction),
            Output::BodyBegins => {
                assert!(self.transaction && !self.receiving);
                self.receiving = true;
            }
            Output::Body(bytes) => assert!(self.receiving && !bytes.is_empty()),
            Output::TransactionEnded(_) => {
                assert!(self.transaction);
                (self.transaction, self.receiving) = (false, false);
            }
            Output::Close(_) => {
                assert!(!self.transaction, "closed within a transaction");
                self.closed = true;
            }
            Output::Ask(ask) => return Some(self.answer(ask, chance)),
        }
        None
    }

    fn answer(&mut self, ask: Ask, chance: &mut Random) -> Answer {
        let good = chance.below(4) > 0;
        let reply =
            if good { Reply::new(250, "2.0.0", "ok") } else { Reply::new(450, "4.7.1", "not now") };
        match ask {
            Ask::Login(request) if good => Answer::Login(match request.credential {
                Credential::Password(_) => LoginAnswer::Accepted,
                Credential::Scram(_) => LoginAnswer::Proven([7; 32]),
            }),
            Ask::Scram { .. } if good => Answer::Scram(ScramAnswer::Parameters(ScramParameters {
                nonce: "srv".to_owned(),
                salt: b"salt".to_vec(),
                iterations: 4096,
            })),
            Ask::Scram { .. } => Answer::Scram(ScramAnswer::Unavailable),
            Ask::Login(_) => Answer::Login(LoginAnswer::Rejected),
            Ask::Mail(_) => {
                assert!(!self.transaction);
                self.transaction = good;
                Answer::Mail(reply)
            }
            Ask::Recipients(requests) => {
                assert!(self.transaction && !self.receiving && !requests.is_empty());
                Answer::Recipients(vec![reply; requests.len()])
            }
            Ask::Text if good => Answer::Text(Ok(())),
            Ask::Text => {
                self.transaction = false;
                Answer::Text(Err(reply))
            }
            Ask::Message { .. } => {
                assert!(self.transaction && self.receiving);
                (self.transaction, self.receiving) = (false, false);
                Answer::Message(reply)
            }
        }
    }
}

fn check_replies(bytes: &[u8]) {
    let text = str::from_utf8(bytes).unwrap();
    assert!(text.ends_with("\r\n"), "{text:?}");
    let mut last = " ";
    for line in text.split_terminator("\r\n") {
        assert!(line.len() <= 510 && !line.contains(char::is_control), "{line:?}");
        assert!(line.get(..3).is_some_and(|code| code.parse::<u16>().is_ok()), "{line:?}");
        last = &line[3..4];
        assert!(last == " " || last == "-", "{line:?}");
    }
    assert_eq!(last, " ", "a reply without its last line: {text:?}");
}

/// What goes on of the first message of a conversation that comes in pieces of any length.
fn text_of(conversation: &[u8], chance: &mut Random) -> Vec<u8> {
    let settings = SessionSettings { size_bytes_max: 1 << 20, ..settings() };
    let mut pump = Pump::new(&settings, false);
    let mut rest = conversation;
    for length in chance.split(conversation.len()) {
        let (piece, after) = rest.split_at(length);
        pump.handle(Input::Bytes(piece));
        rest = after;
    }
    assert_eq!(pump.events.matches("E: message").count(), 1, "{}", pump.events);
    pump.text
}

const ENVELOPE: &[u8] = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";

/// A command of a random conversation, and the text or chunk behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ehlo,
    Helo,
    Mail,
    MailTooLarge,
    Rcpt,
    RcptRefused,
    RcptWrong,
    Data,
    DataTooLarge,
    Bdat { last: bool, large: bool },
    Plain(&'static str, u16),
}

fn step() -> impl Strategy<Value = Step> {
    use Step::{
        Bdat, Data, DataTooLarge, Ehlo, Helo, Mail, MailTooLarge, Plain, Rcpt, RcptRefused,
        RcptWrong,
    };
    prop_oneof![
        2 => Just(Ehlo),
        1 => Just(Helo),
        6 => Just(Mail),
        1 => Just(MailTooLarge),
        6 => Just(Rcpt),
        1 => Just(RcptRefused),
        1 => Just(RcptWrong),
        4 => Just(Data),
        1 => Just(DataTooLarge),
        6 => any::<bool>().prop_map(|last| Bdat { last, large: false }),
        1 => any::<bool>().prop_map(|last| Bdat { last, large: true }),
        3 => proptest::sample::select(vec![
            Plain("NOOP", 250),
            Plain("VRFY x", 252),
            Plain("HELP", 214),
            Plain("EXPN x", 502),
            Plain("STARTTLS", 502),
            Plain("AUTH PLAIN", 502),
            Plain("DATA x", 0),
            Plain("XCLIENT ADDR=192.0.2.1", 550),
            Plain("FOO", 500),
            Plain("", 500),
        ]),
        1 => Just(Plain("RSET", 250)),
    ]
}

/// The rules of order of RFC 5321 §4.1.4, RFC 2920 §3.1 and RFC 3030 §2, written down a second time.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Order {
    greeted: bool,
    extended: bool,
    mail: bool,
    recipients: usize,
    chunks: bool,
    failed: bool,
    octets: usize,
    taken: usize,
}

impl Order {
    /// The code that the next step is answered by; what it sends is appended.
    fn take(&mut self, step: Step, out: &mut Vec<u8>) -> Vec<u16> {
        let line = match step {
            Step::Ehlo => "EHLO x",
            Step::Helo => "HELO x",
            Step::Mail => "MAIL FROM:<a@b>",
            Step::MailTooLarge => "MAIL FROM:<a@b> SIZE=9999",
            Step::Rcpt => "RCPT TO:<c@d>",
            Step::RcptRefused => "RCPT TO:<no@d>",
            Step::RcptWrong => "RCPT TO:<",
            Step::Data | Step::DataTooLarge => "DATA",
            Step::Bdat { last: false, large: false } => "BDAT 6",
            Step::Bdat { last: true, large: false } => "BDAT 6 LAST",
            Step::Bdat { last: false, large: true } => "BDAT 1002",
            Step::Bdat { last: true, large: true } => "BDAT 1002 LAST",
            Step::Plain(line, _) => line,
        };
        out.extend(format!("{line}\r\n").bytes());
        let code = match step {
            Step::Ehlo | Step::Helo => {
                (self.greeted, self.extended) = (true, step == Step::Ehlo);
                self.forget();
                250
            }
            Step::Mail | Step::MailTooLarge if self.mail || !self.greeted => 503,
            Step::Mail => {
                self.mail = true;
                250
            }
            Step::MailTooLarge if self.extended => 552,
            Step::MailTooLarge => 555,
            Step::Rcpt | Step::RcptRefused | Step::RcptWrong if !self.mail || self.chunks => 503,
            Step::Rcpt => {
                self.recipients += 1;
                250
            }
            Step::RcptRefused => 550,
            Step::RcptWrong => 501,
            Step::Plain("DATA x", _) => match (self.mail && !self.chunks, self.recipients) {
                (false, _) => 503,
                (true, 0) => 554,
                (true, _) => 501,
            },
            Step::Data | Step::DataTooLarge if !self.mail || self.chunks => 503,
            Step::Data | Step::DataTooLarge if self.recipients == 0 => 554,
            Step::Data | Step::DataTooLarge => return self.data(step == Step::DataTooLarge, out),
            Step::Bdat { last, large } => {
                let chunk = "QUIT\r\n".repeat(if large { 167 } else { 1 });
                out.extend(chunk.bytes());
                self.bdat(last, chunk.len())
            }
            Step::Plain("RSET", code) => {
                self.forget();
                code
            }
            Step::Plain(_, code) => code,
        };
        vec![code]
    }

    fn data(&mut self, large: bool, out: &mut Vec<u8>) -> Vec<u16> {
        self.forget();
        out.extend("QUIT\r\n".repeat(if large { 167 } else { 1 }).bytes().chain(*b".\r\n"));
        self.taken += usize::from(!large);
        vec![354, if large { 552 } else { 250 }]
    }

    fn bdat(&mut self, last: bool, octets: usize) -> u16 {
        match self {
            Self { extended: false, .. } | Self { mail: false, .. } => return 503,
            Self { recipients: 0, .. } => return 554,
            _ => {}
        }
        self.chunks = true;
        self.octets += octets;
        self.failed |= self.octets > 1000;
        let failed = self.failed;
        if last {
            self.forget();
            self.taken += usize::from(!failed);
        }
        if failed { 552 } else { 250 }
    }

    fn forget(&mut self) {
        *self = Self {
            greeted: self.greeted,
            extended: self.extended,
            taken: self.taken,
            ..Self::default()
        };
    }
}

/// The code of each reply.
fn codes(sent: &[u8]) -> Vec<u16> {
    let lines = str::from_utf8(sent).unwrap().split_terminator("\r\n");
    lines.filter(|line| &line[3..4] == " ").map(|line| line[..3].parse().unwrap()).collect()
}

/// Lines as DATA can carry them, with what is special at their beginning.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let octet = any::<u8>().prop_map(|octet| if b"\0\r\n".contains(&octet) { b'.' } else { octet });
    let line = (0..3_usize, proptest::collection::vec(octet, 0..50))
        .prop_map(|(dots, rest)| [&b"..."[..dots], &rest, b"\r\n"].concat());
    proptest::collection::vec(line, 0..20).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn a_text_in_any_chunks_is_the_text_of_data(
        text in lines(),
        keep_last_line_end in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut chance = Random(seed);
        let by_data = [ENVELOPE, b"DATA\r\n", &data::stuff_lines(&text), b".\r\n"].concat();
        let by_data = text_of(&by_data, &mut chance);
        let sent = if keep_last_line_end { &text } else { text.strip_suffix(b"\r\n").unwrap_or(&text) };
        let mut by_bdat = ENVELOPE.to_vec();
        let mut rest = sent;
        for length in chance.split(sent.len()) {
            let (chunk, after) = rest.split_at(length);
            let empty = if chance.below(5) == 0 { "BDAT 0\r\n" } else { "" };
            by_bdat.extend(format!("{empty}BDAT {length}\r\n").bytes().chain(chunk.iter().copied()));
            rest = after;
        }
        by_bdat.extend(b"BDAT 0 LAST\r\n");
        // Without its end a last line that is empty is no line.
        let expected = if sent.is_empty() || sent.ends_with(b"\r\n") { data::stuff_lines(sent) } else { by_data };
        prop_assert_eq!(text_of(&by_bdat, &mut chance), expected);
    }

    #[test]
    fn each_command_in_any_order_has_one_reply_in_its_place(
        steps in proptest::collection::vec(step(), 0..60),
        seed in any::<u64>(),
    ) {
        let (mut order, mut sent, mut expected) = (Order::default(), Vec::new(), vec![220]);
        for &step in &steps {
            expected.extend(order.take(step, &mut sent));
        }
        let mut chance = Random(seed);
        let mut pump = Pump::new(&SessionSettings { errors_max: 10_000, ..settings() }, false);
        let mut rest = sent.as_slice();
        for length in chance.split(sent.len()) {
            let (piece, after) = rest.split_at(length);
            pump.handle(Input::Bytes(piece));
            rest = after;
        }
        prop_assert_eq!(codes(&pump.sent), expected, "{:?}", steps);
        prop_assert_eq!(pump.events.matches("E: message").count(), order.taken);
    }

    #[test]
    fn no_parser_panics_and_what_is_read_can_be_written(
        begin in proptest::sample::select(vec!["MAIL FROM:<a@b>", "MAIL FROM:<>", "RCPT TO:<a@b>", "MAIL FROM:", ""]),
        words in proptest::collection::vec(word(), 0..8),
        octets in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let line = begin.to_owned() + &words.concat();
        for line in [line.as_bytes(), &octets, &[line.as_bytes(), &octets].concat()] {
            let _ = proxy_header::parse(line);
            let _ = proxy_header::parse(&[b"\r\n\r\n\0\r\nQUIT\n", line].concat());
            for mechanism in Mechanism::ALL {
                let _ = sasl::begin(mechanism, str::from_utf8(line).ok());
            }
            let read = read(line);
            prop_assert_eq!(&read, &written(&read).map_or(read.clone(), |again| self::read(&again)));
        }
    }

    #[test]
    fn whatever_comes_the_session_keeps_its_rules(
        happenings in proptest::collection::vec(happening(), 0..80),
        seed in any::<u64>(),
    ) {
        let settings = SessionSettings {
            starttls: true,
            auth_mechanisms: vec![Mechanism::Plain, Mechanism::Login],
            allow_plaintext_auth: true,
            xclient: true,
            xforward: true,
            errors_max: 50,
            ..settings()
        };
        let (mut now, mut chance) = (Timestamp::from_millis(0), Random(seed));
        let start = Start { tls: false, id: "s1".parse().unwrap() };
        let mut session = Session::new(Arc::new(settings), start, now);
        let mut judge = Judge { transaction: false, receiving: false, closed: false };
        for happening in &happenings {
            let input = match happening {
                Happening::Piece(bytes) => Input::Bytes(bytes),
                Happening::TlsReady => Input::TlsReady,
                Happening::Drain => Input::Drain,
                Happening::Wait(seconds) => {
                    now = now + Duration::from_secs(*seconds);
                    Input::Deadline
                }
            };
            session.handle(input, now);
            while let Some(output) = session.poll_output() {
                if let Some(answer) = judge.see(output, &mut chance) {
                    session.handle(Input::Answer(answer), now);
                }
            }
            prop_assert!(session.buffered_bytes() <= 12_290, "{} octets are kept", session.buffered_bytes());
        }
        session.handle(Input::PeerClosed, now);
        while let Some(output) = session.poll_output() {
            judge.see(output, &mut chance);
        }
        prop_assert!(judge.closed);
    }
}
