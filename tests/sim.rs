//! The whole gate on virtual time, from a seed: the real intake, session machines, rules, ledger, spool and next-hop pool, with
//! simulated customers, next hops, faults and crashes. A run of hours or days takes milliseconds, and the same seed plays the
//! same way again. After every step the simulation's own book ([`book`]) asks whether the promises hold.
//!
//! ```text
//! cargo test --test sim                                  what tests/run plays
//! SIM_SEED=42 cargo test --test sim seeds                one seed, with all that happened
//! SIM_SEEDS=1000000 cargo test --test sim seeds          so many, from SIM_FROM on: a night's run
//! ```
//!
//! docs/testing.md says what is simulated and what is not.

#![expect(clippy::unwrap_used, reason = "a test may stop at anything it did not expect")]

#[path = "sim/book.rs"]
mod book;
#[path = "sim/chance.rs"]
mod chance;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/disk.rs"]
mod disk;
#[path = "sim/hop.rs"]
mod hop;
#[path = "sim/play.rs"]
mod play;
#[path = "sim/plot.rs"]
mod plot;
#[path = "sim/replayed.rs"]
mod replayed;
#[path = "sim/shadow.rs"]
mod shadow;
#[path = "sim/world.rs"]
mod world;

use parking_lot::Mutex;
use play::{Outcome, play};
use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// Held by each test: the files' writers are threads in real time, so that a seed plays the same way again only on a machine that does
/// not play others besides.
static ALONE: Mutex<()> = Mutex::new(());

/// Seeds that once broke a promise.
const ONCE_WRONG: &[u64] = &[];

/// How many seeds the suite plays.
const SEEDS: u64 = 2_000;

#[test]
fn seeds_keep_the_promises() {
    let _alone = ALONE.lock();
    if let Some(seed) = number("SIM_SEED") {
        let outcome = play(seed, true);
        println!("{}", outcome.trace);
        assert!(outcome.violations.is_empty(), "{}", outcome.report());
        return;
    }
    let from = number("SIM_FROM").unwrap_or(1);
    play_all(from..from + number("SIM_SEEDS").unwrap_or(SEEDS));
}

#[test]
fn seeds_that_were_wrong_once_are_right_now() {
    let _alone = ALONE.lock();
    for &seed in ONCE_WRONG {
        let outcome = play(seed, false);
        assert!(outcome.violations.is_empty(), "{}", outcome.report());
    }
}

#[test]
fn a_seed_plays_the_same_way_again() {
    let _alone = ALONE.lock();
    for seed in 1..=10 {
        let [one, other] = [(), ()].map(|()| play(seed, true).trace);
        let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        assert!(one == other, "seed {seed} differs: {differs:?}");
        assert!(one.lines().count() > 10, "seed {seed} does next to nothing: {one}");
    }
}

#[test]
fn replayed_mail_is_judged_over_smtp_as_simulate_says() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let day = number("SIM_DAY").unwrap_or(0);
    match env::var_os("SIM_TRACE") {
        Some(trace) => replayed::day_of(trace.as_ref(), day as f64, folder.path()),
        None => replayed::make_up(folder.path()),
    }
    let (differ, messages, suspensions) = replayed::play(folder.path());
    println!("{messages} messages, {suspensions} suspensions, {} differ", differ.len());
    assert!(suspensions > 2, "{suspensions}");
    let first: Vec<&String> = differ.iter().take(20).collect();
    assert!(differ.is_empty(), "{} of {messages} differ: {first:#?}", differ.len());
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Plays all seeds on all processors; the first that breaks a promise is told with its end.
#[expect(clippy::print_stdout, reason = "whoever plays a night's worth wants to know what it was")]
fn play_all(seeds: std::ops::Range<u64>) {
    let next = AtomicU64::new(seeds.start);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut sum = Outcome::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return sum;
            }
            let outcome = play(seed, false);
            assert!(outcome.violations.is_empty(), "{}", play(seed, true).report());
            sum.add(&outcome);
        }
    };
    let sums: Vec<Outcome> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let mut sum = Outcome::default();
    sums.iter().for_each(|one| sum.add(one));
    println!("{} seeds: {}", seeds.end - seeds.start, sum.summary());
}
