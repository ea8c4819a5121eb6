//! What was seen, for whoever has to act: only what is known stands there.

use crate::types::{AccountId, CaseId, PeerName, PlanName, Timestamp, TransactionId};

/// Defines the facts, each of which may be unknown.
macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// What was seen.
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct Facts {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)*
        }
    };
}

impl Facts {
    /// What of it tenants see: not who of the provider's people did something.
    #[must_use]
    pub fn for_tenants(self) -> Self {
        Self { actor: None, peer: None, node: None, ..self }
    }
}

facts! {
    /// The account.
    account: AccountId,
    /// Its plan.
    plan: PlanName,
    /// The trusted server that handed the mail in.
    peer: PeerName,
    /// The real sender's host.
    client: String,
    /// The transaction that it was seen in, as in the Received field.
    transaction: TransactionId,
    /// The envelope sender.
    sender: String,
    /// The next hop, as `host:port`.
    next_hop: String,
    /// Whatever checks logins.
    backend: String,
    /// The receiver of alerts, by its name in the configuration.
    sink: String,
    /// What the limit counts.
    unit: String,
    /// The limit's window in seconds.
    limit_window_s: u64,
    /// What the window may hold.
    limit_max: u64,
    /// What it holds.
    limit_used: u64,
    /// The case of a suspension.
    case: CaseId,
    /// Why, as whoever did it said.
    reason: String,
    /// Who did it.
    actor: String,
    /// What a sender may do by its standing.
    standing: String,
    /// Until when that lasts by itself.
    until: Timestamp,
    /// The points against the sender.
    points: String,
    /// What speaks against it.
    reasons: Vec<String>,
    /// How much there was.
    seen: u64,
    /// How much there usually is, or how much there was in all.
    usual: u64,
    /// The folder whose disk it is.
    folder: String,
    /// Octets that are free.
    free_bytes: u64,
    /// Octets in all.
    size_bytes: u64,
    /// The certificate's file.
    certificate: String,
    /// The moment until which it is valid.
    not_after: Timestamp,
    /// The month.
    month: String,
    /// Seconds of it in which mail did not flow.
    down_s: u64,
    /// Seconds of it in which mail may not flow.
    budget_s: u64,
    /// Octets of mail that are stored.
    stored_bytes: u64,
    /// Octets of mail that may be stored.
    stored_bytes_max: u64,
    /// Files of mail.
    files: u64,
    /// From how many files on it is told.
    files_max: u64,
    /// True if nothing is accepted from the sender until there is room.
    refuses: bool,
    /// Events that were lost.
    events: u64,
    /// The address or domain that is on a blocklist.
    listed: String,
    /// The blocklist.
    blocklist: String,
    /// The codes that it answers.
    codes: String,
    /// Since when it is there.
    listed_since: Timestamp,
    /// The failure in words.
    detail: String,
    /// The node whose own state it is, where several share one Redis.
    node: String,
}
