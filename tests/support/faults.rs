//! Faults of the disk and of the wall clock under the real program, by a library that stands between it and the system
//! (`faults.c`). The test decides which call fails and how, also while the program runs.

use super::{Gate, programs, settings::Settings};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::OnceLock,
    time::Duration,
};
use tempfile::NamedTempFile;
use tollgate::{clock::wall_now, types::Timestamp};

/// What a gate's disk and clock do.
pub(crate) struct Faults {
    page: NamedTempFile,
    boot_id: NamedTempFile,
}

/// Which files.
#[derive(Clone, Copy)]
pub(crate) enum Files {
    Store = 1,
    Spool = 2,
}

/// Which calls are counted; added together.
pub(crate) mod calls {
    pub(crate) const READ: i64 = 2;
    pub(crate) const WRITE: i64 = 4;
    pub(crate) const SYNC: i64 = 8;
    pub(crate) const TRUNCATE: i64 = 16;
    /// All that change a file.
    pub(crate) const CHANGES: i64 = WRITE | SYNC | TRUNCATE;
    /// Opening and reading too.
    pub(crate) const ALL: i64 = 1 | READ | CHANGES;
}

/// What happens at the call that is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It fails with this error, once.
    FailOnce(rustix::io::Errno),
    /// It and all that follow fail.
    Fail(rustix::io::Errno),
    /// Half of it is written.
    Short,
    /// The process is killed before it.
    KillBefore,
    /// The process is killed after it.
    KillAfter,
    /// The process is killed before it, and what was not synced is gone.
    PowerCut,
}

impl Faults {
    /// A healthy disk and a right clock.
    pub(crate) fn new() -> Self {
        let page = NamedTempFile::new().unwrap();
        page.as_file().set_len(PAGE_BYTES).unwrap();
        let faults = Self { page, boot_id: NamedTempFile::new().unwrap() };
        faults.reboot();
        faults
    }

    /// From now on: the `nth` of these calls on these files is hit. Counting begins anew.
    pub(crate) fn arm(&self, files: Files, calls: i64, nth: i64, action: Action) {
        let (number, error, for_ever) = action.numbers();
        self.put(NTH, 0);
        for (field, value) in [
            (FILES, files as i64),
            (CALLS, calls),
            (FOR_EVER, for_ever),
            (ACTION, number),
            (ERROR, error),
            (SEEN, 0),
            (HIT, 0),
            (NTH, nth),
        ] {
            self.put(field, value);
        }
    }

    /// From now on nothing fails.
    pub(crate) fn lift(&self) {
        self.put(NTH, 0);
        self.put(FILES, 0);
    }

    /// How many calls were hit since it was armed.
    pub(crate) fn hits(&self) -> i64 {
        self.get(HIT)
    }

    /// The wall clock shows this much more (or less) than the real one.
    pub(crate) fn set_wall_clock(&self, away_millis: i64) {
        self.put(WALL_MILLIS, away_millis);
    }

    /// The next start of the gate is on a machine that was booted anew.
    pub(crate) fn reboot(&self) {
        let name = format!("{:016x}\n", getrandom::u64().unwrap());
        fs::write(self.boot_id.path(), name).unwrap();
    }

    /// What the gate's wall clock shows.
    pub(crate) fn wall_now(&self) -> Timestamp {
        Timestamp::from_millis(wall_now().as_millis() + self.get(WALL_MILLIS))
    }

    fn put(&self, field: u64, value: i64) {
        self.page.as_file().write_all_at(&value.to_ne_bytes(), field * 8).unwrap();
    }

    fn get(&self, field: u64) -> i64 {
        let mut octets = [0; 8];
        self.page.as_file().read_exact_at(&mut octets, field * 8).unwrap();
        i64::from_ne_bytes(octets)
    }
}

impl Settings {
    /// It runs on this disk and by this clock.
    pub(crate) fn faults(self, faults: &Faults) -> Self {
        let path = |file: &NamedTempFile| file.path().to_str().expect("a plain name").to_owned();
        self.environment("TOLLGATE_FAULTS", &path(&faults.page))
            .environment("TOLLGATE_BOOT_ID", &path(&faults.boot_id))
            .environment("LD_PRELOAD", library())
    }
}

impl Gate {
    /// The processor time that it has used.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        // utime and stime (proc_pid_stat(5)), in hundredths of a second.
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Action {
    /// The action, its errno, and whether it lasts, as the library knows them.
    fn numbers(self) -> (i64, i64, i64) {
        match self {
            Self::FailOnce(error) => (1, error.raw_os_error().into(), 0),
            Self::Fail(error) => (1, error.raw_os_error().into(), 1),
            Self::Short => (2, 0, 0),
            Self::KillBefore => (3, 0, 0),
            Self::KillAfter => (4, 0, 0),
            Self::PowerCut => (5, 0, 0),
        }
    }
}

/// The library, compiled when it is first needed.
fn library() -> &'static str {
    static LIBRARY: OnceLock<String> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/faults.c");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let name = |end: &str| folder.join(format!("faults-{end}")).to_string_lossy().into_owned();
        let (draft, library) = (name(&std::process::id().to_string()), name("library.so"));
        let flags = ["-Wall", "-Werror", "-O1", "-shared", "-fPIC"];
        programs::run("cc", &[&flags[..], &["-o", &draft, source, "-ldl"]].concat()).well();
        fs::rename(&draft, &library).unwrap();
        assert!(File::open(&library).is_ok());
        library
    })
}

const FILES: u64 = 0;
const CALLS: u64 = 1;
const NTH: u64 = 2;
const FOR_EVER: u64 = 3;
const ACTION: u64 = 4;
const ERROR: u64 = 5;
const SEEN: u64 = 6;
const HIT: u64 = 7;
const WALL_MILLIS: u64 = 8;
const PAGE_BYTES: u64 = 4096;
