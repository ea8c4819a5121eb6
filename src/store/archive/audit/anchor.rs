//! Where the chain of the audit ends, noted outside of the archive: a small file beside it.
//!
//! A chain does not show that its end was cut off, nor that something with a right hash was added. So the writer notes, before
//! each transaction that adds entries, the head that is in the file and the head that will be, and after it the new one alone: after
//! a crash at any instruction the chain ends with one of those that are noted. Whoever may write the archive may write this file as well; against that a head is kept
//! on another host (docs/audit.md).

use super::{
    super::Lasting,
    chain::{Hash, Head},
};
use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// The file.
pub(in crate::store::archive) struct Anchor {
    file: File,
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorState {
    /// There is none.
    Missing,
    /// It is not what the program writes.
    Unreadable,
    /// The chain ends with one of these, the older first.
    Known([Head; 2]),
}

impl Anchor {
    /// Opens the file beside an archive, made if it is missing, and says what stood there.
    pub(in crate::store::archive) fn open(archive: &Path) -> io::Result<(Self, AnchorState)> {
        let path = place(archive);
        let found = AnchorState::load(archive)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        Ok((Self { file }, found))
    }

    /// Notes that the chain ends with the one head, and will end with the other.
    pub(in crate::store::archive) fn note(
        &self,
        heads: [Head; 2],
        lasting: Lasting,
    ) -> io::Result<()> {
        let text = write(heads);
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)?;
        if lasting == Lasting::Power { self.file.sync_data() } else { Ok(()) }
    }
}

impl AnchorState {
    /// What the file beside an archive says.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn load(archive: &Path) -> io::Result<Self> {
        match std::fs::read(place(archive)) {
            Ok(octets) if octets.is_empty() => Ok(Self::Missing),
            Ok(octets) => Ok(read(&octets).map_or(Self::Unreadable, Self::Known)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Missing),
            Err(error) => Err(error),
        }
    }

    /// True if a chain may end so.
    #[must_use]
    pub fn fits(&self, head: Head) -> bool {
        match self {
            Self::Missing => head == Head::NONE,
            Self::Unreadable => false,
            Self::Known(heads) => heads.contains(&head),
        }
    }

    /// As people read it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Missing => "none".into(),
            Self::Unreadable => "unreadable".into(),
            Self::Known([_, last]) => last.to_string(),
        }
    }
}

/// Writes the file for a chain that ends so.
///
/// # Errors
/// If it cannot be written.
pub(in crate::store::archive) fn plant(archive: &Path, head: Head) -> io::Result<()> {
    let (anchor, _) = Anchor::open(archive)?;
    anchor.note([head, head], Lasting::Power)
}

fn place(archive: &Path) -> PathBuf {
    let mut name = archive.as_os_str().to_owned();
    name.push(ENDING);
    PathBuf::from(name)
}

/// All lines have one length, and all together are shorter than a sector, so that a write is whole or not there.
fn write(heads: [Head; 2]) -> String {
    let [before, after] = heads.map(|head| format!("{:020} {}\n", head.number, head.hash));
    format!("{LABEL}{before}{after}")
}

fn read(octets: &[u8]) -> Option<[Head; 2]> {
    let mut lines = std::str::from_utf8(octets).ok()?.strip_prefix(LABEL)?.lines();
    let mut head = || -> Option<Head> {
        let (number, hash) = lines.next()?.split_once(' ')?;
        Some(Head { number: number.parse().ok()?, hash: hash.parse::<Hash>().ok()? })
    };
    let heads = [head()?, head()?];
    (lines.next().is_none() && octets.len() == write(heads).len()).then_some(heads)
}

const ENDING: &str = ".head";
const LABEL: &str = "tollgate audit head 1\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_and_a_damaged_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive.db");
        let (anchor, found) = Anchor::open(&archive).unwrap();
        assert_eq!(found, AnchorState::Missing);
        let hash = "ab".repeat(32).parse().unwrap();
        let heads = [Head { number: 9, hash }, Head { number: 12, hash }];
        anchor.note(heads, Lasting::Power).unwrap();
        let found = Anchor::open(&archive).unwrap().1;
        assert_eq!(found, AnchorState::Known(heads));
        assert!(found.fits(heads[0]) && found.fits(heads[1]) && !found.fits(Head::NONE));
        let octets = std::fs::read(place(&archive)).unwrap();
        for cut in [1, 30, octets.len() - 1] {
            std::fs::write(place(&archive), &octets[..cut]).unwrap();
            assert_eq!(AnchorState::load(&archive).unwrap(), AnchorState::Unreadable, "{cut}");
        }
    }
}
