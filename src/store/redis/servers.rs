//! Which server a call goes to: the only one, or that master of a Redis Cluster which has the slot of its keys.
//!
//! Each master has a [`Link`] of its own. Where slots are is read from any node that answers, and corrected by what servers say
//! when they are asked for a slot that they do not have. A call is sent again only after an answer that says that nothing was
//! done: `MOVED`, `ASK`, `TRYAGAIN` and their like, or where no connection could be made. After silence or a broken
//! connection it may have been done, and its caller is told that it failed. All of it is within the time that a call may take.

use super::{
    Settings,
    link::{Connection, Ear, Failure, Link, Way, backoff},
};
use crate::{clock, store::StoreError};
use parking_lot::{Mutex, RwLock};
use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// A host and a port.
pub(super) type Address = (String, u16);

/// Where a call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// To whoever has this slot; a single server has all.
    Slot(u16),
    /// To this node of a Cluster.
    Node(Address),
}

/// All that keys are on.
pub(super) enum Servers {
    One(Link),
    Cluster(Cluster),
}

impl Servers {
    pub(super) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let way = Way::new(settings)?;
        Ok(match &settings.cluster {
            None => Self::One(Link::new(way, settings.timeout)),
            Some(nodes) => Self::Cluster(Cluster {
                way,
                timeout: settings.timeout,
                first: nodes.clone(),
                map: RwLock::default(),
                links: Mutex::default(),
                reading: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// Does something within the time that a call may take. It is done again only where nothing was done.
    pub(super) async fn call<T>(
        &self,
        at: &At,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError> + Copy,
    ) -> Result<T, StoreError> {
        match self {
            Self::One(link) => {
                let ends = clock::steady_now() + link.timeout();
                link.call((ends, false), work).await
            }
            Self::Cluster(cluster) => cluster.call(at, work).await,
        }
        .map_err(Failure::into_store_error)
    }

    /// A connection of its own for waiting on a slot.
    pub(super) async fn ear(&self, at: &At, wait: Duration) -> Result<Ear, StoreError> {
        match self {
            Self::One(link) => link.ear(wait).await,
            Self::Cluster(cluster) => {
                let ends = clock::steady_now() + cluster.timeout;
                let address = cluster.address_of(at, ends).await;
                let address = address.map_err(Failure::into_store_error)?;
                cluster.link(&address).ear(wait).await
            }
        }
    }

    /// Where a key is; on a single server all are together.
    pub(super) fn at(&self, key: &str) -> At {
        match self {
            Self::One(_) => At::Slot(0),
            Self::Cluster(_) => At::Slot(slot_of(key)),
        }
    }

    /// What must be asked to hear of all keys.
    pub(super) async fn all(&self) -> Result<Vec<At>, StoreError> {
        match self {
            Self::One(_) => Ok(vec![At::Slot(0)]),
            Self::Cluster(cluster) => {
                let ends = clock::steady_now() + cluster.timeout;
                cluster.read_map(None, ends).await.map_err(Failure::into_store_error)?;
                let map = cluster.map.read();
                Ok(map.masters.iter().cloned().map(At::Node).collect())
            }
        }
    }

    /// The server that it is known to be on, as far as this can change.
    pub(super) fn known(&self, at: &At) -> Option<Address> {
        match (self, at) {
            (Self::Cluster(cluster), At::Slot(slot)) => cluster.master_of(*slot),
            _ => None,
        }
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Asks every server for its time; how many answered, and what the others said.
    pub(super) async fn look(&self) -> (usize, Result<(), StoreError>) {
        match self {
            Self::One(link) => {
                let ends = clock::steady_now() + link.timeout();
                let told = link.call((ends, false), async |connection| connection.time().await);
                let told = told.await.map(|_| ()).map_err(Failure::into_store_error);
                (usize::from(told.is_ok()), told)
            }
            Self::Cluster(cluster) => {
                let (well, told) = cluster.look().await;
                (well, told.map_err(Failure::into_store_error))
            }
        }
    }
}

/// The masters of a Redis Cluster.
pub(super) struct Cluster {
    way: Way,
    timeout: Duration,
    /// Nodes that are asked first.
    first: Vec<Address>,
    map: RwLock<Map>,
    links: Mutex<HashMap<Address, Arc<Link>>>,
    /// Held while somebody reads the map, with when it was read last.
    reading: tokio::sync::Mutex<Option<Instant>>,
}

/// Who has which slot.
#[derive(Debug, Default)]
struct Map {
    masters: Vec<Address>,
    /// Places in `masters`, by slot; empty while nothing is known.
    slots: Vec<Option<u16>>,
}

impl Map {
    fn master_of(&self, slot: u16) -> Option<Address> {
        let place = (*self.slots.get(usize::from(slot))?)?;
        self.masters.get(usize::from(place)).cloned()
    }

    fn is_whole(&self) -> bool {
        self.slots.len() == SLOTS && self.slots.iter().all(Option::is_some)
    }

    /// Slots from one to another, both with it, belong to this master.
    fn put(&mut self, slots: std::ops::RangeInclusive<u16>, master: Address) {
        let known = self.masters.iter().position(|known| *known == master);
        let place = known.unwrap_or(self.masters.len());
        let Some(number) = u16::try_from(place).ok().filter(|_| place < MASTERS_MAX) else {
            return;
        };
        if known.is_none() {
            self.masters.push(master);
        }
        self.slots.resize(SLOTS, None);
        let (from, to) = (usize::from(*slots.start()), usize::from(*slots.end()));
        if let Some(slots) = self.slots.get_mut(from..=to) {
            slots.fill(Some(number));
        }
    }
}

/// What is done about a failure.
#[derive(Debug, PartialEq, Eq)]
enum Course {
    Fail,
    /// It belongs to another master, who is asked at once.
    Follow(Address),
    /// This one takes it over.
    AskAt(Address),
    /// It is tried again soon.
    Wait,
    /// It is tried again once it is known who has the slot.
    ReadMap,
}

/// Decides by what a node, asked for a slot, said.
fn decide(failure: &Failure, node: &Address) -> Course {
    let error = match failure {
        Failure::Lost(_) => return Course::Fail,
        Failure::Unreached(_) => return Course::ReadMap,
        Failure::Answered(error) => error,
    };
    let ErrorKind::Server(kind) = error.kind() else { return Course::Fail };
    // Of a transaction nothing was done either; which of its commands was redirected, and where to, stands within.
    if kind == ServerErrorKind::ExecAbort {
        let errors = error.clone().into_server_errors();
        let first = errors.as_ref().and_then(|errors| errors.first());
        return first.map_or(Course::Wait, |(_, first)| {
            first.kind().map_or(Course::Fail, |kind| decide_by(kind, first.details(), node))
        });
    }
    decide_by(kind, error.detail(), node)
}

fn decide_by(kind: ServerErrorKind, detail: Option<&str>, node: &Address) -> Course {
    let other = || address_in(detail?.split_ascii_whitespace().nth(1)?, node);
    match kind {
        ServerErrorKind::Moved => other().map_or(Course::ReadMap, Course::Follow),
        ServerErrorKind::Ask => other().map_or(Course::Wait, Course::AskAt),
        ServerErrorKind::TryAgain | ServerErrorKind::BusyLoading => Course::Wait,
        ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown | ServerErrorKind::ReadOnly => {
            Course::ReadMap
        }
        _ => Course::Fail,
    }
}

/// A redirection's address; one without a host is on the host of whoever says so.
fn address_in(text: &str, node: &Address) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = if host.is_empty() { &node.0 } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

impl Cluster {
    async fn call<T>(
        &self,
        at: &At,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError> + Copy,
    ) -> Result<T, Failure> {
        let ends = clock::steady_now() + self.timeout;
        let (mut takes_over, mut tries) = (None, 0);
        loop {
            let asking = takes_over.is_some();
            let address = match takes_over.take() {
                Some(address) => address,
                None => self.address_of(at, ends).await?,
            };
            let failure = match self.link(&address).call((ends, asking), work).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let At::Slot(slot) = *at else { return Err(failure) };
            match decide(&failure, &address) {
                Course::Fail => return Err(failure),
                Course::Follow(master) => self.map.write().put(slot..=slot, master),
                Course::AskAt(master) => takes_over = Some(master),
                Course::Wait => {}
                Course::ReadMap => {
                    let read = self.read_map(Some(&address), ends).await;
                    let is_same = self.map.read().master_of(slot).as_ref() == Some(&address);
                    if read.is_err() || (is_same && matches!(failure, Failure::Unreached(_))) {
                        return Err(failure);
                    }
                }
            }
            tries += 1;
            let next = clock::steady_now() + pause(tries);
            if next >= ends {
                return Err(failure);
            }
            tokio::time::sleep_until(next.into()).await;
        }
    }

    async fn address_of(&self, at: &At, ends: Instant) -> Result<Address, Failure> {
        let slot = match at {
            At::Node(address) => return Ok(address.clone()),
            At::Slot(slot) => *slot,
        };
        if let Some(master) = self.master_of(slot) {
            return Ok(master);
        }
        self.read_map(None, ends).await?;
        self.master_of(slot).ok_or_else(|| unreached("no server of the Cluster has the slot"))
    }

    fn master_of(&self, slot: u16) -> Option<Address> {
        self.map.read().master_of(slot)
    }

    fn link(&self, address: &Address) -> Arc<Link> {
        let mut links = self.links.lock();
        let new = || Arc::new(Link::new(self.way.to(address.clone()), self.timeout));
        links.entry(address.clone()).or_insert_with(new).clone()
    }

    /// Reads who has which slot, if nobody did a moment ago, from another node than the one that failed.
    async fn read_map(&self, failed: Option<&Address>, ends: Instant) -> Result<(), Failure> {
        let mut reading = self.reading.lock().await;
        let is_fresh = |read: Instant| clock::steady_now() < read + MAP_RESTS;
        if reading.is_some_and(is_fresh) {
            return Ok(());
        }
        let mut asked = JoinSet::new();
        for address in self.nodes(failed) {
            let link = self.link(&address);
            asked.spawn(async move {
                let answer = link.call((ends, false), async |connection| {
                    redis::cmd("CLUSTER").arg("SLOTS").query_async::<Value>(connection).await
                });
                answer.await.map(|slots| map_of(&slots, &address))
            });
        }
        let mut outcome = Err(unreached("no node of the Cluster can be asked"));
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(Some(map))) => {
                    outcome = Ok(map);
                    break;
                }
                Ok(Ok(None)) => outcome = Err(unreached("a node's map of slots has no sense")),
                Ok(Err(failure)) => outcome = Err(failure),
                Err(_) => {}
            }
        }
        // Whoever is connecting must not be cut off, or its node counts as failed.
        asked.detach_all();
        *reading = Some(clock::steady_now());
        let map = outcome?;
        let is_used = |address: &Address, _: &mut Arc<Link>| {
            map.masters.contains(address) || self.first.contains(address)
        };
        self.links.lock().retain(is_used);
        *self.map.write() = map;
        Ok(())
    }

    /// Asks all masters at once; how many answered, and what another said.
    async fn look(&self) -> (usize, Result<(), Failure>) {
        let ends = clock::steady_now() + self.timeout;
        if let Err(failure) = self.read_map(None, ends).await {
            return (0, Err(failure));
        }
        let mut asked = JoinSet::new();
        for address in self.map.read().masters.clone() {
            let link = self.link(&address);
            asked.spawn(async move {
                link.call((ends, false), async |connection| connection.time().await).await
            });
        }
        let (mut well, mut outcome) = (0, Ok(()));
        while let Some(told) = asked.join_next().await {
            match told {
                Ok(Ok(_)) => well += 1,
                Ok(Err(failure)) => outcome = Err(failure),
                Err(_) => {}
            }
        }
        if outcome.is_ok() && !self.map.read().is_whole() {
            outcome = Err(unreached("the Cluster has slots without a server"));
        }
        (well, outcome)
    }

    /// Nodes that may know who has which slot.
    fn nodes(&self, failed: Option<&Address>) -> Vec<Address> {
        let mut nodes = self.map.read().masters.clone();
        nodes.extend(
            self.first.iter().filter(|first| !nodes.contains(first)).cloned().collect::<Vec<_>>(),
        );
        if nodes.len() > 1 {
            nodes.retain(|node| Some(node) != failed);
        }
        nodes.truncate(ASKED_MAX);
        nodes
    }
}

/// What `CLUSTER SLOTS` answers: from, to, the master, replicas; a node is its host, its port and more.
fn map_of(answer: &Value, asked: &Address) -> Option<Map> {
    let mut map = Map::default();
    for range in array(answer)? {
        let [Value::Int(from), Value::Int(to), master, ..] = &array(range)?[..] else {
            return None;
        };
        let [host, Value::Int(port), ..] = &array(master)?[..] else { return None };
        let host = match host {
            Value::BulkString(octets) => String::from_utf8(octets.clone()).ok()?,
            Value::SimpleString(text) => text.clone(),
            _ => String::new(),
        };
        // A node that does not know its own name leaves it out.
        let host = if matches!(host.as_str(), "" | "?") { asked.0.clone() } else { host };
        let (from, to) = (u16::try_from(*from).ok()?, u16::try_from(*to).ok()?);
        if usize::from(to) >= SLOTS || from > to {
            return None;
        }
        map.put(from..=to, (host, u16::try_from(*port).ok()?));
    }
    Some(map)
}

fn array(value: &Value) -> Option<&Vec<Value>> {
    if let Value::Array(values) = value { Some(values) } else { None }
}

fn unreached(why: &'static str) -> Failure {
    Failure::Unreached(RedisError::from((ErrorKind::ClusterConnectionNotFound, why)))
}

/// How long the next attempt waits after so many: a slot that is under way comes to rest in milliseconds.
fn pause(tries: u32) -> Duration {
    if tries <= AT_ONCE_MAX { Duration::ZERO } else { backoff(tries).min(PAUSE_MAX) }
}

/// The slot of a key: of its hash tag, if it has one. Redis Cluster specification, "Key distribution model".
fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    hashed.bytes().fold(0, crc16) % 16_384
}

/// CRC-16/XMODEM, an octet further.
fn crc16(crc: u16, octet: u8) -> u16 {
    let step = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    (0..8).fold(crc ^ u16::from(octet) << 8, step)
}

/// Slots of a Cluster.
const SLOTS: usize = 16_384;
/// Masters that are known; a Cluster is made for a thousand nodes.
const MASTERS_MAX: usize = 1_024;
/// Nodes that are asked at once who has which slot.
const ASKED_MAX: usize = 16;
/// How long a map that was read, or could not be, is not read again.
const MAP_RESTS: Duration = Duration::from_millis(250);
/// Attempts of a call that follow one another without a pause.
const AT_ONCE_MAX: u32 = 2;
const PAUSE_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_that_of_the_hash_tag() {
        // The specification's own example, and what CLUSTER KEYSLOT answers.
        assert_eq!(b"123456789".iter().copied().fold(0, crc16), 0x31c3);
        for (key, slot) in [
            ("123456789", 0x31c3),
            ("foo", 12_182),
            ("t:1:{foo}account/r/a@foo", 12_182),
            ("t:1:{foo}}account", 12_182),
            ("foo{}{bar}", 8_363),
        ] {
            assert_eq!(slot_of(key), slot, "{key}");
        }
    }

    #[test]
    fn what_may_have_been_done_is_not_done_again() {
        let node = ("10.0.0.1".to_owned(), 6_379);
        let to = |host: &str, port| (host.to_owned(), port);
        let said = |kind, detail: &str| {
            Failure::Answered(RedisError::from((ErrorKind::Server(kind), "", detail.to_owned())))
        };
        let broken = || RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        use ServerErrorKind as Kind;
        for (failure, course) in [
            (Failure::Lost(broken()), Course::Fail),
            (Failure::Unreached(broken()), Course::ReadMap),
            (said(Kind::Moved, "7 10.0.0.2:6380"), Course::Follow(to("10.0.0.2", 6_380))),
            (said(Kind::Moved, "7 :6380"), Course::Follow(to("10.0.0.1", 6_380))),
            (said(Kind::Moved, "7 fd00::2:6380"), Course::Follow(to("fd00::2", 6_380))),
            (said(Kind::Moved, "nonsense"), Course::ReadMap),
            (said(Kind::Ask, "7 10.0.0.2:6380"), Course::AskAt(to("10.0.0.2", 6_380))),
            (said(Kind::TryAgain, ""), Course::Wait),
            (said(Kind::ClusterDown, ""), Course::ReadMap),
            (said(Kind::ReadOnly, ""), Course::ReadMap),
            (said(Kind::ResponseError, "of a script"), Course::Fail),
            (said(Kind::CrossSlot, ""), Course::Fail),
            (said(Kind::NoPerm, ""), Course::Fail),
        ] {
            assert_eq!(decide(&failure, &node), course, "{failure:?}");
        }
    }

    #[test]
    fn a_map_says_whose_each_slot_is() {
        let text = |text: &str| Value::BulkString(text.into());
        let range = |from, to, host: Value, port| {
            let node = vec![host, Value::Int(port), text("id")];
            Value::Array(vec![Value::Int(from), Value::Int(to), Value::Array(node)])
        };
        let asked = ("here".to_owned(), 1);
        let whole = [
            range(0, 5_460, text("a"), 7_001),
            range(5_461, 16_382, Value::Nil, 7_002),
            range(16_383, 16_383, text("a"), 7_001),
        ];
        let map = map_of(&Value::Array(whole.to_vec()), &asked).unwrap();
        assert!(map.is_whole());
        let master = |slot| map.master_of(slot).map(|(host, port)| format!("{host}:{port}"));
        assert_eq!(
            [0, 5_460, 5_461, 16_382, 16_383].map(master),
            ["a:7001", "a:7001", "here:7002", "here:7002", "a:7001"].map(|at| Some(at.into()))
        );
        let part = map_of(&Value::Array(whole[1..].to_vec()), &asked).unwrap();
        assert!(!part.is_whole() && part.master_of(0).is_none());
        for wrong in [
            range(9, 16_384, text("a"), 1),
            range(9, 8, text("a"), 1),
            range(-1, 8, text("a"), 1),
            range(1, 8, text("a"), 70_000),
            Value::Nil,
        ] {
            assert!(map_of(&Value::Array(vec![wrong.clone()]), &asked).is_none(), "{wrong:?}");
        }
    }
}
