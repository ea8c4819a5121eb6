//! The most frequent few of many, in bounded room.
//!
//! Space-Saving (Metwally, Agrawal, El Abbadi 2005): a name without a place takes the place of the smallest and its count, so a
//! count is never too low, what is above the smallest is certainly there, and [`TOP_MAX`] places find everything that has more
//! than one part in so many of the whole. How much of a count may be another's is kept beside it.

use std::collections::BTreeMap;

/// Counts of the most frequent names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Top(BTreeMap<String, Place>);

/// What is counted of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// Recipients that were accepted.
    pub accepted: u64,
    /// Recipients that were refused or put off.
    pub failed: u64,
    /// So many of these may belong to names that had this place before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncertain: u64,
}

impl Place {
    /// All that was counted.
    #[must_use]
    pub const fn sum(self) -> u64 {
        self.accepted.saturating_add(self.failed)
    }
}

impl Top {
    /// Counts recipients of a name.
    pub fn add(&mut self, name: &str, accepted: u64, failed: u64) {
        self.put(name, Place { accepted, failed, uncertain: 0 });
    }

    /// Adds the counts of another list.
    pub fn merge(&mut self, other: &Self) {
        for (name, &place) in &other.0 {
            self.put(name, place);
        }
    }

    /// The names with the highest counts, highest first.
    #[must_use]
    pub fn highest(&self, max: usize) -> Vec<(&str, Place)> {
        let mut places: Vec<_> =
            self.0.iter().map(|(name, &place)| (name.as_str(), place)).collect();
        places.sort_by(|a, b| b.1.sum().cmp(&a.1.sum()).then(a.0.cmp(b.0)));
        places.truncate(max);
        places
    }

    /// The stored form: names with their counts.
    pub fn places(&self) -> impl Iterator<Item = (&str, Place)> {
        self.0.iter().map(|(name, &place)| (name.as_str(), place))
    }

    fn put(&mut self, name: &str, place: Place) {
        if let Some(known) = self.0.get_mut(name) {
            known.accepted = known.accepted.saturating_add(place.accepted);
            known.failed = known.failed.saturating_add(place.failed);
            known.uncertain = known.uncertain.saturating_add(place.uncertain);
        } else if self.0.len() < TOP_MAX {
            self.0.insert(name.to_owned(), place);
        } else {
            self.replace_smallest(name, place);
        }
    }

    fn replace_smallest(&mut self, name: &str, place: Place) {
        let smallest = self.0.iter().min_by_key(|(_, place)| place.sum());
        let Some((gone, last)) = smallest.map(|(name, &place)| (name.clone(), place)) else {
            return;
        };
        self.0.remove(&gone);
        let inherited = Place {
            accepted: place.accepted.saturating_add(last.accepted),
            failed: place.failed.saturating_add(last.failed),
            uncertain: place.uncertain.saturating_add(last.sum()),
        };
        self.0.insert(name.to_owned(), inherited);
    }
}

impl From<BTreeMap<String, Place>> for Top {
    /// From the stored form, which has no more names than there are places, unless something else wrote it.
    fn from(places: BTreeMap<String, Place>) -> Self {
        if places.len() <= TOP_MAX {
            return Self(places);
        }
        let mut top = Self::default();
        for (name, place) in &places {
            top.put(name, *place);
        }
        top
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Names that are counted at a time.
pub const TOP_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_highest_come_first() {
        let mut top = Top::default();
        for (name, accepted, failed) in [("b", 3, 0), ("a", 1, 2), ("c", 9, 0), ("b", 1, 0)] {
            top.add(name, accepted, failed);
        }
        let place = |accepted, failed| Place { accepted, failed, uncertain: 0 };
        assert_eq!(top.highest(2), [("c", place(9, 0)), ("b", place(4, 0))]);
        assert_eq!(top.highest(9).last(), Some(&("a", place(1, 2))));
    }

    proptest! {
        /// Whoever has more than the whole divided by the places is in the list, and no count is too low or, less what is
        /// uncertain, too high.
        #[test]
        fn whoever_is_frequent_is_found(names in prop::collection::vec(prop_oneof![Just(1_u32), Just(2), 3..200_u32], 0..800)) {
            let mut halves = [Top::default(), Top::default()];
            let mut truth: BTreeMap<String, u64> = BTreeMap::new();
            for (index, number) in names.iter().enumerate() {
                let name = number.to_string();
                halves[index % 2].add(&name, 1, 0);
                *truth.entry(name).or_default() += 1;
            }
            let [mut top, other] = halves;
            top.merge(&other);
            prop_assert!(top.places().count() <= TOP_MAX);
            for (name, place) in top.places() {
                let count = truth.get(name).copied().unwrap_or(0);
                prop_assert!(place.sum() - place.uncertain <= count);
            }
            // Two halves, each of which may have lost as much as its smallest place holds.
            let certain = 2 * u64::try_from(names.len() / TOP_MAX).unwrap();
            for (name, count) in truth.into_iter().filter(|&(_, count)| count > certain) {
                prop_assert!(top.places().any(|(known, _)| known == name), "{name} {count}");
            }
        }
    }
}
