//! Ids of sessions: unique across restarts, short enough to be read out on the telephone, sorted by time.

use crate::types::{SessionId, Timestamp, TransactionId};
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives out ids: the second of the program's start and a counter, in Crockford's base 32.
#[derive(Debug)]
pub struct Ids {
    next: AtomicU64,
}

impl Ids {
    /// Starts a series that lies after every series of an earlier start.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        let seconds = u64::try_from(start.as_millis() / 1000).unwrap_or(0);
        Self { next: AtomicU64::new(seconds << COUNTER_BITS) }
    }

    /// The next session's id: 11 characters.
    ///
    /// # Panics
    /// Never: the digits are all letters and numbers.
    #[must_use]
    pub fn session(&self) -> SessionId {
        let mut number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = [b'0'; ID_BYTES];
        for digit in text.iter_mut().rev() {
            *digit = DIGITS[usize::try_from(number % 32).unwrap_or(0)];
            number /= 32;
        }
        let text = std::str::from_utf8(&text).expect("the digits are ASCII");
        text.parse().expect("letters and digits are a valid id")
    }
}

/// The id of the n-th transaction of a session: `0bw2r8k4m1c.3`.
///
/// # Panics
/// Never: a session's id with a number is a valid id.
#[must_use]
pub fn transaction(session: &SessionId, number: u32) -> TransactionId {
    format!("{session}.{number}").parse().expect("an id with a number is a valid id")
}

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 55 bits: 31 of seconds and [`COUNTER_BITS`] of counter.
const ID_BYTES: usize = 11;
/// 16 million sessions a second before two starts could overlap.
const COUNTER_BITS: u32 = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_differ_and_sort_by_time() {
        let start: Timestamp = "2026-11-22T09:14:07Z".parse().unwrap();
        let ids = Ids::new(start);
        let series: Vec<String> = (0..1000).map(|_| ids.session().to_string()).collect();
        assert_eq!(series.iter().collect::<HashSet<_>>().len(), 1000);
        assert!(series.is_sorted() && series.iter().all(|id| id.len() == ID_BYTES));
        let later = Ids::new(start + std::time::Duration::from_secs(1)).session().to_string();
        assert!(later > series[999]);
        assert_eq!(transaction(&ids.session(), 3).as_str().len(), ID_BYTES + 2);
    }
}
