//! A disk that fails, at every call in turn: no limit is exceeded, no 250 is false, the client hears 451 or 452, the log says
//! which file and why, and when the disk works again so does the gate, without a restart.
//!
//! The n-th call on the files fails for n = 1, 2, … until a run passes untouched, as SQLite tests itself.

use crate::support::{
    Action, Client, Faults, Files, Gate, Sink, calls, gate, most_within, programs::python, sink,
    wait_for,
};
use rustix::{io::Errno, process::Signal};
use std::{collections::HashSet, fs, io, path::Path, time::Duration};

/// What was promised to clients and operators so far.
#[derive(Default)]
struct Promises {
    /// The numbers of the messages for which 250 was heard.
    heard: HashSet<String>,
    accounts: Vec<String>,
    /// Accounts whose suspension was confirmed.
    suspended: Vec<String>,
    number: u64,
}

impl Promises {
    /// A new account's mails, up to one more than its limit, and the suspension of another; returns what the client heard.
    fn work(&mut self, gate: &Gate) -> Vec<u16> {
        let account = format!("a{}@shop.example", self.accounts.len());
        let other = format!("s{}@shop.example", self.accounts.len());
        self.accounts.push(account.clone());
        let mut codes = vec![];
        for nth in 0..=LIMIT {
            codes.extend(self.send(gate, &account));
            if nth == 1 {
                let said = gate.tollgate(&["account", "suspend", &other, "--reason", "a test"]);
                if said.code == 0 {
                    self.suspended.push(other.clone());
                }
            }
        }
        codes
    }

    /// One mail; the last answer, unless the gate died.
    fn send(&mut self, gate: &Gate, account: &str) -> Option<u16> {
        self.number += 1;
        let number = self.number.to_string();
        let code = try_send(gate, account, &number).ok()?;
        if code == 250 {
            self.heard.insert(number);
        }
        Some(code)
    }

    #[track_caller]
    fn check(&self, sink: &Sink, gate: &Gate, what: &str) {
        let taken = sink.taken();
        let arrived: HashSet<String> = taken.iter().flat_map(|t| t.fields("X-Number")).collect();
        let missing: Vec<_> = self.heard.difference(&arrived).collect();
        assert!(missing.is_empty(), "{what}: 250 was said for {missing:?}, which never came");
        let last = self.accounts.last().expect("an account has sent");
        let of_account = taken.iter().filter(|taken| taken.mail.contains(&format!("<{last}>")));
        let moments: Vec<_> = of_account.map(|taken| taken.at).collect();
        let most = most_within(Duration::from_secs(3600), &moments);
        assert!(most <= LIMIT, "{what}: {most} mails of {last}");
        if let Some(suspended) = self.suspended.last() {
            let shown = gate.json(&["account", "show", suspended]);
            assert_eq!(shown["state"], "suspended", "{what}: {suspended}");
        }
        assert!(!gate.log_text().contains("panicked"), "{what}");
    }
}

fn try_send(gate: &Gate, account: &str, number: &str) -> io::Result<u16> {
    let mut client = Client::try_connect(gate.smarthost(), b"")?;
    client.try_say("EHLO client.example")?;
    client.try_say(&format!("MAIL FROM:<{account}>"))?;
    let granted = client.try_say("RCPT TO:<b@remote.example>")?;
    if granted.code != 250 {
        return Ok(granted.code);
    }
    client.try_say("DATA")?;
    Ok(client.try_say(&format!("X-Number: {number}\r\n\r\ntext\r\n."))?.code)
}

/// Runs with n = 1, 2, … until one is untouched by its fault; returns that n.
fn each_n(run: impl FnMut(i64) -> bool) -> i64 {
    let touched = (1..N_MAX).map(run).take_while(|touched| *touched).count();
    let n = i64::try_from(touched).unwrap() + 1;
    assert!(n < N_MAX, "no run passes untouched");
    n
}

const N_MAX: i64 = 2_000;

#[test]
fn a_call_on_the_store_that_fails_defers_mail_until_the_disk_works_again() {
    let (faults, sink) = (Faults::new(), sink().run());
    let gate = gate().faults(&faults).limit(3, "1h").next_hop(&sink).run();
    let mut promises = Promises::default();
    for action in [
        Action::FailOnce(Errno::IO),
        Action::Fail(Errno::NOSPC),
        Action::Fail(Errno::IO),
        Action::Fail(Errno::ROFS),
        Action::Fail(Errno::DQUOT),
        Action::FailOnce(Errno::INTR),
        Action::Short,
    ] {
        let kinds = if action == Action::Short { calls::WRITE } else { calls::CHANGES };
        let runs = each_n(|n| {
            fails_and_recovers(&gate, &sink, &faults, &mut promises, (kinds, n, action))
        });
        eprintln!("{action:?}: untouched at n = {runs}");
    }
}

/// False if the fault was never reached.
fn fails_and_recovers(
    gate: &Gate,
    sink: &Sink,
    faults: &Faults,
    promises: &mut Promises,
    (kinds, n, action): (i64, i64, Action),
) -> bool {
    let what = format!("{action:?} at call {n}");
    faults.arm(Files::Store, kinds, n, action);
    let codes = promises.work(gate);
    let hits = faults.hits();
    assert_eq!(codes.len(), LIMIT + 1, "{what}: silence");
    let known = |code: &u16| [250, 450, 451].contains(code);
    assert!(codes.iter().all(known), "{what}: {codes:?}");
    let deferred = codes.contains(&451);
    if deferred {
        // A probe of the place itself fails only where the disk goes on failing.
        let reason = match action {
            Action::Fail(error) => io::Error::from(error).to_string(),
            _ => String::new(),
        };
        wait_for(&format!("{what}: a failure with {reason:?} in the log"), || {
            let told = gate.log();
            let mut told = told.iter().filter(|line| line["event"] == "store-failed");
            told.nth_back(0).filter(|line| {
                let detail = line["detail"].as_str().unwrap_or_default();
                detail.contains("var/tollgate.db cannot be written") && detail.contains(&reason)
            })?;
            Some(())
        });
        if let Action::Fail(_) = action {
            let (status, body) = gate.http("/health/ready");
            assert!(status == 503 && body.contains("tollgate.db"), "{what}: {status} {body}");
        }
    }
    faults.lift();
    wait_for("the store to work again", || (gate.http("/health/ready").0 == 200).then_some(()));
    all_recovered(gate, "store");
    let after = format!("after{}@shop.example", promises.number);
    assert_eq!(promises.send(gate, &after), Some(250), "{what}");
    promises.check(sink, gate, &what);
    hits > 0
}

/// Each failure that was told is followed by a recovery that was told.
fn all_recovered(gate: &Gate, what: &str) {
    wait_for("the recovery in the log", || {
        let [failed, recovered] =
            ["failed", "recovered"].map(|which| count(gate, &format!("{what}-{which}")));
        (failed == recovered).then_some(())
    });
}

fn count(gate: &Gate, event: &str) -> usize {
    gate.log().iter().filter(|line| line["event"] == event).count()
}

#[test]
fn a_kill_before_any_call_on_the_store_breaks_no_promise() {
    lives(Action::KillBefore);
}

#[test]
fn a_kill_after_any_call_on_the_store_breaks_no_promise() {
    lives(Action::KillAfter);
}

#[test]
fn a_power_cut_at_any_call_on_the_store_breaks_no_promise() {
    lives(Action::PowerCut);
}

#[test]
fn an_error_at_any_call_of_a_whole_life_breaks_no_promise() {
    lives(Action::FailOnce(Errno::IO));
}

#[test]
fn a_disk_that_is_full_from_any_call_of_a_life_on_breaks_no_promise() {
    lives(Action::Fail(Errno::NOSPC));
}

/// Lives that are hit at their n-th call, each followed by a healthy one that shows what is left.
fn lives(action: Action) {
    let (faults, sink) = (Faults::new(), sink().run());
    let mut gate = gate().faults(&faults).limit(3, "1h").next_hop(&sink).run();
    let mut promises = Promises::default();
    promises.work(&gate);
    gate.kill();
    let mut untouched = 0;
    let runs = each_n(|n| {
        let what = format!("{action:?} at call {n} of a life");
        faults.arm(Files::Store, calls::ALL, n, action);
        live(&mut gate, &mut promises, &what);
        let hits = faults.hits();
        faults.lift();
        gate.start();
        let last = promises.accounts.last().unwrap().clone();
        // What is left of the last account's limit, and no more.
        while promises.send(&gate, &last) == Some(250) {}
        promises.check(&sink, &gate, &what);
        // Most lives begin with what a killed one left, and have more calls than the one before; now and then an orderly
        // end folds it all up. So n is beyond the last call when all the lives between two such ends are untouched.
        if n % LIVES_BETWEEN_ORDERLY_ENDS == 0 {
            end_in_order(&mut gate);
        } else {
            gate.kill();
        }
        untouched = if hits > 0 { 0 } else { untouched + 1 };
        untouched < LIVES_BETWEEN_ORDERLY_ENDS
    });
    eprintln!("{action:?}: untouched at n = {runs}");
}

/// From the start through work to an orderly stop, as far as it comes.
fn live(gate: &mut Gate, promises: &mut Promises, what: &str) {
    match gate.try_start() {
        Ok(()) => {
            promises.work(gate);
            end_in_order(gate);
        }
        Err(said) => {
            let killed = said.is_empty() || !said.contains("tollgate:");
            assert!(killed || said.contains("tollgate.db"), "{what}: {said}");
        }
    }
}

fn end_in_order(gate: &mut Gate) {
    // It may be dead already.
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(gate.id()).unwrap()).unwrap(),
        Signal::TERM,
    );
    gate.wait();
}

const LIVES_BETWEEN_ORDERLY_ENDS: i64 = 8;

#[test]
fn a_store_that_fails_costs_no_processor_time() {
    let (faults, sink) = (Faults::new(), sink().run());
    let gate = gate().faults(&faults).limit(3, "1h").next_hop(&sink).run();
    faults.arm(Files::Store, calls::CHANGES, 1, Action::Fail(Errno::IO));
    let mut promises = Promises::default();
    promises.work(&gate);
    gate.logged("store-failed", |_| true);
    let before = gate.processor_time();
    // The time in which a loop would show.
    std::thread::sleep(Duration::from_secs(2));
    let used = gate.processor_time() - before;
    assert!(used < Duration::from_millis(300), "{used:?} in 2 s of doing nothing");
}

#[test]
fn a_suspension_that_is_not_written_is_not_confirmed() {
    let (faults, sink) = (Faults::new(), sink().run());
    let gate = gate().faults(&faults).next_hop(&sink).run();
    faults.arm(Files::Store, calls::CHANGES, 1, Action::Fail(Errno::NOSPC));
    let suspend = ["account", "suspend", "a@shop.example", "--reason", "spam"];
    let said = gate.tollgate(&suspend).badly();
    assert!(said.contains("tollgate.db") && said.contains("No space left"), "{said}");
    assert_eq!(gate.json(&["account", "show", "a@shop.example"])["state"], "active");
    faults.lift();
    wait_for("the store to work again", || (gate.tollgate(&suspend).code == 0).then_some(()));
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(550, "RCPT TO:<b@remote.example>");
}

/// A real file system of a few megabytes.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Self {
        let path = at.to_str().unwrap();
        crate::support::programs::run("mount", &["-t", "tmpfs", "-o", "size=3m", "tollgate", path])
            .well();
        Self(at)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        crate::support::programs::run("umount", &["--lazy", self.0.to_str().unwrap()]);
    }
}

#[test]
fn a_full_disk_defers_mail_until_there_is_room_again() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), sink().run());
    let disk = SmallDisk::mount(folder.path());
    let state = folder.path().to_str().unwrap();
    let gate = gate().set("server.state_dir", state).limit(9, "1h").next_hop(&sink).run();
    let mut client = gate.client();
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);
    let filler = folder.path().join("filler");
    // Written until it fits no more; how much that is does not matter.
    let _ = fs::write(&filler, vec![1; 4 << 20]);
    let large = format!("Subject: large\n\n{}", "x".repeat(70).add_lines(8_000));
    let full = client.send("a@shop.example", &["b@remote.example"], &large);
    assert_eq!((full.code, &full.text()[..5]), (452, "4.3.1"), "{full}");
    gate.logged("spool-failed", |line| line["detail"].to_string().contains("No space left"));
    let mut deferred = 0;
    while deferred == 0 {
        // Some pages that the store has may still be free.
        let answer = client.send("a@shop.example", &["b@remote.example"], "text");
        assert!(answer.code == 250 || answer.text().starts_with("4.3.0"), "{answer}");
        deferred += usize::from(answer.code == 451);
        fs::File::options()
            .append(true)
            .open(&filler)
            .and_then(|mut file| io::Write::write_all(&mut file, &[1; 4096]))
            .err();
    }
    assert_eq!(gate.http("/health/ready").0, 503);
    fs::remove_file(&filler).unwrap();
    gate.logged("store-recovered", |_| true);
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], &large).code, 250);
    gate.logged("spool-recovered", |_| true);
    drop(gate);
    drop(disk);
}

trait AddLines {
    fn add_lines(&self, count: usize) -> String;
}

impl AddLines for String {
    fn add_lines(&self, count: usize) -> String {
        format!("{self}\n").repeat(count)
    }
}

#[test]
fn a_text_that_cannot_be_kept_is_452_and_costs_nothing() {
    let (faults, sink) = (Faults::new(), sink().run());
    let gate = gate().faults(&faults).limit(1_000, "1h").next_hop(&sink).run();
    // Several pieces of 256 KiB beyond the octets that stay in memory.
    let large = format!("Subject: large\n\n{}", "x".repeat(70).add_lines(12_000));
    let mut sent = 0;
    for (kinds, action) in [
        (calls::WRITE, Action::FailOnce(Errno::IO)),
        (calls::WRITE, Action::FailOnce(Errno::NOSPC)),
        (calls::WRITE, Action::FailOnce(Errno::DQUOT)),
        (calls::READ, Action::FailOnce(Errno::IO)),
        (calls::WRITE, Action::Short),
        (calls::WRITE, Action::FailOnce(Errno::INTR)),
    ] {
        let harmless = matches!(action, Action::Short | Action::FailOnce(Errno::INTR));
        each_n(|n| {
            faults.arm(Files::Spool, kinds, n, action);
            let answer = gate.client().send("a@shop.example", &["b@remote.example"], &large);
            let hit = faults.hits() > 0;
            let expected = if hit && !harmless { 452 } else { 250 };
            assert_eq!(answer.code, expected, "{action:?} at call {n}: {answer}");
            sent += usize::from(answer.code == 250);
            hit
        });
        faults.lift();
    }
    assert_eq!(sink.count(), sent);
    let whole = format!("{}\r\n", large.trim_end().replace('\n', "\r\n"));
    assert!(sink.taken().iter().all(|taken| taken.below_received() == whole.as_bytes()));
    let used = crate::operators::used(&gate, "a@shop.example");
    assert_eq!(used, sent as u64, "a text that was not kept was charged");
    all_recovered(&gate, "spool");
    assert!(count(&gate, "spool-failed") >= 4);
}

#[test]
fn a_damaged_store_is_refused_or_its_history_holds() {
    let sink = sink().run();
    let mut gate = gate().limit(3, "1h").next_hop(&sink).run();
    let full = "a@shop.example";
    assert_eq!(gate.client().send_until_refused(full, 9).0, 3);
    gate.signal(Signal::TERM);
    assert!(gate.wait().success());
    let (path, wal) = (gate.file("var/tollgate.db"), gate.file("var/tollgate.db-wal"));
    let good = fs::read(&path).unwrap();

    let mut check = |what: &str, content: &[u8], expected: &str| {
        fs::write(&path, content).unwrap();
        // It goes with the file that it belongs to.
        drop(fs::remove_file(&wal));
        match gate.try_start() {
            Err(said) => {
                assert!(said.contains("tollgate.db") && said.contains("operations.md"), "{said}");
                assert!(said.contains(expected), "{what}: {said}");
                assert!(fs::read(&path).unwrap() == content, "{what}: it was changed");
            }
            Ok(()) => {
                assert_eq!(expected, "", "{what}: it was taken");
                assert_eq!(gate.client().send_until_refused(full, 9).0, 0, "{what}");
                gate.kill();
            }
        }
    };
    check("empty", b"", "it is empty");
    check("another file", "a letter\n".repeat(1000).as_bytes(), "not a database");
    check("half", &good[..good.len() / 2 / 4096 * 4096], "malformed");
    check("a part of a page", &good[..good.len() - 1000], "");
    check(
        "another program's",
        &made_by("PRAGMA user_version = 1; CREATE TABLE mine (x);"),
        "another program",
    );
    check("newer", &changed(&path, &good, "PRAGMA user_version = 99"), "newer release");
    check("a table less", &changed(&path, &good, "DROP TABLE windows"), "no such table");
    for page in 0..good.len() / 4096 {
        let mut damaged = good.clone();
        damaged[page * 4096..][..4096].fill(0xaa);
        check(&format!("page {page}"), &damaged, "");
    }
    check("good", &good, "");
}

fn made_by(sql: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    changed(&folder.path().join("db"), b"", sql)
}

/// A database after some SQL.
fn changed(path: &Path, content: &[u8], sql: &str) -> Vec<u8> {
    fs::write(path, content).unwrap();
    drop(fs::remove_file(path.with_extension("db-wal")));
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\ndb.executescript(sys.argv[2])\ndb.close()";
    python(script, &[path.to_str().unwrap(), sql]).well();
    fs::read(path).unwrap()
}

#[test]
fn rubbish_behind_the_journal_of_sqlite_is_no_harm_and_a_journal_without_its_file_is_refused() {
    let sink = sink().run();
    let mut gate = gate().limit(3, "1h").next_hop(&sink).run();
    assert_eq!(gate.client().send_until_refused("a@shop.example", 9).0, 3);
    gate.kill();
    let (path, wal) = (gate.file("var/tollgate.db"), gate.file("var/tollgate.db-wal"));
    let mut content = fs::read(&wal).unwrap();
    // What a write that was under way may leave.
    content.extend(std::iter::repeat_n(0x5a, 100_000));
    fs::write(&wal, content).unwrap();
    gate.start();
    assert_eq!(gate.client().send_until_refused("a@shop.example", 9).0, 0);
    gate.kill();
    fs::rename(&path, gate.file("var/moved")).unwrap();
    let said = gate.try_start().unwrap_err();
    assert!(said.contains("tollgate.db-wal is there without the file"), "{said}");
    fs::rename(&wal, gate.file("var/moved-wal")).unwrap();
    gate.start();
    assert_eq!(gate.client().send_until_refused("a@shop.example", 9).0, 3);
}

#[test]
fn a_store_that_somebody_else_has_locked_is_refused_by_name() {
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    gate.signal(Signal::TERM);
    gate.wait();
    let path = gate.file("var/tollgate.db");
    let hold = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\ndb.execute('BEGIN EXCLUSIVE')\nprint('held', flush=True)\nsys.stdin.read()";
    let mut holder = std::process::Command::new("python3")
        .args(["-c", hold, path.to_str().unwrap()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = io::BufReader::new(holder.stdout.take().unwrap());
    io::BufRead::read_line(&mut out, &mut line).unwrap();
    let said = gate.try_start().unwrap_err();
    assert!(said.contains("tollgate.db") && said.contains("locked"), "{said}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    gate.start();
}

const LIMIT: usize = 3;
