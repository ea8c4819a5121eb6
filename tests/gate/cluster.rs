//! Several gates that share a Redis Cluster have one limit together, whatever becomes of its masters and slots.

use crate::{
    redis::{COMMANDS, Chance, EndOnDrop, Load, is_back, one, pass},
    stream::all_count,
    support::{
        Client, Gate, Settings, Sink, at_once, cluster::Cluster, gate, redis::Redis, sink, wait_for,
    },
};
use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

const ACCOUNT: &str = "a@shop.example";
const WINDOW: &str = "tollgate:1:{shop.example}account/r/a@shop.example";
const LIMIT: usize = 50;

/// What is charged: account, tenant, the client's address, and the server that says whose mail it is. They are in three slots.
fn node(cluster: &Cluster, sink: &Sink) -> Settings {
    let settings = gate().limit(50, "1h").scoped_limit("client-ip", "recipients", 60, "1h");
    let settings = settings.trust("relay = true\nxforward = true").next_hop(sink);
    // Of the host nothing is wanted.
    let settings = settings.set("store.redis", "redis://nobody.invalid");
    settings.set("store.redis_cluster", cluster.places())
}

fn three(cluster: &Cluster, sink: &Sink) -> [Gate; 3] {
    [(); 3].map(|()| node(cluster, sink).run())
}

fn send(gate: &Gate, account: &str) -> u16 {
    send_by(&mut gate.client(), account)
}

fn send_by(client: &mut Client, account: &str) -> u16 {
    send_from(client, account, "192.0.2.7")
}

fn send_from(client: &mut Client, account: &str, address: &str) -> u16 {
    client.expect(250, &format!("XFORWARD ADDR={address}"));
    let mail = client.say(&format!("MAIL FROM:<{account}>"));
    if mail.code != 250 {
        return mail.code;
    }
    let reply = client.say("RCPT TO:<someone@remote.example>");
    if reply.code == 250 { client.text("Subject: x\n\ntext\n").code } else { reply.code }
}

/// Sends until it passes, or so many have passed that the limit is used up.
fn send_until_it_passes(gate: &Gate, sink: &Sink) -> bool {
    wait_for("a message to pass, or all to have", || match send(gate, ACCOUNT) {
        250 => Some(true),
        450 | 451 if sink.count() >= LIMIT => Some(false),
        450 | 451 => None,
        code => panic!("{code}"),
    })
}

fn all_say(gates: &[Gate], what: &str) {
    for gate in gates {
        let used = gate.json(&["usage", ACCOUNT]).to_string();
        assert!(used.contains(what) && used.contains("\"open\":0"), "{used}");
    }
}

#[test]
fn three_gates_pass_exactly_the_limit_together_on_a_cluster() {
    let (sink, cluster) = (sink().run(), Cluster::start());
    let gates = three(&cluster, &sink);
    let passed = at_once(300, |n| match send(&gates[n % gates.len()], ACCOUNT) {
        250 => true,
        code => {
            assert_eq!(code, 450);
            false
        }
    });
    assert_eq!((passed.iter().filter(|&&passed| passed).count(), sink.count()), (LIMIT, LIMIT));
    all_say(&gates, "\"sent\":50");
    // What is charged is in several slots, and nothing of what was refused is left.
    let keys: Vec<String> =
        cluster.masters.iter().map(|master| master.ask(&["KEYS", "*"])).collect();
    assert!(keys.iter().filter(|keys| keys.contains("/r/")).count() > 1, "{keys:?}");
    let more = (0..20).filter(|_| send(&gates[0], "b@other.example") == 250).count();
    assert_eq!(more, 10, "of the client's 60");
}

#[test]
fn while_slots_move_between_masters_the_limit_holds_and_is_reached() {
    let (sink, cluster) = (sink().final_delay(Duration::from_millis(20)).run(), Cluster::start());
    let gates = three(&cluster, &sink);
    let told = |error: &str| {
        let count = |master: &Redis| -> u64 {
            let stats = master.ask(&["INFO", "errorstats"]);
            let line = stats.lines().find(|line| line.starts_with(&format!("errorstat_{error}:")));
            line.map_or(0, |line| line.trim().rsplit_once('=').unwrap().1.parse().unwrap())
        };
        cluster.masters.iter().map(count).sum::<u64>()
    };
    let (ended, moves) = (AtomicBool::new(false), AtomicUsize::new(0));
    let passed = thread::scope(|scope| {
        let _ended = EndOnDrop(&ended);
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                for tag in ["shop.example", "192.0.2.7", "records", "events"] {
                    let key = &format!("tollgate:1:{{{tag}}}");
                    let to = (cluster.owner_of(key) + 1) % 3;
                    let under_way = cluster.begin_move(key, to);
                    // Some of the keys are here and some are there.
                    under_way.take(1);
                    let before = told("TRYAGAIN") + told("ASK");
                    moves.fetch_add(1, Relaxed);
                    // Until somebody met it so, or there is nobody.
                    for _ in 0..20 {
                        thread::sleep(Duration::from_millis(20));
                        if told("TRYAGAIN") + told("ASK") > before {
                            break;
                        }
                    }
                    under_way.end();
                }
            }
        });
        // Some messages for each slot that is under way, so that no machine is too fast or too slow.
        let is_due = || (sink.count() < 5 * moves.load(Relaxed)).then_some(());
        let passed = at_once(9, |n| {
            let mut passed = 0;
            loop {
                wait_for("another move", is_due);
                if !send_until_it_passes(&gates[n % gates.len()], &sink) {
                    return passed;
                }
                passed += 1;
            }
        });
        ended.store(true, Relaxed);
        passed.iter().sum::<usize>()
    });
    assert_eq!((passed, sink.count()), (LIMIT, LIMIT));
    all_say(&gates, "\"sent\":50");
    // What happened is known everywhere, though the stream was under way too.
    all_count(&gates.each_ref(), (50, 1));
    let [moved, again] = ["MOVED", "TRYAGAIN"].map(told);
    assert!(moved > 3 && again > 0, "{moves:?} moves, {moved} moved, {again} again");
}

/// `REDIS_SEEDS=50 cargo test --test gate whichever_master` plays more of them, from `REDIS_FROM` on.
#[test]
fn whichever_master_is_killed_or_stopped_three_gates_never_pass_more_than_the_limit() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let sink = sink().final_delay(Duration::from_millis(5)).run();
    let mut cluster = Cluster::durable();
    let run = |_| {
        let settings = node(&cluster, &sink).limit_instead(50, "1h");
        settings.set("store.redis_timeout", "300ms").run()
    };
    let gates: Vec<Gate> = (0..3).map(run).collect();
    let from = number("REDIS_FROM").unwrap_or(1);
    for seed in from..from + number("REDIS_SEEDS").unwrap_or(2) {
        let sender = format!("a{seed}@shop{seed}.example");
        let load = Load::new(sender.clone());
        let owner = cluster.owner_of(&format!("{{shop{seed}.example}}"));
        thread::scope(|scope| {
            for client in 0..12 {
                let (load, server) = (&load, gates[client % gates.len()].smarthost());
                scope.spawn(move || load.run(server));
            }
            let _ended = EndOnDrop(&load.ended);
            let mut chance = Chance(seed);
            for n in [owner, 0, 1, 2] {
                thread::sleep(Duration::from_millis(chance.below(150)));
                let pause = Duration::from_millis(chance.below(600));
                if chance.below(3) == 0 {
                    let _frozen = cluster.masters[n].freeze();
                    thread::sleep(pause);
                } else {
                    cluster.masters[n].kill();
                    thread::sleep(pause);
                    cluster.masters[n].start_again();
                }
            }
            cluster.is_agreed();
            let before = load.answers.load(Relaxed);
            wait_for("answers", || (load.answers.load(Relaxed) > before + 20).then_some(()));
        });
        let arrived = sink.taken().iter().filter(|taken| taken.mail.contains(&sender)).count();
        assert!(arrived <= LIMIT, "seed {seed}: {arrived} of {LIMIT} passed");
        assert!(arrived > LIMIT / 5, "seed {seed}: {arrived} passed, too few to show anything");
    }
    let is_ready = |gate: &Gate| gate.http("/health/ready").0 == 200;
    wait_for("the gates to be ready", || gates.iter().all(is_ready).then_some(()));
}

#[test]
fn while_one_master_is_away_mail_of_accounts_on_others_flows() {
    let (sink, mut cluster) = (sink().run(), Cluster::durable());
    let gate = node(&cluster, &sink).set("store.redis_timeout", "300ms").run();
    assert_eq!(send(&gate, ACCOUNT), 250);
    // Records, the client and the server that hands mail in are on others.
    let keys = cluster.masters.iter().map(|master| master.ask(&["KEYS", "*}peer/*"]));
    let peer = keys.into_iter().find(|keys| !keys.is_empty()).unwrap();
    let [records, peer] = ["tollgate:1:{records}head", &peer].map(|key| cluster.owner_of(key));
    let away = (0..3).find(|master| ![records, peer].contains(master)).unwrap();
    let on = |master: usize, name: fn(usize) -> String| {
        let is_there = |name: &String| cluster.owner_of(&format!("{{{name}}}")) == master;
        (1..).map(name).find(is_there).unwrap()
    };
    let domain = |n| format!("shop{n}.example");
    let [lost, other] = [away, records].map(|master| format!("a@{}", on(master, domain)));
    let client = on(records, |n| format!("192.0.2.{n}"));
    let send = |gate: &Gate, account: &str| send_from(&mut gate.client(), account, &client);
    assert_eq!((send(&gate, &lost), send(&gate, &other)), (250, 250));
    cluster.masters[away].kill();
    assert_eq!((send(&gate, &lost), send(&gate, &other)), (451, 250));
    gate.logged("store-failed", |line| line["detail"].to_string().contains("Redis"));
    assert_eq!(gate.http("/health/ready").0, 200, "a part of the mail flows");
    assert_eq!((send(&gate, &lost), send(&gate, &other)), (451, 250));
    assert!(!gate.log_text().contains("store-recovered"));
    cluster.masters[away].start_again();
    wait_for("mail of all accounts to pass", || (send(&gate, &lost) == 250).then_some(()));
    gate.logged("store-recovered", |_| true);
    for master in &mut cluster.masters {
        master.kill();
    }
    assert_eq!(send(&gate, &other), 451);
    wait_for("the gate not to be ready", || (gate.http("/health/ready").0 == 503).then_some(()));
}

#[test]
fn the_replica_of_a_master_that_stands_still_goes_on_with_what_it_has() {
    let (sink, cluster) = (sink().run(), Cluster::replicated());
    let node = || {
        let settings = node(&cluster, &sink).limit_instead(20, "1h");
        settings.set("store.redis_timeout", "500ms").run()
    };
    let gates = [node(), node()];
    assert_eq!((pass(&gates[0], 6), pass(&gates[1], 6)), (6, 6));
    // All of it has reached the replicas, so nothing may be lost.
    cluster.is_replicated();
    let frozen = cluster.master_of(WINDOW).freeze();
    for gate in &gates {
        wait_for("the gate to find the new master", || (one(gate) == 250).then_some(()));
    }
    let passed = 14 + pass(&gates[0], 20) + pass(&gates[1], 20);
    assert_eq!((passed, sink.count()), (20, 20));
    // The old one comes back, as a replica, with what it had.
    drop(frozen);
    assert_eq!(gates.each_ref().map(one), [450; 2]);
    let is_ready = |gate: &Gate| gate.http("/health/ready").0 == 200;
    wait_for("the gates to be ready", || gates.iter().all(is_ready).then_some(()));
}

#[test]
fn gates_that_lost_a_master_go_on_with_shares_and_charge_them_when_it_is_back() {
    let (sink, mut cluster) = (sink().run(), Cluster::durable());
    let gates = ["n1", "n2", "n3"].map(|name| {
        let settings = node(&cluster, &sink).limit_instead(30, "1h").set("store.on_loss", "share");
        let settings = settings.set("store.redis_nodes", 3).set("store.redis_node", name);
        settings.set("store.redis_timeout", "300ms").run()
    });
    for gate in &gates {
        assert_eq!(gate.client().send("z@other.example", &["b@remote.example"], "x\n").code, 250);
    }
    let before = sink.count();
    let away = cluster.owner_of(WINDOW);
    cluster.masters[away].kill();
    let passed = at_once(3, |n| pass(&gates[n], 20));
    assert_eq!((passed, sink.count() - before), (vec![10; 3], 30), "each a third of 30");
    cluster.masters[away].start_again();
    gates.iter().for_each(is_back);
    for gate in &gates {
        assert_eq!(one(gate), 450);
    }
    all_say(&gates, "\"sent\":30");
    assert_eq!(sink.count() - before, 30);
}

#[test]
fn a_suspension_at_one_gate_refuses_the_next_message_at_another_on_a_cluster() {
    let (sink, cluster) = (sink().run(), Cluster::start());
    let [a, b, _] = three(&cluster, &sink);
    let resume = |gate: &Gate| {
        let command = ["account", "resume", ACCOUNT, "--reason", "clean", "--no-probation"];
        gate.tollgate(&command).well();
    };
    for _ in 0..3 {
        // It was admitted before, and its recipients come after the change.
        let mut waits = b.client();
        waits.expect(250, &format!("MAIL FROM:<{ACCOUNT}>"));
        a.tollgate(&["account", "suspend", ACCOUNT, "--reason", "spam wave"]).well();
        waits.expect(550, "RCPT TO:<someone@remote.example>");
        assert_eq!(send(&b, ACCOUNT), 550);
        resume(&b);
        assert_eq!((send(&a, ACCOUNT), send(&b, ACCOUNT)), (250, 250));
    }
    // A change of which nothing is told anywhere but in the last change's name.
    let mut waits = b.client();
    waits.expect(250, &format!("MAIL FROM:<{ACCOUNT}>"));
    cluster.master_of("tollgate:1:{records}head").ask(&["SET", "tollgate:1:{records}head", "99:7"]);
    waits.expect(250, "RCPT TO:<someone@remote.example>");
    assert_eq!(waits.text("Subject: x\n\ntext\n").code, 250);
    all_say(&[a, b], "\"sent\":7");
}

#[test]
fn one_message_waits_for_a_cluster_three_times() {
    let (sink, cluster) = (sink().run(), Cluster::start());
    // As a user who may do what docs/redis.md says.
    let commands = format!("{COMMANDS} +cluster|slots +asking");
    assert!(fs::read_to_string("docs/redis.md").unwrap().contains("+cluster|slots +asking"));
    for master in &cluster.masters {
        let user = ["ACL", "SETUSER", "gate", "on", ">swordfish", "~tollgate:*"];
        master.ask(&[&user[..], &commands.split_whitespace().collect::<Vec<_>>()].concat());
    }
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "swordfish\n").unwrap();
    let settings = node(&cluster, &sink).user("a@shop.example", "secret");
    let settings = settings.set("store.redis", "redis://gate@nobody.invalid");
    let gate = settings.set("store.redis_password_file", password.to_string_lossy().as_ref()).run();
    let mut client = gate.client_offered("PIPELINING");
    client.expect(235, "AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==");
    assert_eq!(send_by(&mut client, ACCOUNT), 250);
    let heard = heard(&cluster, || assert_eq!(send_by(&mut client, ACCOUNT), 250));
    // Account and tenant, then the client's address; at the end both at once. The last change is asked for beside the first.
    let of = |what: &str| heard.iter().filter(|line| line.contains(what)).count();
    let counts = (of("{shop.example}"), of("{192.0.2.7}"), of("{records}head"), heard.len());
    assert_eq!(counts, (2, 2, 1, 5), "{heard:#?}");
}

/// What a Cluster is asked of a message: whatever is not about records, events or leases, but for the name of the last change.
fn heard(cluster: &Cluster, of: impl FnOnce()) -> Vec<String> {
    let listen = |master: &Redis| {
        let mut monitor = TcpStream::connect(master.address).unwrap();
        monitor.write_all(b"MONITOR\r\n").unwrap();
        let mut lines = BufReader::new(monitor).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "+OK");
        lines
    };
    let lines: Vec<_> = cluster.masters.iter().map(listen).collect();
    of();
    for master in &cluster.masters {
        master.ask(&["ECHO", "that is all"]);
    }
    let heard = lines.into_iter().flat_map(|lines| {
        lines.take_while(|line| !line.contains("that is all")).collect::<Vec<_>>()
    });
    let is_of_mail = |line: &String| {
        let text = line.to_lowercase();
        let is_shared = text.contains("{records}") || text.contains("{events}");
        let is_call = text.contains("\"evalsha\"") && !is_shared;
        // Followers read it within a transaction, together with the changes.
        let is_head = text.contains("] \"get\" \"tollgate:1:{records}head\"");
        !text.contains(" lua] ") && (is_call || is_head)
    };
    heard.filter(is_of_mail).collect()
}
