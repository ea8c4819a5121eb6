//! When the room on a disk or the time of a certificate is worth a word.

/// How much room a disk has; the worse is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum DiskLevel {
    /// Enough.
    #[default]
    Ample,
    /// Too little.
    Scarce,
    /// So little that mail stops soon.
    Critical,
}

/// The level of a disk that was at a level; one that had too little stays there until it has more than a little more.
#[must_use]
pub fn disk_level(was: DiskLevel, free_bytes: u64, size_bytes: u64) -> DiskLevel {
    let is_below = |percent| is_below(free_bytes, size_bytes, percent);
    if is_below(CRITICAL_PERCENT) {
        DiskLevel::Critical
    } else if is_below(SCARCE_PERCENT) {
        was.max(DiskLevel::Scarce)
    } else if is_below(AMPLE_PERCENT) {
        was
    } else {
        DiskLevel::Ample
    }
}

/// True if a disk is nearly full.
#[must_use]
pub fn is_disk_critical(free_bytes: u64, size_bytes: u64) -> bool {
    is_below(free_bytes, size_bytes, CRITICAL_PERCENT)
}

fn is_below(free_bytes: u64, size_bytes: u64, percent: u128) -> bool {
    u128::from(free_bytes) * 100 < u128::from(size_bytes) * percent
}

/// The distance from its end that a certificate with so many whole days left has come to; none while that is far.
#[must_use]
pub fn certificate_distance(days: u32) -> Option<u32> {
    CERTIFICATE_DAYS.into_iter().rfind(|&distance| days <= distance)
}

/// With so many whole days left, or fewer, a certificate must be renewed now; one of the distances that are told.
pub const CERTIFICATE_CRITICAL_DAYS: u32 = 3;
const CRITICAL_PERCENT: u128 = 5;
const SCARCE_PERCENT: u128 = 10;
const AMPLE_PERCENT: u128 = 15;
/// The farthest first.
const CERTIFICATE_DAYS: [u32; 6] = [30, 14, 7, CERTIFICATE_CRITICAL_DAYS, 1, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_scarce_below_a_tenth_until_it_has_more_than_that() {
        use DiskLevel::{Ample, Critical, Scarce};
        for (was, free, size, is) in [
            (Ample, 10, 100, Ample),
            (Ample, 9, 100, Scarce),
            (Ample, 4, 100, Critical),
            (Scarce, 5, 100, Scarce),
            (Scarce, 4, 100, Critical),
            (Critical, 5, 100, Critical),
            (Critical, 14, 100, Critical),
            (Critical, 15, 100, Ample),
            (Scarce, 10, 100, Scarce),
            (Scarce, 14, 100, Scarce),
            (Scarce, 15, 100, Ample),
            (Ample, 0, 0, Ample),
            (Ample, u64::MAX / 11, u64::MAX, Scarce),
        ] {
            assert_eq!(disk_level(was, free, size), is, "{was:?} {free} of {size}");
        }
    }

    #[test]
    fn a_certificate_comes_to_each_distance_once() {
        for (days, distance) in [
            (365, None),
            (31, None),
            (30, Some(30)),
            (15, Some(30)),
            (14, Some(14)),
            (7, Some(7)),
            (4, Some(7)),
            (2, Some(3)),
            (1, Some(1)),
            (0, Some(0)),
        ] {
            assert_eq!(certificate_distance(days), distance, "{days}");
        }
    }
}
