//! Handing mail on: to a smarthost or into a folder.
//!
//! `intake` opens a [`Transaction`] for each MAIL, adds the recipients as they come, may park it while a slow client uploads,
//! and sends the text once. Nothing here decides who may send; nothing is called back. `Accepted` is said only after the next
//! hop said 2xx, or after the file and its folder are on disk; what may have gone out without an answer is `Unknown`.

mod folder;
mod settings;
mod smarthost;

pub use settings::{HostSettings, Settings, SmarthostSettings, TlsMode};

use crate::{
    clock::Clock,
    event::Events,
    net::connect::{Network, TlsClientError},
    rules::egress::{Plan, Use},
    smtp::{Extensions, MailRequest, RcptRequest, Reply},
    spool::{Body, BodyReader},
    types::Timestamp,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use folder::{Folder, FolderTransaction};
use smarthost::{Smarthost, SmarthostTransaction};
use std::{fmt, future::Future, io, net::IpAddr, ops::Range, sync::Arc, time::Duration};

/// Which ways are taken; replaced whenever that changes.
pub type Steering = Arc<ArcSwap<Plan>>;

/// Hands mail on. Cheap to clone.
#[derive(Clone)]
pub struct Deliverer(Kind);

#[derive(Clone)]
enum Kind {
    Smarthost(Smarthost),
    Folder(Folder),
}

/// Why mail cannot be handed on with these settings.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// There is no server to hand mail to.
    #[error("there is no next hop")]
    NoHost,
    /// TLS cannot be set up for a server.
    #[error("TLS towards {host} cannot be set up")]
    Tls {
        /// The server.
        host: String,
        /// Why.
        source: TlsClientError,
    },
    /// The Maildir cannot be made.
    #[error("the folder {path} cannot be made")]
    Folder {
        /// The Maildir.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

impl Deliverer {
    /// Prepares the way; reads authorities and makes folders, but connects to nobody.
    ///
    /// # Errors
    /// [`DeliverError`] if mail could never leave this way.
    pub fn new(settings: Settings, clock: Clock, events: Events) -> Result<Self, DeliverError> {
        Self::over(&Network::System, settings, clock, events, Steering::default())
    }

    /// As [`Deliverer::new`], over this network and by the ways that are free.
    ///
    /// # Errors
    /// As [`Deliverer::new`].
    pub fn over(
        network: &Network,
        settings: Settings,
        clock: Clock,
        events: Events,
        steering: Steering,
    ) -> Result<Self, DeliverError> {
        Ok(Self(match settings {
            Settings::Smarthost(settings) => {
                Kind::Smarthost(Smarthost::new(settings, network, clock, events, steering)?)
            }
            Settings::Folder { path } => Kind::Folder(Folder::new(&path)?),
        }))
    }

    /// What all usable next hops were last seen to offer, and what is ours to give (PIPELINING, ENHANCEDSTATUSCODES, SIZE).
    /// STARTTLS and AUTH are never in it.
    #[must_use]
    pub fn offers(&self) -> Extensions {
        match &self.0 {
            Kind::Smarthost(smarthost) => smarthost.offers(),
            Kind::Folder(_) => Folder::offers(),
        }
    }

    /// Begins a transaction; nothing is sent yet.
    #[must_use]
    pub fn begin(&self, mail: MailRequest) -> Transaction {
        match &self.0 {
            Kind::Smarthost(smarthost) => {
                Transaction(Inner::Smarthost(Box::new(smarthost.begin(mail))))
            }
            Kind::Folder(folder) => Transaction(Inner::Folder(folder.begin())),
        }
    }

    /// Learns what the hops offer, now and then again, probes those that failed, and closes connections that idled too
    /// long, until `shutdown` is done. One task for the whole program.
    pub async fn run_probes(self, shutdown: impl Future<Output = ()> + Send) {
        match self.0 {
            Kind::Smarthost(smarthost) => smarthost.run_probes(shutdown).await,
            Kind::Folder(_) => shutdown.await,
        }
    }

    /// Ends its part in what is told, because another takes its place: a next hop of which was told that it is down is not
    /// waited for any more, and nothing is told from then on. What it has begun it finishes.
    pub fn retire(&self) {
        match &self.0 {
            Kind::Smarthost(smarthost) => smarthost.retire(),
            Kind::Folder(_) => {}
        }
    }

    /// How each next hop is.
    #[must_use]
    pub fn health(&self) -> Vec<HopHealth> {
        match &self.0 {
            Kind::Smarthost(smarthost) => smarthost.health(),
            Kind::Folder(folder) => vec![folder.health()],
        }
    }
}

/// How a next hop is.
#[derive(Debug, Clone)]
pub struct HopHealth {
    /// `host:port`, or the folder's path.
    pub name: Arc<str>,
    /// Whether it is used.
    pub state: HopState,
    /// Connections, idle ones included.
    pub connections_open: usize,
    /// Connections that wait for the next message.
    pub connections_idle: usize,
    /// The addresses that mail leaves by there, where they are known.
    pub egress: Arc<[IpAddr]>,
    /// Whether mail may leave by them.
    pub egress_use: Use,
    /// The last failure, kept after a recovery.
    pub last_error: Option<String>,
    /// What it was last seen to offer.
    pub offers: Option<Extensions>,
}

/// Whether a next hop is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopState {
    /// It was not talked to yet.
    Unknown,
    /// It works.
    Up,
    /// It failed so often that it is left alone for a while.
    Down,
}

impl HopState {
    /// The name as it stands in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One mail on its way: an envelope, then a text. Dropping it closes the connection that it holds.
pub struct Transaction(Inner);

enum Inner {
    Smarthost(Box<SmarthostTransaction>),
    Folder(FolderTransaction),
}

impl Transaction {
    /// Asks for these recipients, in order, and gives an answer for each. The first group brings MAIL along.
    pub async fn recipients(&mut self, requests: &[RcptRequest]) -> Vec<RecipientAnswer> {
        match &mut self.0 {
            Inner::Smarthost(transaction) => transaction.recipients(requests).await,
            Inner::Folder(_) => FolderTransaction::recipients(requests),
        }
    }

    /// Gives the connection back while the client takes its time; [`Transaction::send`] replays the envelope. Waits for
    /// nothing.
    pub fn park(&mut self) {
        match &mut self.0 {
            Inner::Smarthost(transaction) => transaction.park(),
            Inner::Folder(_) => {}
        }
    }

    /// True if this mail holds a connection and no other could get one now.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        match &self.0 {
            Inner::Smarthost(transaction) => transaction.is_scarce(),
            Inner::Folder(_) => false,
        }
    }

    /// Sends the text to the recipients that were accepted. Ends within [`SmarthostSettings::timeout_after_dot`].
    pub async fn send(self, text: Text<'_>) -> Handover {
        match self.0 {
            Inner::Smarthost(transaction) => transaction.send(&text).await,
            Inner::Folder(transaction) => transaction.send(&text).await,
        }
    }

    /// Gives up before the text; the connection goes back to the pool and is reset before its next use. Waits for nothing.
    pub fn abort(self) {
        if let Inner::Smarthost(transaction) = self.0 {
            transaction.abort();
        }
    }
}

/// The text as it leaves: `head` (our Received field and added fields, CRLF-terminated, dot-stuffed), then the body without the
/// cut ranges, still dot-stuffed as it came.
#[derive(Debug)]
pub struct Text<'a> {
    /// Goes first.
    pub head: Bytes,
    /// The body as it came.
    pub body: &'a Body,
    /// Octet ranges of the body that are left out (stripped header fields): sorted, apart, whole lines.
    pub cuts: Vec<Range<u64>>,
    /// Until when the final dot may be sent; none: at any time.
    pub dot_by: Option<DotBy>,
}

/// Until when the final dot may be sent: what was charged for the text may not count any longer.
#[derive(Clone)]
pub struct DotBy {
    clock: Clock,
    moment: Timestamp,
}

impl DotBy {
    /// Until a moment of this clock.
    #[must_use]
    pub const fn new(clock: Clock, moment: Timestamp) -> Self {
        Self { clock, moment }
    }
}

impl fmt::Debug for DotBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.moment.fmt(f)
    }
}

/// What became of a text.
#[derive(Debug)]
pub struct Handover {
    /// The verdict.
    pub verdict: Verdict,
    /// The next hop, as `host:port` or the folder's path, if one took part.
    pub next_hop: Option<Arc<str>>,
    /// The addresses that mail leaves by at that next hop, where they are known.
    pub egress: Arc<[IpAddr]>,
    /// From our final dot to the answer.
    pub took: Option<Duration>,
}

/// The next hop's verdict on a text.
#[derive(Debug)]
pub enum Verdict {
    /// 2xx: it has the mail.
    Accepted(Reply),
    /// 4xx or 5xx, before or after the final dot: nobody got it.
    Refused(Reply),
    /// It vanished, stalled or talked nonsense after our final dot: it may have the mail.
    Unknown(String),
    /// It could not be reached, or was lost before the final dot: nobody got it.
    Unavailable(String),
    /// The addresses that mail would leave by are paused; nothing was sent.
    Paused(Arc<str>),
    /// The text could not be read back from the spool; nobody got it, and no next hop is to blame.
    TextLost(String),
    /// The time to send the final dot was over before it was sent: nobody got it, and no next hop is to blame.
    Overdue,
    /// A recipient that it had accepted was refused when the envelope was replayed; nothing was sent.
    RecipientLost(Reply),
    /// It does not offer an extension that the message needs; nothing was sent.
    ExtensionMissing(&'static str),
}

/// What became of one recipient.
#[derive(Debug, Clone)]
pub enum RecipientAnswer {
    /// The next hop's own answer.
    Answered(Reply),
    /// No next hop can be reached, or it was lost.
    Unavailable,
    /// All connections to the next hop are in use.
    Busy,
    /// The addresses that mail would leave by are paused; why.
    Paused(Arc<str>),
    /// No next hop offers an extension that the message needs.
    ExtensionMissing(&'static str),
}

impl Text<'_> {
    /// Octets of head and body without the cuts.
    #[must_use]
    pub fn len(&self) -> u64 {
        let cut: u64 = self.cuts.iter().map(|range| range.end - range.start).sum();
        (self.head.len() as u64 + self.body.len()).saturating_sub(cut)
    }

    /// True if nothing would be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if the final dot may not be sent any more.
    fn is_overdue(&self) -> bool {
        self.dot_by.as_ref().is_some_and(|by| by.clock.now() >= by.moment)
    }

    fn pieces(&self) -> TextPieces<'_> {
        let head = Some(self.head.clone()).filter(|head| !head.is_empty());
        let (reader, rest) = (self.body.reader(), Bytes::new());
        TextPieces { head, reader, rest, at: 0, cuts: &self.cuts }
    }
}

/// Reads a [`Text`] piece by piece, from its beginning each time that it is made.
struct TextPieces<'a> {
    head: Option<Bytes>,
    reader: BodyReader<'a>,
    /// Of the body's present piece, what was not given yet.
    rest: Bytes,
    /// Where `rest` begins in the body.
    at: u64,
    /// The cuts that do not lie behind `at` yet.
    cuts: &'a [Range<u64>],
}

impl TextPieces<'_> {
    /// The next piece, never empty; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        loop {
            self.skip_cuts();
            if !self.rest.is_empty() {
                return Ok(Some(self.take_rest()));
            }
            match self.reader.next().await? {
                Some(piece) => self.rest = piece,
                None => return Ok(None),
            }
        }
    }

    fn skip_cuts(&mut self) {
        while let Some((cut, later)) = self.cuts.split_first() {
            if self.at < cut.start || self.rest.is_empty() {
                return;
            }
            self.advance(cut.end.saturating_sub(self.at));
            if self.at < cut.end {
                return;
            }
            self.cuts = later;
        }
    }

    fn take_rest(&mut self) -> Bytes {
        let end = self.cuts.first().map_or(u64::MAX, |cut| cut.start);
        self.advance(end - self.at)
    }

    /// Takes up to `octets` off the front of the rest.
    fn advance(&mut self, octets: u64) -> Bytes {
        let length = usize::try_from(octets).unwrap_or(usize::MAX).min(self.rest.len());
        self.at += length as u64;
        self.rest.split_to(length)
    }
}

#[cfg(test)]
pub(crate) mod tests;
