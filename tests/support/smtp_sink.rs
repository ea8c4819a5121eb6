//! Postfix's own next hop for load tests: takes everything and counts it.

use super::{ports::free_port, wait_for};
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A running smtp-sink; ends when it is dropped.
pub(crate) struct SmtpSink {
    pub(crate) address: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl SmtpSink {
    /// Starts it and waits until it listens.
    pub(crate) fn start() -> Self {
        let (address, folder) = (free_port(), TempDir::new().unwrap());
        let counters = File::create(folder.path().join(COUNTERS)).unwrap();
        let mut command = Command::new("smtp-sink");
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root.
            command.args(["-u", "nobody"]);
        }
        let child = command
            .args(["-c", &address.to_string(), "100"])
            .stdin(Stdio::null())
            .stdout(counters.try_clone().unwrap())
            .stderr(counters)
            .spawn()
            .unwrap();
        wait_for("smtp-sink to listen", || TcpStream::connect(address).ok());
        Self { address, folder, child }
    }

    /// How many messages it has taken, by the last counter that it wrote: `sess=3 quit=3 mesg=10`.
    pub(crate) fn messages(&self) -> usize {
        let said = fs::read_to_string(self.folder.path().join(COUNTERS)).unwrap();
        let last = said.rsplit("mesg=").next().filter(|_| said.contains("mesg=")).unwrap_or("0");
        let digits: String = last.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    }

    /// Waits until it has taken so many messages.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) {
        let what = format!("{count} messages at smtp-sink");
        wait_for(&what, || (self.messages() == count).then_some(()));
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const COUNTERS: &str = "counters";
