//! What the tests of the whole program share: the gate, a next hop to look into, a client that speaks line by line.

pub(crate) mod alertmanager;
pub(crate) mod api;
pub(crate) mod authority;
pub(crate) mod bad_hop;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod dns;
pub(crate) mod dovecot;
pub(crate) mod exim;
pub(crate) mod failure;
pub(crate) mod faults;
pub(crate) mod gate;
pub(crate) mod guide;
pub(crate) mod mail_store;
pub(crate) mod ports;
pub(crate) mod postfix;
pub(crate) mod programs;
pub(crate) mod redis;
pub(crate) mod scanners;
pub(crate) mod sentinel;
pub(crate) mod settings;
pub(crate) mod sink;
pub(crate) mod smtp_sink;
pub(crate) mod tls;
pub(crate) mod webhook;

pub(crate) use client::{Client, Reply};
pub(crate) use faults::{Action, Faults, Files, calls};
pub(crate) use gate::{Gate, gate};
pub(crate) use settings::Settings;
pub(crate) use sink::{Sink, sink, sink_later};
pub(crate) use smtp_sink::SmtpSink;
pub(crate) use tls::{Tls, tls};
pub(crate) use webhook::Webhook;

use std::{
    thread,
    time::{Duration, Instant},
};
use tollgate::clock::steady_now;

/// How long the tests wait for anything that must come; long, because the machine may be busy, and never slept out.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

/// Asks `probe` again and again until it has something, and panics with `what` if it never has.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = steady_now() + WAIT_MAX;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(steady_now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `work` in as many threads at once and returns what each made, in order.
pub(crate) fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let running: Vec<_> = (0..count).map(|index| scope.spawn(move || work(index))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The most events that lie in any stretch of time shorter than `window`.
pub(crate) fn most_within(window: Duration, moments: &[Instant]) -> usize {
    let mut sorted = moments.to_vec();
    sorted.sort_unstable();
    let in_window = |first: usize| {
        sorted[first..].iter().take_while(|&&moment| moment - sorted[first] < window).count()
    };
    (0..sorted.len()).map(in_window).max().unwrap_or(0)
}
