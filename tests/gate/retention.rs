//! Forgetting while mail flows.

use crate::support::{at_once, gate, sink, wait_for};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What is old goes while mail flows, all of it, and no mail is put off for it.
#[test]
fn what_is_old_is_forgotten_under_load_and_every_mail_passes() {
    let sink = sink().run();
    let mut gate = gate().set("archive.keep_events", "1s").next_hop(&sink).run();
    let send = |gate: &crate::support::Gate, name: usize, count: usize| {
        let mut client = gate.client();
        for number in 0..count {
            let (from, to) = (format!("a{name}@shop.example"), format!("b{number}@remote.example"));
            assert_eq!(client.send(&from, &[&to], "Subject: one\n\ntext\n").code, 250);
        }
    };
    at_once(4, |name| send(&gate, name, 150));
    gate.restart();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let forgotten = std::thread::scope(|scope| {
        scope.spawn(|| {
            at_once(4, |name| {
                while !stop.load(Ordering::Relaxed) {
                    send(&gate, name, 5);
                    sent.fetch_add(5, Ordering::Relaxed);
                }
            });
        });
        let line = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            gate.logged("forgotten", |line| line["rows"].as_u64() >= Some(1_200))
        }));
        stop.store(true, Ordering::Relaxed);
        line.unwrap()
    });
    // Each message is an event, and is found by its session, its Message-ID if it has one, and its recipient.
    assert!(forgotten["rows"].as_u64().unwrap() >= 1_200, "{forgotten}");
    let sent = 600 + sent.into_inner();
    assert_eq!(sink.wait_for(sent).len(), sent);
    wait_for("the first to be forgotten", || {
        gate.tollgate(&["trace", "b149@remote.example", "--until", "12s", "--json"])
            .well()
            .is_empty()
            .then_some(())
    });
    assert_eq!(gate.json(&["audit", "verify"])["whole"], true);
}
