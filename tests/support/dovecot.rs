//! A real Dovecot that only checks logins, with its own configuration and folders, on a UNIX socket and a loopback port; the
//! machine's own Dovecot is not touched.

use super::{failure, ports::free_port, wait_for};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// A running Dovecot; stops when it is dropped.
pub(crate) struct Dovecot {
    folder: TempDir,
    /// Where its authentication clients come in by TCP.
    pub(crate) address: SocketAddr,
}

impl Dovecot {
    /// Starts one that knows these lines of a passwd-file.
    pub(crate) fn start(users: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("dovecot-").tempdir().unwrap();
        // Its processes change their user and must still get in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let dovecot = Self { folder, address: free_port() };
        fs::write(dovecot.path("users"), users).unwrap();
        let (port, base) = (dovecot.address.port(), dovecot.folder.path().display());
        let config = CONFIG.replace("FOLDER", &base.to_string()).replace("PORT", &port.to_string());
        fs::write(dovecot.path("dovecot.conf"), config).unwrap();
        dovecot.start_again();
        dovecot
    }

    /// Starts it again in the same folder on the same port.
    pub(crate) fn start_again(&self) {
        // Its processes keep what they were given, so nothing that somebody waits for the end of.
        let said = fs::File::create(self.path("start.log")).unwrap();
        let mut command = Command::new("dovecot");
        command.args(["-c", &self.text("dovecot.conf")]).stdin(Stdio::null());
        let status = command.stdout(said.try_clone().unwrap()).stderr(said).status().unwrap();
        let text = || fs::read_to_string(self.path("start.log")).unwrap();
        assert!(status.success(), "{}", text());
        wait_for("Dovecot to greet", || self.auth_pid());
    }

    /// Its socket as the gate's configuration names it.
    pub(crate) fn socket(&self) -> String {
        self.text("run/auth-client")
    }

    /// Kills it as a power cut would, the process that answers too.
    pub(crate) fn kill(&self) {
        let (auth, master) = (self.auth_pid().expect("it answers"), self.master_pid());
        for pid in [master, auth] {
            // The one may have taken the other with it.
            let _ = kill_process(pid, Signal::KILL);
        }
        wait_for("Dovecot to be gone", || gone(master).then_some(()));
        // A socket file of a program that is gone refuses connections; nobody but us would remove it.
        fs::remove_file(self.path("run/master.pid")).unwrap();
    }

    /// Stops the process that answers, so that it keeps its connections and says nothing, until the guard is dropped.
    pub(crate) fn freeze(&self) -> Frozen {
        let pid = self.auth_pid().expect("it answers");
        kill_process(pid, Signal::STOP).unwrap();
        Frozen(pid)
    }

    /// The process that answers, which names itself in its greeting.
    fn auth_pid(&self) -> Option<Pid> {
        let stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        let mut numbers = lines.filter_map(|line| line.strip_prefix("SPID\t")?.parse().ok());
        numbers.next().and_then(Pid::from_raw)
    }

    fn master_pid(&self) -> Pid {
        let text = fs::read_to_string(self.path("run/master.pid")).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        failure::tell("Dovecot", || {
            fs::read_to_string(self.path("dovecot.log")).unwrap_or_default()
        });
        if self.path("run/master.pid").exists() {
            let master = self.master_pid();
            let _ = kill_process(master, Signal::TERM);
            wait_for("Dovecot to stop", || gone(master).then_some(()));
        }
    }
}

/// A process that does not run; it does again when this is dropped.
pub(crate) struct Frozen(Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

fn gone(pid: Pid) -> bool {
    test_kill_process(pid).is_err()
}

/// Answers whoever connects by TCP with these octets and keeps the connection: a server that is no Dovecot.
pub(crate) fn impostor(greeting: &'static [u8]) -> SocketAddr {
    use std::io::Write as _;
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut kept: Vec<TcpStream> = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(greeting);
            kept.push(stream);
        }
    });
    address
}

const CONFIG: &str = "\
base_dir = FOLDER/run
state_dir = FOLDER/state
log_path = FOLDER/dovecot.log
protocols =
ssl = no
default_internal_user = dovecot
default_login_user = dovenull
auth_mechanisms = plain login
auth_failure_delay = 0
passdb {
  driver = passwd-file
  args = username_format=%u FOLDER/users
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}
service auth {
  unix_listener auth-client {
    mode = 0666
  }
  inet_listener {
    address = 127.0.0.1
    port = PORT
  }
}
";
