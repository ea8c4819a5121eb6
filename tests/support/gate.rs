//! The real program as a child process, with builders that read as sentences:
//! `gate().limit(50, "1h").next_hop(&sink).run()`.
//!
//! Each gate has a folder and ports of its own, is ready when `run` returns, and is killed by its own process id when it is
//! dropped.

use super::{
    Client, WAIT_MAX, failure,
    programs::{self, Said},
    settings::{self, Settings},
    wait_for,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};
use tempfile::TempDir;
use tollgate::clock::steady_now;

/// A gate with one plan without limits, which trusts the loopback address and charges MAIL FROM.
pub(crate) fn gate() -> Settings {
    Settings::default()
}

/// A running gate.
pub(crate) struct Gate {
    settings: Settings,
    folder: TempDir,
    child: Child,
}

impl Settings {
    /// Starts the program and waits until it is ready.
    #[track_caller]
    pub(crate) fn run(mut self) -> Gate {
        failure::remember();
        let folder = tempfile::Builder::new().prefix("gate-").tempdir().unwrap();
        for attempt in 1.. {
            self.write_to(folder.path());
            let mut child = start(folder.path(), &self);
            match wait_until_ready(&mut child, &self) {
                Ok(()) => return Gate { settings: self, folder, child },
                Err(why) => {
                    stop(&mut child);
                    let log = fs::read_to_string(folder.path().join(LOG)).unwrap_or_default();
                    let ports_were_taken = log.contains("ddress already in use");
                    assert!(ports_were_taken && attempt < ATTEMPTS_MAX, "the gate {why}:\n{log}");
                    self.ports = settings::Ports::reserve();
                }
            }
        }
        unreachable!("the loop ends by a return or a panic")
    }

    /// What the program says when it does not start.
    pub(crate) fn starts_badly(self) -> String {
        let folder = TempDir::new().unwrap();
        self.write_to(folder.path());
        let mut child = start(folder.path(), &self);
        let status = wait_for("the program to give up", || child.try_wait().unwrap());
        assert!(!status.success());
        fs::read_to_string(folder.path().join(LOG)).unwrap()
    }

    /// What `check-config` says of this configuration.
    pub(crate) fn check(self) -> Said {
        let folder = TempDir::new().unwrap();
        self.write_to(folder.path());
        tollgate(folder.path(), &["check-config", "--config", CONFIG])
    }

    fn write_to(&self, folder: &Path) {
        fs::write(folder.join(CONFIG), self.toml()).unwrap();
        fs::write(folder.join(PASSWD), self.passwd()).unwrap();
    }
}

impl Gate {
    /// The listener for mail servers; the loopback address is trusted there.
    pub(crate) fn smarthost(&self) -> SocketAddr {
        self.settings.ports.smarthost
    }

    /// The listener for mail programs: STARTTLS, then AUTH.
    pub(crate) fn submission(&self) -> SocketAddr {
        self.settings.ports.submission
    }

    /// The listener for mail programs with TLS from the first octet.
    pub(crate) fn submissions(&self) -> SocketAddr {
        self.settings.ports.submissions
    }

    /// The listener whose connections begin with a PROXY header.
    pub(crate) fn proxied(&self) -> SocketAddr {
        self.settings.ports.proxied
    }

    /// The listener for the API and the pages.
    pub(crate) fn api(&self) -> SocketAddr {
        self.settings.ports.api
    }

    /// Where metrics and health are.
    pub(crate) fn http_address(&self) -> SocketAddr {
        self.settings.ports.http
    }

    /// A client of the smarthost listener that has said EHLO.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::hello(self.smarthost())
    }

    /// The same, once the next hops have been asked what they know and this is offered.
    #[track_caller]
    pub(crate) fn client_offered(&self, extension: &str) -> Client {
        wait_for(&format!("the offer of {extension}"), || {
            let mut client = Client::connect(self.smarthost());
            let offers = client.expect(250, "EHLO client.example").lines;
            offers.iter().any(|offer| offer == extension).then_some(client)
        })
    }

    /// The folder that it runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the folder that it runs in.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Runs a command of the program against this gate.
    pub(crate) fn tollgate(&self, arguments: &[&str]) -> Said {
        let (command, rest) = arguments.split_first().expect("a command is given");
        let all: Vec<&str> =
            [command, "--config", CONFIG].into_iter().chain(rest.iter().copied()).collect();
        tollgate(self.folder(), &all)
    }

    /// The JSON that a command of the program prints.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.tollgate(&[arguments, &["--json"]].concat()).well();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// The body of an HTTP answer and its status.
    pub(crate) fn http(&self, path: &str) -> (u16, String) {
        http(self.settings.ports.http, path).unwrap()
    }

    /// All lines of its log so far.
    pub(crate) fn log(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.file(LOG)).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a log line about this event for which `matches` is true.
    #[track_caller]
    pub(crate) fn logged(
        &self,
        event: &str,
        matches: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        wait_for(&format!("a line about {event} in the log"), || {
            self.log().into_iter().find(|line| line["event"] == event && matches(line))
        })
    }

    /// The log as it stands, for a failing test to show.
    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(self.file(LOG)).unwrap_or_default()
    }

    /// A figure from the kernel's table of the process, such as `VmHWM`, in KiB.
    pub(crate) fn status_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).expect("the kernel has it");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }

    /// How many files it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Kills it as a power cut would, without a chance to tidy up.
    pub(crate) fn kill(&mut self) {
        stop(&mut self.child);
    }

    /// Starts it again in the same folder on the same ports.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.child = start(self.folder.path(), &self.settings);
        if let Err(why) = wait_until_ready(&mut self.child, &self.settings) {
            panic!("the gate {why}:\n{}", self.log_text());
        }
    }

    /// Starts it again where it may refuse to start; returns what it says then.
    pub(crate) fn try_start(&mut self) -> Result<(), String> {
        let before = self.log_text().len();
        self.child = start(self.folder.path(), &self.settings);
        wait_for("the gate to serve or to end", || {
            let ended = self.child.try_wait().unwrap().is_some();
            let serves = matches!(http(self.settings.ports.http, "/health/live"), Ok((200, _)));
            (ended || serves).then_some(serves)
        })
        .then_some(())
        .ok_or_else(|| self.log_text().split_off(before))
    }

    /// The same gate in a folder with nothing in it but its configuration, not running.
    pub(crate) fn in_another_folder(&self) -> Gate {
        let folder = tempfile::Builder::new().prefix("gate-").tempdir().unwrap();
        self.settings.write_to(folder.path());
        let child = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
        Gate { settings: self.settings.clone(), folder, child }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it in good order and starts it again.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.signal(Signal::TERM);
        assert!(self.wait().success(), "{}", self.log_text());
        self.start();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the gate to end", || self.child.try_wait().unwrap())
    }

    /// Changes its configuration, tells it to read it, and waits until it says that it is in force.
    #[track_caller]
    pub(crate) fn reload(&mut self, change: impl FnOnce(Settings) -> Settings) {
        let before = self.count_logged("config-reloaded");
        self.settings = change(self.settings.clone());
        self.settings.write_to(self.folder.path());
        self.signal(Signal::HUP);
        wait_for("the new configuration", || {
            (self.count_logged("config-reloaded") > before).then_some(())
        });
    }

    /// Changes the configuration of a gate that does not run.
    pub(crate) fn change(&mut self, change: impl FnOnce(Settings) -> Settings) {
        self.settings = change(self.settings.clone());
        self.settings.write_to(self.folder.path());
    }

    /// Replaces its configuration by a wrong one, tells it to read it, and returns what it says of it.
    #[track_caller]
    pub(crate) fn reload_wrong(&self, wrong: &str) -> String {
        let before = self.count_logged("config-rejected");
        fs::write(self.file(CONFIG), format!("{}\n{wrong}", self.settings.toml())).unwrap();
        self.signal(Signal::HUP);
        wait_for("the new configuration to be rejected", || {
            let log = self.log();
            let rejected =
                log.iter().filter(|line| line["event"] == "config-rejected").nth(before)?;
            rejected["detail"].as_str().map(ToOwned::to_owned)
        })
    }

    fn count_logged(&self, event: &str) -> usize {
        self.log().iter().filter(|line| line["event"] == event).count()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        stop(&mut self.child);
        failure::tell("the gate", || self.log_text());
    }
}

/// Runs the program to its end in a folder.
pub(crate) fn tollgate(folder: &Path, arguments: &[&str]) -> Said {
    programs::run_command(Command::new(PROGRAM).args(arguments).current_dir(folder), "")
}

/// One HTTP/1.0 request; nothing but a socket, so that the tests need no client library.
pub(crate) fn http(server: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(WAIT_MAX))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    Ok((status, body.unwrap_or_default()))
}

fn start(folder: &Path, settings: &Settings) -> Child {
    let log = File::options().create(true).append(true).open(folder.join(LOG)).unwrap();
    let limit =
        settings.descriptors.map(|count| format!("ulimit -n {count} && ")).unwrap_or_default();
    Command::new("bash")
        .args(["-c", &format!("{limit}exec \"$0\" \"$@\""), PROGRAM])
        .args(["serve", "--config", CONFIG])
        .current_dir(folder)
        .envs(settings.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn wait_until_ready(child: &mut Child, settings: &Settings) -> Result<(), String> {
    let deadline = steady_now() + WAIT_MAX;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Err(format!("ended at its start with {status}"));
        }
        if matches!(http(settings.ports.http, "/health/ready"), Ok((200, _))) {
            return Ok(());
        }
        if steady_now() > deadline {
            return Err("is not ready".to_owned());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn stop(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// The program under test, as cargo built it.
const PROGRAM: &str = env!("CARGO_BIN_EXE_tollgate");
const CONFIG: &str = "tollgate.toml";
const PASSWD: &str = "passwd";
const LOG: &str = "gate.log";
const ATTEMPTS_MAX: u32 = 5;
