//! What an operator or a customer is alerted of, and how each kind behaves.

use std::{fmt, str::FromStr, time::Duration};

/// Defines the kinds with their stable names.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// A kind of alert; docs/alerts.md has them all. Its name is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The name as it stands in messages, log lines and the API.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// A limit's use reached 80 %.
    LimitNear = "limit-near",
    /// A limit is used up.
    LimitReached = "limit-reached",
    /// An account or tenant is suspended; its end is that the suspension was lifted.
    Suspended = "suspended",
    /// An account, tenant or client address is warned or throttled.
    Flagged = "flagged",
    /// Offences of a tenant's accounts propose to cancel it.
    CancelProposed = "cancel-proposed",
    /// Suspensions were a wave, so that no rule suspends any more until a person says so.
    BreakerOpen = "breaker-open",
    /// An account sends far more than it used to.
    SuddenVolume = "sudden-volume",
    /// A next hop fails so often that it is left alone for a while.
    NextHopDown = "next-hop-down",
    /// A next hop refuses much of what it is handed.
    NextHopRefusing = "next-hop-refusing",
    /// Customers' mail is put off because the gate cannot hand it on.
    MailStopped = "mail-stopped",
    /// The Dovecot that checks logins cannot be asked.
    LoginBackendDown = "login-backend-down",
    /// A program that looks into messages cannot be asked.
    ScannerDown = "scanner-down",
    /// The store cannot be written.
    StoreFailing = "store-failing",
    /// The archive cannot be written.
    ArchiveFailing = "archive-failing",
    /// Events were lost on their way into the archive.
    EventsLost = "events-lost",
    /// Texts cannot be written to the spool or read from it.
    SpoolFailing = "spool-failing",
    /// The disk of the state folder is nearly full.
    DiskNearlyFull = "disk-nearly-full",
    /// A certificate that is shown to clients ends soon.
    CertificateExpiring = "certificate-expiring",
    /// The configuration on disk is wrong; the old one is in force.
    ConfigRejected = "config-rejected",
    /// An address or domain of ours is on a blocklist.
    Listed = "listed",
    /// A blocklist cannot be believed, or none can be asked.
    BlocklistImpaired = "blocklist-impaired",
    /// One of our addresses was listed, and this is who sent by it.
    ListingCause = "listing-cause",
    /// Mail that would leave by one of our addresses is held back.
    EgressPaused = "egress-paused",
    /// A task ended by a panic.
    TaskPanicked = "task-panicked",
    /// Most places for connections are taken.
    PlacesScarce = "places-scarce",
    /// Much, or all, of the month's budget of down time is used up.
    SlaBudget = "sla-budget",
    /// A mailbox, or a tenant's mailboxes together, reached 80 % of what it may hold.
    Storage80 = "storage-80",
    /// The same for 95 %.
    Storage95 = "storage-95",
    /// The same for all of it.
    Storage100 = "storage-100",
    /// A mailbox has more files than a backup takes.
    StorageFiles = "storage-files",
    /// Mailboxes cannot be read, so that nobody knows how full they are.
    StorageSourceDown = "storage-source-down",
    /// Alerts cannot be delivered to one of their receivers.
    AlertSinkFailing = "alert-sink-failing",
    /// More alerts than are kept.
    TooManyAlerts = "too-many-alerts",
    /// Made by an operator to see that alerts arrive.
    Test = "test",
}

impl Kind {
    /// How alerts of this kind behave.
    #[must_use]
    pub const fn rule(self) -> Rule {
        use Severity::{Critical, Info, Warning};
        match self {
            Self::LimitNear => Rule::event(Info, HOUR),
            Self::LimitReached => Rule::event(Warning, HOUR),
            Self::Suspended => Rule::lasting(Warning),
            Self::Flagged => Rule { calm: Duration::ZERO, ..Rule::event(Warning, DAY) },
            Self::CancelProposed => Rule::event(Warning, DAY),
            Self::BreakerOpen => Rule { is_own: true, ..Rule::state(Critical) },
            Self::SuddenVolume => Rule::event(Warning, seconds(7_200)),
            Self::NextHopDown => Rule { hold: seconds(5), ..Rule::own(Warning) },
            Self::NextHopRefusing => Rule::event(Warning, QUARTER),
            Self::MailStopped => Rule::event(Critical, QUARTER),
            Self::LoginBackendDown => Rule { hold: seconds(5), ..Rule::own(Critical) },
            Self::ScannerDown => Rule { hold: seconds(5), ..Rule::own(Warning) },
            Self::StoreFailing | Self::ArchiveFailing | Self::SpoolFailing => Rule::own(Critical),
            Self::DiskNearlyFull => Rule::own(Warning),
            Self::EventsLost | Self::TaskPanicked => Rule::event(Warning, HOUR),
            Self::CertificateExpiring => Rule { repeat: Some(DAY), ..Rule::own(Warning) },
            Self::ConfigRejected => Rule { fades: Some(DAY), ..Rule::own(Warning) },
            Self::PlacesScarce => Rule { hold: seconds(30), ..Rule::own(Warning) },
            Self::SlaBudget => Rule::lasting(Warning),
            // A list that takes back and puts on again within the hour is one matter.
            Self::Listed => Rule { calm: HOUR, repeat: Some(DAY), ..Rule::state(Warning) },
            Self::ListingCause => Rule::event(Warning, DAY),
            Self::EgressPaused => Rule::own(Critical),
            Self::BlocklistImpaired => Rule { repeat: Some(DAY), ..Rule::own(Warning) },
            Self::Storage80 | Self::Storage95 | Self::StorageFiles => Rule::lasting(Warning),
            Self::Storage100 => Rule::lasting(Critical),
            Self::StorageSourceDown => Rule::own(Warning),
            Self::AlertSinkFailing => Rule { hold: MINUTE, ..Rule::own(Warning) },
            Self::TooManyAlerts => Rule::event(Warning, HOUR),
            Self::Test => Rule { calm: Duration::ZERO, ..Rule::event(Info, MINUTE) },
        }
    }

    /// True if it concerns a customer, who then hears of it too.
    #[must_use]
    pub const fn is_customers(self) -> bool {
        matches!(
            self,
            Self::LimitNear
                | Self::LimitReached
                | Self::Suspended
                | Self::Flagged
                | Self::SuddenVolume
                | Self::Storage80
                | Self::Storage95
                | Self::Storage100
                | Self::StorageFiles
        )
    }
}

/// How alerts of a kind behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// How much it matters, where the condition itself does not say otherwise.
    pub severity: Severity,
    /// How long the condition must have lasted before anybody is told.
    pub hold: Duration,
    /// How long it must be gone before anybody is told that it is over.
    pub calm: Duration,
    /// How often whoever was told is reminded.
    pub repeat: Option<Duration>,
    /// How long after it was last seen it counts as gone by itself; none: until something says so.
    pub fades: Option<Duration>,
    /// It is a state of this process, so a restart puts it in doubt.
    pub is_own: bool,
}

impl Rule {
    /// A state that lasts until something ends it, across restarts.
    const fn state(severity: Severity) -> Self {
        let (hold, calm, repeat) = (Duration::ZERO, Duration::ZERO, Some(seconds(4 * 3_600)));
        Self { severity, hold, calm, repeat, fades: None, is_own: false }
    }

    /// A state that lasts for days, so whoever knows of it is not reminded often.
    const fn lasting(severity: Severity) -> Self {
        Self { repeat: Some(seconds(7 * 86_400)), ..Self::state(severity) }
    }

    /// A state of this process. It may flap, so its end is told after a while.
    const fn own(severity: Severity) -> Self {
        Self { calm: MINUTE, is_own: true, ..Self::state(severity) }
    }

    /// Something that happens now and then and is over when it has not happened for so long.
    const fn event(severity: Severity, fades: Duration) -> Self {
        Self { calm: MINUTE, repeat: Some(DAY), fades: Some(fades), ..Self::state(severity) }
    }
}

/// How much an alert matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Somebody should look at it today.
    Warning,
    /// Mail does not flow, or may soon not: somebody should look at it now.
    Critical,
}

impl Severity {
    /// All severities, the least first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The name as it stands in messages, the configuration and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A word that names no kind or severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not {wanted}")]
pub struct UnknownWord {
    word: String,
    wanted: &'static str,
}

macro_rules! word {
    ($type:ident, $all:expr, $wanted:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let unknown = || UnknownWord { word: text.to_owned(), wanted: $wanted };
                $all.iter().copied().find(|one| one.name() == text).ok_or_else(unknown)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

word!(Kind, Kind::ALL, "a kind of alert");
word!(Severity, Severity::ALL, "a severity: info, warning or critical");

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const MINUTE: Duration = seconds(60);
const QUARTER: Duration = seconds(900);
const HOUR: Duration = seconds(3_600);
const DAY: Duration = seconds(86_400);
