//! Maildirs (<https://cr.yp.to/proto/maildir.html>) with folders as Maildir++ has them: `cur` and `new` of the inbox and of each
//! `.Folder` beside them.
//!
//! A message's size is read from its name where Dovecot or Courier wrote it there (`,S=4096`), and asked of the system where not.
//! That it stands there is believed: a name that lies makes a mailbox smaller or larger than it is, and whoever can rename the
//! files of a mailbox can do that. A folder is read again only if its stamp changed, or if it was read so soon after a change
//! that another one may have got the same stamp. What is in `tmp` does not count. Nothing is followed that is a symbolic link.

use super::{
    Found, How, Template,
    entry::{Moment, Room, Stamp, file_bytes, open_below, open_root, stamp_below, stamp_of},
    maildirsize,
};
use crate::{
    rules::quota::Usage,
    types::{AccountId, Timestamp},
};
use parking_lot::Mutex;
use rustix::{
    fs::{FileType, Mode, OFlags, openat},
    io::{Errno, read},
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsStr},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
};

/// Maildirs at a place for each account.
pub struct Maildirs {
    template: Template,
    threads: usize,
    memory: Mutex<Memory>,
}

/// What was seen of mailboxes, so that only what changed is read again.
#[derive(Default)]
struct Memory {
    mailboxes: HashMap<AccountId, Seen>,
    folders: usize,
}

/// What was seen of one mailbox.
#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    is_settled: bool,
    folders: Vec<Folder>,
}

/// `cur` or `new` of an inbox or folder.
#[derive(Debug)]
struct Folder {
    /// Below the mailbox.
    path: CString,
    stamp: Option<Stamp>,
    is_settled: bool,
    usage: Usage,
}

/// Why a mailbox gives no figure.
enum Stop {
    /// It is not there.
    Missing,
    /// It is not for us to read, or not as it should be.
    Failed(String),
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        Self::Failed(std::io::Error::from(error).to_string())
    }
}

impl Maildirs {
    /// Those at the places of a template, looked at by so many threads.
    #[must_use]
    pub fn new(template: Template, threads: usize) -> Self {
        Self { template, threads, memory: Mutex::default() }
    }

    pub(super) fn name(&self) -> String {
        self.template.to_string()
    }

    pub(super) const fn threads(&self) -> usize {
        self.threads
    }

    /// The accounts whose folders are there. A folder whose name is not written as accounts are (in small letters) is nobody's.
    ///
    /// # Errors
    /// Why the folders cannot be listed.
    pub fn accounts(&self) -> Result<Vec<AccountId>, String> {
        let root = open_root(self.template.root()).map_err(|error| self.failure(error))?;
        let mut walk = Walk { maildirs: self, found: Vec::new(), room: Room::new() };
        walk.descend(&root, 0, Names::default()).map_err(|error| self.failure(error))?;
        Ok(walk.found)
    }

    /// Looks at one account's mailbox; `now` is the wall clock.
    pub(super) fn measure(&self, account: &AccountId, room: &mut Room, now: Timestamp) -> Found {
        let Some(place) = self.template.place(account) else {
            return Found::Nothing { is_gone: true };
        };
        let root = match open_root(self.template.root()) {
            Ok(root) => root,
            Err(error) => return Found::Failed(self.failure(error)),
        };
        match self.look(account, &root, &place, (room, now)) {
            Ok((usage, how)) => Found::Holds(usage, how),
            Err(Stop::Missing) => Found::Nothing { is_gone: self.is_gone(account, &root, room) },
            Err(Stop::Failed(why)) => Found::Failed(format!("{}: {why}", place.display())),
        }
    }

    fn look(
        &self,
        account: &AccountId,
        root: &OwnedFd,
        place: &Path,
        (room, now): (&mut Room, Timestamp),
    ) -> Result<(Usage, How), Stop> {
        let mailbox = match open_below(root, place) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Stop::Missing),
            opened => opened?,
        };
        let before = self.memory.lock().take(account);
        if before.is_none()
            && let Some(usage) = fresh_maildirsize(&mailbox, room, now)?
        {
            return Ok((usage, How::Maildirsize));
        }
        let seen = Seen::of(&mailbox, before, (room, now))?;
        let usage = seen.usage();
        self.memory.lock().put(account, seen);
        Ok((usage, How::Scan))
    }

    /// True if the folder around the account's own is there with others in it: then the account's is not there because it is gone,
    /// and not because a disk is.
    fn is_gone(&self, account: &AccountId, root: &OwnedFd, room: &mut Room) -> bool {
        let Some((above, own)) = self.template.own_folder(account) else { return true };
        let Ok(above) = open_below(root, &above) else { return false };
        let (mut has_own, mut has_others) = (false, false);
        let read = room.each_entry(&above, |name, _| {
            if name.to_bytes() == own.as_bytes() {
                has_own = true;
            } else {
                has_others = true;
            }
            Ok(())
        });
        read.is_ok() && has_others && !has_own
    }

    fn failure(&self, error: Errno) -> String {
        format!("{}: {}", self.template.root().display(), std::io::Error::from(error))
    }
}

impl Memory {
    fn take(&mut self, account: &AccountId) -> Option<Seen> {
        let seen = self.mailboxes.remove(account)?;
        self.folders -= seen.folders.len();
        Some(seen)
    }

    /// Beyond what is remembered, mailboxes are read anew each time.
    fn put(&mut self, account: &AccountId, seen: Seen) {
        if self.folders + seen.folders.len() <= FOLDERS_REMEMBERED_MAX {
            self.folders += seen.folders.len();
            self.mailboxes.insert(account.clone(), seen);
        }
    }
}

impl Seen {
    /// What is there now; what has not changed since `before` is not read again.
    fn of(
        mailbox: &OwnedFd,
        before: Option<Self>,
        (room, now): (&mut Room, Timestamp),
    ) -> Result<Self, Stop> {
        let stamp = stamp_of(mailbox)?;
        let mut seen = match before {
            Some(before) if before.is_settled && before.stamp == stamp => before,
            before => Self::listed(mailbox, stamp, before, (room, now))?,
        };
        let mut is_maildir = false;
        for folder in &mut seen.folders {
            folder.look(mailbox, (room, now))?;
            is_maildir |= folder.stamp.is_some();
        }
        if is_maildir { Ok(seen) } else { Err(Stop::Missing) }
    }

    /// The folders by their names; of those that were there before it is known what they held.
    fn listed(
        mailbox: &OwnedFd,
        stamp: Stamp,
        before: Option<Self>,
        (room, now): (&mut Room, Timestamp),
    ) -> Result<Self, Stop> {
        let known = before.into_iter().flat_map(|seen| seen.folders);
        let mut known: HashMap<CString, Folder> =
            known.map(|folder| (folder.path.clone(), folder)).collect();
        let mut folders = Vec::new();
        let mut add = |path: CString| {
            folders.push(known.remove(&path).unwrap_or_else(|| Folder::new(path)));
        };
        add(c"cur".into());
        add(c"new".into());
        let mut count = 0;
        room.each_entry(mailbox, |name, kind| {
            let may_be_folder = matches!(kind, FileType::Directory | FileType::Unknown);
            if may_be_folder && name.to_bytes().starts_with(b".") {
                count += 1;
                for below in [&b"/cur"[..], b"/new"] {
                    // A name from the system has no NUL within.
                    add(CString::new([name.to_bytes(), below].concat()).unwrap_or_default());
                }
            }
            if count > FOLDERS_MAX { Err(Errno::TOOBIG) } else { Ok(()) }
        })?;
        Ok(Self { stamp, is_settled: is_settled(stamp, now), folders })
    }

    fn usage(&self) -> Usage {
        self.folders.iter().fold(Usage::default(), |sum, folder| sum.plus(folder.usage))
    }
}

impl Folder {
    fn new(path: CString) -> Self {
        Self { path, stamp: None, is_settled: false, usage: Usage::default() }
    }

    /// Reads it if it may have changed. One that is not there, or is no folder, holds nothing.
    fn look(&mut self, mailbox: &OwnedFd, (room, now): (&mut Room, Timestamp)) -> Result<(), Stop> {
        let known = self.stamp.filter(|_| self.is_settled);
        if known.is_some() && stamp_below(mailbox, &self.path).ok() == known {
            return Ok(());
        }
        let path = Path::new(OsStr::from_bytes(self.path.to_bytes()));
        let (stamp, usage) = match open_below(mailbox, path) {
            Ok(folder) => {
                // What comes after this stamp has a later one, or makes it unsettled.
                let stamp = stamp_of(&folder)?;
                (Some(stamp), read_folder(&folder, room)?)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => (None, Usage::default()),
            Err(error) => return Err(error.into()),
        };
        self.is_settled = stamp.is_some_and(|stamp| is_settled(stamp, now));
        (self.stamp, self.usage) = (stamp, usage);
        Ok(())
    }
}

/// Adds up the messages of a folder. One that goes while it is read counts or does not.
fn read_folder(folder: &OwnedFd, room: &mut Room) -> Result<Usage, Errno> {
    let mut sum = Usage::default();
    room.each_entry(folder, |name, kind| {
        let bytes = match (kind, bytes_in_name(name)) {
            _ if name.to_bytes().starts_with(b".") => None,
            (FileType::RegularFile, Some(bytes)) => Some(bytes),
            (FileType::RegularFile | FileType::Unknown, _) => file_bytes(folder, name)?,
            _ => None,
        };
        if let Some(bytes) = bytes {
            sum = sum.plus(Usage { bytes, files: 1 });
        }
        Ok(())
    })?;
    Ok(sum)
}

/// The size in the name of a message: `1700000000.M1P2.mx,S=4096,W=4200:2,S`. What stands behind the colon are flags.
fn bytes_in_name(name: &CStr) -> Option<u64> {
    let name = name.to_bytes();
    let unique = &name[..memchr::memchr(b':', name).unwrap_or(name.len())];
    let digits = &unique[memchr::memmem::find(unique, b",S=")? + b",S=".len()..];
    let digits = &digits[..memchr::memchr(b',', digits).unwrap_or(digits.len())];
    let is_number = (1..=SIZE_DIGITS_MAX).contains(&digits.len());
    let add =
        |sum: u64, octet: &u8| octet.is_ascii_digit().then(|| sum * 10 + u64::from(octet - b'0'));
    if is_number { digits.iter().try_fold(0, add) } else { None }
}

/// What `maildirsize` says, if that is surely fresh.
fn fresh_maildirsize(
    mailbox: &OwnedFd,
    room: &mut Room,
    now: Timestamp,
) -> Result<Option<Usage>, Stop> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(mailbox, c"maildirsize", flags, Mode::empty()) else { return Ok(None) };
    let written = stamp_of(&file)?.modified;
    if age(written, now).is_none_or(|age| age >= maildirsize::AGE_MAX.as_millis()) {
        return Ok(None);
    }
    let Some(usage) = maildirsize::parse(&read_start(&file)?) else { return Ok(None) };
    let listed = Seen::listed(mailbox, stamp_of(mailbox)?, None, (room, now))?;
    let changed = listed
        .folders
        .iter()
        .filter_map(|folder| stamp_below(mailbox, &folder.path).ok().map(|stamp| stamp.modified));
    let is_last = changed.max().is_some_and(|changed| changed <= written);
    Ok(is_last.then_some(usage))
}

/// Up to as much of a file as is of any use.
fn read_start(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut octets = vec![0; maildirsize::BYTES_MAX];
    let mut length = 0;
    while length < octets.len() {
        match read(file, &mut octets[length..])? {
            0 => break,
            more => length += more,
        }
    }
    octets.truncate(length);
    Ok(octets)
}

/// How many milliseconds ago that was; none if it is to come.
fn age(moment: Moment, now: Timestamp) -> Option<u128> {
    let millis = i128::from(moment.0) * 1_000 + i128::from(moment.1 / 1_000_000);
    u128::try_from(i128::from(now.as_millis()) - millis).ok()
}

/// True if whatever changes from now on will have another stamp. Time stamps have a granule: that of the kernel's clock, or of the
/// file system (two seconds on FAT).
fn is_settled(stamp: Stamp, now: Timestamp) -> bool {
    age(stamp.modified, now).is_some_and(|age| age > GRANULE_MILLIS)
}

/// Looks for the folders of accounts.
struct Walk<'m> {
    maildirs: &'m Maildirs,
    found: Vec<AccountId>,
    room: Room,
}

/// The pieces of a name that were found on the way down.
#[derive(Debug, Clone, Default)]
struct Names {
    account: Option<String>,
    domain: Option<String>,
    local: Option<String>,
}

impl Walk<'_> {
    fn descend(&mut self, folder: &OwnedFd, depth: usize, names: Names) -> Result<(), Errno> {
        let Some(part) = self.maildirs.template.parts.get(depth) else {
            self.found.extend(self.account(names));
            return Ok(());
        };
        for (name, names) in self.matching(folder, part, &names)? {
            if self.found.len() >= ACCOUNTS_MAX {
                return Ok(());
            }
            // What is no folder, a link, or not for us to see is nobody's mailbox as far as we know.
            if let Ok(below) = open_below(folder, Path::new(&name)) {
                self.descend(&below, depth + 1, names)?;
            }
        }
        Ok(())
    }

    /// The entries of a folder that a component of the template stands for.
    fn matching(
        &mut self,
        folder: &OwnedFd,
        part: &super::template::Part,
        names: &Names,
    ) -> Result<Vec<(String, Names)>, Errno> {
        if let super::template::Part::Fixed(name) = part {
            return Ok(vec![(name.clone(), names.clone())]);
        }
        let mut found = Vec::new();
        self.room.each_entry(folder, |name, kind| {
            let is_folder = matches!(kind, FileType::Directory | FileType::Unknown);
            let text = name.to_str().ok().filter(|_| is_folder && found.len() < ACCOUNTS_MAX);
            if let Some((text, piece)) = text.and_then(|text| Some((text, part.piece_in(text)?))) {
                found.push((text.to_owned(), names.with(piece)));
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn account(&self, names: Names) -> Option<AccountId> {
        let name = match names {
            Names { account: Some(account), .. } => account,
            Names { domain, local, .. } => format!("{}@{}", local?, domain?),
        };
        let account: AccountId = name.parse().ok()?;
        // Another spelling of an account would be a second mailbox for it.
        (account.as_str() == name && self.maildirs.template.place(&account).is_some())
            .then_some(account)
    }
}

impl Names {
    fn with(&self, (piece, text): (super::template::Piece, &str)) -> Self {
        use super::template::Piece;
        let (mut names, text) = (self.clone(), Some(text.to_owned()));
        match piece {
            Piece::Account => names.account = text,
            Piece::Domain => names.domain = text,
            Piece::Local => names.local = text,
        }
        names
    }
}

/// Mailboxes that are found by their folders.
pub(super) const ACCOUNTS_MAX: usize = 250_000;
/// Folders of one mailbox.
const FOLDERS_MAX: usize = 10_000;
/// Folders that are remembered, of all mailboxes together: about 200 octets each.
const FOLDERS_REMEMBERED_MAX: usize = 1_000_000;
/// As much as a size can have without leaving 64 bits.
const SIZE_DIGITS_MAX: usize = 19;
/// The coarsest granule of any file system's time stamps, and what a clock may be off by.
const GRANULE_MILLIS: u128 = 2_500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::wall_now;
    use std::{
        fs,
        os::unix::{
            ffi::OsStringExt as _,
            fs::{PermissionsExt as _, symlink},
        },
        path::PathBuf,
        time::{Duration, SystemTime},
    };

    /// A folder of mailboxes.
    struct House {
        folder: tempfile::TempDir,
        maildirs: Maildirs,
        room: Room,
        /// How far the clock is ahead: stamps are settled only some time after a change.
        ahead: Duration,
    }

    impl House {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let template =
                format!("{}/vmail/{{domain}}/{{local}}/Maildir", folder.path().display());
            let maildirs = Maildirs::new(template.parse().unwrap(), 2);
            fs::create_dir(folder.path().join("vmail")).unwrap();
            Self { folder, maildirs, room: Room::new(), ahead: Duration::from_secs(60) }
        }

        fn path(&self, below: &str) -> PathBuf {
            self.folder.path().join("vmail").join(below)
        }

        fn folder(&self, below: &str) {
            fs::create_dir_all(self.path(below)).unwrap();
        }

        /// A file with so many octets.
        fn file(&self, below: &str, octets: usize) {
            let path = self.path(below);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x".repeat(octets)).unwrap();
        }

        fn found(&mut self, account: &str) -> Found {
            let now = wall_now() + self.ahead;
            self.maildirs.measure(&account.parse().unwrap(), &mut self.room, now)
        }

        #[track_caller]
        fn holds(&mut self, account: &str, bytes: u64, files: u64) {
            let usage = Usage { bytes, files };
            assert_eq!(self.found(account), Found::Holds(usage, How::Scan), "{account}");
        }
    }

    const ANN: &str = "shop.example/ann/Maildir";

    #[test]
    fn messages_of_the_inbox_and_of_every_folder_are_counted() {
        let mut house = House::new();
        house.file(&format!("{ANN}/cur/1.a.mx,S=1000,W=1020:2,S"), 1);
        house.file(&format!("{ANN}/new/2.b.mx,S=500"), 1);
        house.file(&format!("{ANN}/cur/3.c.mx:2,FS"), 70);
        house.file(&format!("{ANN}/tmp/4.d.mx,S=9999"), 1);
        house.file(&format!("{ANN}/.Sent/cur/5.e.mx,S=30:2,S"), 1);
        house.file(&format!("{ANN}/.Sent.2026/new/6.f.mx"), 5);
        house.file(&format!("{ANN}/.Trash/cur/7.g.mx,S=2:2,ST"), 1);
        house.file(&format!("{ANN}/dovecot.index.cache"), 4_096);
        house.file(&format!("{ANN}/cur/.hidden"), 4_096);
        house.folder(&format!("{ANN}/.sieve"));
        house.holds("ann@shop.example", 1_000 + 500 + 70 + 30 + 5 + 2, 6);
    }

    #[test]
    fn a_size_is_read_from_a_name_and_nowhere_else_in_it() {
        for (name, bytes) in [
            (c"1.M1P2.mx,S=4096,W=4200:2,S", Some(4_096)),
            (c"1.M1P2.mx,S=0", Some(0)),
            (c"1.M1P2.mx,W=4200,S=4096", Some(4_096)),
            (c"1.M1P2.mx,S=9999999999999999999", Some(9_999_999_999_999_999_999)),
            (c"1.M1P2.mx,S=99999999999999999999", None),
            (c"1.M1P2.mx,S=", None),
            (c"1.M1P2.mx,S=-5", None),
            (c"1.M1P2.mx,S=40x6", None),
            (c"1.M1P2.mx:2,S=4096", None),
            (c"1.M1P2.mx", None),
            (c"1.M1P2.mxS=4096", None),
        ] {
            assert_eq!(bytes_in_name(name), bytes, "{name:?}");
        }
    }

    #[test]
    fn a_name_that_lies_is_believed_and_a_name_that_is_no_text_counts() {
        let mut house = House::new();
        house.file(&format!("{ANN}/cur/1.a.mx,S=7"), 1_000);
        let name = std::ffi::OsString::from_vec(b"2.\xff\xfe\x01.mx,S=20".to_vec());
        fs::write(house.path(&format!("{ANN}/cur")).join(name), "x").unwrap();
        let name = std::ffi::OsString::from_vec(b".F\xf6lder".to_vec());
        let odd = house.path(ANN).join(name).join("new");
        fs::create_dir_all(&odd).unwrap();
        fs::write(odd.join("3.c.mx"), "xyz").unwrap();
        house.holds("ann@shop.example", 7 + 20 + 3, 3);
    }

    #[test]
    fn what_is_elsewhere_is_not_followed() {
        let mut house = House::new();
        house.file(&format!("{ANN}/cur/1.a.mx,S=10"), 1);
        house.file("other.example/eve/Maildir/cur/2.b.mx,S=5000", 1);
        let elsewhere = house.folder.path().join("elsewhere");
        fs::create_dir_all(elsewhere.join("cur")).unwrap();
        fs::write(elsewhere.join("cur/3.c.mx,S=7000"), "x").unwrap();
        let ann = house.path(ANN);
        symlink(&elsewhere, ann.join(".Out")).unwrap();
        symlink("../../../other.example/eve/Maildir", ann.join(".Eve")).unwrap();
        symlink(elsewhere.join("cur"), ann.join("new")).unwrap();
        symlink(elsewhere.join("cur/3.c.mx,S=7000"), ann.join("cur/4.d.mx,S=7000")).unwrap();
        house.holds("ann@shop.example", 10, 1);
        // The same where the mailbox itself, or what is above it, is a link, out of the root or within.
        house.folder("links.example/bob");
        symlink(&elsewhere, house.path("links.example/bob/Maildir")).unwrap();
        symlink(house.path("other.example"), house.path("more.example")).unwrap();
        for account in ["bob@links.example", "eve@more.example"] {
            let found = house.found(account);
            assert!(matches!(&found, Found::Failed(why) if why.contains("symbolic")), "{found:?}");
        }
        let mut accounts = house.maildirs.accounts().unwrap();
        accounts.sort();
        assert_eq!(
            accounts.iter().map(AccountId::as_str).collect::<Vec<_>>(),
            ["ann@shop.example", "eve@other.example"]
        );
    }

    #[test]
    fn a_folder_that_is_replaced_by_a_link_after_it_was_seen_is_not_followed() {
        let mut house = House::new();
        house.file(&format!("{ANN}/cur/1.a.mx,S=10"), 1);
        house.file(&format!("{ANN}/.Sent/cur/2.b.mx,S=20"), 1);
        house.holds("ann@shop.example", 30, 2);
        house.file("other.example/eve/Maildir/cur/3.c.mx,S=5000", 1);
        fs::remove_dir_all(house.path(&format!("{ANN}/.Sent"))).unwrap();
        let sent = house.path(&format!("{ANN}/.Sent"));
        symlink("../../../other.example/eve/Maildir", sent).unwrap();
        house.holds("ann@shop.example", 10, 1);
    }

    #[test]
    fn what_changes_is_seen_and_what_does_not_is_not_read_again() {
        let mut house = House::new();
        house.file(&format!("{ANN}/cur/1.a.mx,S=10"), 1);
        house.file(&format!("{ANN}/.Sent/cur/2.b.mx"), 20);
        house.holds("ann@shop.example", 30, 2);
        // A message grows without a change of its folder: nobody does that, so it shows what is read.
        house.file(&format!("{ANN}/.Sent/cur/2.b.mx"), 900);
        house.holds("ann@shop.example", 30, 2);
        house.file(&format!("{ANN}/new/3.c.mx,S=100"), 1);
        house.holds("ann@shop.example", 130, 3);
        fs::remove_file(house.path(&format!("{ANN}/.Sent/cur/2.b.mx"))).unwrap();
        house.file(&format!("{ANN}/.Drafts/cur/4.d.mx,S=1000"), 1);
        house.holds("ann@shop.example", 1_110, 3);
        fs::remove_dir_all(house.path(&format!("{ANN}/.Drafts"))).unwrap();
        house.holds("ann@shop.example", 110, 2);
    }

    #[test]
    fn a_folder_that_changed_just_before_it_was_read_is_read_again() {
        let mut house = House::new();
        // The folder gets the same stamp whatever happens in it: as within one granule of the clock.
        let cur = house.path(&format!("{ANN}/cur"));
        house.file(&format!("{ANN}/cur/1.a.mx"), 10);
        house.ahead = Duration::ZERO;
        house.holds("ann@shop.example", 10, 1);
        fs::write(cur.join("1.a.mx"), "x".repeat(25)).unwrap();
        house.holds("ann@shop.example", 25, 1);
        // Long enough after its last change it is not.
        house.ahead = Duration::from_secs(60);
        house.holds("ann@shop.example", 25, 1);
        fs::write(cur.join("1.a.mx"), "x".repeat(99)).unwrap();
        house.holds("ann@shop.example", 25, 1);
    }

    #[test]
    fn messages_that_come_and_go_meanwhile_do_no_harm() {
        let mut house = House::new();
        for number in 0..200 {
            house.file(&format!("{ANN}/cur/{number}.a.mx"), 10);
        }
        house.ahead = Duration::ZERO;
        let (stop, cur) =
            (std::sync::atomic::AtomicBool::new(false), house.path(&format!("{ANN}/cur")));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut round = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    round += 1;
                    for number in 0..200 {
                        let name = |round| cur.join(format!("{number}.a.mx:2,{round}"));
                        let before = if round == 1 {
                            cur.join(format!("{number}.a.mx"))
                        } else {
                            name(round - 1)
                        };
                        fs::rename(before, name(round)).unwrap();
                    }
                }
            });
            for _ in 0..200 {
                let found = house.found("ann@shop.example");
                assert!(
                    matches!(found, Found::Holds(usage, How::Scan) if usage.bytes % 10 == 0),
                    "{found:?}"
                );
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        house.holds("ann@shop.example", 2_000, 200);
    }

    #[test]
    fn a_mailbox_that_is_not_there_is_told_from_one_that_cannot_be_seen() {
        let mut house = House::new();
        let nothing = |is_gone| Found::Nothing { is_gone };
        assert_eq!(house.found("ann@shop.example"), nothing(false), "nothing is there at all");
        house.folder("shop.example");
        assert_eq!(house.found("ann@shop.example"), nothing(false), "a folder to mount a disk at");
        house.file("shop.example/bob/Maildir/cur/1.a.mx,S=1", 1);
        assert_eq!(house.found("ann@shop.example"), nothing(true));
        house.folder("shop.example/ann");
        assert_eq!(house.found("ann@shop.example"), nothing(false), "the folder is there");
        house.folder(&format!("{ANN}/Other"));
        assert_eq!(house.found("ann@shop.example"), nothing(false), "no Maildir");
        assert_eq!(house.found("web-17"), nothing(true), "no name of a mailbox");
        fs::remove_dir_all(house.path("")).unwrap();
        let found = house.found("bob@shop.example");
        assert!(matches!(&found, Found::Failed(why) if why.contains("No such file")), "{found:?}");
        assert!(house.maildirs.accounts().is_err());
    }

    #[test]
    fn what_may_not_be_read_is_a_failure_and_no_zero() {
        let mut house = House::new();
        house.file(&format!("{ANN}/cur/1.a.mx,S=1"), 1);
        // root may read everything; a folder that is a file stands for what cannot be.
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            let long = format!("{}@shop.example", "a".repeat(256));
            assert_eq!(house.found(&long), Found::Nothing { is_gone: true });
            return;
        }
        fs::set_permissions(house.path(ANN), fs::Permissions::from_mode(0o0)).unwrap();
        let found = house.found("ann@shop.example");
        fs::set_permissions(house.path(ANN), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(&found, Found::Failed(why) if why.contains("denied")), "{found:?}");
    }

    /// Sets when something was changed last.
    fn touch(path: PathBuf, ago: Duration) {
        let file = fs::File::open(path).unwrap();
        // The tests' own files, dated back.
        #[expect(clippy::disallowed_methods, reason = "the time of a file is the system's")]
        let then = SystemTime::now() - ago;
        file.set_modified(then).unwrap();
    }

    #[test]
    fn maildirsize_is_believed_only_while_it_is_surely_fresh() {
        let (minute, size) = (Duration::from_secs(60), "10000S\n700 3\n-200 -1\n");
        for (written, changed, text, is_believed) in [
            (minute, minute * 2, size, true),
            (minute, minute, size, true),
            // A folder changed after it; it is 15 minutes old; it has to be made anew; it is nonsense.
            (minute * 2, minute, size, false),
            (minute * 15, minute * 30, size, false),
            (minute, minute * 2, &format!("10000S\n{}", "1 1\n".repeat(1_500)), false),
            (minute, minute * 2, "10000S\n700 -3\n", false),
        ] {
            let mut house = House::new();
            house.ahead = Duration::ZERO;
            house.file(&format!("{ANN}/cur/1.a.mx,S=10"), 1);
            house.file(&format!("{ANN}/.Sent/new/2.b.mx,S=20"), 1);
            house.file(&format!("{ANN}/maildirsize"), 0);
            fs::write(house.path(&format!("{ANN}/maildirsize")), text).unwrap();
            touch(house.path(&format!("{ANN}/cur")), changed * 2);
            touch(house.path(&format!("{ANN}/.Sent/new")), changed);
            touch(house.path(&format!("{ANN}/maildirsize")), written);
            if is_believed {
                let usage = Usage { bytes: 500, files: 2 };
                let found = Found::Holds(usage, How::Maildirsize);
                assert_eq!(house.found("ann@shop.example"), found);
            } else {
                house.holds("ann@shop.example", 30, 2);
                // What was scanned once is scanned again, which costs no more than to see whether the file is fresh.
                house.holds("ann@shop.example", 30, 2);
            }
        }
    }

    #[test]
    fn a_maildirsize_that_is_a_link_is_not_read() {
        let mut house = House::new();
        house.ahead = Duration::ZERO;
        house.file(&format!("{ANN}/cur/1.a.mx,S=10"), 1);
        house.file("secret", 0);
        fs::write(house.path("secret"), "10000S\n700 3\n").unwrap();
        touch(house.path(&format!("{ANN}/cur")), Duration::from_secs(60));
        symlink(house.path("secret"), house.path(&format!("{ANN}/maildirsize"))).unwrap();
        house.holds("ann@shop.example", 10, 1);
    }

    #[test]
    fn accounts_are_found_by_their_folders() {
        let house = House::new();
        for folder in
            ["shop.example/ann", "shop.example/bob", "other.example/ann", "Big.example/Cid"]
        {
            house.folder(&format!("{folder}/Maildir/cur"));
        }
        // No mailbox in it, no folder, a name that is no account's.
        house.folder("shop.example/dan");
        house.file("shop.example/readme", 1);
        house.folder("shop.example/e f/Maildir");
        let mut found = house.maildirs.accounts().unwrap();
        found.sort();
        let names: Vec<&str> = found.iter().map(AccountId::as_str).collect();
        assert_eq!(names, ["ann@other.example", "ann@shop.example", "bob@shop.example"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        let seen = |folders: usize| Seen {
            stamp: stamp_of(open_root(Path::new("/")).unwrap()).unwrap(),
            is_settled: true,
            folders: (0..folders).map(|_| Folder::new(c"cur".into())).collect(),
        };
        let account = |name: &str| name.parse::<AccountId>().unwrap();
        memory.put(&account("a"), seen(FOLDERS_REMEMBERED_MAX - 2));
        memory.put(&account("b"), seen(3));
        assert!(memory.take(&account("b")).is_none());
        memory.put(&account("b"), seen(2));
        assert!(memory.take(&account("a")).is_some() && memory.take(&account("b")).is_some());
        assert_eq!(memory.folders, 0);
    }
}
