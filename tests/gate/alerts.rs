//! Alerts reach their receivers: each at least once, however a receiver behaves and whenever the gate dies; one however often
//! something happens; and nobody is charged for the letters.

use crate::support::{
    Faults, Gate, Settings, Webhook, alertmanager::Alertmanager, gate, ports::free_port, programs,
    sink, sink_later, wait_for, webhook::Mood,
};
use serde_json::Value;
use std::{collections::HashMap, net::SocketAddr};

const TENANT: &str = "shop.example";

/// A gate that calls this webhook of everything, signed with `key`.
fn gate_calling(address: SocketAddr) -> Settings {
    calling(gate(), address)
}

/// A gate whose alerts go there.
pub(crate) fn calling(settings: Settings, address: SocketAddr) -> Settings {
    let mut hook = toml::Table::new();
    for (key, value) in [
        ("name", "noc"),
        ("url", &*format!("http://{address}/hook")),
        ("secret", "key"),
        ("severity", "info"),
        ("timeout", "1s"),
    ] {
        hook.insert(key.to_owned(), value.into());
    }
    settings.set("alerts.webhook", vec![toml::Value::from(hook)])
}

fn suspend(gate: &Gate, tenant: &str) {
    gate.tollgate(&["tenant", "suspend", tenant, "--reason", "spam <b>wave</b>"]).well();
}

fn resume(gate: &Gate, tenant: &str) {
    gate.tollgate(&["tenant", "resume", tenant, "--reason", "clean"]).well();
}

fn is(kind: &str, why: &str, name: &str) -> impl Fn(&Value) -> bool {
    let wanted = [kind.to_owned(), why.to_owned(), name.to_owned()];
    move |json| {
        [&json["condition_name"], &json["why"], &json["originator"]]
            .iter()
            .zip(&wanted)
            .all(|(found, wanted)| *found == wanted.as_str())
    }
}

/// The alerts that last, as `tollgate alert list` prints them.
pub(crate) fn listed(gate: &Gate, options: &[&str]) -> Vec<Value> {
    let text = gate.tollgate(&[&["alert", "list", "--json"], options].concat()).well();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_receiver_that_fails_hangs_and_restarts_hears_of_each_alert_and_can_tell_repeats() {
    let sink = sink().run();
    let failing = Webhook::start(Mood::Status(500));
    let address = failing.address();
    let gate = gate_calling(address).next_hop(&sink).run();
    suspend(&gate, TENANT);
    wait_for("a first attempt", || (!failing.calls().is_empty()).then_some(()));
    gate.logged("alert-sink-failed", |line| line["sink"] == "webhook:noc");
    failing.become_(Mood::Hangs);
    let before = failing.calls().len();
    wait_for("a further attempt", || (failing.calls().len() > before).then_some(()));
    suspend(&gate, "other.example");
    let mut calls = failing.calls();
    drop(failing);

    let well = Webhook::start_at(address, Mood::Well);
    for tenant in [TENANT, "other.example"] {
        well.wait_for("the alert", is("suspended", "raised", tenant));
    }
    gate.logged("alert-sink-recovered", |line| line["sink"] == "webhook:noc");
    assert_eq!(listed(&gate, &["--tenant", TENANT]).len(), 1);
    for tenant in [TENANT, "other.example"] {
        resume(&gate, tenant);
        well.wait_for("its end", is("suspended", "resolved", tenant));
    }
    assert_eq!(listed(&gate, &["--tenant", TENANT]).len(), 0);
    assert_eq!(listed(&gate, &["--all", "--tenant", TENANT]).len(), 1);

    // What was sent again is the same message, and only the gate can have signed it.
    calls.extend(well.calls());
    let mut bodies = HashMap::new();
    for call in &calls {
        let id = call.field("tollgate-message").to_owned();
        assert_eq!(call.json()["id"], id.as_str());
        let first = bodies.entry(id).or_insert_with(|| call.body.clone());
        assert_eq!(*first, call.body);
        assert_eq!(
            call.field("tollgate-signature"),
            signed(call.field("tollgate-signature"), &call.body)
        );
    }
    assert!(bodies.len() < calls.len(), "nothing was sent twice");
    let taken = well.taken();
    let raised = taken.iter().find(|json| is("suspended", "raised", TENANT)(json)).unwrap();
    assert_eq!((&raised["account_id"], &raised["state"]), (&TENANT.into(), &"firing".into()));
    assert_eq!(raised["facts"]["reason"], "spam <b>wave</b>");
    let resolved = taken.iter().find(|json| is("suspended", "resolved", TENANT)(json)).unwrap();
    assert_eq!(raised["alert_id"], resolved["alert_id"]);
    assert!(resolved["resolved_at"].is_string());
}

/// The signature as openssl computes it for the time that stands in the one that came.
fn signed(came: &str, body: &str) -> String {
    let time = came.strip_prefix("t=").unwrap().split(',').next().unwrap();
    let mut command = std::process::Command::new("openssl");
    let command = command.args(["dgst", "-sha256", "-hmac", "key"]);
    let said = programs::run_command(command, &format!("{time}.{body}")).well();
    format!("t={time},v1={}", said.rsplit(' ').next().unwrap().trim())
}

#[test]
fn a_kill_between_an_event_and_its_delivery_loses_no_alert() {
    let (sink, address) = (sink().run(), free_port());
    let mut gate = gate_calling(address).next_hop(&sink).run();
    for (round, tenant) in ["one.example", "two.example", "three.example"].into_iter().enumerate() {
        suspend(&gate, tenant);
        // Once it is stored, nothing may lose it.
        gate.logged("alert", |line| line["about"] == format!("tenant {tenant}"));
        gate.kill();
        gate.start();
        assert_eq!(
            listed(&gate, &[]).iter().filter(|a| a["kind"] == "suspended").count(),
            round + 1
        );
    }
    let webhook = Webhook::start_at(address, Mood::Well);
    for tenant in ["one.example", "two.example", "three.example"] {
        webhook.wait_for("the alert", is("suspended", "raised", tenant));
    }
    // And what was taken is not forgotten to have been.
    gate.kill();
    gate.start();
    resume(&gate, "one.example");
    webhook.wait_for("its end", is("suspended", "resolved", "one.example"));
    let taken = webhook.taken();
    let raised = taken
        .iter()
        .filter(|json| json["why"] == "raised" && json["condition_name"] == "suspended");
    let mut ids: Vec<_> = raised.map(|json| json["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_real_alertmanager_shows_an_alert_firing_and_then_resolved() {
    let (sink, alertmanager) = (sink().run(), Alertmanager::start());
    let gate = gate()
        .set("alerts.alertmanager.url", alertmanager.url())
        .set("alerts.alertmanager.resend", "1s")
        .next_hop(&sink)
        .run();
    suspend(&gate, TENANT);
    // The machine may have matters of its own, such as a disk that is nearly full.
    let firing = || {
        let all = alertmanager.firing().into_iter();
        all.into_iter().find(|alert| alert["labels"]["alertname"] == "suspended")
    };
    let alert = wait_for("the alert to fire", firing);
    for (label, value) in [
        ("alertname", "suspended"),
        ("severity", "warning"),
        ("scope", "tenant"),
        ("name", TENANT),
        ("tenant", TENANT),
        ("gate", "gate.example"),
    ] {
        assert_eq!(alert["labels"][label], value, "{alert}");
    }
    assert!(alert["annotations"]["description"].as_str().unwrap().contains("spam"), "{alert}");
    // It is sent again while it lasts, so its end moves on.
    wait_for("the alert to be sent again", || {
        let now = firing()?;
        (now["endsAt"].as_str() > alert["endsAt"].as_str()).then_some(())
    });
    resume(&gate, TENANT);
    wait_for("the alert to end", || firing().is_none().then_some(()));
}

#[test]
fn letters_go_to_operators_and_to_the_tenant_in_its_language_and_nobody_is_charged() {
    let (faults, sink) = (Faults::new(), sink().run());
    let gate = gate()
        .faults(&faults)
        .limit(9, "1h")
        .set("alerts.email.to", vec!["noc@provider.example"])
        .next_hop(&sink)
        .run();
    let contact = ["--contact", "owner@mail.example", "--language", "id"];
    gate.tollgate(&[&["tenant", "set", TENANT][..], &contact].concat()).well();
    suspend(&gate, TENANT);
    gate.logged("alert", |line| line["kind"] == "suspended");
    // Had there been another letter just before, this one would be gathered for.
    faults.set_wall_clock(61_000);
    let letter_to = |address: &str, said: &str| {
        let wanted = format!("RCPT TO:<{address}>");
        let is_to = |recipient: &String| recipient.starts_with(&wanted);
        wait_for(&format!("a letter to {address}"), || {
            let letters = sink.taken().into_iter();
            letters
                .filter(|letter| letter.recipients.iter().any(is_to))
                .find(|letter| letter.as_str().replace("=\r\n", "").contains(said))
        })
    };
    let operators = letter_to("noc@provider.example", &format!("tenant {TENANT} is suspended"));
    let tenants = letter_to("owner@mail.example", &format!("paket {TENANT} ditangguhkan"));
    for letter in [&operators, &tenants] {
        assert!(letter.mail.starts_with("MAIL FROM:<>"), "{}", letter.mail);
        assert_eq!(letter.fields("Auto-Submitted"), ["auto-generated"]);
        assert!(letter.fields("Content-Type")[0].starts_with("multipart/alternative"));
        let text = letter.as_str().replace("=\r\n", "");
        assert!(text.contains("text/plain") && text.contains("text/html"), "{text}");
        // Markup of others is text, in both parts.
        assert!(text.contains("&lt;b&gt;wave") && text.matches("<b>wave").count() == 1, "{text}");
    }
    assert_eq!(tenants.fields("Subject"), [format!("[peringatan] paket {TENANT} ditangguhkan")]);
    assert!(!tenants.as_str().contains("uid "), "who did it is not for tenants");
    assert!(gate.tollgate(&["account", "list", "--json"]).well().is_empty());
    let sent = "tollgate_messages_total{outcome=\"sent\"} 0";
    assert!(gate.http("/metrics").1.contains(sent));
}

#[test]
fn a_tenant_whose_mailbox_is_full_keeps_no_letter_from_others() {
    let faults = Faults::new();
    let sink = sink().refuse("full@mail.example", "452 4.2.2 mailbox full").run();
    let gate = gate()
        .faults(&faults)
        .set("alerts.email.to", vec!["noc@provider.example"])
        .next_hop(&sink)
        .run();
    for (tenant, contact) in
        [("a-shop.example", "full@mail.example"), ("b-shop.example", "owner@mail.example")]
    {
        gate.tollgate(&["tenant", "set", tenant, "--contact", contact]).well();
        suspend(&gate, tenant);
    }
    gate.logged("alert", |line| line["about"] == "tenant b-shop.example");
    faults.set_wall_clock(61_000);
    wait_for("the letter behind the one that is put off", || {
        let letters = sink.taken().into_iter();
        let mut recipients = letters.flat_map(|letter| letter.recipients);
        recipients.any(|recipient| recipient.contains("owner@mail.example")).then_some(())
    });
    // Nor is anybody woken for it.
    let failed = |line: &Value| line["event"] == "alert-sink-failed";
    assert!(!gate.log().iter().any(failed), "{:#?}", gate.log());
    assert!(listed(&gate, &[]).iter().all(|alert| alert["kind"] != "alert-sink-failing"));
}

#[test]
fn ten_thousand_refusals_are_one_alert_and_one_end() {
    const CONNECTIONS: usize = 10;
    const REFUSALS: usize = 1_000;
    let (faults, address) = (Faults::new(), sink_later());
    let webhook = Webhook::start(Mood::Well);
    let gate = gate_calling(webhook.address())
        .faults(&faults)
        .set("session.errors_max", 10_000)
        .next_hop_at(address, "")
        .run();
    for _ in 0..CONNECTIONS {
        let mut client = gate.client();
        let envelope = "MAIL FROM:<a@shop.example>\r\nRCPT TO:<b@remote.example>\r\nRSET\r\n";
        let mut answered = 0;
        for _ in 0..10 {
            client.write(envelope.repeat(REFUSALS / 10).as_bytes());
            for _ in 0..REFUSALS / 10 {
                client.reply();
                answered += usize::from(client.reply().code == 451);
                client.reply();
            }
        }
        assert_eq!(answered, REFUSALS);
    }
    webhook.wait_for("the alert", is("mail-stopped", "raised", ""));
    wait_for("all to be counted", || {
        let stopped = listed(&gate, &[]).into_iter().find(|a| a["kind"] == "mail-stopped")?;
        (stopped["count"].as_u64() == Some((CONNECTIONS * REFUSALS) as u64)).then_some(())
    });
    let sink = sink().run_at(address);
    wait_for("mail to pass again", || {
        let mut client = gate.client();
        client.expect(250, "MAIL FROM:<a@shop.example>");
        (client.say("RCPT TO:<b@remote.example>").code == 250).then(|| client.text("text"))
    });
    assert_eq!(sink.wait_for(1).len(), 1);
    let sent = gate.logged("message", |line| line["outcome"] == "sent");
    // What is gathered only after the clock was set would be of after that, and too young an end.
    wait_for("it to be kept", || {
        let kept = gate.tollgate(&["trace", sent["id"].as_str().unwrap(), "--json"]).well();
        (!kept.is_empty()).then_some(())
    });
    faults.set_wall_clock(120_000);
    webhook.wait_for("its end", is("mail-stopped", "resolved", ""));
    let of_kind: Vec<_> = webhook
        .taken()
        .into_iter()
        .filter(|json| json["condition_name"] == "mail-stopped")
        .collect();
    let told: Vec<_> = of_kind.iter().map(|json| json["why"].as_str().unwrap()).collect();
    assert_eq!(told, ["raised", "resolved"]);
}

#[test]
fn quiet_hours_hold_back_what_is_not_critical_and_a_receiver_of_one_tenant_hears_of_no_other() {
    let faults = Faults::new();
    let (noc, owner) = (Webhook::start(Mood::Well), Webhook::start(Mood::Well));
    let hook = |name: &str, webhook: &Webhook, tenants: Vec<toml::Value>| {
        let mut hook = toml::Table::new();
        hook.insert("name".into(), name.into());
        hook.insert("url".into(), format!("http://{}/hook", webhook.address()).into());
        hook.insert("secret".into(), "key".into());
        hook.insert("tenants".into(), tenants.into());
        toml::Value::from(hook)
    };
    let minute = faults.wall_now().as_millis() / 60_000;
    let time = |minute: i64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    let gate = gate()
        .faults(&faults)
        .set("alerts.quiet_hours", format!("{}-{}", time(minute - 60), time(minute + 60)))
        .set(
            "alerts.webhook",
            vec![hook("noc", &noc, vec![]), hook("owner", &owner, vec![TENANT.into()])],
        )
        .next_hop_at(sink_later(), "")
        .run();
    for tenant in [TENANT, "other.example"] {
        suspend(&gate, tenant);
        let about = format!("tenant {tenant}");
        gate.logged("alert", |line| line["kind"] == "suspended" && line["about"] == about);
    }
    let mut client = gate.client();
    client.expect(250, "MAIL FROM:<a@third.example>");
    client.expect(451, "RCPT TO:<b@remote.example>");
    noc.wait_for("what is critical", is("mail-stopped", "raised", ""));
    let not_critical = |json: &&Value| json["severity"] != "critical";
    assert_eq!(noc.taken().iter().find(not_critical), None);
    assert_eq!(owner.taken(), Vec::<Value>::new());

    faults.set_wall_clock(2 * 60 * 60_000);
    for (webhook, tenant) in [(&noc, TENANT), (&noc, "other.example"), (&owner, TENANT)] {
        webhook.wait_for("what was held back", is("suspended", "raised", tenant));
    }
    let others = |json: &&Value| json["originator"] != TENANT;
    assert_eq!(owner.taken().iter().find(others), None);
}

#[test]
fn a_test_says_which_receivers_take_it() {
    let (sink, webhook) = (sink().run(), Webhook::start(Mood::Well));
    let mut gate = gate_calling(webhook.address())
        .set("alerts.email.to", vec!["noc@provider.example"])
        .next_hop(&sink)
        .run();
    let said = gate.tollgate(&["alert", "test"]).well();
    assert!(said.contains("email") && said.matches("took it").count() == 2, "{said}");
    assert_eq!(sink.wait_for(1)[0].fields("Subject"), ["[info] this is a test"]);
    webhook.wait_for("the test", is("test", "raised", ""));
    webhook.become_(Mood::Status(403));
    let said = gate.tollgate(&["alert", "test"]).badly();
    assert!(said.contains("403") && said.contains("1 of 2 did not take it"), "{said}");
    // After a reload without receivers there is nobody to try.
    gate.reload(|settings| settings.without("alerts.webhook").without("alerts.email"));
    let said = gate.tollgate(&["alert", "test"]).badly();
    assert!(said.contains("nobody hears of alerts"), "{said}");
}

#[test]
fn what_is_taken_away_or_put_right_is_over() {
    let (gone, sink) = (sink_later(), sink().run());
    let mut gate = gate().next_hop_at(gone, "").run();
    let name = gone.to_string();
    wait_for("the next hop to be left alone", || {
        let mut client = gate.client();
        client.expect(250, "MAIL FROM:<a@shop.example>");
        client.expect(451, "RCPT TO:<b@remote.example>");
        gate.log().iter().any(|line| line["event"] == "next-hop-down").then_some(())
    });
    gate.reload(|settings| settings.without_next_hops().next_hop(&sink));
    gate.logged("next-hop-up", |line| line["next_hop"] == name.as_str());
    let is_up = format!("tollgate_next_hop_up{{next_hop=\"{name}\"}} 1");
    assert!(gate.http("/metrics").1.contains(&is_up));

    let users = std::fs::read(gate.file("passwd")).unwrap();
    std::fs::write(gate.file("passwd"), "a@shop.example:{PLAIN}x\n".repeat(2)).unwrap();
    gate.logged("config-rejected", |_| true);
    std::fs::write(gate.file("passwd"), users).unwrap();
    wait_for("the password file to be right again", || {
        let log = gate.log();
        let reloads = log.iter().filter(|line| line["event"] == "config-reloaded").count();
        (reloads == 2).then_some(())
    });
}

#[test]
fn mistakes_in_who_hears_of_alerts_are_told() {
    let said = gate_calling(free_port())
        .next_hop(&sink().run())
        .set("alerts.quiet_hours", "at night")
        .set("alerts.alertmanager.url", "alerts.example")
        .check()
        .badly();
    assert!(said.contains("alerts.quiet_hours") && said.contains("22:00-07:00"), "{said}");
    assert!(said.contains("alerts.alertmanager.url"), "{said}");
}
