//! Where log lines go: appended to a buffer in memory, written by one thread.
//!
//! Whoever logs holds a lock for the time that the line takes to format, and never waits for the disk. The thread writes when
//! [`FLUSH_BYTES`] have come together or [`FLUSH_AFTER`] has passed. If the disk or the pipe stalls for so long that
//! [`BUFFER_BYTES_MAX`] are waiting, further lines are dropped, counted, and a line says how many. Never an unbounded buffer,
//! never a blocked message.

use super::{
    LogFormat, TelemetryError,
    line::{Line, SecondText},
};
use crate::types::Timestamp;
use parking_lot::{Condvar, Mutex};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Owns the thread that writes; dropping it writes what is buffered and ends the thread.
pub(super) struct Writer {
    sink: Sink,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the file, or standard error where there is none, and starts the thread.
    pub(super) fn start(path: Option<&Path>) -> Result<Self, TelemetryError> {
        let sink = Sink(Arc::new(Shared {
            pending: Mutex::default(),
            wake: Condvar::new(),
            output: Mutex::new(Output::open(path)?),
            path: path.map(Path::to_owned),
            lines_lost: AtomicU64::new(0),
            lines_suppressed: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
        }));
        let shared = sink.clone();
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || shared.run_writer())
            .map_err(TelemetryError::Thread)?;
        Ok(Self { sink, thread: Some(thread) })
    }

    pub(super) fn sink(&self) -> Sink {
        self.sink.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sink.0.pending.lock().stopping = true;
        self.sink.0.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // The thread can only have panicked; what is buffered is written below in any case.
            let _ = thread.join();
        }
        self.sink.flush();
    }
}

/// A way into the log. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sink(Arc<Shared>);

/// What the log could not do since the program started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines that were dropped because too much was waiting.
    pub lines_lost: u64,
    /// Lines that were held back because their client had caused too many.
    pub lines_suppressed: u64,
    /// Writes that failed.
    pub write_errors: u64,
}

struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
    output: Mutex<Output>,
    path: Option<PathBuf>,
    lines_lost: AtomicU64,
    lines_suppressed: AtomicU64,
    write_errors: AtomicU64,
}

#[derive(Default)]
struct Pending {
    buffer: Vec<u8>,
    second: SecondText,
    /// Lines that were dropped since the last one that said so.
    lost: u64,
    stopping: bool,
}

impl Sink {
    /// Appends one line. `fill` adds its keys.
    pub(super) fn write_line(
        &self,
        format: LogFormat,
        at: Timestamp,
        fill: impl FnOnce(&mut Line<'_>),
    ) {
        let mut pending = self.0.pending.lock();
        let before = pending.buffer.len();
        if before >= BUFFER_BYTES_MAX {
            pending.lost += 1;
            self.0.lines_lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        pending.append(format, at, fill);
        let after = pending.buffer.len();
        drop(pending);
        if before == 0 || (before < FLUSH_BYTES && after >= FLUSH_BYTES) {
            self.0.wake.notify_one();
        }
    }

    /// Writes all that was appended before the call.
    pub(super) fn flush(&self) {
        self.drain(&mut self.0.output.lock());
    }

    /// Opens the file again.
    pub(super) fn reopen(&self) -> Result<(), TelemetryError> {
        let fresh = Output::open(self.0.path.as_deref())?;
        let mut output = self.0.output.lock();
        self.drain(&mut output);
        *output = fresh;
        Ok(())
    }

    /// Counts a line that is not written.
    pub(super) fn count_suppressed(&self) {
        self.0.lines_suppressed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> LogCounts {
        LogCounts {
            lines_lost: self.0.lines_lost.load(Ordering::Relaxed),
            lines_suppressed: self.0.lines_suppressed.load(Ordering::Relaxed),
            write_errors: self.0.write_errors.load(Ordering::Relaxed),
        }
    }

    fn run_writer(&self) {
        while self.wait_for_work() {
            self.flush();
        }
    }

    /// Sleeps until there is enough to write; false when the log stops.
    fn wait_for_work(&self) -> bool {
        let mut pending = self.0.pending.lock();
        while pending.buffer.is_empty() && !pending.stopping {
            self.0.wake.wait(&mut pending);
        }
        if pending.buffer.len() < FLUSH_BYTES && !pending.stopping {
            self.0.wake.wait_for(&mut pending, FLUSH_AFTER);
        }
        !pending.stopping
    }

    /// Writes the buffer, which is swapped with the spare one, so that nobody waits for the write.
    fn drain(&self, output: &mut Output) {
        let mut full = std::mem::take(&mut output.spare);
        std::mem::swap(&mut self.0.pending.lock().buffer, &mut full);
        if !full.is_empty() && output.write_all(&full).is_err() {
            self.0.write_errors.fetch_add(1, Ordering::Relaxed);
        }
        full.clear();
        full.shrink_to(SPARE_BYTES_MAX);
        output.spare = full;
    }
}

impl Pending {
    fn append(&mut self, format: LogFormat, at: Timestamp, fill: impl FnOnce(&mut Line<'_>)) {
        let Self { buffer, second, lost, .. } = self;
        if *lost > 0 {
            let mut line = Line::begin(buffer, format, second, at);
            line.word("level", "error");
            line.word("event", "log-lines-lost");
            line.number("lines", std::mem::take(lost));
            line.end();
        }
        let mut line = Line::begin(buffer, format, second, at);
        fill(&mut line);
        line.end();
    }
}

struct Output {
    target: Target,
    /// Empty; its memory is the next buffer.
    spare: Vec<u8>,
}

enum Target {
    StandardError,
    File(File),
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self, TelemetryError> {
        let target = path.map_or(Ok(Target::StandardError), |path| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(LOG_FILE_MODE)
                .open(path)
                .map(Target::File)
                .map_err(|source| TelemetryError::Open { path: path.to_owned(), source })
        })?;
        Ok(Self { target, spare: Vec::new() })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.target {
            Target::StandardError => io::stderr().lock().write_all(bytes),
            Target::File(file) => file.write_all(bytes),
        }
    }
}

/// The thread writes when so much has come together.
const FLUSH_BYTES: usize = 64 * 1024;
/// The thread writes when the oldest line is this old.
const FLUSH_AFTER: Duration = Duration::from_millis(200);
/// What may wait in memory; beyond it lines are dropped. One line may go over it.
const BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Capacity that is kept for the next round.
const SPARE_BYTES_MAX: usize = 2 * FLUSH_BYTES;
/// Addresses of customers stand in the log, so others may not read it.
const LOG_FILE_MODE: u32 = 0o640;

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink whose thread does not run, so that everything waits.
    fn stalled(path: &Path) -> Sink {
        Sink(Arc::new(Shared {
            pending: Mutex::default(),
            wake: Condvar::new(),
            output: Mutex::new(Output::open(Some(path)).unwrap()),
            path: None,
            lines_lost: AtomicU64::new(0),
            lines_suppressed: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
        }))
    }

    fn append(sink: &Sink, text: &str) {
        sink.write_line(LogFormat::Text, Timestamp::EPOCH, |line| line.text("text", text));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let sink = stalled(&path);
        let long = "x".repeat(1_000);
        for _ in 0..BUFFER_BYTES_MAX / 1_000 + 50 {
            append(&sink, &long);
        }
        let lost = sink.counts().lines_lost;
        assert!(lost > 0);
        assert!(sink.0.pending.lock().buffer.len() < BUFFER_BYTES_MAX + 2_000);
        sink.flush();
        append(&sink, "after");
        sink.flush();
        let text = std::fs::read_to_string(path).unwrap();
        let tail: Vec<&str> = text.lines().rev().take(2).collect();
        assert!(tail[0].ends_with("text=after"), "{tail:?}");
        assert!(tail[1].ends_with(&format!("event=log-lines-lost lines={lost}")), "{tail:?}");
    }

    #[test]
    fn the_thread_writes_without_being_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let writer = Writer::start(Some(&path)).unwrap();
        append(&writer.sink(), &"x".repeat(500));
        let written = || std::fs::metadata(&path).unwrap().len() > 500;
        let limit = crate::clock::steady_now() + Duration::from_secs(20);
        while !written() && crate::clock::steady_now() < limit {
            std::thread::yield_now();
        }
        assert!(written());
    }

    #[test]
    fn stopping_writes_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let writer = Writer::start(Some(&path)).unwrap();
        append(&writer.sink(), "last");
        drop(writer);
        assert!(std::fs::read_to_string(path).unwrap().ends_with("text=last\n"));
    }
}
