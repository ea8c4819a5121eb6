//! Other programs that look into finished messages: Rspamd and ClamAV.
//!
//! Each is asked with a time budget; a bounded number of messages is looked into at a time, and one that fails again and again is
//! left alone for a while. What follows from their answers is decided by [`crate::rules::scan`].

pub mod clamav;
pub mod rspamd;

use crate::{
    clock::Clock,
    event::{Event, Events, Scanned, Scanner, ScannerState, Scans},
    rules::{
        breaker::{Breaker, Change},
        scan::ScanPolicy,
    },
    types::ClientIp,
};
use bytes::Bytes;
use parking_lot::Mutex;
use rspamd::Rspamd;
use rustls::ClientConfig;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Octets of a message that are looked into, from its beginning.
    pub bytes_max: usize,
    /// Messages that are looked into at a time.
    pub concurrent_max: usize,
    /// Rspamd, if it is asked.
    pub rspamd: Option<rspamd::Settings>,
    /// ClamAV, if it is asked.
    pub clamav: Option<clamav::Settings>,
    /// What is done about their answers.
    pub policy: ScanPolicy,
}

impl Settings {
    /// True if somebody is asked.
    #[must_use]
    pub const fn asks_somebody(&self) -> bool {
        self.rspamd.is_some() || self.clamav.is_some()
    }

    /// The longest that a message waits for all of it.
    #[must_use]
    pub fn wait_max(&self) -> Duration {
        let rspamd = self.rspamd.as_ref().map(|it| it.timeout);
        let longest = rspamd.max(self.clamav.as_ref().map(|it| it.timeout));
        longest.map_or(Duration::ZERO, |longest| longest + PLACE_WAIT_MAX)
    }
}

/// Nobody can be asked with these settings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(String);

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    /// It does not work.
    Down(String),
    /// It works, but not for this message.
    Declined(String),
}

/// The envelope of a message.
#[derive(Debug)]
pub struct About<'a> {
    /// Our id of the transaction.
    pub id: &'a str,
    /// The account that is charged.
    pub user: Option<&'a str>,
    /// The real sender's host.
    pub client: ClientIp,
    /// What that host calls itself.
    pub helo: Option<&'a str>,
    /// The envelope sender; empty for bounces.
    pub sender: &'a str,
    /// The recipients.
    pub recipients: Vec<&'a str>,
}

/// Those who are asked.
pub struct Scanners {
    settings: Settings,
    places: Arc<Semaphore>,
    rspamd: Option<Rspamd>,
    rspamd_health: Mutex<Breaker>,
    clamav_health: Mutex<Breaker>,
    clock: Clock,
    events: Events,
}

/// A place among the messages that are looked into.
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Scanners {
    /// Prepares to ask.
    ///
    /// # Errors
    /// [`SetupError`] if there can be no HTTP client.
    pub fn new(
        settings: Settings,
        tls: &ClientConfig,
        clock: Clock,
        events: Events,
    ) -> Result<Self, SetupError> {
        let rspamd = settings.rspamd.as_ref().map(|it| Rspamd::new(it, tls)).transpose()?;
        Ok(Self {
            places: Arc::new(Semaphore::new(settings.concurrent_max)),
            rspamd,
            rspamd_health: Mutex::default(),
            clamav_health: Mutex::default(),
            settings,
            clock,
            events,
        })
    }

    /// Who is asked, and what follows.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A place for one message, if there is one in time.
    pub async fn place(&self) -> Option<Place> {
        let place = timeout(PLACE_WAIT_MAX, self.places.clone().acquire_owned()).await;
        place.ok()?.ok().map(|permit| Place { _permit: permit })
    }

    /// What is known of a message for which there is no place.
    #[must_use]
    pub fn no_place(&self) -> Scans {
        Scans {
            rspamd: self.rspamd.as_ref().map(|_| Scanned::Failed),
            clamav: self.settings.clamav.as_ref().map(|_| Scanned::Failed),
        }
    }

    /// Asks everybody at the same time.
    pub async fn ask(&self, _place: &Place, text: Bytes, about: &About<'_>) -> Scans {
        let rspamd = async {
            let (rspamd, settings) = (self.rspamd.as_ref()?, self.settings.rspamd.as_ref()?);
            let asking = rspamd.ask(text.clone(), about);
            Some(self.heard(Scanner::Rspamd, &self.rspamd_health, settings.timeout, asking).await)
        };
        let clamav = async {
            let settings = self.settings.clamav.as_ref()?;
            let asking = clamav::ask(&settings.place, text.clone());
            Some(self.heard(Scanner::Clamav, &self.clamav_health, settings.timeout, asking).await)
        };
        let (rspamd, clamav) = tokio::join!(rspamd, clamav);
        Scans { rspamd, clamav }
    }

    async fn heard<T>(
        &self,
        scanner: Scanner,
        health: &Mutex<Breaker>,
        time: Duration,
        asking: impl Future<Output = Result<T, Failure>>,
    ) -> Scanned<T> {
        if !health.lock().admits(self.clock.now()) {
            return Scanned::Failed;
        }
        let none = || Failure::Down(format!("no answer within {time:?}"));
        let answer = timeout(time, asking).await.unwrap_or_else(|_| Err(none()));
        let detail = match &answer {
            Ok(_) => "",
            Err(Failure::Down(detail) | Failure::Declined(detail)) => detail,
        };
        let works = !matches!(answer, Err(Failure::Down(_)));
        {
            // Held while it is told, so that nothing is told after it has retired.
            let mut health = health.lock();
            let change = health.note(works, self.clock.now());
            self.tell(scanner, change, detail);
        }
        if answer.is_err() {
            tracing::warn!(%scanner, detail, "a message was not looked into");
        }
        answer.map_or(Scanned::Failed, Scanned::Said)
    }

    /// Ends its part in what is told, because others take its place: who is down is not waited for any more.
    pub fn retire(&self) {
        for (scanner, health) in
            [(Scanner::Rspamd, &self.rspamd_health), (Scanner::Clamav, &self.clamav_health)]
        {
            let mut health = health.lock();
            let change = health.retire();
            self.tell(scanner, change, "");
        }
    }

    fn tell(&self, scanner: Scanner, change: Option<Change>, detail: &str) {
        let state = |detail: &str| ScannerState { scanner, detail: detail.to_owned() };
        let event = match change {
            Some(Change::Up) => Event::ScannerUp(state("")),
            Some(Change::Down) => Event::ScannerDown(state(detail)),
            None => return,
        };
        self.events.tell(self.clock.now(), &event);
    }
}

/// How long a message waits until fewer others are looked into.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(5);
