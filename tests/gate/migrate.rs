//! Gates that begin to share a Redis, or end it, with `tollgate migrate`: the limits hold on, whatever was sent where.

use crate::support::{Gate, Settings, gate, redis::Redis, sink, wait_for};
use rustix::process::Signal;

/// Sends one after another until one is refused, at most so many; how many passed.
fn pass(gate: &Gate, most: usize) -> usize {
    let mut client = gate.client();
    let sends = |_: &usize| {
        client.expect(250, "MAIL FROM:<a@shop.example>");
        let reply = client.say("RCPT TO:<b@remote.example>");
        reply.code == 250 && client.text("Subject: x\n\nx\n").code == 250
    };
    (0..most).take_while(sends).count()
}

fn stop(gate: &mut Gate) {
    gate.signal(Signal::TERM);
    assert!(gate.wait().success(), "{}", gate.log_text());
}

const TO_REDIS: [&str; 6] = ["migrate", "--from", "sqlite", "--to", "redis", "--json"];
const TO_SQLITE: [&str; 6] = ["migrate", "--from", "redis", "--to", "sqlite", "--json"];

#[test]
fn gates_that_counted_alone_count_together_and_one_goes_on_alone_again() {
    let (sink, redis) = (sink().run(), Redis::durable());
    let sharing = |settings: Settings, name: &str| {
        settings.set("store.redis", redis.url()).set("store.redis_node", name)
    };
    let mut gates = [12, 5].map(|sent| {
        let gate = gate().limit(20, "1h").next_hop(&sink).run();
        assert_eq!(pass(&gate, sent), sent);
        gate
    });
    let suspend = ["account", "suspend", "thief@shop.example", "--reason", "stolen"];
    gates[1].tollgate(&suspend).well();
    // Where a gate runs nothing is moved, and where no Redis is configured either.
    let none = gates[0].tollgate(&TO_REDIS);
    assert!(none.code == 1 && none.err.contains("store.redis is not set"), "{none:?}");
    for (gate, name) in gates.iter_mut().zip(["one", "two"]) {
        gate.change(|settings| sharing(settings, name));
        let runs = gate.tollgate(&TO_REDIS);
        assert!(runs.code == 1 && runs.err.contains("another process"), "{runs:?}");
        stop(gate);
        let moved = gate.json(&TO_REDIS[..5]);
        assert!(moved["windows"].as_u64() > Some(0) && moved["to"] == "redis", "{moved}");
        let again = gate.tollgate(&TO_REDIS);
        assert!(again.code == 1 && again.err.contains("--again"), "{again:?}");
        gate.start();
    }
    // 12 and 5 of 20 were sent.
    assert_eq!((pass(&gates[0], 9), pass(&gates[1], 9), sink.count()), (3, 0, 20));
    let used = gates[1].json(&["usage", "a@shop.example"]).to_string();
    assert!(used.contains("\"sent\":20"), "{used}");
    wait_for("the first to know of the suspension", || {
        let shown = gates[0].json(&["account", "show", "thief@shop.example"]).to_string();
        shown.contains("stolen").then_some(())
    });
    let entry = gates[0].json(&["audit", "--action", "migrated"]);
    assert!(entry.to_string().contains("of one to redis"), "{entry}");

    // Back: what was sent together counts at the one that goes on.
    for gate in &mut gates {
        stop(gate);
    }
    let moved = gates[1].json(&TO_SQLITE[..5]);
    assert!(moved["windows"].as_u64() > Some(0) && moved["to"] == "sqlite", "{moved}");
    gates[1].change(|settings| settings.without("store.redis").without("store.redis_node"));
    gates[1].start();
    assert_eq!((pass(&gates[1], 9), sink.count()), (0, 20));
    let shown = gates[1].json(&["account", "show", "thief@shop.example"]).to_string();
    assert!(shown.contains("stolen"), "{shown}");
}
