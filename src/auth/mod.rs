//! Is this password right? Asked by `intake` for each AUTH, answered from a passwd-file in Dovecot's format or by a Dovecot.
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
//! - Whoever is put off again and again is put off for longer, and the answer to each further failure is held back for longer
//!   (`pace`). What is held back holds no turn, is bounded in number, and is never a login that succeeds.
//!
//! This module never decides what an account may do, never logs, and never keeps a password.

mod cache;
mod disguise;
pub mod dovecot;
mod pace;
mod passwd_file;
mod scheme;
mod scram;

pub use pace::Rules as PaceRules;
pub use passwd_file::set_password;
pub use scheme::{PASSWORD_BYTES_MAX, Scheme, hash_password};

use crate::{
    smtp::scram::{KEY_BYTES, ScramParameters, ScramProof},
    types::{AccountId, ClientIp, IpPrefix, Secret, ServicePlace, Timestamp},
};
use arc_swap::ArcSwap;
use cache::{Cache, Digest};
use disguise::Disguise;
use dovecot::protocol::{self, Channel};
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
    /// Dovecot's passwd-file; with neither this nor the next, every login is refused.
    pub passwd_file: Option<PathBuf>,
    /// A Dovecot that is asked instead.
    pub dovecot: Option<dovecot::Settings>,
    /// Where the key is kept from which the salts of unknown users are drawn; none: it is made anew at each start.
    pub disguise_file: Option<PathBuf>,
    /// Verified passwords that are remembered (as keyed digests).
    pub cache_entries_max: usize,
    /// How long they are remembered.
    pub cache_ttl: Duration,
    /// Password hashes that are computed at a time.
    pub checks_max: usize,
    /// Where they are computed.
    pub hashing: Hashing,
    /// How failed logins are paced, for each client network and for each login.
    pub pace: PaceRules,
}

/// Where password hashes are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hashing {
    /// On threads that may take their time, so that nobody else waits.
    #[default]
    Threads,
    /// On the spot, for simulations that must go the same way again.
    OnTheSpot,
}

impl Settings {
    /// True if there is anything that knows passwords.
    #[must_use]
    pub const fn has_logins(&self) -> bool {
        self.passwd_file.is_some() || self.dovecot.is_some()
    }
}

/// One attempt to log in.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The login as the client gave it.
    pub login: &'a str,
    /// The real sender's host.
    pub client: ClientIp,
    /// How the attempt came to us.
    pub channel: Channel,
    /// The present moment.
    pub now: Timestamp,
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
    hashing: Hashing,
    passwd_file: Option<PathBuf>,
    users: ArcSwap<Users>,
    disguise: Arc<Disguise>,
    /// The state of the file that was last looked at, whether or not it was good.
    stamp: Mutex<Option<Stamp>>,
    /// Keeps reloads in order.
    reloading: tokio::sync::Mutex<()>,
    dovecot: Option<dovecot::Client>,
    cache: Cache,
    failures: Arc<Failures>,
    /// Places for answers that are held back.
    delays: Semaphore,
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
            dovecot: settings.dovecot.map(dovecot::Client::new),
            delays: Semaphore::new(DELAYS_MAX),
            hashing: settings.hashing,
            passwd_file: settings.passwd_file,
            users: ArcSwap::from_pointee(users.unwrap_or_default()),
            stamp: Mutex::new(stamp),
            reloading: tokio::sync::Mutex::default(),
            failures: Arc::new(Failures::new(settings.pace)),
            places: Arc::new(Semaphore::new(checks_max + WAITING_MAX)),
            checks: Arc::new(Semaphore::new(checks_max)),
        })
    }

    /// How many users may log in.
    #[must_use]
    pub fn users_count(&self) -> usize {
        self.users.load().count()
    }

    /// What stands for the password of an account, and is another as soon as that is; none if it is not known here: to a Dovecot,
    /// or to nobody.
    #[must_use]
    pub fn password_mark(&self, account: &AccountId) -> Option<u64> {
        let users = self.users.load();
        users.find(account).map(|stored| self.disguise.mark(stored.text().as_bytes()))
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
    pub fn scram_parameters(&self, attempt: &Attempt<'_>) -> Result<ScramParameters, Verdict> {
        let known = Known::from(attempt);
        if matches!(self.gate(&known), Gate::Shut) {
            return Err(Verdict::Paced);
        }
        let nonce = scram::fresh_nonce().map_err(|_| Verdict::Unavailable)?;
        let (keys, _) = self.users.load().scram(&known.login, &self.disguise);
        let iterations = keys.iterations.get();
        Ok(ScramParameters { nonce, salt: keys.salt.into(), iterations })
    }

    /// Says whether a proof is right. Costs no hash.
    pub async fn check_proof(&self, attempt: &Attempt<'_>, proof: &ScramProof) -> Verdict {
        let known = Known::from(attempt);
        let delay = self.failures.delay(&known.login, known.network, known.now);
        let verdict = self.look_at_proof(&known, proof);
        self.hold_back(verdict, delay).await
    }

    fn look_at_proof(&self, known: &Known, proof: &ScramProof) -> Verdict {
        let Known { login, network, now } = known;
        let gate = self.gate(known);
        if matches!(gate, Gate::Shut) {
            return Verdict::Paced;
        }
        let (keys, whose) = self.users.load().scram(login, &self.disguise);
        let signature = keys.check(proof).filter(|_| whose == Whose::TheirOwn);
        if let Some(signature) = signature {
            self.cache.remember_home(login, *network, *now);
            return Verdict::Proven(login.clone(), signature);
        }
        if matches!(gate, Gate::RememberedOnly) {
            self.failures.logins.note(login, *now);
            return Verdict::Paced;
        }
        self.failures.note(login, *network, *now);
        Verdict::Rejected
    }

    /// Says whether a password is right. Users are compared without regard to case.
    pub async fn check(&self, attempt: &Attempt<'_>, password: &Secret) -> Verdict {
        let known = Known::from(attempt);
        let delay = self.failures.delay(&known.login, known.network, known.now);
        let verdict = self.look_at_password(attempt, &known, password).await;
        self.hold_back(verdict, delay).await
    }

    async fn look_at_password(
        &self,
        attempt: &Attempt<'_>,
        known: &Known,
        password: &Secret,
    ) -> Verdict {
        let gate = self.gate(known);
        if matches!(gate, Gate::Shut) {
            return Verdict::Paced;
        }
        let fit = (1..=PASSWORD_BYTES_MAX).contains(&password.expose().len());
        if !fit || attempt.login.parse::<AccountId>().is_err() {
            self.failures.note(&known.login, known.network, known.now);
            return Verdict::Rejected;
        }
        match gate {
            _ if let Some(account) = self.recall(attempt, known, password) => {
                Verdict::Accepted(account)
            }
            Gate::Open => match &self.dovecot {
                Some(dovecot) => self.ask(dovecot, attempt, known, password).await,
                None => self.compute(attempt, known, password).await,
            },
            Gate::RememberedOnly | Gate::Shut => {
                self.failures.logins.note(&known.login, known.now);
                Verdict::Paced
            }
        }
    }

    /// How many logins failed lately, of this name or from this network, whichever are more.
    #[must_use]
    pub fn failures(&self, attempt: &Attempt<'_>) -> u32 {
        let Known { login, network, now } = Known::from(attempt);
        self.failures.count(&login, network, now)
    }

    /// A failure is told after a while. Who waits holds nothing but its session, and only so many wait; the others are put off
    /// at once, and hear nothing about their passwords.
    async fn hold_back(&self, verdict: Verdict, delay: Duration) -> Verdict {
        if verdict != Verdict::Rejected || delay.is_zero() {
            return verdict;
        }
        let Ok(_place) = self.delays.try_acquire() else { return Verdict::Unavailable };
        tokio::time::sleep(delay).await;
        verdict
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

    /// Keeps the connection to the Dovecot up for ever, if there is one, and tells when it is lost and when it is back.
    pub async fn run_dovecot(&self, notice: impl Fn(dovecot::Change) + Send + Sync) {
        match &self.dovecot {
            Some(dovecot) => dovecot.run(notice).await,
            None => std::future::pending().await,
        }
    }

    /// Where the Dovecot is that is asked, and why it cannot be asked now, if it cannot.
    #[must_use]
    pub fn dovecot_health(&self) -> Option<(&ServicePlace, Option<String>)> {
        self.dovecot.as_ref().map(|dovecot| (dovecot.place(), dovecot.failure()))
    }

    fn gate(&self, known: &Known) -> Gate {
        let Known { login, network, now } = known;
        let login_exhausted = self.failures.logins.is_exhausted(login, *now);
        if self.failures.networks.is_exhausted(network, *now) {
            let owner = !login_exhausted && self.cache.is_home(login, *network, *now);
            return if owner { Gate::RememberedOnly } else { Gate::Shut };
        }
        if login_exhausted && self.failures.networks.has_failed(network, *now) {
            return Gate::Shut;
        }
        Gate::Open
    }

    /// Whose password this is, if it is remembered.
    fn recall(&self, attempt: &Attempt<'_>, known: &Known, password: &Secret) -> Option<AccountId> {
        let users = self.users.load();
        let digest = self.digest(&users, attempt, known, password)?;
        self.cache.recalls(&known.login, &digest, known.network, known.now)
    }

    fn remember(
        &self,
        users: &Users,
        account: AccountId,
        (attempt, known, password): (&Attempt<'_>, &Known, &Secret),
    ) {
        if let Some(digest) = self.digest(users, attempt, known, password) {
            self.cache.remember(&known.login, (digest, account), known.network, known.now);
        }
    }

    /// Stands for the password and all that it depends on: its line in the file, or the very spelling that Dovecot was asked.
    fn digest(
        &self,
        users: &Users,
        attempt: &Attempt<'_>,
        known: &Known,
        password: &Secret,
    ) -> Option<Digest> {
        let context = match &self.dovecot {
            Some(_) => attempt.login,
            None => users.find(&known.login)?.text(),
        };
        Some(self.cache.digest(&known.login, context, password.expose()))
    }

    /// Computes the hash and takes note of the result.
    async fn compute(&self, attempt: &Attempt<'_>, known: &Known, password: &Secret) -> Verdict {
        let Some(turn) = self.take_turn().await else { return Verdict::Unavailable };
        // Others of this network may have failed while this one waited.
        if !matches!(self.gate(known), Gate::Open) {
            return Verdict::Paced;
        }
        let users = self.users.load_full();
        let job = Job {
            users: Arc::clone(&users),
            disguise: Arc::clone(&self.disguise),
            failures: Arc::clone(&self.failures),
            known: known.clone(),
            password: password.clone(),
            _turn: turn,
        };
        let is_right = match self.hashing {
            Hashing::Threads => tokio::task::spawn_blocking(|| job.run()).await,
            Hashing::OnTheSpot => Ok(job.run()),
        };
        match is_right {
            Ok(true) => {
                self.remember(&users, known.login.clone(), (attempt, known, password));
                Verdict::Accepted(known.login.clone())
            }
            Ok(false) => Verdict::Rejected,
            Err(_) => Verdict::Unavailable,
        }
    }

    /// Asks the Dovecot and takes note of the result. The account is the user that Dovecot names.
    async fn ask(
        &self,
        dovecot: &dovecot::Client,
        attempt: &Attempt<'_>,
        known: &Known,
        password: &Secret,
    ) -> Verdict {
        let Attempt { login, client, channel, .. } = *attempt;
        let request = protocol::Request { login, password, client, channel };
        match dovecot.ask(&request, known.network).await {
            protocol::Answer::Accepted { user } => match user.parse::<AccountId>() {
                Ok(account) => {
                    let users = self.users.load();
                    self.remember(&users, account.clone(), (attempt, known, password));
                    Verdict::Accepted(account)
                }
                // Nobody could be charged.
                Err(_) => Verdict::Rejected,
            },
            protocol::Answer::Rejected => {
                self.failures.note(&known.login, known.network, known.now);
                Verdict::Rejected
            }
            protocol::Answer::Unavailable => Verdict::Unavailable,
        }
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
    fn new(rules: PaceRules) -> Self {
        Self {
            networks: Pace::new(rules, PACED_NETWORKS_MAX),
            logins: Pace::new(rules, PACED_LOGINS_MAX),
        }
    }

    /// How long the answer to a failure that comes now is held back.
    fn delay(&self, login: &AccountId, network: IpPrefix, now: Timestamp) -> Duration {
        self.networks.delay(&network, now).max(self.logins.delay(login, now))
    }

    fn count(&self, login: &AccountId, network: IpPrefix, now: Timestamp) -> u32 {
        self.networks.failures(&network, now).max(self.logins.failures(login, now))
    }

    fn note(&self, login: &AccountId, network: IpPrefix, now: Timestamp) {
        self.networks.note(&network, now);
        self.logins.note(login, now);
    }
}

/// An attempt as it is paced and remembered.
#[derive(Clone)]
struct Known {
    /// The login; one that is no name at all stands for nobody.
    login: AccountId,
    network: IpPrefix,
    now: Timestamp,
}

impl From<&Attempt<'_>> for Known {
    fn from(attempt: &Attempt<'_>) -> Self {
        let login = attempt.login.parse().unwrap_or_else(|_| nobody());
        Self { login, network: attempt.client.prefix(NETWORK_V6_BITS), now: attempt.now }
    }
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
    known: Known,
    password: Secret,
    _turn: Turn,
}

impl Job {
    /// Says whether the password is right. A failure is noted before the turn ends, so that who waits behind it knows, and
    /// also if the client has gone by then.
    fn run(self) -> bool {
        let Known { login, network, now } = self.known;
        let right = self.users.verify(&login, self.password.expose(), &self.disguise);
        if !right {
            self.failures.note(&login, network, now);
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
/// Answers that are held back at a time.
const DELAYS_MAX: usize = 1024;
const PACED_NETWORKS_MAX: usize = 65_536;
const PACED_LOGINS_MAX: usize = 65_536;

#[cfg(test)]
mod tests;
