//! Passwords that a Dovecot knows: its authentication socket as the place where logins are checked.
//!
//! One connection carries all requests, a bounded number at a time, each with a time-out of its own; [`Client::run`] keeps it up.
//! When it is lost, what was asked on it is [`Answer::Unavailable`], and it is made again at once; while that fails, every
//! request is unavailable at once, so that no session waits for a Dovecot that is not there. What Dovecot says is read by
//! [`protocol`]. Nothing is decided here, and nothing is remembered.

pub mod protocol;

use crate::{
    dial::{Duplex, connect},
    types::{ClientIp, IpPrefix, Secret, ServicePlace},
};
use parking_lot::Mutex;
use protocol::{Answer, Channel, Conversation, Heard, ProtocolError, Request};
use std::{collections::HashMap, io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

/// Where a Dovecot is and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its socket.
    pub place: ServicePlace,
    /// Wait for an answer; beyond it the login is unavailable.
    pub timeout: Duration,
}

/// What became of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It works again.
    Up,
    /// It does not, and why; told once.
    Down(String),
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("it cannot be connected to: {0}")]
    Connect(io::Error),
    #[error("no connection, or no handshake, within {0:?}")]
    Handshake(Duration),
    #[error("the connection was lost: {0}")]
    Lost(io::Error),
    #[error("it gave no answer within {0:?}")]
    Stalled(Duration),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// Asks a Dovecot.
pub(super) struct Client {
    settings: Settings,
    queue: mpsc::Sender<Job>,
    /// The other end, until [`Client::run`] takes it.
    jobs: Mutex<Option<mpsc::Receiver<Job>>>,
    places: Semaphore,
    by_network: Mutex<HashMap<IpPrefix, usize>>,
    /// Why it cannot be asked now.
    failure: Mutex<Option<String>>,
}

/// A request on its way.
struct Job {
    login: String,
    password: Secret,
    client: ClientIp,
    channel: Channel,
    answer: oneshot::Sender<Answer>,
}

impl Client {
    pub(super) fn new(settings: Settings) -> Self {
        let (queue, jobs) = mpsc::channel(REQUESTS_MAX);
        Self {
            settings,
            queue,
            jobs: Mutex::new(Some(jobs)),
            places: Semaphore::new(REQUESTS_MAX),
            by_network: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    pub(super) const fn place(&self) -> &ServicePlace {
        &self.settings.place
    }

    /// Why it cannot be asked now, if it cannot.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Asks whether a password is right. One network cannot take all places.
    pub(super) async fn ask(&self, request: &Request<'_>, network: IpPrefix) -> Answer {
        let Ok(_place) = self.places.try_acquire() else { return Answer::Unavailable };
        let Some(_share) = Share::take(&self.by_network, network) else {
            return Answer::Unavailable;
        };
        let (answer, answered) = oneshot::channel();
        let job = Job {
            login: request.login.to_owned(),
            password: request.password.clone(),
            client: request.client,
            channel: request.channel,
            answer,
        };
        if self.queue.try_send(job).is_err() {
            return Answer::Unavailable;
        }
        let waited = timeout(self.settings.timeout, answered).await;
        waited.ok().and_then(Result::ok).unwrap_or(Answer::Unavailable)
    }

    /// Keeps the connection up for ever and tells when it is lost for longer, and when it is back.
    pub(super) async fn run(&self, notice: impl Fn(Change) + Send + Sync) {
        let Some(mut jobs) = self.jobs.lock().take() else { return std::future::pending().await };
        let mut pause = Duration::ZERO;
        loop {
            let error = match self.connect(&mut jobs).await {
                Err(error) => error,
                Ok(mut link) => {
                    if self.failure.lock().take().is_some() {
                        notice(Change::Up);
                    }
                    let error = link.serve(&mut jobs, self.settings.timeout).await;
                    if link.settled {
                        pause = Duration::ZERO;
                        // It was restarted, most likely, and is back at once.
                        if matches!(error, LinkError::Lost(_)) {
                            continue;
                        }
                    }
                    error
                }
            };
            let detail = error.to_string();
            if self.failure.lock().replace(detail.clone()).is_none() {
                notice(Change::Down(detail));
            }
            pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
            let _over = timeout(pause, turn_away(&mut jobs)).await;
        }
    }

    /// Connects and shakes hands. Who asks meanwhile waits, unless it failed before.
    async fn connect(&self, jobs: &mut mpsc::Receiver<Job>) -> Result<Link, LinkError> {
        let failed_before = self.failure.lock().is_some();
        let waiting = async {
            if failed_before { turn_away(jobs).await } else { std::future::pending().await }
        };
        let wait = self.settings.timeout.min(CONNECT_TIME_MAX);
        tokio::select! {
            link = timeout(wait, Link::open(&self.settings.place)) => {
                link.unwrap_or(Err(LinkError::Handshake(wait)))
            }
            () = waiting => Err(LinkError::Handshake(wait)),
        }
    }
}

/// Answers whatever is asked, for as long as it is polled.
async fn turn_away(jobs: &mut mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        let _gone = job.answer.send(Answer::Unavailable);
    }
}

/// One of the requests that a network may have under way.
struct Share<'c> {
    by_network: &'c Mutex<HashMap<IpPrefix, usize>>,
    network: IpPrefix,
}

impl<'c> Share<'c> {
    fn take(by_network: &'c Mutex<HashMap<IpPrefix, usize>>, network: IpPrefix) -> Option<Self> {
        let mut counts = by_network.lock();
        let count = counts.entry(network).or_insert(0);
        if *count >= REQUESTS_PER_NETWORK_MAX {
            return None;
        }
        *count += 1;
        Some(Self { by_network, network })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut counts = self.by_network.lock();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// A connection whose handshake is done.
struct Link {
    stream: Box<dyn Duplex>,
    conversation: Conversation,
    pending: HashMap<u32, Pending>,
    next_id: u32,
    /// How often something was heard.
    heard: u64,
    /// It has held for a while.
    settled: bool,
}

/// A request that was sent.
struct Pending {
    answer: oneshot::Sender<Answer>,
    /// [`Link::heard`] at that moment.
    heard_before: u64,
}

impl Link {
    async fn open(place: &ServicePlace) -> Result<Self, LinkError> {
        let stream = connect(place).await.map_err(LinkError::Connect)?;
        let mut link = Self {
            stream,
            conversation: Conversation::default(),
            pending: HashMap::new(),
            next_id: 1,
            heard: 0,
            settled: false,
        };
        let mut number = [0; 4];
        getrandom::fill(&mut number)
            .map_err(|error| LinkError::Connect(io::Error::other(error)))?;
        let greeting = protocol::greeting(u32::from_be_bytes(number));
        link.stream.write_all(greeting.as_bytes()).await.map_err(LinkError::Lost)?;
        let mut buffer = vec![0; READ_BYTES_MAX];
        loop {
            let octets = read(&mut link.stream, &mut buffer).await?;
            link.conversation.receive(octets);
            // Before the handshake is done there are no answers; what came behind it must make sense at once.
            if link.conversation.poll()?.is_some() {
                link.take_answers()?;
                return Ok(link);
            }
        }
    }

    /// Carries requests and answers until the connection is given up, and says why that is.
    async fn serve(&mut self, jobs: &mut mpsc::Receiver<Job>, wait: Duration) -> LinkError {
        let mut buffer = vec![0; READ_BYTES_MAX];
        let mut looking = tokio::time::interval(LOOK_EVERY);
        looking.reset();
        loop {
            let result = tokio::select! {
                Some(job) = jobs.recv() => self.send(job, wait).await,
                octets = read(&mut self.stream, &mut buffer) => match octets {
                    Ok(octets) => {
                        self.heard += 1;
                        self.conversation.receive(octets);
                        self.take_answers()
                    }
                    Err(error) => Err(error),
                },
                _ = looking.tick() => {
                    self.settled = true;
                    self.look_after(wait)
                }
            };
            if let Err(error) = result {
                return error;
            }
        }
    }

    async fn send(&mut self, job: Job, wait: Duration) -> Result<(), LinkError> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let Job { login, password, client, channel, answer } = job;
        let request = Request { login: &login, password: &password, client, channel };
        let line = self.conversation.request(id, &request);
        self.pending.insert(id, Pending { answer, heard_before: self.heard });
        let written = timeout(wait, self.stream.write_all(line.expose())).await;
        written.map_err(|_| LinkError::Stalled(wait))?.map_err(LinkError::Lost)
    }

    fn take_answers(&mut self) -> Result<(), LinkError> {
        while let Some(heard) = self.conversation.poll()? {
            let Heard::Answer { id, answer } = heard else { continue };
            // One that nobody waits for any more was too late.
            if let Some(pending) = self.pending.remove(&id) {
                let _gone = pending.answer.send(answer);
            }
        }
        Ok(())
    }

    /// Forgets requests that nobody waits for any more. If nothing at all was heard since one of them was sent, nobody is at
    /// the other end.
    fn look_after(&mut self, wait: Duration) -> Result<(), LinkError> {
        let heard = self.heard;
        let given_up = self.pending.extract_if(|_, pending| pending.answer.is_closed());
        let silent = given_up.filter(|(_, pending)| pending.heard_before == heard).count() > 0;
        if silent { Err(LinkError::Stalled(wait)) } else { Ok(()) }
    }
}

async fn read<'b>(
    stream: &mut Box<dyn Duplex>,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], LinkError> {
    match stream.read(buffer).await {
        Ok(0) => Err(LinkError::Lost(io::ErrorKind::UnexpectedEof.into())),
        Ok(count) => Ok(&buffer[..count]),
        Err(error) => Err(LinkError::Lost(error)),
    }
}

/// Requests under way at a time; further logins are unavailable. Dovecot holds each failure back for two seconds and more.
const REQUESTS_MAX: usize = 512;
/// The same for one client network, so that nobody takes all of them.
const REQUESTS_PER_NETWORK_MAX: usize = 16;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// The waits between attempts to connect double from the one to the other.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often requests are looked after that got no answer.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const READ_BYTES_MAX: usize = 4096;
