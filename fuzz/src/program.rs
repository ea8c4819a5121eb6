//! An input of the target `session` as a little program: three octets of settings, then what the client sends, with octets from
//! 0xF4 on (which UTF-8 does not have) for whatever else happens. So an input reads like a conversation, and dictionaries
//! and other people's mutations work on it. `seeds.py` writes the same form.

use std::time::Duration;
use tollgate::smtp::{
    data::LineEndings,
    scram::{KEY_BYTES, ScramParameters},
    server::{LoginAnswer, Mechanism, ScramAnswer, SessionSettings},
};

/// Settings and what happens.
#[derive(Debug)]
pub struct Program {
    /// The first octets.
    pub setup: Setup,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// How a session is set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    flags: u8,
    numbers: u8,
    texts: u8,
}

/// One thing that happens.
#[derive(Debug)]
pub enum Step {
    /// The client sends this.
    Send(Vec<u8>),
    /// The handshake succeeded.
    TlsReady,
    /// The client closed its side.
    Close,
    /// The server is stopping.
    Drain,
    /// Time passes.
    Wait(Duration),
    /// The next ask that has no answer planned gets this one.
    Plan(Plan),
    /// The next ask is left open while one more step happens.
    Hold,
    /// An answer that nothing asked for.
    Intrude,
}

/// How an ask is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Yes,
    NotNow,
    Never,
    /// In many long lines, with characters in it that must not get through.
    AtLength,
    /// An answer too few for recipients.
    Missing,
}

impl Program {
    /// Reads an input; none if it is too short to say anything.
    pub fn read(input: &[u8]) -> Option<Self> {
        let (&[flags, numbers, texts], mut rest) = input.split_first_chunk()?;
        let (mut steps, mut sending, mut repeats) = (Vec::new(), Vec::new(), 0);
        while let Some((&octet, after)) = rest.split_first() {
            rest = after;
            if octet < SPLIT {
                sending.push(octet);
                continue;
            }
            let mut argument = || rest.split_off_first().copied().unwrap_or_default();
            let step = match octet {
                RAW => {
                    sending.push(argument());
                    continue;
                }
                REPEAT => {
                    let last = *sending.last().unwrap_or(&b'x');
                    let times = 64 * usize::from(argument());
                    repeats += times;
                    if repeats <= REPEATS_MAX {
                        sending.extend(std::iter::repeat_n(last, times));
                    }
                    continue;
                }
                SPLIT => None,
                TLS_READY => Some(Step::TlsReady),
                CLOSE => Some(Step::Close),
                DRAIN => Some(Step::Drain),
                WAIT => Some(Step::Wait(Duration::from_secs(8 * u64::from(argument())))),
                PLAN => Some(Step::Plan(Plan::of(argument()))),
                HOLD => Some(Step::Hold),
                _ => Some(Step::Intrude),
            };
            if !sending.is_empty() {
                steps.push(Step::Send(std::mem::take(&mut sending)));
            }
            steps.extend(step);
        }
        if !sending.is_empty() {
            steps.push(Step::Send(sending));
        }
        Some(Self { setup: Setup { flags, numbers, texts }, steps })
    }
}

impl Program {
    /// True if the same must come out at whatever split: no ask is held open or answered wrongly, which makes it matter what
    /// one ask is about.
    pub fn is_comparable(&self) -> bool {
        !self
            .steps
            .iter()
            .any(|step| matches!(step, Step::Hold | Step::Intrude | Step::Plan(Plan::Missing)))
    }

    /// True if the server stops: whether half a line or a whole one stands behind the last answer decides what the session's
    /// last word is.
    pub fn stops(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Drain))
    }

    /// All octets that the client sends.
    pub fn bytes(&self) -> usize {
        let sent = |step: &Step| if let Step::Send(bytes) = step { bytes.len() } else { 0 };
        self.steps.iter().map(sent).sum()
    }
}

impl Setup {
    /// Whether the connection begins under TLS.
    pub fn is_tls(self) -> bool {
        self.flags & 1 != 0
    }

    /// A listener's settings, changed as the octets say.
    pub fn settings(self, mut settings: SessionSettings) -> SessionSettings {
        let flag = |place: u32| self.flags >> place & 1 == 1;
        let number = |place: u32| self.numbers >> place & 3;
        if self.texts & 1 == 1 {
            settings.line_endings = LineEndings::Normalise;
        }
        settings.text_line_bytes_max =
            [None, Some(1000), Some(10), None][usize::from(self.texts >> 1 & 3)];
        settings.starttls = flag(1);
        settings.auth_mechanisms = if flag(2) { Mechanism::ALL.to_vec() } else { Vec::new() };
        settings.require_tls = flag(3);
        settings.require_auth = flag(4);
        settings.allow_plaintext_auth = flag(5);
        (settings.xclient, settings.xforward) = (flag(6), flag(6));
        settings.extensions = crate::extensions(if flag(7) { 0xff } else { 0x03 });
        settings.size_bytes_max = [1000, 10, 100_000, 0][usize::from(number(0))];
        settings.recipients_max = [100, 1, 2, 2000][usize::from(number(2))];
        settings.errors_max = [20, 1, 3, 1000][usize::from(number(4))];
        settings.login_failures_max = [20, 1, 3, 20][usize::from(number(6))];
        settings.data_rate_min = [0, 0, 10, 1000][usize::from(number(6))];
        settings
    }
}

impl Plan {
    const fn of(octet: u8) -> Self {
        match octet % 8 {
            1 => Self::NotNow,
            2 => Self::Never,
            3 => Self::AtLength,
            4 => Self::Missing,
            _ => Self::Yes,
        }
    }

    /// The answer to a login.
    pub fn login(self, mechanism: Mechanism) -> LoginAnswer {
        match self {
            Self::Yes | Self::AtLength if mechanism == Mechanism::ScramSha256 => {
                LoginAnswer::Proven([7; KEY_BYTES])
            }
            Self::Yes | Self::AtLength => LoginAnswer::Accepted,
            Self::NotNow => LoginAnswer::Unavailable,
            Self::Never | Self::Missing => LoginAnswer::Rejected,
        }
    }

    /// What SCRAM's challenge says: the same as in tests/wire.rs, so that the proofs in its dialogs fit.
    pub fn scram(self) -> ScramAnswer {
        match self {
            Self::NotNow | Self::Never => ScramAnswer::Unavailable,
            _ => ScramAnswer::Parameters(ScramParameters {
                nonce: "srv".to_owned(),
                salt: b"salt".to_vec(),
                iterations: 4096,
            }),
        }
    }
}

const SPLIT: u8 = 0xf4;
const TLS_READY: u8 = 0xf5;
const CLOSE: u8 = 0xf6;
const DRAIN: u8 = 0xf7;
const WAIT: u8 = 0xf8;
const PLAN: u8 = 0xf9;
const HOLD: u8 = 0xfa;
const REPEAT: u8 = 0xfc;
const RAW: u8 = 0xfd;
// Every other octet from `SPLIT` on is an answer that nothing asked for.
/// Octets that an input may make of repetitions: enough for every line and buffer to run full.
const REPEATS_MAX: usize = 1_200_000;
