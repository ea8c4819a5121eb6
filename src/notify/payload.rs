//! A message as JSON: the field names that receivers of MailChannels' webhook know, and our own. docs/alerts.md has them.

use crate::{
    rules::alarm::{Notice, Why, words},
    types::Language,
};
use serde_json::{Map, Value, json};

/// A message as a JSON object; `gate` is the name of the server.
#[must_use]
pub fn payload(notice: &Notice, gate: &str) -> Value {
    let alert = &notice.alert;
    let (facts, said) = (&alert.facts, words(alert, Language::English));
    let over = (notice.why == Why::Resolved).then_some(notice.at);
    let known = [
        ("condition_name", json!(alert.kind)),
        ("condition_description", json!(said.title)),
        ("account_id", json!(alert.tenant)),
        ("timestamp", json!(notice.at)),
        ("originator", json!(alert.about.name)),
        ("originator_type", json!(alert.about.scope)),
        ("sender_id", json!(facts.account)),
        ("ip", json!(facts.client)),
        ("transaction_id", json!(facts.transaction)),
        ("envelope_sender", json!(facts.sender)),
        ("message_id", Value::Null),
    ];
    let own = [
        ("version", json!(1)),
        ("id", json!(notice.id)),
        ("alert_id", json!(alert.id)),
        ("dedupe_key", json!(alert.key)),
        ("severity", json!(alert.severity)),
        ("why", json!(notice.why)),
        ("state", json!(if over.is_some() { "resolved" } else { "firing" })),
        ("state_before", json!(if alert.told > 1 { "firing" } else { "inactive" })),
        ("since", json!(alert.since)),
        ("last_seen", json!(alert.last)),
        ("resolved_at", json!(over)),
        ("count", json!(alert.count)),
        ("gate", json!(gate)),
        ("detail", json!(said.text)),
        ("advice", json!(said.advice)),
        ("facts", json!(facts)),
    ];
    let fields = known.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.collect::<Map<_, _>>())
}
