//! Is this password right? Asked by `intake` for each AUTH, answered from a passwd-file in Dovecot's format.
//!
//! Hashes are computed on threads of their own, a bounded number at a time, with a bounded number waiting. A password that
//! was right a short while ago is known again without hashing. An unknown user costs a hash of a scheme and cost that users
//! have, and is shown a salt like theirs, so that neither the time to an answer nor its text tells who exists.
//! Failures are paced, so that passwords cannot be guessed fast and nobody can lock out somebody else:
//!
//! - A client network (an IPv4 address, an IPv6 /64) with too many failures is put off, right or wrong. The exception is an
//!   account whose right password came from that network last: its owner sits behind the same router as the device that
//!   keeps failing. For it the remembered password is still compared, and only as often as the login may fail.
//! - A login with too many failures, from wherever, is put off for networks that failed lately themselves; its owner, whose
//!   network did not fail, gets in.
//!
//! This module never decides what an account may do, never logs, and never keeps a password.

mod cache;
mod disguise;
pub mod dovecot;
mod pace;
mod passwd_file;
mod scheme;
mod scram;

pub use passwd_file::set_password;
pub use scheme::{PASSWORD_BYTES_MAX, Scheme, hash_password};

use crate::{
    smtp::scram::{KEY_BYTES, ScramParameters, ScramProof},
    types::{AccountId, ClientIp, IpPrefix, Secret, Timestamp},
};
use arc_swap::ArcSwap;
use cache::Cache;
use disguise::Disguise;
use pace::Pace;
use parking_lot::Mutex;
use passwd_file::{Stamp, Users, Whose};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where passwords are, and how fast they may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Dovecot's passwd-file; none: every login is refused.
    pub passwd_file: Option<PathBuf>,
    /// Where the key is kept from which the salts of unknown users are drawn; none: it is made anew at each start.
    pub disguise_file: Option<PathBuf>,
    /// Verified passwords that are remembered (as keyed digests).
    pub cache_entries_max: usize,
    /// How long they are remembered.
    pub cache_ttl: Duration,
    /// Password hashes that are computed at a time.
    pub checks_max: usize,
    /// Failed logins for each client network and minute before further ones are put off.
    pub failures_per_minute: u32,
}

/// The answer to a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The password is this account's.
    Accepted(AccountId),
    /// The client knows this account's password, and this shows it that we have the account's keys.
    Proven(AccountId, [u8; KEY_BYTES]),
    /// Unknown user or wrong password; which of them is nobody's business.
    Rejected,
    /// Too many failures; it was not looked whether the password is right.
    Paced,
    /// Too many logins at a time; the same attempt may work later.
    Unavailable,
}

/// Why logins cannot be set up, or a password cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The passwd-file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The passwd-file has a bad line; none of it is used.
    #[error("understand {}, line {number}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        number: usize,
        /// What is wrong.
        problem: String,
    },
    /// The passwd-file cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No such scheme.
    #[error("find the password scheme {0:?}; there are {schemes}", schemes = scheme::SCHEMES)]
    UnknownScheme(String),
    /// The password cannot be hashed with this scheme.
    #[error("accept a password that is not 1 to {bytes_max} octets without NUL")]
    UnfitPassword {
        /// The longest that this scheme takes.
        bytes_max: usize,
    },
    /// Hashing or randomness failed, or a hash is malformed.
    #[error("make a password hash: {0}")]
    Hashing(String),
}

/// Checks passwords.
pub struct Authenticator {
    passwd_file: Option<PathBuf>,
    users: ArcSwap<Users>,
    disguise: Arc<Disguise>,
    /// The state of the file that was last looked at, whether or not it was good.
    stamp: Mutex<Option<Stamp>>,
    /// Keeps reloads in order.
    reloading: tokio::sync::Mutex<()>,
    cache: Cache,
    failures: Arc<Failures>,
    /// Places for checks that run or wait.
    places: Arc<Semaphore>,
    /// Places for checks that run.
    checks: Arc<Semaphore>,
}

impl Authenticator {
    /// Reads the passwd-file. Blocks, so call it at start.
    ///
    /// # Errors
    /// The file cannot be read or has a bad line.
    pub fn new(settings: Settings) -> Result<Self, AuthError> {
        let loaded = settings.passwd_file.as_deref().map(passwd_file::load).transpose()?;
        let (users, stamp) = loaded.unzip();
        let checks_max = settings.checks_max.clamp(1, CHECKS_MAX);
        Ok(Self {
            cache: Cache::new(settings.cache_entries_max, settings.cache_ttl)?,
            disguise: Arc::new(Disguise::open(settings.disguise_file.as_deref())?),
            passwd_file: settings.passwd_file,
            users: ArcSwap::from_pointee(users.unwrap_or_default()),
            stamp: Mutex::new(stamp),
            reloading: tokio::sync::Mutex::default(),
            failures: Arc::new(Failures::new(settings.failures_per_minute)),
            places: Arc::new(Semaphore::new(checks_max + WAITING_MAX)),
            checks: Arc::new(Semaphore::new(checks_max)),
        })
    }

    /// How many users may log in.
    #[must_use]
    pub fn users_count(&self) -> usize {
        self.users.load().count()
    }

    /// How many of them can log in by SCRAM.
    #[must_use]
    pub fn scram_users_count(&self) -> usize {
        self.users.load().scram_count()
    }

    /// What SCRAM's challenge to a login says: the salt and iterations of its keys, and of a login without any (also one that
    /// does not exist) what always looks the same.
    ///
    /// # Errors
    /// [`Verdict::Paced`] or [`Verdict::Unavailable`], if the exchange is not to go on.
    pub fn scram_parameters(
        &self,
        login: &str,
        client: ClientIp,
        now: Timestamp,
    ) -> Result<ScramParameters, Verdict> {
        let account = login.parse().unwrap_or_else(|_| nobody());
        let network = client.prefix(NETWORK_V6_BITS);
        if matches!(self.gate(&account, network, now), Gate::Shut) {
            return Err(Verdict::Paced);
        }
        let nonce = scram::fresh_nonce().map_err(|_| Verdict::Unavailable)?;
        let (keys, _) = self.users.load().scram(&account, &self.disguise);
        let iterations = keys.iterations.get();
        Ok(ScramParameters { nonce, salt: keys.salt.into(), iterations })
    }

    /// Says whether a proof is right. Costs no hash, so nothing waits.
    pub fn check_proof(
        &self,
        login: &str,
        proof: &ScramProof,
        client: ClientIp,
        now: Timestamp,
    ) -> Verdict {
        let network = client.prefix(NETWORK_V6_BITS);
        let account: AccountId = login.parse().unwrap_or_else(|_| nobody());
        let gate = self.gate(&account, network, now);
        if matches!(gate, Gate::Shut) {
            return Verdict::Paced;
        }
        let (keys, whose) = self.users.load().scram(&account, &self.disguise);
        let signature = keys.check(proof).filter(|_| whose == Whose::TheirOwn);
        if let Some(signature) = signature {
            self.cache.remember_home(&account, network, now);
            return Verdict::Proven(account, signature);
        }
        self.failures.note(Some(&account), network, now);
        if matches!(gate, Gate::Open) { Verdict::Rejected } else { Verdict::Paced }
    }

    /// Says whether a password is right. Users are compared without regard to case.
    pub async fn check(
        &self,
        login: &str,
        password: &Secret,
        client: ClientIp,
        now: Timestamp,
    ) -> Verdict {
        let network = client.prefix(NETWORK_V6_BITS);
        let octets = password.expose();
        let Ok(account) = login.parse() else {
            self.failures.note(None, network, now);
            return Verdict::Rejected;
        };
        if octets.is_empty() || octets.len() > PASSWORD_BYTES_MAX {
            self.failures.note(Some(&account), network, now);
            return Verdict::Rejected;
        }
        let attempt = Attempt { account, password, network, now };
        match self.gate(&attempt.account, network, now) {
            Gate::Shut => Verdict::Paced,
            _ if self.is_remembered(&attempt) => Verdict::Accepted(attempt.account),
            Gate::RememberedOnly => {
                self.failures.logins.note(&attempt.account, now);
                Verdict::Paced
            }
            Gate::Open => self.compute(attempt).await,
        }
    }

    /// Reads the passwd-file again and returns how many users may log in. What is wrong leaves the former users in force.
    ///
    /// # Errors
    /// The file cannot be read or has a bad line.
    pub async fn reload(&self) -> Result<usize, AuthError> {
        let Some(path) = self.passwd_file.clone() else { return Ok(0) };
        let _in_order = self.reloading.lock().await;
        *self.stamp.lock() = stamp_of(&path).await;
        let failed = |source| AuthError::Read { path: path.clone(), source };
        let file = path.clone();
        let loaded = tokio::task::spawn_blocking(move || passwd_file::load(&file)).await;
        let (users, stamp) = loaded.map_err(|error| failed(io::Error::other(error)))??;
        *self.stamp.lock() = Some(stamp);
        let count = users.count();
        self.users.store(Arc::new(users));
        Ok(count)
    }

    /// Looks at the passwd-file every so often for ever, reloads it when it changed, and tells what came of it. A change is
    /// read when the file was the same twice in a row, so that one that is being written in place is not read half.
    pub async fn run_watch(
        &self,
        every: Duration,
        notice: impl Fn(Result<usize, AuthError>) + Send + Sync,
    ) {
        let Some(path) = &self.passwd_file else { return std::future::pending().await };
        let mut before = *self.stamp.lock();
        loop {
            tokio::time::sleep(every).await;
            let present = stamp_of(path).await;
            let settled = present == before;
            before = present;
            if settled && present != *self.stamp.lock() {
                notice(self.reload().await);
            }
        }
    }

    fn gate(&self, account: &AccountId, network: IpPrefix, now: Timestamp) -> Gate {
        let login_exhausted = self.failures.logins.is_exhausted(account, now);
        if self.failures.networks.is_exhausted(&network, now) {
            let owner = !login_exhausted && self.cache.is_home(account, network, now);
            return if owner { Gate::RememberedOnly } else { Gate::Shut };
        }
        if login_exhausted && self.failures.networks.has_failed(&network, now) {
            return Gate::Shut;
        }
        Gate::Open
    }

    fn is_remembered(&self, attempt: &Attempt<'_>) -> bool {
        let users = self.users.load();
        let Some(stored) = users.find(&attempt.account) else { return false };
        let digest = self.cache.digest(&attempt.account, stored.text(), attempt.password.expose());
        self.cache.recalls(&attempt.account, &digest, attempt.network, attempt.now)
    }

    /// Computes the hash and takes note of the result.
    async fn compute(&self, attempt: Attempt<'_>) -> Verdict {
        let Some(turn) = self.take_turn().await else { return Verdict::Unavailable };
        // Others of this network may have failed while this one waited.
        if !matches!(self.gate(&attempt.account, attempt.network, attempt.now), Gate::Open) {
            return Verdict::Paced;
        }
        let users = self.users.load_full();
        let job = Job {
            users: Arc::clone(&users),
            disguise: Arc::clone(&self.disguise),
            failures: Arc::clone(&self.failures),
            account: attempt.account.clone(),
            password: attempt.password.clone(),
            network: attempt.network,
            now: attempt.now,
            _turn: turn,
        };
        match tokio::task::spawn_blocking(|| job.run()).await {
            Ok(true) => {
                self.remember(&users, &attempt);
                Verdict::Accepted(attempt.account)
            }
            Ok(false) => Verdict::Rejected,
            Err(_) => Verdict::Unavailable,
        }
    }

    fn remember(&self, users: &Users, attempt: &Attempt<'_>) {
        let Some(stored) = users.find(&attempt.account) else { return };
        let digest = self.cache.digest(&attempt.account, stored.text(), attempt.password.expose());
        self.cache.remember(&attempt.account, digest, attempt.network, attempt.now);
    }

    /// Waits for permission to compute; none if too many wait already or the wait is too long.
    async fn take_turn(&self) -> Option<Turn> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let check = Arc::clone(&self.checks).acquire_owned();
        let check = tokio::time::timeout(WAIT_MAX, check).await.ok()?.ok()?;
        Some(Turn { _place: place, _check: check })
    }
}

/// Who failed lately.
struct Failures {
    networks: Pace<IpPrefix>,
    logins: Pace<AccountId>,
}

impl Failures {
    fn new(per_minute: u32) -> Self {
        Self {
            networks: Pace::new(per_minute, PACED_NETWORKS_MAX),
            logins: Pace::new(per_minute, PACED_LOGINS_MAX),
        }
    }

    fn note(&self, login: Option<&AccountId>, network: IpPrefix, now: Timestamp) {
        self.networks.note(&network, now);
        if let Some(account) = login {
            self.logins.note(account, now);
        }
    }
}

struct Attempt<'a> {
    account: AccountId,
    password: &'a Secret,
    network: IpPrefix,
    now: Timestamp,
}

/// What pacing lets an attempt do.
enum Gate {
    Open,
    /// Only a remembered password or a proof is compared; nothing is hashed.
    RememberedOnly,
    Shut,
}

/// Permission to compute one hash.
struct Turn {
    _place: OwnedSemaphorePermit,
    _check: OwnedSemaphorePermit,
}

/// One hash to compute on a thread of its own.
struct Job {
    users: Arc<Users>,
    disguise: Arc<Disguise>,
    failures: Arc<Failures>,
    account: AccountId,
    password: Secret,
    network: IpPrefix,
    now: Timestamp,
    _turn: Turn,
}

impl Job {
    /// Says whether the password is right. A failure is noted before the turn ends, so that who waits behind it knows, and
    /// also if the client has gone by then.
    fn run(self) -> bool {
        let right = self.users.verify(&self.account, self.password.expose(), &self.disguise);
        if !right {
            self.failures.note(Some(&self.account), self.network, self.now);
        }
        right
    }
}

/// Whom a login stands for that is no name at all.
fn nobody() -> AccountId {
    "nobody".parse().expect("it is a name")
}

async fn stamp_of(path: &Path) -> Option<Stamp> {
    tokio::fs::metadata(path).await.ok().map(|metadata| Stamp::of(&metadata))
}

/// Leading bits of an IPv6 address that count as one client: what one customer line usually gets.
const NETWORK_V6_BITS: u8 = 64;
/// The most that `checks_max` can be.
const CHECKS_MAX: usize = 1024;
/// Checks that may wait for their turn.
const WAITING_MAX: usize = 256;
/// The longest wait for a turn; clients wait 5 minutes for an answer (RFC 5321 §4.5.3.2.7).
const WAIT_MAX: Duration = Duration::from_secs(20);
const PACED_NETWORKS_MAX: usize = 65_536;
const PACED_LOGINS_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
