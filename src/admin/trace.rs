//! What happened to a message: found by our id, its Message-ID, its account or a recipient, while the archive keeps it.
//!
//! Whoever looks up other people's mail does something to them, so each look stands in the audit with what was sought. The
//! archive's retention takes what was sought away again when it takes the messages away.

use super::{Admin, AdminError, Page, Since, note};
use crate::{
    store::archive::{EventRow, Mark, NewEntry, TRACE_PAGE_MAX, TraceFilter, audit::TRACED},
    types::{AccountId, Actor, ParseError, TenantId, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What is looked for. A text may be several of these at once; all of them are looked for then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    text: String,
    marks: Vec<Mark>,
    account: Option<AccountId>,
    transaction: Option<String>,
}

impl Sought {
    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Sought {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let is_message_id = text.starts_with('<');
        let mut marks: Vec<Mark> = text.parse().ok().map(Mark::Message).into_iter().collect();
        let (mut account, mut transaction) = (None, None);
        if !is_message_id {
            account = text.parse().ok();
            marks.extend(text.parse().ok().map(Mark::Recipient));
            if let Some(session) = text.parse().ok().as_ref().and_then(Mark::of_transaction) {
                marks.push(session);
                transaction = text.contains('.').then(|| text.to_owned());
            }
        }
        if marks.is_empty() && account.is_none() {
            let wanted = "an id of ours, a Message-ID, an account or a recipient";
            return Err(ParseError::new(text, wanted));
        }
        Ok(Self { text: text.to_owned(), marks, account, transaction })
    }
}

impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Sought {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Sought {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Who looks.
#[derive(Debug, Clone, Copy)]
pub enum Reader<'a> {
    /// Somebody who may see all mail.
    Staff(&'a Actor),
    /// Somebody who may see this tenant's mail only.
    Tenant(&'a Actor, &'a TenantId),
}

/// Which messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// What is looked for: our id of a session or a transaction, a Message-ID, an account or a recipient.
    #[schema(value_type = String, example = "a@shop.example")]
    pub of: Sought,
    /// Only from then on.
    #[serde(default)]
    pub since: Option<Since>,
    /// Only before then.
    #[serde(default)]
    pub until: Option<Since>,
    /// The `next` of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// How many, 1 to 200.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 200)]
    pub max: Option<usize>,
}

impl TraceRequest {
    /// Everything about what is sought.
    #[must_use]
    pub const fn new(of: Sought) -> Self {
        Self { of, since: None, until: None, after: None, max: None }
    }
}

/// Something that happened to a message: its end, a refusal of ours, or a complaint about it. What the event does not say is
/// left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Traced {
    /// The event's number; later events have higher ones.
    pub number: i64,
    /// When, in UTC.
    pub at: Timestamp,
    /// `message`, `refused` or `complaint`.
    pub event: String,
    /// How the transaction ended: `sent`, `refused`, `deferred`, `unknown`, `abandoned`.
    pub outcome: Option<String>,
    /// Why Tollgate refused, or what a complaint is about.
    #[serde(alias = "kind")]
    pub reason: Option<String>,
    /// The transaction, as in the Received field.
    pub id: Option<String>,
    /// The connection.
    pub session: Option<String>,
    /// The message's own id.
    pub message_id: Option<String>,
    /// Who was charged.
    pub account: Option<String>,
    /// The account's tenant.
    pub tenant: Option<String>,
    /// What named the account.
    pub evidence: Option<String>,
    /// The trusted server that handed the mail in.
    pub peer: Option<String>,
    /// The real sender's host.
    pub client: Option<String>,
    /// The envelope sender; empty for `<>`.
    pub from: Option<String>,
    /// The first recipients, each with the answer to it.
    pub to: Vec<TracedRecipient>,
    /// The octets of the text.
    pub size: Option<u64>,
    /// The final answer that the client heard.
    pub reply: Option<String>,
    /// The next hop that took part.
    pub next_hop: Option<String>,
    /// Its own final answer.
    pub next_hop_reply: Option<String>,
    /// Milliseconds from our final dot to that answer.
    pub next_hop_ms: Option<u64>,
    /// Milliseconds from MAIL to the end.
    pub took_ms: Option<u64>,
}

/// A recipient and the answer to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TracedRecipient {
    /// The address.
    pub to: String,
    /// The code that the client heard.
    pub code: u16,
    /// Who said it: `next-hop`, `limit`, `gate`.
    pub by: String,
}

impl Traced {
    pub(super) fn new(row: EventRow) -> Self {
        // The body is the log line's object; what is not understood in it is left out.
        let told: Self = serde_json::from_str(&row.body).unwrap_or_default();
        Self {
            number: row.id,
            at: row.at,
            event: row.name,
            account: row.account,
            tenant: row.tenant,
            ..told
        }
    }
}

/// One page of what happened to messages, the newest first.
///
/// # Errors
/// [`AdminError::Invalid`] if `after` is no page's `next`, [`AdminError::Store`] if the archive does not answer, or the look
/// could not be put into the audit.
pub async fn trace(
    admin: &Admin,
    reader: &Reader<'_>,
    request: &TraceRequest,
) -> Result<Page<Traced>, AdminError> {
    let (actor, tenant, names) = match reader {
        Reader::Staff(actor) => (actor, None, &TRACED_EVENTS[..]),
        Reader::Tenant(actor, tenant) => (actor, Some((*tenant).clone()), &TENANTS_EVENTS[..]),
    };
    let max = request.max.unwrap_or(PAGE_DEFAULT).clamp(1, TRACE_PAGE_MAX);
    let before = request.after.as_ref().map(|after| after.parse()).transpose();
    let before =
        before.map_err(|_| AdminError::Invalid("'after' is not a page's 'next'".into()))?;
    let now = admin.utc();
    let mut entry = NewEntry::new(now, actor, TRACED);
    entry.subject = Some(request.of.as_str().to_owned());
    entry.tenant.clone_from(&tenant);
    note(admin, entry).await?;
    let filter = TraceFilter {
        marks: request.of.marks.clone(),
        account: request.of.account.clone(),
        tenant,
        names: names.to_vec(),
        since: request.since.map(|since| since.resolve(now)).transpose()?,
        until: request.until.map(|until| until.resolve(now)).transpose()?,
        before,
        max,
    };
    let rows = admin.archive.trace(filter).await?;
    let next = rows.last().filter(|_| rows.len() == max).map(|row| row.id.to_string());
    let mut items: Vec<Traced> = rows.into_iter().map(Traced::new).collect();
    // A transaction is found by its session, so others of that session are among the rows.
    if let Some(transaction) = &request.of.transaction {
        let is = |value: &Option<String>| value.as_ref() == Some(transaction);
        let account = request.of.account.as_ref().map(AccountId::as_str);
        let is_of = |item: &Traced| account.is_some() && item.account.as_deref() == account;
        items.retain(|item| is(&item.id) || is_of(item) || is(&item.message_id));
    }
    Ok(Page { items, next })
}

const TRACED_EVENTS: [&str; 3] = ["message", "refused", "complaint"];
/// A complaint is found by who complained, which tenants do not learn.
const TENANTS_EVENTS: [&str; 2] = ["message", "refused"];
/// Entries of a page if no figure is given.
const PAGE_DEFAULT: usize = 50;
