//! A customer's mail server behind the gate: real Postfix, configured by the lines of `deploy/smarthost/postfix.md`.

use crate::{
    operators::used,
    support::{
        Client, Gate, Sink, gate,
        guide::Guide,
        postfix::{Certificate, FakeDovecot, Postfix, certificate},
        sink, wait_for,
    },
};
use base64::Engine as _;
use std::net::SocketAddr;

/// The guide with the gate's name and port in it.
fn guide(chapter: &str, gate: &Gate) -> Guide {
    let port = gate.smarthost().port().to_string();
    Guide::chapter("postfix", chapter)
        .replace("gate.provider.example", "localhost")
        .replace("2525", &port)
}

/// Sends a mail through Postfix as a user who logged in there.
fn send_as(user: &str, server: SocketAddr, recipient: &str) {
    let mut client = Client::hello(server);
    let login = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0any"));
    client.expect(235, &format!("AUTH PLAIN {login}"));
    let reply = client.send(user, &[recipient], "Subject: through Postfix\n\ntext\n");
    assert_eq!(reply.code, 250, "{reply}");
}

#[test]
fn with_a_login_of_its_own_each_of_its_users_is_charged() {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificate(folder.path(), "localhost");
    let sink = sink().run();
    let chapter = "With a login of its own";
    let gate = gate()
        .limit(2, "1h")
        .evidence_as_shipped()
        .trust(&Guide::chapter("postfix", chapter).trust_row())
        .user("web01", "the-password-of-web01")
        .certificate(&pair.certificate, &pair.key)
        .next_hop(&sink)
        .run();
    let dovecot = FakeDovecot::start();
    let guide = guide(chapter, &gate)
        .replace("/etc/ssl/certs/ca-certificates.crt", pair.authority.to_str().unwrap());
    let postfix = Postfix::start(&guide, &dovecot);

    send_as("a@shop.example", postfix.address, "one@remote.example");
    send_as("b@shop.example", postfix.address, "one@remote.example");
    let line = gate.logged("message", |line| line["account"] == "a@shop.example");
    assert_eq!((&line["evidence"], &line["peer"]), (&"received-auth".into(), &"web01".into()));
    gate.logged("message", |line| line["account"] == "b@shop.example");

    // A program on the server is charged as itself, whatever it claims to be.
    let forged =
        "Received: from pc (Authenticated sender: a@shop.example); date\nSubject: forged\n\ntext\n";
    postfix.sendmail("a@shop.example", "two@remote.example", forged).well();
    let line = gate.logged("message", |line| line["evidence"] == "received-userid");
    assert_eq!(line["account"], "0@web01");
    assert_eq!((sink.wait_for(3).len(), used(&gate, "a@shop.example")), (3, 1));

    // The second passes, the third waits in Postfix's queue with the reason.
    send_as("a@shop.example", postfix.address, "two@remote.example");
    sink.wait_for(4);
    send_as("a@shop.example", postfix.address, "three@remote.example");
    let reason = "450 4.7.1 account a@shop.example: 2 of 2 recipients in 1 h; next slot";
    wait_for("the reason in Postfix's log", || postfix.log().contains(reason).then_some(()));
    assert_eq!((sink.count(), used(&gate, "a@shop.example")), (4, 2));
}

#[test]
fn without_its_login_a_server_is_a_stranger() {
    let sink = sink().run();
    let row = Guide::chapter("postfix", "With a login of its own").trust_row();
    let gate = gate().trust(&row).user("web01", "the-password-of-web01").next_hop(&sink).run();
    let mut client = gate.client();
    let mail = client.say("MAIL FROM:<a@shop.example>");
    let reply = if mail.code == 250 { client.say("RCPT TO:<b@remote.example>") } else { mail };
    assert_eq!(reply.code / 100, 5, "{reply}");
}

#[test]
fn by_its_address_the_senders_and_their_clients_are_told() {
    let sink = sink().run();
    let chapter = "By its address";
    let trust = Guide::chapter("postfix", chapter).replace("192.0.2.10", "127.0.0.1").trust_row();
    let gate = gate().limit(2, "1h").evidence_as_shipped().trust(&trust).next_hop(&sink).run();
    let postfix = Postfix::start(&guide(chapter, &gate), &FakeDovecot::start());
    let mut client = Client::hello_from([127, 0, 0, 5].into(), postfix.address);
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);

    let line = gate.logged("message", |line| line["outcome"] == "sent");
    assert_eq!(
        (&line["account"], &line["peer"]),
        (&"a@shop.example".into(), &"customer-17".into())
    );
    assert_eq!((&line["evidence"], &line["client"]), (&"mail-from".into(), &"127.0.0.5".into()));
    assert!(sink.last().fields("Received").len() == 2, "{:?}", sink.last().fields("Received"));
}

/// A Postfix that takes mail over TLS from those who log in, as a provider's outbound servers do, in front of a sink.
fn next_hop(sink: &Sink, certificate: &Certificate, tls: &str) -> Postfix {
    let chain = format!("{}, {}", certificate.key.display(), certificate.certificate.display());
    let main_cf = format!(
        "relayhost = [127.0.0.1]:{port}\nsmtp_tls_security_level = none\nmynetworks =\n\
         smtpd_tls_chain_files = {chain}\nsmtpd_tls_auth_only = yes\n{tls}\n\
         smtpd_relay_restrictions = permit_sasl_authenticated, reject\n",
        port = sink.address().port(),
    );
    Postfix::start_with(&main_cf, "", &FakeDovecot::start())
}

#[test]
fn next_hops_are_spoken_to_over_tls_with_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let pair = certificate(folder.path(), "out.provider.example");
    let login = "login = \"gate\"\npassword = \"any\"\n";
    let known =
        format!("{login}tls_name = \"out.provider.example\"\ntls_ca = {:?}\n", pair.authority);
    let unknown =
        format!("{login}tls_name = \"else.provider.example\"\ntls_ca = {:?}\n", pair.authority);
    for (server, client) in [
        ("smtpd_tls_security_level = encrypt", "required"),
        ("smtpd_tls_security_level = encrypt\nsmtpd_tls_wrappermode = yes", "implicit"),
    ] {
        let sink = sink().run();
        let postfix = next_hop(&sink, &pair, server);
        let send = |keys: &str| {
            let keys = format!("{keys}tls = {client:?}\nverify = true\n");
            let gate = gate().next_hop_at(postfix.address, &keys).run();
            let mut session = gate.client();
            session.expect(250, "MAIL FROM:<a@shop.example>");
            match session.say("RCPT TO:<b@remote.example>").code {
                250 => session.text("text").code,
                refused => refused,
            }
        };
        assert_eq!(send(&unknown), 451, "{client}: a certificate for another name was believed");
        assert_eq!(send(&known), 250, "{client}");
        assert_eq!(sink.wait_for(1).len(), 1);
        assert!(sink.last().fields("Received")[0].contains("ESMTPSA"), "{:?}", sink.last());
    }
}

#[test]
fn a_next_hop_without_the_tls_that_is_required_gets_nothing() {
    let sink = sink().run();
    let gate = gate().next_hop_at(sink.address(), "tls = \"required\"").run();
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(451, "RCPT TO:<b@remote.example>");
    assert!(!sink.heard().iter().any(|line| line.starts_with("MAIL")), "{:?}", sink.heard());
}
