//! Every change stands in the audit, once, whoever makes it and whatever ends the program in between.

use crate::support::{Gate, gate, programs, sink, wait_for};
use serde_json::Value;
use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// The audit as `tollgate audit` prints it, the oldest entry first.
pub(crate) fn audit(gate: &Gate, options: &[&str]) -> Vec<Value> {
    let text = gate.tollgate(&[&["audit", "--all", "--json"], options].concat()).well();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The audit once it has this many entries.
#[track_caller]
pub(crate) fn audit_of(gate: &Gate, count: usize) -> Vec<Value> {
    wait_for("the audit to have the changes", || {
        let entries = audit(gate, &[]);
        (entries.len() >= count).then_some(entries)
    })
}

#[test]
fn a_change_is_audited_with_who_what_and_why() {
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    let set = ["--limit", "account recipients 1h=7", "--reason", "newsletter"];
    gate.tollgate(&[&["account", "set", "a@shop.example"][..], &set].concat()).well();
    gate.tollgate(&["tenant", "suspend", "other.example", "--reason", "not paid"]).well();
    let entries = audit_of(&gate, 3);
    let told: Vec<_> = entries.iter().map(|e| [&e["action"], &e["subject"], &e["after"]]).collect();
    let case = entries[2]["after"].as_str().unwrap();
    assert!(case.starts_with("case TG-"), "{case}");
    let expected = [
        ["registered", "account a@shop.example", ""],
        ["limit-set", "account a@shop.example", "account recipients 1 h: 7"],
        ["suspended", "tenant other.example", case],
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!(told.map(|value| value.as_str().unwrap_or("")), expected);
    }
    for entry in &entries {
        assert!(entry["actor"].as_str().unwrap().contains("(uid "), "{entry}");
        assert_eq!(entry["via"], "control-socket");
    }
    assert_eq!(entries[2]["reason"], "not paid");
    assert_eq!(audit(&gate, &["--subject", "shop.example"]).len(), 2);
    assert_eq!(audit(&gate, &["--action", "suspended"]).len(), 1);
    assert_eq!(audit(&gate, &["--until", "1h"]).len(), 0);
    // The newest hash is known outside the archive.
    gate.logged("audited", |line| line["number"] == 3 && line["hash"] == entries[2]["hash"]);
    let table = gate.tollgate(&["audit", "--max", "1"]).well();
    assert!(table.contains("not paid") && !table.contains("newsletter"), "{table}");
    // What the documentation has for checking by hand comes to the same hash.
    gate.restart();
    let guide = include_str!("../../docs/audit.md");
    let script = guide.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let mut python = Command::new("python3");
    let head = programs::run_command(python.arg("-").current_dir(gate.file("var")), script).well();
    assert_eq!(head.trim(), format!("3 {}", entries[2]["hash"].as_str().unwrap()));
}

#[test]
fn a_reload_is_audited_with_the_keys_that_changed() {
    let sink = sink().run();
    let mut gate = gate().limit(3, "1h").next_hop(&sink).run();
    gate.reload(|settings| settings.set("limits.new_accounts_per_hour", 77));
    let entry = audit_of(&gate, 1).remove(0);
    assert_eq!((&entry["action"], &entry["via"]), (&"config-reloaded".into(), &"config".into()));
    assert_eq!(entry["after"], "limits.new_accounts_per_hour");
}

#[test]
fn kills_between_a_change_and_its_audit_leave_nothing_out_and_double_nothing() {
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    let socket = gate.file("var/control.sock");
    let mut answered = 0;
    for round in 0..6 {
        let register = |n: usize| {
            let account = format!("user{n}@round{round}.example");
            let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
            command.args(["account", "set", &account, "--socket"]).arg(&socket);
            programs::run_command(&mut command, "").code == 0
        };
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                while register(done.load(Ordering::Relaxed)) {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
            wait_for("some changes", || (done.load(Ordering::Relaxed) >= 4).then_some(()));
            thread::sleep(Duration::from_millis(7 * round));
            gate.kill();
        });
        answered += done.into_inner();
        gate.start();
    }
    assert!(answered > 20, "only {answered} changes were made");
    // Each round may have one more that was written and not answered.
    let accounts = gate.tollgate(&["account", "list", "--json"]).well().lines().count();
    let entries = audit_of(&gate, accounts);
    let mut subjects: Vec<_> = entries.iter().map(|e| e["subject"].as_str().unwrap()).collect();
    subjects.sort_unstable();
    let total = subjects.len();
    subjects.dedup();
    assert_eq!(total, subjects.len(), "a change stands there twice");
    assert_eq!(total, accounts, "the audit and the records differ");
    assert!(total <= answered + 6, "{total} of {answered}");
}

#[test]
fn the_audit_of_a_running_gate_is_verified_and_of_one_that_stands_still_and_says_what_was_changed()
{
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    for number in 1..=5 {
        gate.tollgate(&["account", "set", &format!("a{number}@shop.example")]).well();
    }
    audit_of(&gate, 5);
    let head = gate.tollgate(&["audit", "head"]).well().trim().to_owned();
    let verdict = gate.json(&["audit", "verify", "--head", &head]);
    assert_eq!((&verdict["whole"], &verdict["entries"]), (&true.into(), &5.into()));
    assert_eq!(
        (&verdict["head"], &verdict["noted"]),
        (&head.as_str().into(), &head.as_str().into())
    );
    let ahead = head.replacen('5', "6", 1);
    let said = gate.tollgate(&["audit", "verify", "--head", &ahead]);
    assert!(said.code == 1 && said.err.contains("ends with entry 5"), "{said:?}");
    gate.signal(rustix::process::Signal::TERM);
    assert!(gate.wait().success());
    assert_eq!(gate.json(&["audit", "verify"])["entries"], 5);
    let tamper = |sql: &str| {
        let archive = gate.file("var/archive.db");
        let mut sqlite = Command::new("python3");
        sqlite.args(["-c", "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.close()"]);
        programs::run_command(sqlite.arg(archive).arg(sql), "").well();
    };
    tamper(
        "UPDATE audit_values SET value = 'account mallory@shop.example' WHERE number = 3 AND field = 0",
    );
    let said = gate.tollgate(&["audit", "verify"]);
    assert!(said.code == 1 && said.err.contains("the subject of entry 3 was changed"), "{said:?}");
    assert!(said.out.contains("broken at entry 3"), "{said:?}");
    tamper(
        "UPDATE audit_values SET value = 'account a3@shop.example' WHERE number = 3 AND field = 0",
    );
    gate.tollgate(&["audit", "verify"]).well();
    // The end cut off: seen by the file that stands beside it, and by the gate that starts on it, for good.
    tamper("DELETE FROM audit WHERE number = 5; DELETE FROM audit_values WHERE number = 5");
    let said = gate.tollgate(&["audit", "verify"]);
    assert!(said.code == 1 && said.err.contains("there was an entry 5"), "{said:?}");
    gate.start();
    let last = audit_of(&gate, 5).pop().unwrap();
    assert_eq!(
        (&last["action"], &last["before"]),
        (&"audit-mismatch".into(), &head.as_str().into())
    );
    let said = gate.tollgate(&["audit", "verify", "--head", &head]);
    assert!(said.code == 1 && said.err.contains("made anew"), "{said:?}");
}

#[test]
fn the_audit_within_a_backup_is_verified_and_ends_where_the_backup_says() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    gate.tollgate(&["account", "set", "a@shop.example"]).well();
    audit_of(&gate, 1);
    let head = gate.tollgate(&["audit", "head"]).well().trim().to_owned();
    let file = gate.file("backup.tar");
    let file = file.to_str().unwrap();
    gate.tollgate(&["backup", file]).well();
    let verdict = gate.json(&["audit", "verify", "--file", file, "--head", &head]);
    assert_eq!(verdict["whole"], true, "{verdict}");
    let other = gate.file("other.tar");
    let other = other.to_str().unwrap();
    let (number, hash) = head.split_once(':').unwrap();
    let wrong = hash.chars().rev().collect::<String>();
    let said =
        gate.tollgate(&["audit", "verify", "--file", file, "--head", &format!("{number}:{wrong}")]);
    assert!(said.code == 1 && said.err.contains("made anew"), "{said:?}");
    // An octet of a value within the archive within the file.
    let mut octets = std::fs::read(file).unwrap();
    let at = octets.windows(14).rposition(|piece| piece == b"a@shop.example").unwrap();
    octets[at] = b'b';
    std::fs::write(other, octets).unwrap();
    let said = gate.tollgate(&["audit", "verify", "--file", other]);
    assert!(said.code == 1 && said.err.contains("another SHA-256"), "{said:?}");
    assert!(!gate.file("backup.tar.archive").exists() && !gate.file("other.tar.archive").exists());
}
