//! The connection to Redis: made when it is needed, shared by all calls, given up when it fails.
//!
//! A call has one time budget for everything, connecting too. After a failed attempt to connect nobody tries for a while, and
//! calls fail at once, so that a lost server costs its clients no wait and hears no storm when it is back.

use super::Settings;
use crate::{
    clock,
    store::{StoreError, windows::millis},
};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    ServerErrorKind, TlsCertificates, aio::MultiplexedConnection,
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
use tokio::time::timeout;

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

    /// True if what is said there is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
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
    /// When the next attempt may be made.
    rests_until: Option<Instant>,
}

/// What a call uses.
pub(super) struct Connection {
    pub(super) redis: MultiplexedConnection,
    /// When its caller gives up.
    ends: Instant,
    time: ServerTime,
}

impl Link {
    pub(super) fn new(settings: &Settings) -> Result<Self, StoreError> {
        Ok(Self {
            way: Way::new(settings).map_err(unavailable)?,
            timeout: settings.timeout,
            state: tokio::sync::Mutex::default(),
            time: ServerTime::new(),
        })
    }

    /// Does something within the time that a call may take.
    pub(super) async fn call<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let (ends, used) = (clock::steady_now() + self.timeout, Mutex::new(None));
        let result = timeout(self.timeout, async {
            let (redis, number) = self.connection().await?;
            *used.lock() = Some(number);
            let mut connection = Connection { redis, ends, time: self.time.clone() };
            work(&mut connection).await
        });
        let (why, is_lost) = match result.await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) if is_of_script(&error) => {
                return Err(StoreError::Damaged(error.to_string()));
            }
            Ok(Err(error)) => (error.to_string(), is_lost(&error)),
            Err(_) => (format!("no answer within {:?}", self.timeout), true),
        };
        let used = used.lock().take();
        if let Some(number) = used.filter(|_| is_lost) {
            self.give_up(number).await;
        }
        Err(StoreError::Unavailable(why))
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.number));
        }
        if state.rests_until.is_some_and(|until| clock::steady_now() < until) {
            let why = "it could not be reached a moment ago";
            return Err(RedisError::from((redis::ErrorKind::Io, why)));
        }
        // An attempt that is cut short by its caller's budget counts as failed, too.
        state.failures = state.failures.saturating_add(1);
        state.rests_until = Some(clock::steady_now() + backoff(state.failures));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let client = self.way.client(self.timeout).await?;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await?;
        self.time.ask(&mut connection).await?;
        (state.failures, state.rests_until) = (0, None);
        state.number += 1;
        state.connection = Some(connection.clone());
        Ok((connection, state.number))
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

    /// Until when the caller waits, by the server's clock.
    pub(super) fn waits_until(&self) -> i64 {
        self.time.at(self.ends)
    }

    /// The server's clock shows this now.
    pub(super) fn note_time(&self, server: i64) {
        self.time.note(server);
    }
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

/// How the server is found.
struct Way {
    /// With everything but, where sentinels say it, the address.
    info: ConnectionInfo,
    authorities: Option<Vec<u8>>,
    sentinels: Option<Sentinels>,
}

/// Who says where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they listen, as `host:port`.
    pub places: Vec<(String, u16)>,
    /// What they call the server.
    pub master: String,
}

impl Way {
    fn new(settings: &Settings) -> Result<Self, RedisError> {
        let authorities = match &settings.tls_ca {
            Some(path) if settings.place.is_tls() => Some(std::fs::read(path)?),
            _ => None,
        };
        let way = Self { info: info(settings), authorities, sentinels: settings.sentinels.clone() };
        // What is wrong with it is wrong before the first call.
        way.client_of(way.info.clone())?;
        Ok(way)
    }

    async fn client(&self, patience: Duration) -> Result<Client, RedisError> {
        let Some(sentinels) = &self.sentinels else { return self.client_of(self.info.clone()) };
        let (host, port) = sentinels.ask(patience).await?;
        let address = match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                let (insecure, tls_params) = (*insecure, tls_params.clone());
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        self.client_of(self.info.clone().set_addr(address))
    }

    fn client_of(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        match &self.authorities {
            Some(authorities) => {
                let root_cert = Some(authorities.clone());
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
            }
            None => Client::open(info),
        }
    }
}

impl Sentinels {
    /// Asks them, all at once, and takes the first answer.
    async fn ask(&self, patience: Duration) -> Result<(String, u16), RedisError> {
        let mut asked = tokio::task::JoinSet::new();
        for (host, port) in self.places.clone() {
            let master = self.master.clone();
            asked.spawn(async move {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(patience))
                    .set_response_timeout(Some(patience));
                let client = Client::open(ConnectionAddr::Tcp(host, port).into_connection_info()?)?;
                let mut sentinel =
                    client.get_multiplexed_async_connection_with_config(&config).await?;
                let mut call = redis::cmd("SENTINEL");
                call.arg("get-master-addr-by-name").arg(master);
                call.query_async::<Option<(String, u16)>>(&mut sentinel).await
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

fn info(settings: &Settings) -> ConnectionInfo {
    let mut info = settings.place.info.clone();
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    info = info.set_tcp_settings(tcp);
    if let Some(password) = &settings.password {
        let password = String::from_utf8_lossy(password.expose()).into_owned();
        let login = info.redis_settings().clone().set_password(password);
        info = info.set_redis_settings(login);
    }
    info
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
