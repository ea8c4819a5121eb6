//! Plots of what flowed, in the page's language, with the same numbers as a table for who cannot see them.

use super::texts::Texts;
use crate::{
    admin::{Slot, SlotCounts},
    chart::{Chart, Kind, Paint, Series},
    rules::tally::calendar::Zone,
};

/// A drawing and its numbers, as elements of HTML.
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) svg: String,
    pub(super) table: String,
}

/// What a plot is about.
pub(super) struct Subject<'a> {
    /// A word that is unique on its page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// How a slot is named.
    pub(super) slots: Slots<'a>,
}

/// How slots of time are named.
#[derive(Clone, Copy)]
pub(super) enum Slots<'a> {
    /// `19:10`.
    Times,
    /// `27 Nov`, the days of this time zone.
    Days(&'a Zone),
}

impl Plot {
    pub(super) fn new(t: &'static Texts, subject: &Subject<'_>, slots: &[Slot]) -> Self {
        let texts = &t.plot;
        let series = |name, paint, value: fn(SlotCounts) -> u64| Series {
            name,
            paint,
            values: slots.iter().map(|slot| slot.counts.map(value)).collect(),
        };
        let name = |slot: &Slot| match subject.slots {
            Slots::Times => t.hour_and_minute(&slot.begins),
            Slots::Days(zone) => t.day(zone.day_of(slot.begins).date()),
        };
        let day_label;
        let time_label = match subject.slots {
            Slots::Times => texts.time,
            Slots::Days(zone) => {
                day_label = format!("{} ({})", texts.day, zone.name());
                &day_label
            }
        };
        let description = describe(t, slots);
        let chart = Chart {
            id: subject.id,
            title: subject.title,
            description: &description,
            value_label: texts.recipients,
            time_label,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Language;

    #[test]
    fn days_are_named_as_they_are_in_their_zone() {
        let jakarta: Zone = "Asia/Jakarta".parse().unwrap();
        let begins = "2026-11-27T17:00:00Z".parse().unwrap();
        for (zone, day) in [(&jakarta, "28 Nov"), (&Zone::UTC, "27 Nov")] {
            let subject = Subject { id: "month", title: "", slots: Slots::Days(zone) };
            let slots = [Slot { begins, counts: Some(SlotCounts::default()) }];
            let plot = Plot::new(Texts::of(Language::English), &subject, &slots);
            let label = format!("day ({})", zone.name());
            assert!(plot.table.contains(day) && plot.table.contains(&label), "{}", plot.table);
        }
    }
}
