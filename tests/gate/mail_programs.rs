//! The first things that a stranger tries: the quickstart's own curl line, swaks, Python.

use crate::{
    limits::{Refused, facts},
    operators::{limit, used},
    support::{
        Client, SmtpSink, gate,
        gate::{http, tollgate},
        ports::free_port,
        programs::{Said, run},
        sink, wait_for,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tollgate::types::Timestamp;

#[test]
fn the_quickstart_says_a_line_that_sends() {
    let quickstart = Quickstart::start();
    let line = quickstart.line_with("curl ");
    let command = line.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let command = &command[command.find("curl ").unwrap()..];
    run("bash", &["-c", command]).well();
    let text = quickstart.only_mail();
    assert!(text.starts_with("Received: ") || text.contains("\nReceived: "), "{text}");
    // Where to send with a login, and where the mail lands.
    quickstart.line_with("var/outbox");
    quickstart.line_with("password");
}

#[test]
fn the_quickstart_shows_the_limit_the_login_and_a_restart_that_changes_nothing() {
    let sender = "alice@shop.example";
    let mut quickstart = Quickstart::start();
    // The address of the metrics was moved by a variable, the others by flags.
    assert_eq!(http(quickstart.http, "/health/ready").unwrap().0, 200);
    quickstart.line_with(&format!("http://{}/metrics", quickstart.http));
    let password = quickstart.password();
    quickstart.log_in_and_send(&password);

    swaks(quickstart.smarthost, sender, &[]).well();
    let send_on = |quickstart: &Quickstart| {
        Client::hello(quickstart.smarthost).send_until_refused(sender, 60)
    };
    let (passed, refusal) = send_on(&quickstart);
    let refused = facts(&refusal);
    assert_eq!((passed, quickstart.mails().len()), (49, 51), "{refusal}");
    assert_eq!(refused.whose, "account alice@shop.example");
    assert_eq!((refused.used, refused.max), (50, 50));
    assert_eq!((refused.unit.as_str(), refused.window.as_str()), ("recipients", "1 h"));
    quickstart.tells_the_same(sender, &refused);

    quickstart.restart();
    let (none, after) = send_on(&quickstart);
    assert_eq!((none, facts(&after).slot), (0, refused.slot));
    quickstart.tells_the_same(sender, &refused);
    assert_eq!(quickstart.password(), password);
    quickstart.log_in_and_send(&password);
    assert_eq!(quickstart.mails().len(), 52);
}

/// The gate as the README starts it, with its state in a folder of the test and on ports of the test.
struct Quickstart {
    folder: tempfile::TempDir,
    smarthost: SocketAddr,
    submission: SocketAddr,
    http: SocketAddr,
    child: Child,
}

impl Quickstart {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (smarthost, submission, http) = (free_port(), free_port(), free_port());
        let child = Self::serve(folder.path(), smarthost, submission, http);
        let quickstart = Self { folder, smarthost, submission, http, child };
        quickstart.line_with(&format!("smtp://{smarthost}"));
        quickstart
    }

    fn serve(
        folder: &Path,
        smarthost: SocketAddr,
        submission: SocketAddr,
        http: SocketAddr,
    ) -> Child {
        let said = fs::File::create(folder.join("said")).unwrap();
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config/quickstart.toml");
        Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["serve", "--config", config])
            .args(["--smarthost-listen", &smarthost.to_string()])
            .args(["--submission-listen", &submission.to_string()])
            .env("TOLLGATE_HTTP_LISTEN", http.to_string())
            .env("TOLLGATE_API_LISTEN", free_port().to_string())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(said.try_clone().unwrap())
            .stdout(said)
            .spawn()
            .unwrap()
    }

    fn restart(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(wait_for("the end", || self.child.try_wait().unwrap()).success());
        let folder = self.folder.path();
        self.child = Self::serve(folder, self.smarthost, self.submission, self.http);
        self.line_with(&format!("smtp://{}", self.smarthost));
    }

    fn line_with(&self, words: &str) -> String {
        wait_for(&format!("a line with {words:?}"), || {
            let said = fs::read_to_string(self.folder.path().join("said")).unwrap();
            said.lines().find(|line| line.contains(words)).map(ToOwned::to_owned)
        })
    }

    /// The test user's password as it is printed; the same stands in a file.
    fn password(&self) -> String {
        let line = self.line_with("test user");
        let password = line.rsplit(' ').next().unwrap().to_owned();
        let note = fs::read_to_string(self.folder.path().join("var/test-user")).unwrap();
        assert_eq!(note.trim(), format!("{TEST_USER}:{password}"));
        password
    }

    fn log_in_and_send(&self, password: &str) {
        let login = ["--auth-user", TEST_USER, "--auth-password", password];
        let tls = ["--tls", "--auth", "PLAIN"];
        swaks(self.submission, TEST_USER, &[&tls[..], &login].concat()).well();
    }

    /// `usage` and `explain` have the figures of a refusal.
    #[track_caller]
    fn tells_the_same(&self, account: &str, refused: &Refused) {
        for command in ["usage", "explain"] {
            let said = tollgate(self.folder.path(), &[command, account, "--json"]).well();
            let view = serde_json::from_str(&said).unwrap();
            let line = limit(&view, "account", "1 h");
            assert_eq!((&line["used"], &line["remaining"]), (&50.into(), &0.into()), "{line}");
            let slot: Timestamp = line["next_slot"].as_str().unwrap().parse().unwrap();
            let apart = slot.since(refused.slot).max(refused.slot.since(slot));
            assert!(apart < Duration::from_secs(1), "{command}: {line} {refused:?}");
        }
    }

    fn mails(&self) -> Vec<PathBuf> {
        let new = self.folder.path().join("var/outbox/new");
        fs::read_dir(new).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn only_mail(&self) -> String {
        let mails = self.mails();
        assert_eq!(mails.len(), 1, "{mails:?}");
        fs::read_to_string(&mails[0]).unwrap()
    }
}

const TEST_USER: &str = "test@quickstart.example";

impl Drop for Quickstart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn curl_sends_a_file() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let file = gate.file("mail.txt");
    fs::write(&file, "Subject: curl\r\n\r\n.starts with a dot\r\n").unwrap();
    let url = format!("smtp://{}/client.example", gate.smarthost());
    let upload = |path: &Path| {
        run(
            "curl",
            &[
                "-sS",
                &url,
                "--mail-from",
                "a@shop.example",
                "--mail-rcpt",
                "b@remote.example",
                "--upload-file",
                path.to_str().unwrap(),
            ],
        )
    };
    upload(&file).well();
    assert_eq!(sink.last().below_received(), b"Subject: curl\r\n\r\n.starts with a dot\r\n");
}

#[test]
fn swaks_sends_plainly_and_with_tls_and_a_login() {
    let sink = sink().run();
    let gate = gate().user("a@shop.example", "secret").next_hop(&sink).run();
    let swaks = |server, more: &[&str]| swaks(server, "a@shop.example", more);
    swaks(gate.smarthost(), &[]).well();
    let login = ["--auth-user", "a@shop.example", "--auth-password", "secret"];
    swaks(gate.submission(), &[&["--tls", "--auth", "PLAIN"], &login[..]].concat()).well();
    swaks(gate.submissions(), &[&["--tlsc", "--auth", "LOGIN"], &login[..]].concat()).well();
    let refused = swaks(gate.submission(), &["--tls"]).badly();
    assert!(refused.contains("530"), "{refused}");
    assert_eq!(sink.wait_for(3).len(), 3);
}

/// Sends one message with swaks.
#[track_caller]
pub(crate) fn swaks(server: SocketAddr, sender: &str, more: &[&str]) -> Said {
    let (host, port) = (server.ip().to_string(), server.port().to_string());
    let to = ["--to", "b@remote.example"];
    let all = [&["--from", sender, "--server", &host, "--port", &port][..], &to, more].concat();
    run("swaks", &all)
}

#[test]
fn the_51st_swaks_in_an_hour_is_refused_with_a_reason() {
    let sink = sink().run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    gate.client().send_until_refused("a@shop.example", 51);
    let said = swaks(gate.smarthost(), "a@shop.example", &[]).badly();
    assert!(
        said.contains("450 4.7.1 account a@shop.example: 50 of 50 recipients in 1 h"),
        "{said}"
    );
}

#[test]
fn smtp_source_and_smtp_sink_stand_on_either_side() {
    let sink = SmtpSink::start();
    let gate = gate().limit(50, "1h").next_hop_at(sink.address, "").run();
    let source = |sender: &str, messages: &str, more: &[&str]| {
        let (server, to) = (gate.smarthost().to_string(), "b@remote.example");
        let all = ["-l", "4096", "-m", messages, "-f", sender, "-t", to];
        run("smtp-source", &[&all[..], more, &[&server]].concat())
    };
    // A connection for each message, then kept ones, then two recipients for each message.
    source("a@shop.example", "40", &["-s", "5"]).well();
    source("b@shop.example", "40", &["-s", "5", "-d"]).well();
    source("c@shop.example", "20", &["-s", "2", "-d", "-r", "2"]).well();
    sink.wait_for(100);
    for sender in ["a@shop.example", "b@shop.example", "c@shop.example"] {
        assert_eq!(used(&gate, sender), 40, "{sender}");
    }

    let complaint = source("d@shop.example", "60", &["-d"]).badly();
    assert!(complaint.contains("450 4.7.1"), "{complaint}");
    // The answer to the fiftieth came before the refusal, so that the sink has written its counter.
    sink.wait_for(150);
    assert_eq!(used(&gate, "d@shop.example"), 50);
}
