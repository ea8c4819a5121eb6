//! A real Sentinel with the two servers that it watches.

use super::{failure, ports::free_port, redis::Redis, wait_for};
use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A master, a replica and one sentinel that makes the replica the master when that is gone.
pub(crate) struct Watched {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) sentinel: SocketAddr,
    folder: TempDir,
    process: Child,
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
        let folder = tempfile::Builder::new().prefix("sentinel-").tempdir().unwrap();
        let sentinel = free_port();
        let file = folder.path().join("sentinel.conf");
        let port = master.address.port();
        let settings = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nlogfile {LOG}\nsentinel monitor fleet 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds fleet 1000\nsentinel failover-timeout fleet 5000\n",
            sentinel.port(),
            folder.path().display()
        );
        fs::write(&file, settings).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().unwrap();
        let watched = Self { master, replica, sentinel, folder, process };
        wait_for("the replica to follow", || {
            let state = watched.master.ask(&["INFO", "replication"]);
            state.contains("state=online").then_some(())
        });
        wait_for("the sentinel to know the replica", || {
            let known = watched.asked(&["SENTINEL", "REPLICAS", "fleet"]);
            known.contains("master-link-status\nok").then_some(())
        });
        watched
    }

    fn asked(&self, command: &[&str]) -> String {
        let port = self.sentinel.port().to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(command).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        failure::tell("the sentinel", || {
            fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
        });
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const LOG: &str = "sentinel.log";
