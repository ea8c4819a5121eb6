//! The connection to one server: made when it is needed, shared by all calls, given up when it fails. What a call is told when it
//! fails says whether it may have been executed ([`Failure`]). Which server is asked is decided in `servers`.
//!
//! A call has one time budget for everything, connecting too. After a failed attempt to connect nobody tries for a while, and
//! calls fail at once, so that a lost server costs its clients no wait and hears no storm when it is back.

use super::Settings;
use crate::{
    clock,
    store::{StoreError, windows::millis},
    types::Secret,
};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    Pipeline, RedisError, RedisFuture, ServerErrorKind, TlsCertificates, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Where Redis listens: `redis://host`, `rediss://user@host:6380/1`, `redis+unix:///run/redis.sock`.
#[derive(Debug, Clone)]
pub struct Place {
    text: String,
    info: ConnectionInfo,
}

/// A text that is no [`Place`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No URL of Redis.
    #[error(
        "not a URL such as redis://127.0.0.1:6379, rediss://user@redis.example/0 or redis+unix:///run/redis.sock"
    )]
    NoUrl,
    /// With a password in it.
    #[error("a password in it would be printed; it belongs into redis_password_file")]
    Password,
    /// Certificates are checked always.
    #[error("certificates are checked always; redis_tls_ca names an authority of your own")]
    Insecure,
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let info = text.into_connection_info().map_err(|_| PlaceError::NoUrl)?;
        if info.redis_settings().password().is_some() {
            return Err(PlaceError::Password);
        }
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(PlaceError::Insecure);
        }
        Ok(Self { text: text.to_owned(), info })
    }
}

impl Place {
    /// True if it names a user.
    #[must_use]
    pub fn has_user(&self) -> bool {
        self.info.redis_settings().username().is_some()
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> i64 {
        self.info.redis_settings().db()
    }

    /// True if it is a socket of this machine.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::Unix(_))
    }

    /// True if what is said there is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// All that is needed to connect to it.
    fn info_with(&self, password: Option<&Secret>) -> ConnectionInfo {
        let info = self.info.clone();
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_tcp_settings(tcp);
        let Some(password) = password else { return info };
        let password = String::from_utf8_lossy(password.expose()).into_owned();
        let login = info.redis_settings().clone().set_password(password);
        info.set_redis_settings(login)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Place {}

/// The shared connection.
pub(super) struct Link {
    /// What leads to the server, or is told by sentinels where it is.
    way: Way,
    timeout: Duration,
    /// Held while somebody connects; the others wait for the outcome.
    state: tokio::sync::Mutex<State>,
    time: ServerTime,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that a failure gives up only its own.
    number: u64,
    /// Attempts that failed in a row.
    failures: u32,
    /// What the last of them heard.
    heard: String,
    /// When the next attempt may be made.
    rests_until: Option<Instant>,
}

/// What a call uses.
pub(super) struct Connection {
    redis: MultiplexedConnection,
    /// When its caller gives up.
    ends: Instant,
    time: ServerTime,
    /// Each command follows an `ASKING`: the server takes over the slot, and does not answer for it otherwise.
    asking: bool,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was sent.
    Unreached(RedisError),
    /// The server did not do it, or not to its end.
    Answered(RedisError),
    /// It may have been done.
    Lost(RedisError),
}

impl Failure {
    pub(super) fn into_store_error(self) -> StoreError {
        match self {
            Self::Answered(error) if is_of_script(&error) => StoreError::Damaged(error.to_string()),
            Self::Answered(error) | Self::Unreached(error) | Self::Lost(error) => {
                unavailable(error)
            }
        }
    }
}

impl Link {
    pub(super) fn new(way: Way, timeout: Duration) -> Self {
        let (state, time) = (tokio::sync::Mutex::default(), ServerTime::new());
        Self { way, timeout, state, time }
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Does something until then, which is at most the time that a call may take.
    pub(super) async fn call<T>(
        &self,
        (ends, asking): (Instant, bool),
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, Failure> {
        let used = Mutex::new(None);
        let result = tokio::time::timeout_at(ends.into(), async {
            let (redis, number) = self.connection().await.map_err(Failure::Unreached)?;
            *used.lock() = Some(number);
            let mut connection = Connection { redis, ends, time: self.time.clone(), asking };
            work(&mut connection).await.map_err(|error| {
                if is_answer(&error) { Failure::Answered(error) } else { Failure::Lost(error) }
            })
        });
        let result = result.await;
        let used = used.lock().take();
        let failure = match result {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(failure)) => failure,
            Err(_) => self.silence(used.is_some()),
        };
        let is_lost = match &failure {
            Failure::Unreached(_) => false,
            Failure::Answered(error) | Failure::Lost(error) => is_lost(error),
        };
        if let Some(number) = used.filter(|_| is_lost) {
            self.give_up(number).await;
        }
        Err(failure)
    }

    fn silence(&self, was_sent: bool) -> Failure {
        let why = format!("no answer within {:?}", self.timeout);
        let error = RedisError::from(std::io::Error::new(std::io::ErrorKind::TimedOut, why));
        if was_sent { Failure::Lost(error) } else { Failure::Unreached(error) }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.number));
        }
        if state.rests_until.is_some_and(|until| clock::steady_now() < until) {
            let why = "it could not be reached a moment ago";
            return Err(RedisError::from((redis::ErrorKind::Io, why, state.heard.clone())));
        }
        // An attempt that is cut short by its caller's budget counts as failed, too.
        state.failures = state.failures.saturating_add(1);
        state.rests_until = Some(clock::steady_now() + backoff(state.failures));
        state.heard = format!("no answer within {:?}", self.timeout);
        let connection =
            self.connect().await.inspect_err(|error| state.heard = error.to_string())?;
        (state.failures, state.rests_until) = (0, None);
        state.number += 1;
        state.connection = Some(connection.clone());
        Ok((connection, state.number))
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        // A call has a time of its own, which is over for its answer as well.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(None);
        let client = self.way.client(self.timeout).await?;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await?;
        self.time.ask(&mut connection).await?;
        Ok(connection)
    }

    /// A connection of its own for waiting, which may be silent for so long and a call's time more.
    pub(super) async fn ear(&self, wait: Duration) -> Result<Ear, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(wait + self.timeout));
        let client = self.way.client(self.timeout).await.map_err(unavailable)?;
        let connected = client.get_multiplexed_async_connection_with_config(&config).await;
        Ok(Ear { redis: connected.map_err(unavailable)?, wait })
    }

    async fn give_up(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.number == number {
            state.connection = None;
        }
    }
}

/// A connection that waits.
pub(super) struct Ear {
    redis: MultiplexedConnection,
    wait: Duration,
}

impl Ear {
    /// Ends when a stream has an entry behind this number, or after a while.
    pub(super) async fn listen(&mut self, stream: &str, after: i64) -> Result<(), StoreError> {
        let mut call = redis::cmd("XREAD");
        call.arg("COUNT").arg(1).arg("BLOCK").arg(millis(self.wait));
        call.arg("STREAMS").arg(stream).arg(after);
        let heard: Result<redis::Value, _> = call.query_async(&mut self.redis).await;
        heard.map(|_| ()).map_err(unavailable)
    }

    /// The entries of a stream behind this number, of each stream that has some; empty after a while without any.
    pub(super) async fn read<T: redis::FromRedisValue + Default>(
        &mut self,
        stream: &str,
        after: i64,
        max: usize,
    ) -> Result<T, StoreError> {
        let mut call = redis::cmd("XREAD");
        call.arg("COUNT").arg(max).arg("BLOCK").arg(millis(self.wait));
        call.arg("STREAMS").arg(stream).arg(after);
        let heard: Result<Option<T>, _> = call.query_async(&mut self.redis).await;
        heard.map(Option::unwrap_or_default).map_err(unavailable)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn unavailable(error: RedisError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

impl Connection {
    /// The server's time.
    pub(super) async fn time(&mut self) -> Result<i64, RedisError> {
        self.time.ask(&mut self.redis).await
    }

    /// Fails where the slot is being taken over: whoever walks through a key must not go on at another server.
    pub(super) fn must_be_at_rest(&self) -> Result<(), RedisError> {
        if self.asking { Err(under_way()) } else { Ok(()) }
    }

    /// Until when the caller waits, by the server's clock.
    pub(super) fn waits_until(&self) -> i64 {
        self.time.at(self.ends)
    }

    /// The server's clock shows this now.
    pub(super) fn note_time(&self, server: i64) {
        self.time.note(server);
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        if !self.asking {
            return self.redis.req_packed_command(cmd);
        }
        Box::pin(async move {
            // One write, so that nobody else's command comes between the two.
            let mut both = redis::pipe();
            both.cmd("ASKING").add_command(cmd.clone());
            let mut answers = self.redis.req_packed_commands(&both, 0, 2).await?;
            answers.pop().unwrap_or(Value::Nil).extract_error()
        })
    }

    /// A transaction is tried again once the slot has come to rest.
    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        if !self.asking {
            return self.redis.req_packed_commands(pipeline, offset, count);
        }
        Box::pin(std::future::ready(Err(under_way())))
    }

    fn get_db(&self) -> i64 {
        self.redis.get_db()
    }
}

fn under_way() -> RedisError {
    let kind = redis::ErrorKind::Server(ServerErrorKind::TryAgain);
    RedisError::from((kind, "the slot is under way to another server"))
}

/// How far the server's clock is from ours, in milliseconds. It is learnt from each answer when it has come, so it is rather a
/// little behind.
#[derive(Clone)]
struct ServerTime {
    began: Instant,
    ahead: Arc<AtomicI64>,
}

impl ServerTime {
    fn new() -> Self {
        Self { began: clock::steady_now(), ahead: Arc::default() }
    }

    async fn ask(&self, connection: &mut MultiplexedConnection) -> Result<i64, RedisError> {
        let server = server_millis(redis::cmd("TIME").query_async(connection).await?);
        self.note(server);
        Ok(server)
    }

    fn note(&self, server: i64) {
        // Both are whole milliseconds, so that the difference may be one too many.
        let ahead = server.saturating_sub(self.own(clock::steady_now())).saturating_sub(1);
        self.ahead.store(ahead, Relaxed);
    }

    fn at(&self, moment: Instant) -> i64 {
        self.own(moment).saturating_add(self.ahead.load(Relaxed))
    }

    fn own(&self, moment: Instant) -> i64 {
        i64::try_from(moment.saturating_duration_since(self.began).as_millis()).unwrap_or(i64::MAX)
    }
}

/// What `TIME` answers, in milliseconds.
pub(super) const fn server_millis((seconds, micros): (i64, i64)) -> i64 {
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}

/// How long nobody tries again after so many failures in a row: at most [`BACKOFF_MAX`], and somewhere in its upper half, so
/// that nodes do not come back together.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    let longest = (BACKOFF_MIN * 2_u32.saturating_pow(failures.min(16))).min(BACKOFF_MAX);
    let mut drawn = [0; 1];
    // Without randomness they come back together, which is no reason to fail.
    let _ = getrandom::fill(&mut drawn);
    longest / 2 + longest / 2 * u32::from(drawn[0]) / 256
}

/// How a server is found.
#[derive(Clone)]
pub(super) struct Way {
    /// With everything but, where sentinels say it, the address.
    info: ConnectionInfo,
    authorities: Authorities,
    sentinels: Option<Sentinels>,
}

/// Whom to believe where it is encrypted; none: whom the system does.
type Authorities = Option<Arc<[u8]>>;

/// Who says where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they listen.
    pub places: Vec<Place>,
    /// Their password, of the users that the places name, or of the default user.
    pub password: Option<Secret>,
    /// What they call the server.
    pub master: String,
}

impl Way {
    pub(super) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let unread = |error: std::io::Error| StoreError::Unavailable(error.to_string());
        let authorities = match &settings.tls_ca {
            Some(path) if settings.is_tls() => Some(std::fs::read(path).map_err(unread)?.into()),
            _ => None,
        };
        let info = settings.place.info_with(settings.password.as_ref());
        let way = Self { info, authorities, sentinels: settings.sentinels.clone() };
        // What is wrong with it is wrong before the first call.
        client_of(way.info.clone(), &way.authorities).map_err(unavailable)?;
        Ok(way)
    }

    /// The same to another server.
    pub(super) fn to(&self, (host, port): (String, u16)) -> Self {
        let address = match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                let (insecure, tls_params) = (*insecure, tls_params.clone());
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Self { info: self.info.clone().set_addr(address), ..self.clone() }
    }

    async fn client(&self, patience: Duration) -> Result<Client, RedisError> {
        let info = match &self.sentinels {
            Some(sentinels) => self.to(sentinels.ask(&self.authorities, patience).await?).info,
            None => self.info.clone(),
        };
        client_of(info, &self.authorities)
    }
}

fn client_of(info: ConnectionInfo, authorities: &Authorities) -> Result<Client, RedisError> {
    match authorities {
        Some(authorities) if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) => {
            let root_cert = Some(authorities.to_vec());
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
        }
        _ => Client::open(info),
    }
}

impl Sentinels {
    /// Asks them, all at once, and takes the first answer.
    async fn ask(
        &self,
        authorities: &Authorities,
        patience: Duration,
    ) -> Result<(String, u16), RedisError> {
        let mut asked = tokio::task::JoinSet::new();
        for place in &self.places {
            let (named, master) = (place.to_string(), self.master.clone());
            let client = client_of(place.info_with(self.password.as_ref()), authorities);
            asked.spawn(async move {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(patience))
                    .set_response_timeout(Some(patience));
                let answer = async {
                    let connecting =
                        client?.get_multiplexed_async_connection_with_config(&config).await;
                    let mut call = redis::cmd("SENTINEL");
                    call.arg("get-master-addr-by-name").arg(master);
                    call.query_async::<Option<(String, u16)>>(&mut connecting?).await
                };
                answer.await.map_err(|error| {
                    let text = format!("{named}: {error}");
                    RedisError::from((redis::ErrorKind::Io, "a sentinel does not answer", text))
                })
            });
        }
        let mut failure = RedisError::from((redis::ErrorKind::Io, "no sentinel knows the server"));
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(Some(place))) => return Ok(place),
                Ok(Ok(None)) | Err(_) => {}
                Ok(Err(error)) => failure = error,
            }
        }
        Err(failure)
    }
}

/// True if the server said that it did not do it, or that it stopped.
fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), redis::ErrorKind::Server(_) | redis::ErrorKind::Extension)
}

/// True if the connection must be made anew: it is broken or silent, or leads to a server that only reads.
fn is_lost(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_timeout()
        || error.kind() == redis::ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// True if a script failed at what it found: the same call fails again, others need not.
fn is_of_script(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::ResponseError)
        && error.detail().is_some_and(|detail| detail.contains("script"))
}

const BACKOFF_MIN: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_url_without_a_secret() {
        for good in [
            "redis://127.0.0.1:6379",
            "redis://gate@redis.example/2",
            "rediss://redis.example",
            "redis+unix:///run/redis.sock",
        ] {
            let place: Place = good.parse().unwrap();
            assert_eq!((place.to_string(), place.is_tls()), (good.into(), good.contains("rediss")));
        }
        for (wrong, why) in [
            ("127.0.0.1:6379", PlaceError::NoUrl),
            ("http://redis.example", PlaceError::NoUrl),
            ("redis://:secret@redis.example", PlaceError::Password),
            ("rediss://redis.example/#insecure", PlaceError::Insecure),
        ] {
            assert_eq!(wrong.parse::<Place>().unwrap_err(), why, "{wrong}");
        }
    }

    #[test]
    fn waits_between_attempts_grow_and_are_bounded() {
        for failures in [0, 1, 3, 7, u32::MAX] {
            let longest = (BACKOFF_MIN * 2_u32.saturating_pow(failures.min(16))).min(BACKOFF_MAX);
            for _ in 0..50 {
                let wait = backoff(failures);
                assert!(wait >= longest / 2 && wait < longest, "{failures}: {wait:?}");
            }
        }
    }
}
