//! A real ClamAV and a real Rspamd that know next to nothing, on loopback ports, with their state in folders of their own.

use super::{ports::free_port, wait_for};
use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A line that [`Clamav`] takes for a virus: only at the beginning of a line, and with its dot.
pub(crate) const VIRUS: &str = ".tollgate-virus-test";
/// How ClamAV calls it: what is in none of its own lists is unofficial.
pub(crate) const VIRUS_NAME: &str = "Tollgate.Test.UNOFFICIAL";
/// Words for which [`Rspamd`] gives 7.5 points of 15.
pub(crate) const SPAMMY: &str = "cheap tollgate pills";
/// What each spam filter takes for spam: Generic Test for Unsolicited Bulk Email.
pub(crate) const GTUBE: &str =
    "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

/// A running program; ends when it is dropped.
struct Daemon {
    address: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl Daemon {
    fn start(program: &str, arguments: &[&str], address: SocketAddr, folder: TempDir) -> Self {
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Self { address, folder, child };
        wait_for(&format!("{program} to listen"), || TcpStream::connect(address).ok());
        daemon
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // Rspamd's workers end with it only if it is asked to end.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn folder(program: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("{program}-")).tempdir().unwrap()
}

/// A ClamAV that knows one virus.
pub(crate) struct Clamav(Daemon);

impl Clamav {
    pub(crate) fn start() -> Self {
        Self::start_at(free_port())
    }

    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let folder = folder("clamav");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("lists")).unwrap();
        let hex: String =
            format!("\r\n{VIRUS}").bytes().map(|octet| format!("{octet:02x}")).collect();
        fs::write(path("lists/test.ndb"), format!("Tollgate.Test:0:*:{hex}\n")).unwrap();
        let config = format!(
            "DatabaseDirectory {}\nTCPSocket {}\nTCPAddr 127.0.0.1\nLocalSocket {}\nForeground yes\n",
            path("lists").display(),
            address.port(),
            path("socket").display(),
        );
        fs::write(path("clamd.conf"), config).unwrap();
        let clamav = Self(Daemon::start("clamd", &["--config-file=clamd.conf"], address, folder));
        wait_for("clamd's socket", || clamav.socket().exists().then_some(()));
        clamav
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.0.folder.path().join("socket")
    }
}

/// A Rspamd that knows GTUBE and one phrase.
pub(crate) struct Rspamd(Daemon);

impl Rspamd {
    pub(crate) fn start() -> Self {
        let (address, folder) = (free_port(), folder("rspamd"));
        let path = |name: &str| folder.path().join(name);
        fs::write(path("suffixes"), "com\nexample\n").unwrap();
        fs::write(path("rspamd.conf"), rspamd_config(address, folder.path())).unwrap();
        let arguments = ["-i", "-f", "-c", "rspamd.conf"];
        Self(Daemon::start("rspamd", &arguments, address, folder))
    }

    /// Where it is, as the configuration names it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// The lines that it wrote about messages.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.0.log().lines().filter(|line| line.contains("seen: ")).map(str::to_owned).collect()
    }
}

fn rspamd_config(address: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
options {{
    pidfile = "{folder}/pid";
    control_socket = "{folder}/control mode=0600";
    filters = "regexp";
    url_tld = "{folder}/suffixes";
    local_addrs = [];
    dns {{ nameserver = ["127.0.0.1:1:1"]; timeout = 100ms; retransmits = 0; }}
}}
logging {{
    type = "console";
    level = "info";
    log_format = "seen: ip $ip user $user from <$smtp_from> rcpts <$smtp_rcpts> id $qid";
}}
actions {{ reject = 15; add_header = 6; }}
worker "normal" {{ bind_socket = "{address}"; count = 1; }}
regexp {{ SPAMMY {{ re = '/{SPAMMY}/i{{mime}}'; score = 7.5; }} }}
"#
    )
}
