//! The form in which nodes tell one another what they counted and kept: JSON, deflated. What a reader does not know in it, it
//! leaves out; a form that may not be read so has another [`VERSION`].

use super::Content;
use crate::{
    event::Suspended,
    rules::tally::{
        Counts, EgressKey, EgressShare, Minute, Place, Seen, Share, Sketch, SuspensionChange,
        Tally, Top, Whose,
        calendar::{Day, Hour},
    },
    types::{AccountId, CaseId, SubjectId, TenantId, Timestamp},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Read as _},
    net::IpAddr,
    time::Duration,
};

/// The version of the form.
pub(crate) const VERSION: u32 = 1;

/// Writes a content.
pub(super) fn encode(content: &Content) -> io::Result<Vec<u8>> {
    let encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    // What is written comes in pieces of some octets, each of which would be deflated for itself.
    let mut pieces = BufWriter::with_capacity(PIECES_OCTETS, encoder);
    serde_json::to_writer(&mut pieces, content)?;
    pieces.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
}

/// Reads a content, at most [`CONTENT_BYTES_MAX`] of it.
pub(super) fn decode(octets: &[u8]) -> io::Result<Content> {
    let mut text = Vec::new();
    ZlibDecoder::new(octets).take(CONTENT_BYTES_MAX).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[derive(Serialize, Deserialize)]
struct ShareForm {
    tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<AccountId>,
    hour: i64,
    day: i32,
    counts: Counts,
    first: i64,
    last: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    recipients: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    networks: BTreeMap<String, Place>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    domains: BTreeMap<String, Place>,
}

#[derive(Serialize, Deserialize)]
struct MinuteForm {
    minute: i64,
    collected_ms: u64,
    #[serde(default)]
    lost: u64,
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    deferred: u64,
    #[serde(default)]
    refused: u64,
}

#[derive(Serialize, Deserialize)]
struct ReasonForm {
    hour: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<AccountId>,
    reason: String,
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct EgressForm {
    address: IpAddr,
    hour: i64,
    tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<AccountId>,
    messages: u64,
    recipients: u64,
    refused: u64,
    spam: u64,
    points: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SuspensionForm {
    Began {
        at: i64,
        subject: SubjectId,
        case: CaseId,
        reason: String,
        actor: String,
        until: Option<i64>,
    },
    Ended {
        at: i64,
        case: CaseId,
        actor: String,
    },
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct TallyForm {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shares: Vec<ShareForm>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    minutes: Vec<MinuteForm>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<ReasonForm>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    egress: Vec<EgressForm>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suspensions: Vec<SuspensionForm>,
}

/// For `serialize_with`.
pub(super) fn write_tally<S: Serializer>(tally: &Tally, serializer: S) -> Result<S::Ok, S::Error> {
    let form = TallyForm {
        shares: tally
            .shares
            .iter()
            .map(|((whose, hour), share)| shown(whose, *hour, share))
            .collect(),
        minutes: tally
            .minutes
            .iter()
            .map(|(&minute, counted)| minute_form(minute, counted))
            .collect(),
        reasons: tally
            .reasons
            .iter()
            .map(|((hour, whose, reason), &count)| ReasonForm {
                hour: hour.number(),
                tenant: whose.as_ref().map(|whose| whose.tenant.clone()),
                account: whose.as_ref().and_then(|whose| whose.account.clone()),
                reason: reason.clone().into_owned(),
                count,
            })
            .collect(),
        egress: tally
            .egress
            .iter()
            .map(|(key, share)| EgressForm {
                address: key.address,
                hour: key.hour.number(),
                tenant: key.whose.tenant.clone(),
                account: key.whose.account.clone(),
                messages: share.messages,
                recipients: share.recipients,
                refused: share.refused,
                spam: share.spam,
                points: share.points,
            })
            .collect(),
        suspensions: tally.suspensions.iter().map(suspension_form).collect(),
    };
    form.serialize(serializer)
}

/// For `deserialize_with`.
pub(super) fn read_tally<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tally, D::Error> {
    let form = TallyForm::deserialize(deserializer)?;
    let mut tally = Tally::default();
    for share in form.shares {
        let (key, share) = share.read().ok_or_else(|| D::Error::custom("a set of recipients"))?;
        tally.shares.insert(key, share);
    }
    tally.minutes = form.minutes.into_iter().map(|form| (form.minute, form.read())).collect();
    for form in form.reasons {
        let ReasonForm { hour, tenant, account, reason, count } = form;
        let whose = tenant.map(|tenant| Whose { tenant, account });
        tally.reasons.insert((Hour::new(hour), whose, reason.into()), count);
    }
    tally.egress = form.egress.into_iter().map(EgressForm::read).collect();
    tally.suspensions = form.suspensions.into_iter().map(SuspensionForm::read).collect();
    Ok(tally)
}

fn shown(whose: &Whose, hour: Hour, share: &Share) -> ShareForm {
    let places = |top: &Top| top.places().map(|(name, place)| (name.to_owned(), place)).collect();
    let recipients = match share.recipients.count() {
        0 => String::new(),
        _ => STANDARD_NO_PAD.encode(share.recipients.to_bytes()),
    };
    ShareForm {
        tenant: whose.tenant.clone(),
        account: whose.account.clone(),
        hour: hour.number(),
        day: share.day.number(),
        counts: share.counts,
        first: share.seen.first.as_millis(),
        last: share.seen.last.as_millis(),
        recipients,
        networks: places(&share.networks),
        domains: places(&share.domains),
    }
}

impl ShareForm {
    fn read(self) -> Option<((Whose, Hour), Share)> {
        let recipients = if self.recipients.is_empty() {
            Sketch::default()
        } else {
            Sketch::from_bytes(&STANDARD_NO_PAD.decode(&self.recipients).ok()?)?
        };
        let share = Share {
            day: Day::new(self.day),
            counts: self.counts,
            seen: Seen {
                first: Timestamp::from_millis(self.first),
                last: Timestamp::from_millis(self.last),
            },
            recipients,
            networks: self.networks.into(),
            domains: self.domains.into(),
        };
        let whose = Whose { tenant: self.tenant, account: self.account };
        Some(((whose, Hour::new(self.hour)), share))
    }
}

fn minute_form(minute: i64, counted: &Minute) -> MinuteForm {
    MinuteForm {
        minute,
        collected_ms: u64::try_from(counted.collected.as_millis()).unwrap_or(u64::MAX),
        lost: counted.lost,
        messages: counted.messages,
        accepted: counted.accepted,
        deferred: counted.deferred,
        refused: counted.refused,
    }
}

impl MinuteForm {
    const fn read(&self) -> Minute {
        Minute {
            collected: Duration::from_millis(self.collected_ms),
            lost: self.lost,
            messages: self.messages,
            accepted: self.accepted,
            deferred: self.deferred,
            refused: self.refused,
        }
    }
}

impl EgressForm {
    fn read(self) -> (EgressKey, EgressShare) {
        let whose = Whose { tenant: self.tenant, account: self.account };
        let key = EgressKey { address: self.address, hour: Hour::new(self.hour), whose };
        let (messages, recipients) = (self.messages, self.recipients);
        let (refused, spam, points) = (self.refused, self.spam, self.points);
        (key, EgressShare { messages, recipients, refused, spam, points })
    }
}

fn suspension_form(change: &SuspensionChange) -> SuspensionForm {
    match change {
        SuspensionChange::Began { at, suspended } => SuspensionForm::Began {
            at: at.as_millis(),
            subject: suspended.subject.clone(),
            case: suspended.case.clone(),
            reason: suspended.reason.clone(),
            actor: suspended.actor.clone(),
            until: suspended.until.map(Timestamp::as_millis),
        },
        SuspensionChange::Ended { at, case, actor } => {
            SuspensionForm::Ended { at: at.as_millis(), case: case.clone(), actor: actor.clone() }
        }
    }
}

impl SuspensionForm {
    fn read(self) -> SuspensionChange {
        match self {
            Self::Began { at, subject, case, reason, actor, until } => SuspensionChange::Began {
                at: Timestamp::from_millis(at),
                suspended: Suspended {
                    subject,
                    case,
                    reason,
                    actor,
                    until: until.map(Timestamp::from_millis),
                },
            },
            Self::Ended { at, case, actor } => {
                SuspensionChange::Ended { at: Timestamp::from_millis(at), case, actor }
            }
        }
    }
}

/// What one entry of the stream may hold when it is inflated: 4,000 events of 16 KiB.
const CONTENT_BYTES_MAX: u64 = 64 << 20;
const PIECES_OCTETS: usize = 32 << 10;
