//! How full mailboxes are: what is known of a mailbox or of all of a tenant's, beside what its plan gives it.
//!
//! What is not known decides nothing: a figure that has grown old, or was never there, makes nobody full and nobody free. What
//! is certain may raise a level; it falls only while everything is known, and by a little more than it rose by, so that a
//! mailbox at a threshold is told of once.

use super::limits::Mode;
use std::{fmt, str::FromStr};

/// What a mailbox holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Octets.
    pub bytes: u64,
    /// Messages, which are files.
    pub files: u64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            files: self.files.saturating_add(other.files),
        }
    }
}

/// What a plan gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Octets of all mailboxes of a tenant together; none: any number.
    pub tenant_bytes_max: Option<u64>,
    /// Octets of one mailbox; none: any number.
    pub account_bytes_max: Option<u64>,
    /// What follows when one of them is used up.
    pub over: Over,
}

/// What one mailbox, or a tenant's mailboxes together, may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Octets; none: any number.
    pub bytes_max: Option<u64>,
    /// What follows when they are used up.
    pub over: Over,
    /// Whether the plan's rules act.
    pub mode: Mode,
}

/// What an account and its tenant may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rooms {
    /// The account's mailbox.
    pub account: Room,
    /// All of the tenant's.
    pub tenant: Room,
}

impl Room {
    /// What follows when it is used up: a plan that is only observed refuses nothing.
    #[must_use]
    pub fn follows(&self) -> Over {
        if self.over == Over::Refuse && self.mode == Mode::Observe {
            Over::Observe
        } else {
            self.over
        }
    }
}

/// What follows when a quota is used up.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// Nothing is accepted from the sender until there is room, but mail to the provider's own people.
    Refuse,
    /// The customer and the operators are told.
    #[default]
    Warn,
    /// It is recorded.
    Observe,
}

impl Over {
    /// The name as it stands in the configuration and in log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Warn => "warn",
            Self::Observe => "observe",
        }
    }
}

/// How full it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Less than 80 %.
    #[default]
    Under,
    /// 80 % or more.
    Near,
    /// 95 % or more.
    Scarce,
    /// 100 % or more.
    Full,
}

impl Level {
    /// All levels, the emptiest first.
    pub const ALL: [Self; 4] = [Self::Under, Self::Near, Self::Scarce, Self::Full];

    /// From how many percent on; 0 of the lowest.
    #[must_use]
    pub const fn percent(self) -> u8 {
        match self {
            Self::Under => 0,
            Self::Near => 80,
            Self::Scarce => 95,
            Self::Full => 100,
        }
    }

    /// The level that begins with so many percent, if one does.
    #[must_use]
    pub fn from_percent(percent: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.percent() == percent)
    }

    /// The level of so many octets of so many.
    #[must_use]
    pub fn of(bytes: u64, bytes_max: u64) -> Self {
        let reached = |level: &Self| {
            u128::from(bytes) * 100 >= u128::from(bytes_max) * u128::from(level.percent())
        };
        Self::ALL.into_iter().rev().find(reached).unwrap_or_default()
    }
}

/// How full it is, for people; unknown where the figure is old or missing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Nothing is known, or not any more.
    Unknown,
    /// There is no quota.
    Unlimited,
    /// Less than 80 %.
    Under,
    /// 80 % or more.
    Near,
    /// 95 % or more.
    Scarce,
    /// 100 % or more.
    Over,
}

impl Fill {
    /// The name as it stands in the API and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unlimited => "unlimited",
            Self::Under => "under",
            Self::Near => "near",
            Self::Scarce => "scarce",
            Self::Over => "over",
        }
    }
}

/// What is known of one mailbox, or of all of a tenant's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// What is certain: the figures that are fresh.
    pub certain: Usage,
    /// What was seen last, figures that have grown old included.
    pub last: Usage,
    /// Mailboxes.
    pub mailboxes: u32,
    /// Those of which there is no fresh figure.
    pub unknown: u32,
}

impl Known {
    /// One mailbox: what was seen last, if anything, and whether that is fresh.
    #[must_use]
    pub fn of(last: Option<Usage>, is_fresh: bool) -> Self {
        let usage = last.unwrap_or_default();
        let is_certain = is_fresh && last.is_some();
        Self {
            certain: if is_certain { usage } else { Usage::default() },
            last: usage,
            mailboxes: 1,
            unknown: u32::from(!is_certain),
        }
    }

    /// With another mailbox.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            certain: self.certain.plus(other.certain),
            last: self.last.plus(other.last),
            mailboxes: self.mailboxes.saturating_add(other.mailboxes),
            unknown: self.unknown.saturating_add(other.unknown),
        }
    }

    /// True if a quota is used up: certainly, or it was when everything was known last and has not been seen to be otherwise.
    #[must_use]
    pub const fn is_full(&self, bytes_max: u64, was_full: bool) -> bool {
        self.certain.bytes >= bytes_max
            || (self.unknown > 0 && was_full && self.last.bytes >= bytes_max)
    }

    /// How full it is, for people.
    #[must_use]
    pub fn fill(&self, bytes_max: Option<u64>) -> Fill {
        let Some(bytes_max) = bytes_max else {
            return if self.unknown < self.mailboxes { Fill::Unlimited } else { Fill::Unknown };
        };
        match Level::of(self.certain.bytes, bytes_max) {
            Level::Full => Fill::Over,
            _ if self.unknown > 0 || self.mailboxes == 0 => Fill::Unknown,
            Level::Scarce => Fill::Scarce,
            Level::Near => Fill::Near,
            Level::Under => Fill::Under,
        }
    }
}

/// What was told last, and what it rests on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// How full it was said to be.
    pub level: Level,
    /// The quota was used up.
    pub is_full: bool,
    /// There were more files than a backup takes.
    pub has_many_files: bool,
}

/// What is to be said of a mailbox or tenant now.
#[must_use]
pub fn judge(known: &Known, bytes_max: Option<u64>, files_max: u64, before: Told) -> Told {
    let Some(bytes_max) = bytes_max else {
        let has_many_files = has_many_files(known, files_max, before.has_many_files);
        return Told { has_many_files, ..Told::default() };
    };
    Told {
        level: level(known, bytes_max, before.level),
        is_full: known.is_full(bytes_max, before.is_full),
        has_many_files: has_many_files(known, files_max, before.has_many_files),
    }
}

fn level(known: &Known, bytes_max: u64, before: Level) -> Level {
    let certain = Level::of(known.certain.bytes, bytes_max);
    if certain >= before || known.unknown > 0 {
        return certain.max(before);
    }
    let with_margin = known.certain.bytes.saturating_add(margin(bytes_max));
    Level::of(with_margin, bytes_max).min(before)
}

fn has_many_files(known: &Known, files_max: u64, before: bool) -> bool {
    let certain = known.certain.files >= files_max;
    let with_margin = known.certain.files.saturating_add(margin(files_max)) >= files_max;
    certain || (before && (known.unknown > 0 || with_margin))
}

/// How much less than a threshold must be used before it counts as left.
const fn margin(max: u64) -> u64 {
    max / 100 * MARGIN_PERCENT
}

const MARGIN_PERCENT: u64 = 2;

impl FromStr for Over {
    type Err = UnknownOver;

    fn from_str(text: &str) -> Result<Self, UnknownOver> {
        [Self::Refuse, Self::Warn, Self::Observe]
            .into_iter()
            .find(|over| over.name() == text)
            .ok_or(UnknownOver)
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that says nothing of what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("wanted refuse, warn or observe")]
pub struct UnknownOver;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bytes: u64) -> Known {
        Known::of(Some(Usage { bytes, files: 1 }), true)
    }

    fn old(bytes: u64) -> Known {
        Known::of(Some(Usage { bytes, files: 1 }), false)
    }

    #[track_caller]
    fn check(steps: &[(Known, Level, bool)]) {
        let mut told = Told::default();
        for (number, (known, level, is_full)) in steps.iter().enumerate() {
            told = judge(known, Some(1_000), 250_000, told);
            assert_eq!((told.level, told.is_full), (*level, *is_full), "step {number}: {known:?}");
        }
    }

    #[test]
    fn a_level_begins_at_its_threshold() {
        for (bytes, level) in [
            (0, Level::Under),
            (799, Level::Under),
            (800, Level::Near),
            (949, Level::Near),
            (950, Level::Scarce),
            (999, Level::Scarce),
            (1_000, Level::Full),
            (u64::MAX, Level::Full),
        ] {
            assert_eq!(Level::of(bytes, 1_000), level, "{bytes}");
        }
        assert_eq!(Level::of(u64::MAX - 1, u64::MAX), Level::Scarce);
        assert_eq!(Level::of(0, 0), Level::Full);
    }

    #[test]
    fn a_level_is_left_a_little_below_its_threshold() {
        check(&[
            (seen(800), Level::Near, false),
            (seen(799), Level::Near, false),
            (seen(801), Level::Near, false),
            (seen(780), Level::Near, false),
            (seen(779), Level::Under, false),
            (seen(1_000), Level::Full, true),
            (seen(999), Level::Full, false),
            (seen(1_000), Level::Full, true),
            (seen(979), Level::Scarce, false),
            (seen(10), Level::Under, false),
        ]);
    }

    #[test]
    fn what_is_not_known_makes_nobody_full_and_nobody_free() {
        check(&[
            (old(2_000), Level::Under, false),
            (Known::of(None, true), Level::Under, false),
            (seen(1_200), Level::Full, true),
            (old(1_200), Level::Full, true),
            (seen(100), Level::Under, false),
            (old(100), Level::Under, false),
        ]);
    }

    #[test]
    fn a_tenant_is_as_full_as_is_certain() {
        check(&[
            // What is old does not fill, however much it was.
            (seen(600).plus(old(600)), Level::Under, false),
            (seen(990).plus(old(600)), Level::Scarce, false),
            (seen(600).plus(seen(600)), Level::Full, true),
            // One of two is not seen any more: it stays.
            (seen(600).plus(old(600)), Level::Full, true),
            // What is fresh has made room, whatever the other holds since it was seen.
            (seen(100).plus(old(600)), Level::Full, false),
            (seen(100).plus(seen(600)), Level::Under, false),
        ]);
    }

    #[test]
    fn more_room_frees_also_whom_nobody_sees() {
        let full = judge(&seen(1_200), Some(1_000), 10, Told::default());
        assert!(full.is_full && judge(&old(1_200), Some(1_000), 10, full).is_full);
        assert!(!judge(&old(1_200), Some(2_000), 10, full).is_full);
        assert_eq!(judge(&old(1_200), None, 10, full), Told::default());
        // Less room fills nobody of whom nothing is known now.
        assert!(!judge(&old(900), Some(800), 10, Told::default()).is_full);
    }

    #[test]
    fn many_files_are_told_once() {
        let files = |files| Known::of(Some(Usage { bytes: 0, files }), true);
        let lost = Known::of(Some(Usage::default()), false);
        let mut told = Told::default();
        for (known, many) in [
            (files(999), false),
            (files(1_000), true),
            (files(999), true),
            (lost, true),
            (files(980), true),
            (files(979), false),
            (lost, false),
        ] {
            told = judge(&known, None, 1_000, told);
            assert_eq!(told.has_many_files, many, "{known:?}");
        }
    }

    #[test]
    fn people_see_what_is_not_known() {
        let none = Known::default();
        for (known, max, fill) in [
            (seen(10), Some(1_000), Fill::Under),
            (seen(900), Some(1_000), Fill::Near),
            (seen(960), Some(1_000), Fill::Scarce),
            (seen(1_000), Some(1_000), Fill::Over),
            (seen(1_000).plus(old(1)), Some(1_000), Fill::Over),
            (seen(999).plus(old(1)), Some(1_000), Fill::Unknown),
            (old(5_000), Some(1_000), Fill::Unknown),
            (none, Some(1_000), Fill::Unknown),
            (none, None, Fill::Unknown),
            (seen(1), None, Fill::Unlimited),
        ] {
            assert_eq!(known.fill(max), fill, "{known:?}");
        }
    }
}
