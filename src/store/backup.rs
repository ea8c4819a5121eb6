//! A backup: one file with all parts, in the form of tar, that says of each what it must be.
//!
//! First comes the manifest (JSON), then each part, then the hash of the manifest. Reading believes nothing: every part is hashed
//! while it is written out, and what does not fit is named.

use super::whole_file::WholeFile;
use crate::types::Timestamp;
use ring::digest::{Context, SHA256};
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// The form of the file.
    pub format: u32,
    /// The program that made it.
    pub program: String,
    /// When it was finished, in UTC.
    pub made: Timestamp,
    /// Nothing was sent after it: the gate that it is of does not start again.
    pub last: bool,
    /// Where the audit ends in it.
    pub audit: String,
    /// The parts in their order.
    pub parts: Vec<Part>,
}

/// A part of a backup.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// Its name in the file.
    pub name: String,
    /// Its octets.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// Why a backup cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not begin as a backup does.
    #[error("it is no backup of this program: {0}")]
    Foreign(String),
    /// A newer release made it.
    #[error("it has format {0}, and this program knows format {FORMAT}; a newer release made it")]
    Newer(u32),
    /// It ends too early.
    #[error("it is truncated: it ends within {0}")]
    Truncated(String),
    /// It is not what was written.
    #[error("it was altered or damaged: {0}")]
    Altered(String),
}

/// Where a part comes from or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The part's name.
    pub name: &'static str,
    /// The file.
    pub path: PathBuf,
}

/// The limits' store.
pub const STORE: &str = "tollgate.db";
/// The archive.
pub const ARCHIVE: &str = "archive.db";
/// The secret that unknown logins are disguised by.
pub const DISGUISE: &str = "login-disguise";
/// Who was erased, by keyed hashes.
pub const ERASURES: &str = "erasures";
/// The form that is written.
pub const FORMAT: u32 = 1;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Octets.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// Hashes a file.
///
/// # Errors
/// If it cannot be read.
pub fn measure(path: &Path) -> Result<Measured, BackupError> {
    let wrong = |source| BackupError::Io { path: path.to_owned(), source };
    let mut sum = Summing::new(io::sink());
    let mut file = File::open(path).map_err(wrong)?;
    io::copy(&mut file, &mut sum).map_err(wrong)?;
    Ok(sum.done())
}

/// Writes a backup of these files, and returns what it is.
///
/// # Errors
/// [`BackupError::Io`] if the file is there already, or something cannot be read or written; then there is none.
pub fn pack(
    target: &Path,
    made: (Timestamp, bool),
    audit: String,
    places: &[Place],
) -> Result<Measured, BackupError> {
    let wrong = |source| BackupError::Io { path: target.to_owned(), source };
    let mut file = WholeFile::create(target).map_err(wrong)?;
    let packed = pack_into(&mut file, made, audit, places).map_err(|error| match error {
        BackupError::Io { path, source } if path.as_os_str().is_empty() => wrong(source),
        other => other,
    })?;
    file.finish().map_err(wrong)?;
    Ok(packed)
}

fn pack_into(
    file: &mut WholeFile,
    (made, last): (Timestamp, bool),
    audit: String,
    places: &[Place],
) -> Result<Measured, BackupError> {
    let wrong = |source| BackupError::Io { path: PathBuf::new(), source };
    let mut parts = Vec::new();
    for Place { name, path } in places {
        let Measured { bytes, sha256 } = measure(path)?;
        parts.push(Part { name: (*name).to_owned(), bytes, sha256 });
    }
    let program = concat!("tollgate ", env!("CARGO_PKG_VERSION")).to_owned();
    let manifest = Manifest { format: FORMAT, program, made, last, audit, parts };
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|error| wrong(error.into()))?;
    let mut tar = tar::Builder::new(Summing::new(BufWriter::new(file)));
    let mut add = |name: &str, bytes: u64, from: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(made.as_millis() / 1_000).unwrap_or(0));
        tar.append_data(&mut header, name, from)
    };
    add(MANIFEST, manifest.len() as u64, &mut manifest.as_slice()).map_err(wrong)?;
    for Place { name, path } in places {
        let io = |source| BackupError::Io { path: path.clone(), source };
        let mut file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        add(name, bytes, &mut file).map_err(wrong)?;
    }
    let sum = hash_of(&manifest);
    add(END, sum.len() as u64, &mut sum.as_bytes()).map_err(wrong)?;
    let mut whole = tar.into_inner().map_err(wrong)?;
    whole.flush().map_err(wrong)?;
    Ok(whole.done())
}

/// Reads what a backup says of itself, without a look at its parts.
///
/// # Errors
/// [`BackupError`] if it is none.
pub fn read_manifest(file: &Path) -> Result<Manifest, BackupError> {
    let wrong = |source| BackupError::Io { path: file.to_owned(), source };
    let mut tar = tar::Archive::new(BufReader::new(File::open(file).map_err(wrong)?));
    let mut entries = tar.entries().map_err(wrong)?;
    Ok(next_manifest(&mut entries)?.0)
}

/// Writes out the parts of a backup that are asked for, each to a new file, and checks all of them.
///
/// # Errors
/// [`BackupError`] by the first thing that is wrong; what was written by then is for the caller to remove.
pub fn unpack(file: &Path, places: &[Place]) -> Result<Manifest, BackupError> {
    let wrong = |source| BackupError::Io { path: file.to_owned(), source };
    let mut tar = tar::Archive::new(BufReader::new(File::open(file).map_err(wrong)?));
    let mut entries = tar.entries().map_err(wrong)?;
    let (manifest, sum) = next_manifest(&mut entries)?;
    check_length(&manifest, std::fs::metadata(file).map_err(wrong)?.len())?;
    for part in &manifest.parts {
        let mut entry = next_entry(&mut entries, &part.name, part.bytes)?;
        let place = places.iter().find(|place| place.name == part.name);
        let found = write_out(&mut entry, place, &part.name)?;
        if found.bytes < part.bytes {
            return Err(BackupError::Truncated(part.name.clone()));
        }
        if found.sha256 != part.sha256 {
            let what = format!("{} has another SHA-256 than the manifest says", part.name);
            return Err(BackupError::Altered(what));
        }
    }
    let mut end = String::new();
    let mut entry = next_entry(&mut entries, END, sum.len() as u64)?;
    entry.read_to_string(&mut end).map_err(|_| BackupError::Truncated(END.into()))?;
    if end != sum {
        return Err(BackupError::Altered("the manifest is not the one that was written".into()));
    }
    match entries.next() {
        None => Ok(manifest),
        Some(Err(_)) => Err(BackupError::Truncated("its end".into())),
        Some(Ok(_)) => Err(BackupError::Altered("something stands behind its end".into())),
    }
}

/// Names the part within which the file ends, if it does.
fn check_length(manifest: &Manifest, length: u64) -> Result<(), BackupError> {
    let blocks = |bytes: u64| bytes.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES);
    // The manifest was read whole, so at least its own blocks are there.
    let text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
    let mut end = BLOCK_BYTES + blocks(text.len() as u64);
    let last = (END, 2 * ring::digest::SHA256_OUTPUT_LEN as u64);
    let parts = manifest.parts.iter().map(|part| (part.name.as_str(), part.bytes));
    for (name, bytes) in parts.chain([last]) {
        end = end.saturating_add(BLOCK_BYTES).saturating_add(bytes);
        if length < end {
            return Err(BackupError::Truncated(name.into()));
        }
        end = blocks(end);
    }
    Ok(())
}

type Entries<'a> = tar::Entries<'a, BufReader<File>>;
type Entry<'a> = tar::Entry<'a, BufReader<File>>;

fn next_manifest(entries: &mut Entries<'_>) -> Result<(Manifest, String), BackupError> {
    let foreign = |detail: &dyn std::fmt::Display| BackupError::Foreign(detail.to_string());
    let entry = entries.next().ok_or_else(|| foreign(&"it is empty"))?;
    let mut entry = entry.map_err(|error| foreign(&error))?;
    if entry.path_bytes().as_ref() != MANIFEST.as_bytes() {
        return Err(foreign(&"it does not begin with a manifest"));
    }
    if entry.size() > MANIFEST_BYTES_MAX {
        return Err(foreign(&"its manifest is too long"));
    }
    let size = entry.size();
    let mut octets = Vec::new();
    let read = entry.read_to_end(&mut octets);
    if read.is_err() || (octets.len() as u64) < size {
        return Err(BackupError::Truncated(MANIFEST.into()));
    }
    let format: Format = serde_json::from_slice(&octets)
        .map_err(|error| BackupError::Altered(format!("the manifest: {error}")))?;
    if format.format != FORMAT {
        return Err(BackupError::Newer(format.format));
    }
    let manifest: Manifest = serde_json::from_slice(&octets)
        .map_err(|error| BackupError::Altered(format!("the manifest: {error}")))?;
    let known = [STORE, ARCHIVE, DISGUISE, ERASURES];
    let is_strange = |part: &&Part| !known.contains(&part.name.as_str());
    if let Some(part) = manifest.parts.iter().find(is_strange) {
        return Err(BackupError::Altered(format!("there is no part {:?}", part.name)));
    }
    Ok((manifest, hash_of(&octets)))
}

#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

fn next_entry<'a>(
    entries: &mut Entries<'a>,
    name: &str,
    bytes: u64,
) -> Result<Entry<'a>, BackupError> {
    let entry = entries.next().ok_or_else(|| BackupError::Truncated(name.into()))?;
    let entry = entry.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Truncated(name.into()),
        _ => BackupError::Altered(format!("the beginning of {name}: {error}")),
    })?;
    if entry.path_bytes().as_ref() != name.as_bytes() || entry.size() != bytes {
        return Err(BackupError::Altered(format!("{name} is not where it belongs")));
    }
    Ok(entry)
}

fn write_out(
    entry: &mut Entry<'_>,
    place: Option<&Place>,
    name: &str,
) -> Result<Measured, BackupError> {
    let Some(Place { path, .. }) = place else { return copy_out(entry, io::sink(), name) };
    let wrong = |source| BackupError::Io { path: path.clone(), source };
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(wrong)?;
    let found = copy_out(entry, &file, name)?;
    file.sync_all().map_err(wrong)?;
    Ok(found)
}

fn copy_out(entry: &mut Entry<'_>, to: impl Write, name: &str) -> Result<Measured, BackupError> {
    let mut sum = Summing::new(to);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match entry.read(&mut piece) {
            Ok(0) => return Ok(sum.done()),
            Ok(count) => {
                let io = |source| BackupError::Io { path: PathBuf::from(name), source };
                sum.write_all(&piece[..count]).map_err(io)?;
            }
            Err(_) => return Err(BackupError::Truncated(name.into())),
        }
    }
}

/// Passes octets on and hashes them.
struct Summing<W> {
    inner: W,
    context: Context,
    bytes: u64,
}

impl<W> Summing<W> {
    fn new(inner: W) -> Self {
        Self { inner, context: Context::new(&SHA256), bytes: 0 }
    }

    fn done(self) -> Measured {
        Measured { bytes: self.bytes, sha256: hexadecimal(self.context.finish().as_ref()) }
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(octets)?;
        self.context.update(&octets[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn hash_of(octets: &[u8]) -> String {
    hexadecimal(ring::digest::digest(&SHA256, octets).as_ref())
}

/// Octets as hexadecimal digits.
#[must_use]
pub fn hexadecimal(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

const MANIFEST: &str = "manifest.json";
const END: &str = "manifest.sha256";
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Of tar.
const BLOCK_BYTES: u64 = 512;
const PIECE_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn places(folder: &Path) -> Vec<Place> {
        let place = |name: &'static str| Place { name, path: folder.join(name) };
        vec![place(STORE), place(ARCHIVE)]
    }

    fn packed(folder: &Path) -> PathBuf {
        fs::write(folder.join(STORE), vec![7; 5_000]).unwrap();
        fs::write(folder.join(ARCHIVE), b"second part").unwrap();
        let target = folder.join("backup");
        let made = (Timestamp::EPOCH, false);
        let whole = pack(&target, made, "0:00".into(), &places(folder)).unwrap();
        assert_eq!(whole, measure(&target).unwrap());
        target
    }

    fn read(file: &Path) -> Result<Manifest, BackupError> {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let manifest = unpack(file, &places)?;
        assert_eq!(fs::read(&places[0].path).unwrap(), vec![7; 5_000]);
        assert_eq!(fs::read(&places[1].path).unwrap(), b"second part");
        Ok(manifest)
    }

    #[test]
    fn what_was_packed_is_unpacked_and_a_file_that_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = packed(folder.path());
        let manifest = read(&target).unwrap();
        assert_eq!(manifest.parts[1].bytes, 11);
        assert_eq!(read_manifest(&target).unwrap(), manifest);
        let before = fs::read(&target).unwrap();
        let again = pack(&target, (Timestamp::EPOCH, true), String::new(), &places(folder.path()));
        assert!(matches!(again, Err(BackupError::Io { .. })));
        assert_eq!(fs::read(&target).unwrap(), before);
        let gone = [Place { name: STORE, path: folder.path().join("gone") }];
        let other = folder.path().join("other");
        pack(&other, (Timestamp::EPOCH, true), String::new(), &gone).unwrap_err();
        assert!(!other.exists());
    }

    #[test]
    fn a_truncated_backup_is_refused_wherever_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let target = packed(folder.path());
        let whole = fs::read(&target).unwrap();
        // The two empty blocks at the end say nothing.
        for length in (0..whole.len() - 1_100).step_by(37) {
            fs::write(&target, &whole[..length]).unwrap();
            let error = read(&target).unwrap_err().to_string();
            let named = error.contains("truncated") || length < 512 && error.contains("no backup");
            assert!(named, "{length}: {error}");
        }
    }

    #[test]
    fn an_altered_octet_is_found_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let target = packed(folder.path());
        let whole = fs::read(&target).unwrap();
        let mut harmless = 0;
        for place in (0..whole.len() - 1_024).step_by(3) {
            let mut octets = whole.clone();
            octets[place] ^= 0x11;
            fs::write(&target, &octets).unwrap();
            // What only fills a block up says nothing.
            harmless += usize::from(read(&target).is_ok());
        }
        let filling = whole.len() / 3;
        assert!(harmless < filling / 5, "{harmless} of {filling}");
    }

    #[test]
    fn what_is_no_backup_or_a_newer_one_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let target = packed(folder.path());
        fs::write(&target, "x".repeat(2_000)).unwrap();
        assert!(matches!(read(&target).unwrap_err(), BackupError::Foreign(_)));
        let text = br#"{"format":2,"unknown":true}"#;
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, MANIFEST, &text[..]).unwrap();
        fs::write(&target, tar.into_inner().unwrap()).unwrap();
        assert!(matches!(read(&target).unwrap_err(), BackupError::Newer(2)));
    }
}
