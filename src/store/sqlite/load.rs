//! Loads the file at the start: stored windows, then the journal on top of them, then the records.

use super::{
    Settings,
    codec::{self, Entry},
    queue::Queue,
    restored,
    rows::{self, each, unreadable},
    schema,
};
use crate::{
    rules::window::Gap,
    store::{
        StoreError,
        disguise::Disguise,
        outbox::Outbox,
        records::Revision,
        refusals::Refusals,
        subjects::Subjects,
        windows::{KEYS_MAX, Locked, State, Windows},
    },
    types::{Key, Timestamp},
};
use rusqlite::{Connection, params};
use std::{collections::HashMap, sync::Arc};

/// Everything that the file held.
pub(super) struct Loaded {
    pub(super) windows: Windows,
    pub(super) subjects: Subjects,
    pub(super) refusals: Refusals,
    pub(super) outbox: Outbox,
    pub(super) revision: Option<Revision>,
    pub(super) queue: Queue,
    pub(super) first_row: i64,
    pub(super) last_row: i64,
    pub(super) journal_bytes: usize,
}

/// A reservation that had not ended: its windows and charges.
type Open = Vec<(Key, u32)>;

/// The journal as it is replayed.
struct Replay<'w> {
    windows: &'w Windows,
    open: HashMap<u64, Open>,
    dirty: Vec<Key>,
    last_seq: u64,
    first_row: Option<i64>,
    last_row: i64,
    bytes: usize,
}

pub(super) fn load(
    db: &Connection,
    settings: &Settings,
    now: Timestamp,
) -> Result<Loaded, StoreError> {
    let gap = rows::load_meta(db, restored::GAP)?.map(Timestamp::from_millis);
    let gap = gap.map_or(Gap::NONE, Gap::until);
    let disguise = Arc::new(Disguise::new(&rows::disguise_key(db)?));
    let windows = Windows::new(settings.history, settings.unknown_margin, KEYS_MAX)
        .with_gap(gap)
        .with_disguise(disguise.clone());
    let subjects = Subjects::with_disguise(disguise);
    let refusals = Refusals::default();
    rows::load_subjects(db, &subjects)?;
    subjects.for_each_override(|given| windows.keep_for(given.window.length()));
    rows::load_refusals(db, &refusals)?;
    let outbox = rows::load_outbox(db)?;
    let revision = rows::load_revision(db)?;
    rows::load_warned(db, windows.warned(), now)?;
    let last_seq = load_windows(db, &windows)?;
    let mut replay = Replay::new(&windows, last_seq);
    replay.run(db)?;
    let Replay { open, dirty, last_seq, first_row, last_row, bytes, .. } = replay;
    let queue = Queue::new(last_seq);
    for key in dirty {
        mark_dirty(&windows, &queue, &key);
    }
    for (id, charges) in open {
        count_as_sent(&windows, &queue, id, &charges, now)?;
    }
    Ok(Loaded {
        windows,
        subjects,
        refusals,
        outbox,
        revision,
        queue,
        first_row: first_row.unwrap_or(last_row + 1),
        last_row,
        journal_bytes: bytes,
    })
}

/// Puts the stored windows in; returns the highest journal number among them.
fn load_windows(db: &Connection, windows: &Windows) -> Result<u64, StoreError> {
    let mut last_seq = 0;
    each(db, schema::ALL_WINDOWS, params![], |row| {
        let journal_seq = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        let log = codec::decode_log(row.get_ref(2)?.as_blob()?).map_err(unreadable)?;
        windows.insert(row.get_ref(0)?.as_str()?, State::restored(log, journal_seq));
        last_seq = last_seq.max(journal_seq);
        Ok(())
    })?;
    Ok(last_seq)
}

impl<'w> Replay<'w> {
    fn new(windows: &'w Windows, last_seq: u64) -> Self {
        Self {
            windows,
            open: HashMap::new(),
            dirty: Vec::new(),
            last_seq,
            first_row: None,
            last_row: 0,
            bytes: 0,
        }
    }

    fn run(&mut self, db: &Connection) -> Result<(), StoreError> {
        let mut failed = Ok(());
        each(db, schema::ALL_JOURNAL, params![], |row| {
            self.last_row = row.get(0)?;
            self.first_row = self.first_row.or(Some(self.last_row));
            let at = Timestamp::from_millis(row.get(1)?);
            let entries = row.get_ref(2)?.as_blob()?;
            self.bytes += entries.len();
            codec::for_each_entry(entries, |entry, _| {
                if failed.is_ok() {
                    failed = self.apply(&entry, at);
                }
            })
            .map_err(unreadable)
        })?;
        failed
    }

    fn apply(&mut self, entry: &Entry<'_>, at: Timestamp) -> Result<(), StoreError> {
        match entry {
            Entry::Opened { id, charges } => {
                self.last_seq = self.last_seq.max(*id);
                self.open.insert(*id, keyed(charges)?);
            }
            Entry::Closed { id, seq, stamp, charges } => {
                self.last_seq = self.last_seq.max(*seq).max(*id);
                self.open.remove(id);
                if let Some(stamp) = stamp {
                    self.charge(*seq, *stamp, &keyed(charges)?, at)?;
                }
            }
        }
        Ok(())
    }

    /// Applies charges to the windows that were stored before them.
    fn charge(
        &mut self,
        seq: u64,
        stamp: Timestamp,
        charges: &[(Key, u32)],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        for (key, charges) in charges {
            let cell = self.windows.find_or_make(key.as_str())?;
            let mut state = cell.state().lock();
            if seq > state.journal_seq {
                state.log.record(*charges, stamp, at, self.windows.history());
                state.journal_seq = seq;
                self.dirty.push(key.clone());
            }
        }
        Ok(())
    }
}

fn keyed(charges: &[(&str, u32)]) -> Result<Open, StoreError> {
    let read = |(key, charges): &(&str, u32)| {
        let damaged = |error: crate::types::ParseError| StoreError::Damaged(error.to_string());
        Ok((key.parse().map_err(damaged)?, *charges))
    };
    charges.iter().map(read).collect()
}

fn mark_dirty(windows: &Windows, queue: &Queue, key: &Key) {
    let Some(cell) = windows.find(key.as_str()) else { return };
    if !std::mem::replace(&mut cell.state().lock().dirty, true) {
        queue.push_dirty(cell.clone());
    }
}

/// Counts a reservation as sent whose end is not known.
fn count_as_sent(
    windows: &Windows,
    queue: &Queue,
    id: u64,
    charges: &[(Key, u32)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let stamp = now + windows.unknown_margin();
    let cells = charges.iter().map(|(key, _)| windows.find_or_make(key.as_str()));
    let cells = cells.collect::<Result<Vec<_>, _>>()?;
    let mut states: Locked<'_> = cells.iter().map(|cell| cell.state().lock()).collect();
    for ((_, charges), state) in charges.iter().zip(&mut states) {
        state.log.record(*charges, stamp, now, windows.history());
    }
    let octets = codec::encode_charges(charges.iter().map(|(key, charges)| (key, *charges)));
    queue.push_closed(id, stamp, &octets, &cells, &mut states)
}
