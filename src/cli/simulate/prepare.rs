//! An event of a trace as the rules see a message: names parsed, answers read, the text looked at.

use super::{
    sender,
    trace::{self, Chunks, Event, Lists, Piece, TraceError},
};
use crate::{
    message::{self, Excerpt, Form, facts::registrable},
    rules::{
        replay::Message,
        spam::{self, Beside, Client, Patterns, Recipient, Says, Text, content::Rules},
        tally::RecipientKey,
    },
    types::{AccountId, Address, ByteCount, ClientIp, IpPrefix, ParseError, TenantId, Timestamp},
};
use std::path::Path;

/// What makes events ready.
pub(super) struct Preparer {
    chunks: Chunks,
    lists: Lists,
    key: RecipientKey,
    answers: Patterns,
    tag_score: f32,
    rules: Rules,
}

/// An event that is ready to be judged.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) seq: u64,
    /// The sender's name in the trace.
    pub(super) identity: String,
    /// The score of the text is one that is tagged.
    pub(super) is_spam: bool,
    at: Timestamp,
    account: AccountId,
    tenant: TenantId,
    client: Option<(IpPrefix, Client)>,
    is_null_sender: bool,
    recipients: Vec<(Recipient, Says)>,
    answer: (u16, Says),
    pub(super) text: Text,
}

impl Preparer {
    pub(super) fn new(
        folder: &Path,
        settings: &spam::Settings,
        rules: Rules,
    ) -> Result<Self, TraceError> {
        Ok(Self {
            chunks: trace::read_chunks(folder)?,
            lists: Lists::read(folder)?,
            key: RecipientKey::new(KEY),
            answers: settings.answers.clone(),
            tag_score: settings.tag_score,
            rules,
        })
    }

    pub(super) fn prepare(&self, event: &Event<'_>) -> Result<Prepared, ParseError> {
        let identity = sender::identity(event);
        let account: AccountId = identity.parse()?;
        let text = self.text(event, &account);
        let (code, reply) = &event.data_reply;
        Ok(Prepared {
            seq: event.seq,
            is_spam: text.score.is_some_and(|score| score >= self.tag_score),
            at: trace::moment(event.t),
            tenant: event.tenant.as_deref().unwrap_or(account.as_str()).parse()?,
            account,
            client: self.client(event)?,
            is_null_sender: event.mail_from.is_empty(),
            recipients: self.recipients(event),
            answer: (*code, self.answers.read(*code, reply)),
            text,
            identity,
        })
    }

    fn recipients(&self, event: &Event<'_>) -> Vec<(Recipient, Says)> {
        let recipients = event.rcpts.iter().map(|(address, code, reply)| {
            let key = address.parse::<Address>().map_or(0, |address| self.key.hash(&address));
            let recipient = Recipient { key, is_trap: self.lists.is_trap(address) };
            (recipient, self.answers.read(*code, reply))
        });
        recipients.collect()
    }

    /// The client; none where one of the provider's own servers handed the message in.
    fn client(&self, event: &Event<'_>) -> Result<Option<(IpPrefix, Client)>, ParseError> {
        if event.relay.is_some() && !sender::is_customers_server(event) {
            return Ok(None);
        }
        let address: ClientIp = event.ip.parse()?;
        let client = Client {
            place: self.lists.place_of(address),
            is_listed: self.lists.lists_client(address, trace::moment(event.t)),
            greeting: event.helo.as_deref().map(spam::form_of),
            // A trace does not tell of logins.
            failed_logins: 0,
        };
        Ok(Some((address.prefix(IPV6_PREFIX_BITS), client)))
    }

    fn text(&self, event: &Event<'_>, account: &AccountId) -> Text {
        let octets = self.octets(event);
        let size = ByteCount::new(u64::try_from(octets.len()).unwrap_or(u64::MAX));
        let facts = message::facts(&Excerpt { text: &octets, form: Form::Plain, size });
        let sender = event.mail_from.rsplit_once('@').map(|(_, domain)| domain);
        let own = [account.domain(), sender].into_iter().flatten();
        let own_domains: Vec<String> = own.map(|own| registrable(&own.to_lowercase())).collect();
        let now = trace::moment(event.t);
        let mut links = facts.links.iter();
        let has_listed_link = links.any(|link| self.lists.lists_domain(&link.domain, now));
        let score = self.rules.judge(&facts).score;
        Text::of(&facts, &Beside { own_domains: &own_domains, score, has_listed_link })
    }

    /// The text of a message: its header, an empty line, its pieces.
    fn octets(&self, event: &Event<'_>) -> Vec<u8> {
        let pieces = || event.body.iter().map(|piece| self.piece(piece));
        let size = event.h.len() + 2 + pieces().map(<[u8]>::len).sum::<usize>();
        let mut octets = Vec::with_capacity(size);
        octets.extend_from_slice(event.h.as_bytes());
        octets.extend_from_slice(b"\r\n");
        pieces().for_each(|piece| octets.extend_from_slice(piece));
        octets
    }

    fn piece<'a>(&'a self, piece: &'a Piece<'a>) -> &'a [u8] {
        match piece {
            Piece::Chunk(name) => self.chunks.get(name.as_ref()).map_or(&[], Vec::as_slice),
            Piece::Literal { l } => l.as_bytes(),
        }
    }
}

impl Prepared {
    /// The message that is judged.
    pub(super) fn message(&self) -> Message<'_> {
        Message {
            at: self.at,
            account: &self.account,
            tenant: &self.tenant,
            client: self.client,
            is_null_sender: self.is_null_sender,
            recipients: &self.recipients,
            answer: self.answer,
            text: self.text,
        }
    }
}

/// Nothing of a replay is kept, so its key need not be a secret.
const KEY: &[u8] = b"replay";
const IPV6_PREFIX_BITS: u8 = 64;
