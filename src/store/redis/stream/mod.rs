//! What happened at any node, for all of them: a stream in Redis, which [`Archive`](crate::store::archive::Archive)s are filled from.
//!
//! Each entry has a number, one more than the one before, and names that one with its mark, so that a reader finds at once that
//! entries are gone that it has not read, or that the server lost some and goes on from older ones. Nothing is written twice: an
//! origin's numbers only grow. What is oldest goes when there is more than [`StreamSettings::octets_max`].

use super::{
    RedisLedger, Shared,
    calls::{Answer, VERSION},
    link::{Connection, Ear},
    servers::At,
};
use crate::store::{
    StoreError,
    archive::stream::{Header, Outgoing, wire},
    records::Revision,
    windows::millis,
};
use crate::types::Timestamp;
use redis::{RedisError, Script};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// How much the stream may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// This node's name, which no other node has.
    pub node: String,
    /// Octets that the stream may hold.
    pub octets_max: u64,
    /// Octets that may wait here while Redis is lost.
    pub journal_octets_max: u64,
    /// How long the stream may hold anything.
    pub age_max: Duration,
}

/// The stream.
pub struct RedisStream {
    shared: Arc<Shared>,
    script: Script,
    /// Where all of it is.
    at: At,
    stream: String,
    head: String,
    origins: String,
}

/// An entry of the stream.
#[derive(Debug)]
pub struct Entry {
    /// The entry before it.
    pub before: Revision,
    /// The entry.
    pub revision: Revision,
    /// From whom it is.
    pub header: Header,
    /// What it says.
    pub body: Vec<u8>,
}

/// A connection that waits for entries.
pub struct StreamEar(Ear);

type Fields = HashMap<String, Vec<u8>>;
type Rows = Vec<(String, Fields)>;

impl RedisStream {
    /// The stream in the same Redis as a ledger.
    #[must_use]
    pub fn new(ledger: &RedisLedger) -> Self {
        let shared = ledger.shared.clone();
        let name = |what| format!("{}:{VERSION}:{{{TAG}}}{what}", shared.settings.prefix);
        let script = Script::new(include_str!("append.lua"));
        let stream = stream_name(&shared.settings.prefix);
        let (head, origins) = (name("head"), name("origin"));
        Self { script, at: shared.servers.at(&stream), stream, head, origins, shared }
    }

    /// Appends what is on its way, unless it is there already. `from` is where to count on if the server has no stream. False: what
    /// was appended before it, and is not the oldest that waits, is not there any more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis does not answer; it may have been appended all the same.
    pub async fn append(
        &self,
        settings: &StreamSettings,
        outgoing: &Outgoing,
        (from, is_oldest): (i64, bool),
    ) -> Result<bool, StoreError> {
        let mark = super::records::draw()?;
        self.shared
            .call(&self.at, async |connection| {
                self.ask(connection, settings, outgoing, (mark, from, is_oldest)).await
            })
            .await
            .map(|answer| answer.state() != LACKS)
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        settings: &StreamSettings,
        Outgoing { header, body, .. }: &Outgoing,
        (mark, from, is_oldest): (i64, i64, bool),
    ) -> Result<Answer, RedisError> {
        let origin = hex(&header.origin);
        let mut call = self.script.prepare_invoke();
        call.key(&self.stream).key(&self.head).key(format!("{}/{origin}", self.origins));
        call.arg(wire::VERSION).arg(origin).arg(&header.node).arg(header.number);
        call.arg(header.events_before).arg(header.at.as_millis()).arg(body).arg(mark);
        call.arg(settings.octets_max)
            .arg(millis(settings.age_max))
            .arg(millis(ORIGIN_KEPT))
            .arg(from)
            .arg(u8::from(is_oldest));
        Answer::of(call, connection).await
    }

    /// A connection of its own for waiting.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis cannot be reached.
    pub async fn ear(&self) -> Result<StreamEar, StoreError> {
        self.shared.servers.ear(&self.at, LISTEN_TIME).await.map(StreamEar)
    }

    /// The entries after a number, as they follow one another; none after a while in which none came.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis does not answer, [`StoreError::Damaged`] if an entry cannot be read: of a newer version,
    /// for one.
    pub async fn listen(&self, ear: &mut StreamEar, after: i64) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<(String, Rows)> = ear.0.read(&self.stream, after, ENTRIES_MAX).await?;
        rows.into_iter().flat_map(|(_, rows)| rows).map(read).collect()
    }

    /// The last entry; none: there is no stream.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis does not answer.
    pub async fn head(&self) -> Result<Option<Revision>, StoreError> {
        let head = self.shared.call(&self.at, async |connection| {
            redis::cmd("GET").arg(&self.head).query_async::<Option<String>>(connection).await
        });
        let Some(head) = head.await? else { return Ok(None) };
        let revision = head.rsplit_once(':').map(|(revision, _)| revision).ok_or_else(damaged)?;
        revision.parse().map(Some)
    }

    /// What all nodes hash recipients with: what is there, or this, if nothing is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if Redis does not answer.
    pub async fn share_key(&self, own: &[u8]) -> Result<Vec<u8>, StoreError> {
        let name = format!("{}:{VERSION}:{{{TAG}}}key", self.shared.settings.prefix);
        self.shared
            .call(&self.at, async |redis| super::records::calls::share_key(redis, &name, own).await)
            .await
    }
}

/// The name of the stream.
pub(super) fn stream_name(prefix: &str) -> String {
    format!("{prefix}:{VERSION}:{{{TAG}}}stream")
}

fn read((id, fields): (String, Fields)) -> Result<Entry, StoreError> {
    let text = |name: &str| {
        let value = fields.get(name).map(Vec::as_slice);
        value.and_then(|octets| std::str::from_utf8(octets).ok()).ok_or_else(damaged)
    };
    let number = |name: &str| text(name)?.parse::<i64>().map_err(|_| damaged());
    let version = number("v")?;
    if version != i64::from(wire::VERSION) {
        return Err(StoreError::Damaged(format!(
            "the stream of events in Redis has entries of version {version}, and this program reads version {}: upgrade this node",
            wire::VERSION
        )));
    }
    let at = id.strip_suffix("-0").and_then(|number| number.parse().ok()).ok_or_else(damaged)?;
    Ok(Entry {
        before: text("before")?.parse()?,
        revision: Revision { number: at, mark: number("mark")? },
        header: Header {
            origin: unhex(text("origin")?).ok_or_else(damaged)?,
            node: text("node")?.to_owned(),
            number: number("number")?,
            events_before: number("events")?,
            at: Timestamp::from_millis(number("at")?),
        },
        body: fields.get("body").cloned().ok_or_else(damaged)?,
    })
}

fn hex(origin: &[u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(*origin))
}

fn unhex(text: &str) -> Option<[u8; 8]> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten().map(u64::to_be_bytes)
}

fn damaged() -> StoreError {
    StoreError::Damaged("an entry of the stream of events in Redis cannot be read".into())
}

/// In the names' hash tag.
const TAG: &str = "events";
/// Entries in one answer.
const ENTRIES_MAX: usize = 32;
/// How long a reader waits for entries before it looks whether the stream is still the same.
const LISTEN_TIME: Duration = Duration::from_secs(5);
/// How long it is remembered how far an origin came.
const ORIGIN_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// What the script answers where those before are gone.
const LACKS: i64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_whole_and_one_of_a_newer_version_says_what_to_do() {
        let whole = [
            ("v", "1"),
            ("origin", "00000000000000ff"),
            ("node", "a"),
            ("number", "3"),
            ("events", "20"),
            ("at", "5000"),
            ("before", "6:-1"),
            ("mark", "9"),
            ("body", "x"),
        ];
        let of = |id: &str, fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            read((id.into(), fields.collect()))
        };
        let entry = of("7-0", &whole).unwrap();
        assert_eq!((entry.revision.number, entry.before.number), (7, 6));
        assert_eq!(
            (hex(&entry.header.origin).as_str(), entry.body),
            ("00000000000000ff", b"x".into())
        );
        for missing in 0..whole.len() {
            let mut fields = whole.to_vec();
            fields.remove(missing);
            assert!(matches!(of("7-0", &fields), Err(StoreError::Damaged(_))), "{missing}");
        }
        let mut newer = whole;
        newer[0].1 = "2";
        assert!(of("7-0", &newer).unwrap_err().to_string().contains("upgrade this node"));
        assert!(of("7-1", &whole).is_err());
    }
}
