//! The way of an event through a replay: read, made ready, judged, written. Reading and judging have a thread each, and making
//! ready, which reads the texts and costs the most, has as many as there are processors.

use super::{
    decision::Line,
    prepare::{Prepared, Preparer},
    trace::{self, Lines, TraceError},
};
use crate::rules::{
    replay::{Replay, Settings, Summary},
    spam::content::Rules,
};
use flate2::{Compression, write::GzEncoder};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, ScopedJoinHandle},
};

/// Why a replay failed; fits "failed to …".
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The decisions cannot be written.
    #[error("write the decisions: {0}")]
    Write(#[from] io::Error),
}

/// Replays a trace and writes the decisions.
pub(super) fn run(
    folder: &Path,
    out: &Path,
    settings: &Settings,
    rules: Rules,
) -> Result<Summary, RunError> {
    let preparer = Preparer::new(folder, &settings.judgement.spam, rules)?;
    let mut out = GzEncoder::new(BufWriter::new(File::create(out)?), Compression::fast());
    let mut replay = Replay::new(settings.clone());
    let workers = thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let (to_prepare, lines): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| sync_channel(BATCHES_MAX)).unzip();
    let (to_judge, prepared): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| sync_channel(BATCHES_MAX)).unzip();
    thread::scope(|scope| -> Result<(), RunError> {
        let reader = scope.spawn(move || trace::each_batch(folder, &to_prepare));
        let ends = lines.into_iter().zip(to_judge);
        let preparer = &preparer;
        let start = |(lines, to)| scope.spawn(move || prepare(preparer, &lines, &to));
        let preparers: Vec<_> = ends.map(start).collect();
        let judged = judge(&mut replay, &prepared, &mut out);
        // Whoever waits for room in a channel stops when its other end is gone.
        drop(prepared);
        for preparer in preparers {
            joined(preparer)?;
        }
        joined(reader)?;
        judged
    })?;
    out.finish()?.flush()?;
    Ok(replay.summary().clone())
}

/// What a thread came to; its panic goes on here.
fn joined<T>(thread: ScopedJoinHandle<'_, Result<T, TraceError>>) -> Result<T, TraceError> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn prepare(
    preparer: &Preparer,
    lines: &Receiver<Lines>,
    to_judge: &SyncSender<Vec<Prepared>>,
) -> Result<(), TraceError> {
    for batch in lines {
        let mut ready = Vec::with_capacity(batch.len());
        for (number, line) in batch.iter() {
            let event = trace::event(line).map_err(|source| trace::wrong_event(number, source))?;
            ready.push(preparer.prepare(&event).map_err(|why| trace::odd_event(number, why))?);
        }
        if to_judge.send(ready).is_err() {
            break;
        }
    }
    Ok(())
}

/// Judges batches in the order in which they were read: from each preparer in turn.
fn judge(
    replay: &mut Replay,
    prepared: &[Receiver<Vec<Prepared>>],
    out: &mut impl Write,
) -> Result<(), RunError> {
    let batches = prepared.iter().cycle().map_while(|ready| ready.recv().ok());
    for event in batches.flatten() {
        let decision = replay.step(&event.message());
        serde_json::to_writer(&mut *out, &Line::new(&event, &decision)).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Batches that wait between two threads.
const BATCHES_MAX: usize = 4;
/// Threads that make events ready.
const WORKERS_MAX: usize = 8;
