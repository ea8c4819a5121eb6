//! Which limits were already reported as nearly or wholly used, so that each is reported once in its window.
//!
//! The table is bounded; when it is full it forgets, and a report may come twice, which harms nobody.

use crate::{
    event::LimitReached,
    types::{Key, Span, Timestamp},
};
use parking_lot::Mutex;
use std::collections::HashMap;

/// The reports of the last window of each limit.
#[derive(Default)]
pub(super) struct Warned(Mutex<HashMap<(Key, Span), Report>>);

/// The last report on one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) percent: u8,
    pub(super) at: Timestamp,
}

impl Warned {
    /// True if the limit was not reported at this threshold or a higher one within its window; notes it then.
    pub(super) fn is_new(&self, reached: &LimitReached, now: Timestamp) -> bool {
        let window = reached.limit.window;
        let mut reports = self.0.lock();
        let place = (reached.key.clone(), window);
        if let Some(last) = reports.get(&place)
            && last.percent >= reached.percent
            && last.at > now - window.length()
        {
            return false;
        }
        if reports.len() >= WARNED_MAX {
            reports.clear();
        }
        reports.insert(place, Report { percent: reached.percent, at: now });
        true
    }

    /// Puts a report back that was stored.
    pub(super) fn restore(&self, key: Key, window: Span, report: Report) {
        self.0.lock().insert((key, window), report);
    }

    /// Forgets all reports of a key.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().retain(|(other, _), _| other != key);
    }

    /// Forgets reports that are older than their window.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.0.lock().retain(|(_, window), report| report.at > now - window.length());
    }
}

/// How many limits are remembered as reported.
pub(super) const WARNED_MAX: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Event,
        rules::alarm::Book,
        types::{Limit, Unit},
    };

    #[test]
    fn a_limit_is_reported_once_in_its_window_and_again_at_a_higher_threshold() {
        let warned = Warned::default();
        let reached = |percent| LimitReached {
            key: "account/r/a".parse().unwrap(),
            unit: Unit::Recipients,
            limit: Limit { window: Span::from_secs(10), max: 5 },
            used: 5,
            percent,
        };
        let steps = [(0, 80, true), (1, 80, false), (2, 100, true), (3, 80, false), (12, 80, true)];
        for (second, percent, new) in steps {
            let now = Timestamp::from_millis(second * 1000);
            assert_eq!(warned.is_new(&reached(percent), now), new, "{second} s, {percent} %");
        }
    }

    #[test]
    fn a_limit_that_stays_full_is_one_alert() {
        const DAY: i64 = 86_400;
        for window in [60, 600, 3_600, 7_200] {
            let (warned, mut book) = (Warned::default(), Book::new(Timestamp::EPOCH));
            let reached = LimitReached {
                key: "account/r/a".parse().unwrap(),
                unit: Unit::Recipients,
                limit: Limit { window: Span::from_secs(window), max: 5 },
                used: 5,
                percent: 100,
            };
            let mut said = Vec::new();
            for second in (0..DAY + 5 * 3_600).step_by(10) {
                let now = Timestamp::from_millis(second * 1_000);
                // It is run into now and then for a day less a little, and then no more.
                let is_run_into = second % 70 == 0 && second < DAY - 100;
                if is_run_into && warned.is_new(&reached, now) {
                    book.note(now, &Event::LimitReached(reached.clone()));
                }
                book.turn(now);
                said.extend(book.take().notices.iter().map(|notice| notice.why.name()));
            }
            said.retain(|why| *why != "reminder");
            assert_eq!(said, ["raised", "resolved"], "{window} s");
        }
    }
}
