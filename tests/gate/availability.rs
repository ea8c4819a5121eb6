//! Minute by minute: what a gate that was killed missed, planned maintenance, and the month's budget. Minutes pass by setting the
//! clock forward: while the gate runs that skips minutes, while it is down they are missing.

use crate::support::{Faults, Gate, Sink, gate, sink, wait_for};
use serde_json::Value;
use tollgate::{clock::wall_now, types::Timestamp};

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
/// In the middle of a month of thirty days.
const NOON: &str = "2030-06-10T12:00:00Z";

/// A gate at noon on a day in the middle of a month.
struct Day {
    faults: Faults,
    /// How far the gate's wall clock is ahead of the machine's.
    ahead: i64,
    _sink: Sink,
    gate: Gate,
}

impl Day {
    fn begin() -> Self {
        let (faults, sink) = (Faults::new(), sink().run());
        let noon: Timestamp = NOON.parse().unwrap();
        let ahead = noon.as_millis() - wall_now().as_millis();
        faults.set_wall_clock(ahead);
        let gate = gate().faults(&faults).next_hop(&sink).run();
        Self { faults, ahead, _sink: sink, gate }
    }

    fn pass(&mut self, millis: i64) {
        self.ahead += millis;
        self.faults.set_wall_clock(self.ahead);
    }

    /// The gate is killed, and started again so much later.
    fn killed_for(&mut self, millis: i64) {
        self.gate.kill();
        self.pass(millis);
        self.gate.start();
    }

    /// The month's figures, as soon as one of them is as wanted.
    #[track_caller]
    fn month(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || {
            let month = self.gate.json(&["availability"])["month"].clone();
            is_wanted(&month).then_some(month)
        })
    }
}

#[track_caller]
fn number(month: &Value, key: &str) -> u64 {
    month[key].as_u64().unwrap_or_else(|| panic!("no {key} in {month}"))
}

#[test]
fn minutes_in_which_the_gate_was_dead_are_down_and_maintenance_is_counted_apart() {
    let mut day = Day::begin();
    let view = day.gate.json(&["availability"]);
    assert_eq!((&view["noted_since"], &view["month"]["minutes"]), (&Value::Null, &0.into()));
    // The first minute was seen in part, the next one is the first that counts.
    wait_for("the first minute", || {
        day.pass(61 * SECOND);
        let view = day.gate.json(&["availability"]);
        (view["noted_since"] != Value::Null).then_some(())
    });
    let month = day.month("a minute that was up", |month| number(month, "minutes") > 0);
    assert_eq!((number(&month, "down_minutes"), &month["percent"]), (0, &100.0.into()), "{month}");
    assert_eq!(month["month"], "2030-06");

    day.killed_for(9 * HOUR);
    let month = day.month("the missing minutes", |month| number(month, "down_minutes") > 0);
    let down = number(&month, "down_minutes");
    assert!((535..=545).contains(&down), "{month}");
    assert_eq!(month["outages"][0]["lacked"], serde_json::json!(["program"]));
    assert_eq!((&month["is_kept"], &month["budget_left_seconds"]), (&false.into(), &0.into()));
    let told = day.gate.logged("sla-budget-used", |_| true);
    assert_eq!((&told["month"], &told["percent"]), (&"2030-06".into(), &100.into()), "{told}");
    wait_for("the gauge", || {
        let metrics = day.gate.http("/metrics").1;
        let used =
            metrics.lines().find_map(|l| l.strip_prefix("tollgate_sla_budget_used_seconds "));
        (used == Some(&*(down * 60).to_string())).then_some(())
    });

    let start = ["maintenance", "start", "--until", "3h", "--reason", "new disks"];
    day.gate.tollgate(&start).well();
    let changed = day.gate.logged("maintenance-changed", |_| true);
    assert_eq!(changed["reason"], "new disks");
    day.killed_for(HOUR);
    let month = day.month("the maintenance", |month| number(month, "maintenance_down_minutes") > 0);
    assert!((55..=62).contains(&number(&month, "maintenance_down_minutes")), "{month}");
    // Between the last minute that was noted and the maintenance some more may be missing.
    assert!(number(&month, "down_minutes") <= down + 3, "{month}");
    day.gate.tollgate(&["maintenance", "end", "--reason", "done"]).well();
    day.gate.tollgate(&["maintenance", "end", "--reason", "done"]).badly();
    let text = day.gate.tollgate(&["availability"]).well();
    assert!(text.contains("NOT KEPT") && text.contains("new disks"), "{text}");
    let times = day.gate.log().iter().filter(|l| l["event"] == "sla-budget-used").count();
    assert_eq!(times, 1, "it is told once a month, whatever restarts");
}

#[test]
fn wrong_months_and_maintenance_are_told() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    for (arguments, says) in [
        (&["availability", "--month", "9000-01"][..], "is to come"),
        (&["availability", "--month", "november"], "a month such as"),
        (&["maintenance", "start", "--reason", " "], "a reason is needed"),
        (
            &["maintenance", "plan", "--from", "2h", "--until", "1h", "--reason", "x"],
            "before it begins",
        ),
        (
            &[
                "maintenance",
                "plan",
                "--from",
                "2020-01-01T00:00:00Z",
                "--until",
                "1h",
                "--reason",
                "x",
            ],
            "not in the future",
        ),
        (&["maintenance", "start", "--until", "40d", "--reason", "x"], "31 days"),
        (&["maintenance", "end", "7", "--reason", "x"], "no maintenance 7"),
    ] {
        let said = gate.tollgate(arguments).badly();
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    let plan = ["maintenance", "plan", "--from", "1h", "--until", "2h", "--reason", "new disks"];
    gate.tollgate(&plan).well();
    let listed = gate.json(&["maintenance", "list"]);
    assert_eq!((&listed[0]["id"], &listed[0]["state"]), (&1.into(), &"planned".into()));
    gate.tollgate(&["maintenance", "end", "1", "--reason", "not needed"]).well();
    assert_eq!(gate.tollgate(&["maintenance", "list"]).well(), "none\n");
}
