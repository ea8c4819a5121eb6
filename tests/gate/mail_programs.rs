//! The first things that a stranger tries: the quickstart's own curl line, swaks, Python.

use crate::support::{gate, ports::free_port, programs::run, sink, wait_for};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

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

/// The gate as the README starts it, with its state in a folder of the test and on ports of the test.
struct Quickstart {
    folder: tempfile::TempDir,
    child: Child,
}

impl Quickstart {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let said = fs::File::create(folder.path().join("said")).unwrap();
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config/quickstart.toml");
        let (smarthost, submission, http) = (free_port(), free_port(), free_port());
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["serve", "--config", config])
            .args(["--smarthost-listen", &smarthost.to_string()])
            .args(["--submission-listen", &submission.to_string()])
            .args(["--http-listen", &http.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(said.try_clone().unwrap())
            .stdout(said)
            .spawn()
            .unwrap();
        let quickstart = Self { folder, child };
        quickstart.line_with(&format!("smtp://{smarthost}"));
        quickstart
    }

    fn line_with(&self, words: &str) -> String {
        wait_for(&format!("a line with {words:?}"), || {
            let said = fs::read_to_string(self.folder.path().join("said")).unwrap();
            said.lines().find(|line| line.contains(words)).map(ToOwned::to_owned)
        })
    }

    fn only_mail(&self) -> String {
        let new = self.folder.path().join("var/outbox/new");
        let mails: Vec<_> =
            fs::read_dir(&new).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(mails.len(), 1, "{mails:?}");
        fs::read_to_string(&mails[0]).unwrap()
    }
}

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
    let swaks = |server: std::net::SocketAddr, more: &[&str]| {
        let (host, port) = (server.ip().to_string(), server.port().to_string());
        let all = [
            "--from",
            "a@shop.example",
            "--to",
            "b@remote.example",
            "--server",
            &host,
            "--port",
            &port,
        ];
        run("swaks", &[&all[..], more].concat())
    };
    swaks(gate.smarthost(), &[]).well();
    let login = ["--auth-user", "a@shop.example", "--auth-password", "secret"];
    swaks(gate.submission(), &[&["--tls", "--auth", "PLAIN"], &login[..]].concat()).well();
    swaks(gate.submissions(), &[&["--tlsc", "--auth", "LOGIN"], &login[..]].concat()).well();
    let refused = swaks(gate.submission(), &["--tls"]).badly();
    assert!(refused.contains("530"), "{refused}");
    assert_eq!(sink.wait_for(3).len(), 3);
}

#[test]
fn the_51st_swaks_in_an_hour_is_refused_with_a_reason() {
    let sink = sink().run();
    let gate = gate().limit(50, "1h").next_hop(&sink).run();
    gate.client().send_until_refused("a@shop.example", 51);
    let (host, port) = (gate.smarthost().ip().to_string(), gate.smarthost().port().to_string());
    let said = run(
        "swaks",
        &[
            "--from",
            "a@shop.example",
            "--to",
            "b@remote.example",
            "--server",
            &host,
            "--port",
            &port,
        ],
    )
    .badly();
    assert!(
        said.contains("450 4.7.1 account a@shop.example: 50 of 50 recipients in 1 h"),
        "{said}"
    );
}
