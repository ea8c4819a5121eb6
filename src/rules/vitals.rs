//! When the room on a disk or the time of a certificate is worth a word.

/// True if a disk has too little room; one that had too little must have more than a little more until it is well again.
#[must_use]
pub fn is_disk_scarce(was_scarce: bool, free_bytes: u64, size_bytes: u64) -> bool {
    let enough_percent = if was_scarce { AMPLE_PERCENT } else { SCARCE_PERCENT };
    u128::from(free_bytes) * 100 < u128::from(size_bytes) * enough_percent
}

/// The distance from its end that a certificate with so many whole days left has come to; none while that is far.
#[must_use]
pub fn certificate_distance(days: u32) -> Option<u32> {
    CERTIFICATE_DAYS.into_iter().rfind(|&distance| days <= distance)
}

const SCARCE_PERCENT: u128 = 10;
const AMPLE_PERCENT: u128 = 15;
/// The farthest first.
const CERTIFICATE_DAYS: [u32; 6] = [30, 14, 7, 3, 1, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_scarce_below_a_tenth_until_it_has_more_than_that() {
        for (was, free, size, is) in [
            (false, 10, 100, false),
            (false, 9, 100, true),
            (true, 10, 100, true),
            (true, 14, 100, true),
            (true, 15, 100, false),
            (false, 0, 0, false),
            (false, u64::MAX / 11, u64::MAX, true),
        ] {
            assert_eq!(is_disk_scarce(was, free, size), is, "{was} {free} of {size}");
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
