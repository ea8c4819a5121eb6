//! How many log lines one client may cause in a minute.
//!
//! Refused connections, failed logins and refusals are as many as a client likes; beyond its lines of the minute they are only
//! counted, and a line in the next minute says how many there were. What became of messages is never held back, and metrics
//! count everything. The table holds a minute's clients, up to [`CLIENTS_MAX`]; further ones share one account.

use crate::types::{IpPrefix, Timestamp};
use parking_lot::Mutex;
use std::collections::HashMap;

/// The lines of each client network in the present minute.
pub(super) struct Quota {
    /// 0: any number.
    per_minute: u32,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    minute: i64,
    lines: HashMap<Option<IpPrefix>, u32>,
}

/// Lines of a client that were not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    /// None: of several clients.
    pub(super) client: Option<IpPrefix>,
    pub(super) lines: u64,
}

impl Quota {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, table: Mutex::default() }
    }

    /// True if one more line of this client may be written.
    pub(super) fn admits(&self, client: IpPrefix) -> bool {
        if self.per_minute == 0 {
            return true;
        }
        let mut table = self.table.lock();
        let is_full = table.lines.len() >= CLIENTS_MAX && !table.lines.contains_key(&Some(client));
        let lines = table.lines.entry((!is_full).then_some(client)).or_insert(0);
        *lines = lines.saturating_add(1);
        *lines <= self.per_minute
    }

    /// Begins another minute, if it is time; returns what was held back in the last.
    pub(super) fn turn(&self, now: Timestamp) -> Vec<Suppressed> {
        let minute = now.as_millis() / 60_000;
        let mut table = self.table.lock();
        if table.minute == minute || self.per_minute == 0 {
            return Vec::new();
        }
        table.minute = minute;
        let lines = std::mem::take(&mut table.lines);
        drop(table);
        self.summarize(lines)
    }

    /// The worst clients, each for itself, and all others together.
    fn summarize(&self, lines: HashMap<Option<IpPrefix>, u32>) -> Vec<Suppressed> {
        let beyond = lines.into_iter().filter_map(|(client, lines)| {
            let lines = u64::from(lines.saturating_sub(self.per_minute));
            (lines > 0).then_some(Suppressed { client, lines })
        });
        let mut found: Vec<Suppressed> = beyond.collect();
        found.sort_by_key(|suppressed| std::cmp::Reverse(suppressed.lines));
        let others = found.split_off(found.len().min(SUMMARIES_MAX));
        let lines = others.iter().map(|suppressed| suppressed.lines).sum();
        if lines > 0 {
            found.push(Suppressed { client: None, lines });
        }
        found
    }
}

/// Clients whose lines are counted apart.
const CLIENTS_MAX: usize = 10_000;
/// Clients that are named in a minute.
const SUMMARIES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClientIp;
    use std::net::Ipv4Addr;

    fn client(number: u32) -> IpPrefix {
        ClientIp::new(Ipv4Addr::from(number).into()).prefix(64)
    }

    fn minute(number: i64) -> Timestamp {
        Timestamp::from_millis(number * 60_000 + 7)
    }

    #[test]
    fn what_is_beyond_a_clients_lines_is_told_a_minute_later() {
        let quota = Quota::new(3);
        assert_eq!(quota.turn(minute(1)), []);
        let written = (0..10).filter(|_| quota.admits(client(1))).count();
        assert!(quota.admits(client(2)), "another client has lines of its own");
        assert_eq!((written, quota.turn(minute(1))), (3, vec![]));
        assert_eq!(quota.turn(minute(2)), [Suppressed { client: Some(client(1)), lines: 7 }]);
        assert!(quota.admits(client(1)));
        assert_eq!(quota.turn(minute(3)), []);
    }

    #[test]
    fn many_clients_are_bounded_and_told_together() {
        let quota = Quota::new(1);
        quota.turn(minute(1));
        let clients = u32::try_from(CLIENTS_MAX).unwrap() + 500;
        for number in (0..clients).chain(0..clients) {
            quota.admits(client(number));
        }
        assert_eq!(quota.table.lock().lines.len(), CLIENTS_MAX + 1);
        let told = quota.turn(minute(2));
        assert_eq!(told.len(), SUMMARIES_MAX + 1);
        let lines: u64 = told.iter().map(|suppressed| suppressed.lines).sum();
        // One line of each that was counted apart, and one of all others.
        assert_eq!(lines, u64::from(clients) * 2 - u64::try_from(CLIENTS_MAX).unwrap() - 1);
    }

    #[test]
    fn without_a_quota_everything_is_written() {
        let quota = Quota::new(0);
        assert!((0..10_000).all(|_| quota.admits(client(1))));
        assert_eq!((quota.turn(minute(5)), quota.table.lock().lines.len()), (vec![], 0));
    }
}
