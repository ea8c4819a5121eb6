//! Points against one sender, kept apart by signal and halved again and again as time passes.
//!
//! Each signal has a cap, so that no single one suspends anybody: what does is that several agree. Points never fall below
//! zero, so long good conduct earns no credit that a thief could spend.

use super::Settings;
use crate::types::Timestamp;

/// What speaks against a sender; a file each.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// Recipients that the next hop does not know.
    UnknownRecipients,
    /// The next hop called it spam.
    RemoteVerdicts,
    /// Recipients that nobody honest writes to.
    Traps,
    /// The client, or a link, stands on a blocklist.
    Listings,
    /// A country or network that the account never came from.
    Place,
    /// Recipients that the account never wrote to.
    Novelty,
    /// What the text is like.
    Content,
    /// The same text from several accounts.
    Spread,
    /// Names in From that are not the account's.
    Origin,
    /// Recipients refused by a limit.
    Overrun,
    /// An address of ours was listed, and this account is the likely cause.
    EgressListed,
    /// A name in HELO that the account never came with.
    Greeting,
    /// A login after many that failed.
    GuessedLogin,
    /// An hour, or so many recipients in one, that the account does not have.
    Tempo,
}

/// How many signals there are.
pub const SIGNALS: usize = 14;

impl Signal {
    /// All of them, in the order of their points.
    pub const ALL: [Self; SIGNALS] = [
        Self::UnknownRecipients,
        Self::RemoteVerdicts,
        Self::Traps,
        Self::Listings,
        Self::Place,
        Self::Novelty,
        Self::Content,
        Self::Spread,
        Self::Origin,
        Self::Overrun,
        Self::EgressListed,
        Self::Greeting,
        Self::GuessedLogin,
        Self::Tempo,
    ];

    /// The name as it stands in the configuration, in reasons and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownRecipients => "unknown-recipients",
            Self::RemoteVerdicts => "remote-verdicts",
            Self::Traps => "traps",
            Self::Listings => "listings",
            Self::Place => "place",
            Self::Novelty => "novelty",
            Self::Content => "content",
            Self::Spread => "spread",
            Self::Origin => "origin",
            Self::Overrun => "overrun",
            Self::EgressListed => "egress-listed",
            Self::Greeting => "greeting",
            Self::GuessedLogin => "guessed-login",
            Self::Tempo => "tempo",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// What one look found: how much it weighs, how sure that is, and in what words.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Which signal.
    pub signal: Signal,
    /// Points at full confidence; negative ones speak for the sender.
    pub points: f32,
    /// From 0 to 1: how much is known that this rests on.
    pub confidence: f32,
    /// How the points are counted.
    pub kind: FindingKind,
    /// What was seen.
    pub reason: Reason,
}

/// How points of a finding meet those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// They are added: each observation counts.
    Sum,
    /// The higher of the two stays: a state, not an event.
    State,
}

/// What was seen, to be put into words when somebody asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// So many recipients of so many do not exist.
    UnknownRecipients {
        /// Refused as unknown.
        unknown: u32,
        /// Answered at all.
        of: u32,
    },
    /// The next hop refused the text as spam, for good or for now.
    CalledSpam {
        /// A 5xx.
        for_good: bool,
    },
    /// Recipients on the list of traps.
    Traps(u32),
    /// The client is on a blocklist.
    ClientListed,
    /// A link in the text is on a blocklist.
    LinkListed,
    /// A country that the account never came from.
    NewCountry([u8; 2]),
    /// A network that the account never came from.
    NewNetwork(u32),
    /// Networks within a day that the account never came from.
    ManyNetworks(u32),
    /// Recipients that the account never wrote to.
    NewRecipients {
        /// Never written to.
        new: u32,
        /// In all.
        of: u32,
    },
    /// The score of the text.
    Content(f32),
    /// Accounts that sent nearly the same text within a day.
    SameText {
        /// Accounts, this one included.
        accounts: u32,
        /// One of them was suspended for it.
        is_spam: bool,
    },
    /// Accounts that sent links to the same new site within a week.
    SameSite {
        /// Accounts, this one included.
        accounts: u32,
        /// One of them was suspended for it.
        is_spam: bool,
    },
    /// A domain in From that is not the account's.
    ForeignFrom,
    /// Recipients that a limit refused.
    OverLimit(u32),
    /// Percent of the blame for a listing of one of our addresses.
    CausedListing(u8),
    /// A name in HELO that the account never came with.
    NewGreeting,
    /// Names in HELO within a day that the account never came with.
    ManyGreetings(u32),
    /// Logins that failed before this one.
    FailedLogins(u32),
    /// Recipients in this hour.
    UnusualVolume {
        /// So far, this message's included.
        count: u32,
        /// At such an hour.
        usual: u32,
    },
    /// The account never sent at such an hour.
    UnusualHour,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::UnknownRecipients { unknown, of } => {
                write!(f, "{unknown} of {of} recipients unknown there")
            }
            Self::CalledSpam { for_good: true } => f.write_str("refused as spam by the next hop"),
            Self::CalledSpam { for_good: false } => f.write_str("put off as spam by the next hop"),
            Self::Traps(count) => write!(f, "{count} spam traps"),
            Self::ClientListed => f.write_str("client on a blocklist"),
            Self::LinkListed => f.write_str("link on a blocklist"),
            Self::NewCountry([a, b]) => {
                write!(f, "first mail from {}{}", char::from(a), char::from(b))
            }
            Self::NewNetwork(network) => write!(f, "first mail from network {network}"),
            Self::ManyNetworks(count) => write!(f, "{count} new networks in a day"),
            Self::NewRecipients { new, of } => write!(f, "{new} of {of} recipients new"),
            Self::Content(score) => write!(f, "text scores {score:.1}"),
            Self::SameText { accounts, is_spam: false } => {
                write!(f, "text like that of {accounts} accounts")
            }
            Self::SameText { is_spam: true, .. } => f.write_str("text of a suspended account"),
            Self::SameSite { accounts, is_spam: false } => {
                write!(f, "link to a site like {accounts} accounts")
            }
            Self::SameSite { is_spam: true, .. } => {
                f.write_str("link to a site of a suspended account")
            }
            Self::ForeignFrom => f.write_str("From is of another domain"),
            Self::OverLimit(count) => write!(f, "{count} recipients over a limit"),
            Self::CausedListing(percent) => {
                write!(f, "{percent} % of the blame for a listing of our address")
            }
            Self::NewGreeting => f.write_str("first mail with this name in HELO"),
            Self::ManyGreetings(count) => write!(f, "{count} new names in HELO in a day"),
            Self::FailedLogins(count) => write!(f, "{count} failed logins before"),
            Self::UnusualVolume { count, usual } => {
                write!(f, "{count} recipients this hour, usually {usual}")
            }
            Self::UnusualHour => f.write_str("never sent at this hour"),
        }
    }
}

/// Points by signal.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Evidence {
    points: [f32; SIGNALS],
    at: Timestamp,
}

impl Evidence {
    /// Lets time pass: after each half-life half of it is left.
    pub fn fade(&mut self, now: Timestamp, settings: &Settings) {
        let passed = now.since(self.at).as_secs_f32();
        self.at = self.at.max(now);
        if passed > 0.0 && !self.is_none() {
            let left = (-passed / settings.half_life.length().as_secs_f32()).exp2();
            for points in &mut self.points {
                *points = if *points * left < POINTS_MIN { 0.0 } else { *points * left };
            }
        }
    }

    /// Counts a finding; the evidence must have been faded to the present.
    pub fn count(&mut self, finding: &Finding, settings: &Settings) {
        let points = finding.points * finding.confidence;
        let place = &mut self.points[finding.signal.index()];
        let counted = match finding.kind {
            FindingKind::Sum => *place + points,
            FindingKind::State => place.max(points),
        };
        *place = counted.clamp(0.0, settings.cap(finding.signal));
    }

    /// All points together.
    #[must_use]
    pub fn total(&self) -> f32 {
        self.points.iter().sum()
    }

    /// The points of one signal.
    #[must_use]
    pub const fn of(&self, signal: Signal) -> f32 {
        self.points[signal.index()]
    }

    /// True if nothing speaks against the sender.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.points.iter().all(|&points| points == 0.0)
    }

    /// The signals that say something, the heaviest first.
    #[must_use]
    pub fn by_weight(&self) -> Vec<(Signal, f32)> {
        let mut signals: Vec<(Signal, f32)> = Signal::ALL
            .map(|signal| (signal, self.of(signal)))
            .into_iter()
            .filter(|(_, p)| *p > 0.0)
            .collect();
        signals.sort_by(|a, b| b.1.total_cmp(&a.1));
        signals
    }

    /// Half of it, for whoever was given another chance by the clock.
    #[must_use]
    pub fn halved(mut self) -> Self {
        self.points.iter_mut().for_each(|points| *points /= 2.0);
        self
    }
}

/// Less is nothing.
const POINTS_MIN: f32 = 0.01;
