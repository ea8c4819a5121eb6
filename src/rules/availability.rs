//! Whether mail could flow, minute by minute, and what that makes of a month beside what was promised (the SLA).
//!
//! [`Watch`] makes minutes of looks that are taken every few seconds. A minute is up only if somebody looked from its beginning to its
//! end and nothing was ever lacking; a minute without a row is down, because then the program was not there. [`tally`] counts
//! a month's minutes. Not counted are minutes before the first one that was ever noted, and those that a clock which was set
//! forward has skipped; planned maintenance is counted apart. Pure: looks, rows and moments are arguments.

use crate::{
    rules::{
        tally::calendar::{Day, Zone},
        verdict::Moment,
    },
    types::{Month, Timestamp},
};
use std::{ops::Range, time::Duration};

/// A minute of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(i64);

impl Minute {
    /// The minute that a moment lies in.
    #[must_use]
    pub const fn of(moment: Timestamp) -> Self {
        Self(moment.as_millis().div_euclid(MINUTE_MILLIS))
    }

    /// The first minute that begins no earlier than a moment.
    #[must_use]
    pub const fn from(moment: Timestamp) -> Self {
        let late = moment.as_millis().rem_euclid(MINUTE_MILLIS) != 0;
        Self(Self::of(moment).0 + late as i64)
    }

    /// The minute with this number.
    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Minutes since the Unix epoch.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// Its first moment.
    #[must_use]
    pub const fn begins(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(MINUTE_MILLIS))
    }

    /// The minute so many minutes later, or earlier.
    #[must_use]
    pub const fn plus(self, minutes: i64) -> Self {
        Self(self.0.saturating_add(minutes))
    }
}

/// What mail lacked in order to flow; nothing, if it could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lacks(u8);

impl Lacks {
    /// Nothing: mail could flow.
    pub const NOTHING: Self = Self(0);
    /// A listener that accepts.
    pub const LISTENING: Self = Self(1);
    /// A store that can be written.
    pub const STORE: Self = Self(2);
    /// A next hop that is up.
    pub const NEXT_HOP: Self = Self(4);
    /// The program itself. Never stored: it is what a missing row means.
    pub const PROGRAM: Self = Self(8);

    /// This and the other together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Keeps this only where a condition holds.
    #[must_use]
    pub const fn when(self, holds: bool) -> Self {
        if holds { self } else { Self::NOTHING }
    }

    /// True if mail could flow.
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// As it is stored.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// As it was stored.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The names of what was lacking, as they are printed.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let lacking = LACK_NAMES.iter().filter(|(lack, _)| self.0 & lack.0 != 0);
        lacking.map(|&(_, name)| name).collect()
    }
}

/// Makes minutes of looks.
#[derive(Debug, Default)]
pub struct Watch {
    open: Option<OpenMinute>,
}

#[derive(Debug)]
struct OpenMinute {
    minute: Minute,
    lacks: Lacks,
    /// Somebody has looked since it began, without a pause.
    is_whole: bool,
    last: Moment,
}

/// What a look brought to an end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// The minute that is over, if it was looked at from its beginning to its end.
    pub minute: Option<(Minute, Lacks)>,
    /// Minutes that never were, because the clock was set forward.
    pub skipped: Option<Range<Minute>>,
    /// The minute that a new beginning, or a clock that was set back, leads to: what was said to be skipped from there on will be.
    pub back_to: Option<Minute>,
}

impl Watch {
    /// Takes a look into account; looks come at least every [`LOOK_PAUSE_MAX`].
    pub fn look(&mut self, at: Moment, lacks: Lacks) -> Ended {
        let minute = Minute::of(at.utc);
        let Some(open) = &mut self.open else {
            // Of its own first minute the program knows only the rest.
            self.open = Some(OpenMinute { minute, lacks, is_whole: false, last: at });
            return Ended { back_to: Some(minute), ..Ended::default() };
        };
        let stood_still = at.ledger.since(open.last.ledger) > LOOK_PAUSE_MAX;
        if minute == open.minute {
            open.lacks = open.lacks.and(lacks);
            open.is_whole &= !stood_still;
            open.last = at;
            return Ended::default();
        }
        let was_seen = open.is_whole && !stood_still;
        let ended = Ended {
            minute: was_seen.then_some((open.minute, open.lacks)),
            skipped: skipped(open, at),
            back_to: (minute < open.minute).then_some(minute),
        };
        *open = OpenMinute { minute, lacks, is_whole: !stood_still, last: at };
        ended
    }
}

/// Whole minutes that the wall clock passed over while the ledger's went on as ever.
fn skipped(open: &OpenMinute, at: Moment) -> Option<Range<Minute>> {
    let (by_wall, passed) = (at.utc.since(open.last.utc), at.ledger.since(open.last.ledger));
    let step = i64::try_from(by_wall.saturating_sub(passed).as_secs()).unwrap_or(i64::MAX);
    let end = Minute::of(at.utc);
    let begin = end.plus(-(step.saturating_add(59) / 60)).max(open.minute.plus(1));
    (step > STEP_SECONDS_MIN && begin < end).then_some(begin..end)
}

/// What was promised: the share of a month's minutes in which mail can flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Of a million minutes, those that may be down.
    down_ppm: u32,
}

impl Target {
    /// Makes a target of a percentage from 50 to 100, such as 99 or 99.95.
    #[must_use]
    pub fn from_percent(percent: f64) -> Option<Self> {
        let down = (100.0 - percent) * 10_000.0;
        // Within the range of the percentage it is a small positive number.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "just checked")]
        (50.0..=100.0).contains(&percent).then(|| Self { down_ppm: down.round() as u32 })
    }

    /// The percentage.
    #[must_use]
    pub fn percent(self) -> f64 {
        100.0 - f64::from(self.down_ppm) / 10_000.0
    }

    /// How long mail may not flow within so many minutes.
    #[must_use]
    pub fn budget(self, minutes: u32) -> Duration {
        Duration::from_secs(u64::from(minutes) * 60 * u64::from(self.down_ppm) / 1_000_000)
    }
}

/// What was promised, and whose months are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sla {
    /// The share of minutes.
    pub target: Target,
    /// Where months begin at midnight.
    pub zone: Zone,
}

impl Sla {
    /// The month that a moment lies in.
    #[must_use]
    pub fn month_of(&self, moment: Timestamp) -> Month {
        Month::of(self.zone.day_of(moment).date())
    }

    /// From the month's first moment to its end.
    #[must_use]
    pub fn range(&self, month: Month) -> Range<Timestamp> {
        let begin = |month: Month| self.zone.begin_of(Day::of(month.first()));
        begin(month)..begin(month.next())
    }
}

/// 99 %, by months of UTC.
impl Default for Sla {
    fn default() -> Self {
        Self { target: Target::default(), zone: Zone::UTC }
    }
}

/// 99 %: 7 h 12 min in 30 days.
impl Default for Target {
    fn default() -> Self {
        Self { down_ppm: 10_000 }
    }
}

/// What is known of a stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The minutes that were noted, in order.
    pub minutes: Vec<(Minute, Lacks)>,
    /// The first minute that was ever noted; none: there is none yet.
    pub first: Option<Minute>,
    /// The last one.
    pub last: Option<Minute>,
    /// Planned maintenance.
    pub maintenance: Vec<Range<Minute>>,
    /// What clocks that were set forward have skipped.
    pub skipped: Vec<Range<Minute>>,
}

/// The first minute that is to come. A minute is noted only when it is over, and a moment later; one that is missing is down once
/// [`NOTED_WITHIN_MINUTES`] have passed.
#[must_use]
pub fn to_come(now: Timestamp, last_noted: Option<Minute>) -> Minute {
    let now = Minute::of(now);
    let noted = last_noted.map_or(now, |last| last.plus(1)).min(now);
    noted.max(now.plus(-NOTED_WITHIN_MINUTES))
}

/// The minutes of a stretch of time, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Minutes that are counted: all but those before the first noted one, those to come, and those that never were.
    pub minutes: u32,
    /// Of these, the ones without mail and without planned maintenance.
    pub down: u32,
    /// Of these, the ones of planned maintenance, whether mail flowed or not.
    pub maintenance: u32,
    /// Of the maintenance, the minutes in which mail did not flow.
    pub maintenance_down: u32,
    /// Minutes to come that will be counted.
    pub to_come: u32,
    /// What was down, the longest first, at most [`OUTAGES_MAX`].
    pub outages: Vec<Outage>,
    /// How many times something was down.
    pub outages_count: u32,
}

/// Minutes in a row without mail and without planned maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The first of them.
    pub from: Minute,
    /// How many.
    pub minutes: u32,
    /// All that was lacking in any of them.
    pub lacks: Lacks,
}

impl Tally {
    /// How long mail may not flow in the whole stretch, its minutes to come included.
    #[must_use]
    pub fn budget(&self, target: Target) -> Duration {
        target.budget(self.minutes.saturating_add(self.to_come))
    }

    /// How long mail did not flow.
    #[must_use]
    pub fn used(&self) -> Duration {
        Duration::from_secs(u64::from(self.down) * 60)
    }

    /// The share of the counted minutes that were not down, in percent, rounded down to a thousandth, so that 100 is said only of
    /// 100; none if there was no minute.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let (up, all) = (u64::from(self.minutes - self.down), u64::from(self.minutes));
        let thousandths = (up * 100_000).checked_div(all)?;
        u32::try_from(thousandths).ok().map(|thousandths| f64::from(thousandths) / 1000.0)
    }

    /// How much of the budget is used, in percent, rounded down; a budget of nothing is used up by the first minute.
    #[must_use]
    pub fn budget_used_percent(&self, target: Target) -> u32 {
        let (used, budget) = (self.used().as_secs(), self.budget(target).as_secs());
        let percent = if used == 0 { Some(0) } else { (used * 100).checked_div(budget) };
        percent.and_then(|percent| u32::try_from(percent).ok()).unwrap_or(u32::MAX)
    }

    fn note(&mut self, minute: Minute, lacks: Lacks, is_planned: bool) {
        let down = u32::from(!lacks.is_nothing());
        self.minutes += 1;
        if is_planned {
            self.maintenance += 1;
            self.maintenance_down += down;
        } else {
            self.down += down;
            self.note_outage(minute, lacks);
        }
    }

    fn note_outage(&mut self, minute: Minute, lacks: Lacks) {
        if lacks.is_nothing() {
            return;
        }
        match self.outages.last_mut() {
            Some(last) if last.from.plus(last.minutes.into()) == minute => {
                last.minutes += 1;
                last.lacks = last.lacks.and(lacks);
            }
            _ => self.outages.push(Outage { from: minute, minutes: 1, lacks }),
        }
    }

    fn finish(mut self) -> Self {
        self.outages_count = u32::try_from(self.outages.len()).unwrap_or(u32::MAX);
        self.outages.sort_by_key(|outage| (std::cmp::Reverse(outage.minutes), outage.from));
        self.outages.truncate(OUTAGES_MAX);
        self
    }
}

/// Counts the minutes of `stretch`, those from `now` on as minutes to come.
#[must_use]
pub fn tally(stretch: &Range<Minute>, now: Minute, known: &Known) -> Tally {
    let mut tally = Tally::default();
    // Before anything was ever noted there is nothing to judge: then the present is the beginning.
    let begin = known.first.unwrap_or(now).max(stretch.start);
    let end = stretch.end.min(now);
    let mut noted = known.minutes.iter().copied().peekable();
    for number in begin.0..end.0 {
        let minute = Minute(number);
        while noted.next_if(|&(earlier, _)| earlier < minute).is_some() {}
        let lacks = noted.next_if(|&(next, _)| next == minute).map(|(_, lacks)| lacks);
        if lacks.is_none() && is_in(&known.skipped, minute) {
            continue;
        }
        tally.note(minute, lacks.unwrap_or(Lacks::PROGRAM), is_in(&known.maintenance, minute));
    }
    tally.to_come = u32::try_from(stretch.end.0 - begin.max(end).0).unwrap_or(0);
    tally.finish()
}

fn is_in(ranges: &[Range<Minute>], minute: Minute) -> bool {
    ranges.iter().any(|range| range.contains(&minute))
}

const LACK_NAMES: [(Lacks, &str); 4] = [
    (Lacks::LISTENING, "listening"),
    (Lacks::STORE, "store"),
    (Lacks::NEXT_HOP, "next-hop"),
    (Lacks::PROGRAM, "program"),
];

/// A longer pause between two looks leaves the minutes that it touches unseen.
pub const LOOK_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A minute that is not noted after so many is down.
const NOTED_WITHIN_MINUTES: i64 = 2;
/// The most outages that are told one by one.
pub const OUTAGES_MAX: usize = 20;
/// A smaller step of the wall clock is the drift of clocks, or skips no whole minute that would matter.
const STEP_SECONDS_MIN: i64 = 30;
const MINUTE_MILLIS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every ten seconds from a moment of the wall clock on, while the ledger's goes its own way.
    struct Clocks {
        watch: Watch,
        ledger: i64,
        utc: i64,
        seen: Vec<(i64, u8)>,
        skipped: Vec<(i64, i64)>,
        back_to: Vec<i64>,
    }

    impl Clocks {
        fn start(utc_seconds: i64) -> Self {
            let nothing = (Vec::new(), Vec::new(), Vec::new());
            let (seen, skipped, back_to) = nothing;
            let mut clocks = Self {
                watch: Watch::default(),
                ledger: 7,
                utc: utc_seconds,
                seen,
                skipped,
                back_to,
            };
            clocks.look(Lacks::NOTHING);
            clocks
        }

        fn look(&mut self, lacks: Lacks) {
            let at = Moment {
                ledger: Timestamp::from_millis(self.ledger * 1000),
                utc: Timestamp::from_millis(self.utc * 1000),
            };
            let ended = self.watch.look(at, lacks);
            self.seen.extend(ended.minute.map(|(minute, lacks)| (minute.0, lacks.0)));
            self.skipped.extend(ended.skipped.map(|range| (range.start.0, range.end.0)));
            self.back_to.extend(ended.back_to.map(Minute::number));
        }

        fn pass(&mut self, seconds: i64) {
            self.ledger += seconds;
            self.utc += seconds;
        }

        /// So many seconds with a look every ten.
        fn run(&mut self, seconds: i64, lacks: Lacks) {
            for _ in 0..seconds / 10 {
                self.pass(10);
                self.look(lacks);
            }
        }
    }

    #[test]
    fn a_minute_is_up_if_nothing_was_lacking_from_its_beginning_to_its_end() {
        let mut clocks = Clocks::start(90);
        clocks.run(100, Lacks::NOTHING);
        assert_eq!(clocks.seen, [(2, 0)], "the first one was seen in part");
        clocks.run(10, Lacks::STORE);
        clocks.run(10, Lacks::NEXT_HOP);
        clocks.run(120, Lacks::NOTHING);
        assert_eq!(clocks.seen[1..], [(3, 6), (4, 0)]);
        assert_eq!((clocks.back_to, clocks.skipped), (vec![1], vec![]));
    }

    #[test]
    fn a_pause_leaves_the_minutes_that_it_touches_unseen() {
        for (pause, seen) in
            [(20, &[1, 2, 3, 4][..]), (30, &[1, 2, 3, 4]), (31, &[2, 3]), (130, &[4])]
        {
            let mut clocks = Clocks::start(0);
            clocks.run(80, Lacks::NOTHING);
            clocks.pass(pause);
            clocks.look(Lacks::NOTHING);
            clocks.run(300 - 80 - pause, Lacks::NOTHING);
            let minutes: Vec<i64> = clocks.seen.iter().map(|&(minute, _)| minute).collect();
            assert_eq!(minutes, seen, "{pause}");
            assert_eq!(clocks.skipped, [], "time that passes is not skipped");
        }
    }

    #[test]
    fn what_a_clock_that_is_set_forward_skips_is_no_outage() {
        for (step, skipped) in [
            (29, &[][..]),
            (3600, &[(2, 61)]),
            (3620, &[(2, 61)]),
            (-29, &[]),
            (365 * 86_400, &[(2, 525_601)]),
        ] {
            let mut clocks = Clocks::start(0);
            clocks.run(80, Lacks::NOTHING);
            clocks.utc += step;
            clocks.run(120, Lacks::NOTHING);
            assert_eq!(clocks.skipped, skipped, "{step}");
            assert_eq!(clocks.seen.first(), Some(&(1, 0)), "{step}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_lives_minutes_twice() {
        let mut clocks = Clocks::start(3600);
        clocks.run(80, Lacks::NOTHING);
        clocks.utc -= 1800;
        clocks.run(120, Lacks::STORE);
        assert_eq!(clocks.seen, [(61, 0), (31, 2), (32, 2)]);
        assert_eq!((clocks.back_to, clocks.skipped), (vec![60, 31], vec![]));
    }

    const UP: Lacks = Lacks::NOTHING;

    fn known(begin: i64, minutes: &[Lacks]) -> Known {
        let minutes: Vec<_> = (begin..).map(Minute).zip(minutes.iter().copied()).collect();
        Known { first: minutes.first().map(|&(first, _)| first), minutes, ..Known::default() }
    }

    fn minutes(range: Range<i64>) -> Range<Minute> {
        Minute(range.start)..Minute(range.end)
    }

    /// Counted, down, of maintenance, down in maintenance, to come.
    #[track_caller]
    fn check(stretch: Range<i64>, now: i64, known: &Known, expected: [u32; 5]) -> Tally {
        let tally = tally(&minutes(stretch), Minute(now), known);
        let Tally { minutes, down, maintenance, maintenance_down, to_come, .. } = tally;
        assert_eq!([minutes, down, maintenance, maintenance_down, to_come], expected);
        tally
    }

    #[test]
    fn every_minute_is_counted_once() {
        let all_up = known(0, &[UP; 100]);
        check(0..100, 100, &all_up, [100, 0, 0, 0, 0]);
        check(0..100, 200, &all_up, [100, 0, 0, 0, 0]);
        check(0..150, 100, &all_up, [100, 0, 0, 0, 50]);
        // What is missing is down.
        let tally = check(0..150, 120, &all_up, [120, 20, 0, 0, 30]);
        let outage = Outage { from: Minute(100), minutes: 20, lacks: Lacks::PROGRAM };
        assert_eq!(tally.outages, [outage]);
        // What was before the first minute ever, or is to come, is not judged.
        let late = known(60, &[UP; 40]);
        check(0..100, 100, &late, [40, 0, 0, 0, 0]);
        check(0..100, 80, &late, [20, 0, 0, 0, 20]);
        check(200..300, 100, &late, [0, 0, 0, 0, 100]);
        check(0..50, 100, &late, [0, 0, 0, 0, 0]);
        check(0..100, 30, &Known::default(), [0, 0, 0, 0, 70]);
        let earlier = Known { first: Some(Minute(-500)), ..late };
        check(0..100, 100, &earlier, [100, 60, 0, 0, 0]);
    }

    #[test]
    fn maintenance_is_counted_apart_and_what_was_skipped_not_at_all() {
        let mut known = known(0, &[UP, Lacks::STORE, Lacks::STORE, UP, UP, UP]);
        known.maintenance = vec![minutes(2..4), minutes(3..5)];
        let tally = check(0..10, 6, &known, [6, 1, 3, 1, 4]);
        assert_eq!(tally.outages, [Outage { from: Minute(1), minutes: 1, lacks: Lacks::STORE }]);
        known.skipped = vec![minutes(5..8)];
        // A minute that was noted all the same was there.
        check(0..10, 10, &known, [8, 3, 3, 1, 0]);
    }

    #[test]
    fn outages_are_told_the_longest_first_with_all_that_was_lacking() {
        let hop = Lacks::NEXT_HOP;
        let mut known = known(0, &[hop, UP, Lacks::STORE, hop, Lacks::LISTENING, UP, hop]);
        known.minutes.extend((9..12).map(|minute| (Minute(minute), UP)));
        let tally = check(0..12, 12, &known, [12, 7, 0, 0, 0]);
        let told: Vec<_> = tally
            .outages
            .iter()
            .map(|outage| (outage.from.0, outage.minutes, outage.lacks.names().join(" ")))
            .collect();
        assert_eq!(told[0], (2, 3, "listening store next-hop".to_owned()));
        assert_eq!(told[1], (6, 3, "next-hop program".to_owned()));
        assert_eq!((told[2].clone(), tally.outages_count), ((0, 1, "next-hop".to_owned()), 3));
        let flapping: Vec<Lacks> = (0..200).map(|n| if n % 2 == 0 { UP } else { hop }).collect();
        let tally = check(0..200, 200, &self::known(0, &flapping), [200, 100, 0, 0, 0]);
        assert_eq!((tally.outages.len(), tally.outages_count), (OUTAGES_MAX, 100));
    }

    #[test]
    fn a_month_has_its_length_in_every_zone() {
        for (text, zone, begins, hours) in [
            ("2026-11", "UTC", "2026-11-01T00:00:00Z", 30 * 24),
            ("2026-12", "Asia/Jakarta", "2026-11-30T17:00:00Z", 31 * 24),
            ("2026-02", "UTC", "2026-02-01T00:00:00Z", 28 * 24),
            ("2028-02", "America/Lima", "2028-02-01T05:00:00Z", 29 * 24),
            ("2026-03", "Europe/Berlin", "2026-02-28T23:00:00Z", 31 * 24 - 1),
            ("2026-10", "Europe/Berlin", "2026-09-30T22:00:00Z", 31 * 24 + 1),
        ] {
            let sla = Sla { zone: zone.parse().unwrap(), ..Sla::default() };
            let (month, begins) = (text.parse().unwrap(), begins.parse().unwrap());
            let range = sla.range(month);
            assert_eq!(range.start, begins, "{text}");
            assert_eq!(range.end.since(range.start).as_secs(), hours * 3600, "{text}");
            let before = begins - Duration::from_millis(1);
            let months = (sla.month_of(begins), sla.month_of(before));
            assert_eq!(months, (month, month.previous()), "{text}");
        }
    }

    #[test]
    fn a_month_has_the_budget_of_its_length() {
        let target = |percent| Target::from_percent(percent).unwrap();
        for (percent, days, seconds) in [
            (99.0, 30, 7 * 3600 + 12 * 60),
            (99.0, 31, 7 * 3600 + 26 * 60 + 24),
            (99.0, 28, 6 * 3600 + 43 * 60 + 12),
            (99.9, 30, 43 * 60 + 12),
            (99.95, 30, 21 * 60 + 36),
            (100.0, 31, 0),
        ] {
            let budget = target(percent).budget(days * 1440);
            assert_eq!(budget.as_secs(), seconds, "{percent} % of {days} days");
            assert!((target(percent).percent() - percent).abs() < 1e-9);
        }
        for wrong in [49.9, 100.1, f64::NAN, -1.0, f64::INFINITY] {
            assert_eq!(Target::from_percent(wrong), None, "{wrong}");
        }
        assert_eq!(target(99.0), Target::default());
    }

    #[test]
    fn the_budget_is_that_of_the_counted_minutes_and_those_to_come() {
        let target = Target::default();
        let of = |minutes, down, to_come| Tally { minutes, down, to_come, ..Tally::default() };
        for (tally, budget_minutes, percent, used) in [
            (of(43_200, 0, 0), 432, Some(100.0), 0),
            (of(43_200, 432, 0), 432, Some(99.0), 100),
            (of(43_200, 1, 0), 432, Some(99.997), 0),
            (of(43_199, 1, 1), 432, Some(99.997), 0),
            (of(1_000, 216, 42_200), 432, Some(78.4), 50),
            (of(1_000, 215, 42_200), 432, Some(78.5), 49),
            // Begun in the middle of the month: half the minutes, half the budget.
            (of(600, 0, 21_000), 216, Some(100.0), 0),
            (of(0, 0, 0), 0, None, 0),
            (of(9, 1, 0), 0, Some(88.888), 1_200),
        ] {
            assert_eq!(tally.budget(target).as_secs() / 60, budget_minutes, "{tally:?}");
            assert_eq!(tally.percent(), percent, "{tally:?}");
            assert_eq!(tally.budget_used_percent(target), used, "{tally:?}");
        }
        let strict = Target::from_percent(100.0).unwrap();
        assert_eq!(of(9, 1, 0).budget_used_percent(strict), u32::MAX);
        assert_eq!(of(9, 0, 0).budget_used_percent(strict), 0);
    }

    #[test]
    fn a_minute_that_is_not_noted_is_to_come_for_two_minutes() {
        let now = Minute(10).begins() + Duration::from_secs(5);
        for (last, first) in [
            (None, 10),
            (Some(9), 10),
            (Some(8), 9),
            (Some(7), 8),
            (Some(6), 8),
            (Some(-70), 8),
            (Some(99), 10),
        ] {
            assert_eq!(to_come(now, last.map(Minute)), Minute(first), "{last:?}");
        }
    }

    #[test]
    fn a_moment_lies_in_its_minute_and_a_stretch_begins_with_a_whole_one() {
        let at = Timestamp::from_millis;
        for (millis, of, from) in
            [(0, 0, 0), (1, 0, 1), (59_999, 0, 1), (60_000, 1, 1), (-1, -1, 0)]
        {
            assert_eq!(
                (Minute::of(at(millis)).0, Minute::from(at(millis)).0),
                (of, from),
                "{millis}"
            );
        }
        assert_eq!(Minute(3).begins(), at(180_000));
    }
}
