//! Backups of a gate that works, and what a gate that goes on from one lets through.

use crate::{
    audit::audit_of,
    support::{Client, Gate, Settings, Sink, at_once, gate, most_within, sink, wait_for},
};
use rustix::process::Signal;
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

const LIMIT: u32 = 20;
const WINDOW: Duration = Duration::from_secs(12);

fn limited(sink: &Sink) -> Settings {
    gate()
        .limit(LIMIT, "12s")
        .peer_limit(1_000_000, "12s")
        .set("limits.unknown_margin", "1s")
        .next_hop(sink)
}

/// Sends one mail and says whether it was taken; what is refused waits a little.
fn sends(client: &mut Client, account: usize) -> bool {
    client.expect(250, &format!("MAIL FROM:<a{account}@shop{account}.example>"));
    if client.say("RCPT TO:<b@remote.example>").code == 250 {
        return client.text("Subject: one\n\ntext\n").code == 250;
    }
    client.expect(250, "RSET");
    thread::sleep(Duration::from_millis(5));
    false
}

/// Sends as fast as it goes from each of these accounts until it is told to stop, and counts what is taken.
fn send_until(gate: &Gate, accounts: usize, stop: &AtomicBool, taken: &AtomicUsize) {
    at_once(accounts, |account| {
        let mut client = gate.client();
        while !stop.load(Ordering::Relaxed) {
            taken.fetch_add(usize::from(sends(&mut client, account)), Ordering::Relaxed);
        }
    });
}

/// Whoever sends until it is told to stop stops when the test does.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The most that the sink took of one account within a window.
fn most(sink: &Sink, accounts: usize) -> usize {
    let taken = sink.taken();
    let of = |account: usize| {
        let from = format!("<a{account}@");
        let moments: Vec<Instant> =
            taken.iter().filter(|mail| mail.mail.contains(&from)).map(|mail| mail.at).collect();
        most_within(WINDOW, &moments)
    };
    (0..accounts).map(of).max().unwrap_or(0)
}

fn clear(gate: &Gate) {
    for name in ["tollgate.db", "tollgate.db-wal", "archive.db", "archive.db-wal", "archive.db-shm"]
    {
        // Not all of them are there.
        let _ = fs::remove_file(gate.file(&format!("var/{name}")));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_backup_under_load_is_whole_and_whatever_was_sent_after_it_nobody_gets_past_a_limit() {
    let sink = sink().run();
    let mut gate = limited(&sink).run();
    let file = gate.file("under-load.tar");
    let (stop, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| send_until(&gate, 8, &stop, &taken));
        wait_for("mail", || (taken.load(Ordering::Relaxed) > 40).then_some(()));
        let said = gate.tollgate(&["backup", text(&file)]).well();
        assert!(said.contains("SHA-256"), "{said}");
        // What the backup does not know of.
        wait_for("full windows", || (sink.taken().len() >= 8 * LIMIT as usize).then_some(()));
    });
    gate.kill();
    let mut other = gate.in_another_folder();
    let said = other.tollgate(&["restore", text(&file)]).well();
    assert!(said.contains("each full until"), "{said}");
    other.start();
    let restored = audit_of(&other, 1).pop().unwrap();
    assert_eq!(restored["action"], "restored");
    let (stop, after) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| send_until(&other, 9, &stop, &after));
        // It ends by itself when all that can have been sent has left the windows.
        wait_for("mail after the gap", || {
            (after.load(Ordering::Relaxed) >= 9 * LIMIT as usize).then_some(())
        });
    });
    assert!(most(&sink, 9) <= LIMIT as usize, "{} in one window", most(&sink, 9));
    other.tollgate(&["audit", "verify"]).well();
}

#[test]
fn after_a_last_backup_the_old_gate_stays_down_and_the_new_one_goes_on_exactly_there() {
    let sink = sink().run();
    let mut gate = gate().limit(LIMIT, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    (0..12).for_each(|_| assert!(sends(&mut client, 1)));
    let file = gate.file("last.tar");
    let said = gate.tollgate(&["backup", "--last", text(&file)]);
    assert!(said.code == 1 && said.err.contains("stop it"), "{said:?}");
    drop(client);
    gate.signal(Signal::TERM);
    assert!(gate.wait().success());
    gate.tollgate(&["backup", "--last", text(&file), "--reason", "new machine"]).well();
    let refused = gate.try_start().unwrap_err();
    assert!(refused.contains("its last backup was made"), "{refused}");
    gate.wait();
    // One that was lost can be made again.
    let again = gate.file("again.tar");
    gate.tollgate(&["backup", "--last", text(&again)]).well();
    let mut other = gate.in_another_folder();
    let said = other.tollgate(&["restore", text(&again)]).well();
    assert!(said.contains("the last one of its gate"), "{said}");
    other.start();
    let mut client = other.client();
    let passed = (0..20).filter(|_| sends(&mut client, 1)).count();
    assert_eq!(passed, LIMIT as usize - 12);
    assert_eq!(sink.taken().len(), LIMIT as usize);
    // A second gate that went on from it would give each limit once more.
    let mut third = gate.in_another_folder();
    let refused = third.tollgate(&["restore", text(&again)]);
    assert!(refused.code == 1 && refused.err.contains("was restored at"), "{refused:?}");
    let said = third.tollgate(&["restore", text(&again), "--gap", "full"]).well();
    assert!(said.contains("full until"), "{said}");
    third.start();
    assert!(!sends(&mut third.client(), 1));
}

#[test]
fn copies_in_clear_that_a_kill_left_go_at_the_next_start_and_at_the_next_backup() {
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    let ours = ["backup.store-part", "backup.archive-part", "tollgate.db.restoring"];
    let put = |gate: &Gate, names: &[&str]| {
        names.iter().for_each(|name| fs::write(gate.file(&format!("var/{name}")), "x").unwrap());
    };
    let left = |gate: &Gate, names: &[&str]| {
        let is_there = |name: &&&str| gate.file(&format!("var/{name}")).exists();
        names.iter().filter(is_there).map(|name| (*name).to_owned()).collect::<Vec<_>>()
    };
    put(&gate, &ours);
    put(&gate, &["mine.store-part"]);
    gate.restart();
    assert!(left(&gate, &ours).is_empty(), "{:?}", left(&gate, &ours));
    put(&gate, &ours[..2]);
    gate.tollgate(&["backup", text(&gate.file("b.tar"))]).well();
    assert!(left(&gate, &ours[..2]).is_empty(), "{:?}", left(&gate, &ours));
    assert_eq!(left(&gate, &["mine.store-part"]).len(), 1, "that is somebody else's");
}

#[test]
fn a_backup_that_is_wrong_is_refused_nothing_is_overwritten_and_an_ignored_gap_is_audited() {
    let sink = sink().run();
    let mut gate = gate().limit(LIMIT, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    (0..5).for_each(|_| assert!(sends(&mut client, 1)));
    let file = gate.file("whole.tar");
    gate.tollgate(&["backup", text(&file)]).well();
    let again = gate.tollgate(&["backup", text(&file)]);
    assert!(again.code == 1 && again.err.contains("nothing is overwritten"), "{again:?}");
    let listed = gate.tollgate(&["backup", "--list"]).well();
    assert!(listed.contains("whole.tar"), "{listed}");
    (0..5).for_each(|_| assert!(sends(&mut client, 1)));
    drop(client);
    gate.kill();
    let there = gate.tollgate(&["restore", text(&file)]);
    assert!(there.code == 1 && there.err.contains("move it away"), "{there:?}");
    clear(&gate);
    let whole = fs::read(&file).unwrap();
    let wrong = gate.file("wrong.tar");
    let middle = whole.len() / 2;
    let mut altered = whole.clone();
    altered[middle] ^= 1;
    for (octets, said) in [
        (whole[..middle].to_vec(), "truncated"),
        (altered, "another SHA-256"),
        (b"no backup at all".repeat(100), "no backup of this program"),
    ] {
        fs::write(&wrong, octets).unwrap();
        let refused = gate.tollgate(&["restore", text(&wrong)]);
        assert!(refused.code == 1 && refused.err.contains(said), "{refused:?}");
        let left: Vec<_> =
            fs::read_dir(gate.file("var")).unwrap().map(|f| f.unwrap().file_name()).collect();
        let is_ours = |name: &std::ffi::OsString| {
            let name = text(name.as_ref());
            name.ends_with(".db") || name.contains("restoring")
        };
        assert!(!left.iter().any(is_ours), "{left:?}");
    }
    let refused = gate.tollgate(&["restore", text(&file), "--gap", "ignore"]);
    assert!(refused.code == 1 && refused.err.contains("a reason is needed"), "{refused:?}");
    gate.tollgate(&["restore", text(&file), "--gap", "ignore", "--reason", "nobody sent"]).well();
    gate.start();
    let entry = audit_of(&gate, 1).pop().unwrap();
    assert_eq!((&entry["action"], &entry["reason"]), (&"restored".into(), &"nobody sent".into()));
    assert!(entry["after"].as_str().unwrap().contains("gap is ignored"), "{entry}");
    // The five of before the backup are known, the five after it are not.
    let mut client = gate.client();
    assert_eq!((0..30).filter(|_| sends(&mut client, 1)).count(), LIMIT as usize - 5);
}
