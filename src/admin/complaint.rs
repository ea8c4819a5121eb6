//! Complaints about mail: taken in, attributed to the account and the message that they are about, listed.
//!
//! A complaint names a message in up to three ways, the surest first: our id in a Received field that we wrote, the Message-ID, the
//! recipient and the time. It is attributed only if that leads to one account; otherwise it is kept, and shown as nobody's.

use super::{Admin, AdminError, Page, Since, subjects::check_reason, tenant_of, trace::Traced};
use crate::{
    event::{Attribution, Complaint, Event},
    message::{Feedback, FeedbackKind, feedback},
    store::archive::{
        Added, COMPLAINTS_PAGE_MAX, ComplaintFilter, ComplaintRow, Mark, NewComplaint, NewEntry,
        TraceFilter,
    },
    types::{AccountId, Actor, Address, MessageId, TenantId, Timestamp, TransactionId},
};
use ring::digest;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A complaint as somebody tells it. One of the id, the Message-ID, the recipient with a time, and the account is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ComplaintRequest {
    /// `abuse` (the default), `fraud`, `virus`, `not-spam` or `other`.
    pub kind: Option<String>,
    /// Our id of the transaction.
    pub id: Option<TransactionId>,
    /// The message's own id.
    pub message_id: Option<MessageId>,
    /// The account, where no message is known.
    pub account: Option<AccountId>,
    /// Who complains.
    pub recipient: Option<Address>,
    /// When the message came to them.
    pub arrived: Option<Since>,
    /// What is to be remembered of it.
    pub note: Option<String>,
}

/// Which complaints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ComplaintsRequest {
    /// Only about this account.
    pub account: Option<AccountId>,
    /// Only about this tenant's accounts.
    pub tenant: Option<TenantId>,
    /// Only those that are about nobody who is known.
    pub unattributed: bool,
    /// Only from then on.
    #[param(inline)]
    pub since: Option<Since>,
    /// The `next` of the page before.
    pub after: Option<i64>,
    /// How many, 1 to 200.
    #[param(minimum = 1, maximum = 200)]
    pub max: Option<usize>,
}

/// A complaint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ComplaintView {
    /// Its number.
    pub number: i64,
    /// When it came.
    pub at: Timestamp,
    /// Whose mail it is about; none if that is not known.
    pub account: Option<String>,
    /// That account's tenant.
    pub tenant: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub told: ComplaintTold,
}

/// What a complaint says, and how it was attributed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ComplaintTold {
    /// `abuse`, `fraud`, `virus`, `not-spam`, `other`.
    pub kind: String,
    /// What led to the account: `id`, `message-id`, `recipient`, `operator`; none: nothing did.
    pub attributed_by: Option<String>,
    /// The transaction.
    pub id: Option<String>,
    /// The message's own id.
    pub message_id: Option<String>,
    /// Who complains.
    pub recipient: Option<String>,
    /// When the message came to them.
    pub arrived: Option<Timestamp>,
    /// How often, as the reporter says.
    pub incidents: u32,
    /// The program that made the report, or who told of it.
    pub reporter: Option<String>,
    /// Whose address the message came from, as the reporter says.
    pub source_ip: Option<String>,
    /// What is to be remembered of it.
    pub note: Option<String>,
}

impl ComplaintView {
    /// Takes out what tells who complained: those whom it is about need not know.
    pub fn hide_who_complained(&mut self) {
        (self.told.recipient, self.told.reporter) = (None, None);
        (self.told.source_ip, self.told.note) = (None, None);
    }
}

/// What leads to a message.
#[derive(Debug, Clone, Default)]
struct Clues {
    transactions: Vec<TransactionId>,
    message_id: Option<MessageId>,
    recipients: Vec<Address>,
    sender: Option<Address>,
    arrived: Option<Timestamp>,
    account: Option<AccountId>,
}

/// Takes in a complaint that somebody tells.
///
/// # Errors
/// [`AdminError::Invalid`] if it says nothing that could lead to a message or an account, or something that cannot be;
/// [`AdminError::Store`] if it could not be kept.
pub async fn add_complaint(
    admin: &Admin,
    actor: &Actor,
    request: &ComplaintRequest,
) -> Result<ComplaintView, AdminError> {
    let note = request.note.as_deref().map(|note| check_reason(Some(note))).transpose()?;
    let kind = request.kind.as_deref().map_or(Ok(FeedbackKind::Abuse), kind_of)?;
    let clues = Clues {
        transactions: request.id.clone().into_iter().collect(),
        message_id: request.message_id.clone(),
        recipients: request.recipient.clone().into_iter().collect(),
        sender: None,
        arrived: request.arrived.map(|arrived| arrived.resolve(admin.utc())).transpose()?,
        account: request.account.clone(),
    };
    let none = request.id.is_none() && request.message_id.is_none() && request.account.is_none();
    if none && (request.recipient.is_none() || request.arrived.is_none()) {
        let wanted = "a complaint needs an id, a Message-ID, an account, or a recipient and a time";
        return Err(AdminError::Invalid(wanted.into()));
    }
    let told = ComplaintTold {
        kind: kind.name().into(),
        incidents: 1,
        reporter: Some(actor.to_string()),
        note: note.map(ToOwned::to_owned),
        ..ComplaintTold::default()
    };
    keep(admin, actor, (clues, told), None).await
}

/// What a report says in words of its own counts as [`FeedbackKind::Other`]; somebody who types has mistyped.
fn kind_of(name: &str) -> Result<FeedbackKind, AdminError> {
    let kind = FeedbackKind::from_name(name);
    if kind.name().eq_ignore_ascii_case(name.trim()) {
        return Ok(kind);
    }
    let text = format!("{name:?} is no kind: abuse, fraud, virus, not-spam or other");
    Err(AdminError::Invalid(text))
}

/// Takes in a report of abuse (RFC 5965). One that comes again is answered with what was kept the first time.
///
/// # Errors
/// [`AdminError::Invalid`] if it is no report of abuse, [`AdminError::Store`] if it could not be kept.
pub async fn add_report(
    admin: &Admin,
    actor: &Actor,
    text: &[u8],
) -> Result<ComplaintView, AdminError> {
    let hostname = admin.policy.load().hostname.clone();
    let read = feedback(text, &hostname).map_err(|error| AdminError::Invalid(error.to_string()))?;
    let mut digest = [0; 32];
    digest.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    let told = told_by(&read);
    let clues = Clues {
        transactions: read.transactions,
        message_id: read.message_id,
        recipients: read.recipients,
        sender: read.sender,
        arrived: read.arrived,
        account: None,
    };
    keep(admin, actor, (clues, told), Some(digest)).await
}

fn told_by(read: &Feedback) -> ComplaintTold {
    ComplaintTold {
        kind: read.kind.name().into(),
        incidents: read.incidents,
        reporter: read.user_agent.clone(),
        source_ip: read.source_ip.map(|ip| ip.to_string()),
        ..ComplaintTold::default()
    }
}

/// One page of complaints, the newest first.
///
/// # Errors
/// [`AdminError::Store`] if the archive does not answer.
pub async fn complaints(
    admin: &Admin,
    request: &ComplaintsRequest,
) -> Result<Page<ComplaintView>, AdminError> {
    let max = request.max.unwrap_or(PAGE_DEFAULT).clamp(1, COMPLAINTS_PAGE_MAX);
    let filter = ComplaintFilter {
        account: request.account.clone(),
        tenant: request.tenant.clone(),
        unattributed: request.unattributed,
        since: request.since.map(|since| since.resolve(admin.utc())).transpose()?,
        before: request.after,
        max,
    };
    let rows = admin.archive.complaints(filter).await?;
    let next = rows.last().filter(|_| rows.len() == max).map(|row| row.number.to_string());
    Ok(Page { items: rows.into_iter().map(view).collect(), next })
}

fn view(row: ComplaintRow) -> ComplaintView {
    let ComplaintRow { number, at, account, tenant, body } = row;
    let told = serde_json::from_str(&body).unwrap_or_default();
    ComplaintView { number, at, account, tenant, told }
}

async fn keep(
    admin: &Admin,
    actor: &Actor,
    (clues, mut told): (Clues, ComplaintTold),
    digest: Option<[u8; 32]>,
) -> Result<ComplaintView, AdminError> {
    let found = attribute(admin, &clues).await?;
    let account = found.as_ref().map(|found| found.account.clone());
    let tenant = match found.as_ref().and_then(|found| found.tenant.clone()) {
        Some(tenant) => Some(tenant),
        None => match &account {
            Some(account) => Some(tenant_of(admin, account).await?),
            None => None,
        },
    };
    let by = found.as_ref().map(|found| found.by);
    let message = found.and_then(|found| found.message).unwrap_or_default();
    told.attributed_by = by.map(|by| by.name().to_owned());
    told.id = message.id.or_else(|| clues.transactions.first().map(ToString::to_string));
    let message_id = clues.message_id.as_ref().map(ToString::to_string);
    told.message_id = message.message_id.or(message_id);
    told.recipient = clues.recipients.first().map(ToString::to_string);
    told.arrived = clues.arrived;
    let now = admin.utc();
    let mut entry = NewEntry::new(now, actor, "complaint-added");
    entry.account.clone_from(&account);
    entry.tenant.clone_from(&tenant);
    entry.after = Some(match &account {
        Some(account) => format!("{} about {account}", told.kind),
        None => format!("{} about nobody who is known", told.kind),
    });
    // It may say who complained, and tenants read reasons.
    entry.evidence.clone_from(&told.note);
    let body = serde_json::to_string(&told)
        .map_err(|error| AdminError::Invalid(format!("the complaint: {error}")))?;
    let new = NewComplaint {
        at: now,
        account: account.clone(),
        tenant: tenant.clone(),
        digest,
        body,
        entry,
    };
    let number = match admin.archive.add_complaint(new).await? {
        Added::Already(row) => return Ok(view(row)),
        Added::New(number, head) => {
            admin.tell_audited("complaint-added", head);
            number
        }
    };
    admin.tell(&Event::Complaint(Box::new(complaint_event(
        number,
        (&account, &tenant),
        by,
        &told,
    ))));
    Ok(ComplaintView {
        number,
        at: now,
        account: account.map(|account| account.to_string()),
        tenant: tenant.map(|tenant| tenant.to_string()),
        told,
    })
}

fn complaint_event(
    number: i64,
    (account, tenant): (&Option<AccountId>, &Option<TenantId>),
    by: Option<Attribution>,
    told: &ComplaintTold,
) -> Complaint {
    Complaint {
        number,
        kind: FeedbackKind::from_name(&told.kind).name(),
        account: account.clone(),
        tenant: tenant.clone(),
        by,
        transaction: told.id.as_ref().and_then(|id| id.parse().ok()),
        message_id: told.message_id.as_ref().and_then(|id| id.parse().ok()),
        recipient: told.recipient.as_ref().and_then(|address| address.parse().ok()),
        incidents: told.incidents,
        reporter: told.reporter.clone(),
    }
}

/// What the clues led to.
struct Found {
    account: AccountId,
    tenant: Option<TenantId>,
    message: Option<Traced>,
    by: Attribution,
}

async fn attribute(admin: &Admin, clues: &Clues) -> Result<Option<Found>, AdminError> {
    for transaction in &clues.transactions {
        let marks = Mark::of_transaction(transaction).into_iter().collect();
        let mut messages = sent(admin, marks, None).await?;
        messages.retain(|message| message.id.as_deref() == Some(transaction.as_str()));
        if let Some(found) = only(messages, clues, Attribution::Id) {
            return Ok(Some(found));
        }
    }
    if let Some(message_id) = &clues.message_id {
        let messages = sent(admin, vec![Mark::Message(message_id.clone())], None).await?;
        if let Some(found) = only(messages, clues, Attribution::MessageId) {
            return Ok(Some(found));
        }
    }
    if let Some(arrived) = clues.arrived {
        let marks = clues.recipients.iter().cloned().map(Mark::Recipient).collect();
        let messages = sent(admin, marks, Some(arrived)).await?;
        if let Some(found) = only(messages, clues, Attribution::Recipient) {
            return Ok(Some(found));
        }
    }
    Ok(clues.account.clone().map(|account| Found {
        account,
        tenant: None,
        message: None,
        by: Attribution::Operator,
    }))
}

/// The messages with any of these marks that went out, near a moment if one is given.
async fn sent(
    admin: &Admin,
    marks: Vec<Mark>,
    arrived: Option<Timestamp>,
) -> Result<Vec<Traced>, AdminError> {
    let filter = TraceFilter {
        marks,
        names: vec!["message"],
        since: arrived.map(|arrived| arrived - ARRIVES_WITHIN),
        until: arrived.map(|arrived| arrived + CLOCKS_DIFFER_BY),
        max: CANDIDATES_MAX,
        ..TraceFilter::default()
    };
    let messages = admin.archive.trace(filter).await?.into_iter().map(Traced::new);
    let went_out =
        |message: &Traced| matches!(message.outcome.as_deref(), Some("sent" | "unknown"));
    Ok(messages.filter(went_out).collect())
}

/// The newest of messages that are all of one account; if they are of several, of those to the recipient and from the sender that
/// the complaint names.
fn only(messages: Vec<Traced>, clues: &Clues, by: Attribution) -> Option<Found> {
    let narrowed = messages.iter().filter(|message| fits(message, clues)).cloned().collect();
    // The newest, by a recipient alone, is not sure enough.
    let all = if by == Attribution::Recipient { Vec::new() } else { messages };
    [narrowed, all].into_iter().find_map(|messages: Vec<Traced>| {
        let message = messages.first()?.clone();
        let one = messages.iter().all(|other| other.account == message.account);
        let account = message.account.as_ref().filter(|_| one)?.parse().ok()?;
        let tenant = message.tenant.as_ref().and_then(|tenant| tenant.parse().ok());
        Some(Found { account, tenant, message: Some(message), by })
    })
}

/// True if nothing that the complaint says speaks against the message.
fn fits(message: &Traced, clues: &Clues) -> bool {
    let went_to = |address: &Address| {
        let same = |to: &str| to.eq_ignore_ascii_case(address.as_str());
        message.to.iter().any(|recipient| same(&recipient.to) && recipient.code / 100 == 2)
    };
    let from = message.from.as_deref().unwrap_or_default();
    let by_sender = clues.sender.as_ref().is_none_or(|s| from.eq_ignore_ascii_case(s.as_str()));
    by_sender && (clues.recipients.is_empty() || clues.recipients.iter().any(went_to))
}

/// How long a message may be on its way from us to the recipient's server.
const ARRIVES_WITHIN: Duration = Duration::from_secs(6 * 3_600);
/// How far the clocks of both ends may differ.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(600);
/// Messages that are looked at for one clue.
const CANDIDATES_MAX: usize = 200;
/// Entries of a page if no figure is given.
const PAGE_DEFAULT: usize = 50;
