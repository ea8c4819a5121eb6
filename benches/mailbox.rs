//! What it costs to know how full 1,000 mailboxes of 1,000 messages are, beside `du` over the same folders, in one run.
//!
//! The messages are empty files whose names say their size, as Dovecot writes them, on the disk of the folder for temporary files.
//! `du -s --apparent-size` looks at each of them. Both have looked once before they are timed, so that nothing comes from the disk.
//! The first look is what a start costs, the second what every further round costs after one message has come; each is
//! printed with the best of three times, and the most memory that the process had.
//!
//! `cargo bench --bench mailbox`; `MAILBOXES=100 MESSAGES=100` makes it smaller. Fails if, at full size, the first look is not 5 times
//! as fast as `du` and the second not 50 times, or 64 MB are not enough.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop at anything it did not expect")]

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};
use tokio::runtime::Runtime;
use tollgate::{
    clock::steady_now,
    mailbox::{Found, Maildirs, Source},
};

const SIZE: u64 = 4_096;

fn main() {
    let mailboxes = from_environment("MAILBOXES", 1_000);
    let messages = from_environment("MESSAGES", 1_000);
    let folder = tempfile::tempdir().unwrap();
    let made = steady_now();
    fill(folder.path(), mailboxes, messages);
    println!("{mailboxes} × {messages} files made in {:.0} s", made.elapsed().as_secs_f64());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let template = format!("{}/{{domain}}/{{local}}/Maildir", folder.path().display());
    let fresh = || {
        let maildirs = Maildirs::new(template.parse().unwrap(), 2);
        Source::Maildirs(Arc::new(maildirs))
    };
    let expected = mailboxes * messages;
    du(folder.path());
    look(&runtime, &fresh(), expected);
    forget_peak();
    let du = best(|| du(folder.path()));
    let first = best(|| look(&runtime, &fresh(), expected));
    let source = fresh();
    look(&runtime, &source, expected);
    let mut come = 0;
    let second = best(|| {
        // What is timed is a round after a change that came some time ago.
        come += 1;
        let name = format!("1900000000.M{come}P1.mx,S={SIZE}");
        File::create(folder.path().join("t0.example/a0/Maildir/new").join(name)).unwrap();
        look(&runtime, &source, expected + come);
    });
    let peak = peak_megabytes();
    println!(
        "du {:.3} s · first look {:.3} s, {:.1} times as fast · look after one change {:.4} s, {:.0} times as fast · at most {peak} MB",
        du,
        first,
        du / first,
        second,
        du / second
    );
    if mailboxes >= 1_000 && messages >= 1_000 {
        assert!(
            du / first >= 5.0 && du / second >= 50.0 && peak < 64,
            "that is too slow or too much"
        );
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn best(mut work: impl FnMut()) -> f64 {
    let times = (0..3).map(|_| {
        let began = steady_now();
        work();
        began.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn fill(folder: &Path, mailboxes: u64, messages: u64) {
    for mailbox in 0..mailboxes {
        let tenant = format!("t{}.example", mailbox / 10);
        let maildir = folder.join(tenant).join(format!("a{mailbox}/Maildir"));
        for below in ["cur", "new", "tmp"] {
            fs::create_dir_all(maildir.join(below)).unwrap();
        }
        for message in 0..messages {
            let name = format!("17000{message:05}.M{mailbox}P1.mx,S={SIZE},W=4200:2,S");
            File::create(maildir.join("cur").join(name)).unwrap();
        }
    }
}

fn du(folder: &Path) {
    // At the priority that the threads of the other side give themselves.
    let mut du = Command::new("nice");
    let status = du
        .args(["-n", "19", "du", "-s", "--apparent-size"])
        .arg(folder)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

fn look(runtime: &Runtime, source: &Source, expected: u64) {
    let (mut bytes, mut files) = (0, 0);
    runtime.block_on(async {
        let accounts = source.accounts().await.unwrap();
        let mut findings = source.look_at(accounts);
        while let Some((account, found)) = findings.recv().await {
            let Found::Holds(usage, _) = found else { panic!("{account}: {found:?}") };
            (bytes, files) = (bytes + usage.bytes, files + usage.files);
        }
    });
    assert_eq!((bytes, files), (expected * SIZE, expected));
}

/// Lets the peak begin anew (proc(5), clear_refs).
fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn peak_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}
