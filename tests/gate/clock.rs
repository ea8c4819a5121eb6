//! A wall clock that jumps, by a second up to a year in both directions: while the gate runs and across its restart nothing but
//! the printed times changes; across a reboot of the machine a clock that is set back makes nobody wait, and one that was ahead for
//! a while leaves no trace.

use crate::{
    limits::facts,
    operators::limit,
    support::{Client, Faults, Gate, Sink, gate, most_within, sink, wait_for},
};
use std::time::Duration;
use tollgate::{clock::steady_now, types::Timestamp};

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// Printed times are rounded up, and UTC is whole seconds away from the ledger.
const ROUNDING_MAX: Duration = Duration::from_secs(2);

#[test]
fn a_wall_clock_that_jumps_while_the_gate_runs_changes_only_what_is_printed() {
    let (faults, sink) = (Faults::new(), sink().run());
    let gate = gate().faults(&faults).limit(2, "2s").next_hop(&sink).run();
    let mut idle = gate.client();
    for (nth, jump) in [SECOND, 60 * SECOND, HOUR, DAY, YEAR].into_iter().enumerate() {
        for jump in [jump, -jump] {
            faults.set_wall_clock(jump);
            let account = format!("a{nth}@shop{}.example", i32::from(jump > 0));
            window_holds(&gate, &sink, &faults, &account);
            idle.expect(250, "NOOP");
        }
    }
    let (code, body) = gate.http("/health/ready");
    assert_eq!(code, 200, "{body}");
    assert!(!gate.log_text().contains("panicked"), "{}", gate.log_text());
}

/// The limit of 2 in 2 s: refused in time, told in the wall clock's time, open again after its time, and never more.
#[track_caller]
fn window_holds(gate: &Gate, sink: &Sink, faults: &Faults, account: &str) {
    let mut client = gate.client();
    let refused = facts(&client.send_until_refused(account, 20).1);
    assert!(refused.wait_seconds <= 2, "{refused:?}");
    assert_near(faults.wall_now(), refused.slot, "the slot of a refusal");
    let begin = steady_now();
    wait_for("the next slot", || passes(&mut client, account).then_some(()));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let taken = sink.taken();
    let of_account = taken.iter().filter(|taken| taken.mail.contains(account));
    let moments: Vec<_> = of_account.map(|taken| taken.at).collect();
    assert!(most_within(Duration::from_secs(2), &moments) <= 2, "{account}");

    let logged = gate.logged("message", |line| line["account"] == account);
    for key in ["time", "began"] {
        assert_near(faults.wall_now(), logged[key].as_str().unwrap().parse().unwrap(), key);
    }
    let received = taken.iter().rfind(|taken| taken.mail.contains(account)).unwrap();
    let received = received.fields("Received").swap_remove(0);
    let year = &faults.wall_now().to_string()[..4];
    assert!(received.contains(&format!(" {year} ")), "{received}");
}

fn passes(client: &mut Client, account: &str) -> bool {
    client.expect(250, &format!("MAIL FROM:<{account}>"));
    if client.say("RCPT TO:<b@remote.example>").code == 250 {
        return client.text("text").code == 250;
    }
    client.expect(250, "RSET");
    false
}

#[track_caller]
fn assert_near(expected: Timestamp, shown: Timestamp, what: &str) {
    let away = expected.since(shown).max(shown.since(expected));
    assert!(away < Duration::from_secs(30), "{what}: {shown} and not about {expected}");
}

#[test]
fn a_clock_that_jumps_across_a_restart_frees_nobody_and_holds_nobody() {
    let (faults, sink) = (Faults::new(), sink().run());
    let mut gate = gate()
        .faults(&faults)
        .limit(2, "2s")
        .scoped_limit("tenant", "recipients", 10, "1h")
        .next_hop(&sink)
        .run();
    fill_hour(&gate, "before");
    for (nth, jump) in [SECOND, 60 * SECOND, HOUR, DAY, YEAR].into_iter().enumerate() {
        for jump in [jump, -jump] {
            faults.set_wall_clock(jump);
            gate.restart();
            still_full(&gate, &faults, "before");
            let sign = i32::from(jump > 0);
            window_holds(&gate, &sink, &faults, &format!("a@after{nth}-{sign}.example"));
        }
    }
    // Of a reboot nobody knows how long it took; a wall clock that shows an earlier time is not believed.
    faults.set_wall_clock(-DAY);
    faults.reboot();
    gate.restart();
    still_full(&gate, &faults, "before");
    window_holds(&gate, &sink, &faults, "a@reboot.example");
}

/// The hour of a tenant is as full as it was, and will be over within an hour, by the wall clock too.
#[track_caller]
fn still_full(gate: &Gate, faults: &Faults, tenant: &str) {
    let refused = gate.client().send_until_refused(&format!("z@{tenant}.example"), 20);
    let told = facts(&refused.1);
    assert_eq!((refused.0, told.used, told.window.as_str()), (0, 10, "1 h"), "{told:?}");
    assert!(told.wait_seconds <= 3600, "{told:?}");
    let hour = Duration::from_secs(3600) + ROUNDING_MAX;
    assert!(told.slot.since(faults.wall_now()) <= hour, "{told:?}");
}

/// Ten recipients of one tenant from ten accounts, so that its hour is full.
fn fill_hour(gate: &Gate, tenant: &str) {
    for nth in 0..10 {
        assert!(passes(&mut gate.client(), &format!("u{nth}@{tenant}.example")), "{nth}");
    }
}

#[test]
fn a_clock_that_was_a_year_ahead_for_one_life_leaves_no_trace() {
    let (faults, sink) = (Faults::new(), sink().run());
    faults.set_wall_clock(YEAR);
    let mut gate = gate()
        .faults(&faults)
        .limit(2, "2s")
        .scoped_limit("tenant", "recipients", 10, "1h")
        .next_hop(&sink)
        .run();
    fill_hour(&gate, "ahead");
    faults.set_wall_clock(0);
    faults.reboot();
    gate.restart();
    wait_for("a warning of the clock", || {
        gate.log_text().contains("a later time than the wall clock shows").then_some(())
    });
    still_full(&gate, &faults, "ahead");
    window_holds(&gate, &sink, &faults, "a@now.example");
    override_follows_the_wall_clock(&gate, &faults);
}

/// An override and a suspension are recorded in the wall clock's time, whatever the ledger's is.
fn override_follows_the_wall_clock(gate: &Gate, faults: &Faults) {
    let account = "o@other.example";
    let set = ["account", "set", account, "--limit", "account recipients 2s=50"];
    gate.tollgate(&[&set[..], &["--until", "2h", "--reason", "a campaign"]].concat()).well();
    let max = || {
        let explained = gate.json(&["explain", account]);
        limit(&explained, "account", "2 s")["max"].as_u64().unwrap()
    };
    assert_eq!(max(), 50);
    for _ in 0..3 {
        assert!(passes(&mut gate.client(), account));
    }
    faults.set_wall_clock(DAY);
    assert_eq!(max(), 2, "it ended a day ago");
    faults.set_wall_clock(0);
    gate.tollgate(&["account", "suspend", account, "--reason", "a test"]).well();
    let shown = gate.json(&["account", "show", account]);
    assert_near(faults.wall_now(), shown["since"].as_str().unwrap().parse().unwrap(), "since");
}
