//! A real Redis Cluster of three masters on loopback ports of its own.

use super::{ports::free_port, redis::Redis};
use std::{
    net::SocketAddr,
    process::{Command, Output},
    thread,
    time::Duration,
};

/// Three masters, each with a replica or without; they stop when it is dropped.
pub(crate) struct Cluster {
    pub(crate) masters: Vec<Redis>,
    pub(crate) replicas: Vec<Redis>,
}

impl Cluster {
    /// Starts one that forgets everything at its end.
    pub(crate) fn start() -> Self {
        Self::start_with(0, &["--appendonly", "no"])
    }

    /// Starts one in which every write is on the disk before it is answered.
    pub(crate) fn durable() -> Self {
        Self::start_with(0, &["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts one in which each master has a replica that takes over after a second or two.
    pub(crate) fn replicated() -> Self {
        Self::start_with(1, &["--appendonly", "no", "--cluster-node-timeout", "1000"])
    }

    fn start_with(replicas: usize, options: &[&str]) -> Self {
        let master = |_| {
            let bus = free_port().port().to_string();
            let own = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            // What one master has goes on while another is away.
            let lenient = ["--cluster-require-full-coverage", "no"];
            Redis::start_with(&[&own[..], &lenient, options].concat())
        };
        let masters = (0..3).map(master).collect();
        let cluster = Self { masters, replicas: (0..3 * replicas).map(master).collect() };
        let addresses: Vec<String> = cluster.all().map(|node| node.address.to_string()).collect();
        let places: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let replicas = replicas.to_string();
        let how = ["--cluster-replicas", &replicas, "--cluster-yes"];
        let made = cluster.manage(&[&["create"], &places[..], &how].concat());
        assert!(made.status.success(), "{made:?}");
        cluster.is_agreed();
        cluster
    }

    fn all(&self) -> impl Iterator<Item = &Redis> {
        self.masters.iter().chain(&self.replicas)
    }

    /// Where the masters listen, as the configuration has it.
    pub(crate) fn places(&self) -> Vec<String> {
        self.masters.iter().map(|master| master.address.to_string()).collect()
    }

    /// The number of the master that has the slot of a key.
    pub(crate) fn owner_of(&self, key: &str) -> usize {
        let slot: u16 = self.masters[0].ask(&["CLUSTER", "KEYSLOT", key]).parse().unwrap();
        let known = self.masters[0].ask(&["CLUSTER", "NODES"]);
        let has = |line: &&str| {
            line.split_whitespace().skip(8).any(|range| {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                from.parse::<u16>()
                    .is_ok_and(|from| (from..=to.parse().unwrap_or(from)).contains(&slot))
            })
        };
        let line = known.lines().find(has).unwrap();
        let port = |address: SocketAddr| format!(":{}@", address.port());
        let is_it = |master: &Redis| line.contains(&port(master.address));
        self.masters.iter().position(is_it).unwrap()
    }

    /// The master that has the slot of a key.
    pub(crate) fn master_of(&self, key: &str) -> &Redis {
        &self.masters[self.owner_of(key)]
    }

    /// Begins to move the slot of a key to another master, which has none of its keys then.
    pub(crate) fn begin_move(&self, key: &str, to: usize) -> Move<'_> {
        let from = self.owner_of(key);
        assert_ne!(from, to);
        let slot = self.masters[0].ask(&["CLUSTER", "KEYSLOT", key]);
        let id = |n: usize| self.masters[n].ask(&["CLUSTER", "MYID"]);
        self.masters[to].ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
        self.masters[from].ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
        Move { cluster: self, slot, from, to }
    }

    fn manage(&self, command: &[&str]) -> Output {
        Command::new("redis-cli").arg("--cluster").args(command).output().unwrap()
    }

    /// Waits until every node knows of every slot, and every replica follows.
    pub(crate) fn is_agreed(&self) {
        for node in self.all() {
            wait(|| {
                let known = node.ask(&["CLUSTER", "INFO"]);
                known.contains("cluster_state:ok") && known.contains("slots_ok:16384")
            });
        }
        for node in &self.replicas {
            wait(|| node.ask(&["INFO", "replication"]).contains("master_link_status:up"));
        }
    }

    /// Waits until replicas have everything that their masters have.
    pub(crate) fn is_replicated(&self) {
        for node in &self.masters {
            // How many replicas have all that was written before.
            wait(|| node.ask(&["INFO", "replication"]).contains("state=online"));
            let state = node.ask(&["INFO", "replication"]);
            let offset = state.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
            let offset: u64 = offset.unwrap().trim().parse().unwrap();
            wait(|| {
                let state = node.ask(&["INFO", "replication"]);
                let known = state.lines().find_map(|line| line.split_once(",offset="));
                let known = known.and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
                known.is_some_and(|known: u64| known >= offset)
            });
        }
    }
}

fn wait(is_so: impl Fn() -> bool) {
    for _ in 0..TRIES_MAX {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain for the Cluster");
}

/// A slot on its way.
pub(crate) struct Move<'a> {
    cluster: &'a Cluster,
    slot: String,
    from: usize,
    to: usize,
}

impl Move<'_> {
    /// Takes up to so many of its keys over; how many there were.
    pub(crate) fn take(&self, most: usize) -> usize {
        let (from, to) = (&self.cluster.masters[self.from], &self.cluster.masters[self.to]);
        let keys = from.ask(&["CLUSTER", "GETKEYSINSLOT", &self.slot, &most.to_string()]);
        let port = to.address.port().to_string();
        let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
        for key in &keys {
            from.ask(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
        }
        keys.len()
    }

    /// Takes over what is left and ends it, as redis-cli does: first where it goes, then where it comes from, then the others.
    pub(crate) fn end(self) {
        while self.take(10) > 0 {}
        let id = self.cluster.masters[self.to].ask(&["CLUSTER", "MYID"]);
        let others = (0..self.cluster.masters.len()).filter(|n| ![self.to, self.from].contains(n));
        for n in [self.to, self.from].into_iter().chain(others) {
            self.cluster.masters[n].ask(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &id]);
        }
    }
}

const TRIES_MAX: u32 = 3_000;
