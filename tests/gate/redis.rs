//! Several gates that share one Redis have one limit together, whatever happens to them and to it.

use crate::support::{
    Client, Gate, Settings, Sink, at_once, gate,
    ports::free_port,
    postfix::{Certificate, certificate},
    redis::Redis,
    sentinel::{Sentinel, Watched},
    sink, wait_for,
};
use rustix::process::Signal;
use std::{
    collections::HashSet,
    env, fs, io,
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};
use tempfile::TempDir;
use tollgate::{
    clock::Clock,
    event::Events,
    store::{
        ledger::Ledger,
        redis::{self, RedisLedger},
    },
    types::{Secret, Timestamp},
};

#[test]
fn three_gates_pass_exactly_the_limit_together() {
    let (sink, redis) = (sink().run(), Redis::start());
    let gates = NODES.map(|_| node(&redis, &sink).run());
    let passed = at_once(300, |n| {
        let mut client = gates[n % gates.len()].client();
        client.expect(250, "MAIL FROM:<a@shop.example>");
        let reply = client.say("RCPT TO:<someone@remote.example>");
        match reply.code {
            250 => client.text("Subject: one more\n\ntext\n").code == 250,
            code => {
                assert_eq!(code, 450, "{reply}");
                false
            }
        }
    });
    assert_eq!((passed.iter().filter(|&&passed| passed).count(), sink.count()), (50, 50));
    // Every gate says what all of them sent, and gives back what was not sent.
    for gate in &gates {
        let used = gate.json(&["usage", "a@shop.example"]).to_string();
        assert!(used.contains("\"sent\":50") && used.contains("\"open\":0"), "{used}");
    }
}

#[test]
fn one_message_waits_for_redis_twice_and_a_hundred_recipients_three_times() {
    let (sink, redis) = (sink().refuse("no@remote.example", "550 5.1.1 who").run(), Redis::start());
    let gate = gate().limit(1_000, "1h").next_hop(&sink).set("store.redis", redis.url());
    let gate = gate.user("a@shop.example", "secret").run();
    let mut client = gate.client_offered("PIPELINING");
    client.expect(235, "AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==");
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], "first\n").code, 250);
    let calls = |client: &mut Client, recipients: &[String]| {
        let rcpt = |name: &String| format!("RCPT TO:<{name}@remote.example>\r\n");
        let group: String = recipients.iter().map(rcpt).collect();
        asked(&redis, || {
            client.write(format!("MAIL FROM:<a@shop.example>\r\n{group}").as_bytes());
            for _ in 0..=recipients.len() {
                client.reply();
            }
            assert_eq!(client.text("Subject: x\n\ntext\n").code, 250);
        })
    };
    assert_eq!(calls(&mut client, &["b".into()]), 2);
    let mut many: Vec<String> = (0..99).map(|n| format!("b{n}")).collect();
    assert_eq!(calls(&mut client, &many), 2);
    many.push("no".into());
    assert_eq!(calls(&mut client, &many), 3);
}

/// What Redis is asked of a message, as it hears it: whatever is not about records, events or leases, which nobody's mail waits for.
fn asked(redis: &Redis, of: impl FnOnce()) -> usize {
    let mut monitor = TcpStream::connect(redis.address).unwrap();
    monitor.write_all(b"MONITOR\r\n").unwrap();
    let mut lines = BufReader::new(monitor).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "+OK");
    of();
    redis.ask(&["ECHO", "that is all"]);
    let heard = lines.take_while(|line| !line.contains("that is all"));
    let is_of_mail = |line: &String| {
        let is_of_script = line.contains(" lua] ");
        // The first key of a script: +1700000000.000000 [0 127.0.0.1:4] "EVALSHA" "<sha>" "2" "<key>" …
        let key = line.split('"').filter(|part| !part.trim().is_empty()).nth(4).unwrap_or("");
        line.to_lowercase().contains("\"evalsha\"")
            && !is_of_script
            && !key.contains("{records}")
            && !key.contains("{events}")
    };
    heard.filter(is_of_mail).count()
}

#[test]
fn while_redis_is_lost_clients_hear_451_and_afterwards_mail_passes() {
    let sink = sink().run();
    let mut redis = Redis::durable();
    let gate = node(&redis, &sink).set("store.redis_timeout", "300ms").run();
    let send = || {
        let mut client = gate.client();
        let mail = client.say("MAIL FROM:<a@shop.example>");
        if mail.code == 250 { client.say("RCPT TO:<b@remote.example>") } else { mail }
    };
    assert_eq!(gate.client().send("a@shop.example", &["b@remote.example"], "one\n").code, 250);
    let frozen = redis.freeze();
    let reply = send();
    assert!(reply.code == 451 && reply.text().starts_with("4.3.0"), "{reply}");
    gate.logged("store-failed", |line| line["detail"].to_string().contains("Redis"));
    assert_eq!(gate.http("/health/ready").0, 503);
    drop(frozen);
    wait_for("mail to pass again", || (send().code == 250).then_some(()));
    gate.logged("store-recovered", |_| true);
    redis.kill();
    assert_eq!(send().code, 451);
    redis.start_again();
    wait_for("mail to pass again", || (send().code == 250).then_some(()));
    wait_for("the gate to be ready", || (gate.http("/health/ready").0 == 200).then_some(()));
}

#[test]
fn a_gate_reaches_redis_over_tls_as_a_user_with_a_password() {
    let (encrypted, sink) = (Encrypted::start(), sink().run());
    let url = format!("rediss://gate@localhost:{}", encrypted.port);
    let gate = encrypted.gate(&sink).set("store.redis", url.as_str()).run();
    assert_eq!(gate.client().send_until_refused("a@shop.example", 9).0, 2);
    let keys = encrypted.redis.ask(&["KEYS", "*"]);
    let is_ours = |key: &str| key.starts_with("fleet:1:{") || key == "fleet:form";
    assert!(keys.lines().all(is_ours), "{keys}");
    assert!(keys.contains("fleet:1:{shop.example}account/r/a@shop.example"), "{keys}");
    // Another authority is not believed, and another password opens nothing.
    let place: redis::Place = url.parse().unwrap();
    let why = |change: &dyn Fn(&mut redis::Settings)| {
        let mut settings = encrypted.settings(place.clone());
        change(&mut settings);
        why(settings)
    };
    assert_eq!(why(&|_| {}), "true");
    assert!(fs::read_to_string("docs/redis.md").unwrap().contains(COMMANDS));
    let other = certificate(encrypted.folder.path(), "other").authority;
    assert!(why(&|settings| settings.tls_ca = Some(other.clone())).contains("certificate"));
    let guessed = why(&|settings| settings.password = Some(Secret::new(*b"guess")));
    assert!(guessed.to_lowercase().contains("password"), "{guessed}");
    let others = why(&|settings| settings.prefix = "others".to_owned());
    assert!(others.to_lowercase().contains("no permission"), "{others}");
}

#[test]
fn a_gate_reaches_sentinels_over_tls_as_a_user_with_a_password() {
    let (encrypted, sink) = (Encrypted::start(), sink().run());
    let Encrypted { folder, files, port, .. } = &encrypted;
    let tls = free_port().port();
    let user =
        "user default off\nuser gate on >guard resetkeys -@all +sentinel|get-master-addr-by-name";
    let sentinel = Sentinel::start(&format!(
        "tls-port {tls}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n\
         tls-replication yes\nsentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n\
         sentinel monitor fleet localhost {port} 1\n{user}\n",
        files.certificate.display(),
        files.key.display(),
        files.authority.display(),
    ));
    let password = folder.path().join("guard");
    fs::write(&password, "guard\n").unwrap();
    let place = format!("rediss://gate@localhost:{tls}");
    let gate = encrypted
        .gate(&sink)
        .set("store.redis", "rediss://gate@nowhere.example")
        .set("store.redis_sentinels", vec![place.clone()])
        .set("store.redis_sentinel_password_file", password.to_string_lossy().into_owned())
        .set("store.redis_master", "fleet")
        .run();
    assert_eq!(gate.client().send_until_refused("a@shop.example", 9).0, 2);
    // Another password opens nothing, and it is said at which of them.
    let mut settings = encrypted.settings("rediss://gate@nowhere.example".parse().unwrap());
    let mut sentinels = redis::Sentinels {
        places: vec![place.parse().unwrap()],
        password: Some(Secret::new(*b"guard")),
        master: "fleet".to_owned(),
    };
    settings.sentinels = Some(sentinels.clone());
    assert_eq!(why(settings.clone()), "true");
    sentinels.password = Some(Secret::new(*b"guess"));
    settings.sentinels = Some(sentinels);
    let guessed = why(settings);
    assert!(guessed.contains(&place) && guessed.contains("Password"), "{guessed}");
    // Whoever is not encrypted, or nobody, learns nothing.
    assert!(sentinel.asked(&["SENTINEL", "MASTERS"]).contains("NOAUTH"));
}

/// A Redis that is reached over TLS and by a user with a password.
struct Encrypted {
    folder: TempDir,
    files: Certificate,
    redis: Redis,
    /// Where it speaks TLS.
    port: u16,
}

impl Encrypted {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = certificate(folder.path(), "localhost");
        fs::write(folder.path().join("password"), "swordfish\n").unwrap();
        let port = free_port().port();
        let redis = Redis::start_with(&[
            "--tls-cert-file",
            &text_of(&files.certificate),
            "--tls-key-file",
            &text_of(&files.key),
            "--tls-auth-clients",
            "no",
            "--tls-port",
            &port.to_string(),
        ]);
        let commands = COMMANDS.split_whitespace().collect::<Vec<_>>();
        let user = ["ACL", "SETUSER", "gate", "on", ">swordfish", "~fleet:*"];
        redis.ask(&[&user[..], &commands].concat());
        Self { folder, files, redis, port }
    }

    /// What a ledger needs to use it.
    fn settings(&self, place: redis::Place) -> redis::Settings {
        redis::Settings {
            place,
            password: Some(Secret::new(*b"swordfish")),
            tls_ca: Some(self.files.authority.clone()),
            prefix: "fleet".to_owned(),
            timeout: Duration::from_secs(10),
            history: Duration::from_secs(3_600),
            unknown_margin: Duration::ZERO,
            open_time_max: Duration::from_secs(600),
            time: redis::Time::Server,
            shares: None,
            sentinels: None,
            cluster: None,
            stream: redis::StreamSettings {
                node: "node".to_owned(),
                octets_max: 1 << 28,
                journal_octets_max: 1 << 28,
                age_max: Duration::from_secs(3_600),
            },
        }
    }

    /// A gate that may use it, and does not know where it is.
    fn gate(&self, sink: &Sink) -> Settings {
        gate()
            .limit(2, "1h")
            .next_hop(sink)
            .set("store.redis_tls_ca", text_of(&self.files.authority))
            .set("store.redis_prefix", "fleet")
            .set("store.redis_password_file", text_of(&self.folder.path().join("password")))
    }
}

/// Whether a ledger knows an account, or why it cannot say.
fn why(settings: redis::Settings) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let clock = Clock::start(Timestamp::EPOCH);
        let ledger = RedisLedger::start(settings, clock, Events::default()).unwrap();
        let known = ledger.knows(&"account/r/a@shop.example".parse().unwrap()).await;
        known.map_or_else(|error| error.to_string(), |known| known.to_string())
    })
}

fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `REDIS_SEEDS=200 cargo test --test gate whatever_is_killed` plays more of them, from `REDIS_FROM` on.
#[test]
fn whatever_is_killed_or_stopped_three_gates_never_pass_more_than_the_limit() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let from = number("REDIS_FROM").unwrap_or(1);
    let sink = sink().final_delay(Duration::from_millis(5)).run();
    let mut fleet = Fleet::start(&sink);
    for seed in from..from + number("REDIS_SEEDS").unwrap_or(SEEDS) {
        fleet.play(seed, &sink);
    }
}

/// Three gates and their Redis.
struct Fleet {
    redis: Redis,
    gates: Vec<Gate>,
}

impl Fleet {
    fn start(sink: &Sink) -> Self {
        let redis = Redis::durable();
        let run = |_| node(&redis, sink).set("store.redis_timeout", "300ms").run();
        let gates = NODES.iter().map(run).collect();
        Self { redis, gates }
    }

    /// Lets many clients send for one account while things are killed, until it has used its limit up or the faults are over.
    fn play(&mut self, seed: u64, sink: &Sink) {
        let load = Load::new(format!("a{seed}@shop{seed}.example"));
        let servers: Vec<_> = self.gates.iter().map(Gate::smarthost).collect();
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (load, server) = (&load, servers[client % servers.len()]);
                scope.spawn(move || load.run(server));
            }
            let _ended = EndOnDrop(&load.ended);
            let mut chance = Chance(seed);
            for _ in 0..FAULTS {
                thread::sleep(Duration::from_millis(chance.below(120)));
                self.break_something(&mut chance);
            }
            // With everything up again, somebody passes or hears of the limit.
            let before = load.answers.load(Ordering::Relaxed);
            wait_for("answers", || {
                (load.answers.load(Ordering::Relaxed) > before + 20).then_some(())
            });
        });
        let taken = sink.taken();
        let own: Vec<_> = taken.iter().filter(|taken| taken.mail.contains(&load.sender)).collect();
        assert!(own.len() <= LIMIT as usize, "seed {seed}: {} of {LIMIT} passed", own.len());
        assert!(
            own.len() > LIMIT as usize / 5,
            "seed {seed}: {} passed, too few to show anything",
            own.len()
        );
        let arrived: HashSet<String> =
            own.iter().flat_map(|taken| taken.fields("X-Number")).collect();
        let heard = load.heard.into_inner().unwrap();
        let missing: Vec<_> = heard.difference(&arrived).collect();
        assert!(missing.is_empty(), "seed {seed}: 250 was said for {missing:?}, which never came");
    }

    fn break_something(&mut self, chance: &mut Chance) {
        let pause = Duration::from_millis(chance.below(600));
        let which = usize::try_from(chance.below(3)).unwrap();
        match chance.below(4) {
            0 => {
                self.redis.kill();
                thread::sleep(pause);
                self.redis.start_again();
            }
            1 => {
                let _frozen = self.redis.freeze();
                thread::sleep(pause);
            }
            2 => {
                self.gates[which].kill();
                thread::sleep(pause);
                self.gates[which].start();
            }
            _ => {
                self.gates[which].signal(Signal::STOP);
                thread::sleep(pause);
                self.gates[which].signal(Signal::CONT);
            }
        }
    }
}

/// Clients that send for one account all the time, whatever happens.
pub(crate) struct Load {
    sender: String,
    number: AtomicU64,
    pub(crate) answers: AtomicU64,
    /// The numbers of the messages for which 250 was heard.
    heard: Mutex<HashSet<String>>,
    pub(crate) ended: AtomicBool,
}

impl Load {
    pub(crate) fn new(sender: String) -> Self {
        let (number, answers, heard, ended) = Default::default();
        Self { sender, number, answers, heard, ended }
    }

    pub(crate) fn run(&self, server: SocketAddr) {
        while !self.ended.load(Ordering::Relaxed) {
            // The connection broke, because its gate was killed: the next one.
            let _ = self.converse(server);
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn converse(&self, server: SocketAddr) -> io::Result<()> {
        let mut client = Client::try_connect(server, b"")?;
        client.try_say("EHLO client.example")?;
        while !self.ended.load(Ordering::Relaxed) {
            self.send(&mut client)?;
            self.answers.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(15));
        }
        Ok(())
    }

    fn send(&self, client: &mut Client) -> io::Result<()> {
        let sender = &self.sender;
        if client.try_say(&format!("MAIL FROM:<{sender}>"))?.code != 250 {
            return Ok(());
        }
        if client.try_say("RCPT TO:<someone@remote.example>")?.code != 250 {
            return client.try_say("RSET").map(|_| ());
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed).to_string();
        client.try_say("DATA")?;
        if client.try_say(&format!("X-Number: {number}\r\n\r\ntext\r\n."))?.code == 250 {
            self.heard.lock().unwrap().insert(number);
        }
        Ok(())
    }
}

pub(crate) struct EndOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Chance from a seed (SplitMix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn node(redis: &Redis, sink: &Sink) -> Settings {
    gate().limit(LIMIT, "1h").next_hop(sink).set("store.redis", redis.url())
}

/// What docs/redis.md says that a user needs.
pub(crate) const COMMANDS: &str = "+evalsha +script|load +time +get +multi +exec +scan +getrange +set +setrange +pexpire +del +select +exists +incr +unlink +hget +hset +hdel +hscan +xadd +xrange +xrevrange +xread +rename +xdel";
const NODES: [(); 3] = [(); 3];
const LIMIT: u32 = 50;
const CLIENTS: usize = 24;
const FAULTS: usize = 6;
const SEEDS: u64 = 20;

/// Gates that go on with a third of the limit each.
fn sharing(redis: &Redis, sink: &Sink, name: &str) -> Settings {
    let settings = gate().limit(30, "1h").next_hop(sink).set("store.redis", redis.url());
    let settings = settings.set("store.on_loss", "share").set("store.redis_nodes", 3);
    settings.set("store.redis_node", name).set("store.redis_timeout", "300ms")
}

pub(crate) fn pass(gate: &Gate, most: usize) -> usize {
    (0..most).filter(|_| one(gate) == 250).count()
}

pub(crate) fn one(gate: &Gate) -> u16 {
    let mut client = gate.client();
    let mail = client.say("MAIL FROM:<a@shop.example>");
    if mail.code != 250 {
        return mail.code;
    }
    let reply = client.say("RCPT TO:<b@remote.example>");
    if reply.code == 250 { client.text("Subject: x\n\ntext\n").code } else { reply.code }
}

/// Waits until a gate asks Redis again, and says what it knows of the account.
pub(crate) fn is_back(gate: &Gate) {
    wait_for("the gate to be back", || {
        gate.log_text().contains("and it decides again").then_some(())
    });
}

#[test]
fn gates_that_lost_redis_pass_no_more_than_the_limit_together_and_charge_it_when_it_is_back() {
    let (sink, mut redis) = (sink().run(), Redis::durable());
    let mut gates = ["n1", "n2", "n3"].map(|name| sharing(&redis, &sink, name).run());
    for gate in &gates {
        assert_eq!(gate.client().send("z@other.example", &["b@remote.example"], "x\n").code, 250);
    }
    let before = sink.count();
    redis.kill();
    let passed: usize = thread::scope(|scope| {
        let all = gates.each_ref().map(|gate| scope.spawn(move || pass(gate, 20)));
        all.map(|one| one.join().unwrap()).into_iter().sum()
    });
    assert_eq!((passed, sink.count() - before), (30, 30), "each a third of 30");
    assert_eq!(gates[0].http("/health/ready").0, 200, "mail flows");
    // What was sent alone survives a crash, and nobody gets another share by it.
    gates[1].kill();
    gates[1].try_start().unwrap();
    assert_eq!((one(&gates[1]), one(&gates[0])), (450, 450));
    redis.start_again();
    gates.iter().for_each(is_back);
    // Now it is all charged in Redis: at every gate the limit is used up, and not by a share.
    for gate in &gates {
        assert_eq!(one(gate), 450);
        let used = gate.json(&["usage", "a@shop.example"]).to_string();
        assert!(used.contains("\"sent\":30") && used.contains("\"open\":0"), "{used}");
    }
    assert_eq!(sink.count() - before, 30);
    assert_eq!(gates[2].client().send("y@other.example", &["b@remote.example"], "x\n").code, 250);
}

#[test]
fn what_a_gate_sent_before_redis_was_lost_counts_against_its_share() {
    let (sink, mut redis) = (sink().run(), Redis::durable());
    let gates = ["n1", "n2", "n3"].map(|name| sharing(&redis, &sink, name).run());
    assert_eq!((pass(&gates[0], 15), pass(&gates[1], 4)), (15, 4));
    redis.kill();
    let alone = gates.each_ref().map(|gate| pass(gate, 12));
    // Of its third the first has sent more already, the second 4. Together less than twice the limit, here 35 of 30.
    assert_eq!(alone, [0, 6, 10]);
    redis.start_again();
    gates.iter().for_each(is_back);
    assert_eq!(gates.each_ref().map(one), [450; 3]);
    assert_eq!(sink.count(), 35);
}

#[test]
fn a_replica_that_sentinel_makes_the_master_goes_on_with_what_it_has() {
    let sink = sink().run();
    let mut watched = Watched::start();
    let node = || {
        let settings = gate().limit(20, "1h").next_hop(&sink).set("store.redis", "redis://fleet");
        let settings =
            settings.set("store.redis_sentinels", vec![watched.sentinel.address.to_string()]);
        settings.set("store.redis_master", "fleet").set("store.redis_timeout", "500ms").run()
    };
    let gates = [node(), node()];
    assert_eq!((pass(&gates[0], 6), pass(&gates[1], 6)), (6, 6));
    // All of it has reached the replica before the master is gone, so nothing may be lost.
    wait_for("the replica to have it", || {
        let offset = |redis: &Redis, key: &str| {
            let state = redis.ask(&["INFO", "replication"]);
            let line = state.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
            line.map(|line| line.trim().to_owned())
        };
        let (had, has) = (
            offset(&watched.master, "master_repl_offset:"),
            offset(&watched.replica, "slave_repl_offset:"),
        );
        (had.is_some() && had == has).then_some(())
    });
    watched.master.kill();
    for gate in &gates {
        wait_for("the gate to find the new master", || (one(gate) == 250).then_some(()));
    }
    let passed = 14 + pass(&gates[0], 20) + pass(&gates[1], 20);
    assert_eq!((passed, sink.count()), (20, 20));
    assert_eq!(watched.replica.ask(&["ROLE"]).lines().next(), Some("master"));
}

/// The file that administrators copy, with the addresses of this machine.
#[test]
fn behind_haproxy_three_gates_see_the_clients_and_one_of_them_may_die() {
    let (sink, redis) = (sink().run(), Redis::start());
    let mut gates = ["n1", "n2", "n3"].map(|name| {
        let settings = gate().limit(30, "1h").next_hop(&sink).set("store.redis", redis.url());
        settings.set("store.redis_node", name).trust("proxy = true\nrelay = true").run()
    });
    let front = free_port();
    let mut file = fs::read_to_string("deploy/cluster/haproxy.cfg").unwrap();
    // Of the submission only the smarthost's lines are used here.
    let (submission, end) = (
        file.find("frontend submission").unwrap(),
        file.find("backend smarthost\n    server").unwrap(),
    );
    file.replace_range(submission..end, "");
    let end = file.find("backend submission").unwrap();
    file.truncate(end);
    file = file
        .replace("bind :25", &format!("bind {front}"))
        .replace("check port 8025", "check")
        .replace("maxconn 20000", "maxconn 2000");
    for (n, gate) in gates.iter().enumerate() {
        let server = format!("10.0.0.1{}:2525", n + 1);
        assert!(file.contains(&server), "{file}");
        let there = format!("{} port {}", gate.proxied(), gate.http_address().port());
        file = file.replace(&server, &there);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("haproxy.cfg");
    fs::write(&path, &file).unwrap();
    let _balancer = Ended(Command::new("/usr/sbin/haproxy").arg("-f").arg(&path).spawn().unwrap());
    let here: IpAddr = "127.0.0.9".parse().unwrap();
    let send = || {
        let Ok(mut client) = Client::try_connect_from(here, front, b"") else { return 0 };
        if client.say("EHLO client.example").code != 250 {
            return 0;
        }
        let mail = client.say("MAIL FROM:<a@shop.example>");
        if mail.code != 250 {
            return mail.code;
        }
        let reply = client.say("RCPT TO:<b@remote.example>");
        if reply.code == 250 { client.text("Subject: x\n\ntext\n").code } else { reply.code }
    };
    wait_for("mail to pass", || (send() == 250).then_some(()));
    for _ in 0..9 {
        assert_eq!(send(), 250, "{file}");
    }
    let seen = |gate: &Gate| {
        let log = gate.log();
        let of =
            |line: &&serde_json::Value| line["event"] == "message" && line["client"] == "127.0.0.9";
        log.iter().filter(of).count()
    };
    wait_for("all gates to have had some, by the client's own address", || {
        let counts = gates.each_ref().map(seen);
        (counts.iter().all(|&count| count > 0) && counts.iter().sum::<usize>() == 10).then_some(())
    });
    gates[1].kill();
    wait_for("the others to be left", || (send() == 250 && send() == 250).then_some(()));
    let more = (0..40).filter(|_| send() == 250).count();
    assert_eq!(sink.count(), 30, "{more}");
}

/// Ends a program with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
