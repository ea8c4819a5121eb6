//! SCRAM-SHA-256 with the real program: the other side is Python's hashlib and hmac, written from RFC 5802 and sharing nothing with
//! the program; entries of the passwd-file come from `tollgate passwd` and from Dovecot's `doveadm pw`.

use crate::support::{
    gate,
    programs::{python, run, run_with_input},
    sink,
};

/// Logs in by SCRAM over STARTTLS and sends a message: PORT LOGIN PASSWORD TRICK; prints what it heard. With a trick it does
/// one thing wrong: `proof`, `nonce`, `binding`, `replay` (a message that was right a moment ago), `cancel` (after the server
/// has proven itself).
const SCRAM: &str = r#"
import base64, hashlib, hmac, os, smtplib, ssl, sys
port, login, password, trick = sys.argv[1:]
trusting = ssl.create_default_context()
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
encode = lambda text: base64.b64encode(text).decode()
sign = lambda key, text: hmac.new(key, text, hashlib.sha256).digest()

def connect():
    server = smtplib.SMTP("127.0.0.1", int(port))
    server.starttls(context=trusting)
    server.ehlo()
    return server

def exchange(server, last=None):
    nonce = encode(os.urandom(18))
    first = f"n={login.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
    code, text = server.docmd("AUTH", "SCRAM-SHA-256 " + encode(b"n,," + first.encode()))
    if code != 334:
        return code, text, None
    challenge = base64.b64decode(text).decode()
    fields = dict(field.split("=", 1) for field in challenge.split(","))
    assert fields["r"].startswith(nonce) and len(fields["r"]) > len(nonce) + 16
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    client = sign(salted, b"Client Key")
    r = fields["r"] + ("x" if trick == "nonce" else "")
    unproven = f"c={'eSws' if trick == 'binding' else 'biws'},r={r}"
    message = f"{first},{challenge},{unproven}".encode()
    proof = bytes(a ^ b for a, b in zip(client, sign(hashlib.sha256(client).digest(), message)))
    if trick == "proof":
        proof = proof[:-1] + bytes([proof[-1] ^ 1])
    last = last or f"{unproven},p={encode(proof)}"
    code, text = server.docmd(encode(last.encode()))
    if code != 334:
        return code, text, last
    expected = "v=" + encode(sign(sign(salted, b"Server Key"), message))
    assert base64.b64decode(text).decode() == expected, "the server has not proven itself"
    code, text = server.docmd("*" if trick == "cancel" else "")
    return code, text, last

server = connect()
code, text, last = exchange(server)
if trick == "replay":
    server = connect()
    code, text, _ = exchange(server, last)
print(code, text.decode())
if trick == "shape":
    for name in sys.stdin.read().split():
        reply = connect().docmd("AUTH", "SCRAM-SHA-256 " + encode(f"n,,n={name},r=abc".encode()))
        fields = base64.b64decode(reply[1]).decode().split(",")
        print(name, fields[1], fields[2])
try:
    server.sendmail(login, ["b@remote.example"], "Subject: scram\r\n\r\ntext\r\n")
    print("sent")
except smtplib.SMTPSenderRefused as error:
    print(error.smtp_code)
server.quit()
"#;

fn scram(port: u16, login: &str, password: &str, trick: &str) -> String {
    let port = port.to_string();
    python(SCRAM, &[&port, login, password, trick]).well().trim().replace('\n', ", ")
}

/// A line as Dovecot makes it.
fn by_doveadm(password: &str) -> String {
    run("doveadm", &["pw", "-s", "SCRAM-SHA-256", "-p", password]).well().trim().to_owned()
}

/// A line as we make it.
fn by_tollgate(password: &str) -> String {
    let program = env!("CARGO_BIN_EXE_tollgate");
    let arguments = ["passwd", "x", "--scheme", "scram-sha-256"];
    let line = run_with_input(program, &arguments, password).well();
    line.trim().strip_prefix("x:").expect("it is of this user").to_owned()
}

#[test]
fn a_login_is_proven_without_its_password_and_the_server_proves_itself() {
    let sink = sink().run();
    let gate = gate()
        .set("auth.mechanisms", vec!["SCRAM-SHA-256", "PLAIN", "LOGIN"])
        .set("auth.failures_per_minute", 1000)
        .user_with("a@shop.example", &by_tollgate("secret"))
        .user_with("d@shop.example", &by_doveadm("pencil"))
        .user("old@shop.example", "secret")
        .next_hop(&sink)
        .run();
    let port = gate.submission().port();
    let sent = "235 2.7.0 authentication succeeded, sent";
    assert_eq!(scram(port, "a@shop.example", "secret", ""), sent);
    assert_eq!(scram(port, "d@shop.example", "pencil", ""), sent);
    let line = gate.logged("message", |line| line["account"] == "d@shop.example");
    assert_eq!(line["evidence"], "auth");
    gate.logged("login-succeeded", |line| line["mechanism"] == "SCRAM-SHA-256");

    let failed = "535 5.7.8 authentication failed, 530";
    for (login, password) in [
        ("a@shop.example", "wrong"),
        ("nobody@shop.example", "secret"),
        // Its hash is not SCRAM's, so there is nothing to prove.
        ("old@shop.example", "secret"),
    ] {
        assert_eq!(scram(port, login, password, ""), failed, "{login} {password}");
    }
    let malformed = "501 5.5.2 malformed authentication response, 530";
    for (trick, heard) in [
        ("proof", failed),
        ("nonce", malformed),
        ("binding", malformed),
        ("replay", malformed),
        ("cancel", "501 5.7.0 authentication cancelled, 530"),
    ] {
        assert_eq!(scram(port, "a@shop.example", "secret", trick), heard, "{trick}");
    }
    assert_eq!(sink.count(), 2);
}

#[test]
fn scram_entries_serve_plain_passwords_too() {
    let sink = sink().run();
    let gate = gate()
        .user_with("a@shop.example", &by_doveadm("pässwörd"))
        .user_with("b@shop.example", &by_tollgate("pässwörd"))
        .next_hop(&sink)
        .run();
    let mut client = gate.client();
    assert_eq!(client.say("AUTH SCRAM-SHA-256").code, 504, "it is not offered unless configured");
    for (login, password, code) in [
        ("a@shop.example", "pässwörd", 235),
        ("b@shop.example", "pässwörd", 235),
        // The same letters in Unicode's other form: SASLprep makes them one.
        ("b@shop.example", "pa\u{308}sswo\u{308}rd", 235),
        ("a@shop.example", "password", 535),
    ] {
        use base64::Engine as _;
        let plain = format!("\0{login}\0{password}");
        let response = base64::engine::general_purpose::STANDARD.encode(plain);
        let reply = gate.client().say(&format!("AUTH PLAIN {response}"));
        assert_eq!(reply.code, code, "{login} {password}: {reply}");
    }
}

/// Neither one look nor a second one after a restart tells who exists.
#[test]
fn unknown_names_have_a_salt_that_stays() {
    let sink = sink().run();
    let mut gate = gate()
        .set("auth.mechanisms", vec!["SCRAM-SHA-256", "PLAIN"])
        .user_with("a@shop.example", &by_doveadm("pencil"))
        .user("old@shop.example", "secret")
        .next_hop(&sink)
        .run();
    let names = ["a@shop.example", "old@shop.example", "nobody@shop.example", "x"];
    let look = |port: u16| {
        let arguments = ["-c", SCRAM, &port.to_string(), names[0], "pencil", "shape"];
        let said = run_with_input("python3", &arguments, &names.join(" ")).well();
        let lines = said.lines().filter(|line| line.contains(" s=")).map(str::to_owned);
        lines.collect::<Vec<String>>()
    };
    let before = look(gate.submission().port());
    assert_eq!(before.len(), names.len(), "{before:?}");
    for line in &before {
        let [_, salt, iterations] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        assert_eq!((salt.len(), iterations), ("s=".len() + 24, "i=4096"), "{line}");
    }
    gate.restart();
    assert_eq!(look(gate.submission().port()), before);
}
