//! Mail programs log in over TLS, use their own addresses, and see a certificate that can be changed while the gate runs.

use crate::support::{
    Client, Gate, gate,
    postfix::{Certificate, certificate},
    programs::{python, run},
    sink,
};

/// Sends one message with Python's smtplib: MODE PORT LOGIN PASSWORD SENDER; prints what it heard.
const SMTPLIB: &str = r#"
import smtplib, ssl, sys
mode, port, login, password, sender = sys.argv[1:]
trusting = ssl.create_default_context()
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
if mode == "implicit":
    server = smtplib.SMTP_SSL("127.0.0.1", int(port), context=trusting)
else:
    server = smtplib.SMTP("127.0.0.1", int(port))
    if mode == "starttls":
        server.starttls(context=trusting)
try:
    server.login(login, password)
    server.sendmail(sender, ["b@remote.example", "c@remote.example"], "Subject: smtplib\r\n\r\ntext\r\n")
    print("sent")
except (smtplib.SMTPResponseException, smtplib.SMTPNotSupportedError) as error:
    print(error)
except smtplib.SMTPSenderRefused as error:
    print(error)
except smtplib.SMTPRecipientsRefused as error:
    print(error)
server.quit()
"#;

#[track_caller]
fn smtplib(mode: &str, port: u16, password: &str, sender: &str) -> String {
    let port = port.to_string();
    python(SMTPLIB, &[mode, &port, "a@shop.example", password, sender]).well().trim().to_owned()
}

#[test]
fn mail_programs_send_over_starttls_and_over_implicit_tls() {
    let sink = sink().run();
    let gate = gate().user("a@shop.example", "secret").next_hop(&sink).run();
    assert_eq!(smtplib("starttls", gate.submission().port(), "secret", "a@shop.example"), "sent");
    assert_eq!(smtplib("implicit", gate.submissions().port(), "secret", "a@shop.example"), "sent");
    let taken = sink.wait_for(2);
    assert!(taken.iter().all(|taken| taken.recipients.len() == 2), "{taken:?}");
    let line = gate.logged("message", |line| line["listener"] == "submissions");
    assert_eq!((&line["account"], &line["evidence"]), (&"a@shop.example".into(), &"auth".into()));
    // RFC 3848: S for TLS, A for AUTH.
    assert!(taken[0].fields("Received")[0].contains("ESMTPSA"), "{taken:?}");
}

#[test]
fn a_wrong_password_and_an_unknown_user_hear_the_same() {
    let sink = sink().run();
    let gate = gate()
        .user("a@shop.example", "secret")
        .user("b@shop.example", "other")
        .next_hop(&sink)
        .run();
    let refusal = |login: &str| {
        let port = gate.submission().port().to_string();
        python(SMTPLIB, &["starttls", &port, login, "wrong", "a@shop.example"]).well()
    };
    let (known, unknown) = (refusal("a@shop.example"), refusal("nobody@shop.example"));
    assert!(known.contains("535") && known.contains("5.7.8"), "{known}");
    assert_eq!(known, unknown);
    assert_eq!(sink.count(), 0);
}

#[test]
fn nothing_is_told_or_taken_before_tls() {
    let sink = sink().run();
    let gate = gate().user("a@shop.example", "secret").next_hop(&sink).run();
    let mut client = Client::connect(gate.submission());
    let offers = client.expect(250, "EHLO client.example").lines;
    assert!(offers.contains(&"STARTTLS".to_owned()), "{offers:?}");
    assert!(!offers.iter().any(|offer| offer.starts_with("AUTH")), "{offers:?}");
    assert_eq!(client.say("AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==").code / 100, 5);
    client.expect(530, "MAIL FROM:<a@shop.example>");
}

#[test]
fn nothing_is_taken_before_a_login() {
    let sink = sink().run();
    let gate = gate().user("a@shop.example", "secret").next_hop(&sink).run();
    let script = "
import smtplib, ssl, sys
trusting = ssl.create_default_context()
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
server = smtplib.SMTP('127.0.0.1', int(sys.argv[1]))
server.starttls(context=trusting)
server.ehlo()
print(server.docmd('MAIL', 'FROM:<a@shop.example>'))
server.quit()
";
    let said = python(script, &[&gate.submission().port().to_string()]).well();
    assert!(said.contains("530") && said.contains("5.7.0"), "{said}");
}

#[test]
fn what_was_said_before_starttls_is_forgotten() {
    let sink = sink().run();
    let gate = gate().user("a@shop.example", "secret").next_hop(&sink).run();
    let mut client = Client::hello(gate.submission());
    // The second command must not be answered inside TLS as if it had come there (CVE-2011-0411).
    client.write(b"STARTTLS\r\nRSET\r\n");
    assert_eq!(client.reply().code, 220);
    drop(client);
    let port = gate.submission().port().to_string();
    let script = "
import socket, ssl, sys
trusting = ssl.create_default_context()
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
plain.recv(1000); plain.sendall(b'EHLO c.example\\r\\n'); plain.recv(1000)
plain.sendall(b'STARTTLS\\r\\nNOOP injected\\r\\n'); plain.recv(1000)
try:
    secure = trusting.wrap_socket(plain)
    secure.sendall(b'EHLO c.example\\r\\n')
    print(secure.recv(1000).decode())
except (ssl.SSLError, OSError):
    print('closed')
";
    let said = python(script, &[&port]).well();
    assert!(said.starts_with("250-") || said.trim() == "closed", "{said}");
    assert!(!said.starts_with("250 "), "NOOP was answered inside TLS: {said}");
}

#[test]
fn a_login_uses_its_own_addresses_unless_the_operator_allows_more() {
    let sink = sink().run();
    let gate = gate().user("a@shop.example", "secret").next_hop(&sink).run();
    let port = gate.submission().port();
    let foreign = smtplib("starttls", port, "secret", "boss@bank.example");
    assert!(foreign.contains("550") && foreign.contains("5.7.1"), "{foreign}");
    gate.tollgate(&["account", "set", "a@shop.example", "--senders", "@bank.example"]).well();
    assert_eq!(smtplib("starttls", port, "secret", "boss@bank.example"), "sent");
    drop(gate);

    let gate = crate::support::gate()
        .set("auth.sender_login_mismatch", "allow")
        .user("a@shop.example", "secret")
        .next_hop(&sink)
        .run();
    let port = gate.submission().port();
    assert_eq!(smtplib("starttls", port, "secret", "boss@bank.example"), "sent");
    let line = gate.logged("message", |_| true);
    assert_eq!(line["account"], "a@shop.example");
}

#[test]
fn a_login_is_charged_whatever_its_messages_say() {
    let sink = sink().run();
    let gate = gate()
        .limit(2, "1h")
        .evidence(&["auth", "x-auth-user", "mail-from"])
        .trust("relay = true\nidentity_headers = [\"x-auth-user\"]")
        .set("auth.sender_login_mismatch", "allow")
        .user("a@shop.example", "secret")
        .next_hop(&sink)
        .run();
    let mut client = gate.client();
    client.expect(235, "AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==");
    let text = "X-AuthUser: victim@other.example\n\ntext\n";
    assert_eq!(client.send("victim@other.example", &["b@remote.example"], text).code, 250);
    let line = gate.logged("message", |_| true);
    assert_eq!((&line["account"], &line["evidence"]), (&"a@shop.example".into(), &"auth".into()));
}

#[test]
fn guessing_passwords_is_paced() {
    let sink = sink().run();
    let gate = gate()
        .set("auth.failures_per_minute", 3)
        .user("a@shop.example", "secret")
        .next_hop(&sink)
        .run();
    let mut codes = Vec::new();
    for _ in 0..6 {
        let mut client = gate.client();
        // base64 of "\0a@shop.example\0wrong"
        codes.push(client.say("AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHdyb25n").code);
    }
    assert_eq!(codes[0], 535, "{codes:?}");
    assert_eq!(codes[5], 454, "{codes:?}");
}

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) =
        (certificate(folder.path(), "first.example"), certificate(folder.path(), "second.example"));
    let shown = (folder.path().join("shown.pem"), folder.path().join("shown.key"));
    let show = |pair: &Certificate| {
        std::fs::copy(&pair.certificate, &shown.0).unwrap();
        std::fs::copy(&pair.key, &shown.1).unwrap();
    };
    show(&first);
    let sink = sink().run();
    let mut gate = gate().certificate(&shown.0, &shown.1).next_hop(&sink).run();
    assert!(subject_shown_by(&gate).contains("first.example"));
    let mut open = Client::hello(gate.submission());

    show(&second);
    gate.reload(|settings| settings);
    assert!(subject_shown_by(&gate).contains("second.example"));
    // Connections that were there before go on.
    open.expect(250, "NOOP");
}

fn subject_shown_by(gate: &Gate) -> String {
    let address = gate.submissions().to_string();
    let shown = run("openssl", &["s_client", "-connect", &address]);
    let subject = shown.out.lines().find(|line| line.starts_with("subject="));
    subject.unwrap_or_else(|| panic!("no certificate: {shown:?}")).to_owned()
}
