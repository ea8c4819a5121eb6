//! Senders against whom something speaks are warned, throttled and suspended, with the evidence; who is not one of them goes on.

use crate::{
    mail_programs::swaks,
    support::{
        Client, Faults, Gate, Settings, Sink, gate,
        programs::{Said, run_command},
        sink, wait_for,
        webhook::{Mood, Webhook},
    },
};
use serde_json::Value;
use std::{fs, net::SocketAddr, process::Command, time::Duration};

const ACCOUNT: &str = "anna@shop.example";
/// What a thief sends: its text counts as spam by any measure.
const SPAM: &str = "Dear Homeowner,\r\n\r\nyou have been selected for a risk free home loan at the lowest rates, bad\r\n\
                    credit or no credit. Save $1,000 a month, GUARANTEED! Click here now:\r\nhttp://192.0.2.1/loan To be \
                    removed from future mailings reply with remove\r\nin the subject line.";

/// A gate whose next hop knows nobody called `gone`.
fn setting() -> (Sink, Settings) {
    let sink =
        sink().refuse("gone@remote.example", "550 5.1.1 <gone@remote.example>: User unknown").run();
    let settings =
        gate().limit(50, "1h").set("server.contact", "abuse@provider.example").next_hop(&sink);
    (sink, settings)
}

/// A spam message to a stranger and to somebody who does not exist.
fn spam(client: &mut Client, account: &str, nth: usize) -> Vec<u16> {
    let mut codes = vec![client.say(&format!("MAIL FROM:<{account}>")).code];
    for to in [format!("stranger{nth}@remote.example"), "gone@remote.example".into()] {
        codes.push(client.say(&format!("RCPT TO:<{to}>")).code);
    }
    if codes[1] == 250 {
        let text = format!(
            "From: Webmail Administrator <x@free.example>\r\nSubject: LOWEST mortgage rates! {nth}\r\n\r\n{SPAM}"
        );
        codes.push(client.text(&text).code);
    } else {
        client.expect(250, "RSET");
    }
    codes
}

/// Sends spam until the account is suspended; says how many messages went out.
#[track_caller]
fn abuse(gate: &Gate, account: &str) -> usize {
    let mut client = gate.client();
    for sent in 0..20 {
        let codes = spam(&mut client, account, sent);
        if codes.last() == Some(&550) && codes.len() > 3 || codes[1] == 550 {
            return sent;
        }
    }
    panic!("{account} is not suspended: {}", gate.log_text());
}

fn event(gate: &Gate, name: &str, account: &str) -> Value {
    gate.logged(name, |line| line["account"] == account)
}

#[test]
fn who_sends_spam_is_suspended_within_a_few_messages_and_reaches_the_provider_still() {
    let (sink, settings) = setting();
    let webhook = Webhook::start(Mood::Well);
    let mut gate = crate::alerts::calling(settings, webhook.address()).run();
    // Somebody honest of the same tenant, and one with a bad list but no spam.
    let mut honest = gate.client();
    assert_eq!(honest.send("budi@shop.example", &["friend@remote.example"], "hello").code, 250);
    let sent = abuse(&gate, ACCOUNT);
    assert!((2..=6).contains(&sent), "{sent} messages went out");
    assert_eq!(sink.recipients(), sent + 1);

    let suspended = event(&gate, "suspended", ACCOUNT);
    assert_eq!(suspended["actor"], "spam rules");
    let reason = suspended["reason"].as_str().unwrap();
    for part in ["points: ", "unknown-recipients", "content"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(suspended["until"].is_string());
    let message = gate.logged("message", |line| line["account"] == ACCOUNT && line["spam"] == true);
    assert!(message["score"].as_f64().unwrap() >= 5.0, "{message}");

    // What it hears says until when, under which case and whom to ask.
    let said = swaks(gate.smarthost(), ACCOUNT, &["--to", "b@remote.example"]).badly();
    let case = suspended["case"].as_str().unwrap();
    for part in [
        "550 5.7.1 account anna@shop.example is suspended until ",
        case,
        "contact abuse@provider.example",
    ] {
        assert!(said.contains(part), "{said}");
    }
    swaks(gate.smarthost(), ACCOUNT, &["--to", "abuse@provider.example"]).well();
    swaks(gate.smarthost(), ACCOUNT, &["--to", "Postmaster@Provider.example"]).well();
    let mixed =
        swaks(gate.smarthost(), ACCOUNT, &["--to", "b@remote.example,abuse@provider.example"]);
    assert!(mixed.out.contains("is suspended"), "{mixed:?}");
    assert_eq!(
        honest.send("budi@shop.example", &["friend@remote.example"], "hello again").code,
        250
    );

    // The evidence is in the audit, and the alert went out.
    let alert = webhook.wait_for("the alert", |json| json["condition_name"] == "suspended");
    assert_eq!(
        (&alert["facts"]["account"], &alert["facts"]["case"]),
        (&ACCOUNT.into(), &case.into()),
        "{alert}"
    );
    let entries = gate.tollgate(&["audit", "--action", "suspended", "--json"]).well();
    let entry: Value = serde_json::from_str(entries.lines().next().unwrap()).unwrap();
    let evidence: Value = serde_json::from_str(entry["evidence"].as_str().unwrap()).unwrap();
    assert_eq!(evidence["id"], case);
    let first = &evidence["samples"][0];
    assert_eq!(
        (&first["client"], &first["recipients"]),
        (&"127.0.0.1".into(), &2.into()),
        "{evidence}"
    );
    assert_eq!(first["from"], "x@free.example");

    // It holds after a crash, and what led to it is known.
    gate.kill();
    gate.start();
    assert_eq!(gate.client().say(&format!("MAIL FROM:<{ACCOUNT}>")).code, 250);
    swaks(gate.smarthost(), ACCOUNT, &["--to", "b@remote.example"]).badly();
}

#[test]
fn a_suspension_lifts_by_itself_and_the_next_waits_for_a_person() {
    let (_sink, settings) = setting();
    let gate = settings
        .set("suspension.suspended_for", "2s")
        .set("suspension.lifts_max", 1)
        .set("suspension.reply", "defer")
        .run();
    abuse_deferred(&gate, "first");
    let resumed = event(&gate, "resumed", ACCOUNT);
    assert_eq!(
        (&resumed["actor"], &resumed["reason"]),
        (&"spam rules".into(), &"the time of the suspension is over".into())
    );
    // The next one is the first that no longer lifts.
    let again = abuse_deferred(&gate, "again");
    assert!(!again.contains(" until "), "{again}");
    std::thread::sleep(Duration::from_secs(7));
    swaks(gate.smarthost(), ACCOUNT, &["--to", "b@remote.example"]).badly();
}

/// Sends spam until the account is suspended where that is a 450; says what it heard.
#[track_caller]
fn abuse_deferred(gate: &Gate, to: &str) -> String {
    let mut client = gate.client();
    for nth in 0..40 {
        client.expect(250, &format!("MAIL FROM:<{ACCOUNT}>"));
        let said = client.say("RCPT TO:<gone@remote.example>");
        if said.text().contains("is suspended") {
            assert_eq!(said.code, 450);
            return said.text();
        }
        client.say(&format!("RCPT TO:<{to}{nth}@remote.example>"));
        let text = format!("Subject: LOWEST mortgage rates! {nth}\r\n\r\n{SPAM}");
        if client.say("DATA").code == 354 {
            client.write(format!("{text}\r\n.\r\n").as_bytes());
            client.reply();
        } else {
            client.expect(250, "RSET");
        }
    }
    panic!("not suspended: {}", gate.log_text());
}

#[test]
fn whoever_is_only_observed_is_told_of_and_goes_on() {
    let (sink, settings) = setting();
    let gate = settings.set("suspension.mode", "observe").run();
    let mut client = gate.client();
    for nth in 0..20 {
        assert_eq!(spam(&mut client, ACCOUNT, nth), [250, 250, 550, 250]);
    }
    assert_eq!(sink.count(), 20);
    let told = gate.logged("standing-changed", |line| line["is"] == "suspended");
    assert_eq!(
        (&told["observed_only"], &told["was"]),
        (&true.into(), &"throttled".into()),
        "{told}"
    );
    assert!(told["reasons"].as_str().unwrap().contains("unknown"), "{told}");
}

#[test]
fn accounts_of_a_plan_that_is_only_observed_have_no_consequences_for_others() {
    let (sink, settings) = setting();
    let gate = settings.set("plan.test.mode", "observe").run();
    for account in ["a@shop.example", "b@shop.example", "c@shop.example"] {
        let mut client = gate.client();
        for nth in 0..8 {
            assert_eq!(spam(&mut client, account, nth), [250, 250, 550, 250]);
        }
        gate.logged("standing-changed", |line| {
            line["account"] == account && line["is"] == "suspended"
        });
    }
    assert_eq!(sink.count(), 24);
    let log = gate.log();
    let of_group = |line: &&Value| line["event"] == "standing-changed" && line["account"].is_null();
    assert!(!log.iter().any(|line| of_group(&line)), "{log:?}");
}

#[test]
fn a_trap_a_mark_and_a_text_that_is_too_bad() {
    let (sink, settings) = setting();
    let traps = tempfile::NamedTempFile::new().unwrap();
    fs::write(traps.path(), "# nobody\nOld@remote.example\n").unwrap();
    let mut gate = settings
        .set("spam.traps", traps.path().to_str().unwrap())
        .set("spam.tag_header", "X-Spam")
        .run();
    assert_eq!(gate.client().send(ACCOUNT, &["old@REMOTE.example"], "hello").code, 250);
    let told = gate.logged("message", |line| line["account"] == ACCOUNT);
    assert!(
        told["points"].as_f64().unwrap() >= 4.0
            && told["reasons"].as_str().unwrap().contains("trap"),
        "{told}"
    );
    assert!(sink.last().fields("X-Spam").is_empty());

    let bad = format!(
        "From: Webmail Administrator <x@free.example>\r\nSubject: LOWEST mortgage rates!\r\n\r\n{SPAM}"
    );
    assert_eq!(gate.client().send("budi@shop.example", &["b@remote.example"], &bad).code, 250);
    let mark = sink.last().fields("X-Spam").remove(0);
    assert!(mark.contains("yes, score=") && mark.contains("credit="), "{mark}");

    gate.reload(|settings| settings.set("spam.refuse_score", 6.0));
    let said = gate.client().send("budi@shop.example", &["b@remote.example"], &bad);
    assert_eq!(said.code, 550);
    assert!(
        said.text().contains("account budi@shop.example: the message looks like spam (score "),
        "{said:?}"
    );
    assert_eq!(gate.logged("refused", |line| line["reason"] == "content")["recipients"], 1);
}

#[test]
fn three_stolen_accounts_throttle_their_tenant_and_a_wave_stops_itself() {
    let (_sink, settings) = setting();
    let mut gate =
        settings.set("suspension.breaker_min", 4).set("suspension.breaker_permille", 0).run();
    for nth in 0..3 {
        abuse(&gate, &format!("a{nth}@shop.example"));
    }
    let tenant = gate.logged("standing-changed", |line| {
        line["tenant"] == "shop.example" && line["account"].is_null()
    });
    assert_eq!((&tenant["was"], &tenant["is"]), (&"active".into(), &"throttled".into()));
    // A fourth and a fifth, of others, are more than there may be.
    abuse(&gate, "b@other.example");
    abuse(&gate, "c@third.example");
    gate.logged("breaker-opened", |_| true);
    let mut client = gate.client();
    for nth in 0..12 {
        spam(&mut client, "d@fourth.example", nth);
    }
    let of_fourth = |line: &Value| line["account"] == "d@fourth.example";
    gate.logged("standing-changed", |line| of_fourth(line) && line["is"] == "throttled");
    let log = gate.log();
    let mut suspended = log.iter().filter(|line| line["event"] == "suspended");
    assert!(!suspended.any(of_fourth), "{log:?}");

    // It stays so after a crash, until a person says that suspensions are in order.
    gate.restart();
    assert!(gate.tollgate(&["breaker", "show"]).well().contains("open"), "after a restart");
    let metrics = || gate.http("/metrics").1;
    assert!(metrics().contains("tollgate_breaker_open 1"), "{}", metrics());
    gate.tollgate(&["breaker", "close", "--reason", "they were stolen"]).well();
    gate.logged("breaker-closed", |line| line["reason"] == "they were stolen");
    assert!(metrics().contains("tollgate_breaker_open 0"), "{}", metrics());
    let audited = gate.tollgate(&["audit", "--json"]).well();
    assert!(audited.contains("they were stolen"), "{audited}");
    spam(&mut gate.client(), "d@fourth.example", 99);
    event(&gate, "suspended", "d@fourth.example");
}

/// What swaks says as a login of somebody who sits elsewhere.
fn from(gate: &Gate, source: &str, password: &str, to: &str, text: &str) -> Said {
    calling_itself("client.example", gate, source, password, &["--to", to, "--body", text])
}

/// The same with a name of its own in HELO.
fn calling_itself(helo: &str, gate: &Gate, source: &str, password: &str, message: &[&str]) -> Said {
    let address: SocketAddr = gate.proxied();
    let head = [
        "--auth",
        "PLAIN",
        "--auth-user",
        ACCOUNT,
        "--auth-password",
        password,
        "--tls",
        "--helo",
        helo,
    ];
    let proxy = [
        "--proxy-version",
        "1",
        "--proxy-family",
        "TCP4",
        "--proxy-source",
        source,
        "--proxy-source-port",
        "4660",
        "--proxy-dest",
        "127.0.0.1",
        "--proxy-dest-port",
        "25",
    ];
    let subject = ["--header", "Subject: LOWEST mortgage rates!"];
    swaks(address, ACCOUNT, &[&head[..], &proxy, &subject, message].concat())
}

#[test]
fn a_guessed_login_under_a_new_name_at_an_odd_hour_is_told_as_what_it_is() {
    const HOUR: i64 = 3_600_000;
    let (faults, (_sink, settings)) = (Faults::new(), setting());
    let mut gate = settings
        .faults(&faults)
        .user(ACCOUNT, "weak")
        .set("auth.failures_per_minute", 60)
        .set("auth.failure_delay_max", "0s")
        .run();
    let (home, friend) = ("203.0.113.10", ["--to", "friend@remote.example", "--body", "hello"]);
    for _ in 0..6 {
        calling_itself("DESKTOP-1A2B3C", &gate, home, "weak", &friend).well();
    }
    // What it is used to is settled after a day; only across a restart the gate believes its clock.
    for hours in [24 * 7, 24 * 7 + 6] {
        faults.set_wall_clock(hours * HOUR);
        gate.restart();
        calling_itself("desktop-99", &gate, home, "weak", &friend).well();
    }
    let thief = "198.51.100.7";
    for guess in 0..5 {
        let guess = format!("guess{guess}");
        calling_itself("ylmf-pc", &gate, thief, &guess, &friend).badly();
    }
    let to_stranger = ["--to", "new@remote.example", "--body", "hello"];
    calling_itself("ylmf-pc", &gate, thief, "weak", &to_stranger).well();
    let line = gate.logged("message", |line| line["to"][0]["to"] == "new@remote.example");
    let reasons = line["reasons"].as_str().unwrap();
    for part in
        ["first mail with this name in HELO", "5 failed logins before", "never sent at this hour"]
    {
        assert!(reasons.contains(part), "{reasons}");
    }
}

#[test]
fn a_stolen_account_from_the_leak_to_the_end_of_its_probation() {
    let (sink, settings) = setting();
    let webhook = Webhook::start(Mood::Well);
    let settings = crate::alerts::calling(settings, webhook.address());
    let gate = settings
        .user(ACCOUNT, "leaked")
        .set("suspension.password_change", "required")
        .set("suspension.probation", "6s")
        .run();
    let friend = "friend@remote.example";
    from(&gate, "203.0.113.10", "leaked", friend, "hello, are we still meeting on Sunday?").well();

    // Three networks use the password; some spam goes out, not much.
    let thieves = ["198.51.100.7", "192.0.2.77", "100.64.9.9"];
    let spam = SPAM.replace("\r\n", "\\n");
    let mut sent = 0;
    let said = loop {
        let to = format!("new{sent}@remote.example,gone@remote.example");
        let said = from(&gate, thieves[sent % 3], "leaked", &to, &spam);
        if said.out.contains("is suspended") {
            break said.out;
        }
        sent += 1;
        assert!(sent < 10, "{}", gate.log_text());
    };
    assert!((2..=6).contains(&sent), "{sent}");
    assert!(said.contains("550 5.7.1 account anna@shop.example is suspended until "), "{said}");
    let suspended = event(&gate, "suspended", ACCOUNT);
    let alert = webhook.wait_for("the alert", |json| json["condition_name"] == "suspended");
    assert_eq!(alert["facts"]["account"], ACCOUNT);
    // The owner hears it, too.
    from(&gate, "203.0.113.10", "leaked", friend, "hello?").badly();

    // The operator sees the evidence, and lifts nothing while the password is the stolen one.
    let case = gate.json(&["case", "show", suspended["case"].as_str().unwrap()]);
    let clients: Vec<&str> = case["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["client"].as_str().unwrap())
        .collect();
    assert!(thieves[..2].iter().all(|thief| clients.contains(thief)), "{case}");
    let resume = ["account", "resume", ACCOUNT, "--reason", "the owner called"];
    let refused = gate.tollgate(&resume).badly();
    assert!(refused.contains("password"), "{refused}");
    change_password(&gate, "renewed");
    gate.logged("diagnostic", |line| line["message"] == "the password file was read again");
    let said = from(&gate, "203.0.113.10", "renewed", friend, "hello");
    assert!(said.out.contains("is suspended"), "{said:?}");
    from(&gate, "198.51.100.7", "leaked", "new@remote.example", "x").badly();
    gate.tollgate(&resume).well();
    webhook.wait_for("its end", |json| {
        json["condition_name"] == "suspended" && json["why"] == "resolved"
    });

    // Half of the limits for a while, and what led to it counts no more.
    let explained = gate.json(&["explain", ACCOUNT]);
    let hour =
        explained["limits"].as_array().unwrap().iter().find(|l| l["scope"] == "account").unwrap();
    assert_eq!(hour["max"], 25, "{explained}");
    from(&gate, "203.0.113.10", "renewed", friend, "back again").well();
    wait_for("the end of the probation", || {
        let explained = gate.json(&["explain", ACCOUNT]);
        let limits = explained["limits"].as_array().unwrap();
        limits.iter().any(|l| l["scope"] == "account" && l["max"] == 50).then_some(())
    });
    let before = sink.count();
    for _ in 0..3 {
        from(&gate, "203.0.113.10", "renewed", friend, "and all is well").well();
    }
    assert_eq!(sink.count(), before + 3);
}

/// Puts another password into the passwd-file, as its owner's provider would.
fn change_password(gate: &Gate, password: &str) {
    let mut passwd = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    passwd.args(["passwd", ACCOUNT, "--file", "passwd"]).current_dir(gate.folder());
    run_command(&mut passwd, password).well();
}
