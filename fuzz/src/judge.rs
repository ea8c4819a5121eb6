//! Watches one session from outside and panics as soon as it breaks a promise: who may ask what when, that nothing follows the
//! end, that a transaction ends once, that a text can be passed on, that a message is called accepted by whoever accepted it
//! only, and that every reply is well-formed and documented.

use crate::{
    assert_harmless,
    program::{Plan, Setup},
    replies,
};
use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
};
use tollgate::smtp::{
    Reply,
    server::{
        Answer, Ask, Credential, LoginAnswer, LoginRequest, Mechanism, Output, Session,
        SessionSettings,
    },
};

/// What a session did, without how it was cut: equal for equal streams at whatever split.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// All that was sent.
    pub sent: Vec<u8>,
    /// Asks (recipients one by one), ends and texts.
    pub deeds: Vec<String>,
    /// DATA was refused: whether text came behind it in one packet makes a difference then.
    pub text_refused: bool,
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.deeds.join("\n"), String::from_utf8_lossy(&self.sent))
    }
}

/// What is known from outside.
#[derive(Debug)]
pub struct Judge {
    settings: SessionSettings,
    tls: bool,
    authenticated: bool,
    /// The world found a login right, which holds at once or, with SCRAM, after the client's last word.
    login_held: bool,
    /// The accepted recipients of the open transaction.
    transaction: Option<usize>,
    text: Option<Vec<u8>>,
    /// The text of the last message that was asked about.
    pub last_text: Vec<u8>,
    /// DATA was answered 354 and its end has not come.
    pub data: bool,
    /// The ask that waits for its answer.
    open: Option<Open>,
    plans: VecDeque<Plan>,
    /// Why the world refused texts, which each of their chunks hears.
    text_refusals: BTreeSet<String>,
    /// The replies of ours (not the session's own) that are not sent yet.
    owed: VecDeque<String>,
    pub handshake: bool,
    pub closed: bool,
    pub transcript: Transcript,
}

/// An ask without an answer.
#[derive(Debug)]
enum Open {
    Login(Mechanism),
    Scram,
    Mail,
    Recipients(usize),
    Text,
    Message,
}

impl Judge {
    pub fn new(setup: Setup, settings: SessionSettings) -> Self {
        Self {
            settings,
            tls: setup.is_tls(),
            authenticated: false,
            login_held: false,
            transaction: None,
            text: None,
            last_text: Vec::new(),
            data: false,
            open: None,
            plans: VecDeque::new(),
            text_refusals: BTreeSet::new(),
            owed: VecDeque::new(),
            handshake: false,
            closed: false,
            transcript: Transcript::default(),
        }
    }

    pub fn plan(&mut self, plan: Plan) {
        self.plans.push_back(plan);
    }

    pub const fn is_asked(&self) -> bool {
        self.open.is_some()
    }

    pub const fn is_receiving(&self) -> bool {
        self.text.is_some()
    }

    pub fn tls_ready(&mut self, session: &Session) {
        assert!(self.handshake && session.is_tls() && session.buffered_bytes() == 0);
        assert!(session.helo().is_none() && !session.is_authenticated());
        assert_eq!(*session.claim(), Default::default(), "a claim from before TLS");
        (self.tls, self.authenticated, self.login_held) = (true, false, false);
        self.handshake = false;
    }

    /// Looks at what a session wants.
    pub fn see(&mut self, output: Output, session: &Session) {
        assert!(
            !self.closed || matches!(output, Output::TransactionEnded(_)),
            "after the end: {output:?}"
        );
        assert!(
            !self.handshake || matches!(output, Output::Close(_) | Output::Deadline(_)),
            "{output:?}"
        );
        if session.is_authenticated() && !self.authenticated {
            assert!(self.login_held, "a login that nobody found right");
            self.authenticated = true;
        }
        match output {
            Output::Send(bytes) => self.see_replies(&bytes),
            Output::Deadline(_) => {}
            Output::StartTls => self.see_start_tls(),
            Output::BodyBegins => {
                assert!(self.transaction.is_some_and(|accepted| accepted > 0), "a text for nobody");
                assert!(self.text.replace(Vec::new()).is_none());
            }
            Output::Body(bytes) => {
                assert!(!bytes.is_empty());
                self.text.as_mut().expect("text outside of DATA").extend_from_slice(&bytes);
            }
            Output::TransactionEnded(reason) => {
                assert!(self.transaction.take().is_some(), "the end of no transaction: {reason:?}");
                (self.text, self.data) = (None, false);
                self.note(format!("ended {reason:?}"));
            }
            Output::Close(reason) => {
                assert!(self.transaction.is_none(), "closed within a transaction");
                (self.closed, self.data) = (true, false);
                self.note(format!("close {reason:?}"));
            }
            Output::Ask(ask) => self.see_ask(ask, session),
        }
    }

    fn see_replies(&mut self, bytes: &[u8]) {
        assert!(!bytes.is_empty());
        for reply in replies::split(bytes) {
            let line = reply.join("\n");
            self.data |= line.starts_with("354 ");
            if self.owed.front() == Some(&line) {
                self.owed.pop_front();
                continue;
            }
            if self.text_refusals.contains(&line) {
                continue;
            }
            let name = self.settings.hostname.as_str();
            let is_greeting = line == format!("220 {name} ESMTP Tollgate")
                || line
                    .get(4..)
                    .is_some_and(|rest| line.starts_with("250") && rest.starts_with(name));
            let is_challenge = line.strip_prefix("334 ").is_some_and(|rest| {
                rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
            });
            assert!(is_greeting || is_challenge || replies::is_documented(&line), "{line:?}");
        }
        self.transcript.sent.extend_from_slice(bytes);
    }

    fn see_start_tls(&mut self) {
        assert!(self.settings.starttls && !self.tls && self.transaction.is_none());
        self.handshake = true;
        self.note("start tls".to_owned());
    }

    fn see_ask(&mut self, ask: Ask, session: &Session) {
        assert!(self.open.is_none(), "two asks at a time");
        self.open = Some(match ask {
            Ask::Login(request) => self.see_login(&request),
            Ask::Scram { login } => {
                self.assert_may_log_in(Mechanism::ScramSha256);
                self.note(format!("scram {login}"));
                Open::Scram
            }
            Ask::Mail(request) => {
                assert!(self.tls || !self.settings.require_tls, "MAIL before TLS");
                assert!(self.authenticated || !self.settings.require_auth, "MAIL before AUTH");
                assert!(self.transaction.is_none() && session.helo().is_some());
                assert!(request.size.is_none_or(|size| size <= self.settings.size_bytes_max));
                self.note(format!("mail {request:?} from {:?}", session.claim()));
                Open::Mail
            }
            Ask::Recipients(requests) => {
                let accepted = self.transaction.expect("recipients without MAIL");
                assert!(self.text.is_none(), "a recipient after the text began");
                assert!(
                    !requests.is_empty()
                        && accepted + requests.len() <= self.settings.recipients_max
                );
                requests.iter().for_each(|request| self.note(format!("recipient {request:?}")));
                Open::Recipients(requests.len())
            }
            Ask::Text => {
                assert!(self.transaction.is_some_and(|accepted| accepted > 0), "a text for nobody");
                assert!(self.text.is_none());
                Open::Text
            }
            Ask::Message { size_bytes } => {
                let accepted = self.transaction.take();
                assert!(accepted.is_some_and(|accepted| accepted > 0), "a message for nobody");
                let text = self.text.take().expect("a message without DATA");
                assert!(
                    text.len() as u64 == size_bytes && size_bytes <= self.settings.size_bytes_max
                );
                assert_harmless(&text);
                self.note(format!("message {}", text.escape_ascii()));
                (self.last_text, self.data) = (text, false);
                Open::Message
            }
        });
    }

    fn see_login(&mut self, request: &LoginRequest) -> Open {
        self.assert_may_log_in(request.mechanism);
        let shown = match &request.credential {
            Credential::Password(password) => password.expose().escape_ascii().to_string(),
            Credential::Scram(proof) => format!("{proof:?}"),
        };
        self.note(format!("{request:?} {shown}"));
        Open::Login(request.mechanism)
    }

    fn assert_may_log_in(&mut self, mechanism: Mechanism) {
        let in_clear = self.settings.allow_plaintext_auth && !self.settings.require_tls;
        assert!(self.tls || in_clear, "a login in the clear");
        assert!(self.settings.auth_mechanisms.contains(&mechanism));
        assert!(!self.authenticated && self.transaction.is_none());
        self.login_held = false;
    }

    /// The answer to the open ask, if there is one, as it was planned.
    pub fn answer(&mut self) -> Option<Answer> {
        let answer = match self.open.take()? {
            Open::Login(mechanism) => {
                let answer = self.next_plan().login(mechanism);
                self.login_held = matches!(answer, LoginAnswer::Accepted | LoginAnswer::Proven(_));
                Answer::Login(answer)
            }
            Open::Scram => Answer::Scram(self.next_plan().scram()),
            Open::Mail => {
                let reply = self.next_reply();
                self.transaction = reply.is_positive().then_some(0);
                Answer::Mail(reply)
            }
            Open::Recipients(count) => Answer::Recipients(self.recipients(count)),
            Open::Text => Answer::Text(self.text()),
            Open::Message => Answer::Message(self.next_reply()),
        };
        Some(answer)
    }

    /// Refused only where it was planned, with a reply that is one.
    fn text(&mut self) -> Result<(), Reply> {
        match self.next_plan() {
            Plan::Yes | Plan::Missing => Ok(()),
            plan => {
                self.transaction = None;
                self.transcript.text_refused = true;
                let reply = reply(plan);
                // It is said after the chunk, or each of them.
                self.text_refusals.extend(lines(&reply));
                Err(reply)
            }
        }
    }

    fn recipients(&mut self, count: usize) -> Vec<Reply> {
        let plans: Vec<Plan> = (0..count).map(|_| self.next_plan()).collect();
        let mut answers: Vec<Reply> = plans.iter().map(|&plan| reply(plan)).collect();
        if plans.contains(&Plan::Missing) {
            answers.pop();
        }
        answers.iter().for_each(|answer| self.owe(answer));
        let accepted = answers.iter().filter(|answer| answer.is_positive()).count();
        // After the end the transaction is over already.
        self.transaction = self.transaction.map(|before| before + accepted);
        answers
    }

    fn next_plan(&mut self) -> Plan {
        self.plans.pop_front().unwrap_or(Plan::Yes)
    }

    fn next_reply(&mut self) -> Reply {
        let reply = reply(self.next_plan());
        self.owe(&reply);
        reply
    }

    fn owe(&mut self, reply: &Reply) {
        if !self.closed {
            self.owed.extend(lines(reply));
        }
    }

    /// Takes the open ask back, if there is one, and gives an answer that fits no ask: the session must end.
    pub fn intrude(&mut self) -> Answer {
        match self.open.take() {
            Some(Open::Login(_)) => Answer::Message(reply(Plan::Yes)),
            _ => Answer::Login(LoginAnswer::Accepted),
        }
    }

    fn note(&mut self, deed: String) {
        self.transcript.deeds.push(deed);
    }

    /// What must be true when a session has nothing more to do for now.
    pub fn assert_settled(&self, session: &Session) {
        assert!(
            self.open.is_some() || self.owed.is_empty(),
            "answers that were not passed on: {:?}",
            self.owed
        );
        let held_max = if self.open.is_some() { 1 << 20 } else { 12_288 + 2 };
        assert!(
            session.buffered_bytes() <= held_max,
            "{} octets are held",
            session.buffered_bytes()
        );
        assert!(!self.data || session.buffered_bytes() <= 2);
        assert!(!self.closed || session.buffered_bytes() == 0 && self.transaction.is_none());
        assert_eq!(session.is_tls(), self.tls);
        assert!(self.closed || session.is_authenticated() == self.authenticated);
    }
}

/// A reply as it is sent, its lines joined by LF: one element.
fn lines(reply: &Reply) -> Vec<String> {
    let mut wire = Vec::new();
    reply.write_to(&mut wire);
    replies::split(&wire).iter().map(|lines| lines.join("\n")).collect()
}

/// Replies of the world, unlike any of the session's own.
fn reply(plan: Plan) -> Reply {
    match plan {
        Plan::Yes => Reply::new(250, "2.6.0", "the world agrees"),
        Plan::NotNow => Reply::new(450, "4.6.0", "the world wants to wait"),
        Plan::Never => Reply::new(550, "5.6.0", "the world refuses"),
        Plan::AtLength | Plan::Missing => {
            let lines = vec!["the world\r\n250 talks\0".repeat(60), String::new(), "é".repeat(300)];
            Reply::received(451, Some("4.6.1".to_owned()), lines)
        }
    }
}
