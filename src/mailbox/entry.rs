//! Folders and files as the system shows them, opened so that no symbolic link is followed anywhere below the root.

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, StatxFlags, openat,
        openat2, seek, statx,
    },
    io::Errno,
};
use std::{
    ffi::CStr,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

/// What changes when an entry of a folder comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    changed: Moment,
    pub(super) modified: Moment,
}

/// Seconds and nanoseconds since 1970, by the clock of whoever keeps the files.
pub(super) type Moment = (i64, u32);

/// Opens a folder that the operator named; links on the way there are the operator's own.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, FOLDER, Mode::empty())
}

/// Opens a folder below one that is open. Links are not followed, nor does the way lead out (openat2(2)).
pub(super) fn open_below(above: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(above, path, FOLDER, Mode::empty(), resolve)
}

/// The stamp of something that is open.
pub(super) fn stamp_of(open: impl AsFd) -> Result<Stamp, Errno> {
    stamp(open, c"", AtFlags::EMPTY_PATH)
}

/// The stamp of something below a folder that is open.
pub(super) fn stamp_below(above: impl AsFd, path: &CStr) -> Result<Stamp, Errno> {
    stamp(above, path, AtFlags::SYMLINK_NOFOLLOW)
}

fn stamp(at: impl AsFd, path: &CStr, flags: AtFlags) -> Result<Stamp, Errno> {
    let wanted = StatxFlags::INO | StatxFlags::MTIME | StatxFlags::CTIME;
    let seen = statx(at, path, flags, wanted)?;
    Ok(Stamp {
        inode: seen.stx_ino,
        changed: (seen.stx_ctime.tv_sec, seen.stx_ctime.tv_nsec),
        modified: (seen.stx_mtime.tv_sec, seen.stx_mtime.tv_nsec),
    })
}

/// The octets of a plain file; none if it is something else, or has gone meanwhile.
pub(super) fn file_bytes(folder: impl AsFd, name: &CStr) -> Result<Option<u64>, Errno> {
    let wanted = StatxFlags::TYPE | StatxFlags::SIZE;
    match statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, wanted) {
        Ok(seen) => {
            let is_file = FileType::from_raw_mode(seen.stx_mode.into()) == FileType::RegularFile;
            Ok(is_file.then_some(seen.stx_size))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Room for the entries of folders while they are read.
pub(super) struct Room(Vec<u8>);

impl Room {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(ROOM_BYTES))
    }

    /// Shows each entry of a folder, without `.` and `..`, until there is no more or the viewer fails.
    pub(super) fn each_entry(
        &mut self,
        folder: impl AsFd,
        mut view: impl FnMut(&CStr, FileType) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        // It may have been read before.
        seek(&folder, SeekFrom::Start(0))?;
        let room: &mut [MaybeUninit<u8>] = self.0.spare_capacity_mut();
        let mut entries = RawDir::new(folder, room);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                view(entry.file_name(), entry.file_type())?;
            }
        }
        Ok(())
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// About a thousand names of mail.
const ROOM_BYTES: usize = 64 * 1024;
