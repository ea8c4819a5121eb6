//! Whether somebody whom messages wait for is asked at all: who failed a few times in a row is left alone for a while, and then
//! asked about one message, so that its failure costs nobody else a wait.

use crate::types::Timestamp;
use std::time::Duration;

/// What is known of somebody's health.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Failures in a row.
    failures: u32,
    /// Until when it is left alone.
    rests_until: Option<Timestamp>,
    /// Others took over: nothing changes any more.
    is_retired: bool,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Up,
    Down,
}

impl Breaker {
    /// True if it may be asked now. Of those who ask when its rest is over only the first may.
    pub(crate) fn admits(&mut self, now: Timestamp) -> bool {
        match self.rests_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.rests_until = Some(now + REST);
                true
            }
        }
    }

    /// Nothing is told from now on; what was down is not waited for.
    pub(crate) fn retire(&mut self) -> Option<Change> {
        self.is_retired = true;
        self.rests_until.take().map(|_| Change::Up)
    }

    pub(crate) fn note(&mut self, works: bool, now: Timestamp) -> Option<Change> {
        if self.is_retired {
            return None;
        }
        if works {
            self.failures = 0;
            return self.rests_until.take().map(|_| Change::Up);
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MAX {
            return None;
        }
        let was_up = self.rests_until.is_none();
        self.rests_until = Some(now + REST);
        was_up.then_some(Change::Down)
    }
}

/// After so many failures in a row it is left alone,
const FAILURES_MAX: u32 = 3;
/// for so long.
pub(crate) const REST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_rests_and_is_then_asked_once() {
        let mut breaker = Breaker::default();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        assert_eq!((breaker.note(false, at(0)), breaker.note(false, at(0))), (None, None));
        assert_eq!(breaker.note(true, at(0)), None, "it was never left alone");
        for _ in 0..2 {
            assert!(breaker.admits(at(1)));
            assert_eq!(breaker.note(false, at(1)), None);
        }
        assert_eq!(breaker.note(false, at(1)), Some(Change::Down));
        assert_eq!(breaker.note(false, at(1)), None, "told once");
        assert!(!breaker.admits(at(10)));
        assert!(breaker.admits(at(11)) && !breaker.admits(at(11)));
        assert_eq!(breaker.note(false, at(12)), None);
        assert!(!breaker.admits(at(21)) && breaker.admits(at(22)));
        assert_eq!(breaker.note(true, at(23)), Some(Change::Up));
        assert!(breaker.admits(at(23)) && breaker.admits(at(23)));
    }

    #[test]
    fn who_is_not_asked_any_more_is_not_waited_for() {
        let at = Timestamp::from_millis(0);
        for (failures, told) in [(0, None), (2, None), (3, Some(Change::Up))] {
            let mut breaker = Breaker::default();
            (1..=failures).for_each(|n| assert_eq!(breaker.note(false, at).is_some(), n == 3));
            assert_eq!(breaker.retire(), told, "{failures}");
            assert_eq!(breaker.retire(), None);
            // What was asked before has its answer later.
            (0..3).for_each(|_| assert_eq!(breaker.note(false, at), None));
        }
    }
}
