//! A new file that is there when it is whole, and not before: of one that was cut short, also by a kill, nothing stays on the disk.
//!
//! Copies of personal data are made so, because nobody would look for the half of one. It has no name until it is done
//! (`O_TMPFILE`); where the file system knows no such files it has its name from the beginning, and goes with whoever drops it.

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat, open},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A file that is being written, for its owner alone.
#[derive(Debug)]
pub struct WholeFile {
    file: File,
    target: PathBuf,
    /// It has its name, which goes with it.
    is_named: bool,
}

impl WholeFile {
    /// Begins one that is to be called so.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is such a file; else if none can be written there.
    pub fn create(target: &Path) -> io::Result<Self> {
        if target.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let folder = folder_of(target);
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let (file, is_named) = match open(folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => (File::from(file), false),
            // ISDIR is the answer of a kernel, or of a file system, that takes it for opening the folder.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => (named(target)?, true),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { file, target: target.to_owned(), is_named })
    }

    /// Writes it to the disk, and gives it its name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if a file of this name has come meanwhile; else if it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if !self.is_named {
            let unnamed = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            linkat(CWD, unnamed, CWD, &self.target, AtFlags::SYMLINK_FOLLOW)?;
            self.is_named = true;
        }
        // With a name that may not last a loss of power it is no copy that anybody may rely on, and goes.
        File::open(folder_of(&self.target))?.sync_all()?;
        self.is_named = false;
        Ok(())
    }
}

impl Write for WholeFile {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.file.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if self.is_named {
            let _ = std::fs::remove_file(&self.target);
        }
    }
}

fn named(target: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(target)
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn names(folder: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn it_is_there_when_it_is_whole_and_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("copy");
        let mut file = WholeFile::create(&target).unwrap();
        file.write_all(b"all of it").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"all of it");
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        let again = WholeFile::create(&target).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn of_one_that_is_dropped_nothing_stays_and_what_came_meanwhile_does() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("copy");
        let mut file = WholeFile::create(&target).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert!(names(folder.path()).is_empty());

        let mut file = WholeFile::create(&target).unwrap();
        file.write_all(b"late").unwrap();
        std::fs::write(&target, "first").unwrap();
        assert_eq!(file.finish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&target).unwrap(), b"first");

        let unnamed = File::options().write(true).open(folder.path().join("copy")).unwrap();
        drop(WholeFile { file: unnamed, target: target.clone(), is_named: true });
        assert!(!target.exists());
    }

    #[test]
    fn where_there_is_no_folder_there_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = WholeFile::create(&folder.path().join("none/copy")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
