//! A customer's mail server behind the gate: real Exim, configured by the lines of `deploy/smarthost/exim.md`.

use crate::{
    operators::used,
    support::{Client, Gate, exim::Exim, gate, guide::Guide, postfix::certificate, sink, wait_for},
};
use base64::Engine as _;

const CHAPTER: &str = "With a login of its own";

/// The guide with the gate's name and port in it.
fn guide(gate: &Gate, authority: &str) -> Guide {
    let port = gate.smarthost().port().to_string();
    Guide::chapter("exim", CHAPTER)
        .replace("gate.provider.example", "localhost")
        .replace("2525", &port)
        .replace("/etc/ssl/certs/ca-certificates.crt", authority)
        // The test's gate listens on a loopback address, which Exim takes for itself.
        .replace("  no_more\n", "  self = send\n  no_more\n")
        .replace("  driver = smtp\n", "  driver = smtp\n  allow_localhost\n")
}

/// Hands a mail to Exim as a user who logged in there.
fn send_as(user: &str, exim: &Exim, recipient: &str, text: &str) {
    let mut client = Client::hello(exim.address);
    let login = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0any"));
    client.expect(235, &format!("AUTH PLAIN {login}"));
    let reply = client.send(user, &[recipient], text);
    assert_eq!(reply.code, 250, "{reply}");
}

#[test]
fn each_user_of_an_exim_is_charged_and_none_can_name_another() {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificate(folder.path(), "localhost");
    let sink = sink().run();
    let gate = gate()
        .limit(2, "1h")
        .evidence_as_shipped()
        .trust(&Guide::chapter("exim", CHAPTER).trust_row())
        .user("web01", "the-password-of-web01")
        .certificate(&pair.certificate, &pair.key)
        .next_hop(&sink)
        .run();
    let exim = Exim::behind(&guide(&gate, pair.authority.to_str().unwrap()));

    let forged = "X-AuthUser: b@shop.example\nSubject: forged\n\ntext\n";
    send_as("a@shop.example", &exim, "one@remote.example", forged);
    let line = gate.logged("message", |line| line["account"] == "a@shop.example");
    assert_eq!((&line["evidence"], &line["peer"]), (&"x-auth-user".into(), &"web01".into()));
    exim.sendmail("two@remote.example", forged).well();
    let line = gate.logged("message", |line| line["account"] != "a@shop.example");
    assert_eq!(
        (&line["account"], &line["evidence"]),
        (&"root@web01".into(), &"x-auth-user".into())
    );
    assert_eq!(used(&gate, "b@shop.example"), 0, "a forged field framed its neighbour");

    // The second passes, the third waits in Exim's queue with the reason.
    send_as("a@shop.example", &exim, "two@remote.example", "Subject: 2\n\ntext\n");
    sink.wait_for(3);
    send_as("a@shop.example", &exim, "three@remote.example", "Subject: 3\n\ntext\n");
    let reason = "450 4.7.1 account a@shop.example: 2 of 2 recipients in 1 h; next slot";
    wait_for("the reason in Exim's log", || exim.log().contains(reason).then_some(()));
    assert_eq!((sink.count(), used(&gate, "a@shop.example")), (3, 2));

    // The K in its log says that it sent the text with BDAT (Exim specification, "The log files").
    let sent = exim
        .log()
        .lines()
        .filter(|line| line.contains(" => "))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert!(!sent.is_empty() && sent.iter().all(|line| line.contains(" K ")), "{sent:?}");
}

#[test]
fn an_exim_as_next_hop_takes_what_was_sent() {
    let exim = Exim::keeping("");
    let gate = gate().next_hop_at(exim.address, "").run();
    let text = "Subject: dots\n\n.\n..two\n.three\nlast";
    let mut client = gate.client_offered("8BITMIME");
    let stuffed = text.replace("\n.", "\n..");
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], &stuffed).code, 250);
    let kept = wait_for("Exim to keep it", || exim.kept().pop());
    assert!(kept.ends_with(&format!("{text}\n")), "{kept}");
    assert!(kept.contains("b@remote.example"), "{kept}");
}
