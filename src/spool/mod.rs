//! Message bodies on their way: a bounded piece of memory, then an unlinked file under the state directory.
//!
//! [`Spool::begin`] gives a [`BodyWriter`]; its first octets stay in memory as the very pieces that came, what is more goes
//! in large pieces to a file that has no name, so that nothing is left behind by a crash. Files are opened, written and
//! read off the event loop. All files together have a cap, and so has the memory of all bodies: once that is used up, what
//! comes goes to the file at once and without a buffer. Whoever says beforehand how much will come can have that much of
//! the files' cap promised ([`Spool::promise`]), so that large bodies that cannot all fit are turned away before they are
//! sent. A [`Body`] can be read any number of times. Nothing here looks into a body. When files
//! begin to fail or work again, an event says so. Input comes from `intake`, output goes to `deliver`.

use crate::{
    clock::Clock,
    event::{Event, Events, Trouble},
};
use bytes::{Bytes, BytesMut};
use rustix::fs::{Mode, OFlags};
use std::{
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Bounds of the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder for bodies that do not fit in memory; never the system's temporary folder, which may be RAM.
    pub folder: PathBuf,
    /// Octets of one body that stay in memory.
    pub memory_bytes_max: usize,
    /// Octets of all bodies in memory together, with what is on its way to and from files; beyond: straight to the file.
    pub memory_total_bytes_max: u64,
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

struct Inner {
    settings: Settings,
    files: AtomicU64,
    memory: AtomicU64,
    promised: AtomicU64,
    /// The last file could not be made, written or read.
    failing: AtomicBool,
    told: Option<(Clock, Events)>,
}

impl Inner {
    const fn new(settings: Settings, told: Option<(Clock, Events)>) -> Self {
        let (files, memory, promised) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { settings, files, memory, promised, failing: AtomicBool::new(false), told }
    }

    /// Tells the first failure and the first success after it.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if self.failing.swap(result.is_err(), Ordering::Relaxed) != result.is_err() {
            self.tell(&match &result {
                Ok(_) => Event::SpoolRecovered,
                Err(error) => {
                    let folder = self.settings.folder.display();
                    let detail = format!("the spool {folder} cannot be used: {error}");
                    Event::SpoolFailed(Trouble { detail })
                }
            });
        }
        result
    }

    fn tell(&self, event: &Event) {
        if let Some((clock, events)) = &self.told {
            events.tell(clock.now(), event);
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Spool {
    /// Prepares the folder.
    ///
    /// # Errors
    /// If the folder cannot be made or no file can be made in it.
    pub fn new(settings: Settings) -> io::Result<Self> {
        std::fs::create_dir_all(&settings.folder)?;
        nameless_file(&settings.folder)?;
        Ok(Self(Arc::new(Inner::new(settings, None))))
    }

    /// The same, still unused, telling when its files begin to fail and when they work again.
    #[must_use]
    pub fn reporting_to(self, clock: Clock, events: Events) -> Self {
        Self(Arc::new(Inner::new(self.0.settings.clone(), Some((clock, events)))))
    }

    /// Begins a body.
    #[must_use]
    pub fn begin(&self) -> BodyWriter {
        BodyWriter {
            head: BytesMut::new(),
            pending: BytesMut::new(),
            file: None,
            space: Share::none(&self.0, Cap::Files),
            memory: Share::none(&self.0, Cap::Memory),
        }
    }

    /// Promises room in files for a body of so many octets, until the promise is dropped. Promises are counted among
    /// themselves: they never take room from a body that came without one.
    ///
    /// # Errors
    /// [`SpoolError::Full`] if what is promised already leaves too little.
    pub fn promise(&self, size_bytes: u64) -> Result<Promise, SpoolError> {
        let mut share = Share::none(&self.0, Cap::Promised);
        let beyond = size_bytes.saturating_sub(octets(self.0.settings.memory_bytes_max));
        share.take(beyond).then_some(Promise { _share: share }).ok_or(SpoolError::Full)
    }

    /// Octets that bodies occupy in files now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.0.files.load(Ordering::Relaxed)
    }

    /// Octets that bodies may occupy in files.
    #[must_use]
    pub fn used_bytes_max(&self) -> u64 {
        self.0.settings.total_bytes_max
    }

    /// Octets that bodies may occupy in memory.
    #[must_use]
    pub fn memory_bytes_max(&self) -> u64 {
        self.0.settings.memory_total_bytes_max
    }

    /// Octets that bodies occupy in memory now.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.0.memory.load(Ordering::Relaxed)
    }
}

/// Room that is kept for a body that was announced.
#[derive(Debug)]
pub struct Promise {
    _share: Share,
}

/// Takes a body as it comes. Dropping it gives all space back.
#[derive(Debug)]
pub struct BodyWriter {
    head: BytesMut,
    pending: BytesMut,
    file: Option<Stored>,
    space: Share,
    memory: Share,
}

impl BodyWriter {
    /// Takes the next octets.
    ///
    /// # Errors
    /// [`SpoolError`]; the body is then incomplete and must be dropped.
    pub async fn write(&mut self, mut chunk: BytesMut) -> Result<(), SpoolError> {
        let first = self.head_room().min(chunk.len());
        if first > 0 && self.memory.take(octets(first)) {
            let first = chunk.split_to(first);
            self.add_to_head(first);
        }
        if chunk.is_empty() {
            return Ok(());
        }
        if !self.space.take(octets(chunk.len())) {
            return Err(SpoolError::Full);
        }
        if self.has_buffer() { self.buffer(chunk).await } else { self.save(chunk).await.map(drop) }
    }

    /// What the head may still grow by; it is complete as soon as something went on.
    fn head_room(&self) -> usize {
        let max = self.space.spool.settings.memory_bytes_max;
        if self.space.octets > 0 { 0 } else { max.saturating_sub(self.head.len()) }
    }

    /// Whether there is a buffer for the file; it is made as soon as there is memory for it.
    fn has_buffer(&mut self) -> bool {
        if self.pending.capacity() == 0 && self.memory.take(octets(FILE_PIECE_BYTES)) {
            self.pending.reserve(FILE_PIECE_BYTES);
        }
        self.pending.capacity() > 0
    }

    async fn buffer(&mut self, mut chunk: BytesMut) -> Result<(), SpoolError> {
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(FILE_PIECE_BYTES - self.pending.len()));
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
        drop(std::mem::take(&mut self.pending));
        self.memory.shrink_to(octets(self.head.len()));
        let Self { head, file, space, memory, .. } = self;
        Ok(Body { head: head.freeze(), file, space, _memory: memory })
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
        let pending = std::mem::take(&mut self.pending);
        self.pending = self.save(pending).await?;
        Ok(())
    }

    /// Appends these octets to the file; returns their memory, empty.
    async fn save(&mut self, mut piece: BytesMut) -> Result<BytesMut, SpoolError> {
        let spool = Arc::clone(&self.space.spool);
        let (file, end) = match self.file.take() {
            Some(stored) => (Some(stored.handle()), stored.end),
            None => (None, 0),
        };
        let saved = off_the_loop(move || {
            let file =
                file.map_or_else(|| nameless_file(&spool.settings.folder).map(Arc::new), Ok)?;
            file.write_all_at(&piece, end)?;
            let written = octets(piece.len());
            piece.clear();
            Ok((Stored { file: Some(file), end: end + written }, piece))
        })
        .await;
        let (file, piece) = self.space.spool.note(saved).map_err(disk_error)?;
        self.file = Some(file);
        Ok(piece)
    }
}

/// A finished body. Dropping it gives its space back.
#[derive(Debug)]
pub struct Body {
    head: Bytes,
    file: Option<Stored>,
    space: Share,
    _memory: Share,
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

    /// The first octets in one piece: at least `wanted` of them, unless the body is shorter. They are read from the file where
    /// memory had no room for them.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn opening(&self, wanted: usize) -> io::Result<Bytes> {
        let missing = wanted.saturating_sub(self.head.len());
        let Some(stored) = self.file.as_ref().filter(|_| missing > 0) else {
            return Ok(self.head.clone());
        };
        let length = missing.min(usize::try_from(stored.end).unwrap_or(usize::MAX));
        let mut opening = BytesMut::with_capacity(self.head.len() + length);
        opening.extend_from_slice(&self.head);
        let read = stored.read(0, length, BytesMut::new()).await;
        opening.unsplit(self.space.spool.note(read)?);
        Ok(opening.freeze())
    }

    /// Reads the body from its beginning, as often as wanted.
    #[must_use]
    pub fn reader(&self) -> BodyReader<'_> {
        let mut memory = Share::none(&self.space.spool, Cap::Memory);
        let roomy = self.file.is_none() || memory.take(octets(FILE_PIECE_BYTES));
        let piece_bytes = if roomy { FILE_PIECE_BYTES } else { SMALL_PIECE_BYTES };
        let buffer = BytesMut::new();
        BodyReader { body: self, head_done: false, at: 0, buffer, piece_bytes, _memory: memory }
    }
}

/// A body of these octets, all in memory: for what the program writes itself and for tests.
impl From<Bytes> for Body {
    fn from(head: Bytes) -> Self {
        let settings = Settings {
            folder: PathBuf::new(),
            memory_bytes_max: head.len(),
            memory_total_bytes_max: 0,
            total_bytes_max: 0,
        };
        let spool = Arc::new(Inner::new(settings, None));
        let (space, memory) = (Share::none(&spool, Cap::Files), Share::none(&spool, Cap::Memory));
        Self { head, file: None, space, _memory: memory }
    }
}

/// Reads a [`Body`] piece by piece.
#[derive(Debug)]
pub struct BodyReader<'a> {
    body: &'a Body,
    head_done: bool,
    at: u64,
    buffer: BytesMut,
    piece_bytes: usize,
    _memory: Share,
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
        let length = left.min(self.piece_bytes);
        let read = stored.read(self.at, length, std::mem::take(&mut self.buffer)).await;
        self.buffer = self.body.space.spool.note(read)?;
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

    /// Reads so many octets from there on into a buffer that is given.
    async fn read(&self, at: u64, length: usize, mut buffer: BytesMut) -> io::Result<BytesMut> {
        let file = self.handle();
        off_the_loop(move || {
            buffer.resize(length, 0);
            file.read_exact_at(&mut buffer, at)?;
            Ok(buffer)
        })
        .await
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

/// What all bodies together may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cap {
    /// [`Settings::total_bytes_max`].
    Files,
    /// [`Settings::memory_total_bytes_max`].
    Memory,
    /// [`Settings::total_bytes_max`] again, for what is only announced.
    Promised,
}

/// A share of a cap, given back on drop.
#[derive(Debug)]
struct Share {
    spool: Arc<Inner>,
    cap: Cap,
    octets: u64,
}

impl Share {
    fn none(spool: &Arc<Inner>, cap: Cap) -> Self {
        Self { spool: Arc::clone(spool), cap, octets: 0 }
    }

    fn used(&self) -> &AtomicU64 {
        match self.cap {
            Cap::Files => &self.spool.files,
            Cap::Memory => &self.spool.memory,
            Cap::Promised => &self.spool.promised,
        }
    }

    /// Takes more of the cap; false if there is not so much.
    fn take(&mut self, more: u64) -> bool {
        let max = match self.cap {
            Cap::Memory => self.spool.settings.memory_total_bytes_max,
            Cap::Files | Cap::Promised => self.spool.settings.total_bytes_max,
        };
        let fits = |used: u64| used.checked_add(more).filter(|&sum| sum <= max);
        let taken = self.used().fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        self.octets += if taken { more } else { 0 };
        taken
    }

    /// Gives back what is more than so many octets.
    fn shrink_to(&mut self, left: u64) {
        let less = self.octets.saturating_sub(left);
        self.used().fetch_sub(less, Ordering::Relaxed);
        self.octets -= less;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
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
/// Octets that are read from a file at a time while memory is short.
const SMALL_PIECE_BYTES: usize = 16 * 1024;
/// A file of this many octets is closed off the event loop.
const CLOSE_BYTES_OFF_LOOP: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(memory_bytes_max: usize, total_bytes_max: u64) -> (Spool, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let memory_total_bytes_max = u64::MAX;
        let settings =
            Settings { folder: path, memory_bytes_max, memory_total_bytes_max, total_bytes_max };
        (Spool::new(settings).unwrap(), folder)
    }

    /// A spool where all bodies together have so much memory.
    fn short_of_memory(memory_total_bytes_max: u64) -> (Spool, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            folder: folder.path().to_owned(),
            memory_bytes_max: 1000,
            memory_total_bytes_max,
            total_bytes_max: u64::MAX,
        };
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
        assert_eq!(body.opening(0).await.unwrap(), &octets[..length.min(memory_bytes_max)]);
        let opening = body.opening(memory_bytes_max + 700).await.unwrap();
        assert_eq!(opening, &octets[..length.min(memory_bytes_max + 700)]);
        assert_eq!(spool.used_bytes(), length.saturating_sub(memory_bytes_max) as u64);
        assert!(read(&body).await == octets && read(&body).await == octets);
        assert_eq!(std::fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
        drop(body);
        assert_eq!((spool.used_bytes(), spool.memory_bytes()), (0, 0));
    }

    #[tokio::test]
    async fn bodies_go_straight_to_files_when_memory_is_used_up() {
        let (spool, _folder) = short_of_memory(1500);
        let mut first = spool.begin();
        first.write(BytesMut::from(&pattern(1000)[..])).await.unwrap();
        assert_eq!((spool.memory_bytes(), spool.used_bytes()), (1000, 0));
        let octets = pattern(2000);
        let mut second = spool.begin();
        for piece in octets.chunks(400) {
            second.write(BytesMut::from(piece)).await.unwrap();
        }
        // One piece had room; there was none for the next, nor for a buffer before the file.
        assert_eq!((spool.memory_bytes(), spool.used_bytes()), (1400, 1600));
        drop(first);
        second.write(BytesMut::from(&b"end"[..])).await.unwrap();
        assert_eq!(spool.memory_bytes(), 400, "what has begun to go to the file goes on so");
        let body = second.finish().await.unwrap();
        let whole = [&octets[..], b"end"].concat();
        assert_eq!(read(&body).await, whole);
        assert_eq!(body.opening(1000).await.unwrap(), &whole[..1000]);
        drop(body);
        assert_eq!((spool.memory_bytes(), spool.used_bytes()), (0, 0));
    }

    #[tokio::test]
    async fn buffers_on_the_way_to_and_from_files_count() {
        let piece = octets(FILE_PIECE_BYTES);
        let (spool, _folder) = short_of_memory(piece + 1500);
        let mut writer = spool.begin();
        writer.write(BytesMut::from(&pattern(5000)[..])).await.unwrap();
        assert_eq!(spool.memory_bytes(), 1000 + piece);
        let body = writer.finish().await.unwrap();
        assert_eq!(spool.memory_bytes(), 1000);
        let reader = body.reader();
        assert_eq!(spool.memory_bytes(), 1000 + piece);
        assert_eq!(body.reader().piece_bytes, SMALL_PIECE_BYTES);
        drop(reader);
        assert_eq!(spool.memory_bytes(), 1000);
    }

    #[test]
    fn no_more_is_promised_than_fits() {
        let (spool, _folder) = spool(100, 1000);
        let promise = |size| spool.promise(size);
        let _small = promise(100).unwrap();
        let first = promise(700).unwrap();
        let _second = promise(500).unwrap();
        assert!(matches!(promise(101), Err(SpoolError::Full)));
        assert!(matches!(promise(u64::MAX), Err(SpoolError::Full)));
        assert!(promise(100).is_ok(), "what fits in memory needs no promise");
        drop(first);
        assert!(promise(700).is_ok());
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
        let head = body.opening(0).await.unwrap();
        assert_eq!((head.as_ptr(), body.len()), (start, 4096));
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
