//! A real Alertmanager that tells nobody, on a loopback port, with its state in a folder of its own.

use super::{ports::free_port, programs, wait_for};
use serde_json::Value;
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A running Alertmanager; ends when it is dropped.
pub(crate) struct Alertmanager {
    address: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl Alertmanager {
    /// Starts it and waits until it is ready.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("alertmanager-").tempdir().unwrap();
        let config = "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n";
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let (address, log) = (free_port(), File::create(folder.path().join("log")).unwrap());
        let child = Command::new("prometheus-alertmanager")
            .args(["--config.file=config.yml", "--storage.path=data", "--cluster.listen-address="])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let alertmanager = Self { address, folder, child };
        wait_for("Alertmanager to listen", || TcpStream::connect(address).ok());
        alertmanager
    }

    /// Where it is, as the configuration names it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it shows as firing, as amtool prints it.
    pub(crate) fn firing(&self) -> Vec<Value> {
        let url = format!("--alertmanager.url={}", self.url());
        let said = programs::run("amtool", &[&url, "alert", "query", "-o", "json"]);
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert_eq!(said.code, 0, "{said:?}\n{log}");
        serde_json::from_str(&said.out).unwrap()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
