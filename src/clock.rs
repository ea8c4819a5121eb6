//! The only reader of the clock.
//!
//! Ledger time starts at the later of the wall clock and the highest time that the store has seen; where the store knows an
//! [`Anchor`] of the machine's present boot, it starts where the boot-time clock says, whatever the wall clock shows. From then on
//! it advances with the boot-time clock, which counts suspended time and is not stepped. Steps of the wall clock while
//! running are therefore ignored for every decision; drift between the two is slewed by at most one part in
//! [`SLEW_PARTS`], and never backwards. Tests hold a clock that is moved by hand ([`Clock::by_hand`]); a simulation starts
//! the same clock on a [`Machine`] of its own.

use crate::types::Timestamp;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

/// Tells the ledger's time. Cheap to clone; all clones tell the same time.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

enum Source {
    Running(Faces, Mutex<Reading>),
    Hand(Arc<AtomicI64>),
}

/// The last answer that was given and the two clocks at that moment, all in milliseconds.
struct Reading {
    ledger: i64,
    boot: i64,
    /// Slew that has been earned but not yet applied, in millionths of a millisecond.
    slew_credit: i64,
}

impl Clock {
    /// Starts the clock at the later of the wall clock and `high_water`, the latest time that the store has seen.
    #[must_use]
    pub fn start(high_water: Timestamp) -> Self {
        Self::start_by(Faces::System, high_water)
    }

    /// Goes on from an anchor of this boot of the machine, so that no step of the wall clock between two lives of the process
    /// counts; from an older one, or none, as [`Clock::start`].
    #[must_use]
    pub fn resume(anchor: Option<Anchor>, high_water: Timestamp) -> Self {
        let clock = Self::start(high_water);
        if let (Some(anchor), Source::Running(_, reading)) = (anchor, &*clock.0)
            && Some(anchor.boot_id) == boot_id()
        {
            reading.lock().resume(anchor, high_water.as_millis());
        }
        clock
    }

    /// The present moment on the boot-time clock, for [`Clock::resume`] in the next life of the process. None where boots have
    /// no name, and for a clock that is not the machine's.
    #[must_use]
    pub fn anchor(&self) -> Option<Anchor> {
        let Source::Running(faces @ Faces::System, reading) = &*self.0 else { return None };
        let (boot_id, mut reading) = (boot_id()?, reading.lock());
        let ledger = reading.advance(faces.boot_millis(), faces.wall_millis());
        Some(Anchor { boot_id, boot: reading.boot, ledger })
    }

    /// As [`Clock::start`], by the clocks of a simulated machine.
    #[must_use]
    pub fn start_on(machine: &Machine, high_water: Timestamp) -> Self {
        Self::start_by(Faces::Simulated(machine.clone()), high_water)
    }

    fn start_by(faces: Faces, high_water: Timestamp) -> Self {
        let ledger = faces.wall_millis().max(high_water.as_millis());
        let reading = Reading { ledger, boot: faces.boot_millis(), slew_credit: 0 };
        Self(Arc::new(Source::Running(faces, Mutex::new(reading))))
    }

    /// A clock that stands still until its [`Hand`] moves it.
    #[must_use]
    pub fn by_hand(start: Timestamp) -> (Self, Hand) {
        let hand = Arc::new(AtomicI64::new(start.as_millis()));
        (Self(Arc::new(Source::Hand(hand.clone()))), Hand(hand))
    }

    /// The present moment, never earlier than an answer given before.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::Running(faces, reading) => {
                let (boot, wall) = (faces.boot_millis(), faces.wall_millis());
                Timestamp::from_millis(reading.lock().advance(boot, wall))
            }
            Source::Hand(hand) => Timestamp::from_millis(hand.load(Ordering::Acquire)),
        }
    }

    /// The present moment in UTC, for what people read: the ledger's time, moved by the whole seconds that the wall clock
    /// is away from it. Decisions use [`Clock::now`].
    #[must_use]
    pub fn utc(&self) -> Timestamp {
        self.to_utc(self.now())
    }

    /// Another moment of the ledger in UTC, by the present difference of the two.
    #[must_use]
    pub fn to_utc(&self, moment: Timestamp) -> Timestamp {
        let away = match &*self.0 {
            Source::Running(faces, _) => {
                whole_seconds(faces.wall_millis() - self.now().as_millis())
            }
            Source::Hand(_) => 0,
        };
        Timestamp::from_millis(moment.as_millis() + away)
    }

    /// How long from now until `moment`; zero if it has passed.
    #[must_use]
    pub fn until(&self, moment: Timestamp) -> Duration {
        moment.since(self.now())
    }
}

/// One moment on both the boot-time clock and the ledger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Names the boot of the machine.
    pub boot_id: i64,
    /// Milliseconds since the boot.
    pub boot: i64,
    /// Milliseconds on the ledger's clock.
    pub ledger: i64,
}

/// Moves the clock that came with it, forwards only.
#[derive(Debug)]
pub struct Hand(Arc<AtomicI64>);

impl Hand {
    /// Moves the clock to a moment, unless it is there already.
    pub fn move_to(&self, moment: Timestamp) {
        self.0.fetch_max(moment.as_millis(), Ordering::AcqRel);
    }
}

/// Where the boot-time clock and the wall clock are read.
enum Faces {
    System,
    Simulated(Machine),
}

impl Faces {
    fn boot_millis(&self) -> i64 {
        match self {
            Self::System => boot_millis(),
            Self::Simulated(machine) => machine.boot_millis(),
        }
    }

    fn wall_millis(&self) -> i64 {
        match self {
            Self::System => wall_millis(),
            Self::Simulated(machine) => machine.wall_millis(),
        }
    }
}

/// The clocks of a machine that a simulation plays: the boot-time clock is the tokio runtime's, which the simulation pauses;
/// the wall clock goes with it and can be stepped.
#[derive(Clone)]
pub struct Machine {
    booted: tokio::time::Instant,
    /// What the wall clock showed at boot, and all steps since.
    wall: Arc<AtomicI64>,
}

impl Machine {
    /// A machine that boots now. Must be called within a tokio runtime.
    #[must_use]
    pub fn boot(wall: Timestamp) -> Self {
        Self { booted: runtime_now(), wall: Arc::new(AtomicI64::new(wall.as_millis())) }
    }

    /// Steps the wall clock, forwards or back.
    pub fn step_wall(&self, millis: i64) {
        self.wall.fetch_add(millis, Ordering::AcqRel);
    }

    fn boot_millis(&self) -> i64 {
        i64::try_from(runtime_now().duration_since(self.booted).as_millis()).unwrap_or(i64::MAX)
    }

    fn wall_millis(&self) -> i64 {
        self.wall.load(Ordering::Acquire) + self.boot_millis()
    }
}

/// The wall clock, for what is not a decision: file names, certificates.
#[must_use]
pub fn wall_now() -> Timestamp {
    Timestamp::from_millis(wall_millis())
}

/// A steady clock for measuring how long something took; stands still where the tokio runtime's time does.
#[must_use]
pub fn steady_now() -> std::time::Instant {
    runtime_now().into_std()
}

#[expect(clippy::disallowed_methods, reason = "this is the module that reads clocks")]
fn runtime_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

impl Reading {
    /// Begins where an anchor of this boot says, but not before `high_water`. A boot-time clock that is behind the anchor's
    /// contradicts it, and nothing changes.
    fn resume(&mut self, anchor: Anchor, high_water: i64) {
        if let passed @ 0.. = self.boot.saturating_sub(anchor.boot) {
            self.ledger = anchor.ledger.saturating_add(passed).max(high_water);
        }
    }

    /// Moves the ledger's time on to the clocks' present readings.
    fn advance(&mut self, boot: i64, wall: i64) -> i64 {
        let passed = (boot - self.boot).max(0);
        self.boot = self.boot.max(boot);
        self.ledger += passed + self.slew(passed, wall);
        self.ledger
    }

    /// The correction towards the wall clock that this much passed time allows. A wall clock that is further away than
    /// [`STEP_MILLIS`] was stepped and is not followed.
    fn slew(&mut self, passed: i64, wall: i64) -> i64 {
        let behind = wall - (self.ledger + passed);
        if behind == 0 || behind.abs() > STEP_MILLIS {
            self.slew_credit = 0;
            return 0;
        }
        self.slew_credit =
            (self.slew_credit + passed * (1_000_000 / SLEW_PARTS)).min(SLEW_CREDIT_MAX);
        let allowed = (self.slew_credit / 1_000_000).min(behind.abs()).min(passed);
        self.slew_credit -= allowed * 1_000_000;
        allowed * behind.signum()
    }
}

/// To the nearest second: drift that is being slewed does not show, so that a moment is printed the same way twice.
const fn whole_seconds(millis: i64) -> i64 {
    (millis + 500).div_euclid(1000) * 1000
}

#[expect(clippy::disallowed_methods, reason = "this is the module that reads clocks")]
fn wall_millis() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// A number for the machine's present boot, from the kernel's random name for it (random(4)).
fn boot_id() -> Option<i64> {
    static BOOT_ID: OnceLock<Option<i64>> = OnceLock::new();
    *BOOT_ID.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: String = name.chars().filter(char::is_ascii_hexdigit).take(15).collect();
        i64::from_str_radix(&digits, 16).ok()
    })
}

fn boot_millis() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// One part in this many is the fastest that drift is corrected: 0.5 ms a second, as NTP slews (RFC 5905 §11.3).
const SLEW_PARTS: i64 = 2_000;
/// A difference beyond this is a step of the wall clock, not drift.
const STEP_MILLIS: i64 = 1_000;
const SLEW_CREDIT_MAX: i64 = 1_000 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &[(i64, i64)], expected: &[i64]) {
        let mut reading = Reading { ledger: 1_000_000, boot: 0, slew_credit: 0 };
        let got: Vec<i64> = steps.iter().map(|&(boot, wall)| reading.advance(boot, wall)).collect();
        assert_eq!(got, expected, "{steps:?}");
    }

    #[test]
    fn a_step_of_the_wall_clock_is_ignored() {
        check(&[(10, 1_000_010), (20, 9_000_000), (30, 0)], &[1_000_010, 1_000_020, 1_000_030]);
    }

    #[test]
    fn drift_is_slewed_and_time_never_goes_back() {
        check(&[(100_000, 1_100_100)], &[1_100_050]);
        check(&[(100_000, 1_099_900)], &[1_099_950]);
        check(
            &[(10, 1_000_010), (10, 1_000_000), (5, 999_999)],
            &[1_000_010, 1_000_010, 1_000_010],
        );
    }

    #[test]
    fn an_anchor_of_this_boot_goes_before_the_wall_clock_but_not_before_the_store() {
        let check = |boot: i64, high_water: i64, expected: i64| {
            let mut reading = Reading { ledger: 9_000_000, boot, slew_credit: 0 };
            reading.resume(Anchor { boot_id: 1, boot: 500, ledger: 1_000_000 }, high_water);
            assert_eq!(reading.ledger, expected, "{boot} {high_water}");
        };
        check(500, 0, 1_000_000);
        check(60_500, 0, 1_060_000);
        check(60_500, 1_070_000, 1_070_000);
        check(499, 0, 9_000_000);
        check(i64::MIN, 0, 9_000_000);
        check(i64::MAX, 0, i64::MAX);
    }

    #[test]
    fn an_anchor_of_this_process_is_one_of_this_boot() {
        let ahead = Timestamp::from_millis(wall_millis() + 86_400_000);
        let anchor = Clock::start(ahead).anchor();
        assert!(anchor.is_some(), "the kernel names its boots");
        let resumed = Clock::resume(anchor, Timestamp::EPOCH);
        assert!(resumed.now() >= ahead, "by the anchor, not by the wall clock");
        let other = anchor.map(|anchor| Anchor { boot_id: !anchor.boot_id, ..anchor });
        assert!(Clock::resume(other, Timestamp::EPOCH).now() < ahead, "of another boot");
    }

    #[test]
    fn only_whole_seconds_are_between_the_ledger_and_utc() {
        for (away, shown) in
            [(0, 0), (499, 0), (-500, 0), (500, 1000), (-501, -1000), (3_600_100, 3_600_000)]
        {
            assert_eq!(whole_seconds(away), shown, "{away}");
        }
    }
}
