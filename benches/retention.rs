//! What mail notices of forgetting: how long messages take while old rows are deleted, beside how long they take before, in one run.
//!
//! The real program is started on an archive with events of forty days ago (`EVENTS`, 300,000). Four clients send all the while, each a message
//! every 20 ms. The gate begins to forget ten seconds after its start; what was sent before that is one side, what is sent until it says that it
//! has forgotten is the other.
//!
//! `cargo bench --bench retention`. Fails if the 99th percentile grows by more than 50 ms.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::print_stderr, reason = "what it shares with the tests may show a log")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop at anything it did not expect")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
mod support;

use rustix::process::Signal;
use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use support::{Gate, gate, sink};
use tollgate::{
    clock::{Clock, steady_now},
    store::archive::{self, Batch, Mark, NewEvent},
    types::Timestamp,
};

const CLIENTS: usize = 4;
const PACE: Duration = Duration::from_millis(20);
const AGE: Duration = Duration::from_secs(40 * 86_400);

fn main() {
    let events: usize = std::env::var("EVENTS").map_or(300_000, |text| text.parse().unwrap());
    let sink = sink().run();
    let mut gate = gate().set("log.level", "info").next_hop(&sink).run();
    gate.signal(Signal::TERM);
    assert!(gate.wait().success());
    fill(&gate.file("var/archive.db"), events);
    gate.start();
    let began = steady_now();
    let samples: Mutex<Vec<(Duration, Duration)>> = Mutex::default();
    let stop = AtomicBool::new(false);
    let (mut forgot, mut rows) = (Duration::ZERO, 0);
    thread::scope(|scope| {
        for name in 0..CLIENTS {
            let (gate, samples, stop) = (&gate, &samples, &stop);
            scope.spawn(move || {
                let mut client = gate.client();
                while !stop.load(Ordering::Relaxed) {
                    let at = steady_now();
                    let from = format!("a{name}@shop{name}.example");
                    let reply = client.send(&from, &["b@remote.example"], "Subject: one\n\ntext\n");
                    assert_eq!(reply.code, 250);
                    let took = at.elapsed();
                    samples.lock().unwrap().push((at.duration_since(began), took));
                    thread::sleep(PACE.saturating_sub(took));
                }
            });
        }
        rows = wait_for_forgotten(&gate);
        forgot = began.elapsed();
        stop.store(true, Ordering::Relaxed);
    });
    let samples = samples.into_inner().unwrap();
    let of = |from: Duration, until: Duration| {
        let mut took: Vec<Duration> = samples
            .iter()
            .filter(|(at, _)| *at >= from && *at < until)
            .map(|(_, took)| *took)
            .collect();
        took.sort_unstable();
        took
    };
    let (first, begins) = (Duration::from_secs(1), Duration::from_secs(9));
    let (without, with) = (of(first, begins), of(Duration::from_secs(10), forgot));
    println!("{rows} rows forgotten in {:.0} s", (forgot - Duration::from_secs(10)).as_secs_f64());
    for (name, took) in [("without", &without), ("with", &with)] {
        println!(
            "{name}: {} messages, p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms",
            took.len(),
            millis(took, 50),
            millis(took, 99),
            millis(took, 100)
        );
    }
    let added = millis(&with, 99) - millis(&without, 99);
    println!("added at p99: {added:.1} ms");
    assert!(added < 50.0, "forgetting keeps mail waiting");
}

fn millis(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len() - 1);
    sorted[at].as_secs_f64() * 1_000.0
}

fn wait_for_forgotten(gate: &Gate) -> u64 {
    loop {
        let found = gate.log().into_iter().find(|line| line["event"] == "forgotten");
        if let Some(line) = found {
            return line["rows"].as_u64().unwrap();
        }
        thread::sleep(Duration::from_millis(500));
    }
}

fn fill(path: &Path, events: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let archive = archive::open(&archive::Settings { path: path.to_owned() }).unwrap();
        let old = Clock::start(Timestamp::EPOCH).utc() - AGE;
        for first in (0..events).step_by(2_000) {
            let some = (first..events.min(first + 2_000)).map(|number| NewEvent {
                at: old,
                name: "message".into(),
                tenant: "shop.example".parse().ok(),
                account: format!("a{}@shop.example", number % 500).parse().ok(),
                body: format!(
                    "{{\"event\":\"message\",\"to\":\"b{number}@remote.example\",\"fill\":\"{}\"}}",
                    "x".repeat(600)
                ),
                marks: vec![Mark::Recipient(format!("b{number}@remote.example").parse().unwrap())],
            });
            let batch = Batch { events: some.collect(), ..Batch::default() };
            archive.keep(Arc::new(batch)).await.unwrap();
        }
        archive.close().await;
    });
}
