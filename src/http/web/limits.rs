//! Limits and their use as the pages show them: the numbers of `explain`, with a bar and the wait for the next slot.

use super::texts::Texts;
use crate::{
    admin::{LimitView, State},
    types::Timestamp,
};

/// One limit with its use.
pub(super) struct LimitRow {
    /// `all accounts`, `account`.
    pub(super) scope: &'static str,
    /// `recipients in 1 h`.
    pub(super) what: String,
    pub(super) meter: Meter,
    /// How many of the used ones are open reservations; none shown if there are none.
    pub(super) open: Option<String>,
    pub(super) next: Next,
    /// `plan shared-hosting`.
    pub(super) source: String,
    pub(super) source_reason: Option<String>,
    pub(super) source_until: Option<Timestamp>,
    /// `limited to 20 % of 50 until 27 Nov 2026 19:06 UTC`; none shown of what is whole.
    pub(super) reduced: Option<String>,
}

/// A bar: how much of something is used.
pub(super) struct Meter {
    pub(super) used: String,
    pub(super) max: String,
    /// 0 to 100, for the width of the bar.
    pub(super) percent: u32,
}

/// When the next recipient passes.
pub(super) enum Next {
    /// Now.
    Now,
    /// Then; with the moment and how long that is from now.
    At(Timestamp, String, String),
    /// As soon as a suspension is lifted, if there is room then.
    WhenLifted,
    /// Never under this limit.
    Never,
}

impl LimitRow {
    pub(super) fn new(t: &'static Texts, view: &LimitView, now: Timestamp) -> Self {
        Self {
            scope: t.scope(view.scope),
            what: t.limit(view.unit, view.window),
            meter: Meter::new(t, view.used, view.max),
            open: (view.open > 0).then(|| t.number(view.open)),
            next: Next::new(t, view, now),
            source: view.source.clone(),
            source_reason: view.source_reason.clone(),
            source_until: view.source_until,
            reduced: view.reduced.as_ref().map(|reduced| t.reduced(reduced)),
        }
    }

    /// All limits of somebody who may send, or whose suspension comes first.
    pub(super) fn all_of(
        t: &'static Texts,
        views: &[LimitView],
        now: Timestamp,
        state: &State,
    ) -> Vec<Self> {
        let mut rows = Self::all(t, views, now);
        if *state != State::Active {
            rows.iter_mut().for_each(|row| row.next = Next::WhenLifted);
        }
        rows
    }

    pub(super) fn all(t: &'static Texts, views: &[LimitView], now: Timestamp) -> Vec<Self> {
        views.iter().map(|view| Self::new(t, view, now)).collect()
    }
}

impl Meter {
    pub(super) fn new(t: &'static Texts, used: u32, max: u32) -> Self {
        Self { used: t.number(used), max: t.number(max), percent: percent(used, max) }
    }

    /// The bar's colour, as a class.
    pub(super) const fn level(&self) -> &'static str {
        match self.percent {
            100.. => "full",
            80.. => "near",
            _ => "well",
        }
    }
}

impl Next {
    fn new(t: &'static Texts, view: &LimitView, now: Timestamp) -> Self {
        match view.next_slot {
            _ if view.remaining > 0 => Self::Now,
            Some(slot) => {
                let text = t.moment_short(&second_after(slot));
                Self::At(slot, text, t.wait(slot.since(now)))
            }
            None => Self::Never,
        }
    }
}

/// The end of the second of a moment: what is printed is never too early.
fn second_after(moment: Timestamp) -> Timestamp {
    let seconds = moment.as_millis().saturating_add(999).div_euclid(1000);
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

/// How much is used, at most 100; a limit of nothing is always used up.
pub(super) fn percent(used: u32, max: u32) -> u32 {
    if max == 0 {
        return 100;
    }
    let percent = u64::from(used) * 100 / u64::from(max);
    u32::try_from(percent.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_only_when_the_limit_is() {
        for (used, max, expected) in
            [(0, 50, 0), (39, 50, 78), (40, 50, 80), (49, 50, 98), (50, 50, 100), (9, 0, 100)]
        {
            assert_eq!(percent(used, max), expected, "{used} of {max}");
        }
        assert_eq!(percent(u32::MAX, 1), 100);
        assert_eq!(percent(u32::MAX - 1, u32::MAX), 99);
    }
}
