//! A real Postfix with its own configuration, queue and data folders on ports of its own; Debian's one is not touched.
//!
//! What it relays through is configured by the very lines of `deploy/smarthost/postfix.md`.

use super::{
    failure,
    guide::Guide,
    ports::free_port,
    programs::{Said, run, run_command},
    wait_for,
};
use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
};
use tempfile::TempDir;

/// A running Postfix; stops when it is dropped.
pub(crate) struct Postfix {
    folder: TempDir,
    /// Where its smtpd listens.
    pub(crate) address: SocketAddr,
}

impl Postfix {
    /// Starts one that relays as the guide says; its users log in at `dovecot`.
    pub(crate) fn start(guide: &Guide, dovecot: &FakeDovecot) -> Self {
        let password = guide.block("password");
        Self::start_with(guide.block("postfix"), password.trim_end(), dovecot)
    }

    /// Starts one with these lines in its main.cf.
    pub(crate) fn start_with(main_cf: &str, password: &str, dovecot: &FakeDovecot) -> Self {
        let folder = tempfile::Builder::new().prefix("postfix-").tempdir().unwrap();
        // Its daemons change their user and must still get in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let postfix = Self { folder, address: free_port() };
        postfix.write(main_cf, password, dovecot);
        run("postfix", &["-c", &postfix.text("config"), "start"]).well();
        wait_for("Postfix to listen", || TcpStream::connect(postfix.address).ok());
        postfix
    }

    fn write(&self, main_cf: &str, password: &str, dovecot: &FakeDovecot) {
        for name in ["config", "queue", "data"] {
            fs::create_dir(self.path(name)).unwrap();
        }
        run("chown", &["postfix", &self.text("data")]).well();
        fs::write(self.path("password"), format!("{password}\n")).unwrap();
        let relay = main_cf.replace("/etc/postfix/tollgate-password", &self.text("password"));
        let own = format!(
            "compatibility_level = 3.6\nqueue_directory = {queue}\ndata_directory = {data}\n\
             maillog_file = {log}\nmaillog_file_prefixes = {folder}\nmyhostname = web01.example\n\
             mydestination =\nlocal_transport = error:none\nmynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nalias_maps =\nalias_database =\n\
             smtp_host_lookup = native\nsmtpd_peername_lookup = no\n\
             smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = inet:{dovecot}\n",
            queue = self.text("queue"),
            data = self.text("data"),
            log = self.text("mail.log"),
            folder = self.folder.path().display(),
            dovecot = dovecot.address,
        );
        // Postfix warns of a name that stands twice, its log daemon too, which may then wait for itself for ever.
        let name = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let given: HashSet<String> = relay.lines().map(name).collect();
        let own = own.lines().filter(|line| !given.contains(&name(line)));
        let own = own.collect::<Vec<_>>().join("\n");
        fs::write(self.path("config/main.cf"), format!("{own}\n{relay}\n")).unwrap();
        let smtpd = format!("{} inet n - n - - smtpd\n", self.address);
        fs::write(self.path("config/master.cf"), smtpd + MASTER_CF).unwrap();
    }

    /// Hands a mail in as a program on the server does, through its sendmail command.
    pub(crate) fn sendmail(&self, sender: &str, recipient: &str, text: &str) -> Said {
        let config = self.text("config");
        let mut command = Command::new("/usr/sbin/sendmail");
        run_command(command.args(["-C", &config, "-f", sender, "-i", recipient]), text)
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("mail.log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        failure::tell("Postfix", || self.log());
        let config = self.text("config");
        run("timeout", &["--kill-after=5", "60", "postfix", "-c", &config, "stop"]);
    }
}

/// A certificate for a name, with its authority.
pub(crate) struct Certificate {
    /// The authority's own certificate.
    pub(crate) authority: PathBuf,
    /// The certificate.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// Makes a certificate for a name, and an authority that vouches for it.
pub(crate) fn certificate(folder: &Path, name: &str) -> Certificate {
    let file = |kind: &str| folder.join(format!("{name}-{kind}"));
    let authority = (file("ca.pem"), file("ca.key"));
    openssl_req(&authority, "/CN=authority", &[]);
    let own = (file("own.pem"), file("own.key"));
    let other_name = format!("subjectAltName=DNS:{name}");
    let signed_by = ["-CA", authority.0.to_str().unwrap(), "-CAkey", authority.1.to_str().unwrap()];
    let leaf = ["-addext", &other_name, "-addext", "basicConstraints=critical,CA:FALSE"];
    openssl_req(&own, &format!("/CN={name}"), &[&leaf[..], &signed_by].concat());
    Certificate { authority: authority.0, certificate: own.0, key: own.1 }
}

fn openssl_req((certificate, key): &(PathBuf, PathBuf), subject: &str, more: &[&str]) {
    let made = ["-out", certificate.to_str().unwrap(), "-keyout", key.to_str().unwrap()];
    let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let what = ["req", "-x509", "-days", "2", "-subj", subject];
    run("openssl", &[&what[..], &kind, &made, more].concat()).well();
}

/// A login service that believes everybody, in Dovecot's protocol, so that Postfix has authenticated users.
pub(crate) struct FakeDovecot {
    address: SocketAddr,
}

impl FakeDovecot {
    /// Starts it; it ends with the test process.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Postfix hangs up when it is done.
                thread::spawn(move || believe(&stream));
            }
        });
        Self { address }
    }
}

/// Dovecot's authentication protocol, version 1.1: a greeting, then an answer to each request.
fn believe(mut stream: &TcpStream) -> Option<()> {
    stream.write_all(b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nDONE\n").ok()?;
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        let fields: Vec<&str> = line.split('\t').collect();
        let response = fields.iter().find_map(|field| field.strip_prefix("resp="));
        if let (["AUTH", id, ..], Some(response)) = (&fields[..], response) {
            let user = user_in(response)?;
            stream.write_all(format!("OK\t{id}\tuser={user}\n").as_bytes()).ok()?;
        }
    }
    None
}

/// The login in RFC 4616's `authzid NUL authcid NUL password`.
fn user_in(response: &str) -> Option<String> {
    use base64::Engine as _;
    let plain = base64::engine::general_purpose::STANDARD.decode(response).ok()?;
    let mut parts = plain.split(|&octet| octet == 0);
    parts.nth(1).map(|user| String::from_utf8_lossy(user).into_owned())
}

const MASTER_CF: &str = "\
pickup    unix  n       -       n       1       1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
";
