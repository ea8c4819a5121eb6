//! A window as Redis holds it, read. `window.lua` writes the form and describes it.

use crate::{
    rules::window::{Charges, EXACT_MAX, Log},
    store::{StoreError, windows::State},
    types::Timestamp,
};

/// A window with its open charges, and the highest time that it has seen; both texts are empty for one that there is not.
pub(super) fn decode(text: &[u8], older: &[u8]) -> Result<(State, Timestamp), StoreError> {
    if text.is_empty() {
        return Ok((State::default(), Timestamp::EPOCH));
    }
    decode_parts(text, older).ok_or_else(|| StoreError::Damaged("a window in Redis".into()))
}

fn decode_parts(text: &[u8], older: &[u8]) -> Option<(State, Timestamp)> {
    let (body, tail) = text.split_at_checked(text.len().checked_sub(TAIL_OCTETS)?)?;
    let mut tail = Fields(tail);
    let version = tail.number(2)?;
    let high = tail.moment()?;
    let _earliest = tail.number(5)?;
    let open = u32::try_from(tail.number(4)?).ok()?;
    let stamps = usize::try_from(tail.number(4)?).ok()?;
    let (_entries, _zeros, buckets) = (tail.number(4)?, tail.number(4)?, tail.number(4)?);
    let (_merged, total) = (tail.number(4)?, tail.number(6)?);
    if version != VERSION || stamps > EXACT_MAX as usize {
        return None;
    }
    let mut log = Log::default();
    if buckets > 0 {
        restore_buckets(&mut log, older, total)?;
    }
    let mut stamped = Fields(body.get(..stamps * STAMP_OCTETS)?);
    while let Some(moment) = stamped.moment() {
        log.restore_exact(moment);
    }
    let mut state = State::restored(log, 0);
    state.open = open;
    Some((state, high))
}

/// Each bucket knows how many charges are in those before it, all together are `total`.
fn restore_buckets(log: &mut Log, older: &[u8], total: u64) -> Option<()> {
    let read = |octets| {
        let mut fields = Fields(octets);
        Some((fields.moment()?, fields.moment()?, fields.number(6)?))
    };
    let buckets: Vec<_> = older.chunks(BUCKET_OCTETS).map(read).collect::<Option<_>>()?;
    let ends = buckets.iter().skip(1).map(|&(_, _, before)| before).chain([total]);
    for (&(first, newest, before), end) in buckets.iter().zip(ends) {
        let count = u32::try_from(end.checked_sub(before)?).ok()?;
        log.restore_bucket(Charges { first, newest, count });
    }
    Some(())
}

/// Numbers one after another, the highest octet first.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn number(&mut self, octets: usize) -> Option<u64> {
        let (first, rest) = self.0.split_at_checked(octets)?;
        self.0 = rest;
        Some(first.iter().fold(0, |number, &octet| number << 8 | u64::from(octet)))
    }

    fn moment(&mut self) -> Option<Timestamp> {
        let millis = i64::try_from(self.number(STAMP_OCTETS)?).ok()?;
        Some(Timestamp::from_millis(EPOCH_MILLIS + millis))
    }
}

/// 2020-01-01T00:00:00Z.
const EPOCH_MILLIS: i64 = 1_577_836_800_000;
const VERSION: u64 = 1;
const STAMP_OCTETS: usize = 5;
const BUCKET_OCTETS: usize = 16;
const TAIL_OCTETS: usize = 42;
