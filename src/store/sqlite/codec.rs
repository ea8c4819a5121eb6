//! The octets of journal entries and of stored windows.
//!
//! A journal row is a series of entries. `Opened` says that a reservation is durable; `Closed` says how it ended and
//! repeats its charges, so that it can be applied although the row with its `Opened` is gone. Numbers are LEB128 varints.
//! Reading never panics: whatever does not fit is [`Damaged`].

use crate::{
    rules::window::{Charges, EXACT_MAX, Log},
    types::{Key, Timestamp},
};
use std::time::Duration;

/// The octets are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("octets that cannot be read")]
pub(super) struct Damaged;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry<'b> {
    /// A reservation is durable, with these charges (in place of those that an earlier entry told).
    Opened { id: u64, charges: Vec<(&'b str, u32)> },
    /// A reservation ended: given back, or charged with this stamp.
    Closed { id: u64, seq: u64, stamp: Option<Timestamp>, charges: Vec<(&'b str, u32)> },
}

const OPENED: u8 = 1;
const CLOSED: u8 = 2;
const REFUNDED: u8 = 3;
const LOG_VERSION: u8 = 1;
/// More windows than any reservation has.
const CHARGES_MAX: u64 = 64;

/// The charges of an entry, as they stand at its end.
pub(super) fn encode_charges<'k>(charges: impl Iterator<Item = (&'k Key, u32)> + Clone) -> Vec<u8> {
    let mut octets = Vec::with_capacity(128);
    put(&mut octets, charges.clone().count() as u64);
    for (key, charge) in charges {
        put(&mut octets, u64::from(charge));
        put(&mut octets, key.as_str().len() as u64);
        octets.extend_from_slice(key.as_str().as_bytes());
    }
    octets
}

pub(super) fn put_opened(to: &mut Vec<u8>, id: u64, charges: &[u8]) {
    to.push(OPENED);
    put(to, id);
    to.extend_from_slice(charges);
}

pub(super) fn put_closed(to: &mut Vec<u8>, id: u64, seq: u64, stamp: Timestamp, charges: &[u8]) {
    to.push(CLOSED);
    put(to, id);
    put(to, seq);
    put(to, millis(stamp));
    to.extend_from_slice(charges);
}

pub(super) fn put_refunded(to: &mut Vec<u8>, id: u64) {
    to.push(REFUNDED);
    put(to, id);
}

/// Calls `see` with each entry of a row and the entry's own octets.
pub(super) fn for_each_entry<'b>(
    row: &'b [u8],
    mut see: impl FnMut(Entry<'b>, &'b [u8]),
) -> Result<(), Damaged> {
    let mut rest = Reader(row);
    while !rest.0.is_empty() {
        let before = rest.0;
        let entry = rest.entry()?;
        see(entry, &before[..before.len() - rest.0.len()]);
    }
    Ok(())
}

/// A window as it is stored.
pub(super) fn encode_log(log: &Log) -> Vec<u8> {
    let mut octets = Vec::with_capacity(8 + 5 * log.exact().len());
    octets.push(LOG_VERSION);
    let mut last = 0;
    put(&mut octets, log.grouped().len() as u64);
    for group in log.grouped() {
        put(&mut octets, millis(group.first) - last);
        put(&mut octets, millis(group.newest) - millis(group.first));
        put(&mut octets, u64::from(group.count));
        last = millis(group.newest);
    }
    put(&mut octets, log.exact().len() as u64);
    for stamp in log.exact() {
        put(&mut octets, millis(stamp) - last);
        last = millis(stamp);
    }
    octets
}

/// The window that was stored.
pub(super) fn decode_log(octets: &[u8]) -> Result<Log, Damaged> {
    let mut rest = Reader(octets);
    if rest.octet()? != LOG_VERSION {
        return Err(Damaged);
    }
    let (mut log, mut last) = (Log::default(), 0_u64);
    for _ in 0..rest.number()? {
        let first = rest.moment_after(&mut last)?;
        let newest = rest.moment_after(&mut last)?;
        log.restore_bucket(Charges { first, newest, count: rest.small()? });
    }
    let exact = rest.small()?;
    if exact > EXACT_MAX {
        return Err(Damaged);
    }
    log.reserve(exact);
    for _ in 0..exact {
        log.restore_exact(rest.moment_after(&mut last)?);
    }
    if rest.0.is_empty() { Ok(log) } else { Err(Damaged) }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn entry(&mut self) -> Result<Entry<'b>, Damaged> {
        let (kind, id) = (self.octet()?, self.number()?);
        match kind {
            OPENED => Ok(Entry::Opened { id, charges: self.charges()? }),
            CLOSED => {
                let (seq, stamp) = (self.number()?, Some(moment(self.number()?)?));
                Ok(Entry::Closed { id, seq, stamp, charges: self.charges()? })
            }
            REFUNDED => Ok(Entry::Closed { id, seq: 0, stamp: None, charges: Vec::new() }),
            _ => Err(Damaged),
        }
    }

    fn charges(&mut self) -> Result<Vec<(&'b str, u32)>, Damaged> {
        let count = self.number()?;
        if count > CHARGES_MAX {
            return Err(Damaged);
        }
        (0..count).map(|_| self.charge()).collect()
    }

    fn charge(&mut self) -> Result<(&'b str, u32), Damaged> {
        let charges = self.small()?;
        let length = self.small()? as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok((std::str::from_utf8(text).map_err(|_| Damaged)?, charges))
    }

    fn octet(&mut self) -> Result<u8, Damaged> {
        let (&first, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(first)
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            number |= u64::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    fn small(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.number()?).map_err(|_| Damaged)
    }

    fn moment_after(&mut self, last: &mut u64) -> Result<Timestamp, Damaged> {
        *last = last.checked_add(self.number()?).ok_or(Damaged)?;
        moment(*last)
    }
}

fn put(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    to.push(low_bits(number));
}

const fn low_bits(number: u64) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

fn millis(stamp: Timestamp) -> u64 {
    u64::try_from(stamp.as_millis()).unwrap_or(0)
}

fn moment(millis: u64) -> Result<Timestamp, Damaged> {
    let length = Duration::from_millis(millis);
    if millis > MOMENT_MILLIS_MAX { Err(Damaged) } else { Ok(Timestamp::EPOCH + length) }
}

/// The year 9999.
const MOMENT_MILLIS_MAX: u64 = 253_402_300_800_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    #[test]
    fn entries_are_read_as_written() {
        let (tenant, account) = (key("tenant/r/b"), key("account/r/a@b"));
        let charges = encode_charges([(&tenant, 300), (&account, 1)].into_iter());
        let mut row = Vec::new();
        put_opened(&mut row, 7, &charges);
        put_closed(&mut row, 7, 900, Timestamp::from_millis(1_700_000_000_001), &charges);
        put_refunded(&mut row, 8);
        let listed = vec![("tenant/r/b", 300), ("account/r/a@b", 1)];
        let stamp = Some(Timestamp::from_millis(1_700_000_000_001));
        let mut seen = Vec::new();
        for_each_entry(&row, |entry, octets| seen.push((entry, octets.len()))).unwrap();
        assert_eq!(seen[0].0, Entry::Opened { id: 7, charges: listed.clone() });
        assert_eq!(seen[1].0, Entry::Closed { id: 7, seq: 900, stamp, charges: listed });
        assert_eq!(seen[2].0, Entry::Closed { id: 8, seq: 0, stamp: None, charges: Vec::new() });
        assert_eq!(seen.iter().map(|(_, size)| size).sum::<usize>(), row.len());
    }

    #[test]
    fn octets_that_were_cut_or_bent_are_refused_and_never_panic() {
        let account = key("account/r/a@b");
        let mut row = Vec::new();
        put_opened(&mut row, 7, &encode_charges([(&account, 1)].into_iter()));
        for end in 1..row.len() {
            assert!(for_each_entry(&row[..end], |_, _| ()).is_err(), "{end}");
        }
        for (at, bit) in (0..row.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bent = row.clone();
            bent[at] ^= 1 << bit;
            let _ = for_each_entry(&bent, |_, _| ());
            let _ = decode_log(&bent);
        }
    }

    #[test]
    fn a_log_is_read_as_written_and_is_small() {
        let start = Timestamp::from_millis(1_700_000_000_000);
        let hour = Duration::from_secs(3600);
        let mut log = Log::default();
        for n in 0..20 {
            let now = start + hour * n;
            log.record(1, now, now, hour * 24);
        }
        let octets = encode_log(&log);
        assert!(decode_log(&octets).unwrap().exact().eq(log.exact()));
        assert!(octets.len() < 100, "{}", octets.len());
        let mut heavy = Log::default();
        for n in 0..30_000_u32 {
            let now = start + Duration::from_millis(100) * n;
            heavy.record(1, now, now, hour * 24);
        }
        let back = decode_log(&encode_log(&heavy)).unwrap();
        assert!(back.grouped().eq(heavy.grouped()) && back.exact().eq(heavy.exact()));
    }
}
