//! Standings as operators and tenants see them: real mail raises points, and everybody is told the same of what follows.

use crate::{
    operators::limit,
    support::{Gate, Settings, gate, sink},
};
use serde_json::Value;
use std::path::Path;

const ACCOUNT: &str = "a@shop.example";
const TRAP: &str = "trap@remote.example";

/// One spam trap is enough for whatever these thresholds say.
pub(crate) fn wary(folder: &Path, thresholds: [f64; 3]) -> Settings {
    let traps = folder.join("traps");
    std::fs::write(&traps, format!("{TRAP}\n")).unwrap();
    let [warn, throttle, suspend] = thresholds;
    gate()
        .limit(50, "1h")
        .set("spam.traps", traps.to_string_lossy().into_owned())
        .set("suspension.warn_points", warn)
        .set("suspension.throttle_points", throttle)
        .set("suspension.suspend_points", suspend)
}

/// The answer to a message to a spam trap.
pub(crate) fn spam(gate: &Gate) -> u16 {
    gate.client().send(ACCOUNT, &[TRAP, "someone@remote.example"], "text").code
}

fn own_limit(gate: &Gate) -> Value {
    limit(&gate.json(&["explain", ACCOUNT]), "account", "1 h").clone()
}

#[test]
fn a_throttled_account_is_told_the_same_everywhere_until_it_is_lifted() {
    let (sink, folder) = (sink().run(), tempfile::tempdir().unwrap());
    let gate = wary(folder.path(), [0.2, 0.3, 90.0]).next_hop(&sink).run();
    spam(&gate);
    gate.logged("standing-changed", |line| line["is"] == "throttled");
    let own = own_limit(&gate);
    assert_eq!(
        (&own["max"], &own["reduced"]["because"]),
        (&10.into(), &"throttled".into()),
        "{own}"
    );
    let (desk, shop, other) = (
        gate.token(&["desk", "--role", "operator"]),
        gate.token(&["shop", "--role", "tenant", "--tenant", "shop.example"]),
        gate.token(&["other", "--role", "tenant", "--tenant", "other.example"]),
    );
    for token in [&desk, &shop] {
        let told = token.get(&format!("/accounts/{ACCOUNT}/explain")).body;
        assert_eq!(limit(&told, "account", "1 h")["max"], 10, "{told}");
        assert_eq!(told["account_standing"]["standing"], "throttled", "{told}");
    }
    assert_eq!(other.get(&format!("/accounts/{ACCOUNT}")).status, 404);
    let shown = gate.tollgate(&["explain", ACCOUNT]).well();
    assert!(shown.contains("limits at 20 %") && shown.contains("20 % of 50 (throttled"), "{shown}");
    gate.tollgate(&["account", "resume", ACCOUNT, "--reason", "a customer's test"]).well();
    assert_eq!(own_limit(&gate)["max"], 50);
}

#[test]
fn a_suspension_shows_what_it_rests_on_and_is_lifted_to_probation() {
    let (sink, folder) = (sink().run(), tempfile::tempdir().unwrap());
    let gate = wary(folder.path(), [0.1, 0.2, 0.3]).next_hop(&sink).run();
    spam(&gate);
    let case = gate.logged("suspended", |line| line["account"] == ACCOUNT)["case"].clone();
    let case = case.as_str().unwrap();
    let mut client = gate.client();
    client.expect(250, &format!("MAIL FROM:<{ACCOUNT}>"));
    let refusal = client.expect(550, "RCPT TO:<someone@remote.example>").text();
    assert!(refusal.contains(case), "{refusal}");
    let shown = gate.json(&["case", "show", case]);
    assert_eq!(
        (&shown["subject"], &shown["present"]),
        (&format!("account {ACCOUNT}").into(), &true.into())
    );
    let message = &shown["messages"][0];
    assert_eq!(message["recipients"], 2, "{shown}");
    assert!(shown["signals"].to_string().contains("traps"), "{shown}");
    let (eyes, shop, other) = (
        gate.token(&["eyes", "--role", "read-only"]),
        gate.token(&["shop", "--role", "tenant", "--tenant", "shop.example"]),
        gate.token(&["other", "--role", "tenant", "--tenant", "other.example"]),
    );
    let path = format!("/cases/{case}");
    assert_eq!(eyes.get(&path).body, shown);
    let seen = shop.get(&path).body;
    assert_eq!((&seen["messages"], &seen["actor"]), (&shown["messages"], &"operator".into()));
    assert_eq!(other.get(&path).status, 404);
    let why = r#"{"reason": "clean"}"#;
    for (token, path) in [
        (&eyes, format!("/accounts/{ACCOUNT}/cancel")),
        (&eyes, "/clients/192.0.2.7/forgive".into()),
        (&shop, "/breaker/close".into()),
    ] {
        assert_eq!(token.ask("POST", &path, why).status, 403, "{path}");
    }
    assert_eq!(shop.get("/breaker").status, 403);
    assert_eq!(eyes.get("/breaker").body["open"], false);

    gate.tollgate(&["account", "resume", ACCOUNT, "--reason", "password changed"]).well();
    let own = own_limit(&gate);
    assert_eq!(
        (&own["max"], &own["reduced"]["because"]),
        (&25.into(), &"probation".into()),
        "{own}"
    );
    let past = gate.json(&["case", "show", case]);
    assert_eq!((&past["present"], &past["messages"]), (&false.into(), &shown["messages"]));
    gate.tollgate(&["breaker", "close", "--reason", "x"]).badly();
    gate.tollgate(&["client", "forgive", "192.0.2.7", "--reason", "x"]).badly();
    gate.tollgate(&["account", "cancel", ACCOUNT, "--reason", "for good"]).well();
    assert_eq!(gate.json(&["account", "show", ACCOUNT])["standing"]["standing"], "cancelled");
}
