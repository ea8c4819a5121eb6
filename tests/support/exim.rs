//! A real Exim with its own configuration, spool and log on a port of its own.
//!
//! Debian's packages of Exim and Postfix exclude each other, so `tests/run` unpacks Exim's program below `target/` instead of
//! installing the package, and adds the system user that it runs as.

use super::{
    failure,
    guide::Guide,
    ports::free_port,
    programs::{Said, run, run_command},
    wait_for,
};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A running Exim; stops when it is dropped.
pub(crate) struct Exim {
    folder: TempDir,
    daemon: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// The sections of a configuration that differ.
struct Sections<'a> {
    main: &'a str,
    routers: &'a str,
    transports: &'a str,
    authenticators: &'a str,
}

impl Exim {
    /// One that relays as the guide says; its users log in with any password.
    pub(crate) fn behind(guide: &Guide) -> Self {
        Self::start(&Sections {
            main: "",
            routers: guide.block("exim-router"),
            transports: guide.block("exim-transport"),
            authenticators: &format!("{BELIEVER}{}", guide.block("exim-auth")),
        })
    }

    /// One that keeps everything in a Maildir, as a next hop. `main` are further lines of the main section.
    pub(crate) fn keeping(main: &str) -> Self {
        let (routers, transports) = (KEEPING_ROUTER, KEEPING_TRANSPORT);
        Self::start(&Sections { main, routers, transports, authenticators: "" })
    }

    fn start(sections: &Sections<'_>) -> Self {
        let folder = tempfile::Builder::new().prefix("exim-").tempdir().unwrap();
        let address = free_port();
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        for name in ["spool", "log", "mail"] {
            fs::create_dir(path(name)).unwrap();
        }
        let Sections { main, routers, transports, authenticators } = sections;
        let config = format!(
            "exim_path = {program}\nprimary_hostname = web01.example\nkeep_environment =\n\
             spool_directory = {spool}\nlog_file_path = {log}/%slog\n\
             local_interfaces = 127.0.0.1\ndaemon_smtp_ports = {port}\ntls_advertise_hosts =\n\
             domainlist local_domains =\nacl_smtp_rcpt = accept\nacl_smtp_data = accept\n\
             smtp_accept_max = 100\nremote_max_parallel = 1\n{main}\n\
             begin routers\n{routers}\nbegin transports\n{transports}\n\
             begin retry\n* * F,1h,1s\nbegin authenticators\n{authenticators}\n",
            program = program().display(),
            spool = path("spool"),
            log = path("log"),
            port = address.port(),
        );
        fs::write(path("exim.conf"), config.replace("MAILDIR", &path("mail"))).unwrap();
        // It changes its user and must still get in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        run("chown", &[USER, &path("spool"), &path("log"), &path("mail")]).well();
        let daemon = command(folder.path()).args(["-bdf", "-q1s"]).spawn().unwrap();
        wait_for("Exim to listen", || TcpStream::connect(address).ok());
        Self { folder, daemon, address }
    }

    /// Hands a mail in as a program on the server does, through its sendmail command.
    pub(crate) fn sendmail(&self, recipient: &str, text: &str) -> Said {
        run_command(command(self.folder.path()).args(["-i", recipient]), text)
    }

    /// The messages that it kept, as they stand in its files.
    pub(crate) fn kept(&self) -> Vec<String> {
        let files = fs::read_dir(self.folder.path().join("mail/new")).into_iter().flatten();
        files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join("log").join(name));
        ["mainlog", "rejectlog", "paniclog"].map(|name| read(name).unwrap_or_default()).concat()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        failure::tell("Exim", || self.log());
        // It may have ended by itself.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(program());
    command.arg("-C").arg(folder.join("exim.conf"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Where `tests/run` unpacked it.
fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/exim/usr/sbin/exim4");
    assert!(program.exists(), "{} is missing; tests/run puts it there", program.display());
    program
}

/// The system user of Debian's packages, which is built into the program.
const USER: &str = "Debian-exim";

/// Lets everybody log in, so that there are authenticated users.
const BELIEVER: &str = "\
believer:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = true
  server_set_id = $auth2
";

const KEEPING_ROUTER: &str = "\
all:
  driver = accept
  transport = maildir
";

const KEEPING_TRANSPORT: &str = "\
maildir:
  driver = appendfile
  directory = MAILDIR
  maildir_format
  create_directory
  user = Debian-exim
  envelope_to_add
  return_path_add
";
