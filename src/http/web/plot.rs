//! Plots of what flowed, in the page's language, with the same numbers as a table for who cannot see them.

use super::texts::Texts;
use crate::{
    admin::{Slot, SlotCounts},
    chart::{Chart, Kind, Paint, Series},
};

/// A drawing and its numbers, as elements of HTML.
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) svg: String,
    pub(super) table: String,
}

/// What a plot is about.
pub(super) struct Subject {
    /// A word that is unique on its page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// How a slot is named.
    pub(super) slots: Slots,
}

/// How slots of time are named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slots {
    /// `19:10`.
    Times,
    /// `27 Nov`.
    Days,
}

impl Plot {
    pub(super) fn new(t: &'static Texts, subject: &Subject, slots: &[Slot]) -> Self {
        let texts = &t.plot;
        let series = |name, paint, value: fn(SlotCounts) -> u64| Series {
            name,
            paint,
            values: slots.iter().map(|slot| slot.counts.map(value)).collect(),
        };
        let name = |slot: &Slot| match subject.slots {
            Slots::Times => t.hour_and_minute(&slot.begins),
            Slots::Days => t.day(&slot.begins),
        };
        let description = describe(t, slots);
        let chart = Chart {
            id: subject.id,
            title: subject.title,
            description: &description,
            value_label: texts.recipients,
            time_label: if subject.slots == Slots::Days { texts.day } else { texts.time },
            gap_label: texts.gap,
            kind: Kind::Bars,
            slots: slots.iter().map(name).collect(),
            series: vec![
                series(texts.accepted, Paint::Accepted, |counts| counts.accepted),
                series(texts.deferred, Paint::Deferred, |counts| counts.deferred),
                series(texts.refused, Paint::Refused, |counts| counts.refused),
            ],
            mark: None,
        };
        Self { title: subject.title, svg: chart.to_svg(), table: chart.to_table() }
    }
}

/// The sums in words.
fn describe(t: &'static Texts, slots: &[Slot]) -> String {
    let texts = &t.plot;
    let counts = || slots.iter().filter_map(|slot| slot.counts);
    let sums: [(&str, u64); 3] = [
        (texts.accepted, counts().map(|counts| counts.accepted).sum()),
        (texts.deferred, counts().map(|counts| counts.deferred).sum()),
        (texts.refused, counts().map(|counts| counts.refused).sum()),
    ];
    sums.map(|(name, sum)| format!("{name}: {}", t.number(sum))).join(", ")
}
