//! TLS with clients: what STARTTLS forgets, which handshakes fail and how that is told, resumption, server names, and client
//! certificates that make a row of the trust table hold.

use crate::{
    operators::limit,
    support::{
        Client, Gate, Reply, Tls, gate,
        postfix::{Certificate, certificate},
        programs::{run, run_with_input},
        sink, tls, wait_for,
    },
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

/// base64 of "\0a@shop.example\0secret"
const LOGIN: &str = "AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==";

/// Says STARTTLS with more behind it in the same packet, and shakes hands.
fn injected(gate: &Gate, behind: &str) -> Client {
    let mut client = Client::hello(gate.smarthost());
    client.write(format!("STARTTLS\r\n{behind}").as_bytes());
    let go = client.reply();
    assert_eq!(go.code, 220, "{behind:?}: {go}");
    client.protect(&tls()).unwrap_or_else(|error| panic!("{behind:?}: no TLS: {error}"))
}

#[test]
fn what_stands_behind_starttls_is_never_obeyed() {
    let sink = sink().run();
    let gate = gate().user("a@shop.example", "secret").next_hop(&sink).run();
    let long = format!("EHLO evil.example\r\n{}", "NOOP\r\n".repeat(5000));
    for behind in [
        "EHLO evil.example\r\n",
        "EHLO evil.example\r\nMAIL FROM:<evil@shop.example>\r\nRCPT TO:<b@remote.example>\r\n",
        &format!("EHLO evil.example\r\n{LOGIN}\r\n"),
        "EHLO evil.example\r\nMAIL FROM:<e@shop.example>\r\nRCPT TO:<b@remote.example>\r\nDATA\r\n",
        // Half a line must not become the beginning of the first line within TLS.
        "MAIL FROM:<evil@shop.example>",
        "NOOP\r",
        "QUIT\r\n",
        &long,
    ] {
        let mut client = injected(&gate, behind);
        // The answer to this and not to something before it; EHLO was not said.
        client.expect(503, "MAIL FROM:<a@shop.example>");
        let offers = client.expect(250, "EHLO client.example").lines;
        assert!(offers.iter().any(|offer| offer.starts_with("AUTH")), "{behind:?}: {offers:?}");
        client.expect(221, "QUIT");
        assert_eq!(client.rest(), b"", "{behind:?}");
    }
    let heard = sink.heard();
    assert!(!heard.iter().any(|line| line.contains("MAIL")), "{heard:?}");
}

#[test]
fn plaintext_after_the_answer_to_starttls_is_no_handshake() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(220, "STARTTLS");
    client.write(b"MAIL FROM:<evil@shop.example>\r\nRCPT TO:<b@remote.example>\r\n");
    let answer = client.rest();
    // Nothing but an alert of TLS (RFC 8446 §6).
    assert!(matches!(answer.first(), None | Some(21)), "{}", String::from_utf8_lossy(&answer));
    let failed = gate.logged("tls-failed", |_| true);
    assert_eq!((&failed["reason"], &failed["listener"]), (&"not-tls".into(), &"smarthost".into()));
    let closed = gate.logged("session-closed", |line| line["session"] == failed["session"]);
    assert_eq!(closed["reason"], "tls");
}

#[test]
fn starttls_has_its_place() {
    let sink = sink().run();
    let gate = gate().user("a@shop.example", "secret").next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(501, "STARTTLS now");
    client.expect(250, "MAIL FROM:<a@shop.example>");
    client.expect(503, "STARTTLS");
    client.expect(250, "RSET");
    client.expect(235, LOGIN);
    client.expect(250, "NOOP");
    let mut client = client.starttls(&tls());
    client.expect(503, "STARTTLS");
    client.expect(503, "STARTTLS again");
    // The login from before does not count, so it may be given again.
    client.expect(235, LOGIN);
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);

    let mut client = Client::hello(gate.submission());
    for line in ["MAIL FROM:<a@shop.example>", LOGIN, "AUTH LOGIN"] {
        let reply = client.say(line);
        assert_eq!(reply.code, 530, "{line}: {reply}");
    }
    client.starttls(&tls()).expect(235, LOGIN);
    let mut client = Client::hello_tls(gate.submissions(), &tls());
    client.expect(503, "STARTTLS");
}

fn handshakes(gate: &Gate, result: &str) -> u64 {
    let (_, metrics) = gate.http("/metrics");
    let name = format!("tollgate_tls_handshakes_total{{result=\"{result}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} is missing in {metrics}")).parse().unwrap()
}

#[test]
fn failed_handshakes_are_counted_and_told_by_reason() {
    let sink = sink().run();
    let gate = gate().set("tls.timeout_handshake", "500ms").next_hop(&sink).run();
    let connect = || TcpStream::connect(gate.submissions()).unwrap();
    let answer = |mut stream: TcpStream| {
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
    };
    answer(connect());
    let mut plain = connect();
    plain.write_all(b"EHLO client.example\r\n").unwrap();
    answer(plain);
    drop(connect());
    // TLS 1.0, 1.1 and none of our suites, by a real client that is talked into it.
    let openssl = |address: SocketAddr, more: &[&str]| {
        let to = ["s_client", "-connect", &address.to_string()];
        run("openssl", &[&to[..], more].concat())
    };
    for old in ["-tls1", "-tls1_1"] {
        openssl(gate.submissions(), &[old, "-cipher", "ALL@SECLEVEL=0"]).badly();
        openssl(gate.submission(), &[old, "-cipher", "ALL@SECLEVEL=0", "-starttls", "smtp"])
            .badly();
    }
    openssl(gate.submissions(), &["-tls1_2", "-cipher", "AES128-SHA"]).badly();
    // One that does not believe our own certificate.
    let trusting_nobody = ["-verify_return_error", "-verify", "1", "-no-CAfile", "-no-CApath"];
    openssl(gate.submissions(), &trusting_nobody).badly();
    openssl(gate.submissions(), &["-tls1_2"]).well();

    for (reason, count) in [
        ("timeout", 1),
        ("not-tls", 1),
        ("client-gone", 1),
        ("no-common-version", 4),
        ("nothing-in-common", 1),
        ("client-refused", 1),
        ("full", 1),
    ] {
        wait_for(reason, || (handshakes(&gate, reason) == count).then_some(()));
        if reason != "full" {
            gate.logged("tls-failed", |line| line["reason"] == reason);
        }
    }
    // Others are not affected.
    Client::hello_tls(gate.submissions(), &tls()).expect(250, "NOOP");
}

/// Sessions that openssl saves and uses again are resumed, until the certificates are read again.
#[test]
fn sessions_are_resumed_by_tickets() {
    let sink = sink().run();
    let mut gate = gate().next_hop(&sink).run();
    let session = gate.file("session.pem");
    let visit = |gate: &Gate, version: &str, flag: &str| {
        let (address, file) = (gate.submission().to_string(), session.to_str().unwrap());
        let to = ["s_client", "-starttls", "smtp", "-connect", &address, version, flag, file];
        // The connection stays until the gate closes it, so that the tickets are there.
        let patient = [&to[..], &["-ign_eof", "-crlf"]].concat();
        run_with_input("openssl", &patient, "EHLO x\nQUIT\n").well().contains("Reused, ")
    };
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(!visit(&gate, version, "-sess_out"), "{version}");
        assert!(visit(&gate, version, "-sess_in"), "{version}");
        gate.reload(|settings| settings);
        assert!(!visit(&gate, version, "-sess_in"), "{version}: the ticket is void");
    }
    assert_eq!((handshakes(&gate, "full"), handshakes(&gate, "resumed")), (4, 2));
    let resumed = gate.logged("tls-started", |line| line["handshake"] == "resumed");
    assert_eq!(resumed["listener"], "submission");
}

#[test]
fn a_name_is_answered_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (first, shop) =
        (certificate(folder.path(), "gate.example"), certificate(folder.path(), "*.shop.example"));
    let further = |pair: &Certificate| {
        let mut table = toml::Table::new();
        table.insert(
            "certificate".to_owned(),
            pair.certificate.to_string_lossy().into_owned().into(),
        );
        table.insert("key".to_owned(), pair.key.to_string_lossy().into_owned().into());
        vec![toml::Value::from(table)]
    };
    let sink = sink().run();
    let mut gate = gate().certificate(&first.certificate, &first.key).next_hop(&sink).run();
    let subject = |gate: &Gate, name: &[&str]| {
        let address = gate.submission().to_string();
        let to = ["s_client", "-starttls", "smtp", "-connect", &address];
        let said = run("openssl", &[&to[..], name].concat()).out;
        let line = said.lines().find(|line| line.starts_with("subject=")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no certificate in {said}"))
    };
    assert!(subject(&gate, &["-servername", "mail.shop.example"]).contains("gate.example"));
    gate.reload(|settings| settings.set("tls.certificates", further(&shop)));
    for (asked, shown) in [
        (&["-servername", "mail.shop.example"][..], "*.shop.example"),
        (&["-servername", "MAIL.Shop.example"], "*.shop.example"),
        (&["-servername", "gate.example"], "gate.example"),
        (&["-servername", "other.example"], "gate.example"),
        (&["-servername", "a.b.shop.example"], "gate.example"),
        (&["-noservername"], "gate.example"),
    ] {
        let subject = subject(&gate, asked);
        assert!(subject.contains(shown), "{asked:?} was shown {subject}");
    }
    // One wrong file: nothing changes, and the log names it.
    std::fs::write(&shop.key, "nonsense").unwrap();
    let said = gate.reload_wrong("");
    assert!(said.contains(shop.key.to_str().unwrap()), "{said}");
    assert!(subject(&gate, &["-servername", "mail.shop.example"]).contains("*.shop.example"));
}

/// A certificate of version 1 for a key of its own, as openssl makes it where no extension is asked for.
fn version_1(folder: &Path) -> (PathBuf, PathBuf) {
    let file = |kind: &str| folder.join(format!("v1.{kind}")).to_str().unwrap().to_owned();
    let (request, key, own) = (file("req"), file("key"), file("pem"));
    let kind = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=old"];
    let asked = ["req", "-new", "-out", &request, "-keyout", &key];
    run("openssl", &[&asked[..], &kind].concat()).well();
    run("openssl", &["x509", "-req", "-in", &request, "-key", &key, "-out", &own]).well();
    let shown = run("openssl", &["x509", "-noout", "-text", "-in", &own]).well();
    assert!(shown.contains("Version: 1"), "{shown}");
    (own.into(), key.into())
}

fn fingerprint(of: &[&str]) -> String {
    let text = run("openssl", of).well();
    text.split(['=', ' ']).next_back().unwrap().trim().to_owned()
}

/// MAIL and RCPT; the last answer.
fn ask(client: &mut Client) -> Reply {
    let mail = client.say("MAIL FROM:<a@shop.example>");
    if mail.code == 250 { client.say("RCPT TO:<b@remote.example>") } else { mail }
}

#[test]
fn a_client_certificate_makes_a_row_hold_and_is_not_needed_to_send() {
    let folder = tempfile::tempdir().unwrap();
    let by_print = certificate(folder.path(), "web01.shop.example");
    let by_key = certificate(folder.path(), "web02.shop.example");
    let by_name = certificate(folder.path(), "web03.shop.example");
    let foreign = certificate(folder.path(), "foreign.example");
    let impostor_folder = tempfile::tempdir().unwrap();
    let impostor = certificate(impostor_folder.path(), "web03.shop.example");
    let old = version_1(folder.path());

    let file = |certificate: &Certificate| certificate.certificate.to_str().unwrap().to_owned();
    let print =
        fingerprint(&["x509", "-noout", "-fingerprint", "-sha256", "-in", &file(&by_print)]);
    let der = folder.path().join("key.der");
    let public = ["pkey", "-in", by_key.key.to_str().unwrap(), "-pubout", "-outform", "DER"];
    run("openssl", &[&public[..], &["-out", der.to_str().unwrap()]].concat()).well();
    let key_print = fingerprint(&["dgst", "-sha256", der.to_str().unwrap()]);

    let sink = sink().run();
    let gate = gate()
        .client_certificates("optional")
        .set("tls.client_ca", by_name.authority.to_string_lossy().into_owned())
        .trust(&format!("name = \"web01\"\nrelay = true\ncertificate = \"{print}\""))
        .trust(&format!(
            "name = \"web02\"\nrelay = true\ncertificate = \"{key_print}\"\nnetworks = []"
        ))
        .trust("name = \"web03\"\nrelay = true\ncertificate_name = \"web03.shop.example\"")
        .user("a@shop.example", "secret")
        .next_hop(&sink)
        .run();
    let shows = |pair: &Certificate| Tls::with_certificate(&pair.certificate, &pair.key);
    for (who, certificate, row) in [
        ("by its fingerprint", shows(&by_print), "web01"),
        ("by its key's fingerprint", shows(&by_key), "web02"),
        ("by its name", shows(&by_name), "web03"),
    ] {
        let mut client = gate.client().starttls(&certificate);
        assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250, "{who}");
        let line = gate.logged("message", |line| line["peer"] == row);
        assert_eq!(line["account"], "a@shop.example", "{who}");
        // Weak evidence is charged to the server, whatever made its row hold.
        let server = gate.json(&["explain", &format!("peer:{row}")]);
        assert_eq!(limit(&server, "peer", "1 h")["used"], 1, "{who}");
    }
    for (who, certificate) in [
        ("nobody", tls()),
        ("another", shows(&foreign)),
        ("the right name from a foreign authority", shows(&impostor)),
    ] {
        let mut client = gate.client().starttls(&certificate);
        assert_eq!(ask(&mut client).code, 550, "{who}");
        // It is no obstacle either.
        client.expect(235, LOGIN);
        assert_eq!(ask(&mut client).code, 250, "{who}");
    }
    // Nor is one that cannot even be read.
    let (address, own) = (gate.smarthost().to_string(), old.0.to_str().unwrap());
    let to = ["s_client", "-starttls", "smtp", "-connect", &address, "-quiet", "-crlf"];
    let shown = ["-cert", own, "-key", old.1.to_str().unwrap()];
    let lines = format!("EHLO x\nMAIL FROM:<>\n{LOGIN}\nMAIL FROM:<a@shop.example>\nQUIT\n");
    let said = run_with_input("openssl", &[&to[..], &shown].concat(), &lines).well();
    let codes: Vec<&str> =
        said.lines().filter(|l| l.get(3..4) == Some(" ")).filter_map(|l| l.get(..3)).collect();
    assert_eq!(codes.last_chunk(), Some(&["550", "235", "250", "221"]), "{said}");
    // Without TLS, and before it, nothing was shown.
    assert_eq!(ask(&mut gate.client()).code, 550);
    let started = gate.logged("tls-started", |line| line["certificate_name"].is_string());
    assert_eq!(started["certificate_name"], "web03.shop.example");
}

#[test]
fn where_a_certificate_is_required_there_is_no_session_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let known = certificate(folder.path(), "web01.shop.example");
    let foreign = certificate(folder.path(), "foreign.example");
    let sink = sink().run();
    let gate = gate()
        .client_certificates("required")
        .set("tls.client_ca", known.authority.to_string_lossy().into_owned())
        .user("a@shop.example", "secret")
        .next_hop(&sink)
        .run();
    let shows = |pair: &Certificate| Tls::with_certificate(&pair.certificate, &pair.key);
    Client::hello_tls(gate.submissions(), &shows(&known)).expect(235, LOGIN);
    for (reason, tls) in [("no-certificate", tls()), ("bad-certificate", shows(&foreign))] {
        let stream = TcpStream::connect(gate.submissions()).unwrap();
        // In TLS 1.3 the client is done before the server has looked at its certificate, so it notices only now.
        let greeting = Client::over(Box::new(stream)).protect(&tls).and_then(|mut c| c.try_reply());
        assert!(greeting.is_err(), "{reason}: {greeting:?}");
        gate.logged("tls-failed", |line| line["reason"] == reason);
    }
}

/// A server that may say XCLIENT shows its certificate; the client that it speaks for does not get the server's rights.
#[test]
fn behind_xclient_the_servers_certificate_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let own = certificate(folder.path(), "web01.shop.example");
    let file = own.certificate.to_str().unwrap();
    let print = fingerprint(&["x509", "-noout", "-fingerprint", "-sha256", "-in", file]);
    let sink = sink().run();
    let gate = gate()
        .client_certificates("optional")
        .trust(&format!("name = \"web01\"\nrelay = true\ncertificate = \"{print}\"\nnetworks = []"))
        .trust("name = \"proxy\"\nxclient = true")
        .next_hop(&sink)
        .run();
    let shows = Tls::with_certificate(&own.certificate, &own.key);
    let mut client = gate.client().starttls(&shows);
    assert_eq!(ask(&mut client).code, 250);
    let mut client = gate.client().starttls(&shows);
    client.expect(220, "XCLIENT ADDR=198.51.100.7");
    client.expect(250, "EHLO client.example");
    assert_eq!(ask(&mut client).code, 550);
}
