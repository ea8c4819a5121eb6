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
            scope.spawn(|| load.run(Pace::Brisk));
        }
        for _ in 0..HOLDERS {
            scope.spawn(|| load.run(Pace::Holding));
        }
        // Ends the load also if this thread stops at an assertion.
        let _ended = EndOnDrop(&load.ended);
        for kill in 0..KILLS {
            thread::sleep(life(kill));
            gate.kill();
            gate.start();
        }
    });
    assert!(load.held.load(Ordering::Relaxed) > 0, "nobody who held DATA open ever heard 250");
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
    /// How many of them were held open for almost the whole window.
    held: AtomicU64,
    ended: AtomicBool,
}

/// How a client sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// With short pauses, for any account.
    Brisk,
    /// With DATA open for almost the whole window, for few accounts, so that these fill up with open charges.
    Holding,
}

impl Pace {
    fn account(self) -> u64 {
        random(if self == Self::Brisk { ACCOUNTS } else { ACCOUNTS_HELD })
    }

    fn hold(self) -> Duration {
        match self {
            Self::Brisk => Duration::from_millis(random(4).saturating_sub(2) * random(150)),
            Self::Holding => Duration::from_millis(4_900),
        }
    }
}

impl Load {
    fn new(server: SocketAddr) -> Self {
        let (number, heard, held, ended) = Default::default();
        Self { server, number, heard, held, ended }
    }

    fn run(&self, pace: Pace) {
        while !self.ended.load(Ordering::Relaxed) {
            // The connection broke, because the gate was killed: the next one.
            let _ = self.converse(pace);
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn converse(&self, pace: Pace) -> io::Result<()> {
        let mut client = Client::try_connect(self.server, b"")?;
        client.try_say("EHLO client.example")?;
        while !self.ended.load(Ordering::Relaxed) {
            client.try_say(&format!("MAIL FROM:<{}>", sender(pace.account())))?;
            if client.try_say("RCPT TO:<someone@remote.example>")?.code == 250 {
                self.finish(&mut client, pace)?;
            } else {
                client.try_say("RSET")?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn finish(&self, client: &mut Client, pace: Pace) -> io::Result<()> {
        let number = self.number.fetch_add(1, Ordering::Relaxed).to_string();
        client.try_say("DATA")?;
        client.try_write(format!("X-Number: {number}\r\n\r\n").as_bytes())?;
        // The very thing under test: a client that takes its time.
        thread::sleep(pace.hold());
        if client.try_say("text\r\n.")?.code == 250 {
            self.heard.lock().unwrap().insert(number);
            self.held.fetch_add(u64::from(pace == Pace::Holding), Ordering::Relaxed);
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

/// How long the gate lives before this kill.
fn life(kill: usize) -> Duration {
    let life = match kill % KILLS_ROUND {
        // Whatever earlier lives left open has aged when half of this is over, and what is held from then on ends in it.
        0 => 12_000,
        // Longer than the window, and than what is held for most of it.
        round if round % 10 == 0 => 5_200 + random(600),
        // Too short to send much.
        _ => 20 + random(500),
    };
    Duration::from_millis(life)
}

/// A number below `bound`.
fn random(bound: u64) -> u64 {
    let mut octets = [0; 8];
    getrandom::fill(&mut octets).unwrap();
    u64::from_le_bytes(octets) % bound
}

const KILLS: usize = 100;
const KILLS_ROUND: usize = 50;
const CLIENTS: usize = 24;
const HOLDERS: usize = 8;
const ACCOUNTS: u64 = 40;
const ACCOUNTS_HELD: u64 = 4;
const LIMIT: u32 = 4;
