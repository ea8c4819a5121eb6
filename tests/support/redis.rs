//! A real Redis with its own folder on a loopback port of its own; the machine's own Redis is not touched.

use super::{failure, ports::free_port};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// A running Redis; stops when it is dropped.
pub(crate) struct Redis {
    folder: TempDir,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    options: Vec<String>,
    process: Option<Child>,
}

impl Redis {
    /// Starts one that forgets everything at its end.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--appendonly", "no"])
    }

    /// Starts one in which every write is on the disk before it is answered.
    pub(crate) fn durable() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts one with these options.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        failure::remember();
        let folder = tempfile::Builder::new().prefix("redis-").tempdir().unwrap();
        let options = options.iter().map(|&option| option.into()).collect();
        let mut redis = Self { folder, address: free_port(), options, process: None };
        redis.start_again();
        redis
    }

    /// Starts it again in the same folder on the same port.
    pub(crate) fn start_again(&mut self) {
        let (port, folder) = (self.address.port().to_string(), self.folder.path());
        let log = self.path("redis.log");
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]);
        command.arg("--dir").arg(folder).arg("--logfile").arg(log).args(&self.options);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(command.spawn().unwrap_or_else(|error| {
            panic!("redis-server cannot be started ({error}); tests/run installs it")
        }));
        for _ in 0..TRIES_MAX {
            if self.answers() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("Redis does not answer:\n{}", self.log());
    }

    /// The configuration's value for it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops it, so that it keeps its connections and says nothing, until the guard is dropped.
    pub(crate) fn freeze(&self) -> Frozen {
        let process = self.process.as_ref().expect("it runs");
        let pid = Pid::from_child(process);
        kill_process(pid, Signal::STOP).unwrap();
        Frozen(pid)
    }

    /// What redis-cli prints for a command.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let port = self.address.port().to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(command).output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What it wrote into its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("redis.log")).unwrap_or_default()
    }

    /// True if it answers and has loaded what it had; also where it wants a password.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        let (mut answer, wait) = ([0; 8], Some(Duration::from_secs(1)));
        stream.set_read_timeout(wait).unwrap();
        let asked =
            stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer[..7]));
        asked.is_ok() && (answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        failure::tell("Redis", || self.log());
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A process that stands still until this is dropped.
pub(crate) struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

const TRIES_MAX: u32 = 1_000;
