//! Killed at any moment, the gate still lets nobody pass the limit and has told nobody a 250 without a message.

use crate::support::{Client, Gate, Sink, gate, most_within, sink};
use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

#[test]
fn a_hundred_kills_at_random_moments_break_no_promise() {
    let sink = sink().final_delay(Duration::from_millis(10)).run();
    let mut gate = gate()
        .limit(LIMIT, "5s")
        // Charges that a kill left open count from here on; ten minutes, the default, would leave nothing to send.
        .set("limits.unknown_margin", "1s")
        .next_hop(&sink)
        .run();
    let load = Load::new(gate.smarthost());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| load.run());
        }
        // Ends the load also if this thread stops at an assertion.
        let _ended = EndOnDrop(&load.ended);
        for kill in 0..KILLS {
            // Most lives are too short to send much; every tenth is longer than the window.
            let most = if kill % 10 == 9 { 6_000 } else { 800 };
            thread::sleep(Duration::from_millis(20 + random(most)));
            gate.kill();
            gate.start();
        }
    });
    check(&gate, &sink, &load.heard.into_inner().unwrap());
}

#[track_caller]
fn check(gate: &Gate, sink: &Sink, heard: &HashSet<String>) {
    let taken = sink.taken();
    let arrived: HashSet<String> =
        taken.iter().flat_map(|taken| taken.fields("X-Number")).collect();
    let missing: Vec<_> = heard.difference(&arrived).collect();
    assert!(missing.is_empty(), "250 was said for {missing:?}, which never came");

    for account in 0..ACCOUNTS {
        let sender = sender(account);
        let of_account = taken.iter().filter(|taken| taken.mail.contains(&sender));
        let moments: Vec<_> = of_account.map(|taken| taken.at).collect();
        let most = most_within(Duration::from_secs(5), &moments);
        assert!(most <= LIMIT as usize, "{most} messages of {sender} within 5 s");
        assert!(
            !moments.is_empty(),
            "nothing of {sender} came: the load is too low to show anything"
        );
    }
    assert!(heard.len() > KILLS, "only {} messages passed in all", heard.len());
    assert!(gate.client().say("NOOP").code == 250);
}

/// Clients that send all the time, whatever happens to the gate.
struct Load {
    server: SocketAddr,
    number: AtomicU64,
    /// The numbers of the messages for which 250 was heard.
    heard: Mutex<HashSet<String>>,
    ended: AtomicBool,
}

impl Load {
    fn new(server: SocketAddr) -> Self {
        let (number, heard, ended) = Default::default();
        Self { server, number, heard, ended }
    }

    fn run(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            // The connection broke, because the gate was killed: the next one.
            let _ = self.converse();
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn converse(&self) -> io::Result<()> {
        let mut client = Client::try_connect(self.server, b"")?;
        client.try_say("EHLO client.example")?;
        while !self.ended.load(Ordering::Relaxed) {
            client.try_say(&format!("MAIL FROM:<{}>", sender(random(ACCOUNTS))))?;
            if client.try_say("RCPT TO:<someone@remote.example>")?.code == 250 {
                self.finish(&mut client)?;
            } else {
                client.try_say("RSET")?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn finish(&self, client: &mut Client) -> io::Result<()> {
        let number = self.number.fetch_add(1, Ordering::Relaxed).to_string();
        client.try_say("DATA")?;
        client.try_write(format!("X-Number: {number}\r\n\r\n").as_bytes())?;
        // Some hold DATA open.
        thread::sleep(Duration::from_millis(random(4).saturating_sub(2) * random(150)));
        if client.try_say("text\r\n.")?.code == 250 {
            self.heard.lock().unwrap().insert(number);
        }
        Ok(())
    }
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn sender(account: u64) -> String {
    format!("a{account}@shop{account}.example")
}

/// A number below `bound`.
fn random(bound: u64) -> u64 {
    let mut octets = [0; 8];
    getrandom::fill(&mut octets).unwrap();
    u64::from_le_bytes(octets) % bound
}

const KILLS: usize = 100;
const CLIENTS: usize = 24;
const ACCOUNTS: u64 = 40;
const LIMIT: u32 = 4;
