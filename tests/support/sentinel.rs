//! A real Sentinel, and the two servers that it watches.

use super::{failure, ports::free_port, redis::Redis, wait_for};
use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// One sentinel; stops when it is dropped.
pub(crate) struct Sentinel {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    folder: TempDir,
    process: Child,
}

impl Sentinel {
    /// Starts one with these lines in its file, beside where it listens.
    pub(crate) fn start(settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("sentinel-").tempdir().unwrap();
        let address = free_port();
        let file = folder.path().join("sentinel.conf");
        let (port, there) = (address.port(), folder.path().display());
        let ours = format!("port {port}\nbind 127.0.0.1\ndir {there}\nlogfile {LOG}\n");
        fs::write(&file, format!("{ours}{settings}")).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().unwrap();
        Self { address, folder, process }
    }

    /// What it says to whoever shows no password and speaks no TLS.
    pub(crate) fn asked(&self, command: &[&str]) -> String {
        let port = self.address.port().to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(command).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        failure::tell("the sentinel", || {
            fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
        });
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A master, a replica and one sentinel that makes the replica the master when that is gone.
pub(crate) struct Watched {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) sentinel: Sentinel,
}

impl Watched {
    pub(crate) fn start() -> Self {
        let master = Redis::durable();
        let of = format!("127.0.0.1 {}", master.address.port());
        let replica = Redis::start_with(&[
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--replicaof",
            &of,
        ]);
        let sentinel = Sentinel::start(&format!(
            "sentinel monitor fleet {of} 1\n\
             sentinel down-after-milliseconds fleet 1000\nsentinel failover-timeout fleet 5000\n"
        ));
        let watched = Self { master, replica, sentinel };
        wait_for("the replica to follow", || {
            let state = watched.master.ask(&["INFO", "replication"]);
            state.contains("state=online").then_some(())
        });
        wait_for("the sentinel to know the replica", || {
            let known = watched.sentinel.asked(&["SENTINEL", "REPLICAS", "fleet"]);
            known.contains("master-link-status\nok").then_some(())
        });
        watched
    }
}

const LOG: &str = "sentinel.log";
