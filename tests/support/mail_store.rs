//! A real Dovecot with mailboxes: IMAP, the quota plugin on Maildir++, and doveadm's HTTP API, with its own configuration, folders and
//! loopback ports.

use super::{failure, ports::free_port, wait_for};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// A running Dovecot with mailboxes; stops when it is dropped.
pub(crate) struct MailStore {
    folder: TempDir,
    imap: SocketAddr,
    http: SocketAddr,
}

impl MailStore {
    /// Starts one with these users.
    pub(crate) fn start(users: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("mail-store-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = Self { folder, imap: free_port(), http: free_port() };
        let passwd: String =
            users.iter().map(|user| format!("{user}:{{PLAIN}}secret::::::\n")).collect();
        fs::write(store.path("users"), passwd).unwrap();
        fs::create_dir(store.path("vmail")).unwrap();
        chown(store.path("vmail"), Some(NOBODY), Some(NOBODY)).unwrap();
        let config = CONFIG
            .replace("FOLDER", &store.folder.path().display().to_string())
            .replace("IMAP_PORT", &store.imap.port().to_string())
            .replace("HTTP_PORT", &store.http.port().to_string())
            .replace("API_KEY", store.key())
            .replace("PASSWORD", store.password());
        fs::write(store.path("dovecot.conf"), config).unwrap();
        store.start_again();
        store
    }

    /// Starts it again in the same folder on the same ports.
    pub(crate) fn start_again(&self) {
        // Its processes keep what they were given, so nothing that somebody waits for the end of.
        let said = fs::File::create(self.path("start.log")).unwrap();
        let mut command = Command::new("dovecot");
        command.arg("-c").arg(self.path("dovecot.conf")).stdin(Stdio::null());
        let status = command.stdout(said.try_clone().unwrap()).stderr(said).status().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(self.path("start.log")).unwrap());
        for address in [self.imap, self.http] {
            wait_for("Dovecot to listen", || TcpStream::connect(address).ok());
        }
    }

    /// Stops it.
    pub(crate) fn stop(&self) {
        let text = fs::read_to_string(self.path("run/master.pid")).unwrap();
        let master = Pid::from_raw(text.trim().parse().unwrap()).unwrap();
        let _ = kill_process(master, Signal::TERM);
        wait_for("Dovecot to stop", || test_kill_process(master).is_err().then_some(()));
    }

    /// Where its mailboxes are, as the gate's configuration says it.
    pub(crate) fn template(&self) -> String {
        self.path("vmail/{domain}/{local}/Maildir").display().to_string()
    }

    /// Its HTTP API.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    pub(crate) const fn key(&self) -> &'static str {
        "key-of-the-gate"
    }

    pub(crate) const fn password(&self) -> &'static str {
        "password-of-the-gate"
    }

    /// Lets an IMAP client store so many messages of about so many octets in folders.
    pub(crate) fn fill(&self, user: &str, folders: &[(&str, usize, usize)]) {
        for (folder, messages, octets) in folders {
            self.imap(user, &["append", folder, &messages.to_string(), &octets.to_string()]);
        }
    }

    /// Lets an IMAP client delete the first message of a folder.
    pub(crate) fn delete_first(&self, user: &str, folder: &str) {
        self.imap(user, &["delete", folder, "1"]);
    }

    /// Lets an IMAP client delete all messages of a folder.
    pub(crate) fn empty(&self, user: &str, folder: &str) {
        self.imap(user, &["delete", folder, "1:*"]);
    }

    fn imap(&self, user: &str, arguments: &[&str]) {
        let port = self.imap.port().to_string();
        let mut command = Command::new("python3");
        command.args(["-c", IMAP_CLIENT, &port, user]).args(arguments);
        let said = command.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    /// The octets and the files of a mailbox, each file asked of the system.
    pub(crate) fn really_holds(&self, user: &str) -> (u64, u64) {
        let (local, domain) = user.split_once('@').unwrap();
        let maildir = self.path("vmail").join(domain).join(local).join("Maildir");
        let mut sizes = Vec::new();
        for folder in fs::read_dir(&maildir).unwrap().map(|entry| entry.unwrap().path()) {
            let is_folder = folder.file_name().unwrap().to_string_lossy().starts_with('.');
            for below in ["cur", "new"] {
                let place = if is_folder { folder.join(below) } else { folder.clone() };
                if is_folder || folder.ends_with(below) {
                    sizes.extend(sizes_in(&place));
                }
            }
        }
        (sizes.iter().sum(), sizes.len().try_into().unwrap())
    }

    /// KiB and messages as `doveadm quota get` prints them.
    pub(crate) fn doveadm_says(&self, user: &str) -> (u64, u64) {
        let mut command = Command::new("doveadm");
        command.arg("-c").arg(self.path("dovecot.conf"));
        let said = command.args(["-f", "tab", "quota", "get", "-u", user]).output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        let value = |kind: &str| {
            let row = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
            let row = row.into_iter().find(|row| row.contains(&kind));
            row.unwrap_or_else(|| panic!("no {kind} in {text}"))[2].parse().unwrap()
        };
        (value("STORAGE"), value("MESSAGE"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn sizes_in(folder: &Path) -> Vec<u64> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect()
}

impl Drop for MailStore {
    fn drop(&mut self) {
        failure::tell("Dovecot", || {
            fs::read_to_string(self.path("dovecot.log")).unwrap_or_default()
        });
        if self.path("run/master.pid").exists() {
            self.stop();
        }
    }
}

/// Who owns the mailboxes.
const NOBODY: u32 = 65_534;

/// Stores or deletes messages with Python's IMAP client.
const IMAP_CLIENT: &str = r#"
import imaplib, sys
port, user, action, folder, *rest = sys.argv[1:]
imap = imaplib.IMAP4('127.0.0.1', int(port))
def well(answer):
    assert answer[0] == 'OK', answer
    return answer[1]
well(imap.login(user, 'secret'))
if action == 'append':
    if folder != 'INBOX':
        imap.create(folder)
    count, octets = map(int, rest)
    for number in range(count):
        head = f'From: {user}\r\nSubject: {number}\r\n\r\n'
        lines = ('x' * 70 + '\r\n') * (octets // 72) + 'x' * number + '\r\n'
        well(imap.append(folder, None, None, (head + lines).encode()))
else:
    well(imap.select(folder))
    well(imap.store(rest[0], '+FLAGS', '\\Deleted'))
    well(imap.expunge())
imap.logout()
"#;

const CONFIG: &str = "\
base_dir = FOLDER/run
state_dir = FOLDER/state
log_path = FOLDER/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = dovecot
default_login_user = dovenull
first_valid_uid = 1
auth_mechanisms = plain login
mail_location = maildir:~/Maildir
mail_plugins = quota
doveadm_api_key = API_KEY
doveadm_password = PASSWORD
passdb {
  driver = passwd-file
  args = username_format=%u FOLDER/users
}
userdb {
  driver = passwd-file
  args = username_format=%u FOLDER/users
  default_fields = uid=65534 gid=65534 home=FOLDER/vmail/%d/%n
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=1G
}
service imap-login {
  inet_listener imap {
    port = IMAP_PORT
  }
  inet_listener imaps {
    port = 0
  }
}
service doveadm {
  inet_listener http {
    address = 127.0.0.1
    port = HTTP_PORT
    ssl = no
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
";
