//! Message bodies on their way: a bounded piece of memory, then an unlinked file under the state directory.
//!
//! [`Spool::begin`] gives a [`BodyWriter`]; its first octets stay in memory as the very pieces that came, what is more goes
//! in large pieces to a file that has no name, so that nothing is left behind by a crash. Files are opened, written and
//! read off the event loop. All files together have a cap. A [`Body`] can be read any number of times. Nothing here looks
//! into a body. Input comes from `intake`, output goes to `deliver`.

use bytes::{Bytes, BytesMut};
use rustix::fs::{Mode, OFlags};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bounds of the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder for bodies that do not fit in memory; never the system's temporary folder, which may be RAM.
    pub folder: PathBuf,
    /// Octets of one body that stay in memory.
    pub memory_bytes_max: usize,
    /// Octets of all bodies in files together; beyond: `452 4.3.1`.
    pub total_bytes_max: u64,
}

/// Why a body cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// [`Settings::total_bytes_max`] is reached, or the disk is full: `452 4.3.1`; later there may be room.
    #[error("the spool is full")]
    Full,
    /// The file cannot be made or written.
    #[error("the spool cannot be written")]
    Io(#[from] io::Error),
}

/// Where bodies are kept. Cheap to clone; all clones share the cap.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    used: AtomicU64,
}

impl Spool {
    /// Prepares the folder.
    ///
    /// # Errors
    /// If the folder cannot be made or no file can be made in it.
    pub fn new(settings: Settings) -> io::Result<Self> {
        std::fs::create_dir_all(&settings.folder)?;
        nameless_file(&settings.folder)?;
        Ok(Self(Arc::new(Inner { settings, used: AtomicU64::new(0) })))
    }

    /// Begins a body.
    #[must_use]
    pub fn begin(&self) -> BodyWriter {
        let space = Space { spool: Arc::clone(&self.0), octets: 0 };
        BodyWriter { head: BytesMut::new(), pending: BytesMut::new(), file: None, space }
    }

    /// Octets that bodies occupy in files now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// Takes a body as it comes. Dropping it gives all space back.
#[derive(Debug)]
pub struct BodyWriter {
    head: BytesMut,
    pending: BytesMut,
    file: Option<Stored>,
    space: Space,
}

impl BodyWriter {
    /// Takes the next octets.
    ///
    /// # Errors
    /// [`SpoolError`]; the body is then incomplete and must be dropped.
    pub async fn write(&mut self, mut chunk: BytesMut) -> Result<(), SpoolError> {
        let room = self.space.spool.settings.memory_bytes_max - self.head.len();
        if chunk.len() <= room {
            self.add_to_head(chunk);
            return Ok(());
        }
        if room > 0 {
            let first = chunk.split_to(room);
            self.add_to_head(first);
        }
        self.space.take(chunk.len())?;
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(FILE_PIECE_BYTES - self.pending.len()));
            self.pending.reserve(FILE_PIECE_BYTES - self.pending.len());
            self.pending.extend_from_slice(&piece);
            if self.pending.len() == FILE_PIECE_BYTES {
                self.save_pending().await?;
            }
        }
        Ok(())
    }

    /// Octets so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        octets(self.head.len()) + self.space.octets
    }

    /// True if nothing came yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole body.
    ///
    /// # Errors
    /// If its last piece cannot be written.
    pub async fn finish(mut self) -> Result<Body, SpoolError> {
        if !self.pending.is_empty() {
            self.save_pending().await?;
        }
        Ok(Body { head: self.head.freeze(), file: self.file, space: self.space })
    }

    /// Pieces of one read buffer are neighbours and joined without a copy.
    fn add_to_head(&mut self, chunk: BytesMut) {
        if self.head.is_empty() {
            self.head = chunk;
        } else {
            self.head.unsplit(chunk);
        }
    }

    async fn save_pending(&mut self) -> Result<(), SpoolError> {
        let spool = Arc::clone(&self.space.spool);
        let mut pending = std::mem::take(&mut self.pending);
        let (file, end) = match self.file.take() {
            Some(stored) => (Some(stored.handle()), stored.end),
            None => (None, 0),
        };
        let (file, pending) = off_the_loop(move || {
            let file =
                file.map_or_else(|| nameless_file(&spool.settings.folder).map(Arc::new), Ok)?;
            file.write_all_at(&pending, end)?;
            let written = octets(pending.len());
            pending.clear();
            Ok((Stored { file: Some(file), end: end + written }, pending))
        })
        .await
        .map_err(disk_error)?;
        (self.file, self.pending) = (Some(file), pending);
        Ok(())
    }
}

/// A finished body. Dropping it gives its space back.
#[derive(Debug)]
pub struct Body {
    head: Bytes,
    file: Option<Stored>,
    space: Space,
}

impl Body {
    /// Octets, dot-stuffed as they came.
    #[must_use]
    pub fn len(&self) -> u64 {
        octets(self.head.len()) + self.space.octets
    }

    /// True of a body without an octet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first octets, up to [`Settings::memory_bytes_max`] of them, in one piece.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Reads the body from its beginning, as often as wanted.
    #[must_use]
    pub fn reader(&self) -> BodyReader<'_> {
        BodyReader { body: self, head_done: false, at: 0, buffer: BytesMut::new() }
    }
}

/// A body of these octets, all in memory: for what the program writes itself and for tests.
impl From<Bytes> for Body {
    fn from(head: Bytes) -> Self {
        let settings =
            Settings { folder: PathBuf::new(), memory_bytes_max: head.len(), total_bytes_max: 0 };
        let spool = Arc::new(Inner { settings, used: AtomicU64::new(0) });
        Self { head, file: None, space: Space { spool, octets: 0 } }
    }
}

/// Reads a [`Body`] piece by piece.
#[derive(Debug)]
pub struct BodyReader<'a> {
    body: &'a Body,
    head_done: bool,
    at: u64,
    buffer: BytesMut,
}

impl BodyReader<'_> {
    /// The next piece, never empty; `None` at the end. Pieces are up to [`FILE_PIECE_BYTES`] large (or as large as the head),
    /// and memory is used again if the piece before was dropped.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !std::mem::replace(&mut self.head_done, true) && !self.body.head.is_empty() {
            return Ok(Some(self.body.head.clone()));
        }
        match &self.body.file {
            Some(stored) if self.at < stored.end => self.next_of_file(stored).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn next_of_file(&mut self, stored: &Stored) -> io::Result<Bytes> {
        let left = usize::try_from(stored.end - self.at).unwrap_or(usize::MAX);
        let length = left.min(FILE_PIECE_BYTES);
        let (file, at, mut buffer) = (stored.handle(), self.at, std::mem::take(&mut self.buffer));
        self.buffer = off_the_loop(move || {
            buffer.resize(length, 0);
            file.read_exact_at(&mut buffer, at)?;
            Ok(buffer)
        })
        .await?;
        self.at += octets(length);
        Ok(self.buffer.split().freeze())
    }
}

/// A file without a name and how far it is written.
#[derive(Debug)]
struct Stored {
    /// Always there until it is dropped.
    file: Option<Arc<File>>,
    end: u64,
}

impl Stored {
    fn handle(&self) -> Arc<File> {
        Arc::clone(self.file.as_ref().expect("the file is there until the drop"))
    }
}

impl Drop for Stored {
    /// Closing the last handle of a large file frees its blocks, which takes time: not on the event loop.
    fn drop(&mut self) {
        let file = self.file.take();
        if self.end >= CLOSE_BYTES_OFF_LOOP
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

/// A share of the cap, given back on drop.
#[derive(Debug)]
struct Space {
    spool: Arc<Inner>,
    octets: u64,
}

impl Space {
    fn take(&mut self, length: usize) -> Result<(), SpoolError> {
        let more = octets(length);
        let max = self.spool.settings.total_bytes_max;
        let fits = |used: u64| used.checked_add(more).filter(|&sum| sum <= max);
        self.spool
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| SpoolError::Full)?;
        self.octets += more;
        Ok(())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.spool.used.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// Opens a file that never has a name, or loses it at once where the file system knows no `O_TMPFILE`.
fn nameless_file(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(descriptor) => Ok(File::from(descriptor)),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
            unlinked_file(folder)
        }
        Err(error) => Err(error.into()),
    }
}

fn unlinked_file(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!("body-{:016x}", getrandom::u64().map_err(io::Error::other)?));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?;
    std::fs::remove_file(&path)?;
    Ok(File::from(file))
}

async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn disk_error(error: io::Error) -> SpoolError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolError::Full,
        _ => SpoolError::Io(error),
    }
}

fn octets(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Octets that are written to or read from a file at a time.
pub const FILE_PIECE_BYTES: usize = 256 * 1024;
/// A file of this many octets is closed off the event loop.
const CLOSE_BYTES_OFF_LOOP: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(memory_bytes_max: usize, total_bytes_max: u64) -> (Spool, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let settings = Settings { folder: path, memory_bytes_max, total_bytes_max };
        (Spool::new(settings).unwrap(), folder)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
    }

    async fn read(body: &Body) -> Vec<u8> {
        let (mut reader, mut all) = (body.reader(), Vec::new());
        while let Some(piece) = reader.next().await.unwrap() {
            assert!(!piece.is_empty() && piece.len() <= FILE_PIECE_BYTES);
            all.extend_from_slice(&piece);
        }
        assert!(reader.next().await.unwrap().is_none());
        all
    }

    /// Writes `length` octets in pieces of `step` and reads them twice.
    async fn check(memory_bytes_max: usize, length: usize, step: usize) {
        let (spool, folder) = spool(memory_bytes_max, u64::MAX);
        let octets = pattern(length);
        let mut writer = spool.begin();
        for piece in octets.chunks(step) {
            writer.write(BytesMut::from(piece)).await.unwrap();
        }
        let body = writer.finish().await.unwrap();
        assert_eq!(body.len(), length as u64);
        assert_eq!(body.head(), &octets[..length.min(memory_bytes_max)]);
        assert_eq!(spool.used_bytes(), length.saturating_sub(memory_bytes_max) as u64);
        assert!(read(&body).await == octets && read(&body).await == octets);
        assert_eq!(std::fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
        drop(body);
        assert_eq!(spool.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_body_is_read_as_it_was_written() {
        for (memory, length, step) in [
            (1000, 0, 1),
            (1000, 1, 1),
            (1000, 1000, 300),
            (1000, 1001, 1001),
            (0, 5000, 1000),
            (1000, 5000, 999),
            (FILE_PIECE_BYTES, 3 * FILE_PIECE_BYTES + 17, 70_000),
            (1000, 1000 + 2 * FILE_PIECE_BYTES, 3 * FILE_PIECE_BYTES),
        ] {
            check(memory, length, step).await;
        }
    }

    #[tokio::test]
    async fn neighbouring_pieces_are_not_copied() {
        let (spool, _folder) = spool(100_000, 0);
        let mut buffer = BytesMut::from(&pattern(4096)[..]);
        let start = buffer.as_ptr();
        let mut writer = spool.begin();
        for length in [100, 3000, 996] {
            writer.write(buffer.split_to(length)).await.unwrap();
        }
        let body = writer.finish().await.unwrap();
        assert_eq!((body.head().as_ptr(), body.len()), (start, 4096));
    }

    #[tokio::test]
    async fn the_cap_holds_over_all_bodies_and_space_is_given_back() {
        let (spool, _folder) = spool(10, 100);
        let mut first = spool.begin();
        first.write(BytesMut::from(&[1; 70][..])).await.unwrap();
        let mut second = spool.begin();
        second.write(BytesMut::from(&[2; 50][..])).await.unwrap();
        let full = second.write(BytesMut::from(&[3; 1][..])).await;
        assert!(matches!(full, Err(SpoolError::Full)), "{full:?}");
        drop(first);
        second.write(BytesMut::from(&[3; 1][..])).await.unwrap();
        assert_eq!((spool.used_bytes(), second.len()), (41, 51));
        drop(second);
        assert_eq!(spool.used_bytes(), 0);
    }

    #[test]
    fn a_file_without_o_tmpfile_has_no_name_either() {
        let folder = tempfile::tempdir().unwrap();
        let file = unlinked_file(folder.path()).unwrap();
        file.write_all_at(b"x", 0).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
