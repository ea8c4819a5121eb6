//! What scanners say of the gate: nmap's SMTP and TLS scripts, testssl.sh, swaks. docs/threat-model.md has what a whole run of
//! testssl.sh found.

use crate::support::{Gate, gate, programs::run, sink};

/// Runs nmap's scripts against a port; the scripts' part of what it says.
#[track_caller]
fn nmap(port: u16, scripts: &[&str]) -> String {
    let scripts: Vec<String> = scripts.iter().map(|script| format!("+{script}")).collect();
    let (port, scripts) = (port.to_string(), scripts.join(","));
    let names = "smtp-open-relay.domain=remote.example,smtp.domain=gate.example";
    let scan = ["-Pn", "-n", "-sT", "-p", &port, "--script", &scripts, "--script-args", names];
    run("nmap", &[&scan[..], &["127.0.0.1"]].concat()).well()
}

/// Only another address of this machine is trusted; whoever comes from the first is a stranger.
fn guarded() -> (crate::support::Sink, Gate) {
    let sink = sink().run();
    let gate = gate()
        .trust("networks = [\"127.0.0.66\"]\nrelay = true")
        .user("root@gate.example", "secret")
        .next_hop(&sink)
        .run();
    (sink, gate)
}

#[test]
fn nmap_finds_no_open_relay_no_user_and_no_known_hole() {
    let (sink, gate) = guarded();
    let scripts = [
        "smtp-commands",
        "smtp-open-relay",
        "smtp-enum-users",
        "smtp-vuln-cve2010-4344",
        "smtp-vuln-cve2011-1720",
        "smtp-vuln-cve2011-1764",
        "smtp-strangeport",
    ];
    let said = nmap(gate.smarthost().port(), &scripts);
    assert!(said.contains("smtp-open-relay: Server doesn't seem to be an open relay"), "{said}");
    assert!(said.contains("Couldn't find any accounts"), "{said}");
    assert!(said.contains("smtp-commands: gate.example"), "{said}");
    assert!(!said.replace("NOT VULNERABLE", "").contains("VULNERABLE"), "{said}");
    assert_eq!(sink.count(), 0);
}

/// The same scan of a gate that trusts the scanner: it can tell the difference.
#[test]
fn nmap_knows_a_relay_when_it_may_use_it() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let said = nmap(gate.smarthost().port(), &["smtp-open-relay"]);
    assert!(said.contains("Server is an open relay"), "{said}");
}

#[test]
fn nmap_finds_no_weak_cipher() {
    let (_sink, gate) = guarded();
    let said = nmap(gate.submissions().port(), &["ssl-enum-ciphers"]);
    assert!(said.contains("TLSv1.2:") && said.contains("least strength: A"), "{said}");
    for old in ["SSLv3:", "TLSv1.0:", "TLSv1.1:"] {
        assert!(!said.contains(old), "{said}");
    }
}

#[test]
fn testssl_finds_nothing_of_weight() {
    let (_sink, gate) = guarded();
    let file = gate.file("testssl.json");
    let address = gate.submission().to_string();
    let quiet = ["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none"];
    // Protocols, kinds of ciphers, and the holes that are quickly looked for.
    let what = ["-p", "-s", "--ccs", "-C", "-O", "-W", "-F", "-4"];
    let how = ["-t", "smtp", "--jsonfile", file.to_str().unwrap(), &address];
    let said = run("testssl", &[&quiet[..], &what, &how].concat());
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let words = |finding: &serde_json::Value, key: &str| {
        finding[key].as_str().unwrap_or_default().to_owned()
    };
    for finding in &findings {
        let severity = words(finding, "severity");
        assert!(!["MEDIUM", "HIGH", "CRITICAL"].contains(&severity.as_str()), "{finding}");
    }
    // It did look.
    for (id, finding) in [("TLS1_2", "offered"), ("TLS1_3", "offered"), ("TLS1", "not offered")] {
        let found = findings.iter().find(|found| words(found, "id") == id);
        let found = found.unwrap_or_else(|| panic!("{id} is missing in {text}"));
        assert!(words(found, "finding").starts_with(finding), "{found}");
    }
    assert!(findings.len() > 15, "{text}");
}

#[test]
fn swaks_logs_in_and_claims_only_what_it_may() {
    let (sink, gate) = guarded();
    let port = gate.smarthost().port().to_string();
    let to = ["--server", "127.0.0.1", "--port", &port, "--from", "root@gate.example"];
    let swaks = |more: &[&str]| {
        run("swaks", &[&to[..], &["--to", "b@remote.example", "--tls"], more].concat())
    };
    let login = ["--auth-user", "root@gate.example", "--auth-password", "secret"];
    swaks(&[&["--auth", "PLAIN"], &login[..]].concat()).well();
    assert_eq!(sink.count(), 1);
    let proxied =
        ["--proxy-family", "TCP4", "--proxy-source", "127.0.0.66", "--proxy-source-port", "1"];
    let proxied =
        [&proxied[..], &["--proxy-dest", "127.0.0.1", "--proxy-dest-port", "25"]].concat();
    for (claim, says) in [
        (&["--xclient-addr", "127.0.0.66"][..], "did not advertise XCLIENT"),
        (&["--xclient-login", "root@gate.example"], "did not advertise XCLIENT"),
        (&proxied, ""),
        (&[], "550 5.7.1"),
    ] {
        let said = swaks(claim).badly();
        assert!(said.contains(says), "{claim:?}: {said}");
    }
    assert_eq!(sink.count(), 1);
}
