//! The files of a trace: events, pieces of text, accounts and lists, each gzipped JSON, read as a stream.

use crate::{
    rules::spam::Place,
    types::{ClientIp, ParseError, Timestamp},
};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::mpsc::SyncSender,
};

/// Why a trace cannot be read; fits "failed to …".
#[derive(Debug, thiserror::Error)]
pub(super) enum TraceError {
    /// A file cannot be read.
    #[error("read {file}: {source}")]
    Read {
        /// Which.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("read {file}, line {line}: {source}")]
    Line {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A name is none.
    #[error("read {file}, line {line}: {source}")]
    Name {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        source: ParseError,
    },
}

/// One message.
#[derive(Debug, Deserialize)]
pub(super) struct Event<'a> {
    pub(super) seq: u64,
    /// Seconds since the Unix epoch.
    pub(super) t: f64,
    #[serde(borrow)]
    pub(super) ip: Cow<'a, str>,
    /// What the client called itself.
    #[serde(borrow, default)]
    pub(super) helo: Option<Cow<'a, str>>,
    /// The login.
    #[serde(borrow)]
    pub(super) auth: Option<Cow<'a, str>>,
    /// The server that handed it in.
    #[serde(borrow)]
    pub(super) relay: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) tenant: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) mail_from: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) rcpts: Vec<(Cow<'a, str>, u16, Cow<'a, str>)>,
    #[serde(borrow)]
    pub(super) data_reply: (u16, Cow<'a, str>),
    /// The header.
    #[serde(borrow)]
    pub(super) h: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) body: Vec<Piece<'a>>,
}

/// A piece of a body: the name of a chunk, or the text itself.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Piece<'a> {
    Chunk(#[serde(borrow)] Cow<'a, str>),
    Literal {
        #[serde(borrow)]
        l: Cow<'a, str>,
    },
}

/// Texts that messages are made from, in octets.
pub(super) type Chunks = HashMap<String, Vec<u8>>;

/// What stands for blocklists, traps and a table of networks.
#[derive(Debug, Default)]
pub(super) struct Lists {
    domains: HashMap<String, Timestamp>,
    clients: HashMap<IpAddr, Timestamp>,
    traps: HashSet<String>,
    networks: HashMap<[u8; 2], Place>,
}

/// `lists.json.gz`.
#[derive(Debug, Deserialize)]
struct ListsFile {
    #[serde(default)]
    dbl: Vec<ListedDomain>,
    #[serde(default)]
    ip_blocklist: Vec<ListedClient>,
    #[serde(default)]
    traps_known: Vec<String>,
    #[serde(default)]
    ipinfo: HashMap<String, Network>,
}

#[derive(Debug, Deserialize)]
struct ListedDomain {
    domain: String,
    since: f64,
}

#[derive(Debug, Deserialize)]
struct ListedClient {
    ip: IpAddr,
    since: f64,
}

#[derive(Debug, Deserialize)]
struct Network {
    asn: u32,
    cc: String,
    kind: String,
}

/// One line of `chunks.jsonl.gz`.
type Chunk = (String, String);

impl Lists {
    /// Reads `lists.json.gz`; a trace without it has no lists.
    pub(super) fn read(folder: &Path) -> Result<Self, TraceError> {
        let path = folder.join("lists.json.gz");
        if !path.exists() {
            return Ok(Self::default());
        }
        let wrong = |source| TraceError::Line { file: shown(&path), line: 1, source };
        let file: ListsFile = serde_json::from_reader(open(&path)?).map_err(wrong)?;
        let networks = file.ipinfo.iter().filter_map(|(network, known)| {
            let address: Ipv4Addr = network.split('/').next()?.parse().ok()?;
            let [a, b, ..] = address.octets();
            Some(([a, b], known.place()))
        });
        Ok(Self {
            domains: file
                .dbl
                .into_iter()
                .map(|d| (d.domain.to_lowercase(), moment(d.since)))
                .collect(),
            clients: file.ip_blocklist.into_iter().map(|c| (c.ip, moment(c.since))).collect(),
            traps: file.traps_known.into_iter().map(|trap| trap.to_lowercase()).collect(),
            networks: networks.collect(),
        })
    }

    pub(super) fn lists_client(&self, client: ClientIp, now: Timestamp) -> bool {
        self.clients.get(&client.address()).is_some_and(|&since| since <= now)
    }

    pub(super) fn lists_domain(&self, domain: &str, now: Timestamp) -> bool {
        self.domains.get(domain).is_some_and(|&since| since <= now)
    }

    pub(super) fn is_trap(&self, recipient: &str) -> bool {
        self.traps.contains(&recipient.to_lowercase())
    }

    pub(super) fn place_of(&self, client: ClientIp) -> Option<Place> {
        match client.address() {
            IpAddr::V4(four) => {
                let [a, b, ..] = four.octets();
                self.networks.get(&[a, b]).copied()
            }
            IpAddr::V6(_) => None,
        }
    }
}

impl Network {
    fn place(&self) -> Place {
        Place {
            country: self.cc.as_bytes().try_into().ok(),
            network: self.asn,
            is_hosting: self.kind == "hosting",
        }
    }
}

/// Reads `chunks.jsonl.gz`: one code point stands for one octet.
pub(super) fn read_chunks(folder: &Path) -> Result<Chunks, TraceError> {
    let mut chunks = Chunks::new();
    each_line(&folder.join("chunks.jsonl.gz"), |line| {
        let (name, text): Chunk = serde_json::from_str(line)?;
        let octets = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
        chunks.insert(name, octets);
        Ok(())
    })?;
    Ok(chunks)
}

/// Some lines of a file with their numbers, which count from 1.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: String,
    ends: Vec<(usize, usize)>,
}

impl Lines {
    pub(super) const fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|&(_, end)| end));
        begins.zip(&self.ends).map(|(begin, &(number, end))| (number, &self.text[begin..end]))
    }
}

/// Reads `events.jsonl.gz` and sends its lines in batches, to each in turn, until there are no more or nobody listens.
pub(super) fn each_batch(folder: &Path, to: &[SyncSender<Lines>]) -> Result<(), TraceError> {
    let mut turns = to.iter().cycle();
    let mut send = |batch| turns.next().is_some_and(|to| to.send(batch).is_ok());
    let path = folder.join(EVENTS);
    let mut batch = Lines::default();
    let mut reader = BufReader::with_capacity(READ_BYTES, open(&path)?);
    for number in 1.. {
        let count =
            reader.read_line(&mut batch.text).map_err(|source| unreadable(&path, source))?;
        if count > 0 {
            batch.ends.push((number, batch.text.len()));
        }
        let is_full = batch.text.len() >= BATCH_BYTES;
        if count == 0 || is_full {
            let is_heard = send(std::mem::take(&mut batch));
            if count == 0 || !is_heard {
                break;
            }
        }
    }
    Ok(())
}

/// Reads one line of `events.jsonl.gz`.
pub(super) fn event(line: &str) -> Result<Event<'_>, serde_json::Error> {
    serde_json::from_str(line)
}

/// The line is no event.
pub(super) fn wrong_event(line: usize, source: serde_json::Error) -> TraceError {
    TraceError::Line { file: EVENTS.into(), line, source }
}

/// The event has a name or an address in it that is none.
pub(super) fn odd_event(line: usize, source: ParseError) -> TraceError {
    TraceError::Name { file: EVENTS.into(), line, source }
}

/// The moment of a time in seconds.
#[expect(clippy::cast_possible_truncation, reason = "as far as a time has milliseconds")]
pub(super) fn moment(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1_000.0).round() as i64)
}

fn each_line(
    path: &Path,
    mut act: impl FnMut(&str) -> Result<(), serde_json::Error>,
) -> Result<(), TraceError> {
    let reader = BufReader::with_capacity(READ_BYTES, open(path)?);
    for (index, line) in reader.lines().enumerate() {
        let line = line.map_err(|source| unreadable(path, source))?;
        let wrong = |source| TraceError::Line { file: shown(path), line: index + 1, source };
        act(&line).map_err(wrong)?;
    }
    Ok(())
}

fn unreadable(path: &Path, source: io::Error) -> TraceError {
    TraceError::Read { file: shown(path), source }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn open(path: &Path) -> Result<MultiGzDecoder<BufReader<File>>, TraceError> {
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    Ok(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, file)))
}

const EVENTS: &str = "events.jsonl.gz";
const READ_BYTES: usize = 256 * 1024;
/// A batch of lines ends with the line that fills it.
const BATCH_BYTES: usize = 512 * 1024;
