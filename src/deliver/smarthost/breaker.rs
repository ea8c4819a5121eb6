//! A host's circuit breaker: after some failures in a row it is left alone for a while that doubles, then tried once. A host
//! that only greets again is on probation: one failure is enough to leave it alone, and for twice as long, until it has
//! answered to a text.
//!
//! Pure: the moment and the jitter are arguments. It does not know what a failure is.

use super::super::SmarthostSettings;
use std::time::{Duration, Instant};

/// Whether a host is left alone.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_max: u32,
    wait_first: Duration,
    wait_max: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// `wait` is how long it will be left alone if it fails.
    Closed {
        failures: u32,
        wait: Duration,
    },
    Open {
        until: Instant,
        wait: Duration,
        trial: Trial,
    },
}

/// Whether somebody is trying an open circuit.
#[derive(Debug, PartialEq, Eq)]
enum Trial {
    None,
    Running,
}

/// What a success or failure changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Closed,
}

impl Breaker {
    pub(super) fn new(settings: &SmarthostSettings) -> Self {
        Self {
            failures_max: settings.breaker_failures.max(1),
            wait_first: settings.breaker_wait,
            wait_max: settings.breaker_wait_max,
            state: State::Closed { failures: 0, wait: settings.breaker_wait },
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// True if the host may be connected to now. Of an open circuit it is true once after each wait: the asker is the
    /// trial. A trial that never reports is followed by another after the same wait.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Closed { .. } => true,
            State::Open { until, wait, trial } if now >= *until => {
                (*until, *trial) = (now + *wait, Trial::Running);
                true
            }
            State::Open { .. } => false,
        }
    }

    /// The host answered to a text.
    pub(super) fn note_success(&mut self) -> Change {
        let sound = State::Closed { failures: 0, wait: self.wait_first };
        match std::mem::replace(&mut self.state, sound) {
            State::Closed { .. } => Change::None,
            State::Open { .. } => Change::Closed,
        }
    }

    /// The host greeted. It may do so well and fail at each text, so that this alone makes nothing forgotten.
    pub(super) fn note_greeting(&mut self) -> Change {
        let State::Open { wait, .. } = self.state else { return Change::None };
        self.state = State::Closed { failures: self.failures_max - 1, wait: self.doubled(wait) };
        Change::Closed
    }

    /// `random` spreads the waits of many gates by a quarter up or down.
    pub(super) fn note_failure(&mut self, now: Instant, random: u64) -> Change {
        match &mut self.state {
            State::Closed { failures, wait } => {
                *failures += 1;
                if *failures < self.failures_max {
                    return Change::None;
                }
                let wait = *wait;
                self.open(now, wait, random);
                Change::Opened
            }
            State::Open { wait, trial: Trial::Running, .. } => {
                let wait = *wait;
                self.open(now, self.doubled(wait), random);
                Change::None
            }
            // A connection that was begun before the circuit opened says nothing new.
            State::Open { .. } => Change::None,
        }
    }

    fn doubled(&self, wait: Duration) -> Duration {
        wait.saturating_mul(2).min(self.wait_max)
    }

    fn open(&mut self, now: Instant, wait: Duration, random: u64) {
        let until = now + spread(wait, random);
        self.state = State::Open { until, wait, trial: Trial::None };
    }
}

/// 75 % to 125 % of `wait`.
fn spread(wait: Duration, random: u64) -> Duration {
    let percent = 75 + u32::try_from(random % 51).unwrap_or(25);
    wait.saturating_mul(percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::steady_now;

    const SECOND: Duration = Duration::from_secs(1);
    /// Gives exactly 100 % of a wait.
    const EVEN: u64 = 25;

    fn breaker() -> Breaker {
        let wait_first = 2 * SECOND;
        let state = State::Closed { failures: 0, wait: wait_first };
        Breaker { failures_max: 3, wait_first, wait_max: 5 * SECOND, state }
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_starts_anew() {
        let (mut breaker, now) = (breaker(), steady_now());
        let fail = |breaker: &mut Breaker| breaker.note_failure(now, EVEN);
        assert_eq!([fail(&mut breaker), fail(&mut breaker)], [Change::None; 2]);
        assert_eq!(breaker.note_success(), Change::None);
        assert_eq!([fail(&mut breaker), fail(&mut breaker)], [Change::None; 2]);
        assert!(breaker.admits(now));
        assert_eq!(fail(&mut breaker), Change::Opened);
        assert!(breaker.is_open() && !breaker.admits(now));
    }

    #[test]
    fn the_wait_doubles_up_to_its_maximum_and_each_is_followed_by_one_trial() {
        let (mut breaker, start) = (breaker(), steady_now());
        (0..3).for_each(|_| _ = breaker.note_failure(start, EVEN));
        let mut now = start;
        for seconds in [2, 4, 5, 5] {
            let due = now + seconds * SECOND;
            assert!(!breaker.admits(due - Duration::from_millis(1)), "{seconds}");
            assert!(breaker.admits(due) && !breaker.admits(due), "{seconds}");
            assert_eq!(breaker.note_failure(due, EVEN), Change::None);
            assert_eq!(breaker.note_failure(due, EVEN), Change::None, "a straggler counts twice");
            now = due;
        }
        assert!(breaker.admits(now + 5 * SECOND));
        assert_eq!(breaker.note_success(), Change::Closed);
        assert!(breaker.admits(now) && !breaker.is_open());
    }

    #[test]
    fn a_host_that_only_greets_is_on_probation() {
        let (mut breaker, mut now) = (breaker(), steady_now());
        assert_eq!(breaker.note_greeting(), Change::None);
        (0..3).for_each(|_| _ = breaker.note_failure(now, EVEN));
        for seconds in [2, 4, 5, 5] {
            now += seconds * SECOND;
            assert!(breaker.admits(now), "{seconds}");
            assert_eq!(breaker.note_greeting(), Change::Closed);
            assert!(breaker.admits(now) && !breaker.is_open());
            assert_eq!(breaker.note_failure(now, EVEN), Change::Opened, "one failure is enough");
            assert!(!breaker.admits(now + SECOND), "{seconds}");
        }
        assert!(breaker.admits(now + 5 * SECOND));
        assert_eq!(
            (breaker.note_greeting(), breaker.note_success()),
            (Change::Closed, Change::None)
        );
        assert_eq!(breaker.note_failure(now, EVEN), Change::None, "a text was answered");
    }

    #[test]
    fn waits_are_spread_by_a_quarter() {
        let wait = Duration::from_secs(100);
        assert_eq!(spread(wait, 0), Duration::from_secs(75));
        assert_eq!(spread(wait, 50), Duration::from_secs(125));
        assert!((0..1000).all(|random| (75..=125).contains(&spread(wait, random).as_secs())));
    }
}
