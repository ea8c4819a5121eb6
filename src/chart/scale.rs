//! Round numbers for axes.

/// An axis from zero to a round number, in whole steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    step: u64,
    steps: u64,
}

impl Scale {
    /// The axis that holds `value` in at most [`STEPS_MAX`] steps of 1, 2 or 5 times a power of ten.
    pub(super) fn up_to(value: u64) -> Self {
        let step = round_steps().find(|step| value.div_ceil(*step) <= STEPS_MAX);
        let step = step.unwrap_or(u64::MAX / STEPS_MAX + 1);
        Self { step, steps: value.div_ceil(step).max(1) }
    }

    /// The values that are labelled, zero included.
    pub(super) fn steps(self) -> impl Iterator<Item = u64> {
        (0..=self.steps).map(move |count| count.saturating_mul(self.step))
    }

    /// Where a value stands between 0 and 1.
    pub(super) fn part(self, value: u64) -> f64 {
        (float(value) / (float(self.step) * float(self.steps))).min(1.0)
    }
}

/// 1, 2, 5, 10, 20, 50 …
fn round_steps() -> impl Iterator<Item = u64> {
    let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
    powers.flat_map(|power| [1, 2, 5].into_iter().filter_map(move |digit| power.checked_mul(digit)))
}

/// A number with its thousands apart: `12 345`, by the narrow blank of ISO 80000-1, which no language reads as a point.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len());
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Every how many slots one is labelled, so that labels do not touch: steps that a clock or a calendar has.
pub(super) fn label_step(slots: usize) -> usize {
    let fits = |step: &usize| slots.div_ceil(*step) <= LABELS_MAX;
    LABEL_STEPS.into_iter().find(fits).unwrap_or_else(|| slots.div_ceil(LABELS_MAX))
}

/// A count as a real number.
pub(super) fn real(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[expect(clippy::cast_precision_loss, reason = "what is drawn is not exact to the pixel")]
const fn float(value: u64) -> f64 {
    value as f64
}

const STEPS_MAX: u64 = 5;
const LABELS_MAX: usize = 10;
const LABEL_STEPS: [usize; 15] = [1, 2, 3, 5, 6, 7, 10, 12, 15, 24, 30, 60, 120, 180, 240];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (value, labels) in [
            (0, &[0, 1][..]),
            (1, &[0, 1]),
            (5, &[0, 1, 2, 3, 4, 5]),
            (7, &[0, 2, 4, 6, 8]),
            (50, &[0, 10, 20, 30, 40, 50]),
            (51, &[0, 20, 40, 60]),
            (1_001, &[0, 500, 1_000, 1_500]),
        ] {
            assert_eq!(Scale::up_to(value).steps().collect::<Vec<_>>(), labels, "{value}");
        }
        let all = Scale::up_to(u64::MAX);
        assert!(all.steps().count() <= 6 && all.part(u64::MAX) > 0.8);
    }

    #[test]
    fn numbers_and_labels_can_be_read() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        for (slots, step) in
            [(1, 1), (24, 3), (31, 5), (60, 6), (288, 30), (1_440, 180), (9_000, 900)]
        {
            assert_eq!(label_step(slots), step, "{slots}");
        }
    }
}
